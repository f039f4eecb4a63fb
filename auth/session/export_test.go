package session

import "github.com/loginwall/loginwall/auth"

// Sweep is what a Follower does once a minute.
func Sweep(r *Revocations) { r.sweep() }

// Encode and Decode are the form inside the seal.
func Encode(s *auth.Session) ([]byte, error) { return encode(s) }

func Decode(in []byte) (*auth.Session, error) { return decode(in) }

// MaxSeen bounds the notes in memory.
const MaxSeen = maxSeen

// MaxOpened bounds the cookies that are remembered.
const MaxOpened = maxOpened

// OpenedCount is how many cookies are remembered.
func (k *Keeper) OpenedCount() int {
	k.opened.CleanUp()
	return k.opened.EstimatedSize()
}
