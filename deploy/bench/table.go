package main

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// A bar is what we promise about one figure of one target.
type bar struct {
	row, figure, kind string
	limit             float64
	// times says that the limit is a ratio to the bare proxy; atLeast, that more is
	// better.
	times, atLeast bool
}

func bars() []bar {
	const cpu, rps, p99 = "CPU per request", "requests per second", "p99"
	all := []bar{
		{"1 KiB, 64 connections", cpu, standard, 1.10, true, false},
		{"1 KiB, 64 connections", cpu, standardLog, 1.20, true, false},
		{"1 KiB, 64 connections", cpu, direct, .85, true, false},
		{"1 KiB, 64 connections", cpu, directLog, .95, true, false},
		{"1 KiB, 64 connections", rps, direct, 1.2, true, true},
		{"16 KiB, 64 connections", rps, direct, 1.2, true, true},
		{"1 MiB, 64 connections", rps, direct, 1.0, true, true},
		{"memory", "idle", standard, 20, false, false},
		{"login", "CPU per login", standard, .8, false, false},
		{"login", "1,000 at once: in", standard, 1000, false, true},
		{"start", "100,000 users, to the first answer", standard, 150, false, false},
		{"gate", "seen cookie, no routes", standard, 1, false, false},
		{"gate", "seen cookie, no routes, allocations", standard, 0, false, false},
		{"gate", "seen cookie, routes", standard, 1, false, false},
		{"gate", "seen cookie, routes, allocations", standard, 0, false, false},
		{"gate", "new cookie", standard, 10, false, false},
	}
	for _, kind := range []string{standard, direct} {
		all = append(all,
			bar{"1 KiB, 2 connections", cpu, kind, 1, true, false},
			bar{"1 KiB, 64 connections", p99, kind, 1, true, false},
			bar{"1 KiB, 64 connections, 5,120 requests per second", p99, kind, 1, true, false},
			bar{"memory", "with 5000 idle keep-alive connections", kind, 1.1, true, false},
			bar{"memory", "with 1000 WebSockets", kind, 1.1, true, false},
			bar{"memory", "each of 5000 idle keep-alive connections", kind, 1.1, true, false},
			bar{"memory", "each of 1000 WebSockets", kind, 1, true, false},
			bar{"1 MiB, 64 connections", cpu, kind, 1, true, false},
			bar{"1 MiB up, 64 connections", cpu, kind, 1, true, false},
		)
	}
	return all
}

// A table collects what was measured, in the order in which it first came.
type table struct {
	kinds []kind
	lines []*line
}

// A line is one figure of every target, one value for each round.
type line struct {
	row, figure, unit string
	values            map[string][]float64
}

func (t *table) add(row, kind string, found figures) {
	for _, f := range found {
		i := slices.IndexFunc(t.lines, func(l *line) bool { return l.row == row && l.figure == f.name })
		if i < 0 {
			i = len(t.lines)
			t.lines = append(t.lines, &line{row, f.name, f.unit, map[string][]float64{}})
		}
		t.lines[i].values[kind] = append(t.lines[i].values[kind], f.value)
	}
}

func (t *table) markdown(rounds int) string {
	var out strings.Builder
	fmt.Fprintf(&out, `Medians of %d rounds; behind each the median of its ratios to the bare proxy in the same round, and their spread.
In bold what misses its bar. %s

| |`, rounds, machine())
	for _, k := range t.kinds {
		fmt.Fprintf(&out, " %s |", k.name)
	}
	fmt.Fprintf(&out, " bar |\n|---|%s---|\n", strings.Repeat("---|", len(t.kinds)))
	row := ""
	for _, l := range t.lines {
		if l.row != row {
			row = l.row
			fmt.Fprintf(&out, "| **%s** |%s |\n", row, strings.Repeat(" |", len(t.kinds)))
		}
		var promised []string
		fmt.Fprintf(&out, "| %s |", l.figure)
		for _, k := range t.kinds {
			cell, promise := l.cell(k.name)
			fmt.Fprintf(&out, " %s |", cell)
			if promise != "" {
				promised = append(promised, promise)
			}
		}
		fmt.Fprintf(&out, " %s |\n", strings.Join(promised, "; "))
	}
	return out.String()
}

// cell says what was measured of one target, and what was promised.
func (l *line) cell(kind string) (cell, promise string) {
	values := l.values[kind]
	if len(values) == 0 {
		return "", ""
	}
	value, ratio := median(values), 0.0
	cell = number(value) + " " + l.unit
	if bare := l.values[bareProxy]; kind != bareProxy && len(bare) == len(values) && median(bare) > 0 {
		var ratios []float64
		for i := range values {
			ratios = append(ratios, values[i]/bare[i])
		}
		ratio = median(ratios)
		cell += fmt.Sprintf(" %.2f× (%.2f–%.2f)", ratio, slices.Min(ratios), slices.Max(ratios))
	}
	for _, b := range bars() {
		if b.row != l.row || b.figure != l.figure || b.kind != kind {
			continue
		}
		got, unit := value, " "+l.unit
		if b.times {
			got, unit = ratio, "×"
		}
		sign, held := "≤", got <= b.limit
		if b.atLeast {
			sign, held = "≥", got >= b.limit
		}
		if !held {
			cell = "**" + cell + "**"
		}
		promise = strings.TrimSpace(fmt.Sprintf("%s %s %s", kind, sign, strconv.FormatFloat(b.limit, 'f', -1, 64)+unit))
	}
	return strings.TrimSpace(cell), promise
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

func number(f float64) string {
	switch {
	case f >= 100 || f == float64(int(f)):
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

// machine says what all of it ran on.
func machine() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	model := "an unknown processor"
	if m := regexp.MustCompile(`model name\s*: (.+)`).FindSubmatch(text); m != nil {
		model = string(m[1])
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d cores, one of them for what is measured; Linux %s, %s.", model, cores(string(text)), strings.TrimSpace(string(kernel)), runtime.Version())
}

func cores(cpuinfo string) int { return strings.Count(cpuinfo, "processor\t:") }
