// Package proxy carries each request from the listener to the app and back.
//
// # The way of a request
//
//	target (bytes as they came) → who is calling (proxy/forwarded) → is the host ours?
//	→ below /_auth/: the wall's own pages, never the upstream
//	→ auth/gate: deny, challenge, or allow → forward → the answer, cleaned
//
// There is one door. Handler.forward is the only caller of the reverse proxy, and
// takes a gate.Decision that must be Allow, public or with a Principal; nothing
// about a request (its user agent, its method, an error on the way) opens
// another. A panic anywhere on the way is an error page, and never a request that
// went through.
//
// # What the upstream gets
//
// The outbound request is rebuilt in Upstream.rewrite, after hop-by-hop fields
// went: names that say who is calling are removed in every spelling
// (auth/assertion), our cookies are taken out, and what the wall itself knows is
// put in last. Target, other headers, other cookies and the body pass byte for
// byte, trailers too but those that fold to a name of ours.
//
// # What the client gets
//
// Nothing that the upstream answers, be it header, informational answer or
// trailer, can set or clear a cookie of the wall, or pass for an answer of the
// wall. What a protected route answers is private, whatever the app said, so no
// shared cache in front keeps it for somebody else.
//
// # What is open
//
// Each request that was let in is known to Live until it ends. When its session
// is revoked, or a new configuration would not let it in any more, it is cut;
// WebSockets and event streams also when the session expires. It is registered
// first and checked again after, so no revocation falls between the two. The
// client of a WebSocket is told why, with a close frame where a frame of the app
// ends (1008, or 1001 when the wall stops); any other gets an answer that is
// visibly broken off, one of HTTP/1.0 by a reset, which a unix socket has not.
//
// # Limits
//
// No timeout cuts a body that still moves; one that stands still because its
// client does not go on is cut after a while, in either direction. Informational
// answers are counted, headers bounded, bodies never collected: memory does not
// grow with what a stranger or an upstream sends.
package proxy
