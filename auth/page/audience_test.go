package page_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/loginwall/loginwall/auth/page"
)

// header builds one from names and values, in turn.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestAudienceOf(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name   string
		method string
		header http.Header
		want   page.Audience
	}{
		{"address bar", "GET", header("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "none"), page.TopNavigation},
		{"early Chrome told no destination", "GET", header("Sec-Fetch-Mode", "navigate"), page.TopNavigation},
		{"HEAD counts as GET", "HEAD", header("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"), page.TopNavigation},
		{"Sec-Fetch decides over Accept", "GET", header("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "application/json"), page.TopNavigation},
		{"a frame", "GET", header("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"), page.Navigation},
		{"an object", "GET", header("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "object"), page.Navigation},
		{"a posted form", "POST", header("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Content-Type", form), page.Navigation},
		{"fetch()", "GET", header("Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "*/*"), page.Program},
		{"fetch() that asks for HTML", "GET", header("Sec-Fetch-Mode", "same-origin", "Sec-Fetch-Dest", "empty", "Accept", "text/html"), page.Program},
		{"an image", "GET", header("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image", "Accept", "image/*,*/*;q=0.8"), page.Program},
		{"a WebSocket", "GET", header("Sec-Fetch-Mode", "websocket", "Sec-Fetch-Dest", "websocket", "Upgrade", "websocket"), page.Program},
		{"a preflight", "OPTIONS", header("Sec-Fetch-Mode", "cors"), page.Program},
		{"an unknown mode", "GET", header("Sec-Fetch-Mode", "teleport", "Accept", "text/html"), page.Program},

		{"mode lost, document", "GET", header("Sec-Fetch-Dest", "document"), page.TopNavigation},
		{"mode lost, document posted", "POST", header("Sec-Fetch-Dest", "document"), page.Navigation},
		{"mode lost, frame", "GET", header("Sec-Fetch-Dest", "iframe", "Accept", "text/html"), page.Navigation},
		{"mode lost, script", "GET", header("Sec-Fetch-Dest", "script"), page.Program},
		{"only the site is told", "GET", header("Sec-Fetch-Site", "cross-site", "Accept", "text/html"), page.TopNavigation},
		{"only the site is told, JSON", "GET", header("Sec-Fetch-Site", "same-origin", "Accept", "application/json"), page.Program},

		{"an old browser", "GET", header("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), page.TopNavigation},
		{"curl", "GET", header("Accept", "*/*"), page.TopNavigation},
		{"nothing told", "GET", nil, page.TopNavigation},
		{"an empty Accept names nothing", "HEAD", header("Accept", " , "), page.TopNavigation},
		{"any text", "GET", header("Accept", "text/*;q=0.1"), page.TopNavigation},
		{"upper case", "GET", header("Accept", "TEXT/HTML"), page.TopNavigation},
		{"XHTML", "GET", header("Accept", "application/xhtml+xml"), page.TopNavigation},
		{"two lines", "GET", header("Accept", "application/json", "Accept", "text/html"), page.TopNavigation},
		{"JSON", "GET", header("Accept", "application/json"), page.Program},
		{"an image of an old browser", "GET", header("Accept", "image/webp,image/*"), page.Program},
		{"an event stream", "GET", header("Accept", "text/event-stream"), page.Program},
		{"HTML refused", "GET", header("Accept", "text/html;q=0, application/json"), page.Program},
		{"HTML refused after other parameters", "GET", header("Accept", "text/html;level=1;Q=0.000"), page.Program},
		{"jQuery", "GET", header("Accept", "text/html, */*", "X-Requested-With", "XMLHttpRequest"), page.Program},
		{"git", "GET", header("Accept", "*/*", "Authorization", "Basic Zm9vOmJhcg=="), page.Program},
		{"an old WebSocket", "GET", header("Upgrade", "websocket", "Connection", "Upgrade"), page.Program},
		{"an old WebSocket, behind a front proxy", "GET", header("Sec-Websocket-Key", "x"), page.Program},
		{"an upgrade of insecure requests is none", "GET", header("Upgrade-Insecure-Requests", "1"), page.TopNavigation},

		{"a form of an old browser", "POST", header("Accept", "text/html,*/*;q=0.8", "Content-Type", form), page.Navigation},
		{"an upload of an old browser", "POST", header("Accept", "text/html", "Content-Type", "multipart/form-data; boundary=x"), page.Navigation},
		{"curl -d", "POST", header("Accept", "*/*", "Content-Type", form), page.Program},
		{"JSON posted", "POST", header("Accept", "text/html", "Content-Type", "application/json"), page.Program},
		{"a form posted by a script", "POST", header("Accept", "text/html", "Content-Type", form, "X-Requested-With", "XMLHttpRequest"), page.Program},
		{"PUT", "PUT", header("Accept", "text/html", "Content-Type", form), page.Program},
		{"DELETE", "DELETE", nil, page.Program},
		{"a method in lower case is another", "get", header("Accept", "text/html"), page.Program},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Method = c.method
			r.Header = c.header
			if got := page.AudienceOf(r); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestSameOrigin(t *testing.T) {
	for _, c := range []struct {
		public string
		header http.Header
		want   bool
	}{
		{"https://app.test", header("Origin", "https://app.test"), true},
		{"https://App.Test:443/", header("Origin", "https://app.test"), true},
		{"https://app.test:8443", header("Origin", "https://app.test:8443"), true},
		{"http://localhost:80", header("Origin", "http://localhost"), true},
		{"https://app.test", header("Sec-Fetch-Site", "same-origin"), true},

		{"https://app.test", nil, false},
		{"https://app.test", header("Origin", "null", "Sec-Fetch-Site", "same-origin"), false},
		{"https://app.test", header("Origin", "", "Sec-Fetch-Site", "same-origin"), false},
		{"https://app.test", header("Origin", "https://evil.test"), false},
		{"https://app.test", header("Origin", "https://evil.test", "Sec-Fetch-Site", "same-origin"), false},
		{"https://app.test", header("Origin", "https://app.test", "Origin", "https://evil.test"), false},
		{"https://app.test", header("Origin", "https://app.test https://evil.test"), false},
		{"https://app.test", header("Origin", "http://app.test"), false},
		{"https://app.test", header("Origin", "https://app.test:8443"), false},
		{"https://app.test", header("Origin", "https://sub.app.test"), false},
		{"https://app.test", header("Origin", "https://app.test.evil"), false},
		{"https://app.test", header("Sec-Fetch-Site", "same-site"), false},
		{"https://app.test", header("Sec-Fetch-Site", "cross-site"), false},
		{"https://app.test", header("Sec-Fetch-Site", "none"), false},
		{"https://app.test", header("Referer", "https://app.test/_auth/logout"), false},
	} {
		public, err := url.Parse(c.public)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/_auth/logout", nil)
		r.Header = c.header
		if got := newPages(t, page.Config{PublicURL: public}).SameOrigin(r); got != c.want {
			t.Errorf("%s, %v: got %v, want %v", c.public, c.header, got, c.want)
		}
	}
}
