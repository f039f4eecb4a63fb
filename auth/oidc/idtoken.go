package oidc

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/loginwall/loginwall/auth"
)

const (
	// futureLeeway is for clocks that are not quite right, as is the usual five
	// minutes that go-oidc gives nbf. exp has none: a token lives far longer than
	// the seconds between its making and this check.
	futureLeeway = 5 * time.Minute
	// maxTokenAge bounds iat from the other side: the token was made a moment ago,
	// for this very exchange. Some providers date it back by five minutes.
	maxTokenAge = 10 * time.Minute

	maxSubject   = 255 // OpenID Connect Core 1.0, section 2
	maxName      = 256 // runes
	maxPicture   = 1024
	maxGroups    = 1000
	maxGroupName = 256
)

// verify makes an identity out of an ID token, and of userinfo for what that
// leaves out, or says why not.
func (p *Provider) verify(ctx context.Context, m *metadata, jwt string, a Attempt, accessToken string) (*auth.Identity, *Error) {
	if err := checkHeader(jwt, string(m.algorithm)); err != nil {
		return nil, fail(ReasonBadToken, "the ID token's header: %w", err)
	}
	signature := &signature{keys: m.keys}
	_, second := gooidc.NewVerifier(p.config.Issuer, signature, &gooidc.Config{
		ClientID:             p.config.ClientID,
		SupportedSigningAlgs: []string{string(m.algorithm)},
		Now:                  p.config.Now,
	}).Verify(ctx, jwt)
	if signature.err != nil {
		return nil, signature.err
	}
	if signature.payload == nil {
		return nil, fail(ReasonBadToken, "the ID token: %s", clip(fmt.Sprint(second)))
	}
	// Our own checks come first, since they say more exactly what is wrong; but
	// what go-oidc refuses stays refused.
	claims, err := parseObject(signature.payload)
	if err != nil {
		return nil, fail(ReasonBadToken, "the ID token's claims: %w", err)
	}
	id, failure := p.judge(claims, a.Nonce, accessTokenHash(accessToken, m.algorithm))
	if failure != nil {
		return nil, failure
	}
	if second != nil {
		return nil, fail(ReasonBadToken, "the ID token: %s", clip(second.Error()))
	}
	if a.Again {
		if failure := p.checkAgain(claims); failure != nil {
			return nil, failure
		}
	}
	if failure := p.complete(ctx, m, accessToken, claims, id); failure != nil {
		return nil, failure
	}
	return id, nil
}

// signature is our keys as go-oidc wants them, for one token. It keeps the error,
// which go-oidc flattens, and the payload, which it hides when a check fails.
type signature struct {
	keys    *keySet
	payload []byte
	err     *Error
}

// VerifySignature implements go-oidc's KeySet.
func (s *signature) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	s.payload, s.err = s.keys.verify(ctx, jwt)
	if s.err != nil {
		return nil, s.err
	}
	return s.payload, nil
}

// checkHeader reads the JOSE header (RFC 7515, section 4) strictly, before any
// library may follow what it says: one algorithm, no other kind of JWT (RFC 8725,
// section 3.11), nothing that names or brings a key, nothing critical.
func checkHeader(jwt, algorithm string) error {
	if len(jwt) > maxToken {
		return fmt.Errorf("a token of %d bytes (at most %d)", len(jwt), maxToken)
	}
	if strings.Count(jwt, ".") != 2 {
		return fmt.Errorf("a token of %d parts (want the three of a compact JWS)", strings.Count(jwt, ".")+1)
	}
	if strings.ContainsAny(jwt, "\r\n") { // which encoding/base64 would pass over
		return errors.New("line breaks in the token")
	}
	encoded, _, _ := strings.Cut(jwt, ".")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("not base64url: %w", err)
	}
	header, err := parseObject(raw)
	if err != nil {
		return err
	}
	alg, err := header.text("alg")
	if err != nil {
		return err
	}
	if alg != algorithm {
		return fmt.Errorf("alg is %q (only %s is accepted)", clip(alg), algorithm)
	}
	if _, present := header["typ"]; present {
		if typ, err := header.text("typ"); err != nil || !strings.EqualFold(typ, "JWT") {
			return fmt.Errorf("typ is %q (want JWT)", clip(typ))
		}
	}
	for _, name := range []string{"crit", "jku", "x5u", "jwk", "b64", "zip", "enc", "cty"} {
		if _, present := header[name]; present {
			return fmt.Errorf("%s has no place in it", name)
		}
	}
	return nil
}

// accessTokenHash is what at_hash must be (OpenID Connect Core 1.0, section
// 3.1.3.6): the left half of the hash that belongs to the signature's algorithm.
func accessTokenHash(token string, alg jose.SignatureAlgorithm) string {
	if alg == jose.EdDSA {
		sum := sha512.Sum512([]byte(token))
		return base64.RawURLEncoding.EncodeToString(sum[:32])
	}
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// judge checks every claim of a token whose signature was verified.
func (p *Provider) judge(claims object, nonce, atHash string) (*auth.Identity, *Error) {
	if err := p.checkParties(claims); err != nil {
		return nil, fail(ReasonBadToken, "the ID token's claims: %w", err)
	}
	if failure := p.checkTimes(claims); failure != nil {
		return nil, failure
	}
	if got, err := claims.text("nonce"); err != nil || !equal(got, nonce) {
		return nil, fail(ReasonNonce, "the ID token was made for another attempt: its nonce is missing or not the one sent")
	}
	if _, present := claims["at_hash"]; present {
		if got, err := claims.text("at_hash"); err != nil || !equal(got, atHash) {
			return nil, fail(ReasonBadToken, "the ID token's at_hash is not that of the access token that came along")
		}
	}
	subject, err := claims.text("sub")
	if err != nil {
		return nil, fail(ReasonBadToken, "the ID token's claims: %w", err)
	}
	if !plainSubject(subject) {
		return nil, fail(ReasonBadToken, "the ID token's sub is not 1 to %d ASCII characters without blanks", maxSubject)
	}
	id := &auth.Identity{
		Issuer:  p.config.Issuer,
		Subject: subject,
		Name:    nameOf(claims),
		Picture: pictureOf(claims),
	}
	id.Email, id.EmailVerified = p.emailOf(claims)
	if p.config.Google {
		id.HostedDomain = hostedDomain(claims)
	}
	if p.config.GroupsClaim != "" {
		id.Groups = groupsOf(claims, p.config.GroupsClaim)
	}
	return id, nil
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// checkParties: who made the token, and for whom (rules 2 to 5 of section 3.1.3.7).
func (p *Provider) checkParties(claims object) error {
	issuer, err := claims.text("iss")
	if err != nil {
		return err
	}
	if !sameIssuer(p.config.Issuer, issuer) {
		return fmt.Errorf("iss is %q (want %q)", clip(issuer), p.config.Issuer)
	}
	audience, err := claims.texts("aud")
	if err != nil {
		return err
	}
	if !slices.Contains(audience, p.config.ClientID) {
		return fmt.Errorf("aud %q does not name our client id", clip(strings.Join(audience, " ")))
	}
	if _, present := claims["azp"]; !present && len(audience) == 1 {
		return nil
	}
	party, err := claims.text("azp")
	if err != nil {
		return fmt.Errorf("%w (several audiences need one)", err)
	}
	if party != p.config.ClientID {
		return fmt.Errorf("azp is %q, not our client id", clip(party))
	}
	return nil
}

// checkTimes: rules 9 and 10 of section 3.1.3.7. Times that cannot be read are a
// bad token; times that do not fit are, more often than not, a wrong clock.
func (p *Provider) checkTimes(claims object) *Error {
	now := p.config.Now()
	expires, err := claims.instant("exp")
	if err != nil {
		return fail(ReasonBadToken, "the ID token's claims: %w", err)
	}
	issued, err := claims.instant("iat")
	if err != nil {
		return fail(ReasonBadToken, "the ID token's claims: %w", err)
	}
	before := issued
	if _, present := claims["nbf"]; present {
		if before, err = claims.instant("nbf"); err != nil {
			return fail(ReasonBadToken, "the ID token's claims: %w", err)
		}
	}
	var what string
	switch {
	case issued.After(now.Add(futureLeeway)):
		what = fmt.Sprintf("was issued %s from now", issued.Sub(now).Round(time.Second))
	case before.After(now.Add(futureLeeway)):
		what = fmt.Sprintf("is not valid for another %s", before.Sub(now).Round(time.Second))
	case !expires.After(now):
		what = fmt.Sprintf("expired %s ago", now.Sub(expires).Round(time.Second))
	case issued.Before(now.Add(-maxTokenAge)):
		what = fmt.Sprintf("was issued %s ago", now.Sub(issued).Round(time.Second))
	default:
		return nil
	}
	return fail(ReasonClock, "the ID token %s by our clock, and %s", what, clockAdvice(p.ClockOffset()))
}

// checkAgain: when the person proved who it is, as asked for with max_age (OpenID
// Connect Core 1.0, section 3.1.2.1). A provider that does not know max_age tells no
// time; that it was asked has to do then.
func (p *Provider) checkAgain(claims object) *Error {
	if _, present := claims["auth_time"]; !present {
		return nil
	}
	at, err := claims.instant("auth_time")
	if err != nil {
		return fail(ReasonBadToken, "the ID token's claims: %w", err)
	}
	if ago := p.config.Now().Sub(at); ago > maxTokenAge+futureLeeway {
		return fail(ReasonStale, "the person proved who it is %s ago, although asked to do so now", ago.Round(time.Second))
	}
	return nil
}

// clockAdvice tells a wrong clock from a wrong token by the provider's Date header.
func clockAdvice(offset time.Duration) string {
	const close = 30 * time.Second
	switch offset = offset.Round(time.Second); {
	case offset > close:
		return fmt.Sprintf("our clock is %s behind the provider's: set it right (NTP)", offset)
	case offset < -close:
		return fmt.Sprintf("our clock is %s ahead of the provider's: set it right (NTP)", -offset)
	}
	return "our clock agrees with the provider's Date header, so the token's own clock is wrong or it is an old one"
}

func plainSubject(s string) bool {
	if s == "" || len(s) > maxSubject {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// emailOf returns the canonical address, or none: one that two parsers could read
// differently is no address at all. Only true, and "true" as some providers write
// it, means verified.
func (p *Provider) emailOf(claims object) (string, bool) {
	text, err := claims.text("email")
	if err != nil {
		return "", false
	}
	email, err := auth.ParseEmail(text)
	if err != nil {
		return "", false
	}
	verified, present := claims["email_verified"]
	if !present {
		return email, p.config.TrustEmail
	}
	return email, string(verified) == "true" || string(verified) == `"true"`
}

// nameOf drops what does not show: line breaks, control and direction characters
// have no place in a log, a header or somebody's name.
func nameOf(claims object) string {
	text, err := claims.text("name")
	if err != nil {
		return ""
	}
	runes := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return -1
		}
		return r
	}, text))
	return strings.TrimSpace(string(runes[:min(len(runes), maxName)]))
}

// pictureOf returns an address that a page may load an image from.
func pictureOf(claims object) string {
	text, err := claims.text("picture")
	if err != nil || len(text) > maxPicture || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String()
}

// groupsOf reads a list of strings, or one string. What is not a plausible name
// is left out: being in fewer groups never lets anybody in.
func groupsOf(claims object, claim string) []string {
	listed, err := claims.texts(claim)
	if err != nil {
		return nil
	}
	groups := slices.DeleteFunc(listed, func(g string) bool {
		return g == "" || len(g) > maxGroupName || strings.ContainsFunc(g, func(r rune) bool { return !unicode.IsGraphic(r) })
	})
	return groups[:min(len(groups), maxGroups)]
}
