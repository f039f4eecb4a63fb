package picture_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loginwall/loginwall/auth/picture"
	"github.com/loginwall/loginwall/internal/locked"
)

// A host is a provider with pictures, and a gallery that shows them.
type host struct {
	*picture.Gallery
	url   string
	asked atomic.Int64
	log   locked.Buffer
	now   atomic.Int64 // seconds
}

func newHost(t *testing.T, serve http.HandlerFunc, change func(*picture.Config)) *host {
	t.Helper()
	h := &host{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		if len(r.Header["Cookie"])+len(r.Header["Referer"])+len(r.Header["Authorization"])+len(r.Header["X-Forwarded-For"]) != 0 {
			t.Errorf("the request tells of somebody: %v", r.Header)
		}
		serve(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.StartTLS()
	t.Cleanup(server.Close)
	h.url = server.URL
	c := picture.Config{
		Issuer: server.URL, RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs,
		Log: slog.New(slog.NewTextHandler(&h.log, nil)), Now: func() time.Time { return time.Unix(h.now.Load(), 0) },
	}
	if change != nil {
		change(&c)
	}
	var err error
	if h.Gallery, err = picture.New(c); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAdmits(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	gallery := func(issuer string, google bool) *picture.Gallery {
		g, err := picture.New(picture.Config{Issuer: issuer, Google: google, Log: log, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	google, other, local := gallery("https://accounts.google.com", true), gallery("https://Login.example.com:8443/realms/one", false), gallery("http://127.0.0.1:9000", true)
	for _, c := range []struct {
		by      *picture.Gallery
		address string
		want    bool
	}{
		{google, "https://lh3.googleusercontent.com/a/x=s96-c", true},
		{google, "https://LH3.GoogleUserContent.com:443/a", true},
		{google, "https://accounts.google.com/x.png", true},
		{google, "https://a.b.googleusercontent.com/", true},
		{google, "https://googleusercontent.com/a", false},
		{google, "https://evil.googleusercontent.com.attacker.example/a", false},
		{google, "https://evilgoogleusercontent.com/a", false},
		{google, "https://.googleusercontent.com/a", false},
		{google, "https://lh3.googleusercontent.com./a", false},
		{google, "https://attacker.example/lh3.googleusercontent.com", false},
		{google, "https://attacker.example#.googleusercontent.com", false},
		{google, "https://attacker.example?.googleusercontent.com", false},
		{google, `https://attacker.example\.googleusercontent.com/`, false},
		{google, "https://attacker.example%2f.googleusercontent.com/", false},
		{google, "https://attacker.example\u3002googleusercontent.com/", false},
		{google, "https://lh3.googleusercontent.com@attacker.example/", false},
		{google, "https://user@lh3.googleusercontent.com/", false},
		{google, "https://user:pass@lh3.googleusercontent.com/", false},
		{google, "https://lh3.googleusercontent.com:8443/a", false},
		{google, "https://lh3.googleusercontent.com:0443/a", false},
		{google, "http://lh3.googleusercontent.com/a", false},
		{google, "//lh3.googleusercontent.com/a", false},
		{google, "https:lh3.googleusercontent.com/a", false},
		{google, "data:image/png;base64,AAAA", false},
		{google, "javascript:alert(1)", false},
		{google, "file:///etc/passwd", false},
		{google, "https://169.254.169.254/latest/meta-data", false},
		{google, "https://127.0.0.1/", false},
		{google, "https://[::1]/", false},
		{google, "https://", false},
		{google, "", false},
		{other, "https://login.example.com:8443/avatars/1", true},
		{other, "https://login.example.com/avatars/1", false},
		{other, "https://login.example.com:443/avatars/1", false},
		{other, "https://www.login.example.com:8443/avatars/1", false},
		{other, "https://lh3.googleusercontent.com/a", false},
		{local, "http://127.0.0.1:9000/a", false},
		{local, "https://127.0.0.1:9000/a", false},
		{local, "https://lh3.googleusercontent.com/a", true},
		{new(picture.Gallery), "https:///a", false},
		{new(picture.Gallery), "https://lh3.googleusercontent.com/a", false},
	} {
		if got := c.by.Admits(c.address); got != c.want {
			t.Errorf("%s: %v, want %v", c.address, got, c.want)
		}
	}
}

// paint makes a picture of one colour.
func paint(width, height int, c color.Color) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	draw.Draw(img, img.Rect, image.NewUniform(c), image.Point{}, draw.Src)
	return img
}

func pngOf(img image.Image) []byte {
	var out bytes.Buffer
	_ = png.Encode(&out, img)
	return out.Bytes()
}

func jpegOf(img image.Image) []byte {
	var out bytes.Buffer
	_ = jpeg.Encode(&out, img, nil)
	return out.Bytes()
}

func gifOf(img image.Image) []byte {
	var out bytes.Buffer
	_ = gif.Encode(&out, img, nil)
	return out.Bytes()
}

// withChunk puts a chunk behind the header of a PNG.
func withChunk(file []byte, name string, data string) []byte {
	chunk := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	chunk = append(append(chunk, name...), data...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	const header = 8 + 25
	return append(append(bytes.Clone(file[:header]), chunk...), file[header:]...)
}

// What is served is a small JPEG of what the picture shows, and nothing else of it.
func TestPicture(t *testing.T) {
	t.Parallel()
	red, blue := color.NRGBA{200, 30, 30, 255}, color.NRGBA{30, 30, 200, 255}
	flag := paint(300, 100, red) // the middle is blue
	draw.Draw(flag, image.Rect(100, 0, 200, 100), image.NewUniform(blue), image.Point{}, draw.Src)
	files := map[string]struct {
		body []byte
		side int
		want color.NRGBA
	}{
		"png":                  {pngOf(paint(400, 400, red)), 96, red},
		"jpeg":                 {jpegOf(paint(1024, 1024, blue)), 96, blue},
		"gif":                  {gifOf(paint(96, 96, red)), 96, red},
		"odd":                  {pngOf(paint(97, 131, red)), 96, red},
		"wide":                 {pngOf(flag), 96, blue},
		"small":                {pngOf(paint(20, 30, red)), 20, red},
		"one":                  {pngOf(paint(1, 1, red)), 1, red},
		"clear":                {pngOf(paint(100, 100, color.Transparent)), 96, color.NRGBA{255, 255, 255, 255}},
		"metadata":             {withChunk(pngOf(paint(96, 96, red)), "tEXt", "Comment\x00canary <script>"), 96, red},
		"something behind":     {append(jpegOf(paint(96, 96, red)), "canary <svg onload=alert(1)>"...), 96, red},
		"application/x-script": {gifOf(paint(96, 96, blue)), 96, blue},
	}
	h := newHost(t, func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		w.Header().Set("Content-Type", name) // what it says does not count
		_, _ = w.Write(files[name].body)
	}, nil)
	for name, file := range files {
		got := h.JPEG(t.Context(), h.url+"/"+strings.ReplaceAll(name, " ", "%20"))
		img, err := jpeg.Decode(bytes.NewReader(got))
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, h.log.String())
			continue
		}
		if size := img.Bounds().Size(); size != image.Pt(file.side, file.side) {
			t.Errorf("%s: %v, want %d", name, size, file.side)
		}
		middle := file.side / 2
		r, g, b, _ := img.At(middle, middle).RGBA()
		for i, v := range []uint32{r, g, b} {
			want := []uint8{file.want.R, file.want.G, file.want.B}[i]
			if distance := int(v>>8) - int(want); distance < -40 || distance > 40 {
				t.Errorf("%s: the colour is %d %d %d, want %v", name, r>>8, g>>8, b>>8, file.want)
				break
			}
		}
		if bytes.Contains(got, []byte("canary")) || len(got) > 8<<10 {
			t.Errorf("%s: %d bytes, which may hold some of the file's own", name, len(got))
		}
	}
}

// bomb is a PNG whose header promises more than anybody has memory for.
func bomb(width, height uint32) []byte {
	file := pngOf(paint(1, 1, color.White))
	binary.BigEndian.PutUint32(file[16:], width)
	binary.BigEndian.PutUint32(file[20:], height)
	binary.BigEndian.PutUint32(file[29:], crc32.ChecksumIEEE(file[12:29]))
	return file
}

// scans is a progressive JPEG that goes over its 16384 blocks again and again: each
// scan is 12 bytes, and says of all blocks that nothing changes.
func scans() []byte {
	file := []byte("\xff\xd8" +
		"\xff\xc2\x00\x0b\x08\x04\x00\x04\x00\x01\x01\x11\x00" + // 1024 by 1024, one component
		"\xff\xc4\x00\x14\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + // the one code of DC: no change
		"\xff\xc4\x00\x14\x10\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xe0" + // of AC: the end of 2^14 blocks and more
		"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00" + strings.Repeat("\x00", 2048))
	for len(file) < 256<<10-14 {
		file = append(file, "\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x10\x00\x00"...)
	}
	return append(file, 0xff, 0xd9)
}

func TestNoPicture(t *testing.T) {
	t.Parallel()
	whole := pngOf(paint(96, 96, color.White))
	packed := func() []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(whole)
		_ = w.Close()
		return out.Bytes()
	}()
	send := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write(body)
		}
	}
	lead := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		says  string
	}{
		"svg":            {send([]byte(`<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`)), "no JPEG, PNG or GIF"},
		"html as png":    {send([]byte("<!doctype html><script>alert(1)</script>")), "no JPEG, PNG or GIF"},
		"webp":           {send([]byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00")), "no JPEG, PNG or GIF"},
		"nothing":        {send(nil), "no JPEG, PNG or GIF"},
		"packed":         {send(packed), "no JPEG, PNG or GIF"},
		"bomb":           {send(bomb(30000, 30000)), "more than 1024 pixels"},
		"wide bomb":      {send(bomb(1<<31-1, 1)), "more than 1024 pixels"},
		"tall bomb":      {send(bomb(1, 1025)), "more than 1024 pixels"},
		"gif bomb":       {send([]byte("GIF89a\xff\xff\xff\xff\x00\x00\x00")), "more than 1024 pixels"},
		"endless work":   {send(scans()), "deadline"},
		"half":           {send(whole[:len(whole)/2]), "decode"},
		"a header alone": {send(whole[:20]), "size"},
		"huge":           {send(append(bytes.Clone(whole), make([]byte, 256<<10)...)), "longer than 256 KiB"},
		"404": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write(whole)
		}, "answered 404"},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "999")
			_, _ = w.Write(whole)
		}, "read it"},
		"no answer":         {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "ask for it"},
		"redirect":          {lead("/other"), "answered 302"},
		"redirect inside":   {lead("http://169.254.169.254/latest/meta-data/"), "answered 302"},
		"redirect to https": {lead("https://169.254.169.254/"), "answered 302"},
		"redirect to file":  {lead("file:///etc/passwd"), "answered 302"},
		"slow to begin":     {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "deadline"},
		"slow to end": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(whole[:30])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, c.serve, nil)
			if got := h.JPEG(t.Context(), h.url+"/secret-path?secret-query"); got != nil {
				t.Errorf("%d bytes are shown", len(got))
			}
			log := h.log.String()
			if !strings.Contains(log, c.says) || strings.Contains(log, "secret-") || !strings.Contains(log, "host="+strings.TrimPrefix(h.url, "https://")) {
				t.Errorf("the log says %q, want %q", log, c.says)
			}
			// It is not tried again at once, and told only once.
			before := h.asked.Load()
			h.JPEG(t.Context(), h.url+"/secret-path?secret-query")
			if again := h.asked.Load() - before; before != 1 || again != 0 || h.log.String() != log {
				t.Errorf("asked %d times, and %d times again", before, again)
			}
		})
	}
}

// What the rules do not admit is not asked for, nor looked up.
func TestNotAdmitted(t *testing.T) {
	h := newHost(t, func(http.ResponseWriter, *http.Request) {}, nil)
	for _, address := range []string{strings.Replace(h.url, "https", "http", 1), "data:image/gif,x", "javascript:alert(1)", "https://169.254.169.254/", ""} {
		if h.JPEG(t.Context(), address) != nil || h.asked.Load() != 0 || h.log.String() != "" {
			t.Errorf("%s was asked for (%s)", address, h.log.String())
		}
	}
}

// A name of Google's that leads inside the network leads nowhere, whatever it led to
// when it was looked at before.
func TestNamesThatLeadInside(t *testing.T) {
	for _, inside := range []string{"127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "fd00:ec2::254", "::ffff:127.0.0.1", "64:ff9b::7f00:1"} {
		address := netip.MustParseAddr(inside)
		h := newHost(t, func(http.ResponseWriter, *http.Request) {}, func(c *picture.Config) {
			c.Google, c.Resolver = true, resolver(t, address)
		})
		if h.JPEG(t.Context(), "https://lh3.googleusercontent.com/a") != nil || !strings.Contains(h.log.String(), "not public") {
			t.Errorf("%s: the log says %q", inside, h.log.String())
		}
	}
}

// resolver asks a name server of the test's, by whom every name has one address.
func resolver(t *testing.T, address netip.Addr) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { server.Close(); serving.Wait() })
	serving.Go(func() {
		query := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(query)
			if err != nil {
				return
			}
			// RFC 1035, section 4: the header, the question as it was asked, an answer.
			end := 12 + bytes.IndexByte(query[12:n], 0) + 5
			kind, data := uint16(1), address.AsSlice()
			if address.Is6() {
				kind = 28
			}
			reply := append(bytes.Clone(query[:2]), 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0)
			reply = append(reply, query[12:end]...)
			if binary.BigEndian.Uint16(query[end-4:]) == kind {
				reply[7] = 1
				reply = append(reply, 0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(len(data)))
				reply = append(reply, data...)
			}
			_, _ = server.WriteTo(reply, from)
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// A picture is asked for once by all who want it, and again after an hour; one that
// could not be had after ten minutes.
func TestHeld(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	h := newHost(t, func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		side := 10
		if r.URL.Path == "/new" {
			side = 20
		}
		_, _ = w.Write(pngOf(paint(side, side, color.White)))
	}, nil)
	side := func(path string) int {
		t.Helper()
		size, err := jpeg.DecodeConfig(bytes.NewReader(h.JPEG(t.Context(), h.url+path)))
		if err != nil {
			return 0
		}
		return size.Width
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got := side("/old"); got != 10 {
				t.Errorf("side %d", got)
			}
		})
	}
	all.Wait()
	expect := func(path string, want int, asked int64) {
		t.Helper()
		if got := side(path); got != want || h.asked.Load() != asked {
			t.Errorf("%s at %ds: side %d, asked %d times; want %d, %d", path, h.now.Load(), got, h.asked.Load(), want, asked)
		}
	}
	expect("/old", 10, 1)
	expect("/new", 20, 2) // who replaces a picture has another address
	h.now.Store(3599)
	expect("/old", 10, 2)
	away.Store(true)
	h.now.Store(3600)
	expect("/old", 0, 3)
	away.Store(false)
	h.now.Store(3600 + 599)
	expect("/old", 0, 3)
	h.now.Store(3600 + 600)
	expect("/old", 10, 4)

	// After an hour a failure is told again.
	away.Store(true)
	for _, at := range []int64{7199, 7200, 7201, 10800, 10801} {
		h.now.Store(at)
		side(fmt.Sprint("/", at))
	}
	if n := strings.Count(h.log.String(), "\n"); n != 3 {
		t.Errorf("%d lines in the log, want 3:\n%s", n, h.log.String())
	}
}

// Somebody who goes away before the picture is there says nothing about it.
func TestGone(t *testing.T) {
	t.Parallel()
	ctx, leave := context.WithCancel(t.Context())
	var asked atomic.Int64
	h := newHost(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		leave()
		_, _ = w.Write(pngOf(paint(10, 10, color.White)))
	}, nil)
	_ = h.JPEG(ctx, h.url)
	if h.JPEG(t.Context(), h.url) == nil || h.log.String() != "" {
		t.Errorf("there is none; the log says %q", h.log.String())
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("it was fetched %d times", n)
	}
}

// However many are asked for, few are fetched at once.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	full := make(chan struct{})
	var once sync.Once
	h := newHost(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if n == 4 {
			once.Do(func() { close(full) })
		}
		select {
		case <-full:
		case <-r.Context().Done():
		}
		_, _ = w.Write(pngOf(paint(10, 10, color.White)))
	}, nil)
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			if h.JPEG(t.Context(), fmt.Sprint(h.url, "/", i)) == nil {
				t.Errorf("picture %d is not there: %s", i, h.log.String())
			}
		})
	}
	all.Wait()
	if most.Load() != 4 {
		t.Errorf("%d at once, want 4", most.Load())
	}
}
