package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// upstreamMark stands in everything that the recording upstream answers.
const upstreamMark = "bytes of the upstream"

const defaultAnswer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n\r\n" + upstreamMark + "\n"

// A recorder is an upstream that keeps each request as the bytes that it got.
type recorder struct {
	listener net.Listener
	mu       sync.Mutex
	reply    string
	respond  func(conn net.Conn, in *bufio.Reader, request *http.Request)
	requests []received
	conns    map[net.Conn]bool
}

// A received request is one that reached the upstream.
type received struct {
	raw string // as it came, from the request line to the last trailer
	// request is what net/http makes of it, its body read; nil where these bytes are
	// no request.
	request *http.Request
	body    []byte
	whole   bool // the body ended as it should
}

func newRecorder() (*recorder, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &recorder{listener: l, reply: defaultAnswer, conns: map[net.Conn]bool{}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r, nil
}

func (r *recorder) close() {
	r.listener.Close()
	r.hangUp()
}

// hangUp closes every connection, in use or not.
func (r *recorder) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		conn.Close()
	}
}

// answer makes reply the answer to all requests from now on; an empty one closes
// the connection.
func (r *recorder) answer(reply string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reply, r.respond = reply, nil
}

// respondWith has f answer from now on, after which the connection is closed.
func (r *recorder) respondWith(f func(conn net.Conn, in *bufio.Reader, request *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.respond = f
}

// all returns the requests as text, with \n for \r\n.
func (r *recorder) all() []string {
	var texts []string
	for _, one := range r.since(0) {
		texts = append(texts, strings.ReplaceAll(one.raw, "\r\n", "\n"))
	}
	return texts
}

// since returns the requests from the n-th on.
func (r *recorder) since(n int) []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.requests[n:]...)
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

func (r *recorder) serve(conn net.Conn) {
	r.mu.Lock()
	r.conns[conn] = true
	r.mu.Unlock()
	defer func() {
		conn.Close()
		r.mu.Lock()
		delete(r.conns, conn)
		r.mu.Unlock()
	}()
	var raw bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn, &raw))
	for {
		one := received{}
		request, err := http.ReadRequest(in)
		if err == nil {
			one.request = request
			var broken error
			one.body, broken = io.ReadAll(request.Body)
			one.whole = broken == nil
		}
		// What was read ahead is the next request's, which nobody sends before we have
		// answered, unless it was smuggled; then it shall be seen.
		one.raw = string(raw.Next(raw.Len() - in.Buffered()))
		if one.raw == "" {
			return
		}
		r.mu.Lock()
		r.requests = append(r.requests, one)
		reply, respond := r.reply, r.respond
		r.mu.Unlock()
		if respond != nil && err == nil {
			respond(conn, in, request)
			return
		}
		if err != nil || reply == "" {
			return
		}
		if _, err := io.WriteString(conn, reply); err != nil || strings.Contains(reply, "Connection: close") {
			return
		}
	}
}
