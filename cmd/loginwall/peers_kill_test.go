package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/directory"
)

// TestKill ends the wall and the command beside it with kill -9, at a random moment
// of each round, while eight browsers sign in and out and an operator blocks people.
// Whatever was acknowledged before holds after the restart, and the store opens
// without a complaint (200).
func TestKill(t *testing.T) {
	t.Parallel()
	sqlite := peerProgram(t, "sqlite3", "sqlite3")
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	wall := newStanding(t)
	google := googleFor(t, wall)
	wall.configure("upstream: " + newEcho(t) + "\n" + google.config + "log: {level: warn, access: false}\n")

	book := &ledger{people: map[string]*person{}}
	for round := range rounds {
		wall.start()
		book.ask(t, wall)
		if round%4 == 0 { // what was lost stays lost
			book.read(t, wall)
		}
		out, err := exec.Command(sqlite, filepath.Join(wall.dir, "loginwall.db"), "PRAGMA integrity_check").CombinedOutput()
		if text := strings.TrimSpace(string(out)); err != nil || text != "ok" {
			t.Errorf("round %d: integrity_check: %v %s", round, err, text)
		}

		ctx, cancel := context.WithCancel(t.Context())
		var load, operator sync.WaitGroup
		for browser := range 8 {
			load.Go(func() { book.signInAndOut(ctx, t, wall, google, fmt.Sprintf("r%d-b%d", round, browser)) })
		}
		operator.Go(func() { book.block(ctx, wall) })
		if before := book.blocks.Load(); round%10 == 9 { // just behind an acknowledgment
			poll(t, "nobody is blocked", func() bool { return book.blocks.Load() > before })
		} else {
			time.Sleep(time.Duration(random.Int64N(int64(400 * time.Millisecond)))) // the moment is the test
		}
		if !wall.running() {
			t.Errorf("round %d: the wall ended by itself: %v", round, wall.err)
		}
		cancel()
		wall.kill()
		load.Wait()
		operator.Wait()
		if t.Failed() {
			return
		}
	}
	wall.start()
	book.ask(t, wall)
	book.read(t, wall)
	wall.stop()
	book.count(t)
}

// A ledger holds what was acknowledged.
type ledger struct {
	mu     sync.Mutex
	people map[string]*person // by address; each signs in once
	blocks atomic.Int64       // that were acknowledged
}

type person struct {
	cookie string
	// at most one of these is tried with a person; done says that it was acknowledged
	signOut, block, done bool
	looked               bool // whether the cookie was tried after that
}

func (l *ledger) note(email string, edit func(*person)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.people[email] == nil {
		l.people[email] = &person{}
	}
	edit(l.people[email])
}

// signInAndOut is a browser that new people use, one after the other.
func (l *ledger) signInAndOut(ctx context.Context, t *testing.T, wall *standing, google *google, name string) {
	const pause = 5 * time.Millisecond
	for n := 0; ctx.Err() == nil; n++ {
		email := fmt.Sprintf("%s-%d@example.com", name, n)
		v := newVisitor(t)
		a, err := google.signIn(v, wall, email)
		if a == nil || a.StatusCode != http.StatusSeeOther || v.session(wall.url) == "" {
			if err == nil {
				t.Errorf("%s: %s\n%.500s", email, a.Status, a.body)
			}
			time.Sleep(pause) // it was not acknowledged; the next one tries again
			continue
		}
		cookie := v.session(wall.url)
		l.note(email, func(p *person) { p.cookie, p.signOut = cookie, n%2 == 0 })
		if n%2 == 0 {
			if a, err := v.try(wall.url+"/_auth/logout", url.Values{}); a != nil && a.StatusCode == http.StatusSeeOther {
				l.note(email, func(p *person) { p.done = true })
			} else if err == nil {
				t.Errorf("%s: sign out: %s", email, a.Status)
			}
		}
	}
}

// block is an operator who blocks people who are signed in, one after the other.
func (l *ledger) block(ctx context.Context, wall *standing) {
	for ctx.Err() == nil {
		var victim string
		l.mu.Lock()
		for email, p := range l.people {
			if !p.signOut && !p.block {
				victim, p.block, p.looked = email, true, false
				break
			}
		}
		l.mu.Unlock()
		if victim == "" {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if exec.CommandContext(ctx, "loginwall", "users", "block", "--config", wall.file, victim).Run() == nil {
			l.note(victim, func(p *person) { p.done = true })
			l.blocks.Add(1)
		}
	}
}

// read looks at the store as an operator does.
func (l *ledger) read(t *testing.T, wall *standing) {
	t.Helper()
	var sessions []directory.SessionRow
	var users []directory.UserRow
	for what, into := range map[string]any{"sessions": &sessions, "users": &users} {
		out, err := wall.run(what, "list", "--json")
		check(t, err)
		check(t, json.Unmarshal(out, into))
	}
	open, ended, blocked := map[string]int{}, map[string]int{}, map[string]bool{}
	for _, s := range sessions {
		if s.Ended {
			ended[s.Email]++
		} else {
			open[s.Email]++
		}
	}
	for _, u := range users {
		blocked[u.Email] = u.Blocked
	}
	for email, p := range l.people {
		tried := p.signOut || p.block
		switch {
		case open[email]+ended[email] != 1:
			t.Errorf("%s was signed in and has %d sessions", email, open[email]+ended[email])
		case p.done && ended[email] == 0:
			t.Errorf("%s: the session was ended and is open (%+v)", email, p)
		case p.done && p.block && !blocked[email]:
			t.Errorf("%s was blocked and is not", email)
		case !tried && ended[email] != 0:
			t.Errorf("%s: nobody ended the session", email)
		}
	}
}

// ask looks at the wall as those people do for whom something has changed before
// the last restart.
func (l *ledger) ask(t *testing.T, wall *standing) {
	t.Helper()
	for email, p := range l.people {
		if p.looked || (p.signOut || p.block) && !p.done {
			continue
		}
		p.looked = true
		want := http.StatusOK
		switch {
		case p.block:
			want = http.StatusForbidden
		case p.signOut:
			want = http.StatusUnauthorized
		}
		if status := statusWith(t, wall.url+"/", p.cookie); status != want {
			t.Errorf("%s: the cookie is answered %d, want %d (%+v)", email, status, want, p)
		}
	}
}

// count makes sure that there was something to lose.
func (l *ledger) count(t *testing.T) {
	t.Helper()
	var signIns, signOuts, blocks, cut int
	for _, p := range l.people {
		signIns++
		switch {
		case (p.signOut || p.block) && !p.done:
			cut++
		case p.signOut:
			signOuts++
		case p.block:
			blocks++
		}
	}
	t.Logf("acknowledged: %d sign-ins, %d sign-outs, %d blocks; cut off: %d", signIns, signOuts, blocks, cut)
	if signIns < 10 || signOuts == 0 || blocks == 0 && !testing.Short() {
		t.Error("too little was acknowledged to show anything")
	}
}
