// Package session issues, opens, touches and ends sessions: it owns the session
// cookie and the set of what was revoked.
//
// # Why it is so
//
// A session is a sealed cookie, not a row. Any replica with the key serves it, a
// restart loses nobody, and nothing in the store can be replayed. What a sealed
// cookie cannot do is to be taken back, so every process keeps the revocations
// (sessions that ended early, cut-offs of users, blocks) in memory, follows the
// store's feed of them, and looks every request up there without I/O.
//
// Keeper is one configuration's view and is replaced by a reload; Revocations
// and its Follower outlive reloads.
//
// # The cookie
//
// What is sealed has a fixed part of 49 bytes (version, flags, id, three times,
// the lengths) and the identity. Sealing adds an audience, an initialisation
// vector and a MAC, and writes base64 twice, about 16/9 of the size. The value
// stays within 1,000 characters, which leaves the identity some 450 bytes:
// issuer, subject, address and hosted domain take about 90 with Google, the name
// 20, the picture's URL 100. When it would not fit, the picture goes, then the
// name; they are for people to look at. Groups decide access and are never
// dropped: with many of them the value may grow to 3,800, beyond which there is
// no session.
//
// # Time
//
// All limits are ends in absolute time inside the seal, so that a clock that was
// set back gives nobody more than was sealed. The idle limit counts from the
// moment of sealing, and the cookie is sealed anew once a tenth of the limit has
// passed: a session ends after 0.9 to 1.0 of the limit without a request, never
// later. Times have milliseconds.
//
// # Threats
//
// Forged and tossed cookies (another subdomain planted a second one: two
// different values are none), cookie headers of a megabyte, replay after
// sign-out or block, a session that outlives its limits, a revocation that gets
// lost between this process's own change and a read of the feed that began
// before it.
package session
