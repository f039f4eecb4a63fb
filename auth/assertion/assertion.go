// Package assertion is all that upstreams are told about who is calling: it
// takes away what clients claim, and says what the wall has verified.
//
// # Why one package
//
// An app behind the wall believes a header because of its name alone. So the
// list of names that are ours, the removal of everybody else's copies and the
// setting of our own must agree to the letter; whoever adds a header here has it
// removed from requests by the same line.
//
// # Threats
//
//   - Other spellings. CGI, WSGI and PHP turn X-Forwarded-User, X_Forwarded_User
//     and X.Forwarded.User into one variable, so names are folded (see Fold)
//     before they are compared.
//   - Other doors. Trailers become headers in some servers, and a Connection
//     header that names ours would take it away again: Strip covers both.
//   - Silence. A claim that the provider did not make must not leave the client's
//     copy standing: removal is unconditional, only setting depends on a value.
//   - Other proxies' names. Apps trust Remote-User, Cf-Access-Jwt-Assertion and
//     their kin when they have once been behind such a proxy. All of them are
//     removed, whether a profile uses them or not.
//   - Injection. Names and groups come from outside. No value holds a control
//     character, a group holds no delimiter, and an address that nobody has
//     verified is not told at all.
//   - Direct access. A header proves nothing to an upstream that can be reached
//     around the wall. The signed assertion does; the example shows how an
//     upstream verifies it.
package assertion

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/loginwall/loginwall/auth"
)

const (
	// maxTotal bounds all identity headers of one request: servers commonly
	// accept 8 KiB of header, and the client's own share comes out of it too.
	maxTotal = 8 << 10
	// maxTold bounds how many sessions' headers are kept, at about 1 KiB each.
	maxTold = 10_000
	// maxSet bounds Config.Set.
	maxSet = 100
	// signedFor is how long one assertion is reused. With it an assertion that an
	// upstream receives is good for four minutes at least.
	signedFor = time.Minute
)

// A Config says which headers an upstream gets.
type Config struct {
	// Profiles are names of ready-made sets of headers, see Profiles. Where two
	// set the same header the later one wins.
	Profiles []string
	// Set adds or replaces headers: name to template. See Check.
	Set map[string]string
	// PublicURL is the wall's own origin: issuer and audience of the assertion.
	PublicURL string
	// Keys are KeySize secret random bytes each, the current key first. They may
	// be empty when nothing is signed.
	Keys [][]byte
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// A Teller removes what clients claim and says what is known. It is immutable
// but for its cache, and safe for concurrent use.
type Teller struct {
	headers []header
	owned   names
	signer  *signer // nil when no header holds an assertion
	jwks    []byte
	now     func() time.Time
	told    *otter.Cache[*auth.Session, *told]
}

// New compiles c. Its errors say what is wrong with a profile, a name, or a
// template.
func New(c Config) (*Teller, error) {
	t := &Teller{now: c.Now, told: otter.Must(&otter.Options[*auth.Session, *told]{MaximumSize: maxTold})}
	if t.now == nil {
		t.now = time.Now //nolint:forbidigo // the default of the injected clock
	}
	all := profiles()
	for _, set := range all {
		for _, h := range set {
			t.owned.add(Fold(h.name))
		}
	}
	for _, pattern := range wellKnown() {
		t.owned.add(pattern)
	}

	for _, name := range c.Profiles {
		set, ok := all[name]
		if !ok {
			return nil, fmt.Errorf("unknown profile %q (there are %v)", name, Profiles())
		}
		for _, h := range set {
			if err := t.add(h); err != nil {
				return nil, fmt.Errorf("profile %s: %w", name, err)
			}
		}
	}
	if len(c.Set) > maxSet {
		return nil, fmt.Errorf("%d headers to set (want at most %d)", len(c.Set), maxSet)
	}
	folded := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(c.Set)) {
		if other, ok := folded[Fold(name)]; ok {
			return nil, fmt.Errorf("%s and %s are one header to many apps (set only one)", other, name)
		}
		folded[Fold(name)] = name
		if err := checkName(name); err != nil {
			return nil, err
		}
		if err := t.add(header{name: name, template: c.Set[name], delimiter: ","}); err != nil {
			return nil, err
		}
	}

	keys, err := deriveKeys(c.Keys)
	if err != nil {
		return nil, err
	}
	if t.jwks, err = publish(keys); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(t.headers, func(h header) bool { return h.holds("assertion") }) {
		if t.signer, err = newSigner(keys, c.PublicURL); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// add compiles h and puts it into the place of one with the same folded name, if
// there is one.
func (t *Teller) add(h header) (err error) {
	if h.pieces, err = parseTemplate(h.template); err != nil {
		return fmt.Errorf("%s: %w", h.name, err)
	}
	h.name = http.CanonicalHeaderKey(h.name)
	t.owned.add(Fold(h.name))
	same := func(o header) bool { return Fold(o.name) == Fold(h.name) }
	if i := slices.IndexFunc(t.headers, same); i >= 0 {
		t.headers[i] = h
	} else {
		t.headers = append(t.headers, h)
	}
	return nil
}

// Owned reports whether name, in whatever spelling, is one that upstreams take
// for a statement of their proxy. It does not allocate.
func (t *Teller) Owned(name string) bool { return t.owned.has(name) }

// Strip deletes every owned name from h, in all spellings, and from what its
// Connection and Trailer lines announce. It is for the headers and the trailers
// of a request to an upstream, signed in or not; trailers only stand in their
// map when the body has been read.
func (t *Teller) Strip(h http.Header) {
	for name := range h {
		if t.owned.has(name) {
			delete(h, name)
		}
	}
	t.owned.removeFrom(h, "Connection")
	t.owned.removeFrom(h, "Trailer")
}

// Set makes h say who s is. Headers that have no value for s are deleted, so h
// tells nothing about anybody else even if Strip was forgotten.
//
// The values are shared with other requests and must not be changed in place;
// http.Header's own methods never do.
func (t *Teller) Set(h http.Header, s *auth.Session) {
	values := t.Headers(s)
	for i := range t.headers {
		name := t.headers[i].name
		if v, ok := values[name]; ok {
			h[name] = v
		} else {
			delete(h, name)
		}
	}
}

// Headers returns what upstreams are told about s. The map is shared by all
// requests of the session and must not be changed. It is made once per session,
// and once a minute where an assertion is signed. A nil session has no headers.
func (t *Teller) Headers(s *auth.Session) http.Header {
	if s == nil {
		return nil
	}
	// The key is the pointer: sessions are immutable, and no two of them can be
	// mixed up, whatever they contain.
	entry, ok := t.told.GetIfPresent(s)
	if !ok {
		entry, _ = t.told.SetIfAbsent(s, &told{})
	}
	if v := entry.last.Load(); v != nil && t.fresh(v) {
		return v.header
	}
	entry.mu.Lock()
	defer entry.mu.Unlock()
	if v := entry.last.Load(); v != nil && t.fresh(v) {
		return v.header
	}
	v := t.tell(s)
	entry.last.Store(v)
	return v.header
}

// told is the cached answer for one session.
type told struct {
	mu   sync.Mutex // held while an answer is made, so each is made once
	last atomic.Pointer[statement]
}

type statement struct {
	header http.Header
	signed time.Time
}

func (t *Teller) fresh(v *statement) bool {
	if t.signer == nil {
		return true
	}
	age := t.now().Sub(v.signed)
	return age >= 0 && age < signedFor
}

func (t *Teller) tell(s *auth.Session) *statement {
	v := &statement{header: make(http.Header, len(t.headers))}
	var signed string
	if t.signer != nil {
		v.signed = t.now()
		signed = t.signer.sign(s, v.signed)
	}
	total := 0
	for _, h := range t.headers {
		value := h.value(&s.Identity, signed)
		size := len(h.name) + len(": \r\n") + len(value)
		if value == "" || total+size > maxTotal {
			continue
		}
		total += size
		v.header[h.name] = []string{value}
	}
	return v
}

// JWKS returns the JSON Web Key Set (RFC 7517, section 5) with the public keys
// that assertions are signed with: the current one first, then the old ones,
// since another replica may still use them. It is empty when there are no keys.
func (t *Teller) JWKS() []byte { return t.jwks }

// HasAssertion reports whether upstreams get a signed assertion.
func (t *Teller) HasAssertion() bool { return t.signer != nil }
