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

// What a path may hold and still be read alike by all: what RFC 3986, section
// 3.3, allows unescaped in a segment, without ';' and '$' (see params), and
// without '*', by which people mean something else when they write it in a rule.
const plainBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!&'()+,=:@/"

func plain(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for i := range len(path) {
		c := path[i]
		if c >= utf8.RuneSelf || plainTable[c/64]&(1<<(c%64)) == 0 {
			return false
		}
		if c == '/' && i > 0 && (path[i-1] == '/' || path[i-1] == '.') {
			return false
		}
	}
	return path[len(path)-1] != '.'
}

// plainTable is plainBytes as a set of bits.
var plainTable = func() (t [2]uint64) {
	for _, c := range []byte(plainBytes) {
		t[c/64] |= 1 << (c % 64)
	}
	return t
}()

// The bounds on readings: how many, and how long together. What real apps send
// has fewer than ten; a path beyond either bound counts as matching every rule.
const (
	maxReadings     = 64
	maxReadingBytes = 16 << 10
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
// more than once; so the readings are what all orders can produce.
var steps = [...]step{
	{decode, false},
	{unreserved, false},
	{narrow, false},
	{trim, false},
	{backslashes, true},
	{merge, true},
	{dots, true},
	{params, true},
	{truncate, true},
	{controls, true},
	{authority, true},
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
		for _, s := range steps {
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
			if _, n := escape(raw[i:]); n != len("%2e") {
				return true
			}
		}
	}
	return false
}

// decode undoes one layer of percent-encoding, %uXXXX of IIS included, and leaves
// alone what escapes nothing, so that %%32%65 becomes %2e.
func decode(s string) string { return unescape(s, func(rune) bool { return true }) }

// unreserved decodes only what RFC 3986, section 6.2.2.2, lets every normalizer
// decode; it matters since dots may be resolved before slashes are decoded.
func unreserved(s string) string {
	return unescape(s, func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-._~", r))
	})
}

func unescape(s string, wanted func(rune) bool) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := escape(s[i:])
		switch {
		case n == 0 || !wanted(r):
			b.WriteByte(s[i])
			i++
			continue
		case n == len("%2e"):
			b.WriteByte(byte(r))
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// escape reads the escape that s begins with; n is its length, 0 if there is none.
func escape(s string) (r rune, n int) {
	digits := 2
	switch {
	case len(s) < 3 || s[0] != '%':
		return 0, 0
	case s[1] == 'u' || s[1] == 'U':
		s, digits, n = s[1:], 4, 1
	}
	if len(s) < 1+digits {
		return 0, 0
	}
	for _, c := range []byte(s[1 : 1+digits]) {
		d := strings.IndexByte("0123456789abcdef", c|0x20)
		if d < 0 {
			return 0, 0
		}
		r = r<<4 | rune(d)
	}
	return r, n + 1 + digits
}

// narrow writes in ASCII what some decoders and file systems take for it: overlong
// UTF-8, fullwidth forms, look-alikes of separators, and the few letters outside
// ASCII whose other case is inside.
func narrow(s string) string {
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if ascii {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if c, n := overlong(s[i:]); n > 0 {
			b.WriteByte(c)
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if short := shorten(r); r == utf8.RuneError || short == r {
			b.WriteString(s[i : i+n])
		} else {
			b.WriteRune(short)
		}
		i += n
	}
	return b.String()
}

// overlong reads an ASCII character written in more bytes than it needs. Of the
// last byte only six bits count, as for the decoders that fell for %c1%1c.
func overlong(s string) (c byte, n int) {
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
		return 0, 0
	}
	for i := 1; i < n-2; i++ {
		if s[i] != 0x80 {
			return 0, 0
		}
	}
	return s[n-2]<<6&0x40 | s[n-1]&0x3f, n
}

func shorten(r rune) rune {
	switch {
	case 0xff01 <= r && r <= 0xff5e: // fullwidth forms
		return r - 0xff01 + '!'
	case strings.ContainsRune("\u2024\ufe52", r):
		return '.'
	case strings.ContainsRune("\u2044\u2215\u29f8", r):
		return '/'
	case strings.ContainsRune("\u2216\u29f5\u29f9\ufe68", r):
		return '\\'
	case r == 0x3000:
		return ' '
	}
	if other := unicode.ToLower(unicode.ToUpper(r)); other < utf8.RuneSelf {
		return other
	}
	return r
}

// trim takes blanks around a segment and dots behind it away, as Windows does.
func trim(s string) string {
	return eachSegment(s, func(seg string) string {
		if strings.Trim(seg, ".") == "" {
			return seg // what dots mean is for dots to say
		}
		return strings.Trim(strings.TrimRight(seg, ". "), " ")
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
// is one that ".." can go up from. With blanks or three dots and more, they are
// parents too, for somebody.
func dots(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	var out []string
	segments := strings.Split(s, "/")[1:]
	for i, seg := range segments {
		switch bare := strings.ReplaceAll(seg, " ", ""); {
		case bare == "" || strings.Trim(bare, ".") != "":
			out = append(out, seg)
			continue
		case bare != ".":
			out = out[:max(len(out)-1, 0)]
		}
		if i == len(segments)-1 {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}

// params takes away what some servers do not count as part of a segment's name:
// parameters behind ';', and the streams of NTFS (":$DATA", "::$INDEX_ALLOCATION").
func params(s string) string {
	return eachSegment(s, func(seg string) string {
		seg, _, _ = strings.Cut(seg, ";")
		if name, _, found := strings.Cut(seg, ":$"); found {
			seg = strings.TrimRight(name, ":")
		}
		return seg
	})
}

// truncate ends the path where C, or a second parser of URLs, would.
func truncate(s string) string {
	if i := strings.IndexAny(s, "\x00?#"); i >= 0 {
		return s[:i]
	}
	return s
}

// controls drops what the WHATWG URL parser and others drop: tabs, line ends and
// other control characters.
func controls(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c != 0x7f {
			b.WriteByte(c)
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

func eachSegment(s string, do func(string) string) string {
	segments := strings.Split(s, "/")
	for i, seg := range segments {
		segments[i] = do(seg)
	}
	return strings.Join(segments, "/")
}
