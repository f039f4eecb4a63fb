package login

import (
	"net/netip"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// failureBurst is how many callbacks a client may fail before it must wait, a second
	// for each; logins that succeed cost nothing, however many.
	failureBurst = 30
	// maxFailing bounds how many clients are remembered.
	maxFailing = 10_000
)

// failures slows clients whose callbacks keep failing: each such callback makes
// one request of ours to the provider, and a stranger who begins logins of their
// own could otherwise turn us into an amplifier. It is safe for concurrent use.
type failures struct {
	clients *otter.Cache[string, *bucket]
}

func newFailures() (*failures, error) {
	clients, err := otter.New(&otter.Options[string, *bucket]{
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
	return !failing || limiter.has(now)
}

// add counts one failure.
func (f *failures) add(address string, now time.Time) {
	limiter, _ := f.clients.ComputeIfAbsent(network(address), func() (*bucket, bool) {
		return newBucket(failureBurst), false
	})
	limiter.take(now)
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
