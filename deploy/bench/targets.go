package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth/devidp"
)

// A target stands between the load and the upstream.
type target struct {
	address string
	// cookie is that of somebody who is signed in; the bare proxy passes it on.
	cookie string
	// processes are those whose processor time counts.
	processes []*process
}

func (t *target) stop() {
	for _, p := range t.processes {
		p.stop()
	}
}

func (t *target) cpu() (sum time.Duration, err error) {
	for _, p := range t.processes {
		one, err := p.cpu()
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// settled is the memory of all processes, as of process.memory, a moment after it last
// changed.
func (t *target) settled() (all, anonymous float64, err error) {
	time.Sleep(500 * time.Millisecond)
	for _, p := range t.processes {
		one, own, err := p.memory()
		if err != nil {
			return 0, 0, err
		}
		all, anonymous = all+one, anonymous+own
	}
	return all, anonymous, nil
}

// A kind is a way to start a target, and a column of the table.
type kind struct {
	name  string
	start func(context.Context) (*target, error)
}

const (
	bareProxy   = "bare proxy"
	standard    = "standard"
	standardLog = "standard, log"
	direct      = "direct"
	directLog   = "direct, log"
	nginxPlain  = "nginx, no auth"
	nginxAuth   = "nginx, auth_request"
)

// kinds are all that this build and this machine have.
func (b *bench) kinds(ctx context.Context) []kind {
	wall := func(more string) func(context.Context) (*target, error) {
		return func(ctx context.Context) (*target, error) { return b.startWall(ctx, "", more) }
	}
	all := []kind{
		{bareProxy, b.startBare},
		{standard, wall("log: {access: false}")},
		{standardLog, wall("log: {access: true, format: json}")},
	}
	if t, err := wall("upstream_transport: direct")(ctx); err == nil {
		t.stop()
		all = append(all,
			kind{direct, wall("upstream_transport: direct\nlog: {access: false}")},
			kind{directLog, wall("upstream_transport: direct\nlog: {access: true, format: json}")})
	}
	if _, err := exec.LookPath("nginx"); err == nil {
		all = append(all, kind{nginxPlain, b.startNginx}, kind{nginxAuth, b.startNginxAuth})
	}
	return all
}

func (b *bench) startBare(ctx context.Context) (*target, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := b.start(filepath.Join(b.bin, "bare"), address, "http://"+b.upstream)
	if err != nil {
		return nil, err
	}
	// As long as a real one.
	t := &target{address: address, cookie: "session=" + strings.Repeat("x", 400), processes: []*process{p}}
	return t, p.awaitOpen(ctx, address)
}

const clientID, clientSecret = "bench.apps.googleusercontent.com", "GOCSPX-bench" //nolint:gosec // opens nothing

// startWall starts a wall with a provider of its own, and signs somebody in. It is
// to be reached at public, or where it listens if that is empty.
func (b *bench) startWall(ctx context.Context, public, more string) (_ *target, err error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if public == "" {
		public = address
	}
	issuer, err := startProvider("http://" + public + "/_auth/callback")
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(b.folder, "wall-")
	if err != nil {
		return nil, fmt.Errorf("start a wall: %w", err)
	}
	if !strings.Contains(more, "upstream: ") {
		more += "\nupstream: http://" + b.upstream
	}
	config := filepath.Join(folder, "loginwall.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
public_url: http://%s
listen: %s
ops_listen: 127.0.0.1:0
google: {client_id: %s, client_secret: %s, issuer: %s}
allow: {domains: [example.com]}
%s
`, public, address, clientID, clientSecret, issuer, more), 0o600); err != nil {
		return nil, fmt.Errorf("start a wall: %w", err)
	}
	p, err := b.start(filepath.Join(b.bin, "loginwall"), "serve", "--config", config)
	if err != nil {
		return nil, err
	}
	t := &target{address: address, processes: []*process{p}}
	return t, p.awaitOpen(ctx, address)
}

// startProvider starts what stands for Google.
func startProvider(redirect string) (issuer string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends with the process
	if err != nil {
		return "", fmt.Errorf("start a provider: %w", err)
	}
	issuer = "http://" + l.Addr().String()
	provider, err := devidp.New(devidp.Config{
		Issuer:  issuer,
		Clients: map[string]devidp.Client{clientID: {Secret: clientSecret, RedirectURIs: []string{redirect}}},
	})
	if err != nil {
		return "", fmt.Errorf("start a provider: %w", err)
	}
	go func() { _ = http.Serve(l, provider) }() //nolint:gosec // nobody but the bench reaches it
	return issuer, nil
}

// startNginx proxies to the upstream and asks nobody.
func (b *bench) startNginx(ctx context.Context) (*target, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	t := &target{address: address, cookie: "session=" + strings.Repeat("x", 400)}
	return t, b.runNginx(ctx, t, fmt.Sprintf(`
upstream app { server %s; keepalive 128; }
server {
    listen %s;
    location / {
        proxy_pass http://app;
        proxy_http_version 1.1;
        proxy_request_buffering off;
        proxy_max_temp_file_size 0;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr;
    }
}`, b.upstream, address))
}

// startNginxAuth runs the file that we ship, with a wall behind it, but for TLS, and
// with connections to the app that stay open: the other targets keep them too.
func (b *bench) startNginxAuth(ctx context.Context) (*target, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	t, err := b.startWall(ctx, address, "upstream: none\ntrusted_proxies: [127.0.0.1]\nlog: {access: false}")
	if err != nil {
		return nil, err
	}
	shipped, err := os.ReadFile("deploy/front/nginx.conf")
	if err != nil {
		return nil, fmt.Errorf("start nginx: %w", err)
	}
	_, redirect, err := net.SplitHostPort(t.address)
	if err != nil {
		return nil, err
	}
	conf := strings.NewReplacer(
		"listen 443 ssl http2", "listen "+address, "listen 80", "listen 127.0.0.1:1"+redirect[1:],
		"    ssl_certificate ", "    # ", "    ssl_certificate_key ", "    # ",
		"server 127.0.0.1:8080;", "server "+t.address+";", "server 127.0.0.1:3000;", "server "+b.upstream+"; keepalive 128;",
		"server_name tool.example.com;", "", "keepalive 16;", "keepalive 128;",
	).Replace(string(shipped))
	t.address = address
	return t, b.runNginx(ctx, t, conf)
}

func (b *bench) runNginx(ctx context.Context, t *target, conf string) error {
	folder, err := os.MkdirTemp(b.folder, "nginx-")
	if err != nil {
		return fmt.Errorf("start nginx: %w", err)
	}
	file := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 20000; error_log stderr warn; pid %[1]s/pid;
events { worker_connections 16000; }
http {
    client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
    scgi_temp_path %[1]s/scgi; uwsgi_temp_path %[1]s/uwsgi; access_log off; keepalive_requests 1000000000;
    client_max_body_size 0;
    %[2]s
}`, folder, conf), 0o600); err != nil {
		return fmt.Errorf("start nginx: %w", err)
	}
	p, err := b.start("nginx", "-c", file, "-p", folder, "-e", "stderr")
	if err != nil {
		return err
	}
	t.processes = append(t.processes, p)
	return p.awaitOpen(ctx, t.address)
}

// freeAddress returns an address at which something can listen in a moment. Its
// port is below those from which connections take their own.
func freeAddress() (string, error) {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 20_000+time.Now().UnixNano()/100%12_000)
		if l, err := net.Listen("tcp", address); err == nil { //nolint:noctx // closed at once
			return address, l.Close()
		}
	}
	return "", errors.New("no free port between 20000 and 32000")
}

// A login is a sign-in under way: everything that a browser keeps between its steps.
type login struct {
	client   *http.Client
	address  string
	attempt  string // the cookies
	callback string // the target of the way back
}

// browser does not follow redirects, and keeps many connections.
func browser() *http.Client {
	return &http.Client{
		Timeout:       60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{MaxIdleConnsPerHost: 1024},
	}
}

// begin asks the wall for a login, and the provider for the way back.
func begin(ctx context.Context, client *http.Client, address, email string) (*login, error) {
	l := &login{client: client, address: address}
	provider, cookies, err := l.follow(ctx, "http://"+address+"/_auth/login")
	if err != nil {
		return nil, err
	}
	l.attempt = strings.Join(cookies, "; ")
	way, _, err := l.follow(ctx, provider+"&login_hint="+url.QueryEscape(email))
	if err != nil {
		return nil, err
	}
	back, err := url.Parse(way)
	if err != nil {
		return nil, fmt.Errorf("sign in: %w", err)
	}
	l.callback = back.RequestURI()
	return l, nil
}

// finish comes back to the wall and returns the session's cookie.
func (l *login) finish(ctx context.Context) (cookie string, err error) {
	_, cookies, err := l.follow(ctx, "http://"+l.address+l.callback)
	if err != nil {
		return "", err
	}
	session := regexp.MustCompile(`^loginwall-\d+=`)
	if i := slices.IndexFunc(cookies, session.MatchString); i >= 0 {
		return cookies[i], nil
	}
	return "", errors.New("sign in: the callback set no session")
}

// follow takes one step, which every time is a redirect, and returns where to and
// the cookies that were set.
func (l *login) follow(ctx context.Context, address string) (location string, cookies []string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", nil, fmt.Errorf("sign in: %w", err)
	}
	if l.attempt != "" && req.URL.Host == l.address {
		req.Header.Set("Cookie", l.attempt)
	}
	res, err := l.client.Do(req)
	if err != nil {
		return "", nil, fmt.Errorf("sign in: %w", err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode/100 != 3 {
		return "", nil, fmt.Errorf("sign in: %s answered %s", req.URL.Path, res.Status)
	}
	for _, c := range res.Cookies() {
		if c.MaxAge > 0 {
			cookies = append(cookies, c.Name+"="+c.Value)
		}
	}
	return res.Header.Get("Location"), cookies, nil
}
