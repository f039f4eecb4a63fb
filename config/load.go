package config

import (
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/loginwall/loginwall/auth"
)

const (
	// maxFile bounds the configuration, maxSecretFile a file with one secret or
	// key, maxCAFile a bundle of certificates (the whole Mozilla list is 220 KiB), maxCertFile
	// a certificate with its chain, or its key.
	maxFile       = 1 << 20
	maxSecretFile = 4 << 10
	maxLogo       = 100 << 10
	maxCAFile     = 4 << 20
	maxCertFile   = 256 << 10
)

// source is where a Config came from.
type source struct {
	file, folder string
	mode         fs.FileMode
	files        []string
	written      map[string]position
}

type position struct{ line, column int }

// Load reads the file at path and every file that it names, each of them once;
// env looks up the variables of ${NAME} values (os.LookupEnv). Relative paths in
// the file are relative to the folder of path.
//
// What is odd but works comes back as warnings. The error is a Problems with
// everything that is wrong; there is no Config then.
func Load(path string, env func(name string) (string, bool)) (*Config, []Problem, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, Problems{{File: path, Line: 1, Column: 1, What: "cannot be found: " + err.Error()}}
	}
	d := &decoder{
		env:    env,
		source: source{file: path, folder: filepath.Dir(full), files: []string{full}, written: map[string]position{}},
	}
	c := &Config{}
	if root := d.parse(full); root != nil {
		d.defaults("", reflect.ValueOf(c).Elem())
		d.mapping("", root, reflect.ValueOf(c).Elem())
		d.check(c)
	}
	if d.inline != "" && d.mode.Perm()&0o007 != 0 {
		d.warn(d.inline, "a secret stands in a file that is open to every user of this machine", "chmod 0600, or put it into a file of its own")
	}
	byLine := func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	}
	slices.SortStableFunc(d.problems, byLine)
	slices.SortStableFunc(d.warnings, byLine)
	if len(d.problems) > 0 {
		return nil, d.warnings, d.problems
	}
	c.source = d.source
	return c, d.warnings, nil
}

// parse reads the file as YAML and returns the mapping that is its one document,
// or nil after a problem.
func (d *decoder) parse(full string) *yaml.Node {
	data, mode, err := readFile(full, maxFile)
	if err != nil {
		do := ""
		if errors.Is(err, fs.ErrNotExist) {
			do = "name it with --config or LOGINWALL_CONFIG"
		}
		d.problem("", "the file "+err.Error(), do)
		return nil
	}
	d.mode = mode
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	doc, err := nextDocument(decoder)
	if err == nil && (len(doc.Content) == 0 || isNull(doc.Content[0])) || errors.Is(err, io.EOF) {
		d.problemAt(position{1, 1}, "", "the file is empty", "begin with public_url, upstream, google and allow, as in config.example.yaml")
		return nil
	}
	if err != nil {
		d.syntax(data, err)
		return nil
	}
	root := doc.Content[0]
	// A reader of the file sees two sets of rules; which one is in force?
	if second, err := nextDocument(decoder); err == nil {
		d.problemAt(position{second.Line, second.Column}, "", "a second document begins here", "keep one, and take the line --- out")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(data, err)
	}
	if root.Kind != yaml.MappingNode {
		d.problemAt(at(root), "", "the file is not a list of keys and values", "write lines such as public_url: https://tool.example.com")
		return nil
	}
	return root
}

// validLines counts the lines at the beginning of data that are YAML by
// themselves; behind them is what the parser did not like. Its own line is often
// that of the section around, or the end of the file.
func validLines(data []byte) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	says := func(line []byte) bool {
		line = bytes.TrimSpace(line)
		return len(line) > 0 && line[0] != '#'
	}
	for n := len(lines) - 1; n >= 0; n-- {
		if n > 0 && !says(lines[n-1]) {
			continue // what holds of these lines holds of those before it
		}
		if !isYAML(bytes.Join(lines[:n], nil)) {
			continue
		}
		for n < len(lines)-1 && !says(lines[n]) {
			n++
		}
		return n
	}
	return 0
}

func isYAML(data []byte) bool {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		if _, err := nextDocument(decoder); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

var errParser = errors.New("yaml: the parser gave up")

// nextDocument returns the next document, or io.EOF. A panic of the parser is an
// error: a file that somebody saves must not take down the wall that watches it.
func nextDocument(decoder *yaml.Decoder) (doc *yaml.Node, err error) {
	defer func() {
		if recover() != nil {
			doc, err = nil, errParser
		}
	}()
	doc = &yaml.Node{}
	if err := decoder.Decode(doc); err != nil {
		return nil, err
	}
	return doc, nil
}

// readFile reads a file of at most limit bytes. Its errors do not name the file:
// somebody may have written a secret where its file's name belongs.
func readFile(full string, limit int64) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(full)
	if err != nil {
		return nil, 0, fileError(err)
	}
	if info.IsDir() {
		return nil, 0, errors.New("is a folder, not a file")
	}
	f, err := os.Open(full)
	if err != nil {
		return nil, 0, fileError(err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, 0, fileError(err)
	}
	if int64(len(data)) > limit {
		return nil, 0, errTooLarge
	}
	return data, info.Mode(), nil
}

var errTooLarge = errors.New("is larger than such a file can be")

// fileError drops the path from an error of package os, and says the common
// ones in plain words.
func fileError(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &plainError{"does not exist", fs.ErrNotExist}
	case errors.Is(err, fs.ErrPermission):
		return &plainError{"may not be read by this user", fs.ErrPermission}
	}
	return &plainError{"cannot be read: " + err.Error(), err}
}

type plainError struct {
	text  string
	cause error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.cause }

// named reads a file that the key names, and remembers it for Files.
func (d *decoder) named(key, path string, limit int64) ([]byte, fs.FileMode, bool) {
	if !slices.Contains(d.files, path) {
		d.files = append(d.files, path)
	}
	// A pipe would block the start for ever, and could be read only once.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		d.problem(key, "the file is not a regular one", "")
		return nil, 0, false
	}
	data, mode, err := readFile(path, limit)
	if err != nil {
		do := ""
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if do = "a relative path starts in " + d.folder; !strings.HasPrefix(path, d.folder) {
				do = ""
			}
		case errors.Is(err, fs.ErrPermission):
			do = "make the user that runs the wall its owner"
		}
		d.problem(key, "the file "+err.Error(), do)
		return nil, 0, false
	}
	return data, mode, true
}

// key reads a session key. Who can read it can sign in as anybody, so a file
// that is open to everybody on the machine is refused.
func (d *decoder) key(key, path string) Secret {
	data, mode, ok := d.named(key, path, maxSecretFile)
	if !ok {
		return Secret{}
	}
	if mode.Perm()&0o007 != 0 {
		d.problem(key, "the file is open to every user of this machine", "chmod 0600, or 0440 for a mounted secret")
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		d.problem(key, "the file is empty", "openssl rand -base64 32")
	}
	return auth.NewSecret(text)
}

// authorities reads a bundle of CA certificates.
func (d *decoder) authorities(key, path string) *x509.CertPool {
	data, _, ok := d.named(key, path, maxCAFile)
	if !ok {
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		d.problem(key, "the file holds no certificate", "it must be PEM: -----BEGIN CERTIFICATE-----")
		return nil
	}
	return pool
}

// File returns the path that Load was given, as messages name it.
func (c *Config) File() string { return c.file }

// Folder returns the absolute path of the folder in which relative paths start.
func (c *Config) Folder() string { return c.folder }

// Files returns the absolute paths of all files that the configuration consists
// of, itself first: when one of them changes, it is time to load again.
func (c *Config) Files() []string { return slices.Clone(c.files) }

// OwnKeyFile returns where the wall keeps the session key that it makes itself
// when session.key_file names none: beside the embedded store, under its name.
func (c *Config) OwnKeyFile() string {
	return strings.TrimSuffix(c.Store.Path, filepath.Ext(c.Store.Path)) + ".key"
}
