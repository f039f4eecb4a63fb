package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// GuardWrites returns a listener whose connections fail a write during which the
// client took no byte for the time of stall: a slow reader may be slow, but not
// gone. It guards what no handler can see, the last bytes of an answer and what
// is piped to a WebSocket, and belongs under TLS.
//
// The server's own WriteTimeout would instead cut whatever takes long.
func GuardWrites(l net.Listener, stall time.Duration, now func() time.Time) net.Listener {
	if stall <= 0 {
		return l
	}
	return &guardedListener{l, stall, now}
}

type guardedListener struct {
	net.Listener
	stall time.Duration
	now   func() time.Time
}

func (l *guardedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &guardedConn{Conn: c, l: l}, nil
}

type guardedConn struct {
	net.Conn
	l *guardedListener

	mu    sync.Mutex // orders the deadline of the stall with one that was set
	limit time.Time  // what SetWriteDeadline was told last
	armed time.Time  // the deadline that stands because of the stall
}

func (c *guardedConn) Write(p []byte) (written int, err error) {
	err = c.guard(func() (int, error) {
		n, err := c.Conn.Write(p[written:])
		written += n
		return n, err
	})
	return written, err
}

// guard calls step again where a deadline has cut it short, for as long as the
// client takes something. step returns how much that was.
func (c *guardedConn) guard(step func() (int, error)) error {
	moved := c.l.now()
	err := c.arm(moved, c.l.stall/2)
	for err == nil {
		var n int
		if n, err = step(); err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		now := c.l.now()
		if n > 0 {
			moved = now
		}
		if c.over(now) || now.Sub(moved) >= c.l.stall {
			break
		}
		err = c.arm(moved, c.l.stall)
	}
	return err
}

// ReadFrom is what net/http calls to send what it need not see.
func (c *guardedConn) ReadFrom(src io.Reader) (sent int64, err error) {
	r, ok := src.(*rest)
	socket, known := c.Conn.(syscall.Conn)
	if ok && known {
		if raw, err := socket.SyscallConn(); err == nil {
			if sent, err = r.sendTo(c, raw); !errors.Is(err, errors.ErrUnsupported) {
				return sent, err
			}
		}
	}
	n, err := io.Copy(struct{ io.Writer }{c}, src)
	return sent + n, err
}

// arm sets the deadline of the stall, but never behind one that was set: by that
// a live answer is cut. One that stands and leaves enough time is good enough, since
// guard looks at the clock before it gives up; most writes take no time at all, and
// setting a deadline costs more than they do.
func (c *guardedConn) arm(from time.Time, enough time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit.IsZero() && c.armed.Sub(from) >= enough {
		return nil
	}
	c.armed = from.Add(c.l.stall)
	if !c.limit.IsZero() && c.limit.Before(c.armed) {
		return c.Conn.SetWriteDeadline(c.limit)
	}
	return c.Conn.SetWriteDeadline(c.armed)
}

func (c *guardedConn) over(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.limit.IsZero() && !now.Before(c.limit)
}

// SetWriteDeadline is what net/http and the live streams call.
func (c *guardedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.IsZero() && c.limit.IsZero() {
		return nil // net/http says so behind every answer, and what stands because of the stall may
	}
	c.limit, c.armed = t, time.Time{}
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *guardedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.Conn.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// CloseWrite lets net/http end its side before it closes a connection on which
// the client still sends, so that the client gets to read the answer.
func (c *guardedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
