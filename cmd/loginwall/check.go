package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/loginwall/loginwall/auth/oidc"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/config"
)

const checkTimeout = 10 * time.Second

func (p *program) checkCommand() *cobra.Command {
	var offline bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Read the configuration, and test all that it names",
		Long:  "Reads the configuration and tests what it names: the keys, the store, the provider\nand the client's credentials, the upstreams. Changes nothing, creates nothing, and\nmay run beside a wall. Exits 1 when something is wrong.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			return p.check(c.Context(), cfg, offline)
		},
	}
	c.Flags().BoolVar(&offline, "offline", false, "leave out what needs the network")
	return c
}

// A finding is one line of check: what was tested, and how it went.
type finding struct {
	what   string
	detail string
	err    error
}

func (p *program) check(ctx context.Context, cfg *config.Config, offline bool) error {
	findings := []finding{{what: "configuration", detail: cfg.File()}}
	findings = append(findings, checkParts(cfg), checkKey(cfg), p.checkStore(ctx, cfg, offline))
	if cfg.TLS != nil && cfg.TLS.Certificate != nil {
		findings = append(findings, finding{what: "certificate", detail: "until " + cfg.TLS.Certificate.Leaf.NotAfter.UTC().Format(time.RFC3339)})
	}
	if !offline {
		findings = append(findings, p.checkProvider(ctx, cfg)...)
		findings = append(findings, checkUpstreams(ctx, cfg)...)
	}
	failed := false
	for _, f := range findings {
		if f.err != nil {
			failed = true
			fmt.Fprintf(p.stderr, "FAILED  %s: %v\n", f.what, f.err)
			continue
		}
		fmt.Fprintf(p.stdout, "ok      %s: %s\n", f.what, f.detail)
	}
	if cfg.Directory.PublicURL == nil {
		fmt.Fprintf(p.stdout, "\nRegister exactly this redirect URI with the provider:\n  %s\n", redirectURI(cfg))
	} else {
		fmt.Fprintf(p.stdout, "\nRegister exactly these two redirect URIs with the provider:\n  %s\n  %s\n", redirectURI(cfg), redirectURI(directoryConfig(cfg)))
	}
	if failed {
		return errSilent
	}
	return nil
}

// checkParts builds what serve builds of the rules, headers and pages.
func checkParts(cfg *config.Config) finding {
	rules, err := compile(cfg)
	if err != nil {
		return finding{what: "rules", err: err}
	}
	if _, err := newTeller(cfg, nil, nil); err != nil {
		return finding{what: "headers", err: err}
	}
	if _, err := newPages(cfg); err != nil {
		return finding{what: "pages", err: err}
	}
	detail := fmt.Sprintf("%d domains, %d addresses, %d groups, %d routes, %d admins",
		len(cfg.Allow.Domains), len(cfg.Allow.Emails), len(rules.Groups()), len(cfg.Routes), len(cfg.Admins))
	if cfg.Allow.Everyone {
		detail += "; EVERY account of the provider may pass"
	}
	return finding{what: "rules", detail: detail}
}

func checkKey(cfg *config.Config) finding {
	_, _, err := ring(cfg, false)
	switch {
	case errors.Is(err, fs.ErrNotExist) && cfg.Session.KeyFile == "":
		return finding{what: "session key", detail: "none yet; serve makes " + cfg.OwnKeyFile()}
	case err != nil:
		return finding{what: "session key", err: err}
	case cfg.Session.KeyFile != "":
		return finding{what: "session key", detail: cfg.Session.KeyFile}
	}
	return finding{what: "session key", detail: cfg.OwnKeyFile()}
}

func (p *program) checkStore(ctx context.Context, cfg *config.Config, offline bool) finding {
	if offline && cfg.Store.Path == "" {
		return finding{what: "store", detail: cfg.Store.String() + ", which is not asked"}
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if _, err := os.Stat(cfg.Store.Path); cfg.Store.Path != "" && errors.Is(err, fs.ErrNotExist) {
		folder := filepath.Dir(cfg.Store.Path)
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			return finding{what: "store", err: fmt.Errorf("there is no folder %s (create it; the wall must be able to write in it)", folder)}
		}
		return finding{what: "store", detail: "none yet; serve makes " + cfg.Store.Path}
	}
	s, err := store.Open(ctx, p.storeConfig(cfg))
	if errors.Is(err, fs.ErrNotExist) {
		return finding{what: "store", detail: "none yet; serve makes it in " + cfg.Store.String()}
	}
	if err != nil {
		return finding{what: "store", err: err}
	}
	defer s.Close()
	if err := s.Verify(ctx); err != nil {
		return finding{what: "store", err: err}
	}
	return finding{what: "store", detail: cfg.Store.String()}
}

func (p *program) checkProvider(ctx context.Context, cfg *config.Config) []finding {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	c := providerConfig(cfg)
	c.Now = p.now
	provider, err := oidc.New(c)
	if err == nil {
		err = provider.Discover(ctx)
	}
	if err != nil {
		return []finding{{what: "provider", err: fmt.Errorf("%s: %w (is the issuer right, and can this machine reach it?)", c.Issuer, err)}}
	}
	findings := []finding{{what: "provider", detail: c.Issuer}}
	const drift = 30 * time.Second
	if offset := provider.ClockOffset(); offset.Abs() > drift {
		findings = append(findings, finding{what: "clock", err: fmt.Errorf("this machine's clock differs from the provider's by %s (set it: sign-ins fail from a few minutes on)", offset.Round(time.Second))})
	}
	if err := provider.ProbeCredentials(ctx); err != nil {
		return append(findings, finding{what: "client", err: fmt.Errorf("%w (compare client_id and the secret with the provider's console)", err)})
	}
	return append(findings, finding{what: "client", detail: c.ClientID})
}

func checkUpstreams(ctx context.Context, cfg *config.Config) []finding {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	upstreams := []config.Upstream{cfg.Upstream}
	for _, route := range cfg.Routes {
		upstreams = append(upstreams, route.Upstream)
	}
	var findings []finding
	for _, u := range upstreams {
		network, address := "tcp", u.Host
		switch u.Kind {
		case config.UpstreamHTTP, config.UpstreamHTTPS, config.UpstreamH2C:
		case config.UpstreamUnix:
			network, address = "unix", u.Path
		case config.UpstreamNone:
			continue
		default:
			continue
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			findings = append(findings, finding{what: "upstream", err: fmt.Errorf("%s: %w (is the app running there?)", u, err)})
			continue
		}
		conn.Close()
		findings = append(findings, finding{what: "upstream", detail: u.String()})
	}
	return findings
}
