package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/loginwall/loginwall"

// A law forbids an import, and says why.
type law struct {
	importer, imported string // prefixes of package paths; of ours when they begin with a slash
	except             []string
	why                string
}

var laws = []law{
	{"/auth", "/proxy", nil, "auth decides and proxy carries: a decision that knew of HTTP's carriage could be swayed by it"},
	{"/", "/config", []string{"/cmd/"}, "only cmd knows the file; every other package has a Config of its own with just what it needs"},
	{"/", "/cmd", nil, "nothing may depend on the wiring"},
	{"/auth$", "net/http", nil, "the vocabulary holds behind every door, whatever the door speaks"},
	{"/auth/policy", "net/http", nil, "rules are pure functions"},
	{"/auth$", module, nil, "the vocabulary imports nothing of ours"},
	{"/", "github.com/coreos/go-oidc", []string{"/auth/oidc"}, "one package verifies tokens, so there is one place to get it right"},
	{"/", "modernc.org/sqlite", []string{"/auth/store"}, "one package speaks SQL"},
	{"/", "database/sql", []string{"/auth/store"}, "one package speaks SQL"},
	{"/", "github.com/prometheus", []string{"/proxy/observe", "/cmd/"}, "others report through plain functions and can be read without a metrics library"},
	{"/", "go.opentelemetry.io", []string{"/proxy/observe", "/cmd/"}, "others report through plain functions"},
	{"/", "github.com/gorilla/securecookie", []string{"/auth/seal"}, "one package seals"},
	{"/", "gopkg.in/yaml.v3", []string{"/config"}, "one package reads YAML"},
	{"/", "github.com/spf13/cobra", []string{"/cmd/"}, "flags belong to the command"},
}

type listed struct {
	ImportPath, Dir, Doc string
	Imports, GoFiles     []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Doc,Imports,GoFiles", "./...")
	cmd.Dir = repositoryRoot(t)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func repositoryRoot(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func (l law) brokenBy(p listed, imported string) bool {
	own := strings.TrimPrefix(p.ImportPath, module)
	for _, e := range l.except {
		if own == strings.TrimSuffix(e, "/") || strings.HasPrefix(own+"/", strings.TrimSuffix(e, "/")+"/") {
			return false
		}
	}
	return matches(l.importer, own) && matchesImport(l.imported, imported)
}

// matches reports whether own is the pattern or below it; a $ at the pattern's end leaves only the package itself.
func matches(pattern, own string) bool {
	if exact, ok := strings.CutSuffix(pattern, "$"); ok {
		return own == exact
	}
	return pattern == "/" || own == pattern || strings.HasPrefix(own, pattern+"/")
}

func matchesImport(pattern, path string) bool {
	if strings.HasPrefix(pattern, "/") {
		own, ok := strings.CutPrefix(path, module)
		return ok && matches(pattern, own)
	}
	return path == pattern || strings.HasPrefix(path, pattern+"/")
}

func TestImportLaws(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, imported := range p.Imports {
			for _, l := range laws {
				if l.brokenBy(p, imported) {
					t.Errorf("%s imports %s, but %s", p.ImportPath, imported, l.why)
				}
			}
		}
	}
}

// TestLawsCanBreak keeps the laws above from being written so that nothing can break them.
func TestLawsCanBreak(t *testing.T) {
	for _, l := range laws {
		importer := module + strings.TrimSuffix(l.importer, "$")
		if l.importer == "/" {
			importer = module + "/auth/page"
		}
		imported := l.imported
		if strings.HasPrefix(imported, "/") {
			imported = module + imported
		}
		if imported == module {
			imported += "/auth/policy"
		}
		if !l.brokenBy(listed{ImportPath: importer}, imported) {
			t.Errorf("%s importing %s should break: %s", importer, imported, l.why)
		}
	}
}

// TestShape keeps the limits that keep the house readable: the depth and density of
// the import graph, the widest struct and interface, and what the dependencies number.
func TestShape(t *testing.T) {
	const (
		maxDepth   = 5
		maxAverage = 2.5 // own imports per package, cmd aside
		maxFields  = 16
		maxMethods = 6
		maxDirect  = 20
	)
	packages := listPackages(t)
	own := map[string][]string{}
	edges, counted := 0, 0
	for _, p := range packages {
		var imports []string
		for _, i := range p.Imports {
			if strings.HasPrefix(i, module+"/") {
				imports = append(imports, i)
			}
		}
		own[p.ImportPath] = imports
		if !strings.HasPrefix(p.ImportPath, module+"/cmd/") {
			edges, counted = edges+len(imports), counted+1
		}
		if p.Doc == "" {
			t.Errorf("%s has no package doc: say what it owns and why it is so", p.ImportPath)
		}
		if name := filepath.Base(p.ImportPath); slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc"}, name) {
			t.Errorf("%s: a package is one noun; find the owner of what is in it", p.ImportPath)
		}
		checkTypes(t, p, maxFields, maxMethods)
	}
	var depth func(string) int
	depth = func(path string) int {
		deepest := 0
		for _, i := range own[path] {
			deepest = max(deepest, 1+depth(i))
		}
		return deepest
	}
	for path := range own {
		if d := depth(path); d > maxDepth {
			t.Errorf("%s: imports of ours are %d deep, want at most %d", path, d, maxDepth)
		}
	}
	if average := float64(edges) / float64(counted); average > maxAverage {
		t.Errorf("%.2f own imports per package, want at most %.1f", average, maxAverage)
	}
	if n := len(directDependencies(t)); n > maxDirect {
		t.Errorf("%d direct dependencies, want at most %d", n, maxDirect)
	}
}

// TestEveryPackageCleansUp: the tests of every package are watched for what they leave
// behind.
func TestEveryPackageCleansUp(t *testing.T) {
	for _, p := range listPackages(t) {
		tests, err := filepath.Glob(filepath.Join(p.Dir, "*_test.go"))
		check(t, err)
		watched := len(tests) == 0
		for _, file := range tests {
			text, err := os.ReadFile(file)
			check(t, err)
			watched = watched || strings.Contains(string(text), "hygiene.Tests{M: m}")
		}
		if !watched {
			t.Errorf("%s has no TestMain that calls hygiene.Tests", p.ImportPath)
		}
	}
}

func checkTypes(t *testing.T, p listed, maxFields, maxMethods int) {
	t.Helper()
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			switch typ := spec.Type.(type) {
			case *ast.StructType:
				if n := typ.Fields.NumFields(); n > maxFields && p.ImportPath != module+"/config" {
					t.Errorf("%s.%s has %d fields, want at most %d", p.ImportPath, spec.Name.Name, n, maxFields)
				}
			case *ast.InterfaceType:
				if n := typ.Methods.NumFields(); n > maxMethods {
					t.Errorf("%s.%s has %d methods, want at most %d", p.ImportPath, spec.Name.Name, n, maxMethods)
				}
			}
			return true
		})
	}
}

func directDependencies(t *testing.T) []string {
	t.Helper()
	mod, err := os.ReadFile(filepath.Join(repositoryRoot(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	var direct []string
	inside := false
	for line := range strings.Lines(string(mod)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "require (":
			inside = true
		case line == ")":
			inside = false
		case strings.HasSuffix(line, "// indirect"):
		case inside && line != "", strings.HasPrefix(line, "require "):
			direct = append(direct, line)
		}
	}
	if len(direct) == 0 {
		t.Error("found no direct dependencies in go.mod: this test has stopped seeing them")
	}
	return direct
}
