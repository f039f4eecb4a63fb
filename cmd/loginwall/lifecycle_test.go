package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// openWebSocket opens one as the current browser.
func (r *rig) openWebSocket(t *testing.T) *websocket.Conn {
	t.Helper()
	conn, _, err := r.dialWebSocket(t, "/ws", r.publicURL)
	check(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	wantEcho(t, conn)
	return conn
}

func wantEcho(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	check(t, conn.Write(t.Context(), websocket.MessageText, []byte("hello")))
	if _, back, err := conn.Read(t.Context()); err != nil || string(back) != "hello" {
		t.Fatalf("%q came back, %v", back, err)
	}
}

// wantEnd waits for the end of a WebSocket.
func wantEnd(t *testing.T, conn *websocket.Conn, code websocket.StatusCode, reason string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var closed websocket.CloseError
	if _, _, err := conn.Read(ctx); !errors.As(err, &closed) || closed.Code != code || closed.Reason != reason {
		t.Errorf("the WebSocket ended with %v, want %d %q", err, code, reason)
	}
}

// What is open ends with what it was opened on, whoever ends that, and WebSockets
// are told why (RFC 6455, section 7.4.1).
func TestAnOpenWebSocketEndsWithItsSession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.upstream.respondWith(echoWebSocket)
	file := r.write(t, basics+"session: {max_age: 1h}\n")
	r.serveReady(t, file)
	r.as("bob").signIn(t, "bob@example.com", "/")
	bobs := r.openWebSocket(t)
	r.as("alice").signIn(t, "alice@example.com", "/")

	conn := r.openWebSocket(t)
	r.ask(t, http.MethodPost, "-nav", "/_auth/logout", "Origin:"+r.publicURL)
	wantEnd(t, conn, websocket.StatusPolicyViolation, "the session has ended")

	r.signIn(t, "alice@example.com", "/")
	conn = r.openWebSocket(t)
	r.run(t, file, "users", "block", "alice@example.com")
	wantEnd(t, conn, websocket.StatusPolicyViolation, "the session has ended")
	r.run(t, file, "users", "unblock", "alice@example.com")

	again := func() bool {
		return r.tryLogin(t, "alice@example.com", "/").StatusCode == http.StatusSeeOther && r.ask(t, http.MethodGet, "-xhr", "/").StatusCode == http.StatusOK
	}
	poll(t, "alice does not get in again", again)
	conn = r.openWebSocket(t)
	r.run(t, file, "sessions", "end", "--user", "alice@example.com")
	wantEnd(t, conn, websocket.StatusPolicyViolation, "the session has ended")

	r.signIn(t, "alice@example.com", "/")
	conn = r.openWebSocket(t)
	r.writeTo(t, file, strings.Replace(basics, "domains: [example.com]", "emails: [bob@example.com]", 1)+"session: {max_age: 1h}\n")
	wantEnd(t, conn, websocket.StatusPolicyViolation, "the session has ended") // the file's change is found

	wantEcho(t, bobs)
}

func TestAnOpenWebSocketEndsWhenTheSessionExpires(t *testing.T) {
	t.Parallel()
	r := startWall(t, "", basics+"session: {max_age: 15s}\n")
	r.upstream.respondWith(echoWebSocket)
	r.as("alice").signIn(t, "alice@example.com", "/")
	conn := r.openWebSocket(t)
	wantEnd(t, conn, websocket.StatusPolicyViolation, "the session has expired")
}

// run runs another process beside the wall.
func (r *rig) run(t *testing.T, file string, args ...string) {
	t.Helper()
	if out, err := exec.Command("loginwall", append(args, "--config", file)...).CombinedOutput(); err != nil {
		t.Fatalf("loginwall %s: %v\n%s", args, err, out)
	}
}

// A stopping wall says so, serves on while balancers notice, finishes what is under
// way, ends what would not end, and ends well.
func TestDOS198Stop(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	r.upstream.respondWith(func(conn net.Conn, in *bufio.Reader, request *http.Request) {
		switch request.URL.Path {
		case "/slow":
			<-release
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
		case "/events":
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
			_, _ = io.Copy(io.Discard, in)
		default:
			echoWebSocket(conn, in, request)
		}
	})
	wall := r.serveReady(t, r.write(t, basics+"timeouts: {drain_delay: 12s, drain: 20s}\n"))
	r.as("alice").signIn(t, "alice@example.com", "/")
	conn := r.openWebSocket(t)
	// answered is what a request that is under way comes to.
	answered := func(path string) <-chan string {
		request := r.request(t, http.MethodGet, []string{"-xhr", path, "Cookie:" + r.cookies().String()})
		request.Host = r.host()
		before := r.upstream.count()
		end := make(chan string, 1)
		go func() {
			response, err := r.client.Do(request)
			if err != nil {
				end <- err.Error()
				return
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			end <- fmt.Sprint(string(body), " ", err)
		}()
		poll(t, "the app is not asked", func() bool { return r.upstream.count() > before })
		return end
	}
	slow, events := answered("/slow"), answered("/events")

	check(t, wall.cmd.Process.Signal(syscall.SIGTERM))
	poll(t, "the wall says that it is ready", func() bool { return r.ready() == http.StatusServiceUnavailable })
	if status := r.probe(healthEndpoint); status != http.StatusServiceUnavailable {
		t.Errorf("the load balancer is told %d", status)
	}
	// It serves on: who asks, and what is open.
	if status := r.ask(t, http.MethodGet, "-xhr", "/").StatusCode; status != http.StatusOK {
		t.Errorf("before the balancer has noticed: %d", status)
	}
	wantEcho(t, conn)

	wantEnd(t, conn, websocket.StatusGoingAway, "the wall stops")
	if got := <-events; !strings.HasPrefix(got, "hello ") || strings.HasSuffix(got, "<nil>") {
		t.Errorf("the event stream ended with %q", got)
	}
	poll(t, "the wall takes new connections", func() bool {
		conn, err := net.Dial("tcp", r.address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(release)
	if got := <-slow; got != "done <nil>" {
		t.Errorf("the request under way came to %q", got)
	}
	<-wall.ended
	check(t, wall.err)
	if log := wall.log.String(); !strings.Contains(log, `"msg":"draining"`) || !strings.Contains(log, `"msg":"stopped"`) || strings.Contains(log, "cut off") {
		t.Errorf("the log says\n%s", log)
	}
}

func (r *rig) ready() int {
	response, err := r.client.Get("http://" + r.ops + "/readyz")
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

func TestDOS198WhatDoesNotEndIsCutOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.upstream.respondWith(func(conn net.Conn, in *bufio.Reader, request *http.Request) {
		if request.URL.Path == "/half" {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
		}
		_, _ = io.Copy(io.Discard, in)
	})
	wall := r.serveReady(t, r.write(t, basics+"timeouts: {drain: 1s}\n"))
	r.as("alice").signIn(t, "alice@example.com", "/")
	end := r.hang(t)
	// To HTTP/1.0 a connection that closes is the end of an answer.
	old := r.dial(t)
	defer old.Close()
	check(t, old.SetDeadline(time.Now().Add(patience)))
	_, err := io.WriteString(old, r.fill("GET /half HTTP/1.0\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n"))
	check(t, err)
	answer := bufio.NewReader(old)
	for line := ""; line != "\r\n"; {
		line, err = answer.ReadString('\n')
		check(t, err)
	}
	check(t, wall.cmd.Process.Signal(syscall.SIGTERM))
	if err := <-end; err == nil {
		t.Error("the request was answered")
	}
	if rest, err := io.ReadAll(answer); string(rest) != "half" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("half an answer ended with %q, %v", rest, err)
	}
	<-wall.ended
	check(t, wall.err)
	if !strings.Contains(wall.log.String(), "cut off") {
		t.Error("the log does not say what was cut off")
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.upstream.respondWith(func(_ net.Conn, in *bufio.Reader, _ *http.Request) { _, _ = io.Copy(io.Discard, in) })
	wall := r.serveReady(t, r.write(t, basics+"timeouts: {drain: 10m}\n"))
	r.as("alice").signIn(t, "alice@example.com", "/")
	end := r.hang(t)
	check(t, wall.cmd.Process.Signal(syscall.SIGTERM))
	poll(t, "the wall does not drain", func() bool { return strings.Contains(wall.log.String(), `"msg":"draining"`) })
	check(t, wall.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-wall.ended:
	case <-time.After(patience):
		t.Fatal("the wall goes on")
	}
	if status, ok := wall.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("the wall ended with %v", wall.err)
	}
	<-end
}

// hang sends a request that the app does not answer.
func (r *rig) hang(t *testing.T) <-chan error {
	t.Helper()
	request := r.request(t, http.MethodGet, []string{"-xhr", "/hang", "Cookie:" + r.cookies().String()})
	request.Host = r.host()
	before := r.upstream.count()
	end := make(chan error, 1)
	go func() {
		response, err := r.client.Do(request)
		if err == nil {
			response.Body.Close()
		}
		end <- err
	}()
	poll(t, "the app is not asked", func() bool { return r.upstream.count() > before })
	return end
}

// TestRevocationWithManyWebSockets tells how long it takes from a revocation to the
// last of 5,000 closed WebSockets; without REVOCATION=1 there are fewer.
func TestRevocationWithManyWebSockets(t *testing.T) {
	number := 200
	if os.Getenv("REVOCATION") != "" {
		number = 5000
	}
	r := newRig(t)
	r.upstream.respondWith(func(conn net.Conn, in *bufio.Reader, request *http.Request) {
		if request.Header.Get("Upgrade") != "" {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		}
		_, _ = io.Copy(io.Discard, in)
	})
	file := r.write(t, basics)
	wall := r.serveReady(t, file)
	r.as("bob").signIn(t, "bob@example.com", "/")
	var open sync.WaitGroup
	bobs := r.holdWebSockets(t, 1, &open)
	for _, way := range []struct {
		name   string
		revoke func()
	}{
		{"sign-out, same process", func() { r.ask(t, http.MethodPost, "-nav", "/_auth/logout", "Origin:"+r.publicURL) }},
		{"users block, another process", func() { r.run(t, file, "users", "block", "alice@example.com") }},
		{"SIGTERM", func() { check(t, wall.cmd.Process.Signal(syscall.SIGTERM)) }},
	} {
		if r.as("bob"); way.name != "SIGTERM" {
			r.as("alice").signIn(t, "alice@example.com", "/")
		}
		var closing sync.WaitGroup
		closed := r.holdWebSockets(t, number, &closing)
		cpu := metric(r.metrics(t), "process_cpu_seconds_total")
		begun := time.Now()
		way.revoke()
		answered := time.Now()
		closing.Wait()
		times := make([]time.Duration, number)
		for i := range times {
			c := <-closed
			times[i] = c.at.Sub(begun)
			if want := map[bool]string{true: "\x03\xe9", false: "\x03\xf0"}[way.name == "SIGTERM"]; len(c.said) < 4 || c.said[0] != 0x88 || c.said[2:4] != want {
				t.Errorf("%s: a WebSocket ended with %q", way.name, c.said)
			}
		}
		slices.Sort(times)
		t.Logf("%s: %d WebSockets; answered after %v; closed: first %v, median %v, last %v, %v after the answer", way.name, number,
			answered.Sub(begun).Round(time.Millisecond), times[0].Round(time.Millisecond), times[number/2].Round(time.Millisecond),
			times[number-1].Round(time.Millisecond), (times[number-1] - answered.Sub(begun)).Round(time.Millisecond))
		if way.name != "SIGTERM" {
			if len(bobs) != 0 {
				t.Error("bob's WebSocket was closed")
			}
			t.Logf("%s: %.0f ms of CPU", way.name, 1000*(metric(r.metrics(t), "process_cpu_seconds_total")-cpu))
		}
	}
	<-wall.ended
	check(t, wall.err)
}

type closedSocket struct {
	at   time.Time
	said string // the last frame
}

// holdWebSockets opens many as the current browser, and tells how each one ends.
func (r *rig) holdWebSockets(t *testing.T, number int, closing *sync.WaitGroup) <-chan closedSocket {
	t.Helper()
	conns, closed := make([]net.Conn, number), make(chan closedSocket, number)
	request := r.fill(upgrade("/ws", "Origin: "+r.publicURL))
	var opening sync.WaitGroup
	const at = 16
	for worker := range at {
		opening.Go(func() {
			for i := worker; i < number; i += at {
				conn, err := net.Dial("tcp", r.address)
				if err != nil {
					t.Error(err)
					return
				}
				conns[i] = conn
				_, _ = io.WriteString(conn, request)
				_ = conn.SetReadDeadline(time.Now().Add(10 * patience))
				in := bufio.NewReaderSize(conn, 512)
				response, err := http.ReadResponse(in, nil)
				if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
					t.Errorf("not opened: %v, %v", response, err)
					return
				}
				closing.Go(func() {
					said, _ := io.ReadAll(in)
					closed <- closedSocket{time.Now(), string(said)}
					conn.Close()
				})
			}
		})
	}
	opening.Wait()
	r.oracle.judgeUpstream(t, r, request)
	t.Cleanup(func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return closed
}
