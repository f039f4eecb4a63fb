package page_test

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth/page"
)

// stylesheet returns the address and the text of the stylesheet, as a browser
// that has loaded a page finds them.
func stylesheet(t testing.TB, p *page.Pages) (path, text string) {
	t.Helper()
	html := body(t, show(t, p, http.MethodGet, page.Navigation, page.SignedOut{}))
	link := regexp.MustCompile(`<link rel="stylesheet" href="https://app\.test(/_auth/static/[^"]+)">`).FindStringSubmatch(html)
	if link == nil {
		t.Fatalf("no stylesheet on\n%s", html)
	}
	w := httptest.NewRecorder()
	p.Static(w, httptest.NewRequest(http.MethodGet, link[1], nil), "req-1")
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d", link[1], w.Code)
	}
	return link[1], w.Body.String()
}

func TestStatic(t *testing.T) {
	p := newPages(t, page.Config{})
	path, text := stylesheet(t, p)
	get := func(method, path string) *http.Response {
		w := httptest.NewRecorder()
		p.Static(w, httptest.NewRequest(method, path, nil), "req-1")
		return w.Result()
	}
	if !regexp.MustCompile(`^/_auth/static/style\.[0-9a-f]{16}\.css$`).MatchString(path) {
		t.Errorf("the name %s holds no hash", path)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		res := get(method, path)
		for header, want := range map[string]string{
			"Cache-Control": "public, max-age=31536000, immutable", "Content-Type": "text/css; charset=utf-8",
			"X-Content-Type-Options": "nosniff", "X-Loginwall": "page", "X-Request-Id": "req-1", "Content-Length": strconv.Itoa(len(text)),
		} {
			if got := res.Header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", method, header, got, want)
			}
		}
	}
	icon := regexp.MustCompile(`/_auth/static/mark\.[0-9a-f]{16}\.svg`).FindString(body(t, show(t, p, http.MethodGet, page.Navigation, page.SignedOut{})))
	if res := get(http.MethodGet, icon); res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("the icon %q: %d, %v", icon, res.StatusCode, res.Header)
	}
	for _, other := range []string{
		"/_auth/static/", "/_auth/static/style.css", "/_auth/static/style.0000000000000000.css", path + "/", path + "%00",
		"/_auth/static/../static/" + path[len("/_auth/static/"):], strings.Replace(path, "style", "%73tyle", 1), strings.ToUpper(path), "/_auth/static//x",
	} {
		if res := get(http.MethodGet, other); res.StatusCode != http.StatusNotFound || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d, %v", other, res.StatusCode, res.Header)
		}
	}
	if res := get(http.MethodPost, path); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, %v", res.StatusCode, res.Header)
	}
	for _, never := range []string{"@import", "url(", "expression", "javascript"} {
		if strings.Contains(text, never) {
			t.Errorf("the stylesheet has %s", never)
		}
	}
	for _, must := range []string{":focus-visible", "screen and (prefers-color-scheme: dark)", "screen and (max-width: 48rem)", "prefers-reduced-motion", "@media print", "overflow-wrap: anywhere"} {
		if !strings.Contains(text, must) {
			t.Errorf("the stylesheet has no %s", must)
		}
	}
}

// An app names session.js without a hash, so browsers ask each time whether it is
// still the same.
func TestStableFile(t *testing.T) {
	p := newPages(t, page.Config{})
	get := func(tag string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, "/_auth/static/session.js", nil)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		p.Static(w, r, "req-1")
		return w.Result()
	}
	res := get("")
	text := body(t, res)
	tag := res.Header.Get("ETag")
	if res.StatusCode != http.StatusOK || res.Header.Get("Cache-Control") != "no-cache" || tag == "" || res.Header.Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("%d, %v", res.StatusCode, res.Header)
	}
	if len(text) > 1024 || strings.Contains(text, "//") {
		t.Errorf("%d bytes:\n%s", len(text), text)
	}
	if res := get(tag); res.StatusCode != http.StatusNotModified || body(t, res) != "" {
		t.Errorf("asked again: %d", res.StatusCode)
	}
	if res := get(`"another"`); res.StatusCode != http.StatusOK {
		t.Errorf("after a change: %d", res.StatusCode)
	}
}

// The contrasts that WCAG 2.2 AA asks for, in both schemes: 4.5 for text (1.4.3),
// 3 for what shows where a control is, or has the focus (1.4.11, 2.4.11).
func TestContrast(t *testing.T) {
	for _, accent := range []string{"", "#1a5fb4", "#000000", "#9c3a20", "#b00020", "#00634f", "#5b21b6"} {
		t.Run(accent, func(t *testing.T) {
			_, text := stylesheet(t, newPages(t, page.Config{Accent: accent}))
			if accent != "" && !strings.Contains(text, "--accent: "+accent+";") {
				t.Error("the accent is not in the stylesheet")
			}
			testContrast(t, text)
		})
	}
}

func testContrast(t *testing.T, text string) {
	light, dark := palettes(t, text)
	pairs := []struct {
		front, back string
		least       float64
	}{
		{"ink", "paper", 4.5},
		{"ink", "card", 4.5},
		{"ink", "sunk", 4.5},
		{"soft", "paper", 4.5},
		{"soft", "card", 4.5},
		{"soft", "sunk", 4.5},
		{"accent", "card", 4.5},
		{"accent", "sunk", 4.5},
		{"accent", "tint", 4.5},
		{"press", "card", 4.5},
		{"on-accent", "accent", 4.5},
		{"on-accent", "press", 4.5},
		{"good", "card", 4.5},
		{"good", "sunk", 4.5},
		{"bad", "card", 4.5},
		{"bad", "sunk", 4.5},
		{"on-google", "google", 4.5},
		{"on-hue", "hue0", 4.5},
		{"on-hue", "hue1", 4.5},
		{"on-hue", "hue2", 4.5},
		{"on-hue", "hue3", 4.5},
		{"on-hue", "hue4", 4.5},
		{"on-hue", "hue5", 4.5},
		{"edge", "card", 3},
		{"edge", "sunk", 3},
		{"google-edge", "card", 3},
		{"accent", "card", 3},
		{"focus", "card", 3},
		{"focus", "paper", 3},
		{"focus", "sunk", 3},
	}
	for scheme, palette := range map[string]map[string]float64{"light": light, "dark": dark} {
		for _, pair := range pairs {
			front, ok := palette[pair.front]
			back, ok2 := palette[pair.back]
			if !ok || !ok2 {
				t.Fatalf("%s: no colour %s or %s", scheme, pair.front, pair.back)
			}
			if got := contrast(front, back); got < pair.least {
				t.Errorf("%s: %s on %s has %.2f, want %.1f", scheme, pair.front, pair.back, got, pair.least)
			}
		}
	}
	// No rule brings a colour along that is not in the palette; only print and
	// shadows do without.
	rules, _, _ := strings.Cut(text[strings.Index(text, "/* Ground */"):], "@media print")
	if stray := regexp.MustCompile(`#[0-9a-f]{3,8}\b`).FindString(rules); stray != "" {
		t.Errorf("the colour %s stands outside of the palette", stray)
	}
}

// Every colour is either refused with a better one, or can be read.
func TestAccentIsReadable(t *testing.T) {
	refused := 0
	for r := 0; r < 256; r += 51 {
		for g := 0; g < 256; g += 51 {
			for b := 0; b < 256; b += 51 {
				accent := fmt.Sprintf("#%02x%02x%02x", r, g, b)
				p, err := page.New(page.Config{PublicURL: &url.URL{Scheme: "https", Host: "app.test"}, Accent: accent})
				if brand, ok := errors.AsType[*page.BrandError](err); ok {
					refused++
					better := regexp.MustCompile(`#[0-9a-f]{6}`).FindString(brand.Do)
					if brand.Field != "Accent" || !regexp.MustCompile(`^has a contrast of [1-4]\.[0-9][0-9] to the pages`).MatchString(brand.What) {
						t.Errorf("%s: %v", accent, err)
					}
					p, err = page.New(page.Config{PublicURL: &url.URL{Scheme: "https", Host: "app.test"}, Accent: better})
				}
				if err != nil {
					t.Fatalf("%s: %v", accent, err)
				}
				_, text := stylesheet(t, p)
				testContrast(t, text)
			}
		}
	}
	if refused < 50 || refused > 166 {
		t.Errorf("%d of 216 colours were refused", refused)
	}
}

func TestBrand(t *testing.T) {
	png := []byte("\x89PNG\r\n\x1a\n and so on")
	p := newPages(t, page.Config{AppName: "Sales <reports>", Logo: png})
	html := body(t, show(t, p, http.MethodGet, page.Navigation, page.SignedOut{}))
	for _, want := range []string{"Sales &lt;reports&gt;</bdi>", "· Sales &lt;reports&gt;</title>"} {
		if !strings.Contains(html, want) {
			t.Errorf("no %s on\n%s", want, html)
		}
	}
	logo := regexp.MustCompile(`<img class="logo" src="https://app\.test(/_auth/static/logo\.[0-9a-f]{16}\.png)" alt="">`).FindStringSubmatch(html)
	if logo == nil || !strings.Contains(html, `<link rel="icon" href="https://app.test`+logo[1]) {
		t.Fatalf("no logo on\n%s", html)
	}
	w := httptest.NewRecorder()
	p.Static(w, httptest.NewRequest(http.MethodGet, logo[1], nil), "req-1")
	if h := w.Header(); w.Body.String() != string(png) || h.Get("Content-Type") != "image/png" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the logo: %d, %v", w.Code, h)
	}
	for field, c := range map[string]page.Config{
		"Logo":    {Logo: []byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)},
		"Accent":  {Accent: "red"},
		"AppName": {AppName: strings.Repeat("ü", 61)},
	} {
		c.PublicURL = &url.URL{Scheme: "https", Host: "app.test"}
		_, err := page.New(c)
		if brand, ok := errors.AsType[*page.BrandError](err); !ok || brand.Field != field || brand.Do == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestContrastFormula(t *testing.T) {
	if got := contrast(luminance("#000000"), luminance("#ffffff")); math.Abs(got-21) > 1e-9 {
		t.Errorf("black on white: got %v, want 21", got)
	}
	if got := contrast(luminance("#777777"), luminance("#ffffff")); math.Abs(got-4.48) > 0.005 {
		t.Errorf("#777 on white: got %v, want 4.48", got)
	}
}

// palettes reads the luminances of the colours in both :root rules; the dark one
// falls back on the light one, as the cascade does.
func palettes(t *testing.T, text string) (light, dark map[string]float64) {
	t.Helper()
	first, rest, ok := strings.Cut(text, "@media screen and (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no dark scheme")
	}
	second, _, _ := strings.Cut(rest, "/* Ground */")
	light, dark = map[string]float64{}, map[string]float64{}
	colour := regexp.MustCompile(`--([a-z0-9-]+): (#[0-9a-f]{6});`)
	for _, m := range colour.FindAllStringSubmatch(first, -1) {
		light[m[1]], dark[m[1]] = luminance(m[2]), luminance(m[2])
	}
	for _, m := range colour.FindAllStringSubmatch(second, -1) {
		dark[m[1]] = luminance(m[2])
	}
	return light, dark
}

// luminance is WCAG's relative luminance of a colour.
func luminance(hex string) float64 {
	n, _ := strconv.ParseUint(hex[1:], 16, 32)
	linear := func(c uint64) float64 {
		v := float64(c&0xff) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(n>>16) + 0.7152*linear(n>>8) + 0.0722*linear(n)
}

func contrast(a, b float64) float64 {
	return (max(a, b) + 0.05) / (min(a, b) + 0.05)
}
