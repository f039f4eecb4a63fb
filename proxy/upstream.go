package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/proxy/direct"
)

const (
	// idleConns is how many open connections to one upstream are kept for reuse.
	idleConns = 1024
	// idleConnTime is shorter than the keep-alive of any common server (Node closes
	// after 5 s): a request with a body that meets a connection which the upstream
	// is just closing cannot be sent again, so such connections are not used.
	idleConnTime = 4 * time.Second
	// directConns bounds what direct opens to one upstream, and waitingRequests those
	// that wait for one of them, for as long as a connection may take.
	directConns, waitingRequests = 16 << 10, 4 << 10
	// maxAnswerHeader bounds the header of an upstream's answer, in bytes.
	maxAnswerHeader = 256 << 10
	// maxInformational bounds the 1xx answers before the final one.
	maxInformational = 16
	// pingAfter and pingWait find HTTP/2 connections that died without a word.
	pingAfter, pingWait = 30 * time.Second, 15 * time.Second
	copyBuffer          = 32 << 10
	// uploadPiece is how much of a request's body net/http's Transport sends at a time.
	uploadPiece = 64 << 10
)

// An UpstreamConfig says how an app is reached.
type UpstreamConfig struct {
	// URL is scheme (http or https) and host, nothing else.
	URL *url.URL
	// Socket is the path of a unix socket; then URL's host is only a name.
	Socket string
	// HTTP2 speaks HTTP/2 with prior knowledge (h2c) to an http URL. To an https URL
	// the handshake decides.
	HTTP2 bool
	// Direct carries HTTP/1.1 without TLS by proxy/direct, where net/http would.
	Direct bool
	// PassHost sends the public host in Host; false sends the upstream's own.
	PassHost bool
	// RootCAs check an https upstream; nil means the system's.
	RootCAs *x509.CertPool
	// ConnectTimeout is for a connection, and again for its TLS handshake.
	ConnectTimeout time.Duration
	// HeaderTimeout is for the header of the answer, once the whole request was
	// sent; zero waits for ever.
	HeaderTimeout time.Duration
	// Dialed is told how long each connection took, and whether it failed; nil tells
	// nobody.
	Dialed func(time.Duration, error)
	// Now is the clock.
	Now func() time.Time
}

// An Upstream is an app behind the wall, with its connections. It serves requests
// of any Handler, and may outlive one.
type Upstream struct {
	url       url.URL // scheme and host
	host      string  // of the Host header; empty passes the public one
	transport *http.Transport
	direct    *direct.Transport // nil where transport carries everything
	proxy     *httputil.ReverseProxy
	pieces    sync.Pool // lends space for large bodies
	// headerTimeout is kept by Live: a timer for each request costs more.
	headerTimeout time.Duration
}

// NewUpstream checks c. It connects to nothing.
func NewUpstream(c UpstreamConfig) (*Upstream, error) {
	u := c.URL
	switch {
	case u == nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("an upstream needs an http or https URL with a host")
	case u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("an upstream's URL is scheme and host, nothing else")
	case c.HTTP2 && u.Scheme != "http":
		return nil, errors.New("HTTP/2 with prior knowledge is for http upstreams")
	case c.Now == nil:
		return nil, errors.New("an upstream needs a clock")
	}
	up := &Upstream{url: url.URL{Scheme: u.Scheme, Host: u.Host}, transport: newTransport(c), headerTimeout: c.HeaderTimeout}
	up.pieces.New = func() any { return new([largePiece]byte) }
	var carrier http.RoundTripper = up.transport
	if c.Direct && u.Scheme == "http" && !c.HTTP2 {
		up.direct = newDirect(c, up.transport)
		carrier = up.direct
	}
	if !c.PassHost {
		up.host = u.Host
		if c.Socket != "" {
			up.host = "localhost"
		}
	}
	up.proxy = &httputil.ReverseProxy{
		Rewrite:        up.rewrite,
		Transport:      carrier,
		ModifyResponse: modifyResponse,
		ErrorHandler:   upstreamFailed,
		BufferPool:     &buffers{},
		// Everything that it says comes to us by other ways.
		ErrorLog: log.New(io.Discard, "", 0), //nolint:forbidigo // the type that ReverseProxy takes
	}
	return up, nil
}

// Close gives up connections that nobody uses.
func (u *Upstream) Close() {
	u.transport.CloseIdleConnections()
	if u.direct != nil {
		u.direct.CloseIdleConnections()
	}
}

// newDirect makes what carries plain HTTP/1.1; the rest, WebSockets for one, goes
// to t.
func newDirect(c UpstreamConfig, t *http.Transport) *direct.Transport {
	address := c.URL.Host
	if c.URL.Port() == "" {
		address = net.JoinHostPort(c.URL.Hostname(), "80")
	}
	return direct.New(direct.Config{
		Dial:        func(ctx context.Context) (net.Conn, error) { return t.DialContext(ctx, "tcp", address) },
		Fallback:    t,
		HeaderBytes: maxAnswerHeader,
		IdleConns:   idleConns, IdleTime: idleConnTime,
		Conns: directConns, Waiting: waitingRequests, WaitTime: cmp.Or(c.ConnectTimeout, idleConnTime),
		Now: c.Now,
	})
}

func newTransport(c UpstreamConfig) *http.Transport {
	dialer := &net.Dialer{Timeout: c.ConnectTimeout}
	network := func(network, address string) (string, string) { return network, address }
	if c.Socket != "" {
		network = func(string, string) (string, string) { return "unix", c.Socket }
	}
	pieces := &sync.Pool{New: func() any { return new([uploadPiece]byte) }}
	t := &http.Transport{
		// No Proxy: the environment does not decide where requests go.
		DialContext: func(ctx context.Context, n, address string) (net.Conn, error) {
			n, address = network(n, address)
			start := c.Now()
			conn, err := dialer.DialContext(ctx, n, address)
			if c.Dialed != nil {
				c.Dialed(c.Now().Sub(start), err)
			}
			if tcp, ok := conn.(*net.TCPConn); ok {
				return upstreamConn{tcp, pieces}, nil
			}
			return conn, err
		},
		TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    c.ConnectTimeout,
		DisableCompression:     true, // what the app sends passes as it is
		MaxIdleConnsPerHost:    idleConns,
		IdleConnTimeout:        idleConnTime,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxAnswerHeader,
		Protocols:              new(http.Protocols),
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWait},
	}
	switch {
	case c.HTTP2:
		t.Protocols.SetUnencryptedHTTP2(true)
	case c.URL.Scheme == "https":
		t.Protocols.SetHTTP1(true)
		t.Protocols.SetHTTP2(true)
	default:
		t.Protocols.SetHTTP1(true)
	}
	return t
}

// failure says what became of a request that the upstream did not answer: the
// page for it, and a word for the metrics. Neither tells an inner address.
func failure(err error) (page.Problem, string) {
	var timeout interface{ Timeout() bool }
	var op *net.OpError
	slow := errors.As(err, &timeout) && timeout.Timeout()
	dialing := errors.As(err, &op) && op.Op == "dial"
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errInformational), errors.Is(err, errSwitched):
		return page.UpstreamBroken, "invalid"
	case errors.Is(err, direct.ErrBusy):
		return page.UpstreamSlow, "busy"
	case dialing && slow:
		return page.UpstreamSlow, "connect_timeout"
	case dialing:
		return page.UpstreamDown, "connect"
	case slow, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errSilent):
		return page.UpstreamSlow, "timeout"
	case errors.As(err, &cert):
		return page.UpstreamDown, "certificate"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), op != nil:
		return page.UpstreamDown, "closed"
	}
	return page.UpstreamBroken, "invalid"
}

// buffers lends the space in which bodies are copied.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[copyBuffer]byte); ok {
		return p[:]
	}
	return make([]byte, copyBuffer)
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[copyBuffer]byte)(p)) }

// An upstreamConn sends the bodies of requests in larger pieces than net/http's
// Transport would by itself, and lends the space, which is else made for each.
type upstreamConn struct {
	*net.TCPConn
	pieces *sync.Pool
}

// ReadFrom copies until src ends.
func (c upstreamConn) ReadFrom(src io.Reader) (int64, error) {
	piece, _ := c.pieces.Get().(*[uploadPiece]byte)
	defer c.pieces.Put(piece)
	return io.CopyBuffer(struct{ io.Writer }{c.TCPConn}, src, piece[:])
}
