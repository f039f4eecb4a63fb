package directory

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/store"
)

const (
	activityDays, activityHours = 30, 24
	// activityDenied is how many of those who were turned away are listed.
	activityDenied = 20
)

// activity is GET /_auth/users/activity: what happened, drawn and counted.
func (h *Handler) activity(v *visit) {
	ctx := v.r.Context()
	if _, err := v.query(); err != nil {
		h.fail(v, "show activity", err)
		return
	}
	days, err := h.spans(v, store.Daily, activityDays)
	if err != nil {
		h.fail(v, "count the days", err)
		return
	}
	hours, err := h.spans(v, store.Hourly, activityHours)
	if err != nil {
		h.fail(v, "count the hours", err)
		return
	}
	denied, err := h.Store.TurnedAway(ctx, days[0].Start, activityDenied)
	if err != nil {
		h.fail(v, "count who was turned away", err)
		return
	}
	value := activityReport{Days: rowsOf(days), Hours: rowsOf(hours), TurnedAway: []turnedAwayRow{}}
	shown := activityPage{
		Charts: []chart{
			newChart("days", "The last 30 days", "2 Jan", days),
			newChart("hours", "The last 24 hours", "15:04", hours),
		},
		Now: v.now,
	}
	for _, t := range denied {
		value.TurnedAway = append(value.TurnedAway, turnedAwayRow{t.Email, t.Reason, t.Times, Moment(t.First), Moment(t.Last)})
		shown.TurnedAway = append(shown.TurnedAway, turnedAway{t})
	}
	h.showIn(v, "activity", "activity", "Activity", shown, value)
}

// showIn is show for another entry of the navigation.
func (h *Handler) showIn(v *visit, section, template, title string, data, value any) {
	h.Pages.Render(v.w, v.r, v.client.RequestID, page.Content{
		Title: title, Section: section, Body: h.bodies.Lookup(template), Data: data, JSON: value,
	})
}

// spans are the last n hours or days, those without any event too.
func (h *Handler) spans(v *visit, span time.Duration, n int) ([]auth.Activity, error) {
	since := v.now.UTC().Truncate(span).Add(-time.Duration(n-1) * span)
	counted, err := h.Store.Activity(v.r.Context(), span, since)
	if err != nil {
		return nil, err
	}
	all := make([]auth.Activity, n)
	for i := range all {
		all[i].Start = since.Add(time.Duration(i) * span)
	}
	for _, a := range counted {
		if i := int(a.Start.Sub(since) / span); i >= 0 && i < n { // the store's clock may be ahead
			all[i] = a
		}
	}
	return all, nil
}

// activityReport is the page for programs.
type activityReport struct {
	Days       []activityRow   `json:"days"`
	Hours      []activityRow   `json:"hours"`
	TurnedAway []turnedAwayRow `json:"turned_away"`
}

type activityRow struct {
	Start   time.Time `json:"start"`
	SignIns int64     `json:"sign_ins"`
	Denied  int64     `json:"denied"`
	People  int64     `json:"people"`
}

type turnedAwayRow struct {
	Email  string     `json:"email"`
	Reason string     `json:"reason"`
	Times  int64      `json:"times"`
	First  *time.Time `json:"first"`
	Last   *time.Time `json:"last"`
}

func rowsOf(all []auth.Activity) []activityRow {
	rows := make([]activityRow, len(all))
	for i, a := range all {
		rows[i] = activityRow{a.Start, a.SignIns, a.Denied, a.People}
	}
	return rows
}

type activityPage struct {
	Charts     []chart
	TurnedAway []turnedAway
	Now        time.Time
}

// A chart is one span of time: three plots beside each other, and the table behind.
type chart struct {
	ID, Title string
	Plots     []plot
	Rows      []chartRow
}

type chartRow struct {
	auth.Activity
	Label string
}

// A plot is bars in a box of Width by 100, as the path of an SVG.
type plot struct {
	Title, Class    string
	Total, Most     int64
	Width           int
	Path, From, Now string
}

func newChart(id, title, format string, all []auth.Activity) chart {
	c := chart{ID: id, Title: title}
	for _, a := range all {
		c.Rows = append(c.Rows, chartRow{a, a.Start.Format(format)})
	}
	for _, p := range []struct {
		title, class string
		value        func(auth.Activity) int64
	}{
		{"Sign-ins", "", func(a auth.Activity) int64 { return a.SignIns }},
		{"People who signed in", "people", func(a auth.Activity) int64 { return a.People }},
		{"Turned away", "denied", func(a auth.Activity) int64 { return a.Denied }},
	} {
		drawn := plot{Title: p.title, Class: p.class, Width: 10 * len(all), From: c.Rows[0].Label, Now: c.Rows[len(all)-1].Label}
		for _, a := range all {
			drawn.Most, drawn.Total = max(drawn.Most, p.value(a)), drawn.Total+p.value(a)
		}
		var path strings.Builder
		for i, a := range all {
			if n := p.value(a); n > 0 {
				height := max(2, 100*n/drawn.Most)
				fmt.Fprintf(&path, "M%d 100v-%dh8v%dz", 10*i+1, height, height)
			}
		}
		drawn.Path = path.String()
		if p.class == "people" {
			drawn.Total = 0 // who comes every day is one person, not thirty
		}
		c.Plots = append(c.Plots, drawn)
	}
	return c
}

type turnedAway struct{ auth.TurnedAway }

// Why is the reason in an admin's words.
func (t turnedAway) Why() string {
	if text := map[string]string{
		"domain":           "its domain is not allowed",
		"hosted_domain":    "the Workspace does not own the account",
		"email_unverified": "the address is not verified",
		"not_listed":       "it is on no list",
		"group":            "it is in no group that is allowed",
		"deny_list":        "it is on the deny list",
		"blocked":          "it is blocked",
	}[t.Reason]; text != "" {
		return text
	}
	return strings.ReplaceAll(t.Reason, "_", " ")
}

// events is GET /_auth/users/events: the audit trail. Its query is kind, actor,
// email, address, since and before (days of UTC), after and limit.
func (h *Handler) events(v *visit) {
	filters := []string{"kind", "actor", "email", "address", "since", "before"}
	q, err := v.query(append(filters, "after", "limit")...)
	if err != nil {
		h.fail(v, "list events", err)
		return
	}
	filter, err := eventFilter(q)
	if err != nil {
		h.fail(v, "list events", err)
		return
	}
	events, cursor, err := h.Store.Events(v.r.Context(), filter)
	if err != nil {
		h.fail(v, "list events", err)
		return
	}
	rows, shown := make([]eventRow, len(events)), make([]shownEvent, len(events))
	for i, e := range events {
		rows[i], shown[i] = newEventRow(e), shownEvent{e}
	}
	p := eventsPage{Query: map[string]string{}, Events: shown, First: filter.After == "", Next: next(q, "after", cursor), Start: with(q, "after", "")}
	for _, name := range filters {
		p.Query[name] = q.Get(name)
		p.Filtered = p.Filtered || q.Get(name) != ""
	}
	for _, kind := range auth.EventKinds() {
		p.Kinds = append(p.Kinds, eventKind{kind, shownEvent{auth.Event{Kind: kind}}.What()})
	}
	h.showIn(v, "events", "stream", "Events", p, struct {
		Events []eventRow   `json:"events"`
		Next   store.Cursor `json:"next"`
	}{rows, cursor})
}

func eventFilter(q url.Values) (f store.EventQuery, err error) {
	f = store.EventQuery{
		Kind: auth.EventKind(q.Get("kind")), After: store.Cursor(q.Get("after")), Actor: strings.TrimSpace(q.Get("actor")),
		Email: strings.ToLower(strings.TrimSpace(q.Get("email"))), Address: strings.TrimSpace(q.Get("address")),
	}
	if f.Kind != "" && !slices.Contains(auth.EventKinds(), f.Kind) {
		return f, unclear("It takes as kind nothing but " + fmt.Sprint(auth.EventKinds()) + ".")
	}
	if ip, err := netip.ParseAddr(f.Address); err == nil {
		f.Address = ip.Unmap().String()
	} else if f.Address != "" && f.Address != "unix" {
		return f, unclear("It takes as address an IP address, or unix.")
	}
	if f.Since, err = day(q, "since"); err != nil {
		return f, err
	}
	if f.Before, err = day(q, "before"); err != nil {
		return f, err
	}
	f.Limit, err = limit(q)
	return f, err
}

// day reads a day of UTC, or a time.
func day(q url.Values, name string) (time.Time, error) {
	text := q.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	for _, format := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(format, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, unclear("It takes as " + name + " a day, such as 2026-01-31, or a time of RFC 3339.")
}

type eventsPage struct {
	Query       map[string]string
	Kinds       []eventKind
	Events      []shownEvent
	Filtered    bool
	First       bool
	Start, Next string
}

type eventKind struct {
	Kind auth.EventKind
	Text string
}
