package direct

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// token holds one bit for each character that a token may have (RFC 9110, section
// 5.6.2).
const token = (1<<10-1)<<'0' | (1<<26-1)<<'A' | (1<<26-1)<<'a' | 1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' |
	1<<'\'' | 1<<'*' | 1<<'+' | 1<<'-' | 1<<'.' | 1<<'^' | 1<<'_' | 1<<'`' | 1<<'|' | 1<<'~'

// isName reports whether s may be the name of a field.
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; uint64(1)<<(c&63)&[4]uint64{token & (1<<64 - 1), token >> 64}[c>>6] == 0 {
			return false
		}
	}
	return s != ""
}

// isValue reports whether s may be the value of a field, or what follows a status.
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isVisible reports whether s may stand between two blanks of a request line.
func isVisible(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return s != ""
}

// isHost reports whether s is a host as it stands in a Host field: one that needs
// no translation.
func isHost(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
		default:
			return false
		}
	}
	return s != ""
}

// appendHead writes a request down to the empty line (RFC 9112, section 3), or
// reports that it is none for us: another scheme or protocol, a method whose
// connection becomes something else, a body that needs asking before it is sent,
// anything that cannot be written as it is. net/http knows what to do with it, or
// what error to give.
func appendHead(b []byte, req *http.Request) ([]byte, bool) {
	if req.URL == nil || req.URL.Scheme != "http" || req.Header == nil || req.Header["Expect"] != nil || req.Header["Upgrade"] != nil {
		return b, false
	}
	method, host, target := req.Method, req.Host, req.URL.RequestURI()
	if method == "" {
		method = http.MethodGet
	}
	if host == "" {
		host = req.URL.Host
	}
	if method == http.MethodConnect || !isName(method) || !isHost(host) || !isVisible(target) {
		return b, false
	}
	b = append(b, method...)
	b = append(b, ' ')
	b = append(b, target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\n"...)
	if agent := req.Header["User-Agent"]; len(agent) > 0 && agent[0] != "" {
		if !isValue(agent[0]) {
			return b, false
		}
		b = appendField(b, "User-Agent", agent[0])
	}
	if req.Close && !hasToken(req.Header["Connection"], "close") {
		b = append(b, "Connection: close\r\n"...)
	}
	b, ok := appendFraming(b, method, req)
	if !ok {
		return b, false
	}
	for name, values := range req.Header {
		if isOwn(name) {
			continue
		}
		if !isName(name) {
			return b, false
		}
		for _, value := range values {
			if !isValue(value) {
				return b, false
			}
			b = appendField(b, name, value)
		}
	}
	return append(b, "\r\n"...), true
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, trim(value)...)
	return append(b, "\r\n"...)
}

// isOwn reports whether a field is written from elsewhere than the header, in
// whatever case it stands there.
func isOwn(name string) bool {
	switch len(name) {
	case len("Host"):
		return strings.EqualFold(name, "Host")
	case len("Trailer"):
		return strings.EqualFold(name, "Trailer")
	case len("User-Agent"):
		return strings.EqualFold(name, "User-Agent")
	case len("Content-Length"):
		return strings.EqualFold(name, "Content-Length")
	case len("Transfer-Encoding"):
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// appendFraming says where the body will end, and what trailers follow it.
func appendFraming(b []byte, method string, req *http.Request) ([]byte, bool) {
	chunked := slices.Equal(req.TransferEncoding, []string{"chunked"})
	switch {
	case len(req.TransferEncoding) > 0 && !chunked:
		return b, false
	case !hasBody(req):
		if req.ContentLength > 0 {
			return b, false
		}
		switch method {
		case http.MethodPost, http.MethodPut, http.MethodPatch:
			b = append(b, "Content-Length: 0\r\n"...)
		}
		return b, true
	case req.ContentLength > 0 && !chunked:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, req.ContentLength, 10)
		return append(b, "\r\n"...), true
	case !chunked && method != http.MethodPost && method != http.MethodPut && method != http.MethodPatch:
		return b, false // perhaps it has no body at all, and net/http finds that out
	}
	b = append(b, "Transfer-Encoding: chunked\r\n"...)
	var names []string
	for name := range req.Trailer {
		if !isName(name) || isOwn(name) {
			return b, false
		}
		names = append(names, name)
	}
	if len(names) > 0 {
		slices.Sort(names)
		b = appendField(b, "Trailer", strings.Join(names, ","))
	}
	return b, true
}

// chunkRoom is what the line of a chunk and the end of its data take, or all that
// ends a body but its trailers.
const chunkRoom = 16

// An upload is a request's body on its way, in a goroutine of its own, since the
// answer may begin before it ends, and perhaps before it goes on.
type upload struct {
	body    io.ReadCloser
	length  int64 // less than zero: chunks
	trailer http.Header
	// err is why the body could not be read; it stands once done is closed.
	err  error
	done chan struct{}
}

func newUpload(req *http.Request) *upload {
	u := &upload{body: req.Body, length: req.ContentLength, trailer: req.Trailer, done: make(chan struct{})}
	if len(req.TransferEncoding) > 0 || u.length == 0 {
		u.length = -1
	}
	return u
}

// send sends the body. When it cannot be written, the upstream may have answered
// all the same. When it cannot be read the connection closes, so that the upstream
// does not take a part for the whole.
func (u *upload) send(a *answer) {
	c := a.c
	space, _ := c.t.bodies.Get().(*[copySize + chunkRoom]byte)
	written, read := u.copy(c, space)
	c.t.bodies.Put(space)
	u.body.Close()
	u.err = read
	close(u.done)
	if written != nil {
		a.broken.Store(true)
	}
	a.part(read == nil)
}

func (u *upload) copy(c *conn, space *[copySize + chunkRoom]byte) (written, read error) {
	const front = chunkRoom - len("\r\n")
	left := u.length
	for {
		n, err := u.body.Read(space[front : front+copySize])
		out := space[front : front+n]
		switch {
		case n == 0:
		case u.length < 0:
			line := append(strconv.AppendInt(space[:0:front], int64(n), 16), "\r\n"...)
			begin := front - len(line)
			copy(space[begin:], line)
			out = append(space[begin:front+n], "\r\n"...)
		case int64(n) > left:
			return nil, fmt.Errorf("the request's body is longer than its Content-Length of %d", u.length)
		default:
			left -= int64(n)
		}
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return err, nil
			}
		}
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF):
			return nil, err
		case u.length < 0:
			return u.end(c)
		case left > 0:
			return nil, fmt.Errorf("the request's body is shorter than its Content-Length of %d: %w", u.length, io.ErrUnexpectedEOF)
		default:
			return nil, nil
		}
	}
}

// end writes the last chunk, and the trailers, whose values are there now that the
// body has been read.
func (u *upload) end(c *conn) (written, read error) {
	b := []byte("0\r\n")
	for name, values := range u.trailer {
		for _, value := range values {
			if !isName(name) || isOwn(name) || !isValue(value) {
				return nil, errors.New("a trailer of the request cannot be sent")
			}
			b = appendField(b, name, value)
		}
	}
	_, written = c.Write(append(b, "\r\n"...))
	return written, nil
}
