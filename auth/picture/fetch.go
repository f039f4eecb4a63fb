package picture

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// maxBytes bounds what is read of an answer.
const maxBytes = 256 << 10

var (
	errTooLong = errors.New("it is longer than 256 KiB")
	errPrivate = errors.New("the host has an address that is not public")
)

// googleHost is where Google keeps what its users upload: below that domain, and
// nowhere that only looks like it.
var googleHost = regexp.MustCompile(`^([a-z0-9-]+\.)+googleusercontent\.com:443$`)

// Admits tells whether the rules let a picture be fetched from an address.
func (g *Gallery) Admits(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Opaque != "" {
		return false
	}
	at := authority(u)
	return g.issuer != "" && at == g.issuer || g.config.Google && googleHost.MatchString(at)
}

// authority is the host and port of an https URL.
func authority(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func (g *Gallery) newClient() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            g.dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: g.config.RootCAs},
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // asks for none and unpacks none
			MaxConnsPerHost:        maxFetches,
			IdleConnTimeout:        10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

// dial checks the address that is connected to, not one that the name had earlier.
// The provider may be inside: the operator's file says where it is.
func (g *Gallery) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Resolver: g.config.Resolver}
	if strings.ToLower(address) != g.issuer {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || !public(to.Addr()) {
				return errPrivate
			}
			return nil
		}
	}
	return dialer.DialContext(ctx, network, address)
}

// public tells whether an address is one of the internet's.
func public(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	for _, prefix := range reserved {
		if prefix.Contains(address) {
			return false
		}
	}
	return address.IsValid()
}

// reserved are IANA's registries of special-purpose addresses (RFC 6890), and of IPv6
// all that is not 2000::/3. What embeds an IPv4 address (NAT64, 6to4, Teredo) is among
// them: it may embed a private one.
var reserved = func() (prefixes []netip.Prefix) { //nolint:gochecknoglobals // a table
	for _, text := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
		"::/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "4000::/2", "8000::/1",
	} {
		prefixes = append(prefixes, netip.MustParsePrefix(text))
	}
	return prefixes
}()

// fetch gets the picture at an address that is admitted.
func (g *Gallery) fetch(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, errors.New("make the request: the address is none")
	}
	request.Header.Set("Accept", "image/jpeg, image/png, image/gif")
	response, err := g.client.Do(request)
	if err != nil {
		if named, ok := errors.AsType[*url.Error](err); ok {
			err = named.Err // without the address, which is not for the log
		}
		return nil, fmt.Errorf("ask for it: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the host answered %d (redirects are not followed)", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	if len(body) > maxBytes {
		return nil, errTooLong
	}
	return portrait(ctx, body)
}
