package policy_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/policy"
)

var update = flag.Bool("update", false, "write the golden file anew; look at the difference before committing it")

// CFG 249: what a file means must not drift from release to release. A line that
// changes in the golden file is a change of what running configurations mean, and
// must be the same or stricter.
func TestCFG249Verdicts(t *testing.T) {
	const file = "testdata/verdicts.golden"
	configs := []struct {
		name  string
		rules policy.Rules
	}{
		{"one domain", example()},
		{"generic provider", policy.Rules{Allow: policy.List{Domains: domains("example.com")}}},
		{"secondary domain", policy.Rules{Google: true, Allow: policy.List{Domains: []policy.Domain{{Name: "brand.com", HostedDomain: "example.com"}}}}},
		{"gmail", policy.Rules{Google: true, Allow: policy.List{Domains: domains("gmail.com")}}},
		{"emails", policy.Rules{Google: true, Allow: policy.List{Emails: []string{"alice@example.com", "carol@gmail.com"}}}},
		{"emails and their domain", policy.Rules{Google: true, Allow: policy.List{Domains: domains("example.com"), Emails: []string{"dan@example.com"}}}},
		{"groups", policy.Rules{Allow: policy.List{Groups: []string{"sre"}}}},
		{"everyone", policy.Rules{Google: true, Everyone: true}},
		{"everyone but bob", policy.Rules{Google: true, Everyone: true, Deny: []string{"bob@example.com"}}},
		{"an admin from outside", policy.Rules{Google: true, Allow: policy.List{Domains: domains("example.com")}, Admins: []string{"carol@gmail.com"}}},
		{"routes", routed()},
	}
	unverified := alice()
	unverified.EmailVerified = false
	sre := person("sam@elsewhere.test", "")
	sre.Groups = []string{"dev", "sre"}
	people := []struct {
		name string
		id   *auth.Identity
	}{
		{"nobody", nil},
		{"alice", alice()},
		{"bob", bob()},
		{"mallory", mallory()},
		{"carol", carol()},
		{"alice, unverified", unverified},
		{"alice, consumer account", person("alice@example.com", "")},
		{"dan, consumer account", person("dan@example.com", "")},
		{"alice of the brand", person("alice@brand.com", "example.com")},
		{"brand.com by itself", person("alice@brand.com", "brand.com")},
		{"a suffix", person("alice@evil-example.com", "example.com")},
		{"a subdomain", person("alice@sub.example.com", "sub.example.com")},
		{"sre", sre},
		{"no address", person("", "example.com")},
		{"empty", &auth.Identity{}},
	}
	var b strings.Builder
	for _, c := range configs {
		p := compile(t, c.rules)
		paths := []string{"/"}
		if len(c.rules.Routes) > 0 {
			paths = []string{"/", "/hook", "/public/x", "/public/../x", "/public/private/x", "/admin/x", "/x/../admin/", "/nope/x"}
		}
		for _, path := range paths {
			fmt.Fprintf(&b, "# %s: GET %s\n", c.name, path)
			for _, who := range people {
				d := p.Decide(get(path), who.id)
				fmt.Fprintf(&b, "%-24s %-9s %-16s %s\n", who.name, what(d), d.Reason, d.Rule)
			}
		}
	}
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("verdicts changed (-want +got):\n%s", diff)
	}
}
