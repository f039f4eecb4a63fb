package direct

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
)

const (
	// minSplice is how much must be left of a body for a pipe to pay, in bytes, and
	// maxSplice how much of it is asked for at a time; the pipe takes less.
	minSplice, maxSplice = 64 << 10, 1 << 20
	// maxPipes bounds the pipes in use: each takes two descriptors, and keeps what a
	// slow client has not taken yet. Beyond it bodies are copied.
	maxPipes = 256
	// pipeSize is what a pipe is asked to hold, in bytes. With the kernel's usual 64 KiB
	// the app is woken for each of them, which costs it more than it saves us.
	pipeSize = 256 << 10
)

// pipes says how many are in use, and whether the kernel does not let us have any.
type pipes struct {
	used    atomic.Int32
	useless atomic.Bool
}

// A Pipe carries the rest of one body from the upstream's socket to another inside of
// the kernel, by splice(2). One goroutine at a time may use it. It exists on Linux.
type Pipe struct {
	out, in int // its two ends
	held    int // how much is in it, in bytes
	all     *pipes
	a       *answer
}

// Splice returns what carries the rest of the body, or nil where that has to be read:
// its length must be known and large, and nothing of it read ahead. The Pipe must be
// closed. Read may be called where the pipe is empty, and goes on from there.
func (a *answer) Splice() *Pipe {
	all := &a.c.t.pipes
	if a.framing != byLength || a.left < minSplice || a.err != nil || a.c.buffered() > 0 || a.c.raw == nil || all.useless.Load() {
		return nil
	}
	var ends [2]int
	if all.used.Add(1) > maxPipes || syscall.Pipe2(ends[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK) != nil {
		all.used.Add(-1)
		return nil
	}
	const setSize = 1031 // F_SETPIPE_SZ
	// Where the kernel refuses, the pipe works as it is.
	_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, uintptr(ends[1]), setSize, pipeSize)
	return &Pipe{out: ends[0], in: ends[1], all: all, a: a}
}

// Fill waits for more of the body, and says how much has come. Like Read it returns
// io.EOF with the last bytes. It returns errors.ErrUnsupported, and has done nothing,
// where the body has to be read after all. The pipe must be empty.
func (p *Pipe) Fill() (n int, err error) {
	a := p.a
	switch {
	case a.closed.Load():
		return 0, http.ErrBodyReadAfterClose
	case a.err != nil:
		return 0, a.err
	case a.c.buffered() > 0 || p.held > 0:
		return 0, errors.ErrUnsupported
	}
	var moving error
	err = a.c.raw.Read(func(fd uintptr) bool {
		n, moving = splice(int(fd), p.in, int(min(a.left, maxSplice)))
		return moving != syscall.EAGAIN //nolint:errorlint // a system call's own number
	})
	p.held += n
	a.left -= int64(n)
	switch {
	case err != nil:
	case errors.Is(moving, syscall.EINVAL), errors.Is(moving, syscall.EPERM), errors.Is(moving, errors.ErrUnsupported):
		p.all.useless.Store(true)
		return 0, errors.ErrUnsupported
	case moving != nil:
		err = &net.OpError{Op: "read", Net: "upstream", Err: os.NewSyscallError("splice", moving)}
	case n == 0:
		err = io.ErrUnexpectedEOF
	case a.left == 0:
		err = io.EOF
	}
	return a.moved(n, err)
}

// Empty moves what is in the pipe to a socket, and says how much went, also where it
// fails: after a deadline it may be called again. It calls moved whenever something
// went.
func (p *Pipe) Empty(to syscall.RawConn, moved func()) (sent int, err error) {
	var moving error
	err = to.Write(func(fd uintptr) bool {
		for p.held > 0 {
			var n int
			if n, moving = splice(p.out, int(fd), p.held); n == 0 {
				return moving != syscall.EAGAIN //nolint:errorlint // as above
			}
			p.held -= n
			sent += n
			moved()
		}
		return true
	})
	if err == nil && p.held > 0 {
		// Of whatever kind it is: who took it for errors.ErrUnsupported would go on behind a gap.
		err = fmt.Errorf("splice: %v", cmp.Or(moving, io.ErrShortWrite)) //nolint:errorlint // as above
	}
	return sent, err
}

// Close ends the pipe, with what is in it. It is not used again: what one answer
// leaves behind would be the beginning of another, and a new one costs next to
// nothing.
func (p *Pipe) Close() {
	_, _ = syscall.Close(p.out), syscall.Close(p.in)
	p.all.used.Add(-1)
}

// splice moves bytes between a socket and a pipe, and waits for neither.
func splice(from, to, most int) (int, error) {
	const nonBlocking = 2 // SPLICE_F_NONBLOCK
	for {
		n, err := syscall.Splice(from, nil, to, nil, most, nonBlocking)
		if err != syscall.EINTR { //nolint:errorlint // as above
			return int(max(n, 0)), err
		}
	}
}
