package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// Figures are a table of what a long test saw, kept beside the code.
type figures struct {
	title, about string
	columns      []string
	rows         [][]string
}

func (f *figures) add(t *testing.T, row []string) {
	t.Helper()
	t.Log(strings.Join(row, " | "))
	f.rows = append(f.rows, row)
}

// write keeps the table in a file, unless the test saw something wrong.
func (f *figures) write(t *testing.T, file string) {
	t.Helper()
	if t.Failed() {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n%d cores, %s, %s.\n\n", f.title, f.about, runtime.NumCPU(), runtime.GOOS, runtime.Version())
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(f.columns, " | "), strings.Repeat("---|", len(f.columns)))
	for _, row := range f.rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	check(t, os.WriteFile(file, []byte(b.String()), 0o644)) //nolint:gosec // to be read
}
