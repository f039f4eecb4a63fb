package observe

import (
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const namespace = "loginwall"

// A MetricsConfig is what NewMetrics needs. Every func may be nil and is called
// when somebody scrapes.
type MetricsConfig struct {
	// Version is what build_info says.
	Version string
	// FeedAge is the age of the last known revocations.
	FeedAge func() time.Duration
	// DroppedLines counts the log lines that were dropped; DroppedEvents those of an
	// audit stream that goes to a file.
	DroppedLines, DroppedEvents func() int64
	// Connections are those to upstreams, as upstream_transport: direct has them: open,
	// idle, and requests that wait for one.
	Connections func() [3]int
	// ClockOffset is the provider's clock minus ours.
	ClockOffset func() time.Duration
	// CertificateUntil is when the first of the wall's own certificates expires, the
	// zero time while one is missing; nil where TLS ends in front of the wall.
	CertificateUntil func() time.Time
}

// Metrics are counted in a registry of their own and served by Ops. All methods
// are safe for concurrent use; each may be handed out as a plain func, so
// nobody else needs to know this package.
type Metrics struct {
	registry *prometheus.Registry

	requests  requestCounters
	durations [outcomes]prometheus.Observer

	loginsStarted  prometheus.Counter
	logins         *prometheus.CounterVec
	denials        *prometheus.CounterVec
	sessionEnds    *prometheus.CounterVec
	provider       *prometheus.HistogramVec
	store          *prometheus.HistogramVec
	upstreamErrors *prometheus.CounterVec
	upstreamDials  *prometheus.HistogramVec
	streams        *prometheus.GaugeVec
	reload         reloadGauges
	words          words
}

type reloadGauges struct{ success, at prometheus.Gauge }

// NewMetrics makes the registry and everything in it.
func NewMetrics(c MetricsConfig) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	}
	// From a millisecond, which is what the wall and a quick app need together.
	request := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	// From a tenth of it, for what one embedded look-up or a local dial takes.
	inner := []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5, 10}

	durations := histogram("http_request_duration_seconds",
		"Time from a request to the end of its answer, WebSockets and event streams left out.", request, "outcome")
	m := &Metrics{
		registry:      prometheus.NewRegistry(),
		requests:      requestCounters{vec: counter("http_requests_total", "Requests, by what became of them.", "code", "method", "outcome")},
		loginsStarted: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "login_started_total", Help: "Browsers sent to the provider."}),
		logins:        counter("logins_total", "Callbacks from the provider, by how they ended.", "result", "reason"),
		denials:       counter("denials_total", "Requests turned away by policy or a block.", "reason"),
		sessionEnds:   counter("session_ends_total", "Sessions ended before their time.", "reason"),
		provider:      histogram("provider_request_duration_seconds", "Requests to the provider.", request, "endpoint", "result"),
		store:         histogram("store_request_duration_seconds", "Calls of the store.", inner, "op", "result"),
		upstreamErrors: counter("upstream_errors_total",
			"Requests that the upstream did not answer, or not to the end.", "kind"),
		upstreamDials: histogram("upstream_connect_duration_seconds", "Connections opened to upstreams.", inner, "result"),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Name: "open_streams", Help: "WebSockets and event streams that are open.",
		}, []string{"kind"}),
		reload: reloadGauges{
			success: gauge("config_last_reload_success", "1 if the last configuration that was read is in force."),
			at:      gauge("config_last_reload_success_timestamp_seconds", "When the configuration in force was read."),
		},
	}
	for o := range m.durations {
		m.durations[o] = durations.WithLabelValues(Outcome(o).String())
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1, labelled with what was built.",
		ConstLabels: prometheus.Labels{"version": c.Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(build, m.requests.vec, durations, m.loginsStarted, m.logins, m.denials, m.sessionEnds,
		m.provider, m.store, m.upstreamErrors, m.upstreamDials, m.streams, m.reload.success, m.reload.at,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.gaugeFunc("revocation_feed_age_seconds", "Age of the last known revocations.", c.FeedAge)
	m.gaugeFunc("provider_clock_offset_seconds", "The provider's clock minus ours, as its last answer told.", c.ClockOffset)
	if c.CertificateUntil != nil {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: namespace, Name: "certificate_not_after_timestamp_seconds", Help: "With tls: when the first of the wall's own certificates expires; 0 while one is missing.",
		}, func() float64 { return timestamp(c.CertificateUntil()) }))
	}
	if c.Connections != nil {
		for i, state := range []string{"open", "idle", "waiting"} {
			m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Namespace: namespace, Name: "upstream_connections", Help: "Connections of upstream_transport: direct, and requests that wait for one.",
				ConstLabels: prometheus.Labels{"state": state},
			}, func() float64 { return float64(c.Connections()[i]) }))
		}
	}
	m.dropped("log", c.DroppedLines)
	m.dropped("audit", c.DroppedEvents)
	m.logins.WithLabelValues("ok", "") // there from the start, so that "none came back" can be asked
	return m
}

func (m *Metrics) gaugeFunc(name, help string, value func() time.Duration) {
	if value != nil {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return value().Seconds() }))
	}
}

func (m *Metrics) dropped(stream string, lines func() int64) {
	if lines != nil {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: namespace, Name: "log_lines_dropped_total", Help: "Lines dropped because nobody took them.",
			ConstLabels: prometheus.Labels{"stream": stream},
		}, func() float64 { return float64(lines()) }))
	}
}

// Request counts one answered request. A stream is counted, but its duration,
// which says when somebody closed a tab, is not.
func (m *Metrics) Request(o Outcome, method string, status int, d time.Duration, stream bool) {
	if o >= outcomes {
		o = Failed
	}
	m.requests.get(o, method, status).Inc()
	if !stream {
		m.durations[o].Observe(d.Seconds())
	}
}

// LoginStarted counts a browser that was sent to the provider.
func (m *Metrics) LoginStarted() { m.loginsStarted.Inc() }

// LoginFinished counts a callback; result and reason are fixed words.
func (m *Metrics) LoginFinished(result, reason string) {
	m.logins.WithLabelValues(m.words.bound(result), m.words.bound(reason)).Inc()
}

// Denied counts a request that policy or a block turned away.
func (m *Metrics) Denied(reason string) { m.denials.WithLabelValues(m.words.bound(reason)).Inc() }

// SessionEnded counts a session that ended before its time.
func (m *Metrics) SessionEnded(reason string) {
	m.sessionEnds.WithLabelValues(m.words.bound(reason)).Inc()
}

// ProviderRequest records one exchange with the provider.
func (m *Metrics) ProviderRequest(endpoint string, d time.Duration, err error) {
	m.provider.WithLabelValues(m.words.bound(endpoint), result(err)).Observe(d.Seconds())
}

// StoreRequest records one call of the store, named in a word or two.
func (m *Metrics) StoreRequest(op string, d time.Duration, err error) {
	m.store.WithLabelValues(m.words.bound(strings.ReplaceAll(op, " ", "_")), result(err)).Observe(d.Seconds())
}

// UpstreamError counts a request that the upstream failed; kind is a fixed word.
func (m *Metrics) UpstreamError(kind string) {
	m.upstreamErrors.WithLabelValues(m.words.bound(kind)).Inc()
}

// UpstreamDial records one connection that was opened, or not.
func (m *Metrics) UpstreamDial(d time.Duration, err error) {
	m.upstreamDials.WithLabelValues(result(err)).Observe(d.Seconds())
}

// Streams adds n to the number of open streams of a kind, a fixed word.
func (m *Metrics) Streams(kind string, n int) {
	m.streams.WithLabelValues(m.words.bound(kind)).Add(float64(n))
}

// Reloaded records that a configuration was read at a time, and whether it is
// in force now.
func (m *Metrics) Reloaded(ok bool, at time.Time) {
	if !ok {
		m.reload.success.Set(0)
		return
	}
	m.reload.success.Set(1)
	m.reload.at.Set(timestamp(at))
}

func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

// requestCounters resolves each combination of labels once. The method is one
// of a few or "other", the code is a number of three digits or "other": what
// strangers and upstreams choose makes no more series than that.
type requestCounters struct {
	vec  *prometheus.CounterVec
	rows [outcomes][len(methodNames)]atomic.Pointer[[maxCode]atomic.Pointer[counterBox]]
}

type counterBox struct{ prometheus.Counter }

const maxCode = 600

func (c *requestCounters) get(o Outcome, method string, status int) prometheus.Counter {
	if status < 100 || status >= maxCode {
		status = 0
	}
	m := methodIndex(method)
	row := c.rows[o][m].Load()
	if row == nil {
		c.rows[o][m].CompareAndSwap(nil, new([maxCode]atomic.Pointer[counterBox]))
		row = c.rows[o][m].Load()
	}
	if box := row[status].Load(); box != nil {
		return box
	}
	code := "other"
	if status != 0 {
		code = strconv.Itoa(status)
	}
	box := &counterBox{c.vec.WithLabelValues(code, methodNames[m], o.String())}
	row[status].Store(box) // whoever comes second stores the same counter
	return box
}

//nolint:gochecknoglobals // a table, never written
var methodNames = [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}

func methodIndex(method string) int {
	for i, name := range methodNames[:len(methodNames)-1] {
		if method == name {
			return i
		}
	}
	return len(methodNames) - 1
}

// words bounds label values that callers promise to take from a fixed set.
type words struct {
	mu   sync.Mutex
	seen map[string]bool
}

const maxWords = 256

func (w *words) bound(s string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[s] {
		return s
	}
	if len(s) > 40 || len(w.seen) >= maxWords {
		return "other"
	}
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_') {
			return "other"
		}
	}
	if w.seen == nil {
		w.seen = make(map[string]bool)
	}
	w.seen[s] = true
	return s
}
