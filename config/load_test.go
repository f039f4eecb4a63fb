package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/loginwall/loginwall/config"
)

// env is the environment of the tests.
func env(name string) (string, bool) {
	v, ok := map[string]string{
		"SECRET": "s3cr3t-from-environment",
		"NUMBER": "15m",
		"FLAG":   "false",
		"EMPTY":  "",
		"BLANK":  " ",
	}[name]
	return v, ok
}

// load writes text as loginwall.yaml in a fresh folder and loads it.
func load(t *testing.T, text string) (*config.Config, []config.Problem, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "loginwall.yaml")
	writeFile(t, path, text, 0o600)
	return config.Load(path, env)
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

// testCA is a certificate whose key was thrown away.
const testCA = `-----BEGIN CERTIFICATE-----
MIIBjzCCATWgAwIBAgIUTGP8GsdIoBfYF6z6ksKSESFH37YwCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRbG9naW53YWxsIHRlc3QgQ0EwIBcNMjYxMTIyMjE0NDMwWhgP
MjEyNjEwMjkyMTQ0MzBaMBwxGjAYBgNVBAMMEWxvZ2lud2FsbCB0ZXN0IENBMFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEdC/DdKhwyIcDVUXwlJOcKAQAyAx1ra7V
zIt+K6xxmUuAOnOM0NdMM/Q9dWB4vPbvEqLX/uTvOyEYz9936rn+DqNTMFEwHQYD
VR0OBBYEFPcitXefbhFWV6/O0uH8EdFVlwIWMB8GA1UdIwQYMBaAFPcitXefbhFW
V6/O0uH8EdFVlwIWMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIh
AP0WaGU+q59FyM0lddvpOk+C/V2RnWVVamAOxGogQEbzAiBMvSiMXm9n2NFUUSJf
vCkkrv0n+uN7Wyovky13yh+t5w==
-----END CERTIFICATE-----
`
