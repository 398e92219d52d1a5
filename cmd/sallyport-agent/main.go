// Command sallyport-agent checks passwords beside Active Directory for a Sallyport service. It only dials out: it registers
// once with a token, keeps one stream to the service's gateway, opens the envelopes that are sealed to it, asks a domain
// controller, and seals the answer.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/sallyport-auth/sallyport/wire"
)

// cli is the whole command line. Its help is the reference; every flag can also come from the environment
// (SALLYPORT_AGENT_… in capitals) and from a YAML file, the command line first.
type cli struct {
	Version  versionFlag `help:"Print version and commit, and end." env:"-"`
	Config   string      `help:"YAML file with flags as keys (dc, dc-ca-file, log-level …). Unknown keys are refused." placeholder:"FILE" type:"path"`
	State    string      `help:"State folder: keys, certificate and what the service said. Mode 0700; by default ${default}." placeholder:"DIR" default:"${state}" type:"path"`
	Instance string      `help:"Name of this agent where the host has several: lower-case letters, digits, hyphens. The state folder is then ${state}-NAME; where the settings have it under instances, ${state}/NAME." placeholder:"NAME"`
	logFlags

	Register   registerCommand   `cmd:"" help:"Make keys on this host and register them with a service."`
	Run        runCommand        `cmd:"" help:"Answer password checks until told to stop."`
	Status     statusCommand     `cmd:"" help:"Show what the running agent does."`
	Doctor     doctorCommand     `cmd:"" help:"Look for whatever keeps passwords from being checked, and say what to do about it."`
	Test       testCommand       `cmd:"" name:"test-signin" help:"Check one name and password at the directory, from this terminal."`
	Record     recordCommand     `cmd:"" name:"record-transcripts" help:"Write down how a domain controller of a test domain answers, for tests."`
	Logs       logsCommand       `cmd:"" help:"Pack what support needs."`
	Service    serviceCommand    `cmd:"" help:"Install the agent as a service of this host, start, stop or remove it."`
	Completion completionCommand `cmd:"" help:"Print a script that completes commands and flags in a shell."`
	Explain    explainCommand    `cmd:"" help:"Explain an error number of Sallyport, Entra, Windows or Active Directory."`
}

// AfterApply is called by kong when flags, environment and settings are read.
func (c *cli) AfterApply(s settings) error {
	if c.Instance == "" {
		return nil
	}
	if s.within != "" {
		c.State = filepath.Join(c.State, s.within)
		return nil
	}
	if !wire.IsInstance(c.Instance) {
		return fmt.Errorf("--instance %q: give 1 to %d lower-case letters, digits and hyphens", c.Instance, wire.MaxInstance)
	}
	if c.State == defaultState {
		c.State += "-" + c.Instance
	}
	return nil
}

const description = `Checks passwords beside Active Directory for a Sallyport service. Only dials out.

Examples:
  sallyport-agent register --service https://signin.example.com
  sallyport-agent register --service https://signin.example.com --token-file token.txt
  sallyport-agent run --domain corp.example --dc-ca-file corp-ca.pem
  sallyport-agent run --dc ldaps://dc1.corp.example --dc ldaps://dc2.corp.example --dc-ca-file corp-ca.pem
  sallyport-agent service install
  sallyport-agent status
  sallyport-agent doctor --config /etc/sallyport-agent/agent.yaml
  sallyport-agent test-signin --config /etc/sallyport-agent/agent.yaml ada@corp.example
  sallyport-agent logs bundle --config /etc/sallyport-agent/agent.yaml
  sallyport-agent explain 1328

Exit codes: 0 fine; 1 failure, and for doctor: something keeps passwords from being checked; 2 wrong command line or settings; 3 refused by the service for good, or the
certificate has expired: register again; 4 not registered, or the state folder is unprotected or damaged, or its keys are of another host's TPM;
5 (status) the agent does not run or is not attached; 6 (test-signin) the directory judged, and not with yes.`

func main() {
	if code, is := underServiceManager(func(ctx context.Context) int { return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr) }); is {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// envPrefix begins the names of variables that set flags.
const envPrefix = "SALLYPORT_AGENT"

// terminal is where a command reads and writes.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// run executes one command line and returns the exit code: once, or for every instance of the settings that it concerns.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	all, err := settingsFile(args)
	if err != nil {
		return report(stderr, &usageError{err})
	}
	term := &terminal{stdin, stdout, stderr}
	c, parsed, code := parse(ctx, args, all, term, newNotifier(all.names()...))
	if parsed == nil {
		return code
	}
	names, err := all.choose(parsed.Command(), c.Instance)
	if err == nil && names != nil {
		err = all.shadowed()
	}
	if err != nil {
		return report(stderr, &usageError{err})
	}
	if names == nil {
		return report(stderr, parsed.Run())
	}
	notify := newNotifier(names...)
	one := func(ctx context.Context, name string) int {
		_, parsed, code := parse(ctx, append([]string{"--instance=" + name}, args...), all.of(name), term, notify)
		if parsed == nil {
			notify.gone(name)
			return code
		}
		code = report(stderr, parsed.Run())
		notify.gone(name)
		return code
	}
	if len(names) == 1 {
		return one(ctx, names[0])
	}
	verb, _, _ := strings.Cut(parsed.Command(), " ")
	return each(ctx, verb, names, stdout, stderr, one)
}

// parse reads one command line with the settings below it. Without a command to run, because help was asked for or something is wrong, code is the exit code.
func parse(ctx context.Context, args []string, settings settings, term *terminal, notify *notifier) (_ *cli, parsed *kong.Context, code int) {
	c := &cli{}
	exited := -1
	options := []kong.Option{
		kong.Name(program), kong.Description(description), kong.Writers(term.out, term.err), kong.DefaultEnvars(envPrefix),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}), kong.Vars{"state": defaultState, "settings": defaultConfig},
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(c, term, settings, notify),
	}
	parser, err := kong.New(c, append(options, kong.Resolvers(settings))...)
	if err != nil {
		return c, nil, report(term.err, err)
	}
	parsed, err = parser.Parse(args)
	if exited >= 0 {
		return c, nil, exited
	}
	if err != nil {
		fmt.Fprintf(term.err, "%s: %v\nTry \"%s --help\".\n", program, err, program)
		return c, nil, exitUsage
	}
	return c, parsed, 0
}
