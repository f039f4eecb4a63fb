// Command otlpreceiver takes traces as a collector does, OTLP over HTTP, and writes
// each span as one JSON object a line, with the service that sent it.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func main() {
	var mu sync.Mutex
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			http.Error(w, "POST a protobuf to /v1/traces", http.StatusBadRequest)
			return
		}
		var request collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range request.GetResourceSpans() {
			about, _ := protojson.Marshal(resource.GetResource())
			for _, scope := range resource.GetScopeSpans() {
				for _, span := range scope.GetSpans() {
					line, _ := protojson.Marshal(span)
					fmt.Printf("{\"resource\":%s,\"span\":%s}\n", about, line)
				}
			}
		}
		answer, _ := proto.Marshal(&collector.ExportTraceServiceResponse{})
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write(answer)
	})))
}
