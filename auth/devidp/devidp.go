// Package devidp is a small OpenID provider that looks and behaves like Google,
// for `loginwall demo` and for tests: discovery, an account chooser, codes with
// PKCE, RS256 ID tokens with Google's claims, keys that rotate.
//
// It asks for no password: whoever reaches it can be anybody. So it is never to be
// reachable by strangers, and nothing but a demo or a test may trust it.
//
// For tests it also misbehaves on request (Fault). Nobody can trust a check that
// was never seen to refuse, and real providers do not lie on demand.
package devidp

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/loginwall/loginwall/auth"
)

const (
	codeLifetime, tokenLifetime = time.Minute, time.Hour
	maxCodes, maxRecords        = 10_000, 10_000
	maxForm                     = 64 << 10 // bytes
)

// A Client is a registered relying party.
type Client struct {
	Secret       string
	RedirectURIs []string // compared byte for byte; without a query
}

// A Person has an account here.
type Person struct {
	Subject, Email, Name, Picture string
	HostedDomain                  string // the Workspace that owns the account; empty for a personal one
	Unverified                    bool   // nobody has checked that the address is theirs
}

// DefaultPeople are two colleagues, a stranger, a personal and an unverified account.
func DefaultPeople() []Person {
	return []Person{
		{Subject: "100000000000000000001", Email: "alice@example.com", Name: "Alice Archer", HostedDomain: "example.com"},
		{Subject: "100000000000000000002", Email: "bob@example.com", Name: "Bob Baker", HostedDomain: "example.com"},
		{Subject: "100000000000000000003", Email: "mallory@evil.test", Name: "Mallory Moss", HostedDomain: "evil.test"},
		{Subject: "100000000000000000004", Email: "carol@gmail.com", Name: "Carol Cook"},
		{Subject: "100000000000000000005", Email: "dave@example.com", Name: "Dave Dale", Unverified: true},
	}
}

// Config says where the provider is and whom it knows.
type Config struct {
	Issuer  string            // the provider's own URL; requests are expected below its path
	Clients map[string]Client // by client id
	People  []Person          // whom the chooser offers; nil means DefaultPeople
	Now     func() time.Time  // nil means time.Now
}

// A Provider is an http.Handler. It is safe for concurrent use.
type Provider struct {
	config Config
	base   string // the issuer's path

	mu       sync.Mutex // guards the rest
	fault    Fault
	keys     []*key // the last one signs
	codes    map[string]grant
	counts   map[string]int
	requests []TokenRequest
}

// A grant is what a code stands for.
type grant struct {
	client, redirect, challenge, nonce, scope string
	person                                    Person
	expires                                   time.Time
}

// A TokenRequest is what a relying party sent to the token endpoint: the client id
// of its Authorization header, if any, its body, and what stood in the URL.
type TokenRequest struct {
	Basic       string
	Form, Query url.Values
	Status      int // as answered
}

// New makes a provider with one fresh key.
func New(c Config) (*Provider, error) {
	issuer, err := url.Parse(c.Issuer)
	if err != nil || issuer.Host == "" {
		return nil, errors.New("devidp: the issuer is not an absolute URL")
	}
	if c.People == nil {
		c.People = DefaultPeople()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &Provider{config: c, base: strings.TrimSuffix(issuer.Path, "/"), codes: map[string]grant{}, counts: map[string]int{}}
	return p, p.RotateKeys()
}

// ServeHTTP implements http.Handler.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	endpoint, serve := "other", http.NotFound
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, p.base) {
	case "GET /.well-known/openid-configuration":
		endpoint, serve = "discovery", p.discovery
	case "GET /authorize", "POST /authorize":
		endpoint, serve = "authorize", p.authorize
	case "POST /token":
		endpoint, serve = "token", p.token
	case "GET /jwks":
		endpoint, serve = "jwks", p.jwks
	case "GET /userinfo", "POST /userinfo": // announced, to see that nobody comes
		endpoint = "userinfo"
	}
	p.mu.Lock()
	p.counts[endpoint]++
	respond := p.fault.Respond
	p.mu.Unlock()
	if respond == nil || !respond(w, r, endpoint) {
		serve(w, r)
	}
}

// Requests counts what was asked, by endpoint: discovery, authorize, token, jwks,
// userinfo, other.
func (p *Provider) Requests(endpoint string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[endpoint]
}

// TokenRequests returns what came to the token endpoint, oldest first.
func (p *Provider) TokenRequests() []TokenRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	issuer := strings.TrimSuffix(p.config.Issuer, "/")
	doc := map[string]any{
		"issuer":                                p.config.Issuer,
		"authorization_endpoint":                issuer + "/authorize",
		"token_endpoint":                        issuer + "/token",
		"userinfo_endpoint":                     issuer + "/userinfo",
		"jwks_uri":                              issuer + "/jwks",
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic"},
		"code_challenge_methods_supported":      []string{"plain", "S256"},
	}
	edit(p.current().Discovery, doc)
	writeJSON(w, http.StatusOK, "public, max-age=3600", doc)
}

func (p *Provider) jwks(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	fault, published := p.fault, make([]any, 0, len(p.keys))
	for _, k := range p.keys {
		published = append(published, k.jwk())
	}
	p.mu.Unlock()
	doc := map[string]any{"keys": published}
	edit(fault.Keys, doc)
	writeJSON(w, http.StatusOK, "public, max-age=3600", doc)
}

//go:embed chooser.html
var files embed.FS

// authorize is the authorization endpoint (OpenID Connect Core 1.0, section 3.1.2).
// Only what names a registered client and redirect URI is ever sent back there.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	_ = r.ParseForm() // what cannot be read is missing
	q := r.URL.Query()
	client, known := p.config.Clients[q.Get("client_id")]
	redirect := q.Get("redirect_uri")
	if !known || !slices.Contains(client.RedirectURIs, redirect) {
		p.page(w, http.StatusBadRequest, "", "Error 400: redirect_uri_mismatch, or an unknown client_id")
		return
	}
	back := func(answer url.Values) {
		answer.Set("state", q.Get("state"))
		answer.Set("iss", p.config.Issuer) // RFC 9207, unannounced, as Google does
		edit(p.current().Callback, answer)
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, redirect+"?"+answer.Encode(), http.StatusFound) //nolint:gosec // a registered one
	}
	email := q.Get("login_hint")
	if r.Method == http.MethodPost {
		email = r.PostForm.Get("email")
	}
	problem := ""
	switch asks := email == "" && r.Method == http.MethodGet; {
	case q.Get("response_type") != "code":
		problem = "unsupported_response_type"
	case !slices.Contains(strings.Fields(q.Get("scope")), "openid"):
		problem = "invalid_scope"
	case q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		problem = "invalid_request"
	case r.PostForm.Has("cancel"):
		problem = "access_denied"
	case asks && q.Get("prompt") == "none":
		problem = "login_required"
	case asks:
		p.page(w, http.StatusOK, redirect, "")
		return
	}
	if problem != "" {
		back(url.Values{"error": {problem}})
		return
	}
	person, err := p.person(email)
	if err != nil {
		p.page(w, http.StatusBadRequest, redirect, "That is not an e-mail address.")
		return
	}
	code := p.grant(grant{
		client: q.Get("client_id"), redirect: redirect, challenge: q.Get("code_challenge"), nonce: q.Get("nonce"),
		scope: q.Get("scope"), person: person, expires: p.config.Now().Add(codeLifetime),
	})
	back(url.Values{"code": {code}, "scope": {q.Get("scope")}, "authuser": {"0"}, "prompt": {"none"}})
}

// person finds an account, or opens one for an address that has none: below
// gmail.com a personal one, elsewhere one of that domain's Workspace.
func (p *Provider) person(email string) (Person, error) {
	address, err := auth.ParseEmail(strings.TrimSpace(email))
	if err != nil {
		return Person{}, fmt.Errorf("devidp: %w", err)
	}
	for _, person := range p.config.People {
		if strings.EqualFold(person.Email, address) {
			return person, nil
		}
	}
	sum := sha256.Sum256([]byte(address))
	subject := fmt.Sprintf("117%018d", binary.BigEndian.Uint64(sum[:])%1e18) // 21 digits, as Google's
	local, domain := auth.LocalPart(address), auth.Domain(address)
	if domain == "gmail.com" || domain == "googlemail.com" {
		domain = ""
	}
	return Person{Subject: subject, Email: address, Name: strings.ToUpper(local[:1]) + local[1:], HostedDomain: domain}, nil
}

// grant remembers what a fresh code stands for, and forgets old ones.
func (p *Provider) grant(g grant) string {
	code := "4/" + rand.Text()
	now := p.config.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for old, g := range p.codes {
		if len(p.codes) >= maxCodes || now.After(g.expires) {
			delete(p.codes, old)
		}
	}
	p.codes[code] = g
	return code
}

// page shows the chooser, or without a client why the request cannot be served. Its
// forms have no action, so they go back to the very URL they are on, with all that
// the client asked for.
func (p *Provider) page(w http.ResponseWriter, status int, redirect, problem string) {
	view := template.Must(template.New("chooser.html").Funcs(template.FuncMap{
		"initial": func(s string) string { return strings.ToUpper(string([]rune(s + "?")[:1])) },
		"hue":     func(s string) int { return int(sha256.Sum256([]byte(s))[0]) * 360 / 256 },
	}).ParseFS(files, "chooser.html"))
	client := ""
	if u, err := url.Parse(redirect); err == nil {
		client = u.Host
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	// No form-action: browsers apply it to the redirect to the client, too.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	w.WriteHeader(status)
	_ = view.Execute(w, map[string]any{"Client": client, "People": p.config.People, "Problem": problem})
}

// token is the token endpoint (RFC 6749, section 4.1.3; RFC 7636, section 4.6).
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	_ = r.ParseForm()
	status, reply := p.redeem(r)
	p.mu.Lock()
	if basic, _, _ := r.BasicAuth(); len(p.requests) < maxRecords {
		p.requests = append(p.requests, TokenRequest{Basic: basic, Form: r.PostForm, Query: r.URL.Query(), Status: status})
	}
	p.mu.Unlock()
	writeJSON(w, status, "no-store", reply)
}

func (p *Provider) redeem(r *http.Request) (int, map[string]any) {
	refuse := func(status int, code string) (int, map[string]any) { return status, map[string]any{"error": code} }
	id, secret, basic := r.BasicAuth()
	if basic { // RFC 6749, section 2.3.1: both are form-encoded first
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
	} else {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	client, known := p.config.Clients[id]
	if !known || basic && r.PostForm.Has("client_secret") || subtle.ConstantTimeCompare([]byte(secret), []byte(client.Secret)) != 1 {
		return refuse(http.StatusUnauthorized, "invalid_client")
	}
	if r.PostForm.Get("grant_type") != "authorization_code" {
		return refuse(http.StatusBadRequest, "unsupported_grant_type")
	}
	code := r.PostForm.Get("code")
	p.mu.Lock()
	g, ok := p.codes[code]
	delete(p.codes, code) // once, whatever comes of it
	fault := p.fault
	p.mu.Unlock()
	challenge := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	switch {
	case !ok, p.config.Now().After(g.expires), g.client != id:
		return refuse(http.StatusBadRequest, "invalid_grant")
	case g.redirect != r.PostForm.Get("redirect_uri"):
		return refuse(http.StatusBadRequest, "redirect_uri_mismatch")
	case base64.RawURLEncoding.EncodeToString(challenge[:]) != g.challenge && !fault.NoPKCE:
		return refuse(http.StatusBadRequest, "invalid_grant")
	}
	access := "ya29." + rand.Text()
	idToken, err := p.idToken(&g, access)
	if err != nil {
		return refuse(http.StatusInternalServerError, "server_error")
	}
	reply := map[string]any{"access_token": access, "expires_in": 3599, "scope": g.scope, "token_type": "Bearer", "id_token": idToken}
	edit(fault.Reply, reply)
	return http.StatusOK, reply
}

// idToken makes the ID token with the claims that Google sends.
func (p *Provider) idToken(g *grant, access string) (string, error) {
	now := p.config.Now()
	hash := sha256.Sum256([]byte(access))
	claims := map[string]any{
		"iss": p.config.Issuer, "azp": g.client, "aud": g.client, "sub": g.person.Subject,
		"at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]),
		"iat":     now.Unix(), "exp": now.Add(tokenLifetime).Unix(),
	}
	optional := map[string]string{"nonce": g.nonce, "hd": g.person.HostedDomain}
	scopes := strings.Fields(g.scope)
	if slices.Contains(scopes, "profile") {
		optional["name"], optional["picture"] = g.person.Name, g.person.Picture
	}
	for name, value := range optional {
		if value != "" {
			claims[name] = value
		}
	}
	if slices.Contains(scopes, "email") {
		claims["email"], claims["email_verified"] = g.person.Email, !g.person.Unverified
	}
	edit(p.current().Claims, claims)
	id, private := p.SigningKey() // only now: the edit may have turned the keys
	fault := p.current()
	header := map[string]any{"alg": "RS256", "kid": id, "typ": "JWT"}
	edit(fault.Header, header)
	return sign(header, claims, private, fault.Sign)
}

// edit calls f, if there is one.
func edit[T any](f func(T), v T) {
	if f != nil {
		f(v)
	}
}

func writeJSON(w http.ResponseWriter, status int, caching string, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", caching)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
