package main

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// newRig is a rig without a wall: the test starts and ends the wall itself, once or
// many times.
func newRig(t *testing.T) *rig {
	t.Helper()
	r, stop, err := makeRig()
	check(t, err)
	t.Cleanup(stop)
	return r
}

// write puts a configuration into a folder of its own, $NAMES replaced, and returns
// the file's name. The store and the key will stand beside it.
func (r *rig) write(t *testing.T, config string) (file string) {
	t.Helper()
	return r.writeTo(t, filepath.Join(t.TempDir(), "wall.yaml"), config)
}

func (r *rig) writeTo(t *testing.T, file, config string) string {
	t.Helper()
	text := carriedBy(os.Expand(config, func(name string) string { return r.vars()[name] }))
	r.oracle.configured(t, text)
	check(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// serve starts a wall and returns when it serves; prefix is a program to run it
// under. However the wall ends, its log must hold no secret and no panic.
func (r *rig) serve(t *testing.T, file string, prefix ...string) *child {
	t.Helper()
	args := append(prefix, wallBinary(), "serve", "--config", file)
	c := startChild(t, exec.Command(args[0], args[1:]...)) //nolint:gosec // a test's own
	t.Cleanup(func() {
		c.kill()
		r.oracle.judgeLog(t, c.log.String())
	})
	r.awaitServing(t)
	return c
}

// wallBinary is the wall: what a build made, where LOGINWALL names it, as for figures, or
// else this test's own.
func wallBinary() string { return cmp.Or(os.Getenv("LOGINWALL"), "loginwall") }

// serveReady is serve until logins can begin.
func (r *rig) serveReady(t *testing.T, file string, prefix ...string) *child {
	t.Helper()
	c := r.serve(t, file, prefix...)
	r.awaitProvider(t)
	return c
}

// stop asks a wall to end, and wants it to end well.
func (c *child) stop(t *testing.T) {
	t.Helper()
	check(t, c.cmd.Process.Signal(os.Interrupt))
	<-c.ended
	check(t, c.err)
}

// begin starts a login that comes back to target, and returns where it leads.
func (r *rig) begin(t *testing.T, target string) (provider string) {
	t.Helper()
	a := r.ask(t, http.MethodGet, "-nav", target)
	if a.StatusCode != http.StatusFound || !strings.HasPrefix(a.Header.Get("Location"), r.issuer) {
		t.Fatalf("no login began at %s: %s", target, a.Status)
	}
	return a.Header.Get("Location")
}

// consent signs email in at the provider and returns the callback's path and query.
func (r *rig) consent(t *testing.T, provider, email string) (callback string) {
	t.Helper()
	r.last = &answer{Response: &http.Response{Header: http.Header{"Location": {provider}}}}
	back := r.goOn(t, email).Header.Get("Location")
	path, ok := strings.CutPrefix(back, r.publicURL)
	if !ok {
		t.Fatalf("the provider sends the browser to %q", back)
	}
	return path
}

// signedIn says whom /_auth/me knows the current browser as; empty for nobody.
func (r *rig) signedIn(t *testing.T) string {
	t.Helper()
	a := r.ask(t, http.MethodGet, "-xhr", "/_auth/me")
	if a.StatusCode != http.StatusOK {
		return ""
	}
	_, rest, _ := strings.Cut(string(a.body), `"email":"`)
	email, _, _ := strings.Cut(rest, `"`)
	return email
}

// attempts counts the login attempts that the browser carries.
func (j jar) attempts() int {
	n := 0
	for name := range j {
		if strings.Contains(name, "-a-") {
			n++
		}
	}
	return n
}

// endTraced ends a wall that runs under strace, which keeps signals for itself.
func endTraced(t *testing.T, c *child) {
	t.Helper()
	check(t, exec.Command("pkill", "-TERM", "-P", fmt.Sprint(c.cmd.Process.Pid)).Run()) //nolint:gosec // a test's own
	<-c.ended
	check(t, c.err)
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	check(t, err)
	return string(text)
}

// lastLine returns the last line of a log that holds a text.
func lastLine(log, text string) (found bool, line string) {
	i := strings.LastIndex(log, text)
	if i < 0 {
		return false, ""
	}
	start := strings.LastIndexByte(log[:i], '\n') + 1
	line, _, _ = strings.Cut(log[start:], "\n")
	return true, line
}
