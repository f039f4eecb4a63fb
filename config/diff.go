package config

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// A Change is a key whose value differs between two configurations.
type Change struct {
	// Key is the full key, as in allow.domains.
	Key string
	// Old and New are the values in the form of the file, empty for a key that is
	// not there; those of secrets are masked.
	Old, New string
	// Restart says that the change has no effect before the wall is started anew.
	Restart bool
}

// String returns a line for a log.
func (c Change) String() string {
	line := fmt.Sprintf("%s: %s -> %s", c.Key, c.Old, c.New)
	if c.Old == c.New {
		line = c.Key + ": the contents changed"
	}
	if c.Restart {
		line += " (needs a restart)"
	}
	return line
}

// Diff tells what changed from old to new, in the order of the documentation.
func Diff(old, new *Config) []Change {
	var out []Change
	diff(&out, "", false, reflect.ValueOf(old).Elem(), reflect.ValueOf(new).Elem())
	return out
}

func diff(out *[]Change, prefix string, restart bool, old, new reflect.Value) {
	newFields := fieldsOf(new)
	for i, f := range fieldsOf(old) {
		a, b := f.value, newFields[i].value
		key, restart := join(prefix, f.name), restart || f.tag.Get("reload") == "restart"
		if a.Kind() == reflect.Pointer && isSection(a.Type().Elem()) {
			if !a.IsNil() && !b.IsNil() {
				a, b = a.Elem(), b.Elem()
			} else if f.tag.Get("reload") == "presence" {
				restart = true
			}
		}
		if a.Kind() == reflect.Struct && isSection(a.Type()) {
			diff(out, key, restart, a, b)
			continue
		}
		contents := f.tag.Get("contents")
		if reflect.DeepEqual(a.Interface(), b.Interface()) && (contents == "" || sameContents(old, new, contents)) {
			continue
		}
		*out = append(*out, Change{key, show(a), show(b), restart})
	}
}

// sameContents compares a field that holds what a file held.
func sameContents(old, new reflect.Value, name string) bool {
	a, b := old.FieldByName(name).Interface(), new.FieldByName(name).Interface()
	if pool, ok := a.(*x509.CertPool); ok {
		return pool.Equal(b.(*x509.CertPool)) // DeepEqual cannot look into it
	}
	return reflect.DeepEqual(a, b)
}

// show returns a value in YAML's flow form.
func show(v reflect.Value) string {
	switch p := v.Interface().(type) {
	case Secret:
		if p.IsZero() {
			return ""
		}
		return fmt.Sprint(p)
	case *url.URL:
		if p == nil {
			return ""
		}
		return p.String()
	case Domain:
		if p.HostedDomain == "" {
			return p.Name
		}
	case slog.Level:
		return strings.ToLower(p.String())
	case fmt.Stringer:
		return p.String()
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return show(v.Elem())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = show(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Map:
		var items []string
		for _, name := range slices.SortedFunc(slices.Values(v.MapKeys()), byText) {
			items = append(items, name.String()+": "+show(v.MapIndex(name)))
		}
		return "{" + strings.Join(items, ", ") + "}"
	case reflect.Struct:
		var items []string
		for _, f := range fieldsOf(v) {
			if !f.value.IsZero() {
				items = append(items, f.name+": "+show(f.value))
			}
		}
		return "{" + strings.Join(items, ", ") + "}"
	default:
		return fmt.Sprint(v.Interface())
	}
}

func byText(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) }
