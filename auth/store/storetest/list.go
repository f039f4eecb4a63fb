package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

func testUserLists(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	const n = 23
	for i := range n {
		signIn(t, s, person(i))
	}
	// Three were seen later, and two at the same moment.
	later := time.Now().Add(time.Hour)
	for _, i := range []int{7, 3, 3} {
		must(t, s.Seen(t.Context(), []auth.Seen{{User: userID(i), At: later.Add(time.Duration(i) * time.Minute)}}))
	}
	must(t, s.Seen(t.Context(), []auth.Seen{{User: userID(5), At: later.Add(3 * time.Minute)}}))
	for _, i := range []int{2, 11} {
		_, err := s.Block(t.Context(), store.Who{Email: person(i).Email}, admin, "why")
		must(t, err)
	}
	_, err := s.Block(t.Context(), store.Who{Email: "unseen@example.com"}, admin, "")
	must(t, err)

	for _, limit := range []int{1, 2, 7, n, 0, 5000} {
		var got []auth.User
		for cursor := store.Cursor(""); ; {
			page, next, err := s.Users(t.Context(), store.UserQuery{After: cursor, Limit: limit})
			must(t, err)
			if limit > 0 && len(page) > limit {
				t.Fatalf("a page of %d holds %d", limit, len(page))
			}
			got = append(got, page...)
			if cursor = next; cursor == "" {
				break
			}
		}
		if len(got) != n || got[0].Email != "user7@example.com" {
			t.Fatalf("limit %d: %d users, the first %v", limit, len(got), got[0].Email)
		}
		for i := 1; i < n; i++ {
			if a, b := got[i-1], got[i]; a.LastSeen.Before(b.LastSeen) || (a.LastSeen.Equal(b.LastSeen) && a.ID <= b.ID) {
				t.Errorf("limit %d: %s stands before %s", limit, a.Email, b.Email)
			}
		}
	}
	blocked, next, err := s.Users(t.Context(), store.UserQuery{BlockedOnly: true})
	if err != nil || len(blocked) != 2 || next != "" || blocked[0].Block == nil || blocked[0].Block.Reason != "why" {
		t.Errorf("blocked = %+v, %q, %v", blocked, next, err)
	}
	one, _, err := s.Users(t.Context(), store.UserQuery{Email: person(4).Email})
	if err != nil || len(one) != 1 || one[0].ID != userID(4) {
		t.Errorf("by address: %+v, %v", one, err)
	}
	// A walk misses nobody, not even who is seen again meanwhile.
	met := make(map[auth.UserID]int)
	for u, err := range s.AllUsers(t.Context(), store.UserQuery{}) {
		must(t, err)
		met[u.ID]++
		must(t, s.Seen(t.Context(), []auth.Seen{{User: u.ID, At: later.Add(24 * time.Hour)}}))
	}
	for i := range n {
		if met[userID(i)] != 1 {
			t.Errorf("the walk met user %d %d times", i, met[userID(i)])
		}
	}
	for range s.AllUsers(t.Context(), store.UserQuery{}) {
		break // must leave nothing open
	}
	// The latest holder answers for an address.
	signIn(t, s, as(person(1), person(4).Email))
	if u, err := s.User(t.Context(), store.Who{Email: person(4).Email}); err != nil || u.ID != userID(1) {
		t.Errorf("User = %s, %v", u.ID, err)
	}
}

func testUserSearch(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	for i, name := range []string{"Jürgen ÄHREN", "100% Bob O'Neil", "under_score", `back\slash`, "@other.test", "Zoë Zander (zz)"} {
		id := person(i)
		id.Name = name
		signIn(t, s, id)
	}
	other := person(6)
	other.Name, other.Email = "", "first.last+tag@other.test"
	signIn(t, s, other)
	for search, want := range map[string]int{
		"":                    7,
		"user1@":              1,
		"USER":                6,
		"jürgen":              1,
		"JÜRGEN ähren":        1,
		"ähren user":          1,
		"ähren nobody":        0,
		"jürgen bob":          0,
		"neil o'n":            1,
		"100%":                1,
		"%":                   0,
		"_":                   0,
		"score under_":        1,
		`back\`:               1,
		"zander zz":           1,
		"(zz":                 1,
		"last tag":            1,
		"first.last+":         1,
		"ast":                 0,
		"example":             6,
		"other.t":             1,
		"nobody":              0,
		"' OR ''='":           0,
		string(userID(2)):     1,
		"\xff\x00":            0,
		string(userID(2)[1:]): 0,
		strings.Repeat("x", 5000) + " " + strings.Repeat("y ", 5000): 0,
	} {
		got, _, err := s.Users(t.Context(), store.UserQuery{Search: search})
		if err != nil || len(got) != want {
			t.Errorf("search %.40q: %d users, %v, want %d", search, len(got), err, want)
		}
	}
	// A domain is the address's own and whole, whatever somebody calls himself.
	for domain, want := range map[string]int{"other.test": 1, "Example.com": 6, "example.co": 0, "%": 0, "test": 0} {
		got, _, err := s.Users(t.Context(), store.UserQuery{Domain: domain})
		if err != nil || len(got) != want {
			t.Errorf("domain %q: %d users, %v, want %d", domain, len(got), err, want)
		}
	}
	if got, _, err := s.Users(t.Context(), store.UserQuery{Search: string(userID(2)), Domain: "other.test"}); err != nil || len(got) != 0 {
		t.Errorf("an id of another domain: %v, %v", got, err)
	}
	// Who is renamed, or deleted, is found by the old name no more.
	renamed := person(0)
	renamed.Name = "Somebody Else"
	signIn(t, s, renamed)
	must(t, s.DeleteUser(t.Context(), userID(1), admin))
	for search, want := range map[string]int{"jürgen": 0, "else": 1, "bob": 0, "user0@": 1} {
		if got, _, err := s.Users(t.Context(), store.UserQuery{Search: search}); err != nil || len(got) != want {
			t.Errorf("then search %q: %d users, %v, want %d", search, len(got), err, want)
		}
	}
}

// testUserOrders looks at every order, filtered, by pages of every size: nobody
// twice, nobody missed.
func testUserOrders(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	var sessions []auth.Session
	for _, i := range []int{4, 0, 3, 5, 1, 2} {
		sessions = append(sessions, signIn(t, s, person(i)))
	}
	sessions = append(sessions, signIn(t, s, person(0)))
	must(t, s.EndSession(t.Context(), auth.Ending{Session: sessions[2].ID, By: "x", Reason: auth.EndByAdmin})) // of person 3
	names := func(q store.UserQuery) (got string) {
		for {
			page, next, err := s.Users(t.Context(), q)
			must(t, err)
			for _, u := range page {
				got += auth.LocalPart(u.Email)[len("user"):]
			}
			if q.After = next; next == "" {
				return got
			}
		}
	}
	all, _, err := s.Users(t.Context(), store.UserQuery{})
	must(t, err)
	slices.SortFunc(all, func(a, b auth.User) int {
		return cmp.Or(b.FirstSignIn.Compare(a.FirstSignIn), strings.Compare(string(b.ID), string(a.ID)))
	})
	newest := ""
	for _, u := range all {
		newest += auth.LocalPart(u.Email)[len("user"):]
	}
	for _, limit := range []int{1, 2, 4, 6, 0} {
		for _, c := range []struct {
			q    store.UserQuery
			want string
		}{
			{store.UserQuery{Order: store.ByEmail}, "012345"},
			{store.UserQuery{Order: store.ByFirstSignIn}, newest},
			{store.UserQuery{Order: store.ByEmail, OpenOnly: true}, "01245"},
			{store.UserQuery{Order: store.ByEmail, OpenOnly: true, Idle: time.Hour, Search: "user"}, "01245"},
			{store.UserQuery{Order: store.ByEmail, Domain: "example.com", Search: "us"}, "012345"},
			{store.UserQuery{Order: store.ByLastSeen, Domain: "elsewhere.test"}, ""},
		} {
			c.q.Limit = limit
			if got := names(c.q); got != c.want {
				t.Errorf("limit %d, %+v: %s, want %s", limit, c.q, got, c.want)
			}
		}
	}
	for i, want := range map[int]int64{0: 2, 3: 0, 5: 1} {
		if u, err := s.User(t.Context(), store.Who{User: userID(i)}); err != nil || u.OpenSessions != want {
			t.Errorf("user %d: %d open sessions, %v, want %d", i, u.OpenSessions, err, want)
		}
	}
}

func testSessionLists(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	var want []auth.SessionID
	for i := range 12 {
		want = append(want, signIn(t, s, person(i%3)).ID)
	}
	must(t, s.EndSession(t.Context(), auth.Ending{Session: want[0], By: "x", Reason: auth.EndByAdmin}))
	_, err := s.SignIn(t.Context(), auth.SignIn{Identity: person(2), Session: "short", MaxAge: time.Millisecond})
	must(t, err)
	collect := func(q store.SessionQuery) (ids []auth.SessionID) {
		for r, err := range s.AllSessions(t.Context(), q) {
			must(t, err)
			ids = append(ids, r.ID)
		}
		return ids
	}
	if got := collect(store.SessionQuery{}); len(got) != 13 {
		t.Errorf("%d sessions, want 13", len(got))
	}
	if got := collect(store.SessionQuery{User: userID(0)}); len(got) != 4 || !slices.Contains(got, want[0]) {
		t.Errorf("of a user: %v", got)
	}
	if got := collect(store.SessionQuery{User: userID(0), OpenOnly: true}); len(got) != 3 || slices.Contains(got, want[0]) {
		t.Errorf("open ones of a user: %v", got)
	}
	if got := collect(store.SessionQuery{Email: person(1).Email}); len(got) != 4 {
		t.Errorf("of an address: %v", got)
	}
	if got := collect(store.SessionQuery{Email: "nobody@example.com"}); len(got) != 0 {
		t.Errorf("of nobody: %v", got)
	}
	until(t, "the short session is not open any more", func() bool {
		return len(collect(store.SessionQuery{OpenOnly: true})) == 11
	})
	var got []auth.SessionID
	for cursor := store.Cursor(""); ; {
		page, next, err := s.Sessions(t.Context(), store.SessionQuery{After: cursor, Limit: 5})
		must(t, err)
		for i, r := range page {
			got = append(got, r.ID)
			if i > 0 && r.Created.After(page[i-1].Created) {
				t.Errorf("%v stands behind %v", r.Created, page[i-1].Created)
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	if all := collect(store.SessionQuery{}); !slices.Equal(got, all) {
		t.Errorf("pages = %v, walk = %v", got, all)
	}
}

func testEventLists(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	for i := range 9 {
		must(t, s.Record(t.Context(), auth.Event{
			Kind: auth.EventDenied, Email: fmt.Sprintf("e%d@example.com", i%2), User: "u", Address: "192.0.2.9", Detail: fmt.Sprint(i),
		}))
	}
	must(t, s.Record(t.Context(), auth.Event{Kind: auth.EventReloaded, Actor: "command line", Detail: "\x1b[31m\x00"}))
	if err := s.Record(t.Context(), auth.Event{}); err == nil {
		t.Error("recorded an event of no kind")
	}
	var details strings.Builder
	for cursor := store.Cursor(""); ; {
		page, next, err := s.Events(t.Context(), store.EventQuery{Email: "e0@example.com", Limit: 2, After: cursor})
		must(t, err)
		for _, e := range page {
			details.WriteString(e.Detail)
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	if got := details.String(); got != "86420" {
		t.Errorf("details = %q", got)
	}
	if got := events(t, s, store.EventQuery{User: "u"}); len(got) != 9 {
		t.Errorf("of a user: %v", got)
	}
	wantEvents(t, s, store.EventQuery{Kind: auth.EventReloaded}, auth.EventReloaded)
	list, _, err := s.Events(t.Context(), store.EventQuery{Limit: 1})
	must(t, err)
	if len(list) != 1 || list[0].Actor != "command line" || time.Since(list[0].At).Abs() > time.Minute || list[0].ID == 0 {
		t.Errorf("latest = %+v", list)
	}
}

func testBlockLists(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	signIn(t, s, person(3))
	for i := range 7 {
		_, err := s.Block(t.Context(), store.Who{Email: person(i).Email}, admin, fmt.Sprint(i))
		must(t, err)
	}
	must(t, s.Unblock(t.Context(), store.Who{Email: person(5).Email}, admin))
	must(t, s.DeleteUser(t.Context(), userID(3), admin))
	var reasons strings.Builder
	signIn(t, s, person(7)) // who is a user is listed among those
	_, err := s.Block(t.Context(), store.Who{User: userID(7)}, admin, "7")
	must(t, err)
	for cursor := store.Cursor(""); ; {
		page, next, err := s.Blocks(t.Context(), store.BlockQuery{After: cursor, Limit: 2})
		must(t, err)
		for _, b := range page {
			reasons.WriteString(b.Reason)
			if b.Reason == "3" && b.User != userID(3) {
				t.Errorf("block = %+v", b)
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	if got := reasons.String(); got != "643210" {
		t.Errorf("reasons = %q", got)
	}
	for q, want := range map[store.BlockQuery]int{
		{Search: "user"}: 6, {Search: "USER4@ex"}: 1, {Search: "com user2"}: 1, {Search: "ser"}: 0, {Search: "%"}: 0,
		{Domain: "example.com"}: 6, {Domain: "ample.com"}: 0, {Search: "user6", Domain: "elsewhere.test"}: 0,
	} {
		if got, _, err := s.Blocks(t.Context(), q); err != nil || len(got) != want {
			t.Errorf("%+v: %v, %v, want %d", q, got, err, want)
		}
	}
}

func testBadCursors(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	for _, c := range []store.Cursor{"x", "1", ".", "1x.a", "99999999999999999999.a", "1.\x00", "1.\xff"} {
		_, _, err := s.Users(t.Context(), store.UserQuery{After: c})
		wantErr(t, "Users", err, store.ErrCursor)
		_, _, err = s.Sessions(t.Context(), store.SessionQuery{After: c})
		wantErr(t, "Sessions", err, store.ErrCursor)
		_, _, err = s.Events(t.Context(), store.EventQuery{After: c})
		wantErr(t, "Events", err, store.ErrCursor)
		_, _, err = s.Blocks(t.Context(), store.BlockQuery{After: c})
		wantErr(t, "Blocks", err, store.ErrCursor)
	}
	// What no database takes for text is nothing that there is, and no trouble of the store's.
	for _, odd := range []string{"\x00", "\xff", "a\x00b"} {
		_, _, err := s.Users(t.Context(), store.UserQuery{Order: store.ByEmail, After: store.Cursor("a." + odd)})
		wantErr(t, "Users", err, store.ErrCursor)
		_, err = s.User(t.Context(), store.Who{User: auth.UserID(odd)})
		wantErr(t, "User", err, auth.ErrNotFound)
		_, err = s.Session(t.Context(), auth.SessionID(odd))
		wantErr(t, "Session", err, auth.ErrNotFound)
		if events, _, err := s.Events(t.Context(), store.EventQuery{Kind: auth.EventKind(odd + "x")}); len(events) != 0 || err != nil {
			t.Errorf("Events: %v, %v", events, err)
		}
	}
	got, next, err := s.Users(t.Context(), store.UserQuery{After: "1.' OR 1=1 --"})
	if len(got) != 0 || next != "" || err != nil {
		t.Errorf("an injected cursor: %v, %q, %v", got, next, err)
	}
}

func testPruneSessions(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{KeepSessions: time.Millisecond})
	for i := range 30 {
		_, err := s.SignIn(t.Context(), auth.SignIn{Identity: person(1), Session: auth.SessionID(fmt.Sprint("s", i)), MaxAge: time.Millisecond})
		must(t, err)
	}
	keep := signIn(t, s, person(1))
	ended := signIn(t, s, person(1))
	must(t, s.EndSession(t.Context(), auth.Ending{Session: ended.ID, By: "x", Expires: ended.Expires}))
	until(t, "only the unexpired are left", func() bool {
		must(t, s.Prune(t.Context()))
		list, _, err := s.Sessions(t.Context(), store.SessionQuery{})
		must(t, err)
		return len(list) == 2
	})
	wantAlive(t, s, true, keep)
	wantAlive(t, s, false, ended)
	if u, err := s.User(t.Context(), store.Who{User: userID(1)}); err != nil || u.SignIns != 32 {
		t.Errorf("user = %+v, %v", u, err)
	}
}

func testPruneEvents(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{KeepEvents: 30, KeepDenied: 3})
	_, err := s.Block(t.Context(), store.Who{Email: "a@example.com"}, admin, "")
	must(t, err)
	for i := range 40 {
		must(t, s.Record(t.Context(), auth.Event{Kind: auth.EventDenied, Detail: fmt.Sprint(i)}))
		must(t, s.Record(t.Context(), auth.Event{Kind: auth.EventSignIn}))
	}
	must(t, s.Prune(t.Context()))
	must(t, s.Prune(t.Context()))
	for kind, want := range map[auth.EventKind]int{auth.EventDenied: 3, auth.EventSignIn: 30, auth.EventBlocked: 1} {
		if got := events(t, s, store.EventQuery{Kind: kind}); len(got) != want {
			t.Errorf("%s: %d events, want %d", kind, len(got), want)
		}
	}
	list, _, err := s.Events(t.Context(), store.EventQuery{Kind: auth.EventDenied})
	must(t, err)
	if list[0].Detail != "39" {
		t.Errorf("the latest was pruned: %+v", list)
	}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("in vain: ", what)
		}
	}
}
