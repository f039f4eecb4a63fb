package page

import (
	"fmt"
	"html/template"
	"strings"
	"time"
	"unicode"

	"github.com/loginwall/loginwall/auth"
)

// funcs are what the templates can call.
func (p *Pages) funcs() template.FuncMap {
	return template.FuncMap{
		"name":     func() string { return p.name },
		"host":     func() string { return p.host },
		"home":     func() string { return p.origin + "/" },
		"provider": func() string { return p.provider },
		"contact":  func() []part { return p.contact },
		"asset":    p.asset,
		"sign":     func() (string, error) { return p.asset(p.sign) },
		"branded":  func() bool { return p.sign != "mark.svg" },
		"initials": initials,
		"portrait": portrait,
		"hue":      hue,
		"ago":      ago,
		"when":     func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
		"machine":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}
}

// A part is some of the contact line, and the address that it leads to if any.
type part struct{ Text, URL string }

// contactLine finds the addresses, of mail and of the web, in an operator's line.
func contactLine(line string) []part {
	var parts []part
	for i, word := range strings.Fields(line) {
		if i > 0 {
			parts = append(parts, part{Text: " "})
		}
		core := strings.Trim(word, "<>(),.;:!?")
		at := strings.Index(word, core)
		to := ""
		if email, err := auth.ParseEmail(core); err == nil {
			to = "mailto:" + email
		} else if strings.HasPrefix(core, "https://") || strings.HasPrefix(core, "http://") {
			to = core
		}
		if to == "" {
			parts = append(parts, part{Text: word})
			continue
		}
		parts = append(parts, part{Text: word[:at]}, part{core, to}, part{Text: word[at+len(core):]})
	}
	return parts
}

// initials are at most two letters for the round sign of an account, behind its
// picture if there is one: it comes from our own origin, since any other would learn who
// looks at what.
func initials(name, email string) string {
	words := strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) })
	if len(words) == 0 {
		words = strings.FieldsFunc(email, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
		words = words[:min(len(words), 1)]
	}
	var out []rune
	for i, word := range words {
		if i == 0 || i == len(words)-1 {
			out = append(out, unicode.ToUpper([]rune(word)[0]))
		}
	}
	if len(out) == 0 {
		return "?"
	}
	return string(out)
}

// portrait is the address of the picture of who has one.
func portrait(who any) string {
	if p, ok := who.(interface{ Portrait() string }); ok {
		return p.Portrait()
	}
	return ""
}

// hue gives an account one of six colours of its own.
func hue(email string) int {
	sum := 0
	for _, c := range []byte(email) {
		sum = (sum*31 + int(c)) & 0xffff
	}
	return sum % 6
}

// ago says how far t is from now, in the largest unit that fits, to the nearest:
// what is to last a week does not begin with six days.
func ago(now, t time.Time) string {
	d := t.Sub(now)
	past := d < 0
	if past {
		d = -d
	}
	length, unit := time.Minute, "minute"
	switch {
	case d < time.Minute && past:
		return "just now"
	case d < time.Minute:
		return "in less than a minute"
	case d >= 48*time.Hour:
		length, unit = 24*time.Hour, "day"
	case d >= 2*time.Hour:
		length, unit = time.Hour, "hour"
	}
	n := int(d.Round(length) / length)
	if n != 1 {
		unit += "s"
	}
	if past {
		return fmt.Sprintf("%d %s ago", n, unit)
	}
	return fmt.Sprintf("in %d %s", n, unit)
}
