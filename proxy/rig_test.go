package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/assertion"
	"github.com/loginwall/loginwall/auth/gate"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/auth/seal"
	"github.com/loginwall/loginwall/auth/session"
	"github.com/loginwall/loginwall/internal/locked"
	"github.com/loginwall/loginwall/proxy"
	"github.com/loginwall/loginwall/proxy/forwarded"
	"github.com/loginwall/loginwall/proxy/observe"
)

const (
	issuer    = "https://accounts.google.com"
	publicURL = "https://app.test"
)

// patience is how long a test waits for what must come; nothing waits this long
// unless it fails.
const patience = time.Minute

// setup is what a test wants to be different from the usual wall.
type setup struct {
	routes   []policy.Route
	profiles []string
	trusted  []netip.Prefix
	// upstream changes how the app is reached; routed are upstreams of routes.
	upstream func(*proxy.UpstreamConfig)
	none     bool
	routed   map[int]*url.URL
	stall    time.Duration
	// auth wraps the stand-in of auth/login.
	auth func(proxy.Auth) proxy.Auth
	// server changes the wall's server before it starts.
	server func(*httptest.Server)
	maxAge time.Duration
	now    func() time.Time
}

// A rig is a real wall between a real client and a real app; only auth/login is a
// stand-in that says what it was asked.
type rig struct {
	t       testing.TB
	server  *httptest.Server
	addr    string
	config  proxy.Config
	keeper  *session.Keeper
	revoked *session.Revocations
	live    *proxy.Live
	metrics *observe.Metrics
	log     *locked.Buffer
	access  *locked.Buffer
	client  *http.Client
	rules   policy.Rules

	mu      sync.Mutex
	handler http.Handler
}

func newRig(t testing.TB, app *url.URL, s setup) *rig {
	t.Helper()
	public, _ := url.Parse(publicURL)
	now := s.now
	if now == nil {
		now = time.Now
	}
	r := &rig{t: t, log: new(locked.Buffer), access: new(locked.Buffer)}
	r.revoked = session.NewRevocations(now)
	r.revoked.Apply(auth.Feed{})
	ring, err := seal.NewRing(mustKey(t))
	must(t, err)
	maxAge := s.maxAge
	if maxAge == 0 {
		maxAge = 24 * time.Hour
	}
	r.keeper, err = session.New(session.Config{
		PublicURL: public, Ring: ring, Issuer: issuer, MaxAge: maxAge, Idle: time.Hour,
		Store: memory{now}, Revoked: r.revoked, Now: now,
	})
	must(t, err)
	r.rules = policy.Rules{Google: true, Allow: policy.List{Domains: []policy.Domain{{Name: "example.com"}}}, Routes: s.routes}
	pages, err := page.New(page.Config{PublicURL: public})
	must(t, err)
	profiles := s.profiles
	if profiles == nil {
		profiles = []string{"forwarded"}
	}
	teller, err := assertion.New(assertion.Config{Profiles: profiles, PublicURL: publicURL, Keys: ring.Derive("assertion", assertion.KeySize), Now: now})
	must(t, err)
	resolver, err := forwarded.New(forwarded.Config{PublicURL: public, Trusted: s.trusted})
	must(t, err)
	r.metrics = observe.NewMetrics(observe.MetricsConfig{FeedAge: r.revoked.Age})
	r.live = proxy.NewLive(r.revoked, r.metrics, now)
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { r.live.Run(ctx); close(ran) }()
	t.Cleanup(func() { stop(); <-ran })

	upstream := func(u *url.URL) *proxy.Upstream {
		c := proxy.UpstreamConfig{
			URL: u, Direct: os.Getenv("LOGINWALL_TEST_TRANSPORT") == "direct",
			PassHost: true, ConnectTimeout: patience, Dialed: r.metrics.UpstreamDial, Now: now,
		}
		if s.upstream != nil {
			s.upstream(&c)
		}
		up, err := proxy.NewUpstream(c)
		must(t, err)
		t.Cleanup(up.Close)
		return up
	}
	upstreams := proxy.Upstreams{Routes: map[int]*proxy.Upstream{}}
	if !s.none {
		upstreams.Default = upstream(app)
	}
	for i, u := range s.routed {
		upstreams.Routes[i] = upstream(u)
	}
	var doors proxy.Auth = door{r.keeper, pages}
	if s.auth != nil {
		doors = s.auth(doors)
	}
	r.config = proxy.Config{
		Resolver: resolver, Auth: doors, Sessions: r.keeper, Pages: pages, Teller: teller,
		Upstreams: upstreams, Live: r.live, Metrics: r.metrics, AccessLog: observe.NewAccessLog(r.access, false),
		Log: slog.New(slog.NewJSONHandler(r.log, nil)), Stall: s.stall, Now: now,
	}
	r.reload(r.rules)

	r.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		h := r.handler
		r.mu.Unlock()
		h.ServeHTTP(w, req)
	}))
	r.server.Listener = proxy.GuardWrites(r.server.Listener, s.stall, time.Now)
	r.server.Config.ReadHeaderTimeout = patience
	r.server.Config.ConnContext = proxy.ConnContext
	r.server.Config.ErrorLog = slog.NewLogLogger(slog.NewJSONHandler(r.log, nil), slog.LevelInfo)
	if s.server != nil {
		s.server(r.server)
	}
	if r.server.TLS == nil {
		r.server.Start()
	}
	t.Cleanup(r.server.Close)
	r.addr = r.server.Listener.Addr().String()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, r.addr)
		},
		DisableCompression: true,
	}
	if r.server.TLS != nil {
		transport.TLSClientConfig = r.server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		transport.TLSClientConfig.ServerName = "example.com"
		transport.ForceAttemptHTTP2 = true
	}
	t.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return r
}

// reload puts other rules in force, as cmd does.
func (r *rig) reload(rules policy.Rules) {
	r.t.Helper()
	p, err := policy.Compile(rules)
	must(r.t, err)
	c := r.config
	c.Gate, err = gate.New(gate.Config{Policy: p, Sessions: r.keeper, Revoked: r.revoked, Issuer: issuer, MaxFeedAge: time.Hour})
	must(r.t, err)
	h, err := proxy.New(c)
	must(r.t, err)
	r.mu.Lock()
	r.handler = h
	r.mu.Unlock()
	r.live.Reload(c.Gate)
}

var alice = auth.Identity{
	Issuer: issuer, Subject: "1001", Email: "alice@example.com", EmailVerified: true, HostedDomain: "example.com", Name: "Alice A.",
}

// signIn returns a Cookie header's value.
func (r *rig) signIn(id auth.Identity) string {
	cookie, _ := r.start(id)
	return cookie
}

func (r *rig) start(id auth.Identity) (string, *auth.Session) {
	r.t.Helper()
	set, s, _, err := r.keeper.Start(context.Background(), id, auth.Client{Address: "192.0.2.1"})
	must(r.t, err)
	cookie, _, _ := strings.Cut(set, ";")
	return cookie, s
}

// get sends a request with a session's cookie, unless that is empty.
func (r *rig) get(cookie, target string, header ...string) (*http.Response, string) {
	r.t.Helper()
	return r.send(cookie, http.MethodGet, target, nil, header...)
}

func (r *rig) request(cookie, method, target string, body io.Reader, header ...string) *http.Request {
	r.t.Helper()
	scheme := "http"
	if r.server.TLS != nil {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(context.Background(), method, scheme+"://app.test"+target, body)
	must(r.t, err)
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	req.Header.Set("Accept", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return req
}

func (r *rig) send(cookie, method, target string, body io.Reader, header ...string) (*http.Response, string) {
	r.t.Helper()
	res, err := r.client.Do(r.request(cookie, method, target, body, header...))
	must(r.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(r.t, err)
	return res, string(text)
}

// raw sends bytes and returns all that comes back until the wall closes.
func (r *rig) raw(request string) string {
	r.t.Helper()
	conn := r.dial()
	defer conn.Close()
	_, err := io.WriteString(conn, request)
	must(r.t, err)
	// Whoever sends garbage may get a reset after the answer.
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", r.addr)
	must(r.t, err)
	must(r.t, conn.SetDeadline(time.Now().Add(patience)))
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// door stands in for auth/login.
type door struct {
	keeper *session.Keeper
	pages  *page.Pages
}

func (d door) Serve(w http.ResponseWriter, r *http.Request, path string, c auth.Client) bool {
	if path != "/_auth/login" && path != "/_auth/logout" {
		return false
	}
	if r.Method == http.MethodPost {
		_ = r.ParseForm()
	}
	d.pages.Plain(w, r, c.RequestID, http.StatusOK, page.LabelPage, "own "+path)
	return true
}

func (d door) Challenge(w http.ResponseWriter, r *http.Request, c auth.Client, g gate.Decision) {
	if g.ClearCookie() {
		w.Header().Add("Set-Cookie", d.keeper.ClearCookie())
	}
	d.pages.Render(w, r, c.RequestID, page.SignInRequired{})
}

func (d door) Deny(w http.ResponseWriter, r *http.Request, c auth.Client, g gate.Decision) {
	d.pages.Render(w, r, c.RequestID, page.Denied{Reason: string(g.Reason())})
}

// memory is a store that takes everything.
type memory struct{ now func() time.Time }

func (m memory) SignIn(_ context.Context, in auth.SignIn) (auth.SignedIn, error) {
	return auth.SignedIn{Created: m.now(), Expires: m.now().Add(in.MaxAge)}, nil
}
func (memory) EndSession(context.Context, auth.Ending) error { return nil }
func (memory) EndSessionsOf(context.Context, auth.UserID, string, auth.EndReason) (int, error) {
	return 0, nil
}
func (memory) Seen(context.Context, []auth.Seen) error { return nil }

// An app is an upstream of raw bytes: it keeps what it received, to the byte, and
// answers what it is told.
type rawApp struct {
	url    *url.URL
	mu     sync.Mutex
	seen   []string
	answer func(conn net.Conn, request string)
	// handle takes a whole connection instead, where it is set.
	handle func(net.Conn)
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\napp"

func newRawApp(t testing.TB, answer string) *rawApp {
	return newConnApp(t, func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, answer) })
}

func newConnApp(t testing.TB, answer func(conn net.Conn, request string)) *rawApp {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	must(t, err)
	a := &rawApp{url: &url.URL{Scheme: "http", Host: l.Addr().String()}, answer: answer}
	var serving sync.WaitGroup
	var open []net.Conn // guarded by a.mu
	t.Cleanup(func() {
		l.Close()
		a.mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		a.mu.Unlock()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			a.mu.Lock()
			open = append(open, conn)
			a.mu.Unlock()
			serving.Go(func() { a.serve(conn) })
		}
	})
	return a
}

func (a *rawApp) serve(conn net.Conn) {
	defer conn.Close()
	if a.handle != nil {
		a.handle(conn)
		return
	}
	var raw bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn, &raw))
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if req.Header.Get("Expect") == "" {
			_, _ = io.Copy(io.Discard, req.Body)
		}
		request := raw.String()
		raw.Reset()
		a.mu.Lock()
		a.seen = append(a.seen, request)
		a.mu.Unlock()
		a.answer(conn, request)
	}
}

// requests returns what came so far.
func (a *rawApp) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.seen...)
}

// last returns the last request, and fails if there is none.
func (a *rawApp) last(t testing.TB) string {
	t.Helper()
	seen := a.requests()
	if len(seen) == 0 {
		t.Fatal("the app got no request")
	}
	return seen[len(seen)-1]
}

// lines returns the header lines of a raw request that begin with name, in any
// case.
func lines(request, name string) []string {
	head, _, _ := strings.Cut(request, "\r\n\r\n")
	var found []string
	for _, line := range strings.Split(head, "\r\n")[1:] {
		if n, value, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
			found = append(found, strings.TrimPrefix(value, " "))
		}
	}
	return found
}

func newApp(t testing.TB, h http.HandlerFunc) *url.URL {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	must(t, err)
	return u
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok, or fails.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

func mustKey(t testing.TB) []byte {
	t.Helper()
	key, err := seal.ParseKey(seal.GenerateKey())
	must(t, err)
	return key
}

func (r *rig) metric(line string) bool {
	w := httptest.NewRecorder()
	observe.Ops(r.metrics, nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return strings.Contains(w.Body.String(), line+"\n")
}
