package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/internal/hygiene"
)

// testActivity: an admin sees what happened, and finds one thing among many.
func testActivity(t *testing.T, browser context.Context, _ *scene) {
	axe, err := os.ReadFile(filepath.Join(repositoryRoot(t), "deploy/peers/node_modules/axe-core/axe.min.js"))
	if err != nil {
		hygiene.Missing(t, "axe-core", "deploy/components.sh")
	}
	s := newScene(t, http.NotFoundHandler(), "")
	months(t, filepath.Join(filepath.Dir(s.file), "loginwall.db"))

	// Others are turned away by the same gate as everywhere.
	b := newTab(t, browser)
	b.open(s.url + "/_auth/users/activity")
	b.signIn("bob@example.com")
	b.sees("For administrators only")
	b.click("Use another account")
	b.signIn("alice@example.com")
	b.at(s.url + "/_auth/users/activity")
	b.sees("People who signed in")
	b.sees("its domain is not allowed")
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		for name, path := range map[string]string{"activity": "/_auth/users/activity", "events": "/_auth/users/events", "events-none": "/_auth/users/events?actor=nobody"} {
			b.do("a small phone", chromedp.EmulateViewport(320, 640))
			b.open(s.url + path)
			b.until("the page fits: "+name, `document.documentElement.scrollWidth <= 320`)
			b.until("the page is small: "+name, `new TextEncoder().encode(document.documentElement.outerHTML).length + performance.getEntriesByType("resource").find(r => r.name.endsWith(".css")).decodedBodySize < 30000`)
			b.do("load axe", chromedp.Evaluate[chromedp.Void](string(axe)))
			for _, violation := range b.audit() {
				t.Errorf("%s, %s: %s", name, scheme, violation)
			}
			b.picture(name + "-" + scheme)
		}
	}
	b.do("a desktop", chromedp.EmulateViewport(1280, 800))

	b.open(s.url + "/_auth/users/activity")
	b.do("open the figures", chromedp.Evaluate[chromedp.Void](`document.querySelector("summary").click()`))
	b.until("the table has thirty days", `document.querySelector("details[open] tbody").rows.length == 30`)
	b.click("mallory@evil.test")
	b.sees("Turned away")
	b.until("only what was asked for is there", `document.querySelectorAll("tbody tr").length > 0 && [...document.querySelectorAll("tbody tr")].every(r => r.innerText.includes("mallory@evil.test") && r.innerText.includes("Turned away"))`)

	// Pages follow each other without a gap.
	b.open(s.url + "/_auth/users/events?kind=sign_in&actor=user3@example.com")
	b.until("a full page", `document.querySelectorAll("tbody tr").length == 25`)
	b.click("Earlier")
	b.until("the next one", `document.querySelectorAll("tbody tr").length > 0 && location.search.includes("after=") && location.search.includes("user3")`)
	b.click("Latest")
	b.until("the first again", `document.querySelectorAll("tbody tr").length == 25 && !location.search.includes("after=")`)
	b.open(s.url + "/_auth/users/events?since=yesterday")
	b.sees("This was not understood")

	// The same for programs; our own pages let none run.
	b.open(s.url + "/of-the-app")
	var activity struct {
		Days, Hours []struct {
			Start                   time.Time
			SignIns, Denied, People int64
		}
		TurnedAway []struct {
			Email, Reason string
			Times         int64
		} `json:"turned_away"`
	}
	b.json("/_auth/users/activity", &activity)
	if len(activity.Days) != 30 || len(activity.Hours) != 24 || len(activity.TurnedAway) == 0 || activity.TurnedAway[0].Email != "mallory@evil.test" {
		t.Errorf("activity: %+v", activity)
	}
	var events struct {
		Events []struct{ Kind, Actor string }
		Next   string
	}
	b.json("/_auth/users/events?kind=sign_in&limit=100", &events)
	if len(events.Events) != 100 || events.Next == "" || events.Events[0].Actor != "alice@example.com" {
		t.Errorf("%d events, the first %+v, next %q", len(events.Events), events.Events[0], events.Next)
	}
}

// json asks as a script of the page does.
func (b *tab) json(path string, into any) {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](fmt.Sprintf(`fetch(%q).then(r => r.text())`, path), chromedp.EvalAwaitPromise))
	check(b.t, err)
	check(b.t, json.Unmarshal([]byte(text), into))
}

// months lets people come and go for a while.
func months(t *testing.T, path string) {
	t.Helper()
	now := time.Now().Add(-28 * 24 * time.Hour).Truncate(time.Hour)
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + path, Now: func() time.Time { return now }})
	check(t, err)
	for i := 0; now.Before(time.Now().Add(-time.Minute)); i++ {
		n := i * i % 7
		id := auth.Identity{Issuer: "https://accounts.example.com", Subject: fmt.Sprint(n), Email: fmt.Sprintf("user%d@example.com", i%9), EmailVerified: true, Name: fmt.Sprint("User ", n)}
		_, err := s.SignIn(t.Context(), auth.SignIn{Identity: id, Session: auth.NewSessionID(), MaxAge: time.Hour, Address: fmt.Sprint("192.0.2.", n)})
		check(t, err)
		if i%5 == 0 {
			e := auth.Event{Kind: auth.EventDenied, Actor: "mallory@evil.test", Email: "mallory@evil.test", Address: "198.51.100.7", Detail: "domain"}
			if i%15 == 0 {
				e.Actor, e.Email, e.Detail = "eve@example.com", "eve@example.com", "hosted_domain"
			}
			check(t, s.Record(t.Context(), e))
		}
		now = now.Add(time.Duration(1+n*n/4) * time.Hour / 2)
	}
	check(t, s.Close())
}
