package store_test

import (
	"path/filepath"
	"testing"

	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/auth/store/storetest"
)

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func(store.Config) *store.Store {
		path := filepath.Join(t.TempDir(), "loginwall.db")
		return func(c store.Config) *store.Store {
			c.URL, c.Create = "sqlite:"+path, true
			return open(t, c)
		}
	})
}

func open(t *testing.T, c store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
