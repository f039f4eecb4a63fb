package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/loginwall/loginwall/auth/seal"
)

const chart = "../../deploy/helm/loginwall"

// manifests reads a Kubernetes manifest as strictly as an API server, and returns the
// kinds and names in it.
func manifests(t *testing.T, text string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), goPeer(t, "github.com/loginwall/loginwall/deploy/peers/manifests")) //nolint:gosec // a test's own
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("no Kubernetes would take this: %v\n%s", err, out)
	}
	return slices.Sorted(strings.Lines(string(out)))
}

// checkExample wants a wall's configuration to be right, with the secrets that it names
// at hand and its volume in a folder, and so with the lines that are commented out.
func checkExample(t *testing.T, config string) {
	t.Helper()
	whole := regexp.MustCompile(`(?m)^# (\w+:)`).ReplaceAllString(config, "$1")
	if whole != config {
		checkExample(t, whole)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"google_client_secret": "GOCSPX-of-an-example", "session_key": string(seal.GenerateKey()), "store": "postgres://loginwall:secret@db/loginwall"} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	file := filepath.Join(dir, "loginwall.yaml")
	check(t, os.WriteFile(file, []byte(strings.NewReplacer("/run/secrets/", dir+"/", "/secrets/", dir+"/", "/data/", dir+"/", "1234.apps", "12345.apps").Replace(config)), 0o600))
	cmd := exec.CommandContext(t.Context(), "loginwall", "check", "--offline", "--config", file)
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "warning") {
		t.Errorf("check: %v\n%s\n%s", err, out, config)
	}
}

func TestSidecarIsWhatKubernetesTakes(t *testing.T) {
	t.Parallel()
	text := readFile(t, sidecarFile)
	if diff := cmp.Diff([]string{"ConfigMap tool-loginwall\n", "Deployment tool\n", "PersistentVolumeClaim tool-loginwall-data\n", "Service tool\n"}, manifests(t, text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	checkExample(t, ofKind(t, text, "ConfigMap", "data", "loginwall.yaml").(string))
}

// ofKind goes down into the first document of a kind.
func ofKind(t *testing.T, text, kind string, path ...any) any {
	t.Helper()
	for in := yaml.NewDecoder(strings.NewReader(text)); ; {
		var d map[string]any
		err := in.Decode(&d)
		if errors.Is(err, io.EOF) {
			t.Fatalf("no %s in\n%s", kind, text)
		}
		check(t, err)
		if d["kind"] == kind {
			return down(d, path...)
		}
	}
}

// TestHelmChart renders the chart with several sets of values. BYP-049: with a policy
// for the app's pods, nobody but the wall reaches them.
func TestHelmChart(t *testing.T) {
	t.Parallel()
	helm := goPeer(t, "helm.sh/helm/v3/cmd/helm")
	run := func(t *testing.T, args ...string) (string, error) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), helm, args...)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(t, "lint", "--strict", chart); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for name, c := range map[string]struct {
		values string
		kinds  []string
	}{
		"as it is": {"{}", []string{"ConfigMap a-loginwall\n", "Deployment a-loginwall\n", "PersistentVolumeClaim a-loginwall\n", "Service a-loginwall\n"}},
		"replicas": {`
replicas: 3
postgres: true
config: {admins: [admin@example.com], directory: {public_url: https://users.example.com}, trusted_proxies: [10.0.0.0/8], session: {max_age: 24h}, timeouts: {drain: 30s}}
podDisruptionBudget: {enabled: true}
serviceMonitor: {enabled: true}
networkPolicy:
  enabled: true
  from: [{namespaceSelector: {matchLabels: {name: ingress}}}]
  metricsFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}]
  app: {app: tool}
ingress: {enabled: true, className: nginx, tlsSecret: tool-tls, annotations: {a.b/c: d}}
service: {type: NodePort, annotations: {a.b/c: d}}
imagePullSecrets: [{name: pull}]
extraEnv: [{name: OTEL_EXPORTER_OTLP_ENDPOINT, value: "http://collector:4318"}]
podAnnotations: {a.b/c: d}
nodeSelector: {kubernetes.io/arch: arm64}
tolerations: [{key: k, operator: Exists}]
affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: kubernetes.io/hostname}}]}}
livenessProbe: {timeoutSeconds: 5}
`, []string{
			"ConfigMap a-loginwall\n", "Deployment a-loginwall\n", "Ingress a-loginwall\n", "NetworkPolicy a-loginwall\n", "NetworkPolicy a-loginwall-app\n",
			"PodDisruptionBudget a-loginwall\n", "Service a-loginwall\n", "ServiceMonitor a-loginwall\n",
		}},
		"a volume that exists": {"persistence: {existingClaim: mine}\nstartupProbe: null\nresources: null\n", []string{"ConfigMap a-loginwall\n", "Deployment a-loginwall\n", "Service a-loginwall\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := filepath.Join(t.TempDir(), "values.yaml")
			check(t, os.WriteFile(values, []byte(c.values), 0o600))
			text, err := run(t, "template", "a", chart, "--kube-version=1.34", "-f", values)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if diff := cmp.Diff(c.kinds, manifests(t, text)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			checkExample(t, ofKind(t, text, "ConfigMap", "data", "loginwall.yaml").(string))
			if strings.Contains(text, "kind: Ingress") {
				hosts := []any{"tool.example.com", "users.example.com"}
				ingress := ofKind(t, text, "Ingress", "spec")
				if diff := cmp.Diff([]any{hosts, hosts[0], hosts[1]}, []any{down(ingress, "tls", 0, "hosts"), down(ingress, "rules", 0, "host"), down(ingress, "rules", 1, "host")}); diff != "" {
					t.Errorf("the hosts (-want +got):\n%s", diff)
				}
			}
			pod := ofKind(t, text, "Deployment", "spec", "template", "spec")
			if down(pod, "enableServiceLinks") != false || down(pod, "securityContext", "runAsNonRoot") != true || down(pod, "containers", 0, "securityContext", "readOnlyRootFilesystem") != true {
				t.Errorf("the pod is more open than the sidecar: %v", pod)
			}
		})
	}
	if out, err := run(t, "template", "a", chart, "--kube-version=1.34", "--set", "replicas=3"); err == nil || !strings.Contains(out, "replicas: more than one wants postgres: true") {
		t.Errorf("three walls with a store of one: %v\n%s", err, out)
	}
}
