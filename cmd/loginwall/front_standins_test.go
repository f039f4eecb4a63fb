package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// Traefik and Envoy are not to be had here. What stands in for them reads their
// files, asks the wall what they ask, and does with the answer what they do,
// after the source of Traefik 3.7 (pkg/middlewares/auth/forward.go and
// forwardedheaders, pkg/server/server_entrypoint_tcp.go) and Envoy's documentation
// of ext_authz. What a file says that a stand-in does not know fails the test.

// serveFront serves https at a place, and redirects what comes without TLS.
func serveFront(t *testing.T, p place, h http.Handler) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(p.cert, p.key)
	check(t, err)
	listen := func(address string) net.Listener {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		check(t, err)
		return l
	}
	secure := httptest.NewUnstartedServer(h)
	secure.Listener.Close()
	secure.Listener, secure.EnableHTTP2 = listen(p.https), true
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	secure.StartTLS()
	plain := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://app.test"+r.URL.RequestURI(), http.StatusMovedPermanently)
	}))
	plain.Listener.Close()
	plain.Listener = listen(p.http)
	plain.Start()
	t.Cleanup(func() {
		secure.CloseClientConnections()
		secure.Close()
		plain.Close()
	})
}

// readYAML reads a configuration strictly.
func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	check(t, err)
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	check(t, d.Decode(into))
}

// carry is the proxy part, which both have: streams, WebSockets, no other upgrade.
func carry(t *testing.T, to string, tell func(*httputil.ProxyRequest), answered func(*http.Response) error) http.Handler {
	t.Helper()
	u, err := url.Parse(to)
	check(t, err)
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), ModifyResponse: answered,
		Rewrite: func(pr *httputil.ProxyRequest) {
			for name, values := range pr.In.Header {
				if strings.HasPrefix(name, "X-Forwarded-") || name == "Forwarded" { // Rewrite has dropped them
					pr.Out.Header[name] = values
				}
			}
			pr.Out.URL.Scheme, pr.Out.URL.Host, pr.Out.Host = u.Scheme, u.Host, pr.In.Host
			pr.Out.URL.Path, pr.Out.URL.RawPath, pr.Out.URL.RawQuery = pr.In.URL.Path, pr.In.URL.RawPath, pr.In.URL.RawQuery
			if !strings.EqualFold(pr.Out.Header.Get("Upgrade"), "websocket") {
				pr.Out.Header.Del("Upgrade")
				pr.Out.Header.Del("Connection")
			}
			tell(pr)
		},
	}
}

// traefikFile is as much of Traefik's dynamic configuration as the file has.
type traefikFile struct {
	HTTP struct {
		Routers map[string]struct {
			Rule        string
			EntryPoints []string `yaml:"entryPoints"`
			Middlewares []string
			Service     string
			TLS         struct{}
		}
		Middlewares map[string]struct {
			Headers *struct {
				CustomRequestHeaders map[string]string `yaml:"customRequestHeaders"`
			}
			ForwardAuth *traefikForwardAuth `yaml:"forwardAuth"`
		}
		Services map[string]struct {
			LoadBalancer struct {
				Servers []struct{ URL string }
			} `yaml:"loadBalancer"`
		}
	}
}

type traefikForwardAuth struct {
	Address                  string
	TrustForwardHeader       *bool    `yaml:"trustForwardHeader"`
	MaxResponseBodySize      int      `yaml:"maxResponseBodySize"`
	AuthResponseHeaders      []string `yaml:"authResponseHeaders"`
	AddAuthCookiesToResponse []string `yaml:"addAuthCookiesToResponse"`

	client *http.Client
}

func startTraefik(t *testing.T, p place) {
	t.Helper()
	var c traefikFile
	readYAML(t, p.shipped(t, "traefik.yaml"), &c)
	type router struct {
		rule, host, prefix string
		handler            http.Handler
	}
	var routers []router
	for _, r := range c.HTTP.Routers {
		m := regexp.MustCompile("^Host\\(`([^`]+)`\\)(?: && PathPrefix\\(`([^`]+)`\\))?$").FindStringSubmatch(r.Rule)
		if m == nil {
			t.Fatalf("a rule that is not understood: %s", r.Rule)
		}
		h := carry(t, c.HTTP.Services[r.Service].LoadBalancer.Servers[0].URL, func(pr *httputil.ProxyRequest) {
			pr.Out.Header.Set("X-Forwarded-For", peerOf(pr.In))
		}, nil)
		for _, name := range slices.Backward(r.Middlewares) {
			m := c.HTTP.Middlewares[name]
			next := h
			switch {
			case m.ForwardAuth != nil:
				if *m.ForwardAuth.TrustForwardHeader {
					t.Fatalf("the stand-in knows no trustForwardHeader")
				}
				m.ForwardAuth.client = &http.Client{
					Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true},
					CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
				}
				h = m.ForwardAuth.before(next)
			case m.Headers != nil:
				h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					for name, value := range m.Headers.CustomRequestHeaders {
						if r.Header.Del(name); value != "" {
							r.Header.Set(name, value)
						}
					}
					next.ServeHTTP(w, r)
				})
			default:
				t.Fatalf("there is no middleware %s", name)
			}
		}
		routers = append(routers, router{r.Rule, m[1], m[2], h})
	}
	slices.SortFunc(routers, func(a, b router) int { return len(b.rule) - len(a.rule) })

	serveFront(t, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Opaque != "" || strings.Contains(r.RequestURI, "#") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for name := range r.Header { // aliasHeadersStrategy: delete, as the file's head demands
			if strings.ContainsFunc(name, func(c rune) bool { return c != '-' && (c < '0' || c > '9') && (c|32 < 'a' || c|32 > 'z') }) {
				delete(r.Header, name)
			}
		}
		r.URL = r.URL.JoinPath() // sanitizePath
		r.RequestURI = r.URL.RequestURI()
		traefikForwarded(r)
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		for _, one := range routers {
			if strings.EqualFold(one.host, host) && strings.HasPrefix(r.URL.Path, one.prefix) {
				one.handler.ServeHTTP(w, r)
				return
			}
		}
		http.NotFound(w, r)
	}))
}

func peerOf(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

// traefikForwarded is what an entry point makes of X-Forwarded-* and Connection.
func traefikForwarded(r *http.Request) {
	managed := []string{
		"X-Forwarded-Proto", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-Method",
		"X-Forwarded-Prefix", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info", "X-Real-Ip",
	}
	for _, name := range managed {
		delete(r.Header, name)
	}
	upgrade := ""
	if strings.Contains(strings.ToLower(strings.Join(r.Header["Connection"], ",")), "upgrade") {
		upgrade = r.Header.Get("Upgrade")
	}
	r.Header.Set("X-Real-Ip", peerOf(r))
	r.Header.Set("X-Forwarded-Proto", map[bool]string{true: "wss", false: "https"}[strings.EqualFold(upgrade, "websocket")])
	r.Header.Set("X-Forwarded-Port", "443")
	r.Header.Set("X-Forwarded-Host", r.Host)
	r.Header.Set("X-Forwarded-Server", "edge")
	for _, line := range r.Header["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); !slices.Contains(managed, name) {
				delete(r.Header, name)
			}
		}
	}
	delete(r.Header, "Connection")
	if upgrade != "" {
		r.Header["Upgrade"], r.Header["Connection"] = []string{upgrade}, []string{"Upgrade"}
	}
}

// before asks the wall, and goes on to next when it says yes.
func (fa *traefikForwardAuth) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question, err := http.NewRequestWithContext(r.Context(), http.MethodGet, fa.Address, nil)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		question.Header = r.Header.Clone()
		for _, name := range []string{"Connection", "Keep-Alive", "Te", "Trailers", "Transfer-Encoding", "Upgrade", "Content-Length"} {
			delete(question.Header, name)
		}
		for name := range question.Header {
			if strings.HasPrefix(name, "X-Forwarded-") && name != "X-Forwarded-User" || name == "X-Real-Ip" {
				delete(question.Header, name)
			}
		}
		for name, value := range map[string]string{
			"X-Forwarded-For": peerOf(r), "X-Forwarded-Method": r.Method, "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443",
			"X-Forwarded-Host": r.Host, "X-Forwarded-Uri": r.URL.RequestURI(),
		} {
			question.Header.Set(name, value)
		}
		answer, err := fa.client.Do(question)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(io.LimitReader(answer.Body, int64(fa.MaxResponseBodySize)+1))
		if err != nil || len(body) > fa.MaxResponseBodySize {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if answer.StatusCode/100 != 2 {
			maps.Copy(w.Header(), answer.Header)
			w.Header().Del("Connection")
			if location, err := answer.Location(); err == nil { // resolved against the address
				w.Header().Set("Location", location.String())
			}
			w.WriteHeader(answer.StatusCode)
			_, _ = w.Write(body)
			return
		}
		for _, name := range fa.AuthResponseHeaders {
			name = http.CanonicalHeaderKey(name)
			if delete(r.Header, name); answer.Header[name] != nil {
				r.Header[name] = answer.Header[name]
			}
		}
		if cookies := answer.Cookies(); len(cookies) > 0 {
			w = &cookieWriter{ResponseWriter: w, names: fa.AddAuthCookiesToResponse, cookies: cookies}
		}
		next.ServeHTTP(w, r)
	})
}

// A cookieWriter adds the wall's cookies of some names to an answer, instead of the
// app's own of these names.
type cookieWriter struct {
	http.ResponseWriter
	names   []string
	cookies []*http.Cookie
}

func (w *cookieWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *cookieWriter) WriteHeader(status int) {
	lines := w.Header()["Set-Cookie"]
	w.Header().Del("Set-Cookie")
	for _, line := range lines {
		if c, err := http.ParseSetCookie(line); err == nil && !slices.Contains(w.names, c.Name) {
			w.Header().Add("Set-Cookie", c.String())
		}
	}
	for _, c := range w.cookies {
		if slices.Contains(w.names, c.Name) {
			w.Header().Add("Set-Cookie", c.String())
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// A node is a place in a configuration that is a tree.
type node struct {
	t    *testing.T
	path string
	any
}

// at goes down by names and indexes.
func (n node) at(steps ...any) node {
	n.t.Helper()
	for _, step := range steps {
		n.path += fmt.Sprintf("/%v", step)
		var ok bool
		switch s := step.(type) {
		case string:
			var m map[string]any
			if m, ok = n.any.(map[string]any); ok {
				n.any, ok = m[s]
			}
		case int:
			var l []any
			if l, ok = n.any.([]any); ok && s < len(l) {
				n.any = l[s]
			}
		}
		if !ok {
			n.t.Fatalf("envoy.yaml has no %s", n.path)
		}
	}
	return n
}

func (n node) list() []node {
	var out []node
	for i := range n.any.([]any) {
		out = append(out, n.at(i))
	}
	return out
}

func (n node) has(name string) bool {
	_, ok := n.any.(map[string]any)[name]
	return ok
}

func (n node) text() string { return fmt.Sprint(n.any) }

// matching reads the patterns of a list of header names.
func (n node) matching() func(string) bool {
	exact, prefixes := map[string]bool{}, []string{}
	for _, p := range n.at("patterns").list() {
		if p.has("prefix") {
			prefixes = append(prefixes, p.at("prefix").text())
		} else {
			exact[p.at("exact").text()] = true
		}
	}
	return func(name string) bool {
		name = strings.ToLower(name)
		return exact[name] || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	}
}

// removing reads a mutation that takes header fields out.
func (n node) removing() func(string) bool {
	n.t.Helper()
	if n.has("remove") {
		name := n.at("remove").text()
		return func(s string) bool { return s == name }
	}
	m := n.at("remove_on_match", "key_matcher")
	if m.has("prefix") {
		prefix := m.at("prefix").text()
		return func(s string) bool { return strings.HasPrefix(s, prefix) }
	}
	whole := regexp.MustCompile("^(?:" + m.at("safe_regex", "regex").text() + ")$")
	for _, pseudo := range []string{":authority", ":path", "cookie", "sec-websocket-key"} {
		if whole.MatchString(pseudo) {
			n.t.Fatalf("%s would be removed", pseudo)
		}
	}
	return whole.MatchString
}

// An envoy is what stands in for one.
type envoy struct {
	domain   string
	routes   []envoyRoute
	remove   []func(string) bool // header fields, before anything else
	status   int                 // on error
	prefix   string
	ask      func(string) bool // which fields the wall gets
	upstream func(string) bool // which fields the app gets of the wall's answer
	client   func(string) bool // which fields the client gets of a yes
	asks     *http.Client
	address  string
}

type envoyRoute struct {
	prefix  string
	authz   bool
	handler http.Handler
}

type envoyKey struct{}

func startEnvoy(t *testing.T, p place) {
	t.Helper()
	var tree any
	readYAML(t, p.shipped(t, "envoy.yaml", "port_value: 8080", "port_value: "+portOf(p.wall), "port_value: 3000", "port_value: "+portOf(p.app)), &tree)
	root := node{t, "", tree}
	clusters := map[string]string{}
	for _, c := range root.at("static_resources", "clusters").list() {
		a := c.at("load_assignment", "endpoints", 0, "lb_endpoints", 0, "endpoint", "address", "socket_address")
		clusters[c.at("name").text()] = a.at("address").text() + ":" + a.at("port_value").text()
	}
	hcm := root.at("static_resources", "listeners", 1, "filter_chains", 0, "filters", 0, "typed_config")
	if hcm.at("use_remote_address").text() != "true" || hcm.at("upgrade_configs", 0, "upgrade_type").text() != "websocket" {
		t.Fatalf("the stand-in does as if these were set")
	}
	e := &envoy{status: http.StatusForbidden}
	for _, m := range hcm.at("early_header_mutation_extensions", 0, "typed_config", "mutations").list() {
		e.remove = append(e.remove, m.removing())
	}
	for _, f := range hcm.at("http_filters").list() {
		config := f.at("typed_config")
		switch f.at("name").text() {
		case "envoy.filters.http.ext_authz":
			if config.at("failure_mode_allow").text() != "false" || config.at("status_on_error", "code").text() != "ServiceUnavailable" {
				t.Fatalf("a failure would not be a refusal")
			}
			e.status = http.StatusServiceUnavailable
			e.ask = config.at("allowed_headers").matching()
			service := config.at("http_service")
			e.prefix = service.at("path_prefix").text()
			e.address = "http://" + clusters[service.at("server_uri", "cluster").text()]
			e.upstream = service.at("authorization_response", "allowed_upstream_headers").matching()
			e.client = service.at("authorization_response", "allowed_client_headers_on_success").matching()
		case "envoy.filters.http.lua": // see TestEnvoyLua
		case "envoy.filters.http.router":
		default:
			t.Fatalf("%s is not known", f.at("name").text())
		}
	}
	e.asks = &http.Client{
		Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	host := hcm.at("route_config", "virtual_hosts", 0)
	e.domain = host.at("domains", 0).text()
	if add := host.at("request_headers_to_add", 0, "header"); add.at("key").text() != "x-forwarded-host" || add.at("value").text() != "%REQ(:authority)%" {
		t.Fatalf("the stand-in adds X-Forwarded-Host")
	}
	for _, r := range host.at("routes").list() {
		own := r.has("typed_per_filter_config")
		if own && (r.at("typed_per_filter_config", "envoy.filters.http.ext_authz", "disabled").text() != "true" ||
			r.at("typed_per_filter_config", "envoy.filters.http.lua", "disabled").text() != "true") {
			t.Fatalf("the filters are not turned off")
		}
		to := carry(t, "http://"+clusters[r.at("route", "cluster").text()], func(pr *httputil.ProxyRequest) {
			pr.Out.Header.Set("X-Forwarded-Host", pr.In.Host)
			if !own {
				envoyLuaRequest(pr.Out.Header)
			}
		}, func(res *http.Response) error {
			yes, _ := res.Request.Context().Value(envoyKey{}).(http.Header)
			if yes.Get("X-Forwarded-User") != "" {
				res.Header.Add("Cache-Control", "private")
				res.Header.Del("CDN-Cache-Control")
				res.Header.Del("Surrogate-Control")
			}
			for name, values := range yes {
				if e.client(name) {
					res.Header[name] = append(res.Header[name], values...)
				}
			}
			return nil
		})
		e.routes = append(e.routes, envoyRoute{r.at("match", "prefix").text(), !own, to})
	}
	serveFront(t, p, e)
}

func (e *envoy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name := range r.Header {
		if slices.ContainsFunc(e.remove, func(matches func(string) bool) bool { return matches(strings.ToLower(name)) }) {
			delete(r.Header, name)
		}
	}
	r.Header.Set("X-Forwarded-For", peerOf(r))
	r.Header.Set("X-Forwarded-Proto", "https")
	if host, _, _ := strings.Cut(r.Host, ":"); host != e.domain || r.Host != host && r.Host != host+":443" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	for _, route := range e.routes {
		if !strings.HasPrefix(r.URL.EscapedPath(), route.prefix) {
			continue
		}
		if route.authz && !e.authorize(w, &r) {
			return
		}
		route.handler.ServeHTTP(w, r)
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

// authorize asks about a request, and says whether it goes on.
func (e *envoy) authorize(w http.ResponseWriter, r **http.Request) bool {
	in := *r
	question, err := http.NewRequestWithContext(in.Context(), in.Method, e.address, nil)
	if err != nil {
		w.WriteHeader(e.status)
		return false
	}
	question.URL.Opaque, question.URL.RawQuery, question.URL.ForceQuery = e.prefix+in.URL.EscapedPath(), in.URL.RawQuery, in.URL.ForceQuery
	question.Host = in.Host
	for name, values := range in.Header {
		if e.ask(name) || name == "Authorization" {
			question.Header[name] = values
		}
	}
	answer, err := e.asks.Do(question)
	if err != nil || answer.StatusCode >= 500 {
		w.WriteHeader(e.status)
		return false
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK { // not 204 either
		maps.Copy(w.Header(), answer.Header)
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
		return false
	}
	for name, values := range answer.Header {
		if e.upstream(name) {
			in.Header[name] = values
		}
	}
	*r = in.WithContext(context.WithValue(in.Context(), envoyKey{}, answer.Header))
	return true
}

// envoyLuaRequest does what the file's Lua does.
func envoyLuaRequest(h http.Header) {
	var kept []string
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			name, _, _ := strings.Cut(pair, "=")
			if pair != "" && !isOurs(strings.TrimSpace(name)) {
				kept = append(kept, pair)
			}
		}
	}
	if h.Del("Cookie"); kept != nil {
		h.Set("Cookie", strings.Join(kept, "; "))
	}
}

// TestEnvoyLua runs the Lua of envoy.yaml, in HAProxy's Lua for want of Envoy's.
func TestEnvoyLua(t *testing.T) {
	t.Parallel()
	haproxy := peerProgram(t, "haproxy", "haproxy")
	text, err := os.ReadFile(filepath.Join(frontDir, "envoy.yaml"))
	check(t, err)
	var tree any
	check(t, yaml.Unmarshal(text, &tree))
	filters := node{t, "", tree}.at("static_resources", "listeners", 1, "filter_chains", 0, "filters", 0, "typed_config", "http_filters")
	source := filters.at(1, "typed_config", "default_source_code", "inline_string").text()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "filter.lua"), []byte(source+envoyLuaDriver), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "haproxy.cfg"), []byte("global\n  lua-load "+filepath.Join(dir, "filter.lua")+"\ndefaults\n  mode http\n"), 0o600))
	// Checking its configuration, HAProxy runs what stands outside of functions.
	out, err := exec.CommandContext(t.Context(), haproxy, "-c", "-f", filepath.Join(dir, "haproxy.cfg")).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "all is as it should be") {
		t.Errorf("%s", out)
	}
}

// envoyLuaDriver gives the filter header fields as Envoy does.
const envoyLuaDriver = `
local function handle(fields)
  local metadata = {}
  local headers = {}
  function headers:getNumValues(name) return #(fields[name] or {}) end
  function headers:getAtIndex(name, i) return fields[name][i + 1] end
  function headers:get(name) return fields[name] and fields[name][1] end
  function headers:remove(name) fields[name] = nil end
  function headers:add(name, value) fields[name] = fields[name] or {}; table.insert(fields[name], value) end
  return {
    headers = function() return headers end,
    streamInfo = function() return { dynamicMetadata = function() return {
      set = function(_, space, key, value) metadata[space] = { [key] = value } end,
      get = function(_, space) return metadata[space] end,
    } end } end,
  }
end
local function expect(what, got, want)
  if got ~= want then error(what .. ": " .. tostring(got) .. ", not " .. tostring(want)) end
end
for sent, want in pairs({
  ["__Host-loginwall=x"] = false, ["a=1"] = "a=1", ["__Host-loginwall=x; a=1"] = "a=1", ["a=1; __Host-loginwall-a-1=y; b=2 "] = "a=1; b=2 ",
  ["LOGINWALL=1; loginwallet=2;loginwall-8080=3;a=loginwall=4; my-loginwall=5; __host-Loginwall =6"] = "loginwallet=2; a=loginwall=4; my-loginwall=5",
}) do
  local fields = { cookie = { sent } }
  envoy_on_request(handle(fields))
  expect(sent, fields.cookie and table.concat(fields.cookie, "|") or false, want)
end
local two = { cookie = { "a=1; loginwall=x", "loginwall=y; b=2" } }
envoy_on_request(handle(two))
expect("two fields", table.concat(two.cookie, "|"), "a=1; b=2")
local none = {}
envoy_on_request(handle(none))
expect("no field", none.cookie, nil)
for user, private in pairs({ ["alice@example.com"] = "public|private", [false] = "public" }) do
  local fields = { ["x-forwarded-user"] = user and { user } or nil, ["cache-control"] = { "public" }, ["cdn-cache-control"] = { "max-age=1" } }
  local h = handle(fields)
  envoy_on_request(h)
  envoy_on_response(h)
  expect("Cache-Control", table.concat(fields["cache-control"], "|"), private)
  expect("CDN-Cache-Control", fields["cdn-cache-control"] == nil, user ~= false)
end
print("all is as it should be")
`

// TestEnvoyConfig reads envoy.yaml by Envoy's own protocol buffers.
func TestEnvoyConfig(t *testing.T) {
	t.Parallel()
	tool := goPeer(t, "github.com/loginwall/loginwall/deploy/peers/envoyconfig")
	if out, err := exec.CommandContext(t.Context(), tool, filepath.Join(frontDir, "envoy.yaml")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// And it is able to refuse.
	text, err := os.ReadFile(filepath.Join(frontDir, "envoy.yaml"))
	check(t, err)
	for _, wrong := range [][2]string{{"path_prefix", "path_prefiks"}, {"code: ServiceUnavailable", "code: 200000"}, {"upgrade_type: websocket", "upgrade_type: 7"}} {
		file := filepath.Join(t.TempDir(), "envoy.yaml")
		check(t, os.WriteFile(file, bytes.Replace(text, []byte(wrong[0]), []byte(wrong[1]), 1), 0o600))
		if err := exec.CommandContext(t.Context(), tool, file).Run(); err == nil {
			t.Errorf("%s passes", wrong[1])
		}
	}
}
