package login

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/session"
)

// A browser that does not keep what we give it would be sent to the provider and
// back for ever, where the provider asks no question. Rounds are counted without a
// memory of ours, by two marks that travel with the browser: a cookie, for one
// that loses the session alone, and a hint in the state, for one that loses all.
// Where the cookies are lost they choose the wording of a page, and nothing else; where
// the attempt comes back, its state has to match whole, hint included.
const (
	// maxRounds is after how many the browser is sent round no more.
	maxRounds = 3
	// roundTime is how soon behind one sign-in the next is needed by a browser that
	// goes round; people take longer to change their mind three times.
	roundTime = 30 * time.Second
	// roundsName stands behind the session cookie's name.
	roundsName = "-rounds"
	// hintMark ends the secret part of a state; it is not of base64url's alphabet.
	hintMark = "."
)

// A hint is what a state tells about its attempt where the cookie does not come
// back to do so. The zero value tells nothing.
type hint struct {
	round int
	// plain says that the attempt began over http though public_url is https.
	plain bool
	began time.Time
}

func (h *Handler) hint(r *http.Request, round int) hint {
	// Whoever says it, it is believed: it is for the person's eyes only.
	plain := h.PublicURL.Scheme == "https" && r.TLS == nil && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "http")
	return hint{round, plain, h.Now()}
}

// String and parseHint are one digit, a letter, and the time in seconds.
func (h hint) String() string {
	scheme := "s"
	if h.plain {
		scheme = "p"
	}
	return strconv.Itoa(h.round) + scheme + strconv.FormatInt(h.began.Unix(), 36)
}

func parseHint(text string) hint {
	if len(text) < 3 || text[0] < '1' || text[0] > '0'+maxRounds || text[1] != 's' && text[1] != 'p' {
		return hint{}
	}
	began, err := strconv.ParseInt(text[2:], 36, 64)
	if err != nil {
		return hint{}
	}
	return hint{int(text[0] - '0'), text[1] == 'p', time.Unix(began, 0)}
}

func (s *attempts) roundsName() string { return strings.TrimSuffix(s.prefix, attemptMark) + roundsName }

// rounds is how often, one soon after the other, a sign-in of this browser has
// come to its end.
func (s *attempts) rounds(r *http.Request) int {
	c, err := r.Cookie(s.roundsName())
	if err != nil {
		return 0
	}
	last := parseHint(c.Value)
	if s.now().Sub(last.began).Abs() > roundTime {
		return 0
	}
	return last.round
}

func (s *attempts) setRounds(w http.ResponseWriter, n int) {
	s.set(w, s.roundsName(), hint{round: min(n, maxRounds), began: s.now()}.String(), roundTime)
}

func (s *attempts) clearRounds(w http.ResponseWriter, r *http.Request) {
	if _, err := r.Cookie(s.roundsName()); err == nil {
		s.delete(w, s.roundsName())
	}
}

// goesRound reports whether a browser that needs to sign in has just done so too
// often. What a proxy takes from the callback's answer never arrives, the mark
// included; then the attempts stay that it would have deleted.
func (h *Handler) goesRound(r *http.Request) bool {
	if h.attempts.rounds(r) >= maxRounds {
		return true
	}
	open, _ := h.attempts.read(r)
	spent := 0
	for _, a := range open {
		if h.Memory.spent.has(a.parameter()) {
			spent++
		}
	}
	return spent >= maxRounds
}

// stopRound tells the person why it goes no further. The button begins anew.
func (h *Handler) stopRound(w http.ResponseWriter, r *http.Request, c auth.Client, target page.Target) {
	problem := page.CookiesBlocked
	if h.Sessions.Open(r.Header["Cookie"]).Status != session.None {
		problem = page.SessionRefused
	}
	h.refuse(w, r, c, string(problem), page.Error{Problem: problem, To: target})
}
