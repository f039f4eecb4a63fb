package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/loginwall/loginwall/auth"
)

// Why a store was refused by Open; test with errors.Is. Nothing was changed.
var (
	// ErrForeign: the file is a database, but not one of ours.
	ErrForeign = errors.New("not a store of loginwall")
	// ErrCorrupt: the file is no database, is cut off, or contradicts itself.
	ErrCorrupt = errors.New("damaged store")
	// ErrTooNew: a newer release wrote the store.
	ErrTooNew = errors.New("store of a newer release")
	// ErrTooOld: the store is of an older release and Config.Create is not set.
	ErrTooOld = errors.New("store of an older release")
)

// Config is what Open needs. Only URL is required.
type Config struct {
	// URL is sqlite:PATH, relative to the working directory, or postgres://…, as
	// libpq reads it, with a password. It is never repeated in logs or errors.
	URL string
	// Create makes a store where there is none, and brings the schema of an older
	// one up to date. Only a wall that serves sets it, no other command.
	Create bool
	// Timeout bounds each call, a page of a walk for instance, and a write from the
	// call to the answer, whatever the disk does; 0 means 10s.
	Timeout time.Duration
	// KeepSessions is how long a session stays listed after it has expired; 0
	// means 90 days.
	KeepSessions time.Duration
	// KeepCutOff is how long "end all of this user's sessions" is remembered; at
	// least until every recorded session has expired in any case, so it matters for
	// sessions that another store recorded. 0 means 400 days.
	KeepCutOff time.Duration
	// KeepEvents is how many events of each kind survive Prune; 0 means 100,000.
	KeepEvents int
	// KeepDenied is the same for EventDenied, which strangers cause; 0 means 10,000.
	KeepDenied int
	// Log gets the few things that an operator should know; nil discards them.
	Log *slog.Logger
	// Observe, when set, is told of every call: a fixed word for what was done, how
	// long it took, and how it ended. It must be quick and safe for concurrent use.
	Observe func(ctx context.Context, what string, took time.Duration, err error)
	// Recorded, when set, is told of every event once it is on disk, with the context
	// of the call that caused it. It must be quick and safe for concurrent use.
	Recorded func(context.Context, auth.Event)
	// Now is the clock of an embedded store, and times calls; nil means time.Now.
	Now func() time.Time
}

// A Store is one open store, safe for concurrent use. Make it with Open.
type Store struct {
	config Config
	engine *engine
	// failed is set by a write that failed and cleared by one that did not.
	failed atomic.Bool
	// together is for an engine that is alone.
	together together
	// epoch is of the server that told the feed last.
	epoch atomic.Pointer[string]
}

// An engine is an opened database and all in which databases differ; the SQL is
// the same for each.
type engine struct {
	// writer, reader and feed may be the same pool. feed has one connection that
	// nothing else waits for.
	writer, reader, feed *sql.DB
	isolation            sql.IsolationLevel
	// alone says that nobody makes one wait for the disk of several transactions.
	alone bool
	// created says that the store was made by this call.
	created bool
	// begin, the first statement of a transaction that writes, locks the counters
	// that are LIKE $1 and then tells the server's time in ms. It is empty where
	// transactions take turns anyway and the process's own clock is the store's;
	// clock, an SQL expression for the same time, is empty then, too.
	begin, clock string
	// epoch is an SQL expression, a text that changes when another server, or the
	// same one restarted, answers: it may have forgotten the last it had said.
	epoch string
	// snapshot begins a transaction that only reads, all of it at one moment;
	// renumber, where it is not empty, lets events number themselves behind those
	// that were copied.
	snapshot, renumber string
	// again, where it is not nil, tells whether a transaction that failed did
	// nothing, and may well succeed at the next try.
	again func(error) bool
	// there reports an error when the database that was opened is no longer the
	// one that the URL names.
	there func() error
	// verify reads the whole database and reports what is inconsistent.
	verify func(context.Context) error
}

func (e *engine) close() error {
	return errors.Join(e.feed.Close(), e.reader.Close(), e.writer.Close())
}

// Open opens the store, and with Config.Create makes it or brings it up to date.
// It refuses what it does not know (the errors above), and changes nothing of
// what it refuses. Several processes of one host may have an embedded store
// open at once.
func Open(ctx context.Context, c Config) (*Store, error) {
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.KeepSessions = cmp.Or(c.KeepSessions, 90*24*time.Hour)
	c.KeepCutOff = cmp.Or(c.KeepCutOff, 400*24*time.Hour)
	c.KeepEvents = cmp.Or(c.KeepEvents, 100_000)
	c.KeepDenied = cmp.Or(c.KeepDenied, 10_000)
	if c.Timeout < 0 || c.KeepSessions < 0 || c.KeepCutOff < 0 || c.KeepEvents < 0 || c.KeepDenied < 0 {
		return nil, errors.New("store: a limit below zero")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	var e *engine
	var err error
	kind, path, _ := strings.Cut(c.URL, ":")
	switch {
	case kind == "sqlite" && path != "":
		e, err = openSQLite(ctx, path, c)
	case kind == "postgres", kind == "postgresql":
		path = redactPostgres(c.URL)
		e, err = openPostgres(ctx, c.URL, c)
	default:
		return nil, errors.New("store: the URL is neither sqlite:PATH nor postgres://…")
	}
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", path, err)
	}
	return &Store{config: c, engine: e}, nil
}

// Created reports whether Open made the store new.
func (s *Store) Created() bool { return s.engine.created }

// Close ends all connections; calls under way fail with auth.ErrUnavailable.
func (s *Store) Close() error { return s.engine.close() }

// Ping reports whether the store can serve: it reads, and after a write has
// failed it writes too, so that "ready" is not said again before it is true.
func (s *Store) Ping(ctx context.Context) error {
	if s.failed.Load() {
		// About as much as a sign-in writes, lest a full disk look healthy.
		_, err := write(ctx, s, "ping", noTurn, func(t *tx) (int64, error) {
			return t.exec(`INSERT INTO meta (name, value) VALUES ('probe', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
				strings.Repeat("0", 1<<16))
		})
		if err != nil {
			return err
		}
		_, err = write(ctx, s, "ping", noTurn, func(t *tx) (int64, error) { return t.exec(`DELETE FROM meta WHERE name = 'probe'`) })
		return err
	}
	return s.read(ctx, "ping", func(ctx context.Context, _ *sql.DB) error {
		var n int64
		return s.engine.feed.QueryRowContext(ctx, `SELECT value FROM counters WHERE name = 'feed'`).Scan(&n)
	})
}

// Verify reads the whole store and reports damage as ErrCorrupt. Open only looks
// at what can be looked at in an instant.
func (s *Store) Verify(ctx context.Context) error {
	if err := s.engine.verify(ctx); err != nil {
		return fmt.Errorf("store: verify: %w", err)
	}
	return nil
}

// A tx is one transaction that writes. It lives as long as its context.
type tx struct {
	ctx context.Context
	sql *sql.Tx
	// now is the store's clock in ms, read behind the lock.
	now int64
	// events are those that the transaction records.
	events []auth.Event
}

// A turn is what a transaction locks before all else, where transactions of
// several processes run at once; it is the LIKE pattern of names in counters.
// What f reads then stays true until its commit.
type turn string

const (
	// noTurn is for what no other transaction looks at before it writes.
	noTurn turn = ""
	// feedTurn is for what adds to the feed.
	feedTurn turn = "feed"
	// everyDoor is for what adds to the feed and must see every sign-in: none is
	// under way then.
	everyDoor turn = "door%"
)

// doorOf is the turn of a sign-in. Of one address only one is under way.
func doorOf(text string) turn {
	return turn(fmt.Sprintf("door%x", crc32.ChecksumIEEE([]byte(text))%16))
}

// write is the one door for whatever changes the store: f runs in a transaction
// that is on disk when write returns without error. It may run several times.
//
// It returns when the context or Config.Timeout ends, even if the disk hangs
// and the transaction cannot be called back: the goroutine that waits for it
// is left behind, and whoever comes next waits for the lock, bounded as well.
// The outcome is then unknown, as after any lost connection; callers say 503.
// So f must be free of effects outside its transaction.
func write[T any](ctx context.Context, s *Store, what string, turn turn, f func(*tx) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	start := s.config.Now()
	bounded, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		var r result
		r.err = retry(bounded, s.engine.again, func() (err error) {
			r.value, err = transact(bounded, s, turn, f)
			return err
		})
		done <- r
	}()
	var r result
	select {
	case r = <-done:
	case <-bounded.Done():
		r.err = bounded.Err()
	}
	r.err = s.wrap(what, r.err)
	if ctx.Err() == nil { // a caller who went away says nothing about the store
		s.failed.Store(errors.Is(r.err, auth.ErrUnavailable))
	}
	s.observe(ctx, what, start, r.err)
	if r.err != nil {
		var zero T
		return zero, r.err
	}
	return r.value, nil
}

// retry repeats what again says may succeed, a few times.
func retry(ctx context.Context, again func(error) bool, f func() error) error {
	const most, wait = 10, 10 * time.Millisecond
	for try := 1; ; try++ {
		err := f()
		if try == most || again == nil || !again(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(wait << try)): //nolint:gosec // no secret: so as not to be in step with the others
		}
	}
}

func transact[T any](ctx context.Context, s *Store, turn turn, f func(*tx) (T, error)) (value T, err error) {
	if err := s.engine.there(); err != nil {
		return value, err
	}
	t := &tx{ctx: ctx}
	if t.sql, err = s.engine.writer.BeginTx(ctx, &sql.TxOptions{Isolation: s.engine.isolation}); err != nil {
		return value, fmt.Errorf("begin: %w", err)
	}
	defer t.sql.Rollback() // a no-op once committed
	if s.engine.alone {
		// A statement waits for nobody there; to watch over each would cost a goroutine.
		t.ctx = context.WithoutCancel(ctx)
	}
	if err := t.begin(s, turn); err != nil {
		return value, fmt.Errorf("begin: %w", err)
	}
	if value, err = f(t); err != nil {
		return value, err
	}
	if err = t.sql.Commit(); err != nil {
		return value, fmt.Errorf("commit: %w", err)
	}
	for _, e := range t.events {
		if s.config.Recorded != nil {
			s.config.Recorded(ctx, e)
		}
	}
	return value, nil
}

// begin waits for the turn and then looks at the clock.
func (t *tx) begin(s *Store, turn turn) (err error) {
	if s.engine.begin == "" {
		t.now = s.config.Now().UnixMilli()
		return nil
	}
	if turn == everyDoor { // doors are many: who holds the feed is alone in wanting all
		if err := t.begin(s, feedTurn); err != nil {
			return err
		}
	}
	_, err = t.get(s.engine.begin, []any{turn}, &t.now, new(string))
	return err
}

func (s *Store) read(ctx context.Context, what string, f func(context.Context, *sql.DB) error) error {
	start := s.config.Now()
	err := s.engine.there()
	if err == nil {
		bounded, cancel := context.WithTimeout(ctx, s.config.Timeout)
		defer cancel()
		err = f(bounded, s.engine.reader)
	}
	err = s.wrap(what, err)
	s.observe(ctx, what, start, err)
	return err
}

// wrap names the action. Whatever a database may complain of means that the
// store is away: callers refuse, and the same call may succeed later.
func (s *Store) wrap(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, auth.ErrBlocked), errors.Is(err, auth.ErrNotFound):
		return fmt.Errorf("store: %s: %w", what, err)
	default:
		return fmt.Errorf("store: %s: %w: %w", what, auth.ErrUnavailable, err)
	}
}

func (s *Store) observe(ctx context.Context, what string, start time.Time, err error) {
	if s.config.Observe != nil {
		s.config.Observe(ctx, what, s.config.Now().Sub(start), err)
	}
}

// clock reads the store's time.
func (s *Store) clock(ctx context.Context) (time.Time, error) {
	if s.engine.clock == "" {
		return s.config.Now(), nil
	}
	var now int64
	err := s.read(ctx, "clock", func(ctx context.Context, db *sql.DB) error {
		return db.QueryRowContext(ctx, `SELECT `+s.engine.clock).Scan(&now)
	})
	return moment(now), err
}

// exec returns how many rows were changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	r, err := t.sql.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// get reads one row; found is false when there is none.
func (t *tx) get(query string, args []any, into ...any) (found bool, err error) {
	err = t.sql.QueryRowContext(t.ctx, query, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// pairs reads all rows of two texts.
func (t *tx) pairs(query string, args ...any) ([][2]string, error) {
	rows, err := t.sql.QueryContext(t.ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out [][2]string
	for rows.Next() {
		var p [2]string
		if err := rows.Scan(&p[0], &p[1]); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// stamp and moment translate between times and the store's milliseconds.
func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// text makes a string fit for every database: valid UTF-8, without NUL, and no
// longer than a row should be. What others chose (names, agents) passes here.
func text(s string) string {
	const most = 1024
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}
