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

	"github.com/loginwall/loginwall/proxy/observe"
)

// TestAllocations: a signed-in request, access log and metrics included, allocates
// hardly more than the bare proxy does without them. What it may allocate more stands
// here, so that it grows on purpose only.
func TestAllocations(t *testing.T) {
	const more = 6
	body := strings.Repeat("x", 1<<10)
	app := cheapApp(t, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nEtag: \"abc\"\r\nCache-Control: no-cache\r\n\r\n%s", len(body), body))
	r := newRig(t, app.url, setup{})
	queue := observe.NewQueue(io.Discard, 1<<20, nil)
	r.config.AccessLog = observe.NewAccessLog(queue, false)
	r.reload(r.rules)
	bare := bareProxy(app.url)
	defer bare.Close()

	request := benchRequest("Cookie: " + r.signIn(alice) + "\r\n")
	count := func(address string) float64 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		must(t, err)
		defer conn.Close()
		in := bufio.NewReaderSize(conn, 64<<10)
		return testing.AllocsPerRun(300, func() { must(t, exchangeOne(conn, in, request, len(body))) })
	}
	if wall, bare := count(r.addr), count(bare.Listener.Addr().String()); wall > bare+more {
		t.Errorf("%v allocations, and %v of the bare proxy (want %d more at most)", wall, bare, more)
	}
	must(t, queue.Close(context.Background()))
}
