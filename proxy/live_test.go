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
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/policy"
)

// echo is an app that answers each WebSocket message with itself.
func echo(t testing.TB) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, "no upgrade")
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(8 << 20)
		for {
			kind, message, err := c.Read(context.Background())
			if err != nil {
				return
			}
			if string(message) == "close" {
				_ = c.Close(4321, "as asked")
				return
			}
			if c.Write(context.Background(), kind, message) != nil {
				return
			}
		}
	}
}

func (r *rig) webSocket(cookie string, header ...string) (*websocket.Conn, *http.Response, error) {
	h := http.Header{}
	if cookie != "" {
		h.Set("Cookie", cookie)
	}
	for i := 0; i < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, res, err := websocket.Dial(ctx, "ws://app.test/ws", &websocket.DialOptions{HTTPClient: r.client, HTTPHeader: h})
	if c != nil {
		c.SetReadLimit(8 << 20)
		r.t.Cleanup(func() { _ = c.CloseNow() })
	}
	return c, res, err
}

func (r *rig) mustWebSocket(cookie string) *websocket.Conn {
	r.t.Helper()
	c, _, err := r.webSocket(cookie, "Origin", publicURL)
	must(r.t, err)
	must(r.t, c.Write(r.t.(*testing.T).Context(), websocket.MessageText, []byte("hello")))
	_, got, err := c.Read(r.t.(*testing.T).Context())
	if err != nil || string(got) != "hello" {
		r.t.Fatalf("echo %q, %v", got, err)
	}
	return c
}

func TestSTR181WebSockets(t *testing.T) {
	t.Parallel()
	r := newRig(t, newApp(t, echo(t)), setup{stall: 2 * time.Second})
	c := r.mustWebSocket(r.signIn(alice))
	time.Sleep(3 * time.Second) // silence is no stall
	big := bytes.Repeat([]byte("x"), 1<<20)
	must(t, c.Write(t.Context(), websocket.MessageBinary, big))
	if _, got, err := c.Read(t.Context()); err != nil || !bytes.Equal(got, big) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	must(t, c.Write(t.Context(), websocket.MessageText, []byte("close")))
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != 4321 {
		t.Errorf("close: %v", err)
	}
	eventually(t, "it is accounted for", func() bool {
		return strings.Contains(r.access.String(), `"status":101,"bytes":10486`) &&
			r.metric(`loginwall_http_requests_total{code="101",method="GET",outcome="proxied"} 1`) && r.metric(`loginwall_open_streams{kind="websocket"} 0`)
	})
	if _, res, err := r.webSocket(""); err == nil || res.StatusCode != 401 {
		t.Errorf("without a session: %v, %v", res, err)
	}
}

func TestSTR182OtherUpgradesAreNone(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	for _, request := range []string{
		"GET / HTTP/1.1\r\nUpgrade: foo/2\r\nConnection: Upgrade\r\n", "GET / HTTP/1.1\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
		"GET / HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, HTTP2-Settings\r\n",
		"GET / HTTP/1.1\r\nUpgrade: websocket, h2c\r\nConnection: Upgrade\r\n", "GET / HTTP/1.1\r\nUpgrade: websocket\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n",
		"GET / HTTP/1.1\r\nUpgrade: websocket/13\r\nConnection: Upgrade\r\n", "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: close\r\n",
		"POST / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 0\r\nConnection: Upgrade\r\n", "GET / HTTP/1.1\r\nUpgrade: \x85\r\nConnection: Upgrade\r\n",
	} {
		conn := r.dial()
		_, err := io.WriteString(conn, request+"Host: app.test\r\nCookie: "+cookie+"\r\n\r\n")
		must(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		if res.StatusCode != 200 {
			t.Errorf("%q: %d", request, res.StatusCode)
		}
		for _, name := range []string{"Upgrade", "Connection", "HTTP2-Settings"} {
			if got := lines(app.last(t), name); len(got) != 0 {
				t.Errorf("%q: the app got %s: %q", request, name, got)
			}
		}
	}
}

func TestCSR176WebSocketsOfOtherSites(t *testing.T) {
	r := newRig(t, newApp(t, echo(t)), setup{routes: []policy.Route{{Path: "/open", Access: policy.Public}}})
	cookie := r.signIn(alice)
	for _, origin := range []string{
		"https://evil.test", "null", "http://app.test", "https://sub.app.test", "https://app.test.evil", "https://app.test:8443", "https://app.test/", "HTTPS://APP.TEST", "", "https://app.test https://evil.test",
	} {
		_, res, err := r.webSocket(cookie, "Origin", origin)
		if err == nil || res.StatusCode != 403 || res.Header.Get("X-Loginwall") != "denied" || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%q: %v, %v", origin, res, err)
		}
	}
	if _, res, err := r.webSocket(cookie, "Origin", publicURL, "Origin", "https://evil.test"); err == nil || res.StatusCode != 403 {
		t.Errorf("two origins: %v, %v", res, err)
	}
	if _, _, err := r.webSocket(cookie, "Origin", publicURL); err != nil {
		t.Errorf("our own: %v", err)
	}
	if _, _, err := r.webSocket(cookie); err != nil {
		t.Errorf("none, so no browser: %v", err)
	}
}

// endings are the ways in which alice's open requests lose their ground.
func endings(t *testing.T, r *rig, s *auth.Session) map[string]func() {
	return map[string]func(){
		"signed out": func() { must(t, r.keeper.End(t.Context(), s, "alice", auth.EndSignOut)) },
		"blocked": func() {
			r.revoked.Add(auth.Revocation{Kind: auth.BlockEmail, Key: alice.Email, Active: true})
		},
		"reloaded": func() {
			rules := r.rules
			rules.Deny = []string{alice.Email}
			r.reload(rules)
		},
	}
}

func TestWhatIsOpenEndsWithTheSession(t *testing.T) {
	for _, ending := range []string{"signed out", "blocked", "reloaded"} {
		t.Run(ending, func(t *testing.T) {
			arrived, canceled := make(chan string, 10), make(chan string, 10)
			app := newApp(t, func(w http.ResponseWriter, r *http.Request) {
				arrived <- r.URL.Path
				flush := func() { _ = http.NewResponseController(w).Flush() }
				switch r.URL.Path {
				case "/ws":
					echo(t)(w, r)
					return
				case "/events":
					w.Header().Set("Content-Type", "text/event-stream")
					flush()
					<-r.Context().Done()
				case "/download":
					w.Header().Set("Content-Length", "1000000")
					_, _ = io.WriteString(w, "begin")
					flush()
					<-r.Context().Done()
				case "/poll":
					<-r.Context().Done()
				case "/upload":
					_, _ = io.Copy(io.Discard, r.Body)
				case "/flood":
					for chunk := make([]byte, 1<<16); ; {
						if _, err := w.Write(chunk); err != nil {
							break
						}
					}
				}
				canceled <- r.URL.Path
			})
			r := newRig(t, app, setup{})
			cookie, s := r.start(alice)
			bobs := alice
			bobs.Subject, bobs.Email = "1002", "bob@example.com"
			bob := r.mustWebSocket(r.signIn(bobs))
			ws := r.mustWebSocket(cookie)
			ended := make(chan string, 10)
			begun := func(path string) {
				req := r.request(cookie, "GET", path, nil)
				res, err := r.client.Do(req)
				must(t, err)
				go func() {
					_, err := io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if err != nil {
						ended <- path
					}
				}()
			}
			begun("/events")
			begun("/download")
			conn := r.dial() // somebody who stops reading when the answer has begun
			_, err := io.WriteString(conn, "GET /flood HTTP/1.1\r\nHost: app.test\r\nCookie: "+cookie+"\r\n\r\n")
			must(t, err)
			_, err = io.ReadFull(conn, make([]byte, 1))
			must(t, err)
			go func() {
				// Nothing of an answer has begun, so there can be one that says why.
				res, err := r.client.Do(r.request(cookie, "GET", "/poll", nil))
				if err != nil {
					t.Errorf("/poll: %v", err)
					return
				}
				res.Body.Close()
				if label := res.Header.Get("X-Loginwall"); label == "sign_in_required" || label == "denied" {
					ended <- "/poll"
				}
			}()
			upload := r.dial()
			_, err = io.WriteString(upload, "PUT /upload HTTP/1.1\r\nHost: app.test\r\nCookie: "+cookie+"\r\nContent-Length: 1000\r\n\r\nbegin")
			must(t, err)
			go func() {
				if got, err := io.ReadAll(upload); len(got) == 0 && !isTimeout(err) {
					ended <- "/upload"
				}
			}()
			for range 7 {
				select {
				case <-arrived:
				case <-time.After(patience):
					t.Fatal("not all are under way")
				}
			}

			endings(t, r, s)[ending]()
			want := map[string]bool{"/events": true, "/download": true, "/poll": true, "/upload": true}
			for range 4 {
				select {
				case path := <-ended:
					delete(want, path)
				case <-time.After(patience):
					t.Fatalf("still open: %v", want)
				}
			}
			if code := closedBy(t, ws); code != websocket.StatusPolicyViolation {
				t.Errorf("the WebSocket ended with %d", code)
			}
			for range 5 {
				select {
				case <-canceled:
				case <-time.After(patience):
					t.Fatal("the app goes on")
				}
			}
			eventually(t, "the log says so", func() bool { return strings.Count(r.access.String(), `"outcome":"ended"`) == 5 })
			if res, _ := r.get(cookie, "/"); res.StatusCode == 200 {
				t.Errorf("a new request: %d", res.StatusCode)
			}
			// Bob does not notice.
			must(t, bob.Write(t.Context(), websocket.MessageText, []byte("still here")))
			if _, got, err := bob.Read(t.Context()); err != nil || string(got) != "still here" {
				t.Errorf("bob: %q, %v", got, err)
			}
		})
	}
}

func TestStreamsEndWhenTheSessionExpiresAndDownloadsDoNot(t *testing.T) {
	release := make(chan struct{})
	app := newApp(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			echo(t)(w, r)
			return
		}
		if r.URL.Path == "/events" {
			w.Header().Set("Content-Type", "text/event-stream")
		} else {
			w.Header().Set("Content-Length", "8")
			_, _ = io.WriteString(w, "half")
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
			_, _ = io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	})
	clock := newClock()
	r := newRig(t, app, setup{now: clock.Now, maxAge: time.Minute})
	cookie := r.signIn(alice)
	ws := r.mustWebSocket(cookie)
	events, err := r.client.Do(r.request(cookie, "GET", "/events", nil))
	must(t, err)
	defer events.Body.Close()
	download, err := r.client.Do(r.request(cookie, "GET", "/download", nil))
	must(t, err)
	defer download.Body.Close()

	clock.advance(time.Minute)
	if code := closedBy(t, ws); code != websocket.StatusPolicyViolation {
		t.Errorf("the WebSocket ended with %d", code)
	}
	if _, err := io.ReadAll(events.Body); err == nil {
		t.Error("the events ended cleanly")
	}
	close(release)
	if got, err := io.ReadAll(download.Body); string(got) != "halfdone" || err != nil {
		t.Errorf("download: %q, %v", got, err)
	}
}

func TestDOS198DrainEndsStreamsAlone(t *testing.T) {
	release := make(chan struct{})
	app := newApp(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			echo(t)(w, r)
			return
		}
		<-release
		_, _ = io.WriteString(w, "done")
	})
	r := newRig(t, app, setup{})
	cookie := r.signIn(alice)
	ws := r.mustWebSocket(cookie)
	finished := make(chan string)
	go func() {
		res, err := r.client.Do(r.request(cookie, "GET", "/slow", nil))
		if err != nil {
			finished <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		finished <- string(body)
	}()
	eventually(t, "both are under way", func() bool { return r.live.Len() == 2 })
	r.live.Drain()
	if code := closedBy(t, ws); code != websocket.StatusGoingAway {
		t.Errorf("the WebSocket ended with %d", code)
	}
	close(release)
	if got := <-finished; got != "done" {
		t.Errorf("the request under way: %q", got)
	}
}

func TestARequestDecidedBeforeAReloadIsDecidedAgain(t *testing.T) {
	app := newRawApp(t, okAnswer)
	r := newRig(t, app.url, setup{})
	cookie := r.signIn(alice)
	old := r.handler
	rules := r.rules
	rules.Deny = []string{alice.Email}
	r.reload(rules)
	// What a request does that loaded the site just before the reload.
	w := httptest.NewRecorder()
	req := r.request(cookie, "GET", "/", nil)
	req.RequestURI, req.RemoteAddr = "/", "127.0.0.1:1"
	old.ServeHTTP(w, req)
	if w.Code != 403 || len(app.requests()) != 0 {
		t.Errorf("%d; the app got %q", w.Code, app.requests())
	}
}

func TestSES148NothingOpensBehindARevocation(t *testing.T) {
	app := newApp(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	r := newRig(t, app, setup{})
	for range 20 {
		cookie, s := r.start(alice)
		var open sync.WaitGroup
		for range 8 {
			open.Go(func() {
				res, err := r.client.Do(r.request(cookie, "GET", "/", nil))
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body) // ends only when it is cut, or was refused
					res.Body.Close()
				}
			})
		}
		must(t, r.keeper.End(t.Context(), s, "alice", auth.EndSignOut))
		open.Wait()
	}
}

func TestSTR184NothingIsLeftBehind(t *testing.T) {
	r := newRig(t, newApp(t, echo(t)), setup{})
	cookie := r.signIn(alice)
	before := runtime.NumGoroutine()
	for i := range 60 {
		conn := r.dial()
		_, err := fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: app.test\r\nCookie: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", cookie)
		must(t, err)
		switch i % 3 {
		case 0: // gone at once
		case 1:
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			must(t, err)
			if res.StatusCode != 101 {
				t.Fatal(res.Status)
			}
			must(t, conn.(*net.TCPConn).CloseWrite())
		case 2:
			_, err := http.ReadResponse(bufio.NewReader(conn), nil)
			must(t, err)
			must(t, conn.(*net.TCPConn).SetLinger(0))
		}
		conn.Close()
	}
	r.client.CloseIdleConnections()
	eventually(t, "all is gone", func() bool { return r.live.Len() == 0 && runtime.NumGoroutine() <= before+10 })
	eventually(t, "the gauge is down", func() bool { return r.metric(`loginwall_open_streams{kind="websocket"} 0`) })
}
