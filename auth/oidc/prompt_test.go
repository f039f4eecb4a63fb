package oidc_test

import (
	"net/url"
	"testing"

	"github.com/loginwall/loginwall/auth/devidp"
)

// Who wants to be somebody else is asked, by whatever means the provider has.
func TestAnotherAccount(t *testing.T) {
	for name, test := range map[string]struct {
		prompts any
		want    string
	}{
		"not said":       {nil, "select_account"},
		"has a chooser":  {[]string{"none", "login", "select_account"}, "select_account"},
		"has only login": {[]string{"none", "login", "consent"}, "login"},
		"has none":       {[]string{"none"}, ""},
		"not a list":     {map[string]any{}, "select_account"},
	} {
		r := newRig(t, setup{})
		r.idp.Misbehave(devidp.Fault{Discovery: set("prompt_values_supported", test.prompts)})
		if err := r.rp.Discover(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, selectAccount := range []bool{false, true} {
			a := newAttempt()
			a.SelectAccount = selectAccount
			text, err := r.rp.AuthCodeURL(a)
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if selectAccount {
				want = test.want
			}
			if got := u.Query().Get("prompt"); got != want || u.Query().Has("prompt") != (want != "") {
				t.Errorf("%s, another account %v: prompt %q, want %q", name, selectAccount, got, want)
			}
		}
	}
}
