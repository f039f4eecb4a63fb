package directory

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
)

// A UserRow is a user as scripts see one; fields are only ever added.
type UserRow struct {
	account
	Blocked       bool       `json:"blocked"`
	BlockedAt     *time.Time `json:"blocked_at"`
	BlockedBy     string     `json:"blocked_by"`
	BlockedReason string     `json:"blocked_reason"`
	FirstSignIn   *time.Time `json:"first_sign_in"`
	LastSignIn    *time.Time `json:"last_sign_in"`
	LastSeen      *time.Time `json:"last_seen"`
	SignIns       int64      `json:"sign_ins"`
	OpenSessions  int64      `json:"open_sessions"`
}

type account struct {
	ID            auth.UserID `json:"id"`
	Issuer        string      `json:"issuer"`
	Subject       string      `json:"subject"`
	Email         string      `json:"email"`
	EmailVerified bool        `json:"email_verified"`
	Name          string      `json:"name"`
	Picture       string      `json:"picture"`
	HostedDomain  string      `json:"hosted_domain"`
}

// NewUserRow converts one.
func NewUserRow(u auth.User) UserRow {
	row := UserRow{
		account: account{
			ID: u.ID, Issuer: u.Issuer, Subject: u.Subject, Email: u.Email, EmailVerified: u.EmailVerified,
			Name: u.Name, Picture: u.Picture, HostedDomain: u.HostedDomain,
		},
		FirstSignIn: Moment(u.FirstSignIn), LastSignIn: Moment(u.LastSignIn), LastSeen: Moment(u.LastSeen),
		SignIns: u.SignIns, OpenSessions: u.OpenSessions,
	}
	if u.Block != nil {
		row.Blocked, row.BlockedAt, row.BlockedBy, row.BlockedReason = true, Moment(u.Block.At), u.Block.By, u.Block.Reason
	}
	return row
}

// A SessionRow is a session as scripts see one; fields are only ever added.
type SessionRow struct {
	ID        auth.SessionID `json:"id"`
	User      auth.UserID    `json:"user"`
	Email     string         `json:"email"`
	Created   *time.Time     `json:"created"`
	Expires   *time.Time     `json:"expires"`
	LastSeen  *time.Time     `json:"last_seen"`
	Address   string         `json:"address"`
	Agent     string         `json:"user_agent"`
	Device    string         `json:"device"`
	Ended     bool           `json:"ended"`
	EndedAt   *time.Time     `json:"ended_at"`
	EndedBy   string         `json:"ended_by"`
	EndReason auth.EndReason `json:"end_reason"`
}

// NewSessionRow converts one.
func NewSessionRow(s auth.SessionRecord) SessionRow {
	row := SessionRow{
		ID: s.ID, User: s.User, Email: s.Email, Created: Moment(s.Created), Expires: Moment(s.Expires), LastSeen: Moment(s.LastSeen),
		Address: s.Address, Agent: s.Agent, Device: Device(s.Agent),
	}
	if s.End != nil {
		row.Ended, row.EndedAt, row.EndedBy, row.EndReason = true, Moment(s.End.At), s.End.By, s.End.Reason
	}
	return row
}

// eventRow is an event as scripts see one.
type eventRow struct {
	ID      int64          `json:"id"`
	At      *time.Time     `json:"at"`
	Kind    auth.EventKind `json:"kind"`
	Actor   string         `json:"actor"`
	User    auth.UserID    `json:"user"`
	Email   string         `json:"email"`
	Session auth.SessionID `json:"session"`
	Address string         `json:"address"`
	Detail  string         `json:"detail"`
}

func newEventRow(e auth.Event) eventRow {
	return eventRow{
		ID: e.ID, At: Moment(e.At), Kind: e.Kind, Actor: e.Actor, User: e.User, Email: e.Email,
		Session: e.Session, Address: e.Address, Detail: e.Detail,
	}
}

// blockRow is the block of an address as scripts see one.
type blockRow struct {
	Email  string     `json:"email"`
	At     *time.Time `json:"blocked_at"`
	By     string     `json:"blocked_by"`
	Reason string     `json:"blocked_reason"`
}

func blockRows(blocks []auth.Block) (rows []blockRow) {
	for _, b := range blocks {
		rows = append(rows, blockRow{b.Email, Moment(b.At), b.By, b.Reason})
	}
	return rows
}

// Moment is null in JSON for what never happened.
func Moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// WriteArray streams rows as one JSON array, however many there are. What it has
// written is no JSON where it fails.
func WriteArray[A, B any](w io.Writer, rows iter.Seq2[A, error], convert func(A) B) error {
	separator := "[\n  "
	for row, err := range rows {
		if err != nil {
			return err
		}
		b, err := json.Marshal(convert(row))
		if err != nil {
			return fmt.Errorf("encode a row: %w", err)
		}
		if _, err := fmt.Fprintf(w, "%s%s", separator, b); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		separator = ",\n  "
	}
	closing := "\n]\n"
	if separator == "[\n  " {
		closing = "[]\n"
	}
	_, err := io.WriteString(w, closing)
	return err
}

// WriteCSV streams users as a table (RFC 4180); columns are only ever added.
func WriteCSV(w io.Writer, users iter.Seq2[auth.User, error]) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{
		"id", "issuer", "subject", "email", "name", "hosted_domain", "blocked", "first_sign_in", "last_sign_in", "last_seen", "sign_ins",
		"open_sessions", "blocked_reason",
	}); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	for u, err := range users {
		if err != nil {
			return err
		}
		reason := ""
		if u.Block != nil {
			reason = u.Block.Reason
		}
		if err := out.Write([]string{
			string(u.ID), inert(u.Issuer), inert(u.Subject), inert(u.Email), inert(u.Name), inert(u.HostedDomain), strconv.FormatBool(u.Block != nil),
			rfc3339(u.FirstSignIn), rfc3339(u.LastSignIn), rfc3339(u.LastSeen), strconv.FormatInt(u.SignIns, 10),
			strconv.FormatInt(u.OpenSessions, 10), inert(reason),
		}); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	out.Flush()
	return out.Error()
}

// inert keeps a spreadsheet from taking somebody's name for a formula, or a part of
// it: many split a table at semicolons and tabs, too.
func inert(s string) string {
	var out strings.Builder
	begins := true
	for _, c := range s {
		if begins && strings.ContainsRune("=+-@\t\r", c) {
			out.WriteByte('\'')
		}
		out.WriteRune(c)
		begins = strings.ContainsRune(";\t\r\n", c)
	}
	return out.String()
}

func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
