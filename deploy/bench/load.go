package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// headers are what a browser sends with a navigation.
func headers(t *target) []string {
	return []string{
		"Host: " + t.address, "Cookie: " + t.cookie,
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
		"Accept-Language: en-US,en;q=0.5", "Accept-Encoding: gzip, deflate, br",
		"Sec-Fetch-Dest: document", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin",
	}
}

// wrkScript makes wrk upload what its argument says, and report in one line.
const wrkScript = `
init = function(args)
  if args[1] ~= "0" then
    wrk.method, wrk.body = "POST", string.rep("x", tonumber(args[1]))
    wrk.headers["Content-Length"] = args[1]
  end
end
done = function(s, latency, _)
  local e = s.errors
  print("RESULT", s.requests, s.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    e.connect + e.read + e.write + e.status + e.timeout)
end
`

// saturate drives t as fast as it goes, on so many connections, and reports the
// processor time of a request, how many a second there were, and their latencies.
func (b *bench) saturate(ctx context.Context, t *target, r *row) (figures, error) {
	script := filepath.Join(b.folder, "wrk.lua")
	if err := os.WriteFile(script, []byte(wrkScript), 0o600); err != nil {
		return nil, fmt.Errorf("run wrk: %w", err)
	}
	args := []string{"-t1", "-c", strconv.Itoa(r.connections), "-d", b.duration.String(), "--latency", "--timeout", "20s", "-s", script}
	for _, h := range headers(t) {
		args = append(args, "-H", h)
	}
	args = append(args, "http://"+t.address+r.path, "--", strconv.Itoa(r.upload))
	before, err := t.cpu()
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "wrk", args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run wrk: %w: %s", err, out)
	}
	after, err := t.cpu()
	if err != nil {
		return nil, err
	}
	var requests, took, p50, p99, p999, failed float64
	_, line, _ := strings.Cut(string(out), "RESULT")
	if _, err := fmt.Sscan(line, &requests, &took, &p50, &p99, &p999, &failed); err != nil || requests == 0 || failed > 0 {
		return nil, fmt.Errorf("run wrk: not all went well: %w: %s", errors.Join(err, errFailed), out)
	}
	return figures{
		{"CPU per request", "µs", micros(after-before) / requests},
		{"requests per second", "/s", requests / took * 1e6},
		{"p50", "ms", p50 / 1000},
		{"p99", "ms", p99 / 1000},
		{"p99.9", "ms", p999 / 1000},
	}, nil
}

var errFailed = errors.New("requests failed")

// atRate sends so many requests a second, whatever becomes of them, and reports
// the latencies.
func (b *bench) atRate(ctx context.Context, t *target, r *row) (figures, error) {
	log := filepath.Join(b.folder, "h2load.log")
	defer os.Remove(log)
	args := []string{
		"--h1", "-t1", "-c", strconv.Itoa(r.connections), "--rps", strconv.Itoa(r.rate / r.connections),
		"-D", strconv.Itoa(int(b.duration.Seconds())), "--log-file", log,
	}
	for _, h := range headers(t)[1:] {
		args = append(args, "-H", h)
	}
	before, err := t.cpu()
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "h2load", append(args, "http://"+t.address+r.path)...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run h2load: %w: %s", err, out)
	}
	after, err := t.cpu()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return nil, fmt.Errorf("run h2load: %w", err)
	}
	var took []float64 // in µs
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[1] != "200" {
			return nil, fmt.Errorf("run h2load: %w: %q", errFailed, line)
		}
		us, err := strconv.ParseFloat(fields[2], 64)
		if err != nil {
			return nil, fmt.Errorf("run h2load: %w", err)
		}
		took = append(took, us)
	}
	if len(took) == 0 {
		return nil, fmt.Errorf("run h2load: it sent nothing: %s", out)
	}
	slices.Sort(took)
	at := func(p float64) float64 { return took[int(p*float64(len(took)-1))] / 1000 }
	return figures{
		{"CPU per request", "µs", micros(after-before) / float64(len(took))},
		{"p50", "ms", at(.5)},
		{"p99", "ms", at(.99)},
		{"p99.9", "ms", at(.999)},
	}, nil
}

// connect opens a connection and sends one request on it, an upgrade if path is
// that of the WebSocket.
func connect(t *target, path string) (net.Conn, error) {
	conn, err := net.Dial("tcp", t.address) //nolint:noctx // whoever asks closes it
	if err != nil {
		return nil, err
	}
	more := ""
	if path == "/ws" {
		more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\n%s\r\n%s\r\n", path, strings.Join(headers(t), "\r\n"), more)
	in := bufio.NewReaderSize(conn, 1<<10)
	length := 0
	for first := ""; err == nil; {
		var line string
		line, err = in.ReadString('\n')
		if first == "" {
			first = line
			if err == nil && !strings.Contains(line, " 200 ") && !strings.Contains(line, " 101 ") {
				err = fmt.Errorf("%s: %w: %q", path, errFailed, line)
			}
		}
		if value, found := strings.CutPrefix(line, "Content-Length: "); found {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
		if line == "\r\n" {
			break
		}
	}
	if err == nil {
		_, err = in.Discard(length)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// hold opens n connections and keeps them until release is called.
func hold(t *target, path string, n int) (conns []net.Conn, release func(), err error) {
	release = func() {
		for _, c := range conns {
			c.Close()
		}
	}
	for range n {
		conn, err := connect(t, path)
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("hold connections: %w", err)
		}
		conns = append(conns, conn)
	}
	return conns, release, nil
}

// messages lets one WebSocket message after the other go round on every connection.
func (b *bench) messages(_ context.Context, t *target, r *row) (figures, error) {
	conns, release, err := hold(t, "/ws", r.connections)
	if err != nil {
		return nil, err
	}
	defer release()
	before, err := t.cpu()
	if err != nil {
		return nil, err
	}
	var count atomic.Int64
	start := time.Now()
	var all sync.WaitGroup
	for _, conn := range conns {
		all.Go(func() {
			out, in := append([]byte{0x82, 0x80 | message}, bytes.Repeat([]byte{1}, clientSize-2)...), make([]byte, serverSize)
			for time.Since(start) < b.duration {
				if _, err := conn.Write(out); err != nil {
					return
				}
				if _, err := io.ReadFull(conn, in); err != nil {
					return
				}
				count.Add(1)
			}
		})
	}
	all.Wait()
	after, err := t.cpu()
	if err != nil || count.Load() == 0 {
		return nil, errors.Join(err, errFailed)
	}
	n := float64(count.Load())
	return figures{{"CPU per message and answer", "µs", micros(after-before) / n}, {"round trips per second", "/s", n / time.Since(start).Seconds()}}, nil
}

// footprint starts targets of its own, and looks how they grow with connections.
func (b *bench) footprint(ctx context.Context, k kind) (out figures, err error) {
	for _, more := range []struct {
		what, path  string
		connections []int
	}{
		{"idle keep-alive connections", "/1k", []int{1000, 4000}},
		{"WebSockets", "/ws", []int{1000}},
	} {
		t, err := b.startSignedIn(ctx, k)
		if err != nil {
			return nil, err
		}
		defer t.stop()
		idle, own, err := t.settled()
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = figures{{"idle", "MiB", idle}, {"idle, without the program's file", "MiB", own}}
		}
		open, all := 0, 0.0
		for _, n := range more.connections {
			_, release, err := hold(t, more.path, n)
			if err != nil {
				return nil, err
			}
			defer release()
			open += n
			if all, own, err = t.settled(); err != nil {
				return nil, err
			}
			name := fmt.Sprintf("with %d %s", open, more.what)
			out = append(out, figure{name, "MiB", all}, figure{name + ", without the program's file", "MiB", own})
		}
		out = append(out, figure{fmt.Sprintf("each of %d %s", open, more.what), "KiB", (all - idle) / float64(open) * 1024})
	}
	return out, nil
}

// logins signs people in, one after the other on a few connections, and then many
// at once.
func (b *bench) logins(ctx context.Context, t *target, r *row) (figures, error) {
	client := browser()
	defer client.CloseIdleConnections()
	before, err := t.cpu()
	if err != nil {
		return nil, err
	}
	var count atomic.Int64
	var failed atomic.Value
	start := time.Now()
	var all sync.WaitGroup
	for range r.connections {
		all.Go(func() {
			for time.Since(start) < b.duration {
				l, err := begin(ctx, client, t.address, fmt.Sprintf("user%d@example.com", count.Add(1)))
				if err == nil {
					_, err = l.finish(ctx)
				}
				if err != nil {
					failed.Store(err)
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	after, err := t.cpu()
	if err != nil || failed.Load() != nil {
		return nil, fmt.Errorf("%w: %v", errors.Join(err, errFailed), failed.Load())
	}
	n := float64(count.Load())
	out := figures{{"CPU per login", "ms", (after - before).Seconds() * 1000 / n}, {"logins per second", "/s", n / took.Seconds()}}

	const crowd = 1000
	begun := make([]*login, crowd)
	for i := range begun {
		if begun[i], err = begin(ctx, client, t.address, fmt.Sprintf("crowd%d@example.com", i)); err != nil {
			return nil, err
		}
	}
	var in atomic.Int64
	start = time.Now()
	for _, l := range begun {
		all.Go(func() {
			if _, err := l.finish(ctx); err == nil {
				in.Add(1)
			}
		})
	}
	all.Wait()
	return append(out, figure{"1,000 at once: in", "", float64(in.Load())},
		figure{"1,000 at once: the last after", "ms", float64(time.Since(start).Milliseconds())}), nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
