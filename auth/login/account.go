package login

import (
	"net/http"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/policy"
)

// me is GET /_auth/me: who one is here, for programs, whoever asks. It starts no
// login.
func (h *Handler) me(w http.ResponseWriter, r *http.Request, c auth.Client) {
	d, err := h.Gate.DecideOwn(false, r.Header["Cookie"])
	if err != nil {
		h.fail(w, r, c, "look the session up", page.Target{}, err)
		return
	}
	h.dropStale(w, r, d)
	var view page.View
	switch d.Verdict() {
	case policy.Challenge:
		view = page.SignInRequired{}
	case policy.Allow:
		view = page.Account{Session: d.Principal().Session()}
	default:
		view = h.denied(d.Denied(), d.Reason(), page.Target{})
	}
	h.Pages.RenderFor(w, r, c.RequestID, page.Program, view)
}
