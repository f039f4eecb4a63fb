package proxy_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/proxy"
)

// describe answers with how the request came.
func describe(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Body-Read", "no")
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s host=%s user=%s trailer=%v body=%s", r.Proto, r.RequestURI, r.Host, r.Header.Get("X-Forwarded-User"), r.Trailer, body)
}

func TestKindsOfUpstreams(t *testing.T) {
	h2c := httptest.NewUnstartedServer(http.HandlerFunc(describe))
	h2c.Config.Protocols = new(http.Protocols)
	h2c.Config.Protocols.SetUnencryptedHTTP2(true)
	h2c.Start()
	defer h2c.Close()

	secure := httptest.NewTLSServer(http.HandlerFunc(describe))
	defer secure.Close()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	secure2 := httptest.NewUnstartedServer(http.HandlerFunc(describe))
	secure2.EnableHTTP2 = true
	secure2.StartTLS()
	defer secure2.Close()

	socket := filepath.Join(t.TempDir(), "app")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	must(t, err)
	unix := httptest.NewUnstartedServer(http.HandlerFunc(describe))
	unix.Listener.Close()
	unix.Listener = l
	unix.Start()
	defer unix.Close()

	for _, tt := range []struct {
		name, url string
		change    func(*proxy.UpstreamConfig)
		proto     string
		ownHost   string
	}{
		{"h2c", h2c.URL, func(c *proxy.UpstreamConfig) { c.HTTP2 = true }, "HTTP/2.0", strings.TrimPrefix(h2c.URL, "http://")},
		{"https", secure.URL, func(c *proxy.UpstreamConfig) { c.RootCAs = roots }, "HTTP/1.1", strings.TrimPrefix(secure.URL, "https://")},
		{"https with HTTP/2", secure2.URL, func(c *proxy.UpstreamConfig) { c.RootCAs = roots }, "HTTP/2.0", strings.TrimPrefix(secure2.URL, "https://")},
		{"unix", "http://unix", func(c *proxy.UpstreamConfig) { c.Socket = socket }, "HTTP/1.1", "localhost"},
	} {
		for _, passHost := range []bool{true, false} {
			u, err := url.Parse(tt.url)
			must(t, err)
			r := newRig(t, u, setup{upstream: func(c *proxy.UpstreamConfig) { tt.change(c); c.PassHost = passHost }})
			cookie := r.signIn(alice)
			host := "app.test"
			if !passHost {
				host = tt.ownHost
			}
			res, body := r.get(cookie, "/a%2Fb//c?x;y=%zz")
			want := tt.proto + " /a%2Fb//c?x;y=%zz host=" + host + " user=alice@example.com trailer=map[] body="
			if res.StatusCode != 200 || body != want {
				t.Errorf("%s: %d %q, want %q", tt.name, res.StatusCode, body, want)
			}
			req := r.request(cookie, "POST", "/", io.MultiReader(strings.NewReader("hello")))
			req.Trailer = http.Header{"X-Sum": {"abc"}, "X-Forwarded-User": {"admin"}}
			res, err = r.client.Do(req)
			must(t, err)
			text, err := io.ReadAll(res.Body)
			must(t, err)
			res.Body.Close()
			if want := tt.proto + " / host=" + host + " user=alice@example.com trailer=map[X-Sum:[abc]] body=hello"; string(text) != want {
				t.Errorf("%s: %q, want %q", tt.name, text, want)
			}
		}
	}
}

func TestAnUntrustedUpstreamCertificateIsRefused(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(describe))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	u, err := url.Parse(secure.URL)
	must(t, err)
	r := newRig(t, u, setup{upstream: func(c *proxy.UpstreamConfig) { c.RootCAs = x509.NewCertPool() }})
	res, body := r.get(r.signIn(alice), "/")
	if res.StatusCode != 502 || !r.metric(`loginwall_upstream_errors_total{kind="certificate"} 1`) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// An upstream that would speak HTTP/2 gets its WebSockets over HTTP/1.1, where they
// can be asked for.
func TestWebSocketsToATLSUpstream(t *testing.T) {
	app := httptest.NewUnstartedServer(echo(t))
	app.EnableHTTP2 = true
	app.StartTLS()
	defer app.Close()
	roots := x509.NewCertPool()
	roots.AddCert(app.Certificate())
	u, err := url.Parse(app.URL)
	must(t, err)
	r := newRig(t, u, setup{upstream: func(c *proxy.UpstreamConfig) { c.RootCAs = roots }})
	cookie := r.signIn(alice)
	if res, body := r.get(cookie, "/"); res.StatusCode != 200 || body != "no upgrade" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	_ = r.mustWebSocket(cookie).CloseNow()
}

// A gRPC call is HTTP/2 from end to end, with both bodies open at once and a
// status in the trailer.
func TestGRPCShapedCalls(t *testing.T) {
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Te") != "trailers" {
			t.Errorf("TE: %q", r.Header.Get("Te"))
		}
		w.Header().Set("Content-Type", "application/grpc")
		_ = http.NewResponseController(w).Flush()
		buf := make([]byte, 5)
		for {
			if _, err := io.ReadFull(r.Body, buf); err != nil {
				break
			}
			_, _ = w.Write(buf)
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "")
	}))
	app.Config.Protocols = new(http.Protocols)
	app.Config.Protocols.SetUnencryptedHTTP2(true)
	app.Start()
	defer app.Close()
	u, err := url.Parse(app.URL)
	must(t, err)
	r := newRig(t, u, setup{
		upstream: func(c *proxy.UpstreamConfig) { c.HTTP2 = true },
		server: func(s *httptest.Server) {
			s.EnableHTTP2 = true
			s.StartTLS()
		},
	})
	in, out := io.Pipe()
	req := r.request(r.signIn(alice), "POST", "/service/Method", in, "Te", "trailers", "Content-Type", "application/grpc")
	req.Header.Del("Accept")
	res, err := r.client.Do(req)
	must(t, err)
	defer res.Body.Close()
	if res.ProtoMajor != 2 {
		t.Fatalf("%s", res.Proto)
	}
	got := make([]byte, 5)
	for i := range 10 {
		message := fmt.Sprintf("msg %d", i)
		_, err := io.WriteString(out, message)
		must(t, err)
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != message {
			t.Fatalf("%q, %v", got, err)
		}
	}
	out.Close()
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) != 0 {
		t.Errorf("rest %q, %v", rest, err)
	}
	if res.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("trailer %v", res.Trailer)
	}
}

func TestHDR024OverHTTP2(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{server: func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	}})
	cookie := r.signIn(alice)
	res, body := r.get(cookie, "/a//b?x=%zz", "X-Forwarded-User", "admin", "X_Forwarded_User", "admin")
	if res.ProtoMajor != 2 || res.StatusCode != 200 || body != "app" {
		t.Fatalf("%s %d %s", res.Proto, res.StatusCode, body)
	}
	request := app.last(t)
	checkIdentity(t, request)
	if !strings.HasPrefix(request, "GET /a//b?x=%zz HTTP/1.1\r\nHost: app.test\r\n") || strings.Contains(request, "admin") {
		t.Errorf("the app got %q", request)
	}
	if res, _ := r.get("", "/"); res.StatusCode != 401 {
		t.Errorf("without a session: %d", res.StatusCode)
	}
	// A second host, in a field, is a contradiction.
	req := r.request(cookie, "GET", "/", nil)
	req.RequestURI, req.RemoteAddr, req.ProtoMajor, req.ProtoMinor = "/", "127.0.0.1:1", 2, 0
	req.Header["Host"] = []string{"evil.test"}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	if w.Code != 400 {
		t.Errorf("two hosts: %d", w.Code)
	}
}

// A client of HTTP/2 that opens no window blocks the handler, not the connection.
func TestDOS188AnHTTP2StreamThatNobodyReadsIsCut(t *testing.T) {
	stopped := make(chan struct{})
	app := newApp(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(stopped)
		for chunk := make([]byte, 1<<20); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	r := newRig(t, app, setup{stall: 300 * time.Millisecond, server: func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	}})
	res, err := r.client.Do(r.request(r.signIn(alice), "GET", "/", nil))
	must(t, err)
	defer res.Body.Close()
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Error("the app still writes to nobody")
	}
}

func TestNewUpstreamRefuses(t *testing.T) {
	for _, raw := range []string{"", "http:", "ftp://x", "http://user@x", "http://x/base", "http://x?q", "x:80", "h2c://x"} {
		u, err := url.Parse(raw)
		must(t, err)
		if _, err := proxy.NewUpstream(proxy.UpstreamConfig{URL: u, Now: time.Now}); err == nil {
			t.Errorf("%q was taken", raw)
		}
	}
	if _, err := proxy.NewUpstream(proxy.UpstreamConfig{URL: &url.URL{Scheme: "https", Host: "x"}, HTTP2: true, Now: time.Now}); err == nil {
		t.Error("h2c over TLS was taken")
	}
	if _, err := proxy.New(proxy.Config{}); err == nil {
		t.Error("an empty Config was taken")
	}
}

func TestGuardWrites(t *testing.T) {
	t.Parallel()
	inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	l := proxy.GuardWrites(inner, 2*time.Second, time.Now)
	defer l.Close()
	connect := func() (server, client net.Conn) {
		client, err := new(net.Dialer).DialContext(context.Background(), "tcp", l.Addr().String())
		must(t, err)
		server, err = l.Accept()
		must(t, err)
		t.Cleanup(func() { client.Close(); server.Close() })
		return server, client
	}

	server, _ := connect()
	if _, err := server.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nobody reads: %v", err)
	}

	// Much takes long, and moves.
	server, client := connect()
	go func() {
		for buf := make([]byte, 512<<10); ; time.Sleep(50 * time.Millisecond) {
			if _, err := client.Read(buf); err != nil {
				return
			}
		}
	}()
	began := time.Now()
	if n, err := server.Write(make([]byte, 32<<20)); err != nil || n != 32<<20 {
		t.Errorf("slow reader: %d, %v after %v", n, err, time.Since(began))
	}

	// Who cuts an answer sets a deadline in the past; it holds.
	server, _ = connect()
	must(t, server.SetWriteDeadline(time.Unix(1, 0)))
	if _, err := server.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the cut: %v", err)
	}
	must(t, server.SetDeadline(time.Time{}))
	if _, err := server.Write([]byte("x")); err != nil {
		t.Errorf("without a deadline: %v", err)
	}
	if half, ok := server.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		t.Error("no half close")
	}
	if proxy.GuardWrites(inner, 0, time.Now) != inner {
		t.Error("no limit, and yet a guard")
	}
}
