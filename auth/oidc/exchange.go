package oidc

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"

	"github.com/loginwall/loginwall/auth"
)

const (
	maxCode  = 8 << 10
	maxToken = 64 << 10
)

// Exchange redeems the code of a callback, with exactly one token request, and
// returns who signed in. The caller has matched the callback's state to the
// attempt before. Errors are of type *Error.
func (p *Provider) Exchange(ctx context.Context, a Attempt, code string) (auth.Identity, error) {
	m := p.metadata.Load()
	if m == nil {
		return auth.Identity{}, fail(ReasonUnavailable, "the provider %s is not discovered yet", p.config.Issuer)
	}
	if !a.usable() {
		return auth.Identity{}, &Error{ReasonBadToken, errAttempt}
	}
	if code == "" || len(code) > maxCode {
		return auth.Identity{}, fail(ReasonRejected, "a code of %d bytes", len(code))
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	select {
	case p.exchanges <- struct{}{}:
		defer func() { <-p.exchanges }()
	case <-ctx.Done():
		return auth.Identity{}, netError("waiting for other exchanges", ctx.Err())
	}
	tokens, failure := p.redeem(ctx, m, code, a.Verifier)
	if failure != nil {
		return auth.Identity{}, failure
	}
	// RFC 6749, section 5.1, asks for a type, and OpenID Connect for this one. The
	// access token itself is used for at_hash and userinfo, and forgotten.
	if t := tokens.TokenType; t != "" && !strings.EqualFold(t, "bearer") {
		return auth.Identity{}, fail(ReasonBadReply, "a token of type %q (want Bearer)", clip(t))
	}
	idToken, ok := tokens.Extra("id_token").(string)
	if !ok || idToken == "" {
		return auth.Identity{}, fail(ReasonBadReply, "the token reply holds no id_token")
	}
	id, failure := p.verify(ctx, m, idToken, a, tokens.AccessToken)
	if failure != nil {
		return auth.Identity{}, failure
	}
	return *id, nil
}

// redeem makes the one token request.
func (p *Provider) redeem(ctx context.Context, m *metadata, code, verifier string) (*oauth2.Token, *Error) {
	start := p.config.Now()
	tokens, err := p.oauth2(m).Exchange(context.WithValue(ctx, oauth2.HTTPClient, p.client.http), code, oauth2.VerifierOption(verifier))
	took := p.config.Now().Sub(start)
	if err != nil {
		failure := tokenError(ctx, err)
		p.config.Observe(ctx, endpointToken, took, failure)
		return nil, failure
	}
	p.config.Observe(ctx, endpointToken, took, nil)
	return tokens, nil
}

// tokenError sorts what x/oauth2 returns. Its own texts quote the body, so none
// of them goes on.
func tokenError(ctx context.Context, err error) *Error {
	var refused *oauth2.RetrieveError
	var network *url.Error
	switch {
	case errors.As(err, &refused):
		return refusal(refused.Response.StatusCode, refused.ErrorCode)
	case ctx.Err() != nil:
		return netError("the token endpoint", ctx.Err())
	case errors.As(err, &network):
		return netError("the token endpoint", network)
	}
	return fail(ReasonBadReply, "the token endpoint's reply cannot be read (want a JSON object with access_token and id_token, at most 1 MiB)")
}

// refusal sorts an error response (RFC 6749, section 5.2).
func refusal(status int, code string) *Error {
	reason := ReasonRejected
	switch {
	case status >= http.StatusInternalServerError || status == http.StatusTooManyRequests:
		reason = ReasonUnavailable
	case code == "invalid_client" || code == "unauthorized_client" || status == http.StatusUnauthorized:
		reason = ReasonBadClient
	case status >= http.StatusMultipleChoices && status < http.StatusBadRequest:
		reason = ReasonBadReply
	}
	if !plainCode(code) {
		return fail(reason, "the token endpoint answered %d", status)
	}
	return fail(reason, "the token endpoint answered %d with error %q", status, code)
}

// plainCode keeps everything but the short words that OAuth defines out of logs.
func plainCode(s string) bool {
	if s == "" || len(s) > 40 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return true
}

// ProbeCredentials asks the token endpoint to redeem a code that cannot exist: a
// provider that knows our client id and secret complains about the code, another
// one about us. For `loginwall check`.
func (p *Provider) ProbeCredentials(ctx context.Context) error {
	m := p.metadata.Load()
	if m == nil {
		return fail(ReasonUnavailable, "the provider %s is not discovered yet", p.config.Issuer)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := p.oauth2(m).Exchange(context.WithValue(ctx, oauth2.HTTPClient, p.client.http), "loginwall-check",
		oauth2.VerifierOption(strings.Repeat("loginwall-check", 3)))
	if err == nil {
		return fail(ReasonBadReply, "the token endpoint redeemed a code that nobody was given")
	}
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.ErrorCode == "invalid_grant" {
		return nil
	}
	return tokenError(ctx, err)
}
