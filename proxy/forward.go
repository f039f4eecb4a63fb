package proxy

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync/atomic"

	"github.com/loginwall/loginwall/auth/assertion"
	"github.com/loginwall/loginwall/auth/gate"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/proxy/direct"
	"github.com/loginwall/loginwall/proxy/observe"
)

var (
	errInformational = errors.New("the upstream sent too many informational answers")
	errSilent        = errors.New("the upstream has the whole request, and does not answer")
	errSwitched      = errors.New("the upstream switched protocols, and nobody had asked for that")
	errStatus        = errors.New("the upstream's status is none")
)

// outbound is the part of an exchange that exists once it is forwarded.
type outbound struct {
	// Context is that of the outbound request, canceled by cancel when the exchange
	// is cut. It is lent when it is the connection's own, see ConnContext.
	context.Context //nolint:containedctx // an exchange lives as long as its request
	cancel          context.CancelCauseFunc
	lent            bool
	decision        gate.Decision
	// principal is the decision's; nil on public routes.
	principal *gate.Principal
	up        *Upstream
	websocket bool
	values    [3]string // of header fields
	request   requestBody
	answer    answerBody
	// trailer is what is sent behind the body; filled when the body has been read.
	trailer           http.Header
	bodyRead, bodyBad atomic.Bool
	registration
}

// forward sends a request to its upstream. It is the only caller of the reverse
// proxy, and takes no other decision than one that lets the request in.
func (h *Handler) forward(x *exchange, d gate.Decision) {
	if d.Verdict() != policy.Allow || !d.Public() && d.Principal() == nil {
		panic("proxy: a request that was not let in was about to be forwarded")
	}
	x.decision = d
	x.principal = x.decision.Principal()
	x.record.Rule = d.Rule()
	x.isUser(x.principal.Identity())

	up := h.Upstreams.of(d.Route())
	if up == nil {
		h.problem(x, page.NotFound)
		return
	}
	if x.websocket = isWebSocket(x.r); !x.websocket {
		delete(x.r.Header, "Upgrade") // any other upgrade is none (RFC 9110, section 7.8)
	} else if !d.Public() && !h.ourOrigin(x.r) {
		h.crossOrigin(x)
		return
	}

	x.cancelable()
	h.Live.add(x)
	if now := h.Live.epoch.Load(); now != x.epoch || now.gate != h.Gate {
		// Something was revoked, or another configuration came into force, between the
		// decision and the registration, and Live may have looked before that.
		if !now.gate.Holds(x.principal, x.judged) {
			h.redecide(x, now.gate)
			return
		}
	}

	in := x.r.WithContext(x)
	in.Header = nil // rewrite makes the outbound one; ReverseProxy need not copy this
	if x.websocket {
		in.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	}
	if in.ContentLength != 0 && in.Body != nil {
		// An answer may begin before the upload has ended. Without this net/http
		// would then swallow parts of the upload.
		_ = http.NewResponseController(x.out.ResponseWriter).EnableFullDuplex() // HTTP/2 always is
		x.request = requestBody{in.Body, x}
		in.Body = &x.request
	}
	x.out.proxied = true
	x.up = up
	if in.ContentLength == 0 {
		x.waiting.Store(h.Live.clock.Load())
	}
	up.proxy.ServeHTTP(&x.out, in)
	if in.ContentLength != 0 && !x.bodyRead.Load() {
		x.boundRest()
	}
}

// redecide answers a request that was let in a moment ago and is not any more.
func (h *Handler) redecide(x *exchange, now *gate.Gate) {
	d, err := now.Decide(x.judged, x.r.Header["Cookie"])
	switch {
	case err != nil:
		h.unsure(x, err)
	case d.Verdict() == policy.Allow: // it changed back; whoever tries again gets in
		h.problem(x, page.Draining)
	default:
		h.refuse(x, d)
	}
}

// ourOrigin reports whether a WebSocket may be opened on behalf of a session.
// Browsers send the session's cookie with a WebSocket that any site opens, ask
// nobody first, and say whose page it is in Origin (RFC 6455, section 10.2). Who
// sends none is no browser.
func (h *Handler) ourOrigin(r *http.Request) bool {
	origin := r.Header["Origin"]
	return len(origin) == 0 || len(origin) == 1 && origin[0] == h.origin
}

func (h *Handler) crossOrigin(x *exchange) {
	x.answerOurselves()
	x.record.Reason = "cross_origin"
	h.Metrics.Denied(x.record.Reason)
	h.Pages.Render(&x.out, x.r, x.record.RequestID, page.Denied{Email: x.record.User, Reason: x.record.Reason})
}

// rewrite rebuilds the outbound request. Its header begins with what is left of the
// client's when fields for this hop alone are gone, so nothing in a Connection
// header can take away what is set here.
func (u *Upstream) rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	h, out := x.h, pr.Out

	out.URL.Scheme, out.URL.Host, out.URL.User = u.url.Scheme, u.url.Host, nil
	x.target.put(out.URL)
	if out.Host = u.host; out.Host == "" {
		out.Host = h.host[0]
	}

	header := h.endToEnd(x.r.Header)
	out.Header = header
	if x.websocket {
		header["Connection"], header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	}
	// The fields' values share one array of the exchange, or are the Handler's own:
	// each is a slice without room behind it, so adding to one copies it.
	v := &x.values
	*v = [...]string{x.from.Chain, x.from.Scheme, x.record.RequestID}
	if x.from.Chain != "" {
		header["X-Forwarded-For"] = v[0:1:1]
	}
	header["X-Forwarded-Proto"] = v[1:2:2]
	header["X-Forwarded-Host"] = h.host
	header[observe.RequestIDHeader] = v[2:3:3]
	header[hopHeader] = h.hop
	x.trace.Forward(header, u.url.Host)
	if x.principal != nil {
		h.Teller.Set(header, x.principal.Session())
	}

	out.Trailer = nil
	if out.Body != nil && out.ContentLength < 0 {
		out.Trailer = make(http.Header)
		for name := range pr.In.Trailer {
			if h.passesTrailer(name) {
				out.Trailer[name] = nil // announced; the value comes behind the body
			}
		}
		x.trailer = out.Trailer
	}
}

// passTrailers takes over the trailers of the request, which are there when its
// body has been read, before the transport writes them behind it.
func (x *exchange) passTrailers() {
	if x.trailer == nil {
		return
	}
	for name, values := range x.received.Trailer {
		if x.h.passesTrailer(name) {
			x.trailer[name] = values
		}
	}
}

// passesTrailer says which trailers reach an upstream: none that could be read as
// a statement of ours, or as a field that must not stand there (RFC 9110, section
// 6.5.1): framing, routing, credentials, what describes the body. Some servers
// merge trailers into the header, in CGI's form of the name.
func (h *Handler) passesTrailer(name string) bool {
	switch assertion.Fold(name) {
	case "connection", "content-length", "host", "http2-settings", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
		"authorization", "cookie", "expect", "proxy-authorization",
		"content-encoding", "content-range", "content-type", "x-request-id":
		return false
	}
	return !h.Teller.Owned(name)
}

// modifyResponse cleans an answer before anything of it is sent.
func modifyResponse(res *http.Response) error {
	x := exchangeOf(res.Request.Context())
	switch {
	case x.out.informational > maxInformational:
		return errInformational
	case res.StatusCode < http.StatusContinue: // "099" is a number to net/http's client, and a panic to its server
		return errStatus
	}
	x.answered.Store(true)
	if x.Err() != nil && errors.Is(context.Cause(x), errRevoked) {
		x.answered.Store(false)
		return errRevoked
	}
	if x.h.AccessLog != nil {
		x.record.Upstream = x.h.Now().Sub(x.started)
	}
	x.record.Outcome = observe.Proxied
	cleanHeader(res.Header)
	if res.StatusCode == http.StatusSwitchingProtocols {
		// That it is the protocol which was asked for, ReverseProxy checks; but to it
		// none is as good as none.
		if !x.websocket {
			return errSwitched
		}
		x.setStream(webSocket)
		return nil
	}
	cleanHeader(res.Trailer)
	if len(res.Trailer) > 0 && x.r.ProtoMajor == 1 && x.r.Method != http.MethodHead {
		// HTTP/2 has room for trailers behind a body of known length, HTTP/1.1 has not.
		res.Header.Del("Content-Length")
	}
	if x.principal != nil {
		makePrivate(res.Header)
		if cookie, due := x.h.Sessions.Touch(x.principal.Session()); due {
			res.Header.Add("Set-Cookie", cookie)
		}
	}
	if isEventStream(res.Header) {
		x.setStream(eventStream)
	}
	handOver(x.out.Header(), res.Header)
	x.answer = answerBody{ReadCloser: res.Body, x: x, res: res, large: res.ContentLength >= minSplice}
	if body, ok := res.Body.(interface{ Tell(direct.Waiter) }); ok {
		body.Tell(&x.out)
		x.answer.tells = true
	}
	// Of an answer whose length is known the header goes with the first bytes. Any
	// other may be a stream, whose header says that it is open.
	x.out.held = res.ContentLength < 0
	res.ContentLength = 0 // else ReverseProxy would flush each write
	res.Body = &x.answer
	return nil
}

// handOver moves the fields of an answer to where ReverseProxy would copy them, value
// by value, since it adds to what may be there. With Content-Type goes what would make
// it flush each write.
func handOver(to, from http.Header) {
	if len(to) == 0 {
		maps.Copy(to, from)
		clear(from)
	}
}

// isEventStream reports whether an answer goes on for as long as both sides like,
// so that it does not outlast the session. What has an end may reach it.
func isEventStream(h http.Header) bool {
	contentType := h.Get("Content-Type")
	if h.Get("Content-Length") != "" || contentType == "" {
		return false
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	switch media {
	case "text/event-stream", "multipart/x-mixed-replace", "application/x-ndjson", "application/json-seq":
		return true
	}
	return strings.HasPrefix(media, "application/grpc")
}

// upstreamFailed answers a request that the upstream did not.
func upstreamFailed(_ http.ResponseWriter, outreq *http.Request, err error) {
	x := exchangeOf(outreq.Context())
	x.out.proxied, x.record.Outcome = false, observe.Failed
	cause := context.Cause(x) //nolint:contextcheck // the exchange is the request's own context
	switch {
	case errors.Is(cause, errRevoked) && !x.out.began && x.whyCut() == nil:
		clear(x.out.Header())
		if x.lent { // what was canceled is good for no other request, nor for this answer
			x.out.Header().Set("Connection", "close")
			x.r = x.r.WithContext(context.WithoutCancel(x.r.Context()))
		}
		x.h.redecide(x, x.h.Live.epoch.Load().gate) //nolint:contextcheck // as above
		return
	case errors.Is(cause, errInformational), errors.Is(cause, errSilent):
		err = cause
	case x.out.began, x.Err() != nil:
		// Too late for an answer, or nobody is there to read one.
		panic(http.ErrAbortHandler)
	case x.bodyBad.Load():
		clear(x.out.Header())
		x.h.problem(x, page.BadRequest)
		return
	}
	clear(x.out.Header())
	if x.lent && x.Err() != nil { // as above
		x.out.Header().Set("Connection", "close")
	}
	x.h.problem(x, x.upstreamBroke(err)) //nolint:contextcheck // as above
}

// upstreamBroke notes a failure of the upstream, unless the client was the cause.
func (x *exchange) upstreamBroke(err error) page.Problem {
	problem, kind := failure(err)
	if cause := context.Cause(x); cause == nil || errors.Is(cause, errInformational) || errors.Is(cause, errSilent) {
		x.record.Reason = kind
		x.h.Metrics.UpstreamError(kind)
		x.h.Log.Warn("upstream failed", slog.String("request_id", x.record.RequestID),
			slog.String("kind", kind), slog.Any("error", err))
	}
	return problem
}
