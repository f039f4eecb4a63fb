package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/devidp"
)

// command runs another subcommand beside a wall and returns what it prints.
func command(t *testing.T, file string, args ...string) string {
	t.Helper()
	out, err := tryCommand(file, args...)
	if err != nil {
		t.Fatalf("loginwall %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func tryCommand(file string, args ...string) (string, error) {
	cmd := exec.Command(wallBinary(), append(args, "--config", file)...) //nolint:gosec // a test's own
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, stderr.String())
	}
	return out.String(), nil
}

// with sends a request with exactly these cookies, whatever the browser holds.
func (r *rig) withCookies(t *testing.T, cookies string) *answer {
	t.Helper()
	return r.as("by hand").ask(t, http.MethodGet, "-xhr", "/x", "Cookie:"+cookies)
}

const sameAttributes = `; Path=/; Max-Age=\d+; HttpOnly; SameSite=Lax(; Expires=[^;\n]*)?; Secure$`

var (
	deletesSession = regexp.MustCompile(`^__Host-loginwall=` + strings.Replace(sameAttributes, `\d+`, "0", 1))
	setsOurs       = regexp.MustCompile(`^__Host-loginwall(-a-[\w-]+|-rounds)?=[\w=-]*` + sameAttributes)
)

// A session's cookie opens a session as it is, and in no other form.
func TestAttackSessionCookie(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publicURL = "https://app.test"
	file := r.write(t, basics+"log: {level: debug}\n")
	wall := r.serveReady(t, file)
	r.as("alice").signIn(t, "alice@example.com", "/x")
	alice := r.cookies().session()
	r.as("bob").signIn(t, "bob@example.com", "/x")
	bob := r.cookies().session()
	name, value, _ := strings.Cut(alice, "=")
	if name != "__Host-loginwall" {
		t.Fatalf("the cookie is %s", name)
	}
	unknown := func(t *testing.T, what, cookies string, cleared bool) {
		t.Helper()
		reached := r.upstream.count()
		a := r.withCookies(t, cookies)
		if a.StatusCode != http.StatusUnauthorized || r.upstream.count() != reached {
			t.Errorf("%s: %s", what, a.Status)
		}
		// COO-124: a deletion carries what the cookie carries.
		deletion := strings.Join(a.Header["Set-Cookie"], "\n")
		if cleared != deletesSession.MatchString(deletion) {
			t.Errorf("%s: Set-Cookie %q, want a deletion: %v", what, deletion, cleared)
		}
	}

	t.Run("COO-124 attributes", func(t *testing.T) {
		r.as("attributes").begin(t, "/x")
		lines := r.last.Header["Set-Cookie"]
		r.as("attributes2").signIn(t, "alice@example.com", "/x")
		lines = append(lines, r.last.Header["Set-Cookie"]...)
		if len(lines) != 4 {
			t.Fatalf("an attempt, its deletion, a session and the count of rounds: %q", lines)
		}
		for _, line := range lines {
			if !setsOurs.MatchString(line) {
				t.Errorf("%s", line)
			}
		}
	})

	t.Run("COO-125 each byte counts", func(t *testing.T) {
		for i := 0; i < len(value); i += 11 {
			unknown(t, "flipped", name+"="+value[:i]+string([]byte{value[i] ^ 1})+value[i+1:], true)
			unknown(t, "deleted", name+"="+value[:i]+value[i+1:], true)
			unknown(t, "inserted", name+"="+value[:i]+"A"+value[i:], true)
		}
		unknown(t, "spliced", name+"="+value[:len(value)/2]+bob[len(bob)-len(value)/2:], true)
	})

	t.Run("COO-128 two sessions are none", func(t *testing.T) {
		for _, both := range []string{alice + "; " + bob, bob + "; " + alice, alice + "; " + name + "=junk", name + "=junk; " + alice, name + "=; " + alice} {
			unknown(t, both[:30], both, true)
		}
		if a := r.withCookies(t, alice+"; "+alice); a.StatusCode != http.StatusOK {
			t.Errorf("the same twice: %s", a.Status)
		}
	})

	t.Run("COO-129, COO-131 only the exact name", func(t *testing.T) {
		for what, cookies := range map[string]string{
			"a blank before =": name + " =" + value, "U+2000 in front": "\u2000" + alice, "$Version": "$Version=1," + alice,
			"lower case": "__host-loginwall=" + value, "without the prefix": "loginwall=" + value, "__Secure-": "__Secure-loginwall=" + value,
			"an attempt's": name + "-a-AAAAAAAA=" + value, "a port's": name + "-8443=" + value,
		} {
			unknown(t, what, cookies, false)
		}
		unknown(t, "quoted", name+`="`+value+`"`, true)
		// What a sibling can set has no prefix, and hurts nobody (COO-131).
		if a := r.withCookies(t, "loginwall=evil; __Secure-loginwall=evil; loginwall-443="+value+"; "+alice); a.StatusCode != http.StatusOK {
			t.Errorf("beside a sibling's cookies: %s", a.Status)
		}
	})

	t.Run("COO-132, SES-151 nothing but the cookie opens the session", func(t *testing.T) {
		var sessions []struct{ ID, Email string }
		check(t, json.Unmarshal([]byte(command(t, file, "sessions", "list", "--json")), &sessions))
		if len(sessions) < 3 {
			t.Fatalf("sessions: %v", sessions)
		}
		for _, s := range sessions {
			unknown(t, "the session's id", name+"="+s.ID, true)
			for _, got := range r.upstream.since(0) {
				if strings.Contains(got.raw, s.ID) {
					t.Errorf("the app was told the session's id:\n%s", got.raw)
				}
			}
		}
		r.as("alice")
		for _, path := range []string{"/_auth/", "/_auth/me", "/_auth/logout"} {
			a := r.ask(t, http.MethodGet, "-nav", path)
			for _, s := range sessions {
				if strings.Contains(fmt.Sprint(a.Header)+string(a.body), s.ID) {
					t.Errorf("%s tells the session's id", path)
				}
			}
		}
		r.oracle.judgeLog(t, wall.log.String())
		texts := textsIn(t, filepath.Dir(file))
		if len(texts) < 20 {
			t.Fatalf("the store holds only %d texts", len(texts))
		}
		for _, text := range texts {
			unknown(t, "a text of the store", name+"="+text, true)
		}
	})

	// COO-136: TLS ends in front of the wall, which is not told so.
	t.Run("COO-136 plain http behind TLS", func(t *testing.T) {
		for range 3 {
			r.as("plain").ask(t, http.MethodGet, "-nav", "/x", "X-Forwarded-Proto:http")
			if line := strings.Join(r.last.Header["Set-Cookie"], "\n"); r.last.StatusCode != http.StatusFound || !strings.HasPrefix(line, "__Host-") || !setsOurs.MatchString(line) {
				t.Errorf("%s, Set-Cookie %q", r.last.Status, line)
			}
		}
		poll(t, "the log does not name trusted_proxies", func() bool { return strings.Contains(wall.log.String(), "trusted_proxies") })
		if n := strings.Count(wall.log.String(), "trusted_proxies"); n != 1 {
			t.Errorf("the log names trusted_proxies %d times", n)
		}
	})
}

// textsIn returns what a thief of the store could try: each printable run that is
// long enough for a secret.
func textsIn(t *testing.T, folder string) []string {
	t.Helper()
	seen := map[string]bool{}
	var texts []string
	for _, name := range []string{"loginwall.db", "loginwall.db-wal"} {
		content, err := os.ReadFile(filepath.Join(folder, name))
		check(t, err)
		for _, text := range regexp.MustCompile(`[A-Za-z0-9_=/+-]{20,900}`).FindAllString(string(content), -1) {
			if !seen[text] && len(texts) < 300 {
				seen[text] = true
				texts = append(texts, text)
			}
		}
	}
	return texts
}

// COO-133: what an old key sealed opens and is sealed anew, what a dropped key sealed
// is nothing, and no wall starts with a weak key.
func TestAttackKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	folder := t.TempDir()
	file := filepath.Join(folder, "wall.yaml")
	key := func(name, text string) string {
		path := filepath.Join(folder, name)
		check(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	first := key("first", "Zmlyc3Qta2V5LW9mLWEtdGVzdC0wMTIzNDU2Nzg5LWFiY2RlZg==\n")
	second := key("second", "c2Vjb25kLWtleS1vZi1hLXRlc3QtMDEyMzQ1Njc4OS1hYmNkZWZn\n")
	run := func(session string) *child {
		r.writeTo(t, file, basics+"session: {"+session+"}\n")
		return r.serveReady(t, file)
	}
	wall := run("key_file: " + first)
	r.as("alice").signIn(t, "alice@example.com", "/")
	old := r.cookies().session()
	wall.stop(t)

	wall = run("key_file: " + second + ", old_key_files: [" + first + "]")
	a := r.ask(t, http.MethodGet, "-nav", "/x")
	anew := r.cookies().session()
	if a.StatusCode != http.StatusOK || anew == old {
		t.Errorf("with the old key: %s, sealed anew: %v", a.Status, anew != old)
	}
	wall.stop(t)

	wall = run("key_file: " + second)
	if a := r.withCookies(t, old); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("when the old key is dropped: %s", a.Status)
	}
	if a := r.withCookies(t, anew); a.StatusCode != http.StatusOK {
		t.Errorf("what was sealed anew: %s", a.Status)
	}
	wall.stop(t)

	for what, text := range map[string]string{
		"short":                "c2hvcnQ=\n",
		"no base64":            "not base64, but long enough to be a key of some kind",
		"zeroes":               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
		"the text of a sample": strings.Repeat("changeme", 8),
	} {
		r.writeTo(t, file, basics+"session: {key_file: "+key("weak", text)+"}\n")
		if out, err := tryCommand(file, "serve"); err == nil || !strings.Contains(err.Error(), "key_file") || strings.Contains(err.Error(), strings.TrimSpace(text)) {
			t.Errorf("%s: %q, %v", what, out, err)
		}
	}
}

// SES-141, SES-142, COO-135: whatever the browser keeps, the wall counts.
func TestAttackSessionLifetime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const maxAge, idleTimeout, slack = 12 * time.Second, 6 * time.Second, time.Second
	r.serveReady(t, r.write(t, basics+fmt.Sprintf("session: {max_age: %v, idle_timeout: %v}\n", maxAge, idleTimeout)))
	r.as("idle").signIn(t, "alice@example.com", "/")
	idle := r.jars["idle"].session()
	earliest := time.Now()
	r.as("busy").signIn(t, "bob@example.com", "/")
	latest := time.Now()
	// The last cookie that is one: this browser forgets nothing.
	busy, last := r.jars["busy"].session(), latest
	for {
		asked := time.Now()
		a := r.as("busy").ask(t, http.MethodGet, "-xhr", "/x", "Cookie:"+busy)
		if time.Since(earliest) < maxAge-slack && time.Since(last) < idleTimeout-slack && a.StatusCode != http.StatusOK {
			t.Fatalf("SES-142: after %v a busy session is answered %s", time.Since(earliest), a.Status)
		}
		if a.StatusCode != http.StatusOK {
			break
		}
		if asked.Sub(latest) > maxAge+slack {
			t.Fatalf("SES-142: a busy session lives for %v", asked.Sub(latest))
		}
		if session := r.cookies().session(); session != "" {
			busy = session
		}
		last = asked
		time.Sleep(50 * time.Millisecond)
	}
	if a := r.withCookies(t, idle); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("SES-141, COO-135: after %v without a request: %s", maxAge, a.Status)
	}
	// A request late in the idle time goes through, if it comes before its end.
	poll(t, "SES-141: no request is in time", func() bool {
		began := time.Now()
		r.as("late").signIn(t, "alice@example.com", "/")
		r.ask(t, http.MethodGet, "-xhr", "/x")
		time.Sleep(idleTimeout * 2 / 3) // the silence is the case
		a := r.ask(t, http.MethodGet, "-xhr", "/x")
		if inTime := time.Since(began) < idleTimeout; inTime && a.StatusCode != http.StatusOK {
			t.Errorf("SES-141: after %v: %s", time.Since(began), a.Status)
		} else {
			return inTime
		}
		return true
	})
}

// SES-143: a block reaches each session of a person, on connections that are open.
func TestAttackBlock(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	file := r.write(t, basics+"admins: [alice@example.com]\n")
	wall := r.serveReady(t, file)
	type visitor struct {
		client *http.Client
		cookie string
	}
	var visitors []visitor
	ask := func(v visitor) int {
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+r.address+"/x", nil)
		check(t, err)
		request.Header = http.Header{"Cookie": {v.cookie}, "Accept": {"application/json"}}
		response, err := v.client.Do(request)
		r.oracle.judged = r.upstream.count() // it would ask who sent this
		check(t, err)
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return response.StatusCode
	}
	for i := range 3 {
		r.as(fmt.Sprint("bob", i)).signIn(t, "bob@example.com", "/")
		v := visitor{&http.Client{Transport: &http.Transport{}, Timeout: patience}, r.cookies().session()}
		defer v.client.CloseIdleConnections()
		visitors = append(visitors, v)
		if status := ask(v); status != http.StatusOK {
			t.Fatalf("before: %d", status)
		}
	}
	command(t, file, "users", "block", "bob@example.com", "--reason", "left")
	for i, v := range visitors {
		poll(t, fmt.Sprintf("session %d outlives the block", i), func() bool { return ask(v) == http.StatusForbidden })
	}
	// POL-169: it wins over the domain list and over the role.
	command(t, file, "users", "block", "alice@example.com")
	if a := r.as("admin").tryLogin(t, "alice@example.com", "/"); a.StatusCode != http.StatusForbidden || !strings.Contains(string(a.body), "blocked") {
		t.Errorf("POL-169: a blocked admin: %s", a.Status)
	}
	// ADM-229: who did what to whom, when; and ADM-231: no secret in what admins read.
	var users []map[string]any
	listed := command(t, file, "users", "list", "--json")
	check(t, json.Unmarshal([]byte(listed), &users))
	for _, u := range users {
		if u["blocked"] != true || u["blocked_at"] == "" || u["blocked_by"] == "" {
			t.Errorf("ADM-229: %v", u)
		}
	}
	for _, out := range []string{listed, command(t, file, "sessions", "list", "--json"), command(t, file, "users", "show", "bob@example.com", "--json"), command(t, file, "users", "export")} {
		r.oracle.judgeSecrets(t, "what admins read (ADM-231)", out)
	}
	// SES-147: all sessions of a person end, and the next login works.
	command(t, file, "users", "unblock", "bob@example.com")
	for i := range 3 {
		r.as(fmt.Sprint("again", i)).signIn(t, "bob@example.com", "/")
	}
	command(t, file, "sessions", "end", "--user", "bob@example.com")
	poll(t, "SES-147: a session outlives the end of all", func() bool {
		for i := range 3 {
			if r.as(fmt.Sprint("again", i)).ask(t, http.MethodGet, "-xhr", "/x").StatusCode != http.StatusUnauthorized {
				return false
			}
		}
		return true
	})
	if a := r.as("new").signIn(t, "bob@example.com", "/"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("SES-147: a new login: %s", a.Status)
	}
	wall.stop(t)
}

// SES-148: what starts behind the answer to a sign-out fails, whatever is in flight.
func TestAttackSignOutInFlight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serveReady(t, r.write(t, basics))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 20}, Timeout: patience}
	defer client.CloseIdleConnections()
	for range 5 {
		r.as("alice").signIn(t, "alice@example.com", "/")
		cookie := r.cookies().session()
		var over, done atomic.Bool
		var before, late atomic.Int32
		var flights sync.WaitGroup
		for range 20 {
			flights.Go(func() {
				for !done.Load() {
					started := over.Load()
					request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+r.address+"/x", nil)
					check(t, err)
					request.Header = http.Header{"Cookie": {cookie}, "Accept": {"application/json"}}
					response, err := client.Do(request)
					if err != nil {
						t.Errorf("%v", err)
						return
					}
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
					if response.StatusCode == http.StatusOK {
						before.Add(1)
						if started {
							late.Add(1)
						}
					}
				}
			})
		}
		poll(t, "nothing is in flight", func() bool { return before.Load() > 100 })
		r.oracle.judged = r.upstream.count() // told by others' requests
		a := r.ask(t, http.MethodPost, "-nav", "/_auth/logout", "Origin:"+r.publicURL)
		over.Store(true)
		for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
		done.Store(true)
		flights.Wait()
		r.oracle.judged = r.upstream.count()
		if a.StatusCode != http.StatusSeeOther || late.Load() != 0 {
			t.Errorf("%s; %d requests that began behind it were answered", a.Status, late.Load())
		}
	}
}

// What policy says of addresses, by what the provider says of them.
func TestAttackPolicy(t *testing.T) {
	t.Parallel()
	r := newTokenRig(t)
	claims := func(pairs ...any) devidp.Fault {
		return devidp.Fault{Claims: func(m map[string]any) {
			for i := 0; i < len(pairs); i += 2 {
				setTo(pairs[i].(string), pairs[i+1])(m)
			}
		}}
	}
	denied := map[string]devidp.Fault{
		"POL-153 verified false":   claims("email_verified", false),
		"POL-153 verified absent":  claims("email_verified", nil),
		"POL-153 verified null":    claims("email_verified", json.RawMessage("null")),
		"POL-153 verified 0":       claims("email_verified", 0),
		"POL-153 verified 1":       claims("email_verified", 1),
		"POL-153 verified 'false'": claims("email_verified", "false"),
		"POL-159 address a number": claims("email", 7),
		"POL-159 address a list":   claims("email", []string{"alice@example.com"}),
		"POL-161 of another hd":    claims("hd", "evil.test"),
		"POL-161 of no hd":         claims("hd", nil),
		"POL-161 hd but elsewhere": claims("email", "alice@alias.test"),
		"POL-162 Gmail":            claims("email", "alice@gmail.com", "hd", nil),
		"POL-166 endless":          claims("email", strings.Repeat("a", 1<<19)+"@example.com"),
		"POL-166 many labels":      claims("email", "a@"+strings.Repeat("a.", 1<<18)+"example.com"),
	}
	for id, addresses := range map[string][]string{
		"POL-154": {"a@evil-example.com", "a@example.com.evil.test", "a@sub.example.com", "a@xexample.com", "a@example.co"},
		"POL-155": {"m@evil.test@example.com", "m@example.com@evil.test", `"a@example.com"@evil.test`, "a@example.com,b@x", "<a@example.com>"},
		"POL-157": {" a@example.com", "a@example.com ", "a@example.com\n", "a\x00@example.com", "a@example.com.", "a@ example.com"},
		"POL-159": {"", "@example.com", "a@", "example.com"},
	} {
		for _, address := range addresses {
			denied[fmt.Sprintf("%s %q", id, address)] = claims("email", address)
		}
	}
	for name, fault := range denied {
		t.Run(name, func(t *testing.T) {
			a := r.login(t, "alice@example.com", fault)
			// An ID token over its bound is no token at all.
			tooLong := strings.HasPrefix(name, "POL-166") && a.StatusCode == http.StatusBadGateway
			if a.StatusCode != http.StatusForbidden && !tooLong || r.cookies().session() != "" {
				t.Errorf("%s", a.Status)
			}
		})
	}
	for name, fault := range map[string]devidp.Fault{
		"POL-153 verified in quotes": claims("email_verified", "true"),
		"POL-158 capitals":           claims("email", "Alice@EXAMPLE.com"),
		"POL-163 a plus":             claims("email", "alice+x@example.com"),
	} {
		t.Run(name, func(t *testing.T) {
			if a := r.login(t, "alice@example.com", fault); a.StatusCode != http.StatusSeeOther {
				t.Fatalf("%s", a.Status)
			}
			if who := r.signedIn(t); who != strings.ToLower(who) || !strings.HasPrefix(who, "alice") {
				t.Errorf("signed in as %q", who)
			}
		})
	}
	if n := r.upstream.count(); n != 0 {
		t.Errorf("%d requests reached the app", n)
	}
}

// POL-162, POL-163, POL-158: other lists than one domain.
func TestAttackPolicyLists(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publicURL = "https://app.test"
	r.serveReady(t, r.write(t, strings.Replace(trusting, "domains: [example.com]", "{domains: [Gmail.COM], emails: [Alice@Example.com]}", 1)))
	for who, want := range map[string]int{
		"carol@gmail.com":     http.StatusSeeOther,
		"alice@example.com":   http.StatusSeeOther,
		"alice+x@example.com": http.StatusForbidden,
		"bob@example.com":     http.StatusForbidden,
		"mallory@evil.test":   http.StatusForbidden,
	} {
		if a := r.as(who).tryLogin(t, who, "/"); a.StatusCode != want {
			t.Errorf("%s: %s, want %d", who, a.Status, want)
		}
	}
	r.idp.Misbehave(devidp.Fault{Claims: setTo("hd", "evil.test")})
	if a := r.as("carol of a Workspace").tryLogin(t, "carol@gmail.com", "/"); a.StatusCode != http.StatusForbidden {
		t.Errorf("POL-162: %s", a.Status)
	}
}

// POL-167: strangers that policy turns away are nobody in the store, and few events.
func TestAttackStrangersAreNotKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publicURL = "https://app.test"
	file := r.write(t, basics+"trusted_proxies: [127.0.0.1]\nlog: {access: false}\n")
	r.serveReady(t, file)
	const many = 150 // more than the burst that is recorded
	for i := range many {
		who := fmt.Sprintf("stranger%d@evil.test", i)
		if a := r.as(who).tryLogin(t, who, "/"); a.StatusCode != http.StatusForbidden {
			t.Fatalf("%s: %s", who, a.Status)
		}
	}
	if out := strings.TrimSpace(command(t, file, "users", "list", "--json")); out != "[]" {
		t.Errorf("users: %.200s", out)
	}
	if out := strings.TrimSpace(command(t, file, "sessions", "list", "--json")); out != "[]" {
		t.Errorf("sessions: %.200s", out)
	}
	// Their addresses stand in the store only as often as events were recorded.
	kept := 0
	for _, name := range []string{"loginwall.db", "loginwall.db-wal"} {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(file), name))
		check(t, err)
		for i := range many {
			if bytes.Contains(content, fmt.Appendf(nil, "stranger%d@evil.test", i)) {
				kept++
			}
		}
	}
	if kept == 0 || kept > 2*90 {
		t.Errorf("%d of %d strangers are in the store", kept, many)
	}
}
