package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gopkg.in/yaml.v3"
)

const composeDir = "../../deploy/compose"

// compose brings a file of deploy/compose up, with what lies beside it; the pairs are
// what is replaced in all of it, and each has to be there.
func compose(e *engine, name string, pairs ...string) (dir string) {
	e.t.Helper()
	program := peerProgram(e.t, "podman-compose", "podman-compose")
	dir = filepath.Join(e.dir, "example")
	check(e.t, os.Mkdir(dir, 0o755))
	var all strings.Builder
	for _, file := range []string{name, "loginwall.yaml"} {
		text := readFile(e.t, filepath.Join(composeDir, file))
		all.WriteString(text)
		check(e.t, os.WriteFile(filepath.Join(dir, file), []byte(strings.NewReplacer(pairs...).Replace(text)), 0o644)) //nolint:gosec // the wall is another user
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(all.String(), pairs[i]) {
			e.t.Fatalf("%s has no %q any more", name, pairs[i])
		}
	}
	secret := filepath.Join(dir, "google_client_secret")
	check(e.t, os.WriteFile(secret, []byte(testSecret), 0o400))
	check(e.t, os.Chown(secret, imageUser, imageUser))
	podman := filepath.Join(e.dir, "podman")
	check(e.t, os.WriteFile(podman, []byte(fmt.Sprintf(shim, strings.Join(e.args, " "))), 0o700))                     //nolint:gosec // a program
	cmd := exec.CommandContext(e.t.Context(), program, "--podman-path", podman, "-f", name, "up", "-d", "--no-build") //nolint:gosec // a test's own
	cmd.Dir, cmd.Env = dir, e.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		e.t.Fatalf("compose: %v\n%s", err, out)
	}
	e.t.Cleanup(func() {
		if e.t.Failed() {
			e.t.Logf("compose said:\n%s\n%s", out, e.run("ps", "-a"))
		}
	})
	return dir
}

// shim is what podman-compose 1.0.3 calls as podman. It knows no network_mode, and adds a
// network of its own beside it.
const shim = `#!/bin/bash
args=()
while (($#)); do
  case $1 in
    --network) mode=$2; [[ $mode != service:* ]] || mode=container:example_${2#service:}_1; args+=("$1" "$mode"); shift 2 ;;
    --net | --network-alias) [ "$mode" ] || args+=("$1" "$2"); shift 2 ;;
    *) args+=("$1"); shift ;;
  esac
done
exec podman %s "${args[@]}"
`

// TestComposeDemo runs deploy/compose/compose.yaml.
func TestComposeDemo(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "localhost/loginwall", "registry.example.com/your-app:1")
	address, err := freeAddress()
	check(t, err)
	_, port, _ := net.SplitHostPort(address)
	compose(e, "compose.yaml", "[demo]", `[demo, --listen, "localhost:`+port+`"]`)
	wall := "http://localhost:" + port
	v := newVisitor(t)
	poll(t, "no login begins", func() bool {
		a, err := v.try(wall+"/", nil)
		return err == nil && a.StatusCode == http.StatusFound
	})
	a := v.get(v.get(wall+"/").next() + "&login_hint=alice@example.com")
	if a = v.follow(a); a.StatusCode != http.StatusOK || !strings.Contains(string(a.body), "alice@example.com") {
		t.Errorf("%s\n%.500s", a.Status, a.body)
	}
	judgeConfined(t, e.pid("example_demo_1"))
}

// TestComposeGoogle runs deploy/compose/google.yaml, with a provider like Google in the
// wall's network. BYP-049: the app can be reached through the wall alone.
func TestComposeGoogle(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "localhost/loginwall", "registry.example.com/your-app:1")
	r := newRig(t)
	r.publicURL = frontURL
	compose(e, "google.yaml", "8080:8080", r.address+":8080", "tool.example.com", "app.test", "1234.apps.googleusercontent.com", testClient,
		"/run/secrets/google_client_secret\n", "/run/secrets/google_client_secret\n  issuer: "+r.issuer+"\n")
	const wall = "example_loginwall_1"
	e.lendProvider(r, wall)
	r.awaitServing(t)
	r.awaitProvider(t)
	r.as("alice").signIn(t, "alice@example.com", "/")
	if a := r.ask(t, http.MethodGet, "/"); !strings.Contains(string(a.body), `the app hears of "alice@example.com"`) {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
	addresses := strings.Fields(e.inspect(wall, "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"))
	for _, address := range append(addresses, "127.0.0.1") {
		conn, err := net.Dial("tcp", net.JoinHostPort(address, "3000")) //nolint:noctx // a test's own
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the app's port, from outside at %s: %v, %v", address, conn, err)
		}
	}
	if len(addresses) != 1 {
		t.Errorf("addresses of the wall: %v", addresses)
	}
	judgeConfined(t, e.pid(wall), testSecret)
}

// TestComposeFiles reads every file of deploy/compose as Compose does. BYP-049: nothing
// publishes a port but the wall, or the balancer before it.
func TestComposeFiles(t *testing.T) {
	t.Parallel()
	for name, open := range map[string][]string{"compose.yaml": nil, "google.yaml": {"loginwall"}, "replicas.yaml": {"balancer"}} {
		cmd := exec.CommandContext(t.Context(), goPeer(t, "github.com/loginwall/loginwall/deploy/peers/composeconfig"), filepath.Join(composeDir, name)) //nolint:gosec // a test's own
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		var project struct {
			Services map[string]struct {
				Ports    []any
				ReadOnly bool     `yaml:"read_only"`
				CapDrop  []string `yaml:"cap_drop"`
				Image    string
			}
		}
		check(t, yaml.Unmarshal(out, &project))
		var published []string
		for service, s := range project.Services {
			if len(s.Ports) > 0 {
				published = append(published, service)
			}
			if s.Image == "loginwall" && (!s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"})) {
				t.Errorf("%s: %s is not confined", name, service)
			}
		}
		if !slices.Equal(published, open) {
			t.Errorf("%s publishes ports of %v", name, published)
		}
	}
	checkExample(t, readFile(t, filepath.Join(composeDir, "loginwall.yaml")))
	checkExample(t, readFile(t, filepath.Join(composeDir, "loginwall-replicas.yaml")))
	haproxy := peerProgram(t, "haproxy", "haproxy")
	if out, err := exec.CommandContext(t.Context(), haproxy, "-c", "-f", filepath.Join(composeDir, "haproxy.cfg")).CombinedOutput(); err != nil { //nolint:gosec // a test's own
		t.Errorf("haproxy.cfg: %v\n%s", err, out)
	}
}
