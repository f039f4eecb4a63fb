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

// Forget makes a cookie's value one that was not seen before.
func (k *Keeper) Forget(value string) { k.opened.Invalidate(value) }

// Notes are what was last seen.
type Notes struct{ notes }

// Add and Take are what a Keeper does with them.
func (n *Notes) Add(all ...auth.Seen) { n.add(all...) }

func (n *Notes) Take() []auth.Seen { return n.take() }

// MaxOwn bounds the own changes that wait for a read of the feed.
const MaxOwn = maxOwn

// OwnCount is how many wait.
func OwnCount(r *Revocations) int { return len(r.own) }

// ForgetOwn lets none wait.
func ForgetOwn(r *Revocations) { r.own = nil }
