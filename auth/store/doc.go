// Package store is the wall's durable memory: the directory of users, their
// sessions and the audit trail, and the feed of revocations that every process
// follows. It holds nothing that could open a session: the sealed cookie does,
// and the store never sees one.
//
// # Why it is so
//
// A request is served without the store. What must survive a crash goes
// through one door (write), one transaction each, on disk before the caller is
// told: a sign-in before its cookie is sent, a block before the page says so.
//
// The feed is numbered by a counter row that is raised in the same transaction
// as the feed's own rows. Whoever raises it holds it until the commit, so
// numbers become visible in the order in which they were given, and a reader
// that asks for everything behind the last number it saw misses nothing.
//
// The store's clock stamps both a session's creation and the cut-off of "end
// all", behind the same lock. A cut-off is never below the creation of a
// recorded session, and a session's creation is always above the last cut-off,
// whatever the clock does in between.
//
// # Engines
//
// One body of plain SQL with $1 placeholders. What differs between databases is
// a value of type engine, made in a file of its own; storetest is the suite that
// each must pass. The embedded engine is SQLite: one file in WAL mode, mode
// 0600, which several processes of one host may share and an operator may open
// with sqlite3, under the same account. Copy it with VACUUM INTO or sqlite3's
// .backup, never with cp. To put a copy back, stop the wall and remove the files
// ending in -wal and -shm. What was ended or blocked after the copy was made is
// forgotten then, and a new session key is what ends all sessions at once.
//
// The shared engine is PostgreSQL, or what speaks its language. There,
// transactions of many walls run at once, each statement sees what was committed
// before it, and whoever must not be overtaken locks rows of counters first (type
// turn): sign-ins pass side by side through sixteen doors, one at a time for each
// address, and a block closes all of them. Nothing is kept on a connection, so
// PgBouncer may give each transaction another one. A wall that falls silent with
// locks in its hands loses them after ten seconds. Sign-ins are not gathered into
// one transaction, as they are with SQLite: a group would have to close all doors,
// and walls would take turns, each for a whole group. Measured with a thousand at
// once, the last is written about as soon from one wall and after twice the time
// from four; from four, eight at a time, a third get in. (It would save a third of
// the wall's processor time for them.) Whether a commit that got no
// answer took place nobody knows; it is reported as failed.
//
// # What is refused
//
// Open refuses and leaves untouched: a file of something else, a newer schema,
// a file that is cut off or contradicts itself, an empty file, a symbolic link (whoever may
// write its folder could aim it elsewhere), a network file system (WAL needs
// shared memory), a read-only file or folder. It never makes a new store where
// an old one was expected. So that a start takes no longer with 100,000 users
// than with ten, it looks at the header, the length, the schema and the blocks,
// and at every page only of small files; Verify looks at every page of any.
// Files that others can read are closed to them (mode 0600), with a warning.
//
// A file that is replaced or removed beneath a running wall is noticed: reads
// and writes fail until a restart, rather than vanish with the old file.
//
// # Threats
//
// Whoever can write the file can let himself in, hence the mode and the folder;
// what strangers cause (denied sign-ins) is capped by Prune; texts that others
// chose are bounded and cleaned before they are kept.
package store
