package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loginwall/loginwall/auth"
)

// Rules are what an operator wrote, as plain data. Compile checks them.
type Rules struct {
	// Google says that the provider is Google: then a domain also means the hd
	// claim, and groups are refused, since Google's ID tokens tell none.
	Google bool
	// Allow is who may pass. It must not be empty unless Everyone is set.
	Allow List
	// Everyone admits any account of the provider that has a verified address,
	// whatever Allow says.
	Everyone bool
	// Deny is addresses that never pass, whatever allows them.
	Deny []string
	// Admins is addresses that hold the role. They are let in as if they stood in
	// Allow.Emails too: somebody who may see and block users must be able to sign in.
	Admins []string
	// Routes are tried in order; the first that matches decides. Behind the last
	// stands an implied {Path: "/", Access: Allowed}.
	Routes []Route
}

// A List names people. Being in any of its three parts is enough.
type List struct {
	Domains []Domain
	// Emails and Groups are compared whole; addresses in the form of auth.ParseEmail.
	Emails, Groups []string
}

// A Domain admits the verified addresses of exactly this domain, no subdomain.
type Domain struct {
	Name string
	// HostedDomain is the primary domain of the Google Workspace that must own the
	// account (claim hd). Empty means Name itself, or none for gmail.com, whose
	// accounts no Workspace owns. Only for Google.
	HostedDomain string
}

// A Route says who may send which requests.
type Route struct {
	// Path in plain ASCII. With a slash at the end it means everything below (and
	// that path itself); without one exactly this path.
	Path string
	// Methods are matched exactly; nil means all. GET covers HEAD, which asks for
	// the same without the body (RFC 9110, section 9.3.2).
	Methods []string
	Access  Access
	// Allow narrows Rules.Allow for this route: who passes is in both. Nil does not
	// narrow; an empty one is an error.
	Allow *List
}

// Access is the word behind access: in a route.
type Access string

// The kinds of access. The empty Access means Allowed.
const (
	Public  Access = "public"  // anybody, signed in or not
	Allowed Access = "allowed" // who Rules.Allow admits
	Admins  Access = "admins"  // who Rules.Admins names
	Nobody  Access = "nobody"  // nobody, admins included
)

// A Problem is one thing wrong with Rules. Key is where, in the words of the
// configuration file: "allow.domains[0]", "routes[2].path".
type Problem struct{ Key, Text string }

// Problems is the error of Compile: all that is wrong, in the order of the file.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Key + ": " + p.Text
	}
	return strings.Join(lines, "\n")
}

func (ps *Problems) add(key, format string, args ...any) {
	*ps = append(*ps, Problem{key, fmt.Sprintf(format, args...)})
}

// A Policy is compiled Rules: immutable and safe for concurrent use. The zero
// Policy denies everything.
type Policy struct {
	google   bool
	everyone bool
	allow    list
	deny     map[string]string // address → rule text
	admins   map[string]string
	rules    []rule // the routes and the implied last one
	groups   []string
}

// A rule is a compiled Route.
type rule struct {
	index   int    // in Rules.Routes; -1 is the implied one
	text    string // for Decision.Rule; empty: the entry of the allow list tells more
	oddText string // the same for odd requests, for whom public is not public
	path    string
	below   bool // path ends in a slash and means everything below
	methods []string
	access  Access
	allow   *list
}

// A list is a compiled List; the values are texts for Decision.Rule.
type list struct {
	google  bool
	domains map[string]domain
	emails  map[string]string
	groups  map[string]string
}

type domain struct{ hosted, text string }

// Compile checks rules and makes a Policy of them. The error is a Problems that
// holds everything wrong; then there is no Policy.
func Compile(rules Rules) (*Policy, error) {
	var ps Problems
	p := &Policy{google: rules.Google, everyone: rules.Everyone}
	c := compiler{rules.Google, &ps}

	p.allow = c.list("allow", rules.Allow)
	if rules.Allow.empty() && !rules.Everyone {
		ps.add("allow", "nobody is allowed (list domains, emails or groups, or write everyone: true)")
	}
	p.deny = c.emails("deny.emails", rules.Deny)
	p.admins = c.emails("admins", rules.Admins)
	for i, route := range rules.Routes {
		r := c.rule(i, route)
		if earlier := p.hider(&r); earlier != nil {
			ps.add(key(i), "never decides, since routes[%d] %s comes first and takes all of it (move this one up, or remove it)", earlier.index, earlier.path)
		}
		p.rules = append(p.rules, r)
	}
	p.rules = append(p.rules, rule{index: -1, path: "/", below: true, access: Allowed})
	if ps != nil {
		return nil, ps
	}
	p.groups = rules.groups()
	return p, nil
}

// Groups returns every group that the rules name, sorted: the only ones that a
// session needs to remember.
func (p *Policy) Groups() []string { return slices.Clone(p.groups) }

func (rules *Rules) groups() []string {
	all := slices.Clone(rules.Allow.Groups)
	for _, r := range rules.Routes {
		if r.Allow != nil {
			all = append(all, r.Allow.Groups...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (l *List) empty() bool { return len(l.Domains) == 0 && len(l.Emails) == 0 && len(l.Groups) == 0 }

func key(i int) string { return fmt.Sprintf("routes[%d]", i) }

type compiler struct {
	google bool
	*Problems
}

func (c compiler) list(key string, l List) list {
	out := list{google: c.google, domains: map[string]domain{}, groups: map[string]string{}}
	for i, d := range l.Domains {
		at := fmt.Sprintf("%s.domains[%d]", key, i)
		name, hosted, ok := c.domain(at, d)
		if !ok {
			continue
		}
		if other, found := out.domains[name]; found && other.hosted != hosted {
			c.add(at, "%s is listed twice, with different hosted domains (keep the one that owns the accounts)", name)
		}
		out.domains[name] = domain{hosted, key + ".domains " + name}
	}
	out.emails = c.emails(key+".emails", l.Emails)
	for i, g := range l.Groups {
		at := fmt.Sprintf("%s.groups[%d]", key, i)
		switch {
		case c.google:
			c.add(at, "Google's sign-in tells no groups (list domains or emails, or use another provider under oidc)")
		case strings.TrimSpace(g) != g || g == "":
			c.add(at, "%q is not the name of a group (remove blanks around it)", g)
		}
		out.groups[g] = key + ".groups " + g
	}
	return out
}

func (c compiler) domain(key string, d Domain) (name, hosted string, ok bool) {
	name, err := auth.ParseDomain(d.Name)
	if err != nil {
		c.add(key, "%q is %v", d.Name, err)
		return "", "", false
	}
	switch {
	case d.HostedDomain == "" && consumer(name):
		return name, "", true
	case d.HostedDomain == "":
		return name, name, true
	case !c.google:
		c.add(key, "hosted_domain is a claim of Google's (remove it)")
		return "", "", false
	case consumer(name):
		c.add(key, "accounts of %s belong to no hosted_domain (remove it)", name)
		return "", "", false
	}
	hosted, err = auth.ParseDomain(d.HostedDomain)
	if err != nil {
		c.add(key, "hosted_domain %q is %v", d.HostedDomain, err)
		return "", "", false
	}
	return name, hosted, true
}

// consumer reports whether Google itself hands out the addresses of a domain, so
// that they are proof without an hd claim.
func consumer(domain string) bool { return domain == "gmail.com" || domain == "googlemail.com" }

func (c compiler) emails(key string, emails []string) map[string]string {
	out := map[string]string{}
	for i, e := range emails {
		email, err := auth.ParseEmail(e)
		if err != nil {
			c.add(fmt.Sprintf("%s[%d]", key, i), "%q is %v", e, err)
		}
		out[email] = key + " " + email
	}
	return out
}

func (c compiler) rule(i int, route Route) rule {
	at := key(i)
	r := rule{index: i, path: route.Path, below: strings.HasSuffix(route.Path, "/"), methods: slices.Clone(route.Methods), access: route.Access}
	if r.access == "" {
		r.access = Allowed
	}
	r.text = fmt.Sprintf("%s %s (%s)", at, route.Path, r.access)
	r.oddText = fmt.Sprintf("%s %s (%s, but not for an odd path or method)", at, route.Path, r.access)

	switch {
	case !strings.HasPrefix(route.Path, "/"):
		c.add(at+".path", "%q does not begin with a slash (write /%s)", route.Path, route.Path)
	case !ReadPath(route.Path).plain:
		c.add(at+".path", "%q is not a plain path (ASCII letters, digits and dashes between single slashes; no query, no ; or %% or *, no dots at the end of a part)", route.Path)
	case strings.EqualFold(strings.TrimSuffix(route.Path, "/"), "/_auth"), len(route.Path) > 7 && strings.EqualFold(route.Path[:7], "/_auth/"):
		c.add(at+".path", "what lies below /_auth/ is loginwall's own and no route can change it (remove this route)")
	}
	if route.Methods != nil && len(route.Methods) == 0 {
		c.add(at+".methods", "an empty list matches nothing (remove it to match all methods)")
	}
	for n, m := range route.Methods {
		if m == "" || !shouted(m) {
			c.add(fmt.Sprintf("%s.methods[%d]", at, n), "%q is not a method (methods are upper case, as GET)", m)
		}
	}
	switch r.access {
	case Public, Nobody:
		if route.Allow != nil {
			c.add(at+".allow", "decides nothing where access is %s (remove one of the two)", r.access)
		}
	case Allowed, Admins:
	default:
		c.add(at+".access", "%q is not a kind of access (write public, allowed, admins or nobody)", r.access)
	}
	if route.Allow != nil {
		if route.Allow.empty() {
			c.add(at+".allow", "nobody is allowed (list domains, emails or groups, or write access: nobody)")
		}
		l := c.list(at+".allow", *route.Allow)
		r.allow = &l
	}
	return r
}

// hider returns an earlier rule that lets no request get as far as later, perhaps
// together with others.
func (p *Policy) hider(later *rule) (hider *rule) {
	methods := later.methods
	if methods == nil {
		methods = []string{""} // only taken by a rule for all methods
	}
	for _, m := range methods {
		i := slices.IndexFunc(p.rules, func(r rule) bool { return r.covers(later.path, exactly) && r.takes(m) })
		if i < 0 {
			return nil
		}
		hider = &p.rules[i]
	}
	return hider
}
