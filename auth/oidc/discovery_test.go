package oidc_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/auth/oidc"
)

func answer(endpoint string, status int, body string) devidp.Fault {
	return devidp.Fault{Respond: func(w http.ResponseWriter, _ *http.Request, asked string) bool {
		if asked != endpoint {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Location", "https://evil.test/")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
		return true
	}}
}

// TOK-084, TOK-085, TOK-086, IDP-216, IDP-219.
func TestDiscoveryDocuments(t *testing.T) {
	const generic, loopback = "generic", "loopback"
	rigs := map[string]*rig{
		"":           newRig(t, setup{}),
		googleIssuer: newRig(t, setup{issuer: googleIssuer}),
		generic:      newRig(t, setup{config: func(c *oidc.Config) { c.Google = false }}),
		loopback:     newRig(t, setup{issuer: "http://localhost:7000"}),
	}
	for name, test := range map[string]struct {
		rig  string
		edit func(map[string]any)
		want string // what the error says; empty: accepted
	}{
		"as it is":                        {"", func(map[string]any) {}, ""},
		"TOK-086 issuer of another":       {"", set("issuer", "https://evil.test"), "issuer"},
		"TOK-086 issuer with a slash":     {"", set("issuer", "https://accounts.test/"), "to the last slash"},
		"TOK-086 issuer in other letters": {"", set("issuer", "https://Accounts.test"), "issuer"},
		"TOK-086 issuer missing":          {"", set("issuer", nil), "issuer is missing"},
		"TOK-086 issuer folded":           {"", func(m map[string]any) { m["Issuer"] = m["issuer"]; delete(m, "issuer") }, "issuer is missing"},
		"no authorization endpoint":       {"", set("authorization_endpoint", nil), "authorization_endpoint"},
		"no token endpoint":               {"", set("token_endpoint", nil), "token_endpoint"},
		"no keys":                         {"", set("jwks_uri", nil), "jwks_uri"},
		"empty endpoint":                  {"", set("token_endpoint", ""), "token_endpoint"},
		"relative endpoint":               {"", set("token_endpoint", "/token"), "token_endpoint"},
		"IDP-219 http token":              {"", set("token_endpoint", "http://accounts.test/token"), "not https"},
		"IDP-219 http keys":               {"", set("jwks_uri", "http://accounts.test/jwks"), "not https"},
		"IDP-219 http authorization":      {"", set("authorization_endpoint", "http://accounts.test/authorize"), "not https"},
		"IDP-219 http loopback":           {"", set("token_endpoint", "http://localhost/token"), "not https"},
		"IDP-219 javascript":              {"", set("authorization_endpoint", "javascript:alert(1)"), "authorization_endpoint"},
		"IDP-219 foreign token":           {"", set("token_endpoint", "https://evil.test/token"), "not the issuer's"},
		"IDP-219 foreign keys":            {"", set("jwks_uri", "https://evil.test/jwks"), "not the issuer's"},
		"IDP-219 foreign authorization":   {"", set("authorization_endpoint", "https://evil.test/authorize"), "not the issuer's"},
		"IDP-219 google's, not google":    {"", set("token_endpoint", "https://oauth2.googleapis.com/token"), "not the issuer's"},
		"IDP-219 user in it":              {"", set("token_endpoint", "https://a@accounts.test/token"), "token_endpoint"},
		"IDP-219 fragment":                {"", set("token_endpoint", "https://accounts.test/token#x"), "token_endpoint"},
		"another port":                    {"", set("token_endpoint", "https://accounts.test:8443/token"), ""},
		"google's hosts": {googleIssuer, func(m map[string]any) {
			m["token_endpoint"], m["jwks_uri"] = "https://oauth2.googleapis.com/token", "https://www.googleapis.com/oauth2/v3/certs"
		}, ""},
		"google's hosts, almost":            {googleIssuer, set("token_endpoint", "https://evilgoogleapis.com/token"), "not the issuer's"},
		"google's hosts, http":              {googleIssuer, set("jwks_uri", "http://www.googleapis.com/oauth2/v3/certs"), "not https"},
		"generic, foreign https":            {generic, set("token_endpoint", "https://tokens.test/token"), ""},
		"generic, foreign http":             {generic, set("token_endpoint", "http://tokens.test/token"), "not https"},
		"generic, loopback http":            {generic, set("token_endpoint", "http://127.0.0.1/token"), "not https"},
		"loopback":                          {loopback, func(map[string]any) {}, ""},
		"loopback, another name of it":      {loopback, set("token_endpoint", "http://127.0.0.1:7000/token"), ""},
		"IDP-219 loopback, http elsewhere":  {loopback, set("token_endpoint", "http://evil.test/token"), "not https"},
		"IDP-219 loopback, https elsewhere": {loopback, set("token_endpoint", "https://evil.test/token"), "not on loopback"},
		"no way to authenticate":            {generic, set("token_endpoint_auth_methods_supported", []string{"private_key_jwt"}), "client_secret_basic"},
		"methods no list":                   {generic, set("token_endpoint_auth_methods_supported", 7), "token_endpoint_auth_methods_supported"},
		"no algorithm we know":              {generic, set("id_token_signing_alg_values_supported", []string{"none", "HS256"}), "RS256"},
		"algorithms not said":               {generic, set("id_token_signing_alg_values_supported", nil), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := rigs[test.rig]
			r.renew(t)
			before := r.idp.Requests("jwks")
			r.idp.Misbehave(devidp.Fault{Discovery: test.edit})
			err := r.rp.Discover(t.Context())
			if test.want == "" {
				// The keys may be at an address that the certificate is not for.
				if err != nil && !strings.Contains(err.Error(), "keys") || !r.rp.Ready() {
					t.Errorf("got %v", err)
				}
				return
			}
			if reasonOf(err) != oidc.ReasonBadReply || !strings.Contains(err.Error(), test.want) || r.rp.Ready() {
				t.Errorf("got %v, ready %t, want an error about %q", err, r.rp.Ready(), test.want)
			}
			if r.idp.Requests("jwks") != before {
				t.Error("asked for keys all the same")
			}
		})
	}
}

// TOK-084, TOK-085: endpoints and keys are where the metadata says, wherever that is.
func TestEndpointsFromDiscovery(t *testing.T) {
	r := newRig(t, setup{issuer: "https://accounts.test/tenant"})
	moved := map[string]string{"/a/authorize": "/tenant/authorize", "/b/token": "/tenant/token", "/c/keys": "/tenant/jwks"}
	seen := map[string]int{}
	r.idp.Misbehave(devidp.Fault{
		Discovery: func(m map[string]any) {
			m["authorization_endpoint"] = "https://accounts.test/a/authorize"
			m["token_endpoint"], m["jwks_uri"] = "https://accounts.test/b/token", "https://accounts.test/c/keys"
		},
		Respond: func(w http.ResponseWriter, q *http.Request, endpoint string) bool {
			to, known := moved[q.URL.Path]
			if !known {
				return false
			}
			seen[q.URL.Path]++
			q.URL.Path = to
			r.idp.ServeHTTP(w, q)
			return true
		},
	})
	if err := r.rp.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.mustLogin("alice@example.com")
	if diff := cmp.Diff(map[string]int{"/a/authorize": 1, "/b/token": 1, "/c/keys": 1}, seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// IDP-215, IDP-216.
func TestDiscoveryAnswers(t *testing.T) {
	r := newRig(t, setup{})
	for name, test := range map[string]struct {
		status int
		body   string
		want   oidc.Reason
	}{
		"500":          {500, "PROVIDERBODY", oidc.ReasonUnavailable},
		"404":          {404, "PROVIDERBODY", oidc.ReasonUnavailable},
		"302":          {302, "", oidc.ReasonUnavailable},
		"204":          {204, "", oidc.ReasonUnavailable},
		"empty":        {200, "", oidc.ReasonBadReply},
		"null":         {200, "null", oidc.ReasonBadReply},
		"list":         {200, "[]", oidc.ReasonBadReply},
		"cut":          {200, `{"issuer":"https://acc`, oidc.ReasonBadReply},
		"HTML":         {200, "<html>PROVIDERBODY</html>", oidc.ReasonBadReply},
		"too long":     {200, `{"issuer":"` + strings.Repeat("x", 1<<20) + `"}`, oidc.ReasonBadReply},
		"two issuers":  {200, `{"issuer":"https://accounts.test","issuer":"https://accounts.test"}`, oidc.ReasonBadReply},
		"gzip, unsent": {200, "\x1f\x8b\x08\x00", oidc.ReasonBadReply},
	} {
		r.renew(t)
		r.idp.Misbehave(answer("discovery", test.status, test.body))
		err := r.rp.Discover(t.Context())
		if reasonOf(err) != test.want || r.rp.Ready() || strings.Contains(err.Error(), "PROVIDERBODY") {
			t.Errorf("%s: %v", name, err)
		}
		r.idp.Misbehave(devidp.Fault{})
		if err := r.rp.Discover(t.Context()); err != nil {
			t.Errorf("%s: does not recover: %v", name, err)
		}
		for _, address := range r.dialled {
			if address != "accounts.test:443" {
				t.Errorf("%s: connected to %s", name, address)
			}
		}
	}
}

// IDP-223: metadata that turns bad later changes nothing.
func TestMetadataKept(t *testing.T) {
	r := ready(t, setup{})
	for name, f := range map[string]devidp.Fault{
		"another issuer": {Discovery: func(m map[string]any) {
			m["issuer"] = "https://evil.test"
			m["token_endpoint"] = r.issuer + "/stolen"
		}},
		"http endpoint": {Discovery: set("token_endpoint", "http://accounts.test/token")},
		"gone":          answer("discovery", 500, ""),
	} {
		r.idp.Misbehave(f)
		if err := r.rp.Discover(t.Context()); err == nil || !r.rp.Ready() {
			t.Errorf("%s: %v, ready %t", name, err, r.rp.Ready())
		}
		r.mustLogin("alice@example.com")
	}
	if n := r.idp.Requests("other"); n != 0 {
		t.Errorf("%d requests elsewhere", n)
	}
}

// IDP-218.
func TestCertificates(t *testing.T) {
	day := 24 * time.Hour
	for name, test := range map[string]struct {
		host    string
		until   time.Duration
		trusted bool
		version uint16
	}{
		"expired":         {"accounts.test", -day, true, 0},
		"of another name": {"evil.test", day, true, 0},
		"self-signed":     {"accounts.test", day, false, 0},
		"TLS 1.0":         {"accounts.test", day, true, tls.VersionTLS10},
		"TLS 1.1":         {"accounts.test", day, true, tls.VersionTLS11},
	} {
		certificate, roots := newCertificate(t, test.host, time.Now().Add(test.until))
		r := newRig(t, setup{
			tls: func(c *tls.Config) { c.Certificates[0], c.MaxVersion = certificate, test.version },
			config: func(c *oidc.Config) {
				if test.trusted {
					c.RootCAs = roots
				}
			},
		})
		err := r.rp.Discover(t.Context())
		if reasonOf(err) != oidc.ReasonUnavailable || r.rp.Ready() {
			t.Errorf("%s: %v", name, err)
		}
		if n := r.idp.Requests("discovery"); n != 0 {
			t.Errorf("%s: asked all the same", name)
		}
		t.Log(name, err)
	}
}

// IDP-216: bodies that unpack to more than they are, or that claim to be packed.
func TestCodedBodies(t *testing.T) {
	for _, endpoint := range []string{"discovery", "token", "jwks"} {
		r := newRig(t, setup{})
		asked := ""
		r.idp.Misbehave(devidp.Fault{Respond: func(w http.ResponseWriter, q *http.Request, at string) bool {
			if at == endpoint {
				asked = q.Header.Get("Accept-Encoding")
				w.Header().Set("Content-Encoding", "gzip")
			}
			return false
		}})
		err := r.rp.Discover(t.Context())
		if endpoint == "token" {
			_, err = r.login("alice@example.com")
		}
		if reasonOf(err) != oidc.ReasonBadReply || asked != "" {
			t.Errorf("%s: %v, asked for coding %q", endpoint, err, asked)
		}
	}
}

// IDP-216.
func TestFlood(t *testing.T) {
	for _, endpoint := range []string{"discovery", "token", "jwks"} {
		r := newRig(t, setup{})
		sent := make(chan int64, 1)
		r.idp.Misbehave(devidp.Fault{Respond: func(w http.ResponseWriter, _ *http.Request, at string) bool {
			if at != endpoint {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			_, err := w.Write([]byte(`{"x":"`))
			chunk, n := []byte(strings.Repeat("x", 32<<10)), int64(0)
			for ; err == nil && n < 2<<30; n += int64(len(chunk)) {
				_, err = w.Write(chunk)
			}
			sent <- n
			return true
		}})
		err := r.rp.Discover(t.Context())
		if endpoint == "token" {
			_, err = r.login("alice@example.com")
		}
		if reasonOf(err) != oidc.ReasonBadReply {
			t.Errorf("%s: %v", endpoint, err)
		}
		// What the kernel has buffered was sent, but not read.
		if n := <-sent; n > 64<<20 {
			t.Errorf("%s: %d bytes were taken", endpoint, n)
		}
	}
}

func TestLoopbackHTTP(t *testing.T) {
	r := ready(t, setup{issuer: "http://localhost:7000"})
	if id := r.mustLogin("alice@example.com"); id.Issuer != "http://localhost:7000" {
		t.Errorf("got %+v", id)
	}
}

func TestHostedDomainHintIsGooglesOnly(t *testing.T) {
	r := ready(t, setup{config: func(c *oidc.Config) { c.Google = false; c.HostedDomainHint = "example.com" }})
	text, err := r.rp.AuthCodeURL(newAttempt())
	if err != nil {
		t.Fatal(err)
	}
	if u, _ := url.Parse(text); u.Query().Has("hd") {
		t.Errorf("got %s", u)
	}
}

func ExampleProvider() {
	idp, err := devidp.New(devidp.Config{
		Issuer:  "http://localhost:8081",
		Clients: map[string]devidp.Client{"app": {Secret: "secret", RedirectURIs: []string{"http://localhost:8080/_auth/callback"}}},
	})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(idp) // in a program: at the issuer's address
	defer server.Close()
	provider, err := oidc.New(oidc.Config{
		Issuer:       "http://localhost:8081",
		ClientID:     "app",
		ClientSecret: auth.NewSecret("secret"),
		RedirectURL:  "http://localhost:8080/_auth/callback",
		Google:       true,
	})
	if err != nil {
		panic(err)
	}
	// go provider.Run(ctx), then AuthCodeURL to send the browser, CheckIssuer and
	// Exchange when it comes back. Until the provider is discovered:
	_, err = provider.AuthCodeURL(oidc.Attempt{State: "…", Nonce: "…", Verifier: "…"})
	fmt.Println(err)
	// Output: oidc: the provider http://localhost:8081 is not discovered yet
}
