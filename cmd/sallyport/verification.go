package main

import (
	"context"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/admin"
)

type verificationCommand struct {
	Show verificationShow `cmd:"" help:"Show the policy."`
	Set  verificationSet  `cmd:"" help:"Replace the policy: what is not given is off."`
}

type verificationShow struct{ tenantName }

func (c verificationShow) Run(ctx context.Context, t *terminal) error {
	return call[admin.Verification](ctx, t, c.apiFlags, http.MethodGet, admin.Path("tenants", c.Tenant, "verification"), nil, "")
}

type verificationSet struct {
	tenantName
	Administrators bool     `help:"Always confirm the right password of users with a role in this service."`
	Group          []string `sep:"none" placeholder:"NAME" help:"Always confirm that of members of this group, as the directory names it. May be repeated."`
	Percent        int      `placeholder:"N" help:"Confirm this share of all others, chosen at random: 0 to 100."`
	LetInAlone     bool     `help:"Let administrators and members of the groups in when no agent on another host can be asked."`
}

// Help is shown by --help.
func (verificationSet) Help() string {
	return `An agent's yes is confirmed by a second agent of the directory, on another host, about the same password. Only a yes is, so a wrong
password counts once. When the two disagree, nobody is let in and both agents are quarantined.

Examples:
  sallyport tenant verification set contoso --administrators --group "Domain Admins" --percent 5
  sallyport tenant verification set contoso                          never confirm`
}

func (c verificationSet) Run(ctx context.Context, t *terminal) error {
	groups := c.Group
	if groups == nil {
		groups = []string{}
	}
	return call[admin.Verification](ctx, t, c.apiFlags, http.MethodPut, admin.Path("tenants", c.Tenant, "verification"),
		admin.Verification{Administrators: c.Administrators, Groups: groups, Percent: c.Percent, LetInAlone: c.LetInAlone}, "")
}
