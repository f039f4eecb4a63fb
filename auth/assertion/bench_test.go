package assertion_test

import (
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/assertion"
)

// What a browser sends with a request of a page's script.
func browser() http.Header {
	return http.Header{
		"Accept": {"*/*"}, "Accept-Encoding": {"gzip, deflate, br"}, "Accept-Language": {"en"}, "Cache-Control": {"no-cache"},
		"Connection": {"keep-alive"}, "Cookie": {"a=b"}, "Pragma": {"no-cache"}, "Referer": {"https://tool.example.com/"},
		"Sec-Ch-Ua": {"x"}, "Sec-Ch-Ua-Mobile": {"?0"}, "Sec-Fetch-Dest": {"empty"}, "Sec-Fetch-Mode": {"cors"},
		"Sec-Fetch-Site": {"same-origin"}, "User-Agent": {"Mozilla/5.0"}, "X-Requested-With": {"fetch"},
	}
}

func BenchmarkStrip(b *testing.B) {
	teller := newTeller(b, assertion.Config{Profiles: []string{"forwarded"}})
	h := browser()
	b.ReportAllocs()
	for b.Loop() {
		teller.Strip(h)
	}
}

func BenchmarkSet(b *testing.B) {
	for _, profile := range []string{"forwarded", "assertion"} {
		b.Run(profile, func(b *testing.B) {
			teller := newTeller(b, assertion.Config{Profiles: []string{profile}, Now: time.Now})
			s := alice()
			s.Expires = time.Now().Add(time.Hour)
			out := browser()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				h := maps.Clone(out)
				for pb.Next() {
					teller.Set(h, s)
				}
			})
		})
	}
}

// A session that was not seen before.
func BenchmarkFirstTime(b *testing.B) {
	for _, profile := range []string{"forwarded", "assertion"} {
		b.Run(profile, func(b *testing.B) {
			teller := newTeller(b, assertion.Config{Profiles: []string{profile}})
			b.ReportAllocs()
			for b.Loop() {
				teller.Headers(alice())
			}
		})
	}
}
