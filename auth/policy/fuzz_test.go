package policy_test

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/policy"
)

// The parsers below stand for what may be behind the wall. They are written apart
// from the package's own steps and in another manner, so that an error in one is
// not repeated in the other. Each returns "" for a path it would refuse.
var upstreams = map[string]func(string) string{
	"Go's net/http":      goServer,
	"decode until clean": untilClean,
	"Tomcat":             func(s string) string { return lax(s, laxParams|laxBackslash) },
	"nginx":              func(s string) string { return lax(s, laxMerge|laxQuery) },
	"IIS":                func(s string) string { return lax(s, laxMerge|laxBackslash|laxUnicode|laxTail|laxFold) },
	"Express":            func(s string) string { return lax(s, laxFold) },
	"C":                  func(s string) string { return lax(s, laxNUL|laxMerge) },
	"a browser":          browser,
	"twice decoded":      func(s string) string { return lax(lax(s, 0), laxParams|laxMerge|laxNUL|laxBackslash) },
}

func goServer(s string) string {
	u, err := url.ParseRequestURI(s)
	if err != nil {
		return ""
	}
	return keepSlash(path.Clean(u.Path), u.Path)
}

func untilClean(s string) string {
	for {
		next, err := url.PathUnescape(s)
		if err != nil {
			return ""
		}
		next = keepSlash(path.Clean("/"+next), next)
		if next == s {
			return s
		}
		s = next
	}
}

func keepSlash(cleaned, from string) string {
	if strings.HasSuffix(from, "/") && cleaned != "/" {
		return cleaned + "/"
	}
	return cleaned
}

// browser is the path state of the URL standard, section 4.4.
func browser(s string) string {
	s = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(s)
	s, _, _ = strings.Cut(s, "#")
	s, _, _ = strings.Cut(s, "?")
	if !strings.HasPrefix(s, "/") {
		return ""
	}
	out := []string{}
	parts := strings.Split(s[1:], "/")
	for i, p := range parts {
		switch strings.ReplaceAll(strings.ToLower(p), "%2e", ".") {
		case ".":
		case "..":
			out = out[:max(0, len(out)-1)]
		default:
			out = append(out, p)
			continue
		}
		if i == len(parts)-1 {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}

const (
	laxParams = 1 << iota
	laxBackslash
	laxMerge
	laxQuery
	laxUnicode
	laxTail
	laxFold
	laxNUL
)

// lax decodes and normalizes in one pass over the bytes, with a stack of segments.
func lax(s string, quirks int) string {
	on := func(q int) bool { return quirks&q != 0 }
	var decoded []byte
	for len(s) > 0 {
		c, n := s[0], 1
		if c == '%' && len(s) >= 3 && hex(s[1]) >= 0 && hex(s[2]) >= 0 {
			c, n = byte(hex(s[1])<<4|hex(s[2])), 3
		} else if c == '%' && on(laxUnicode) && len(s) >= 6 && (s[1] == 'u' || s[1] == 'U') && hex(s[2])|hex(s[3])|hex(s[4])|hex(s[5]) >= 0 {
			r := hex(s[2])<<12 | hex(s[3])<<8 | hex(s[4])<<4 | hex(s[5])
			n = 6
			if r >= 0xff01 && r <= 0xff5e {
				r -= 0xfee0
			}
			if r > 0x7f {
				return "" // this one would be refused
			}
			c = byte(r)
		}
		decoded = append(decoded, c)
		s = s[n:]
	}
	var stack []string
	segment := []byte{}
	flush := func(last bool) {
		name := string(segment)
		segment = segment[:0]
		if on(laxParams) {
			if i := strings.IndexByte(name, ';'); i >= 0 {
				name = name[:i]
			}
		}
		if on(laxTail) && strings.Trim(name, ".") != "" {
			name = strings.TrimRight(name, ". ")
		}
		switch {
		case name == "." || name == "..":
			if name == ".." && len(stack) > 0 {
				stack = stack[:len(stack)-1]
			}
			if last {
				stack = append(stack, "")
			}
		case name == "" && on(laxMerge) && !last:
		default:
			stack = append(stack, name)
		}
	}
	for i, c := range decoded {
		if c == 0 && on(laxNUL) || c == '?' && on(laxQuery) {
			decoded = decoded[:i]
			break
		}
	}
	for i, c := range decoded {
		if c == '/' || c == '\\' && on(laxBackslash) {
			if i > 0 {
				flush(false)
			}
			continue
		}
		if on(laxFold) && 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		segment = append(segment, c)
	}
	flush(true)
	return "/" + strings.Join(stack, "/")
}

func hex(c byte) int { return strings.IndexByte("0123456789abcdef", c|0x20) }

func within(rule, p string) bool {
	return p == rule || strings.HasSuffix(rule, "/") && strings.HasPrefix(p, rule)
}

// What is public is public to every parser, and what somebody is let through to
// lies in no rule that keeps them out, for any parser.
func FuzzEveryParserAgrees(f *testing.F) {
	for _, s := range []string{
		"/", "/public/x", "/public/../admin/", "/public/%2e%2e/admin/", "/public/..;/nope/", "/public/..%5cadmin%5c", "/public//../admin/x", "/hook", "/hook/",
		"/public/%252e%252e%252fnope%252f", "/%61dmin/", "/ADMIN/x", "/admin", "/public/private/", "/public/%u002e%u002e/admin/", "/public/x%00/../nope/", "/x%3f/../admin/",
		"/public/.%09./admin/", "//public/x", "/./public/x", "/nope./", "/public/a%20b/caf%C3%A9", "/x/%2F/../..//admin/", "/public/%c0%ae%c0%ae/admin/", "/public/...", "/_auth/login",
	} {
		f.Add(s, "GET")
	}
	f.Add("/public/x", "get")
	rules := routed()
	p, err := policy.Compile(rules)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw, method string) {
		target := policy.Target{Method: method, Path: policy.ReadPath(raw)}
		if target.Path.String() != raw {
			t.Fatalf("the path changed to %q", target.Path.String())
		}
		anonymous, bobs, alices := p.Decide(target, nil), p.Decide(target, bob()), p.Decide(target, alice())
		if d := p.Decide(target, mallory()); d.Verdict == policy.Allow && !d.Public {
			t.Errorf("mallory: %+v", d)
		}
		if anonymous.Verdict == policy.Allow && !anonymous.Public {
			t.Errorf("anonymous, but not public: %+v", anonymous)
		}
		if anonymous.Public != bobs.Public || bobs.Public != alices.Public {
			t.Errorf("public for some: %+v, %+v, %+v", anonymous, bobs, alices)
		}
		if bobs.Verdict == policy.Allow && alices.Verdict != policy.Allow {
			t.Errorf("an admin may less than bob: %+v, %+v", alices, bobs)
		}
		for name, parse := range upstreams {
			seen := parse(raw)
			if seen == "" {
				continue
			}
			if anonymous.Public && !(within("/public/", seen) && !within("/public/private/", seen+"/") || seen == "/hook") {
				t.Errorf("public, but %s reads %q", name, seen)
			}
			if bobs.Verdict == policy.Allow && (within("/admin/", seen+"/") || within("/nope/", seen+"/")) {
				t.Errorf("bob is let through (%s), but %s reads %q", bobs.Rule, name, seen)
			}
			if alices.Verdict == policy.Allow && within("/nope/", seen+"/") {
				t.Errorf("alice is let through (%s), but %s reads %q", alices.Rule, name, seen)
			}
		}
	})
}

// Whatever the address and hd are, who is let in by a domain is of that domain and
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

// Whatever an operator writes, Compile returns a policy or problems, and a policy
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
