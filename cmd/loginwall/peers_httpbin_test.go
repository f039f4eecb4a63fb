package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// TestHTTPBin asks go-httpbin for everything that it has, once directly and then
// through the wall, over HTTP/1.1 and HTTP/2: what comes back is the same to the
// byte, and so is what httpbin says it got, but for what the wall says that it
// changes.
func TestHTTPBin(t *testing.T) {
	t.Parallel()
	program := goPeer(t, "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin")
	address, err := freeAddress()
	check(t, err)
	startChild(t, exec.Command(program, "-host", "127.0.0.1", "-port", portOf(address), "-max-body-size", "33554432", "-max-duration", "60s",
		"-srv-read-timeout", "60s", "-log-level", "WARN")).awaitURL(t, "http://"+address+"/get")
	r := startWall(t, "", strings.Replace(basics, "$UPSTREAM", "http://"+address, 1)+"timeouts: {drain: 2s}\n")
	r.as("alice").signIn(t, "alice@example.com", "/")

	t.Run("HTTP/1.1", func(t *testing.T) { compareHTTPBin(t, r, address, &http.Transport{DisableCompression: true}) })
	t.Run("HTTP/2.0", func(t *testing.T) { compareHTTPBin(t, r, address, newHTTP2()) })
	t.Run("websocket", func(t *testing.T) { testHTTPBinWebSocket(t, r) })
	t.Run("events", func(t *testing.T) { testHTTPBinEvents(t, r) })
}

// An exchange with httpbin, as far as it can be compared.
type binExchange struct {
	Status          int
	Length          int64
	Header, Trailer http.Header
	Body            string           // unless it is JSON that tells of the request
	Echo            []map[string]any // that JSON
}

func compareHTTPBin(t *testing.T, r *rig, address string, transport *http.Transport) {
	defer transport.CloseIdleConnections()
	form := strings.Repeat("name=value&", 1000) + "last=ü"
	large := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB
	for _, test := range []struct {
		method, path string
		headers      string // "Name: value" on lines
		body         string
	}{
		{"GET", "/gzip", "", ""}, // compressed although nobody asked, as an app may
		{"GET", "/gzip", "Accept-Encoding: gzip, br", ""},
		{"GET", "/gzip", "Accept-Encoding: identity", ""},
		{"GET", "/deflate", "Accept-Encoding: deflate", ""},
		{"GET", "/get?a=1&b=%20c&d=%2F", "X-App: yes\nAccept: application/json\nAccept-Language: de", ""},
		{"GET", "/anything/some%2Fpath/..%2f?q=1;2", "User-Agent: somebody/1.0\nAuthorization: Bearer t0ken\nReferer: http://a.test/", ""},
		{"GET", "/headers", "User-Agent: \nDNT: 1\nX_Under: score\nVia: 1.1 proxy", ""},
		{"GET", "/cookies", "", ""},
		{"GET", "/cookies/set?other=2", "", ""},
		{"GET", "/response-headers?X-A=1&X-A=2&Link=%3C/x%3E;rel=preload&Vary=Cookie", "", ""},
		{"GET", "/response-headers?Content-Type=text/plain&Set-Cookie=a%3Db%3BDomain%3Dexample.com", "", ""},
		{"HEAD", "/head", "", ""},
		{"HEAD", "/bytes/1000?seed=1", "", ""},
		{"HEAD", "/image/png", "", ""},
		{"GET", "/bytes/100000?seed=1", "", ""},
		{"GET", "/stream-bytes/300000?seed=1&chunk_size=1000", "", ""},
		{"GET", "/stream/50", "", ""},
		{"GET", "/jsonl?count=5", "", ""},
		{"GET", "/range/10000", "Range: bytes=10-99", ""},
		{"GET", "/range/10000", "Range: bytes=-5", ""},
		{"GET", "/range/10000", "Range: bytes=20000-", ""},
		{"GET", "/range/10000", "Range: bytes=10-99\nIf-Range: \"other\"", ""},
		{"GET", "/etag/abc", "If-None-Match: \"abc\"", ""},
		{"GET", "/etag/abc", "If-Match: \"def\"", ""},
		{"GET", "/cache", "If-Modified-Since: Mon, 02 Jan 2006 15:04:05 GMT", ""},
		{"GET", "/cache/60", "", ""},
		{"GET", "/status/204", "", ""},
		{"GET", "/status/304", "", ""},
		{"GET", "/status/401", "", ""},
		{"GET", "/status/418", "", ""},
		{"GET", "/status/500", "", ""},
		{"GET", "/status/503", "", ""},
		{"GET", "/unstable?failure_rate=1", "", ""},
		{"GET", "/nowhere", "", ""},
		{"GET", "/post", "", ""}, // 405
		{"GET", "/redirect-to?url=https%3A%2F%2Fexample.com%2Fx%3Fy%23z&status_code=307", "", ""},
		{"GET", "/redirect/3", "", ""},
		{"GET", "/relative-redirect/2", "", ""},
		{"GET", "/absolute-redirect/2", "", ""}, // to the public host
		{"GET", "/basic-auth/user/p%20w", "", ""},
		{"GET", "/basic-auth/user/passwd", "Authorization: Basic dXNlcjpwYXNzd2Q=", ""},
		{"GET", "/hidden-basic-auth/user/passwd", "", ""},
		{"GET", "/bearer", "Authorization: Bearer abc", ""},
		{"GET", "/trailers?X-Checksum=abc&X-Other=d", "TE: trailers", ""},
		{"GET", "/drip?numbytes=20&duration=0.2&delay=0", "", ""},
		{"GET", "/delay/0.1", "", ""},
		{"GET", "/encoding/utf8", "", ""},
		{"GET", "/html", "", ""},
		{"GET", "/xml", "", ""},
		{"GET", "/image/webp", "", ""},
		{"GET", "/base64/aGVsbG8=", "", ""},
		{"GET", "/robots.txt", "", ""},
		{"OPTIONS", "/anything", "Origin: https://else.test\nAccess-Control-Request-Method: PUT", ""},
		{"POST", "/post", "Content-Type: application/x-www-form-urlencoded", form},
		{"POST", "/post", "Content-Type: application/json", `{"a": [1, "ü"]}`},
		{"POST", "/post", "Content-Type: multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n\x00\xff\r\n--b--\r\n"},
		{"POST", "/post", "Content-Type: text/plain\nExpect: 100-continue", "continued"},
		{"PUT", "/put", "Content-Encoding: gzip\nContent-Type: application/octet-stream", "not really"},
		{"PATCH", "/patch", "Content-Type: text/plain", "x"},
		{"DELETE", "/delete", "", ""},
		{"DELETE", "/anything", "Content-Type: text/plain", "a body"},
		{"PROPFIND", "/anything", "Content-Type: text/xml\nDepth: 1", "<x/>"},
		{"PUT", "/upload", "Content-Type: application/octet-stream", large},
		{"POST", "/upload", "Content-Type: application/octet-stream\nX-Chunked: yes", large},
	} {
		ask := func(address, cookie string) *binExchange {
			request, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+address+test.path, strings.NewReader(test.body))
			check(t, err)
			request.Host = r.host()
			request.Header.Set("User-Agent", "a test") // or Go says who it is, in one way for each protocol
			for line := range strings.Lines(test.headers) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
				request.Header[name] = []string{strings.TrimSpace(value)} // spelt as it is
			}
			if request.Header["X-Chunked"] != nil {
				request.ContentLength = -1
			} else if test.body == "" {
				request.Body, request.ContentLength = nil, 0
			}
			request.Header["Cookie"] = []string{"app=1"}
			through := http.RoundTripper(&http.Transport{DisableCompression: true, DisableKeepAlives: true, ExpectContinueTimeout: patience})
			if cookie != "" {
				request.Header["Cookie"], through = []string{"app=1; " + cookie}, transport
			}
			response, err := through.RoundTrip(request)
			check(t, err)
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			check(t, err)
			if cookie != "" && response.Proto != t.Name()[strings.Index(t.Name(), "/")+1:] {
				t.Fatalf("answered in %s", response.Proto)
			}
			return newBinExchange(t, response, body)
		}
		want, got := ask(address, ""), ask(r.address, r.cookies().session())
		if lifetime := want.Header.Get("Cache-Control"); !strings.Contains(lifetime, "max-age") {
			want.Header.Set("Cache-Control", "private")
		} else {
			want.Header.Set("Cache-Control", "private, "+strings.TrimPrefix(lifetime, "public, "))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %s %q: directly (-) and through the wall (+):\n%s", test.method, test.path, test.headers, diff)
		}
	}
}

// newBinExchange takes out what is never the same twice, and what the wall says
// that it adds to requests.
func newBinExchange(t *testing.T, response *http.Response, body []byte) *binExchange {
	t.Helper()
	e := &binExchange{Status: response.StatusCode, Length: response.ContentLength, Header: response.Header, Trailer: response.Trailer, Body: string(body)}
	for _, name := range []string{"Date", "X-Request-Id", "Connection"} {
		delete(e.Header, name)
	}
	if len(e.Trailer) == 0 {
		e.Trailer = nil
	}
	// What tells of the request that httpbin got is compared without what the wall
	// adds, and so without its length. A coding must be the app's to the last bit.
	var err error
	plain := io.Reader(bytes.NewReader(body))
	switch response.Header.Get("Content-Encoding") {
	case "gzip":
		plain, err = gzip.NewReader(plain)
	case "deflate":
		plain, err = zlib.NewReader(plain)
	}
	check(t, err)
	text, err := io.ReadAll(plain)
	check(t, err)
	if !bytes.Contains(text, []byte(`"headers":`)) {
		return e
	}
	e.Length, e.Body = 0, ""
	delete(e.Header, "Content-Length")
	for decoder := json.NewDecoder(bytes.NewReader(text)); ; {
		var echo map[string]any
		switch err := decoder.Decode(&echo); err {
		case nil:
		case io.EOF:
			return e
		default:
			t.Fatal(err)
		}
		headers, _ := echo["headers"].(map[string]any)
		maps.DeleteFunc(headers, func(name string, _ any) bool {
			switch name {
			case "X-Request-Id", "X-Loginwall-Hop", "Connection", "Expect": // the last two are said for one connection
				return true
			}
			return strings.HasPrefix(name, "X-Forwarded-")
		})
		e.Echo = append(e.Echo, echo)
	}
}

func testHTTPBinWebSocket(t *testing.T, r *rig) {
	conn := r.mustOpen(t, "/websocket/echo?max_fragment_size=2000000&max_message_size=4000000")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, message := range [][]byte{{}, []byte("héllo"), bytes.Repeat([]byte{0xff}, 1<<20)} {
		kind := websocket.MessageBinary
		if len(message) < 10 {
			kind = websocket.MessageText
		}
		check(t, conn.Write(ctx, kind, message))
		gotKind, got, err := conn.Read(ctx)
		check(t, err)
		if gotKind != kind || !bytes.Equal(got, message) {
			t.Errorf("sent %v of %d bytes, got %v of %d", kind, len(message), gotKind, len(got))
		}
	}
	check(t, conn.Close(websocket.StatusNormalClosure, "bye")) // which waits for the other side's
	poll(t, "the WebSocket is still counted", func() bool {
		return strings.Contains(r.metrics(t), `loginwall_open_streams{kind="websocket"} 0`)
	})
	r.mustClose(t, r.mustOpen(t, "/websocket/echo"))
	r.signIn(t, "alice@example.com", "/")
}

// testHTTPBinEvents: events come when they happen, and end with the session.
func testHTTPBinEvents(t *testing.T, r *rig) {
	open := func(query string) (*bufio.Reader, func() error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.publicURL+"/sse?"+query, http.NoBody)
		check(t, err)
		request.Header = http.Header{"Accept": {"text/event-stream"}, "Cookie": {r.cookies().session()}}
		response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
		check(t, err)
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" && response.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%s, %s", response.Status, response.Header.Get("Content-Type"))
		}
		return bufio.NewReader(response.Body), response.Body.Close
	}
	events := func(in *bufio.Reader) (n int, first, last time.Time, err error) {
		for {
			line, err := in.ReadString('\n')
			if strings.HasPrefix(line, "data:") {
				n, last = n+1, time.Now()
				if n == 1 {
					first = last
				}
			}
			if err != nil {
				return n, first, last, err
			}
		}
	}
	in, closeBody := open("count=4&duration=1500ms")
	n, first, last, err := events(in)
	check(t, closeBody())
	// Collected somewhere on the way, they would all come at once.
	if gap := last.Sub(first); err != io.EOF || n != 4 || gap < 500*time.Millisecond {
		t.Errorf("%d events within %v: %v", n, gap, err)
	}

	in, closeBody = open("count=600&duration=50s")
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if a := r.ask(t, http.MethodPost, "/_auth/logout", "Origin: "+r.publicURL); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign out: %s", a.Status)
	}
	n, _, _, err = events(in)
	check(t, closeBody())
	if err == nil || err == io.EOF || n >= 600 {
		t.Errorf("the stream ended with %v after %d events, and should have been cut", err, n)
	}
	poll(t, "the stream is still counted", func() bool {
		return strings.Contains(r.metrics(t), `loginwall_open_streams{kind="event_stream"} 0`)
	})
}
