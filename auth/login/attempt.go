package login

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth/oidc"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/seal"
)

const (
	// maxAttempts and maxAttemptBytes bound what one browser carries for us; the
	// oldest attempts give way (many tabs after a night are ordinary, and a header
	// over the upstream's limit is an outage).
	maxAttempts     = 10
	maxAttemptBytes = 4096
	// maxDeletions bounds the Set-Cookie lines of one answer.
	maxDeletions = 20

	attemptVersion = 3
	attemptMark    = "-a-"
	idLength       = 8 // characters of the state that name the attempt's cookie
	randomBytes    = 32
)

// An attempt is a login that has begun: what its cookie carries, sealed, until
// the provider sends the browser back (RFC 6749, section 10.12; RFC 7636; OpenID
// Connect Core 1.0, section 3.1.2.1). Nothing of it is kept on our side.
type attempt struct {
	state, nonce, verifier [randomBytes]byte
	created, expires       time.Time
	issuer                 string
	target                 string
	kind                   kind
	hint                   hint
}

// A kind is what an attempt asks of the provider.
type kind byte

const (
	plain  kind = iota
	choose      // to offer other accounts
	again       // to have the person prove once more who it is
)

func newAttempt(issuer string, target page.Target, h hint, timeout time.Duration) attempt {
	a := attempt{created: h.began, expires: h.began.Add(timeout), issuer: issuer, target: target.String(), hint: h}
	for _, b := range []*[randomBytes]byte{&a.state, &a.nonce, &a.verifier} {
		_, _ = rand.Read(b[:]) // never fails, as crypto/rand documents
	}
	return a
}

// text is unpadded base64url: 43 characters, the length that RFC 7636, section
// 4.1, recommends for a verifier.
func text(b [randomBytes]byte) string { return base64.RawURLEncoding.EncodeToString(b[:]) }

func (a *attempt) expired(now time.Time) bool { return !now.Before(a.expires) }

func (a *attempt) id() string { return text(a.state)[:idLength] }

// parameter is the state as it travels, the hint included.
func (a *attempt) parameter() string { return text(a.state) + hintMark + a.hint.String() }

// matches compares the whole parameter, in constant time.
func (a *attempt) matches(state string) bool {
	return subtle.ConstantTimeCompare([]byte(a.parameter()), []byte(state)) == 1
}

func (a *attempt) request() oidc.Attempt {
	return oidc.Attempt{
		State: a.parameter(), Nonce: text(a.nonce), Verifier: text(a.verifier),
		SelectAccount: a.kind == choose, Again: a.kind == again,
	}
}

func (a *attempt) encode() []byte {
	b := []byte{attemptVersion, byte(a.kind), byte(a.hint.round), 0}
	if a.hint.plain {
		b[3] = 1
	}
	b = append(b, a.state[:]...)
	b = append(b, a.nonce[:]...)
	b = append(b, a.verifier[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(a.created.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(a.expires.UnixMilli()))
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.issuer)))
	b = append(b, a.issuer...)
	return append(b, a.target...)
}

var errAttempt = errors.New("not an attempt of this version")

func decodeAttempt(b []byte) (attempt, error) {
	const fixed = 4 + 3*randomBytes + 8 + 8 + 2
	if len(b) < fixed || b[0] != attemptVersion {
		return attempt{}, errAttempt
	}
	a := attempt{kind: kind(b[1]), hint: hint{round: int(b[2]), plain: b[3] == 1}}
	b = b[4:]
	for _, dst := range []*[randomBytes]byte{&a.state, &a.nonce, &a.verifier} {
		b = b[copy(dst[:], b):]
	}
	a.created = time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
	a.expires = time.UnixMilli(int64(binary.BigEndian.Uint64(b[8:])))
	a.hint.began = a.created
	n := int(binary.BigEndian.Uint16(b[16:]))
	b = b[18:]
	if len(b) < n {
		return attempt{}, errAttempt
	}
	a.issuer, a.target = string(b[:n]), string(b[n:])
	return a, nil
}

// attempts keeps attempts in the browser, each in a cookie of its own, so that
// tabs do not collide.
type attempts struct {
	box    *seal.Box
	prefix string // the session cookie's name and attemptMark
	now    func() time.Time
	// cookie writes a Set-Cookie line with the session cookie's attributes.
	cookie func(name, value string, lifetime time.Duration) string
}

// held is an attempt cookie of ours as the browser sent it.
type held struct {
	attempt
	name string
	size int
}

// read sorts the request's attempt cookies: those that open and have not expired,
// and the names of those to be deleted. What was sealed for another deployment is
// neither.
func (s *attempts) read(r *http.Request) (open []held, dead []string) {
	for _, c := range r.Cookies() {
		id, ours := strings.CutPrefix(c.Name, s.prefix)
		if !ours {
			continue
		}
		plain, _, err := s.box.Open(c.Value)
		if errors.Is(err, seal.ErrAudience) {
			continue
		}
		var a attempt
		if err == nil {
			a, err = decodeAttempt(plain)
		}
		if err != nil || a.id() != id || a.expired(s.now()) {
			if len(dead) < maxDeletions && !slices.Contains(dead, c.Name) {
				dead = append(dead, c.Name)
			}
			continue
		}
		open = append(open, held{a, c.Name, len(c.Name) + len(c.Value)})
	}
	return open, dead
}

// find returns the attempt that a callback's state belongs to, even if it has
// expired: a browser may keep a cookie for longer than it was told.
func (s *attempts) find(r *http.Request, state string) (attempt, bool) {
	for _, c := range r.Cookies() {
		id, ours := strings.CutPrefix(c.Name, s.prefix)
		if !ours || !strings.HasPrefix(state, id) {
			continue
		}
		plain, _, err := s.box.Open(c.Value)
		if err != nil {
			continue
		}
		if a, err := decodeAttempt(plain); err == nil && a.id() == id && a.matches(state) {
			return a, true
		}
	}
	return attempt{}, false
}

// add sets the cookie of a new attempt and deletes those that must give way.
func (s *attempts) add(w http.ResponseWriter, r *http.Request, a attempt) error {
	value, err := s.box.Seal(a.encode())
	if err != nil {
		return err
	}
	name := s.prefix + a.id()
	open, dead := s.read(r)
	slices.SortFunc(open, func(x, y held) int { return x.created.Compare(y.created) })
	count, size := len(open)+1, len(name)+len(value)
	for _, h := range open {
		size += h.size
	}
	for _, h := range open {
		if count <= maxAttempts && size <= maxAttemptBytes {
			break
		}
		dead = append(dead, h.name)
		count, size = count-1, size-h.size
	}
	for _, name := range dead {
		s.delete(w, name)
	}
	s.set(w, name, value, a.expires.Sub(a.created))
	return nil
}

// clear deletes the cookie of the attempt that a state names.
func (s *attempts) clear(w http.ResponseWriter, a *attempt) { s.delete(w, s.prefix+a.id()) }

func (s *attempts) delete(w http.ResponseWriter, name string) { s.set(w, name, "", 0) }

func (s *attempts) set(w http.ResponseWriter, name, value string, lifetime time.Duration) {
	w.Header().Add("Set-Cookie", s.cookie(name, value, lifetime))
}
