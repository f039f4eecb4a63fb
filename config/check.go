package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// check applies the rules that take more than one value to see, and reads the
// files that the keys name.
func (d *decoder) check(c *Config) {
	d.checkAddresses(c)
	d.checkDirectory(c)
	d.checkRoutes(c)
	d.checkProvider(c)
	d.checkAllow(c)
	d.checkHeaders(c)
	d.checkSession(c)
	if c.Logo != "" {
		c.LogoImage, _, _ = d.named("logo", c.Logo, maxLogo)
	}
	if c.TLS != nil {
		d.checkTLS(c)
	}
	if c.UpstreamTLS.CAFile != "" {
		c.UpstreamTLS.CAs = d.authorities("upstream_tls.ca_file", c.UpstreamTLS.CAFile)
		if !slices.ContainsFunc(c.upstreams(), func(u keyedUpstream) bool { return u.Kind == UpstreamHTTPS }) {
			d.warn("upstream_tls.ca_file", "is not used, since no upstream is https://", "")
		}
	}
	if c.UpstreamTransport == TransportDirect && !slices.ContainsFunc(c.upstreams(), func(u keyedUpstream) bool { return u.Kind == UpstreamHTTP || u.Kind == UpstreamUnix }) {
		d.warn("upstream_transport", "direct is not used, since no upstream is http:// or unix:", "")
	}
}

// required reports a key that is not in the file, neither as itself nor as a
// file; not when the section that it belongs to is no section.
func (d *decoder) required(key, do string) {
	section := key[:max(0, strings.LastIndex(key, "."))]
	noSection := section != "" && slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Key == section })
	if !d.has(key) && !d.has(key+"_file") && !d.failed(key) && !d.failed(key+"_file") && !noSection {
		d.problem(key, "missing", do)
	}
}

const googleIssuer = "https://accounts.google.com"

func (d *decoder) checkProvider(c *Config) {
	if c.Google != nil {
		d.checkGoogle(c.Google)
	}
	if c.OIDC != nil {
		d.checkOIDC(c.OIDC)
	}
	switch {
	case d.has("google") && d.has("oidc"):
		d.problem("oidc", "stands beside google", "keep one of the two")
	case !d.has("google") && !d.has("oidc") && !d.failed("google") && !d.failed("oidc"):
		d.problem("google", "missing", "the client from the Google Cloud console: client_id and client_secret_file; or oidc, for another provider")
	}
}

func (d *decoder) checkGoogle(g *Google) {
	d.required("google.client_id", "from the Google Cloud console")
	d.required("google.client_secret", "from the Google Cloud console; or client_secret_file, the path of a file that holds it")
	switch {
	case g.Issuer != googleIssuer:
		d.warn("google.issuer", "whoever answers there is believed as Google is", "only for tests: take the line out")
	case g.ClientID == "1234.apps.googleusercontent.com":
		d.warn("google.client_id", "is the one of the example", "copy your own from the Google Cloud console")
	case g.ClientID != "" && !strings.HasSuffix(g.ClientID, ".apps.googleusercontent.com"):
		d.warn("google.client_id", "does not end in .apps.googleusercontent.com, as Google's do", "copy it from the Google Cloud console")
	}
}

func (d *decoder) checkOIDC(o *OIDC) {
	d.required("oidc.issuer", "the provider's issuer, as in https://login.example.com")
	d.required("oidc.client_id", "from the provider")
	d.required("oidc.client_secret", "from the provider; or client_secret_file, the path of a file that holds it")
	if strings.HasPrefix(o.Issuer, "http://") {
		d.warn("oidc.issuer", "is not https, so whoever can listen on this machine can sign in as anybody", "only for tests")
	}
	if !slices.Contains(o.Scopes, "openid") && !d.failed("oidc.scopes") {
		d.problem("oidc.scopes", "openid is not among them", "without it nobody can sign in")
	}
	if o.CAFile != "" {
		o.CAs = d.authorities("oidc.ca_file", o.CAFile)
	}
	if o.Name == "" {
		_, host, _ := strings.Cut(o.Issuer, "://")
		o.Name, _, _ = strings.Cut(host, "/")
	}
}

func (d *decoder) checkAllow(c *Config) {
	// An empty list must never come to mean everybody, nor stand in the file and
	// look as if it did something.
	if c.Allow.empty() && !c.Allow.Everyone && !d.failed("allow") {
		d.problem("allow", "nobody is allowed", "list domains, emails or groups; or write everyone: true, for every account of the provider")
	}
	d.checkList("allow", c, &c.Allow.List)
	if !c.Allow.Everyone {
		return
	}
	if !c.Allow.empty() {
		d.warn("allow.everyone", "lets in every account, so the lists beside it keep nobody out", "take it out, or the lists")
	} else if c.Google != nil {
		d.warn("allow.everyone", "lets in everybody who has a Google account", "")
	}
}

func (l *List) empty() bool { return len(l.Domains) == 0 && len(l.Emails) == 0 && len(l.Groups) == 0 }

// checkList checks the list at key, the top-level one or that of a route.
func (d *decoder) checkList(key string, c *Config, l *List) {
	d.notEmpty(key+".domains", len(l.Domains))
	d.notEmpty(key+".emails", len(l.Emails))
	d.notEmpty(key+".groups", len(l.Groups))
	if c.Google != nil && len(l.Groups) > 0 {
		d.problem(key+".groups", "Google tells no groups", "list domains or emails")
	}
	if c.OIDC != nil && len(l.Groups) > 0 && c.OIDC.GroupsClaim == "" && !d.failed("oidc.groups_claim") {
		d.problem(key+".groups", "oidc.groups_claim does not say where the provider tells groups", "often groups_claim: groups")
	}
	for i, domain := range l.Domains {
		entry := fmt.Sprintf("%s.domains[%d]", key, i)
		isConsumer := domain.Name == "gmail.com" || domain.Name == "googlemail.com"
		switch {
		case domain.Name == "" && !d.failed(entry):
			d.problem(entry, "domain is missing", "as in {domain: brand.com, hosted_domain: example.com}")
		case domain.HostedDomain != "" && c.OIDC != nil:
			d.problem(entry, "hosted_domain is only told by Google", "take it out")
		case domain.HostedDomain != "" && isConsumer:
			d.problem(entry, "these accounts have no hosted domain", "take hosted_domain out")
		case isConsumer:
			d.warn(entry, "lets in everybody who has a Gmail account", "single addresses belong under emails")
		}
	}
}

// notEmpty reports a list that is in the file but has no entries.
func (d *decoder) notEmpty(key string, n int) {
	if d.has(key) && n == 0 && !d.failed(key) {
		d.problem(key, "the list is empty", "add an entry, or take the line out")
	}
}

func (d *decoder) checkRoutes(c *Config) {
	missing := len(c.Routes) == 0
	for i, r := range c.Routes {
		key := fmt.Sprintf("routes[%d]", i)
		missing = missing || r.Upstream.IsZero() && r.Access != Nobody && !d.failed(key+".upstream")
		d.required(key+".path", "as in /webhooks/; with the slash at the end it is everything below")
		d.notEmpty(key+".methods", len(r.Methods))
		if r.Upstream.Kind == UpstreamNone {
			d.problem(key+".upstream", "none is for the wall as a whole", "take the line out")
		}
		if r.Access == Admins && len(c.Admins) == 0 && !d.failed("admins") {
			d.warn(key+".access", "nobody passes, since admins names nobody", "")
		}
		if r.Access == Public && r.Path == "/" && len(r.Methods) == 0 {
			d.warn(key+".access", "opens the whole site to everybody", "")
		}
		if r.Allow == nil {
			continue
		}
		if r.Access == Public || r.Access == Nobody {
			d.problem(key+".allow", "decides nothing beside access: "+string(r.Access), "keep one of the two")
		}
		if r.Allow.empty() && !d.failed(key+".allow") {
			d.problem(key+".allow", "nobody is allowed", "list domains, emails or groups; or write access: nobody")
		}
		d.checkList(key+".allow", c, r.Allow)
	}
	if missing {
		d.required("upstream", "the app behind the wall, as in http://127.0.0.1:3000")
	}
	if c.Upstream.Kind == UpstreamNone && len(c.TrustedProxies) == 0 && !d.failed("trusted_proxies") {
		d.warn("upstream", "none leaves forward-auth alone, but trusted_proxies names nobody who may ask", "name the proxy that asks")
	}
}

// checkHeaders looks for names that are two keys of the file but one header for
// the app. Which names and placeholders there are is for auth/assertion to say.
func (d *decoder) checkHeaders(c *Config) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Headers.Set)) {
		folded := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if other, ok := seen[folded]; ok {
			d.problem("headers.set."+name, "is the same header as "+other+" for many apps", "keep one of the two")
		}
		seen[folded] = name
	}
}

// checkAddresses refuses a wall that would be its own upstream, which is a loop
// at best and an unguarded way in at worst.
func (d *decoder) checkAddresses(c *Config) {
	d.required("public_url", "the origin that people type, as in https://tool.example.com")
	if sameAddress(c.Listen, c.OpsListen) {
		d.problem("ops_listen", "is the same address as listen", "choose another port, or off")
	}
	if i := slices.IndexFunc(c.TrustedProxies, func(p Peer) bool { return p.Unix }); i >= 0 && !c.listensOnSocket() && !d.failed("listen") {
		d.warn(fmt.Sprintf("trusted_proxies[%d]", i), "means nobody, since listen is no socket", "name the addresses of the proxies, or listen on unix:/path")
	}
	for _, u := range c.upstreams() {
		key := u.key
		host, port, err := net.SplitHostPort(u.Host)
		if err != nil { // a socket, or none
			if u.Kind == UpstreamUnix && u.String() == c.Listen {
				d.problem(key, "is the wall itself, by listen", "name the address of the app")
			}
			continue
		}
		switch public, directory := c.PublicURL, c.Directory.PublicURL; {
		case sameAddress(c.Listen, u.Host):
			d.problem(key, "is the wall itself, by listen", "name the address of the app")
		case sameAddress(c.OpsListen, u.Host):
			d.problem(key, "is the wall itself, by ops_listen", "name the address of the app")
		case public != nil && strings.EqualFold(public.Host, hostPort(public.Scheme, host, port)):
			d.problem(key, "is the wall itself, by public_url", "name the address of the app")
		case directory != nil && strings.EqualFold(directory.Host, hostPort(directory.Scheme, host, port)):
			d.problem(key, "is the wall itself, by directory.public_url", "name the address of the app")
		}
	}
	if c.PublicURL != nil && c.Google != nil {
		if addr, err := netip.ParseAddr(c.PublicURL.Hostname()); err == nil && !addr.IsLoopback() {
			d.warn("public_url", "Google takes no IP addresses for redirect URIs", "use a host name")
		}
	}
}

// checkDirectory holds the directory's origin to be another one than the app's, and
// one that the same listener can serve.
func (d *decoder) checkDirectory(c *Config) {
	const key = "directory.public_url"
	public, own := c.PublicURL, c.Directory.PublicURL
	if own == nil {
		return
	}
	if len(c.Admins) == 0 && !d.failed("admins") {
		d.warn(key, "nobody may see what is there, since admins names nobody", "")
	}
	switch {
	case public == nil:
	case own.Scheme != public.Scheme:
		d.problem(key, "has another scheme than public_url", "the same listener serves both: write "+public.Scheme+"://"+own.Host)
	case own.Host == public.Host:
		d.problem(key, "is the origin of the app", "give it another host, as in https://users.example.com")
	case own.Hostname() == public.Hostname():
		d.warn(key, "is on the app's host, and cookies do not keep ports apart: a script of the app can take an admin's away, or put others there", "give it another host")
	}
}

// listensOnSocket tells whether peers may come without an address.
func (c *Config) listensOnSocket() bool {
	return strings.HasPrefix(c.Listen, "unix:") || c.Listen == ListenSystemd
}

// A keyedUpstream is an upstream with the key that names it.
type keyedUpstream struct {
	key string
	Upstream
}

func (c *Config) upstreams() []keyedUpstream {
	out := []keyedUpstream{{"upstream", c.Upstream}}
	for i, r := range c.Routes {
		out = append(out, keyedUpstream{fmt.Sprintf("routes[%d].upstream", i), r.Upstream})
	}
	return out
}

// sameAddress tells whether a connection to target would end at a listener on
// listen, as far as the two texts tell. Port 0 is another port every time.
func sameAddress(listen, target string) bool {
	listenHost, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return false
	}
	host, targetPort, err := net.SplitHostPort(target)
	if err != nil || targetPort != port {
		return false
	}
	everywhere := func(host string) bool {
		addr, err := netip.ParseAddr(host)
		return host == "" || err == nil && addr.IsUnspecified()
	}
	here := func(host string) bool { return everywhere(host) || isLoopback(host) }
	return strings.EqualFold(listenHost, host) || here(listenHost) && here(host)
}

func (d *decoder) checkSession(c *Config) {
	s := &c.Session
	if d.has("session.idle_timeout") && !d.failed("session") && s.IdleTimeout > s.MaxAge {
		d.warn("session.idle_timeout", "never counts, since max_age is shorter", "")
	}
	if s.KeyFile == "" && !c.Store.Shared.IsZero() && !d.failed("session") {
		d.problem("session.key_file", "missing", "walls that share a store need the same key: openssl rand -base64 32")
	}
	if s.KeyFile != "" {
		s.Key = d.key("session.key_file", s.KeyFile)
	}
	if len(s.OldKeyFiles) > 2 {
		d.problem("session.old_key_files", "there are more than 2", "keep the newest ones")
	}
	for i, path := range s.OldKeyFiles {
		key := fmt.Sprintf("session.old_key_files[%d]", i)
		if path == s.KeyFile || slices.Contains(s.OldKeyFiles[:i], path) {
			d.problem(key, "names a file a second time", "take it out")
		}
		s.OldKeys = append(s.OldKeys, d.key(key, path))
	}
}
