package proxy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/session"
	"github.com/loginwall/loginwall/proxy"
)

// BenchmarkLive is what a request costs to be known while it is under way, beside
// as many others.
func BenchmarkLive(b *testing.B) {
	for _, others := range []int{0, 5_000, 100_000} {
		b.Run(fmt.Sprintf("beside %d", others), func(b *testing.B) {
			revoked := session.NewRevocations(time.Now)
			revoked.Apply(auth.Feed{})
			live := proxy.NewLive(revoked, nil, time.Now)
			for range others {
				proxy.NewExchange().Enter(live)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for x := proxy.NewExchange(); pb.Next(); {
					x.Enter(live)
					x.Leave()
				}
			})
		})
	}
}
