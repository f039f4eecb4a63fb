package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loginwall/loginwall/auth/gate"
	"github.com/loginwall/loginwall/auth/session"
	"github.com/loginwall/loginwall/proxy/observe"
)

// Why an exchange was cut.
var (
	errRevoked  = errors.New("the session was revoked, or is not let in any more")
	errExpired  = errors.New("the session has expired")
	errStalled  = errors.New("the client stood still")
	errDraining = errors.New("the wall stops")
)

// ConnContext is for http.Server. A request over HTTP/1 has its connection for
// itself, and when it is cut the connection ends: so what cancels the connection's
// context can cancel the outbound request, and a request needs no context of ours.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	return context.WithValue(ctx, connKey{}, &connection{conn, cancel})
}

type connKey struct{}

// A connection is a client's, with what cancels its context.
type connection struct {
	net.Conn
	cancel context.CancelCauseFunc
}

// reset closes a connection in a way that cannot be taken for the end of an answer.
// Unix sockets have none.
func (c *connection) reset() {
	conn := underTLS(c.Conn)
	if guarded, ok := conn.(*guardedConn); ok {
		conn = guarded.Conn
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

// cancelable gives the outbound request a context that cut can cancel.
func (x *exchange) cancelable() {
	x.Context = x.r.Context()
	if x.r.ProtoMajor == 1 {
		var conn *connection
		if conn, x.lent = x.Context.Value(connKey{}).(*connection); x.lent {
			x.cancel = conn.cancel
		}
	}
	if !x.lent {
		x.Context, x.cancel = context.WithCancelCause(x.Context)
	}
}

// whyCut says so in the log.
func whyCut(cause error) (observe.Outcome, string) {
	switch {
	case errors.Is(cause, errRevoked):
		return observe.Ended, "revoked"
	case errors.Is(cause, errExpired):
		return observe.Ended, "expired"
	case errors.Is(cause, errStalled):
		return observe.Canceled, "stalled"
	}
	return observe.Canceled, "draining"
}

const (
	// tick is how often Live looks for what has expired or stands still.
	tick = 250 * time.Millisecond
	// ticksPerCheck is after how many ticks everything is decided anew even if
	// nothing was heard, for the day on which the revocations grow too old.
	ticksPerCheck = 4
	// waitTick is how often Wait looks.
	waitTick   = 10 * time.Millisecond
	liveShards = 16
)

// Live knows every request that was let in and has not ended, so that nothing
// stays open when its session does not. It lives as long as the process, across
// reloads, and is safe for concurrent use. Its cost to a request is two short
// locks.
type Live struct {
	revoked *session.Revocations
	metrics *observe.Metrics
	now     func() time.Time
	// epoch is replaced, before everything is looked through, whenever something has
	// changed.
	epoch atomic.Pointer[epoch]
	// clock is now, in nanoseconds, as of the last tick: good enough to tell what
	// stands still.
	clock    atomic.Int64
	draining atomic.Bool
	next     atomic.Uint32
	shards   [liveShards]liveShard
}

// An epoch is a stretch of time in which no decision changes. Whoever decided in
// one and finds itself in another has to ask again.
type epoch struct{ gate *gate.Gate }

type liveShard struct {
	mu   sync.Mutex
	head *exchange
	_    [48]byte // keep shards on cache lines of their own
}

// NewLive starts with nothing open. Reload must be called before the first
// request.
func NewLive(revoked *session.Revocations, metrics *observe.Metrics, now func() time.Time) *Live {
	l := &Live{revoked: revoked, metrics: metrics, now: now}
	l.epoch.Store(&epoch{&gate.Gate{}}) // the zero Gate lets nobody in
	l.clock.Store(now().UnixNano())
	return l
}

// Reload has everything that is open decided anew by g, the gate that is in force
// from now on. Requests that begin after it returns, with any Handler, are held to
// g.
func (l *Live) Reload(g *gate.Gate) {
	l.epoch.Store(&epoch{g})
	l.check()
}

// Run watches over what is open until ctx ends.
func (l *Live) Run(ctx context.Context) {
	changed, cancel := l.revoked.Subscribe()
	defer cancel()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for ticks := 1; ; {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			l.epoch.Store(&epoch{l.epoch.Load().gate})
			l.check()
		case <-ticker.C:
			l.clock.Store(l.now().UnixNano())
			l.expire()
			if l.draining.Load() {
				l.cutStreams()
			}
			if ticks++; ticks%ticksPerCheck == 0 {
				l.check()
			}
		}
	}
}

// Drain ends WebSockets and event streams, which would not end by themselves, and
// from now on those that begin.
func (l *Live) Drain() {
	l.draining.Store(true)
	l.cutStreams()
}

// Cut ends all that is open, and returns when it is over, or ctx ends: http.Server's
// Close would end half an answer as if it were whole.
func (l *Live) Cut(ctx context.Context) {
	l.cutWhere(errDraining, func(*exchange) bool { return true })
	l.Wait(ctx)
}

func (l *Live) cutStreams() {
	l.cutWhere(errDraining, func(x *exchange) bool { return x.stream.Load() != notStream })
}

// Wait returns when nothing is open, or ctx ends. http.Server knows nothing of
// WebSockets, so without it the last ones would not get to read why they end.
func (l *Live) Wait(ctx context.Context) {
	for ticker := time.NewTicker(waitTick); l.Len() > 0; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// check cuts what the gate does not let in any more.
func (l *Live) check() {
	g := l.epoch.Load().gate
	for _, x := range l.find(func(x *exchange) bool { return !g.Holds(x.principal, x.judged) }) {
		x.revoke()
	}
}

// expire cuts streams whose session is over, and bodies that stand still.
func (l *Live) expire() {
	now := l.now()
	l.cutWhere(errExpired, func(x *exchange) bool {
		return x.stream.Load() != notStream && x.principal != nil && !now.Before(x.principal.Session().Expires)
	})
	l.cutWhere(errStalled, func(x *exchange) bool { return x.standsStill(now) })
	for _, x := range l.find(func(x *exchange) bool { return x.waitsInVain(now) }) {
		x.giveUp(errSilent)
	}
}

func (l *Live) cutWhere(cause error, match func(*exchange) bool) {
	for _, x := range l.find(match) {
		x.cut(cause)
	}
}

// find returns what matches, so that nothing is done about it under the lock of its
// shard: it may take a moment.
func (l *Live) find(match func(*exchange) bool) []*exchange {
	var found []*exchange
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for x := s.head; x != nil; x = x.after {
			if match(x) {
				found = append(found, x)
			}
		}
		s.mu.Unlock()
	}
	return found
}

// add takes an exchange in, just before it is forwarded.
func (l *Live) add(x *exchange) {
	s := &l.shards[l.next.Add(1)%liveShards]
	x.shard = s
	s.mu.Lock()
	if s.head != nil {
		s.head.before = x
	}
	x.after, s.head = s.head, x
	s.mu.Unlock()
}

// A registration is an exchange's part in Live.
type registration struct {
	shard         *liveShard // nil while not registered
	before, after *exchange  // guarded by the shard's lock
	// stream is what kind of stream this is.
	stream atomic.Int32
	// answered says that the answer has begun: from then on the client may be silent.
	answered atomic.Bool
	// reading and writing are since when the exchange waits for its client, by Live's
	// clock; zero while it does not.
	reading, writing atomic.Int64
	// waiting is the same for the upstream's answer, from when it has the request.
	waiting atomic.Int64

	mu    sync.Mutex
	over  bool  // the handler is about to return; guarded by mu, as what follows
	cause error // why it was cut
	conn  *webSocketConn
}

// The kinds of streams: what may go on for as long as both sides like.
const (
	notStream int32 = iota
	eventStream
	webSocket
)

func streamName(kind int32) string {
	if kind == webSocket {
		return "websocket"
	}
	return "event_stream"
}

func (x *exchange) setStream(kind int32) {
	x.stream.Store(kind)
	x.h.Metrics.Streams(streamName(kind), 1)
}

// took notes the connection of a WebSocket.
func (x *exchange) took(conn *webSocketConn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn = conn
	if x.cause != nil {
		closeNow(conn.Conn) // nobody has been told yet that it is one
	}
}

func (x *exchange) whyCut() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.cause
}

// standsStill reports whether the client has not moved for too long. Only a body
// that somebody waits for can stand still: once the answer has begun, a client
// that is silent is listening.
func (x *exchange) standsStill(now time.Time) bool {
	if x.h.Stall <= 0 {
		return false
	}
	before := now.Add(-x.h.Stall - tick).UnixNano() // the clock may have been a tick behind
	reading, writing := x.reading.Load(), x.writing.Load()
	return reading != 0 && reading < before && !x.answered.Load() || writing != 0 && writing < before
}

// waitsInVain reports whether the upstream has had the whole request for too long
// without an answer.
func (x *exchange) waitsInVain(now time.Time) bool {
	waiting := x.waiting.Load()
	return waiting != 0 && !x.answered.Load() && x.up.headerTimeout > 0 && waiting < now.Add(-x.up.headerTimeout-tick).UnixNano()
}

// cut ends an exchange from outside. The upstream sees a canceled request, the
// client of a WebSocket a close frame, and any other a connection that closes in
// mid-answer, never a clean end.
func (x *exchange) cut(cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over || x.cause != nil {
		return
	}
	x.cause = cause
	x.cancel(cause)
	if x.conn != nil {
		x.conn.cut()
		return
	}
	// Whoever waits for the client stops waiting. Errors mean that the connection is
	// closed already.
	control := http.NewResponseController(x.out.ResponseWriter)
	past := time.Unix(1, 0)
	_ = control.SetReadDeadline(past)
	_ = control.SetWriteDeadline(past)
}

// revoke ends an exchange whose session does not hold any more. Where nothing of an
// answer has begun, and the client sends nothing that would have to be stopped, it is
// told so, as its next request would be; anything else is cut.
func (x *exchange) revoke() {
	if x.r.ContentLength == 0 && !x.answered.Load() {
		x.giveUp(errRevoked)
		if !x.answered.Load() { // it cannot begin now: modifyResponse looks again
			return
		}
	}
	x.cut(errRevoked)
}

// giveUp ends the request to the upstream; the client gets a page that says why.
func (x *exchange) giveUp(cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over { // else the connection's context is another request's
		x.cancel(cause)
	}
}

// closeNow closes a connection without the farewell of TLS, which would wait for a
// client that does not read.
func closeNow(conn net.Conn) { underTLS(conn).Close() }

func underTLS(conn net.Conn) net.Conn {
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return wrapped.NetConn()
	}
	return conn
}

// leave takes the exchange out, if it was ever in, and returns why it was cut, if
// it was.
func (x *exchange) leave() error {
	if x.shard == nil {
		return nil
	}
	x.shard.mu.Lock()
	if x.before != nil {
		x.before.after = x.after
	} else {
		x.shard.head = x.after
	}
	if x.after != nil {
		x.after.before = x.before
	}
	x.shard.mu.Unlock()

	x.mu.Lock()
	x.over = true
	cause := x.cause
	x.mu.Unlock()
	if !x.lent {
		x.cancel(nil)
	}
	if kind := x.stream.Load(); kind != notStream {
		x.h.Metrics.Streams(streamName(kind), -1)
	}
	return cause
}

// Len returns how many requests are under way.
func (l *Live) Len() int {
	n := 0
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for x := s.head; x != nil; x = x.after {
			n++
		}
		s.mu.Unlock()
	}
	return n
}
