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

type sampleHeader struct {
	Name, Value string
	Identity    bool
}

// newSampleApp is the app of the demo: it has no login and shows who it is told
// is calling, and every header that it got.
func newSampleApp() (http.Handler, error) {
	tmpl, err := template.New("sample app").Parse(sampleAppHTML)
	if err != nil {
		return nil, fmt.Errorf("read the sample app's page: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers := []sampleHeader{{Name: "Host", Value: r.Host}}
		for name, values := range r.Header {
			headers = append(headers, sampleHeader{name, strings.Join(values, ", "), strings.HasPrefix(name, "X-Forwarded-")})
		}
		slices.SortFunc(headers, func(a, b sampleHeader) int { return strings.Compare(a.Name, b.Name) })
		name := r.Header.Get("X-Forwarded-Name")
		if decoded, err := new(mime.WordDecoder).DecodeHeader(name); err == nil {
			name = decoded
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = tmpl.Execute(w, map[string]any{
			"Email": r.Header.Get("X-Forwarded-Email"), "Name": name,
			"Method": r.Method, "URI": r.URL.RequestURI(), "Headers": headers,
		})
	}), nil
}
