package picture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
)

const (
	// maxSide bounds the dimensions that are decoded, in pixels.
	maxSide = 1024
	// side is that of the pictures we make: twice of what the pages show, for dense
	// screens.
	side = 96
)

var (
	errFormat = errors.New("it is no JPEG, PNG or GIF picture")
	errSide   = errors.New("it is empty, or has a side of more than 1024 pixels")
)

// portrait makes a small JPEG of the middle of a picture, on white, out of nothing but
// its pixels.
func portrait(ctx context.Context, body []byte) ([]byte, error) {
	var measure func(io.Reader) (image.Config, error)
	var decode func(io.Reader) (image.Image, error)
	switch http.DetectContentType(body) {
	case "image/jpeg":
		measure, decode = jpeg.DecodeConfig, jpeg.Decode
	case "image/png":
		measure, decode = png.DecodeConfig, png.Decode
	case "image/gif":
		measure, decode = gif.DecodeConfig, gif.Decode // the first frame alone
	default:
		return nil, errFormat
	}
	size, err := measure(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("read its size: %w", err)
	}
	if size.Width > maxSide || size.Height > maxSide {
		return nil, errSide
	}
	picture, err := decode(timed{ctx, bytes.NewReader(body)})
	if err != nil {
		return nil, fmt.Errorf("decode it: %w", err)
	}
	all := picture.Bounds()
	n := min(all.Dx(), all.Dy())
	if n < 1 {
		return nil, errSide
	}
	square := image.NewRGBA(image.Rect(0, 0, n, n))
	draw.Draw(square, square.Rect, image.White, image.Point{}, draw.Src) // else initials would shine through
	draw.Draw(square, square.Rect, picture, all.Min.Add(image.Pt((all.Dx()-n)/2, (all.Dy()-n)/2)), draw.Over)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, shrink(square, min(n, side)), &jpeg.Options{Quality: 85}); err != nil {
		return nil, fmt.Errorf("encode it: %w", err)
	}
	return bytes.Clone(out.Bytes()), nil // what is kept is no longer than that
}

// timed ends with its context: decoders read as they work.
type timed struct {
	ctx  context.Context //nolint:containedctx // it is that of the one call which reads
	from io.Reader
}

func (t timed) Read(p []byte) (int, error) {
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
	return t.from.Read(p[:min(len(p), 512)]) // of which a JPEG can make a tenth of a second
}

// shrink makes a square of n by n pixels, each the mean of those that it stands for.
func shrink(from *image.RGBA, n int) *image.RGBA {
	to, all := image.NewRGBA(image.Rect(0, 0, n, n)), from.Rect.Dx()
	for y := range n {
		for x := range n {
			left, right, top, bottom := x*all/n, (x+1)*all/n, y*all/n, (y+1)*all/n
			var sum [4]int
			for row := top; row < bottom; row++ {
				for i, value := range from.Pix[from.PixOffset(left, row):from.PixOffset(right, row)] {
					sum[i%4] += int(value)
				}
			}
			pixels := (right - left) * (bottom - top)
			for i, value := range sum {
				to.Pix[to.PixOffset(x, y)+i] = uint8(value / pixels)
			}
		}
	}
	return to
}
