package login

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/oidc"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/policy"
)

const (
	// maxCode bounds what we would send on to the provider; Google's codes are
	// below 256 bytes (its documentation promises that).
	maxCode = 2048
	// exchangeTimeout bounds what a person waits for; auth/oidc bounds each call too.
	exchangeTimeout = 15 * time.Second
)

// callback is the redirect URI (RFC 6749, section 4.1.2). The order is the point:
// the attempt's cookie and state first, then the provider, then policy, then the
// record, and the cookie last.
func (h *Handler) callback(w http.ResponseWriter, r *http.Request, c auth.Client) {
	answer, ok := readAnswer(r.URL.RawQuery)
	if !ok {
		h.refuse(w, r, c, "malformed", page.Error{Problem: page.AttemptInvalid})
		return
	}
	a, found := h.attempts.find(r, answer.state)
	if found && a.expired(h.Now()) {
		h.attempts.clear(w, &a)
		h.refuse(w, r, c, string(page.AttemptExpired), page.Error{Problem: page.AttemptExpired, To: page.ParseTarget(a.target)})
		return
	}
	if !found || a.issuer != h.Issuer || !h.Memory.spent.use(answer.state, a.expires, h.Now()) {
		h.unknownAttempt(w, r, c, answer)
		return
	}
	h.attempts.clear(w, &a)
	target := page.ParseTarget(a.target)

	if err := h.Provider.CheckIssuer(answer.issuer, answer.hasIssuer); err != nil {
		h.fail(w, r, c, "check the callback's issuer", target, err)
		return
	}
	if answer.failure != "" {
		problem := page.ProviderProblem(answer.failure)
		h.refuse(w, r, c, string(problem), page.Error{Problem: problem, To: target})
		return
	}
	if !h.Memory.failures.allow(c.Address, h.Now()) {
		w.Header().Set("Retry-After", "60")
		h.refuse(w, r, c, "too_many_failures", page.Error{Problem: page.TooManyRequests, To: target})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), exchangeTimeout)
	defer cancel()
	who, err := h.Provider.Exchange(ctx, a.request(), answer.code)
	if err != nil {
		h.Memory.failures.add(c.Address, h.Now())
		h.fail(w, r, c, "exchange the code", target, err)
		return
	}
	h.admit(w, r, c, &who, target)
}

// admit ends the session that the browser had, asks policy, and starts the new one.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request, c auth.Client, who *auth.Identity, target page.Target) {
	ctx := r.Context()
	if before := h.Sessions.Open(r.Header["Cookie"]); before.Session != nil {
		if err := h.Sessions.End(ctx, before.Session, who.Email, auth.EndReplaced); err != nil {
			h.fail(w, r, c, "end the session before", target, err)
			return
		}
		w.Header().Add("Set-Cookie", h.Sessions.ClearCookie())
	}
	if d := h.Policy.Admits(who); d.Verdict != policy.Allow {
		h.turnAway(w, r, c, who, d.Reason, d.Rule, target)
		return
	}
	cookie, _, in, err := h.Sessions.Start(ctx, *who, c)
	if errors.Is(err, auth.ErrBlocked) {
		h.turnAway(w, r, c, who, policy.ReasonBlocked, "block", target)
		return
	}
	if err != nil {
		h.fail(w, r, c, "record the sign-in", target, err)
		return
	}
	if in.PreviousHolder != "" && h.Policy.IsAdmin(who) {
		h.Log.WarnContext(ctx, "another account now holds an admin's address",
			slog.String("request_id", c.RequestID), slog.String("client", c.Address), slog.String("user", who.Email),
			slog.String("user_id", string(who.UserID())), slog.String("previous_user_id", string(in.PreviousHolder)))
		h.record(ctx, c, auth.Event{Kind: auth.EventAdminChanged, Actor: who.Email, User: who.UserID(), Email: who.Email, Detail: "before: " + string(in.PreviousHolder)})
	}
	h.Observe(Outcome{Result: "ok"})
	// Only one line may set the session's cookie: the deletion above gives way.
	w.Header()["Set-Cookie"] = withoutDeletion(w.Header()["Set-Cookie"], h.Sessions.ClearCookie())
	w.Header().Add("Set-Cookie", cookie)
	h.attempts.setRounds(w, h.attempts.rounds(r)+1)
	h.Pages.Redirect(w, r, c.RequestID, http.StatusSeeOther, h.Pages.Local(target), page.LabelPage)
}

func withoutDeletion(lines []string, deletion string) []string {
	kept := lines[:0]
	for _, line := range lines {
		if line != deletion {
			kept = append(kept, line)
		}
	}
	return kept
}

// turnAway answers somebody whom policy does not admit. They get no user and no
// session; the event is rate-limited, since strangers can cause it.
func (h *Handler) turnAway(w http.ResponseWriter, r *http.Request, c auth.Client, who *auth.Identity, reason policy.Reason, rule string, target page.Target) {
	h.Log.WarnContext(r.Context(), "sign-in denied",
		slog.String("request_id", c.RequestID), slog.String("client", c.Address), slog.String("user", who.Email),
		slog.String("user_id", string(who.UserID())), slog.String("reason", string(reason)), slog.String("rule", rule))
	h.Observe(Outcome{"denied", string(reason)})
	if h.Memory.denied.take(h.Now()) {
		h.record(r.Context(), c, auth.Event{Kind: auth.EventDenied, Actor: who.Email, User: who.UserID(), Email: who.Email, Detail: string(reason)})
	}
	h.Pages.Render(w, r, c.RequestID, h.denied(who, reason, target))
}

func (h *Handler) record(ctx context.Context, c auth.Client, e auth.Event) {
	e.At, e.Address = h.Now(), c.Address
	if err := h.Record(ctx, e); err != nil {
		h.Log.ErrorContext(ctx, "event not recorded", slog.String("request_id", c.RequestID), slog.String("kind", string(e.Kind)), slog.Any("error", err))
	}
}

// unknownAttempt answers a callback that no attempt of this browser belongs to.
// One that has served before is most likely the Back button: somebody who is
// signed in goes on, with the session as it was.
func (h *Handler) unknownAttempt(w http.ResponseWriter, r *http.Request, c auth.Client, a answer) {
	used := h.Memory.spent.has(a.state)
	if used {
		if d, err := h.Gate.DecideOwn(false, r.Header["Cookie"]); err == nil && d.Verdict() == policy.Allow {
			h.Pages.Redirect(w, r, c.RequestID, http.StatusSeeOther, h.Pages.Local(page.Target{}), page.LabelPage)
			return
		}
	}
	view := page.Error{Problem: page.AttemptUnknown, Round: a.hint.round + 1}
	switch {
	case used:
		view.Problem = page.AttemptUsed
	case a.hint.round == 0: // not a state of ours
	case h.Now().Sub(a.hint.began) > h.Timeout:
		view.Problem = page.AttemptExpired
	case a.hint.plain:
		view.Problem = page.CookieInsecure
	case a.hint.round >= maxRounds:
		view.Problem = page.CookiesBlocked
	}
	h.refuse(w, r, c, string(view.Problem), view)
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, c auth.Client, reason string, view page.View) {
	h.Log.WarnContext(r.Context(), "login refused",
		slog.String("request_id", c.RequestID), slog.String("client", c.Address), slog.String("reason", reason))
	h.Observe(Outcome{"failed", reason})
	h.Pages.Render(w, r, c.RequestID, view)
}

// An answer is the authorization response (RFC 6749, sections 4.1.2 and 4.1.2.1;
// RFC 9207 for iss).
type answer struct {
	code, state, failure string
	issuer               string
	hasIssuer            bool
	hint                 hint
}

// readAnswer refuses whatever two readers could take for two things: a query that
// does not parse whole, a parameter that stands twice, a code together with an error.
func readAnswer(raw string) (answer, bool) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return answer{}, false
	}
	for _, name := range []string{"code", "state", "error", "iss"} {
		if len(q[name]) > 1 {
			return answer{}, false
		}
	}
	_, rest, _ := strings.Cut(q.Get("state"), hintMark)
	a := answer{code: q.Get("code"), state: q.Get("state"), hint: parseHint(rest), failure: q.Get("error"), issuer: q.Get("iss"), hasIssuer: q.Has("iss")}
	if a.state == "" || (a.code == "") == (a.failure == "") || len(a.code) > maxCode {
		return answer{}, false
	}
	return a, true
}

func providerProblem(reason oidc.Reason) page.Problem {
	switch reason {
	case oidc.ReasonUnavailable, oidc.ReasonTimeout, oidc.ReasonCanceled:
		return page.ProviderAway
	case oidc.ReasonStale:
		return page.ProviderMoreInteraction
	case oidc.ReasonBadClient:
		return page.ProviderMisconfigured
	default:
		return page.ProviderFailed
	}
}
