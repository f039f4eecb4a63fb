package login

import (
	"net/http"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/policy"
)

// account is GET /_auth/: who one is here.
func (h *Handler) account(w http.ResponseWriter, r *http.Request, c auth.Client) {
	h.whoami(w, r, c, page.AudienceOf(r))
}

// me is GET /_auth/me: the same for programs, whoever asks. It starts no login.
func (h *Handler) me(w http.ResponseWriter, r *http.Request, c auth.Client) {
	h.whoami(w, r, c, page.Program)
}

func (h *Handler) whoami(w http.ResponseWriter, r *http.Request, c auth.Client, to page.Audience) {
	here := page.ParseTarget(r.URL.Path)
	d, err := h.Gate.DecideOwn(false, r.Header["Cookie"])
	if err != nil {
		h.fail(w, r, c, "look the session up", here, err)
		return
	}
	h.dropStale(w, d)
	switch {
	case d.Verdict() == policy.Challenge && to == page.TopNavigation:
		h.start(w, r, c, here, false, page.LabelSignIn)
	case d.Verdict() == policy.Challenge:
		h.Pages.RenderFor(w, r, c.RequestID, to, page.SignInRequired{To: here})
	case d.Verdict() == policy.Allow:
		s := d.Principal().Session()
		h.Pages.RenderFor(w, r, c.RequestID, to, page.Account{
			Session: s, IdleEnds: h.Sessions.IdleEnds(s), Admin: h.Policy.IsAdmin(&s.Identity), Now: h.Now(),
		})
	default:
		h.Pages.RenderFor(w, r, c.RequestID, to, h.denied(d.Denied(), d.Reason(), here))
	}
}
