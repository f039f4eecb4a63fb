package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

func testSignIn(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	id := person(1)
	in, err := s.SignIn(t.Context(), auth.SignIn{
		Identity: id, Session: "s1", MaxAge: 90 * time.Second, Address: "192.0.2.1", Agent: "browser",
	})
	must(t, err)
	if !in.FirstTime || in.PreviousHolder != "" {
		t.Errorf("first sign-in = %+v", in)
	}
	if got := in.Expires.Sub(in.Created); got != 90*time.Second {
		t.Errorf("lifetime = %v, want 90s", got)
	}
	if off := time.Since(in.Created).Abs(); off > time.Minute || in.Created.Nanosecond()%1e6 != 0 {
		t.Errorf("Created = %v: want now, in milliseconds", in.Created)
	}
	renamed := id
	renamed.Name, renamed.Picture, renamed.HostedDomain, renamed.Email = "New Name", "", "b.example", "new@b.example"
	second := signIn(t, s, renamed)
	got, err := s.User(t.Context(), store.Who{User: id.UserID()})
	must(t, err)
	want := auth.User{
		ID: id.UserID(), Identity: renamed, SignIns: 2, OpenSessions: 2,
		FirstSignIn: in.Created, LastSignIn: second.Created, LastSeen: second.Created,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("user (-want +got):\n%s", diff)
	}
	record, err := s.Session(t.Context(), "s1")
	must(t, err)
	wantRecord := auth.SessionRecord{
		ID: "s1", User: id.UserID(), Email: id.Email, Created: in.Created, Expires: in.Expires, LastSeen: in.Created,
		Address: "192.0.2.1", Agent: "browser",
	}
	if diff := cmp.Diff(wantRecord, record); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
	list, _, err := s.Events(t.Context(), store.EventQuery{})
	must(t, err)
	first := list[len(list)-1]
	wantEvent := auth.Event{
		ID: first.ID, At: first.At, Kind: auth.EventSignIn, Actor: id.Email, User: id.UserID(), Email: id.Email,
		Session: "s1", Address: "192.0.2.1",
	}
	if diff := cmp.Diff(wantEvent, first); diff != "" || len(list) != 2 {
		t.Errorf("%d events, the first (-want +got):\n%s", len(list), diff)
	}
}

// Names and agents are chosen by others.
func testSignInOddText(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	id := person(1)
	id.Name = "a\x00b\xff'; DROP TABLE users; --" + strings.Repeat("ü", 5000)
	_, err := s.SignIn(t.Context(), auth.SignIn{Identity: id, Session: "s1", MaxAge: time.Hour, Agent: "\xc3\x28\x00"})
	must(t, err)
	u, err := s.User(t.Context(), store.Who{Email: id.Email})
	must(t, err)
	if !strings.HasPrefix(u.Name, "ab\uFFFD'; DROP TABLE users; --ü") || len(u.Name) > 2000 {
		t.Errorf("name = %.60q (%d bytes)", u.Name, len(u.Name))
	}
	record, err := s.Session(t.Context(), "s1")
	must(t, err)
	if record.Agent != "\uFFFD(" {
		t.Errorf("agent = %q", record.Agent)
	}
}

func testSignInIncomplete(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	for name, in := range map[string]auth.SignIn{
		"zero":       {},
		"no subject": {Identity: auth.Identity{Issuer: "i"}, Session: "s", MaxAge: time.Hour},
		"no session": {Identity: person(1), MaxAge: time.Hour},
		"no life":    {Identity: person(1), Session: "s"},
	} {
		if _, err := s.SignIn(t.Context(), in); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	wantEvents(t, s, store.EventQuery{})
}

// ADM-227.
func testPreviousHolder(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	const shared = "boss@example.com"
	a, b, c := as(person(1), shared), as(person(2), shared), as(person(3), shared)
	c.EmailVerified = false
	for i, step := range []struct {
		who  auth.Identity
		want auth.UserID
	}{
		{a, ""},
		{a, ""},
		{b, a.UserID()},
		{b, ""},
		{a, b.UserID()},
		{as(a, "other@example.com"), ""},
		{c, ""},            // proves nothing, and takes nothing
		{b, a.UserID()},    // a held it last, wherever a is now
		{as(b, ""), ""},    // no address at all
		{as(a, ""), ""},    //
		{a, b.UserID()},    //
		{person(4), ""},    //
		{person(4), ""},    //
		{as(a, "x@y"), ""}, // anything
	} {
		in, err := s.SignIn(t.Context(), auth.SignIn{Identity: step.who, Session: auth.NewSessionID(), MaxAge: time.Hour})
		must(t, err)
		if in.PreviousHolder != step.want {
			t.Errorf("step %d: previous holder = %q, want %q", i, in.PreviousHolder, step.want)
		}
	}
}

func testEndSession(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	one, other := signIn(t, s, person(1)), signIn(t, s, person(1))
	var p process
	p.read(t, s)
	end := auth.Ending{Session: one.ID, User: one.Identity.UserID(), Expires: one.Expires, By: one.Identity.Email, Reason: auth.EndSignOut}
	must(t, s.EndSession(t.Context(), end))
	feed := p.read(t, s)
	if len(feed.Rows) != 1 || feed.Rows[0].Kind != auth.RevokeSession || feed.Rows[0].Key != string(one.ID) ||
		!feed.Rows[0].Active || !feed.Rows[0].Expires.Equal(one.Expires) {
		t.Errorf("feed = %+v", feed)
	}
	record, err := s.Session(t.Context(), one.ID)
	must(t, err)
	if record.End == nil || record.End.By != one.Identity.Email || record.End.Reason != auth.EndSignOut || record.End.At.IsZero() {
		t.Errorf("end = %+v", record.End)
	}
	// Once more, as somebody else: the first stands.
	end.By, end.Reason = "admin@example.com", auth.EndByAdmin
	must(t, s.EndSession(t.Context(), end))
	if feed := p.read(t, s); len(feed.Rows) != 0 {
		t.Errorf("ended twice, feed = %+v", feed)
	}
	again, err := s.Session(t.Context(), one.ID)
	must(t, err)
	if diff := cmp.Diff(record, again); diff != "" {
		t.Errorf("ended twice (-before +after):\n%s", diff)
	}
	must(t, s.EndSession(t.Context(), auth.Ending{Session: other.ID, By: "admin@example.com", Reason: auth.EndByAdmin}))
	wantAlive(t, s, false, one, other)
	wantEvents(t, s, store.EventQuery{User: one.Identity.UserID()},
		auth.EventSignIn, auth.EventSignIn, auth.EventSignOut, auth.EventSessionEnded)
	if err := s.EndSession(t.Context(), auth.Ending{}); err == nil {
		t.Error("ended a session without a name")
	}
}

func testEndUnknownSession(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	id := person(1)
	elsewhere := auth.Session{ID: "elsewhere", Identity: id, Created: time.Now(), Expires: time.Now().Add(time.Hour).Truncate(time.Millisecond)}
	_, err := s.Session(t.Context(), elsewhere.ID)
	wantErr(t, "Session", err, auth.ErrNotFound)
	var p process
	for range 2 {
		must(t, s.EndSession(t.Context(), auth.Ending{
			Session: elsewhere.ID, User: id.UserID(), Expires: elsewhere.Expires, By: id.Email, Reason: auth.EndSignOut,
		}))
		p.read(t, s)
	}
	if len(p.seqs) != 1 || p.alive(elsewhere) || !p.rows[[2]string{"session", "elsewhere"}].Expires.Equal(elsewhere.Expires) {
		t.Errorf("feed = %+v", p.rows)
	}
	// Without an end in time it is remembered for long.
	must(t, s.EndSession(t.Context(), auth.Ending{Session: "timeless", By: "x", Reason: auth.EndByAdmin}))
	p.read(t, s)
	if e := p.rows[[2]string{"session", "timeless"}].Expires; time.Until(e) < 24*time.Hour {
		t.Errorf("forgotten at %v", e)
	}
	wantEvents(t, s, store.EventQuery{User: id.UserID()}, auth.EventSignOut)
}

// SES-147.
func testEndSessionsOf(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	one, two, ended, other := signIn(t, s, person(1)), signIn(t, s, person(1)), signIn(t, s, person(1)), signIn(t, s, person(2))
	must(t, s.EndSession(t.Context(), auth.Ending{Session: ended.ID, By: "x", Reason: auth.EndSignOut}))
	elsewhere := auth.Session{ID: "elsewhere", Identity: one.Identity, Created: one.Created}
	n, err := s.EndSessionsOf(t.Context(), one.Identity.UserID(), "admin@example.com", auth.EndByAdmin)
	must(t, err)
	if n != 2 {
		t.Errorf("ended %d, want 2", n)
	}
	wantAlive(t, s, false, one, two, ended, elsewhere)
	wantAlive(t, s, true, other)
	record, err := s.Session(t.Context(), two.ID)
	must(t, err)
	if record.End == nil || record.End.Reason != auth.EndByAdmin || record.End.By != "admin@example.com" {
		t.Errorf("end = %+v", record.End)
	}
	if record, err = s.Session(t.Context(), ended.ID); err != nil || record.End.Reason != auth.EndSignOut {
		t.Errorf("what had ended before: %+v, %v", record.End, err)
	}
	wantAlive(t, s, true, signIn(t, s, person(1)))
	// A user that this store never saw may have sessions of another store.
	n, err = s.EndSessionsOf(t.Context(), "unknown", "admin@example.com", auth.EndByAdmin)
	if n != 0 || err != nil {
		t.Errorf("unknown user: %d, %v", n, err)
	}
	if _, err := s.EndSessionsOf(t.Context(), "", "x", auth.EndByAdmin); err == nil {
		t.Error("ended the sessions of nobody")
	}
}

// A cut-off is remembered until the last session that it ended has expired.
func testCutOffOutlivesSessions(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{KeepCutOff: time.Millisecond})
	session := signIn(t, s, person(1))
	_, err := s.EndSessionsOf(t.Context(), userID(1), "x", auth.EndByAdmin)
	must(t, err)
	var p process
	p.read(t, s)
	if r := p.rows[[2]string{"user", string(userID(1))}]; r.Expires.Before(session.Expires) {
		t.Errorf("forgotten at %v, the session expires at %v", r.Expires, session.Expires)
	}
}

// SES-147: sign-ins and cut-offs of one millisecond must not be mistaken for each other.
func testCutOffIsStrict(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	var p process
	var last time.Time
	user := person(1)
	for range 30 {
		session := signIn(t, s, user)
		if p.read(t, s); !p.alive(session) {
			t.Fatalf("created %v is not behind the cut-off %v", session.Created, last)
		}
		_, err := s.EndSessionsOf(t.Context(), user.UserID(), "x", auth.EndByAdmin)
		must(t, err)
		if p.read(t, s); p.alive(session) {
			t.Fatalf("created %v outlives the cut-off", session.Created)
		}
		at := p.rows[[2]string{"user", string(user.UserID())}].At
		if !at.After(last) {
			t.Fatalf("cut-off %v is not behind %v", at, last)
		}
		last = at
	}
}

func testSeen(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	one, two := signIn(t, s, person(1)), signIn(t, s, person(1))
	user := one.Identity.UserID()
	later := one.Created.Add(10 * time.Minute)
	batch := []auth.Seen{
		{Session: one.ID, User: user, At: later},
		{Session: one.ID, User: user, At: later.Add(-time.Minute)},
		{Session: two.ID, User: user, At: later.Add(-2 * time.Minute)},
		{Session: "unknown", User: "unknown", At: later},
	}
	for i := range 1200 { // more than one transaction takes
		batch = append(batch, auth.Seen{Session: auth.SessionID(fmt.Sprint("s", i)), User: auth.UserID(fmt.Sprint("u", i)), At: later})
	}
	must(t, s.Seen(t.Context(), batch))
	must(t, s.Seen(t.Context(), []auth.Seen{{Session: one.ID, User: user, At: one.Created}})) // late news
	must(t, s.Seen(t.Context(), nil))
	u, err := s.User(t.Context(), store.Who{User: user})
	must(t, err)
	first, err := s.Session(t.Context(), one.ID)
	must(t, err)
	second, err := s.Session(t.Context(), two.ID)
	must(t, err)
	if !u.LastSeen.Equal(later) || !first.LastSeen.Equal(later) || !second.LastSeen.Equal(later.Add(-2*time.Minute)) {
		t.Errorf("seen: user %v, sessions %v and %v; want %v", u.LastSeen, first.LastSeen, second.LastSeen, later)
	}
}

func testCancelled(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := trySignIn(gone, s, person(1))
	wantErr(t, "SignIn", err, context.Canceled)
	wantErr(t, "SignIn", err, auth.ErrUnavailable)
	_, err = s.Revocations(gone, 0)
	wantErr(t, "Revocations", err, auth.ErrUnavailable)
	wantEvents(t, s, store.EventQuery{})
	must(t, s.Ping(t.Context()))
}

func testClosed(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	must(t, s.Close())
	_, err := trySignIn(t.Context(), s, person(1))
	wantErr(t, "SignIn", err, auth.ErrUnavailable)
	_, err = s.Revocations(t.Context(), 0)
	wantErr(t, "Revocations", err, auth.ErrUnavailable)
	wantErr(t, "Ping", s.Ping(t.Context()), auth.ErrUnavailable)
}

func testEndOtherSessions(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	keep, other, third, bystander := signIn(t, s, person(1)), signIn(t, s, person(1)), signIn(t, s, person(1)), signIn(t, s, person(2))
	must(t, s.EndSession(t.Context(), auth.Ending{Session: third.ID, By: "x", Reason: auth.EndByAdmin}))
	n, err := s.EndOtherSessions(t.Context(), userID(1), keep.ID, person(1).Email)
	if err != nil || n != 1 {
		t.Fatalf("ended %d, %v, want 1", n, err)
	}
	wantAlive(t, s, true, keep, bystander)
	wantAlive(t, s, false, other, third)
	record, err := s.Session(t.Context(), other.ID)
	must(t, err)
	if record.End == nil || record.End.Reason != auth.EndElsewhere || record.End.By != person(1).Email {
		t.Errorf("ended by %+v", record.End)
	}
	if n, err := s.EndOtherSessions(t.Context(), userID(1), keep.ID, "x"); err != nil || n != 0 {
		t.Errorf("ended %d more, %v", n, err)
	}
	// Nothing was done the second time: nobody fills the audit trail with that.
	wantEvents(t, s, store.EventQuery{User: userID(1), Kind: auth.EventSessionEnded}, auth.EventSessionEnded, auth.EventSessionEnded)
	if _, err := s.EndOtherSessions(t.Context(), userID(1), "", "x"); err == nil {
		t.Error("ended others than none")
	}
}

// ADM-229: what changed, by whom, for what, and from where.
func testEventsFrom(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	session := signIn(t, s, person(1))
	ctx := auth.WithClient(t.Context(), auth.Client{Address: "192.0.2.77"})
	_, err := s.Block(ctx, store.Who{User: userID(1)}, admin, "left the company")
	must(t, err)
	must(t, s.Unblock(ctx, store.Who{User: userID(1)}, admin))
	must(t, s.EndSession(ctx, auth.Ending{Session: auth.NewSessionID(), User: userID(1), By: admin, Reason: auth.EndByAdmin}))
	_, err = s.EndSessionsOf(ctx, userID(1), admin, auth.EndByAdmin)
	must(t, err)
	must(t, s.DeleteUser(ctx, userID(1), admin))
	wantAlive(t, s, false, session)
	list, _, err := s.Events(t.Context(), store.EventQuery{User: userID(1)})
	must(t, err)
	var kinds []auth.EventKind
	for _, e := range list[:len(list)-1] { // but the sign-in
		kinds = append(kinds, e.Kind)
		if e.Address != "192.0.2.77" || e.Actor != admin {
			t.Errorf("event %+v", e)
		}
		if e.Kind == auth.EventBlocked && e.Detail != "left the company" {
			t.Errorf("event %+v", e)
		}
	}
	want := []auth.EventKind{auth.EventUserDeleted, auth.EventSessionEnded, auth.EventSessionEnded, auth.EventUnblocked, auth.EventBlocked}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}
