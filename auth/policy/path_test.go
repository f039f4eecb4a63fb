package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/policy"
)

// routed is the policy of the tests about paths: one rule of every kind.
func routed() policy.Rules {
	r := example()
	r.Admins = []string{"alice@example.com"}
	r.Routes = []policy.Route{
		{Path: "/public/private/", Access: policy.Admins},
		{Path: "/public/", Access: policy.Public},
		{Path: "/hook", Access: policy.Public},
		{Path: "/admin/", Access: policy.Admins},
		{Path: "/nope/", Access: policy.Nobody},
	}
	return r
}

// Everything here has been somebody's way around a login (SECURITY-CASES 027):
// a proxy that saw a public path before an application that saw another one.
func TestBYP027NotPublic(t *testing.T) {
	p := compile(t, routed())
	for _, path := range []string{
		"/public/../secret",
		"/public/..",
		"/public/../",
		"/public/./../secret",
		"/public/x/../../secret",
		"/public/...//secret",
		"/public/.../secret",
		"/public/.",
		"/public/./x",
		"/public//x",
		"/public//../secret",
		"//public/x",
		"/public///x",
		"/x/../public/x",
		"/secret/../public/x",
		"/./public/x",
		"/public/%2e%2e/secret",
		"/public/%2E%2E/secret",
		"/public/.%2e/secret",
		"/public/%2e./secret",
		"/public/%2e%2e%2fsecret",
		"/public/..%2fsecret",
		"/public/..%2Fsecret",
		"/public/x%2fy",
		"/public%2fx",
		"/public%2f..%2fsecret",
		"/public/%2e",
		"/public/..;/secret",
		"/public/..;x=y/secret",
		"/public/..%3b/secret",
		"/public/%2e%2e;/secret",
		"/public/;/../secret",
		"/public/x;jsessionid=1",
		"/public;x/y",
		"/;/public/x",
		`/public/..\secret`,
		`/public\..\secret`,
		`/public/\secret`,
		"/public/..%5csecret",
		"/public/..%5Csecret",
		"/public%5c..%5csecret",
		"/public/x%5cy",
		"/public/%252e%252e/secret",
		"/public/%252e%252e%252fsecret",
		"/public/..%252fsecret",
		"/public/..%255csecret",
		"/public/%25252e%25252e%25252fsecret",
		"/public/%2525252e%2525252e/secret",
		"/public/%%32%65%%32%65/secret",
		"/public/%25%32%65%25%32%65/secret",
		"/public/%c0%ae%c0%ae/secret",
		"/public/%c0%ae%c0%ae%c0%afsecret",
		"/public/..%c0%afsecret",
		"/public/..%c1%9csecret",
		"/public/..%c1%1csecret",
		"/public/..%c0%2fsecret",
		"/public/..%e0%80%afsecret",
		"/public/%e0%80%ae%e0%80%ae/secret",
		"/public/..%f0%80%80%afsecret",
		"/public/..%f8%80%80%80%afsecret",
		"/public/..%fc%80%80%80%80%afsecret",
		"/public/..%25c0%25afsecret",
		"/public/%u002e%u002e/secret",
		"/public/..%u002fsecret",
		"/public/..%u2215secret",
		"/public/..%u2216secret",
		"/public/..%uff0fsecret",
		"/public/%uff0e%uff0e/secret",
		"/public/%U002e%U002e/secret",
		"/public/%ef%bc%8e%ef%bc%8e/secret", // fullwidth full stops
		"/public/..%ef%bc%8fsecret",         // fullwidth solidus
		"/public/..%ef%bc%bcsecret",         // fullwidth reverse solidus
		"/public/..%e2%88%95secret",         // division slash
		"/public/%e2%80%a4%e2%80%a4/secret", // one dot leaders
		"/public/．．/secret",
		"/public/..%00/secret",
		"/public/..%00",
		"/public/%00/../secret",
		"/public/x%00",
		"/public%00/x",
		"/secret%00/public/",
		"/public/.%09./secret",
		"/public/.%0a./secret",
		"/public/.%0d./secret",
		"/public/.%7f./secret",
		"/public/.\t./secret",
		"/public/x/.../y",
		"/public/x/.%20./y",
		"/public/a%09b",
		"/public/a%1bb",
		"/public/a%7fb",
		"/public/\x00",
		"/public/..%3f/secret",
		"/public/..%23/secret",
		"/public/x%3fy",
		"/public/x%23y",
		"/public/..%20/secret",
		"/public/..%20%20/secret",
		"/public/.%20./secret",
		"/public/%20../secret",
		"/public/%20/x",
		"/public/x::$DATA",
		"/public/x:$i30:$INDEX_ALLOCATION/y",
		"/public/%",
		"/public/%2",
		"/public/%zz/x",
		"/public/%u00zz",
		"/publicx",
		"/public",
		"/publi",
		"/PUBLIC/x",
		"/PUBLIC/../secret",
		"/Public/x",
		"/%70ublic/x",
		"/%50UBLIC/x",
		"/public%20/x",
		"/public./x",
		"/%20public/x",
		"/public%e2%80%8b/x",
		"/%ef%bd%90ublic/x", // fullwidth p
		"/x/public/",
		"/hook/",
		"/hook/x",
		"/hookx",
		"/hook;x",
		"/hook%20",
		"/hook%00",
		"/hook.",
		"/hook%2f",
		"/hoo%6b",
		"/HOOK",
		"//hook",
		"/./hook",
		"//host/hook",
		"//host/public/x",
		"///host/public/x",
		`/\host/public/x`,
		"http://host/public/x",
		"public/x",
		"*",
		"",
		"/public/private/x",
		"/public/private",
		"/public/PRIVATE/x",
		"/public/Private",
		"/public/pri%76ate/x",
		"/public/priva%54e/x",
		"/public/private./x",
		"/public/private%20/x",
		"/public/private%20",
		"/public/%20private/x",
		"/public/pr%c4%b1vate/x",    // dotless i
		"/public/pr%c4%b0vate/x",    // dotted I
		"/public/%ef%bd%90rivate/x", // fullwidth p
		"/public/%2570rivate/x",
		"/public/%c1%b0rivate/x", // overlong p
	} {
		t.Run(path, func(t *testing.T) {
			for _, id := range []*auth.Identity{nil, bob(), mallory()} {
				if d := p.Decide(get(path), id); d.Public || d.Verdict == policy.Allow && id != nil && id.Email != "bob@example.com" {
					t.Errorf("%+v", d)
				}
			}
			if d := p.Decide(get(path), nil); d.Verdict == policy.Allow {
				t.Errorf("anonymous: %+v", d)
			}
		})
	}
}

// What people really put below a public prefix must not stop being public.
func TestPlainlyEscapedStaysPublic(t *testing.T) {
	p := compile(t, routed())
	for _, path := range []string{
		"/public/", "/public/x", "/public/x/", "/public/x.css", "/public/a-b_c~d", "/public/.hidden", "/public/a..b", "/public/..a", "/public/x.y.z/",
		"/public/a%20b", "/public/My%20Report%20(final).pdf", "/public/caf%C3%A9", "/public/%E4", "/public/%E4%B8%AD%E6%96%87.html",
		"/public/%D0%BF%D1%83%D1%82%D1%8C/x", "/public/%F0%9F%98%80", "/public/100%25", "/public/a+b", "/public/a%2Bb", "/public/a%26b=c", "/public/a@b", "/public/a:b",
		"/public/std::vector", "/public/$x", "/public/a%41b", "/public/a'b!c*d,e", "/public/x%22y%22", "/public/a%7Cb", "/public/%C5%AF%C3%AF%C4%AF",
		"/public/privates", "/public/x/private/", "/public/README.md", "/public/x.", "/public/a%20", "/public/caf\u00e9", "/public/a%C2%A0b", "/public/10.12%E2%80%AFAM.png", "/public/%A0", "/hook",
	} {
		if d := p.Decide(get(path), nil); !d.Public {
			t.Errorf("%s: %+v", path, d)
		}
	}
}

// DESIGN.md, section 2: apps that use %2F or // go on working for who may pass.
func TestBYP041OddPathsOfAllowedPeople(t *testing.T) {
	p := compile(t, routed())
	without := compile(t, example())
	for _, path := range []string{
		"/a//b", "/a/./b", "/a/%2F/b", "/%E4", "/a;p=1", "/a/../b", "/a%5Cb", "/a%00b", "/a%3Fb%23c", `/a\b`,
		"/api/v4/projects/group%2Fproject/repository/files/a%2Fb.c/raw", "/proxy/https://example.com//x;y=1", "/proxy/https%3A%2F%2Fexample.com%2Fx%3Fy%3Dz%23f",
		"/wiki/Who%3F", "/r/a%252Fb", "/x/%", "/public/../x", "/public//x", "/browse/%2e%2e", "/search/C%23/.NET%20%2F%20.NET;v=8//x%5C%5Cy%3F",
	} {
		if d := p.Decide(get(path), bob()); d.Verdict != policy.Allow || d.Public {
			t.Errorf("%s: bob %+v", path, d)
		}
		if d := p.Decide(get(path), nil); d.Verdict != policy.Challenge {
			t.Errorf("%s: anonymous %+v", path, d)
		}
		if d := without.Decide(get(path), bob()); d.Verdict != policy.Allow {
			t.Errorf("%s: without routes, bob %+v", path, d)
		}
	}
}

// A reading that lands in a rule that takes away is enough to take away.
func TestStrictestReading(t *testing.T) {
	p := compile(t, routed())
	for _, admin := range []string{
		"/admin/", "/admin", "/ADMIN", "/Admin/x", "//admin/x", "/./admin/x", "/x/../admin/x", "/%61dmin/x", "/%2561dmin", "/adm%69n/", "/admin%2fx", "/admin%2Fx", "/admin%5cx",
		`/admin\x`, `\admin`, "/admin;/x", "/admin;x=y", "/admin%3bx", "/admin/..", "/admin/../x", "/admin%00", "/admin%00.css", "/admin%3f.css", "/admin%23", "/adm%09in/", "/adm%0d%0ain/",
		"/admin%20/x", "/admin./x", "/admin..../x", "/admin%20.%20/", "/%20admin/", "/admin::$INDEX_ALLOCATION/x", "/admin:$i30:$INDEX_ALLOCATION/x", "/%u0061dmin/", "/%uff41dmin/", "/%ef%bd%81dmin/",
		"/%c1%a1dmin/", "/adm%c4%b1n/x", "/ADM%c4%b0N/x", "//host/admin/x", "///admin", `/\/host/admin`, "/public/../admin/", "/public/..;/admin/x", "/public/..%252f..%252fadmin", "/public/%252e%252e/admin/",
		"/a%2fb/../admin/../../admin/", "/a%2fb/%2e%2e/admin/x", "/public/x/..%5c..%5cadmin", "/%2fadmin", "/%2f%2fadmin", "/%5cadmin", "/;/admin/x", "/x;/../admin", "/;foo=bar/admin/", "/%3b/admin/", "/.;/admin/",
		// Blanks at the end, which Python's http.server takes off the request line.
		"/admin\xa0", "/admin\x85", "/admin\u00a0", "/admin%A0", "/admin%85/", "/admin%C2%A0", "/admin%E2%80%AF/x", "/admin%E3%80%80",
		"/%2e/admin", "/x/%2e%2e/admin", "/x/.%09./admin/", "/%%36%31dmin", "/x/..%00/admin/", "/x%23/../admin%00y", "/x/..%20/admin/", "/x/.../admin/",
	} {
		if d := p.Decide(get(admin), bob()); d.Verdict != policy.Deny {
			t.Errorf("%s: bob is no admin, got %+v", admin, d)
		}
		// An admin goes on: oddness alone is no reason to refuse.
		if d := p.Decide(get(admin), alice()); d.Verdict != policy.Allow && strings.HasPrefix(admin, "/") {
			t.Errorf("%s: alice is an admin, got %+v", admin, d)
		}
		nope := strings.NewReplacer("admin", "nope", "%61dmin", "%6eope", "Admin", "Nope", "ADMIN", "NOPE").Replace(admin)
		if nope != admin && strings.Contains(strings.ToLower(nope), "nope") {
			if d := p.Decide(get(nope), alice()); d.Verdict != policy.Deny {
				t.Errorf("%s: for nobody, got %+v", nope, d)
			}
		}
	}
}

// Each of these is /secret/ to a parser that knows one trick, but not another that
// looks alike; to who knows both or neither it is something else.
func TestStepsAreApart(t *testing.T) {
	for _, tt := range []struct{ path, secret, who string }{
		{"/a/.../../no/x", "/a/no/", "three dots are a name, two are not"},
		{"/a/...%2f.. /no/x", "/a/no/", "drops blanks, but three dots are a name"},
		{"/a/b/.%01./.%09./.%09./no/x", "/a/no/", "drops tabs, but no other control characters"},
		{"/a/x%2fy/..%3b/no/x", "/a/no/", "keeps %2F, but decodes and strips parameters"},
		{"/q%3f/..%2fno%00/../b", "/no/", "ends at NUL, but not at ?"},
		{"/q%3f/..%2fno%23/../b", "/no/", "ends at #, but not at ?"},
		{"/q%23/..%2fno%3f/../b", "/no/", "ends at ?, but not at #"},
		{"/a/．．/%c0%ae%c0%ae/no/x", "/a/no/", "decodes overlong forms, but no fullwidth ones"},
		{"/a/%c0%ae%c0%ae/．．/no/x", "/a/no/", "decodes fullwidth forms, but no overlong ones"},
		{"/a/%u002e%u002e/%2e%2e/no/x", "/a/no/", "does not know %u"},
		{"/a/..:$x/..;/no/x", "/a/no/", "strips parameters, but no streams"},
		{"/a/..;/..:$x/no/x", "/a/no/", "strips streams, but no parameters"},
		{"/a/%252e%252e/%2e%2e/no/x", "/a/no/", "decodes once"},
		{"/a/..%5cb/%2e%2e/no/x", "/a/no/", "a backslash is a letter"},
	} {
		r := example()
		r.Routes = []policy.Route{{Path: tt.secret, Access: policy.Nobody}}
		if d := compile(t, r).Decide(get(tt.path), bob()); d.Verdict != policy.Deny {
			t.Errorf("%s (%s): %+v", tt.path, tt.who, d)
		}
	}
}

func TestBYP028QueryIsNoPath(t *testing.T) {
	// A caller that passes the whole target by mistake opens nothing.
	p := compile(t, routed())
	for _, target := range []string{"/secret?x=/public/", "/secret?/public/x", "/secret#/public/x", "/secret/public/x", "/public/x?y", "/public?/x"} {
		if d := p.Decide(get(target), nil); d.Public || d.Verdict == policy.Allow {
			t.Errorf("%s: %+v", target, d)
		}
	}
}

// What has more readings than are followed counts as matching every rule.
func TestTooManyReadings(t *testing.T) {
	many := "/public/" + strings.Repeat(`%2525252e;a/.%09/%u002e%c0%af/\/..%00?#%ef%bc%8f`, 8)
	long := "/public/" + strings.Repeat("a%20b/", 4000)
	for name, path := range map[string]string{"many": many, "long": long} {
		p := compile(t, routed())
		if d := p.Decide(get(path), nil); d.Public || d.Verdict != policy.Deny {
			t.Errorf("%s: anonymous %+v", name, d)
		}
		wantReason(t, p.Decide(get(path), alice()), policy.ReasonNobody)
		r := routed()
		r.Routes = r.Routes[:4]
		p = compile(t, r)
		wantReason(t, p.Decide(get(path), bob()), policy.ReasonNotAdmin)
		wantReason(t, p.Decide(get(path), alice()), "")
		if d := p.Decide(get(path), alice()); d.Route != 1 {
			t.Errorf("%s: it goes where the path as sent goes, got %+v", name, d)
		}
	}
	// Without routes no path is too long or too odd.
	wantReason(t, compile(t, example()).Decide(get(many), bob()), "")
}

func TestPathIsKeptAsSent(t *testing.T) {
	for _, path := range []string{"", "/", "/a//b/%2F;x", "*", "/\x00\xff"} {
		if got := policy.ReadPath(path).String(); got != path {
			t.Errorf("got %q, want %q", got, path)
		}
		if got := fmt.Sprint(policy.ReadPath(path)); got != path {
			t.Errorf("printed %q, want %q", got, path)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	p := compile(t, routed())
	id := alice()
	for _, path := range []string{"/", "/public/x.css", "/admin/x", "/api/v1/things/42", "/Hook"} {
		n := testing.AllocsPerRun(100, func() {
			target := get(path)
			p.Decide(target, nil)
			p.Decide(target, id)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}
