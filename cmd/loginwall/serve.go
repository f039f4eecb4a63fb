package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/loginwall/loginwall/config"
	"github.com/loginwall/loginwall/proxy"
	"github.com/loginwall/loginwall/proxy/observe"
)

func (p *program) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the wall",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, warnings, err := p.read()
			if err != nil {
				return err
			}
			return p.serve(c.Context(), cfg, warnings)
		},
	}
	return c
}

// heapFloor is what the garbage collector takes for live beside what is. It runs when
// the heap has doubled, and a wall's own is so small that under load it would run some
// thirty times a second. Unlike a higher GOGC this is the same few MiB however many
// connections there are.
const heapFloor = 8 << 20

// serve runs a wall until ctx ends, and then drains it.
func (p *program) serve(ctx context.Context, cfg *config.Config, warnings []config.Problem) error {
	floor := make([]byte, heapFloor) // never touched, so it is no memory
	defer runtime.KeepAlive(floor)

	w, err := p.newWall(ctx, cfg)
	if err != nil {
		return err
	}
	defer w.close()
	w.warn(ctx, warnings)

	listeners, err := p.listeners(ctx, cfg.Listen)
	if err != nil {
		return err
	}
	main := w.server(w, cfg)
	speakHTTP2(main)
	serve := main.Serve
	if cfg.TLS != nil {
		if cfg.TLS.ACME != nil {
			if w.certificate.acme, err = newACMEClients(cfg, w.log, p.now); err != nil {
				closeAll(listeners)
				return err
			}
		}
		main.TLSConfig = w.certificate.tlsConfig()
		serve = func(l net.Listener) error { return main.ServeTLS(l, "", "") }
	}
	servers := []*http.Server{main}
	failed := make(chan error, len(listeners)+2)
	for _, l := range listeners {
		go func() { failed <- serve(proxy.GuardWrites(l, cfg.Timeouts.Stall, p.now)) }()
	}
	for key, beside := range w.besides(cfg) {
		l, err := listen(ctx, beside.address)
		if err != nil {
			closeAll(listeners)
			return fmt.Errorf("listen on %s (%s): %w", beside.address, key, err)
		}
		server := w.server(beside.handler, cfg)
		server.ReadTimeout = cfg.Timeouts.ReadHeader // nobody there has a body to send, and net/http waits for one
		servers = append(servers, server)
		go func() { failed <- server.Serve(proxy.GuardWrites(l, cfg.Timeouts.Stall, p.now)) }()
	}
	for _, client := range w.certificate.acme {
		w.run(client.run) // the CA looks at the listeners
	}
	w.log.InfoContext(ctx, "serving", slog.String("public_url", cfg.PublicURL.String()), slog.String("listen", addresses(listeners)),
		slog.String("upstream", cfg.Upstream.String()), slog.String("redirect_uri", redirectURI(cfg)), slog.String("version", version()))

	// What reading the file and the store has left behind is not needed again.
	w.run(func(context.Context) { debug.FreeOSMemory() })

	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	follow, stopFollowing := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() { w.followFiles(follow, hangup) })
	defer func() { // a reload must not begin what close already waits for
		stopFollowing()
		following.Wait()
	}()

	w.notify(stateReady)
	if every := p.watchdogInterval(); every > 0 {
		at := listeners[0].Addr()
		w.run(func(ctx context.Context) {
			w.watchdog(ctx, every, func(ctx context.Context) error {
				if w.certificate.missing() {
					return nil // to start the wall anew would not bring it
				}
				return probe(ctx, at.Network(), at.String(), servingURL(cfg))
			})
		})
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	return w.drain(servers)
}

// A beside is what is served beside the wall, on an address of its own.
type beside struct {
	address string
	handler http.Handler
}

// besides are by the key that names the address.
func (w *wall) besides(cfg *config.Config) map[string]beside {
	all := map[string]beside{}
	if cfg.OpsListen != "" {
		all["ops_listen"] = beside{cfg.OpsListen, observe.Ops(w.metrics, w.ready)}
	}
	if cfg.TLS != nil && cfg.TLS.RedirectListen != "" {
		to := beside{cfg.TLS.RedirectListen, http.HandlerFunc(w.redirect)}
		if w.certificate.acme != nil {
			to.handler = w.certificate.challenges(to.handler)
		}
		all["tls.redirect_listen"] = to
	}
	return all
}

// server applies the limits to a listener's server. There is no timeout that cuts
// a body that still moves: uploads and streams may take as long as they like.
func (w *wall) server(handler http.Handler, cfg *config.Config) *http.Server {
	return &http.Server{
		Handler:           handler,
		ConnContext:       proxy.ConnContext,
		ReadHeaderTimeout: cfg.Timeouts.ReadHeader,
		IdleTimeout:       cfg.Timeouts.Idle,
		MaxHeaderBytes:    headerBytes(int(cfg.Limits.HeaderBytes)),
		ErrorLog:          slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
}

// speakHTTP2 adds HTTP/2 with prior knowledge, as gRPC and balancers speak it to
// what stands behind them. Streams are counted, so that one connection is no more
// than a few, and a client that died without a word is found out and let go.
func speakHTTP2(s *http.Server) {
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	s.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: 100,
		SendPingTimeout:      30 * time.Second,
		PingTimeout:          15 * time.Second,
	}
}

// headerBytes takes off what net/http adds to its limit for buffering.
func headerBytes(limit int) int {
	const slop = 4096
	return max(limit-slop, 1)
}

// drain turns readiness off, goes on serving while balancers notice, then lets
// requests finish, and ends what is still open.
func (w *wall) drain(servers []*http.Server) error {
	cfg := w.site.Load().cfg
	w.draining.Store(true)
	w.notify(stateStopping)
	w.log.Info("draining", slog.String("delay", cfg.Timeouts.DrainDelay.String()), slog.String("limit", cfg.Timeouts.Drain.String()))
	time.Sleep(cfg.Timeouts.DrainDelay)

	ctx, cancel := context.WithTimeout(context.Background(), cfg.Timeouts.Drain)
	defer cancel()
	// Streams would last until the limit: they are told to go first, and browsers
	// open them again elsewhere.
	w.live.Drain()
	var errs []error
	for i := range servers {
		if err := servers[i].Shutdown(ctx); err != nil {
			moment, cancel := context.WithTimeout(context.Background(), time.Second)
			w.live.Cut(moment)
			cancel()
			errs = append(errs, servers[i].Close())
			w.log.Warn("requests were cut off", slog.Any("error", err))
		}
	}
	w.live.Wait(ctx)
	w.log.Info("stopped")
	return errors.Join(errs...)
}

func redirectURI(cfg *config.Config) string {
	return cfg.PublicURL.String() + "/_auth/callback"
}
