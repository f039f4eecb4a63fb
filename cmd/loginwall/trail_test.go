package main

import (
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/devidp"
)

var onThePage = regexp.MustCompile(`Request ID: <code>([0-9a-f]{32})</code>`)

// LOG-235: the request id that a person reads on the page leads, in one grep, to the
// cause. Each case is a failure of its own, against the real binary.
func TestOneGrep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, config string
		fail         func(t *testing.T, r *rig)
		cause        []string // in one line of the log, as the grep shows it
	}{
		{"the provider is down", "", func(t *testing.T, r *rig) {
			r.idp.Misbehave(at("token", hangUp))
			r.tryLogin(t, "alice@example.com", "/")
		}, []string{`"msg":"login failed"`, `"reason":"unavailable"`, `"action":"exchange the code"`, "token endpoint", "EOF"}},
		{"the client secret is wrong", "wrong", func(t *testing.T, r *rig) {
			r.tryLogin(t, "alice@example.com", "/")
		}, []string{`"msg":"login failed"`, `"reason":"bad_client"`, "invalid_client"}},
		{"not on the list", "", func(t *testing.T, r *rig) {
			r.tryLogin(t, "mallory@evil.test", "/")
		}, []string{`"msg":"sign-in denied"`, `"reason":"domain"`, `"user":"mallory@evil.test"`, `"rule":"`}},
		{"the login took too long", "session: {login_timeout: 1s}\n", func(t *testing.T, r *rig) {
			began := time.Now()
			callback := r.consent(t, r.begin(t, "/"), "alice@example.com")
			poll(t, "no second passes", func() bool { return time.Since(began) > 1100*time.Millisecond })
			r.ask(t, http.MethodGet, "-nav", callback)
		}, []string{`"msg":"login refused"`, `"reason":"attempt_expired"`}},
		{"another browser's callback", "", func(t *testing.T, r *rig) {
			callback := r.consent(t, r.begin(t, "/"), "alice@example.com")
			r.as("another").ask(t, http.MethodGet, "-nav", callback)
		}, []string{`"msg":"login refused"`, `"reason":"attempt_unknown"`}},
		{"the clocks differ", "", func(t *testing.T, r *rig) {
			r.idp.Misbehave(devidp.Fault{Claims: func(claims map[string]any) {
				claims["iat"], claims["exp"] = time.Now().Add(-3*time.Hour).Unix(), time.Now().Add(-2*time.Hour).Unix()
			}})
			r.tryLogin(t, "alice@example.com", "/")
		}, []string{`"msg":"login failed"`, `"reason":"clock"`, "by our clock"}},
		{"somebody said no at the provider", "", func(t *testing.T, r *rig) {
			r.idp.Misbehave(devidp.Fault{Callback: func(q url.Values) {
				q.Del("code")
				q.Set("error", "access_denied")
			}})
			r.tryLogin(t, "alice@example.com", "/")
		}, []string{`"msg":"login refused"`, `"reason":"access_denied"`}},
		{"the app is down", "", func(t *testing.T, r *rig) {
			r.signIn(t, "alice@example.com", "/")
			r.upstream.answer("")
			r.ask(t, http.MethodGet, "-nav", "/report")
		}, []string{`"msg":"upstream failed"`, `"kind":"closed"`, "EOF"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			config := basics + c.config
			if c.config == "wrong" {
				config = strings.Replace(basics, "$CLIENT_SECRET", "GOCSPX-another-secret", 1)
			}
			wall := r.serveReady(t, r.write(t, config))
			c.fail(t, r)
			id := onThePage.FindSubmatch(r.last.body)
			if id == nil {
				t.Fatalf("%s, and no request id on the page:\n%s", r.last.Status, r.last.body)
			}
			wall.stop(t)
			file := filepath.Join(t.TempDir(), "wall.log")
			check(t, os.WriteFile(file, []byte(wall.log.String()), 0o600))
			found, err := exec.Command("grep", "-F", string(id[1]), file).Output() //nolint:gosec // a test's own
			check(t, err)
			if !strings.Contains(string(found), `"msg":"request"`) {
				t.Errorf("no line of the access log:\n%s", found)
			}
			for line := range strings.Lines(string(found)) {
				if containsAll(line, c.cause) {
					return
				}
			}
			t.Errorf("no line with %q:\n%s", c.cause, found)
		})
	}
}

func containsAll(s string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// Every word that stands as a reason in the log is told to operators.
func TestReasonsAreTold(t *testing.T) {
	t.Parallel()
	told := readFile(t, "../../deploy/observe/README.md")
	word := regexp.MustCompile(`(?m)^\s(?:Reason|Attempt|Provider)\w+ +(?:Reason|Problem) += "(\w+)"`)
	for _, source := range []string{"auth/policy/decide.go", "auth/oidc/errors.go", "auth/page/problem.go"} {
		words := word.FindAllStringSubmatch(readFile(t, "../../"+source), -1)
		if len(words) < 10 {
			t.Errorf("%s has %d reasons", source, len(words))
		}
		for _, w := range words {
			if w[1] != "attempt_invalid" && !strings.Contains(told, "`"+w[1]+"`") { // logged as malformed
				t.Errorf("deploy/observe/README.md does not say what %s means", w[1])
			}
		}
	}
}
