package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/loginwall/loginwall/auth"
)

const (
	// mostTogether bounds how long one transaction keeps other writers waiting.
	mostTogether = 256
	// apart is how long after one transaction of several the next one begins: what the
	// disk costs is the same for one as for ten. Who comes alone never waits for it.
	apart = 10 * time.Millisecond
)

// together are the sign-ins of an embedded store, where each transaction waits for
// the disk by itself: those that come while the disk is busy are written in the next
// transaction, all of them, so that a thousand at once wait a few times and not a
// thousand. (A server does the same for its clients' commits.) The zero value is
// ready.
type together struct {
	mu      sync.Mutex
	waiting []*signIn
	busy    bool // somebody takes care of waiting
}

// A signIn waits for the transaction that it is to be a part of.
type signIn struct {
	ctx  context.Context //nolint:containedctx // it is its caller's, who waits
	in   auth.SignIn
	done chan struct{} // closed when what follows is set
	signedIn
}

// signedIn is what became of one.
type signedIn struct {
	out    auth.SignedIn
	events []auth.Event
	err    error
}

// signInTogether returns when the sign-in is on disk, or like write when time is up;
// then the outcome is unknown.
func (s *Store) signInTogether(ctx context.Context, in auth.SignIn) (out auth.SignedIn, err error) {
	start := s.config.Now()
	defer func() { s.observe(ctx, "sign in", start, err) }()
	bounded, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	one := &signIn{ctx: bounded, in: in, done: make(chan struct{})}
	s.together.mu.Lock()
	s.together.waiting = append(s.together.waiting, one)
	first := !s.together.busy
	s.together.busy = true
	s.together.mu.Unlock()
	if first {
		go s.writeTogether(context.Background()) //nolint:gosec // it is nobody's alone
	}
	select {
	case <-one.done:
		return one.out, one.err
	case <-bounded.Done():
		if ctx.Err() == nil { // as in write
			s.failed.Store(true)
		}
		return auth.SignedIn{}, s.wrap("sign in", bounded.Err())
	}
}

// writeTogether writes what waits, until nothing does.
func (s *Store) writeTogether(ctx context.Context) {
	for {
		next := time.After(apart)
		s.together.mu.Lock()
		group := slices.Clone(s.together.waiting[:min(mostTogether, len(s.together.waiting))])
		s.together.waiting = slices.Delete(s.together.waiting, 0, len(group))
		s.together.busy = len(group) > 0
		s.together.mu.Unlock()
		if len(group) == 0 {
			return
		}
		s.writeGroup(ctx, group)
		if len(group) > 1 {
			<-next
		}
	}
}

// writeGroup writes all in one transaction, or, where one of them spoils it, each in
// its own.
func (s *Store) writeGroup(ctx context.Context, group []*signIn) {
	// A copy: a transaction that time ran out for may still be at work on what it was given.
	group = slices.DeleteFunc(slices.Clone(group), func(one *signIn) bool { return one.ctx.Err() != nil }) // nobody waits for it any more
	if len(group) == 0 {
		return
	}
	became, err := write(ctx, s, "sign ins", noTurn, func(t *tx) ([]signedIn, error) { return t.signInAll(group) })
	if err != nil && len(group) > 1 {
		for i := range group {
			s.writeGroup(ctx, group[i:i+1])
		}
		return
	}
	for i, one := range group {
		if err != nil {
			one.err = err
		} else {
			one.signedIn = became[i]
			one.err = s.wrap("sign in", one.err)
		}
		if errors.Is(one.err, auth.ErrUnavailable) && one.ctx.Err() == nil {
			s.failed.Store(true)
		}
		if one.err == nil && s.config.Recorded != nil {
			for _, e := range one.events {
				s.config.Recorded(one.ctx, e)
			}
		}
		close(one.done)
	}
}

// signInAll signs each in but those who are blocked, for whom nothing is written.
func (t *tx) signInAll(group []*signIn) ([]signedIn, error) {
	became := make([]signedIn, len(group))
	for i, one := range group {
		out, err := t.signIn(one.in)
		if err != nil && !errors.Is(err, auth.ErrBlocked) {
			return nil, err
		}
		became[i] = signedIn{out, t.events, err}
		t.events = nil // told with the context of its caller
	}
	return became, nil
}
