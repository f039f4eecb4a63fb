package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

// metadata is what we use of OpenID Connect Discovery 1.0, section 3. It is
// immutable but for the keys that it leads to.
type metadata struct {
	authorization, token, jwks string
	// userinfo is empty where there is none that we may use.
	userinfo string
	style    oauth2.AuthStyle
	// algorithm is the one that ID tokens must be signed with.
	algorithm jose.SignatureAlgorithm
	// chooser is the prompt that asks for another account; empty where there is none.
	chooser string
	// namesIssuer: callbacks always carry iss (RFC 9207, section 3).
	namesIssuer bool
	keys        *keySet
}

// discover fetches the metadata and puts it in force. On an error whatever was in
// force before stays.
func (p *Provider) discover(ctx context.Context) error {
	address := strings.TrimSuffix(p.config.Issuer, "/") + "/.well-known/openid-configuration"
	body, _, err := p.client.get(ctx, endpointDiscovery, address, "")
	if err != nil {
		return netError("discovery", err)
	}
	m, err := parseMetadata(body, &p.config)
	if err != nil {
		return fail(ReasonBadReply, "discovery: %s: %w", address, err)
	}

	p.adopting.Lock()
	defer p.adopting.Unlock()
	old := p.metadata.Load()
	if old != nil && old.jwks == m.jwks && old.algorithm == m.algorithm {
		m.keys = old.keys
	} else {
		m.keys = newKeySet(p.client, m.jwks, m.algorithm)
	}
	p.metadata.Store(m)
	if old == nil || *old != *m {
		p.config.Log.Info("the provider is discovered", slog.String("issuer", p.config.Issuer),
			slog.String("authorization_endpoint", m.authorization), slog.String("token_endpoint", m.token),
			slog.String("jwks_uri", m.jwks), slog.String("algorithm", string(m.algorithm)))
	}
	return nil
}

// parseMetadata reads and judges a discovery document.
func parseMetadata(body []byte, c *Config) (*metadata, error) {
	doc, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	issuer, err := doc.text("issuer")
	if err != nil {
		return nil, err
	}
	// Exactly: with "almost", one provider could speak for another (section 4.3).
	if issuer != c.Issuer {
		return nil, fmt.Errorf("it is of issuer %q, but %q is configured (they must be equal, to the last slash)", clip(issuer), c.Issuer)
	}
	m := &metadata{}
	for _, endpoint := range []struct {
		name string
		into *string
	}{{"authorization_endpoint", &m.authorization}, {"token_endpoint", &m.token}, {"jwks_uri", &m.jwks}} {
		if *endpoint.into, err = doc.text(endpoint.name); err == nil {
			err = checkEndpoint(*endpoint.into, c)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", endpoint.name, err)
		}
	}
	// It is optional, and few need it: one that is no good is none.
	if u, err := doc.text("userinfo_endpoint"); err == nil && !c.Google && checkEndpoint(u, c) == nil {
		m.userinfo = u
	}
	switch c.AuthMethod {
	case AuthBasic:
		m.style = oauth2.AuthStyleInHeader
	case AuthPost:
		m.style = oauth2.AuthStyleInParams
	default:
		if m.style, err = authStyle(doc, c.Google); err != nil {
			return nil, err
		}
	}
	if m.algorithm, err = algorithm(doc, c.Google); err != nil {
		return nil, err
	}
	m.chooser = chooser(doc)
	m.namesIssuer = string(doc["authorization_response_iss_parameter_supported"]) == "true"
	return m, nil
}

// authStyle chooses how to prove who we are at the token endpoint: by basic
// authentication, which every provider must take (RFC 6749, section 2.3.1), unless
// it says that it takes only the form's fields. Google documents the fields.
func authStyle(doc object, google bool) (oauth2.AuthStyle, error) {
	const name = "token_endpoint_auth_methods_supported"
	if _, present := doc[name]; !present {
		if google {
			return oauth2.AuthStyleInParams, nil
		}
		return oauth2.AuthStyleInHeader, nil
	}
	methods, err := doc.texts(name)
	if err != nil {
		return 0, err
	}
	basic, post := slices.Contains(methods, "client_secret_basic"), slices.Contains(methods, "client_secret_post")
	switch {
	case post && (google || !basic):
		return oauth2.AuthStyleInParams, nil
	case basic:
		return oauth2.AuthStyleInHeader, nil
	}
	return 0, fmt.Errorf("%s lists neither client_secret_basic nor client_secret_post", name)
}

// chooser is select_account (OpenID Connect Core 1.0, section 3.1.2.1), unless the
// provider lists its prompts without it (Initiating User Registration via OpenID
// Connect 1.0, section 4.1). It would then refuse it, or pass over it and sign in
// the account that the person wants to leave; a login can at least be another's.
func chooser(doc object) string {
	prompts, err := doc.texts("prompt_values_supported")
	switch {
	case err != nil, slices.Contains(prompts, "select_account"):
		return "select_account"
	case slices.Contains(prompts, "login"):
		return "login"
	}
	return ""
}

// algorithm pins the one algorithm that ID tokens may be signed with.
func algorithm(doc object, google bool) (jose.SignatureAlgorithm, error) {
	const name = "id_token_signing_alg_values_supported"
	if _, present := doc[name]; google || !present {
		return jose.RS256, nil
	}
	listed, err := doc.texts(name)
	if err != nil {
		return "", err
	}
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.PS256, jose.EdDSA} {
		if slices.Contains(listed, string(alg)) {
			return alg, nil
		}
	}
	return "", fmt.Errorf("%s lists none of RS256, ES256, PS256 and EdDSA", name)
}

// checkURL accepts https, and http to this very machine.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return errors.New("not a plain absolute URL")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return errors.New("not https (plain http is only for loopback names)")
	}
	return nil
}

// checkEndpoint judges an address that the metadata names. A foreign host is the
// provider's own business (it is trusted for everything else), but for Google we
// know the hosts; and whoever is on loopback is for tests and demos, with nothing
// outside.
func checkEndpoint(s string, c *Config) error {
	if err := checkURL(s); err != nil {
		return err
	}
	u, _ := url.Parse(s)
	issuer, _ := url.Parse(c.Issuer)
	if issuer.Scheme == "https" && u.Scheme != "https" {
		return errors.New("not https, although the issuer is")
	}
	host := strings.ToLower(u.Hostname())
	switch {
	case strings.EqualFold(host, issuer.Hostname()):
	case loopback(issuer.Hostname()) && loopback(host):
	case issuer.Scheme == "http":
		return errors.New("not on loopback, although the issuer is")
	case c.Google && (c.Issuer != googleIssuer || !googleHost(host)):
		return fmt.Errorf("host %q is not the issuer's", clip(host))
	}
	return nil
}

func loopback(host string) bool {
	host = strings.ToLower(host)
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
