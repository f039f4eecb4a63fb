// Package auth is the vocabulary of the wall: who somebody is (Identity), what
// is remembered of them (User, Session), what cuts them off (Revocation), and
// the errors that every part agrees on.
//
// # Why it is so
//
// Everything below auth/ answers one question, "who is this, and may they?",
// and everything below proxy/ carries requests. The two meet in these types,
// so they import nothing of ours and nothing of HTTP: a rule written here holds
// behind every door.
//
// # Identity
//
// An account is the pair (issuer, subject), as OpenID Connect Core 1.0,
// section 5.7, demands; an address is only an attribute of it. A new subject
// with an old address is a new user. UserID is derived from the pair, so
// stores that never spoke to each other agree on it.
//
// # Zero values deny
//
// The zero Identity is nobody, the zero Session has expired, the zero Secret is
// refused wherever a secret is needed. Nothing in this package means "allowed"
// by being absent.
package auth
