package main

import (
	"context"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/admin"
)

type registrationCommand struct {
	Show registrationShow `cmd:"" help:"Show the policy."`
	Set  registrationSet  `cmd:"" help:"Set the policy."`
}

type registrationShow struct{ tenantName }

func (c registrationShow) Run(ctx context.Context, t *terminal) error {
	return call[admin.Registration](ctx, t, c.apiFlags, http.MethodGet, admin.Path("tenants", c.Tenant, "registration"), nil, "")
}

type registrationSet struct {
	tenantName
	Approval string `required:"" enum:"none,needed,second" help:"none: a token is enough; needed: an administrator approves each agent; second: one who did not make the token or approve the code."`
}

// Help is shown by --help.
func (registrationSet) Help() string {
	return `An agent that waits for its approval is "pending": it is in the fleet and gets no work. See agent approve and agent deny.`
}

func (c registrationSet) Run(ctx context.Context, t *terminal) error {
	return call[admin.Registration](ctx, t, c.apiFlags, http.MethodPut, admin.Path("tenants", c.Tenant, "registration"), admin.Registration{Approval: c.Approval}, "")
}

type agentApprove struct {
	agentName
	Fingerprint string `help:"The key fingerprint that you have compared; an agent with other keys is not let in."`
}

func (c agentApprove) Run(ctx context.Context, t *terminal) error {
	return call[admin.Agent](ctx, t, c.apiFlags, http.MethodPost, c.path("agents", c.Agent, "approve"), admin.ApproveInput{Fingerprint: c.Fingerprint}, "")
}

type agentDeny struct{ agentName }

func (c agentDeny) Run(ctx context.Context, t *terminal) error {
	return call[admin.Agent](ctx, t, c.apiFlags, http.MethodPost, c.path("agents", c.Agent, "deny"), nil, "")
}
