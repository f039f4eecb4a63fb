//go:build race

package proxy_test

// underRace: pools lose things on purpose then, and allocations count for nothing.
const underRace = true
