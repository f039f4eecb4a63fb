package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/session"
)

func (w *wall) flush() {
	w.t.Helper()
	if err := w.FlushSeen(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// DOS-195.
func TestSeen(t *testing.T) {
	w := newWall(t)
	cookie, s := w.signIn(alice())
	w.flush()
	if len(w.ledger.batches) != 0 {
		t.Error("wrote nothing to the store")
	}
	for range 1000 {
		w.want(session.Valid, cookie)
	}
	if len(w.ledger.seen) != 0 {
		t.Error("written on the request's path")
	}
	w.flush()
	at := time.UnixMilli(w.clock.Now().UnixMilli())
	if got := w.ledger.seen[s.ID]; got != (auth.Seen{Session: s.ID, User: s.Identity.UserID(), At: at}) {
		t.Errorf("noted %+v", got)
	}

	// Within half a minute it is not worth a write, later it is.
	w.clock.move(29 * time.Second)
	w.want(session.Valid, cookie)
	w.flush()
	w.clock.move(time.Second)
	w.want(session.Valid, cookie)
	w.flush()
	if got := w.ledger.seen[s.ID].At; !got.Equal(at.Add(30 * time.Second)) {
		t.Errorf("seen at %v", got)
	}
	if len(w.ledger.batches) != 2 {
		t.Errorf("%d writes", len(w.ledger.batches))
	}
}

// Only a live session was seen.
func TestSeenCountsNoRefused(t *testing.T) {
	w := newWall(t)
	cookie, s := w.signIn(alice())
	if err := w.End(t.Context(), s, "", auth.EndSignOut); err != nil {
		t.Fatal(err)
	}
	w.want(session.Ended, cookie)
	w.want(session.Invalid, cookie+"A")
	late, _ := w.signIn(bob())
	w.clock.move(24 * time.Hour)
	w.want(session.Expired, late)
	w.flush()
	if len(w.ledger.seen) != 0 {
		t.Errorf("noted %v", w.ledger.seen)
	}
}

func TestSeenIsKeptWhileTheStoreIsAway(t *testing.T) {
	w := newWall(t)
	var last *auth.Session
	for range 2500 {
		cookie, s := w.signIn(alice())
		last = s
		w.want(session.Valid, cookie)
	}
	w.ledger.setFail(errDisk)
	for range 3 {
		if err := w.FlushSeen(t.Context()); !errors.Is(err, auth.ErrUnavailable) {
			t.Fatalf("%v", err)
		}
	}
	w.ledger.setFail(nil)
	w.flush()
	if len(w.ledger.seen) != 2500 || w.ledger.seen[last.ID].At.IsZero() {
		t.Errorf("%d noted", len(w.ledger.seen))
	}
	for _, n := range w.ledger.batches {
		if n > 1000 {
			t.Errorf("a batch of %d", n)
		}
	}
}

// A failed write does not put an old note over a newer one.
func TestSeenKeepsTheLatest(t *testing.T) {
	w := newWall(t)
	cookie, s := w.signIn(alice())
	w.want(session.Valid, cookie)
	var store *slowStore
	w.config.Store, store = func() (session.Store, *slowStore) {
		s := &slowStore{Store: w.ledger}
		return s, s
	}()
	w.reload()
	w.want(session.Valid, cookie)
	store.during = func() {
		w.clock.move(time.Minute)
		w.want(session.Valid, cookie)
	}
	if err := w.FlushSeen(t.Context()); err == nil {
		t.Fatal("no failure")
	}
	w.flush()
	if got := w.ledger.seen[s.ID].At; !got.Equal(time.UnixMilli(w.clock.Now().UnixMilli())) {
		t.Errorf("seen at %v, now is %v", got, w.clock.Now())
	}
}

// A slowStore fails once, after something else has happened meanwhile.
type slowStore struct {
	session.Store
	during func()
}

func (s *slowStore) Seen(ctx context.Context, batch []auth.Seen) error {
	if during := s.during; during != nil {
		s.during = nil
		during()
		return errDisk
	}
	return s.Store.Seen(ctx, batch)
}

func TestRunSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWall(t)
		a, _ := w.signIn(alice())
		b, _ := w.signIn(bob())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.RunSeen(ctx, 10*time.Second); close(done) }()
		w.want(session.Valid, a)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		w.ledger.mu.Lock()
		if len(w.ledger.seen) != 1 {
			t.Errorf("%d noted after the interval", len(w.ledger.seen))
		}
		w.ledger.mu.Unlock()
		w.want(session.Valid, b)
		cancel()
		<-done
		if len(w.ledger.seen) != 2 {
			t.Errorf("%d noted at the end", len(w.ledger.seen))
		}
	})
}

// DOS-196: what strangers and outages can make us keep has a bound.
func TestMemoryIsBounded(t *testing.T) {
	w := newWall(t)
	w.ledger.setFail(nil)
	for i := range session.MaxOpened + 2000 {
		if i%1000 == 0 {
			w.ledger.signIns = nil
		}
		cookie, _ := w.signIn(bob())
		w.want(session.Valid, cookie)
	}
	if n := w.OpenedCount(); n > session.MaxOpened || n < session.MaxOpened/2 {
		t.Errorf("%d cookies are remembered, at most %d may be", n, session.MaxOpened)
	}
	for range 5000 {
		w.want(session.Invalid, w.CookieName()+"="+string(auth.NewSessionID()))
	}
	if n := w.OpenedCount(); n > session.MaxOpened {
		t.Errorf("%d cookies are remembered after forged ones", n)
	}
}

func TestNotesAreBounded(t *testing.T) {
	var n session.Notes
	first := auth.NewSessionID()
	n.Add(auth.Seen{Session: first, At: noon})
	for range session.MaxSeen + 100 {
		n.Add(auth.Seen{Session: auth.NewSessionID(), At: noon})
	}
	n.Add(auth.Seen{Session: first, At: noon.Add(time.Hour)}, auth.Seen{Session: first, At: noon.Add(-time.Hour)})
	all := n.Take()
	if len(all) != session.MaxSeen {
		t.Errorf("%d notes", len(all))
	}
	for _, seen := range all {
		if seen.Session == first && !seen.At.Equal(noon.Add(time.Hour)) {
			t.Errorf("the known session was last seen at %v", seen.At)
		}
	}
	if len(n.Take()) != 0 {
		t.Error("taken twice")
	}
}
