// Command sallyport is the sign-in service: it serves sign-ins, makes the first tenant, shows and checks its settings,
// administers tenants, domains, directories, users, apps and agents over the admin API, and runs a complete demonstration.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/sallyport-auth/sallyport/service/fault"
)

// Exit codes.
const (
	exitFailure = 1 // the command did not succeed; the reason is on standard error
	exitUsage   = 2 // the command line or the configuration is wrong
)

// cli is the whole command line. Its help is the reference.
type cli struct {
	Version versionFlag `help:"Print version and commit, and end."`

	Serve  serveCommand  `cmd:"" help:"Run the service."`
	Init   initCommand   `cmd:"" help:"Make the first tenant with its break-glass administrator."`
	Demo   demoCommand   `cmd:"" help:"Run a complete demonstration on this machine: service, directory, three agents, an application."`
	Config configCommand `cmd:"" help:"Show or check the settings."`

	Tenant    tenantCommand    `cmd:"" help:"Tenants: the customer organisations."`
	Domain    domainCommand    `cmd:"" help:"Domains: who checks the passwords of name@domain."`
	Directory directoryCommand `cmd:"" help:"Directories: the AD forests or domains that agents speak for."`
	User      userCommand      `cmd:"" help:"Users."`
	App       appCommand       `cmd:"" help:"Applications that sign people in."`
	Agent     agentCommand     `cmd:"" help:"Agents, and the tokens that let new ones in."`
	Signin    signinCommand    `cmd:"" help:"The sign-in log."`
	Key       keyCommand       `cmd:"" help:"Keys that sign a tenant's tokens."`
	Log       logCommand       `cmd:"" help:"The registration log: who let agents in, renewed, shut out, and changed policies."`

	Token      adminTokenCommand `cmd:"" help:"Tokens for the admin API, which the commands above use."`
	Explain    explainCommand    `cmd:"" help:"Explain a number of the sign-in page or the log."`
	Completion completionCommand `cmd:"" help:"Print a completion script for a shell."`
}

const description = `Sallyport signs people in to applications with the password they have in Active Directory.

Examples:
  sallyport demo                                           try everything on this machine
  sallyport config print > sallyport.yaml                  all settings with their meaning
  sallyport init --config sallyport.yaml --tenant contoso  the first tenant
  sallyport serve --config sallyport.yaml                  run
  sallyport agent token create --tenant contoso --directory corp
  sallyport explain 80001                                  what a number on the sign-in page means

Exit codes: 0 fine; 1 failure, the reason is on standard error; 2 wrong command line or settings.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly end; from then on a second one ends the program at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line until it is done or ctx ends, and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var c cli
	exited := -1
	parser, err := kong.New(&c, kong.Name("sallyport"), kong.Description(description), kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&terminal{stdin, stdout, stderr}))
	if err != nil {
		fmt.Fprintln(stderr, "sallyport:", err)
		return exitFailure
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		fmt.Fprintf(stderr, "sallyport: %v\nTry \"%s --help\".\n", err, tried(err))
		return exitUsage
	}
	return report(stderr, parsed.Run())
}

// tried is the command that a mistake was made in.
func tried(err error) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if command := parse.Context.Selected(); command != nil {
			return command.FullPath()
		}
	}
	return "sallyport"
}

// report says what went wrong, and what to do about it where the catalogue knows, and returns the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "sallyport:", err)
	var known *fault.Error
	if errors.As(err, &known) {
		fmt.Fprintln(stderr, "  What to do:", fault.Entry(known).Remedy)
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

// terminal is where a command reads and writes.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// usageError is a mistake in the command line or the configuration, as against a failure while running.
type usageError struct{ cause error }

func (e *usageError) Error() string { return e.cause.Error() }
func (e *usageError) Unwrap() error { return e.cause }
