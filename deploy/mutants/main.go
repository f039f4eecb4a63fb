// Mutants takes out one defence at a time, in a copy of the tree, and runs the tests
// that should notice: a defence that can go without a red test is one that nobody
// holds. Run it from the root of the repository: go run ./deploy/mutants
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A mutant is one defence, taken out.
type mutant struct {
	id   string // of the security case that should notice; - is none of the table's
	what string
	file string
	// old stands in the file exactly once, and is replaced.
	old, replacement string
	pkg, run         string // the tests that should notice
}

const timeout = 4 * time.Minute

func main() {
	only := flag.String("run", "", "only mutants whose id or description matches this expression")
	workers := flag.Int("j", 2, "how many at once")
	results := flag.String("o", "", "write the table into this file")
	flag.Parse()
	if err := run(context.Background(), regexp.MustCompile(*only), *workers, *results); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// An outcome is what became of a mutant.
type outcome struct {
	caught []string // the tests that failed
	err    error    // it could not be tried
	took   time.Duration
}

func run(ctx context.Context, only *regexp.Regexp, workers int, results string) error {
	var chosen []mutant
	for _, m := range mutants() {
		if only.MatchString(m.id + " " + m.what) {
			chosen = append(chosen, m)
		}
	}
	outcomes := make([]outcome, len(chosen))
	next := make(chan int)
	var running sync.WaitGroup
	var failed error
	var mu sync.Mutex
	for range workers {
		running.Go(func() {
			tree, err := copyTree(ctx)
			defer os.RemoveAll(tree)
			for i := range next {
				if err != nil {
					outcomes[i] = outcome{err: err}
					continue
				}
				outcomes[i] = try(ctx, tree, chosen[i])
				mu.Lock()
				fmt.Println(line(chosen[i], outcomes[i]))
				mu.Unlock()
			}
		})
	}
	for i := range chosen {
		next <- i
	}
	close(next)
	running.Wait()

	var table strings.Builder
	table.WriteString("# Mutants\n\nWritten by `make mutants`: each line is a defence that was taken out of a copy of the tree, and the tests that noticed.\n\n" +
		"| case | taken out | file | noticed by |\n|---|---|---|---|\n")
	caught := 0
	for i, m := range chosen {
		o := outcomes[i]
		by := "**nobody**"
		if len(o.caught) > 0 {
			caught++
			by = strings.Join(o.caught, ", ")
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", m.id, m.what, m.file, by)
		if o.err != nil || len(o.caught) == 0 {
			failed = errors.Join(failed, fmt.Errorf("%s %s: %w", m.id, m.what, cmpErr(o.err, errSurvived)))
		}
	}
	fmt.Printf("%d of %d caught\n", caught, len(chosen))
	if results != "" && failed == nil {
		return os.WriteFile(results, []byte(table.String()), 0o644) //nolint:gosec // to be read
	}
	return failed
}

var errSurvived = errors.New("survived")

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func line(m mutant, o outcome) string {
	verdict := "SURVIVED"
	switch {
	case o.err != nil:
		verdict = "NOT TRIED: " + o.err.Error()
	case len(o.caught) > 0:
		verdict = "caught by " + strings.Join(o.caught, ", ")
	}
	return fmt.Sprintf("%s %s: %s (%.1f s)", m.id, m.what, verdict, o.took.Seconds())
}

// copyTree copies what git knows of, as it is now, into a folder of its own.
func copyTree(ctx context.Context) (string, error) {
	tree, err := os.MkdirTemp("", "loginwall-mutants-*")
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached").Output()
	if err != nil {
		return tree, fmt.Errorf("list the files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if err := copyFile(name, filepath.Join(tree, name)); err != nil {
			return tree, err
		}
	}
	return tree, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from) //nolint:gosec // a name that git knows
	if errors.Is(err, os.ErrNotExist) {
		return nil // removed, and not committed yet
	}
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm()) //nolint:gosec // in our own folder
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// try changes a file of the tree, runs the tests, and puts the file back.
func try(ctx context.Context, tree string, m mutant) (o outcome) {
	start := time.Now()
	defer func() { o.took = time.Since(start) }()
	path := filepath.Join(tree, m.file)
	text, err := os.ReadFile(path) //nolint:gosec // in our own folder
	if err != nil {
		return outcome{err: err}
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return outcome{err: fmt.Errorf("what is to be taken out stands %d times in %s", n, m.file)}
	}
	changed := strings.Replace(string(text), m.old, m.replacement, 1)
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		return outcome{err: err}
	}
	defer func() { o.err = errors.Join(o.err, os.WriteFile(path, text, 0o600)) }()

	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-vet=off", "-failfast", "-timeout", "2m", "-run", m.run, m.pkg)
	cmd.Dir = tree
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		if bytes.Contains(out, []byte("[no tests to run]")) {
			o.err = errors.New("no such test")
		}
		return o
	}
	if bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")) {
		o.err = fmt.Errorf("does not build: %s", out)
		return o
	}
	seen := map[string]bool{}
	for _, found := range regexp.MustCompile(`(?m)^--- FAIL: (\S+)`).FindAllSubmatch(out, -1) {
		if name := string(found[1]); !seen[name] {
			seen[name] = true
			o.caught = append(o.caught, name)
		}
	}
	if len(o.caught) == 0 { // a panic or a hang ends the whole
		o.caught = []string{m.run + " (did not end)"}
	}
	return o
}
