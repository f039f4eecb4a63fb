package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/config"
)

func TestDiff(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "loginwall.yaml")
	reload := func(text string) *config.Config {
		t.Helper()
		writeFile(t, path, text, 0o600)
		c, _, err := config.Load(path, env)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	files := func(text string) {
		for _, name := range []string{"secret", "key", "old"} {
			writeFile(t, filepath.Join(folder, name), text+name, 0o600)
		}
	}
	files("s3cr3t one ")
	writeFile(t, filepath.Join(folder, "ca.pem"), testCA, 0o600)
	const before = `
public_url: https://tool.example.com
upstream: http://127.0.0.1:3000
upstream_tls: {ca_file: ca.pem}
google:
  client_id: 1.apps.googleusercontent.com
  client_secret_file: secret
allow: {domains: [example.com, {domain: brand.com, hosted_domain: example.com}]}
session: {key_file: key, old_key_files: [old]}
routes: [{path: /a}, {path: /b/, methods: [GET]}]
`
	one := reload(before)
	if got := config.Diff(one, reload(before)); got != nil {
		t.Errorf("nothing changed: got %v", got)
	}

	files("s3cr3t two ")
	if err := os.Remove(filepath.Join(folder, "old")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, "ca.pem"), testCA+strings.Replace(testCA, "-----BEGIN", "\n-----BEGIN", 1), 0o600)
	two := reload(`
public_url: https://tool.example.com
upstream: unix:/run/app.sock
upstream_tls: {ca_file: ca.pem}
google:
  client_id: 1.apps.googleusercontent.com
  client_secret_file: secret
allow: {domains: [example.com], everyone: true}
session: {key_file: key, max_age: 1h}
routes: [{path: /a}, {path: /b/, methods: [GET], allow: {emails: [bob@example.com]}}]
headers: {set: {X-A: "{email}"}}
store: sqlite:/data/x.db
trusted_proxies: [10.0.0.0/8]
listen: :8081
timeouts: {idle: 1s}
log: {level: warn}
`)
	var got []string
	for _, change := range config.Diff(one, two) {
		got = append(got, change.String())
	}
	want := []string{
		"upstream: http://127.0.0.1:3000 -> unix:/run/app.sock",
		"google.client_secret: the contents changed",
		"allow.domains: [example.com, {domain: brand.com, hosted_domain: example.com}] -> [example.com]",
		"allow.everyone: false -> true",
		"routes: [{path: /a, access: allowed}, {path: /b/, methods: [GET], access: allowed}] -> " +
			"[{path: /a, access: allowed}, {path: /b/, methods: [GET], access: allowed, allow: {emails: [bob@example.com]}}]",
		"headers.set: {} -> {X-A: {email}}",
		"session.max_age: 168h0m0s -> 1h0m0s",
		"session.key_file: the contents changed",
		"session.old_key_files: [" + folder + "/old] -> []",
		"store: sqlite:" + folder + "/loginwall.db -> sqlite:/data/x.db (needs a restart)",
		"trusted_proxies: [] -> [10.0.0.0/8]",
		"listen: :8080 -> :8081 (needs a restart)",
		"timeouts.idle: 2m0s -> 1s (needs a restart)",
		"log.level: info -> warn",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	three := reload(strings.NewReplacer("google:", "oidc:\n  issuer: https://login.example.com", ", {domain: brand.com, hosted_domain: example.com}", "",
		", old_key_files: [old]", "").Replace(before))
	text := fmt.Sprint(config.Diff(one, three))
	if !strings.Contains(text, "google: {client_id: 1.apps.googleusercontent.com, client_secret: [redacted], issuer: https://accounts.google.com} -> ") ||
		!strings.Contains(text, "oidc:  -> {issuer: https://login.example.com, client_id: ") {
		t.Errorf("another provider: got %s", text)
	}
	if all := fmt.Sprint(got, text) + fmt.Sprintf("%v %+v %#v", *one, *two, *three); strings.Contains(all, "s3cr3t") {
		t.Errorf("a secret is printed: %s", all)
	}
}
