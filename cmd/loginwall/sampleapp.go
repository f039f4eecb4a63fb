package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"slices"
	"strings"
)

//go:embed sampleapp.html
var sampleAppHTML string

type sampleHeader struct{ Name, Value string }

// newSampleApp is the app of the demo: it has no login and shows who it is told
// is calling, and every header that it got.
func newSampleApp() (http.Handler, error) {
	tmpl, err := template.New("sample app").Parse(sampleAppHTML)
	if err != nil {
		return nil, fmt.Errorf("read the sample app's page: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var told []sampleHeader
		for _, about := range []string{"User", "Email", "Preferred-Username", "Name", "Groups"} {
			if value := r.Header.Get("X-Forwarded-" + about); value != "" {
				told = append(told, sampleHeader{"X-Forwarded-" + about, value})
			}
		}
		rest := []sampleHeader{{"Host", r.Host}}
		for name, values := range r.Header {
			if header := (sampleHeader{name, strings.Join(values, ", ")}); !slices.Contains(told, header) {
				rest = append(rest, header)
			}
		}
		slices.SortFunc(rest, func(a, b sampleHeader) int { return strings.Compare(a.Name, b.Name) })
		email, name := r.Header.Get("X-Forwarded-Email"), r.Header.Get("X-Forwarded-Name")
		if decoded, err := new(mime.WordDecoder).DecodeHeader(name); err == nil {
			name = decoded
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = tmpl.Execute(w, map[string]any{
			"Email": email, "Name": name, "Initial": strings.ToUpper(string([]rune(name + email + "?")[:1])),
			"Method": r.Method, "URI": r.URL.RequestURI(), "Told": told, "Rest": rest,
		})
	}), nil
}
