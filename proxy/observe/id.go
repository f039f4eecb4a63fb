package observe

import (
	"crypto/rand"
	"encoding/hex"
)

// RequestIDHeader carries the request id to the upstream, on the wall's own
// pages, and from trusted peers.
const RequestIDHeader = "X-Request-Id"

const maxRequestID = 64

// RequestID returns the id of a request: the one that a trusted peer sent, so
// that both logs can be joined, or 128 fresh random bits. Pass an empty text
// for everybody who is not trusted: a stranger's id in our log would be a
// stranger's text that operators search for.
func RequestID(trusted string) string {
	if saneID(trusted) {
		return trusted
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, as crypto/rand documents
	return hex.EncodeToString(b[:])
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
