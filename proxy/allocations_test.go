//go:build !race

package proxy_test

// Under the race detector pools lose things on purpose, and allocations say nothing.

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/proxy"
	"github.com/loginwall/loginwall/proxy/observe"
)

// TestAllocations: a signed-in request, access log and metrics included, allocates
// less than one to the bare proxy without them. How much less stands here, so that it
// grows on purpose only.
func TestAllocations(t *testing.T) {
	body := strings.Repeat("x", 1<<10)
	app := cheapApp(t, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nEtag: \"abc\"\r\nCache-Control: no-cache\r\n\r\n%s", len(body), body))
	bare := bareProxy(app.url)
	defer bare.Close()
	count := func(address, cookie string) float64 {
		request := benchRequest("Cookie: " + cookie + "\r\n")
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		must(t, err)
		defer conn.Close()
		in := bufio.NewReaderSize(conn, 64<<10)
		return testing.AllocsPerRun(300, func() { must(t, exchangeOne(conn, in, request, len(body))) })
	}
	for direct, fewer := range map[bool]float64{false: 3, true: 34} {
		r := newRig(t, app.url, setup{upstream: func(c *proxy.UpstreamConfig) { c.Direct = direct }})
		queue := observe.NewQueue(io.Discard, 1<<20, nil)
		r.config.AccessLog = observe.NewAccessLog(queue, false)
		r.reload(r.rules)
		cookie := r.signIn(alice)
		if wall, bare := count(r.addr, cookie), count(bare.Listener.Addr().String(), cookie); wall > bare-fewer {
			t.Errorf("direct %v: %v allocations, and %v of the bare proxy (want %v fewer)", direct, wall, bare, fewer)
		}
		must(t, queue.Close(context.Background()))
	}
}
