package oidc_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/auth/oidc"
)

const (
	clientID     = "1234.apps.example"
	clientSecret = "s3cr3t+/& with odd bytes"
	redirectURL  = "https://app.test/_auth/callback"
	googleIssuer = "https://accounts.google.com"
)

// A rig is a relying party and the provider it talks to, over real TLS, under
// whatever host names: every connection of the relying party ends at the provider.
type rig struct {
	t      *testing.T
	idp    *devidp.Provider
	rp     *oidc.Provider
	config oidc.Config
	issuer string
	skew   atomic.Int64 // our clock, in nanoseconds ahead of the real one
	theirs atomic.Int64 // the provider's clock, likewise (but for its Date header)

	log     bytes.Buffer // of a bubble
	mu      sync.Mutex
	dialled []string
	calls   []call
}

type call struct {
	endpoint string
	err      error
}

// A setup is what a test wants different.
type setup struct {
	issuer string
	config func(*oidc.Config)
	tls    func(*tls.Config)
}

func newRig(t *testing.T, s setup) *rig {
	t.Helper()
	r := &rig{t: t, issuer: s.issuer}
	if r.issuer == "" {
		r.issuer = "https://accounts.test"
	}
	dc := devidp.Config{
		Issuer:  r.issuer,
		Now:     func() time.Time { return time.Now().Add(time.Duration(r.theirs.Load())) },
		Clients: map[string]devidp.Client{clientID: {Secret: clientSecret, RedirectURIs: []string{redirectURL}}},
	}
	var err error
	if r.idp, err = devidp.New(dc); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(r.idp)
	issuer, _ := url.Parse(r.issuer)
	certificate, roots := newCertificate(t, issuer.Hostname(), time.Now().Add(time.Hour))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS10}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	c := oidc.Config{
		Issuer:       r.issuer,
		ClientID:     clientID,
		ClientSecret: auth.NewSecret(clientSecret),
		RedirectURL:  redirectURL,
		Google:       true,
		RootCAs:      roots,
		Now:          func() time.Time { return time.Now().Add(time.Duration(r.skew.Load())) },
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			r.mu.Lock()
			r.dialled = append(r.dialled, address)
			r.mu.Unlock()
			return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
		},
		Observe: func(_ context.Context, endpoint string, _ time.Duration, err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.calls = append(r.calls, call{endpoint, err})
		},
	}
	if s.config != nil {
		s.config(&c)
	}
	if s.tls != nil {
		s.tls(server.TLS)
	}
	if issuer.Scheme == "https" {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	r.config = c
	r.renew(t)
	return r
}

// renew makes another relying party, which has discovered nothing yet: making a
// provider, and its key, takes far longer.
func (r *rig) renew(t *testing.T) {
	t.Helper()
	rp, err := oidc.New(r.config)
	if err != nil {
		t.Fatal(err)
	}
	r.t, r.rp, r.dialled, r.calls = t, rp, nil, nil
	t.Cleanup(rp.CloseIdle)
}

// ready is a rig that is discovered.
func ready(t *testing.T, s setup) *rig {
	t.Helper()
	r := newRig(t, s)
	if err := r.rp.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// newCertificate makes a certificate and the pool that trusts it.
func newCertificate(t *testing.T, host string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func newAttempt() oidc.Attempt {
	return oidc.Attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text()}
}

// authorize plays the browser up to the callback, whose parameters it returns.
func (r *rig) authorize(a oidc.Attempt, email string) url.Values {
	r.t.Helper()
	to, err := r.rp.AuthCodeURL(a)
	if err != nil {
		r.t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r.idp.ServeHTTP(w, httptest.NewRequestWithContext(r.t.Context(), http.MethodGet, to+"&login_hint="+url.QueryEscape(email), http.NoBody))
	back, err := url.Parse(w.Header().Get("Location"))
	if err != nil || w.Code != http.StatusFound || !strings.HasPrefix(back.String(), redirectURL+"?") {
		r.t.Fatalf("authorize: %d %q", w.Code, w.Header().Get("Location"))
	}
	q := back.Query()
	if q.Get("state") != a.State {
		r.t.Fatalf("the state %q came back as %q", a.State, q.Get("state"))
	}
	return q
}

// login plays one whole login. Whatever comes of it, nothing secret may stand in
// the error (O4), and only an identity without an error, or an error without an
// identity, may come back.
func (r *rig) login(email string) (auth.Identity, error) {
	r.t.Helper()
	a := newAttempt()
	code := r.authorize(a, email).Get("code")
	id, err := r.rp.Exchange(r.t.Context(), a, code)
	if err != nil {
		if id.Subject != "" || id.Email != "" {
			r.t.Errorf("an identity %+v came with the error %v", id, err)
		}
		var failure *oidc.Error
		if !errors.As(err, &failure) || failure.Reason == "" {
			r.t.Errorf("error %v (%T) has no reason", err, err)
		}
		for _, secret := range []string{code, clientSecret, url.QueryEscape(clientSecret), a.Verifier, a.Nonce, "ya29.", "eyJ", "<html", "PROVIDERBODY"} {
			if strings.Contains(err.Error(), secret) {
				r.t.Errorf("error %q tells %q", err, secret)
			}
		}
		if len(err.Error()) > 400 {
			r.t.Errorf("error of %d bytes", len(err.Error()))
		}
	}
	return id, err
}

// mustLogin is for what has to work.
func (r *rig) mustLogin(email string) auth.Identity {
	r.t.Helper()
	id, err := r.login(email)
	if err != nil {
		r.t.Fatalf("login of %s: %v", email, err)
	}
	return id
}

// refused checks that a login fails for one of the reasons.
func (r *rig) refused(reasons ...oidc.Reason) error {
	r.t.Helper()
	id, err := r.login("alice@example.com")
	if err == nil {
		r.t.Fatalf("logged in as %+v, want one of %v", id, reasons)
	}
	if !slices.Contains(reasons, reasonOf(err)) {
		r.t.Errorf("reason %q (%v), want one of %v", reasonOf(err), err, reasons)
	}
	return err
}

func reasonOf(err error) oidc.Reason {
	if failure, ok := errors.AsType[*oidc.Error](err); ok {
		return failure.Reason
	}
	return ""
}

// set is a claims edit that sets one member; nil deletes it.
func set(name string, value any) func(map[string]any) {
	return func(m map[string]any) {
		if value == nil {
			delete(m, name)
			return
		}
		m[name] = value
	}
}
