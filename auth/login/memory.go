package login

import "fmt"

const (
	// maxSpent bounds the memory of attempts that have served: a hundred logins a
	// second for the ten minutes that an attempt may take.
	maxSpent = 60_000
	// deniedBurst bounds the events that strangers can cause: so many at once, and one
	// a second in the long run.
	deniedBurst = 60
)

// A Memory is what logins leave behind in the process: which attempts have
// served, who keeps failing. It is bounded, outlives the Handlers that a reload
// replaces, and is safe for concurrent use.
type Memory struct {
	spent    *spent
	failures *failures
	denied   *bucket
}

// NewMemory makes an empty one.
func NewMemory() (*Memory, error) {
	f, err := newFailures()
	if err != nil {
		return nil, fmt.Errorf("make the memory of failed logins: %w", err)
	}
	return &Memory{newSpent(maxSpent), f, newBucket(deniedBurst)}, nil
}
