package policy_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth/policy"
)

// A parser stands for what may be behind the wall: it decodes and normalizes a
// path with the quirks it is told. It is written apart from the package's own
// steps and in another manner, so that an error in one is not repeated in the
// other.
type parser uint32

const (
	decodes parser = 1 << iota // quirks
	decodesTwice
	keepsSlashes
	decodesU
	decodesOverlong
	decodesFullwidth
	cutsNUL
	cutsQuery
	cutsFragment
	dropsTabs
	dropsControls
	turnsBackslashes
	stripsParams
	stripsStreams
	trimsBlanks
	trimsTails
	mergesSlashes
	resolvesDots
	resolvesLoosely
	resolvesEarly // before anything else too, as in front of another parser
	ignoresCase
	dropsAuthority
	allQuirks parser = 1<<iota - 1
)

var (
	escapeRE    = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
	escapeURE   = regexp.MustCompile(`%[uU][0-9a-fA-F]{4}`)
	paramsRE    = regexp.MustCompile(`;[^/]*`)
	streamsRE   = regexp.MustCompile(`:+\$[^/]*`)
	blanksRE    = regexp.MustCompile(` +(/|$)|(/) +`)
	tailsRE     = regexp.MustCompile(`([^/. ])[. ]+(/|$)`)
	controlsRE  = regexp.MustCompile(`[\x00-\x1f\x7f]`)
	tabsRE      = regexp.MustCompile(`[\t\n\r]`)
	slashesRE   = regexp.MustCompile(`/{2,}`)
	dotRE       = regexp.MustCompile(`/\.(/|$)`)
	dotsRE      = regexp.MustCompile(`/\.\.(/|$)`)
	looseDotRE  = regexp.MustCompile(`/ *\. *(/|$)`)
	looseDotsRE = regexp.MustCompile(`/ *\. *\.[. ]*(/|$)`)
	authorityRE = regexp.MustCompile(`^//+[^/]*`)
	utf8Tricks  = strings.NewReplacer(
		"\xc0\xae", ".", "\xc0\xaf", "/", "\xc1\x9c", `\`, "\xc0\x80", "\x00", "\xe0\x80\xae", ".", "\xe0\x80\xaf", "/", "\xf0\x80\x80\xaf", "/",
		"\xc1\xae", "n", "\xc1\xaf", "o",
	)
	wideTricks = strings.NewReplacer("．", ".", "／", "/", "＼", `\`, "；", ";", "％", "%", "ｎ", "n", "Ｎ", "N", "\u2024", ".", "\u2215", "/")
)

func (p parser) has(q parser) bool { return p&q != 0 }

func (p parser) read(s string) string {
	if p.has(resolvesEarly) {
		s = p.resolve(s)
	}
	rounds := 0
	if p.has(decodes) {
		rounds++
	}
	if p.has(decodesTwice) {
		rounds++
	}
	for range rounds {
		s = escapeRE.ReplaceAllStringFunc(s, func(e string) string {
			if p.has(keepsSlashes) && strings.EqualFold(e, "%2f") {
				return e
			}
			n, _ := strconv.ParseUint(e[1:], 16, 8)
			return string([]byte{byte(n)})
		})
	}
	if p.has(decodesU) {
		s = escapeURE.ReplaceAllStringFunc(s, func(e string) string {
			n, _ := strconv.ParseUint(e[2:], 16, 16)
			return string(rune(n))
		})
	}
	if p.has(decodesOverlong) {
		s = utf8Tricks.Replace(s)
	}
	if p.has(decodesFullwidth) {
		s = wideTricks.Replace(s)
	}
	for q, mark := range map[parser]string{cutsNUL: "\x00", cutsQuery: "?", cutsFragment: "#"} {
		if p.has(q) {
			s, _, _ = strings.Cut(s, mark)
		}
	}
	if p.has(dropsTabs) {
		s = tabsRE.ReplaceAllString(s, "")
	}
	if p.has(dropsControls) {
		s = controlsRE.ReplaceAllString(s, "")
	}
	if p.has(turnsBackslashes) {
		s = strings.ReplaceAll(s, `\`, "/")
	}
	if p.has(dropsAuthority) {
		s = "/" + strings.TrimPrefix(authorityRE.ReplaceAllString(s, ""), "/")
	}
	if p.has(stripsParams) {
		s = paramsRE.ReplaceAllString(s, "")
	}
	if p.has(stripsStreams) {
		s = streamsRE.ReplaceAllString(s, "")
	}
	if p.has(trimsBlanks) {
		s = blanksRE.ReplaceAllString(s, "$1$2")
		s = blanksRE.ReplaceAllString(s, "$1$2") // those that shared a slash
	}
	if p.has(trimsTails) {
		s = tailsRE.ReplaceAllString(s, "$1$2")
	}
	s = p.resolve(s)
	if p.has(ignoresCase) {
		s = strings.ToLower(s)
	}
	return s
}

// resolve takes the leftmost dot segment away until there is none.
func (p parser) resolve(s string) string {
	if p.has(mergesSlashes) {
		s = slashesRE.ReplaceAllString(s, "/")
	}
	if !p.has(resolvesDots) && !p.has(resolvesLoosely) {
		return s
	}
	dot, dots := dotRE, dotsRE
	if p.has(resolvesLoosely) {
		dot, dots = looseDotRE, looseDotsRE
	}
	for {
		at := dots.FindStringIndex(s)
		if one := dot.FindStringIndex(s); one != nil && (at == nil || one[0] < at[0]) {
			s = s[:one[0]] + "/" + s[one[1]:]
			continue
		}
		if at == nil {
			return s
		}
		parent := max(0, strings.LastIndexByte(s[:at[0]], '/'))
		s = s[:parent] + "/" + s[at[1]:]
	}
}

// nested has a secret at every depth that a path of a few segments can lead to.
func nested() policy.Rules {
	r := example()
	for _, dir := range []string{"/", "/a/", "/a/a/", "/a/b/", "/b/", "/pub/", "/pub/a/", "/a/pub/"} {
		r.Routes = append(r.Routes, policy.Route{Path: dir + "no/", Access: policy.Nobody})
	}
	r.Routes = append(r.Routes, policy.Route{Path: "/pub/", Access: policy.Public}, policy.Route{Path: "/a/pub/", Access: policy.Public})
	return r
}

// disagree says how a decision is wrong for somebody behind the wall who reads
// the path as seen.
func disagree(public, allowed bool, seen string) string {
	secret := strings.HasPrefix(seen, "/") && strings.HasSuffix(secretRE.FindString(seen+"/"), "no/")
	switch {
	case allowed && secret:
		return "bob is let through to a secret"
	case public && !strings.HasPrefix(seen, "/pub/") && !strings.HasPrefix(seen, "/a/pub/"):
		return "public is not so"
	}
	return ""
}

var secretRE = regexp.MustCompile(`^/(|a/|a/a/|a/b/|b/|pub/|pub/a/|a/pub/)no/`)

// However a parser is put together, what is public is public to it, and what
// somebody is let through to is nothing that they are kept out of.
func TestEveryParserAgrees(t *testing.T) {
	tokens := []string{
		"a", "b", "no", "pub", "NO", "no.", "no ", "..", ".", "...", ". .", ".. ", " ", "a b", "%2e%2e", "%2e.", ".%2E", "%252e%252e", "%252e.", "..;", "..;x", ";", "a;b", "no;x", "%3b", "..%3b",
		"%u002e%u002e", "%u002e.", "\xc0\xae\xc0\xae", "%c0%ae%c0%ae", "．．", "%ef%bc%8e%ef%bc%8e", ".%ef%bc%8e", "..:$x", "no::$DATA", "a%00", "%00", "..%00", ".%09.", ".%01.", "%0a", "a%3f", "%3f", "%23",
		"no%3f", "no%23", "no%00", "..%23", "..%3f", "%2e%2e%20", "..%20", ".%20.", "%20", "n%6f", "%256eo", "%6E%6F", "%", "%zz", "%%32e", "%c1%aeo", "n%uff4f", "%EF%BD%8Eo", "$x", "中", "%E4",
	}
	slashes := []string{"/", "/", "/", "/", "//", "%2f", "%2F", `\`, "%5c", "%252f", "/./", "\xc0\xaf", "%c0%af", "%u002f", "／", "%ef%bc%8f", "%u2215"}
	p := compile(t, nested())
	random := rand.New(rand.NewPCG(1, 2)) // the same paths every time
	const n = 1_500
	public, allowed := 0, 0
	for range n {
		raw := "/"
		if random.IntN(4) == 0 {
			raw = "/pub/"
		}
		for i := range 1 + random.IntN(6) {
			if i > 0 {
				raw += slashes[random.IntN(len(slashes))]
			}
			if random.IntN(3) > 0 {
				raw += tokens[random.IntN(len(tokens))]
			} else {
				raw += tokens[random.IntN(4)]
			}
		}
		open, forBob := p.Decide(get(raw), nil).Public, p.Decide(get(raw), bob()).Verdict == policy.Allow
		if open {
			public++
		}
		if !forBob {
			continue
		}
		allowed++
		for range 4 {
			// Few quirks at once, mostly, as in real ones.
			some, others := parser(random.Uint32()), parser(random.Uint32())
			quirks := some & others & allQuirks
			if seen := quirks.read(raw); disagree(open, forBob, seen) != "" {
				t.Errorf("%q: %s, but a parser (%b) reads %q", raw, disagree(open, forBob, seen), quirks, seen)
			}
		}
	}
	// A policy that refuses everything would pass as well.
	if public < n/100 || allowed < n/4 {
		t.Errorf("of %d paths %d are public and %d allowed; too few to tell anything", n, public, allowed)
	}
}

// The same for whatever paths and parsers the fuzzer comes up with.
func FuzzEveryParserAgrees(f *testing.F) {
	for i, s := range []string{
		"/", "/pub/x", "/pub/../no/", "/pub/%2e%2e/no/", "/pub/..;/no/", "/pub/..%5cno%5c", "/pub//../no/x", "/a/a/.../../no/", "/a/b%3f/..%2f../no%23/../b", "/a/pub/..%c0%af../no/",
		"/a/a%2fb/..%3b/no/x", "/a/．．/%c0%ae%c0%ae/no/", "/a/%u002e%u002e/%2e%2e/no/x", "/a/.%01./.%09./no/", "//pub/x", "/./pub/x", "/no./", "/pub/a%20b/caf%C3%A9", "/NO", "/pub/%252e%252e%252fno%252f",
	} {
		f.Add(s, "GET", uint32(i*7919))
		f.Add(s, "get", uint32(allQuirks))
	}
	p, err := policy.Compile(nested())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw, method string, quirks uint32) {
		target := policy.Target{Method: method, Path: policy.ReadPath(raw)}
		if target.Path.String() != raw {
			t.Fatalf("the path changed to %q", target.Path.String())
		}
		anonymous, bobs, stranger := p.Decide(target, nil), p.Decide(target, bob()), p.Decide(target, mallory())
		switch {
		case stranger.Verdict == policy.Allow && !stranger.Public:
			t.Errorf("mallory: %+v", stranger)
		case anonymous.Verdict == policy.Allow && !anonymous.Public:
			t.Errorf("anonymous, but not public: %+v", anonymous)
		case anonymous.Public != bobs.Public || bobs.Public != stranger.Public:
			t.Errorf("public for some: %+v, %+v, %+v", anonymous, bobs, stranger)
		case method != strings.ToUpper(method) && anonymous.Public:
			t.Errorf("%q is public: %+v", method, anonymous)
		}
		if !strings.HasPrefix(raw, "/") {
			return
		}
		q := parser(quirks) & allQuirks
		if seen := q.read(raw); disagree(anonymous.Public, bobs.Verdict == policy.Allow, seen) != "" {
			t.Error(fmt.Sprintf("%q: %s, ", raw, disagree(anonymous.Public, bobs.Verdict == policy.Allow, seen)), fmt.Sprintf("but a parser (%b) reads %q", q, seen))
		}
	})
}
