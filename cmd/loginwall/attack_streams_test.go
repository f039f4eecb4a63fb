package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// upgrade is a WebSocket's first request by the current browser; a field that the
// list names replaces the usual one, or with nothing behind the colon takes it out.
func upgrade(path string, fields ...string) string {
	usual := []string{"Host: {host}", "Cookie: {cookie}", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: https://app.test"}
	l := []string{"GET " + path + " HTTP/1.1"}
	for _, field := range usual {
		name, _, _ := strings.Cut(field, ":")
		replaced := false
		for _, f := range fields {
			replaced = replaced || strings.HasPrefix(f, name+":")
		}
		if !replaced {
			l = append(l, field)
		}
	}
	for _, f := range fields {
		if !strings.HasSuffix(f, ":") {
			l = append(l, f)
		}
	}
	return lines(append(l, "", "")...)
}

// dialWebSocket opens one as the current browser.
func (r *rig) dialWebSocket(t *testing.T, path, origin string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	h := http.Header{}
	if c := r.cookies().String(); c != "" {
		h.Set("Cookie", c)
	}
	if origin != "" {
		h.Set("Origin", origin)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, "ws://"+r.address+path, &websocket.DialOptions{Host: r.host(), HTTPHeader: h, Subprotocols: []string{"chat"}})
	if conn != nil {
		conn.SetReadLimit(4 << 20)
	}
	r.oracle.judgeUpstream(t, r, strings.Join(h["Cookie"], ""))
	return conn, response, err
}

// echoWebSocket is an app that sends back every frame; told "close 4002" it closes
// with that code. Upgrades that ask for no WebSocket get an ordinary answer.
func echoWebSocket(conn net.Conn, in *bufio.Reader, request *http.Request) {
	if request.Header.Get("Upgrade") == "" {
		_, _ = io.WriteString(conn, strings.Replace(defaultAnswer, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
		return
	}
	sum := sha1.Sum([]byte(request.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	const closing = 8
	for {
		var head [2]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		size := uint64(head[1] & 0x7f)
		switch size {
		case 126:
			var b [2]byte
			_, _ = io.ReadFull(in, b[:])
			size = uint64(binary.BigEndian.Uint16(b[:]))
		case 127:
			var b [8]byte
			_, _ = io.ReadFull(in, b[:])
			size = binary.BigEndian.Uint64(b[:])
		}
		var mask [4]byte
		_, _ = io.ReadFull(in, mask[:])
		payload := make([]byte, size)
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
		if string(payload) == "close 4002" {
			head[0], payload = 0x80|closing, append([]byte{4002 >> 8, 4002 & 0xff}, "over"...)
		}
		// No mask; the length in the form that is always right.
		frame := append([]byte{head[0], 127}, binary.BigEndian.AppendUint64(nil, uint64(len(payload)))...)
		if len(payload) < 126 {
			frame = []byte{head[0], byte(len(payload))}
		} else if len(payload) < 1<<16 {
			frame = append([]byte{head[0], 126}, binary.BigEndian.AppendUint16(nil, uint16(len(payload)))...)
		}
		if _, err := conn.Write(append(frame, payload...)); err != nil || head[0]&0xf == closing {
			return
		}
	}
}

// What stays open is opened by the same rules as everything else, passes untouched,
// and leaves nothing behind.
func TestAttackStreams(t *testing.T) {
	t.Parallel()
	bulk := httptest.NewServer(http.HandlerFunc(serveBulk))
	t.Cleanup(bulk.Close)
	r := startWall(t, "https://app.test", strings.Replace(routed, "routes:\n", "routes:\n  - {path: /bulk/, upstream: '"+bulk.URL+"'}\n", 1)+`
timeouts: {idle: 8s, read_header: 8s}
`)
	r.as("alice").signIn(t, "alice@example.com", "/")
	r.upstream.respondWith(echoWebSocket)

	t.Run("STR-181 a WebSocket works", func(t *testing.T) {
		conn, response, err := r.dialWebSocket(t, "/ws?room=1%2f2", "https://app.test")
		check(t, err)
		defer conn.CloseNow()
		got := r.upstream.since(r.upstream.count() - 1)[0]
		if response.Header.Get("Sec-WebSocket-Protocol") != "chat" || !strings.HasPrefix(got.raw, "GET /ws?room=1%2f2 HTTP/1.1\r\n") || identityOf(got) != "alice@example.com" {
			t.Errorf("%v, at the upstream:\n%s", response.Header, got.raw)
		}
		for _, size := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20} {
			sent := bytes.Repeat([]byte("x"), size)
			check(t, conn.Write(t.Context(), websocket.MessageBinary, sent))
			kind, back, err := conn.Read(t.Context())
			check(t, err)
			if kind != websocket.MessageBinary || !bytes.Equal(sent, back) {
				t.Errorf("%d bytes came back as %d, %v", size, len(back), kind)
			}
		}
		_ = conn.Close(3001, "done") // an error tells that the app's own took longer than the client waits

		conn, _, err = r.dialWebSocket(t, "/ws", "https://app.test")
		check(t, err)
		defer conn.CloseNow()
		check(t, conn.Write(t.Context(), websocket.MessageText, []byte("close 4002")))
		var closed websocket.CloseError
		if _, _, err := conn.Read(t.Context()); !errors.As(err, &closed) || closed.Code != 4002 || closed.Reason != "over" {
			t.Errorf("closed with %v", err)
		}
	})

	t.Run("STR-181 not without a session", func(t *testing.T) {
		before := r.upstream.count()
		for _, path := range []string{"/ws", "/closed/ws", "/public/../ws", "/hook"} {
			_, response, err := r.as("nobody").dialWebSocket(t, path, "https://app.test")
			if err == nil || response == nil || response.StatusCode != http.StatusUnauthorized && response.StatusCode != http.StatusForbidden || response.Header["Set-Cookie"] != nil {
				t.Errorf("%s: %v, %v", path, response, err)
			}
		}
		r.as("alice")
		if n := r.upstream.count() - before; n != 0 {
			t.Errorf("%d requests at the upstream", n)
		}
	})

	t.Run("CSR-176 other sites' pages open none on her behalf", func(t *testing.T) {
		for _, fields := range [][]string{
			{"Origin: https://evil.test"},
			{"Origin: null"},
			{"Origin: http://app.test"},
			{"Origin: https://sub.app.test"},
			{"Origin: https://app.test.evil.test"},
			{"Origin: https://evilapp.test"},
			{"Origin: https://app.test:8443"},
			{"Origin: https://app.test:80"},
			{"Origin: https://app.test/"},
			{"Origin: https://app.test."},
			{"Origin: https://user@app.test"},
			{"Origin: https://app.test@evil.test"},
			{"Origin: app.test"},
			{"Origin: //app.test"},
			{"Origin: file://"},
			{"Origin: chrome-extension://abcdefghijklmnop"},
			{"Origin: https://app.test https://evil.test"},
			{"Origin: https://app.test, https://evil.test"},
			{"Origin: https://app.test", "Origin: https://evil.test"},
			{"Origin: https://evil.test", "origin: https://app.test"},
			{"Origin:\t"},
			{"Origin: *"},
			{"Origin: undefined"},
			// What a proxy in front might say about where we are is nobody's business here.
			{"Origin: https://evil.test", "X-Forwarded-Host: evil.test"},
			{"Origin: https://evil.test", "X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https"},
			// Other ways to ask for one.
			{"Origin: https://evil.test", "Upgrade: WebSocket"},
			{"Origin: https://evil.test", "Connection: keep-alive, UPGRADE"},
			{"Origin: https://evil.test", "Connection: keep-alive", "connection: upgrade"},
		} {
			before := r.upstream.count()
			if a := r.sendOnce(t, upgrade("/ws", fields...)); a.StatusCode != http.StatusForbidden || a.Header.Get("X-Loginwall") != "denied" || r.upstream.count() != before {
				t.Errorf("%q: status %d, %d requests at the upstream", fields, a.StatusCode, r.upstream.count()-before)
			}
		}
		// No browser leaves Origin out; a tool may, and it has her cookie already.
		for path, origin := range map[string]string{"/ws": "", "/ws?": "https://app.test"} {
			conn, _, err := r.dialWebSocket(t, path, origin)
			check(t, err)
			conn.CloseNow()
		}
		// On public routes there is nobody's behalf: the app is told of no one, and may
		// talk to whom it likes. The oracle looks.
		conn, _, err := r.dialWebSocket(t, "/public/ws", "https://evil.test")
		check(t, err)
		conn.CloseNow()
	})

	t.Run("STR-182 no other protocol passes", func(t *testing.T) {
		for _, fields := range [][]string{
			{"Upgrade: foo/2"}, {"Upgrade: TLS/1.0"}, {"Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"}, {"Upgrade: websocket, h2c"}, {"Upgrade: h2c, websocket"}, {"Upgrade: websocket", "upgrade: h2c"}, {"Upgrade: h2c", "upgrade: websocket"}, {"Upgrade: websocket/13"}, {"Upgrade: websocket;x"}, {"Upgrade: xwebsocket"}, {"Upgrade: \u017fwebsocket"}, {"Upgrade: web\u017focket"}, {"Upgrade: connect-udp"}, {"Upgrade: h2c", "Connection: upgrade"}, {"Upgrade: h2c", "Connection: keep-alive"}, {"Connection: keep-alive"}, {"Connection: close"}, {"Upgrade:", "Connection: Upgrade"}, {"Upgrade: spdy/3", "Connection: Upgrade, close"},
		} {
			r.noUpgrade(t, upgrade("/ws", fields...))
		}
		for _, method := range []string{"POST", "PUT", "OPTIONS", "HEAD", "get", "PRI"} {
			r.noUpgrade(t, strings.Replace(upgrade("/ws"), "GET", method, 1))
		}
		r.noUpgrade(t, strings.Replace(upgrade("/ws"), "HTTP/1.1", "HTTP/1.0", 1))
		r.noUpgrade(t, upgrade("/ws", "Upgrade_: h2c", "X_Upgrade: h2c", "Upgrade:", "Connection: Upgrade"))
	})

	t.Run("STR-184 nothing is left of them", func(t *testing.T) {
		// The oracle compares goroutines and descriptors when the test is over.
		const number, at = 400, 16
		var opened sync.WaitGroup
		for worker := range at {
			opened.Go(func() {
				for i := range number / at {
					conn, err := net.Dial("tcp", r.address)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.WriteString(conn, r.fill(upgrade("/ws")))
					_ = conn.SetReadDeadline(time.Now().Add(patience))
					if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
						t.Error(err)
					}
					switch (worker + i) % 4 {
					case 0: // goes without a word
					case 1: // has nothing more to say, and listens
						_ = conn.(*net.TCPConn).CloseWrite()
						_, _ = io.Copy(io.Discard, conn)
					case 2: // goes in the middle of a frame
						_, _ = conn.Write([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1})
						_ = conn.(*net.TCPConn).SetLinger(0)
					case 3: // the app dies
						_, _ = conn.Write([]byte{0x88, 0x80, 0, 0, 0, 0})
						_, _ = io.Copy(io.Discard, conn)
					}
					conn.Close()
				}
			})
		}
		opened.Wait()
		r.oracle.judgeUpstream(t, r, r.cookies().String())
		conn, _, err := r.dialWebSocket(t, "/ws", "")
		check(t, err)
		r.upstream.hangUp()
		if _, _, err := conn.Read(t.Context()); err == nil {
			t.Error("the app is gone, and the WebSocket is open")
		}
		conn.CloseNow()
		r.oracle.judgeMetrics(t, r)
	})

	t.Run("STR-185 events arrive one by one, and silence ends nothing", func(t *testing.T) {
		next := make(chan string)
		r.upstream.respondWith(func(conn net.Conn, _ *bufio.Reader, _ *http.Request) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
			for event := range next {
				_, _ = fmt.Fprintf(conn, "%x\r\n%s\r\n", len(event), event)
			}
			_, _ = io.WriteString(conn, "0\r\n\r\n")
		})
		request := r.request(t, http.MethodGet, []string{"-xhr", "/events", "Cookie:" + r.cookies().String()})
		request.Host = r.host()
		response, err := r.client.Do(request)
		check(t, err)
		defer response.Body.Close()
		events := bufio.NewReader(response.Body)
		for i := range 50 {
			if i == 25 {
				time.Sleep(9 * time.Second) // longer than timeouts.idle and read_header; the silence is the case
			}
			sent := fmt.Sprintf("data: %d\n", i)
			next <- sent
			// The next one is not sent before this one has come.
			if got, err := events.ReadString('\n'); err != nil || got != sent {
				t.Fatalf("%q came as %q, %v", sent, got, err)
			}
		}
		close(next)
		if rest, err := io.ReadAll(events); err != nil || len(rest) != 0 {
			t.Errorf("at the end %q, %v", rest, err)
		}
		r.upstream.respondWith(echoWebSocket)
	})

	t.Run("STR-185 memory does not grow with what passes", func(t *testing.T) {
		const size, room = 200 << 20, 40 << 20
		client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
		defer client.CloseIdleConnections()
		measured := make(chan float64)
		stop := make(chan struct{})
		before := metric(r.metrics(t), "process_resident_memory_bytes")
		go func() {
			most := 0.0
			for {
				select {
				case <-stop:
					measured <- most
					return
				case <-time.After(20 * time.Millisecond):
					most = max(most, metric(r.metrics(t), "process_resident_memory_bytes"))
				}
			}
		}()
		for method, path := range map[string]string{http.MethodGet: fmt.Sprintf("/bulk/down?%d", size), http.MethodPost: "/bulk/up"} {
			var body io.Reader
			if method == http.MethodPost {
				body = io.LimitReader(zeros{}, size)
			}
			request, err := http.NewRequest(method, "http://"+r.address+path, body)
			check(t, err)
			request.Host = r.host()
			request.Header.Set("Cookie", r.cookies().String())
			response, err := client.Do(request)
			check(t, err)
			n, err := io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if err != nil || response.StatusCode != http.StatusOK || method == http.MethodGet && n != size || method == http.MethodPost && response.Header.Get("X-Got") != fmt.Sprint(size) {
				t.Errorf("%s: %s, %d bytes, the app got %s, %v", method, response.Status, n, response.Header.Get("X-Got"), err)
			}
		}
		close(stop)
		if most := <-measured; most > before+room {
			t.Errorf("%.0f MiB were resident, and %.0f before", most/(1<<20), before/(1<<20))
		}
	})
}

// sendOnce sends bytes and waits for one answer, on a connection that may stay open.
func (r *rig) sendOnce(t *testing.T, raw string) *answer {
	t.Helper()
	conn := r.dial(t)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	raw = r.fill(raw)
	_, err := io.WriteString(conn, raw)
	check(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: strings.SplitN(raw, " ", 2)[0]})
	check(t, err)
	a := &answer{Response: response}
	if response.StatusCode != http.StatusSwitchingProtocols { // which would never end
		a.body, err = io.ReadAll(response.Body)
		check(t, err)
	}
	r.oracle.judge(t, r, raw, a)
	return a
}

// noUpgrade sends an upgrade that is none: it is answered as an ordinary request, and
// the app does not learn that there was one.
func (r *rig) noUpgrade(t *testing.T, raw string) {
	t.Helper()
	before := r.upstream.count()
	if a := r.sendOnce(t, raw); a.StatusCode == http.StatusSwitchingProtocols {
		t.Errorf("%q: switched", raw)
	}
	for _, got := range r.upstream.since(before) {
		fields := fieldsOf(got.raw)
		if len(valuesOf(fields, "Upgrade")) != 0 || len(valuesOf(fields, "Http2-Settings")) != 0 || strings.Contains(strings.ToLower(strings.Join(valuesOf(fields, "Connection"), "")), "upgrade") {
			t.Errorf("%q reached the app as\n%s", raw, got.raw)
		}
	}
}

// serveBulk sends as many bytes as the query says, and counts those that it is sent.
func serveBulk(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Got", fmt.Sprint(n))
		return
	}
	var size int64
	_, _ = fmt.Sscan(r.URL.RawQuery, &size)
	_, _ = io.CopyN(w, zeros{}, size)
}
