package directory

import (
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

const (
	// personOpen is how many open sessions the page of a person shows, and
	// personRows how many sign-ins and events at a time.
	personOpen = 100
	personRows = 10
)

// show is GET /_auth/users/ID: one person with the open sessions, all sign-ins and
// all events. Its query is sessions and events, where each list goes on.
func (h *Handler) user(v *visit, u auth.User) {
	q, err := v.query("sessions", "events", "done")
	if err != nil {
		h.fail(v, "show a user", err)
		return
	}
	ctx := v.r.Context()
	page, value := personPage{person: h.person(v, u), Notice: notices()[q.Get("done")], Now: v.now}, personValue{User: NewUserRow(u)}
	open, _, err := h.Store.Sessions(ctx, store.SessionQuery{User: u.ID, OpenOnly: true, Idle: h.Idle, Limit: personOpen})
	if err != nil {
		h.fail(v, "list open sessions", err)
		return
	}
	past, nextSession, err := h.Store.Sessions(ctx, store.SessionQuery{User: u.ID, Limit: personRows, After: store.Cursor(q.Get("sessions"))})
	if err != nil {
		h.fail(v, "list sessions", err)
		return
	}
	events, nextEvent, err := h.Store.Events(ctx, store.EventQuery{User: u.ID, Limit: personRows, After: store.Cursor(q.Get("events"))})
	if err != nil {
		h.fail(v, "list events", err)
		return
	}
	q.Del("done")
	value.Open, value.Sessions, value.Events = []SessionRow{}, []SessionRow{}, []eventRow{}
	for _, s := range open {
		page.Open, value.Open = append(page.Open, h.session(v, s)), append(value.Open, NewSessionRow(s))
	}
	for _, s := range past {
		page.Past, value.Sessions = append(page.Past, h.session(v, s)), append(value.Sessions, NewSessionRow(s))
	}
	for _, e := range events {
		page.Events, value.Events = append(page.Events, shownEvent{e}), append(value.Events, newEventRow(e))
	}
	page.MoreSignIns, value.NextSessions = next(q, "sessions", nextSession), nextSession
	page.MoreEvents, value.NextEvents = next(q, "events", nextEvent), nextEvent
	title := u.Email
	if u.Name != "" {
		title = u.Name
	}
	h.show(v, title, "user", page, value)
}

// personValue is the page as scripts see it.
type personValue struct {
	User         UserRow      `json:"user"`
	Open         []SessionRow `json:"open_sessions"`
	Sessions     []SessionRow `json:"sessions"`
	NextSessions store.Cursor `json:"next_sessions"`
	Events       []eventRow   `json:"events"`
	NextEvents   store.Cursor `json:"next_events"`
}

type personPage struct {
	person
	Open, Past              []shownSession
	Events                  []shownEvent
	MoreSignIns, MoreEvents string
	Notice                  string
	Now                     time.Time
}

// A shownSession is one as the pages show it.
type shownSession struct {
	auth.SessionRecord
	Device string
	// State is how it stands, in a few words; Open that it can be ended, and Current
	// that it is the one of who looks.
	State         string
	Open, Current bool
}

func (h *Handler) session(v *visit, s auth.SessionRecord) shownSession {
	out := shownSession{SessionRecord: s, Device: Device(s.Agent), Current: s.ID == v.who.Session().ID}
	switch {
	case s.End != nil:
		out.State = endings()[s.End.Reason]
		if out.State == "" {
			out.State = "Ended"
		}
	case !v.now.Before(s.Expires):
		out.State = "Expired"
	case v.now.Sub(s.LastSeen) >= h.Idle:
		out.State = "Unused for too long"
	default:
		out.State, out.Open = "Open", true
	}
	return out
}

func endings() map[auth.EndReason]string {
	return map[auth.EndReason]string{
		auth.EndSignOut:   "Signed out",
		auth.EndReplaced:  "Signed in anew",
		auth.EndByAdmin:   "Ended by an admin",
		auth.EndBlocked:   "Blocked",
		auth.EndElsewhere: "Signed out from elsewhere",
	}
}

// A shownEvent is one as the pages show it.
type shownEvent struct{ auth.Event }

// What says what happened.
func (e shownEvent) What() string {
	if text := map[auth.EventKind]string{
		auth.EventSignIn:       "Signed in",
		auth.EventDenied:       "Turned away",
		auth.EventSignOut:      "Signed out",
		auth.EventSessionEnded: "Session ended",
		auth.EventBlocked:      "Blocked",
		auth.EventUnblocked:    "Unblocked",
		auth.EventAdminChanged: "An admin's address changed hands",
		auth.EventUserDeleted:  "Deleted from the directory",
		auth.EventReloaded:     "Configuration reloaded",
	}[e.Kind]; text != "" {
		return text
	}
	return strings.ReplaceAll(string(e.Kind), "_", " ")
}

// Why is the detail, but for the fixed words that say nothing more.
func (e shownEvent) Why() string {
	if e.Kind == auth.EventSignOut || e.Detail == string(auth.EndByAdmin) {
		return ""
	}
	return strings.ReplaceAll(e.Detail, "_", " ")
}
