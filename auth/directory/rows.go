package directory

import (
	"time"

	"github.com/loginwall/loginwall/auth"
)

// A UserRow is a user as scripts see one; fields are only ever added.
type UserRow struct {
	ID            auth.UserID `json:"id"`
	Issuer        string      `json:"issuer"`
	Subject       string      `json:"subject"`
	Email         string      `json:"email"`
	EmailVerified bool        `json:"email_verified"`
	Name          string      `json:"name"`
	Picture       string      `json:"picture"`
	HostedDomain  string      `json:"hosted_domain"`
	Blocked       bool        `json:"blocked"`
	BlockedAt     *time.Time  `json:"blocked_at"`
	BlockedBy     string      `json:"blocked_by"`
	BlockedReason string      `json:"blocked_reason"`
	FirstSignIn   *time.Time  `json:"first_sign_in"`
	LastSignIn    *time.Time  `json:"last_sign_in"`
	LastSeen      *time.Time  `json:"last_seen"`
	SignIns       int64       `json:"sign_ins"`
}

// NewUserRow converts one.
func NewUserRow(u auth.User) UserRow {
	row := UserRow{
		ID: u.ID, Issuer: u.Issuer, Subject: u.Subject, Email: u.Email, EmailVerified: u.EmailVerified,
		Name: u.Name, Picture: u.Picture, HostedDomain: u.HostedDomain,
		FirstSignIn: moment(u.FirstSignIn), LastSignIn: moment(u.LastSignIn), LastSeen: moment(u.LastSeen), SignIns: u.SignIns,
	}
	if u.Block != nil {
		row.Blocked, row.BlockedAt, row.BlockedBy, row.BlockedReason = true, moment(u.Block.At), u.Block.By, u.Block.Reason
	}
	return row
}

// moment is null in JSON for what never happened.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
