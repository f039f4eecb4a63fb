package oidc_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/auth/oidc"
)

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

// slow makes an endpoint wait, but for no longer than the client does.
func slow(endpoint string, d time.Duration) devidp.Fault {
	return devidp.Fault{Respond: func(_ http.ResponseWriter, r *http.Request, asked string) bool {
		if asked == endpoint {
			_ = r.ParseForm() // only then does the server see the client go
			select {
			case <-r.Context().Done():
			case <-time.After(d):
			}
		}
		return false
	}}
}

// drip sends a blank every second and never ends.
func drip(endpoint string) devidp.Fault {
	return devidp.Fault{Respond: func(w http.ResponseWriter, r *http.Request, asked string) bool {
		if asked != endpoint {
			return false
		}
		_ = r.ParseForm()
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
			}
		}
		return true
	}}
}

// A pipeListener is a network without sockets, so that synctest's clock rules it.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	down  atomic.Bool
}

var errDown = errors.New("connection refused")

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if l.down.Load() {
		return nil, errDown
	}
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.done:
		return nil, errDown
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// bubble runs a test of time inside synctest.
func bubble(t *testing.T, test func(t *testing.T, r *rig, l *pipeListener)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, issuer: "http://localhost"}
		var err error
		r.idp, err = devidp.New(devidp.Config{
			Issuer:  r.issuer,
			Clients: map[string]devidp.Client{clientID: {Secret: clientSecret, RedirectURIs: []string{redirectURL}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		server := &http.Server{Handler: r.idp, ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(l) }()
		r.rp, err = oidc.New(oidc.Config{
			Issuer: r.issuer, ClientID: clientID, ClientSecret: auth.NewSecret(clientSecret), RedirectURL: redirectURL,
			Google: true, Dial: l.dial, Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			r.rp.CloseIdle()
			_ = server.Close()
			synctest.Wait()
		}()
		test(t, r, l)
	})
}

// IDP-214, IDP-216: however a provider hangs, nobody waits for more than ten seconds.
func TestHanging(t *testing.T) {
	for name, f := range map[string]devidp.Fault{
		"060 s":       slow("token", time.Minute),
		"drip":        drip("token"),
		"drip keys":   drip("jwks"),
		"hangup keys": slow("jwks", time.Minute),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig, _ *pipeListener) {
				ctx, cancel := contextWithCancel(t)
				go r.rp.Run(ctx)
				synctest.Wait()
				r.idp.Misbehave(f)
				start := time.Now()
				err := r.refused(oidc.ReasonTimeout)
				if took := time.Since(start); took > 10*time.Second || took < 5*time.Second {
					t.Errorf("took %s", took)
				}
				if !errors.Is(err, auth.ErrUnavailable) {
					t.Errorf("%v is not ErrUnavailable", err)
				}
				cancel()
			})
		})
	}
	for name, f := range map[string]devidp.Fault{"slow discovery": slow("discovery", time.Minute), "drip discovery": drip("discovery")} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig, _ *pipeListener) {
				r.idp.Misbehave(f)
				start := time.Now()
				err := r.rp.Discover(t.Context())
				if took := time.Since(start); took > 10*time.Second || reasonOf(err) != oidc.ReasonTimeout {
					t.Errorf("took %s: %v", took, err)
				}
			})
		})
	}
}

// Keys that are known and have only fallen due are not worth waiting for long.
func TestStaleKeysAndHangingProvider(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, _ *pipeListener) {
		if err := r.rp.Discover(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		r.idp.Misbehave(slow("jwks", time.Minute))
		start := time.Now()
		r.mustLogin("alice@example.com")
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// DOS-193: five hundred logins at a provider that hangs: bounded requests, and everybody is
// told in time.
func TestManyHang(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, _ *pipeListener) {
		if err := r.rp.Discover(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.idp.Misbehave(slow("token", time.Minute))
		start := time.Now()
		before := runtime.NumGoroutine()
		var all sync.WaitGroup
		for range 500 {
			all.Go(func() {
				if _, err := r.rp.Exchange(t.Context(), newAttempt(), "code"); reasonOf(err) != oidc.ReasonTimeout {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		if n := r.idp.Requests("token"); n != 64 {
			t.Errorf("%d requests at once", n)
		}
		// One for each login, and a few for each connection.
		if n := runtime.NumGoroutine() - before; n > 500+64*8 {
			t.Errorf("%d goroutines", n)
		}
		all.Wait()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %s", took)
		}
		r.idp.Misbehave(devidp.Fault{})
		r.mustLogin("alice@example.com")
	})
}

// IDP-212: a provider that is away at start costs a growing pause between attempts, comes
// back by itself, and sooner when somebody wants to sign in.
func TestSelfHealing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, l *pipeListener) {
		ctx, cancel := contextWithCancel(t)
		l.down.Store(true)
		go r.rp.Run(ctx)
		time.Sleep(time.Hour)
		synctest.Wait()
		if r.rp.Ready() {
			t.Fatal("ready")
		}
		if n := strings.Count(r.log.String(), "\n"); n != 1 {
			t.Errorf("%d lines for the same failure:\n%s", n, &r.log)
		}
		l.down.Store(false)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if !r.rp.Ready() {
			t.Error("not ready within the longest pause")
		}
		r.mustLogin("alice@example.com")
		cancel()
	})
	bubble(t, func(t *testing.T, r *rig, _ *pipeListener) {
		ctx, cancel := contextWithCancel(t)
		r.idp.Misbehave(answer("discovery", 500, ""))
		go r.rp.Run(ctx)
		time.Sleep(time.Hour)
		before := r.idp.Requests("discovery")
		if before < 120 || before > 260 { // every 15 to 30 s
			t.Errorf("%d attempts in an hour", before)
		}
		for range 50 { // everybody wants in, for five seconds
			_, _ = r.rp.AuthCodeURL(newAttempt())
			time.Sleep(100 * time.Millisecond)
		}
		if n := r.idp.Requests("discovery") - before; n < 3 || n > 6 {
			t.Errorf("%d attempts in five seconds", n)
		}
		r.idp.Misbehave(devidp.Fault{})
		_, _ = r.rp.AuthCodeURL(newAttempt())
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if _, err := r.rp.AuthCodeURL(newAttempt()); err != nil {
			t.Errorf("still away: %v", err)
		}
		cancel()
	})
}

// IDP-223: the metadata is read again every few hours; another issuer is never taken.
func TestRefresh(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, _ *pipeListener) {
		ctx, cancel := contextWithCancel(t)
		go r.rp.Run(ctx)
		time.Sleep(25 * time.Hour)
		if n := r.idp.Requests("discovery"); n < 4 || n > 10 {
			t.Errorf("discovered %d times in a day", n)
		}
		r.idp.Misbehave(devidp.Fault{Discovery: set("issuer", "http://localhost:666")})
		time.Sleep(24 * time.Hour)
		if !strings.Contains(r.log.String(), "http://localhost:666") {
			t.Errorf("the log does not say so:\n%s", &r.log)
		}
		r.mustLogin("alice@example.com")
		r.idp.Misbehave(devidp.Fault{Discovery: set("token_endpoint", "http://localhost/moved")})
		time.Sleep(7 * time.Hour)
		_, err := r.login("alice@example.com")
		if reasonOf(err) != oidc.ReasonRejected || r.idp.Requests("other") != 1 {
			t.Errorf("the moved endpoint is not asked: %v", err)
		}
		cancel()
	})
}

// IDP-213: a provider that cannot be reached when the callback comes.
func TestDownAtCallback(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, l *pipeListener) {
		if err := r.rp.Discover(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.down.Store(true)
		synctest.Wait()
		r.rp.CloseIdle()
		if err := r.refused(oidc.ReasonUnavailable); !errors.Is(err, errDown) {
			t.Errorf("the cause is lost in %v", err)
		}
	})
}

// IDP-215: nothing that is logged in the background is secret, or the provider's own words.
func TestLogs(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, _ *pipeListener) {
		ctx, cancel := contextWithCancel(t)
		for _, f := range []devidp.Fault{
			answer("discovery", 500, "PROVIDERBODY"), answer("discovery", 200, "PROVIDERBODY"),
			{Discovery: set("issuer", strings.Repeat("\n\x1b[1m", 1000))},
		} {
			r.idp.Misbehave(f)
			running, stop := context.WithCancel(ctx)
			go r.rp.Run(running)
			time.Sleep(time.Minute)
			stop()
		}
		cancel()
		synctest.Wait()
		text := r.log.String()
		if strings.Contains(text, "PROVIDERBODY") || strings.Contains(text, clientSecret) || strings.Contains(text, "\x1b") || len(text) > 3000 {
			t.Errorf("logged:\n%s", text)
		}
	})
}
