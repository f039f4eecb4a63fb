package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/internal/hygiene"
)

// childPath names, in a child process, the store to write to.
const childPath = "LOGINWALL_STORETEST_PATH"

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		fmt.Fprintln(os.Stderr, writeForever(path, os.Getenv(childPath+"_TAG")))
		os.Exit(1)
	}
	os.Exit(hygiene.Tests{M: m}.Run())
}

// writeForever signs people in, ends every second session, blocks every third
// address, and says what was acknowledged, a line each. On a busy machine the other
// process, which does the same, may keep the file locked for longer than a wall waits.
func writeForever(path, tag string) error {
	ctx := context.Background()
	end := time.Now().Add(time.Minute)
	s, err := store.Open(ctx, store.Config{URL: "sqlite:" + path, Create: true})
	for err != nil && time.Now().Before(end) {
		s, err = store.Open(ctx, store.Config{URL: "sqlite:" + path, Create: true})
	}
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		if err := writeOne(ctx, s, tag, n); err != nil && (!errors.Is(err, auth.ErrUnavailable) || time.Now().After(end)) {
			return err
		}
	}
}

func writeOne(ctx context.Context, s *store.Store, tag string, n int) error {
	session := auth.SessionID(fmt.Sprint(tag, ".", n))
	in, err := s.SignIn(ctx, auth.SignIn{Identity: person(n % 50), Session: session, MaxAge: time.Hour})
	if err != nil {
		return err
	}
	fmt.Println("in", session)
	if n%2 == 0 {
		if err := s.EndSession(ctx, auth.Ending{Session: session, Expires: in.Expires, By: "x", Reason: auth.EndSignOut}); err != nil {
			return err
		}
		fmt.Println("out", session)
	}
	if n%3 == 0 {
		email := fmt.Sprintf("%s.%d@example.com", tag, n)
		if _, err := s.Block(ctx, store.Who{Email: email}, "x", ""); err != nil {
			return err
		}
		fmt.Println("block", email)
	}
	return nil
}

// STO-200: two processes write to one store; whatever they said to have done is there
// after they were killed in the middle of it.
func TestKill(t *testing.T) {
	path := newPath(t)
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		var group sync.WaitGroup
		acknowledged := make([][]string, 2)
		for child := range acknowledged {
			group.Go(func() {
				tag := fmt.Sprintf("r%d.c%d", round, child)
				lines, err := killed(t, path, tag, 5+(round*7+child*11)%40)
				if err != nil {
					t.Errorf("%s: %v", tag, err)
				}
				acknowledged[child] = lines
			})
		}
		group.Wait()
		s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + path})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		feed, err := s.Revocations(t.Context(), 0)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		revoked := make(map[string]bool)
		for _, r := range feed.Rows {
			revoked[r.Key] = true
		}
		for _, line := range append(acknowledged[0], acknowledged[1]...) {
			what, key, _ := strings.Cut(line, " ")
			switch record, err := s.Session(t.Context(), auth.SessionID(key)); {
			case what == "in" && err != nil:
				t.Errorf("round %d: lost %s: %v", round, line, err)
			case what == "out" && (err != nil || record.End == nil || !revoked[key]):
				t.Errorf("round %d: lost %s: %+v, %v", round, line, record.End, err)
			case what == "block" && !revoked[key]:
				t.Errorf("round %d: lost %s", round, line)
			}
		}
		if err := s.Verify(t.Context()); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killed runs a child until it has said so many lines, kills it, and returns all
// the whole lines that it said.
func killed(t *testing.T, path, tag string, lines int) (said []string, err error) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childPath+"="+path, childPath+"_TAG="+tag)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			break // the child is dead and the pipe is dry
		}
		said = append(said, strings.TrimSpace(line))
		if len(said) == lines {
			if err := cmd.Process.Kill(); err != nil {
				return nil, err
			}
		}
	}
	_ = cmd.Wait() // "signal: killed"
	if len(said) < lines {
		return said, fmt.Errorf("said only %d lines", len(said))
	}
	return said, nil
}
