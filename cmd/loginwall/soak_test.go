package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/seal"
)

// A soak is a wall in use for long, and what was seen of it.
type soak struct {
	*rig
	wall                                 *child
	app                                  *httptest.Server
	file, folder                         string
	keys                                 int
	answers, refusals, failures, logins  atomic.Int64
	blocks, reloads, rotations, restarts int
	problem                              atomic.Pointer[string]
}

const soakUsers = 30

// TestSoak (META-255) is a wall in use: people sign in and out, the provider's and
// our own keys turn, people are blocked, the configuration is reloaded, the app
// restarts. Nobody is ever taken for somebody else, and memory stays flat. SOAK says
// for how long: make soak has half an hour, and keeps the figures in testdata/soak.md.
func TestSoak(t *testing.T) {
	duration, err := time.ParseDuration(cmp.Or(os.Getenv("SOAK"), "10s"))
	check(t, err)
	long := duration >= 5*time.Minute // enough to be warm in the middle
	if !long {
		t.Parallel()
	}
	s := &soak{rig: newRig(t), folder: t.TempDir()}
	s.file = filepath.Join(s.folder, "wall.yaml")
	s.startApp(t, "127.0.0.1:0")
	s.configure(t)
	s.wall = s.serveReady(t, s.file)

	began := time.Now()
	over := make(chan struct{})
	var users sync.WaitGroup
	for i := range soakUsers {
		users.Go(func() { s.use(t, fmt.Sprintf("user%d@example.com", i), over) })
	}
	table := figures{
		title: "Soak",
		about: fmt.Sprintf("Written by `make soak`: one wall in use for %v by %d people who sign in and out, with the same work going on around it.\n"+
			"Each row also ends with a disturbance: the provider's keys turn, our own key turns and the file is reloaded, the app restarts,\n"+
			"somebody is blocked. A 502 is the app's restart. Nobody was taken for somebody else.", duration, soakUsers),
		columns: []string{"after", "requests", "logins", "refusals", "502", "memory", "goroutines", "descriptors"},
	}
	var warm map[string]float64
	step := max(duration/30, time.Second)
	for turn := 1; time.Since(began) < duration; turn++ {
		time.Sleep(min(step, duration-time.Since(began)))
		s.disturb(t, turn)
		text := s.metrics(t)
		now := map[string]float64{}
		for _, name := range []string{"process_resident_memory_bytes", "go_goroutines", "process_open_fds"} {
			now[name] = metric(text, name)
		}
		table.add(t, []string{
			time.Since(began).Round(time.Second).String(), fmt.Sprint(s.answers.Load()), fmt.Sprint(s.logins.Load()), fmt.Sprint(s.refusals.Load()),
			fmt.Sprint(s.failures.Load()), fmt.Sprintf("%.0f MB", now["process_resident_memory_bytes"]/1e6), fmt.Sprint(now["go_goroutines"]),
			fmt.Sprint(now["process_open_fds"]),
		})
		// Login attempts are remembered for ten minutes, so it is warm only then.
		if long && warm == nil && time.Since(began) >= duration/2 {
			warm = now
		}
		for name, before := range warm {
			// What people do comes in waves; what leaks does not go back.
			slack := map[string]float64{"process_resident_memory_bytes": 16e6, "go_goroutines": 60, "process_open_fds": 60}[name]
			if now[name] > before*1.15+slack {
				t.Errorf("%s went from %.0f to %.0f", name, before, now[name])
			}
		}
	}
	poll(t, "too little happens", func() bool {
		return s.problem.Load() != nil || s.answers.Load() >= 100 && s.logins.Load() >= soakUsers
	})
	close(over)
	users.Wait()
	if p := s.problem.Load(); p != nil {
		t.Error(*p)
	}
	if long && s.refusals.Load() == 0 {
		t.Error("too little happened to say anything")
	}
	t.Logf("%d blocks, %d reloads, %d keys of the provider, %d restarts of the app, %d keys of ours", s.blocks, s.reloads, s.rotations, s.restarts, s.keys)
	s.wall.stop(t)
	if file := os.Getenv("SOAK_TABLE"); file != "" {
		table.write(t, file)
	}
}

// startApp starts the app, which says who it was told is calling.
func (s *soak) startApp(t *testing.T, address string) {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", address)
	check(t, err)
	s.app = &httptest.Server{Listener: listener, Config: &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "<%s>", strings.Join(r.Header["X-Forwarded-User"], "|"))
		})}}
	s.app.Start()
	t.Cleanup(s.app.Close)
}

// configure writes the file, with a fresh key and the one before as an old one.
func (s *soak) configure(t *testing.T) {
	t.Helper()
	s.keys++
	key := func(n int) string { return filepath.Join(s.folder, fmt.Sprint("key", n)) }
	check(t, os.WriteFile(key(s.keys), seal.GenerateKey(), 0o600))
	old := ""
	if s.keys > 1 {
		old = ", old_key_files: [" + key(s.keys-1) + "]"
	}
	s.writeTo(t, s.file, strings.Replace(basics, "$UPSTREAM", s.app.URL, 1)+
		"session: {idle_timeout: 20s, key_file: "+key(s.keys)+old+"}\nlog: {access: false, level: warn}\n")
}

// disturb does the next of what operators and providers do to a wall in use.
func (s *soak) disturb(t *testing.T, turn int) {
	t.Helper()
	who := fmt.Sprintf("user%d@example.com", turn%soakUsers)
	switch turn % 4 {
	case 0:
		command(t, s.file, "users", "block", who)
		time.Sleep(300 * time.Millisecond)
		command(t, s.file, "users", "unblock", who)
		s.blocks++
	case 1:
		check(t, s.idp.RotateKeys())
		s.rotations++
	case 2:
		s.configure(t)
		check(t, s.wall.cmd.Process.Signal(syscall.SIGHUP))
		s.reloads++
	case 3:
		address := s.app.Listener.Addr().String()
		s.app.CloseClientConnections()
		s.app.Close()
		s.startApp(t, address)
		s.restarts++
	}
}

// use is one person at work, until it is over.
func (s *soak) use(t *testing.T, email string, over chan struct{}) {
	v := newVisitor(t)
	defer v.client.CloseIdleConnections()
	for round := 0; ; round++ {
		select {
		case <-over:
			return
		case <-time.After(time.Duration(rand.IntN(200)) * time.Millisecond):
		}
		a, err := v.try(s.publicURL+"/work", nil)
		if err != nil {
			s.note("%s: %v", email, err)
			return
		}
		switch {
		case a.StatusCode == http.StatusOK && string(a.body) == "<"+email+">":
			s.answers.Add(1)
		case a.StatusCode == http.StatusOK:
			s.note("%s was taken for somebody else: %s", email, a.body)
			return
		case a.StatusCode == http.StatusFound:
			s.signIn(v, a, email)
		case a.StatusCode == http.StatusForbidden:
			s.refusals.Add(1)
		case a.StatusCode == http.StatusBadGateway:
			s.failures.Add(1)
		default:
			s.note("%s: %s\n%s", email, a.Status, a.body)
			return
		}
		if round%50 == 49 {
			if a, err := v.try(s.publicURL+"/_auth/logout", url.Values{}); err != nil || a.StatusCode != http.StatusSeeOther {
				s.note("%s: sign-out: %v, %v", email, a, err)
				return
			}
		}
	}
}

func (s *soak) signIn(v *visitor, a *answer, email string) {
	back, err := v.try(a.next()+"&login_hint="+url.QueryEscape(email), nil)
	if err == nil {
		a, err = v.try(back.next(), nil)
	}
	switch {
	case err != nil:
		s.note("%s: sign-in: %v", email, err)
	case a.StatusCode == http.StatusSeeOther:
		s.logins.Add(1)
	case a.StatusCode == http.StatusForbidden: // blocked for a moment
		s.refusals.Add(1)
	case a.StatusCode == http.StatusServiceUnavailable || a.StatusCode == http.StatusBadGateway:
		s.failures.Add(1)
	default:
		s.note("%s: sign-in: %s\n%s", email, a.Status, a.body)
	}
}

func (s *soak) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.problem.CompareAndSwap(nil, &text)
}
