package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Problem is one thing that is wrong with a file, or a warning about it.
type Problem struct {
	// File is the path as Load was given it.
	File string
	// Line and Column count from 1; for what is missing they say where it belongs.
	Line, Column int
	// Key is the full key, as in allow.domains[0]; empty for the file as a whole.
	Key string
	// What is wrong, and what to do about it (may be empty). Neither tells a secret.
	What, Do string
}

// Error returns the one-line form file:line: key: what is wrong (what to do).
func (p Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.What)
	if p.Do != "" {
		b.WriteString(" (" + p.Do + ")")
	}
	return b.String()
}

// Problems are all that is wrong with a file, in the order of its lines.
type Problems []Problem

// Error returns one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Problem returns what is wrong with a key, for checks that only the consumer of
// the value can make (the header profiles, the text of a key). The position is
// that of the key, or of the nearest one around it that is in the file.
func (c *Config) Problem(key, what, do string) Problem {
	p := c.position(key)
	return Problem{File: c.file, Line: p.line, Column: p.column, Key: key, What: what, Do: do}
}

// position returns where key is written; for a key that is not, where the
// innermost key around it is.
func (s *source) position(key string) position {
	for key != "" {
		if p, ok := s.written[key]; ok {
			return p
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return position{1, 1}
}

var (
	yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	// yamlText is a message of the parser that repeats nothing of the file: at most
	// quoted punctuation.
	yamlText = regexp.MustCompile(`^([a-z ,()-]|'[^a-zA-Z0-9']{1,3}'|YAML)*$`)
)

// syntax reports what the parser did not like. Its own words are used only when
// they cannot repeat a piece of the file.
func (d *decoder) syntax(data []byte, err error) {
	var text string
	line := 1
	if m := yamlError.FindStringSubmatch(err.Error()); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = m[2]
	}
	if len(data) <= 16<<10 { // the search for the line takes time with the square of it
		line = validLines(data) + 1
	}
	what, do := "not valid YAML", ""
	if yamlText.MatchString(text) {
		what = strings.TrimSuffix(what+": "+text, ": ")
	}
	switch source := lineOf(data, line); {
	case strings.HasPrefix(text, "unknown anchor"):
		what += ": an alias (*name) stands here"
		do = "aliases are not supported; put quotes around a value that begins with *"
	case strings.Contains(source, "\t"):
		do = "there is a tab: indent with blanks"
	case strings.Contains(source, "${"):
		do = `inside [ ] and { } write "${NAME}" with quotes`
	case strings.Contains(source, "::"):
		do = `inside [ ] and { } write "::1" with quotes`
	}
	d.problemAt(position{line, 1}, "", what, do)
}

func lineOf(data []byte, n int) string {
	for line := range strings.Lines(string(data)) {
		if n--; n == 0 {
			return line
		}
	}
	return ""
}

// nearest returns the name that was probably meant by word, or "".
func nearest(word string, names []string) string {
	fold := strings.NewReplacer("-", "_", ".", "_", " ", "_")
	word = fold.Replace(strings.ToLower(word))
	if len(word) > 64 {
		return ""
	}
	best, limit := "", max(1, len(word)/3)+1
	for _, name := range names {
		if n := distance(word, fold.Replace(name)); n < limit {
			best, limit = name, n
		}
	}
	if best == "" && len(word) > 2 { // idle for idle_timeout
		i := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, word+"_") || strings.HasPrefix(word, name+"_") })
		if i >= 0 {
			best = names[i]
		}
	}
	return best
}

// distance is the number of letters to add, drop, replace or swap with their
// neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
