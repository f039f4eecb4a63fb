package auth

import (
	"errors"
	"strings"
)

// The limits of RFC 5321, section 4.5.3.1, and RFC 1035, section 2.3.4.
const (
	maxEmail     = 254
	maxLocalPart = 64
	maxDomain    = 253
	maxLabel     = 63
)

var (
	errEmail  = errors.New("not a plain e-mail address (want name@domain, ASCII, without quotes or blanks)")
	errDomain = errors.New("not a plain domain name (want letters, digits, dashes and dots, as in example.com)")
)

// ParseEmail returns the canonical form of an address: ASCII, lower case, one
// @, a dot-atom before it and a host name behind it (RFC 5322, section 3.4.1,
// without quoted strings, comments and literals).
//
// It is deliberately narrower than the RFC: every address that two parsers
// could split differently ("a@x"@y, a@x@y, a@x,b@y) is an error, because the
// domain decides who may pass. Lower-casing the local part is right for access
// decisions even though RFC 5321 lets hosts tell cases apart: no provider hands
// out two mailboxes that differ in case alone.
func ParseEmail(s string) (string, error) {
	if len(s) > maxEmail {
		return "", errEmail
	}
	local, domain, found := strings.Cut(s, "@")
	if !found || local == "" || len(local) > maxLocalPart {
		return "", errEmail
	}
	for i, dot := 0, true; i < len(local); i++ {
		c := local[i]
		if c == '.' {
			if dot || i == len(local)-1 {
				return "", errEmail
			}
			dot = true
			continue
		}
		dot = false
		if !isAtext(c) {
			return "", errEmail
		}
	}
	domain, err := ParseDomain(domain)
	if err != nil {
		return "", errEmail
	}
	return strings.ToLower(local) + "@" + domain, nil
}

// ParseDomain returns a host name in lower case: two labels or more of letters,
// digits and inner dashes, no trailing dot, no wildcard, no address literal.
// A name in other scripts is written in its xn-- form.
func ParseDomain(s string) (string, error) {
	if s == "" || len(s) > maxDomain || !strings.Contains(s, ".") {
		return "", errDomain
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return "", errDomain
		}
		for i := range len(label) {
			if c := label[i]; !isAlphanumeric(c) && c != '-' {
				return "", errDomain
			}
		}
	}
	return strings.ToLower(s), nil
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isAtext(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}
