package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A flood is what strangers can do in great numbers.
type flood struct {
	name string
	// few is how often under go test, many under make floods.
	few, many int
	// workers at once.
	workers int
	// each does it once.
	each func(t *testing.T, f *flooded, i int) error
	// mayGrow is the memory that may be held while it lasts, in bytes for each of
	// the workers, beside a fixed slack. The definition of an availability bug that
	// SECURITY.md gives is a hundred times a request's own size.
	mayGrow int
}

// A flooded wall is measured while a flood lasts.
type flooded struct {
	*rig
	session string
	client  *http.Client
	hold    chan struct{} // closed when the flood has been measured
}

// TestFloods: what strangers do in great numbers costs bounded memory and no writes,
// and who is signed in is served all the while. The numbers are small here; make
// floods runs large ones, and keeps their figures in testdata/floods.md.
func TestFloods(t *testing.T) {
	file := os.Getenv("FLOODS")
	full := file != ""
	if !full {
		t.Parallel()
	}
	table := figures{
		title: "Floods",
		about: "Written by `make floods`: what strangers (and, in the last row, one session) do in great numbers to one wall on two cores, flood and\n" +
			"wall on the same machine. CPU is the wall's, for each try; memory is its resident set before and at its highest; the wait is that of\n" +
			"somebody signed in who works meanwhile. No flood made a write to the store, or a call to the provider.",
		columns: []string{"flood", "tries", "took", "CPU each", "memory", "wait, p99 / longest"},
	}
	floods := []flood{
		// DOS-187: one header byte now and then.
		{name: "slow headers", few: 150, many: 3000, workers: 3000, each: slowHeader, mayGrow: 64 << 10},
		// DOS-189: a megabyte of headers, in one line and in ten thousand.
		{name: "headers of 1 MB", few: 20, many: 2000, workers: 20, each: hugeHeader, mayGrow: 1 << 20},
		// COO-130: as many cookies as the limit lets through, and more.
		{name: "5,000 cookies", few: 50, many: 20_000, workers: 16, each: manyCookies, mayGrow: 1 << 20},
		// Logins begin; nobody comes back.
		{name: "logins that begin", few: 1000, many: 1_000_000, workers: 32, each: beginning, mayGrow: 256 << 10},
		// DOS-191: callbacks that nobody was sent to.
		{name: "forged callbacks", few: 1000, many: 200_000, workers: 32, each: forgedCallback, mayGrow: 256 << 10},
		// DOS-196: cookies that open nothing, at full rate.
		{name: "random session cookies", few: 2000, many: 400_000, workers: 32, each: randomCookie, mayGrow: 256 << 10},
		// Connections that ask for something and stay.
		{name: "idle connections", few: 300, many: 8000, workers: 8000, each: idleConnection, mayGrow: 40 << 10},
		// DOS-199: a body without end by somebody not signed in.
		{name: "endless bodies", few: 5, many: 200, workers: 10, each: endlessBody, mayGrow: 1 << 20},
		// DOS-188: a body in drops by somebody not signed in: answered without it.
		{name: "slow bodies", few: 100, many: 3000, workers: 3000, each: slowBody, mayGrow: 64 << 10},
		// DOS-194: streams that are taken back at once, headers that never end.
		{name: "HTTP/2 rapid resets", few: 3, many: 100, workers: 10, each: rapidReset, mayGrow: 2 << 20},
		{name: "HTTP/2 endless headers", few: 3, many: 100, workers: 10, each: continuations, mayGrow: 2 << 20},
		// Somebody signed in is no stranger, but may have no more than the others.
		{name: "one session at full rate", few: 2000, many: 300_000, workers: 64, each: oneSession, mayGrow: 256 << 10},
	}
	r := newRig(t)
	r.publicURL = "https://app.test"
	wall := r.serveReady(t, r.write(t, basics+"timeouts: {read_header: 10s}\nlog: {access: false}\n"))
	r.as("alice").signIn(t, "alice@example.com", "/")
	session := r.cookies().session()
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			n := f.few
			if full {
				n = f.many
			}
			run := flooded{rig: r, session: session, hold: make(chan struct{}), client: &http.Client{
				CheckRedirect: r.client.CheckRedirect, Timeout: 2 * patience,
				Transport: &http.Transport{MaxIdleConnsPerHost: f.workers, DisableCompression: true, WriteBufferSize: 1 << 20},
			}}
			table.add(t, run.measure(t, f, n))
			run.client.CloseIdleConnections()
			r.oracle.judged = r.upstream.count() // all of them told of alice, as measure saw
		})
	}
	if strings.Contains(wall.log.String(), "panic") {
		t.Error("a panic")
	}
	wall.stop(t)
	if full {
		table.write(t, file)
	}
}

// measure lets a flood run, looks at the wall meanwhile and behind it, and returns
// the row of the table.
func (f *flooded) measure(t *testing.T, what flood, n int) []string {
	before := f.metrics(t)
	rest := metric(before, "process_resident_memory_bytes")
	asked := f.idp.Requests("token") + f.idp.Requests("jwks") + f.idp.Requests("userinfo")
	reached := f.upstream.count()
	began := time.Now()

	var workers sync.WaitGroup
	var next, failed atomic.Int64
	var firstFailure atomic.Pointer[error]
	for range min(what.workers, n) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := what.each(t, f, i); err != nil {
					failed.Add(1)
					firstFailure.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { workers.Wait(); close(done) }()

	// Meanwhile somebody who is signed in works, and the wall is looked at.
	var waits []time.Duration
	peak := rest
	holds := what.workers >= n // all of them hold on until they are told
	released := false
	for over := false; !over; {
		select {
		case <-done:
			over = true
		case <-time.After(20 * time.Millisecond):
		}
		start := time.Now()
		if status := f.asAlice(t); status != http.StatusOK {
			t.Fatalf("who is signed in gets %d", status)
		}
		waits = append(waits, time.Since(start))
		peak = max(peak, metric(f.metrics(t), "process_resident_memory_bytes"))
		if holds && !released && int(next.Load()) >= n && time.Since(began) > time.Second {
			close(f.hold)
			released = true
		}
	}
	took := time.Since(began)
	if !released {
		close(f.hold)
	}
	after := f.metrics(t)
	cpu := metric(after, "process_cpu_seconds_total") - metric(before, "process_cpu_seconds_total")
	slices.Sort(waits)
	slowest, p99 := waits[len(waits)-1], waits[len(waits)*99/100]

	if failed.Load() != 0 {
		t.Errorf("%d of %d went wrong, such as: %v", failed.Load(), n, *firstFailure.Load())
	}
	const slack = 48 << 20 // garbage that is not collected yet, and the race detector's own
	if grown := peak - rest; grown > float64(slack+what.mayGrow*min(what.workers, n)) {
		t.Errorf("memory grew by %.0f MB", grown/1e6)
	}
	if now := f.idp.Requests("token") + f.idp.Requests("jwks") + f.idp.Requests("userinfo"); now != asked {
		t.Errorf("the provider was asked %d times", now-asked)
	}
	if writes := storeWrites(after) - storeWrites(before); writes > 2+took.Seconds()/10 { // "last seen" of the one who works
		t.Errorf("%v writes to the store", writes)
	}
	for _, got := range f.upstream.since(reached) {
		if identityOf(got) != "alice@example.com" {
			t.Fatalf("reached the app:\n%s", got.raw)
		}
	}
	return []string{
		what.name, strconv.Itoa(n), fmt.Sprintf("%.1f s", took.Seconds()), fmt.Sprintf("%.0f µs", 1e6*cpu/float64(n)),
		fmt.Sprintf("%.0f → %.0f MB", rest/1e6, peak/1e6), fmt.Sprintf("%v / %v", p99.Round(time.Millisecond), slowest.Round(time.Millisecond)),
	}
}

// storeWrites counts what was written to the store.
func storeWrites(metrics string) float64 {
	sum := 0.0
	for _, found := range regexp.MustCompile(`(?m)^loginwall_store_request_duration_seconds_count\{op="([^"]*)".*\} (\S+)$`).FindAllStringSubmatch(metrics, -1) {
		switch found[1] {
		case "revocations", "ping", "prune":
		default:
			n, _ := strconv.ParseFloat(found[2], 64)
			sum += n
		}
	}
	return sum
}

func (f *flooded) asAlice(t *testing.T) int {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+f.address+"/x", nil)
	check(t, err)
	request.Host = f.host()
	request.Header = http.Header{"Cookie": {f.session}, "Accept": {"application/json"}}
	response, err := f.rig.client.Do(request)
	check(t, err)
	response.Body.Close()
	return response.StatusCode
}

// get sends one request as a stranger and wants this answer.
func (f *flooded) get(path, cookie string, want int) error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+f.address+path, nil)
	if err != nil {
		return err
	}
	request.Host = f.host()
	request.Header = http.Header{"Accept": {"text/html"}}
	if cookie != "" {
		request.Header.Set("Cookie", cookie)
	}
	response, err := f.client.Do(request)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if response.StatusCode != want {
		return fmt.Errorf("%s: %s, want %d", path, response.Status, want)
	}
	return nil
}

func (f *flooded) connect() (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(context.Background(), "tcp", f.address)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(2 * patience))
}

var errKeptOpen = errors.New("the connection is kept open")

func slowHeader(_ *testing.T, f *flooded, _ int) error {
	conn, err := f.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\nX-Slow: "); err != nil {
		return err
	}
	return trickle(conn, conn)
}

// trickle sends a byte now and then, and wants the connection closed. in reads it.
func trickle(conn net.Conn, in io.Reader) error {
	closed := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		close(closed)
	}()
	for began := time.Now(); time.Since(began) < patience; {
		select {
		case <-closed:
			return nil
		case <-time.After(500 * time.Millisecond):
			_, _ = conn.Write([]byte("x")) // an error shows as closed
		}
	}
	return errKeptOpen
}

func hugeHeader(_ *testing.T, f *flooded, i int) error {
	conn, err := f.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	var b bytes.Buffer
	b.WriteString("GET / HTTP/1.1\r\nHost: app.test\r\n")
	if i%2 == 0 {
		b.WriteString("X-Huge: " + strings.Repeat("x", 1<<20) + "\r\n")
	} else {
		for line := range 10_000 {
			fmt.Fprintf(&b, "X-%d: %s\r\n", line, strings.Repeat("x", 90))
		}
	}
	b.WriteString("\r\n")
	_, _ = conn.Write(b.Bytes()) // the wall may have answered and closed before
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil //nolint:nilerr // closed without an answer, since what was unread resets the connection
	}
	response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		return errors.New(response.Status)
	}
	return nil
}

func manyCookies(_ *testing.T, f *flooded, i int) error {
	if i%2 == 0 {
		return f.get("/x", strings.Repeat("a=b; ", 5000), http.StatusFound)
	}
	return f.get("/x", strings.Repeat("__Host-loginwall=x; ", 1200), http.StatusFound)
}

func beginning(_ *testing.T, f *flooded, i int) error {
	return f.get(fmt.Sprintf("/_auth/login?to=/%d", i), "", http.StatusFound)
}

func forgedCallback(_ *testing.T, f *flooded, i int) error {
	return f.get(fmt.Sprintf("/_auth/callback?code=x&state=%043d", i), "__Host-loginwall-a-00000000=AAAA", http.StatusBadRequest)
}

func randomCookie(_ *testing.T, f *flooded, _ int) error {
	return f.get("/x", "__Host-loginwall="+rand.Text()+strings.Repeat(rand.Text(), 20), http.StatusFound)
}

func idleConnection(_ *testing.T, f *flooded, _ int) error {
	conn, err := f.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /_auth/healthz HTTP/1.1\r\nHost: app.test\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	<-f.hold
	return nil
}

// endlessBody wants an answer long before the body ends, and counts what the wall
// takes of it.
func endlessBody(_ *testing.T, f *flooded, _ int) error {
	conn, err := f.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(32 << 10)
	}
	if _, err := io.WriteString(conn, "POST /upload HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10737418240\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusUnauthorized {
		return errors.New(response.Status)
	}
	sent, chunk := 0, make([]byte, 16<<10)
	for err == nil && sent < 64<<20 {
		var n int
		n, err = conn.Write(chunk)
		sent += n
	}
	const inKernel = 8 << 20 // buffers of both ends
	if sent > 256<<10+inKernel {
		return fmt.Errorf("%d bytes were taken", sent)
	}
	return nil
}

// slowBody wants its answer at once, and lets the body drop on.
func slowBody(_ *testing.T, f *flooded, _ int) error {
	conn, err := f.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /upload HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000\r\n\r\n"); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusUnauthorized {
		return errors.New(response.Status)
	}
	return trickle(conn, in)
}

func oneSession(_ *testing.T, f *flooded, i int) error {
	return f.get(fmt.Sprintf("/work/%d", i), f.session, http.StatusOK)
}

const prefaceHTTP2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(head, stream), payload...)
}

// http2Request is a header block: GET /x of app.test, all literals.
func http2Request() []byte {
	var block []byte
	fields := []string{":method", "GET", ":scheme", "http", ":authority", "app.test", ":path", "/x", "accept", "application/json"}
	for i := 0; i < len(fields); i += 2 {
		block = append(block, 0)
		for _, text := range fields[i : i+2] {
			block = append(appendLength(block, len(text)), text...)
		}
	}
	return block
}

// rapidReset opens streams and takes them back at once (CVE-2023-39325).
func rapidReset(_ *testing.T, f *flooded, _ int) error {
	const headers, reset, endStream, endHeaders = 1, 3, 1, 4
	conn, err := f.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	block := http2Request()
	out := []byte(prefaceHTTP2)
	for stream := uint32(1); stream < 20_000; stream += 2 {
		out = append(out, frame(headers, endStream|endHeaders, stream, block)...)
		out = append(out, frame(reset, 0, stream, []byte{0, 0, 0, 8})...)
		if len(out) > 32<<10 {
			if _, err := conn.Write(out); err != nil {
				return nil //nolint:nilerr // the wall has had enough
			}
			out = out[:0]
		}
	}
	return nil
}

// continuations sends a header that never ends (CVE-2023-45288).
func continuations(_ *testing.T, f *flooded, _ int) error {
	const headers, continuation, endStream = 1, 9, 1
	conn, err := f.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	out := append([]byte(prefaceHTTP2), frame(headers, endStream, 1, http2Request())...)
	if _, err := conn.Write(out); err != nil {
		return err
	}
	field := append(appendLength([]byte{0}, 6), "x-junk"...)
	field = append(appendLength(field, 8000), strings.Repeat("j", 8000)...)
	more := frame(continuation, 0, 1, field)
	for sent := 0; sent < 64<<20; sent += len(more) {
		if _, err := conn.Write(more); err != nil {
			return nil //nolint:nilerr // the wall has had enough
		}
	}
	return errors.New("64 MB of headers were taken")
}
