package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"debug/elf"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/internal/hygiene"
)

// makeImage is what `make image` does, for a tree.
func makeImage(ctx context.Context, tree, file string) error {
	cmd := exec.CommandContext(ctx, "go", "run", "./image", "-o", file)
	cmd.Dir = filepath.Join(tree, "deploy/tools")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the image: %w\n%s", err, out)
	}
	return nil
}

// builtImage is the image of this tree, made once.
var builtImage = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "loginwall-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "image.tar")
	if err := makeImage(context.Background(), "../..", file); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"": text}
	for in := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if files[h.Name], err = io.ReadAll(in); err != nil {
			return nil, err
		}
	}
})

// A platformImage is the image of one platform.
type platformImage struct {
	config struct {
		Architecture, OS string
		Config           struct {
			User, WorkingDir string
			Env, Entrypoint  []string
			Cmd              []string
			Volumes          map[string]any
			Healthcheck      struct{ Test []string }
		}
	}
	layer []byte // a tar
}

// images reads the image of this tree as an engine does, each digest checked.
func images(t *testing.T) map[string]platformImage {
	t.Helper()
	files, err := builtImage()
	check(t, err)
	type descriptor struct {
		Digest string
		Size   int
	}
	blob := func(d descriptor) []byte {
		data := files["blobs/"+strings.Replace(d.Digest, ":", "/", 1)]
		if d.Size != len(data) || d.Digest != fmt.Sprintf("sha256:%x", sha256.Sum256(data)) {
			t.Fatalf("%v has %d bytes, or another digest", d, len(data))
		}
		return data
	}
	var index, list struct{ Manifests []descriptor }
	check(t, json.Unmarshal(files["index.json"], &index))
	check(t, json.Unmarshal(blob(index.Manifests[0]), &list))
	found := map[string]platformImage{}
	for _, d := range list.Manifests {
		var manifest struct {
			Config descriptor
			Layers []descriptor
		}
		check(t, json.Unmarshal(blob(d), &manifest))
		var one platformImage
		check(t, json.Unmarshal(blob(manifest.Config), &one.config))
		if len(manifest.Layers) != 1 {
			t.Fatalf("%d layers", len(manifest.Layers))
		}
		in, err := gzip.NewReader(bytes.NewReader(blob(manifest.Layers[0])))
		check(t, err)
		one.layer, err = io.ReadAll(in)
		check(t, err)
		found[one.config.OS+"/"+one.config.Architecture] = one
	}
	return found
}

// CFG-250: nothing is in the image but a static binary and certificates, and it runs
// as nobody.
func TestCFG250Image(t *testing.T) {
	t.Parallel()
	made := images(t)
	if len(made) != 2 {
		t.Errorf("platforms: %d", len(made))
	}
	for platform, machine := range map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64} {
		one := made[platform]
		files := map[string][]byte{}
		var listing []string
		for in := tar.NewReader(bytes.NewReader(one.layer)); ; {
			h, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			check(t, err)
			listing = append(listing, fmt.Sprintf("%s %d:%d /%s", h.FileInfo().Mode(), h.Uid, h.Gid, h.Name))
			files[h.Name], err = io.ReadAll(in)
			check(t, err)
		}
		if diff := cmp.Diff([]string{
			"-rwxr-xr-x 0:0 /loginwall",
			"drwxr-xr-x 0:0 /etc/",
			"drwxr-xr-x 0:0 /etc/ssl/",
			"drwxr-xr-x 0:0 /etc/ssl/certs/",
			"-rw-r--r-- 0:0 /etc/ssl/certs/ca-certificates.crt",
			"drwx------ 65532:65532 /data/",
		}, listing); diff != "" {
			t.Errorf("%s (-want +got):\n%s", platform, diff)
		}

		binary, err := elf.NewFile(bytes.NewReader(files["loginwall"]))
		check(t, err)
		if libraries, err := binary.ImportedLibraries(); binary.Machine != machine || err != nil || len(libraries) > 0 {
			t.Errorf("%s: %s, needs %v (%v)", platform, binary.Machine, libraries, err)
		}
		const limit = 40 << 20
		if size := len(files["loginwall"]); size > limit {
			t.Errorf("%s: the binary has %d bytes", platform, size)
		} else {
			t.Logf("%s: binary %d bytes, certificates %d", platform, size, len(files["etc/ssl/certs/ca-certificates.crt"]))
		}
		if !slices.Contains(authorities(t, files["etc/ssl/certs/ca-certificates.crt"]), "GTS Root R1") {
			t.Errorf("%s: no certificates, or not Google's", platform)
		}

		c := one.config.Config
		_, volume := c.Volumes["/data"]
		if c.User != "65532:65532" || !volume || c.Entrypoint[0] != "/loginwall" || c.Cmd[0] != "serve" || strings.Join(c.Healthcheck.Test, " ") != "CMD /loginwall healthcheck" {
			t.Errorf("%s: %+v", platform, c)
		}
	}
}

// The same commit makes the same bytes, wherever it lies.
func TestImageIsReproducible(t *testing.T) {
	t.Parallel()
	if err := exec.CommandContext(t.Context(), "git", "-C", "../..", "rev-parse", "HEAD").Run(); err != nil {
		hygiene.Missing(t, "a clone with its history", "git clone")
	}
	var sums []string
	for _, name := range []string{"one", "another"} {
		dir := filepath.Join(t.TempDir(), name)
		out, err := exec.CommandContext(t.Context(), "git", "clone", "-q", "../..", dir).CombinedOutput()
		if err != nil {
			t.Fatalf("clone: %v\n%s", err, out)
		}
		file := filepath.Join(dir, "bin/image.tar")
		check(t, makeImage(t.Context(), dir, file))
		text, err := os.ReadFile(file)
		check(t, err)
		sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(text)))
	}
	if sums[0] != sums[1] {
		t.Errorf("two clones made %s", sums)
	}
}

// unpack puts the image of this machine into a folder, owners and modes kept.
func unpack(t *testing.T) (dir string) {
	t.Helper()
	dir = openDir(t)
	one := images(t)["linux/"+runtime.GOARCH]
	cmd := exec.CommandContext(t.Context(), "tar", "-xp", "--same-owner", "-C", dir)
	cmd.Stdin = bytes.NewReader(one.layer)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("unpack: %v\n%s", err, out)
	}
	return dir
}

// openDir is a folder that everybody can enter, unlike t.TempDir.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "loginwall-") //nolint:usetesting // as said
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	return dir
}

// CFG-250: what is in the image is enough for a login, where nothing is writable but
// /data, as a user without a name and without any capability. Where no engine runs,
// this is the nearest to a container.
func TestCFG250ImageInASandbox(t *testing.T) {
	t.Parallel()
	bwrap := peerProgram(t, "bwrap", "bubblewrap")
	if os.Getuid() != 0 {
		hygiene.Missing(t, "root, who can become somebody else", "sudo")
	}
	r := newRig(t)
	root, etc, data := unpack(t), openDir(t), openDir(t)
	for _, name := range []string{"etc/loginwall", "proc", "dev"} { // an engine makes what it mounts on
		check(t, os.MkdirAll(filepath.Join(root, name), 0o755))
	}
	r.writeTo(t, filepath.Join(etc, "loginwall.yaml"), basics+"store: sqlite:/data/loginwall.db\n")
	for _, name := range []string{filepath.Join(etc, "loginwall.yaml"), data} {
		check(t, os.Chown(name, imageUser, imageUser))
	}
	c := images(t)["linux/"+runtime.GOARCH].config.Config
	args := []string{
		"--reuid", strconv.Itoa(imageUser), "--regid", strconv.Itoa(imageUser), "--clear-groups",
		bwrap, "--ro-bind", root, "/", "--ro-bind", etc, "/etc/loginwall", "--bind", data, "/data", "--proc", "/proc", "--dev", "/dev",
		"--unshare-all", "--share-net", "--cap-drop", "ALL", "--die-with-parent", "--clearenv", "--chdir", c.WorkingDir,
	}
	for _, variable := range c.Env {
		name, value, _ := strings.Cut(variable, "=")
		args = append(args, "--setenv", name, value)
	}
	wall := startChild(t, exec.CommandContext(t.Context(), "setpriv", append(args, append(c.Entrypoint, c.Cmd...)...)...)) //nolint:gosec // a test's own
	t.Cleanup(func() {
		wall.kill()
		r.oracle.judgeLog(t, wall.log.String())
	})
	r.awaitServing(t)
	r.awaitProvider(t)
	r.as("alice").signIn(t, "alice@example.com", "/")
	if a := r.ask(t, "GET", "/"); !bytes.Contains(a.body, []byte(upstreamMark)) {
		t.Errorf("%s", a.Status)
	}
	if _, err := os.Stat(filepath.Join(data, "loginwall.db")); err != nil {
		t.Error(err)
	}
	judgeConfined(t, descendant(t, wall.cmd.Process.Pid, "/loginwall"))
}

// imageUser is whom the image runs as.
const imageUser = 65532

// authorities are the names in a file of certificates.
func authorities(t *testing.T, file []byte) (names []string) {
	t.Helper()
	for block, rest := pem.Decode(file); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		check(t, err)
		names = append(names, certificate.Subject.CommonName)
	}
	return names
}
