package session_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/seal"
	"github.com/loginwall/loginwall/auth/session"
)

const issuer = "https://accounts.google.com"

// A clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// A ledger is a store in memory: it keeps what a store keeps, numbers its feed in
// the order of its commits, and fails when it is told to.
type ledger struct {
	mu      sync.Mutex
	now     func() time.Time
	fail    error         // what every method answers, when set
	reading func()        // called in the middle of a read of the feed
	signIns []auth.SignIn // in order
	endings []auth.Ending
	seen    map[auth.SessionID]auth.Seen
	batches []int // how many notes each call of Seen brought
	users   map[auth.SessionID]auth.UserID
	expires map[auth.SessionID]time.Time
	cutoffs map[auth.UserID]time.Time
	blocked map[string]bool // user ids and addresses
	feed    []auth.Revocation
	counter int64
	asked   []int64 // the cursors of all reads
}

func newLedger(now func() time.Time) *ledger {
	return &ledger{
		now:     now,
		seen:    make(map[auth.SessionID]auth.Seen),
		users:   make(map[auth.SessionID]auth.UserID),
		expires: make(map[auth.SessionID]time.Time),
		cutoffs: make(map[auth.UserID]time.Time),
		blocked: make(map[string]bool),
	}
}

var errDisk = errors.New("disk full")

func (l *ledger) setFail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

func (l *ledger) SignIn(_ context.Context, in auth.SignIn) (auth.SignedIn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return auth.SignedIn{}, l.fail
	}
	user := in.Identity.UserID()
	if l.blocked[string(user)] || l.blocked[in.Identity.Email] {
		return auth.SignedIn{}, auth.ErrBlocked
	}
	created := time.UnixMilli(l.now().UnixMilli())
	if cut := l.cutoffs[user]; !created.After(cut) {
		created = cut.Add(time.Millisecond)
	}
	l.signIns = append(l.signIns, in)
	l.users[in.Session], l.expires[in.Session] = user, created.Add(in.MaxAge)
	return auth.SignedIn{Created: created, Expires: created.Add(in.MaxAge), FirstTime: len(l.signIns) == 1}, nil
}

// commit puts a row into the feed, in place of an earlier one of the same thing.
func (l *ledger) commit(row auth.Revocation) {
	l.counter++
	row.Seq = l.counter
	kept := l.feed[:0:0]
	for _, old := range l.feed {
		if old.Kind != row.Kind || old.Key != row.Key {
			kept = append(kept, old)
		}
	}
	l.feed = append(kept, row)
}

func (l *ledger) EndSession(_ context.Context, e auth.Ending) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	l.endings = append(l.endings, e)
	l.commit(auth.Revocation{Kind: auth.RevokeSession, Key: string(e.Session), Active: true, At: l.now(), Expires: e.Expires})
	return nil
}

func (l *ledger) EndSessionsOf(_ context.Context, user auth.UserID, _ string, _ auth.EndReason) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return 0, l.fail
	}
	l.cutoffs[user] = time.UnixMilli(l.now().UnixMilli())
	l.commit(auth.Revocation{Kind: auth.RevokeUser, Key: string(user), Active: true, At: l.cutoffs[user], Expires: l.now().Add(1000 * time.Hour)})
	return 1, nil
}

// block is what another process, or the command line, does to an account or an address.
func (l *ledger) block(kind auth.RevocationKind, who string, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked[who] = on
	l.commit(auth.Revocation{Kind: kind, Key: who, Active: on, At: l.now()})
}

func (l *ledger) Seen(ctx context.Context, batch []auth.Seen) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(l.fail, ctx.Err()); err != nil {
		return err
	}
	l.batches = append(l.batches, len(batch))
	for _, seen := range batch {
		l.seen[seen.Session] = seen
	}
	return nil
}

func (l *ledger) Revocations(ctx context.Context, after int64) (auth.Feed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, after)
	if l.fail != nil {
		return auth.Feed{}, l.fail
	}
	feed := auth.Feed{Cursor: l.counter, Whole: after == 0 || after > l.counter}
	for _, row := range l.feed {
		if feed.Whole || row.Seq > after {
			feed.Rows = append(feed.Rows, row)
		}
	}
	if reading := l.reading; reading != nil {
		// The answer stands, but has not arrived.
		l.reading = nil
		l.mu.Unlock()
		reading()
		l.mu.Lock()
	}
	return feed, ctx.Err()
}

// restore puts an old backup in place: nothing is in the feed.
func (l *ledger) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.feed, l.counter = nil, 0
}

// A wall is a process: a keeper, what it knows of revocations, and the clock and
// the store that processes may share.
type wall struct {
	*session.Keeper
	t        testing.TB
	clock    *clock
	ledger   *ledger
	config   session.Config
	revoked  *session.Revocations
	follower *session.Follower
	log      *strings.Builder
}

// newWall makes one; change may alter its configuration.
func newWall(t testing.TB, change ...func(*session.Config)) *wall {
	t.Helper()
	clock := newClock()
	return newReplica(t, clock, newLedger(clock.Now), newRing(t), change...)
}

func newRing(t testing.TB, old ...[]byte) *seal.Ring {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	ring, err := seal.NewRing(key, old...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// newRingOf has one key only.
func newRingOf(t testing.TB, key []byte) *seal.Ring {
	t.Helper()
	ring, err := seal.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func newReplica(t testing.TB, clock *clock, ledger *ledger, ring *seal.Ring, change ...func(*session.Config)) *wall {
	t.Helper()
	w := &wall{t: t, clock: clock, ledger: ledger, log: new(strings.Builder)}
	w.revoked = session.NewRevocations(clock.Now)
	w.follower = session.NewFollower(ledger, w.revoked, 0, slog.New(slog.NewTextHandler(w.log, nil)))
	w.config = session.Config{
		PublicURL: &url.URL{Scheme: "https", Host: "tool.example.com"},
		Ring:      ring,
		Issuer:    issuer,
		MaxAge:    168 * time.Hour,
		Idle:      24 * time.Hour,
		Store:     ledger,
		Revoked:   w.revoked,
		Now:       clock.Now,
	}
	w.reload(change...)
	return w
}

// reload replaces the keeper by one with a changed configuration.
func (w *wall) reload(change ...func(*session.Config)) {
	w.t.Helper()
	for _, c := range change {
		c(&w.config)
	}
	keeper, err := session.New(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Keeper = keeper
}

func (w *wall) poll() {
	w.t.Helper()
	if err := w.follower.Poll(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func alice() auth.Identity {
	return auth.Identity{
		Issuer: issuer, Subject: "110169484474386276334", Email: "alice@example.com", EmailVerified: true,
		HostedDomain: "example.com", Name: "Alice Example",
		Picture: "https://lh3.googleusercontent.com/a/ACg8ocIxyzPbA1d2TIL1WAc0Vw5NJyLFBh1xKxY0DFm1Q0u8bB1cT9k=s96-c",
	}
}

func bob() auth.Identity {
	return auth.Identity{Issuer: issuer, Subject: "200", Email: "bob@example.com", EmailVerified: true, HostedDomain: "example.com"}
}

// signIn starts a session and returns the Cookie header of the browser that has it.
func (w *wall) signIn(id auth.Identity) (cookie string, s *auth.Session) {
	w.t.Helper()
	set, s, _, err := w.Start(w.t.Context(), id, auth.Client{Address: "192.0.2.7", Agent: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return pair(w.t, set), s
}

// pair returns what a browser sends back for a Set-Cookie header.
func pair(t testing.TB, setCookie string) string {
	t.Helper()
	c, err := http.ParseSetCookie(setCookie)
	if err != nil {
		t.Fatal(err)
	}
	return c.Name + "=" + c.Value
}

// want opens the lines of a Cookie header and checks what becomes of them.
func (w *wall) want(status session.Status, lines ...string) *auth.Session {
	w.t.Helper()
	opened := w.Open(lines)
	if opened.Status != status {
		w.t.Fatalf("the cookie is %v, want %v", opened.Status, status)
	}
	if known := status == session.Valid || status == session.Blocked; known != (opened.Session != nil) {
		w.t.Fatalf("%v with session %v", status, opened.Session)
	}
	return opened.Session
}
