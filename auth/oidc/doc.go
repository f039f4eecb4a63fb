// Package oidc is the relying party: it sends a browser to an OpenID provider,
// redeems the code that comes back, and makes an auth.Identity out of the ID
// token, or refuses.
//
// # What is verified
//
// OpenID Connect Core 1.0, section 3.1.3.7, whole and every time: the signature
// by one pinned algorithm and a key that the provider publishes now, iss, aud,
// azp, exp, nbf, iat, nonce, at_hash where present, and a usable sub. go-oidc
// verifies the signature, iss, aud, exp and nbf; the rest, and those again with
// exact-case member names (encoding/json folds case, so "Email" could stand in
// for "email"), is done here. A token passes only if both agree.
//
// Many providers leave the address and the groups out of the ID token and tell
// them at their userinfo endpoint, as OpenID Connect Core 1.0, section 5.4, has it.
// It is asked, but never with Google, only for what the token lacks, and believed
// only if it speaks of the same sub. Nothing else that the provider could say is
// asked for: no refresh token, no distributed claims, no key that a token's header
// names by URL.
//
// # The algorithm
//
// RS256, the one algorithm every provider must have. Only where a provider's
// metadata says that it has no RS256 is another pinned: the first of ES256,
// PS256 and EdDSA that it lists. There is never a choice left to the token.
//
// # The provider may be away, slow, or hostile
//
// New needs no network; Run discovers in the background until it works, and
// refuses metadata of another issuer even when it changes later. Each call ends
// within ten seconds however slowly bytes drip, reads at most 1 MiB, follows no
// redirect and takes no compressed body; exchanges at the same time are bounded.
// One attempt makes one token request. Keys age out (a withdrawn key is not
// trusted for ever), and an unknown key id fetches them at once, but at most
// twice a minute to no avail.
//
// # Errors
//
// Every failure is an *Error with one of a few fixed words for metrics and pages
// and a precise cause for the log. None holds a code, a token, a secret, or what
// the provider wrote, but for a short error code of its own alphabet.
package oidc
