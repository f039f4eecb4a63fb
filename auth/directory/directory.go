package directory

import (
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/gate"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/auth/store"
)

//go:embed templates/*.html
var templates embed.FS

// Doors answer who is not let in; auth/login has them.
type Doors interface {
	// Challenge asks somebody to sign in.
	Challenge(w http.ResponseWriter, r *http.Request, c auth.Client, d gate.Decision)
	// Deny turns somebody away.
	Deny(w http.ResponseWriter, r *http.Request, c auth.Client, d gate.Decision)
}

// Config is what a Handler needs; every field is required.
type Config struct {
	Gate   *gate.Gate
	Doors  Doors
	Pages  *page.Pages
	Policy *policy.Policy
	Store  *store.Store
	Log    *slog.Logger
	Now    func() time.Time
}

// A Handler serves the directory of one configuration. It is immutable and safe
// for concurrent use.
type Handler struct {
	Config
	bodies *template.Template
}

// New checks the configuration and reads the templates.
func New(c Config) (*Handler, error) {
	if c.Gate == nil || c.Doors == nil || c.Pages == nil || c.Policy == nil || c.Store == nil || c.Log == nil || c.Now == nil {
		return nil, errors.New("directory: something required is missing in the Config")
	}
	bodies, err := c.Pages.Parse(templates, "templates/*.html")
	if err != nil {
		return nil, err
	}
	return &Handler{c, bodies}, nil
}

// A visit is one request of somebody whom the gate let in.
type visit struct {
	w http.ResponseWriter
	r *http.Request
	// path is what stands behind /_auth/users, without its first slash.
	path   string
	client auth.Client
	who    *gate.Principal
	now    time.Time
}

const prefix = "/_auth/users"

// Serve answers what is below /_auth/users and reports whether path is. The path
// is compared as it was sent: no other spelling is an alias.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, path string, c auth.Client) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	if !ok || rest != "" && rest[0] != '/' || rest == "/" {
		return false
	}
	v := &visit{w: w, r: r, path: strings.TrimPrefix(rest, "/"), client: c, now: h.Now()}
	if h.enter(v, true) {
		h.route(v)
	}
	return true
}

// enter asks the gate, and answers where it does not let in.
func (h *Handler) enter(v *visit, admins bool) bool {
	d, err := h.Gate.DecideOwn(admins, v.r.Header["Cookie"])
	switch {
	case err != nil:
		h.fail(v, "look the session up", err)
		return false
	case d.Verdict() == policy.Challenge:
		h.Doors.Challenge(v.w, v.r, v.client, d)
		return false
	case d.Verdict() != policy.Allow || d.Principal() == nil:
		h.Doors.Deny(v.w, v.r, v.client, d)
		return false
	}
	v.who = d.Principal()
	return true
}

func (h *Handler) route(v *visit) {
	switch v.path {
	case "":
		h.only(v, h.list, http.MethodGet, http.MethodHead)
	default:
		h.Pages.Render(v.w, v.r, v.client.RequestID, page.Error{Problem: page.NotFound})
	}
}

func (h *Handler) only(v *visit, serve func(*visit), methods ...string) {
	if slices.Contains(methods, v.r.Method) {
		serve(v)
		return
	}
	v.w.Header().Set("Allow", strings.Join(methods, ", "))
	h.problem(v, page.MethodNotAllowed)
}

// show answers with a page for people and with value for programs.
func (h *Handler) show(v *visit, title, template string, data, value any) {
	h.Pages.Render(v.w, v.r, v.client.RequestID, page.Content{
		Title: title, Section: "users", Body: h.bodies.Lookup(template), Data: data, JSON: value,
	})
}

func (h *Handler) problem(v *visit, p page.Problem) {
	h.Pages.Render(v.w, v.r, v.client.RequestID, page.Error{Problem: p, To: page.ParseTarget(v.r.URL.RequestURI())})
}

// fail tells a person what went wrong in fixed words and the log precisely.
func (h *Handler) fail(v *visit, action string, err error) {
	switch {
	case errors.Is(err, auth.ErrNotFound):
		h.problem(v, page.NotFound)
		return
	case errors.Is(err, store.ErrCursor):
		h.problem(v, page.BadRequest)
		return
	}
	h.Log.ErrorContext(v.r.Context(), "directory: "+action+" failed",
		slog.String("request_id", v.client.RequestID), slog.Any("error", err))
	problem := page.Internal
	if errors.Is(err, auth.ErrUnavailable) {
		problem = page.RevocationsStale
		if v.who != nil {
			problem = page.DirectoryAway
		}
	}
	h.problem(v, problem)
}

// query reads the address's query; one that cannot be read whole is empty.
func (v *visit) query() url.Values {
	q, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil {
		return nil
	}
	return q
}
