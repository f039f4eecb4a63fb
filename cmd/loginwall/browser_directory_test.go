package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/session"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/config"
	"github.com/loginwall/loginwall/internal/hygiene"
)

// testDirectory: an admin finds somebody, blocks him with a reason, and lets him in
// again; the page that he has open hears of it.
func testDirectory(t *testing.T, browser context.Context, s *scene) {
	const who = "oscar@example.com" // nobody else's in these tests
	b := newTab(t, browser)
	b.open(s.url + "/")
	b.signInAs(who)
	b.sees("Hello, Oscar")

	admin := newTab(t, browser)
	admin.open(s.url + "/_auth/users")
	admin.signIn("alice@example.com")
	admin.at(s.url + "/_auth/users")
	admin.fill("#q", "osc")
	admin.click("Show")
	admin.sees(who)
	admin.lacks("alice@example.com")
	admin.press("the person", `document.querySelector("a.who")`)
	admin.sees("Open sessions")
	admin.sees("Chrome on Linux")
	admin.fill("#reason", "left the company")
	admin.click("Block")
	admin.sees("Blocked. All sessions have ended.")
	admin.sees("left the company")
	b.reload()
	b.sees("This account is blocked")
	admin.click("Unblock")
	admin.sees("Unblocked.")
	b.reloadUntil("Choose an account") // the session stays ended

	// Somebody who has never been here is kept out, too.
	admin.open(s.url + "/_auth/users")
	admin.press("the form", `document.querySelector("details.block summary")`)
	admin.fill("#email", "trent@example.com")
	admin.fill("#reason", "left before the first day")
	admin.click("Block")
	admin.sees("Blocked addresses that nobody here has")
	admin.sees("left before the first day")
	trent := newTab(t, browser)
	trent.open(s.url + "/")
	trent.signInAs("trent@example.com")
	trent.sees("This account is blocked")
	admin.press("the button", `document.querySelector("button[value='trent@example.com']")`)
	admin.sees("Unblocked.")
	admin.lacks("left before the first day")
}

// testEndAndDelete: one session ends, then all, then the person is taken along and
// deleted.
func testEndAndDelete(t *testing.T, browser context.Context, s *scene) {
	const who = "peggy@example.com"
	first, second := newTab(t, browser), newTab(t, browser)
	for _, b := range []*tab{first, second} {
		b.open(s.url + "/")
		b.signInAs(who)
		b.sees("Hello, Peggy")
	}
	admin := newTab(t, browser)
	admin.open(s.url + "/_auth/users?q=" + who)
	admin.signIn("alice@example.com")
	admin.press("the person", `document.querySelector("a.who")`)
	admin.click("End") // the newest
	admin.sees("Ended.")
	second.reload()
	second.sees("Choose an account")
	first.reload()
	first.sees("Hello, Peggy")
	admin.click("End all sessions")
	admin.until("no session is open", `document.querySelector("#open").nextElementSibling.innerText == "None."`)
	first.reload()
	first.sees("Choose an account")

	admin.click("Delete…")
	admin.sees("Delete this person?")
	folder := t.TempDir()
	admin.do("keep downloads", tell("Page.setDownloadBehavior", map[string]any{"behavior": "allow", "downloadPath": folder}))
	admin.click("export as JSON")
	poll(t, "no export with all that is known", func() bool {
		text, err := os.ReadFile(filepath.Join(folder, "user.json"))
		var export struct {
			User             struct{ Email string }
			Sessions, Events []any
		}
		return err == nil && json.Unmarshal(text, &export) == nil && export.User.Email == who && len(export.Sessions) == 2 && len(export.Events) > 3
	})
	admin.click("Delete")
	admin.sees("The person was deleted.")
	admin.open(s.url + "/_auth/users?q=" + who)
	admin.sees("Nobody is found")
}

// testOwnSessions: a person sees where else he is signed in, and ends that.
func testOwnSessions(t *testing.T, browser context.Context, s *scene) {
	var tabs []*tab
	for range 3 {
		b := newTab(t, browser)
		b.open(s.url + "/_auth/")
		b.signInAs("rupert@example.com")
		b.sees("Where you are signed in")
		tabs = append(tabs, b)
	}
	here := tabs[1]
	here.reload()
	here.until("three sessions", `document.querySelectorAll(".sessions li").length == 3`)
	here.click("End") // the newest
	here.sees("That session has ended.")
	tabs[2].reload()
	tabs[2].sees("Choose an account")
	here.click("Sign out everywhere else")
	here.sees("You are signed out everywhere else.")
	here.until("one session", `document.querySelectorAll(".sessions li").length == 1`)
	tabs[0].reload()
	tabs[0].sees("Choose an account")
}

// testStaleSignIn: with a sign-in of more than 15 minutes nothing is changed until
// the person has signed in again, and nothing that was typed is lost.
func testStaleSignIn(t *testing.T, browser context.Context, s *scene) {
	const who = "sybil@example.com"
	s.signedIn(who, "Sybil Stone", "", time.Minute)
	admin := newTab(t, browser)
	admin.has(s, s.signedIn("alice@example.com", "Alice Archer", "100000000000000000001", 16*time.Minute))
	admin.open(s.url + "/_auth/users?q=" + who)
	admin.press("the person", `document.querySelector("a.who")`)
	admin.fill("#reason", "a reason worth keeping & more")
	admin.click("Block")
	admin.sees("Is it still you?")
	admin.click("Sign in with Google")
	admin.signIn("alice@example.com")
	admin.sees("Block this person?")
	admin.until("the reason is still there", `document.querySelector("#reason").value == "a reason worth keeping & more"`)
	admin.click("Block")
	admin.sees("Blocked. All sessions have ended.")
	admin.sees("a reason worth keeping & more")
}

// testDirectoryLooks holds the directory's pages against axe-core and against a
// screen of 320 pixels, filled with people whom a layout must bear.
func testDirectoryLooks(t *testing.T, browser context.Context, scheme string) {
	axe, err := os.ReadFile(filepath.Join(repositoryRoot(t), "deploy/peers/node_modules/axe-core/axe.min.js"))
	if err != nil {
		hygiene.Missing(t, "axe-core", "deploy/components.sh")
	}
	s := newScene(t, http.NotFoundHandler(), "")
	b := newTab(t, browser)
	b.scheme(scheme)
	b.has(s, s.signedIn("alice@example.com", "Alice Archer", "", 3*time.Minute))
	b.open(s.url + "/_auth/users")
	b.until("one person", `document.querySelectorAll("tbody tr").length == 1`)
	b.picture("users-one-" + scheme)
	people := [][2]string{
		{"bob@example.com", "Bob Baker"},
		{"maximiliane.von-und-zu-der-langen-adresse+with-a-tag@department.of.a.very.long.subdomain.example.com", "Maximiliane Gräfin von und zu der Langen Adresse"},
		{"layla@example.com", "ليلى بنت أحمد"},
		{"rachel@example.com", "רחל אברהם"},
		{"nameless@example.com", ""},
		{"mika@example.com", "渡辺 美香"},
		{"script@example.com", `<script>alert(1)</script> <img src=x onerror=alert(1)>`},
	}
	for i := range 24 {
		people = append(people, [2]string{fmt.Sprintf("person%d@example.com", i), fmt.Sprintf("Person Number%d", i)})
	}
	for i, p := range people {
		s.signedIn(p[0], p[1], "", time.Duration(len(people)-i)*73*time.Minute)
	}
	for range 2 {
		s.signedIn(people[1][0], people[1][1], "", 10*time.Minute)
	}
	s.run("users", "block", "--reason", "left the company", "layla@example.com")
	s.run("sessions", "end", "--user", "rachel@example.com")
	s.run("users", "block", "--reason", "never to come, for a reason that takes a line and a half", "maximilian.von-und-zu-der-langen-adresse@department.of.a.very.long.subdomain.example.com")
	s.run("users", "block", "--reason", "phishing", "stranger@example.net")
	for name, open := range map[string]func(){
		"users":         func() { b.open(s.url + "/_auth/users") },
		"users-next":    func() { b.open(s.url + "/_auth/users"); b.click("Next page"); b.sees("First page") },
		"users-none":    func() { b.open(s.url + "/_auth/users?q=xyzzy&show=blocked") },
		"users-blocked": func() { b.open(s.url + "/_auth/users?show=blocked"); b.sees("phishing") },
		"block-address": func() { b.open(s.url + "/_auth/users/block?email=alice@example.com") },
		"user-long": func() {
			b.open(s.url + "/_auth/users?q=maxi")
			b.press("her", `document.querySelector("a.who")`)
			b.sees("Sign-ins")
		},
		"user-rtl": func() {
			b.open(s.url + "/_auth/users?q=layla")
			b.press("her", `document.querySelector("a.who")`)
			b.sees("left the company")
		},
		"user-script": func() {
			b.open(s.url + "/_auth/users?q=script@")
			b.press("it", `document.querySelector("a.who")`)
			b.sees("<script>")
		},
		"user-delete": func() {
			b.open(s.url + "/_auth/users?q=bob")
			b.press("him", `document.querySelector("a.who")`)
			b.click("Delete…")
			b.sees("Delete this person?")
		},
		"user-block-self": func() {
			b.open(s.url + "/_auth/users?q=alice")
			b.press("her", `document.querySelector("a.who")`)
			b.fill("#reason", "me")
			b.click("Block")
			b.sees("loginwall users unblock")
		},
		"own": func() { b.open(s.url + "/_auth/") },
	} {
		b.do("a small phone", chromedp.EmulateViewport(320, 640))
		open()
		b.until("the page fits: "+name, `document.readyState == "complete" && document.documentElement.scrollWidth <= 320`)
		b.until("below 30 KB: "+name, `[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource").filter(e => e.name.endsWith(".css"))]
			.reduce((n, e) => n + e.decodedBodySize, 0) < 30000`)
		b.do("load axe", chromedp.Evaluate[chromedp.Void](string(axe)))
		for _, violation := range b.audit() {
			t.Errorf("%s: %s", name, violation)
		}
		b.picture(name + "-" + scheme)
	}
}

// signedIn makes somebody sign in some time ago, in the wall's store, and returns
// the cookie.
func (s *scene) signedIn(email, name, subject string, ago time.Duration) *http.Cookie {
	s.t.Helper()
	return signedIn(s.t, s.file, email, name, subject, ago)
}

func signedIn(t *testing.T, file, email, name, subject string, ago time.Duration) *http.Cookie {
	t.Helper()
	if subject == "" {
		subject = "of-" + url.QueryEscape(email)
	}
	return signedInAs(t, file, auth.Identity{Subject: subject, Email: email, EmailVerified: true, HostedDomain: auth.Domain(email), Name: name}, ago)
}

// signedInAs is signedIn for all that a provider may say of somebody.
func signedInAs(t *testing.T, file string, id auth.Identity, ago time.Duration) *http.Cookie {
	t.Helper()
	cfg, _, err := config.Load(file, os.LookupEnv)
	check(t, err)
	keys, _, err := ring(cfg, false)
	check(t, err)
	then := func() time.Time { return time.Now().Add(-ago) }
	opened, err := store.Open(t.Context(), store.Config{URL: cfg.Store.URL(), Now: then})
	check(t, err)
	defer opened.Close()
	id.Issuer = providerConfig(cfg).Issuer
	keeper, err := session.New(session.Config{
		PublicURL: cfg.PublicURL, Ring: keys, Issuer: id.Issuer, MaxAge: cfg.Session.MaxAge, Idle: cfg.Session.IdleTimeout,
		Store: opened, Revoked: session.NewRevocations(then), Now: then,
	})
	check(t, err)
	line, _, _, err := keeper.Start(t.Context(), id, auth.Client{Address: "2001:db8:4006:812::200e", Agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"})
	check(t, err)
	cookie, err := http.ParseSetCookie(line)
	check(t, err)
	return cookie
}

// has gives a tab a cookie.
func (b *tab) has(s *scene, c *http.Cookie) {
	b.t.Helper()
	b.do("take a cookie", tell("Network.setCookie", map[string]any{"name": c.Name, "value": c.Value, "url": s.url}))
}
