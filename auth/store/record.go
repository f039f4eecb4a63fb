package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
)

// errIncomplete is a caller's mistake, not the store's.
var errIncomplete = errors.New("incomplete record")

// SignIn records a sign-in: user, session and event, on disk when it returns.
// It refuses with auth.ErrBlocked when the account or its address is blocked,
// and with auth.ErrUnavailable when the store is away.
func (s *Store) SignIn(ctx context.Context, in auth.SignIn) (auth.SignedIn, error) {
	if in.Identity.UserID() == "" || in.Session == "" || in.MaxAge < time.Millisecond {
		return auth.SignedIn{}, fmt.Errorf("store: sign in: %w", errIncomplete)
	}
	if s.engine.alone {
		return s.signInTogether(ctx, in)
	}
	return write(ctx, s, "sign in", doorOf(cmp.Or(in.Identity.Email, string(in.Identity.UserID()))), func(t *tx) (auth.SignedIn, error) { return t.signIn(in) })
}

func (t *tx) signIn(in auth.SignIn) (out auth.SignedIn, err error) {
	id, user, life := in.Identity, in.Identity.UserID(), in.MaxAge.Milliseconds()
	var blocked bool
	var cutOff, longest int64
	var search string
	var holder auth.UserID
	// One question, since each waits for a server's answer.
	if _, err := t.get(`SELECT EXISTS (SELECT 1 FROM blocks WHERE user_id = $1 OR (email = $2 AND email <> '')),
		COALESCE((SELECT at FROM revocations WHERE kind = $3 AND key = $1), 0),
		COALESCE((SELECT value FROM counters WHERE name = 'longest'), 0),
		COALESCE((SELECT search FROM users WHERE id = $1), ''),
		COALESCE((SELECT user_id FROM holders WHERE email = $2), '')`,
		[]any{user, id.Email, auth.RevokeUser}, &blocked, &cutOff, &longest, &search, &holder); err != nil {
		return out, fmt.Errorf("read user: %w", err)
	}
	if blocked {
		return out, auth.ErrBlocked
	}
	// Strictly behind the last cut-off, whatever the clock has done since.
	created := max(t.now, cutOff+1)
	expires := created + life
	if longest < life {
		if _, err := t.exec(`UPDATE counters SET value = $1 WHERE name = 'longest' AND value < $1`, life); err != nil {
			return out, fmt.Errorf("write longest: %w", err)
		}
	}

	before := search
	search = fold(id.Email + " " + id.Name)
	var signIns int64
	if _, err := t.get(`INSERT INTO users (id, issuer, subject, email, email_verified, name, picture, hosted_domain, search,
		first_sign_in, last_sign_in, last_seen, sign_ins) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $10, 1)
		ON CONFLICT (id) DO UPDATE SET email = excluded.email, email_verified = excluded.email_verified, name = excluded.name,
		picture = excluded.picture, hosted_domain = excluded.hosted_domain, search = excluded.search,
		last_sign_in = excluded.last_sign_in, last_seen = excluded.last_seen, sign_ins = users.sign_ins + 1
		RETURNING sign_ins`,
		[]any{
			user, text(id.Issuer), text(id.Subject), text(id.Email), id.EmailVerified, text(id.Name), text(id.Picture),
			text(id.HostedDomain), search, created,
		}, &signIns); err != nil {
		return out, fmt.Errorf("write user: %w", err)
	}
	out.Created, out.Expires, out.FirstTime = moment(created), moment(expires), signIns == 1
	if search != before {
		if err := t.index(user, id.Email, id.Name, out.FirstTime); err != nil {
			return out, err
		}
	}
	// Who signed in last holds the address; an unverified one proves nothing.
	if id.Email != "" && id.EmailVerified && holder != user {
		out.PreviousHolder = holder
		if _, err := t.exec(`INSERT INTO holders (email, user_id) VALUES ($1, $2)
			ON CONFLICT (email) DO UPDATE SET user_id = excluded.user_id`, id.Email, user); err != nil {
			return out, fmt.Errorf("write holder: %w", err)
		}
	}
	if _, err := t.exec(`INSERT INTO sessions (id, user_id, email, created, expires, last_seen, address, agent)
		VALUES ($1, $2, $3, $4, $5, $4, $6, $7)`,
		in.Session, user, text(id.Email), created, expires, text(in.Address), text(in.Agent)); err != nil {
		return out, fmt.Errorf("write session: %w", err)
	}
	return out, t.record(auth.Event{
		Kind: auth.EventSignIn, Actor: id.Email, User: user, Email: id.Email, Session: in.Session, Address: in.Address,
	})
}

// EndSession ends one session, whether this store recorded it or another did.
// Ending it once more changes nothing and is no error.
func (s *Store) EndSession(ctx context.Context, e auth.Ending) error {
	if e.Session == "" {
		return fmt.Errorf("store: end session: %w", errIncomplete)
	}
	_, err := write(ctx, s, "end session", feedTurn, func(t *tx) (none struct{}, err error) {
		var user, email string
		var expires, ended int64
		found, err := t.get(`SELECT user_id, email, expires, ended_at FROM sessions WHERE id = $1`, []any{e.Session},
			&user, &email, &expires, &ended)
		if err != nil {
			return none, fmt.Errorf("read session: %w", err)
		}
		if !found { // recorded elsewhere
			user = string(e.User)
			if found, err = t.get(`SELECT 1 FROM revocations WHERE kind = $1 AND key = $2`, []any{auth.RevokeSession, e.Session}, &ended); err != nil {
				return none, fmt.Errorf("read revocation: %w", err)
			}
		}
		if found && ended != 0 {
			return none, nil
		}
		if _, err := t.exec(`UPDATE sessions SET ended_at = $1, ended_by = $2, end_reason = $3 WHERE id = $4`,
			t.now, text(e.By), e.Reason, e.Session); err != nil {
			return none, fmt.Errorf("write session: %w", err)
		}
		if expires = max(expires, stamp(e.Expires)); expires == 0 {
			expires = t.now + s.config.KeepCutOff.Milliseconds()
		}
		if _, err := t.revoke(auth.RevokeSession, string(e.Session), true, t.now, expires); err != nil {
			return none, err
		}
		return none, t.record(auth.Event{
			Kind: endKind(e.Reason), Actor: e.By, User: auth.UserID(user), Email: email, Session: e.Session, Detail: string(e.Reason),
		})
	})
	return err
}

// EndSessionsOf ends all sessions that a user has, those included that another
// store recorded, and returns how many open ones were recorded here. Sessions
// that begin later are not touched.
func (s *Store) EndSessionsOf(ctx context.Context, user auth.UserID, by string, reason auth.EndReason) (int, error) {
	if user == "" {
		return 0, fmt.Errorf("store: end sessions: %w", errIncomplete)
	}
	return write(ctx, s, "end sessions", everyDoor, func(t *tx) (int, error) {
		n, err := t.cutOff(user, by, reason, s.config.KeepCutOff)
		if err != nil {
			return 0, err
		}
		var email string
		if _, err := t.get(`SELECT email FROM users WHERE id = $1`, []any{user}, &email); err != nil {
			return 0, fmt.Errorf("read user: %w", err)
		}
		return n, t.record(auth.Event{
			Kind: endKind(reason), Actor: by, User: user, Email: email, Detail: fmt.Sprintf("%s: all sessions (%d open)", reason, n),
		})
	})
}

// EndOtherSessions ends the open sessions of a user that were recorded here, all
// but one, and returns how many those were.
func (s *Store) EndOtherSessions(ctx context.Context, user auth.UserID, keep auth.SessionID, by string) (int, error) {
	if user == "" || keep == "" {
		return 0, fmt.Errorf("store: end other sessions: %w", errIncomplete)
	}
	return write(ctx, s, "end other sessions", feedTurn, func(t *tx) (int, error) {
		others, err := t.pairs(`UPDATE sessions SET ended_at = $1, ended_by = $2, end_reason = $3
			WHERE user_id = $4 AND id <> $5 AND ended_at = 0 AND expires > $1 RETURNING id, CAST(expires AS TEXT)`,
			t.now, text(by), auth.EndElsewhere, user, keep)
		if err != nil {
			return 0, fmt.Errorf("write sessions: %w", err)
		}
		for _, other := range others {
			expires, err := strconv.ParseInt(other[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read expiry: %w", err)
			}
			if _, err := t.revoke(auth.RevokeSession, other[0], true, t.now, expires); err != nil {
				return 0, err
			}
		}
		if len(others) == 0 { // anybody can ask for it, all day
			return 0, nil
		}
		return len(others), t.record(auth.Event{
			Kind: auth.EventSessionEnded, Actor: by, User: user, Email: by, Detail: fmt.Sprintf("%s: all other sessions (%d open)", auth.EndElsewhere, len(others)),
		})
	})
}

// cutOff ends every session of a user that exists now, and returns how many
// recorded ones were open.
func (t *tx) cutOff(user auth.UserID, by string, reason auth.EndReason, keep time.Duration) (int, error) {
	// Never below the last cut-off, nor below a recorded session, whatever the clock says.
	var last, created, expires int64
	if _, err := t.get(`SELECT at FROM revocations WHERE kind = $1 AND key = $2`, []any{auth.RevokeUser, user}, &last); err != nil {
		return 0, fmt.Errorf("read cut-off: %w", err)
	}
	if _, err := t.get(`SELECT COALESCE(MAX(created), 0), COALESCE(MAX(expires), 0) FROM sessions WHERE user_id = $1`,
		[]any{user}, &created, &expires); err != nil {
		return 0, fmt.Errorf("read sessions: %w", err)
	}
	at := max(t.now, last+1, created)
	if _, err := t.revoke(auth.RevokeUser, string(user), true, at, max(expires, at+keep.Milliseconds())); err != nil {
		return 0, err
	}
	n, err := t.exec(`UPDATE sessions SET ended_at = $1, ended_by = $2, end_reason = $3 WHERE user_id = $4 AND ended_at = 0 AND expires > $1`,
		t.now, text(by), reason, user)
	if err != nil {
		return 0, fmt.Errorf("write sessions: %w", err)
	}
	return int(n), nil
}

func endKind(reason auth.EndReason) auth.EventKind {
	if reason == auth.EndSignOut {
		return auth.EventSignOut
	}
	return auth.EventSessionEnded
}

// seenBatch is how many rows one transaction of Seen touches at most, so that a
// sign-in never waits long for it.
const seenBatch = 500

// Seen notes when sessions, and with them users, were last used; a time before
// the recorded one changes nothing, nor does an unknown session.
func (s *Store) Seen(ctx context.Context, seen []auth.Seen) error {
	// Sorted, so that two processes lock rows in the same order.
	seen = slices.SortedFunc(slices.Values(seen), func(a, b auth.Seen) int {
		return cmp.Or(strings.Compare(string(a.User), string(b.User)), strings.Compare(string(a.Session), string(b.Session)))
	})
	for batch := range slices.Chunk(seen, seenBatch) {
		_, err := write(ctx, s, "seen", noTurn, func(t *tx) (none struct{}, err error) {
			users := make(map[auth.UserID]int64, len(batch))
			for _, e := range batch {
				users[e.User] = max(users[e.User], stamp(e.At))
				if _, err := t.exec(`UPDATE sessions SET last_seen = $1 WHERE id = $2 AND last_seen < $1`, stamp(e.At), e.Session); err != nil {
					return none, fmt.Errorf("write session: %w", err)
				}
			}
			for _, e := range batch {
				at, due := users[e.User]
				if !due {
					continue
				}
				delete(users, e.User)
				if _, err := t.exec(`UPDATE users SET last_seen = $1 WHERE id = $2 AND last_seen < $1`, at, e.User); err != nil {
					return none, fmt.Errorf("write user: %w", err)
				}
			}
			return none, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Record adds a line to the audit trail. ID and At are the store's to give. How
// often strangers may cause one is for the caller to limit.
func (s *Store) Record(ctx context.Context, e auth.Event) error {
	if e.Kind == "" {
		return fmt.Errorf("store: record: %w", errIncomplete)
	}
	_, err := write(ctx, s, "record", noTurn, func(t *tx) (none struct{}, err error) { return none, t.record(e) })
	return err
}

// record writes an event. Where it does not say from where it was caused, the
// context may.
func (t *tx) record(e auth.Event) error {
	e.At, e.Address = moment(t.now), cmp.Or(e.Address, auth.ClientOf(t.ctx).Address)
	if _, err := t.exec(`INSERT INTO events (at, kind, actor, user_id, email, session_id, address, detail)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		t.now, e.Kind, text(e.Actor), e.User, text(e.Email), e.Session, text(e.Address), text(e.Detail)); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	t.events = append(t.events, e)
	return nil
}

// DeleteUser forgets a user and the sessions, which end. Blocks stay, and so do
// the lines of the audit trail until they are pruned.
func (s *Store) DeleteUser(ctx context.Context, user auth.UserID, by string) error {
	_, err := write(ctx, s, "delete user", everyDoor, func(t *tx) (none struct{}, err error) {
		var email string
		found, err := t.get(`SELECT email FROM users WHERE id = $1`, []any{user}, &email)
		if err != nil {
			return none, fmt.Errorf("read user: %w", err)
		}
		if !found {
			return none, auth.ErrNotFound
		}
		if _, err := t.cutOff(user, by, auth.EndByAdmin, s.config.KeepCutOff); err != nil {
			return none, err
		}
		if _, err := t.exec(`DELETE FROM users WHERE id = $1`, user); err != nil { // takes the sessions along
			return none, fmt.Errorf("delete: %w", err)
		}
		return none, t.record(auth.Event{
			Kind: auth.EventUserDeleted, Actor: by, User: user, Email: email,
		})
	})
	return err
}

// revoke adds a row to the feed and returns its number.
func (t *tx) revoke(kind auth.RevocationKind, key string, active bool, at, expires int64) (seq int64, err error) {
	if _, err := t.get(`UPDATE counters SET value = value + 1 WHERE name = 'feed' RETURNING value`, nil, &seq); err != nil {
		return 0, fmt.Errorf("number revocation: %w", err)
	}
	if seq == 0 {
		return 0, errors.New("the feed has no counter")
	}
	if _, err := t.exec(`INSERT INTO revocations (kind, key, seq, active, at, expires) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (kind, key) DO UPDATE SET seq = excluded.seq, active = excluded.active, at = excluded.at, expires = excluded.expires`,
		kind, key, seq, active, at, expires); err != nil {
		return 0, fmt.Errorf("write revocation: %w", err)
	}
	return seq, nil
}

// Revocations reads the feed behind a cursor: 0, or a Feed's Cursor. With 0, or
// when what was told before may be forgotten, it is Whole: the store's counter
// stands before the cursor, or another server answers than the last time.
func (s *Store) Revocations(ctx context.Context, after int64) (auth.Feed, error) {
	var told feedRows
	err := s.read(ctx, "revocations", func(ctx context.Context, _ *sql.DB) (err error) {
		if last := s.epoch.Load(); after > 0 && last != nil {
			told, err = s.feedRows(ctx, `seq > $1`, after)
			if err != nil || told.Cursor >= after && told.epoch == *last {
				return err
			}
		}
		now, err := s.clock(ctx)
		if err != nil {
			return err
		}
		told, err = s.feedRows(ctx, `active AND (expires = 0 OR expires > $1)`, now.Add(-clockSlack).UnixMilli())
		told.Whole = true
		return err
	})
	if err != nil {
		return auth.Feed{}, err
	}
	epoch := told.epoch // by itself, lest it keep all the rows
	s.epoch.Store(&epoch)
	return told.Feed, nil
}

type feedRows struct {
	auth.Feed
	epoch string
}

// feedRows reads some of the feed, and ahead of it the counter and the epoch, in
// one statement, so that all are of one moment.
func (s *Store) feedRows(ctx context.Context, condition string, arg int64) (told feedRows, err error) {
	//nolint:gosec // constants, all of them
	query := `SELECT -1 AS seq, '' AS kind, ` + s.engine.epoch + ` AS key, FALSE AS active, value AS at, 0 AS expires
		FROM counters WHERE name = 'feed'
		UNION ALL SELECT seq, kind, key, active, at, expires FROM revocations WHERE ` + condition + ` ORDER BY 1`
	rows, err := s.engine.feed.QueryContext(ctx, query, arg)
	if err != nil {
		return told, err
	}
	defer rows.Close()
	told.Cursor = -1
	for rows.Next() {
		var r auth.Revocation
		var at, expires int64
		if err := rows.Scan(&r.Seq, &r.Kind, &r.Key, &r.Active, &at, &expires); err != nil {
			return told, err
		}
		if r.Seq < 0 {
			told.Cursor, told.epoch = at, r.Key
			continue
		}
		r.At, r.Expires = moment(at), moment(expires)
		told.Rows = append(told.Rows, r)
	}
	if err := rows.Err(); err != nil {
		return told, err
	}
	if told.Cursor < 0 {
		return told, errors.New("the feed has no counter")
	}
	return told, nil
}

// fold makes text comparable without regard to case.
func fold(s string) string { return strings.ToLower(text(s)) }
