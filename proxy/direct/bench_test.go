package direct_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
)

// BenchmarkRoundTrip measures one exchange beside net/http's Transport, over 64
// connections, with an upstream in the same process that costs next to nothing.
// What counts is cpu-ns/op, and its ratio.
func BenchmarkRoundTrip(b *testing.B) {
	for _, bench := range []struct {
		name   string
		down   int
		up     int
		chunks bool
	}{{name: "1KiB", down: 1 << 10}, {name: "16KiB", down: 16 << 10}, {name: "1MiB", down: 1 << 20}, {name: "chunks", down: 1 << 10, chunks: true}, {name: "POST", down: 10, up: 1 << 10}, {name: "upload", down: 10, up: 1 << 20}} {
		reply := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Type: text/plain\r\nEtag: \"abc\"\r\nCache-Control: no-cache\r\nContent-Length: %d\r\n\r\n", bench.down)
		content := bytes.Repeat([]byte("x"), bench.down)
		if bench.chunks {
			reply = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", bench.down)
			content = append(content, "\r\n0\r\n\r\n"...)
		}
		reply = append(reply, content...)
		up := newUpstream(b, "tcp", func(w *wire) {
			buf := make([]byte, 64<<10)
			for n, left := 0, 0; ; {
				m, err := w.Read(buf[n:])
				if err != nil {
					return
				}
				if n += m; left > 0 {
					left, n = left-n, 0
				} else if end := bytes.Index(buf[:n], []byte("\r\n\r\n")); end >= 0 {
					left, n = bench.up-(n-end-4), 0
				} else {
					continue
				}
				if left == 0 {
					if _, err := w.Write(reply); err != nil {
						return
					}
				}
			}
		})
		standard, ours := carriers(up.dial, nil)
		for _, rt := range []carrier{standard, ours} {
			name := bench.name + "/ours"
			if rt == carrier(standard) {
				name = bench.name + "/standard"
			}
			b.Run(name, func(b *testing.B) {
				b.SetParallelism(32)
				b.ReportAllocs()
				b.ResetTimer()
				before := cpu(b)
				b.RunParallel(func(pb *testing.PB) {
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					base := get(ctx, "GET", "/some/path?with=query", nil)
					for name, value := range map[string]string{
						"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Accept-Language": "en-US,en;q=0.5", "Accept-Encoding": "gzip, deflate, br",
						"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https",
						"X-Forwarded-User": "alice@example.com", "X-Request-Id": "0123456789abcdef",
					} {
						base.Header.Set(name, value)
					}
					buf := make([]byte, 32<<10)
					upload := bytes.Repeat([]byte("x"), bench.up)
					for pb.Next() {
						req := base.WithContext(ctx)
						if bench.up > 0 {
							req.Method, req.Body, req.ContentLength = "POST", io.NopCloser(struct{ io.Reader }{bytes.NewReader(upload)}), int64(bench.up)
						}
						exchange(b, rt, req, buf, bench.down)
					}
				})
				b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
			})
			rt.CloseIdleConnections()
		}
	}
}

func exchange(b *testing.B, rt http.RoundTripper, req *http.Request, buf []byte, want int) {
	res, err := rt.RoundTrip(req)
	if err != nil {
		b.Error(err)
		return
	}
	got := 0
	for err == nil {
		var n int
		n, err = res.Body.Read(buf)
		got += n
	}
	res.Body.Close()
	if err != io.EOF || got != want {
		b.Errorf("%d bytes, %v", got, err)
	}
}

// cpu is the processor time of this process so far, in nanoseconds.
func cpu(b *testing.B) int64 {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}
