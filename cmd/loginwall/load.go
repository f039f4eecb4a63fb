package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/auth/seal"
	"github.com/loginwall/loginwall/config"
)

// load reads the configuration for a subcommand that a person waits for; its
// warnings go to stderr.
func (p *program) load() (*config.Config, error) {
	cfg, warnings, err := p.read()
	for _, w := range warnings {
		fmt.Fprintln(p.stderr, "warning:", w.Error())
	}
	return cfg, err
}

// read says on stderr what is wrong with the file, a line for each problem.
func (p *program) read() (*config.Config, []config.Problem, error) {
	cfg, warnings, err := config.Load(p.config, p.env)
	if err != nil {
		fmt.Fprintln(p.stderr, err)
		return nil, nil, errSilent
	}
	return cfg, warnings, nil
}

// rules translates the file into policy's own terms.
func rules(cfg *config.Config) policy.Rules {
	r := policy.Rules{
		Google:   cfg.Google != nil,
		Allow:    list(cfg.Allow.List),
		Everyone: cfg.Allow.Everyone,
		Deny:     cfg.Deny.Emails,
		Admins:   cfg.Admins,
	}
	for _, route := range cfg.Routes {
		to := policy.Route{Path: route.Path, Methods: route.Methods, Access: policy.Access(route.Access)}
		if route.Allow != nil {
			narrower := list(*route.Allow)
			to.Allow = &narrower
		}
		r.Routes = append(r.Routes, to)
	}
	return r
}

func list(l config.List) policy.List {
	to := policy.List{Emails: l.Emails, Groups: l.Groups}
	for _, d := range l.Domains {
		to.Domains = append(to.Domains, policy.Domain{Name: d.Name, HostedDomain: d.HostedDomain})
	}
	return to
}

// compile makes the policy; what is wrong with it is told in the file's terms.
func compile(cfg *config.Config) (*policy.Policy, error) {
	compiled, err := policy.Compile(rules(cfg))
	if problems, ok := errors.AsType[policy.Problems](err); ok {
		var told config.Problems
		for _, problem := range problems {
			told = append(told, cfg.Problem(problem.Key, problem.Text, ""))
		}
		return nil, told
	}
	return compiled, err
}

// sound tells what is wrong with the file that only its users can see, as far as
// that takes nothing but reading: a start that fails for it leaves no store behind.
func (p *program) sound(cfg *config.Config) error {
	if _, err := compile(cfg); err != nil {
		return err
	}
	if _, err := newTeller(cfg, nil, p.now); err != nil {
		return err
	}
	if _, err := newPages(cfg); err != nil {
		return err
	}
	if cfg.Session.KeyFile == "" {
		return nil
	}
	_, _, err := ring(cfg, false)
	return err
}

// ring makes the key ring of the files that the configuration names, or of the
// key beside the embedded store. Only serve and demo set create.
func ring(cfg *config.Config, create bool) (r *seal.Ring, fresh bool, err error) {
	var current []byte
	if cfg.Session.KeyFile != "" {
		if current, err = seal.ParseKey([]byte(cfg.Session.Key.Reveal())); err != nil {
			return nil, false, cfg.Problem("session.key_file", err.Error(), "")
		}
	} else if current, fresh, err = ownKey(cfg.OwnKeyFile(), create); err != nil {
		return nil, false, err
	}
	var old [][]byte
	for i, text := range cfg.Session.OldKeys {
		key, err := seal.ParseKey([]byte(text.Reveal()))
		if err != nil {
			return nil, false, cfg.Problem(fmt.Sprintf("session.old_key_files[%d]", i), err.Error(), "")
		}
		old = append(old, key)
	}
	if r, err = seal.NewRing(current, old...); err != nil {
		return nil, false, cfg.Problem("session.key_file", err.Error(), "")
	}
	return r, fresh, nil
}

// ownKey reads the key that the wall made for itself, or makes it, once: written
// whole under another name first, so that a crash or a second wall that starts at
// the same time leaves one key and not two halves.
func ownKey(path string, create bool) (key []byte, fresh bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := makeKey(path); err != nil {
			return nil, false, fmt.Errorf("make the session key %s: %w", path, err)
		}
		fresh = true
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the session key: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, fmt.Errorf("read the session key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, false, fmt.Errorf("the session key %s can be read by others (run: chmod 600 %[1]s; if others may have read it, delete it: everybody signs in again)", path)
	}
	if key, err = seal.ParseKey(text); err != nil {
		return nil, false, fmt.Errorf("the session key %s: %w", path, err)
	}
	return key, fresh, nil
}

func makeKey(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".loginwall-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(seal.GenerateKey())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// Link fails where the name is taken, as rename would not: the first one wins.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
