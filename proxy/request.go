package proxy

import (
	"net/http"
	"strings"

	"github.com/loginwall/loginwall/auth/session"
)

// ownFields is how many header fields the wall adds, at most times.
const ownFields = 9

// endToEnd returns the header of a request to the upstream: the client's, without
// what was meant for the wall alone (RFC 9110, section 7.6.1), without what claims
// to say who is calling, and without our cookies. It is made anew, and there is
// room for what the wall itself has to say. The values are shared with in.
func (h *Handler) endToEnd(in http.Header) http.Header {
	out := make(http.Header, len(in)+ownFields)
	for name, values := range in {
		if !isHopByHop(name) && !h.Teller.Owned(name) {
			out[name] = values
		}
	}
	for _, line := range in["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			delete(out, http.CanonicalHeaderKey(strings.Trim(name, " \t")))
		}
	}
	if hasToken(in["Te"], "trailers") {
		out["Te"] = []string{"trailers"} // gRPC asks for it, and we do pass trailers on
	}
	if lines, ok := out["Cookie"]; ok {
		if kept := stripCookies(lines); len(kept) > 0 {
			out["Cookie"] = kept
		} else {
			delete(out, "Cookie")
		}
	}
	return out
}

// isHopByHop reports whether a field is for one hop even if Connection does not
// name it.
func isHopByHop(name string) bool {
	switch name {
	case "Connection", "Http2-Settings", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// stripCookies takes our cookies, those of every deployment on this host, out of
// the Cookie lines of a request. What is left stays byte for byte as it was, in
// its order; a line that held nothing else goes.
func stripCookies(lines []string) (kept []string) {
	for _, line := range lines {
		if stripped := stripLine(line); stripped != "" {
			kept = append(kept, stripped)
		}
	}
	return kept
}

func stripLine(line string) string {
	if !mentionsUs(line) {
		return line
	}
	// Pairs that stay side by side are taken together, so that mostly nothing is
	// copied.
	var kept string
	from, to := -1, -1
	for at := 0; at <= len(line); {
		end := at + len(line[at:])
		if i := strings.IndexByte(line[at:], ';'); i >= 0 {
			end = at + i
		}
		name, _, _ := strings.Cut(line[at:end], "=")
		switch {
		case session.IsOurs(strings.TrimFunc(name, notToken)):
		case from >= 0 && at == to+1:
			to = end
		default:
			kept = joinPairs(kept, line, from, to)
			from, to = at, end
		}
		at = end + 1
	}
	return joinPairs(kept, line, from, to)
}

func joinPairs(kept, line string, from, to int) string {
	switch {
	case from < 0:
		return kept
	case kept == "":
		return strings.TrimLeft(line[from:to], " \t")
	}
	return kept + ";" + line[from:to]
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
		len(upgrade) == 1 && len(upgrade[0]) == len("websocket") && strings.EqualFold(upgrade[0], "websocket") && // no long s
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
