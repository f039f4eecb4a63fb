package seal_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth/seal"
)

// fixedKey is not in the list of known samples only because its place is a test.
const fixedKey = "4f1c0d9be2873a5566d1f08e7b2a9c43105eaf77c8b9d6e2013f84a5b6c7d8e9"

func newKey(t testing.TB) []byte {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

func newRing(t testing.TB, current []byte, old ...[]byte) *seal.Ring {
	t.Helper()
	ring, err := seal.NewRing(current, old...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// COO-133, CFG-242.
func TestNewRingRefuses(t *testing.T) {
	good := newKey(t)
	counting := make([]byte, 32)
	for i := range counting {
		counting[i] = byte(200 - 3*i)
	}
	sample, err := base64.URLEncoding.DecodeString("OQINaROshtE9TcZkNAm-5Zs2Pv3xaWytBmc5W7sPX7w=")
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string][][]byte{
		"no key":             {nil},
		"one byte":           {{1}},
		"31 bytes":           {good[:31]},
		"all zero":           {make([]byte, 32)},
		"one byte repeated":  {bytes.Repeat([]byte{'k'}, 40)},
		"a word repeated":    {[]byte("0123456789abcdef0123456789abcdef")},
		"half repeated":      {append(bytes.Clone(good[:20]), good[:20]...)},
		"counting":           {counting},
		"a placeholder":      {[]byte("this is an Example key of 32 byte")},
		"a known sample":     {sample},
		"an old one short":   {good, good[:8]},
		"an old one zero":    {good, newKey(t), make([]byte, 32)},
		"old is the current": {good, newKey(t), good},
		"three old":          {good, newKey(t), newKey(t), newKey(t)},
	} {
		t.Run(name, func(t *testing.T) {
			ring, err := seal.NewRing(keys[0], keys[1:]...)
			if err == nil {
				t.Fatal("was taken")
			}
			if ring != nil {
				t.Error("a ring came with the error")
			}
			for _, key := range keys {
				if len(key) > 1 && (strings.Contains(err.Error(), string(key)) ||
					strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(key))) {
					t.Errorf("the error holds the key: %v", err)
				}
			}
		})
	}
}

func TestNewRingKeepsCopies(t *testing.T) {
	key := newKey(t)
	ring := newRing(t, key)
	before := ring.Derive("x", 32)[0]
	clear(key)
	if !bytes.Equal(ring.Derive("x", 32)[0], before) {
		t.Error("the ring changes with the caller's slice")
	}
}

// COO-133, CFG-242.
func TestParseKey(t *testing.T) {
	// Every alphabet and padding of a key that uses the characters in which they differ.
	key := append(bytes.Repeat([]byte{0xfb, 0xff, 0x3e, 0x07}, 8), newKey(t)...)
	std, raw := base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key)
	if !strings.ContainsAny(std, "+/") || !strings.ContainsAny(raw, "-_") {
		t.Fatal("the key does not tell the alphabets apart")
	}
	for name, text := range map[string]string{
		"standard":         std,
		"standard, raw":    strings.TrimRight(std, "="),
		"URL":              base64.URLEncoding.EncodeToString(key),
		"URL, raw":         raw,
		"a newline":        std + "\n",
		"Windows newline":  std + "\r\n",
		"white space":      " \t\n" + raw + "\n\n ",
		"wrapped in lines": std[:40] + "\n" + std[40:] + "\n",
	} {
		got, err := seal.ParseKey([]byte(text))
		if err != nil || !bytes.Equal(got, key) {
			t.Errorf("%s: %x, %v; want %x", name, got, err, key)
		}
	}

	for name, c := range map[string]struct{ text, want string }{
		"empty":         {"", "empty"},
		"blank":         {" \n", "empty"},
		"short":         {base64.StdEncoding.EncodeToString(key[:16]), "16 bytes"},
		"not base64":    {"correct horse battery staple! correct horse battery staple!", "not base64"},
		"raw bytes":     {string(newKey(t)) + "\x80", ""},
		"a placeholder": {"Change-me-change-me-change-me-change-me-change-me-xx", "placeholder"},
		"zero":          {base64.StdEncoding.EncodeToString(make([]byte, 32)), "guess"},
		"sample":        {"OQINaROshtE9TcZkNAm-5Zs2Pv3xaWytBmc5W7sPX7w=\n", "sample"},
	} {
		got, err := seal.ParseKey([]byte(c.text))
		if err == nil {
			t.Errorf("%s: was taken as %x", name, got)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want it to say %q", name, err, c.want)
		}
		if !strings.Contains(err.Error(), "base64)") {
			t.Errorf("%s: %v does not say what to do", name, err)
		}
		if text := strings.TrimSpace(c.text); text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error holds the text: %v", name, err)
		}
	}
}

func TestGenerateKey(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		text := seal.GenerateKey()
		if text[len(text)-1] != '\n' {
			t.Fatalf("%d characters without a newline", len(text))
		}
		key, err := seal.ParseKey(text)
		if err != nil || len(key) != 32 {
			t.Fatalf("a new key of %d bytes: %v", len(key), err)
		}
		if seen[string(key)] {
			t.Fatal("the same key twice")
		}
		seen[string(key)] = true
		newRing(t, key)
	}
}

func TestDerive(t *testing.T) {
	key, old := newKey(t), newKey(t)
	ring := newRing(t, key, old)
	a := ring.Derive("assertion", 48)
	if len(a) != 2 || len(a[0]) != 48 || len(a[1]) != 48 {
		t.Fatalf("want two keys of 48 bytes, have %d", len(a))
	}
	if !bytes.Equal(a[1], newRing(t, old).Derive("assertion", 48)[0]) {
		t.Error("an old key derives differently than when it was current")
	}
	if bytes.Equal(a[0], a[1]) || bytes.Equal(a[0], ring.Derive("other", 48)[0]) || bytes.Contains(a[0], key[:16]) {
		t.Error("derived keys are not independent")
	}

	// What is derived may never change: replicas of two versions must agree.
	fixed, err := hex.DecodeString(fixedKey)
	if err != nil {
		t.Fatal(err)
	}
	const want = "add073261e0ea04b4072e2dd1fb3f045"
	if got := hex.EncodeToString(newRing(t, fixed).Derive("assertion", 16)[0]); got != want {
		t.Errorf("derived %s, want %s", got, want)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte(""))
	f.Add(seal.GenerateKey())
	f.Add([]byte("OQINaROshtE9TcZkNAm-5Zs2Pv3xaWytBmc5W7sPX7w="))
	f.Add([]byte("====\n"))
	f.Add(bytes.Repeat([]byte("QUJD"), 20))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := seal.ParseKey(text)
		if err != nil {
			return
		}
		if _, err := seal.NewRing(key); err != nil {
			t.Errorf("a key that was read is refused: %v", err)
		}
		again, err := seal.ParseKey([]byte(base64.StdEncoding.EncodeToString(key)))
		if err == nil && !bytes.Equal(again, key) {
			t.Errorf("%x reads back as %x", key, again)
		}
	})
}
