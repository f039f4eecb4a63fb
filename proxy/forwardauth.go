package proxy

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/loginwall/loginwall/auth/gate"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/proxy/forwarded"
	"github.com/loginwall/loginwall/proxy/observe"
)

// Forward-auth: a front proxy that carries requests itself asks here about each,
// and obeys the status. The one thing that is different from carrying it is whose
// word counts: what was asked for stands in headers, so only a peer that
// trusted_proxies names is heard, and each of the two endpoints reads its own
// headers and never the other's. A client could write the ones that its front
// proxy does not set.
const (
	// verifyPath is for proxies that understand a status only: nginx, HAProxy.
	verifyPath = "/_auth/verify"
	// forwardPath is for those that pass an answer on: Traefik, Caddy, Envoy. Envoy
	// appends the original path.
	forwardPath = "/_auth/forward"
)

func isForwardAuth(path string) bool {
	return path == verifyPath || path == forwardPath || strings.HasPrefix(path, forwardPath+"/")
}

// A question is the request that a front proxy asks about.
type question struct {
	method, host string
	target       target
}

// forwardAuth judges the request that a front proxy asks about.
func (h *Handler) forwardAuth(x *exchange) {
	x.answerOurselves()
	verify := x.target.path == verifyPath
	if !x.from.Trusted {
		h.noAnswer(x, "the peer is not among trusted_proxies")
		return
	}
	q, ok := asked(x)
	if q.method == http.MethodConnect && opensWebSocket(x.r) {
		// Over HTTP/2 and 3 a WebSocket is opened by CONNECT (RFC 8441), which the front
		// proxy makes a GET of on the way to the app.
		q.method = http.MethodGet
	}
	switch {
	case !ok:
		h.noAnswer(x, "the front proxy does not say, or not clearly, which request it asks about")
		return
	case !h.Resolver.OurHost(forwarded.Request{Host: q.host}):
		h.noAnswer(x, "the request is for another host than public_url's", slog.String("host", q.host))
		return
	case strings.HasPrefix(q.target.path, ownPrefix):
		h.noAnswer(x, "what is below /_auth/ belongs to the wall itself: send it here, not to the app")
		return
	case q.method == http.MethodTrace, q.method == http.MethodConnect:
		h.noAnswer(x, "no app behind a wall gets this method", slog.String("method", q.method))
		return
	}
	x.record.Path, x.record.Method = q.target.path, q.method
	x.judged = policy.Target{Method: q.method, Path: policy.ReadPath(q.target.path)}
	d, err := h.Gate.Decide(x.judged, x.r.Header["Cookie"])
	x.trace.Route(d.Route())
	switch {
	case err != nil:
		h.unsure(x, err)
	case d.Verdict() != policy.Allow:
		h.turnAway(x, q, d, verify)
	case !d.Public() && opensWebSocket(x.r) && !h.ourOrigin(x.r):
		x.record.Rule = d.Rule()
		x.isUser(d.Principal().Identity())
		if verify {
			h.Metrics.Denied("cross_origin")
			h.flatly(x, page.ForwardAuthRefused)
			return
		}
		h.crossOrigin(x)
	default:
		h.vouch(x, d)
	}
}

// asked reads the question. False means that it cannot be read in one way only.
func asked(x *exchange) (question, bool) {
	header := x.r.Header
	switch {
	case x.target.path == verifyPath:
		return readQuestion(header["X-Original-Method"], header["X-Original-Url"], x.from.Host)
	case x.target.path == forwardPath:
		return readQuestion(header["X-Forwarded-Method"], header["X-Forwarded-Uri"], x.from.Host)
	default:
		// As Envoy asks: the request line itself, and the host as it came. A header
		// could only be the client's.
		t := x.target
		t.path = strings.TrimPrefix(t.path, forwardPath)
		return question{x.r.Method, x.r.Host, t}, !slashTooMany(t, header)
	}
}

// slashTooMany reports that a front proxy which asks by headers was given an
// address with a slash at its end. All that it asks about would be judged as "/".
func slashTooMany(t target, header http.Header) bool {
	uri := header["X-Forwarded-Uri"]
	return t.path == "/" && header["X-Forwarded-Method"] != nil && len(uri) == 1 && uri[0] != "/" && !strings.HasPrefix(uri[0], "/?")
}

// readQuestion reads two header fields. A method that is not told is one that
// nobody knows: policy is as strict then as for any method.
func readQuestion(methods, targets []string, host string) (question, bool) {
	method, ok := single(methods)
	if !ok && len(methods) > 0 {
		return question{}, false
	}
	raw, ok := single(targets)
	if !ok {
		return question{}, false
	}
	return parseQuestion(method, raw, host)
}

// single refuses a field that is missing, empty, or there twice.
func single(values []string) (string, bool) {
	if len(values) != 1 || values[0] == "" {
		return "", false
	}
	return values[0], true
}

// parseQuestion splits a URL, or a path on the host that the peer names, without
// decoding any of it.
func parseQuestion(method, raw, host string) (question, bool) {
	if scheme, rest, found := strings.Cut(raw, "://"); found && !strings.HasPrefix(raw, "/") {
		switch strings.ToLower(scheme) {
		case "http", "https", "ws", "wss":
		default:
			return question{}, false
		}
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		host, raw = rest[:end], rest[end:]
		if !strings.HasPrefix(raw, "/") {
			raw = "/" + raw
		}
	}
	// A blank in a target ends it for some readers, and not for others.
	if !strings.HasPrefix(raw, "/") || strings.ContainsFunc(raw, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return question{}, false
	}
	var t target
	t.path, t.query, t.hasQuery = strings.Cut(raw, "?")
	return question{method, host, t}, true
}

// opensWebSocket also knows one whose Upgrade a front proxy has taken off, as it is
// for one hop, and one that never had any, as over HTTP/2. No script can set or
// leave out the other fields.
func opensWebSocket(r *http.Request) bool {
	return r.Header["Upgrade"] != nil || r.Header["Sec-Websocket-Key"] != nil || r.Header["Sec-Websocket-Version"] != nil
}

// vouch says yes, and who it is. On public routes it is nobody.
func (h *Handler) vouch(x *exchange, d gate.Decision) {
	x.record.Rule, x.record.Outcome = d.Rule(), observe.Vouched
	if p := d.Principal(); p != nil {
		x.isUser(p.Identity())
		h.Teller.Set(x.out.Header(), p.Session())
		if cookie, due := h.Sessions.Touch(p.Session()); due {
			x.out.Header().Add("Set-Cookie", cookie)
		}
	}
	h.Pages.Plain(&x.out, x.r, x.record.RequestID, http.StatusOK, page.LabelPage, "")
}

// turnAway says no: to verify by the status alone, to forward by the answer that
// the client would have got from the wall itself.
func (h *Handler) turnAway(x *exchange, q question, d gate.Decision, verify bool) {
	if !verify {
		x.r = q.as(x.r)
		h.refuse(x, d)
		return
	}
	x.record.Rule = d.Rule()
	if q.method == "" {
		h.complain(x, "the front proxy does not tell X-Original-Method, so every rule counts, for whatever path")
	}
	if d.ClearCookie() {
		x.out.Header().Add("Set-Cookie", h.Sessions.ClearCookie())
	}
	if d.Verdict() == policy.Challenge {
		h.Pages.Plain(&x.out, x.r, x.record.RequestID, http.StatusUnauthorized, page.LabelSignIn, "")
		return
	}
	x.isUser(d.Denied())
	h.Metrics.Denied(string(d.Reason()))
	h.Pages.Plain(&x.out, x.r, x.record.RequestID, http.StatusForbidden, page.LabelDenied, "")
}

// as returns r as it would have come to the wall directly.
func (q *question) as(r *http.Request) *http.Request {
	asked := r.Clone(r.Context())
	if asked.Method = q.method; asked.Method == http.MethodHead {
		asked.Method = http.MethodGet // the front proxy's own request may have a body to wait for
	}
	asked.RequestURI = q.target.path
	if q.target.hasQuery {
		asked.RequestURI += "?" + q.target.query
	}
	asked.URL = &url.URL{Opaque: q.target.path, RawQuery: q.target.query, ForceQuery: q.target.hasQuery}
	return asked
}

// noAnswer refuses a question that is not to be answered, and tells the operator
// why; to the peer it is a no like any other.
func (h *Handler) noAnswer(x *exchange, why string, attrs ...slog.Attr) {
	h.complain(x, why, attrs...)
	h.problem(x, page.ForwardAuthRefused)
}

func (h *Handler) complain(x *exchange, why string, attrs ...slog.Attr) {
	h.Log.LogAttrs(x.r.Context(), slog.LevelWarn, "forward-auth refused", append(attrs,
		slog.String("request_id", x.record.RequestID), slog.String("client", x.from.Client), slog.String("why", why))...)
}

// flatly is what verify answers where others get an error page: no, or that nobody
// knows. nginx makes a 500 of all that is neither 2xx nor 401 nor 403.
func (h *Handler) flatly(x *exchange, problem page.Problem) {
	status := http.StatusForbidden
	if problem == page.RevocationsStale || problem == page.Internal {
		status = http.StatusServiceUnavailable
	}
	h.Pages.Plain(&x.out, x.r, x.record.RequestID, status, page.LabelError, "")
}

// original is the path and query of the request that a trusted peer names in
// X-Original-URL, for a front proxy that sends its client to the login itself;
// empty where there is none.
func (h *Handler) original(x *exchange) string {
	if !x.from.Trusted || x.target.path != ownPrefix+"login" {
		return ""
	}
	raw, ok := single(x.r.Header["X-Original-Url"])
	if !ok {
		return ""
	}
	q, ok := parseQuestion(x.r.Method, raw, x.from.Host)
	if !ok || !h.Resolver.OurHost(forwarded.Request{Host: q.host}) {
		return ""
	}
	if q.target.hasQuery {
		return q.target.path + "?" + q.target.query
	}
	return q.target.path
}
