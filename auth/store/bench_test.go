package store_test

import (
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

func BenchmarkSearch100kUsers(b *testing.B) {
	s := benchStore(b, 100_000, 0)
	for b.Loop() {
		if users, _, err := s.Users(b.Context(), store.UserQuery{Search: "nobody at all"}); err != nil || len(users) != 0 {
			b.Fatal(users, err)
		}
	}
}
