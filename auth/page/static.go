package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var static embed.FS

const staticPrefix = ownPrefix + "static/"

// A file is one of our own, under a name that changes with its content.
type file struct {
	name, contentType string
	body              []byte
}

// readFiles returns the files under both of their names: "style.css" for
// templates, "style.<hash>.css" for Static.
func readFiles() (map[string]file, error) {
	types := map[string]string{".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
	entries, err := fs.ReadDir(static, "static")
	if err != nil {
		return nil, fmt.Errorf("page: reading the embedded files: %w", err)
	}
	files := make(map[string]file, 2*len(entries))
	for _, entry := range entries {
		body, err := fs.ReadFile(static, "static/"+entry.Name())
		if err != nil {
			return nil, fmt.Errorf("page: reading the embedded files: %w", err)
		}
		ext := path.Ext(entry.Name())
		sum := sha256.Sum256(body)
		f := file{
			name:        strings.TrimSuffix(entry.Name(), ext) + "." + hex.EncodeToString(sum[:8]) + ext,
			contentType: types[ext], body: body,
		}
		files[entry.Name()], files[f.name] = f, f
	}
	return files, nil
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
	f, ok := p.files[strings.TrimPrefix(r.URL.Path, staticPrefix)]
	if !ok || staticPrefix+f.name != r.URL.EscapedPath() {
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
	write(w, r, http.StatusOK, f.contentType, f.body)
}
