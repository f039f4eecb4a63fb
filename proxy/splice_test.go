package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/proxy"
)

func directly(c *proxy.UpstreamConfig) { c.Direct = true }

// noise is another content for each seed.
func noise(seed byte, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// A spliceCounter counts what net/http gives to the connections unread.
type spliceCounter struct {
	net.Listener
	begun, bytes *atomic.Int64
}

func (l spliceCounter) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return splicedConn{conn, l}, err
}

type splicedConn struct {
	net.Conn
	l spliceCounter
}

func (c splicedConn) ReadFrom(src io.Reader) (int64, error) {
	c.l.begun.Add(1)
	n, err := c.Conn.(io.ReaderFrom).ReadFrom(src)
	c.l.bytes.Add(n)
	return n, err
}

func (c splicedConn) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// Large answers arrive to the byte, one behind the other on the same connections on
// either side, whatever lies between the two.
func TestLargeAnswersPassToTheByte(t *testing.T) {
	folder, err := os.MkdirTemp("", "splice") //nolint:usetesting // t.TempDir's are too long for a socket
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	sizes := []int{1 << 10, 96<<10 - 1, 96 << 10, 1<<20 + 7, 3 << 20, 100_003}
	for name, c := range map[string]struct {
		network string
		direct  bool
		server  func(*httptest.Server)
		proto   string
	}{
		"tcp":      {"tcp", true, nil, "HTTP/1.1"},
		"unix":     {"unix", true, nil, "HTTP/1.1"},
		"standard": {"tcp", false, nil, "HTTP/1.1"},
		"TLS":      {"tcp", true, (*httptest.Server).StartTLS, "HTTP/1.1"},
		"HTTP/2":   {"tcp", true, func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }, "HTTP/2.0"},
	} {
		t.Run(name, func(t *testing.T) {
			app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seed, _ := strconv.Atoi(r.URL.Path[1:])
				content := noise(byte(seed), sizes[seed])
				w.Header().Set("Content-Length", strconv.Itoa(len(content)))
				w.Header().Set("X-From", r.RemoteAddr)
				for pieces := rand.New(rand.NewPCG(uint64(seed), 1)); len(content) > 0 && r.Method != http.MethodHead; {
					n := min(len(content), 1+pieces.IntN(200<<10))
					_, _ = w.Write(content[:n])
					content = content[n:]
				}
			}))
			address := "127.0.0.1:0"
			if c.network == "unix" {
				address = filepath.Join(folder, "app")
			}
			app.Listener.Close()
			app.Listener, err = new(net.ListenConfig).Listen(t.Context(), c.network, address)
			must(t, err)
			app.Start()
			t.Cleanup(app.Close)
			var begun, unread atomic.Int64
			count := func(s *httptest.Server) {
				if c.server != nil {
					c.server(s)
				} else {
					s.Listener = spliceCounter{s.Listener, &begun, &unread}
				}
			}
			r := newRig(t, &url.URL{Scheme: "http", Host: "app"}, setup{server: count, upstream: func(up *proxy.UpstreamConfig) {
				up.Direct = c.direct
				if up.URL.Host = app.Listener.Addr().String(); c.network == "unix" {
					up.URL.Host, up.Socket = "app", address
				}
			}})
			cookie, from := r.signIn(alice), ""
			for seed, size := range sizes {
				for _, method := range []string{http.MethodHead, http.MethodGet} {
					res, err := r.client.Do(r.request(cookie, method, fmt.Sprint("/", seed), nil))
					must(t, err)
					got, err := io.ReadAll(res.Body)
					must(t, err)
					res.Body.Close()
					if method == http.MethodHead {
						size = 0
					} else {
						size = sizes[seed]
					}
					if res.ContentLength != int64(sizes[seed]) || len(got) != size || !bytes.Equal(got, noise(byte(seed), size)) || res.Proto != c.proto {
						t.Errorf("%s of %d bytes: %d, %s", method, sizes[seed], len(got), res.Proto)
					}
					if next := res.Header.Get("X-From"); from != "" && next != from && c.direct { // net/http gives one up on a busy machine
						t.Errorf("%d bytes came on another connection", sizes[seed])
					} else {
						from = next
					}
					eventually(t, "the bytes are counted", func() bool { return strings.Contains(r.access.String(), fmt.Sprintf(`"bytes":%d,`, size)) })
				}
			}
			if spliced := runtime.GOOS == "linux" && c.direct && c.server == nil; spliced != (unread.Load() > 4<<20) {
				t.Errorf("%d bytes went unread", unread.Load())
			}
			if log := r.log.String(); log != "" {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// Large uploads arrive to the byte, too, with a length and without.
func TestLargeUploadsPassToTheByte(t *testing.T) {
	app := newApp(t, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		_, _ = fmt.Fprintf(w, "%d %v %v %x", n, err, r.ContentLength, h.Sum(nil))
	})
	for _, direct := range []bool{false, true} {
		r := newRig(t, app, setup{upstream: func(up *proxy.UpstreamConfig) { up.Direct = direct }})
		cookie := r.signIn(alice)
		for i, size := range []int{1, 4 << 10, 64 << 10, 64<<10 + 1, 3<<20 + 7} {
			content := noise(byte(i), size)
			sum := sha256.Sum256(content)
			for length, body := range map[int]io.Reader{size: bytes.NewReader(content), -1: io.MultiReader(bytes.NewReader(content))} {
				want := fmt.Sprintf("%d <nil> %d %x", size, length, sum)
				if _, got := r.send(cookie, http.MethodPut, "/", body); got != want {
					t.Errorf("direct %v: %q, want %q", direct, got, want)
				}
			}
		}
	}
}

// What was pipelined behind the request is answered behind the answer.
func TestARequestBehindALargeAnswer(t *testing.T) {
	content := noise(1, 2<<20)
	app := newRawApp(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(content), content))
	r := newRig(t, app.url, setup{upstream: directly})
	conn := r.dial()
	request := "GET / HTTP/1.1\r\nHost: app.test\r\nCookie: " + r.signIn(alice) + "\r\n\r\n"
	_, err := io.WriteString(conn, request+request+request)
	must(t, err)
	for in := bufio.NewReader(conn); len(app.requests()) < 3; {
		res, err := http.ReadResponse(in, nil)
		must(t, err)
		if got, err := io.ReadAll(res.Body); !bytes.Equal(got, content) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
}

// halfOf answers with the first half, and does the rest.
func halfOf(t testing.TB, size int, then func(net.Conn)) *rawApp {
	return newConnApp(t, func(conn net.Conn, _ string) {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		_, _ = conn.Write(make([]byte, size/2))
		then(conn)
	})
}

func TestSMG056ALargeAnswerThatBreaksOff(t *testing.T) {
	for name, end := range map[string]func(net.Conn){
		"closed": func(conn net.Conn) { conn.Close() },
		"reset":  func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0); conn.Close() },
	} {
		read := make(chan struct{})
		app := halfOf(t, 2<<20, func(conn net.Conn) { <-read; end(conn) })
		r := newRig(t, app.url, setup{upstream: directly})
		res, err := r.client.Do(r.request(r.signIn(alice), "GET", "/", nil))
		must(t, err)
		_, err = io.ReadFull(res.Body, make([]byte, 1<<20))
		must(t, err)
		close(read)
		if n, err := io.Copy(io.Discard, res.Body); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %d bytes more, %v", name, n, err)
		}
		res.Body.Close()
		eventually(t, "the failure is counted", func() bool {
			return r.metric(`loginwall_upstream_errors_total{kind="closed"} 1`) && strings.Contains(r.access.String(), `"bytes":1048576,`) && strings.Contains(r.access.String(), `"reason":"closed"`)
		})
	}
}

// Whatever ends a large answer ends the app's connection, too, while the app is
// waited for and while the client is.
func TestWhatEndsALargeAnswer(t *testing.T) {
	t.Parallel()
	for _, waits := range []string{"app", "client", "app, copied", "client, copied"} {
		waits, copied := strings.CutSuffix(waits, ", copied")
		for name, c := range map[string]struct {
			end   func(*rig, *auth.Session, net.Conn)
			stall time.Duration
			log   string
		}{
			"signed out": {func(r *rig, s *auth.Session, _ net.Conn) {
				must(t, r.keeper.End(context.Background(), s, "alice", auth.EndSignOut))
			}, time.Minute, `"reason":"revoked","outcome":"ended"`},
			"gone":    {func(_ *rig, _ *auth.Session, conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0); conn.Close() }, time.Minute, `"outcome":"canceled"`},
			"stalled": {func(*rig, *auth.Session, net.Conn) {}, 3 * time.Second, `"outcome":"canceled"`},
		} {
			if waits == "app" && name == "stalled" {
				continue // the app may take its time
			}
			t.Run(fmt.Sprintf("%s/%s/copied=%v", waits, name, copied), func(t *testing.T) {
				t.Parallel()
				gone := make(chan struct{})
				app := halfOf(t, 1<<30, func(conn net.Conn) {
					if waits == "app" {
						_, _ = io.Copy(io.Discard, conn)
					}
					close(gone)
				})
				if waits == "app" {
					app = halfOf(t, 2<<20, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn); close(gone) })
				}
				var begun, unread atomic.Int64
				r := newRig(t, app.url, setup{upstream: func(up *proxy.UpstreamConfig) { up.Direct = !copied }, stall: c.stall, server: func(s *httptest.Server) {
					s.Listener = spliceCounter{s.Listener, &begun, &unread}
				}})
				cookie, s := r.start(alice)
				conn := r.dial()
				_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\nCookie: "+cookie+"\r\n\r\n")
				must(t, err)
				_, err = io.ReadFull(conn, make([]byte, 1<<20))
				must(t, err)
				if runtime.GOOS == "linux" && (begun.Load() == 0) != copied {
					t.Error("it goes the other way")
				}
				c.end(r, s, conn)
				select {
				case <-gone:
				case <-time.After(patience):
					t.Fatal("the app's connection stays open")
				}
				eventually(t, "the log says so", func() bool { return strings.Contains(r.access.String(), c.log) })
				if n, err := io.Copy(io.Discard, conn); name != "gone" && (n > 1<<28 || isTimeout(err)) {
					t.Errorf("%d bytes more, %v", n, err)
				}
				if log := r.log.String(); log != "" {
					t.Errorf("log: %s", log)
				}
			})
		}
	}
}

// Who takes a little all the time gets all, however long it takes.
func TestDOS188ASlowReaderOfALargeAnswerIsNotCut(t *testing.T) {
	t.Parallel()
	content := noise(2, 12<<20)
	app := newRawApp(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(content), content))
	r := newRig(t, app.url, setup{upstream: directly, stall: 3 * time.Second})
	conn := r.dial()
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\nCookie: "+r.signIn(alice)+"\r\n\r\n")
	must(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	var got bytes.Buffer
	for err == nil {
		time.Sleep(100 * time.Millisecond) // the subject of the test is slowness
		_, err = io.CopyN(&got, res.Body, 256<<10)
	}
	if err != io.EOF || !bytes.Equal(got.Bytes(), content) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
}
