package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth/devidp"
)

// A lure is a return target that some browser or parser reads as another site.
type lure struct{ id, text string }

// lures are the classes of SECURITY-CASES.md, section 5.
func lures() []lure {
	const evil = "evil.test"
	return []lure{
		{"R01", "//" + evil},
		{"R02", "///" + evil},
		{"R03", "////" + evil},
		{"R04", "/\\" + evil},
		{"R05", "\\/" + evil},
		{"R06", "\\\\" + evil},
		{"R07", "/\\/" + evil},
		{"R08", "/\t/" + evil},
		{"R09", "/\n/" + evil},
		{"R10", "/\r/" + evil},
		{"R11", "/ /" + evil},
		{"R12", "/\v/" + evil},
		{"R13", " //" + evil},
		{"R14", "\x00//" + evil},
		{"R15", "/./\\" + evil},
		{"R16", "/..//" + evil},
		{"R17", "/foo/..//" + evil},
		{"R18", "//" + evil + "/%2f.."},
		{"R19", "//" + evil + "/%2e%2e%2f"},
		{"R20", "http://" + evil},
		{"R21", "https:" + evil},
		{"R22", "https:/" + evil},
		{"R23", "https:///" + evil},
		{"R24", "HTTPS://" + evil},
		{"R25", "https://app.test@" + evil},
		{"R26", "https://app.test:80@" + evil},
		{"R27", "https://" + evil + "#@app.test"},
		{"R28", "https://" + evil + "?@app.test"},
		{"R29", "https://" + evil + "\\@app.test"},
		{"R30", "https://app.test." + evil},
		{"R31", "https://evilapp.test"},
		{"R32", "https://app.test%00." + evil},
		{"R33", "https://app.test%2e" + evil},
		{"R34", "//%5c" + evil},
		{"R35", "/%5c" + evil},
		{"R36", "//[::ffff:1.2.3.4]"},
		{"R36", "//0x7f000001"},
		{"R37", "//evil\u3002test"},
		{"R37", "\uff0f\uff0f" + evil},
		{"R37", "//\uff45vil.test"},
		{"R38", "javascript:alert(1)"},
		{"R38", "java\rscript:alert(1)"},
		{"R38", "/javascript:alert(1)//\nx"},
		{"R39", "data:text/html,<script>alert(1)</script>"},
		{"R40", "/x&to=//" + evil},
		{"R40", "//" + evil + "&to=/x"},
		{"R40", "/x\r\nSet-Cookie: a=b"},
		{"R40", "/x\r\n\r\n<script>"},
		// Neighbours: the origin itself is no path; nor is what leads back into the wall.
		{"R20", "https://app.test/x"},
		{"R20", "https://app.test"},
		{"R21", "https:app.test/x"},
		{"R01", "//app.test/x"},
		{"R20", "ftp://" + evil},
		{"R20", "://" + evil},
		{"R20", ":" + evil},
		{"R20", evil},
		{"R20", "@" + evil},
		{"R20", "?//" + evil},
		{"R20", "#//" + evil},
		{"R20", ""},
		{"R16", "/../" + evil},
		{"R16", "/.//" + evil},
		{"R16", "/%2e//" + evil},
		{"R17", "/foo/%2e%2e//" + evil},
		{"R35", "/%2f" + evil},
		{"R35", "/%2f%2f" + evil},
		{"R35", "/%09/" + evil},
		{"R35", "%2f%2f" + evil},
		{"R04", "/\u2215" + evil},
		{"R12", "/\u0085/" + evil},
		{"R12", "/\u2028/" + evil},
		{"R14", "/\x00/" + evil},
		{"R14", "/\xff/" + evil},
		{"R13", "\ufeff//" + evil},
		{"R13", "\u00a0//" + evil},
	}
}

// kept are those that are a path on our origin after all, once decoded; a browser
// that asks for it asks us.
func kept(target string) string {
	switch target {
	case "/ /evil.test":
		return "/%20/evil.test"
	case "/\u2215evil.test":
		return "/%E2%88%95evil.test"
	case "/%09/evil.test", "/x&to=//evil.test":
		return target
	}
	return "/"
}

// Wherever somebody wants the browser to be led after a login or a sign-out, it
// stays on the one origin that is configured. The oracle reads every Location and
// every link.
func TestAttackRedirects(t *testing.T) {
	t.Parallel()
	r := startWall(t, "https://app.test", basics)
	r.as("alice").signIn(t, "alice@example.com", "/")

	// lands begins a login with a raw query, and says where it ends.
	lands := func(t *testing.T, query string) string {
		t.Helper()
		a, _ := r.send1(t, strings.Replace(with(), " /x ", " /_auth/login?"+query+" ", 1))
		if a.StatusCode == http.StatusBadRequest || a.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
			return "" // no request at all
		}
		if a.StatusCode != http.StatusFound {
			t.Fatalf("%q: status %d", query, a.StatusCode)
		}
		r.cookies().take(a.Response)
		r.goOn(t, "alice@example.com")
		if a := r.goOn(t, ""); a.StatusCode != http.StatusSeeOther {
			t.Fatalf("%q: the callback answers %d\n%s", query, a.StatusCode, a.body)
		}
		return strings.TrimPrefix(r.last.Header.Get("Location"), r.publicURL)
	}

	if got := lands(t, "to="+url.QueryEscape("/deep/link?a=1;b=2&c=%2F#x")); got != "/deep/link?a=1;b=2&c=%2F" {
		t.Fatalf("an honest target becomes %q", got)
	}

	t.Run("RED-058 the return target", func(t *testing.T) {
		for _, lure := range lures() {
			once := url.QueryEscape(lure.text)
			want := kept(lure.text)
			if got := lands(t, "to="+once); got != want {
				t.Errorf("%s %q, encoded: lands on %q, not %q", lure.id, lure.text, got, want)
			}
			// Raw, it is cut where the query says so, or is no request; encoded twice it is a
			// path only where it still begins with a slash then. The oracle looks where.
			if got := lands(t, "to="+lure.text); got != "" && strings.Contains(got, "//") {
				t.Errorf("%s %q, raw: lands on %q", lure.id, lure.text, got)
			}
			if got := lands(t, "to="+url.QueryEscape(once)); got != "/" {
				t.Errorf("%s %q, encoded twice: lands on %q", lure.id, lure.text, got)
			}
		}
	})

	t.Run("RED-058 other parameters lead nowhere", func(t *testing.T) {
		for _, lure := range lures() {
			once := url.QueryEscape(lure.text)
			query := "x=y"
			for _, name := range []string{"rd", "redirect", "redirect_uri", "return_to", "returnTo", "next", "url", "continue", "TO", "to[]", "to%00", "state", "issuer", "iss"} {
				query += "&" + name + "=" + once
			}
			if got := lands(t, query); got != "/" {
				t.Errorf("%s %q: lands on %q", lure.id, lure.text, got)
			}
		}
		for _, query := range []string{"to=/a&to=/b", "to=/a&to=//evil.test", "to[]=/a", "to=/a;to=//evil.test", "to=%zz", "to=/a&x=%zz", "to", "=to", "to=/a&" + strings.Repeat("x&", 8000)} {
			if got := lands(t, query); got != "/" && got != "/a" {
				t.Errorf("%.40q: lands on %q", query, got)
			}
		}
	})

	t.Run("RED-058 the path that was asked for", func(t *testing.T) {
		// Who asks for a page is led back to it; here the target is the request's own.
		for _, lure := range lures() {
			if !strings.HasPrefix(lure.text, "/") && !strings.Contains(lure.text, "://") || strings.ContainsAny(lure.text, "\r\n &") {
				continue
			}
			a, _ := r.as("nobody").send1(t, nobody("GET", lure.text)[0])
			if a.StatusCode == http.StatusBadRequest || a.StatusCode == http.StatusMisdirectedRequest {
				continue
			}
			r.cookies().take(a.Response)
			r.goOn(t, "alice@example.com")
			if got := strings.TrimPrefix(r.goOn(t, "").Header.Get("Location"), r.publicURL); !strings.HasPrefix(got, "/") || strings.Contains(got, "//") {
				t.Errorf("%s %q: lands on %q", lure.id, lure.text, got)
			}
			delete(r.jars, "nobody")
		}
		r.as("alice")
	})

	t.Run("RED-059 sign-out", func(t *testing.T) {
		for _, lure := range lures() {
			once := url.QueryEscape(lure.text)
			query := "?to=" + once + "&rd=" + once + "&next=" + once + "&redirect=" + once + "&post_logout_redirect_uri=" + once
			// The page links nowhere else; that the oracle reads in it.
			if a := r.ask(t, http.MethodGet, "-nav", "/_auth/logout"+query); a.StatusCode != http.StatusOK || strings.Contains(string(a.body), "evil") {
				t.Errorf("%s %q: status %d\n%s", lure.id, lure.text, a.StatusCode, a.body)
			}
			a := r.ask(t, http.MethodPost, "-nav", "/_auth/logout"+query, "Origin:https://app.test", "Content-Type:application/x-www-form-urlencoded", strings.ReplaceAll(query[1:], ":", "%3A"))
			if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "https://app.test/_auth/signed-out" {
				t.Errorf("%s %q: status %d, Location %q", lure.id, lure.text, a.StatusCode, a.Header.Get("Location"))
			}
		}
		if a := r.ask(t, http.MethodGet, "-nav", "/_auth/signed-out?to=//evil.test"); strings.Contains(string(a.body), "evil") {
			t.Errorf("%s", a.body)
		}
	})

	t.Run("RED-062 what is sealed is whole", func(t *testing.T) {
		begin := func() (name, value, back string) {
			delete(r.jars, "victim")
			r.as("victim").ask(t, http.MethodGet, "-nav", "/_auth/login?to=/here")
			for name, value = range r.cookies() {
			}
			back, _ = strings.CutPrefix(r.goOn(t, "alice@example.com").Header.Get("Location"), r.publicURL)
			return name, value, back
		}
		_, other, _ := begin()
		for what, alter := range map[string]func(name, value, back string) (string, string, string){
			"a return path behind the state": func(n, v, b string) (string, string, string) {
				return n, v, strings.Replace(b, "state=", "state=https%3A%2F%2Fevil.test%3A", 1)
			},
			"a return path appended to the state": func(n, v, b string) (string, string, string) {
				state := query(b, "state")
				return n, v, strings.Replace(b, state, state+"%3A%2F%2Fevil.test", 1)
			},
			"another state": func(n, v, b string) (string, string, string) {
				return n, v, strings.Replace(b, query(b, "state"), "x"+query(b, "state")[1:], 1)
			},
			"two states":               func(n, v, b string) (string, string, string) { return n, v, b + "&state=" + query(b, "state") },
			"a target in the callback": nil, // no error, and no effect
			"the cookie's first byte":  func(n, v, b string) (string, string, string) { return n, flip(v, 0), b },
			"the cookie's middle":      func(n, v, b string) (string, string, string) { return n, flip(v, len(v)/2), b },
			"the cookie's end":         func(n, v, b string) (string, string, string) { return n, flip(v, len(v)-2), b },
			"half of the cookie":       func(n, v, b string) (string, string, string) { return n, v[:len(v)/2], b },
			"another attempt's cookie": func(n, _, b string) (string, string, string) { return n, other, b },
			"another name":             func(n, v, b string) (string, string, string) { return n[:len(n)-1] + "_", v, b },
			"a path as the cookie":     func(n, _, b string) (string, string, string) { return n, "//evil.test", b },
			"no cookie":                func(_, _, b string) (string, string, string) { return "x", "y", b },
		} {
			name, value, back := begin()
			if alter == nil {
				a := r.ask(t, http.MethodGet, "-nav", back+"&to=//evil.test&rd=https%3A%2F%2Fevil.test&redirect_uri=https%3A%2F%2Fevil.test")
				if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "https://app.test/here" {
					t.Errorf("%s: status %d, Location %q", what, a.StatusCode, a.Header.Get("Location"))
				}
				continue
			}
			tokens := r.idp.Requests("token")
			name, value, back = alter(name, value, back)
			r.jars["victim"] = jar{name: value}
			a := r.ask(t, http.MethodGet, "-nav", back)
			if a.StatusCode != http.StatusBadRequest || a.Header["Location"] != nil || r.cookies().session() != "" {
				t.Errorf("%s: status %d, Location %q", what, a.StatusCode, a.Header["Location"])
			}
			if n := r.idp.Requests("token") - tokens; n != 0 {
				t.Errorf("%s: the provider was asked %d times", what, n)
			}
		}
		r.as("alice")
	})

	t.Run("RED-064 targets that are too long, or no text", func(t *testing.T) {
		for what, query := range map[string]string{
			"8 KB": "to=/" + strings.Repeat("a", 8<<10), "8 KB that grow": "to=/" + strings.Repeat("%22", 2700), "2 KB of a query": "to=/x%3f" + strings.Repeat("a", 2<<10), "64 KB": "to=/" + strings.Repeat("a", 64<<10),
			"CR LF": "to=/a%0d%0aSet-Cookie:%20a=b", "LF": "to=/a%0aX:y", "CR": "to=/a%0dX:y", "NUL": "to=/a%00", "ESC": "to=/a%1b[31m", "DEL": "to=/a%7f", "bad UTF-8": "to=/a%ff%fe", "overlong": "to=/%c0%af%c0%afevil.test", "half a surrogate": "to=/%ed%a0%80", "a surrogate pair": "to=/%ed%a0%bd%ed%b8%80", "cut short": "to=/%e2%82", "NEL": "to=/%c2%85", "line separator": "to=/%e2%80%a8",
		} {
			if got := lands(t, query); got != "/" && (got != "" || what != "64 KB") {
				t.Errorf("%s: lands on %.80q", what, got)
			}
			for name, value := range r.cookies() {
				if len(name)+len(value) >= 4096 {
					t.Errorf("%s: a cookie of %d bytes", what, len(value))
				}
			}
		}
		// As long as it may be, and kept.
		long := "/" + strings.Repeat("a", 1700)
		if got := lands(t, "to="+long); got != long {
			t.Errorf("1,700 bytes land on %.80q", got)
		}
	})

	t.Run("RED-065 schemes that run", func(t *testing.T) {
		for _, scheme := range []string{"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:msgbox(1)", "blob:https://app.test/x", "file:///etc/passwd", "//evil.test/x.png", "https://evil.test/x.png\" onerror=\"alert(1)", "http://evil.test/x.png", "https://user@evil.test/x.png"} {
			if got := lands(t, "to="+url.QueryEscape(scheme)); got != "/" {
				t.Errorf("%q: lands on %q", scheme, got)
			}
			r.idp.Misbehave(devidp.Fault{Claims: func(claims map[string]any) { claims["picture"] = scheme }})
			r.signIn(t, "alice@example.com", "/")
			r.idp.Misbehave(devidp.Fault{})
			for _, page := range []string{"/_auth/", "/_auth/logout", "/_auth/callback", "/_auth/nothing"} {
				// The oracle reads every href, src and the like.
				if a := r.ask(t, http.MethodGet, "-nav", page); strings.Contains(string(a.body), "alert(1)") || strings.Contains(strings.ToLower(string(a.body)), "http-equiv") {
					t.Errorf("%q in %s:\n%s", scheme, page, a.body)
				}
			}
		}
	})
}

// Nor does what a request says about where it came from.
func TestAttackRedirectsByHeaders(t *testing.T) {
	t.Parallel()
	for _, trusted := range []bool{false, true} {
		t.Run(fmt.Sprintf("RED-061 trusted_proxies %v", trusted), func(t *testing.T) {
			config := basics
			if trusted {
				config += "\ntrusted_proxies: [127.0.0.1]\n"
			}
			r := startWall(t, "https://app.test", config)
			for _, fields := range [][]string{
				{"Host: evil.test"},
				{"X-Forwarded-Host: evil.test"},
				{"X-Forwarded-Host: app.test", "X-Forwarded-Host: evil.test"},
				{"X-Forwarded-Host: app.test, evil.test"},
				{"X-Forwarded-Host: app.test@evil.test"},
				{"X-Forwarded-Host: app.test:443@evil.test"},
				{"X-Forwarded-Proto: http"},
				{"X-Forwarded-Proto: javascript"},
				{"X-Forwarded-Proto: https://evil.test/?"},
				{"X-Forwarded-Scheme: ftp"},
				{"X-Forwarded-Port: 8443"},
				{"X-Forwarded-Ssl: off"},
				{"X-Forwarded-Prefix: //evil.test"},
				{"X-Forwarded-Prefix: /\\evil.test"},
				{"X-Forwarded-Path: //evil.test"},
				{"X-Script-Name: //evil.test"},
				{"X-Forwarded-Uri: //evil.test"},
				{"X-Forwarded-Uri: https://evil.test/"},
				{"X-Original-URL: https://evil.test/"},
				{"X-Original-Uri: //evil.test"},
				{"X-Rewrite-URL: //evil.test"},
				{"Forwarded: host=evil.test;proto=http"},
				{"Forwarded: for=1.2.3.4;host=\"evil.test\""},
				{"Referer: https://evil.test/"},
				{"Origin: https://evil.test"},
				{"X-Host: evil.test"},
				{"X-Forwarded-Server: evil.test"},
				{"X-HTTP-Host-Override: evil.test"},
				{"X-Auth-Request-Redirect: https://evil.test/"},
				{"X-Redirect: //evil.test"},
			} {
				for _, path := range []string{"/x", "/_auth/login?to=/x"} {
					raw := nobody("GET", path, fields...)[0]
					if strings.HasPrefix(fields[0], "Host:") {
						raw = strings.Replace(raw, "Host: {host}\r\n", "", 1)
					}
					delete(r.jars, "")
					a, _ := r.send1(t, raw)
					switch a.StatusCode {
					case http.StatusFound: // and the oracle has read it, redirect_uri too
					case http.StatusMisdirectedRequest, http.StatusBadRequest:
						if !trusted && !strings.HasPrefix(fields[0], "Host:") {
							t.Errorf("%q: status %d for what nobody believes", fields, a.StatusCode)
						}
						continue
					default:
						t.Errorf("%q: status %d", fields, a.StatusCode)
						continue
					}
					r.cookies().take(a.Response)
					r.goOn(t, "alice@example.com")
					if a := r.goOn(t, ""); a.Header.Get("Location") != "https://app.test/x" {
						t.Errorf("%q: lands on %q", fields, a.Header.Get("Location"))
					}
				}
				// What programs are told to open is held to the same.
				raw := nobody("GET", "/x", fields...)[1]
				if !strings.HasPrefix(fields[0], "Host:") {
					if a, _ := r.send1(t, raw); a.StatusCode == http.StatusUnauthorized && !strings.Contains(string(a.body), `"login_url":"https://app.test/_auth/login?to=%2Fx"`) {
						t.Errorf("%q: %s", fields, a.body)
					}
				}
			}
		})
	}
}

func query(target, name string) string {
	u, err := url.Parse(target)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}

// flip changes one character of base64url text for another.
func flip(s string, at int) string {
	b := []byte(s)
	if b[at]++; b[at] == 'z'+1 || b[at] == 'Z'+1 || b[at] == '9'+1 || b[at] == '-'+1 || b[at] == '_'+1 || b[at] == '='+1 {
		b[at] = 'b'
	}
	return string(b)
}
