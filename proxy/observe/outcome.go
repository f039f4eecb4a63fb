package observe

// An Outcome says what became of a request, in one of a few fixed words.
type Outcome uint8

// The outcomes. The zero value is what a request has that nobody accounted for.
const (
	Failed    Outcome = iota // error: the wall's own error page
	Proxied                  // proxied: the upstream answered
	Challenge                // sign_in_required: a login was started, or asked for
	Denied                   // denied: by policy, a block, or the Origin of a WebSocket
	Page                     // page: one of the wall's own pages, below /_auth/
	Canceled                 // canceled: the client went away first
	Ended                    // ended: it was open when its session ended
	Vouched                  // vouched: a front proxy asked whether it may pass, and it may
	outcomes
)

// String returns the word.
func (o Outcome) String() string {
	switch o {
	case Proxied:
		return "proxied"
	case Challenge:
		return "sign_in_required"
	case Denied:
		return "denied"
	case Page:
		return "page"
	case Canceled:
		return "canceled"
	case Ended:
		return "ended"
	case Vouched:
		return "vouched"
	case Failed, outcomes:
	}
	return "error"
}
