package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// A Tracer sends a trace of each request, by OTLP over HTTP, to the collector that
// the environment names. A nil *Tracer traces nothing, and leaves what clients and
// apps say to each other about traces as it is. It is safe for concurrent use.
//
// Spans are named by route, and hold no path, query, cookie, code, nor address of a
// person: the request id leads to the log for those who may read it.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	now      func() time.Time
	routes   []string
}

// NewTracer returns nil unless the environment asks for traces: by an endpoint in
// OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT. What else
// OpenTelemetry has variables for (headers, certificates, sampler, attributes of the
// resource) its own library reads. What it later has to say goes to log.
func NewTracer(ctx context.Context, env func(string) (string, bool), version string, log *slog.Logger, now func() time.Time) (*Tracer, error) {
	get := func(name string) string { value, _ := env(name); return value }
	endpoint := get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if endpoint == "" {
		endpoint = get("OTEL_EXPORTER_OTLP_ENDPOINT")
	}
	if endpoint == "" || get("OTEL_SDK_DISABLED") == "true" || get("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil //nolint:nilnil // nil is a Tracer that traces nothing
	}
	if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("OTEL_EXPORTER_OTLP_ENDPOINT is not an http or https URL (as in http://collector:4318)")
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := get(name); p != "" && p != "http/protobuf" {
			return nil, fmt.Errorf("%s is not http/protobuf, which is all that is spoken here (take it out, and name the collector's port for HTTP, mostly 4318)", name)
		}
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("traces", slog.String("error", cut(err.Error(), maxHost)))
	}))
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("prepare traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", namespace), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("prepare traces: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return newTracer(now, sdk.WithBatcher(exporter), sdk.WithResource(about)), nil
}

func newTracer(now func() time.Time, options ...sdk.TracerProviderOption) *Tracer {
	provider := sdk.NewTracerProvider(options...)
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/loginwall/loginwall"), now: now}
}

// WithRoutes returns a Tracer that names spans by these paths of routes.
func (t *Tracer) WithRoutes(routes []string) *Tracer {
	if t == nil {
		return nil
	}
	with := *t
	with.routes = routes
	return &with
}

// Close sends what is pending, for no longer than ctx allows, and ends the Tracer
// and all that WithRoutes has made of it.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Call adds what a request waited for to its trace, now that it is over; without a
// request in ctx it does nothing. name is a few fixed words, and so is failure, which
// is empty when all was well.
func (t *Tracer) Call(ctx context.Context, name string, took time.Duration, failure string) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return
	}
	end := t.now()
	_, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(end.Add(-took)))
	fail(span, failure)
	span.End(trace.WithTimestamp(end))
}

// A Trace is that of one request. A nil *Trace is none. It belongs to the goroutine
// of the request.
type Trace struct {
	tracer           *Tracer
	server, upstream trace.Span
	context          context.Context //nolint:containedctx // it is where the server's span lives
	route            string
}

// propagator speaks W3C Trace Context, which is all that crosses the wall.
var propagator propagation.TraceContext //nolint:gochecknoglobals // holds nothing

// Begin begins a request's trace, and returns the request with it in its context. A
// trusted peer's trace goes on, and its word on sampling counts. A stranger's is only
// linked: else anybody could have everything sampled, or write into any trace.
func (t *Tracer) Begin(r *http.Request, trusted bool, at time.Time) (*Trace, *http.Request) {
	if t == nil {
		return nil, r
	}
	ctx := r.Context()
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(at)}
	remote := trace.SpanContextFromContext(propagator.Extract(context.Background(), propagation.HeaderCarrier(r.Header)))
	switch {
	case trusted && remote.IsValid():
		ctx = trace.ContextWithRemoteSpanContext(ctx, remote)
	case remote.IsValid():
		options = append(options, trace.WithLinks(trace.Link{SpanContext: remote}))
	}
	ctx, server := t.tracer.Start(ctx, methodOf(r.Method), options...)
	return &Trace{tracer: t, server: server, context: ctx}, r.WithContext(ctx)
}

// ID is what the log calls the trace; empty for none.
func (t *Trace) ID() string {
	if t == nil {
		return ""
	}
	return t.server.SpanContext().TraceID().String()
}

// Route names the trace by the index of its route, which is -1 for the implied one.
func (t *Trace) Route(i int) {
	if t == nil {
		return
	}
	t.route = "/"
	if 0 <= i && i < len(t.tracer.routes) {
		t.route = t.tracer.routes[i]
	}
}

// Page names the trace by one of the wall's own pages.
func (t *Trace) Page(path string) {
	if t != nil {
		t.route = path
	}
}

// Forward begins the part that is the upstream's, and tells it so: in place of what
// the client said about traces.
func (t *Trace) Forward(header http.Header, address string) {
	if t == nil {
		return
	}
	delete(header, "Traceparent")
	delete(header, "Tracestate")
	ctx, span := t.tracer.tracer.Start(t.context, "upstream", trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(t.tracer.now()),
		trace.WithAttributes(attribute.String("server.address", address)))
	t.upstream = span
	propagator.Inject(ctx, propagation.HeaderCarrier(header))
}

// End ends the trace with what the log says of the request.
func (t *Trace) End(r *Record) {
	if t == nil {
		return
	}
	end := trace.WithTimestamp(r.Time.Add(r.Duration))
	method, status := attribute.String("http.request.method", methodOf(r.Method)), attribute.Int("http.response.status_code", r.Status)
	failure := ""
	if r.Status >= http.StatusInternalServerError {
		if failure = r.Reason; failure == "" {
			failure = strconv.Itoa(r.Status)
		}
	}
	if t.upstream != nil {
		t.upstream.SetAttributes(method)
		if r.Outcome == Proxied {
			t.upstream.SetAttributes(status)
		}
		fail(t.upstream, failure)
		t.upstream.End(end)
	}
	t.server.SetAttributes(method, status, attribute.String("loginwall.outcome", r.Outcome.String()),
		attribute.String("loginwall.request_id", r.RequestID))
	if r.Reason != "" {
		t.server.SetAttributes(attribute.String("loginwall.reason", cut(r.Reason, maxMethod)))
	}
	if t.route != "" {
		t.server.SetName(methodOf(r.Method) + " " + t.route)
		t.server.SetAttributes(attribute.String("http.route", t.route))
	}
	fail(t.server, failure)
	t.server.End(end)
}

func fail(span trace.Span, failure string) {
	if failure != "" {
		span.SetStatus(codes.Error, "")
		span.SetAttributes(attribute.String("error.type", cut(failure, maxMethod)))
	}
}

// methodOf keeps strangers' words out of names, as OpenTelemetry asks.
func methodOf(method string) string {
	if i := methodIndex(method); i < len(methodNames)-1 {
		return methodNames[i]
	}
	return "_OTHER"
}
