package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/config"
)

// A pair is a certificate that has signed itself, and its key.
type pair struct{ cert, key string }

func newPair(t *testing.T, host string, from, to time.Duration) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{host}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}
}

// write puts the pair into a folder and returns the lines that name it.
func (p pair) write(t *testing.T, folder string) string {
	t.Helper()
	cert, key := filepath.Join(folder, "fullchain.pem"), filepath.Join(folder, "privkey.pem")
	writeFile(t, cert, p.cert, 0o644)
	writeFile(t, key, p.key, 0o600)
	return "tls: {cert_file: " + cert + ", key_file: " + key + "}\n"
}

func TestCertificateProblems(t *testing.T) {
	good, other := newPair(t, "tool.example.com", -time.Hour, time.Hour), newPair(t, "tool.example.com", -time.Hour, time.Hour)
	for name, row := range map[string]struct {
		pair
		want string
	}{
		"another key":         {pair{good.cert, other.key}, "8: tls.key_file: the key is not that of the certificate (both files must be of the same age; the certificate itself comes first in its file)"},
		"the other way round": {pair{good.key, good.cert}, "8: tls.cert_file: the file holds no certificate (it must be PEM: -----BEGIN CERTIFICATE-----)"},
		"no key":              {pair{good.cert, good.cert}, "8: tls.key_file: the file holds no private key that can be used (it must be PEM, without a password: -----BEGIN PRIVATE KEY-----)"},
		"half a key":          {pair{good.cert, good.key[:len(good.key)/2]}, "8: tls.key_file: the file holds no private key that can be used (it must be PEM, without a password: -----BEGIN PRIVATE KEY-----)"},
		"half a certificate":  {pair{good.cert[:len(good.cert)/2], good.key}, "8: tls.cert_file: the file holds no certificate (it must be PEM: -----BEGIN CERTIFICATE-----)"},
	} {
		if _, _, err := load(t, smallestFile+row.write(t, t.TempDir())); told(err) != row.want {
			t.Errorf("%s:\n got %s\nwant %s", name, told(err), row.want)
		}
	}
	lines := good.write(t, t.TempDir())
	_, _, err := load(t, strings.Replace(smallestFile, "https://tool.example.com", "http://localhost:8080", 1)+"ops_listen: off\nlisten: :80\n"+lines)
	if want := "10: tls: needs a public_url with https (people would type one thing and get another)"; told(err) != want {
		t.Errorf("without https:\n got %s\nwant %s", told(err), want)
	}
	for text, want := range map[string]string{
		"tls: {}\n": "8: tls.cert_file: missing (the certificate (PEM), with those between it and the CA behind it)\n8: tls.key_file: missing (the private key of the certificate (PEM))",
		strings.Replace(lines, "key_file", "key", 1): "8: tls.key: unknown key (did you mean key_file?)",
	} {
		if _, _, err := load(t, smallestFile+text); told(err) != want {
			t.Errorf("%s:\n got %s\nwant %s", text, told(err), want)
		}
	}
}

func TestCertificateWarnings(t *testing.T) {
	for name, row := range map[string]struct {
		pair
		want string
	}{
		"good":     {newPair(t, "tool.example.com", -time.Hour, time.Hour), ""},
		"wildcard": {newPair(t, "*.example.com", -time.Hour, time.Hour), ""},
		"old":      {newPair(t, "tool.example.com", -2*time.Hour, -time.Hour), "tls.cert_file: the certificate has expired, on "},
		"early":    {newPair(t, "tool.example.com", time.Hour, 2*time.Hour), "tls.cert_file: the certificate is not valid before "},
		"stranger": {newPair(t, "other.example.com", -time.Hour, time.Hour), `tls.cert_file: the certificate is not for tool.example.com, so browsers refuse it (it is for "other.example.com")`},
	} {
		c, warnings, err := load(t, smallestFile+row.write(t, t.TempDir()))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.TLS.Certificate == nil || c.TLS.Certificate.Leaf == nil {
			t.Errorf("%s: no certificate", name)
		}
		if text := fmt.Sprint(warnings); (row.want == "") != (len(warnings) == 0) || !strings.Contains(text, row.want) {
			t.Errorf("%s:\n got %s\nwant %s", name, text, row.want)
		}
	}
}

func TestDiffOfCertificates(t *testing.T) {
	folder := t.TempDir()
	lines := newPair(t, "tool.example.com", -time.Hour, time.Hour).write(t, folder)
	const file = smallestFile + "store: sqlite:/data/x.db\n"
	without, one := mustLoad(t, file), mustLoad(t, file+lines)
	newPair(t, "tool.example.com", -time.Hour, time.Hour).write(t, folder)
	two := mustLoad(t, file+lines)
	acme := mustLoad(t, file+"tls: {acme: {email: a@example.com}}\n")
	const directory = "https://acme-v02.api.letsencrypt.org/directory"
	for _, row := range []struct {
		old, new *config.Config
		want     string
	}{
		{one, one, "[]"},
		{one, two, "[tls.cert_file: the contents changed]"},
		{without, one, "[tls:  -> {cert_file: " + folder + "/fullchain.pem, key_file: " + folder + "/privkey.pem} (needs a restart)]"},
		{one, without, "[tls: {cert_file: " + folder + "/fullchain.pem, key_file: " + folder + "/privkey.pem} ->  (needs a restart)]"},
		{without, acme, "[tls:  -> {acme: {email: a@example.com, directory_url: " + directory + ", cache_dir: /data/x.acme}} (needs a restart)]"},
		{acme, mustLoad(t, file+"tls: {acme: {}, redirect_listen: ':80'}\n"), "[tls.acme.email: a@example.com ->  (needs a restart) tls.redirect_listen:  -> :80 (needs a restart)]"},
	} {
		if got := fmt.Sprint(config.Diff(row.old, row.new)); got != row.want {
			t.Errorf("got %s, want %s", got, row.want)
		}
	}
}
