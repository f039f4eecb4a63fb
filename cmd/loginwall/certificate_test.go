package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/config"
)

// A pebble is the CA with which Let's Encrypt tests ACME clients. It looks at the
// host as a CA does, by a DNS server of its own, at the ports that it is told.
type pebble struct {
	*child
	program, config, dns string
	directory, caFile    string
}

// newPebble starts the DNS server. The CA gives certificates for so long, and looks
// for TLS-ALPN-01 and HTTP-01 at these addresses.
func newPebble(t *testing.T, validity time.Duration, https, http string) *pebble {
	t.Helper()
	p := &pebble{program: peerProgram(t, "pebble", "pebble")}
	folder := t.TempDir()
	address, management, dns := mustAddress(t), mustAddress(t), mustAddress(t)
	p.dns, p.directory, p.caFile = dns, "https://"+address+"/dir", filepath.Join(folder, "ca.pem")
	startChild(t, exec.Command(peerProgram(t, "pebble-challtestsrv", "pebble"), "-dns01", dns, "-http01", "", "-https01", "", "-tlsalpn01", "", "-management", mustAddress(t), "-defaultIPv6", "")) //nolint:gosec // a test's own

	a := newAuthority(t)
	a.issue(t, folder, 2)
	writePEM(t, p.caFile, "CERTIFICATE", a.cert.Raw)
	text, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": address, "managementListenAddress": management,
		"certificate": filepath.Join(folder, "cert.pem"), "privateKey": filepath.Join(folder, "key.pem"),
		"httpPort": port(t, http), "tlsPort": port(t, https), "certificateValidityPeriod": int(validity.Seconds()),
	}})
	check(t, err)
	p.config = filepath.Join(folder, "pebble.json")
	check(t, os.WriteFile(p.config, text, 0o600))
	return p
}

func (p *pebble) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command(p.program, "-config", p.config, "-dnsserver", p.dns) //nolint:gosec // a test's own
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	p.child = startChild(t, cmd)
}

func mustAddress(t *testing.T) string {
	t.Helper()
	address, err := freeAddress()
	check(t, err)
	return address
}

func port(t *testing.T, address string) (n int) {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	check(t, err)
	_, err = fmt.Sscan(text, &n)
	check(t, err)
	return n
}

// given returns the certificate that the wall gives to who asks for a name; nil if
// it gives none.
func (r *rig) given(t *testing.T, name string, protocols ...string) *x509.Certificate {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true}} //nolint:gosec // what it is is the question
	conn, err := dialer.DialContext(t.Context(), "tcp", r.address)
	if err != nil {
		return nil
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// certified tells whether each of the two hosts has a certificate.
func (r *rig) certified(t *testing.T) func() bool {
	return func() bool {
		t.Helper()
		if r.given(t, "app.test") == nil || r.given(t, "users.test") == nil {
			return false
		}
		check(t, r.given(t, "users.test").VerifyHostname("users.test"))
		if metric(r.metrics(t), "loginwall_certificate_not_after_timestamp_seconds") <= 0 {
			t.Error("no metric says when they expire")
		}
		return true
	}
}

const acmeLines = "tls: {acme: {email: admin@example.com, directory_url: '%s', ca_file: '%s'}, redirect_listen: '%s'}\nstore: sqlite:store.db\ndirectory: {public_url: 'https://users.test'}\n"

// The wall gets its certificates by itself, one for the app and one for the directory:
// it starts without the CA and says so, keeps them over a restart, renews them, and is
// no use for other names.
func TestACME(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain := mustAddress(t)
	ca := newPebble(t, 45*time.Second, r.address, plain)
	r.publicURL, r.scheme = "https://app.test", "https"
	file := r.write(t, basics+fmt.Sprintf(acmeLines, ca.directory, ca.caFile, plain))
	start := func() *child {
		wall := startChild(t, exec.Command(wallBinary(), "serve", "--config", file)) //nolint:gosec // a test's own
		t.Cleanup(func() { r.oracle.judgeLog(t, wall.log.String()) })
		return wall
	}
	wall := start()
	poll(t, "nobody says that the CA is away", func() bool { return strings.Contains(wall.log.String(), "no certificate: browsers cannot connect") })
	poll(t, "without the CA the wall does not wait for it", func() bool { return r.ready() == http.StatusOK })
	if r.given(t, "app.test") != nil {
		t.Error("there is a certificate without the CA")
	}
	if response := r.askPlain(t, plain, http.MethodGet, "app.test", "/x"); response.Header.Get("Location") != "https://app.test/x" {
		t.Errorf("without the CA: %v", response)
	}

	ca.start(t)
	began := time.Now()
	poll(t, "there is no certificate", r.certified(t))
	first := r.given(t, "app.test")
	check(t, first.VerifyHostname("app.test"))
	for _, other := range []string{"evil.test", "www.app.test", ""} {
		if got := r.given(t, other); got == nil || len(got.DNSNames) != 1 || got.DNSNames[0] != "app.test" {
			t.Errorf("who asks for %q gets %v", other, got)
		}
	}
	if r.given(t, "evil.test", "acme-tls/1") != nil || r.given(t, "app.test", "acme-tls/1") != nil {
		t.Error("a proof is given when there is no order")
	}
	// Each of the two is renewed every few seconds.
	if orders, took := strings.Count(ca.log.String(), "Issued certificate serial"), time.Since(began); orders > 4+2*int(took/(15*time.Second)) {
		t.Errorf("the CA gave %d certificates in %v", orders, took)
	}

	cache := filepath.Join(filepath.Dir(file), "store.acme")
	check(t, filepath.WalkDir(cache, func(path string, entry fs.DirEntry, err error) error {
		if info, statErr := entry.Info(); err == nil && (statErr != nil || info.Mode().Perm()&0o077 != 0) {
			t.Errorf("%s: %v, %v", path, info.Mode(), statErr)
		}
		return err
	}))

	poll(t, "the certificate is not renewed", func() bool {
		got := r.given(t, "app.test")
		return got != nil && got.SerialNumber.Cmp(first.SerialNumber) != 0 && got.NotAfter.After(first.NotAfter)
	})
	wall.stop(t)

	// What is in the cache needs no CA.
	check(t, os.WriteFile(file, []byte(strings.Replace(readFile(t, file), ca.directory, "https://127.0.0.1:1/dir", 1)), 0o600))
	wall = start()
	poll(t, "the certificates are not those of before", r.certified(t))
	if strings.Contains(wall.log.String(), "no certificate") {
		t.Error("the wall asked the CA")
	}
	wall.stop(t)
}

// Where the CA cannot reach the port of TLS, it is enough that it reaches that of
// redirects.
func TestACMEByHTTP(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain := mustAddress(t)
	ca := newPebble(t, time.Hour, mustAddress(t), plain)
	ca.start(t)
	r.publicURL, r.scheme = "https://app.test", "https"
	file := r.write(t, basics+fmt.Sprintf(acmeLines, ca.directory, ca.caFile, plain))
	wall := startChild(t, exec.Command(wallBinary(), "serve", "--config", file)) //nolint:gosec // a test's own
	poll(t, "there is no certificate", r.certified(t))
	for _, row := range [][2]string{{"app.test", "x"}, {"evil.test", "x"}, {"app.test", "../../store.db"}, {"app.test", "%2e%2e%2fapp.test"}, {"app.test", "app.test"}, {"app.test", "acme_account+key"}} {
		response := r.askPlain(t, plain, http.MethodGet, row[0], "/.well-known/acme-challenge/"+row[1])
		if response.StatusCode == http.StatusOK {
			t.Errorf("%q was answered", row)
		}
	}
	wall.stop(t)
}

// What a CA asks for is a file, and the error of a file names the folder.
func TestChallengesDoNotTellTheFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	check(t, os.Chmod(folder, 0o700)) //nolint:gosec // a folder
	public := &url.URL{Scheme: "https", Host: "app.test"}
	var own ownCertificate
	var err error
	own.acme, err = newACMEClients(&config.Config{PublicURL: public, TLS: &config.TLS{RedirectListen: ":80", ACME: &config.ACME{CacheDir: folder}}}, slog.New(slog.DiscardHandler), time.Now)
	check(t, err)
	check(t, os.Mkdir(filepath.Join(folder, "folder+http-01"), 0o700))
	check(t, os.WriteFile(filepath.Join(folder, "token+http-01"), []byte("proof"), 0o600))
	for token, want := range map[string]int{"token": 200, "other": 404, "folder": 404, "%00": 404, strings.Repeat("x", 300): 404} {
		w := httptest.NewRecorder()
		own.challenges(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://app.test/.well-known/acme-challenge/"+token, nil))
		if w.Code != want || strings.Contains(w.Body.String(), folder) {
			t.Errorf("%.9s: %d, %s", token, w.Code, w.Body)
		}
	}
}

// askPlain asks on the port without TLS.
func (r *rig) askPlain(t *testing.T, address, method, host, target string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", method, target, host)
	check(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	check(t, err)
	return response
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	plain := mustAddress(t)
	file := strings.Replace(basics, "$PUBLIC", "https://app.test:8443", 1) + "tls: {cert_file: cert.pem, key_file: key.pem, redirect_listen: '" + plain + "'}\ntimeouts: {read_header: 5s}\ndirectory: {public_url: 'https://users.test'}\n"
	r := startWallWith(t, "https://app.test:8443", file, func(r *rig, _ *exec.Cmd) {
		a.issue(t, r.folder, 2)
		r.scheme = "https"
		r.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: a.roots, ServerName: "app.test"}
	})
	for _, row := range []struct {
		method, host, target string
		status               int
		location             string
	}{
		{"GET", "app.test", "/", 301, "/"},
		{"HEAD", "app.test:80", "/a//b/%2F?x=%zz&y", 301, "/a//b/%2F?x=%zz&y"},
		{"GET", "APP.TEST", "/_auth/callback?code=1", 301, "/_auth/callback?code=1"},
		{"GET", "app.test", "//evil.test/x", 301, "//evil.test/x"},
		{"GET", "app.test", "http://evil.test/x", 421, ""},
		{"GET", "app.test", "http://app.test/x", 301, "/x"},
		{"GET", "app.test", "/@evil.test", 301, "/@evil.test"},
		{"GET", "evil.test", "/", 421, ""},
		{"GET", "app.test.evil.test", "/", 421, ""},
		{"GET", "app.test@evil.test", "/", 400, ""},
		{"GET", "", "/", 421, ""},
		{"GET", "users.test:80", "/_auth/users?q=x", 301, "https://users.test/_auth/users?q=x"},
		{"POST", "app.test", "/form", 403, ""},
		{"CONNECT", "app.test", "app.test:443", 403, ""},
	} {
		response := r.askPlain(t, plain, row.method, row.host, row.target)
		want := row.location
		if strings.HasPrefix(want, "/") {
			want = "https://app.test:8443" + want
		}
		if got := response.Header.Get("Location"); response.StatusCode != row.status || got != want {
			t.Errorf("%s %s at %q: %d to %q, want %d to %q", row.method, row.target, row.host, response.StatusCode, got, row.status, want)
		}
		if response.Header.Get("Strict-Transport-Security") != "" || response.Header["Set-Cookie"] != nil || row.status != 400 && (response.Header.Get("X-Loginwall") == "" || response.Header.Get("Cache-Control") != "no-store") {
			t.Errorf("%s %s: %v", row.method, row.target, response.Header)
		}
	}
	// The limits of the main listener hold.
	conn, err := net.Dial("tcp", plain)
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	if _, err = conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("who says nothing is listened to for ever")
	}
	idle, err := net.Dial("tcp", plain)
	check(t, err)
	defer idle.Close()
	check(t, idle.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(idle, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 9\r\n\r\nhalf")
	check(t, err)
	if _, err = io.ReadAll(idle); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("who announces a body and does not send it is waited for, for ever")
	}
	if response := r.askPlain(t, plain, "GET", "app.test", "/"+strings.Repeat("x", 40<<10)); response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("40 KiB: %s", response.Status)
	}
	if n := r.upstream.count(); n != 0 {
		t.Errorf("%d requests at the upstream", n)
	}
}

func TestTLS12EncryptsAndAuthenticatesAtOnce(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	r, _ := startTLS(t, a)
	for suite, ok := range map[uint16]bool{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:       true,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: true,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA:          false,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA:          false,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256:       false,
	} {
		conn, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: a.roots, ServerName: "app.test", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.CipherSuiteName(suite), err)
		}
		if err == nil {
			conn.Close()
		}
	}
	conn, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: a.roots, ServerName: "app.test", NextProtos: []string{"h2", "http/1.1"}})
	check(t, err)
	defer conn.Close()
	if s := conn.ConnectionState(); s.Version != tls.VersionTLS13 || s.NegotiatedProtocol != "h2" {
		t.Errorf("%s, %s", tls.VersionName(s.Version), s.NegotiatedProtocol)
	}
}
