package proxy_test

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/proxy"
)

func TestAllowedRequestReachesTheApp(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	res, body := r.get(r.signIn(alice), "/a?b=c")
	if res.StatusCode != 200 || body != "app" {
		t.Fatalf("%d %q", res.StatusCode, body)
	}
	got := app.last(t)
	for name, want := range map[string]string{
		"Host": "app.test", "X-Forwarded-User": "alice@example.com", "X-Forwarded-Email": "alice@example.com",
		"X-Forwarded-Preferred-Username": "alice", "X-Forwarded-Name": "Alice A.",
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "app.test", "X-Forwarded-Proto": "https",
	} {
		if lines := lines(got, name); len(lines) != 1 || lines[0] != want {
			t.Errorf("%s: %q, want %q once", name, lines, want)
		}
	}
	if !strings.HasPrefix(got, "GET /a?b=c HTTP/1.1\r\n") {
		t.Errorf("request line of %q", got)
	}
	for _, name := range []string{"Cookie", "Accept-Encoding"} {
		if lines := lines(got, name); len(lines) != 0 {
			t.Errorf("%s: %q came out of nothing", name, lines)
		}
	}
	if lines := lines(got, "X-Request-Id"); len(lines) != 1 || len(lines[0]) != 32 {
		t.Errorf("X-Request-Id: %q", lines)
	}
}

func TestBYP025WithoutASessionNothingReachesTheApp(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	for _, path := range []string{
		"/", "/favicon.ico", "/robots.txt", "/.well-known/security.txt", "/static/app.js", "/health", "/healthz", "/ping",
		"/metrics", "/debug/pprof/", "/oauth2/auth", "/api", "/_auth", "/_AUTH/login", "//_auth/login", "/_auth%2flogin", "/_auth;/login",
		"/x/../_auth/healthz", "/%5fauth/healthz", "/_auth/healthz/", "/_auth/healthz%00",
	} {
		for _, agent := range []string{"", "GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0"} {
			res, body := r.get("", path, "User-Agent", agent)
			if want := 401; res.StatusCode != want && !(strings.HasPrefix(path, "/_auth/") && res.StatusCode == 404) {
				t.Errorf("%s as %q: %d", path, agent, res.StatusCode)
			}
			if strings.Contains(body, "app") && !strings.Contains(body, "app.test") {
				t.Errorf("%s: body %q", path, body)
			}
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("X-Loginwall") == "" || res.Header.Get("X-Request-Id") == "" {
				t.Errorf("%s: headers %v", path, res.Header)
			}
		}
	}
	if got := app.requests(); len(got) != 0 {
		t.Errorf("the app got %q", got)
	}
}

func TestBYP026OwnPathsAreNeverProxied(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	for path, status := range map[string]int{
		"/_auth/login": 200, "/_auth/x": 404, "/_auth/../a": 404, "/_auth/%2e%2e/a": 404, "/_auth/%6cogin": 404, "/_auth//login": 404,
		"/_auth/./login": 404, "/_auth/login/": 404, "/_auth/LOGIN": 404, "/_auth/healthz/x": 404, "/_auth/login;x": 404,
	} {
		got := r.raw("GET " + path + " HTTP/1.1\r\nHost: app.test\r\nCookie: " + cookie + "\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 "+strconv.Itoa(status)+" ") {
			t.Errorf("%s: %.60q, want %d", path, got, status)
		}
	}
	if got := app.requests(); len(got) != 0 {
		t.Errorf("the app got %q", got)
	}
	// Other spellings are the app's own paths.
	for _, path := range []string{"//_auth/login", "/_AUTH/login", "/_auth%2flogin", "/_auth;/login", "/_auth", "/a/../_auth/login"} {
		got := r.raw("GET " + path + " HTTP/1.1\r\nHost: app.test\r\nCookie: " + cookie + "\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.HasPrefix(app.last(t), "GET "+path+" HTTP/1.1\r\n") {
			t.Errorf("%s: %.60q; the app got %.60q", path, got, app.last(t))
		}
	}
}

func TestADM232Health(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	for _, tt := range []struct {
		request string
		status  string
	}{
		{"GET /_auth/healthz HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nConnection: close\r\n\r\n", "200"},
		{"GET /_auth/healthz HTTP/1.0\r\n\r\n", "200"},
		{"GET /_auth/healthz?x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200"},
		{"POST /_auth/healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "405"},
		{"HEAD /_auth/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "405"},
		{"GET /_auth/healthz/ HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n", "404"},
		{"GET /_auth/healthzz HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n", "404"},
	} {
		got := r.raw(tt.request)
		if !strings.HasPrefix(got, "HTTP/1.1 "+tt.status) && !strings.HasPrefix(got, "HTTP/1.0 "+tt.status) {
			t.Errorf("%q: %.40q, want %s", tt.request, got, tt.status)
		}
		if tt.status == "200" && !strings.HasSuffix(got, "\r\n\r\nok") {
			t.Errorf("%q: %q", tt.request, got)
		}
		for _, header := range []string{"Cache-Control: no-store", "X-Loginwall: ", "X-Request-Id: "} {
			if !strings.Contains(got, header) {
				t.Errorf("%q: no %s in %q", tt.request, header, got)
			}
		}
	}
	if strings.Contains(r.access.String(), `/healthz"`) {
		t.Errorf("probes are in the log: %s", r.access)
	}

	r.config.Draining = func() bool { return true }
	r.reload(r.rules)
	got := r.raw("GET /_auth/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 503") {
		t.Errorf("while draining: %q", got)
	}
	if len(app.requests()) != 0 {
		t.Error("the app was asked")
	}
}

func TestBYP034TraceAndConnectAreRefused(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	for _, request := range []string{
		"TRACE / HTTP/1.1\r\nHost: app.test\r\n", "CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n",
		"CONNECT /x HTTP/1.1\r\nHost: app.test\r\n",
	} {
		got := r.raw(request + "Cookie: " + cookie + "\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 405") || !strings.Contains(got, "Allow: GET") {
			t.Errorf("%q: %q", request, got)
		}
	}
	if len(app.requests()) != 0 {
		t.Errorf("the app got %q", app.requests())
	}
}

func TestBYP035And036OddTargets(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	for _, tt := range []struct{ line, status string }{
		{"PRI * HTTP/2.0\r\n\r\n", "HTTP/1.1 400"},
		{"GET * HTTP/1.1\r\nHost: app.test\r\n", "HTTP/1.1 400"},
		{"OPTIONS * HTTP/1.1\r\nHost: app.test\r\n", "HTTP/1.1 200"}, // net/http's own, about no resource
		{"GET https://evil.test/ HTTP/1.1\r\nHost: app.test\r\n", "HTTP/1.1 421"},
		{"GET http://evil.test/ HTTP/1.1\r\nHost: app.test\r\n", "HTTP/1.1 421"},
		{"GET https://user@app.test/ HTTP/1.1\r\nHost: app.test\r\n", "HTTP/1.1 400"},
		{"GET ftp://app.test/ HTTP/1.1\r\nHost: app.test\r\n", "HTTP/1.1 400"},
		{"GET mailto:x HTTP/1.1\r\nHost: app.test\r\n", "HTTP/1.1 400"},
		{"GET x HTTP/1.1\r\nHost: app.test\r\n", "HTTP/1.1 400"},
	} {
		got := r.raw(tt.line + "Cookie: " + cookie + "\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, tt.status) {
			t.Errorf("%q: %.60q, want %s", tt.line, got, tt.status)
		}
	}
	if got := app.requests(); len(got) != 0 {
		t.Errorf("the app got %q", got)
	}
	for line, want := range map[string]string{
		"GET https://app.test/a%2Fb?c HTTP/1.1": "GET /a%2Fb?c HTTP/1.1\r\n",
		"GET http://app.test HTTP/1.1":          "GET / HTTP/1.1\r\n",
		"GET http://APP.test?x HTTP/1.1":        "GET /?x HTTP/1.1\r\n",
	} {
		got := r.raw(line + "\r\nHost: evil.test\r\nCookie: " + cookie + "\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 200") || !strings.HasPrefix(app.last(t), want) {
			t.Errorf("%s: %.60q; the app got %.60q", line, got, app.last(t))
		}
	}
}

func TestBYP037OtherHosts(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	for _, host := range []string{"evil.test", "app.test.", "app.test:8443", "xapp.test", "127.0.0.1", "[::1%25eth0]", "xn--app-test"} {
		got := r.raw("GET / HTTP/1.1\r\nHost: " + host + "\r\nCookie: " + cookie + "\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 421") && !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("%s: %.60q", host, got)
		}
	}
	if got := r.raw("GET / HTTP/1.0\r\nCookie: " + cookie + "\r\n\r\n"); !strings.Contains(got[:20], " 421 ") {
		t.Errorf("HTTP/1.0 without Host: %.60q", got)
	}
	if len(app.requests()) != 0 {
		t.Errorf("the app got %q", app.requests())
	}
	for _, host := range []string{"APP.TEST", "app.test:443"} {
		r.raw("GET / HTTP/1.1\r\nHost: " + host + "\r\nCookie: " + cookie + "\r\nConnection: close\r\n\r\n")
		if got := lines(app.last(t), "Host"); len(got) != 1 || got[0] != "app.test" {
			t.Errorf("%s: the app got Host %q", host, got)
		}
	}
}

func TestBYP041And042TargetsPassByteForByte(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	var many strings.Builder
	for many.Len() < 20_000 {
		many.WriteString("&a=1")
	}
	for _, target := range []string{
		"/a//b", "//a/b", "///", "/a/./b", "/a/../b", "/a/%2F/b", "/%2f", "/%E4", "/%e4", "/a;p=1", "/a;p=1/b;q", "/a?x=%zz", "/a?a=1;b=2", "/a?",
		"/a??", "/a?b?c", "/?", "/a?%", "/a?b=c+d&e", "/a%20b", "/a+b", "/~a", "/%7Ea", "/a!$&'()*+,=:@", "/a|b", "/a\"<>^`{}b", "/a\\b", "/[x]",
		"/a?b|c\"<>^`{}\\", "/a#b", "/a?b#c", "/.", "/..", "/a/", "/\xe4", "/?" + many.String()[1:],
	} {
		got := r.raw("GET " + target + " HTTP/1.1\r\nHost: app.test\r\nCookie: " + cookie + "\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Errorf("%.60s: %.60q", target, got)
			continue
		}
		if line, _, _ := strings.Cut(app.last(t), "\r\n"); line != "GET "+target+" HTTP/1.1" {
			t.Errorf("%.60s: the app got %.90q", target, line)
		}
	}
	// Bytes that a target may not hold behind two slashes are sent escaped, and
	// nothing can become an authority.
	r.raw("GET //evil.test|/x HTTP/1.1\r\nHost: app.test\r\nCookie: " + cookie + "\r\nConnection: close\r\n\r\n")
	if got := app.last(t); !strings.HasPrefix(got, "GET //evil.test%7C/x HTTP/1.1\r\nHost: app.test\r\n") {
		t.Errorf("the app got %.90q", got)
	}
}

func TestBYP032EveryMethodIsJudged(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "get", "FOO", strings.Repeat("M", 300)} {
		if res, _ := r.send("", method, "/", nil, "Origin", "https://evil.test", "Access-Control-Request-Method", "GET"); res.StatusCode != 401 {
			t.Errorf("%.10s: %d", method, res.StatusCode)
		}
		if n := len(app.requests()); n != 0 {
			t.Fatalf("%.10s reached the app", method)
		}
	}
	for _, method := range []string{"PROPFIND", "get", "FOO", strings.Repeat("M", 300)} {
		if res, _ := r.send(cookie, method, "/", nil); res.StatusCode != 200 {
			t.Errorf("%.10s with a session: %d", method, res.StatusCode)
		}
		if !strings.HasPrefix(app.last(t), method+" / ") {
			t.Errorf("%.10s: the app got %.20q", method, app.last(t))
		}
	}
}

func TestBYP048DeniedByPolicy(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	mallory := alice
	mallory.Subject, mallory.Email, mallory.HostedDomain = "666", "mallory@evil.test", "evil.test"
	cookie := r.signIn(mallory)
	for _, method := range []string{"GET", "POST", "OPTIONS"} {
		res, _ := r.send(cookie, method, "/", nil)
		if res.StatusCode != 403 || res.Header.Get("X-Loginwall") != "denied" {
			t.Errorf("%s: %d %v", method, res.StatusCode, res.Header)
		}
	}
	res, _ := r.get(cookie, "/ws", "Upgrade", "websocket", "Connection", "Upgrade")
	if res.StatusCode != 403 {
		t.Errorf("WebSocket: %d", res.StatusCode)
	}
	if len(app.requests()) != 0 {
		t.Errorf("the app got %q", app.requests())
	}
	if !r.metric(`loginwall_denials_total{reason="domain"} 4`) {
		t.Error("denials are not counted")
	}
	if !strings.Contains(r.access.String(), `"user":"mallory@evil.test"`) || !strings.Contains(r.access.String(), `"reason":"domain","outcome":"denied"`) {
		t.Errorf("log: %s", r.access)
	}
}

func TestRoutesGoToTheirOwnApps(t *testing.T) {
	first, second := newRawApp(t, okAnswer), newRawApp(t, okAnswer)
	r := newRig(t, first.url, setup{
		routes: []policy.Route{{Path: "/hooks/", Access: policy.Public}, {Path: "/two/", Access: policy.Allowed}},
		routed: map[int]*url.URL{1: second.url},
	})
	cookie := r.signIn(alice)
	r.get(cookie, "/two/x")
	if len(second.requests()) != 1 || len(first.requests()) != 0 {
		t.Errorf("first %d, second %d", len(first.requests()), len(second.requests()))
	}
	r.get(cookie, "/other")
	if len(second.requests()) != 1 || len(first.requests()) != 1 {
		t.Errorf("first %d, second %d", len(first.requests()), len(second.requests()))
	}
	// A public route tells the app nothing about who is calling, signed in or not.
	for _, c := range []string{"", cookie} {
		res, _ := r.get(c, "/hooks/x", "X-Forwarded-User", "admin", "X_Forwarded-Email", "admin", "Remote-User", "admin")
		if res.StatusCode != 200 {
			t.Fatalf("public: %d", res.StatusCode)
		}
		got := first.last(t)
		for _, name := range []string{"X-Forwarded-User", "X_Forwarded-Email", "Remote-User", "X-Forwarded-Email", "Cookie"} {
			if l := lines(got, name); len(l) != 0 {
				t.Errorf("%s: %q on a public route", name, l)
			}
		}
		if res.Header.Get("Cache-Control") != "" {
			t.Errorf("a public answer's caching was changed: %v", res.Header)
		}
	}
	if res, _ := r.get("", "/hooks/../secret"); res.StatusCode == 200 {
		t.Error("a dot segment made a path public")
	}
}

func TestWithoutAnUpstreamThereIsNothing(t *testing.T) {
	r := newRig(t, nil, setup{none: true})
	if res, _ := r.get(r.signIn(alice), "/"); res.StatusCode != 404 || res.Header.Get("X-Loginwall") != "error" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if res, _ := r.get("", "/"); res.StatusCode != 401 {
		t.Errorf("without a session: %d", res.StatusCode)
	}
}

func TestStaleRevocationsClose(t *testing.T) {
	app := newRawApp(t, okAnswer)
	clock := newClock()
	r := newRig(t, app.url, setup{now: clock.Now, routes: []policy.Route{{Path: "/open", Access: policy.Public}}})
	cookie := r.signIn(alice)
	clock.advance(61 * 60e9)
	res, body := r.get(cookie, "/")
	if res.StatusCode != 503 || !strings.Contains(body, "revocations_unknown") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, _ := r.get("", "/"); res.StatusCode != 503 {
		t.Errorf("without a session: %d", res.StatusCode)
	}
	if res, _ := r.get("", "/open"); res.StatusCode != 200 {
		t.Errorf("public: %d", res.StatusCode)
	}
}

// panicky panics where it is told to.
type panicky struct {
	proxy.Auth
	value any
	late  bool
}

func (p panicky) Serve(w http.ResponseWriter, _ *http.Request, _ string, _ auth.Client) bool {
	if p.late {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "half")
	}
	panic(p.value)
}

func TestBYP043PanicsAreErrorPages(t *testing.T) {
	app := newRawApp(t, okAnswer)
	for _, value := range []any{"a string", io.ErrUnexpectedEOF, struct{ secret string }{"SECRET"}} {
		r := newRig(t, app.url, setup{auth: func(a proxy.Auth) proxy.Auth { return panicky{a, value, false} }})
		res, body := r.get("", "/_auth/login")
		if res.StatusCode != 500 || !strings.Contains(body, `"error":"internal"`) || res.Header.Get("X-Loginwall") != "error" {
			t.Errorf("%v: %d %s", value, res.StatusCode, body)
		}
		if log := r.log.String(); !strings.Contains(log, `"msg":"panic"`) || !strings.Contains(log, "handler_test.go") || strings.Contains(log, "SECRET") {
			t.Errorf("log: %s", log)
		}
		if res, _ := r.get(r.signIn(alice), "/"); res.StatusCode != 200 {
			t.Errorf("afterwards: %d", res.StatusCode)
		}
	}
	r := newRig(t, app.url, setup{auth: func(a proxy.Auth) proxy.Auth { return panicky{a, "late", true} }})
	res, err := r.client.Do(r.request("", "GET", "/_auth/login", nil))
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("a half answer ended cleanly")
	}
}

func TestCFG244ALoopEnds(t *testing.T) {
	// The app behind the wall is the wall.
	hole := newRawApp(t, okAnswer)
	r := newRig(t, hole.url, setup{})
	self := r.server.Listener.Addr().String()
	up, err := proxy.NewUpstream(proxy.UpstreamConfig{URL: &url.URL{Scheme: "http", Host: self}, PassHost: true, Now: r.config.Now})
	must(t, err)
	r.config.Upstreams.Default = up
	r.reload(r.rules)
	res, body := r.get(r.signIn(alice), "/")
	if res.StatusCode != 508 || !strings.Contains(body, "loop_detected") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestRequestIDs(t *testing.T) {
	app := newRawApp(t, okAnswer)
	for _, trusted := range []bool{false, true} {
		s := setup{}
		if trusted {
			s.trusted = loopback
		}
		r := newRig(t, app.url, s)
		r.get(r.signIn(alice), "/", "X-Request-Id", "from-the-front", "X-Request-Id", "second")
		got := lines(app.last(t), "X-Request-Id")
		if len(got) != 1 || (got[0] == "from-the-front") != trusted {
			t.Errorf("trusted %v: %q", trusted, got)
		}
		if !strings.Contains(r.access.String(), `"request_id":"`+got[0]+`"`) {
			t.Errorf("log %s, want id %s", r.access, got[0])
		}
	}
}

func TestAccessLogOfARequest(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{routes: []policy.Route{{Path: "/a/", Access: policy.Allowed}}})
	cookie, _ := r.start(alice)
	r.get(cookie, "/a/b%20c?token=SECRET", "User-Agent", "test\tagent")
	r.get("", "/_auth/login?to=SECRET")
	log := r.access.String()
	for _, want := range []string{
		`"method":"GET","host":"app.test","path":"/a/b%20c","status":200,"bytes":3,"duration_ms":`, `"upstream_ms":`,
		`"client":"127.0.0.1","user":"alice@example.com","user_id":"` + string(alice.UserID()) + `","rule":"`, `"outcome":"proxied","user_agent":"test\u0009agent"`,
		`"path":"/_auth/login","status":200,`, `"outcome":"page"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %s: %s", want, log)
		}
	}
	if strings.Contains(log, "SECRET") {
		t.Errorf("a query is in the log: %s", log)
	}
	if !r.metric(`loginwall_http_requests_total{code="200",method="GET",outcome="proxied"} 1`) {
		t.Error("not counted")
	}
}
