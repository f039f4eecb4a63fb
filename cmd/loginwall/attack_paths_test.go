package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// routed has one route of every kind.
const routed = basics + `
admins: [alice@example.com]
routes:
  - {path: /public/admin/, access: admins}
  - {path: /public/, access: public}
  - {path: /hook, methods: [POST], access: public}
  - {path: /admin/, access: admins}
  - {path: /closed/, access: nobody}
`

// nobody is what a client without a session sends: a navigation, and a program's.
func nobody(method, target string, fields ...string) []string {
	return []string{
		lines(append(append([]string{method + " " + target + " HTTP/1.1", "Host: {host}", "Accept: text/html"}, fields...), "Connection: close", "", "")...),
		lines(append(append([]string{method + " " + target + " HTTP/1.1", "Host: {host}", "Accept: application/json", "Sec-Fetch-Mode: cors"}, fields...), "Connection: close", "", "")...),
	}
}

// stopped sends what nobody may send: nothing of it reaches the upstream, a
// navigation is asked to sign in, and a program is told 401; or it is none of
// these, but 400 or 404.
func (r *rig) stopped(t *testing.T, raws []string, also ...int) {
	t.Helper()
	for _, raw := range raws {
		a, reached := r.send1(t, raw)
		ok := a.StatusCode == http.StatusUnauthorized || a.StatusCode == http.StatusFound && strings.HasPrefix(a.Header.Get("Location"), r.issuer+"/authorize?")
		for _, status := range also {
			ok = ok || a.StatusCode == status
		}
		if !ok || len(reached) != 0 {
			t.Errorf("%.200q: status %d, %d requests at the upstream", raw, a.StatusCode, len(reached))
		}
	}
}

// Nobody gets past the wall by what they ask for, and how: no path, method, host,
// form of the target or version of the protocol has a door of its own.
func TestAttackPaths(t *testing.T) {
	t.Parallel()
	walls := map[string]*rig{"without routes": startWall(t, "", basics), "with routes": startWall(t, "https://app.test", routed)}
	for _, r := range walls {
		r.as("alice").signIn(t, "alice@example.com", "/")
		r.as("nobody")
	}
	r := walls["with routes"]

	t.Run("BYP-025 no path is open by itself", func(t *testing.T) {
		for _, path := range strings.Fields(`
			/ /favicon.ico /robots.txt /sitemap.xml /manifest.json /site.webmanifest /apple-touch-icon.png /browserconfig.xml /crossdomain.xml
			/.well-known/ /.well-known/acme-challenge/x /.well-known/openid-configuration /.well-known/security.txt /.well-known/change-password
			/.git/config /.env /.htaccess /static/ /static/app.js /static/app.css /assets/x.png /public /img/x.svg /fonts/x.woff2 /a.js.map
			/health /healthz /health/live /livez /readyz /ready /live /status /ping /_ping /up /heartbeat /version /info /metrics /stats /_status
			/debug/pprof/ /debug/pprof/heap /debug/vars /debug/requests /actuator /actuator/env /server-status /nginx_status /trace /console
			/oauth2/ /oauth2/sign_in /oauth2/start /oauth2/callback /oauth2/auth /oauth2/userinfo /oauth2/sign_out /oauth/callback /_oauth /auth /auth/callback
			/login /logout /signin /callback /verify /forward /authorize /token /jwks.json /userinfo /admin /admin/ /api /api/v1/users /graphql /ws /socket.io/
			/index.html /index.php /cgi-bin/x /xmlrpc.php /wp-login.php /_auth /_authx /_auth.json /_aut /auth/ /__/ /~root/ /%5Fauth/login /?/_auth/login /x?/_auth/healthz`) {
			for _, r := range walls {
				r.stopped(t, nobody("GET", path))
			}
		}
	})

	t.Run("BYP-026 the wall's own prefix has one spelling", func(t *testing.T) {
		for _, path := range []string{
			"/_auth/x", "/_auth/../a", "/_auth/./login", "/_auth/%2e%2e/a", "/_auth/..%2fa", "/_auth/..%5ca", "/_auth/..;/a", "/_auth/%2e%2e%2fa", "/_auth/../../a",
			"/_auth/login/", "/_auth/login/../../a", "/_auth/login%00", "/_auth/login;x", "/_auth/login%3bx", "/_auth/login%2f", "/_auth/%6cogin", "/_auth/Login", "/_auth/LOGOUT",
			"/_auth//login", "/_auth/healthz/", "/_auth/healthz/x", "/_auth/healthz%2f..%2f..%2fa", "/_auth/static/../../a", "/_auth/static/%2e%2e/%2e%2e/a", "/_auth/static/", "/_auth/me/", "/_auth/me%20",
			"/_auth/jwks.json/", "/_auth/callback/", "/_auth/..%252fa", "/_auth/%c0%ae%c0%ae/a", "/_auth/\\..\\a", "/_auth/.", "/_auth/..",
		} {
			for _, r := range walls {
				for _, who := range []string{"nobody", "alice"} {
					r.as(who)
					for _, raw := range []string{with(), nobody("POST", "/x")[1]} {
						a, reached := r.send1(t, strings.Replace(raw, " /x ", " "+path+" ", 1))
						static := strings.HasPrefix(path, "/_auth/static/") && a.StatusCode == http.StatusMethodNotAllowed
						if a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusBadRequest && !static || len(reached) != 0 {
							t.Errorf("%s as %s: status %d, %d requests at the upstream", path, who, a.StatusCode, len(reached))
						}
					}
				}
				r.as("nobody")
			}
		}
		// What lies outside is the app's, and no alias of what lies inside.
		for _, path := range []string{
			"/_auth%2flogin", "/_auth%2Flogin", "/_auth%5clogin", "/_auth\\login", "//_auth/login", "/./_auth/login", "/x/../_auth/login", "/x/..%2f_auth/login", "/_AUTH/login", "/_Auth/healthz",
			"/_auth;/login", "/_auth;x=y/login", "/_auth%3b/login", "/%5fauth/login", "/_%61uth/login", "/_auth%00/login", "/_auth%20/login", "/_auth./login", "/_auth", "/;/_auth/login", "/%2f_auth/login", "/_auth%252flogin",
		} {
			for _, r := range walls {
				r.stopped(t, nobody("GET", path))
				r.as("alice")
				a, reached := r.send1(t, strings.Replace(with(), " /x ", " "+path+" ", 1))
				if a.StatusCode != http.StatusOK || len(reached) != 1 || !strings.HasPrefix(reached[0].raw, "GET "+path+" HTTP/1.1\r\n") {
					t.Errorf("%s as alice: status %d, at the upstream %v", path, a.StatusCode, reached)
				}
				r.as("nobody")
			}
		}
	})

	t.Run("BYP-027 what only looks like a public path is not public", func(t *testing.T) {
		for _, path := range []string{
			"/public/../secret", "/public/..", "/public/../", "/public/./../secret", "/public/x/../../secret", "/public/.../secret", "/public//secret", "//public/x", "/x/../public/x", "/./public/x",
			"/public/%2e%2e/secret", "/public/.%2e/secret", "/public/%2E%2e%2fsecret", "/public/..%2fsecret", "/public%2fx", "/public%2f..%2fsecret", "/public/x%2f..%2f..%2fsecret",
			"/public/..;/secret", "/public/..;x=y/secret", "/public;/../secret", "/public/;/secret", "/public;x/secret", "/public/..%3b/secret",
			"/public/..\\secret", "/public\\..\\secret", "/public/..%5csecret", "/public%5c..%5csecret", "\\public\\x",
			"/public/..%00/secret", "/public/%00", "/public%00/x", "/secret%00/public/x", "/public/%0a../secret", "/public/.%09./secret", "/public/\t../secret",
			"/public/%252e%252e/secret", "/public/..%252fsecret", "/public/%25252e%25252e%25252fsecret", "/public/%%32%65%%32%65/secret",
			"/public/%c0%ae%c0%ae/secret", "/public/..%c0%afsecret", "/public/%u002e%u002e/secret", "/public/%ef%bc%8e%ef%bc%8e/secret", "/public/..%ef%bc%8fsecret", "/public/\uff0e\uff0e/secret",
			"/publicx", "/public", "/Public/x", "/PUBLIC/../x", "/PUBLIC/", "/pub%6cic%2f", "/pUblic/x", "/xpublic/", "/x/public/", "/public.html", "/public%20/x", "/public%3f/../secret", "/public/%23/../secret",
			"/public/%3f/../../secret", "/hook/", "/hook/x", "/hook%2f", "/hook;x", "/HOOK", "/hook.", "/hook%20", "//hook", "/public/ADMIN/x", "/public/admin", "/public//admin/x", "/public/%61dmin%2fx", "/public/admin;x/", "/public/./admin/x",
		} {
			// A blank in the target is no target.
			r.stopped(t, append(nobody("GET", path), nobody("POST", path)...), http.StatusBadRequest)
		}
		// The same for somebody who is signed in: what arrives tells who it is. What may
		// be for admins alone, bob does not get.
		r.as("bob").signIn(t, "bob@example.com", "/")
		for _, path := range []string{"/public/ADMIN/x", "/public//admin/x", "/public/%61dmin%2fx", "/public/./admin/x", "/public/admin;x/y", "/x/../admin/", "/admin%2fx", "//admin/x", "/ADMIN/x", "/x/..%2fadmin/x", "/x/..;/admin/x", "/%61dmin/x", "/admin\\x", "/x/..%252fadmin/x", "/closed/x", "/x/../closed/x", "/CLOSED/"} {
			if a, reached := r.send1(t, strings.Replace(with(), " /x ", " "+path+" ", 1)); a.StatusCode != http.StatusForbidden || len(reached) != 0 {
				t.Errorf("%s as bob: status %d, %d requests at the upstream", path, a.StatusCode, len(reached))
			}
		}
		for _, path := range []string{"/public/../secret", "/public%2fx", "/public/..;/secret", "/public/%252e%252e/secret", "/a//b", "/public//x"} {
			if a, reached := r.send1(t, strings.Replace(with(), " /x ", " "+path+" ", 1)); a.StatusCode != http.StatusOK || len(reached) != 1 || identityOf(reached[0]) != "bob@example.com" {
				t.Errorf("%s as bob: status %d, at the upstream %v", path, a.StatusCode, reached)
			}
		}
		r.as("nobody")
		if a, reached := r.send1(t, nobody("GET", "/public/x")[0]); a.StatusCode != http.StatusOK || len(reached) != 1 {
			t.Errorf("/public/x is not public: status %d", a.StatusCode)
		}
	})

	t.Run("BYP-028 what stands around a path is not the path", func(t *testing.T) {
		for _, target := range []string{
			"/secret?x=/public/", "/secret?/public/", "/secret?/../public/x", "/secret/public/", "/secret/public/x?y=/public/", "/secret#/public/", "/secret%3f/public/", "/secret%23/public/", "/secret;/public/",
			"/secret?path=/public/&p=/hook", "/?/public/", "/?%2fpublic%2f", "/secret&/public/", "/x=/public/", "/secret.public/", "/secret/.public/", "/hook?x",
		} {
			r.stopped(t, nobody("GET", target))
		}
	})

	for _, trusted := range []bool{false, true} {
		t.Run(fmt.Sprintf("BYP-030 no header changes what is asked for, trusted_proxies %v", trusted), func(t *testing.T) {
			r := r
			if trusted {
				r = startWall(t, "https://app.test", routed+"\ntrusted_proxies: [127.0.0.1]\n")
			}
			for _, name := range []string{"X-Forwarded-Uri", "X-Forwarded-Path", "X-Forwarded-Prefix", "X-Original-URL", "X-Original-Uri", "X-Rewrite-URL", "X-Script-Name", "X-Envoy-Original-Path", "X-Auth-Request-Redirect"} {
				r.stopped(t, nobody("GET", "/secret", name+": /public/x"))
				r.stopped(t, nobody("GET", "/secret", name+": https://app.test/public/x"))
			}
			for _, name := range []string{"X-Forwarded-Method", "X-Original-Method", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Envoy-Original-Method"} {
				r.stopped(t, nobody("GET", "/hook", name+": POST"))
				r.stopped(t, nobody("POST", "/secret", name+": OPTIONS", "Content-Length: 0"))
			}
			r.stopped(t, nobody("GET", "/secret", "X-Forwarded-Uri: /public/x", "X-Forwarded-Method: GET", "X-Forwarded-Proto: https", "X-Forwarded-Host: app.test", "X-Forwarded-For: 127.0.0.1"))
		})
	}

	t.Run("BYP-031 nobody is let in for what they call themselves", func(t *testing.T) {
		for _, agent := range []string{"GoogleHC/1.0", "GoogleHC", "kube-probe/1.30", "ELB-HealthChecker/2.0", "Amazon-Route53-Health-Check-Service", "Googlebot/2.1 (+http://www.google.com/bot.html)", "curl/8", "loginwall", "Prometheus/2.5", "Consul Health Check", "Envoy/HC", "Mozilla/5.0", ""} {
			for _, path := range []string{"/", "/healthz", "/ping", "/x"} {
				r.stopped(t, nobody("GET", path, "User-Agent: "+agent))
			}
			a, _ := r.send1(t, nobody("GET", "/_auth/me", "User-Agent: "+agent)[1])
			if a.StatusCode != http.StatusUnauthorized {
				t.Errorf("/_auth/me for %q: status %d", agent, a.StatusCode)
			}
		}
	})

	t.Run("BYP-032 nor by a method", func(t *testing.T) {
		for _, method := range []string{"OPTIONS", "HEAD", "PUT", "PATCH", "DELETE", "PROPFIND", "MKCOL", "REPORT", "get", "Get", "head", "options", "FOO", "GETX", "PURGE", strings.Repeat("M", 300), "!#$%&'*+-.^_`|~"} {
			for _, r := range walls {
				r.stopped(t, nobody(method, "/x"))
				r.stopped(t, nobody(method, "/x", "Origin: https://evil.test", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: authorization"))
			}
			if method != "OPTIONS" {
				r.stopped(t, nobody(strings.ToLower(method), "/public/x"))
			}
		}
		r.stopped(t, nobody("post", "/hook"))
		for _, raw := range []string{"G ET /x HTTP/1.1\r\nHost: {host}\r\n\r\n", "GET\t/x HTTP/1.1\r\nHost: {host}\r\n\r\n", " GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n", "G\x00ET /x HTTP/1.1\r\nHost: {host}\r\n\r\n", "GET  /x HTTP/1.1\r\nHost: {host}\r\n\r\n", "(GET) /x HTTP/1.1\r\nHost: {host}\r\n\r\n"} {
			r.stopped(t, []string{raw}, http.StatusBadRequest)
		}
	})

	t.Run("BYP-034 TRACE and CONNECT", func(t *testing.T) {
		for _, who := range []string{"nobody", "alice"} {
			for _, request := range []string{"TRACE /x", "TRACE /public/x", "CONNECT app.test:443", "CONNECT /x", "CONNECT 127.0.0.1:22"} {
				a, reached := r.as(who).send1(t, strings.Replace(with(), "GET /x", request, 1))
				if a.StatusCode != http.StatusMethodNotAllowed && a.StatusCode != http.StatusBadRequest || len(reached) != 0 {
					t.Errorf("%s as %s: status %d, %d requests at the upstream", request, who, a.StatusCode, len(reached))
				}
				if strings.Contains(string(a.body), "Cookie") || request == "TRACE /x" && a.StatusCode != http.StatusMethodNotAllowed {
					t.Errorf("%s as %s: status %d\n%s", request, who, a.StatusCode, a.body)
				}
			}
		}
	})

	t.Run("BYP-035 targets that are no path", func(t *testing.T) {
		for _, who := range []string{"nobody", "alice"} {
			for _, request := range []string{"PRI * HTTP/2.0", "GET * HTTP/1.1", "OPTIONS * HTTP/1.1", "POST * HTTP/1.1", "GET app.test HTTP/1.1", "GET x HTTP/1.1", "GET ?x HTTP/1.1", "GET mailto:x HTTP/1.1", "GET javascript:alert(1) HTTP/1.1", "GET ftp://app.test/x HTTP/1.1", "GET file:///etc/passwd HTTP/1.1", "GET http:/x HTTP/1.1", "GET http:///x HTTP/1.1", "GET http: HTTP/1.1"} {
				before := r.upstream.count()
				for _, a := range r.as(who).sendRaw(t, lines(request, "Host: {host}", "Cookie: {cookie}", "Connection: close", "", ""), patience) {
					if a.StatusCode < 400 && !strings.HasPrefix(request, "OPTIONS") || len(a.body) != 0 && strings.HasPrefix(request, "OPTIONS") && a.StatusCode < 400 {
						t.Errorf("%s as %s: status %d", request, who, a.StatusCode)
					}
				}
				if n := r.upstream.count() - before; n != 0 {
					t.Errorf("%s as %s: %d requests at the upstream", request, who, n)
				}
			}
		}
		r.as("nobody")
	})

	t.Run("BYP-036 absolute targets", func(t *testing.T) {
		for target, ours := range map[string]bool{
			"http://app.test/x": true, "https://app.test/x": true, "HTTPS://APP.TEST/x": true, "https://app.test:443/x": true, "https://app.test": true, "https://app.test?x": true,
			"http://evil.test/x": false, "https://evil.test/x": false, "https://app.test.evil.test/x": false, "https://app.test@evil.test/x": false, "https://evil.test@app.test/x": false, "https://app.test:8443/x": false,
			"https://evil.test/_auth/login": false, "https://evil.test#@app.test/x": false, "https://evil.test\\@app.test/x": false, "//evil.test/x": true, "https://app.test%00.evil.test/x": false, "https://app%2etest/x": false,
		} {
			// The host of an absolute target counts, not Host (RFC 9112, section 3.2.2).
			for _, host := range []string{"app.test", "evil.test"} {
				if host == "evil.test" && strings.HasPrefix(target, "/") {
					continue
				}
				raw := lines("GET "+target+" HTTP/1.1", "Host: "+host, "Cookie: {cookie}", "Connection: close", "", "")
				a, reached := r.as("alice").send1(t, raw)
				if want := map[bool]int{true: 1, false: 0}[ours]; len(reached) != want || ours != (a.StatusCode == http.StatusOK) || !ours && a.StatusCode != http.StatusMisdirectedRequest && a.StatusCode != http.StatusBadRequest {
					t.Errorf("%s with Host: %s as alice: status %d, %d requests at the upstream", target, host, a.StatusCode, len(reached))
				}
				// The oracle holds redirect_uri against the public URL.
				r.as("nobody").stopped(t, []string{raw}, http.StatusMisdirectedRequest, http.StatusBadRequest)
			}
		}
	})

	t.Run("BYP-037 hosts", func(t *testing.T) {
		for host, ours := range map[string]bool{
			"app.test": true, "APP.test": true, "app.test:443": true,
			"app.test.": false, "app.test:80": false, "app.test:8443": false, "app.test:0443": false, "app.test:": false, "xapp.test": false, "app.test.evil.test": false, "evil.test": false, "localhost": false, "127.0.0.1": false,
			"[::1]": false, "[fe80::1%25eth0]": false, "[fe80::1%eth0]:443": false, "xn--pp-yla.test": false, "\u0430pp.test": false, "app\uff0etest": false, "app.tes\u017f": false, "app.test,evil.test": false, "app.test%00": false, "0": false, "": false,
		} {
			raw := lines("GET /x HTTP/1.1", "Host: "+host, "Cookie: {cookie}", "Connection: close", "", "")
			a, reached := r.as("alice").send1(t, raw)
			if ours != (a.StatusCode == http.StatusOK && len(reached) == 1) || !ours && (len(reached) != 0 || a.StatusCode != http.StatusMisdirectedRequest && a.StatusCode != http.StatusBadRequest) {
				t.Errorf("Host: %q: status %d, %d requests at the upstream", host, a.StatusCode, len(reached))
			}
			// No login begins elsewhere, so no cookie and no redirect URI comes of it.
			if a, _ := r.as("nobody").send1(t, strings.Replace(raw, "/x", "/_auth/login", 1)); ours != (a.StatusCode == http.StatusFound) {
				t.Errorf("a login at %q: status %d", host, a.StatusCode)
			}
		}
		for _, raw := range []string{"GET /x HTTP/1.0\r\nCookie: {cookie}\r\n\r\n", "GET /x HTTP/1.0\r\nHost:\r\nCookie: {cookie}\r\n\r\n", "GET /x HTTP/1.0\r\nHost: evil.test\r\nCookie: {cookie}\r\n\r\n"} {
			if a, reached := r.as("alice").send1(t, raw); a.StatusCode != http.StatusMisdirectedRequest && a.StatusCode != http.StatusBadRequest || len(reached) != 0 {
				t.Errorf("%q: status %d, %d requests at the upstream", raw, a.StatusCode, len(reached))
			}
		}
	})

	t.Run("BYP-038 what is no host", func(t *testing.T) {
		for _, fields := range [][]string{
			{"Host: alice@app.test"},
			{"Host: app.test/"},
			{"Host: app.test/x"},
			{"Host: app .test"},
			{"Host: app.test evil.test"},
			{"Host: app.test\\x"},
			{"Host: app.test?x"},
			{"Host: app.test#x"},
			{"Host: https://app.test"},
			{"Host: <app.test>"},
			{"Host: app.test\x00"},
			{"Host: a\u0000pp.test"},
			{"Host: app.test", "Host: app.test"},
			{"Host: app.test", "Host: evil.test"},
			{"Host: evil.test", "host: app.test"},
			{"X: y"},
			{"Host : app.test"},
			{"Host: app.test", "Host:"},
		} {
			raw := lines(append(append([]string{"GET /x HTTP/1.1"}, fields...), "Cookie: {cookie}", "Connection: close", "", "")...)
			if a, reached := r.as("alice").send1(t, raw); a.StatusCode != http.StatusBadRequest && a.StatusCode != http.StatusMisdirectedRequest || len(reached) != 0 {
				t.Errorf("%q: status %d, %d requests at the upstream", fields, a.StatusCode, len(reached))
			}
		}
	})

	t.Run("BYP-039 cookies that open nothing", func(t *testing.T) {
		session := r.as("alice").cookies().session()
		name, value, _ := strings.Cut(session, "=")
		r.as("mallory").ask(t, http.MethodGet, "-nav", "/_auth/login?to=/")
		_, attempt, _ := strings.Cut(r.cookies().String(), "=")
		other := walls["without routes"].as("alice").cookies().session()
		_, otherValue, _ := strings.Cut(other, "=")
		walls["without routes"].as("nobody")
		flipped := []byte(value)
		flipped[len(flipped)/2] ^= 1
		for what, cookie := range map[string]string{
			"none": "", "empty": name + "=", "short": name + "=x", "random": name + "=" + strings.Repeat("QUJDREVGRw", 30), "truncated": session[:len(session)-1], "half": session[:len(session)/2], "longer": session + "A", "padded": session + "=", "twice": session + value,
			"wrong alphabet": name + "=" + strings.NewReplacer("-", "+", "_", "/").Replace(value) + "+/", "quoted": name + `="` + value + `"`, "encoded": name + "=%" + fmt.Sprintf("%x", value[0]) + value[1:], "a byte flipped": name + "=" + string(flipped),
			"an attempt's value": name + "=" + attempt, "another wall's value": name + "=" + otherValue, "another wall's cookie": other, "other case": strings.ToLower(name) + "=" + value, "prefix lost": strings.TrimPrefix(session, "__Host-"), "blank before =": name + " =" + value,
			"null": name + "=null", "json": name + `={"email":"alice@example.com"}`, "unsigned token": name + "=eyJhbGciOiJub25lIn0.eyJlbWFpbCI6ImFsaWNlQGV4YW1wbGUuY29tIn0.", "of somebody else as well": session + "; " + name + "=x", "twice the name": name + "=x; " + session, "in a cookie's value": "x=\"; " + session[2:],
		} {
			if what == "another wall's cookie" && strings.Contains(session, otherValue) {
				t.Fatal("the walls share a session")
			}
			field := "Cookie: " + cookie
			for _, raw := range append(nobody("GET", "/x", field), nobody("POST", "/x", field, "Content-Length: 0")...) {
				a, reached := r.as("nobody").send1(t, raw)
				if a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusFound || len(reached) != 0 {
					t.Errorf("%s: status %d, %d requests at the upstream", what, a.StatusCode, len(reached))
				}
			}
			if a, _ := r.send1(t, nobody("GET", "/_auth/me", field)[1]); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: /_auth/me answers %d", what, a.StatusCode)
			}
		}
	})

	t.Run("BYP-041 paths pass byte for byte", func(t *testing.T) {
		for _, path := range []string{"/a//b", "/a/./b", "/a/../b", "/a/%2F/b", "/a%2fb", "/%E4", "/%e4%f6", "/x;p=1", "/x;p=1/y;q", "/a%20b", "/a+b", "/a%00b", "//", "//a/b", "///", "/.", "/..", "/a/", "/a/.", "/a\"b", "/a<b>", "/a|b", "/a^b`", "/a{b}", "/a[b]", "/a\\b", "/\u00e4", "/\xff", "/a:b@c!$&'()*,=~", "/" + strings.Repeat("a", 8000)} {
			for name, r := range walls {
				a, reached := r.as("alice").send1(t, strings.Replace(with(), " /x ", " "+path+" ", 1))
				if a.StatusCode != http.StatusOK || len(reached) != 1 || !strings.HasPrefix(reached[0].raw, "GET "+path+" HTTP/1.1\r\n") {
					t.Errorf("%.60q %s: status %d, at the upstream %.80v", path, name, a.StatusCode, reached)
				}
			}
		}
	})

	t.Run("BYP-041 but for what is no target", func(t *testing.T) {
		for _, path := range []string{"/%", "/%zz", "/a%2", "/a%", "/%u0061", "/a\x00", "/a\x7f", "/a\x01b", "/a b"} {
			for name, r := range walls {
				if a, reached := r.as("alice").send1(t, strings.Replace(with(), " /x ", " "+path+" ", 1)); a.StatusCode != http.StatusBadRequest || len(reached) != 0 {
					t.Errorf("%q %s: status %d, %d requests at the upstream", path, name, a.StatusCode, len(reached))
				}
			}
		}
	})

	t.Run("BYP-042 queries pass byte for byte", func(t *testing.T) {
		for _, query := range []string{"?", "??", "?a=1;b=2", "?x=%zz", "?%", "?a=b?c=d", "?a&b&&c=", "?a=%00&b=%ff", "?a=\u00e4", "?a=\xff", "?a=\"<>|\\^`{}", "?a=/../%2e%2e", "?x=1&x=2", "?a[]=1&a[]=2", "?x=1%20+2", "?;", "?to=//evil.test", "?" + strings.Repeat("a&", 10000)} {
			for name, r := range walls {
				a, reached := r.as("alice").send1(t, strings.Replace(with(), " /x ", " /x"+query+" ", 1))
				if a.StatusCode != http.StatusOK || len(reached) != 1 || !strings.HasPrefix(reached[0].raw, "GET /x"+query+" HTTP/1.1\r\n") {
					t.Errorf("%.60q %s: status %d, at the upstream %.80v", query, name, a.StatusCode, reached)
				}
				r.as("nobody").stopped(t, nobody("GET", "/x"+query))
			}
		}
		if a, reached := r.as("alice").send1(t, strings.Replace(with(), " /x ", " /x?"+strings.Repeat("a&", 20000)+" ", 1)); a.StatusCode != http.StatusRequestHeaderFieldsTooLarge || len(reached) != 0 {
			t.Errorf("20,000 parameters, 40 KB: status %d, %d requests at the upstream", a.StatusCode, len(reached))
		}
		r.as("nobody")
	})

	t.Run("BYP-044 what is refused is not read on", func(t *testing.T) {
		// The client waits to be told to go on, and is told no instead.
		r.as("nobody")
		answers := r.sendRaw(t, lines("POST /x HTTP/1.1", "Host: {host}", "Accept: */*", "Expect: 100-continue", "Content-Length: 1000000", "", ""), patience)
		if len(answers) != 1 || answers[0].StatusCode != http.StatusUnauthorized {
			t.Fatalf("%d answers, the first %v", len(answers), answers)
		}
		// A body is no request, whether it is short, and the connection goes on, or not.
		hidden := lines("GET /hidden HTTP/1.1", "Host: {host}", "", "")
		length := len(r.fill(hidden))
		for _, first := range []string{
			lines("GET /x HTTP/1.1", "Host: {host}", fmt.Sprintf("Content-Length: %d", length), "", hidden),
			lines("POST /x HTTP/1.1", "Host: {host}", "Expect: 100-continue", fmt.Sprintf("Content-Length: %d", length), "", hidden),
			lines("POST /x HTTP/1.1", "Host: {host}", "Transfer-Encoding: chunked", "", fmt.Sprintf("%x", length), hidden, "0", "", ""),
			lines("POST /_auth/me HTTP/1.1", "Host: {host}", fmt.Sprintf("Content-Length: %d", length), "", hidden),
			lines("POST /x HTTP/1.1", "Host: evil.test", fmt.Sprintf("Content-Length: %d", length), "", hidden),
			lines("TRACE /x HTTP/1.1", "Host: {host}", fmt.Sprintf("Content-Length: %d", length), "", hidden),
		} {
			before := r.upstream.count()
			answers := r.sendRaw(t, first+lines("GET /public/next HTTP/1.1", "Host: {host}", "Connection: close", "", ""), patience)
			reached := r.upstream.since(before)
			if len(answers) > 2 || len(answers) == 2 && (len(reached) != 1 || !strings.HasPrefix(reached[0].raw, "GET /public/next ")) || len(answers) == 1 && len(reached) != 0 {
				t.Errorf("%.60q: %d answers, at the upstream %v", first, len(answers), reached)
			}
		}
	})

	t.Run("BYP-047 versions of the protocol", func(t *testing.T) {
		for version, status := range map[string]int{"": 400, "HTTP/0.9": 505, "HTTP/1.0": 302, "HTTP/1.2": 302, "HTTP/1.9": 302, "HTTP/2.0": 505, "HTTP/3.0": 505, "HTTP/1.1x": 400, "http/1.1": 400, "HTTP/1.10": 400, "HTTP/01.1": 400, "HTTP/1": 400, "XTTP/1.1": 400} {
			raw := lines("GET /x "+version, "Host: {host}", "Connection: close", "", "")
			if a, reached := r.as("nobody").send1(t, raw); a.StatusCode != status && a.StatusCode != http.StatusBadRequest || len(reached) != 0 {
				t.Errorf("%q: status %d, %d requests at the upstream", version, a.StatusCode, len(reached))
			}
		}
		// One connection, kept alive in HTTP/1.0's way, with and without a session.
		r.as("alice")
		before := r.upstream.count()
		answers := r.sendRaw(t, lines("GET /one HTTP/1.0", "Host: {host}", "Cookie: {cookie}", "Connection: keep-alive", "", "GET /two HTTP/1.0", "Host: {host}", "Connection: keep-alive", "", "GET /three HTTP/1.0", "Host: {host}", "Cookie: {cookie}", "", ""), patience)
		if reached := r.upstream.since(before); len(answers) != 3 || len(reached) != 2 || answers[1].StatusCode != http.StatusFound || strings.Contains(reached[1].raw, "/two") {
			t.Errorf("%d answers, at the upstream %v", len(answers), reached)
		}
		r.as("nobody")
	})

	t.Run("BYP-048 who is denied is denied everything", func(t *testing.T) {
		if a := r.as("mallory").tryLogin(t, "mallory@evil.test", "/"); a.StatusCode != http.StatusForbidden || r.cookies().session() != "" {
			t.Fatalf("status %d, session %q", a.StatusCode, r.cookies().session())
		}
		r.as("bob")
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "get", "FOO"} {
			for _, path := range []string{"/admin/", "/admin/x/y?z", "/closed/", "/public/admin/x"} {
				a, reached := r.send1(t, strings.Replace(with(), "GET /x", method+" "+path, 1))
				if a.StatusCode != http.StatusForbidden || len(reached) != 0 || a.Header["Set-Cookie"] != nil || a.Header["Location"] != nil {
					t.Errorf("%s %s: status %d, %d requests at the upstream, header %v", method, path, a.StatusCode, len(reached), a.Header)
				}
			}
		}
		upgrade := with("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: https://app.test")
		upgrade = strings.NewReplacer("Connection: close", "Connection: Upgrade, close", "GET /x", "GET /admin/ws").Replace(upgrade)
		if answers := r.sendRaw(t, upgrade, patience); len(answers) != 1 || answers[0].StatusCode != http.StatusForbidden {
			t.Errorf("a WebSocket: %v", answers)
		}
	})
}

// An error on the way is a refusal, never a way in.
func TestAttackFaults(t *testing.T) {
	t.Parallel()
	r := startWall(t, "", routed+"\nsession: {max_feed_age: 15s}\n")
	r.as("alice").signIn(t, "alice@example.com", "/")

	t.Run("BYP-043 the revocations cannot be read", func(t *testing.T) {
		db := openStore(t, r.folder)
		_, err := db.ExecContext(t.Context(), "ALTER TABLE revocations RENAME TO elsewhere")
		check(t, err)
		// Whether somebody with a session may pass is unknown now; nor is it said that
		// they should sign in. It needs no session to read what is public.
		poll(t, "the wall goes on", func() bool { return r.ask(t, http.MethodGet, "-nav", "/x").StatusCode == http.StatusServiceUnavailable })
		before := r.upstream.count()
		for _, who := range []string{"alice", "nobody"} {
			r.as(who)
			for path, status := range map[string]int{"/x": 503, "/admin/x": 503, "/_auth/me": 503, "/_auth/": 503, "/closed/": 403} {
				for _, kind := range []string{"-nav", "-xhr"} {
					if a := r.ask(t, http.MethodGet, kind, path); a.StatusCode != status {
						t.Errorf("%s as %s: status %d, not %d", path, who, a.StatusCode, status)
					}
				}
			}
		}
		if n := r.upstream.count() - before; n != 0 {
			t.Errorf("%d requests at the upstream", n)
		}
		if a := r.ask(t, http.MethodGet, "-nav", "/public/x"); a.StatusCode != http.StatusOK {
			t.Errorf("a public path: status %d", a.StatusCode)
		}
		_, err = db.ExecContext(t.Context(), "ALTER TABLE elsewhere RENAME TO revocations")
		check(t, err)
		r.as("alice")
		poll(t, "the wall stays shut", func() bool { return r.ask(t, http.MethodGet, "-nav", "/x").StatusCode == http.StatusOK })
	})

	t.Run("BYP-043 the upstream fails", func(t *testing.T) {
		for _, reply := range []string{"", "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 999999 X\r\n\r\n", "\r\n\r\n"} {
			r.upstream.answer(reply)
			if a := r.ask(t, http.MethodGet, "-nav", "/x"); a.StatusCode != http.StatusBadGateway || a.Header.Get("X-Loginwall") != "error" {
				t.Errorf("an upstream that answers %q: status %d", reply, a.StatusCode)
			}
		}
		r.upstream.answer(defaultAnswer)
		if a := r.ask(t, http.MethodGet, "-nav", "/x"); a.StatusCode != http.StatusOK {
			t.Errorf("then: status %d", a.StatusCode)
		}
	})
}
