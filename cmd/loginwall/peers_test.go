package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/internal/hygiene"
	"github.com/loginwall/loginwall/internal/locked"
)

// Peers are programs that nobody here wrote: providers, apps, clients. Each test
// against one is a Go test in a file peers_*_test.go. Where a peer is not installed
// the test skips and says what installs it; with CI=true it fails.

// A child is a process that a test started. It leads a process group, so that
// nothing which it started itself outlives the test.
type child struct {
	cmd   *exec.Cmd
	log   *locked.Buffer
	ended chan struct{}
	err   error // of Wait, once ended is closed
}

func startChild(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{cmd: cmd, log: &locked.Buffer{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = c.log, c.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = patience // a grandchild may hold the pipe
	check(t, cmd.Start())
	go func() {
		c.err = cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			const last = 8 << 10
			log := c.log.String()
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), log[max(0, len(log)-last):])
		}
	})
	return c
}

// kill ends the whole group, now, and waits for the child.
func (c *child) kill() {
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	<-c.ended
}

func (c *child) running() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// awaitURL waits until a child answers, whatever it answers.
func (c *child) awaitURL(t *testing.T, address string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for end := time.Now().Add(peerPatience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		response, err := client.Get(address)
		if err == nil {
			response.Body.Close()
			return
		}
		if !c.running() {
			break
		}
	}
	t.Fatalf("%s does not answer at %s", filepath.Base(c.cmd.Path), address)
}

// peerPatience is for programs that take their time to start.
const peerPatience = time.Minute

// peerProgram finds an installed program.
func peerProgram(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		hygiene.Missing(t, name, "apt-get install "+debian)
	}
	return path
}

const peersDir = "../../deploy/peers"

// goPeer returns the path of a program that deploy/peers/go.mod names as a tool. The
// go command builds it when it is not in its cache.
func goPeer(t *testing.T, tool string) string {
	t.Helper()
	goPeers.mu.Lock() // one build after the other: each takes all cores
	defer goPeers.mu.Unlock()
	if path := goPeers.built[tool]; path != "" {
		return path
	}
	cmd := exec.Command("go", "tool", "-n", tool)
	cmd.Dir = peersDir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	path := strings.TrimSpace(string(out))
	if err != nil || path == "" {
		hygiene.Missing(t, tool, "cd deploy/peers && go tool -n "+tool+"\n"+stderr.String())
	}
	goPeers.built[tool] = path
	return path
}

var goPeers = struct {
	mu    sync.Mutex
	built map[string]string
}{built: map[string]string{}}

// nodePeer returns the folder of an installed Node package.
func nodePeer(t *testing.T, name string) (node, dir string) {
	t.Helper()
	node = peerProgram(t, "node", "nodejs")
	dir, err := filepath.Abs(filepath.Join(peersDir, "node_modules", name))
	check(t, err)
	if _, err := os.Stat(dir); err != nil {
		hygiene.Missing(t, name, "deploy/components.sh")
	}
	return node, dir
}

// A standing wall is the real binary with any configuration, which can be killed
// and started again. Its public URL is where it listens.
type standing struct {
	t         *testing.T
	dir, file string
	address   string
	url       string
	*child
}

// newStanding chooses the address, which the provider may have to know first.
func newStanding(t *testing.T) *standing {
	t.Helper()
	address, err := freeAddress()
	check(t, err)
	s := &standing{t: t, dir: t.TempDir(), address: address, url: "http://" + address}
	s.file = filepath.Join(s.dir, "loginwall.yaml")
	return s
}

// configure writes the configuration: config, with an address to listen on.
func (s *standing) configure(config string) {
	s.t.Helper()
	text := carriedBy("public_url: " + s.url + "\nlisten: " + s.address + "\nops_listen: \"off\"\n" + config)
	check(s.t, os.WriteFile(s.file, []byte(text), 0o600))
}

// start returns when the wall serves.
func (s *standing) start() {
	s.t.Helper()
	s.child = startChild(s.t, exec.Command("loginwall", "serve", "--config", s.file))
	s.awaitURL(s.t, s.url+"/_auth/healthz")
}

// awaitProvider returns when logins can begin.
func (s *standing) awaitProvider() {
	s.t.Helper()
	v := newVisitor(s.t)
	poll(s.t, "the wall does not find its provider", func() bool { return v.get(s.url+"/_auth/login").StatusCode == http.StatusFound })
}

// stop asks the wall to end, as a service manager does, and wants it to end well.
func (s *standing) stop() {
	s.t.Helper()
	check(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	<-s.ended
	check(s.t, s.err)
}

// run runs another subcommand beside the wall and returns what it prints.
func (s *standing) run(args ...string) ([]byte, error) {
	cmd := exec.Command("loginwall", append(args, "--config", s.file)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, errors.New(err.Error() + ": " + stderr.String())
	}
	return out, nil
}

// google is a provider that behaves like Google, for a standing wall.
type google struct {
	*devidp.Provider
	issuer string
	config string // of the wall, as far as it is about this provider
}

func googleFor(t *testing.T, wall *standing) *google {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	g := &google{issuer: "http://" + server.Listener.Addr().String()}
	var err error
	g.Provider, err = devidp.New(devidp.Config{
		Issuer:  g.issuer,
		Clients: map[string]devidp.Client{testClient: {Secret: testSecret, RedirectURIs: []string{wall.url + "/_auth/callback"}}},
	})
	check(t, err)
	server.Config.Handler = g.Provider
	server.Start()
	t.Cleanup(server.Close)
	g.config = fmt.Sprintf("google: {client_id: %s, client_secret: %s, issuer: %s}\nallow: {domains: [example.com]}\n", testClient, testSecret, g.issuer)
	return g
}

// signIn goes the whole way; the answer is the callback's.
func (g *google) signIn(v *visitor, wall *standing, email string) (*answer, error) {
	a, err := v.try(wall.url+"/_auth/login", nil)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(a.next(), g.issuer) {
		return nil, fmt.Errorf("no login begins: %s", a.Status)
	}
	if a, err = v.try(a.next()+"&login_hint="+url.QueryEscape(email), nil); err != nil {
		return nil, err
	}
	return v.try(a.next(), nil)
}

// A visitor is somebody with a browser: cookies by host, and what browsers say
// about the navigations that they make.
type visitor struct {
	t      *testing.T
	client *http.Client
}

func newVisitor(t *testing.T) *visitor {
	t.Helper()
	cookies, err := cookiejar.New(nil)
	check(t, err)
	return &visitor{t, &http.Client{
		Timeout:       patience,
		Jar:           cookies,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	}}
}

// try sends a navigation; a form is posted.
func (v *visitor) try(address string, form url.Values) (*answer, error) {
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	request, err := http.NewRequestWithContext(context.Background(), method, address, body)
	if err != nil {
		return nil, err
	}
	request.Header = http.Header{"Accept": {"text/html,*/*;q=0.8"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Sec-Fetch-Site", "same-origin")
		request.Header.Set("Origin", request.URL.Scheme+"://"+request.URL.Host)
	}
	response, err := v.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return &answer{response, text}, err
}

func (v *visitor) get(address string) *answer {
	v.t.Helper()
	a, err := v.try(address, nil)
	check(v.t, err)
	return a
}

func (v *visitor) post(address string, form url.Values) *answer {
	v.t.Helper()
	a, err := v.try(address, form)
	check(v.t, err)
	return a
}

// next is where an answer leads, absolute; empty if it leads nowhere.
func (a *answer) next() string {
	u, err := a.Location()
	if err != nil {
		return ""
	}
	return u.String()
}

// follow goes where an answer leads, and on, until there is a page to read. A form
// that submits itself leads on, too.
func (v *visitor) follow(a *answer) *answer {
	v.t.Helper()
	for range 12 {
		next := a.next()
		switch {
		case next != "":
			a = v.get(next)
		case bytes.Contains(a.body, []byte("document.forms[0].submit()")):
			form := url.Values{}
			for _, field := range hiddenField.FindAllSubmatch(a.body, -1) {
				form.Set(string(field[1]), string(field[2]))
			}
			a = v.post(string(formAction.FindSubmatch(a.body)[1]), form)
		default:
			return a
		}
	}
	v.t.Fatalf("redirects without an end, now to %s", a.next())
	return nil
}

var (
	formAction  = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// session is the visitor's session cookie at the wall, as "name=value".
func (v *visitor) session(wall string) string {
	u, err := url.Parse(wall)
	check(v.t, err)
	for _, c := range v.client.Jar.Cookies(u) {
		if isSession(c.Name) {
			return c.String()
		}
	}
	return ""
}
