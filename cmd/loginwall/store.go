package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/loginwall/loginwall/auth/store"
)

func (p *program) storeCommand() *cobra.Command {
	c := group("store", "Copy, back up and prune the store")
	c.AddCommand(p.storeCopy(), p.storeBackup(), p.storePrune())
	return c
}

func (p *program) storeCopy() *cobra.Command {
	var from, to string
	c := &cobra.Command{
		Use:   "copy --from STORE --to STORE",
		Short: "Move all that a store holds to another one",
		Long: "Copies users, sessions, blocks, the audit trail and all that was revoked from one\n" +
			"store to a new one, of the same kind or another, and compares every row. It is all or\n" +
			"nothing, and refuses a store that holds something.\n\n" +
			"Stop the walls first: what they write after the copy began stays behind. With the same\n" +
			"session key, everybody stays signed in.\n\n" +
			"STORE is sqlite:PATH or postgres://..., as in the configuration; or @FILE, a file that\n" +
			"holds it, since everybody on the machine can read a command's arguments.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if from == "" || to == "" {
				return errors.New("store copy: name --from and --to")
			}
			if from, err = storeName(from); err != nil {
				return fmt.Errorf("--from: %w", err)
			}
			if to, err = storeName(to); err != nil {
				return fmt.Errorf("--to: %w", err)
			}
			source, err := p.openStoreAt(c.Context(), from, false)
			if err != nil {
				return fmt.Errorf("--from: %w", err)
			}
			defer source.Close()
			return p.copyStore(c.Context(), source, to)
		},
	}
	c.Flags().StringVar(&from, "from", "", "the `store` to read")
	c.Flags().StringVar(&to, "to", "", "the `store` to fill; it is made where there is none")
	return c
}

// storeName reads the name of a store from the file that stands in its place.
func storeName(name string) (string, error) {
	file, found := strings.CutPrefix(name, "@")
	if !found {
		return name, nil
	}
	text, err := os.ReadFile(file)
	return strings.TrimSpace(string(text)), err
}

func (p *program) openStoreAt(ctx context.Context, name string, create bool) (*store.Store, error) {
	return store.Open(ctx, store.Config{URL: name, Create: create, Now: p.now})
}

func (p *program) copyStore(ctx context.Context, from *store.Store, to string) error {
	target, err := p.openStoreAt(ctx, to, false) // what is there is not to be changed before it is refused
	if errors.Is(err, fs.ErrNotExist) {
		target, err = p.openStoreAt(ctx, to, true)
	}
	if err != nil {
		return fmt.Errorf("open the store to fill: %w", err)
	}
	defer target.Close()
	n, err := store.Copy(ctx, from, target)
	if err != nil {
		if file, embedded := strings.CutPrefix(to, "sqlite:"); embedded && target.Created() {
			// An empty store in the place of a backup knows of no block.
			return errors.Join(err, target.Close(), os.Remove(file))
		}
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "copied and compared: %d users, %d sessions, %d blocks, %d revocations, %d events\n",
		n.Users, n.Sessions, n.Blocks, n.Revocations, n.Events)
	return err
}

func (p *program) storeBackup() *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the store into a file, beside a running wall",
		Long: "Copies the store as it is at this moment, of whatever kind, into a new SQLite file, and\n" +
			"compares every row. Walls may be running. To put it back: for an embedded store, stop the\n" +
			"wall, put the file in its place and remove the files ending in -wal and -shm; for a shared\n" +
			"one, \"store copy\" into an empty database. What was ended or blocked since the backup is\n" +
			"forgotten then: a new session key ends all sessions at once.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := os.Lstat(args[0]); err == nil {
				return fmt.Errorf("%s exists (name a new file)", args[0])
			}
			s, err := p.openStore(c.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			return p.copyStore(c.Context(), s, "sqlite:"+path)
		},
	}
}

func (p *program) storePrune() *cobra.Command {
	return &cobra.Command{
		Use:   "prune",
		Short: "Take out what keep says is not kept any more",
		Long:  "Takes out what \"keep\" in the configuration says is not kept any more, in small steps\nbetween which sign-ins pass. A running wall does the same every ten minutes.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := p.openStore(c.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			return s.Prune(c.Context())
		},
	}
}
