package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

func benchStore(b *testing.B, users, sessions int) *store.Store {
	b.Helper()
	path := filepath.Join(b.TempDir(), "loginwall.db")
	s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + path, Create: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	if users > 0 {
		fill(b, path, users, sessions)
	}
	return s
}

func BenchmarkSignIn(b *testing.B) {
	s := benchStore(b, 0, 0)
	id := person(1)
	for b.Loop() {
		if _, err := s.SignIn(b.Context(), auth.SignIn{Identity: id, Session: auth.NewSessionID(), MaxAge: time.Hour}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPoll is what every process does a few times a second.
func BenchmarkPoll(b *testing.B) {
	s := benchStore(b, 0, 0)
	if _, err := s.EndSessionsOf(b.Context(), "u", "x", auth.EndByAdmin); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Revocations(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen100kUsers(b *testing.B) {
	path := filepath.Join(b.TempDir(), "loginwall.db")
	for i := 0; b.Loop(); i++ {
		s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + path, Create: true})
		if err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
		if i == 0 {
			b.StopTimer()
			fill(b, path, 100_000, 100_000)
			b.StartTimer()
		}
	}
}

// BenchmarkDirectory asks what the directory's pages ask, of 100,000 users with
// 1,000,000 sessions.
func BenchmarkDirectory(b *testing.B) {
	path := filepath.Join(b.TempDir(), "loginwall.db")
	// All sessions are open then, ten of each user.
	now := func() time.Time { return time.UnixMilli(1700000000000 + 1_500_000) }
	s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + path, Create: true, Now: now})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	if _, err := s.SignIn(b.Context(), auth.SignIn{Identity: person(1), Session: "x", MaxAge: time.Hour}); err != nil {
		b.Fatal(err) // so that the store knows how long sessions live
	}
	fill(b, path, 100_000, 1_000_000)
	for i := range 200 {
		if _, err := s.Block(b.Context(), store.Who{Email: fmt.Sprintf("user%d@example.com", 400*i+1)}, "x", "y"); err != nil {
			b.Fatal(err)
		}
	}
	someone := auth.UserID(fmt.Sprintf("user%022d", 77777))
	users := func(q store.UserQuery) func(b *testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				q.Limit = 25
				if _, _, err := s.Users(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	deep := store.UserQuery{Limit: 1000}
	for range 50 {
		_, next, err := s.Users(b.Context(), deep)
		if err != nil {
			b.Fatal(err)
		}
		deep.After = next
	}
	for _, c := range []struct {
		name string
		run  func(*testing.B)
	}{
		{"list", users(store.UserQuery{})},
		{"by email", users(store.UserQuery{Order: store.ByEmail})},
		{"by first sign-in", users(store.UserQuery{Order: store.ByFirstSignIn})},
		{"deep", users(deep)},
		{"open", users(store.UserQuery{OpenOnly: true})},
		{"blocked", users(store.UserQuery{BlockedOnly: true})},
		{"search one", users(store.UserQuery{Search: "user77777@"})},
		{"search some", users(store.UserQuery{Search: "user777"})},
		{"search many", users(store.UserQuery{Search: "user7"})},
		{"search all", users(store.UserQuery{Search: "user"})},
		{"search all and one", users(store.UserQuery{Search: "user 77777"})},
		{"search many, open, by email", users(store.UserQuery{Search: "user7", OpenOnly: true, Order: store.ByEmail})},
		{"search nobody", users(store.UserQuery{Search: "nobody at all"})},
		{"domain", users(store.UserQuery{Domain: "example.com"})},
		{"no domain", users(store.UserQuery{Domain: "nowhere.test"})},
	} {
		b.Run(c.name, c.run)
	}
	b.Run("person", func(b *testing.B) {
		for b.Loop() {
			_, err := s.User(b.Context(), store.Who{User: someone})
			open, _, err2 := s.Sessions(b.Context(), store.SessionQuery{User: someone, OpenOnly: true})
			_, _, err3 := s.Sessions(b.Context(), store.SessionQuery{User: someone})
			_, _, err4 := s.Events(b.Context(), store.EventQuery{User: someone})
			if err := errors.Join(err, err2, err3, err4); err != nil || len(open) != 10 {
				b.Fatal(len(open), err)
			}
		}
	})
}
