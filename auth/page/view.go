package page

import (
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/loginwall/loginwall/auth"
)

// A View is one answer of loginwall's own. The types below are all there are;
// Content is for pages of other packages.
type View interface {
	answer(p *Pages, r *http.Request) answer
}

// A Label is the value of X-Loginwall, by which a program, or a proxy in front,
// tells our answers from the app's.
type Label string

// The labels.
const (
	LabelSignIn Label = "sign_in_required"
	LabelDenied Label = "denied"
	LabelError  Label = "error"
	LabelPage   Label = "page"
)

// An answer is a View made ready: for a person, body with data; for a program, json.
type answer struct {
	status      int
	label       Label
	title       string
	wide        bool
	section     string
	admin       bool
	body        *template.Template
	data        any
	json        any
	retryAfter  int
	foreignHost bool
	script      string // a file of ours, the only one that may run
}

// A message is what programs get when something is not as they hoped.
type message struct {
	Error     string `json:"error"`
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message"`
	LoginURL  string `json:"login_url,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// SignInRequired (401) asks somebody to sign in who cannot be redirected.
type SignInRequired struct {
	// To is where the login ends.
	To Target
}

func (v SignInRequired) answer(p *Pages, r *http.Request) answer {
	login := p.Login(v.To, false).String()
	return answer{
		status: http.StatusUnauthorized, label: LabelSignIn, title: "Please sign in",
		body: p.body("signin"),
		data: struct {
			LoginURL string
			Sent     bool
		}{login, r.Method != http.MethodGet && r.Method != http.MethodHead},
		json: &message{Error: string(LabelSignIn), Message: "Sign in to use " + p.host + ".", LoginURL: login},
	}
}

// SignInAgain (401) asks somebody who is signed in to prove it once more, before
// something is changed.
type SignInAgain struct {
	// Email and Name are the account's.
	Email, Name string
	// To is where the login ends: where the change can be made.
	To Target
}

func (v SignInAgain) answer(p *Pages, _ *http.Request) answer {
	again := p.LoginAgain(v.To).String()
	return answer{
		status: http.StatusUnauthorized, label: LabelSignIn, title: "Is it still you?",
		body: p.body("again"),
		data: struct {
			SignInAgain
			LoginURL string
		}{v, again},
		json: &message{Error: "sign_in_again", Message: "The sign-in is too old to change anything. Sign in again.", LoginURL: again},
	}
}

// Denied (403) tells somebody who is known why they may not pass.
type Denied struct {
	// Email and Name are the account's; both may be empty.
	Email, Name string
	// Reason is one of the fixed words of auth/policy, or "blocked".
	Reason string
	// To is where a login with another account ends.
	To Target
}

func (v Denied) answer(p *Pages, _ *http.Request) answer {
	why, known := p.denials[v.Reason]
	if !known {
		why = p.denials[""]
	}
	return answer{
		status: http.StatusForbidden, label: LabelDenied, title: why.title,
		body: p.body("denied"),
		data: struct {
			Denied
			Title, Text, SwitchURL string
			// Another account opens what is for some people only; what is for
			// nobody it does not.
			Switch, Home bool
		}{
			v, why.title, why.text, p.Login(v.To, true).String(),
			v.Reason != "nobody", v.Reason == "nobody" || v.Reason == "not_admin",
		},
		json: &message{Error: string(LabelDenied), Reason: v.Reason, Message: why.title + ". " + why.text},
	}
}

// Account (200) shows people who they are here; as JSON it is /_auth/me.
type Account struct {
	Session *auth.Session
	// Picture is where the person's picture is on our own origin; empty for initials.
	Picture string
	// IdleEnds is when the session ends if it is not used.
	IdleEnds time.Time
	// Admin says that there is a directory to look at.
	Admin bool
	// Sessions are the open ones of the account, the one at hand included; nil where
	// they are not asked for, or not known.
	Sessions []OpenSession
	// Notice is what was just done, in a sentence; may be empty.
	Notice string
	// Now is the time of the request.
	Now time.Time
}

// Name, Email and Portrait are what the part "account" shows.
func (v Account) Name() string     { return v.Session.Identity.Name }
func (v Account) Email() string    { return v.Session.Identity.Email }
func (v Account) Portrait() string { return v.Picture }

// An OpenSession is one of a person's own sessions.
type OpenSession struct {
	// Handle is what the form that ends it sends; it is not the session's id.
	Handle string `json:"handle"`
	// Device says in a few words of ours what a browser calls itself.
	Device    string    `json:"device"`
	Address   string    `json:"address"`
	CreatedAt time.Time `json:"created_at"`
	LastSeen  time.Time `json:"last_seen"`
	// Current says that it is the one with which the page was asked for.
	Current bool `json:"current"`
}

type me struct {
	Email        string   `json:"email"`
	Name         string   `json:"name"`
	Picture      string   `json:"picture"`
	Subject      string   `json:"subject"`
	HostedDomain string   `json:"hosted_domain"`
	Groups       []string `json:"groups"`
	Session      struct {
		CreatedAt time.Time `json:"created_at"`
		ExpiresAt time.Time `json:"expires_at"`
	} `json:"session"`
	Sessions []OpenSession `json:"sessions,omitempty"`
}

func (v Account) answer(p *Pages, _ *http.Request) answer {
	id := &v.Session.Identity
	out := me{
		Email: id.Email, Name: id.Name, Picture: id.Picture, Subject: id.Subject,
		HostedDomain: id.HostedDomain, Groups: append([]string{}, id.Groups...), Sessions: v.Sessions,
	}
	if v.IdleEnds.After(v.Session.Expires) {
		v.IdleEnds = time.Time{} // the absolute end comes first
	}
	out.Session.CreatedAt, out.Session.ExpiresAt = v.Session.Created.UTC(), v.Session.Expires.UTC()
	return answer{
		status: http.StatusOK, label: LabelPage, title: "Your account", section: "account", admin: v.Admin,
		body: p.body("you"),
		data: v, json: out,
	}
}

// SignOut (200) is the page with the button that ends the session.
type SignOut struct {
	// Email is whose session it is; empty when there is none.
	Email, Name string
}

func (v SignOut) answer(p *Pages, _ *http.Request) answer {
	return answer{
		status: http.StatusOK, label: LabelPage, title: "Sign out",
		body: p.body("signout"), data: v,
		json: map[string]string{"email": v.Email},
	}
}

// SignedIn (200) is where the small window ends in which somebody signed in again:
// it tells the page that waits, and closes. It is the one page with a script.
type SignedIn struct{ Email string }

func (v SignedIn) answer(p *Pages, _ *http.Request) answer {
	return answer{
		status: http.StatusOK, label: LabelPage, title: "You are signed in again", script: "signed-in.js",
		body: p.body("signedin"), data: v,
		json: map[string]string{"email": v.Email},
	}
}

// SignedOut (200) is where a sign-out lands. Its button asks for an account, so
// that nobody who is still signed in at the provider is silently back in.
type SignedOut struct{}

func (v SignedOut) answer(p *Pages, _ *http.Request) answer {
	return answer{
		status: http.StatusOK, label: LabelPage, title: "You are signed out",
		body: p.body("signedout"), data: struct{ LoginURL string }{p.Login(Target{}, true).String()},
		json: map[string]bool{"signed_out": true},
	}
}

// Error tells what went wrong. For MethodNotAllowed set the header Allow before.
type Error struct {
	Problem Problem
	// What is wrong, in a sentence of ours, where it can be said more precisely.
	What string
	// To is where a retry, or a new login, leads.
	To Target
	// Email is who is signed in, where that helps to tell whose fault it is not.
	Email string
	// Round counts the logins that came to nothing, where a new one is offered.
	Round int
}

func (v Error) answer(p *Pages, r *http.Request) answer {
	w, known := p.words[v.Problem]
	if !known {
		v.Problem, w = Internal, p.words[Internal]
	}
	if v.What != "" {
		w.title, w.text, w.hint = "This was not understood", v.What, ""
	}
	data := struct {
		Icon, Title, Text, Hint, Email string
		URL, Button                    string
		Contact                        bool
	}{Icon: w.icon, Title: w.title, Text: w.text, Hint: w.hint, Email: v.Email, Contact: !w.foreignHost}
	switch w.action {
	case actNone:
	case actHome:
		data.URL, data.Button = p.Local(Target{}).String(), "To the front page"
	case actHTTPS:
		data.URL, data.Button = p.Local(Target{}).String(), "Open "+p.origin
	case actRetry:
		// A form is not sent again by a link.
		data.URL, data.Button = p.Local(v.To).String(), "Try again"
		if v.Problem == WrongHost {
			data.Button = "Go to " + p.host
		}
	case actLogin:
		data.URL, data.Button = p.Login(v.To, false).String(), "Start again"
		if v.Round > 1 {
			data.URL += "&round=" + strconv.Itoa(v.Round)
		}
	case actLogout:
		data.URL, data.Button = p.Own("logout", nil).String(), "Try again"
	case actOther:
		data.URL, data.Button = p.Login(v.To, true).String(), "Try again"
	}
	return answer{
		status: w.status, label: LabelError, title: w.title, body: p.body("error"), data: data,
		json:       &message{Error: string(v.Problem), Message: w.title + ". " + w.text},
		retryAfter: w.retryAfter, foreignHost: w.foreignHost,
	}
}

// Content is a page of another package, such as the directory: Body stands within
// our frame, and JSON is what programs get instead.
type Content struct {
	// Status is 200 where it is zero.
	Status int
	Title  string
	// Section is the current entry of the navigation: "users" or "events".
	Section string
	// Body is one template of a set that Parse read; it is executed with Data.
	Body *template.Template
	Data any
	JSON any
}

func (v Content) answer(*Pages, *http.Request) answer {
	if v.Status == 0 {
		v.Status = http.StatusOK
	}
	return answer{
		status: v.Status, label: LabelPage, title: v.Title, wide: true, section: v.Section, admin: true,
		body: v.Body, data: v.Data, json: v.JSON,
	}
}
