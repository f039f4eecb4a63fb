package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/policy"
)

// what names a decision for tables: public, or allow, deny, challenge for bob.
func what(d policy.Decision) string {
	if d.Public {
		return "public"
	}
	return d.Verdict.String()
}

func TestFirstMatchWins(t *testing.T) {
	r := example()
	r.Admins = []string{"alice@example.com"}
	r.Routes = []policy.Route{
		0: {Path: "/admin/help", Access: policy.Public},
		1: {Path: "/admin/", Access: policy.Admins},
		2: {Path: "/hook", Methods: []string{"POST"}, Access: policy.Public},
		3: {Path: "/gone", Access: policy.Nobody},
		4: {Path: "/gone/kept/", Access: policy.Allowed},
		5: {Path: "/pub/private/", Access: policy.Allowed},
		6: {Path: "/pub/", Methods: []string{"GET", "OPTIONS"}, Access: policy.Public},
		7: {Path: "/open/", Access: policy.Public},
	}
	p := compile(t, r)
	for _, tt := range []struct {
		method, path   string
		route          int
		anonymous, bob string
	}{
		{"GET", "/", -1, "challenge", "allow"},
		{"GET", "/admin/help", 0, "public", "public"},
		{"GET", "/admin/help/", 1, "challenge", "deny"},
		{"GET", "/admin/help/x", 1, "challenge", "deny"},
		{"GET", "/admin/helpx", 1, "challenge", "deny"},
		{"GET", "/admin/", 1, "challenge", "deny"},
		{"FOO", "/admin/x", 1, "challenge", "deny"},
		{"GET", "/administration", -1, "challenge", "allow"},
		{"POST", "/hook", 2, "public", "public"},
		{"GET", "/hook", -1, "challenge", "allow"},
		{"HEAD", "/hook", -1, "challenge", "allow"},
		{"POST", "/hook/", -1, "challenge", "allow"},
		{"POST", "/hook/x", -1, "challenge", "allow"},
		{"POST", "/hookx", -1, "challenge", "allow"},
		{"POST", "/x/hook", -1, "challenge", "allow"},
		{"POST", "/Hook", -1, "challenge", "allow"},
		{"GET", "/gone", 3, "deny", "deny"},
		{"GET", "/gone/x", -1, "challenge", "allow"},
		{"GET", "/gone/kept/", 4, "challenge", "allow"},
		{"GET", "/pub/x/y.html", 6, "public", "public"},
		{"HEAD", "/pub/x/y.html", 6, "public", "public"},
		{"OPTIONS", "/pub/x", 6, "public", "public"},
		{"POST", "/pub/x", -1, "challenge", "allow"},
		{"FOO", "/pub/x", -1, "challenge", "allow"},
		{"GET", "/pub/private/x", 5, "challenge", "allow"},
		{"GET", "/pub", -1, "challenge", "allow"},
		{"GET", "/pub/", 6, "public", "public"},
		{"GET", "/open/", 7, "public", "public"},
		{"FOO", "/open/x", 7, "public", "public"},
		{"GET", "/open", -1, "challenge", "allow"},
		{"GET", "*", -1, "deny", "deny"},
		{"GET", "", -1, "deny", "deny"},
	} {
		target := policy.Target{Method: tt.method, Path: policy.ReadPath(tt.path)}
		anonymous := p.Decide(target, nil)
		if got := what(anonymous); got != tt.anonymous || anonymous.Route != tt.route {
			t.Errorf("%s %s: anonymous %s by route %d, want %s by %d", tt.method, tt.path, got, anonymous.Route, tt.anonymous, tt.route)
		}
		if got := what(p.Decide(target, bob())); got != tt.bob {
			t.Errorf("%s %s: bob %s, want %s", tt.method, tt.path, got, tt.bob)
		}
		// Whatever is not public is closed to a stranger with an account.
		if got := p.Decide(target, mallory()); got.Verdict == policy.Allow && !got.Public {
			t.Errorf("%s %s: mallory %+v", tt.method, tt.path, got)
		}
	}
}

// A rule also holds for the path with its last slash added or taken away, and in
// another letter case, because the router behind may take them for one. This only
// takes away.
func TestTwinsOfARule(t *testing.T) {
	r := example()
	r.Routes = []policy.Route{
		{Path: "/docs", Access: policy.Allowed},
		{Path: "/docs/", Access: policy.Nobody},
		{Path: "/dir/", Access: policy.Nobody},
		{Path: "/exact", Access: policy.Nobody},
		{Path: "/hook", Access: policy.Public},
		{Path: "/Case/", Access: policy.Nobody},
		{Path: "/app/secret/", Access: policy.Nobody},
		{Path: "/app/", Access: policy.Public},
		{Path: "/api/"},
		{Path: "/", Access: policy.Nobody},
	}
	p := compile(t, r)
	for path, want := range map[string]string{
		"/docs":         "challenge", // named itself, so the folder's rule is silent
		"/docs/":        "deny",
		"/DOCS/":        "deny",
		"/dir/":         "deny",
		"/dir":          "deny",
		"/DIR":          "deny",
		"/exact/":       "deny",
		"/eXact":        "deny",
		"/exact":        "deny",
		"/hook":         "public",
		"/hook/":        "deny",
		"/HOOK":         "deny",
		"/case/x":       "deny",
		"/Case/x":       "deny",
		"/CASE":         "deny",
		"/app/x":        "public",
		"/app/X/":       "public",
		"/app/secret":   "deny",
		"/app/Secret":   "deny",
		"/app/SECRET/x": "deny",
		"/app/secrets":  "public",
		"/APP/x":        "deny",
		"/app":          "deny",
		"/api":          "deny", // the looser rule of /api/ gives nothing to /api
		"/api/":         "challenge",
		"/API/":         "deny",
	} {
		if got := what(p.Decide(get(path), nil)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestBYP032Methods(t *testing.T) {
	r := example()
	r.Admins = []string{"alice@example.com"}
	r.Routes = []policy.Route{
		{Path: "/pub/", Methods: []string{"GET"}, Access: policy.Public},
		{Path: "/open/", Access: policy.Public},
		{Path: "/admin/", Methods: []string{"GET", "POST"}, Access: policy.Admins},
	}
	p := compile(t, r)
	long := strings.Repeat("A", 300)
	for _, method := range []string{"OPTIONS", "PUT", "PROPFIND", "get", "Get", "gET", "FOO", long, "", "GET ", "G\x00ET", "head"} {
		for _, path := range []string{"/", "/pub/x"} {
			if d := p.Decide(policy.Target{Method: method, Path: policy.ReadPath(path)}, nil); d.Verdict != policy.Challenge {
				t.Errorf("%q %s: %+v", method, path, d)
			}
		}
	}
	for method, want := range map[string]bool{"GET": true, "HEAD": true, "FOO": true, "M-SEARCH": true, "get": false, "": false, "Foo": false} {
		if d := p.Decide(policy.Target{Method: method, Path: policy.ReadPath("/open/x")}, nil); d.Public != want {
			t.Errorf("%q on a route for all methods: %+v", method, d)
		}
	}
	for method, want := range map[string]string{"GET": "deny", "POST": "deny", "HEAD": "deny", "get": "deny", "pOSt": "deny", "PUT": "allow", "head": "deny"} {
		if got := what(p.Decide(policy.Target{Method: method, Path: policy.ReadPath("/admin/x")}, bob())); got != want {
			t.Errorf("%q on admins' GET and POST: bob %s, want %s", method, got, want)
		}
	}
}

func TestRouteNarrowsTheList(t *testing.T) {
	r := example()
	r.Allow.Emails = []string{"carol@gmail.com"}
	r.Routes = []policy.Route{
		{Path: "/boss/", Methods: []string{"GET", "POST"}, Allow: &policy.List{Emails: []string{"alice@example.com", "mallory@evil.test"}}},
		{Path: "/staff/", Allow: &policy.List{Domains: domains("example.com")}},
		{Path: "/partner/", Allow: &policy.List{Domains: domains("evil.test")}},
	}
	p := compile(t, r)
	wantReason(t, p.Decide(get("/boss/x"), alice()), "")
	wantReason(t, p.Decide(get("/boss/x"), bob()), policy.ReasonNotListed)
	wantReason(t, p.Decide(get("/boss/x"), mallory()), policy.ReasonNotListed)
	wantReason(t, p.Decide(policy.Target{Method: "PUT", Path: policy.ReadPath("/boss/x")}, bob()), "")
	wantReason(t, p.Decide(get("/staff/"), bob()), "")
	wantReason(t, p.Decide(get("/staff/"), carol()), policy.ReasonDomain)
	wantReason(t, p.Decide(get("/partner/"), mallory()), policy.ReasonNotListed)
	wantReason(t, p.Admits(mallory()), policy.ReasonNotListed)
	wantReason(t, p.Admits(bob()), "")
}

// A domain in a route's own list means the Workspace too.
func TestPOL161RouteWithADomain(t *testing.T) {
	r := policy.Rules{Google: true, Everyone: true, Routes: []policy.Route{{Path: "/staff/", Allow: &policy.List{
		Domains: []policy.Domain{{Name: "example.com"}, {Name: "brand.com", HostedDomain: "example.com"}},
		Emails:  []string{"bob@example.com"},
	}}}}
	p := compile(t, r)
	for _, tt := range []struct {
		email, hd string
		want      policy.Reason
	}{
		{"alice@example.com", "example.com", ""},
		{"alice@brand.com", "example.com", ""},
		{"alice@example.com", "", policy.ReasonHosted},
		{"bob@example.com", "", policy.ReasonHosted},
		{"alice@brand.com", "brand.com", policy.ReasonHosted},
	} {
		wantReason(t, p.Decide(get("/staff/"), person(tt.email, tt.hd)), tt.want)
		wantReason(t, p.Decide(get("/"), person(tt.email, tt.hd)), "")
	}
}

func TestCompileRefuses(t *testing.T) {
	ok := policy.List{Domains: domains("example.com")}
	route := func(rs ...policy.Route) policy.Rules { return policy.Rules{Google: true, Allow: ok, Routes: rs} }
	for _, tt := range []struct {
		name  string
		rules policy.Rules
		want  string // what Problems must contain
	}{
		{"CFG238 nothing", policy.Rules{}, "allow: nobody is allowed"},
		{"CFG238 no entry", policy.Rules{Allow: policy.List{Domains: []policy.Domain{}, Emails: []string{}}}, "allow: nobody is allowed"},
		{"CFG238 empty entry", policy.Rules{Allow: policy.List{Domains: domains("")}}, `allow.domains[0]: ""`},
		{"CFG238 only admins", policy.Rules{Admins: []string{"a@example.com"}}, "allow: nobody is allowed"},
		{"CFG238 only a public route", policy.Rules{Routes: []policy.Route{{Path: "/", Access: policy.Public}}}, "allow: nobody is allowed"},
		{"groups with google", policy.Rules{Google: true, Allow: policy.List{Groups: []string{"sre@example.com"}}}, "allow.groups[0]: Google"},
		{"groups with google in a route", route(policy.Route{Path: "/x", Allow: &policy.List{Groups: []string{"g"}}}), "routes[0].allow.groups[0]: Google"},
		{"empty group", policy.Rules{Allow: policy.List{Groups: []string{""}}}, "allow.groups[0]"},
		{"group with blanks", policy.Rules{Allow: policy.List{Groups: []string{" a"}}}, "allow.groups[0]"},
		{"hosted domain of gmail.com", policy.Rules{Google: true, Allow: policy.List{Domains: []policy.Domain{{"gmail.com", "example.com"}}}}, "belong to no hosted_domain"},
		{"hosted domain without google", policy.Rules{Allow: policy.List{Domains: []policy.Domain{{"brand.com", "example.com"}}}}, "hosted_domain is a claim of Google's"},
		{"one domain, two owners", policy.Rules{Google: true, Allow: policy.List{Domains: []policy.Domain{{"brand.com", "example.com"}, {Name: "brand.com"}}}}, "allow.domains[1]: brand.com is listed twice"},
		{"deny", policy.Rules{Allow: ok, Deny: []string{"a@b.de", "nobody"}}, "deny.emails[1]"},
		{"admins", policy.Rules{Allow: ok, Admins: []string{"*"}}, "admins[0]"},

		{"no slash", route(policy.Route{Path: "admin"}), "write /admin"},
		{"no path", route(policy.Route{}), "routes[0].path"},
		{"query", route(policy.Route{Path: "/x?y"}), "not a plain path"},
		{"fragment", route(policy.Route{Path: "/x#y"}), "not a plain path"},
		{"star", route(policy.Route{Path: "/x/*"}), "not a plain path"},
		{"dot segment", route(policy.Route{Path: "/x/../y"}), "not a plain path"},
		{"single dot", route(policy.Route{Path: "/./x"}), "not a plain path"},
		{"double slash", route(policy.Route{Path: "/x//y"}), "not a plain path"},
		{"escape", route(policy.Route{Path: "/x%20y"}), "not a plain path"},
		{"blank", route(policy.Route{Path: "/x y"}), "not a plain path"},
		{"backslash", route(policy.Route{Path: `/x\y`}), "not a plain path"},
		{"parameter", route(policy.Route{Path: "/x;y"}), "not a plain path"},
		{"not ASCII", route(policy.Route{Path: "/über/"}), "not a plain path"},
		{"dot at the end", route(policy.Route{Path: "/x./"}), "not a plain path"},
		{"ours", route(policy.Route{Path: "/_auth/"}), "loginwall's own"},
		{"ours, below", route(policy.Route{Path: "/_auth/users", Access: policy.Public}), "loginwall's own"},
		{"ours, itself", route(policy.Route{Path: "/_auth"}), "loginwall's own"},
		{"ours, in another case", route(policy.Route{Path: "/_AUTH/x"}), "loginwall's own"},
		{"no methods", route(policy.Route{Path: "/x", Methods: []string{}}), "routes[0].methods: an empty list"},
		{"lower-case method", route(policy.Route{Path: "/x", Methods: []string{"GET", "post"}}), `routes[0].methods[1]: "post"`},
		{"empty method", route(policy.Route{Path: "/x", Methods: []string{""}}), "routes[0].methods[0]"},
		{"star for methods", route(policy.Route{Path: "/x", Methods: []string{"*"}}), "routes[0].methods[0]"},
		{"access", route(policy.Route{Path: "/x", Access: "private"}), `routes[0].access: "private"`},
		{"access in another case", route(policy.Route{Path: "/x", Access: "Public"}), `routes[0].access: "Public"`},
		{"public and allow", route(policy.Route{Path: "/x", Access: policy.Public, Allow: &ok}), "routes[0].allow: decides nothing"},
		{"nobody and allow", route(policy.Route{Path: "/x", Access: policy.Nobody, Allow: &ok}), "routes[0].allow: decides nothing"},
		{"empty allow", route(policy.Route{Path: "/x", Allow: &policy.List{}}), "routes[0].allow: nobody is allowed"},
		{"bad allow", route(policy.Route{Path: "/x", Allow: &policy.List{Emails: []string{"x"}}}), "routes[0].allow.emails[0]"},

		{"twice", route(policy.Route{Path: "/x"}, policy.Route{Path: "/x", Access: policy.Nobody}), "routes[1]: never decides, since routes[0] /x"},
		{"behind its folder", route(policy.Route{Path: "/x/"}, policy.Route{Path: "/y"}, policy.Route{Path: "/x/y/", Methods: []string{"GET"}}), "routes[2]: never decides, since routes[0] /x/"},
		{"behind everything", route(policy.Route{Path: "/"}, policy.Route{Path: "/y"}), "routes[1]: never decides"},
		{"behind its methods", route(policy.Route{Path: "/x", Methods: []string{"GET", "PUT"}}, policy.Route{Path: "/x", Methods: []string{"HEAD"}}), "routes[1]: never decides"},
		{"behind several", route(policy.Route{Path: "/x", Methods: []string{"GET"}}, policy.Route{Path: "/", Methods: []string{"PUT"}}, policy.Route{Path: "/x", Methods: []string{"PUT", "GET"}}), "routes[2]: never decides"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := policy.Compile(tt.rules)
			if err == nil || p != nil {
				t.Fatalf("Compile: %v, %v; want nil and an error", p, err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error does not say %q:\n%v", tt.want, err)
			}
			if problems := (policy.Problems{}); !errors.As(err, &problems) || len(problems) == 0 {
				t.Errorf("%T is not Problems", err)
			}
		})
	}
}

func TestCompileAccepts(t *testing.T) {
	ok := policy.List{Domains: domains("example.com")}
	for name, rules := range map[string]policy.Rules{
		"everyone":                  {Google: true, Everyone: true},
		"everyone and a list":       {Google: true, Everyone: true, Allow: ok},
		"a domain twice":            {Google: true, Allow: policy.List{Domains: domains("example.com", "Example.com")}},
		"several methods":           {Allow: ok, Routes: []policy.Route{{Path: "/x", Methods: []string{"GET"}}, {Path: "/x", Methods: []string{"GET", "POST"}}, {Path: "/x"}}},
		"a folder and its name":     {Allow: ok, Routes: []policy.Route{{Path: "/x/"}, {Path: "/x"}}},
		"cases":                     {Allow: ok, Routes: []policy.Route{{Path: "/x"}, {Path: "/X"}}},
		"what else a path may hold": {Allow: ok, Routes: []policy.Route{{Path: "/.well-known/a-b_c~d/e,f=g@h:i!(j)&k+l'"}}},
		"near ours":                 {Allow: ok, Routes: []policy.Route{{Path: "/_authx"}, {Path: "/_auth-x/"}, {Path: "/x/_auth/"}}},
	} {
		if _, err := policy.Compile(rules); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompileTellsEverything(t *testing.T) {
	_, err := policy.Compile(policy.Rules{
		Google: true,
		Allow:  policy.List{Domains: domains("*.example.com"), Emails: []string{"x"}},
		Deny:   []string{"y"},
		Routes: []policy.Route{{Path: "x", Methods: []string{"get"}, Access: "all"}, {Path: "/_auth/"}},
	})
	var problems policy.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("%T: %v", err, err)
	}
	var keys []string
	for _, p := range problems {
		keys = append(keys, p.Key)
	}
	want := []string{"allow.domains[0]", "allow.emails[0]", "deny.emails[0]", "routes[0].path", "routes[0].methods[0]", "routes[0].access", "routes[1].path"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Error(diff)
	}
}

// A Policy keeps nothing of the Rules that a caller could still change.
func TestPolicyIsImmutable(t *testing.T) {
	r := example()
	r.Allow.Groups = nil
	r.Routes = []policy.Route{{Path: "/pub/", Methods: []string{"GET"}, Access: policy.Public}}
	p := compile(t, r)
	r.Routes[0].Methods[0] = "POST"
	r.Routes[0].Path = "/"
	r.Allow.Domains[0].Name = "evil.test"
	if d := p.Decide(policy.Target{Method: "POST", Path: policy.ReadPath("/pub/x")}, nil); d.Public {
		t.Error("changed from outside")
	}
	wantReason(t, p.Decide(get("/"), mallory()), policy.ReasonDomain)
}

func TestConcurrentUse(t *testing.T) {
	p := compile(t, routed())
	done := make(chan bool)
	for range 4 {
		go func() {
			defer func() { done <- true }()
			for _, path := range []string{"/public/x", "/public/..%2fadmin/", "/x"} {
				for _, id := range []*auth.Identity{nil, alice(), mallory()} {
					p.Decide(get(path), id)
				}
			}
		}()
	}
	for range 4 {
		<-done
	}
}
