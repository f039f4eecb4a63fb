package oidc_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/auth/oidc"
)

func rotate(t *testing.T, idp *devidp.Provider) {
	t.Helper()
	if err := idp.RotateKeys(); err != nil {
		t.Error(err)
	}
}

// TOK-087, TOK-088.
func TestRotation(t *testing.T) {
	r := ready(t, setup{})
	for range 5 { // however often within a minute
		r.mustLogin("alice@example.com")
		rotate(t, r.idp)
	}
	r.mustLogin("alice@example.com")
	r.idp.Misbehave(devidp.Fault{Claims: func(map[string]any) { rotate(t, r.idp) }}) // just before signing
	r.mustLogin("alice@example.com")
}

func TestFirstLoginFetchesKeysOnce(t *testing.T) {
	r := newRig(t, setup{})
	ctx, cancel := contextWithCancel(t)
	go r.rp.Run(ctx)
	eventually(t, r.rp.Ready)
	if n := r.idp.Requests("jwks"); n != 0 {
		t.Errorf("%d fetches before anybody came", n)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := r.login("alice@example.com"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := r.idp.Requests("jwks"); n < 1 || n > 2 {
		t.Errorf("%d fetches", n)
	}
	cancel()
}

// TOK-104.
func TestUnknownKeyIDs(t *testing.T) {
	for name, first := range map[string]bool{"after a login": true, "from the start": false} {
		r := newRig(t, setup{})
		ctx, cancel := contextWithCancel(t)
		go r.rp.Run(ctx)
		eventually(t, r.rp.Ready)
		before := 0
		if first {
			r.mustLogin("alice@example.com")
			before = r.idp.Requests("jwks")
		}
		r.idp.Misbehave(devidp.Fault{Header: set("kid", "nobody's")})
		for range 50 {
			r.refused(oidc.ReasonBadToken)
		}
		if n := r.idp.Requests("jwks") - before; n > 2 || n < 1 {
			t.Errorf("%s: %d fetches", name, n)
		}
		r.idp.Misbehave(devidp.Fault{})
		r.mustLogin("alice@example.com")
		r.skew.Store(int64(61 * time.Second)) // another minute, another two
		before = r.idp.Requests("jwks")
		r.idp.Misbehave(devidp.Fault{Header: set("kid", "nobody's")})
		for range 10 {
			r.refused(oidc.ReasonBadToken)
		}
		if n := r.idp.Requests("jwks") - before; n != 2 {
			t.Errorf("%s: %d fetches in the next minute", name, n)
		}
		cancel()
	}
}

// IDP-220.
func TestKeysUnavailable(t *testing.T) {
	bad := map[string]devidp.Fault{
		"500":     answer("jwks", 500, "PROVIDERBODY"),
		"HTML":    answer("jwks", 200, "<html>PROVIDERBODY"),
		"nothing": answer("jwks", 200, ""),
		"null":    answer("jwks", 200, "null"),
		"no keys": answer("jwks", 200, `{"keys":[]}`),
		"no list": answer("jwks", 200, `{"keys":{}}`),
		"useless": answer("jwks", 200, `{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"weird"},7,null]}`),
	}
	for name, f := range bad {
		r := ready(t, setup{})
		r.mustLogin("alice@example.com")
		r.idp.Misbehave(f)
		r.mustLogin("alice@example.com") // with the keys we have
		rotate(t, r.idp)
		err := r.refused(oidc.ReasonUnavailable, oidc.ReasonBadReply)
		t.Log(name, err)
		r.idp.Misbehave(devidp.Fault{})
		r.mustLogin("alice@example.com") // at once, not in a minute
	}
}

// Keys that have fallen due are fetched again, and what is no longer published is
// no longer trusted; but as long as nothing can be fetched the old ones serve, for
// a day.
func TestKeysAge(t *testing.T) {
	for cacheControl, age := range map[string]time.Duration{
		"public, max-age=3600":         time.Hour,
		"max-age=1":                    5 * time.Minute,
		"max-age=99999999":             24 * time.Hour,
		"no-store":                     time.Hour,
		"public, MAX-AGE=\"600\"":      10 * time.Minute,
		"max-age=-1":                   time.Hour,
		"max-age=99999999999999999999": time.Hour,
	} {
		t.Run(cacheControl, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, setup{})
			setAging := func(d time.Duration) { r.skew.Store(int64(d)); r.theirs.Store(int64(d)) }
			r.idp.Misbehave(devidp.Fault{Respond: func(w http.ResponseWriter, q *http.Request, endpoint string) bool {
				if endpoint != "jwks" {
					return false
				}
				r.idp.Misbehave(devidp.Fault{})
				r.idp.ServeHTTP(cacheHeader{w, cacheControl}, q)
				return true
			}})
			if err := r.rp.Discover(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.mustLogin("alice@example.com")
			oldID, old := r.idp.SigningKey()
			rotate(t, r.idp)
			r.idp.WithdrawKeys()
			withOld := devidp.Fault{
				Header: set("kid", oldID),
				Sign:   func(input []byte) []byte { return rs256(t, old, string(input)) },
			}
			fetches := r.idp.Requests("jwks")

			setAging(age - time.Minute)
			r.idp.Misbehave(withOld)
			r.mustLogin("alice@example.com")
			if n := r.idp.Requests("jwks"); n != fetches {
				t.Errorf("%d fetches before the keys fell due", n-fetches)
			}

			setAging(age + time.Minute)
			if age < 24*time.Hour {
				withOld.Respond = answer("jwks", 500, "").Respond
				r.idp.Misbehave(withOld)
				r.mustLogin("alice@example.com")
			}
			setAging(24*time.Hour + 2*time.Minute)
			withOld.Respond = answer("jwks", 500, "").Respond
			r.idp.Misbehave(withOld)
			r.refused(oidc.ReasonUnavailable)
			withOld.Respond = nil
			r.idp.Misbehave(withOld)
			r.refused(oidc.ReasonBadToken)

			r.idp.Misbehave(devidp.Fault{})
			r.mustLogin("alice@example.com")
		})
	}
}

type cacheHeader struct {
	http.ResponseWriter
	value string
}

func (c cacheHeader) WriteHeader(status int) {
	c.Header().Set("Cache-Control", c.value)
	c.ResponseWriter.WriteHeader(status)
}

// A set may hold many keys, but not any number of them.
func TestTooManyKeys(t *testing.T) {
	r := newRig(t, setup{})
	for _, n := range []int{99, 100} {
		r.renew(t)
		r.idp.Misbehave(devidp.Fault{Keys: func(m map[string]any) {
			for range n {
				m["keys"] = append(m["keys"].([]any), map[string]string{"kty": "oct", "k": "AAAA"})
			}
		}})
		if err := r.rp.Discover(t.Context()); (err == nil) != (n == 99) {
			t.Errorf("%d keys: %v", n+1, err)
		}
	}
}

// A moved jwks_uri is another key set.
func TestKeysMove(t *testing.T) {
	r := ready(t, setup{})
	r.mustLogin("alice@example.com")
	r.idp.Misbehave(devidp.Fault{Discovery: set("jwks_uri", r.issuer+"/elsewhere")})
	if err := r.rp.Discover(t.Context()); err == nil {
		t.Error("no error although the new place has no keys")
	}
	r.refused(oidc.ReasonUnavailable)
}

func TestObserveFailures(t *testing.T) {
	r := ready(t, setup{})
	r.idp.Misbehave(answer("token", 500, ""))
	r.refused(oidc.ReasonUnavailable)
	last := r.calls[len(r.calls)-1]
	if last.endpoint != "token" || reasonOf(last.err) != oidc.ReasonUnavailable {
		t.Errorf("observed %v", last)
	}
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("not within a minute")
		}
		time.Sleep(time.Millisecond)
	}
}
