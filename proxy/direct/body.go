package direct

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math"
	"strconv"
	"strings"
)

// A framing says how the end of a body is known.
type framing int

const (
	byLength framing = iota
	inChunks
	untilClose
)

// A body is what has been read of an answer's body.
type body struct {
	framing framing
	left    int64 // of the body, or of the chunk
	excess  int64 // what chunks carried beside their data, as far as it is too much
	inside  bool  // a chunk was begun, and its end not read
	last    bool  // the last chunk came; there are trailers to read
	err     error // why there is no more to read
}

func (a *answer) readLength(p []byte) (int, error) {
	n, err := a.c.take(p[:min(int64(len(p)), a.left)], true)
	a.left -= int64(n)
	if err == nil && a.left == 0 {
		return n, io.EOF
	}
	return n, unexpected(err)
}

// readChunks reads as many chunks as are there, and waits only for the first.
func (a *answer) readChunks(p []byte) (n int, err error) {
	for n < len(p) {
		if a.left == 0 {
			// Before the next data stand the end of these and a line, which is not long: a
			// buffer that a long head has left may be, and is not searched for each chunk.
			ahead := a.c.buf[a.c.r:min(a.c.w, a.c.r+bufferSize)]
			if n > 0 && (a.last || bytes.Count(ahead, []byte("\n")) < 2) {
				break
			}
			if err := a.nextChunk(); err != nil {
				return n, err
			}
			continue
		}
		if n > 0 && a.c.buffered() == 0 {
			break
		}
		m, err := a.c.take(p[n:][:min(int64(len(p)-n), a.left)], true)
		n += m
		a.left -= int64(m)
		if err != nil {
			return n, unexpected(err)
		}
	}
	return n, nil
}

// nextChunk reads what stands before the next data (RFC 9112, section 7.1), or all
// that is left, and then returns io.EOF.
func (a *answer) nextChunk() error {
	if a.inside {
		if line, err := a.c.line(); err != nil || len(line) > 0 {
			return errors.Join(malformed("chunk"), err)
		}
		a.inside = false
	}
	if a.last {
		if err := a.readTrailers(); err != nil {
			return err
		}
		return io.EOF
	}
	line, err := a.c.line()
	if err != nil {
		return err
	}
	// Whitespace may stand at the end, as with net/http, and not before an extension.
	size, extension, _ := bytes.Cut(bytes.TrimRight(line, " \t"), []byte(";"))
	n, err := strconv.ParseUint(string(size), 16, 63)
	if err != nil || len(size) > 16 || !isValue(string(extension)) {
		return malformed("chunk")
	}
	// A byte at a time is a stream; a page of extensions at a time is an attack.
	a.excess = max(0, a.excess+int64(len(line))-16-2*min(int64(n), math.MaxInt64/4))
	if a.excess > maxExcess {
		return malformed("chunk")
	}
	a.left, a.inside, a.last = int64(n), n > 0, n == 0
	return nil
}

// readTrailers reads to the very end of the answer.
func (a *answer) readTrailers() error {
	for a.c.buffered() < 2 {
		if err := a.c.fill(); err != nil {
			return unexpected(err)
		}
	}
	if string(a.c.buf[a.c.r:a.c.r+2]) == "\r\n" {
		a.c.r += 2
		return nil
	}
	text, err := a.c.section("", maxTrailer)
	if err != nil {
		return err
	}
	fields, err := parseFields(text)
	if err != nil || strings.Count(text, "\n") != strings.Count(text, "\r\n") {
		return errors.Join(malformed("trailer"), err)
	}
	for name := range fields {
		if isFraming(name) {
			return malformed("trailer")
		}
	}
	if a.response.Trailer == nil {
		a.response.Trailer = fields
	} else {
		maps.Copy(a.response.Trailer, fields)
	}
	return nil
}
