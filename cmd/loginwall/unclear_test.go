package main

import (
	"bytes"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// What is not understood shows nobody, exports nobody and changes nothing: a filter
// or a field that was passed over would take everybody for what was meant.
func TestUnclear(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serveReady(t, r.write(t, adminsWall))
	r.as("bob").signIn(t, "bob@example.com", "/")
	r.as("alice").signIn(t, "alice@example.com", "/")
	r.ask(t, http.MethodGet, "-xhr", "/_auth/users?q=bob")
	bob := string(regexp.MustCompile(`"id":"(\w+)"`).Find(r.last.body)[6:32])
	r.ask(t, http.MethodGet, "-xhr", "/_auth/users/"+bob)
	session := string(regexp.MustCompile(`"open_sessions":\[\{"id":"(\w+)"`).FindSubmatch(r.last.body)[1])
	refused := func(what string) {
		t.Helper()
		if r.last.StatusCode != http.StatusBadRequest || !bytes.Contains(r.last.body, []byte(`"error":"bad_request","message":"This was not understood. `)) {
			t.Errorf("%s: %s %s", what, r.last.Status, r.last.body)
		}
	}

	words := strings.Repeat("b+", 8) + "b"
	for path, queries := range map[string]string{
		"/_auth/users":                         "shwo=blocked show=bloked show=open&show=blocked sort=name q=%zz q=a;show=open q=%00 q=%ff q=" + words + " limit=x limit=0 limit=1001 after=x",
		"/_auth/users/export.csv":              "shwo=blocked show=bloked show=open&show=blocked q=%zz q=a;show=open q=%00 q=" + words + " limit=1 sort=email after=x",
		"/_auth/users/export.json":             "shwo=blocked show=bloked q=bob&q=alice domain=%zz",
		"/_auth/users/events":                  "kind=signin kind=denied&kind=blocked since=yesterday before=%zz address=home who=bob limit=-1 after=x",
		"/_auth/users/activity":                "days=7 %zz",
		"/_auth/users/" + bob:                  "sessions=x events=x session=1 events=1.a&events=2.b",
		"/_auth/users/" + bob + "/export.json": "since=2026-01-01 %zz",
		"/_auth/users/" + bob + "/block":       "reson=x reason=a&reason=b",
	} {
		for query := range strings.FieldsSeq(queries) {
			r.ask(t, http.MethodGet, "-xhr", path+"?"+query)
			refused(path + "?" + query)
		}
	}
	if a := r.ask(t, http.MethodGet, "-nav", "/_auth/users/export.csv?show=bloked"); a.StatusCode != http.StatusBadRequest || !bytes.Contains(a.body, []byte("takes as show nothing but open, blocked")) {
		t.Errorf("for people: %s %s", a.Status, a.body)
	}

	const asForm = "Content-Type:application/x-www-form-urlencoded"
	for change, bodies := range map[string][]string{
		"end": {
			`{"session":""}`, `{"session":null}`, `{"session":1}`, `{"session":["` + session + `"]}`, `{"Session":"` + session + `"}`,
			`{"session":"` + session + `","session":"` + session + `"}`, `{"session":"` + session + `","all":true}`, `{"all":"yes"}`, `{"all":false}`,
			`{"session":"` + session + `"} {}`, `{} x`, `[]`, `null`, `"x"`, `{`, `{"sesion":"x"}`, `{"reason":"x"}`, "{\"session\":\"\xff\"}",
			"form session=", "form all=no", "form session=a&session=b", "form session=%zz", "form session=%ff", "form session=x&sesion=x", "form all=yes&session=" + session,
		},
		"block":                  {`{"reason":"x","reason":"y"}`, `{"reason":1}`, `{"reason":"x","confirm":"yes"}`, `{"reason":"x","session":"y"}`, `{"reason":"` + strings.Repeat("x", 1001) + `"}`, "form reason=a&reason=b", "form reason=x&confirm=1"},
		"unblock":                {`{"reason":"x"}`, "form reason=x"},
		"delete":                 {`{"session":"` + session + `"}`, `{"confirm":true}`, "form all=yes"},
		"end?session=" + session: {`{}`, "form all=yes"},
	} {
		for _, body := range bodies {
			kind := "Content-Type:application/json"
			text, isForm := strings.CutPrefix(body, "form ")
			if isForm {
				kind = asForm
			}
			r.ask(t, http.MethodPost, "-xhr", "/_auth/users/"+bob+"/"+change, "Origin:"+r.publicURL, kind, text)
			refused(change + " with " + body)
		}
	}
	for _, body := range []string{`{}`, `{"session":""}`, `{"all":true}`} {
		r.ask(t, http.MethodPost, "-xhr", "/_auth/sessions/end", "Origin:"+r.publicURL, "Content-Type:application/json", body)
		refused("end one's own with " + body)
	}
	if r.as("bob").signedIn(t) == "" {
		t.Error("bob's session has ended")
	}
	// Said in words, it is what it says.
	if a := r.as("alice").ask(t, http.MethodPost, "-xhr", "/_auth/users/"+bob+"/end", "Origin:"+r.publicURL, "Content-Type:application/json", `{"all":true}`); a.StatusCode != http.StatusOK {
		t.Errorf("all: %s %s", a.Status, a.body)
	}
	if r.as("bob").signedIn(t) != "" {
		t.Error("bob's session has not ended")
	}
}
