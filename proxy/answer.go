package proxy

import (
	"net/http"
	"strings"

	"github.com/loginwall/loginwall/auth/session"
)

// cleanHeader takes out of an upstream's header, informational or final, or its
// trailers, what is not the upstream's to say: nothing that it answers may set or
// clear a cookie of ours, or pass for an answer of the wall.
func cleanHeader(h http.Header) {
	delete(h, "X-Loginwall")
	if lines, ok := h["Set-Cookie"]; ok {
		cleanSetCookie(h, lines)
	}
	if lines, ok := h["Clear-Site-Data"]; ok {
		cleanClearSiteData(h, lines)
	}
}

func cleanSetCookie(h http.Header, lines []string) {
	kept := lines[:0]
	for _, line := range lines {
		if !setsOurs(line) {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Set-Cookie")
		return
	}
	h["Set-Cookie"] = kept
}

// setsOurs reports whether a browser that reads this Set-Cookie line (RFC
// 6265bis, section 5.7) could afterwards send a cookie that anybody reads as one
// of ours. Browsers take a line without "=", or with nothing before it, as a
// cookie without a name, and send its value alone: "=loginwall=x" comes back as
// "loginwall=x". So what counts is the first name that shows in the pair.
func setsOurs(line string) bool {
	if !mentionsUs(line) {
		return false
	}
	pair, _, _ := strings.Cut(line, ";")
	// notToken includes "=", so empty names in front fall away.
	pair = strings.TrimLeftFunc(pair, notToken)
	name, _, _ := strings.Cut(pair, "=")
	return session.IsOurs(strings.TrimRightFunc(name, notToken))
}

// cleanClearSiteData takes the cookies out of Clear-Site-Data (W3C Clear Site
// Data, section 3.1). Everything ("*") becomes everything but them.
func cleanClearSiteData(h http.Header, lines []string) {
	var kept []string
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			item = strings.Trim(item, " \t")
			switch strings.ToLower(strings.Trim(item, `"`)) {
			case "", "cookies":
			case "*":
				kept = append(kept, `"cache"`, `"storage"`)
			default:
				kept = append(kept, item)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, "Clear-Site-Data")
		return
	}
	h["Clear-Site-Data"] = []string{strings.Join(kept, ", ")}
}

// makePrivate keeps shared caches from storing what a protected route answers,
// whatever the app said: in Cache-Control (RFC 9111, section 5.2.2), or in one of
// the fields by which it speaks to a cache in front past Cache-Control (RFC 9213,
// and what came before it).
func makePrivate(h http.Header) {
	for name := range h {
		switch name {
		case "Surrogate-Control", "Edge-Control", "X-Accel-Expires", "X-Litespeed-Cache-Control":
			delete(h, name)
		default:
			// CDN-Cache-Control, and that of a single CDN: Vercel-CDN-Cache-Control.
			if len(name) >= len("Cdn-Cache-Control") && strings.EqualFold(name[len(name)-len("Cdn-Cache-Control"):], "Cdn-Cache-Control") {
				delete(h, name)
			}
		}
	}
	lines := h["Cache-Control"]
	if len(lines) == 0 {
		h["Cache-Control"] = []string{"private"}
		return
	}
	if line := lines[0]; len(lines) == 1 && !sharable(line) {
		h["Cache-Control"] = []string{"private, " + line}
		return
	}
	kept := []string{"private"}
	for directive := range directives(lines) {
		name, _, _ := strings.Cut(directive, "=")
		switch strings.ToLower(strings.Trim(name, " \t")) {
		// private="field" means these fields alone, so ours replaces it.
		case "", "public", "s-maxage", "private":
		default:
			kept = append(kept, directive)
		}
	}
	h["Cache-Control"] = []string{strings.Join(kept, ", ")}
}

// sharable is a quick look for directives that makePrivate would have to take out.
func sharable(line string) bool {
	return strings.ContainsAny(line, "\"\\,pP") || len(line) > 0 && (line[0]|0x20) == 's' || strings.Trim(line, " \t") == ""
}

// directives splits comma separated lists, but not within quoted strings, as in
// no-cache="a, b". What follows a quote that is never closed is one directive.
func directives(lines []string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, line := range lines {
			quoted, start := false, 0
			for i := 0; i <= len(line); i++ {
				switch {
				case i == len(line) || line[i] == ',' && !quoted:
					if !yield(strings.Trim(line[start:i], " \t")) {
						return
					}
					start = i + 1
				case line[i] == '"':
					quoted = !quoted
				case line[i] == '\\' && quoted:
					i = min(i+1, len(line)-1)
				}
			}
		}
	}
}
