package proxy

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"
)

// A response is the server's ResponseWriter with an eye on what goes through it:
// how much, and nothing informational that the client must not get.
type response struct {
	http.ResponseWriter
	x *exchange
	// proxied says that what comes is the upstream's.
	proxied bool
	// began says that a final status was written; hijacked, that the connection now
	// speaks another protocol.
	began, hijacked bool
	status          int
	informational   int
	held            bool // something was written that may not be on its way yet
	bytes           atomic.Int64
}

// WriteHeader passes a status on. Informational ones come from the goroutine that
// reads the upstream's answer, before the final one.
func (o *response) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		o.inform(status)
		return
	}
	if o.began {
		return
	}
	o.began, o.status = true, status
	if h := o.Header(); o.proxied && h["Content-Type"] == nil {
		// Where the app told none, neither do we: no guessing by the first bytes.
		h["Content-Type"] = nil
	}
	o.ResponseWriter.WriteHeader(status)
}

// inform passes 1xx on, as far as they are the upstream's to say and the client
// can take them (RFC 9110, section 15.2).
func (o *response) inform(status int) {
	if o.informational++; o.informational > maxInformational {
		o.x.giveUp(errInformational)
		return
	}
	if !o.x.r.ProtoAtLeast(1, 1) {
		return
	}
	h := o.Header()
	cleanHeader(h)
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Trailer", "Upgrade"} {
		delete(h, name)
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *response) Write(p []byte) (int, error) {
	if !o.began {
		o.WriteHeader(http.StatusOK)
	}
	o.x.writing.Store(o.x.h.Live.clock.Load())
	n, err := o.ResponseWriter.Write(p)
	o.held = true
	o.x.writing.Store(0)
	o.bytes.Add(int64(n))
	return n, err
}

// BeforeWait sends on what has come so far. It is called before more is read of an
// answer that may take its time, so nothing waits for what follows it; and not
// before, so that a small answer that came whole leaves in one piece.
func (o *response) BeforeWait() {
	if o.held {
		_ = o.FlushError() // what cannot be written is the next Write's error, or the context's
	}
}

// FlushError is what http.ResponseController and the reverse proxy call.
func (o *response) FlushError() error {
	o.held = false
	o.x.writing.Store(o.x.h.Live.clock.Load())
	err := http.NewResponseController(o.ResponseWriter).Flush()
	o.x.writing.Store(0)
	return err
}

// Hijack gives the connection to a WebSocket, and to Live, which may close it.
func (o *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(o.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	o.began, o.hijacked, o.status = true, true, http.StatusSwitchingProtocols
	ws := &webSocketConn{Conn: conn, x: o.x}
	o.x.took(ws)
	return ws, rw, nil
}

// Unwrap lets http.ResponseController reach what is not wrapped: deadlines.
func (o *response) Unwrap() http.ResponseWriter { return o.ResponseWriter }
