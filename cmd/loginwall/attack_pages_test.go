package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth/devidp"
)

// What others choose, be it a name, an address, a path or a host, is text on our
// pages, whoever reads them.
func TestAttackPages(t *testing.T) {
	t.Parallel()
	r := startWall(t, "https://app.test", basics)
	payloads := []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `</title><script>alert(1)</script>`, `<svg/onload=alert(1)>`,
		`javascript:alert(1)`, `{{.Email}}{{html "<u>"}}`, `${7*7}<%= 7*7 %>`, "\u202etset.live\u202c<u>", `&lt;script&gt;alert(1)&lt;/script&gt;`, `</script><script>alert(1)`, `<!--<script>`, "\u2028<u>", `<base href=//evil.test>`, `<meta http-equiv=refresh content=0>`, strings.Repeat("<u>", 2000),
	}
	// None of these elements is on any page of ours, and no attribute runs anything.
	inert := func(t *testing.T, where string, a *answer) {
		t.Helper()
		if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
			return
		}
		body := strings.ToLower(string(a.body))
		for _, sign := range []string{"<script", "<img src=x", "<svg/onload", "<base", "<u>", "<meta http-equiv", "<!--<", "' onmouseover='", "<%="} {
			if strings.Contains(body, sign) {
				t.Errorf("%s: the page holds %s:\n%s", where, sign, a.body)
			}
		}
	}
	claim := func(edit func(map[string]any)) { r.idp.Misbehave(devidp.Fault{Claims: edit}) }

	t.Run("CSR-175 names and pictures of somebody who is let in", func(t *testing.T) {
		defer r.idp.Misbehave(devidp.Fault{})
		for _, payload := range payloads {
			claim(func(claims map[string]any) { claims["name"], claims["picture"] = payload, payload })
			if a := r.as("alice").tryLogin(t, "alice@example.com", "/"); a.StatusCode != http.StatusSeeOther {
				inert(t, payload, a) // such a name is refused, or it is shown as text
				continue
			}
			for _, page := range []string{"/_auth/", "/_auth/logout", "/_auth/nothing"} {
				inert(t, page+" of "+payload, r.ask(t, http.MethodGet, "-nav", page))
			}
			a := r.ask(t, http.MethodGet, "-xhr", "/_auth/me")
			if !json.Valid(a.body) || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%.40q: %v %s", payload, a.Header, a.body)
			}
		}
	})

	t.Run("CSR-175 claims of somebody who is not", func(t *testing.T) {
		defer r.idp.Misbehave(devidp.Fault{})
		for _, payload := range payloads {
			for _, name := range []string{"name", "email", "hd", "picture", "given_name"} {
				delete(r.jars, "mallory")
				claim(func(claims map[string]any) {
					if claims[name] = payload; name == "email" {
						claims[name] = payload + "@evil.test"
					}
				})
				a := r.as("mallory").tryLogin(t, "mallory@evil.test", "/")
				inert(t, name+" "+payload, a)
				if a.StatusCode < 400 || r.cookies().session() != "" {
					t.Errorf("%s %.40q: status %d", name, payload, a.StatusCode)
				}
			}
		}
	})

	t.Run("CSR-175 what a request says", func(t *testing.T) {
		for _, payload := range payloads {
			escaped := url.QueryEscape(payload)
			agent := strings.Map(func(c rune) rune { return map[bool]rune{true: c, false: -1}[c < 0x7f] }, payload)
			for _, target := range []string{"/_auth/" + url.PathEscape(payload), "/_auth/callback?error=" + escaped + "&state=x&error_description=" + escaped, "/_auth/callback?code=" + escaped + "&state=" + escaped, "/_auth/logout?x=" + escaped, "/x?" + escaped, "/_auth/static/" + url.PathEscape(payload)} {
				for _, kind := range []string{"-nav", "-frame"} {
					inert(t, target, r.as("nobody").ask(t, http.MethodGet, kind, target, "User-Agent: "+agent, "Referer: "+agent))
				}
			}
			host := strings.NewReplacer("<", "", ">", "", " ", "", `"`, "'").Replace(agent)
			a, _ := r.send1(t, lines("GET / HTTP/1.1", "Host: "+agent, "Accept: text/html", "Connection: close", "", ""))
			inert(t, "Host: "+agent, a)
			a, _ = r.send1(t, lines("GET / HTTP/1.1", "Host: "+host, "Accept: text/html", "Connection: close", "", ""))
			inert(t, "Host: "+host, a)
		}
	})
}
