package store_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/auth/store/storetest"
)

// There and back again: a store moves to another engine with all that it holds.
func testCopy(t *testing.T, p *storetest.Postgres) {
	first := open(t, store.Config{URL: "sqlite:" + newPath(t), Create: true})
	var ended auth.Session
	for n := range 250 {
		ended = signIn(t, first, n)
	}
	must(t, first.EndSession(t.Context(), auth.Ending{Session: ended.ID, User: ended.Identity.UserID(), By: "x"}))
	_, err := first.Block(t.Context(), store.Who{Email: "user1@example.com"}, "x", "“odd” \\ ' text\n")
	must(t, err)
	must(t, first.Record(t.Context(), auth.Event{Kind: auth.EventDenied, Email: "stranger@example.net", Detail: "no"}))

	second := open(t, store.Config{URL: p.Database(t), Create: true})
	third := open(t, store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "back.db"), Create: true})
	for _, way := range [][2]*store.Store{{first, second}, {second, third}} {
		got, err := store.Copy(t.Context(), way[0], way[1])
		if want := (store.Copied{Users: 250, Sessions: 250, Blocks: 1, Revocations: 4, Events: 253}); err != nil || got != want {
			t.Fatalf("Copy = %+v, %v, want %+v", got, err, want)
		}
		if _, err := store.Copy(t.Context(), way[0], way[1]); !errors.Is(err, store.ErrNotEmpty) {
			t.Errorf("Copy into what holds something: %v", err)
		}
		must(t, way[1].Verify(t.Context()))
	}
	if diff := cmp.Diff(contents(t, first), contents(t, third)); diff != "" {
		t.Errorf("there and back (-want +got):\n%s", diff)
	}
	// Life goes on: the feed and the events continue where they were.
	for _, s := range []*store.Store{second, third} {
		before, err := s.Revocations(t.Context(), 0)
		must(t, err)
		signIn(t, s, 2)
		_, err = s.Block(t.Context(), store.Who{Email: "user2@example.com"}, "x", "")
		must(t, err)
		if after, err := s.Revocations(t.Context(), before.Cursor); err != nil || after.Whole || len(after.Rows) != 3 {
			t.Errorf("feed = %+v, %v", after, err)
		}
		if _, err := trySignIn(t.Context(), s, 1); !errors.Is(err, auth.ErrBlocked) {
			t.Errorf("a blocked user: %v", err)
		}
	}
}

// contents is all that can be asked for.
func contents(t *testing.T, s *store.Store) (all []any) {
	t.Helper()
	for u, err := range s.AllUsers(t.Context(), store.UserQuery{}) {
		must(t, err)
		all = append(all, u)
	}
	for r, err := range s.AllSessions(t.Context(), store.SessionQuery{}) {
		must(t, err)
		all = append(all, r)
	}
	for e, err := range s.AllEvents(t.Context(), store.EventQuery{}) {
		must(t, err)
		all = append(all, e)
	}
	feed, err := s.Revocations(t.Context(), 0)
	must(t, err)
	activity, err := s.Activity(t.Context(), store.Hourly, time.Now().Add(-time.Hour))
	must(t, err)
	return append(all, feed, activity)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
