package session

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loginwall/loginwall/auth"
)

const (
	// shards bounds how much of the set one step of a sweep holds up.
	shards = 64
	// sweepGrace keeps a revocation for longer than the session that it ends, in
	// case the clock is set back and the session's time comes again.
	sweepGrace = 24 * time.Hour
	// applyStep is how many rows of a long feed are applied under one lock.
	applyStep = 1000
	// maxOwn bounds the own changes that are kept until a read of the feed
	// confirms them. They are in the set as well, so that losing the oldest only
	// matters when the store is replaced by a backup at that very moment.
	maxOwn = 100_000
)

// Revocations is what was taken back: sessions that ended early, cut-offs of
// users, and blocks. It answers from memory, and is safe for concurrent use. One
// lives as long as the process, across reloads.
//
// Rows come from two sides. A Follower applies the store's feed; Add puts in what
// this process did itself, as soon as the store has committed it. A read of the
// feed that began before such a change may not know of it, and must not undo it:
// own changes are numbered, and put in again after every read that began before
// them, until one that began later has told what the store made of them.
type Revocations struct {
	now func() time.Time

	mu      sync.RWMutex
	set     *revoked
	own     []ownChange
	changes uint64    // how many own changes there were; numbers them
	readAt  time.Time // when the last good read of the feed began
	watch   map[chan struct{}]struct{}

	// refresh is the Follower's Poll, once there is one.
	refresh atomic.Pointer[func(context.Context) error]
}

// An ownChange is a row that this process committed, with its number.
type ownChange struct {
	number uint64
	row    auth.Revocation
}

// A key is the 16 bytes behind a SessionID or a UserID.
type key [16]byte

// keyOf reads the text of either; both have the same form.
func keyOf(text string) (key, bool) {
	b, err := auth.SessionID(text).Bytes()
	return b, err == nil
}

// NewRevocations returns an empty set whose feed has not been read, so that its
// Age is as great as can be. now is time.Now where it is nil.
func NewRevocations(now func() time.Time) *Revocations {
	if now == nil {
		now = time.Now //nolint:forbidigo // the default
	}
	return &Revocations{now: now, set: newRevoked(), watch: make(map[chan struct{}]struct{})}
}

// Check tells what became of a session: Blocked where its account or address is
// blocked, Ended where it or all of its user's were ended, else Valid. Whether it
// has expired is not looked at. It does no I/O.
func (r *Revocations) Check(s *auth.Session) Status {
	if s == nil {
		return Ended
	}
	session, ok := keyOf(string(s.ID))
	if !ok {
		return Ended
	}
	user, ok := keyOf(string(s.Identity.UserID()))
	if !ok {
		return Ended
	}
	return r.check(session, user, s)
}

// check is Check for whoever has the keys already; it allocates nothing.
func (r *Revocations) check(session, user key, s *auth.Session) Status {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.set.check(session, user, s.Identity.Email, s.Created.UnixMilli())
}

// Add puts in what this process has just committed to the store. Rows need no Seq.
func (r *Revocations) Add(rows ...auth.Revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range rows {
		r.changes++
		r.set.put(row)
		r.own = append(r.own, ownChange{r.changes, row})
	}
	if over := len(r.own) - maxOwn; over > 0 {
		r.own = append([]ownChange(nil), r.own[over:]...)
	}
	r.notify()
}

// Refresh reads the feed now, so that what was just committed counts exactly as
// the store has it when Refresh returns. Without a Follower it does nothing.
func (r *Revocations) Refresh(ctx context.Context) error {
	if poll := r.refresh.Load(); poll != nil {
		return (*poll)(ctx)
	}
	return nil
}

// Apply puts in what a read of the feed told. What this process added itself
// stays, since the read may have begun earlier; a Follower knows better.
func (r *Revocations) Apply(feed auth.Feed) {
	r.apply(feed, reading{began: r.now()})
}

// A reading marks the moment before the feed is read.
type reading struct {
	began   time.Time
	changes uint64 // the own changes that the read must know
}

func (r *Revocations) beginReading() reading {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return reading{r.now(), r.changes}
}

// apply reports whether the read is settled. It is not when own cut-offs or blocks
// came in while it was under way: they were put above its rows, and perhaps above
// later ones, so the same rows have to be read again to count in the store's
// order. (An ended session stays so in any order.)
func (r *Revocations) apply(feed auth.Feed, read reading) (settled bool) {
	rows, changed := feed.Rows, len(feed.Rows) > 0
	if feed.Whole {
		fresh := newRevoked()
		for _, row := range rows {
			fresh.put(row)
		}
		rows = nil
		r.mu.Lock()
		changed = changed || r.set.count() != (counts{})
		r.set = fresh
		r.putOwn(read)
		r.mu.Unlock()
	}
	for len(rows) > 0 {
		step := rows[:min(applyStep, len(rows))]
		rows = rows[len(step):]
		r.mu.Lock()
		for _, row := range step {
			r.set.put(row)
		}
		r.putOwn(read)
		r.mu.Unlock()
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.readAt = read.began
	for len(r.own) > 0 && r.own[0].number <= read.changes {
		r.own = r.own[1:]
	}
	if len(r.own) == 0 {
		r.own = nil
	}
	if changed {
		r.notify()
	}
	for _, own := range r.own {
		if own.row.Kind != auth.RevokeSession {
			return false
		}
	}
	return true
}

// putOwn puts in again what the read cannot know. The caller holds mu.
func (r *Revocations) putOwn(read reading) {
	for _, own := range r.own {
		if own.number > read.changes {
			r.set.put(own.row)
		}
	}
}

// Age is how old the knowledge is: the time since the last good read of the feed
// began.
func (r *Revocations) Age() time.Duration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.readAt.IsZero() {
		return math.MaxInt64
	}
	return max(0, r.now().Sub(r.readAt))
}

// Subscribe returns a channel that holds one value whenever something was put in
// since the last receive, and the function that ends the subscription.
func (r *Revocations) Subscribe() (changed <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watch[c] = struct{}{}
	return c, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watch, c)
	}
}

// notify never waits: who has not yet taken the last value will see everything
// when taking it. The caller holds mu.
func (r *Revocations) notify() {
	for c := range r.watch {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Len returns how many sessions, cut-offs and blocks are known.
func (r *Revocations) Len() (sessions, cutoffs, blocks int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c := r.set.count()
	return c.sessions, c.cutoffs, c.blocks
}

// sweep forgets what has no effect any more, in steps that hold nobody up.
func (r *Revocations) sweep() {
	before := r.now().Add(-sweepGrace).UnixMilli()
	for i := range shards {
		r.mu.Lock()
		r.set.sweepSessions(i, before)
		r.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for user, c := range r.set.cutoffs {
		if c.expires < before {
			delete(r.set.cutoffs, user)
		}
	}
}

// revoked is the set itself; Revocations guards it. Times are in milliseconds.
type revoked struct {
	sessions [shards]map[key]int64 // to the time when the session expires; nil while empty
	cutoffs  map[key]cutoff
	users    map[key]struct{}
	emails   map[string]struct{}
}

// A cutoff ends the sessions of a user that were created at or before it.
type cutoff struct{ at, expires int64 }

func newRevoked() *revoked {
	return &revoked{
		cutoffs: make(map[key]cutoff),
		users:   make(map[key]struct{}),
		emails:  make(map[string]struct{}),
	}
}

type counts struct{ sessions, cutoffs, blocks int }

func (s *revoked) count() counts {
	c := counts{cutoffs: len(s.cutoffs), blocks: len(s.users) + len(s.emails)}
	for _, shard := range s.sessions {
		c.sessions += len(shard)
	}
	return c
}

func (s *revoked) check(session, user key, email string, created int64) Status {
	if _, blocked := s.users[user]; blocked {
		return Blocked
	}
	if _, blocked := s.emails[email]; blocked {
		return Blocked
	}
	if _, ended := s.sessions[session[0]%shards][session]; ended {
		return Ended
	}
	if c, found := s.cutoffs[user]; found && created <= c.at {
		return Ended
	}
	return Valid
}

// put takes in a row; a later one replaces an earlier one. A row whose key is no
// id is passed over: there is no session that it could be about.
func (s *revoked) put(row auth.Revocation) {
	if row.Kind == auth.BlockEmail {
		if row.Active {
			s.emails[row.Key] = struct{}{}
		} else {
			delete(s.emails, row.Key)
		}
		return
	}
	k, ok := keyOf(row.Key)
	if !ok {
		return
	}
	expires := int64(math.MaxInt64)
	if !row.Expires.IsZero() {
		expires = row.Expires.UnixMilli()
	}
	switch row.Kind {
	case auth.RevokeSession:
		shard := &s.sessions[k[0]%shards]
		if *shard == nil {
			*shard = make(map[key]int64)
		}
		(*shard)[k] = expires
	case auth.RevokeUser:
		s.cutoffs[k] = cutoff{row.At.UnixMilli(), expires}
	case auth.BlockUser:
		if row.Active {
			s.users[k] = struct{}{}
		} else {
			delete(s.users, k)
		}
	case auth.BlockEmail: // above
	}
}

// sweepSessions builds a shard anew where something is to go, since a map never
// gives memory back.
func (s *revoked) sweepSessions(shard int, before int64) {
	gone := 0
	for _, expires := range s.sessions[shard] {
		if expires < before {
			gone++
		}
	}
	if gone == 0 {
		return
	}
	if gone == len(s.sessions[shard]) {
		s.sessions[shard] = nil
		return
	}
	kept := make(map[key]int64, len(s.sessions[shard])-gone)
	for k, expires := range s.sessions[shard] {
		if expires >= before {
			kept[k] = expires
		}
	}
	s.sessions[shard] = kept
}
