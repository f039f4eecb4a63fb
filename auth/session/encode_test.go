package session_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/session"
)

func mustEncode(t testing.TB, s *auth.Session) []byte {
	t.Helper()
	out, err := session.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func goldenSession() *auth.Session {
	id := alice()
	id.Groups = []string{"sre@example.com", ""}
	id.Name = "Алиса"
	return &auth.Session{
		ID: "abcdefghijklmnopqrstuvwxya", Identity: id,
		Created: time.UnixMilli(1772366400123), LastSeen: time.UnixMilli(1772366400124), Expires: time.UnixMilli(4102444800999),
	}
}

func TestEncoding(t *testing.T) {
	for name, s := range map[string]*auth.Session{
		"golden": goldenSession(),
		"bare":   {ID: auth.NewSessionID(), Created: time.UnixMilli(0), LastSeen: time.UnixMilli(-1), Expires: time.UnixMilli(1)},
		"long":   {ID: auth.NewSessionID(), Identity: auth.Identity{Subject: strings.Repeat("x", 1000)}, Created: time.UnixMilli(1), LastSeen: time.UnixMilli(1), Expires: time.UnixMilli(1)},
	} {
		got, err := session.Decode(mustEncode(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := session.Encode(&auth.Session{ID: "short"}); err == nil {
		t.Error("a session without an id is encoded")
	}
}

// What an earlier version has sealed must be read, or an update signs everybody
// out. When the encoding has to change, the version changes, and both are read.
func TestEncodingNeverChanges(t *testing.T) {
	const want = "010100443214c74254b635cf84653a56d7c00000019ca9450a7b0000019ca9450a7c000003bb2cc3dbe71b68747470733a2f2f6163636f756e74732e676f6f676c652e636f6d1531313031363934383434373433383632373633333411616c696365406578616d706c652e636f6d0b6578616d706c652e636f6d0ad090d0bbd0b8d181d0b06168747470733a2f2f6c68332e676f6f676c6575736572636f6e74656e742e636f6d2f612f414367386f634978797a50624131643254494c31574163305677354e4a794c46426831784b78593044466d31513075386242316354396b3d7339362d63020f737265406578616d706c652e636f6d00"
	got := hex.EncodeToString(mustEncode(t, goldenSession()))
	if got != want {
		t.Errorf("encoded as\n%s, want\n%s", got, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := mustEncode(t, goldenSession())
	for i := range good {
		if s, err := session.Decode(good[:i]); err == nil {
			t.Fatalf("cut at %d: %+v", i, s)
		}
	}
	change := func(at int, to byte) []byte {
		out := bytes.Clone(good)
		out[at] = to
		return out
	}
	for name, in := range map[string][]byte{
		"nothing":       nil,
		"another end":   append(bytes.Clone(good), 0),
		"version 0":     change(0, 0),
		"version 2":     change(0, 2),
		"unknown flags": change(1, 3),
		"huge length":   append(bytes.Clone(good[:42]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1),
		"endless":       append(bytes.Clone(good[:42]), bytes.Repeat([]byte{0xff}, 20)...),
		"many groups":   append(append(bytes.Clone(good[:42]), make([]byte, 6)...), 0xff, 0xff, 0xff, 0xff, 0x0f),
	} {
		if s, err := session.Decode(in); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// META-253: whatever decodes encodes to what decodes to the same.
func FuzzDecode(f *testing.F) {
	good, err := session.Encode(goldenSession())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:42])
	f.Add(append(bytes.Clone(good[:42]), 0, 0, 0, 0, 0, 0, 2, 0, 0))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := session.Decode(in)
		if err != nil {
			if s != nil {
				t.Fatal("a session came with the error")
			}
			return
		}
		again, err := session.Decode(mustEncode(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, again); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}
