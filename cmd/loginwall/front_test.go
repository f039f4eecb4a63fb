package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A front door is a proxy in front of the wall, configured by a file of
// deploy/front: the file itself is what runs here, with other addresses in it.
// Traefik and Envoy are not to be had here; stand-ins read their files, and ask the
// wall what those would ask.
//
// What holds at which door is the table in deploy/front/README.md. It is compared
// with what happens; UPDATE_FRONT=1 writes it anew.

// A door is one way to put a proxy in front.
type door struct {
	name string
	// forward says that the proxy asks the wall and carries requests itself; else the
	// wall is a plain upstream behind it, and TLS ends in front.
	forward bool
	// version is what runs; it skips the test where nothing is installed.
	version func(t *testing.T) string
	// open starts the proxy.
	open func(t *testing.T, p place)
}

// A place is where a front door stands.
type place struct {
	https     string // where it listens for https
	http      string // and for http
	wall, app string
	cert, key string // files
	dir       string // of its own
}

const frontDir = "../../deploy/front"

// shipped reads a file of deploy/front and puts the addresses of p in. The pairs
// are more of what is replaced; each has to be there.
func (p *place) shipped(t *testing.T, name string, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(frontDir, name))
	check(t, err)
	s := string(text)
	pairs = append(pairs, "tool.example.com", "app.test", "127.0.0.1:8080", p.wall, "127.0.0.1:3000", p.app)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(s, pairs[i]) {
			t.Fatalf("%s has no %q any more", name, pairs[i])
		}
	}
	s = strings.NewReplacer(pairs...).Replace(s) // in one pass: no address is taken for another
	file := filepath.Join(p.dir, name)
	check(t, os.WriteFile(file, []byte(s), 0o600))
	return file
}

func doors() []door {
	return []door{
		{"nginx, auth_request", true, nginxVersion, func(t *testing.T, p place) { startNginx(t, p, "nginx.conf") }},
		{"nginx, TLS", false, nginxVersion, func(t *testing.T, p place) { startNginx(t, p, "nginx-tls.conf") }},
		{"HAProxy, Lua", true, haproxyVersion, func(t *testing.T, p place) { startHAProxy(t, p, "haproxy.cfg") }},
		{"HAProxy, TLS", false, haproxyVersion, func(t *testing.T, p place) { startHAProxy(t, p, "haproxy-tls.cfg") }},
		{"Caddy, forward_auth", true, caddyVersion, func(t *testing.T, p place) { startCaddy(t, p, "Caddyfile") }},
		{"Caddy, TLS", false, caddyVersion, func(t *testing.T, p place) { startCaddy(t, p, "Caddyfile-tls") }},
		{"Traefik (stand-in)", true, func(*testing.T) string { return "after 3.7" }, startTraefik},
		{"Envoy (stand-in)", true, func(*testing.T) string { return "after 1.36" }, startEnvoy},
	}
}

// TestFrontDoors goes through every door with every case.
func TestFrontDoors(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	found := map[string]map[string]string{} // by case and door: what became of it, "" when it held
	versions := map[string]string{}
	t.Run("doors", func(t *testing.T) {
		for _, d := range doors() {
			t.Run(d.name, func(t *testing.T) {
				t.Parallel()
				version := d.version(t)
				f := openFront(t, d)
				for _, c := range frontCases() {
					failure := attempt(t, func(t tester) { c.run(t, f) })
					mu.Lock()
					if found[c.name] == nil {
						found[c.name] = map[string]string{}
					}
					found[c.name][d.name] = failure
					if failure != "" {
						t.Logf("%s: no: %s", c.name, failure)
					}
					mu.Unlock()
				}
				mu.Lock()
				versions[d.name] = version
				mu.Unlock()
			})
		}
	})
	if !t.Failed() {
		compareFronts(t, found, versions)
	}
}

// attempt runs f, and returns what made it fail.
func attempt(t *testing.T, f func(tester)) (failure string) {
	done := make(chan string)
	go func() {
		a := &trial{T: t}
		defer func() { done <- a.failure }()
		f(a)
	}()
	return <-done
}

// A trial is a test whose failure is a result.
type trial struct {
	*testing.T
	failure string
}

func (a *trial) Fatalf(format string, args ...any) {
	a.failure = fmt.Sprintf(format, args...)
	if a.failure == "" {
		a.failure = "failed"
	}
	runtime.Goexit()
}

// A front is a wall, an app and a provider, with a door before them.
type front struct {
	*rig
	t    *testing.T
	door door
	place
	app   *frontApp
	roots *x509.CertPool
}

const frontURL = "https://app.test"

// frontConfig is the wall's configuration at a door.
func frontConfig(d door, app string) string {
	upstream := "http://" + app
	if d.forward {
		upstream = "none"
	}
	return strings.Replace(basics, "$UPSTREAM", upstream, 1) + `
admins: [alice@example.com]
session: {idle_timeout: 30s}
routes:
  - {path: /public/, access: public}
  - {path: /admin/, access: admins}
`
}

func openFront(t *testing.T, d door) *front {
	t.Helper()
	app := newFrontApp(t)
	f := &front{t: t, door: d, app: app}
	f.rig = startWall(t, frontURL, frontConfig(d, app.address)+"trusted_proxies: [127.0.0.1]\n")
	f.roots, f.cert, f.key = certificate(t)
	f.place = f.open(f.address, app.address)
	return f
}

// open opens another door of the same kind to a wall.
func (f *front) open(wall, app string) place {
	f.t.Helper()
	p := place{wall: wall, app: app, cert: f.cert, key: f.key, dir: f.t.TempDir()}
	var err error
	p.https, err = freeAddress()
	check(f.t, err)
	p.http, err = freeAddress()
	check(f.t, err)
	f.door.open(f.t, p)
	return p
}

// certificate makes one for app.test, in a PEM file with its key and in two.
func certificate(t *testing.T) (roots *x509.CertPool, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "app.test"}, DNSNames: []string{"app.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	check(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	check(t, err)
	certText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyText := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "tool.pem"), filepath.Join(dir, "tool.key")
	check(t, os.WriteFile(cert, append(certText, keyText...), 0o600)) // HAProxy wants both in one
	check(t, os.WriteFile(key, keyText, 0o600))
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certText)
	return roots, cert, key
}

// awaitDoor waits until a proxy ends TLS.
func awaitDoor(t *testing.T, c *child, address string) {
	t.Helper()
	poll(t, "the front door does not open", func() bool {
		if !c.running() {
			t.Fatalf("%s has ended", filepath.Base(c.cmd.Path))
		}
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, &tls.Config{InsecureSkipVerify: true, ServerName: "app.test"})
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

func programVersion(t *testing.T, pattern, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	check(t, err)
	m := regexp.MustCompile(pattern).FindSubmatch(out)
	if m == nil {
		t.Fatalf("%s says no version: %s", program, out)
	}
	return string(m[1])
}

func nginxVersion(t *testing.T) string {
	t.Helper()
	return programVersion(t, `nginx/(\S+)`, peerProgram(t, "nginx", "nginx-light"), "-v")
}

func startNginx(t *testing.T, p place, file string) {
	t.Helper()
	conf := p.shipped(t, file, "listen 443", "listen "+p.https, "listen 80", "listen "+p.http,
		"/etc/ssl/tool.example.com.pem", p.cert, "/etc/ssl/tool.example.com.key", p.key)
	main := filepath.Join(p.dir, "main.conf")
	// What a distribution's own nginx.conf has around conf.d.
	check(t, os.WriteFile(main, fmt.Appendf(nil, `
daemon off; error_log stderr warn; pid %[1]s/pid; worker_processes 1;
events { worker_connections 512; }
http {
    client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
    scgi_temp_path %[1]s/scgi; uwsgi_temp_path %[1]s/uwsgi; access_log off;
    include %[2]s;
}
`, p.dir, conf), 0o600))
	c := startChild(t, exec.Command(peerProgram(t, "nginx", "nginx-light"), "-c", main, "-p", p.dir, "-e", "stderr"))
	awaitDoor(t, c, p.https)
}

func haproxyVersion(t *testing.T) string {
	t.Helper()
	return programVersion(t, `version (\d+\.\d+\.\d+)`, peerProgram(t, "haproxy", "haproxy"), "-v")
}

func startHAProxy(t *testing.T, p place, file string, more ...string) {
	t.Helper()
	pairs := append(more, "bind :443", "bind "+p.https, "bind :80", "bind "+p.http, "/etc/haproxy/tool.example.com.pem", p.cert)
	if file == "haproxy.cfg" {
		lua, err := filepath.Abs(filepath.Join(frontDir, "loginwall.lua"))
		check(t, err)
		pairs = append(pairs, "/etc/haproxy/loginwall.lua", lua)
	}
	c := startChild(t, exec.Command(peerProgram(t, "haproxy", "haproxy"), "-db", "-f", p.shipped(t, file, pairs...)))
	awaitDoor(t, c, p.https)
}

func caddyVersion(t *testing.T) string {
	t.Helper()
	out, err := os.ReadFile(filepath.Join(peersDir, "go.mod"))
	check(t, err)
	m := regexp.MustCompile(`github.com/caddyserver/caddy/v2 v(\S+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("deploy/peers/go.mod names no Caddy")
	}
	goPeer(t, caddyTool)
	return string(m[1])
}

const caddyTool = "github.com/caddyserver/caddy/v2/cmd/caddy"

func startCaddy(t *testing.T, p place, file string) {
	t.Helper()
	_, port, err := net.SplitHostPort(p.https)
	check(t, err)
	_, plain, err := net.SplitHostPort(p.http)
	check(t, err)
	conf := p.shipped(t, file, "\ntool.example.com {\n", fmt.Sprintf(
		"\n{\n\tadmin off\n\tpersist_config off\n\thttps_port %s\n\thttp_port %s\n\tdefault_bind 127.0.0.1\n}\napp.test {\n\ttls %s %s\n", port, plain, p.cert, p.key))
	cmd := exec.Command(goPeer(t, caddyTool), "run", "--adapter", "caddyfile", "--config", conf)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+p.dir, "XDG_CONFIG_HOME="+p.dir, "HOME="+p.dir)
	awaitDoor(t, startChild(t, cmd), p.https)
}

// A frontApp is an app that tells what it got.
type frontApp struct {
	address string
	mu      sync.Mutex
	got     []*http.Request
	bodies  [][]byte
}

func newFrontApp(t *testing.T) *frontApp {
	t.Helper()
	a := &frontApp{}
	server := httptest.NewServer(a)
	t.Cleanup(server.CloseClientConnections)
	a.address = server.Listener.Addr().String()
	t.Cleanup(server.Close)
	return a
}

func (a *frontApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.got, a.bodies = append(a.got, r.Clone(context.Background())), append(a.bodies, body)
	a.mu.Unlock()
	switch r.URL.Path {
	case "/ws":
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			kind, text, err := conn.Read(context.Background())
			if err != nil || conn.Write(context.Background(), kind, text) != nil {
				return
			}
		}
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: one\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case "/cached", "/public/cached":
		w.Header().Set("Cache-Control", "public, max-age=60, s-maxage=600")
		w.Header().Set("CDN-Cache-Control", "max-age=600")
	case "/evil":
		w.Header().Add("Set-Cookie", "__Host-loginwall=evil; Path=/; Secure")
		w.Header().Add("Set-Cookie", "app=1")
	}
	fmt.Fprintln(w, upstreamMark)
}

func (a *frontApp) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.got)
}

// last returns the latest request.
func (a *frontApp) last(t tester) (*http.Request, []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.got) == 0 {
		t.Fatalf("the app got nothing")
	}
	return a.got[len(a.got)-1], a.bodies[len(a.bodies)-1]
}

// A guest is somebody before a front door, with a browser.
type guest struct {
	f       *front
	t       tester
	door    string // the address that app.test leads to
	cookies jar
	client  *http.Client
}

func (f *front) guest(t tester) *guest { return f.guestAt(t, f.https) }

func (f *front) guestAt(t tester, door string) *guest {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: f.roots}, DisableCompression: true, TLSHandshakeTimeout: patience,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == "app.test:443" {
				// The client is another address than the front door, so that they can be told apart.
				return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext(ctx, network, door)
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	f.t.Cleanup(transport.CloseIdleConnections)
	return &guest{f: f, t: t, door: door, cookies: jar{}, client: &http.Client{
		Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func navigation() http.Header {
	return http.Header{"Accept": {"text/html,*/*;q=0.8"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"none"}}
}

func fetch() http.Header {
	return http.Header{"Accept": {"application/json"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}, "Sec-Fetch-Site": {"same-origin"}}
}

// send sends a request to the front door, target and all as it is given.
func (g *guest) send(method, target string, body io.Reader, header http.Header) *answer {
	request, err := http.NewRequestWithContext(g.f.t.Context(), method, frontURL+"/", body)
	check(g.t, err)
	request.URL.Opaque, request.URL.RawQuery, _ = strings.Cut(target, "?")
	if strings.HasPrefix(target, "//") { // which net/http would take for a host
		request.URL.Opaque, request.URL.Path = "", target
	}
	request.Header = header.Clone()
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
		request.Header.Del("Host")
	}
	if request.Header["Cookie"] == nil && len(g.cookies) > 0 {
		request.Header.Set("Cookie", g.cookies.String())
	}
	response, err := g.client.Do(request)
	check(g.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check(g.t, err)
	a := &answer{response, text}
	g.t.Logf("%s %s: %s, X-Loginwall %q, Location %.120q", method, target, a.Status, a.Header.Get("X-Loginwall"), a.Header.Get("Location"))
	for _, line := range response.Header["Set-Cookie"] {
		g.f.oracle.judgeCookie(g.t, g.f.rig, line)
	}
	if response.Header.Get("X-Loginwall") != "" {
		g.f.oracle.judgeHeader(g.t, a)
		g.f.oracle.judgeLocation(g.t, g.f.rig, a)
		if bytes.Contains(text, []byte(upstreamMark)) {
			g.t.Fatalf("an answer of the wall's own holds the app's bytes")
		}
	}
	g.cookies.take(response)
	return a
}

func (g *guest) navigate(target string) *answer {
	return g.send(http.MethodGet, target, nil, navigation())
}

func (g *guest) fetch(target string) *answer { return g.send(http.MethodGet, target, nil, fetch()) }

// signIn opens a target and signs in on the way; the answer is the callback's.
func (g *guest) signIn(email, target string) *answer {
	a := g.navigate(target)
	if a.StatusCode != http.StatusFound {
		g.t.Fatalf("%s leads to no login: %s", target, a.Status)
	}
	response, err := g.f.client.Get(a.Header.Get("Location") + "&login_hint=" + url.QueryEscape(email))
	check(g.t, err)
	response.Body.Close()
	back, err := response.Location()
	check(g.t, err)
	return g.navigate(back.RequestURI())
}

// enter is signIn that must succeed, and goes where it leads.
func (g *guest) enter(email, target string) *answer {
	a := g.signIn(email, target)
	to, ok := strings.CutPrefix(a.Header.Get("Location"), frontURL)
	if a.StatusCode != http.StatusSeeOther || !ok {
		g.t.Fatalf("no sign-in: %s, Location %q\n%s", a.Status, a.Header.Get("Location"), a.body)
	}
	return g.navigate(to)
}

// wants fails unless an answer has this status, and is the app's or the wall's.
func (g *guest) wants(a *answer, status int, label string) {
	app := bytes.Contains(a.body, []byte(upstreamMark))
	if a.StatusCode != status || a.Header.Get("X-Loginwall") != label || app != (label == "") {
		g.t.Fatalf("%s, X-Loginwall %q, want %d and %q\n%.300s", a.Status, a.Header.Get("X-Loginwall"), status, label, a.body)
	}
}

// untouched fails if f makes something reach the app.
func (g *guest) untouched(f func()) {
	before := g.f.app.count()
	f()
	if n := g.f.app.count() - before; n > 0 {
		g.t.Fatalf("%d requests reached the app", n)
	}
}

// webSocket opens one, or returns the status of the answer.
func (g *guest) webSocket(origin string) (*websocket.Conn, int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	header := http.Header{"Cookie": {g.cookies.String()}, "Origin": {origin}, "Sec-Fetch-Mode": {"websocket"}}
	conn, response, err := websocket.Dial(ctx, "wss://app.test/ws", &websocket.DialOptions{HTTPClient: &http.Client{Transport: g.client.Transport}, HTTPHeader: header})
	if err != nil {
		if response == nil {
			g.t.Fatalf("%v", err)
		}
		return nil, response.StatusCode
	}
	g.f.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn, http.StatusSwitchingProtocols
}

func echoes(conn *websocket.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := conn.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		return err
	}
	_, text, err := conn.Read(ctx)
	if err == nil && string(text) != "hello" {
		err = errors.New("another echo")
	}
	return err
}

// identities returns the fields of a request that tell apps of a person, by name.
func identities(r *http.Request) map[string]string {
	found := map[string]string{}
	for name, values := range r.Header {
		switch name {
		case "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "X-Forwarded-Port", "X-Forwarded-Server", "X-Loginwall-Hop":
			continue
		}
		if identityName.MatchString(dashed(name)) {
			found[name] = strings.Join(values, ", ")
		}
	}
	return found
}

// compareFronts holds the table in README.md against what was found.
func compareFronts(t *testing.T, found map[string]map[string]string, versions map[string]string) {
	t.Helper()
	const begin, end = "<!-- table -->\n", "<!-- /table -->\n"
	file := filepath.Join(frontDir, "README.md")
	text, err := os.ReadFile(file)
	check(t, err)
	head, rest, ok := strings.Cut(string(text), begin)
	table, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", file)
	}
	if os.Getenv("UPDATE_FRONT") != "" && len(versions) == len(doors()) {
		check(t, os.WriteFile(file, []byte(head+begin+frontTable(found, versions)+end+tail), 0o644))
		return
	}
	says := map[string]map[string]string{}
	var columns []string
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if columns == nil {
			columns = cells
		}
		says[cells[0]] = map[string]string{}
		for i, cell := range cells[1:] {
			says[cells[0]][columns[i+1]] = cell
		}
	}
	for _, c := range frontCases() {
		for door, failure := range found[c.name] {
			if said := says[c.name][door]; said != cell(failure) {
				t.Errorf("%s: %s: the table says %q, and what came is %q", door, c.name, said, failure)
			}
		}
	}
}

func cell(failure string) string {
	if failure == "" {
		return "yes"
	}
	return "no"
}

func frontTable(found map[string]map[string]string, versions map[string]string) string {
	var b strings.Builder
	var rule, version string
	b.WriteString("| what holds")
	for _, d := range doors() {
		b.WriteString(" | " + d.name)
		rule += "|---"
		version += " | " + versions[d.name]
	}
	b.WriteString(" |\n|---" + rule + "|\n| version" + version + " |\n")
	for _, c := range frontCases() {
		b.WriteString("| " + c.name)
		for _, d := range doors() {
			b.WriteString(" | " + cell(found[c.name][d.name]))
		}
		b.WriteString(" |\n")
	}
	return b.String()
}
