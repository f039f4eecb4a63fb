package direct

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	// bufferSize is what a connection reads ahead; it holds most heads whole.
	bufferSize = 4 << 10
	// maxTrailer bounds the trailers of an answer, and each line of its chunks, in
	// bytes.
	maxTrailer = 4 << 10
	// maxExcess bounds what chunks may carry beside their data, as extensions, in
	// bytes.
	maxExcess = 16 << 10
	// maxInformational bounds the 1xx answers before the final one. Who watches them
	// may set a limit of its own below it.
	maxInformational = 64
	// copySize is how much of a request's body is read at a time: as much as a packet
	// on the way to a neighbour can be.
	copySize = 64 << 10
)

// ErrBusy says that no connection was free, and none became free in time.
var ErrBusy = errors.New("all connections to the upstream are in use")

// A Config says how an upstream is reached, and how much of it there may be.
type Config struct {
	// Dial makes a connection, unless the context ends before. How long it may take,
	// and an answer, is for the request's context to say.
	Dial func(context.Context) (net.Conn, error)
	// Fallback carries the requests that a Transport does not.
	Fallback http.RoundTripper
	// HeaderBytes bounds the header of an answer.
	HeaderBytes int
	// IdleConns and IdleTime bound how many connections are kept for reuse, and for
	// how long.
	IdleConns int
	IdleTime  time.Duration
	// Conns bounds all connections. Where there are as many, Waiting requests wait
	// for one, for WaitTime; the next fail at once. Both fail with ErrBusy.
	Conns, Waiting int
	WaitTime       time.Duration
	// Now is the clock.
	Now func() time.Time
}

// A Transport is an http.RoundTripper for one upstream that speaks HTTP/1.1
// without TLS. It is safe for concurrent use.
//
// Of httptrace it knows Got1xxResponse alone.
type Transport struct {
	config  Config
	started time.Time
	pool    pool
	// heads and bodies lend space for what is sent.
	heads, bodies sync.Pool
	pipes         pipes
}

// New makes a Transport of a Config whose fields are all set; it connects to
// nothing.
func New(c Config) *Transport {
	t := &Transport{config: c, started: c.Now()}
	t.heads.New = func() any { return new(make([]byte, 0, bufferSize)) }
	t.bodies.New = func() any { return new([copySize + chunkRoom]byte) }
	return t
}

// Stats are the numbers of connections that are open, of those that are idle, and
// of requests that wait for one.
func (t *Transport) Stats() (open, idle, waiting int) {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	return t.pool.open, len(t.pool.idle), len(t.pool.waiting)
}

// clock is the time since the Transport was made, by a clock that only goes on.
func (t *Transport) clock() time.Duration { return t.config.Now().Sub(t.started) }

// RoundTrip sends a request and returns the answer when its header has come. The
// rest of the request's body goes on while the answer's is read.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	space, _ := t.heads.Get().(*[]byte)
	head, ok := appendHead((*space)[:0], req)
	if !ok {
		t.heads.Put(space)
		return t.config.Fallback.RoundTrip(req)
	}
	res, err := t.roundTrip(req, head)
	*space = head[:0]
	if cap(head) <= copySize {
		t.heads.Put(space)
	}
	return res, err
}

func (t *Transport) roundTrip(req *http.Request, head []byte) (*http.Response, error) {
	for again := false; ; again = true {
		c, err := t.connection(req.Context(), again)
		if err != nil {
			closeBody(req)
			return nil, err
		}
		a := c.begin(req)
		untouched, err := a.exchange(req, head)
		if err == nil {
			return &a.response, nil
		}
		if again || !untouched || !c.used || a.ctx.Err() != nil {
			closeBody(req)
			return nil, err
		}
	}
}

// connection returns one on which nothing waits and nothing is owed: the one that
// was used last, or a new one. fresh insists on a new one.
func (t *Transport) connection(ctx context.Context, fresh bool) (*conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for {
		c, wait, err := t.pool.take(&t.config, fresh)
		if wait != nil {
			c, err = t.await(ctx, wait)
		}
		switch {
		case err != nil:
			return nil, err
		case c == nil:
			return t.dial(ctx)
		case fresh: // it is given up for its place
			c.Close()
			return t.dial(ctx)
		case c.isClean():
			return c, nil
		}
		c.Close()
		t.pool.leave()
	}
}

// dial makes a connection in a place that the pool has given.
func (t *Transport) dial(ctx context.Context) (*conn, error) {
	inner, err := t.config.Dial(ctx)
	if err != nil {
		t.pool.leave()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	c := &conn{Conn: inner, t: t}
	c.cancel = func() { inner.Close() }
	if s, ok := inner.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn()
		c.look = c.lookAt
	}
	return c, nil
}

// CloseIdleConnections closes those that nobody uses.
func (t *Transport) CloseIdleConnections() { t.expire(0) }

func hasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// unexpected is what the end of a connection is where an answer has not ended.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
