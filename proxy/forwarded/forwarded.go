// Package forwarded finds out who is really calling: the address, the scheme and
// the host of the client's own request, as far as somebody we trust tells.
//
// # Threats
//
// X-Forwarded-For, -Proto and -Host are ordinary headers; whoever can send a
// request can send them. So only a peer that trusted_proxies names is believed,
// by the address of its connection, and by default there is none. Of the chain in
// X-Forwarded-For only the right end is believed: each hop appends the address
// that it saw, so the list is walked from the right past trusted hops, and ends
// at the first address that is not one of them. What stands to its left was
// written by that client, or by nobody.
//
// # Not used
//
// Forwarded (RFC 7239), X-Real-IP and their kin are not read at all: front
// proxies that set X-Forwarded-* let those of a client pass, and two sources for
// one fact are a way to choose between them.
package forwarded

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
)

// maxHops bounds the chain: more trusted hops than this are nobody's network.
const maxHops = 50

// unix stands for the peer of a socket wherever an address is asked for.
const unix = "unix"

var (
	// ErrPeer: the server did not say who the peer is.
	ErrPeer = errors.New("the connection has no peer address")
	// ErrHost: a trusted peer names several hosts, and the client could have
	// written one of them. The answer is 400.
	ErrHost = errors.New("several values of X-Forwarded-Host")
)

// A Config says whom to believe.
type Config struct {
	// Trusted are the networks whose X-Forwarded-For, -Proto and -Host count.
	// Neither 0.0.0.0/0 nor ::/0 may be among them.
	Trusted []netip.Prefix
	// TrustUnix believes the peers of a unix socket.
	TrustUnix bool
	// PublicURL is the one origin that people type.
	PublicURL *url.URL
}

// A Resolver is immutable, but for having given its one hint, and safe for
// concurrent use.
type Resolver struct {
	trusted   []netip.Prefix
	trustUnix bool
	scheme    string
	hosts     [2]string // the spellings of our host
	hinted    atomic.Bool
}

// New checks c.
func New(c Config) (*Resolver, error) {
	if c.PublicURL == nil || c.PublicURL.Hostname() == "" {
		return nil, errors.New("the public URL has no host")
	}
	port, ok := map[string]string{"http": "80", "https": "443"}[c.PublicURL.Scheme]
	if !ok {
		return nil, fmt.Errorf("the public URL's scheme is %q (want http or https)", c.PublicURL.Scheme)
	}
	r := &Resolver{trustUnix: c.TrustUnix, scheme: c.PublicURL.Scheme}
	for _, p := range c.Trusted {
		// Addresses are compared as IPv4 wherever they are, so networks are too.
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("%q is no network (want 10.0.0.0/8 or fd00::/8)", p)
		}
		if p.Bits() == 0 {
			return nil, fmt.Errorf("%s would believe everybody (name the networks of your proxies)", p)
		}
		r.trusted = append(r.trusted, p.Masked())
	}
	r.hosts = [2]string{c.PublicURL.Host, c.PublicURL.Host}
	if bare, found := strings.CutSuffix(c.PublicURL.Host, ":"+port); found {
		r.hosts[0] = bare
	} else if c.PublicURL.Port() == "" {
		r.hosts[1] += ":" + port
	}
	return r, nil
}

// A Request is what is known about how a request came. The zero value trusts
// nobody.
type Request struct {
	// Client is the caller's IP address, or "unix" behind a socket. It is never
	// anything else.
	Client string
	// Chain is what the upstream's X-Forwarded-For says: the believed hops from
	// the client on, and the peer. It is empty where a socket is all that is known;
	// then there is no such header.
	Chain string
	// Scheme is "http" or "https": what a trusted peer says, else that our own TLS
	// was spoken, else the public URL's, since something in front ends the TLS.
	Scheme string
	// Host is what a trusted peer says, else the request's own; it is as it came.
	Host string
	// Trusted says that the peer of the connection may speak for clients.
	Trusted bool
	// Hint is, once in a Resolver's life, what to add to trusted_proxies: a peer on
	// a private network sent X-Forwarded-For or -Proto and was not believed, so it
	// is likely a front proxy that the operator forgot. Else it is empty.
	Hint string
}

// Resolve tells how req came. It changes nothing in req: whoever goes on reads
// the result instead of the headers. Its errors are ErrPeer and ErrHost.
func (r *Resolver) Resolve(req *http.Request) (Request, error) {
	peer, err := peerOf(req)
	if err != nil {
		return Request{}, err
	}
	out := Request{Client: unix, Scheme: r.scheme, Host: req.Host, Trusted: r.trusts(peer)}
	if req.TLS != nil {
		out.Scheme = "https"
	}
	if peer.IsValid() {
		out.Client = text(peer, req.RemoteAddr)
		out.Chain = out.Client
	}
	if !out.Trusted {
		out.Hint = r.hint(peer, req.Header)
		return out, nil
	}
	if hops := r.believed(req.Header["X-Forwarded-For"]); len(hops) > 0 {
		out.Client = hops[0]
		if peer.IsValid() {
			hops = append(hops, out.Chain)
		}
		out.Chain = strings.Join(hops, ", ")
	}
	if scheme := schemeOf(req.Header["X-Forwarded-Proto"]); scheme != "" {
		out.Scheme = scheme
	}
	switch hosts := req.Header["X-Forwarded-Host"]; {
	case len(hosts) > 1 || len(hosts) == 1 && strings.Contains(hosts[0], ","):
		return Request{}, ErrHost
	case len(hosts) == 1 && hosts[0] != "":
		out.Host = hosts[0]
	}
	return out, nil
}

// OurHost reports whether q is for the public URL's host: the same name in any
// case, with the same port, where the scheme's own port may be left out. Nothing
// else is ours, a trailing dot included: cookies and caches tell it apart.
func (r *Resolver) OurHost(q Request) bool {
	return equalASCII(q.Host, r.hosts[0]) || equalASCII(q.Host, r.hosts[1])
}

// equalASCII ignores the case of ASCII letters only: the few other letters that
// fold into ASCII are longer, and ours is ASCII.
func equalASCII(s, ours string) bool { return len(s) == len(ours) && strings.EqualFold(s, ours) }

// peerOf returns the connection's other end, or the zero Addr for a socket's.
func peerOf(req *http.Request) (netip.Addr, error) {
	// The listener is asked before the address is read: a socket's peer can bind to
	// a path that reads like an address of the network.
	if local, ok := req.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == unix {
		return netip.Addr{}, nil
	}
	if req.RemoteAddr == "@" { // an unnamed socket's, where a server tells no listener
		return netip.Addr{}, nil
	}
	peer, err := netip.ParseAddrPort(req.RemoteAddr)
	if err != nil {
		return netip.Addr{}, ErrPeer
	}
	return plain(peer.Addr()), nil
}

// plain makes all forms of an address one: IPv4 mapped into IPv6 is IPv4, and the
// zone, which only means something on this machine, goes.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// text returns the address, without a new string where remote begins with it.
func text(a netip.Addr, remote string) string {
	if i := strings.LastIndexByte(remote, ':'); a.Is4() && i > 0 && remote[0] != '[' {
		return remote[:i]
	}
	return a.String()
}

// trusts says whether a may speak for others; the zero Addr is a socket's peer.
func (r *Resolver) trusts(a netip.Addr) bool {
	if !a.IsValid() {
		return r.trustUnix
	}
	for _, p := range r.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// believed returns the hops that lines tell, the client first. The walk goes from
// the right and ends behind the first hop that is not trusted, or before
// whatever is no address.
func (r *Resolver) believed(lines []string) []string {
	var hops []string
walk:
	for _, line := range slices.Backward(lines) {
		for more := true; more; {
			var entry string
			if i := strings.LastIndexByte(line, ','); i >= 0 {
				line, entry = line[:i], line[i+1:]
			} else {
				entry, more = line, false
			}
			if entry = strings.Trim(entry, " \t"); entry == "" {
				continue // RFC 9110, section 5.6.1: an empty element is none
			}
			a, ok := parseHop(entry)
			if !ok {
				break walk
			}
			hops = append(hops, a.String())
			if !r.trusts(a) || len(hops) == maxHops {
				break walk
			}
		}
	}
	slices.Reverse(hops)
	return hops
}

// parseHop reads an address with or without brackets and port.
func parseHop(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		var ap netip.AddrPort
		if ap, err = netip.ParseAddrPort(s); err == nil {
			a = ap.Addr()
		} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
			a, err = netip.ParseAddr(s[1 : len(s)-1])
		}
	}
	return plain(a), err == nil
}

// schemeOf returns what one line with one value says, or nothing. WebSocket
// schemes are what some proxies send for an upgrade.
func schemeOf(lines []string) string {
	if len(lines) != 1 {
		return ""
	}
	switch strings.ToLower(lines[0]) {
	case "http", "ws":
		return "http"
	case "https", "wss":
		return "https"
	}
	return ""
}

// hint says which network to trust, the first time that there is a reason to.
func (r *Resolver) hint(peer netip.Addr, h http.Header) string {
	if r.hinted.Load() || h["X-Forwarded-Proto"] == nil && h["X-Forwarded-For"] == nil {
		return ""
	}
	if peer.IsValid() && !peer.IsPrivate() && !peer.IsLoopback() && !peer.IsLinkLocalUnicast() {
		return ""
	}
	if !r.hinted.CompareAndSwap(false, true) {
		return ""
	}
	if !peer.IsValid() {
		return unix
	}
	return netip.PrefixFrom(peer, peer.BitLen()).String()
}
