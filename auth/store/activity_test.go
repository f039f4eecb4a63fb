package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

// What happened is told the same before it was summed up, after, and when the
// events themselves are gone.
func TestActivityOutlivesEvents(t *testing.T) {
	now := time.Date(2026, 3, 1, 22, 50, 0, 0, time.UTC)
	s := open(t, store.Config{
		URL: "sqlite:" + newPath(t), Create: true, KeepEvents: 1, KeepDenied: 1,
		Now: func() time.Time { return now },
	})
	for i := range 30 { // ten hours, over a midnight
		signIn(t, s, i%3)
		if i%2 == 0 {
			if err := s.Record(t.Context(), auth.Event{Kind: auth.EventDenied, Email: "a@evil.test", Detail: "domain"}); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(20 * time.Minute)
	}
	since := now.Add(-48 * time.Hour)
	read := func(span time.Duration) []auth.Activity {
		t.Helper()
		a, err := s.Activity(t.Context(), span, since)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	hours, days := read(store.Hourly), read(store.Daily)
	want := []auth.Activity{
		{Start: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), SignIns: 4, Denied: 2, People: 3},
		{Start: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), SignIns: 26, Denied: 13, People: 3},
	}
	if diff := cmp.Diff(want, days); diff != "" || len(hours) != 11 {
		t.Fatalf("%d hours; days (-want +got):\n%s", len(hours), diff)
	}
	for range 2 {
		if err := s.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(hours[:10], read(store.Hourly)[:10]); diff != "" {
			t.Errorf("hours that are over (-before +after):\n%s", diff)
		}
		now = now.Add(24 * time.Hour)
	}
	if diff := cmp.Diff(want[:1], read(store.Daily)[:1]); diff != "" {
		t.Errorf("days that are over (-before +after):\n%s", diff)
	}
}

// BenchmarkActivity1MEvents is what the page of a month costs, with a hundred
// thousand people and a million events in the store.
func BenchmarkActivity1MEvents(b *testing.B) {
	now := time.Date(2026, 3, 31, 12, 34, 0, 0, time.UTC)
	path := newPath(b)
	s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + path, Create: true, KeepEvents: 1 << 30, KeepDenied: 1 << 30, Timeout: time.Minute, Now: func() time.Time { return now }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	run(b, raw(b, path), fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999999)
		INSERT INTO events (at, kind, actor, user_id, email, session_id, address, detail)
		SELECT %d + i * 2592, CASE i %% 100 WHEN 7 THEN 'denied' ELSE 'sign_in' END, 'user' || ((i * 7919) %% 100000) || '@example.com',
		'user' || ((i * 7919) %% 100000), 'user' || ((i * 7919) %% 100000) || '@example.com', 's' || i, '192.0.2.' || (i %% 250), 'domain' FROM n`,
		now.Add(-30*24*time.Hour).UnixMilli()))
	start := time.Now()
	if err := s.Prune(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("summed up in %v", time.Since(start))
	for name, read := range map[string]func() (int, error){
		"days": func() (int, error) {
			a, err := s.Activity(b.Context(), store.Daily, now.Add(-30*24*time.Hour))
			return len(a), err
		},
		"hours": func() (int, error) {
			a, err := s.Activity(b.Context(), store.Hourly, now.Add(-48*time.Hour))
			return len(a), err
		},
		"denied": func() (int, error) {
			a, err := s.TurnedAway(b.Context(), now.Add(-30*24*time.Hour), 20)
			return len(a), err
		},
		"by an actor": func() (int, error) {
			a, _, err := s.Events(b.Context(), store.EventQuery{Actor: "user77@example.com", Kind: auth.EventSignIn})
			return len(a), err
		},
		"long ago": func() (int, error) {
			a, _, err := s.Events(b.Context(), store.EventQuery{Before: now.Add(-29 * 24 * time.Hour), Kind: auth.EventDenied})
			return len(a), err
		},
		"from an address, a day": func() (int, error) {
			a, _, err := s.Events(b.Context(), store.EventQuery{Address: "192.0.2.7", Since: now.Add(-20 * 24 * time.Hour), Before: now.Add(-19 * 24 * time.Hour)})
			return len(a), err
		},
	} {
		b.Run(name, func(b *testing.B) {
			before, times := cpu(b), 0
			for ; b.Loop(); times++ {
				if n, err := read(); err != nil || n == 0 {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(times)/1000, "cpu-ms/op")
		})
	}
}
