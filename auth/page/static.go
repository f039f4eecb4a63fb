package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
)

//go:embed static
var static embed.FS

const staticPrefix = ownPrefix + "static/"

// stable is the one file that apps name: it has a second address, without a hash.
const stable = "session.js"

// remarks and airs are what only readers of a script's source need. No text in a script
// of ours has a space beside a sign.
var (
	remarks = regexp.MustCompile(`(?m)^\s*(//.*\n)?`)
	airs    = regexp.MustCompile(` ?([=(),{}?:&|<>!]+) ?`)
)

// A file is one of our own, under a name that changes with its content.
type file struct {
	name, contentType string
	body              []byte
}

// readFiles returns the files under both of their names, "style.css" for
// templates and "style.<hash>.css" for Static, and which of them is the app's sign.
func readFiles(c Config) (files map[string]file, sign string, err error) {
	types := map[string]string{".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".js": "text/javascript; charset=utf-8"}
	entries, err := fs.ReadDir(static, "static")
	if err != nil {
		return nil, "", fmt.Errorf("page: reading the embedded files: %w", err)
	}
	files = make(map[string]file, 2*len(entries)+2)
	add := func(name, contentType string, body []byte) {
		ext := path.Ext(name)
		sum := sha256.Sum256(body)
		f := file{strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:8]) + ext, contentType, body}
		files[name], files[f.name] = f, f
	}
	for _, entry := range entries {
		body, err := fs.ReadFile(static, "static/"+entry.Name())
		if err != nil {
			return nil, "", fmt.Errorf("page: reading the embedded files: %w", err)
		}
		if entry.Name() == "style.css" && c.Accent != "" {
			css, err := withAccent(string(body), c.Accent)
			if err != nil {
				return nil, "", err
			}
			body = []byte(css)
		}
		if path.Ext(entry.Name()) == ".js" {
			body = airs.ReplaceAll(remarks.ReplaceAll(body, nil), []byte("$1"))
		}
		add(entry.Name(), types[path.Ext(entry.Name())], body)
	}
	if len(c.Logo) == 0 {
		return files, "mark.svg", nil
	}
	sign, contentType, err := logoFile(c.Logo)
	if err != nil {
		return nil, "", err
	}
	add(sign, contentType, c.Logo)
	return files, sign, nil
}

// asset is the address of a file, for templates.
func (p *Pages) asset(name string) (string, error) {
	f, ok := p.files[name]
	if !ok {
		return "", fmt.Errorf("page: no file %q", name)
	}
	return p.origin + staticPrefix + f.name, nil
}

// Static serves /_auth/static/: the stylesheet and the icons, which hold nothing
// about anybody and may be kept for ever, as a changed file has a changed name.
func (p *Pages) Static(w http.ResponseWriter, r *http.Request, requestID string) {
	name := strings.TrimPrefix(r.URL.Path, staticPrefix)
	f, ok := p.files[name]
	if !ok || name != f.name && name != stable || staticPrefix+name != r.URL.EscapedPath() {
		p.Render(w, r, requestID, Error{Problem: NotFound})
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		p.Render(w, r, requestID, Error{Problem: MethodNotAllowed})
		return
	}
	h := w.Header()
	p.Secure(h, requestID, LabelPage)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Del("Cross-Origin-Resource-Policy") // the page about a wrong host uses them
	if name == stable {
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", `"`+f.name+`"`)
		if r.Header.Get("If-None-Match") == h.Get("ETag") {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	write(w, r, http.StatusOK, f.contentType, f.body)
}
