package session

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/seal"
)

const (
	// wantText is the length that a cookie's value has at most, picture and name
	// being dropped for it; maxText is what it may have with all its groups.
	wantText = 1000
	maxText  = 3800
	// maxOpened bounds the sessions that are remembered by their cookie's text; at
	// a kilobyte of text and as much of session, some 20 MB when it is full.
	maxOpened = 10_000
	// touchParts: a cookie is sealed anew after a tenth of the idle limit.
	touchParts = 10
)

// A Status says what became of a cookie. Only Valid is a session; the zero value
// is none.
type Status int8

// The statuses. Callers may rely on nothing about their order.
const (
	None    Status = iota // no cookie of ours
	Invalid               // forged, damaged, of another issuer, or more than one
	Expired               // past its absolute or its idle limit
	Ended                 // signed out, or ended by somebody
	Blocked               // its account or address is blocked; wins over Ended
	Valid
)

// String returns a fixed word, safe as a metric's label.
func (s Status) String() string {
	switch s {
	case None:
		return "none"
	case Invalid:
		return "invalid"
	case Expired:
		return "expired"
	case Ended:
		return "ended"
	case Blocked:
		return "blocked"
	case Valid:
		return "valid"
	}
	return "unknown"
}

// Opened is what Open found.
type Opened struct {
	Status Status
	// Session is shared and must not be changed. It is nil unless Status is Valid or
	// Blocked.
	Session *auth.Session
}

// Store is what sessions need of the store. Its methods may block until ctx ends
// and are called concurrently.
type Store interface {
	// SignIn records user and session, durably, before it returns. Its error is
	// auth.ErrBlocked for a blocked account or address.
	SignIn(ctx context.Context, in auth.SignIn) (auth.SignedIn, error)
	// EndSession records, durably, that a session has ended. Ending one twice, or
	// one that was never recorded, is no error.
	EndSession(ctx context.Context, ending auth.Ending) error
	// EndSessionsOf ends every session of a user, sets the cut-off, and returns how
	// many were recorded.
	EndSessionsOf(ctx context.Context, user auth.UserID, by string, reason auth.EndReason) (int, error)
	// Seen keeps the latest time of each session.
	Seen(ctx context.Context, batch []auth.Seen) error
}

// Config is what a Keeper needs. All fields but Groups, Ended and Now are
// required.
type Config struct {
	// PublicURL is the one origin; it is the audience of what is sealed, and decides
	// the cookie's name and whether it is Secure.
	PublicURL *url.URL
	Ring      *seal.Ring
	// Issuer is the provider's; sessions of any other are invalid.
	Issuer string
	// MaxAge and Idle are the absolute and the idle limit. A shorter MaxAge than the
	// one that a session was made with shortens it.
	MaxAge, Idle time.Duration
	// Groups are those that the configuration names; others are not sealed.
	Groups  []string
	Store   Store
	Revoked *Revocations
	// Ended, unless nil, is told of each session that this Keeper has ended early.
	Ended func(auth.EndReason)
	// Now is time.Now where it is nil.
	Now func() time.Time
}

// A Keeper issues, opens, touches and ends the sessions of one configuration. It
// is safe for concurrent use.
type Keeper struct {
	config Config
	name   string
	secure bool
	box    *seal.Box
	opened *otter.Cache[string, *entry]
	seen   notes
}

// An entry is a cookie that has opened. Only its time and its revocation can
// change what it says, so both are looked at every time.
type entry struct {
	session   auth.Session
	id, user  key
	lastNoted atomic.Int64 // milliseconds
}

// New returns a Keeper, or says what is missing.
func New(config Config) (*Keeper, error) {
	if config.PublicURL == nil || config.PublicURL.Host == "" || config.Ring == nil || config.Issuer == "" ||
		config.Store == nil || config.Revoked == nil {
		return nil, errors.New("session: public URL, key, issuer, store and revocations are needed")
	}
	if config.MaxAge <= 0 || config.Idle <= 0 {
		return nil, errors.New("session: the absolute and the idle limit must be greater than zero")
	}
	if config.Now == nil {
		config.Now = time.Now //nolint:forbidigo // the default
	}
	audience := strings.ToLower(config.PublicURL.Scheme + "://" + config.PublicURL.Host)
	box, err := config.Ring.Box("session", audience)
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	cache, err := otter.New(&otter.Options[string, *entry]{
		MaximumSize: maxOpened,
		Executor:    func(run func()) { run() }, // no goroutine that a reload would leave behind
	})
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	return &Keeper{
		config: config,
		name:   NameFor(config.PublicURL),
		secure: config.PublicURL.Scheme == "https",
		box:    box,
		opened: cache,
	}, nil
}

// CookieName returns the name of the session cookie.
func (k *Keeper) CookieName() string { return k.name }

// Open finds the session in the lines of a request's Cookie header. It does no
// I/O, and allocates nothing for a cookie that it has seen before.
//
// Copies of one value count once; two different values are Invalid, since nothing
// says which of them was planted. What was sealed for another audience does not
// count: it belongs to another deployment on the same host.
func (k *Keeper) Open(cookieHeader []string) Opened {
	var values [maxValues]string
	n := scan(cookieHeader, k.name, &values)
	if n > len(values) {
		return Opened{Status: Invalid}
	}
	var found *entry
	ours := 0
	for _, text := range values[:n] {
		e, err := k.open(text)
		if errors.Is(err, seal.ErrAudience) {
			continue
		}
		found = e
		ours++
	}
	switch {
	case ours == 0:
		return Opened{}
	case ours > 1 || found == nil:
		return Opened{Status: Invalid}
	}
	return k.judge(found)
}

// open returns the entry of one cookie's text. Its error is seal.ErrAudience or
// one that means Invalid.
func (k *Keeper) open(text string) (*entry, error) {
	if len(text) > maxText {
		return nil, seal.ErrSeal
	}
	if e, found := k.opened.GetIfPresent(text); found {
		return e, nil
	}
	plain, current, err := k.box.Open(text)
	if err != nil {
		return nil, err
	}
	s, err := decode(plain)
	if err != nil {
		return nil, err
	}
	if s.Identity.Issuer != k.config.Issuer {
		return nil, errIssuer
	}
	if end := s.Created.Add(k.config.MaxAge); end.Before(s.Expires) {
		s.Expires, s.SealedUntil = end, s.Expires
	}
	s.OldKey = !current
	e := &entry{session: *s}
	var okID, okUser bool
	e.id, okID = keyOf(string(s.ID))
	e.user, okUser = keyOf(string(s.Identity.UserID()))
	if !okID || !okUser {
		return nil, errEncoding
	}
	// The text is a part of the request's header, which is not to be kept whole.
	e, _ = k.opened.SetIfAbsent(strings.Clone(text), e)
	return e, nil
}

var errIssuer = errors.New("of another issuer")

// judge looks at what can have changed since the cookie was opened.
func (k *Keeper) judge(e *entry) Opened {
	s, now := &e.session, k.config.Now()
	if k.isOver(s, now) {
		return Opened{Status: Expired}
	}
	switch status := k.config.Revoked.check(e.id, e.user, s); status {
	case Valid:
		k.note(e, now)
		return Opened{Status: Valid, Session: s}
	case Blocked:
		return Opened{Status: Blocked, Session: s}
	default:
		return Opened{Status: status}
	}
}

func (k *Keeper) isOver(s *auth.Session, now time.Time) bool {
	return !now.Before(s.Expires) || now.Sub(s.LastSeen) >= k.config.Idle
}

// note remembers that a session was seen, now and then.
func (k *Keeper) note(e *entry, now time.Time) {
	last, at := e.lastNoted.Load(), now.UnixMilli()
	if at-last < noteEvery.Milliseconds() || !e.lastNoted.CompareAndSwap(last, at) {
		return
	}
	k.seen.add(auth.Seen{Session: e.session.ID, User: e.session.Identity.UserID(), At: time.UnixMilli(at)})
}

// Start records a sign-in and then makes the session: the value of the Set-Cookie
// header, the session, and what the store said. There is never a cookie without
// its record. The error is auth.ErrBlocked, auth.ErrUnavailable, or says that the
// identity does not fit in a cookie.
func (k *Keeper) Start(ctx context.Context, id auth.Identity, client auth.Client) (setCookie string, s *auth.Session, in auth.SignedIn, err error) {
	if id.Issuer != k.config.Issuer || id.UserID() == "" {
		return "", nil, auth.SignedIn{}, errors.New("start a session: the identity is not of the configured issuer")
	}
	id.Groups = common(k.config.Groups, id.Groups)
	s = &auth.Session{ID: auth.NewSessionID(), Identity: id}
	if err := fit(s); err != nil {
		return "", nil, auth.SignedIn{}, fmt.Errorf("start a session: %w", err)
	}
	in, err = k.config.Store.SignIn(ctx, auth.SignIn{
		Identity: id,
		Session:  s.ID,
		MaxAge:   k.config.MaxAge,
		Address:  client.Address,
		Agent:    client.Agent,
	})
	switch {
	case errors.Is(err, auth.ErrBlocked):
		return "", nil, auth.SignedIn{}, fmt.Errorf("record the sign-in: %w", err)
	case err != nil:
		return "", nil, auth.SignedIn{}, away("record the sign-in", err)
	}
	now := k.config.Now()
	s.Created, s.LastSeen, s.Expires = toMillis(in.Created), toMillis(now), toMillis(in.Expires)
	setCookie, err = k.seal(s, now)
	if err != nil {
		return "", nil, auth.SignedIn{}, fmt.Errorf("start a session: %w", err)
	}
	return setCookie, s, in, nil
}

// common returns those of the named groups that an identity has, or nil.
func common(named, has []string) []string {
	var both []string
	for _, group := range named {
		if slices.Contains(has, group) {
			both = append(both, group)
		}
	}
	return both
}

// toMillis cuts a time to what the cookie keeps.
func toMillis(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()) }

// fit drops what decides nothing until the cookie is short enough.
func fit(s *auth.Session) error {
	drop := []*string{&s.Identity.Picture, &s.Identity.Name}
	for {
		plain, err := encode(s)
		if err != nil {
			return err
		}
		size := seal.SealedLen(len(plain))
		switch {
		case size <= wantText:
			return nil
		case len(drop) > 0:
			*drop[0] = ""
			drop = drop[1:]
		case size > maxText:
			return fmt.Errorf("the identity with its %d groups does not fit in a cookie (%d characters, %d at most)",
				len(s.Identity.Groups), size, maxText)
		default:
			return nil
		}
	}
}

// sealedEnd is the end that stands, or is to stand, inside the seal.
func sealedEnd(s *auth.Session) time.Time {
	if !s.SealedUntil.IsZero() && s.SealedUntil.After(s.Expires) {
		return s.SealedUntil
	}
	return s.Expires
}

func (k *Keeper) seal(s *auth.Session, now time.Time) (setCookie string, err error) {
	plain, err := encode(s)
	if err != nil {
		return "", err
	}
	text, err := k.box.Seal(plain)
	if err != nil {
		return "", err
	}
	return k.SetCookie(k.name, text, s.Expires.Sub(now)), nil
}

// Touch seals the cookie anew where that is due: a tenth of the idle limit has
// passed since the last time, or an old key opened it. It returns the value of
// the Set-Cookie header, with the same id and the same end. A session that has
// ended in the meantime gets none. Requests that come with the same cookie at
// once may each get a new one; all are good.
func (k *Keeper) Touch(s *auth.Session) (setCookie string, due bool) {
	now := k.config.Now()
	// A last-seen in the future means that a clock was wrong: put it right.
	since := now.Sub(s.LastSeen).Abs()
	if since < k.config.Idle/touchParts && !s.OldKey {
		return "", false
	}
	if k.isOver(s, now) || k.config.Revoked.Check(s) != Valid {
		return "", false
	}
	again := *s
	again.LastSeen = toMillis(now)
	setCookie, err := k.seal(&again, now)
	return setCookie, err == nil
}

// End ends a session: in the store first, then at once in memory. When it
// returns nil no request with the session's cookie gets in any more. The error
// wraps auth.ErrUnavailable, and the session may still be alive.
func (k *Keeper) End(ctx context.Context, s *auth.Session, by string, reason auth.EndReason) error {
	return k.end(ctx, auth.Ending{Session: s.ID, User: s.Identity.UserID(), Expires: sealedEnd(s), By: by, Reason: reason})
}

// EndRecorded is End for a session that is known from the store.
func (k *Keeper) EndRecorded(ctx context.Context, s auth.SessionRecord, by string, reason auth.EndReason) error {
	return k.end(ctx, auth.Ending{Session: s.ID, User: s.User, Expires: s.Expires, By: by, Reason: reason})
}

func (k *Keeper) end(ctx context.Context, ending auth.Ending) error {
	if err := k.config.Store.EndSession(ctx, ending); err != nil {
		return away("end the session", err)
	}
	k.config.Revoked.Add(auth.Revocation{Kind: auth.RevokeSession, Key: string(ending.Session), Active: true, Expires: ending.Expires})
	k.ended(1, ending.Reason)
	return nil
}

// EndAll ends every session of a user, as End does one.
func (k *Keeper) EndAll(ctx context.Context, user auth.UserID, by string, reason auth.EndReason) error {
	n, err := k.config.Store.EndSessionsOf(ctx, user, by, reason)
	if err != nil {
		return away("end the user's sessions", err)
	}
	k.ended(n, reason)
	// Our own clock's cut-off counts until the feed has told the store's.
	k.config.Revoked.Add(auth.Revocation{Kind: auth.RevokeUser, Key: string(user), Active: true, At: k.config.Now()})
	_ = k.config.Revoked.Refresh(ctx) // logged by the follower, which goes on trying
	return nil
}

func (k *Keeper) ended(n int, reason auth.EndReason) {
	for range n {
		if k.config.Ended != nil {
			k.config.Ended(reason)
		}
	}
}

// ClearCookie returns the value of the Set-Cookie header that deletes the session
// cookie.
func (k *Keeper) ClearCookie() string { return k.SetCookie(k.name, "", 0) }

// away says that the store could not do something now.
func away(action string, err error) error {
	if errors.Is(err, auth.ErrUnavailable) {
		return fmt.Errorf("%s: %w", action, err)
	}
	return fmt.Errorf("%s: %w: %w", action, auth.ErrUnavailable, err)
}

// IdleEnds returns when a session ends unless it is used.
func (k *Keeper) IdleEnds(s *auth.Session) time.Time { return s.LastSeen.Add(k.config.Idle) }
