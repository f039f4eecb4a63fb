package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// applicationID marks our files, as PRAGMA application_id; "lgwl".
	applicationID = 0x6c67776c
	// readers is the size of the pool: requests of the directory and the poll of the feed.
	readers = 4
	// smallFile is up to where every page is looked at on opening: a few
	// milliseconds' worth.
	smallFile = 4 << 20
)

func sqliteWords() *strings.Replacer {
	return strings.NewReplacer("SERIAL_KEY", "INTEGER PRIMARY KEY")
}

// beside are the names of SQLite's own files behind the store's.
func beside(path string) []string { return []string{path + "-wal", path + "-shm", path + "-journal"} }

// openSQLite opens the file at path, or makes it.
func openSQLite(ctx context.Context, path string, c Config) (_ *engine, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("resolve path: %w", err)
	}
	want, err := newSchema(migrations, sqliteWords())
	if err != nil {
		return nil, err
	}
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	created := false
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if !c.Create {
			return nil, fmt.Errorf("there is no store yet: %w (the wall makes it when it first starts)", err)
		}
		if created, err = createSQLite(ctx, path, want); err != nil {
			return nil, err
		}
	}
	opened, err := checkFile(path, c.Log)
	if err != nil {
		return nil, err
	}
	// A connection that cannot write looks first, so that what is refused stays as it was.
	upgrade := false
	if err := inspect(ctx, path, opened.Size(), want); errors.Is(err, ErrTooOld) && c.Create {
		upgrade = true
	} else if err != nil {
		return nil, explain(err)
	}

	e := &engine{alone: true, created: created, epoch: `''`, snapshot: "BEGIN"}
	e.there = func() error {
		now, err := os.Lstat(path)
		if err != nil {
			return fmt.Errorf("look for the store: %w", err)
		}
		if !os.SameFile(now, opened) {
			return errors.New("the store's file was replaced while it was open (restart)")
		}
		return nil
	}
	if e.writer, err = connect(path, "rw", "journal_mode(WAL)", "synchronous(FULL)", "journal_size_limit(67108864)"); err != nil {
		return nil, err
	}
	e.writer.SetMaxOpenConns(1) // writers take turns here, in order, rather than by polling a lock
	if e.reader, err = connect(path, "rw", "query_only(1)"); err != nil {
		return nil, errors.Join(err, e.writer.Close())
	}
	e.feed = e.reader
	e.reader.SetMaxOpenConns(readers)
	e.reader.SetConnMaxIdleTime(time.Minute)
	e.verify = func(ctx context.Context) error { return verify(ctx, e.reader, "PRAGMA integrity_check(1)") }
	if err := prepare(ctx, e.writer, want, upgrade); err != nil {
		return nil, errors.Join(explain(err), e.reader.Close(), e.writer.Close())
	}
	return e, nil
}

// prepare makes sure that the file can be written, in WAL mode, and upgrades it.
func prepare(ctx context.Context, writer *sql.DB, want schema, upgrade bool) error {
	var mode string
	if err := writer.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode); err != nil {
		return fmt.Errorf("read journal mode: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("the file system allows no write-ahead log (journal mode %q); put the store on a local disk", mode)
	}
	if upgrade {
		_, err := want.migrate(ctx, writer)
		return err
	}
	tx, err := writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("lock for writing: %w", err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `UPDATE counters SET value = value WHERE name = 'feed'`); err != nil {
		return fmt.Errorf("try to write: %w", err)
	}
	return nil
}

// createSQLite makes the store under another name and links it into place when
// it is whole, so nobody ever finds half a store, and an empty file under the
// store's name is always damage. It reports false when another process was first.
func createSQLite(ctx context.Context, path string, want schema) (created bool, err error) {
	for _, name := range beside(path) {
		// Its pages would be taken for the new store's.
		if _, err := os.Lstat(name); err == nil {
			if _, err := os.Lstat(path); err == nil {
				return false, nil // another process was first
			}
			return false, fmt.Errorf("%w: the store is missing but %s is there (put the store back, or move that file away)", ErrCorrupt, filepath.Base(name))
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600, for us alone
	if err != nil {
		return false, fmt.Errorf("create: %w", err)
	}
	temp := f.Name()
	defer func() {
		for _, name := range append(beside(temp), temp) {
			_ = os.Remove(name)
		}
	}()
	err = errors.Join(f.Chmod(0o600), f.Close()) // whatever the umask says
	if err != nil {
		return false, fmt.Errorf("create: %w", err)
	}
	db, err := connect(temp, "rw", fmt.Sprintf("application_id(%d)", applicationID), "journal_mode(WAL)", "synchronous(FULL)")
	if err != nil {
		return false, err
	}
	_, err = want.migrate(ctx, db)
	if err := errors.Join(err, db.Close()); err != nil {
		return false, explain(fmt.Errorf("create: %w", err))
	}
	if err := os.Link(temp, path); errors.Is(err, fs.ErrExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("create: %w (the file system must know hard links)", err)
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return true, fmt.Errorf("open folder: %w", err)
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil { // else the name may be lost with the power
		return true, fmt.Errorf("sync folder: %w", err)
	}
	return true, nil
}

func checkFolder(folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return fmt.Errorf("look at its folder: %w (make it, owned by the account that runs the wall)", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", folder)
	}
	name, err := networkFileSystem(folder)
	if err != nil {
		return fmt.Errorf("look at its file system: %w", err)
	}
	if name != "" {
		return fmt.Errorf("%s is on a network file system (%s), where an embedded store would be damaged (use a local disk)", folder, name)
	}
	return nil
}

// checkFile looks at the names before SQLite opens them. It opens nothing itself:
// closing a file drops all POSIX locks that this process holds on it, those of
// another Store included.
func checkFile(path string, log *slog.Logger) (fs.FileInfo, error) {
	logged := false
	for _, name := range append(beside(path), path) {
		info, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) && name != path {
			continue
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("look at file: %w", err)
		case info.Mode()&fs.ModeSymlink != 0:
			return nil, fmt.Errorf("%s is a symbolic link (name the file itself)", name)
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s is not a regular file", name)
		}
		if info.Mode().Perm()&0o077 != 0 {
			if err := os.Chmod(name, 0o600); err != nil {
				return nil, fmt.Errorf("others may read or write %s, and that cannot be changed: %w", name, err)
			}
			log.Warn("others could read or write a file of the store; its mode is 0600 now",
				slog.String("file", name), slog.String("mode", info.Mode().Perm().String()))
		}
		if name != path {
			logged = logged || strings.HasSuffix(name, "-wal") && info.Size() > 0
			continue
		}
		// SQLite takes the empty file for a new database, and forgives half a page at
		// the end, which is harmless only while a log holds the whole of it.
		const sector = 512
		if size := info.Size(); size < sector || size%sector != 0 && !logged {
			return nil, fmt.Errorf("%w: the file is empty or cut off (put a backup back, or move it away and start anew: "+
				"what was blocked or ended is forgotten then)", ErrCorrupt)
		}
		return info, nil
	}
	return nil, errors.New("unreachable") // path is the last of the names
}

// inspect tells ours from others' and whole from damaged, as far as an instant allows.
func inspect(ctx context.Context, path string, size int64, want schema) error {
	db, err := connect(path, "ro")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	// The first read of all: SQLite compares the header with the file's length here.
	var id int64
	if err := db.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&id); err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	if id != applicationID {
		return fmt.Errorf("%w (application id %#x)", ErrForeign, id)
	}
	have, err := version(ctx, db)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: no schema version", ErrCorrupt)
	} else if err != nil {
		return err
	}
	if err := want.judge(have); err != nil {
		return err
	}
	if err := compareSchema(ctx, db, want); err != nil {
		return err
	}
	// The few rows that keep people out are compared with their indexes in any file.
	if err := verify(ctx, db, `PRAGMA integrity_check(blocks)`); err != nil || size > smallFile {
		return err
	}
	return verify(ctx, db, `PRAGMA quick_check(1)`)
}

// compareSchema finds the tables and indexes as the migrations make them.
func compareSchema(ctx context.Context, db *sql.DB, want schema) error {
	memory, err := connect("", "memory")
	if err != nil {
		return err
	}
	defer memory.Close()
	memory.SetMaxOpenConns(1) // each connection would be a database of its own
	if _, err := want.migrate(ctx, memory); err != nil {
		return err
	}
	expected, err := objects(ctx, memory)
	if err != nil {
		return err
	}
	found, err := objects(ctx, db)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(expected)) {
		if found[name] != expected[name] {
			return fmt.Errorf("%w: %s is not what it should be", ErrCorrupt, name)
		}
	}
	for name := range found {
		// An index of the operator's own does no harm; a trigger might lift blocks.
		if _, known := expected[name]; !known && !strings.HasPrefix(name, "index ") {
			return fmt.Errorf("%w: it also holds %s", ErrForeign, name)
		}
	}
	return nil
}

func objects(ctx context.Context, db *sql.DB) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, `SELECT type || ' ' || name, COALESCE(sql, '') FROM sqlite_master WHERE name NOT LIKE 'sqlite\_stat_' ESCAPE '\'`)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	defer rows.Close()
	out := make(map[string]string)
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return nil, fmt.Errorf("read schema: %w", err)
		}
		out[name] = text
	}
	return out, rows.Err()
}

func verify(ctx context.Context, db *sql.DB, check string) error {
	var verdict string
	if err := db.QueryRowContext(ctx, check).Scan(&verdict); err != nil {
		return explain(fmt.Errorf("check pages: %w", err))
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", ErrCorrupt, verdict)
	}
	return nil
}

// connect makes a pool of connections to one file; the first is opened at its
// first use. The file is never created by it.
func connect(path, mode string, pragmas ...string) (*sql.DB, error) {
	pragmas = append([]string{
		"busy_timeout(5000)", // first: switching to WAL may have to wait
		"foreign_keys(1)",
		"trusted_schema(0)",
		"temp_store(memory)", // the only folder we may write to is the store's own
	}, pragmas...)
	name := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"mode":       {mode},
		"_pragma":    pragmas,
		"_txlock":    {"immediate"},
		"_defensive": {"1"},
		"_dqs":       {"0"},
	}.Encode()}
	connector, err := sqlite.NewConnector(name.String())
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return sql.OpenDB(preparing{connector}), nil
}

// explain adds our word, and what to do, to what SQLite says of a file.
func explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR:
		return fmt.Errorf("%w: %w (put a backup back)", ErrCorrupt, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return fmt.Errorf("%w (the account that runs the wall must be able to write the file and its folder)", err)
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("%w (another program keeps the file locked)", err)
	}
	return err
}
