package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/auth/store/storetest"
)

func benchStore(b *testing.B, users, sessions int) *store.Store {
	b.Helper()
	path := filepath.Join(b.TempDir(), "loginwall.db")
	s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + path, Create: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	if users > 0 {
		fill(b, path, users, sessions)
	}
	return s
}

func BenchmarkSignIn(b *testing.B) {
	s := benchStore(b, 0, 0)
	id := person(1)
	for b.Loop() {
		if _, err := s.SignIn(b.Context(), auth.SignIn{Identity: id, Session: auth.NewSessionID(), MaxAge: time.Hour}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPoll is what every process does a few times a second.
func BenchmarkPoll(b *testing.B) {
	s := benchStore(b, 0, 0)
	if _, err := s.EndSessionsOf(b.Context(), "u", "x", auth.EndByAdmin); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Revocations(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen100kUsers(b *testing.B) {
	path := filepath.Join(b.TempDir(), "loginwall.db")
	for i := 0; b.Loop(); i++ {
		s, err := store.Open(b.Context(), store.Config{URL: "sqlite:" + path, Create: true})
		if err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
		if i == 0 {
			b.StopTimer()
			fill(b, path, 100_000, 100_000)
			b.StartTimer()
		}
	}
}

// BenchmarkDirectory asks what the directory's pages ask, of 100,000 users with
// 1,000,000 sessions, in every filter, order and share of them that a search finds.
// LISTS.md has the figures.
func BenchmarkDirectory(b *testing.B) {
	path := filepath.Join(b.TempDir(), "loginwall.db")
	// All sessions are open then, ten of each user.
	now := func() time.Time { return time.UnixMilli(1700000000000 + 1_500_000) }
	embedded := openBench(b, store.Config{URL: "sqlite:" + path, Create: true, Now: now})
	if _, err := embedded.SignIn(b.Context(), auth.SignIn{Identity: person(1), Session: "x", MaxAge: time.Hour}); err != nil {
		b.Fatal(err) // so that the store knows how long sessions live
	}
	fill(b, path, 100_000, 1_000_000)
	for i := range 200 {
		if _, err := embedded.Block(b.Context(), store.Who{Email: fmt.Sprintf("user%d@example.com", 400*i+1)}, "x", "y"); err != nil {
			b.Fatal(err)
		}
	}
	// Everybody of a tenth is signed out: a search for those finds nobody who is in.
	run(b, raw(b, path), "UPDATE sessions SET ended_at = created WHERE user_id IN (SELECT id FROM users WHERE email LIKE 'user8%')")
	b.Run("sqlite", func(b *testing.B) { benchDirectory(b, embedded) })
	b.Run("postgres", func(b *testing.B) {
		p := storetest.StartPostgres(b)
		url := p.Database(b)
		shared := openBench(b, store.Config{URL: url, Create: true, Timeout: time.Minute})
		if _, err := store.Copy(b.Context(), embedded, shared); err != nil {
			b.Fatal(err)
		}
		// Its clock is its own.
		p.Do(b, url, fmt.Sprintf("UPDATE sessions SET expires = expires + %[1]d, last_seen = last_seen + %[1]d, created = created + %[1]d", time.Since(now()).Milliseconds()),
			fmt.Sprintf("UPDATE users SET last_seen = last_seen + %d", time.Since(now()).Milliseconds()), "VACUUM ANALYZE")
		benchDirectory(b, shared)
	})
}

// cpu is what this process has used; of the server of a shared store it knows nothing.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func openBench(b *testing.B, c store.Config) *store.Store {
	b.Helper()
	s, err := store.Open(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func benchDirectory(b *testing.B, s *store.Store) {
	someone := auth.UserID(fmt.Sprintf("user%022d", 77777))
	users := func(q store.UserQuery) func(b *testing.B) {
		return func(b *testing.B) {
			q.Limit = 25
			before, n := cpu(b), 0
			for ; b.Loop(); n++ {
				if _, _, err := s.Users(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(n)/1000, "cpu-ms/op")
		}
	}
	deep := store.UserQuery{Limit: 1000}
	for range 50 {
		_, next, err := s.Users(b.Context(), deep)
		if err != nil {
			b.Fatal(err)
		}
		deep.After = next
	}
	b.Run("deep", users(deep))
	for _, search := range []struct {
		name string
		q    store.UserQuery
	}{
		{"everybody", store.UserQuery{}},
		{"one", store.UserQuery{Search: "user77777@"}},
		{"0.1 %", store.UserQuery{Search: "user777"}},
		{"1 %", store.UserQuery{Search: "user77"}},
		{"11 %", store.UserQuery{Search: "user7"}},
		{"11 %, all out", store.UserQuery{Search: "user8"}},
		{"100 %", store.UserQuery{Search: "user"}},
		{"100 % and 11 %", store.UserQuery{Search: "user 7"}},
		{"100 % and one", store.UserQuery{Search: "user 77777"}},
		{"nobody", store.UserQuery{Search: "nobody at all"}},
		{"domain, 100 %", store.UserQuery{Domain: "example.com"}},
		{"domain and 11 %", store.UserQuery{Domain: "example.com", Search: "user7"}},
		{"domain, nobody", store.UserQuery{Domain: "nowhere.test"}},
	} {
		for filter, filtered := range map[string]store.UserQuery{
			"all": {}, "open": {OpenOnly: true, Idle: 24 * time.Hour}, "blocked": {BlockedOnly: true},
			"just used": {OpenOnly: true, Idle: 400_050 * time.Millisecond}, // fifty may be, and none is
		} {
			for order, by := range map[string]store.UserOrder{"by last seen": store.ByLastSeen, "by address": store.ByEmail, "by first sign-in": store.ByFirstSignIn} {
				q := search.q
				q.OpenOnly, q.BlockedOnly, q.Idle, q.Order = filtered.OpenOnly, filtered.BlockedOnly, filtered.Idle, by
				b.Run(search.name+"/"+filter+"/"+order, users(q))
			}
		}
	}
	b.Run("person", func(b *testing.B) {
		for b.Loop() {
			_, err := s.User(b.Context(), store.Who{User: someone})
			open, _, err2 := s.Sessions(b.Context(), store.SessionQuery{User: someone, OpenOnly: true})
			_, _, err3 := s.Sessions(b.Context(), store.SessionQuery{User: someone})
			_, _, err4 := s.Events(b.Context(), store.EventQuery{User: someone})
			if err := errors.Join(err, err2, err3, err4); err != nil || len(open) != 10 {
				b.Fatal(len(open), err)
			}
		}
	})
}
