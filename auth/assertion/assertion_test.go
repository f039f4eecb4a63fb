package assertion_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/assertion"
)

const origin = "https://tool.example.com"

var start = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func seed(b byte) []byte { return bytes.Repeat([]byte{b}, assertion.KeySize) }

func newTeller(t testing.TB, c assertion.Config) *assertion.Teller {
	t.Helper()
	c.PublicURL = origin
	if c.Keys == nil {
		c.Keys = [][]byte{seed(1)}
	}
	if c.Now == nil {
		c.Now = func() time.Time { return start }
	}
	teller, err := assertion.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return teller
}

func alice() *auth.Session {
	return &auth.Session{
		ID: auth.NewSessionID(),
		Identity: auth.Identity{
			Issuer: "https://accounts.google.com", Subject: "1001",
			Email: "alice@example.com", EmailVerified: true, HostedDomain: "example.com",
			Name: "Alice Example", Picture: "https://pics.example/alice.png",
			Groups: []string{"sre@example.com", "wiki|writers", "a,b"},
		},
		Created: start, LastSeen: start, Expires: start.Add(24 * time.Hour),
	}
}

// headers says what alice's upstream gets, one value a name.
func headers(t *testing.T, h http.Header) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for name, values := range h {
		if len(values) != 1 {
			t.Errorf("%s has %d values", name, len(values))
		}
		if name != http.CanonicalHeaderKey(name) {
			t.Errorf("%s is not in the form that http.Header's methods find", name)
		}
		out[name] = values[0]
	}
	return out
}

func TestProfiles(t *testing.T) {
	tests := map[string]map[string]string{
		"forwarded": {
			"X-Forwarded-User":               "alice@example.com",
			"X-Forwarded-Email":              "alice@example.com",
			"X-Forwarded-Preferred-Username": "alice",
			"X-Forwarded-Name":               "Alice Example",
			"X-Forwarded-Groups":             "sre@example.com,wiki|writers",
		},
		"grafana": {
			"X-Webauth-User":   "alice@example.com",
			"X-Webauth-Email":  "alice@example.com",
			"X-Webauth-Name":   "Alice Example",
			"X-Webauth-Groups": "sre@example.com,wiki|writers",
		},
		"gitea": {
			"X-Webauth-User":     "alice",
			"X-Webauth-Email":    "alice@example.com",
			"X-Webauth-Fullname": "Alice Example",
		},
		"jenkins": {
			"X-Forwarded-User":        "alice@example.com",
			"X-Forwarded-Email":       "alice@example.com",
			"X-Forwarded-Displayname": "Alice Example",
			"X-Forwarded-Groups":      "sre@example.com|a,b",
		},
		"remote-user": {
			"Remote-User":   "alice@example.com",
			"Remote-Email":  "alice@example.com",
			"Remote-Name":   "Alice Example",
			"Remote-Groups": "sre@example.com,wiki|writers",
		},
		"sonarqube": {
			"X-Forwarded-Login":  "alice@example.com",
			"X-Forwarded-Email":  "alice@example.com",
			"X-Forwarded-Name":   "Alice Example",
			"X-Forwarded-Groups": "sre@example.com,wiki|writers",
		},
		"authrequest": {
			"X-Auth-Request-User":               "alice@example.com",
			"X-Auth-Request-Email":              "alice@example.com",
			"X-Auth-Request-Preferred-Username": "alice",
			"X-Auth-Request-Groups":             "sre@example.com,wiki|writers",
		},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			teller := newTeller(t, assertion.Config{Profiles: []string{name}})
			if diff := cmp.Diff(want, headers(t, teller.Headers(alice()))); diff != "" {
				t.Errorf("headers differ (-want +got):\n%s", diff)
			}
			if teller.HasAssertion() {
				t.Error("it signs an assertion that nobody asked for")
			}
		})
	}
	want := append(slices.Sorted(maps.Keys(tests)), "assertion")
	slices.Sort(want)
	if diff := cmp.Diff(want, assertion.Profiles()); diff != "" {
		t.Errorf("profiles differ (-want +got):\n%s", diff)
	}
}

// All profiles together are how a test bench would run it; the later one wins.
func TestProfilesTogether(t *testing.T) {
	teller := newTeller(t, assertion.Config{Profiles: []string{"forwarded", "grafana", "gitea", "jenkins", "assertion"}})
	got := headers(t, teller.Headers(alice()))
	if got["X-Webauth-User"] != "alice" || got["X-Forwarded-Groups"] != "sre@example.com|a,b" {
		t.Errorf("the later profile did not win: %v", got)
	}
	if got["X-Webauth-Groups"] == "" || got["X-Forwarded-Preferred-Username"] == "" || got["X-Loginwall-Assertion"] == "" {
		t.Errorf("headers of one profile alone are missing: %v", got)
	}
}

func TestSetTemplates(t *testing.T) {
	teller := newTeller(t, assertion.Config{
		Profiles: []string{"forwarded"},
		Set: map[string]string{
			"X-Forwarded-User":  "{local_part}",
			"x_forwarded_email": "", // an empty template only takes away
			"X-All":             "{email} {local_part} {subject} {name} {picture} {hosted_domain}",
			"X-Tenant":          "tenant-{hosted_domain}",
			"X-Proxy-Secret":    "s3cret",
			"X-Groups":          "<{groups}>",
		},
	})
	want := map[string]string{
		"X-Forwarded-User":               "alice",
		"X-Forwarded-Preferred-Username": "alice",
		"X-Forwarded-Name":               "Alice Example",
		"X-Forwarded-Groups":             "sre@example.com,wiki|writers",
		"X-All":                          "alice@example.com alice 1001 Alice Example https://pics.example/alice.png example.com",
		"X-Tenant":                       "tenant-example.com",
		"X-Proxy-Secret":                 "s3cret",
		"X-Groups":                       "<sre@example.com,wiki|writers>",
	}
	if diff := cmp.Diff(want, headers(t, teller.Headers(alice()))); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}

	carol := alice()
	carol.Identity.HostedDomain, carol.Identity.Name, carol.Identity.Groups = "", "", nil
	delete(want, "X-Tenant")
	delete(want, "X-Forwarded-Name")
	delete(want, "X-Forwarded-Groups")
	delete(want, "X-Groups")
	want["X-All"] = "alice@example.com alice 1001  https://pics.example/alice.png"
	if diff := cmp.Diff(want, headers(t, teller.Headers(carol))); diff != "" {
		t.Errorf("headers with fewer claims differ (-want +got):\n%s", diff)
	}
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name   string
		config assertion.Config
		want   string
	}{
		{"an unknown profile", assertion.Config{Profiles: []string{"grafanna"}}, `unknown profile "grafanna" (there are [assertion`},
		{"an unknown placeholder", set("X-A", "{mail}"), "X-A: unknown placeholder {mail} (there are {email}, "},
		{"an empty placeholder", set("X-A", "{}"), "unknown placeholder {}"},
		{"a placeholder in another case", set("X-A", "{Email}"), "unknown placeholder {Email}"},
		{"an open brace", set("X-A", "a{email"), "brace"},
		{"a closing brace", set("X-A", "email}"), "brace"},
		{"a closing brace behind one", set("X-A", "{email}}"), "brace"},
		{"nested braces", set("X-A", "{{email}}"), "brace"},
		{"a line feed in a template", set("X-A", "a\nX-Forwarded-User: root"), "no header may hold"},
		{"a carriage return in a template", set("X-A", "a\r"), "no header may hold"},
		{"a letter that is not ASCII", set("X-A", "ä"), "no header may hold"},
		{"an empty name", set("", "{email}"), "no header name"},
		{"a blank in a name", set("X A", "{email}"), "no header name"},
		{"a colon in a name", set("X-A:", "{email}"), "no header name"},
		{"a line feed in a name", set("X-A\nB", "{email}"), "no header name"},
		{"a name that is not ASCII", set("X-Ä", "{email}"), "no header name"},
		{"an endless name", set(strings.Repeat("x", 101), "{email}"), "no header name"},
		{"two spellings of one name", assertion.Config{Set: map[string]string{"X-A": "1", "x_a": "2"}}, "X-A and x_a are one header"},
		{"an assertion without a key", assertion.Config{Profiles: []string{"assertion"}, PublicURL: origin}, "needs a key"},
		{"an assertion in a template without a key", assertion.Config{Set: map[string]string{"Authorization": "Bearer {assertion}"}, PublicURL: origin}, "needs a key"},
		{"an assertion without an origin", assertion.Config{Profiles: []string{"assertion"}, Keys: [][]byte{seed(1)}}, "needs the public URL"},
		{"a short key", assertion.Config{Keys: [][]byte{seed(1)[1:]}}, "another length"},
		{"too many headers", tooMany(), "101 headers"},
	}
	for _, name := range []string{
		"Connection", "keep-alive", "Proxy-Authorization", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "transfer_encoding", "Upgrade",
		"Host", "Content-Length", "content.length", "Content-Type", "Content-Encoding", "Expect", "Cookie", "Set-Cookie", "Sec-WebSocket-Key",
		"Forwarded", "X-Forwarded-For", "X_Forwarded_Host", "x-forwarded.proto", "X-Request-Id",
	} {
		tests = append(tests, struct {
			name   string
			config assertion.Config
			want   string
		}{name, set(name, "{email}"), "cannot be set"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			teller, err := assertion.New(tt.config)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("New says %v, want %q", err, tt.want)
			}
			if teller != nil {
				t.Error("there is a Teller beside the error")
			}
			for name, template := range tt.config.Set {
				if len(tt.config.Set) == 1 && tt.config.PublicURL == "" && assertion.Check(name, template) == nil {
					t.Error("Check finds nothing wrong with it")
				}
			}
		})
	}
	for _, name := range []string{"Authorization", "X-User", "X-Forwarded-User", "Remote_User", "X-Loginwall-Assertion", "X.Y"} {
		if err := assertion.Check(name, "Bearer {assertion}"); err != nil {
			t.Errorf("Check refuses %s: %v", name, err)
		}
	}
}

func set(name, template string) assertion.Config {
	return assertion.Config{Set: map[string]string{name: template}}
}

func tooMany() assertion.Config {
	many := make(map[string]string)
	for i := range 101 {
		many[fmt.Sprintf("X-%d", i)] = "x"
	}
	return assertion.Config{Set: many}
}

func TestValuesAreSafe(t *testing.T) {
	teller := newTeller(t, assertion.Config{
		Profiles: []string{"forwarded"},
		Set:      map[string]string{"X-Subject": "{subject}", "X-Picture": "{picture}"},
	})
	tests := []struct {
		what   string
		change func(*auth.Identity)
		header string
		want   string
	}{
		{"a name in another script", name("Zoë Ångström"), "X-Forwarded-Name", "=?utf-8?q?Zo=C3=AB_=C3=85ngstr=C3=B6m?="},
		{"a name with blanks around", name("  Alice  B. "), "X-Forwarded-Name", "Alice  B."},
		{"a name that adds a line", name("Alice\r\nX-Forwarded-User: root"), "X-Forwarded-Name", ""},
		{"a name with a bare line feed", name("Alice\nB"), "X-Forwarded-Name", ""},
		{"a name with NUL", name("Alice\x00"), "X-Forwarded-Name", ""},
		{"a name with a C1 control", name("Alice\u0085B"), "X-Forwarded-Name", ""},
		{"a name with DEL", name("Alice\x7f"), "X-Forwarded-Name", ""},
		{"a name that is not UTF-8", name("Ali\xffce"), "X-Forwarded-Name", ""},
		{"a name that is encoded already", name("=?utf-8?q?=0D=0Aroot?="), "X-Forwarded-Name", ""},
		{"an endless name", name(strings.Repeat("a", 2049)), "X-Forwarded-Name", ""},
		{"a subject that HTTP would trim", func(id *auth.Identity) { id.Subject = "1001 " }, "X-Subject", ""},
		{"a subject with a line feed", func(id *auth.Identity) { id.Subject = "1\n2" }, "X-Subject", ""},
		{"a picture with a line feed", func(id *auth.Identity) { id.Picture = "https://x/\r\nA: b" }, "X-Picture", ""},
		{"an address that nobody verified", func(id *auth.Identity) { id.EmailVerified = false }, "X-Forwarded-User", ""},
		{"its local part", func(id *auth.Identity) { id.EmailVerified = false }, "X-Forwarded-Preferred-Username", ""},
		{"no address", func(id *auth.Identity) { id.Email = "" }, "X-Forwarded-User", ""},
		{"a group with the delimiter", groups("a", "b,admins", "c"), "X-Forwarded-Groups", "a,c"},
		{"a group that an upstream would trim", groups("admins ", " admins", "\tadmins", "c"), "X-Forwarded-Groups", "c"},
		{"a group with a line feed", groups("a\nb", "c"), "X-Forwarded-Groups", "c"},
		{"a group that decodes to two", groups("=?utf-8?q?x=2Cadmins?=", "c"), "X-Forwarded-Groups", "c"},
		{"a group in another script", groups("Führung", "c"), "X-Forwarded-Groups", "=?utf-8?q?F=C3=BChrung?=,c"},
		{"an empty group", groups("", "c", ""), "X-Forwarded-Groups", "c"},
		{"no group left", groups("a,b"), "X-Forwarded-Groups", ""},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			s := alice()
			tt.change(&s.Identity)
			got := teller.Headers(s)
			if got.Get(tt.header) != tt.want {
				t.Errorf("%s: %q, want %q", tt.header, got.Get(tt.header), tt.want)
			}
			if _, ok := got[tt.header]; ok && tt.want == "" {
				t.Errorf("%s is sent empty", tt.header)
			}
		})
	}
}

func name(s string) func(*auth.Identity)      { return func(id *auth.Identity) { id.Name = s } }
func groups(g ...string) func(*auth.Identity) { return func(id *auth.Identity) { id.Groups = g } }

func TestHeadersAreBounded(t *testing.T) {
	teller := newTeller(t, assertion.Config{Profiles: assertion.Profiles(), Set: map[string]string{"X-Long": "{groups}{groups}{groups}{groups}"}})
	s := alice()
	s.Identity.Groups = nil
	for i := range 10_000 {
		s.Identity.Groups = append(s.Identity.Groups, fmt.Sprintf("group-%d@example.com", i))
	}
	total := 0
	for name, values := range teller.Headers(s) {
		total += len(name) + len(values[0]) + len(": \r\n")
		if all, found := strings.CutPrefix(name, "X-Forwarded-Groups"); found && (len(values[0]) > 2048 || !strings.HasPrefix(values[0], "group-0@example.com,group-1@")) {
			t.Errorf("%s%s: %d bytes, beginning with %.40q", name, all, len(values[0]), values[0])
		}
	}
	if total > 8<<10 {
		t.Errorf("%d bytes of headers", total)
	}
	if teller.Headers(s).Get("X-Forwarded-User") != "alice@example.com" {
		t.Error("the groups took the place of the user")
	}
}

func TestStrip(t *testing.T) {
	teller := newTeller(t, assertion.Config{Set: map[string]string{"X-Custom-Who": "{email}", "Authorization": "Bearer {subject}"}})
	h := http.Header{
		"X-Forwarded-User":  {"admin", "root"},
		"X_forwarded_user":  {"admin"},
		"X.forwarded.user":  {"admin"},
		"x-FORWARDED_user":  {"admin"}, // as an HTTP library less strict than ours might store it
		"X_custom-Who":      {"admin"},
		"Authorization":     {"Basic x"},
		"X-Forwarded-For":   {"1.2.3.4"},
		"Forwarded":         {"for=1.2.3.4"},
		"Connection":        {"keep-alive, X-Forwarded-User", "x_custom_who ,Upgrade"},
		"Trailer":           {"X-Forwarded-Email"},
		"Accept":            {"*/*"},
		"X-Requested-With":  {"fetch"},
		"X-Forward-Me-Plea": {"an app's own"},
	}
	connection := h["Connection"]
	teller.Strip(h)
	want := http.Header{
		"Connection":        {"keep-alive,Upgrade"},
		"Accept":            {"*/*"},
		"X-Requested-With":  {"fetch"},
		"X-Forward-Me-Plea": {"an app's own"},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("stripped headers differ (-want +got):\n%s", diff)
	}
	if connection[0] != "keep-alive, X-Forwarded-User" {
		t.Error("Strip wrote into lines that the inbound request shares")
	}
	teller.Strip(nil)
}

func TestStripTrailers(t *testing.T) {
	teller := newTeller(t, assertion.Config{Profiles: []string{"forwarded"}})
	trailer := http.Header{"X_forwarded_user": {"admin"}, "X-Forwarded-User": nil, "Remote-User": nil, "Grpc-Status": {"0"}, "X-Checksum": nil}
	teller.Strip(trailer)
	if diff := cmp.Diff(http.Header{"Grpc-Status": {"0"}, "X-Checksum": nil}, trailer); diff != "" {
		t.Errorf("stripped trailers differ (-want +got):\n%s", diff)
	}
}

func TestSetDeletesWhatHasNoValue(t *testing.T) {
	teller := newTeller(t, assertion.Config{Profiles: []string{"forwarded"}})
	s := alice()
	s.Identity.Name, s.Identity.Groups = "", nil
	h := http.Header{"X-Forwarded-Name": {"Mallory"}, "X-Forwarded-Groups": {"admins"}, "X-Forwarded-User": {"root", "root"}, "Accept": {"*/*"}}
	teller.Set(h, s)
	want := http.Header{
		"X-Forwarded-User": {"alice@example.com"}, "X-Forwarded-Email": {"alice@example.com"}, "X-Forwarded-Preferred-Username": {"alice"},
		"Accept": {"*/*"},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}
	teller.Set(h, nil)
	if diff := cmp.Diff(http.Header{"Accept": {"*/*"}}, h); diff != "" {
		t.Errorf("headers about nobody differ (-want +got):\n%s", diff)
	}
}

func TestHeadersAreSharedAndKept(t *testing.T) {
	teller := newTeller(t, assertion.Config{Profiles: []string{"forwarded"}})
	a, b := alice(), alice()
	b.ID, b.Identity.Email = a.ID, "bob@example.com" // even under one id nobody is taken for another
	if teller.Headers(a).Get("X-Forwarded-User") != "alice@example.com" || teller.Headers(b).Get("X-Forwarded-User") != "bob@example.com" {
		t.Error("two sessions share their headers")
	}
	first := teller.Headers(a)
	out := http.Header{}
	teller.Set(out, a)
	out.Add("X-Forwarded-User", "mallory")
	if got := teller.Headers(a)["X-Forwarded-User"]; len(got) != 1 || got[:1][0] != "alice@example.com" {
		t.Errorf("adding to one request's headers changed the shared ones: %q", got)
	}
	first["X-Probe"] = nil
	if _, ok := teller.Headers(a)["X-Probe"]; !ok {
		t.Error("the headers of one session were made twice")
	}
	if teller.Headers(nil) != nil {
		t.Error("nobody has headers")
	}
}

func TestConcurrentUse(t *testing.T) {
	teller := newTeller(t, assertion.Config{Profiles: []string{"forwarded", "assertion"}})
	sessions := []*auth.Session{alice(), alice(), alice()}
	var mu sync.Mutex
	seen := make(map[string]bool)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for range 20 {
				h := http.Header{"X-Forwarded-User": {"admin"}}
				teller.Strip(h)
				teller.Set(h, sessions[i%len(sessions)])
				mu.Lock()
				seen[h.Get("X-Loginwall-Assertion")] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != len(sessions) || seen[""] {
		t.Errorf("%d assertions for %d sessions within a minute", len(seen), len(sessions))
	}
}

// The whole way with real servers: what a client writes on the wire, in
// whatever spelling, an app behind httputil.ReverseProxy does not see.
func TestOnTheWire(t *testing.T) {
	teller := newTeller(t, assertion.Config{Profiles: []string{"forwarded"}, Set: map[string]string{"X-Custom-Who": "{email}"}})
	var saw http.Header
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { saw = r.Header.Clone() }))
	defer app.Close()
	upstream, err := url.Parse(app.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := alice()
	s.Identity.Name = ""
	wall := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(upstream)
		teller.Strip(r.Out.Header)
		teller.Set(r.Out.Header, s)
	}})
	defer wall.Close()

	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", wall.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, strings.ReplaceAll(`GET / HTTP/1.1
Host: tool.example.com
X-Forwarded-User: admin
x-forwarded-user: admin
X_FORWARDED-user: admin
X.Forwarded.User: admin
X-Forwarded-Name: Mallory
X~Custom~Who: admin
x_custom_who: admin
Remote-User: admin
Cf-Access-Authenticated-User-Email: admin
Proxy: http://evil.test
X-Real-IP: 127.0.0.1
Connection: close, X-Forwarded-User, X-Custom-Who
X-Mine: kept

`, "\n", "\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	want := http.Header{
		"X-Forwarded-User": {"alice@example.com"}, "X-Forwarded-Email": {"alice@example.com"}, "X-Forwarded-Preferred-Username": {"alice"},
		"X-Forwarded-Groups": {"sre@example.com,wiki|writers"}, "X-Custom-Who": {"alice@example.com"},
		"X-Mine": {"kept"}, "Accept-Encoding": {"gzip"},
	}
	delete(saw, "User-Agent")
	if diff := cmp.Diff(want, saw); diff != "" {
		t.Errorf("the app saw other headers (-want +got):\n%s", diff)
	}
}
