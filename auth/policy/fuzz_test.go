package policy_test

import (
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/policy"
)

// META-253: whatever the address and hd are, who is let in by a domain is of that domain and
// of the Workspace that owns it.
func FuzzDomain(f *testing.F) {
	for _, e := range []string{"alice@example.com", "a@evil.test@example.com", `"a@example.com"@evil.test`, "a@example.com.", "@example.com", "a@", "A@EXAMPLE.com", "a@sub.example.com", "a@brand.com", "c@gmail.com"} {
		f.Add(e, "example.com")
		f.Add(e, "")
	}
	hosted := map[string]string{"example.com": "example.com", "brand.com": "example.com", "gmail.com": ""}
	r := policy.Rules{Google: true, Allow: policy.List{Domains: []policy.Domain{{Name: "example.com"}, {Name: "brand.com", HostedDomain: "example.com"}, {Name: "gmail.com"}}}}
	listed, err := policy.Compile(r)
	if err != nil {
		f.Fatal(err)
	}
	everyone, err := policy.Compile(policy.Rules{Everyone: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, email, hd string) {
		id := person(email, hd)
		if d := listed.Admits(id); d.Verdict == policy.Allow {
			parts := strings.Split(email, "@")
			if want, ok := hosted[parts[len(parts)-1]]; len(parts) != 2 || !ok || hd != want {
				t.Errorf("%q of %q let in: %+v", email, hd, d)
			}
		}
		parsed, err := auth.ParseEmail(email)
		if d := everyone.Admits(id); err == nil && parsed == email && d.Verdict != policy.Allow {
			t.Errorf("%q kept out: %+v", email, d)
		} else if d.Verdict == policy.Allow && strings.Count(email, "@") != 1 {
			t.Errorf("%q let in: %+v", email, d)
		}
		id.EmailVerified = false
		if d := everyone.Admits(id); d.Verdict != policy.Deny {
			t.Errorf("%q let in unverified: %+v", email, d)
		}
	})
}

// META-253: whatever an operator writes, Compile returns a policy or problems, and a policy
// judges its own paths as it says.
func FuzzCompile(f *testing.F) {
	f.Add("/public/", "GET", "public", "example.com", "a@example.com")
	f.Add("/_auth/", "", "", "*", "")
	f.Add("/x//y", "get", "all", "gmail.com", "@")
	f.Fuzz(func(t *testing.T, path, method, access, domain, email string) {
		r := policy.Rules{
			Google: true,
			Allow:  policy.List{Domains: domains(domain)},
			Admins: []string{email},
			Routes: []policy.Route{{Path: path, Methods: []string{method}, Access: policy.Access(access)}},
		}
		p, err := policy.Compile(r)
		if err != nil {
			if p != nil || err.Error() == "" {
				t.Fatalf("%v and %q", p, err)
			}
			return
		}
		d := p.Decide(policy.Target{Method: method, Path: policy.ReadPath(path)}, nil)
		if want := access == "public"; d.Public != want || d.Route != 0 {
			t.Errorf("%q %s %q: %+v", access, method, path, d)
		}
		if strings.Contains(strings.ToLower(path), "/_auth/") && strings.HasPrefix(path, "/_") {
			t.Errorf("a route for %q", path)
		}
	})
}
