package login

import (
	"fmt"

	"golang.org/x/time/rate"
)

const (
	// maxSpent bounds the memory of attempts that have served: a hundred logins a
	// second for the ten minutes that an attempt may take.
	maxSpent = 60_000
	// deniedRate and deniedBurst bound the events that strangers can cause.
	deniedRate  = rate.Limit(1) // a second
	deniedBurst = 60
)

// A Memory is what logins leave behind in the process: which attempts have
// served, who keeps failing. It is bounded, outlives the Handlers that a reload
// replaces, and is safe for concurrent use.
type Memory struct {
	spent    *spent
	failures *failures
	denied   *rate.Limiter
}

// NewMemory makes an empty one.
func NewMemory() (*Memory, error) {
	f, err := newFailures()
	if err != nil {
		return nil, fmt.Errorf("make the memory of failed logins: %w", err)
	}
	return &Memory{newSpent(maxSpent), f, rate.NewLimiter(deniedRate, deniedBurst)}, nil
}
