package session

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/loginwall/loginwall/auth"
)

// The sealed form of a session, big-endian:
//
//	version   1 byte
//	flags     1 byte
//	id       16 bytes
//	created, last seen, expires   8 bytes each, milliseconds since 1970
//	issuer, subject, email, hosted domain, name, picture   length and bytes each
//	groups    count, then length and bytes each
//
// Lengths and the count are unsigned varints.
const (
	version      = 1
	flagVerified = 1
	fixedSize    = 1 + 1 + 16 + 3*8
)

var errEncoding = errors.New("not the encoding of a session")

func encode(s *auth.Session) ([]byte, error) {
	id, err := s.ID.Bytes()
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 512)
	flags := byte(0)
	if s.Identity.EmailVerified {
		flags |= flagVerified
	}
	out = append(out, version, flags)
	out = append(out, id[:]...)
	for _, t := range []time.Time{s.Created, s.LastSeen, sealedEnd(s)} {
		out = binary.BigEndian.AppendUint64(out, uint64(t.UnixMilli()))
	}
	for _, text := range texts(&s.Identity) {
		out = appendText(out, *text)
	}
	out = binary.AppendUvarint(out, uint64(len(s.Identity.Groups)))
	for _, group := range s.Identity.Groups {
		out = appendText(out, group)
	}
	return out, nil
}

// texts lists the fields in the order of the encoding.
func texts(id *auth.Identity) [6]*string {
	return [...]*string{&id.Issuer, &id.Subject, &id.Email, &id.HostedDomain, &id.Name, &id.Picture}
}

func appendText(out []byte, text string) []byte {
	out = binary.AppendUvarint(out, uint64(len(text)))
	return append(out, text...)
}

// decode is the inverse of encode. What it is given has been opened, so it was
// made by some version of this program; all the same nothing is assumed of it.
func decode(in []byte) (*auth.Session, error) {
	if len(in) < fixedSize || in[0] != version || in[1]&^flagVerified != 0 {
		return nil, errEncoding
	}
	s := &auth.Session{
		ID:       auth.SessionIDFrom([16]byte(in[2:18])),
		Created:  millis(in[18:]),
		LastSeen: millis(in[26:]),
		Expires:  millis(in[34:]),
	}
	s.Identity.EmailVerified = in[1] == flagVerified
	r := reader{in: in[fixedSize:]}
	for _, text := range texts(&s.Identity) {
		*text = r.text()
	}
	count := r.number()
	if count > uint64(len(r.in)) { // each takes a byte at least
		return nil, errEncoding
	}
	for range count {
		s.Identity.Groups = append(s.Identity.Groups, r.text())
	}
	if r.failed || len(r.in) != 0 {
		return nil, errEncoding
	}
	return s, nil
}

func millis(in []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(in)))
}

// A reader takes parts from the front of in. After a failure all are empty.
type reader struct {
	in     []byte
	failed bool
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.in)
	if size <= 0 || r.failed {
		r.failed = true
		return 0
	}
	r.in = r.in[size:]
	return n
}

func (r *reader) text() string {
	n := r.number()
	if r.failed || n > uint64(len(r.in)) {
		r.failed = true
		return ""
	}
	text := string(r.in[:n])
	r.in = r.in[n:]
	return text
}
