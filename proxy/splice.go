package proxy

import (
	"errors"
	"io"
	"syscall"

	"github.com/loginwall/loginwall/proxy/direct"
)

const (
	// minSplice is the length of an answer from which it pays not to read it.
	minSplice = 96 << 10
	// spliceAfter is how much of it goes the usual way, for net/http holds back the
	// header until it has more than this of the body.
	spliceAfter = 2 << 10
	// largePiece is how much of a large answer is copied at a time: each write to a
	// connection costs, and each is a packet where packets have any size.
	largePiece = 128 << 10
)

// copyRest does with the rest of a large body what ReverseProxy would, but in larger
// pieces.
func (b *answerBody) copyRest() error {
	piece, _ := b.x.up.pieces.Get().(*[largePiece]byte)
	defer b.x.up.pieces.Put(piece)
	for {
		n, err := b.read(piece[:])
		if n > 0 {
			if _, err := b.x.out.Write(piece[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// splice sends the rest of a body from the upstream's socket to the client's inside
// of the kernel. It does nothing, and says so, where something stands between the
// two: TLS, HTTP/2, another transport. What it returns is as from a Read that got
// the last bytes.
func (b *answerBody) splice() (done bool, err error) {
	from, ours := b.ReadCloser.(interface{ Splice() *direct.Pipe })
	to, plain := b.x.out.ResponseWriter.(io.ReaderFrom)
	if !ours || !plain || b.x.r.TLS != nil {
		return false, nil
	}
	r := rest{b: b, pipe: from.Splice()}
	if r.pipe == nil {
		return false, nil
	}
	defer r.pipe.Close()
	n, err := to.ReadFrom(&r)
	b.x.writing.Store(0)
	b.x.out.bytes.Add(n)
	switch {
	case r.err != nil:
		return true, r.err
	case err != nil: // net/http, which cancels requests when a write fails, has not seen it
		b.x.giveUp(err)
		return true, err
	}
	return true, io.EOF
}

// A rest is what is left of an upstream's body. net/http gives it to the client's
// connection, as it is.
type rest struct {
	b    *answerBody
	pipe *direct.Pipe
	err  error // of the upstream
}

// Read is for where it has to be read after all.
func (r *rest) Read(p []byte) (int, error) {
	r.b.x.writing.Store(0)
	n, err := r.b.read(p)
	r.moved()
	if !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// moved tells Live that the client has taken something, and is waited for.
func (r *rest) moved() { r.b.x.writing.Store(r.b.x.h.Live.clock.Load()) }

// sendTo ends with errors.ErrUnsupported where what is left has to be read.
func (r *rest) sendTo(c *guardedConn, to syscall.RawConn) (sent int64, err error) {
	for coming := error(nil); coming == nil; {
		var n int
		r.b.x.writing.Store(0)
		n, coming = r.pipe.Fill()
		switch {
		case errors.Is(coming, errors.ErrUnsupported):
			return sent, coming
		case coming != nil && !errors.Is(coming, io.EOF):
			r.err = coming
		}
		r.b.ended(coming)
		if n > 0 {
			r.moved()
			err = c.guard(func() (int, error) {
				n, err := r.pipe.Empty(to, r.moved)
				sent += int64(n)
				return n, err
			})
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, r.err
}
