package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/proxy/forwarded"
	"github.com/loginwall/loginwall/proxy/observe"
)

// statusClosed is what the log says where no answer was begun, because the client
// went away or what it had open was cut. nginx made it known.
const statusClosed = 499

// An exchange is one request with its answer, and all that the steps between them
// need to tell each other.
type exchange struct {
	h *Handler
	r *http.Request
	// received is the server's own; r may be a copy, and trailers come into this one.
	received *http.Request
	out      response
	started  time.Time
	target   target
	from     forwarded.Request
	judged   policy.Target
	// epoch is the state of Live before the gate decided.
	epoch  *epoch
	record observe.Record
	trace  *observe.Trace
	// silent exchanges leave no trace.
	silent bool
	// outbound is what there is once the request is being forwarded.
	outbound
}

// client says who calls, for the pages.
func (x *exchange) client() auth.Client {
	agent := x.record.Agent
	if len(agent) > maxAgent {
		agent = strings.ToValidUTF8(agent[:maxAgent], "")
	}
	return auth.Client{Address: x.from.Client, Agent: agent, RequestID: x.record.RequestID, Original: x.h.original(x)}
}

// isUser notes for the log who it is.
func (x *exchange) isUser(id *auth.Identity) {
	if id != nil {
		x.record.User = id.Email
		if x.h.AccessLog != nil {
			x.record.UserID = string(id.UserID())
		}
	}
}

// answerOurselves prepares for an answer of the wall's own to a request whose body
// nobody may ever read. A small one is waited for, not for long, so that the
// connection can be used again; for a large one the connection is given up, and
// the answer does not wait for it.
func (x *exchange) answerOurselves() {
	x.boundWriting()
	if x.r.ContentLength == 0 {
		return
	}
	if x.r.ProtoMajor == 1 && (x.r.ContentLength < 0 || x.r.ContentLength > maxOwnBody) {
		x.out.Header().Set("Connection", "close")
	}
	x.boundRest()
}

// boundWriting ends a stream of HTTP/2 for whose last bytes the client opens no
// window, and with it what we keep for it. Of those no connection tells: it goes on
// with other streams. Bodies from an upstream are watched by Live, until the
// handler has returned.
func (x *exchange) boundWriting() {
	if x.r.ProtoMajor >= 2 && x.h.Stall > 0 {
		_ = http.NewResponseController(x.out.ResponseWriter).SetWriteDeadline(x.h.Now().Add(x.h.Stall))
	}
}

func (x *exchange) boundRest() {
	// Where the connection knows no deadlines there is none to set.
	_ = http.NewResponseController(x.out.ResponseWriter).SetReadDeadline(x.h.Now().Add(unreadWait))
}

// finish ends the exchange, whatever became of it: it is deferred, takes a panic
// if there is one, and accounts for the request.
func (x *exchange) finish() {
	failure := recover()
	cause := x.leave()
	if failure != nil && failure != http.ErrAbortHandler { //nolint:errorlint // a panic's value, compared as net/http does
		x.logPanic(failure)
		if !x.out.began {
			clear(x.out.Header())
			x.h.problem(x, page.Internal)
			failure = nil
		}
	}
	switch {
	case cause != nil:
		x.record.Outcome, x.record.Reason = whyCut(cause)
		failure = http.ErrAbortHandler
	case failure != nil && x.r.Context().Err() != nil:
		x.record.Outcome = observe.Canceled
	case failure == nil && x.out.proxied:
		x.boundWriting() // the bytes that net/http still holds
	case failure != nil && x.out.proxied: // the app broke off, and what it did say goes first
		x.boundWriting()
		x.out.BeforeWait()
	}
	if !x.silent {
		x.account()
	}
	if failure != nil && !x.out.hijacked {
		x.breakOff()
		// net/http closes the connection, or resets the stream, and says nothing.
		panic(http.ErrAbortHandler)
	}
}

// breakOff resets the connection of a client of HTTP/1.0, to which the end of the
// connection is that of an answer without a length (RFC 9112, section 6.3). nginx, for
// one, speaks it to upstreams unless told otherwise.
func (x *exchange) breakOff() {
	if conn, ok := x.received.Context().Value(connKey{}).(*connection); ok &&
		x.out.began && !x.received.ProtoAtLeast(1, 1) && x.out.Header()["Content-Length"] == nil {
		conn.reset()
	}
}

// logPanic writes down where it came from. Values of unknown types stay out of
// the log: they might hold anything.
func (x *exchange) logPanic(value any) {
	what := "of a type that is not logged"
	switch v := value.(type) {
	case runtime.Error:
		what = v.Error()
	case string:
		what = v[:min(len(v), 200)]
	}
	x.h.Log.Error("panic", slog.String("request_id", x.record.RequestID),
		slog.String("value", what), slog.String("stack", string(debug.Stack())))
}

func (x *exchange) account() {
	r := &x.record
	r.Status, r.Bytes, r.Duration = x.out.status, x.out.bytes.Load(), x.h.Now().Sub(x.started)
	if r.Status == 0 {
		r.Status = statusClosed
	}
	if !x.out.proxied && r.Outcome == observe.Failed {
		r.Outcome = outcomeOf(x.out.Header().Get("X-Loginwall"))
	}
	x.h.Metrics.Request(r.Outcome, r.Method, r.Status, r.Duration, x.stream.Load() != notStream)
	x.h.AccessLog.Log(r, x.trace)
	x.trace.End(r)
}

// outcomeOf reads our own label, which every answer of ours has.
func outcomeOf(label string) observe.Outcome {
	switch label {
	case "sign_in_required":
		return observe.Challenge
	case "denied":
		return observe.Denied
	case "page":
		return observe.Page
	}
	return observe.Failed
}

// Value makes an exchange the context of its own outbound request: it is found
// there by the hooks of the reverse proxy.
func (x *exchange) Value(key any) any {
	if key == (exchangeKey{}) {
		return x
	}
	return x.Context.Value(key)
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// A requestBody is the client's body on its way to the upstream.
type requestBody struct {
	io.ReadCloser
	x *exchange
}

// Read says to Live that it waits for the client, and at the end passes trailers
// on.
func (b *requestBody) Read(p []byte) (int, error) {
	b.x.reading.Store(b.x.h.Live.clock.Load())
	n, err := b.ReadCloser.Read(p)
	b.x.reading.Store(0)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.x.bodyRead.Store(true)
		b.x.waiting.Store(b.x.h.Live.clock.Load())
		b.x.passTrailers()
	default:
		b.x.bodyBad.Store(true)
	}
	return n, err
}

// An answerBody is the upstream's body on its way to the client.
type answerBody struct {
	io.ReadCloser
	x     *exchange
	res   *http.Response
	tells bool // the body itself, when it is about to wait
	large bool // and of known length
}

// Read gives a large body to the client by itself, when its beginning has gone the
// usual way.
func (b *answerBody) Read(p []byte) (int, error) {
	if b.large && b.x.out.bytes.Load() > spliceAfter {
		if done, err := b.splice(); done {
			return 0, err
		}
		return 0, b.copyRest()
	}
	return b.read(p)
}

func (b *answerBody) read(p []byte) (int, error) {
	if !b.tells {
		b.x.out.BeforeWait() // as far as anybody can tell
	}
	n, err := b.ReadCloser.Read(p)
	b.ended(err)
	return n, err
}

// ended takes note of an error of the upstream's, and of the end.
func (b *answerBody) ended(err error) {
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		cleanHeader(b.res.Trailer)
	default:
		b.x.upstreamBroke(err)
	}
}
