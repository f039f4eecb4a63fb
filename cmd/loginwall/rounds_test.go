package main

import (
	"html"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/session"
)

// TestRounds: a browser that does not keep what it is given is not sent round for
// ever, not even where the provider asks no question; the page where it ends says
// what is most likely wrong. The wall remembers none of it.
func TestRounds(t *testing.T) {
	t.Parallel()
	const who = "alice@example.com"
	// round goes once round, with somebody whom the provider knows already.
	round := func(t *testing.T, r *rig) *answer {
		t.Helper()
		r.ask(t, http.MethodGet, "-nav", r.consent(t, r.begin(t, "/reports"), who))
		if r.last.StatusCode != http.StatusSeeOther {
			t.Fatalf("the callback: %s\n%s", r.last.Status, r.last.body)
		}
		return r.last
	}
	ends := func(t *testing.T, r *rig, title string) {
		t.Helper()
		if r.last.StatusCode != http.StatusBadRequest || !strings.Contains(string(r.last.body), "<h1>"+title+"</h1>") {
			t.Errorf("%s, want the page %q:\n%s", r.last.Status, title, r.last.body)
		}
	}
	for name, test := range map[string]func(*testing.T, *rig){
		"all cookies are blocked": func(t *testing.T, r *rig) {
			path := "/reports"
			for _, title := range []string{"This sign-in cannot be continued", "This sign-in cannot be continued", "Your browser does not keep you signed in"} {
				callback := r.consent(t, r.begin(t, path), who)
				clear(r.cookies())
				r.ask(t, http.MethodGet, "-nav", callback)
				ends(t, r, title)
				link := regexp.MustCompile(`href="([^"]*/_auth/login[^"]*)"`).FindSubmatch(r.last.body)
				if link == nil {
					t.Fatalf("no way on:\n%s", r.last.body)
				}
				path = strings.TrimPrefix(html.UnescapeString(string(link[1])), r.publicURL)
			}
		},
		"the session is blocked": func(t *testing.T, r *rig) {
			for range 3 {
				round(t, r)
				delete(r.cookies(), r.sessionCookie())
			}
			r.ask(t, http.MethodGet, "-nav", "/reports")
			ends(t, r, "Your browser does not keep you signed in")
			if r.ask(t, http.MethodGet, "-xhr", "/reports"); r.last.StatusCode != http.StatusUnauthorized {
				t.Errorf("a program: %s", r.last.Status)
			}
			// Whoever presses the button begins anew, and may have changed something.
			r.signIn(t, who, "/reports")
			if r.ask(t, http.MethodGet, "-nav", "/reports"); r.last.StatusCode != http.StatusOK {
				t.Errorf("with cookies: %s", r.last.Status)
			}
		},
		"a proxy takes the answer's cookies": func(t *testing.T, r *rig) {
			for range 3 {
				callback := r.consent(t, r.begin(t, "/reports"), who)
				before := maps.Clone(r.cookies())
				r.ask(t, http.MethodGet, "-nav", callback)
				r.jars[r.jar] = before
			}
			r.ask(t, http.MethodGet, "-nav", "/reports")
			ends(t, r, "Your browser does not keep you signed in")
		},
		"the session is not accepted": func(t *testing.T, r *rig) { // as by a process with another key, or a clock that is off
			for range 3 {
				round(t, r)
				r.cookies()[r.sessionCookie()] = "AAAA" + r.cookies()[r.sessionCookie()][4:]
			}
			r.ask(t, http.MethodGet, "-nav", "/reports")
			ends(t, r, "Your session ends as soon as it begins")
		},
		"the cookie is over": func(t *testing.T, r *rig) { // the browser's clock says so, or it has taken its time
			began := time.Now()
			callback := r.consent(t, r.begin(t, "/reports"), who)
			poll(t, "no two seconds pass", func() bool { return time.Since(began) > 2100*time.Millisecond })
			clear(r.cookies())
			r.ask(t, http.MethodGet, "-nav", callback)
			ends(t, r, "This sign-in took too long")
		},
		"people who come and go": func(t *testing.T, r *rig) {
			for range 4 {
				round(t, r)
				r.ask(t, http.MethodPost, "-nav", "/_auth/logout", "Origin:"+r.publicURL)
			}
			r.begin(t, "/reports")
			for range 4 {
				round(t, r)
				r.run(t, filepath.Join(r.folder, "wall.yaml"), "sessions", "end", "--user", who)
				poll(t, "the session does not end", func() bool {
					return r.ask(t, http.MethodGet, "-xhr", "/_auth/me").StatusCode == http.StatusUnauthorized
				})
			}
			r.begin(t, "/reports")
		},
		"marks that nobody made": func(t *testing.T, r *rig) {
			name := r.sessionCookie() + "-rounds"
			for _, value := range []string{"", "9s1", "3", "3x1", "-1s0", "3s" + strings.Repeat("z", 99), "3szzzzzzz", "3s-1"} {
				r.cookies()[name] = value
				r.begin(t, "/reports")
			}
			for _, state := range []string{"x.", "x.3", "x.9s1", "x.3szzzzzzzzzzzzzzzz", "x..", ".3s1"} {
				r.ask(t, http.MethodGet, "-nav", "/_auth/callback?code=c&state="+url.QueryEscape(state))
				if r.last.StatusCode != http.StatusBadRequest {
					t.Errorf("%q: %s", state, r.last.Status)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := basics
			if name == "the cookie is over" {
				config += "session: {login_timeout: 1s}\n"
			}
			test(t, startWall(t, "", config))
		})
	}
	t.Run("it began over http", func(t *testing.T) {
		t.Parallel()
		r := startWall(t, "https://app.test", basics)
		callback := r.consent(t, r.beginAs(t, "/reports", "X-Forwarded-Proto:http"), who)
		clear(r.cookies())
		r.ask(t, http.MethodGet, "-nav", callback)
		ends(t, r, "This sign-in began without encryption")
		if !strings.Contains(string(r.last.body), `href="https://app.test/"`) {
			t.Errorf("no way to https:\n%s", r.last.body)
		}
		// What came over https is not blamed on it.
		callback = r.consent(t, r.beginAs(t, "/reports", "X-Forwarded-Proto:https"), who)
		clear(r.cookies())
		r.ask(t, http.MethodGet, "-nav", callback)
		ends(t, r, "This sign-in cannot be continued")
	})
}

// beginAs begins a login with one more header.
func (r *rig) beginAs(t *testing.T, target, header string) (provider string) {
	t.Helper()
	r.ask(t, http.MethodGet, "-nav", target, header)
	if r.last.StatusCode != http.StatusFound {
		t.Fatalf("no login began: %s", r.last.Status)
	}
	return r.last.Header.Get("Location")
}

// sessionCookie is the name of the session's cookie.
func (r *rig) sessionCookie() string {
	u, _ := url.Parse(r.publicURL)
	return session.NameFor(u)
}
