package page

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxTarget bounds a return target, which travels in a sealed cookie of at most
// 4 KiB together with the rest of a login attempt.
const maxTarget = 1800

// ownPrefix is where loginwall's own endpoints live.
const ownPrefix = "/_auth/"

// A Target is where somebody wants to be after the login: a path and a query on
// our own origin. The zero value is "/". Targets can be compared.
type Target struct{ text string }

// String returns the target in the form that ParseTarget takes.
func (t Target) String() string {
	if t.text == "" {
		return "/"
	}
	return t.text
}

// ParseTarget reads a return target, as a stranger may have written it, and
// never fails: what is not plainly a path on our origin becomes "/". The path
// and the query are rebuilt byte by byte, so a deep link keeps its query as it
// was; the fragment, which browsers do not send, is dropped.
//
// Refused are: anything that does not begin with one slash; control characters,
// backslashes, dot segments (also encoded ones) and broken escapes in the path,
// none of which a browser sends, and which parsers read differently; text that is
// not UTF-8; what grows beyond 1,800 bytes; and everything below /_auth/ but the
// pages that people open there (ownPage), since a login that ends at another login
// or at a sign-out would lead in circles.
func ParseTarget(s string) Target {
	if len(s) > maxTarget || !utf8.ValidString(s) || strings.ContainsFunc(s, isControl) {
		return Target{}
	}
	s, _, _ = strings.Cut(s, "#")
	path, query, hasQuery := strings.Cut(s, "?")
	if !plainPath(path) {
		return Target{}
	}
	out := make([]byte, 0, len(s)+16)
	out = appendEscaped(out, path)
	if hasQuery {
		out = append(out, '?')
		out = appendEscaped(out, query)
	}
	if len(out) > maxTarget || string(out) == "/" {
		return Target{}
	}
	return Target{string(out)}
}

// isControl includes U+0080 to U+009F and the separators U+2028 and U+2029,
// which some readers take for the end of a line.
func isControl(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029'
}

func plainPath(path string) bool {
	if strings.Contains(path, `\`) {
		return false
	}
	decoded, err := url.PathUnescape(path)
	if err != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(decoded, "//") || strings.HasPrefix(decoded, `/\`) {
		return false
	}
	for segment := range strings.SplitSeq(decoded, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	if decoded+"/" == ownPrefix || strings.HasPrefix(decoded, ownPrefix) {
		return ownPage(path)
	}
	return true
}

// ownPage names the pages below /_auth/ that somebody wants to come back to: the
// account page, the end of a sign-in in a small window, and the directory. They change nothing when they are opened, and
// only their one spelling is meant.
func ownPage(path string) bool {
	return path == ownPrefix || path == ownPrefix+"signed-in" || path == ownPrefix+"users" || strings.HasPrefix(path, ownPrefix+"users/")
}

// appendEscaped copies what may stand in a Location as it is and escapes what a
// browser would escape too before it sends it on.
func appendEscaped(out []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' || c == '\\':
			out = append(out, '%', hex[c>>4], hex[c&15])
		default:
			out = append(out, c)
		}
	}
	return out
}

// A Location is an address that we may redirect to. Only this package makes one;
// the zero value leads nowhere, and Redirect refuses it.
type Location struct{ url string }

// String returns the absolute address.
func (l Location) String() string { return l.url }

// Local returns the address of t on public_url. It is absolute on purpose: behind
// scheme and host no path can be taken for another host.
func (p *Pages) Local(t Target) Location { return Location{p.origin + t.String()} }

// Own returns the address of one of our own endpoints, such as "login" or
// "signed-out", with a query where there is one.
func (p *Pages) Own(endpoint string, query url.Values) Location {
	u := p.origin + ownPrefix + string(appendEscaped(nil, endpoint))
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	return Location{u}
}

// Login returns the address that starts a login that ends at t, and asks for
// another account where change is set.
func (p *Pages) Login(t Target, change bool) Location {
	query := url.Values{"to": {t.String()}}
	if change {
		query.Set("switch", "1")
	}
	return p.Own("login", query)
}

// LoginAgain returns the address that starts a login which asks a person who is
// signed in to prove it once more, and ends at t.
func (p *Pages) LoginAgain(t Target) Location {
	return p.Own("login", url.Values{"to": {t.String()}, "again": {"1"}})
}

// ProviderURL makes a Location of the provider's authorization address, with our
// request in its query. The address comes out of the provider's discovery
// document, so it is held to what such an address can be: absolute, http or
// https, printable ASCII, without user info.
func ProviderURL(raw string) (Location, error) {
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return Location{}, errors.New("the provider's address holds bytes that no address may hold")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return Location{}, errors.New("the provider's address cannot be read")
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Opaque != "" {
		return Location{}, fmt.Errorf("the provider's address is no http(s) address: scheme %q, host %q", u.Scheme, u.Host)
	}
	return Location{raw}, nil
}
