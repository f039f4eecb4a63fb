package page

import "net/http"

// A Problem is something that went wrong, by the word that programs get as
// "error". What a person reads is in the table below.
type Problem string

// The problems.
const (
	// What somebody asked for.
	BadRequest         Problem = "bad_request"
	CrossOrigin        Problem = "cross_origin"
	NotFound           Problem = "not_found"
	MethodNotAllowed   Problem = "method_not_allowed"
	HeadersTooLarge    Problem = "headers_too_large"
	WrongHost          Problem = "wrong_host"
	TooManyRequests    Problem = "too_many_requests"
	ForwardAuthRefused Problem = "forward_auth_refused"

	// A login that did not get to its end.
	AttemptExpired Problem = "attempt_expired" // it took longer than login_timeout
	AttemptUnknown Problem = "attempt_unknown" // no cookie that opens and matches came along
	AttemptUsed    Problem = "attempt_used"    // its state has matched before
	AttemptInvalid Problem = "attempt_invalid" // the callback's parameters make no sense
	CookiesBlocked Problem = "cookies_blocked" // our cookies do not come back, again and again
	CookieInsecure Problem = "cookie_insecure" // it began over http, where they cannot be kept
	SessionRefused Problem = "session_refused" // the session comes back, and does not count

	// What the provider said.
	ProviderAway            Problem = "provider_unavailable"
	ProviderFailed          Problem = "provider_failed"
	ProviderMisconfigured   Problem = "provider_misconfigured"
	ProviderCancelled       Problem = "access_denied"
	ProviderInternalOnly    Problem = "org_internal"
	ProviderPolicy          Problem = "admin_policy_enforced"
	ProviderBrowserRefused  Problem = "disallowed_useragent"
	ProviderMoreInteraction Problem = "interaction_required"

	// What stands behind the wall, and what it stands on.
	UpstreamDown     Problem = "upstream_unreachable"
	UpstreamSlow     Problem = "upstream_timeout"
	UpstreamBroken   Problem = "upstream_invalid"
	Loop             Problem = "loop_detected"
	StoreAway        Problem = "store_unavailable"
	SignOutFailed    Problem = "sign_out_unavailable"
	DirectoryAway    Problem = "directory_unavailable"
	RevocationsStale Problem = "revocations_unknown"
	Draining         Problem = "draining"
	Internal         Problem = "internal"
)

// ProviderProblem translates the error of an authorization response (RFC 6749,
// section 4.1.2.1, OpenID Connect Core 1.0, section 3.1.2.6, and Google's own)
// into one of ours. Nothing of the provider's text is kept: a stranger can write
// a callback's address.
func ProviderProblem(code string) Problem {
	switch code {
	case "access_denied":
		return ProviderCancelled
	case "org_internal":
		return ProviderInternalOnly
	case "admin_policy_enforced":
		return ProviderPolicy
	case "disallowed_useragent":
		return ProviderBrowserRefused
	case "login_required", "interaction_required", "account_selection_required", "consent_required":
		return ProviderMoreInteraction
	case "server_error", "temporarily_unavailable":
		return ProviderAway
	case "invalid_request", "invalid_scope", "unauthorized_client", "unsupported_response_type",
		"invalid_client", "deleted_client", "redirect_uri_mismatch", "origin_mismatch":
		return ProviderMisconfigured
	}
	return ProviderFailed
}

// An action is what the one button of an error page does.
type action int

const (
	actNone   action = iota
	actHome          // to the app's start page
	actHTTPS         // the same, said otherwise
	actRetry         // to the address that failed
	actLogin         // starts a login
	actOther         // starts a login with another account
	actLogout        // to the page that signs out
)

// A wording is what a person reads: what happened, and what to do. {app}, {host}
// and {provider} are put in by New.
type wording struct {
	status      int
	icon        string
	title       string
	text, hint  string
	action      action
	retryAfter  int  // seconds, for programs and proxies
	foreignHost bool // the request was for a host that is not ours
}

func wordings() map[Problem]wording {
	const (
		soon    = 5
		later   = 30
		persist = "If it goes on, tell those who run this site the request ID below."
	)
	return map[Problem]wording{
		BadRequest: {
			status: http.StatusBadRequest, icon: "question", title: "This address cannot be read",
			text:   "The request holds characters that no web address may hold.",
			hint:   "Check the link, or start from the front page.",
			action: actHome,
		},
		CrossOrigin: {
			status: http.StatusForbidden, icon: "shield", title: "Nothing was changed",
			text:   "This request did not come from a page of {host}, so it was not carried out.",
			hint:   "If you pressed the button yourself, open the page again and press it there.",
			action: actHome,
		},
		NotFound: {
			status: http.StatusNotFound, icon: "question", title: "There is no such page",
			text:   "Nothing is to be found at this address.",
			hint:   "Check the link, or start from the front page.",
			action: actHome,
		},
		MethodNotAllowed: {
			status: http.StatusMethodNotAllowed, icon: "question", title: "That does not work here",
			text:   "This address exists, but not for this kind of request.",
			action: actHome,
		},
		HeadersTooLarge: {
			status: http.StatusRequestHeaderFieldsTooLarge, icon: "cookie", title: "Your browser sent too much",
			text: "The cookies and headers that came with this request are larger than {host} takes.",
			hint: "Clear the cookies of {host} in your browser, then open the page again.",
		},
		WrongHost: {
			status: http.StatusMisdirectedRequest, icon: "signpost", title: "This is not the right address",
			text:   "The site that you are looking for answers at {host} only.",
			hint:   "An old link or bookmark may have brought you here. If you run this site: public_url names its one address, and a proxy in front has to pass the Host header on.",
			action: actRetry, foreignHost: true,
		},
		TooManyRequests: {
			status: http.StatusTooManyRequests, icon: "clock", title: "That was a little fast",
			text:   "Too many requests came from your address in a short time.",
			hint:   "Wait a minute, then try again.",
			action: actRetry, retryAfter: later,
		},
		ForwardAuthRefused: {
			status: http.StatusForbidden, icon: "shield", title: "Not for browsers",
			text:        "This address answers questions of trusted proxies only.",
			hint:        "If you run this site: the proxy's address has to stand in trusted_proxies, and it may ask for {host} alone.",
			foreignHost: true,
		},

		AttemptExpired: {
			status: http.StatusBadRequest, icon: "clock", title: "This sign-in took too long",
			text:   "For your safety a sign-in has to be finished within a few minutes. Nothing is lost.",
			action: actLogin,
		},
		AttemptUnknown: {
			status: http.StatusBadRequest, icon: "cookie", title: "This sign-in cannot be continued",
			text:   "Your browser did not send along what it was given when the sign-in began. That happens with old links, after the Back button, or when cookies are blocked.",
			hint:   "Allow cookies for {host}, and finish in the browser in which you began.",
			action: actLogin,
		},
		AttemptUsed: {
			status: http.StatusBadRequest, icon: "clock", title: "This sign-in is over already",
			text:   "Each sign-in counts once, and this one has been used: by the Back button, or by loading the page twice.",
			action: actRetry,
		},
		AttemptInvalid: {
			status: http.StatusBadRequest, icon: "question", title: "This sign-in cannot be continued",
			text:   "What came back from {provider} was incomplete or contradicted itself.",
			action: actLogin,
		},
		CookiesBlocked: {
			status: http.StatusBadRequest, icon: "cookie", title: "Your browser does not keep you signed in",
			text:   "{provider} sent you back three times, and each time the cookie with which {host} remembers you was gone.",
			hint:   "Allow cookies for {host}: private windows, blockers and the rules of a company may refuse them. Open it by this name alone, and see that the clock of this device is right. If you run this site: proxies in front have to pass on Set-Cookie, Cookie and Host.",
			action: actLogin,
		},
		CookieInsecure: {
			status: http.StatusBadRequest, icon: "lock", title: "This sign-in began without encryption",
			text:   "You opened http://{host}, and browsers keep what signs you in for https://{host} only.",
			hint:   "If you run this site: let the proxy in front send http to https, and correct links and bookmarks that begin with http.",
			action: actHTTPS,
		},
		SessionRefused: {
			status: http.StatusBadRequest, icon: "clock", title: "Your session ends as soon as it begins",
			text:   "You signed in three times. Your browser kept the session, but {host} did not accept it.",
			hint:   "Try again in a moment. If you run this site: all processes behind {host} need the same session key, the same store, and clocks that agree.",
			action: actLogin,
		},

		ProviderAway: {
			status: http.StatusServiceUnavailable, icon: "plug", title: "{provider} cannot be reached",
			text:   "Signing in goes by way of {provider}, which does not answer at the moment. Who is signed in already is not affected.",
			hint:   "Try again in a moment. " + persist,
			action: actLogin, retryAfter: soon,
		},
		ProviderFailed: {
			status: http.StatusBadGateway, icon: "plug", title: "The sign-in did not work",
			text:   "{provider} sent an answer that could not be accepted. You were not signed in.",
			hint:   "Try again. " + persist,
			action: actLogin,
		},
		ProviderMisconfigured: {
			status: http.StatusBadGateway, icon: "plug", title: "The sign-in is not set up right",
			text:   "{provider} does not accept this site as it is registered there. This is not your fault, and trying again will not help.",
			hint:   "Tell those who run this site the request ID below; the log says more, and so does “loginwall check”.",
			action: actHome,
		},
		ProviderCancelled: {
			status: http.StatusForbidden, icon: "hand", title: "You were not signed in",
			text:   "The sign-in at {provider} was cancelled or refused.",
			hint:   "If that was not what you wanted, just try again.",
			action: actOther,
		},
		ProviderInternalOnly: {
			status: http.StatusForbidden, icon: "hand", title: "For members of the organization only",
			text:   "{provider} lets only accounts of the organization that owns this site sign in here.",
			hint:   "Use the account that you have from your organization.",
			action: actOther,
		},
		ProviderPolicy: {
			status: http.StatusForbidden, icon: "hand", title: "Your organization does not allow this",
			text:   "The administrators of your {provider} account do not let it sign in to this site.",
			hint:   "Ask them to allow it, or use another account.",
			action: actOther,
		},
		ProviderBrowserRefused: {
			status: http.StatusForbidden, icon: "signpost", title: "Please use your usual browser",
			text: "{provider} does not let anybody sign in from within another app.",
			hint: "Open {host} in Chrome, Edge, Firefox or Safari.",
		},
		ProviderMoreInteraction: {
			status: http.StatusBadRequest, icon: "question", title: "One more step at {provider}",
			text:   "{provider} needs you to choose an account or to confirm something before you can go on.",
			action: actOther,
		},

		UpstreamDown: {
			status: http.StatusBadGateway, icon: "plug", title: "The app is not answering",
			text:   "The login works, but the app behind {host} cannot be reached. It may be starting up, or be down for maintenance.",
			hint:   "Try again in a moment. " + persist,
			action: actRetry, retryAfter: soon,
		},
		UpstreamSlow: {
			status: http.StatusGatewayTimeout, icon: "clock", title: "The app takes too long",
			text:   "The login works, but the app behind {host} did not answer in time.",
			hint:   "Try again in a moment. What you sent last may have arrived all the same. " + persist,
			action: actRetry, retryAfter: soon,
		},
		UpstreamBroken: {
			status: http.StatusBadGateway, icon: "plug", title: "The app gave a broken answer",
			text:   "The login works, but what the app behind {host} answered cannot be passed on.",
			hint:   "Try again in a moment. " + persist,
			action: actRetry,
		},
		Loop: {
			status: http.StatusLoopDetected, icon: "signpost", title: "This site leads back to itself",
			text: "The request came back to where it had been before, so it was stopped.",
			hint: "If you run this site: upstream must name the app, not the wall.",
		},
		StoreAway: {
			status: http.StatusServiceUnavailable, icon: "plug", title: "Nobody can sign in just now",
			text:   "The sign-in could not be recorded, so you were not let in. Who is signed in already is not affected.",
			hint:   "Try again in a moment. " + persist,
			action: actLogin, retryAfter: soon,
		},
		SignOutFailed: {
			status: http.StatusServiceUnavailable, icon: "plug", title: "You are still signed in",
			text:   "The sign-out could not be recorded, so your session was not ended.",
			hint:   "Try again in a moment. On a computer that is not yours, delete the cookies of {host} as well.",
			action: actLogout, retryAfter: soon,
		},
		DirectoryAway: {
			status: http.StatusServiceUnavailable, icon: "plug", title: "The directory cannot be reached",
			text:   "The store does not answer, so it is not known whether anything was changed.",
			hint:   "Look at the page again in a moment. " + persist,
			action: actRetry, retryAfter: soon,
		},
		RevocationsStale: {
			status: http.StatusServiceUnavailable, icon: "plug", title: "Closed for a moment",
			text:   "It cannot be checked just now who may come in, so nobody is let in.",
			hint:   "You need not sign in again: try again in a moment. " + persist,
			action: actRetry, retryAfter: soon,
		},
		Draining: {
			status: http.StatusServiceUnavailable, icon: "clock", title: "Restarting",
			text:   "This site is being restarted or updated, which takes a few seconds.",
			hint:   "You stay signed in. Try again in a moment.",
			action: actRetry, retryAfter: soon,
		},
		Internal: {
			status: http.StatusInternalServerError, icon: "plug", title: "Something went wrong here",
			text:   "This is a fault of the login wall at {host}, not of yours.",
			hint:   "Try again in a moment. " + persist,
			action: actRetry,
		},
	}
}

// A denial says in plain words why an account may not pass. It names no list, no
// domain and no group: whoever reads it is a stranger.
type denial struct{ title, text string }

// denials are keyed by the reasons of auth/policy; "" is for any other.
func denials() map[string]denial {
	const title = "This account has no access"
	return map[string]denial{
		"": {title, "It is not among those that may use {app}."},
		"domain": {
			title, "Only accounts of certain organizations may use {app}, and this is none of theirs.",
		},
		"hosted_domain": {
			title, "The address looks right, but {provider} does not count this account among those of the organization. It may be a personal account that was made with a work address.",
		},
		"email_unverified": {
			title, "{provider} has not verified that this address belongs to the account. Verify it there, then sign in again.",
		},
		"no_email": {
			title, "{provider} did not tell an e-mail address of this account, and without one nobody can come in.",
		},
		"no_account": {title, "{provider} did not tell which account this is."},
		"not_listed": {title, "It is not among those that may use {app}, or this part of it."},
		"group":      {title, "It is in none of the groups that may use {app}, or this part of it."},
		"deny_list":  {title, "It is on the list of those that may not use {app}."},
		"blocked":    {"This account is blocked", "An administrator of {app} has blocked the account or its address."},
		"not_admin":  {"For administrators only", "This page is for the administrators of {app}, and this account is not one of them."},
		"nobody":     {"This page is closed", "It is open to nobody, whatever the account."},
	}
}
