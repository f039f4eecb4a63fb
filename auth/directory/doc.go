// Package directory is what the wall knows about its people, for those who look
// after it: who signed in, from where, what is open, and the means to end it; and
// for each person the page about oneself. It owns /_auth/ itself and everything
// below /_auth/users.
//
// # Why it is so
//
// One handler per page serves people and programs alike: it makes a value, and
// auth/page shows the value as a page or as JSON. So a script can do what a person
// can, and neither can do more.
//
// # Threats
//
// The app behind the wall shares our origin, so a script in it can send what an
// admin's browser may send. Three things stand in its way: every change is a POST
// whose Origin is ours, every change wants a sign-in of the last quarter of an
// hour, and every change leaves an event in the transaction that makes it. A
// script that waits for such a moment is still possible, unless the directory has an
// origin of its own; SECURITY.md says so.
//
// What people chose themselves (names, addresses, browsers) is shown as text, in
// isolation; a browser's name is translated into our own few words. No page loads a
// picture from anywhere else: whoever hosts it would learn who looks at whom. Where the
// configuration wants pictures, auth/picture fetches them, and they are served here.
package directory
