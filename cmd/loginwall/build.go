package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/assertion"
	"github.com/loginwall/loginwall/auth/directory"
	"github.com/loginwall/loginwall/auth/gate"
	"github.com/loginwall/loginwall/auth/login"
	"github.com/loginwall/loginwall/auth/oidc"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/picture"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/auth/seal"
	"github.com/loginwall/loginwall/auth/session"
	"github.com/loginwall/loginwall/config"
	"github.com/loginwall/loginwall/proxy"
	"github.com/loginwall/loginwall/proxy/forwarded"
	"github.com/loginwall/loginwall/proxy/observe"
)

// A site is all that one configuration means, built whole before it serves its
// first request and never changed after: a request that began with a site ends
// with it.
type site struct {
	cfg      *config.Config
	handler  *proxy.Handler
	gate     *gate.Gate
	provider *relyingParty
	// upstreams are the apps behind handler.
	upstreams proxy.Upstreams
	// directory is the directory's own origin, nil without one.
	directory *site
	// stop ends what runs for this site and its directory.
	stop func()
}

// gateAt returns the gate of an origin. That of one that the site does not have is
// the app's, to which nothing of another origin counts.
func (s *site) gateAt(origin *url.URL) *gate.Gate {
	if own := s.directory; own != nil && *own.cfg.PublicURL == *origin {
		return own.gate
	}
	return s.gate
}

// A relyingParty outlives a reload that does not touch it, with the keys and the
// metadata that it has fetched.
type relyingParty struct {
	*oidc.Provider
	made oidc.Config
	stop context.CancelFunc
}

// build makes the site of cfg, or says what is wrong and leaves everything as it
// was. before is the site in force, nil at start.
func (w *wall) build(cfg *config.Config, before *site) (*site, error) {
	keys, fresh, err := ring(cfg, before == nil)
	if err != nil {
		return nil, err
	}
	if before == nil && w.store.Created() && !fresh {
		w.log.Warn("the store is new but the session key is not: sessions that were ended before are open again until they expire (to end them all, change the key)",
			slog.String("key_file", keyFile(cfg)), slog.String("store", cfg.Store.String()))
	}
	if err := auditable(cfg); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(w.background)
	var s *site
	if cfg.Directory.PublicURL == nil {
		s, err = w.origin(ctx, cfg, keys, before, nil)
	} else {
		s, err = w.origins(ctx, cfg, keys, before)
	}
	if err != nil {
		stop()
		return nil, err
	}
	s.stop = stop
	return s, nil
}

// origins makes the site of a directory that has an origin of its own.
func (w *wall) origins(ctx context.Context, cfg *config.Config, keys *seal.Ring, before *site) (*site, error) {
	var ownBefore *site
	if before != nil {
		ownBefore = before.directory
	}
	own, err := w.origin(ctx, directoryConfig(cfg), keys, ownBefore, nil)
	if err != nil {
		return nil, err
	}
	s, err := w.origin(ctx, cfg, keys, before, own.handler)
	if err != nil {
		own.provider.endUnless(ownBefore)
		return nil, err
	}
	s.directory = own
	return s, nil
}

// directoryConfig is that of the directory's own origin: the wall's, with no app
// behind it.
func directoryConfig(cfg *config.Config) *config.Config {
	own := *cfg
	own.PublicURL, own.Directory.PublicURL = cfg.Directory.PublicURL, nil
	own.Upstream, own.Routes = config.Upstream{}, nil
	return &own
}

// origin makes all that one public URL stands for. What is sealed, sent and
// accepted there follows from that URL, so nothing of one origin counts on another.
// second serves the directory if it is not here. What runs for the origin ends with
// ctx.
func (w *wall) origin(ctx context.Context, cfg *config.Config, keys *seal.Ring, before *site, second *proxy.Handler) (_ *site, err error) {
	rules, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	teller, err := newTeller(cfg, keys, w.program.now)
	if err != nil {
		return nil, err
	}
	pages, err := newPages(cfg)
	if err != nil {
		return nil, err
	}
	resolver, err := newResolver(cfg)
	if err != nil {
		return nil, fmt.Errorf("trusted_proxies: %w", err)
	}
	sessions, err := session.New(session.Config{
		PublicURL: cfg.PublicURL, Ring: keys, Issuer: providerConfig(cfg).Issuer, MaxAge: cfg.Session.MaxAge, Idle: cfg.Session.IdleTimeout,
		Groups: rules.Groups(), Store: w.store, Revoked: w.revoked, Now: w.program.now,
		Ended: func(reason auth.EndReason) { w.metrics.SessionEnded(string(reason)) },
	})
	if err != nil {
		return nil, fmt.Errorf("prepare sessions: %w", err)
	}
	decider, err := gate.New(gate.Config{Policy: rules, Sessions: sessions, Revoked: w.revoked, Issuer: providerConfig(cfg).Issuer, MaxFeedAge: cfg.Session.MaxFeedAge})
	if err != nil {
		return nil, fmt.Errorf("prepare the gate: %w", err)
	}
	provider, err := w.relyingParty(cfg, before)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			provider.endUnless(before)
		}
	}()
	logins, err := w.loginHandler(cfg, provider, sessions, decider, rules, pages, keys, teller)
	if err != nil {
		return nil, err
	}
	var elsewhere page.Location
	if second != nil {
		elsewhere = second.Pages.Own("users", nil)
	}
	pictures, err := w.pictures(cfg)
	if err != nil {
		return nil, err
	}
	people, err := directory.New(directory.Config{
		Gate: decider, InForce: func() *gate.Gate { return w.site.Load().gateAt(cfg.PublicURL) }, Doors: logins, Pages: pages, Policy: rules, Store: w.store, Sessions: sessions, Refresh: w.revoked.Refresh,
		Elsewhere: elsewhere, Pictures: pictures, Admins: cfg.Admins, Idle: cfg.Session.IdleTimeout, Log: w.log, Now: w.program.now,
	})
	if err != nil {
		return nil, err
	}
	upstreams, err := w.upstreams(cfg)
	if err != nil {
		return nil, err
	}
	handler, err := proxy.New(proxy.Config{
		Resolver: resolver, Gate: decider, Auth: ownPages{logins, people}, Sessions: sessions, Pages: pages, Teller: teller,
		Upstreams: upstreams, Live: w.live, Metrics: w.metrics, Tracer: w.tracer.WithRoutes(paths(cfg)), AccessLog: w.accessLog(cfg), Log: w.log, Draining: w.draining.Load,
		Directory: second, Stall: cfg.Timeouts.Stall, Now: w.program.now,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the proxy: %w", err)
	}
	w.running.Go(func() { sessions.RunSeen(ctx, flushSeen) })
	return &site{cfg: cfg, handler: handler, gate: decider, provider: provider, upstreams: upstreams}, nil
}

// ownPages are all that is below /_auth/.
type ownPages struct {
	*login.Handler
	people *directory.Handler
}

// Serve implements proxy.Auth.
func (d ownPages) Serve(rw http.ResponseWriter, r *http.Request, path string, c auth.Client) bool {
	return d.Handler.Serve(rw, r, path, c) || d.people.Serve(rw, r, path, c)
}

func (w *wall) loginHandler(cfg *config.Config, provider *relyingParty, sessions *session.Keeper, decider *gate.Gate,
	rules *policy.Policy, pages *page.Pages, keys *seal.Ring, teller *assertion.Teller,
) (*login.Handler, error) {
	h, err := login.New(login.Config{
		PublicURL: cfg.PublicURL, Provider: provider.Provider, Issuer: provider.made.Issuer, Sessions: sessions, Gate: decider, Policy: rules,
		Pages: pages, Ring: keys, Memory: w.logins, Timeout: cfg.Session.LoginTimeout, Keys: teller.JWKS,
		Record: w.store.Record, Began: w.metrics.LoginStarted, Log: w.log, Now: w.program.now,
		Observe: func(o login.Outcome) { w.metrics.LoginFinished(o.Result, o.Reason) },
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the login: %w", err)
	}
	return h, nil
}

// pictures returns nil where the file wants none.
func (w *wall) pictures(cfg *config.Config) (*picture.Gallery, error) {
	if cfg.Directory.Pictures != config.PicturesProxied {
		return nil, nil //nolint:nilnil // absence is what the file says
	}
	p := providerConfig(cfg)
	return picture.New(picture.Config{Issuer: p.Issuer, Google: p.Google, RootCAs: p.RootCAs, Log: w.log, Now: w.program.now})
}

// relyingParty keeps the one in force when nothing about it has changed.
func (w *wall) relyingParty(cfg *config.Config, before *site) (*relyingParty, error) {
	c := providerConfig(cfg)
	if before != nil && reflect.DeepEqual(before.provider.made, c) {
		return before.provider, nil
	}
	made := c
	c.Now, c.Log, c.Observe = w.program.now, w.log, w.providerCalled
	provider, err := oidc.New(c)
	if err != nil {
		return nil, fmt.Errorf("prepare the provider: %w", err)
	}
	ctx, cancel := context.WithCancel(w.background)
	w.running.Go(func() { provider.Run(ctx) })
	return &relyingParty{provider, made, cancel}, nil
}

// endUnless ends what a provider does on its own, unless it is that of the site in
// force. A login that is under way goes on with what it knows.
func (p *relyingParty) endUnless(inForce *site) {
	if inForce == nil || inForce.provider != p {
		p.stop()
	}
}

// providerConfig says which provider the file names, and who we are there.
func providerConfig(cfg *config.Config) oidc.Config {
	c := oidc.Config{RedirectURL: redirectURI(cfg), Name: providerName(cfg)}
	if g := cfg.Google; g != nil {
		c.Google, c.Issuer, c.ClientID, c.ClientSecret = true, g.Issuer, g.ClientID, g.ClientSecret
		if len(cfg.Allow.Domains) == 1 && len(cfg.Allow.Emails) == 0 && len(cfg.Admins) == 0 && !cfg.Allow.Everyone {
			c.HostedDomainHint = hostedDomain(cfg.Allow.Domains[0])
		}
		return c
	}
	o := cfg.OIDC
	c.Issuer, c.ClientID, c.ClientSecret = o.Issuer, o.ClientID, o.ClientSecret
	c.Scopes, c.GroupsClaim, c.TrustEmail, c.AuthMethod, c.RootCAs = o.Scopes, o.GroupsClaim, o.TrustEmail, o.AuthMethod, o.CAs
	return c
}

// hostedDomain is the Workspace to suggest; consumer accounts have none.
func hostedDomain(d config.Domain) string {
	switch {
	case d.HostedDomain != "":
		return d.HostedDomain
	case d.Name == "gmail.com", d.Name == "googlemail.com":
		return ""
	default:
		return d.Name
	}
}

func providerName(cfg *config.Config) string {
	switch {
	case cfg.Google != nil:
		return "Google"
	case cfg.OIDC.Name != "":
		return cfg.OIDC.Name
	}
	if u, err := url.Parse(cfg.OIDC.Issuer); err == nil {
		return u.Host
	}
	return cfg.OIDC.Issuer
}

// newTeller makes the identity headers; without keys, only to check them: then
// what it would sign is worth nothing.
func newTeller(cfg *config.Config, keys *seal.Ring, now func() time.Time) (*assertion.Teller, error) {
	c := assertion.Config{Profiles: cfg.Headers.Profiles, Set: cfg.Headers.Set, PublicURL: cfg.PublicURL.String(), Now: now}
	c.Keys = [][]byte{make([]byte, assertion.KeySize)}
	if keys != nil {
		c.Keys = keys.Derive("assertion", assertion.KeySize)
	}
	t, err := assertion.New(c)
	if err != nil {
		return nil, cfg.Problem("headers", err.Error(), "")
	}
	return t, nil
}

// newPages makes the pages; what is wrong with their looks is told in the file's terms.
func newPages(cfg *config.Config) (*page.Pages, error) {
	pages, err := page.New(page.Config{
		PublicURL: cfg.PublicURL, Contact: cfg.Contact, ProviderName: providerName(cfg),
		AppName: cfg.AppName, Logo: cfg.LogoImage, Accent: cfg.Accent,
	})
	if brand, ok := errors.AsType[*page.BrandError](err); ok {
		key := map[string]string{"AppName": "app_name", "Logo": "logo", "Accent": "accent"}[brand.Field]
		return nil, cfg.Problem(key, brand.What, brand.Do)
	}
	if err != nil {
		return nil, fmt.Errorf("prepare the pages: %w", err)
	}
	return pages, nil
}

func newResolver(cfg *config.Config) (*forwarded.Resolver, error) {
	c := forwarded.Config{PublicURL: cfg.PublicURL}
	for _, peer := range cfg.TrustedProxies {
		if peer.Unix {
			c.TrustUnix = true
		} else {
			c.Trusted = append(c.Trusted, peer.Prefix)
		}
	}
	return forwarded.New(c)
}

func keyFile(cfg *config.Config) string {
	if cfg.Session.KeyFile != "" {
		return cfg.Session.KeyFile
	}
	return cfg.OwnKeyFile()
}

// upstreams makes one client for each app that the file names. A reload makes
// them anew: the connections of those before end when nobody uses them.
func (w *wall) upstreams(cfg *config.Config) (proxy.Upstreams, error) {
	up := proxy.Upstreams{Routes: map[int]*proxy.Upstream{}}
	var err error
	if up.Default, err = w.upstream(cfg, cfg.Upstream); err != nil {
		return proxy.Upstreams{}, cfg.Problem("upstream", err.Error(), "")
	}
	for i, route := range cfg.Routes {
		one, err := w.upstream(cfg, route.Upstream)
		if err != nil {
			return proxy.Upstreams{}, cfg.Problem(fmt.Sprintf("routes[%d].upstream", i), err.Error(), "")
		}
		if one != nil {
			up.Routes[i] = one
		}
	}
	return up, nil
}

// upstream returns nil for "none" and where none was named.
func (w *wall) upstream(cfg *config.Config, u config.Upstream) (*proxy.Upstream, error) {
	if u.URL() == nil {
		return nil, nil //nolint:nilnil // absence is what the file says
	}
	return proxy.NewUpstream(proxy.UpstreamConfig{
		URL: u.URL(), Socket: u.Path, HTTP2: u.Kind == config.UpstreamH2C, Direct: cfg.UpstreamTransport == config.TransportDirect, PassHost: cfg.PassHost, RootCAs: cfg.UpstreamTLS.CAs,
		ConnectTimeout: cfg.Timeouts.Connect, HeaderTimeout: cfg.Timeouts.ResponseHeader, Dialed: w.metrics.UpstreamDial, Now: w.program.now,
	})
}

func (w *wall) accessLog(cfg *config.Config) *observe.AccessLog {
	if !cfg.Log.Access {
		return nil
	}
	return observe.NewAccessLog(w.queue, textLog(cfg.Log.Format, w.program.log))
}
