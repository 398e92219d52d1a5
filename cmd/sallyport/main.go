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
}

const description = `Sallyport signs people in to applications with the password they have in Active Directory.

Examples:
  sallyport demo                                           try everything on this machine
  sallyport config print > sallyport.yaml                  all settings with their meaning
  sallyport init --config sallyport.yaml --tenant contoso  the first tenant
  sallyport serve --config sallyport.yaml                  run
  sallyport agent token create --tenant contoso --directory corp`

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	exited := -1
	parser, err := kong.New(&c, kong.Name("sallyport"), kong.Description(description), kong.Writers(stdout, stderr),
		kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
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
		fmt.Fprintf(stderr, "sallyport: %v\nTry \"sallyport --help\".\n", err)
		return exitUsage
	}
	if err := parsed.Run(); err != nil {
		var usage *usageError
		fmt.Fprintln(stderr, "sallyport:", err)
		if errors.As(err, &usage) {
			return exitUsage
		}
		return exitFailure
	}
	return 0
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
