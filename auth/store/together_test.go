package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

// Sign-ins that come while the disk is busy are written in one transaction; each has
// its own outcome, and its event is told with its own context.
func TestSignInTogether(t *testing.T) {
	type key struct{}
	var mu sync.Mutex
	transactions, told := 0, map[string]any{}
	s := open(t, store.Config{
		URL: "sqlite:" + filepath.Join(t.TempDir(), "loginwall.db"), Create: true, Timeout: time.Minute,
		Observe: func(_ context.Context, what string, _ time.Duration, _ error) {
			mu.Lock()
			defer mu.Unlock()
			if what == "sign ins" {
				transactions++
			}
		},
		Recorded: func(ctx context.Context, e auth.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == auth.EventSignIn {
				told[e.Email] = ctx.Value(key{})
			}
		},
	})
	const people, blocked, gone = 100, 7, 9
	if _, err := s.Block(t.Context(), store.Who{Email: person(blocked).Email}, "x", ""); err != nil {
		t.Fatal(err)
	}
	disk := make(chan struct{})
	s.Hang(disk)
	errs := make([]error, people)
	sessions := make([]auth.Session, people)
	leave, goAway := context.WithCancel(t.Context())
	var all sync.WaitGroup
	in := func(n int) {
		all.Go(func() {
			ctx := context.WithValue(t.Context(), key{}, n)
			if n == gone {
				ctx = leave
			}
			if sessions[n], errs[n] = trySignIn(ctx, s, n); errs[n] == nil { // then everybody can see it
				_, errs[n] = s.Session(ctx, sessions[n].ID)
			}
		})
	}
	in(0)
	eventually(t, s, 0)
	for n := 1; n < people; n++ {
		in(n)
	}
	eventually(t, s, people-1)
	goAway()
	close(disk)
	all.Wait()

	if transactions != 2 {
		t.Errorf("%d transactions, want 2", transactions)
	}
	for n, err := range errs {
		email := fmt.Sprintf("user%d@example.com", n)
		switch {
		case n == blocked:
			if !errors.Is(err, auth.ErrBlocked) {
				t.Errorf("the blocked one: %v", err)
			}
		case n == gone:
			if !errors.Is(err, auth.ErrUnavailable) {
				t.Errorf("the one who went away: %v", err)
			}
		case err != nil:
			t.Errorf("%s: %v", email, err)
		case told[email] != n:
			t.Errorf("%s: its event was told with %v", email, told[email])
		}
	}
	wantSessions(t, s, slices.DeleteFunc(sessions, func(s auth.Session) bool {
		return s.Identity.Email == person(blocked).Email || s.Identity.Email == person(gone).Email
	}))
	if _, found := told[person(blocked).Email]; found {
		t.Error("an event of the one who was turned away")
	}
}

// eventually waits until a transaction is under way and so many wait for the next.
func eventually(t *testing.T, s *store.Store, waiting int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if n, busy := s.Waiting(); busy && n == waiting {
			return
		}
	}
	t.Fatalf("%d do not wait", waiting)
}

// atRest waits until nobody takes care of sign-ins.
func atRest(s *store.Store) {
	for _, busy := s.Waiting(); busy; _, busy = s.Waiting() {
		time.Sleep(time.Millisecond)
	}
}

// What fails alone leaves out nobody else.
func TestSignInTogetherSpoilt(t *testing.T) {
	s := open(t, store.Config{URL: "sqlite:" + newPath(t), Create: true, Timeout: time.Minute})
	first := signIn(t, s, 0)
	atRest(s) // or its writer would take all of the others at once
	disk := make(chan struct{})
	s.Hang(disk)
	var all sync.WaitGroup
	errs := make([]error, 5)
	for n := range errs {
		session := auth.NewSessionID()
		if n == 2 {
			session = first.ID // which there is already
		}
		all.Go(func() {
			_, errs[n] = s.SignIn(t.Context(), auth.SignIn{Identity: person(n), Session: session, MaxAge: time.Hour})
		})
		if n == 0 { // the others wait for it
			eventually(t, s, 0)
		}
	}
	eventually(t, s, len(errs)-1)
	close(disk)
	all.Wait()
	for n, err := range errs {
		if (err != nil) != (n == 2) {
			t.Errorf("sign-in %d: %v", n, err)
		}
	}
}

// A transaction of several is followed by the next one a little later; nobody who
// comes alone waits.
func TestSignInTogetherApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		s := open(t, store.Config{URL: "sqlite:" + newPath(t), Create: true, Observe: func(_ context.Context, what string, _ time.Duration, _ error) {
			if what == "sign ins" { // one after the other
				at = append(at, time.Now())
			}
		}})
		disk := make(chan struct{})
		s.Hang(disk)
		var all sync.WaitGroup
		for n := range 3 {
			all.Go(func() { signIn(t, s, n) })
			synctest.Wait()
		}
		close(disk)
		all.Wait()
		for n := range 2 {
			signIn(t, s, n)
		}
		var gaps []time.Duration
		for i := range at[1:] {
			gaps = append(gaps, at[i+1].Sub(at[i]))
		}
		if want := []time.Duration{0, store.Apart, 0}; !slices.Equal(gaps, want) {
			t.Errorf("between transactions: %v, want %v", gaps, want)
		}
	})
}

// A transaction whose time has run out goes on with those it was given, although
// nobody waits for them any more.
func TestSignInTogetherTooLate(t *testing.T) {
	var late atomic.Bool
	woken := make(chan struct{})
	s := open(t, store.Config{
		URL: "sqlite:" + newPath(t), Create: true, Timeout: 3 * time.Second,
		Now: func() time.Time {
			if late.Load() && bytes.Contains(debug.Stack(), []byte(".(*tx).begin(")) {
				<-woken
			}
			return time.Now()
		},
	})
	disk := make(chan struct{})
	s.Hang(disk)
	var all sync.WaitGroup
	for n := range 5 {
		all.Go(func() {
			_, _ = s.SignIn(t.Context(), auth.SignIn{Identity: person(n), Session: auth.NewSessionID(), MaxAge: time.Hour})
		})
		if n == 0 {
			eventually(t, s, 0)
		}
	}
	eventually(t, s, 4)
	late.Store(true)
	close(disk)
	all.Wait()
	atRest(s) // the writer has given it up, too
	late.Store(false)
	close(woken)
	if _, err := s.SignIn(t.Context(), auth.SignIn{Identity: person(9), Session: auth.NewSessionID(), MaxAge: time.Hour}); err != nil {
		t.Error(err)
	}
}
