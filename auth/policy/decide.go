package policy

import (
	"slices"
	"strings"

	"github.com/loginwall/loginwall/auth"
)

// A Verdict is what becomes of a request. The zero value refuses it.
type Verdict int8

// The verdicts, the strictest first.
const (
	Deny      Verdict = iota // refuse, whoever it is: 403
	Challenge                // ask the caller to sign in
	Allow
)

func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Challenge:
		return "challenge"
	case Deny:
	}
	return "deny"
}

// A Reason is a fixed word for why a request was not allowed, safe as a metric's
// label. It is empty for Allow.
type Reason string

// The reasons.
const (
	ReasonSignIn     Reason = "sign_in_required" // nobody is signed in
	ReasonNoAccount  Reason = "no_account"       // an identity without issuer or subject
	ReasonNoEmail    Reason = "no_email"         // the provider told no usable address
	ReasonUnverified Reason = "email_unverified" // it has not checked who holds the address
	ReasonDenyList   Reason = "deny_list"        // the address stands in deny.emails
	ReasonHosted     Reason = "hosted_domain"    // the domain is listed, but another or no Workspace owns the account
	ReasonDomain     Reason = "domain"           // only domains are listed, and not this one
	ReasonGroup      Reason = "group"            // only groups are listed, and none of this account's
	ReasonNotListed  Reason = "not_listed"       // neither address, domain nor group is listed
	ReasonNotAdmin   Reason = "not_admin"        // the route is for admins
	ReasonNobody     Reason = "nobody"           // the route is for nobody
	ReasonBlocked    Reason = "blocked"          // the account or its address is blocked; only auth/gate knows
)

// A Target is what is asked for.
type Target struct {
	// Method as it stood in the request line. The empty one, where nobody knows it,
	// counts as matching every route.
	Method string
	// Path is made by ReadPath. The zero Path counts as matching every route.
	Path Path
}

// A Decision is a verdict and how it came about. The zero Decision denies.
type Decision struct {
	Verdict Verdict
	// Public says that anybody may send this request. Whoever does so is nobody to
	// the upstream, signed in or not.
	Public bool
	// Route is the index in Rules.Routes of the route that the path as sent takes,
	// which says where an allowed request goes; -1 is the implied last one. It need
	// not be the route behind Rule, which is that of the strictest reading.
	Route int
	// Rule tells an operator which rule decided: "routes[1] /admin/ (admins)",
	// "allow.domains example.com".
	Rule   string
	Reason Reason
}

// Decide says what becomes of a request. A nil identity is a caller who has not
// signed in. It is pure: what a blocked account or an ended session means is
// auth/gate's part.
func (p *Policy) Decide(t Target, id *auth.Identity) Decision {
	if len(p.rules) == 0 {
		return Decision{Route: -1}
	}
	j := judge{policy: p, id: id, standing: p.stand(id), method: t.Method, public: shouted(t.Method)}
	if len(p.rules) == 1 {
		return p.rules[0].decide(id, &j.standing, false)
	}
	if t.Path.plain {
		j.read(t.Path.raw)
	} else {
		readings, odd, all := t.Path.readings()
		j.public = j.public && !odd
		if !all {
			j.everything()
		}
		for i, r := range readings {
			j.other = i > 0
			j.read(r)
		}
	}
	if t.Method == "" {
		j.everything()
	}
	d := j.worst
	d.Route = p.first(t.Path.raw, t.Method, exactly).index
	return d
}

// Admits says what the rules outside the routes say of an account: whether it may
// have a session here at all. A nil identity is challenged.
func (p *Policy) Admits(id *auth.Identity) Decision {
	if len(p.rules) == 0 {
		return Decision{Route: -1}
	}
	s := p.stand(id)
	return p.rules[len(p.rules)-1].decide(id, &s, false)
}

// IsAdmin reports whether an account holds the role.
func (p *Policy) IsAdmin(id *auth.Identity) bool {
	return p.stand(id).admin
}

// A standing is what the rules outside the routes say of an account.
type standing struct {
	verdict Verdict
	reason  Reason
	rule    string
	admin   bool // only where verdict is Allow
	// owned is false when the address is of a domain under allow.domains, but the
	// account is not of the Workspace that owns that domain: then no entry for that
	// address or domain counts, in a route's own list either.
	owned bool
}

// stand demands a verified address of everybody, of members of a group and with
// Everyone as well: the address is what the upstream knows people by, and an
// account that could choose it freely would be whoever it likes there.
func (p *Policy) stand(id *auth.Identity) standing {
	if id == nil {
		return standing{verdict: Challenge, reason: ReasonSignIn, rule: "allow"}
	}
	if id.Issuer == "" || id.Subject == "" {
		return standing{reason: ReasonNoAccount, rule: "allow"}
	}
	if !canonical(id.Email) {
		return standing{reason: ReasonNoEmail, rule: "allow"}
	}
	if !id.EmailVerified {
		return standing{reason: ReasonUnverified, rule: "allow"}
	}
	if rule, found := p.deny[id.Email]; found {
		return standing{reason: ReasonDenyList, rule: rule}
	}
	domain := auth.Domain(id.Email)
	d, listed := p.allow.domains[domain]
	owned := !listed || !p.google || d.hosted == id.HostedDomain
	if admin, found := p.admins[id.Email]; found && owned {
		return standing{verdict: Allow, rule: admin, admin: true, owned: true}
	}
	if p.everyone {
		return standing{verdict: Allow, rule: "allow.everyone", owned: owned}
	}
	if !owned {
		return standing{reason: ReasonHosted, rule: d.text}
	}
	rule, reason := p.allow.find(id, domain)
	if reason != "" {
		return standing{reason: reason, rule: "allow"}
	}
	return standing{verdict: Allow, rule: rule, owned: true}
}

// find returns the text of the entry that lists an account with a verified
// address, or the reason why there is none.
func (l *list) find(id *auth.Identity, domain string) (rule string, reason Reason) {
	if d, found := l.domains[domain]; found {
		if l.google && d.hosted != id.HostedDomain {
			return "", ReasonHosted
		}
		return d.text, ""
	}
	if rule, found := l.emails[id.Email]; found {
		return rule, ""
	}
	for _, g := range id.Groups {
		if rule, found := l.groups[g]; found {
			return rule, ""
		}
	}
	switch {
	case len(l.emails) == 0 && len(l.groups) == 0:
		return "", ReasonDomain
	case len(l.emails) == 0 && len(l.domains) == 0:
		return "", ReasonGroup
	}
	return "", ReasonNotListed
}

// canonical reports whether an address can be split at its @ in one way only. It
// does not parse: a listed address or domain has been parsed, and is compared
// whole. It refuses the rest for Everyone and groups, which look at neither.
func canonical(email string) bool {
	at := strings.IndexByte(email, '@')
	if len(email) > 254 || at <= 0 || at == len(email)-1 || strings.HasSuffix(email, ".") {
		return false
	}
	for i := range len(email) {
		c := email[i]
		if 'a' <= c && c <= 'z' {
			continue
		}
		if c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' || c == '@' && i != at || strings.IndexByte(`"(),:;<>[\]`, c) >= 0 {
			return false
		}
	}
	return true
}

// A judge collects the strictest verdict over the readings of one request.
type judge struct {
	policy   *Policy
	id       *auth.Identity
	standing standing
	method   string
	public   bool // whether public routes count as such
	other    bool // this is not the path as sent
	any      bool // worst is set
	worst    Decision
}

// read judges one reading of the path. A rule counts in any letter case, because
// some routers ignore it, and so does the rule for the same path with or without
// its last slash, which many routers take for one; but a rule that names the path
// itself has the last word on that. This can take away only: a reading that finds
// a looser rule than the path as sent changes nothing.
func (j *judge) read(path string) {
	for _, how := range [...]comparison{exactly, anyCase} {
		r := j.policy.first(path, j.method, how)
		j.consider(r)
		if !r.names(path, how) {
			j.consider(j.policy.first(path, j.method, how|otherSlash))
		}
		if !j.public && !shouted(j.method) {
			// "get" is not GET, but some servers do not mind.
			j.consider(j.policy.first(path, strings.ToUpper(j.method), how))
		}
	}
}

// everything judges a path that has more readings than we care to follow, or a
// method that nobody knows.
func (j *judge) everything() {
	for i := range j.policy.rules {
		j.consider(&j.policy.rules[i])
	}
}

func (j *judge) consider(r *rule) {
	d := r.decide(j.id, &j.standing, j.public)
	if !j.any || d.rank() < j.worst.rank() {
		if j.other {
			d.Rule += ", by another reading of the path"
		}
		j.worst, j.any = d, true
	}
}

func (d *Decision) rank() int {
	if d.Public {
		return int(Allow) + 1
	}
	return int(d.Verdict)
}

// decide says what r means for an account of this standing.
func (r *rule) decide(id *auth.Identity, s *standing, public bool) Decision {
	d := Decision{Route: r.index, Rule: r.text}
	if r.access == Public {
		if public {
			d.Verdict, d.Public = Allow, true
			return d
		}
		d.Rule = r.oddText
	}
	if r.access == Nobody {
		d.Reason = ReasonNobody
		return d
	}
	if s.verdict != Allow {
		d.Verdict, d.Reason = s.verdict, s.reason
		if s.verdict == Deny || d.Rule == "" {
			d.Rule = s.rule
		}
		return d
	}
	if r.access == Admins && !s.admin {
		d.Reason = ReasonNotAdmin
		return d
	}
	if r.allow != nil {
		_, reason := r.allow.find(id, auth.Domain(id.Email))
		if !s.owned {
			reason = ReasonHosted
		}
		if reason != "" {
			d.Reason = reason
			return d
		}
	}
	d.Verdict = Allow
	if d.Rule == "" {
		d.Rule = s.rule
	}
	return d
}

// A comparison says how a path is compared with a rule's.
type comparison uint8

const (
	exactly    comparison = 0
	anyCase    comparison = 1 << iota // ASCII letters in either case
	otherSlash                        // the path has its last slash taken away, or one added
)

// first returns the rule that decides; there is always one, since the last rule
// takes everything.
func (p *Policy) first(path, method string, how comparison) *rule {
	last := len(p.rules) - 1
	for i := range last {
		if r := &p.rules[i]; r.covers(path, how) && r.takes(method) {
			return r
		}
	}
	return &p.rules[last]
}

func (r *rule) takes(method string) bool {
	return r.methods == nil || slices.Contains(r.methods, method) || method == "HEAD" && slices.Contains(r.methods, "GET")
}

func (r *rule) covers(path string, how comparison) bool {
	if how&otherSlash != 0 {
		if path != "/" && strings.HasSuffix(path, "/") {
			path = path[:len(path)-1]
		} else if r.below && len(r.path) == len(path)+1 {
			// What would be path+"/" is compared without making it.
			return same(r.path[:len(path)], path, how)
		} else if !r.below {
			return false
		}
	}
	if len(path) < len(r.path) || !r.below && len(path) != len(r.path) {
		return false
	}
	return same(path[:len(r.path)], r.path, how)
}

// names reports whether r is about this very path.
func (r *rule) names(path string, how comparison) bool { return same(r.path, path, how) }

func same(a, b string, how comparison) bool {
	if how&anyCase != 0 {
		return strings.EqualFold(a, b)
	}
	return a == b
}

// shouted reports whether a method is all upper-case letters, digits and dashes,
// as every registered one is.
func shouted(method string) bool {
	for i := range len(method) {
		if c := method[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return method != ""
}
