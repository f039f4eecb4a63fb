// Command image makes the container image of loginwall, for amd64 and arm64, with
// nothing but the Go command: no engine, no registry, no base image. The same tree and
// the same Go make the same bytes.
//
//	go -C deploy/tools run ./image -o ../../bin/loginwall-image.tar
//
// What it writes is an OCI layout in a tar, with what older engines look for beside it:
// docker load, podman load, skopeo and crane all take it. The media types are Docker's,
// since OCI's have no HEALTHCHECK.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is nobody on the machine below; as in other images of static binaries.
const user = 65532

func main() {
	name := flag.String("name", "loginwall:latest", "what engines shall call the image: `name:tag`")
	out := flag.String("o", "loginwall-image.tar", "the `file` to write")
	source := flag.String("source", "../..", "the root of the repository")
	flag.Parse()
	if err := run(*source, *name, *out); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(source, name, out string) error {
	a := archive{blobs: map[string]bool{}}
	a.tar = tar.NewWriter(&a.buffer)
	var manifests, older []any
	for _, arch := range []string{"amd64", "arm64"} {
		binary, info, err := build(source, arch)
		if err != nil {
			return err
		}
		manifest, layer, config := a.image(arch, binary, info)
		manifest["platform"] = map[string]any{"os": "linux", "architecture": arch}
		manifests = append(manifests, manifest)
		older = append(older, map[string]any{
			"Config": blobPath(config), "Layers": []string{blobPath(layer)}, "RepoTags": []string{name + "-" + arch},
		})
	}
	list := a.json(typeList, map[string]any{"schemaVersion": 2, "mediaType": typeList, "manifests": manifests})
	full := name
	if !strings.Contains(name, "/") {
		full = "docker.io/library/" + name // what engines mean by a bare name
	}
	_, tag, _ := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], ":")
	list["annotations"] = map[string]any{"io.containerd.image.name": full, "org.opencontainers.image.ref.name": tag}
	a.add("oci-layout", mustJSON(map[string]any{"imageLayoutVersion": "1.0.0"}))
	a.add("index.json", mustJSON(map[string]any{"schemaVersion": 2, "manifests": []any{list}}))
	a.add("manifest.json", mustJSON(older))
	if err := a.tar.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(out, a.buffer.Bytes(), 0o644)
}

// build makes the wall for one platform, the same from whatever folder and
// environment.
func build(source, arch string) (binary []byte, info map[string]string, err error) {
	dir, err := os.MkdirTemp("", "loginwall-image-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "loginwall")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "./cmd/loginwall")
	cmd.Dir, cmd.Stderr = source, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off")
	if err := cmd.Run(); err != nil {
		return nil, nil, fmt.Errorf("build for %s: %w", arch, err)
	}
	built, err := buildinfo.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	info = map[string]string{"version": built.Main.Version}
	for _, s := range built.Settings {
		info[s.Key] = s.Value
	}
	binary, err = os.ReadFile(file)
	return binary, info, err
}

const (
	typeList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeConfig   = "application/vnd.docker.container.image.v1+json"
	typeLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// An archive is the tar to write: blobs under their digests, and what leads to them.
type archive struct {
	buffer bytes.Buffer
	tar    *tar.Writer
	blobs  map[string]bool
}

// image adds one platform's image, and describes its manifest.
func (a *archive) image(arch string, binary []byte, info map[string]string) (manifest, layer, config descriptor) {
	plain := files(binary)
	layer = a.blob(typeLayer, zip(plain))
	created := info["vcs.time"]
	if created == "" {
		created = time.Unix(0, 0).UTC().Format(time.RFC3339)
	}
	config = a.json(typeConfig, map[string]any{
		"architecture": arch, "os": "linux", "created": created,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(plain)}},
		// The same stands in deploy/Dockerfile.
		"config": map[string]any{
			"User":         fmt.Sprintf("%d:%d", user, user),
			"Env":          []string{"PATH=/", "TMPDIR=/data", "LOGINWALL_CONFIG=/etc/loginwall/loginwall.yaml"},
			"WorkingDir":   "/data",
			"Volumes":      map[string]any{"/data": struct{}{}},
			"ExposedPorts": map[string]any{"8080/tcp": struct{}{}},
			"Entrypoint":   []string{"/loginwall"},
			"Cmd":          []string{"serve"},
			"Healthcheck":  map[string]any{"Test": []string{"CMD", "/loginwall", "healthcheck"}, "Interval": 10 * time.Second, "Timeout": 6 * time.Second},
			"Labels": map[string]string{
				"org.opencontainers.image.source":   "https://github.com/loginwall/loginwall",
				"org.opencontainers.image.licenses": "Apache-2.0",
				"org.opencontainers.image.version":  info["version"],
				"org.opencontainers.image.revision": info["vcs.revision"],
			},
		},
	})
	return a.json(typeManifest, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": []any{layer},
	}), layer, config
}

// files is all that is in the image: the wall, the certificates of those whom it may
// call, and a place to write.
func files(binary []byte) []byte {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, f := range []struct {
		tar.Header
		data []byte
	}{
		{tar.Header{Name: "loginwall", Mode: 0o755}, binary},
		{tar.Header{Name: "etc/", Mode: 0o755}, nil},
		{tar.Header{Name: "etc/ssl/", Mode: 0o755}, nil},
		{tar.Header{Name: "etc/ssl/certs/", Mode: 0o755}, nil},
		{tar.Header{Name: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644}, certificates()},
		{tar.Header{Name: "data/", Mode: 0o700, Uid: user, Gid: user}, nil},
	} {
		entry(w, f.Header, f.data)
	}
	must(w.Close())
	return buffer.Bytes()
}

// certificates are Mozilla's, but for those that it trusts only in part, which a file
// cannot say.
func certificates() []byte {
	var buffer bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			must(pem.Encode(&buffer, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return buffer.Bytes()
}

// A descriptor names a blob, as manifests do.
type descriptor map[string]any

func (a *archive) json(mediaType string, v any) descriptor { return a.blob(mediaType, mustJSON(v)) }

func (a *archive) blob(mediaType string, data []byte) descriptor {
	d := descriptor{"mediaType": mediaType, "digest": digest(data), "size": len(data)}
	if path := blobPath(d); !a.blobs[path] {
		a.blobs[path] = true
		a.add(path, data)
	}
	return d
}

func (a *archive) add(name string, data []byte) {
	entry(a.tar, tar.Header{Name: name, Mode: 0o644}, data)
}

func blobPath(d descriptor) string {
	return "blobs/" + strings.Replace(fmt.Sprint(d["digest"]), ":", "/", 1)
}

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// entry adds a file, or a folder where the name ends with a slash, of no time and
// nobody's name.
func entry(w *tar.Writer, h tar.Header, data []byte) {
	h.ModTime, h.Size, h.Format = time.Unix(0, 0), int64(len(data)), tar.FormatUSTAR
	if h.Typeflag = tar.TypeReg; strings.HasSuffix(h.Name, "/") {
		h.Typeflag = tar.TypeDir
	}
	must(w.WriteHeader(&h))
	_, err := w.Write(data)
	must(err)
}

func zip(data []byte) []byte {
	var buffer bytes.Buffer
	w, err := gzip.NewWriterLevel(&buffer, gzip.BestCompression)
	must(err)
	_, err = io.Copy(w, bytes.NewReader(data))
	must(err)
	must(w.Close())
	return buffer.Bytes()
}

// mustJSON is the same for the same value: maps are written in order of their keys.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	must(err)
	return text
}

// must is for what only writes to memory.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
