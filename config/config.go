// Package config reads the one file that tells a wall what to do.
//
// # Why it is so
//
// A login wall is opened by accident more often than by attack: a misspelt
// key that is skipped, a list that turned out empty and meant "everybody", a
// secret that was never filled in. So the loader is strict, in the safe
// direction only: whatever it does not understand wholly, it refuses, and it
// tells all that is wrong at once, each with its line and what to do.
//
// Config is plain data, and the comments of its fields are the documentation
// of the file: config.example.yaml is generated from them, and a test keeps
// the two equal. Load is the only maker of a Config; what it returns has been
// checked, and each file that it names has been read, once.
//
// # Secrets
//
// A secret comes from a file, from the environment, or stands in the
// configuration itself. No message repeats the text of a secret, nor anything
// that came out of the environment or a secret's file, whichever key it was
// meant for.
//
// Only the command imports this package: every other package has a small
// Config of its own.
package config

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
)

// A Secret never prints its text.
type Secret = auth.Secret

// A Config is the whole file. The tags are what the loader and the generator
// of the example read:
//
//	yaml     the key; ",inline" for an embedded list of keys; ",file" for a value
//	         that may also stand in a file, named by the same key with _file behind it
//	kind     how a text is read and checked (see kinds.go)
//	default  the value when the key is absent
//	example  the value in config.example.yaml, for keys without a default
//	reload   "restart" for what a running wall does not change, "presence" for a
//	         section that it neither gets nor loses
//	contents the field that holds what the named file holds
type Config struct {
	// The one origin that people type: scheme, host, and a port if it is not the
	// usual one; nothing else. The redirect URI to register with the provider
	// (this URL with /_auth/callback behind it), the cookies and every redirect
	// follow from it alone. http is only for names of this machine, such as
	// http://localhost:8080.
	PublicURL *url.URL `yaml:"public_url" example:"https://tool.example.com"`

	// The app behind the wall: http://, https:// or h2c:// (HTTP/2 without TLS)
	// with host and port, or unix:/path for a socket. It must not be reachable
	// but through the wall. "none" is for forward-auth alone, where another proxy
	// carries the requests and asks the wall. Required, unless every route names
	// an upstream of its own.
	Upstream Upstream `yaml:"upstream" example:"http://127.0.0.1:3000"`

	// What carries requests to http:// and unix: upstreams: standard, which is Go's
	// net/http, or direct, the wall's own. direct takes less processor time, refuses
	// broken answers that standard lets pass, and never gives one person what an app
	// sent behind the answer to another. WebSockets, https:// and h2c:// always go by
	// standard.
	UpstreamTransport UpstreamTransport `yaml:"upstream_transport" default:"standard"`

	// How certificates of https:// upstreams are checked.
	UpstreamTLS UpstreamTLS `yaml:"upstream_tls"`

	// Whether the app gets the public host in its Host header; false sends the
	// upstream's own.
	PassHost bool `yaml:"pass_host" default:"true"`

	// Sign-in with Google. Either this or oidc, not both.
	Google *Google `yaml:"google"`

	// Sign-in with any other OpenID Connect provider, instead of google.
	OIDC *OIDC `yaml:"oidc"`

	// Who may pass: at least one entry. Everybody else is turned away.
	Allow Allow `yaml:"allow"`

	// Who may not, whatever allows them.
	Deny Deny `yaml:"deny"`

	// Addresses that may see and change the users of the wall. Who holds the
	// address holds the role; when the account behind one changes, an event and
	// a warning say so.
	Admins []string `yaml:"admins" kind:"email" example:"[boss@example.com]"`

	// The pages on which admins see and change users.
	Directory Directory `yaml:"directory"`

	// Rules for parts of the site; the first one that matches decides. The last
	// one is implied: path /, access allowed. Without routes the path decides
	// nothing.
	Routes []Route `yaml:"routes"`

	// What the app is told about who is calling. Every copy that a client sends
	// is removed first.
	Headers Headers `yaml:"headers"`

	// How long people stay signed in, and the key that seals their sessions.
	Session Session `yaml:"session"`

	// Where users, sessions and events are kept: sqlite:PATH, one file that
	// belongs to the wall; or postgres://user:password@host/database, for as many
	// walls as you like. The server must prove who it is (sslmode=verify-full, with
	// sslrootcert=/path) unless it is on this machine or the URL names another
	// sslmode. Each wall has 6 connections at most, or pool_max_conns=N. May also
	// stand in a file, named by store_file.
	Store Store `yaml:"store,file" reload:"restart" default:"sqlite:loginwall.db"`

	// What the store keeps, and for how long. The wall takes out the rest itself,
	// every ten minutes; so does "loginwall store prune".
	Keep Keep `yaml:"keep" reload:"restart"`

	// The proxies in front of the wall, as addresses or CIDRs: only what they say
	// about the client (X-Forwarded-For, -Host and -Proto) is believed, and only
	// they may ask /_auth/verify and /_auth/forward. A range that holds
	// everybody, as 0.0.0.0/0 does, is refused. "unix" is whoever may connect to
	// the socket that the wall listens on.
	TrustedProxies []Peer `yaml:"trusted_proxies" example:"[10.0.0.0/8]"`

	// Where the wall listens, host:port. Without a host: on every address of this
	// machine. Or unix:/path for a socket, which has the mode 0660: the user and
	// the group of the wall may connect. Or systemd, for the sockets of a .socket
	// unit, as in deploy/systemd. A change needs a restart.
	Listen string `yaml:"listen" kind:"listen" reload:"restart" default:":8080"`

	// A certificate of the wall's own, for where nothing in front of it ends TLS:
	// cert_file and key_file, or acme. To begin or to end that needs a restart.
	TLS *TLS `yaml:"tls" reload:"presence"`

	// Where /livez, /readyz and /metrics are served; "off" turns them off. They
	// tell no secrets, but are nobody else's business. A change needs a restart.
	OpsListen string `yaml:"ops_listen" kind:"address_or_off" reload:"restart" default:"127.0.0.1:9470"`

	// One line for the page that turns somebody away: whom to ask.
	Contact string `yaml:"contact" kind:"line" example:"\"Ask Bob in IT, bob@example.com\""`

	// What people call the app: the name on the wall's own pages. If absent, the
	// host of public_url.
	AppName string `yaml:"app_name" kind:"line" example:"Sales reports"`

	// The app's sign on those pages, instead of a wall: a PNG, JPEG or WebP file
	// of 100 KiB at most.
	Logo string `yaml:"logo" kind:"file" contents:"LogoImage" example:"logo.png"`

	// LogoImage is what Logo holds; nil without one.
	LogoImage []byte `yaml:"-"`

	// The colour of links and buttons on those pages, dark enough to be read on
	// white. For dark screens a brighter one is made of it.
	Accent string `yaml:"accent" kind:"colour" example:"\"#1a5fb4\""`

	// What a single request may cost.
	Limits Limits `yaml:"limits"`

	// How long the wall waits. No timeout cuts a body that still moves.
	Timeouts Timeouts `yaml:"timeouts"`

	// What is written to stderr.
	Log Log `yaml:"log"`

	source
}

// Google is the client that was made in the Google Cloud console.
type Google struct {
	// The client's id, from the Google Cloud console.
	ClientID string `yaml:"client_id" kind:"client_id" example:"1234.apps.googleusercontent.com"`

	// The client's secret: client_secret_file names a file that holds it and
	// nothing else; client_secret is the text itself, which may be ${NAME}.
	ClientSecret Secret `yaml:"client_secret,file" example:"/run/secrets/google_client_secret"`

	// Only for tests: a provider that behaves like Google. Without TLS only on
	// this machine.
	Issuer string `yaml:"issuer" kind:"issuer" default:"https://accounts.google.com"`
}

// OIDC is a client at any OpenID Connect provider.
type OIDC struct {
	// The provider's issuer, exactly as it names itself; without TLS only on this
	// machine.
	Issuer string `yaml:"issuer" kind:"issuer" example:"https://login.example.com"`

	// The client's id at this provider.
	ClientID string `yaml:"client_id" kind:"client_id" example:"loginwall"`

	// The client's secret, or client_secret_file with the file that holds it.
	ClientSecret Secret `yaml:"client_secret,file" example:"/run/secrets/oidc_client_secret"`

	// How the wall proves at the token endpoint who it is: basic, by HTTP's own
	// authentication, or post, by fields of the form. If absent, what the provider's
	// metadata says; basic if they say nothing.
	AuthMethod string `yaml:"auth_method" kind:"auth_method" example:"post"`

	// What people call the provider; the host of the issuer if absent.
	Name string `yaml:"name" kind:"line" example:"Example SSO"`

	// What is asked for; openid must be among it.
	Scopes []string `yaml:"scopes" kind:"scope" default:"openid,email,profile"`

	// The claim that lists a person's groups, in the ID token or at userinfo.
	GroupsClaim string `yaml:"groups_claim" kind:"word" example:"groups"`

	// Take addresses for verified although the provider does not say so: only
	// for a provider that sends no email_verified and checks every address.
	TrustEmail bool `yaml:"trust_email" default:"false"`

	// Certificates (PEM) to trust for this provider, instead of the system's.
	CAFile string `yaml:"ca_file" kind:"file" contents:"CAs" example:"provider-ca.pem"`

	// CAs is what CAFile holds; nil without one.
	CAs *x509.CertPool `yaml:"-"`
}

// An UpstreamTransport is what carries requests to upstreams without TLS.
type UpstreamTransport string

// The transports.
const (
	TransportStandard UpstreamTransport = "standard" // net/http's
	TransportDirect   UpstreamTransport = "direct"   // proxy/direct
)

// UpstreamTLS says which certificates of upstreams are trusted.
type UpstreamTLS struct {
	// Certificates (PEM) to trust for https:// upstreams, instead of the system's.
	CAFile string `yaml:"ca_file" kind:"file" contents:"CAs" example:"upstream-ca.pem"`

	// CAs is what CAFile holds; nil without one.
	CAs *x509.CertPool `yaml:"-"`
}

// TLS is the certificate that browsers get, on every connection to listen.
type TLS struct {
	// The certificate (PEM), with those between it and the CA behind it. A new one
	// is taken when the files have changed; no connection ends for it.
	CertFile string `yaml:"cert_file" kind:"file" contents:"Certificate" example:"fullchain.pem"`

	// Its private key (PEM), without a password.
	KeyFile string `yaml:"key_file" kind:"file" example:"privkey.pem"`

	// Instead of the two files: a certificate from a CA, which the wall asks for and
	// renews by itself. A change needs a restart.
	ACME *ACME `yaml:"acme" reload:"restart"`

	// Where browsers look that were told no https, host:port: the wall answers there
	// that public_url is the place, and nothing else but what a CA asks. A change
	// needs a restart.
	RedirectListen string `yaml:"redirect_listen" kind:"address" reload:"restart" example:":80"`

	// Certificate is what both files hold; nil with acme.
	Certificate *tls.Certificate `yaml:"-"`
}

// ACME is a CA that gives certificates by RFC 8555. To name one is to agree to its
// terms. It must reach the wall by the host of public_url, and by that of the
// directory if it has its own, on port 443, or on port 80 where redirect_listen is.
type ACME struct {
	// Whom the CA writes to if something is wrong with the certificate.
	Email string `yaml:"email" kind:"email" example:"admin@example.com"`

	// The CA's directory.
	DirectoryURL string `yaml:"directory_url" kind:"directory" default:"https://acme-v02.api.letsencrypt.org/directory"`

	// A folder of the wall's own for the certificate and its key, which must outlast a
	// restart: CAs give only so many a week. Beside the embedded store if absent.
	CacheDir string `yaml:"cache_dir" kind:"file" example:"/var/lib/loginwall/acme"`

	// Certificates (PEM) to trust for this CA's directory, instead of the system's.
	CAFile string `yaml:"ca_file" kind:"file" contents:"CAs" example:"acme-ca.pem"`

	// CAs is what CAFile holds; nil without one.
	CAs *x509.CertPool `yaml:"-"`
}

// Directory says where the users are seen and changed.
type Directory struct {
	// An origin of its own for /_auth/users, by the rules of public_url, so that no
	// script of the app can act as the admin who has it open: the app shares
	// public_url with it otherwise. Send this host to the wall as well, and register
	// its redirect URI (this URL with /_auth/callback behind it) for the same client.
	// Admins sign in there anew, and nothing else is served. With tls.acme, a host that
	// a reload brings gets its certificate after a restart.
	PublicURL *url.URL `yaml:"public_url" example:"https://users.example.com"`

	// The pictures of people on the wall's own pages: none, which shows initials, or
	// proxied. Then the wall fetches them from the provider's origin, with google from
	// *.googleusercontent.com, past any proxy of the environment, and serves small
	// copies, so that nobody else learns who looks at whom.
	Pictures Pictures `yaml:"pictures" default:"none"`
}

// Pictures says what is shown of people.
type Pictures string

// The choices.
const (
	PicturesNone    Pictures = "none"
	PicturesProxied Pictures = "proxied"
)

// A List names people. An empty one names nobody.
type List struct {
	// Everybody whose verified address ends in exactly this domain. With google,
	// the account must also belong to the Workspace of that domain; for a
	// secondary domain of a Workspace write
	// {domain: brand.com, hosted_domain: example.com}.
	Domains []Domain `yaml:"domains" example:"[example.com]"`

	// Single verified addresses.
	Emails []string `yaml:"emails" kind:"email" example:"[guest@partner.com]"`

	// Groups that the provider tells; not with google.
	Groups []string `yaml:"groups" kind:"group" example:"[sre@example.com]"`
}

// Allow is the top-level list of who may pass.
type Allow struct {
	List `yaml:",inline"`

	// Every account of the provider may pass. With google that is the whole
	// world.
	Everyone bool `yaml:"everyone" default:"false"`
}

// A Domain is an entry of a list: a name, or a mapping for a secondary domain
// of a Google Workspace.
type Domain struct {
	// The domain of the address.
	Name string `yaml:"domain" kind:"domain"`

	// The primary domain of the Workspace that owns the account; the same as
	// domain if absent.
	HostedDomain string `yaml:"hosted_domain" kind:"domain"`
}

// Deny is a block that lives in the file.
type Deny struct {
	// Addresses that never pass.
	Emails []string `yaml:"emails" kind:"email" example:"[former@example.com]"`
}

// An Access says who may use a route. The zero value is none of them, and lets
// nobody in.
type Access string

// The kinds of access.
const (
	Public  Access = "public"  // everybody, without signing in
	Allowed Access = "allowed" // who the allow list lets in
	Admins  Access = "admins"  // who is named in admins
	Nobody  Access = "nobody"
)

// A Route is a rule for a part of the site.
type Route struct {
	// With a slash at the end: everything below. Without: exactly this path.
	Path string `yaml:"path" kind:"path" example:"/admin/"`

	// The methods that the rule is for; all of them if absent. GET is for HEAD too.
	Methods []string `yaml:"methods" kind:"method" example:"[GET, POST]"`

	// public: everybody, without signing in, as for webhooks. allowed: who may pass
	// the wall. admins: who is named above. nobody.
	Access Access `yaml:"access" default:"allowed"`

	// Narrows the top-level list for this route: who is not in both is turned
	// away.
	Allow *List `yaml:"allow" example:"{emails: [boss@example.com]}"`

	// Another app for this route.
	Upstream Upstream `yaml:"upstream" example:"http://127.0.0.1:3001"`
}

// Headers are the identity headers of an upstream request.
type Headers struct {
	// Sets of headers: forwarded (X-Forwarded-User, -Email, -Preferred-Username,
	// -Name, -Groups), grafana, gitea, jenkins, remote-user, sonarqube,
	// authrequest (X-Auth-Request-*), assertion (a signed X-Loginwall-Assertion).
	Profiles []string `yaml:"profiles" kind:"word" default:"forwarded"`

	// More headers, or others for those of the profiles: name to template, with
	// {email} {local_part} {subject} {name} {groups} {picture} {hosted_domain}
	// {assertion}.
	Set map[string]string `yaml:"set" kind:"line" example:"{X-User-Id: \"{subject}\"}"`
}

// Session says how long sessions live. Every duration is a number with a unit,
// as in 90s, 15m or 168h.
type Session struct {
	// The absolute lifetime of a session, however busy it is.
	MaxAge time.Duration `yaml:"max_age" kind:"from_1s" default:"168h"`

	// A session ends when it was not used for this long.
	IdleTimeout time.Duration `yaml:"idle_timeout" kind:"from_1s" default:"24h"`

	// How long a login may take, from the wall to the provider and back.
	LoginTimeout time.Duration `yaml:"login_timeout" kind:"from_1s" default:"10m"`

	// A file with 32 random bytes or more in base64, as from "openssl rand
	// -base64 32", that only the wall may read. Without this key the wall makes
	// one, once, beside its store.
	KeyFile string `yaml:"key_file" kind:"file" contents:"Key" example:"/run/secrets/loginwall_key"`

	// Keys that were used before, 2 at most: what they sealed still opens, and
	// nothing new is sealed with them.
	OldKeyFiles []string `yaml:"old_key_files" kind:"file" contents:"OldKeys" example:"[/run/secrets/loginwall_old_key]"`

	// While the store is away, people who are signed in go on working on what was
	// last known of ended sessions and blocks; when that has become older than
	// this, they are answered 503.
	MaxFeedAge time.Duration `yaml:"max_feed_age" kind:"from_1s" default:"5m"`

	// Key and OldKeys are what KeyFile and OldKeyFiles hold, not decoded yet. Key
	// is empty without a KeyFile.
	Key     Secret   `yaml:"-"`
	OldKeys []Secret `yaml:"-"`
}

// Keep is what the store keeps. Users and blocks it keeps until somebody takes
// them out, and what was revoked as long as that counts.
type Keep struct {
	// How long a session stays in the lists after it has expired.
	Sessions time.Duration `yaml:"sessions" kind:"from_1s" default:"2160h"`

	// How many events of each kind stay, the latest ones.
	Events int `yaml:"events" default:"100000"`

	// How many times that somebody was denied stay; strangers cause these.
	Denied int `yaml:"denied" default:"10000"`
}

// Limits bound what a single request may cost.
type Limits struct {
	// The request line and all header lines together, in bytes, or with KiB or
	// MiB behind the number. Longer ones are answered 431.
	HeaderBytes Size `yaml:"header_bytes" reload:"restart" default:"32KiB"`
}

// Timeouts bound how long the wall waits, and for what.
type Timeouts struct {
	// For the complete header of a request.
	ReadHeader time.Duration `yaml:"read_header" kind:"positive" reload:"restart" default:"10s"`

	// For the next request on an open connection.
	Idle time.Duration `yaml:"idle" kind:"positive" reload:"restart" default:"120s"`

	// For the client to send the next bytes of a body it has announced, or to
	// take the next bytes of an answer. Streams that are silent because nobody
	// has anything to say are not touched.
	Stall time.Duration `yaml:"stall" kind:"positive" reload:"restart" default:"120s"`

	// For a connection to the upstream, TLS included.
	Connect time.Duration `yaml:"connect" kind:"positive" default:"10s"`

	// For the upstream's first answer, once it has the whole request; 0s waits
	// for ever.
	ResponseHeader time.Duration `yaml:"response_header" default:"5m"`

	// Before a stopping wall takes no more connections: time for the load
	// balancer to notice that /readyz says no.
	DrainDelay time.Duration `yaml:"drain_delay" default:"0s"`

	// For requests that are under way when the wall stops; what is open after
	// that is closed.
	Drain time.Duration `yaml:"drain" default:"25s"`
}

// A LogFormat says how a line of the log is written.
type LogFormat string

// The formats of the log.
const (
	LogAuto LogFormat = "auto" // text on a terminal, else JSON
	LogJSON LogFormat = "json"
	LogText LogFormat = "text"
)

// Where the audit stream goes, beside a file: AuditFile and its absolute path.
const (
	AuditStderr = "stderr"
	AuditOff    = "off"
	AuditFile   = "file:"
)

// Log says what is written to stderr.
type Log struct {
	// debug, info, warn or error.
	Level slog.Level `yaml:"level" default:"info"`

	// json, text, or auto: text on a terminal, else one JSON object a line.
	Format LogFormat `yaml:"format" default:"auto"`

	// Whether every request gets a line.
	Access bool `yaml:"access" default:"true"`

	// Where the audit stream goes, one line for each sign-in, denial, sign-out,
	// ended session, block and reload: stderr, among the log; file:PATH, appended
	// to and opened anew for what comes, so that it may be rotated by renaming; or
	// off. The same events are in the store.
	Audit string `yaml:"audit" kind:"audit" default:"stderr"`
}

// A Size is a number of bytes.
type Size int

// An UpstreamKind says how an upstream is spoken to. The zero value is none of
// them.
type UpstreamKind string

// The kinds of upstreams.
const (
	UpstreamHTTP  UpstreamKind = "http"
	UpstreamHTTPS UpstreamKind = "https"
	UpstreamH2C   UpstreamKind = "h2c"  // HTTP/2 with prior knowledge, without TLS
	UpstreamUnix  UpstreamKind = "unix" // HTTP/1.1 over a socket file
	UpstreamNone  UpstreamKind = "none" // nothing is proxied
)

// An Upstream is the app behind the wall.
type Upstream struct {
	Kind UpstreamKind
	// Host is host:port, the port always written out; empty for unix and none.
	Host string
	// Path is the socket file of unix.
	Path string
}

// IsZero reports whether no upstream was named.
func (u Upstream) IsZero() bool { return u.Kind == "" }

// URL returns scheme and host for a request to the upstream: http for h2c, and
// http://unix for a socket. It is nil for none and the zero value.
func (u Upstream) URL() *url.URL {
	switch u.Kind {
	case UpstreamHTTP, UpstreamH2C:
		return &url.URL{Scheme: "http", Host: strings.TrimSuffix(u.Host, ":80")}
	case UpstreamHTTPS:
		return &url.URL{Scheme: "https", Host: strings.TrimSuffix(u.Host, ":443")}
	case UpstreamUnix:
		return &url.URL{Scheme: "http", Host: "unix"}
	case UpstreamNone:
	}
	return nil
}

// String returns the upstream as it is written in the file.
func (u Upstream) String() string {
	switch u.Kind {
	case UpstreamHTTP, UpstreamHTTPS, UpstreamH2C:
		return string(u.Kind) + "://" + u.Host
	case UpstreamUnix:
		return "unix:" + u.Path
	case UpstreamNone:
	}
	return string(u.Kind)
}

// ListenSystemd is the Listen that leaves the sockets to systemd.
const ListenSystemd = "systemd"

// A Peer is who may be at the other end of a connection: an address of the
// networks in Prefix or, if Unix, whoever connected to a socket. The zero value is
// nobody.
type Peer struct {
	netip.Prefix
	Unix bool
}

// String returns the peer as it is written in the file.
func (p Peer) String() string {
	if p.Unix {
		return "unix"
	}
	return p.Prefix.String()
}

// A Store says where users, sessions and events are kept.
type Store struct {
	// Path is the file of the embedded store, absolute; empty with a shared one.
	Path string
	// Shared is the URL of a shared store; it may hold a password.
	Shared Secret
}

// URL returns the form that auth/store opens. It is not fit for a log; String is.
func (s Store) URL() string {
	if s.Path == "" {
		return s.Shared.Reveal()
	}
	return "sqlite:" + s.Path
}

// String leaves out all of a shared store's URL that may be a secret: an @ that ends
// no user's name tells that a part of the password stands where it was not looked for.
func (s Store) String() string {
	if s.Path != "" {
		return s.URL()
	}
	text := s.Shared.Reveal()
	u, err := url.Parse(text)
	if err != nil || strings.Count(text, "@") > 1 || u.User == nil && strings.Contains(text, "@") {
		return "postgres://" // or several hosts
	}
	return "postgres://" + u.Host + u.Path
}
