package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/devidp"
)

const observeDir = "../../deploy/observe"

// The files for Prometheus are right as they are shipped, by its own tool: they are
// read, and each alert is silent while all is well and fires when it is not.
func TestPrometheusFiles(t *testing.T) {
	t.Parallel()
	promtool := peerProgram(t, "promtool", "prometheus")
	for _, args := range [][]string{
		{"check", "config", "prometheus.yaml"}, {"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"},
	} {
		cmd := exec.Command(promtool, args...) //nolint:gosec // a test's own
		cmd.Dir = observeDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", args, err, out)
		}
	}
	tested, runbook := readFile(t, observeDir+"/alerts_test.yaml"), readFile(t, observeDir+"/README.md")
	for name := range alerts(t) {
		if !strings.Contains(tested, "- alertname: "+name+"\n") {
			t.Errorf("%s is not tested in alerts_test.yaml", name)
		}
		if !strings.Contains(runbook, "\n### "+name+"\n") {
			t.Errorf("README.md does not say what to do about %s", name)
		}
	}
}

// Every metric that a panel or an alert asks for is in the catalogue.
func TestQueriesNameMetricsThatAreThere(t *testing.T) {
	t.Parallel()
	catalogue := readFile(t, observeDir+"/METRICS.md")
	queries := slices.Collect(mapValues(alerts(t)))
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			queries = append(queries, target.Expr)
		}
	}
	if len(queries) < 30 {
		t.Errorf("only %d queries", len(queries))
	}
	for _, query := range queries {
		for _, name := range regexp.MustCompile(`\bloginwall_\w+`).FindAllString(query, -1) {
			bare := regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(name, "")
			if !strings.Contains(catalogue, "| `"+name+"` ") && !strings.Contains(catalogue, "| `"+bare+"` | histogram ") {
				t.Errorf("%s asks for %s, which is not in METRICS.md", query, name)
			}
		}
	}
}

// A real Prometheus that scrapes a real wall has data for every panel of the
// dashboard, and for what every alert compares. UPDATE_PICTURE=1 goes on for three
// minutes, and draws the dashboard.
func TestDashboardOnRealData(t *testing.T) {
	t.Parallel()
	program := peerProgram(t, "prometheus", "prometheus")
	r := startWall(t, "", basics+"admins: [boss@example.com]\nroutes:\n  - {path: /admin/, access: admins}\n  - {path: /public/, access: public}\n")
	p := startPrometheus(t, program, r.ops)
	everyday := newTraffic(t, r)
	began := time.Now()
	everyday.round(t, true)
	if os.Getenv("UPDATE_PICTURE") != "" {
		for n := 1; time.Since(began) < 3*time.Minute; n++ {
			everyday.round(t, n%30 == 17)
			time.Sleep(time.Duration(300+200*math.Sin(float64(n)/12)) * time.Millisecond) // the load is the picture
		}
		check(t, os.WriteFile(observeDir+"/dashboard.svg", p.draw(t, panels(t), began), 0o644)) //nolint:gosec // a picture
	}
	var empty []string
	for end := time.Now().Add(patience); ; time.Sleep(500 * time.Millisecond) {
		empty = nil
		for _, panel := range panels(t) {
			for _, target := range panel.Targets {
				if len(p.query(t, dashboardQuery(target.Expr))) == 0 {
					empty = append(empty, panel.Title+": "+target.Expr)
				}
			}
		}
		all := alerts(t)
		delete(all, "LoginwallCertificateExpires") // TestANewCertificateEndsNoConnection has one
		for name, expr := range all {
			for part := range strings.SplitSeq(expr, " and ") {
				if len(p.query(t, comparison.ReplaceAllString(part, ""))) == 0 {
					empty = append(empty, name+": "+part)
				}
			}
			p.query(t, expr) // no alert, mostly; but it parses
		}
		if len(empty) == 0 || time.Now().After(end) {
			break
		}
		everyday.round(t, true)
	}
	for _, what := range empty {
		t.Errorf("no data for %s", what)
	}
	if len(p.get(t, "/api/v1/rules", nil)) < 100 {
		t.Error("the alert rules are not loaded")
	}
}

var comparison = regexp.MustCompile(` (>|<|==) [0-9.]+$`)

// dashboardQuery puts in what Grafana would.
func dashboardQuery(expr string) string {
	return strings.NewReplacer("$__rate_interval", "15s", "$job", ".+").Replace(expr)
}

// alerts are the expressions of the shipped rules, by name.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`- alert: (\w+)\n +expr: (.*)\n`).FindAllStringSubmatch(readFile(t, observeDir+"/alerts.yaml"), -1) {
		out[m[1]] = m[2]
	}
	if len(out) < 10 {
		t.Fatalf("only %d alerts", len(out))
	}
	return out
}

func mapValues(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// A panel is what we need of one.
type panel struct {
	Title, Type string
	GridPos     struct{ X, Y, W, H float64 }
	FieldConfig struct {
		Defaults struct {
			Unit   string
			Custom struct{ Stacking *struct{} }
		}
	}
	Targets []struct{ Expr, LegendFormat string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var dashboard struct{ Panels []panel }
	check(t, json.Unmarshal([]byte(readFile(t, observeDir+"/dashboard.json")), &dashboard))
	if len(dashboard.Panels) < 20 {
		t.Fatalf("only %d panels", len(dashboard.Panels))
	}
	return dashboard.Panels
}

// A prometheus runs with the shipped file, the address of one wall in it, and more
// haste.
type prometheus struct{ address string }

func startPrometheus(t *testing.T, program, ops string) *prometheus {
	t.Helper()
	address, err := freeAddress()
	check(t, err)
	dir := t.TempDir()
	text := readFile(t, observeDir+"/prometheus.yaml")
	for old, new := range map[string]string{"127.0.0.1:9470": ops, "scrape_interval: 15s": "scrape_interval: 1s"} {
		if !strings.Contains(text, old) {
			t.Fatalf("prometheus.yaml has no %q any more", old)
		}
		text = strings.ReplaceAll(text, old, new)
	}
	check(t, os.WriteFile(filepath.Join(dir, "prometheus.yaml"), []byte(text), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "alerts.yaml"), []byte(readFile(t, observeDir+"/alerts.yaml")), 0o600))
	c := startChild(t, exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yaml"), //nolint:gosec // a test's own
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address))
	c.awaitURL(t, "http://"+address+"/-/ready")
	poll(t, "Prometheus is not ready", func() bool {
		response, err := http.Get("http://" + address + "/-/ready")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	p := &prometheus{address}
	poll(t, "Prometheus has scraped nothing", func() bool { return len(p.query(t, "loginwall_build_info")) > 0 })
	return p
}

func (p *prometheus) get(t *testing.T, path string, args url.Values) []byte {
	t.Helper()
	response, err := http.Get("http://" + p.address + path + "?" + args.Encode())
	check(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(t, err)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s %v: %s\n%s", path, args, response.Status, body)
	}
	return body
}

// A series is what a query answers with; Values have time and value.
type series struct {
	Metric map[string]string
	Value  [2]any
	Values [][2]any
}

func (p *prometheus) query(t *testing.T, expr string) []series {
	t.Helper()
	return p.results(t, "/api/v1/query", url.Values{"query": {expr}})
}

func (p *prometheus) results(t *testing.T, path string, args url.Values) []series {
	t.Helper()
	var answer struct{ Data struct{ Result []series } }
	check(t, json.Unmarshal(p.get(t, path, args), &answer))
	return answer.Data.Result
}

// A traffic is what happens at a wall on a day, good and bad.
type traffic struct {
	r       *rig
	streams []io.Closer
}

func newTraffic(t *testing.T, r *rig) *traffic {
	r.upstream.respondWith(func(conn net.Conn, _ *bufio.Reader, request *http.Request) {
		switch {
		case strings.HasPrefix(request.URL.Path, "/events"):
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: hello\n\n")
			_, _ = io.Copy(io.Discard, conn)
		case request.URL.Path != "/down":
			_, _ = io.WriteString(conn, defaultAnswer)
		}
	})
	v := &traffic{r: r}
	t.Cleanup(func() {
		for _, s := range v.streams {
			s.Close()
		}
	})
	return v
}

// round is a moment of it; bad ones hold every failure that has a series.
func (v *traffic) round(t *testing.T, bad bool) {
	t.Helper()
	r := v.r
	r.as("alice")
	if r.cookies().session() == "" || bad {
		r.signIn(t, "alice@example.com", "/")
	}
	for range 20 {
		r.ask(t, http.MethodGet, "-nav", "/page")
	}
	r.ask(t, http.MethodPost, "-xhr", "/api", "Origin:"+r.publicURL, "body")
	r.ask(t, http.MethodGet, "-nav", "/_auth/")
	r.as("nobody").ask(t, http.MethodGet, "-xhr", "/page")
	r.ask(t, http.MethodGet, "-nav", "/public/x")
	r.as("bob").signIn(t, "bob@example.com", "/")
	r.ask(t, http.MethodGet, "-nav", "/admin/")
	r.ask(t, http.MethodPost, "/_auth/logout", "Origin:"+r.publicURL)
	v.stream(t)
	if !bad {
		return
	}
	r.as("mallory").tryLogin(t, "mallory@evil.test", "/")
	r.as("alice").ask(t, http.MethodGet, "-nav", "/down")
	r.idp.Misbehave(at("token", hangUp))
	for range 3 {
		r.as("unlucky").tryLogin(t, "alice@example.com", "/")
	}
	r.idp.Misbehave(devidp.Fault{})
	// The store is away for a moment: whoever signs in is told so.
	check(t, os.Rename(filepath.Join(r.folder, "loginwall.db"), filepath.Join(r.folder, "away")))
	r.as("late").tryLogin(t, "alice@example.com", "/")
	check(t, os.Rename(filepath.Join(r.folder, "away"), filepath.Join(r.folder, "loginwall.db")))
	poll(t, "the store does not come back", func() bool {
		return r.tryLogin(t, "alice@example.com", "/").StatusCode == http.StatusSeeOther
	})
}

// stream opens an event stream, and closes the oldest of several.
func (v *traffic) stream(t *testing.T) {
	t.Helper()
	request := v.r.as("alice").request(t, http.MethodGet, []string{"-xhr", "/events", "Cookie:" + v.r.cookies().String()})
	request.Host = v.r.host()
	response, err := v.r.client.Transport.RoundTrip(request.WithContext(context.WithoutCancel(t.Context())))
	check(t, err)
	v.streams = append(v.streams, response.Body)
	v.r.oracle.judgeUpstream(t, v.r, v.r.cookies().String())
	if len(v.streams) > 12 {
		v.streams[0].Close()
		v.streams = v.streams[1:]
	}
}

// draw is the dashboard as a picture: real answers of Prometheus, laid out as
// Grafana does.
func (p *prometheus) draw(t *testing.T, panels []panel, began time.Time) []byte {
	t.Helper()
	const column, row = 56.0, 24.0
	var height float64
	var out strings.Builder
	for _, panel := range panels {
		g := panel.GridPos
		height = max(height, (g.Y+g.H)*row)
		fmt.Fprintf(&out, `<g transform="translate(%g %g)">`, g.X*column+4, g.Y*row+4)
		fmt.Fprintf(&out, `<rect width="%g" height="%g" rx="3" fill="#fff" stroke="#d8dbe0"/>`, g.W*column-8, g.H*row-8)
		fmt.Fprintf(&out, `<text x="10" y="19" font-weight="600" fill="#24292e">%s</text>`, panel.Title)
		if panel.Type == "stat" {
			value := 0.0
			if found := p.query(t, dashboardQuery(panel.Targets[0].Expr)); len(found) > 0 {
				value = number(found[0].Value[1])
			}
			fmt.Fprintf(&out, `<text x="%g" y="68" text-anchor="middle" font-size="30" fill="#299c46">%s</text>`, g.W*column/2-4, human(value, panel.FieldConfig.Defaults.Unit))
		} else {
			p.drawPanel(t, &out, &panel, g.W*column-8, g.H*row-8, began)
		}
		out.WriteString("</g>\n")
	}
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="system-ui, sans-serif" font-size="12">`+
		"\n"+`<rect width="100%%" height="100%%" fill="#f4f5f5"/>`+"\n%s</svg>\n", 24*column, height, out.String())
}

// A curve has a value for each second, NaN where there is none.
type curve struct {
	name   string
	values []float64
}

func (p *prometheus) drawPanel(t *testing.T, out *strings.Builder, panel *panel, width, height float64, began time.Time) {
	t.Helper()
	const left, top, step = 58.0, 30.0, 2
	bottom := height - 38
	start, points := began.Unix()+20, int(time.Since(began).Seconds()-20)/step+1
	var curves []curve
	for _, target := range panel.Targets {
		for _, s := range p.results(t, "/api/v1/query_range", url.Values{
			"query": {dashboardQuery(target.Expr)}, "start": {fmt.Sprint(start)}, "end": {fmt.Sprint(time.Now().Unix())}, "step": {fmt.Sprint(step)},
		}) {
			name := regexp.MustCompile(`\{\{(\w+)\}\}`).ReplaceAllStringFunc(target.LegendFormat, func(label string) string { return s.Metric[strings.Trim(label, "{}")] })
			values := slices.Repeat([]float64{math.NaN()}, points)
			for _, v := range s.Values {
				if i := int(number(v[0])-float64(start)) / step; i >= 0 && i < points {
					values[i] = number(v[1])
				}
			}
			curves = append(curves, curve{name, values})
		}
	}
	slices.SortFunc(curves, func(a, b curve) int { return cmp.Compare(a.name, b.name) })
	base := make([]float64, points)
	stacked := panel.FieldConfig.Defaults.Custom.Stacking != nil
	highest := 0.0
	for _, c := range curves {
		for i, v := range c.values {
			if stacked && !math.IsNaN(v) {
				base[i] += v
				v = base[i]
			}
			if !math.IsNaN(v) {
				highest = max(highest, v)
			}
		}
	}
	highest = cmp.Or(highest, 1) * 1.08
	x := func(i int) float64 { return left + (width-left-12)*float64(i)/float64(max(points-1, 1)) }
	y := func(v float64) float64 { return bottom - (bottom-top)*v/highest }
	for i := range 5 {
		v := highest * float64(i) / 4
		fmt.Fprintf(out, `<path d="M%g %.1fH%g" stroke="#eceef1"/><text x="%g" y="%.1f" text-anchor="end" font-size="10" fill="#6a737d">%s</text>`,
			left, y(v), width-12, left-6, y(v)+3.5, human(v, panel.FieldConfig.Defaults.Unit))
	}
	colours := []string{"#3274d9", "#56a64b", "#e0752d", "#e02f44", "#a352cc", "#0a8f9e", "#c4960c", "#705da0", "#8f3bb8", "#5c6670"}
	clear(base)
	at := left
	for n, c := range curves {
		colour := colours[n%len(colours)]
		var line, back strings.Builder
		verb := "M"
		for i, v := range c.values {
			if math.IsNaN(v) {
				if !stacked {
					verb = "M"
					continue
				}
				v = 0
			}
			if stacked {
				fmt.Fprintf(&back, "L%.1f %.1f", x(points-1-i), y(base[points-1-i]))
				v += base[i]
			}
			fmt.Fprintf(&line, "%s%.1f %.1f", verb, x(i), y(v))
			verb = "L"
		}
		if stacked {
			fmt.Fprintf(out, `<path d="%s%sZ" fill="%s" fill-opacity=".3"/>`, line.String(), back.String(), colour)
			for i, v := range c.values {
				if !math.IsNaN(v) {
					base[i] += v
				}
			}
		}
		fmt.Fprintf(out, `<path d="%s" fill="none" stroke="%s" stroke-width="1.3"/>`, line.String(), colour)
		if wide := 22 + 5.6*float64(len(c.name)); at+wide < width {
			fmt.Fprintf(out, `<rect x="%g" y="%g" width="10" height="3" fill="%s"/><text x="%g" y="%g" font-size="10" fill="#464c54">%s</text>`,
				at, height-15, colour, at+14, height-10, c.name)
			at += wide
		}
	}
	fmt.Fprintf(out, `<text x="%g" y="%g" font-size="10" fill="#6a737d">0:00</text><text x="%g" y="%g" text-anchor="end" font-size="10" fill="#6a737d">%d:%02d</text>`,
		left, bottom+14, width-12, bottom+14, points*step/60, points*step%60)
}

func number(v any) float64 {
	if f, ok := v.(float64); ok {
		return f
	}
	f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil {
		return math.NaN()
	}
	return f
}

// human writes a value as Grafana would, nearly.
func human(v float64, unit string) string {
	switch unit {
	case "percentunit":
		return fmt.Sprintf("%.1f%%", 100*v)
	case "bytes":
		return fmt.Sprintf("%.0f MiB", v/(1<<20))
	case "s":
		if v < 1 {
			return fmt.Sprintf("%.3g ms", 1000*v)
		}
		return fmt.Sprintf("%.3g s", v)
	case "reqps":
		return fmt.Sprintf("%.3g/s", v)
	}
	return fmt.Sprintf("%.3g", v)
}
