package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/loginwall/loginwall/auth/devidp"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"loginwall": func() { os.Exit(realMain()) }})
}

// TestScripts runs the behaviour scripts, one topic a file, against the real
// binary, a real provider, and an upstream that records the bytes that it got.
// See testdata/README.md for the commands.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Setup:               func(env *testscript.Env) error { return newRig(env) },
		Cmds:                rigCommands(),
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

// A rig is what stands around the wall in one script.
type rig struct {
	publicURL string
	address   string // where the wall listens
	idp       *devidp.Provider
	upstream  *recorder
	jars      map[string]jar
	jar       string
	last      *answer
	client    *http.Client
}

// An answer is a response whose body has been read.
type answer struct {
	*http.Response
	body []byte
}

const rigKey = "rig"

const (
	testClient = "test.apps.googleusercontent.com"
	testSecret = "GOCSPX-canary-client-7d1f"
)

func newRig(env *testscript.Env) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	ops, err := freeAddress()
	if err != nil {
		return err
	}
	r := &rig{address: address, publicURL: "http://" + address, jars: map[string]jar{}, client: &http.Client{
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	}}
	provider := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.idp.ServeHTTP(w, req) }))
	issuer := "http://" + provider.Listener.Addr().String()
	if r.idp, err = devidp.New(devidp.Config{
		Issuer: issuer,
		Clients: map[string]devidp.Client{testClient: {
			Secret:       testSecret,
			RedirectURIs: []string{r.publicURL + "/_auth/callback", "https://app.test/_auth/callback"},
		}},
		People: devidp.DefaultPeople(),
	}); err != nil {
		return err
	}
	provider.Start()
	if r.upstream, err = newRecorder(); err != nil {
		return err
	}
	env.Defer(func() {
		provider.Close()
		r.upstream.close()
	})
	env.Values[rigKey] = r
	env.Setenv("PUBLIC", r.publicURL)
	env.Setenv("LISTEN", address)
	env.Setenv("OPS", ops)
	env.Setenv("ISSUER", issuer)
	env.Setenv("UPSTREAM", "http://"+r.upstream.listener.Addr().String())
	env.Setenv("CLIENT_ID", testClient)
	env.Setenv("CLIENT_SECRET", testSecret)
	return nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func rigCommands() map[string]func(*testscript.TestScript, bool, []string) {
	commands := map[string]func(*rig, *testscript.TestScript, bool, []string){
		"config": (*rig).config, "await": (*rig).await, "public": (*rig).public, "as": (*rig).as,
		"login": (*rig).login, "get": (*rig).get, "post": (*rig).post, "send": (*rig).send, "follow": (*rig).follow, "raw": (*rig).raw,
		"status": (*rig).status, "header": (*rig).header, "body": (*rig).checkBody, "cookie": (*rig).cookie,
		"saw": (*rig).saw, "upstream": (*rig).answerWith, "signal": (*rig).signal, "until": (*rig).until, "asked": (*rig).asked,
	}
	out := map[string]func(*testscript.TestScript, bool, []string){}
	for name, f := range commands {
		out[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			f(ts.Value(rigKey).(*rig), ts, neg, args)
		}
	}
	return out
}

// config FILE: replaces $NAMES in a file of the script.
func (r *rig) config(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), func(v string) string {
			if v == "$" {
				return "$"
			}
			return ts.Getenv(v)
		})
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// public URL: what people type; the wall itself still listens where it listened.
func (r *rig) public(ts *testscript.TestScript, _ bool, args []string) {
	r.publicURL = args[0]
	ts.Setenv("PUBLIC", args[0])
}

// await: until the wall serves and can begin logins; "await down" does not wait
// for its provider.
func (r *rig) await(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, "the wall does not serve", func() bool { return r.probe("/_auth/healthz") == http.StatusOK })
	if len(args) == 0 {
		poll(ts, "the wall does not find its provider", func() bool { return r.probe("/_auth/login") == http.StatusFound })
	}
}

// probe asks as nobody, and leaves no trace in the script.
func (r *rig) probe(path string) int {
	request, err := http.NewRequest(http.MethodGet, "http://"+r.address+path, nil)
	if err != nil {
		return 0
	}
	if u, err := url.Parse(r.publicURL); err == nil {
		request.Host = u.Host
	}
	response, err := r.client.Do(request)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

func poll(ts *testscript.TestScript, failure string, done func() bool) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if done() {
			return
		}
	}
	ts.Fatalf("%s within 20 s", failure)
}

// as NAME: another browser.
func (r *rig) as(_ *testscript.TestScript, _ bool, args []string) { r.jar = args[0] }

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

func (j jar) take(ts *testscript.TestScript, publicURL string, response *http.Response) {
	for _, line := range response.Header["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		ts.Check(err)
		if strings.Contains(c.Name, "loginwall") {
			checkOwnCookie(ts, publicURL, line, c)
		}
		if c.MaxAge < 0 {
			delete(j, c.Name)
		} else {
			j[c.Name] = c.Value
		}
	}
}

// checkOwnCookie is oracle O7: the full set of attributes, on deletions too.
func checkOwnCookie(ts *testscript.TestScript, publicURL, line string, c *http.Cookie) {
	https := strings.HasPrefix(publicURL, "https:")
	if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.Secure != https || strings.HasPrefix(c.Name, "__Host-") != https || len(line) > 4096 {
		ts.Fatalf("O7: the cookie lacks attributes: %s", line)
	}
}

// do sends a request as the current browser and keeps the answer.
func (r *rig) do(ts *testscript.TestScript, request *http.Request) {
	u, err := url.Parse(r.publicURL)
	ts.Check(err)
	if request.Host == "" || request.Host == request.URL.Host {
		request.Host = u.Host
	}
	if c := r.cookies().String(); c != "" && request.Header.Get("Cookie") == "" {
		request.Header.Set("Cookie", c)
	}
	response, err := r.client.Do(request)
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		ts.Check(err)
	}
	r.last = &answer{response, body}
	r.cookies().take(ts, r.publicURL, response)
	r.oracles(ts, request)
	ts.Logf("%s %s: %s, X-Loginwall %q, Location %q", request.Method, request.URL, response.Status, response.Header.Get("X-Loginwall"), response.Header.Get("Location"))
}

// oracles hold after every answer of the wall's own.
func (r *rig) oracles(ts *testscript.TestScript, request *http.Request) {
	h := r.last.Header
	own := h.Get("X-Loginwall") != ""
	cacheable := strings.HasPrefix(request.URL.Path, "/_auth/static/") || request.URL.Path == "/_auth/jwks.json"
	if own && !cacheable && h.Get("Cache-Control") != "no-store" {
		ts.Fatalf("O6: Cache-Control is %q", h.Get("Cache-Control"))
	}
	if own && h.Get("X-Request-Id") == "" {
		ts.Fatalf("no X-Request-Id")
	}
	if location := h.Get("Location"); own && location != "" &&
		!strings.HasPrefix(location, r.publicURL+"/") && !strings.HasPrefix(location, ts.Getenv("ISSUER")+"/authorize?") {
		ts.Fatalf("O3: Location %q leaves the origin", location)
	}
	if own && bytes.Contains(r.last.body, []byte(upstreamMark)) {
		ts.Fatalf("O2: an answer of the wall's own holds the upstream's bytes")
	}
	for _, secret := range []string{testSecret} {
		if bytes.Contains(r.last.body, []byte(secret)) {
			ts.Fatalf("O4: a page holds a secret")
		}
	}
}

// request builds one from "PATH [Name:value]..."; -nav, -frame, -xhr and -bare
// choose what a browser would say about itself.
func (r *rig) request(ts *testscript.TestScript, method string, args []string) *http.Request {
	kind := "-nav"
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		kind, args = args[0], args[1:]
	}
	if len(args) == 0 {
		ts.Fatalf("no path")
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
		ts.Fatalf("unknown kind of request %s", kind)
	}
	host := ""
	for _, arg := range args[1:] {
		name, value, ok := strings.Cut(arg, ":")
		switch {
		case !ok:
			body = arg
		case strings.EqualFold(name, "Host"):
			host = value
		default:
			h[name] = append(h[name], strings.TrimPrefix(value, " "))
		}
	}
	request, err := http.NewRequest(method, "http://"+r.address, strings.NewReader(body))
	ts.Check(err)
	if body == "" {
		request.Body, request.ContentLength = nil, 0
	}
	path, query, hasQuery := strings.Cut(target, "?")
	request.URL.Opaque = "//" + r.address + path // as it is written, byte for byte
	request.URL.RawQuery, request.URL.ForceQuery = query, hasQuery && query == ""
	request.URL.Path = path
	request.Header, request.Host = h, host
	return request
}

func (r *rig) get(ts *testscript.TestScript, _ bool, args []string) {
	r.do(ts, r.request(ts, http.MethodGet, args))
}

func (r *rig) post(ts *testscript.TestScript, _ bool, args []string) {
	r.do(ts, r.request(ts, http.MethodPost, args))
}

// send METHOD [-kind] PATH ...
func (r *rig) send(ts *testscript.TestScript, _ bool, args []string) {
	r.do(ts, r.request(ts, args[0], args[1:]))
}

// follow: goes where the last answer leads, to the provider too; "follow EMAIL"
// tells the provider who signs in.
func (r *rig) follow(ts *testscript.TestScript, _ bool, args []string) {
	location := r.last.Header.Get("Location")
	if location == "" {
		ts.Fatalf("the last answer (%s) leads nowhere", r.last.Status)
	}
	if rest, ok := strings.CutPrefix(location, r.publicURL); ok {
		r.do(ts, r.request(ts, http.MethodGet, []string{"-nav", rest}))
		return
	}
	if len(args) > 0 {
		location += "&login_hint=" + url.QueryEscape(args[0])
	}
	response, err := r.client.Get(location)
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	r.last = &answer{response, body}
	ts.Logf("provider: %s, Location %q", response.Status, response.Header.Get("Location"))
}

// login EMAIL [PATH]: the whole way from a protected path back to it; the last
// answer is the callback's.
func (r *rig) login(ts *testscript.TestScript, neg bool, args []string) {
	target := "/"
	if len(args) > 1 {
		target = args[1]
	}
	r.get(ts, false, []string{"-nav", "/_auth/login?to=" + url.QueryEscape(target)})
	if r.last.StatusCode != http.StatusFound {
		ts.Fatalf("no login began: %s\n%s", r.last.Status, r.last.body)
	}
	r.follow(ts, false, args[:1])
	r.follow(ts, false, nil)
	if ok := r.last.StatusCode == http.StatusSeeOther; ok == neg {
		ts.Fatalf("login %s: %s\n%s", args[0], r.last.Status, r.last.body)
	}
}

// raw FILE: sends the file's bytes, \r\n for each line's end, and keeps the answer.
func (r *rig) raw(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.ReplaceAll(ts.ReadFile(args[0]), "\n", "\r\n")
	text = strings.ReplaceAll(text, "{cookie}", r.cookies().String())
	u, err := url.Parse(r.publicURL)
	ts.Check(err)
	text = strings.ReplaceAll(text, "{host}", u.Host)
	conn, err := net.Dial("tcp", r.address)
	ts.Check(err)
	defer conn.Close()
	ts.Check(conn.SetDeadline(time.Now().Add(10 * time.Second)))
	_, err = io.WriteString(conn, text)
	ts.Check(err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	r.last = &answer{response, body}
	ts.Logf("raw %s: %s", args[0], response.Status)
}

// status N
func (r *rig) status(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if (r.last.StatusCode == want) == neg {
		ts.Fatalf("status %d\n%.600s", r.last.StatusCode, r.last.body)
	}
}

// header NAME [REGEXP]: each of the answer's values must match; "! header NAME"
// wants none.
func (r *rig) header(ts *testscript.TestScript, neg bool, args []string) {
	values := r.last.Header.Values(args[0])
	if len(args) == 1 {
		if (len(values) > 0) == neg {
			ts.Fatalf("%s: %q", args[0], values)
		}
		return
	}
	if ok := matchAny(ts, args[1], values); ok == neg {
		ts.Fatalf("%s: %q", args[0], values)
	}
}

func matchAny(ts *testscript.TestScript, pattern string, values []string) bool {
	re, err := regexp.Compile(pattern)
	ts.Check(err)
	for _, v := range values {
		if re.MatchString(v) {
			return true
		}
	}
	return false
}

// body REGEXP
func (r *rig) checkBody(ts *testscript.TestScript, neg bool, args []string) {
	if matchAny(ts, args[0], []string{string(r.last.body)}) == neg {
		ts.Fatalf("body:\n%s", r.last.body)
	}
}

// cookie NAME-REGEXP: whether the browser holds one; "cookie copy FROM TO" copies
// another browser's.
func (r *rig) cookie(ts *testscript.TestScript, neg bool, args []string) {
	if args[0] == "copy" {
		copied := jar{}
		for name, value := range r.jars[args[1]] {
			copied[name] = value
		}
		r.jars[args[2]] = copied
		return
	}
	var names []string
	for name := range r.cookies() {
		names = append(names, name)
	}
	if matchAny(ts, args[0], names) == neg {
		ts.Fatalf("cookies: %q", names)
	}
}

// saw REGEXP: in the last request that the upstream got, bytes as they came (with
// \n for \r\n); "saw none" and "saw N" count all there were.
func (r *rig) saw(ts *testscript.TestScript, neg bool, args []string) {
	requests := r.upstream.all()
	if args[0] == "none" {
		args[0] = "0"
	}
	if n, err := strconv.Atoi(args[0]); err == nil {
		if (len(requests) == n) == neg {
			ts.Fatalf("the upstream got %d requests, the last:\n%s", len(requests), lastOf(requests))
		}
		return
	}
	if matchAny(ts, "(?m)"+args[0], []string{lastOf(requests)}) == neg {
		ts.Fatalf("the upstream got %d requests, the last:\n%s", len(requests), lastOf(requests))
	}
}

func lastOf(requests []string) string {
	if len(requests) == 0 {
		return ""
	}
	return requests[len(requests)-1]
}

// upstream FILE: the bytes that the upstream answers with from now on; "upstream
// default" and "upstream reset" (closes at once).
func (r *rig) answerWith(ts *testscript.TestScript, _ bool, args []string) {
	switch args[0] {
	case "default":
		r.upstream.answer(defaultAnswer)
	case "reset":
		r.upstream.answer("")
	default:
		r.upstream.answer(strings.ReplaceAll(ts.ReadFile(args[0]), "\n", "\r\n"))
	}
}

// signal NAME: HUP or TERM for every process that runs in the background.
func (r *rig) signal(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(signals[args[0]]))
	}
}

// until STATUS [get's arguments]: repeats a request until it is answered so, for
// what has to become true within a second or so.
func (r *rig) until(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	poll(ts, "no "+args[0], func() bool {
		r.get(ts, false, args[1:])
		return r.last.StatusCode == want
	})
}

// asked ENDPOINT N: how often the provider was.
func (r *rig) asked(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	if n := r.idp.Requests(args[0]); (n == want) == neg {
		ts.Fatalf("the provider's %s was asked %d times", args[0], n)
	}
}
