package direct_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loginwall/loginwall/proxy/direct"
)

// both runs a test with net/http's Transport and with ours.
func both(t *testing.T, test func(t *testing.T, start func(up *upstream) http.RoundTripper)) {
	t.Helper()
	for i, name := range []string{"net/http", "ours"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(up *upstream) http.RoundTripper {
				standard, ours := carriers(up.dial, nil)
				if i == 0 {
					t.Cleanup(standard.CloseIdleConnections)
					return standard
				}
				t.Cleanup(func() {
					settle(t, ours)
					ours.CloseIdleConnections()
					if open, idle, waiting := ours.Stats(); open+idle+waiting != 0 {
						t.Errorf("%d open, %d idle, %d waiting at the end", open, idle, waiting)
					}
				})
				return ours
			})
		})
	}
}

// A request can be canceled at any point; its cause is the error, the upstream sees
// the connection close, and nobody uses it after.
func TestCancel(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 8<<20)
	for _, tt := range []struct {
		name string
		body func() io.Reader
		// play does what the upstream does until it has canceled.
		play func(w *wire, cancel func())
		in   string // what fails
	}{
		{"before an answer", nil, func(w *wire, cancel func()) { w.request(); cancel() }, "header"},
		{"in the header", nil, func(w *wire, cancel func()) { w.request(); w.say("HTTP/1.1 200 OK\r\nA: "); cancel() }, "header"},
		{"after an informational answer", nil, func(w *wire, cancel func()) { w.request(); w.say("HTTP/1.1 103 Early Hints\r\n\r\n"); cancel() }, "header"},
		{"in a body by length", nil, func(w *wire, cancel func()) { w.request(); w.say(head("Content-Length: 9\r\n", "half")); cancel() }, "body"},
		{"in a body by chunks", nil, func(w *wire, cancel func()) {
			w.request()
			w.say(head("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n"))
			cancel()
		}, "body"},
		{"in the trailers", nil, func(w *wire, cancel func()) {
			w.request()
			w.say(head("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n0\r\n"))
			cancel()
		}, "trailers"},
		{"in a body until it closes", nil, func(w *wire, cancel func()) { w.request(); w.say(head("", "half")); cancel() }, "body"},
		{"while the request is sent", func() io.Reader { return strings.NewReader(large) }, func(w *wire, cancel func()) { w.head(); cancel() }, "header"},
		{"while the request is sent and answered", func() io.Reader { return strings.NewReader(large) }, func(w *wire, cancel func()) {
			w.head()
			w.say(head("Content-Length: 9\r\n", "half"))
			cancel()
		}, "body"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, start func(*upstream) http.RoundTripper) {
				if tt.in == "trailers" && strings.HasSuffix(t.Name(), "net/http") {
					return // it has another error there, and leaves the connection open
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				up := newUpstream(t, "tcp", func(w *wire) {
					if w.number > 1 {
						w.request()
						w.say(fmt.Sprintf(second, w.number))
						return
					}
					tt.play(w, func() {
						if tt.in == "header" {
							cancel(errCause)
						}
					})
					w.gone()
				})
				rt := start(up)
				req := get(ctx, "GET", "/", nil)
				if tt.body != nil {
					req = get(ctx, "POST", "/", tt.body())
				}
				res, err := rt.RoundTrip(req)
				if tt.in != "header" && err == nil {
					if _, err := io.ReadFull(res.Body, []byte("half")); err != nil {
						t.Error(err)
					}
					cancel(errCause)
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if !errors.Is(err, errCause) {
						t.Errorf("%v from the body", err)
					}
				} else if tt.in != "header" || !errors.Is(err, errCause) {
					t.Errorf("%v", err)
				}
				if next := carry(rt, get(t.Context(), "GET", "/second", nil)); next.Body != "second" || next.Header.Get("X-Connection") != "2" {
					t.Errorf("%+v", next)
				}
			})
		})
	}
}

func TestCancelBeforeAndWhileDialing(t *testing.T) {
	t.Parallel()
	dialing := make(chan struct{})
	dial := func(ctx context.Context) (net.Conn, error) {
		close(dialing)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, ours := carriers(dial, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-dialing; cancel(errCause) }()
	if _, err := ours.RoundTrip(get(ctx, "GET", "/", nil)); !errors.Is(err, errCause) {
		t.Errorf("while dialing: %v", err)
	}
	if _, err := ours.RoundTrip(get(ctx, "GET", "/", nil)); !errors.Is(err, errCause) {
		t.Errorf("before: %v", err)
	}
	if open, idle, waiting := ours.Stats(); open+idle+waiting != 0 {
		t.Errorf("%d open, %d idle, %d waiting", open, idle, waiting)
	}
}

// Both bodies are open at once, and each side waits for what the other says.
func TestBothDirections(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, start func(*upstream) http.RoundTripper) {
		up := newUpstream(t, "tcp", func(w *wire) {
			for {
				req, err := http.ReadRequest(w.in)
				if err != nil {
					return
				}
				w.say(head("Transfer-Encoding: chunked\r\n", ""))
				buf := [4]byte{}
				for {
					if _, err := io.ReadFull(req.Body, buf[:]); err != nil {
						break
					}
					w.say("4\r\n" + string(buf[:]) + "\r\n")
				}
				w.say("0\r\n\r\n")
			}
		})
		rt := start(up)
		for range 3 {
			in, out := io.Pipe()
			req := get(t.Context(), "POST", "/", in)
			res, err := rt.RoundTrip(req)
			must(t, err)
			for i := range 20 {
				message := fmt.Sprintf("%04d", i)
				_, err := io.WriteString(out, message)
				must(t, err)
				got := [4]byte{}
				if _, err := io.ReadFull(res.Body, got[:]); err != nil || string(got[:]) != message {
					t.Fatalf("%q, %v", got, err)
				}
			}
			out.Close()
			if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
				t.Errorf("%q, %v", rest, err)
			}
			res.Body.Close()
		}
	})
}

// Whoever closes a body that he has not read takes its connection away, also while
// somebody reads.
func TestCloseBody(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, start func(*upstream) http.RoundTripper) {
		up := newUpstream(t, "tcp", func(w *wire) {
			if !w.request() {
				return
			}
			if w.number < 3 {
				w.say(head("Content-Length: 9\r\n", "half"))
				w.gone()
				return
			}
			w.say(fmt.Sprintf(second, w.number))
		})
		rt := start(up)
		res, err := rt.RoundTrip(get(t.Context(), "GET", "/", nil))
		must(t, err)
		res.Body.Close()
		if _, err := res.Body.Read(new([1]byte)[:]); err == nil {
			t.Error("a closed body was read")
		}

		res, err = rt.RoundTrip(get(t.Context(), "GET", "/", nil))
		must(t, err)
		_, err = io.ReadFull(res.Body, []byte("half"))
		must(t, err)
		read := make(chan error, 1)
		go func() { _, err := res.Body.Read(new([1]byte)[:]); read <- err }()
		res.Body.Close()
		if err := <-read; err == nil {
			t.Error("a closed body was read")
		}
		if next := carry(rt, get(t.Context(), "GET", "/second", nil)); next.Header.Get("X-Connection") != "3" {
			t.Errorf("%+v", next)
		}
	})
}

// A connection that the upstream closes just when a request is sent on it: whether
// the request is sent again.
func TestTryingAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, body string
		prepare      func(*http.Request)
		again        bool
	}{
		{method: "GET", again: true},
		{method: "HEAD", again: true},
		{method: "OPTIONS", again: true},
		{method: "GET", body: "x"},
		{method: "POST"},
		{method: "POST", body: "x"},
		{method: "PUT"},
		{method: "DELETE"},
		{method: "PATCH"},
	} {
		t.Run(tt.method+tt.body, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, start func(*upstream) http.RoundTripper) {
				up := newUpstream(t, "tcp", func(w *wire) {
					for w.request() {
						switch {
						case w.number == 1 && len(w.up.requests()) == 2:
							return
						case tt.method == "HEAD" && w.number > 1:
							w.say("HTTP/1.1 200 OK\r\n\r\n")
						default:
							w.say(ok)
						}
					}
				})
				rt := start(up)
				if first := carry(rt, get(t.Context(), "GET", "/", nil)); first.Err != "" {
					t.Fatalf("%+v", first)
				}
				var body io.Reader
				if tt.body != "" {
					body = strings.NewReader(tt.body)
				}
				got := carry(rt, get(t.Context(), tt.method, "/", body))
				if strings.HasSuffix(t.Name(), "net/http") && got.Err == "" && len(up.requests()) == 2 {
					return // on another connection: on a busy machine it gives up the first
				}
				if (got.Err == "") != tt.again {
					t.Errorf("%+v", got)
				}
				if want := map[bool]int{false: 2, true: 3}[tt.again]; len(up.requests()) != want {
					t.Errorf("the upstream got %d requests, want %d", len(up.requests()), want)
				}
			})
		})
	}
}

func (u *upstream) requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.seen...)
}

// A new connection that breaks is an error, and so is the second try.
func TestNoThirdTry(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, "tcp", func(w *wire) {
		if w.request() && w.number == 1 {
			w.say(ok)
			w.request()
		}
	})
	_, ours := carriers(up.dial, nil)
	if first := carry(ours, get(t.Context(), "GET", "/", nil)); first.Body != "ok" {
		t.Fatalf("%+v", first)
	}
	if got := carry(ours, get(t.Context(), "GET", "/", nil)); got.Err != "failed" || len(up.requests()) != 3 {
		t.Errorf("%+v, %d requests", got, len(up.requests()))
	}
	if got := carry(ours, get(t.Context(), "GET", "/", nil)); got.Err != "failed" || len(up.requests()) != 4 {
		t.Errorf("%+v, %d requests", got, len(up.requests()))
	}
}

// Connections that the upstream closed, or on which it said something, while they
// were idle are not used, by any method.
func TestIdleConnectionsAreLookedAt(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*wire){
		"closed": func(w *wire) { w.Close() },
		"reset":  (*wire).reset,
		"408":    func(w *wire) { w.say("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n") },
		"a byte": func(w *wire) { w.say("x") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leaving, left := make(chan struct{}), make(chan struct{}, 3)
			up := newUpstream(t, "tcp", func(w *wire) {
				if w.request() {
					w.say(ok)
					if w.number <= 3 {
						<-leaving
						leave(w)
						left <- struct{}{}
						w.gone() // at once where it closed
						return
					}
					w.gone()
				}
			})
			_, ours := carriers(up.dial, nil)
			// Three at a time, so that there are three.
			var opened []*http.Response
			for range 3 {
				res, err := ours.RoundTrip(get(t.Context(), "GET", "/", nil))
				must(t, err)
				opened = append(opened, res)
			}
			for _, res := range opened {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			if open, idle, _ := ours.Stats(); open != 3 || idle != 3 {
				t.Fatalf("%d open, %d idle", open, idle)
			}
			close(leaving)
			for range 3 {
				<-left
			}
			<-time.After(50 * time.Millisecond) // for what was done to arrive
			if got := carry(ours, get(t.Context(), "POST", "/", strings.NewReader("x"))); got.Body != "ok" || len(up.requests()) != 4 {
				t.Errorf("%+v, %d requests", got, len(up.requests()))
			}
			settle(t, ours) // the upload may end a moment after the answer
			if open, idle, _ := ours.Stats(); open != 1 || idle != 1 {
				t.Errorf("%d open, %d idle", open, idle)
			}
			ours.CloseIdleConnections()
		})
	}
}

// Many clients, over an upstream that now and then leaves an answer for somebody
// else behind: nobody gets it.
func TestSMG056AnAnswerForSomebodyElse(t *testing.T) {
	t.Parallel()
	var count atomic.Int64
	up := newUpstream(t, "tcp", func(w *wire) {
		for {
			req, err := http.ReadRequest(w.in)
			if err != nil {
				return
			}
			own := strings.TrimPrefix(req.URL.Path, "/")
			reply := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(own), own)
			switch count.Add(1) % 7 {
			case 0:
				w.say(reply + "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned")
			case 3:
				w.say("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned")
			case 4: // more than is read ahead
				w.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n" + strings.Repeat("x", 0x2000) + "\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned")
			case 5:
				w.say(reply)
				return
			default:
				w.say(reply)
			}
		}
	})
	_, ours := carriers(up.dial, nil)
	var clients sync.WaitGroup
	for client := range 16 {
		clients.Go(func() {
			for i := range 300 {
				own := fmt.Sprintf("%d-%d", client, i)
				res, err := ours.RoundTrip(get(t.Context(), "GET", "/"+own, nil))
				if err != nil {
					continue // the second try may meet what the first did
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if got := strings.Trim(string(body), "x"); err == nil && got != own && got != "" {
					t.Errorf("%s got %q", own, body)
				}
			}
		})
	}
	clients.Wait()
	ours.CloseIdleConnections()
}

// There are as many connections as there may be; some wait, in order, and others
// are turned away.
func TestLimits(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	up := newUpstream(t, "tcp", func(w *wire) {
		for w.request() {
			asked <- struct{}{}
			<-answer
			w.say(fmt.Sprintf(second, w.number))
		}
	})
	_, ours := carriers(up.dial, func(c *direct.Config) { c.Conns, c.Waiting, c.IdleConns = 2, 2, 1 })
	done := make(chan outcome, 10)
	ask := func(ctx context.Context) { done <- carry(ours, get(ctx, "GET", "/", nil)) }
	await := func(open, waiting int) {
		t.Helper()
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if o, _, w := ours.Stats(); o == open && w == waiting {
				return
			}
		}
		o, i, w := ours.Stats()
		t.Fatalf("%d open, %d idle, %d waiting", o, i, w)
	}
	go ask(t.Context())
	go ask(t.Context())
	<-asked
	<-asked
	ctx, cancel := context.WithCancelCause(t.Context())
	go ask(ctx)
	go ask(t.Context())
	await(2, 2)
	if got := carry(ours, get(t.Context(), "GET", "/", nil)); got.Err != "busy" {
		t.Errorf("one too many: %+v", got)
	}
	cancel(errCause)
	if got := <-done; got.Err != "cause" {
		t.Errorf("who gave up: %+v", got)
	}
	await(2, 1)
	answer <- struct{}{}
	if got := <-done; got.Body != "second" {
		t.Errorf("%+v", got)
	}
	<-asked // the one that waited
	await(2, 0)
	close(answer)
	<-done
	<-done
	await(1, 0) // one more may not be idle
	ours.CloseIdleConnections()
	await(0, 0)
}

func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, "tcp", func(w *wire) { w.request(); w.gone() })
	_, ours := carriers(up.dial, func(c *direct.Config) { c.Conns, c.Waiting, c.WaitTime = 1, 1, 50*time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	held := make(chan outcome)
	go func() { held <- carry(ours, get(ctx, "GET", "/", nil)) }()
	for len(up.requests()) == 0 {
		time.Sleep(time.Millisecond)
	}
	if got := carry(ours, get(t.Context(), "GET", "/", nil)); got.Err != "busy" {
		t.Errorf("%+v", got)
	}
	// A place that comes free goes to who waits.
	failed := make(chan outcome)
	go func() { failed <- carry(ours, get(ctx, "GET", "/", nil)) }()
	cancel()
	// On a busy machine the time to wait may be over first.
	if a, b := <-held, <-failed; a.Err != "canceled" || b.Err != "canceled" && b.Err != "busy" {
		t.Errorf("%+v %+v", a, b)
	}
	settle(t, ours)
	if open, _, waiting := ours.Stats(); open+waiting != 0 {
		t.Errorf("%d open, %d waiting", open, waiting)
	}
}

// What grows old goes, the oldest first.
func TestIdleTime(t *testing.T) {
	t.Parallel()
	closed := make(chan int, 2)
	up := newUpstream(t, "tcp", func(w *wire) {
		for w.request() {
			w.say(ok)
		}
		closed <- w.number
	})
	_, ours := carriers(up.dial, func(c *direct.Config) { c.IdleTime = 50 * time.Millisecond })
	a, err := ours.RoundTrip(get(t.Context(), "GET", "/", nil))
	must(t, err)
	b, err := ours.RoundTrip(get(t.Context(), "GET", "/", nil))
	must(t, err)
	for _, res := range []*http.Response{a, b} {
		_, err := io.Copy(io.Discard, res.Body)
		must(t, err)
		res.Body.Close()
	}
	for range 2 {
		select {
		case <-closed:
		case <-time.After(patience):
			t.Fatal("they stay")
		}
	}
	settle(t, ours)
	if open, idle, _ := ours.Stats(); open != 0 || idle != 0 {
		t.Errorf("%d open, %d idle", open, idle)
	}
}

// What the Transport does not carry, the fallback does.
func TestFallback(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, "tcp", func(w *wire) { w.request() })
	_, ours := carriers(up.dial, nil)
	for name, prepare := range map[string]func(*http.Request){
		"https":          func(r *http.Request) { r.URL.Scheme = "https" },
		"CONNECT":        func(r *http.Request) { r.Method = "CONNECT" },
		"Expect":         with("Expect", "100-continue"),
		"Upgrade":        with("Upgrade", "websocket"),
		"identity":       func(r *http.Request) { r.TransferEncoding = []string{"identity"} },
		"perhaps a body": body("", -1),
		"no such body":   func(r *http.Request) { r.ContentLength = 3 },
		"a method":       func(r *http.Request) { r.Method = "GET /x HTTP/1.1\r\nA:" },
		"a name":         with("A: b\r\nC", "x"),
		"an empty name":  with("", "x"),
		"a value":        with("A", "b\r\nC: d"),
		"an agent":       func(r *http.Request) { r.Header["User-Agent"] = []string{"a\r\nb: c"} },
		"a host":         func(r *http.Request) { r.Host = "a b" },
		"a foreign host": func(r *http.Request) { r.Host = "b\u00fccher.test" },
		"a target":       func(r *http.Request) { r.URL.Opaque = "/a b" },
		"a trailer":      func(r *http.Request) { r.Method = "POST"; body("x", -1)(r); r.Trailer = http.Header{"A b": nil} },
		"a trailer of us": func(r *http.Request) {
			r.Method = "POST"
			body("x", -1)(r)
			r.Trailer = http.Header{"Content-Length": nil}
		},
	} {
		req := get(t.Context(), "GET", "/", nil)
		prepare(req)
		if _, err := ours.RoundTrip(req); !errors.Is(err, errFellBack) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A trailer is known when the body has been read.
	req := get(t.Context(), "POST", "/", nil)
	body("x", -1)(req)
	req.Trailer = http.Header{"A": {"b\r\nc"}}
	if got := carry(ours, req); got.Err == "" {
		t.Errorf("%+v", got)
	}
	settle(t, ours)
	if open, _, _ := ours.Stats(); open != 0 {
		t.Errorf("%d open", open)
	}
}

// A body is closed, whatever becomes of its request.
func TestTheBodyIsClosed(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, start func(*upstream) http.RoundTripper) {
		up := newUpstream(t, "tcp", func(w *wire) {
			if w.request() && w.number == 1 {
				w.say(ok)
			}
		})
		rt := start(up)
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		for i, ctx := range []context.Context{t.Context(), t.Context(), canceled} {
			b := &closing{Reader: bytes.NewReader([]byte("x")), closed: make(chan error, 1)}
			req := get(ctx, "POST", "/", b)
			req.ContentLength = 1
			got := carry(rt, req)
			if (got.Err == "") != (i == 0) {
				t.Errorf("%d: %+v", i, got)
			}
			select {
			case <-b.closed:
			case <-time.After(patience):
				t.Errorf("%d: not closed", i)
			}
		}
	})
}

type closing struct {
	io.Reader
	closed chan error
	once   sync.Once
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// The kernel tells of a reset once, and then of an end, which is what ends an answer
// without a length: one that was cut off must not look like a whole one.
func TestAResetIsNoEnd(t *testing.T) {
	t.Parallel()
	broken := make(chan struct{})
	up := newUpstream(t, "tcp", func(w *wire) {
		w.request()
		w.say("HTTP/1.0 200 OK\r\n\r\nhalf of it")
		<-broken
		w.reset()
		broken <- struct{}{}
	})
	_, ours := carriers(up.dial, nil)
	res, err := ours.RoundTrip(get(t.Context(), "GET", "/", nil))
	must(t, err)
	defer res.Body.Close()
	broken <- struct{}{}
	<-broken
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%q is whole", body)
	}
}
