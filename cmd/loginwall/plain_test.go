package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                             "",
		"Ada\tLovelace, \"Ä\" 漢字 😀\n":  "Ada\tLovelace, \"Ä\" 漢字 😀\n",
		"\x1b[2J\r\a\x7f":              `\u001b[2J\u000d\u0007\u007f`,
		"\u009b31m\u0085":              `\u009b31m\u0085`,
		"\u202egnp.exe\u2066\u200f":    `\u202egnp.exe\u2066\u200f`,
		"a\u2028b\u2029":               `a\u2028b\u2029`,
		"\x9b31m\xff, and half: \xe2x": `\ufffd31m\ufffd, and half: \ufffdx`,
	} {
		var whole, bytewise bytes.Buffer
		_, err := (&plain{to: &whole}).Write([]byte(text))
		check(t, err)
		out := &plain{to: &bytewise}
		for i := range len(text) {
			_, err := out.Write([]byte{text[i]})
			check(t, err)
		}
		if whole.String() != want || bytewise.String() != want {
			t.Errorf("%q: %q, and byte by byte %q, want %q", text, &whole, &bytewise, want)
		}
	}
}

// Whatever somebody is called, and whatever his browser says of itself, no list
// steers the terminal; and one for programs has it as it is.
func TestListsSteerNoTerminal(t *testing.T) {
	t.Parallel()
	const evil = "\u009b31m\u202egnp.exe\u2066\x1b]0;owned\a\u2028"
	r := newRig(t)
	file := r.write(t, basics)
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + filepath.Join(filepath.Dir(file), "loginwall.db"), Create: true})
	check(t, err)
	_, err = s.SignIn(t.Context(), auth.SignIn{
		Identity: auth.Identity{Issuer: evil, Subject: evil, Email: "eve@example.com", HostedDomain: evil, Name: evil, EmailVerified: true},
		Session:  auth.NewSessionID(), MaxAge: time.Hour, Address: evil, Agent: evil,
	})
	check(t, err)
	_, err = s.Block(t.Context(), store.Who{Email: "eve@example.com"}, evil, evil)
	check(t, err)
	check(t, s.Close())
	for _, args := range []string{
		"users list", "users list --json", "users show eve@example.com", "users show --json eve@example.com", "users export", "users export --json",
		"sessions list", "sessions list --json", "explain --user eve@example.com /", "users show " + evil + "@x", "sessions end " + evil, evil,
	} {
		out, _ := exec.Command(wallBinary(), append(strings.Split(args, " "), "--config", file)...).CombinedOutput() //nolint:gosec // a test's own
		if i := bytes.IndexFunc(out, func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }); i >= 0 || len(out) == 0 {
			t.Errorf("%q: %q", args, out)
		}
		if strings.Contains(args, "--json") {
			var rows []map[string]any
			check(t, json.Unmarshal(out, &rows))
			if got := rows[0]["name"]; got != nil && got != evil {
				t.Errorf("%s: the name is %q", args, got)
			}
		}
	}
}
