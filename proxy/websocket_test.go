package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/proxy"
)

const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

// The frames that end a WebSocket from our side.
var (
	revokedFrame  = "\x88\x17\x03\xf0the session has ended"
	drainingFrame = "\x88\x10\x03\xe9the wall stops"
)

// frame is one of an app; its first byte says what it is.
func frame(first byte, payload []byte) []byte {
	n := len(payload)
	switch {
	case n < 126:
		return append([]byte{first, byte(n)}, payload...)
	case n < 1<<16:
		return append(binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n)), payload...)
	}
	return append(binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(n)), payload...)
}

// ends parses a whole stream, and says after which of its bytes another frame may
// begin: the same as what is followed piece by piece, told in another way.
func ends(stream []byte) map[int]bool {
	at := map[int]bool{0: true}
	for i := 0; ; {
		rest := stream[i:]
		if len(rest) < 2 {
			return at
		}
		last, masked, length, header := rest[0]&0xf == 8, rest[1]&0x80 != 0, uint64(rest[1]&0x7f), 2
		switch {
		case length == 126 && len(rest) >= 4:
			length, header = uint64(binary.BigEndian.Uint16(rest[2:])), 4
		case length == 127 && len(rest) >= 10:
			length, header = binary.BigEndian.Uint64(rest[2:]), 10
		case length >= 126:
			return at
		}
		if masked {
			header += 4
		}
		if len(rest) < header || uint64(len(rest)-header) < length || last {
			return at
		}
		i += header + int(length)
		at[i] = true
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x81\x05hello\x89\x00\x82\x7e\x00\x03abc\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01x\x88\x02\x03\xe8\x81\x01x"), uint16(3))
	f.Add([]byte("\x81\x85\x00\x00\x00\x00hello\x81\xff\x00\x00\x00\x00\x00\x00\x00\x00kkkk\x81\xfe\x00\x01kkkkx"), uint16(1))
	f.Add([]byte("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xffabc"), uint16(2))
	f.Add([]byte("\x01\x01a\x00\x01b\x80\x00"), uint16(7))
	f.Fuzz(func(t *testing.T, stream []byte, size uint16) {
		want := ends(stream)
		var followed proxy.Frames
		for i := 0; ; {
			if got := followed.Between(); got != want[i] {
				t.Fatalf("%x: behind byte %d another frame may begin: %v", stream, i, got)
			}
			if i == len(stream) {
				return
			}
			n := min(1+int(size), len(stream)-i)
			followed.Follow(stream[i : i+n])
			i += n
		}
	})
}

// A pushingApp opens WebSockets and sends what it is told, in these pieces.
type pushingApp struct {
	*rawApp
	pieces chan []byte
	closed chan error // what its end of the connection came to
}

func newPushingApp(t *testing.T) *pushingApp {
	a := &pushingApp{pieces: make(chan []byte), closed: make(chan error, 1)}
	a.rawApp = newConnApp(t, func(conn net.Conn, _ string) {
		_, _ = io.WriteString(conn, switched)
		go func() {
			_, err := io.Copy(io.Discard, conn)
			a.closed <- err
		}()
		for piece := range a.pieces {
			if _, err := conn.Write(piece); err != nil {
				return
			}
		}
	})
	return a
}

// openRaw opens a WebSocket by hand.
func (r *rig) openRaw(cookie string) (net.Conn, *bufio.Reader) {
	r.t.Helper()
	conn := r.dial()
	if r.server.TLS != nil {
		conn = tls.Client(conn, r.client.Transport.(*http.Transport).TLSClientConfig)
	}
	_, err := fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: app.test\r\nCookie: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", cookie)
	must(r.t, err)
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	must(r.t, err)
	if res.StatusCode != http.StatusSwitchingProtocols {
		r.t.Fatal(res.Status)
	}
	return conn, in
}

func TestACutWebSocketIsToldWhyWhereAFrameEnds(t *testing.T) {
	text, fragment, big := frame(0x81, []byte("hello")), frame(0x01, []byte("to be ")), frame(0x82, make([]byte, 70_000))
	for name, row := range map[string]struct {
		sent []byte
		told bool
	}{
		"silence":                  {nil, true},
		"a whole message":          {text, true},
		"messages of all sizes":    {bytes.Join([][]byte{text, big, frame(0x82, make([]byte, 300)), frame(0x8a, nil)}, nil), true},
		"between fragments":        {append(bytes.Clone(text), fragment...), true},
		"compressed":               {frame(0xc1, []byte{0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}), true},
		"in a header":              {append(bytes.Clone(text), 0x82), false},
		"in a length":              {[]byte{0x82, 126, 1}, false},
		"in a payload":             {big[:60_000], false},
		"all but the last byte":    {text[:len(text)-1], false},
		"the app has said goodbye": {frame(0x88, []byte{0x03, 0xe8}), false},
	} {
		for _, piece := range []int{1, 3, 1 << 20} {
			if piece == 1 && len(row.sent) > 1000 {
				continue
			}
			t.Run(fmt.Sprintf("%s by %d", name, piece), func(t *testing.T) {
				app := newPushingApp(t)
				defer close(app.pieces)
				r := newRig(t, app.url, setup{})
				cookie, s := r.start(alice)
				_, in := r.openRaw(cookie)
				for i := 0; i < len(row.sent); i += piece {
					app.pieces <- row.sent[i:min(i+piece, len(row.sent))]
				}
				got := make([]byte, len(row.sent))
				_, err := io.ReadFull(in, got)
				must(t, err)
				if !bytes.Equal(got, row.sent) {
					t.Error("what the app sent did not pass as it was")
				}
				must(t, r.keeper.End(t.Context(), s, "alice", auth.EndSignOut))
				rest, err := io.ReadAll(in)
				if want := map[bool]string{true: revokedFrame}[row.told]; string(rest) != want || isTimeout(err) {
					t.Errorf("at the end %q, %v; want %q", rest, err, want)
				}
				select {
				case <-app.closed:
				case <-time.After(patience):
					t.Error("the app's side is open")
				}
			})
		}
	}
}

// Whatever is under way when a WebSocket is cut, the client gets the beginning of
// what the app sent and then nothing, or a close frame where a frame ends.
func TestACutWebSocketIsNeverSpoiled(t *testing.T) {
	var stream []byte
	for i := range 40 {
		stream = append(stream, frame(0x82, bytes.Repeat([]byte{byte(i)}, i*i*50))...)
	}
	boundaries := ends(stream)
	app := newConnApp(t, func(conn net.Conn, _ string) {
		_, _ = io.WriteString(conn, switched)
		_, _ = conn.Write(stream)
		_, _ = io.Copy(io.Discard, conn)
	})
	r := newRig(t, app.url, setup{})
	told := 0
	for round := range 60 {
		cookie, s := r.start(alice)
		_, in := r.openRaw(cookie)
		got := make([]byte, round*len(stream)/70)
		_, err := io.ReadFull(in, got)
		must(t, err)
		must(t, r.keeper.End(t.Context(), s, "alice", auth.EndSignOut))
		rest, _ := io.ReadAll(in)
		got = append(got, rest...)
		if before, ok := bytes.CutSuffix(got, []byte(revokedFrame)); ok {
			told++
			if got = before; !boundaries[len(got)] {
				t.Errorf("a close frame behind byte %d", len(got))
			}
		}
		if !bytes.HasPrefix(stream, got) {
			t.Errorf("round %d: %d bytes that the app did not send", round, len(got))
		}
	}
	t.Logf("%d of 60 were told", told)
}

func TestWhoDoesNotReadIsCutAllTheSame(t *testing.T) {
	app := newConnApp(t, func(conn net.Conn, _ string) {
		_, _ = io.WriteString(conn, switched)
		for message := frame(0x82, make([]byte, 1<<16)); ; {
			if _, err := conn.Write(message); err != nil {
				return
			}
		}
	})
	r := newRig(t, app.url, setup{})
	cookie, s := r.start(alice)
	for range 8 {
		r.openRaw(cookie)
	}
	bobs := alice
	bobs.Subject, bobs.Email = "1002", "bob@example.com"
	r.openRaw(r.signIn(bobs))
	eventually(t, "all are under way", func() bool { return r.live.Len() == 9 })
	must(t, r.keeper.End(t.Context(), s, "alice", auth.EndSignOut))
	eventually(t, "hers are gone", func() bool { return r.live.Len() == 1 })
}

// A client that sends on and on, and never answers the close frame, still gets to
// read it.
func TestWhoSendsGetsToReadTheCloseFrame(t *testing.T) {
	r := newRig(t, newApp(t, echo(t)), setup{})
	cookie, s := r.start(alice)
	conn, in := r.openRaw(cookie)
	go func() {
		for {
			if _, err := conn.Write([]byte("\x82\x81\x00\x00\x00\x00x")); err != nil {
				return
			}
		}
	}()
	_, err := in.Peek(1)
	must(t, err)
	must(t, r.keeper.End(t.Context(), s, "alice", auth.EndSignOut))
	got, err := io.ReadAll(in)
	if !bytes.HasSuffix(got, []byte(revokedFrame)) {
		t.Errorf("at the end %q, %v", got[max(0, len(got)-40):], err)
	}
	eventually(t, "it is gone", func() bool { return r.live.Len() == 0 })
}

func TestACutWebSocketOverTLS(t *testing.T) {
	r := newRig(t, newApp(t, echo(t)), setup{server: func(s *httptest.Server) { s.StartTLS() }})
	cookie, s := r.start(alice)
	_, in := r.openRaw(cookie)
	must(t, r.keeper.End(t.Context(), s, "alice", auth.EndSignOut))
	// A farewell of TLS behind it, or this would be an unexpected end.
	if got, err := io.ReadAll(in); string(got) != revokedFrame || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDOS198DrainIsForThoseThatBeginLaterToo(t *testing.T) {
	r := newRig(t, newApp(t, echo(t)), setup{})
	cookie := r.signIn(alice)
	_, first := r.openRaw(cookie)
	r.live.Drain()
	_, second := r.openRaw(cookie)
	for _, in := range []*bufio.Reader{first, second} {
		if got, err := io.ReadAll(in); string(got) != drainingFrame || isTimeout(err) {
			t.Errorf("%q, %v", got, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if r.live.Wait(ctx); r.live.Len() != 0 || ctx.Err() != nil {
		t.Error("nobody waited for them")
	}
}

// A reads is a connection on which these sizes come, and remembers into how much room
// it was read.
type reads struct {
	sizes, rooms []int
}

func (r *reads) Read(p []byte) (int, error) {
	r.rooms = append(r.rooms, len(p))
	if len(r.sizes) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), r.sizes[0])
	if r.sizes[0] -= n; r.sizes[0] == 0 {
		r.sizes = r.sizes[1:]
	}
	return n, nil
}

// A lender counts what it has lent.
type lender struct{ out int }

func (l *lender) Get() []byte { l.out++; return make([]byte, 32<<10) }
func (l *lender) Put([]byte)  { l.out-- }

// Who waits for the next message waits with little, however large the last one was.
func TestASilentWebSocketIsSmall(t *testing.T) {
	const small, large = 2 << 10, 32 << 10
	from, pool := &reads{sizes: []int{5, small - 1, small + 1, 100_000}}, &lender{}
	var to bytes.Buffer
	n, err := proxy.Relay(&to, from, pool)
	if err != nil || n != int64(to.Len()) || n != 5+2*small+100_000 {
		t.Errorf("%d bytes (%d arrived), %v", n, to.Len(), err)
	}
	want := []int{small, small, small, large, small, large, large, large, small}
	if diff := cmp.Diff(want, from.rooms); diff != "" || pool.out != 0 {
		t.Errorf("%d buffers are lent; read into %s", pool.out, diff)
	}
}

// closedBy is the code with which a WebSocket ends.
func closedBy(t *testing.T, c *websocket.Conn) websocket.StatusCode {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		if _, _, err := c.Read(ctx); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				t.Error("the WebSocket goes on")
			}
			return websocket.CloseStatus(err)
		}
	}
}

func BenchmarkFrames(b *testing.B) {
	stream := bytes.Repeat(frame(0x82, make([]byte, 1<<10)), 32)
	b.SetBytes(int64(len(stream)))
	var f proxy.Frames
	for b.Loop() {
		f.Follow(stream)
	}
}
