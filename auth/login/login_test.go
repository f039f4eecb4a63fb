package login

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/seal"
)

// This package's behaviour is tested whole, through the real binary, in
// cmd/loginwall; here are the parts that a browser cannot reach.

func newAttempts(t *testing.T, now *time.Time) *attempts {
	t.Helper()
	key, err := seal.ParseKey(seal.GenerateKey())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := seal.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	box, err := ring.Box("login attempt", "https://app.test")
	if err != nil {
		t.Fatal(err)
	}
	return &attempts{
		box: box, prefix: "__Host-loginwall-a-", now: func() time.Time { return *now },
		cookie: func(name, value string, lifetime time.Duration) string {
			return (&http.Cookie{Name: name, Value: value, MaxAge: int(lifetime.Seconds()) - 1}).String()
		},
	}
}

// begin lets a browser begin a login, and returns its attempt.
func (b *browser) begin(t *testing.T, target string) attempt {
	t.Helper()
	a := newAttempt("https://issuer.test", page.ParseTarget(target), hint{round: 1, began: *b.now}, 10*time.Minute)
	w := httptest.NewRecorder()
	if err := b.attempts.add(w, b.request(), a); err != nil {
		t.Fatal(err)
	}
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return a
}

type browser struct {
	attempts *attempts
	now      *time.Time
	cookies  map[string]string
}

func (b *browser) request() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

func newBrowser(t *testing.T) *browser {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	return &browser{newAttempts(t, &now), &now, map[string]string{}}
}

// STA-107, STA-110.
func TestAttemptsAreFoundByTheirState(t *testing.T) {
	b := newBrowser(t)
	first, second := b.begin(t, "/one?a=b"), b.begin(t, "/two")
	for _, want := range []attempt{second, first} {
		got, ok := b.attempts.find(b.request(), want.parameter())
		if !ok || got.target != want.target || got.nonce != want.nonce || got.verifier != want.verifier || got.issuer != want.issuer {
			t.Errorf("found %v %+v, want %+v", ok, got, want)
		}
	}
	for _, state := range []string{"", first.parameter()[:42], first.parameter() + "A", first.id(), strings.ToUpper(first.parameter())} {
		if _, ok := b.attempts.find(b.request(), state); ok {
			t.Errorf("state %q found an attempt", state)
		}
	}
}

// STA-109.
func TestAttemptExpiryIsInsideTheSeal(t *testing.T) {
	b := newBrowser(t)
	a := b.begin(t, "/")
	*b.now = a.expires.Add(-time.Millisecond)
	if found, ok := b.attempts.find(b.request(), a.parameter()); !ok || found.expired(*b.now) {
		t.Error("the attempt was gone before its time")
	}
	*b.now = a.expires
	if found, ok := b.attempts.find(b.request(), a.parameter()); !ok || !found.expired(*b.now) {
		t.Error("the attempt outlived its time, or nobody is told so")
	}
	if open, dead := b.attempts.read(b.request()); len(open) != 0 || len(dead) != 1 {
		t.Errorf("%d attempts are open, %d to be deleted", len(open), len(dead))
	}
}

func TestAttemptsAreBoundedAndTheOldestGive(t *testing.T) {
	b := newBrowser(t)
	var all []attempt
	for range 3 * maxAttempts {
		*b.now = b.now.Add(time.Second)
		all = append(all, b.begin(t, "/x"))
	}
	size := 0
	for name, value := range b.cookies {
		size += len(name) + len(value)
	}
	if len(b.cookies) > maxAttempts || size > maxAttemptBytes || len(b.cookies) < 5 {
		t.Errorf("%d cookies with %d bytes", len(b.cookies), size)
	}
	for i, a := range all {
		_, kept := b.attempts.find(b.request(), a.parameter())
		if want := i >= len(all)-len(b.cookies); kept != want {
			t.Errorf("attempt %d of %d kept: %v, want %v", i, len(all), kept, want)
		}
	}
	// The longest target still fits into one cookie, alone.
	long := b.begin(t, "/"+strings.Repeat("x", 1700))
	if _, ok := b.attempts.find(b.request(), long.parameter()); !ok {
		t.Error("a long target has no attempt")
	}
	for name, value := range b.cookies {
		if len(name)+len(value) > 4096 {
			t.Errorf("a cookie of %d bytes", len(name)+len(value))
		}
	}
}

func TestAttemptCookieUnderAnotherNameIsNone(t *testing.T) {
	b := newBrowser(t)
	a := b.begin(t, "/")
	name := b.attempts.prefix + a.id()
	value := b.cookies[name]
	// What is deleted when it has served is the cookie of its own name.
	for _, other := range []string{name[:len(name)-1] + "~", name[:len(name)-1], b.attempts.prefix, b.attempts.prefix + a.parameter()} {
		b.cookies = map[string]string{other: value}
		if _, ok := b.attempts.find(b.request(), a.parameter()); ok {
			t.Errorf("an attempt was taken from the cookie %q", other)
		}
	}
}

// META-253.
func FuzzDecodeAttempt(f *testing.F) {
	a := newAttempt("https://issuer.test", page.ParseTarget("/x?y"), hint{round: 1, began: time.UnixMilli(1)}, time.Minute)
	f.Add(a.encode())
	f.Add([]byte{})
	f.Add([]byte{attemptVersion, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAttempt(b)
		if err != nil {
			return
		}
		again, err := decodeAttempt(a.encode())
		if err != nil || again != a {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
	})
}

// STA-121.
func TestSpentServesOnce(t *testing.T) {
	now := time.UnixMilli(0)
	s := newSpent(3)
	if !s.use("a", now.Add(time.Minute), now) || s.use("a", now.Add(time.Minute), now) {
		t.Error("a state served twice, or not at all")
	}
	for _, state := range []string{"b", "c", "d"} {
		s.use(state, now.Add(time.Minute), now)
	}
	if len(s.until) != 3 || s.has("a") || !s.has("d") {
		t.Errorf("%d states are remembered, want the last three", len(s.until))
	}
	later := now.Add(2 * time.Minute)
	s.use("e", later.Add(time.Minute), later)
	if len(s.until) != 1 {
		t.Errorf("%d states are remembered after all but one have expired", len(s.until))
	}
}

// DOS-192.
func TestFailuresSlowOneClientAlone(t *testing.T) {
	f, err := newFailures()
	if err != nil {
		t.Fatal(err)
	}
	now := time.UnixMilli(0)
	for range failureBurst {
		if !f.allow("192.0.2.1", now) {
			t.Fatal("slowed before the burst was used up")
		}
		f.add("192.0.2.1", now)
	}
	if f.allow("192.0.2.1", now) || !f.allow("192.0.2.2", now) {
		t.Error("the wrong client is slowed")
	}
	if !f.allow("192.0.2.1", now.Add(2*time.Second)) {
		t.Error("a slowed client never gets another try")
	}
	for range failureBurst {
		f.add("2001:db8::1", now)
	}
	if f.allow("2001:db8::ffff", now) || !f.allow("2001:db8:0:1::1", now) {
		t.Error("an IPv6 network is not taken for one client")
	}
}

// META-253, STA-115: what two readers could take for two things is refused.
func FuzzReadAnswer(f *testing.F) {
	for _, q := range []string{"code=1&state=2", "code=1&code=2&state=3", "error=access_denied&state=1", "code=1&error=2&state=3", "state=1;code=2", "%63ode=1&state=2&code=3"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		a, ok := readAnswer(raw)
		if !ok {
			return
		}
		q, err := url.ParseQuery(raw)
		if err != nil || len(q["code"]) > 1 || len(q["state"]) != 1 || len(q["error"]) > 1 || len(q["iss"]) > 1 {
			t.Errorf("%q was taken", raw)
		}
		if a.state == "" || (a.code == "") == (a.failure == "") || len(a.code) > maxCode {
			t.Errorf("%q was taken as %+v", raw, a)
		}
	})
}
