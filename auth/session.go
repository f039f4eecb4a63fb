package auth

import (
	"crypto/rand"
	"errors"
	"time"
)

// A SessionID names one session: 128 random bits in 26 lower-case letters and
// digits. It opens nothing (the sealed cookie does), so it may stand in logs,
// stores and pages of the directory.
type SessionID string

// NewSessionID returns a fresh one from the system's random source.
func NewSessionID() SessionID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, as crypto/rand documents
	return SessionID(encodeID(b[:]))
}

// Bytes returns the 16 bytes behind the text, for compact sealing.
func (id SessionID) Bytes() ([16]byte, error) {
	var out [16]byte
	b, err := idEncoding.DecodeString(string(id))
	if err != nil || len(b) != len(out) {
		return out, errSessionID
	}
	copy(out[:], b)
	return out, nil
}

// SessionIDFrom is the inverse of Bytes.
func SessionIDFrom(b [16]byte) SessionID { return SessionID(encodeID(b[:])) }

var errSessionID = errors.New("not a session id (want 26 letters and digits)")

// A Session is what the sealed cookie says: who signed in, when, and until when
// at the latest. Times have millisecond precision. The zero value has expired.
type Session struct {
	ID       SessionID
	Identity Identity
	// Created is stamped by the store's clock, as the cut-off of "end all" is, so
	// the two compare right even when a replica's own clock is off.
	Created time.Time
	// LastSeen is when the cookie was last sealed; the idle limit counts from it.
	LastSeen time.Time
	// Expires is the absolute end, whatever the activity: the earlier of what is
	// sealed and what the configuration grants now.
	Expires time.Time
	// SealedUntil is the end inside the seal, where that is later than Expires: as
	// long must be remembered that a session has ended. Else it is zero.
	SealedUntil time.Time
	// OldKey says that an old key opened the cookie, so that it is to be sealed
	// anew at once.
	OldKey bool
}
