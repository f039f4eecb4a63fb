// For apps: when the session has ended, people sign in again in a small window, and
// the page goes on where it was. What it holds never leaves it. To be loaded before
// the app's own scripts. These lines, the indents and the spaces around signs are not
// served: 1 KB it shall be.
{
	let d = document, ask = fetch, own = "/_auth/me", asked,
	// Who it is: what waits was meant by one person, and is not sent in another's name.
	// Who cannot be told is like nobody else: an error has no equal.
	who = () => ask(own).then(r => r.status > 401 ? 0() : r.json()).then(i => i.subject).catch(e => e), was = who(),
	// One question for all that wait; the answer is empty where somebody said no.
	again = () => asked ||= new Promise(done => {
		let ui = d.createElement("dialog"), go = d.createElement("button"), n = new BroadcastChannel("loginwall")
		ui.append("Session ended. ", go)
		go.append("Sign in")
		go.onclick = () => open("/_auth/signed-in", "", "width=480")
		n.onmessage = async () => [, await who()].includes(await was) ? ui.close(1) : ui.textContent = "Other user. Reload."
		ui.onclose = () => {
			let yes = ui.returnValue
			ui.remove(n.close())
			// Who said no is not asked by every poll.
			setTimeout(() => asked = 0, yes ? 0 : 6e4)
			done(yes)
		}
		d.body.append(ui)
		ui.showModal()
	})
	fetch = async (q, o) => {
		let c = q.clone?.() ?? q, r = await ask(q, o)
		return r.status == 401 && r.headers.has("X-Loginwall") && await again() ? ask(c, o) : r
	}
	// A form that is about to be posted asks first, and waits for it: an answer that
	// came later would come when the form is on its way.
	addEventListener("submit", e => {
		let f = e.target, x = new XMLHttpRequest
		if (e.defaultPrevented || f.method != "post") return
		x.open("GET", own, 0)
		x.send()
		if (x.status != 401) return
		asked = e.preventDefault()
		again().then(yes => yes && f.requestSubmit(e.submitter))
	})
}
