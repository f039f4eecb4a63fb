package auth_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth"
)

func TestParseEmail(t *testing.T) {
	for in, want := range map[string]string{
		"alice@example.com":                      "alice@example.com",
		"Alice@EXAMPLE.com":                      "alice@example.com",
		"alice+x@example.com":                    "alice+x@example.com",
		"o'neil.j@sub.example.com":               "o'neil.j@sub.example.com",
		"a@xn--bcher-kva.example":                "a@xn--bcher-kva.example",
		strings.Repeat("a", 64) + "@example.com": strings.Repeat("a", 64) + "@example.com",
	} {
		got, err := auth.ParseEmail(in)
		if err != nil || got != want {
			t.Errorf("ParseEmail(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "@", "a@", "@example.com", "alice", "alice@com",
		"m@evil.test@example.com", "m@example.com@evil.test", `"a@example.com"@evil.test`, `"a b"@example.com`,
		"a@example.com,b@x.test", "<a@example.com>", "a@ example.com", " a@example.com", "a@example.com ", "a@example.com\n",
		"a\x00@example.com", "a@example.com.", "a@.example.com", "a@example..com", "a@-example.com", "a@example-.com",
		".a@example.com", "a.@example.com", "a..b@example.com", "a@[127.0.0.1]", "a@*.example.com", "ä@example.com", "a@exämple.com",
		"a(b)@example.com", "a;b@example.com", "a\\@example.com", "a@example.com/x", "a@example.com?x", "a@exam_ple.com",
		strings.Repeat("a", 65) + "@example.com", "a@" + strings.Repeat("a.", 126) + "com", "a@" + strings.Repeat("a", 64) + ".com",
		strings.Repeat("a", 1<<20) + "@example.com", "a@" + strings.Repeat("x.", 1e5) + "com", "ａ@example.com", "\u212a@example.com",
	} {
		if got, err := auth.ParseEmail(in); err == nil {
			t.Errorf("ParseEmail(%.80q) = %q, want an error", in, got)
		}
	}
}

// META-253, POL-155.
func FuzzParseEmail(f *testing.F) {
	for _, s := range []string{"alice@example.com", "m@evil.test@example.com", `"a@example.com"@evil.test`, "a@example.com,b@x", "<a@b.c>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		email, err := auth.ParseEmail(s)
		if err != nil {
			return
		}
		if again, err := auth.ParseEmail(email); err != nil || again != email {
			t.Errorf("canonical %q parses as %q, %v", email, again, err)
		}
		if strings.Count(email, "@") != 1 || strings.ContainsAny(email, " ,;<>()[]\"\\\r\n\x00") || email != strings.ToLower(email) {
			t.Errorf("%q passed as %q", s, email)
		}
		if auth.LocalPart(email)+"@"+auth.Domain(email) != email {
			t.Errorf("%q does not split in two", email)
		}
		for _, c := range []byte(email) {
			if c <= ' ' || c > '~' {
				t.Errorf("%q holds byte %#x", email, c)
			}
		}
	})
}

func TestUserID(t *testing.T) {
	id := auth.Identity{Issuer: "https://accounts.google.com", Subject: "1"}
	if got := id.UserID(); len(got) != 26 {
		t.Errorf("UserID = %q, want 26 characters", got)
	}
	other := auth.Identity{Issuer: "https://accounts.google.com", Subject: "1", Email: "new@example.com", Name: "N"}
	if id.UserID() != other.UserID() {
		t.Error("the address took part in the user's id")
	}
	for _, different := range []auth.Identity{
		{Issuer: "https://accounts.google.com", Subject: "2"},
		{Issuer: "https://accounts.google.co", Subject: "m1"},
		{Issuer: "https://other.test", Subject: "1"},
	} {
		if different.UserID() == id.UserID() {
			t.Errorf("%+v has the same user id", different)
		}
	}
	if got := (&auth.Identity{Email: "a@example.com"}).UserID(); got != "" {
		t.Errorf("an identity without issuer and subject has the id %q", got)
	}
}

func TestSessionID(t *testing.T) {
	seen := map[auth.SessionID]bool{}
	for range 10_000 {
		id := auth.NewSessionID()
		if seen[id] {
			t.Fatalf("%s came twice", id)
		}
		seen[id] = true
		b, err := id.Bytes()
		if err != nil || auth.SessionIDFrom(b) != id {
			t.Fatalf("%s does not survive Bytes: %v", id, err)
		}
	}
	for _, bad := range []auth.SessionID{"", "short", "AAAAAAAAAAAAAAAAAAAAAAAAAA", auth.SessionID(strings.Repeat("a", 27))} {
		if _, err := bad.Bytes(); err == nil {
			t.Errorf("%q passed as a session id", bad)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	const canary = "canary-5eef"
	s := auth.NewSecret(canary)
	holder := struct {
		Key *auth.Secret
		In  auth.Secret
	}{&s, s}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "holder", holder, "pointer", &s)
	encoded, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x %X %d", s, s, s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v %s", holder, holder, holder, &s), log.String(), string(encoded),
		fmt.Errorf("wrapped: %v", s).Error(),
	} {
		if strings.Contains(got, canary) || strings.Contains(got, fmt.Sprintf("%x", canary)) {
			t.Errorf("printed: %s", got)
		}
	}
	if s.Reveal() != canary || s.IsZero() || !(auth.Secret{}).IsZero() {
		t.Error("Reveal or IsZero is wrong")
	}
}
