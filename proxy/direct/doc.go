// Package direct carries requests to an upstream that speaks HTTP/1.1 without TLS,
// over TCP or a unix socket. It does what net/http's Transport does, on the
// goroutine of the caller, where net/http hands each request between three; it
// takes nothing that could be read in two ways; and it never has one request pay
// for what was left on a connection by another.
//
// What it does not do whole it passes to a fallback, net/http's Transport: https,
// HTTP/2, CONNECT, Upgrade, Expect, bodies of unknown length where a method has
// usually none, and whatever cannot be written down as it is.
//
// # The life of a connection
//
//	          dial
//	           │
//	idle ──▶ clean? ──no──▶ closed
//	 ▲         │yes            ▲
//	 │       sending ──────────┤ not all was written, or the body could not be read
//	 │         │               │
//	 │       waiting ──────────┤ too much of an answer, or none that is one
//	 │         │               │
//	 │       reading ──────────┤ it broke off, was given up, or says that it is the last
//	 │         │               │
//	 └──yes── rest? ──no───────┘ the request is not all sent, or a byte is left over
//
// Sending goes on beside waiting and reading where a request has a body, in a
// goroutine of its own: an upstream may answer before it has read all, and a
// client may wait for the answer before it sends more. What of the two ends last
// gives the connection back. From any state the end of the request's context
// closes it.
//
// # When a connection is used again
//
// Whoever reads a wrong byte as the beginning of an answer gives one person what
// was meant for another, so a connection has to prove that it is at a beginning:
//
//   - The answer ended where its framing says (a close proves nothing: it may be a
//     cut), both sides want to go on, and the framing is beyond doubt. A length
//     beside chunks, two lengths, an encoding other than chunked, a folded line: such
//     an answer is refused, and the connection closed. A 204 that announces a body is
//     taken, and the connection closed.
//   - The request was sent whole: else what comes next of it would be read as a
//     request.
//   - Nothing was read beyond the answer. What is there already cannot be the answer
//     to a request that has not been sent.
//   - The watch over the context was called off before it had begun to close.
//   - Immediately before the next request is written, the kernel has nothing to read
//     from it: no byte, no end, no error. net/http has a goroutine read instead, which
//     can be late.
//   - It is not older than the upstream's patience, as far as that is known.
//
// The last but one leaves what an upstream sends in the moment between the look and
// the request. That is as good as a wrong answer to it, which an upstream can always
// give.
//
// # Trying again
//
// A connection can close in the moment in which a request is written to it. Once,
// on a new connection, a request is sent again if it met a used one and no byte of
// it was sent; or if no byte came back, it has no body, and its method is safe (RFC
// 9110, section 9.2.2).
//
// # Large bodies
//
// Half of what a large answer costs a proxy is copying it to user space and back. On
// Linux a body whose length is known can be moved from socket to socket by splice(2)
// instead, through a pipe, once what was read ahead of it is gone; where it ends, and
// whether the connection goes on, is known as before. A pipe serves one body: nothing
// that one answer leaves in it can ever be another's.
//
// # Limits
//
// Heads, trailers, extensions of chunks and informational answers are bounded, and
// so are the connections, the idle ones among them, and who waits for one and how
// long. Time is the request's context's: what is canceled, at any point, ends.
//
// # How far it is proven
//
// What client and upstream see of each case of TestDifferences, and of each answer that
// the fuzzers make up, is compared with what they see of net/http's. The last difference
// took FuzzAnswer 53 minutes and nine million answers on two busy cores to find: blanks
// between a chunk's size and its extension, which net/http refuses. Since then 4.9 million
// answers of FuzzAnswer and 2.8 million of FuzzParts, in 57 minutes of both at once, have
// found none. Until they find none in many hours, net/http carries requests by default.
package direct
