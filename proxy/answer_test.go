package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/proxy"
)

func answerWith(headers ...string) string {
	return "HTTP/1.1 200 OK\r\n" + strings.Join(headers, "\r\n") + "\r\nContent-Length: 3\r\n\r\napp"
}

func TestCOO124TheAppCannotTouchOurCookies(t *testing.T) {
	for _, line := range []string{
		"__Host-loginwall=x; Path=/; Secure", "__host-LoginWall=x", "loginwall=x", "loginwall-8080=; Max-Age=0", "__Host-loginwall-a-123=x",
		"=loginwall=x", "==loginwall=x", " = loginwall=x", "=__Host-loginwall=x; Path=/", "loginwall", "__Host-loginwall; Path=/", "\t__Host-loginwall\t=x",
		"\x01__Host-loginwall=x", "\u2000__Host-loginwall=x", "__Host-loginwall\u3000=x", ";loginwall=x",
	} {
		app := newRawApp(t, answerWith("Set-Cookie: app=1; Path=/", "Set-Cookie: "+line, "Set-Cookie: other=loginwall; x=loginwall=1", "Set-Cookie: loginwallet=1"))
		r := newRig(t, app.url, setup{routes: []policy.Route{{Path: "/open", Access: policy.Public}}})
		cookie := r.signIn(alice)
		for _, path := range []string{"/", "/open"} {
			res, _ := r.get(cookie, path)
			if res.StatusCode == 502 && strings.ContainsAny(line, "\x01") {
				continue // net/http refuses the answer as a whole
			}
			want := []string{"app=1; Path=/", "other=loginwall; x=loginwall=1", "loginwallet=1"}
			if line == ";loginwall=x" {
				want = append(want[:1:1], append([]string{line}, want[1:]...)...) // a cookie without name and value
			}
			if diff := cmp.Diff(want, res.Header.Values("Set-Cookie")); diff != "" {
				t.Errorf("%q on %s: %s", line, path, diff)
			}
		}
	}
}

func TestCOO124ClearSiteDataSparesCookies(t *testing.T) {
	for sent, want := range map[string]string{
		`"cookies"`:                     ``,
		`"cache", "cookies", "storage"`: `"cache", "storage"`,
		`"*"`:                           `"cache", "storage"`,
		`"executionContexts"`:           `"executionContexts"`,
		` "Cookies" , "cache"`:          `"cache"`,
		`cookies`:                       ``,
		`*`:                             `"cache", "storage"`,
	} {
		app := newRawApp(t, answerWith("Clear-Site-Data: "+sent))
		r := newRig(t, app.url, setup{})
		res, _ := r.get(r.signIn(alice), "/")
		if got := strings.Join(res.Header.Values("Clear-Site-Data"), ", "); got != want {
			t.Errorf("%s: %s, want %s", sent, got, want)
		}
	}
}

func TestTheAppCannotPassForTheWall(t *testing.T) {
	app := newRawApp(t, answerWith("X-Loginwall: denied", "x-loginwall: page", "Content-Security-Policy: default-src *", "X-Frame-Options: ALLOW"))
	r := newRig(t, app.url, setup{})
	res, _ := r.get(r.signIn(alice), "/")
	if got := res.Header.Values("X-Loginwall"); len(got) != 0 {
		t.Errorf("X-Loginwall: %q", got)
	}
	// Nor does the wall meddle with the app's own policies.
	if res.Header.Get("Content-Security-Policy") != "default-src *" || res.Header.Get("X-Frame-Options") != "ALLOW" || res.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("headers: %v", res.Header)
	}
}

func TestInvariant8ProtectedAnswersArePrivate(t *testing.T) {
	for _, tt := range []struct {
		sent []string
		want string
	}{
		{nil, "private"},
		{[]string{"Cache-Control: public, max-age=600"}, "private, max-age=600"},
		{[]string{"Cache-Control: Public", "Cache-Control: S-MaxAge=60,max-age=5"}, "private, max-age=5"},
		{[]string{"Cache-Control: no-store"}, "private, no-store"},
		{[]string{"Cache-Control: no-cache=\"a, public, b\", public"}, "private, no-cache=\"a, public, b\""},
		{[]string{"Cache-Control: private=\"set-cookie\", s-maxage = 9"}, "private"},
		{[]string{"Cache-Control: private, max-age=1"}, "private, max-age=1"},
		{[]string{"Cache-Control: no-cache=\"unclosed, public, s-maxage=1"}, "private, no-cache=\"unclosed, public, s-maxage=1"},
		{[]string{"CDN-Cache-Control: max-age=600", "Surrogate-Control: max-age=600", "Edge-Control: !no-store", "X-Accel-Expires: 600", "Cloudflare-CDN-Cache-Control: max-age=9", "Vercel-CDN-Cache-Control: max-age=9"}, "private"},
	} {
		app := newRawApp(t, answerWith(append([]string{"Etag: x"}, tt.sent...)...))
		r := newRig(t, app.url, setup{routes: []policy.Route{{Path: "/open", Access: policy.Public}}})
		cookie := r.signIn(alice)
		res, _ := r.get(cookie, "/")
		if got := strings.Join(res.Header.Values("Cache-Control"), ", "); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.sent, got, tt.want)
		}
		for name := range res.Header {
			if strings.HasSuffix(name, "Cdn-Cache-Control") || name == "Surrogate-Control" || name == "Edge-Control" || name == "X-Accel-Expires" {
				t.Errorf("%s is left", name)
			}
		}
		res, _ = r.get(cookie, "/open")
		var kept []string
		for name, values := range res.Header {
			for _, v := range values {
				if strings.Contains(strings.ToLower(name), "c") && (strings.HasSuffix(name, "Control") || name == "X-Accel-Expires") {
					kept = append(kept, name+": "+v)
				}
			}
		}
		if len(kept) != len(tt.sent) {
			t.Errorf("%q on a public route became %q", tt.sent, kept)
		}
	}
}

func TestTheSessionIsTouchedWhereNobodyElseMayKeepIt(t *testing.T) {
	app := newRawApp(t, answerWith("Cache-Control: public, max-age=600", "Set-Cookie: app=1"))
	clock := newClock()
	r := newRig(t, app.url, setup{now: clock.Now, routes: []policy.Route{{Path: "/open", Access: policy.Public}}})
	cookie := r.signIn(alice)
	if res, _ := r.get(cookie, "/"); len(res.Header.Values("Set-Cookie")) != 1 {
		t.Errorf("touched at once: %q", res.Header.Values("Set-Cookie"))
	}
	clock.advance(10 * time.Minute) // more than a tenth of the idle limit
	res, _ := r.get(cookie, "/")
	set := res.Header.Values("Set-Cookie")
	if len(set) != 2 || set[0] != "app=1" || !strings.HasPrefix(set[1], "__Host-loginwall=") || res.Header.Get("Cache-Control") != "private, max-age=600" {
		t.Errorf("Set-Cookie %q, Cache-Control %q", set, res.Header.Get("Cache-Control"))
	}
	if res, _ := r.get(cookie, "/open"); len(res.Header.Values("Set-Cookie")) != 1 {
		t.Errorf("on a public route: %q", res.Header.Values("Set-Cookie"))
	}
	if res, _ := r.get(cookie, "/_auth/nothing"); len(res.Header.Values("Set-Cookie")) != 0 {
		t.Errorf("on our own page: %q", res.Header.Values("Set-Cookie"))
	}
}

func TestAnswersPassUnchanged(t *testing.T) {
	app := newRawApp(t, "HTTP/1.1 418 I'm a teapot\r\nX-One: a\r\nx-one: b\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: old\r\nX-Empty:\r\nContent-Length: 15\r\n\r\n<html>no type</")
	r := newRig(t, app.url, setup{})
	got := r.raw("GET / HTTP/1.1\r\nHost: app.test\r\nCookie: " + r.signIn(alice) + "\r\nConnection: close\r\n\r\n")
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	for _, want := range []string{"HTTP/1.1 418 ", "X-One: a\r\nX-One: b", "Date: Sun, 06 Nov 1994 08:49:37 GMT", "Server: old", "X-Empty: ", "Content-Length: 15"} {
		if !strings.Contains(head, want) {
			t.Errorf("%q lacks %q", head, want)
		}
	}
	if strings.Contains(head, "Content-Type") || body != "<html>no type</" {
		t.Errorf("%q", got)
	}
}

func TestSTR186CompressedBodiesPass(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(make([]byte, 5<<20))
	z.Close()
	app := newApp(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("Accept-Encoding: %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	r := newRig(t, app, setup{})
	res, body := r.get(r.signIn(alice), "/")
	if res.Header.Get("Content-Encoding") != "gzip" || body != packed.String() {
		t.Errorf("%d bytes, want %d as they were", len(body), packed.Len())
	}
}

func TestSMG055InformationalAnswers(t *testing.T) {
	early := "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nSet-Cookie: __Host-loginwall=x\r\nX-Loginwall: page\r\nConnection: x\r\nX: y\r\n\r\n"
	app := newRawApp(t, early+okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	got := r.raw("GET / HTTP/1.1\r\nHost: app.test\r\nCookie: " + cookie + "\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX: y\r\n\r\nHTTP/1.1 200") {
		t.Errorf("%q", got)
	}
	if got := r.raw("GET / HTTP/1.0\r\nHost: app.test\r\nCookie: " + cookie + "\r\n\r\n"); strings.Contains(got, " 103 ") {
		t.Errorf("HTTP/1.0 got %q", got)
	}

	for _, flood := range []string{
		strings.Repeat(early, 1000) + okAnswer, strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100_000) + okAnswer,
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Padding: "+strings.Repeat("x", 1000)+"\r\n", 10_000) + "Content-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", 10<<20) + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
	} {
		app := newRawApp(t, flood)
		r := newRig(t, app.url, setup{})
		got := r.raw("GET / HTTP/1.1\r\nHost: app.test\r\nAccept: application/json\r\nCookie: " + r.signIn(alice) + "\r\nConnection: close\r\n\r\n")
		if n := strings.Count(got, "HTTP/1.1 103"); n > 16 {
			t.Errorf("%.40q: %d informational answers passed", flood, n)
		}
		if !strings.Contains(got, "HTTP/1.1 502 ") || !strings.Contains(got, `"upstream_invalid"`) && !strings.Contains(got, `"upstream_unreachable"`) {
			t.Errorf("%.40q: %.300q", flood, got)
		}
	}
}

func TestSTR183UnaskedSwitches(t *testing.T) {
	for _, header := range []string{"Upgrade: websocket\r\nConnection: Upgrade\r\n", "", "Upgrade: foo\r\nConnection: Upgrade\r\n"} {
		app := newRawApp(t, "HTTP/1.1 101 Switching Protocols\r\n"+header+"\r\n")
		r := newRig(t, app.url, setup{})
		cookie := r.signIn(alice)
		if res, body := r.get(cookie, "/"); res.StatusCode != 502 {
			t.Errorf("%q: %d %s", header, res.StatusCode, body)
		}
		if header == "Upgrade: websocket\r\nConnection: Upgrade\r\n" {
			continue
		}
		res, body := r.get(cookie, "/", "Upgrade", "websocket", "Connection", "Upgrade")
		if res.StatusCode != 502 {
			t.Errorf("%q to a WebSocket: %d %s", header, res.StatusCode, body)
		}
	}
}

func TestSMG056AnAppThatDiesAbortsTheTransfer(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 50_000),
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n",
	} {
		app := newConnApp(t, func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, answer); conn.Close() })
		r := newRig(t, app.url, setup{})
		res, err := r.client.Do(r.request(r.signIn(alice), "GET", "/", nil))
		must(t, err)
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil {
			t.Errorf("%.60q ended cleanly", answer)
		}
		eventually(t, "the failure is counted, and logged", func() bool {
			counted := r.metric(`loginwall_upstream_errors_total{kind="closed"} 1`) || r.metric(`loginwall_upstream_errors_total{kind="invalid"} 1`)
			return counted && strings.Contains(r.log.String(), "upstream failed")
		})
		if log := r.log.String(); strings.Contains(log, "panic") {
			t.Errorf("log: %s", log)
		}
	}
}

func TestDOS197AnAppThatIsDownOrSlow(t *testing.T) {
	down, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	address := down.Addr().String()
	down.Close()
	refused := newRawApp(t, okAnswer)
	refused.url.Host = address
	r := newRig(t, refused.url, setup{})
	cookie := r.signIn(alice)
	for _, method := range []string{"GET", "POST"} {
		res, body := r.send(cookie, method, "/", nil)
		if res.StatusCode != 502 || !strings.Contains(body, `"upstream_unreachable"`) || strings.Contains(body, address) || res.Header.Get("X-Loginwall") != "error" {
			t.Errorf("refused %s: %d %s", method, res.StatusCode, body)
		}
	}
	res, body := r.get(cookie, "/", "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
	if res.StatusCode != 502 || !strings.Contains(body, "<h1>") || strings.Contains(body, "127.0.0.1") {
		t.Errorf("page: %d %s", res.StatusCode, body)
	}
	if !r.metric(`loginwall_upstream_errors_total{kind="connect"} 3`) || !r.metric(`loginwall_upstream_connect_duration_seconds_count{result="error"} 3`) {
		t.Error("not counted")
	}

	slow := newConnApp(t, func(conn net.Conn, _ string) { _, _ = io.Copy(io.Discard, conn) })
	r = newRig(t, slow.url, setup{upstream: func(c *upstreamConfig) { c.HeaderTimeout = 50 * time.Millisecond }})
	res, body = r.get(r.signIn(alice), "/")
	if res.StatusCode != 504 || !strings.Contains(body, `"upstream_timeout"`) {
		t.Errorf("slow: %d %s", res.StatusCode, body)
	}

	// A request that may have arrived is not sent twice.
	reset := newConnApp(t, func(conn net.Conn, _ string) { must(t, conn.(*net.TCPConn).SetLinger(0)); conn.Close() })
	r = newRig(t, reset.url, setup{})
	res, body = r.send(r.signIn(alice), "POST", "/pay", strings.NewReader("x"))
	if res.StatusCode != 502 || len(reset.requests()) != 1 {
		t.Errorf("reset: %d %s, sent %d times", res.StatusCode, body, len(reset.requests()))
	}
}

func TestResponseTrailers(t *testing.T) {
	for _, announced := range []string{"", "Trailer: X-Sum, Set-Cookie, X-Loginwall\r\n"} {
		app := newRawApp(t, "HTTP/1.1 200 OK\r\n"+announced+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: abc\r\nSet-Cookie: __Host-loginwall=x\r\nX-Loginwall: page\r\n\r\n")
		r := newRig(t, app.url, setup{})
		got := r.raw("GET / HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\nCookie: " + r.signIn(alice) + "\r\nConnection: close\r\n\r\n")
		if !strings.HasSuffix(got, "5\r\nhello\r\n0\r\nX-Sum: abc\r\n\r\n") {
			t.Errorf("announced %q: %q", announced, got)
		}
		if strings.Contains(got, "loginwall") || strings.Contains(got, "Loginwall") {
			t.Errorf("announced %q: %q", announced, got)
		}
	}
}

// net/http's transport takes a name with a blank in it; no client is to read such a
// field as one that we would have taken out.
func TestSMG056NamesWithBlanks(t *testing.T) {
	for line, passes := range map[string]bool{
		"X-Any: here": true, "X-Any : here": false, "X Any: here": false, "X-Loginwall : here": false,
		"Set-Cookie : __Host-loginwall=here": false, "Set-Cookie\t: __Host-loginwall=here": false,
	} {
		app := newRawApp(t, "HTTP/1.1 103 Early Hints\r\n"+line+"\r\n\r\nHTTP/1.1 200 OK\r\n"+line+"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"+line+"\r\n\r\n")
		r := newRig(t, app.url, setup{})
		got := r.raw("GET / HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\nCookie: " + r.signIn(alice) + "\r\nConnection: close\r\n\r\n")
		if want := map[bool]int{true: 3}[passes]; strings.Count(got, "here") != want {
			t.Errorf("%q came %d times, want %d: %q", line, strings.Count(got, "here"), want, got)
		}
	}
}

func TestSTR185EventsComeAtOnce(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	app := newApp(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	})
	r := newRig(t, app, setup{stall: 2 * time.Second})
	res, err := r.client.Do(r.request(r.signIn(alice), "GET", "/", nil))
	must(t, err)
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	for i := range 3 {
		line, err := in.ReadString('\n')
		must(t, err)
		if line != fmt.Sprintf("data: %d\n", i) {
			t.Errorf("event %d: %q", i, line)
		}
		_, _ = in.ReadString('\n')
		if i == 0 {
			eventually(t, "the stream is counted", func() bool { return r.metric(`loginwall_open_streams{kind="event_stream"} 1`) })
			// A stream that is silent for long is not standing still.
			time.Sleep(3 * time.Second)
		}
		next <- struct{}{}
	}
	eventually(t, "the stream is over", func() bool { return r.metric(`loginwall_open_streams{kind="event_stream"} 0`) })
}

// Each piece of an answer arrives before the app sends the next one, however the
// answer is framed, and where it may be a stream the header by itself.
func TestSTR185NoPieceWaitsForTheNext(t *testing.T) {
	type piece struct{ sent, arrives string }
	for name, answer := range map[string][]piece{
		"length": {{"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab", "ab"}, {"cd", "cd"}, {"ef", "ef"}},
		"chunks": {
			{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "\r\n\r\n"},
			{"2\r\nab\r\n", "ab"},
			{"2\r\ncd\r\n", "cd"},
			{"0\r\n\r\n", "0\r\n\r\n"},
		},
		"to close": {{"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "\r\n\r\n"}, {"ab", "ab"}, {"cdef", "cdef"}},
	} {
		for _, direct := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/direct=%v", name, direct), func(t *testing.T) {
				next := make(chan struct{})
				app := newConnApp(t, func(conn net.Conn, _ string) {
					defer conn.Close()
					for _, p := range answer {
						_, _ = io.WriteString(conn, p.sent)
						<-next
					}
				})
				defer close(next)
				r := newRig(t, app.url, setup{upstream: func(c *proxy.UpstreamConfig) { c.Direct = direct }})
				conn := r.dial()
				_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\nCookie: "+r.signIn(alice)+"\r\n\r\n")
				must(t, err)
				var got []byte
				for i, p := range answer {
					for buf := make([]byte, 1<<10); !bytes.Contains(got, []byte(p.arrives)); {
						n, err := conn.Read(buf)
						must(t, err)
						got = append(got, buf[:n]...)
					}
					if i < len(answer)-1 {
						next <- struct{}{}
					}
				}
			})
		}
	}
}

// What is there as a whole leaves in one write; net/http's Transport does not tell
// whether more of a body is there, so of one without a length the header goes first.
func TestASmallAnswerIsOneWrite(t *testing.T) {
	for _, c := range []struct {
		answer           string
		direct, standard int64
	}{
		{okAnswer, 1, 1},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 1, 2},
		{"HTTP/1.1 204 No Content\r\n\r\n", 1, 1},
	} {
		app := newRawApp(t, c.answer)
		for direct, want := range map[bool]int64{true: c.direct, false: c.standard} {
			var writes atomic.Int64
			r := newRig(t, app.url, setup{
				upstream: func(c *proxy.UpstreamConfig) { c.Direct = direct },
				server:   func(s *httptest.Server) { s.Listener = writeCounter{s.Listener, &writes} },
			})
			r.get(r.signIn(alice), "/")
			if n := writes.Load(); n != want {
				t.Errorf("direct %v: %d writes (want %d) for %q", direct, n, want, c.answer)
			}
		}
	}
}

// A writeCounter counts the writes to all connections.
type writeCounter struct {
	net.Listener
	n *atomic.Int64
}

func (l writeCounter) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countedConn{conn, l.n}, err
}

type countedConn struct {
	net.Conn
	n *atomic.Int64
}

func (c countedConn) Write(p []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(p)
}

func TestAnEarlyAnswerDoesNotBreakTheUpload(t *testing.T) {
	app := newApp(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		for buf := make([]byte, 100); ; {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			_ = http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
		}
	})
	r := newRig(t, app, setup{})
	conn := r.dial()
	in := bufio.NewReader(conn)
	_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: app.test\r\nCookie: "+r.signIn(alice)+"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
	must(t, err)
	res, err := http.ReadResponse(in, nil)
	must(t, err)
	defer res.Body.Close()
	for i := range 100 {
		want := fmt.Sprintf("chunk %03d", i)
		_, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(want), want)
		must(t, err)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
			t.Fatalf("echo %q, %v", got, err)
		}
	}
	_, err = io.WriteString(conn, "0\r\n\r\n")
	must(t, err)
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) != 0 {
		t.Errorf("rest %q, %v", rest, err)
	}
}

func TestAClientThatGoesAwayIsNoFailureOfTheApp(t *testing.T) {
	arrived, canceled := make(chan struct{}), make(chan struct{})
	app := newApp(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(canceled)
	})
	r := newRig(t, app, setup{})
	conn := r.dial()
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\nCookie: "+r.signIn(alice)+"\r\n\r\n")
	must(t, err)
	<-arrived
	conn.Close()
	select {
	case <-canceled:
	case <-time.After(patience):
		t.Fatal("the app goes on")
	}
	eventually(t, "the log says so", func() bool {
		return strings.Contains(r.access.String(), `"status":499,`) && strings.Contains(r.access.String(), `"outcome":"canceled"`)
	})
	if log := r.log.String(); log != "" {
		t.Errorf("log: %s", log)
	}
	if r.metric(`loginwall_upstream_errors_total{kind="closed"} 1`) {
		t.Error("counted as the app's")
	}
}

// An answer without a length ends for HTTP/1.0 where its connection does, so one that
// broke off must not end like that.
func TestSMG056AnHTTP10ClientSeesThatAnAnswerBrokeOff(t *testing.T) {
	for name, direct := range map[string]bool{"standard": false, "direct": true} {
		t.Run(name, func(t *testing.T) {
			rest := make(chan string)
			app := newConnApp(t, func(conn net.Conn, _ string) {
				defer conn.Close()
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
				if text, ends := <-rest; ends {
					_, _ = io.WriteString(conn, text)
				} else {
					_, _ = io.Copy(io.Discard, conn) // until the wall lets go
				}
			})
			r := newRig(t, app.url, setup{upstream: func(up *proxy.UpstreamConfig) { up.Direct = direct }})
			end := func(goOn func()) error {
				conn := r.dial()
				_, err := io.WriteString(conn, "GET / HTTP/1.0\r\nHost: app.test\r\nCookie: "+r.signIn(alice)+"\r\n\r\n")
				must(t, err)
				answer := bufio.NewReader(conn)
				for line := ""; line != "\r\n"; {
					line, err = answer.ReadString('\n')
					must(t, err)
				}
				_, err = io.ReadFull(answer, make([]byte, len("half")))
				must(t, err)
				goOn()
				_, err = answer.ReadByte()
				return err
			}
			if err := end(func() { rest <- "0\r\n\r\n" }); err != io.EOF {
				t.Errorf("whole: %v", err)
			}
			if err := end(func() { rest <- "" }); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("broken off by the app: %v", err)
			}
			close(rest)
			if err := end(func() { r.revoked.Add(auth.Revocation{Kind: auth.BlockEmail, Key: alice.Email, Active: true}) }); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("cut: %v", err)
			}
		})
	}
}
