// Package page is everything that loginwall itself shows: the pages, their one
// stylesheet, the JSON for programs, the security headers, and every redirect.
//
// # Why it is so
//
// A wall that strangers reach first must not have two ways of answering. Each
// answer is a View, a plain value; Render decides by Audience whether a person
// gets a page or a program gets JSON, and sets the same headers on both. All
// wordings of what can go wrong stand in problem.go as data, so that they can be
// read, and corrected, in one sitting.
//
// # Threats
//
// Redirects: a Location is a value that nobody else can make. It is either an
// address on public_url, rebuilt from the parts of a Target and always written
// absolutely, so that no reading of "//evil" or "/\evil" can leave the origin,
// or an address that went through ProviderURL.
//
// Injection: html/template escapes all that is shown; the policy that is sent
// along (default-src 'none', no script, no inline style) leaves nothing to run
// if it ever failed. What a provider or an upstream says is never repeated,
// only translated into our own words. Names and addresses are isolated in <bdi>.
//
// Framing, sniffing, caching, leaking: frame-ancestors 'none', nosniff,
// no-store, same-origin referrers on pages (our forms need an Origin), none on
// redirects. These headers go on our own answers alone, never on the app's.
package page
