// Package observe tells operators what the wall does: a request id, one line of
// access log for each request, the audit stream, metrics, and traces.
//
// # Why it is so
//
// What is told must never hurt what is done. A log whose reader hangs would
// hang every request, so all lines pass through a Queue that is bounded and
// drops rather than waits; a metric whose labels strangers choose would fill
// the memory, so every label value comes from a small fixed set. Neither costs
// the path of a request a look-up: counters are resolved once and kept.
//
// # Threats
//
// Strangers write most of what a line holds (path, method, host, user agent),
// so each value is cut to a bound and everything but printable text is escaped:
// no line breaks, no terminal sequences, no Unicode line separators, no
// direction marks. Queries are not logged at all, since that is where codes and
// tokens travel; nor are cookies, and no metric names a user, a host or a path.
//
// This package alone (and the command) knows the libraries for metrics and traces.
package observe
