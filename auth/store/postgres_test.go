package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/auth/store/storetest"
)

// All that needs a server shares one.
func TestPostgres(t *testing.T) {
	var settings []string
	if expired() > fewExpired {
		settings = append(settings, "fsync=on")
	}
	p := storetest.StartPostgres(t, settings...)
	fresh := func(through func(string) string) storetest.Fresh {
		return func(t *testing.T) func(store.Config) *store.Store {
			url := through(p.Database(t))
			return func(c store.Config) *store.Store {
				c.URL, c.Create = url, true
				return open(t, c)
			}
		}
	}
	t.Run("Suite", func(t *testing.T) { storetest.Run(t, fresh(func(url string) string { return url })) })
	t.Run("PgBouncer", func(t *testing.T) { storetest.Run(t, fresh(p.Bouncer(t))) })
	t.Run("AtOnce", func(t *testing.T) { testPostgresAtOnce(t, p) })
	t.Run("Refuses", func(t *testing.T) { testPostgresRefuses(t, p) })
	t.Run("Copy", func(t *testing.T) { testCopy(t, p) })
	t.Run("CommitFails", func(t *testing.T) { testPostgresCommitFails(t, p) })
	t.Run("Turns", func(t *testing.T) { testPostgresTurns(t, p) })
	t.Run("Errors", func(t *testing.T) { testPostgresErrors(t, p) })
	t.Run("Prune", func(t *testing.T) { testPostgresPrune(t, p) })
	t.Run("TLS", func(t *testing.T) { testPostgresTLS(t, p) })           // restarts it
	t.Run("Failover", func(t *testing.T) { testPostgresFailover(t, p) }) // stops it, too
}

// Many walls may start at once; one makes the tables, and nobody sees half of them.
func testPostgresAtOnce(t *testing.T, p *storetest.Postgres) {
	createAtOnce(t, p.Database(t), 20)
}

// STO-208: what is not ours, or of a newer release, is refused and stays as it was.
func testPostgresRefuses(t *testing.T, p *storetest.Postgres) {
	for name, c := range map[string]struct {
		make string
		want error
	}{
		"another program's tables": {"CREATE TABLE users (id INT)", store.ErrForeign},
		"another meta":             {"CREATE TABLE meta (k INT)", store.ErrForeign},
		"an empty meta":            {"CREATE TABLE meta (name TEXT, value TEXT)", store.ErrForeign},
		"a newer release":          {"CREATE TABLE meta (name TEXT, value TEXT); INSERT INTO meta VALUES ('schema_version', '999')", store.ErrTooNew},
		"no number":                {"CREATE TABLE meta (name TEXT, value TEXT); INSERT INTO meta VALUES ('schema_version', 'x')", store.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			url := p.Database(t)
			p.Do(t, url, c.make)
			for range 2 {
				if _, err := store.Open(t.Context(), store.Config{URL: url, Create: true}); !errors.Is(err, c.want) {
					t.Errorf("Open: %v, want %v", err, c.want)
				}
			}
			if n := p.Count(t, url, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'public'"); n != 1 {
				t.Errorf("%d tables", n)
			}
		})
	}
}

// STO-200: what fails at the very end was not done, and nobody is told that it was.
func testPostgresCommitFails(t *testing.T, p *storetest.Postgres) {
	url := p.Database(t)
	s := open(t, store.Config{URL: url, Create: true, Recorded: func(_ context.Context, e auth.Event) { t.Errorf("told: %+v", e) }})
	p.Do(t, url, `CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN RAISE ''refused''; END'`,
		"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()")
	if _, err := trySignIn(t.Context(), s, 1); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("SignIn: %v", err)
	}
	if _, err := s.Block(t.Context(), store.Who{Email: "x@example.com"}, "x", ""); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("Block: %v", err)
	}
}

// SES-149: a block waits for the sign-in that looked for blocks before, and ends it.
func testPostgresTurns(t *testing.T, p *storetest.Postgres) {
	url := p.Database(t)
	s := open(t, store.Config{URL: url, Create: true, Timeout: time.Minute})
	p.Do(t, url, `CREATE FUNCTION pause() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END'`,
		"CREATE TRIGGER pause BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION pause()")
	db, err := sql.Open("pgx", url)
	must(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1) // the lock is its connection's
	_, err = db.ExecContext(t.Context(), "SELECT pg_advisory_lock(1)")
	must(t, err)

	var session auth.Session
	var signedIn, blocked error
	var both sync.WaitGroup
	wait := func(n int64) {
		t.Helper()
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if p.Count(t, url, "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == n {
				return
			}
		}
		t.Errorf("%d do not wait", n)
	}
	both.Go(func() { session, signedIn = trySignIn(t.Context(), s, 1) })
	wait(1)
	both.Go(func() { _, blocked = s.Block(t.Context(), store.Who{Email: person(1).Email}, "x", "") })
	wait(2)
	_, err = db.ExecContext(t.Context(), "SELECT pg_advisory_unlock(1)")
	must(t, err)
	both.Wait()
	must(t, errors.Join(signedIn, blocked))
	if record, err := s.Session(t.Context(), session.ID); err != nil || record.End == nil {
		t.Errorf("the session goes on: %+v, %v", record, err)
	}
}

// What an operator reads of a failure names the server, and never the password.
func testPostgresErrors(t *testing.T, p *storetest.Postgres) {
	for name, url := range map[string]string{
		"wrong password":   strings.Replace(p.URL("postgres"), "41@", "42@", 1),
		"no such database": p.URL("nowhere"),
		"no such server":   strings.Replace(p.URL("postgres"), p.Addr(), "127.0.0.1:1", 1),
		"no TLS there":     p.URL("postgres") + "?sslmode=verify-full",
		"a wrong option":   p.URL("postgres") + "?pool_max_conns=1",
		"a wrong sslmode":  p.URL("postgres") + "?sslmode=maybe",
		"no URL":           strings.Replace(p.URL("postgres"), "@127", "@[127", 1),
	} {
		_, err := store.Open(t.Context(), store.Config{URL: url, Create: true})
		if err == nil {
			t.Fatalf("%s: opened", name)
		}
		t.Logf("%s: %v", name, err)
		if text := err.Error(); strings.Contains(text, "p@ss") || strings.Contains(text, "p%40ss") || strings.Contains(text, "rd%2541") {
			t.Errorf("%s: the password is in %q", name, text)
		}
	}
}

// A server that does not prove who it is is not told the password, let alone who
// signs in.
func testPostgresTLS(t *testing.T, p *storetest.Postgres) {
	right := p.TLS(t)
	url := p.Database(t)
	for name, c := range map[string]struct{ url, authority, says string }{
		"the right one":       {url, right, ""},
		"another authority's": {url, storetest.OtherAuthority(t), "unknown authority"},
		"another name":        {strings.Replace(url, "127.0.0.1", "localhost", 1), right, "wanted to match localhost"},
	} {
		s, err := store.Open(t.Context(), store.Config{URL: c.url + "?sslmode=verify-full&sslrootcert=" + c.authority, Create: true})
		switch {
		case err == nil && c.says == "":
			if p.Count(t, url, "SELECT COUNT(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'loginwall'") == 0 {
				t.Errorf("%s: not by TLS", name)
			}
			signIn(t, s, 1)
			_ = s.Close()
		case err == nil:
			t.Errorf("%s: opened", name)
			_ = s.Close()
		case c.says == "" || !strings.Contains(err.Error(), c.says):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// As TestPruneManyWhilePeopleSignIn, here.
func testPostgresPrune(t *testing.T, p *storetest.Postgres) {
	url := p.Database(t)
	s := open(t, store.Config{URL: url, Create: true, KeepSessions: time.Millisecond})
	signIn(t, s, 1)
	p.Do(t, url, fmt.Sprintf(`INSERT INTO sessions SELECT 'old' || n, (SELECT id FROM users), '', 1700000000000 + n, 1700003600000 + n, 1700000000000 + n,
		'192.0.2.1', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36', 0, '', '' FROM generate_series(1, %d) AS n`, expired()), "ANALYZE")
	signIns := pruneWhilePeopleSignIn(t, s)
	if n := p.Count(t, url, "SELECT COUNT(*) FROM sessions"); n != signIns+1 {
		t.Errorf("%d sessions are left of %d", n, signIns+1)
	}
}

// The server must prove who it is, unless it is on this machine.
func TestPostgresTLS(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:p@db.example.com/wall":                          "verified",
		"postgres://u:p@db.example.com,db2.example.com/wall":          "verified",
		"postgres://u:p@localhost,db2.example.com/wall":               "verified",
		"postgres:///wall?host=db.example.com":                        "verified",
		"postgres://u:p@db.example.com/wall?sslmode=require":          "unverified",
		"postgres://u:p@db.example.com/wall?sslmode=disable":          "none",
		"postgres://u:p@127.0.0.1/wall?sslmode=disable":               "none",
		"postgres://u:p@[::1]:5433/wall?sslmode=verify-full":          "verified",
		"postgres:///wall?host=/run/postgresql&pool_max_conns=10":     "none",
		"postgres://u:p@db.example.com/wall?target_session_attrs=any": "verified",
	} {
		got, err := store.TLSOf(url)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", url, got, err, want)
		}
	}
}

// A failover may set the counter back and then past what was told: whoever has
// read before reads all anew when another server answers.
func testPostgresFailover(t *testing.T, p *storetest.Postgres) {
	url := p.Database(t)
	s := open(t, store.Config{URL: url, Create: true})
	block := func(email string) {
		t.Helper()
		if _, err := s.Block(t.Context(), store.Who{Email: email}, "x", ""); err != nil {
			t.Fatalf("Block: %v", err)
		}
	}
	read := func(after int64) auth.Feed {
		t.Helper()
		feed, err := s.Revocations(t.Context(), after)
		if errors.Is(err, auth.ErrUnavailable) { // the connection had died; nobody waits for the next poll
			feed, err = s.Revocations(t.Context(), after)
		}
		if err != nil {
			t.Fatalf("Revocations: %v", err)
		}
		return feed
	}
	block("one@example.com")
	block("lost@example.com")
	before := read(0)
	if feed := read(before.Cursor); feed.Whole || len(feed.Rows) != 0 {
		t.Errorf("nothing new: %+v", feed)
	}
	p.Kill(t)
	// Whoever serves a connection outlives the server by a moment.
	for end := time.Now().Add(time.Minute); ; {
		_, err := s.Revocations(t.Context(), before.Cursor)
		if errors.Is(err, auth.ErrUnavailable) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("Revocations while it is away: %v", err)
		}
	}
	if _, err := s.Block(t.Context(), store.Who{Email: "x@example.com"}, "x", ""); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("Block while it is away: %v", err)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("Ping while it is away: %v", err)
	}
	p.Start(t)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping when it is back: %v", err)
	}
	if feed := read(before.Cursor); !feed.Whole || len(feed.Rows) != 2 {
		t.Errorf("after a crash: %+v", feed)
	}
	// As on a standby that never heard of the last block.
	p.Do(t, url, "DELETE FROM revocations WHERE key = 'lost@example.com'", "DELETE FROM blocks WHERE email = 'lost@example.com'",
		"UPDATE counters SET value = value - 1 WHERE name = 'feed'")
	p.Stop(t)
	p.Start(t)
	block("two@example.com")
	block("three@example.com")
	feed := read(before.Cursor)
	if !feed.Whole || len(feed.Rows) != 3 {
		t.Errorf("after a failover: %+v", feed)
	}
	if again := read(feed.Cursor); again.Whole || len(again.Rows) != 0 {
		t.Errorf("nothing new: %+v", again)
	}
}
