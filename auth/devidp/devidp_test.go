package devidp_test

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth/devidp"
)

const (
	issuer   = "https://accounts.test/base"
	callback = "https://app.test/_auth/callback"
	verifier = "a-verifier-of-at-least-forty-three-characters-0123"
)

func newProvider(t *testing.T, now func() time.Time) *devidp.Provider {
	t.Helper()
	p, err := devidp.New(devidp.Config{
		Issuer:  issuer,
		Clients: map[string]devidp.Client{"app": {Secret: "se cret", RedirectURIs: []string{callback}}, "other": {Secret: "x", RedirectURIs: []string{callback}}},
		Now:     now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(edit url.Values) url.Values {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {"app"}, "redirect_uri": {callback}, "scope": {"openid email profile"}, "state": {"st/ate"},
		"nonce": {"nonce"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	maps.Copy(q, edit)
	return q
}

func authorize(t *testing.T, p *devidp.Provider, q, form url.Values) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, issuer+"/authorize?"+q.Encode(), http.NoBody)
	if form != nil {
		r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, r.URL.String(), strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// back returns the parameters of a redirect to the client.
func back(t *testing.T, w *httptest.ResponseRecorder) url.Values {
	t.Helper()
	to, query, _ := strings.Cut(w.Header().Get("Location"), "?")
	q, err := url.ParseQuery(query)
	if err != nil || w.Code != http.StatusFound || to != callback {
		t.Fatalf("%d %q %s", w.Code, w.Header().Get("Location"), w.Body)
	}
	return q
}

func redeem(t *testing.T, p *devidp.Provider, edit func(*http.Request, url.Values), code string) (int, map[string]any) {
	t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, issuer+"/token", http.NoBody)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("app", "se+cret")
	if edit != nil {
		edit(r, form)
	}
	r.Body = io.NopCloser(strings.NewReader(form.Encode()))
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	var reply map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
		t.Fatal(err)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("tokens may be kept")
	}
	return w.Code, reply
}

func TestWholeLogin(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	p := newProvider(t, func() time.Time { return now })
	q := back(t, authorize(t, p, request(url.Values{"login_hint": {"Alice@example.com"}, "prompt": {"select_account"}}), nil))
	if q.Get("state") != "st/ate" || q.Get("iss") != issuer || q.Get("code") == "" {
		t.Errorf("callback %v", q)
	}
	status, reply := redeem(t, p, nil, q.Get("code"))
	if status != http.StatusOK || reply["token_type"] != "Bearer" {
		t.Fatalf("%d %v", status, reply)
	}
	jws, err := jose.ParseSignedCompact(reply["id_token"].(string), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := jws.Verify(publishedKey(t, p, jws.Signatures[0].Protected.KeyID))
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256([]byte(reply["access_token"].(string)))
	want := map[string]any{
		"iss": issuer, "aud": "app", "azp": "app", "sub": "100000000000000000001", "nonce": "nonce", "hd": "example.com",
		"email": "alice@example.com", "email_verified": true, "name": "Alice Archer", "iat": 1.8e9, "exp": 1.8e9 + 3600,
		"at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]),
	}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func publishedKey(t *testing.T, p *devidp.Provider, kid string) *rsa.PublicKey {
	t.Helper()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, issuer+"/jwks", http.NoBody))
	var set struct {
		Keys []struct{ Kid, N, E string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if k.Kid == kid {
			n, _ := base64.RawURLEncoding.DecodeString(k.N)
			e, _ := base64.RawURLEncoding.DecodeString(k.E)
			return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		}
	}
	t.Fatalf("no key %q among %s", kid, w.Body)
	return nil
}

func TestAuthorizeRefuses(t *testing.T) {
	p := newProvider(t, nil)
	alice := "alice@example.com"
	for name, edit := range map[string]url.Values{
		"unknown client":        {"client_id": {"nobody"}},
		"foreign redirect":      {"redirect_uri": {"https://evil.test/"}},
		"redirect with a slash": {"redirect_uri": {callback + "/"}},
		"no redirect":           {"redirect_uri": {""}},
	} {
		edit.Set("login_hint", alice)
		w := authorize(t, p, request(edit), nil)
		if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" || !strings.Contains(w.Body.String(), "redirect_uri_mismatch") {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
	for want, edit := range map[string]url.Values{
		"unsupported_response_type": {"response_type": {"id_token"}},
		"invalid_scope":             {"scope": {"email"}},
		"invalid_request":           {"code_challenge_method": {"plain"}},
		"login_required":            {"prompt": {"none"}, "login_hint": {""}},
	} {
		if !edit.Has("login_hint") {
			edit.Set("login_hint", alice)
		}
		if q := back(t, authorize(t, p, request(edit), nil)); q.Get("error") != want || q.Has("code") || q.Get("state") != "st/ate" {
			t.Errorf("%v, want %s", q, want)
		}
	}
	if q := back(t, authorize(t, p, request(url.Values{"code_challenge": {"short"}, "login_hint": {alice}}), nil)); q.Get("error") != "invalid_request" {
		t.Errorf("without PKCE: %v", q)
	}
	if q := back(t, authorize(t, p, request(nil), url.Values{"cancel": {"1"}})); q.Get("error") != "access_denied" || q.Get("state") != "st/ate" {
		t.Errorf("cancel: %v", q)
	}
}

func TestTokenRefuses(t *testing.T) {
	now := time.Now()
	p := newProvider(t, func() time.Time { return now })
	type edits = func(*http.Request, url.Values)
	post := func(id, secret string) edits {
		return func(r *http.Request, form url.Values) {
			r.Header.Del("Authorization")
			form.Set("client_id", id)
			form.Set("client_secret", secret)
		}
	}
	for name, test := range map[string]struct {
		edit edits
		want any
	}{
		"basic":                 {nil, nil},
		"post":                  {post("app", "se cret"), nil},
		"wrong secret":          {post("app", "wrong"), "invalid_client"},
		"unknown client":        {post("nobody", ""), "invalid_client"},
		"nobody":                {func(r *http.Request, _ url.Values) { r.Header.Del("Authorization") }, "invalid_client"},
		"both ways":             {func(_ *http.Request, form url.Values) { form.Set("client_secret", "se cret") }, "invalid_client"},
		"another client's code": {post("other", "x"), "invalid_grant"},
		"another grant":         {func(_ *http.Request, form url.Values) { form.Set("grant_type", "password") }, "unsupported_grant_type"},
		"another redirect":      {func(_ *http.Request, form url.Values) { form.Set("redirect_uri", callback+"/") }, "redirect_uri_mismatch"},
		"wrong verifier":        {func(_ *http.Request, form url.Values) { form.Set("code_verifier", verifier+"x") }, "invalid_grant"},
		"no verifier":           {func(_ *http.Request, form url.Values) { form.Del("code_verifier") }, "invalid_grant"},
		"wrong code":            {func(_ *http.Request, form url.Values) { form.Set("code", "4/x") }, "invalid_grant"},
		"too late":              {func(*http.Request, url.Values) { now = now.Add(2 * time.Minute) }, "invalid_grant"},
	} {
		code := back(t, authorize(t, p, request(nil), url.Values{"email": {"bob@example.com"}})).Get("code")
		status, reply := redeem(t, p, test.edit, code)
		if reply["error"] != test.want || (status == http.StatusOK) != (test.want == nil) {
			t.Errorf("%s: %d %v", name, status, reply)
		}
		if test.want == nil {
			if status, reply := redeem(t, p, test.edit, code); reply["error"] != "invalid_grant" {
				t.Errorf("%s, twice: %d %v", name, status, reply)
			}
		}
	}
}

func TestStrangersGetAccounts(t *testing.T) {
	p := newProvider(t, nil)
	claims := map[string]any{}
	p.Misbehave(devidp.Fault{Claims: func(m map[string]any) { claims = m }})
	login := func(email string) map[string]any {
		code := back(t, authorize(t, p, request(nil), url.Values{"email": {email}})).Get("code")
		if status, reply := redeem(t, p, nil, code); status != http.StatusOK {
			t.Fatalf("%s: %v", email, reply)
		}
		return claims
	}
	erin, again, gmail := login(" Erin@new.example "), login("erin@new.example"), login("erin@gmail.com")
	if erin["email"] != "erin@new.example" || erin["hd"] != "new.example" || erin["email_verified"] != true || erin["name"] != "Erin" {
		t.Errorf("got %v", erin)
	}
	if sub, _ := erin["sub"].(string); sub != again["sub"] || len(sub) != 21 || sub == gmail["sub"] {
		t.Errorf("subjects %v %v %v", sub, again["sub"], gmail["sub"])
	}
	if _, present := gmail["hd"]; present {
		t.Errorf("got %v", gmail)
	}
	for _, email := range []string{"", "nobody", "a@b@c.test", "<script>@x"} {
		if w := authorize(t, p, request(nil), url.Values{"email": {email}}); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "not an e-mail address") {
			t.Errorf("%q: %d", email, w.Code)
		}
	}
}

// The chooser posts to where it is, loads nothing, and says what it is.
func TestChooser(t *testing.T) {
	p := newProvider(t, nil)
	w := authorize(t, p, request(url.Values{"state": {`"><script>`}, "prompt": {"select_account"}}), nil)
	body := w.Body.String()
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, want := range []string{`value="alice@example.com"`, `name="cancel"`, `type="email"`, "app.test", "pretend Google", "Not verified", `<html lang="en">`, "prefers-color-scheme: dark"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	for _, never := range []string{"<script", "http://", "https://", "src=", "@import", "url(", "action=", "ZgotmplZ"} {
		if strings.Contains(body, never) {
			t.Errorf("%q in the page", never)
		}
	}
}

func TestRotation(t *testing.T) {
	p := newProvider(t, nil)
	first, _ := p.SigningKey()
	if err := p.RotateKeys(); err != nil {
		t.Fatal(err)
	}
	second, _ := p.SigningKey()
	published := func() int {
		n := 0
		p.Misbehave(devidp.Fault{Keys: func(m map[string]any) { n = len(m["keys"].([]any)) }})
		publishedKey(t, p, second)
		return n
	}
	if first == second || published() != 2 {
		t.Errorf("keys %s %s, %d published", first, second, published())
	}
	if p.WithdrawKeys(); published() != 1 {
		t.Errorf("%d published", published())
	}
}

func TestCounters(t *testing.T) {
	p := newProvider(t, nil)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for _, path := range []string{"/.well-known/openid-configuration", "/jwks", "/userinfo", "/elsewhere"} {
				p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, issuer+path, http.NoBody))
			}
			redeem(t, p, nil, "none")
			p.Misbehave(devidp.Fault{})
		})
	}
	all.Wait()
	for _, endpoint := range []string{"discovery", "jwks", "userinfo", "other", "token"} {
		if n := p.Requests(endpoint); n != 50 {
			t.Errorf("%d requests to %s", n, endpoint)
		}
	}
	if n := len(p.TokenRequests()); n != 50 || p.TokenRequests()[0].Status != http.StatusBadRequest || p.TokenRequests()[0].Basic != "app" {
		t.Errorf("%d records, %+v", n, p.TokenRequests()[:1])
	}
}
