package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/loginwall/loginwall/internal/hygiene"
)

func TestMain(m *testing.M) {
	// A program with the race detector otherwise sleeps for a second before it ends,
	// in case another thread still has a race to report.
	_ = os.Setenv("GORACE", goRace)
	testscript.Main(hygiene.Tests{M: m}, map[string]func(){"loginwall": func() { os.Exit(realMain()) }, "relay": relay, "loginwall-ahead": ahead})
}

const goRace = "atexit_sleep_ms=20"

// TestScripts runs the behaviour scripts, one topic a file, against the real
// binary, a real provider, and an upstream that records the bytes that it got.
// See testdata/README.md for the commands.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Setup:               setupScript,
		Cmds:                rigCommands(),
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

type rigKey struct{}

func setupScript(env *testscript.Env) error {
	r, stop, err := makeRig()
	if err != nil {
		return err
	}
	env.Values[rigKey{}] = r
	env.Setenv("GORACE", goRace)
	for name, value := range r.vars() {
		env.Setenv(name, value)
	}
	env.Defer(func() {
		stop()
		r.oracle.judgeWalls(env.T())
	})
	return nil
}

// judgeWalls looks at what the walls of a script wrote, once they have ended. In a
// script that has failed they may not have.
func (o *oracle) judgeWalls(t testscript.T) {
	if failed, ok := t.(interface{ Failed() bool }); ok && failed.Failed() {
		return
	}
	for _, wall := range o.walls {
		if text, ok := wall.Stderr.(*strings.Builder); ok {
			o.judgeLog(scriptEnd{t}, text.String())
		}
	}
}

// scriptEnd reports what is found when a script is over.
type scriptEnd struct{ testscript.T }

func (e scriptEnd) Fatalf(format string, args ...any) { e.Fatal(fmt.Sprintf(format, args...)) }
func (e scriptEnd) Logf(format string, args ...any)   { e.Log(fmt.Sprintf(format, args...)) }

func rigCommands() map[string]func(*testscript.TestScript, bool, []string) {
	commands := map[string]func(*rig, *testscript.TestScript, bool, []string){
		"config": (*rig).config, "await": (*rig).await, "public": (*rig).public, "as": (*rig).switchTo,
		"login": (*rig).login, "get": (*rig).get, "post": (*rig).post, "send": (*rig).send, "follow": (*rig).follow, "raw": (*rig).raw,
		"status": (*rig).status, "header": (*rig).header, "body": (*rig).checkBody, "keep": (*rig).keep, "cookie": (*rig).cookie,
		"saw": (*rig).saw, "upstream": (*rig).answerWith, "signal": (*rig).signal, "until": (*rig).until, "asked": (*rig).asked,
	}
	out := map[string]func(*testscript.TestScript, bool, []string){}
	for name, f := range commands {
		out[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			f(ts.Value(rigKey{}).(*rig), ts, neg, args)
		}
	}
	return out
}

// config FILE: replaces $NAMES in a file of the script.
func (r *rig) config(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), func(v string) string {
			if v == "$" {
				return "$"
			}
			return ts.Getenv(v)
		})
		text = carriedBy(text)
		r.oracle.configured(ts, text)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// public URL: what people type; the wall itself still listens where it listened.
func (r *rig) public(ts *testscript.TestScript, _ bool, args []string) {
	r.publicURL = args[0]
	ts.Setenv("PUBLIC", args[0])
}

// await: until the wall serves and can begin logins; "await down" does not wait
// for its provider.
func (r *rig) await(ts *testscript.TestScript, _ bool, args []string) {
	r.oracle.walls = append(r.oracle.walls, ts.BackgroundCmds()...)
	r.awaitServing(ts)
	if len(args) == 0 {
		r.awaitProvider(ts)
	}
}

// as NAME: another browser.
func (r *rig) switchTo(_ *testscript.TestScript, _ bool, args []string) { r.as(args[0]) }

func (r *rig) get(ts *testscript.TestScript, _ bool, args []string) {
	r.ask(ts, http.MethodGet, args...)
}

func (r *rig) post(ts *testscript.TestScript, _ bool, args []string) {
	r.ask(ts, http.MethodPost, args...)
}

// send METHOD [-kind] PATH ...
func (r *rig) send(ts *testscript.TestScript, _ bool, args []string) {
	r.ask(ts, args[0], args[1:]...)
}

// follow: goes where the last answer leads, to the provider too; "follow EMAIL"
// tells the provider who signs in.
func (r *rig) follow(ts *testscript.TestScript, _ bool, args []string) {
	r.goOn(ts, strings.Join(args, ""))
}

// login EMAIL [PATH]: the whole way from a protected path back to it; the last
// answer is the callback's.
func (r *rig) login(ts *testscript.TestScript, neg bool, args []string) {
	target := "/"
	if len(args) > 1 {
		target = args[1]
	}
	if ok := r.tryLogin(ts, args[0], target).StatusCode == http.StatusSeeOther; ok == neg {
		ts.Fatalf("login %s: %s\n%s", args[0], r.last.Status, r.last.body)
	}
}

// raw FILE: sends the file's bytes, \r\n for each line's end, until the wall closes, and
// keeps the first answer.
func (r *rig) raw(ts *testscript.TestScript, _ bool, args []string) {
	answers := r.sendRaw(ts, strings.ReplaceAll(ts.ReadFile(args[0]), "\n", "\r\n"), patience)
	if len(answers) == 0 {
		ts.Fatalf("no answer")
	}
	r.last = answers[0]
}

// status N
func (r *rig) status(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if (r.last.StatusCode == want) == neg {
		ts.Fatalf("status %d\n%.600s", r.last.StatusCode, r.last.body)
	}
}

// header NAME [REGEXP]: each of the answer's values must match; "! header NAME"
// wants none.
func (r *rig) header(ts *testscript.TestScript, neg bool, args []string) {
	values := r.last.Header.Values(args[0])
	if len(args) == 1 {
		if (len(values) > 0) == neg {
			ts.Fatalf("%s: %q", args[0], values)
		}
		return
	}
	if ok := matchAny(ts, args[1], values); ok == neg {
		ts.Fatalf("%s: %q", args[0], values)
	}
}

func matchAny(ts *testscript.TestScript, pattern string, values []string) bool {
	re, err := regexp.Compile(pattern)
	ts.Check(err)
	return slices.ContainsFunc(values, re.MatchString)
}

// body REGEXP
func (r *rig) checkBody(ts *testscript.TestScript, neg bool, args []string) {
	if matchAny(ts, args[0], []string{string(r.last.body)}) == neg {
		ts.Fatalf("body:\n%s", r.last.body)
	}
}

// keep NAME REGEXP: what the first group finds in the last body becomes $NAME.
func (r *rig) keep(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(args[1]).FindSubmatch(r.last.body)
	if found == nil {
		ts.Fatalf("body:\n%s", r.last.body)
	}
	ts.Setenv(args[0], string(found[1]))
}

// cookie NAME-REGEXP: whether the browser holds one; "cookie copy FROM TO" copies
// another browser's.
func (r *rig) cookie(ts *testscript.TestScript, neg bool, args []string) {
	if args[0] == "copy" {
		r.jars[args[2]] = maps.Clone(r.jars[args[1]])
		return
	}
	var names []string
	for name := range r.cookies() {
		names = append(names, name)
	}
	if matchAny(ts, args[0], names) == neg {
		ts.Fatalf("cookies: %q", names)
	}
}

// saw REGEXP: in the last request that the upstream got, bytes as they came (with
// \n for \r\n); "saw none" and "saw N" count all there were.
func (r *rig) saw(ts *testscript.TestScript, neg bool, args []string) {
	requests := r.upstream.all()
	if args[0] == "none" {
		args[0] = "0"
	}
	if n, err := strconv.Atoi(args[0]); err == nil {
		if (len(requests) == n) == neg {
			ts.Fatalf("the upstream got %d requests, the last:\n%s", len(requests), lastOf(requests))
		}
		return
	}
	if matchAny(ts, "(?m)"+args[0], []string{lastOf(requests)}) == neg {
		ts.Fatalf("the upstream got %d requests, the last:\n%s", len(requests), lastOf(requests))
	}
}

func lastOf(requests []string) string {
	if len(requests) == 0 {
		return ""
	}
	return requests[len(requests)-1]
}

// upstream FILE: the bytes that the upstream answers with from now on; "upstream
// default" and "upstream reset" (closes at once).
func (r *rig) answerWith(ts *testscript.TestScript, _ bool, args []string) {
	switch args[0] {
	case "default":
		r.upstream.answer(defaultAnswer)
	case "reset":
		r.upstream.answer("")
	default:
		r.upstream.answer(strings.ReplaceAll(ts.ReadFile(args[0]), "\n", "\r\n"))
	}
}

// signal NAME: HUP or TERM for every process that runs in the background.
func (r *rig) signal(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(signals[args[0]]))
	}
}

// until STATUS [get's arguments]: repeats a request until it is answered so, for
// what has to become true within a second or so.
func (r *rig) until(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	poll(ts, "no "+args[0], func() bool {
		err := r.try(ts, r.request(ts, http.MethodGet, args[1:]))
		return err == nil && r.last.StatusCode == want
	})
}

// asked ENDPOINT N: how often the provider was.
func (r *rig) asked(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	if n := r.idp.Requests(args[0]); (n == want) == neg {
		ts.Fatalf("the provider's %s was asked %d times", args[0], n)
	}
}
