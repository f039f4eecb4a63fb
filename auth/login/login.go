// Package login is the dance of OAuth 2.0's code flow over HTTP, from a browser's
// side: it begins an attempt, takes the provider's callback, starts and ends
// sessions, and shows the few pages around that.
//
// # The attempt
//
// A stranger who begins a login writes nothing to our memory or store: state,
// nonce, PKCE verifier and return target travel sealed in a cookie of their own.
// A callback is believed only by that cookie, and its state is matched before
// anything is sent to the provider, so neither a forged callback nor somebody
// else's code (login CSRF, RFC 9700, section 4.7) costs us a request. An attempt
// serves once.
//
// # The session before
//
// When a callback has verified an identity, allowed or denied, the session that
// the browser had before ends, in the store too. Nothing earlier ends it: opening
// a login, its denial or a page is something that any site can make a browser do.
package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/gate"
	"github.com/loginwall/loginwall/auth/oidc"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/auth/seal"
	"github.com/loginwall/loginwall/auth/session"
)

// Config is what a Handler needs. All fields but the marked ones are required.
type Config struct {
	PublicURL *url.URL
	Provider  *oidc.Provider
	// Issuer is the provider's; an attempt that began with another is refused.
	Issuer   string
	Sessions *session.Keeper
	Gate     *gate.Gate
	Policy   *policy.Policy
	Pages    *page.Pages
	// Ring seals the attempts.
	Ring *seal.Ring
	// Memory outlives the Handler.
	Memory *Memory
	// Timeout is how long an attempt may take.
	Timeout time.Duration
	// Keys returns the key set of the signed assertion (RFC 7517).
	Keys func() []byte
	// Record writes an event; failures are logged, they change no answer.
	Record func(context.Context, auth.Event) error
	// Observe is told how each login ended; optional.
	Observe func(Outcome)
	// Began is told of each login that began; optional.
	Began func()
	Log   *slog.Logger
	Now   func() time.Time
}

// An Outcome is how a login ended, in words fit for a metric's labels.
type Outcome struct {
	Result string // ok, denied, failed
	Reason string // empty when ok
}

// A Handler serves the endpoints of a login below /_auth/ and turns away those
// whom the gate does not let pass. It is immutable and safe for concurrent use.
type Handler struct {
	Config
	attempts attempts
}

// New checks the configuration.
func New(c Config) (*Handler, error) {
	box, err := c.Ring.Box("login attempt", c.PublicURL.String())
	if err != nil {
		return nil, fmt.Errorf("make the seal of login attempts: %w", err)
	}
	if c.Observe == nil {
		c.Observe = func(Outcome) {}
	}
	if c.Began == nil {
		c.Began = func() {}
	}
	return &Handler{Config: c, attempts: attempts{
		box:    box,
		prefix: c.Sessions.CookieName() + attemptMark,
		now:    c.Now,
		cookie: c.Sessions.SetCookie,
	}}, nil
}

// Serve answers one of our own endpoints and reports whether path names one. The
// path is compared as it was sent: no other spelling is an alias.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, path string, c auth.Client) bool {
	endpoint, ok := strings.CutPrefix(path, "/_auth/")
	if !ok {
		return false
	}
	if strings.HasPrefix(endpoint, "static/") {
		h.only(w, r, c, h.static, http.MethodGet, http.MethodHead)
		return true
	}
	switch endpoint {
	case "me":
		h.only(w, r, c, h.me, http.MethodGet, http.MethodHead)
	case "login":
		if c.Original != "" {
			// A front proxy passes on whom its question to /_auth/verify turned away, with
			// whatever method that was.
			h.challenge(w, r, c, page.ParseTarget(c.Original))
			return true
		}
		h.only(w, r, c, h.begin, http.MethodGet, http.MethodHead)
	case "callback":
		// Not HEAD: a link preview must not use an attempt up.
		h.only(w, r, c, h.callback, http.MethodGet)
	case "logout":
		h.only(w, r, c, h.logout, http.MethodGet, http.MethodHead, http.MethodPost)
	case "signed-in":
		h.only(w, r, c, h.signedIn, http.MethodGet, http.MethodHead)
	case "signed-out":
		h.only(w, r, c, h.signedOut, http.MethodGet, http.MethodHead)
	case "jwks.json":
		h.only(w, r, c, h.keys, http.MethodGet, http.MethodHead)
	default:
		return false
	}
	return true
}

type endpoint func(http.ResponseWriter, *http.Request, auth.Client)

func (h *Handler) only(w http.ResponseWriter, r *http.Request, c auth.Client, serve endpoint, methods ...string) {
	if slices.Contains(methods, r.Method) {
		serve(w, r, c)
		return
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	h.Pages.Render(w, r, c.RequestID, page.Error{Problem: page.MethodNotAllowed})
}

// begin is GET /_auth/login.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request, c auth.Client) {
	// A query that cannot be read whole, or names the target twice, has no target.
	query, err := url.ParseQuery(r.URL.RawQuery)
	var target page.Target
	if err == nil && len(query["to"]) == 1 {
		target = page.ParseTarget(query.Get("to"))
	}
	how := plain
	switch {
	case query.Get("again") == "1":
		how = again
	case query.Get("switch") == "1":
		how = choose
	}
	round := 1
	if n := query.Get("round"); n == "2" || n == "3" {
		round = int(n[0] - '0')
	}
	h.start(w, r, c, target, round, how, page.LabelPage)
}

// start sends the browser to the provider with a fresh attempt in its cookies.
func (h *Handler) start(w http.ResponseWriter, r *http.Request, c auth.Client, target page.Target, round int, how kind, label page.Label) {
	a := newAttempt(h.Issuer, target, h.hint(r, round), h.Timeout)
	a.kind = how
	raw, err := h.Provider.AuthCodeURL(a.request())
	if err != nil {
		h.fail(w, r, c, "begin a login", target, err)
		return
	}
	location, err := page.ProviderURL(raw)
	if err != nil {
		h.fail(w, r, c, "begin a login", target, err)
		return
	}
	if err := h.attempts.add(w, r, a); err != nil {
		h.fail(w, r, c, "seal a login attempt", target, err)
		return
	}
	h.Began()
	h.Pages.Redirect(w, r, c.RequestID, http.StatusFound, location, label)
}

// Challenge turns away somebody whom we do not know: a navigation goes to the
// provider, a program is told so and starts no login.
func (h *Handler) Challenge(w http.ResponseWriter, r *http.Request, c auth.Client, d gate.Decision) {
	h.dropStale(w, r, d)
	h.challenge(w, r, c, page.ParseTarget(r.URL.RequestURI()))
}

func (h *Handler) challenge(w http.ResponseWriter, r *http.Request, c auth.Client, target page.Target) {
	if page.AudienceOf(r) == page.TopNavigation {
		if h.goesRound(r) {
			h.stopRound(w, r, c, target)
			return
		}
		h.start(w, r, c, target, 1, plain, page.LabelSignIn)
		return
	}
	h.Pages.Render(w, r, c.RequestID, page.SignInRequired{To: target})
}

// Deny turns away somebody whom we know.
func (h *Handler) Deny(w http.ResponseWriter, r *http.Request, c auth.Client, d gate.Decision) {
	h.dropStale(w, r, d)
	h.Pages.Render(w, r, c.RequestID, h.denied(d.Denied(), d.Reason(), page.ParseTarget(r.URL.RequestURI())))
}

func (h *Handler) denied(who *auth.Identity, reason policy.Reason, target page.Target) page.Denied {
	view := page.Denied{Reason: string(reason), To: target}
	if who != nil {
		view.Email, view.Name = who.Email, who.Name
	}
	return view
}

// dropStale deletes a session cookie that opens nothing any more. One that somebody
// has ended was kept and did count, so its browser does not go round.
func (h *Handler) dropStale(w http.ResponseWriter, r *http.Request, d gate.Decision) {
	if !d.ClearCookie() {
		return
	}
	w.Header().Add("Set-Cookie", h.Sessions.ClearCookie())
	if h.Sessions.Open(r.Header["Cookie"]).Status == session.Ended {
		h.attempts.clearRounds(w, r)
	}
}

// fail tells a person what went wrong in fixed words and the log precisely.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, c auth.Client, action string, target page.Target, err error) {
	problem, reason := page.Internal, "internal"
	var provider *oidc.Error
	switch {
	case errors.As(err, &provider):
		problem, reason = providerProblem(provider.Reason), string(provider.Reason)
	case errors.Is(err, auth.ErrUnavailable):
		problem, reason = page.StoreAway, "store_unavailable"
	}
	h.Log.ErrorContext(r.Context(), "login failed",
		slog.String("request_id", c.RequestID), slog.String("client", c.Address),
		slog.String("action", action), slog.String("reason", reason), slog.Any("error", err))
	h.Observe(Outcome{"failed", reason})
	h.Pages.Render(w, r, c.RequestID, page.Error{Problem: problem, To: target})
}

// logout shows a button on GET, and ends the session on POST: what a link or an
// image can do from any site must not sign anybody out.
func (h *Handler) logout(w http.ResponseWriter, r *http.Request, c auth.Client) {
	if r.Method != http.MethodPost {
		view := page.SignOut{}
		if opened := h.Sessions.Open(r.Header["Cookie"]); opened.Session != nil {
			view.Email, view.Name = opened.Session.Identity.Email, opened.Session.Identity.Name
		}
		h.Pages.Render(w, r, c.RequestID, view)
		return
	}
	if !h.Pages.SameOrigin(r) {
		h.Pages.Render(w, r, c.RequestID, page.Error{Problem: page.CrossOrigin})
		return
	}
	if opened := h.Sessions.Open(r.Header["Cookie"]); opened.Session != nil {
		if err := h.Sessions.End(r.Context(), opened.Session, opened.Session.Identity.Email, auth.EndSignOut); err != nil {
			// The cookie stays: the session still lives, and saying otherwise would be a lie.
			h.Log.ErrorContext(r.Context(), "sign-out failed", slog.String("request_id", c.RequestID), slog.Any("error", err))
			h.Pages.Render(w, r, c.RequestID, page.Error{Problem: page.SignOutFailed})
			return
		}
	}
	w.Header().Add("Set-Cookie", h.Sessions.ClearCookie())
	h.attempts.clearRounds(w, r) // what comes next begins anew
	// The Back button would show what the app had answered to whoever sits down next.
	w.Header().Set("Clear-Site-Data", `"cache"`)
	h.Pages.Redirect(w, r, c.RequestID, http.StatusSeeOther, h.Pages.Own("signed-out", nil), page.LabelPage)
}

// signedOut is where one stays: a redirect to the provider would sign the person
// in again without asking.
func (h *Handler) signedOut(w http.ResponseWriter, r *http.Request, c auth.Client) {
	h.Pages.Render(w, r, c.RequestID, page.SignedOut{})
}

// signedIn is where the small window ends in which session.js lets people sign in
// again: who is not signed in does so, and comes back.
func (h *Handler) signedIn(w http.ResponseWriter, r *http.Request, c auth.Client) {
	d, err := h.Gate.DecideOwn(false, r.Header["Cookie"])
	switch {
	case err != nil:
		h.fail(w, r, c, "look the session up", page.Target{}, err)
	case d.Verdict() == policy.Challenge:
		h.Challenge(w, r, c, d)
	case d.Verdict() == policy.Allow:
		h.Pages.Render(w, r, c.RequestID, page.SignedIn{Email: d.Principal().Identity().Email})
	default:
		h.Deny(w, r, c, d)
	}
}

func (h *Handler) static(w http.ResponseWriter, r *http.Request, c auth.Client) {
	h.Pages.Static(w, r, c.RequestID)
}

// keys serves the key set with which upstreams check the signed assertion (RFC
// 7517, section 8.5.1 for the type). It is the one answer that is about nobody.
func (h *Handler) keys(w http.ResponseWriter, r *http.Request, c auth.Client) {
	body := h.Keys()
	h.Pages.Secure(w.Header(), c.RequestID, page.LabelPage)
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}
