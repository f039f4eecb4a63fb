package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth/seal"
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

// A password that somebody forgot to encode, so that a part of it stands where
// a port, a path or a host does, is printed nowhere.
func TestNoPartOfAPasswordIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for sign, says := range map[string]string{
		"/": "with certainty", "@": "with certainty", "#": "with certainty", "?": "with certainty", "%zz": "in password",
		":": "refused", "": "refused",
	} {
		url := "postgres://wall:1917" + sign + "2023@127.0.0.1:1/wall"
		file := r.write(t, basics+"session: {key_file: key}\nstore: '"+url+"'\n")
		check(t, os.WriteFile(filepath.Join(filepath.Dir(file), "key"), seal.GenerateKey(), 0o600))
		for _, args := range [][]string{{"check"}, {"check", "--offline"}, {"serve"}, {"users", "list"}, {"store", "copy", "--from", url, "--to", "sqlite:/nowhere"}} {
			out, err := exec.Command(wallBinary(), append(args, "--config", file)...).CombinedOutput() //nolint:gosec // a test's own
			if regexp.MustCompile(`\b(1917|2023)\b`).Match(out) {
				t.Errorf("%s with %q in the password: %s", args, sign, out)
			}
			if offline := len(args) == 2 && args[1] == "--offline"; offline != (err == nil) || !offline && !strings.Contains(string(out), says) {
				t.Errorf("%s with %q in the password: %v, and not a word of %q: %s", args, sign, err, says, out)
			}
		}
	}
}
