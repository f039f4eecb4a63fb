package oidc

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/loginwall/loginwall/auth"
)

const (
	firstRetry   = 100 * time.Millisecond
	lastRetry    = 30 * time.Second
	refreshAfter = 6 * time.Hour
	// maxExchanges bounds how much a provider that hangs can hold up; whoever is
	// behind these waits, within the time of his own exchange.
	maxExchanges = 64
)

// Config says which provider, and who we are there.
type Config struct {
	// Issuer is the provider's issuer identifier: https, or http on loopback. Its
	// metadata must name exactly this one.
	Issuer string
	// ClientID and ClientSecret are as registered with the provider.
	ClientID     string
	ClientSecret auth.Secret
	// RedirectURL is sent as redirect_uri, byte for byte.
	RedirectURL string
	// Google turns on Google's rules: the hd claim is read, endpoints stay on the
	// issuer's host or Google's, and TrustEmail, GroupsClaim and AuthMethod have no
	// effect.
	Google bool
	// Name is what pages call the provider.
	Name string
	// Scopes to ask for; default openid, email, profile. openid is always asked for.
	Scopes []string
	// GroupsClaim names the claim that lists groups; empty reads none.
	GroupsClaim string
	// TrustEmail takes an absent email_verified for true; a false stays false.
	TrustEmail bool
	// AuthMethod proves at the token endpoint who we are: AuthBasic, AuthPost, or
	// empty for what the metadata says.
	AuthMethod string
	// HostedDomainHint is sent as hd, so that Google offers the right accounts; it
	// decides nothing.
	HostedDomainHint string
	// RootCAs verify the provider's certificates; nil means the system's.
	RootCAs *x509.CertPool
	// Dial opens connections; nil means the net package's dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log gets what happens in the background; nil discards it.
	Log *slog.Logger
	// Observe, if set, is told of every call to the provider: "discovery", "token"
	// or "jwks", how long it took, and how it failed. It must not block.
	Observe func(ctx context.Context, endpoint string, d time.Duration, err error)
}

// The methods of client authentication (RFC 6749, section 2.3.1): HTTP's Basic, and
// fields of the form.
const (
	AuthBasic = "basic"
	AuthPost  = "post"
)

// A Provider is a configured OpenID provider. It is safe for concurrent use.
type Provider struct {
	config    Config
	client    *client
	exchanges chan struct{}
	// wanted wakes Run when somebody asks for a provider that is not there yet.
	wanted chan struct{}

	adopting sync.Mutex // one at a time replaces the metadata
	metadata atomic.Pointer[metadata]
}

// New checks the configuration. It needs no network.
func New(c Config) (*Provider, error) {
	if err := checkURL(c.Issuer); err != nil {
		return nil, fmt.Errorf("oidc: issuer: %w", err)
	}
	if strings.Contains(c.Issuer, "?") {
		return nil, errors.New("oidc: an issuer has no query") // OpenID Connect Discovery 1.0, section 3
	}
	if u, err := url.Parse(c.RedirectURL); err != nil || u.Scheme == "" || u.Host == "" {
		return nil, errors.New("oidc: the redirect URL is not an absolute URL")
	}
	if c.ClientID == "" || c.ClientSecret.IsZero() {
		return nil, errors.New("oidc: a client id and a client secret are required")
	}
	if len(c.Scopes) == 0 {
		c.Scopes = []string{"email", "profile"}
	}
	c.Scopes = append([]string{"openid"}, slices.DeleteFunc(slices.Clone(c.Scopes), func(s string) bool { return s == "openid" })...)
	if c.AuthMethod != "" && c.AuthMethod != AuthBasic && c.AuthMethod != AuthPost {
		return nil, fmt.Errorf("oidc: there is no method %q to authenticate", c.AuthMethod)
	}
	if c.Google {
		c.TrustEmail, c.GroupsClaim, c.AuthMethod = false, "", ""
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(context.Context, string, time.Duration, error) {}
	}
	return &Provider{
		config:    c,
		client:    newClient(&c),
		exchanges: make(chan struct{}, maxExchanges),
		wanted:    make(chan struct{}, 1),
	}, nil
}

// Name is what pages call the provider.
func (p *Provider) Name() string { return p.config.Name }

// Ready reports whether the provider's metadata is known, so that logins can start.
func (p *Provider) Ready() bool { return p.metadata.Load() != nil }

// ClockOffset is the provider's clock minus ours, by its last answer.
func (p *Provider) ClockOffset() time.Duration { return time.Duration(p.client.offset.Load()) }

// Run discovers the provider, retrying with growing pauses, and discovers again
// every few hours. It returns when ctx ends.
func (p *Provider) Run(ctx context.Context) {
	retry, said := firstRetry, ""
	for {
		err := p.discover(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			retry, said = firstRetry, ""
			p.sleep(ctx, jitter(refreshAfter))
			continue
		case err.Error() != said: // the same failure over and over is one line
			said = err.Error()
			p.config.Log.Warn("the provider's metadata is not usable, trying again",
				slog.String("issuer", p.config.Issuer), slog.Bool("known_from_before", p.Ready()), slog.Any("error", err))
		}
		p.sleep(ctx, jitter(retry))
		retry = min(2*retry, lastRetry)
	}
}

// sleep waits for d, or until somebody wants to sign in and cannot; but the
// provider is asked at most once a second, however many want to.
func (p *Provider) sleep(ctx context.Context, d time.Duration) {
	const least = time.Second
	wait(ctx, min(d, least), nil)
	if d > least {
		wait(ctx, d-least, p.wanted)
	}
}

func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-wake:
	}
}

// jitter spreads replicas that started together over [d/2, d].
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1) //nolint:gosec // spreads load, guards nothing
}

// Discover makes one attempt now to fetch the metadata and the keys.
func (p *Provider) Discover(ctx context.Context) error {
	if err := p.discover(ctx); err != nil {
		return err
	}
	keys := p.metadata.Load().keys
	if err := keys.refresh(ctx); err != nil {
		return netError("fetching the provider's keys", err)
	}
	keys.useful(keys.current().fetched) // asked for by an operator, not by a token
	return nil
}

// An Attempt is one login under way, as sealed in the browser's attempt cookie.
// Each value is fresh, at least 128 bits of randomness; Verifier is 43 to 128
// characters (RFC 7636, section 4.1).
type Attempt struct {
	State, Nonce, Verifier string
	// SelectAccount asks the provider to offer other accounts.
	SelectAccount bool
	// Again asks the provider to have the person prove once more who it is.
	Again bool
}

func (a *Attempt) usable() bool {
	return a.State != "" && a.Nonce != "" && len(a.Verifier) >= 43
}

// AuthCodeURL is where to send the browser: the authorization request of the code
// flow with PKCE S256, whatever the provider says it supports (RFC 9700, section
// 2.1.1). The error is one of ReasonUnavailable until the provider is discovered.
func (p *Provider) AuthCodeURL(a Attempt) (string, error) {
	m := p.metadata.Load()
	if m == nil {
		select {
		case p.wanted <- struct{}{}:
		default:
		}
		return "", fail(ReasonUnavailable, "the provider %s is not discovered yet", p.config.Issuer)
	}
	if !a.usable() {
		return "", errAttempt
	}
	options := []oauth2.AuthCodeOption{
		oauth2.SetAuthURLParam("nonce", a.Nonce),
		oauth2.S256ChallengeOption(a.Verifier),
	}
	switch {
	case a.Again && !p.config.Google: // which knows neither, and has its chooser
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	case (a.SelectAccount || a.Again) && m.chooser != "":
		options = append(options, oauth2.SetAuthURLParam("prompt", m.chooser))
	}
	if p.config.Google && p.config.HostedDomainHint != "" {
		options = append(options, oauth2.SetAuthURLParam("hd", p.config.HostedDomainHint))
	}
	return p.oauth2(m).AuthCodeURL(a.State, options...), nil
}

var errAttempt = errors.New("oidc: an attempt without state, nonce or a verifier of 43 characters")

// CheckIssuer judges the callback's iss parameter (RFC 9207): what is there must
// be our issuer; it may be absent unless the provider announced it.
func (p *Provider) CheckIssuer(iss string, present bool) error {
	if present {
		if !sameIssuer(p.config.Issuer, iss) {
			return fail(ReasonIssuer, "the callback names issuer %q, want %q", clip(iss), p.config.Issuer)
		}
		return nil
	}
	if m := p.metadata.Load(); m != nil && m.namesIssuer {
		return fail(ReasonIssuer, "the callback names no issuer, although the provider says that it always does")
	}
	return nil
}

// oauth2 is the client for one call. The style of authentication is explicit:
// left to itself, x/oauth2 tries one and then the other, which sends a code twice.
func (p *Provider) oauth2(m *metadata) *oauth2.Config {
	return &oauth2.Config{
		ClientID:     p.config.ClientID,
		ClientSecret: p.config.ClientSecret.Reveal(),
		RedirectURL:  p.config.RedirectURL,
		Scopes:       p.config.Scopes,
		Endpoint:     oauth2.Endpoint{AuthURL: m.authorization, TokenURL: m.token, AuthStyle: m.style},
	}
}
