package main

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/devidp"
)

// at takes over one endpoint of the provider, "" for all of them.
func at(endpoint string, answer http.HandlerFunc) devidp.Fault {
	return devidp.Fault{Respond: func(w http.ResponseWriter, q *http.Request, asked string) bool {
		if endpoint != "" && asked != endpoint {
			return false
		}
		answer(w, q)
		return true
	}}
}

// hangUp is a provider that is not there: the connection ends without a word.
func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close()
	}
}

func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// drips sends a byte now and then, for as long as anybody listens.
func drips(w http.ResponseWriter, q *http.Request) {
	_ = q.ParseForm()
	w.Header().Set("Content-Type", "application/json")
	for q.Context().Err() == nil {
		_, _ = w.Write([]byte(" "))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-q.Context().Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// floods sends 2 GB, if they are taken.
func floods(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	chunk := []byte(`"` + strings.Repeat("x", 64<<10) + `",`)
	_, err := w.Write([]byte(`{"keys":[`))
	for n := 0; err == nil && n < 2<<30; n += len(chunk) {
		_, err = w.Write(chunk)
	}
}

// bombs sends a gigabyte of blanks, packed into a megabyte.
func bombs(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	chunk := []byte(strings.Repeat(" ", 1<<20))
	for n := 0; n < 1<<10; n++ {
		if _, err := z.Write(chunk); err != nil {
			return
		}
	}
	_ = z.Close()
}

// The provider is away, when the wall starts, when somebody signs in, and when they
// come back.
func TestAttackProviderAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publicURL = "https://app.test"
	file := r.write(t, trusting)
	wall, whole := r.serveReady(t, file), t // each wall may live until the whole test ends
	r.as("alice").signIn(t, "alice@example.com", "/")
	works := func(what string) {
		t.Helper()
		if a := r.as("alice").ask(t, http.MethodGet, "-nav", "/x"); a.StatusCode != http.StatusOK {
			t.Errorf("%s: who is signed in gets %s", what, a.Status)
		}
	}

	t.Run("IDP-213 away at the callback", func(t *testing.T) {
		callback := r.consent(t, r.as("bob").begin(t, "/x"), "bob@example.com")
		r.idp.Misbehave(at("", hangUp))
		a := r.ask(t, http.MethodGet, "-nav", callback)
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("X-Loginwall") != "error" || r.cookies().session() != "" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s %v", a.Status, a.Header)
		}
		if !strings.Contains(string(a.body), "Google cannot be reached") {
			t.Errorf("the page says:\n%s", a.body)
		}
		works("away")
	})

	t.Run("IDP-212 away at the start", func(t *testing.T) {
		wall.stop(t)
		r.idp.Misbehave(at("", hangUp))
		wall = r.serve(whole, file)
		works("away at start")
		for range 3 {
			a := r.as("stranger").ask(t, http.MethodGet, "-nav", "/x")
			if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Location") != "" {
				t.Errorf("a stranger: %s", a.Status)
			}
			if a := r.ask(t, http.MethodGet, "-xhr", "/x"); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("a program: %s", a.Status)
			}
		}
		if r.upstream.count() != 2 {
			t.Errorf("%d requests reached the app", r.upstream.count())
		}
		r.idp.Misbehave(devidp.Fault{})
		r.awaitProvider(t) // by itself
		r.as("bob").signIn(t, "bob@example.com", "/")
	})

	t.Run("TOK-086, IDP-219, IDP-223 discovery that lies", func(t *testing.T) {
		for name, edit := range map[string]func(map[string]any){
			"TOK-086 another issuer":  setTo("issuer", "https://evil.test"),
			"IDP-219 a foreign token": setTo("token_endpoint", "http://evil.test/token"),
		} {
			// Where it is known already, it is ignored (IDP-223).
			r.idp.Misbehave(devidp.Fault{Discovery: edit})
			r.as("bob").signIn(t, "bob@example.com", "/")
			wall.stop(t)
			wall = r.serve(whole, file)
			works(name)
			for range 3 {
				if a := r.as("stranger").ask(t, http.MethodGet, "-nav", "/x"); a.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("%s: %s", name, a.Status)
				}
			}
			poll(t, name+": the log does not say it", func() bool {
				log := wall.log.String()
				return (strings.Contains(log, "evil.test") || strings.Contains(log, "token_endpoint")) && strings.Contains(log, `"level":"WARN"`)
			})
			r.idp.Misbehave(devidp.Fault{})
			r.awaitProvider(t)
		}
	})
}

// The provider answers, but not what it should.
func TestAttackProviderAnswers(t *testing.T) {
	t.Parallel()
	r := newTokenRig(t)
	r.login(t, "alice@example.com", devidp.Fault{})
	bad := map[string]http.HandlerFunc{
		"IDP-215 400":           says(400, "application/json", `{"error":"invalid_grant","error_description":"PROVIDERBODY"}`),
		"IDP-215 400 HTML":      says(400, "text/html", "<html>PROVIDERBODY"),
		"IDP-215 401":           says(401, "text/html", "<html>PROVIDERBODY"),
		"IDP-215 403":           says(403, "text/html", "<html>PROVIDERBODY"),
		"IDP-215 429":           says(429, "text/plain", "PROVIDERBODY"),
		"IDP-215 500":           says(500, "text/html", "<html>PROVIDERBODY"),
		"IDP-215 503":           says(503, "application/json", `{"PROVIDERBODY":1}`),
		"IDP-216 cut":           says(200, "application/json", `{"id_token":"PROVIDERBODY`),
		"IDP-216 null":          says(200, "application/json", "null"),
		"IDP-216 a list":        says(200, "application/json", `["PROVIDERBODY"]`),
		"IDP-216 nothing":       says(200, "application/json", ""),
		"IDP-216 HTML":          says(200, "text/html", "<html>PROVIDERBODY</html>"),
		"IDP-216 a redirect":    says(302, "text/html", "PROVIDERBODY"),
		"IDP-216 two gigabytes": floods,
		"IDP-216 a bomb":        bombs,
		"IDP-216 ends at once":  hangUp,
		"IDP-216 huge header lines": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("PROVIDERBODY", 1<<20))
		},
	}
	rest := metric(r.metrics(t), "process_resident_memory_bytes")
	for name, answer := range bad {
		t.Run(name, func(t *testing.T) {
			asked := r.idp.Requests("token")
			a := r.login(t, "bob@example.com", at("token", answer))
			if a.StatusCode != http.StatusBadGateway && a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("X-Loginwall") != "error" || r.cookies().session() != "" {
				t.Errorf("%s", a.Status)
			}
			if strings.Contains(string(a.body)+r.wall.log.String(), "PROVIDERBODY") {
				t.Error("the provider's words are told")
			}
			if n := r.idp.Requests("token") - asked; n != 1 {
				t.Errorf("%d token requests", n)
			}
			poll(t, "the log does not say why", func() bool {
				_, line := lastLine(r.wall.log.String(), "login failed")
				return strings.Contains(line, a.Header.Get("X-Request-Id")) && strings.Contains(line, `"reason":"`)
			})
		})
	}
	if now := metric(r.metrics(t), "process_resident_memory_bytes"); now > rest+64<<20 {
		t.Errorf("memory went from %.0f to %.0f MB", rest/1e6, now/1e6)
	}

	// IDP-220: keys that cannot be read while they turn.
	t.Run("IDP-220 the key set breaks", func(t *testing.T) {
		for name, answer := range map[string]http.HandlerFunc{
			"empty": says(200, "application/json", `{"keys":[]}`), "HTML": says(200, "text/html", "<html>"), "500": says(500, "text/plain", "x"), "floods": floods,
		} {
			if a := r.login(t, "alice@example.com", at("jwks", answer)); a.StatusCode != http.StatusSeeOther {
				t.Errorf("%s: with the keys that are known: %s", name, a.Status)
			}
		}
		check(t, r.idp.RotateKeys())
		if a := r.login(t, "alice@example.com", at("jwks", says(500, "text/plain", "x"))); a.StatusCode == http.StatusSeeOther {
			t.Error("signed in by an unknown key")
		}
		if a := r.login(t, "alice@example.com", devidp.Fault{}); a.StatusCode != http.StatusSeeOther {
			t.Errorf("when it is well again: %s", a.Status)
		}
	})

	t.Run("IDP-221 clocks", func(t *testing.T) {
		shifted := func(d time.Duration) devidp.Fault {
			return devidp.Fault{Claims: func(m map[string]any) {
				now := time.Now().Add(d)
				m["iat"], m["exp"] = now.Unix(), now.Add(time.Hour).Unix()
			}}
		}
		for _, d := range []time.Duration{-4 * time.Minute, 4 * time.Minute} {
			if a := r.login(t, "alice@example.com", shifted(d)); a.StatusCode != http.StatusSeeOther {
				t.Errorf("%v: %s", d, a.Status)
			}
		}
		for _, d := range []time.Duration{-15 * time.Minute, 15 * time.Minute} {
			a := r.login(t, "alice@example.com", shifted(d))
			if a.StatusCode == http.StatusSeeOther {
				t.Errorf("%v: signed in", d)
			}
			poll(t, "the log does not speak of the clock", func() bool {
				_, line := lastLine(r.wall.log.String(), "login failed")
				return strings.Contains(line, a.Header.Get("X-Request-Id")) && strings.Contains(line, `"reason":"clock"`)
			})
		}
	})
}

// IDP-214, IDP-216, DOS-193: the provider hangs or drips while many sign in. All are
// told within seconds, and who is signed in does not notice.
func TestAttackProviderHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publicURL = "https://app.test"
	r.serveReady(t, r.write(t, trusting))
	r.as("alice").signIn(t, "alice@example.com", "/")
	session := r.cookies().session()
	const many = 40
	var callbacks, cookies []string
	for i := range many {
		callbacks = append(callbacks, r.consent(t, r.as(fmt.Sprint("visitor ", i)).begin(t, "/x"), "bob@example.com"))
		cookies = append(cookies, r.cookies().String())
	}
	before := metric(r.metrics(t), "go_goroutines")
	hold := make(chan struct{})
	slow := func(w http.ResponseWriter, q *http.Request) {
		_ = q.ParseForm()
		select {
		case <-q.Context().Done():
		case <-hold:
		}
	}
	turn := 0
	var turns sync.Mutex
	r.idp.Misbehave(at("token", func(w http.ResponseWriter, q *http.Request) {
		turns.Lock()
		turn++
		dripping := turn%2 == 0
		turns.Unlock()
		if dripping {
			drips(w, q)
			return
		}
		slow(w, q)
	}))
	t.Cleanup(func() { close(hold) })
	get := func(path, cookies string) (int, error) {
		request, err := http.NewRequest(http.MethodGet, "http://"+r.address+path, nil)
		if err != nil {
			return 0, err
		}
		request.Host = r.host()
		request.Header.Set("Cookie", cookies)
		response, err := r.client.Do(request)
		if err != nil {
			return 0, err
		}
		response.Body.Close()
		return response.StatusCode, nil
	}
	began := time.Now()
	var waiting sync.WaitGroup
	var soonest atomic.Int64
	soonest.Store(int64(patience))
	for i := range many {
		waiting.Go(func() {
			status, err := get(callbacks[i], cookies[i])
			if err != nil || status != http.StatusServiceUnavailable {
				t.Errorf("login %d: %d, %v", i, status, err)
			}
			took := int64(time.Since(began))
			for least := soonest.Load(); took < least && !soonest.CompareAndSwap(least, took); least = soonest.Load() {
			}
		})
	}
	poll(t, "the provider is not asked", func() bool { return r.idp.Requests("token") > many/2 })
	if now := metric(r.metrics(t), "go_goroutines"); now > before+12*many {
		t.Errorf("%v goroutines for %d logins, %v before", now, many, before)
	}
	var waits []time.Duration
	for time.Since(began) < 3*time.Second {
		start := time.Now()
		if status, err := get("/x", session); status != http.StatusOK || err != nil {
			t.Errorf("who is signed in: %d, %v", status, err)
		}
		waits = append(waits, time.Since(start))
		time.Sleep(10 * time.Millisecond)
	}
	waiting.Wait()
	slices.Sort(waits)
	if median, login := waits[len(waits)/2], time.Duration(soonest.Load()); median > login/4 {
		t.Errorf("who is signed in waited %v, those who signed in %v", median, login)
	}
	poll(t, "goroutines are left behind", func() bool { return metric(r.metrics(t), "go_goroutines") < before+10 })
	r.oracle.judged = r.upstream.count()
}

// IDP-222: whom the wall talks to in its life, as the kernel saw it, is its provider
// and its app, on loopback here.
func TestAttackEgress(t *testing.T) {
	t.Parallel()
	strace := peerProgram(t, "strace", "strace")
	r := newRig(t)
	// An address that answers, but is nobody's business.
	canary := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(canary.Close)
	trace := t.TempDir() + "/connects"
	wall := r.serveReady(t, r.write(t, basics), strace, "-f", "-qq", "-e", "trace=connect,sendto", "-o", trace)
	r.idp.Misbehave(devidp.Fault{Claims: func(m map[string]any) {
		m["_claim_names"] = map[string]string{"x": "a"}
		m["_claim_sources"] = map[string]any{"a": map[string]string{"endpoint": canary.URL}}
		m["picture"] = canary.URL + "/picture"
	}})
	r.as("alice").signIn(t, "alice@example.com", "/")
	r.ask(t, http.MethodGet, "-nav", "/x", "Referer:"+canary.URL)
	check(t, r.idp.RotateKeys())
	r.as("again").signIn(t, "alice@example.com", "/")
	endTraced(t, wall)
	own := []string{strings.TrimPrefix(r.issuer, "http://"), r.upstream.listener.Addr().String()}
	connects := 0
	for line := range strings.Lines(readFile(t, trace)) {
		if !strings.Contains(line, "sin_port") && !strings.Contains(line, "sin6_port") {
			continue // no network
		}
		connects++
		ok := false
		for _, address := range own {
			_, port, _ := strings.Cut(address, ":")
			ok = ok || strings.Contains(line, "htons("+port+")") && strings.Contains(line, `"127.0.0.1"`)
		}
		if !ok {
			t.Errorf("the wall talks to somebody: %s", line)
		}
	}
	if connects < 2 {
		t.Errorf("only %d connections were seen", connects)
	}
}
