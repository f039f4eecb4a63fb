package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/internal/hygiene"
)

// A pictured is a provider that serves a picture of everybody, by https.
type pictured struct {
	*httptest.Server
	idp   *devidp.Provider
	ca    string
	asked atomic.Int64
}

func newPictured(t *testing.T, redirects ...string) *pictured {
	t.Helper()
	p := &pictured{}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.idp.ServeHTTP(w, r) }))
	t.Cleanup(p.Close)
	p.ca = filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(p.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}), 0o600))
	var err error
	p.idp, err = devidp.New(devidp.Config{Issuer: p.URL, Clients: map[string]devidp.Client{testClient: {Secret: testSecret, RedirectURIs: redirects}}})
	check(t, err)
	p.tell("")
	return p
}

// tell makes the provider name this picture of everybody, instead of one of its own.
func (p *pictured) tell(picture string) {
	p.idp.Misbehave(devidp.Fault{
		Claims: func(claims map[string]any) {
			claims["picture"] = picture
			if picture == "" {
				claims["picture"] = p.URL + "/pictures/" + url.PathEscape(fmt.Sprint(claims["email"]))
			}
		},
		Respond: func(w http.ResponseWriter, r *http.Request, endpoint string) bool {
			if endpoint != "other" {
				return false
			}
			p.asked.Add(1)
			if strings.HasSuffix(r.URL.Path, "missing") {
				http.NotFound(w, r)
				return true
			}
			_, _ = w.Write(face())
			return true
		},
	})
}

// config is that of a wall in front of the provider.
func (p *pictured) config(lines string) string {
	text, _, _ := strings.Cut(basics, "google:")
	return text + fmt.Sprintf("oidc: {issuer: %q, client_id: %s, client_secret: %s, ca_file: %q}\n", p.URL, testClient, testSecret, p.ca) +
		"allow: {domains: [example.com]}\nadmins: [alice@example.com]\n" + lines
}

// face is a picture of somebody with a hat. It is drawn once: those who fetch it do not
// wait long.
var face = sync.OnceValue(func() []byte {
	const side = 400
	img := image.NewNRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			u, v := float64(x)/float64(side)*2-1, float64(y)/float64(side)*2-1
			c := color.NRGBA{120, 180, 220, 255}
			switch {
			case u*u+(v-1.1)*(v-1.1) < 0.5:
				c = color.NRGBA{60, 90, 60, 255}
			case u*u+v*v < 0.25:
				c = color.NRGBA{235, 190, 150, 255}
			}
			if v < -0.3 && v > -0.7 && u*u < 0.2 {
				c = color.NRGBA{90, 40, 30, 255}
			}
			img.SetNRGBA(x, y, c)
		}
	}
	var out bytes.Buffer
	_ = png.Encode(&out, img) // of what is drawn above, into memory
	return out.Bytes()
})

func startPictured(t *testing.T, publicURL string, p *pictured, config string) *rig {
	t.Helper()
	return startWallWith(t, publicURL, config, func(r *rig, _ *exec.Cmd) {
		r.issuer, r.idp = p.URL, p.idp
		r.client.Transport.(*http.Transport).TLSClientConfig = p.Client().Transport.(*http.Transport).TLSClientConfig
	})
}

var pictureInPage = regexp.MustCompile(`<img src="(/_auth/picture/([a-z2-7]{26})\?v=[0-9a-f]{8})" alt="">`)

// pictureOf is what the own page of the current browser shows.
func (r *rig) pictureOf(t *testing.T) (address, id string) {
	t.Helper()
	page := r.ask(t, http.MethodGet, "-nav", "/_auth/")
	if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "; img-src 'self' "+r.publicURL+";") {
		t.Errorf("Content-Security-Policy is %s", csp)
	}
	if found := pictureInPage.FindStringSubmatch(string(page.body)); found != nil {
		return found[1], found[2]
	}
	return "", ""
}

// A picture is fetched by the wall, and shown to its owner and to admins alone.
func TestPictures(t *testing.T) {
	t.Parallel()
	p := newPictured(t, "https://app.test/_auth/callback")
	r := startPictured(t, "https://app.test", p, p.config("directory: {pictures: proxied}\n"))
	const image = "-bare"
	isPicture := func(t *testing.T, a *answer) {
		t.Helper()
		size, err := jpeg.DecodeConfig(bytes.NewReader(a.body))
		if a.StatusCode != http.StatusOK || err != nil || size.Width != 96 || size.Height != 96 {
			t.Fatalf("%s, %v, %v", a.Status, err, size)
		}
		for name, want := range map[string]string{
			"Content-Type": "image/jpeg", "X-Content-Type-Options": "nosniff", "Content-Disposition": "inline", "Cache-Control": "private, max-age=3600",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin", "X-Loginwall": "page",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	}
	isNone := func(t *testing.T, a *answer) {
		t.Helper()
		img, err := gif.Decode(bytes.NewReader(a.body))
		if a.StatusCode != http.StatusNotFound || err != nil || a.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%s, %v, %v", a.Status, err, a.Header)
		}
		if _, _, _, alpha := img.At(0, 0).RGBA(); alpha != 0 {
			t.Error("the initials behind it cannot be seen")
		}
	}
	r.as("bob").signIn(t, "bob@example.com", "/")
	bobs, bob := r.pictureOf(t)
	if bobs == "" || p.asked.Load() != 0 {
		t.Fatalf("no picture of bob (%d were asked for)", p.asked.Load())
	}
	isPicture(t, r.ask(t, http.MethodGet, image, bobs))
	if head := r.ask(t, http.MethodHead, image, bobs); head.StatusCode != http.StatusOK || len(head.body) != 0 {
		t.Errorf("HEAD: %s", head.Status)
	}
	if post := r.ask(t, http.MethodPost, image, bobs); post.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", post.Status)
	}
	r.as("alice").signIn(t, "alice@example.com", "/")
	alices, alice := r.pictureOf(t)
	isPicture(t, r.ask(t, http.MethodGet, image, alices))
	isPicture(t, r.ask(t, http.MethodGet, image, bobs))
	if n := p.asked.Load(); n != 2 {
		t.Errorf("the provider was asked %d times, want once for each", n)
	}
	for _, path := range []string{"/_auth/users", "/_auth/users/" + bob} {
		if page := r.ask(t, http.MethodGet, "-nav", path); !strings.Contains(string(page.body), `<img src="`+bobs+`" alt="">`) {
			t.Errorf("%s does not show bob:\n%s", path, page.body)
		}
	}

	t.Run("strangers", func(t *testing.T) {
		for _, id := range []string{bob, alice, "nobody", strings.Repeat("a", 26), ""} {
			for kind, want := range map[string]int{"-nav": http.StatusFound, "-xhr": http.StatusUnauthorized} {
				if a := r.as("stranger").ask(t, http.MethodGet, kind, "/_auth/picture/"+id); a.StatusCode != want {
					t.Errorf("%s %s: %s, want %d", kind, id, a.Status, want)
				}
			}
		}
	})
	t.Run("somebody else", func(t *testing.T) {
		var same string
		for _, id := range []string{alice, "nobody", strings.Repeat("a", 26), "", bob + "/", strings.ToUpper(bob)} {
			a := r.as("bob").ask(t, http.MethodGet, "-xhr", "/_auth/picture/"+id)
			body := strings.ReplaceAll(string(a.body), a.Header.Get("X-Request-Id"), "")
			if a.StatusCode != http.StatusForbidden || same != "" && body != same {
				t.Errorf("%q: %s %s, and before %s", id, a.Status, body, same)
			}
			same = body
		}
	})
	t.Run("nobody", func(t *testing.T) {
		if a := r.as("alice").ask(t, http.MethodGet, "-xhr", "/_auth/picture/nobody"); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s", a.Status)
		}
	})
	t.Run("a picture that is not there", func(t *testing.T) {
		p.tell(p.URL + "/pictures/missing")
		r.as("carol").signIn(t, "carol@example.com", "/")
		address, _ := r.pictureOf(t)
		isNone(t, r.ask(t, http.MethodGet, image, address))
		isNone(t, r.as("alice").ask(t, http.MethodGet, image, address))
	})
	// RED-065: what a provider says that its people chose is never followed anywhere.
	t.Run("hostile addresses", func(t *testing.T) {
		canary := newPictured(t)
		_, id := r.as("bob").pictureOf(t)
		for _, claim := range []string{
			"javascript:alert(1)", "data:image/svg+xml,<svg onload=alert(1)>", "http://169.254.169.254/latest/meta-data/", "https://169.254.169.254/",
			"https://evil.googleusercontent.com.attacker.example/a", "https://lh3.googleusercontent.com/a", canary.URL + "/pictures/x",
			strings.Replace(canary.URL, "https", "http", 1) + "/", "https://x@" + strings.TrimPrefix(p.URL, "https://") + "/", p.URL + `"><script>alert(1)</script>`,
		} {
			before := p.asked.Load()
			p.tell(claim)
			r.as("bob").signIn(t, "bob@example.com", "/")
			if address, _ := r.pictureOf(t); address != "" {
				t.Errorf("%s is shown as %s", claim, address)
			}
			isNone(t, r.ask(t, http.MethodGet, image, "/_auth/picture/"+id))
			isNone(t, r.as("alice").ask(t, http.MethodGet, image, "/_auth/picture/"+id))
			if page := r.ask(t, http.MethodGet, "-nav", "/_auth/users?q=bob"); strings.Contains(string(page.body), "<img") {
				t.Errorf("%s is on a page:\n%s", claim, page.body)
			}
			if p.asked.Load() != before || canary.asked.Load() != 0 {
				t.Errorf("%s was asked for", claim)
			}
		}
	})
	t.Run("a new picture", func(t *testing.T) {
		p.tell(p.URL + "/pictures/new")
		r.as("bob").signIn(t, "bob@example.com", "/")
		address, _ := r.pictureOf(t)
		if address == "" || address == bobs {
			t.Errorf("the address is %q, and was %q", address, bobs)
		}
		isPicture(t, r.ask(t, http.MethodGet, image, address))
	})
	t.Run("blocked", func(t *testing.T) {
		csrf := "Origin:" + r.publicURL
		if a := r.as("alice").ask(t, http.MethodPost, "-xhr", "/_auth/users/"+bob+"/block", csrf, "Content-Type:application/json", `{"reason":"left"}`); a.StatusCode != http.StatusOK {
			t.Fatalf("block: %s %s", a.Status, a.body)
		}
		if a := r.as("bob").ask(t, http.MethodGet, "-xhr", bobs); a.StatusCode != http.StatusForbidden {
			t.Errorf("%s", a.Status)
		}
	})
}

// Where the file says nothing, nothing is fetched, shown or served.
func TestNoPictures(t *testing.T) {
	t.Parallel()
	p := newPictured(t, "https://app.test/_auth/callback")
	r := startPictured(t, "https://app.test", p, p.config(""))
	r.as("alice").signIn(t, "alice@example.com", "/")
	list := r.ask(t, http.MethodGet, "-xhr", "/_auth/users")
	id := regexp.MustCompile(`"id":"([a-z2-7]{26})"`).FindSubmatch(list.body)
	for _, path := range []string{"/_auth/", "/_auth/users", "/_auth/users/" + string(id[1])} {
		if a := r.ask(t, http.MethodGet, "-nav", path); a.StatusCode != http.StatusOK || bytes.Contains(a.body, []byte("<img")) {
			t.Errorf("%s: %s\n%s", path, a.Status, a.body)
		}
	}
	if a := r.ask(t, http.MethodGet, "-nav", "/_auth/picture/"+string(id[1])); a.StatusCode != http.StatusNotFound || p.asked.Load() != 0 {
		t.Errorf("%s, and the provider was asked %d times", a.Status, p.asked.Load())
	}
}

// A directory on an origin of its own has everybody's picture there, and each
// person's own on the app's.
func TestPicturesElsewhere(t *testing.T) {
	t.Parallel()
	p := newPictured(t, "https://app.test/_auth/callback", "https://users.test/_auth/callback")
	r := startPictured(t, "https://app.test", p, p.config("directory: {public_url: 'https://users.test', pictures: proxied}\n"))
	ask := func(browser, path string, want int) {
		t.Helper()
		if a := r.as(browser).ask(t, http.MethodGet, "-bare", path); a.StatusCode != want {
			t.Errorf("%s at %s, %s: %s, want %d", browser, r.publicURL, path, a.Status, want)
		}
	}
	r.as("bob").signIn(t, "bob@example.com", "/")
	bobs, _ := r.pictureOf(t)
	r.as("alice").signIn(t, "alice@example.com", "/")
	alices, _ := r.pictureOf(t)
	ask("bob", bobs, http.StatusOK)
	ask("alice", alices, http.StatusOK)
	ask("alice", bobs, http.StatusNotFound)
	ask("bob", alices, http.StatusNotFound)
	r.publicURL = "https://users.test"
	ask("alice", alices, http.StatusFound)
	r.as("admin").signIn(t, "alice@example.com", "/_auth/users")
	ask("admin", alices, http.StatusOK)
	ask("admin", bobs, http.StatusOK)
}

// testPictures looks at the pages with pictures in a real browser: the picture lies on
// the initials, which are seen where there is none, and axe-core has nothing to say.
func testPictures(t *testing.T, browser context.Context, scheme string) {
	axe, err := os.ReadFile(filepath.Join(repositoryRoot(t), "deploy/peers/node_modules/axe-core/axe.min.js"))
	if err != nil {
		hygiene.Missing(t, "axe-core", "deploy/components.sh")
	}
	p := newPictured(t)
	address, err := freeAddress()
	check(t, err)
	s := &scene{t: t, url: strings.Replace("http://"+address, "127.0.0.1", "localhost", 1), file: filepath.Join(t.TempDir(), "loginwall.yaml"), idp: p.idp}
	text := strings.NewReplacer("$PUBLIC", s.url, "$LISTEN", address, "$OPS", `"off"`, "$UPSTREAM", p.URL).Replace(p.config("directory: {pictures: proxied}\nupstream_tls: {ca_file: " + p.ca + "}\n"))
	check(t, os.WriteFile(s.file, []byte(text), 0o600))
	p.idp.Misbehave(devidp.Fault{})
	s.start()
	p.tell("")
	sign := func(email, name, picture string, ago time.Duration) *http.Cookie {
		return signedInAs(t, s.file, auth.Identity{Subject: "of-" + email, Email: email, EmailVerified: true, Name: name, Picture: picture}, ago)
	}
	alice := sign("alice@example.com", "Alice Archer", p.URL+"/pictures/alice", time.Minute)
	sign("bob@example.com", "Bob Baker", p.URL+"/pictures/bob", time.Hour)
	sign("carol@example.com", "Carol Cook", p.URL+"/pictures/missing", 2*time.Hour)
	sign("dora@example.com", "Dora Dean", "https://attacker.example/x.png", 3*time.Hour)

	b := newTab(t, browser)
	b.scheme(scheme)
	b.has(s, alice)
	for name, page := range map[string]struct {
		path           string
		shown, missing int
	}{
		"pictures-users": {"/_auth/users", 2, 1},
		"pictures-user":  {"/_auth/users?q=bob", 1, 0},
		"pictures-none":  {"/_auth/users?q=carol", 0, 1},
		"pictures-own":   {"/_auth/", 1, 0},
	} {
		b.do("a small phone", chromedp.EmulateViewport(320, 640))
		b.open(s.url + page.path)
		if name == "pictures-user" {
			b.press("him", `document.querySelector("a.who")`)
			b.sees("Open sessions")
		}
		count := func(width string) string {
			return `[...document.querySelectorAll(".avatar img")].filter(i => i.complete && i.naturalWidth ` + width + `).length`
		}
		b.until("the pictures are there: "+name, fmt.Sprintf(`%s == %d && %s == %d`, count("== 96"), page.shown, count("== 1"), page.missing))
		b.until("the initials are behind them: "+name, `[...document.querySelectorAll(".avatar")].every(a => a.innerText.length == 2)`)
		b.until("they cover them: "+name, `[...document.querySelectorAll(".avatar img")].every(i => {
			const a = i.getBoundingClientRect(), b = i.parentNode.getBoundingClientRect();
			return a.x == b.x && a.y == b.y && a.width == b.width && a.height == b.height && getComputedStyle(i).borderRadius == "50%";
		})`)
		b.until("the page fits: "+name, `document.documentElement.scrollWidth <= 320`)
		b.until("nothing came from anywhere else: "+name, `performance.getEntriesByType("resource").every(e => e.name.startsWith(location.origin + "/_auth/"))`)
		b.do("load axe", chromedp.Evaluate[chromedp.Void](string(axe)))
		for _, violation := range b.audit() {
			t.Errorf("%s: %s", name, violation)
		}
		b.picture(name + "-" + scheme)
	}
}
