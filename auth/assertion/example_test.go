package assertion_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/assertion"
)

// A proxy strips on every request, and sets when somebody is signed in.
func Example() {
	teller, err := assertion.New(assertion.Config{
		Profiles: []string{"forwarded"},
		Set:      map[string]string{"X-Tenant": "{hosted_domain}"},
	})
	if err != nil {
		log.Fatal(err)
	}

	h := http.Header{}
	h.Set("X_Forwarded_User", "admin") // CGI and WSGI would read it as X-Forwarded-User
	h.Set("Remote-User", "admin")
	h.Set("Accept", "text/html")
	teller.Strip(h)
	teller.Set(h, &auth.Session{Identity: auth.Identity{
		Email: "alice@example.com", EmailVerified: true, HostedDomain: "example.com", Name: "Zoë",
	}})
	for _, name := range slices.Sorted(maps.Keys(h)) {
		fmt.Printf("%s: %s\n", name, h.Get(name))
	}
	// Output:
	// Accept: text/html
	// X-Forwarded-Email: alice@example.com
	// X-Forwarded-Name: =?utf-8?q?Zo=C3=AB?=
	// X-Forwarded-Preferred-Username: alice
	// X-Forwarded-User: alice@example.com
	// X-Tenant: example.com
}

// An upstream verifies the assertion: with the key that the wall publishes, for
// ES256 alone, and with issuer, audience and time. Then the name in it holds even
// where somebody can reach the upstream around the wall.
func Example_verify() {
	const publicURL = "https://tool.example.com"
	teller, err := assertion.New(assertion.Config{
		Profiles:  []string{"assertion"},
		PublicURL: publicURL,
		Keys:      [][]byte{bytes.Repeat([]byte{1}, assertion.KeySize)}, // seal.Ring derives them
	})
	if err != nil {
		log.Fatal(err)
	}
	// The wall's /_auth/jwks.json.
	wall := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(teller.JWKS()) }))
	defer wall.Close()

	// The upstream fetches the keys at start, and again for a kid it does not know.
	fetch := func() (keys jose.JSONWebKeySet, err error) {
		resp, err := http.Get(wall.URL)
		if err != nil {
			return keys, err
		}
		defer resp.Body.Close()
		return keys, json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&keys)
	}
	keys, err := fetch()
	if err != nil {
		log.Fatal(err)
	}
	whoIs := func(r *http.Request) (string, error) {
		token, err := jwt.ParseSigned(r.Header.Get("X-Loginwall-Assertion"), []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			return "", err
		}
		var registered jwt.Claims
		var ours struct {
			Email string `json:"email"`
		}
		if err := token.Claims(keys, &registered, &ours); err != nil {
			return "", err
		}
		expected := jwt.Expected{Issuer: publicURL, AnyAudience: jwt.Audience{publicURL}, Time: time.Now()}
		if err := registered.ValidateWithLeeway(expected, 30*time.Second); err != nil {
			return "", err
		}
		if registered.Expiry == nil || ours.Email == "" {
			return "", errors.New("a claim is missing")
		}
		return ours.Email, nil
	}

	request := httptest.NewRequest(http.MethodGet, "/", nil)
	teller.Set(request.Header, &auth.Session{
		Identity: auth.Identity{Subject: "1001", Email: "alice@example.com", EmailVerified: true},
		Expires:  time.Now().Add(time.Hour),
	})
	fmt.Println(whoIs(request))

	request.Header.Set("X-Loginwall-Assertion", "eyJhbGciOiJub25lIn0.eyJlbWFpbCI6InJvb3RAZXhhbXBsZS5jb20ifQ.")
	if _, err := whoIs(request); err != nil {
		fmt.Println("a forged one is refused")
	}
	// Output:
	// alice@example.com <nil>
	// a forged one is refused
}
