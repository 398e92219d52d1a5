package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport-auth/sallyport/lab/demo"
)

// demoCommand runs everything on this machine.
type demoCommand struct {
	Directory string `default:"evaluation" placeholder:"WHICH" help:"evaluation (embedded), samba (a throw-away Samba AD domain controller; Debian packages samba samba-dsdb-modules samba-ad-provision ldb-tools, root or CAP_NET_BIND_SERVICE), or ldaps://… or ldap://… (StartTLS) of your own AD."`
	CAFile    string `placeholder:"FILE" help:"With your own AD: PEM file of the CA of its certificates."`
	Domain    string `placeholder:"SUFFIX" help:"With your own AD: the part after the @ of its users' names (default: the domain's DNS name, which the directory tells)."`
	Data      string `placeholder:"DIR" help:"Keep everything in this folder and go on with it the next time (default: a temporary one)."`
	Check     bool   `help:"Play every account through the real pages, print a table, and end; the exit code is not 0 when an answer differs from what the directory's answer demands."`
}

// Help is shown by --help.
func (demoCommand) Help() string {
	return `Starts the service, a directory, three agents and a sample application on loopback, prints where to click, and runs until
Ctrl-C. Needs the Go tool, or sallyport-agent and sallyport-sample-app beside this program.

Examples:
  go run ./cmd/sallyport demo
  go run ./cmd/sallyport demo --check
  go run ./cmd/sallyport demo --directory samba --data ./trial
  go run ./cmd/sallyport demo --directory ldaps://dc1.corp.example --ca-file ca.pem`
}

// Run runs the demonstration.
func (c demoCommand) Run(ctx context.Context, t *terminal) error {
	own := strings.Contains(c.Directory, "://")
	switch {
	case !own && (c.CAFile != "" || c.Domain != ""):
		return &usageError{errors.New("--ca-file and --domain belong to an AD of your own (--directory ldaps://…)")}
	case !own && c.Directory != "evaluation" && c.Directory != "samba":
		return &usageError{errors.New("--directory is evaluation, samba, ldaps://… or ldap://…")}
	}
	return demo.Run(ctx, demo.Options{Directory: c.Directory, CAFile: c.CAFile, Domain: c.Domain, Data: c.Data, Program: program(os.Args[0]), Out: t.out}, c.Check)
}

// program is how a running program can be called again, by its first argument: "" for one that "go run" has built and will remove.
func program(arg0 string) string {
	if strings.Contains(arg0, string(filepath.Separator)+"go-build") {
		return ""
	}
	return arg0
}
