package login

import (
	"net/netip"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

const (
	// failureBurst and failureRate are the callbacks a client may fail before it
	// must wait; logins that succeed cost nothing, however many.
	failureBurst = 30
	failureRate  = rate.Limit(1) // a second
	// maxFailing bounds how many clients are remembered.
	maxFailing = 10_000
)

// failures slows clients whose callbacks keep failing: each such callback makes
// one request of ours to the provider, and a stranger who begins logins of their
// own could otherwise turn us into an amplifier. It is safe for concurrent use.
type failures struct {
	clients *otter.Cache[string, *rate.Limiter]
}

func newFailures() (*failures, error) {
	clients, err := otter.New(&otter.Options[string, *rate.Limiter]{
		MaximumSize: maxFailing,
		Executor:    func(run func()) { run() }, // no goroutines of its own
	})
	if err != nil {
		return nil, err
	}
	return &failures{clients}, nil
}

// allow reports whether the client may try once more.
func (f *failures) allow(address string, now time.Time) bool {
	limiter, failing := f.clients.GetIfPresent(network(address))
	return !failing || limiter.TokensAt(now) >= 1
}

// add counts one failure.
func (f *failures) add(address string, now time.Time) {
	limiter, _ := f.clients.ComputeIfAbsent(network(address), func() (*rate.Limiter, bool) {
		return rate.NewLimiter(failureRate, failureBurst), false
	})
	limiter.AllowN(now, 1)
}

// network is what one client can easily change addresses within: an IPv6 /64.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Is4() || ip.Is4In6() {
		return address
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return prefix.String()
}
