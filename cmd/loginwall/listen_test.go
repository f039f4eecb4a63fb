package main

import (
	"context"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// onSocket is basics on a socket, with a public URL that browsers know.
var onSocket = strings.NewReplacer("$LISTEN", "unix:$FOLDER/wall.sock", "$PUBLIC", "https://app.test").Replace(basics)

func startOnSocket(t *testing.T, config string) *rig {
	t.Helper()
	return startWallWith(t, "https://app.test", config, func(r *rig, _ *exec.Cmd) { r.socket = filepath.Join(r.folder, "wall.sock") })
}

// FWD-224: nobody at the other end of a socket has an address, and what they claim
// is not believed.
func TestListensOnASocketForItsUserAndGroup(t *testing.T) {
	var socket string
	t.Cleanup(func() { // after the wall has ended
		if _, err := os.Lstat(socket); !os.IsNotExist(err) {
			t.Errorf("after the end the socket is still there: %v", err)
		}
	})
	r := startOnSocket(t, onSocket)
	socket = r.socket
	info, err := os.Lstat(socket)
	check(t, err)
	if info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("mode %v", info.Mode())
	}

	r.as("alice").signIn(t, "alice@example.com", "/")
	r.ask(t, http.MethodGet, "-nav", "/", "X-Forwarded-For:203.0.113.9", "X-Forwarded-Proto:http")
	if r.last.StatusCode != http.StatusOK {
		t.Fatal(r.last.Status)
	}
	got := r.upstream.all()
	last := got[len(got)-1]
	if strings.Contains(last, "X-Forwarded-For") || !strings.Contains(last, "\nX-Forwarded-Proto: https\n") {
		t.Errorf("the app was told:\n%s", last)
	}
	if a := r.ask(t, http.MethodGet, "-xhr", "/_auth/verify", "X-Original-URL:https://app.test/", "X-Original-Method:GET"); a.StatusCode != http.StatusForbidden {
		t.Errorf("forward-auth for a peer that nobody named: %s", a.Status)
	}

	t.Run("a second wall leaves it alone", func(t *testing.T) {
		out, err := exec.CommandContext(t.Context(), "loginwall", "serve", "--config", filepath.Join(r.folder, "wall.yaml")).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "another process listens there already") {
			t.Errorf("%v: %s", err, out)
		}
		if r.probe("/_auth/healthz") != http.StatusOK {
			t.Error("the first wall cannot be reached any more")
		}
	})
	t.Run("healthcheck asks on the socket", r.checkHealth)
}

// checkHealth asks at ops_listen and, where that is off, on the serving port.
func (r *rig) checkHealth(t *testing.T) {
	file := filepath.Join(r.folder, "wall.yaml")
	without := filepath.Join(r.folder, "without-ops.yaml")
	check(t, os.WriteFile(without, []byte(strings.Replace(readFile(t, file), "ops_listen: "+r.ops, "ops_listen: off", 1)), 0o600))
	for _, file := range []string{file, without} {
		poll(t, "it is not healthy", func() bool {
			return exec.CommandContext(t.Context(), "loginwall", "healthcheck", "--config", file).Run() == nil
		})
	}
}

func TestASocketsPeerIsBelievedWhenItIsNamed(t *testing.T) {
	r := startOnSocket(t, onSocket+"trusted_proxies: [unix]\n")
	r.as("alice").signIn(t, "alice@example.com", "/")
	r.ask(t, http.MethodGet, "-nav", "/", "X-Forwarded-For:198.51.100.1, 203.0.113.9")
	got := r.upstream.all()
	if last := got[len(got)-1]; !strings.Contains(last, "\nX-Forwarded-For: 203.0.113.9\n") {
		t.Errorf("the app was told:\n%s", last)
	}
	for who, want := range map[string]int{"alice": http.StatusOK, "nobody": http.StatusUnauthorized} {
		a := r.as(who).ask(t, http.MethodGet, "-xhr", "/_auth/verify", "X-Original-URL:https://app.test/", "X-Original-Method:GET")
		if a.StatusCode != want {
			t.Errorf("forward-auth for %s: %s", who, a.Status)
		}
	}
}

func TestOnlyTheSocketOfAProcessThatIsGoneIsTakenAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wall.sock")
	address := "unix:" + path
	gone, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	check(t, err)
	gone.SetUnlinkOnClose(false)
	check(t, gone.Close())

	first, err := listen(t.Context(), address)
	check(t, err)
	if _, err := listen(t.Context(), address); err == nil || !strings.Contains(err.Error(), "another process listens there already") {
		t.Errorf("a living one: %v", err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", path)
	check(t, err)
	conn.Close()
	check(t, first.Close())
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after the end: %v", err)
	}

	check(t, os.WriteFile(path, []byte("mine"), 0o600))
	if _, err := listen(t.Context(), address); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file: %v", err)
	}
	if text, err := os.ReadFile(path); string(text) != "mine" {
		t.Errorf("the file is %q, %v", text, err)
	}
	if _, err := listen(context.Background(), "unix:"+path+"/x/wall.sock"); err == nil {
		t.Error("a folder that is a file")
	}
}
