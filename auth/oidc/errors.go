package oidc

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/loginwall/loginwall/auth"
)

// A Reason is one of a few fixed words, safe as a metric's label.
type Reason string

// Why an attempt failed.
const (
	ReasonUnavailable Reason = "unavailable"       // not discovered yet, unreachable, overloaded
	ReasonTimeout     Reason = "timeout"           // no complete answer in time
	ReasonCanceled    Reason = "canceled"          // the caller went away
	ReasonRejected    Reason = "provider_rejected" // the provider refused the code: used, old, or another client's
	ReasonBadClient   Reason = "bad_client"        // the provider refused our client id or secret
	ReasonBadReply    Reason = "bad_reply"         // an answer that cannot be read, or lacks the ID token
	ReasonBadToken    Reason = "bad_token"         // the ID token does not verify
	ReasonNonce       Reason = "nonce"             // the ID token was made for another attempt
	ReasonClock       Reason = "clock"             // the ID token's times do not fit our clock
	ReasonStale       Reason = "stale_sign_in"     // a sign-in of before, where a new one was asked for
	ReasonIssuer      Reason = "issuer"            // the callback names another issuer (RFC 9207)
)

// An Error says why an attempt failed: Reason for pages and metrics, Error for
// the log. It never contains a code, a token or a secret.
type Error struct {
	Reason Reason
	err    error
}

// Error is the precise cause, for operators.
func (e *Error) Error() string { return "oidc: " + e.err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.err }

// Is makes errors.Is(err, auth.ErrUnavailable) true where the same call may
// succeed later.
func (e *Error) Is(target error) bool {
	return target == auth.ErrUnavailable && (e.Reason == ReasonUnavailable || e.Reason == ReasonTimeout)
}

func fail(reason Reason, format string, args ...any) *Error {
	return &Error{reason, fmt.Errorf(format, args...)}
}

// errReply marks answers that arrived but cannot be used.
var errReply = errors.New("unusable answer")

// netError sorts what the HTTP client returns; the cause stays in the chain.
func netError(action string, err error) *Error {
	var timeout net.Error
	reason := ReasonUnavailable
	switch {
	case errors.Is(err, errReply):
		reason = ReasonBadReply
	case errors.Is(err, context.Canceled):
		reason = ReasonCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		reason = ReasonTimeout
	}
	return fail(reason, "%s: %w", action, err)
}
