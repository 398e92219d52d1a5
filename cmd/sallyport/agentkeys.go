package main

import (
	"context"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/admin"
)

type agentKeysCommand struct {
	Show agentKeysShow `cmd:"" help:"Show what is demanded."`
	Set  agentKeysSet  `cmd:"" help:"Say what is demanded of registrations and renewals from now on."`
}

type agentKeysShow struct{ tenantName }

func (c agentKeysShow) Run(ctx context.Context, t *terminal) error {
	return call[admin.AgentKeys](ctx, t, c.apiFlags, http.MethodGet, admin.Path("tenants", c.Tenant, "agent-keys"), nil, "")
}

type agentKeysSet struct {
	tenantName
	Require string `required:"" enum:"file,hardware" placeholder:"WHERE" help:"file: anywhere, files included. hardware: in a TPM alone (sallyport-agent register --key-store tpm)."`
}

// Help is shown by --help.
func (agentKeysSet) Help() string {
	return `With hardware, registrations and renewals of agents with keys in files are refused (90100). Agents that have such keys go on until their
certificates end; agent list shows them. Move each on its host first, with a token of its tenant:
  sallyport-agent register --again --key-store tpm --token-file token.txt

Where an agent keeps its keys is its own word. It is not attested.

Examples:
  sallyport tenant keys set contoso --require hardware
  sallyport tenant keys set contoso --require file`
}

func (c agentKeysSet) Run(ctx context.Context, t *terminal) error {
	return call[admin.AgentKeys](ctx, t, c.apiFlags, http.MethodPut, admin.Path("tenants", c.Tenant, "agent-keys"), admin.AgentKeys{Require: c.Require}, "")
}
