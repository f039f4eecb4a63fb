package page_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/policy"
)

var hash = regexp.MustCompile(`\.[0-9a-f]{16}\.`)

var update = flag.Bool("update", false, "write the pages in testdata anew")

func newPages(t testing.TB, c page.Config) *page.Pages {
	t.Helper()
	if c.PublicURL == nil {
		c.PublicURL = &url.URL{Scheme: "https", Host: "app.test"}
	}
	p, err := page.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// show renders v for somebody, by way of a real response writer.
func show(t testing.TB, p *page.Pages, method string, to page.Audience, v page.View) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	p.RenderFor(w, httptest.NewRequest(method, "/x", nil), "req-1", to, v)
	return w.Result()
}

func body(t testing.TB, res *http.Response) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func account(name, email string) page.Account {
	now := time.Date(2026, 9, 24, 14, 5, 0, 0, time.UTC)
	return page.Account{
		Session: &auth.Session{
			ID: "aaaaaaaaaaaaaaaaaaaaaaaaaa",
			Identity: auth.Identity{
				Issuer: "https://accounts.google.com", Subject: "1234", Email: email, Name: name,
				HostedDomain: "example.com", Picture: "javascript:alert(1)",
			},
			Created: now.Add(-3 * time.Hour), Expires: now.Add(165 * time.Hour),
		},
		IdleEnds: now.Add(24 * time.Hour), Now: now, Admin: true,
	}
}

// problems reads the names of all problems from the source, so that a new one
// without a wording is noticed.
func problems(t testing.TB) []page.Problem {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []page.Problem
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && fmt.Sprint(spec.Type) == "Problem" {
			word, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, page.Problem(word))
		}
		return true
	})
	if len(out) < 20 {
		t.Fatalf("found %d problems in problem.go", len(out))
	}
	return out
}

// views are all that can be shown, each with its status and label.
func views(t testing.TB) map[string]page.View {
	t.Helper()
	all := map[string]page.View{
		"signin":       page.SignInRequired{To: page.ParseTarget("/a?b=c")},
		"denied":       page.Denied{Email: "mallory@evil.test", Name: "Mallory Marsh", Reason: "domain", To: page.ParseTarget("/a")},
		"nobody":       page.Denied{Reason: "nobody"},
		"account":      account("Alice Lindqvist", "alice@example.com"),
		"signout":      page.SignOut{Email: "alice@example.com", Name: "Alice"},
		"signout-none": page.SignOut{},
		"signedout":    page.SignedOut{},
		"signedin":     page.SignedIn{Email: "alice@example.com"},
	}
	for _, problem := range problems(t) {
		all["error-"+string(problem)] = page.Error{Problem: problem, To: page.ParseTarget("/a"), Email: "alice@example.com"}
	}
	return all
}

func TestHeaders(t *testing.T) {
	p := newPages(t, page.Config{Contact: "it@example.com"})
	// The one page with a script: that file may run, and nothing else.
	file := regexp.MustCompile(`<script src="(https://app\.test/_auth/static/signed-in\.[0-9a-f]{16}\.js)"></script>`).
		FindStringSubmatch(body(t, show(t, p, http.MethodGet, page.Navigation, views(t)["signedin"])))
	if file == nil {
		t.Fatal("the page that closes its window has no script")
	}
	script := map[string]string{"signedin": "; script-src " + file[1]}
	for name, v := range views(t) {
		for _, to := range []page.Audience{page.Program, page.Navigation, page.TopNavigation} {
			res := show(t, p, http.MethodGet, to, v)
			text := body(t, res)
			want := map[string]string{
				"Cache-Control":   "no-store",
				"X-Request-Id":    "req-1",
				"X-Frame-Options": "DENY",
				"Content-Security-Policy": "default-src 'none'; style-src 'self' https://app.test; img-src 'self' https://app.test; " +
					"form-action 'self'; frame-ancestors 'none'; base-uri 'none'" + script[name],
				"X-Content-Type-Options":       "nosniff",
				"Referrer-Policy":              "same-origin",
				"Cross-Origin-Opener-Policy":   "same-origin",
				"Cross-Origin-Resource-Policy": "same-origin",
				"Strict-Transport-Security":    "max-age=31536000",
				"Content-Length":               strconv.Itoa(len(text)),
				"Content-Type":                 "text/html; charset=utf-8",
				"X-Loginwall":                  "error",
				"Access-Control-Allow-Origin":  "",
				"Location":                     "",
				"Set-Cookie":                   "",
				"Refresh":                      "",
			}
			if to == page.Program {
				want["Content-Type"] = "application/json"
			}
			switch v.(type) {
			case page.SignInRequired:
				want["X-Loginwall"] = "sign_in_required"
			case page.Denied:
				want["X-Loginwall"] = "denied"
			case page.Account, page.SignOut, page.SignedOut, page.SignedIn:
				want["X-Loginwall"] = "page"
			}
			if name == "error-wrong_host" || name == "error-forward_auth_refused" {
				want["Strict-Transport-Security"] = "" // the host is not ours
			}
			for header, value := range want {
				if got := res.Header.Get(header); got != value {
					t.Errorf("%s, audience %d: %s is %q, want %q", name, to, header, got, value)
				}
			}
			if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") == "" {
				t.Errorf("%s: does not say when to come back", name)
			}

			head := show(t, p, http.MethodHead, to, v)
			if got := body(t, head); got != "" {
				t.Errorf("%s: HEAD got a body: %q", name, got)
			}
			if diff := cmp.Diff(res.Header, head.Header); diff != "" {
				t.Errorf("%s: headers of GET and HEAD (-GET +HEAD):\n%s", name, diff)
			}
		}
	}
}

func TestHTTPHasNoHSTS(t *testing.T) {
	p := newPages(t, page.Config{PublicURL: &url.URL{Scheme: "http", Host: "localhost:8080"}})
	res := show(t, p, http.MethodGet, page.Navigation, page.SignedOut{})
	if got := res.Header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestStatus(t *testing.T) {
	p := newPages(t, page.Config{})
	for name, want := range map[string]int{
		"signin": 401, "denied": 403, "nobody": 403, "account": 200, "signout": 200, "signedout": 200,
		"error-wrong_host": 421, "error-upstream_unreachable": 502, "error-upstream_timeout": 504, "error-store_unavailable": 503,
		"error-provider_unavailable": 503, "error-attempt_expired": 400, "error-attempt_unknown": 400, "error-access_denied": 403,
		"error-not_found": 404, "error-method_not_allowed": 405, "error-headers_too_large": 431, "error-draining": 503,
		"error-forward_auth_refused": 403, "error-cross_origin": 403, "error-bad_request": 400, "error-internal": 500,
		"error-revocations_unknown": 503, "error-sign_out_unavailable": 503,
	} {
		for _, to := range []page.Audience{page.Program, page.Navigation} {
			v, ok := views(t)[name]
			if !ok {
				t.Fatalf("no view %q", name)
			}
			if got := show(t, p, http.MethodGet, to, v).StatusCode; got != want {
				t.Errorf("%s: got %d, want %d", name, got, want)
			}
		}
	}
	if got := show(t, p, http.MethodGet, page.Navigation, page.Error{Problem: "no such word"}).StatusCode; got != 500 {
		t.Errorf("an unknown problem: got %d, want 500", got)
	}
	if got := show(t, p, http.MethodGet, page.Navigation, page.Error{}).StatusCode; got != 500 {
		t.Errorf("no problem at all: got %d, want 500", got)
	}
}

func TestJSON(t *testing.T) {
	p := newPages(t, page.Config{})
	for name, v := range views(t) {
		var got map[string]any
		if err := json.Unmarshal([]byte(body(t, show(t, p, http.MethodGet, page.Program, v))), &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		switch v := v.(type) {
		case page.SignInRequired:
			if got["error"] != "sign_in_required" || got["login_url"] != "https://app.test/_auth/login?to=%2Fa%3Fb%3Dc" {
				t.Errorf("%s: %v", name, got)
			}
		case page.Denied:
			if got["error"] != "denied" || got["reason"] != v.Reason || got["message"] == "" || got["request_id"] != "req-1" {
				t.Errorf("%s: %v", name, got)
			}
		case page.Error:
			if got["error"] != string(v.Problem) || got["message"] == "" || got["request_id"] != "req-1" {
				t.Errorf("%s: %v", name, got)
			}
		case page.Account:
			want := map[string]any{
				"email": "alice@example.com", "name": "Alice Lindqvist", "picture": "javascript:alert(1)", "subject": "1234",
				"hosted_domain": "example.com", "groups": []any{},
				"session": map[string]any{"created_at": "2026-09-24T11:05:00Z", "expires_at": "2026-10-01T11:05:00Z"},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

// Every page is complete, loads nothing from anywhere else, and is small.
func TestPages(t *testing.T) {
	p := newPages(t, page.Config{Contact: "it@example.com"})
	_, style := stylesheet(t, p)
	address := regexp.MustCompile(`(?i)\s(?:href|src|action|formaction|content|data|poster|srcset)="([^"]*)"`)
	ours := regexp.MustCompile(`^(https://app\.test/|/_auth/|mailto:it@example\.com$|light dark$|noindex$|width=device-width, )`)
	never := regexp.MustCompile(`(?i)<script|<style|<img|<iframe|http-equiv|<[^>]*\s(style|on[a-z]+)=|javascript:|\{app\}|\{host\}|\{provider\}|<no value>|ZgotmplZ`)
	for name, v := range views(t) {
		text := body(t, show(t, p, http.MethodGet, page.Navigation, v))
		if name == "signedin" {
			text = regexp.MustCompile(`<script src="https://app\.test/_auth/static/signed-in\.[0-9a-f]{16}\.js"></script>\n`).ReplaceAllString(text, "")
		}
		for _, once := range []string{"<!doctype html>", `<html lang="en">`, "<h1>", "<main>", "<title>", `name="viewport"`, "<code>req-1</code>"} {
			if n := strings.Count(text, once); n != 1 {
				t.Errorf("%s: %d times %s", name, n, once)
			}
		}
		if found := never.FindString(text); found != "" {
			t.Errorf("%s: has %s", name, found)
		}
		for _, m := range address.FindAllStringSubmatch(text, -1) {
			if !ours.MatchString(m[1]) {
				t.Errorf("%s: leads elsewhere: %s", name, m[0])
			}
		}
		if size := len(text) + len(style); size > 30_000 {
			t.Errorf("%s: %d bytes with the stylesheet", name, size)
		}
		h1 := regexp.MustCompile(`<h1>(.*)</h1>`).FindStringSubmatch(text)
		title := regexp.MustCompile(`<title>(.*) · app.test</title>`).FindStringSubmatch(text)
		if h1 == nil || title == nil || strings.TrimSuffix(h1[1], "?") != title[1] && name != "signout-none" {
			t.Errorf("%s: heading %q, title %q", name, h1, title)
		}
		if e, ok := v.(page.Error); ok && !strings.Contains(text, `role="alert"`) {
			t.Errorf("%s: %s does not alert", name, e.Problem)
		}
	}
}

func TestDenied(t *testing.T) {
	p := newPages(t, page.Config{Contact: "IT, it@example.com, https://help.example.com/x."})
	seen := map[string]policy.Reason{}
	for _, reason := range []policy.Reason{
		policy.ReasonNoAccount, policy.ReasonNoEmail, policy.ReasonUnverified, policy.ReasonDenyList, policy.ReasonHosted, policy.ReasonDomain,
		policy.ReasonGroup, policy.ReasonNotListed, policy.ReasonNotAdmin, policy.ReasonNobody, policy.ReasonBlocked, "something else",
	} {
		text := body(t, show(t, p, http.MethodGet, page.Navigation, page.Denied{Email: "bob+x@example.com", Reason: string(reason), To: page.ParseTarget("/a?b=c")}))
		why := regexp.MustCompile(`role="alert">(.*)</p>`).FindStringSubmatch(text)
		if why == nil {
			t.Fatalf("%s: no reason on\n%s", reason, text)
		}
		if other, dup := seen[why[1]]; dup {
			t.Errorf("%s and %s say the same: %s", reason, other, why[1])
		}
		seen[why[1]] = reason
		for _, want := range []string{
			"bob&#43;x@example.com", `<a href="mailto:it@example.com">it@example.com</a>, `,
			`<a href="https://help.example.com/x">https://help.example.com/x</a>.`, "<code>req-1</code>",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %s on\n%s", reason, want, text)
			}
		}
		button := `href="https://app.test/_auth/login?switch=1&amp;to=%2Fa%3Fb%3Dc">Use another account`
		if got, want := strings.Contains(text, button), reason != policy.ReasonNobody; got != want {
			t.Errorf("%s: switch button %v, want %v", reason, got, want)
		}
	}
}

func TestSignInAfterAForm(t *testing.T) {
	p := newPages(t, page.Config{})
	const lost = "was not passed on"
	if text := body(t, show(t, p, http.MethodPost, page.Navigation, page.SignInRequired{})); !strings.Contains(text, lost) {
		t.Errorf("a posted form is not told that it was lost:\n%s", text)
	}
	if text := body(t, show(t, p, http.MethodGet, page.Navigation, page.SignInRequired{})); strings.Contains(text, lost) {
		t.Errorf("who only opened a page is told of a lost form:\n%s", text)
	}
}

// Sign-out must not be a way back in: the next login asks for an account.
func TestSignedOutAsksForAnAccount(t *testing.T) {
	p := newPages(t, page.Config{})
	if text := body(t, show(t, p, http.MethodGet, page.Navigation, page.SignedOut{})); !strings.Contains(text, "/_auth/login?switch=1&amp;to=%2F") {
		t.Errorf("no link that asks for an account on\n%s", text)
	}
}

func TestProviderProblem(t *testing.T) {
	for code, want := range map[string]page.Problem{
		"access_denied": page.ProviderCancelled, "org_internal": page.ProviderInternalOnly, "admin_policy_enforced": page.ProviderPolicy,
		"disallowed_useragent": page.ProviderBrowserRefused, "login_required": page.ProviderMoreInteraction,
		"temporarily_unavailable": page.ProviderAway, "server_error": page.ProviderAway, "invalid_scope": page.ProviderMisconfigured,
		"": page.ProviderFailed, "<script>": page.ProviderFailed, "ACCESS_DENIED": page.ProviderFailed, "wrong_host": page.ProviderFailed,
	} {
		if got := page.ProviderProblem(code); got != want {
			t.Errorf("%q: got %s, want %s", code, got, want)
		}
	}
}

// hostile are texts that a provider, a client or a stranger may put on a page.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `</title><script>`, `{{.}}`, `{{template "head"}}`,
	`javascript:alert(1)`, "\u202egnp.exe", "a\x00b", "\xff\xfe", "<!--", "]]>", "&lt;script&gt;", "</bdi></p></main>", "a\r\nb",
}

// skeleton is a page without what stands between its tags.
func skeleton(text string) string {
	text = regexp.MustCompile(`>[^<]*<`).ReplaceAllString(text, "><")
	return regexp.MustCompile(`hue\d`).ReplaceAllString(text, "hue")
}

func checkEscapes(t *testing.T, s string) {
	t.Helper()
	plain, evil := newPages(t, page.Config{Contact: "x", ProviderName: "x", AppName: "x"}), newPages(t, page.Config{Contact: "x", ProviderName: "x", AppName: s + "x"})
	for i, pair := range [][2]page.View{
		{page.Denied{Email: "x", Name: "x"}, page.Denied{Email: s + "x", Name: s + "x", Reason: s}},
		{page.SignOut{Email: "x", Name: "x"}, page.SignOut{Email: s + "x", Name: s + "x"}},
		{account("x", "x"), account(s+"x", s+"x")},
		{page.Error{Problem: page.UpstreamDown, Email: "x"}, page.Error{Problem: page.UpstreamDown, Email: s + "x"}},
	} {
		want := skeleton(body(t, show(t, plain, http.MethodGet, page.Navigation, pair[0])))
		got := body(t, show(t, evil, http.MethodGet, page.Navigation, pair[1]))
		if diff := cmp.Diff(want, skeleton(got)); diff != "" {
			t.Errorf("view %d, %q: other tags than on a plain page (-plain +hostile):\n%s", i, s, diff)
		}
		if text := body(t, show(t, evil, http.MethodGet, page.Program, pair[1])); !json.Valid([]byte(text)) || strings.ContainsAny(text, "<>&") {
			t.Errorf("view %d, %q: JSON is %s", i, s, text)
		}
	}
}

func TestEscapes(t *testing.T) {
	for _, s := range hostile {
		checkEscapes(t, s)
	}
}

func FuzzEscapes(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(checkEscapes)
}

func TestRender(t *testing.T) {
	p := newPages(t, page.Config{})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept", "application/json")
	w := httptest.NewRecorder()
	w.Header().Set("Set-Cookie", "a=b")
	w.Header().Set("Allow", "GET")
	p.Render(w, r, "req-1", page.Error{Problem: page.MethodNotAllowed})
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("a program got %s", got)
	}
	if w.Header().Get("Set-Cookie") != "a=b" || w.Header().Get("Allow") != "GET" {
		t.Errorf("headers that were set before are gone: %v", w.Header())
	}
}

func TestRedirect(t *testing.T) {
	p := newPages(t, page.Config{})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := httptest.NewRecorder()
	p.Redirect(w, r, "req-1", http.StatusFound, p.Local(page.ParseTarget("/a?b")), page.LabelSignIn)
	for header, want := range map[string]string{
		"Location": "https://app.test/a?b", "Referrer-Policy": "no-referrer", "X-Loginwall": "sign_in_required",
		"Cache-Control": "no-store", "Content-Length": "0", "X-Request-Id": "req-1", "Content-Type": "",
	} {
		if got := w.Header().Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}
	if w.Code != http.StatusFound || w.Body.Len() != 0 {
		t.Errorf("got %d, %q", w.Code, w.Body)
	}

	w = httptest.NewRecorder()
	p.Redirect(w, r, "req-1", http.StatusFound, page.Location{}, page.LabelPage)
	if w.Code != http.StatusInternalServerError || w.Header().Get("Location") != "" {
		t.Errorf("the zero Location: got %d, %v", w.Code, w.Header())
	}
}

func TestPlain(t *testing.T) {
	p := newPages(t, page.Config{})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := httptest.NewRecorder()
	p.Plain(w, r, "req-1", http.StatusUnauthorized, page.LabelSignIn, "")
	if w.Code != http.StatusUnauthorized || w.Body.Len() != 0 || w.Header().Get("Content-Type") != "" || w.Header().Get("X-Loginwall") != "sign_in_required" {
		t.Errorf("got %d, %q, %v", w.Code, w.Body, w.Header())
	}
	w = httptest.NewRecorder()
	p.Plain(w, r, "req-1", http.StatusOK, page.LabelPage, "ok")
	if w.Body.String() != "ok" || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || w.Header().Get("Content-Length") != "2" {
		t.Errorf("got %q, %v", w.Body, w.Header())
	}
}

func TestContent(t *testing.T) {
	p := newPages(t, page.Config{})
	set, err := p.Parse(fstest.MapFS{"users.html": {Data: []byte(`{{define "list"}}<h1>Users</h1>{{range .}}{{template "account" .}}{{end}}{{end}}`)}}, "*.html")
	if err != nil {
		t.Fatal(err)
	}
	v := page.Content{
		Title: "Users", Section: "users", Body: set.Lookup("list"),
		Data: []page.SignOut{{Email: "<b>@x", Name: "Bob"}}, JSON: []string{"bob"},
	}
	text := body(t, show(t, p, http.MethodGet, page.Navigation, v))
	for _, want := range []string{`<body class="wide">`, `href="/_auth/users" aria-current="page"`, "&lt;b&gt;@x", "<h1>Users</h1>"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s on\n%s", want, text)
		}
	}
	if got := body(t, show(t, p, http.MethodGet, page.Program, v)); got != "[\"bob\"]\n" {
		t.Errorf("JSON: got %q", got)
	}
	v.Data = 1 // not what the template takes
	if res := show(t, p, http.MethodGet, page.Navigation, v); res.StatusCode != http.StatusInternalServerError || res.Header.Get("X-Loginwall") != "error" {
		t.Errorf("a template that fails: got %d, %v", res.StatusCode, res.Header)
	}
	if _, err := p.Parse(fstest.MapFS{"x.html": {Data: []byte("{{")}}, "*.html"); err == nil {
		t.Error("a template that cannot be read was taken")
	}
}

// A loopback host is no name for an app in a sentence.
func TestAppName(t *testing.T) {
	local := &url.URL{Scheme: "http", Host: "localhost:8080"}
	for _, c := range []struct {
		config      page.Config
		label, text string
	}{
		{page.Config{}, "<bdi>app.test</bdi>", "may use app.test, and"},
		{page.Config{AppName: "The Wiki"}, "<bdi>The Wiki</bdi>", "may use The Wiki, and"},
		{page.Config{PublicURL: local}, "<bdi>localhost:8080</bdi>", "may use this app, and"},
		{page.Config{PublicURL: local, AppName: "The Wiki"}, "<bdi>The Wiki</bdi>", "may use The Wiki, and"},
	} {
		text := body(t, show(t, newPages(t, c.config), http.MethodGet, page.Navigation, page.Denied{Reason: "domain"}))
		for _, want := range []string{c.label, c.text} {
			if !strings.Contains(text, want) {
				t.Errorf("%+v: no %q on\n%s", c.config, want, text)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, bad := range []*url.URL{
		nil,
		{},
		{Scheme: "https"},
		{Host: "app.test"},
		{Scheme: "ftp", Host: "app.test"},
		{Scheme: "https", Host: ":443"},
		{Scheme: "https", Host: "app.test", Path: "/x"},
		{Scheme: "https", Host: "app.test", RawQuery: "x"},
		{Scheme: "https", Host: "app.test", User: url.User("u")},
		{Scheme: "https", Host: "app.test", Fragment: "x"},
	} {
		if _, err := page.New(page.Config{PublicURL: bad}); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// The pages as they are, to be looked at in a change: run with -update.
func TestGolden(t *testing.T) {
	p := newPages(t, page.Config{Contact: "Ask the IT team: it@example.com"})
	for _, name := range []string{"denied", "account", "error-upstream_unreachable"} {
		got := hash.ReplaceAllString(body(t, show(t, p, http.MethodGet, page.Navigation, views(t)[name])), ".HASH.")
		file := filepath.Join("testdata", name+".html")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}
