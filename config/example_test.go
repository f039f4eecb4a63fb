package config_test

import (
	"bytes"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const examplePath = "../config.example.yaml"

const exampleHead = `# loginwall.yaml: every key, what it means, and its default.
#
# This file is written by "go test ./config -run Example -update" from the comments
# of config.Config. Keys that are commented out stand at their default, or show
# what could be written. Nothing else may stand in the file: an unknown or repeated
# key is an error.
#
# Durations are a number with a unit: 90s, 15m, 168h. A whole value may be ${NAME},
# for an environment variable that must not be empty. Relative paths start in the
# folder of this file; credential:NAME is a file that systemd loads (LoadCredential=).
`

// smallest is the smallest useful file: what is not commented out.
var smallest = []string{
	"public_url", "upstream", "google", "google.client_id", "google.client_secret_file", "allow", "allow.domains",
}

func TestExample(t *testing.T) {
	want := generate(t)
	if *update {
		if err := os.WriteFile(examplePath, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("config.example.yaml is not what the comments of config.Config say; run go test ./config -run Example -update (-want +got):\n%s", diff)
	}
}

var update = flag.Bool("update", false, "write config.example.yaml")

func TestExampleLoads(t *testing.T) {
	folder := t.TempDir()
	text := inFolder(t, folder, string(generate(t)))
	c := mustLoad(t, text)
	// All that is not commented out are the required keys, so the rest must be
	// what an even smaller file gives.
	if c.PublicURL.String() != "https://tool.example.com" || c.Upstream.String() != "http://127.0.0.1:3000" || c.Allow.Domains[0].Name != "example.com" {
		t.Errorf("got %v, %v, %v", c.PublicURL, c.Upstream, c.Allow)
	}
}

// Whoever takes a # away must get a file that loads.
func TestExampleLoadsUncommented(t *testing.T) {
	folder := t.TempDir()
	text := inFolder(t, folder, string(generate(t)))
	text = regexp.MustCompile(`(?m)^( *)#(\S|  |$)`).ReplaceAllString(text, "$1$2")
	for _, name := range []string{"google", "oidc"} {
		other := map[string]string{"google": "oidc", "oidc": "google"}[name]
		one := regexp.MustCompile(`(?m)^`+other+`:\n(\n?  .*\n)*`).ReplaceAllString(text, "")
		if name == "google" { // Google tells no groups
			one = regexp.MustCompile(`(?m)^ *groups: .*\n`).ReplaceAllString(one, "")
		}
		// A certificate is the CA's, for one host, or one's own.
		if name == "google" {
			one = regexp.MustCompile(`(?m)^  acme:\n(\n?    .*\n)*`).ReplaceAllString(one, "")
		} else {
			one = regexp.MustCompile(`(?m)^  (cert|key)_file: .*\n|^directory:\n(\n?  .*\n)*`).ReplaceAllString(one, "")
		}
		c := mustLoad(t, one)
		if (c.TLS.ACME == nil) != (c.TLS.Certificate != nil) || (c.TLS.ACME == nil) != (name == "google") || c.TLS.RedirectListen == "" {
			t.Errorf("%s: got TLS %+v", name, c.TLS)
		}
		if (c.Google != nil) != (name == "google") || (c.OIDC != nil) != (name == "oidc") {
			t.Errorf("%s: got google %v, oidc %v", name, c.Google, c.OIDC)
		}
		if len(c.Routes) != 1 || len(c.Admins) != 1 || c.Contact == "" || len(c.Session.OldKeys) != 1 {
			t.Errorf("%s: something is still commented out: %+v", name, c)
		}
	}
}

// inFolder makes the files that the example names, and lets it name them.
func inFolder(t *testing.T, folder, text string) string {
	t.Helper()
	for _, name := range []string{"google_client_secret", "oidc_client_secret", "loginwall_key", "loginwall_old_key"} {
		writeFile(t, filepath.Join(folder, name), "s3cr3t-of-"+name+"\n", 0o600)
	}
	for _, name := range []string{"provider-ca.pem", "upstream-ca.pem", "acme-ca.pem", "logo.png"} {
		writeFile(t, filepath.Join(folder, name), testCA, 0o644)
		text = strings.ReplaceAll(text, name, filepath.Join(folder, name))
	}
	pair := newPair(t, "tool.example.com", -time.Hour, time.Hour)
	for name, data := range map[string]string{"fullchain.pem": pair.cert, "privkey.pem": pair.key} {
		writeFile(t, filepath.Join(folder, name), data, 0o600)
		text = strings.ReplaceAll(text, name, filepath.Join(folder, name))
	}
	return strings.ReplaceAll(text, "/run/secrets/", folder+"/")
}

// generate writes the example from the source of package config.
func generate(t *testing.T) []byte {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	g := generator{t: t, types: map[string]*ast.StructType{}}
	for _, decl := range file.Decls {
		types, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range types.Specs {
			if spec, ok := spec.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok && isSection(s) {
					g.types[spec.Name.Name] = s
				}
			}
		}
	}
	g.out.WriteString(exampleHead)
	g.section("Config", "", "", "")
	return g.out.Bytes()
}

type generator struct {
	t     *testing.T
	types map[string]*ast.StructType
	out   bytes.Buffer
}

// section writes the keys of a struct. Within a section that is commented out
// mark is "#" and goes before the indentation.
func (g *generator) section(name, prefix, mark, indent string) {
	for i, f := range g.types[name].Fields.List {
		tag := tagOf(f)
		key, option, _ := strings.Cut(tag.Get("yaml"), ",")
		typeName, isList := typeOf(f.Type)
		if option == "inline" {
			g.section(typeName, prefix, mark, indent)
			continue
		}
		if key == "" || key == "-" {
			continue
		}
		if f.Doc == nil {
			g.t.Fatalf("%s.%s has no comment", name, key)
		}
		value, hasDefault := tag.Lookup("default")
		if hasDefault && isList {
			value = "[" + strings.ReplaceAll(value, ",", ", ") + "]"
		}
		if example, ok := tag.Lookup("example"); ok {
			if value = example; option == "file" {
				key += "_file"
			}
		}
		full := strings.TrimPrefix(prefix+"."+key, ".")
		hidden := ""
		if mark == "" && !slices.Contains(smallest, full) {
			hidden = "#"
		}
		if prefix == "" {
			g.out.WriteString("\n")
		} else if i > 0 {
			g.out.WriteString(mark + "\n")
		}
		for line := range strings.Lines(f.Doc.Text()) {
			g.out.WriteString(mark + indent + "# " + line)
		}
		_, isStruct := g.types[typeName]
		switch {
		case isStruct && isList && value == "":
			g.out.WriteString("#" + key + ":\n")
			before := g.out.Len()
			g.section(typeName, full+"[0]", "#", "    ")
			g.dash(before)
		case isStruct && value == "":
			g.out.WriteString(mark + hidden + indent + key + ":\n")
			g.section(typeName, full, mark+hidden, indent+"  ")
		case value == "":
			g.t.Fatalf("%s has neither a default nor an example", full)
		case mark == "":
			g.out.WriteString(indent + hidden + key + ": " + value + "\n")
		default:
			g.out.WriteString(mark + indent + key + ": " + value + "\n")
		}
	}
}

// dash makes an entry of a list of what was written since before: its first key
// gets the dash.
func (g *generator) dash(before int) {
	text := g.out.String()
	entry := regexp.MustCompile(`(?m)^#    (\w)`)
	at := entry.FindStringIndex(text[before:])
	g.out.Truncate(before + at[0])
	g.out.WriteString("#  - " + text[before+at[0]+len("#    "):])
}

func isSection(s *ast.StructType) bool {
	return slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool { return tagOf(f).Get("yaml") != "" })
}

func tagOf(f *ast.Field) reflect.StructTag {
	if f.Tag == nil {
		return ""
	}
	return reflect.StructTag(strings.Trim(f.Tag.Value, "`"))
}

func typeOf(e ast.Expr) (name string, isList bool) {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name, false
	case *ast.StarExpr:
		return typeOf(e.X)
	case *ast.ArrayType:
		name, _ = typeOf(e.Elt)
		return name, true
	}
	return "", false
}
