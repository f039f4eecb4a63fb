package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// The one WebSocket message that goes round: the longest whose length fits into
// two bytes of header (RFC 6455, section 5.2). A client's has four bytes of mask.
const (
	message    = 125
	clientSize = 2 + 4 + message
	serverSize = 2 + message
)

// startUpstream starts an app that costs next to nothing, so that it is not what is
// measured: every answer is made beforehand and sent in one write.
func startUpstream() (address string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends with the process
	if err != nil {
		return "", fmt.Errorf("start the upstream: %w", err)
	}
	answers := map[string][]byte{"/up": answer(2), "/1k": answer(1 << 10), "/16k": answer(16 << 10), "/1m": answer(1 << 20)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn, answers)
		}
	}()
	return l.Addr().String(), nil
}

func answer(size int) []byte {
	header := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nEtag: \"abc\"\r\nCache-Control: no-cache\r\n\r\n", size)
	return append([]byte(header), bytes.Repeat([]byte("x"), size)...)
}

func serve(conn net.Conn, answers map[string][]byte) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 4<<10)
	for {
		first, err := in.ReadString('\n')
		if err != nil {
			return
		}
		_, path, _ := strings.Cut(first, " ")
		path, _, _ = strings.Cut(path, " ")
		length := 0
		for line := []byte(first); len(line) > 2; {
			if line, err = in.ReadSlice('\n'); err != nil {
				return
			}
			if value, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
			}
		}
		if path == "/ws" {
			echo(conn, in)
			return
		}
		if _, err = in.Discard(length); err != nil {
			return
		}
		if _, err = conn.Write(answers[path]); err != nil {
			return
		}
	}
}

// echo answers every message with one of the same length. The accepted key is that
// of the handshake which the clients send.
func echo(conn net.Conn, in io.Reader) {
	_, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	received, sent := make([]byte, clientSize), make([]byte, serverSize)
	sent[0], sent[1] = 0x82, message
	for err == nil {
		if _, err = io.ReadFull(in, received); err == nil {
			_, err = conn.Write(sent)
		}
	}
}
