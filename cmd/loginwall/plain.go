package main

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// A plain is a writer for what people read in a terminal. Strangers choose names,
// agents and the words of errors, which must neither steer the terminal nor turn the
// direction of reading: such characters are escaped as in JSON, so that what is JSON
// stays the same. Only lines and tabs pass.
type plain struct {
	to io.Writer
	// half is the beginning of a character whose end the next Write has.
	half []byte
}

// Write implements io.Writer; for each call it writes at most once.
func (p *plain) Write(text []byte) (int, error) {
	n := len(text)
	if len(p.half) > 0 {
		text = append(p.half, text...)
	}
	end := len(text)
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if last := text[len(text)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				end -= i
			}
			break
		}
	}
	p.half = bytes.Clone(text[end:])
	text = text[:end]
	if bytes.ContainsFunc(text, steers) {
		var out []byte
		for _, c := range string(text) {
			if steers(c) {
				out = fmt.Appendf(out, `\u%04x`, c) // they all have four digits
			} else {
				out = utf8.AppendRune(out, c)
			}
		}
		text = out
	}
	_, err := p.to.Write(text)
	return n, err
}

// steers tells a control character (ISO 6429), one of direction (UAX #9), or another
// line break of Unicode. So is what is no UTF-8, which terminals may read as Latin-1.
func steers(c rune) bool {
	return c != '\n' && c != '\t' && unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) || c == '\u2028' || c == '\u2029' || c == utf8.RuneError
}
