package assertion

import (
	"errors"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/loginwall/loginwall/auth"
)

// A header is one line that an upstream gets.
type header struct {
	name      string
	template  string
	delimiter string // between groups
	pieces    []piece
}

// A piece of a template is fixed text or a placeholder's name.
type piece struct{ text, field string }

// profiles are the ready-made sets. They are data: what an app reads by default
// is all there is to know about it.
func profiles() map[string][]header {
	return map[string][]header{
		"forwarded": {
			{name: "X-Forwarded-User", template: "{email}"},
			{name: "X-Forwarded-Email", template: "{email}"},
			{name: "X-Forwarded-Preferred-Username", template: "{local_part}"},
			{name: "X-Forwarded-Name", template: "{name}"},
			{name: "X-Forwarded-Groups", template: "{groups}", delimiter: ","},
		},
		"grafana": {
			{name: "X-Webauth-User", template: "{email}"},
			{name: "X-Webauth-Email", template: "{email}"},
			{name: "X-Webauth-Name", template: "{name}"},
			{name: "X-Webauth-Groups", template: "{groups}", delimiter: ","},
		},
		"gitea": { // refuses @ in user names
			{name: "X-Webauth-User", template: "{local_part}"},
			{name: "X-Webauth-Email", template: "{email}"},
			{name: "X-Webauth-Fullname", template: "{name}"},
		},
		"jenkins": {
			{name: "X-Forwarded-User", template: "{email}"},
			{name: "X-Forwarded-Email", template: "{email}"},
			{name: "X-Forwarded-Displayname", template: "{name}"},
			{name: "X-Forwarded-Groups", template: "{groups}", delimiter: "|"},
		},
		"remote-user": {
			{name: "Remote-User", template: "{email}"},
			{name: "Remote-Email", template: "{email}"},
			{name: "Remote-Name", template: "{name}"},
			{name: "Remote-Groups", template: "{groups}", delimiter: ","},
		},
		"sonarqube": {
			{name: "X-Forwarded-Login", template: "{email}"},
			{name: "X-Forwarded-Name", template: "{name}"},
			{name: "X-Forwarded-Email", template: "{email}"},
			{name: "X-Forwarded-Groups", template: "{groups}", delimiter: ","},
		},
		"authrequest": {
			{name: "X-Auth-Request-User", template: "{email}"},
			{name: "X-Auth-Request-Email", template: "{email}"},
			{name: "X-Auth-Request-Preferred-Username", template: "{local_part}"},
			{name: "X-Auth-Request-Groups", template: "{groups}", delimiter: ","},
		},
		"assertion": {
			{name: "X-Loginwall-Assertion", template: "{assertion}"},
		},
	}
}

// Profiles returns the names of the ready-made sets of headers, sorted.
func Profiles() []string { return slices.Sorted(maps.Keys(profiles())) }

func fields() []string {
	return []string{"email", "local_part", "subject", "name", "groups", "picture", "hosted_domain", "assertion"}
}

var (
	errBrace   = errors.New("a brace without its partner")
	errLiteral = errors.New("a character that no header may hold (want printable ASCII)")
)

// Check reports what is wrong with an entry of Config.Set: with the name, or
// with the template, which is text with the placeholders {email}, {local_part},
// {subject}, {name}, {groups}, {picture}, {hosted_domain} and {assertion}.
//
// A template without placeholders is sent as it is, with every authenticated
// request: a shared secret, say. One whose placeholders are all empty for a
// session sends nothing, and an empty template only removes what clients send.
func Check(name, template string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if _, err := parseTemplate(template); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func parseTemplate(s string) (pieces []piece, err error) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, errLiteral
	}
	for s != "" {
		text, rest, found := strings.Cut(s, "{")
		if strings.Contains(text, "}") {
			return nil, errBrace
		}
		if text != "" {
			pieces = append(pieces, piece{text: text})
		}
		if !found {
			break
		}
		field, after, closed := strings.Cut(rest, "}")
		if !closed || strings.Contains(field, "{") {
			return nil, errBrace
		}
		if !slices.Contains(fields(), field) {
			return nil, fmt.Errorf("unknown placeholder {%s} (there are {%s})", field, strings.Join(fields(), "}, {"))
		}
		pieces = append(pieces, piece{field: field})
		s = after
	}
	return pieces, nil
}

func (h *header) holds(field string) bool {
	return slices.ContainsFunc(h.pieces, func(p piece) bool { return p.field == field })
}

// value fills the template in. It is empty when there is nothing to tell.
func (h *header) value(id *auth.Identity, assertion string) string {
	var b strings.Builder
	asked, known := false, false
	for _, p := range h.pieces {
		b.WriteString(p.text)
		if p.field != "" {
			v := h.field(p.field, id, assertion)
			b.WriteString(v)
			asked, known = true, known || v != ""
		}
	}
	if asked && !known {
		return ""
	}
	return strings.Trim(b.String(), " ")
}

// field returns a placeholder's value as a header may hold it. Every value that
// could be read in two ways is empty instead: identity headers are compared, and
// an upstream must not take one person or group for another.
func (h *header) field(name string, id *auth.Identity, assertion string) string {
	switch name {
	case "email":
		return safe(verifiedEmail(id))
	case "local_part":
		return safe(auth.LocalPart(verifiedEmail(id)))
	case "subject":
		return safe(id.Subject)
	case "name":
		return safe(strings.TrimSpace(id.Name))
	case "groups":
		return joinGroups(id.Groups, h.delimiter)
	case "picture":
		return safe(id.Picture)
	case "hosted_domain":
		return safe(id.HostedDomain)
	case "assertion":
		return assertion
	}
	return ""
}

// verifiedEmail returns the address only if the provider has checked it: with
// a list that admits everyone, people could otherwise call themselves after
// whomever the upstream knows.
func verifiedEmail(id *auth.Identity) string {
	if !id.EmailVerified {
		return ""
	}
	return id.Email
}

// maxValue bounds a single claim and the list of groups. Sealed sessions hold
// less; the bound is for programs that make their own.
const maxValue = 2 << 10

// safe returns s as a field value (RFC 9110, section 5.5): itself if it is
// printable ASCII, else encoded as RFC 2047 has it. It returns nothing for text
// with control characters or blanks at an end (which HTTP would drop, making two
// texts one), and for what looks like an encoded word already and would decode
// to something that nobody has looked at.
func safe(s string) string {
	if len(s) > maxValue || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) ||
		strings.TrimSpace(s) != s || strings.Contains(s, "=?") {
		return ""
	}
	return mime.QEncoding.Encode("utf-8", s)
}

// joinGroups leaves out the groups that hold the delimiter, since an upstream
// would take the parts for groups, and those for which there is no more room.
func joinGroups(groups []string, delimiter string) string {
	var b strings.Builder
	for _, g := range groups {
		v := safe(g)
		if v == "" || strings.Contains(g, delimiter) || b.Len()+len(delimiter)+len(v) > maxValue {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(delimiter)
		}
		b.WriteString(v)
	}
	return b.String()
}
