package config

import (
	"fmt"
	"strings"
)

// A Problem is one thing that is wrong with the file, or a warning about it.
type Problem struct {
	File string
	// Line and Column count from 1.
	Line, Column int
	// Key is the full key, as in allow.domains[0]; empty for the file as a whole.
	Key string
	// What is wrong, and what to do about it (may be empty). Neither holds a secret.
	What, Do string
}

// String returns the one-line form file:line: key: what is wrong (what to do).
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.What)
	if p.Do != "" {
		b.WriteString(" (" + p.Do + ")")
	}
	return b.String()
}

// Error makes a Problem an error.
func (p Problem) Error() string { return p.String() }

// Problems are all that is wrong with a file, in the order of its lines.
type Problems []Problem

// Error returns one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// A Change is a key whose value differs between two configurations.
type Change struct {
	// Key is the full key, as in allow.domains.
	Key string
	// Old and New are the values as text; those of secrets are masked.
	Old, New string
	// Restart says that the change has no effect before a restart.
	Restart bool
}

// Diff tells what changed from old to new.
func Diff(old, new *Config) []Change { return nil }

// Problem returns an error about a key of the file, for what only its consumer can check.
func (c *Config) Problem(key, what, do string) Problem {
	return Problem{File: c.file, Line: 1, Column: 1, Key: key, What: what, Do: do}
}
