package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// checkTLS reads the wall's own certificate. One that cannot work is refused. One
// that browsers will not like is a warning: a wall that starts and says so is
// better than none, and the next certificate may be on its way.
func (d *decoder) checkTLS(c *Config) {
	if d.failed("tls") {
		return
	}
	if u := c.PublicURL; u != nil && u.Scheme != "https" {
		d.problem("tls", "needs a public_url with https", "people would type one thing and get another")
	}
	for key, address := range map[string]string{"listen": c.Listen, "ops_listen": c.OpsListen} {
		if sameAddress(address, c.TLS.RedirectListen) {
			d.problem("tls.redirect_listen", "is the same address as "+key, "browsers look on port 80: write :80")
		}
	}
	if c.TLS.ACME != nil {
		d.checkACME(c)
		return
	}
	d.required("tls.cert_file", "the certificate (PEM), with those between it and the CA behind it")
	d.required("tls.key_file", "the private key of the certificate (PEM)")
	if c.TLS.CertFile == "" || c.TLS.KeyFile == "" {
		return
	}
	chain, _, haveChain := d.named("tls.cert_file", c.TLS.CertFile, maxCertFile)
	key, mode, haveKey := d.named("tls.key_file", c.TLS.KeyFile, maxCertFile)
	if !haveChain || !haveKey {
		return
	}
	if mode.Perm()&0o007 != 0 {
		d.warn("tls.key_file", "the file is open to every user of this machine", "chmod 0600, or 0440 for a mounted secret")
	}
	pair, err := tls.X509KeyPair(chain, key)
	switch {
	case err == nil:
		c.TLS.Certificate = &pair
		d.warnOfCertificate(c, pair.Leaf)
	case !isCertificate(chain):
		d.problem("tls.cert_file", "the file holds no certificate", "it must be PEM: -----BEGIN CERTIFICATE-----")
	case strings.Contains(err.Error(), "does not match"):
		d.problem("tls.key_file", "the key is not that of the certificate", "both files must be of the same age; the certificate itself comes first in its file")
	default: // the error may tell what the file holds
		d.problem("tls.key_file", "the file holds no private key that can be used", "it must be PEM, without a password: -----BEGIN PRIVATE KEY-----")
	}
}

func (d *decoder) checkACME(c *Config) {
	a := c.TLS.ACME
	if d.has("tls.cert_file") || d.has("tls.key_file") {
		d.problem("tls.acme", "stands beside a certificate of your own", "keep one of the two")
	}
	for _, u := range []*url.URL{c.PublicURL, c.Directory.PublicURL} {
		if u == nil {
			continue
		}
		if _, err := netip.ParseAddr(u.Hostname()); err == nil || !strings.Contains(u.Hostname(), ".") {
			d.problem("tls.acme", "no CA gives a certificate for "+u.Hostname(), "write a name that the CA can look up")
		}
	}
	if a.CAFile != "" {
		a.CAs = d.authorities("tls.acme.ca_file", a.CAFile)
	}
	switch {
	case a.CacheDir != "":
	case c.Store.Path != "":
		a.CacheDir = strings.TrimSuffix(c.Store.Path, filepath.Ext(c.Store.Path)) + ".acme"
	case !d.failed("store"):
		d.required("tls.acme.cache_dir", "a folder that outlasts a restart, since there is no embedded store to put it beside")
	}
}

// isCertificate tells whether the first certificate of a file can be read.
func isCertificate(chain []byte) bool {
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			_, err := x509.ParseCertificate(block.Bytes)
			return err == nil
		}
	}
	return false
}

func (d *decoder) warnOfCertificate(c *Config, leaf *x509.Certificate) {
	const key, layout = "tls.cert_file", "2006-01-02 15:04 MST"
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		d.warn(key, "the certificate has expired, on "+leaf.NotAfter.UTC().Format(layout), "browsers refuse it: renew it")
	case now.Before(leaf.NotBefore):
		d.warn(key, "the certificate is not valid before "+leaf.NotBefore.UTC().Format(layout), "browsers refuse it; is the clock of this machine right?")
	}
	for _, u := range []*url.URL{c.PublicURL, c.Directory.PublicURL} {
		if u != nil && leaf.VerifyHostname(u.Hostname()) != nil {
			d.warn(key, "the certificate is not for "+u.Hostname()+", so browsers refuse it", hostsOf(leaf))
		}
	}
}

func hostsOf(leaf *x509.Certificate) string {
	names := leaf.DNSNames
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "it names no host at all"
	}
	const shown = 5
	return fmt.Sprintf("it is for %.200q", strings.Join(names[:min(shown, len(names))], ", "))
}
