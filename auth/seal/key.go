package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	// minKey is the least length of a key in bytes: what HMAC-SHA256 and AES-256
	// each could use to the full.
	minKey = 32
	// maxOld is how many old keys a Ring takes. Each one makes the refusal of a
	// forged text dearer, and a rotation needs no more than one or two.
	maxOld = 2

	howToMake = "make one with: head -c 32 /dev/urandom | base64"
)

// A Ring holds the key that seals and the old ones that still open. It is
// immutable and safe for concurrent use.
type Ring struct {
	keys [][]byte // the current one first
}

// NewRing checks the keys, each 32 random bytes or more, and keeps copies. There
// may be two old ones at most; none may be the same as another.
func NewRing(current []byte, old ...[]byte) (*Ring, error) {
	if len(old) > maxOld {
		return nil, fmt.Errorf("%d old keys (at most %d can be kept; drop the oldest)", len(old), maxOld)
	}
	r := new(Ring)
	for i, key := range append([][]byte{current}, old...) {
		which := "the current key"
		if i > 0 {
			which = fmt.Sprintf("old key %d", i)
		}
		if err := checkKey(key); err != nil {
			return nil, fmt.Errorf("%s %w", which, err)
		}
		for _, other := range r.keys {
			if bytes.Equal(key, other) {
				return nil, fmt.Errorf("%s is given twice (an old key is one that is no longer the current one)", which)
			}
		}
		r.keys = append(r.keys, bytes.Clone(key))
	}
	return r, nil
}

// Derive returns a key of size bytes for a purpose, from each key of the ring,
// the current one first (RFC 5869, HKDF-SHA256). Nothing that Derive returns
// opens what a Box seals, even for the same purpose. It panics when size is not
// between 1 and 8160, which only a mistake in the program can ask for.
func (r *Ring) Derive(purpose string, size int) [][]byte {
	return r.derive("loginwall key: "+purpose, size)
}

func (r *Ring) derive(info string, size int) [][]byte {
	if size < 1 {
		panic("seal: a derived key needs a size")
	}
	derived := make([][]byte, len(r.keys))
	for i, key := range r.keys {
		var err error
		if derived[i], err = hkdf.Key(sha256.New, key, nil, info, size); err != nil {
			panic("seal: " + err.Error())
		}
	}
	return derived
}

// GenerateKey returns the content of a new key file: 32 random bytes in base64,
// and a newline.
func GenerateKey() []byte {
	for {
		key := make([]byte, minKey)
		_, _ = rand.Read(key) // never fails, as crypto/rand documents
		text := []byte(base64.StdEncoding.EncodeToString(key) + "\n")
		// One key in millions spells a word that placeholders have.
		if _, err := ParseKey(text); err == nil {
			return text
		}
	}
}

// ParseKey reads the content of a key file: 32 bytes or more in base64, standard
// or URL alphabet, padded or not, white space around it or at the ends of lines.
// The error says what was found and what to do, and never holds the text.
func ParseKey(text []byte) ([]byte, error) {
	s := strings.Join(strings.Fields(string(text)), "")
	if s == "" {
		return nil, fmt.Errorf("the key is empty (%s)", howToMake)
	}
	if hasPlaceholder(s) {
		return nil, fmt.Errorf("the key is a placeholder (%s)", howToMake)
	}
	s = strings.TrimRight(s, "=")
	s = strings.NewReplacer("-", "+", "_", "/").Replace(s)
	key, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("the key is not base64, in %d characters (%s)", len(s), howToMake)
	}
	if err := checkKey(key); err != nil {
		return nil, fmt.Errorf("the key %w", err)
	}
	return key, nil
}

// checkKey refuses what cannot have come from a random source. The error
// continues a sentence that begins with the key.
func checkKey(key []byte) error {
	if len(key) < minKey {
		return fmt.Errorf("has %d bytes after decoding, and %d are needed (%s)", len(key), minKey, howToMake)
	}
	if hasPattern(key) || hasPlaceholder(string(key)) || isSample(key) {
		return fmt.Errorf("%w (%s)", errNotRandom, howToMake)
	}
	return nil
}

var errNotRandom = errors.New("is one that a stranger can guess: a pattern, a placeholder, or a sample from documentation")

// hasPattern reports whether the bytes are all the same, count up or down
// evenly, or repeat themselves after at most half the length.
func hasPattern(key []byte) bool {
	even := true
	for i := 2; i < len(key); i++ {
		even = even && key[i]-key[i-1] == key[1]-key[0]
	}
	if even {
		return true
	}
	for period := 1; period <= len(key)/2; period++ {
		if bytes.Equal(key[period:], key[:len(key)-period]) {
			return true
		}
	}
	return false
}

// hasPlaceholder finds the words that people write where a secret is to be put.
func hasPlaceholder(text string) bool {
	text = strings.ToLower(text)
	for _, word := range []string{
		"changeme", "change-me", "change_me", "replaceme", "replace-me", "replace_me",
		"placeholder", "example", "very-secret", "verysecret", "supersecret", "super-secret",
	} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// isSample knows keys that look random and stand in public documentation, from
// where they are copied.
func isSample(key []byte) bool {
	for _, sample := range []string{
		"OQINaROshtE9TcZkNAm-5Zs2Pv3xaWytBmc5W7sPX7w=", // oauth2-proxy's local environments
	} {
		known, err := base64.URLEncoding.DecodeString(sample)
		if err == nil && bytes.HasPrefix(key, known) {
			return true
		}
	}
	return false
}
