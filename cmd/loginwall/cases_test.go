package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	goversion "go/version"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/cases.md anew")

// TestCases keeps testdata/cases.md: each security case of testdata/cases.tsv, and
// which tests hold it. A test holds a case by naming its id: in its name, in that of
// a subtest, in its comment, or in a script. P2 cases are decisions, and may stand in
// SECURITY.md alone.
func TestCases(t *testing.T) {
	cases := readCases(t)
	known := map[string]bool{}
	for _, c := range cases {
		known[c.id] = true
	}
	holders := findHolders(t, "../..")
	for id, where := range holders {
		if !known[id] {
			t.Errorf("%s is no case, but stands in %s", id, slices.Sorted(maps.Keys(where)))
		}
	}
	var text strings.Builder
	text.WriteString("# Security cases\n\nWritten by TestCases (`go test ./cmd/loginwall -run TestCases -update`) from `cases.tsv` and from where tests name the ids.\n" +
		"P0 holds from the first release, P1 before 1.0, P2 is decided and written down in SECURITY.md.\n\n" +
		"| case | gate | what must hold | held by |\n|---|---|---|---|\n")
	for _, c := range cases {
		where := slices.Sorted(maps.Keys(holders[c.id]))
		if len(where) == 0 {
			t.Errorf("%s (%s) is held by no test: %s", c.id, c.gate, c.says)
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s |\n", c.id, c.gate, c.says, strings.Join(where, "<br>"))
	}
	const file = "testdata/cases.md"
	if *update {
		check(t, os.WriteFile(file, []byte(text.String()), 0o644))
	}
	written, err := os.ReadFile(file)
	check(t, err)
	if diff := cmp.Diff(string(written), text.String()); diff != "" {
		t.Errorf("%s is not up to date: go test ./cmd/loginwall -run TestCases -update (-file +tests):\n%.3000s", file, diff)
	}
}

type securityCase struct{ id, gate, says string }

func readCases(t *testing.T) []securityCase {
	t.Helper()
	text, err := os.ReadFile("testdata/cases.tsv")
	check(t, err)
	var cases []securityCase
	for line := range strings.Lines(string(text)) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(parts) != 3 || !caseID.MatchString(parts[0]) || !regexp.MustCompile(`^P[012]$`).MatchString(parts[1]) || parts[2] == "" {
			t.Fatalf("cases.tsv: %q", line)
		}
		cases = append(cases, securityCase{parts[0], parts[1], parts[2]})
	}
	return cases
}

const caseAreas = `HDR|BYP|SMG|RED|TOK|STA|COO|SES|POL|CSR|STR|DOS|STO|IDP|ADM|LOG|CFG|META`

var (
	caseID = regexp.MustCompile(`\b(` + caseAreas + `)-\d{3}\b`)
	// caseName is an id in the name of a Go test, where no dash can stand:
	// TestSES137143Ended, TestBYP041And042Targets.
	caseName = regexp.MustCompile(`(` + caseAreas + `)(\d{3}(?:(?:And|to)?\d{3})*)`)
)

// findHolders returns, for each case, the tests that name it.
func findHolders(t *testing.T, root string) map[string]map[string]bool {
	t.Helper()
	holders := map[string]map[string]bool{}
	hold := func(id, where string) {
		if holders[id] == nil {
			holders[id] = map[string]bool{}
		}
		holders[id][where] = true
	}
	check(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && path != root):
			return filepath.SkipDir
		case strings.HasSuffix(name, "_test.go"), strings.Contains(name, "storetest/") && strings.HasSuffix(name, ".go"):
			return holdersInGo(path, filepath.ToSlash(name), hold)
		case strings.HasSuffix(name, ".txtar"), name == "SECURITY.md", name == "Makefile":
			text, err := os.ReadFile(path)
			for _, id := range caseID.FindAllString(string(text), -1) {
				hold(id, filepath.ToSlash(name))
			}
			return err
		}
		return nil
	}))
	return holders
}

func holdersInGo(path, name string, hold func(id, where string)) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		start := f.Pos()
		if f.Doc != nil {
			start = f.Doc.Pos()
		}
		where := name + " " + f.Name.Name
		for _, id := range caseID.FindAllString(string(text[files.Position(start).Offset:files.Position(f.End()).Offset]), -1) {
			hold(id, where)
		}
		for _, found := range caseName.FindAllStringSubmatch(f.Name.Name, -1) {
			for _, number := range regexp.MustCompile(`\d{3}`).FindAllString(found[2], -1) {
				hold(found[1]+"-"+number, where)
			}
		}
	}
	return nil
}

// META-251: the floors of what we build on; older ones have known holes. What came
// to light since is govulncheck's to say, where there is a network (make vulncheck).
func TestFloors(t *testing.T) {
	text, err := os.ReadFile("../../go.sum")
	check(t, err)
	for module, floor := range map[string]string{
		"github.com/go-jose/go-jose/v4": "v4.1.4", "golang.org/x/net": "v0.55.0", "golang.org/x/crypto": "v0.45.0", "golang.org/x/oauth2": "v0.27.0",
	} {
		for _, found := range regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(module)+` (v[0-9.]+) h1:`).FindAllStringSubmatch(string(text), -1) {
			if goversion.Compare("go"+found[1][1:], "go"+floor[1:]) < 0 {
				t.Errorf("%s %s is older than %s", module, found[1], floor)
			}
		}
	}
	if v := runtime.Version(); strings.HasPrefix(v, "go1.") && goversion.Compare(v, "go1.26.6") < 0 {
		t.Errorf("built with %s, older than go1.26.6", v)
	}
}
