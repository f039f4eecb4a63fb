package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/assertion"
	"github.com/loginwall/loginwall/auth/gate"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/auth/session"
	"github.com/loginwall/loginwall/proxy/forwarded"
	"github.com/loginwall/loginwall/proxy/observe"
)

const (
	ownPrefix  = "/_auth/"
	healthPath = "/_auth/healthz"
	// hopHeader marks what this deployment has forwarded, so that it knows an
	// upstream that leads back to itself. It decides about nothing else.
	hopHeader = "X-Loginwall-Hop"
	// maxOwnBody bounds what is read of a body that is sent to our own pages.
	maxOwnBody = 64 << 10
	// unreadWait is how long the rest of a body that nobody wants may take to come,
	// so that the connection can be used again.
	unreadWait = 5 * time.Second
	// maxAgent bounds the User-Agent that is handed on.
	maxAgent = 256
)

// An Auth is everything below /_auth/ that is not the proxy's own, and the answers
// for who is not let in; auth/login has it. Its methods answer the request wholly.
type Auth interface {
	// Serve answers if path, compared byte for byte, names an endpoint.
	Serve(w http.ResponseWriter, r *http.Request, path string, c auth.Client) bool
	// Challenge asks somebody to sign in.
	Challenge(w http.ResponseWriter, r *http.Request, c auth.Client, d gate.Decision)
	// Deny turns somebody away.
	Deny(w http.ResponseWriter, r *http.Request, c auth.Client, d gate.Decision)
}

// Upstreams are the apps behind the wall.
type Upstreams struct {
	// Default is for requests whose route has no upstream of its own. It is nil where
	// every route has one, and where nothing is proxied at all.
	Default *Upstream
	// Routes are by the index of the route.
	Routes map[int]*Upstream
}

// Connections counts those that are open and those that are idle, of all upstreams
// together, and the requests that wait for one, as far as proxy/direct has them.
func (u Upstreams) Connections() (n [3]int) {
	add := func(up *Upstream) {
		if up != nil && up.direct != nil {
			open, idle, waiting := up.direct.Stats()
			n[0], n[1], n[2] = n[0]+open, n[1]+idle, n[2]+waiting
		}
	}
	add(u.Default)
	for _, up := range u.Routes {
		add(up)
	}
	return n
}

func (u Upstreams) of(route int) *Upstream {
	if up := u.Routes[route]; up != nil {
		return up
	}
	return u.Default
}

// A Config is what a Handler needs. All fields but the marked ones are required.
type Config struct {
	Resolver  *forwarded.Resolver
	Gate      *gate.Gate
	Auth      Auth
	Sessions  *session.Keeper
	Pages     *page.Pages
	Teller    *assertion.Teller
	Upstreams Upstreams
	// Directory answers under another host, the directory's own; nil where there is
	// none. It proxies nothing.
	Directory *Handler
	// Live outlives the Handler.
	Live    *Live
	Metrics *observe.Metrics
	// Tracer traces each request; nil traces none.
	Tracer *observe.Tracer
	// AccessLog gets a line for every request; nil writes none.
	AccessLog *observe.AccessLog
	Log       *slog.Logger
	// Draining says that the process is about to stop, for /_auth/healthz; nil means
	// it never is.
	Draining func() bool
	// Stall is how long a client may keep a body standing still; zero is for ever.
	Stall time.Duration
	Now   func() time.Time
}

// A Handler serves the requests of one configuration. It is immutable and safe for
// concurrent use.
type Handler struct {
	Config
	origin string
	// host (of origin) and hop are values of header fields, shared by all requests.
	host, hop []string
	// worker is done when a service worker was warned of.
	worker sync.Once
}

// New checks c.
func New(c Config) (*Handler, error) {
	if c.Resolver == nil || c.Gate == nil || c.Auth == nil || c.Sessions == nil || c.Pages == nil ||
		c.Teller == nil || c.Live == nil || c.Metrics == nil || c.Log == nil || c.Now == nil {
		return nil, errors.New("proxy: something required is missing in the Config")
	}
	if c.Draining == nil {
		c.Draining = func() bool { return false }
	}
	// The same for all replicas, so that a loop over several of them is seen too.
	sum := sha256.Sum256([]byte("loginwall hop\x00" + c.Pages.Origin()))
	_, host, _ := strings.Cut(c.Pages.Origin(), "://")
	return &Handler{
		Config: c, origin: c.Pages.Origin(), host: []string{host}, hop: []string{hex.EncodeToString(sum[:8])},
	}, nil
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{h: h, r: r, received: r, started: h.Now(), epoch: h.Live.epoch.Load()}
	x.out.ResponseWriter, x.out.x = w, x
	x.record.Time, x.record.Method, x.record.Host, x.record.Agent = x.started, r.Method, r.Host, r.UserAgent()
	defer x.finish() //nolint:contextcheck // the log asks no context for anything
	h.serve(x)
}

// serve is the chain; each step answers or goes on to the next.
func (h *Handler) serve(x *exchange) {
	r := x.r
	var ok bool
	if x.target, ok = readTarget(r); ok && x.target.path == healthPath {
		h.health(x)
		return
	}
	x.record.Path = x.target.path

	from, err := h.Resolver.Resolve(r)
	x.from, x.record.Client = from, from.Client
	trustedID := ""
	if from.Trusted {
		trustedID = r.Header.Get(observe.RequestIDHeader)
	}
	x.record.RequestID = observe.RequestID(trustedID)
	x.trace, x.r = h.Tracer.Begin(r, from.Trusted, x.started)
	if from.Hint != "" {
		h.Log.Warn("X-Forwarded headers of a peer that trusted_proxies does not name are not believed: name it there if it is your proxy",
			slog.String("peer", from.Hint))
	}

	switch {
	case r.Method == http.MethodTrace, r.Method == http.MethodConnect:
		// TRACE would echo headers that scripts must not read.
		x.out.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		h.problem(x, page.MethodNotAllowed)
	case !ok, err != nil, otherHost(r), r.ProtoMajor >= 2 && strings.ContainsFunc(r.Method, notToken): // net/http looks at HTTP/1's alone
		h.problem(x, page.BadRequest)
	case r.Header.Get(hopHeader) == h.hop[0]:
		h.problem(x, page.Loop)
	case isForwardAuth(x.target.path):
		h.forwardAuth(x)
	case !h.Resolver.OurHost(from):
		h.elsewhere(x)
	case strings.HasPrefix(x.target.path, ownPrefix):
		h.serveOwn(x)
	default:
		h.decide(x)
	}
}

// elsewhere answers under another host than ours. The directory may have one: there
// is nothing but what is below /_auth/, and nothing is ever proxied.
func (h *Handler) elsewhere(x *exchange) {
	d := h.Directory
	if d == nil || !d.Resolver.OurHost(x.from) {
		h.problem(x, page.WrongHost)
		return
	}
	x.h = d
	switch {
	case strings.HasPrefix(x.target.path, ownPrefix):
		d.serveOwn(x)
	case x.target.path == "/" && (x.r.Method == http.MethodGet || x.r.Method == http.MethodHead):
		x.answerOurselves()
		d.Pages.Redirect(&x.out, x.r, x.record.RequestID, http.StatusSeeOther, d.Pages.Own("users", nil), page.LabelPage)
	default:
		d.problem(x, page.NotFound)
	}
}

// otherHost reports whether an HTTP/2 request names a host twice and differently
// (RFC 9113, section 8.3.1). Over HTTP/1 net/http has taken the field out.
func otherHost(r *http.Request) bool {
	hosts := r.Header["Host"]
	return len(hosts) > 1 || len(hosts) == 1 && hosts[0] != r.Host
}

// health is for load balancers that probe the serving port, under any Host. It
// leaves no trace in log and metrics.
func (h *Handler) health(x *exchange) {
	x.silent = true
	x.record.RequestID = observe.RequestID("")
	status, text, label := http.StatusOK, "ok", page.LabelPage
	switch {
	case x.r.Method != http.MethodGet:
		x.out.Header().Set("Allow", http.MethodGet)
		status, text, label = http.StatusMethodNotAllowed, "", page.LabelError
	case h.Draining():
		status, text, label = http.StatusServiceUnavailable, "draining", page.LabelError
	}
	x.answerOurselves()
	h.Pages.Plain(&x.out, x.r, x.record.RequestID, status, label, text)
}

// serveOwn answers everything below /_auth/, whatever follows. An endpoint has one
// spelling: a path that decoding would change is none.
func (h *Handler) serveOwn(x *exchange) {
	x.answerOurselves()
	x.r = x.r.WithContext(auth.WithClient(x.r.Context(), x.client()))
	if x.r.Body != nil {
		x.r.Body = http.MaxBytesReader(&x.out, x.r.Body, maxOwnBody)
	}
	if x.target.path != x.r.URL.Path || !h.Auth.Serve(&x.out, x.r, x.target.path, x.client()) {
		h.problem(x, page.NotFound)
		return
	}
	x.trace.Page(ownRoute(x.target.path))
}

// ownRoute is the part of a path of ours that does not name single things.
func ownRoute(path string) string {
	section, rest, _ := strings.Cut(path[len(ownPrefix):], "/")
	if rest != "" {
		rest = "/*"
	}
	return ownPrefix + section + rest
}

func (h *Handler) decide(x *exchange) {
	x.judged = policy.Target{Method: x.r.Method, Path: policy.ReadPath(x.target.path)}
	d, err := h.Gate.Decide(x.judged, x.r.Header["Cookie"])
	if err != nil {
		h.unsure(x, err)
		return
	}
	x.trace.Route(d.Route())
	if d.Verdict() == policy.Allow {
		if x.r.Header["Service-Worker"] != nil {
			h.warnOfWorker(x)
		}
		h.forward(x, d)
		return
	}
	h.refuse(x, d)
}

// warnOfWorker tells an operator, once, of a service worker whose scope holds our
// own paths: one that answers them from its cache answers the login, and nothing
// that we could see follows.
func (h *Handler) warnOfWorker(x *exchange) {
	if strings.LastIndexByte(x.target.path, '/') == 0 {
		h.worker.Do(func() {
			h.Log.Warn("the app has a service worker that can answer for the login: it must leave everything below /_auth/ alone, as the README says",
				slog.String("path", x.target.path), slog.String("request_id", x.record.RequestID))
		})
	}
}

// unsure is the answer where nobody knows whether the request may pass.
func (h *Handler) unsure(x *exchange, err error) {
	h.Log.Error("request not decided", slog.String("request_id", x.record.RequestID), slog.Any("error", err))
	problem := page.Internal
	if errors.Is(err, auth.ErrUnavailable) {
		problem = page.RevocationsStale
	}
	h.problem(x, problem)
}

// refuse answers a request that was not allowed. What is neither a challenge nor
// allowed is denied, so that a verdict which nobody has thought of is, too.
func (h *Handler) refuse(x *exchange, d gate.Decision) {
	x.answerOurselves()
	x.record.Rule = d.Rule()
	if d.Verdict() == policy.Challenge {
		h.Auth.Challenge(&x.out, x.r, x.client(), d)
		return
	}
	x.isUser(d.Denied())
	x.record.Reason = string(d.Reason())
	h.Metrics.Denied(x.record.Reason)
	h.Auth.Deny(&x.out, x.r, x.client(), d)
}

func (h *Handler) problem(x *exchange, problem page.Problem) {
	x.answerOurselves()
	if x.target.path == verifyPath {
		h.flatly(x, problem)
		return
	}
	view := page.Error{Problem: problem, Email: x.record.User}
	if x.target.path != "" {
		view.To = page.ParseTarget(x.r.URL.RequestURI())
	}
	h.Pages.Render(&x.out, x.r, x.record.RequestID, view)
}
