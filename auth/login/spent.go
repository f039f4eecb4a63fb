package login

import (
	"crypto/sha256"
	"sync"
	"time"
)

// spent remembers which attempts have served, so that each serves once (RFC 6749,
// section 10.5, for the code; this is the same for the state). It is safe for
// concurrent use.
//
// It holds at most its bound; when full, the oldest goes. That cannot be used to
// replay an attempt usefully: the provider takes a code once, too, and its nonce
// and verifier bind it to the attempt.
type spent struct {
	mu     sync.Mutex
	limit  int
	until  map[[sha256.Size]byte]time.Time
	oldest [][sha256.Size]byte // in the order of use
}

func newSpent(limit int) *spent {
	return &spent{limit: limit, until: map[[sha256.Size]byte]time.Time{}}
}

// use reports whether state had not been used before, and remembers it until it
// would expire.
func (s *spent) use(state string, expires, now time.Time) bool {
	key := sha256.Sum256([]byte(state))
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, used := s.until[key]; used {
		return false
	}
	for len(s.oldest) > 0 && (len(s.oldest) >= s.limit || !now.Before(s.until[s.oldest[0]])) {
		delete(s.until, s.oldest[0])
		s.oldest = s.oldest[1:]
	}
	s.until[key] = expires
	s.oldest = append(s.oldest, key)
	return true
}

// has reports whether state has served.
func (s *spent) has(state string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, used := s.until[sha256.Sum256([]byte(state))]
	return used
}
