package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

func testActivity(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	for _, n := range []int{1, 2, 1, 3, 1} {
		signIn(t, s, person(n))
	}
	for _, e := range []auth.Event{
		{Email: "a@evil.test", Detail: "domain"},
		{Email: "b@evil.test", Detail: "domain"},
		{Email: "a@evil.test", Detail: "domain"},
		{Email: "a@evil.test", Detail: "blocked"},
	} {
		e.Kind = auth.EventDenied
		must(t, s.Record(t.Context(), e))
	}
	must(t, s.Record(t.Context(), auth.Event{Kind: auth.EventReloaded}))
	hourAgo := time.Now().Add(-time.Hour)
	for _, span := range []time.Duration{store.Hourly, store.Daily} {
		for range 2 { // summing up changes nothing
			activity, err := s.Activity(t.Context(), span, hourAgo)
			must(t, err)
			var sum auth.Activity
			for _, a := range activity {
				if !a.Start.Equal(a.Start.Truncate(span)) || a.Start.Before(hourAgo.Add(-span)) {
					t.Errorf("%v: begins at %v", span, a.Start)
				}
				sum.SignIns, sum.Denied, sum.People = sum.SignIns+a.SignIns, sum.Denied+a.Denied, sum.People+a.People
			}
			// An hour may end in the middle of the test, and then somebody is in two.
			if sum.SignIns != 5 || sum.Denied != 4 || sum.People < 3 || len(activity) == 1 && sum.People != 3 {
				t.Errorf("%v: %+v", span, activity)
			}
			must(t, s.Prune(t.Context()))
		}
	}
	if later, err := s.Activity(t.Context(), store.Hourly, time.Now().Add(25*time.Hour)); err != nil || len(later) != 0 {
		t.Errorf("tomorrow: %v, %v", later, err)
	}

	away, err := s.TurnedAway(t.Context(), hourAgo, 0)
	must(t, err)
	if len(away) != 3 || away[0].Times != 2 || away[0].Last.Before(away[0].First) || away[0].First.Before(hourAgo) {
		t.Fatalf("turned away: %+v", away)
	}
	got := map[[2]string]int64{}
	for _, a := range away {
		got[[2]string{a.Email, a.Reason}] = a.Times
	}
	if diff := cmp.Diff(map[[2]string]int64{{"a@evil.test", "domain"}: 2, {"b@evil.test", "domain"}: 1, {"a@evil.test", "blocked"}: 1}, got); diff != "" {
		t.Error(diff)
	}
	if away, err := s.TurnedAway(t.Context(), hourAgo, 1); err != nil || len(away) != 1 {
		t.Errorf("one: %v, %v", away, err)
	}
	if away, err := s.TurnedAway(t.Context(), time.Now().Add(time.Hour), 0); err != nil || len(away) != 0 {
		t.Errorf("later: %v, %v", away, err)
	}
}

func testEventFilters(t *testing.T, open func(store.Config) *store.Store) {
	s := open(store.Config{})
	start := time.Now()
	must(t, s.Record(t.Context(), auth.Event{Kind: auth.EventDenied, Actor: "a@example.com", Email: "a@example.com", Address: "192.0.2.1"}))
	must(t, s.Record(t.Context(), auth.Event{Kind: auth.EventBlocked, Actor: admin, Email: "a@example.com", Address: "192.0.2.2"}))
	must(t, s.Record(t.Context(), auth.Event{Kind: auth.EventUnblocked, Actor: admin, Email: "b@example.com", Address: "192.0.2.2"}))
	wantEvents(t, s, store.EventQuery{Actor: admin}, auth.EventBlocked, auth.EventUnblocked)
	wantEvents(t, s, store.EventQuery{Address: "192.0.2.1"}, auth.EventDenied)
	wantEvents(t, s, store.EventQuery{Actor: admin, Email: "b@example.com", Address: "192.0.2.2", Kind: auth.EventUnblocked}, auth.EventUnblocked)
	wantEvents(t, s, store.EventQuery{Actor: "' OR ''='"})
	// The store's clock may be another machine's.
	wantEvents(t, s, store.EventQuery{Since: start.Add(-time.Hour), Before: start.Add(time.Hour)}, auth.EventDenied, auth.EventBlocked, auth.EventUnblocked)
	wantEvents(t, s, store.EventQuery{Since: start.Add(-time.Hour), Actor: admin}, auth.EventBlocked, auth.EventUnblocked)
	wantEvents(t, s, store.EventQuery{Since: start.Add(time.Hour)})
	wantEvents(t, s, store.EventQuery{Before: start.Add(-time.Hour)})
}
