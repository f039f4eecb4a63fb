package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/internal/hygiene"
)

// STO-203.
func TestReadOnlyVolume(t *testing.T) {
	folder := tmpfs(t, "4m")
	path := filepath.Join(folder, "loginwall.db")
	s := open(t, store.Config{URL: "sqlite:" + path, Create: true})
	signIn(t, s, 1)
	_ = s.Close()
	if err := syscall.Mount("", folder, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, filepath.Join(folder, "new.db")} {
		_, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + name, Create: true})
		if err == nil || errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "read-only") && !strings.Contains(err.Error(), "must be able to write") {
			t.Errorf("Open(%s): %v", name, err)
		}
	}
}

// STO-204: nothing that was acknowledged is lost on a full disk, nothing else is
// acknowledged, and room heals it.
func TestFullDisk(t *testing.T) {
	folder := tmpfs(t, "2m")
	ballast := write(t, filepath.Join(folder, "ballast"), make([]byte, 1<<20))
	path := filepath.Join(folder, "loginwall.db")
	s := open(t, store.Config{URL: "sqlite:" + path, Create: true})
	var acknowledged []auth.Session
	var failure error
	for n := 0; failure == nil && n < 10_000; n++ {
		session, err := trySignIn(t.Context(), s, n)
		if failure = err; err == nil {
			acknowledged = append(acknowledged, session)
		}
	}
	if !errors.Is(failure, auth.ErrUnavailable) {
		t.Fatalf("after %d sign-ins: %v", len(acknowledged), failure)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("Ping: %v", err)
	}
	if _, err := s.Block(t.Context(), store.Who{Email: "a@example.com"}, "x", ""); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("Block: %v", err)
	}
	if _, err := s.Revocations(t.Context(), 0); err != nil {
		t.Errorf("Revocations: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping with room: %v", err)
	}
	acknowledged = append(acknowledged, signIn(t, s, 1))
	_ = s.Close()
	s = open(t, store.Config{URL: "sqlite:" + path})
	wantSessions(t, s, acknowledged)
}

func tmpfs(t *testing.T, size string) string {
	t.Helper()
	folder := t.TempDir()
	if err := syscall.Mount("none", folder, "tmpfs", 0, "size="+size); err != nil {
		hygiene.Missing(t, "a small file system: "+err.Error(), "only root can mount one")
	}
	t.Cleanup(func() { _ = syscall.Unmount(folder, 0) })
	return folder
}

func TestNetworkName(t *testing.T) {
	for magic, want := range map[uint32]string{0x6969: "NFS", 0xff534d42: "SMB", 0x01021997: "9p", 0xef53: "", 0x01021994: "", 0x65735546: ""} {
		if got := store.NetworkName(magic); got != want {
			t.Errorf("%#x: %q, want %q", magic, got, want)
		}
	}
}
