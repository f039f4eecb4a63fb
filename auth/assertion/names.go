package assertion

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Fold returns the form in which names are compared: lower case, with a dash for
// every byte that is neither letter nor digit. Two names that any known server
// interface makes into one variable (RFC 3875, section 4.1.18) fold to the same
// text.
func Fold(name string) string {
	b := []byte(name)
	for i, c := range b {
		b[i] = alphabet[symbol(c)]
	}
	return string(b)
}

const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789-"

// symbol returns where the folded byte stands in the alphabet.
func symbol(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z':
		return c - 'a'
	case 'A' <= c && c <= 'Z':
		return c - 'A'
	case '0' <= c && c <= '9':
		return c - '0' + 26
	}
	return byte(len(alphabet) - 1)
}

// wellKnown lists folded names, or beginnings of names (with a star), that apps
// take for a statement of the proxy in front of them. The rule for this list: no
// ordinary client has a reason to send the name, and some app believes it.
// X-User-Agent, X-Auth-Token, X-Access-Token and the like are clients' own.
func wellKnown() []string {
	return []string{
		// Ours.
		"x-loginwall-*",
		// How the request came: the proxy says so itself, after Strip.
		"x-forwarded*", "forwarded", "x-original-*", "x-rewrite-*", "x-scheme", "x-url-scheme", "x-script-name",
		"front-end-https", "x-host", "x-http-host-override",
		// Where it came from.
		"x-real-ip", "x-client-ip", "client-ip", "true-client-ip", "x-cluster-client-ip", "x-originating-ip",
		"cf-connecting-ip*", "fastly-client-ip", "fly-client-ip", "x-azure-clientip",
		// Instructions to an app server's file sender, and CVE-2016-5386.
		"x-accel-*", "x-sendfile-type", "proxy",
		// Remote-User and its kin: web servers, Authelia, the Kubernetes API.
		"remote-*", "x-remote-*", "remoteuser", "http-remote-user", "auth-user", "impersonate-*",
		"x-webauth-*", "x-web-auth-*", "x-proxy-user", "x-proxy-roles", "x-proxy-ext-*",
		"x-user", "x-username", "x-userinfo", "x-authenticated-*",
		"x-auth-request-*", "x-auth-user*", "x-auth-email", "x-auth-name", "x-auth-groups", "x-auth-roles", "x-auth-subject",
		// Identity-aware proxies, gateways and meshes.
		"x-goog-authenticated-user-*", "x-goog-iap-*", "x-endpoint-api-userinfo", "x-apigateway-api-userinfo",
		"cf-access-*", "tailscale-*", "teleport-*", "x-pomerium-*", "x-authentik-*", "x-vouch-*", "x-amzn-oidc-*",
		"x-ms-client-principal*", "x-ms-token-*", "kubeflow-*", "x-consumer-*", "x-credential-*", "x-anonymous-consumer",
		"x-jwt-assertion", "oidc-*", "shib-*", "mellon-*",
		// Certificates that a TLS terminator saw (RFC 9440, section 4).
		"client-cert", "client-cert-chain", "ssl-client-*", "x-ssl-client-*", "x-client-cert*", "x-client-verify",
	}
}

// unsettable lists what a template may not write: framing, hop-by-hop fields,
// what describes the body, and what the proxy itself is in charge of.
func unsettable() []string {
	return []string{
		"connection", "keep-alive", "proxy-*", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
		"host", "expect", "content-*", "cookie", "set-cookie*", "sec-*",
		"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id",
	}
}

var (
	errToken      = errors.New("is no header name (want at most 100 letters, digits and dashes)")
	errUnsettable = errors.New("cannot be set by a template (the connection, the body or the proxy itself depends on it)")
)

// maxName keeps the trie below within what its links can number.
const maxName = 100

func checkName(name string) error {
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, notToken) {
		return fmt.Errorf("%q %w", name, errToken)
	}
	var refused names
	for _, pattern := range unsettable() {
		refused.add(pattern)
	}
	if refused.has(name) {
		return fmt.Errorf("%s %w", name, errUnsettable)
	}
	return nil
}

// notToken is the complement of tchar (RFC 9110, section 5.6.2).
func notToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// names is a set of folded names and beginnings of names. It is a trie over the
// folded alphabet, since it is asked about every header of every request: an
// ordinary name leaves it after a letter or three. The zero value is empty.
type names struct{ nodes []node }

type node struct {
	next        [len(alphabet)]uint16
	end, prefix bool
}

// add takes a folded name; a star at its end stands for anything or nothing.
func (n *names) add(pattern string) {
	if n.nodes == nil {
		n.nodes = make([]node, 1)
	}
	name, prefix := strings.CutSuffix(pattern, "*")
	at := uint16(0)
	for i := range len(name) {
		s := symbol(name[i])
		if n.nodes[at].next[s] == 0 {
			n.nodes[at].next[s] = uint16(len(n.nodes))
			n.nodes = append(n.nodes, node{})
		}
		at = n.nodes[at].next[s]
	}
	n.nodes[at].end = true
	n.nodes[at].prefix = n.nodes[at].prefix || prefix
}

func (n *names) has(name string) bool {
	if len(n.nodes) == 0 {
		return false
	}
	at := &n.nodes[0]
	for i := range len(name) {
		next := at.next[symbol(name[i])]
		if next == 0 {
			return false
		}
		at = &n.nodes[next]
		if at.prefix {
			return true
		}
	}
	return at.end
}

// removeFrom takes the set's names out of the list that the lines of h[name]
// make together. The lines are replaced, not changed: the inbound request may
// share them.
func (n *names) removeFrom(h http.Header, name string) {
	listed := func(token string) bool { return n.has(strings.Trim(token, " \t")) }
	lines := h[name]
	if !slices.ContainsFunc(lines, func(line string) bool {
		for token := range strings.SplitSeq(line, ",") {
			if listed(token) {
				return true
			}
		}
		return false
	}) {
		return
	}
	kept := slices.DeleteFunc(strings.Split(strings.Join(lines, ","), ","), listed)
	if len(kept) == 0 {
		delete(h, name)
		return
	}
	h[name] = []string{strings.Join(kept, ",")}
}
