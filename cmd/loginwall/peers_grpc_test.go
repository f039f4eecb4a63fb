package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestGRPC has gRPC's own interoperability client talk to gRPC's own server through
// the wall: over HTTP/2 without TLS on both sides, with streams in both directions,
// trailers, deadlines and cancellation.
func TestGRPC(t *testing.T) {
	t.Parallel()
	server, client := goPeer(t, "google.golang.org/grpc/interop/server"), goPeer(t, "google.golang.org/grpc/interop/client")
	address, err := freeAddress()
	check(t, err)
	host, port, _ := net.SplitHostPort(address)
	startChild(t, exec.Command(server, "-port", port))
	poll(t, "the interop server does not listen", func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})

	for name, test := range map[string]struct {
		routes   string
		signedIn bool
	}{
		"public":    {routes: "routes: [{path: /, access: public}]\n"},
		"signed in": {signedIn: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := startWall(t, "", strings.Replace(basics, "$UPSTREAM", "h2c://"+address, 1)+test.routes)
			args := []string{"-server_host", host, "-server_port", r.port()}
			if test.signedIn {
				r.signIn(t, "alice@example.com", "/")
				args = append(args, "-additional_metadata", "cookie:"+r.cookies().session())
			}
			for _, name := range []string{
				"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream", "status_code_and_message",
				"special_status_message", "custom_metadata", "cancel_after_begin", "cancel_after_first_response", "timeout_on_sleeping_server",
				"unimplemented_method", "unimplemented_service",
			} {
				t.Run(name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), peerPatience)
					defer cancel()
					if out, err := exec.CommandContext(ctx, client, append(args, "-test_case", name)...).CombinedOutput(); err != nil {
						t.Errorf("%v\n%s", err, out)
					}
				})
			}
		})
	}

	// Who is not signed in is told so in terms that gRPC has for it: UNAUTHENTICATED.
	t.Run("not signed in", func(t *testing.T) {
		r := startWall(t, "", strings.Replace(basics, "$UPSTREAM", "h2c://"+address, 1))
		out, err := exec.CommandContext(t.Context(), client, "-server_host", host, "-server_port", r.port(), "-test_case", "empty_unary").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "Unauthenticated") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func (r *rig) port() string {
	_, port, _ := net.SplitHostPort(r.address)
	return port
}

// newHTTP2 speaks HTTP/2 with prior knowledge.
func newHTTP2() *http.Transport {
	transport := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	transport.Protocols.SetUnencryptedHTTP2(true)
	return transport
}

// onlyTo sends what is for one address by one transport.
type onlyTo struct {
	address string
	this    *http.Transport
	others  http.RoundTripper
}

func (o *onlyTo) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == o.address {
		return o.this.RoundTrip(r)
	}
	return o.others.RoundTrip(r)
}

// TestHTTP2 (HDR-024) holds HTTP/2 to the same rules as HTTP/1, towards an app that
// speaks HTTP/1: the oracle reads every byte that the app gets.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	r := startWall(t, "", basics+"headers: {profiles: [forwarded, remote-user]}\nroutes: [{path: /public/, access: public}]\n")
	transport := &onlyTo{address: r.address, this: newHTTP2(), others: r.client.Transport}
	t.Cleanup(transport.this.CloseIdleConnections)
	r.client.Transport = transport
	forged := []string{
		"X-Forwarded-User: boss@example.com", "x-forwarded-user: boss@example.com", "X_Forwarded_Email: boss@example.com", "remote_user: boss",
		"Remote-User: boss", "X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Forwarded-Host: evil.test", "X-Real-IP: 6.6.6.6",
	}

	if a := r.ask(t, http.MethodGet, "/reports"); a.StatusCode != http.StatusFound || a.ProtoMajor != 2 {
		t.Fatalf("%s, %s", a.Proto, a.Status)
	}
	if a := r.ask(t, http.MethodGet, append([]string{"-xhr", "/reports"}, forged...)...); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s", a.Status)
	}
	if a := r.ask(t, http.MethodGet, append([]string{"/public/x"}, forged...)...); a.StatusCode != http.StatusOK {
		t.Errorf("%s", a.Status)
	}
	r.signIn(t, "alice@example.com", "/")
	for _, args := range [][]string{{"/reports?x=%2f"}, {"-xhr", "/reports"}, {"/public/x"}} {
		if a := r.ask(t, http.MethodGet, append(args, forged...)...); a.StatusCode != http.StatusOK || a.ProtoMajor != 2 {
			t.Errorf("%s: %s, %s", args, a.Proto, a.Status)
		}
	}
	if a := r.ask(t, http.MethodGet, "/reports", "Host:evil.test"); a.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf(":authority of somebody else: %s", a.Status)
	}
	before := r.upstream.count()
	long := r.request(t, http.MethodGet, []string{"/reports", "X-Long: " + strings.Repeat("x", 40<<10)})
	long.Header.Set("Cookie", r.cookies().String())
	if response, err := r.client.Do(long); err == nil { // the wall has said what it takes, and the client keeps to it
		response.Body.Close()
		t.Errorf("a header of 40 KiB: %s", response.Status)
	}

	// What no library sends.
	for name, fields := range map[string][]string{
		"two hosts":                {"host", "evil.test"},
		"a hop-by-hop field":       {"connection", "x-forwarded-user"},
		"a framing field":          {"transfer-encoding", "chunked"},
		"an upgrade":               {"upgrade", "websocket"},
		"te":                       {"te", "gzip"},
		"a line break":             {"x-a", "b\r\nX-Forwarded-User: boss@example.com"},
		"a line feed":              {"x-a", "b\nX-Forwarded-User: boss@example.com"},
		"a nul":                    {"x-a", "b\x00"},
		"upper case":               {"X-Forwarded-User", "boss@example.com"},
		"a blank in the name":      {"x-forwarded-user ", "boss@example.com"},
		"a colon in the name":      {"x-a: b", "c"},
		"a second path":            {":path", "/public/x"},
		"an unknown pseudo-header": {":user", "boss@example.com"},
	} {
		cookie := r.cookies().session()
		if verdict := askHTTP2(t, r, []string{":method", "GET", ":scheme", "http", ":authority", r.host(), ":path", "/reports", "cookie", cookie}, fields); verdict != "refused" {
			t.Errorf("%s: %s", name, verdict)
		}
	}
	if n := r.upstream.count(); n != before {
		t.Errorf("%d requests that should have been refused reached the app, the last: %s", n-before, lastOf(r.upstream.all()))
	}
	cookie := r.cookies().session()
	fields := []string{":method", "GET", ":scheme", "http", ":authority", r.host(), ":path", "/reports"}
	if verdict := askHTTP2(t, r, fields, []string{"cookie", cookie}); verdict != "answered" {
		t.Errorf("a request without faults: %s", verdict)
	}
	// A browser may send its cookies one by one (RFC 9113, section 8.2.3).
	if verdict := askHTTP2(t, r, fields, []string{"cookie", "a=1", "cookie", cookie, "cookie", "b=2"}); verdict != "answered" || !strings.Contains(lastOf(r.upstream.all()), "Cookie: a=1; b=2\n") {
		t.Errorf("%s, the app got:\n%s", verdict, lastOf(r.upstream.all()))
	}
}

// askHTTP2 sends one request, field by field as it is written, and says whether it
// was answered with 200, or refused by 400, a reset, or the end of the connection.
func askHTTP2(t *testing.T, r *rig, fields ...[]string) string {
	t.Helper()
	var block []byte
	for _, list := range fields {
		for i := 0; i < len(list); i += 2 {
			block = append(block, 0) // a literal, not indexed (RFC 7541, section 6.2.2)
			for _, text := range list[i : i+2] {
				block = appendLength(block, len(text))
				block = append(block, text...)
			}
		}
	}
	const settings, headers, resetStream, goAway = 4, 1, 3, 7
	const endStream, endHeaders = 1, 4
	message := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0, 0, 0, settings, 0, 0, 0, 0, 0)
	message = append(message, byte(len(block)>>16), byte(len(block)>>8), byte(len(block)), headers, endStream|endHeaders, 0, 0, 0, 1)
	conn := r.dial(t)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err := conn.Write(append(message, block...))
	check(t, err)
	for {
		var head [9]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return "refused"
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(conn, payload); err != nil {
			return "refused"
		}
		const status200, status400 = 0x88, 0x8c // of HPACK's static table
		switch {
		case head[3] == resetStream, head[3] == goAway:
			return "refused"
		case head[3] == headers && payload[0] == status200:
			return "answered"
		case head[3] == headers && payload[0] == status400:
			return "refused"
		case head[3] == headers:
			return fmt.Sprintf("answered with %q", payload)
		}
	}
}

// appendLength writes an integer with a prefix of 7 bits (RFC 7541, section 5.1).
func appendLength(to []byte, n int) []byte {
	const most = 127
	if n < most {
		return append(to, byte(n))
	}
	to = append(to, most)
	for n -= most; n >= 128; n >>= 7 {
		to = append(to, byte(n)|128)
	}
	return append(to, byte(n))
}

// TestHTTP2App looks at an app behind h2c from inside: identity, trailers and
// pseudo-headers are as over HTTP/1.
func TestHTTP2App(t *testing.T) {
	t.Parallel()
	type seen struct {
		Proto, Host string
		Header      http.Header
		Trailer     http.Header
	}
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "Grpc-Status, X-Loginwall")
		_ = json.NewEncoder(w).Encode(seen{r.Proto, r.Host, r.Header, r.Trailer})
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set("X-Loginwall", "page")
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", "loginwall-1=x")
	}))
	app.Config.Protocols = new(http.Protocols)
	app.Config.Protocols.SetUnencryptedHTTP2(true)
	app.Start()
	t.Cleanup(app.Close)
	r := startWall(t, "", strings.Replace(basics, "$UPSTREAM", strings.Replace(app.URL, "http:", "h2c:", 1), 1))
	r.signIn(t, "alice@example.com", "/")

	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		transport := newHTTP2()
		if version == "HTTP/1.1" {
			transport = &http.Transport{}
		}
		client := &http.Client{Transport: transport, Timeout: patience}
		request, err := http.NewRequest(http.MethodPost, r.publicURL+"/svc/Method", io.MultiReader(strings.NewReader("body")))
		check(t, err)
		request.Header = http.Header{
			"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Cookie": {r.cookies().String()}, "X-Forwarded-User": {"boss@example.com"},
			"X_forwarded_email": {"boss@example.com"}, "X-Kept": {"yes"},
		}
		request.Trailer = http.Header{"X-Checksum": {"c"}, "X-Forwarded-User": {"boss@example.com"}, "Remote-User": {"boss"}}
		response, err := client.Do(request)
		check(t, err)
		var got seen
		check(t, json.NewDecoder(response.Body).Decode(&got))
		_, err = io.Copy(io.Discard, response.Body)
		check(t, err)
		response.Body.Close()
		transport.CloseIdleConnections()

		if response.Proto != version || got.Proto != "HTTP/2.0" || got.Host != r.host() {
			t.Errorf("%s: the client saw %s, the app %s for host %s", version, response.Proto, got.Proto, got.Host)
		}
		for name, want := range map[string][]string{
			"X-Forwarded-User": {"alice@example.com"}, "X-Forwarded-Email": {"alice@example.com"}, "X_forwarded_email": nil,
			"Te": {"trailers"}, "X-Kept": {"yes"}, "Cookie": nil, "X-Forwarded-For": {"127.0.0.1"},
		} {
			if diff := cmp.Diff(want, got.Header[name]); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", version, name, diff)
			}
		}
		if diff := cmp.Diff(http.Header{"X-Checksum": {"c"}}, got.Trailer); diff != "" {
			t.Errorf("%s: trailers of the request (-want +got):\n%s", version, diff)
		}
		if diff := cmp.Diff(http.Header{"Grpc-Status": {"0"}}, response.Trailer); diff != "" {
			t.Errorf("%s: trailers of the answer (-want +got):\n%s", version, diff)
		}
	}
}
