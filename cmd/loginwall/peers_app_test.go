package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// call sends a request with a body as the current browser, in the way of a script
// of a page, and keeps the answer. headers are "Name: value".
func (r *rig) call(t *testing.T, method, path, body string, headers ...string) *answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.address+path, strings.NewReader(body))
	check(t, err)
	request.Header = http.Header{"Accept": {"*/*"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {r.publicURL}}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	return r.do(t, request)
}

// open opens a WebSocket as the current browser.
func (r *rig) open(t *testing.T, path, origin string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	header := http.Header{"Cookie": {r.cookies().String()}}
	if origin != "" {
		header.Set("Origin", origin)
	}
	conn, response, err := websocket.Dial(ctx, "ws://"+r.address+path, &websocket.DialOptions{HTTPHeader: header, Host: r.host()})
	if err == nil {
		conn.SetReadLimit(16 << 20)
		t.Cleanup(func() { conn.CloseNow() })
	}
	return conn, response, err
}

// mustOpen wants a WebSocket for the current browser, and none for anybody else.
func (r *rig) mustOpen(t *testing.T, path string) *websocket.Conn {
	t.Helper()
	for _, origin := range []string{"https://evil.test", "null", r.publicURL + ".evil.test"} {
		if _, response, err := r.open(t, path, origin); err == nil || response == nil || response.StatusCode != http.StatusForbidden || response.Header.Get("X-Loginwall") != "denied" {
			t.Errorf("Origin %s: %v", origin, err)
		}
	}
	me := r.jar
	if _, response, err := r.as("nobody").open(t, path, r.publicURL); err == nil || response == nil || response.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a session: %v", err)
	}
	conn, _, err := r.as(me).open(t, path, r.publicURL)
	check(t, err)
	return conn
}

// mustClose wants the wall to close a WebSocket, after the current browser has
// signed out.
func (r *rig) mustClose(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	if a := r.ask(t, http.MethodPost, "/_auth/logout", "Origin: "+r.publicURL); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign out: %s", a.Status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		if _, _, err := conn.Read(ctx); ctx.Err() != nil {
			t.Fatal("still open after the sign-out")
		} else if err != nil {
			return
		}
	}
}

// TestNodeRED has Node-RED behind the wall: an editor that lives on a WebSocket.
func TestNodeRED(t *testing.T) {
	t.Parallel()
	node, dir := nodePeer(t, "node-red")
	address, err := freeAddress()
	check(t, err)
	home := t.TempDir()
	settings := fmt.Sprintf(`module.exports = {uiHost: "127.0.0.1", uiPort: %s, telemetry: {enabled: false, updateNotification: false},
		editorTheme: {tours: false}, flowFile: "flows.json", diagnostics: {enabled: false}, runtimeState: {enabled: false}}`, portOf(address))
	check(t, os.WriteFile(filepath.Join(home, "settings.js"), []byte(settings), 0o600))
	cmd := exec.Command(node, filepath.Join(dir, "red.js"), "--userDir", home)
	cmd.Env = append(os.Environ(), "HOME="+home)
	startChild(t, cmd).awaitURL(t, "http://"+address)
	r := startWall(t, "", strings.Replace(basics, "$UPSTREAM", "http://"+address, 1)+"timeouts: {drain: 2s}\n")

	r.as("alice").signIn(t, "alice@example.com", "/")
	if a := r.ask(t, http.MethodGet, "/"); a.StatusCode != http.StatusOK || !bytes.Contains(a.body, []byte("<title>Node-RED</title>")) {
		t.Fatalf("%s\n%s", a.Status, a.body)
	}
	if a := r.as("nobody").call(t, http.MethodGet, "/settings", ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a session: %s", a.Status)
	}
	comms := r.as("alice").mustOpen(t, "/comms")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	check(t, wsjson.Write(ctx, comms, map[string]string{"subscribe": "debug"}))
	const flow = `{"flows": [{"id": "tab", "type": "tab", "label": "Flow"},
		{"id": "inject", "type": "inject", "z": "tab", "props": [{"p": "payload"}], "payload": "through the wall", "payloadType": "str", "x": 100, "y": 100, "wires": [["debug"]]},
		{"id": "debug", "type": "debug", "z": "tab", "active": true, "tosidebar": true, "complete": "payload", "targetType": "msg", "x": 300, "y": 100, "wires": []}]}`
	if a := r.call(t, http.MethodPost, "/flows", flow, "Content-Type: application/json", "Node-RED-API-Version: v2"); a.StatusCode != http.StatusOK {
		t.Fatalf("deploy: %s\n%s", a.Status, a.body)
	}
	poll(t, "the flow does not start", func() bool {
		return r.call(t, http.MethodPost, "/inject/inject", "{}", "Content-Type: application/json").StatusCode == http.StatusOK
	})
	for {
		_, message, err := comms.Read(ctx)
		check(t, err)
		if bytes.Contains(message, []byte("through the wall")) {
			break
		}
	}
	r.mustClose(t, comms)

	t.Run("by a browser", func(t *testing.T) {
		b := newTab(t, newBrowser(t))
		b.open(r.publicURL)
		b.signIn("bob@example.com")
		b.until("the editor has loaded the flow", `!!document.querySelector("#red-ui-header-button-deploy") && RED.nodes.node("inject") !== null`)
		poll(t, "the wall does not carry the editor's WebSocket", func() bool {
			return strings.Contains(r.metrics(t), `loginwall_open_streams{kind="websocket"} 1`)
		})
		b.open("about:blank")
	})
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// TestJupyter has Jupyter behind the wall, under the name that people know: kernels
// that speak over a WebSocket, big uploads, and Jupyter's own rules about Host, Origin and
// forged requests, which must find what they look for.
func TestJupyter(t *testing.T) {
	t.Parallel()
	program := peerProgram(t, "jupyter-notebook", "jupyter-notebook")
	address, err := freeAddress()
	check(t, err)
	home := t.TempDir()
	cmd := exec.Command(program, "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port="+portOf(address), "--port-retries=0", "--notebook-dir="+home,
		"--NotebookApp.token=", "--NotebookApp.password=", "--NotebookApp.allow_remote_access=True")
	cmd.Env = append(os.Environ(), "HOME="+home, "JUPYTER_RUNTIME_DIR="+home+"/.runtime", "JUPYTER_DATA_DIR="+home+"/.data", "IPYTHONDIR="+home+"/.ipython")
	startChild(t, cmd).awaitURL(t, "http://"+address+"/api")
	r := startWall(t, "https://app.test", strings.Replace(basics, "$UPSTREAM", "http://"+address, 1)+"timeouts: {drain: 2s}\n")

	r.as("alice").signIn(t, "alice@example.com", "/tree")
	if a := r.ask(t, http.MethodGet, "/tree"); a.StatusCode != http.StatusOK || !bytes.Contains(a.body, []byte("Jupyter")) {
		t.Fatalf("%s\n%s", a.Status, a.body)
	}
	xsrf := r.cookies()["_xsrf"]
	if a := r.call(t, http.MethodPost, "/api/kernels", "{}"); a.StatusCode != http.StatusForbidden || a.Header.Get("X-Loginwall") != "" {
		t.Errorf("Jupyter misses its own token: %s\n%s", a.Status, a.body)
	}
	if a := r.call(t, http.MethodPost, "/api/kernels", "{}", "X-XSRFToken: "+xsrf, "Origin: https://evil.test"); a.StatusCode < 400 {
		t.Errorf("Jupyter takes a request of another origin: %s", a.Status)
	}
	a := r.call(t, http.MethodPost, "/api/kernels", "{}", "X-XSRFToken: "+xsrf)
	var kernel struct{ ID string }
	if a.StatusCode != http.StatusCreated || json.Unmarshal(a.body, &kernel) != nil {
		t.Fatalf("start a kernel: %s\n%s", a.Status, a.body)
	}

	t.Run("kernel", func(t *testing.T) {
		conn := r.mustOpen(t, "/api/kernels/"+kernel.ID+"/channels?session_id=s")
		ctx, cancel := context.WithTimeout(t.Context(), peerPatience)
		defer cancel()
		check(t, wsjson.Write(ctx, conn, map[string]any{
			"channel": "shell", "buffers": []any{}, "metadata": map[string]any{}, "parent_header": map[string]any{},
			"header":  map[string]any{"msg_id": "m", "msg_type": "execute_request", "session": "s", "username": "alice", "version": "5.3"},
			"content": map[string]any{"code": "print(6 * 7, 'x' * 2_000_000)", "silent": false, "store_history": false, "user_expressions": map[string]any{}, "allow_stdin": false},
		}))
		for printed := 0; printed < 2_000_000; {
			var message struct {
				Header struct {
					MsgType string `json:"msg_type"`
				}
				Content struct{ Text string }
			}
			check(t, wsjson.Read(ctx, conn, &message))
			if message.Header.MsgType == "stream" {
				if printed == 0 && !strings.HasPrefix(message.Content.Text, "42 x") {
					t.Fatalf("printed %.40q", message.Content.Text)
				}
				printed += len(message.Content.Text)
			}
		}
		_ = conn.Close(websocket.StatusNormalClosure, "") // the app's own may take longer than the client waits
	})

	t.Run("upload and download", func(t *testing.T) {
		content := make([]byte, 24<<20)
		_, _ = rand.Read(content)
		var body strings.Builder
		fmt.Fprintf(&body, `{"type": "file", "format": "base64", "content": "%s"}`, base64.StdEncoding.EncodeToString(content))
		if a := r.call(t, http.MethodPut, "/api/contents/big.bin", body.String(), "X-XSRFToken: "+xsrf, "Content-Type: application/json"); a.StatusCode != http.StatusCreated {
			t.Fatalf("%s\n%.500s", a.Status, a.body)
		}
		request := r.request(t, http.MethodGet, []string{"/files/big.bin", "Referer: " + r.publicURL + "/tree"})
		request.Host = r.host()
		request.Header.Set("Cookie", r.cookies().String())
		response, err := r.client.Do(request)
		check(t, err)
		defer response.Body.Close()
		hash := sha256.New()
		n, err := io.Copy(hash, response.Body)
		check(t, err)
		if want := sha256.Sum256(content); n != int64(len(content)) || !bytes.Equal(hash.Sum(nil), want[:]) {
			t.Errorf("%s, %d bytes, want %d", response.Status, n, len(content))
		}
	})

	conn, _, err := r.open(t, "/api/kernels/"+kernel.ID+"/channels?session_id=t", r.publicURL)
	check(t, err)
	r.mustClose(t, conn)
}

// TestRadicale has a calendar server behind the wall that believes a header: each
// person has their own calendars, and nobody gets at others' by any spelling.
func TestRadicale(t *testing.T) {
	t.Parallel()
	program := peerProgram(t, "radicale", "radicale")
	address, err := freeAddress()
	check(t, err)
	cmd := exec.Command(program, "--config", "", "--server-hosts", address, "--auth-type", "http_x_remote_user", "--rights-type", "owner_only",
		"--storage-filesystem-folder", t.TempDir(), "--logging-level", "info")
	startChild(t, cmd).awaitURL(t, "http://"+address+"/.web/")
	r := startWall(t, "", strings.Replace(basics, "$UPSTREAM", "http://"+address, 1)+"headers: {set: {X-Remote-User: \"{email}\"}}\n")

	const who = `<?xml version="1.0"?><propfind xmlns="DAV:"><prop><current-user-principal/></prop></propfind>`
	const event = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//\r\nBEGIN:VEVENT\r\nUID:one\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20260101T100000Z\r\nSUMMARY:Secret meeting\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
	const query = `<?xml version="1.0"?><C:calendar-query xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:D="DAV:"><D:prop><C:calendar-data/></D:prop>
		<C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"/></C:comp-filter></C:filter></C:calendar-query>`

	for _, name := range []string{"alice", "bob"} {
		email := name + "@example.com"
		own := "/" + email + "/work/"
		r.as(name).signIn(t, email, "/")
		a := r.call(t, "PROPFIND", "/", who, "Depth: 0")
		if principal, _ := url.PathUnescape(string(a.body)); a.StatusCode != http.StatusMultiStatus || !strings.Contains(principal, "/"+email+"/") {
			t.Fatalf("%s: %s\n%s", name, a.Status, a.body)
		}
		if a := r.call(t, "MKCALENDAR", own, ""); a.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s\n%s", name, a.Status, a.body)
		}
		if a := r.call(t, http.MethodPut, own+"one.ics", event, "Content-Type: text/calendar", "If-None-Match: *"); a.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s\n%s", name, a.Status, a.body)
		}
		if a := r.call(t, http.MethodGet, own+"one.ics", ""); a.StatusCode != http.StatusOK || !bytes.Contains(a.body, []byte("Secret meeting")) {
			t.Errorf("%s: %s\n%s", name, a.Status, a.body)
		}
		if a := r.call(t, "REPORT", own, query, "Depth: 1"); a.StatusCode != http.StatusMultiStatus || !bytes.Contains(a.body, []byte("Secret meeting")) {
			t.Errorf("%s: %s\n%s", name, a.Status, a.body)
		}
	}

	const hers = "/alice@example.com/work/"
	for _, forged := range []string{"X-Other: x", "X-Remote-User: alice@example.com", "X_Remote_User: alice@example.com", "x-remote_user: alice@example.com", "Remote-User: alice@example.com", "Connection: X-Remote-User"} {
		for _, path := range []string{hers, "/alice%40example.com/work/", "//alice@example.com/work/", "/bob@example.com/../alice@example.com/work/"} {
			if a := r.as("bob").call(t, "PROPFIND", path, who, "Depth: 1", forged); bytes.Contains(a.body, []byte("one.ics")) || a.StatusCode < 400 {
				t.Errorf("bob with %s at %s: %s\n%s", forged, path, a.Status, a.body)
			}
		}
		if a := r.call(t, "PROPFIND", "/", who, "Depth: 0", forged); !strings.Contains(unescaped(a.body), "/bob@example.com/") {
			t.Errorf("bob with %s is somebody else: %s\n%s", forged, a.Status, a.body)
		}
		if a := r.as("nobody").call(t, "PROPFIND", hers, who, "Depth: 1", forged); a.StatusCode != http.StatusUnauthorized || a.Header.Get("X-Loginwall") != "sign_in_required" {
			t.Errorf("nobody with %s: %s", forged, a.Status)
		}
	}
	if a := r.as("bob").call(t, http.MethodDelete, hers+"one.ics", ""); a.StatusCode < 400 {
		t.Errorf("bob deletes hers: %s", a.Status)
	}
	if a := r.as("alice").call(t, http.MethodGet, hers+"one.ics", ""); a.StatusCode != http.StatusOK {
		t.Errorf("hers is gone: %s", a.Status)
	}
}

func unescaped(body []byte) string {
	text, err := url.PathUnescape(string(body))
	if err != nil {
		return string(body)
	}
	return text
}
