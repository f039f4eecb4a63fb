package proxy

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http/httputil"
	"sync"
	"time"
)

const (
	// lastWrite is how long what is being written to a WebSocket may still take when it
	// is cut.
	lastWrite = 250 * time.Millisecond
	// lastWord is how long the client may take to read the close frame, and again to
	// answer it.
	lastWord = time.Second
	// waitBuffer is what is kept for each way of a WebSocket while nothing comes.
	waitBuffer = 2 << 10
)

// The opcode and the codes that the wall itself says (RFC 6455, sections 5.2 and
// 7.4.1).
const (
	opClose         = 8
	goingAway       = 1001
	policyViolation = 1008
)

// closeFrame tells a client why its WebSocket ends; a reason is 123 bytes at most.
func closeFrame(cause error) []byte {
	code, reason := uint16(policyViolation), "the session has ended"
	switch {
	case errors.Is(cause, errExpired):
		reason = "the session has expired"
	case errors.Is(cause, errDraining):
		code, reason = goingAway, "the wall stops"
	}
	const final = 0x80
	return append(binary.BigEndian.AppendUint16([]byte{final | opClose, byte(2 + len(reason))}, code), reason...)
}

// A webSocketConn is the client's connection of a WebSocket. What the app sends
// passes as it is; the wall only follows where frames end, so that it can say a
// last one of its own when the exchange is cut. A control frame may stand between
// the fragments of a message (RFC 6455, section 5.4), but not inside of a frame:
// there, the connection ends without a word.
type webSocketConn struct {
	net.Conn
	x *exchange

	mu     sync.Mutex // held while something is written; guards the rest
	frames frames
	closed bool
}

func (c *webSocketConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Write(p)
	c.frames.follow(p[:n])
	c.x.out.bytes.Add(int64(n))
	return n, err
}

// ReadFrom and WriteTo are what the reverse proxy copies by.
func (c *webSocketConn) ReadFrom(app io.Reader) (int64, error) {
	return relay(c, app, c.x.up.proxy.BufferPool)
}

// WriteTo implements io.WriterTo.
func (c *webSocketConn) WriteTo(app io.Writer) (int64, error) {
	return relay(app, c.Conn, c.x.up.proxy.BufferPool)
}

// relay copies as io.Copy does, but borrows a large buffer only while there is enough
// to fill it: there are many WebSockets, and most are silent most of the time.
func relay(to io.Writer, from io.Reader, pool httputil.BufferPool) (total int64, err error) {
	small := make([]byte, waitBuffer)
	for buf := small; err == nil; {
		var n int
		if n, err = from.Read(buf); n > 0 {
			written, failed := to.Write(buf[:n])
			total += int64(written)
			if failed != nil {
				return total, failed
			}
		}
		switch full, large := n == len(buf), len(buf) > waitBuffer; {
		case full && !large:
			buf = pool.Get()
		case !full && large:
			pool.Put(buf)
			buf = small
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return total, err
}

// CloseWrite passes on that the app has said all.
func (c *webSocketConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// Close is what the reverse proxy calls at the end, when the app's side is closed
// or about to be. cut has freed whoever was reading or writing.
func (c *webSocketConn) Close() error {
	cause := c.x.whyCut()
	if cause == nil {
		return c.Conn.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	defer closeNow(c.Conn)
	if !c.frames.between() {
		return nil
	}
	if err := c.SetWriteDeadline(c.x.h.Now().Add(lastWord)); err != nil {
		return err
	}
	if _, err := c.Conn.Write(closeFrame(cause)); err != nil {
		return err
	}
	// A connection that is closed while the client still sends is reset, and the reset
	// may overtake the frame.
	if err := errors.Join(c.SetReadDeadline(c.x.h.Now().Add(lastWord)), c.CloseWrite()); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, c.Conn)
	return nil
}

// cut frees whoever waits for the client, and gives a write that is under way a
// moment to reach the end of its frame.
func (c *webSocketConn) cut() {
	_ = c.SetReadDeadline(time.Unix(1, 0))
	_ = c.SetWriteDeadline(c.x.h.Now().Add(lastWrite))
}

// frames follows a stream of WebSocket frames (RFC 6455, section 5.2), however it
// is cut into pieces. The zero value is at its beginning.
type frames struct {
	payload uint64 // how much is still to come of the frame's payload
	// Of the frame's header: how much has come, how much of it tells the length of the
	// payload, and how long it is.
	have, length, size uint8
	last               bool // the frame is a close frame, behind which there is none
}

// between reports whether another frame may begin here.
func (f *frames) between() bool { return f.have == 0 && f.payload == 0 && !f.last }

func (f *frames) follow(p []byte) {
	for len(p) > 0 {
		if f.have == 0 && f.payload > 0 {
			n := min(f.payload, uint64(len(p)))
			f.payload -= n
			p = p[n:]
			continue
		}
		f.header(p[0])
		p = p[1:]
	}
}

func (f *frames) header(b byte) {
	switch {
	case f.have == 0:
		f.last = f.last || b&0xf == opClose
	case f.have == 1:
		const masked, mask = 0x80, 4
		f.length = 2
		switch n := b &^ masked; n {
		case 126:
			f.length += 2
		case 127:
			f.length += 8
		default:
			f.payload = uint64(n)
		}
		f.size = f.length
		if b&masked != 0 { // servers must not, but then the key still stands there
			f.size += mask
		}
	case f.have < f.length:
		f.payload = f.payload<<8 | uint64(b)
	}
	if f.have++; f.have > 1 && f.have == f.size {
		f.have = 0
	}
}
