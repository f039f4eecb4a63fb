package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth/directory"
)

// Secrets and passwords hold what some part of the way might encode wrongly.
const (
	peerSecret   = "s3cr3t+/& %41:"
	peerPassword = "p&ss=w+rd %"
)

// A panva is panva's oidc-provider, run by testdata/peers/oidc-provider.mjs. Its
// settings are that script's.
type panva struct {
	t        *testing.T
	issuer   string
	settings map[string]any
	*child
}

func newPanva(t *testing.T, wall string) *panva {
	t.Helper()
	_, dir := nodePeer(t, "oidc-provider")
	_, port, _ := net.SplitHostPort(mustAddress(t))
	client := func(id, method string) map[string]any {
		return map[string]any{
			"client_id": id, "client_secret": peerSecret, "token_endpoint_auth_method": method,
			"redirect_uris": []string{wall + "/_auth/callback"},
		}
	}
	account := func(email, name string, verified bool, groups ...string) map[string]any {
		return map[string]any{"password": peerPassword, "claims": map[string]any{
			"email": email, "email_verified": verified, "name": name, "groups": groups,
		}}
	}
	p := &panva{t: t, issuer: "http://localhost:" + port, settings: map[string]any{
		"library": "file://" + filepath.Join(dir, "lib/index.js"),
		"port":    port,
		"clients": []any{client("basic", "client_secret_basic"), client("post", "client_secret_post")},
		"jwks":    newJWKS(t, "first"),
		"accounts": map[string]any{
			"alice": account("Alice@Example.com", "Alice Åkesson", true, "sre", "staff"),
			"bob":   account("bob@example.com", "Bob", true, "staff"),
			"dave":  account("dave@example.com", "Dave", false, "staff"),
			"eve":   account("eve@evil.test", "Eve", true),
		},
	}}
	p.start(nil)
	return p
}

// start begins anew, with nothing remembered, on the same port. What edit holds
// comes in the place of the usual settings.
func (p *panva) start(edit map[string]any) {
	p.t.Helper()
	if p.child != nil {
		p.kill()
	}
	settings := maps.Clone(p.settings)
	maps.Copy(settings, edit)
	text, err := json.Marshal(settings)
	check(p.t, err)
	node, _ := nodePeer(p.t, "oidc-provider")
	cmd := exec.Command(node, "--no-warnings", "testdata/peers/oidc-provider.mjs")
	cmd.Env = append(os.Environ(), "SETTINGS="+string(text))
	p.child = startChild(p.t, cmd)
	p.awaitURL(p.t, p.issuer+"/.well-known/openid-configuration")
}

// newJWKS makes a private key set, as oidc-provider takes one.
func newJWKS(t *testing.T, kid string) jose.JSONWebKeySet {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: kid, Algorithm: "RS256", Use: "sig"}}}
}

// signIn fills in the provider's form, to which an answer leads, and goes on until
// there is a page.
func (p *panva) signIn(v *visitor, a *answer, login, password string) *answer {
	v.t.Helper()
	form := p.form(v, a)
	return v.follow(v.post(form, url.Values{"login": {login}, "password": {password}, "do": {"login"}}))
}

// form is the address of the provider's form, to which an answer leads.
func (p *panva) form(v *visitor, a *answer) string {
	v.t.Helper()
	a = v.follow(a)
	if !strings.HasPrefix(a.Request.URL.String(), p.issuer+"/interaction/") {
		v.t.Fatalf("no login form, but %s %s\n%s", a.Status, a.Request.URL, a.body)
	}
	return a.Request.URL.String()
}

// newEcho is an app that answers with the headers that it got.
func newEcho(t *testing.T) string {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(r.Header)
	}))
	t.Cleanup(app.Close)
	return app.URL
}

// told is what the echo was told about who is calling.
func (a *answer) told(t *testing.T) map[string]string {
	t.Helper()
	var h http.Header
	if err := json.Unmarshal(a.body, &h); err != nil {
		t.Fatalf("not the app's answer: %s %s\n%s", a.Status, a.Request.URL, a.body)
	}
	told := map[string]string{}
	for _, name := range []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Name", "X-Forwarded-Groups"} {
		if values := h[name]; len(values) > 0 {
			told[strings.TrimPrefix(name, "X-Forwarded-")] = strings.Join(values, "|")
		}
	}
	return told
}

// is wants a page of the wall's own.
func (a *answer) is(t *testing.T, status int, text string) {
	t.Helper()
	if a.StatusCode != status || a.Header.Get("X-Loginwall") == "" || !strings.Contains(string(a.body), text) {
		t.Fatalf("%s, want %d and %q:\n%s", a.Status, status, text, a.body)
	}
}

const panvaConfig = `upstream: %s
oidc:
  issuer: %s
  client_id: %s
  client_secret: %q
  name: Company
  scopes: [openid, email, profile, groups]
  groups_claim: groups
`

// TestOIDCProvider signs in through panva's oidc-provider, by its forms.
func TestOIDCProvider(t *testing.T) {
	t.Parallel()
	wall := newStanding(t)
	p := newPanva(t, wall.url)
	echo := newEcho(t)
	config := func(client, rest string) string {
		return fmt.Sprintf(panvaConfig, echo, p.issuer, client, peerSecret) + rest
	}
	const colleagues = "allow: {domains: [example.com]}\n"
	wall.configure(config("basic", colleagues))
	wall.start()
	wall.awaitProvider()
	const deep = "/reports/2026?quarter=4&q=a%2Fb"
	alice := map[string]string{"User": "alice@example.com", "Email": "alice@example.com", "Name": "=?utf-8?q?Alice_=C3=85kesson?="}

	t.Run("whole login", func(t *testing.T) {
		v := newVisitor(t)
		a := p.signIn(v, v.get(wall.url+deep), "alice", peerPassword)
		if diff := cmp.Diff(alice, a.told(t)); diff != "" || a.Request.URL.String() != wall.url+deep {
			t.Errorf("at %s, the app was told (-want +got):\n%s", a.Request.URL, diff)
		}
		// The provider's session is not the wall's: a second login asks nothing.
		a = v.follow(v.get(wall.url + "/_auth/login?to=/second"))
		if diff := cmp.Diff(alice, a.told(t)); diff != "" || a.Request.URL.Path != "/second" {
			t.Errorf("at %s, the app was told (-want +got):\n%s", a.Request.URL, diff)
		}
		var users []directory.UserRow
		out, err := wall.run("users", "list", "--json")
		check(t, err)
		check(t, json.Unmarshal(out, &users))
		if len(users) != 1 || users[0].Email != "alice@example.com" || users[0].Issuer != p.issuer || users[0].Subject != "alice" {
			t.Errorf("users: %s", out)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		v := newVisitor(t)
		form := p.form(v, v.get(wall.url+deep))
		if a := v.post(form, url.Values{"login": {"alice"}, "password": {"wrong"}, "do": {"login"}}); a.StatusCode != http.StatusUnauthorized || a.next() != "" {
			t.Fatalf("%s to %s", a.Status, a.next())
		}
		a := v.follow(v.post(form, url.Values{"login": {"alice"}, "password": {peerPassword}, "do": {"login"}}))
		if diff := cmp.Diff(alice, a.told(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("no", func(t *testing.T) {
		v := newVisitor(t)
		a := v.follow(v.post(p.form(v, v.get(wall.url+deep)), url.Values{"do": {"abort"}}))
		a.is(t, http.StatusForbidden, "You were not signed in")
		if strings.Contains(string(a.body), "The user said no") {
			t.Errorf("the page repeats what stood in the address:\n%s", a.body)
		}
		if v.session(wall.url) != "" {
			t.Error("there is a session")
		}
		again := linkOf(t, a, "Try again")
		if a := p.signIn(v, v.get(again), "alice", peerPassword); a.Request.URL.String() != wall.url+deep {
			t.Errorf("landed at %s", a.Request.URL)
		}
	})
	t.Run("turned away", func(t *testing.T) {
		for login, reason := range map[string]string{"eve": "eve@evil.test", "dave": "dave@example.com"} {
			v := newVisitor(t)
			a := p.signIn(v, v.get(wall.url+deep), login, peerPassword)
			a.is(t, http.StatusForbidden, reason)
			if v.session(wall.url) != "" {
				t.Error("there is a session")
			}
			// The way out is another account, although the provider still knows this one.
			a = p.signIn(v, v.get(linkOf(t, a, "Use another account")), "alice", peerPassword)
			if diff := cmp.Diff(alice, a.told(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	})
	t.Run("sign out and in again", func(t *testing.T) {
		v := newVisitor(t)
		p.signIn(v, v.get(wall.url+deep), "alice", peerPassword)
		stale := v.session(wall.url)
		a := v.follow(v.post(wall.url+"/_auth/logout", url.Values{}))
		a.is(t, http.StatusOK, "You are signed out")
		if v.session(wall.url) != "" {
			t.Error("there is a session")
		}
		if status := statusWith(t, wall.url+deep, stale); status != http.StatusUnauthorized {
			t.Errorf("the old cookie is answered %d", status)
		}
		a = p.signIn(v, v.get(linkOf(t, a, "Sign in again")), "bob", peerPassword)
		if got := a.told(t)["User"]; got != "bob@example.com" {
			t.Errorf("the app was told of %s", got)
		}
	})
	t.Run("iss", func(t *testing.T) {
		for _, iss := range []string{"", "https://evil.test", p.issuer + "/"} {
			v := newVisitor(t)
			a := v.post(p.form(v, v.get(wall.url+deep)), url.Values{"login": {"alice"}, "password": {peerPassword}, "do": {"login"}})
			callback, err := url.Parse(v.get(a.next()).next())
			check(t, err)
			q := callback.Query()
			if q.Get("iss") != p.issuer {
				t.Fatalf("the provider sent iss %q", q.Get("iss"))
			}
			q.Set("iss", iss)
			if iss == "" {
				q.Del("iss")
			}
			callback.RawQuery = q.Encode()
			if a := v.get(callback.String()); a.StatusCode < 400 || v.session(wall.url) != "" {
				t.Errorf("iss %q: %s", iss, a.Status)
			}
		}
	})
	t.Run("keys turn", func(t *testing.T) {
		for _, kid := range []string{"second", "second"} { // a new name, and then new bytes under the same
			p.start(map[string]any{"jwks": newJWKS(t, kid)})
			v := newVisitor(t)
			a := p.signIn(v, v.get(wall.url+deep), "alice", peerPassword)
			if diff := cmp.Diff(alice, a.told(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	})
	t.Run("away and back", func(t *testing.T) {
		signedIn, v := newVisitor(t), newVisitor(t)
		p.signIn(signedIn, signedIn.get(wall.url+deep), "alice", peerPassword)
		a := v.post(p.form(v, v.get(wall.url+deep)), url.Values{"login": {"bob"}, "password": {peerPassword}, "do": {"login"}})
		callback := v.get(a.next()).next()
		p.kill()
		v.get(callback).is(t, http.StatusServiceUnavailable, "Company cannot be reached")
		if diff := cmp.Diff(alice, signedIn.get(wall.url+deep).told(t)); diff != "" {
			t.Errorf("who was signed in (-want +got):\n%s", diff)
		}

		// A wall that starts now serves whom it knows, and begins logins later.
		wall.stop()
		wall.start()
		if diff := cmp.Diff(alice, signedIn.get(wall.url+deep).told(t)); diff != "" {
			t.Errorf("who was signed in (-want +got):\n%s", diff)
		}
		v.get(wall.url+deep).is(t, http.StatusServiceUnavailable, "Company cannot be reached")
		p.start(nil)
		wall.awaitProvider()
		if got := p.signIn(v, v.get(wall.url+deep), "bob", peerPassword).told(t)["User"]; got != "bob@example.com" {
			t.Errorf("the app was told of %s", got)
		}
	})
	t.Run("groups", func(t *testing.T) {
		defer reconfigure(wall, config("basic", colleagues))
		reconfigure(wall, config("basic", "allow: {groups: [sre]}\n"))
		v := newVisitor(t)
		a := p.signIn(v, v.get(wall.url+deep), "bob", peerPassword)
		a.is(t, http.StatusForbidden, "bob@example.com")
		a = p.signIn(v, v.get(linkOf(t, a, "Use another account")), "alice", peerPassword)
		told := maps.Clone(alice)
		told["Groups"] = "sre"
		if diff := cmp.Diff(told, a.told(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("userinfo", func(t *testing.T) {
		defer reconfigure(wall, config("basic", colleagues))
		p.start(map[string]any{"thin": true})
		reconfigure(wall, config("basic", "allow: {groups: [sre, staff]}\n"))
		v := newVisitor(t)
		told := maps.Clone(alice)
		told["Groups"] = "sre,staff"
		if diff := cmp.Diff(told, p.signIn(v, v.get(wall.url+deep), "alice", peerPassword).told(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("client_secret_post", func(t *testing.T) {
		defer reconfigure(wall, config("basic", colleagues))
		p.start(map[string]any{"methods": []string{"client_secret_post"}, "clients": p.settings["clients"].([]any)[1:]})
		reconfigure(wall, config("post", colleagues))
		v := newVisitor(t)
		if diff := cmp.Diff(alice, p.signIn(v, v.get(wall.url+deep), "alice", peerPassword).told(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		defer reconfigure(wall, config("basic", colleagues))
		p.start(nil)
		reconfigure(wall, fmt.Sprintf(panvaConfig, echo, p.issuer, "basic", "not-the-secret")+colleagues)
		v := newVisitor(t)
		p.signIn(v, v.get(wall.url+deep), "alice", peerPassword).is(t, http.StatusBadGateway, "The sign-in is not set up right")
		if out, err := wall.run("check"); err == nil || !strings.Contains(err.Error()+string(out), "client") {
			t.Errorf("check finds nothing: %v\n%s", err, out)
		}
	})
	t.Run("no account chooser", func(t *testing.T) {
		p.start(map[string]any{"noChooser": true})
		v := newVisitor(t)
		p.signIn(v, v.get(wall.url+deep), "alice", peerPassword)
		a := v.follow(v.post(wall.url+"/_auth/logout", url.Values{}))
		a = v.follow(v.get(linkOf(t, a, "Sign in again")))
		a.is(t, http.StatusBadGateway, "Company does not accept") // it was asked for what it does not have
		a = v.follow(v.get(linkOf(t, a, "To the front page")))
		if diff := cmp.Diff(alice, a.told(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("by a browser", func(t *testing.T) {
		p.start(nil)
		b := newTab(t, newBrowser(t))
		b.open(wall.url + deep)
		b.sees("Company login")
		b.fill("[name=login]", "alice")
		b.fill("[name=password]", peerPassword+"\r")
		b.at(wall.url + deep)
		b.sees("alice@example.com")
		b.open(wall.url + "/_auth/logout")
		b.click("Sign out")
		b.at(wall.url + "/_auth/signed-out")
		b.click("Sign in again")
		b.sees("Prompt: select_account.")
		b.press("say no", `document.querySelector("[value=abort]")`)
		b.sees("You were not signed in")
	})
	wall.stop()
}

// reconfigure puts another configuration in force by a restart, and waits for the
// provider.
func reconfigure(wall *standing, config string) {
	wall.t.Helper()
	wall.stop()
	wall.configure(config)
	wall.start()
	wall.awaitProvider()
}

// linkOf returns where a link of a page leads, by what is written on it.
func linkOf(t *testing.T, a *answer, text string) string {
	t.Helper()
	before, _, found := strings.Cut(string(a.body), ">"+text+"</a>")
	i := strings.LastIndex(before, `href="`)
	if !found || i < 0 {
		t.Fatalf("no link %q:\n%s", text, a.body)
	}
	href, _, _ := strings.Cut(before[i+len(`href="`):], `"`)
	return strings.ReplaceAll(href, "&amp;", "&")
}

// statusWith asks as a program, with nothing but a cookie.
func statusWith(t *testing.T, address, cookie string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, http.NoBody)
	check(t, err)
	request.Header = http.Header{"Cookie": {cookie}, "Accept": {"application/json"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}
	response, err := http.DefaultTransport.RoundTrip(request)
	check(t, err)
	response.Body.Close()
	return response.StatusCode
}

const zitadelConfig = `upstream: %s
oidc:
  issuer: %s
  client_id: web
  client_secret: secret
  name: Company
`

// TestZitadel signs in through the example server of zitadel's oidc library. Its ID
// tokens hold no address, so all there is comes from userinfo.
func TestZitadel(t *testing.T) {
	t.Parallel()
	program := goPeer(t, "github.com/zitadel/oidc/v3/example/server")
	_, port, _ := net.SplitHostPort(mustAddress(t))
	issuer := "http://localhost:" + port + "/"
	users := filepath.Join(t.TempDir(), "users.json")
	account := func(id string, verified bool) map[string]any {
		return map[string]any{
			"ID": id, "Username": id, "Password": peerPassword, "FirstName": "Given", "LastName": id, "Email": id + "@example.com",
			"EmailVerified": verified, "PreferredLanguage": "en",
		}
	}
	text, err := json.Marshal(map[string]any{"alice": account("alice", true), "dave": account("dave", false)})
	check(t, err)
	check(t, os.WriteFile(users, text, 0o600))

	wall := newStanding(t)
	var provider *child
	start := func() {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), "PORT="+port, "USERS_FILE="+users, "REDIRECT_URI="+wall.url+"/_auth/callback")
		provider = startChild(t, cmd)
		provider.awaitURL(t, issuer+".well-known/openid-configuration")
	}
	start()
	echo := newEcho(t)
	config := fmt.Sprintf(zitadelConfig, echo, issuer)
	const colleagues = "allow: {domains: [example.com]}\n"
	wall.configure(config + colleagues)
	wall.start()
	wall.awaitProvider()

	const deep = "/reports/2026?quarter=4&q=a%2Fb"
	alice := map[string]string{"User": "alice@example.com", "Email": "alice@example.com", "Name": "Given alice"}
	form := func(v *visitor, a *answer) (string, string) {
		t.Helper()
		a = v.follow(a)
		id := a.Request.URL.Query().Get("authRequestID")
		if id == "" {
			t.Fatalf("no login form, but %s %s\n%s", a.Status, a.Request.URL, a.body)
		}
		return issuer + "login/username", id
	}
	signIn := func(v *visitor, a *answer, login, password string) *answer {
		t.Helper()
		at, id := form(v, a)
		return v.follow(v.post(at, url.Values{"username": {login}, "password": {password}, "id": {id}}))
	}

	t.Run("whole login", func(t *testing.T) {
		v := newVisitor(t)
		if a := signIn(v, v.get(wall.url+deep), "alice", "wrong"); !strings.Contains(string(a.body), "username or password wrong") || v.session(wall.url) != "" {
			t.Fatalf("%s %s\n%s", a.Status, a.Request.URL, a.body)
		}
		a := signIn(v, v.get(wall.url+deep), "alice", peerPassword)
		if diff := cmp.Diff(alice, a.told(t)); diff != "" || a.Request.URL.String() != wall.url+deep {
			t.Errorf("at %s, the app was told (-want +got):\n%s", a.Request.URL, diff)
		}
		stale := v.session(wall.url)
		a = v.follow(v.post(wall.url+"/_auth/logout", url.Values{}))
		a.is(t, http.StatusOK, "You are signed out")
		if status := statusWith(t, wall.url+deep, stale); status != http.StatusUnauthorized {
			t.Errorf("the old cookie is answered %d", status)
		}
		a = signIn(v, v.get(linkOf(t, a, "Sign in again")), "alice", peerPassword)
		if diff := cmp.Diff(alice, a.told(t)); diff != "" {
			t.Errorf("again (-want +got):\n%s", diff)
		}
	})
	// This provider says nothing of addresses that nobody has verified.
	t.Run("not verified", func(t *testing.T) {
		v := newVisitor(t)
		signIn(v, v.get(wall.url+deep), "dave", peerPassword).is(t, http.StatusForbidden, "dave@example.com")
	})
	t.Run("trust_email", func(t *testing.T) {
		defer reconfigure(wall, config+colleagues)
		reconfigure(wall, config+"  trust_email: true\n"+colleagues)
		v := newVisitor(t)
		if got := signIn(v, v.get(wall.url+deep), "dave", peerPassword).told(t)["User"]; got != "dave@example.com" {
			t.Errorf("the app was told of %q", got)
		}
	})
	// A restart forgets what was under way, and signs with another key.
	t.Run("away and back", func(t *testing.T) {
		signedIn, v := newVisitor(t), newVisitor(t)
		signIn(signedIn, signedIn.get(wall.url+deep), "alice", peerPassword)
		at, id := form(v, v.get(wall.url+deep))
		callback := v.get(v.post(at, url.Values{"username": {"alice"}, "password": {peerPassword}, "id": {id}}).next()).next()
		provider.kill()
		v.get(callback).is(t, http.StatusServiceUnavailable, "Company cannot be reached")
		if diff := cmp.Diff(alice, signedIn.get(wall.url+deep).told(t)); diff != "" {
			t.Errorf("who was signed in (-want +got):\n%s", diff)
		}
		start()
		if diff := cmp.Diff(alice, signIn(v, v.get(wall.url+deep), "alice", peerPassword).told(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	wall.stop()
}
