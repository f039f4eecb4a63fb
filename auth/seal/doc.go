// Package seal makes text that only this deployment can read back, for one
// purpose: session cookies, login attempts, and whatever else a browser carries
// for us without being allowed to look inside or to change it.
//
// # Why it is so
//
// The work is done by gorilla/securecookie: AES-256 in counter mode, then
// HMAC-SHA256 over the name, the time and the cipher text. What is added here is
// what it leaves to its caller:
//
//   - A key for every purpose, derived with HKDF-SHA256 (RFC 5869) from the one
//     key in the file. A sealed attempt can never be opened as a session, since
//     no code holds a key that fits both.
//   - The audience, public_url, inside what is sealed. Deployments that share a
//     key and a host (two ports of localhost, two paths of a migration) can tell
//     each other's cookies from forged ones, and leave them alone.
//   - Rotation: the current key seals, it and at most two old ones open. Whoever
//     opens something learns whether the current key did, to seal it anew.
//   - One text for one sealed thing. securecookie decodes base64 leniently, which
//     would let strangers make new spellings of a text that they hold; anything
//     but the spelling that Seal chose is refused, so that texts can be keys of
//     caches and of sets of what has been used up.
//   - A bound on length that is checked before anything else, and a refusal of
//     keys that are short, patterned, or known from somebody's documentation.
//
// There is no expiry here: securecookie's own is switched off, since it counts
// from the time of sealing, in whole seconds, by a clock that cannot be set in
// tests. Callers seal their own times.
//
// # Threats
//
// Forged, cut, lengthened and spliced cookies; cookies of another purpose, port
// or deployment; values of many kilobytes meant to cost time; keys that a
// stranger can guess. Errors and logs never hold a key or a sealed text.
package seal
