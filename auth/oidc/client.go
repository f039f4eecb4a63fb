package oidc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// callTimeout bounds each call, and a whole exchange, from the first byte of
	// the connection to the last of the body; people wait for no longer than ten
	// seconds, our own work included.
	callTimeout = 9 * time.Second
	maxBody     = 1 << 20
	// maxConns bounds connections to each of the provider's hosts.
	maxConns = 64
)

// The endpoints that Config.Observe tells apart.
const (
	endpointDiscovery = "discovery"
	endpointToken     = "token"
	endpointKeys      = "jwks"
	endpointUserinfo  = "userinfo"
)

// A client makes every call to the provider. It trusts nothing that comes back:
// no redirect is followed (the metadata says where things are), no compressed
// body is taken (a bomb unpacks behind any limit), and bodies end at maxBody.
type client struct {
	http    *http.Client
	now     func() time.Time
	observe func(ctx context.Context, endpoint string, d time.Duration, err error)
	// offset is the provider's clock minus ours, in nanoseconds, as its last Date
	// header told.
	offset atomic.Int64
}

func newClient(c *Config) *client {
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	}
	cl := &client{now: c.Now, observe: c.Observe}
	cl.http = &http.Client{
		// Behind an exchange's own deadline, which is to be the one that ends it: x/oauth2
		// hides why a body could not be read.
		Timeout:       callTimeout + 500*time.Millisecond,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &guard{note: cl.noteDate, base: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs},
			TLSHandshakeTimeout:    5 * time.Second,
			DisableCompression:     true, // asks for none and unpacks none
			ForceAttemptHTTP2:      true,
			MaxConnsPerHost:        maxConns,
			MaxIdleConnsPerHost:    maxConns, // whoever comes next needs no new one
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		}},
	}
	return cl
}

// get fetches a JSON document; with an access token, unless it is empty.
func (c *client) get(ctx context.Context, endpoint, url, token string) (body []byte, header http.Header, err error) {
	start := c.now()
	defer func() { c.observe(ctx, endpoint, c.now().Sub(start), err) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, nil, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token) // RFC 6750, section 2.1
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s answered %d (want 200; redirects are not followed)", url, resp.StatusCode)
	}
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", url, err)
	}
	return body, resp.Header, nil
}

// noteDate remembers how far the provider's clock is from ours: when a token's
// times do not fit, that tells a wrong clock from a wrong token.
func (c *client) noteDate(h http.Header) {
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		c.offset.Store(int64(date.Sub(c.now())))
	}
}

// A guard bounds every response, also those that x/oauth2 reads.
type guard struct {
	base http.RoundTripper
	note func(http.Header)
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	g.note(resp.Header)
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%w: body in content coding %q, which was not asked for", errReply, clip(coding))
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: maxBody}
	return resp, nil
}

var errTooLong = errors.New("body longer than 1 MiB")

// bounded is an io.LimitedReader that fails instead of pretending that the body
// has ended.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("%w: %w", errReply, errTooLong)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}
