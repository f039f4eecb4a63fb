package proxy_test

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/gate"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/proxy"
)

// frontRig is a wall that front proxies ask.
func frontRig(t testing.TB, s setup) (*rig, *rawApp) {
	app := newConnApp(t, func(conn net.Conn, request string) {
		if strings.HasPrefix(request, "HEAD ") {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
			return
		}
		_, _ = io.WriteString(conn, okAnswer)
	})
	s.trusted = loopback
	s.routes = append(s.routes,
		policy.Route{Path: "/open/", Access: policy.Public},
		policy.Route{Path: "/read", Methods: []string{"GET"}, Access: policy.Public},
		policy.Route{Path: "/bob/", Allow: &policy.List{Emails: []string{"bob@example.com"}}},
		policy.Route{Path: "/shut/", Access: policy.Nobody})
	return newRig(t, app.url, s), app
}

// A way to ask about a request, as front proxies have it.
type way struct {
	name string
	// ask returns what is asked for, and with which header.
	ask func(method, target string) (asked string, header []string)
	// method is the front proxy's own; empty for the method of the request.
	method string
}

func ways() []way {
	verify := func(url string) func(string, string) (string, []string) {
		return func(method, target string) (string, []string) {
			return "/_auth/verify", []string{"X-Original-Method", method, "X-Original-URL", url + target, "Host", "wall.internal:8080"}
		}
	}
	return []way{
		{"nginx", verify(publicURL), "GET"},
		{"nginx, the path alone", func(method, target string) (string, []string) {
			return "/_auth/verify", []string{"X-Original-Method", method, "X-Original-URL", target}
		}, "GET"},
		{"nginx, the host apart", func(method, target string) (string, []string) {
			return "/_auth/verify", []string{"X-Original-Method", method, "X-Original-URL", target, "X-Forwarded-Host", "app.test", "Host", "wall.internal"}
		}, "GET"},
		{"nginx, a WebSocket's scheme", verify("WSS://App.Test:443"), "GET"},
		{"HAProxy", verify(publicURL), "HEAD"},
		{"Traefik", func(method, target string) (string, []string) {
			return "/_auth/forward", []string{
				"X-Forwarded-Method", method, "X-Forwarded-Proto", "wss", "X-Forwarded-Host", "app.test", "X-Forwarded-Uri", target,
				"X-Forwarded-Port", "443", "X-Forwarded-Server", "edge", "X-Real-Ip", "192.0.2.7", "Host", "wall.internal:8080",
			}
		}, "GET"},
		{"Caddy", func(method, target string) (string, []string) {
			return "/_auth/forward", []string{"X-Forwarded-Method", method, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "app.test", "X-Forwarded-Uri", target, "Via", "1.1 Caddy"}
		}, "GET"},
		{"Envoy", func(_, target string) (string, []string) {
			return "/_auth/forward" + target, []string{"Content-Length", "0", "X-Envoy-Internal", "true"}
		}, ""},
	}
}

// put asks in this way, and returns the status.
func (w *way) put(r *rig, cookie, method, target string, header ...string) *http.Response {
	r.t.Helper()
	asked, told := w.ask(method, target)
	own := w.method
	if own == "" {
		own = method
	}
	req := r.request(cookie, own, "/", nil)
	req.URL.Opaque = asked
	if strings.HasPrefix(asked, "//") {
		r.t.Fatal("net/http would send an absolute URL")
	}
	told = append(told, header...)
	for i := 0; i < len(told); i += 2 {
		if told[i] == "Host" {
			req.Host = told[i+1]
		} else {
			req.Header.Add(told[i], told[i+1])
		}
	}
	res, err := r.client.Do(req)
	must(r.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(r.t, err)
	if strings.HasPrefix(asked, "/_auth/verify") && (len(body) > 0 || res.Header["Location"] != nil || res.Header["Content-Type"] != nil) {
		r.t.Errorf("%s about %s: verify answered with a body or a redirect: %q %q", w.name, target, res.Header, body)
	}
	if res.StatusCode == 200 && len(body) > 0 {
		r.t.Errorf("%s about %s: a yes with a body: %q", w.name, target, body)
	}
	return res
}

// Whichever way is used, the answer is the one that the wall itself would give.
func TestForwardAuthJudgesAsTheWallItselfDoes(t *testing.T) {
	r, app := frontRig(t, setup{})
	bob := alice
	bob.Subject, bob.Email = "1002", "bob@example.com"
	visitors := map[string]string{"nobody": "", "alice": r.signIn(alice), "bob": r.signIn(bob), "garbage": "__Host-loginwall=garbage"}
	targets := []string{
		"/", "/x", "/x?a=1&b=%2F", "/?", "/open/x", "/open/", "/open", "/open?x=/bob/", "/read", "/read?q", "/bob/x", "/bob", "/shut/", "/shut/x?y",
		"/open/../bob/x", "/open/%2e%2e/bob/x", "/open/..%2fbob/x", "/open//bob", "/open/;/../bob/", "/open/..;/bob/", "/open/%00",
		"/OPEN/x", "/open/a%20b", "/bob%2Fx", "/%62ob/x", "/shut%2f", "/open/\\..\\bob", "/open/%5c..", "/%2e/shut/", "/open/*",
	}
	for name, cookie := range visitors {
		for _, target := range targets {
			for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "BREW"} {
				req := r.request(cookie, method, "/", nil)
				req.URL.Opaque = target
				direct, err := r.client.Do(req)
				must(t, err)
				direct.Body.Close()
				user := ""
				if direct.StatusCode == 200 {
					_, rest, _ := strings.Cut(app.last(t), "\r\nX-Forwarded-User: ")
					user, _, _ = strings.Cut(rest, "\r\n")
				}
				for _, w := range ways() {
					got := w.put(r, cookie, method, target)
					if got.StatusCode != direct.StatusCode {
						t.Errorf("%s, %s %s, asked by %s: %d, and directly %d", name, method, target, w.name, got.StatusCode, direct.StatusCode)
					}
					if got.Header.Get("X-Forwarded-User") != user {
						t.Errorf("%s, %s %s, asked by %s: it is %q", name, method, target, w.name, got.Header.Get("X-Forwarded-User"))
					}
				}
			}
		}
	}
	// Bytes that no request line holds, but a field does.
	for _, target := range []string{"/open/ /../bob/", "/open/\t..\t/bob/", "/open/#/../../bob/", "/open/#", "/open/x%"} {
		for _, w := range ways()[:7] {
			if got := w.put(r, "", "GET", target); got.StatusCode == 200 {
				t.Errorf("%q, asked by %s, is public", target, w.name)
			}
		}
	}
}

func TestVerifyWithoutAMethodIsAsStrictAsAny(t *testing.T) {
	r, _ := frontRig(t, setup{})
	cookie := r.signIn(alice)
	for _, target := range []string{"/read", "/open/x", "/x"} {
		for method, want := range map[string]int{"": 403, "get": 200, "GET, POST": 200} { // 403 is /shut/'s
			header := []string{"X-Original-URL", publicURL + target}
			if method != "" {
				header = append(header, "X-Original-Method", method)
			}
			if res, _ := r.get(cookie, "/_auth/verify", header...); res.StatusCode != want {
				t.Errorf("%s with %q: %d", target, method, res.StatusCode)
			}
			if res, _ := r.get("", "/_auth/verify", header...); res.StatusCode == 200 {
				t.Errorf("%s with %q is public", target, method)
			}
		}
	}
	if !strings.Contains(r.log.String(), "X-Original-Method") {
		t.Errorf("the operator is not told: %s", r.log.String())
	}
}

func TestQuestionsThatAreNotClear(t *testing.T) {
	r, _ := frontRig(t, setup{})
	cookie := r.signIn(alice)
	for name, tt := range map[string]struct {
		path   string
		header []string
	}{
		"nothing asked":                      {"/_auth/verify", nil},
		"nothing asked at all":               {"/_auth/forward", nil},
		"empty":                              {"/_auth/verify", []string{"X-Original-URL", ""}},
		"twice":                              {"/_auth/verify", []string{"X-Original-URL", publicURL + "/open/", "X-Original-URL", publicURL + "/x"}},
		"two methods":                        {"/_auth/verify", []string{"X-Original-URL", publicURL + "/x", "X-Original-Method", "GET", "X-Original-Method", "POST"}},
		"no method":                          {"/_auth/verify", []string{"X-Original-URL", publicURL + "/x", "X-Original-Method", ""}},
		"two URIs":                           {"/_auth/forward", []string{"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/open/", "X-Forwarded-Uri", "/x"}},
		"the other's":                        {"/_auth/verify", []string{"X-Forwarded-Uri", "/open/", "X-Forwarded-Method", "GET", "X-Forwarded-Host", "app.test"}},
		"the other's, too":                   {"/_auth/forward", []string{"X-Original-URL", publicURL + "/open/", "X-Original-Method", "GET"}},
		"underscores":                        {"/_auth/verify", []string{"X_Original_URL", publicURL + "/open/", "X_Original_Method", "GET"}},
		"another scheme":                     {"/_auth/verify", []string{"X-Original-URL", "ftp://app.test/open/", "X-Original-Method", "GET"}},
		"no path":                            {"/_auth/verify", []string{"X-Original-URL", "open/", "X-Original-Method", "GET"}},
		"another host":                       {"/_auth/verify", []string{"X-Original-URL", "https://evil.test/open/", "X-Original-Method", "GET"}},
		"another port":                       {"/_auth/verify", []string{"X-Original-URL", "https://app.test:8443/open/", "X-Original-Method", "GET"}},
		"user info":                          {"/_auth/verify", []string{"X-Original-URL", "https://app.test@evil.test/open/", "X-Original-Method", "GET"}},
		"a backslash":                        {"/_auth/verify", []string{"X-Original-URL", "https://app.test\\@evil.test/open/", "X-Original-Method", "GET"}},
		"no host":                            {"/_auth/verify", []string{"X-Original-URL", "https:///open/", "X-Original-Method", "GET"}},
		"another host, too":                  {"/_auth/forward", []string{"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/open/", "X-Forwarded-Host", "evil.test"}},
		"our own":                            {"/_auth/verify", []string{"X-Original-URL", publicURL + "/_auth/me", "X-Original-Method", "GET"}},
		"our own, too":                       {"/_auth/forward", []string{"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/_auth/"}},
		"our own, for Envoy":                 {"/_auth/forward/_auth/verify", nil},
		"the address has a slash at its end": {"/_auth/forward/", []string{"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/shut/x"}},
		"TRACE":                              {"/_auth/verify", []string{"X-Original-URL", publicURL + "/open/", "X-Original-Method", "TRACE"}},
		"CONNECT":                            {"/_auth/forward", []string{"X-Forwarded-Method", "CONNECT", "X-Forwarded-Uri", "/open/"}},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := r.get(cookie, tt.path, tt.header...)
			if res.StatusCode != 403 || res.Header.Get("X-Forwarded-User") != "" {
				t.Errorf("%d %q", res.StatusCode, res.Header)
			}
			if verify := tt.path == "/_auth/verify"; verify == (body != "") {
				t.Errorf("the body is %q", body)
			}
		})
	}
	// What the operator reads names the host that was asked about.
	if !strings.Contains(r.log.String(), `"host":"evil.test"`) || !strings.Contains(r.log.String(), `"host":"app.test@evil.test"`) {
		t.Errorf("the log is %s", r.log.String())
	}
	// Neither of these is a question, and neither is proxied.
	for _, path := range []string{"/_auth/verify/", "/_auth/verify/open/", "/_auth/forward*", "/_auth/Verify", "/_auth//verify", "/_auth/forwards"} {
		if res, _ := r.get(cookie, path, "X-Original-URL", publicURL+"/open/", "X-Original-Method", "GET"); res.StatusCode != 404 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

// BYP 030 for forward-auth: who is not trusted is not heard, whatever is claimed.
func TestBYP030AStrangerAsksInVain(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{routes: []policy.Route{{Path: "/open/", Access: policy.Public}}})
	cookie := r.signIn(alice)
	for _, w := range ways() {
		got := w.put(r, cookie, "GET", "/open/", "X-Forwarded-For", "127.0.0.1")
		if got.StatusCode != 403 || got.Header.Get("X-Forwarded-User") != "" || got.Header["Set-Cookie"] != nil {
			t.Errorf("%s: %d %q", w.name, got.StatusCode, got.Header)
		}
	}
}

// verify has no body, whatever goes wrong: nginx and HAProxy would not read it.
func TestVerifyNeverHasABody(t *testing.T) {
	clock := newClock()
	r, _ := frontRig(t, setup{now: clock.Now})
	cookie := r.signIn(alice)
	ask := func(want int, cookie string, header ...string) {
		t.Helper()
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "TRACE"} {
			status := want
			if method == "TRACE" {
				status = 403
			}
			res, body := r.send(cookie, method, "/_auth/verify", nil, append(header, "X-Original-URL", publicURL+"/x", "X-Original-Method", "GET")...)
			if res.StatusCode != status || body != "" || res.Header.Get("Content-Length") != "0" || res.Header["Location"] != nil || res.Header.Get("X-Loginwall") == "" {
				t.Errorf("%s with %q: %d %q %q", method, header, res.StatusCode, res.Header, body)
			}
		}
	}
	ask(200, cookie)
	ask(401, "")
	ask(401, "", "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
	ask(403, cookie, "Sec-WebSocket-Key", "x", "Origin", "https://evil.test")
	ask(403, cookie, "X-Forwarded-Host", "a", "X-Forwarded-Host", "b")
	r.revoked.Add(auth.Revocation{Kind: auth.BlockEmail, Key: alice.Email, Active: true})
	ask(403, cookie)
	clock.advance(61 * time.Minute)
	ask(503, cookie)
}

// A WebSocket is told by whatever of it a front proxy passes on.
func TestCSR176ForwardAuthKnowsAWebSocket(t *testing.T) {
	r, _ := frontRig(t, setup{})
	cookie := r.signIn(alice)
	for name, marks := range map[string][]string{
		"as it came":           {"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Key", "x", "Sec-WebSocket-Version", "13"},
		"without its Upgrade":  {"Sec-WebSocket-Key", "x", "Sec-WebSocket-Version", "13"},
		"as HTTP/2 has it":     {"Sec-WebSocket-Version", "13"},
		"by somebody else's":   {"Upgrade", "WebSocket"},
		"the key and not more": {"Sec-WebSocket-Key", "x"},
	} {
		for _, w := range ways() {
			for origin, want := range map[string]int{"": 200, publicURL: 200, "https://evil.test": 403, "null": 403} {
				header := marks
				if origin != "" {
					header = append(slices.Clone(marks), "Origin", origin)
				}
				if got := w.put(r, cookie, "GET", "/ws", header...); got.StatusCode != want {
					t.Errorf("%s, asked by %s, from %q: %d", name, w.name, origin, got.StatusCode)
				}
				if got := w.put(r, cookie, "GET", "/open/ws", header...); got.StatusCode != 200 {
					t.Errorf("%s, asked by %s, from %q, on a public route: %d", name, w.name, origin, got.StatusCode)
				}
				if got := w.put(r, "", "GET", "/ws", header...); got.StatusCode != 401 {
					t.Errorf("%s, asked by %s, from %q, by nobody: %d", name, w.name, origin, got.StatusCode)
				}
			}
		}
	}
	// By CONNECT, as Caddy tells of one over HTTP/2 (RFC 8441): what is judged is the
	// GET that the app will get.
	caddy := func(cookie, target string, header ...string) int {
		res, _ := r.get(cookie, "/_auth/forward", append(header, "X-Forwarded-Method", "CONNECT", "X-Forwarded-Host", "app.test", "X-Forwarded-Uri", target)...)
		return res.StatusCode
	}
	if status := caddy("", "/read", "Sec-WebSocket-Version", "13"); status != 200 {
		t.Errorf("a WebSocket by CONNECT: %d", status)
	}
	if status := caddy(cookie, "/ws", "Sec-WebSocket-Version", "13", "Origin", "https://evil.test"); status != 403 {
		t.Errorf("a WebSocket by CONNECT, from elsewhere: %d", status)
	}
}

// The answer to a yes is the identity, at most one cookie of ours, and nothing of
// what the client sent.
func TestWhatAYesTells(t *testing.T) {
	clock := newClock()
	r, _ := frontRig(t, setup{now: clock.Now, profiles: []string{"forwarded", "remote-user"}})
	cookie := r.signIn(alice) + "; app=secret"
	nameless := alice
	nameless.Subject, nameless.Email, nameless.Name = "1003", "carol@example.com", ""
	other := r.signIn(nameless)
	forged := []string{"X-Forwarded-User", "boss", "X-Forwarded-Name", "Boss", "X-Forwarded-Groups", "root", "Remote-User", "boss", "Remote-Groups", "root"}
	for _, w := range ways() {
		got := w.put(r, cookie, "GET", "/x", forged...)
		want := map[string]string{
			"X-Forwarded-User": "alice@example.com", "X-Forwarded-Email": "alice@example.com", "X-Forwarded-Preferred-Username": "alice", "X-Forwarded-Name": "Alice A.",
			"X-Forwarded-Groups": "", "Remote-User": "alice@example.com", "Remote-Groups": "", "X-Loginwall": "page", "Cache-Control": "no-store", "Set-Cookie": "", "Cookie": "",
		}
		for name, value := range want {
			if strings.Join(got.Header[http.CanonicalHeaderKey(name)], ", ") != value {
				t.Errorf("%s: %s is %q, not %q", w.name, name, got.Header.Values(name), value)
			}
		}
		if got := w.put(r, other, "GET", "/x", forged...); got.StatusCode != 200 || got.Header["X-Forwarded-Name"] != nil {
			t.Errorf("%s: who has no name is %q", w.name, got.Header["X-Forwarded-Name"])
		}
		if got := w.put(r, cookie, "GET", "/open/x", forged...); got.StatusCode != 200 || got.Header["X-Forwarded-User"] != nil || got.Header["Remote-User"] != nil {
			t.Errorf("%s: on a public route: %q", w.name, got.Header)
		}
	}
	if !r.metric(`loginwall_http_requests_total{code="200",method="GET",outcome="vouched"} 24`) ||
		!strings.Contains(r.access.String(), `"path":"/x","status":200`) || !strings.Contains(r.access.String(), `"outcome":"vouched"`) {
		t.Errorf("what was asked about is not accounted for: %s", r.access.String())
	}
	clock.advance(10 * time.Minute) // more than a tenth of the idle limit
	for _, w := range ways() {
		if set := w.put(r, cookie, "GET", "/x").Header["Set-Cookie"]; len(set) != 1 || !strings.HasPrefix(set[0], "__Host-loginwall=") {
			t.Errorf("%s: Set-Cookie is %q", w.name, set)
		}
		if set := w.put(r, cookie, "GET", "/open/x").Header["Set-Cookie"]; set != nil {
			t.Errorf("%s: on a public route: %q", w.name, set)
		}
	}
}

// Who is turned away by forward gets what the wall itself would have answered, and
// lands where it wanted to be.
func TestForwardAnswersForTheWall(t *testing.T) {
	var calls []string
	r, _ := frontRig(t, setup{auth: func(a proxy.Auth) proxy.Auth { return noting{a, &calls} }})
	cookie := r.signIn(alice)
	for _, w := range ways()[5:] {
		if got := w.put(r, "", "POST", "/x"); got.StatusCode != 401 || got.Header.Get("X-Loginwall") != "sign_in_required" || got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %q", w.name, got.StatusCode, got.Header)
		}
		if got := w.put(r, cookie, "GET", "/bob/x"); got.StatusCode != 403 || got.Header.Get("X-Loginwall") != "denied" {
			t.Errorf("%s: %d %q", w.name, got.StatusCode, got.Header)
		}
		// The front proxy waits for the whole of an answer to its own GET.
		if got := w.put(r, "", "HEAD", "/x"); got.StatusCode != 401 || got.ContentLength <= 0 {
			t.Errorf("%s: %d, %d bytes", w.name, got.StatusCode, got.ContentLength)
		}
	}
	for _, w := range ways()[5:] {
		w.put(r, "", "POST", "/deep?q=1&r=%2F")
		if last := calls[len(calls)-1]; last != "POST /deep?q=1&r=%2F" {
			t.Errorf("%s: the challenge was about %s", w.name, last)
		}
	}
}

// A noting Auth keeps what it was asked to challenge.
type noting struct {
	proxy.Auth
	calls *[]string
}

func (n noting) Challenge(w http.ResponseWriter, r *http.Request, c auth.Client, d gate.Decision) {
	*n.calls = append(*n.calls, r.Method+" "+r.URL.RequestURI())
	n.Auth.Challenge(w, r, c, d)
}

// Some front proxies pass on what announces a body, or the body. It is neither
// waited for, nor taken for a request.
func TestQuestionsWithBodies(t *testing.T) {
	r, app := frontRig(t, setup{})
	cookie := r.signIn(alice)
	head := "Host: app.test\r\nCookie: " + cookie + "\r\nX-Original-Method: POST\r\nX-Original-URL: https://app.test/x\r\n" +
		"X-Forwarded-Method: POST\r\nX-Forwarded-Host: app.test\r\nX-Forwarded-Uri: /x\r\n"
	smuggled := "POST /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n"
	for name, body := range map[string]string{
		"small":           "Content-Length: " + strconv.Itoa(len(smuggled)) + "\r\n\r\n" + smuggled,
		"chunked":         "Transfer-Encoding: chunked\r\n\r\n2a\r\n" + strings.Repeat("x", 42) + "\r\n0\r\n\r\n",
		"expected":        "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
		"large":           "Content-Length: 10000000\r\n\r\nthe beginning",
		"expected, empty": "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
	} {
		for _, path := range []string{"POST /_auth/verify", "POST /_auth/forward", "POST /_auth/forward/x", "GET /_auth/verify", "GET /_auth/forward"} {
			conn := r.dial()
			_, err := io.WriteString(conn, path+" HTTP/1.1\r\n"+head+body)
			must(t, err)
			in := bufio.NewReader(conn)
			began := time.Now()
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Errorf("%s, %s: %v", name, path, err)
				continue
			}
			if res.StatusCode != 200 || res.Header.Get("X-Forwarded-User") != "alice@example.com" || time.Since(began) > patience/4 {
				t.Errorf("%s, %s: %d after %v", name, path, res.StatusCode, time.Since(began))
			}
			conn.Close()
		}
	}
	if seen := app.requests(); len(seen) != 0 {
		t.Errorf("the app got %q", seen)
	}
}

// As Envoy asks a cluster that speaks HTTP/2.
func TestForwardAuthOverHTTP2(t *testing.T) {
	r, _ := frontRig(t, setup{server: func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	}})
	cookie := r.signIn(alice)
	for _, w := range ways() {
		got := w.put(r, cookie, "GET", "/x?y=%zz")
		if got.ProtoMajor != 2 || got.StatusCode != 200 || got.Header.Get("X-Forwarded-User") != "alice@example.com" {
			t.Errorf("%s: %s %d %q", w.name, got.Proto, got.StatusCode, got.Header)
		}
		if got := w.put(r, "", "POST", "/x"); got.StatusCode != 401 {
			t.Errorf("%s: %d", w.name, got.StatusCode)
		}
	}
	envoy := ways()[7]
	if got := envoy.put(r, cookie, "GET", "/x", "Host", "evil.test"); got.StatusCode != 403 {
		t.Errorf("another :authority: %d", got.StatusCode)
	}
	if got := envoy.put(r, cookie, "GET", "/x", "Host", "evil.test", "X-Forwarded-Host", "app.test"); got.StatusCode != 403 {
		t.Errorf("another :authority that a field hides: %d", got.StatusCode)
	}
}

// FuzzForwardAuth holds that a path which is not plainly public is never vouched
// for without a session, however it is asked about.
func FuzzForwardAuth(f *testing.F) {
	for _, seed := range []string{"/open/x", "/open/../bob/", "/open/%2e%2e/x", "/open/#", "/open/x?y=/../bob", "//open/", "https://evil.test/open/", "/open/a\\..", "/open/\x80", "/open/x y"} {
		f.Add("GET", seed)
	}
	r, _ := frontRig(f, setup{})
	f.Fuzz(func(t *testing.T, method, target string) {
		if strings.ContainsFunc(method+target, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return // no field holds these
		}
		told := []http.Header{
			{"X-Original-Method": {method}, "X-Original-Url": {publicURL + target}},
			{"X-Original-Method": {method}, "X-Original-Url": {target}},
			{"X-Forwarded-Method": {method}, "X-Forwarded-Uri": {target}},
		}
		for i, header := range told {
			path := "/_auth/verify"
			if i == 2 {
				path = "/_auth/forward"
			}
			req := httptest.NewRequest(http.MethodGet, "https://app.test"+path, nil)
			req.RequestURI, req.RemoteAddr = path, "127.0.0.1:1"
			maps.Copy(req.Header, header)
			w := httptest.NewRecorder()
			r.handler.ServeHTTP(w, req)
			rest, below := strings.CutPrefix(header.Get("X-Original-Url")+header.Get("X-Forwarded-Uri"), publicURL)
			if !below && i == 0 {
				t.Fatal("not a question about us")
			}
			rest, _, _ = strings.Cut(rest, "?")
			if w.Code == 200 && (!strings.HasPrefix(rest, "/open/") || strings.ContainsAny(rest, "#\\;") || slices.Contains(strings.Split(rest, "/"), "..")) {
				t.Errorf("%q is public as %q", rest, header)
			}
			if w.Code == 200 && len(w.Header()["X-Forwarded-User"]) > 0 {
				t.Errorf("%q makes somebody of nobody", rest)
			}
		}
	})
}
