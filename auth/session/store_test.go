package session_test

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/seal"
	"github.com/loginwall/loginwall/auth/session"
	"github.com/loginwall/loginwall/auth/store"
)

// onStore is a process on the real embedded store, by the real clock.
func onStore(t *testing.T, path string, ring *seal.Ring) (*wall, *store.Store) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + path, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := newReplica(t, newClock(), nil, ring)
	w.revoked = session.NewRevocations(nil)
	w.follower = session.NewFollower(s, w.revoked, 0, slog.New(slog.DiscardHandler))
	w.reload(func(c *session.Config) { c.Store, c.Revoked, c.Now = s, w.revoked, time.Now })
	w.poll()
	return w, s
}

// STO-205: two processes on one file, and a third that starts later: all know what was
// taken back, and by whom makes no difference.
func TestWithTheEmbeddedStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "loginwall.db")
	ring := newRing(t)
	w, _ := onStore(t, path, ring)
	other, directory := onStore(t, path, ring)

	ended, s := w.signIn(alice())
	cut, _ := w.signIn(alice())
	bobs, bobsSession := w.signIn(bob())
	both := func(status session.Status, cookie string) {
		t.Helper()
		w.poll()
		other.poll()
		w.want(status, cookie)
		other.want(status, cookie)
	}
	both(session.Valid, ended)

	if err := w.End(t.Context(), s, "alice@example.com", auth.EndSignOut); err != nil {
		t.Fatal(err)
	}
	w.want(session.Ended, ended)
	both(session.Ended, ended)
	both(session.Valid, cut)

	for range 3 {
		if err := other.EndAll(t.Context(), s.Identity.UserID(), "boss@example.com", auth.EndByAdmin); err != nil {
			t.Fatal(err)
		}
		other.want(session.Ended, cut)
		both(session.Ended, cut)
		cut, _ = w.signIn(alice()) // in the same millisecond, perhaps
		w.want(session.Valid, cut)
		both(session.Valid, cut)
	}

	// The command line blocks bob; this process follows at once where it is told to.
	who := store.Who{User: bobsSession.Identity.UserID()}
	if _, err := directory.Block(t.Context(), who, "boss@example.com", "left"); err != nil {
		t.Fatal(err)
	}
	if err := w.revoked.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.want(session.Blocked, bobs)
	both(session.Blocked, bobs)
	if _, _, _, err := other.Start(t.Context(), bob(), auth.Client{}); !errors.Is(err, auth.ErrBlocked) {
		t.Errorf("bob signs in: %v", err)
	}
	if err := directory.Unblock(t.Context(), who, "boss@example.com"); err != nil {
		t.Fatal(err)
	}
	both(session.Ended, bobs) // the block had ended it
	bobs, _ = w.signIn(bob())
	both(session.Valid, bobs)

	late, _ := onStore(t, path, ring)
	for cookie, status := range map[string]session.Status{ended: session.Ended, cut: session.Valid, bobs: session.Valid} {
		late.want(status, cookie)
	}

	// Last seen arrives in the directory.
	w.flush()
	record, err := directory.Session(t.Context(), bobsSession.ID)
	if err != nil {
		t.Fatal(err)
	}
	if record.LastSeen.Before(record.Created) || record.End == nil {
		t.Errorf("recorded %+v", record)
	}
}

// STO-204, STO-207: when the store goes away, who is signed in stays so, and nothing is pretended.
func TestWhenTheEmbeddedStoreGoesAway(t *testing.T) {
	w, s := onStore(t, filepath.Join(t.TempDir(), "loginwall.db"), newRing(t))
	cookie, signedIn := w.signIn(alice())
	s.Close()
	if err := w.follower.Poll(t.Context()); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("polled: %v", err)
	}
	if err := w.End(t.Context(), signedIn, "", auth.EndSignOut); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("ended: %v", err)
	}
	if err := w.EndAll(t.Context(), signedIn.Identity.UserID(), "", auth.EndByAdmin); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("ended all: %v", err)
	}
	if set, _, _, err := w.Start(t.Context(), bob(), auth.Client{}); !errors.Is(err, auth.ErrUnavailable) || set != "" {
		t.Errorf("signed in: %q, %v", set, err)
	}
	if err := w.FlushSeen(t.Context()); err != nil {
		t.Errorf("nothing was seen: %v", err)
	}
	w.want(session.Valid, cookie)
}
