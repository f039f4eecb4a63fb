package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/internal/hygiene"
)

// TestBrowser is what people do, by a real browser against the real binary. What
// browsers do on their own (cookies of a cross-site answer, the Back button, tabs,
// forms, what they keep) is nothing that another program could imitate.
func TestBrowser(t *testing.T) {
	browser := newBrowser(t)
	app, err := newSampleApp()
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, app, "")
	for name, test := range map[string]func(*testing.T, context.Context, *scene){
		"deep link":           testDeepLink,
		"two tabs":            testTwoTabs,
		"five tabs":           testFiveTabs,
		"denied":              testDenied,
		"cancelled":           testCancelled,
		"sign out":            testSignOut,
		"back":                testBack,
		"account":             testAccount,
		"admins only":         testAdminsOnly,
		"blocked":             testBlocked,
		"wrong host":          testWrongHost,
		"app away":            testAppAway,
		"provider away":       testProviderAway,
		"session ends":        testSessionEnds,
		"session resumes":     testSessionResumes,
		"activity":            testActivity,
		"demo":                testDemo,
		"single sign-on":      testSingleSignOn,
		"directory":           testDirectory,
		"end and delete":      testEndAndDelete,
		"own sessions":        testOwnSessions,
		"stale sign-in":       testStaleSignIn,
		"directory in light":  func(t *testing.T, browser context.Context, _ *scene) { testDirectoryLooks(t, browser, "light") },
		"directory in dark":   func(t *testing.T, browser context.Context, _ *scene) { testDirectoryLooks(t, browser, "dark") },
		"pictures in light":   func(t *testing.T, browser context.Context, _ *scene) { testPictures(t, browser, "light") },
		"pictures in dark":    func(t *testing.T, browser context.Context, _ *scene) { testPictures(t, browser, "dark") },
		"accessible in light": func(t *testing.T, browser context.Context, _ *scene) { testAccessible(t, browser, "light") },
		"accessible in dark":  func(t *testing.T, browser context.Context, _ *scene) { testAccessible(t, browser, "dark") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, browser, s)
		})
	}
}

const deepLink = "/reports/2026?quarter=4&sort=desc&q=a%2Fb+c&empty="

func testDeepLink(t *testing.T, browser context.Context, s *scene) {
	b := newTab(t, browser)
	b.open(s.url + deepLink)
	b.sees("Choose an account")
	b.signIn("alice@example.com")
	b.at(s.url + deepLink)
	b.sees("Hello, Alice Archer")
}

func testTwoTabs(t *testing.T, browser context.Context, s *scene) {
	first := newTab(t, browser)
	second := first.another()
	first.open(s.url + "/first?tab=1")
	second.open(s.url + "/second?tab=2")
	second.signIn("alice@example.com")
	second.at(s.url + "/second?tab=2")
	first.signIn("alice@example.com")
	first.at(s.url + "/first?tab=1")
	second.reload()
	second.at(s.url + "/second?tab=2")
	second.sees("Hello, Alice Archer")
}

func testFiveTabs(t *testing.T, browser context.Context, s *scene) {
	tabs := []*tab{newTab(t, browser)}
	for range 4 {
		tabs = append(tabs, tabs[0].another())
	}
	target := func(i int) string { return s.url + "/tab?" + strconv.Itoa(i) }
	for i, b := range tabs {
		b.open(target(i))
		b.sees("Choose an account")
	}
	for _, i := range []int{3, 0, 4, 1, 2} {
		tabs[i].signIn("bob@example.com")
		tabs[i].at(target(i))
	}
	for i, b := range tabs { // the session that the last one got serves all
		b.reload()
		b.at(target(i))
		b.sees("Hello, Bob Baker")
	}
}

func testDenied(t *testing.T, browser context.Context, s *scene) {
	b := newTab(t, browser)
	b.open(s.url + deepLink)
	b.signIn("mallory@evil.test")
	b.sees("This account has no access")
	b.sees("mallory@evil.test")
	b.sees("Ask alice@example.com")
	b.lacks("example.com only") // strangers are not told which domains get in
	b.click("Use another account")
	b.signIn("alice@example.com")
	b.at(s.url + deepLink)
	b.sees("Hello, Alice Archer")
}

func testCancelled(t *testing.T, browser context.Context, s *scene) {
	b := newTab(t, browser)
	b.open(s.url + deepLink)
	b.click("Cancel")
	b.sees("You were not signed in")
	b.click("Try again")
	b.signIn("bob@example.com")
	b.at(s.url + deepLink)
}

func testSignOut(t *testing.T, browser context.Context, s *scene) {
	b := newTab(t, browser)
	b.open(s.url + "/before")
	b.signIn("alice@example.com")
	b.at(s.url + "/before")
	b.click("Sign out") // the app's link
	b.sees("Sign out?")
	b.sees("alice@example.com")
	b.click("Sign out")
	b.at(s.url + "/_auth/signed-out")
	b.sees("You are signed out")

	// The Back button shows nothing of the app that was behind the wall.
	b.back()
	b.sees("You are not signed in")
	b.back()
	b.lacks("Hello, Alice Archer")
	b.sees("Choose an account")
}

// testBack: what stays behind in the history of a login that worked is harmless.
func testBack(t *testing.T, browser context.Context, s *scene) {
	b := newTab(t, browser)
	b.open(s.url + "/target")
	b.signIn("alice@example.com")
	b.at(s.url + "/target")
	b.back()
	b.signIn("bob@example.com") // the callback of an attempt that has served
	b.at(s.url + "/")
	b.sees("Hello, Alice Archer")

	// The same without a session says what happened, and the way on works.
	other := newTab(t, browser)
	other.open(s.url + "/target")
	other.signIn("alice@example.com")
	other.at(s.url + "/target")
	other.signOut(s)
	other.back()
	other.back()
	other.back()
	other.signIn("alice@example.com")
	other.sees("used")
	other.click("Try again")
	other.signIn("alice@example.com")
	other.sees("Hello, Alice Archer")
}

func testAccount(t *testing.T, browser context.Context, s *scene) {
	b := newTab(t, browser)
	b.open(s.url + "/_auth/")
	b.signIn("alice@example.com")
	b.at(s.url + "/_auth/")
	b.sees("Your account")
	b.sees("Alice Archer")
	b.sees("Users") // as she is an admin
	b.click("To the app")
	b.at(s.url + "/")
	b.back()
	b.click("Sign out")
	b.at(s.url + "/_auth/signed-out")
	b.click("Sign in again")
	b.signIn("bob@example.com")
	b.at(s.url + "/")
	b.sees("Hello, Bob Baker")
}

func testAdminsOnly(t *testing.T, browser context.Context, s *scene) {
	b := newTab(t, browser)
	b.open(s.url + "/public/")
	b.sees("Hello, stranger")
	b.open(s.url + "/admin/")
	b.signIn("bob@example.com")
	b.sees("For administrators only")
	b.click("Use another account")
	b.signIn("alice@example.com")
	b.at(s.url + "/admin/")
	b.sees("Hello, Alice Archer")
}

func testBlocked(t *testing.T, browser context.Context, s *scene) {
	const who = "erin@example.com" // nobody else's in these tests
	b := newTab(t, browser)
	b.open(s.url + "/")
	b.signInAs(who)
	b.at(s.url + "/")
	s.run("users", "block", who)
	b.reloadUntil("This account is blocked")
	b.sees(who)
	s.run("users", "unblock", who)
	b.reloadUntil("Choose an account") // the session stays ended
}

func testWrongHost(t *testing.T, browser context.Context, s *scene) {
	b := newTab(t, browser)
	b.open(strings.Replace(s.url, "localhost", "127.0.0.1", 1) + "/x?y=z")
	b.sees("This is not the right address")
	b.until("the page has its style", `getComputedStyle(document.querySelector("main")).borderTopWidth == "1px"`)
	b.click("Go to " + strings.TrimPrefix(s.url, "http://"))
	b.signIn("alice@example.com")
	b.at(s.url + "/x?y=z")
}

func testAppAway(t *testing.T, browser context.Context, _ *scene) {
	var mu sync.Mutex
	away := true
	s := newScene(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			panic(http.ErrAbortHandler) // closes the connection without an answer
		}
		fmt.Fprint(w, "<p>The app is back.")
	}), "")
	b := newTab(t, browser)
	b.open(s.url + deepLink)
	b.signIn("alice@example.com")
	b.sees("The login works, but the app")
	mu.Lock()
	away = false
	mu.Unlock()
	b.click("Try again")
	b.at(s.url + deepLink)
	b.sees("The app is back.")
}

func testProviderAway(t *testing.T, browser context.Context, _ *scene) {
	s := newSceneWith(t, http.NotFoundHandler(), "", devidp.Fault{Respond: func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return true
	}})
	b := newTab(t, browser)
	b.open(s.url + deepLink)
	b.sees("Google cannot be reached")
	s.idp.Misbehave(devidp.Fault{})
	b.reloadUntil("Choose an account")
	b.signIn("alice@example.com")
	b.at(s.url + deepLink)
}

// testSessionEnds: a page that asks for news finds out that its session has ended,
// and can say so in its own words.
func testSessionEnds(t *testing.T, browser context.Context, _ *scene) {
	s := newScene(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/news" {
			fmt.Fprint(w, "news")
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<title>polls</title><p id="out">no answer yet</p><script>
			let answers = 0;
			async function poll() {
				const r = await fetch("/news");
				if (r.headers.get("X-Loginwall") == "sign_in_required") {
					const j = await r.json();
					const a = document.createElement("a");
					a.href = new URL(j.login_url).origin + "/_auth/login?to=" + encodeURIComponent(location.pathname + location.search);
					a.textContent = r.status + " " + j.error + " after news";
					out.replaceChildren(a);
					return;
				}
				out.textContent = "answers: " + ++answers;
				setTimeout(poll, 50);
			}
			poll();
		</script>`)
	}), "")
	b := newTab(t, browser)
	b.open(s.url + "/page?x=1")
	b.signIn("alice@example.com")
	b.until("answers", "answers > 2")
	s.run("sessions", "end", "--user", "alice@example.com")
	b.click("401 sign_in_required after news")
	b.signIn("alice@example.com")
	b.at(s.url + "/page?x=1")
}

// testSingleSignOn: where the provider signs somebody in without a question, as
// Google does who knows of one account only, a sign-out is one all the same.
func testSingleSignOn(t *testing.T, browser context.Context, _ *scene) {
	s := newSceneWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "Hello, ", r.Header.Get("X-Forwarded-Email"))
	}), "", devidp.Fault{Respond: func(_ http.ResponseWriter, r *http.Request, endpoint string) bool {
		if q := r.URL.Query(); endpoint == "authorize" && r.Method == http.MethodGet && q.Get("prompt") == "" {
			q.Set("login_hint", "alice@example.com")
			r.URL.RawQuery = q.Encode()
		}
		return false
	}})
	b := newTab(t, browser)
	b.open(s.url + deepLink) // and no click
	b.at(s.url + deepLink)
	b.sees("Hello, alice@example.com")
	b.signOut(s)
	b.reload()
	b.sees("You are signed out")
	b.click("Sign in again")
	b.sees("Choose an account")
}

// A scene is a wall as a process of its own, with the demo's configuration, the
// provider and the app around it.
type scene struct {
	t         *testing.T
	url, file string
	idp       *devidp.Provider
}

func newScene(t *testing.T, app http.Handler, config string) *scene {
	t.Helper()
	return newSceneWith(t, app, config, devidp.Fault{})
}

// newSceneWith returns when the wall can begin logins, or, with a provider that
// misbehaves from the start, when it serves.
func newSceneWith(t *testing.T, app http.Handler, config string, fault devidp.Fault) *scene {
	t.Helper()
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, url: strings.Replace("http://"+address, "127.0.0.1", "localhost", 1), file: filepath.Join(t.TempDir(), "loginwall.yaml")}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.idp.ServeHTTP(w, r) }))
	t.Cleanup(provider.Close)
	if s.idp, err = devidp.New(devidp.Config{
		Issuer:  provider.URL,
		Clients: map[string]devidp.Client{demoClient: {Secret: demoSecret, RedirectURIs: []string{s.url + "/_auth/callback"}}},
	}); err != nil {
		t.Fatal(err)
	}
	s.idp.Misbehave(fault)
	upstream := httptest.NewServer(app)
	t.Cleanup(upstream.Close)
	text := fmt.Sprintf(demoConfig, s.url, upstream.URL, demoClient, demoSecret, provider.URL, address) + config
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	return s
}

func (s *scene) start() {
	s.t.Helper()
	var log bytes.Buffer
	wall := exec.Command("loginwall", "serve", "--config", s.file)
	wall.Stderr = &log
	if err := wall.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = wall.Process.Signal(syscall.SIGTERM)
		if err := wall.Wait(); err != nil {
			s.t.Errorf("the wall ended with %v", err)
		}
		if s.t.Failed() {
			s.t.Logf("the wall's log:\n%s", log.String())
		}
	})
	client := &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	poll(s.t, "the wall does not serve", func() bool {
		response, err := client.Get(s.url + "/_auth/login")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusFound || s.idp.Requests("discovery") > 0 && response.StatusCode == http.StatusServiceUnavailable
	})
}

// run runs another process beside the wall.
func (s *scene) run(args ...string) {
	s.t.Helper()
	if out, err := exec.Command("loginwall", append(args, "--config", s.file)...).CombinedOutput(); err != nil {
		s.t.Fatalf("loginwall %s: %v\n%s", args, err, out)
	}
}

// newBrowser starts the one browser that all tests share.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		hygiene.Missing(t, "chromium", "apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("the browser ended with %v", err)
		}
		cancel()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	return ctx
}

// A tab is one of somebody's browser.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// newTab opens the browser of somebody who was never here.
func newTab(t *testing.T, browser context.Context) *tab {
	return openTab(t, browser, chromedp.WithNewBrowserContext())
}

// another opens one more tab of the same browser.
func (b *tab) another() *tab { return openTab(b.t, b.ctx) }

func openTab(t *testing.T, parent context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	t.Cleanup(cancel)
	b := &tab{t, ctx}
	b.do("open a tab")
	return b
}

func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if len(steps) == 0 {
		ctx = b.ctx // the tab lives as long as the context that opened it
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v\n%s", what, err, b.describe())
	}
}

// tell sends the browser a command of its DevTools protocol that chromedp has no
// step for.
func tell(command string, params map[string]any) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		return chromedp.Void{}, target.Call(ctx, command, params, &struct{}{})
	}
}

func (b *tab) open(url string) {
	b.t.Helper()
	b.do("open "+url, chromedp.Navigate(url))
}

func (b *tab) reload() {
	b.t.Helper()
	b.do("reload", chromedp.Reload())
}

// back is the Back button. It does not wait for a page to load, as chromedp's own
// does: what the browser has kept alive does not load.
func (b *tab) back() {
	b.t.Helper()
	to, asked := int64(-1), false
	poll(b.t, "cannot go back", func() bool {
		history, err := chromedp.Run(b.ctx, chromedp.NavigationEntries())
		if err != nil {
			return false // on the way from one page to the next
		}
		if to < 0 {
			to = history.CurrentIndex - 1
		}
		if !asked {
			asked = chromedp.Do(b.ctx, tell("Page.navigateToHistoryEntry", map[string]any{"entryId": history.Entries[to].ID})) == nil
		}
		return history.CurrentIndex == to
	})
}

// click presses a link or a button by what is written on it.
func (b *tab) click(text string) {
	b.t.Helper()
	b.press(text, fmt.Sprintf(`[...document.querySelectorAll("a, button")].find(e => e.innerText.trim() == %q)`, text))
}

// press moves the mouse to where an element is and clicks. It asks the page, and
// not chromedp's copy of it: of a page that the Back button brought back to life
// there is none. A page that is not drawn yet drops what a mouse does, and one that is
// on the move would give the click to another element: so the mouse must be seen to
// hover first.
func (b *tab) press(what, element string) {
	b.t.Helper()
	var at []float64
	poll(b.t, "nothing to press: "+what, func() (found bool) {
		var err error
		at, err = chromedp.Run(b.ctx, chromedp.Evaluate[[]float64](`(() => {
			const e = `+element+`;
			if (document.readyState != "complete" || !e) return [];
			e.scrollIntoView({block: "center", behavior: "instant"});
			const r = e.getBoundingClientRect();
			const x = r.x + r.width / 2, y = r.y + r.height / 2;
			return e.contains(document.elementFromPoint(x, y)) ? [x, y] : [];
		})()`))
		if err != nil || len(at) != 2 {
			return false
		}
		b.do("move to "+what, chromedp.MouseEvent(chromedp.MouseMoved, at[0], at[1]))
		hovers, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`!!`+element+`?.matches(":hover")`))
		return err == nil && hovers
	})
	b.do("press "+what, chromedp.MouseClickXY(at[0], at[1]))
}

// fill types into an empty field, and sends its form if the text ends in a return.
func (b *tab) fill(field, text string) {
	b.t.Helper()
	element := fmt.Sprintf(`document.querySelector(%q)`, field)
	b.press(field, element)
	b.until("the cursor in "+field, `document.activeElement == `+element)
	text, sends := strings.CutSuffix(text, "\r")
	b.do("type "+text, chromedp.KeyEvent(text))
	b.until(text+" in "+field, fmt.Sprintf(`%s.value == %q`, element, text))
	if sends {
		b.do("press return", chromedp.KeyEvent("\r"))
	}
}

// signIn chooses an account at the provider.
func (b *tab) signIn(email string) {
	b.t.Helper()
	b.sees("Choose an account")
	b.press(email, `document.querySelector('button[value="`+email+`"]')`)
}

// signInAs is signIn for somebody whom the chooser does not offer.
func (b *tab) signInAs(email string) {
	b.t.Helper()
	b.sees("Choose an account")
	b.fill("#email", email+"\r")
}

func (b *tab) signOut(s *scene) {
	b.t.Helper()
	b.open(s.url + "/_auth/logout")
	b.click("Sign out")
	b.at(s.url + "/_auth/signed-out")
}

// at waits until the tab has arrived.
func (b *tab) at(url string) {
	b.t.Helper()
	b.until("at "+url, fmt.Sprintf(`document.readyState == "complete" && location.href == %q`, url))
}

// sees waits until a text can be read.
func (b *tab) sees(text string) {
	b.t.Helper()
	b.until("see "+text, fmt.Sprintf(`document.body.innerText.replace(/\s+/g, " ").includes(%q)`, text))
}

func (b *tab) lacks(text string) {
	b.t.Helper()
	b.until("not see "+text, fmt.Sprintf(`document.readyState == "complete" && !document.body.innerText.includes(%q)`, text))
}

func (b *tab) reloadUntil(text string) {
	b.t.Helper()
	poll(b.t, "no reload shows "+text, func() bool {
		b.reload()
		found, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](fmt.Sprintf(`document.body.innerText.includes(%q)`, text)))
		return err == nil && found
	})
}

// until waits for an expression to become true. On the way from one page to the
// next there may be nothing to ask.
func (b *tab) until(what, expression string) {
	b.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		done, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		if err == nil && done {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("not so within %v: %s (%v)\n%s", patience, what, err, b.describe())
		}
	}
}

// describe is what somebody would tell who looked at the tab.
func (b *tab) describe() string {
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.title + "\n" + document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}
