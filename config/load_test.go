package config_test

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/config"
)

// smallestFile is the file that most tests add to; it has seven lines.
const smallestFile = `public_url: https://tool.example.com
upstream: http://127.0.0.1:3000
google:
  client_id: 1234-abc.apps.googleusercontent.com
  client_secret: s3cr3t-of-google
allow:
  domains: [example.com]
`

// env is the environment of the tests.
func env(name string) (string, bool) {
	v, ok := map[string]string{
		"SECRET":  "s3cr3t-from-environment",
		"ID":      "5678-def.apps.googleusercontent.com",
		"NUMBER":  "15m",
		"FLAG":    "false",
		"DOMAIN":  "example.org",
		"NEWLINE": "s3cr3t-from-environment\n",
		"NESTED":  "${SECRET}",
		"EMPTY":   "",
		"BLANK":   " ",
	}[name]
	return v, ok
}

// load writes text as loginwall.yaml in a fresh folder and loads it.
func load(t *testing.T, text string) (*config.Config, []config.Problem, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "loginwall.yaml")
	writeFile(t, path, text, 0o600)
	return config.Load(path, env)
}

func mustLoad(t *testing.T, text string) *config.Config {
	t.Helper()
	c, _, err := load(t, text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

// plain compares everything that a file can say, without where it was said.
func plain(t *testing.T, got, want *config.Config) {
	t.Helper()
	opts := cmp.Options{
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".source" }, cmp.Ignore()),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b *tls.Certificate) bool { return a == b }),
		cmp.Comparer(func(a, b config.Secret) bool { return a.Reveal() == b.Reveal() }),
	}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSmallestFileHasTheDocumentedDefaults(t *testing.T) {
	c := mustLoad(t, smallestFile)
	plain(t, c, &config.Config{
		PublicURL: &url.URL{Scheme: "https", Host: "tool.example.com"},
		Upstream:  config.Upstream{Kind: config.UpstreamHTTP, Host: "127.0.0.1:3000"},
		PassHost:  true,

		UpstreamTransport: config.TransportStandard,

		Google: &config.Google{
			ClientID:     "1234-abc.apps.googleusercontent.com",
			ClientSecret: auth.NewSecret("s3cr3t-of-google"),
			Issuer:       "https://accounts.google.com",
		},
		Allow:     config.Allow{List: config.List{Domains: []config.Domain{{Name: "example.com"}}}},
		Directory: config.Directory{Pictures: config.PicturesNone},
		Headers:   config.Headers{Profiles: []string{"forwarded"}},
		Session: config.Session{
			MaxAge: 7 * 24 * time.Hour, IdleTimeout: 24 * time.Hour, LoginTimeout: 10 * time.Minute, MaxFeedAge: 5 * time.Minute,
		},
		Store:     config.Store{Path: filepath.Join(c.Folder(), "loginwall.db")},
		Keep:      config.Keep{Sessions: 90 * 24 * time.Hour, Events: 100_000, Denied: 10_000},
		Listen:    ":8080",
		OpsListen: "127.0.0.1:9470",
		Limits:    config.Limits{HeaderBytes: 32 << 10},
		Timeouts: config.Timeouts{
			ReadHeader: 10 * time.Second, Idle: 120 * time.Second, Stall: 120 * time.Second, Connect: 10 * time.Second,
			ResponseHeader: 5 * time.Minute, DrainDelay: 0, Drain: 25 * time.Second,
		},
		Log: config.Log{Level: slog.LevelInfo, Format: config.LogAuto, Access: true, Audit: "stderr"},
	})
	if got, want := c.OwnKeyFile(), filepath.Join(c.Folder(), "loginwall.key"); got != want {
		t.Errorf("OwnKeyFile: got %s, want %s", got, want)
	}
	if got, want := c.Store.URL(), "sqlite:"+filepath.Join(c.Folder(), "loginwall.db"); got != want {
		t.Errorf("Store.URL: got %s, want %s", got, want)
	}
}

// everyKey gives each key another value than its default. inFolder makes its files.
const everyKey = `
public_url: https://Tool.Example.com:8443
upstream: none
upstream_tls: {ca_file: upstream-ca.pem}
pass_host: false
upstream_transport: direct
oidc:
  issuer: https://login.example.com/realms/one
  client_id: "0123"
  client_secret_file: /run/secrets/oidc_client_secret
  name: Example SSO
  scopes: [openid, groups]
  groups_claim: https://example.com/groups
  trust_email: true
  ca_file: provider-ca.pem
allow:
  domains: [Example.COM, {domain: brand.com}]
  emails: [Guest+x@Partner.com]
  groups: [sre@example.com, 4711]
  everyone: false
deny: {emails: [former@example.com]}
admins: [boss@example.com]
directory: {pictures: proxied}
routes:
  - path: /webhooks/
    access: public
    methods: [POST, PROPFIND]
  - path: /admin
    allow: {emails: [boss@example.com]}
    upstream: unix:app.sock
  - {path: /api/, access: admins, upstream: "h2c://[::1]"}
  - {path: /old/, access: nobody, upstream: "HTTPS://app_server/"}
headers:
  profiles: []
  set: {X-User-Id: "{subject}"}
session:
  max_age: 1s
  idle_timeout: 1h30m
  login_timeout: 2s
  max_feed_age: 1.5s
  key_file: /run/secrets/loginwall_key
  old_key_files: [/run/secrets/loginwall_old_key]
store: sqlite:/var/lib/wall.sqlite
keep: {sessions: 1h, events: 1000, denied: 100}
trusted_proxies: [10.0.0.0/8, 192.168.1.1, "2001:db8::/32", "::ffff:10.1.2.0/120", "fc00::/7", unix]
listen: unix:wall.sock
tls: {cert_file: fullchain.pem, key_file: privkey.pem}
ops_listen: off
contact: Ask Bjørn
limits: {header_bytes: 1MiB}
timeouts: {read_header: 1s, idle: 2s, stall: 3s, connect: 4s, response_header: 0s, drain_delay: 5s, drain: 0}
log: {level: debug, format: text, access: false, audit: "file:audit.log"}
`

func TestEveryKey(t *testing.T) {
	c := mustLoad(t, inFolder(t, t.TempDir(), everyKey))
	folder := filepath.Dir(c.OIDC.CAFile)
	if c.UpstreamTLS.CAs == nil || c.OIDC.CAs == nil || c.TLS.Certificate == nil {
		t.Fatal("the certificates were not read")
	}
	plain(t, c, &config.Config{
		PublicURL: &url.URL{Scheme: "https", Host: "tool.example.com:8443"},
		Upstream:  config.Upstream{Kind: config.UpstreamNone},

		UpstreamTransport: config.TransportDirect,

		UpstreamTLS: config.UpstreamTLS{CAFile: filepath.Join(folder, "upstream-ca.pem"), CAs: c.UpstreamTLS.CAs},
		OIDC: &config.OIDC{
			Issuer: "https://login.example.com/realms/one", ClientID: "0123",
			ClientSecret: auth.NewSecret("s3cr3t-of-oidc_client_secret"), Name: "Example SSO",
			Scopes: []string{"openid", "groups"}, GroupsClaim: "https://example.com/groups", TrustEmail: true,
			CAFile: filepath.Join(folder, "provider-ca.pem"), CAs: c.OIDC.CAs,
		},
		Allow: config.Allow{List: config.List{
			Domains: []config.Domain{{Name: "example.com"}, {Name: "brand.com"}},
			Emails:  []string{"guest+x@partner.com"},
			Groups:  []string{"sre@example.com", "4711"},
		}},
		Deny:      config.Deny{Emails: []string{"former@example.com"}},
		Admins:    []string{"boss@example.com"},
		Directory: config.Directory{Pictures: config.PicturesProxied},
		Routes: []config.Route{
			{Path: "/webhooks/", Access: config.Public, Methods: []string{"POST", "PROPFIND"}},
			{
				Path: "/admin", Access: config.Allowed, Allow: &config.List{Emails: []string{"boss@example.com"}},
				Upstream: config.Upstream{Kind: config.UpstreamUnix, Path: filepath.Join(c.Folder(), "app.sock")},
			},
			{Path: "/api/", Access: config.Admins, Upstream: config.Upstream{Kind: config.UpstreamH2C, Host: "[::1]:80"}},
			{Path: "/old/", Access: config.Nobody, Upstream: config.Upstream{Kind: config.UpstreamHTTPS, Host: "app_server:443"}},
		},
		Headers: config.Headers{Set: map[string]string{"X-User-Id": "{subject}"}},
		Session: config.Session{
			MaxAge: time.Second, IdleTimeout: 90 * time.Minute, LoginTimeout: 2 * time.Second, MaxFeedAge: 1500 * time.Millisecond,
			KeyFile: filepath.Join(folder, "loginwall_key"), OldKeyFiles: []string{filepath.Join(folder, "loginwall_old_key")},
			Key: auth.NewSecret("s3cr3t-of-loginwall_key"), OldKeys: []config.Secret{auth.NewSecret("s3cr3t-of-loginwall_old_key")},
		},
		Store: config.Store{Path: "/var/lib/wall.sqlite"},
		Keep:  config.Keep{Sessions: time.Hour, Events: 1000, Denied: 100},
		TrustedProxies: []config.Peer{
			{Prefix: netip.MustParsePrefix("10.0.0.0/8")},
			{Prefix: netip.MustParsePrefix("192.168.1.1/32")},
			{Prefix: netip.MustParsePrefix("2001:db8::/32")},
			{Prefix: netip.MustParsePrefix("10.1.2.0/24")},
			{Prefix: netip.MustParsePrefix("fc00::/7")},
			{Unix: true},
		},
		Listen:  "unix:" + filepath.Join(c.Folder(), "wall.sock"),
		TLS:     &config.TLS{CertFile: filepath.Join(folder, "fullchain.pem"), KeyFile: filepath.Join(folder, "privkey.pem"), Certificate: c.TLS.Certificate},
		Contact: "Ask Bjørn",
		Limits:  config.Limits{HeaderBytes: 1 << 20},
		Timeouts: config.Timeouts{
			ReadHeader: time.Second, Idle: 2 * time.Second, Stall: 3 * time.Second, Connect: 4 * time.Second, DrainDelay: 5 * time.Second,
		},
		Log: config.Log{Level: slog.LevelDebug, Format: config.LogText, Audit: "file:" + filepath.Join(c.Folder(), "audit.log")},
	})
	want := []string{
		filepath.Join(c.Folder(), "loginwall.yaml"), filepath.Join(folder, "oidc_client_secret"), filepath.Join(folder, "provider-ca.pem"),
		filepath.Join(folder, "loginwall_key"), filepath.Join(folder, "loginwall_old_key"), filepath.Join(folder, "upstream-ca.pem"),
		filepath.Join(folder, "fullchain.pem"), filepath.Join(folder, "privkey.pem"),
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(c.Files()))); diff != "" {
		t.Errorf("Files (-want +got):\n%s", diff)
	}
}

func TestRelativePathsStartInTheFolderOfTheFile(t *testing.T) {
	folder := t.TempDir()
	writeFile(t, filepath.Join(folder, "secret"), "s3cr3t\r\n", 0o600)
	writeFile(t, filepath.Join(folder, "store"), "sqlite:data/users.db\n", 0o600)
	writeFile(t, filepath.Join(folder, "loginwall.yaml"),
		strings.Replace(smallestFile, "client_secret: s3cr3t-of-google", "client_secret_file: ./secret", 1)+"store_file: store\n", 0o600)
	t.Chdir(filepath.Dir(folder))
	path := filepath.Join(filepath.Base(folder), "loginwall.yaml")
	c, _, err := config.Load(path, env)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Google.ClientSecret.Reveal(); got != "s3cr3t" {
		t.Errorf("secret: got %q", got)
	}
	if c.File() != path || c.Folder() != folder || c.Store.Path != filepath.Join(folder, "data/users.db") || c.OwnKeyFile() != filepath.Join(folder, "data/users.key") {
		t.Errorf("got %s, %s, %s, %s", c.File(), c.Folder(), c.Store.Path, c.OwnKeyFile())
	}
}

func TestEnvironment(t *testing.T) {
	text := strings.NewReplacer("s3cr3t-of-google", "${NEWLINE}", "1234-abc.apps.googleusercontent.com", "${ID}", "example.com]", `"${DOMAIN}"]`).Replace(smallestFile)
	c := mustLoad(t, text+"pass_host: ${FLAG}\nsession: {max_age: \"${NUMBER}\"}\n")
	if c.Google.ClientSecret.Reveal() != "s3cr3t-from-environment" || c.Google.ClientID != "5678-def.apps.googleusercontent.com" ||
		c.Allow.Domains[0].Name != "example.org" || c.PassHost || c.Session.MaxAge != 15*time.Minute {
		t.Errorf("got %+v", c)
	}
}

func TestEveryRouteHasAnUpstream(t *testing.T) {
	withoutUpstream := strings.Replace(smallestFile, "upstream: http://127.0.0.1:3000\n", "", 1)
	c := mustLoad(t, withoutUpstream+`
routes:
  - {path: /a/, upstream: http://127.0.0.1:3001}
  - {path: /b/, access: nobody}
`)
	if !c.Upstream.IsZero() {
		t.Errorf("got %v", c.Upstream)
	}
	_, _, err := load(t, withoutUpstream+"routes: [{path: /a/, upstream: http://127.0.0.1:3001}, {path: /b/}]\n")
	if err == nil || !strings.Contains(err.Error(), ": upstream: missing (") {
		t.Errorf("a route without upstream: got %v", err)
	}
}

func TestUpstreamURL(t *testing.T) {
	for text, want := range map[string]string{
		"http://app":           "http://app",
		"http://app:80/":       "http://app",
		"https://app:443":      "https://app",
		"https://app:80":       "https://app:80",
		"h2c://127.0.0.1:443":  "http://127.0.0.1:443",
		"http://[2001:DB8::1]": "http://[2001:db8::1]",
		"unix:/run/app.sock":   "http://unix",
	} {
		c := mustLoad(t, strings.Replace(smallestFile, "http://127.0.0.1:3000", text, 1))
		if got := c.Upstream.URL().String(); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	if got := mustLoad(t, strings.Replace(smallestFile, "http://127.0.0.1:3000", "none", 1)).Upstream.URL(); got != nil {
		t.Errorf("none: got %v", got)
	}
}

// CFG-243.
func TestPublicURL(t *testing.T) {
	for text, want := range map[string]string{
		"https://tool.example.com:443":     "https://tool.example.com",
		"HTTPS://TOOL.example.com":         "https://tool.example.com",
		"https://intranet":                 "https://intranet",
		"https://xn--bcher-kva.example":    "https://xn--bcher-kva.example",
		"http://localhost:80":              "http://localhost",
		"http://localhost:8080":            "http://localhost:8080",
		"http://app.localhost":             "http://app.localhost",
		"http://127.5.0.1:81":              "http://127.5.0.1:81",
		"http://[::1]:8000":                "http://[::1]:8000",
		"http://[0:0:0:0:0:0:0:1]:80":      "http://[::1]",
		"https://192.0.2.1":                "https://192.0.2.1",
		"https://1.tool.example.com:65535": "https://1.tool.example.com:65535",
	} {
		c, _, err := load(t, strings.Replace(smallestFile, "https://tool.example.com", text, 1))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := c.PublicURL.String(); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{
		"http://tool.example.com", "http://127.0.0.1.example.com", "http://localhost.example.com", "http://notlocalhost", "http://128.0.0.1",
		"https://tool.example.com/", "https://tool.example.com/x", "https://tool.example.com?x", `"https://tool.example.com#x"`, `https://tool.example.com\x`,
		"https://user@tool.example.com", "https://user:pw@tool.example.com", "https://tool.example.com@evil.test",
		"tool.example.com", "//tool.example.com", "https:tool.example.com", "https:/tool.example.com", "https://", "https://:443", "ftp://tool.example.com",
		`"https://tool.example.com:"`, "https://tool.example.com:0", "https://tool.example.com:65536", "https://tool.example.com:0443", "https://tool.example.com:+1",
		"https://tool.example.com:443:443", "https://tool.example.com.", "https://.example.com", "https://tool..example.com", "https://*.example.com",
		"https://tool_1.example.com", "https://-tool.example.com", "https://tool.exämple.com", "https://tool%2eexample.com", "' https://tool.example.com'",
		"https://127.1", "https://0x7f.0.0.1", "https://2130706433", "https://127.0.0.01", "https://256.0.0.1", "https://::1",
		"https://[::1", "https://[::1]x", "https://[fe80::1%25eth0]", "https://[127.0.0.1]", "http://[::ffff:127.0.0.1]", "https://a, https://b", "[https://tool.example.com]",
	} {
		c, _, err := load(t, strings.Replace(smallestFile, "https://tool.example.com", text, 1))
		if err == nil {
			t.Errorf("%s: accepted as %v", text, c.PublicURL)
		} else if !strings.Contains(err.Error(), "loginwall.yaml:1: public_url: ") || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

// CFG-245.
func TestTrustedProxiesNeverHoldEverybody(t *testing.T) {
	for _, text := range []string{
		"0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "::/1", "2000::/3", "::ffff:0.0.0.0/96", "::ffff:0:0/95", "::/80", "0.0.0.0/7",
		"10.0.0.1/8", "*", "all", "Unix", "unix:", "localhost", "10.0.0", "10.0.0.0/33", "010.0.0.1", "fe80::1%eth0", "10.0.0.1:80", "10.0.0.0/8 ",
	} {
		if c, _, err := load(t, smallestFile+"trusted_proxies: ['"+text+"']\n"); err == nil {
			t.Errorf("%s: accepted as %v", text, c.TrustedProxies)
		}
	}
	if c := mustLoad(t, smallestFile); c.TrustedProxies != nil {
		t.Errorf("by default: got %v", c.TrustedProxies)
	}
}

// CFG-240.
func TestSecretFiles(t *testing.T) {
	const canary = "C4N4RY"
	for name, row := range map[string]struct {
		text string
		want string // of the message; empty: accepted
	}{
		"plain":           {canary, ""},
		"newline":         {canary + "\n", ""},
		"several":         {canary + "\r\n\n", ""},
		"inner blank":     {canary + " " + canary, ""},
		"empty":           {"", "is empty"},
		"only newlines":   {"\n\n", "is empty"},
		"only blanks":     {"  \n", "is empty"},
		"blank before":    {" " + canary, "begins or ends with a blank"},
		"blank behind":    {canary + " \n", "begins or ends with a blank"},
		"quotes":          {`"` + canary + `"`, "quotation mark"},
		"one quote":       {canary + `'`, "quotation mark"},
		"two lines":       {canary + "\n" + canary + "\n", "more than one line"},
		"json":            {`{"web":{"client_secret":"` + canary + `"}}`, "looks like JSON"},
		"control":         {canary + "\x1b" + canary, "control character"},
		"byte order mark": {"\ufeff" + canary, "byte order mark"},
		"utf-16":          {"C\x004\x00N\x00", "not plain UTF-8"},
		"not utf-8":       {canary + "\xff", "not plain UTF-8"},
		"unexpanded":      {"${" + canary + "}", "is a placeholder"},
		"huge":            {strings.Repeat(canary, 1000), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			secret := filepath.Join(t.TempDir(), "secret")
			writeFile(t, secret, row.text, 0o600)
			c, warnings, err := load(t, strings.Replace(smallestFile, "client_secret: s3cr3t-of-google", "client_secret_file: "+secret, 1))
			switch {
			case row.want == "" && err != nil:
				t.Error(err)
			case row.want == "" && c.Google.ClientSecret.Reveal() != strings.TrimRight(row.text, "\r\n"):
				t.Errorf("got %q", c.Google.ClientSecret.Reveal())
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), ":5: google.client_secret_file: ")):
				t.Errorf("got %v, want %q", err, row.want)
			case err != nil && strings.Contains(err.Error(), canary):
				t.Errorf("the message tells the secret: %v", err)
			case warnings != nil:
				t.Errorf("warnings: %v", warnings)
			}
		})
	}
}

// CFG-240.
func TestPlaceholdersAreNoSecrets(t *testing.T) {
	for _, text := range []string{
		"changeme", "CHANGE-ME", "change_me!", "your-client-secret", "YOUR_CLIENT_SECRET", "your-client-secret-here", "xxx", "XXXXXXXX", "GOCSPX-xxxxxxxx", "GOCSPX-your-secret",
		"<client secret>", "<secret>", "{{ secret }}", "TODO", "replace-me", "$CLIENT_SECRET", "...", "***", "placeholder", "your-app-id",
	} {
		for _, key := range []string{"s3cr3t-of-google", "1234-abc.apps.googleusercontent.com"} {
			if _, _, err := load(t, strings.Replace(smallestFile, key, "'"+text+"'", 1)); err == nil {
				t.Errorf("%s instead of %s: accepted", text, key)
			}
		}
	}
	for _, text := range []string{"x", "s3cr3t", "secret", "GOCSPX-3kQ9xxY_example-0123", "client-secret", "my-secret", "yourXk3Q9", "test", "$2a$10$abcdef", "correct horse", "yes-0"} {
		if _, _, err := load(t, strings.Replace(smallestFile, "s3cr3t-of-google", "'"+text+"'", 1)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// CFG-242.
func TestKeyFiles(t *testing.T) {
	folder := t.TempDir()
	for name, mode := range map[string]os.FileMode{"own": 0o600, "mounted": 0o440, "world": 0o644, "writable": 0o602} {
		writeFile(t, filepath.Join(folder, name), "key of "+name+"\n", mode)
	}
	writeFile(t, filepath.Join(folder, "empty"), "\n", 0o600)
	key := func(files string) (*config.Config, error) {
		c, _, err := load(t, smallestFile+"session: {"+strings.ReplaceAll(files, "@", folder+"/")+"}\n")
		return c, err
	}
	c, err := key("key_file: @own, old_key_files: [@mounted]")
	if err != nil {
		t.Fatal(err)
	}
	if c.Session.Key.Reveal() != "key of own" || c.Session.OldKeys[0].Reveal() != "key of mounted" {
		t.Errorf("got %q, %q", c.Session.Key.Reveal(), c.Session.OldKeys[0].Reveal())
	}
	for files, want := range map[string]string{
		"key_file: @world":                                   "session.key_file: the file is open to every user",
		"key_file: @writable":                                "session.key_file: the file is open to every user",
		"key_file: @own, old_key_files: [@world]":            "session.old_key_files[0]: the file is open to every user",
		"key_file: @absent":                                  "session.key_file: the file does not exist",
		"key_file: @":                                        "session.key_file: the file is a folder",
		"key_file: @empty":                                   "session.key_file: the file is empty",
		"key_file: /dev/null":                                "session.key_file: the file is not a regular one",
		"key_file: @own, old_key_files: [@own]":              "names a file a second time",
		"old_key_files: [@own, @own]":                        "names a file a second time",
		"old_key_files: [@own, @mounted, @x]":                "there are more than 2",
		"key_file: @own, old_key_files: @mounted":            "is a single value where a list belongs",
		"key_file: [@own]":                                   "is a list where a single value belongs",
		`key_file: ""`:                                       "is empty",
		"key: 0123456789012345678901234567890123456789":      "unknown key (did you mean key_file?)",
		"key_file: @own, key_file_file: @own, max_age: 168h": "unknown key (did you mean key_file?)",
	} {
		if _, err := key(files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", files, err, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	folder := t.TempDir()
	secret := filepath.Join(folder, "secret")
	writeFile(t, secret, "s3cr3t", 0o644)
	ca := filepath.Join(folder, "ca.pem")
	writeFile(t, ca, testCA, 0o644)
	everyone := strings.Replace(smallestFile, "domains: [example.com]", "everyone: true", 1)
	for text, want := range map[string]string{
		smallestFile: "",
		everyone:     "7: allow.everyone: lets in everybody who has a Google account",
		strings.Replace(smallestFile, "allow:\n", "allow:\n  everyone: true\n", 1):                         "7: allow.everyone: lets in every account, so the lists beside it keep nobody out (take it out, or the lists)",
		strings.Replace(smallestFile, "example.com]", "gmail.com]", 1):                                     "7: allow.domains[0]: lets in everybody who has a Gmail account (single addresses belong under emails)",
		strings.Replace(smallestFile, "client_secret: s3cr3t-of-google", "client_secret_file: "+secret, 1): "5: google.client_secret_file: the file is open to every user of this machine (chmod 0600, or 0440 for a mounted secret)",
		strings.Replace(smallestFile, "1234-abc.", "1234.", 1):                                             "4: google.client_id: is the one of the example (copy your own from the Google Cloud console)",
		strings.Replace(smallestFile, "1234-abc.apps.googleusercontent.com", "wall", 1):                    "4: google.client_id: does not end in .apps.googleusercontent.com, as Google's do (copy it from the Google Cloud console)",
		strings.Replace(smallestFile, "google:\n", "google:\n  issuer: http://127.0.0.1:9000\n", 1):        "4: google.issuer: whoever answers there is believed as Google is (only for tests: take the line out)",
		strings.Replace(smallestFile, "google:\n", "oidc:\n  issuer: http://localhost:9000\n", 1):          "4: oidc.issuer: is not https, so whoever can listen on this machine can sign in as anybody (only for tests)",
		strings.Replace(smallestFile, "https://tool.example.com", "https://192.0.2.1", 1):                  "1: public_url: Google takes no IP addresses for redirect URIs (use a host name)",
		strings.Replace(smallestFile, "http://127.0.0.1:3000", "none", 1):                                  "2: upstream: none leaves forward-auth alone, but trusted_proxies names nobody who may ask (name the proxy that asks)",
		smallestFile + "upstream_tls: {ca_file: " + ca + "}\n":                                             "8: upstream_tls.ca_file: is not used, since no upstream is https://",
		smallestFile + "trusted_proxies: [10.0.0.1, unix]\n":                                               "8: trusted_proxies[1]: means nobody, since listen is no socket (name the addresses of the proxies, or listen on unix:/path)",
		smallestFile + "trusted_proxies: [unix]\nlisten: unix:/run/wall.sock\n":                            "",
		smallestFile + "session: {max_age: 1h, idle_timeout: 2h}\n":                                        "8: session.idle_timeout: never counts, since max_age is shorter",
		smallestFile + "session: {max_age: 1h}\n":                                                          "",
		smallestFile + "directory: {public_url: https://users.example.com}\n":                              "8: directory.public_url: nobody may see what is there, since admins names nobody",
		smallestFile + "admins: [a@example.com]\ndirectory: {public_url: https://tool.example.com:8443}\n": "9: directory.public_url: is on the app's host, and cookies do not keep ports apart: a script of the app can take an admin's away, or put others there (give it another host)",
		smallestFile + "routes:\n  - path: /x\n    access: admins\n":                                       "10: routes[0].access: nobody passes, since admins names nobody",
		smallestFile + "routes:\n  - path: /\n    access: public\n":                                        "10: routes[0].access: opens the whole site to everybody",
	} {
		_, warnings, err := load(t, text)
		if err != nil {
			t.Error(err)
			continue
		}
		var got []string
		for _, w := range warnings {
			got = append(got, strings.TrimPrefix(w.Error(), w.File+":"))
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("%s\ngot  %s\nwant %s", text, strings.Join(got, "\n     "), want)
		}
	}
	open := filepath.Join(folder, "loginwall.yaml")
	writeFile(t, open, smallestFile, 0o644)
	if _, warnings, err := config.Load(open, env); err != nil || len(warnings) != 1 || warnings[0].Key != "google.client_secret" {
		t.Errorf("a secret in a file for everybody: got %v, %v", warnings, err)
	}
	writeFile(t, open, strings.Replace(smallestFile, "s3cr3t-of-google", "${SECRET}", 1), 0o644)
	if _, warnings, err := config.Load(open, env); err != nil || warnings != nil {
		t.Errorf("no secret in a file for everybody: got %v, %v", warnings, err)
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	folder := t.TempDir()
	huge := filepath.Join(folder, "huge")
	writeFile(t, huge, strings.Repeat("# 34567\n", 1<<17+1), 0o600)
	for path, want := range map[string]string{
		filepath.Join(folder, "absent"): "absent:1: the file does not exist (name it with --config or LOGINWALL_CONFIG)",
		folder:                          ":1: the file is a folder, not a file",
		huge:                            "huge:1: the file is larger than such a file can be",
	} {
		c, _, err := config.Load(path, env)
		var problems config.Problems
		if c != nil || !errors.As(err, &problems) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: got %v, %v", path, c, err)
		}
	}
}

func TestProblemOfAnotherPackage(t *testing.T) {
	c := mustLoad(t, smallestFile+"headers:\n  set:\n    X-User: '{nobody}'\n")
	for key, line := range map[string]int{
		"headers.set.X-User": 10, "headers.set": 9, "headers.profiles": 8, "headers": 8, "session.key_file": 1, "allow.domains[0]": 7, "allow.domains[7]": 7, "": 1,
	} {
		if p := c.Problem(key, "is odd", "do this"); p.Line != line {
			t.Errorf("%s: got line %d, want %d", key, p.Line, line)
		}
	}
	p := c.Problem("headers.set.X-User", "is odd", "do this")
	if want := c.File() + ":10: headers.set.X-User: is odd (do this)"; p.Error() != want {
		t.Errorf("got %q, want %q", p.Error(), want)
	}
}

// testCA is a certificate whose key was thrown away.
const testCA = `-----BEGIN CERTIFICATE-----
MIIBjzCCATWgAwIBAgIUTGP8GsdIoBfYF6z6ksKSESFH37YwCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRbG9naW53YWxsIHRlc3QgQ0EwIBcNMjYxMTIyMjE0NDMwWhgP
MjEyNjEwMjkyMTQ0MzBaMBwxGjAYBgNVBAMMEWxvZ2lud2FsbCB0ZXN0IENBMFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEdC/DdKhwyIcDVUXwlJOcKAQAyAx1ra7V
zIt+K6xxmUuAOnOM0NdMM/Q9dWB4vPbvEqLX/uTvOyEYz9936rn+DqNTMFEwHQYD
VR0OBBYEFPcitXefbhFWV6/O0uH8EdFVlwIWMB8GA1UdIwQYMBaAFPcitXefbhFW
V6/O0uH8EdFVlwIWMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIh
AP0WaGU+q59FyM0lddvpOk+C/V2RnWVVamAOxGogQEbzAiBMvSiMXm9n2NFUUSJf
vCkkrv0n+uN7Wyovky13yh+t5w==
-----END CERTIFICATE-----
`
