package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/loginwall/loginwall/proxy/observe"
)

// BenchmarkProxy measures the whole way of an authenticated request beside a bare
// httputil.ReverseProxy, over 64 connections, with an app and clients that cost
// next to nothing. What counts is cpu-ns/op, and its ratio between the rows.
func BenchmarkProxy(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 1 << 20} {
		answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nEtag: \"abc\"\r\nCache-Control: no-cache\r\n\r\n", size)
		answer = append(answer, bytes.Repeat([]byte("x"), size)...)
		app := cheapApp(b, answer)
		name := fmt.Sprintf("%dKiB/", size>>10)

		r := newRig(b, app.url, setup{})
		cookie := "Cookie: " + r.signIn(alice) + "\r\n"

		bare := bareProxy(app.url)
		b.Run(name+"bare", func(b *testing.B) { drive(b, bare.Listener.Addr().String(), cookie, size) })
		bare.Close()

		r.config.AccessLog = nil
		r.reload(r.rules)
		b.Run(name+"wall", func(b *testing.B) { drive(b, r.addr, cookie, size) })

		queue := observe.NewQueue(io.Discard, 1<<20, nil)
		r.config.AccessLog = observe.NewAccessLog(queue, false)
		r.reload(r.rules)
		b.Run(name+"wall with access log", func(b *testing.B) { drive(b, r.addr, cookie, size) })
		if err := queue.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// bareProxy is what the wall is measured against.
func bareProxy(app *url.URL) *httptest.Server {
	return httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:    func(pr *httputil.ProxyRequest) { pr.SetURL(app); pr.SetXForwarded() },
		Transport:  &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true},
		BufferPool: &pool{},
	})
}

// exchangeOne sends a request and reads its answer.
func exchangeOne(conn net.Conn, in *bufio.Reader, request []byte, size int) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	line, err := in.ReadSlice('\n')
	if err == nil && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		err = fmt.Errorf("answered %q", line)
	}
	for err == nil && len(line) > 2 {
		line, err = in.ReadSlice('\n')
	}
	if err == nil {
		_, err = in.Discard(size)
	}
	return err
}

func benchRequest(cookie string) []byte {
	return []byte("GET /some/path?with=query HTTP/1.1\r\nHost: app.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n" +
		"Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n" + cookie + "\r\n")
}

type pool struct{ p sync.Pool }

func (p *pool) Get() []byte {
	if b, ok := p.p.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}
func (p *pool) Put(b []byte) { p.p.Put(&b) }

// cheapApp answers whatever ends in an empty line, without reading it.
func cheapApp(b testing.TB, answer []byte) *rawApp {
	app := newConnApp(b, nil)
	app.handle = func(conn net.Conn) {
		buf := make([]byte, 16<<10)
		for n := 0; ; {
			m, err := conn.Read(buf[n:])
			if err != nil {
				return
			}
			if n += m; bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
				n = 0
				if _, err := conn.Write(answer); err != nil {
					return
				}
			}
		}
	}
	return app
}

func drive(b *testing.B, addr, cookie string, size int) {
	const connections = 64
	request := benchRequest(cookie)
	var conns []net.Conn
	for range connections {
		conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
		must(b, err)
		defer conn.Close()
		conns = append(conns, conn)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.SetBytes(int64(size))
	b.ResetTimer()
	before := cpu(b)
	var clients sync.WaitGroup
	for _, conn := range conns {
		clients.Go(func() {
			in := bufio.NewReaderSize(conn, 64<<10)
			for left.Add(-1) >= 0 {
				if err := exchangeOne(conn, in, request, size); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpu is the processor time of this process so far, in nanoseconds.
func cpu(b *testing.B) int64 {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}
