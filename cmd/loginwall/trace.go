package main

import (
	"context"
	"errors"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/oidc"
	"github.com/loginwall/loginwall/config"
)

// providerCalled and storeCalled count what was called, and add it to the trace of
// the request that waited for it.
func (w *wall) providerCalled(ctx context.Context, endpoint string, took time.Duration, err error) {
	w.metrics.ProviderRequest(endpoint, took, err)
	w.tracer.Call(ctx, "provider "+endpoint, took, failureWord(err))
}

func (w *wall) storeCalled(ctx context.Context, what string, took time.Duration, err error) {
	failed := err
	if errors.Is(err, auth.ErrBlocked) || errors.Is(err, auth.ErrNotFound) || errors.Is(ctx.Err(), context.Canceled) {
		failed = nil // an answer like another, or nobody who waits for it: no reason to wake anybody
	}
	w.metrics.StoreRequest(what, took, failed)
	w.tracer.Call(ctx, "store "+what, took, failureWord(err))
}

// failureWord is one of a few: an error's own text may name somebody.
func failureWord(err error) string {
	var provider *oidc.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &provider):
		return string(provider.Reason)
	case errors.Is(err, auth.ErrBlocked):
		return "blocked"
	case errors.Is(err, auth.ErrUnavailable):
		return "unavailable"
	}
	return "error"
}

// paths are those of the routes, by which traces are named.
func paths(cfg *config.Config) []string {
	var out []string
	for _, route := range cfg.Routes {
		out = append(out, route.Path)
	}
	return out
}
