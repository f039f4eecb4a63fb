package assertion_test

import (
	"mime"
	"net/http"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth/assertion"
)

// META-253: whatever spelling a client finds: it is owned exactly if its folded form is,
// and Strip and Owned agree.
func FuzzOwned(f *testing.F) {
	for _, s := range []string{"X_Forwarded_User", "x-forwarded", "Remote.User", "Accept", "X-Custom-Who", "X-Custom-Whose", "\u212aube", "", "X-Auth-Request-"} {
		f.Add(s)
	}
	teller := newTeller(f, assertion.Config{Set: map[string]string{"X-Custom-Who": "{email}"}})
	f.Fuzz(func(t *testing.T, name string) {
		folded := assertion.Fold(name)
		if strings.Trim(folded, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || assertion.Fold(folded) != folded {
			t.Fatalf("%q folds to %q", name, folded)
		}
		owned := teller.Owned(name)
		if teller.Owned(folded) != owned {
			t.Errorf("%q: owned %v, folded %v", name, owned, !owned)
		}
		if !owned && (folded == "x-custom-who" || folded == "remote-user" || strings.HasPrefix(folded, "x-forwarded-")) {
			t.Errorf("%q is not owned", name)
		}
		h := http.Header{name: {"x"}, "Connection": {"close, " + name}}
		teller.Strip(h)
		if _, kept := h[name]; kept == owned && name != "Connection" {
			t.Errorf("%q: owned %v, kept %v", name, owned, kept)
		}
		for token := range strings.SplitSeq(strings.Join(h["Connection"], ","), ",") {
			if teller.Owned(strings.Trim(token, " \t")) {
				t.Errorf("%q is left of Connection", token)
			}
		}
	})
}

// Whatever a provider claims: a value is one line of printable ASCII, a group is
// not two, and what is told decodes to what was claimed.
func FuzzValues(f *testing.F) {
	f.Add("Alice", "sre", "ops")
	f.Add("Zoë\r\nX-Forwarded-User: root", "a,b", "Führung")
	f.Add("=?utf-8?q?a?=", " x", "=?utf-8?b?LA==?=")
	f.Add(strings.Repeat("漢", 90), strings.Repeat("g", 2040), "0123456789")
	teller := newTeller(f, assertion.Config{Profiles: assertion.Profiles(), Set: map[string]string{"X-Mixed": "a {name}: {groups} {subject}"}})
	f.Fuzz(func(t *testing.T, name, one, two string) {
		s := alice()
		s.Identity.Name, s.Identity.Subject, s.Identity.Groups = name, name, []string{one, two}
		total := 0
		headers := teller.Headers(s)
		for k, values := range headers {
			for _, v := range values {
				total += len(k) + len(v) + 4
				if v == "" || strings.TrimSpace(v) != v || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("%s: %q", k, v)
				}
			}
		}
		if total > 8<<10 {
			t.Errorf("%d bytes of headers", total)
		}
		decode := func(v string) string {
			text, err := new(mime.WordDecoder).DecodeHeader(v)
			if err != nil {
				t.Errorf("%q: %v", v, err)
			}
			return text
		}
		if v := headers.Get("X-Forwarded-Name"); v != "" && decode(v) != strings.TrimSpace(name) {
			t.Errorf("the name %q is told as %q", name, v)
		}
		if v := headers.Get("X-Auth-Request-Groups"); v != "" {
			for g := range strings.SplitSeq(v, ",") {
				if g = decode(g); g != one && g != two {
					t.Errorf("a group %q out of %q and %q", g, one, two)
				}
			}
		}
	})
}

// Check and New agree about every template, and what passes never panics.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{email}", "Bearer {assertion}", "{", "}", "{{email}}", "{nobody}", "a\r\nb", "ä", ""} {
		f.Add("X-A", s)
	}
	f.Add("Host", "{email}")
	f.Add("x_forwarded.for", "1")
	f.Fuzz(func(t *testing.T, name, template string) {
		wrong := assertion.Check(name, template)
		teller, err := assertion.New(assertion.Config{
			Set: map[string]string{name: template}, PublicURL: origin, Keys: [][]byte{seed(1)},
		})
		if (wrong == nil) != (err == nil) {
			t.Fatalf("Check says %v, New says %v", wrong, err)
		}
		if err != nil {
			return
		}
		if !teller.Owned(name) {
			t.Errorf("%q is set and not owned", name)
		}
		h := http.Header{}
		teller.Set(h, alice())
		if len(h) > 1 || len(h) == 1 && h.Get(name) == "" {
			t.Errorf("%q: %q sets %v", name, template, h)
		}
	})
}
