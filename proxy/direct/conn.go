package direct

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
)

var errTooLarge = errors.New("the header of the upstream's answer is too large")

// A conn is a connection with what was read ahead on it. One request at a time has
// it.
type conn struct {
	net.Conn
	t      *Transport
	cancel func() // closes it
	raw    syscall.RawConn
	look   func(fd uintptr) // is lookAt
	silent bool             // what look saw
	buf    []byte
	r, w   int  // what was read ahead is buf[r:w]
	heard  bool // something was read since the last request began
	used   bool // it has carried a whole exchange
	told   Waiter
	// idleSince is when that ended, by the Transport's clock.
	idleSince time.Duration
}

// rest makes an unused connection of one whose exchange is over, and reports
// whether it can be: it had nothing to say beyond its answer.
func (c *conn) rest() bool {
	if c.r != c.w || c.raw == nil {
		return false
	}
	c.r, c.w = 0, 0
	if len(c.buf) > bufferSize {
		c.buf = nil
	}
	c.used, c.told, c.idleSince = true, nil, c.t.clock()
	return true
}

// isClean reports whether a connection that comes from the pool is as it was left:
// no byte has come that could pass for the next answer, and the upstream has
// not closed it.
func (c *conn) isClean() bool {
	if c.t.clock()-c.idleSince >= c.t.config.IdleTime {
		return false
	}
	c.silent = false
	return c.raw.Control(c.look) == nil && c.silent
}

// read is Read that notes whether the upstream has said anything.
func (c *conn) read(p []byte) (int, error) {
	if c.told != nil {
		c.told.BeforeWait()
	}
	n, err := c.Conn.Read(p)
	c.heard = c.heard || n > 0
	return n, err
}

func (c *conn) buffered() int { return c.w - c.r }

// fill reads ahead, at least one byte more.
func (c *conn) fill() error {
	switch {
	case c.buf == nil:
		c.buf = make([]byte, bufferSize)
	case c.r == c.w:
		c.r, c.w = 0, 0
	case c.w == len(c.buf) && c.r > 0:
		c.w = copy(c.buf, c.buf[c.r:])
		c.r = 0
	case c.w == len(c.buf):
		c.buf = append(c.buf, make([]byte, len(c.buf))...)
	}
	n, err := c.read(c.buf[c.w:])
	c.w += n
	return err
}

// take is Read through what was read ahead. p is not longer than what belongs to
// the answer. framed says that its end is known without the connection's.
func (c *conn) take(p []byte, framed bool) (int, error) {
	if c.r == c.w {
		if len(p) >= bufferSize {
			return c.read(p)
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.buf[c.r:c.w])
	c.r += n
	if framed && n < len(p) {
		n += c.readNow(p[n:])
	}
	return n, nil
}

// readNow reads what is there already, and waits for nothing: behind a head there is
// mostly more of the body than was read ahead with it, and what is read in one piece
// is written in one. It must not be asked where the connection's end is the answer's:
// the kernel tells of a reset once, and then of an end.
func (c *conn) readNow(p []byte) (n int) {
	if c.raw != nil {
		_ = c.raw.Read(func(fd uintptr) bool {
			n = max(0, tryRead(fd, p)) // an end or an error meets the next Read again
			return true
		})
	}
	return n
}

// section reads up to an empty line, which belongs to it, and no more than limit
// bytes. What does not begin with prefix is given up at once.
func (c *conn) section(prefix string, limit int) (string, error) {
	for seen := 0; ; {
		b := c.buf[c.r:c.w]
		if n := min(len(b), len(prefix)); string(b[:n]) != prefix[:n] {
			return "", malformed("status line")
		}
		end := 0
		for end == 0 {
			i := bytes.IndexByte(b[seen:], '\n')
			if i < 0 {
				seen = len(b)
				break
			}
			line := b[seen+i+1:]
			switch {
			case len(line) > 0 && line[0] == '\n':
				end = seen + i + 2
			case len(line) > 1 && line[0] == '\r' && line[1] == '\n':
				end = seen + i + 3
			case len(line) > 1 || len(line) == 1 && line[0] != '\r':
				seen += i + 1
				continue
			}
			seen += i
			break
		}
		if max(end, seen) > limit {
			return "", errTooLarge
		}
		if end > 0 {
			c.r += end
			return string(b[:end]), nil
		}
		if err := c.fill(); err != nil {
			return "", unexpected(err)
		}
	}
}

// line reads the line of a chunk, without its end. It must end in CR and LF, or
// two readers could see two lines (RFC 9112, section 7.1); it is valid until the
// next call.
func (c *conn) line() ([]byte, error) {
	for {
		b := c.buf[c.r:c.w]
		i := bytes.IndexByte(b, '\n')
		switch {
		case i > 0 && b[i-1] == '\r' && i <= maxTrailer:
			c.r += i + 1
			return b[:i-1], nil
		case i >= 0 || len(b) > maxTrailer:
			return nil, malformed("chunk")
		}
		if err := c.fill(); err != nil {
			return nil, unexpected(err)
		}
	}
}

// malformed says what an upstream got wrong, and quotes nothing of it: it goes to
// the log, and may be anybody's.
func malformed(what string) error {
	return fmt.Errorf("the upstream's answer has a malformed %s", what)
}

func hasToken(values []string, token string) bool {
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			if isToken(trim(item), token) {
				return true
			}
		}
	}
	return false
}

// trim takes blanks off both ends.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// isToken compares without regard to the case of ASCII letters, and of them alone.
func isToken(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
