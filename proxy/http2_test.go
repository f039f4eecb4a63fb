package proxy_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/policy"
)

// A rawHTTP2 is a client of HTTP/2 that writes the frames itself (RFC 9113), since
// net/http's own would not send what an attacker sends.
type rawHTTP2 struct {
	t      *testing.T
	conn   net.Conn
	stream uint32
}

// The frames that are used here (RFC 9113, section 6).
const (
	frameData, frameHeaders, frameReset, frameSettings, framePing = 0, 1, 3, 4, 6
	endStream, endHeaders, ack                                    = 1, 4, 1
)

func withHTTP2(s *httptest.Server) {
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
}

// http2 opens a connection whose streams have a window of this many bytes.
func (r *rig) http2(t *testing.T, window uint32) *rawHTTP2 {
	conn := r.dial()
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	c := &rawHTTP2{t: t, conn: conn}
	_, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	must(t, err)
	c.write(frameSettings, 0, 0, binary.BigEndian.AppendUint32([]byte{0, 4}, window))
	return c
}

func (c *rawHTTP2) write(kind, flags byte, stream uint32, payload []byte) {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))[1:]
	head = binary.BigEndian.AppendUint32(append(head, kind, flags), stream)
	_, err := c.conn.Write(append(head, payload...))
	must(c.t, err)
}

func (c *rawHTTP2) get(path string, fields ...string) uint32 { return c.send("GET", path, fields...) }

// send sends a request and returns the number of its stream. The fields are
// literals without an index (RFC 7541, section 6.2.2).
func (c *rawHTTP2) send(method, path string, fields ...string) uint32 {
	var block []byte
	text := func(s string) {
		if len(s) < 127 {
			block = append(block, byte(len(s)))
		} else {
			block = binary.AppendUvarint(append(block, 127), uint64(len(s)-127))
		}
		block = append(block, s...)
	}
	fields = append([]string{":method", method, ":scheme", "https", ":authority", "app.test", ":path", path}, fields...)
	for i := 0; i < len(fields); i += 2 {
		block = append(block, 0)
		text(fields[i])
		text(fields[i+1])
	}
	stream := c.stream*2 + 1
	c.stream++
	c.write(frameHeaders, endStream|endHeaders, stream, block)
	return stream
}

// next returns the next frame that belongs to a stream, and answers what keeps the
// connection alive.
func (c *rawHTTP2) next() (kind byte, stream uint32, payload []byte) {
	for {
		var head [9]byte
		_, err := io.ReadFull(c.conn, head[:])
		must(c.t, err)
		payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		_, err = io.ReadFull(c.conn, payload)
		must(c.t, err)
		kind, stream = head[3], binary.BigEndian.Uint32(head[5:])
		switch {
		case kind == framePing && head[4]&ack == 0:
			c.write(framePing, ack, 0, payload)
		case kind == frameSettings && head[4]&ack == 0:
			c.write(frameSettings, ack, 0, nil)
		case stream != 0 && (kind == frameHeaders || kind == frameData || kind == frameReset):
			return kind, stream, payload
		}
	}
}

// Over HTTP/2 no request line says where a target ends; to an upstream one has to.
func TestBYP035And036OddTargetsOverHTTP2(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{server: withHTTP2, routes: []policy.Route{{Path: "/open/", Access: policy.Public}}})
	cookie := r.signIn(alice)
	for _, path := range []string{
		"/admin x", "/ ", "/x HTTP/1.0", "/x?y HTTP/1.0", "/open/x HTTP/1.1", "/open/?y HTTP/1.0",
		"https://app.test/open/x", "https://evil.test/open/x", "http://app.test", "*",
	} {
		c := r.http2(t, 1<<20)
		c.get(path, "cookie", cookie)
		// The server's encoder sends 400 as entry 12 of the static table (RFC 7541, appendix A).
		if kind, _, payload := c.next(); kind != frameHeaders || payload[0] != 0x80|12 {
			t.Errorf("%q: frame %d, %.40q", path, kind, payload)
		}
	}
	if got := app.requests(); len(got) != 0 {
		t.Errorf("the app got %q", got)
	}
	c := r.http2(t, 1<<20)
	c.get("/a%20b?c", "cookie", cookie)
	c.next()
	if got := app.last(t); !strings.HasPrefix(got, "GET /a%20b?c HTTP/1.1\r\nHost: app.test\r\n") {
		t.Errorf("the app got %q", got)
	}
}

// A method goes into the upstream's request line, too.
func TestBYP036OddMethodsOverHTTP2(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{server: withHTTP2})
	cookie := r.signIn(alice)
	for _, method := range []string{"GET /admin HTTP/1.1\r\nX:", "GET ", "G\tT", "GE\x00T", "GET:", "G\xc9T"} {
		c := r.http2(t, 1<<20)
		c.send(method, "/", "cookie", cookie)
		if kind, _, payload := c.next(); kind != frameReset && (kind != frameHeaders || payload[0] != 0x80|12) {
			t.Errorf("%q: frame %d, %.40q", method, kind, payload)
		}
	}
	if got := app.requests(); len(got) != 0 {
		t.Errorf("the app got %q", got)
	}
	c := r.http2(t, 1<<20)
	c.send("REPORT", "/", "cookie", cookie)
	c.next()
	if got := app.last(t); !strings.HasPrefix(got, "REPORT / HTTP/1.1\r\n") {
		t.Errorf("the app got %q", got)
	}
}

// A window that never opens would keep each answer, and the request with it, for as
// long as the connection lasts: a hundred streams, at a few bytes each.
func TestDOS194AnswersThatNobodyTakesAreGivenUp(t *testing.T) {
	t.Parallel()
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{
		server: withHTTP2, stall: 3 * time.Second,
		routes: []policy.Route{{Path: "/open/", Access: policy.Public}},
	})
	c := r.http2(t, 0)
	waiting := map[uint32]string{}
	for _, path := range []string{"/x", "/_auth/nothing", "/_auth/healthz", "/_auth/verify/x", "/open/x", "/open/y"} {
		waiting[c.get(path, "accept", "application/json")] = path
	}
	waiting[c.get("/_auth/page", "accept", "text/html", "sec-fetch-mode", "navigate", "sec-fetch-dest", "iframe")] = "a page"
	for len(waiting) > 0 {
		kind, stream, _ := c.next() // which fails when nothing comes
		switch kind {
		case frameReset:
			delete(waiting, stream)
		case frameData:
			t.Errorf("%s: data without a window", waiting[stream])
		}
	}
	// The connection goes on.
	healthy := r.http2(t, 1<<20)
	healthy.get("/open/x")
	if kind, _, payload := healthy.next(); kind != frameHeaders || payload[0] != 0x80|8 {
		t.Errorf("frame %d, %.40q", kind, payload)
	}
}
