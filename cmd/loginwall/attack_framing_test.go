package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Where a message ends is for the wall to find out, and it tells the app anew: what
// two readers could end in two places reaches the app once and whole, or not at all.
func TestAttackFraming(t *testing.T) {
	t.Parallel()
	r := startWall(t, "https://app.test", routed)
	r.as("alice").signIn(t, "alice@example.com", "/")

	// What the attacker wants the app to read as a request of its own, or to be put
	// before that of the next person on the same connection.
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-User: " + stranger + "\r\nX-Any: "
	const chunkedSmuggled = "0\r\n\r\n" + smuggled
	post := func(fields ...string) string {
		return lines(append(append([]string{"POST /x HTTP/1.1", "Host: {host}", "Cookie: {cookie}"}, fields...), "", "")...)
	}
	next := lines("", "", "GET /next HTTP/1.1", "Host: {host}", "Cookie: {cookie}", "Connection: close", "", "")

	// alone sends what may be taken for one request or for two. For each answer of the
	// app there is one request at the app, and nothing in any of them was smuggled.
	quiet := patience
	alone := func(t *testing.T, raw string, statuses ...int) {
		t.Helper()
		for _, path := range []string{"/x", "/public/x"} {
			before := r.upstream.count()
			answers := r.as("alice").sendRaw(t, strings.Replace(raw, " /x ", " "+path+" ", 1), quiet)
			reached := r.upstream.since(before)
			proxied := 0
			for _, a := range answers {
				if bytes.Contains(a.body, []byte(upstreamMark)) {
					proxied++
				}
			}
			whole := 0
			for _, got := range reached {
				if got.whole {
					whole++
				}
				if strings.Contains(got.request.RequestURI, "smuggled") || strings.Contains(strings.Join(valuesOf(fieldsOf(got.raw), "X-Forwarded-User"), ""), stranger) {
					t.Errorf("%.120q: smuggled:\n%s", raw, got.raw)
				}
			}
			if whole != proxied { // those that are not whole the app cannot take for requests
				t.Errorf("%.120q: %d requests at the app, %d answers of it", raw, whole, proxied)
			}
			ok := len(statuses) == 0 || len(answers) == 0 // hung up
			for _, status := range statuses {
				ok = ok || answers[0].StatusCode == status
			}
			if !ok {
				t.Errorf("%.120q: status %d", raw, answers[0].StatusCode)
			}
		}
	}

	t.Run("SMG-050 both a length and chunks", func(t *testing.T) {
		for _, fields := range [][]string{
			{"Content-Length: " + strconv.Itoa(len(chunkedSmuggled)), "Transfer-Encoding: chunked"},
			{"Transfer-Encoding: chunked", "Content-Length: 4"},
			{"Transfer-Encoding: chunked", "Content-Length: 0"},
			{"Content-Length: 4", "transfer-encoding: CHUNKED"},
			{"Content-Length: 4", "Transfer-Encoding:chunked"},
			{"Content-Length: 4", "Transfer-Encoding: chunked", "Connection: Content-Length"},
			{"Content-Length: 4", "Transfer-Encoding: chunked", "Connection: Transfer-Encoding"},
			{"Content-Length: 4", "Connection: keep-alive, Content-Length"},
			{"Content_Length: 4", "Transfer-Encoding: chunked"},
			{"Content-Length: 4", "Transfer_Encoding: chunked"},
			{"Content-Length: 4", "X-Any: x", "Transfer.Encoding: chunked"},
		} {
			alone(t, post(fields...)+chunkedSmuggled+next)
			alone(t, post(fields...)+"2e\r\n"+smuggled+"\r\n0\r\n"+next)
			alone(t, post(append(fields, "Connection: keep-alive")...)+"5\r\nhello\r\n"+chunkedSmuggled+next)
		}
	})

	t.Run("SMG-051 lengths that are none", func(t *testing.T) {
		for _, length := range []string{"+3", "-3", "0x3", "3,3", "3, 3", "3,4", "3 3", "3;", "3.0", "3e0", "03x", "\"3\"", "three", "18446744073709551619", "9223372036854775808", "\u0663", "3\x0b", "3\x00"} {
			alone(t, post("Content-Length: "+length)+"abc"+smuggled+next, http.StatusBadRequest)
		}
		for _, fields := range [][]string{
			{"Content-Length: 3", "Content-Length: 4"}, {"Content-Length: 4", "content-length: 3"}, {"Content-Length: 3", "Content-Length:"}, {"Content-Length: 3", "Content-Length: 3, 4"}, {"Content-Length: 3", "Content-Length : 4"}, {"Content-Length: 3", "Content-Length\t: 4"}, {"Content-Length: 3", " Content-Length: 4"},
		} {
			alone(t, post(fields...)+"abc"+smuggled+next, http.StatusBadRequest)
		}
		// The same length twice is one length, if anything.
		alone(t, post("Content-Length: 3", "Content-Length: 3", "Connection: close")+"abc", http.StatusOK, http.StatusBadRequest)
		alone(t, post("Content-Length: 003", "Connection: close")+"abc", http.StatusOK, http.StatusBadRequest)
	})

	t.Run("SMG-052 codings that are none", func(t *testing.T) {
		for _, coding := range []string{"xchunked", "chunked, identity", "identity, chunked", "gzip, chunked", "chunked, chunked", "chunked,", ", chunked", "chunked;q=1", "chunked x", "chun ked", "\"chunked\"", "chunked\x0b", "\x0bchunked", "chunked\x00", "identity", "gzip", "", " ", "ch\u0075nke\u0064\u200b", "c\u212ahunked"} {
			alone(t, post("Transfer-Encoding: "+coding)+chunkedSmuggled+next)
			alone(t, post("Transfer-Encoding: "+coding, "Content-Length: 4")+chunkedSmuggled+next)
		}
		for _, fields := range [][]string{
			{"Transfer-Encoding: chunked", "Transfer-Encoding: chunked"}, {"Transfer-Encoding: chunked", "Transfer-Encoding: identity"}, {"Transfer-Encoding: identity", "Transfer-Encoding: chunked"}, {"Transfer-Encoding:\tchunked"}, {"Transfer-Encoding: chunked\t"}, {"Transfer-Encoding : chunked"}, {"Transfer-Encoding:", " chunked"}, {"X: y\rTransfer-Encoding: chunked"}, {"Transfer-Encoding: chunked", "TE: trailers"},
		} {
			alone(t, post(fields...)+chunkedSmuggled+next)
			alone(t, post(append(fields, "Content-Length: 4")...)+chunkedSmuggled+next)
		}
		alone(t, strings.Replace(post("Transfer-Encoding: chunked", "Connection: keep-alive"), "HTTP/1.1", "HTTP/1.0", 1)+chunkedSmuggled+next)
		alone(t, strings.Replace(post("Transfer-Encoding: chunked", "Content-Length: 4", "Connection: keep-alive"), "HTTP/1.1", "HTTP/1.0", 1)+chunkedSmuggled+next)
	})

	t.Run("SMG-053 chunks that are none", func(t *testing.T) {
		chunked := post("Transfer-Encoding: chunked")
		for _, body := range []string{
			"5\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5;x\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\n\r\n", "5\r\nhello\r\n0\r\n\n", "5\rhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n", "5\r\nhello0\r\n\r\n",
			"+5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "\r\n0\r\n\r\n", "5_0\r\nhello\r\n0\r\n\r\n", "g\r\nhello\r\n0\r\n\r\n", "00000000000000000000005\r\nhello\r\n0\r\n\r\n",
			"10000000000000005\r\nhello\r\n0\r\n\r\n", "-1\r\nhello", "5;ext=\"\r\n\"\r\nhello\r\n0\r\n\r\n", "5;" + strings.Repeat("x", 100_000) + "\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n00\r\n\r\n", "5\r\nhello\r\n0;\r\n\r\n",
		} {
			alone(t, chunked+body+smuggled+next)
		}
		// Many bytes about few: a chunk of one byte with a long extension each.
		alone(t, chunked+strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\na\r\n", 1000)+"0\r\n\r\n"+smuggled+next)
		// Of these there is more to come, so the wall waits.
		quiet = 300 * time.Millisecond
		alone(t, chunked+"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"+smuggled+next)
		alone(t, chunked+"7fffffffffffffff\r\nhello\r\n0\r\n\r\n"+smuggled+next)
		quiet = patience
		// Trailers are no place for a request, either.
		alone(t, chunked+"0\r\n"+smuggled+next)
		alone(t, chunked+"0\r\nContent-Length: 40\r\n\r\n"+smuggled+next)
		alone(t, chunked+"0\r\n"+strings.Repeat("X-Any: x\r\n", 10_000)+"\r\n"+smuggled+next)
	})

	t.Run("SMG-053 a body that breaks off", func(t *testing.T) {
		// The app must not take half of it for the whole.
		for _, raw := range []string{post("Content-Length: 100") + "abc", post("Transfer-Encoding: chunked") + "5\r\nhello\r\n", post("Transfer-Encoding: chunked") + "5\r\nhello\r\nzzz\r\n"} {
			before := r.upstream.count()
			conn := r.dial(t)
			_, err := io.WriteString(conn, r.fill(raw))
			check(t, err)
			if strings.HasSuffix(raw, "zzz\r\n") {
				_, _ = io.ReadAll(conn)
			}
			conn.Close()
			poll(t, "the app heard nothing of the end", func() bool { return r.upstream.count() > before })
			r.oracle.judgeUpstream(t, r, r.cookies().String())
			if got := r.upstream.since(before)[0]; got.whole {
				t.Errorf("%.80q reached the app as a whole:\n%s", raw, got.raw)
			}
		}
	})
}

// An app that is hostile, or broken, plants nothing in anybody's browser, and no
// answer of it reaches anybody but who asked.
func TestAttackUpstream(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"standard", "direct"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			attackUpstream(t, transport)
		})
	}
}

func attackUpstream(t *testing.T, transport string) {
	t.Helper()
	r := startWall(t, "https://app.test", routed+"upstream_transport: "+transport+"\n")
	r.as("bob").signIn(t, "bob@example.com", "/")
	r.as("alice").signIn(t, "alice@example.com", "/")

	broken := func(t *testing.T, reply string) {
		t.Helper()
		r.upstream.answer(reply)
		start := time.Now()
		a, reached := r.send1(t, with())
		if a.StatusCode != http.StatusBadGateway || a.Header.Get("X-Loginwall") != "error" || len(reached) != 1 {
			t.Errorf("%.80q: status %d, %d requests at the upstream", reply, a.StatusCode, len(reached))
		}
		if took := time.Since(start); took > patience/2 {
			t.Errorf("%.80q: took %v", reply, took)
		}
	}

	t.Run("SMG-055 more than anybody should read", func(t *testing.T) {
		const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
		broken(t, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n", 1000)+ok)
		broken(t, strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000)+ok)
		broken(t, strings.Repeat("HTTP/1.1 102 Processing\r\nX-Any: "+strings.Repeat("x", 10_000)+"\r\n\r\n", 1000)+ok)
		broken(t, "HTTP/1.1 200 OK\r\nX-Any: "+strings.Repeat("x", 10<<20)+"\r\n\r\n")
		broken(t, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Any: x\r\n", 1<<20)+"\r\n")
		broken(t, "HTTP/1.1 200 "+strings.Repeat("x", 10<<20)+"\r\n\r\n")
		broken(t, strings.Repeat("x", 10<<20))
		// A few informational answers pass, cleaned as the final one is.
		r.upstream.answer("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nSet-Cookie: __Host-loginwall=x; Path=/; Secure\r\nX-Loginwall: page\r\n\r\n" + defaultAnswer)
		conn := r.dial(t)
		defer conn.Close()
		_, err := io.WriteString(conn, r.fill(with()))
		check(t, err)
		text, err := io.ReadAll(conn)
		check(t, err)
		if got := string(text); !strings.HasPrefix(got, "HTTP/1.1 103 Early Hints\r\n") || strings.Contains(got, "loginwall=x") || strings.Contains(got, "X-Loginwall: page") || !strings.Contains(got, upstreamMark) {
			t.Errorf("got %q", got)
		}
	})

	t.Run("STR-183 another protocol, unasked", func(t *testing.T) {
		upgrade := strings.Replace(with("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), "Connection: close", "Connection: Upgrade, close", 1)
		for _, reply := range []string{
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo/2\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n" + defaultAnswer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade:\r\nConnection: Upgrade\r\n\r\n" + defaultAnswer,
		} {
			broken(t, reply)
			if strings.Contains(reply, "Upgrade: websocket") {
				continue
			}
			// Asked for a WebSocket, the app switches to something else.
			a, _ := r.send1(t, upgrade)
			if a.StatusCode != http.StatusBadGateway {
				t.Errorf("%q to a WebSocket: status %d", reply, a.StatusCode)
			}
		}
	})

	t.Run("SMG-056 an answer that breaks off", func(t *testing.T) {
		for _, reply := range []string{
			"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\nhalf of it",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\nzzz\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nfffffffffffffffff\r\nhello\r\n",
		} {
			r.upstream.answer(reply)
			for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
				conn := r.dial(t)
				_, err := io.WriteString(conn, r.fill(strings.Replace(with(), "HTTP/1.1", version, 1)))
				check(t, err)
				check(t, conn.SetReadDeadline(time.Now().Add(patience)))
				text, _ := io.ReadAll(conn)
				conn.Close()
				response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), nil)
				if err != nil {
					continue // not even a header came
				}
				body, err := io.ReadAll(response.Body)
				// HTTP/1.0 has no way to say where an answer ends but by closing; there it is
				// the length, where there is one.
				if err == nil && (version == "HTTP/1.1" || response.ContentLength >= 0) {
					t.Errorf("%s, %.80q: a clean end behind %q", version, reply, body)
				}
			}
		}
		r.oracle.judgeUpstream(t, r, r.cookies().String())
	})

	if transport != "direct" { // net/http's gives a connection to the next request before it looks whether bytes are left on it
		return
	}
	t.Run("SMG-056 an answer for the next one", func(t *testing.T) {
		// Bytes behind an answer are nobody's: whose request comes next over that
		// connection gets the answer to it.
		for _, first := range []string{
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		} {
			for range 40 {
				r.upstream.answer(first + "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned")
				r.as("alice").send1(t, with())
				r.upstream.answer(defaultAnswer)
				if a, _ := r.as("bob").send1(t, with()); bytes.Contains(a.body, []byte("poisoned")) {
					t.Fatalf("behind %q: the next person got what was not for them", first)
				}
			}
			// Many at once, so that each connection is wanted at the moment it is free.
			r.upstream.answer(first + "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned")
			text := r.fill(with())
			var workers sync.WaitGroup
			for range 16 {
				workers.Go(func() {
					for range 20 {
						conn, err := r.dialContext(t.Context(), "tcp", r.address)
						if err != nil {
							t.Error(err)
							return
						}
						_, _ = io.WriteString(conn, text)
						got, err := io.ReadAll(conn)
						conn.Close()
						if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 ")) || bytes.Contains(got, []byte("poisoned")) {
							t.Errorf("behind %q: %v, %.200q", first, err, got)
						}
					}
				})
			}
			workers.Wait()
			r.oracle.judgeUpstream(t, r, text)
		}
		r.as("alice")
	})

	t.Run("SMG-055 framing of answers that two could read in two ways", func(t *testing.T) {
		for _, reply := range []string{
			"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabcd", "HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\nabcd", "HTTP/1.1 200 OK\r\nContent-Length: 3,3\r\n\r\nabc",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nabcd", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\nabcd", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/2.5\r\n\r\n", "ICY 200 OK\r\n\r\n", "HTTP/1.1 099 X\r\n\r\n", "HTTP/1.1 000 X\r\n\r\n", "HTTP/1.1 1000 X\r\n\r\n", "HTTP/1.1 -20 X\r\n\r\n", "HTTP/1.1 +20 X\r\n\r\n",
		} {
			r.upstream.respondWith(func(conn net.Conn, _ *bufio.Reader, _ *http.Request) { _, _ = io.WriteString(conn, reply) })
			a, _ := r.send1(t, with())
			if a.StatusCode != http.StatusBadGateway {
				t.Errorf("%q: status %d, %q", reply, a.StatusCode, a.body)
			}
		}
	})

	t.Run("COO-124 what the app sets", func(t *testing.T) {
		r.upstream.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Loginwall: page\r\nSet-Cookie: __Host-loginwall=x; Path=/; Secure\r\nSet-Cookie: app=1; Path=/app\r\nset-cookie: __host-LOGINWALL-a-x=; Max-Age=0\r\nSet-Cookie: =__Host-loginwall=x; Path=/\r\nClear-Site-Data: \"*\"\r\n\r\nok")
		a, _ := r.send1(t, with())
		if got := fmt.Sprint(a.Header["Set-Cookie"]); got != "[app=1; Path=/app]" {
			t.Errorf("Set-Cookie: %s", got)
		}
		if got := a.Header.Get("Clear-Site-Data"); strings.Contains(got, "cookies") || strings.Contains(got, "*") {
			t.Errorf("Clear-Site-Data: %s", got)
		}
		if a.Header["X-Loginwall"] != nil {
			t.Error("the app passes for the wall")
		}
	})

	t.Run("STR-186 what is packed stays packed", func(t *testing.T) {
		var bomb bytes.Buffer
		z := gzip.NewWriter(&bomb)
		_, err := io.CopyN(z, zeros{}, 4<<20)
		check(t, errors.Join(err, z.Close()))
		r.upstream.answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", bomb.Len(), bomb.String()))
		for _, fields := range [][]string{nil, {"Accept-Encoding: gzip"}, {"Accept-Encoding: identity"}} {
			a, reached := r.send1(t, with(fields...))
			if a.StatusCode != http.StatusOK || !bytes.Equal(a.body, bomb.Bytes()) || a.Header.Get("Content-Encoding") != "gzip" {
				t.Errorf("%v: status %d, %d bytes of %d, Content-Encoding %q", fields, a.StatusCode, len(a.body), bomb.Len(), a.Header["Content-Encoding"])
			}
			if got := valuesOf(fieldsOf(reached[0].raw), "Accept-Encoding"); len(got) != len(fields) {
				t.Errorf("%v: the app was asked for %q", fields, got)
			}
		}
	})
	r.upstream.answer(defaultAnswer)
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
