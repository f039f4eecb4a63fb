// Package policy decides who may send which request. It turns an operator's
// Rules into an immutable Policy, whose Decide is a pure function of a request's
// method and path and of the Identity that sent it: no I/O, no clock, no HTTP.
//
// # Who
//
// Nobody gets in without a verified address, whatever else admits them (groups
// and Everyone too): the address is what the upstream knows people by, and an
// account that could choose it freely would be whoever it likes behind the wall.
// Deny comes first and wins. A domain is compared whole, and with Google the hd
// claim must name the Workspace that owns it: a consumer account can be opened
// on any address, and stays when its owner has left the company. That also holds
// for single addresses of a listed domain. Admins are let in like listed
// addresses; a route's own list narrows that for them as for everybody.
//
// # Which path
//
// The bypass that every wall of this kind has had at least once: the wall reads
// /public/..%2fadmin as something below /public/, and the application behind
// reads it as /admin. So the wall does not pick a reading. It collects all that
// the small steps known of real parsers can make of a path, in any order (see
// steps), and
//
//   - the strictest verdict of all readings counts,
//   - a path whose structure depends on the parser is never public,
//   - the path as sent is one of the readings, so /%70ublic/ is not public,
//   - a path with too many readings counts as matching every rule.
//
// Letter case and the slash at the end are readings too: a rule that takes away
// holds for its twins, one that gives does not. An odd path alone is no reason to
// refuse: people who are allowed in all its readings go on, and it is forwarded
// as it came. Without routes no path means anything, and none is read.
//
// # Which method
//
// Methods are compared exactly. GET covers HEAD. A method that is not in upper
// case counts as itself and as its upper-case form, and is never public; so a
// rule for GET also keeps "get" out.
//
// # Rejected
//
// Cleaning or refusing odd paths: applications with %2F or // in their paths
// would break, and another parser would be trusted. Patterns and regular
// expressions: a rule that is hard to read is a hole. Routes in other scripts:
// their normal forms are one more thing for parsers to differ in; protect the
// folder above. Suffix rules (".css is public"): every framework has a way to
// append a suffix to a path.
package policy
