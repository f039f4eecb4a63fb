package devidp

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
)

// A Fault says how the provider misbehaves. Each edit gets what would be sent and
// may change it; nil leaves it right. Edits are called without locks, by any
// number of goroutines at once, and may call the provider.
type Fault struct {
	// Discovery, Keys, Reply, Claims and Header edit the discovery document, the key
	// set, the token reply, and the ID token's claims and JOSE header.
	Discovery, Keys, Reply, Claims, Header func(map[string]any)
	// Callback edits the parameters that the browser takes back to the client.
	Callback func(url.Values)
	// Sign makes the ID token's signature instead of a key, over the JWS signing
	// input; the header's alg is for the Header edit to set.
	Sign func(input []byte) []byte
	// NoPKCE: the verifier is not compared with the challenge.
	NoPKCE bool
	// Respond takes over the answer to a request and returns true; or does whatever
	// else, such as waiting, and returns false.
	Respond func(w http.ResponseWriter, r *http.Request, endpoint string) bool
}

// Misbehave puts a fault in force, instead of the one before; the zero Fault ends it.
func (p *Provider) Misbehave(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

func (p *Provider) current() Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}

// A key signs ID tokens.
type key struct {
	id      string
	private *rsa.PrivateKey
}

func (k *key) jwk() map[string]any {
	b64 := base64.RawURLEncoding.EncodeToString
	return map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.id,
		"n": b64(k.private.N.Bytes()), "e": b64(big.NewInt(int64(k.private.E)).Bytes()),
	}
}

// SigningKey is the one in use, and its key id.
func (p *Provider) SigningKey() (id string, private *rsa.PrivateKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.keys[len(p.keys)-1]
	return k.id, k.private
}

// RotateKeys signs with a fresh key from now on. The one before stays published,
// as Google does, until the next turn.
func (p *Provider) RotateKeys() error {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("devidp: making a key: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append(p.keys[max(0, len(p.keys)-1):len(p.keys):len(p.keys)], &key{rand.Text(), private})
	return nil
}

// WithdrawKeys publishes the signing key alone.
func (p *Provider) WithdrawKeys() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = p.keys[len(p.keys)-1:]
}

// sign makes a compact JWS by hand (RFC 7515, section 5.1): a library would refuse
// to make most of what tests need.
func sign(header, claims map[string]any, private *rsa.PrivateKey, instead func([]byte) []byte) (string, error) {
	h, bad1 := json.Marshal(header)
	c, bad2 := json.Marshal(claims)
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64(h) + "." + b64(c)
	if instead != nil {
		return input + "." + b64(instead([]byte(input))), errors.Join(bad1, bad2)
	}
	sum := sha256.Sum256([]byte(input))
	signature, bad3 := rsa.SignPKCS1v15(nil, private, crypto.SHA256, sum[:])
	return input + "." + b64(signature), errors.Join(bad1, bad2, bad3)
}
