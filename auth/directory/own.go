package directory

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/store"
)

// own is GET /_auth/: who one is here, and where else one is signed in.
func (h *Handler) own(v *visit) {
	s := v.who.Session()
	view := page.Account{
		Session: s, Picture: h.portrait(&s.Identity), IdleEnds: h.Sessions.IdleEnds(s), Admin: h.isHere() && h.Policy.IsAdmin(v.who.Identity()), Now: v.now,
		Notice: map[string]string{"end": "That session has ended.", "others": "You are signed out everywhere else."}[v.r.URL.Query().Get("done")],
	}
	open, _, err := h.Store.Sessions(v.r.Context(), store.SessionQuery{User: s.Identity.UserID(), OpenOnly: true, Idle: h.Idle, Limit: personOpen})
	if err != nil {
		// The page is about more than that, and the session holds without a store.
		h.Log.WarnContext(v.r.Context(), "own sessions not listed", slog.String("request_id", v.client.RequestID), slog.Any("error", err))
	}
	for _, o := range open {
		view.Sessions = append(view.Sessions, page.OpenSession{
			Handle: handle(o.ID), Device: Device(o.Agent), Address: o.Address, CreatedAt: o.Created, LastSeen: o.LastSeen, Current: o.ID == s.ID,
		})
	}
	h.Pages.Render(v.w, v.r, v.client.RequestID, view)
}

// handle names one of a person's own sessions on the own page. The page does not tell
// ids: any script of the app can read it.
func handle(id auth.SessionID) string {
	sum := sha256.Sum256([]byte("own page:" + id))
	return hex.EncodeToString(sum[:12])
}

// endHandle ends the open session of a user that a handle names.
func (h *Handler) endHandle(v *visit, user auth.UserID, name string) error {
	open, _, err := h.Store.Sessions(v.r.Context(), store.SessionQuery{User: user, OpenOnly: true, Limit: personOpen})
	if err != nil {
		return err
	}
	for _, s := range open {
		if handle(s.ID) == name {
			return h.Sessions.EndRecorded(v.r.Context(), s, v.me(), auth.EndElsewhere)
		}
	}
	return auth.ErrNotFound
}

// endOwn is POST /_auth/sessions/end, and end-others: to end what is one's own
// needs no fresh sign-in.
func (h *Handler) endOwn(v *visit, others bool) {
	if !h.Pages.SameOrigin(v.r) {
		h.problem(v, page.CrossOrigin)
		return
	}
	fields := []string{"session"}
	if others {
		fields = nil
	}
	in, err := v.input(fields...)
	if err == nil && !others && in.Session == "" {
		err = unclear("It holds no session.")
	}
	if err != nil {
		h.fail(v, "end own sessions", err)
		return
	}
	s := v.who.Session()
	done := "end"
	if others {
		done = "others"
		_, err = h.Store.EndOtherSessions(v.r.Context(), s.Identity.UserID(), s.ID, v.me())
	} else {
		err = h.endHandle(v, s.Identity.UserID(), string(in.Session))
	}
	if err != nil && !errors.Is(err, auth.ErrNotFound) { // gone already is what was wanted
		h.fail(v, "end own sessions", err)
		return
	}
	_ = h.Refresh(v.r.Context()) // the follower of the feed logs it and goes on trying
	if page.AudienceOf(v.r) == page.Program {
		h.own(v)
		return
	}
	h.Pages.Redirect(v.w, v.r, v.client.RequestID, http.StatusSeeOther, h.Pages.Own("", url.Values{"done": {done}}), page.LabelPage)
}
