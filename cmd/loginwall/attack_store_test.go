package main

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loginwall/loginwall/internal/hygiene"
)

// A storeRig is a wall in which alice is signed in, and the folder of its store.
type storeRig struct {
	*rig
	wall         *child
	folder, file string
}

func newStoreRig(t *testing.T, folder, config string) *storeRig {
	t.Helper()
	r := &storeRig{rig: newRig(t), folder: folder, file: filepath.Join(folder, "wall.yaml")}
	r.writeTo(t, r.file, basics+config)
	r.wall = r.serveReady(t, r.file)
	r.as("alice").signIn(t, "alice@example.com", "/")
	return r
}

// openStore opens the embedded store in a folder beside the wall.
func openStore(t *testing.T, folder string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(folder, "loginwall.db")+"?_pragma=busy_timeout(60000)")
	check(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// store is the path of the embedded store.
func (r *storeRig) store() string { return filepath.Join(r.folder, "loginwall.db") }

// suffers wants what must hold while nothing can be written: who is signed in goes
// on, nobody signs in or out, and all of that is said.
func (r *storeRig) suffers(t *testing.T, why string) {
	t.Helper()
	callback := r.consent(t, r.as("bob").begin(t, "/x"), "bob@example.com")
	a := r.ask(t, http.MethodGet, "-nav", callback)
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("X-Loginwall") != "error" || r.cookies().session() != "" {
		t.Errorf("%s: sign-in: %s", why, a.Status)
	}
	a = r.as("alice").ask(t, http.MethodPost, "-nav", "/_auth/logout", "Origin:"+r.publicURL)
	if a.StatusCode != http.StatusServiceUnavailable || r.cookies().session() == "" {
		t.Errorf("%s: sign-out: %s", why, a.Status)
	}
	if a := r.ask(t, http.MethodGet, "-nav", "/x"); a.StatusCode != http.StatusOK {
		t.Errorf("%s: who is signed in gets %s", why, a.Status)
	}
	if status := r.readiness(t); status != http.StatusServiceUnavailable {
		t.Errorf("%s: /readyz says %d", why, status)
	}
}

func (r *storeRig) readiness(t *testing.T) int {
	t.Helper()
	response, err := r.client.Get("http://" + r.ops + "/readyz")
	check(t, err)
	response.Body.Close()
	return response.StatusCode
}

// heals wants all of that to be over.
func (r *storeRig) heals(t *testing.T, why string) {
	t.Helper()
	poll(t, why+": not ready again", func() bool { return r.readiness(t) == http.StatusOK })
	if a := r.as("bob again").signIn(t, "bob@example.com", "/"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("%s: sign-in afterwards: %s", why, a.Status)
	}
	if a := r.as("alice").ask(t, http.MethodGet, "-xhr", "/x"); a.StatusCode != http.StatusOK {
		t.Errorf("%s: alice is out: %s", why, a.Status)
	}
}

// inject makes system calls of the wall on its store's files fail or hang, until the
// returned function is called.
func (r *storeRig) inject(t *testing.T, fault string) (heal func()) {
	t.Helper()
	strace := peerProgram(t, "strace", "strace")
	const calls = "pwrite64,write,fsync,fdatasync,ftruncate"
	tracer := startChild(t, exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "-p", fmt.Sprint(r.wall.cmd.Process.Pid), //nolint:gosec // a test's own
		"-P", r.store(), "-P", r.store()+"-wal", "-P", r.store()+"-journal", "-e", "trace="+calls, "-e", "inject="+calls+":"+fault))
	poll(t, "strace does not attach", func() bool {
		if !tracer.running() {
			hygiene.Missing(t, "strace -p", "the right to trace (root, or kernel.yama.ptrace_scope=0): "+tracer.log.String())
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.wall.cmd.Process.Pid))
		check(t, err)
		return !strings.Contains(string(status), "TracerPid:\t0\n")
	})
	return func() {
		_ = tracer.cmd.Process.Signal(syscall.SIGINT)
		<-tracer.ended
	}
}

// STO-204: the disk returns errors, and then it does not answer at all.
func TestAttackStoreFaults(t *testing.T) {
	t.Parallel()
	r := newStoreRig(t, t.TempDir(), "")
	heal := r.inject(t, "error=EIO")
	r.suffers(t, "EIO")
	heal()
	r.heals(t, "EIO")

	heal = r.inject(t, "error=ENOSPC")
	r.suffers(t, "ENOSPC")
	heal()
	r.heals(t, "ENOSPC")

	heal = r.inject(t, "delay_enter=60000000") // µs
	r.suffers(t, "a disk that hangs")
	heal()
	r.heals(t, "a disk that hangs")
}

// STO-204: somebody else keeps the file locked.
func TestAttackStoreLocked(t *testing.T) {
	t.Parallel()
	sqlite := peerProgram(t, "sqlite3", "sqlite3")
	r := newStoreRig(t, t.TempDir(), "")
	cmd := exec.Command(sqlite, r.store()) //nolint:gosec // a test's own
	in, err := cmd.StdinPipe()
	check(t, err)
	locker := startChild(t, cmd)
	_, err = in.Write([]byte(".timeout 10000\nBEGIN IMMEDIATE;\n.print locked\n"))
	check(t, err)
	poll(t, "not locked", func() bool { return strings.Contains(locker.log.String(), "locked") })
	r.suffers(t, "locked")
	check(t, in.Close())
	<-locker.ended
	r.heals(t, "locked")
}

// STO-203, STO-204: a small disk that is full, and one that becomes read-only.
func TestAttackStoreVolume(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := syscall.Mount("none", folder, "tmpfs", 0, "size=3m"); err != nil {
		hygiene.Missing(t, "a small file system", "the right to mount (root): "+err.Error())
	}
	t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) })
	r := newStoreRig(t, folder, "")

	ballast := filepath.Join(folder, "ballast")
	f, err := os.Create(ballast)
	check(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	poll(t, "sign-ins go on for ever on a full disk", func() bool { // SQLite's log has some room left
		return r.as("filler").tryLogin(t, "carl@example.com", "/").StatusCode == http.StatusServiceUnavailable
	})
	r.suffers(t, "full")
	check(t, os.Remove(ballast))
	r.heals(t, "full")

	if err := syscall.Mount("", folder, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err == nil {
		t.Error("a volume with an open store can be made read-only, so this test is to be extended")
	}
	// What is open keeps it writable; a wall that starts on one that is not says so.
	r.wall.stop(t)
	check(t, syscall.Mount("", folder, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	if _, err := tryCommand(r.file, "serve"); err == nil || !strings.Contains(err.Error(), "read-only") && !strings.Contains(err.Error(), "must be able to write") {
		t.Errorf("a wall starts on a read-only volume: %v", err)
	}
	check(t, syscall.Mount("", folder, "", syscall.MS_REMOUNT, "size=3m"))
	r.wall = r.serveReady(t, r.file)
	r.heals(t, "read-only")
}

// STO-207: the revocations cannot be read, for a moment and for longer.
func TestAttackStoreVanishes(t *testing.T) {
	t.Parallel()
	r := newStoreRig(t, t.TempDir(), "session: {max_feed_age: 15s}\nroutes: [{path: /public/, access: public}]\n")
	gone := time.Now()
	check(t, os.Rename(r.store(), r.store()+".away"))
	for time.Since(gone) < 2*time.Second {
		if a := r.as("alice").ask(t, http.MethodGet, "-nav", "/x"); a.StatusCode != http.StatusOK && time.Since(gone) < 10*time.Second {
			t.Fatalf("after %v of 15 s: %s", time.Since(gone), a.Status)
		}
		time.Sleep(100 * time.Millisecond)
	}
	poll(t, "old revocations count for ever", func() bool {
		return r.as("alice").ask(t, http.MethodGet, "-nav", "/x").StatusCode == http.StatusServiceUnavailable
	})
	for _, name := range []string{"alice", "nobody"} {
		for range 3 {
			a := r.as(name).ask(t, http.MethodGet, "-nav", "/x")
			if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Location") != "" || a.Header["Set-Cookie"] != nil {
				t.Errorf("%s: %s, Location %q, Set-Cookie %q", name, a.Status, a.Header.Get("Location"), a.Header["Set-Cookie"])
			}
		}
		if a := r.ask(t, http.MethodGet, "-nav", "/public/x"); a.StatusCode != http.StatusOK {
			t.Errorf("%s: what is public: %s", name, a.Status)
		}
	}
	check(t, os.Rename(r.store()+".away", r.store()))
	r.heals(t, "vanished")
}

// STO-205: two walls and the command on one file; each knows what another did.
func TestAttackStoreShared(t *testing.T) {
	t.Parallel()
	r := newStoreRig(t, t.TempDir(), "")
	other := *r.rig
	var err error
	other.address, err = freeAddress()
	check(t, err)
	other.ops, err = freeAddress()
	check(t, err)
	other.jars = r.jars
	second := filepath.Join(r.folder, "second.yaml") // the public URL stays the first one's
	other.writeTo(t, second, basics)
	other.serve(t, second)
	there := func(name string) int {
		a := other.as(name).ask(t, http.MethodGet, "-xhr", "/x")
		r.oracle.judged = other.upstream.count()
		return a.StatusCode
	}
	knows := func(what string, name string, want int) {
		t.Helper()
		poll(t, "the other wall does not know of the "+what, func() bool { return there(name) == want })
	}
	knows("sign-in", "alice", http.StatusOK)
	r.jars["thief"] = jar{}
	for name, value := range r.jars["alice"] {
		r.jars["thief"][name] = value
	}
	if a := r.as("alice").ask(t, http.MethodPost, "-nav", "/_auth/logout", "Origin:"+r.publicURL); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-out: %s", a.Status)
	}
	knows("sign-out", "thief", http.StatusUnauthorized)
	r.as("bob").signIn(t, "bob@example.com", "/")
	knows("sign-in", "bob", http.StatusOK)
	command(t, r.file, "users", "block", "bob@example.com")
	knows("block", "bob", http.StatusForbidden)
}

// STO-206, STO-208: a store that is not ours alone, not ours, or not of our time.
func TestAttackStoreRefused(t *testing.T) {
	t.Parallel()
	sqlite := peerProgram(t, "sqlite3", "sqlite3")
	r := newStoreRig(t, t.TempDir(), "")
	if info, err := os.Stat(r.store()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("STO-206: %v, %v", info.Mode(), err)
	}
	r.wall.stop(t)
	whole, err := os.ReadFile(r.store())
	check(t, err)
	refused := func(what string, says ...string) {
		t.Helper()
		_, err := tryCommand(r.file, "serve")
		if err == nil {
			t.Errorf("%s: the wall starts", what)
			return
		}
		for _, word := range says {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v does not say %q", what, err, word)
			}
		}
	}
	statement := func(text string) {
		t.Helper()
		out, err := exec.Command(sqlite, r.store(), text).CombinedOutput() //nolint:gosec // a test's own
		if err != nil {
			t.Fatalf("%s: %v %s", text, err, out)
		}
	}
	statement("UPDATE meta SET value = '999' WHERE name = 'schema_version'")
	refused("STO-208 a newer store", "newer")
	check(t, os.WriteFile(r.store(), whole[:len(whole)/2], 0o600))
	refused("half a store", "backup")
	if got, err := os.ReadFile(r.store()); err != nil || len(got) != len(whole)/2 {
		t.Error("a damaged store was made anew")
	}
	check(t, os.WriteFile(r.store()+".real", whole, 0o600))
	check(t, os.Remove(r.store()))
	check(t, os.Symlink(r.store()+".real", r.store()))
	refused("STO-206 a link", "symbolic link")
	check(t, os.Remove(r.store()))
	check(t, os.Rename(r.store()+".real", r.store()))
	check(t, os.Chmod(r.store(), 0o644))
	r.wall = r.serveReady(t, r.file)
	if info, err := os.Stat(r.store()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("STO-206: open to others: %v, %v", info.Mode(), err)
	}
	if a := r.as("alice").ask(t, http.MethodGet, "-xhr", "/x"); a.StatusCode != http.StatusOK {
		t.Errorf("alice is out: %s", a.Status)
	}
}
