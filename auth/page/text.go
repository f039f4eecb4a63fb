package page

import (
	"fmt"
	"html/template"
	"net/mail"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// funcs are what the templates can call.
func (p *Pages) funcs() template.FuncMap {
	return template.FuncMap{
		"app":      func() string { return p.app },
		"host":     func() string { return p.host },
		"provider": func() string { return p.provider },
		"asset":    p.asset,
		"contact":  func() contact { return contactOf(p.contact) },
		"initials": initials,
		"hue":      hue,
		"when":     func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
		"machine":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"ago":      ago,
		"account":  func(name, email string) person { return person{name, email} },
	}
}

type person struct{ Name, Email string }

// A contact is the configured line, with an address to follow where it is one.
type contact struct{ Text, URL string }

func contactOf(text string) contact {
	if u, err := url.Parse(text); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" {
		return contact{text, text}
	}
	if a, err := mail.ParseAddress(text); err == nil && a.Address == text {
		return contact{text, "mailto:" + text}
	}
	return contact{Text: text}
}

// initials are at most two letters for the round sign of an account: there are no
// pictures, since loading one would tell a third party who looks at what.
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

// hue gives an account one of six colours of its own.
func hue(email string) int {
	sum := 0
	for _, c := range []byte(email) {
		sum = (sum*31 + int(c)) & 0xffff
	}
	return sum % 6
}

// ago says how far t is from now, in the largest unit that fits.
func ago(now, t time.Time) string {
	d := t.Sub(now)
	past := d < 0
	if past {
		d = -d
	}
	n, unit := int(d/time.Minute), "minute"
	switch {
	case d < time.Minute && past:
		return "just now"
	case d < time.Minute:
		return "in less than a minute"
	case d >= 48*time.Hour:
		n, unit = int(d/(24*time.Hour)), "day"
	case d >= 2*time.Hour:
		n, unit = int(d/time.Hour), "hour"
	}
	if n != 1 {
		unit += "s"
	}
	if past {
		return fmt.Sprintf("%d %s ago", n, unit)
	}
	return fmt.Sprintf("in %d %s", n, unit)
}
