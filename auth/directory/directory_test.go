package directory_test

import (
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/directory"
)

// The pages are tested whole, through the real binary, in cmd/loginwall; here are
// the parts that stand alone.

func TestDevice(t *testing.T) {
	for agent, want := range map[string]string{
		"":                                  "Unknown device",
		"<script>alert(1)</script>\r\nX: y": "Unknown device",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36":                                    "Chrome on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0":                      "Edge on Windows",
		"Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0":                                                                             "Firefox on Linux",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15":                              "Safari on Mac",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/139.0.7258.76 Mobile/15E148 Safari/604.1":     "Chrome on iPhone",
		"Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1":                     "Safari on iPad",
		"Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Mobile Safari/537.36":                              "Chrome on Android",
		"Mozilla/5.0 (Linux; Android 15; SAMSUNG SM-S938B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36": "Samsung Internet on Android",
		"Mozilla/5.0 (X11; CrOS x86_64 16181.61.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36":                                    "Chrome on ChromeOS",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 OPR/122.0.0.0":                      "Opera on Windows",
		"Mozilla/5.0 (compatible; Windows NT 6.1; Trident/7.0)":                                                                                              "A browser on Windows",
		"curl/8.14.1": "curl",
	} {
		if got := directory.Device(agent); got != want {
			t.Errorf("%s: %q, want %q", agent, got, want)
		}
	}
}

func seq(users ...auth.User) iter.Seq2[auth.User, error] {
	return func(yield func(auth.User, error) bool) {
		for _, u := range users {
			if !yield(u, nil) {
				return
			}
		}
	}
}

// No cell begins with what a spreadsheet takes for a formula.
func TestWriteCSV(t *testing.T) {
	at := time.Date(2026, 11, 23, 1, 2, 3, 4e6, time.UTC)
	var users []auth.User
	for _, name := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "O'Neil, \"Bob\"", "plain; -", "x;=1+1;y"} {
		users = append(users, auth.User{ID: "u", Identity: auth.Identity{Name: name, Email: "a@example.com"}, FirstSignIn: at})
	}
	users[0].Block = &auth.Block{Reason: "=cmd|' /C calc'!A0"}
	var out strings.Builder
	if err := directory.WriteCSV(&out, seq(users...)); err != nil {
		t.Fatal(err)
	}
	want := `id,issuer,subject,email,name,hosted_domain,blocked,first_sign_in,last_sign_in,last_seen,sign_ins,open_sessions,blocked_reason
u,,,a@example.com,'=1+1,,true,2026-11-23T01:02:03Z,,,0,0,'=cmd|' /C calc'!A0
u,,,a@example.com,'+1,,false,2026-11-23T01:02:03Z,,,0,0,
u,,,a@example.com,'-1,,false,2026-11-23T01:02:03Z,,,0,0,
u,,,a@example.com,'@SUM(A1),,false,2026-11-23T01:02:03Z,,,0,0,
u,,,a@example.com,'	'=1,,false,2026-11-23T01:02:03Z,,,0,0,
u,,,a@example.com,"'` + "\r" + `'=1",,false,2026-11-23T01:02:03Z,,,0,0,
u,,,a@example.com,"O'Neil, ""Bob""",,false,2026-11-23T01:02:03Z,,,0,0,
u,,,a@example.com,plain; -,,false,2026-11-23T01:02:03Z,,,0,0,
u,,,a@example.com,x;'=1+1;y,,false,2026-11-23T01:02:03Z,,,0,0,
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWriteArray(t *testing.T) {
	email := func(u auth.User) string { return u.Email }
	for want, users := range map[string]iter.Seq2[auth.User, error]{
		"[]\n":                      seq(),
		"[\n  \"a\"\n]\n":           seq(auth.User{Identity: auth.Identity{Email: "a"}}),
		"[\n  \"a\",\n  \"b\"\n]\n": seq(auth.User{Identity: auth.Identity{Email: "a"}}, auth.User{Identity: auth.Identity{Email: "b"}}),
	} {
		var out strings.Builder
		if err := directory.WriteArray(&out, users, email); err != nil || out.String() != want {
			t.Errorf("%q, %v, want %q", out.String(), err, want)
		}
	}
	failed := errors.New("the store is away")
	if err := directory.WriteArray(new(strings.Builder), func(yield func(auth.User, error) bool) { yield(auth.User{}, failed) }, email); !errors.Is(err, failed) {
		t.Errorf("%v, want %v", err, failed)
	}
}
