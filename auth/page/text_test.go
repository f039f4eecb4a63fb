package page_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/page"
)

func TestInitials(t *testing.T) {
	p := newPages(t, page.Config{})
	for _, c := range []struct{ name, email, want string }{
		{"Alice Lindqvist", "", "AL"},
		{"Alice Maria van der Berg", "", "AB"},
		{"élodie", "", "É"},
		{"李 小龍", "", "李小"},
		{"  (Bob)  O'Neil ", "", "BN"},
		{"", "carol.smith@example.com", "C"},
		{"😀", "dave@example.com", "D"},
		{"", "@", "?"},
		{"", "", "?"},
	} {
		email := c.email
		if email == "" && c.name == "" || email == "@" {
			email = "-" // nothing in it that is a letter
		}
		text := body(t, show(t, p, http.MethodGet, page.Navigation, account(c.name, email)))
		got := regexp.MustCompile(`<span class="avatar hue[0-5]" aria-hidden="true">(.*?)</span>`).FindStringSubmatch(text)
		if got == nil || got[1] != c.want {
			t.Errorf("%q, %q: got %q, want %q", c.name, email, got, c.want)
		}
	}
}

func TestSessionTimes(t *testing.T) {
	p := newPages(t, page.Config{})
	now := time.Date(2026, 9, 24, 14, 5, 0, 0, time.UTC)
	for _, c := range []struct {
		created, expires, idle time.Duration
		want                   []string
		never                  string
	}{
		{-30 * time.Second, 59 * time.Minute, 30 * time.Minute, []string{"just now", "in 59 minutes, at the latest", "in 30 minutes;"}, ""},
		{-time.Minute, 119 * time.Minute, 48 * time.Hour, []string{"1 minute ago", "in 119 minutes"}, "If unused"},
		{-47 * time.Hour, 168 * time.Hour, 24 * time.Hour, []string{"47 hours ago", "in 7 days", "in 24 hours;"}, ""},
		{-89 * time.Second, 168*time.Hour - time.Second, 24*time.Hour - time.Second, []string{"1 minute ago", "in 7 days", "in 24 hours;"}, ""},
		{-91 * time.Second, 7*24*time.Hour - 13*time.Hour, 90*time.Minute - 29*time.Second, []string{"2 minutes ago", "in 6 days", "in 90 minutes;"}, ""},
		{-time.Hour, 30 * time.Second, 0, []string{"60 minutes ago", "in less than a minute"}, ""},
	} {
		v := account("Alice", "alice@example.com")
		v.Session.Created, v.Session.Expires, v.IdleEnds = now.Add(c.created), now.Add(c.expires), now.Add(c.idle)
		text := body(t, show(t, p, http.MethodGet, page.Navigation, v))
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("no %q on\n%s", want, text)
			}
		}
		if c.never != "" && strings.Contains(text, c.never) {
			t.Errorf("%q on\n%s", c.never, text)
		}
		if !strings.Contains(text, `<time datetime="`+v.Session.Created.Format(time.RFC3339)+`">`) {
			t.Errorf("no machine-readable time on\n%s", text)
		}
	}
}
