package oidc

import (
	"context"

	"github.com/loginwall/loginwall/auth"
)

// complete asks the userinfo endpoint for what decides and the ID token leaves
// out: with the code flow, providers may tell the claims of scope email there
// alone (OpenID Connect Core 1.0, section 5.4). The address and whether it is
// verified are taken from one place, never one from each.
func (p *Provider) complete(ctx context.Context, m *metadata, accessToken string, token object, id *auth.Identity) *Error {
	lacks := func(claim string) bool { return claim != "" && token[claim] == nil }
	needsEmail, needsGroups := lacks("email"), lacks(p.config.GroupsClaim)
	if m.userinfo == "" || !needsEmail && !needsGroups {
		return nil
	}
	body, _, err := p.client.get(ctx, endpointUserinfo, m.userinfo, accessToken)
	if err != nil {
		return netError("userinfo", err)
	}
	claims, err := parseObject(body)
	if err != nil {
		return fail(ReasonBadReply, "userinfo: %w (signed or encrypted replies are not supported)", err)
	}
	// Whoever swaps the access token must not swap the person (section 5.3.2).
	if subject, err := claims.text("sub"); err != nil || !equal(subject, id.Subject) {
		return fail(ReasonBadToken, "userinfo speaks of somebody else than the ID token")
	}
	if needsEmail {
		id.Email, id.EmailVerified = p.emailOf(claims)
	}
	if needsGroups {
		id.Groups = groupsOf(claims, p.config.GroupsClaim)
	}
	if lacks("name") {
		id.Name = nameOf(claims)
	}
	if lacks("picture") {
		id.Picture = pictureOf(claims)
	}
	return nil
}
