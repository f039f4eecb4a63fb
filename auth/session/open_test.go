package session_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/session"
)

// reference says which values a header has, slowly and plainly.
func reference(lines []string, name string) []string {
	var values []string
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ";") {
			if got, value, found := strings.Cut(strings.Trim(part, " \t"), "="); found && got == name && !slices.Contains(values, value) {
				values = append(values, value)
			}
		}
	}
	return values
}

// META-253: no header opens a session but one that holds the cookie, alone of its name.
// In the fuzzed lines, @ stands for the name, $ for alice's value, and % for that
// of another deployment.
func FuzzOpen(f *testing.F) {
	w := newWall(f)
	alices, _ := w.signIn(alice())
	elsewhere := newWall(f, func(c *session.Config) {
		u := *c.PublicURL
		u.Host = "other.example.com"
		c.PublicURL, c.Ring = &u, w.config.Ring
	})
	others, _ := elsewhere.signIn(bob())
	name, value, _ := strings.Cut(alices, "=")
	_, other, _ := strings.Cut(others, "=")
	expand := strings.NewReplacer("@", name, "$", value, "%", other)

	for _, seed := range []string{
		"", "@=$", "a=b; @=$; c=d", "@=$\n@=$", "@=$; @=junk", "@=%", "@=%; @=$", "@=%;@=$;@=", "@=\"$\"", "@ =$", "@@=$", "=@=$",
		"x=@=$", "\t@=$ ", "@=$A", "@=$$", "@=;@=1;@=2;@=3;@=4;@=5", ";;;@;=;@=$;", "@=$\u2000", "@-a-1=$",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(expand.Replace(text), "\n")
		values := slices.DeleteFunc(reference(lines, name), func(v string) bool { return v == other })
		want := session.Invalid
		switch {
		case len(reference(lines, name)) > 4:
		case len(values) == 0:
			want = session.None
		case len(values) == 1 && values[0] == value:
			want = session.Valid
		}
		got := w.Open(lines)
		if got.Status != want {
			t.Fatalf("%v, want %v", got.Status, want)
		}
		if got.Session != nil && got.Session.Identity.Email != "alice@example.com" {
			t.Fatalf("opened for %s", got.Session.Identity.Email)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	w := newWall(b)
	w.revoked.Apply(auth.Feed{Rows: randomRows(100_000, noon.Add(time.Hour)), Whole: true})
	cookie, _ := w.signIn(alice())
	_, value, _ := strings.Cut(cookie, "=")
	line := []string{"_ga=GA1.1.1234567890.1234567890; theme=dark; " + cookie + "; sid=0123456789abcdef0123456789abcdef"}
	forged, _ := newWall(b).signIn(alice())

	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if w.Open(line).Status != session.Valid {
				b.Fatal("not valid")
			}
		}
	})
	b.Run("hit, parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if w.Open(line).Status != session.Valid {
					b.Fatal("not valid")
				}
			}
		})
	})
	b.Run("miss", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.Forget(value)
			if w.Open(line).Status != session.Valid {
				b.Fatal("not valid")
			}
		}
	})
	b.Run("forged", func(b *testing.B) {
		b.ReportAllocs()
		lines := []string{forged}
		for b.Loop() {
			if w.Open(lines).Status != session.Invalid {
				b.Fatal("not invalid")
			}
		}
	})
	b.Run("5000 cookies", func(b *testing.B) {
		b.ReportAllocs()
		lines := []string{strings.Repeat("loginwall=vvvvvvvv; __Host-loginwall-1=x; ", 2500) + cookie}
		for b.Loop() {
			if w.Open(lines).Status != session.Valid {
				b.Fatal("not valid")
			}
		}
	})
	b.Run("1 MB of the name", func(b *testing.B) {
		b.ReportAllocs()
		lines := []string{strings.Repeat(w.CookieName()+"=; ", 1<<20/19)}
		for b.Loop() {
			if w.Open(lines).Status != session.Invalid {
				b.Fatal("not invalid")
			}
		}
	})
}

func BenchmarkTouch(b *testing.B) {
	w := newWall(b)
	_, s := w.signIn(alice())
	b.Run("not due", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, due := w.Touch(s); due {
				b.Fatal("due")
			}
		}
	})
	w.clock.move(3 * time.Hour)
	b.Run("due", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, due := w.Touch(s); !due {
				b.Fatal("not due")
			}
		}
	})
}
