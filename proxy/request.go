package proxy

import (
	"net/http"
	"strings"

	"github.com/loginwall/loginwall/auth/session"
)

// stripCookies removes our cookies, those of every deployment on this host, from
// the Cookie lines of a request. What is left stays byte for byte as it was, in
// its order; a line that held nothing else goes.
func stripCookies(h http.Header) {
	lines := h["Cookie"]
	kept := lines[:0]
	for _, line := range lines {
		if stripped := stripLine(line); stripped != "" || line == "" {
			kept = append(kept, stripped)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

func stripLine(line string) string {
	if !mentionsUs(line) {
		return line
	}
	var b strings.Builder
	b.Grow(len(line))
	first := true
	for pair := range strings.SplitSeq(line, ";") {
		name, _, _ := strings.Cut(pair, "=")
		if session.IsOurs(strings.TrimFunc(name, notToken)) {
			continue
		}
		if first {
			pair = strings.TrimLeft(pair, " \t")
		} else {
			b.WriteByte(';')
		}
		b.WriteString(pair)
		first = false
	}
	return b.String()
}

// mentionsUs reports whether the family's name stands anywhere in s, in any case:
// a quick no for most lines.
func mentionsUs(s string) bool {
	const name = "loginwall"
	for {
		i := strings.IndexAny(s, "lL")
		if i < 0 || len(s)-i < len(name) {
			return false
		}
		if s = s[i:]; strings.EqualFold(s[:len(name)], name) {
			return true
		}
		s = s[1:]
	}
}

// notToken reports whether r cannot stand in a cookie's name (RFC 6265, section
// 4.1.1). Some parsers skip such bytes around a name, so we do not let them hide
// one.
func notToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("()<>@,;:\\\"/[]?={}", r)
}

// isWebSocket reports whether a request asks for a WebSocket (RFC 6455, section
// 4.1): the one upgrade that is passed on. Any other would make us pipe bytes
// blindly between two parties of which one is not signed in on that protocol:
// "h2c" alone opens a door to every path of the upstream.
func isWebSocket(r *http.Request) bool {
	upgrade := r.Header["Upgrade"]
	return r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ProtoMinor >= 1 &&
		len(upgrade) == 1 && strings.EqualFold(upgrade[0], "websocket") &&
		hasToken(r.Header["Connection"], "upgrade")
}

// hasToken reports whether a comma separated list holds token, in any case.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(item, " \t"), token) {
				return true
			}
		}
	}
	return false
}
