package page

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// An Audience is who waits for the answer to a request.
type Audience int

const (
	// Program is a script, a part of a page, or a tool: it gets JSON.
	Program Audience = iota
	// Navigation is a person who cannot be sent through a login just now: a frame,
	// or a form that was posted. It gets a page with a link.
	Navigation
	// TopNavigation is a person who opened an address: it may be redirected.
	TopNavigation
)

// AudienceOf tells who sent r.
//
// Browsers since 2023 say it themselves, in Sec-Fetch-Mode and -Dest (W3C Fetch
// Metadata), which scripts cannot forge. Where the mode is missing but the
// destination is not, the destination decides alone, as "document" stands for
// nothing but a navigation. Without either, a GET or HEAD is a person's unless
// it says otherwise: older browsers, and what was typed into a terminal, are
// better sent to the login than told off in JSON.
func AudienceOf(r *http.Request) Audience {
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	if mode == "" && dest != "" {
		switch dest {
		case "document", "frame", "iframe", "embed", "object", "fencedframe":
			mode = "navigate"
		default:
			return Program
		}
	}
	if mode != "" {
		switch {
		case mode != "navigate":
			return Program
		case read && (dest == "" || dest == "document"):
			return TopNavigation
		default:
			return Navigation
		}
	}
	// A front proxy that asks about a WebSocket may have taken its Upgrade off.
	for _, name := range []string{"X-Requested-With", "Authorization", "Upgrade", "Sec-Websocket-Key"} {
		if r.Header.Get(name) != "" {
			return Program
		}
	}
	html, wild := acceptsHTML(r.Header.Values("Accept"))
	switch {
	case read && (html || wild):
		return TopNavigation
	case r.Method == http.MethodPost && html && isForm(r.Header.Get("Content-Type")):
		return Navigation
	}
	return Program
}

// acceptsHTML reads Accept (RFC 9110, section 12.5.1). html says that it is named;
// wild that it would do, by a wildcard or since nothing is named.
func acceptsHTML(accept []string) (html, wild bool) {
	named := false
	for item := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		media, params, _ := strings.Cut(item, ";")
		media = strings.ToLower(strings.TrimSpace(media))
		if media == "" {
			continue
		}
		named = true
		if refused(params) {
			continue
		}
		switch media {
		case "text/html", "application/xhtml+xml":
			html = true
		case "*/*", "text/*":
			wild = true
		}
	}
	return html, wild || !named
}

// refused says whether the parameters of a media range give it the weight 0.
func refused(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(value, 64)
			return err == nil && q == 0
		}
	}
	return false
}

func isForm(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/x-www-form-urlencoded" || media == "multipart/form-data")
}

// SameOrigin reports whether r was sent by a page of ours, as a posted form must
// be before it changes anything. A browser's Origin has to be exactly
// public_url's; "null" and a second value are not. A browser that sends no Origin
// with a same-origin form says so in Sec-Fetch-Site. Who sends neither, as a
// script does, is refused: a page of ours it cannot be.
func (p *Pages) SameOrigin(r *http.Request) bool {
	if origins := r.Header.Values("Origin"); len(origins) > 0 {
		return len(origins) == 1 && origins[0] == p.origin
	}
	return r.Header.Get("Sec-Fetch-Site") == "same-origin"
}
