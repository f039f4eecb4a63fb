package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

const admin = "admin@example.com"

// ADM-229, POL-169.
func testBlockAccount(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	mallory, other := person(1), person(2)
	sessions := []auth.Session{signIn(t, s, mallory), signIn(t, s, mallory)}
	bystander := signIn(t, s, other)
	b, err := s.Block(t.Context(), store.Who{User: mallory.UserID()}, admin, "left the company")
	must(t, err)
	if b.User != mallory.UserID() || b.Email != mallory.Email || b.By != admin || b.Reason != "left the company" || b.At.IsZero() {
		t.Errorf("block = %+v", b)
	}
	wantAlive(t, s, false, sessions...)
	wantAlive(t, s, true, bystander)
	// Another store's sessions too, whenever they began.
	wantAlive(t, s, false,
		auth.Session{ID: "elsewhere", Identity: as(mallory, "elsewhere@example.com"), Created: b.At.Add(time.Hour)},
		auth.Session{ID: "elsewhere", Identity: as(person(3), mallory.Email), Created: b.At.Add(time.Hour)})
	_, err = trySignIn(t.Context(), s, mallory)
	wantErr(t, "same account", err, auth.ErrBlocked)
	_, err = trySignIn(t.Context(), s, as(mallory, "elsewhere@example.com"))
	wantErr(t, "same account, new address", err, auth.ErrBlocked)
	_, err = trySignIn(t.Context(), s, as(person(3), mallory.Email))
	wantErr(t, "new account, same address", err, auth.ErrBlocked)
	if _, err := s.User(t.Context(), store.Who{User: userID(3)}); err == nil {
		t.Error("a refused sign-in made a user")
	}
	u, err := s.User(t.Context(), store.Who{User: mallory.UserID()})
	must(t, err)
	if diff := cmp.Diff(&b, u.Block); diff != "" || u.SignIns != 2 {
		t.Errorf("user, %d sign-ins, block (-want +got):\n%s", u.SignIns, diff)
	}
	record, err := s.Session(t.Context(), sessions[0].ID)
	must(t, err)
	if record.End == nil || record.End.Reason != auth.EndBlocked || record.End.By != admin {
		t.Errorf("end = %+v", record.End)
	}

	must(t, s.Unblock(t.Context(), store.Who{User: mallory.UserID()}, admin))
	wantAlive(t, s, false, sessions...) // a block ends, it does not pause
	wantAlive(t, s, true, signIn(t, s, mallory), signIn(t, s, as(person(3), mallory.Email)))
	wantErr(t, "Unblock twice", s.Unblock(t.Context(), store.Who{User: mallory.UserID()}, admin), auth.ErrNotFound)
	wantEvents(t, s, store.EventQuery{User: mallory.UserID()},
		auth.EventSignIn, auth.EventSignIn, auth.EventBlocked, auth.EventUnblocked, auth.EventSignIn)
}

// ADM-229.
func testBlockAddress(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	const shared = "team@example.com"
	a, b, c := as(person(1), shared), as(person(2), shared), person(3)
	sessions := []auth.Session{signIn(t, s, a), signIn(t, s, b)}
	bystander := signIn(t, s, c)
	first, err := s.Block(t.Context(), store.Who{Email: "Team@Example.com"}, admin, "")
	must(t, err)
	for _, id := range []auth.Identity{a, b} {
		u, err := s.User(t.Context(), store.Who{User: id.UserID()})
		must(t, err)
		if diff := cmp.Diff(&first, u.Block); diff != "" {
			t.Errorf("block of %s (-want +got):\n%s", id.Subject, diff)
		}
	}
	wantAlive(t, s, false, sessions...)
	wantAlive(t, s, true, bystander)
	for _, id := range []auth.Identity{a, b, as(a, "a@example.com"), as(b, "b@example.com"), as(c, shared)} {
		_, err := trySignIn(t.Context(), s, id)
		wantErr(t, id.Email, err, auth.ErrBlocked)
	}
	_, err = s.Block(t.Context(), store.Who{Email: shared}, admin, "")
	must(t, err)
	wantEvents(t, s, store.EventQuery{Kind: auth.EventBlocked}, auth.EventBlocked, auth.EventBlocked)
	// One lifts it for all who are tied together by it.
	must(t, s.Unblock(t.Context(), store.Who{User: b.UserID()}, admin))
	again := []auth.Session{signIn(t, s, a), signIn(t, s, b), signIn(t, s, as(c, shared))}
	wantAlive(t, s, true, again...)
	// A block of one account blocks the address, and so ends the sessions of all who hold it.
	_, err = s.Block(t.Context(), store.Who{User: a.UserID()}, admin, "")
	must(t, err)
	wantAlive(t, s, false, again...)
	must(t, s.Unblock(t.Context(), store.Who{Email: shared}, admin))
	wantAlive(t, s, false, again...)
}

func testBlockUnseenAddress(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	id := person(1)
	b, err := s.Block(t.Context(), store.Who{Email: id.Email}, admin, "never again")
	must(t, err)
	if b.User != "" || b.Email != id.Email {
		t.Errorf("block = %+v", b)
	}
	_, err = trySignIn(t.Context(), s, id)
	wantErr(t, "SignIn", err, auth.ErrBlocked)
	id.EmailVerified = false
	_, err = trySignIn(t.Context(), s, id)
	wantErr(t, "SignIn, unverified", err, auth.ErrBlocked)
	wantAlive(t, s, false, auth.Session{ID: "elsewhere", Identity: id, Created: b.At.Add(time.Hour)})
	wantAlive(t, s, true, auth.Session{ID: "elsewhere", Identity: as(id, ""), Created: b.At})
	must(t, s.Unblock(t.Context(), store.Who{Email: id.Email}, admin))
	signIn(t, s, id)
	wantEvents(t, s, store.EventQuery{Email: id.Email}, auth.EventBlocked, auth.EventUnblocked, auth.EventSignIn)
}

func testBlockTwice(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	id := person(1)
	signIn(t, s, id)
	var p process
	first, err := s.Block(t.Context(), store.Who{User: id.UserID()}, admin, "first")
	must(t, err)
	p.read(t, s)
	for _, who := range []store.Who{{User: id.UserID()}, {Email: id.Email}} {
		again, err := s.Block(t.Context(), who, "other@example.com", "second")
		must(t, err)
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("%+v again (-first +again):\n%s", who, diff)
		}
	}
	if feed := p.read(t, s); len(feed.Rows) != 0 {
		t.Errorf("feed = %+v", feed)
	}
	wantEvents(t, s, store.EventQuery{Kind: auth.EventBlocked}, auth.EventBlocked)
}

func testBlockNobody(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	_, err := s.Block(t.Context(), store.Who{User: "unknown"}, admin, "")
	wantErr(t, "Block", err, auth.ErrNotFound)
	wantErr(t, "Unblock", s.Unblock(t.Context(), store.Who{Email: "nobody@example.com"}, admin), auth.ErrNotFound)
	wantErr(t, "DeleteUser", s.DeleteUser(t.Context(), "unknown", admin), auth.ErrNotFound)
	for _, who := range []store.Who{{}, {User: "u", Email: "a@example.com"}, {Email: "not an address"}} {
		if _, err := s.Block(t.Context(), who, admin, ""); err == nil {
			t.Errorf("blocked %+v", who)
		}
	}
	// An account without an address is blocked all the same, and nobody else is.
	nameless := as(person(1), "")
	nameless.EmailVerified = false
	session, other := signIn(t, s, nameless), signIn(t, s, as(person(2), ""))
	_, err = s.Block(t.Context(), store.Who{User: nameless.UserID()}, admin, "")
	must(t, err)
	wantAlive(t, s, false, session)
	wantAlive(t, s, true, other)
	_, err = trySignIn(t.Context(), s, nameless)
	wantErr(t, "SignIn", err, auth.ErrBlocked)
	signIn(t, s, as(person(2), ""))
}

func testBlockOutlivesUser(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	id := person(1)
	session := signIn(t, s, id)
	_, err := s.Block(t.Context(), store.Who{User: id.UserID()}, admin, "")
	must(t, err)
	must(t, s.DeleteUser(t.Context(), id.UserID(), admin))
	_, err = s.User(t.Context(), store.Who{User: id.UserID()})
	wantErr(t, "User", err, auth.ErrNotFound)
	_, err = s.Session(t.Context(), session.ID)
	wantErr(t, "Session", err, auth.ErrNotFound)
	again, err := s.Block(t.Context(), store.Who{Email: id.Email}, "other@example.com", "again")
	if err != nil || again.User != id.UserID() || again.By != admin {
		t.Errorf("blocked again: %+v, %v", again, err)
	}
	wantEvents(t, s, store.EventQuery{Kind: auth.EventBlocked}, auth.EventBlocked)
	for _, again := range []auth.Identity{id, as(id, "new@example.com"), as(person(2), id.Email)} {
		_, err = trySignIn(t.Context(), s, again)
		wantErr(t, again.Email, err, auth.ErrBlocked)
	}
	must(t, s.Unblock(t.Context(), store.Who{Email: id.Email}, admin))
	wantAlive(t, s, false, session)
	in, err := s.SignIn(t.Context(), auth.SignIn{Identity: id, Session: "new", MaxAge: time.Hour})
	if err != nil || !in.FirstTime || in.PreviousHolder != "" {
		t.Errorf("after unblock: %+v, %v", in, err)
	}
	// Deleting ends sessions even where nothing is blocked.
	other := signIn(t, s, person(3))
	must(t, s.DeleteUser(t.Context(), userID(3), admin))
	wantAlive(t, s, false, other)
	wantAlive(t, s, true, signIn(t, s, person(3)))
}

func testUnblockLiftsAll(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	// The address was blocked first, then the account under another address,
	// and a second account under that one.
	a, b := person(1), as(person(2), person(1).Email)
	signIn(t, s, a)
	signIn(t, s, b)
	for _, who := range []store.Who{{Email: "old@example.com"}, {User: a.UserID()}, {User: b.UserID()}} {
		_, err := s.Block(t.Context(), who, admin, "")
		must(t, err)
	}
	must(t, s.DeleteUser(t.Context(), b.UserID(), admin))
	must(t, s.Unblock(t.Context(), store.Who{User: a.UserID()}, admin))
	wantAlive(t, s, true, signIn(t, s, a), signIn(t, s, b))
	_, err := trySignIn(t.Context(), s, as(a, "old@example.com"))
	wantErr(t, "an address of somebody else", err, auth.ErrBlocked)
}
