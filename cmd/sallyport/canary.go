package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/sallyport-auth/sallyport/service/admin"
)

type canaryCommand struct {
	Set    canarySet    `cmd:"" help:"Probe the directory's agents with an account, in place of the one before."`
	Show   canaryShow   `cmd:"" help:"Show the accounts; never the password."`
	Remove canaryRemove `cmd:"" help:"Probe no more."`
}

type canarySet struct {
	tenantFlags
	Directory    string   `arg:"" optional:"" help:"Directory, by name or id (default: the one of the name's domain)."`
	Name         []string `required:"" sep:"none" placeholder:"NAME" help:"Account, as a person would type it; may be repeated."`
	PasswordFile string   `placeholder:"FILE" help:"File whose first line is the first account's right password; - for standard input."`
}

// Help is shown by --help.
func (canarySet) Help() string {
	return `About once a minute each agent of the directory is asked about the account, as if a person had signed in. Passwords are made up, so a yes
is a lie: the agent is quarantined at once. With --password-file the right one is sent as well, in half of the probes: a no shows that people
are turned away. It is kept sealed.

Mind the directory's lockout: wrong passwords count for an account that exists. Name one that does not exist, or one exempt from lockout
(a password settings object with a threshold of 0), and never a person's.

Examples:
  sallyport directory canary set --name decoy@corp.example
  sallyport directory canary set corp --name probe@corp.example --password-file probe.txt`
}

func (c canarySet) Run(ctx context.Context, t *terminal) error {
	directory := c.Directory
	if directory == "" {
		_, domain, ok := strings.Cut(c.Name[0], "@")
		if !ok {
			return &usageError{errors.New("--name must be of the form name@domain")}
		}
		api, err := c.client()
		if err != nil {
			return err
		}
		var d admin.Domain
		if err := api.Do(ctx, http.MethodGet, c.path("domains", domain), nil, &d); err != nil {
			return err
		}
		if directory = d.Directory; directory == "" {
			return &usageError{errors.New(domain + " is a domain of cloud passwords: no agent checks them")}
		}
	}
	in := map[string]any{"names": c.Name}
	if c.PasswordFile != "" {
		secret, err := readSecret(c.PasswordFile, t.in)
		if err != nil {
			return err
		}
		defer secret.Wipe()
		in["password"] = string(secret.Reveal())
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return call[admin.Canary](ctx, t, c.apiFlags, http.MethodPut, c.path("directories", directory, "canary"), json.RawMessage(body), "")
}

type canaryShow struct{ directoryName }

func (c canaryShow) Run(ctx context.Context, t *terminal) error {
	return call[admin.Canary](ctx, t, c.apiFlags, http.MethodGet, c.path("directories", c.Directory, "canary"), nil, "")
}

type canaryRemove struct{ directoryName }

func (c canaryRemove) Run(ctx context.Context, t *terminal) error {
	return call[struct{}](ctx, t, c.apiFlags, http.MethodDelete, c.path("directories", c.Directory, "canary"), nil, "Canary removed.")
}
