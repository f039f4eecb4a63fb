package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
)

// resumingPage is a page of an app that includes session.js, polls, and has a form.
const resumingPage = `<!doctype html><title>Notes</title><script src="/_auth/static/session.js"></script>
<p id="out">no answer yet</p>
<form method="post" action="/save"><input name="note" id="note"><button name="how" value="kept">Save</button></form>
<button id="put">Put</button>
<script>
	let asked = 0;
	async function poll() {
		const r = await fetch("/news");
		out.textContent = r.status + " after " + ++asked;
		setTimeout(poll, 100);
	}
	poll();
	put.onclick = async () => {
		const r = await fetch(new Request("/put", {method: "PUT", body: note.value}));
		put.textContent = r.status + " " + await r.text();
	};
</script>`

func notesApp(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'self'; script-src 'self' 'unsafe-inline'")
	switch r.URL.Path {
	case "/news":
		fmt.Fprint(w, "news")
	case "/put":
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s by %s", body, r.Header.Get("X-Forwarded-User"))
	case "/save":
		fmt.Fprintf(w, "<title>Saved</title><p>Saved %s, %s", r.PostFormValue("note"), r.PostFormValue("how"))
	default:
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, resumingPage)
	}
}

// testSessionResumes: when the session ends under a page that has session.js, a
// click and a sign-in in a small window later everything goes on: what was typed and
// the fragment are still there, and what was refused has been sent again.
func testSessionResumes(t *testing.T, browser context.Context, _ *scene) {
	s := newScene(t, http.HandlerFunc(notesApp), "")
	b := newTab(t, browser)
	b.open(s.url + "/notes?x=1#part-2")
	b.signIn("alice@example.com")
	b.sees("200 after 3")
	b.open(s.url + "/notes?x=1#part-2") // the provider has dropped the fragment
	b.sees("200 after 3")
	b.fill("#note", "half a thought")
	kept := func() {
		t.Helper()
		b.at(s.url + "/notes?x=1#part-2")
		b.until("the form keeps what was typed", `note.value == "half a thought"`)
		b.until("no question is left", `!document.querySelector("dialog")`)
	}
	goesOn := `(document.body.dataset.n ??= parseInt(out.textContent.split(" ")[2]), parseInt(out.textContent.split(" ")[2]) > +document.body.dataset.n + 2)`

	end := func() {
		t.Helper()
		s.run("sessions", "end", "--user", "alice@example.com")
		b.until("the session has ended", `(() => { const x = new XMLHttpRequest; x.open("GET", "/_auth/me", false); x.send(); return x.status == 401 })()`)
	}

	// A poll finds out.
	s.run("sessions", "end", "--user", "alice@example.com")
	b.sees("Session ended.")
	b.signInAgain()
	b.until("the poll goes on", goesOn)
	b.until("no poll saw the end", `out.textContent.startsWith("200")`)
	kept()

	// A request with a body is sent again, whole.
	b.do("poll no more", chromedp.Evaluate[chromedp.Void](`poll = () => {}`))
	end()
	b.click("Put")
	b.sees("Session ended.")
	b.signInAgain()
	b.sees("200 half a thought by alice@example.com")
	kept()

	// A form that is posted asks first.
	end()
	b.click("Save")
	b.sees("Session ended.")
	b.until("the page waits", `note.value == "half a thought" && location.hash == "#part-2"`)
	b.signInAgain()
	b.sees("Saved half a thought, kept")

	// Somebody else's sign-in sends nothing in his name.
	b.open(s.url + "/notes")
	b.do("poll no more", chromedp.Evaluate[chromedp.Void](`poll = () => {}`))
	b.fill("#note", "for alice")
	end()
	b.click("Put")
	b.sees("Session ended.")
	b.signInAgainAs("bob@example.com")
	b.sees("Other user. Reload.")
	b.until("nothing was sent", `put.textContent == "Put"`)

	// Who is signed in is asked nothing.
	b.open(s.url + "/notes")
	b.fill("#note", "another")
	b.click("Save")
	b.sees("Saved another, kept")
}

// signInAgain presses the button of session.js's question and signs in within the
// window that opens, which closes by itself.
func (b *tab) signInAgain() {
	b.t.Helper()
	b.signInAgainAs("alice@example.com")
}

func (b *tab) signInAgainAs(email string) {
	b.t.Helper()
	b.click("Sign in")
	var w *tab
	// window finds the one that this tab has opened. The browser has more: each test has
	// its tabs there.
	window := func() (found bool) {
		infos, err := chromedp.Targets(b.ctx)
		check(b.t, err)
		for _, info := range infos {
			if info.Type != "page" || info.URL == "" || info.OpenerID != chromedp.FromContext(b.ctx).Target.TargetID {
				continue
			}
			if w == nil {
				w = openTab(b.t, b.ctx, chromedp.WithTargetID(info.TargetID))
			}
			return true
		}
		return false
	}
	poll(b.t, "no window opens", window)
	w.signIn(email)
	poll(b.t, "the window does not close", func() bool { return !window() })
}
