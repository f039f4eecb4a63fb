package session

import (
	"time"

	"github.com/loginwall/loginwall/auth"
)

// Standing judges a session that was opened before, maybe by the Keeper of an
// earlier configuration: Invalid when it is of another issuer, Ended, Blocked, or
// Valid. It looks at neither limit: what is open may outlive them.
func (k *Keeper) Standing(s *auth.Session) Status {
	if s.Identity.Issuer != k.config.Issuer {
		return Invalid
	}
	return k.config.Revoked.Check(s)
}

// IdleEnds returns when a session ends unless it is used.
func (k *Keeper) IdleEnds(s *auth.Session) time.Time { return s.LastSeen.Add(k.config.Idle) }
