package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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
	var listen, upstream string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show a whole login on this machine, offline",
		Long:  "Runs three things on this machine: a provider that looks and behaves like Google,\na sample app (or your own, with --upstream), and the wall between them. Nothing\nleaves the machine, and nothing is kept when it ends. NOT for real use: the\nprovider signs in whoever asks.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.demo(c.Context(), listen, upstream)
		},
	}
	c.Flags().StringVar(&listen, "listen", "localhost:8080", "where to open the wall: a loopback `host:port`")
	c.Flags().StringVar(&upstream, "upstream", "", "your own app's `URL`, instead of the sample app")
	return c
}

// demo runs what serve runs, with a configuration of its own in a folder that is
// removed at the end.
func (p *program) demo(ctx context.Context, listen, upstream string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("--listen %q: %w (want host:port, as in localhost:8080)", listen, err)
	}
	dir, err := os.MkdirTemp("", "loginwall-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer os.RemoveAll(dir)

	providerListener, err := loopback(ctx)
	if err != nil {
		return err
	}
	publicURL := "http://" + strings.ToLower(net.JoinHostPort(host, port))
	issuer := "http://" + providerListener.Addr().String()
	provider, err := devidp.New(devidp.Config{
		Issuer:  issuer,
		Clients: map[string]devidp.Client{demoClient: {Secret: demoSecret, RedirectURIs: []string{strings.TrimSuffix(publicURL, ":80") + "/_auth/callback"}}},
		People:  devidp.DefaultPeople(),
	})
	if err != nil {
		return fmt.Errorf("start the built-in provider: %w", err)
	}
	defer background(provider, providerListener)()
	if upstream == "" {
		app, err := newSampleApp()
		if err != nil {
			return err
		}
		appListener, err := loopback(ctx)
		if err != nil {
			return err
		}
		defer background(app, appListener)()
		upstream = "http://" + appListener.Addr().String()
	}

	file := filepath.Join(dir, "loginwall.yaml")
	text := fmt.Sprintf(demoConfig, publicURL, upstream, demoClient, demoSecret, issuer, listen)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the demo's configuration: %w", err)
	}
	cfg, _, err := config.Load(file, func(string) (string, bool) { return "", false })
	if err != nil {
		return fmt.Errorf("--listen %s or --upstream %s: %w", listen, upstream, err)
	}
	fmt.Fprintf(p.stderr, demoWelcome, publicURL, issuer, file)
	return p.serve(ctx, cfg, nil)
}

// demoConfig is a configuration as anybody would write it, and a few rules to try.
const demoConfig = `public_url: %s
upstream: %s
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
listen: %s
ops_listen: "off"
`

const demoWelcome = `
  loginwall demo: a login on this machine, offline. NOT for real use.

  Open      %[1]s
  and sign in as alice@example.com (an admin) or bob@example.com. Then try
    mallory@evil.test        who is turned away: another domain
    carol@gmail.com          who is turned away: a consumer account
    dave@example.com         who is turned away: an address that nobody has verified
    %[1]s/admin/   as bob, and as alice

  The pretend Google is %[2]s. In another terminal, while this runs:
    loginwall users list    --config %[3]s
    loginwall users block   --config %[3]s bob@example.com
    loginwall explain       --config %[3]s --user bob@example.com /admin/

  Ctrl-C ends it; nothing is kept.

`

func loopback(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
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
