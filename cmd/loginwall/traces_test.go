package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/internal/locked"
)

const strangersTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// A collected span, as deploy/peers/otlpreceiver writes it. The ids are in base64.
type collected struct {
	Resource struct {
		Attributes []struct {
			Key   string
			Value struct{ StringValue string }
		}
	}
	Span struct {
		TraceID, SpanID, ParentSpanID, Name string
	}
}

// The real binary and a collector: what a login and a request are made of, under one
// trace each, and nothing of whom they are about.
func TestTraces(t *testing.T) {
	t.Parallel()
	receiver := goPeer(t, "otlpreceiver")
	address, err := freeAddress()
	check(t, err)
	collector := startChild(t, exec.Command(receiver, address)) //nolint:gosec // a test's own
	collector.awaitURL(t, "http://"+address)
	var wall *exec.Cmd
	r := startWallWith(t, "", basics+"routes: [{path: /api/}]\n", func(_ *rig, cmd *exec.Cmd) {
		wall = cmd
		cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+address, "OTEL_BSP_SCHEDULE_DELAY=50",
			"OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test")
	})
	r.signIn(t, "alice@example.com", "/")
	r.ask(t, http.MethodGet, "-nav", "/api/reports/alice@example.com?token=canary-in-a-query", "Traceparent:"+strangersTrace, "Tracestate:vendor=1")
	told := valuesOf(fieldsOf(lastReceived(t, r)), "Traceparent")
	if len(told) != 1 || told[0] == strangersTrace || len(told[0]) != len(strangersTrace) {
		t.Errorf("the app is told %q", told)
	}

	var spans map[string][]collected
	poll(t, "not all spans arrive", func() bool {
		spans = map[string][]collected{}
		for line := range strings.Lines(collector.log.String()) {
			if !strings.HasSuffix(line, "\n") {
				continue // it is still being written
			}
			var c collected
			check(t, json.Unmarshal([]byte(line), &c))
			spans[c.Span.Name] = append(spans[c.Span.Name], c)
		}
		return len(spans["GET /_auth/callback"]) == 1 && len(spans["GET /api/"]) == 1
	})
	for child, parent := range map[string]string{
		"provider token": "GET /_auth/callback", "store sign in": "GET /_auth/callback", "upstream": "GET /api/",
	} {
		c, p := spans[child], spans[parent][0].Span
		if len(c) != 1 || c[0].Span.TraceID != p.TraceID || c[0].Span.ParentSpanID != p.SpanID {
			t.Errorf("%q is not once below %q: %+v", child, parent, c)
		}
	}
	about := map[string]string{}
	for _, a := range spans["upstream"][0].Resource.Attributes {
		about[a.Key] = a.Value.StringValue
	}
	if about["service.name"] != "loginwall" || about["service.version"] == "" || about["deployment.environment.name"] != "test" {
		t.Errorf("the resource: %v", about)
	}
	all := collector.log.String()
	r.oracle.judgeSecrets(t, "a trace", all)
	for _, bad := range []string{"alice", "canary", "code=", "reports", r.cookies().session()} {
		if strings.Contains(all, bad) {
			t.Errorf("a trace holds %q", bad)
		}
	}
	id := strings.Split(told[0], "-")[1]
	log := wall.Stderr.(*locked.Buffer)
	poll(t, "the access log does not name the trace", func() bool {
		return strings.Contains(log.String(), `"trace_id":"`+id+`","method":"GET"`)
	})
}

// Without a collector the wall has nothing to say about traces: what clients and
// apps say to each other passes as it is.
func TestNoTraces(t *testing.T) {
	t.Parallel()
	r := startWall(t, "", basics)
	r.signIn(t, "alice@example.com", "/")
	r.ask(t, http.MethodGet, "-nav", "/", "Traceparent:"+strangersTrace, "Tracestate:vendor=1,b=2")
	fields := fieldsOf(lastReceived(t, r))
	if got := append(valuesOf(fields, "Traceparent"), valuesOf(fields, "Tracestate")...); strings.Join(got, " ") != strangersTrace+" vendor=1,b=2" {
		t.Errorf("the app is told %q", got)
	}
}

func lastReceived(t *testing.T, r *rig) string {
	t.Helper()
	all := r.upstream.since(0)
	if len(all) == 0 {
		t.Fatal("nothing reached the app")
	}
	return all[len(all)-1].raw
}
