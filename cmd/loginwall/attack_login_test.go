package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/devidp"
)

// The way from a login's begin to its callback, against the real binary: what a
// browser brings back must be what it was sent out with.
func TestAttackCallback(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publicURL = "https://app.test"
	wall := r.serveReady(t, r.write(t, trusting))
	// callback asks as the current browser, from an address of its own.
	address := 0
	callback := func(t *testing.T, target string) *answer {
		t.Helper()
		address++
		return r.ask(t, http.MethodGet, "-nav", target, fmt.Sprintf("X-Forwarded-For:192.0.2.%d", address))
	}
	// refused wants 400, no request to the provider, and the browser as it was.
	refused := func(t *testing.T, what, target string) {
		t.Helper()
		asked, held := r.idp.Requests("token"), r.cookies().String()
		a := callback(t, target)
		if a.StatusCode != http.StatusBadRequest || a.Header.Get("X-Loginwall") != "error" {
			t.Errorf("%s: %s, X-Loginwall %q", what, a.Status, a.Header.Get("X-Loginwall"))
		}
		if n := r.idp.Requests("token") - asked; n != 0 {
			t.Errorf("%s: %d token requests", what, n)
		}
		if a.Header["Set-Cookie"] != nil || len(r.cookies().String()) != len(held) {
			t.Errorf("%s: the browser's cookies changed: %q", what, a.Header["Set-Cookie"])
		}
	}
	replaced := func(target, name, value string) string {
		path, query, _ := strings.Cut(target, "?")
		q, err := url.ParseQuery(query)
		check(t, err)
		if value == "" {
			q.Del(name)
		} else {
			q.Set(name, value)
		}
		return path + "?" + q.Encode()
	}
	parameter := func(target, name string) string {
		_, query, _ := strings.Cut(target, "?")
		q, err := url.ParseQuery(query)
		check(t, err)
		return q.Get(name)
	}

	t.Run("STA-105 without an attempt", func(t *testing.T) {
		r.as("begins elsewhere")
		target := r.consent(t, r.begin(t, "/x"), "alice@example.com")
		r.as("nobody")
		refused(t, "somebody else's", target)
		refused(t, "invented", "/_auth/callback?code=x&state="+strings.Repeat("A", 43))
		refused(t, "empty", "/_auth/callback")
	})

	t.Run("STA-106 somebody else's code and state", func(t *testing.T) {
		r.as("alice").signIn(t, "alice@example.com", "/")
		session := r.cookies().session()
		r.as("mallory")
		target := r.consent(t, r.begin(t, "/x"), "bob@example.com")
		r.as("alice")
		refused(t, "login CSRF", target)
		r.begin(t, "/_auth/login?switch=1") // an attempt of her own makes no difference
		refused(t, "login CSRF beside an attempt", target)
		if r.cookies().session() != session || r.signedIn(t) != "alice@example.com" {
			t.Errorf("alice is %q", r.signedIn(t))
		}
	})

	t.Run("STA-107 a state that is not the attempt's", func(t *testing.T) {
		r.as("other")
		other := parameter(r.consent(t, r.begin(t, "/x"), "bob@example.com"), "state")
		r.as("first")
		target := r.consent(t, r.begin(t, "/x"), "alice@example.com")
		state := parameter(target, "state")
		flipped := []byte(state)
		for _, i := range []int{0, 7, 8, 20, len(state) - 2} {
			flipped[i] ^= 1
			refused(t, fmt.Sprint("flipped at ", i), replaced(target, "state", string(flipped)))
			flipped[i] ^= 1
		}
		for what, wrong := range map[string]string{
			"missing": "", "cut": state[:42], "short": state[:8], "extended": state + "A", "another attempt's": other,
			"upper case": strings.ToUpper(state), "padded": state + "=", "with a blank": state + " ", "with NUL": state + "\x00",
		} {
			refused(t, what, replaced(target, "state", wrong))
		}
		refused(t, "empty", strings.Replace(target, "state="+url.QueryEscape(state), "state=", 1))
		// All that has used nothing up.
		if a := callback(t, target); a.StatusCode != http.StatusSeeOther || r.signedIn(t) != "alice@example.com" {
			t.Errorf("the right one, then: %s", a.Status)
		}
	})

	t.Run("STA-110 five tabs", func(t *testing.T) {
		r.as("tabs")
		var targets []string
		for i := range 5 {
			targets = append(targets, r.consent(t, r.begin(t, fmt.Sprintf("/tab/%d?of=5", i)), "alice@example.com"))
		}
		for _, i := range rand.Perm(5) {
			if a := callback(t, targets[i]); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != fmt.Sprintf("https://app.test/tab/%d?of=5", i) {
				t.Errorf("tab %d: %s, Location %q", i, a.Status, a.Header.Get("Location"))
			}
		}
		if n := r.cookies().attempts(); n != 0 {
			t.Errorf("%d attempts are left", n)
		}
	})

	t.Run("STA-115 parameters that contradict each other", func(t *testing.T) {
		r.as("doubled")
		target := r.consent(t, r.begin(t, "/x"), "alice@example.com")
		state, code := parameter(target, "state"), url.QueryEscape(parameter(target, "code"))
		for what, suffix := range map[string]string{
			"two codes": "&code=x", "the same code twice": "&code=" + code, "two states": "&state=x", "the same state twice": "&state=" + state,
			"code and error": "&error=access_denied", "two issuers": "&iss=x", "an escaped name": "&%63ode=x", "a semicolon": ";code=x", "bad escape": "&x=%zz",
		} {
			refused(t, what, target+suffix)
		}
		refused(t, "no code", replaced(target, "code", ""))
		refused(t, "an endless code", replaced(target, "code", strings.Repeat("x", 4096)))
		if a := callback(t, target); a.StatusCode != http.StatusSeeOther {
			t.Errorf("the right one, then: %s", a.Status)
		}
	})

	t.Run("STA-116 what the provider says is told in our words", func(t *testing.T) {
		const phish = `<a href="https://evil.test">Your account is locked, call 0900-EVIL</a>`
		for _, code := range []string{"access_denied", "org_internal", "server_error", "evil_" + strings.Repeat("e", 500), "<script>alert(1)</script>"} {
			r.as("told " + code[:8])
			provider := r.begin(t, "/x")
			u, err := url.Parse(provider)
			check(t, err)
			asked := r.idp.Requests("token")
			a := callback(t, "/_auth/callback?"+url.Values{
				"error": {code}, "error_description": {phish}, "error_uri": {"https://evil.test/help"}, "state": {u.Query().Get("state")},
			}.Encode())
			if a.StatusCode < 400 || a.Header.Get("X-Loginwall") != "error" || r.idp.Requests("token") != asked {
				t.Errorf("%.20s: %s", code, a.Status)
			}
			for _, foreign := range []string{"evil", "0900", "<script", "locked"} {
				if strings.Contains(strings.ToLower(string(a.body)), foreign) {
					t.Errorf("%.20s: the page says %q:\n%s", code, foreign, a.body)
				}
			}
			if r.cookies().attempts() != 0 {
				t.Errorf("%.20s: the attempt is still there", code)
			}
		}
		if strings.Contains(wall.log.String(), "0900") || strings.Contains(wall.log.String(), "eeeee") {
			t.Error("the provider's words stand in the log")
		}
	})

	t.Run("STA-117 a bad state clears nothing", func(t *testing.T) {
		r.as("carries on").signIn(t, "alice@example.com", "/")
		target := r.consent(t, r.begin(t, "/_auth/login?to=/later&switch=1"), "bob@example.com")
		refused(t, "error with a bad state", "/_auth/callback?error=access_denied&state="+strings.Repeat("B", 43))
		refused(t, "junk", "/_auth/callback?%00=%ff&state=&code")
		refused(t, "junk behind a cookie of nobody's", "/_auth/callback?code=1&state=AAAAAAAA")
		if r.signedIn(t) != "alice@example.com" {
			t.Error("the session is gone")
		}
		if a := callback(t, target); a.StatusCode != http.StatusSeeOther || !strings.HasSuffix(a.Header.Get("Location"), "/later") {
			t.Errorf("the attempt is gone: %s", a.Status)
		}
	})

	t.Run("STA-118 a code put into another's attempt", func(t *testing.T) {
		for _, lax := range []bool{false, true} { // whether the provider checks the verifier or not
			r.idp.Misbehave(devidp.Fault{NoPKCE: lax})
			r.as("mallory")
			injected := parameter(r.consent(t, r.begin(t, "/x"), "mallory@evil.test"), "code")
			stolen := parameter(r.consent(t, r.begin(t, "/x"), "bob@example.com"), "code")
			for _, code := range []string{injected, stolen} {
				r.as(fmt.Sprint("victim of ", code))
				target := r.consent(t, r.begin(t, "/x"), "alice@example.com")
				a := callback(t, replaced(target, "code", code))
				if a.StatusCode != http.StatusBadGateway || r.cookies().session() != "" {
					t.Errorf("PKCE off %v: %s", lax, a.Status)
				}
			}
		}
		r.idp.Misbehave(devidp.Fault{})
	})

	t.Run("STA-119 the callback's answer", func(t *testing.T) {
		r.as("looks")
		target := r.consent(t, r.begin(t, "/x"), "alice@example.com")
		a := callback(t, target)
		if a.StatusCode != http.StatusSeeOther || a.Header.Get("Referrer-Policy") != "no-referrer" || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %v", a.Status, a.Header)
		}
		if strings.Contains(fmt.Sprint(a.Header)+string(a.body), parameter(target, "code")) {
			t.Error("the code is passed on")
		}
	})

	t.Run("STA-120, TOK-092 other methods use nothing up", func(t *testing.T) {
		r.as("previewed")
		target := r.consent(t, r.begin(t, "/x"), "alice@example.com")
		for _, method := range []string{"HEAD", "POST", "PUT", "OPTIONS", "PROPFIND"} {
			asked := r.idp.Requests("token")
			if a := r.ask(t, method, "-nav", target); a.StatusCode != http.StatusMethodNotAllowed || a.Header["Set-Cookie"] != nil || r.idp.Requests("token") != asked {
				t.Errorf("%s: %s, Set-Cookie %q", method, a.Status, a.Header["Set-Cookie"])
			}
		}
		// A preview bot follows links without cookies.
		r.as("bot")
		refused(t, "bot", target)
		r.as("previewed")
		if a := callback(t, target); a.StatusCode != http.StatusSeeOther {
			t.Errorf("and then GET: %s", a.Status)
		}
	})

	t.Run("STA-121 Back onto an old callback", func(t *testing.T) {
		r.as("back")
		target := r.consent(t, r.begin(t, "/deep"), "alice@example.com")
		held := r.cookies().String() // as a browser that restores what it had
		callback(t, target)
		session, asked := r.cookies().session(), r.idp.Requests("token")
		for _, cookies := range []string{session, held + "; " + session} {
			a := r.ask(t, http.MethodGet, "-nav", target, "Cookie:"+cookies)
			if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "https://app.test/" || a.Header["Set-Cookie"] != nil || r.idp.Requests("token") != asked {
				t.Errorf("%s, Location %q, Set-Cookie %q", a.Status, a.Header.Get("Location"), a.Header["Set-Cookie"])
			}
		}
		if r.signedIn(t) != "alice@example.com" {
			t.Error("the session is gone")
		}
		// A stranger who found the address in a history is told that it is over.
		r.as("stranger")
		refused(t, "stranger", target)
	})

	t.Run("STA-122, SES-140 another account", func(t *testing.T) {
		r.as("switches").signIn(t, "alice@example.com", "/")
		before := r.cookies().session()
		address := r.begin(t, "/_auth/login?switch=1&to=/y")
		if !strings.Contains(address, "prompt=select_account") {
			t.Errorf("no account is asked for: %s", address)
		}
		if strings.Contains(r.begin(t, "/_auth/login?to=/y"), "prompt=") {
			t.Error("an account is asked for where nobody wants to switch")
		}
		a := callback(t, r.consent(t, address, "mallory@evil.test"))
		if a.StatusCode != http.StatusForbidden || !strings.Contains(string(a.body), "/_auth/login?") || !strings.Contains(string(a.body), "switch=1") {
			t.Errorf("%s, without a way to switch:\n%s", a.Status, a.body)
		}
		if a := r.as("old tab").ask(t, http.MethodGet, "-xhr", "/x", "Cookie:"+before); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("the session before: %s", a.Status)
		}
		a = callback(t, r.consent(t, r.as("switches").begin(t, "/_auth/login?switch=1&to=/y"), "bob@example.com"))
		if a.StatusCode != http.StatusSeeOther || r.signedIn(t) != "bob@example.com" {
			t.Errorf("bob: %s", a.Status)
		}
	})

	t.Run("POL-168 the hint is no check", func(t *testing.T) {
		r.as("ignores")
		address := r.begin(t, "/x")
		if !strings.Contains(address, "hd=example.com") {
			t.Errorf("no hint in %s", address)
		}
		for _, email := range []string{"carol@gmail.com", "mallory@evil.test", "dave@example.com"} {
			r.as("ignores " + email)
			if a := callback(t, r.consent(t, r.begin(t, "/x"), email)); a.StatusCode != http.StatusForbidden || r.cookies().session() != "" {
				t.Errorf("%s: %s", email, a.Status)
			}
		}
	})
	// Whatever was done to them, codes, states and verifiers stand in no log (LOG-236).
	for _, sent := range r.idp.TokenRequests() {
		r.oracle.secrets = append(r.oracle.secrets, sent.Form.Get("code"), sent.Form.Get("code_verifier"))
	}
	if log := wall.log.String(); strings.Contains(log, "code=") || strings.Contains(log, "state=") {
		t.Error("LOG-236: a callback's query stands in the log")
	}
}

// STA-109: an attempt ends at its time, which is sealed in it: this browser keeps
// every cookie for ever.
func TestAttackAttemptLifetime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serveReady(t, r.write(t, basics+"session: {login_timeout: 15s}\n"))
	r.as("slow")
	late := r.consent(t, r.begin(t, "/x"), "alice@example.com")
	held, began := r.cookies().String(), time.Now()
	r.as("fast").signIn(t, "alice@example.com", "/x")
	poll(t, "time stands still", func() bool { return time.Since(began) > 16*time.Second })
	asked := r.idp.Requests("token")
	r.as("slow")
	if a := r.ask(t, http.MethodGet, "-nav", late, "Cookie:"+held); a.StatusCode != http.StatusBadRequest || r.idp.Requests("token") != asked || r.cookies().session() != "" {
		t.Errorf("after 16 seconds of 15: %s", a.Status)
	}
}

// STA-123, DOS-191: thousands of logins begin and none is like another; thousands of
// forged callbacks ask the provider nothing.
func TestAttackManyBegin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serveReady(t, r.write(t, basics+"log: {access: false}\n"))
	client := &http.Client{CheckRedirect: r.client.CheckRedirect, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	get := func(path string) *http.Response {
		request, err := http.NewRequest(http.MethodGet, "http://"+r.address+path, nil)
		check(t, err)
		response, err := client.Do(request)
		check(t, err)
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return response
	}
	const many = 2000
	seen := map[string]bool{}
	for range many {
		response := get("/_auth/login")
		u, err := response.Location()
		check(t, err)
		for _, value := range append([]string{u.Query().Get("state"), u.Query().Get("nonce"), u.Query().Get("code_challenge")}, cookieValues(response)...) {
			if len(value) < 43 || seen[value] {
				t.Fatalf("%q is short, or came before", value)
			}
			seen[value] = true
		}
	}
	if len(seen) != 4*many {
		t.Errorf("%d values in %d logins", len(seen), many)
	}
	for i := range many {
		if status := get(fmt.Sprintf("/_auth/callback?code=%d&state=%043d", i, i)).StatusCode; status != http.StatusBadRequest {
			t.Fatalf("a forged callback: %d", status)
		}
	}
	if n := r.idp.Requests("token"); n != 0 {
		t.Errorf("%d token requests", n)
	}
	client.CloseIdleConnections()
}

func cookieValues(response *http.Response) []string {
	var values []string
	for _, c := range response.Cookies() {
		values = append(values, c.Value)
	}
	return slices.Compact(values)
}
