package proxy

// For the fuzzers.
var (
	StripCookies = stripCookies
	SetsOurs     = setsOurs
)

// Frames is what follows the frames of a WebSocket.
type Frames = frames

func (f *frames) Follow(p []byte) { f.follow(p) }
func (f *frames) Between() bool   { return f.between() }
