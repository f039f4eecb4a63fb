package session_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/session"
)

func TestNameFor(t *testing.T) {
	for publicURL, want := range map[string]string{
		"https://tool.example.com":      "__Host-loginwall",
		"https://tool.example.com:8443": "__Host-loginwall-8443",
		"https://tool.example.com:443":  "__Host-loginwall-443",
		"http://localhost":              "loginwall",
		"http://localhost:8080":         "loginwall-8080",
		"http://[::1]:8080":             "loginwall-8080",
		"http://[::1]":                  "loginwall",
	} {
		u, err := url.Parse(publicURL)
		if err != nil {
			t.Fatal(err)
		}
		if got := session.NameFor(u); got != want {
			t.Errorf("%s: %q, want %q", publicURL, got, want)
		}
		if !session.IsOurs(want) || !session.IsOurs(want+"-a-x1") {
			t.Errorf("%s is not ours", want)
		}
	}
}

func TestIsOurs(t *testing.T) {
	for name, want := range map[string]bool{
		"loginwall": true, "__Host-loginwall": true, "loginwall-8080": true, "__Host-loginwall-8443": true,
		"__Host-loginwall-a-abc": true, "loginwall-": true, "LOGINWALL": true, "__HOST-LoginWall-x": true,
		"": false, "__Host-": false, "loginwal": false, "loginwall2": false, "loginwall_theme": false, "myloginwall": false,
		"__Host-__Host-loginwall": false, "__Secure-loginwall": false, " loginwall": false, "session": false,
		"loginwall\u212a": false, "log\u0131nwall": false,
	} {
		if got := session.IsOurs(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// COO-124.
func TestAttributes(t *testing.T) {
	for publicURL, want := range map[string]http.Cookie{
		"https://tool.example.com:8443": {Name: "__Host-loginwall-8443", Secure: true},
		"http://localhost:8080":         {Name: "loginwall-8080"},
	} {
		u, err := url.Parse(publicURL)
		if err != nil {
			t.Fatal(err)
		}
		w := newWall(t, func(c *session.Config) { c.PublicURL, c.Idle = u, time.Minute })
		start, s, _, err := w.Start(t.Context(), alice(), auth.Client{})
		if err != nil {
			t.Fatal(err)
		}
		w.clock.move(10*time.Second + time.Millisecond)
		touch, due := w.Touch(s)
		if !due {
			t.Fatal("not due")
		}
		for what, c := range map[string]struct {
			set    string
			maxAge int
		}{
			"sign-in": {start, 168 * 3600},
			"touch":   {touch, 168*3600 - 10},
			"delete":  {w.ClearCookie(), -1},
			"attempt": {w.SetCookie(w.CookieName(), "abc", 1500*time.Millisecond), 2},
			"past":    {w.SetCookie(w.CookieName(), "", -time.Hour), -1},
		} {
			got, err := http.ParseSetCookie(c.set)
			if err != nil {
				t.Fatalf("%s: %q: %v", what, c.set, err)
			}
			if got.Name != want.Name || got.Name != w.CookieName() || got.Secure != want.Secure || !got.HttpOnly ||
				got.SameSite != http.SameSiteLaxMode || got.Path != "/" || got.Domain != "" || got.Partitioned || len(got.Unparsed) != 0 {
				t.Errorf("%s: %s", what, c.set)
			}
			if got.MaxAge != c.maxAge {
				t.Errorf("%s: lives for %d s, want %d", what, got.MaxAge, c.maxAge)
			}
			if c.maxAge < 0 && !strings.Contains(c.set, "=; Path=/; Max-Age=0; ") {
				t.Errorf("%s does not delete: %s", what, c.set)
			}
			if strings.Contains(strings.ToLower(c.set), "domain") {
				t.Errorf("%s names a domain: %s", what, c.set)
			}
		}
	}
}

// COO-128, COO-129, COO-131: only the exact name counts, and only the text that a browser would send.
func TestWhichCookieCounts(t *testing.T) {
	w := newWall(t)
	a, _ := w.signIn(alice())
	b, _ := w.signIn(bob())
	name, value, _ := strings.Cut(a, "=")
	old := newWall(t)
	forged, _ := old.signIn(alice())
	elsewhere := newWall(t, func(c *session.Config) {
		c.PublicURL, c.Ring = &url.URL{Scheme: "https", Host: "other.example.com"}, w.config.Ring
	})
	other, _ := elsewhere.signIn(alice())
	other2, _ := elsewhere.signIn(bob())
	fifth := other + "; " + other2
	for range 3 {
		another, _ := elsewhere.signIn(bob())
		fifth += "; " + another
	}

	for what, c := range map[string]struct {
		lines []string
		want  session.Status
	}{
		"no header":                {nil, session.None},
		"empty lines":              {[]string{"", "", ""}, session.None},
		"another cookie":           {[]string{"a=b; c=d"}, session.None},
		"alone":                    {[]string{a}, session.Valid},
		"first":                    {[]string{a + "; x=y"}, session.Valid},
		"in the middle":            {[]string{"x=y; " + a + "; z=\"q\""}, session.Valid},
		"without blanks":           {[]string{"x=y;" + a + ";z=1"}, session.Valid},
		"with tabs":                {[]string{"x=y;\t " + a + " \t;z=1"}, session.Valid},
		"line of its own":          {[]string{"x=y", a}, session.Valid},
		"behind a nameless one":    {[]string{"junk; " + a}, session.Valid},
		"behind empty pairs":       {[]string{";;; ;" + a + ";;"}, session.Valid},
		"twice the same":           {[]string{a + "; " + a, a}, session.Valid},
		"alice and bob":            {[]string{a + "; " + b}, session.Invalid},
		"bob and alice, two lines": {[]string{b, a}, session.Invalid},
		"valid and junk":           {[]string{a + "; " + name + "=junk"}, session.Invalid},
		"junk and valid":           {[]string{name + "=junk; " + a}, session.Invalid},
		"valid and empty":          {[]string{a + "; " + name + "="}, session.Invalid},
		"valid and forged":         {[]string{a + "; " + forged}, session.Invalid},
		"forged":                   {[]string{forged}, session.Invalid},
		"empty":                    {[]string{name + "="}, session.Invalid},
		"junk":                     {[]string{name + "=junk"}, session.Invalid},
		"quoted":                   {[]string{name + `="` + value + `"`}, session.Invalid},
		"valid and quoted":         {[]string{a + "; " + name + `="` + value + `"`}, session.Invalid},
		"blank before the value":   {[]string{name + "= " + value}, session.Invalid},
		"comma behind":             {[]string{a + ","}, session.Invalid},
		"no-break space behind":    {[]string{a + "\u00a0"}, session.Invalid},
		"blank before =":           {[]string{name + " =" + value}, session.None},
		"no value":                 {[]string{name}, session.None},
		"lower case":               {[]string{strings.ToLower(name) + "=" + value}, session.None},
		"upper case":               {[]string{strings.ToUpper(name) + "=" + value}, session.None},
		"without the prefix":       {[]string{strings.TrimPrefix(a, "__Host-")}, session.None},
		"U+2000 in front":          {[]string{"\u2000" + a}, session.None},
		"U+0085 in front":          {[]string{"x=y;\u0085" + a}, session.None},
		"vertical tab in front":    {[]string{"\v" + a}, session.None},
		"RFC 2965 version":         {[]string{"$Version=1," + a}, session.None},
		"behind a comma":           {[]string{"x=y, " + a}, session.None},
		"inside a value":           {[]string{"x=" + a}, session.None},
		"inside a name":            {[]string{"x" + a}, session.None},
		"nameless with our text":   {[]string{"=" + a}, session.None},
		"longer name":              {[]string{name + "-8443=" + value}, session.None},
		"an attempt":               {[]string{name + "-a-x=" + value}, session.None},
		"inside quotes":            {[]string{`x="; ` + a + `; y="`}, session.Valid}, // browsers know no quotes
		"elsewhere":                {[]string{other}, session.None},
		"elsewhere and ours":       {[]string{other + "; " + a}, session.Valid},
		"ours and elsewhere twice": {[]string{a + "; " + other + "; " + other2}, session.Valid},
		"elsewhere and junk":       {[]string{other + "; " + name + "=junk"}, session.Invalid},
		"elsewhere, ours, bob's":   {[]string{other + "; " + a + "; " + b}, session.Invalid},
		"elsewhere, five values":   {[]string{fifth}, session.Invalid},
		"five values":              {[]string{a + "; " + name + "=1; " + name + "=2; " + name + "=3; " + name + "=4"}, session.Invalid},
	} {
		t.Run(what, func(t *testing.T) {
			w.t = t
			for range 2 { // opened, and remembered
				if s := w.want(c.want, c.lines...); s != nil && s.Identity.Email != "alice@example.com" {
					t.Errorf("opened for %s", s.Identity.Email)
				}
			}
		})
	}
}

// COO-125: each byte of the cookie counts.
func TestChangedCookies(t *testing.T) {
	w := newWall(t)
	cookie, _ := w.signIn(bob())
	start := len(w.CookieName()) + 1
	for i := start; i < len(cookie); i++ {
		for what, changed := range map[string]string{
			"flipped":  cookie[:i] + string([]byte{cookie[i] ^ 1}) + cookie[i+1:],
			"deleted":  cookie[:i] + cookie[i+1:],
			"inserted": cookie[:i] + "A" + cookie[i:],
			"cut":      cookie[:i],
		} {
			if got := w.Open([]string{changed}); changed != cookie && got.Status != session.Invalid {
				t.Fatalf("%s at %d: %v", what, i-start, got.Status)
			}
		}
	}
	w.want(session.Valid, cookie)
}

// COO-130: however much a client sends, it is looked through once and nothing is kept.
func TestHugeHeaders(t *testing.T) {
	w := newWall(t)
	cookie, _ := w.signIn(alice())
	name := w.CookieName()
	w.want(session.Valid, cookie)
	many := make([]string, 5000)
	for i := range many {
		many[i] = "c" + strings.Repeat("x", 10) + "=" + strings.Repeat("v", 100)
	}
	for what, c := range map[string]struct {
		lines []string
		want  session.Status
	}{
		"5,000 cookies":             {[]string{strings.Join(many, "; ") + "; " + cookie}, session.Valid},
		"5,000 lines":               {append(many, cookie), session.Valid},
		"1 MB of one value":         {[]string{strings.Repeat(name+"=; ", 1<<20/len(name+"=; "))}, session.Invalid},
		"1 MB of values":            {[]string{manyValues(name, 1<<20)}, session.Invalid},
		"1 MB of names":             {[]string{strings.Repeat(name, 1<<20/len(name))}, session.None},
		"1 MB of blanks":            {[]string{strings.Repeat(" ", 1<<20) + cookie}, session.Valid},
		"1 MB of semicolons":        {[]string{strings.Repeat(";", 1<<20)}, session.None},
		"a value of 64 KB":          {[]string{name + "=" + strings.Repeat("A", 64<<10)}, session.Invalid},
		"two values of 64 KB":       {[]string{name + "=" + strings.Repeat("A", 64<<10), name + "=" + strings.Repeat("B", 64<<10)}, session.Invalid},
		"ours behind 64 KB of junk": {[]string{"x=" + strings.Repeat("A", 64<<10) + "; " + cookie}, session.Valid},
	} {
		w.want(c.want, c.lines...)
		if n := testing.AllocsPerRun(100, func() { w.Open(c.lines) }); n > 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

func manyValues(name string, size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		b.WriteString(name + "=" + strings.Repeat("v", i%1000) + ";")
	}
	return b.String()
}
