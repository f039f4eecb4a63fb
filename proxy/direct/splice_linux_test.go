package direct_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/loginwall/loginwall/proxy/direct"
)

const largeSize = 200_000

// spliced sends a request, reads what was read ahead of the answer's body, and
// returns the rest with its pipe.
func spliced(ctx context.Context, t testing.TB, rt http.RoundTripper) (rest io.ReadCloser, left int64, p *direct.Pipe) {
	t.Helper()
	res, err := rt.RoundTrip(get(ctx, "GET", "/", nil))
	must(t, err)
	t.Cleanup(func() { res.Body.Close() })
	n, err := res.Body.Read(make([]byte, 8<<10)) // not less than is read ahead
	must(t, err)
	return res.Body, largeSize - int64(n), res.Body.(interface{ Splice() *direct.Pipe }).Splice()
}

func large(w *wire) {
	for w.request() {
		w.say(head(fmt.Sprintf("Content-Length: %d\r\n", largeSize), strings.Repeat("x", largeSize)))
	}
}

// Pipes are bounded, and all are closed in the end, whatever is in them.
func TestSpliceIsBounded(t *testing.T) {
	const most = 256
	up := newUpstream(t, "tcp", large)
	_, ours := carriers(up.dial, nil)
	var pipes []*direct.Pipe
	for range most {
		_, _, p := spliced(t.Context(), t, ours)
		if p == nil {
			t.Fatalf("none after %d", len(pipes))
		}
		if _, err := p.Fill(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Fill(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("filled again: %v", err)
		}
		pipes = append(pipes, p)
	}
	body, left, p := spliced(t.Context(), t, ours)
	if p != nil {
		t.Fatal("one more")
	}
	if n, err := io.Copy(io.Discard, body); n != left || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	for _, p := range pipes {
		p.Close()
	}
	if _, _, p := spliced(t.Context(), t, ours); p == nil {
		t.Error("none, though nobody has one")
	} else {
		p.Close()
	}
}

// A body that is given up, or whose request is, ends its pipe.
func TestSpliceEnds(t *testing.T) {
	up := newUpstream(t, "tcp", func(w *wire) {
		w.request()
		w.say(head(fmt.Sprintf("Content-Length: %d\r\n", largeSize), strings.Repeat("x", largeSize/2)))
		w.gone()
	})
	_, ours := carriers(up.dial, nil)
	for _, closes := range []bool{true, false} {
		ctx, cancel := context.WithCancelCause(t.Context())
		body, _, p := spliced(ctx, t, ours)
		to, from := socketPair(t)
		go func() { _, _ = io.Copy(io.Discard, from) }()
		raw, err := to.SyscallConn()
		must(t, err)
		ended := make(chan error)
		go func() {
			var err error
			for err == nil {
				if _, err = p.Fill(); err == nil {
					_, err = p.Empty(raw, func() {})
				}
			}
			p.Close()
			ended <- err
		}()
		if closes {
			body.Close()
		} else {
			cancel(errCause)
		}
		if err := <-ended; !closes && !errors.Is(err, errCause) {
			t.Errorf("canceled: %v", err)
		}
		cancel(nil)
	}
}

// Where the kernel does not do it the body is read, and nobody asks again.
func TestSpliceThatTheKernelRefuses(t *testing.T) {
	up := newUpstream(t, "tcp", large)
	folder, err := os.Open(t.TempDir())
	must(t, err)
	defer folder.Close()
	dial := func(ctx context.Context) (net.Conn, error) {
		conn, err := up.dial(ctx)
		return elsewhere{conn, folder}, err
	}
	_, ours := carriers(dial, nil)
	body, left, p := spliced(t.Context(), t, ours)
	if _, err := p.Fill(); !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("%v", err)
	}
	p.Close()
	if n, err := io.Copy(io.Discard, body); n != left || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, _, p := spliced(t.Context(), t, ours); p != nil {
		t.Error("asked again")
	}
}

// elsewhere is a connection whose descriptor is a folder's.
type elsewhere struct {
	net.Conn
	folder *os.File
}

func (c elsewhere) SyscallConn() (syscall.RawConn, error) { return c.folder.SyscallConn() }
