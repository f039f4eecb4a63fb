package forwarded_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/proxy/forwarded"
)

func newResolver(t testing.TB, publicURL string, trusted ...string) *forwarded.Resolver {
	t.Helper()
	r, err := forwarded.New(config(t, publicURL, trusted...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func config(t testing.TB, publicURL string, trusted ...string) forwarded.Config {
	t.Helper()
	u, err := url.Parse(publicURL)
	if err != nil {
		t.Fatal(err)
	}
	c := forwarded.Config{PublicURL: u}
	for _, s := range trusted {
		if s == "unix" {
			c.TrustUnix = true
			continue
		}
		c.Trusted = append(c.Trusted, netip.MustParsePrefix(s))
	}
	return c
}

func request(peer string, header http.Header) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://app.test/", nil)
	r.RemoteAddr = peer
	if header != nil {
		r.Header = header
	}
	return r
}

// hops makes a header with these X-Forwarded-For lines.
func hops(lines ...string) http.Header { return http.Header{"X-Forwarded-For": lines} }

func TestClientAndChain(t *testing.T) {
	r := newResolver(t, "https://app.test", "10.0.0.0/8", "2001:db8:1::/48", "::ffff:172.16.0.0/108", "fe80::/10")
	many := strings.Repeat("10.0.0.1, ", 60)
	tests := []struct {
		name          string
		peer          string
		lines         []string
		client, chain string
		trusted       bool
	}{
		{"nothing is claimed", "203.0.113.9:1", nil, "203.0.113.9", "203.0.113.9", false},
		{"an untrusted peer claims", "203.0.113.9:1", []string{"1.2.3.4"}, "203.0.113.9", "203.0.113.9", false},
		{"an untrusted peer claims a trusted client", "203.0.113.9:1", []string{"10.0.0.1"}, "203.0.113.9", "203.0.113.9", false},
		{"a trusted peer claims nothing", "10.0.0.1:1", nil, "10.0.0.1", "10.0.0.1", true},
		{"one hop", "10.0.0.1:1", []string{"1.2.3.4"}, "1.2.3.4", "1.2.3.4, 10.0.0.1", true},
		{"two trusted hops", "10.0.0.1:1", []string{"1.2.3.4, 10.0.0.2"}, "1.2.3.4", "1.2.3.4, 10.0.0.2, 10.0.0.1", true},
		{"what the client wrote itself", "10.0.0.1:1", []string{"6.6.6.6, 1.2.3.4"}, "1.2.3.4", "1.2.3.4, 10.0.0.1", true},
		{"a trusted address that the client wrote", "10.0.0.1:1", []string{"10.0.0.7, 1.2.3.4, 10.0.0.2"}, "1.2.3.4", "1.2.3.4, 10.0.0.2, 10.0.0.1", true},
		{"only trusted hops", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3", "10.0.0.3, 10.0.0.2, 10.0.0.1", true},
		{"several lines are one list", "10.0.0.1:1", []string{"6.6.6.6, 1.2.3.4", "10.0.0.3", "10.0.0.2"}, "1.2.3.4", "1.2.3.4, 10.0.0.3, 10.0.0.2, 10.0.0.1", true},
		{"a line of the client's before the proxy's", "10.0.0.1:1", []string{"6.6.6.6", "1.2.3.4"}, "1.2.3.4", "1.2.3.4, 10.0.0.1", true},
		{"empty elements", "10.0.0.1:1", []string{", 1.2.3.4 ,, ", ""}, "1.2.3.4", "1.2.3.4, 10.0.0.1", true},
		{"an empty line", "10.0.0.1:1", []string{""}, "10.0.0.1", "10.0.0.1", true},
		{"garbage at the right", "10.0.0.1:1", []string{"1.2.3.4, unknown"}, "10.0.0.1", "10.0.0.1", true},
		{"garbage behind a trusted hop", "10.0.0.1:1", []string{"1.2.3.4, _hidden, 10.0.0.2"}, "10.0.0.2", "10.0.0.2, 10.0.0.1", true},
		{"a name", "10.0.0.1:1", []string{"localhost"}, "10.0.0.1", "10.0.0.1", true},
		{"a network", "10.0.0.1:1", []string{"1.2.3.0/24"}, "10.0.0.1", "10.0.0.1", true},
		{"leading zeros", "10.0.0.1:1", []string{"010.0.0.5"}, "10.0.0.1", "10.0.0.1", true},
		{"a number", "10.0.0.1:1", []string{"16909060"}, "10.0.0.1", "10.0.0.1", true},
		{"quotes", "10.0.0.1:1", []string{`"1.2.3.4"`}, "10.0.0.1", "10.0.0.1", true},
		{"a port", "10.0.0.1:1", []string{"1.2.3.4:5678"}, "1.2.3.4", "1.2.3.4, 10.0.0.1", true},
		{"IPv6", "10.0.0.1:1", []string{"2001:DB8::0:1"}, "2001:db8::1", "2001:db8::1, 10.0.0.1", true},
		{"IPv6 in brackets", "10.0.0.1:1", []string{"[2001:db8::1]"}, "2001:db8::1", "2001:db8::1, 10.0.0.1", true},
		{"IPv6 with a port", "10.0.0.1:1", []string{"[2001:db8::1]:443"}, "2001:db8::1", "2001:db8::1, 10.0.0.1", true},
		{"IPv6 with a zone", "10.0.0.1:1", []string{"fe80::1%eth0"}, "fe80::1", "fe80::1, 10.0.0.1", true},
		{"a mapped hop is trusted as IPv4", "10.0.0.1:1", []string{"1.2.3.4, ::ffff:10.0.0.2"}, "1.2.3.4", "1.2.3.4, 10.0.0.2, 10.0.0.1", true},
		{"a mapped peer is trusted as IPv4", "[::ffff:10.0.0.1]:1", []string{"1.2.3.4"}, "1.2.3.4", "1.2.3.4, 10.0.0.1", true},
		{"a mapped network is IPv4", "172.16.9.9:1", []string{"1.2.3.4"}, "1.2.3.4", "1.2.3.4, 172.16.9.9", true},
		{"beside the mapped network", "172.32.0.1:1", []string{"1.2.3.4"}, "172.32.0.1", "172.32.0.1", false},
		{"a mapped peer that is not trusted", "[::ffff:203.0.113.9]:1", []string{"1.2.3.4"}, "203.0.113.9", "203.0.113.9", false},
		{"an IPv6 peer", "[2001:db8:1::5]:1", []string{"1.2.3.4"}, "1.2.3.4", "1.2.3.4, 2001:db8:1::5", true},
		{"an IPv6 peer beside the network", "[2001:db8:2::5]:1", []string{"1.2.3.4"}, "2001:db8:2::5", "2001:db8:2::5", false},
		{"a peer with a zone", "[fe80::5%eth0]:1", []string{"1.2.3.4"}, "1.2.3.4", "1.2.3.4, fe80::5", true},
		{"an endless chain", "10.0.0.2:1", []string{many}, "10.0.0.1", many[:50*len("10.0.0.1, ")] + "10.0.0.2", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := hops(tt.lines...)
			h["Forwarded"] = []string{"for=9.9.9.9;proto=http;host=evil.test"}
			h["X-Real-Ip"] = []string{"9.9.9.9"}
			got, err := r.Resolve(request(tt.peer, h))
			if err != nil {
				t.Fatal(err)
			}
			want := forwarded.Request{Client: tt.client, Chain: tt.chain, Scheme: "https", Host: "app.test", Trusted: tt.trusted}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("resolved otherwise (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSchemeAndHost(t *testing.T) {
	tests := []struct {
		name         string
		public, peer string
		tls          bool
		header       http.Header
		scheme, host string
	}{
		{"TLS ends in front of us", "https://app.test", "203.0.113.9:1", false, nil, "https", "app.test"},
		{"TLS ends here", "https://app.test", "203.0.113.9:1", true, nil, "https", "app.test"},
		{"on this machine", "http://localhost:8080", "127.0.0.1:1", false, nil, "http", "app.test"},
		{"an untrusted peer claims", "https://app.test", "203.0.113.9:1", false, http.Header{"X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"evil.test"}}, "https", "app.test"},
		{"an untrusted peer claims two hosts", "https://app.test", "203.0.113.9:1", false, http.Header{"X-Forwarded-Host": {"evil.test", "x"}}, "https", "app.test"},
		{"a trusted peer tells", "https://app.test", "10.0.0.1:1", false, http.Header{"X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"other.test:8443"}}, "http", "other.test:8443"},
		{"a trusted peer speaks TLS and tells", "https://app.test", "10.0.0.1:1", true, http.Header{"X-Forwarded-Proto": {"http"}}, "http", "app.test"},
		{"upper case", "http://localhost", "10.0.0.1:1", false, http.Header{"X-Forwarded-Proto": {"HTTPS"}}, "https", "app.test"},
		{"an upgrade", "http://localhost", "10.0.0.1:1", false, http.Header{"X-Forwarded-Proto": {"wss"}}, "https", "app.test"},
		{"a plain upgrade", "https://app.test", "10.0.0.1:1", false, http.Header{"X-Forwarded-Proto": {"ws"}}, "http", "app.test"},
		{"two values", "https://app.test", "10.0.0.1:1", false, http.Header{"X-Forwarded-Proto": {"http, https"}}, "https", "app.test"},
		{"two lines", "https://app.test", "10.0.0.1:1", false, http.Header{"X-Forwarded-Proto": {"http", "http"}}, "https", "app.test"},
		{"another scheme", "https://app.test", "10.0.0.1:1", false, http.Header{"X-Forwarded-Proto": {"javascript"}}, "https", "app.test"},
		{"an empty host", "https://app.test", "10.0.0.1:1", false, http.Header{"X-Forwarded-Host": {""}}, "https", "app.test"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := request(tt.peer, tt.header)
			if tt.tls {
				req.TLS = &tls.ConnectionState{}
			}
			got, err := newResolver(t, tt.public, "10.0.0.0/8").Resolve(req)
			if err != nil {
				t.Fatal(err)
			}
			if got.Scheme != tt.scheme || got.Host != tt.host {
				t.Errorf("%s, %s; want %s, %s", got.Scheme, got.Host, tt.scheme, tt.host)
			}
		})
	}
}

func TestSeveralHostsAreRefused(t *testing.T) {
	r := newResolver(t, "https://app.test", "10.0.0.0/8")
	for _, lines := range [][]string{{"app.test", "app.test"}, {"app.test, evil.test"}, {"app.test,"}, {"", "app.test"}} {
		got, err := r.Resolve(request("10.0.0.1:1", http.Header{"X-Forwarded-Host": lines}))
		if !errors.Is(err, forwarded.ErrHost) {
			t.Errorf("%q: %v, want ErrHost", lines, err)
		}
		if diff := cmp.Diff(forwarded.Request{}, got); diff != "" {
			t.Errorf("%q: a result beside the error: %s", lines, diff)
		}
	}
}

func TestOurHost(t *testing.T) {
	tests := []struct {
		public      string
		ours, other []string
	}{
		{
			"https://app.test",
			[]string{"app.test", "APP.Test", "app.test:443"},
			[]string{
				"", "app.test.", "app.test.:443", "app.test:", "app.test:80", "app.test:0443", "app.test:8443", "evil.test", "app.test.evil.test",
				"xapp.test", "app.test ", " app.test", "app.test@evil.test", "evil.test@app.test", "app.test/", "app.test,evil.test", "app.tes\u017f", "app.test\x00",
				"https://app.test", "app%2etest", "[app.test]",
			},
		},
		{"https://app.test:443", []string{"app.test", "app.test:443"}, []string{"app.test:80"}},
		{"https://app.test:8443", []string{"app.test:8443", "App.Test:8443"}, []string{"app.test", "app.test:443"}},
		{"http://localhost:8080", []string{"localhost:8080"}, []string{"localhost", "127.0.0.1:8080", "localhost:80"}},
		{"http://localhost", []string{"localhost", "localhost:80"}, []string{"localhost:443"}},
		{"http://[::1]:8080", []string{"[::1]:8080"}, []string{"[::1]", "::1:8080", "[0:0:0:0:0:0:0:1]:8080", "[::1%25lo]:8080"}},
		{"http://[::80]", []string{"[::80]", "[::80]:80"}, []string{"[::80]:8080", "[:"}},
		{"https://kiosk.test", []string{"kiosk.test"}, []string{"\u212aiosk.test", "kio\u017fk.test", "\u212aiosk.tes"}},
	}
	for _, tt := range tests {
		r := newResolver(t, tt.public)
		for _, host := range tt.ours {
			if !r.OurHost(forwarded.Request{Host: host}) {
				t.Errorf("%s: %q is not ours", tt.public, host)
			}
		}
		for _, host := range tt.other {
			if r.OurHost(forwarded.Request{Host: host}) {
				t.Errorf("%s: %q is ours", tt.public, host)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	tests := map[string]forwarded.Config{
		"no public URL":     {},
		"no host":           {PublicURL: &url.URL{Scheme: "https"}},
		"another scheme":    config(t, "ftp://app.test"),
		"everybody":         config(t, "https://app.test", "10.0.0.0/8", "0.0.0.0/0"),
		"everybody by IPv6": config(t, "https://app.test", "::/0"),
		"everybody, mapped": config(t, "https://app.test", "::ffff:0.0.0.0/96"),
		"more than mapped":  config(t, "https://app.test", "::ffff:0.0.0.0/90"),
		"no network":        {PublicURL: &url.URL{Scheme: "https", Host: "app.test"}, Trusted: make([]netip.Prefix, 1)},
	}
	for name, c := range tests {
		if r, err := forwarded.New(c); err == nil || r != nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

func TestNoPeer(t *testing.T) {
	r := newResolver(t, "https://app.test", "unix", "10.0.0.0/8")
	for _, peer := range []string{"", "10.0.0.1", "pipe", "10.0.0.1:http", "/run/x.sock", "[10.0.0.1]:1", "10.0.0.1:99999", "%:1"} {
		got, err := r.Resolve(request(peer, hops("1.2.3.4")))
		if !errors.Is(err, forwarded.ErrPeer) || got != (forwarded.Request{}) {
			t.Errorf("%q: %+v, %v; want ErrPeer", peer, got, err)
		}
	}
}

func TestUnix(t *testing.T) {
	told := http.Header{"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"x.test"}}
	for _, peer := range []string{"@", "", "10.0.0.1:80", "/run/client.sock"} { // a client may bind to any path
		req := request(peer, told.Clone())
		req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Name: "/run/wall.sock", Net: "unix"})))

		got, err := newResolver(t, "https://app.test", "10.0.0.0/8").Resolve(req)
		want := forwarded.Request{Client: "unix", Scheme: "https", Host: "app.test", Hint: "unix"}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("an untrusted socket with peer %q: %v (-want +got):\n%s", peer, err, diff)
		}

		got, err = newResolver(t, "https://app.test", "unix").Resolve(req)
		want = forwarded.Request{Client: "1.2.3.4", Chain: "1.2.3.4", Scheme: "http", Host: "x.test", Trusted: true}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("a trusted socket with peer %q: %v (-want +got):\n%s", peer, err, diff)
		}
	}
	got, err := newResolver(t, "https://app.test", "unix").Resolve(request("@", nil))
	if diff := cmp.Diff(forwarded.Request{Client: "unix", Scheme: "https", Host: "app.test", Trusted: true}, got); diff != "" || err != nil {
		t.Errorf("a trusted socket that tells nothing: %v (-want +got):\n%s", err, diff)
	}
}

// With the server and the socket themselves.
func TestOnASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wall.sock")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := newResolver(t, "https://app.test", "10.0.0.0/8")
	type answer struct {
		forwarded.Request
		err error
	}
	answers := make(chan answer, 1)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		got, err := r.Resolve(req)
		answers <- answer{got, err}
	})}}
	server.Start()
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://app.test/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := <-answers; got.err != nil || got.Client != "unix" || got.Chain != "" || got.Trusted {
		t.Errorf("%+v", got)
	}
}

func TestHintIsGivenOnce(t *testing.T) {
	for peer, want := range map[string]string{
		"10.1.2.3:1": "10.1.2.3/32", "127.0.0.1:1": "127.0.0.1/32", "[fd00::1]:1": "fd00::1/128", "[fe80::1%eth0]:1": "fe80::1/128",
		"[::ffff:192.168.0.1]:1": "192.168.0.1/32", "@": "unix",
		"203.0.113.9:1": "", // strangers claim all day long
	} {
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto"} {
			r := newResolver(t, "https://app.test", "10.9.0.0/16")
			for _, quiet := range []*http.Request{request(peer, nil), request("10.9.0.1:1", hops("1.2.3.4")), request("203.0.113.9:1", hops("1.2.3.4"))} {
				if got, err := r.Resolve(quiet); err != nil || got.Hint != "" {
					t.Errorf("%s: the hint %q without a reason, %v", quiet.RemoteAddr, got.Hint, err)
				}
			}
			for _, want := range []string{want, ""} {
				got, err := r.Resolve(request(peer, http.Header{name: {"x"}}))
				if err != nil || got.Hint != want {
					t.Errorf("%s with %s: the hint is %q, %v; want %q", peer, name, got.Hint, err, want)
				}
			}
		}
	}
}

func TestResolveChangesNothing(t *testing.T) {
	h := http.Header{"X-Forwarded-For": {"6.6.6.6, 1.2.3.4"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"x.test"}}
	req := request("10.0.0.1:1", h.Clone())
	if _, err := newResolver(t, "https://app.test", "10.0.0.0/8").Resolve(req); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h, req.Header); diff != "" || req.RemoteAddr != "10.0.0.1:1" || req.Host != "app.test" {
		t.Errorf("the request was changed:\n%s", diff)
	}
}

func TestUntrustedPeersCostNothing(t *testing.T) {
	r := newResolver(t, "https://app.test", "10.0.0.0/8")
	req := request("203.0.113.9:4711", hops("1.2.3.4"))
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Resolve(req) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// META-253.
func FuzzResolve(f *testing.F) {
	f.Add("203.0.113.9:1", "1.2.3.4", "10.0.0.1, x", "https", "app.test", "")
	f.Add("10.0.0.1:1", "6.6.6.6, [::1]:2", "10.0.0.2:80", "wss", "app.test:443", "")
	f.Add("10.0.0.1:1", ",,", "fe80::1%x", "http,https", "a", "b")
	f.Add("@", "::ffff:10.0.0.1", "unix", "", "", "")
	f.Add("[::ffff:10.0.0.1]:0", "[1.2.3.4]", "[", "", "", "")
	f.Add("10.0.0.1", "", "", "", "", "")
	trusting := newResolver(f, "https://app.test", "10.0.0.0/8", "fe80::/10")
	nobody := newResolver(f, "https://app.test")
	f.Fuzz(func(t *testing.T, peer, one, two, proto, host, host2 string) {
		req := request(peer, http.Header{
			"X-Forwarded-For": {one, two}, "X-Forwarded-Proto": {proto}, "X-Forwarded-Host": {host},
		})
		if host2 != "" {
			req.Header.Add("X-Forwarded-Host", host2)
		}
		bare, bareErr := nobody.Resolve(request(peer, nil))
		got, err := trusting.Resolve(req)
		if err != nil {
			if got != (forwarded.Request{}) {
				t.Errorf("a result beside %v: %+v", err, got)
			}
			if !errors.Is(err, forwarded.ErrHost) && !errors.Is(err, forwarded.ErrPeer) {
				t.Errorf("another error: %v", err)
			}
			return
		}
		if bareErr != nil {
			t.Fatalf("claims made a peer out of %q: %+v", peer, got)
		}
		// Untrusted peers never change the result.
		hint := got.Hint
		got.Hint = ""
		if !got.Trusted && got != bare {
			t.Errorf("an untrusted peer's claims made %+v of %+v", got, bare)
		}
		if got.Trusted && hint != "" {
			t.Errorf("a hint about a trusted peer: %q", hint)
		}
		// The client and the chain are addresses, and the chain begins and ends right.
		if a, err := netip.ParseAddr(got.Client); got.Client != "unix" && (err != nil || a.String() != got.Client || a.Zone() != "" || a.Is4In6()) {
			t.Errorf("the client is %q", got.Client)
		}
		if got.Chain == "" {
			if got.Client != "unix" {
				t.Errorf("no chain for %q", got.Client)
			}
			return
		}
		chain := strings.Split(got.Chain, ", ")
		if chain[0] != got.Client || chain[len(chain)-1] != bare.Client && bare.Client != "unix" {
			t.Errorf("the chain %q of %q over %q", got.Chain, got.Client, bare.Client)
		}
		for i, hop := range chain {
			a, err := netip.ParseAddr(hop)
			if err != nil {
				t.Fatalf("the chain holds %q", hop)
			}
			trusted := netip.MustParsePrefix("10.0.0.0/8").Contains(a) || netip.MustParsePrefix("fe80::/10").Contains(a)
			if i > 0 && !trusted {
				t.Errorf("%q behind the client is not trusted: %q", hop, got.Chain)
			}
		}
		if len(chain) > 51 {
			t.Errorf("%d hops", len(chain))
		}
		if got.Scheme != "http" && got.Scheme != "https" {
			t.Errorf("the scheme is %q", got.Scheme)
		}
		if trusting.OurHost(got) != (strings.EqualFold(got.Host, "app.test") || strings.EqualFold(got.Host, "app.test:443")) {
			t.Errorf("OurHost is wrong about %q", got.Host)
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	tests := map[string]*http.Request{
		"untrusted": request("203.0.113.9:4711", nil),
		"trusted":   request("10.0.0.1:4711", http.Header{"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"app.test"}}),
	}
	for name, req := range tests {
		b.Run(name, func(b *testing.B) {
			r := newResolver(b, "https://app.test", "10.0.0.0/8", "fd00::/8")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Resolve(req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
