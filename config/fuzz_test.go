package config_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/config"
)

// META-253: whatever somebody saves, Load tells what is wrong or returns a Config that
// keeps the wall shut, and nothing that came from the environment or a secret's
// file is repeated.
func FuzzLoad(f *testing.F) {
	const canary = "C4N4RY-s3cr3t"
	folder := f.TempDir()
	for name, text := range map[string]string{"secret": canary, "key": canary, "ca.pem": testCA} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(smallestFile)
	f.Add(everyKey)
	f.Add(strings.Replace(smallestFile, "s3cr3t-of-google", "${SECRET}", 1) + "session: {key_file: key, old_key_files: [secret]}\nroutes: [{path: /a/, access: public}]\n")
	f.Add(strings.Replace(smallestFile, "client_secret: s3cr3t-of-google", "client_secret_file: secret", 1) + "store_file: secret\ncontact: ${SECRET}\nlisten: ${SECRET}\n")
	f.Add("public_url: ${SECRET}\nupstream: ${SECRET}\ngoogle: {client_id: '${SECRET}', client_secret_file: '${SECRET}', issuer: '${SECRET}'}\n" +
		"allow: {domains: ['${SECRET}'], emails: ['${SECRET}'], groups: ['${SECRET}'], everyone: '${SECRET}'}\n" +
		"trusted_proxies: ['${SECRET}']\nsession: {max_age: '${SECRET}', key_file: '${SECRET}'}\nlimits: {header_bytes: '${SECRET}'}\nlog: {level: '${SECRET}'}\n" +
		"routes: [{path: '${SECRET}', methods: ['${SECRET}'], access: '${SECRET}'}]\nheaders: {profiles: ['${SECRET}'], set: {x: '${SECRET}'}}\n")
	f.Add("oidc: {issuer: http://localhost:1, client_id: x, client_secret: y, groups_claim: g, ca_file: ca.pem}\npublic_url: http://localhost:1\n" +
		"upstream: none\nallow: {groups: [g], emails: [a@example.com]}\nupstream_tls: {ca_file: secret}\n")
	f.Add("a: &a [*a]\n<<: *a\n--- !!x\n? [\n")

	path := filepath.Join(folder, "loginwall.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, warnings, err := config.Load(path, func(string) (string, bool) { return canary, true })
		if all := fmt.Sprint(warnings, err); strings.Contains(all, canary) {
			t.Errorf("the canary is out: %s", all)
		}
		if err != nil {
			var problems config.Problems
			if c != nil || !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("got %v beside %v", c, err)
			}
			for _, p := range problems {
				if p.Line < 1 || p.What == "" || strings.ContainsAny(p.Error(), "\n\r\x1b") {
					t.Errorf("got %+q", p.Error())
				}
			}
			return
		}
		if changes := config.Diff(c, c); changes != nil {
			t.Errorf("differs from itself: %v", changes)
		}
		shut(t, c)
	})
}

// shut checks what must hold of every Config.
func shut(t *testing.T, c *config.Config) {
	t.Helper()
	if !c.Allow.Everyone && len(c.Allow.Domains)+len(c.Allow.Emails)+len(c.Allow.Groups) == 0 {
		t.Error("nobody is named, and that was accepted")
	}
	for _, list := range append([]config.List{c.Allow.List}, lists(c.Routes)...) {
		for _, d := range list.Domains {
			if strings.ContainsAny(d.Name, "*@ ") || !strings.Contains(d.Name, ".") || d.Name != strings.ToLower(d.Name) {
				t.Errorf("domain %q", d.Name)
			}
		}
	}
	switch {
	case (c.Google == nil) == (c.OIDC == nil):
		t.Error("not exactly one provider")
	case c.Google != nil && (c.Google.ClientID == "" || c.Google.ClientSecret.IsZero()):
		t.Error("google without client")
	case c.OIDC != nil && (c.OIDC.Issuer == "" || c.OIDC.ClientID == "" || c.OIDC.ClientSecret.IsZero()):
		t.Error("oidc without client")
	}
	if u := c.PublicURL; u == nil || u.Host == "" || u.String() != u.Scheme+"://"+u.Host || u.Scheme != "https" && u.Scheme != "http" {
		t.Errorf("public_url %v", u)
	}
	for _, p := range c.TrustedProxies {
		if p.Contains(netip.MustParseAddr("8.8.8.8")) && p.Contains(netip.MustParseAddr("1.1.1.1")) ||
			p.Contains(netip.MustParseAddr("2001:4860:4860::8888")) && p.Contains(netip.MustParseAddr("2606:4700:4700::1111")) {
			t.Errorf("trusted proxy %v", p)
		}
	}
	if c.Session.MaxAge <= 0 || c.Session.IdleTimeout <= 0 || c.Session.LoginTimeout <= 0 || c.Session.MaxFeedAge <= 0 || c.Limits.HeaderBytes <= 0 {
		t.Errorf("no limit: %+v, %+v", c.Session, c.Limits)
	}
	for _, r := range c.Routes {
		if r.Access == "" || r.Path == "" || r.Allow != nil && len(r.Allow.Domains)+len(r.Allow.Emails)+len(r.Allow.Groups) == 0 {
			t.Errorf("route %+v", r)
		}
	}
}

func lists(routes []config.Route) (out []config.List) {
	for _, r := range routes {
		if r.Allow != nil {
			out = append(out, *r.Allow)
		}
	}
	return out
}
