package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/loginwall/loginwall/config"
)

const (
	healthcheckTimeout = 5 * time.Second
	// healthEndpoint is on the serving port.
	healthEndpoint = "/_auth/healthz"
)

func (p *program) healthcheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the running wall whether it is ready",
		Long:  "Asks the running wall's /readyz, or /_auth/healthz where ops_listen is off:\nfor HEALTHCHECK in an image, and for exec probes.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			return healthcheck(c.Context(), cfg)
		},
	}
	return c
}

func healthcheck(ctx context.Context, cfg *config.Config) error {
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	if cfg.OpsListen != "" {
		return probe(ctx, "tcp", cfg.OpsListen, "http://localhost/readyz")
	}
	if cfg.Listen == config.ListenSystemd {
		return cfg.Problem("listen", "only systemd knows the address", "healthcheck needs ops_listen; systemd's own watchdog needs neither")
	}
	network, address := socketOrTCP(cfg.Listen)
	return probe(ctx, network, address, servingURL(cfg))
}

// servingURL is what to ask on the serving port.
func servingURL(cfg *config.Config) string {
	if cfg.TLS != nil {
		return "https://localhost" + healthEndpoint
	}
	return "http://localhost" + healthEndpoint
}

// probe asks the wall that listens at the address whether it is ready.
func probe(ctx context.Context, network, address, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask the wall: %w", err)
	}
	// Never through a proxy that the environment names: the wall is on this machine.
	// An address without a host, or an unspecified one, is dialed as this machine.
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		// The question is whether the wall answers, not who it is: nothing is told to it,
		// and its certificate is for another name.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as said
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
	}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the wall does not answer (is it running, with this configuration?): %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New("the wall is not ready: it answers " + response.Status)
	}
	return nil
}
