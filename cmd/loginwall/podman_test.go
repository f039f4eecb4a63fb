package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/internal/hygiene"
)

// An engine is podman, with a storage of its own. There is no cluster and no Docker
// here; podman runs pods as Kubernetes writes them, and what Compose writes.
type engine struct {
	t    *testing.T
	dir  string
	args []string
	env  []string
}

// newEngine has the wall's image and the app's, by the names in the examples. Where
// the kernel forbids containers, TestCFG250ImageInASandbox is what can be had.
func newEngine(t *testing.T, wall, app string) *engine {
	t.Helper()
	for _, program := range []string{"podman", "runc", "nsenter", "conmon"} {
		peerProgram(t, program, "podman runc catatonit containernetworking-plugins")
	}
	e := &engine{t: t, dir: openDir(t)}
	settings := filepath.Join(e.dir, "containers.conf")
	check(t, os.WriteFile(settings, []byte("[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n"+
		"[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n"), 0o600))
	// Health checks are systemd's timers; there may be no systemd.
	e.env = append(os.Environ(), "CONTAINERS_CONF="+settings, "DISABLE_HC_SYSTEMD=true")
	e.args = []string{"--storage-driver=vfs", "--root=" + e.dir + "/root", "--runroot=" + e.dir + "/run", "--network-config-dir=" + e.dir + "/networks"}

	files, err := builtImage()
	check(t, err)
	file := filepath.Join(e.dir, "image.tar")
	check(t, os.WriteFile(file, files[""], 0o600))
	e.run("load", "-q", "-i", file)
	e.run("tag", "loginwall", wall)
	if out, err := e.try("run", "--rm", "--network=none", "loginwall", "version"); err != nil {
		hygiene.Missing(t, fmt.Sprintf("a kernel that runs containers: %v\n%s", err, out), "TestCFG250ImageInASandbox needs less")
	}
	t.Cleanup(func() {
		e.run("pod", "rm", "-af", "-t", "0")
		_, _ = e.try("rm", "-af", "-t", "0") // one container may need another
		e.run("rm", "-af", "-t", "0")
	})
	e.importApp(app)
	return e
}

func (e *engine) command(args ...string) *exec.Cmd {
	cmd := exec.Command("podman", append(slices.Clone(e.args), args...)...) //nolint:gosec // a test's own
	cmd.Env = e.env
	return cmd
}

func (e *engine) try(args ...string) (string, error) {
	out, err := e.command(args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (e *engine) run(args ...string) string {
	e.t.Helper()
	out, err := e.try(args...)
	if err != nil {
		e.t.Fatalf("podman %v: %v\n%s", args, err, out)
	}
	return out
}

// inspect fills a template of podman's with what it knows of a container.
func (e *engine) inspect(container, format string) string {
	e.t.Helper()
	return e.run("container", "inspect", "--format", format, container)
}

func (e *engine) pid(container string) int {
	e.t.Helper()
	pid, err := strconv.Atoi(e.inspect(container, "{{.State.Pid}}"))
	check(e.t, err)
	return pid
}

// importApp makes an image of testdata/peers/echo.
func (e *engine) importApp(name string) {
	e.t.Helper()
	binary := filepath.Join(e.dir, "echo")
	build := exec.CommandContext(e.t.Context(), "go", "build", "-o", binary, "./testdata/peers/echo")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		e.t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(binary)
	check(e.t, err)
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	check(e.t, w.WriteHeader(&tar.Header{Name: "echo", Mode: 0o755, Size: int64(len(text))}))
	_, err = w.Write(text)
	check(e.t, err)
	check(e.t, w.Close())
	file := filepath.Join(e.dir, "echo.tar")
	check(e.t, os.WriteFile(file, layer.Bytes(), 0o600))
	e.run("import", "-q", "--change", `ENTRYPOINT ["/echo"]`, file, name)
}

// lendProvider makes the rig's provider answer inside a container's network, too, at
// the same address: without TLS it may only be on the loopback.
func (e *engine) lendProvider(r *rig, container string) {
	e.t.Helper()
	socket := filepath.Join(e.dir, "provider.sock")
	if _, err := os.Stat(socket); err != nil {
		l, err := net.Listen("unix", socket)
		check(e.t, err)
		server := &http.Server{Handler: r.idp} //nolint:gosec // a test's own
		go func() { _ = server.Serve(l) }()
		e.t.Cleanup(func() { server.Close() })
	}
	startChild(e.t, exec.Command("nsenter", "-n", "-t", strconv.Itoa(e.pid(container)), "relay", strings.TrimPrefix(r.issuer, "http://"), socket)) //nolint:gosec // a test's own
}

// relay is a program of the tests: it carries connections from an address to a
// socket, which is the same file whatever network one is in.
func relay() {
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer from.Close()
			to, err := net.Dial("unix", os.Args[2])
			if err != nil {
				return
			}
			defer to.Close()
			go func() { _, _ = io.Copy(to, from) }()
			_, _ = io.Copy(from, to)
		}()
	}
}

// descendant finds the process of a program among the children of another.
func descendant(t *testing.T, pid int, program string) int {
	t.Helper()
	found := 0
	poll(t, program+" does not run", func() bool {
		for _, entry := range must(os.ReadDir("/proc")) {
			child, err := strconv.Atoi(entry.Name())
			if err != nil {
				continue
			}
			if name, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", child)); filepath.Base(name) == filepath.Base(program) && isChild(child, pid) {
				found = child
				return true
			}
		}
		return false
	})
	return found
}

func isChild(pid, of int) bool {
	for pid > 1 && pid != of {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, rest, _ := strings.Cut(string(text), "\nPPid:\t")
		parent, _, _ := strings.Cut(rest, "\n")
		pid, _ = strconv.Atoi(parent)
	}
	return pid == of
}

// judgeConfined looks at a wall in a container from outside: it is nobody, holds no
// capability and can get none, cannot write but to its volume, and neither its command
// line nor its environment holds a secret.
func judgeConfined(t *testing.T, pid int, secrets ...string) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", pid)
	status := readFile(t, proc+"status")
	for _, line := range []string{"Uid:\t65532\t65532\t65532\t65532", "Gid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(status, "\n"+line+"\n") {
			t.Errorf("the wall's process has not %q:\n%s", line, status)
		}
	}
	for line := range strings.Lines(readFile(t, proc+"mounts")) {
		fields := strings.Fields(line)
		kernels := slices.ContainsFunc([]string{"/dev", "/proc", "/sys"}, func(at string) bool { return fields[1] == at || strings.HasPrefix(fields[1], at+"/") })
		engines := slices.Contains([]string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv"}, fields[1]) || fields[2] == "tmpfs"
		if writable := strings.HasPrefix(fields[3], "rw"); writable && !kernels && !engines && fields[1] != "/data" {
			t.Errorf("the wall can write to %s", fields[1])
		}
	}
	said := readFile(t, proc+"cmdline") + readFile(t, proc+"environ")
	for _, secret := range append(secrets, testSecret) {
		if strings.Contains(said, secret) {
			t.Errorf("the wall's environment or command line holds %q", secret)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
