package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/loginwall/loginwall/auth"
)

// Who names a person by account or by address; exactly one is set.
type Who struct {
	User  auth.UserID
	Email string
}

func (w *Who) check() error {
	if (w.User == "") == (w.Email == "") {
		return errors.New("store: name either a user or an address")
	}
	if w.Email != "" {
		email, err := auth.ParseEmail(w.Email)
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		w.Email = email
	}
	return nil
}

// Block keeps a person out and ends all sessions. An account is blocked with
// the address that it holds; an address with every account that holds it, and
// may be one that nobody has signed in with. It returns the block, the first one
// when there are several accounts; blocking again what is blocked returns the
// old block and changes nothing. An account that the store does not know is
// auth.ErrNotFound.
func (s *Store) Block(ctx context.Context, who Who, by, reason string) (auth.Block, error) {
	if err := who.check(); err != nil {
		return auth.Block{}, err
	}
	return write(ctx, s, "block", everyDoor, func(t *tx) (auth.Block, error) {
		pairs, err := t.pairs(`SELECT id, email FROM users WHERE (id = $1 AND $2 = '') OR (email = $2 AND email <> '') ORDER BY id`, who.User, who.Email)
		if err != nil {
			return auth.Block{}, fmt.Errorf("read users: %w", err)
		}
		if len(pairs) == 0 && who.Email != "" {
			pairs = [][2]string{{"", who.Email}}
		}
		ended := make(map[auth.UserID]bool)
		for _, p := range pairs {
			user, email := auth.UserID(p[0]), p[1]
			// An address on its own is blocked already when any block names it.
			known, err := t.get(`SELECT id FROM blocks WHERE email = $2 AND (user_id = $1 OR $1 = '') LIMIT 1`, []any{user, email}, new(int64))
			if err != nil {
				return auth.Block{}, fmt.Errorf("read blocks: %w", err)
			}
			if known {
				continue
			}
			if err := t.block(user, email, by, reason); err != nil {
				return auth.Block{}, err
			}
			// Whoever else holds the address is kept out by it and must sign in anew afterwards.
			holders, err := t.pairs(`SELECT id, email FROM users WHERE id = $1 OR (email = $2 AND email <> '')`, user, email)
			if err != nil {
				return auth.Block{}, fmt.Errorf("read holders: %w", err)
			}
			for _, h := range holders {
				ended[auth.UserID(h[0])] = true
			}
		}
		for _, user := range slices.Sorted(maps.Keys(ended)) {
			if _, err := t.cutOff(user, by, auth.EndBlocked, s.config.KeepCutOff); err != nil {
				return auth.Block{}, err
			}
		}
		return t.blockOf(who)
	})
}

// block writes one row, its two rows of the feed, and the event.
func (t *tx) block(user auth.UserID, email, by, reason string) error {
	var id int64
	var err error
	if email != "" {
		if id, err = t.revoke(auth.BlockEmail, email, true, t.now, 0); err != nil {
			return err
		}
	}
	if user != "" {
		if id, err = t.revoke(auth.BlockUser, string(user), true, t.now, 0); err != nil {
			return err
		}
	}
	if _, err := t.exec(`INSERT INTO blocks (id, user_id, email, actor, at, reason) VALUES ($1, $2, $3, $4, $5, $6)`,
		id, user, email, text(by), t.now, text(reason)); err != nil {
		return fmt.Errorf("write block: %w", err)
	}
	return t.record(auth.Event{Kind: auth.EventBlocked, Actor: by, User: user, Email: email, Detail: reason})
}

// Blocked reports whether an address is blocked.
func (s *Store) Blocked(ctx context.Context, email string) (bool, error) {
	n, err := one(ctx, s, "blocked", `SELECT COUNT(*) FROM blocks WHERE email = $1`, []any{email}, func(scan func(...any) error) (int, error) {
		var n int
		err := scan(&n)
		return n, err
	})
	return n > 0, err
}

// blockOf reads the oldest block of a person.
func (t *tx) blockOf(who Who) (auth.Block, error) {
	var b auth.Block
	var at int64
	found, err := t.get(`SELECT user_id, email, actor, at, reason FROM blocks
		WHERE (user_id = $1 AND $2 = '') OR (email = $2 AND email <> '') ORDER BY id LIMIT 1`,
		[]any{who.User, who.Email}, &b.User, &b.Email, &b.By, &at, &b.Reason)
	if err != nil {
		return b, fmt.Errorf("read block: %w", err)
	}
	if !found {
		return b, auth.ErrNotFound
	}
	b.At = moment(at)
	return b, nil
}

// Unblock lifts all that keeps a person out: every block that names the account
// or its address, and whatever those blocks name in turn. Sessions that a block
// ended stay ended. It is auth.ErrNotFound when nothing was blocked.
func (s *Store) Unblock(ctx context.Context, who Who, by string) error {
	if err := who.check(); err != nil {
		return err
	}
	_, err := write(ctx, s, "unblock", everyDoor, func(t *tx) (none struct{}, err error) {
		// Blocks and users tie accounts to addresses; follow the ties to their end.
		seen, lifted := make(map[Who]bool), 0
		for todo := []Who{who}; len(todo) > 0; todo = todo[1:] {
			w := todo[0]
			if seen[w] {
				continue
			}
			seen[w] = true
			blocks, err := t.pairs(`DELETE FROM blocks WHERE (user_id = $1 AND $2 = '') OR (email = $2 AND email <> '')
				RETURNING user_id, email`, w.User, w.Email)
			if err != nil {
				return none, fmt.Errorf("delete blocks: %w", err)
			}
			users, err := t.pairs(`SELECT id, email FROM users WHERE (id = $1 AND $2 = '') OR (email = $2 AND email <> '')`, w.User, w.Email)
			if err != nil {
				return none, fmt.Errorf("read users: %w", err)
			}
			for _, p := range blocks {
				if err := t.lift(auth.UserID(p[0]), p[1], by, s.config.KeepCutOff.Milliseconds()); err != nil {
					return none, err
				}
				lifted++
			}
			for _, p := range slices.Concat(blocks, users) {
				if p[0] != "" {
					todo = append(todo, Who{User: auth.UserID(p[0])})
				}
				if p[1] != "" {
					todo = append(todo, Who{Email: p[1]})
				}
			}
		}
		if lifted == 0 {
			return none, auth.ErrNotFound
		}
		return none, nil
	})
	return err
}

// lift tells the feed, for a while, and the audit trail that a block is gone.
func (t *tx) lift(user auth.UserID, email, by string, keep int64) error {
	if email != "" {
		if _, err := t.revoke(auth.BlockEmail, email, false, t.now, t.now+keep); err != nil {
			return err
		}
	}
	if user != "" {
		if _, err := t.revoke(auth.BlockUser, string(user), false, t.now, t.now+keep); err != nil {
			return err
		}
	}
	return t.record(auth.Event{Kind: auth.EventUnblocked, Actor: by, User: user, Email: email})
}
