package observe_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/proxy/observe"
)

var update = flag.Bool("update", false, "rewrite the catalogue of metrics")

const (
	catalogue = "../../deploy/observe/METRICS.md"
	unsaid    = "to be said"
)

// TestCatalogue keeps the table that operators read equal to the registry. When to
// worry is a person's to say, in the file: it survives an update.
func TestCatalogue(t *testing.T) {
	text, err := os.ReadFile(catalogue)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), "\n| ")
	worries := map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		if cells := strings.Split(line, " | "); len(cells) == 5 {
			worries[strings.Trim(cells[0], "|` ")] = strings.TrimSuffix(cells[4], " |")
		}
	}
	table := describe(t, touched(), worries)
	want := head + "\n" + table
	if *update {
		if err := os.WriteFile(catalogue, []byte(want), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("%s is not what the registry says (-want +got; go test ./proxy/observe -run Catalogue -update):\n%s", catalogue, diff)
	}
	if !strings.Contains(table, "| `loginwall_") {
		t.Error("nothing was described")
	}
	if strings.Contains(table, unsaid) {
		t.Errorf("%s: say of each metric when to worry", catalogue)
	}
}

var (
	descriptor = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)", unit: "", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
	constLabel = regexp.MustCompile(`(\w+)="`)
	kindLine   = regexp.MustCompile(`(?m)^# TYPE (loginwall_\w+) (\w+)$`)
)

// describe makes the table. The kind of a metric stands only in what is scraped, so
// each must have been touched.
func describe(t *testing.T, m *observe.Metrics, worries map[string]string) string {
	t.Helper()
	scraped := scrape(t, observe.Ops(m, nil), "/metrics").Body.String()
	kinds := map[string]string{}
	for _, line := range kindLine.FindAllStringSubmatch(scraped, -1) {
		kinds[line[1]] = line[2]
	}
	var rows []string
	for _, d := range m.Descriptors() {
		parts := descriptor.FindStringSubmatch(d.String())
		if parts == nil || !strings.HasPrefix(parts[1], "loginwall_") {
			continue
		}
		name, help := parts[1], parts[2]
		var labels []string
		for _, label := range constLabel.FindAllStringSubmatch(parts[3], -1) {
			labels = append(labels, "`"+label[1]+"`")
		}
		for label := range strings.SplitSeq(parts[4], ",") {
			if label != "" {
				labels = append(labels, "`"+label+"`")
			}
		}
		if kinds[name] == "" {
			t.Errorf("%s is registered and was not touched", name)
		}
		worry, ok := worries[name]
		if !ok {
			worry = unsaid
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", name, kinds[name], strings.Join(labels, ", "), help, worry))
	}
	slices.Sort(rows)
	return "| metric | type | labels | what it tells | when to worry |\n|---|---|---|---|---|\n" + strings.Join(slices.Compact(rows), "")
}

// TestMetricNames holds the conventions of Prometheus: base units, _total for what
// only grows, and no label that could name a person.
func TestMetricNames(t *testing.T) {
	body := scrape(t, observe.Ops(touched(), nil), "/metrics").Body.String()
	for _, line := range kindLine.FindAllStringSubmatch(body, -1) {
		name, kind := line[1], line[2]
		if (kind == "counter") != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s", name, kind)
		}
		if kind == "histogram" && !strings.HasSuffix(name, "_seconds") {
			t.Errorf("%s is a histogram without its unit", name)
		}
	}
	if bad := regexp.MustCompile(`loginwall_\w+\{[^}]*\b(user|email|path|host|rule|client|session)=`).FindString(body); bad != "" {
		t.Errorf("a label of a stranger's choice: %s", bad)
	}
}
