package forwarded_test

import (
	"fmt"
	"log"
	"net/http/httptest"
	"net/netip"
	"net/url"

	"github.com/loginwall/loginwall/proxy/forwarded"
)

// The client wrote the first address, the load balancer at 10.0.0.5 the second.
func ExampleResolver_Resolve() {
	r, err := forwarded.New(forwarded.Config{
		Trusted:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		PublicURL: &url.URL{Scheme: "https", Host: "tool.example.com"},
	})
	if err != nil {
		log.Fatal(err)
	}
	request := httptest.NewRequest("GET", "http://tool.example.com/", nil)
	request.Header.Set("X-Forwarded-For", "127.0.0.1, 203.0.113.9")

	for _, peer := range []string{"10.0.0.5:4711", "198.51.100.7:4711"} {
		request.RemoteAddr = peer
		got, err := r.Resolve(request)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s is %s, and the upstream is told %s\n", peer, got.Client, got.Chain)
	}
	// Output:
	// 10.0.0.5:4711 is 203.0.113.9, and the upstream is told 203.0.113.9, 10.0.0.5
	// 198.51.100.7:4711 is 198.51.100.7, and the upstream is told 198.51.100.7
}
