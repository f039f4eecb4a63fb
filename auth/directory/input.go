package directory

import (
	"io"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/store"
)

// An unclear request is refused, with what is wrong in words of ours: a filter that
// was left out would show, or export, everybody, and a field that was left out would
// change more than was meant.
type unclear string

// Error implements error.
func (u unclear) Error() string { return string(u) }

// maxReason bounds an operator's words, in bytes: what the forms take in any script.
const maxReason = 1000

// query reads the address's query, in which nothing but the known names may stand.
func (v *visit) query(known ...string) (url.Values, error) {
	q, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil {
		return nil, unclear("The query behind the ? cannot be read.")
	}
	return q, checkNames(q, known)
}

// checkNames wants every name known and there once, with a text.
func checkNames(values url.Values, known []string) error {
	for name := range values {
		if !slices.Contains(known, name) {
			if len(known) == 0 {
				return unclear("It takes no fields.")
			}
			return unclear("It takes no fields but " + strings.Join(known, ", ") + ".")
		}
	}
	for _, name := range known {
		switch text := values.Get(name); {
		case len(values[name]) > 1:
			return unclear("It holds " + name + " more than once.")
		case !utf8.ValidString(text) || strings.Contains(text, "\x00"):
			return unclear("It holds bytes in " + name + " that are no text.")
		}
	}
	return nil
}

// choice is a parameter that knows some words, or none of them.
func choice(q url.Values, name string, words ...string) (string, error) {
	word := q.Get(name)
	if word != "" && !slices.Contains(words, word) {
		return "", unclear("It takes as " + name + " nothing but " + strings.Join(words, ", ") + ".")
	}
	return word, nil
}

// limit is how many rows are asked for.
func limit(q url.Values) (int, error) {
	if q.Get("limit") == "" {
		return pageRows, nil
	}
	n, err := strconv.Atoi(q.Get("limit"))
	if err != nil || n < 1 || n > store.MostLimit {
		return 0, unclear("It takes as limit a number from 1 to " + strconv.Itoa(store.MostLimit) + ".")
	}
	return n, nil
}

// An input is what comes with a change, as a form or as JSON.
type input struct {
	Reason  string
	Session auth.SessionID
	Email   string
	// All says in words what no Session says, too.
	All bool
	// Confirm says yes to what can lock admins out.
	Confirm bool
}

// isFlag tells the fields that are true or false in JSON, and yes in a form.
func isFlag(name string) bool { return name == "confirm" || name == "all" }

// input reads a form or JSON, or nothing at all.
func (v *visit) input(known ...string) (in input, err error) {
	if v.r.URL.RawQuery != "" { // "end this session" there is not to be taken for "end all"
		return in, unclear("What is to be changed stands in the body, not in the address.")
	}
	body, err := io.ReadAll(v.r.Body) // bounded, as every body that is sent to us
	if err != nil {
		return in, unclear("The body cannot be read.")
	}
	values := url.Values{}
	media, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	switch {
	case err == nil && media == "application/json":
		values, err = object(string(body))
	case err == nil && media == "application/x-www-form-urlencoded":
		values, err = form(string(body))
	case len(body) == 0:
		err = nil
	default:
		err = unclear("The body is neither a form nor JSON by its Content-Type.")
	}
	if err == nil {
		err = checkNames(values, known)
	}
	if err != nil {
		return in, err
	}
	in = input{
		Reason: strings.TrimSpace(values.Get("reason")), Session: auth.SessionID(values.Get("session")),
		Email: strings.TrimSpace(values.Get("email")),
		All:   values.Get("all") == "yes", Confirm: values.Get("confirm") == "yes",
	}
	switch {
	case values.Has("session") && in.Session == "":
		return in, unclear("It holds an empty session.")
	case in.All && in.Session != "", values.Has("all") && !in.All && in.Session == "":
		return in, unclear("It takes either a session or all.")
	case len(in.Reason) > maxReason:
		return in, unclear("The reason is longer than " + strconv.Itoa(maxReason) + " bytes.")
	}
	return in, nil
}

// form reads the fields of an HTML form.
func form(body string) (url.Values, error) {
	values, err := url.ParseQuery(body)
	if err != nil {
		return nil, unclear("The form cannot be read.")
	}
	for name, texts := range values {
		if isFlag(name) && slices.ContainsFunc(texts, func(text string) bool { return text != "yes" }) {
			return nil, unclear("It takes as " + name + " nothing but yes.")
		}
	}
	return values, nil
}

// object reads one JSON object of texts and flags (RFC 8259). encoding/json would take
// the last of several fields of a name.
func object(body string) (url.Values, error) {
	var fields map[string]any
	if err := strict.Unmarshal([]byte(body), &fields); err != nil || fields == nil || !utf8.ValidString(body) {
		return nil, unclear("The body is no JSON object in which each name stands once.")
	}
	values := url.Values{}
	for name, value := range fields {
		text, isText := value.(string)
		flag, isBool := value.(bool)
		switch {
		case isFlag(name) && isBool:
			text = map[bool]string{true: "yes", false: "no"}[flag]
		case isFlag(name) || !isText:
			return nil, unclear("It takes texts, and as confirm and all true or false.")
		}
		values.Set(name, text)
	}
	return values, nil
}
