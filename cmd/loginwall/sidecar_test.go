package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/loginwall/loginwall/auth/seal"
)

const sidecarFile = "../../deploy/kubernetes/sidecar.yaml"

// A pod is what podman made of deploy/kubernetes/sidecar.yaml.
type pod struct {
	wall, app string // containers
	address   string // of the pod
	probes    map[string]string
}

// playSidecar runs the shipped file under a name, with the rig's provider in it. What
// podman 4.3 lacks is made up for here: native sidecars (the wall becomes a container
// like the app, as the file says for older clusters), a Secret's base64, its defaultMode
// and its absent optional, and a kubelet to ask the probes.
func playSidecar(e *engine, r *rig, name string, key []byte) pod {
	e.t.Helper()
	text := readFile(e.t, sidecarFile)
	for _, pair := range [][2]string{
		{"name: tool", "name: " + name},
		{"Name: tool", "Name: " + name},
		{"app: tool", "app: " + name},
		{"tool.example.com", "app.test"},
		{"1234.apps.googleusercontent.com", testClient},
		{"/secrets/google_client_secret\n", "/secrets/google_client_secret\n      issuer: " + r.issuer + "\n"},
	} {
		if !strings.Contains(text, pair[0]) {
			e.t.Fatalf("%s has no %q any more", sidecarFile, pair[0])
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	documents := []map[string]any{{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name + "-loginwall-secrets"},
		"data": map[string]any{"google_client_secret": base64.StdEncoding.EncodeToString([]byte(testSecret)), "session_key": base64.StdEncoding.EncodeToString(key)},
	}}
	p := pod{wall: name + "-pod-0-loginwall", app: name + "-pod-0-app", probes: map[string]string{}}
	for in := yaml.NewDecoder(strings.NewReader(text)); ; {
		var d map[string]any
		err := in.Decode(&d)
		if errors.Is(err, io.EOF) {
			break
		}
		check(e.t, err)
		documents = append(documents, d)
		if d["kind"] == "ConfigMap" {
			r.oracle.configured(e.t, down(d, "data", "loginwall.yaml").(string))
		}
		if d["kind"] != "Deployment" {
			continue
		}
		spec := down(d, "spec", "template", "spec").(map[string]any)
		wall := down(spec, "initContainers", 0).(map[string]any)
		if wall["restartPolicy"] != "Always" {
			e.t.Errorf("the wall is no native sidecar")
		}
		delete(spec, "initContainers")
		delete(wall, "restartPolicy")
		spec["containers"] = append([]any{wall}, spec["containers"].([]any)...)
		ports := map[string]string{}
		for _, port := range wall["ports"].([]any) {
			ports[down(port, "name").(string)] = strconv.Itoa(down(port, "containerPort").(int))
		}
		delete(wall, "ports") // podman would take them on this machine
		for _, probe := range []string{"startupProbe", "readinessProbe", "livenessProbe"} {
			p.probes[probe] = ":" + ports[down(wall, probe, "httpGet", "port").(string)] + down(wall, probe, "httpGet", "path").(string)
			delete(wall, probe)
		}
		for _, volume := range spec["volumes"].([]any) {
			if secret, ok := down(volume, "secret").(map[string]any); ok {
				secret["optional"] = false
			}
		}
	}
	var out bytes.Buffer
	w := yaml.NewEncoder(&out)
	for _, d := range documents {
		check(e.t, w.Encode(d))
	}
	file := filepath.Join(e.dir, name+".yaml")
	check(e.t, os.WriteFile(file, out.Bytes(), 0o600))
	e.run("play", "kube", "--network=podman", "--start=false", file)
	folder := e.run("volume", "inspect", "--format={{.Mountpoint}}", name+"-loginwall-secrets")
	for secret, text := range map[string][]byte{"google_client_secret": []byte(testSecret), "session_key": key} {
		file := filepath.Join(folder, secret)
		check(e.t, os.WriteFile(file, text, 0o440))
		check(e.t, os.Chown(file, 0, imageUser))
		check(e.t, os.Chmod(file, 0o440))
	}
	e.run("pod", "start", name+"-pod-0")
	infra := e.run("pod", "inspect", "--format={{.InfraContainerID}}", name+"-pod-0")
	p.address = e.inspect(infra, "{{.NetworkSettings.Networks.podman.IPAddress}}")
	e.lendProvider(r, p.wall)
	return p
}

// down goes into what a YAML file holds; nil where there is nothing.
func down(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			v = v.([]any)[step]
		}
	}
	return v
}

func (r *rig) at(p pod) *rig {
	r.address = net.JoinHostPort(p.address, "8080")
	return r
}

// TestSidecar runs deploy/kubernetes/sidecar.yaml. BYP-049: the app can be reached
// through the wall alone. CFG-250: the wall is confined.
func TestSidecar(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "registry.example.com/loginwall:1", "registry.example.com/your-app:1")
	r := newRig(t)
	r.publicURL = frontURL
	key := seal.GenerateKey()
	one := playSidecar(e, r, "one", key)
	r.at(one).awaitServing(t)
	r.awaitProvider(t)
	for probe, path := range one.probes {
		response, err := http.Get("http://" + one.address + path) //nolint:noctx // a test's own
		check(t, err)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", probe, response.Status)
		}
	}
	e.run("exec", one.wall, "/loginwall", "healthcheck")

	r.as("alice").signIn(t, "alice@example.com", "/reports?q=4")
	isAlice := func() bool {
		return strings.Contains(string(r.as("alice").ask(t, http.MethodGet, "/").body), `the app hears of "alice@example.com"`)
	}
	if !isAlice() {
		t.Errorf("%s\n%s", r.last.Status, r.last.body)
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(one.address, "3000")) //nolint:noctx // a test's own
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the app's port, from outside: %v, %v", conn, err)
	}
	judgeConfined(t, e.pid(one.wall), string(key))
	if out, err := e.try("exec", one.wall, "sh"); err == nil || !strings.Contains(out, "no such file") && !strings.Contains(out, "not found") {
		t.Errorf("a shell: %v\n%s", err, out)
	}

	before := e.pid(one.wall)
	check(t, syscall.Kill(before, syscall.SIGKILL))
	poll(t, "the wall does not come back", func() bool { return e.pid(one.wall) != before && r.probe("/_auth/healthz") == http.StatusOK })
	if !isAlice() {
		t.Errorf("after the wall was killed: %s\n%s", r.last.Status, r.last.body)
	}

	// Another pod with the same key has a store of its own.
	two := playSidecar(e, r, "two", key)
	r.at(two).awaitServing(t)
	r.awaitProvider(t)
	if !isAlice() {
		t.Errorf("at the other pod: %s\n%s", r.last.Status, r.last.body)
	}
	callback := r.as("bob").consent(t, r.at(one).begin(t, "/deep?link"), "bob@example.com")
	if a := r.at(two).ask(t, http.MethodGet, callback); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != frontURL+"/deep?link" && a.Header.Get("Location") != "/deep?link" {
		t.Errorf("a login that ends at the other pod: %s, to %q", a.Status, a.Header.Get("Location"))
	}
	for _, p := range []pod{one, two} {
		if who := r.at(p).signedIn(t); who != "bob@example.com" {
			t.Errorf("then somebody else is known at %s: %q", p.wall, who)
		}
	}

	e.run("stop", "-t", "40", one.wall)
	if code := e.inspect(one.wall, "{{.State.ExitCode}}"); code != "0" {
		t.Errorf("told to stop, the wall exits with %s", code)
	}
}
