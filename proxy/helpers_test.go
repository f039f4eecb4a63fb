package proxy_test

import (
	"net/netip"
	"sync"
	"time"

	"github.com/loginwall/loginwall/proxy"
)

type upstreamConfig = proxy.UpstreamConfig

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// A clock moves when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
