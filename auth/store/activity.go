package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/loginwall/loginwall/auth"
)

// The spans of Activity.
const (
	Hourly = time.Hour
	Daily  = 24 * time.Hour
)

// sumUpLate is how long after its end an hour or a day is summed up: what began
// within it is on disk by then (Config.Timeout bounds each write).
const sumUpLate = time.Minute

// Activity returns what happened in each hour or day of UTC from since on, the
// one under way included, in their order. Those without any event are left out.
func (s *Store) Activity(ctx context.Context, span time.Duration, since time.Time) ([]auth.Activity, error) {
	since = since.UTC().Truncate(span)
	past, err := list(ctx, s, "activity", `SELECT start, sign_ins, denied, people FROM activity WHERE span = $1 AND start >= $2 ORDER BY start`,
		[]any{span.Milliseconds(), since.UnixMilli()}, scanActivity)
	if err != nil {
		return nil, err
	}
	rest := since
	if n := len(past); n > 0 {
		rest = past[n-1].Start.Add(span)
	}
	now, err := s.clock(ctx)
	if err != nil {
		return nil, err
	}
	recent, err := s.count(ctx, span, rest, now.Add(clockSlack))
	if err != nil {
		return nil, err
	}
	all := append(past, recent...)
	if span != Daily {
		return all, nil
	}
	hours, err := s.Activity(ctx, Hourly, since)
	return fromHours(all, hours), err
}

// fromHours takes the numbers of events from the hours, of which Prune may have
// taken the events away before their day was over.
func fromHours(days, hours []auth.Activity) []auth.Activity {
	for i := range days {
		day := &days[i]
		var sum auth.Activity
		for len(hours) > 0 && hours[0].Start.Before(day.Start.Add(Daily)) {
			sum.SignIns, sum.Denied = sum.SignIns+hours[0].SignIns, sum.Denied+hours[0].Denied
			day.People = max(day.People, hours[0].People)
			hours = hours[1:]
		}
		day.SignIns, day.Denied = max(day.SignIns, sum.SignIns), max(day.Denied, sum.Denied)
	}
	return days
}

// count computes what happened from the events themselves.
func (s *Store) count(ctx context.Context, span time.Duration, since, before time.Time) ([]auth.Activity, error) {
	return list(ctx, s, "activity", fmt.Sprintf(`SELECT at / %[1]d * %[1]d, SUM(CASE WHEN kind = '%[2]s' THEN 1 ELSE 0 END),
		SUM(CASE WHEN kind = '%[3]s' THEN 1 ELSE 0 END), COUNT(DISTINCT CASE WHEN kind = '%[2]s' THEN user_id END)
		FROM events WHERE at >= $1 AND at < $2 GROUP BY at / %[1]d * %[1]d ORDER BY 1`,
		span.Milliseconds(), auth.EventSignIn, auth.EventDenied), []any{since.UnixMilli(), before.UnixMilli()}, scanActivity)
}

func scanActivity(scan func(...any) error) (auth.Activity, error) {
	var a auth.Activity
	var start int64
	err := scan(&start, &a.SignIns, &a.Denied, &a.People)
	a.Start = moment(start)
	return a, err
}

// sumUp notes what happened in each span that is over. Several processes may do
// so at once, and come to the same.
func (s *Store) sumUp(ctx context.Context, span time.Duration, now time.Time) error {
	var last int64
	err := s.read(ctx, "activity", func(ctx context.Context, db *sql.DB) error {
		return db.QueryRowContext(ctx, `SELECT COALESCE(MAX(start), 0) FROM activity WHERE span = $1`, span.Milliseconds()).Scan(&last)
	})
	if err != nil {
		return err
	}
	since := time.UnixMilli(last)
	if last > 0 {
		since = since.Add(span)
	}
	over, err := s.count(ctx, span, since, now.Add(-sumUpLate).UTC().Truncate(span))
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(over, mostRows) {
		if _, err := write(ctx, s, "sum up", noTurn, func(t *tx) (none struct{}, err error) {
			for _, a := range batch {
				if _, err := t.exec(`INSERT INTO activity (span, start, sign_ins, denied, people) VALUES ($1, $2, $3, $4, $5)
					ON CONFLICT (span, start) DO NOTHING`, span.Milliseconds(), stamp(a.Start), a.SignIns, a.Denied, a.People); err != nil {
					return none, fmt.Errorf("write activity: %w", err)
				}
			}
			return none, nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// TurnedAway tells who was denied since then, why and how often, the most often
// first, and no more than limit of them (0 means 50). Strangers cause denials, so
// there are no more than Config.KeepDenied to look at.
func (s *Store) TurnedAway(ctx context.Context, since time.Time, limit int) ([]auth.TurnedAway, error) {
	return list(ctx, s, "turned away", fmt.Sprintf(`SELECT email, detail, COUNT(*), MIN(at), MAX(at) FROM events
		WHERE kind = '%s' AND at >= $1 GROUP BY email, detail ORDER BY COUNT(*) DESC, MAX(at) DESC, email LIMIT %d`, auth.EventDenied, pageSize(limit)-1),
		[]any{since.UnixMilli()}, scanTurnedAway)
}

func scanTurnedAway(scan func(...any) error) (auth.TurnedAway, error) {
	var t auth.TurnedAway
	var first, last int64
	err := scan(&t.Email, &t.Reason, &t.Times, &first, &last)
	t.First, t.Last = moment(first), moment(last)
	return t, err
}
