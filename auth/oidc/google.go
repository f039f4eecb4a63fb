package oidc

import (
	"strings"

	"github.com/loginwall/loginwall/auth"
)

// Google's own rules, from "OpenID Connect" in its identity documentation.
const (
	googleIssuer = "https://accounts.google.com"
	// Google's reference says that iss may lack the scheme.
	googleIssuerBare = "accounts.google.com"
)

// noDomain stands for an hd claim that is present but unusable. It matches no
// domain of any rule, since those have a dot, and it is not empty, since empty
// means a consumer account, which a rule may admit.
const noDomain = "invalid"

// sameIssuer compares byte for byte; only Google itself has a second spelling.
func sameIssuer(configured, got string) bool {
	return got == configured || configured == googleIssuer && got == googleIssuerBare
}

// googleHost reports whether Google's own metadata may name the host: it spreads
// its endpoints over two domains.
func googleHost(host string) bool {
	return strings.HasSuffix(host, ".google.com") || strings.HasSuffix(host, ".googleapis.com")
}

// hostedDomain reads the hd claim: the Workspace that owns the account.
func hostedDomain(claims object) string {
	raw, present := claims["hd"]
	if !present {
		return ""
	}
	text, err := textOf(raw)
	if err != nil {
		return noDomain
	}
	domain, err := auth.ParseDomain(text)
	if err != nil {
		return noDomain
	}
	return domain
}
