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
	requests []string
	conns    map[net.Conn]bool
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
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		conn.Close()
	}
}

func (r *recorder) answer(reply string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reply = reply
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.requests...)
}

func (r *recorder) serve(conn net.Conn) {
	defer conn.Close()
	r.mu.Lock()
	r.conns[conn] = true
	r.mu.Unlock()
	var raw bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn, &raw))
	for {
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, request.Body)
		// What was read ahead belongs to the next request; there is none before we
		// have answered, unless somebody smuggled it, and then it shall be seen.
		r.mu.Lock()
		r.requests = append(r.requests, strings.ReplaceAll(raw.String(), "\r\n", "\n"))
		reply := r.reply
		r.mu.Unlock()
		raw.Reset()
		if reply == "" {
			return
		}
		if _, err := io.WriteString(conn, reply); err != nil || strings.Contains(reply, "Connection: close") {
			return
		}
	}
}
