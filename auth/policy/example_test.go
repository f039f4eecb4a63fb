package policy_test

import (
	"fmt"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/policy"
)

// Rules become a Policy, which then judges every request.
func ExampleCompile() {
	p, err := policy.Compile(policy.Rules{
		Google: true,
		Allow:  policy.List{Domains: []policy.Domain{{Name: "example.com"}}},
		Admins: []string{"alice@example.com"},
		Routes: []policy.Route{
			{Path: "/webhooks/", Methods: []string{"POST"}, Access: policy.Public},
			{Path: "/admin/", Access: policy.Admins},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	bob := &auth.Identity{
		Issuer: "https://accounts.google.com", Subject: "1234",
		Email: "bob@example.com", EmailVerified: true, HostedDomain: "example.com",
	}
	for _, request := range []struct {
		method, path string
		who          *auth.Identity
	}{
		{"POST", "/webhooks/build", nil},
		{"POST", "/webhooks/../admin/", nil},
		{"GET", "/reports", nil},
		{"GET", "/reports", bob},
		{"GET", "/admin/", bob},
		{"GET", "/x/%2e%2e/admin/", bob},
	} {
		d := p.Decide(policy.Target{Method: request.method, Path: policy.ReadPath(request.path)}, request.who)
		fmt.Printf("%-9v %-16s %s\n", d.Verdict, d.Reason, d.Rule)
	}
	// Output:
	// allow                      routes[0] /webhooks/ (public)
	// challenge sign_in_required routes[0] /webhooks/ (public, but not for an odd path or method)
	// challenge sign_in_required allow
	// allow                      allow.domains example.com
	// deny      not_admin        routes[1] /admin/ (admins)
	// deny      not_admin        routes[1] /admin/ (admins), by another reading of the path
}

// All problems are told at once, each with the key of the configuration file.
func ExampleProblems() {
	_, err := policy.Compile(policy.Rules{
		Allow:  policy.List{Domains: []policy.Domain{{Name: "*.example.com"}}},
		Routes: []policy.Route{{Path: "/docs/", Access: policy.Public}, {Path: "/docs/internal/"}},
	})
	fmt.Println(err)
	// Output:
	// allow.domains[0]: "*.example.com" is not a plain domain name (want letters, digits, dashes and dots, as in example.com)
	// routes[1]: never decides, since routes[0] /docs/ comes first and takes all of it (move this one up, or remove it)
}
