package observe_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/loginwall/loginwall/proxy/observe"
)

const (
	foreignTrace = "0af7651916cd43dd8448eb211c80319c"
	foreign      = "00-" + foreignTrace + "-b7ad6b7169203331-01"
	unsampled    = "00-" + foreignTrace + "-b7ad6b7169203331-00"
)

func traced(t *testing.T, trusted bool, traceparent string) (spans tracetest.SpanStubs, outbound http.Header) {
	t.Helper()
	to := tracetest.NewInMemoryExporter()
	tracer := observe.TracerTo(to).WithRoutes([]string{"/admin/"})
	r := httptest.NewRequest("PROPFIND", "/admin/alice@example.com?code=secret", nil)
	r.Header.Set("Traceparent", traceparent)
	r.Header.Set("Tracestate", "vendor=1")
	began := time.Now()
	trace, r := tracer.Begin(r, trusted, began)
	trace.Route(0)
	tracer.Call(r.Context(), "store sign in", time.Millisecond, "unavailable")
	outbound = r.Header.Clone()
	trace.Forward(outbound, "127.0.0.1:3000")
	trace.End(&observe.Record{
		Time: began, Duration: time.Second, RequestID: "abc", Method: r.Method, Status: 502, Outcome: observe.Failed, Reason: "closed",
		User: "alice@example.com", Client: "203.0.113.7", Path: "/admin/alice@example.com", Agent: "curl",
	})
	return to.GetSpans(), outbound
}

// A stranger's trace is linked and not gone on with; a trusted peer's goes on, and is
// not sampled where that peer says so.
func TestWhoseTraceGoesOn(t *testing.T) {
	spans, out := traced(t, false, foreign)
	if len(spans) != 3 {
		t.Fatalf("%d spans", len(spans))
	}
	server := spans[2]
	if server.SpanContext.TraceID().String() == foreignTrace || server.Parent.IsValid() || len(server.Links) != 1 ||
		server.Links[0].SpanContext.TraceID().String() != foreignTrace {
		t.Errorf("a stranger's: %+v", server)
	}
	if got := out.Get("Traceparent"); !strings.Contains(got, server.SpanContext.TraceID().String()) || out.Get("Tracestate") != "" {
		t.Errorf("the app is told %q, %q", got, out.Get("Tracestate"))
	}

	spans, out = traced(t, true, foreign)
	if server := spans[2]; server.SpanContext.TraceID().String() != foreignTrace || server.Parent.SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("a trusted peer's: %+v", server)
	}
	if got := out.Get("Traceparent"); !strings.Contains(got, foreignTrace) || !strings.Contains(got, spans[1].SpanContext.SpanID().String()) || out.Get("Tracestate") != "vendor=1" {
		t.Errorf("the app is told %q, %q", got, out.Get("Tracestate"))
	}

	spans, out = traced(t, true, unsampled)
	if len(spans) != 0 || !strings.HasSuffix(out.Get("Traceparent"), "-00") || !strings.Contains(out.Get("Traceparent"), foreignTrace) {
		t.Errorf("%d spans of a trace that is not sampled; the app is told %q", len(spans), out.Get("Traceparent"))
	}
}

func TestSpansNameNobody(t *testing.T) {
	spans, _ := traced(t, false, "nonsense")
	var names []string
	for _, s := range spans {
		names = append(names, s.Name)
		for _, a := range s.Attributes {
			for _, bad := range []string{"alice", "secret", "203.0.113.7", "curl", "PROPFIND"} {
				if strings.Contains(a.Value.String(), bad) {
					t.Errorf("%s: %s is %s", s.Name, a.Key, a.Value.String())
				}
			}
		}
	}
	if got := strings.Join(names, ", "); got != "store sign in, upstream, _OTHER /admin/" {
		t.Errorf("spans %s", got)
	}
	if d := spans[2].EndTime.Sub(spans[2].StartTime); d != time.Second {
		t.Errorf("the request took %v", d)
	}
}

func TestTracesAreOffUntilAskedFor(t *testing.T) {
	for _, tt := range []struct {
		env    map[string]string
		on     bool
		refuse string
	}{
		{},
		{env: map[string]string{"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, on: true},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, refuse: "is not an http or https URL"},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, refuse: "http/protobuf"},
	} {
		tracer, err := observe.NewTracer(t.Context(), func(name string) (string, bool) { v, ok := tt.env[name]; return v, ok },
			"v1", slog.New(slog.DiscardHandler), time.Now)
		if refused := err != nil; refused != (tt.refuse != "") || refused && !strings.Contains(err.Error(), tt.refuse) {
			t.Errorf("%v: %v", tt.env, err)
		}
		if (tracer != nil) != tt.on {
			t.Errorf("%v: on is %v", tt.env, tracer != nil)
		}
		if err := tracer.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// What is off costs nothing, and touches nothing.
func TestNoTracerAllocatesNothing(t *testing.T) {
	var tracer *observe.Tracer
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Traceparent", foreign)
	out := http.Header{"Traceparent": {foreign}}
	rec := record()
	n := testing.AllocsPerRun(100, func() {
		trace, same := tracer.WithRoutes(nil).Begin(r, true, time.Time{})
		if same != r || trace.ID() != "" {
			t.Error("something was begun")
		}
		trace.Route(1)
		trace.Page("/_auth/me")
		trace.Forward(out, "")
		tracer.Call(r.Context(), "store ping", 0, "")
		trace.End(rec)
	})
	if n != 0 || out.Get("Traceparent") != foreign {
		t.Errorf("%v allocations; the app is told %q", n, out.Get("Traceparent"))
	}
}
