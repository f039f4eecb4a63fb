package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth/store"
)

// A store of an older release is no place to copy to, and stays one of that release.
func TestCopyLeavesAnOlderStoreAsItIs(t *testing.T) {
	t.Parallel()
	sqlite := peerProgram(t, "sqlite3", "sqlite3")
	folder := t.TempDir()
	newer, older := filepath.Join(folder, "newer.db"), filepath.Join(folder, "older.db")
	for _, name := range []string{newer, older} {
		s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + name, Create: true})
		check(t, err)
		check(t, s.Close())
	}
	ask := func(statement string) string {
		t.Helper()
		out, err := exec.Command(sqlite, older, statement).CombinedOutput() //nolint:gosec // a test's own
		check(t, err)
		return strings.TrimSpace(string(out))
	}
	// As it was before the last migration.
	ask("DELETE FROM counters WHERE name LIKE 'door%'; UPDATE meta SET value = '3' WHERE name = 'schema_version'")
	out, err := exec.Command(wallBinary(), "store", "copy", "--from", "sqlite:"+newer, "--to", "sqlite:"+older).CombinedOutput() //nolint:gosec // a test's own
	if err == nil || !strings.Contains(string(out), "version 3") {
		t.Errorf("copied to an older store: %v %s", err, out)
	}
	if got := ask("SELECT value FROM meta WHERE name = 'schema_version'"); got != "3" {
		t.Errorf("the older store has version %s now", got)
	}
}
