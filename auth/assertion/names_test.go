package assertion_test

import (
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth/assertion"
)

func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		"X-Forwarded-User":  "x-forwarded-user",
		"X_FORWARDED_USER":  "x-forwarded-user",
		"X.Forwarded~User":  "x-forwarded-user",
		"x--forwarded-user": "x--forwarded-user",
		"X-User2":           "x-user2",
		"X-\u00dc":          "x---",
		"":                  "",
	} {
		if got := assertion.Fold(in); got != want {
			t.Errorf("Fold(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestOwned(t *testing.T) {
	teller := newTeller(t, assertion.Config{Set: map[string]string{"X-Custom-Who": "{email}", "User": "{email}"}})
	for name := range strings.FieldsSeq(`
		X-Forwarded-User X-Forwarded-Email X-Forwarded-Name X-Forwarded-Groups X-Forwarded-Preferred-Username X-Forwarded-Login
		X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Uri X-Forwarded-Method
		X-Forwarded-Server X-Forwarded-Access-Token X-Forwarded-Client-Cert X-Forwarded Forwarded X-Real-IP X-Original-URL X-Original-Method
		X-Original-Uri X-Rewrite-URL Proxy
		Remote-User Remote-Email Remote-Name Remote-Groups X-Remote-User X-Remote-Group X-Remote-Extra-Scopes X-WebAuth-User X-WEBAUTH-ROLE
		X-Auth-Request-User X-Auth-Request-Access-Token X-Authentik-Username X-Authentik-Jwt
		X-Goog-Authenticated-User-Email X-Goog-Authenticated-User-Id X-Goog-IAP-JWT-Assertion
		Cf-Access-Jwt-Assertion Cf-Access-Authenticated-User-Email Tailscale-User-Login Tailscale-User-Name X-Pomerium-Jwt-Assertion
		X-Loginwall-Assertion X-Loginwall-Whatever X-Amzn-Oidc-Data X-Amzn-Oidc-Identity X-MS-CLIENT-PRINCIPAL X-MS-CLIENT-PRINCIPAL-NAME
		X-Vouch-User X-Proxy-User X-Proxy-Roles Kubeflow-Userid Impersonate-User Impersonate-Extra-Scopes Client-Cert
		X-Custom-Who User`) {
		for _, spelling := range []string{
			name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", "."),
			strings.Replace(name, "-", "_", 1), strings.ReplaceAll(name, "-", "~"),
		} {
			if !teller.Owned(spelling) {
				t.Errorf("%s is not owned", spelling)
			}
		}
	}
	// What browsers, tools and apps send of their own accord.
	for name := range strings.FieldsSeq(`
		Accept Accept-Charset Accept-Encoding Accept-Language Access-Control-Request-Headers Access-Control-Request-Method Age Authorization
		Baggage Cache-Control Client Connection Content-Disposition Content-Encoding Content-Language Content-Length Content-Type Cookie DNT Date
		Depth Destination Device-Memory Digest Early-Data Etag Expect From Grpc-Timeout Host HX-Request HX-Target Idempotency-Key If
		If-Match If-Modified-Since If-None-Match If-Range If-Unmodified-Since Keep-Alive Last-Event-Id Link Lock-Token Max-Forwards Mcp-Session-Id
		Mime-Version Origin Overwrite Pragma Prefer Priority Private-Token Proxy-Authorization Range Referer Rtt Save-Data Sec-CH-UA
		Sec-Fetch-Mode Sec-Gpc Sec-Websocket-Key Sentry-Trace Service-Worker Soapaction TE Timeout Traceparent Tracestate Trailer
		Transfer-Encoding Tus-Resumable Upgrade Upgrade-Insecure-Requests Upload-Offset User-Agent Username Users Via Viewport-Width Warning
		X X- X-Access-Token X-Amz-Date X-Amz-Content-Sha256 X-Api-Key X-Api-Version X-App-Version X-Atlassian-Token X-Auth-Key X-Auth-Token
		X-B3-Traceid X-Client-Id X-Client-Version X-Correlation-Id X-Csrf-Token X-Csrftoken X-Datadog-Trace-Id X-Device-Id X-File-Name
		X-Forward X-Gitlab-Token X-Github-Event X-Goog-Api-Client X-Grafana-Org-Id X-Hub-Signature X-Inertia X-Jupyter-Token
		X-Ms-Version X-Ms-Date X-Organization-Id X-Plex-Token X-Prototype-Version X-Request-Id X-Requested-With X-Scope-Orgid
		X-Session-Id X-Tenant X-Timezone X-Ttl X-Turbo-Request-Id X-Upload-Content-Type X-User-Agent X-User-Id X-User-Locale
		X-Vault-Token X-XSRF-TOKEN X-XsrfToken X--Forwarded-User AX-Forwarded-User`) {
		if teller.Owned(name) {
			t.Errorf("%s is owned", name)
		}
	}
	if teller.Owned("") {
		t.Error("no name is owned")
	}
	if n := testing.AllocsPerRun(100, func() { teller.Owned("X-Forwarded-User"); teller.Owned("Sec-Fetch-Mode") }); n != 0 {
		t.Errorf("Owned allocates %v times", n)
	}
}

// Every name that any profile can set is owned, whatever is configured.
func TestEveryProfileIsOwned(t *testing.T) {
	none := newTeller(t, assertion.Config{})
	for _, profile := range assertion.Profiles() {
		for name := range newTeller(t, assertion.Config{Profiles: []string{profile}}).Headers(alice()) {
			if !none.Owned(name) {
				t.Errorf("%s of profile %s is not owned without the profile", name, profile)
			}
		}
	}
}
