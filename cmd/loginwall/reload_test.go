package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/config"
	"github.com/loginwall/loginwall/internal/locked"
)

// What a reload replaces ends: here the providers of two origins, whose client has
// another secret each time.
func TestReloadsLeaveNothingRunning(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	text := basics + "directory: {public_url: 'http://users.localhost:1'}\n"
	file := r.write(t, text)
	p := &program{log: new(locked.Buffer), env: os.LookupEnv, now: time.Now}
	cfg, _, err := config.Load(file, p.env)
	check(t, err)
	w, err := p.newWall(t.Context(), cfg)
	check(t, err)
	defer w.close()
	poll(t, "the provider is not known", w.site.Load().provider.Ready)
	for n := range 10 {
		r.writeTo(t, file, strings.Replace(text, "$CLIENT_SECRET", fmt.Sprintf("GOCSPX-another-%d", n), 1))
		w.reload(t.Context())
	}
	if secret := w.site.Load().provider.made.ClientSecret.Reveal(); secret != "GOCSPX-another-9" {
		t.Fatalf("the client's secret is %s", secret)
	}
	running := func(want int) func() bool {
		return func() bool {
			var stacks bytes.Buffer
			check(t, pprof.Lookup("goroutine").WriteTo(&stacks, 2))
			return strings.Count(stacks.String(), "oidc.(*Provider).Run(") == want
		}
	}
	poll(t, "other providers than the two in force are running", running(2))
	r.writeTo(t, file, strings.Replace(basics, "$CLIENT_SECRET", "GOCSPX-another-9", 1))
	ending, end := context.WithCancel(t.Context())
	end()
	w.reload(ending)
	if events, _, err := w.store.Events(t.Context(), store.EventQuery{Kind: auth.EventReloaded}); len(events) != 11 || err != nil {
		t.Errorf("%d of 11 reloads are recorded: %v", len(events), err)
	}
	poll(t, "the provider in force is not running alone", running(1))
}
