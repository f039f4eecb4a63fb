package login

import (
	"sync"
	"time"
)

// A bucket holds tokens, and gets one a second up to its size. Times may come in any
// order. It is safe for concurrent use.
type bucket struct {
	size float64

	mu    sync.Mutex
	taken float64 // as of at
	at    time.Time
}

func newBucket(size int) *bucket { return &bucket{size: float64(size)} }

// has reports whether there is a token.
func (b *bucket) has(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	return b.size-b.taken >= 1
}

// take takes a token, if there is one.
func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	if b.size-b.taken < 1 {
		return false
	}
	b.taken++
	return true
}

func (b *bucket) refill(now time.Time) {
	if now.After(b.at) {
		b.taken = max(0, b.taken-now.Sub(b.at).Seconds())
		b.at = now
	}
}
