// Command loginwall puts a Google login in front of any web app.
//
// This package is the wiring: one file for each subcommand, build.go from the
// configuration to one immutable site, and nothing that decides who may pass.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// The exit codes of every subcommand.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(realMain()) }

func realMain() int {
	// Some libraries print on their own, and net/http prints what an upstream sent
	// unasked: bytes of anybody's, on a line that is none of our log.
	log.SetOutput(io.Discard) //nolint:forbidigo // to be rid of it
	p := newProgram(time.Now)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// From the first signal on, the next one has its usual effect: end now.
	context.AfterFunc(ctx, stop)
	return p.run(ctx, os.Args[1:])
}

// A program is loginwall with its surroundings, so that tests can run it whole.
type program struct {
	stdout, stderr io.Writer
	// log is where a wall that serves writes its log.
	log    io.Writer
	env    func(name string) (string, bool)
	config string // the file's path, as given
	now    func() time.Time
}

func newProgram(now func() time.Time) *program {
	return &program{stdout: &plain{to: os.Stdout}, stderr: &plain{to: os.Stderr}, log: os.Stderr, env: os.LookupEnv, now: now}
}

// errSilent ends a command that has said on its own what was wrong.
var errSilent = errors.New("failed")

func (p *program) run(ctx context.Context, args []string) int {
	root, started := p.command()
	root.SetArgs(args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case !*started:
		fmt.Fprintf(p.stderr, "loginwall: %v\nSee 'loginwall --help'.\n", err)
		return exitUsage
	case !errors.Is(err, errSilent):
		fmt.Fprintf(p.stderr, "loginwall: %v\n", err)
	}
	return exitFailed
}

// command builds the tree of subcommands; started becomes true once one of them
// runs, so that what fails before is known to be wrong usage.
func (p *program) command() (root *cobra.Command, started *bool) {
	started = new(bool)
	root = &cobra.Command{
		Use:           "loginwall",
		Short:         "A Google login in front of any web app",
		Long:          "loginwall puts a Google login in front of any web app: one binary, one short file,\nand nothing to change in the app.\n\nTo see it on this machine, without an account anywhere: loginwall demo",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) {
			*started = true
		},
	}
	standard := "loginwall.yaml"
	if name, ok := p.env("LOGINWALL_CONFIG"); ok && name != "" {
		standard = name
	}
	root.PersistentFlags().StringVar(&p.config, "config", standard, "the configuration `file` (also $LOGINWALL_CONFIG)")
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml")
	root.AddCommand(
		p.serveCommand(), p.demoCommand(), p.checkCommand(), p.explainCommand(),
		p.usersCommand(), p.sessionsCommand(), p.storeCommand(), p.healthcheckCommand(), p.versionCommand(),
	)
	return root, started
}

// group is a command that only has subcommands.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
}

func (p *program) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.stdout, "loginwall", version())
			return err
		},
	}
	return c
}

// version is what the go command stamped into the binary: the tag, or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	return v + " " + info.GoVersion
}
