// Package hygiene keeps tests from leaving things behind, and from leaving things out.
// When the tests of a package are over, goroutines, descriptors and child processes are
// back to what they were before the first of them. It is what every TestMain hands its
// tests to. A login wall runs for months, and what a test leaks, a request or a reload
// leaks too.
package hygiene

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// patience is how long the last goroutines may take to end.
const patience = time.Minute

// Tests runs the tests of a package. It has the one method of *testing.M that
// testscript.Main asks for.
type Tests struct {
	M *testing.M
}

// Run runs the tests and returns the exit code of the process: 1 also when they pass but
// something is left behind, which it then writes to standard error.
func (t Tests) Run() int {
	before := take()
	if code := t.M.Run(); code != 0 || fuzzing() {
		return code
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections() //nolint:forcetypeassert // the standard library's
	after := take()
	for began := time.Now(); after.exceeds(before) && time.Since(began) < patience; after = take() {
		time.Sleep(10 * time.Millisecond)
	}
	if !after.exceeds(before) {
		return 0
	}
	fmt.Fprintf(os.Stderr, "the tests leave something behind: %v before, %v after\n", before, after)
	_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
	for _, file := range descriptors() {
		target, _ := os.Readlink(file)
		fmt.Fprintln(os.Stderr, filepath.Base(file), target)
	}
	return 1
}

// Missing skips a test that needs a real thing which is not here, and says how to get
// it. Where nothing may be missing, under CI=true, the test fails.
func Missing(t testing.TB, what, remedy string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not here (%s)", what, remedy)
	}
	t.Skipf("%s is not here (%s)", what, remedy)
}

// fuzzing reports whether this is go test -fuzz, which leaves a goroutine of its own.
func fuzzing() bool {
	f := flag.Lookup("test.fuzz")
	return f != nil && f.Value.String() != ""
}

// A count is what a process holds.
type count struct {
	goroutines, descriptors, children int
}

func (c count) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors and %d child processes", c.goroutines, c.descriptors, c.children)
}

func (c count) exceeds(before count) bool {
	return c.goroutines > before.goroutines || c.descriptors > before.descriptors || c.children > before.children
}

// take counts. Where there is no /proc, only goroutines count.
func take() count {
	children := 0
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, b := range text {
			if b == ' ' {
				children++
			}
		}
	}
	return count{runtime.NumGoroutine(), len(descriptors()), children}
}

func descriptors() []string {
	files, _ := filepath.Glob("/proc/self/fd/*")
	return files
}
