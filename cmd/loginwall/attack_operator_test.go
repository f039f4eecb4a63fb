package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/loginwall/loginwall/auth/devidp"
)

// ADM-226, ADM-225: no spelling of an admins' path is a way around, for the app's own
// and for the wall's.
func TestAttackAdminPaths(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serveReady(t, r.write(t, basics+`
admins: [alice@example.com]
routes:
  - {path: /admin/, access: admins}
  - {path: /panel, methods: [GET], access: admins}
`))
	r.as("alice").signIn(t, "alice@example.com", "/")
	r.as("bob").signIn(t, "bob@example.com", "/")
	spellings := []string{
		"/admin/", "/admin/x", "//admin/x", "/admin//x", "/./admin/x", "/x/../admin/x", "/x/%2e%2e/admin/x", "/%61dmin/x", "/admin%2fx", "/%2fadmin/x",
		"/ADMIN/x", "/Admin/x", "/admin;a=b/x", "/x;/../admin/x", "/admin/0", "/admin/-1", "/admin/%00", "/x/..%2fadmin/x", "/x/..%5cadmin/x", "/%2561dmin/x",
		"/panel", "/PANEL", "//panel", "/panel/", "/./panel", "/panel%2f", "/x/../panel", "/panel;x",
	}
	for _, path := range spellings {
		raw := "GET " + path + " HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nAccept: application/json\r\nX-Forwarded-User: alice@example.com\r\nX-Forwarded-Groups: admins\r\nConnection: close\r\n\r\n"
		r.as("bob")
		if a := r.sendRaw(t, raw, patience); len(a) != 1 || a[0].StatusCode != http.StatusForbidden && path != "/panel/" && path != "/panel%2f" {
			t.Errorf("bob at %s: %s", path, r.last.Status)
		}
		r.as("nobody")
		if a := r.sendRaw(t, strings.Replace(raw, "Cookie: {cookie}\r\n", "", 1), patience); len(a) != 1 || a[0].StatusCode != http.StatusUnauthorized {
			t.Errorf("nobody at %s: %s", path, r.last.Status)
		}
	}
	for _, path := range []string{"/admin/x", "/admin//x", "/panel"} {
		if a := r.as("alice").ask(t, http.MethodGet, "-xhr", path); a.StatusCode != http.StatusOK {
			t.Errorf("alice at %s: %s", path, a.Status)
		}
	}
	// The wall's own: 404 or the app's own path, never the directory, and never an alias.
	for _, path := range []string{"/_auth/users/../users", "/_auth//users", "/_auth/users%2f", "/_auth/USERS", "/_AUTH/users", "//_auth/users", "/_auth/%75sers", "/_auth;/users", "/x/../_auth/users"} {
		reached := r.upstream.count()
		a := r.as("bob").sendRaw(t, "GET "+path+" HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n", patience)
		ours := strings.HasPrefix(path, "/_auth/")
		if len(a) != 1 || ours && (a[0].StatusCode != http.StatusNotFound && a[0].StatusCode != http.StatusForbidden || r.upstream.count() != reached) || !ours && a[0].StatusCode != http.StatusOK {
			t.Errorf("bob at %s: %s", path, r.last.Status)
		}
	}
}

// ADM-227, LOG-235: what an operator is told, and what the person sees of it.
func TestAttackTrail(t *testing.T) {
	t.Parallel()
	r := newTokenRig(t)
	r.wall.stop(t)
	file := r.write(t, trusting+"admins: [alice@example.com]\n")
	r.wall = r.serveReady(t, file)
	logged := func(t *testing.T, a *answer, words ...string) {
		t.Helper()
		id := a.Header.Get("X-Request-Id")
		poll(t, fmt.Sprintf("no line of the log holds %q and %q", id, words), func() bool {
			for line := range strings.Lines(r.wall.log.String()) {
				found := strings.Contains(line, id)
				for _, word := range words {
					found = found && strings.Contains(line, word)
				}
				if found {
					return true
				}
			}
			return false
		})
	}

	t.Run("LOG-235 each decision", func(t *testing.T) {
		a := r.login(t, "alice@example.com", devidp.Fault{})
		logged(t, a, `"event":"sign_in"`, `"user":"alice@example.com"`, `"user_id":"`)
		a = r.ask(t, http.MethodGet, "-nav", "/x")
		logged(t, &answer{Response: &http.Response{Header: http.Header{"X-Request-Id": {requestID(r.upstream.since(0))}}}}, `"outcome":"proxied"`, `"user":"alice@example.com"`, `"user_id":"`, `"rule":"`)
		if a.StatusCode != http.StatusOK {
			t.Errorf("%s", a.Status)
		}
		a = r.login(t, "mallory@evil.test", devidp.Fault{})
		logged(t, a, `"reason":"domain"`, `"user":"mallory@evil.test"`, `"rule":"`)
		if text := string(a.body); !strings.Contains(text, "mallory@evil.test") || strings.Contains(text, "example.com") && !strings.Contains(text, "app.test") {
			t.Errorf("the page says:\n%s", text)
		}
		a = r.login(t, "alice@example.com", devidp.Fault{Claims: setTo("nonce", "x")})
		logged(t, a, `"reason":"nonce"`)
		if text := strings.ToLower(string(a.body)); strings.Contains(text, "nonce") || strings.Contains(text, "token") {
			t.Errorf("the page tells too much:\n%s", text)
		}
		a = r.as("nobody").ask(t, http.MethodGet, "-xhr", "/x")
		logged(t, a, `"outcome":"sign_in_required"`, `"status":401`)
		a = r.ask(t, http.MethodGet, "-xhr", "/x", "Host:evil.test")
		logged(t, a, `"status":421`)
	})

	t.Run("ADM-227 another account under an admin's address", func(t *testing.T) {
		if strings.Contains(r.wall.log.String(), "another account now holds an admin's address") {
			t.Error("said without a reason")
		}
		a := r.login(t, "alice@example.com", devidp.Fault{Claims: setTo("sub", "999")})
		if a.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s", a.Status)
		}
		logged(t, a, `"level":"WARN"`, "another account now holds an admin's address", `"previous_user_id":"`)
	})
}

func requestID(reached []received) string {
	if len(reached) == 0 {
		return "none reached the app"
	}
	return strings.Join(valuesOf(fieldsOf(reached[len(reached)-1].raw), "X-Request-Id"), "|")
}

// LOG-234: whatever strangers write, the log is one object a line, in letters that a
// terminal only shows.
func TestAttackLogInjection(t *testing.T) {
	t.Parallel()
	r := newTokenRig(t)
	const evil = "\x1b[2J\x1b]0;owned\x07\u2028{\"level\":\"ERROR\",\"msg\":\"forged\"}\u202e\u009b31m"
	for _, raw := range []string{
		"GET /" + url.PathEscape(evil) + " HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
		"GET /x\x1b[31m\u2028 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
		"GET /x HTTP/1.1\r\nHost: {host}\r\nUser-Agent: " + strings.ReplaceAll(evil, "\x1b", "") + "\r\nConnection: close\r\n\r\n",
		"GET /x HTTP/1.1\r\nHost: {host}\r\nUser-Agent: \u2028\u202eforged\r\nX-Request-Id: forged\u2028\r\nConnection: close\r\n\r\n",
		"FORGED" + strings.Repeat("X", 300) + " /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
		"GET /x HTTP/1.1\r\nHost: evil\u2028.test\r\nConnection: close\r\n\r\n",
		"GET /_auth/callback?error=" + url.QueryEscape(evil) + "&error_description=" + url.QueryEscape(evil) + "&state=x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
	} {
		r.as("nobody").sendRaw(t, raw, patience)
	}
	r.login(t, "alice@example.com", devidp.Fault{Claims: func(m map[string]any) { m["name"], m["email"] = evil, "a"+evil+"@evil.test" }})
	r.login(t, "alice@example.com", devidp.Fault{Claims: func(m map[string]any) { m["iss"] = evil }})
	r.login(t, "alice@example.com", devidp.Fault{Header: setTo("kid", evil)})
	r.idp.Misbehave(devidp.Fault{Discovery: setTo("issuer", evil)})
	r.wall.stop(t)
	for line := range strings.Lines(r.wall.log.String()) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Errorf("%v: %q", err, line)
		}
		for _, c := range strings.TrimSuffix(line, "\n") {
			if !unicode.IsPrint(c) {
				t.Errorf("%U in %q", c, line)
			}
		}
		if object["msg"] == "forged" {
			t.Errorf("a forged line: %s", line)
		}
	}
}

// LOG-237: nobody reads the log, and nobody has to wait for that.
func TestAttackLogThatNobodyReads(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	file := r.write(t, basics)
	pipe, hung, err := os.Pipe()
	check(t, err)
	defer pipe.Close()
	cmd := exec.Command(wallBinary(), "serve", "--config", file) //nolint:gosec // a test's own
	cmd.Stderr = hung
	check(t, cmd.Start())
	hung.Close()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	r.awaitServing(t)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{}, CheckRedirect: r.client.CheckRedirect}
	defer client.CloseIdleConnections()
	long := "http://" + r.address + "/" + strings.Repeat("long", 450)
	for range 3000 { // some 6 MB of lines, over the queue of 4 MB
		request, err := http.NewRequest(http.MethodGet, long, nil)
		check(t, err)
		request.Header.Set("Accept", "application/json")
		response, err := client.Do(request)
		check(t, err)
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Fatalf("%s", response.Status)
		}
	}
	if lost := metric(r.metrics(t), `loginwall_log_lines_dropped_total{stream="log"}`); lost < 100 {
		t.Errorf("%v lines were lost", lost)
	}
	check(t, cmd.Process.Signal(os.Interrupt))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		check(t, err)
	case <-time.After(patience):
		t.Error("the wall does not end")
	}
}
