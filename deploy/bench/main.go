// Bench measures the wall beside a bare httputil.ReverseProxy, and beside nginx
// where it is installed, and prints one table against what we promise. Everything
// that is measured runs on one core, the load and the app on the others. Targets
// take turns within a round, so that a machine that is slower for a while is so for
// all of them; a ratio is that of two neighbours, and its spread is over rounds.
//
// make bench builds what it needs and runs it; it wants wrk, h2load and taskset
// (Debian: wrk nghttp2-client util-linux).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

type bench struct {
	bin, folder, core string
	duration          time.Duration
	rounds            int
	upstream          string // address
	store             string // with many users, once it was needed
}

// A row is a kind of load; its figures are rows of the table.
type row struct {
	name        string
	path        string
	connections int
	upload      int // bytes of each request's body
	rate        int // a second; 0 is as many as possible
	kinds       []string
	measure     func(context.Context, *target, *row) (figures, error)
	// fresh rows start targets of their own.
	fresh func(context.Context, kind) (figures, error)
}

// A figure is one measurement.
type figure struct {
	name, unit string
	value      float64
}

type figures []figure

func (b *bench) rows() []row {
	everyone := []string{bareProxy, standard, standardLog, direct, directLog, nginxPlain, nginxAuth}
	quiet := []string{bareProxy, standard, direct, nginxPlain}
	walls := []string{standard}
	proxies := []string{bareProxy, standard, direct}
	return []row{
		{name: "1 KiB, 64 connections", path: "/1k", connections: 64, kinds: everyone, measure: b.saturate},
		{name: "1 KiB, 2 connections", path: "/1k", connections: 2, kinds: everyone, measure: b.saturate},
		{name: "1 KiB, 64 connections, 5,120 requests per second", path: "/1k", connections: 64, rate: 5120, kinds: everyone, measure: b.atRate},
		{name: "16 KiB, 64 connections", path: "/16k", connections: 64, kinds: quiet, measure: b.saturate},
		{name: "1 MiB, 64 connections", path: "/1m", connections: 64, kinds: quiet, measure: b.saturate},
		{name: "1 MiB up, 64 connections", path: "/up", connections: 64, upload: 1 << 20, kinds: quiet, measure: b.saturate},
		{name: "WebSocket, 64 connections", connections: 64, kinds: proxies, measure: b.messages},
		{name: "memory", kinds: proxies, fresh: b.footprint},
		{name: "login", connections: 8, kinds: walls, measure: b.logins},
		{name: "start", kinds: walls, fresh: b.startUp},
		{name: "gate", kinds: walls, fresh: b.gate},
	}
}

func main() {
	b := &bench{}
	only := flag.String("run", "", "only rows whose name matches this expression")
	flag.IntVar(&b.rounds, "rounds", 5, "how often everything is measured")
	flag.DurationVar(&b.duration, "d", 3*time.Second, "how long one measurement takes")
	flag.StringVar(&b.core, "core", "0", "the core of what is measured; the rest of the machine should be this process's")
	flag.StringVar(&b.bin, "bin", "bin", "where the programs are that make bench has built")
	results := flag.String("o", "", "write the table into this file, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx, regexp.MustCompile(*only), *results); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context, only *regexp.Regexp, results string) (err error) {
	for _, tool := range []string{"wrk", "h2load", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w (apt-get install wrk nghttp2-client util-linux)", err)
		}
	}
	if b.folder, err = os.MkdirTemp("", "loginwall-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.folder)
	if b.upstream, err = startUpstream(); err != nil {
		return err
	}
	kinds := b.kinds(ctx)
	targets := map[string]*target{}
	defer func() {
		for _, t := range targets {
			t.stop()
		}
	}()
	rows := slices.DeleteFunc(b.rows(), func(r row) bool { return !only.MatchString(r.name) })
	t := table{kinds: kinds}
	for round := range b.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, b.rounds)
		for i := range rows {
			for _, k := range kinds {
				if !slices.Contains(rows[i].kinds, k.name) {
					continue
				}
				found, err := b.measure(ctx, &rows[i], k, targets)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", rows[i].name, k.name, err)
				}
				t.add(rows[i].name, k.name, found)
			}
		}
	}
	text := t.markdown(b.rounds)
	fmt.Print(text)
	if results == "" {
		return nil
	}
	return os.WriteFile(results, []byte(text), 0o644) //nolint:gosec // for everybody to read
}

// measure makes one measurement, of a target that is started when it is first
// needed.
func (b *bench) measure(ctx context.Context, r *row, k kind, targets map[string]*target) (figures, error) {
	if r.fresh != nil {
		return r.fresh(ctx, k)
	}
	if targets[k.name] == nil {
		t, err := b.startSignedIn(ctx, k)
		if err != nil {
			return nil, err
		}
		targets[k.name] = t
		if r.path != "" { // let it get warm
			if _, err := b.saturate(ctx, t, &row{path: r.path, connections: 64}); err != nil {
				return nil, err
			}
		}
	}
	return r.measure(ctx, targets[k.name], r)
}

// startSignedIn starts a target, waits until it serves, and signs in.
func (b *bench) startSignedIn(ctx context.Context, k kind) (*target, error) {
	t, err := k.start(ctx)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(20 * time.Second); t.cookie == ""; time.Sleep(10 * time.Millisecond) {
		client := browser()
		l, err := begin(ctx, client, t.address, "alice@example.com")
		if err == nil {
			t.cookie, err = l.finish(ctx)
		}
		client.CloseIdleConnections()
		if err != nil && time.Now().After(end) {
			t.stop()
			return nil, err
		}
	}
	conn, err := connect(t, "/1k") // wrk takes a redirect for an answer
	if err != nil {
		t.stop()
		return nil, err
	}
	return t, conn.Close()
}

// gate runs the gate's own benchmarks.
func (b *bench) gate(ctx context.Context, _ kind) (out figures, err error) {
	text, err := exec.CommandContext(ctx, "taskset", "-c", b.core, "go", "test", "-run", "^$", "-bench", "BenchmarkDecide", "-benchmem", "./auth/gate").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run the gate's benchmarks: %w: %s", err, text)
	}
	for _, m := range regexp.MustCompile(`(?m)^BenchmarkDecide/(\S+?)(?:-\d+)?\s+\d+\s+(\S+) ns/op\s+\S+ B/op\s+(\d+) allocs/op`).FindAllStringSubmatch(string(text), -1) {
		var ns, allocs float64
		if _, err := fmt.Sscan(m[2]+" "+m[3], &ns, &allocs); err != nil {
			return nil, err
		}
		name := strings.ReplaceAll(m[1], "_", " ")
		out = append(out, figure{name, "µs", ns / 1000}, figure{name + ", allocations", "", allocs})
	}
	return out, nil
}

// startUp measures the time until a wall with many users gives its first answer.
func (b *bench) startUp(ctx context.Context, _ kind) (figures, error) {
	const users = 100_000
	if b.store == "" {
		b.store = filepath.Join(b.folder, "full.db")
		if err := fillStore(ctx, b.store, users); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	t, err := b.startWall(ctx, "", "log: {access: false}\nstore: sqlite:"+b.store)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	conn, err := connect(t, "/_auth/healthz")
	if err != nil {
		return nil, err
	}
	took := time.Since(start)
	conn.Close()
	return figures{{"100,000 users, to the first answer", "ms", took.Seconds() * 1000}}, nil
}

// fillStore signs many people in, each once.
func fillStore(ctx context.Context, path string, users int) error {
	s, err := store.Open(ctx, store.Config{URL: "sqlite:" + path, Create: true, Timeout: time.Hour})
	if err != nil {
		return err
	}
	defer s.Close()
	var next atomic.Int64
	var failed atomic.Value
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			for n := next.Add(1); n <= int64(users); n = next.Add(1) {
				id := auth.Identity{
					Issuer: "https://accounts.example.com", Subject: strconv.FormatInt(n, 10), Email: fmt.Sprintf("user%d@example.com", n),
					EmailVerified: true, HostedDomain: "example.com", Name: fmt.Sprintf("User %d", n),
				}
				if _, err := s.SignIn(ctx, auth.SignIn{Identity: id, Session: auth.NewSessionID(), MaxAge: time.Hour, Address: "192.0.2.1"}); err != nil {
					failed.Store(err)
					return
				}
			}
		})
	}
	all.Wait()
	if err, ok := failed.Load().(error); ok {
		return err
	}
	return nil
}
