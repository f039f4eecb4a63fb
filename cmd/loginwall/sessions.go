package main

import (
	"errors"
	"fmt"
	"iter"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/directory"
	"github.com/loginwall/loginwall/auth/store"
)

func (p *program) sessionsCommand() *cobra.Command {
	c := group("sessions", "See and end sessions")
	c.AddCommand(p.sessionsList(), p.sessionsEnd())
	return c
}

func (p *program) sessionsList() *cobra.Command {
	var user string
	var asJSON, open bool
	c := &cobra.Command{
		Use: "list", Short: "List sessions, all or one person's", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			query := store.SessionQuery{OpenOnly: open}
			if user != "" {
				who, err := whoIs(user)
				if err != nil {
					return fmt.Errorf("--user: %w", err)
				}
				query.User, query.Email = who.User, who.Email
			}
			s, err := p.openStore(c.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			sessions := s.AllSessions(c.Context(), query)
			if asJSON {
				return directory.WriteArray(p.stdout, sessions, directory.NewSessionRow)
			}
			var failed error
			err = p.sessionTable(untilError(mapped(sessions, directory.NewSessionRow), &failed))
			return errors.Join(err, failed)
		},
	}
	c.Flags().StringVar(&user, "user", "", "only this person's: an `address` or a user id")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	c.Flags().BoolVar(&open, "open", false, "only those that have neither ended nor expired")
	return c
}

func untilError[T any](rows iter.Seq2[T, error], failed *error) iter.Seq[T] {
	return func(yield func(T) bool) {
		for row, err := range rows {
			if err != nil {
				*failed = err
				return
			}
			if !yield(row) {
				return
			}
		}
	}
}

func (p *program) sessionTable(rows iter.Seq[directory.SessionRow]) error {
	table := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "SESSION\tUSER\tSINCE\tLAST SEEN\tENDS\tADDRESS\tSTATE")
	for row := range rows {
		state := "open"
		switch {
		case row.Ended:
			state = fmt.Sprintf("ended %s (%s)", local(row.EndedAt), row.EndReason)
		case row.Expires != nil && !p.now().Before(*row.Expires):
			state = "expired"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.ID, printable(row.Email), local(row.Created), local(row.LastSeen), local(row.Expires), printable(row.Address), state)
	}
	return table.Flush()
}

func (p *program) sessionsEnd() *cobra.Command {
	var user string
	c := &cobra.Command{
		Use:   "end ID | end --user EMAIL",
		Short: "End one session, or all of a person's",
		Long:  "Ends one session, or all that a person has; they may sign in again. Running walls\nknow within a second.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || (len(args) == 1) == (user != "") {
				return errors.New("sessions end: name either one session or --user")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			s, err := p.openStore(c.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			if user != "" {
				return p.endAll(c, s, user)
			}
			session, err := s.Session(c.Context(), auth.SessionID(args[0]))
			if err != nil {
				return fmt.Errorf("session %s: %w", args[0], err)
			}
			if err := s.EndSession(c.Context(), auth.Ending{
				Session: session.ID, User: session.User, Expires: session.Expires, By: operator(), Reason: auth.EndByAdmin,
			}); err != nil {
				return fmt.Errorf("session %s: not ended: %w", session.ID, err)
			}
			_, err = fmt.Fprintf(p.stdout, "%s: ended\n", session.ID)
			return err
		},
	}
	c.Flags().StringVar(&user, "user", "", "all sessions of this person: an `address` or a user id")
	return c
}

func (p *program) endAll(c *cobra.Command, s *store.Store, arg string) error {
	who, err := whoIs(arg)
	if err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	users, err := usersWith(c.Context(), s, who)
	if err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	total := 0
	for _, u := range users {
		n, err := s.EndSessionsOf(c.Context(), u.ID, operator(), auth.EndByAdmin)
		if err != nil {
			return fmt.Errorf("%s: not ended: %w", arg, err)
		}
		total += n
	}
	_, err = fmt.Fprintf(p.stdout, "%s: %d sessions ended\n", arg, total)
	return err
}
