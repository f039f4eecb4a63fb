package auth

import (
	"context"
	"time"
)

// A SignIn is what the store is asked to record before a session's cookie is
// sent. Address and Agent are the client's, as told by a trusted hop or the
// connection, already bounded in length.
type SignIn struct {
	Identity Identity
	Session  SessionID
	// MaxAge is the absolute lifetime of the session from now.
	MaxAge         time.Duration
	Address, Agent string
}

// A SignedIn is what the store answers: the times that the cookie must carry.
type SignedIn struct {
	// Created is the store's clock, strictly after every cut-off of the user.
	Created, Expires time.Time
	// FirstTime says that the user was not known before.
	FirstTime bool
	// PreviousHolder is the user who signed in with the same address before, when
	// that was another account; else empty.
	PreviousHolder UserID
}

// A User is a row of the directory: somebody who has signed in at least once.
type User struct {
	ID UserID
	Identity
	// Block is nil for a user who is not blocked.
	Block                             *Block
	FirstSignIn, LastSignIn, LastSeen time.Time
	SignIns                           int64
	// OpenSessions is how many sessions are open now.
	OpenSessions int64
}

// A Block names an account, an address, or both, and keeps either out until it
// is taken away. It outlives the user's deletion.
type Block struct {
	// User is empty when an address was blocked that nobody has signed in with.
	User  UserID
	Email string
	By    string
	At    time.Time
	// Reason is an operator's own words; it may be empty.
	Reason string
}

// A SessionRecord is the directory's view of a session. It holds nothing that
// could open one.
type SessionRecord struct {
	ID                         SessionID
	User                       UserID
	Email                      string
	Created, Expires, LastSeen time.Time
	Address, Agent             string
	// End is nil while the session has not been ended early; it may have expired.
	End *End
}

// An End tells how a session ended before its time.
type End struct {
	At     time.Time
	By     string
	Reason EndReason
}

// An EndReason is one of a few fixed words, safe as a metric's label.
type EndReason string

// The ways in which a session ends early.
const (
	EndSignOut   EndReason = "sign_out"  // its own user signed out
	EndReplaced  EndReason = "replaced"  // a callback verified an identity in the same browser
	EndByAdmin   EndReason = "by_admin"  // somebody ended this session, or all of the user's
	EndBlocked   EndReason = "blocked"   // its user was blocked
	EndElsewhere EndReason = "elsewhere" // its own user signed out everywhere else
)

// An Ending asks the store to end one session. User and Expires come from the
// sealed session, so that a store that never recorded it (another pod's) can end
// it all the same.
type Ending struct {
	Session SessionID
	User    UserID
	Expires time.Time
	By      string
	Reason  EndReason
}

// A Seen says when a session was last used; the store keeps the latest.
type Seen struct {
	Session SessionID
	User    UserID
	At      time.Time
}

// An Event is a line of the audit trail: who did what to whom, when, from where.
type Event struct {
	ID   int64
	At   time.Time
	Kind EventKind
	// Actor is an address, or a fixed word such as "command line".
	Actor string
	// User, Email and Session are whom it was done to; each may be empty.
	User    UserID
	Email   string
	Session SessionID
	Address string
	// Detail is short plain text: a reason, a rule. Never a secret.
	Detail string
}

// An EventKind is one of a few fixed words.
type EventKind string

// The kinds of events.
const (
	EventSignIn       EventKind = "sign_in"
	EventDenied       EventKind = "denied"
	EventSignOut      EventKind = "sign_out"
	EventSessionEnded EventKind = "session_ended"
	EventBlocked      EventKind = "blocked"
	EventUnblocked    EventKind = "unblocked"
	EventAdminChanged EventKind = "admin_account_changed"
	EventUserDeleted  EventKind = "user_deleted"
	EventReloaded     EventKind = "config_reloaded"
)

// EventKinds returns all of them, in the order in which a person chooses.
func EventKinds() []EventKind {
	return []EventKind{
		EventSignIn, EventDenied, EventSignOut, EventSessionEnded, EventBlocked, EventUnblocked,
		EventUserDeleted, EventAdminChanged, EventReloaded,
	}
}

// An Activity is what happened in one hour or one day of UTC.
type Activity struct {
	Start time.Time
	// SignIns and Denied count events; People is how many accounts signed in.
	SignIns, Denied, People int64
}

// A TurnedAway is how often one address was denied for one reason.
type TurnedAway struct {
	Email, Reason string
	Times         int64
	First, Last   time.Time
}

// A RevocationKind says what Revocation.Key names.
type RevocationKind string

// The kinds of revocations.
const (
	RevokeSession RevocationKind = "session"     // Key is a SessionID
	RevokeUser    RevocationKind = "user"        // Key is a UserID: sessions created at or before At have ended
	BlockUser     RevocationKind = "block_user"  // Key is a UserID
	BlockEmail    RevocationKind = "block_email" // Key is a canonical address
)

// A Revocation is one row of the feed that every process keeps in memory. Seq
// comes from a counter row that is raised in the same transaction, so readers
// who ask for "everything behind the last Seq I saw" can miss no late commit.
// A later row with the same Kind and Key replaces an earlier one.
type Revocation struct {
	Seq  int64
	Kind RevocationKind
	Key  string
	// Active is false for a block that was taken away.
	Active bool
	// At is the cut-off of RevokeUser, by the store's clock.
	At time.Time
	// Expires is when the row has no effect any more; zero for blocks.
	Expires time.Time
}

// A Feed is one read of the revocations.
type Feed struct {
	Rows []Revocation
	// Cursor is the Seq to ask behind next time.
	Cursor int64
	// Whole says that Rows is the complete set, not a continuation, since the
	// store's counter stood before the caller's cursor (a restored backup, a
	// failover): what the caller knew is to be replaced.
	Whole bool
}

// A Client is who sent a request, as far as the connection and trusted hops tell.
type Client struct {
	// Address is an IP address in text form, or "unix" behind a socket.
	Address string
	// Agent is the User-Agent, cut to a bounded length.
	Agent string
	// RequestID is the id in the log and on pages.
	RequestID string
	// Original is the path and query that the client asked a trusted front proxy for,
	// where that proxy sends it to the login itself; else empty.
	Original string
}

type clientKey struct{}

// WithClient returns a context that says on whose behalf something is done, so
// that what is recorded far below can say from where.
func WithClient(ctx context.Context, c Client) context.Context {
	return context.WithValue(ctx, clientKey{}, c)
}

// ClientOf returns the client of WithClient; the zero Client where there is none.
func ClientOf(ctx context.Context) Client {
	c, _ := ctx.Value(clientKey{}).(Client)
	return c
}
