package oidc_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/auth/oidc"
)

// TOK-080: rp-userinfo of the OpenID conformance suite: what the ID token
// leaves out may come from userinfo, from nobody else, and about nobody else.
func TestUserinfo(t *testing.T) {
	const subject = "the sub of the ID token"
	reply := func(claims map[string]any) string {
		text, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Replace(string(text), subject, "%[1]s", 1)
	}
	full := map[string]any{
		"sub": subject, "email": "alice@example.com", "email_verified": true, "name": "Alice", "groups": []string{"sre"}, "hd": "example.com",
	}
	with := func(edit func(map[string]any)) string {
		claims := maps.Clone(full)
		edit(claims)
		return reply(claims)
	}
	thin := func(m map[string]any) {
		for _, name := range []string{"email", "email_verified", "name", "picture", "groups"} {
			delete(m, name)
		}
	}
	generic := func(c *oidc.Config) { c.Google, c.GroupsClaim = false, "groups" }
	all := auth.Identity{Email: "alice@example.com", EmailVerified: true, Name: "Alice", Groups: []string{"sre"}}

	for name, test := range map[string]struct {
		config func(*oidc.Config)
		claims func(map[string]any)
		reply  string // of userinfo
		status int
		asked  int
		want   auth.Identity
		reason oidc.Reason
	}{
		"all from userinfo":     {generic, thin, reply(full), 200, 1, all, ""},
		"nothing is missing":    {generic, set("groups", []string{"b"}), reply(full), 200, 0, auth.Identity{Email: "alice@example.com", EmailVerified: true, Name: "Alice Archer", Groups: []string{"b"}}, ""},
		"groups are missing":    {generic, set("groups", nil), with(set("email", "boss@example.com")), 200, 1, auth.Identity{Email: "alice@example.com", EmailVerified: true, Name: "Alice Archer", Groups: []string{"sre"}}, ""},
		"no groups configured":  {func(c *oidc.Config) { c.Google = false }, func(map[string]any) {}, reply(full), 200, 0, auth.Identity{Email: "alice@example.com", EmailVerified: true, Name: "Alice Archer"}, ""},
		"the token's is kept":   {generic, set("email", "alice@example.com@b"), reply(full), 200, 1, auth.Identity{Name: "Alice Archer", Groups: []string{"sre"}}, ""},
		"not verified":          {generic, thin, with(set("email_verified", false)), 200, 1, auth.Identity{Email: "alice@example.com", Name: "Alice", Groups: []string{"sre"}}, ""},
		"verified in the token": {generic, func(m map[string]any) { delete(m, "email"); m["email_verified"] = true }, with(set("email_verified", nil)), 200, 1, auth.Identity{Email: "alice@example.com", Name: "Alice Archer", Groups: []string{"sre"}}, ""},
		"not there either":      {generic, thin, reply(map[string]any{"sub": subject}), 200, 1, auth.Identity{}, ""},
		"google is not asked":   {func(c *oidc.Config) { c.GroupsClaim = "groups" }, thin, reply(full), 200, 0, auth.Identity{HostedDomain: "example.com"}, ""},

		"another sub":     {generic, thin, with(set("sub", "somebody else")), 200, 1, auth.Identity{}, oidc.ReasonBadToken},
		"sub missing":     {generic, thin, with(set("sub", nil)), 200, 1, auth.Identity{}, oidc.ReasonBadToken},
		"sub folded":      {generic, thin, with(func(m map[string]any) { m["SUB"] = m["sub"]; delete(m, "sub") }), 200, 1, auth.Identity{}, oidc.ReasonBadToken},
		"signed":          {generic, thin, "eyJhbGciOiJub25lIn0.e30.", 200, 1, auth.Identity{}, oidc.ReasonBadReply},
		"members twice":   {generic, thin, `{"sub":"%[1]s","email":"a@example.com","email":"b@example.com"}`, 200, 1, auth.Identity{}, oidc.ReasonBadReply},
		"too long":        {generic, thin, strings.Repeat(" ", 1<<20) + "{}", 200, 1, auth.Identity{}, oidc.ReasonBadReply},
		"refused":         {generic, thin, "{}", 401, 1, auth.Identity{}, oidc.ReasonUnavailable},
		"elsewhere":       {generic, thin, "{}", 302, 1, auth.Identity{}, oidc.ReasonUnavailable},
		"not in the mood": {generic, thin, "{}", 503, 1, auth.Identity{}, oidc.ReasonUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			r := ready(t, setup{config: test.config})
			var subjectOfToken string
			r.idp.Misbehave(devidp.Fault{
				Claims: func(m map[string]any) {
					subjectOfToken = m["sub"].(string)
					delete(m, "picture")
					test.claims(m)
				},
				Respond: func(w http.ResponseWriter, req *http.Request, endpoint string) bool {
					if endpoint != "userinfo" {
						return false
					}
					if bearer := req.Header["Authorization"]; len(bearer) != 1 || !strings.HasPrefix(bearer[0], "Bearer ya29.") || req.URL.RawQuery != "" || req.Method != http.MethodGet {
						t.Errorf("%s %s with Authorization %q (081)", req.Method, req.URL, bearer)
					}
					w.Header().Set("Content-Type", "application/json")
					w.Header().Set("Location", "https://evil.test/")
					w.WriteHeader(test.status)
					fmt.Fprint(w, strings.Replace(test.reply, "%[1]s", subjectOfToken, 1))
					return true
				},
			})
			if test.reason != "" {
				r.refused(test.reason)
			} else {
				got := r.mustLogin("alice@example.com")
				test.want.Issuer, test.want.Subject = r.issuer, subjectOfToken
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			if n := r.idp.Requests("userinfo"); n != test.asked {
				t.Errorf("userinfo was asked %d times, want %d", n, test.asked)
			}
		})
	}
}

// TestUserinfoElsewhere: an endpoint where the access token would travel in the
// clear, or that is none, is not used, and breaks no login.
func TestUserinfoElsewhere(t *testing.T) {
	for _, endpoint := range []any{"http://accounts.test/userinfo", "userinfo", "", 7, nil} {
		r := newRig(t, setup{config: func(c *oidc.Config) { c.Google = false }})
		r.idp.Misbehave(devidp.Fault{Discovery: set("userinfo_endpoint", endpoint), Claims: set("email", nil)})
		if err := r.rp.Discover(t.Context()); err != nil {
			t.Fatalf("%v: %v", endpoint, err)
		}
		if id := r.mustLogin("alice@example.com"); id.Email != "" {
			t.Errorf("%v: got %+v", endpoint, id)
		}
	}
}
