// Command echo is an app in a container, as the examples of deploy/ want one: it
// listens where $LISTEN says, and answers with whom it was told of.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	fmt.Println(http.ListenAndServe(os.Getenv("LISTEN"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // a test's own
		fmt.Fprintf(w, "the app hears of %q", r.Header.Get("X-Forwarded-User"))
	})))
}
