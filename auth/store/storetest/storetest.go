// Package storetest is the suite that every engine of auth/store must pass, the
// same for each. It uses the store only as programs do, never sets its clock,
// and expects nothing of an engine but what package store promises.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

// Fresh makes a new, empty database for one test and returns a function that
// opens it, as often as it is called: each call is another process's view. It
// fills in Config.URL, keeps the rest, and closes the store when the test ends.
type Fresh func(t *testing.T) (open func(store.Config) *store.Store)

// Run runs the suite.
func Run(t *testing.T, fresh Fresh) {
	for name, test := range map[string]func(*testing.T, func(store.Config) *store.Store){
		"SignIn":                 testSignIn,
		"SignInOddText":          testSignInOddText,
		"SignInIncomplete":       testSignInIncomplete,
		"PreviousHolder":         testPreviousHolder,
		"EndSession":             testEndSession,
		"EndUnknownSession":      testEndUnknownSession,
		"EndSessionsOf":          testEndSessionsOf,
		"CutOffIsStrict":         testCutOffIsStrict,
		"CutOffOutlivesSessions": testCutOffOutlivesSessions,
		"BlockAccount":           testBlockAccount,
		"BlockAddress":           testBlockAddress,
		"BlockUnseenAddress":     testBlockUnseenAddress,
		"BlockTwice":             testBlockTwice,
		"BlockNobody":            testBlockNobody,
		"BlockOutlivesUser":      testBlockOutlivesUser,
		"UnblockLiftsAll":        testUnblockLiftsAll,
		"Feed":                   testFeed,
		"FeedBehind":             testFeedBehind,
		"Seen":                   testSeen,
		"UserLists":              testUserLists,
		"UserSearch":             testUserSearch,
		"UserOrders":             testUserOrders,
		"EndOtherSessions":       testEndOtherSessions,
		"EventsFrom":             testEventsFrom,
		"SessionLists":           testSessionLists,
		"EventLists":             testEventLists,
		"EventFilters":           testEventFilters,
		"Activity":               testActivity,
		"BlockLists":             testBlockLists,
		"BadCursors":             testBadCursors,
		"PruneSessions":          testPruneSessions,
		"PruneEvents":            testPruneEvents,
		"TwoProcesses":           testTwoProcesses,
		"ConcurrentFeed":         testConcurrentFeed,
		"ConcurrentSignInBlock":  testConcurrentSignInBlock,
		"Cancelled":              testCancelled,
		"Closed":                 testClosed,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

// person is an account of its own for each number.
func person(n int) auth.Identity {
	return auth.Identity{
		Issuer: "https://accounts.example.com", Subject: fmt.Sprint(1000 + n),
		Email: fmt.Sprintf("user%d@example.com", n), EmailVerified: true,
		HostedDomain: "example.com", Name: fmt.Sprintf("User %d", n), Picture: "https://img.example.com/p",
	}
}

func userID(n int) auth.UserID {
	id := person(n)
	return id.UserID()
}

// as gives an account another address.
func as(id auth.Identity, email string) auth.Identity {
	id.Email = email
	return id
}

func signIn(t *testing.T, s *store.Store, id auth.Identity) auth.Session {
	t.Helper()
	out, err := trySignIn(t.Context(), s, id)
	if err != nil {
		t.Fatalf("SignIn(%s): %v", id.Email, err)
	}
	return out
}

func trySignIn(ctx context.Context, s *store.Store, id auth.Identity) (auth.Session, error) {
	session := auth.Session{ID: auth.NewSessionID(), Identity: id}
	in, err := s.SignIn(ctx, auth.SignIn{
		Identity: id, Session: session.ID, MaxAge: time.Hour, Address: "192.0.2.1", Agent: "test",
	})
	session.Created, session.Expires = in.Created, in.Expires
	return session, err
}

// A process is what somebody knows who follows the feed.
type process struct {
	cursor int64
	rows   map[[2]string]auth.Revocation
	seqs   []int64
}

func (p *process) read(t *testing.T, s *store.Store) auth.Feed {
	t.Helper()
	feed, err := s.Revocations(t.Context(), p.cursor)
	if err != nil {
		t.Fatalf("Revocations(%d): %v", p.cursor, err)
	}
	if feed.Whole {
		p.rows = make(map[[2]string]auth.Revocation)
	}
	for _, r := range feed.Rows {
		p.rows[[2]string{string(r.Kind), r.Key}] = r
		p.seqs = append(p.seqs, r.Seq)
	}
	p.cursor = feed.Cursor
	return feed
}

// alive judges a session as the gate does.
func (p *process) alive(s auth.Session) bool {
	get := func(kind auth.RevocationKind, key string) auth.Revocation {
		return p.rows[[2]string{string(kind), key}]
	}
	user := string(s.Identity.UserID())
	cut := get(auth.RevokeUser, user)
	return !get(auth.RevokeSession, string(s.ID)).Active &&
		(!cut.Active || s.Created.After(cut.At)) &&
		!get(auth.BlockUser, user).Active &&
		(s.Identity.Email == "" || !get(auth.BlockEmail, s.Identity.Email).Active)
}

func wantAlive(t *testing.T, s *store.Store, want bool, sessions ...auth.Session) {
	t.Helper()
	var p process
	p.read(t, s)
	for i, session := range sessions {
		if got := p.alive(session); got != want {
			t.Errorf("session %d of %s: alive = %v, want %v", i, session.Identity.Email, got, want)
		}
	}
}

// events returns the kinds of all events of a user or an address, the oldest first.
func events(t *testing.T, s *store.Store, q store.EventQuery) []auth.EventKind {
	t.Helper()
	var kinds []auth.EventKind
	for e, err := range s.AllEvents(t.Context(), q) {
		if err != nil {
			t.Fatalf("AllEvents: %v", err)
		}
		kinds = append(kinds, e.Kind)
	}
	slices.Reverse(kinds)
	return kinds
}

func wantEvents(t *testing.T, s *store.Store, q store.EventQuery, want ...auth.EventKind) {
	t.Helper()
	if got := events(t, s, q); !slices.Equal(got, want) {
		t.Errorf("events = %v, want %v", got, want)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error = %v, want %v", what, got, want)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
