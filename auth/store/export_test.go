package store

import (
	"context"
	"database/sql"
	"testing"
	"testing/fstest"
)

// Apart is between a transaction of several sign-ins and the next one.
const Apart = apart

// Hang makes every call that begins from now on wait for the channel, as on a
// disk that does not answer.
func (s *Store) Hang(until <-chan struct{}) {
	there := s.engine.there
	s.engine.there = func() error {
		<-until
		return there()
	}
}

// Pragma reads a setting of the connection that writes.
func (s *Store) Pragma(t *testing.T, name string) (value string) {
	t.Helper()
	if err := s.engine.writer.QueryRowContext(t.Context(), "PRAGMA "+name).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// Migrate brings a database up to date with migrations of a test.
func Migrate(ctx context.Context, db *sql.DB, files map[string]string) error {
	fs := fstest.MapFS{}
	for name, text := range files {
		fs["migrations/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	s, err := newSchema(fs, sqliteWords())
	if err != nil {
		return err
	}
	_, err = s.migrate(ctx, db)
	return err
}

// TLSOf tells how connections to a PostgreSQL server are protected.
func TLSOf(url string) (string, error) {
	c, _, err := parsePostgres(url)
	switch {
	case err != nil:
		return "", err
	case c.TLSConfig == nil:
		return "none", nil
	case c.TLSConfig.InsecureSkipVerify:
		return "unverified", nil
	}
	return "verified", nil
}

// Waiting returns how many sign-ins wait for the transaction after the one that is
// under way, if one is.
func (s *Store) Waiting() (n int, busy bool) {
	s.together.mu.Lock()
	defer s.together.mu.Unlock()
	return len(s.together.waiting), s.together.busy
}
