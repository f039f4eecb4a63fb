package session_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/session"
	"github.com/loginwall/loginwall/internal/locked"
)

func TestPollTellsItsFailure(t *testing.T) {
	w := newWall(t)
	w.ledger.setFail(errDisk)
	if err := w.follower.Poll(t.Context()); !errors.Is(err, auth.ErrUnavailable) || !errors.Is(err, errDisk) {
		t.Errorf("%v", err)
	}
	w.ledger.setFail(nil)
	w.poll()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.follower.Poll(ctx); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// A change elsewhere is known here within a second, and so is that it was taken back.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := newLedger(time.Now)
		set := session.NewRevocations(time.Now)
		var out locked.Buffer
		f := session.NewFollower(ledger, set, 0, slog.New(slog.NewTextHandler(&out, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { f.Run(ctx); close(done) }()

		s := sessionOf(alice(), time.Now())
		user := string(s.Identity.UserID())
		for range 5 {
			ledger.block(auth.BlockUser, user, true)
			time.Sleep(250 * time.Millisecond)
			synctest.Wait()
			wantCheck(t, set, s, session.Blocked)
			ledger.block(auth.BlockUser, user, false)
			time.Sleep(250 * time.Millisecond)
			synctest.Wait()
			wantCheck(t, set, s, session.Valid)
		}
		if set.Age() > 250*time.Millisecond {
			t.Errorf("%v old", set.Age())
		}

		// Away for a minute: what is known stays, its age grows, one line is logged.
		ledger.block(auth.BlockUser, user, true)
		time.Sleep(time.Second)
		ledger.setFail(errDisk)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantCheck(t, set, s, session.Blocked)
		if age := set.Age(); age < time.Minute || age > time.Minute+time.Second {
			t.Errorf("%v old after a minute", age)
		}
		if log := out.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "WARN") || !strings.Contains(log, "disk full") {
			t.Errorf("logged:\n%s", log)
		}
		ledger.setFail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if log := out.String(); strings.Count(log, "\n") != 2 || !strings.Contains(log, "INFO") {
			t.Errorf("logged:\n%s", log)
		}
		if set.Age() > 250*time.Millisecond {
			t.Errorf("%v old after recovery", set.Age())
		}

		// Expired entries go by themselves.
		s.Expires = time.Now().Add(-24 * time.Hour)
		set.Add(ended(s))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if sessions, _, _ := set.Len(); sessions != 0 {
			t.Errorf("still knows %d ended sessions", sessions)
		}

		// The end of the context is the end, and no failure.
		cancel()
		<-done
		if strings.Count(out.String(), "\n") != 2 {
			t.Errorf("logged:\n%s", out.String())
		}
	})
}

// STO-207: a store that hangs is a store that is away: the read is given up, and callers
// that wait for their turn give up when their own time is over.
func TestAReadThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := session.NewRevocations(time.Now)
		var out locked.Buffer
		f := session.NewFollower(hanging{}, set, 0, slog.New(slog.NewTextHandler(&out, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		go f.Run(ctx)
		time.Sleep(time.Second)
		short, cancelShort := context.WithTimeout(t.Context(), time.Second)
		defer cancelShort()
		start := time.Now()
		if err := set.Refresh(short); !errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		if waited := time.Since(start); waited > time.Second {
			t.Errorf("waited for %v", waited)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if strings.Count(out.String(), "\n") != 1 {
			t.Errorf("logged:\n%s", out.String())
		}
		cancel()
		synctest.Wait()
	})
}

// A caller that gives up is no failure of the store.
func TestAPollThatIsGivenUp(t *testing.T) {
	var out locked.Buffer
	f := session.NewFollower(hanging{}, session.NewRevocations(nil), 0, slog.New(slog.NewTextHandler(&out, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := f.Poll(ctx); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if out.String() != "" {
		t.Errorf("logged:\n%s", out.String())
	}
}

type hanging struct{}

func (hanging) Revocations(ctx context.Context, _ int64) (auth.Feed, error) {
	<-ctx.Done()
	return auth.Feed{}, ctx.Err()
}

// Rows are asked for behind the last one that was seen, and a long feed comes in
// whole.
func TestCursor(t *testing.T) {
	w := newWall(t)
	rows := randomRows(2500, w.clock.Now().Add(time.Hour))
	for _, row := range rows {
		w.ledger.counter++
		row.Seq = w.ledger.counter
		w.ledger.feed = append(w.ledger.feed, row)
	}
	w.poll()
	more := randomRows(2500, w.clock.Now().Add(time.Hour))
	for _, row := range more {
		w.ledger.counter++
		row.Seq = w.ledger.counter
		w.ledger.feed = append(w.ledger.feed, row)
	}
	w.poll()
	for _, row := range append(rows, more...) {
		s := sessionOf(alice(), noon)
		s.ID = auth.SessionID(row.Key)
		wantCheck(t, w.revoked, s, session.Ended)
	}
	if sessions, _, _ := w.revoked.Len(); sessions != 5000 {
		t.Errorf("%d sessions", sessions)
	}
}
