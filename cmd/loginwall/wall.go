package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loginwall/loginwall/auth/login"
	"github.com/loginwall/loginwall/auth/session"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/config"
	"github.com/loginwall/loginwall/proxy"
	"github.com/loginwall/loginwall/proxy/observe"
)

const (
	// logQueue bounds the lines that wait while nobody reads the log.
	logQueue = 4 << 20
	// pollFeed is how often other processes' revocations are asked for; the promise
	// is one second.
	pollFeed = 250 * time.Millisecond
	// flushSeen is how often "last seen" goes to the store.
	flushSeen = 10 * time.Second
	// pruneStore is how often what has expired is taken out of the store.
	pruneStore = 10 * time.Minute
	// closeLog is how long the last lines may take to be written.
	closeLog = 2 * time.Second
)

// A wall is what lives as long as the process. What a reload replaces is a site.
type wall struct {
	program *program
	eyes
	store       *store.Store
	revoked     *session.Revocations
	logins      *login.Memory
	live        *proxy.Live
	site        atomic.Pointer[site]
	draining    atomic.Bool
	certificate ownCertificate
	// background ends what runs beside requests; close waits for it.
	background context.Context //nolint:containedctx // it is the process's own lifetime, not a request's
	stop       context.CancelFunc
	running    sync.WaitGroup
}

// eyes are what operators see a wall with.
type eyes struct {
	log     *slog.Logger
	level   slog.LevelVar
	queue   *observe.Queue
	audit   *observe.Queue // for a file
	metrics *observe.Metrics
	tracer  *observe.Tracer
}

// newWall opens the store, reads what was revoked, and puts the first site in
// force. Nothing is served before all of that has succeeded.
func (p *program) newWall(ctx context.Context, cfg *config.Config) (_ *wall, err error) {
	if err := p.sound(cfg); err != nil {
		return nil, err
	}
	w := &wall{program: p}
	w.level.Set(cfg.Log.Level)
	w.queue = observe.NewQueue(p.log, logQueue, func(lines int64) {
		w.log.Warn("log lines were lost: nobody read them", slog.Int64("lines", lines))
	})
	w.log = newLogger(cfg.Log.Format, p.log, w.queue, &w.level)
	w.audit = observe.NewQueue(auditFile{w}, logQueue, nil)
	w.background, w.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			w.close()
		}
	}()

	w.revoked = session.NewRevocations(p.now)
	metrics := observe.MetricsConfig{
		Version: version(), FeedAge: w.revoked.Age, DroppedLines: w.queue.Dropped, DroppedEvents: w.audit.Dropped,
		Connections: func() [3]int { return w.site.Load().upstreams.Connections() },
		ClockOffset: func() time.Duration { return w.site.Load().provider.ClockOffset() },
	}
	if cfg.TLS != nil {
		metrics.CertificateUntil = w.certificate.until
	}
	w.metrics = observe.NewMetrics(metrics)
	if w.tracer, err = observe.NewTracer(ctx, p.env, version(), w.log, p.now); err != nil {
		return nil, err
	}
	if w.logins, err = login.NewMemory(); err != nil {
		return nil, err
	}
	c := p.storeConfig(cfg)
	c.Create, c.Log, c.Observe, c.Recorded = true, w.log, w.storeCalled, w.recorded
	w.store, err = store.Open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	follower := session.NewFollower(w.store, w.revoked, pollFeed, w.log)
	if err := follower.Poll(ctx); err != nil {
		return nil, fmt.Errorf("read what was revoked: %w", err)
	}
	w.live = proxy.NewLive(w.revoked, w.metrics, p.now)
	first, err := w.build(cfg, nil)
	if err != nil {
		return nil, err
	}
	w.put(first)
	w.metrics.Reloaded(true, p.now())
	w.run(follower.Run)
	w.run(w.live.Run)
	w.run(w.prune)
	return w, nil
}

// ServeHTTP serves a request with the site that is in force when it arrives, to
// its end.
func (w *wall) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.site.Load().handler.ServeHTTP(rw, r)
}

// put makes a site the one in force, lets open streams be decided anew by it, and
// ends what ran for the one before.
func (w *wall) put(next *site) {
	before := w.site.Swap(next)
	w.level.Set(next.cfg.Log.Level)
	if next.cfg.TLS != nil && next.cfg.TLS.Certificate != nil {
		w.certificate.file.Store(next.cfg.TLS.Certificate)
	}
	w.live.Reload(next.gate)
	if before != nil {
		before.stop()
		before.provider.endUnless(next)
		if own := before.directory; own != nil {
			own.provider.endUnless(next.directory)
		}
	}
}

// ready names what stands in the way of serving. The provider is not among it:
// who is signed in needs none, and restarting every wall would not bring it back.
func (w *wall) ready() []string {
	var problems []string
	if w.draining.Load() {
		problems = append(problems, "draining")
	}
	ctx, cancel := context.WithTimeout(w.background, time.Second)
	defer cancel()
	if err := w.store.Ping(ctx); err != nil {
		problems = append(problems, "store unavailable")
	}
	if age, limit := w.revoked.Age(), w.site.Load().cfg.Session.MaxFeedAge; age > limit {
		problems = append(problems, "revocations unknown for "+age.Round(time.Second).String())
	}
	return problems
}

func (w *wall) run(f func(context.Context)) {
	w.running.Go(func() { f(w.background) })
}

func (w *wall) prune(ctx context.Context) {
	tick := time.NewTicker(pruneStore)
	defer tick.Stop()
	for {
		if err := w.store.Prune(ctx); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "store not pruned", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// close ends everything, in the order in which one needs the other.
func (w *wall) close() {
	if s := w.site.Load(); s != nil {
		s.stop()
	}
	w.stop()
	w.running.Wait()
	if w.store != nil {
		if err := w.store.Close(); err != nil {
			w.log.Error("store not closed", slog.Any("error", err))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLog)
	defer cancel()
	if err := w.tracer.Close(ctx); err != nil {
		w.log.Warn("the last traces are lost", slog.Any("error", err))
	}
	_ = w.audit.Close(ctx)
	_ = w.queue.Close(ctx) // a reader that hangs has only itself to blame
}

// newLogger writes JSON lines, or text for a person at a terminal.
func newLogger(format config.LogFormat, terminal, to io.Writer, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 { // as in the access log
			a.Value = slog.StringValue(a.Value.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
		}
		return a
	}}
	to = &plain{to: to} // JSON has fewer characters escaped than terminals need
	if textLog(format, terminal) {
		return slog.New(slog.NewTextHandler(to, options))
	}
	return slog.New(slog.NewJSONHandler(to, options))
}

func textLog(format config.LogFormat, terminal io.Writer) bool {
	if format != config.LogAuto {
		return format == config.LogText
	}
	f, ok := terminal.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
