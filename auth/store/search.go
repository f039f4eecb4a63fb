package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/loginwall/loginwall/auth"
)

const (
	// mostWords and longestWord bound what one user puts into the index.
	mostWords   = 24
	longestWord = 64
	// MostTerms bounds the words of one search; those behind are not looked for.
	MostTerms = 8
	// rare is up to how many users a search fetches all that match and sorts them.
	// Beyond, so many match that a walk in the order of the list soon has a page full:
	// not so soon in the order of addresses, where those that match stand together, or
	// when only who is signed in counts, which those that match may all not be.
	rare, rareOpen = 5000, 20_000
)

// domainMark stands before an address's domain, so that it is found as a whole.
const domainMark = "@"

// words are what a user is found by, sorted. One that begins another is left out:
// whoever looks for it finds the other.
func words(email, name string) []string {
	var all []string
	for part := range strings.FieldsSeq(fold(name)) {
		all = append(append(all, part), strings.FieldsFunc(part, isPunctuation)...)
	}
	if email = fold(email); email != "" {
		all = append(all, strings.FieldsFunc(auth.LocalPart(email), isPunctuation)...)
		all = append(all, email, auth.Domain(email), domainMark+auth.Domain(email))
	}
	for i, w := range all {
		all[i] = clip(w)
	}
	slices.Sort(all)
	var kept []string
	for i, w := range all {
		if w != "" && (i+1 == len(all) || !strings.HasPrefix(all[i+1], w)) {
			kept = append(kept, w)
		}
	}
	return kept[:min(len(kept), mostWords)]
}

func isPunctuation(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r)
}

// clip cuts a word to what the index holds, at a character's end.
func clip(w string) string {
	if len(w) > longestWord {
		w = strings.ToValidUTF8(w[:longestWord], "")
	}
	return w
}

// index writes what a user is found by, who may be new.
func (t *tx) index(user auth.UserID, email, name string, isNew bool) error {
	if !isNew {
		if _, err := t.exec(`DELETE FROM user_words WHERE user_id = $1`, user); err != nil {
			return fmt.Errorf("forget words: %w", err)
		}
	}
	args, values := []any{user}, ""
	for _, w := range words(email, name) {
		args = append(args, w)
		values += fmt.Sprintf(", ($1, $%d)", len(args))
	}
	if values == "" {
		return nil
	}
	if _, err := t.exec(`INSERT INTO user_words (user_id, word) VALUES `+values[2:], args...); err != nil {
		return fmt.Errorf("write words: %w", err)
	}
	return nil
}

// indexAll indexes the users of a store that was made before there was an index.
func indexAll(ctx context.Context, db *sql.Tx) error {
	t := &tx{ctx: ctx, sql: db}
	for after := ""; ; {
		people, err := t.pairs(`SELECT id, email || ' ' || name FROM users WHERE id > $1 ORDER BY id LIMIT 1000`, after)
		if err != nil {
			return fmt.Errorf("read users: %w", err)
		}
		if len(people) == 0 {
			return nil
		}
		for _, p := range people {
			email, name, _ := strings.Cut(p[1], " ")
			if err := t.index(auth.UserID(p[0]), email, name, true); err != nil {
				return err
			}
			after = p[0]
		}
	}
}

// A part of what is asked for is a query for the ids of all whom it selects.
type part func(*where) string

// matching adds the conditions of q for the users u. Where few match one part of what
// is asked for, those are fetched first, whatever the order of the list.
func (s *Store) matching(ctx context.Context, w *where, q UserQuery, now time.Time) (err error) {
	var terms []string
	for term := range strings.FieldsSeq(fold(q.Search)) {
		if len(terms) < MostTerms {
			terms = append(terms, clip(term))
		}
	}
	if len(terms) == 1 && isID(terms[0]) {
		w.and("u.id = ?", terms[0])
		terms = nil
	}
	if q.Email != "" {
		w.and("u.email = ?", text(q.Email))
	}
	if q.Domain != "" {
		domain := fold(q.Domain)
		// A name can hold such a word, too.
		w.and(`u.email LIKE ? ESCAPE '\'`, "%"+escapeLike(domainMark+domain))
		terms = append(terms, clip(domainMark+domain))
	}
	var parts []part
	for _, term := range terms {
		parts = append(parts, func(w *where) string {
			return "SELECT user_id FROM user_words WHERE word >= " + w.arg(term) + " AND word < " + w.arg(behind(term))
		})
	}
	most := rare
	if q.OpenOnly {
		most = rareOpen
		parts = append(parts, func(w *where) string { return "SELECT id FROM users WHERE " + w.seen("last_seen", now, q.Idle) })
	}
	if q.Order == ByEmail {
		most = rareOpen
	}
	var first int
	if q.BlockedOnly { // few, whatever their number
		parts = append(parts, func(*where) string {
			return "SELECT user_id FROM blocks UNION SELECT v.id FROM blocks c CROSS JOIN users v WHERE v.email = c.email AND v.email <> ''"
		})
		first = len(parts) - 1
	} else if first, err = s.fewest(ctx, parts, most); err != nil {
		return err
	}
	for i, term := range terms {
		if i != first {
			w.and("EXISTS (SELECT 1 FROM user_words w WHERE w.user_id = u.id AND w.word >= ? AND w.word < ?)", term, behind(term))
		}
	}
	if q.OpenOnly {
		w.and("EXISTS (SELECT 1 FROM sessions s WHERE s.user_id = u.id AND " + strings.Join(w.open(now, q.Idle), " AND ") + ")")
		if q.Order == ByLastSeen { // where the walk ends
			w.conditions = append(w.conditions, w.seen("u.last_seen", now, q.Idle))
		}
	}
	if first >= 0 {
		w.conditions = append(w.conditions, "u.id IN ("+parts[first](w)+")")
	}
	return nil
}

// fewest is which of the parts selects the fewest, or -1 where all select more than most.
func (s *Store) fewest(ctx context.Context, parts []part, most int) (first int, err error) {
	first = -1
	for i, ids := range parts {
		var w where
		n, query := 0, "SELECT COUNT(*) FROM ("+ids(&w)+" LIMIT "+strconv.Itoa(most+1)+") AS found"
		if err := s.read(ctx, "users", func(ctx context.Context, db *sql.DB) error {
			return db.QueryRowContext(ctx, query, w.args...).Scan(&n)
		}); err != nil {
			return -1, err
		}
		if n <= most {
			first, most = i, n-1
		}
	}
	return first, nil
}

// seen is the condition that a user was seen since an open session can have begun, or
// been used last.
func (w *where) seen(column string, now time.Time, idle time.Duration) string {
	if idle > 0 {
		return column + " > " + w.arg(now.Add(-idle).UnixMilli())
	}
	return column + " >= " + w.arg(now.UnixMilli()) + " - (SELECT value FROM counters WHERE name = 'longest')"
}

// behind is greater than every text that begins with s, and than no other that is
// greater than s.
func behind(s string) string { return s + "\U0010FFFF" }

func isID(s string) bool {
	_, err := auth.SessionID(s).Bytes()
	return err == nil
}
