package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/directory"
	"github.com/loginwall/loginwall/auth/store"
	"github.com/loginwall/loginwall/config"
)

// openStore opens the store that the configuration names, beside a wall that may
// be running; it never creates one.
func (p *program) openStore(ctx context.Context) (*store.Store, error) {
	cfg, _, err := p.read() // what is odd about the rules is for check and serve to say
	if err != nil {
		return nil, err
	}
	c := p.storeConfig(cfg)
	c.Recorded = p.recorded(cfg)
	s, err := store.Open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return s, nil
}

// storeConfig is what the file says of the store.
func (p *program) storeConfig(cfg *config.Config) store.Config {
	return store.Config{
		URL: cfg.Store.URL(), KeepSessions: cfg.Keep.Sessions, KeepEvents: cfg.Keep.Events, KeepDenied: cfg.Keep.Denied, Now: p.now,
	}
}

// operator is how the audit trail names who used the command line.
func operator() string {
	if u, err := user.Current(); err == nil {
		return "command line (" + u.Username + ")"
	}
	return "command line"
}

func (p *program) usersCommand() *cobra.Command {
	c := group("users", "See, block and unblock the people who signed in")
	c.AddCommand(p.usersList(), p.usersShow(), p.usersBlock(), p.usersUnblock(), p.usersExport())
	return c
}

// local is how a table for people shows a time.
func local(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// mapped converts each row of a sequence that can fail.
func mapped[A, B any](rows iter.Seq2[A, error], convert func(A) B) iter.Seq2[B, error] {
	return func(yield func(B, error) bool) {
		for row, err := range rows {
			if !yield(convert(row), err) {
				return
			}
		}
	}
}

func (p *program) usersList() *cobra.Command {
	var asJSON, blocked bool
	c := &cobra.Command{
		Use: "list", Short: "List who has signed in", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := p.openStore(c.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			users := s.AllUsers(c.Context(), store.UserQuery{BlockedOnly: blocked})
			if asJSON {
				return directory.WriteArray(p.stdout, users, directory.NewUserRow)
			}
			return p.userTable(users)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	c.Flags().BoolVar(&blocked, "blocked", false, "only those who are blocked")
	return c
}

func (p *program) userTable(users iter.Seq2[auth.User, error]) error {
	table := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "EMAIL\tNAME\tSIGN-INS\tLAST SIGN-IN\tLAST SEEN\tBLOCKED")
	for u, err := range users {
		if err != nil {
			return err
		}
		row := directory.NewUserRow(u)
		blocked := ""
		if row.Blocked {
			blocked = "yes, " + local(row.BlockedAt)
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\n", printable(row.Email), printable(row.Name), row.SignIns, local(row.LastSignIn), local(row.LastSeen), blocked)
	}
	return table.Flush()
}

// printable keeps what a stranger may have written within its cell of a table.
func printable(s string) string {
	quoted := strconv.QuoteToGraphic(s)
	return quoted[1 : len(quoted)-1]
}

// whoIs reads an argument that is an address or a user id.
func whoIs(arg string) (store.Who, error) {
	if email, err := auth.ParseEmail(arg); err == nil {
		return store.Who{Email: email}, nil
	}
	if strings.Contains(arg, "@") || arg == "" {
		return store.Who{}, fmt.Errorf("%q is neither an e-mail address nor a user id", arg)
	}
	return store.Who{User: auth.UserID(arg)}, nil
}

// usersWith returns every account that holds an address, or the one with an id.
func usersWith(ctx context.Context, s *store.Store, who store.Who) ([]auth.User, error) {
	if who.User != "" {
		u, err := s.User(ctx, who)
		return []auth.User{u}, err
	}
	var users []auth.User
	for u, err := range s.AllUsers(ctx, store.UserQuery{Email: who.Email}) {
		if err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	if len(users) == 0 {
		return nil, fmt.Errorf("%s: %w", who.Email, auth.ErrNotFound)
	}
	return users, nil
}

// userWithSessions is a row of `users show` and `users export`.
type userWithSessions struct {
	directory.UserRow
	Sessions []directory.SessionRow `json:"sessions"`
}

func (p *program) usersShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "show EMAIL|ID", Short: "Show a person with their sessions", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			who, err := whoIs(args[0])
			if err != nil {
				return err
			}
			s, err := p.openStore(c.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			users, err := usersWith(c.Context(), s, who)
			if err != nil {
				return fmt.Errorf("show: %w", err)
			}
			rows := make([]userWithSessions, len(users))
			for i, u := range users {
				rows[i].UserRow, rows[i].Sessions = directory.NewUserRow(u), []directory.SessionRow{}
				for session, err := range s.AllSessions(c.Context(), store.SessionQuery{User: u.ID}) {
					if err != nil {
						return err
					}
					rows[i].Sessions = append(rows[i].Sessions, directory.NewSessionRow(session))
				}
			}
			if asJSON {
				return p.printJSON(rows)
			}
			return p.showUsers(rows)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array of accounts, each with its sessions")
	return c
}

func (p *program) showUsers(rows []userWithSessions) error {
	for _, row := range rows {
		table := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
		for _, line := range [][2]string{
			{"email", row.Email},
			{"name", row.Name},
			{"id", string(row.ID)},
			{"issuer", row.Issuer},
			{"subject", row.Subject},
			{"hosted domain", row.HostedDomain},
			{"first sign-in", local(row.FirstSignIn)},
			{"last sign-in", local(row.LastSignIn)},
			{"last seen", local(row.LastSeen)},
			{"sign-ins", strconv.FormatInt(row.SignIns, 10)},
		} {
			fmt.Fprintf(table, "%s\t%s\n", line[0], printable(line[1]))
		}
		if row.Blocked {
			fmt.Fprintf(table, "blocked\t%s by %s: %s\n", local(row.BlockedAt), printable(row.BlockedBy), printable(row.BlockedReason))
		}
		if err := table.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		fmt.Fprintln(p.stdout)
		if err := p.sessionTable(slices.Values(row.Sessions)); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) printJSON(v any) error {
	encoder := json.NewEncoder(p.stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

func (p *program) usersBlock() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "block EMAIL|ID",
		Short: "Keep a person out, and end all their sessions",
		Long:  "Blocks the address and every account that holds it, until somebody unblocks it: the\nsame account gets in under no other address, and no other account under this one. An\naddress that was never seen can be blocked too. Running walls know within a second.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.change(c.Context(), args[0], func(s *store.Store, who store.Who) error {
				_, err := s.Block(c.Context(), who, operator(), reason)
				return err
			}, "blocked")
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, in a few words, for the record")
	return c
}

func (p *program) usersUnblock() *cobra.Command {
	c := &cobra.Command{
		Use:   "unblock EMAIL|ID",
		Short: "Let a person in again",
		Long:  "Lifts every block that names the account or its address. Sessions that the block\nended stay ended: the person signs in again.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.change(c.Context(), args[0], func(s *store.Store, who store.Who) error {
				return s.Unblock(c.Context(), who, operator())
			}, "unblocked")
		},
	}
	return c
}

// change does something to a person, in the store itself.
func (p *program) change(ctx context.Context, arg string, do func(*store.Store, store.Who) error, done string) error {
	who, err := whoIs(arg)
	if err != nil {
		return err
	}
	s, err := p.openStore(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := do(s, who); err != nil {
		return fmt.Errorf("%s: not %s: %w", arg, done, err)
	}
	_, err = fmt.Fprintf(p.stdout, "%s: %s\n", arg, done)
	return err
}

func (p *program) usersExport() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "export",
		Short: "Write all users as CSV, or as JSON with their sessions",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := p.openStore(c.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			users := s.AllUsers(c.Context(), store.UserQuery{})
			if asJSON {
				return directory.WriteArray(p.stdout, users, directory.NewUserRow)
			}
			return directory.WriteCSV(p.stdout, users)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array instead of CSV")
	return c
}
