package directory

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

// pageRows is how many rows a page for people has; with its stylesheet it stays
// below 30 KB.
const pageRows = 25

// list is GET /_auth/users: who has signed in. Its query is q, words to search for;
// show, "blocked" or "open"; domain; sort, "email" or "first"; after and limit; and
// addresses, where the list of blocked addresses goes on.
func (h *Handler) list(v *visit) {
	q, err := v.query("q", "show", "domain", "sort", "after", "limit", "addresses", "done")
	if err != nil {
		h.fail(v, "list users", err)
		return
	}
	filter, err := h.filter(q)
	if err != nil {
		h.fail(v, "list users", err)
		return
	}
	users, cursor, err := h.Store.Users(v.r.Context(), filter)
	if err != nil {
		h.fail(v, "list users", err)
		return
	}
	blocks, nextBlock, err := h.blocks(v, filter, store.Cursor(q.Get("addresses")))
	if err != nil {
		h.fail(v, "list blocked addresses", err)
		return
	}
	notice := notices()[q.Get("done")]
	rows := make([]UserRow, len(users))
	people := make([]person, len(users))
	for i, u := range users {
		rows[i], people[i] = NewUserRow(u), h.person(v, u)
	}
	q.Del("done") // what was done once is not said again on the next page
	h.show(v, "Users", "users", usersPage{
		Search: q.Get("q"), Show: q.Get("show"), Domain: q.Get("domain"), Sort: q.Get("sort"),
		People: people, First: filter.After == "", Next: next(q, "after", cursor), Start: with(q, "after", ""),
		Blocks: blocks, NextBlocks: next(q, "addresses", nextBlock),
		CSV: exported(q, "csv"), JSON: exported(q, "json"), Notice: notice, Now: v.now,
	}, struct {
		Users         []UserRow    `json:"users"`
		Next          store.Cursor `json:"next"`
		Addresses     []blockRow   `json:"addresses,omitempty"`
		NextAddresses store.Cursor `json:"next_addresses,omitempty"`
	}{rows, cursor, blockRows(blocks), nextBlock})
}

// blocks are those that name nobody who is listed: with the first page of who is blocked.
func (h *Handler) blocks(v *visit, filter store.UserQuery, after store.Cursor) ([]auth.Block, store.Cursor, error) {
	if !filter.BlockedOnly || filter.After != "" {
		return nil, "", nil
	}
	return h.Store.Blocks(v.r.Context(), store.BlockQuery{Search: filter.Search, Domain: filter.Domain, After: after, Limit: filter.Limit})
}

// usersPage is what the template shows.
type usersPage struct {
	Search, Show, Domain, Sort string
	People                     []person
	// First is the first page; Start leads there, and Next to the next one if any.
	First       bool
	Start, Next string
	CSV, JSON   string
	// Blocks are of addresses that nobody here has; NextBlocks leads to more.
	Blocks     []auth.Block
	NextBlocks string
	Notice     string
	Now        time.Time
}

// Filtered says that the list is not everybody.
func (p usersPage) Filtered() bool { return p.Search != "" || p.Show != "" || p.Domain != "" }

func (h *Handler) filter(q url.Values) (filter store.UserQuery, err error) {
	show, err := choice(q, "show", "open", "blocked")
	if err != nil {
		return filter, err
	}
	sort, err := choice(q, "sort", "email", "first")
	if err != nil {
		return filter, err
	}
	if len(strings.Fields(q.Get("q"))) > store.MostTerms {
		return filter, unclear("It takes as q at most " + strconv.Itoa(store.MostTerms) + " words.")
	}
	filter = store.UserQuery{
		Search: q.Get("q"), Domain: q.Get("domain"), Idle: h.Idle, After: store.Cursor(q.Get("after")),
		BlockedOnly: show == "blocked", OpenOnly: show == "open",
		Order: map[string]store.UserOrder{"email": store.ByEmail, "first": store.ByFirstSignIn}[sort], // ByLastSeen otherwise
	}
	filter.Limit, err = limit(q)
	return filter, err
}

// with is the query q with one value changed, or without it where value is empty.
func with(q url.Values, name, value string) string {
	same := url.Values{}
	for n, values := range q {
		if n != name && values[0] != "" {
			same.Set(n, values[0])
		}
	}
	if value != "" {
		same.Set(name, value)
	}
	return "?" + same.Encode()
}

// next is where a list goes on; empty behind its end.
func next(q url.Values, name string, cursor store.Cursor) string {
	if cursor == "" {
		return ""
	}
	return with(q, name, string(cursor))
}

// exported is the address of the whole list as a file.
func exported(q url.Values, format string) string {
	selected := url.Values{}
	for _, name := range exportFields() {
		if q.Has(name) {
			selected.Set(name, q.Get(name))
		}
	}
	return prefix + "/export." + format + with(selected, "", "")
}

// exportFields choose who is in an export.
func exportFields() []string { return []string{"q", "show", "domain"} }

// A person is a user as the pages show one.
type person struct {
	auth.User
	// Admin says that this is one, and You that it is who looks.
	Admin, You bool
	portrait   string
}

func (h *Handler) person(v *visit, u auth.User) person {
	return person{User: u, Admin: h.Policy.IsAdmin(&u.Identity), You: u.ID == v.who.Identity().UserID(), portrait: h.portrait(&u.Identity)}
}

// Path is the address of the person's page, or of the list where it is nobody's.
func (p person) Path() string { return strings.TrimSuffix(prefix+"/"+string(p.ID), "/") }

// Portrait is the address of the picture; empty for initials.
func (p person) Portrait() string { return p.portrait }

// Domain is that of the address.
func (p person) Domain() string { return auth.Domain(p.Email) }
