// Package gate makes the one decision: may whoever sent this cookie send this
// request? It puts together the session that the cookie opens, the revocations
// and the policy. The proxy, forward-auth, the account page and the directory all
// ask it and nobody decides on their own, so there is no second door to forget.
//
// # What it promises
//
// A Principal is somebody who was let in. Only this package can make one, so
// whoever holds one needs no further check. The zero Gate, Decision and Principal
// let nobody in; an error always comes with a Decision that denies.
//
// Public requests are decided by the policy alone: the cookie is not opened, so
// whoever sends them is nobody to the upstream, and they go on while the store is
// away. For everything else revocations must be known, no older than MaxFeedAge:
// better no answer than that of somebody who has been blocked in the meantime.
package gate

import (
	"errors"
	"fmt"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/auth/session"
)

// Config is what a Gate needs; every field is required.
type Config struct {
	Policy   *policy.Policy
	Sessions *session.Keeper
	Revoked  *session.Revocations
	// Issuer is the provider's, as in session.Config: what a stream was opened with
	// under another one does not hold any more.
	Issuer string
	// MaxFeedAge is how old the knowledge of revocations may be.
	MaxFeedAge time.Duration
}

// A Gate belongs to one configuration and is replaced by a reload. It is immutable
// and safe for concurrent use.
type Gate struct{ config Config }

// New returns a Gate, or says what is missing.
func New(config Config) (*Gate, error) {
	if config.Policy == nil || config.Sessions == nil || config.Revoked == nil || config.Issuer == "" {
		return nil, errors.New("gate: policy, sessions, revocations and issuer are needed")
	}
	if config.MaxFeedAge <= 0 {
		return nil, errors.New("gate: the age up to which revocations are good must be greater than zero")
	}
	return &Gate{config}, nil
}

// A Principal is an allowed, unrevoked identity with its session. The zero value,
// like nil, is nobody.
type Principal struct{ session *auth.Session }

// Identity tells who it is. It is shared and must not be changed.
func (p *Principal) Identity() *auth.Identity {
	if s := p.Session(); s != nil {
		return &s.Identity
	}
	return nil
}

// Session is shared by all requests with the same cookie and must not be changed;
// so it can be the key of what is computed once per session.
func (p *Principal) Session() *auth.Session {
	if p == nil {
		return nil
	}
	return p.session
}

// A Decision is what became of a request. The zero value denies.
type Decision struct {
	policy    policy.Decision
	principal Principal
	denied    *auth.Identity
	clear     bool
}

// Verdict is the one thing that a door must obey.
func (d *Decision) Verdict() policy.Verdict { return d.policy.Verdict }

// Public reports whether anybody may send the request. Then there is no Principal.
func (d *Decision) Public() bool { return d.policy.Public }

// Principal is who was let in: nil unless the verdict is Allow and not public.
func (d *Decision) Principal() *Principal {
	if d.principal.session == nil {
		return nil
	}
	return &d.principal
}

// Denied is who was denied, for the page that says so. It is nil for every other
// verdict, and where the request is denied to everybody.
func (d *Decision) Denied() *auth.Identity { return d.denied }

// Rule tells an operator which rule decided; see policy.Decision.
func (d *Decision) Rule() string { return d.policy.Rule }

// Route says where an allowed request goes; see policy.Decision.
func (d *Decision) Route() int { return d.policy.Route }

// Reason is a fixed word, empty when allowed.
func (d *Decision) Reason() policy.Reason { return d.policy.Reason }

// ClearCookie reports whether a cookie came along that opens no session and never
// will again, so that the browser may forget it.
func (d *Decision) ClearCookie() bool { return d.clear }

// Decide decides about a request to the upstream. cookieHeader is the request's
// Cookie lines. It does no I/O, and allocates nothing for a plain path and a
// cookie that was seen before. The error wraps auth.ErrUnavailable: the
// revocations are too old to let anybody in, nor to send them to sign in.
func (g *Gate) Decide(t policy.Target, cookieHeader []string) (Decision, error) {
	anonymous := g.policy().Decide(t, nil)
	if anonymous.Verdict != policy.Challenge {
		// Public, or for nobody, whoever it is. Nobody else is allowed unseen.
		return Decision{policy: anonymous}, nil
	}
	d, s, err := g.open(anonymous, cookieHeader)
	if s == nil || err != nil {
		return d, err
	}
	return admit(g.policy().Decide(t, &s.Identity), s), nil
}

// DecideOwn decides about loginwall's own pages below /_auth/ that need a session:
// no route speaks of them, nor are they ever public. With admins they are for
// those who hold the role. For the error see Decide.
func (g *Gate) DecideOwn(admins bool, cookieHeader []string) (Decision, error) {
	p := g.policy()
	d, s, err := g.open(p.Admits(nil), cookieHeader)
	if s == nil || err != nil {
		return d, err
	}
	verdict := p.Admits(&s.Identity)
	if admins && verdict.Verdict == policy.Allow && !p.IsAdmin(&s.Identity) {
		verdict = policy.Decision{Route: verdict.Route, Rule: "admins", Reason: policy.ReasonNotAdmin}
	}
	return admit(verdict, s), nil
}

// Holds decides again about what is still open: whether p, who opened it with t,
// would be let in now, by this gate. For a p of nil it reports whether t is
// public. That a session has expired or been idle does not end what it opened.
func (g *Gate) Holds(p *Principal, t policy.Target) bool {
	s := p.Session()
	if s == nil {
		return g.policy().Decide(t, nil).Public
	}
	if s.Identity.Issuer != g.config.Issuer || g.feed() != nil || g.config.Revoked.Check(s) != session.Valid {
		return false
	}
	return g.policy().Decide(t, &s.Identity).Verdict == policy.Allow
}

// policy returns nil's answer for the zero Gate: the zero Policy denies.
func (g *Gate) policy() *policy.Policy {
	if g.config.Policy == nil {
		return &policy.Policy{}
	}
	return g.config.Policy
}

// open finds the session whose identity the policy is to judge. Where there is
// none the Decision is final: challenge, or denied because blocked.
func (g *Gate) open(challenge policy.Decision, cookieHeader []string) (Decision, *auth.Session, error) {
	if challenge.Verdict != policy.Challenge {
		return Decision{}, nil, nil
	}
	if err := g.feed(); err != nil {
		return Decision{}, nil, err
	}
	opened := g.config.Sessions.Open(cookieHeader)
	switch opened.Status {
	case session.Valid:
		return Decision{}, opened.Session, nil
	case session.Blocked:
		challenge.Verdict, challenge.Reason, challenge.Rule = policy.Deny, policy.ReasonBlocked, "block"
		d := Decision{policy: challenge}
		if opened.Session != nil {
			d.denied = &opened.Session.Identity
		}
		return d, nil, nil
	case session.None:
		return Decision{policy: challenge}, nil, nil
	case session.Invalid, session.Expired, session.Ended:
	}
	return Decision{policy: challenge, clear: true}, nil, nil
}

// admit turns the policy's word on a live session into a Decision.
func admit(verdict policy.Decision, s *auth.Session) Decision {
	d := Decision{policy: verdict}
	switch {
	case verdict.Verdict == policy.Allow && !verdict.Public:
		d.principal = Principal{s}
	case verdict.Verdict == policy.Deny:
		d.denied = &s.Identity
	}
	return d
}

// feed says whether the revocations are too old.
func (g *Gate) feed() error {
	if age := g.config.Revoked.Age(); age > g.config.MaxFeedAge {
		return fmt.Errorf("the revocations were last read %v ago, more than max_feed_age: %w", age.Round(time.Second), auth.ErrUnavailable)
	}
	return nil
}
