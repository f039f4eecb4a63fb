package session_test

import (
	"crypto/rand"
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/session"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func sessionOf(id auth.Identity, created time.Time) *auth.Session {
	return &auth.Session{ID: auth.NewSessionID(), Identity: id, Created: created, LastSeen: created, Expires: created.Add(time.Hour)}
}

func wantCheck(t *testing.T, r *session.Revocations, s *auth.Session, want session.Status) {
	t.Helper()
	if got := r.Check(s); got != want {
		t.Fatalf("the session is %v, want %v", got, want)
	}
}

func ended(s *auth.Session) auth.Revocation {
	return auth.Revocation{Kind: auth.RevokeSession, Key: string(s.ID), Active: true, Expires: s.Expires}
}

func blocked(id auth.Identity, active bool) auth.Revocation {
	return auth.Revocation{Kind: auth.BlockUser, Key: string(id.UserID()), Active: active}
}

func TestCutOff(t *testing.T) {
	r := session.NewRevocations(newClock().Now)
	cut := noon.Add(123 * time.Millisecond)
	before, at, behind := sessionOf(alice(), cut.Add(-time.Millisecond)), sessionOf(alice(), cut), sessionOf(alice(), cut.Add(time.Millisecond))
	row := auth.Revocation{Kind: auth.RevokeUser, Key: string(before.Identity.UserID()), Active: true, At: cut, Expires: cut.Add(time.Hour)}
	r.Apply(auth.Feed{Rows: []auth.Revocation{row}, Cursor: 1})
	wantCheck(t, r, before, session.Ended)
	wantCheck(t, r, at, session.Ended)
	wantCheck(t, r, behind, session.Valid)
	wantCheck(t, r, sessionOf(bob(), noon), session.Valid)
	row.At = cut.Add(time.Millisecond)
	r.Apply(auth.Feed{Rows: []auth.Revocation{row}, Cursor: 2})
	wantCheck(t, r, behind, session.Ended)
}

func TestWholeReplacesAll(t *testing.T) {
	r := session.NewRevocations(newClock().Now)
	a, b := sessionOf(alice(), noon), sessionOf(bob(), noon)
	r.Apply(auth.Feed{Rows: []auth.Revocation{ended(a), blocked(bob(), true)}, Cursor: 2})
	wantCheck(t, r, a, session.Ended)
	wantCheck(t, r, b, session.Blocked)
	r.Apply(auth.Feed{Rows: []auth.Revocation{ended(b)}, Cursor: 1, Whole: true})
	wantCheck(t, r, a, session.Valid)
	wantCheck(t, r, b, session.Ended)
	r.Apply(auth.Feed{Cursor: 0, Whole: true})
	wantCheck(t, r, b, session.Valid)
	if sessions, cutoffs, blocks := r.Len(); sessions+cutoffs+blocks != 0 {
		t.Errorf("knows %d, %d, %d", sessions, cutoffs, blocks)
	}
}

// A read of the feed that began before a change of our own, and arrives after it,
// does not undo it, whichever way it is told.
func TestOwnChangesOutliveAnEarlierRead(t *testing.T) {
	for name, whole := range map[string]bool{"continued": false, "whole": true} {
		t.Run(name, func(t *testing.T) {
			w := newWall(t)
			cookie, s := w.signIn(alice())
			user := string(s.Identity.UserID())
			other, _ := w.signIn(bob())
			w.ledger.block(auth.BlockUser, user, true)
			w.ledger.block(auth.BlockUser, user, false) // the earlier read brings this row
			if !whole {
				w.ledger.block(auth.BlockEmail, "nobody@example.com", true)
				w.poll()
				w.ledger.block(auth.BlockUser, user, true)
				w.ledger.block(auth.BlockUser, user, false)
			}
			w.ledger.reading = func() {
				// The answer is on its way; now this process blocks alice and ends bob's session.
				w.ledger.block(auth.BlockUser, user, true)
				w.revoked.Add(auth.Revocation{Kind: auth.BlockUser, Key: user, Active: true})
				if err := w.End(t.Context(), w.want(session.Valid, other), "", auth.EndSignOut); err != nil {
					t.Error(err)
				}
				w.want(session.Blocked, cookie)
				w.want(session.Ended, other)
			}
			w.poll()
			w.want(session.Blocked, cookie)
			w.want(session.Ended, other)
			w.poll()
			w.want(session.Blocked, cookie)
			w.want(session.Ended, other)
			w.ledger.block(auth.BlockUser, user, false)
			w.poll()
			w.want(session.Valid, cookie)
		})
	}
}

// Somebody else takes our block away while a read is under way that tells both:
// the store's order counts in the end.
func TestTheStoresOrderCountsInTheEnd(t *testing.T) {
	w := newWall(t)
	cookie, s := w.signIn(alice())
	user := string(s.Identity.UserID())
	w.poll()
	w.ledger.block(auth.BlockUser, user, true)
	w.ledger.block(auth.BlockUser, user, false)
	w.ledger.reading = func() { // our own Add comes late, after a read that knows more
		w.revoked.Add(auth.Revocation{Kind: auth.BlockUser, Key: user, Active: true})
	}
	w.poll()
	w.want(session.Blocked, cookie) // to be on the safe side
	w.poll()
	w.want(session.Valid, cookie)
	w.poll()
	if last := w.ledger.asked[len(w.ledger.asked)-1]; last != w.ledger.counter {
		t.Errorf("asked behind %d, not %d, in the end", last, w.ledger.counter)
	}
}

// STO-209: a restored backup takes away what it does not know, but nothing that this
// process did while the first read of it was under way.
func TestRestoredBackup(t *testing.T) {
	w := newWall(t)
	a, s := w.signIn(alice())
	b, s2 := w.signIn(bob())
	if err := w.End(t.Context(), s, "", auth.EndSignOut); err != nil {
		t.Fatal(err)
	}
	w.poll()
	w.ledger.restore()
	w.ledger.reading = func() {
		if err := w.End(t.Context(), s2, "", auth.EndSignOut); err != nil {
			t.Error(err)
		}
	}
	w.poll()
	w.want(session.Valid, a)
	w.want(session.Ended, b)
	w.poll()
	w.want(session.Ended, b)
}

// A session that ends while a read is under way does not make it be repeated: a
// busy wall would never get on.
func TestEndedSessionsDoNotHoldUpTheCursor(t *testing.T) {
	w := newWall(t)
	_, s := w.signIn(alice())
	w.ledger.block(auth.BlockUser, "x", true)
	w.ledger.reading = func() {
		if err := w.End(t.Context(), s, "", auth.EndSignOut); err != nil {
			t.Error(err)
		}
	}
	w.poll()
	w.poll()
	if last := w.ledger.asked[len(w.ledger.asked)-1]; last != 1 {
		t.Errorf("asked behind %d, not 1", last)
	}
}

func TestSubscribe(t *testing.T) {
	r := session.NewRevocations(newClock().Now)
	changed, cancel := r.Subscribe()
	other, cancelOther := r.Subscribe()
	defer cancelOther()
	told := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	s := sessionOf(alice(), noon)
	for what, change := range map[string]func(){
		"Add":   func() { r.Add(ended(s)) },
		"rows":  func() { r.Apply(auth.Feed{Rows: []auth.Revocation{blocked(bob(), true)}, Cursor: 1}) },
		"whole": func() { r.Apply(auth.Feed{Rows: []auth.Revocation{blocked(bob(), true)}, Cursor: 1, Whole: true}) },
	} {
		if told(changed) || told(other) {
			t.Fatalf("%s: told of nothing", what)
		}
		for range 3 {
			change()
		}
		if !told(changed) || told(changed) || !told(other) {
			t.Errorf("%s: not told exactly once", what)
		}
	}
	r.Apply(auth.Feed{Cursor: 1})
	if told(changed) {
		t.Error("told of an empty read")
	}
	for _, news := range []bool{true, false} {
		session.ForgetOwn(r)
		r.Apply(auth.Feed{Cursor: 1, Whole: true})
		if told(changed) != news {
			t.Errorf("all is gone: told %v, want %v", !news, news)
		}
		told(other)
	}
	cancel()
	r.Add(ended(s))
	if told(changed) || !told(other) {
		t.Error("told after the end, or the other was not")
	}
}

// A first read of an empty store is no news, however often it is made.
func TestEmptyReadsAreNoNews(t *testing.T) {
	w := newWall(t)
	changed, cancel := w.revoked.Subscribe()
	defer cancel()
	w.poll()
	w.poll()
	select {
	case <-changed:
		t.Error("told of nothing")
	default:
	}
}

func TestMalformedRowsAreHarmless(t *testing.T) {
	r := session.NewRevocations(newClock().Now)
	var rows []auth.Revocation
	for _, kind := range []auth.RevocationKind{auth.RevokeSession, auth.RevokeUser, auth.BlockUser, auth.BlockEmail, "another"} {
		for _, key := range []string{"", "x", "!!!!!!!!!!!!!!!!!!!!!!!!!!", string(auth.NewSessionID()) + "a"} {
			rows = append(rows, auth.Revocation{Kind: kind, Key: key, Active: key != ""})
		}
	}
	r.Apply(auth.Feed{Rows: rows, Cursor: 1})
	wantCheck(t, r, sessionOf(alice(), noon), session.Valid)
}

func TestCheckIsSafeForConcurrentUse(t *testing.T) {
	clock := newClock()
	r := session.NewRevocations(clock.Now)
	s := sessionOf(alice(), noon)
	r.Add(ended(s))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 200 {
				if r.Check(s) != session.Ended {
					t.Error("not ended")
				}
				r.Age()
				if i == 0 {
					r.Add(ended(sessionOf(bob(), noon)))
				}
				if i == 1 {
					r.Apply(auth.Feed{Rows: []auth.Revocation{ended(s), ended(sessionOf(bob(), noon))}, Whole: true})
				}
				if i == 2 {
					_, cancel := r.Subscribe()
					session.Sweep(r)
					cancel()
				}
			}
		})
	}
	wg.Wait()
}

func TestSweep(t *testing.T) {
	clock := newClock()
	r := session.NewRevocations(clock.Now)
	var rows []auth.Revocation
	for i := range 1000 {
		s := sessionOf(alice(), clock.Now())
		s.Expires = clock.Now().Add(time.Duration(i) * time.Minute)
		rows = append(rows, ended(s))
	}
	forever := sessionOf(alice(), clock.Now())
	row := ended(forever)
	row.Expires = time.Time{}
	rows = append(rows, row, blocked(bob(), true), auth.Revocation{Kind: auth.BlockEmail, Key: "x@example.com", Active: true},
		auth.Revocation{Kind: auth.RevokeUser, Key: string(forever.Identity.UserID()), At: noon.Add(-time.Hour), Expires: clock.Now().Add(time.Hour)})
	r.Apply(auth.Feed{Rows: rows, Cursor: 1, Whole: true})

	want := func(wantSessions, wantCutoffs int) {
		t.Helper()
		session.Sweep(r)
		if sessions, cutoffs, blocks := r.Len(); sessions != wantSessions || cutoffs != wantCutoffs || blocks != 2 {
			t.Fatalf("knows %d, %d, %d; want %d, %d, 2", sessions, cutoffs, blocks, wantSessions, wantCutoffs)
		}
	}
	want(1001, 1)
	clock.move(24 * time.Hour) // what has expired is kept for a day, should the clock be set back
	want(1001, 1)
	clock.move(500*time.Minute + time.Second)
	want(1001-501, 0)
	clock.move(1000 * time.Hour)
	want(1, 0)
	wantCheck(t, r, forever, session.Ended)
}

func TestAge(t *testing.T) {
	w := newWall(t)
	if age := w.revoked.Age(); age != math.MaxInt64 {
		t.Errorf("before the first read: %v", age)
	}
	w.ledger.reading = func() { w.clock.move(3 * time.Second) }
	w.poll()
	if age := w.revoked.Age(); age != 3*time.Second {
		t.Errorf("a read of three seconds is %v old", age)
	}
	w.clock.move(time.Minute)
	w.ledger.setFail(errDisk)
	if err := w.follower.Poll(t.Context()); err == nil {
		t.Error("no error")
	}
	if age := w.revoked.Age(); age != time.Minute+3*time.Second {
		t.Errorf("%v after a failure", age)
	}
	w.clock.move(-time.Hour)
	if age := w.revoked.Age(); age != 0 {
		t.Errorf("%v after the clock was set back", age)
	}
}

// While the feed cannot be read, own changes do not pile up without end.
func TestOwnChangesAreBounded(t *testing.T) {
	r := session.NewRevocations(newClock().Now)
	rows := randomRows(session.MaxOwn+10, noon)
	r.Add(rows...)
	if n := session.OwnCount(r); n != session.MaxOwn {
		t.Errorf("%d are kept", n)
	}
	if sessions, _, _ := r.Len(); sessions != len(rows) {
		t.Errorf("%d are in force", sessions)
	}
}

func randomRows(n int, expires time.Time) []auth.Revocation {
	rows := make([]auth.Revocation, n)
	for i := range rows {
		var id [16]byte
		rand.Read(id[:])
		rows[i] = auth.Revocation{Seq: int64(i), Kind: auth.RevokeSession, Key: string(auth.SessionIDFrom(id)), Active: true, Expires: expires}
	}
	return rows
}

func BenchmarkCheck(b *testing.B) {
	r := session.NewRevocations(newClock().Now)
	r.Apply(auth.Feed{Rows: randomRows(100_000, noon), Cursor: 1, Whole: true})
	s := sessionOf(alice(), noon)
	b.ReportAllocs()
	for b.Loop() {
		if r.Check(s) != session.Valid {
			b.Fatal("revoked")
		}
	}
}

// BenchmarkMillion tells the memory of a million ended sessions, and what a sweep
// of them takes.
func BenchmarkMillion(b *testing.B) {
	var before, after runtime.MemStats
	rows := randomRows(1_000_000, noon.Add(-48*time.Hour))
	for b.Loop() {
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := session.NewRevocations(newClock().Now)
		r.Apply(auth.Feed{Rows: rows, Cursor: 1, Whole: true})
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "B/entry")
		b.StartTimer()
		session.Sweep(r)
	}
}
