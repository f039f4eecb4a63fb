package direct

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
)

// An answer is one exchange on a connection, from the first byte of the request to
// the last of the answer; and the answer's body.
type answer struct {
	response http.Response
	c        *conn
	ctx      context.Context //nolint:containedctx // it bounds the body, too
	stop     func() bool     // ends the watch over ctx
	upload   *upload         // of the request's body, if there is one
	// parts are what has not ended yet: the answer, the upload. Who ends last gives
	// the connection back.
	parts  atomic.Int32
	broken atomic.Bool // the connection can carry nothing more
	ended  atomic.Bool // the answer's part
	closed atomic.Bool
	keep   bool // both sides want to go on after this
	body
}

// begin gives the connection to a request, and takes it away when its context
// ends. A connection on which that has begun is never used again.
func (c *conn) begin(req *http.Request) *answer {
	c.heard = false
	a := &answer{c: c, ctx: req.Context()}
	a.parts.Store(1)
	a.stop = context.AfterFunc(a.ctx, c.cancel)
	return a
}

// exchange sends the request and reads the answer up to its body. When that fails
// nothing of it goes on, and repeatable says whether it may be tried once more
// (RFC 9110, section 9.2.2): nothing of it was sent; or nothing has come back, and
// doing it twice is the same as doing it once. PUT and DELETE are that by the
// letter, but a second DELETE tells of nothing there to delete, so like net/http
// we do not repeat them.
func (a *answer) exchange(req *http.Request, head []byte) (repeatable bool, err error) {
	sent, writing := a.c.Write(head)
	switch {
	case writing != nil: // perhaps it was answered all the same
		a.broken.Store(true)
	case hasBody(req):
		a.upload = newUpload(req)
		a.parts.Store(2)
		go a.upload.send(a)
	}
	if err = a.readHeader(req); err == nil {
		if a.upload == nil {
			closeBody(req)
		}
		return false, nil
	}
	a.end(false)
	if a.upload != nil {
		<-a.upload.done
		return false, a.why(err)
	}
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		repeatable = !hasBody(req)
	}
	return !a.c.heard && (repeatable || sent == 0), a.why(err)
}

// why finds what an error of the connection came from.
func (a *answer) why(err error) error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	if a.upload != nil {
		select {
		case <-a.upload.done:
			if a.upload.err != nil {
				return a.upload.err
			}
		default:
		}
	}
	return err
}

// part ends one of the exchange's parts.
func (a *answer) part(clean bool) {
	if !clean {
		a.broken.Store(true)
		a.c.Close() // the other part waits for nothing more
	}
	if a.parts.Add(-1) == 0 {
		a.c.t.put(a.c, a.stop() && !a.broken.Load())
	}
}

// end ends the answer's part, once.
func (a *answer) end(clean bool) {
	if a.ended.CompareAndSwap(false, true) {
		a.part(clean)
	}
}

// readHeader reads heads until there is a final one.
func (a *answer) readHeader(req *http.Request) error {
	r := &a.response
	for informational := 0; ; informational++ {
		head, err := a.c.section("HTTP/1.", a.c.t.config.HeaderBytes)
		if err == nil {
			err = parseHead(head, r)
		}
		switch {
		case err != nil:
			return err
		case r.StatusCode >= http.StatusOK:
			r.Request = req
			return a.frame(req)
		case r.StatusCode == http.StatusSwitchingProtocols:
			return errors.New("the upstream switched protocols, and nobody had asked for that")
		case informational >= maxInformational:
			return errors.New("the upstream sent too many informational answers")
		}
		// It has no body, so what says that it has may mean that one follows.
		if length, err := contentLength(r.Header); err != nil || length > 0 || r.Header["Transfer-Encoding"] != nil {
			return malformed("informational answer")
		}
		if trace := httptrace.ContextClientTrace(a.ctx); trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(r.StatusCode, textproto.MIMEHeader(r.Header)); err != nil {
				return err
			}
		}
	}
}

// parseHead reads a status line and the fields below it (RFC 9112, sections 4 and
// 5).
func parseHead(head string, r *http.Response) (err error) {
	line, fields, _ := strings.Cut(head, "\n")
	line = strings.TrimSuffix(line, "\r")
	const status = len("HTTP/1.1 ")
	if len(line) < status+3 || line[7] != '0' && line[7] != '1' || line[8] != ' ' || len(line) > status+3 && line[status+3] != ' ' || !isValue(line) {
		return malformed("status line")
	}
	for _, digit := range []byte(line[status : status+3]) {
		if digit < '0' || digit > '9' {
			return malformed("status line")
		}
	}
	r.Proto, r.ProtoMajor, r.ProtoMinor = line[:status-1], 1, int(line[7]-'0')
	r.Status = line[status:]
	if r.StatusCode, err = strconv.Atoi(line[status : status+3]); err != nil || r.StatusCode < 100 {
		return malformed("status line")
	}
	r.Header, err = parseFields(fields)
	if pragma := r.Header["Pragma"]; pragma != nil && pragma[0] == "no-cache" && r.Header["Cache-Control"] == nil {
		r.Header["Cache-Control"] = []string{"no-cache"} // as net/http does (RFC 7234, section 5.4)
	}
	return err
}

// parseFields reads fields down to the empty line. Their names and values lie in
// one text. A line that goes on on the next is malformed: what it means was never
// agreed on (RFC 9112, section 5.2).
func parseFields(text string) (http.Header, error) {
	n := strings.Count(text, "\n") - 1
	values := make([]string, n)
	header := make(http.Header, n)
	for range n {
		line, rest, _ := strings.Cut(text, "\n")
		text = rest
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\r"), ":")
		if !ok || !isName(name) || !isValue(value) {
			return nil, malformed("field")
		}
		name, value = textproto.CanonicalMIMEHeaderKey(name), trim(value)
		if before := header[name]; before != nil {
			header[name] = append(before, value)
			continue
		}
		values[0] = value
		header[name], values = values[:1:1], values[1:]
	}
	return header, nil
}

// frame finds out where the body ends (RFC 9112, section 6.3), and refuses what
// two readers could see ending in two places.
func (a *answer) frame(req *http.Request) error {
	r := &a.response
	coding, chunked := r.Header["Transfer-Encoding"]
	length, err := contentLength(r.Header)
	if err != nil {
		return err
	}
	if chunked {
		if len(coding) != 1 || !isToken(coding[0], "chunked") || length >= 0 || r.ProtoMinor == 0 {
			return malformed("Transfer-Encoding")
		}
		delete(r.Header, "Transfer-Encoding")
		r.TransferEncoding = coding
		coding[0] = "chunked"
		if err := a.announceTrailers(); err != nil {
			return err
		}
	}
	goesOn := r.ProtoMinor == 1
	if connection := r.Header["Connection"]; connection != nil {
		goesOn = !hasToken(connection, "close") && (goesOn || hasToken(connection, "keep-alive"))
	}
	r.ContentLength, r.Close, r.Body = length, !goesOn, http.NoBody
	a.keep = goesOn && !req.Close && !hasToken(req.Header["Connection"], "close")
	switch {
	case req.Method == http.MethodHead:
	case r.StatusCode == http.StatusNoContent:
		// It has no body; an upstream that announces one may be about to send it.
		a.keep = a.keep && !chunked && length <= 0
		r.ContentLength = 0
	case r.StatusCode == http.StatusNotModified:
		r.ContentLength = 0
	case chunked:
		r.Body, a.framing = a, inChunks
		return nil
	case length > 0:
		r.Body, a.framing, a.left = a, byLength, length
		return nil
	case length < 0:
		r.Body, a.framing, r.Close, a.keep = a, untilClose, true, false
		return nil
	}
	a.end(a.keep)
	return nil
}

// contentLength returns -1 where there is none. The same one several times is one.
func contentLength(h http.Header) (int64, error) {
	values := h["Content-Length"]
	if len(values) == 0 {
		return -1, nil
	}
	for _, value := range values[1:] {
		if value != values[0] {
			return 0, malformed("Content-Length")
		}
	}
	n, err := strconv.ParseUint(values[0], 10, 63) // which takes no sign
	if err != nil {
		return 0, malformed("Content-Length")
	}
	h["Content-Length"] = values[:1:1]
	return int64(n), nil
}

// announceTrailers moves the names of trailers to where net/http has them.
func (a *answer) announceTrailers() error {
	r := &a.response
	for _, value := range r.Header["Trailer"] {
		for name := range strings.SplitSeq(value, ",") {
			if name = trim(name); name == "" {
				continue
			}
			if isFraming(name) {
				return malformed("Trailer")
			}
			if r.Trailer == nil {
				r.Trailer = make(http.Header)
			}
			r.Trailer[textproto.CanonicalMIMEHeaderKey(name)] = nil
		}
	}
	delete(r.Header, "Trailer")
	return nil
}

// isFraming reports whether a field would say, too late, where the body ends.
func isFraming(name string) bool {
	return strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "Transfer-Encoding") || strings.EqualFold(name, "Trailer")
}

// Read reads the body. At its end, and not before, the connection is given back.
func (a *answer) Read(p []byte) (n int, err error) {
	switch {
	case a.closed.Load():
		return 0, http.ErrBodyReadAfterClose
	case a.err != nil:
		return 0, a.err
	case len(p) == 0:
		return 0, nil
	}
	switch a.framing {
	case byLength:
		n, err = a.readLength(p)
	case inChunks:
		n, err = a.readChunks(p)
	case untilClose:
		n, err = a.c.take(p, false)
	}
	return a.moved(n, err)
}

// moved notes why there is no more of the body, once there is not.
func (a *answer) moved(n int, err error) (int, error) {
	if err != nil {
		if a.err = err; !errors.Is(err, io.EOF) {
			a.err = a.why(err)
		}
		a.end(a.keep && errors.Is(err, io.EOF))
	}
	return n, a.err
}

// A Waiter wants to know when Read is about to wait for the upstream.
type Waiter interface{ BeforeWait() }

// Tell has w told, by the goroutine that calls Read, before it waits for more of the
// body; what has been read ahead it returns without.
func (a *answer) Tell(w Waiter) { a.c.told = w }

// Close gives the body up. Where it has not been read to its end, the connection
// goes with it. It may be called while Read waits.
func (a *answer) Close() error {
	a.closed.Store(true)
	a.end(false)
	return nil
}
