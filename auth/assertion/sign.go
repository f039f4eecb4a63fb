package assertion

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/loginwall/loginwall/auth"
)

// KeySize is the length of each of Config.Keys: 64 bits more than the order of
// P-256 has, so that the reduction is not biased (FIPS 186-5, appendix A.2.1).
const KeySize = 40

// lifetime of an assertion. It is short because an upstream checks no
// revocations: whoever got hold of one can use it for this long.
const lifetime = 5 * time.Minute

var (
	errKeySize  = fmt.Errorf("a signing key's seed has another length than %d bytes", KeySize)
	errNoKey    = errors.New("an assertion needs a key to sign with")
	errNoIssuer = errors.New("an assertion needs the public URL")
)

// deriveKeys makes each seed into a key pair with a key id, always the same one,
// so that all replicas with one session key sign alike and nothing is stored.
func deriveKeys(seeds [][]byte) ([]jose.JSONWebKey, error) {
	keys := make([]jose.JSONWebKey, 0, len(seeds))
	for _, seed := range seeds {
		if len(seed) != KeySize {
			return nil, errKeySize
		}
		// d = (c mod (n-1)) + 1, as the appendix has it.
		one := big.NewInt(1)
		order := elliptic.P256().Params().N
		d := new(big.Int).SetBytes(seed)
		d.Mod(d, new(big.Int).Sub(order, one)).Add(d, one)
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, 32)))
		if err != nil {
			return nil, fmt.Errorf("making the signing key: %w", err)
		}
		key := jose.JSONWebKey{Key: private, Algorithm: string(jose.ES256), Use: "sig"}
		// The id is the key's thumbprint (RFC 7638).
		thumbprint, err := key.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("making the signing key's id: %w", err)
		}
		key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
		keys = append(keys, key)
	}
	return keys, nil
}

func publish(keys []jose.JSONWebKey) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, 0, len(keys))}
	for _, key := range keys {
		set.Keys = append(set.Keys, key.Public())
	}
	text, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("writing the key set: %w", err)
	}
	return text, nil
}

// A signer makes assertions: JSON Web Tokens (RFC 7519) in the compact form of
// RFC 7515, without padding, signed with ES256.
type signer struct {
	jose   jose.Signer
	origin string
}

func newSigner(keys []jose.JSONWebKey, origin string) (*signer, error) {
	if len(keys) == 0 {
		return nil, errNoKey
	}
	if origin == "" {
		return nil, errNoIssuer
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: keys[0]}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("making the signer: %w", err)
	}
	return &signer{s, origin}, nil
}

// claims are a subset of those of an ID token, with the same meaning. The
// address is only there when the provider has verified it.
type claims struct {
	Issuer   string   `json:"iss"`
	Audience string   `json:"aud"`
	Subject  string   `json:"sub"`
	Email    string   `json:"email,omitempty"`
	Name     string   `json:"name,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	IssuedAt int64    `json:"iat"`
	Expires  int64    `json:"exp"`
}

// sign returns the assertion about s. It never outlives the session by more than
// the second that it is rounded to. In the one case that cannot happen, a signer
// that was made and fails, it returns nothing, and an upstream that wants an
// assertion refuses the request.
func (g *signer) sign(s *auth.Session, now time.Time) string {
	text, err := json.Marshal(claims{
		Issuer:   g.origin,
		Audience: g.origin,
		Subject:  s.Identity.Subject,
		Email:    verifiedEmail(&s.Identity),
		Name:     s.Identity.Name,
		Groups:   s.Identity.Groups,
		IssuedAt: now.Unix(),
		Expires:  min(now.Add(lifetime).Unix(), s.Expires.Unix()+1),
	})
	if err != nil {
		return ""
	}
	signature, err := g.jose.Sign(text)
	if err != nil {
		return ""
	}
	token, err := signature.CompactSerialize()
	if err != nil {
		return ""
	}
	return token
}
