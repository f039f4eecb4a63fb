// Bare is what the wall is measured against: httputil.ReverseProxy over a tuned
// http.Transport. It knows nobody, counts nothing and writes no log.
package main

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: bare ADDRESS UPSTREAM-URL")
		os.Exit(2)
	}
	upstream, err := url.Parse(os.Args[2])
	if err == nil {
		proxy := &httputil.ReverseProxy{
			Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(upstream); r.SetXForwarded() },
			Transport:  &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true},
			BufferPool: &buffers{},
		}
		err = http.ListenAndServe(os.Args[1], proxy) //nolint:gosec // nobody but the bench reaches it
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[32 << 10]byte); ok {
		return p[:]
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }
