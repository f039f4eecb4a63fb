package gate_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/gate"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/auth/seal"
	"github.com/loginwall/loginwall/auth/session"
)

const issuer = "https://accounts.google.com"

// A clock moves only when it is told to.
type clock struct{ ms atomic.Int64 }

func (c *clock) Now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// ledger is the least store that sessions can be made with.
type ledger struct{ now func() time.Time }

func (l ledger) SignIn(_ context.Context, in auth.SignIn) (auth.SignedIn, error) {
	now := l.now()
	return auth.SignedIn{Created: now, Expires: now.Add(in.MaxAge)}, nil
}

func (ledger) EndSession(context.Context, auth.Ending) error { return nil }

func (ledger) EndSessionsOf(context.Context, auth.UserID, string, auth.EndReason) (int, error) {
	return 0, nil
}

func (ledger) Seen(context.Context, []auth.Seen) error { return nil }

// A wall is a gate with all that it needs.
type wall struct {
	*gate.Gate
	config   gate.Config
	sessions *session.Keeper
	revoked  *session.Revocations
	clock    *clock
}

func rules() policy.Rules {
	return policy.Rules{
		Google: true,
		Allow:  policy.List{Domains: []policy.Domain{{Name: "example.com"}}},
		Admins: []string{"alice@example.com"},
		Deny:   []string{"dora@example.com"},
		Routes: []policy.Route{
			{Path: "/public/", Access: policy.Public},
			{Path: "/admin/", Access: policy.Admins},
			{Path: "/nope/", Access: policy.Nobody},
		},
	}
}

func newWall(t testing.TB, r policy.Rules) *wall {
	t.Helper()
	clock := new(clock)
	clock.ms.Store(1_750_000_000_000)
	p, err := policy.Compile(r)
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	ring, err := seal.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	revoked := session.NewRevocations(clock.Now)
	revoked.Apply(auth.Feed{})
	sessions, err := session.New(session.Config{
		PublicURL: &url.URL{Scheme: "https", Host: "app.test"},
		Ring:      ring,
		Issuer:    issuer,
		MaxAge:    168 * time.Hour,
		Idle:      24 * time.Hour,
		Store:     ledger{clock.Now},
		Revoked:   revoked,
		Now:       clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	config := gate.Config{Policy: p, Sessions: sessions, Revoked: revoked, Issuer: issuer, MaxFeedAge: 5 * time.Minute}
	g, err := gate.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return &wall{g, config, sessions, revoked, clock}
}

func person(email string) auth.Identity {
	return auth.Identity{Issuer: issuer, Subject: "sub-" + email, Email: email, EmailVerified: true, HostedDomain: auth.Domain(email)}
}

// signIn returns a Cookie line. Whether the policy admits the person is for later.
func (w *wall) signIn(t testing.TB, email string) (cookie []string, s *auth.Session) {
	t.Helper()
	set, s, _, err := w.sessions.Start(t.Context(), person(email), auth.Client{})
	if err != nil {
		t.Fatal(err)
	}
	pair, _, _ := strings.Cut(set, ";")
	return []string{"theme=dark; " + pair}, s
}

func get(path string) policy.Target {
	return policy.Target{Method: "GET", Path: policy.ReadPath(path)}
}

// A view is a Decision in the open.
type view struct {
	Verdict   policy.Verdict
	Public    bool
	Principal string
	Denied    string
	Route     int
	Rule      string
	Reason    policy.Reason
	Clear     bool
}

func look(d gate.Decision) view {
	v := view{Verdict: d.Verdict(), Public: d.Public(), Route: d.Route(), Rule: d.Rule(), Reason: d.Reason(), Clear: d.ClearCookie()}
	if p := d.Principal(); p != nil {
		v.Principal = p.Identity().Email
	}
	if id := d.Denied(); id != nil {
		v.Denied = id.Email
	}
	return v
}

func (w *wall) want(t *testing.T, path string, cookie []string, want view) {
	t.Helper()
	d, err := w.Decide(get(path), cookie)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if diff := cmp.Diff(want, look(d)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func challenge(clear bool) view {
	return view{Verdict: policy.Challenge, Route: -1, Rule: "allow", Reason: policy.ReasonSignIn, Clear: clear}
}

func TestNewNeedsAll(t *testing.T) {
	good := newWall(t, rules()).config
	for name, change := range map[string]func(*gate.Config){
		"policy":      func(c *gate.Config) { c.Policy = nil },
		"sessions":    func(c *gate.Config) { c.Sessions = nil },
		"revocations": func(c *gate.Config) { c.Revoked = nil },
		"issuer":      func(c *gate.Config) { c.Issuer = "" },
		"age":         func(c *gate.Config) { c.MaxFeedAge = 0 },
	} {
		config := good
		change(&config)
		if g, err := gate.New(config); err == nil || g != nil {
			t.Errorf("made without %s", name)
		}
	}
}

func TestZeroValuesDeny(t *testing.T) {
	if diff := cmp.Diff(view{}, look(gate.Decision{})); diff != "" {
		t.Error(diff)
	}
	if policy.Deny != (view{}).Verdict {
		t.Error("the zero verdict is not Deny")
	}
	for _, p := range []*gate.Principal{nil, {}} {
		if p.Session() != nil || p.Identity() != nil {
			t.Errorf("%v is somebody", p)
		}
	}
	var zero gate.Gate
	for _, own := range []bool{false, true} {
		if d, err := zero.DecideOwn(own, nil); d.Verdict() != policy.Deny || err != nil {
			t.Errorf("zero Gate: %+v, %v", look(d), err)
		}
	}
	if d, _ := zero.Decide(get("/"), []string{"loginwall=x"}); d.Verdict() != policy.Deny {
		t.Errorf("zero Gate: %+v", look(d))
	}
	w := newWall(t, rules())
	cookie, _ := w.signIn(t, "alice@example.com")
	d, err := w.Decide(get("/"), cookie)
	if err != nil || zero.Holds(d.Principal(), get("/")) || zero.Holds(nil, get("/")) || zero.Holds(&gate.Principal{}, get("/")) {
		t.Error("something holds at the zero Gate")
	}
}

func TestDecide(t *testing.T) {
	w := newWall(t, rules())
	alice, _ := w.signIn(t, "alice@example.com")
	bob, _ := w.signIn(t, "bob@example.com")
	mallory, _ := w.signIn(t, "mallory@evil.test")
	dora, _ := w.signIn(t, "dora@example.com")
	const domain = "allow.domains example.com"
	for _, tt := range []struct {
		name   string
		path   string
		cookie []string
		want   view
	}{
		{"nobody", "/", nil, challenge(false)},
		{"other cookies", "/", []string{"a=b; c=d"}, challenge(false)},
		{"bob", "/", bob, view{Verdict: policy.Allow, Principal: "bob@example.com", Route: -1, Rule: domain}},
		{"an admin", "/", alice, view{Verdict: policy.Allow, Principal: "alice@example.com", Route: -1, Rule: "admins alice@example.com"}},
		{"an admin's route", "/admin/", alice, view{Verdict: policy.Allow, Principal: "alice@example.com", Route: 1, Rule: "routes[1] /admin/ (admins)"}},
		{"an admin's route for bob", "/admin/", bob, view{Denied: "bob@example.com", Route: 1, Rule: "routes[1] /admin/ (admins)", Reason: policy.ReasonNotAdmin}},
		{"a stranger", "/", mallory, view{Denied: "mallory@evil.test", Route: -1, Rule: "allow", Reason: policy.ReasonDomain}},
		{"denied in the file", "/", dora, view{Denied: "dora@example.com", Route: -1, Rule: "deny.emails dora@example.com", Reason: policy.ReasonDenyList}},
		{"public, nobody", "/public/x", nil, view{Verdict: policy.Allow, Public: true, Rule: "routes[0] /public/ (public)"}},
		{"public, bob is nobody too", "/public/x", bob, view{Verdict: policy.Allow, Public: true, Rule: "routes[0] /public/ (public)"}},
		{"public, a bad cookie", "/public/x", []string{"__Host-loginwall=x"}, view{Verdict: policy.Allow, Public: true, Rule: "routes[0] /public/ (public)"}},
		{"for nobody", "/nope/", nil, view{Route: 2, Rule: "routes[2] /nope/ (nobody)", Reason: policy.ReasonNobody}},
		{"for nobody, alice", "/nope/", alice, view{Route: 2, Rule: "routes[2] /nope/ (nobody)", Reason: policy.ReasonNobody}},
		{"BYP-039 junk", "/", []string{"__Host-loginwall=x"}, challenge(true)},
		{"BYP-039 empty", "/", []string{"__Host-loginwall="}, challenge(true)},
		{"BYP-039 cut", "/", []string{bob[0][:len(bob[0])-1]}, challenge(true)},
		{"COO-128 two people", "/", []string{bob[0], alice[0]}, challenge(true)},
		{"COO-128 bob twice", "/", []string{bob[0], bob[0]}, view{Verdict: policy.Allow, Principal: "bob@example.com", Route: -1, Rule: domain}},
		{"COO-128 bob and junk", "/", []string{bob[0], "__Host-loginwall=x"}, challenge(true)},
		{"another name", "/", []string{strings.Replace(bob[0], "__Host-", "", 1)}, challenge(false)},
	} {
		t.Run(tt.name, func(t *testing.T) { w.want(t, tt.path, tt.cookie, tt.want) })
	}
}

// COO-137 too.
func TestSES143EndedAndBlocked(t *testing.T) {
	revoke := map[string]func(s *auth.Session) auth.Revocation{
		"session": func(s *auth.Session) auth.Revocation {
			return auth.Revocation{Kind: auth.RevokeSession, Key: string(s.ID), Active: true, Expires: s.Expires}
		},
		"user": func(s *auth.Session) auth.Revocation {
			return auth.Revocation{Kind: auth.RevokeUser, Key: string(s.Identity.UserID()), Active: true, At: s.Created}
		},
		"block_user": func(s *auth.Session) auth.Revocation {
			return auth.Revocation{Kind: auth.BlockUser, Key: string(s.Identity.UserID()), Active: true}
		},
		"block_email": func(s *auth.Session) auth.Revocation {
			return auth.Revocation{Kind: auth.BlockEmail, Key: s.Identity.Email, Active: true}
		},
	}
	blocked := view{Denied: "bob@example.com", Route: -1, Rule: "block", Reason: policy.ReasonBlocked}
	for kind, want := range map[string]view{"session": challenge(true), "user": challenge(true), "block_user": blocked, "block_email": blocked} {
		t.Run(kind, func(t *testing.T) {
			w := newWall(t, rules())
			cookie, s := w.signIn(t, "bob@example.com")
			d, err := w.Decide(get("/"), cookie)
			if err != nil || d.Verdict() != policy.Allow {
				t.Fatalf("before: %+v, %v", look(d), err)
			}
			p := d.Principal()
			if !w.Holds(p, get("/")) {
				t.Error("does not hold before")
			}
			w.revoked.Add(revoke[kind](s))
			w.want(t, "/", cookie, want)
			if w.Holds(p, get("/")) || w.Holds(p, get("/public/x")) {
				t.Error("still holds")
			}
			own, err := w.DecideOwn(false, cookie)
			if diff := cmp.Diff(want, look(own)); diff != "" || err != nil {
				t.Errorf("own pages: %v\n%s", err, diff)
			}
			// What is public is so for everybody.
			w.want(t, "/public/x", cookie, view{Verdict: policy.Allow, Public: true, Rule: "routes[0] /public/ (public)"})
		})
	}
}

// POL 169: a block wins over every allow, admins included; and over an ended session.
func TestPOL169BlockWins(t *testing.T) {
	r := rules()
	r.Everyone = true
	r.Allow.Emails = []string{"alice@example.com"}
	w := newWall(t, r)
	cookie, s := w.signIn(t, "alice@example.com")
	w.revoked.Add(
		auth.Revocation{Kind: auth.RevokeSession, Key: string(s.ID), Active: true, Expires: s.Expires},
		auth.Revocation{Kind: auth.BlockEmail, Key: s.Identity.Email, Active: true},
	)
	w.want(t, "/", cookie, view{Denied: "alice@example.com", Route: -1, Rule: "block", Reason: policy.ReasonBlocked})
	d, err := w.DecideOwn(true, cookie)
	if err != nil || d.Verdict() != policy.Deny || d.Reason() != policy.ReasonBlocked {
		t.Errorf("ADM-225 a blocked admin: %+v, %v", look(d), err)
	}
}

func TestSES141142Expired(t *testing.T) {
	w := newWall(t, rules())
	cookie, _ := w.signIn(t, "bob@example.com")
	d, err := w.Decide(get("/"), cookie)
	if err != nil {
		t.Fatal(err)
	}
	p := d.Principal()
	w.clock.advance(24 * time.Hour)
	w.revoked.Apply(auth.Feed{})
	w.want(t, "/", cookie, challenge(true))
	if !w.Holds(p, get("/")) {
		t.Error("idle time cuts what is open")
	}
}

func TestSTO207OldRevocations(t *testing.T) {
	w := newWall(t, rules())
	cookie, _ := w.signIn(t, "alice@example.com")
	d, err := w.Decide(get("/"), cookie)
	if err != nil {
		t.Fatal(err)
	}
	p := d.Principal()
	w.clock.advance(5 * time.Minute)
	if d, err := w.Decide(get("/"), cookie); err != nil || d.Verdict() != policy.Allow {
		t.Errorf("at the limit: %+v, %v", look(d), err)
	}
	w.clock.advance(time.Millisecond)
	for _, c := range [][]string{cookie, nil, {"__Host-loginwall=x"}} {
		for name, decide := range map[string]func() (gate.Decision, error){
			"upstream": func() (gate.Decision, error) { return w.Decide(get("/"), c) },
			"own":      func() (gate.Decision, error) { return w.DecideOwn(false, c) },
			"admins":   func() (gate.Decision, error) { return w.DecideOwn(true, c) },
		} {
			d, err := decide()
			if !errors.Is(err, auth.ErrUnavailable) {
				t.Errorf("%s: error %v", name, err)
			}
			if diff := cmp.Diff(view{}, look(d)); diff != "" {
				t.Errorf("%s: not the zero Decision:\n%s", name, diff)
			}
		}
	}
	if w.Holds(p, get("/")) {
		t.Error("still holds")
	}
	w.want(t, "/public/x", cookie, view{Verdict: policy.Allow, Public: true, Rule: "routes[0] /public/ (public)"})
	w.want(t, "/nope/", cookie, view{Route: 2, Rule: "routes[2] /nope/ (nobody)", Reason: policy.ReasonNobody})
	if !w.Holds(nil, get("/public/x")) {
		t.Error("what is public does not hold")
	}

	w.revoked.Apply(auth.Feed{})
	if d, err := w.Decide(get("/"), cookie); err != nil || d.Verdict() != policy.Allow || !w.Holds(p, get("/")) {
		t.Errorf("when the store is back: %+v, %v", look(d), err)
	}
}

func TestFeedNeverRead(t *testing.T) {
	w := newWall(t, rules())
	cookie, _ := w.signIn(t, "alice@example.com")
	config := w.config
	config.Revoked = session.NewRevocations(w.clock.Now)
	g, err := gate.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Decide(get("/"), cookie); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
}

// No route speaks of loginwall's own pages, not even one that makes all public.
func TestADM225OwnPages(t *testing.T) {
	r := rules()
	r.Routes = []policy.Route{{Path: "/", Access: policy.Public}}
	w := newWall(t, r)
	for _, tt := range []struct {
		email           string
		account, admins view
	}{
		{"", challenge(false), challenge(false)},
		{
			"alice@example.com",
			view{Verdict: policy.Allow, Principal: "alice@example.com", Route: -1, Rule: "admins alice@example.com"},
			view{Verdict: policy.Allow, Principal: "alice@example.com", Route: -1, Rule: "admins alice@example.com"},
		},
		{
			"bob@example.com",
			view{Verdict: policy.Allow, Principal: "bob@example.com", Route: -1, Rule: "allow.domains example.com"},
			view{Denied: "bob@example.com", Route: -1, Rule: "admins", Reason: policy.ReasonNotAdmin},
		},
		{
			"mallory@evil.test",
			view{Denied: "mallory@evil.test", Route: -1, Rule: "allow", Reason: policy.ReasonDomain},
			view{Denied: "mallory@evil.test", Route: -1, Rule: "allow", Reason: policy.ReasonDomain},
		},
	} {
		var cookie []string
		if tt.email != "" {
			cookie, _ = w.signIn(t, tt.email)
		}
		for admins, want := range map[bool]view{false: tt.account, true: tt.admins} {
			d, err := w.DecideOwn(admins, cookie)
			if diff := cmp.Diff(want, look(d)); diff != "" || err != nil {
				t.Errorf("%s, admins %v: %v\n%s", tt.email, admins, err, diff)
			}
		}
	}
	if d, err := w.DecideOwn(true, []string{"__Host-loginwall=x"}); err != nil || d.Verdict() != policy.Challenge || !d.ClearCookie() {
		t.Errorf("BYP-039 junk: %+v, %v", look(d), err)
	}
}

// What is open holds only as long as the configuration now in force lets it in.
func TestHoldsAfterReload(t *testing.T) {
	w := newWall(t, rules())
	cookie, _ := w.signIn(t, "bob@example.com")
	d, err := w.Decide(get("/"), cookie)
	if err != nil {
		t.Fatal(err)
	}
	p := d.Principal()
	for _, tt := range []struct {
		name   string
		change func(*policy.Rules, *gate.Config)
		want   bool
	}{
		{"nothing", func(*policy.Rules, *gate.Config) {}, true},
		{"denied", func(r *policy.Rules, _ *gate.Config) { r.Deny = []string{"bob@example.com"} }, false},
		{"domain gone", func(r *policy.Rules, _ *gate.Config) { r.Allow.Domains[0].Name = "example.org" }, false},
		{"the route is for admins now", func(r *policy.Rules, _ *gate.Config) { r.Routes = []policy.Route{{Path: "/x", Access: policy.Admins}} }, false},
		{"public now", func(r *policy.Rules, _ *gate.Config) { r.Routes = []policy.Route{{Path: "/x", Access: policy.Public}} }, true},
		{"another provider", func(_ *policy.Rules, c *gate.Config) { c.Issuer = "https://other.test" }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, config := rules(), w.config
			tt.change(&r, &config)
			compiled, err := policy.Compile(r)
			if err != nil {
				t.Fatal(err)
			}
			config.Policy = compiled
			g, err := gate.New(config)
			if err != nil {
				t.Fatal(err)
			}
			if got := g.Holds(p, get("/x")); got != tt.want {
				t.Errorf("holds: %v, want %v", got, tt.want)
			}
		})
	}
	for path, want := range map[string]bool{"/public/x": true, "/": false, "/nope/": false, "/public/../": false} {
		for _, nobody := range []*gate.Principal{nil, {}} {
			if got := w.Holds(nobody, get(path)); got != want {
				t.Errorf("nobody holds %s: %v, want %v", path, got, want)
			}
		}
	}
	if w.Holds(p, get("/admin/")) {
		t.Error("bob holds /admin/")
	}
}

// One session is one pointer, so that others can compute things once for each.
func TestSessionIsShared(t *testing.T) {
	w := newWall(t, rules())
	cookie, _ := w.signIn(t, "bob@example.com")
	first, _ := w.Decide(get("/"), cookie)
	second, _ := w.Decide(get("/x"), cookie)
	if a, b := first.Principal().Session(), second.Principal().Session(); a != b || a == nil {
		t.Errorf("%p and %p", a, b)
	}
	if once, again := first.Principal(), first.Principal(); once != again || first.Principal().Identity() != &first.Principal().Session().Identity {
		t.Error("a Decision has more than one Principal")
	}
}

func TestNoAllocations(t *testing.T) {
	w := newWall(t, rules())
	cookie, _ := w.signIn(t, "bob@example.com")
	for _, path := range []string{"/", "/public/x", "/admin/x", "/api/v1/things/42"} {
		target := get(path)
		if n := testing.AllocsPerRun(100, func() {
			d, err := w.Decide(target, cookie)
			if err != nil || d.Verdict() == policy.Challenge {
				t.Fatalf("%+v, %v", look(d), err)
			}
			if p := d.Principal(); p != nil && p.Identity().Email == "" {
				t.Fatal("nobody")
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

// An error or a panic elsewhere must not become a way in: whatever stands in the
// Cookie header, without a cookie that was issued nobody gets in.
func FuzzCookieHeader(f *testing.F) {
	w := newWall(f, rules())
	bob, _ := w.signIn(f, "bob@example.com")
	value := []byte(strings.TrimPrefix(bob[0], "theme=dark; "))
	f.Add(bob[0], "/", "")
	f.Add("__Host-loginwall=", "/public/../x", "a=b")
	f.Add("__Host-loginwall=x; "+bob[0], "/admin/", bob[0])
	f.Add(strings.ToUpper(bob[0]), "/x", "")
	f.Fuzz(func(t *testing.T, first, path, second string) {
		cookie := []string{first, second}
		d, err := w.Decide(get(path), cookie)
		v := look(d)
		if err != nil {
			t.Fatalf("%+v, %v", v, err)
		}
		if v.Verdict == policy.Allow != (v.Public != (v.Principal != "")) {
			t.Errorf("allowed, public and somebody do not go together: %+v", v)
		}
		issued := bytes.Contains([]byte(first), value) || bytes.Contains([]byte(second), value)
		if v.Principal != "" && (v.Principal != "bob@example.com" || !issued) {
			t.Errorf("%+v got in with %q", v, cookie)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	for name, r := range map[string]policy.Rules{
		"no routes": {Google: true, Allow: policy.List{Domains: []policy.Domain{{Name: "example.com"}}}},
		"routes":    rules(),
	} {
		b.Run("seen cookie, "+name, func(b *testing.B) {
			w := newWall(b, r)
			cookie, _ := w.signIn(b, "bob@example.com")
			b.ReportAllocs()
			for b.Loop() {
				if d, err := w.Decide(get("/api/v1/things/42"), cookie); err != nil || d.Principal() == nil {
					b.Fatal(look(d), err)
				}
			}
		})
	}
	b.Run("new cookie", func(b *testing.B) {
		// A gate of its own for each batch, so that no cookie is seen twice.
		const batch = 1000
		b.ReportAllocs()
		var w *wall
		var cookies [][]string
		for n := 0; b.Loop(); n++ {
			if n%batch == 0 {
				b.StopTimer()
				w, cookies = newWall(b, rules()), nil
				for range batch {
					cookie, _ := w.signIn(b, "bob@example.com")
					cookies = append(cookies, cookie)
				}
				b.StartTimer()
			}
			if d, err := w.Decide(get("/api/v1/things/42"), cookies[n%batch]); err != nil || d.Principal() == nil {
				b.Fatal(look(d), err)
			}
		}
	})
}
