package oidc

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	strict "github.com/go-jose/go-jose/v4/json"
)

// An object is a JSON object with its member names exactly as they were sent.
// encoding/json matches struct fields without regard to case and lets the last
// of several equal names win; both let a claim stand in for another.
type object map[string]json.RawMessage

var errObject = errors.New("not a JSON object in UTF-8 in which each name stands once")

// parseObject refuses repeated names (RFC 7519, section 4), bytes that are not
// UTF-8, and anything behind the object.
func parseObject(data []byte) (object, error) {
	var members object
	if err := strict.Unmarshal(data, &members); err != nil || members == nil || !utf8.Valid(data) {
		return nil, errObject // without what the library says, which may quote all of it
	}
	return members, nil
}

// text returns a member that must be a string. Absent is an error.
func (o object) text(name string) (string, error) {
	raw, present := o[name]
	if !present {
		return "", fmt.Errorf("%s is missing", name)
	}
	s, err := textOf(raw)
	if err != nil {
		return "", fmt.Errorf("%s is %w", name, err)
	}
	return s, nil
}

// texts returns a member that may be a string or a list of strings.
func (o object) texts(name string) ([]string, error) {
	raw, present := o[name]
	if !present {
		return nil, fmt.Errorf("%s is missing", name)
	}
	if one, err := textOf(raw); err == nil {
		return []string{one}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		return nil, fmt.Errorf("%s is neither a string nor a list", name)
	}
	out := make([]string, 0, len(list))
	for _, item := range list {
		s, err := textOf(item)
		if err != nil {
			return nil, fmt.Errorf("%s holds a member that is %w", name, err)
		}
		out = append(out, s)
	}
	return out, nil
}

var errNotText = errors.New("not a string")

func textOf(raw json.RawMessage) (string, error) {
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", errNotText
	}
	return s, nil
}

// latest is the end of the year 9999, past which time.Time formats no more.
const latest = 253402300799

// instant returns a NumericDate (RFC 7519, section 2). Fractions are in the RFC;
// digits in quotes are not, but some providers send them, and they can be read
// in one way only.
func (o object) instant(name string) (time.Time, error) {
	raw, present := o[name]
	if !present {
		return time.Time{}, fmt.Errorf("%s is missing", name)
	}
	text := string(raw)
	if quoted, err := textOf(raw); err == nil {
		text = quoted
	}
	// No sign, no blank, no Inf, no NaN, no other JSON, and no hexadecimal, which Go reads.
	if text == "" || text[0] < '0' || text[0] > '9' || strings.Trim(text, "0123456789.eE+-") != "" {
		return time.Time{}, fmt.Errorf("%s is not a time", name)
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || seconds > latest {
		return time.Time{}, fmt.Errorf("%s is not a time", name)
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)).UTC(), nil
}

// clip bounds what is quoted from others in an error.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
