package gate_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/gate"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/auth/seal"
	"github.com/loginwall/loginwall/auth/session"
)

// A server of your own asks the gate before it does anything else.
func Example() {
	rules, err := policy.Compile(policy.Rules{
		Google: true,
		Allow:  policy.List{Domains: []policy.Domain{{Name: "example.com"}}},
		Routes: []policy.Route{{Path: "/status", Access: policy.Public}},
	})
	if err != nil {
		log.Fatal(err)
	}
	key, err := seal.ParseKey(seal.GenerateKey()) // in earnest: from a file
	if err != nil {
		log.Fatal(err)
	}
	ring, err := seal.NewRing(key)
	if err != nil {
		log.Fatal(err)
	}
	revoked := session.NewRevocations(time.Now)
	revoked.Apply(auth.Feed{}) // in earnest: by a session.Follower of the store
	sessions, err := session.New(session.Config{
		PublicURL: &url.URL{Scheme: "https", Host: "tool.example.com"},
		Ring:      ring,
		Issuer:    "https://accounts.google.com",
		MaxAge:    7 * 24 * time.Hour,
		Idle:      24 * time.Hour,
		Store:     ledger{time.Now}, // in earnest: a store.Store
		Revoked:   revoked,
	})
	if err != nil {
		log.Fatal(err)
	}
	g, err := gate.New(gate.Config{
		Policy:     rules,
		Sessions:   sessions,
		Revoked:    revoked,
		Issuer:     "https://accounts.google.com",
		MaxFeedAge: 5 * time.Minute,
	})
	if err != nil {
		log.Fatal(err)
	}

	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, _, _ := strings.Cut(r.RequestURI, "?") // as sent: r.URL.Path is decoded
		d, err := g.Decide(policy.Target{Method: r.Method, Path: policy.ReadPath(path)}, r.Header["Cookie"])
		switch {
		case err != nil:
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		case d.Verdict() == policy.Allow && d.Public():
			fmt.Fprint(w, "hello, whoever you are")
		case d.Verdict() == policy.Allow:
			fmt.Fprint(w, "hello ", d.Principal().Identity().Email)
		case d.Verdict() == policy.Challenge:
			http.Error(w, "sign in", http.StatusUnauthorized)
		default:
			http.Error(w, "not you: "+string(d.Reason()), http.StatusForbidden)
		}
	})

	for _, email := range []string{"alice@example.com", "mallory@evil.test"} {
		id := auth.Identity{
			Issuer: "https://accounts.google.com", Subject: email,
			Email: email, EmailVerified: true, HostedDomain: auth.Domain(email),
		}
		set, _, _, err := sessions.Start(context.Background(), id, auth.Client{})
		if err != nil {
			log.Fatal(err)
		}
		cookie, _, _ := strings.Cut(set, ";")
		show(handler, "/report", cookie)
	}
	show(handler, "/report", "")
	show(handler, "/status", "")
	show(handler, "/./status", "")
	// Output:
	// /report: 200 hello alice@example.com
	// /report: 403 not you: domain
	// /report: 401 sign in
	// /status: 200 hello, whoever you are
	// /./status: 401 sign in
}

func show(h http.Handler, path, cookie string) {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Printf("%s: %d %s\n", path, w.Code, strings.TrimSpace(w.Body.String()))
}
