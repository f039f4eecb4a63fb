package oidc_test

import (
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/auth/oidc"
)

// Who is to prove once more who it is is asked to, and a provider that says it did
// not ask is not believed. One that says nothing is.
func TestAgain(t *testing.T) {
	r := newRig(t, setup{config: func(c *oidc.Config) { c.Google = false }}) // which knows neither prompt=login nor max_age
	if err := r.rp.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		authTime any
		again    bool
		want     oidc.Reason
	}{
		"told nothing":          {nil, true, ""},
		"just now":              {time.Now().Unix(), true, ""},
		"yesterday":             {time.Now().Add(-24 * time.Hour).Unix(), true, oidc.ReasonStale},
		"yesterday, not asked":  {time.Now().Add(-24 * time.Hour).Unix(), false, ""},
		"a time that is none":   {"noon", true, oidc.ReasonBadToken},
		"hexadecimal":           {fmt.Sprintf("%x", float64(time.Now().Unix())), true, oidc.ReasonBadToken},
		"twenty minutes before": {time.Now().Add(-20 * time.Minute).Unix(), true, oidc.ReasonStale},
	} {
		r.idp.Misbehave(devidp.Fault{Claims: set("auth_time", test.authTime)})
		a := newAttempt()
		a.Again = test.again
		text, err := r.rp.AuthCodeURL(a)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := u.Query().Get("prompt") == "login" && u.Query().Get("max_age") == "0"; got != test.again {
			t.Errorf("%s: asked with %s", name, u.RawQuery)
		}
		_, err = r.rp.Exchange(t.Context(), a, r.authorize(a, "alice@example.com").Get("code"))
		var failure *oidc.Error
		if errors.As(err, &failure) != (test.want != "") || failure != nil && failure.Reason != test.want {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
