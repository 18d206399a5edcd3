// Command digime-sync pushes the files that people and programs drop into
// watched folders into the right person's digi.me library, once, and says what
// became of each. README.md is its manual.
//
// serve (run.go) shows the program: it opens the parts and runs the engine.
// Every other file here is one command, the configuration, or the control
// channel by which commands ask the running daemon.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// Exit codes, the same for every command.
const (
	exitDone    = 0
	exitError   = 1
	exitUsage   = 2
	exitHeld    = 3
	exitRunning = 4
	exitConfig  = 78
)

const exitCodes = `
Exit codes:
  0   done
  1   error
  2   usage: the command line is wrong
  3   something is held or refused and needs a person
  4   another instance is running
  78  the configuration cannot be run
`

// app is what all commands share.
type app struct {
	configPath string
	logLevel   string
	in         io.Reader
	out, err   io.Writer
}

func main() {
	seeCredentials()
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	os.Exit(a.main(os.Args[1:]))
}

// main runs one command line and returns its exit code.
func (a *app) main(args []string) int {
	root, ran := a.commands()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteC()
	if err != nil && !*ran && !errors.As(err, new(*cliError)) {
		err = &cliError{err: err, hint: cmd.CommandPath() + " --help", code: exitUsage}
	}
	return a.report(err)
}

// commands returns the command tree; ran turns true once the command line was
// understood.
func (a *app) commands() (_ *cobra.Command, ran *bool) {
	ran = new(bool)
	root := &cobra.Command{
		Use:   "digime-sync",
		Short: "Push files dropped into folders into people's digi.me libraries",
		Long: "digime-sync watches folders. A file dropped there, with a sidecar FILE.meta.json beside it,\n" +
			"is pushed once into the right person's digi.me library, and what became of it is said\nwhere it was dropped.\n\n" +
			"To see it work, without an account: digime-sync demo. With one: write a configuration (README.md shows the\n" +
			"smallest), then digime-sync check, authorize and run, or service install.",
		Version:           built().String(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRun:  func(*cobra.Command, []string) { *ran = true },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&a.configPath, "config", "", "configuration `FILE` (else $DIGIME_SYNC_CONFIG, else "+DefaultConfigPath()+")")
	root.PersistentFlags().StringVar(&a.logLevel, "log-level", "", "least important `LEVEL` the log tells: debug, info, warn or error; without it only run logs")
	root.SetUsageTemplate(root.UsageTemplate() + exitCodes)
	root.AddCommand(a.runCommand(), a.reloadCommand(), a.syncCommand(), a.pushCommand(), a.releaseCommand(), a.retryCommand(), a.forgetCommand(), a.rescanCommand(), a.pauseCommand(), a.resumeCommand(), a.statusCommand(), a.auditCommand(), a.checkCommand(),
		a.authorizeCommand(), a.tokenCommand(), a.readCommand(), a.stateCommand(), a.serviceCommand(), a.versionCommand(), a.sandboxCommand(), a.demoCommand())
	root.AddCommand(a.fleetCommand(), a.enrolCommand(), a.schemaCommand(), a.configureCommand(), a.purgeCommand())
	root.AddCommand(a.installerCommands()...)
	root.SetFlagErrorFunc(wrongFlag)
	inOurWords(root)
	return root, ran
}

// cliError is an error with what to type next and its exit code.
type cliError struct {
	err  error
	hint string
	code int
}

func (e *cliError) Error() string { return e.err.Error() }
func (e *cliError) Unwrap() error { return e.err }

func failure(code int, hint, format string, args ...any) error {
	return &cliError{err: fmt.Errorf(format, args...), hint: hint, code: code}
}

// errHeld ends a command that has said by itself what needs a person.
var errHeld = errors.New("something is held or refused")

// report says an error to a person and returns its exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitDone
	}
	if errors.Is(err, errHeld) {
		return exitHeld
	}
	if errors.Is(err, errNotRunning) {
		return exitError
	}
	e := explain(err)
	for i, line := range strings.Split(strings.TrimRight(e.err.Error(), "\n"), "\n") {
		if i > 0 {
			fmt.Fprintf(a.err, "  %s\n", line)
			continue
		}
		fmt.Fprintf(a.err, "digime-sync: error: %s\n", line)
	}
	if e.hint != "" {
		fmt.Fprintf(a.err, "digime-sync: hint: %s\n", e.hint)
	}
	return e.code
}

// explain adds the hint and exit code that go with an error's type.
func explain(err error) *cliError {
	var (
		cli    *cliError
		config *ConfigError
		locked *store.LockedError
		usage  *engine.UsageError
	)
	switch {
	case errors.As(err, &cli):
		return cli
	case errors.As(err, &config) && (errors.Is(err, os.ErrNotExist) || errors.Is(err, errNotConfigured)):
		return &cliError{err: err, hint: "write one (README.md shows the smallest), or name another: --config FILE", code: exitConfig}
	case errors.As(err, &config):
		return &cliError{err: err, hint: "correct the configuration, then: digime-sync check", code: exitConfig}
	case errors.As(err, &locked):
		return &cliError{err: err, hint: "digime-sync status", code: exitRunning}
	case errors.As(err, &usage):
		return &cliError{err: err, hint: usage.Hint, code: exitError}
	case errors.Is(err, store.ErrNewer):
		return &cliError{err: err, hint: "install that version again; the way back: rename state.db, and the copy kept before its upgrade (state.db.v…) to state.db", code: exitConfig}
	case errors.Is(err, syscall.ENOSPC):
		return &cliError{err: err, hint: "make room on the disk of the state folder, then the same again", code: exitError}
	case errors.Is(err, store.ErrKeyLost):
		return &cliError{err: err, hint: engine.KeyLostHint, code: exitHeld}
	case errors.Is(err, os.ErrPermission):
		return &cliError{err: err, hint: "run it as the user the service runs as, or as an administrator", code: exitError}
	default:
		return &cliError{err: err, code: exitError}
	}
}

// interruptible returns a context that ends on SIGINT or SIGTERM.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}
