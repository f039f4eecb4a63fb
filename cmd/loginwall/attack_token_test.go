package main

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/devidp"
)

// trusting lets a test come from any address, since callbacks that fail are counted
// by address.
const trusting = basics + "trusted_proxies: [127.0.0.1]\nlog: {level: debug}\n"

// A tokenRig is a wall whose provider sends forged tokens.
type tokenRig struct {
	*rig
	wall     *child
	visitors int
	canary   *httptest.Server // where tokens point to; nobody is to come
	visited  atomic.Int32
	mu       sync.Mutex
	told     []string // what the provider told in confidence
}

func newTokenRig(t *testing.T) *tokenRig {
	t.Helper()
	r := &tokenRig{rig: newRig(t)}
	r.publicURL = "https://app.test"
	r.canary = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { r.visited.Add(1) }))
	t.Cleanup(r.canary.Close)
	r.wall = r.serveReady(t, r.write(t, trusting))
	t.Cleanup(func() {
		if n := r.visited.Load(); n != 0 {
			t.Errorf("somebody went %d times where a token pointed to", n)
		}
		if n := r.idp.Requests("userinfo") + r.idp.Requests("other"); n != 0 {
			t.Errorf("%d requests to the provider that no login needs", n)
		}
	})
	return r
}

// login goes the whole way as somebody new, from an address of their own, while the
// provider misbehaves so; the answer is the callback's.
func (r *tokenRig) login(t *testing.T, email string, f devidp.Fault) *answer {
	t.Helper()
	edit := f.Reply
	f.Reply = func(m map[string]any) {
		if edit != nil {
			edit(m)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, name := range []string{"access_token", "id_token", "refresh_token"} {
			if text, ok := m[name].(string); ok && text != "" {
				r.told = append(r.told, text)
			}
		}
	}
	r.idp.Misbehave(f)
	defer r.idp.Misbehave(devidp.Fault{})
	r.visitors++
	r.as(fmt.Sprint("visitor ", r.visitors))
	callback := r.consent(t, r.begin(t, "/x"), email)
	return r.ask(t, http.MethodGet, "-nav", callback, fmt.Sprintf("X-Forwarded-For:192.0.%d.%d", r.visitors/250, r.visitors%250))
}

func (r *tokenRig) confide() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.oracle.secrets = append(r.oracle.secrets, r.told...)
	r.told = nil
}

func setTo(name string, value any) func(map[string]any) {
	return func(m map[string]any) {
		if value == nil {
			delete(m, name)
			return
		}
		m[name] = value
	}
}

// What auth/oidc tests claim by claim holds in the whole wall: whoever brings such a
// token is not signed in, nothing reaches the app, and nobody is told a secret.
func TestAttackTokens(t *testing.T) {
	t.Parallel()
	r := newTokenRig(t)
	ahead := func(d time.Duration) func(name string) func(map[string]any) {
		return func(name string) func(map[string]any) {
			return func(m map[string]any) { m[name] = time.Now().Add(d).Unix() }
		}
	}
	claims := func(edits ...func(map[string]any)) devidp.Fault {
		return devidp.Fault{Claims: func(m map[string]any) {
			for _, edit := range edits {
				edit(m)
			}
		}}
	}
	strangers, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	signWith := func(key *rsa.PrivateKey, hash crypto.Hash) func([]byte) []byte {
		return func(input []byte) []byte {
			digest := sha256.Sum256(input)
			sum := digest[:]
			if hash == crypto.SHA512 {
				long := sha512.Sum512(input)
				sum = long[:]
			}
			signature, err := rsa.SignPKCS1v15(nil, key, hash, sum)
			if err != nil {
				panic(err)
			}
			return signature
		}
	}
	mac := func(input []byte) []byte {
		h := hmac.New(sha256.New, []byte(testSecret))
		h.Write(input)
		return h.Sum(nil)
	}

	// A token of an earlier login, genuine in all else.
	older := ""
	r.login(t, "alice@example.com", devidp.Fault{Reply: func(m map[string]any) { older = m["id_token"].(string) }})
	if r.last.StatusCode != http.StatusSeeOther {
		t.Fatalf("no login without a fault: %s", r.last.Status)
	}

	// First what is right: unknown keys use up the fetches of this minute.
	accepted := map[string]devidp.Fault{
		"TOK-073, TOK-074 no kid":   {Header: setTo("kid", nil)},
		"TOK-075 as it should be":   {},
		"TOK-090 no at_hash":        claims(setTo("at_hash", nil)),
		"TOK-097 exp in quotes":     claims(setTo("exp", "9999999999")),
		"TOK-098 nbf +4 min":        claims(ahead(4 * time.Minute)("nbf")),
		"TOK-093 claims elsewhere":  claims(setTo("_claim_names", map[string]string{"address": "a"}), setTo("_claim_sources", map[string]any{"a": map[string]string{"endpoint": r.canary.URL}})),
		"TOK-096 a refresh token":   {Reply: setTo("refresh_token", "1//canary-refresh-token")},
		"TOK-087 keys turned":       {Claims: func(map[string]any) {}},
		"TOK-088 keys turn at once": {Claims: func(map[string]any) { _ = r.idp.RotateKeys() }},
	}
	for _, name := range slices.Sorted(maps.Keys(accepted)) {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "TOK-087") {
				check(t, r.idp.RotateKeys())
			}
			if a := r.login(t, "alice@example.com", accepted[name]); a.StatusCode != http.StatusSeeOther || r.signedIn(t) != "alice@example.com" {
				t.Errorf("%s, signed in as %q", a.Status, r.signedIn(t))
			}
			r.ask(t, http.MethodGet, "-nav", "/x")
		})
	}

	_, private := r.idp.SigningKey()
	refused := map[string]devidp.Fault{
		"TOK-068 iss of another":          claims(setTo("iss", "https://evil.test")),
		"TOK-068 iss with a slash":        claims(setTo("iss", r.issuer+"/")),
		"TOK-068 iss missing":             claims(setTo("iss", nil)),
		"TOK-069 sub missing":             claims(setTo("sub", nil)),
		"TOK-069 sub empty":               claims(setTo("sub", "")),
		"TOK-069 sub a number":            claims(setTo("sub", 7)),
		"TOK-069 sub of 300":              claims(setTo("sub", strings.Repeat("7", 300))),
		"TOK-070 aud of another":          claims(setTo("aud", "another")),
		"TOK-070 aud a prefix":            claims(setTo("aud", testClient[:8])),
		"TOK-070 aud others":              claims(setTo("aud", []string{"a", "b"})),
		"TOK-071 two audiences, no azp":   claims(setTo("aud", []string{testClient, "b"}), setTo("azp", nil)),
		"TOK-071 another's azp":           claims(setTo("azp", "b")),
		"TOK-072 iat missing":             claims(setTo("iat", nil)),
		"TOK-072 iat of long ago":         claims(ahead(-61 * time.Minute)("iat")),
		"TOK-072 iat from the future":     claims(ahead(6 * time.Minute)("iat")),
		"TOK-076 none":                    {Header: setTo("alg", "none"), Sign: func([]byte) []byte { return nil }},
		"TOK-076 None":                    {Header: setTo("alg", "None"), Sign: func([]byte) []byte { return nil }},
		"TOK-076 no signature":            {Sign: func([]byte) []byte { return nil }},
		"TOK-077 a stranger's key":        {Sign: signWith(strangers, crypto.SHA256)},
		"TOK-078 HS256 by the secret":     {Header: setTo("alg", "HS256"), Sign: mac},
		"TOK-078 the same as RS256":       {Sign: mac},
		"TOK-079 RS512 by the right key":  {Header: setTo("alg", "RS512"), Sign: signWith(private, crypto.SHA512)},
		"TOK-079 RS512 as RS256":          {Sign: signWith(private, crypto.SHA512)},
		"TOK-082 nonce missing":           claims(setTo("nonce", nil)),
		"TOK-082 nonce empty":             claims(setTo("nonce", "")),
		"TOK-082 nonce of another":        claims(setTo("nonce", strings.Repeat("n", 43))),
		"TOK-082, TOK-103 an older token": {Reply: setTo("id_token", older)},
		"TOK-090 at_hash of another":      claims(setTo("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")),
		"TOK-097 exp missing":             claims(setTo("exp", nil)),
		"TOK-097 exp past":                claims(ahead(-time.Second)("exp")),
		"TOK-097 exp without end":         claims(setTo("exp", 1e300)),
		"TOK-098 nbf +10 min":             claims(ahead(10 * time.Minute)("nbf")),
		"TOK-100 jku":                     {Header: setTo("jku", r.canary.URL), Sign: signWith(strangers, crypto.SHA256)},
		"TOK-100 x5u":                     {Header: setTo("x5u", r.canary.URL)},
		"TOK-100 crit":                    {Header: setTo("crit", []string{"exp"})},
		"TOK-100 typ":                     {Header: setTo("typ", "logout+jwt")},
		"TOK-100 kid a path":              {Header: setTo("kid", "../../../../etc/passwd")},
		"TOK-101 no id_token":             {Reply: setTo("id_token", nil)},
		"TOK-101 id_token a number":       {Reply: setTo("id_token", 7)},
		"TOK-101 token_type mac":          {Reply: setTo("token_type", "mac")},
		"TOK-102 iss of Google":           claims(setTo("iss", "accounts.google.com")),
	}
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		t.Run(name, func(t *testing.T) {
			asked, reached := r.idp.Requests("token"), r.upstream.count()
			a := r.login(t, "alice@example.com", refused[name])
			if a.StatusCode != http.StatusBadGateway && a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("X-Loginwall") != "error" {
				t.Errorf("%s, X-Loginwall %q", a.Status, a.Header.Get("X-Loginwall"))
			}
			if r.cookies().session() != "" || r.cookies().attempts() != 0 {
				t.Errorf("the browser holds %v", slices.Collect(maps.Keys(r.cookies())))
			}
			if r.upstream.count() != reached {
				t.Error("the app was reached")
			}
			if n := r.idp.Requests("token") - asked; n != 1 { // TOK-067
				t.Errorf("%d token requests", n)
			}
		})
	}

	t.Run("TOK-083 no address", func(t *testing.T) {
		a := r.login(t, "alice@example.com", claims(setTo("email", nil), setTo("email_verified", nil)))
		if a.StatusCode != http.StatusForbidden || a.Header.Get("X-Loginwall") != "denied" || r.cookies().session() != "" {
			t.Errorf("%s, X-Loginwall %q", a.Status, a.Header.Get("X-Loginwall"))
		}
	})

	t.Run("TOK-091 tokens in the callback's address", func(t *testing.T) {
		a := r.login(t, "alice@example.com", devidp.Fault{Callback: func(q url.Values) {
			q.Set("id_token", older)
			q.Set("access_token", "ya29.canary-in-a-url")
			q.Set("token_type", "Bearer")
		}})
		if a.StatusCode != http.StatusSeeOther || r.signedIn(t) != "alice@example.com" {
			t.Errorf("%s", a.Status)
		}
		// And without a code they are worth nothing.
		r.as("alone")
		r.begin(t, "/x")
		u, err := url.Parse(r.last.Header.Get("Location"))
		check(t, err)
		asked := r.idp.Requests("token")
		a = r.ask(t, http.MethodGet, "-nav", "/_auth/callback?state="+u.Query().Get("state")+"&id_token="+older+"&access_token=x")
		if a.StatusCode != http.StatusBadRequest || r.idp.Requests("token") != asked || r.cookies().session() != "" {
			t.Errorf("without a code: %s", a.Status)
		}
	})

	t.Run("TOK-104 unknown keys are not looked for again and again", func(t *testing.T) {
		before, began := r.idp.Requests("jwks"), time.Now()
		for i := range 50 {
			if a := r.login(t, "alice@example.com", devidp.Fault{Header: setTo("kid", fmt.Sprint("nobody's ", i))}); a.StatusCode == http.StatusSeeOther {
				t.Fatal("signed in")
			}
		}
		if n := r.idp.Requests("jwks") - before; n > 2*(1+int(time.Since(began)/time.Minute)) {
			t.Errorf("%d fetches of keys", n)
		}
		if a := r.login(t, "alice@example.com", devidp.Fault{}); a.StatusCode != http.StatusSeeOther {
			t.Errorf("afterwards: %s", a.Status)
		}
	})

	// TOK-081: what the provider told in confidence stands nowhere.
	t.Run("TOK-081, TOK-096 tokens stay where they came from", func(t *testing.T) {
		r.confide()
		r.oracle.judgeLog(t, r.wall.log.String())
		r.oracle.judgeSecrets(t, "a metric", r.metrics(t))
		for _, got := range r.upstream.since(0) {
			r.oracle.judgeSecrets(t, "a request at the app", got.raw)
		}
		for _, pattern := range []string{"ya29.", "eyJ", "canary"} {
			if strings.Contains(r.wall.log.String(), pattern) {
				t.Errorf("the log holds %s", pattern)
			}
		}
		for _, sent := range r.idp.TokenRequests() {
			if sent.Form.Get("grant_type") != "authorization_code" || len(sent.Query) != 0 {
				t.Errorf("a token request with %v?%v", sent.Form, sent.Query)
			}
		}
	})
}

// The authorization request, and the one token request that may follow, as the
// provider sees them.
func TestAttackRequestsToTheProvider(t *testing.T) {
	t.Parallel()
	r := newTokenRig(t)
	states, nonces, challenges := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range 20 {
		r.as(fmt.Sprint("visitor", i))
		address := r.begin(t, "/x?secret=canary")
		u, err := url.Parse(address)
		check(t, err)
		q := u.Query()
		// TOK-066, POL-168: the hint is one; what it asks for is checked behind it.
		want := url.Values{
			"response_type": {"code"}, "client_id": {testClient}, "redirect_uri": {"https://app.test/_auth/callback"},
			"scope": {"openid email profile"}, "code_challenge_method": {"S256"}, "hd": {"example.com"},
			"state": q["state"], "nonce": q["nonce"], "code_challenge": q["code_challenge"],
		}
		if q.Encode() != want.Encode() {
			t.Fatalf("TOK-066: the authorization request is %s, not %s", q.Encode(), want.Encode())
		}
		for what, seen := range map[string]map[string]bool{"state": states, "nonce": nonces, "code_challenge": challenges} {
			// 256 bits; behind those of the state stands a hint.
			if v, _, _ := strings.Cut(q.Get(what), "."); len(v) != 43 || seen[v] {
				t.Errorf("STA-112, STA-123: %s %q is short, or seen before", what, v)
			}
			seen[q.Get(what)] = true
		}
		if strings.Contains(address, testSecret) || strings.Contains(address, "canary") {
			t.Errorf("TOK-066: a secret stands in %s", address)
		}
		r.ask(t, http.MethodGet, "-nav", r.consent(t, address, "alice@example.com"))
	}
	verifiers := map[string]bool{}
	for _, sent := range r.idp.TokenRequests() {
		v := sent.Form.Get("code_verifier")
		if len(v) < 43 || verifiers[v] || len(sent.Query) != 0 || sent.Basic != "" || sent.Form.Get("client_secret") != testSecret {
			t.Errorf("TOK-067, STA-112: token request %v ? %v", sent.Form, sent.Query)
		}
		verifiers[v] = true
		r.oracle.secrets = append(r.oracle.secrets, v)
	}
	if len(verifiers) != 20 {
		t.Errorf("STA-112: %d verifiers for 20 logins", len(verifiers))
	}

	// TOK-092: nothing is exchanged for a form.
	r.as("poster")
	callback := r.consent(t, r.begin(t, "/x"), "alice@example.com")
	asked := r.idp.Requests("token")
	path, query, _ := strings.Cut(callback, "?")
	if a := r.ask(t, http.MethodPost, "-nav", path, "Content-Type:application/x-www-form-urlencoded", query); a.StatusCode != http.StatusMethodNotAllowed || r.idp.Requests("token") != asked {
		t.Errorf("TOK-092: %s, %d token requests", a.Status, r.idp.Requests("token")-asked)
	}
	// TOK-094, TOK-095: what we do not speak is not there.
	for _, path := range []string{"/_auth/backchannel-logout", "/_auth/frontchannel-logout?iss=x&sid=y", "/_auth/initiate?iss=x", "/_auth/register", "/_auth/request", "/.well-known/webfinger"} {
		if a := r.as("nobody").ask(t, http.MethodGet, "-xhr", path); a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusUnauthorized {
			t.Errorf("TOK-094, TOK-095: %s: %s", path, a.Status)
		}
	}
}
