package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loginwall/loginwall/internal/hygiene"
)

// TestLargeBodies streams far more through the wall than it may hold in memory, up
// and down, over HTTP/1.1 and HTTP/2, and to clients and apps that stop reading.
// LOGINWALL_LARGE=1 makes it 10 GB instead of 1.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	size := int64(1 << 30)
	switch {
	case os.Getenv("LOGINWALL_LARGE") != "":
		size = 10 << 30
	case testing.Short():
		size = 128 << 20
	}
	app := &largeApp{release: make(chan struct{})}
	upstream := httptest.NewServer(app)
	t.Cleanup(upstream.Close)
	wall := newStanding(t)
	google := googleFor(t, wall)
	wall.configure("upstream: " + upstream.URL + "\n" + google.config + "log: {level: warn}\n")
	wall.start()
	wall.awaitProvider()
	v := newVisitor(t)
	_, err := google.signIn(v, wall, "alice@example.com")
	check(t, err)

	send := func(client *http.Client, method, path string, body io.Reader) *http.Response {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, wall.url+path, body)
		check(t, err)
		request.Header = http.Header{"Cookie": {v.session(wall.url)}, "Sec-Fetch-Mode": {"cors"}}
		response, err := client.Do(request)
		check(t, err)
		t.Cleanup(func() { response.Body.Close() })
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s", method, path, response.Status)
		}
		return response
	}
	down := func(client *http.Client, query string, size int64) {
		t.Helper()
		n, err := io.Copy(io.Discard, send(client, http.MethodGet, fmt.Sprintf("/down?size=%d%s", size, query), nil).Body)
		if err != nil || n != size {
			t.Errorf("down%s: %d bytes of %d: %v", query, n, size, err)
		}
	}
	up := func(client *http.Client, length, size int64) {
		t.Helper()
		body := io.NopCloser(&counted{left: size, n: new(atomic.Int64)})
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, wall.url+"/up", body)
		check(t, err)
		request.ContentLength = length
		request.Header = http.Header{"Cookie": {v.session(wall.url)}}
		response, err := client.Do(request)
		check(t, err)
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		check(t, err)
		if string(text) != strconv.FormatInt(size, 10) {
			t.Errorf("up: the app got %s bytes of %d", text, size)
		}
	}
	one := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	two := &http.Client{Transport: newHTTP2()}
	t.Cleanup(one.CloseIdleConnections)
	t.Cleanup(two.CloseIdleConnections)
	for _, client := range []*http.Client{one, two} { // everything once, for the baseline
		down(client, "", 8<<20)
		up(client, 8<<20, 8<<20)
	}

	const most = 64 << 20 // under the race detector; without it half as much would do
	baseline := wall.peakMemory()
	within := func(what string) {
		t.Helper()
		now := wall.peakMemory()
		t.Logf("%s: %d MB at most, %d MB before", what, now>>20, baseline>>20)
		if now > baseline+most {
			t.Errorf("%s: memory grew from %d MB to %d MB", what, baseline>>20, now>>20)
		}
	}
	down(one, "", size)
	down(one, "&chunked=1", size/4)
	within("down")
	up(one, size, size)
	up(one, -1, size/4)
	within("up")
	down(two, "", size/4)
	up(two, -1, size/4)
	within("HTTP/2")

	// A client that does not read holds up the app, and an app that does not read
	// holds up the client; nothing is collected in between.
	var downs, ups atomic.Int64
	for range 4 {
		for _, client := range []*http.Client{one, two} {
			send(client, http.MethodGet, fmt.Sprintf("/down?count=1&size=%d", size), nil)
			go func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				request, err := http.NewRequestWithContext(ctx, http.MethodPost, wall.url+"/hang", &counted{left: size, n: &ups})
				if err != nil {
					t.Error(err)
					return
				}
				request.Header = http.Header{"Cookie": {v.session(wall.url)}}
				if response, err := client.Do(request); err == nil {
					response.Body.Close()
				}
			}()
		}
	}
	poll(t, "no upload has begun", func() bool { return ups.Load() > 0 && app.sent.Load() > 0 })
	standStill(t, &ups)
	standStill(t, &app.sent)
	downs.Store(app.sent.Load())
	const each = 16 << 20 // what kernels and HTTP/2's windows hold
	if n := ups.Load(); n > 8*each {
		t.Errorf("clients could send %d MB that no app read", n>>20)
	}
	if n := downs.Load(); n > 8*each {
		t.Errorf("the app could send %d MB that no client read", n>>20)
	}
	within("nobody reads")
	close(app.release)
}

// peakMemory is the most memory that the wall has ever had resident.
func (s *standing) peakMemory() int64 {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		hygiene.Missing(s.t, "the memory that a process has", "Linux tells it in /proc")
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(string(status))
	if found == nil {
		s.t.Fatalf("no VmHWM in\n%s", status)
	}
	kilobytes, err := strconv.ParseInt(found[1], 10, 64)
	check(s.t, err)
	return kilobytes << 10
}

// standStill waits until a number has stopped to grow.
func standStill(t *testing.T, n *atomic.Int64) {
	t.Helper()
	last, since := n.Load(), time.Now()
	poll(t, "it goes on and on", func() bool {
		if now := n.Load(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > time.Second
	})
}

// counted is a body that counts what was taken of it.
type counted struct {
	left int64
	n    *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), c.left)]
	clear(p)
	c.left -= int64(len(p))
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// largeApp sends and takes as much as it is asked to.
type largeApp struct {
	sent    atomic.Int64 // with count=1
	release chan struct{}
}

func (a *largeApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/down":
		size, err := strconv.ParseInt(r.URL.Query().Get("size"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if !r.URL.Query().Has("chunked") {
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		}
		var n atomic.Int64
		counter := &n
		if r.URL.Query().Has("count") {
			counter = &a.sent
		}
		_, _ = io.Copy(w, &counted{left: size, n: counter})
	case "/up":
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, n)
	case "/hang":
		select {
		case <-a.release:
		case <-r.Context().Done():
		}
	}
}
