package proxy

// For the fuzzers.
var (
	StripCookies = stripCookies
	SetsOurs     = setsOurs
)

// Relay copies what a WebSocket carries.
var Relay = relay

// Frames is what follows the frames of a WebSocket.
type Frames = frames

func (f *frames) Follow(p []byte) { f.follow(p) }
func (f *frames) Between() bool   { return f.between() }

// An Exchange is one that is nothing but known to Live.
type Exchange = exchange

// NewExchange is not known yet.
func NewExchange() *Exchange {
	x := &exchange{}
	x.cancel = func(error) {}
	return x
}

// Enter makes it known.
func (x *exchange) Enter(l *Live) {
	x.before, x.over = nil, false
	l.add(x)
}

// Leave ends that.
func (x *exchange) Leave() { _ = x.leave() }
