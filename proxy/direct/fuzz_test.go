package direct_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What ours takes of any bytes as an upstream's answer, net/http takes too, and both
// read the same. And who asks next never gets any of those bytes: his request goes
// over the same connection only where they were one answer, which said itself where
// it ends, and nothing else.

// FuzzAnswer plays any bytes.
func FuzzAnswer(f *testing.F) {
	for _, d := range differences() {
		if d.say != "" && len(d.say) < 2000 && d.prepare == nil {
			f.Add([]byte(d.say), d.method == http.MethodHead)
		}
	}
	f.Fuzz(comparison(f))
}

// FuzzParts plays what is put together of parts, each chosen by a byte.
func FuzzParts(f *testing.F) {
	parts := []string{
		"HTTP/1.1 200 OK\r\n", "HTTP/1.0 200 OK\r\n", "HTTP/1.1 204 No Content\r\n", "HTTP/1.1 304 Not Modified\r\n", "HTTP/1.1 103 Early Hints\r\n", "HTTP/1.1 101 Switching Protocols\r\n", "HTTP/1.1 ", "HTTP/1.",
		"Content-Length: ", "Transfer-Encoding: ", "Connection: ", "Trailer: ", "Content-Length: 2\r\n", "Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n", "Trailer: X-Sum\r\n",
		"chunked", "close", "keep-alive", "identity", "X-Sum: 1\r\n", "X-Sum", "Pragma: no-cache\r\n", "X: y\r\n", "\r\n", "\r\n\r\n", "\n", "\r", " ", "\t", ":", ",", ";", "\x00", "\xff", "ok", "2\r\nok\r\n", "0\r\n", "0\r\n\r\n", "2", "0", "00", "+", "-", "x", "a", "A", "2;a=b\r\nok\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", strings.Repeat("x", 4090), strings.Repeat("X: y\r\n", 500), "1000\r\n" + strings.Repeat("y", 4096) + "\r\n",
	}
	compare := comparison(f)
	f.Add([]byte{0, 12, 25, 26, 37}, false)
	f.Add([]byte{4, 25, 26, 0, 14, 17, 26, 38, 39, 22, 26}, false)
	f.Add([]byte{0, 8, 41, 26, 26, 37, 50}, true)
	f.Add([]byte{51, 54, 54, 49, 40}, false)
	f.Add([]byte{2, 26, 50}, false)
	f.Fuzz(func(t *testing.T, choices []byte, toHead bool) {
		var answer []byte
		for _, c := range choices[:min(len(choices), 100)] {
			answer = append(answer, parts[int(c)%len(parts)]...)
		}
		compare(t, answer, toHead)
	})
}

// comparison returns what both fuzzers do with an answer.
func comparison(f *testing.F) func(*testing.T, []byte, bool) {
	log.SetOutput(io.Discard) // net/http logs what it finds on idle connections
	var mu sync.Mutex
	var first []byte // what is answered to /first
	closes, number := false, 0
	up := newUpstream(f, "tcp", func(w *wire) {
		for w.head() {
			w.up.clear()
			if strings.Contains(w.last, " /second ") {
				w.say(fmt.Sprintf(second, w.number))
				continue
			}
			mu.Lock()
			b, end := first, closes
			number = w.number
			mu.Unlock()
			_, _ = w.Write(b)
			if end {
				return
			}
		}
	})
	standard, ours := carriers(up.dial, nil)
	f.Cleanup(func() {
		standard.CloseIdleConnections()
		ours.CloseIdleConnections()
	})
	return func(t *testing.T, answer []byte, toHead bool) {
		method := http.MethodGet
		if toHead {
			method = http.MethodHead
		}
		ask := func(rt carrier, end bool) outcome {
			mu.Lock()
			first, closes = answer, end
			mu.Unlock()
			rt.CloseIdleConnections()
			return carry(rt, get(t.Context(), method, "/first", nil))
		}
		// Where the upstream closes nobody has to wait for more.
		mine := ask(ours, true)
		settle(t, ours)
		if _, idle, _ := ours.Stats(); idle > 0 {
			if mine.Err != "" || mine.BodyErr != "" {
				t.Errorf("kept a connection after %+v", mine)
			}
			if again := ask(ours, false); !cmp.Equal(mine, again) {
				t.Errorf("(-closed +open):\n%s", cmp.Diff(mine, again))
			}
			next := carry(ours, get(t.Context(), http.MethodGet, "/second", nil))
			if next.Body != "second" || next.Code != http.StatusOK || next.Informational != nil {
				t.Errorf("the next request got %+v", next)
			}
			mu.Lock()
			reused := next.Header.Get("X-Connection") == strconv.Itoa(number)
			mu.Unlock()
			if end := endOf(answer, method); reused && end != len(answer) {
				t.Errorf("the connection was used again, but the answer ends at %d of %d", end, len(answer))
			}
		}
		if mine.Err != "" || mine.BodyErr != "" {
			return
		}
		if theirs := ask(standard, true); !cmp.Equal(theirs, mine) {
			t.Errorf("(-net/http +ours):\n%s", cmp.Diff(theirs, mine))
		}
	}
}

func (u *upstream) clear() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = nil
}

// endOf finds the end of an answer by net/http's reader, or returns -1.
func endOf(answer []byte, method string) int {
	rest := bytes.NewReader(answer)
	in := bufio.NewReader(rest)
	for {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return -1
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return -1
		}
		if res.StatusCode >= 200 {
			return len(answer) - rest.Len() - in.Buffered()
		}
	}
}
