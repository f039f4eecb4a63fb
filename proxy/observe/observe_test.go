package observe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/internal/locked"
	"github.com/loginwall/loginwall/proxy/observe"
)

func TestRequestID(t *testing.T) {
	for _, kept := range []string{"a", "0af7651916cd43dd8448eb211c80319c", "Root-1_2.3", strings.Repeat("x", 64)} {
		if got := observe.RequestID(kept); got != kept {
			t.Errorf("RequestID(%q) = %q, want it kept", kept, got)
		}
	}
	fresh := regexp.MustCompile(`^[0-9a-f]{32}$`)
	seen := map[string]bool{}
	for _, bad := range []string{"", "a b", "a\nb", "ä", "a/b", `a"`, strings.Repeat("x", 65), "a\x00"} {
		got := observe.RequestID(bad)
		if !fresh.MatchString(got) || seen[got] {
			t.Errorf("RequestID(%q) = %q, want a fresh one", bad, got)
		}
		seen[got] = true
	}
}

// gate is a writer that blocks until it is opened.
type gate struct {
	open    chan struct{}
	entered chan struct{}
	once    sync.Once

	locked.Buffer
}

func newGate() *gate { return &gate{open: make(chan struct{}), entered: make(chan struct{})} }

func (g *gate) Write(p []byte) (int, error) {
	g.once.Do(func() { close(g.entered) })
	<-g.open
	return g.Buffer.Write(p)
}

func TestLOG237ABlockedReaderOfTheLogBlocksNobody(t *testing.T) {
	g := newGate()
	told := make(chan int64, 1)
	q := observe.NewQueue(g, 100, func(n int64) { told <- n })
	line := []byte(strings.Repeat("x", 39) + "\n")
	_, _ = q.Write(line)
	<-g.entered // the first line hangs in the writer; the queue itself is empty
	for range 10 {
		if n, err := q.Write(line); n != len(line) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	if got := q.Dropped(); got != 8 {
		t.Errorf("dropped %d lines, want 8: two fit", got)
	}
	close(g.open)
	if n := <-told; n != 8 {
		t.Errorf("told of %d lost lines, want 8", n)
	}
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := g.String(), strings.Repeat(string(line), 3); got != want {
		t.Errorf("written %q, want three whole lines", got)
	}
	_, _ = q.Write(line)
	if got := q.Dropped(); got != 9 {
		t.Errorf("dropped %d, want a line after Close to count", got)
	}
}

func TestLOG237CloseDoesNotWaitForAHangingReader(t *testing.T) {
	g := newGate()
	defer close(g.open)
	q := observe.NewQueue(g, 100, nil)
	_, _ = q.Write([]byte("x\n"))
	<-g.entered
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := q.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close = %v, want the deadline", err)
	}
}

func TestQueueCloseWritesWhatIsPending(t *testing.T) {
	var out bytes.Buffer
	q := observe.NewQueue(&out, 1<<20, nil)
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range 100 {
				_, _ = q.Write([]byte("line\n"))
			}
		})
	}
	writers.Wait()
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "line\n"); got != 800 || out.Len() != 800*5 {
		t.Errorf("wrote %d lines in %d bytes", got, out.Len())
	}
}

func record() *observe.Record {
	return &observe.Record{
		Time:      time.Date(2026, 11, 22, 10, 0, 0, 123e6, time.FixedZone("", 3600)),
		RequestID: "0af7651916cd43dd8448eb211c80319c",
		Method:    "GET", Host: "tool.example.com", Path: "/a%2Fb//c", Status: 200, Bytes: 1024,
		Duration: 1500 * time.Microsecond, Upstream: time.Millisecond,
		Client: "203.0.113.7", Agent: "Mozilla/5.0",
		User: "alice@example.com", UserID: "abcdefghijklmnopqrstuvwxyz", Rule: "routes[1] /admin/", Reason: "why",
		Outcome: observe.Proxied,
	}
}

func TestAccessLogLine(t *testing.T) {
	var out bytes.Buffer
	observe.NewAccessLog(&out, false).Log(record(), nil)
	want := `{"time":"2026-11-22T09:00:00.123Z","level":"INFO","msg":"request",` +
		`"request_id":"0af7651916cd43dd8448eb211c80319c","method":"GET","host":"tool.example.com","path":"/a%2Fb//c",` +
		`"status":200,"bytes":1024,"duration_ms":1.500,"upstream_ms":1.000,"client":"203.0.113.7",` +
		`"user":"alice@example.com","user_id":"abcdefghijklmnopqrstuvwxyz","rule":"routes[1] /admin/","reason":"why",` +
		`"outcome":"proxied","user_agent":"Mozilla/5.0"}` + "\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	out.Reset()
	observe.NewAccessLog(&out, true).Log(record(), nil)
	for _, part := range []string{"level=INFO msg=request", "path=/a%2Fb//c", "status=200", "user=alice@example.com", `rule="routes[1] /admin/"`} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("text line %q lacks %q", out.String(), part)
		}
	}
	var off *observe.AccessLog
	off.Log(record(), nil) // must not panic
}

func TestLOG234StrangersWriteNoLines(t *testing.T) {
	for _, evil := range []string{
		"a\r\nb", "\x1b[2J\x1b]0;owned\x07", "a\u2028b\u2029c", "\u202egnp.exe", "\x9b31m", "\u009b31m",
		"\x00\x7f", `"},{"msg":"forged`, `\`, "\xff\xfe", "ä 漢字 😀", "\U000e0001", strings.Repeat("ü", 5000),
	} {
		r := record()
		r.Method, r.Host, r.Path, r.Agent, r.User, r.Rule, r.Client = evil, evil, evil, evil, evil, evil, evil
		checkLine(t, r)
		for _, text := range []bool{false, true} {
			var out bytes.Buffer
			observe.LogAudit(&out, text, &observe.AuditEvent{Event: "blocked", Actor: evil, User: evil, UserID: evil, Session: evil, Client: evil, Detail: evil, RequestID: evil})
			if got := oneLine(t, out.String(), text); !text && (got["msg"] != "audit" || len(got) != 11) {
				t.Errorf("fields %v", got)
			}
		}
	}
}

func FuzzLOG234(f *testing.F) {
	f.Add("GET", "host", "/path", "agent\n")
	f.Add("\xe2\x80", "\xf0\x9f\x98", "\U0001F600", "\ufffd")
	f.Fuzz(func(t *testing.T, method, host, path, agent string) {
		r := record()
		r.Method, r.Host, r.Path, r.Agent = method, host, path, agent
		checkLine(t, r)
	})
}

func checkLine(t *testing.T, r *observe.Record) {
	t.Helper()
	for _, text := range []bool{false, true} {
		var out bytes.Buffer
		observe.NewAccessLog(&out, text).Log(r, nil)
		got := oneLine(t, out.String(), text)
		if text {
			continue
		}
		if got["msg"] != "request" || len(got) != 18 {
			t.Errorf("fields %v", got)
		}
		if want := string([]rune(r.Path)); len(r.Path) <= 2048 && got["path"] != want {
			t.Errorf("path %q, want %q", got["path"], want)
		}
	}
}

// oneLine checks that all is one short line, fit for a terminal, and returns the
// fields unless it is text.
func oneLine(t *testing.T, out string, text bool) (fields map[string]any) {
	t.Helper()
	line, rest, _ := strings.Cut(out, "\n")
	if rest != "" || len(line) > 32<<10 {
		t.Errorf("more than one line, or a long one: %q", out)
	}
	for _, c := range line {
		if !unicode.IsPrint(c) && c != '\ufffd' {
			t.Errorf("%U in %q", c, line)
		}
	}
	if err := json.Unmarshal([]byte(line), &fields); err != nil && !text {
		t.Fatalf("%v in %q", err, line)
	}
	return fields
}

func scrape(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// touched has counted something in each of its metrics.
func touched() *observe.Metrics {
	m := observe.NewMetrics(observe.MetricsConfig{
		Version:       "v1.2.3",
		FeedAge:       func() time.Duration { return 1500 * time.Millisecond },
		DroppedLines:  func() int64 { return 7 },
		DroppedEvents: func() int64 { return 8 },
		Connections:   func() [3]int { return [3]int{3, 2, 1} },
		ClockOffset:   func() time.Duration { return -2 * time.Second },

		CertificateUntil: func() time.Time { return time.Unix(1900000000, 0) },
	})
	m.Request(observe.Proxied, "GET", 200, 3*time.Millisecond, false)
	m.Request(observe.Proxied, "GET", 200, time.Hour, true)
	m.Request(observe.Challenge, "PROPFIND", 401, time.Millisecond, false)
	m.Request(observe.Proxied, "GET", 999, 0, true)
	m.LoginStarted()
	m.LoginFinished("ok", "")
	m.LoginFinished("failed", "nonce")
	m.Denied("domain")
	m.Denied("not a word\n")
	m.SessionEnded("sign_out")
	m.ProviderRequest("token", time.Second, errors.New("x"))
	m.StoreRequest("sign in", time.Millisecond, nil)
	m.UpstreamError("refused")
	m.UpstreamDial(time.Millisecond, nil)
	m.Streams("websocket", 2)
	m.Streams("websocket", -1)
	m.Reloaded(true, time.Unix(1700000000, 0))
	m.Reloaded(false, time.Unix(1800000000, 0))
	return m
}

func TestMetrics(t *testing.T) {
	body := scrape(t, observe.Ops(touched(), nil), "/metrics").Body.String()
	for _, want := range []string{
		`loginwall_http_requests_total{code="200",method="GET",outcome="proxied"} 2`,
		`loginwall_http_requests_total{code="401",method="other",outcome="sign_in_required"} 1`,
		`loginwall_http_requests_total{code="other",method="GET",outcome="proxied"} 1`,
		`loginwall_http_request_duration_seconds_count{outcome="proxied"} 1`,
		`loginwall_login_started_total 1`,
		`loginwall_logins_total{reason="",result="ok"} 1`,
		`loginwall_logins_total{reason="nonce",result="failed"} 1`,
		`loginwall_denials_total{reason="domain"} 1`,
		`loginwall_denials_total{reason="other"} 1`,
		`loginwall_session_ends_total{reason="sign_out"} 1`,
		`loginwall_provider_request_duration_seconds_count{endpoint="token",result="error"} 1`,
		`loginwall_store_request_duration_seconds_count{op="sign_in",result="ok"} 1`,
		`loginwall_upstream_errors_total{kind="refused"} 1`,
		`loginwall_upstream_connect_duration_seconds_count{result="ok"} 1`,
		`loginwall_open_streams{kind="websocket"} 1`,
		`loginwall_config_last_reload_success 0`,
		`loginwall_config_last_reload_success_timestamp_seconds 1.7e+09`,
		`loginwall_revocation_feed_age_seconds 1.5`,
		`loginwall_log_lines_dropped_total{stream="log"} 7`,
		`loginwall_log_lines_dropped_total{stream="audit"} 8`,
		`loginwall_provider_clock_offset_seconds -2`,
		`loginwall_upstream_connections{state="open"} 3`, `loginwall_upstream_connections{state="idle"} 2`, `loginwall_upstream_connections{state="waiting"} 1`,
		`version="v1.2.3"} 1`,
		`go_goroutines `, `process_open_fds `,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestMetricLabelsAreBounded(t *testing.T) {
	m := observe.NewMetrics(observe.MetricsConfig{})
	for i := range 2000 {
		m.Request(observe.Outcome(i%256), "METHOD"+strings.Repeat("x", i%50), 200+i, 0, false)
		m.Denied("word_" + strings.Repeat("x", i%30) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)))
	}
	body := scrape(t, observe.Ops(m, nil), "/metrics").Body.String()
	if n := strings.Count(body, "loginwall_denials_total{"); n > 257 {
		t.Errorf("%d series of denials", n)
	}
	if strings.Contains(body, "METHOD") {
		t.Error("a method of a stranger's choice became a label")
	}
}

func TestCountingARequestAllocatesNothing(t *testing.T) {
	m := observe.NewMetrics(observe.MetricsConfig{})
	l := observe.NewAccessLog(discard{}, false)
	r := record()
	count := func() {
		m.Request(observe.Proxied, "GET", 200, time.Millisecond, false)
		l.Log(r, nil)
	}
	count()
	if n := testing.AllocsPerRun(100, count); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func TestOps(t *testing.T) {
	var missing []string
	h := observe.Ops(observe.NewMetrics(observe.MetricsConfig{}), func() []string { return missing })
	for _, tt := range []struct {
		path    string
		missing []string
		status  int
		body    string
	}{
		{"/livez", []string{"x"}, 200, "ok\n"},
		{"/readyz", nil, 200, "ok\n"},
		{"/readyz", []string{"store: away", "draining"}, 503, "store: away\ndraining\n"},
		{"/", nil, 404, "not found (there are /livez, /readyz and /metrics)\n"},
		{"/debug/pprof/", nil, 404, "not found (there are /livez, /readyz and /metrics)\n"},
	} {
		missing = tt.missing
		w := scrape(t, h, tt.path)
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s: %d %q, want %d %q", tt.path, w.Code, w.Body, tt.status, tt.body)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/livez", nil))
	if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

func BenchmarkAccessLog(b *testing.B) {
	q := observe.NewQueue(discard{}, 1<<20, nil)
	l := observe.NewAccessLog(q, false)
	r := record()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Log(r, nil)
		}
	})
}

func BenchmarkRequestMetrics(b *testing.B) {
	m := observe.NewMetrics(observe.MetricsConfig{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Request(observe.Proxied, "GET", 200, time.Millisecond, false)
		}
	})
}

func BenchmarkRequestID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		observe.RequestID("")
	}
}
