package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/loginwall/loginwall/auth"
)

const (
	// Prune deletes between fewest and most rows at a time, as many as the disk
	// manages within its share: a sign-in may be waiting.
	fewestRows, mostRows = 10, 100
	pruneShare           = 5 * time.Millisecond
	// clockSlack is how long a revocation outlives what it revokes, for processes
	// whose clocks run behind the store's.
	clockSlack = time.Hour
)

// Prune takes away what nobody needs any more: sessions past Config.KeepSessions,
// revocations of what has expired, events over the limits. It works in small
// transactions and pauses for as long as each took, so that sign-ins pass
// between, those of other processes too. Space in the file is used again. What
// the events of an hour or a day come to is noted before they go.
func (s *Store) Prune(ctx context.Context) error {
	now, err := s.clock(ctx)
	if err != nil {
		return err
	}
	sessions, err := s.prune(ctx, `DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires < $1 ORDER BY expires LIMIT $2)`,
		now.Add(-s.config.KeepSessions).UnixMilli())
	if err != nil {
		return err
	}
	revocations, err := s.prune(ctx, `DELETE FROM revocations WHERE seq IN
		(SELECT seq FROM revocations WHERE expires > 0 AND expires < $1 ORDER BY expires LIMIT $2)`,
		now.Add(-clockSlack).UnixMilli())
	if err != nil {
		return err
	}
	for _, span := range []time.Duration{Hourly, Daily} {
		if err := s.sumUp(ctx, span, now); err != nil {
			return err
		}
	}
	// Counted by kind, so that sign-ins cannot push the traces of a block out.
	events := int64(0)
	for _, kind := range auth.EventKinds() {
		keep := s.config.KeepEvents
		if kind == auth.EventDenied {
			keep = s.config.KeepDenied
		}
		n, err := s.prune(ctx, `DELETE FROM events WHERE id IN (SELECT id FROM events WHERE kind = $1
			AND id <= (SELECT id FROM events WHERE kind = $1 ORDER BY id DESC LIMIT 1 OFFSET $3) ORDER BY id LIMIT $2)`, kind, keep)
		if err != nil {
			return err
		}
		events += n
	}
	if sessions+revocations+events > 0 {
		s.config.Log.Debug("pruned the store",
			slog.Int64("sessions", sessions), slog.Int64("revocations", revocations), slog.Int64("events", events))
	}
	return nil
}

// prune repeats a deletion, whose $2 is how many rows to delete at most, until
// nothing is left.
func (s *Store) prune(ctx context.Context, query string, first any, rest ...any) (total int64, err error) {
	batch := int64(fewestRows)
	for {
		start := s.config.Now()
		args := append([]any{first, batch}, rest...)
		n, err := write(ctx, s, "prune", noTurn, func(t *tx) (int64, error) { return t.exec(query, args...) })
		total += n
		if err != nil || n < batch {
			return total, err
		}
		took := s.config.Now().Sub(start)
		if took > pruneShare {
			batch = max(batch/2, fewestRows)
		} else if took < pruneShare/2 {
			batch = min(batch*2, mostRows)
		}
		select {
		case <-ctx.Done():
			return total, fmt.Errorf("store: prune: %w", ctx.Err())
		case <-time.After(took):
		}
	}
}
