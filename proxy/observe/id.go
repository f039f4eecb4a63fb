package observe

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// RequestIDHeader carries the request id to the upstream, on the wall's own
// pages, and from trusted peers.
const RequestIDHeader = "X-Request-Id"

const maxRequestID = 64

// RequestID returns the id of a request: the one that a trusted peer sent, so
// that both logs can be joined, or 128 fresh random bits. Pass an empty text
// for everybody who is not trusted: a stranger's id in our log would be a
// stranger's text that operators search for. An id is no secret, only unlike any
// other: the runtime's own generator (ChaCha8, seeded by the system) does.
func RequestID(trusted string) string {
	if saneID(trusted) {
		return trusted
	}
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], rand.Uint64())  //nolint:gosec // a name, and its generator is a strong one
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64()) //nolint:gosec // as above
	var text [2 * len(b)]byte
	hex.Encode(text[:], b[:])
	return string(text[:])
}

func saneID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
