package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/proxy/observe"
)

// identity are the names that the profile forwarded sets for alice.
func checkIdentity(t *testing.T, request string) {
	t.Helper()
	for name, want := range map[string]string{
		"X-Forwarded-User": "alice@example.com", "X-Forwarded-Email": "alice@example.com",
		"X-Forwarded-Preferred-Username": "alice", "X-Forwarded-Name": "Alice A.",
	} {
		if got := lines(request, name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q once", name, got, want)
		}
	}
}

func TestHDR001to008SpoofedIdentitiesGo(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	spoofed := []string{
		"X-Forwarded-User", "x-forwarded-user", "X-FORWARDED-USER", "X-Forwarded-Email", "X-Forwarded-Name", "X-Forwarded-Groups",
		"X-Forwarded-Preferred-Username", "X_Forwarded_User", "X-Forwarded_User", "X_FORWARDED-user", "X.Forwarded.User", "X-Forwarded.User", "X_Forwarded.User",
		"Remote-User", "Remote_User", "X-Remote-User", "X-WebAuth-User", "X_WEBAUTH_USER", "X-Auth-Request-User", "X-Auth-Request-Email", "X-Authentik-Username",
		"X-Goog-Authenticated-User-Email", "X-Goog-Iap-Jwt-Assertion", "Cf-Access-Jwt-Assertion", "Tailscale-User-Login", "X-Pomerium-Claim-Email",
		"X-Loginwall-Assertion", "X_Loginwall_Assertion", "X-Loginwall-Hop",
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Server",
		"Forwarded", "X-Real-IP", "X-Original-URL", "X-Rewrite-URL", "Proxy",
	}
	var b strings.Builder
	for range 3 {
		for _, name := range spoofed {
			fmt.Fprintf(&b, "%s: spoofed-admin\r\n", name)
		}
	}
	got := r.raw("GET / HTTP/1.1\r\nHost: app.test\r\n" + b.String() + "Cookie: " + cookie + "\r\nConnection: close, X-Forwarded-User, X-Forwarded-Email\r\n" + b.String() + "\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Fatal(got)
	}
	request := app.last(t)
	if strings.Contains(request, "spoofed-admin") {
		t.Errorf("the app got %s", request)
	}
	checkIdentity(t, request)

	// Without a session they are worth nothing at all.
	got = r.raw("GET / HTTP/1.1\r\nHost: app.test\r\n" + b.String() + "Connection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 401") || len(app.requests()) != 1 {
		t.Errorf("%.60q", got)
	}
}

func TestHDR008AnAbsentNameIsNotTheClients(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	nameless := alice
	nameless.Name = ""
	r.get(r.signIn(nameless), "/", "X-Forwarded-Name", "Boss")
	if got := lines(app.last(t), "X-Forwarded-Name"); len(got) != 0 {
		t.Errorf("X-Forwarded-Name: %q", got)
	}
}

func TestHDR009TrailersThatClaimAnIdentityGo(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	for _, announced := range []string{"", "Trailer: X-Forwarded-User, X_Forwarded_Email, X-Checksum, Cookie\r\n"} {
		got := r.raw("POST / HTTP/1.1\r\nHost: app.test\r\nCookie: " + cookie + "\r\n" + announced + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" +
			"5\r\nhello\r\n0\r\nX-Forwarded-User: admin\r\nX_Forwarded_Email: admin\r\nX-Checksum: abc\r\nCookie: a=b\r\nRemote-User: admin\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Fatal(got)
		}
		request := app.last(t)
		if strings.Contains(request, "admin") || strings.Contains(request, "a=b") {
			t.Errorf("announced %q: the app got %s", announced, request)
		}
		if !strings.HasSuffix(request, "0\r\nX-Checksum: abc\r\n\r\n") {
			t.Errorf("announced %q: an honest trailer is lost: %q", announced, request)
		}
		want := 0
		if announced != "" {
			want = 1
		}
		if l := lines(request, "Trailer"); len(l) != want || want == 1 && l[0] != "X-Checksum" {
			t.Errorf("announced %q: Trailer: %q", announced, l)
		}
		checkIdentity(t, request)
	}
}

// A traced request is a copy of the server's, which is the one that gets trailers.
func TestTracesDoNotLoseTrailers(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off") // nothing is sent there
	tracer, err := observe.NewTracer(t.Context(), os.LookupEnv, "test", slog.New(slog.DiscardHandler), time.Now)
	must(t, err)
	t.Cleanup(func() { must(t, tracer.Close(context.Background())) })
	r.config.Tracer = tracer
	r.reload(r.rules)
	r.raw("POST / HTTP/1.1\r\nHost: app.test\r\nCookie: " + r.signIn(alice) + "\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" +
		"5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n")
	if request := app.last(t); !strings.HasSuffix(request, "0\r\nX-Checksum: abc\r\n\r\n") {
		t.Errorf("an honest trailer is lost: %q", request)
	}
}

func TestHDR010And011MalformedHeadersAreNoHeaders(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	for _, line := range []string{
		"X-Forwarded-User : admin", "X-Forwarded-User\t: admin", "X-Forwarded-User\x00: admin", ": admin", "X-Forw\xe4rded-User: admin",
		"X-A: b\rX-Forwarded-User: admin", "X-A: b\nX-Forwarded-User: admin", "X-A: b\x00c",
	} {
		got := r.raw("GET / HTTP/1.1\r\nHost: app.test\r\nCookie: " + cookie + "\r\n" + line + "\r\nConnection: close\r\n\r\n")
		if strings.HasPrefix(got, "HTTP/1.1 400") {
			continue
		}
		request := app.last(t)
		if l := lines(request, "X-Forwarded-User"); len(l) != 1 || l[0] != "alice@example.com" || strings.Contains(request, "\rX") {
			t.Errorf("%q: the app got %q", line, request)
		}
	}
}

func TestHDR018OurCookiesStayWithUs(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	s := r.signIn(alice)
	for _, tt := range []struct {
		sent, want []string
	}{
		{[]string{s}, nil},
		{[]string{"a=1; " + s + "; b=2"}, []string{"a=1; b=2"}},
		{[]string{s + ";b=2;  c=3"}, []string{"b=2;  c=3"}},
		{[]string{"a=1;" + s}, []string{"a=1"}},
		{[]string{"a=1", s, "b=\"x y\"; c"}, []string{"a=1", "b=\"x y\"; c"}},
		{[]string{"b=2; a=1;; =x; " + s + "; __host-LOGINWALL-8080=x; loginwall=y; loginwall-a-1=z; loginwallet=kept"}, []string{"b=2; a=1;; =x; loginwallet=kept"}},
		{[]string{s + "; \u2003__Host-loginwall=x; __Host-loginwall =y; \t__Host-loginwall\t=z; k=v"}, []string{"k=v"}},
		{[]string{s + "; a=__Host-loginwall=1"}, []string{"a=__Host-loginwall=1"}},
	} {
		got := r.raw("GET / HTTP/1.1\r\nHost: app.test\r\nCookie: " + strings.Join(tt.sent, "\r\nCookie: ") + "\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Errorf("%q: %.60q", tt.sent, got)
			continue
		}
		if got := lines(app.last(t), "Cookie"); strings.Join(got, "|") != strings.Join(tt.want, "|") {
			t.Errorf("%q: the app got %q, want %q", tt.sent, got, tt.want)
		}
	}
}

func TestHDR020AuthorizationIsTheApps(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	if res, _ := r.get("", "/", "Authorization", "Bearer x"); res.StatusCode != 401 {
		t.Errorf("without a session: %d", res.StatusCode)
	}
	r.get(r.signIn(alice), "/", "Authorization", "Basic eDp5")
	if got := lines(app.last(t), "Authorization"); len(got) != 1 || got[0] != "Basic eDp5" {
		t.Errorf("Authorization: %q", got)
	}
}

func TestHDR014TheChainOfATrustedProxyIsKept(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{trusted: loopback})
	r.get(r.signIn(alice), "/", "X-Forwarded-For", "203.0.113.9", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "app.test", "X-Forwarded-User", "admin")
	request := app.last(t)
	for name, want := range map[string]string{
		"X-Forwarded-For": "203.0.113.9, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "app.test", "X-Forwarded-User": "alice@example.com",
	} {
		if got := lines(request, name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(r.access.String(), `"client":"203.0.113.9"`) {
		t.Errorf("log: %s", r.access)
	}
}

func TestBYP030ForwardedTargetsDecideNothing(t *testing.T) {
	app := newRawApp(t, okAnswer)
	for _, trusted := range []bool{false, true} {
		s := setup{routes: []policy.Route{{Path: "/open", Access: policy.Public}}}
		if trusted {
			s.trusted = loopback
		}
		r := newRig(t, app.url, s)
		res, _ := r.get("", "/secret", "X-Forwarded-Uri", "/open", "X-Original-URL", "/open", "X-Rewrite-URL", "/open",
			"X-Forwarded-Method", "OPTIONS", "X-HTTP-Method-Override", "OPTIONS", "X-Forwarded-Prefix", "/open")
		if res.StatusCode != 401 {
			t.Errorf("trusted %v: %d", trusted, res.StatusCode)
		}
	}
	if len(app.requests()) != 0 {
		t.Error("reached the app")
	}
}

func TestBodiesAndHeadersPassUnchanged(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	body := bytes.Repeat([]byte("\x00\xffdata"), 50_000)
	for _, chunked := range []bool{false, true} {
		var in io.Reader = bytes.NewReader(body)
		if chunked {
			in = io.MultiReader(in)
		}
		res, _ := r.send(cookie, "POST", "/", in, "X-Custom", "a", "X-Custom", "b", "Te", "trailers", "X-Empty", "", "User-Agent", "")
		if res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(app.last(t))))
		must(t, err)
		got, err := io.ReadAll(req.Body)
		must(t, err)
		if !bytes.Equal(got, body) {
			t.Errorf("chunked %v: %d bytes of body, want %d", chunked, len(got), len(body))
		}
		if l := lines(app.last(t), "X-Custom"); strings.Join(l, ",") != "a,b" {
			t.Errorf("X-Custom: %q", l)
		}
		if l := lines(app.last(t), "User-Agent"); len(l) != 0 {
			t.Errorf("User-Agent: %q came out of nothing", l)
		}
		if l := lines(app.last(t), "Te"); len(l) != 1 || l[0] != "trailers" {
			t.Errorf("TE: %q", l)
		}
	}
}

func TestSMG050FramingTricksAreOneRequestOrNone(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	head := "POST / HTTP/1.1\r\nHost: app.test\r\nCookie: " + cookie + "\r\n"
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n"
	for _, request := range []string{
		head + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG" + smuggled,
		head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + smuggled + "\r\n0\r\n\r\n",
		head + "Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde" + smuggled,
		head + "Content-Length: +3\r\n\r\nabc" + smuggled, head + "Content-Length: 0x3\r\n\r\nabc" + smuggled,
		head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled, head + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + smuggled,
		head + "Transfer-Encoding: chunked\r\n\r\n-1\r\n" + smuggled, head + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + smuggled,
	} {
		before := len(app.requests())
		conn := r.dial()
		_, _ = io.WriteString(conn, request)
		must(t, conn.(*net.TCPConn).CloseWrite())
		_, _ = io.ReadAll(conn)
		for _, seen := range app.requests()[before:] {
			if strings.HasPrefix(seen, "GET /smuggled") {
				t.Errorf("%q: the app got %q", request, seen)
			}
		}
	}
}

func TestDOS199AHugeBodyIsNotWaitedFor(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	for _, framing := range []string{"Content-Length: 10000000000\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: 10000000000\r\nExpect: 100-continue\r\n"} {
		conn := r.dial()
		_, err := io.WriteString(conn, "POST /upload HTTP/1.1\r\nHost: app.test\r\n"+framing+"\r\n")
		must(t, err)
		// Not a byte of body was sent, and the answer is there.
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		if res.StatusCode != 401 || !res.Close {
			t.Errorf("%q: %d, close %v", framing, res.StatusCode, res.Close)
		}
		sent := 0
		chunk := make([]byte, 64<<10)
		for ; sent < 64<<20; sent += len(chunk) {
			if _, err := conn.Write(chunk); err != nil {
				break
			}
		}
		if sent >= 64<<20 {
			t.Errorf("%q: the wall read on", framing)
		}
		conn.Close()
	}
	if len(app.requests()) != 0 {
		t.Error("reached the app")
	}
}

func TestBYP044TheConnectionGoesOnAfterASmallBody(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	conn := r.dial()
	in := bufio.NewReader(conn)
	for _, request := range []string{
		"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello", "GET / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello",
		"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
	} {
		_, err := io.WriteString(conn, request)
		must(t, err)
		res, err := http.ReadResponse(in, nil)
		must(t, err)
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode != 401 || res.Close {
			t.Errorf("%q: %d, close %v", request, res.StatusCode, res.Close)
		}
	}
}

func TestExpectContinueIsTheAppsToAnswer(t *testing.T) {
	app := newConnApp(t, func(conn net.Conn, _ string) {
		_, _ = io.WriteString(conn, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		conn.Close()
	})
	r := newRig(t, app.url, setup{})
	conn := r.dial()
	_, err := io.WriteString(conn, "PUT /x HTTP/1.1\r\nHost: app.test\r\nCookie: "+r.signIn(alice)+"\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
	must(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 413") {
		t.Errorf("%q, %v: the app did not want the body", line, err)
	}
}

func TestDOS188AStalledUploadIsCut(t *testing.T) {
	t.Parallel()
	app := newApp(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	r := newRig(t, app, setup{stall: 3 * time.Second})
	cookie := r.signIn(alice)
	conn := r.dial()
	_, err := io.WriteString(conn, "PUT /x HTTP/1.1\r\nHost: app.test\r\nCookie: "+cookie+"\r\nContent-Length: 1000\r\n\r\nabc")
	must(t, err)
	if _, err := io.ReadAll(conn); isTimeout(err) {
		t.Error("it was waited for")
	}

	// One that moves, however slowly, is not.
	conn = r.dial()
	_, err = io.WriteString(conn, "PUT /x HTTP/1.1\r\nHost: app.test\r\nCookie: "+cookie+"\r\nContent-Length: 45\r\nConnection: close\r\n\r\n")
	must(t, err)
	for range 45 {
		time.Sleep(100 * time.Millisecond) // the subject of the test is slowness
		_, err = io.WriteString(conn, "x")
		must(t, err)
	}
	if got, _ := io.ReadAll(conn); !strings.HasPrefix(string(got), "HTTP/1.1 200") {
		t.Errorf("slow but moving: %q", got)
	}
}

func TestDOS188AnAnswerThatNobodyReadsIsCut(t *testing.T) {
	stopped := make(chan struct{})
	app := newApp(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(stopped)
		for chunk := make([]byte, 1<<20); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	r := newRig(t, app, setup{stall: 300 * time.Millisecond})
	conn := r.dial()
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\nCookie: "+r.signIn(alice)+"\r\n\r\n")
	must(t, err)
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Error("the app still writes to nobody")
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}
