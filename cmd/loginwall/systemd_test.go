package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/loginwall/loginwall/config"
)

// A manager is as much of systemd as a service sees.
type manager struct {
	conn *net.UnixConn
	mu   sync.Mutex
	told []string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	m := &manager{conn: conn}
	go func() {
		for b := make([]byte, 4096); ; {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.told = append(m.told, string(b[:n]))
			m.mu.Unlock()
		}
	}()
	return m
}

func (m *manager) states() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.told)
}

// activate makes wall a service that gets these sockets. The shell in between has
// the number of the process that the wall becomes.
func (m *manager) activate(t *testing.T, wall *exec.Cmd, sockets ...net.Listener) {
	t.Helper()
	for _, l := range sockets {
		f, err := l.(interface{ File() (*os.File, error) }).File()
		check(t, err)
		t.Cleanup(func() { f.Close() })
		wall.ExtraFiles = append(wall.ExtraFiles, f)
	}
	program := wall.Path
	wall.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ WATCHDOG_PID=$$ exec "$0" "$@"`, program}, wall.Args[1:]...)
	shell, err := exec.LookPath("sh")
	check(t, err)
	wall.Path = shell
	wall.Env = append(os.Environ(), "LISTEN_FDS="+string(rune('0'+len(sockets))), "NOTIFY_SOCKET="+m.conn.LocalAddr().String(), "WATCHDOG_USEC=400000")
}

func TestServesOnTheSocketsOfSystemdAndTellsItHowItIs(t *testing.T) {
	m := newManager(t)
	t.Cleanup(func() { // after the wall has ended
		poll(t, "systemd is not told that the wall stops", func() bool { return slices.Contains(m.states(), "STOPPING=1") })
	})
	var second string
	var process *exec.Cmd
	r := startWallWith(t, "", strings.Replace(basics, "$LISTEN", "systemd", 1), func(r *rig, wall *exec.Cmd) {
		one, err := net.Listen("tcp", r.address)
		check(t, err)
		second = filepath.Join(r.folder, "systemd.sock")
		two, err := net.Listen("unix", second)
		check(t, err)
		two.(*net.UnixListener).SetUnlinkOnClose(false)
		m.activate(t, wall, one, two)
		check(t, one.Close())
		check(t, two.Close())
		process = wall
	})
	poll(t, "systemd is not told that the wall is ready", func() bool { return slices.Contains(m.states(), "READY=1") })
	poll(t, "systemd is not told that the wall lives", func() bool { return slices.Contains(m.states(), "WATCHDOG=1") })
	r.as("alice").signIn(t, "alice@example.com", "/")

	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&rig{socket: second, address: "app:80"}).dialContext}}
	response, err := client.Get("http://app/_auth/healthz")
	check(t, err)
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("on the second socket: %s", response.Status)
	}

	check(t, process.Process.Signal(syscall.SIGHUP))
	poll(t, "systemd is not told of the reload", func() bool {
		told := slices.DeleteFunc(m.states(), func(s string) bool { return s == "WATCHDOG=1" })
		return slices.Equal(told, []string{"READY=1", "RELOADING=1", "READY=1"})
	})
}

func TestTheWatchdogIsNotToldOfAWallThatDoesNotAnswer(t *testing.T) {
	m := newManager(t)
	w := &wall{eyes: eyes{log: slog.New(slog.DiscardHandler)}, program: &program{env: func(string) (string, bool) { return m.conn.LocalAddr().String(), true }}}
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	w.watchdog(ctx, time.Millisecond, func(context.Context) error {
		if asked++; asked == 3 {
			cancel()
		}
		return errors.New("no answer")
	})
	w.notify("STATUS=the end")
	poll(t, "nothing is told", func() bool { return len(m.states()) > 0 })
	if told := m.states(); told[0] != "STATUS=the end" {
		t.Errorf("systemd was told %q", told)
	}
}

func TestListenSystemdWithoutASocketSaysSo(t *testing.T) {
	p := &program{env: func(name string) (string, bool) {
		v, ok := map[string]string{"LISTEN_FDS": "1", "LISTEN_PID": "1"}[name] // somebody else's
		return v, ok
	}}
	if _, err := p.listeners(t.Context(), config.ListenSystemd); err == nil || !strings.Contains(err.Error(), "systemd passed no socket") {
		t.Errorf("got %v", err)
	}
}

const units = "../../deploy/systemd"

func TestTheConfigurationOfTheUnitLoadsWithItsCredential(t *testing.T) {
	credentials := t.TempDir()
	check(t, os.WriteFile(filepath.Join(credentials, "google_client_secret"), []byte("GOCSPX-from-systemd\n"), 0o400))
	newAuthority(t).issue(t, credentials, 1)
	check(t, os.Rename(filepath.Join(credentials, "cert.pem"), filepath.Join(credentials, "tls_cert")))
	check(t, os.Rename(filepath.Join(credentials, "key.pem"), filepath.Join(credentials, "tls_key")))
	file := filepath.Join(units, "loginwall.yaml")
	cfg, _, err := config.Load(file, func(name string) (string, bool) { return credentials, name == "CREDENTIALS_DIRECTORY" })
	check(t, err)
	if cfg.TLS.Certificate == nil || cfg.Google.ClientSecret.Reveal() != "GOCSPX-from-systemd" || cfg.Listen != config.ListenSystemd {
		t.Errorf("listen %s, secret %v", cfg.Listen, cfg.Google.ClientSecret)
	}
	unit, err := os.ReadFile(filepath.Join(units, "loginwall.service"))
	check(t, err)
	for _, line := range []string{"\nLoadCredential=google_client_secret:", "\nLoadCredential=tls_cert:", "\nLoadCredential=tls_key:", "\nStateDirectory=" + filepath.Base(filepath.Dir(cfg.Store.Path)) + "\n"} {
		if !strings.Contains(string(unit), line) {
			t.Errorf("the unit has no line %q", line)
		}
	}
	if _, _, err := config.Load(file, func(string) (string, bool) { return "", false }); err == nil || !strings.Contains(err.Error(), "systemd gave this process none") {
		t.Errorf("without systemd: %v", err)
	}
}

// The units are what systemd understands, and as closed as its own scale asks.
func TestTheUnitsAreValidAndHardened(t *testing.T) {
	analyze := peerProgram(t, "systemd-analyze", "systemd")
	folder := t.TempDir()
	binary, err := exec.LookPath("loginwall")
	check(t, err)
	for _, name := range []string{"loginwall.service", "loginwall.socket"} {
		text, err := os.ReadFile(filepath.Join(units, name))
		check(t, err)
		text = []byte(strings.Replace(string(text), "/usr/local/bin/loginwall serve", binary+" serve", 1))
		check(t, os.WriteFile(filepath.Join(folder, name), text, 0o600))
	}
	service := filepath.Join(folder, "loginwall.service")
	for _, args := range [][]string{
		{"verify", "--man=no", service, filepath.Join(folder, "loginwall.socket")},
		{"security", "--offline=true", "--no-pager", "--threshold=15", service}, // tenths
	} {
		out, err := exec.CommandContext(t.Context(), analyze, args...).CombinedOutput()
		if err != nil || args[0] == "verify" && strings.Contains(string(out), "loginwall.") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}
