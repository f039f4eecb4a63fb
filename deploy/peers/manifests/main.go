// Command manifests reads what Kubernetes shall be given, on stdin, as strictly as an
// API server does: each document by its own Go type, unknown and repeated fields
// refused. It prints the kind and the name of each. There is no cluster here.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	if err := check(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(in io.Reader, out io.Writer) error {
	kinds := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(kinds), monitoring.AddToScheme(kinds)); err != nil {
		return err
	}
	decoder := serializer.NewCodecFactory(kinds, serializer.EnableStrict).UniversalDeserializer()
	for documents := yaml.NewYAMLReader(bufio.NewReader(in)); ; {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		object, kind, err := decoder.Decode(text, nil, nil)
		if runtime.IsMissingKind(err) && blank(text) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%w in\n%s", err, text)
		}
		named, err := meta.Accessor(object)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, kind.Kind, named.GetName())
	}
}

// blank says that a document has comments alone.
func blank(text []byte) bool {
	var v any
	return yaml.Unmarshal(text, &v) == nil && v == nil
}
