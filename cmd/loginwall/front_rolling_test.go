package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestRollingRestart restarts two walls with one key and one store in turn, behind
// HAProxy with haproxy-tls.cfg, under load: no request is lost.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	version := haproxyVersion(t)
	r, stop, err := makeRig()
	check(t, err)
	t.Cleanup(stop)
	r.publicURL = frontURL
	d := door{name: "HAProxy, TLS"}
	app := newFrontApp(t)
	shared := t.TempDir()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	check(t, os.WriteFile(filepath.Join(shared, "key"), []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600))

	type wall struct {
		address, file string
		*child
	}
	var walls [2]*wall
	start := func(w *wall) {
		w.child = startChild(t, exec.Command("loginwall", "serve", "--config", w.file))
		w.awaitURL(t, "http://"+w.address+"/_auth/healthz")
	}
	for i := range walls {
		address, err := freeAddress()
		check(t, err)
		w := &wall{address: address, file: filepath.Join(t.TempDir(), "wall.yaml")}
		vars := r.vars()
		vars["LISTEN"] = address
		text := strings.Replace(frontConfig(d, app.address), "session: {", "session: {key_file: "+filepath.Join(shared, "key")+", ", 1) +
			"trusted_proxies: [127.0.0.1]\nstore: sqlite:" + filepath.Join(shared, "store.db") + "\ntimeouts: {drain_delay: 15s}\n"
		text = strings.NewReplacer("ops_listen: $OPS", `ops_listen: "off"`, "idle_timeout: 30s", "idle_timeout: 10m").Replace(text)
		check(t, os.WriteFile(w.file, []byte(os.Expand(text, func(name string) string { return vars[name] })), 0o600))
		start(w)
		walls[i] = w
	}

	f := &front{rig: r, t: t, door: d, app: app}
	f.roots, f.cert, f.key = certificate(t)
	f.door.open = func(t *testing.T, p place) {
		startHAProxy(t, p, "haproxy-tls.cfg", "#server wall2 127.0.0.1:8081", "server wall2 "+walls[1].address,
			"timeout tunnel 1d", "timeout check 30s\n    timeout tunnel 1d") // a check that comes late is no failure
	}
	f.place = f.open(walls[0].address, app.address)
	g := f.guest(t)
	poll(t, "the walls do not find their provider", func() bool {
		return g.navigate("/").StatusCode == http.StatusFound && f.guest(t).navigate("/").StatusCode == http.StatusFound
	})
	g.wants(g.enter("alice@example.com", "/"), http.StatusOK, "")
	session := g.cookies.session()

	var requests, lost atomic.Int64
	var mu sync.Mutex
	var losses []string
	done := make(chan struct{})
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			client := f.guest(t).client
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				case <-time.After(2 * time.Millisecond): // load, and not a race for the machine
				}
				method, body := http.MethodGet, []byte(nil)
				if i%4 == 3 {
					method, body = http.MethodPost, bytes.Repeat([]byte("x"), 2000)
				}
				requests.Add(1)
				if problem := once(client, method, session, body); problem != "" {
					lost.Add(1)
					mu.Lock()
					losses = append(losses, problem)
					mu.Unlock()
				}
			}
		})
	}
	for i, w := range walls {
		before := requests.Load()
		check(t, w.cmd.Process.Signal(syscall.SIGTERM))
		<-w.ended
		if w.err != nil {
			t.Errorf("wall %d: %v", i+1, w.err)
		}
		start(w)
		poll(t, "HAProxy does not take it back", func() bool { return strings.Contains(w.log.String(), `"path":"/load"`) })
		if requests.Load() == before {
			t.Errorf("wall %d was restarted under no load", i+1)
		}
	}
	close(done)
	load.Wait()
	t.Logf("HAProxy %s, two walls restarted in turn: requests: %d, lost: %d", version, requests.Load(), lost.Load())
	if lost.Load() > 0 {
		t.Errorf("%d of %d requests were lost: %.5q", lost.Load(), requests.Load(), losses)
	}
}

// once sends a request as somebody who is signed in, and says what was wrong with
// the answer.
func once(client *http.Client, method, session string, body []byte) string {
	request, err := http.NewRequest(method, frontURL+"/load", bytes.NewReader(body))
	if err != nil {
		return err.Error()
	}
	request.Header.Set("Cookie", session)
	response, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	text := make([]byte, 100)
	n, _ := response.Body.Read(text)
	if response.StatusCode != http.StatusOK || !bytes.Contains(text[:n], []byte(upstreamMark)) {
		return fmt.Sprintf("%s %q", response.Status, text[:n])
	}
	return ""
}
