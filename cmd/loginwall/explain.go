package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/directory"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/config"
)

// explanation is what `explain --json` prints; fields are only ever added.
type explanation struct {
	Verdict string `json:"verdict"` // allow, deny or challenge
	Rule    string `json:"rule"`
	Reason  string `json:"reason"`
	User    string `json:"user"`
	Method  string `json:"method"`
	Path    string `json:"path"`
	// Assumed tells which account was judged: one of the directory, or one made up.
	Assumed string `json:"assumed"`
}

func (p *program) explainCommand() *cobra.Command {
	var email, hostedDomain string
	var groups []string
	var unverified, asJSON bool
	c := &cobra.Command{
		Use:   "explain --user EMAIL [METHOD] PATH",
		Short: "Tell which rule decides, and how",
		Long:  "Tells which rule of the file decides about a request, and how. The account is the\none that last signed in with this address; where there is none, one whose address is\nverified and which the domain's own Workspace owns is assumed. Without --user the\nrequest is judged as a stranger's.",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			rules, err := compile(cfg)
			if err != nil {
				return err
			}
			method, target := "GET", args[len(args)-1]
			if len(args) == 2 {
				method = args[0]
			}
			who, assumed, err := p.account(c, cfg, email)
			if err != nil {
				return err
			}
			if who != nil {
				override(who, c, hostedDomain, groups, unverified)
			}
			out, err := explain(rules, method, target, who)
			if err != nil {
				return err
			}
			// As in the gate: what is for everybody, or for nobody, asks not who it is.
			stranger, err := explain(rules, method, target, nil)
			if err != nil {
				return err
			}
			out.User, out.Assumed = email, assumed
			if stranger.Verdict == policy.Challenge.String() && strings.HasPrefix(assumed, "blocked") {
				out.Verdict, out.Rule, out.Reason = policy.Deny.String(), "the directory", string(policy.ReasonBlocked)
			}
			return p.printExplanation(out, asJSON)
		},
	}
	c.Flags().StringVar(&email, "user", "", "the `address` of who asks")
	c.Flags().StringVar(&hostedDomain, "hosted-domain", "", "assume this hd claim (empty: a consumer account)")
	c.Flags().StringSliceVar(&groups, "group", nil, "assume this group; may be repeated")
	c.Flags().BoolVar(&unverified, "unverified", false, "assume that the address is not verified")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

func explain(rules *policy.Policy, method, target string, who *auth.Identity) (explanation, error) {
	path, _, _ := strings.Cut(target, "?")
	if !strings.HasPrefix(path, "/") {
		return explanation{}, fmt.Errorf("%q is not a path (write it as in a request line, beginning with /)", target)
	}
	d := rules.Decide(policy.Target{Method: method, Path: policy.ReadPath(path)}, who)
	return explanation{Verdict: d.Verdict.String(), Rule: d.Rule, Reason: string(d.Reason), Method: method, Path: target}, nil
}

// account finds who signed in with the address last, or makes somebody up.
func (p *program) account(c *cobra.Command, cfg *config.Config, email string) (who *auth.Identity, assumed string, err error) {
	if email == "" {
		return nil, "a stranger", nil
	}
	email, err = auth.ParseEmail(email)
	if err != nil {
		return nil, "", fmt.Errorf("--user: %w", err)
	}
	s, err := store.Open(c.Context(), p.storeConfig(cfg))
	if err == nil {
		defer s.Close()
		u, err := s.User(c.Context(), store.Who{Email: email})
		switch {
		case err == nil && u.Block != nil:
			return &u.Identity, "blocked since " + local(directory.Moment(u.Block.At)), nil
		case err == nil:
			return &u.Identity, "the account that last signed in", nil
		case !errors.Is(err, auth.ErrNotFound):
			return nil, "", err
		}
		// An address may be blocked before anybody has signed in with it.
		blocked, err := s.Blocked(c.Context(), email)
		if err != nil {
			return nil, "", err
		}
		if blocked {
			who, _ = assume(cfg, email)
			return who, "blocked, and nobody has signed in with it", nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("open the store: %w", err)
	}
	who, assumed = assume(cfg, email)
	return who, assumed, nil
}

// assume makes up an account, and says of what kind.
func assume(cfg *config.Config, email string) (made *auth.Identity, assumed string) {
	made = &auth.Identity{Issuer: "explain", Subject: email, Email: email, EmailVerified: true}
	if cfg.Google == nil {
		return made, "a verified address"
	}
	switch domain := auth.Domain(email); domain {
	case "gmail.com", "googlemail.com":
		return made, "a consumer account"
	default:
		made.HostedDomain = domain
		for _, d := range cfg.Allow.Domains {
			if d.Name == domain && d.HostedDomain != "" {
				made.HostedDomain = d.HostedDomain
			}
		}
		return made, "an account of the Workspace " + made.HostedDomain
	}
}

func override(who *auth.Identity, c *cobra.Command, hostedDomain string, groups []string, unverified bool) {
	if c.Flags().Changed("hosted-domain") {
		who.HostedDomain = hostedDomain
	}
	if c.Flags().Changed("group") {
		who.Groups = groups
	}
	if unverified {
		who.EmailVerified = false
	}
}

func (p *program) printExplanation(e explanation, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(p.stdout)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(e)
	}
	fmt.Fprintf(p.stdout, "%s  %s %s\n", e.Verdict, e.Method, e.Path)
	fmt.Fprintf(p.stdout, "  rule:    %s\n", e.Rule)
	if e.Reason != "" {
		fmt.Fprintf(p.stdout, "  reason:  %s\n", e.Reason)
	}
	_, err := fmt.Fprintf(p.stdout, "  account: %s\n", strings.TrimSpace(e.User+" ("+e.Assumed+")"))
	return err
}
