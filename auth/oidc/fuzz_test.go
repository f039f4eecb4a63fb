package oidc_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/oidc"
)

// META-253: whatever a provider has signed: what is accepted has exactly our issuer, our
// audience, our nonce, a time that is now, and an identity that is safe to print.
func FuzzClaims(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	const good = `"iss":"https://accounts.google.com","aud":"client","sub":"1","nonce":"nonce","iat":1800000000,"exp":1800003600`
	for _, more := range []string{
		``, `,"azp":"client"`, `,"azp":"other"`, `,"email":"a@example.com","email_verified":true,"hd":"example.com"`,
		`,"email":"a@b@c","email_verified":"true","hd":""`, `,"hd":null`, `,"name":"\u202e\u0000x","picture":"javascript:x"`,
		`,"groups":["a",""]`, `,"at_hash":"hash"`, `,"at_hash":7`, `,"nbf":1.8e9`, `,"ISS":"x"`, `,"iss":"x"`,
	} {
		f.Add("{" + good + more + "}")
	}
	f.Add(strings.Replace("{"+good+"}", "https://accounts", "accounts", 1))
	f.Add(strings.Replace("{"+good+"}", `"client"`, `["client","x"]`, 1))
	f.Add(strings.Replace("{"+good+"}", "1800003600", "1e300", 1))
	f.Add(strings.Replace("{"+good+"}", "https://accounts.google.com", "https://evil.test", 1))
	f.Add(strings.Replace("{"+good+"}", `"client"`, `"other"`, 1))
	f.Add(strings.Replace("{"+good+"}", `"client"`, `["other"]`, 1))
	newProvider := func(google bool) *oidc.Provider {
		p, err := oidc.New(oidc.Config{
			Issuer: googleIssuer, ClientID: "client", ClientSecret: auth.NewSecret("s"), RedirectURL: redirectURL,
			Google: google, GroupsClaim: "groups", TrustEmail: true, Now: func() time.Time { return now },
		})
		if err != nil {
			f.Fatal(err)
		}
		return p
	}
	providers := []*oidc.Provider{newProvider(true), newProvider(false)}
	f.Fuzz(func(t *testing.T, payload string) {
		for _, p := range providers {
			id, err := p.Judge([]byte(payload), "nonce", "hash")
			if (err == nil) == (id == nil) {
				t.Fatalf("identity %v with error %v", id, err)
			}
			if err != nil {
				if len(err.Error()) > 600 {
					t.Errorf("error of %d bytes", len(err.Error()))
				}
				continue
			}
			var claims map[string]any
			if err := json.Unmarshal([]byte(payload), &claims); err != nil {
				t.Fatalf("accepted what encoding/json refuses: %v", err)
			}
			if iss := claims["iss"]; iss != googleIssuer && iss != "accounts.google.com" || id.Issuer != googleIssuer {
				t.Errorf("issuer %v as %s", iss, id.Issuer)
			}
			if claims["nonce"] != "nonce" || claims["sub"] != id.Subject || id.Subject == "" || len(id.Subject) > 255 {
				t.Errorf("nonce %v, sub %v as %q", claims["nonce"], claims["sub"], id.Subject)
			}
			if audience, err := json.Marshal(claims["aud"]); err != nil || !strings.Contains(string(audience), `"client"`) {
				t.Errorf("audience %s", audience)
			}
			if hash, present := claims["at_hash"]; present && hash != "hash" {
				t.Errorf("at_hash %v", hash)
			}
			if party, present := claims["azp"]; present && party != "client" {
				t.Errorf("azp %v", party)
			}
			if list, several := claims["aud"].([]any); several && len(list) > 1 && claims["azp"] != "client" {
				t.Errorf("audiences %v without azp", list)
			}
			if exp, ok := claims["exp"].(float64); ok && exp <= float64(now.Unix()) {
				t.Errorf("exp %v", exp)
			}
			if id.Email != "" {
				if again, err := auth.ParseEmail(id.Email); err != nil || again != id.Email {
					t.Errorf("email %q", id.Email)
				}
			} else if id.EmailVerified {
				t.Error("verified without an address")
			}
			if p == providers[0] {
				if _, present := claims["hd"]; present == (id.HostedDomain == "") {
					t.Errorf("hd %v as %q", claims["hd"], id.HostedDomain)
				}
				if verified := claims["email_verified"]; id.EmailVerified && verified != true && verified != "true" {
					t.Errorf("email_verified %v", verified)
				}
			}
			for _, text := range append(id.Groups, id.Name, id.Picture, id.Subject, id.HostedDomain) {
				if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }) {
					t.Errorf("%q is not plain text", text)
				}
			}
			if u, err := url.Parse(id.Picture); err != nil || id.Picture != "" && (u.Scheme != "https" || u.Host == "") {
				t.Errorf("picture %q", id.Picture)
			}
			if len([]rune(id.Name)) > 256 || len(id.Picture) > 4096 || len(id.Groups) > 1000 {
				t.Error("unbounded")
			}
		}
	})
}

// Whatever a discovery document says: what is accepted is of our issuer, and every
// endpoint is https, or on this machine when the issuer is.
func FuzzDiscovery(f *testing.F) {
	for _, seed := range []string{
		`{"issuer":"https://a.test","authorization_endpoint":"https://a.test/a","token_endpoint":"https://a.test/t","jwks_uri":"https://a.test/k"}`,
		`{"issuer":"https://a.test","authorization_endpoint":"https://a.test/a","token_endpoint":"http://a.test/t","jwks_uri":"https://b.test/k"}`,
		`{"issuer":"http://localhost:1","authorization_endpoint":"http://localhost:1/a","token_endpoint":"http://[::1]/t","jwks_uri":"http://127.0.0.1/k","id_token_signing_alg_values_supported":["ES256"]}`,
		`{"issuer":"https://accounts.google.com","authorization_endpoint":"https://accounts.google.com/a","token_endpoint":"https://oauth2.googleapis.com/token","jwks_uri":"https://www.googleapis.com/c"}`,
		`[]`, `null`, `{"issuer":7}`,
	} {
		f.Add([]byte(seed))
	}
	configs := []oidc.Config{
		{Issuer: "https://a.test"}, {Issuer: "https://a.test", Google: true}, {Issuer: "http://localhost:1"}, {Issuer: googleIssuer, Google: true},
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, c := range configs {
			endpoints, alg, err := oidc.ParseMetadata(body, c)
			if err != nil {
				continue
			}
			var doc map[string]any
			if err := json.Unmarshal(body, &doc); err != nil || doc["issuer"] != c.Issuer {
				t.Errorf("%v %v taken for %s", err, doc["issuer"], c.Issuer)
			}
			for _, endpoint := range endpoints {
				u, err := url.Parse(endpoint)
				if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
					t.Fatalf("%s accepts %q", c.Issuer, endpoint)
				}
				host := strings.ToLower(u.Hostname())
				local := host == "localhost" || strings.HasSuffix(host, ".localhost") || host == "::1" || strings.HasPrefix(host, "127.") || strings.HasPrefix(host, "::ffff:127.")
				switch {
				case strings.HasPrefix(c.Issuer, "http:") && !local && !strings.Contains(host, ":"),
					strings.HasPrefix(c.Issuer, "https:") && u.Scheme != "https",
					c.Issuer == "https://a.test" && c.Google && host != "a.test",
					c.Issuer == googleIssuer && !strings.HasSuffix(host, ".google.com") && !strings.HasSuffix(host, ".googleapis.com"):
					t.Errorf("%s accepts %q", c.Issuer, endpoint)
				}
			}
			if alg == "" || alg == "none" || strings.HasPrefix(alg, "HS") {
				t.Errorf("pinned %q", alg)
			}
		}
	})
}

// Whatever a key set holds: only public keys of the right kind and strength come out.
func FuzzKeys(f *testing.F) {
	for _, seed := range []string{
		`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"oct","k":"AAAA"},7]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1"}]}`,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		`{"keys":[{"kty":"RSA","n":"` + strings.Repeat("__8", 120) + `","e":"AQAB","use":"sig"}]}`,
		`{"keys":null}`, `{}`, `[]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
			keys, err := oidc.ParseKeys(body, alg)
			if (err == nil) == (len(keys) == 0) || len(keys) > 100 {
				t.Fatalf("%d keys with error %v", len(keys), err)
			}
			for _, key := range keys {
				kind := ""
				switch key := key.(type) {
				case *rsa.PublicKey:
					if kind = "RS256 PS256"; key.N.BitLen() < 2048 {
						t.Errorf("a key of %d bits", key.N.BitLen())
					}
				case *ecdsa.PublicKey:
					kind = "ES256"
				case ed25519.PublicKey:
					kind = "EdDSA"
				}
				if !strings.Contains(kind, alg) {
					t.Errorf("%T for %s", key, alg)
				}
			}
		}
	})
}

// Whatever stands in a header: what is accepted has our algorithm and nothing that
// leads elsewhere.
func FuzzHeader(f *testing.F) {
	for _, seed := range []string{
		"eyJhbGciOiJSUzI1NiJ9.e30.AA", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJSUzI1NiIsImNyaXQiOltdfQ.e30.AA", "..", "", "a.b.c.d.e",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, jwt string) {
		if oidc.CheckHeader(jwt, "RS256") == nil && (strings.Count(jwt, ".") != 2 || strings.ContainsAny(jwt, "\r\n") || len(jwt) > 64<<10) {
			t.Errorf("accepted %q", jwt)
		}
		if oidc.CheckHeader(jwt, "none") == nil && oidc.CheckHeader(jwt, "RS256") == nil {
			t.Errorf("%q is everything to everybody", jwt)
		}
	})
}
