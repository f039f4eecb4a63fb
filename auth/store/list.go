package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
)

// A Cursor says where the next page of a list begins; it is opaque, fit for a
// URL, and empty on the first page and behind the last one.
type Cursor string

// ErrCursor: a Cursor that no list gave out.
var ErrCursor = errors.New("not a cursor of this list")

const (
	defaultLimit = 50
	// MostLimit is the most that one page of a list holds.
	MostLimit = 1000
)

// A UserQuery selects users. The zero value is everybody.
type UserQuery struct {
	// Search is words in any case, each the beginning of the address, of a part of
	// it, or of a part of the name; or a whole id.
	Search string
	// Email selects the accounts that hold exactly this address, Domain those whose
	// address is of exactly this domain.
	Email, Domain string
	// BlockedOnly selects whom a block keeps out, by account or by address.
	BlockedOnly bool
	// OpenOnly selects who has an open session.
	OpenOnly bool
	// Idle is how long an open session may have gone unused; 0 is for ever.
	Idle  time.Duration
	Order UserOrder
	After Cursor
	// Limit is the most that one page holds: 0 means 50, and 1000 is the most.
	Limit int
}

// A UserOrder is how a list of users is sorted. A Cursor is good for one order.
type UserOrder int

// The orders.
const (
	ByLastSeen    UserOrder = iota // the latest first
	ByEmail                        // from a to z
	ByFirstSignIn                  // the latest first
	byArrival                      // the earliest first
)

func (o UserOrder) column() string {
	return [...]string{"u.last_seen", "u.email", "u.first_sign_in", "u.first_sign_in"}[o]
}

func (o UserOrder) descending() bool { return o == ByLastSeen || o == ByFirstSignIn }

// cursor is where the list goes on behind u.
func (o UserOrder) cursor(u *auth.User) Cursor {
	switch o {
	case ByEmail:
		return Cursor(u.Email + "." + string(u.ID))
	case ByFirstSignIn, byArrival:
		return cursor(stamp(u.FirstSignIn), string(u.ID))
	case ByLastSeen:
	}
	return cursor(stamp(u.LastSeen), string(u.ID))
}

// A SessionQuery selects sessions. The zero value is all of them.
type SessionQuery struct {
	User auth.UserID
	// Email selects the sessions of the accounts that hold this address now.
	Email string
	// OpenOnly leaves out what has ended or expired, or has gone unused for as long
	// as Idle where that is not 0.
	OpenOnly bool
	Idle     time.Duration
	After    Cursor
	Limit    int
}

// An EventQuery selects events. The zero value is all of them.
type EventQuery struct {
	User  auth.UserID
	Email string
	Kind  auth.EventKind
	// Actor is who did it, Address where from.
	Actor, Address string
	// Since and Before bound when it was, where they are not zero.
	Since, Before time.Time
	After         Cursor
	Limit         int
}

// AllUsers walks all that a query selects, Order, After and Limit aside, in the
// order of their first sign-in: nobody is missed because he came back meanwhile. It
// holds no lock between pages, however slow the reader is.
func (s *Store) AllUsers(ctx context.Context, q UserQuery) iter.Seq2[auth.User, error] {
	return walk(q.After, func(after Cursor) ([]auth.User, Cursor, error) {
		q.Order, q.After, q.Limit = byArrival, after, MostLimit
		return s.Users(ctx, q)
	})
}

// User returns one user: by id, or who signed in last with an address. It is
// auth.ErrNotFound when there is none.
func (s *Store) User(ctx context.Context, who Who) (auth.User, error) {
	if err := who.check(); err != nil {
		return auth.User{}, err
	}
	var w where
	if who.User != "" {
		w.and("u.id = ?", text(string(who.User)))
	} else {
		w.and("u.email = ?", who.Email)
	}
	page := "SELECT u.id FROM users u" + w.String() + " ORDER BY u.last_sign_in DESC, u.id LIMIT 1"
	now, err := s.clock(ctx)
	if err != nil {
		return auth.User{}, err
	}
	return one(ctx, s, "user", w.users(page, now, 0), w.args, scanUser)
}

// users is the query for all of the users whose ids page selects. It joins the
// oldest block that names the account or its address.
func (w *where) users(page string, now time.Time, idle time.Duration) string {
	return `SELECT u.id, u.issuer, u.subject, u.email, u.email_verified, u.name, u.picture, u.hosted_domain,
	u.first_sign_in, u.last_sign_in, u.last_seen, u.sign_ins,
	(SELECT COUNT(*) FROM sessions s WHERE s.user_id = u.id AND ` + strings.Join(w.open(now, idle), " AND ") + `),
	COALESCE(b.id, 0), COALESCE(b.user_id, ''), COALESCE(b.email, ''), COALESCE(b.actor, ''), COALESCE(b.at, 0), COALESCE(b.reason, '')
	FROM (` + page + `) p JOIN users u ON u.id = p.id LEFT JOIN blocks b ON b.id = (SELECT MIN(x.id) FROM blocks x
		WHERE x.user_id = u.id OR (x.email = u.email AND u.email <> ''))`
}

// open are the conditions that a session s is open.
func (w *where) open(now time.Time, idle time.Duration) []string {
	at := w.arg(now.UnixMilli())
	conditions := []string{"s.ended_at = 0", "s.expires > " + at}
	if idle > 0 {
		conditions = append(conditions, "s.last_seen > "+w.arg(now.Add(-idle).UnixMilli()))
	}
	return conditions
}

// Users lists a page of users and where the next page begins. Groups are not recorded.
func (s *Store) Users(ctx context.Context, q UserQuery) ([]auth.User, Cursor, error) {
	var w where
	now, err := s.clock(ctx)
	if err != nil {
		return nil, "", err
	}
	if err := s.matching(ctx, &w, q, now); err != nil {
		return nil, "", err
	}
	column, descending := q.Order.column(), q.Order.descending()
	if err := w.after(q.After, column, "u.id", descending); err != nil {
		return nil, "", err
	}
	order, limit := w.page(column, "u.id", descending, q.Limit)
	page := "SELECT u.id FROM users u" + w.String() + order
	outer, _ := w.page(column, "u.id", descending, q.Limit)
	users, err := list(ctx, s, "users", w.users(page, now, q.Idle)+outer, w.args, scanUser)
	if err != nil || len(users) < limit {
		return users, "", err
	}
	users = users[:limit-1]
	return users, q.Order.cursor(&users[limit-2]), nil
}

// Sessions lists a page of sessions, the newest first, and where the next page begins.
func (s *Store) Sessions(ctx context.Context, q SessionQuery) ([]auth.SessionRecord, Cursor, error) {
	var w where
	if q.User != "" {
		w.and("s.user_id = ?", q.User)
	}
	if q.Email != "" {
		w.and("s.user_id IN (SELECT id FROM users WHERE email = ?)", text(q.Email))
	}
	if q.OpenOnly {
		now, err := s.clock(ctx)
		if err != nil {
			return nil, "", err
		}
		w.conditions = append(w.conditions, w.open(now, q.Idle)...)
		// Says nothing new, but keeps the walk from going through years of expired ones.
		w.and("s.created > ? - (SELECT value FROM counters WHERE name = 'longest')", now.UnixMilli())
	}
	if err := w.after(q.After, "s.created", "s.id", true); err != nil {
		return nil, "", err
	}
	order, limit := w.page("s.created", "s.id", true, q.Limit)
	sessions, err := list(ctx, s, "sessions", sessionSelect+w.String()+order, w.args, scanSession)
	if err != nil || len(sessions) < limit {
		return sessions, "", err
	}
	sessions = sessions[:limit-1]
	last := sessions[limit-2]
	return sessions, cursor(stamp(last.Created), string(last.ID)), nil
}

// AllSessions walks all that a query selects, After and Limit aside, the newest first.
func (s *Store) AllSessions(ctx context.Context, q SessionQuery) iter.Seq2[auth.SessionRecord, error] {
	return walk(q.After, func(after Cursor) ([]auth.SessionRecord, Cursor, error) {
		q.After, q.Limit = after, MostLimit
		return s.Sessions(ctx, q)
	})
}

// Session returns one session, or auth.ErrNotFound.
func (s *Store) Session(ctx context.Context, id auth.SessionID) (auth.SessionRecord, error) {
	return one(ctx, s, "session", sessionSelect+" WHERE s.id = $1", []any{text(string(id))}, scanSession)
}

const sessionSelect = `SELECT s.id, s.user_id, s.email, s.created, s.expires, s.last_seen, s.address, s.agent,
	s.ended_at, s.ended_by, s.end_reason FROM sessions s`

// Events lists a page of the audit trail, the latest first, and where the next page begins.
func (s *Store) Events(ctx context.Context, q EventQuery) ([]auth.Event, Cursor, error) {
	var w where
	if q.User != "" {
		w.and("user_id = ?", q.User)
	}
	if q.Email != "" {
		w.and("email = ?", text(q.Email))
	}
	if q.Kind != "" {
		w.and("kind = ?", text(string(q.Kind)))
	}
	if q.Actor != "" {
		w.and("actor = ?", text(q.Actor))
	}
	if q.Address != "" {
		w.and("address = ?", text(q.Address))
	}
	// The trail is in the order of time: a moment is a place in it, which is found
	// at once however far back it lies.
	if !q.Since.IsZero() {
		w.and("id >= (SELECT id FROM events WHERE at >= ? ORDER BY at, id LIMIT 1)", q.Since.UnixMilli())
	}
	if !q.Before.IsZero() {
		w.and("id <= (SELECT id FROM events WHERE at < ? ORDER BY at DESC, id DESC LIMIT 1)", q.Before.UnixMilli())
	}
	if q.After != "" {
		id, _, err := q.After.parse()
		if err != nil {
			return nil, "", err
		}
		w.and("id < ?", id)
	}
	limit := pageSize(q.Limit)
	events, err := list(ctx, s, "events", `SELECT id, at, kind, actor, user_id, email, session_id, address, detail FROM events`+
		w.String()+" ORDER BY id DESC LIMIT "+strconv.Itoa(limit), w.args, scanEvent)
	if err != nil || len(events) < limit {
		return events, "", err
	}
	events = events[:limit-1]
	return events, cursor(events[limit-2].ID, ""), nil
}

// AllEvents walks all that a query selects, After and Limit aside, the latest first.
func (s *Store) AllEvents(ctx context.Context, q EventQuery) iter.Seq2[auth.Event, error] {
	return walk(q.After, func(after Cursor) ([]auth.Event, Cursor, error) {
		q.After, q.Limit = after, MostLimit
		return s.Events(ctx, q)
	})
}

// A BlockQuery selects blocks of addresses. The zero value is all of them.
type BlockQuery struct {
	// Search is words in any case, each the beginning of a part of the address, and
	// Domain its domain.
	Search, Domain string
	After          Cursor
	Limit          int
}

// Blocks lists a page of the blocked addresses that no user holds, since nobody has
// signed in with them or who had is deleted, the latest first, and where the next page
// begins.
func (s *Store) Blocks(ctx context.Context, q BlockQuery) ([]auth.Block, Cursor, error) {
	var w where
	w.and(`b.email <> '' AND NOT EXISTS (SELECT 1 FROM users u WHERE u.id = b.user_id OR u.email = b.email)`)
	for term := range strings.FieldsSeq(fold(q.Search)) {
		w.and(`'.' || REPLACE(REPLACE(REPLACE(REPLACE(b.email, '@', '.'), '-', '.'), '+', '.'), '_', '.') LIKE ? ESCAPE '\'`,
			"%."+escapeLike(strings.NewReplacer("@", ".", "-", ".", "+", ".", "_", ".").Replace(term))+"%")
	}
	if q.Domain != "" {
		w.and(`b.email LIKE ? ESCAPE '\'`, "%"+escapeLike(domainMark+fold(q.Domain)))
	}
	if q.After != "" {
		id, _, err := q.After.parse()
		if err != nil {
			return nil, "", err
		}
		w.and("b.id < ?", id)
	}
	limit := pageSize(q.Limit)
	rows, err := list(ctx, s, "blocks", `SELECT b.id, b.user_id, b.email, b.actor, b.at, b.reason FROM blocks b`+
		w.String()+" ORDER BY b.id DESC LIMIT "+strconv.Itoa(limit), w.args, scanBlock)
	next := Cursor("")
	if len(rows) == limit {
		rows = rows[:limit-1]
		next = cursor(rows[limit-2].id, "")
	}
	blocks := make([]auth.Block, len(rows))
	for i, r := range rows {
		blocks[i] = r.Block
	}
	return blocks, next, err
}

func scanUser(scan func(...any) error) (auth.User, error) {
	var u auth.User
	var b numberedBlock
	var first, last, seen, at int64
	err := scan(&u.ID, &u.Issuer, &u.Subject, &u.Email, &u.EmailVerified, &u.Name, &u.Picture, &u.HostedDomain,
		&first, &last, &seen, &u.SignIns, &u.OpenSessions, &b.id, &b.User, &b.Block.Email, &b.By, &at, &b.Reason)
	u.FirstSignIn, u.LastSignIn, u.LastSeen = moment(first), moment(last), moment(seen)
	if b.id != 0 {
		b.At = moment(at)
		u.Block = &b.Block
	}
	return u, err
}

func scanSession(scan func(...any) error) (auth.SessionRecord, error) {
	var r auth.SessionRecord
	var end auth.End
	var created, expires, seen, ended int64
	err := scan(&r.ID, &r.User, &r.Email, &created, &expires, &seen, &r.Address, &r.Agent, &ended, &end.By, &end.Reason)
	r.Created, r.Expires, r.LastSeen = moment(created), moment(expires), moment(seen)
	if ended != 0 {
		end.At = moment(ended)
		r.End = &end
	}
	return r, err
}

func scanEvent(scan func(...any) error) (auth.Event, error) {
	var e auth.Event
	var at int64
	err := scan(&e.ID, &at, &e.Kind, &e.Actor, &e.User, &e.Email, &e.Session, &e.Address, &e.Detail)
	e.At = moment(at)
	return e, err
}

type numberedBlock struct {
	auth.Block
	id int64
}

func scanBlock(scan func(...any) error) (numberedBlock, error) {
	var b numberedBlock
	var at int64
	err := scan(&b.id, &b.User, &b.Email, &b.By, &at, &b.Reason)
	b.At = moment(at)
	return b, err
}

// list reads all rows of a query.
func list[T any](ctx context.Context, s *Store, what, query string, args []any, scan func(func(...any) error) (T, error)) (out []T, err error) {
	err = s.read(ctx, what, func(ctx context.Context, db *sql.DB) error {
		rows, err := db.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			v, err := scan(rows.Scan)
			if err != nil {
				return err
			}
			out = append(out, v)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// one reads a single row, or fails with auth.ErrNotFound.
func one[T any](ctx context.Context, s *Store, what, query string, args []any, scan func(func(...any) error) (T, error)) (v T, err error) {
	rows, err := list(ctx, s, what, query, args, scan)
	if err == nil && len(rows) == 0 {
		err = fmt.Errorf("store: %s: %w", what, auth.ErrNotFound)
	}
	if err != nil {
		return v, err
	}
	return rows[0], nil
}

// walk turns pages into one sequence; an error ends it.
func walk[T any](after Cursor, page func(Cursor) ([]T, Cursor, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for after := after; ; {
			rows, next, err := page(after)
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			after = next
		}
	}
}

// escapeLike takes the meaning from what LIKE understands as a pattern.
func escapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

// where collects conditions, and numbers their placeholders as both engines want them.
type where struct {
	conditions []string
	args       []any
}

// and adds a condition, a constant text in which each ? takes the next argument.
func (w *where) and(condition string, args ...any) {
	for _, arg := range args {
		condition = strings.Replace(condition, "?", w.arg(arg), 1)
	}
	w.conditions = append(w.conditions, condition)
}

// arg adds an argument and returns its placeholder.
func (w *where) arg(arg any) string {
	w.args = append(w.args, arg)
	return "$" + strconv.Itoa(len(w.args))
}

// after adds the condition that a row stands behind the cursor.
func (w *where) after(c Cursor, column, id string, descending bool) error {
	if c == "" {
		return nil
	}
	var at any
	number, key, err := c.parse()
	if at = number; column == ByEmail.column() {
		at, key, err = c.parseText()
	}
	if err != nil {
		return err
	}
	w.and("("+column+", "+id+") "+map[bool]string{true: "<", false: ">"}[descending]+" (?, ?)", at, key)
	return nil
}

// page returns the end of the query and how many rows it may give: one more than
// the page holds, which tells whether there is a next one.
func (w *where) page(column, id string, descending bool, limit int) (string, int) {
	direction := map[bool]string{true: " DESC", false: ""}[descending]
	limit = pageSize(limit)
	return " ORDER BY " + column + direction + ", " + id + direction + " LIMIT " + strconv.Itoa(limit), limit
}

func pageSize(limit int) int {
	if limit <= 0 {
		limit = defaultLimit
	}
	return min(limit, MostLimit) + 1
}

func (w *where) String() string {
	if len(w.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conditions, " AND ")
}

func cursor(n int64, id string) Cursor { return Cursor(strconv.FormatInt(n, 10) + "." + id) }

func (c Cursor) parseText() (email, id string, err error) {
	dot := strings.LastIndexByte(string(c), '.')
	if dot < 0 || text(string(c)) != string(c) {
		return "", "", fmt.Errorf("store: %w", ErrCursor)
	}
	return string(c[:dot]), string(c[dot+1:]), nil
}

func (c Cursor) parse() (n int64, id string, err error) {
	number, id, found := strings.Cut(string(c), ".")
	if n, err = strconv.ParseInt(number, 10, 64); err != nil || !found || text(id) != id {
		return 0, "", fmt.Errorf("store: %w", ErrCursor)
	}
	return n, id, nil
}
