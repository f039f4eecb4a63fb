package direct_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loginwall/loginwall/proxy/direct"
)

// patience is how long anything may take; nothing waits this long unless it fails.
const patience = time.Minute

const headerBytes = 256 << 10

// A carrier is one of the two that are compared.
type carrier interface {
	http.RoundTripper
	CloseIdleConnections()
}

// carriers are net/http's Transport, as the wall has it, and ours.
func carriers(dial func(context.Context) (net.Conn, error), change func(*direct.Config)) (standard *http.Transport, ours *direct.Transport) {
	standard = &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true, MaxIdleConnsPerHost: 1024, IdleConnTimeout: patience,
		MaxResponseHeaderBytes: headerBytes,
		Protocols:              new(http.Protocols),
	}
	standard.Protocols.SetHTTP1(true)
	c := direct.Config{
		Dial: dial, Fallback: refuse{}, HeaderBytes: headerBytes, IdleConns: 1024, IdleTime: patience,
		Conns: 1024, Waiting: 1024, WaitTime: patience, Now: time.Now,
	}
	if change != nil {
		change(&c)
	}
	return standard, direct.New(c)
}

// refuse is the fallback where a test means the Transport itself.
type refuse struct{}

var errFellBack = errors.New("handed to the fallback")

func (refuse) RoundTrip(*http.Request) (*http.Response, error) { return nil, errFellBack }

// An upstream runs a script on each connection.
type upstream struct {
	dial func(context.Context) (net.Conn, error)

	mu    sync.Mutex
	seen  []string     // requests
	heard map[int]bool // by the number of a connection: it sent a request, or is over
}

// A script plays the upstream's part on a connection, until it returns.
type script func(*wire)

// A wire is the upstream's end of a connection.
type wire struct {
	net.Conn
	t      testing.TB
	in     *bufio.Reader
	number int    // of the connection, from 1
	last   string // request
	up     *upstream
}

func newUpstream(t testing.TB, network string, play script) *upstream {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		folder, err := os.MkdirTemp("", "direct") //nolint:usetesting // t.TempDir's are too long for a socket
		must(t, err)
		t.Cleanup(func() { os.RemoveAll(folder) })
		address = filepath.Join(folder, "app")
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), network, address)
	must(t, err)
	u := &upstream{heard: map[int]bool{}, dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}}
	var playing sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	playing.Go(func() {
		for number := 1; ; number++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			playing.Go(func() {
				defer conn.Close()
				play(&wire{Conn: conn, t: t, in: bufio.NewReader(conn), number: number, up: u})
				u.mu.Lock()
				u.heard[number] = true
				u.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		playing.Wait()
	})
	return u
}

// request reads one, notes it, and reports whether there was one that is whole.
func (w *wire) request() bool {
	req, err := http.ReadRequest(w.in)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(req.Body)
	w.note(req, string(body), err)
	return err == nil
}

// head reads a request down to its body.
func (w *wire) head() bool {
	req, err := http.ReadRequest(w.in)
	if err == nil {
		w.note(req, "unread", nil)
	}
	return err == nil
}

func (w *wire) note(req *http.Request, body string, err error) {
	var fields bytes.Buffer
	_ = req.Header.Write(&fields)
	w.last = fmt.Sprintf("%s %s %s\n%slength %d %v\nbody %.60q (%d) %v\ntrailer %v", req.Method, req.RequestURI, req.Host,
		strings.ReplaceAll(fields.String(), "\r", ""), req.ContentLength, req.TransferEncoding, body, len(body), err, req.Trailer)
	w.up.mu.Lock()
	defer w.up.mu.Unlock()
	w.up.heard[w.number] = true
	w.up.seen = append(w.up.seen, w.last)
}

// until waits until so many connections have been heard, which may be after another
// one was answered, and returns what they asked for, the first request in front.
func (u *upstream) until(t testing.TB, connections int) []string {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		u.mu.Lock()
		heard, seen := 0, slices.Clone(u.seen)
		for number := range connections {
			if u.heard[number+1] {
				heard++
			}
		}
		u.mu.Unlock()
		if heard == connections {
			slices.SortStableFunc(seen, func(a, b string) int {
				return cmp.Compare(strings.Count(a, " /second "), strings.Count(b, " /second "))
			})
			return seen
		}
	}
	t.Errorf("not all of %d connections were heard", connections)
	return nil
}

func (w *wire) say(text string) {
	_, _ = io.WriteString(w, text) // the other side may be gone, as some tests want
}

// gone waits for the other side to close.
func (w *wire) gone() {
	_ = w.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, w.in); errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Error("the connection stays open")
	}
}

// reset closes without a farewell.
func (w *wire) reset() {
	if tcp, ok := w.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	w.Close()
}

// An outcome is all that a client gets to see, and what the upstream saw.
type outcome struct {
	Status, Proto string
	Code          int
	Header        http.Header
	Length        int64
	Coding        []string
	Body          string
	BodyErr       string
	Trailer       http.Header
	Informational []string
	Err           string
	Close         bool
}

// kind is as much of an error as both have to agree on.
func kind(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, errCause):
		return "cause"
	case errors.Is(err, errBody):
		return "request body"
	case errors.Is(err, direct.ErrBusy):
		return "busy"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return "failed"
}

var (
	errCause = errors.New("the cause that was given")
	errBody  = errors.New("the body cannot be read")
)

// carry sends a request and reads all of the answer.
func carry(rt http.RoundTripper, req *http.Request) outcome { return carryAnd(io.ReadAll, rt, req) }

// carryAnd reads the body in another way.
func carryAnd(readAll func(io.Reader) ([]byte, error), rt http.RoundTripper, req *http.Request) outcome {
	var o outcome
	var mu sync.Mutex // net/http may call the hook when it has returned
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			mu.Lock()
			defer mu.Unlock()
			delete(h, "Connection") // as below
			o.Informational = append(o.Informational, fmt.Sprint(code, h))
			return nil
		},
	}))
	res, err := rt.RoundTrip(req)
	mu.Lock()
	defer mu.Unlock()
	if o.Err = kind(err); err != nil {
		return o
	}
	defer res.Body.Close()
	o.Status, o.Proto, o.Code, o.Length, o.Coding, o.Close = res.Status, res.Proto, res.StatusCode, res.ContentLength, res.TransferEncoding, res.Close
	o.Header = maps.Clone(res.Header)
	// net/http takes the field away where it says close, and with it what else it
	// says; a proxy has to know.
	delete(o.Header, "Connection")
	body, err := readAll(res.Body)
	o.Body, o.BodyErr, o.Trailer = string(body), kind(err), maps.Clone(res.Trailer)
	return o
}

// splicing has as much of a body as it can go through pipes, to a connection.
func splicing(t testing.TB) func(io.Reader) ([]byte, error) {
	return func(body io.Reader) (all []byte, err error) {
		spliced, ok := body.(interface{ Splice() *direct.Pipe })
		if !ok {
			return io.ReadAll(body)
		}
		for buf := make([]byte, 1<<10); err == nil; {
			p := spliced.Splice()
			if p == nil {
				var n int
				n, err = body.Read(buf)
				all = append(all, buf[:n]...)
				continue
			}
			to, from := socketPair(t)
			raw, failed := to.SyscallConn()
			must(t, failed)
			came := make(chan []byte)
			go func() {
				b, _ := io.ReadAll(from)
				came <- b
			}()
			sent, moved := 0, 0
			for err == nil {
				var n int
				n, err = p.Fill()
				sent += n
				if m, failed := p.Empty(raw, func() { moved++ }); failed != nil || m != n {
					t.Errorf("%d of %d bytes left the pipe: %v", m, n, failed)
				}
			}
			p.Close()
			to.Close()
			all = append(all, <-came...)
			if sent > 0 && moved == 0 {
				t.Error("nobody heard that something moved")
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return all, err
	}
}

func socketPair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	defer l.Close()
	a, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	must(t, err)
	b, err = l.AcceptTCP()
	must(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get(ctx context.Context, method, path string, body io.Reader) *http.Request {
	req, err := http.NewRequestWithContext(ctx, method, "http://app.test"+path, body)
	if err != nil {
		panic(err)
	}
	req.GetBody = nil // the server's requests have none
	req.Header.Set("User-Agent", "test")
	return req
}
