package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/loginwall/loginwall/auth/devidp"
)

// stranger stands in what attackers write, and never at the upstream.
const stranger = "stranger@evil.test"

// lines joins a raw request's lines.
func lines(l ...string) string { return strings.Join(l, "\r\n") }

// send1 sends raw bytes as the current browser, and returns the first answer and
// what reached the upstream. A connection that is closed without a word, as net/http
// does where it has not read all of what is no request, is as good as a 400.
func (r *rig) send1(t *testing.T, raw string) (first *answer, reached []received) {
	t.Helper()
	before := r.upstream.count()
	first = &answer{Response: &http.Response{StatusCode: http.StatusBadRequest, Header: http.Header{}}}
	if answers := r.sendRaw(t, raw, patience); len(answers) > 0 {
		first = answers[0]
	}
	return first, r.upstream.since(before)
}

// with is a GET by the current browser with more header lines.
func with(fields ...string) string {
	return lines(append(append([]string{"GET /x HTTP/1.1", "Host: {host}", "Cookie: {cookie}"}, fields...), "Connection: close", "", "")...)
}

// Whatever names a header has, and wherever it stands, it tells the app of nobody
// but the one who signed in. The oracle looks at each request that arrives.
func TestAttackHeaders(t *testing.T) {
	t.Parallel()
	r := startWall(t, "https://app.test", basics+`
routes:
  - {path: /public/, access: public}
headers:
  profiles: [forwarded, assertion]
`)
	r.as("alice").signIn(t, "alice@example.com", "/")

	// passes sends fields that tell of a stranger, with alice's session and to a
	// public path with and without it; the oracle and the stranger's name tell.
	passes := func(t *testing.T, fields ...string) {
		t.Helper()
		for _, raw := range []string{
			with(fields...),
			strings.Replace(with(fields...), "GET /x", "GET /public/x", 1),
			strings.Replace(strings.Replace(with(fields...), "GET /x", "OPTIONS /public/x", 1), "Cookie: {cookie}\r\n", "", 1),
		} {
			a, reached := r.send1(t, raw)
			if a.StatusCode != http.StatusOK || len(reached) != 1 {
				t.Fatalf("status %d, %d requests at the upstream, for %q", a.StatusCode, len(reached), raw)
			}
			if strings.Contains(reached[0].raw, stranger) {
				t.Errorf("the app is told of the stranger:\n%s", reached[0].raw)
			}
		}
	}

	t.Run("HDR-003 any case, many copies, before and after", func(t *testing.T) {
		for _, n := range []int{2, 3, 50} {
			var copies []string
			for i := range n {
				name := []string{"X-Forwarded-User", "x-forwarded-user", "X-FORWARDED-USER", "x-FoRwArDeD-uSeR"}[i%4]
				copies = append(copies, name+": "+stranger)
			}
			passes(t, copies...)
			passes(t, append(append(slices.Clone(copies), "Accept: */*"), copies...)...)
		}
		passes(t, "X-Forwarded-User: "+stranger+", alice@example.com", "X-Forwarded-User:", "X-Forwarded-User: ,"+stranger)
	})

	for id, separators := range map[string]string{"HDR-004 underscores": "-_", "HDR-005 dots": "-._", "HDR-005 any other byte of a token": "-!#$%&'*+^`|~"} {
		t.Run(id, func(t *testing.T) {
			for _, name := range []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Name", "Remote-User", "X-Auth-Request-User", "X-Loginwall-Assertion"} {
				var fields []string
				for _, spelling := range spellings(name, separators) {
					fields = append(fields, spelling+": "+stranger, strings.ToUpper(spelling)+": "+stranger)
				}
				for part := range slices.Chunk(fields, 200) {
					passes(t, part...)
				}
			}
		})
	}

	t.Run("HDR-009 trailers", func(t *testing.T) {
		for _, name := range []string{"X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User", "X.Forwarded.Email", "Remote-User", "X-Forwarded-For", "Forwarded", "X-Loginwall-Assertion", "Cookie", "Authorization", "Host", "Transfer-Encoding", "transfer_encoding", "Content-Length", "Content-Type", "X-Request-Id"} {
			for _, announced := range []string{name, "X-Checksum, " + name, "X-Checksum", ""} {
				for _, path := range []string{"/x", "/public/x"} {
					raw := lines("POST "+path+" HTTP/1.1", "Host: {host}", "Cookie: {cookie}", "Transfer-Encoding: chunked", "Connection: close")
					if announced != "" {
						raw += "\r\nTrailer: " + announced
					}
					raw += lines("", "", "5", "hello", "0", "X-Checksum: 5d41", name+": "+stranger, "", "")
					before := r.upstream.count()
					answers := r.sendRaw(t, raw, patience)
					if len(answers) != 1 || answers[0].StatusCode != http.StatusOK && answers[0].StatusCode != http.StatusBadRequest {
						t.Fatalf("%s announced by %q: %d answers", name, announced, len(answers))
					}
					for _, got := range r.upstream.since(before) {
						if strings.Contains(got.raw, stranger) || strings.Contains(strings.ToLower(got.raw), "trailer: "+strings.ToLower(name)) {
							t.Errorf("%s announced by %q reached the app:\n%s", name, announced, got.raw)
						}
						// What is nobody's name passes, even unannounced to us: the app may want it.
						if got.request != nil && strings.Contains(announced, "X-Checksum") && got.request.Trailer.Get("X-Checksum") != "5d41" {
							t.Errorf("%s announced by %q: the app's own trailer is lost:\n%s", name, announced, got.raw)
						}
					}
				}
			}
		}
	})

	t.Run("HDR-010 what is no header line", func(t *testing.T) {
		for _, line := range []string{
			"X-Forwarded-User : " + stranger, "X-Forwarded-User\t: " + stranger, " X-Forwarded-User: " + stranger,
			"X-Forwarded-\x00User: " + stranger, "X-Forwarded-User\x00: " + stranger, "X-Any: \x00" + stranger,
			"X-Forwarded-\x01User: " + stranger, "X-Any: a\x01" + stranger, "X-Any: a\x7f" + stranger, "X-Any: a\x1b" + stranger,
			"X-Forwarded-Us\u00e9r: " + stranger, "X-Forwarded-User\u00a0: " + stranger, "\ufeffX-Forwarded-User: " + stranger,
			"X-Forwarded-U\u017fer: " + stranger, // a long s, which some fold to s
			": " + stranger, "X-Forwarded-User", "X Forwarded User: " + stranger, "X-Forwarded-User\": " + stranger, "(X-Forwarded-User): " + stranger,
		} {
			// First, last, and right behind the request line.
			for _, raw := range []string{with(line), with("Accept: */*", line, "X-More: 1"), lines("GET /x HTTP/1.1", line, "Host: {host}", "Cookie: {cookie}", "Connection: close", "", "")} {
				if a, reached := r.send1(t, raw); a.StatusCode != http.StatusBadRequest || len(reached) != 0 {
					// A line that begins with a blank continues the one before it (obs-fold).
					if strings.HasPrefix(line, " ") && (len(reached) == 0 || identityOf(reached[0]) == "alice@example.com") {
						continue
					}
					t.Errorf("%q: status %d, %d requests at the upstream", line, a.StatusCode, len(reached))
				}
			}
		}
	})

	t.Run("HDR-011 line ends within a value", func(t *testing.T) {
		for name, field := range map[string]string{
			"obs-fold with a blank":      "X-Any: a\r\n X-Forwarded-User: " + stranger,
			"obs-fold with a tab":        "X-Any: a\r\n\tX-Forwarded-User: " + stranger,
			"obs-fold of an owned name":  "X-Forwarded-User: a\r\n " + stranger,
			"obs-fold behind the cookie": "Cookie: a=b\r\n X-Forwarded-User: " + stranger,
			"bare CR":                    "X-Any: a\rX-Forwarded-User: " + stranger,
			"bare CR at the end":         "X-Any: a\r\r\nX-Forwarded-User: " + stranger,
			"bare LF":                    "X-Any: a\nX-Forwarded-User: " + stranger,
			"two bare LF":                "X-Any: a\n\nGET /smuggled HTTP/1.1\nHost: {host}\nX-Forwarded-User: " + stranger,
			"LF CR":                      "X-Any: a\n\rX-Forwarded-User: " + stranger,
			"NEL":                        "X-Any: a\u0085X-Forwarded-User: bob@example.com",
			"line separator":             "X-Any: a\u2028X-Forwarded-User: bob@example.com",
			"encoded line end":           "X-Any: a%0d%0aX-Forwarded-User: bob@example.com",
		} {
			_, reached := r.send1(t, with(field))
			for _, got := range reached {
				if strings.Contains(got.raw, "\nX-Forwarded-User: "+stranger) || strings.Contains(got.raw, "smuggled") || len(reached) != 1 || identityOf(got) != "alice@example.com" {
					t.Errorf("%s: a new field at the app:\n%q", name, got.raw)
				}
			}
		}
	})

	t.Run("HDR-013 names that apps trust", func(t *testing.T) {
		names := []string{
			"Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups", "X-Remote-User", "X-Remote-Group", "X-Remote-Extra-Scopes",
			"X-WebAuth-User", "X-WebAuth-Email", "X-WebAuth-Groups", "X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Access-Token",
			"X-Authentik-Username", "X-Authentik-Jwt", "X-Goog-Authenticated-User-Email", "X-Goog-Authenticated-User-Id", "X-Goog-IAP-JWT-Assertion",
			"Cf-Access-Authenticated-User-Email", "Cf-Access-Jwt-Assertion", "Tailscale-User-Login", "Tailscale-User-Name",
			"X-Pomerium-Claim-Email", "X-Pomerium-Jwt-Assertion", "X-Vouch-User", "X-Amzn-Oidc-Data", "X-Amzn-Oidc-Identity",
			"X-Ms-Client-Principal-Name", "Impersonate-User", "X-Forwarded-Login", "X-Forwarded-Access-Token", "Auth-User", "OIDC_CLAIM_email",
			"X-Loginwall-Assertion", "X-Loginwall-User", "X-User", "X-Username", "Ssl-Client-S-Dn", "X-Ssl-Client-Cert", "Client-Cert", "X-Forwarded-Client-Cert",
			"X-Credential-Username", "X-Consumer-Username", "Kubeflow-Userid", "X-Jwt-Assertion", "X-Endpoint-Api-Userinfo", "X-Proxy-User", "Teleport-Jwt-Assertion",
		}
		var fields []string
		for _, name := range names {
			fields = append(fields, name+": "+stranger, strings.ReplaceAll(name, "-", "_")+": "+stranger)
		}
		passes(t, fields...)
	})

	t.Run("HDR-014 where a request came from is the wall's to say", func(t *testing.T) {
		var fields []string
		for _, name := range []string{
			"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Forwarded-Method",
			"X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Path", "X-Forwarded", "Forwarded", "X-Real-IP", "X-Client-IP",
			"True-Client-IP", "CF-Connecting-IP", "X-Cluster-Client-Ip", "X-Original-URL", "X-Original-Uri", "X-Original-Method", "X-Original-Host",
			"X-Original-Forwarded-For", "X-Rewrite-URL", "X-Url-Scheme", "X-Scheme", "X-Script-Name", "Front-End-Https", "X-Host",
		} {
			fields = append(fields, name+": "+stranger, strings.ReplaceAll(name, "-", "_")+": "+stranger)
		}
		passes(t, fields...)
		passes(t, "X-Forwarded-Proto: http", "X-Forwarded-Host: "+stranger, "X-Forwarded-For: 10.0.0.1, 127.0.0.1", "Forwarded: for="+stranger+";proto=http")
	})

	t.Run("HDR-015 Proxy", func(t *testing.T) {
		passes(t, "Proxy: http://"+stranger+":3128", "proxy: "+stranger, "PROXY: "+stranger)
	})

	t.Run("HDR-018 of the cookies only ours are taken out", func(t *testing.T) {
		session := r.cookies().session()
		for sent, want := range map[string]string{
			session:                                    "",
			session + "; a=1; b=2":                     "a=1; b=2",
			"a=1; " + session + "; b=2":                "a=1; b=2",
			"a=1; b=2; " + session:                     "a=1; b=2",
			"a=1;b=2;" + session + ";c=3":              "a=1;b=2;c=3",
			"a=1;  " + session + " ; b=\"x y\"; c":     "a=1; b=\"x y\"; c",
			session + "; =x; a==; b=%00; c=\u00e9; ;;": "=x; a==; b=%00; c=\u00e9; ;;",
			"loginwallet=1; xloginwall=2; login=3; " + session + "; __Host-app=4":  "loginwallet=1; xloginwall=2; login=3; __Host-app=4",
			"__Host-loginwall-a-12345678=x; a=1; " + session:                       "a=1",
			"loginwall=x; loginwall-8080=y; LOGINWALL-8080-a-q=z; a=1; " + session: "a=1",
			"__HOST-loginwall-8443=x; a=1; " + session:                             "a=1",
		} {
			a, reached := r.send1(t, lines("GET / HTTP/1.1", "Host: {host}", "Cookie: "+sent, "Connection: close", "", ""))
			if a.StatusCode != http.StatusOK || len(reached) != 1 {
				t.Fatalf("%s: status %d", sent, a.StatusCode)
			}
			if got := strings.Join(valuesOf(fieldsOf(reached[0].raw), "Cookie"), "\n"); got != want {
				t.Errorf("Cookie: %s\nbecame %q, not %q", sent, got, want)
			}
		}
		// Several lines stay several lines.
		_, reached := r.send1(t, lines("GET / HTTP/1.1", "Host: {host}", "Cookie: a=1", "Cookie: "+session, "cookie: b=2; c=3", "Connection: close", "", ""))
		if got := valuesOf(fieldsOf(reached[0].raw), "Cookie"); !slices.Equal(got, []string{"a=1", "b=2; c=3"}) {
			t.Errorf("Cookie lines became %q", got)
		}
	})

	t.Run("HDR-021 only the wall's own assertion arrives", func(t *testing.T) {
		_, reached := r.send1(t, with("X-Loginwall-Assertion: eyJhbGciOiJub25lIn0.eyJlbWFpbCI6ImJvYkBleGFtcGxlLmNvbSJ9.", "X_Loginwall_Assertion: "+stranger))
		values := valuesOf(fieldsOf(reached[0].raw), "X-Loginwall-Assertion")
		if len(values) != 1 {
			t.Fatalf("assertions: %q", values)
		}
		var keys jose.JSONWebKeySet
		check(t, json.Unmarshal(r.as("nobody").ask(t, http.MethodGet, "-bare", "/_auth/jwks.json").body, &keys))
		signed, err := jose.ParseSignedCompact(values[0], []jose.SignatureAlgorithm{jose.ES256})
		check(t, err)
		key := keys.Key(signed.Signatures[0].Header.KeyID)
		if len(key) != 1 {
			t.Fatalf("the key %q is not published", signed.Signatures[0].Header.KeyID)
		}
		payload, err := signed.Verify(key[0])
		check(t, err)
		var claims struct {
			Iss, Email string
			Aud        any
			Exp        int64
		}
		check(t, json.Unmarshal(payload, &claims))
		if left := time.Until(time.Unix(claims.Exp, 0)); claims.Iss != r.publicURL || fmt.Sprint(claims.Aud) != r.publicURL || claims.Email != "alice@example.com" || left <= 0 || left > 5*time.Minute {
			t.Errorf("claims %s", payload)
		}
	})

	t.Run("HDR-024 no other protocol is spoken in front", func(t *testing.T) {
		// Without TLS of its own the wall offers no HTTP/2, neither with prior knowledge
		// nor by an upgrade, so HTTP/1's rules for identity are all there are.
		r.as("alice")
		before := r.upstream.count()
		r.sendRaw(t, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", time.Second)
		if n := r.upstream.count(); n != before {
			t.Errorf("%d requests at the upstream", n-before)
		}
		a, reached := r.send1(t, strings.Replace(with("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"), "Connection: close", "Connection: close, Upgrade, HTTP2-Settings", 1))
		if a.StatusCode != http.StatusOK || len(reached) != 1 || len(valuesOf(fieldsOf(reached[0].raw), "Upgrade")) != 0 {
			t.Errorf("status %d, at the upstream:\n%v", a.StatusCode, reached)
		}
	})

	// Those that sign in anew come last.
	t.Run("HDR-008 what the provider does not tell is not there", func(t *testing.T) {
		r.idp.Misbehave(devidp.Fault{Claims: func(claims map[string]any) { delete(claims, "name") }})
		defer r.idp.Misbehave(devidp.Fault{})
		r.oracle.names["bob@example.com"] = ""
		r.as("bob").signIn(t, "bob@example.com", "/")
		passes(t, "X-Forwarded-Name: "+stranger, "x_forwarded_name: "+stranger)
	})

	t.Run("HDR-017 an address has one form", func(t *testing.T) {
		r.idp.Misbehave(devidp.Fault{Claims: func(claims map[string]any) { claims["email"] = "Alice@EXAMPLE.com" }})
		defer r.idp.Misbehave(devidp.Fault{})
		r.as("alice again").signIn(t, "alice@example.com", "/")
		if _, reached := r.send1(t, with()); len(reached) != 1 || identityOf(reached[0]) != "alice@example.com" {
			t.Errorf("at the upstream:\n%v", reached)
		}
	})
}

// identityOf returns whom a request at the upstream tells of.
func identityOf(got received) string {
	return strings.Join(valuesOf(fieldsOf(got.raw), "X-Forwarded-User"), "|")
}

// spellings puts each separator in each place where name has a dash.
func spellings(name, separators string) []string {
	all := []string{""}
	for i, part := range strings.Split(name, "-") {
		var next []string
		for _, begun := range all {
			if i == 0 {
				next = append(next, part)
				continue
			}
			for _, s := range separators {
				next = append(next, begun+string(s)+part)
			}
		}
		all = next
	}
	return all
}
