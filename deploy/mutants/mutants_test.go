package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A change of the tree that moves a defence has to take its mutant along: to run them
// all takes too long for every change.
func TestEveryMutantFits(t *testing.T) {
	for _, m := range mutants() {
		text, err := os.ReadFile(filepath.Join("..", "..", m.file)) //nolint:gosec // a name of ours
		if err != nil {
			t.Error(err)
			continue
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s %s: what is to be taken out stands %d times in %s, want 1", m.id, m.what, n, m.file)
		}
	}
}
