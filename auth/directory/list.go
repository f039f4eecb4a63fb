package directory

import (
	"net/url"
	"strconv"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

// pageRows is how many rows a page for people has; with its stylesheet it stays
// below 30 KB.
const pageRows = 25

// list is GET /_auth/users: everybody who has signed in.
func (h *Handler) list(v *visit) {
	q := v.query()
	filter := filterOf(q)
	filter.After = store.Cursor(q.Get("after"))
	filter.Limit = pageRows
	if n, err := strconv.Atoi(q.Get("limit")); err == nil && n > 0 {
		filter.Limit = n
	}
	users, next, err := h.Store.Users(v.r.Context(), filter)
	if err != nil {
		h.fail(v, "list users", err)
		return
	}
	rows := make([]UserRow, len(users))
	people := make([]person, len(users))
	for i, u := range users {
		rows[i] = NewUserRow(u)
		people[i] = person{User: u, Admin: h.Policy.IsAdmin(&u.Identity)}
	}
	h.show(v, "Users", "users", struct {
		Query     listQuery
		People    []person
		First     bool
		Next, CSV string
		Now       time.Time
	}{
		listQuery{Search: q.Get("q")}, people, filter.After == "", after(q, next), prefix, v.now,
	}, struct {
		Users []UserRow    `json:"users"`
		Next  store.Cursor `json:"next"`
	}{rows, next})
}

type listQuery struct{ Search string }

func filterOf(q url.Values) store.UserQuery {
	return store.UserQuery{Search: q.Get("q"), BlockedOnly: q.Get("show") == "blocked"}
}

// after is the same list from the next page on; empty behind the last.
func after(q url.Values, next store.Cursor) string {
	if next == "" {
		return ""
	}
	same := url.Values{}
	for name, values := range q {
		if name != "after" {
			same[name] = values
		}
	}
	same.Set("after", string(next))
	return prefix + "?" + same.Encode()
}

// A person is a user as the pages show one.
type person struct {
	auth.User
	Admin bool
}

// Path is the address of the person's page.
func (p person) Path() string { return prefix + "/" + string(p.ID) }
