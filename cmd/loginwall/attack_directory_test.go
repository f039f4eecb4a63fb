package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// What is sent and not understood ends nobody's sessions, and nobody ends another's
// by a handle of the own page.
func TestAttackDirectory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	file := r.write(t, adminsWall)
	r.serveReady(t, file)
	find := func(pattern string) string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindSubmatch(r.last.body)
		if m == nil {
			t.Fatalf("no %s in %s", pattern, r.last.body)
		}
		return string(m[1])
	}
	r.as("bob").signIn(t, "bob@example.com", "/")
	r.as("bob2").signIn(t, "bob@example.com", "/")
	r.as("alice").signIn(t, "alice@example.com", "/")
	r.ask(t, http.MethodGet, "-xhr", "/_auth/users?q=bob")
	bob := find(`"id":"(\w+)"`)
	r.ask(t, http.MethodGet, "-xhr", "/_auth/users/"+bob)
	session := find(`"open_sessions":\[\{"id":"(\w+)"`)
	origin := "Origin:" + r.publicURL
	for _, sent := range [][]string{
		{`{"session":"` + session + `"}`},
		{"Content-Type:application/x-www-form-urlencoded", `{"session":"` + session + `"}`},
		{"Content-Type:application/x-www-form-urlencoded", "sesion=" + session},
		{"Content-Type:text/plain", "session=" + session},
		{"Content-Type:multipart/form-data; boundary=x", `{"session":"` + session + `"}`},
	} {
		if a := r.ask(t, http.MethodPost, append([]string{"-xhr", "/_auth/users/" + bob + "/end", origin}, sent...)...); a.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %s", sent, a.Status)
		}
	}
	end := func(who, handle string) {
		t.Helper()
		r.as(who).ask(t, http.MethodPost, "-xhr", "/_auth/sessions/end", origin, "Content-Type:application/json", `{"session":"`+handle+`"}`)
	}
	alive := func(who string, want bool) {
		t.Helper()
		if got := r.as(who).signedIn(t) != ""; got != want {
			t.Errorf("%s is signed in: %v", who, got)
		}
	}
	r.as("bob").ask(t, http.MethodGet, "-xhr", "/_auth/")
	elsewhere := find(`"handle":"(\w+)"[^{}]*"current":false`)
	if elsewhere == session || find(`"handle":"(\w+)"[^{}]*"current":true`) == session {
		t.Error("the own page tells ids, which any script of the app can read there")
	}
	end("alice", elsewhere)
	end("bob", "")
	end("bob", `\u0000`)
	alive("bob", true)
	alive("bob2", true)
	end("bob", elsewhere)
	alive("bob", true)
	alive("bob2", false)

	// Nobody who is kept out makes it look as if the store failed, and wakes an operator.
	command(t, file, "users", "block", "bob@example.com")
	if a := r.as("bob").tryLogin(t, "bob@example.com", "/"); a.StatusCode != http.StatusForbidden {
		t.Errorf("bob: %s", a.Status)
	}
	figures, err := r.client.Get("http://" + r.ops + "/metrics")
	check(t, err)
	defer figures.Body.Close()
	text, err := io.ReadAll(figures.Body)
	check(t, err)
	if failed := regexp.MustCompile(`(?m)^loginwall_store_request_duration_seconds_count.*result="error".*`).FindAllString(string(text), -1); failed != nil {
		t.Errorf("the store failed: %q", failed)
	}
}

// A backup that failed leaves no file that looks like one: an empty store knows of
// no block.
func TestAttackBackup(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	file := r.write(t, basics)
	r.serve(t, file).stop(t)
	_, err := openStore(t, filepath.Dir(file)).ExecContext(t.Context(), `INSERT INTO user_words (user_id, word) VALUES ('nobody', 'x')`) // refers to no user
	check(t, err)
	backup := filepath.Join(t.TempDir(), "backup.db")
	if out, err := tryCommand(file, "store", "backup", backup); err == nil {
		t.Errorf("a backup of what contradicts itself: %s", out)
	}
	name := filepath.Join(t.TempDir(), "name")
	check(t, os.WriteFile(name, []byte("sqlite:"+backup), 0o600))
	if out, err := tryCommand(file, "store", "copy", "--from", "sqlite:"+filepath.Join(filepath.Dir(file), "loginwall.db"), "--to", "@"+name); err == nil {
		t.Errorf("a copy of what contradicts itself: %s", out)
	}
	if _, err := os.Stat(backup); !os.IsNotExist(err) {
		t.Errorf("there is a file: %v", err)
	}
}
