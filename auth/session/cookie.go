package session

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	baseName   = "loginwall"
	hostPrefix = "__Host-"
)

// NameFor returns the name of the session cookie: with the prefix that binds it
// to one host and to TLS (RFC 6265bis, section 4.1.3.2) where public_url is
// https, and with the port where public_url names one, since cookies do not keep
// ports apart.
func NameFor(publicURL *url.URL) string {
	name := baseName
	if publicURL.Scheme == "https" {
		name = hostPrefix + name
	}
	if port := publicURL.Port(); port != "" {
		name += "-" + port
	}
	return name
}

// IsOurs reports whether a cookie's name is of our family: any deployment's
// session cookie or what is named after one. The upstream may neither see such a
// cookie nor set it. Case is ignored: some cookie parsers do so too.
func IsOurs(cookieName string) bool {
	cookieName, _ = cutPrefixFold(cookieName, hostPrefix)
	rest, found := cutPrefixFold(cookieName, baseName)
	return found && (rest == "" || rest[0] == '-')
}

func cutPrefixFold(s, prefix string) (rest string, found bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// maxValues is how many different values of one name are looked at. A browser
// sends one; a second can only be of another deployment or planted.
const maxValues = 4

// scan finds the values of a cookie in the lines of a request's Cookie header, as
// browsers write them (RFC 6265bis, section 5.8.3): pairs between semicolons, and
// space or tab around a pair. The name must match byte for byte, and the value is
// taken as it stands, quotes included. Equal values count once. It returns how
// many it found; more than fit in found means that it gave up.
//
// The work is linear in the length of the lines, and looks at nothing but
// occurrences of the name.
func scan(lines []string, name string, found *[maxValues]string) int {
	n := 0
	for _, line := range lines {
		for at := 0; at < len(line); {
			i := strings.Index(line[at:], name)
			if i < 0 {
				break
			}
			start := at + i
			at = start + len(name)
			if at == len(line) || line[at] != '=' || !startsPair(line[:start]) {
				continue
			}
			value, _, _ := strings.Cut(line[at+1:], ";")
			at += 1 + len(value)
			value = strings.TrimRight(value, " \t")
			if slices.Contains(found[:n], value) {
				continue
			}
			if n == len(found) {
				return n + 1
			}
			found[n] = value
			n++
		}
	}
	return n
}

// startsPair reports whether a pair may begin after this part of a line.
func startsPair(before string) bool {
	before = strings.TrimRight(before, " \t")
	return before == "" || before[len(before)-1] == ';'
}

// SetCookie returns the value of a Set-Cookie header with the attributes that all
// our cookies have: for the whole site, for no script, for no other site's posts,
// for this host alone, and over TLS alone where public_url is https. maxAge is
// rounded up to seconds; zero or less deletes the cookie. The value must be of
// the alphabet of base64url.
func (k *Keeper) SetCookie(name, value string, maxAge time.Duration) string {
	seconds := max(0, (maxAge+time.Second-1)/time.Second)
	text := name + "=" + value + "; Path=/; Max-Age=" + strconv.FormatInt(int64(seconds), 10) + "; HttpOnly; SameSite=Lax"
	if seconds == 0 {
		// Not every client that keeps cookies takes a Max-Age of zero for a deletion.
		text += "; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
	}
	if k.secure {
		text += "; Secure"
	}
	return text
}
