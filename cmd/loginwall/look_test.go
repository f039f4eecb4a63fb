package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/internal/hygiene"
)

// testAccessible holds every page that we show against axe-core, the checker that
// most audits use, and against a screen of 320 pixels (WCAG 2.2, 1.4.10). With
// LOOK=FOLDER it leaves pictures of all of them there.
func testAccessible(t *testing.T, browser context.Context, scheme string) {
	axe, err := os.ReadFile(filepath.Join(repositoryRoot(t), "deploy/peers/node_modules/axe-core/axe.min.js"))
	if err != nil {
		hygiene.Missing(t, "axe-core", "deploy/components.sh")
	}
	gallery := newGallery(t)
	b := newTab(t, browser)
	b.scheme(scheme)
	for name, path := range gallery.pages {
		b.do("a small phone", chromedp.EmulateViewport(320, 640))
		b.open(gallery.url + path)
		b.until("the page fits: "+name, `document.documentElement.scrollWidth <= 320`)
		b.do("load axe", chromedp.Evaluate[chromedp.Void](string(axe)))
		for _, violation := range b.audit() {
			t.Errorf("%s: %s", name, violation)
		}
		b.picture(name + "-" + scheme)
	}
}

func (b *tab) scheme(scheme string) {
	b.t.Helper()
	b.do(scheme, tell("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{
		{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"},
	}}))
}

// audit runs axe by way of the debugger: the page's own policy admits no script.
func (b *tab) audit() []string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	raw, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](`axe.run(document, {
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"],
	}).then(r => r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join("; ")))`, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("run axe: %v\n%s", err, b.describe())
	}
	var violations []string
	if err := json.Unmarshal(raw, &violations); err != nil {
		b.t.Fatal(err)
	}
	return violations
}

// picture leaves pictures for people, if they asked for them.
func (b *tab) picture(name string) {
	b.t.Helper()
	folder := os.Getenv("LOOK")
	if folder == "" {
		return
	}
	for device, size := range map[string][2]int64{"phone": {390, 844}, "desktop": {1280, 800}} {
		b.do(device, chromedp.EmulateViewport(size[0], size[1]))
		png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name+"-"+device+".png"), png, 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	var paper struct {
		Data []byte `json:"data"`
	}
	b.do("print", func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		a4 := map[string]any{"paperWidth": 8.27, "paperHeight": 11.69}
		return chromedp.Void{}, target.Call(ctx, "Page.printToPDF", a4, &paper)
	})
	check(b.t, os.WriteFile(filepath.Join(folder, name+".pdf"), paper.Data, 0o644))
}

// A gallery shows every page at an address of its own.
type gallery struct {
	url   string
	pages map[string]string // name to path
}

func newGallery(t *testing.T) *gallery {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	g := &gallery{url: strings.Replace(server.URL, "127.0.0.1", "localhost", 1), pages: map[string]string{}}
	public, err := url.Parse(g.url)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := page.New(page.Config{PublicURL: public, Contact: "Ask alice@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	mux.HandleFunc("/_auth/static/", func(w http.ResponseWriter, r *http.Request) { pages.Static(w, r, "1") })
	for name, view := range everyView(t) {
		g.pages[name] = "/" + name
		mux.HandleFunc("/"+name, func(w http.ResponseWriter, r *http.Request) {
			pages.RenderFor(w, r, "9f2ab6cd61e7405c", page.Navigation, view)
		})
	}
	idp, err := devidp.New(devidp.Config{Issuer: g.url + "/idp", Clients: map[string]devidp.Client{demoClient: {RedirectURIs: []string{"http://localhost:8080/_auth/callback"}}}})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/idp/", idp)
	g.pages["chooser"] = "/idp/authorize?" + url.Values{
		"client_id": {demoClient}, "redirect_uri": {"http://localhost:8080/_auth/callback"}, "response_type": {"code"}, "scope": {"openid email"},
		"code_challenge_method": {"S256"}, "code_challenge": {strings.Repeat("a", 43)},
	}.Encode()
	g.pages["chooser-unknown"] = "/idp/authorize?client_id=x"
	app, err := newSampleApp()
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/app/public/", app)
	mux.HandleFunc("/app/", func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{"User": "alice@example.com", "Email": "alice@example.com", "Preferred-Username": "alice", "Name": "Alice Archer"} {
			r.Header.Set("X-Forwarded-"+name, value)
		}
		app.ServeHTTP(w, r)
	})
	g.pages["app"], g.pages["app-public"] = "/app/", "/app/public/"
	return g
}

// everyView is all that auth/page can show; the problems are read from its source,
// so that none is forgotten.
func everyView(t *testing.T) map[string]page.View {
	t.Helper()
	now := time.Now()
	long := "maximiliane.von-und-zu-der-langen-adresse+with-a-tag@department.of.a.very.long.subdomain.example.com"
	account := func(email, name string) page.Account {
		return page.Account{
			Session: &auth.Session{
				Identity: auth.Identity{Email: email, Name: name, HostedDomain: "example.com"},
				Created:  now.Add(-3 * time.Hour), Expires: now.Add(165 * time.Hour),
			},
			IdleEnds: now.Add(24 * time.Hour), Now: now,
		}
	}
	views := map[string]page.View{
		"signin":       page.SignInRequired{},
		"again":        page.SignInAgain{Email: "alice@example.com", Name: "Alice Archer"},
		"denied":       page.Denied{Email: "mallory@evil.test", Name: "Mallory Moss", Reason: "domain"},
		"denied-long":  page.Denied{Email: long, Name: "Maximiliane Gräfin von und zu der Langen Adresse", Reason: "hosted_domain"},
		"blocked":      page.Denied{Email: "bob@example.com", Name: "Bob Baker", Reason: "blocked"},
		"not-admin":    page.Denied{Email: "bob@example.com", Name: "Bob Baker", Reason: "not_admin"},
		"nobody":       page.Denied{Reason: "nobody"},
		"account":      account("alice@example.com", "Alice Archer"),
		"account-long": account(long, "Maximiliane Gräfin von und zu der Langen Adresse"),
		"account-busy": func() page.Account {
			v := account("alice@example.com", "Alice Archer")
			v.Notice = "That session has ended."
			v.Sessions = []page.OpenSession{
				{Handle: "a", Device: "Firefox on Linux", Address: "192.0.2.1", CreatedAt: now.Add(-3 * time.Hour), LastSeen: now, Current: true},
				{Handle: "b", Device: "Samsung Internet on Android", Address: "2001:db8:4006:812::200e", CreatedAt: now.Add(-90 * time.Hour), LastSeen: now.Add(-time.Hour)},
			}
			return v
		}(),
		"signout":      page.SignOut{Email: "alice@example.com", Name: "Alice Archer"},
		"signout-none": page.SignOut{},
		"signedout":    page.SignedOut{},
		"signedin":     page.SignedIn{Email: "alice@example.com"},
	}
	source, err := os.ReadFile(filepath.Join(repositoryRoot(t), "auth/page/problem.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t\w+\s+Problem = "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		views["error-"+m[1]] = page.Error{Problem: page.Problem(m[1])}
	}
	if len(views) < 30 {
		t.Fatalf("only %d views were found", len(views))
	}
	return views
}

// TestPicture makes the picture of the README anew, when it is asked to:
//
//	UPDATE_PICTURE=1 go test ./cmd/loginwall -run TestPicture
//
// It wants the demo's own port, 8080, and looks best with Debian's fonts-inter.
func TestPicture(t *testing.T) {
	if os.Getenv("UPDATE_PICTURE") == "" {
		t.Skip("set UPDATE_PICTURE=1 to make the README's picture anew")
	}
	const font = `Inter, system-ui, sans-serif`
	d := startDemo(t, "--listen", "localhost:8080")
	b := newTab(t, newBrowser(t))
	b.scheme("light")
	var windows strings.Builder
	shoot := func(sees, address, caption string) {
		b.sees(sees)
		b.do("a small window", chromedp.EmulateViewport(430, 662, chromedp.EmulateScale(2)), chromedp.Evaluate[chromedp.Void](`document.body.style.fontFamily = "`+font+`"`))
		png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		check(t, err)
		fmt.Fprintf(&windows, `<figure><div><p><i></i><i></i><i></i><span>%s</span></p><img width="430" height="662" alt="" src="data:image/png;base64,%s"></div><figcaption>%s</figcaption></figure>`,
			address, base64.StdEncoding.EncodeToString(png), caption)
	}
	b.open(d.url + "/reports/2026")
	shoot("Choose an account", "the pretend Google, 127.0.0.1:8081", "Strangers are sent to Google")
	b.signIn("alice@example.com")
	shoot("Hello, Alice", "localhost:8080/reports/2026", "Colleagues get in, and the app knows them")
	b.open(d.url + "/_auth/login?switch=1")
	b.signIn("mallory@evil.test")
	shoot("no access", "localhost:8080/_auth/callback", "Others are turned away, and told why")

	b.open("about:blank")
	html, err := json.Marshal(`<!doctype html><style>
		body { margin: 0; padding: 36px; display: flex; gap: 36px; background: #e9e4dc; font: 17px ` + font + `; color: #3b342e; }
		figure { margin: 0; } figcaption { margin-top: 18px; text-align: center; font-weight: 550; }
		div { border-radius: 12px; overflow: hidden; box-shadow: 0 0 0 1px #cfc8bd, 0 14px 34px -12px #5a402a66; background: #fff; }
		p { margin: 0; display: flex; gap: 7px; align-items: center; height: 38px; padding: 0 14px; background: #f7f5f2; border-bottom: 1px solid #ddd6cc; font-size: 14px; color: #635b54; }
		i { width: 11px; height: 11px; border-radius: 50%; background: #d9d2c7; } span { flex: 1; text-align: center; margin-right: 47px; } img { display: block; }
	</style>` + windows.String())
	check(t, err)
	b.do("compose", chromedp.EmulateViewport(1434, 826, chromedp.EmulateScale(1.5)),
		chromedp.Evaluate[chromedp.Void](`document.open(); document.write(`+string(html)+`); document.close()`))
	b.until("the pictures are there", `[...document.images].every(i => i.complete && i.naturalWidth > 0)`)
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	check(t, err)
	check(t, os.WriteFile(filepath.Join(repositoryRoot(t), ".github/pictures/demo.png"), shrink(t, picture), 0o644))
}

// shrink keeps the 256 colours that most of the picture has, and of the others the
// nearest of those.
func shrink(t *testing.T, picture []byte) []byte {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(picture))
	check(t, err)
	count := map[color.Color]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			count[img.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return count[b] - count[a] })
	small := image.NewPaletted(img.Bounds(), colours[:min(len(colours), 256)])
	nearest := map[color.Color]uint8{}
	for c := range count {
		nearest[c] = uint8(small.Palette.Index(c))
	}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			small.SetColorIndex(x, y, nearest[img.At(x, y)])
		}
	}
	var out bytes.Buffer
	check(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, small))
	return out.Bytes()
}
