package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/internal/locked"
)

// A rig is what stands around the real binary in a script or in a Go test: a
// provider that behaves like Google, an upstream that keeps the bytes that it got,
// browsers, and an oracle that judges every answer.
type rig struct {
	publicURL string
	address   string // where the wall listens
	scheme    string // what it speaks there
	socket    string // where it listens instead; then address only stands for it
	ops       string
	issuer    string
	folder    string // of the configuration and the store, for Go tests
	idp       *devidp.Provider
	upstream  *recorder
	jars      map[string]jar
	jar       string
	last      *answer
	client    *http.Client
	oracle    oracle
}

// An answer is a response whose body has been read.
type answer struct {
	*http.Response
	body []byte
}

// A tester is a script or a Go test.
type tester interface {
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

func check(t tester, err error) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
}

const (
	testClient = "test.apps.googleusercontent.com"
	testSecret = "GOCSPX-canary-client-7d1f"
)

// patience is how long anything may take; nothing waits this long unless it fails.
// No test asks for more speed than that: it would fail on a machine that has other
// work. What is promised in seconds is measured by itself (make replicas, proxy/LIVE.md).
const patience = time.Minute

func makeRig() (_ *rig, stop func(), err error) {
	r := &rig{scheme: "http", jars: map[string]jar{}}
	r.client = &http.Client{
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true, DialContext: r.dialContext},
	}
	if r.address, err = freeAddress(); err != nil {
		return nil, nil, err
	}
	if r.ops, err = freeAddress(); err != nil {
		return nil, nil, err
	}
	r.publicURL = "http://" + r.address
	provider := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.idp.ServeHTTP(w, req) }))
	r.issuer = "http://" + provider.Listener.Addr().String()
	if r.idp, err = devidp.New(devidp.Config{
		Issuer: r.issuer,
		Clients: map[string]devidp.Client{testClient: {
			Secret:       testSecret,
			RedirectURIs: []string{r.publicURL + "/_auth/callback", "https://app.test/_auth/callback", "https://users.test/_auth/callback"},
		}},
		People: devidp.DefaultPeople(),
	}); err != nil {
		return nil, nil, err
	}
	if r.upstream, err = newRecorder(); err != nil {
		return nil, nil, err
	}
	r.oracle = newOracle()
	provider.Start()
	return r, func() {
		provider.Close()
		r.upstream.close()
	}, nil
}

// nextPort begins anywhere, so that two runs at once seldom meet.
var nextPort = func() *atomic.Uint32 {
	var n atomic.Uint32
	n.Store(rand.Uint32N(12_000))
	return &n
}()

// freeAddress returns an address on which a wall can listen in a moment. It lies
// outside the range from which connections take their own ports, so that none of
// them comes in between.
func freeAddress() (string, error) {
	for {
		// By chance alone two of one test would be the same now and then.
		address := fmt.Sprintf("127.0.0.1:%d", 20_000+nextPort.Add(1)%12_000)
		l, err := net.Listen("tcp", address)
		if err == nil {
			return address, l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return "", err
		}
	}
}

// vars are what $NAMES in a configuration stand for.
func (r *rig) vars() map[string]string {
	return map[string]string{
		"PUBLIC": r.publicURL, "LISTEN": r.address, "OPS": r.ops, "ISSUER": r.issuer,
		"UPSTREAM":  "http://" + r.upstream.listener.Addr().String(),
		"FOLDER":    r.folder,
		"CLIENT_ID": testClient, "CLIENT_SECRET": testSecret,
	}
}

// basics is the smallest useful configuration; tests append to it.
const basics = `
public_url: $PUBLIC
listen: $LISTEN
ops_listen: $OPS
upstream: $UPSTREAM
google:
  client_id: $CLIENT_ID
  client_secret: $CLIENT_SECRET
  issuer: $ISSUER
allow:
  domains: [example.com]
`

// carriedBy adds to a configuration the transport that LOGINWALL_TEST_TRANSPORT
// names, so that the whole suite can be run with each.
func carriedBy(config string) string {
	transport := os.Getenv("LOGINWALL_TEST_TRANSPORT")
	if transport == "" || strings.Contains(config, "upstream_transport:") {
		return config
	}
	return config + "\nupstream_transport: " + transport + "\n"
}

// startWall runs the real binary, with this configuration, for the time of a Go
// test. publicURL may be empty, for the address that the wall listens on. When the
// test is over the wall must end well, have kept nothing, and have said no secret.
func startWall(t *testing.T, publicURL, config string) *rig {
	t.Helper()
	return startWallWith(t, publicURL, config, func(*rig, *exec.Cmd) {})
}

// startWallWith lets prepare say what is different about the wall's surroundings,
// before the wall starts.
func startWallWith(t *testing.T, publicURL, config string, prepare func(r *rig, wall *exec.Cmd)) *rig {
	t.Helper()
	r, stop, err := makeRig()
	check(t, err)
	t.Cleanup(stop)
	if publicURL != "" {
		r.publicURL = publicURL
	}
	r.folder = t.TempDir()
	text := carriedBy(os.Expand(config, func(name string) string { return r.vars()[name] }))
	r.oracle.configured(t, text)
	file := filepath.Join(r.folder, "wall.yaml")
	check(t, os.WriteFile(file, []byte(text), 0o600))

	var log locked.Buffer
	wall := exec.CommandContext(context.WithoutCancel(t.Context()), "loginwall", "serve", "--config", file)
	wall.Stderr = &log
	prepare(r, wall)
	check(t, wall.Start())
	ended := make(chan error, 1)
	go func() { ended <- wall.Wait() }()
	serving := false
	t.Cleanup(func() {
		if serving {
			r.oracle.judgeMetrics(t, r)
		}
		_ = wall.Process.Signal(syscall.SIGTERM) // fails where it has ended on its own
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the wall: %v", err)
			}
		case <-time.After(patience + 10*time.Second): // timeouts.drain is 25 s
			_ = wall.Process.Kill()
			t.Errorf("the wall did not end")
		}
		r.oracle.judgeLog(t, log.String())
		if t.Failed() {
			t.Logf("the wall said:\n%s", regexp.MustCompile(`(?m)^.*"level":"INFO".*\n`).ReplaceAllString(log.String(), ""))
		}
	})
	r.awaitServing(t)
	r.awaitProvider(t)
	serving = true
	r.oracle.rest(t, r)
	return r
}

func (r *rig) awaitServing(t tester) {
	poll(t, "the wall does not serve", func() bool { return r.probe("/_auth/healthz") == http.StatusOK })
}

func (r *rig) awaitProvider(t tester) {
	poll(t, "the wall does not find its provider", func() bool { return r.probe("/_auth/login") == http.StatusFound })
}

// probe asks as nobody, and leaves no trace in the test.
func (r *rig) probe(path string) int {
	request, err := http.NewRequest(http.MethodGet, r.scheme+"://"+r.address+path, nil)
	if err != nil {
		return 0
	}
	request.Host = r.host()
	response, err := r.client.Do(request)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// host is what browsers send in Host.
func (r *rig) host() string {
	_, host, _ := strings.Cut(r.publicURL, "://")
	return host
}

func poll(t tester, failure string, done func() bool) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("%s within %v", failure, patience)
}

// as takes another browser, with cookies of its own.
func (r *rig) as(name string) *rig {
	r.jar = name
	return r
}

func (r *rig) cookies() jar {
	if r.jars[r.jar] == nil {
		r.jars[r.jar] = jar{}
	}
	return r.jars[r.jar]
}

// A jar keeps cookies by name, as a browser does for one host, and refuses what a
// browser would refuse of ours.
type jar map[string]string

func (j jar) String() string {
	var pairs []string
	for name, value := range j {
		pairs = append(pairs, name+"="+value)
	}
	return strings.Join(pairs, "; ")
}

// session returns the session's cookie, as "name=value", of what this jar holds.
func (j jar) session() string {
	for name, value := range j {
		if isSession(name) {
			return name + "=" + value
		}
	}
	return ""
}

// take stores what an answer sets, as a browser does.
func (j jar) take(response *http.Response) {
	for _, line := range response.Header["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			continue
		}
		if c.MaxAge < 0 {
			delete(j, c.Name)
		} else {
			j[c.Name] = c.Value
		}
	}
}

// do sends a request as the current browser and keeps the answer.
func (r *rig) do(t tester, request *http.Request) *answer {
	check(t, r.try(t, request))
	return r.last
}

// try is do for requests that may be cut, as a reload cuts those that it does not
// admit.
func (r *rig) try(t tester, request *http.Request) error {
	if request.Host == "" || request.Host == request.URL.Host {
		request.Host = r.host()
	}
	if c := r.cookies().String(); c != "" && request.Header["Cookie"] == nil {
		request.Header.Set("Cookie", c)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	r.last = &answer{response, body}
	r.cookies().take(response)
	t.Logf("%s %s: %s, X-Loginwall %q, Location %q", request.Method, request.URL, response.Status, response.Header.Get("X-Loginwall"), response.Header.Get("Location"))
	r.oracle.judge(t, r, strings.Join(request.Header["Cookie"], "\n"), r.last)
	return nil
}

// ask sends one request. args are [-nav|-frame|-xhr|-bare] PATH [Name:value]...
// [body], as in scripts.
func (r *rig) ask(t tester, method string, args ...string) *answer {
	return r.do(t, r.request(t, method, args))
}

// request builds one from "PATH [Name:value]..."; -nav, -frame, -xhr and -bare
// choose what a browser would say about itself.
func (r *rig) request(t tester, method string, args []string) *http.Request {
	kind := "-nav"
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		kind, args = args[0], args[1:]
	}
	if len(args) == 0 {
		t.Fatalf("no path")
	}
	target := args[0]
	body := ""
	h := http.Header{}
	switch kind {
	case "-nav":
		h.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
		h.Set("Sec-Fetch-Mode", "navigate")
		h.Set("Sec-Fetch-Dest", "document")
		h.Set("Sec-Fetch-Site", "none")
	case "-frame":
		h.Set("Accept", "text/html,*/*;q=0.8")
		h.Set("Sec-Fetch-Mode", "navigate")
		h.Set("Sec-Fetch-Dest", "iframe")
	case "-xhr":
		h.Set("Accept", "application/json")
		h.Set("Sec-Fetch-Mode", "cors")
		h.Set("Sec-Fetch-Dest", "empty")
		h.Set("Sec-Fetch-Site", "same-origin")
	case "-bare":
	default:
		t.Fatalf("unknown kind of request %s", kind)
	}
	host := ""
	for _, arg := range args[1:] {
		name, value, ok := strings.Cut(arg, ":")
		switch {
		case !ok, strings.HasPrefix(arg, "{"):
			body = arg
		case strings.EqualFold(name, "Host"):
			host = value
		default:
			h[name] = append(h[name], strings.TrimPrefix(value, " "))
		}
	}
	request, err := http.NewRequest(method, r.scheme+"://"+r.address, strings.NewReader(body))
	check(t, err)
	if body == "" {
		request.Body, request.ContentLength = nil, 0
	}
	path, query, hasQuery := strings.Cut(target, "?")
	request.URL.RawQuery, request.URL.ForceQuery = query, hasQuery && query == ""
	if request.URL.Opaque = path; strings.HasPrefix(path, "//") { // net/http would take the first part for a host
		request.URL.Opaque, request.URL.RawPath = "", path
		request.URL.Path, err = url.PathUnescape(path)
		check(t, err)
	}
	if request.URL.RequestURI() != target { // byte for byte, or not at all
		t.Fatalf("%q would be sent as %q: send it raw", target, request.URL.RequestURI())
	}
	request.Header, request.Host = h, host
	return request
}

// goOn goes where the last answer leads, to the provider too; there, email signs
// in, unless it is empty.
func (r *rig) goOn(t tester, email string) *answer {
	location := r.last.Header.Get("Location")
	if location == "" {
		t.Fatalf("the last answer (%s) leads nowhere", r.last.Status)
	}
	if rest, ok := strings.CutPrefix(location, r.publicURL); ok {
		return r.ask(t, http.MethodGet, "-nav", rest)
	}
	if email != "" {
		location += "&login_hint=" + url.QueryEscape(email)
		r.oracle.signingIn = email
	}
	response, err := r.client.Get(location)
	check(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(t, err)
	r.last = &answer{response, body}
	if back, err := url.Parse(response.Header.Get("Location")); err == nil && back.Query().Get("code") != "" {
		r.oracle.secrets = append(r.oracle.secrets, back.Query().Get("code"))
	}
	t.Logf("provider: %s, Location %q", response.Status, response.Header.Get("Location"))
	return r.last
}

// tryLogin goes the whole way through the provider; the answer is the callback's.
func (r *rig) tryLogin(t tester, email, target string) *answer {
	r.ask(t, http.MethodGet, "-nav", "/_auth/login?to="+url.QueryEscape(target))
	if r.last.StatusCode != http.StatusFound {
		t.Fatalf("no login began: %s\n%s", r.last.Status, r.last.body)
	}
	r.goOn(t, email)
	return r.goOn(t, "")
}

// signIn is tryLogin that must succeed.
func (r *rig) signIn(t tester, email, target string) *answer {
	if r.tryLogin(t, email, target).StatusCode != http.StatusSeeOther {
		t.Fatalf("login %s: %s\n%s", email, r.last.Status, r.last.body)
	}
	return r.last
}

// sendRaw sends bytes over one connection, {cookie} and {host} filled in, and
// returns the answers to them: until the wall closes, or says nothing for the time
// of quiet. Whoever wants to be sure that nothing else comes says "Connection:
// close" in the last request.
func (r *rig) sendRaw(t tester, text string, quiet time.Duration) []*answer {
	conn := r.dial(t)
	defer conn.Close()
	text = r.fill(text)
	check(t, conn.SetWriteDeadline(time.Now().Add(patience)))
	_, err := io.WriteString(conn, text)
	// The wall may have answered and closed before it has read all.
	if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		check(t, err)
	}
	in := bufio.NewReader(conn)
	var answers []*answer
	for {
		check(t, conn.SetReadDeadline(time.Now().Add(quiet)))
		a, err := readAnswer(in, text)
		if err != nil {
			break
		}
		if a.StatusCode < 200 && a.StatusCode != http.StatusSwitchingProtocols {
			continue // what only informs
		}
		answers = append(answers, a)
		r.last = a
		t.Logf("raw %.60q: %s, X-Loginwall %q", text, a.Status, a.Header.Get("X-Loginwall"))
	}
	for _, a := range answers {
		r.oracle.judge(t, r, text, a)
	}
	if answers == nil {
		r.oracle.judgeUpstream(t, r, text)
	}
	return answers
}

func (r *rig) dial(t tester) net.Conn {
	conn, err := r.dialContext(context.Background(), "tcp", r.address)
	check(t, err)
	return conn
}

func (r *rig) dialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if r.socket != "" && address == r.address {
		network, address = "unix", r.socket
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

func (r *rig) fill(text string) string {
	return strings.NewReplacer("{cookie}", r.cookies().String(), "{host}", r.host()).Replace(text)
}

// readAnswer reads one answer to what was sent; only the first request of it may
// be a HEAD.
func readAnswer(in *bufio.Reader, sent string) (*answer, error) {
	method, _, _ := strings.Cut(sent, " ")
	response, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) {
		return nil, err
	}
	return &answer{response, body}, nil
}
