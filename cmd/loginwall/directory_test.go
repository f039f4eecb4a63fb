package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

const adminsWall = basics + "admins: [alice@example.com]\n"

// TestExport takes 100,000 users along: whole, without the wall growing by them,
// and not to the end when who takes them is not let in any more.
func TestExport(t *testing.T) {
	const many = 40_000
	r := startWall(t, "", adminsWall)
	r.signIn(t, "alice@example.com", "/")
	db := openStore(t, r.folder)
	_, err := db.ExecContext(t.Context(), `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO users
		SELECT printf('user%022d', i), 'https://accounts.example.com', i, 'user' || i || '@example.com', 1, '=HYPERLINK("https://evil.test")', '', 'example.com',
		'', 1700000000000 + i, 1700000000000 + i, 1700000000000 + i, 1 FROM n`, many)
	check(t, err)
	check(t, db.Close())
	memory := func() int {
		response, err := r.client.Get("http://" + r.ops + "/metrics")
		check(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		check(t, err)
		found := regexp.MustCompile(`(?m)^process_resident_memory_bytes (\S+)$`).FindSubmatch(body)
		if found == nil {
			t.Fatal("no figure of the memory")
		}
		n, err := strconv.ParseFloat(string(found[1]), 64)
		check(t, err)
		return int(n)
	}
	export := func() *bufio.Reader {
		request := r.request(t, http.MethodGet, []string{"-nav", "/_auth/users/export.csv"})
		request.Host = r.host()
		request.Header.Set("Cookie", r.cookies().String())
		patient := *r.client
		patient.Timeout = 0 // a hundred thousand lines take as long as they take
		response, err := patient.Do(request)
		check(t, err)
		t.Cleanup(func() { response.Body.Close() })
		if response.StatusCode != http.StatusOK {
			t.Fatal(response.Status)
		}
		return bufio.NewReader(response.Body)
	}
	read := func(in *bufio.Reader, most int) (lines int, err error) {
		for lines < most {
			line, err := in.ReadString('\n')
			if err != nil {
				return lines, err
			}
			if lines == 1 && regexp.MustCompile(`[,"]=HYPERLINK`).MatchString(line) {
				t.Errorf("a formula: %s", line)
			}
			lines++
		}
		return lines, nil
	}
	before := memory()
	if lines, err := read(export(), many+10); err != io.EOF || lines != 1+1+many { //nolint:errorlint // io.EOF is what says that it is whole
		t.Errorf("%d lines, then %v", lines, err)
	}
	// A page of a thousand users is what the wall holds at a time.
	if grown := memory() - before; grown > 48<<20 {
		t.Errorf("the wall grew by %d MiB", grown>>20)
	}

	in := export()
	if _, err := read(in, 10); err != nil {
		t.Fatal(err)
	}
	// A reload takes the role away, and gives it back.
	users := func(status int) {
		poll(t, "the wall has not reloaded", func() bool { return r.ask(t, http.MethodGet, "-xhr", "/_auth/users/events").StatusCode == status })
	}
	file := filepath.Join(r.folder, "wall.yaml")
	r.writeTo(t, file, basics+"admins: [bob@example.com]\n")
	users(http.StatusForbidden)
	if lines, err := read(in, many); err == nil || err == io.EOF { //nolint:errorlint // as above
		t.Errorf("who is no admin any more got %d lines, then %v", lines, err)
	}
	r.writeTo(t, file, adminsWall)
	users(http.StatusOK)

	in = export()
	if _, err := read(in, 10); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("loginwall", "users", "block", "alice@example.com", "--config", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	poll(t, "the wall has not heard of the block", func() bool {
		// Not a page of the app: a block cuts what is on its way there.
		return r.ask(t, http.MethodGet, "/_auth/me").StatusCode == http.StatusForbidden
	})
	start := time.Now()
	if lines, err := read(in, many); err == nil || err == io.EOF { //nolint:errorlint // as above
		t.Errorf("who was blocked got %d lines within %v, then %v", lines, time.Since(start), err)
	}
}

// An admin whose sign-in is older than 15 minutes looks, and changes nothing.
func TestChangesNeedAFreshSignIn(t *testing.T) {
	t.Parallel()
	r := startWall(t, "", adminsWall)
	r.signIn(t, "bob@example.com", "/")
	r.as("alice")
	signInAgo := func(ago time.Duration) {
		c := signedIn(t, filepath.Join(r.folder, "wall.yaml"), "alice@example.com", "Alice", "alice", ago)
		r.cookies()[c.Name] = c.Value
	}
	change := func(what string) int {
		bob := regexp.MustCompile(`"id":"(\w+)"`).FindSubmatch(r.ask(t, http.MethodGet, "-xhr", "/_auth/users?q=bob").body)
		if bob == nil {
			t.Fatalf("no bob: %s", r.last.body)
		}
		return r.ask(t, http.MethodPost, "-xhr", "/_auth/users/"+string(bob[1])+"/"+what, "Origin:"+r.publicURL, "Content-Type:application/json", map[bool]string{true: `{"reason":"x"}`, false: "{}"}[what == "block"]).StatusCode
	}
	changes := []string{"end", "block", "unblock", "delete"}
	signInAgo(16 * time.Minute)
	for _, what := range changes {
		if status := change(what); status != http.StatusUnauthorized || !bytes.Contains(r.last.body, []byte(`"sign_in_again"`)) {
			t.Errorf("%s after 16 minutes: %s %s", what, r.last.Status, r.last.body)
		}
	}
	signInAgo(14 * time.Minute)
	for _, what := range changes {
		if status := change(what); status != http.StatusOK {
			t.Errorf("%s after 14 minutes: %s %s", what, r.last.Status, r.last.body)
		}
	}
}
