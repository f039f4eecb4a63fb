package policy

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Path is the path of a request as it was sent, ready to be judged. Only
// ReadPath makes one that is not odd.
type Path struct {
	raw   string
	plain bool // every parser reads it alike, so raw is the only reading
}

// ReadPath takes the path of a request target as it stood on the wire: escaped,
// without the query, not cleaned. Other readings of it are only looked for when
// there are routes that could tell them apart, so this costs one scan and no
// allocation.
func ReadPath(escaped string) Path { return Path{escaped, plain(escaped)} }

// String returns the path as it was sent.
func (p Path) String() string { return p.raw }

// plain reports whether every parser reads a path alike.
func plain(path string) bool {
	if path == "" || path[0] != '/' || path[len(path)-1] == '.' {
		return false
	}
	for i := 1; i < len(path); i++ {
		if path[i] == '/' && (path[i-1] == '/' || path[i-1] == '.') || !isPlain(path[i]) {
			return false
		}
	}
	return true
}

// isPlain is what RFC 3986, section 3.3, allows unescaped in a segment, without
// ';' and '$' (see params), and without '*', by which people mean something else
// when they write it in a rule.
func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/-._~!&'()+,=:@", c) >= 0
}

// The bounds on readings: how many, and how long together. What real apps send
// has fewer than thirty; a path beyond either bound counts as matching every rule.
const (
	maxReadings     = 128
	maxReadingBytes = 32 << 10
)

// A step is one small thing that some parser does to a path before it acts on it.
type step struct {
	do func(string) string
	// telling says that a path that the step changes is one that parsers read
	// differently, so it is never public. The other steps change paths that are in
	// honest use below public prefixes, and it is enough that every reading is public.
	telling bool
}

// Every parser that we know of is some of these steps in some order, some of them
// more than once; so the readings are what all orders can produce. Two steps must
// not be made one, even where they look alike: what goes up from "..." in one
// parser is a name to go up from with ".." in the next.
func steps() [19]step {
	return [...]step{
		{decode, false},
		{decodeNames, false},
		{decodeIIS, false},
		{overlong, false},
		{narrow, false},
		{blanks, false},
		{tails, false},
		{backslashes, true},
		{merge, true},
		{dots, true},
		{looseDots, true},
		{params, true},
		{streams, true},
		{cut("\x00"), true},
		{cut("?"), true},
		{cut("#"), true},
		{tabs, true},
		{controls, true},
		{authority, true},
	}
}

// readings returns the path as sent and all other ways to read it, whether it is
// odd (never public), and whether these are all.
func (p Path) readings() (readings []string, odd, all bool) {
	if !strings.HasPrefix(p.raw, "/") || len(p.raw) > maxReadingBytes {
		return []string{p.raw}, true, false
	}
	readings = []string{p.raw}
	odd = malformed(p.raw)
	size := len(p.raw)
	for i := 0; i < len(readings); i++ {
		from := readings[i]
		for _, s := range steps() {
			to := s.do(from)
			if to == from {
				continue
			}
			odd = odd || s.telling || strings.Count(to, "/") > strings.Count(from, "/")
			if slices.Contains(readings, to) {
				continue
			}
			size += len(to)
			if len(readings) == maxReadings || size > maxReadingBytes {
				return readings, true, false
			}
			readings = append(readings, to)
		}
	}
	return readings, odd, true
}

// malformed reports whether a path as sent holds a % that escapes nothing, or that
// only some decoders take for an escape.
func malformed(raw string) bool {
	for i := range len(raw) {
		if raw[i] == '%' {
			if _, ok := hex(raw[i+1:], 2); !ok {
				return true
			}
		}
	}
	return false
}

// decode undoes one layer of percent-encoding, and leaves alone what escapes
// nothing, so that %%32%65 becomes %2e.
func decode(s string) string {
	return unescape(s, "%", 2, func(b *strings.Builder, r rune) bool { return b.WriteByte(byte(r)) == nil })
}

// decodeNames is decode for those who keep %2F as a part of a name: they resolve
// dots while it is still none of their slashes.
func decodeNames(s string) string {
	return unescape(s, "%", 2, func(b *strings.Builder, r rune) bool { return r != '/' && b.WriteByte(byte(r)) == nil })
}

// decodeIIS undoes %uXXXX.
func decodeIIS(s string) string {
	write := func(b *strings.Builder, r rune) bool { b.WriteRune(r); return true }
	return unescape(unescape(s, "%u", 4, write), "%U", 4, write)
}

// unescape replaces mark and that many hexadecimal digits by what write makes of
// the number, unless it says no.
func unescape(s, mark string, digits int, write func(*strings.Builder, rune) bool) string {
	if !strings.Contains(s, mark) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if strings.HasPrefix(s[i:], mark) {
			if r, ok := hex(s[i+len(mark):], digits); ok && write(&b, r) {
				i += len(mark) + digits
				continue
			}
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

// hex reads the number that s begins with.
func hex(s string, digits int) (r rune, ok bool) {
	if len(s) < digits {
		return 0, false
	}
	for _, c := range []byte(s[:digits]) {
		d := strings.IndexByte("0123456789abcdef", c|0x20)
		if d < 0 {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

// overlong decodes ASCII that is written in more bytes of UTF-8 than it needs. Of
// the last byte only six bits count, as for the decoders that fell for %c1%1c.
func overlong(s string) string {
	if isASCII(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		n := overlongLen(s[i:])
		if n == 0 {
			b.WriteByte(s[i])
			i++
			continue
		}
		b.WriteByte(s[i+n-2]<<6&0x40 | s[i+n-1]&0x3f)
		i += n
	}
	return b.String()
}

func overlongLen(s string) int {
	n := 0
	switch s[0] {
	case 0xc0, 0xc1:
		n = 2
	case 0xe0:
		n = 3
	case 0xf0:
		n = 4
	case 0xf8:
		n = 5
	case 0xfc:
		n = 6
	}
	if n == 0 || len(s) < n || n > 2 && s[n-2]&^1 != 0x80 {
		return 0
	}
	for i := 1; i < n-2; i++ {
		if s[i] != 0x80 {
			return 0
		}
	}
	return n
}

// narrow writes in ASCII what some runtimes and file systems take for it:
// fullwidth forms, look-alikes of separators, blanks of every kind, and the few
// letters outside ASCII whose other case is inside.
func narrow(s string) string {
	if isASCII(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r != utf8.RuneError:
			b.WriteRune(narrowRune(r))
		case s[i] == 0x85 || s[i] == 0xa0:
			// Blanks of Latin-1, at which Python's http.server splits the request line.
			b.WriteByte(' ')
		default:
			b.WriteString(s[i : i+n]) // as it is: strings.Map would write three bytes
		}
		i += n
	}
	return b.String()
}

func narrowRune(r rune) rune {
	switch {
	case 0xff01 <= r && r <= 0xff5e: // fullwidth forms
		return r - 0xff01 + '!'
	case strings.ContainsRune("\u2024\ufe52", r):
		return '.'
	case strings.ContainsRune("\u2044\u2215\u29f8", r):
		return '/'
	case strings.ContainsRune("\u2216\u29f5\u29f9\ufe68", r):
		return '\\'
	case r >= utf8.RuneSelf && unicode.IsSpace(r):
		return ' '
	}
	if other := unicode.ToLower(unicode.ToUpper(r)); other < utf8.RuneSelf {
		return other
	}
	return r
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// blanks takes them away around segments.
func blanks(s string) string {
	return eachSegment(s, " ", func(segment string) string { return strings.Trim(segment, " ") })
}

// tails takes dots and blanks away behind the names of segments, as Windows does.
func tails(s string) string {
	return eachSegment(s, ". ", func(segment string) string {
		if strings.Trim(segment, ".") == "" {
			return segment // what dots alone mean is for others to say
		}
		return strings.TrimRight(segment, ". ")
	})
}

func backslashes(s string) string { return strings.ReplaceAll(s, `\`, "/") }

// merge makes one slash of several.
func merge(s string) string {
	for strings.Contains(s, "//") {
		s = strings.ReplaceAll(s, "//", "/")
	}
	return s
}

// dots resolves dot segments as RFC 3986, section 5.2.4, does: an empty segment
// is one that ".." goes up from.
func dots(s string) string {
	return resolve(s, func(segment string) string { return segment })
}

// looseDots takes dots with blanks among them for dot segments too, and more than
// two dots for two.
func looseDots(s string) string {
	return resolve(s, func(segment string) string {
		bare := strings.ReplaceAll(segment, " ", "")
		if len(bare) > 2 && strings.Trim(bare, ".") == "" {
			return ".."
		}
		return bare
	})
}

func resolve(s string, meaning func(segment string) string) string {
	if !strings.Contains(s, "/.") && !strings.Contains(s, "/ ") {
		return s
	}
	var out []string
	segments := strings.Split(s, "/")[1:]
	for i, segment := range segments {
		switch meaning(segment) {
		case ".":
		case "..":
			out = out[:max(len(out)-1, 0)]
		default:
			out = append(out, segment)
			continue
		}
		if i == len(segments)-1 {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}

// params takes away what stands behind ';' in a segment.
func params(s string) string {
	return eachSegment(s, ";", func(segment string) string {
		name, _, _ := strings.Cut(segment, ";")
		return name
	})
}

// streams takes away the streams of NTFS: ":$DATA", "::$INDEX_ALLOCATION".
func streams(s string) string {
	return eachSegment(s, "$", func(segment string) string {
		if name, _, found := strings.Cut(segment, ":$"); found {
			return strings.TrimRight(name, ":")
		}
		return segment
	})
}

// cut ends the path at a mark: NUL, where C does, or what a second parser of URLs
// takes for the beginning of a query or fragment.
func cut(mark string) func(string) string {
	return func(s string) string {
		before, _, _ := strings.Cut(s, mark)
		return before
	}
}

// tabs drops what the URL standard's parser drops: tabs and line ends.
func tabs(s string) string {
	return drop(s, func(c byte) bool { return c == '\t' || c == '\n' || c == '\r' })
}

// controls drops every control character.
func controls(s string) string {
	return drop(s, func(c byte) bool { return c < ' ' || c == 0x7f })
}

func drop(s string, unwanted func(byte) bool) string {
	var b strings.Builder
	for i := range len(s) {
		if !unwanted(s[i]) {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// authority drops the host that a parser of relative references finds behind two
// slashes, or that a browser finds behind any number of them.
func authority(s string) string {
	if !strings.HasPrefix(s, "//") {
		return s
	}
	_, rest, _ := strings.Cut(strings.TrimLeft(s, "/"), "/")
	return "/" + rest
}

// eachSegment does not look at segments where none of these characters is.
func eachSegment(s, chars string, do func(segment string) string) string {
	if !strings.ContainsAny(s, chars) {
		return s
	}
	segments := strings.Split(s, "/")
	for i, segment := range segments {
		segments[i] = do(segment)
	}
	return strings.Join(segments, "/")
}
