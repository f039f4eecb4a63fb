package observe

import (
	"io"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Ops returns the handler of the operators' own listener: /livez says that the
// process runs, /readyz whether it should get requests, /metrics the numbers.
// The func ready returns what stands in the way, one short line each, and
// nothing when the wall is ready; it must not tell secrets.
//
// Nothing here is reachable through the listener that people use.
func Ops(m *Metrics, ready func() []string) http.Handler {
	metrics := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			plain(w, http.StatusMethodNotAllowed, "method not allowed")
			return
		}
		switch r.URL.Path {
		case "/livez":
			plain(w, http.StatusOK, "ok")
		case "/readyz":
			if missing := ready(); len(missing) > 0 {
				plain(w, http.StatusServiceUnavailable, strings.Join(missing, "\n"))
				return
			}
			plain(w, http.StatusOK, "ok")
		case "/metrics":
			metrics.ServeHTTP(w, r)
		default:
			plain(w, http.StatusNotFound, "not found (there are /livez, /readyz and /metrics)")
		}
	})
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // a prober that hangs up loses nothing
}
