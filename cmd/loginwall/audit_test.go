package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/loginwall/loginwall/config"
	"github.com/loginwall/loginwall/proxy/observe"
)

// A disk that fills up within a line takes what is whole; the rest goes to stderr, and
// what comes when there is room again begins a line of its own.
func TestAuditFileOnAFullDisk(t *testing.T) { // not parallel: the limit is the process's
	file := filepath.Join(t.TempDir(), "audit.log")
	var stderr bytes.Buffer
	w := &wall{eyes: eyes{log: slog.New(slog.DiscardHandler), queue: observe.NewQueue(&stderr, 100, nil)}}
	w.site.Store(&site{cfg: &config.Config{Log: config.Log{Audit: config.AuditFile + file}}})
	write := func(lines string) {
		t.Helper()
		if n, err := (auditFile{w}).Write([]byte(lines)); n != len(lines) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}

	write("first\n")
	full(t, 17, func() { write("second\nthird\n" + strings.Repeat("x", 99) + "\nfifth\n") })
	write("sixth\n")
	write("seventh\n")
	check(t, w.queue.Close(t.Context()))
	if got, want := readFile(t, file), "first\nsecond\nthir\nsixth\nseventh\n"; got != want {
		t.Errorf("the file has %q, want %q", got, want)
	}
	if got, want := fmt.Sprintf("%q and %d", &stderr, w.queue.Dropped()), `"third\nfifth\n" and 1`; got != want {
		t.Errorf("stderr has %s dropped, want %s", got, want)
	}
}

// full runs f while no file may be longer than size.
func full(t *testing.T, size uint64, f func()) {
	t.Helper()
	var before syscall.Rlimit
	check(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	check(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: before.Max}))
	defer func() { check(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before)) }()
	f()
}
