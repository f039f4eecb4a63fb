package page_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth/page"
)

// attacks are what others have been redirected by; the numbers are those of the
// classes: see the advisories of every login proxy.
var attacks = []string{
	"//evil.test", "///evil.test", "////evil.test", `/\evil.test`, `\/evil.test`, `\\evil.test`,
	`/\/evil.test`, "/\t/evil.test", "/\n/evil.test", "/\r/evil.test", "/ /evil.test", "/\v/evil.test",
	" //evil.test", "\x00//evil.test", `/./\evil.test`, "/..//evil.test", "/foo/..//evil.test", "//evil.test/%2f..",
	"//evil.test/%2e%2e%2f", "http://evil.test", "https:evil.test", "https:/evil.test", "https:///evil.test", "HTTPS://evil.test",
	"https://app.test@evil.test", "https://app.test:80@evil.test", "https://evil.test#@app.test",
	"https://evil.test?@app.test", `https://evil.test\@app.test`, "https://app.test.evil.test",
	"https://evilapp.test", "https://app.test%00.evil.test", "https://app.test%2eevil.test",
	"//%5cevil.test", "/%5cevil.test", "//[::ffff:1.2.3.4]", "//0x7f000001", "//evil%E3%80%82test", "//evil\u3002test", "//\uff45vil.test",
	"javascript:alert(1)", "java\rscript:alert(1)", "data:text/html,x", "vbscript:x", "blob:x",
	"/x\r\nSet-Cookie: a=b", "/\xff\xfe", "/\xed\xa0\x80", "/x\u2028y", "/x\u0085y",
	"@evil.test", ".evil.test", ":80@evil.test", "evil.test", "?x", "#x", "", "*", "/.", "/..", "/%2e%2e//evil.test", "/%2E/evil.test",
	"/%2fevil.test", "/%2F%2Fevil.test", "/%", "/%zz", "/%2", "/a/%2e%2e/b", "/a%2f..%2fb",
}

func TestParseTargetAttacks(t *testing.T) {
	p := newPages(t, page.Config{})
	for _, attack := range attacks {
		for range 3 { // raw, encoded once, encoded twice
			checkStays(t, p, attack)
			attack = url.QueryEscape(attack)
		}
	}
	if got := page.ParseTarget("/" + strings.Repeat("a", 64<<10)).String(); got != "/" {
		t.Errorf("64 KiB: got %.60q, want /", got)
	}
	for _, attack := range attacks {
		if attack == "/ /evil.test" { // harmless: a path whose first segment is a blank
			continue
		}
		if got := page.ParseTarget(attack).String(); got != "/" {
			t.Errorf("%.60q: got %.60q, want /", attack, got)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"/", "/"},
		{"/a/b", "/a/b"},
		{"/a/b/?", "/a/b/?"},
		{"/d/abc?orgId=1&from=now-6h&var=a%20b+c&x=%2F..%2F//&y[]=1&z={a|b}", "/d/abc?orgId=1&from=now-6h&var=a%20b+c&x=%2F..%2F//&y[]=1&z={a|b}"},
		{"/r?next=https://evil.test//x", "/r?next=https://evil.test//x"},
		{"/?q=100%", "/?q=100%"},
		{"/a//b", "/a//b"},
		{"/a%2Fb;c=1,2:3@4", "/a%2Fb;c=1,2:3@4"},
		{"/.well-known/x", "/.well-known/x"},
		{"/...", "/..."},
		{"/a#frag", "/a"},
		{"/a?b#frag?c", "/a?b"},
		{"/a b?c d", "/a%20b?c%20d"},
		{"/größe?ü", "/gr%C3%B6%C3%9Fe?%C3%BC"},
		{`/a?re=\d+"<>`, `/a?re=%5Cd+%22%3C%3E`},
		{"/" + strings.Repeat("a", 1799), "/" + strings.Repeat("a", 1799)},

		{"/" + strings.Repeat("a", 1800), "/"},
		{"/" + strings.Repeat("ü", 400), "/"}, // too long once it is escaped
		{"/_auth", "/"},
		{"/_auth/", "/_auth/"},
		{"/_auth/?x=y", "/_auth/?x=y"},
		{"/_auth/users", "/_auth/users"},
		{"/_auth/users?q=bob&page=2", "/_auth/users?q=bob&page=2"},
		{"/_auth/users/events", "/_auth/users/events"},
		{"/_auth/login?to=/x", "/"},
		{"/_auth/callback?code=x&state=y", "/"},
		{"/_auth/logout", "/"},
		{"/_auth/signed-out", "/"},
		{"/_auth/me", "/"},
		{"/_auth/usersx", "/"},
		{"/_auth/users/../logout", "/"},
		{"/_auth/users/%2e%2e/logout", "/"},
		{"/_auth/users/..%2flogout", "/"},
		{"/_auth/users%2F..%2Flogout", "/"},
		{"/_auth/users%2Fx", "/"},
		{"/_auth//users", "/"},
		{"/_auth/./", "/"},
		{"/%5fauth/", "/"},
		{"/_auth%2F", "/"},
		{"/_auth/%75sers", "/"},
		{"/%5fauth/logout", "/"},
		{"/_authors", "/_authors"},
		{"/_AUTH/", "/_AUTH/"}, // no alias of ours
		{"/x/_auth/login", "/x/_auth/login"},
	} {
		if got := page.ParseTarget(c.in).String(); got != c.want {
			t.Errorf("%.80q: got %.80q, want %.80q", c.in, got, c.want)
		}
	}
	if got := (page.Target{}).String(); got != "/" {
		t.Errorf("zero: got %q", got)
	}
}

// META-253.
func FuzzParseTarget(f *testing.F) {
	for _, attack := range attacks {
		f.Add(attack)
	}
	f.Add("/d/abc?orgId=1&var=a%20b+c")
	p := newPages(f, page.Config{})
	f.Fuzz(func(t *testing.T, s string) { checkStays(t, p, s) })
}

// checkStays holds the target that s becomes against a browser's reading.
func checkStays(t *testing.T, p *page.Pages, s string) {
	t.Helper()
	target := page.ParseTarget(s)
	location := p.Local(target).String()
	for i := range len(location) {
		if c := location[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			t.Fatalf("%q: the byte %#x in %q", s, c, location)
		}
	}
	if len(target.String()) > 1800 {
		t.Errorf("%q: %d bytes long", s, len(target.String()))
	}
	// As we write it, and as a proxy might if it made the address relative.
	for _, text := range []string{location, target.String()} {
		origin, path := browse("https", "app.test", text)
		if origin != "https://app.test" {
			t.Errorf("%q: a browser takes %q for %s", s, text, origin)
		}
		own := path == "/_auth" || strings.HasPrefix(path, "/_auth/")
		page := path == "/_auth/" || path == "/_auth/users" || strings.HasPrefix(path, "/_auth/users/")
		if own && !page || strings.HasPrefix(path, "//") {
			t.Errorf("%q: a browser asks for %q", s, path)
		}
	}
	if again := page.ParseTarget(target.String()); again != target {
		t.Errorf("%q: read again, %q becomes %q", s, target, again)
	}
	// What was not refused as a whole arrives as it was, but for the fragment.
	if before, _, _ := strings.Cut(s, "#"); target.String() != "/" && decode(target.String()) != decode(before) {
		t.Errorf("%q became %q", s, target)
	}
}

// decode undoes all escapes and leaves alone what is none.
func decode(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if i+2 < len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil && s[i] == '%' {
				out.WriteString(c)
				i += 2
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// browse is the URL parser of the WHATWG standard, as far as a Location with a
// special scheme goes, written from its state machine and not from net/url: the
// second opinion. It returns origin and path of what a browser at
// scheme://host/somewhere/deep would open, or the scheme alone for others.
func browse(scheme, host, ref string) (origin, path string) {
	ref = strings.TrimFunc(ref, func(r rune) bool { return r <= ' ' })
	ref = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(ref)
	slash := func(i int) bool { return i < len(ref) && (ref[i] == '/' || ref[i] == '\\') }

	relative := true
	if i := strings.IndexByte(ref, ':'); i > 0 && !strings.ContainsAny(ref[:i], `/\?#`) {
		own := strings.ToLower(ref[:i])
		if own != "http" && own != "https" {
			return own + ":", ""
		}
		ref = ref[i+1:]
		// "https:x" is relative to an https page; "http:x" and "https:/x" name a host.
		relative, scheme = own == scheme, own
	}
	if !relative || slash(0) && slash(1) {
		ref = strings.TrimLeft(ref, `/\`)
		end := len(ref)
		if i := strings.IndexAny(ref, `/\?#`); i >= 0 {
			end = i
		}
		host, ref = ref[:end], ref[end:]
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:]
		}
		if decoded, err := url.PathUnescape(host); err == nil {
			host = strings.ToLower(decoded)
		}
	} else if !slash(0) {
		ref = "/somewhere/" + ref
	}
	if i := strings.IndexAny(ref, "?#"); i >= 0 {
		ref = ref[:i]
	}
	ref = strings.ReplaceAll(ref, `\`, "/")
	var out []string
	segments := strings.Split(strings.TrimPrefix(ref, "/"), "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch strings.ReplaceAll(strings.ToLower(s), "%2e", ".") {
		case "..":
			out = out[:max(len(out)-1, 0)]
			if last {
				out = append(out, "")
			}
		case ".":
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return scheme + "://" + host, "/" + strings.Join(out, "/")
}

// The second opinion is worth something only if it sees where others went.
func TestBrowse(t *testing.T) {
	for ref, want := range map[string]string{
		"//evil.test/x": "https://evil.test/x", `/\evil.test`: "https://evil.test/", "/\t/evil.test": "https://evil.test/",
		"///evil.test": "https://evil.test/", "http:evil.test": "http://evil.test/", "https://app.test@evil.test/": "https://evil.test/",
		`https://evil.test\@app.test`: "https://evil.test/@app.test", "/a/%2e%2E/b": "https://app.test/b", "/..//x": "https://app.test//x",
		"javascript:alert(1)": "javascript:", "x?y": "https://app.test/somewhere/x", " \x00//evil.test": "https://evil.test/",
		"https:/x": "https://app.test/x", "//EVIL%2Etest": "https://evil.test/",
	} {
		origin, path := browse("https", "app.test", ref)
		if got := origin + path; got != want {
			t.Errorf("%q: got %s, want %s", ref, got, want)
		}
	}
}

func TestOwnLocations(t *testing.T) {
	public, err := url.Parse("http://LocalHost:8080/")
	if err != nil {
		t.Fatal(err)
	}
	p := newPages(t, page.Config{PublicURL: public})
	for _, c := range []struct {
		got  page.Location
		want string
	}{
		{p.Local(page.Target{}), "http://localhost:8080/"},
		{p.Local(page.ParseTarget("/a?b=c")), "http://localhost:8080/a?b=c"},
		{p.Own("signed-out", nil), "http://localhost:8080/_auth/signed-out"},
		{p.Own("", nil), "http://localhost:8080/_auth/"},
		{p.Own("users/a b\r\n", url.Values{"q": {"x&y"}}), "http://localhost:8080/_auth/users/a%20b%0D%0A?q=x%26y"},
		{p.Login(page.ParseTarget("/a?b=c&d"), false), "http://localhost:8080/_auth/login?to=%2Fa%3Fb%3Dc%26d"},
		{p.Login(page.ParseTarget("//evil.test"), true), "http://localhost:8080/_auth/login?switch=1&to=%2F"},
	} {
		if got := c.got.String(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestProviderURL(t *testing.T) {
	const good = "https://accounts.google.com/o/oauth2/v2/auth?client_id=a&redirect_uri=https%3A%2F%2Fapp.test%2F_auth%2Fcallback"
	if got, err := page.ProviderURL(good); err != nil || got.String() != good {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{
		"", "/auth", "//accounts.google.com/auth", "javascript:alert(1)", "data:text/html,x", "ftp://x/", "https:accounts", "https:///auth",
		"https://user@accounts.google.com/", "https://a.test/ b", "https://a.test/\r\nX: y", `https://a.test\@b.test/`, "https://a.test/ü", "https://[::1/", "https://a.test:x/",
	} {
		if got, err := page.ProviderURL(bad); err == nil || got != (page.Location{}) {
			t.Errorf("%q: got %q, %v", bad, got, err)
		}
	}
}

func FuzzProviderURL(f *testing.F) {
	f.Add("https://accounts.google.com/o/oauth2/v2/auth?x=y#z")
	for _, attack := range attacks {
		f.Add("https://accounts.test" + attack)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := page.ProviderURL(s)
		if err != nil {
			return
		}
		u, err := url.Parse(l.String())
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := url.PathUnescape(u.Host)
		if origin, _ := browse("https", "app.test", s); err == nil && origin != u.Scheme+"://"+strings.ToLower(decoded) {
			t.Errorf("we read %s://%s, a browser %s", u.Scheme, u.Host, origin)
		}
	})
}
