package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/policy"
)

const google = "https://accounts.google.com"

func person(email, hd string) *auth.Identity {
	return &auth.Identity{Issuer: google, Subject: "sub-" + email, Email: email, EmailVerified: true, HostedDomain: hd}
}

// The people of SECURITY-CASES.md.
func alice() *auth.Identity   { return person("alice@example.com", "example.com") }
func bob() *auth.Identity     { return person("bob@example.com", "example.com") }
func mallory() *auth.Identity { return person("mallory@evil.test", "evil.test") }
func carol() *auth.Identity   { return person("carol@gmail.com", "") }

func domains(names ...string) []policy.Domain {
	var ds []policy.Domain
	for _, n := range names {
		ds = append(ds, policy.Domain{Name: n})
	}
	return ds
}

func compile(t testing.TB, r policy.Rules) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(r)
	if err != nil {
		t.Fatalf("Compile: %v", err)
	}
	return p
}

func example() policy.Rules {
	return policy.Rules{Google: true, Allow: policy.List{Domains: domains("example.com")}}
}

func get(path string) policy.Target {
	return policy.Target{Method: "GET", Path: policy.ReadPath(path)}
}

func wantReason(t *testing.T, got policy.Decision, want policy.Reason) {
	t.Helper()
	verdict := policy.Deny
	if want == "" {
		verdict = policy.Allow
	}
	if got.Verdict != verdict || got.Reason != want {
		t.Errorf("got %v %q, want %v %q (rule %q)", got.Verdict, got.Reason, verdict, want, got.Rule)
	}
}

func TestZeroValuesDeny(t *testing.T) {
	var p policy.Policy
	for _, id := range []*auth.Identity{nil, {}, alice()} {
		if d := p.Decide(get("/"), id); d.Verdict != policy.Deny {
			t.Errorf("zero Policy: %+v for %v", d, id)
		}
		if d := p.Admits(id); d.Verdict != policy.Deny {
			t.Errorf("zero Policy admits: %+v for %v", d, id)
		}
		if p.IsAdmin(id) {
			t.Errorf("zero Policy: %v is an admin", id)
		}
	}
	if d := (policy.Decision{}); d.Verdict != policy.Deny || d.Public {
		t.Errorf("zero Decision: %+v", d)
	}
	q := compile(t, example())
	wantReason(t, q.Decide(get("/"), &auth.Identity{}), policy.ReasonNoAccount)
	q = compile(t, policy.Rules{Everyone: true})
	wantReason(t, q.Decide(get("/"), &auth.Identity{}), policy.ReasonNoAccount)
	wantReason(t, q.Decide(get("/"), &auth.Identity{Email: "a@example.com", EmailVerified: true}), policy.ReasonNoAccount)

	// A Path that nobody read matches every route.
	r := example()
	r.Routes = []policy.Route{{Path: "/", Access: policy.Public}}
	if d := compile(t, r).Decide(policy.Target{}, nil); d.Verdict != policy.Challenge || d.Public {
		t.Errorf("zero Target below a public route: %+v", d)
	}
	r.Routes = []policy.Route{{Path: "/x", Access: policy.Nobody}, {Path: "/", Access: policy.Public}}
	wantReason(t, compile(t, r).Decide(policy.Target{}, alice()), policy.ReasonNobody)
}

func TestNobodySignedInIsChallenged(t *testing.T) {
	d := compile(t, example()).Decide(get("/"), nil)
	want := policy.Decision{Verdict: policy.Challenge, Route: -1, Rule: "allow", Reason: policy.ReasonSignIn}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
}

func TestPOL153OnlyVerifiedAddresses(t *testing.T) {
	dave := person("dave@example.com", "example.com")
	dave.EmailVerified = false
	dave.Groups = []string{"sre"}
	lists := map[string]policy.Rules{
		"domain":   example(),
		"email":    {Google: true, Allow: policy.List{Emails: []string{dave.Email}}},
		"admin":    {Google: true, Allow: policy.List{Emails: []string{"x@example.com"}}, Admins: []string{dave.Email}},
		"group":    {Allow: policy.List{Groups: []string{"sre"}}},
		"everyone": {Google: true, Everyone: true},
	}
	for name, rules := range lists {
		t.Run(name, func(t *testing.T) {
			p := compile(t, rules)
			wantReason(t, p.Decide(get("/"), dave), policy.ReasonUnverified)
			if p.IsAdmin(dave) {
				t.Error("is an admin")
			}
			verified := *dave
			verified.EmailVerified = true
			wantReason(t, p.Decide(get("/"), &verified), "")
		})
	}
}

func TestPOL154ExactDomain(t *testing.T) {
	for _, domain := range []string{
		"evil-example.com", "example.com.evil.test", "sub.example.com", "xexample.com", "example.co",
		"example.comm", "com", "examplexcom", ".example.com", "example.com.", "xn--example-9d0b.com",
	} {
		t.Run(domain, func(t *testing.T) {
			for _, g := range []bool{true, false} {
				r := example()
				r.Google = g
				for _, hd := range []string{"", "example.com", domain} {
					if d := compile(t, r).Decide(get("/"), person("a@"+domain, hd)); d.Verdict != policy.Deny {
						t.Errorf("hd %q, google %v: %+v", hd, g, d)
					}
				}
			}
		})
	}
}

// Such addresses should never reach a policy: auth/oidc drops what
// auth.ParseEmail refuses. The policy does not count on it.
func TestPOL155157159OddAddresses(t *testing.T) {
	long := strings.Repeat("a", 250) + "@example.com"
	for id, email := range map[string]string{
		"POL-155 two ats, ours last":   "m@evil.test@example.com",
		"POL-155 two ats, ours first":  "m@example.com@evil.test",
		"POL-155 quoted":               `"a@example.com"@evil.test`,
		"POL-155 quoted local":         `"a"@example.com`,
		"POL-155 list":                 "a@example.com,b@x",
		"POL-155 list, ours last":      "b@x,a@example.com",
		"POL-155 angle":                "<a@example.com>",
		"POL-155 comment":              "a(b)@example.com",
		"POL-155 semicolon":            "a;b@example.com",
		"POL-155 route":                "@evil.test:a@example.com",
		"POL-155 backslash":            `a\@example.com`,
		"POL-155 literal":              "a@[example.com]",
		"POL-157 leading blank":        " a@example.com",
		"POL-157 trailing blank":       "a@example.com ",
		"POL-157 newline":              "a@example.com\n",
		"POL-157 inner newline":        "a\n@example.com",
		"POL-157 NUL":                  "a\x00@example.com",
		"POL-157 trailing NUL":         "a@example.com\x00",
		"POL-157 trailing dot":         "a@example.com.",
		"POL-157 blank behind the at":  "a@ example.com",
		"POL-157 tab":                  "a\t@example.com",
		"POL-157 upper case":           "A@example.com",
		"POL-157 upper-case domain":    "a@EXAMPLE.com",
		"POL-157 fullwidth":            "a@ｅxample.com",
		"POL-157 not UTF-8":            "a\xff@example.com",
		"POL-157 soft hyphen":          "a@exam\u00adple.com",
		"POL-157 Kelvin":               "bo\u212a@example.com",
		"POL-159 empty":                "",
		"POL-159 no local part":        "@example.com",
		"POL-159 no domain":            "a@",
		"POL-159 no at":                "example.com",
		"POL-159 at alone":             "@",
		"POL-166 longer than any mail": long,
	} {
		t.Run(id, func(t *testing.T) {
			who := person(email, "example.com")
			who.Groups = []string{"sre"}
			for name, r := range map[string]policy.Rules{
				"domains":  example(),
				"everyone": {Everyone: true},
				"groups":   {Allow: policy.List{Groups: []string{"sre"}}},
			} {
				if d := compile(t, r).Decide(get("/"), who); d.Verdict != policy.Deny {
					t.Errorf("%s: %+v", name, d)
				}
			}
		})
	}
}

func TestPOL158LetterCaseInTheFile(t *testing.T) {
	p := compile(t, policy.Rules{
		Google: true,
		Allow:  policy.List{Domains: []policy.Domain{{Name: "Example.COM"}}, Emails: []string{"Carol@GMail.com"}},
		Deny:   []string{"BOB@Example.com"},
		Admins: []string{"Alice@example.com"},
	})
	wantReason(t, p.Decide(get("/"), alice()), "")
	wantReason(t, p.Decide(get("/"), carol()), "")
	wantReason(t, p.Decide(get("/"), bob()), policy.ReasonDenyList)
	if !p.IsAdmin(alice()) {
		t.Error("alice is no admin")
	}
}

func TestPOL161HostedDomain(t *testing.T) {
	plain := example()
	alias := policy.Rules{Google: true, Allow: policy.List{Domains: []policy.Domain{{Name: "alias.test", HostedDomain: "example.com"}}}}
	byEmail := example()
	byEmail.Allow.Emails = []string{"alice@example.com", "zoe@elsewhere.test"}
	byEmail.Admins = []string{"bob@example.com"}
	generic := example()
	generic.Google = false
	for _, tt := range []struct {
		name      string
		rules     policy.Rules
		email, hd string
		want      policy.Reason
	}{
		{"both ours", plain, "alice@example.com", "example.com", ""},
		{"hd of another", plain, "alice@example.com", "evil.test", policy.ReasonHosted},
		{"no hd: a consumer account on a company address", plain, "alice@example.com", "", policy.ReasonHosted},
		{"hd ours, address elsewhere", plain, "alice@alias.test", "example.com", policy.ReasonDomain},
		{"hd ours, gmail address", plain, "alice@gmail.com", "example.com", policy.ReasonDomain},
		{"hd in another case", plain, "alice@example.com", "Example.com", policy.ReasonHosted},
		{"hd a subdomain", plain, "alice@example.com", "sub.example.com", policy.ReasonHosted},
		{"pair listed", alias, "alice@alias.test", "example.com", ""},
		{"pair listed, hd the domain itself", alias, "alice@alias.test", "alias.test", policy.ReasonHosted},
		{"pair listed, no hd", alias, "alice@alias.test", "", policy.ReasonHosted},
		{"pair listed, the primary domain is not", alias, "alice@example.com", "example.com", policy.ReasonDomain},
		{"an entry of emails obeys its domain's hd", byEmail, "alice@example.com", "", policy.ReasonHosted},
		{"an entry of emails with the hd", byEmail, "alice@example.com", "example.com", ""},
		{"an entry of emails of no listed domain", byEmail, "zoe@elsewhere.test", "", ""},
		{"an admin obeys the domain's hd", byEmail, "bob@example.com", "", policy.ReasonHosted},
		{"generic provider: hd is not looked at", generic, "alice@example.com", "", ""},
		{"generic provider: hd is not looked at, nor another", generic, "alice@example.com", "evil.test", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := compile(t, tt.rules)
			wantReason(t, p.Decide(get("/"), person(tt.email, tt.hd)), tt.want)
			wantReason(t, p.Admits(person(tt.email, tt.hd)), tt.want)
		})
	}
	if p := compile(t, byEmail); p.IsAdmin(person("bob@example.com", "")) || !p.IsAdmin(bob()) {
		t.Error("the role of an address in allow.domains goes without its hd, or does not go with it")
	}
}

// With everyone, the consumer account on a company address may pass as anybody
// may, but it does not become the colleague whose address it carries.
func TestPOL161EveryoneDoesNotLendTheAddress(t *testing.T) {
	r := example()
	r.Everyone = true
	r.Admins = []string{"alice@example.com"}
	r.Routes = []policy.Route{{Path: "/team/", Allow: &policy.List{Emails: []string{"alice@example.com"}}}}
	p := compile(t, r)
	fake := person("alice@example.com", "")
	wantReason(t, p.Decide(get("/"), fake), "")
	wantReason(t, p.Decide(get("/team/"), fake), policy.ReasonHosted)
	if p.IsAdmin(fake) {
		t.Error("the consumer account is an admin")
	}
	wantReason(t, p.Decide(get("/team/"), alice()), "")
}

func TestPOL162Gmail(t *testing.T) {
	for _, name := range []string{"gmail.com", "googlemail.com"} {
		p := compile(t, policy.Rules{Google: true, Allow: policy.List{Domains: domains(name)}})
		wantReason(t, p.Decide(get("/"), person("carol@"+name, "")), "")
		wantReason(t, p.Decide(get("/"), person("carol@"+name, "evil.test")), policy.ReasonHosted)
		wantReason(t, p.Decide(get("/"), person("carol@other.test", "")), policy.ReasonDomain)
	}
	p := compile(t, policy.Rules{Google: true, Allow: policy.List{Domains: domains("gmail.com")}})
	wantReason(t, p.Decide(get("/"), person("carol@googlemail.com", "")), policy.ReasonDomain)
}

func TestPOL163PlusAddress(t *testing.T) {
	plus := person("alice+x@example.com", "example.com")
	p := compile(t, policy.Rules{Google: true, Allow: policy.List{Emails: []string{"alice@example.com"}}})
	wantReason(t, p.Decide(get("/"), plus), policy.ReasonNotListed)
	wantReason(t, compile(t, example()).Decide(get("/"), plus), "")
}

func TestPOL165NoWildcards(t *testing.T) {
	for _, d := range []string{
		"*", "*.example.com", ".example.com", "@example.com", "example.com ", " example.com", "example.com.", "", "com",
		"https://example.com", "example.com/", "ex ample.com", "exämple.com", "example.com,evil.test", "[\"\"]", "10.0.0.1:80",
	} {
		t.Run(d, func(t *testing.T) {
			for _, g := range []bool{true, false} {
				if _, err := policy.Compile(policy.Rules{Google: g, Allow: policy.List{Domains: domains(d)}}); err == nil {
					t.Errorf("Compile took domain %q (google %v)", d, g)
				}
			}
			if _, err := policy.Compile(policy.Rules{Google: true, Allow: policy.List{Domains: []policy.Domain{{Name: "brand.com", HostedDomain: d}}}}); err == nil && d != "" {
				t.Errorf("Compile took hosted domain %q", d)
			}
		})
	}
	for _, e := range []string{"*", "*@", "@example.com", "example.com", "a@*", "a@example.com ", "", "a@b@c.de", "A <a@example.com>"} {
		t.Run("email "+e, func(t *testing.T) {
			for name, r := range map[string]policy.Rules{
				"allow":  {Allow: policy.List{Emails: []string{e}}},
				"admins": {Everyone: true, Admins: []string{e}},
				"deny":   {Everyone: true, Deny: []string{e}},
			} {
				if _, err := policy.Compile(r); err == nil {
					t.Errorf("Compile took %q under %s", e, name)
				}
			}
		})
	}
}

func TestPOL166HugeInput(t *testing.T) {
	p := compile(t, policy.Rules{Everyone: true, Routes: []policy.Route{{Path: "/public/", Access: policy.Public}, {Path: "/x", Access: policy.Nobody}}})
	labels := "a@" + strings.Repeat("a.", 1e5) + "com"
	start := time.Now()
	for _, email := range []string{strings.Repeat("a", 1<<20) + "@example.com", labels, strings.Repeat("@", 1<<20)} {
		wantReason(t, p.Decide(get("/"), person(email, "")), policy.ReasonNoEmail)
	}
	for _, piece := range []string{"a", "a/", "/", "../", "%2e%2e%2f", "%252f", ";a/", `\`, "%c0%ae", "%00", "ａ", "%u002e", "%25"} {
		path := "/public/" + strings.Repeat(piece, 1<<20/len(piece))
		d := p.Decide(get(path), nil)
		if public := piece == "a" || piece == "a/"; d.Public != public {
			t.Errorf("1 MiB of %q: %+v", piece, d)
		}
		if piece != "a" && piece != "a/" {
			wantReason(t, p.Decide(get(path), alice()), policy.ReasonNobody)
		}
	}
	// Generous: no bar, a guard against what is quadratic.
	if d := time.Since(start); d > time.Minute {
		t.Errorf("took %v", d)
	}
}

func TestPOL169DenyWins(t *testing.T) {
	p := compile(t, policy.Rules{
		Google:   true,
		Allow:    policy.List{Domains: domains("example.com"), Emails: []string{"bob@example.com"}},
		Everyone: true,
		Admins:   []string{"bob@example.com"},
		Deny:     []string{"bob@example.com"},
		Routes: []policy.Route{
			{Path: "/team/", Allow: &policy.List{Emails: []string{"bob@example.com"}}},
			{Path: "/admin/", Access: policy.Admins},
			{Path: "/public/", Access: policy.Public},
		},
	})
	for _, path := range []string{"/", "/team/", "/admin/"} {
		d := p.Decide(get(path), bob())
		wantReason(t, d, policy.ReasonDenyList)
		if want := "deny.emails bob@example.com"; d.Rule != want {
			t.Errorf("rule %q, want %q", d.Rule, want)
		}
	}
	wantReason(t, p.Admits(bob()), policy.ReasonDenyList)
	if p.IsAdmin(bob()) {
		t.Error("a denied admin is an admin")
	}
	if d := p.Decide(get("/public/"), bob()); !d.Public {
		t.Errorf("public is for anybody, so also for who signed in and is denied: %+v", d)
	}
}

func TestEveryone(t *testing.T) {
	p := compile(t, policy.Rules{Google: true, Everyone: true})
	for _, id := range []*auth.Identity{alice(), mallory(), carol()} {
		d := p.Decide(get("/"), id)
		wantReason(t, d, "")
		if d.Rule != "allow.everyone" {
			t.Errorf("rule %q", d.Rule)
		}
	}
	if d := p.Decide(get("/"), nil); d.Verdict != policy.Challenge {
		t.Errorf("everyone is everyone with an account, got %+v", d)
	}
}

func TestGroups(t *testing.T) {
	p := compile(t, policy.Rules{
		Allow: policy.List{Groups: []string{"sre", "dev"}, Emails: []string{"boss@example.com"}},
		Routes: []policy.Route{
			{Path: "/deploy/", Allow: &policy.List{Groups: []string{"sre", "release"}}},
		},
	})
	if diff := cmp.Diff([]string{"dev", "release", "sre"}, p.Groups()); diff != "" {
		t.Error(diff)
	}
	member := func(groups ...string) *auth.Identity {
		id := person("gus@elsewhere.test", "")
		id.Groups = groups
		return id
	}
	wantReason(t, p.Decide(get("/"), member("x", "dev")), "")
	wantReason(t, p.Decide(get("/"), member("Dev", "dev ", "")), policy.ReasonNotListed)
	wantReason(t, p.Decide(get("/"), member()), policy.ReasonNotListed)
	wantReason(t, p.Decide(get("/deploy/"), member("dev")), policy.ReasonGroup)
	wantReason(t, p.Decide(get("/deploy/"), member("sre")), "")
	// In the route's list, but not in the list that it narrows.
	wantReason(t, p.Decide(get("/deploy/"), member("release")), policy.ReasonNotListed)
}

func TestAdminsAreLetIn(t *testing.T) {
	r := example()
	r.Admins = []string{"carol@gmail.com"}
	r.Routes = []policy.Route{
		{Path: "/admin/", Access: policy.Admins},
		{Path: "/team/", Allow: &policy.List{Emails: []string{"alice@example.com"}}},
		{Path: "/both/", Access: policy.Admins, Allow: &policy.List{Emails: []string{"alice@example.com"}}},
		{Path: "/nope/", Access: policy.Nobody},
	}
	p := compile(t, r)
	wantReason(t, p.Admits(carol()), "")
	wantReason(t, p.Decide(get("/"), carol()), "")
	wantReason(t, p.Decide(get("/admin/"), carol()), "")
	wantReason(t, p.Decide(get("/team/"), carol()), policy.ReasonNotListed)
	wantReason(t, p.Decide(get("/both/"), carol()), policy.ReasonNotListed)
	wantReason(t, p.Decide(get("/nope/"), carol()), policy.ReasonNobody)
	wantReason(t, p.Decide(get("/admin/"), alice()), policy.ReasonNotAdmin)
	wantReason(t, p.Decide(get("/both/"), alice()), policy.ReasonNotAdmin)
	if !p.IsAdmin(carol()) || p.IsAdmin(alice()) || p.IsAdmin(nil) {
		t.Error("IsAdmin")
	}
}

func TestRuleText(t *testing.T) {
	r := example()
	r.Allow.Emails = []string{"carol@gmail.com"}
	r.Deny = []string{"bob@example.com"}
	r.Routes = []policy.Route{
		{Path: "/pub/", Access: policy.Public},
		{Path: "/admin/", Access: policy.Admins},
		{Path: "/gone", Access: policy.Nobody},
		{Path: "/docs/"},
	}
	p := compile(t, r)
	for _, tt := range []struct {
		path  string
		who   *auth.Identity
		route int
		want  string
	}{
		{"/", alice(), -1, "allow.domains example.com"},
		{"/", carol(), -1, "allow.emails carol@gmail.com"},
		{"/", mallory(), -1, "allow"},
		{"/", nil, -1, "allow"},
		{"/", person("alice@example.com", ""), -1, "allow.domains example.com"},
		{"/", bob(), -1, "deny.emails bob@example.com"},
		{"/pub/x", nil, 0, "routes[0] /pub/ (public)"},
		{"/admin/x", alice(), 1, "routes[1] /admin/ (admins)"},
		{"/admin/x", nil, 1, "routes[1] /admin/ (admins)"},
		{"/admin/x", mallory(), 1, "allow"},
		{"/gone", alice(), 2, "routes[2] /gone (nobody)"},
		{"/docs/x", alice(), 3, "routes[3] /docs/ (allowed)"},
		{"/pub/../admin/", alice(), 0, "routes[1] /admin/ (admins), by another reading of the path"},
		{"/pub//x", alice(), 0, "routes[0] /pub/ (public, but not for an odd path or method)"},
	} {
		d := p.Decide(get(tt.path), tt.who)
		if d.Rule != tt.want || d.Route != tt.route {
			t.Errorf("%s: rule %q, route %d; want %q, %d", tt.path, d.Rule, d.Route, tt.want, tt.route)
		}
	}
}

func TestVerdictString(t *testing.T) {
	got := fmt.Sprint(policy.Deny, policy.Challenge, policy.Allow, policy.Verdict(7))
	if want := "deny challenge allow deny"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
