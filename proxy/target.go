package proxy

import (
	"net/http"
	"net/url"
	"strings"
)

// A target is what a request asks for, byte for byte as it came: no part of it is
// decoded, cleaned or encoded anew on the way to the upstream.
type target struct {
	// path is escaped as the client escaped it, and begins with a slash.
	path string
	// query is what stands behind the question mark, if there is one.
	query    string
	hasQuery bool
	// raw is all of it.
	raw string
}

// readTarget splits the target of a request line (RFC 9112, section 3.2) that is
// in origin-form or in absolute-form, whose authority net/http has moved to
// r.Host. Everything else is refused: "*", the authority-form of CONNECT, user
// info in an authority. Over HTTP/2, :path has the origin-form alone (RFC 9113,
// section 8.3.1), and nothing but us keeps blanks out of it: in the upstream's
// request line they would end the target, and begin what some take for a version.
func readTarget(r *http.Request) (target, bool) {
	raw := r.RequestURI
	if strings.Contains(raw, " ") {
		return target{}, false
	}
	if !strings.HasPrefix(raw, "/") {
		if r.ProtoMajor != 1 || r.URL.Host == "" || r.URL.User != nil || r.URL.Scheme != "http" && r.URL.Scheme != "https" {
			return target{}, false
		}
		_, raw, _ = strings.Cut(raw, "://")
		end := strings.IndexAny(raw, "/?")
		if end < 0 {
			end = len(raw)
		}
		// An empty path is sent on as "/" (RFC 9112, section 3.2.1).
		if raw = raw[end:]; !strings.HasPrefix(raw, "/") {
			raw = "/" + raw
		}
	}
	t := target{raw: raw}
	t.path, t.query, t.hasQuery = strings.Cut(raw, "?")
	return t, true
}

// put makes u ask for t. Opaque net/url writes out without a look at it, unless it
// begins with two slashes, which mean a host there. Such a path it writes as it is
// given in RawPath, but only where that is a valid encoding: so the one thing that is
// not byte for byte the same is a path that begins with two slashes and holds bytes
// that RFC 3986 does not allow. Those bytes are sent escaped.
func (t target) put(u *url.URL) {
	if strings.HasPrefix(t.path, "//") {
		u.RawQuery, u.ForceQuery = t.query, t.hasQuery
		return
	}
	u.Opaque, u.RawQuery, u.ForceQuery = t.raw, "", false
}
