package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/loginwall/loginwall/config"
)

// An ownCertificate is what browsers get where nothing in front of the wall ends
// TLS. Who asks for a name that is not ours gets the one for public_url all the same,
// and finds out that it is not for that name.
type ownCertificate struct {
	// file stays when a reload takes it away: the listener goes on speaking TLS.
	file atomic.Pointer[tls.Certificate]
	// acme are for the hosts of public_url and, where it has one, of the directory;
	// none where the file names a certificate.
	acme []*acmeClient
}

// tlsConfig is for browsers: TLS 1.3, and of TLS 1.2 what authenticates as it
// encrypts. It gives the certificate that is in force when a connection begins.
func (c *ownCertificate) tlsConfig() *tls.Config {
	tc := &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.file.Load(), nil },
	}
	if c.acme != nil {
		tc.NextProtos = []string{"h2", "http/1.1", acme.ALPNProto}
		tc.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return cmp.Or(c.of(hello.Context(), hello.ServerName), c.acme[0]).certificate(hello)
		}
	}
	return tc
}

// of returns the client for a host, nil for another's.
func (c *ownCertificate) of(ctx context.Context, host string) *acmeClient {
	for _, a := range c.acme {
		if a.isOurs(ctx, host) == nil {
			return a
		}
	}
	return nil
}

// challenges answers the CA on the plain-http port, and leaves the rest to next.
func (c *ownCertificate) challenges(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if own := c.of(r.Context(), r.Host); own != nil {
			own.manager.Load().HTTPHandler(next).ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// missing tells that no CA has given the one for public_url yet.
func (c *ownCertificate) missing() bool { return c.acme != nil && c.acme[0].current.Load() == nil }

// until is when the first one expires, the zero time while one is missing.
func (c *ownCertificate) until() time.Time {
	all := []*tls.Certificate{c.file.Load()}
	if c.acme != nil {
		all = nil
		for _, a := range c.acme {
			all = append(all, a.current.Load())
		}
	}
	var first time.Time
	for _, cert := range all {
		if cert == nil {
			return time.Time{}
		}
		if first.IsZero() || cert.Leaf.NotAfter.Before(first) {
			first = cert.Leaf.NotAfter
		}
	}
	return first
}

// How long an acmeClient waits: after an order that failed, doubled each time, and
// longer where the CA was reached, since CAs count what fails; between two looks at
// whether the certificate is renewed; and for a single answer of the CA.
const (
	retryAway, retryAwayMost       = 2 * time.Second, 5 * time.Minute
	retryRefused, retryRefusedMost = time.Minute, time.Hour
	lookAtCertificate              = time.Hour
	caTimeout                      = 30 * time.Second
)

var errNoCertificate = errors.New("there is no certificate yet")

// An acmeClient gets the certificate for one host from a CA by ACME (RFC 8555),
// proves by TLS-ALPN-01 (RFC 8737) or HTTP-01 that the host is ours, and renews it.
// What strangers ask for in a handshake makes it order nothing.
type acmeClient struct {
	host string
	log  *slog.Logger
	now  func() time.Time
	file *config.ACME
	ca   *http.Client
	// http says that HTTP-01 is possible.
	http bool
	// manager is another one after an order that failed, which the one before would
	// remember. What it proves is in the cache, too.
	manager atomic.Pointer[autocert.Manager]
	// current is the one that was seen last; nil until there is one.
	current atomic.Pointer[tls.Certificate]
}

// newACMEClients makes the folder of the certificates, in which nobody else may read.
func newACMEClients(cfg *config.Config, log *slog.Logger, now func() time.Time) (all []*acmeClient, err error) {
	c := cfg.TLS.ACME
	if err := os.MkdirAll(c.CacheDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the certificate (tls.acme.cache_dir): %w", err)
	}
	info, err := os.Stat(c.CacheDir)
	if err != nil {
		return nil, fmt.Errorf("look at the folder of the certificate (tls.acme.cache_dir): %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can look into the folder of the certificate's key, %s (run: chmod 700 %[1]s)", c.CacheDir)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.CAs, MinVersion: tls.VersionTLS12}}
	for _, origin := range []*url.URL{cfg.PublicURL, cfg.Directory.PublicURL} {
		if origin == nil || len(all) > 0 && all[0].host == origin.Hostname() {
			continue
		}
		a := &acmeClient{
			host: origin.Hostname(), log: log, now: now, file: c, ca: &http.Client{Transport: transport, Timeout: caTimeout}, http: cfg.TLS.RedirectListen != "",
		}
		a.manager.Store(a.newManager())
		all = append(all, a)
	}
	return all, nil
}

func (a *acmeClient) newManager() *autocert.Manager {
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: certificateFolder{autocert.DirCache(a.file.CacheDir)}, HostPolicy: a.isOurs, Email: a.file.Email,
		Client: &acme.Client{DirectoryURL: a.file.DirectoryURL, UserAgent: "loginwall", HTTPClient: a.ca},
	}
	if a.http {
		m.HTTPHandler(nil) // has it try HTTP-01 when TLS-ALPN-01 fails
	}
	return m
}

// A certificateFolder tells nothing of what went wrong with a proof of HTTP-01: who
// asks for one may be anybody, is told the error, and it would name the folder.
type certificateFolder struct{ autocert.DirCache }

func (f certificateFolder) Get(ctx context.Context, name string) ([]byte, error) {
	data, err := f.DirCache.Get(ctx, name)
	if err != nil && strings.HasSuffix(name, "+http-01") {
		err = autocert.ErrCacheMiss
	}
	return data, err
}

func (a *acmeClient) isOurs(_ context.Context, host string) error {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if !strings.EqualFold(host, a.host) {
		return errors.New("another host")
	}
	return nil
}

// hello is a handshake of a browser that wants what we have: an ECDSA key.
func (a *acmeClient) hello() *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: a.host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
}

func (a *acmeClient) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	switch m := a.manager.Load(); {
	case slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}): // the CA
		return m.GetCertificate(hello)
	case a.current.Load() != nil:
		return m.GetCertificate(a.hello())
	}
	return nil, errNoCertificate
}

// run orders the certificate unless it is in the cache, and says how it stands with
// it, until ctx ends. autocert renews it when a third of its time is left.
func (a *acmeClient) run(ctx context.Context) {
	away, refused := retryAway, retryRefused
	for {
		cert, err := a.order(ctx)
		if err == nil {
			a.watch(ctx, cert)
			return
		}
		if ctx.Err() != nil {
			return
		}
		wait := &refused
		if _, ok := errors.AsType[*url.Error](err); ok {
			wait = &away
		}
		a.log.ErrorContext(ctx, "no certificate: browsers cannot connect (is the CA reachable, and does it reach the wall by its name?)",
			slog.String("host", a.host), slog.Any("error", err), slog.String("next_try", wait.String()))
		select {
		case <-ctx.Done():
			return
		case <-time.After(*wait):
		}
		away, refused = min(2*away, retryAwayMost), min(2*refused, retryRefusedMost)
		a.manager.Store(a.newManager())
	}
}

// order may take minutes, which the end of the wall does not wait for.
func (a *acmeClient) order(ctx context.Context) (cert *tls.Certificate, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		cert, err = a.manager.Load().GetCertificate(a.hello())
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-done:
		return cert, err
	}
}

// watch says what autocert does not: that there is another certificate, or that
// there should be.
func (a *acmeClient) watch(ctx context.Context, cert *tls.Certificate) {
	for {
		a.current.Store(cert)
		leaf := cert.Leaf
		a.log.InfoContext(ctx, "certificate", slog.String("host", a.host), slog.Time("until", leaf.NotAfter), slog.String("serial", leaf.SerialNumber.Text(16)))
		for same := true; same; same = cert.Leaf.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			if left := leaf.NotAfter.Sub(a.now()); left < leaf.NotAfter.Sub(leaf.NotBefore)/4 {
				a.log.ErrorContext(ctx, "the certificate was not renewed in time", slog.String("host", a.host), slog.Time("until", leaf.NotAfter))
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(lookAtCertificate):
			}
			if now, err := a.manager.Load().GetCertificate(a.hello()); err == nil {
				cert = now
			}
		}
	}
}
