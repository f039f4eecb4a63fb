package page_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/loginwall/loginwall/auth/page"
)

func newPages(t testing.TB, c page.Config) *page.Pages {
	t.Helper()
	if c.PublicURL == nil {
		c.PublicURL = &url.URL{Scheme: "https", Host: "app.test"}
	}
	p, err := page.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRender(t *testing.T) {
	p := newPages(t, page.Config{})
	for _, v := range []page.View{page.SignInRequired{}, page.Denied{Email: "a@b.test"}, page.SignOut{}, page.SignedOut{}, page.Error{Problem: page.NotFound}} {
		for _, accept := range []string{"text/html", "application/json"} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Accept", accept)
			w := httptest.NewRecorder()
			p.Render(w, r, "req1", v)
			t.Log(w.Code, w.Body.String())
		}
	}
}
