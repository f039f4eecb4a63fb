package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loginwall/loginwall/internal/locked"
)

// A demo is `loginwall demo` as a process, with a folder for temporary files of
// its own.
type demo struct {
	t       *testing.T
	process *exec.Cmd
	ended   chan error
	said    locked.Buffer
	temp    string
	url     string
	folder  string // where its welcome sends people
}

func startDemo(t *testing.T, args ...string) *demo {
	t.Helper()
	d := &demo{t: t, ended: make(chan error, 1), temp: t.TempDir()}
	d.process = exec.Command("loginwall", append([]string{"demo", "--listen", "localhost:0"}, args...)...)
	d.process.Env = append(os.Environ(), "TMPDIR="+d.temp)
	d.process.Stderr = &d.said
	check(t, d.process.Start())
	go func() { d.ended <- d.process.Wait() }()
	t.Cleanup(func() {
		_ = d.process.Process.Kill()
		if t.Failed() {
			t.Logf("the demo said:\n%s", d.said.String())
		}
	})
	welcome := regexp.MustCompile(`(?s)Open (http://localhost:\d+) .*\n +cd (\S+)\n`)
	poll(t, "no welcome", func() bool {
		m := welcome.FindStringSubmatch(d.said.String())
		if m != nil {
			d.url, d.folder = m[1], m[2]
		}
		return m != nil && strings.Contains(d.said.String(), "serving") && strings.Contains(d.said.String(), "the provider is discovered")
	})
	return d
}

// ends waits for the process, which must have left nothing behind.
func (d *demo) ends(code int) {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(patience):
		d.t.Fatal("the demo does not end")
	}
	if got := d.process.ProcessState.ExitCode(); got != code {
		d.t.Errorf("exit code %d, want %d", got, code)
	}
	left, err := os.ReadDir(d.temp)
	check(d.t, err)
	if len(left) > 0 {
		d.t.Errorf("the demo left %v behind", left)
	}
}

// paste runs a line of the welcome as it stands there.
func (d *demo) paste(line string) string {
	d.t.Helper()
	if !strings.Contains(d.said.String(), "     "+line) {
		d.t.Fatalf("%q is not in the welcome:\n%s", line, d.said.String())
	}
	shell := exec.Command("sh", "-c", line)
	shell.Dir = d.folder
	out, err := shell.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// testDemo does what the welcome suggests.
func testDemo(t *testing.T, browser context.Context, _ *scene) {
	d := startDemo(t)
	b := newTab(t, browser)
	b.open(d.url)
	b.signIn("bob@example.com")
	b.sees("Hello, Bob Baker")
	b.click("A page for admins\nAlice is one, Bob is not.")
	b.sees("For administrators only")
	b.click("Use another account")
	b.signIn("alice@example.com")
	b.at(d.url + "/admin/")
	b.sees("Hello, Alice Archer")
	for _, stranger := range []string{"mallory@evil.test", "carol@gmail.com", "dave@example.com"} {
		b.open(d.url + "/_auth/login?switch=1")
		b.signIn(stranger)
		b.sees("This account has no access")
	}

	if out := d.paste("./loginwall users list"); !strings.Contains(out, "alice@example.com") || strings.Contains(out, "mallory") {
		t.Errorf("users list:\n%s", out)
	}
	d.paste("./loginwall users block bob@example.com")
	if out := d.paste("./loginwall explain --user bob@example.com /admin/"); !strings.Contains(out, "deny") {
		t.Errorf("explain:\n%s", out)
	}
	if out := d.paste("cat loginwall.yaml"); !strings.Contains(out, "public_url: "+d.url) {
		t.Errorf("the configuration:\n%s", out)
	}
	b.open(d.url)
	b.signIn("bob@example.com")
	b.sees("This account is blocked")

	check(t, d.process.Process.Signal(os.Interrupt))
	d.ends(exitOK)
}

func TestDemoEnds(t *testing.T) {
	t.Run("with its terminal", func(t *testing.T) {
		closed := syscall.SIGHUP
		if signal.Ignored(closed) { // the tests run under nohup, and so does the demo
			closed = syscall.SIGTERM
		}
		d := startDemo(t)
		check(t, d.process.Process.Signal(closed))
		d.ends(exitOK)
	})
	t.Run("with who reads it", func(t *testing.T) {
		temp := t.TempDir()
		reader, writer, err := os.Pipe()
		check(t, err)
		process := exec.Command("loginwall", "demo", "--listen", "localhost:0")
		process.Env, process.Stdout, process.Stderr = append(os.Environ(), "TMPDIR="+temp), writer, writer
		check(t, process.Start())
		writer.Close()
		buffer := make([]byte, 1<<10)
		n, err := reader.Read(buffer)
		check(t, err)
		reader.Close()
		url := regexp.MustCompile(`http://localhost:\d+`).FindString(string(buffer[:n]))
		ended := make(chan error, 1)
		go func() { ended <- process.Wait() }()
		poll(t, "the demo does not end", func() bool {
			if response, err := http.Get(url); err == nil { // it finds out with the next line of its log
				response.Body.Close()
			}
			return len(ended) > 0
		})
		check(t, <-ended) // it was closed in order
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("left %v behind (%v)", left, err)
		}
	})
	t.Run("at once with a second Ctrl-C", func(t *testing.T) {
		asked := make(chan struct{})
		app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(asked)
			<-r.Context().Done()
		}))
		defer app.Close()
		d := startDemo(t, "--upstream", app.URL)
		go func() { // a request that the first Ctrl-C waits for
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url+"/public/", http.NoBody)
			if err == nil {
				if response, err := http.DefaultClient.Do(request); err == nil {
					response.Body.Close()
				}
			}
		}()
		<-asked
		check(t, d.process.Process.Signal(os.Interrupt))
		poll(t, "the demo does not drain", func() bool { return strings.Contains(d.said.String(), "draining") })
		check(t, d.process.Process.Signal(os.Interrupt))
		d.ends(exitFailed)
	})
}

func TestDemoRefuses(t *testing.T) {
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	for _, c := range []struct {
		code int
		flag string
		want string
	}{
		{exitUsage, "--listen=0.0.0.0:8080", "the demo is for this machine alone"},
		{exitUsage, "--listen=:8080", "want localhost:8080"},
		{exitUsage, "--listen=example.com:8080", "the demo is for this machine alone"},
		{exitUsage, "--listen=localhost", "want host:port"},
		{exitUsage, "--listen=localhost:http", "want a port"},
		{exitUsage, "--listen=localhost:65536", "want a port"},
		{exitFailed, "--listen=" + strings.TrimPrefix(taken.URL, "http://"), "another program listens on"},
		{exitFailed, "--upstream=localhost:3000", `--upstream: "localhost:3000" has no scheme (write http://localhost:3000)`},
		{exitFailed, `--upstream=http://x"y`, "--upstream: "},
	} {
		temp := t.TempDir()
		process := exec.Command("loginwall", "demo", "--listen=localhost:0", c.flag)
		process.Env = append(os.Environ(), "TMPDIR="+temp)
		out, _ := process.CombinedOutput()
		if code := process.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.want) || strings.Count(string(out), "\n") > 2 {
			t.Errorf("%s: exit code %d:\n%s", c.flag, code, out)
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v behind (%v)", c.flag, left, err)
		}
	}
}
