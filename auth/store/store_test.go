package store_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

func TestSmoke(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?#%.db")
	t0 := time.Now()
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + path, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(t0))
	id := auth.Identity{Issuer: "https://x", Subject: "1", Email: "a@example.com", EmailVerified: true, Name: "Ä"}
	in, err := s.SignIn(t.Context(), auth.SignIn{Identity: id, Session: auth.NewSessionID(), MaxAge: time.Hour})
	t.Log(in, err)
	t0 = time.Now()
	for range 200 {
		in, err = s.SignIn(t.Context(), auth.SignIn{Identity: id, Session: auth.NewSessionID(), MaxAge: time.Hour})
	}
	t.Log(time.Since(t0)/200, err)
	u, c, err := s.Users(t.Context(), store.UserQuery{Search: "ä"})
	t.Log(u, c, err)
	t.Log(s.Block(t.Context(), store.Who{Email: "A@example.com"}, "me", "why"))
	t.Log(s.SignIn(t.Context(), auth.SignIn{Identity: id, Session: auth.NewSessionID(), MaxAge: time.Hour}))
	f, err := s.Revocations(t.Context(), 0)
	t.Log(f, err)
	u, c, err = s.Users(t.Context(), store.UserQuery{BlockedOnly: true})
	t.Log(u[0].Block, c, err)
	t.Log(s.Unblock(t.Context(), store.Who{Email: "A@example.com"}, "me"))
	f, err = s.Revocations(t.Context(), f.Cursor)
	t.Log(f, err)
	t.Log(s.Prune(t.Context()), s.Ping(t.Context()), s.Verify(t.Context()))
	t.Log(s.Close())
	t0 = time.Now()
	s, err = store.Open(t.Context(), store.Config{URL: "sqlite:" + path})
	t.Log(time.Since(t0), err)
	t.Log(s.Close())
}
