package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/auth/store/storetest"
)

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func(store.Config) *store.Store {
		path := newPath(t)
		return func(c store.Config) *store.Store {
			c.URL, c.Create = "sqlite:"+path, true
			return open(t, c)
		}
	})
}

func newPath(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "loginwall.db")
}

func open(t *testing.T, c store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// made returns the path of a store that exists, is closed, and blocks one address.
func made(t *testing.T) string {
	t.Helper()
	path := newPath(t)
	s := open(t, store.Config{URL: "sqlite:" + path, Create: true})
	for n := range 20 {
		signIn(t, s, n)
	}
	if _, err := s.Block(t.Context(), store.Who{Email: "blocked@example.com"}, "x", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func person(n int) auth.Identity {
	return auth.Identity{
		Issuer: "https://accounts.example.com", Subject: fmt.Sprint(n),
		Email: fmt.Sprintf("user%d@example.com", n), EmailVerified: true,
	}
}

func trySignIn(ctx context.Context, s *store.Store, n int) (auth.Session, error) {
	session := auth.Session{ID: auth.NewSessionID(), Identity: person(n)}
	in, err := s.SignIn(ctx, auth.SignIn{Identity: session.Identity, Session: session.ID, MaxAge: time.Hour})
	session.Created, session.Expires = in.Created, in.Expires
	return session, err
}

func signIn(t *testing.T, s *store.Store, n int) auth.Session {
	t.Helper()
	session, err := trySignIn(t.Context(), s, n)
	if err != nil {
		t.Fatalf("SignIn: %v", err)
	}
	return session
}

// raw opens the file as an operator's tool does.
func raw(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	return db
}

func run(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// STO-206.
func TestCreate(t *testing.T) {
	for _, umask := range []int{0, 0o777} {
		path := filepath.Join(t.TempDir(), "with ?#%20 odd.db")
		old := syscall.Umask(umask)
		s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + path, Create: true})
		syscall.Umask(old)
		if err != nil {
			t.Fatalf("Open with umask %o: %v", umask, err)
		}
		if !s.Created() {
			t.Error("a new store says that it is old")
		}
		signIn(t, s, 1)
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name())
			if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v, %v", entry.Name(), info.Mode(), err)
			}
		}
		base := filepath.Base(path)
		if diff := cmp.Diff([]string{base, base + "-shm", base + "-wal"}, names); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		var mode string
		if err := raw(t, "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)).
			QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
			t.Errorf("journal mode = %q, %v", mode, err)
		}
		if again := open(t, store.Config{URL: "sqlite:" + path, Create: true}); again.Created() {
			t.Error("an old store says that it is new")
		}
		_ = s.Close()
	}
}

// A morning's rush: all get in.
func TestManyAtOnce(t *testing.T) {
	s := open(t, store.Config{URL: "sqlite:" + newPath(t), Create: true, Timeout: time.Minute})
	var group sync.WaitGroup
	for n := range 1000 {
		group.Go(func() {
			if _, err := trySignIn(t.Context(), s, n); err != nil {
				t.Errorf("SignIn: %v", err)
			}
		})
	}
	group.Wait()
}

// Many may start at once; one makes the store, and nobody sees half of it.
func TestCreateAtOnce(t *testing.T) {
	createAtOnce(t, "sqlite:"+newPath(t), 8)
}

// createAtOnce opens a store that is not there as so many walls would, each of which
// signs somebody in.
func createAtOnce(t *testing.T, url string, walls int) {
	t.Helper()
	if _, err := store.Open(t.Context(), store.Config{URL: url}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open without Create: %v", err)
	}
	var created atomic.Int32
	var group sync.WaitGroup
	for n := range walls {
		group.Go(func() {
			s, err := store.Open(t.Context(), store.Config{URL: url, Create: true, Timeout: time.Minute})
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			defer s.Close()
			if s.Created() {
				created.Add(1)
			}
			if _, err := trySignIn(t.Context(), s, n); err != nil {
				t.Errorf("SignIn: %v", err)
			}
		})
	}
	group.Wait()
	s := open(t, store.Config{URL: url})
	users, _, err := s.Users(t.Context(), store.UserQuery{})
	if created.Load() != 1 || len(users) != walls || err != nil {
		t.Errorf("%d made it, %d users, %v", created.Load(), len(users), err)
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// STO-206.
func TestOpenClosesToOthers(t *testing.T) {
	path := made(t)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	open(t, store.Config{URL: "sqlite:" + path, Log: slog.New(slog.NewTextHandler(&log, nil))})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || !strings.Contains(log.String(), "WARN") {
		t.Errorf("mode = %v, %v, log %q", info.Mode(), err, log.String())
	}
}

// STO-206, STO-208.
func TestOpenRefuses(t *testing.T) {
	anyError := errors.New("any error")
	tests := map[string]struct {
		// prepare gets the path of a store and returns the path to open.
		prepare func(t *testing.T, path string) string
		create  bool
		want    error
		says    string
	}{
		"no store": {
			func(t *testing.T, path string) string { return filepath.Join(t.TempDir(), "x.db") },
			false, fs.ErrNotExist, "there is no store yet",
		},
		"no folder": {
			func(t *testing.T, path string) string { return filepath.Join(path+".d", "x.db") },
			true, fs.ErrNotExist, "make it",
		},
		"symbolic link": {
			func(t *testing.T, path string) string { return link(t, path) },
			true, anyError, "symbolic link",
		},
		"dangling link": {
			func(t *testing.T, path string) string { return link(t, path+".none") },
			true, anyError, "symbolic link",
		},
		"link beside": {
			func(t *testing.T, path string) string {
				if err := os.Symlink("/dev/null", path+"-wal"); err != nil {
					t.Fatal(err)
				}
				return path
			},
			true, anyError, "symbolic link",
		},
		"folder": {
			func(t *testing.T, path string) string { return t.TempDir() },
			true, anyError, "not a regular file",
		},
		"pipe": {
			func(t *testing.T, path string) string {
				if err := syscall.Mkfifo(path+".fifo", 0o600); err != nil {
					t.Fatal(err)
				}
				return path + ".fifo"
			},
			true, anyError, "not a regular file",
		},
		"empty": {
			func(t *testing.T, path string) string { return write(t, path, nil) },
			true, store.ErrCorrupt, "empty",
		},
		"text": {
			func(t *testing.T, path string) string {
				return write(t, path, []byte(strings.Repeat("Dear diary, ", 1000)))
			},
			true, store.ErrCorrupt, "backup",
		},
		"another SQLite file": {
			func(t *testing.T, _ string) string {
				path := filepath.Join(t.TempDir(), "diary.db")
				run(t, raw(t, path), "PRAGMA journal_mode=WAL", "CREATE TABLE users (diary TEXT)", "INSERT INTO users VALUES ('dear')")
				return path
			},
			true, store.ErrForeign, "not a store",
		},
		"another program's mark": {
			func(t *testing.T, path string) string { return change(t, path, "PRAGMA application_id = 1") },
			true, store.ErrForeign, "not a store",
		},
		"a trigger that lifts blocks": {
			func(t *testing.T, path string) string {
				return change(t, path, "CREATE TRIGGER x AFTER INSERT ON blocks BEGIN DELETE FROM blocks; END")
			},
			true, store.ErrForeign, "trigger x",
		},
		"a missing table": {
			func(t *testing.T, path string) string { return change(t, path, "DROP TABLE blocks") },
			true, store.ErrCorrupt, "blocks",
		},
		"a missing index": {
			func(t *testing.T, path string) string { return change(t, path, "DROP INDEX blocks_email") },
			true, store.ErrCorrupt, "index blocks_email",
		},
		"no version": {
			func(t *testing.T, path string) string { return change(t, path, "DELETE FROM meta") },
			true, store.ErrCorrupt, "version",
		},
		"odd version": {
			func(t *testing.T, path string) string { return change(t, path, "UPDATE meta SET value = '-1'") },
			true, store.ErrCorrupt, "version",
		},
		"too new": {
			func(t *testing.T, path string) string { return change(t, path, "UPDATE meta SET value = '999'") },
			true, store.ErrTooNew, "newer program",
		},
		"too old for a command": {
			func(t *testing.T, path string) string { return change(t, path, "UPDATE meta SET value = '0'") },
			false, store.ErrTooOld, "start the wall once",
		},
		"a log without a store": {
			func(t *testing.T, path string) string {
				write(t, path+"-wal", read(t, path))
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				return path
			},
			true, store.ErrCorrupt, "put the store back",
		},
	}
	for _, cut := range []int{1, 50, 99, 100, 512, 4095, 4096, 3 * 4096, 5*4096 + 77} {
		test := tests["empty"]
		test.says = ""
		test.prepare = func(t *testing.T, path string) string { return write(t, path, read(t, path)[:cut]) }
		tests[fmt.Sprint("cut off at ", cut)] = test
	}
	test := tests["empty"]
	test.says = ""
	test.prepare = func(t *testing.T, path string) string {
		whole := read(t, path)
		return write(t, path, whole[:len(whole)-1])
	}
	tests["cut off by one"] = test
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := test.prepare(t, made(t))
			before := snapshot(t, filepath.Dir(path))
			s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + path, Create: test.create})
			if err == nil {
				_ = s.Close()
				t.Fatal("opened it")
			}
			if test.want != anyError && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("error = %v, want %v and the words %q", err, test.want, test.says)
			}
			if diff := cmp.Diff(before, snapshot(t, filepath.Dir(path))); diff != "" {
				t.Errorf("it changed what it refused (-before +after):\n%.2000s", diff)
			}
		})
	}
	for _, url := range []string{"", "sqlite:", "loginwall.db", "postgres://localhost/x"} {
		if _, err := store.Open(t.Context(), store.Config{URL: url, Create: true}); err == nil {
			t.Errorf("opened %q", url)
		}
	}
}

func link(t *testing.T, target string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// change runs a statement on a store and leaves no log beside it.
func change(t *testing.T, path, statement string) string {
	t.Helper()
	db := raw(t, path)
	run(t, db, statement)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// snapshot is what a folder holds; SQLite's empty log and its index of it say nothing.
func snapshot(t *testing.T, folder string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			out[entry.Name()] = entry.Type().String()
			continue
		}
		content := read(t, filepath.Join(folder, entry.Name()))
		if strings.HasSuffix(entry.Name(), "-shm") || strings.HasSuffix(entry.Name(), "-wal") && len(content) == 0 {
			continue
		}
		out[entry.Name()] = string(content)
	}
	return out
}

// A flipped byte is refused, or does no harm, and never makes a fresh store.
func TestOpenFlippedBytes(t *testing.T) {
	path := made(t)
	whole := read(t, path)
	const page = 4096
	var positions []int
	for at := 0; at < len(whole); at += 3001 {
		positions = append(positions, at)
	}
	for at := page; at < len(whole); at += page {
		positions = append(positions, at) // the byte that tells what a page is
	}
	refused := 0
	for _, at := range positions {
		kind := at%page == 0 && at > 0
		flipped := []byte(string(whole))
		flipped[at] ^= 0xff
		write(t, path, flipped)
		s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + path, Create: true})
		if err != nil {
			refused++
			continue
		}
		if kind {
			t.Errorf("byte %d: opened, though the page cannot be read", at)
		}
		if s.Created() {
			t.Errorf("byte %d: made a new store", at)
		}
		_, err = s.SignIn(t.Context(), auth.SignIn{
			Identity: auth.Identity{Issuer: "i", Subject: "s", Email: "blocked@example.com", EmailVerified: true}, Session: "new", MaxAge: time.Hour,
		})
		if err == nil {
			t.Errorf("byte %d: the block is gone", at)
		}
		if err := s.Close(); err != nil {
			t.Errorf("byte %d: Close: %v", at, err)
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	t.Logf("refused %d of %d", refused, len(positions))
}

// In a large store opening looks at the blocks, and Verify at all the rest.
func TestLargeStore(t *testing.T) {
	path := made(t)
	fill(t, path, 6_000, 2500)
	s := open(t, store.Config{URL: "sqlite:" + path})
	if err := s.Verify(t.Context()); err != nil {
		t.Fatalf("Verify: %v", err)
	}
	users := make(map[auth.UserID]bool)
	for u, err := range s.AllUsers(t.Context(), store.UserQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		users[u.ID] = true
	}
	sessions := make(map[auth.SessionID]bool)
	for session, err := range s.AllSessions(t.Context(), store.SessionQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		sessions[session.ID] = true
	}
	if len(users) != 6_020 || len(sessions) != 2520 {
		t.Errorf("%d users, %d sessions", len(users), len(sessions))
	}
	_ = s.Close()

	whole := string(read(t, path))
	flip := func(at int) error {
		content := []byte(whole)
		content[at] ^= 1
		s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + write(t, path, content)})
		if err != nil {
			return err
		}
		defer s.Close()
		return s.Verify(t.Context())
	}
	if err := flip(strings.LastIndex(whole, "user5500@")); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "verify:") {
		t.Errorf("a user's index: %v", err)
	}
	refused := 0
	for at, next := 0, 0; next >= 0; at += next + 1 {
		if next = strings.Index(whole[at:], "blocked@example.com"); next >= 0 {
			if err := flip(at + next); errors.Is(err, store.ErrCorrupt) && !strings.Contains(err.Error(), "verify:") {
				refused++
			}
		}
	}
	if refused != 3 { // the row and its two indexes
		t.Errorf("opening found %d of 3 flips in the blocks", refused)
	}
}

// fill adds users and expired sessions faster than they can sign in.
func fill(t testing.TB, path string, users, sessions int) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		"PRAGMA synchronous = OFF",
		fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT OR IGNORE INTO users
			SELECT printf('user%%022d', i), 'https://accounts.example.com', i, 'user' || i || '@example.com', 1, 'User ' || i, '', 'example.com',
			'user' || i || '@example.com user ' || i, 1700000000000 + i, 1700000000000 + i, 1700001000000 + (i * 7919) %% 100000, 1 FROM n`, max(users, 1)),
		`INSERT OR IGNORE INTO user_words SELECT id, email FROM users UNION ALL SELECT id, subject FROM users
			UNION ALL SELECT id, 'example.com' FROM users UNION ALL SELECT id, '@example.com' FROM users`,
		fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO sessions
			SELECT lower(hex(randomblob(13))), printf('user%%022d', 1 + (i * 7919) %% %d), '', 1700000000000 + i, 1700003600000 + i, 1700000000000 + i,
			'192.0.2.1', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36', 0, '', '' FROM n`, max(sessions, 1), max(users, 1)),
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func wantSessions(t *testing.T, s *store.Store, want []auth.Session) {
	t.Helper()
	for _, session := range want {
		if _, err := s.Session(t.Context(), session.ID); err != nil {
			t.Errorf("acknowledged, but: %v", err)
		}
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// STO-204: another program keeps the file locked: writes fail in time, reads go on.
func TestLocked(t *testing.T) {
	path := made(t)
	s := open(t, store.Config{URL: "sqlite:" + path, Timeout: 5 * time.Second})
	db := raw(t, path)
	run(t, db, "BEGIN IMMEDIATE")
	start := time.Now()
	_, err := trySignIn(t.Context(), s, 1)
	if took := time.Since(start); !errors.Is(err, auth.ErrUnavailable) || took > time.Minute {
		t.Errorf("SignIn: %v after %v", err, took)
	}
	if _, err := s.Revocations(t.Context(), 0); err != nil {
		t.Errorf("Revocations: %v", err)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("Ping: %v", err)
	}
	run(t, db, "ROLLBACK")
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping afterwards: %v", err)
	}
	signIn(t, s, 1)
}

// STO-204: a disk that does not answer holds nobody up for longer than the timeout.
func TestHang(t *testing.T) {
	var mu sync.Mutex
	var observed []string
	s := open(t, store.Config{
		URL: "sqlite:" + made(t), Timeout: 500 * time.Millisecond,
		Observe: func(_ context.Context, what string, _ time.Duration, err error) {
			mu.Lock()
			defer mu.Unlock()
			if what != "sign ins" { // their transaction, which ends about when its callers do
				observed = append(observed, fmt.Sprint(what, " ", errors.Is(err, auth.ErrUnavailable)))
			}
		},
	})
	heal := make(chan struct{})
	s.Hang(heal)
	if _, err := trySignIn(t.Context(), s, 1); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("SignIn: %v", err)
	}
	if _, err := s.Block(t.Context(), store.Who{Email: "a@example.com"}, "x", ""); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("Block: %v", err)
	}
	close(heal)
	for deadline := time.Now().Add(time.Minute); s.Ping(t.Context()) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("does not heal")
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(observed) < 3 || observed[0] != "sign in true" || observed[1] != "block true" {
		t.Errorf("observed %v", observed)
	}
}

// What vanished or was put in the place of the open file must not be written to.
func TestReplaced(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"removed":  os.Remove,
		"replaced": func(path string) error { return os.Rename(made(t), path) },
	} {
		t.Run(name, func(t *testing.T) {
			path := made(t)
			s := open(t, store.Config{URL: "sqlite:" + path})
			if err := replace(path); err != nil {
				t.Fatal(err)
			}
			if _, err := trySignIn(t.Context(), s, 1); !errors.Is(err, auth.ErrUnavailable) {
				t.Errorf("SignIn: %v", err)
			}
			if _, err := s.Revocations(t.Context(), 0); !errors.Is(err, auth.ErrUnavailable) {
				t.Errorf("Revocations: %v", err)
			}
			if err := s.Ping(t.Context()); !errors.Is(err, auth.ErrUnavailable) {
				t.Errorf("Ping: %v", err)
			}
		})
	}
}

// STO-211: the clock may go anywhere; sessions stay behind their cut-off, and what has
// expired stays so.
func TestClock(t *testing.T) {
	var now atomic.Int64
	set := func(at time.Time) { now.Store(at.UnixMilli()) }
	s := open(t, store.Config{
		URL: "sqlite:" + newPath(t), Create: true,
		Now: func() time.Time { return time.UnixMilli(now.Load()) },
	})
	cutOff := func(n int) time.Time {
		id := person(n)
		if _, err := s.EndSessionsOf(t.Context(), id.UserID(), "x", auth.EndByAdmin); err != nil {
			t.Fatal(err)
		}
		feed, err := s.Revocations(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return feed.Rows[len(feed.Rows)-1].At
	}
	base := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var last time.Time
	for _, at := range []time.Time{
		base, base, base.AddDate(0, 0, 1), base.AddDate(0, 0, -1), time.UnixMilli(1),
		time.Date(2039, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC), base,
	} {
		set(at)
		session := signIn(t, s, 1)
		if !session.Created.After(last) || session.Expires.Sub(session.Created) != time.Hour {
			t.Errorf("at %v: created %v, expires %v, last cut-off %v", at, session.Created, session.Expires, last)
		}
		if cut := cutOff(1); cut.Before(session.Created) || !cut.After(last) {
			t.Errorf("at %v: cut-off %v, created %v, before %v", at, cut, session.Created, last)
		} else {
			last = cut
		}
	}

	// A session from before the clock was put back.
	set(base.AddDate(0, 0, 1))
	early := signIn(t, s, 3)
	set(base)
	if cut := cutOff(3); cut.Before(early.Created) {
		t.Errorf("cut-off %v, created %v", cut, early.Created)
	}

	// A cut-off never goes back, even when the store has no session to tell from.
	set(base.AddDate(0, 0, 1))
	before := cutOff(4)
	set(base)
	if cut := cutOff(4); !cut.After(before) {
		t.Errorf("cut-off went from %v to %v", before, cut)
	}

	// The feed forgets what has expired an hour ago, Prune drops it, blocks stay.
	set(base)
	session := signIn(t, s, 2)
	if err := s.EndSession(t.Context(), auth.Ending{Session: session.ID, Expires: session.Expires, By: "x"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Block(t.Context(), store.Who{Email: "a@example.com"}, "x", ""); err != nil {
		t.Fatal(err)
	}
	keys := func() (keys []string) {
		feed, err := s.Revocations(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range feed.Rows {
			if r.Kind != auth.RevokeUser {
				keys = append(keys, r.Key)
			}
		}
		return keys
	}
	for _, step := range []struct {
		at   time.Duration
		want []string
	}{
		{90 * time.Minute, []string{string(session.ID), "a@example.com"}},
		{3 * time.Hour, []string{"a@example.com"}},
		{0, []string{"a@example.com"}}, // pruned, so the clock's return does not bring it back
		{20 * 365 * 24 * time.Hour, []string{"a@example.com"}},
	} {
		set(base.Add(step.at))
		if err := s.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, keys()); diff != "" {
			t.Errorf("after %v (-want +got):\n%s", step.at, diff)
		}
	}
}

// What is acknowledged must outlast the loss of power, which no test can take away.
func TestDurability(t *testing.T) {
	s := open(t, store.Config{URL: "sqlite:" + made(t)})
	const full = "2"
	if got := s.Pragma(t, "synchronous"); got != full {
		t.Errorf("synchronous = %s, want %s", got, full)
	}
}

// STO-209: a copy that an operator made of a running store is a store.
func TestBackup(t *testing.T) {
	path := made(t)
	s := open(t, store.Config{URL: "sqlite:" + path})
	session := signIn(t, s, 1)
	backup := filepath.Join(t.TempDir(), "backup.db")
	run(t, raw(t, path), "VACUUM INTO '"+backup+"'")
	late := signIn(t, s, 2)
	s = open(t, store.Config{URL: "sqlite:" + backup})
	wantSessions(t, s, []auth.Session{session})
	if _, err := s.Session(t.Context(), late.ID); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("a session from after the copy: %v", err)
	}
	if _, err := s.Block(t.Context(), store.Who{Email: "a@example.com"}, "x", ""); err != nil {
		t.Errorf("Block: %v", err)
	}
}

// STO-210: what has expired is taken out while people sign in, who do not wait for
// it, and the room is used again.
func TestPruneManyWhilePeopleSignIn(t *testing.T) {
	path := newPath(t)
	s := open(t, store.Config{URL: "sqlite:" + path, Create: true, KeepSessions: time.Millisecond})
	many := expired()
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	fill(t, path, 100, many)
	run(t, raw(t, path), "PRAGMA wal_checkpoint(TRUNCATE)")
	full := size()
	signIns := pruneWhilePeopleSignIn(t, s)
	var left int64
	if err := raw(t, path).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM sessions").Scan(&left); err != nil || left != signIns {
		t.Errorf("%d sessions are left of %d, %v", left, signIns, err)
	}
	fill(t, path, 1, many*9/10)
	run(t, raw(t, path), "PRAGMA wal_checkpoint(TRUNCATE)")
	if again := size(); again > full*11/10+signIns<<10 {
		t.Errorf("the file grew from %d to %d", full, again)
	}
	t.Logf("%d MB", full>>20)
}

const fewExpired = 1_500

// expired is how many sessions the tests of Prune take out: EXPIRED, for figures, as
// in EXPIRED=1000000 go test -v -timeout 1h -run 'TestPruneMany|TestPostgres/Prune'.
func expired() int {
	if n, err := strconv.Atoi(os.Getenv("EXPIRED")); err == nil {
		return n
	}
	return fewExpired
}

// pruneWhilePeopleSignIn returns how many did; where EXPIRED is set, none waited long.
func pruneWhilePeopleSignIn(t *testing.T, s *store.Store) (signIns int64) {
	t.Helper()
	began := time.Now()
	pruned := make(chan error, 1)
	go func() { pruned <- s.Prune(t.Context()) }()
	var took []time.Duration
	for done := false; !done; signIns++ {
		select {
		case err := <-pruned:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
		start := time.Now()
		signIn(t, s, 1)
		took = append(took, time.Since(start))
		time.Sleep(5 * time.Millisecond) // some people, not a flood
	}
	// The bar is 50 ms; this leaves room for a machine that does other things, and
	// none for a prune in one piece. One sync of a busy disk may take longer, so that
	// it counts only where figures are wanted.
	slices.Sort(took)
	slowest := took[len(took)-1]
	t.Logf("pruned %d sessions in %v; %d sign-ins meanwhile took %v (p50), %v (p99), %v (max)", expired(), time.Since(began), len(took), took[len(took)/2], took[len(took)*99/100], slowest)
	if os.Getenv("EXPIRED") != "" && slowest > time.Second {
		t.Errorf("a sign-in waited %v", slowest)
	}
	return signIns
}
