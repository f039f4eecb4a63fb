package auth

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// An Identity is what a provider has proven about an account: the claims of a
// wholly verified ID token (OpenID Connect Core 1.0, section 2). Only auth/oidc
// makes one from a token, and only auth/session restores one from a sealed
// cookie; a test or an embedding program that fills one in vouches for it.
type Identity struct {
	// Issuer and Subject name the account; both are compared byte for byte.
	Issuer, Subject string
	// Email is in the canonical form of ParseEmail, or empty where the provider
	// told no usable address.
	Email string
	// EmailVerified says that the provider has checked that the account holds Email.
	EmailVerified bool
	// HostedDomain is Google's hd claim in lower case: the primary domain of the
	// Workspace that owns the account, empty for consumer accounts.
	HostedDomain string
	// Name and Picture are for people to look at and decide nothing.
	Name, Picture string
	// Groups are those that the provider told, unsorted; nil when it tells none.
	Groups []string
}

// A UserID names a user in every store: 26 lower-case letters and digits derived
// from issuer and subject, so it can be computed wherever an Identity is at hand.
type UserID string

// UserID derives the id. It is empty for an Identity without issuer or subject.
func (id *Identity) UserID() UserID {
	if id.Issuer == "" || id.Subject == "" {
		return ""
	}
	// The length-free separator is safe: neither part may contain NUL (auth/oidc
	// refuses such tokens), so no two pairs collide.
	sum := sha256.Sum256([]byte("loginwall user\x00" + id.Issuer + "\x00" + id.Subject))
	return UserID(encodeID(sum[:16]))
}

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding) //nolint:gochecknoglobals // a table

func encodeID(b []byte) string { return idEncoding.EncodeToString(b) }

// LocalPart returns what stands before the @ of a canonical address.
func LocalPart(email string) string {
	local, _, _ := strings.Cut(email, "@")
	return local
}

// Domain returns what stands behind the @ of a canonical address.
func Domain(email string) string {
	_, domain, _ := strings.Cut(email, "@")
	return domain
}
