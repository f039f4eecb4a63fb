package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An authority is a CA that browsers of a test trust.
type authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	roots *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	a := &authority{key: key, roots: x509.NewCertPool()}
	a.cert, err = x509.ParseCertificate(der)
	check(t, err)
	a.roots.AddCert(a.cert)
	return a
}

// issue writes a certificate for app.test, and this machine, into the folder.
func (a *authority) issue(t *testing.T, folder string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"app.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Duration(serial) * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	check(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	writePEM(t, filepath.Join(folder, "cert.pem"), "CERTIFICATE", cert)
	writePEM(t, filepath.Join(folder, "key.pem"), "PRIVATE KEY", der)
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	check(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// startTLS starts a wall with a certificate of its own; the rig's browsers speak
// HTTP/2 to it.
func startTLS(t *testing.T, a *authority) (_ *rig, wall *os.Process) {
	t.Helper()
	var command *exec.Cmd
	config := strings.Replace(basics, "$PUBLIC", "https://app.test", 1) + "tls: {cert_file: cert.pem, key_file: key.pem}\n"
	r := startWallWith(t, "https://app.test", config, func(r *rig, wall *exec.Cmd) {
		a.issue(t, r.folder, 2)
		r.scheme = "https"
		transport := r.client.Transport.(*http.Transport)
		transport.TLSClientConfig = &tls.Config{RootCAs: a.roots, ServerName: "app.test"}
		transport.ForceAttemptHTTP2 = true
		command = wall
	})
	return r, command.Process
}

func TestLoginOverTLSOfItsOwn(t *testing.T) {
	a := newAuthority(t)
	r, _ := startTLS(t, a)
	r.as("alice").signIn(t, "alice@example.com", "/")
	r.ask(t, http.MethodGet, "-nav", "/a//b?x=%zz", "X-Forwarded-Proto:http")
	if r.last.StatusCode != http.StatusOK || r.last.ProtoMajor != 2 {
		t.Fatalf("%s %s", r.last.Proto, r.last.Status)
	}
	got := r.upstream.all()
	if last := got[len(got)-1]; !strings.HasPrefix(last, "GET /a//b?x=%zz HTTP/1.1\nHost: app.test\n") || !strings.Contains(last, "\nX-Forwarded-Proto: https\n") {
		t.Errorf("the app was told:\n%s", last)
	}

	t.Run("curl", func(t *testing.T) {
		curl := peerProgram(t, "curl", "curl")
		roots := filepath.Join(t.TempDir(), "ca.pem")
		writePEM(t, roots, "CERTIFICATE", a.cert.Raw)
		for flag, want := range map[string]string{"--http1.1": "1.1 401", "--http2": "2 401", "--tls-max 1.2": "2 401"} {
			args := append(strings.Fields(flag), "-sS", "--cacert", roots, "--connect-to", "app.test:443:"+r.address,
				"-H", "Accept: application/json", "-o", os.DevNull, "-w", "%{http_version} %{http_code}", "https://app.test/")
			if out, err := exec.CommandContext(t.Context(), curl, args...).CombinedOutput(); err != nil || string(out) != want {
				t.Errorf("%s: %v: %s", flag, err, out)
			}
		}
	})
	t.Run("nothing older than TLS 1.2", func(t *testing.T) {
		conn, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: a.roots, ServerName: "app.test", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
		if err == nil {
			conn.Close()
			t.Error("TLS 1.1 was spoken")
		}
	})
	t.Run("nothing without TLS", func(t *testing.T) {
		before := r.upstream.count()
		for _, answer := range r.sendRaw(t, "GET / HTTP/1.1\r\nHost: app.test\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n", patience) {
			if answer.StatusCode != http.StatusBadRequest {
				t.Errorf("answered %s", answer.Status)
			}
		}
		if n := r.upstream.count() - before; n != 0 {
			t.Errorf("%d requests at the upstream", n)
		}
	})
	t.Run("healthcheck", r.checkHealth)
}

func TestANewCertificateEndsNoConnection(t *testing.T) {
	a := newAuthority(t)
	r, wall := startTLS(t, a)
	old := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.roots, ServerName: "app.test"}}
	defer old.CloseIdleConnections()
	// ask is over the one connection of old.
	ask := func() (serial int64, reused bool) {
		trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }}
		request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, "https://"+r.address+healthEndpoint, nil)
		check(t, err)
		response, err := (&http.Client{Transport: old, Timeout: patience}).Do(request)
		check(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		check(t, err)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("over the old connection: %s", response.Status)
		}
		return response.TLS.PeerCertificates[0].SerialNumber.Int64(), reused
	}
	if serial, reused := ask(); serial != 2 || reused {
		t.Fatalf("first: certificate %d, reused %v", serial, reused)
	}
	newcomer := func() *x509.Certificate {
		conn, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: a.roots, ServerName: "app.test"})
		check(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0]
	}
	gets := func(what string, serial int64) {
		t.Helper()
		poll(t, what, func() bool {
			leaf := newcomer()
			return leaf.SerialNumber.Int64() == serial &&
				metric(r.metrics(t), "loginwall_certificate_not_after_timestamp_seconds") == float64(leaf.NotAfter.Unix())
		})
	}
	gets("the metric tells of no certificate", 2)

	a.issue(t, r.folder, 3) // found without a signal
	gets("nobody gets the new certificate", 3)
	if serial, reused := ask(); serial != 2 || !reused {
		t.Errorf("after the change: certificate %d, reused %v", serial, reused)
	}

	// A key that is not that of the certificate changes nothing.
	before, err := os.ReadFile(filepath.Join(r.folder, "cert.pem"))
	check(t, err)
	a.issue(t, r.folder, 4)
	check(t, os.WriteFile(filepath.Join(r.folder, "cert.pem"), before, 0o600))
	check(t, wall.Signal(syscall.SIGHUP))
	poll(t, "the wall takes the pair for good", func() bool { return metric(r.metrics(t), "loginwall_config_last_reload_success") == 0 })
	gets("a bad pair changes something", 3)
	if serial, reused := ask(); serial != 2 || !reused {
		t.Errorf("after a bad pair: certificate %d, reused %v", serial, reused)
	}
}

// What net/http's client would not send is written by hand.
func TestHDR024OverHTTP2OfItsOwn(t *testing.T) {
	a := newAuthority(t)
	r, _ := startTLS(t, a)
	r.as("alice").signIn(t, "alice@example.com", "/")
	cookie := r.cookies().session()
	for name, row := range map[string]struct {
		fields []string // name, value, ...; the cookie comes behind them
		passes bool
	}{
		"plain":                     {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/"}, true},
		"the same host":             {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/", "host", "app.test"}, true},
		"host alone":                {[]string{":method", "GET", ":scheme", "https", ":path", "/", "host", "app.test"}, true},
		"identity headers":          {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/", "x-forwarded-user", "mallory@evil.test", "x_forwarded_user", "mallory@evil.test"}, true},
		"another host":              {[]string{":method", "GET", ":scheme", "https", ":authority", "evil.test", ":path", "/", "host", "app.test"}, false},
		"another host in a field":   {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/", "host", "evil.test"}, false},
		"connection":                {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/", "connection", "x-forwarded-user"}, false},
		"transfer-encoding":         {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/", "transfer-encoding", "chunked"}, false},
		"upgrade":                   {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/", "upgrade", "websocket"}, false},
		"te other than trailers":    {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/", "te", "gzip"}, false},
		"capitals":                  {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/", "X-Forwarded-User", "mallory@evil.test"}, false},
		"a line end in a value":     {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/", "x", "y\r\nx-forwarded-user: mallory@evil.test"}, false},
		"a blank in the path":       {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/ HTTP/1.1\r\nX: y"}, false},
		"two paths":                 {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/", ":path", "/b"}, false},
		"an unknown pseudo-field":   {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/", ":user", "mallory"}, false},
		"a pseudo-field comes late": {[]string{":method", "GET", ":scheme", "https", ":path", "/", "x", "y", ":authority", "app.test"}, false},
		"websocket by connect":      {[]string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "app.test", ":path", "/"}, false},
		"connect":                   {[]string{":method", "CONNECT", ":authority", "app.test:443"}, false},
	} {
		before := r.upstream.count()
		ok := a.askHTTP2(t, r.address, append(row.fields, "cookie", cookie))
		r.oracle.judgeUpstream(t, r, cookie)
		if reached := r.upstream.count() - before; ok != row.passes || (reached == 1) != row.passes || reached > 1 {
			t.Errorf("%s: answered 200 %v, %d requests at the upstream", name, ok, reached)
		}
	}
}

// The frames of HTTP/2 that the test knows (RFC 9113, section 6).
const (
	frameHeaders  = 1
	frameReset    = 3
	frameSettings = 4
	frameGoAway   = 7

	flagEndStream, flagEndHeaders = 1, 4
)

// askHTTP2 sends one request on a connection of its own and reports whether the
// answer is 200; it is not when the wall resets the stream, or says farewell.
func (a *authority) askHTTP2(t *testing.T, address string, fields []string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: a.roots, ServerName: "app.test", NextProtos: []string{"h2"}}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(patience)))

	var block []byte
	for i := 0; i < len(fields); i += 2 {
		// Literal without indexing, new name, no Huffman code (RFC 7541, section 6.2.2).
		block = appendString(append(block, 0), fields[i])
		block = appendString(block, fields[i+1])
	}
	sent := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), rawFrame(frameSettings, 0, 0, nil)...)
	sent = append(sent, rawFrame(frameHeaders, flagEndStream|flagEndHeaders, 1, block)...)
	_, err = conn.Write(sent)
	check(t, err)
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(conn, head); err != nil {
			return false
		}
		payload := make([]byte, int(head[0])<<16|int(binary.BigEndian.Uint16(head[1:])))
		if _, err := io.ReadFull(conn, payload); err != nil {
			return false
		}
		switch head[3] {
		case frameReset, frameGoAway:
			return false
		case frameHeaders:
			const status200 = 0x80 | 8 // the eighth entry of the static table
			return payload[0] == status200
		}
	}
}

func rawFrame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(head, stream), payload...)
}

// appendString writes a length with a prefix of seven bits (RFC 7541, sections 5.1
// and 5.2), and the bytes themselves.
func appendString(b []byte, s string) []byte {
	const prefix = 1<<7 - 1
	if n := len(s); n < prefix {
		b = append(b, byte(n))
	} else {
		b = binary.AppendUvarint(append(b, prefix), uint64(n-prefix))
	}
	return append(b, s...)
}
