package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrations embed.FS

// A schema is a list of migrations; the version of a store is how many of them
// it has seen.
type schema []string

// newSchema reads the migrations in the order of their names and fills in the
// engine's own words.
func newSchema(files fs.FS, words *strings.Replacer) (schema, error) {
	names, err := fs.Glob(files, "migrations/*.sql") // sorted
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	var s schema
	for i, name := range names {
		if !strings.HasPrefix(name, fmt.Sprintf("migrations/%04d_", i+1)) {
			return nil, fmt.Errorf("migration %d is called %s", i+1, name)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		s = append(s, words.Replace(string(text)))
	}
	return s, nil
}

// migrate brings a database up to date in one transaction, so that it has either
// the old schema or the new one, and returns the version that it had. It locks
// the version, so of several processes that start at once one migrates and the
// others find it done.
func (s schema) migrate(ctx context.Context, db *sql.DB) (have int, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("begin migration: %w", err)
	}
	defer tx.Rollback()
	for _, statement := range []string{
		`CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)`,
		`INSERT INTO meta (name, value) VALUES ('schema_version', '0') ON CONFLICT (name) DO NOTHING`,
		`UPDATE meta SET value = value WHERE name = 'schema_version'`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return 0, fmt.Errorf("prepare migration: %w", err)
		}
	}
	if have, err = version(ctx, tx); err != nil {
		return 0, err
	}
	if err := s.judge(have); err == nil || !errors.Is(err, ErrTooOld) {
		return have, err
	}
	for i, migration := range s[have:] {
		if _, err := tx.ExecContext(ctx, migration); err != nil {
			return have, fmt.Errorf("migration %d: %w", have+i+1, err)
		}
		if strings.Contains(migration, "CREATE TABLE user_words") {
			if err := indexAll(ctx, tx); err != nil {
				return have, fmt.Errorf("migration %d: %w", have+i+1, err)
			}
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE meta SET value = $1 WHERE name = 'schema_version'`, strconv.Itoa(len(s))); err != nil {
		return have, fmt.Errorf("note schema version: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return have, fmt.Errorf("commit migration: %w", err)
	}
	return have, nil
}

// judge compares the version of a store with ours.
func (s schema) judge(have int) error {
	switch {
	case have < 0:
		return fmt.Errorf("%w: schema version %d", ErrCorrupt, have)
	case have > len(s):
		return fmt.Errorf("%w: its schema has version %d, this program knows %d (use the newer program)", ErrTooNew, have, len(s))
	case have < len(s):
		return fmt.Errorf("%w: its schema has version %d, this program wants %d (start the wall once, it brings the store up to date)", ErrTooOld, have, len(s))
	}
	return nil
}

// version reads how many migrations a store has seen.
func version(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
},
) (int, error) {
	var text string
	if err := db.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'schema_version'`).Scan(&text); err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%w: schema version is %q", ErrCorrupt, text)
	}
	return n, nil
}
