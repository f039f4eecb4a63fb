package assertion_test

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/assertion"
)

const headerName = "X-Loginwall-Assertion"

// verified checks token against keys with nothing but the standards, and
// returns its protected header and its claims.
func verified(t *testing.T, token string, keys []byte) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("an assertion of %d parts: %q", len(parts), token)
	}
	for i, into := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			t.Fatalf("part %d is not base64url without padding: %v", i, err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	if signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2]); err != nil || len(signature) != 64 {
		t.Fatalf("a signature of %d bytes, %v; want R and S of 32 each (RFC 7518, section 3.4)", len(signature), err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(keys, &set); err != nil {
		t.Fatal(err)
	}
	kid, _ := header["kid"].(string)
	found := set.Key(kid)
	if len(found) != 1 {
		t.Fatalf("%d keys with the id %q", len(found), kid)
	}
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.Verify(found[0].Key); err != nil {
		t.Fatal(err)
	}
	return header, claims
}

func TestAssertion(t *testing.T) {
	teller := newTeller(t, assertion.Config{Profiles: []string{"assertion"}, Set: map[string]string{"Authorization": "Bearer {assertion}"}})
	if !teller.HasAssertion() {
		t.Error("HasAssertion denies it")
	}
	h := teller.Headers(alice())
	token := h.Get(headerName)
	if h.Get("Authorization") != "Bearer "+token {
		t.Error("two headers of one session hold two assertions")
	}
	header, claims := verified(t, token, teller.JWKS())
	kid := header["kid"]
	if diff := cmp.Diff(map[string]any{"alg": "ES256", "typ": "JWT", "kid": kid}, header); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}
	want := map[string]any{
		"iss": origin, "aud": origin, "sub": "1001", "email": "alice@example.com", "name": "Alice Example",
		"groups": []any{"sre@example.com", "wiki|writers", "a,b"},
		"iat":    float64(start.Unix()), "exp": float64(start.Add(5 * time.Minute).Unix()),
	}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Errorf("claims differ (-want +got):\n%s", diff)
	}
}

func TestAssertionTellsOnlyWhatIsKnown(t *testing.T) {
	teller := newTeller(t, assertion.Config{Profiles: []string{"assertion"}})
	s := alice()
	s.Identity = auth.Identity{Issuer: "https://idp.test", Subject: "7", Email: "alice@example.com"} // not verified
	s.Expires = start.Add(90*time.Second + 300*time.Millisecond)
	_, claims := verified(t, teller.Headers(s).Get(headerName), teller.JWKS())
	want := map[string]any{
		"iss": origin, "aud": origin, "sub": "7",
		"iat": float64(start.Unix()), "exp": float64(start.Add(91 * time.Second).Unix()),
	}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Errorf("claims differ (-want +got):\n%s", diff)
	}
}

func TestAssertionIsSignedOncePerMinute(t *testing.T) {
	now := start
	teller := newTeller(t, assertion.Config{Profiles: []string{"forwarded", "assertion"}, Now: func() time.Time { return now }})
	a, b := alice(), alice()
	first := teller.Headers(a).Get(headerName)
	if teller.Headers(b).Get(headerName) == first {
		t.Error("two sessions share an assertion")
	}
	now = start.Add(time.Minute - time.Millisecond)
	if teller.Headers(a).Get(headerName) != first {
		t.Error("signed again within the minute")
	}
	now = start.Add(time.Minute)
	second := teller.Headers(a).Get(headerName)
	if second == first {
		t.Error("not signed again after a minute")
	}
	_, claims := verified(t, second, teller.JWKS())
	if claims["iat"] != float64(now.Unix()) {
		t.Errorf("iat is %v", claims["iat"])
	}
	now = start.Add(-time.Hour) // a clock that was set back must not keep the old one for an hour
	if teller.Headers(a).Get(headerName) == second {
		t.Error("an assertion from the future was kept")
	}
}

func TestKeys(t *testing.T) {
	one := newTeller(t, assertion.Config{Profiles: []string{"assertion"}, Keys: [][]byte{seed(1)}})
	same := newTeller(t, assertion.Config{Profiles: []string{"assertion"}, Keys: [][]byte{seed(1)}})
	if string(one.JWKS()) != string(same.JWKS()) {
		t.Error("one session key makes two signing keys, so replicas would disagree")
	}
	rotated := newTeller(t, assertion.Config{Profiles: []string{"assertion"}, Keys: [][]byte{seed(2), seed(1)}})
	before := one.Headers(alice()).Get(headerName)
	after := rotated.Headers(alice()).Get(headerName)
	verified(t, before, rotated.JWKS()) // a replica that has not rotated yet
	header, _ := verified(t, after, rotated.JWKS())

	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(rotated.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 2 || set.Keys[0]["kid"] != header["kid"] {
		t.Errorf("want the current key first, then the old one: %v", set.Keys)
	}
	for _, key := range set.Keys {
		for _, member := range []string{"x", "y", "kid"} {
			if b, err := base64.RawURLEncoding.Strict().DecodeString(key[member]); err != nil || len(b) != 32 {
				t.Errorf("%s is %d bytes, %v", member, len(b), err)
			}
			delete(key, member)
		}
		// Above all there is no private part.
		if diff := cmp.Diff(map[string]string{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig"}, key); diff != "" {
			t.Errorf("members of a key differ (-want +got):\n%s", diff)
		}
	}

	none, err := assertion.New(assertion.Config{Profiles: []string{"forwarded"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(none.JWKS()); got != `{"keys":[]}` {
		t.Errorf("the key set without keys is %s", got)
	}
}

// The derivation is a promise between replicas of different versions: this key
// must never change. The id was computed from the standards' text, without Go.
func TestDerivationIsStable(t *testing.T) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(newTeller(t, assertion.Config{Keys: [][]byte{seed(7)}}).JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	if _, ok := set.Keys[0].Key.(*ecdsa.PublicKey); !ok {
		t.Fatalf("a %T", set.Keys[0].Key)
	}
	if got, want := set.Keys[0].KeyID, "lq5Nsj7wfeWHqnAWPrGIMq6Q2o_Nq06SLxnVLDU0XPM"; got != want {
		t.Errorf("key id %s, want %s", got, want)
	}
}

// The extremes of the seed are keys too.
func TestEverySeedIsAKey(t *testing.T) {
	zero, full := make([]byte, assertion.KeySize), seed(0xff)
	for _, s := range [][]byte{zero, full} {
		teller := newTeller(t, assertion.Config{Profiles: []string{"assertion"}, Keys: [][]byte{s}})
		verified(t, teller.Headers(alice()).Get(headerName), teller.JWKS())
	}
}
