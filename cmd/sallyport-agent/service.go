package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// serviceCommand installs the agent as a service of its host. On Linux it is our own unit, the hardened one that packages bring; on other
// systems the library's.
type serviceCommand struct {
	Install   installCommand   `cmd:"" help:"Install the agent as a service that starts with the host."`
	Uninstall uninstallCommand `cmd:"" help:"Stop and remove the service. Keys, certificate and settings stay."`
	Start     startCommand     `cmd:"" help:"Start the service."`
	Stop      stopCommand      `cmd:"" help:"Stop the service; checks in flight are finished."`
	Status    stateCommand     `cmd:"" help:"Show what the service manager knows. What the agent does is in: sallyport-agent status."`
}

// Help is printed below the flags.
func (serviceCommand) Help() string {
	return `Needs root, or an administrator.

Examples:
  sallyport-agent service install
  sallyport-agent service start
  sallyport-agent service install --root /mnt/image --program /usr/local/bin/sallyport-agent     into an image, without running anything`
}

type installCommand struct {
	Program  string `help:"Path of this program as the service is to run it. Where it is now by default." placeholder:"PATH"`
	Settings string `help:"Settings file that the service runs with; made with examples if it is absent. That of --config, or ${settings}, by default." placeholder:"FILE"`
	Root     string `help:"Linux: write the files below this folder, for an image, and run no command." placeholder:"DIR" type:"path"`
}

type uninstallCommand struct {
	Root string `help:"Linux: remove the files below this folder and run no command." placeholder:"DIR" type:"path"`
}

type (
	startCommand struct{}
	stopCommand  struct{}
	stateCommand struct{}
)

// installation is what install has to know on every system.
type installation struct {
	root, program, config, state string
}

// Run is called by kong.
func (i *installCommand) Run(ctx context.Context, c *cli, t *terminal) error {
	program := i.Program
	if program == "" {
		self, err := os.Executable()
		if err == nil {
			self, err = filepath.EvalSymlinks(self)
		}
		if err != nil {
			return err
		}
		program = self
	}
	in := installation{root: i.Root, program: program, config: cmp.Or(i.Settings, c.Config, defaultConfig), state: c.State}
	for what, path := range map[string]string{"program": in.program, "settings": in.config} {
		if !filepath.IsAbs(path) || strings.ContainsAny(path, "\"'%$\\\n\r\t;") && filepath.Separator == '/' || strings.Contains(path, " ") && filepath.Separator == '/' {
			return &usageError{fmt.Errorf("--%s %s: a service needs an absolute path without spaces and special characters", what, path)}
		}
	}
	return in.install(ctx, t)
}

// Run is called by kong.
func (u *uninstallCommand) Run(ctx context.Context, c *cli, t *terminal) error {
	return installation{root: u.Root, config: cmp.Or(c.Config, defaultConfig), state: c.State}.uninstall(ctx, t)
}

// Run is called by kong.
func (startCommand) Run(ctx context.Context, t *terminal) error {
	return controlService(ctx, t, "start")
}

// Run is called by kong.
func (stopCommand) Run(ctx context.Context, t *terminal) error { return controlService(ctx, t, "stop") }

// Run is called by kong.
func (stateCommand) Run(ctx context.Context, t *terminal) error {
	return controlService(ctx, t, "status")
}

// settingsTemplate is written where there are no settings yet.
const settingsTemplate = `# Settings of sallyport-agent: every flag of "sallyport-agent run --help" without its dashes. Unknown keys are refused.
#
# The domain, whose domain controllers DNS names; those of a site go first:
#domain: corp.example
#site: Berlin
# Or the domain controllers, in the order in which they are asked; with a domain, before those that DNS names:
#dc: [ldaps://dc1.corp.example, ldaps://dc2.corp.example]
# On a Windows member of the domain they may be left out; Windows then judges (validator: windows).
# Who issued their certificates; the system's roots if absent:
#dc-ca-file: /etc/sallyport-agent/corp-ca.pem
# Where the agent registers (sallyport-agent register):
#service: https://login.example.com
#proxy: http://proxy.corp.example:3128
# Health and numbers for Prometheus, on this host alone:
#monitor: 127.0.0.1:8449
log-format: json
# Several directories, an agent for each in this process; what stands above goes for all:
#instances:
#  corp: {dc: [ldaps://dc1.corp.example]}
#  fabrikam: {dc: [ldaps://dc1.fabrikam.example]}
`
