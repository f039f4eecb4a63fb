package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/config"
)

const (
	demoClient = "demo.apps.googleusercontent.com"
	// demoSecret is no secret: the built-in provider, on this machine's loopback,
	// is the only one that takes it.
	demoSecret = "the-built-in-provider-knows-this"
)

func (p *program) demoCommand() *cobra.Command {
	listen := ownAddress{"localhost", 8080}
	var upstream string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show a whole login on this machine, offline",
		Long:  "Runs three things on this machine: a provider that looks and behaves like Google,\na sample app (or your own, with --upstream), and the wall between them. Nothing\nleaves the machine, and nothing is kept when it ends. NOT for real use: the\nprovider signs in whoever asks.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.demo(c.Context(), listen, upstream)
		},
	}
	c.Flags().Var(&listen, "listen", "where to open the wall, on this machine: `host:port`")
	c.Flags().StringVar(&upstream, "upstream", "", "your own app's `URL`, instead of the sample app")
	return c
}

// An ownAddress is a host and a port that nobody but this machine can reach: the
// value of a flag.
type ownAddress struct {
	host string
	port uint16
}

func (a *ownAddress) String() string { return net.JoinHostPort(a.host, strconv.Itoa(int(a.port))) }
func (a *ownAddress) Type() string   { return "host:port" }

// next is the port that somebody guesses who forwards ports to another machine.
func (a *ownAddress) next() uint16 { return a.port + 1 }

func (a *ownAddress) Set(text string) error {
	host, number, err := net.SplitHostPort(text)
	if err != nil {
		return errors.New("want host:port, as in localhost:8080")
	}
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return errors.New("want a port from 0 to 65535, 0 for any that is free")
	}
	host = strings.ToLower(host)
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("the demo is for this machine alone, since its provider signs in whoever asks (want localhost:%d)", port)
	}
	*a = ownAddress{host, uint16(port)}
	return nil
}

// demo runs what serve runs, with a configuration of its own in a folder that is
// removed at the end.
func (p *program) demo(ctx context.Context, listen ownAddress, upstream string) error {
	if err := listen.find(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "loginwall-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := endWith(ctx, dir)
	defer stop()

	providerListener, err := loopback(ctx, listen.next())
	if err != nil {
		return err
	}
	publicURL := strings.TrimSuffix("http://"+listen.String(), ":80")
	issuer := "http://" + providerListener.Addr().String()
	provider, err := devidp.New(devidp.Config{
		Issuer:  issuer,
		Clients: map[string]devidp.Client{demoClient: {Secret: demoSecret, RedirectURIs: []string{publicURL + "/_auth/callback"}}},
		People:  devidp.DefaultPeople(),
	})
	if err != nil {
		return fmt.Errorf("start the built-in provider: %w", err)
	}
	defer background(provider, providerListener)()
	behind := "Your app behind the wall gets X-Forwarded-User and the like with every request."
	if upstream == "" {
		app, err := newSampleApp()
		if err != nil {
			return err
		}
		appListener, err := loopback(ctx, 0)
		if err != nil {
			return err
		}
		defer background(app, appListener)()
		upstream = "http://" + appListener.Addr().String()
		behind = "The sample app behind the wall has no login of its own, and shows what it is told."
	}

	file := filepath.Join(dir, "loginwall.yaml")
	text := fmt.Sprintf(demoConfig, publicURL, upstream, demoClient, demoSecret, issuer, listen.String())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the demo's configuration: %w", err)
	}
	cfg, _, err := config.Load(file, func(string) (string, bool) { return "", false })
	var problems config.Problems
	if errors.As(err, &problems) && problems[0].Key == "upstream" {
		return fmt.Errorf("--upstream: %s (%s)", problems[0].What, problems[0].Do)
	}
	if err != nil {
		return fmt.Errorf("read the demo's configuration: %w", err)
	}
	// Beside the configuration, so that what the welcome suggests can be pasted
	// whichever way the demo was started.
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "loginwall")); err != nil {
		return fmt.Errorf("link this program: %w", err)
	}
	fmt.Fprintf(p.stderr, demoWelcome, publicURL, issuer, behind, dir)
	if err := p.serve(ctx, cfg, nil); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil // it was ended before it had begun
}

// demoConfig is a configuration as anybody would write it, and a few rules to try.
const demoConfig = `public_url: %s
upstream: %q
google:
  client_id: %s
  client_secret: %s
  issuer: %s
allow:
  domains: [example.com]
admins: [alice@example.com]
routes:
  - path: /public/
    access: public
  - path: /admin/
    access: admins
contact: "Ask alice@example.com"
listen: %q
ops_listen: "off"
timeouts:
  drain: 2s
`

const demoWelcome = `
  loginwall demo: a login on this machine, offline. NOT for real use: anybody can be anybody here.

  1. Open %[1]s and choose Alice at the pretend Google, %[2]s.
     %[3]s

  2. Sign out, and come back as somebody else:
     bob@example.com      gets in, but not to /admin/, since he is no admin
     mallory@evil.test    is turned away: another organization
     carol@gmail.com      is turned away: a personal account
     dave@example.com     is turned away: nobody has verified the address

  3. In another terminal, while this runs:
     cd %[4]s
     ./loginwall users list
     ./loginwall users block bob@example.com    # out with the next click
     ./loginwall explain --user bob@example.com /admin/
     cat loginwall.yaml

  Ctrl-C ends the demo and removes that folder. From here on, the wall's log:

`

// find makes sure that the address is free, before anything is shown, and chooses
// a port where any will do. Browsers take localhost for ::1 first, where another
// program may listen.
func (a *ownAddress) find(ctx context.Context) error {
	hosts := []string{a.host}
	if a.host == "localhost" {
		hosts = append(hosts, "::1")
	}
	for _, host := range hosts {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", (&ownAddress{host, a.port}).String())
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			return fmt.Errorf("another program listens on %s already (--listen %s takes any port that is free)", a, &ownAddress{a.host, 0})
		case err != nil && host == a.host:
			return fmt.Errorf("listen on %s: %w", a, err)
		case err != nil: // no IPv6 here
			continue
		}
		if at, ok := l.Addr().(*net.TCPAddr); ok {
			a.port = uint16(at.Port)
		}
		if err := l.Close(); err != nil {
			return fmt.Errorf("listen on %s: %w", a, err)
		}
	}
	return nil
}

// endWith ends the context with the first signal, also when the terminal is
// closed, or nobody reads on what is said (demo 2>&1 | head), and the process with
// the second one. The folder goes in either case.
func endWith(ctx context.Context, dir string) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
		for s := range signals {
			if s != syscall.SIGPIPE { // which every further line brings
				os.RemoveAll(dir)
				os.Exit(exitFailed)
			}
		}
	}()
	return ctx, cancel
}

// loopback listens on this machine, on the port if it is free.
func loopback(ctx context.Context, port uint16) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("listen on this machine: %w", err)
	}
	return l, nil
}

// background serves until the returned func is called.
func background(handler http.Handler, l net.Listener) (stop func()) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			slog.Default().Error("the demo's own server ended", slog.Any("error", err))
		}
	}()
	return func() { _ = server.Close() }
}
