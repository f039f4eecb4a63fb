package page

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A BrandError says what is wrong with how the pages shall look.
type BrandError struct {
	// Field is the name of a field of Config.
	Field, What, Do string
}

func (e *BrandError) Error() string {
	return fmt.Sprintf("page: %s %s (%s)", e.Field, e.What, e.Do)
}

// maxName is how many characters of an app's name still look like a name.
const maxName = 60

// logoFile checks an image by what it holds. SVG is not taken: it is a document
// that can hold scripts, and would be one of our origin.
func logoFile(image []byte) (name, contentType string, err error) {
	contentType = http.DetectContentType(image)
	switch contentType {
	case "image/png", "image/jpeg", "image/webp":
		return "logo." + strings.TrimPrefix(contentType, "image/"), contentType, nil
	}
	return "", "", &BrandError{"Logo", "is no PNG, JPEG or WebP image", "save it as PNG; SVG is not taken, since it can hold scripts"}
}

// readable is the contrast that text needs (WCAG 2.2, 1.4.3).
const readable = 4.5

// withAccent puts an accent colour, as #rrggbb, into the stylesheet. One colour
// cannot be read on white and on black alike: the one given is that of the light
// scheme, and that of the dark scheme is made of it with white.
func withAccent(css, accent string) (string, error) {
	given, err := parseColour(accent)
	if err != nil {
		return "", err
	}
	light, dark, _ := strings.Cut(css, darkScheme)
	white, black := colour{1, 1, 1}, colour{}

	card, sunk := colourOf(light, "card"), colourOf(light, "sunk")
	contrast := func(c colour) float64 { return min(c.contrast(card), c.contrast(sunk)) }
	if got := contrast(given); got < readable {
		better := given.towards(black, func(c colour) bool { return contrast(c) >= readable })
		return "", &BrandError{
			"Accent", fmt.Sprintf("has a contrast of %.2f to the pages, of which text needs %.1f", got, readable), "take a darker shade, such as " + better.String(),
		}
	}
	light = recolour(light, map[string]colour{
		"accent": given, "press": given.mix(black, 0.25), "on-accent": white, "tint": sunk, "brick": given,
	})

	card, sunk = colourOf(dark, "card"), colourOf(dark, "sunk")
	bright := given.towards(white, func(c colour) bool { return contrast(c) >= readable })
	dark = recolour(dark, map[string]colour{
		"accent": bright, "press": bright.mix(white, 0.4), "on-accent": colourOf(dark, "paper"), "tint": sunk, "brick": bright.mix(card, 0.3),
	})
	return light + darkScheme + dark, nil
}

const darkScheme = "@media screen and (prefers-color-scheme: dark)"

func variable(name string) *regexp.Regexp {
	return regexp.MustCompile(`--` + name + `: (#[0-9a-f]{6});`)
}

// colourOf finds the first value of a variable.
func colourOf(css, name string) colour {
	m := variable(name).FindStringSubmatch(css)
	if m == nil {
		return colour{}
	}
	c, _ := parseColour(m[1]) // of the form that was looked for
	return c
}

func recolour(css string, colours map[string]colour) string {
	for name, c := range colours {
		css = variable(name).ReplaceAllString(css, "--"+name+": "+c.String()+";")
	}
	return css
}

// A colour is red, green and blue of sRGB, from 0 to 1.
type colour [3]float64

func parseColour(text string) (colour, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "#"), 16, 24)
	if err != nil || len(text) != 7 || text[0] != '#' {
		return colour{}, &BrandError{"Accent", "is no colour", "six hexadecimal digits behind a #, as in #1a5fb4"}
	}
	return colour{float64(n>>16) / 255, float64(n>>8&0xff) / 255, float64(n&0xff) / 255}, nil
}

func (c colour) String() string {
	return fmt.Sprintf("#%02x%02x%02x", int(math.Round(c[0]*255)), int(math.Round(c[1]*255)), int(math.Round(c[2]*255)))
}

// mix moves c to another colour by a share of the way.
func (c colour) mix(to colour, share float64) colour {
	for i := range c {
		c[i] += (to[i] - c[i]) * share
	}
	return c
}

// towards moves c no farther to another colour than it takes to be good.
func (c colour) towards(to colour, good func(colour) bool) colour {
	for share := 0.0; share < 1; share += 0.02 {
		if mixed := c.mix(to, share).rounded(); good(mixed) {
			return mixed
		}
	}
	return to
}

// rounded is c as it can be written.
func (c colour) rounded() colour {
	for i := range c {
		c[i] = math.Round(c[i]*255) / 255
	}
	return c
}

// contrast is WCAG's ratio, from 1 to 21.
func (c colour) contrast(to colour) float64 {
	a, b := c.luminance(), to.luminance()
	return (max(a, b) + 0.05) / (min(a, b) + 0.05)
}

func (c colour) luminance() float64 {
	linear := func(v float64) float64 {
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c[0]) + 0.7152*linear(c[1]) + 0.0722*linear(c[2])
}

func checkName(name string) error {
	if utf8.RuneCountInString(name) > maxName {
		return &BrandError{"AppName", fmt.Sprintf("has more than %d characters", maxName), "as short as people say it"}
	}
	return nil
}
