package directory

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/store"
)

// freshness is how old a sign-in may be with which something is changed.
const freshness = 15 * time.Minute

// A change is something that can be done to a person: POST to the person's page
// with its name behind it. GET asks whether to do it.
type change struct {
	title, lead, button string
	// fields are what comes with it.
	fields []string
	do     func(*Handler, *visit, auth.User, input) error
}

func changes() map[string]change {
	return map[string]change{
		"block": {
			"Block this person?", "All sessions end at once, and neither the account nor anybody with its address gets in again, until somebody unblocks it.", "Block",
			[]string{"reason", "confirm"},
			func(h *Handler, v *visit, u auth.User, in input) error {
				_, err := h.Store.Block(v.r.Context(), who(u), v.me(), in.Reason)
				return err
			},
		},
		"unblock": {
			"Let this person in again?", "Every block of the account and of its address is lifted. Sessions that a block ended stay ended: the person signs in again.", "Unblock",
			nil,
			func(h *Handler, v *visit, u auth.User, _ input) error {
				return h.Store.Unblock(v.r.Context(), who(u), v.me())
			},
		},
		"end": {
			"End sessions?", "What is open closes at once. The person may sign in again.", "End",
			[]string{"session", "all"},
			func(h *Handler, v *visit, u auth.User, in input) error {
				if in.Session == "" {
					return h.Sessions.EndAll(v.r.Context(), u.ID, v.me(), auth.EndByAdmin)
				}
				return h.endOne(v, u.ID, in.Session, auth.EndByAdmin)
			},
		},
		"delete": {
			"Delete this person?", "The account, its sessions and what is known about it go, and what is open closes at once. Blocks stay, and so do the lines of the audit trail until they are pruned. Who may pass can sign in again and is new then.", "Delete",
			nil,
			func(h *Handler, v *visit, u auth.User, _ input) error {
				return h.Store.DeleteUser(v.r.Context(), u.ID, v.me())
			},
		},
	}
}

// ofAddress is a change of an address alone.
func (c change) ofAddress(name string) change {
	c.fields = append([]string{"email"}, c.fields...)
	if name == "block" {
		c.title, c.lead = "Block an address?", "Nobody with this address gets in, whether somebody has signed in with it or not, until somebody unblocks it. Open sessions with it end at once."
	} else {
		c.title, c.lead = "Unblock this address?", "Whoever has it, and may pass, can sign in again."
	}
	return c
}

// who names whom a change is about to the store.
func who(u auth.User) store.Who {
	if u.ID == "" {
		return store.Who{Email: u.Email}
	}
	return store.Who{User: u.ID}
}

// notices say what was done, by the word that the next page's address has.
func notices() map[string]string {
	return map[string]string{
		"block":   "Blocked. All sessions have ended.",
		"unblock": "Unblocked.",
		"end":     "Ended.",
		"delete":  "The person was deleted.",
	}
}

// me is how the audit trail names who makes a change.
func (v *visit) me() string { return v.who.Identity().Email }

// endOne ends a session of a user; another's is none.
func (h *Handler) endOne(v *visit, user auth.UserID, id auth.SessionID, reason auth.EndReason) error {
	s, err := h.Store.Session(v.r.Context(), id)
	if err != nil {
		return err
	}
	if s.User != user {
		return fmt.Errorf("a session of another user: %w", auth.ErrNotFound)
	}
	return h.Sessions.EndRecorded(v.r.Context(), s, v.me(), reason)
}

// change asks whether to make a change (GET), and makes it (POST). Without a user it
// is about the address that comes with it, which nobody needs to have signed in with.
func (h *Handler) change(v *visit, u auth.User, name string) {
	c := changes()[name]
	if u.ID == "" {
		c = c.ofAddress(name)
	}
	var in input
	var err error
	if v.r.Method == http.MethodPost {
		if !h.Pages.SameOrigin(v.r) {
			h.problem(v, page.CrossOrigin)
			return
		}
		in, err = v.input(c.fields...)
	} else {
		var q url.Values
		q, err = v.query(c.fields...)
		in = input{Reason: q.Get("reason"), Session: auth.SessionID(q.Get("session")), Email: q.Get("email")}
	}
	if err != nil {
		h.fail(v, name, err)
		return
	}
	var noEmail error
	if u.ID == "" {
		if u.Email, noEmail = auth.ParseEmail(in.Email); noEmail != nil {
			u.Email = in.Email
		}
	}
	ask := askPage{person: h.person(v, u), change: c, Change: name, Reason: in.Reason, Session: in.Session, Now: v.now}
	if ask.Warning, err = h.warning(v, u, name); err != nil {
		h.fail(v, "read blocks", err)
		return
	}
	if v.r.Method != http.MethodPost {
		h.ask(v, http.StatusOK, ask)
		return
	}
	if v.now.Sub(v.who.Session().Created) > freshness {
		h.again(v, in)
		return
	}
	switch {
	case noEmail != nil:
		ask.Error, ask.Missing = "email_invalid", "Say which address: something like name@example.com."
		h.ask(v, http.StatusUnprocessableEntity, ask)
		return
	case name == "block" && in.Reason == "":
		ask.Error, ask.Missing = "reason_missing", "Say why, in a few words, for the record."
		h.ask(v, http.StatusUnprocessableEntity, ask)
		return
	case ask.Warning != "" && !in.Confirm:
		ask.Error, ask.Missing = "not_confirmed", "This needs to be confirmed."
		h.ask(v, http.StatusConflict, ask)
		return
	}
	if err := c.do(h, v, u, in); err != nil {
		h.fail(v, name, err)
		return
	}
	_ = h.Refresh(v.r.Context()) // the follower of the feed logs it and goes on trying
	h.Log.InfoContext(v.r.Context(), "directory changed", slog.String("request_id", v.client.RequestID), slog.String("client", v.client.Address),
		slog.String("by", v.me()), slog.String("change", name), slog.String("user", u.Email), slog.String("user_id", string(u.ID)))
	h.done(v, u, name)
}

// askPage is the page that asks whether to make a change.
type askPage struct {
	person
	change
	Change, Reason string
	Session        auth.SessionID
	// Warning is what has to be confirmed; Missing what was not given, and Error the
	// same for programs.
	Warning, Missing, Error string
	Now                     time.Time
}

// Title, Lead and Button are the change's.
func (p askPage) Title() string  { return p.title }
func (p askPage) Lead() string   { return p.lead }
func (p askPage) Button() string { return p.button }

func (h *Handler) ask(v *visit, status int, p askPage) {
	h.Pages.Render(v.w, v.r, v.client.RequestID, page.Content{
		Status: status, Title: p.title, Section: "users", Body: h.bodies.Lookup("ask"), Data: p,
		JSON: struct {
			Error   string  `json:"error,omitempty"`
			Message string  `json:"message,omitempty"`
			Warning string  `json:"warning,omitempty"`
			Change  string  `json:"change"`
			User    UserRow `json:"user"`
		}{p.Error, p.Missing, p.Warning, p.Change, NewUserRow(p.User)},
	})
}

// again asks for a fresh sign-in, which ends where the change can be made, with
// what was typed.
func (h *Handler) again(v *visit, in input) {
	q := url.Values{}
	if in.Reason != "" {
		q.Set("reason", in.Reason)
	}
	if in.Session != "" {
		q.Set("session", string(in.Session))
	}
	if in.Email != "" {
		q.Set("email", in.Email)
	}
	to := page.ParseTarget(v.r.URL.Path + with(q, "", ""))
	if to == (page.Target{}) { // longer than a target may be
		to = page.ParseTarget(v.r.URL.Path)
	}
	id := v.who.Identity()
	h.Pages.Render(v.w, v.r, v.client.RequestID, page.SignInAgain{Email: id.Email, Name: id.Name, To: to})
}

// warning tells what a change would do to the admins themselves.
func (h *Handler) warning(v *visit, u auth.User, name string) (string, error) {
	const recover = " Only somebody with a shell where the wall runs can undo that: loginwall users unblock "
	if name != "block" {
		return "", nil
	}
	if u.ID == v.who.Identity().UserID() || u.Email == v.me() {
		return "This is you: you will be out at once, and cannot unblock yourself here." + recover + u.Email, nil
	}
	if !slices.Contains(h.Admins, u.Email) {
		return "", nil
	}
	for _, other := range h.Admins {
		if other == u.Email {
			continue
		}
		if blocked, err := h.Store.Blocked(v.r.Context(), other); err != nil || !blocked {
			return "", err
		}
	}
	return "This is the last admin who is not blocked: nobody will be left to unblock anybody here." + recover + u.Email, nil
}

// done answers when a change was made: with the person as it is now.
func (h *Handler) done(v *visit, u auth.User, name string) {
	if page.AudienceOf(v.r) != page.Program {
		endpoint, q := "users", url.Values{"done": {name}}
		switch {
		case u.ID == "":
			q.Set("show", "blocked")
		case name != "delete":
			endpoint += "/" + string(u.ID)
		}
		h.Pages.Redirect(v.w, v.r, v.client.RequestID, http.StatusSeeOther, h.Pages.Own(endpoint, q), page.LabelPage)
		return
	}
	if u.ID == "" {
		h.show(v, "", "ask", nil, map[string]string{"done": name, "email": u.Email})
		return
	}
	row := NewUserRow(u)
	if name != "delete" {
		now, err := h.Store.User(v.r.Context(), store.Who{User: u.ID})
		if err != nil {
			h.fail(v, "read the user", err)
			return
		}
		row = NewUserRow(now)
	}
	h.show(v, "", "ask", nil, struct {
		Done string  `json:"done"`
		User UserRow `json:"user"`
	}{name, row})
}
