package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth/devidp"
)

// A frontCase is what should hold at every front door. Some of them cannot hold at
// some: the table says so.
type frontCase struct {
	name string
	run  func(t tester, f *front)
}

func frontCases() []frontCase {
	return []frontCase{
		{"a navigation goes to the login, and comes back", atNavigation},
		{"a deep link keeps its query, to the byte", atDeepLink},
		{"a program gets 401 and JSON, and starts no login", atFetch},
		{"who is denied gets a page, or JSON, that says why", atDenied},
		{"a body arrives whole; a stranger's does not arrive", atPost},
		{"HTTP/2 from the browser", atHTTP2},
		{"WebSockets: signed in, and of our own origin, only", atWebSocket},
		{"event streams come at once", atEvents},
		{"another upgrade than WebSocket is none", atUpgrade},
		{"the app learns who it is, and nothing that a client claims", atSpoof},
		{"the app learns the client's address, and no claimed one", atAddress},
		{"the wall's cookies do not reach the app, its own do", atCookies},
		{"the app cannot set the wall's cookies", atAppsCookies},
		{"no cache in front may keep what somebody got", atCaches},
		{"the session is renewed in time", atRenewal},
		{"another host is not served", atWrongHost},
		{"the provider is down: who is in, stays in", atProviderDown},
		{"sign-out", atSignOut},
		{"what is open ends with its session", atOpen},
		{"an untrusted front door gets nobody in, or is believed nothing", atUntrusted},
		{"the wall is down: nobody gets in", atWallDown},
	}
}

func atNavigation(t tester, f *front) {
	g := f.guest(t)
	g.untouched(func() {
		a := g.navigate("/")
		g.wants(a, http.StatusFound, "sign_in_required")
		if !strings.HasPrefix(a.Header.Get("Location"), f.issuer+"/authorize?") {
			t.Fatalf("it leads to %q", a.Header.Get("Location"))
		}
	})
	g.wants(g.enter("alice@example.com", "/"), http.StatusOK, "")
	g.wants(g.navigate("/"), http.StatusOK, "")
	g.wants(g.navigate("/_auth/"), http.StatusOK, "page")
	if a := g.navigate("/_auth/me"); !strings.Contains(string(a.body), `"alice@example.com"`) {
		t.Fatalf("%s", a.body)
	}
	// Who came without TLS is sent to it.
	plain, err := (&http.Client{CheckRedirect: g.client.CheckRedirect, Timeout: patience}).Get("http://" + f.http + "/x?y=z")
	if err == nil {
		plain.Body.Close()
	}
	if err != nil || plain.StatusCode/100 != 3 || plain.Header.Get("Location") != frontURL+"/x?y=z" && !strings.HasPrefix(f.door.name, "Caddy") {
		t.Fatalf("without TLS: %v %v", plain, err)
	}
}

const frontLink = "/deep/a%20b/caf%C3%A9/x%2Fy?q=1&r=%26%2F&u=http://x.test/?a%3Db&empty="

func atDeepLink(t tester, f *front) {
	g := f.guest(t)
	g.wants(g.enter("alice@example.com", frontLink), http.StatusOK, "")
	if got, _ := f.app.last(t); got.RequestURI != frontLink {
		t.Fatalf("the app got %s", got.RequestURI)
	}
	// And the one that the wall itself makes.
	if a := f.guest(t).fetch(frontLink); !strings.Contains(string(a.body), "to=%2Fdeep%2Fa%2520b%2Fcaf%25C3%25A9%2Fx%252Fy%3Fq%3D1%26r%3D%2526%252F%26u%3Dhttp%3A%2F%2Fx.test%2F%3Fa%253Db%26empty%3D") {
		t.Fatalf("%s", a.body)
	}
}

func atFetch(t tester, f *front) {
	g := f.guest(t)
	g.untouched(func() {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"} {
			a := g.send(method, "/api?x=y", nil, fetch())
			if a.StatusCode != http.StatusUnauthorized || a.Header.Get("X-Loginwall") != "sign_in_required" || a.Header["Set-Cookie"] != nil || a.Header["Location"] != nil ||
				method != "HEAD" && !strings.Contains(string(a.body), `"login_url":"https://app.test/_auth/login?to=%2Fapi%3Fx%3Dy"`) {
				t.Fatalf("%s: %s %q %s", method, a.Status, a.Header, a.body)
			}
		}
		frame := navigation()
		frame.Set("Sec-Fetch-Dest", "iframe")
		if a := g.send("GET", "/api", nil, frame); a.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
			t.Fatalf("a frame: %s", a.Status)
		}
	})
}

func atDenied(t tester, f *front) {
	g := f.guest(t)
	g.wants(g.enter("bob@example.com", "/"), http.StatusOK, "")
	g.untouched(func() {
		a := g.navigate("/admin/x?y=z")
		g.wants(a, http.StatusForbidden, "denied")
		if !strings.Contains(string(a.body), "bob@example.com") || !strings.Contains(string(a.body), "/_auth/login?switch=1&amp;to=%2Fadmin%2Fx%3Fy%3Dz") &&
			!strings.Contains(string(a.body), "to=%2Fadmin%2Fx%3Fy%3Dz&amp;switch=1") {
			t.Fatalf("the page does not say who, or does not lead on:\n%s", a.body)
		}
		a = g.send("POST", "/admin/x", strings.NewReader("x=y"), fetch())
		g.wants(a, http.StatusForbidden, "denied")
		if !strings.Contains(string(a.body), `"error":"denied"`) {
			t.Fatalf("%s", a.body)
		}
		// A path that only some parsers take for one below /admin/ is judged as if it were.
		for _, target := range []string{"/public/..%2fadmin/x", "/%61dmin/x", "/public%2f..%2fadmin/x", "/admin;x/y", "//admin/x", "https://app.test/admin/x", "https://app.test//admin/x"} {
			if a := g.navigate(target); bytes.Contains(a.body, []byte(upstreamMark)) {
				t.Fatalf("%s: %s", target, a.Status)
			}
		}
		stranger := f.guest(t)
		stranger.wants(stranger.signIn("mallory@evil.test", "/"), http.StatusForbidden, "denied")
		stranger.wants(stranger.fetch("/"), http.StatusUnauthorized, "sign_in_required")
	})
	boss := f.guest(t)
	boss.wants(boss.enter("alice@example.com", "/admin/x"), http.StatusOK, "")
}

func atPost(t tester, f *front) {
	g := f.guest(t)
	body := make([]byte, 1500<<10)
	_, _ = rand.Read(body)
	form := navigation()
	form.Set("Content-Type", "application/x-www-form-urlencoded")
	g.untouched(func() {
		a := g.send("POST", "/form", strings.NewReader("a=b"), form)
		if a.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || !strings.Contains(string(a.body), "/_auth/login?to=%2Fform") {
			t.Fatalf("a form: %s\n%s", a.Status, a.body)
		}
		if a := g.send("POST", "/upload", bytes.NewReader(body[:32<<10]), fetch()); a.StatusCode != http.StatusUnauthorized {
			t.Fatalf("an upload: %s", a.Status)
		}
	})
	g.enter("alice@example.com", "/")
	for name, header := range map[string]http.Header{"plain": fetch(), "expected": {"Expect": {"100-continue"}}} {
		g.wants(g.send("POST", "/upload", bytes.NewReader(body), header), http.StatusOK, "")
		if got, text := f.app.last(t); got.Method != "POST" || !bytes.Equal(text, body) {
			t.Fatalf("%s: the app got %s and %d bytes", name, got.Method, len(text))
		}
	}
	// Of unknown length.
	g.wants(g.send("PUT", "/upload", struct{ *bytes.Reader }{bytes.NewReader(body)}, fetch()), http.StatusOK, "")
	if got, text := f.app.last(t); got.Method != "PUT" || !bytes.Equal(text, body) {
		t.Fatalf("the app got %s and %d bytes", got.Method, len(text))
	}
}

func atHTTP2(t tester, f *front) {
	g := f.guest(t)
	transport := g.client.Transport.(*http.Transport)
	transport.ForceAttemptHTTP2 = true
	a := g.enter("alice@example.com", frontLink)
	g.wants(a, http.StatusOK, "")
	if a.ProtoMajor != 2 {
		t.Fatalf("it is %s", a.Proto)
	}
	if got, _ := f.app.last(t); got.RequestURI != frontLink || got.Host != "app.test" {
		t.Fatalf("the app got %s for %s", got.RequestURI, got.Host)
	}
	g.wants(g.send("POST", "/upload", strings.NewReader("text"), fetch()), http.StatusOK, "")
	if _, text := f.app.last(t); string(text) != "text" {
		t.Fatalf("the app got %q", text)
	}
	stranger := f.guest(t)
	stranger.client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	stranger.untouched(func() { stranger.wants(stranger.fetch("/x"), http.StatusUnauthorized, "sign_in_required") })
}

func atWebSocket(t tester, f *front) {
	g := f.guest(t)
	g.untouched(func() {
		if _, status := g.webSocket(frontURL); status != http.StatusUnauthorized {
			t.Fatalf("a stranger: %d", status)
		}
	})
	g.enter("alice@example.com", "/")
	g.untouched(func() {
		for _, origin := range []string{"https://evil.test", "null", "http://app.test"} {
			if _, status := g.webSocket(origin); status != http.StatusForbidden {
				t.Fatalf("from %s: %d", origin, status)
			}
		}
	})
	conn, status := g.webSocket(frontURL)
	if conn == nil {
		t.Fatalf("our own: %d", status)
	}
	check(t, echoes(conn))
	if got := identities(f.app.lastOf(t, "/ws")); got["X-Forwarded-User"] != "alice@example.com" {
		t.Fatalf("the app learned %q", got)
	}
	_ = conn.Close(websocket.StatusNormalClosure, "") // an error tells that the app's own took longer than the client waits

	// And over HTTP/2 (RFC 8441), where a door has them.
	status, echo := g.webSocketOverHTTP2(frontURL)
	if status == 0 && !strings.HasPrefix(f.door.name, "HAProxy") {
		return
	}
	if status != http.StatusOK || echo != "hello" {
		t.Fatalf("over HTTP/2: %d %q", status, echo)
	}
	g.untouched(func() {
		if status, _ := g.webSocketOverHTTP2("https://evil.test"); status != http.StatusForbidden {
			t.Fatalf("over HTTP/2, from elsewhere: %d", status)
		}
		if status, _ := f.guest(t).webSocketOverHTTP2(frontURL); status != http.StatusUnauthorized {
			t.Fatalf("over HTTP/2, a stranger: %d", status)
		}
	})
}

// webSocketOverHTTP2 opens one, says hello, and returns the status and the echo;
// zero where the front door offers no such thing.
func (g *guest) webSocketOverHTTP2(origin string) (status int, echo string) {
	transport := g.client.Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = true
	defer transport.CloseIdleConnections()
	// One request, so that it knows HTTP/2; then past its own check of field names.
	first := &http.Client{Transport: transport, CheckRedirect: g.client.CheckRedirect, Timeout: patience}
	response, err := first.Get(frontURL + "/_auth/healthz")
	check(g.t, err)
	response.Body.Close()
	conn, err := transport.DialContext(g.f.t.Context(), "tcp", "app.test:443")
	check(g.t, err)
	secure := tls.Client(conn, &tls.Config{RootCAs: g.f.roots, ServerName: "app.test", NextProtos: []string{"h2"}})
	defer secure.Close()
	check(g.t, secure.Handshake())
	ctx, cancel := context.WithTimeout(g.f.t.Context(), patience)
	defer cancel()
	in, out := io.Pipe()
	defer out.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodConnect, frontURL+"/ws", in)
	check(g.t, err)
	request.Header = http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Origin": {origin}, "Cookie": {g.cookies.String()}, "Sec-Fetch-Mode": {"websocket"}}
	if len(g.cookies) == 0 {
		delete(request.Header, "Cookie")
	}
	response, err = transport.TLSNextProto["h2"]("app.test:443", secure).RoundTrip(request)
	if err != nil {
		if strings.Contains(err.Error(), "extended connect not supported") {
			return 0, ""
		}
		check(g.t, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, ""
	}
	go func() { _, _ = out.Write([]byte("\x81\x85\x00\x00\x00\x00hello")) }() // a frame of text (RFC 6455, section 5.2)
	frame := make([]byte, 7)
	_, err = io.ReadFull(response.Body, frame)
	check(g.t, err)
	return response.StatusCode, string(frame[2:])
}

// lastOf returns the latest request for a path.
func (a *frontApp) lastOf(t tester, path string) *http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range slices.Backward(a.got) {
		if r.URL.Path == path {
			return r
		}
	}
	t.Fatalf("the app got nothing for %s", path)
	return nil
}

func atEvents(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	line, closeStream := g.events()
	defer closeStream()
	if line != "data: one\n" {
		t.Fatalf("the first line is %q", line)
	}
}

// events opens an event stream and returns its first bytes.
func (g *guest) events() (first string, closeStream func()) {
	request, err := http.NewRequestWithContext(g.f.t.Context(), http.MethodGet, frontURL+"/events", nil)
	check(g.t, err)
	request.Header = http.Header{"Accept": {"text/event-stream"}, "Cookie": {g.cookies.String()}}
	response, err := g.client.Do(request)
	check(g.t, err)
	text := make([]byte, 10)
	_, err = io.ReadFull(response.Body, text)
	check(g.t, err)
	return string(text), func() { response.Body.Close() }
}

func atUpgrade(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	for _, upgrade := range []string{"h2c", "foo, websocket", "h2c, websocket"} {
		header := http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {upgrade}, "Http2-Settings": {"AAMAAABkAARAAAAAAAIAAAAA"}}
		a := g.send("GET", "/up", nil, header)
		if got, _ := f.app.last(t); got.Header["Upgrade"] != nil {
			t.Fatalf("the app got Upgrade: %q", got.Header["Upgrade"])
		}
		if a.StatusCode != http.StatusOK && (a.StatusCode != http.StatusBadRequest || upgrade == "h2c") {
			t.Fatalf("%s: %s", upgrade, a.Status)
		}
	}
}

// forged are statements that are nobody's to make, in the spellings that some app
// or other takes for the same.
func forged() http.Header {
	return http.Header{
		"X-Forwarded-User": {"boss"}, "X_Forwarded_User": {"boss"}, "X.Forwarded.User": {"boss"}, "X-Forwarded_Email": {"boss"}, "x_forwarded-email": {"boss"},
		"X-Forwarded-Groups": {"root"}, "X_FORWARDED_GROUPS": {"root"}, "Remote-User": {"boss"}, "Remote_User": {"boss"}, "REMOTE.USER": {"boss"},
		"X-Remote-User": {"boss"}, "X-Webauth-User": {"boss"}, "Forwarded": {"for=6.6.6.6"}, "X-Loginwall-Assertion": {"forged"},
		"X-Forwarded-Preferred-Username": {"boss"}, "X-Forwarded-Name": {"Boss"},
	}
}

func atSpoof(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	alice := map[string]string{
		"X-Forwarded-User": "alice@example.com", "X-Forwarded-Email": "alice@example.com", "X-Forwarded-Preferred-Username": "alice", "X-Forwarded-Name": f.oracle.names["alice@example.com"],
	}
	learned := func(want map[string]string) {
		got, _ := f.app.last(t)
		if diff := cmp.Diff(want, identities(got)); diff != "" {
			t.Fatalf("%s: what the app learned (-want +got):\n%s", got.URL, diff)
		}
	}
	header := forged()
	g.wants(g.send("GET", "/who", nil, header), http.StatusOK, "")
	learned(alice)
	// No field for one hop is what the wall says.
	for _, connection := range []string{"X-Forwarded-User, X-Forwarded-Email, X-Forwarded-Name, Cookie", "keep-alive, x-forwarded-user"} {
		header.Set("Connection", connection)
		a := g.send("GET", "/who", nil, header)
		if a.StatusCode == http.StatusOK {
			learned(alice)
		}
	}
	// On public routes everybody is nobody.
	for _, who := range []*guest{g, f.guest(t)} {
		who.wants(who.send("GET", "/public/x", nil, forged()), http.StatusOK, "")
		learned(map[string]string{})
	}
	// Nor does any of it let anybody in.
	stranger := f.guest(t)
	header = forged()
	maps.Copy(header, http.Header{
		"X-Original-Url": {"https://app.test/public/x"}, "X-Original-Method": {"GET"}, "X-Forwarded-Uri": {"/public/x"}, "X-Forwarded-Method": {"GET"},
		"X-Forwarded-Proto": {"http"}, "X-Rewrite-Url": {"/public/x"}, "X-Original-Uri": {"/public/x"}, "X-Http-Method-Override": {"OPTIONS"},
		"X_Original_Url": {"https://app.test/public/x"}, "X-Accel-Redirect": {"/"}, "X-Forwarded-Prefix": {"/public"},
	})
	stranger.untouched(func() {
		if a := stranger.send("GET", "/private", nil, header); a.StatusCode != http.StatusFound && a.StatusCode != http.StatusUnauthorized {
			t.Fatalf("%s", a.Status)
		}
		header.Set("X-Forwarded-Host", "evil.test")
		stranger.send("GET", "/private", nil, header)
		header["X-Forwarded-Host"] = []string{"app.test", "evil.test"}
		stranger.send("GET", "/private", nil, header)
	})
	// What the wall answers to a client's own questions is about that client.
	for _, path := range []string{"/_auth/verify", "/_auth/forward", "/_auth/forward/private"} {
		stranger.untouched(func() {
			a := stranger.send("GET", path, nil, http.Header{
				"X-Original-Url": {"https://app.test/private"}, "X-Original-Method": {"GET"}, "X-Forwarded-Uri": {"/private"}, "X-Forwarded-Method": {"GET"},
			})
			if a.StatusCode == http.StatusOK || a.Header["X-Forwarded-User"] != nil {
				t.Fatalf("%s: %s", path, a.Status)
			}
		})
	}
}

func atAddress(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	g.wants(g.send("GET", "/who", nil, http.Header{"X-Forwarded-For": {"6.6.6.6"}, "X-Real-Ip": {"6.6.6.6"}}), http.StatusOK, "")
	got, _ := f.app.last(t)
	chain := got.Header["X-Forwarded-For"]
	want := "127.0.0.2"
	if !f.door.forward {
		want = "127.0.0.2, 127.0.0.1"
	}
	if len(chain) != 1 || chain[0] != want || got.Header.Get("X-Forwarded-Proto") != "https" || got.Host != "app.test" {
		t.Fatalf("X-Forwarded-For is %q, X-Forwarded-Proto %q, Host %q", chain, got.Header["X-Forwarded-Proto"], got.Host)
	}
	if host := got.Header.Get("X-Forwarded-Host"); host != "app.test" {
		t.Fatalf("X-Forwarded-Host is %q", host)
	}
	// So does the wall's directory.
	out, err := exec.CommandContext(f.t.Context(), "loginwall", "sessions", "list", "--json", "--config", filepath.Join(f.folder, "wall.yaml")).Output()
	check(t, err)
	if !strings.Contains(string(out), `"127.0.0.2"`) || strings.Contains(string(out), "6.6.6.6") {
		t.Fatalf("the wall knows of %s", out)
	}
}

func atCookies(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	session := g.cookies.session()
	for sent, want := range map[string]string{
		session:                                "",
		session + "; a=1":                      "a=1",
		"a=1; " + session:                      "a=1",
		"a=1; " + session + "; b=2; c=\"x y\"": "a=1; b=2; c=\"x y\"",
		"__Host-loginwall-a-1=x; " + session + "; a=1; __Host-loginwall-a-2=y; __Host-loginwall-a-3=z; b=2": "a=1; b=2",
		"__host-LOGINWALL-x=1; " + session + "; a=loginwall=1; loginwallet=2; my-loginwall=3":               "a=loginwall=1; loginwallet=2; my-loginwall=3",
	} {
		g.wants(g.send("GET", "/cookies", nil, http.Header{"Cookie": {sent}}), http.StatusOK, "")
		got, _ := f.app.last(t)
		if cookies := got.Header["Cookie"]; strings.Join(cookies, "|") != want || want == "" && cookies != nil {
			t.Fatalf("of %q the app got %q", sent, cookies)
		}
	}
	// However they are strewn, none of ours arrives, on public routes neither.
	strewn := ""
	for i := range 8 {
		strewn += fmt.Sprintf("app%d=1; __Host-loginwall-a-%d=x; ", i, i)
	}
	for _, path := range []string{"/cookies", "/public/cookies"} {
		g.wants(g.send("GET", path, nil, http.Header{"Cookie": {strewn + session}}), http.StatusOK, "")
		if got, _ := f.app.last(t); strings.Contains(strings.ToLower(strings.Join(got.Header["Cookie"], ";")), "host-loginwall") {
			t.Fatalf("the app got %q", got.Header["Cookie"])
		}
	}
}

func atAppsCookies(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	before := g.cookies.session()
	request, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, frontURL+"/evil", nil)
	check(t, err)
	request.Header.Set("Cookie", before)
	response, err := g.client.Do(request)
	check(t, err)
	defer response.Body.Close()
	if lines := strings.Join(response.Header["Set-Cookie"], "\n"); strings.Contains(lines, "evil") || !strings.Contains(lines, "app=1") {
		t.Fatalf("Set-Cookie: %s", lines)
	}
}

func atCaches(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	for path, private := range map[string]bool{"/cached": true, "/": true, "/public/cached": false} {
		a := g.navigate(path)
		caching := strings.Join(a.Header["Cache-Control"], ", ")
		if strings.Contains(caching, "private") != private || private && a.Header["Cdn-Cache-Control"] != nil {
			t.Fatalf("%s: Cache-Control is %q, CDN-Cache-Control %q", path, caching, a.Header["Cdn-Cache-Control"])
		}
	}
}

func atRenewal(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	before := g.cookies.session()
	poll(t, "no new cookie comes", func() bool { // after a tenth of idle_timeout: 3 s
		time.Sleep(100 * time.Millisecond)
		g.wants(g.fetch("/x"), http.StatusOK, "")
		return g.cookies.session() != before
	})
	g.wants(g.fetch("/x"), http.StatusOK, "")
}

func atWrongHost(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	g.untouched(func() {
		for _, host := range []string{"evil.test", "app.test.evil.test", "app.test:8443", "127.0.0.1"} {
			for _, target := range []string{"/", "/public/x", "/_auth/login"} {
				header := navigation()
				header.Set("Host", host)
				a := g.send("GET", target, nil, header)
				if bytes.Contains(a.body, []byte(upstreamMark)) || strings.HasPrefix(a.Header.Get("Location"), f.issuer) {
					t.Fatalf("%s%s: %s", host, target, a.Status)
				}
			}
		}
	})
}

func atProviderDown(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	f.idp.Misbehave(devidp.Fault{Respond: func(w http.ResponseWriter, _ *http.Request, endpoint string) bool {
		if endpoint == "authorize" {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}})
	defer f.idp.Misbehave(devidp.Fault{})
	g.wants(g.navigate("/x"), http.StatusOK, "")
	stranger := f.guest(t)
	stranger.untouched(func() {
		a := stranger.signIn("bob@example.com", "/")
		if a.StatusCode < 500 || a.Header.Get("X-Loginwall") != "error" || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
			t.Fatalf("%s, X-Loginwall %q", a.Status, a.Header.Get("X-Loginwall"))
		}
		stranger.wants(stranger.fetch("/"), http.StatusUnauthorized, "sign_in_required")
	})
}

func (g *guest) signOut() {
	header := navigation()
	header.Set("Origin", frontURL)
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	if a := g.send("POST", "/_auth/logout", strings.NewReader(""), header); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != frontURL+"/_auth/signed-out" {
		g.t.Fatalf("no sign-out: %s, Location %q", a.Status, a.Header.Get("Location"))
	}
}

func atSignOut(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	kept := g.cookies.session()
	header := navigation()
	header.Set("Origin", "https://evil.test")
	g.wants(g.send("POST", "/_auth/logout", strings.NewReader(""), header), http.StatusForbidden, "error")
	g.wants(g.navigate("/"), http.StatusOK, "")
	g.signOut()
	if g.cookies.session() != "" {
		t.Fatalf("the cookie is still there")
	}
	g.wants(g.navigate("/_auth/signed-out"), http.StatusOK, "page")
	// The cookie that somebody has kept opens nothing, and a browser is told to drop it.
	g.untouched(func() {
		with := fetch()
		with.Set("Cookie", kept)
		a := g.send("GET", "/", nil, with)
		g.wants(a, http.StatusUnauthorized, "sign_in_required")
		with = navigation()
		with.Set("Cookie", kept)
		g.wants(g.send("GET", "/", nil, with), http.StatusFound, "sign_in_required")
	})
}

func atOpen(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	conn, status := g.webSocket(frontURL)
	if conn == nil {
		t.Fatalf("no WebSocket: %d", status)
	}
	check(t, echoes(conn))
	g.signOut()
	bound := patience
	if f.door.forward { // the wall sees nothing of what is open
		bound = 2 * time.Second
	}
	for end := time.Now().Add(bound); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if echoes(conn) != nil {
			return
		}
	}
	t.Fatalf("a WebSocket outlives its session")
}

func atUntrusted(t tester, f *front) {
	wall := startWall(f.t, frontURL, frontConfig(f.door, f.app.address))
	wall.idp.Misbehave(devidp.Fault{})
	p := f.open(wall.address, f.app.address)
	g := f.guestAt(t, p.https)
	g.f = &front{rig: wall, t: f.t, door: f.door, place: p, app: f.app, roots: f.roots}
	if f.door.forward {
		g.untouched(func() {
			for _, target := range []string{"/", "/public/x"} {
				if a := g.navigate(target); a.StatusCode != http.StatusForbidden {
					t.Fatalf("%s: %s", target, a.Status)
				}
			}
		})
		return
	}
	// As a plain upstream the wall needs nobody's word for anything but the address.
	g.wants(g.enter("alice@example.com", "/"), http.StatusOK, "")
	g.send("GET", "/who", nil, http.Header{"X-Forwarded-For": {"6.6.6.6"}, "X-Forwarded-Host": {"evil.test"}})
	if got, _ := f.app.last(t); got.Header.Get("X-Forwarded-For") != "127.0.0.1" {
		t.Fatalf("X-Forwarded-For is %q", got.Header["X-Forwarded-For"])
	}
}

func atWallDown(t tester, f *front) {
	g := f.guest(t)
	g.enter("alice@example.com", "/")
	nowhere, err := freeAddress()
	check(t, err)
	p := f.open(nowhere, f.app.address)
	lost := f.guestAt(t, p.https)
	lost.cookies = g.cookies
	lost.untouched(func() {
		for _, target := range []string{"/public/x"} {
			if a := lost.navigate(target); a.StatusCode < 400 {
				t.Fatalf("%s: %s", target, a.Status)
			}
		}
	})
}
