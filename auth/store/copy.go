package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// ErrNotEmpty: a store to copy into holds something already.
var ErrNotEmpty = errors.New("not an empty store")

// Copied is how many rows of each kind Copy has copied.
type Copied struct {
	Users, Sessions, Blocks, Revocations, Events int64
}

// A table is what of it is to be copied: its columns, with the Go type of each.
type table struct {
	name, columns string
	types         string // t: text, i: number, b: boolean
	order         string // of the rows, where what comes later refers to what came before
}

// tables are all of them but meta, in the order in which they refer to each other.
func tables() []table {
	return []table{
		{"users", "id, issuer, subject, email, email_verified, name, picture, hosted_domain, search, first_sign_in, last_sign_in, last_seen, sign_ins", "ttttbttttiiii", ""},
		{"user_words", "user_id, word", "tt", ""},
		{"holders", "email, user_id", "tt", ""},
		{"sessions", "id, user_id, email, created, expires, last_seen, address, agent, ended_at, ended_by, end_reason", "tttiiittitt", ""},
		{"blocks", "id, user_id, email, actor, at, reason", "itttit", ""},
		{"revocations", "kind, key, seq, active, at, expires", "ttibii", ""},
		{"counters", "name, value", "ti", ""},
		{"events", "id, at, kind, actor, user_id, email, session_id, address, detail", "iittttttt", " ORDER BY id"},
		{"activity", "span, start, sign_ins, denied, people", "iiiii", ""},
	}
}

// Copy fills an empty store with all that from holds at one moment, and compares
// what it wrote with what it read, row by row. It is all or nothing. Walls that
// use from meanwhile go on; what they do later is not copied. A store that holds
// something is refused with ErrNotEmpty.
func Copy(ctx context.Context, from, to *Store) (copied Copied, err error) {
	read, err := from.engine.reader.Conn(ctx)
	if err != nil {
		return copied, fmt.Errorf("store: copy: read: %w", err)
	}
	defer read.Close() //nolint:errcheck // gives it back to the pool
	if _, err := read.ExecContext(ctx, from.engine.snapshot); err != nil {
		return copied, fmt.Errorf("store: copy: read: %w", err)
	}
	defer func() { // also when ctx has ended, lest the connection be used again as it is
		_, failed := read.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		err = errors.Join(err, failed)
	}()
	write, err := to.engine.writer.BeginTx(ctx, nil)
	if err != nil {
		return copied, fmt.Errorf("store: copy: write: %w", err)
	}
	defer write.Rollback()
	// Nobody signs in meanwhile, nor is blocked.
	if _, err := write.ExecContext(ctx, `UPDATE counters SET value = value`); err != nil {
		return copied, fmt.Errorf("store: copy: lock: %w", err)
	}
	var rows int64
	if err := write.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM blocks)
		+ (SELECT COUNT(*) FROM revocations) + (SELECT COUNT(*) FROM events)`).Scan(&rows); err != nil {
		return copied, fmt.Errorf("store: copy: look at the target: %w", err)
	}
	if rows > 0 {
		return copied, fmt.Errorf("store: copy: %w (give it a new one)", ErrNotEmpty)
	}
	if _, err := write.ExecContext(ctx, `DELETE FROM counters`); err != nil {
		return copied, fmt.Errorf("store: copy: %w", err)
	}
	counts := make(map[string]int64)
	for _, t := range tables() {
		sent, err := t.copy(ctx, read, write)
		if err != nil {
			return copied, fmt.Errorf("store: copy %s: %w", t.name, err)
		}
		got, err := t.sum(ctx, write, nil)
		if err != nil {
			return copied, fmt.Errorf("store: compare %s: %w", t.name, err)
		}
		if got != sent {
			return copied, fmt.Errorf("store: compare %s: %d rows were written and %d are there, or not the same", t.name, sent.rows, got.rows)
		}
		counts[t.name] = sent.rows
	}
	if to.engine.renumber != "" {
		if _, err := write.ExecContext(ctx, to.engine.renumber); err != nil {
			return copied, fmt.Errorf("store: copy: number events: %w", err)
		}
	}
	if err := write.Commit(); err != nil {
		return copied, fmt.Errorf("store: copy: commit: %w", err)
	}
	return Copied{counts["users"], counts["sessions"], counts["blocks"], counts["revocations"], counts["events"]}, nil
}

// A digest is the same for the same rows in any order.
type digest struct {
	rows int64
	sum  [4]uint64
}

func (d *digest) add(row []any) {
	h := sha256.New()
	for _, v := range row {
		switch v := v.(type) {
		case *string:
			fmt.Fprintf(h, "%d:%s", len(*v), *v)
		case *int64:
			fmt.Fprintf(h, "%d;", *v)
		case *bool:
			fmt.Fprintf(h, "%t;", *v)
		}
	}
	sum := h.Sum(nil)
	for i := range d.sum {
		d.sum[i] += binary.BigEndian.Uint64(sum[i*8:])
	}
	d.rows++
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// sum reads all rows, and gives each to f, which may be nil.
func (t *table) sum(ctx context.Context, db querier, f func(row []any) error) (d digest, err error) {
	rows, err := db.QueryContext(ctx, "SELECT "+t.columns+" FROM "+t.name+t.order)
	if err != nil {
		return d, err
	}
	defer rows.Close()
	for rows.Next() {
		row := make([]any, len(t.types))
		for i, kind := range t.types {
			switch kind {
			case 't':
				row[i] = new(string)
			case 'i':
				row[i] = new(int64)
			case 'b':
				row[i] = new(bool)
			}
		}
		if err := rows.Scan(row...); err != nil {
			return d, err
		}
		d.add(row)
		if f != nil {
			if err := f(row); err != nil {
				return d, err
			}
		}
	}
	return d, rows.Err()
}

// copyRows is how many rows one statement writes.
const copyRows = 100

func (t *table) copy(ctx context.Context, from querier, to *sql.Tx) (digest, error) {
	var args []any
	rows := 0
	flush := func() error {
		if rows == 0 {
			return nil
		}
		var values []string
		for n := range rows {
			var one []string
			for i := range t.types {
				one = append(one, fmt.Sprintf("$%d", n*len(t.types)+i+1))
			}
			values = append(values, "("+strings.Join(one, ", ")+")")
		}
		//nolint:gosec // constants, all of them
		_, err := to.ExecContext(ctx, "INSERT INTO "+t.name+" ("+t.columns+") VALUES "+strings.Join(values, ", "), args...)
		args, rows = args[:0], 0
		return err
	}
	d, err := t.sum(ctx, from, func(row []any) error {
		args = append(args, row...)
		if rows++; rows < copyRows {
			return nil
		}
		return flush()
	})
	return d, errors.Join(err, flush())
}
