package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/seal"
	"github.com/loginwall/loginwall/auth/session"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/auth/store/storetest"
)

const (
	replicas = 10
	// skewed is the replica whose clock is off; another one's way to PostgreSQL can be cut.
	skewed, cuttable = 3, 7
	clockOff         = 3 * time.Minute
)

// A cluster is many walls on one PostgreSQL, behind a balancer that sprays each
// request to any of them, and what was seen of them under load.
type cluster struct {
	*rig
	// within is how soon every replica must refuse what one has refused, and maxFeedAge
	// is session.max_feed_age of them. The promise, a second, is held where figures are
	// taken; in the gate the machine may have other work.
	within, maxFeedAge time.Duration
	pg                 *storetest.Postgres
	admin              *store.Store
	folder             string
	walls              []*replica
	link               link
	people             []string
	sessions           sync.Map // address to cookie
	out                sync.Map // address to when that was acknowledged
	// When PostgreSQL went away, for all or for the one that can be cut, in ms; 0 while
	// it is there.
	awaySince, cutSince atomic.Int64
	requests, refused   atomic.Int64
	mu                  sync.Mutex
	problems            []string
}

type replica struct {
	address, ops, file string
	*child
}

// TestReplicas (STO-207) is ten walls as one: logins begin on one and
// finish on another, what is revoked on one is refused by all within a second, and
// nobody notices that the database was away but those who wanted to sign in just
// then. REPLICAS names a file for the figures, and makes it all larger: make replicas.
func TestReplicas(t *testing.T) {
	table := &figures{
		title: "Replicas",
		about: fmt.Sprintf("Written by `make replicas`: %d walls and one PostgreSQL on one machine, behind a balancer that sends each request to any of\n"+
			"them, under load. The clock of one wall is off by %v. PostgreSQL is killed with -9, and one wall is cut off from it.\n", replicas, clockOff),
		columns: []string{"what", "figure"},
	}
	file := os.Getenv("REPLICAS")
	users, times, rows := 24, 4, 0
	if file != "" {
		users, times, rows = 200, 50, 1_000_000
	}
	c := newCluster(t, rows, table)
	c.signInAll(t, users, table)

	over := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() { c.load(over) })
	}
	for _, way := range waysOut() {
		c.putOut(t, way, times, table)
	}
	c.rotateKey(t)
	c.cutOff(t, table)
	c.crash(t, table)
	close(over)
	load.Wait()

	for _, problem := range c.problems[:min(10, len(c.problems))] {
		t.Error(problem)
	}
	if c.requests.Load() < 100 || c.refused.Load() == 0 {
		t.Errorf("too little happened to say anything: %d requests, %d refused", c.requests.Load(), c.refused.Load())
	}
	table.add(t, []string{"requests under load; served to somebody put out, after the bound; sessions lost", fmt.Sprintf("%d; 0; 0", c.requests.Load())})
	if file != "" {
		table.write(t, file)
	}
}

func newCluster(t *testing.T, rows int, table *figures) *cluster {
	t.Helper()
	c := &cluster{rig: newRig(t), within: time.Second, maxFeedAge: 6 * time.Second, pg: storetest.StartPostgres(t, "fsync=on"), folder: t.TempDir()}
	database := c.pg.Database(t)
	if rows == 0 {
		c.within, c.maxFeedAge = patience, 20*time.Second
	} else {
		for _, n := range []int{rows / 10, rows} {
			loadRevocations(t, c.pg.Database(t), n, table)
		}
		writeRates(t, c.pg.Database(t), table)
		fill(t, database, rows, rows/10)
		table.add(t, []string{"users and live revocations in PostgreSQL", fmt.Sprintf("%d; %d", rows, rows/10)})
	}
	admin, err := store.Open(t.Context(), store.Config{URL: database, Create: true})
	check(t, err)
	c.admin = admin
	t.Cleanup(func() { _ = admin.Close() })
	c.link = stalledRelay(t, c.pg.Addr())
	if rows > 0 {
		if link, err := namespace(t, c.pg.Socket()); err != nil {
			t.Logf("no network namespace, so %s instead: %v", c.link.name, err)
		} else {
			c.link = link
		}
	}
	check(t, os.WriteFile(filepath.Join(c.folder, "key1"), seal.GenerateKey(), 0o600))
	check(t, os.WriteFile(filepath.Join(c.folder, "key2"), seal.GenerateKey(), 0o600))

	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "<%s>", strings.Join(r.Header["X-Forwarded-User"], "|"))
		if r.URL.Path == "/stream" {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
	t.Cleanup(app.Close)
	slowest := time.Duration(0)
	for i := range replicas {
		url := database
		if i == cuttable {
			url = strings.Replace(database, c.pg.Addr(), c.link.addr, 1) + "?sslmode=disable"
		}
		w := &replica{address: must(freeAddress()), ops: must(freeAddress()), file: filepath.Join(c.folder, fmt.Sprintf("wall%d.yaml", i))}
		check(t, os.WriteFile(w.file+".store", []byte(url+"\n"), 0o600))
		c.walls = append(c.walls, w)
		c.configure(t, w, app.URL, "key_file: "+filepath.Join(c.folder, "key1"))
		began := time.Now()
		binary := wallBinary()
		if i == skewed {
			binary = "loginwall-ahead"
		}
		w.child = startChild(t, exec.Command(binary, "serve", "--config", w.file)) //nolint:gosec // a test's own
		await(t, "http://"+w.address+"/_auth/healthz", http.StatusOK)
		slowest = max(slowest, time.Since(began))
	}
	table.add(t, []string{"start to first answer, slowest of ten, one after another", slowest.Round(time.Millisecond).String()})
	if rows > 0 {
		time.Sleep(10 * time.Second) // what a start does is over then
		before := c.pg.Count(t, database, statements)
		time.Sleep(10 * time.Second)
		// The two that this asks with itself do not count.
		table.add(t, []string{"transactions a second of an idle replica", fmt.Sprintf("%.1f", float64(c.pg.Count(t, database, statements)-before-2)/10/replicas)})
		most := 0.0
		for i, w := range c.walls {
			if i != skewed {
				most = max(most, metric(c.text("http://"+w.ops+"/metrics"), "process_resident_memory_bytes"))
			}
		}
		table.add(t, []string{"memory of an idle replica, the largest of nine", fmt.Sprintf("%.0f MB", most/1e6)})
	}

	// The balancer is what browsers see.
	balancer := &httputil.ReverseProxy{
		FlushInterval: -1,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 10},
		Rewrite: func(r *httputil.ProxyRequest) {
			i := rand.IntN(replicas) //nolint:gosec // any will do
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", c.walls[i].address, r.In.Host
			*r.Out = *r.Out.WithContext(context.WithValue(r.Out.Context(), replicaKey{}, i))
		},
		ModifyResponse: func(a *http.Response) error {
			a.Header.Set("Replica", fmt.Sprint(a.Request.Context().Value(replicaKey{})))
			return nil
		},
	}
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", c.address)
	check(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: balancer, ReadHeaderTimeout: time.Minute}}
	server.Start()
	t.Cleanup(server.Close)
	for _, w := range c.walls {
		await(t, "http://"+w.address+"/_auth/login", http.StatusFound, c.host())
	}
	return c
}

type replicaKey struct{}

// statements counts what PostgreSQL was asked: each is a transaction of its own.
const statements = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"

func (c *cluster) configure(t *testing.T, w *replica, app, keys string) {
	t.Helper()
	if app == "" {
		_, after, _ := strings.Cut(readFile(t, w.file), "\nupstream: ")
		app, _, _ = strings.Cut(after, "\n")
	}
	vars := c.vars()
	vars["LISTEN"], vars["OPS"], vars["UPSTREAM"] = w.address, w.ops, app
	text := os.Expand(basics, func(name string) string { return vars[name] }) +
		fmt.Sprintf("session: {max_feed_age: %v, %s}\nstore_file: %s.store\nadmins: [person0@example.com]\nlog: {access: false}\ntimeouts: {drain: 1s}\n", c.maxFeedAge, keys, w.file)
	check(t, os.WriteFile(w.file, []byte(text), 0o600))
}

// ahead is a wall whose clock is off: another name of the test's binary.
func ahead() {
	p := newProgram(func() time.Time { return time.Now().Add(clockOff) })
	os.Exit(p.run(context.Background(), os.Args[1:]))
}

// login signs a person in, through any of the walls at each step.
func (c *cluster) login(email string) (cookie string, begun, finished string, err error) {
	cookies := jar{}
	step := func(target string) (*http.Response, error) {
		request, err := http.NewRequest(http.MethodGet, target, nil)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Accept", "text/html")
		if strings.HasPrefix(target, c.publicURL) {
			request.Header.Set("Cookie", cookies.String())
		}
		answer, err := c.client.Do(request)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, answer.Body)
		cookies.take(answer)
		return answer, nil
	}
	first, err := step(c.publicURL + "/_auth/login?to=/")
	if err != nil {
		return "", "", "", err
	}
	consent, err := step(first.Header.Get("Location") + "&login_hint=" + url.QueryEscape(email))
	if err != nil {
		return "", "", "", err
	}
	last, err := step(consent.Header.Get("Location"))
	if err != nil {
		return "", "", "", err
	}
	if last.StatusCode != http.StatusSeeOther {
		return "", "", "", fmt.Errorf("login of %s: %s", email, last.Status)
	}
	return cookies.session(), first.Header.Get("Replica"), last.Header.Get("Replica"), nil
}

func (c *cluster) signInAll(t *testing.T, users int, table *figures) {
	t.Helper()
	elsewhere := 0
	for n := range users {
		email := fmt.Sprintf("person%d@example.com", n)
		cookie, begun, finished, err := c.login(email)
		check(t, err)
		if begun != finished {
			elsewhere++
		}
		c.people = append(c.people, email)
		c.sessions.Store(email, cookie)
	}
	if elsewhere < users/2 {
		t.Errorf("only %d of %d logins finished on another wall than they began on", elsewhere, users)
	}
	table.add(t, []string{"logins; begun on one wall and finished on another", fmt.Sprintf("%d; %d", users, elsewhere)})
}

// send is one request of somebody to a wall; JSON goes with a POST.
func (c *cluster) send(ctx context.Context, method, address, path, email, body string) (*http.Response, error) {
	cookie, _ := c.sessions.Load(email)
	request, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Host = c.host()
	request.Header.Set("Cookie", cookie.(string)) //nolint:forcetypeassert // nothing else is stored
	if method == http.MethodPost {
		request.Header.Set("Origin", c.publicURL)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Accept", "application/json")
	}
	return c.client.Do(request)
}

// get asks a wall, or with "" any.
func (c *cluster) get(ctx context.Context, address, path, email string) (status int, body, replica string, err error) {
	if address == "" {
		address = c.address
	}
	answer, err := c.send(ctx, http.MethodGet, address, path, email, "")
	if err != nil {
		return 0, "", "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), answer.Header.Get("Replica"), err
}

// load is people at work, until it is over. Everyone is served as himself, and who
// was put out is not served once the bound has passed.
func (c *cluster) load(over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(5 * time.Millisecond):
		}
		email := c.people[rand.IntN(len(c.people))] //nolint:gosec // anybody
		began, away := time.Now(), c.awaySince.Load()
		since, isOut := c.out.Load(email)
		status, body, wall, err := c.get(context.Background(), "", "/", email)
		c.requests.Add(1)
		cut := wall == strconv.Itoa(cuttable) && c.cutSince.Load() > 0
		bound := c.within
		if cut {
			bound += c.maxFeedAge
		}
		switch {
		case err != nil:
			c.problem("%s: %v", email, err)
		case isOut && status == http.StatusOK && began.Sub(since.(time.Time)) > bound: //nolint:forcetypeassert // nothing else is stored
			c.problem("wall %s served %s, %v after he was put out", wall, email, began.Sub(since.(time.Time))) //nolint:forcetypeassert // as above
		case isOut && status != http.StatusOK:
			c.refused.Add(1)
		case status == http.StatusServiceUnavailable && (cut || away > 0 && time.Since(time.UnixMilli(away)) > c.maxFeedAge-c.within):
		case status == http.StatusOK && body == "<"+email+">":
		case isOut:
		default:
			if _, now := c.out.Load(email); !now { // it may have come in between
				c.problem("wall %s answered %s with %d %.60q", wall, email, status, body)
			}
		}
	}
}

func (c *cluster) problem(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// block blocks somebody, as an operator does beside the walls.
func (c *cluster) block(t *testing.T, email string) time.Time {
	t.Helper()
	if _, err := c.admin.Block(t.Context(), store.Who{Email: email}, "test", ""); err != nil {
		t.Fatalf("block %s: %v", email, err)
	}
	now := time.Now()
	c.out.Store(email, now)
	return now
}

// next takes somebody who is in.
func (c *cluster) next() string {
	for _, email := range slices.Backward(c.people) {
		if _, found := c.out.Load(email); !found {
			return email
		}
	}
	return ""
}

// A wayOut is a request to one wall, by its own door, that puts somebody out of all
// of them. It is answered with one status, and he with another from then on.
type wayOut struct {
	name, path        string
	refusal, answered int
	body              string
	byAdmin           bool
}

func waysOut() []wayOut {
	return []wayOut{
		{"blocks by an admin", "/_auth/users/$USER/block", http.StatusForbidden, http.StatusOK, `{"reason":"test"}`, true},
		{"sessions ended by an admin", "/_auth/users/$USER/end", http.StatusFound, http.StatusOK, `{"session":"$SESSION"}`, true},
		{"sign-outs", "/_auth/logout", http.StatusFound, http.StatusSeeOther, "", false},
	}
}

// putOut measures when the other walls refuse who was put out by one of them, and
// end what is open there.
func (c *cluster) putOut(t *testing.T, way wayOut, times int, table *figures) {
	t.Helper()
	var took, closed []time.Duration
	for n := range times {
		acting := n % replicas
		email := c.next()
		since := func(when, now time.Time) time.Duration { return max(0, now.Sub(when)) } // some are quicker than the answer
		ended := make([]time.Time, replicas)
		var open, streams, group sync.WaitGroup
		open.Add(replicas)
		for i, w := range c.walls {
			streams.Go(func() { ended[i] = c.stream(w, email, open.Done) })
		}
		open.Wait()
		when := c.ask(t, c.walls[acting], way, email)
		if status, _, _, err := c.get(t.Context(), c.walls[acting].address, "/", email); err != nil || status != way.refusal {
			t.Fatalf("%s: the wall that did it answers %d, %v", way.name, status, err)
		}
		delays := make([]time.Duration, replicas)
		for i, w := range c.walls {
			group.Go(func() {
				for end := when.Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
					if status, _, _, err := c.get(context.Background(), w.address, "/", email); err == nil && status == way.refusal {
						delays[i] = since(when, time.Now())
						return
					}
				}
				delays[i] = patience
			})
		}
		group.Wait()
		streams.Wait()
		took = append(took, slices.Delete(delays, acting, acting+1)...)
		for i := range replicas {
			if i != acting {
				closed = append(closed, since(when, ended[i]))
			}
		}
	}
	slices.Sort(took)
	slices.Sort(closed)
	if worst := max(took[len(took)-1], closed[len(closed)-1]); worst > c.within {
		t.Errorf("%s: after %v somebody was still in", way.name, worst)
	}
	table.add(t, []string{fmt.Sprintf("%d %s through one wall, refused by the nine others under load: p50, p90, p99, max", times, way.name), quantiles(took)})
	table.add(t, []string{"live streams at those nine closed: p50, p90, p99, max", quantiles(closed)})
}

// stream opens one at a wall, says so, and returns when it was closed.
func (c *cluster) stream(w *replica, email string, open func()) time.Time {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := c.send(ctx, http.MethodGet, w.address, "/stream", email, "")
	open()
	if err != nil || answer.StatusCode != http.StatusOK {
		c.problem("no stream for %s: %v", email, err)
		return time.Now()
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return time.Now()
}

// ask puts somebody out at a wall, and returns when that was acknowledged.
func (c *cluster) ask(t *testing.T, w *replica, way wayOut, email string) time.Time {
	t.Helper()
	user, err := c.admin.User(t.Context(), store.Who{Email: email})
	check(t, err)
	sessions, _, err := c.admin.Sessions(t.Context(), store.SessionQuery{User: user.ID, OpenOnly: true})
	check(t, err)
	if len(sessions) != 1 {
		t.Fatalf("%s has %d open sessions", email, len(sessions))
	}
	fill := strings.NewReplacer("$USER", string(user.ID), "$SESSION", string(sessions[0].ID))
	as := email
	if way.byAdmin {
		as = c.people[0]
	}
	// Until it is acknowledged both is right: to be served, and to be refused.
	c.out.Store(email, time.Now().Add(patience))
	answer, err := c.send(t.Context(), http.MethodPost, w.address, fill.Replace(way.path), as, fill.Replace(way.body))
	check(t, err)
	defer answer.Body.Close()
	now := time.Now()
	if answer.StatusCode != way.answered {
		t.Fatalf("%s: %s", way.name, answer.Status)
	}
	c.out.Store(email, now)
	return now
}

func quantiles(sorted []time.Duration) string {
	var out []string
	for _, q := range []float64{0.5, 0.9, 0.99, 1} {
		out = append(out, sorted[int(q*float64(len(sorted)-1))].Round(time.Millisecond).String())
	}
	return strings.Join(out, ", ")
}

// rotateKey changes the session key under load, wall by wall, in the two steps that
// the documentation names: nobody is logged out.
func (c *cluster) rotateKey(t *testing.T) {
	t.Helper()
	one, two := filepath.Join(c.folder, "key1"), filepath.Join(c.folder, "key2")
	for _, keys := range []string{
		"key_file: " + one + ", old_key_files: [" + two + "]", // all can open what the new one will seal
		"key_file: " + two + ", old_key_files: [" + one + "]",
	} {
		for _, w := range c.walls {
			before := metric(c.text("http://"+w.ops+"/metrics"), "loginwall_config_last_reload_success_timestamp_seconds")
			c.configure(t, w, "", keys)
			check(t, w.cmd.Process.Signal(syscall.SIGHUP))
			poll(t, "a wall does not reload", func() bool {
				return metric(c.text("http://"+w.ops+"/metrics"), "loginwall_config_last_reload_success_timestamp_seconds") > before
			})
		}
	}
	email := c.people[0]
	cookie, _, _, err := c.login(email)
	check(t, err)
	c.sessions.Store(email, cookie)
}

// cutOff takes the way to PostgreSQL from one wall, without a word as a network
// does, and gives it back.
func (c *cluster) cutOff(t *testing.T, table *figures) {
	t.Helper()
	email, other := c.next(), c.people[0]
	address := c.walls[cuttable].address
	began := time.Now()
	c.cutSince.Store(began.UnixMilli())
	c.link.cut()
	c.block(t, email)
	if status, _, _, err := c.get(t.Context(), address, "/", other); err != nil || status != http.StatusOK {
		t.Errorf("a wall that was just cut off answers %d, %v", status, err)
	}
	poll(t, "a wall that is cut off goes on serving", func() bool {
		status, _, _, err := c.get(t.Context(), address, "/", other)
		return err == nil && status == http.StatusServiceUnavailable
	})
	table.add(t, []string{fmt.Sprintf("a wall cut off from PostgreSQL by %s serves for (max_feed_age %v)", c.link.name, c.maxFeedAge), time.Since(began).Round(10 * time.Millisecond).String()})
	if since := time.Since(began); since > c.maxFeedAge+c.within {
		t.Errorf("it served for %v", since)
	}
	if status := statusOf("http://" + c.walls[cuttable].ops + "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("it says that it is ready: %d", status)
	}
	mended := time.Now()
	c.link.mend()
	poll(t, "a wall does not come back", func() bool {
		status, _, _, err := c.get(t.Context(), address, "/", other)
		return err == nil && status == http.StatusOK
	})
	table.add(t, []string{"and serves again after", time.Since(mended).Round(10 * time.Millisecond).String()})
	if status, _, _, err := c.get(t.Context(), address, "/", email); err != nil || status != http.StatusForbidden {
		t.Errorf("back again, it answers who was blocked meanwhile with %d, %v", status, err)
	}
	c.cutSince.Store(0)
}

// crash kills PostgreSQL while people sign in and are blocked, twice: for a moment,
// and for longer than session.max_feed_age.
func (c *cluster) crash(t *testing.T, table *figures) {
	t.Helper()
	for _, longer := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		var acknowledged []string
		var group sync.WaitGroup
		group.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				email := fmt.Sprintf("stranger%t%d@example.com", longer, n)
				if _, err := c.admin.Block(ctx, store.Who{Email: email}, "test", ""); err == nil {
					acknowledged = append(acknowledged, email)
				} else {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
		newcomer, wasIn := fmt.Sprintf("newcomer%t@example.com", longer), fmt.Sprintf("before%t@example.com", longer)
		cookie, _, _, err := c.login(wasIn)
		check(t, err)
		c.sessions.Store(wasIn, cookie)
		c.awaySince.Store(time.Now().UnixMilli())
		c.pg.Kill(t)
		if _, _, _, err := c.login(newcomer); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("a sign-in while PostgreSQL is away: %v", err)
		}
		if _, err := c.admin.Block(t.Context(), store.Who{Email: newcomer}, "test", ""); !errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("a block while PostgreSQL is away: %v", err)
		}
		if status := statusOf("http://" + c.walls[0].ops + "/readyz"); status != http.StatusServiceUnavailable {
			t.Errorf("a wall says that it is ready: %d", status)
		}
		status, _, _, err := c.get(t.Context(), "", "/", wasIn)
		if err != nil || status != http.StatusOK {
			t.Errorf("somebody who is signed in gets %d, %v", status, err)
		}
		if longer {
			poll(t, "walls go on without knowing who is blocked", func() bool {
				for _, w := range c.walls {
					if status, _, _, err := c.get(t.Context(), w.address, "/", wasIn); err != nil || status != http.StatusServiceUnavailable {
						return false
					}
				}
				return true
			})
			if age := metric(c.text("http://"+c.walls[0].ops+"/metrics"), "loginwall_revocation_feed_age_seconds"); age < c.maxFeedAge.Seconds() {
				t.Errorf("the metric says that the feed is %v seconds old", age)
			}
		}
		c.pg.Start(t)
		began := time.Now()
		for i, w := range c.walls {
			poll(t, fmt.Sprintf("wall %d does not come back", i), func() bool {
				status, _, _, err := c.get(t.Context(), w.address, "/", wasIn)
				return err == nil && status == http.StatusOK && statusOf("http://"+w.ops+"/readyz") == http.StatusOK
			})
		}
		healed := time.Since(began)
		cookie, _, _, err = c.login(newcomer)
		check(t, err)
		c.sessions.Store(newcomer, cookie)
		cancel()
		group.Wait()
		c.awaySince.Store(0)
		for _, email := range acknowledged {
			if _, _, _, err := c.login(email); err == nil || !strings.Contains(err.Error(), "403") {
				t.Errorf("a block that was acknowledged is lost: %s, %v", email, err)
			}
		}
		if _, err := c.admin.User(t.Context(), store.Who{Email: wasIn}); err != nil {
			t.Errorf("a sign-in that was acknowledged is lost: %v", err)
		}
		table.add(t, []string{"kill -9 of PostgreSQL while blocks rain down: acknowledged blocks; lost; all ten ready again after", fmt.Sprintf("%d; 0; %v", len(acknowledged), healed.Round(10*time.Millisecond))})
	}
}

func (c *cluster) text(target string) string {
	answer, err := c.client.Get(target)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return "\n" + string(text)
}

func statusOf(target string) int { return statusFor(target, "") }

func statusFor(target, host string) int {
	client := &http.Client{
		Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		return 0
	}
	request.Host = host
	answer, err := client.Do(request)
	if err != nil {
		return 0
	}
	answer.Body.Close()
	return answer.StatusCode
}

func await(t *testing.T, target string, want int, host ...string) {
	t.Helper()
	poll(t, target+" does not answer", func() bool { return statusFor(target, strings.Join(host, "")) == want })
}

// A link is the way from one wall to PostgreSQL.
type link struct {
	addr, name string
	cut, mend  func()
}

// namespace puts the way to a socket of PostgreSQL into a network of its own, whose
// one cable can be pulled: whatever is sent then is lost, and nobody is told.
func namespace(t *testing.T, socket string) (link, error) {
	t.Helper()
	const port, near, far = "5432", "198.18.77.1", "198.18.77.2" // RFC 2544: nobody's
	run := func(command ...string) error {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil { //nolint:gosec // a test's own
			return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
		}
		return nil
	}
	if err := run("unshare", "-n", "true"); err != nil {
		return link{}, err
	}
	database := startChild(t, exec.Command("unshare", "-n", "relay", ":"+port, socket))
	pid := strconv.Itoa(database.cmd.Process.Pid)
	poll(t, "no namespace", func() bool {
		theirs, _ := os.Readlink("/proc/" + pid + "/ns/net")
		return theirs != "" && theirs != must(os.Readlink("/proc/self/ns/net"))
	})
	cable := "lw" + pid // goes with the namespace, which goes with its last process
	inside := []string{"nsenter", "-t", pid, "-n", "ip"}
	for _, command := range [][]string{
		{"ip", "link", "add", cable, "type", "veth", "peer", "name", "db", "netns", pid},
		{"ip", "addr", "add", near + "/30", "dev", cable},
		{"ip", "link", "set", cable, "up"},
		append(inside[:5:5], "addr", "add", far+"/30", "dev", "db"),
		append(inside[:5:5], "link", "set", "db", "up"),
	} {
		if err := run(command...); err != nil {
			return link{}, err
		}
	}
	set := func(state string) func() {
		return func() { check(t, run(append(inside[:5:5], "link", "set", "db", state)...)) }
	}
	return link{net.JoinHostPort(far, port), "a network namespace whose link is down", set("down"), set("up")}, nil
}

// stalledRelay carries connections to an address, until it is cut: then nothing
// comes through.
func stalledRelay(t *testing.T, to string) link {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	var passing sync.RWMutex
	carry := func(to, from net.Conn) {
		defer to.Close()
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			passing.RLock()
			_, failed := to.Write(buffer[:n])
			passing.RUnlock()
			if err != nil || failed != nil {
				return
			}
		}
	}
	var mu sync.Mutex
	var open []net.Conn
	var group sync.WaitGroup
	group.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, from)
			mu.Unlock()
			group.Go(func() {
				defer from.Close()
				passing.RLock()
				target, err := net.Dial("tcp", to) //nolint:noctx // at once
				passing.RUnlock()
				if err != nil {
					return
				}
				defer target.Close()
				group.Go(func() { carry(target, from) })
				carry(from, target)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return link{l.Addr().String(), "a relay that stalls", passing.Lock, passing.Unlock}
}

// loadRevocations measures what the set of the revoked takes of a start.
func loadRevocations(t *testing.T, database string, n int, table *figures) {
	t.Helper()
	fill(t, database, 0, n)
	s, err := store.Open(t.Context(), store.Config{URL: database})
	check(t, err)
	defer s.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	set := session.NewRevocations(nil)
	began := time.Now()
	check(t, session.NewFollower(s, set, 0, slog.New(slog.DiscardHandler)).Poll(t.Context()))
	took := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if known, _, _ := set.Len(); known != n {
		t.Errorf("%d revocations are known, want %d", known, n)
	}
	table.add(t, []string{
		fmt.Sprintf("reading %d live revocations at the start: time; memory that they take", n),
		fmt.Sprintf("%v; %.0f MB", took.Round(time.Millisecond), float64(after.HeapAlloc-before.HeapAlloc)/1e6),
	})
}

// writeRates measures what two walls together write in a second.
func writeRates(t *testing.T, database string, table *figures) {
	t.Helper()
	const total, workers = 2000, 32
	var stores []*store.Store
	for range 2 {
		s, err := store.Open(t.Context(), store.Config{URL: database, Create: true})
		check(t, err)
		defer s.Close() //nolint:gocritic // both at the end
		stores = append(stores, s)
	}
	ids := make([]auth.SessionID, total)
	rate := func(do func(s *store.Store, n int) error) string {
		var group sync.WaitGroup
		var failed atomic.Pointer[error]
		began := time.Now()
		for w := range workers {
			group.Go(func() {
				for n := w; n < total; n += workers {
					if err := do(stores[n%2], n); err != nil {
						failed.Store(&err)
					}
				}
			})
		}
		group.Wait()
		if err := failed.Load(); err != nil {
			t.Error(*err)
		}
		return fmt.Sprintf("%.0f", total/time.Since(began).Seconds())
	}
	signIns := rate(func(s *store.Store, n int) error {
		ids[n] = auth.NewSessionID()
		_, err := s.SignIn(t.Context(), auth.SignIn{MaxAge: time.Hour, Session: ids[n], Identity: auth.Identity{
			Issuer: "https://accounts.google.com", Subject: strconv.Itoa(n), Email: fmt.Sprintf("p%d@example.com", n), EmailVerified: true,
		}})
		return err
	})
	signOuts := rate(func(s *store.Store, n int) error {
		return s.EndSession(t.Context(), auth.Ending{Session: ids[n], By: "test", Reason: auth.EndSignOut})
	})
	table.add(t, []string{"first sign-ins; sign-outs: a second, from two walls' stores at once, on disk", signIns + "; " + signOuts})
}

// fill makes a store with many users and live revocations.
func fill(t *testing.T, database string, users, revocations int) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: database, Create: true})
	check(t, err)
	check(t, s.Close())
	db, err := sql.Open("pgx", database)
	check(t, err)
	defer db.Close()
	run := func(query string, args ...any) {
		t.Helper()
		_, err := db.ExecContext(t.Context(), query, args...)
		check(t, err)
	}
	now := time.Now().UnixMilli()
	run(`INSERT INTO users (id, issuer, subject, email, email_verified, name, picture, hosted_domain, search, first_sign_in, last_sign_in, last_seen, sign_ins)
		SELECT 'u' || n, 'https://accounts.google.com', n::TEXT, 'u' || n || '@example.com', TRUE, 'User ' || n, '', 'example.com', 'u' || n, $1::BIGINT, $1::BIGINT, $1::BIGINT, 1
		FROM generate_series(1, $2::INT) AS n`, now, users)
	for done := 0; done < revocations; {
		batch := min(10_000, revocations-done)
		keys := make([]string, batch)
		for i := range keys {
			keys[i] = string(auth.NewSessionID())
		}
		run(`INSERT INTO revocations (kind, key, seq, active, at, expires)
			SELECT 'session', k, n + $2::BIGINT, TRUE, $3::BIGINT, $3::BIGINT + 86400000 FROM unnest($1::TEXT[]) WITH ORDINALITY AS r (k, n)`, keys, done, now)
		done += batch
	}
	run(`UPDATE counters SET value = $1 WHERE name = 'feed'`, revocations)
	run(`ANALYZE`)
}
