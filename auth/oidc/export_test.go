package oidc

import (
	"net/http"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/loginwall/loginwall/auth"
)

// Judge runs the checks behind the signature, for the fuzzer.
func (p *Provider) Judge(payload []byte, nonce, atHash string) (*auth.Identity, error) {
	claims, err := parseObject(payload)
	if err != nil {
		return nil, err
	}
	id, failure := p.judge(claims, nonce, atHash)
	if failure != nil {
		return nil, failure
	}
	return id, nil
}

// ParseMetadata returns the endpoints of a discovery document.
func ParseMetadata(body []byte, c Config) ([]string, string, error) {
	m, err := parseMetadata(body, &c)
	if err != nil {
		return nil, "", err
	}
	return []string{m.authorization, m.token, m.jwks}, string(m.algorithm), nil
}

// ParseKeys returns the public keys of a set.
func ParseKeys(body []byte, alg string) ([]any, error) {
	keys, err := parseKeys(body, jose.SignatureAlgorithm(alg))
	var out []any
	for k := range slices.Values(keys) {
		out = append(out, k.Key)
	}
	return out, err
}

// CheckHeader judges a token's JOSE header.
func CheckHeader(jwt, alg string) error { return checkHeader(jwt, alg) }

// CloseIdle closes what is kept alive, so that a synctest bubble can end.
func (p *Provider) CloseIdle() {
	p.client.http.Transport.(*guard).base.(*http.Transport).CloseIdleConnections()
}
