// For apps: when the session has ended, people sign in again in a small window, and
// the page goes on where it was. What it holds never leaves it. To be loaded before
// the app's own scripts. These lines and the indents are not served: 1 KB it shall be.
{
	let d = document, ask = fetch, asked
	// One question for all that wait; the answer is empty where somebody said no.
	const signIn = () => asked ||= new Promise(done => {
		const box = d.createElement("dialog"), go = d.createElement("button"), news = new BroadcastChannel("loginwall")
		box.append("Your session has ended. ", go)
		go.append("Sign in")
		go.onclick = () => open("/_auth/signed-in", "", "width=480,height=640")
		news.onmessage = () => box.close(1)
		box.onclose = () => {
			news.close()
			box.remove()
			// Who said no is not asked by every poll.
			setTimeout(() => asked = 0, box.returnValue ? 0 : 6e4)
			done(box.returnValue)
		}
		d.body.append(box)
		box.showModal()
	})
	fetch = async (what, how) => {
		const copy = what.clone?.() ?? what, r = await ask(what, how)
		return r.status == 401 && r.headers.has("X-Loginwall") && await signIn() ? ask(copy, how) : r
	}
	// A form that is about to be posted asks first, and waits for it: an answer that
	// came later would come when the form is on its way.
	addEventListener("submit", e => {
		const f = e.target, me = new XMLHttpRequest
		if (e.defaultPrevented || f.method != "post") return
		me.open("GET", "/_auth/me", 0)
		me.send()
		if (me.status != 401) return
		e.preventDefault()
		asked = 0
		signIn().then(yes => yes && f.requestSubmit(e.submitter))
	})
}
