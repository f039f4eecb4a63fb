package seal_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/loginwall/loginwall/auth/seal"
)

const here = "https://tool.example.com"

func newBox(t testing.TB, ring *seal.Ring, purpose, audience string) *seal.Box {
	t.Helper()
	box, err := ring.Box(purpose, audience)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func mustSeal(t testing.TB, box *seal.Box, plain []byte) string {
	t.Helper()
	text, err := box.Seal(plain)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestBoxNeedsAll(t *testing.T) {
	ring := newRing(t, newKey(t))
	for _, c := range []struct {
		ring              *seal.Ring
		purpose, audience string
	}{{nil, "p", here}, {new(seal.Ring), "p", here}, {ring, "", here}, {ring, "p", ""}} {
		if box, err := c.ring.Box(c.purpose, c.audience); err == nil || box != nil {
			t.Errorf("Box(%q, %q) was made", c.purpose, c.audience)
		}
	}
}

func TestSealAndOpen(t *testing.T) {
	box := newBox(t, newRing(t, newKey(t)), "session", here)
	for size := range 700 {
		plain := bytes.Repeat([]byte{byte(size)}, size)
		text := mustSeal(t, box, plain)
		if len(text) != seal.SealedLen(size) {
			t.Fatalf("%d bytes make %d characters, SealedLen says %d", size, len(text), seal.SealedLen(size))
		}
		if strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=") != "" {
			t.Fatalf("%q is not of the alphabet", text)
		}
		got, current, err := box.Open(text)
		if err != nil || !current || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: %d, %v, %v", size, len(got), current, err)
		}
		if again := mustSeal(t, box, plain); again == text {
			t.Fatal("sealing twice makes the same text")
		}
		if !bytes.Equal(plain, bytes.Repeat([]byte{byte(size)}, size)) {
			t.Fatal("sealing changes what it is given")
		}
	}
}

func TestSealIsBounded(t *testing.T) {
	box := newBox(t, newRing(t, newKey(t)), "session", here)
	size := 0
	for seal.SealedLen(size+1) <= seal.MaxText {
		size++
	}
	if text := mustSeal(t, box, make([]byte, size)); len(text) > seal.MaxText {
		t.Errorf("%d characters", len(text))
	} else if _, _, err := box.Open(text); err != nil {
		t.Errorf("the longest does not open: %v", err)
	}
	if _, err := box.Seal(make([]byte, size+1)); err == nil {
		t.Error("more than MaxText was sealed")
	}
}

// BYP-039: what was sealed for one purpose, audience and key opens for no other.
func TestBoxesAreApart(t *testing.T) {
	key, other := newKey(t), newKey(t)
	ring := newRing(t, key)
	text := mustSeal(t, newBox(t, ring, "session", here), []byte("alice"))
	for name, c := range map[string]struct {
		box  *seal.Box
		want error
	}{
		"purpose":                 {newBox(t, ring, "attempt", here), seal.ErrSeal},
		"purpose, longer":         {newBox(t, ring, "session2", here), seal.ErrSeal},
		"purpose, split":          {newBox(t, ring, "session|1", here), seal.ErrSeal},
		"audience":                {newBox(t, ring, "session", here+":8443"), seal.ErrAudience},
		"audience, by an old key": {newBox(t, newRing(t, other, key), "session", "https://b.example.com"), seal.ErrAudience},
		"audience and purpose":    {newBox(t, ring, "attempt", here+":8443"), seal.ErrSeal},
		"key":                     {newBox(t, newRing(t, other), "session", here), seal.ErrSeal},
		"audience and key":        {newBox(t, newRing(t, other), "session", here+":8443"), seal.ErrSeal},
	} {
		plain, current, err := c.box.Open(text)
		if !errors.Is(err, c.want) || plain != nil || current {
			t.Errorf("another %s: %q, %v, %v; want %v", name, plain, current, err, c.want)
		}
	}
}

// COO-133.
func TestRotation(t *testing.T) {
	first, second, third, fourth := newKey(t), newKey(t), newKey(t), newKey(t)
	text := mustSeal(t, newBox(t, newRing(t, first), "session", here), []byte("alice"))
	for name, c := range map[string]struct {
		ring     *seal.Ring
		current  bool
		unopened bool
	}{
		"current":  {ring: newRing(t, first, second), current: true},
		"old":      {ring: newRing(t, second, first)},
		"older":    {ring: newRing(t, third, second, first)},
		"dropped":  {ring: newRing(t, fourth, third, second), unopened: true},
		"only new": {ring: newRing(t, second), unopened: true},
	} {
		box := newBox(t, c.ring, "session", here)
		plain, current, err := box.Open(text)
		if c.unopened {
			if !errors.Is(err, seal.ErrSeal) {
				t.Errorf("%s: %q, %v", name, plain, err)
			}
			continue
		}
		if err != nil || string(plain) != "alice" || current != c.current {
			t.Errorf("%s: %q, current %v, %v", name, plain, current, err)
		}
	}
}

// COO-125: every single change of a character, every one put in and every one left out
// makes a text that does not open. A text that did would be a second spelling.
func TestEveryChangeIsSeen(t *testing.T) {
	box := newBox(t, newRing(t, newKey(t)), "session", here)
	for size := range 6 { // all paddings, inside and outside
		text := mustSeal(t, box, make([]byte, size))
		check := func(changed, how string, at int) {
			if changed == text {
				return
			}
			if plain, _, err := box.Open(changed); !errors.Is(err, seal.ErrSeal) {
				t.Fatalf("%s at %d of %d opens: %q, %v", how, at, len(text), plain, err)
			}
		}
		for i := range len(text) + 1 {
			for c := range 256 {
				check(text[:i]+string([]byte{byte(c)})+text[i:], fmt.Sprintf("%#x put in", c), i)
				if i < len(text) {
					check(text[:i]+string([]byte{byte(c)})+text[i+1:], fmt.Sprintf("%#x", c), i)
				}
			}
			if i < len(text) {
				check(text[:i]+text[i+1:], "left out", i)
				check(text[:i], "cut", i)
				check(text[i:], "cut before", i)
				check(text[:i]+"\r\n"+text[i:], "a line break", i)
				check(text[:i]+"\n\n\n\n"+text[i:], "four line breaks", i)
			}
		}
		check(text+text, "twice", 0)
		check(strings.TrimRight(text, "="), "unpadded", 0)
		check(text+"====", "padded", 0)
		check(strings.NewReplacer("-", "+", "_", "/").Replace(text), "the other alphabet", 0)
	}
}

// COO-125: two texts of one box cannot be put together to a third.
func TestNoSplicing(t *testing.T) {
	box := newBox(t, newRing(t, newKey(t)), "session", here)
	a, b := mustSeal(t, box, []byte("alice")), mustSeal(t, box, []byte("bob__"))
	for i := 4; i < len(a); i++ {
		spliced := a[:i] + b[i:]
		if spliced == a || spliced == b {
			continue
		}
		if plain, _, err := box.Open(spliced); err == nil {
			t.Fatalf("spliced at %d: %q", i, plain)
		}
	}
}

// A value that no box made costs next to nothing, however long it is.
func TestLongTextsCostNothing(t *testing.T) {
	box := newBox(t, newRing(t, newKey(t), newKey(t), newKey(t)), "session", here)
	for _, text := range []string{strings.Repeat("A", 64<<10), strings.Repeat("A", seal.MaxText+4), "", "AAAA"} {
		if n := testing.AllocsPerRun(10, func() { _, _, _ = box.Open(text) }); n != 0 {
			t.Errorf("%d characters: %v allocations", len(text), n)
		}
	}
}

// What an earlier version has sealed must open, or an update signs everybody out.
func TestOpensWhatWasSealedBefore(t *testing.T) {
	key, err := hex.DecodeString(fixedKey)
	if err != nil {
		t.Fatal(err)
	}
	const text = "MTc5NTM4MzcxNnxIUEoteDRoYzcxZGZfeVhIWGNWZlNhR0R6aDVtRTlkMHJOVVZPeWppNFZqOUJUaDhLbkw5d2g5OW9NV0dyOHE5ZXdScldpNjc0YkdIanNFPXyoRacsyVr6kM5PR2c8hDrOj-pYFQHexXaT_Hftf-mQzA=="
	plain, current, err := newBox(t, newRing(t, key), "session", here).Open(text)
	if err != nil || !current || string(plain) != "sealed by the first version" {
		t.Errorf("%q, %v, %v", plain, current, err)
	}
}

// Time is for whoever seals to tell: what was sealed long ago, or by a clock ahead
// of ours, opens. The text is made by hand, which pins the construction as well:
// AES-256-CTR, then HMAC-SHA256 over purpose, time and cipher text.
func TestTimeDoesNotMatter(t *testing.T) {
	key := newKey(t)
	box := newBox(t, newRing(t, key), "session", here)
	keys, err := hkdf.Key(sha256.New, key, nil, "loginwall box: session", 64)
	if err != nil {
		t.Fatal(err)
	}
	audience := sha256.Sum256([]byte(here))
	for _, when := range []string{"1000000000", "1700000000", "4102444800", "99999999999"} {
		block, err := aes.NewCipher(keys[32:])
		if err != nil {
			t.Fatal(err)
		}
		sealed := make([]byte, 16, 64) // the initialisation vector may be anything
		sealed = append(sealed, audience[:16]...)
		sealed = append(sealed, "alice"...)
		cipher.NewCTR(block, sealed[:16]).XORKeyStream(sealed[16:], sealed[16:])
		text := when + "|" + base64.URLEncoding.EncodeToString(sealed)
		mac := hmac.New(sha256.New, keys[:32])
		mac.Write([]byte("session|" + text))
		plain, current, err := box.Open(base64.URLEncoding.EncodeToString(mac.Sum([]byte(text + "|"))))
		if err != nil || !current || string(plain) != "alice" {
			t.Errorf("sealed at %s: %q, %v, %v", when, plain, current, err)
		}
	}
}

func TestErrorsTellNothing(t *testing.T) {
	box := newBox(t, newRing(t, newKey(t)), "session", here)
	text := mustSeal(t, box, []byte("alice"))
	_, _, err := box.Open(text[:len(text)-8] + "AAAAAAAA")
	if err == nil || err.Error() != "does not open" {
		t.Errorf("%v", err)
	}
	if _, err := box.Seal([]byte(strings.Repeat("alice", 1000))); err == nil || strings.Contains(err.Error(), "alice") {
		t.Errorf("%v", err)
	}
}

func TestBoxIsSafeForConcurrentUse(t *testing.T) {
	box := newBox(t, newRing(t, newKey(t), newKey(t)), "session", here)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 100 {
				plain := []byte{byte(i)}
				text, err := box.Seal(plain)
				if err != nil {
					t.Error(err)
					return
				}
				if got, _, err := box.Open(text); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%v, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// META-253: nothing but what Seal has made opens, and what it makes opens as it was.
func FuzzBox(f *testing.F) {
	ring := newRing(f, newKey(f), newKey(f))
	box, elsewhere, attempt := newBox(f, ring, "session", here), newBox(f, ring, "session", "http://localhost"), newBox(f, ring, "attempt", here)
	f.Add("", []byte(nil))
	f.Add(mustSeal(f, newBox(f, newRing(f, newKey(f)), "session", here), []byte("x")), []byte("plain"))
	f.Add(strings.Repeat("A", seal.SealedLen(0)), bytes.Repeat([]byte{0}, 3000))
	f.Add("MTcwMDAwMDAwMHxBQUFBfEFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB", []byte("|"))
	f.Fuzz(func(t *testing.T, text string, plain []byte) {
		for _, b := range []*seal.Box{box, elsewhere, attempt} {
			if got, _, err := b.Open(text); err == nil || got != nil {
				t.Fatalf("%q opens as %q", text, got)
			}
		}
		sealed, err := box.Seal(plain)
		if err != nil {
			if seal.SealedLen(len(plain)) <= seal.MaxText {
				t.Fatal(err)
			}
			return
		}
		if got, current, err := box.Open(sealed); err != nil || !current || !bytes.Equal(got, plain) {
			t.Fatalf("%q, %v, %v; want %q", got, current, err, plain)
		}
		if _, _, err := elsewhere.Open(sealed); !errors.Is(err, seal.ErrAudience) {
			t.Fatalf("for another audience: %v", err)
		}
		if _, _, err := attempt.Open(sealed); !errors.Is(err, seal.ErrSeal) {
			t.Fatalf("for another purpose: %v", err)
		}
		if _, _, err := box.Open(sealed + text); text != "" && err == nil {
			t.Fatalf("opens with %q behind it", text)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	key, old := newKey(b), newKey(b)
	plain := make([]byte, 250)
	box := newBox(b, newRing(b, key, old), "session", here)
	for name, text := range map[string]string{
		"current": mustSeal(b, box, plain),
		"old":     mustSeal(b, newBox(b, newRing(b, old), "session", here), plain),
		"forged":  mustSeal(b, newBox(b, newRing(b, newKey(b)), "session", here), plain),
		"64KiB":   strings.Repeat("A", 64<<10),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = box.Open(text)
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	box := newBox(b, newRing(b, newKey(b)), "session", here)
	plain := make([]byte, 250)
	b.ReportAllocs()
	for b.Loop() {
		mustSeal(b, box, plain)
	}
}
