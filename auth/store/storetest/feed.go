package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

func testFeed(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	empty, err := s.Revocations(t.Context(), 0)
	must(t, err)
	if !empty.Whole || len(empty.Rows) != 0 || empty.Cursor != 0 {
		t.Errorf("empty store: %+v", empty)
	}
	var p process
	for i := range 3 {
		must(t, s.EndSession(t.Context(), auth.Ending{Session: auth.SessionID(fmt.Sprint("s", i)), Expires: time.Now().Add(time.Hour), By: "x"}))
	}
	if feed := p.read(t, s); !feed.Whole || len(feed.Rows) != 3 || feed.Cursor != 3 {
		t.Errorf("first read: %+v", feed)
	}
	if feed := p.read(t, s); feed.Whole || len(feed.Rows) != 0 || feed.Cursor != 3 {
		t.Errorf("nothing new: %+v", feed)
	}
	_, err = s.Block(t.Context(), store.Who{Email: "a@example.com"}, "x", "")
	must(t, err)
	if feed := p.read(t, s); feed.Whole || len(feed.Rows) != 1 || !feed.Rows[0].Active || !feed.Rows[0].Expires.IsZero() {
		t.Errorf("a block: %+v", feed)
	}
	must(t, s.Unblock(t.Context(), store.Who{Email: "a@example.com"}, "x"))
	if feed := p.read(t, s); feed.Whole || len(feed.Rows) != 1 || feed.Rows[0].Active || feed.Cursor != 5 {
		t.Errorf("an unblock: %+v", feed)
	}
	// Who starts now need not know of what was lifted.
	var late process
	if feed := late.read(t, s); !feed.Whole || len(feed.Rows) != 3 || feed.Cursor != 5 {
		t.Errorf("a late start: %+v", feed)
	}
}

// A restored backup's counter stands before what a process has seen.
func testFeedBehind(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	must(t, s.EndSession(t.Context(), auth.Ending{Session: "s", By: "x"}))
	feed, err := s.Revocations(t.Context(), 1000)
	must(t, err)
	if !feed.Whole || len(feed.Rows) != 1 || feed.Cursor != 1 {
		t.Errorf("feed = %+v", feed)
	}
}

// STO-205.
func testTwoProcesses(t *testing.T, open func(store.Config) *store.Store) {
	here, there := open(store.Config{}), open(store.Config{})
	var p process
	p.read(t, there)
	session := signIn(t, here, person(1))
	_, err := there.User(t.Context(), store.Who{Email: session.Identity.Email})
	must(t, err)
	_, err = there.Block(t.Context(), store.Who{User: session.Identity.UserID()}, admin, "")
	must(t, err)
	_, err = trySignIn(t.Context(), here, person(1))
	wantErr(t, "SignIn", err, auth.ErrBlocked)
	wantAlive(t, here, false, session)
	must(t, here.Unblock(t.Context(), store.Who{Email: session.Identity.Email}, admin))
	if p.read(t, there); p.alive(session) {
		t.Error("the session came back")
	}
	wantAlive(t, there, true, signIn(t, there, person(1)))
	if here.Created() && there.Created() {
		t.Error("both made the store")
	}
}

// Readers who follow a cursor while many write see every number once, in order.
func testConcurrentFeed(t *testing.T, open func(store.Config) *store.Store) {
	stores := []*store.Store{open(store.Config{}), open(store.Config{})}
	const writers, each = 10, 20
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			s := stores[w%len(stores)]
			for i := range each {
				var err error
				if i%2 == 0 {
					err = s.EndSession(t.Context(), auth.Ending{Session: auth.SessionID(fmt.Sprint(w, ".", i)), Expires: time.Now().Add(time.Hour), By: "x"})
				} else {
					_, err = s.Block(t.Context(), store.Who{Email: fmt.Sprintf("u%d.%d@example.com", w, i)}, "x", "")
				}
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { group.Wait(); close(written) }()
	readers := make([]process, len(stores))
	for done := false; !done; {
		select {
		case <-written:
			done = true // and read once more
		default:
		}
		for i := range readers {
			readers[i].read(t, stores[i])
		}
	}
	for i, p := range readers {
		for j, seq := range p.seqs {
			if seq != int64(j+1) {
				t.Fatalf("reader %d: number %d is %d", i, j+1, seq)
			}
		}
		if len(p.seqs) != writers*each || p.cursor != writers*each {
			t.Errorf("reader %d saw %d numbers up to %d, want %d", i, len(p.seqs), p.cursor, writers*each)
		}
	}
}

// SES-149: whoever is blocked, or cut off, while sign-ins rain down has no live session
// from before, and whoever was let in afterwards has one.
func testConcurrentSignInBlock(t *testing.T, open func(store.Config) *store.Store) {
	stores := []*store.Store{open(store.Config{}), open(store.Config{})}
	const people, each = 10, 10
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var group sync.WaitGroup
	var mu sync.Mutex
	sessions := make(map[int][]auth.Session)
	for i := range people * each {
		group.Go(func() {
			session, err := trySignIn(ctx, stores[i%len(stores)], person(i%people))
			switch {
			case err == nil:
				mu.Lock()
				defer mu.Unlock()
				sessions[i%people] = append(sessions[i%people], session)
			case !errors.Is(err, auth.ErrBlocked):
				t.Errorf("SignIn: %v", err)
			}
		})
		if i < people*each-people || i%2 == 1 {
			continue
		}
		group.Go(func() { // the even ones
			if _, err := stores[i%len(stores)].Block(ctx, store.Who{Email: person(i % people).Email}, admin, ""); err != nil {
				t.Errorf("Block: %v", err)
			}
		})
	}
	group.Wait()
	for n := range people {
		if blocked := n%2 == 0; blocked {
			wantAlive(t, stores[0], false, sessions[n]...)
			_, err := trySignIn(ctx, stores[1], person(n))
			wantErr(t, "SignIn", err, auth.ErrBlocked)
		} else if len(sessions[n]) != each {
			t.Errorf("person %d: %d sessions, want %d", n, len(sessions[n]), each)
		}
		list, _, err := stores[0].Sessions(ctx, store.SessionQuery{User: userID(n)})
		must(t, err)
		if len(list) != len(sessions[n]) {
			t.Errorf("person %d: %d sessions recorded, %d acknowledged", n, len(list), len(sessions[n]))
		}
		// "End all", and then in again.
		if n%2 == 1 {
			_, err := stores[0].EndSessionsOf(ctx, userID(n), admin, auth.EndByAdmin)
			must(t, err)
			wantAlive(t, stores[1], false, sessions[n]...)
			wantAlive(t, stores[0], true, signIn(t, stores[1], person(n)))
		}
	}
}
