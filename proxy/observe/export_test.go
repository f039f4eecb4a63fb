package observe

import "github.com/prometheus/client_golang/prometheus"

// Descriptors returns what the registry holds.
func (m *Metrics) Descriptors() []*prometheus.Desc {
	described := make(chan *prometheus.Desc)
	go func() {
		m.registry.Describe(described)
		close(described)
	}()
	var all []*prometheus.Desc
	for d := range described {
		all = append(all, d)
	}
	return all
}
