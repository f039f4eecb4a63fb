package main

import (
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/proxy/observe"
)

// redirect answers who came without TLS: the same page is at public_url. The
// origin is that of the file, so nothing that a client says leads elsewhere, and
// no Strict-Transport-Security is said where it must not be (RFC 6797, section
// 7.2). A form that was sent has been read on the way, and is not sent again.
func (w *wall) redirect(rw http.ResponseWriter, r *http.Request) {
	cfg := w.site.Load().cfg
	public := cfg.PublicURL
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if own := cfg.Directory.PublicURL; own != nil && !strings.EqualFold(host, public.Hostname()) {
		public = own
	}
	h := rw.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Loginwall", string(page.LabelError))
	h.Set(observe.RequestIDHeader, observe.RequestID(""))
	switch {
	case !strings.EqualFold(host, public.Hostname()):
		rw.WriteHeader(http.StatusMisdirectedRequest)
		_, _ = io.WriteString(rw, "nothing is served under this name\n")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		rw.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(rw, "use https\n")
	default:
		target := r.URL.RequestURI()
		if !strings.HasPrefix(target, "/") {
			target = "/"
		}
		h.Set("X-Loginwall", string(page.LabelPage))
		h.Set("Location", public.String()+target)
		rw.WriteHeader(http.StatusMovedPermanently)
	}
}
