package directory

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/gate"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/picture"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/auth/session"
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

// Config is what a Handler needs; every field but Admins, Elsewhere and
// Pictures is required.
type Config struct {
	Gate *gate.Gate
	// InForce is the Gate of the configuration in force, which a reload may have put
	// in the place of this Handler's own: what streams for long asks it.
	InForce  func() *gate.Gate
	Doors    Doors
	Pages    *page.Pages
	Policy   *policy.Policy
	Store    *store.Store
	Sessions *session.Keeper
	// Refresh reads the revocations anew, after something was revoked in the store.
	Refresh func(context.Context) error
	// Elsewhere is where the directory is, if it has an origin of its own and this is
	// not it: then only the pages about oneself are here. The zero value is none.
	Elsewhere page.Location
	// Pictures are those of people; nil for initials alone.
	Pictures *picture.Gallery
	// Admins are the addresses that hold the role, so that the last one is not
	// blocked unawares.
	Admins []string
	// Idle is the idle limit of sessions: one that has gone unused for longer is not
	// open any more.
	Idle time.Duration
	Log  *slog.Logger
	Now  func() time.Time
}

// A Handler serves the directory of one configuration. It is immutable and safe
// for concurrent use.
type Handler struct {
	Config
	bodies *template.Template
}

// New checks the configuration and reads the templates.
func New(c Config) (*Handler, error) {
	if c.Gate == nil || c.InForce == nil || c.Doors == nil || c.Pages == nil || c.Policy == nil || c.Store == nil ||
		c.Sessions == nil || c.Refresh == nil || c.Idle <= 0 || c.Log == nil || c.Now == nil {
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
	// path is what stands behind /_auth/users/ or /_auth/picture/.
	path   string
	client auth.Client
	who    *gate.Principal
	now    time.Time
}

const prefix = "/_auth/users"

// Serve answers /_auth/, what is below /_auth/users, the forms of both and the
// pictures on them, and reports whether path is one of them. The path is compared as it
// was sent: no other spelling is an alias.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, path string, c auth.Client) bool {
	v := &visit{w: w, r: r, client: c, now: h.Now()}
	switch path {
	case "/_auth/":
		h.only(v, false, h.own, http.MethodGet, http.MethodHead)
		return true
	case "/_auth/sessions/end", "/_auth/sessions/end-others":
		h.only(v, false, func(v *visit) { h.endOwn(v, strings.HasSuffix(path, "others")) }, http.MethodPost)
		return true
	}
	if id, ok := strings.CutPrefix(path, picturePrefix); ok && h.Pictures != nil {
		v.path = id
		h.only(v, false, h.picture, http.MethodGet, http.MethodHead)
		return true
	}
	rest, ok := strings.CutPrefix(path, prefix)
	if !ok || rest != "" && (rest[0] != '/' || rest == "/") {
		return false
	}
	v.path = strings.TrimPrefix(rest, "/")
	switch {
	case h.isHere():
		h.route(v)
	case page.AudienceOf(r) == page.TopNavigation: // whatever it asked for: one page, and nothing of its own goes along
		h.Pages.Redirect(w, r, c.RequestID, http.StatusSeeOther, h.Elsewhere, page.LabelPage)
	default:
		h.problem(v, page.NotFound)
	}
	return true
}

// isHere tells whether the directory is on this origin.
func (h *Handler) isHere() bool { return h.Elsewhere == page.Location{} }

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

// route knows all that is below /_auth/users.
func (h *Handler) route(v *visit) {
	switch v.path {
	case "":
		h.only(v, true, h.list, http.MethodGet, http.MethodHead)
		return
	case "block", "unblock":
		h.only(v, true, func(v *visit) { h.change(v, auth.User{}, v.path) }, http.MethodGet, http.MethodHead, http.MethodPost)
		return
	case "activity":
		h.only(v, true, h.activity, http.MethodGet, http.MethodHead)
		return
	case "events":
		h.only(v, true, h.events, http.MethodGet, http.MethodHead)
		return
	case "export.csv", "export.json":
		h.only(v, true, h.exportUsers, http.MethodGet, http.MethodHead)
		return
	}
	id, what, _ := strings.Cut(v.path, "/")
	serve, methods := h.user, []string{http.MethodGet, http.MethodHead}
	if _, known := changes()[what]; known {
		serve = func(v *visit, u auth.User) { h.change(v, u, what) }
		methods = append(methods, http.MethodPost)
	} else if what == "export.json" {
		serve = h.exportUser
	} else if what != "" || strings.HasSuffix(v.path, "/") {
		serve = func(v *visit, _ auth.User) { h.problem(v, page.NotFound) }
	}
	h.only(v, true, func(v *visit) {
		u, err := h.find(v, auth.UserID(id))
		if err != nil {
			h.fail(v, "read the user", err)
			return
		}
		serve(v, u)
	}, methods...)
}

// find looks somebody up. The error is auth.ErrNotFound where there is nobody, as for
// an empty id.
func (h *Handler) find(v *visit, id auth.UserID) (auth.User, error) {
	if id == "" {
		return auth.User{}, auth.ErrNotFound
	}
	return h.Store.User(v.r.Context(), store.Who{User: id})
}

// only serves whom the gate lets in, by the methods that there are.
func (h *Handler) only(v *visit, admins bool, serve func(*visit), methods ...string) {
	if !slices.Contains(methods, v.r.Method) {
		v.w.Header().Set("Allow", strings.Join(methods, ", "))
		h.problem(v, page.MethodNotAllowed)
		return
	}
	if h.enter(v, admins) {
		serve(v)
	}
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

// refuse says what is wrong with a request.
func (h *Handler) refuse(v *visit, what unclear) {
	h.Pages.Render(v.w, v.r, v.client.RequestID, page.Error{Problem: page.BadRequest, What: string(what)})
}

// fail tells a person what went wrong in fixed words and the log precisely.
func (h *Handler) fail(v *visit, action string, err error) {
	switch {
	case errors.Is(err, auth.ErrNotFound):
		h.problem(v, page.NotFound)
		return
	case errors.Is(err, store.ErrCursor):
		h.refuse(v, "It holds, for where the list goes on, what no list gave out.")
		return
	}
	if what, ok := errors.AsType[unclear](err); ok {
		h.refuse(v, what)
		return
	}
	h.Log.ErrorContext(v.r.Context(), "directory failed",
		slog.String("request_id", v.client.RequestID), slog.String("action", action), slog.Any("error", err))
	problem := page.Internal
	if errors.Is(err, auth.ErrUnavailable) {
		problem = page.RevocationsStale
		if v.who != nil {
			problem = page.DirectoryAway
		}
	}
	h.problem(v, problem)
}
