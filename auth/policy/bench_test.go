package policy_test

import (
	"strings"
	"testing"

	"github.com/loginwall/loginwall/auth/policy"
)

func BenchmarkDecide(b *testing.B) {
	for _, bm := range []struct{ name, path string }{
		{"plain", "/api/v1/things/42"},
		{"escaped", "/public/caf%C3%A9%20x"},
		{"odd", "/api/v4/projects/group%2Fproject//x;y=1"},
		{"hostile", "/public/" + strings.Repeat(`%2525252e;a/.%09/%u002e%c0%af/\/..%00?#%ef%bc%8f`, 8)},
		{"hostile, long", "/" + strings.Repeat(`%25;/.. %09`, 1400)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			p := compile(b, routed())
			id := alice()
			b.ReportAllocs()
			b.SetBytes(int64(len(bm.path)))
			for b.Loop() {
				p.Decide(policy.Target{Method: "GET", Path: policy.ReadPath(bm.path)}, id)
			}
		})
	}
	b.Run("no routes", func(b *testing.B) {
		p := compile(b, example())
		id := alice()
		b.ReportAllocs()
		for b.Loop() {
			p.Decide(policy.Target{Method: "GET", Path: policy.ReadPath("/api/v1/things/42")}, id)
		}
	})
}
