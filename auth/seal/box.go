package seal

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/gorilla/securecookie"
)

// What Open answers when it does not open. Neither says why in more detail:
// nobody who may know the reason needs it.
var (
	// ErrSeal: not sealed by a key of the ring for this purpose, or damaged.
	ErrSeal = errors.New("does not open")
	// ErrAudience: sealed whole, by a key of the ring and for this purpose, but for
	// another audience: another deployment with the same key.
	ErrAudience = errors.New("sealed for another audience")
)

const (
	// MaxText is the length of the longest text that Seal makes and Open reads: no
	// browser keeps a longer cookie (RFC 6265bis, section 5.6).
	MaxText = 4096

	audienceSize = 16
	keySize      = 32
)

// A Box seals and opens for one purpose and one audience. It is safe for
// concurrent use.
type Box struct {
	purpose  string
	audience [audienceSize]byte
	codecs   []*securecookie.SecureCookie // the current key's first
}

// Box returns the one for a purpose, a fixed word of the program, and an
// audience, the deployment's public URL. Both must be given. The keys are
// derived here, so a Box is to be made once and kept.
func (r *Ring) Box(purpose, audience string) (*Box, error) {
	if r == nil || len(r.keys) == 0 || purpose == "" || audience == "" {
		return nil, errors.New("a box needs a key, a purpose and an audience")
	}
	b := &Box{purpose: purpose}
	// A digest keeps the sealed text short, whatever the length of the URL.
	sum := sha256.Sum256([]byte(audience))
	copy(b.audience[:], sum[:])
	for _, key := range r.derive("loginwall box: "+purpose, 2*keySize) {
		codec := securecookie.New(key[:keySize], key[keySize:]).
			SetSerializer(securecookie.NopEncoder{}).
			MaxAge(0).
			MaxLength(MaxText)
		b.codecs = append(b.codecs, codec)
	}
	return b, nil
}

// Seal returns text in the alphabet of base64url, which no other box opens. It
// fails when the text would be longer than MaxText.
func (b *Box) Seal(plain []byte) (string, error) {
	// A copy, since securecookie encrypts in place.
	payload := make([]byte, 0, audienceSize+len(plain))
	payload = append(payload, b.audience[:]...)
	payload = append(payload, plain...)
	text, err := b.codecs[0].Encode(b.purpose, payload)
	if err != nil {
		return "", fmt.Errorf("seal %d bytes as %s: %w", len(plain), b.purpose, err)
	}
	return text, nil
}

// SealedLen returns the length of the text that Seal makes of so many bytes.
func SealedLen(plain int) int {
	const iv, timestamp, mac = 16, len("1700000000"), sha256.Size
	inner := base64.URLEncoding.EncodedLen(iv + audienceSize + plain)
	return base64.URLEncoding.EncodedLen(timestamp + len("|") + inner + len("|") + mac)
}

// Open returns what was sealed. current is false when an old key opened it, so
// that the caller can seal it anew. The error is ErrAudience or ErrSeal.
func (b *Box) Open(text string) (plain []byte, current bool, err error) {
	if !isCanonical(text) {
		return nil, false, ErrSeal
	}
	for i, codec := range b.codecs {
		var payload []byte
		if codec.Decode(b.purpose, text, &payload) != nil || len(payload) < audienceSize {
			continue
		}
		if subtle.ConstantTimeCompare(payload[:audienceSize], b.audience[:]) != 1 {
			return nil, false, ErrAudience
		}
		return payload[audienceSize:], i == 0, nil
	}
	return nil, false, ErrSeal
}

// isCanonical reports whether text is of a length that Seal makes, and spelled as
// Seal spells. The decoder skips line breaks and ignores the unused bits of the
// last character; the MAC, which covers everything else, cannot see those.
func isCanonical(text string) bool {
	if len(text) < SealedLen(0) || len(text) > MaxText {
		return false
	}
	if strings.IndexByte(text, '\r') >= 0 || strings.IndexByte(text, '\n') >= 0 {
		return false
	}
	_, err := base64.URLEncoding.Strict().DecodeString(text[len(text)-4:])
	return err == nil
}
