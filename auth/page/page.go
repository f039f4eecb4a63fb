package page

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

//go:embed templates/*.html
var templates embed.FS

// Config is what the pages need to know.
type Config struct {
	// PublicURL is the wall's one origin. Required.
	PublicURL *url.URL
	// Contact is one line for the denial page: whom to ask. An address or a link
	// in it can be followed. May be empty.
	Contact string
	// ProviderName is what people call the provider: "Google" where it is empty.
	ProviderName string
	// AppName is what people call the app. Where it is empty, it is the public host,
	// or on one's own machine "this app": there the host says nothing.
	AppName string
	// Logo is the app's sign, instead of ours: a PNG, JPEG or WebP image. May be empty.
	Logo []byte
	// Accent is the colour of links and buttons, as #rrggbb; empty for our own.
	Accent string
}

// Pages renders every answer of loginwall's own. It is immutable and safe for
// concurrent use.
type Pages struct {
	origin   string // scheme://host[:port], as a browser writes it
	host     string // host[:port]
	https    bool
	contact  []part
	provider string
	name     string // of the app, as a label
	app      string // the same within a sentence
	policy   string // Content-Security-Policy
	words    map[Problem]wording
	denials  map[string]denial
	files    map[string]file
	sign     string             // the name of the logo or of our own mark among the files
	base     *template.Template // never executed, so that Parse can clone it
	all      *template.Template
}

// New checks the configuration and reads the templates. What an operator chose
// wrong comes back as a *BrandError.
func New(c Config) (*Pages, error) {
	u := c.PublicURL
	if u == nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("page: PublicURL must be an origin: scheme, host, optional port, nothing else")
	}
	p := &Pages{
		host: strings.ToLower(u.Host), https: u.Scheme == "https",
		contact: contactLine(c.Contact), provider: c.ProviderName, name: c.AppName, app: c.AppName,
	}
	if port := u.Port(); port == "" || p.https && port == "443" || !p.https && port == "80" {
		p.host = strings.TrimSuffix(p.host, ":"+port)
	}
	p.origin = u.Scheme + "://" + p.host
	if p.provider == "" {
		p.provider = "Google"
	}
	if c.AppName == "" {
		p.name, p.app = p.host, p.host
		if !p.https { // as only loopback names can be
			p.app = "this app"
		}
	}
	// Our own files are named absolutely, for the page that tells of a wrong host;
	// 'self' alone would be that host.
	p.policy = "default-src 'none'; style-src 'self' " + p.origin + "; img-src 'self' " + p.origin +
		"; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
	fill := strings.NewReplacer("{app}", p.app, "{host}", p.host, "{provider}", p.provider).Replace
	p.words = wordings()
	for problem, w := range p.words {
		w.title, w.text, w.hint = fill(w.title), fill(w.text), fill(w.hint)
		p.words[problem] = w
	}
	p.denials = denials()
	for reason, d := range p.denials {
		p.denials[reason] = denial{fill(d.title), fill(d.text)}
	}
	err := checkName(c.AppName)
	if err != nil {
		return nil, err
	}
	if p.files, p.sign, err = readFiles(c); err != nil {
		return nil, err
	}
	if p.base, err = template.New("page").Funcs(p.funcs()).ParseFS(templates, "templates/*.html"); err != nil {
		return nil, fmt.Errorf("page: reading the templates: %w", err)
	}
	if p.all, err = p.base.Clone(); err != nil {
		return nil, fmt.Errorf("page: reading the templates: %w", err)
	}
	return p, nil
}

// Parse reads templates of another package for use as Content.Body. They can use
// the functions and the named parts ("avatar", "icon", "time") of ours.
func (p *Pages) Parse(fsys fs.FS, patterns ...string) (*template.Template, error) {
	t, err := p.base.Clone()
	if err == nil {
		t, err = t.ParseFS(fsys, patterns...)
	}
	if err != nil {
		return nil, fmt.Errorf("page: reading templates: %w", err)
	}
	return t, nil
}

// Origin is public_url as a browser writes it in Origin.
func (p *Pages) Origin() string { return p.origin }

func (p *Pages) body(name string) *template.Template { return p.all.Lookup(name) }

// Secure sets the headers that every answer of our own carries. Render, Redirect
// and Plain call it; so must who writes an answer in another way, and may then
// replace Cache-Control.
//
// Strict-Transport-Security is for a year, for this host alone: what its
// subdomains or a preload list should do is not a login's to decide.
func (p *Pages) Secure(h http.Header, requestID string, label Label) {
	h.Set("X-Loginwall", string(label))
	h.Set("X-Request-Id", requestID)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if p.https {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// Render answers r with v: a page for people, JSON for programs. Headers that the
// caller has set before, such as Set-Cookie and Allow, stay.
func (p *Pages) Render(w http.ResponseWriter, r *http.Request, requestID string, v View) {
	p.RenderFor(w, r, requestID, AudienceOf(r), v)
}

// RenderFor is Render for an endpoint that knows its audience, as /_auth/me does.
func (p *Pages) RenderFor(w http.ResponseWriter, r *http.Request, requestID string, to Audience, v View) {
	a := v.answer(p, r)
	contentType := "text/html; charset=utf-8"
	var body bytes.Buffer
	var err error
	if to == Program {
		contentType = "application/json"
		err = p.json(&body, a, requestID)
	} else {
		err = p.html(&body, a, requestID)
	}
	if err != nil {
		// Only a template or a value of our own can be at fault. The answer is an
		// error all the same, and never an empty 200.
		p.Plain(w, r, requestID, http.StatusInternalServerError, LabelError, "internal error\n")
		return
	}
	h := w.Header()
	p.Secure(h, requestID, a.label)
	if a.script != "" {
		h.Set("Content-Security-Policy", p.policy+"; script-src "+p.origin+staticPrefix+p.files[a.script].name)
	}
	if a.foreignHost {
		h.Del("Strict-Transport-Security") // not ours to decide for another host
	}
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(a.retryAfter))
	}
	write(w, r, a.status, contentType, body.Bytes())
}

func (p *Pages) json(body *bytes.Buffer, a answer, requestID string) error {
	if m, ok := a.json.(*message); ok {
		m.RequestID = requestID
	}
	enc := json.NewEncoder(body)
	return enc.Encode(a.json)
}

// A frame is what surrounds a body.
type frame struct {
	Title, Section, RequestID string
	Script                    string
	Wide, Admin               bool
}

func (p *Pages) html(body *bytes.Buffer, a answer, requestID string) error {
	f := frame{Title: a.title, Section: a.section, RequestID: requestID, Script: a.script, Wide: a.wide, Admin: a.admin}
	// Head, body and foot are executed one after the other, each of them escaped
	// by html/template on its own, so that nothing is ever passed on as "safe".
	if err := p.all.ExecuteTemplate(body, "head", f); err != nil {
		return err
	}
	if err := a.body.Execute(body, a.data); err != nil {
		return err
	}
	return p.all.ExecuteTemplate(body, "foot", f)
}

// Plain answers with a short text, or with no body where text is empty: for
// proxies that ask, and for load balancers.
func (p *Pages) Plain(w http.ResponseWriter, r *http.Request, requestID string, status int, label Label, text string) {
	p.Secure(w.Header(), requestID, label)
	contentType := ""
	if text != "" {
		contentType = "text/plain; charset=utf-8"
	}
	write(w, r, status, contentType, []byte(text))
}

// Redirect sends the browser to l. It is the only place that writes a Location.
// The next page does not learn where it came from.
func (p *Pages) Redirect(w http.ResponseWriter, r *http.Request, requestID string, status int, l Location, label Label) {
	if l.url == "" {
		p.Render(w, r, requestID, Error{Problem: Internal})
		return
	}
	h := w.Header()
	p.Secure(h, requestID, label)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", l.url)
	write(w, r, status, "", nil)
}

func write(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	h := w.Header()
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client is gone; there is nobody to tell
	}
}
