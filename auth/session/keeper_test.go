package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/session"
)

func TestNewNeedsAll(t *testing.T) {
	good := newWall(t).config
	for name, change := range map[string]func(*session.Config){
		"no public URL":    func(c *session.Config) { c.PublicURL = nil },
		"no host":          func(c *session.Config) { c.PublicURL = new(url.URL) },
		"no key":           func(c *session.Config) { c.Ring = nil },
		"no issuer":        func(c *session.Config) { c.Issuer = "" },
		"no store":         func(c *session.Config) { c.Store = nil },
		"no revocations":   func(c *session.Config) { c.Revoked = nil },
		"no absolute end":  func(c *session.Config) { c.MaxAge = 0 },
		"no idle limit":    func(c *session.Config) { c.Idle = 0 },
		"negative lengths": func(c *session.Config) { c.MaxAge, c.Idle = -1, -1 },
	} {
		config := good
		change(&config)
		if k, err := session.New(config); err == nil || k != nil {
			t.Errorf("%s: was made", name)
		}
	}
}

func TestZeroValuesDeny(t *testing.T) {
	w := newWall(t)
	var opened session.Opened
	if opened.Status == session.Valid {
		t.Error("the zero Opened is valid")
	}
	for _, s := range []*auth.Session{nil, {}, {ID: auth.NewSessionID()}, {ID: "x", Identity: alice()}} {
		if status := w.revoked.Check(s); status == session.Valid {
			t.Errorf("%+v is not revoked", s)
		}
	}
	if set, due := w.Touch(&auth.Session{}); due || set != "" {
		t.Errorf("the zero session is sealed: %q", set)
	}
}

func TestStart(t *testing.T) {
	w := newWall(t)
	set, s, in, err := w.Start(t.Context(), alice(), auth.Client{Address: "192.0.2.7", Agent: "Firefox", RequestID: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	if !in.FirstTime || !in.Created.Equal(s.Created) {
		t.Errorf("the store's answer is not handed on: %+v", in)
	}
	want := auth.SignIn{Identity: alice(), Session: s.ID, MaxAge: 168 * time.Hour, Address: "192.0.2.7", Agent: "Firefox"}
	if diff := cmp.Diff([]auth.SignIn{want}, w.ledger.signIns); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	opened := w.want(session.Valid, pair(t, set))
	if diff := cmp.Diff(s, opened); diff != "" {
		t.Errorf("the cookie says otherwise (-started +opened):\n%s", diff)
	}
	if s.Expires.Sub(s.Created) != 168*time.Hour || s.LastSeen.After(w.clock.Now()) || w.clock.Now().Sub(s.LastSeen) >= time.Millisecond {
		t.Errorf("times: %+v", s)
	}
	if _, again := w.signIn(alice()); again.ID == s.ID {
		t.Error("the same id twice")
	}
}

// STO-204: there is never a cookie without its record.
func TestStartWithoutTheStore(t *testing.T) {
	w := newWall(t)
	for name, c := range map[string]struct {
		fail, want error
	}{
		"failure":     {errDisk, auth.ErrUnavailable},
		"away":        {fmt.Errorf("dial: %w", auth.ErrUnavailable), auth.ErrUnavailable},
		"out of time": {context.DeadlineExceeded, auth.ErrUnavailable},
		"blocked":     {auth.ErrBlocked, auth.ErrBlocked},
	} {
		w.ledger.setFail(c.fail)
		set, s, in, err := w.Start(t.Context(), alice(), auth.Client{})
		if !errors.Is(err, c.want) || !errors.Is(err, c.fail) || set != "" || s != nil || in != (auth.SignedIn{}) {
			t.Errorf("%s: %q, %v, %v, %v", name, set, s, in, err)
		}
		if name == "blocked" && errors.Is(err, auth.ErrUnavailable) {
			t.Error("a blocked person is told to come again")
		}
	}
}

func TestStartRefusesStrangeIdentities(t *testing.T) {
	w := newWall(t)
	for name, change := range map[string]func(*auth.Identity){
		"another issuer": func(id *auth.Identity) { id.Issuer = "https://evil.test" },
		"no issuer":      func(id *auth.Identity) { id.Issuer = "" },
		"no subject":     func(id *auth.Identity) { id.Subject = "" },
	} {
		id := alice()
		change(&id)
		if set, _, _, err := w.Start(t.Context(), id, auth.Client{}); err == nil || set != "" {
			t.Errorf("%s: %q, %v", name, set, err)
		}
	}
	if len(w.ledger.signIns) != 0 {
		t.Error("something was recorded")
	}
}

// A store that answers without times makes a session that has expired.
func TestStartWithoutTimes(t *testing.T) {
	w := newWall(t, func(c *session.Config) { c.Store = timeless{c.Store} })
	cookie, _ := w.signIn(alice())
	w.want(session.Expired, cookie)
}

type timeless struct{ session.Store }

func (timeless) SignIn(context.Context, auth.SignIn) (auth.SignedIn, error) {
	return auth.SignedIn{}, nil
}

func TestGroupsOfTheConfigurationAlone(t *testing.T) {
	w := newWall(t, func(c *session.Config) { c.Groups = []string{"sre@example.com", "dev@example.com", "ops@example.com"} })
	id := alice()
	id.Groups = []string{"all@example.com", "dev@example.com", "sre@example.com", "Ops@example.com"}
	cookie, s := w.signIn(id)
	want := []string{"sre@example.com", "dev@example.com"}
	if diff := cmp.Diff(want, w.want(session.Valid, cookie).Identity.Groups); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, s.Identity.Groups); diff != "" {
		t.Errorf("groups at once (-want +got):\n%s", diff)
	}
	if len(id.Groups) != 4 {
		t.Error("the caller's groups were changed")
	}
}

// The cookie stays below a kilobyte; the picture goes first, then the name, and
// groups never.
func TestSize(t *testing.T) {
	many := make([]string, 60)
	for i := range many {
		many[i] = fmt.Sprintf("team-%02d@groups.example.com", i)
	}
	for name, c := range map[string]struct {
		change        func(*auth.Identity)
		groups        []string
		picture, name bool
		most          int
		fails         bool
	}{
		"usual":        {picture: true, name: true, most: 700},
		"long picture": {change: func(id *auth.Identity) { id.Picture += strings.Repeat("x", 400) }, name: true, most: 1000},
		"long name":    {change: func(id *auth.Identity) { id.Name = strings.Repeat("é", 250) }, most: 1000},
		"some groups":  {groups: many[:10], name: true, most: 1000},
		"many groups":  {groups: many, most: 3800},
		"too many":     {groups: append(slices.Clone(many), strings.Repeat("g", 500)), fails: true},
		"endless":      {change: func(id *auth.Identity) { id.Subject = strings.Repeat("s", 5000) }, fails: true},
		"longest by standard": {change: func(id *auth.Identity) {
			id.Email, id.Subject = strings.Repeat("a", 64)+"@"+strings.Repeat("b", 189), strings.Repeat("s", 255)
		}, most: 1200},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWall(t, func(c *session.Config) { c.Groups = many })
			if len(c.groups) > len(many) {
				w.reload(func(conf *session.Config) { conf.Groups = c.groups })
			}
			id := alice()
			id.Groups = c.groups
			if c.change != nil {
				c.change(&id)
			}
			set, s, _, err := w.Start(t.Context(), id, auth.Client{})
			if c.fails {
				if err == nil || errors.Is(err, auth.ErrUnavailable) || set != "" || len(w.ledger.signIns) != 0 {
					t.Errorf("%v with %d characters; recorded %d", err, len(set), len(w.ledger.signIns))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			cookie := pair(t, set)
			value := strings.TrimPrefix(cookie, w.CookieName()+"=")
			if len(value) > c.most {
				t.Errorf("%d characters, want %d at most", len(value), c.most)
			}
			if c.most <= 1000 && len(cookie) >= 1024 {
				t.Errorf("name and value have %d characters", len(cookie))
			}
			got := w.want(session.Valid, cookie).Identity
			if (got.Picture != "") != c.picture || (got.Name != "") != c.name || len(got.Groups) != len(c.groups) || got.Email != id.Email {
				t.Errorf("kept %+v", got)
			}
			if diff := cmp.Diff(got, s.Identity); diff != "" {
				t.Errorf("Start tells otherwise (-cookie +start):\n%s", diff)
			}
			if w.ledger.signIns[0].Identity.Picture != id.Picture {
				t.Error("the store was told less than is known")
			}
			w.clock.move(3 * time.Hour)
			if set, due := w.Touch(w.want(session.Valid, cookie)); !due || len(pair(t, set)) != len(cookie) {
				t.Errorf("sealed anew, it has %d characters, not %d", len(set), len(cookie))
			}
		})
	}
}

// SES-141, SES-142, COO-135.
func TestIdleAndAbsoluteEnd(t *testing.T) {
	const idle = 24 * time.Hour
	w := newWall(t)
	cookie, s := w.signIn(alice())

	// Seen at 0.099 of the limit: nothing is due, so the limit runs from the start.
	w.clock.move(idle * 99 / 1000)
	if set, due := w.Touch(w.want(session.Valid, cookie)); due || set != "" {
		t.Fatal("sealed anew before a tenth has passed")
	}
	w.clock.at = s.LastSeen.Add(idle - time.Nanosecond)
	w.want(session.Valid, cookie)
	w.clock.at = s.LastSeen.Add(idle)
	w.want(session.Expired, cookie)

	// At a tenth it is due; at 0.89 after that request all is well, at 1.0 it is over.
	w.clock.at = s.LastSeen.Add(idle / 10)
	set, due := w.Touch(w.want(session.Valid, cookie))
	if !due {
		t.Fatal("not sealed anew after a tenth")
	}
	again := pair(t, set)
	touched := w.clock.Now()
	got := w.want(session.Valid, again)
	want := *s
	want.LastSeen = touched
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("sealed anew (-want +got):\n%s", diff)
	}
	w.clock.at = touched.Add(idle * 89 / 100)
	w.want(session.Valid, again)
	w.clock.at = touched.Add(idle + time.Second)
	w.want(session.Expired, again)

	// Constant activity does not move the absolute end.
	w.clock.at = s.Created
	for cookie := cookie; ; {
		now := w.clock.Now()
		if !now.Before(s.Expires) {
			w.want(session.Expired, cookie)
			if set, due := w.Touch(s); due {
				t.Errorf("sealed anew after the end: %s", set)
			}
			break
		}
		if set, due := w.Touch(w.want(session.Valid, cookie)); due {
			cookie = pair(t, set)
		}
		w.clock.move(min(time.Hour, max(time.Millisecond, s.Expires.Sub(now)-time.Millisecond)))
	}
}

// SES-141: a session ends after 0.9 to 1.0 of the idle limit without a request, whenever
// the last request came.
func TestIdleIsWithinItsBounds(t *testing.T) {
	const idle = 1000 * time.Second
	w := newWall(t, func(c *session.Config) { c.Idle = idle })
	for last := time.Duration(0); last < 3*idle/10; last += 7 * time.Second {
		w.clock.move(time.Hour)
		cookie, _ := w.signIn(alice())
		// Requests every seven seconds until the last one.
		for at := time.Duration(0); at <= last; at += 7 * time.Second {
			if set, due := w.Touch(w.want(session.Valid, cookie)); due {
				cookie = pair(t, set)
			}
			w.clock.move(7 * time.Second)
		}
		w.clock.move(-7 * time.Second)
		w.clock.move(idle * 9 / 10)
		w.want(session.Valid, cookie)
		w.clock.move(idle / 10)
		w.want(session.Expired, cookie)
	}
}

// COO-134, STO-211.
func TestClockSetBack(t *testing.T) {
	w := newWall(t)
	cookie, s := w.signIn(alice())
	w.clock.move(-time.Hour)
	w.want(session.Valid, cookie)
	w.clock.move(-24 * time.Hour)
	got := w.want(session.Valid, cookie)
	if !got.Expires.Equal(s.Expires) {
		t.Errorf("ends at %v, not %v", got.Expires, s.Expires)
	}
	// The sealed last-seen lies in the future, and is put right.
	set, due := w.Touch(got)
	if !due {
		t.Fatal("the time in the future stands")
	}
	if got := w.want(session.Valid, pair(t, set)); !got.Expires.Equal(s.Expires) || got.LastSeen.After(w.clock.Now()) {
		t.Errorf("put right to %+v", got)
	}
	w.clock.at = s.Expires
	w.want(session.Expired, cookie)
	w.want(session.Expired, pair(t, set))
	w.clock.at = time.Date(2039, 1, 1, 0, 0, 0, 0, time.UTC)
	w.want(session.Expired, cookie)
	future, _ := w.signIn(alice())
	w.want(session.Valid, future)
	w.want(session.Expired, cookie)
}

// COO-135.
func TestReloadWithAShorterMaxAge(t *testing.T) {
	w := newWall(t)
	cookie, s := w.signIn(alice())
	w.reload(func(c *session.Config) { c.MaxAge = time.Hour })
	w.clock.at = s.Created.Add(time.Hour - time.Millisecond)
	got := w.want(session.Valid, cookie)
	if !got.Expires.Equal(s.Created.Add(time.Hour)) {
		t.Errorf("ends at %v", got.Expires)
	}
	w.reload(func(c *session.Config) { c.Idle = time.Second })
	w.clock.at = s.Created.Add(500 * time.Millisecond)
	set, due := w.Touch(got)
	if !due || !strings.Contains(set, "Max-Age=3600;") {
		t.Errorf("%v, %s", due, set)
	}
	w.clock.at = s.Created.Add(time.Hour)
	w.want(session.Expired, pair(t, set))

	// It has ended for as long as any copy of the cookie could live, should the
	// configuration grant more again.
	if err := w.End(t.Context(), got, "alice@example.com", auth.EndSignOut); err != nil {
		t.Fatal(err)
	}
	if got := w.ledger.endings[0].Expires; !got.Equal(s.Expires) {
		t.Errorf("remembered until %v, want %v", got, s.Expires)
	}
	w.reload(func(c *session.Config) { c.MaxAge, c.Idle = 168*time.Hour, 24*time.Hour })
	w.want(session.Ended, cookie)
	w.want(session.Ended, pair(t, set))
}

func TestIssuerAndAudience(t *testing.T) {
	w := newWall(t)
	cookie, _ := w.signIn(alice())
	w.reload(func(c *session.Config) { c.Issuer = "https://id.example.com" })
	w.want(session.Invalid, cookie)
	w.reload(func(c *session.Config) { c.Issuer = issuer })
	w.want(session.Valid, cookie)

	// Another deployment with the same key, on the same host and by the same name.
	w.reload(func(c *session.Config) { c.PublicURL = &url.URL{Scheme: "https", Host: "other.example.com"} })
	w.want(session.None, cookie)
	other, s := w.signIn(bob())
	if s := w.want(session.Valid, cookie+"; "+other); s.Identity.Email != "bob@example.com" {
		t.Errorf("opened %+v", s)
	}
	w.want(session.Valid, other, cookie)
	if err := w.End(t.Context(), s, "", auth.EndSignOut); err != nil {
		t.Fatal(err)
	}
	w.want(session.Ended, cookie+"; "+other)
	w.want(session.None, cookie)
	w.reload(func(c *session.Config) { c.PublicURL = &url.URL{Scheme: "https", Host: "TOOL.example.com"} })
	w.want(session.Valid, cookie+"; "+other)
}

// COO-133.
func TestKeyRotation(t *testing.T) {
	key := []byte("\x8c\x11\x90\xee old key, of this test alone! \x05")
	clock := newClock()
	ledger := newLedger(clock.Now)
	before := newReplica(t, clock, ledger, newRingOf(t, key))
	cookie, s := before.signIn(alice())

	w := newReplica(t, clock, ledger, newRing(t, key))
	for range 2 { // opened anew, and remembered
		got := w.want(session.Valid, cookie)
		set, due := w.Touch(got)
		if !got.OldKey || !due {
			t.Fatalf("old key %v, sealed anew %v", got.OldKey, due)
		}
		again := w.want(session.Valid, pair(t, set))
		if again.OldKey || again.ID != s.ID || !again.Expires.Equal(s.Expires) {
			t.Errorf("sealed anew as %+v", again)
		}
		if _, due := w.Touch(again); due {
			t.Error("sealed anew once more")
		}
		before.want(session.Invalid, pair(t, set))
	}
	dropped := newReplica(t, clock, ledger, newRing(t))
	dropped.want(session.Invalid, cookie)
}

// COO-137: a session that was revoked after it was opened gets no new cookie.
func TestTouchLooksAgain(t *testing.T) {
	w := newWall(t)
	cookie, _ := w.signIn(alice())
	s := w.want(session.Valid, cookie)
	w.clock.move(12 * time.Hour)
	if _, due := w.Touch(s); !due {
		t.Fatal("not due")
	}
	if err := w.End(t.Context(), s, "", auth.EndSignOut); err != nil {
		t.Fatal(err)
	}
	if set, due := w.Touch(s); due || set != "" {
		t.Errorf("sealed anew: %s", set)
	}
}

// COO-137.
func TestEnd(t *testing.T) {
	w := newWall(t)
	cookie, s := w.signIn(alice())
	other, _ := w.signIn(alice())
	w.want(session.Valid, cookie)

	w.ledger.setFail(errDisk)
	if err := w.End(t.Context(), s, "alice@example.com", auth.EndSignOut); !errors.Is(err, auth.ErrUnavailable) || !errors.Is(err, errDisk) {
		t.Fatalf("without the store: %v", err)
	}
	w.want(session.Valid, cookie) // nobody was told that it has ended

	w.ledger.setFail(nil)
	if err := w.End(t.Context(), s, "alice@example.com", auth.EndSignOut); err != nil {
		t.Fatal(err)
	}
	w.want(session.Ended, cookie)
	w.clock.at = s.Expires.Add(-time.Minute) // for as long as the cookie could live
	session.Sweep(w.revoked)
	w.clock.at = s.Created
	w.want(session.Ended, cookie)
	w.want(session.Valid, other)
	want := []auth.Ending{{Session: s.ID, User: s.Identity.UserID(), Expires: s.Expires, By: "alice@example.com", Reason: auth.EndSignOut}}
	if diff := cmp.Diff(want, w.ledger.endings); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}

	// Another replica, and this one after a restart, learn of it from the feed.
	w.poll()
	w.want(session.Ended, cookie)
	for range 2 {
		replica := newReplica(t, w.clock, w.ledger, w.config.Ring)
		replica.want(session.Valid, cookie)
		replica.poll()
		replica.want(session.Ended, cookie)
		replica.want(session.Valid, other)
	}
}

// SES-147.
func TestEndAll(t *testing.T) {
	w := newWall(t)
	a, s := w.signIn(alice())
	b, _ := w.signIn(alice())
	stranger, _ := w.signIn(bob())
	w.want(session.Valid, a)
	user := s.Identity.UserID()

	w.ledger.setFail(errDisk)
	if err := w.EndAll(t.Context(), user, "boss@example.com", auth.EndByAdmin); !errors.Is(err, auth.ErrUnavailable) {
		t.Fatalf("without the store: %v", err)
	}
	w.want(session.Valid, a)
	w.ledger.setFail(nil)
	if err := w.EndAll(t.Context(), user, "boss@example.com", auth.EndByAdmin); err != nil {
		t.Fatal(err)
	}
	w.want(session.Ended, a)
	w.want(session.Ended, b)
	w.want(session.Valid, stranger)

	// Signing in again works, in the same millisecond too, and is not undone later.
	fresh, _ := w.signIn(alice())
	w.want(session.Valid, fresh)
	w.poll()
	w.want(session.Valid, fresh)
	w.want(session.Ended, a)
	replica := newReplica(t, w.clock, w.ledger, w.config.Ring)
	replica.poll()
	replica.want(session.Valid, fresh)
	replica.want(session.Ended, a)
}

// The store's clock decides what "all sessions" are, however wrong our own is.
func TestEndAllWithAnotherClock(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, -time.Second, 0, time.Second, time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			stores, ours := newClock(), newClock()
			ours.move(skew)
			w := newReplica(t, ours, newLedger(stores.Now), newRing(t))
			cookie, s := w.signIn(alice())
			w.want(session.Valid, cookie)
			for range 3 {
				stores.move(time.Second)
				ours.move(time.Second)
				if err := w.EndAll(t.Context(), s.Identity.UserID(), "", auth.EndByAdmin); err != nil {
					t.Fatal(err)
				}
				w.want(session.Ended, cookie)
				cookie, _ = w.signIn(alice())
				w.want(session.Valid, cookie)
				w.poll()
				w.want(session.Valid, cookie)
			}
		})
	}
}

// When the feed cannot be read after the store has committed, our own clock's
// cut-off stands in.
func TestEndAllWhileTheFeedIsAway(t *testing.T) {
	w := newWall(t, func(c *session.Config) { c.Revoked = session.NewRevocations(c.Now) }) // nobody follows the feed
	cookie, s := w.signIn(alice())
	if err := w.EndAll(t.Context(), s.Identity.UserID(), "", auth.EndBlocked); err != nil {
		t.Fatal(err)
	}
	w.want(session.Ended, cookie)
}

// SES-143.
func TestBlocks(t *testing.T) {
	w := newWall(t)
	cookie, s := w.signIn(alice())
	user := string(s.Identity.UserID())
	for _, c := range []struct {
		kind auth.RevocationKind
		who  string
	}{{auth.BlockUser, user}, {auth.BlockEmail, "alice@example.com"}} {
		w.ledger.block(c.kind, c.who, true)
		w.poll()
		if got := w.want(session.Blocked, cookie); got.Identity.Email != "alice@example.com" {
			t.Errorf("%s: nobody to tell: %+v", c.kind, got)
		}
		if got := w.revoked.Check(s); got != session.Blocked {
			t.Errorf("%s: %v", c.kind, got)
		}
		if _, _, _, err := w.Start(t.Context(), alice(), auth.Client{}); !errors.Is(err, auth.ErrBlocked) {
			t.Errorf("%s: signs in: %v", c.kind, err)
		}
		w.ledger.block(c.kind, c.who, false)
		w.poll()
		w.want(session.Valid, cookie)
	}

	// A block wins over an ended session, which stays ended when it is lifted.
	w.ledger.block(auth.BlockUser, user, true)
	if err := w.EndAll(t.Context(), s.Identity.UserID(), "", auth.EndBlocked); err != nil {
		t.Fatal(err)
	}
	w.want(session.Blocked, cookie)
	w.ledger.block(auth.BlockUser, user, false)
	w.poll()
	w.want(session.Ended, cookie)

	w.clock.move(time.Second)
	// The address moved to a new account, and the account to a new address.
	w.ledger.block(auth.BlockEmail, "alice@example.com", true)
	w.ledger.block(auth.BlockUser, string(s.Identity.UserID()), true)
	w.ledger.block(auth.BlockEmail, "nobody@example.com", true)
	moved, heir := alice(), alice()
	moved.Email, heir.Subject = "alice@brand.example", "300"
	for _, id := range []auth.Identity{moved, heir} {
		w := newReplica(t, w.clock, w.ledger, w.config.Ring)
		cookie := w.forge(id)
		w.want(session.Valid, cookie)
		w.poll()
		w.want(session.Blocked, cookie)
	}
}

// forge seals a session that the store never agreed to, as another store's wall could.
func (w *wall) forge(id auth.Identity) string {
	w.t.Helper()
	config := w.config
	config.Store = newLedger(w.clock.Now)
	keeper, err := session.New(config)
	if err != nil {
		w.t.Fatal(err)
	}
	set, _, _, err := keeper.Start(w.t.Context(), id, auth.Client{})
	if err != nil {
		w.t.Fatal(err)
	}
	return pair(w.t, set)
}

// SES-148: nothing that begins after End has returned gets in, whatever is in flight.
func TestEndIsSeenByAllThatFollows(t *testing.T) {
	w := newWall(t)
	for range 20 {
		cookie, s := w.signIn(alice())
		var ended atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 200 {
					over := ended.Load()
					if opened := w.Open([]string{cookie}); over && opened.Status != session.Ended {
						t.Errorf("%v after the end", opened.Status)
						return
					}
				}
			})
		}
		wg.Go(func() { _ = w.follower.Poll(t.Context()) })
		if err := w.End(t.Context(), s, "", auth.EndSignOut); err != nil {
			t.Error(err)
		}
		ended.Store(true)
		wg.Wait()
	}
}

// SES-149.
func TestManySignInsAtOnce(t *testing.T) {
	w := newWall(t)
	cookies := make([]string, 200)
	var wg sync.WaitGroup
	for i := range cookies {
		wg.Go(func() {
			set, _, _, err := w.Start(t.Context(), alice(), auth.Client{})
			if err != nil {
				t.Error(err)
				return
			}
			cookies[i], _, _ = strings.Cut(set, ";")
		})
	}
	wg.Wait()
	ids := make(map[auth.SessionID]bool)
	for _, cookie := range cookies {
		ids[w.want(session.Valid, cookie).ID] = true
	}
	if len(ids) != len(cookies) || len(w.ledger.signIns) != len(cookies) {
		t.Errorf("%d sessions, %d records, want %d", len(ids), len(w.ledger.signIns), len(cookies))
	}
}

// A cookie that was seen before costs no allocation.
func TestOpenAllocatesNothing(t *testing.T) {
	w := newWall(t)
	cookie, _ := w.signIn(alice())
	lines := []string{"theme=dark; " + cookie + "; _ga=GA1.1.1234"}
	w.Open(lines)
	if n := testing.AllocsPerRun(1000, func() { w.Open(lines) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestStatusWords(t *testing.T) {
	words := make(map[string]bool)
	for s := session.None; s <= session.Valid; s++ {
		words[s.String()] = true
	}
	if len(words) != int(session.Valid)+1 || words["unknown"] || session.Status(99).String() != "unknown" {
		t.Errorf("%v", words)
	}
}
