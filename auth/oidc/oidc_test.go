package oidc_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/auth/oidc"
)

// TOK-075.
func TestLogin(t *testing.T) {
	r := ready(t, setup{})
	for email, want := range map[string]auth.Identity{
		"alice@example.com": {Subject: "100000000000000000001", Email: "alice@example.com", EmailVerified: true, HostedDomain: "example.com", Name: "Alice Archer"},
		"carol@gmail.com":   {Subject: "100000000000000000004", Email: "carol@gmail.com", EmailVerified: true, Name: "Carol Cook"},
		"dave@example.com":  {Subject: "100000000000000000005", Email: "dave@example.com", Name: "Dave Dale"},
	} {
		want.Issuer = r.issuer
		if diff := cmp.Diff(want, r.mustLogin(email)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", email, diff)
		}
	}
}

// TOK-066, STA-112, STA-113.
func TestAuthorizationRequest(t *testing.T) {
	r := newRig(t, setup{config: func(c *oidc.Config) { c.HostedDomainHint = "example.com" }})
	r.idp.Misbehave(devidp.Fault{Discovery: func(doc map[string]any) {
		doc["code_challenge_methods_supported"] = []string{"plain"}
		doc["authorization_endpoint"] = r.issuer + "/authorize?p=1"
	}})
	if err := r.rp.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := newAttempt()
	for _, switching := range []bool{false, true} {
		a.SelectAccount = switching
		text, err := r.rp.AuthCodeURL(a)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		challenge := sha256.Sum256([]byte(a.Verifier))
		want := url.Values{
			"p": {"1"}, "response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {redirectURL},
			"scope": {"openid email profile"}, "state": {a.State}, "nonce": {a.Nonce}, "hd": {"example.com"},
			"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
		}
		if switching { // 122
			want.Set("prompt", "select_account")
		}
		if diff := cmp.Diff(want, u.Query()); diff != "" {
			t.Errorf("parameters (-want +got):\n%s", diff)
		}
		u.RawQuery = ""
		if u.String() != r.issuer+"/authorize" {
			t.Errorf("sent to %s", u)
		}
		if strings.Contains(text, a.Verifier) || strings.Contains(text, url.QueryEscape(clientSecret)) {
			t.Error("the verifier or the secret is in the URL")
		}
	}
	for _, a := range []oidc.Attempt{{}, {State: "s", Nonce: "n"}, {State: "s", Nonce: "n", Verifier: "short"}} {
		if text, err := r.rp.AuthCodeURL(a); err == nil {
			t.Errorf("attempt %+v was sent to %s", a, text)
		}
	}
}

func TestScopesAlwaysHoldOpenID(t *testing.T) {
	r := ready(t, setup{config: func(c *oidc.Config) { c.Scopes = []string{"groups", "openid"} }})
	text, err := r.rp.AuthCodeURL(newAttempt())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "scope=openid+groups&") {
		t.Errorf("got %s", text)
	}
}

// TOK-067, STA-112: one request per attempt, in the style that the metadata asks for, with the
// verifier and the code nowhere but in its body.
func TestTokenRequest(t *testing.T) {
	for name, test := range map[string]struct {
		google  bool
		method  string
		methods any
		basic   bool
	}{
		"google, both":           {true, "", []string{"client_secret_basic", "client_secret_post"}, false},
		"google, silent":         {true, "", nil, false},
		"google, basic":          {true, "", []string{"client_secret_basic"}, true},
		"generic, both":          {false, "", []string{"client_secret_post", "client_secret_basic"}, true},
		"generic, silent":        {false, "", nil, true},
		"generic, post":          {false, "", []string{"client_secret_post"}, false},
		"generic, told post":     {false, oidc.AuthPost, nil, false},
		"generic, told basic":    {false, oidc.AuthBasic, []string{"client_secret_post"}, true},
		"generic, told, neither": {false, oidc.AuthPost, []string{"private_key_jwt"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{config: func(c *oidc.Config) { c.Google, c.AuthMethod = test.google, test.method }})
			r.idp.Misbehave(devidp.Fault{Discovery: set("token_endpoint_auth_methods_supported", test.methods)})
			if err := r.rp.Discover(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.mustLogin("alice@example.com")
			a := newAttempt()
			if _, err := r.rp.Exchange(t.Context(), a, "no such code"); reasonOf(err) != oidc.ReasonRejected {
				t.Errorf("got %v", err)
			}
			requests := r.idp.TokenRequests()
			if len(requests) != 2 {
				t.Fatalf("%d token requests for two attempts, the second of which failed", len(requests))
			}
			want := url.Values{"grant_type": {"authorization_code"}, "code": {"no such code"}, "redirect_uri": {redirectURL}, "code_verifier": {a.Verifier}}
			basic := ""
			if test.basic {
				basic = clientID
			} else {
				want.Set("client_id", clientID)
				want.Set("client_secret", clientSecret)
			}
			if diff := cmp.Diff(devidp.TokenRequest{Basic: basic, Form: want, Query: url.Values{}, Status: 400}, requests[1]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCodeServesOnce(t *testing.T) {
	r := ready(t, setup{})
	a := newAttempt()
	code := r.authorize(a, "alice@example.com").Get("code")
	if _, err := r.rp.Exchange(t.Context(), a, code); err != nil {
		t.Fatal(err)
	}
	if _, err := r.rp.Exchange(t.Context(), a, code); reasonOf(err) != oidc.ReasonRejected {
		t.Errorf("second time: %v", err)
	}
}

// STA-118: Mallory's code in the attempt of somebody else: the provider refuses it by the
// verifier, and where it does not, the nonce does.
func TestInjectedCode(t *testing.T) {
	for _, lax := range []bool{false, true} {
		r := ready(t, setup{})
		r.idp.Misbehave(devidp.Fault{NoPKCE: lax})
		code := r.authorize(newAttempt(), "mallory@evil.test").Get("code")
		id, err := r.rp.Exchange(t.Context(), newAttempt(), code)
		want := oidc.ReasonRejected
		if lax {
			want = oidc.ReasonNonce
		}
		if reasonOf(err) != want || id.Subject != "" {
			t.Errorf("lax %t: %v %v, want %s", lax, id, err, want)
		}
	}
}

// TOK-082, TOK-103: a genuine older ID token, served again.
func TestReplayedToken(t *testing.T) {
	r := ready(t, setup{})
	var old any
	r.idp.Misbehave(devidp.Fault{Reply: func(m map[string]any) { old = m["id_token"] }})
	r.mustLogin("alice@example.com")
	r.idp.Misbehave(devidp.Fault{Reply: func(m map[string]any) { m["id_token"] = old }})
	r.refused(oidc.ReasonNonce)
}

func TestCheckIssuerRFC9207(t *testing.T) {
	r := ready(t, setup{})
	google := ready(t, setup{issuer: googleIssuer})
	announced := newRig(t, setup{})
	announced.idp.Misbehave(devidp.Fault{Discovery: set("authorization_response_iss_parameter_supported", true)})
	if err := announced.rp.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		r       *rig
		iss     string
		present bool
		want    bool
	}{
		"ours":                        {r, r.issuer, true, true},
		"absent":                      {r, "", false, true},
		"absent, although announced":  {announced, "", false, false},
		"ours, as announced":          {announced, r.issuer, true, true},
		"empty":                       {r, "", true, false},
		"another":                     {r, "https://evil.test", true, false},
		"with a slash":                {r, r.issuer + "/", true, false},
		"google's":                    {google, googleIssuer, true, true},
		"google's bare":               {google, "accounts.google.com", true, true},
		"google's bare, not google":   {r, "accounts.google.com", true, false},
		"google's, not google at all": {r, googleIssuer, true, false},
	} {
		err := test.r.rp.CheckIssuer(test.iss, test.present)
		if (err == nil) != test.want || err != nil && reasonOf(err) != oidc.ReasonIssuer {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProbeCredentials(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*oidc.Config)
		want oidc.Reason
	}{
		"right":        {func(*oidc.Config) {}, ""},
		"wrong secret": {func(c *oidc.Config) { c.ClientSecret = auth.NewSecret("another") }, oidc.ReasonBadClient},
		"wrong client": {func(c *oidc.Config) { c.ClientID = "another" }, oidc.ReasonBadClient},
	} {
		for _, google := range []bool{false, true} {
			r := newRig(t, setup{config: func(c *oidc.Config) { c.Google = google; test.edit(c) }})
			if err := r.rp.ProbeCredentials(t.Context()); reasonOf(err) != oidc.ReasonUnavailable {
				t.Errorf("%s, before discovery: %v", name, err)
			}
			if err := r.rp.Discover(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := r.rp.ProbeCredentials(t.Context()); reasonOf(err) != test.want {
				t.Errorf("%s: %v, want %q", name, err, test.want)
			}
		}
	}
}

// IDP-212.
func TestNotDiscoveredYet(t *testing.T) {
	r := newRig(t, setup{})
	if r.rp.Ready() {
		t.Error("ready before anything was asked")
	}
	_, err := r.rp.AuthCodeURL(newAttempt())
	if reasonOf(err) != oidc.ReasonUnavailable || !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("AuthCodeURL: %v", err)
	}
	if _, err := r.rp.Exchange(t.Context(), newAttempt(), "code"); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("Exchange: %v", err)
	}
}

// TOK-080, TOK-093, TOK-096, IDP-222: nothing but discovery, token and keys is ever asked of Google, and nobody else:
// no userinfo, no refresh token, no place that a token names (080, 093, 096, 222).
func TestTraffic(t *testing.T) {
	r := ready(t, setup{config: func(c *oidc.Config) { c.GroupsClaim = "groups" }})
	r.idp.Misbehave(devidp.Fault{
		Reply: set("refresh_token", "1//refresh"),
		Claims: func(m map[string]any) {
			m["_claim_names"] = map[string]string{"groups": "a", "email": "a"}
			m["_claim_sources"] = map[string]any{"a": map[string]string{"endpoint": "https://evil.test/claims", "access_token": "x"}}
			delete(m, "email")
		},
	})
	if id := r.mustLogin("alice@example.com"); id.Email != "" || id.EmailVerified || id.Groups != nil {
		t.Errorf("got %+v", id)
	}
	for endpoint, want := range map[string]int{"discovery": 1, "jwks": 1, "token": 1, "userinfo": 0, "other": 0} {
		if got := r.idp.Requests(endpoint); got != want {
			t.Errorf("%d requests to %s, want %d", got, endpoint, want)
		}
	}
	if form := r.idp.TokenRequests()[0].Form; form.Get("grant_type") != "authorization_code" || form.Has("scope") {
		t.Errorf("token request %v", form)
	}
	for _, address := range r.dialled {
		if address != "accounts.test:443" {
			t.Errorf("connected to %s", address)
		}
	}
	var observed []string
	for _, c := range r.calls {
		observed = append(observed, c.endpoint)
		if c.err != nil {
			t.Errorf("%s: %v", c.endpoint, c.err)
		}
	}
	if diff := cmp.Diff([]string{"discovery", "jwks", "token"}, observed); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

// CFG-247.
func TestNewRefuses(t *testing.T) {
	good := oidc.Config{Issuer: "https://accounts.test", ClientID: "id", ClientSecret: auth.NewSecret("s"), RedirectURL: redirectURL}
	if _, err := oidc.New(good); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*oidc.Config){
		"no issuer":          func(c *oidc.Config) { c.Issuer = "" },
		"plain http":         func(c *oidc.Config) { c.Issuer = "http://accounts.test" },
		"http, almost local": func(c *oidc.Config) { c.Issuer = "http://localhost.evil.test" },
		"other scheme":       func(c *oidc.Config) { c.Issuer = "ftp://accounts.test" },
		"user in the issuer": func(c *oidc.Config) { c.Issuer = "https://a@accounts.test" },
		"fragment":           func(c *oidc.Config) { c.Issuer = "https://accounts.test/#x" },
		"query":              func(c *oidc.Config) { c.Issuer = "https://accounts.test/?x" },
		"no client":          func(c *oidc.Config) { c.ClientID = "" },
		"no secret":          func(c *oidc.Config) { c.ClientSecret = auth.Secret{} },
		"no redirect":        func(c *oidc.Config) { c.RedirectURL = "/callback" },
	} {
		c := good
		edit(&c)
		if _, err := oidc.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, issuer := range []string{"http://localhost:8080", "http://127.0.0.1", "http://[::1]:1/x", "http://idp.localhost"} {
		c := good
		c.Issuer = issuer
		if _, err := oidc.New(c); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
}

// IDP-215.
func TestRefusals(t *testing.T) {
	r := ready(t, setup{})
	for _, test := range []struct {
		status int
		body   string
		want   oidc.Reason
		says   string
	}{
		{400, `{"error":"invalid_grant","error_description":"PROVIDERBODY"}`, oidc.ReasonRejected, `"invalid_grant"`},
		{400, `{"error":"invalid_client"}`, oidc.ReasonBadClient, `"invalid_client"`},
		{400, `{"error":"unauthorized_client"}`, oidc.ReasonBadClient, "400"},
		{400, `{"error":"<html>PROVIDERBODY"}`, oidc.ReasonRejected, "400"},
		{400, `PROVIDERBODY`, oidc.ReasonRejected, "400"},
		{401, `<html>PROVIDERBODY</html>`, oidc.ReasonBadClient, "401"},
		{403, `<html>PROVIDERBODY</html>`, oidc.ReasonRejected, "403"},
		{404, ``, oidc.ReasonRejected, "404"},
		{429, `PROVIDERBODY`, oidc.ReasonUnavailable, "429"},
		{500, `<html>PROVIDERBODY</html>`, oidc.ReasonUnavailable, "500"},
		{503, `{}`, oidc.ReasonUnavailable, "503"},
		{302, ``, oidc.ReasonBadReply, "302"},
		{307, ``, oidc.ReasonBadReply, "307"},
		{200, `{"error":"invalid_grant"}`, oidc.ReasonRejected, "invalid_grant"},
	} {
		before := r.idp.Requests("token")
		r.idp.Misbehave(devidp.Fault{Respond: func(w http.ResponseWriter, _ *http.Request, endpoint string) bool {
			if endpoint != "token" {
				return false
			}
			w.Header().Set("Location", "https://evil.test/")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(test.body))
			return true
		}})
		err := r.refused(test.want)
		if !strings.Contains(err.Error(), test.says) {
			t.Errorf("%d %s: %v does not say %s", test.status, test.body, err, test.says)
		}
		if errors.Is(err, auth.ErrUnavailable) != (test.want == oidc.ReasonUnavailable) {
			t.Errorf("%d: errors.Is(%v, ErrUnavailable) is wrong", test.status, err)
		}
		if n := r.idp.Requests("token") - before; n != 1 {
			t.Errorf("%d: %d token requests", test.status, n)
		}
	}
	for _, address := range r.dialled {
		if address != "accounts.test:443" {
			t.Errorf("a redirect was followed to %s", address)
		}
	}
}

// TOK-101, IDP-216.
func TestTokenReplies(t *testing.T) {
	r := ready(t, setup{})
	for name, edit := range map[string]func(map[string]any){
		"no id_token":         set("id_token", nil),
		"empty id_token":      set("id_token", ""),
		"number for id_token": set("id_token", 7),
		"list for id_token":   set("id_token", []string{"PROVIDERBODY"}),
		"mac":                 set("token_type", "mac"),
		"number for a type":   set("token_type", 7),
		"no access token":     set("access_token", nil),
		"odd expiry":          set("expires_in", "PROVIDERBODY"),
	} {
		r.idp.Misbehave(devidp.Fault{Reply: edit})
		t.Log(name, r.refused(oidc.ReasonBadReply))
	}
	for name, edit := range map[string]func(map[string]any){
		"bearer":    set("token_type", "bearer"),
		"no type":   set("token_type", nil),
		"no expiry": set("expires_in", nil),
		"more":      set("x_more", map[string]any{"a": 1}),
	} {
		r.idp.Misbehave(devidp.Fault{Reply: edit})
		if _, err := r.login("alice@example.com"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCanceled(t *testing.T) {
	r := ready(t, setup{})
	r.idp.Misbehave(slow("token", time.Hour))
	a := newAttempt()
	code := r.authorize(a, "alice@example.com").Get("code")
	ctx, cancel := contextWithCancel(t)
	go func() {
		for r.idp.Requests("token") == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := r.rp.Exchange(ctx, a, code); reasonOf(err) != oidc.ReasonCanceled {
		t.Errorf("got %v", err)
	}
}
