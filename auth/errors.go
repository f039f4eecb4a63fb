package auth

import "errors"

// What callers may tell apart with errors.Is; every other error is "it failed".
var (
	// ErrBlocked: the account or its address is blocked.
	ErrBlocked = errors.New("blocked")
	// ErrNotFound: no such user, session or block.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: the store, or the provider, cannot be reached now; the same
	// call may succeed later.
	ErrUnavailable = errors.New("unavailable")
)
