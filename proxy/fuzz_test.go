package proxy_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth/session"
	"github.com/loginwall/loginwall/proxy"
)

// FuzzHDR018 holds that no parser of the upstream's finds a cookie of ours, and
// that it finds every other one where it was.
func FuzzHDR018(f *testing.F) {
	f.Add("a=1; __Host-loginwall=x; b=2", "loginwall=y")
	f.Add("__Host-loginwall =x;\t loginwall-8080;; =loginwall=1", "a=\"; loginwall=z\"")
	f.Fuzz(func(t *testing.T, first, second string) {
		if strings.ContainsAny(first+second, "\r\n\x00") {
			t.Skip("cannot be in a header field")
		}
		in := []string{first, second}
		out := proxy.StripCookies(in)
		if in[0] != first || in[1] != second {
			t.Error("the client's own header was changed")
		}
		var want []string
		for _, line := range in {
			for pair := range strings.SplitSeq(line, ";") {
				if name, _, _ := strings.Cut(pair, "="); !ours(name) && strings.Trim(pair, " \t") != "" {
					want = append(want, strings.Trim(pair, " \t"))
				}
			}
		}
		var got []string
		for _, line := range out {
			for pair := range strings.SplitSeq(line, ";") {
				if name, _, _ := strings.Cut(pair, "="); ours(name) {
					t.Errorf("%q is left in %q", name, out)
				}
				if strings.Trim(pair, " \t") != "" {
					got = append(got, strings.Trim(pair, " \t"))
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q became %q: %q, want %q", in, out, got, want)
		}
		for _, c := range (&http.Request{Header: http.Header{"Cookie": out}}).Cookies() {
			if session.IsOurs(c.Name) {
				t.Errorf("net/http finds %q in %q", c.Name, out)
			}
		}
	})
}

// ours is how a lenient parser reads a name.
func ours(name string) bool {
	return session.IsOurs(strings.TrimFunc(name, func(r rune) bool {
		return !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	}))
}

// FuzzCOO124 holds that a browser that obeys a Set-Cookie line which was let pass
// sends nothing back afterwards that reads as a cookie of ours.
func FuzzCOO124(f *testing.F) {
	for _, line := range []string{"a=b", "=loginwall=x", "loginwall", " __Host-loginwall = x; Path=/", "==a", "a=loginwall", "\x7floginwall=1", "loginwall\t;x"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n\x00") || proxy.SetsOurs(line) {
			return
		}
		// RFC 6265bis, section 5.7, steps 3 to 6, and section 5.8.3.
		pair, _, _ := strings.Cut(line, ";")
		name, value, found := strings.Cut(pair, "=")
		if !found {
			name, value = "", pair
		}
		name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
		sent := value
		if name != "" {
			sent = name + "=" + value
		}
		if read, _, _ := strings.Cut(sent, "="); ours(read) {
			t.Errorf("%q comes back as %q", line, sent)
		}
	})
}

// FuzzBYP041 holds that whatever target net/http's server takes arrives as it was,
// or is refused.
func FuzzBYP041(f *testing.F) {
	app := newRawApp(f, okAnswer)
	r := newRig(f, app.url, setup{})
	cookie := r.signIn(alice)
	for _, target := range []string{"/", "//a", "/a?b#c", "/%2F", "/a|b", "*", "http://app.test/x", "/_auth/x", "//a|b", "/a\\b?\"", "/\xff"} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		raw := "GET " + target + " HTTP/1.1\r\nHost: app.test\r\nCookie: " + cookie + "\r\n\r\n"
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil || req.RequestURI != target {
			t.Skip("no request")
		}
		req.RemoteAddr = "127.0.0.1:1"
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		req = req.WithContext(ctx)
		before := len(app.requests())
		w := httptest.NewRecorder()
		r.handler.ServeHTTP(w, req)
		if ctx.Err() != nil {
			t.Errorf("%q: no answer", target)
		}
		if len(app.requests()) == before {
			if w.Code == http.StatusOK && target != "/_auth/login" && target != "/_auth/logout" && !strings.HasPrefix(target, "/_auth/healthz") {
				t.Errorf("%q: an answer out of nothing", target)
			}
			return
		}
		line, _, _ := strings.Cut(app.last(t), "\r\n")
		if strings.HasPrefix(target, "//") || !strings.HasPrefix(target, "/") {
			return // see target.put; absolute-form becomes origin-form
		}
		if line != "GET "+target+" HTTP/1.1" {
			t.Errorf("%q: the app got %q", target, line)
		}
	})
}
