package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/sallyport-auth/sallyport/service"
	"github.com/sallyport-auth/sallyport/wire"
)

// settingsFlags say where the configuration comes from.
type settingsFlags struct {
	Config string            `short:"c" placeholder:"FILE" env:"SALLYPORT_CONFIG" help:"YAML configuration file (default: /etc/sallyport/sallyport.yaml where it exists)."`
	Set    map[string]string `placeholder:"KEY=VALUE" mapsep:"none" help:"Override one setting, for example --set signin.listen=:8443. May be repeated."`
}

// load reads the settings; what is wrong with them is a usage error.
func (f settingsFlags) load() (settings, error) {
	s, err := load(configFile(f.Config), os.Environ(), f.Set)
	if err == nil {
		err = s.absolute()
	}
	if err != nil {
		return s, &usageError{fmt.Errorf("the configuration has faults:\n%s", indent(err.Error()))}
	}
	return s, nil
}

// indent puts two spaces before each line.
func indent(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }

// logger makes the process's logger.
func logger(cfg service.LogConfig, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// gcPercent is how much the heap grows between collections, unless GOGC says otherwise: a service of 50 MB is better at 100 MB and
// an eighth faster (lab/bench). GOMEMLIMIT bounds it where memory is short.
const gcPercent = 400

// serveCommand runs the service until it is told to stop.
type serveCommand struct{ settingsFlags }

// Help is shown by --help.
func (serveCommand) Help() string {
	return `Serves until SIGTERM or SIGINT, then drains: new work is refused, agents go elsewhere, sign-ins in progress finish.

Every setting can stand in the file, in an environment variable (SALLYPORT_SIGNIN_LISTEN) or in --set; later wins in that order.

Examples:
  sallyport serve --config /etc/sallyport/sallyport.yaml
  sallyport serve --set tls.local_ca=true --set data=./trial     an evaluation without any file`
}

// Run serves.
func (c serveCommand) Run(ctx context.Context, t *terminal) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	log := logger(s.Config.Log, t.err)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log.Info("sallyport starts", "version", versionText("sallyport"), "data", s.Config.Data)
	svc, err := service.New(ctx, s.Config, log)
	if err != nil && ctx.Err() != nil {
		log.Info("told to stop before the start was done", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	at := svc.Addresses()
	log.Info("listening", "signin", at.Signin, "gateway", at.Gateway, "admin", at.Admin, "monitor", at.Monitor)
	return svc.Run(ctx)
}

// initCommand makes the first tenant.
type initCommand struct {
	settingsFlags
	Tenant       string `required:"" help:"The tenant's name in addresses: 2 to 63 lower-case letters, digits and hyphens."`
	DisplayName  string `help:"The tenant's name for people (default: the name)."`
	Admin        string `placeholder:"NAME" help:"Sign-in name of the break-glass administrator (default: admin-XXXXXX@TENANT.internal with six random letters and digits)."`
	PasswordFile string `placeholder:"FILE" help:"File whose first line is the administrator's password; - for standard input. Default: one is made and printed once."`
}

// Help is shown by --help.
func (initCommand) Help() string {
	return `Makes a tenant and its break-glass administrator: a user whose password is kept here (Argon2id), so that somebody can sign
in when every agent and directory is down. Also writes a token for the admin API into the data folder.

Example:
  sallyport init --config sallyport.yaml --tenant contoso --display-name "Contoso Ltd"`
}

// Run makes the tenant.
func (c initCommand) Run(ctx context.Context, t *terminal) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	in := service.InitRequest{Tenant: c.Tenant, DisplayName: c.DisplayName, AdminName: c.Admin}
	if c.PasswordFile != "" {
		if in.AdminPassword, err = readSecret(c.PasswordFile, t.in); err != nil {
			return err
		}
	}
	out, err := service.Init(ctx, s.Config, in, logger(s.Config.Log, t.err))
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "Tenant         %s (%s)\nIssuer         %s/t/%s\nAdministrator  %s\n", out.Tenant.Name, out.Tenant.ID,
		s.Config.PublicURL, out.Tenant.Name, out.Administrator.UPN)
	if out.AdminPassword != "" {
		fmt.Fprintf(t.out, "Password       %s   (shown only now: keep it, with the name, where you keep such things)\n", out.AdminPassword)
	}
	fmt.Fprintf(t.out, "Admin API      token in %s\n", out.TokenFile)
	return nil
}

// readSecret reads the first line of a file, or of standard input for "-".
func readSecret(file string, stdin io.Reader) (wire.Secret, error) {
	from := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return wire.Secret{}, err
		}
		defer f.Close()
		from = f
	}
	line, err := bufio.NewReader(io.LimitReader(from, 4096)).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return wire.Secret{}, err
	}
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	if len(line) == 0 {
		return wire.Secret{}, fmt.Errorf("%s: the first line, the password, is empty", file)
	}
	return wire.NewSecret(line), nil
}

// configCommand shows and checks settings.
type configCommand struct {
	Print printCommand `cmd:"" help:"Print all settings with meaning, value and where it came from, as a configuration file."`
	Check checkCommand `cmd:"" help:"Check the settings and say what is wrong."`
}

type printCommand struct{ settingsFlags }

// Run prints even settings that have faults, after saying so.
func (c printCommand) Run(t *terminal) error {
	s, err := load(configFile(c.Config), os.Environ(), c.Set)
	s.print(t.out)
	if err != nil {
		fmt.Fprintf(t.err, "sallyport: these settings could not be served as they are:\n%s\n", indent(err.Error()))
	}
	return nil
}

type checkCommand struct{ settingsFlags }

// Run ends with exit code 2 when something is wrong.
func (c checkCommand) Run(t *terminal) error {
	if _, err := c.load(); err != nil {
		return err
	}
	fmt.Fprintln(t.out, "The configuration is fine.")
	return nil
}
