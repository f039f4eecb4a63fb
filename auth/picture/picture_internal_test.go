package picture

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"net/netip"
	"testing"
)

func TestPublic(t *testing.T) {
	for _, text := range []string{
		"0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.1.2.3", "169.254.169.254", "172.16.0.1", "172.31.255.255",
		"192.0.0.192", "192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2001::1", "2002:7f00:1::",
		"fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "100::1",
	} {
		if public(netip.MustParseAddr(text)) {
			t.Errorf("%s counts as public", text)
		}
	}
	for _, text := range []string{"8.8.8.8", "142.250.185.97", "172.15.0.1", "172.32.0.1", "100.128.0.1", "223.255.255.1", "::ffff:8.8.8.8", "2a00:1450:4001:82f::2001", "2607:f8b0::1"} {
		if !public(netip.MustParseAddr(text)) {
			t.Errorf("%s does not count as public", text)
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address counts as public")
	}
}

// FuzzPortrait: whatever a host sends, it is a small JPEG or nothing.
func FuzzPortrait(f *testing.F) {
	img := image.NewPaletted(image.Rect(0, 0, 9, 7), []color.Color{color.White, color.Transparent})
	for _, encode := range []func(io.Writer) error{
		func(w io.Writer) error { return png.Encode(w, img) },
		func(w io.Writer) error { return jpeg.Encode(w, img, nil) },
		func(w io.Writer) error { return gif.Encode(w, img, nil) },
	} {
		var file bytes.Buffer
		if err := encode(&file); err != nil {
			f.Fatal(err)
		}
		f.Add(file.Bytes())
	}
	f.Add([]byte("<svg/>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := portrait(t.Context(), body)
		if (got == nil) == (err == nil) {
			t.Fatalf("%d bytes and %v", len(got), err)
		}
		if err != nil {
			return
		}
		if size, err := jpeg.DecodeConfig(bytes.NewReader(got)); err != nil || size.Width != size.Height || size.Width > side {
			t.Errorf("%v %v", size, err)
		}
	})
}
