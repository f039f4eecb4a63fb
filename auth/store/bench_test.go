package store_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

func BenchmarkSignIn(b *testing.B) {
	s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + filepath.Join(b.TempDir(), "x.db"), Create: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	id := auth.Identity{Issuer: "https://x", Subject: "1", Email: "a@example.com", EmailVerified: true, Name: "Ä"}
	for b.Loop() {
		if _, err := s.SignIn(b.Context(), auth.SignIn{Identity: id, Session: auth.NewSessionID(), MaxAge: time.Hour}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPoll(b *testing.B) {
	s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + filepath.Join(b.TempDir(), "x.db"), Create: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	s.EndSessionsOf(b.Context(), "x", "y", auth.EndByAdmin)
	for b.Loop() {
		if _, err := s.Revocations(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
}
