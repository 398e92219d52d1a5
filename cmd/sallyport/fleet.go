package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service"
	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/fleet"
)

type agentCommand struct {
	List    agentList    `cmd:"" help:"List agents."`
	Show    agentShow    `cmd:"" help:"Show an agent."`
	History agentHistory `cmd:"" help:"Show what became of an agent."`
	Change  agentChange  `cmd:"" help:"The same as agent rename, as other nouns have it."`
	Rename  agentRename  `cmd:"" help:"Rename an agent."`
	Approve agentApprove `cmd:"" help:"Let an agent in whose registration waits for an approval."`
	Deny    agentDeny    `cmd:"" help:"Shut an agent out whose registration waits for an approval."`
	Drain   agentDrain   `cmd:"" help:"Give an agent no new checks; it stays connected, also over restarts."`
	Resume  agentResume  `cmd:"" help:"End a drain."`
	Renew   agentRenew   `cmd:"" help:"Tell an agent, or all, to take a new certificate and new keys."`
	Release agentRelease `cmd:"" help:"Make a token with which one host takes this agent up again, with fresh keys: the way out of a quarantine or a mistaken revocation."`
	Revoke  agentRevoke  `cmd:"" help:"Shut an agent out at once."`
	Remove  agentRemove  `cmd:"" help:"Remove an agent from the fleet; it is shut out too."`
	Token   tokenCommand `cmd:"" help:"Tokens that let new agents in."`
}

type agentList struct {
	tenantFlags
	All bool `help:"Also those of which nothing was heard for ten days."`
}

func (c agentList) Run(ctx context.Context, t *terminal) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	directories, err := admin.All[admin.Directory](ctx, api, c.path("directories"))
	if err != nil {
		return err
	}
	names := map[string]string{}
	for _, d := range directories {
		names[d.ID] = d.Name
	}
	path := c.path("agents")
	if c.All {
		path += "?all=true"
	}
	agents, err := admin.All[admin.Agent](ctx, api, path)
	if err != nil {
		return err
	}
	if err := printList(t.out, c.Output, agents, []column[admin.Agent]{
		{"name", func(x admin.Agent) string { return x.Name }}, {"directory", func(x admin.Agent) string { return names[x.Directory] }}, {"state", func(x admin.Agent) string { return x.Condition }},
		{"connected", func(x admin.Agent) string { return yes(x.Connected) }}, {"host", func(x admin.Agent) string { return x.Host }},
		{"version", func(x admin.Agent) string { return x.Version }}, {"last seen", func(x admin.Agent) string { return day(x.LastSeen) }},
		{"certificate until", func(x admin.Agent) string { return day(x.CertificateNotAfter) }}, {"keys", keysOf},
		{"clock", func(x admin.Agent) string { return (time.Duration(x.ClockSkewMS) * time.Millisecond).String() }}, {"id", func(x admin.Agent) string { return x.ID }}}); err != nil {
		return err
	}
	if len(agents) == 0 || c.Output == "json" {
		return nil // that has been said, or a program reads it and counts for itself
	}
	for _, x := range agents {
		if x.Condition == string(fleet.Degraded) {
			fmt.Fprintf(t.err, "warning: agent %s is degraded: %s\n", x.Name, x.ConditionReason)
		}
	}
	for _, w := range lockoutWarnings(directories, agents) {
		fmt.Fprintln(t.err, "warning:", w)
	}
	for _, w := range fewAgents(directories, agents) {
		fmt.Fprintln(t.err, "warning:", w)
	}
	return nil
}

// keysOf says where an agent's keys are, and whether they may stay there.
func keysOf(x admin.Agent) string {
	if x.KeyStoreRefused {
		return x.KeyStore + ", not renewed"
	}
	return x.KeyStore
}

// lockoutWarnings names, once each, the directories that lock accounts before the service does, by the word of an agent.
func lockoutWarnings(directories []admin.Directory, agents []admin.Agent) (warnings []string) {
	for _, d := range directories {
		for _, a := range agents {
			if a.Directory == d.ID && a.Health != nil && a.Health.Guard != nil && a.Health.Guard.Directory != nil && a.Health.Guard.Directory.Warning != "" {
				warnings = append(warnings, fmt.Sprintf("directory %s: %s (90112)", d.Name, a.Health.Guard.Directory.Warning))
				break
			}
		}
	}
	return warnings
}

// enoughAgents is how many a directory should have: one may be restarted and another fail, and people still get in.
const enoughAgents = 3

// fewAgents names the directories, but for evaluation, whose connected agents are too few.
func fewAgents(directories []admin.Directory, agents []admin.Agent) (warnings []string) {
	serving := map[string]int{}
	for _, a := range agents {
		if a.Connected && a.State == string(fleet.Active) {
			serving[a.Directory]++
		}
	}
	for _, d := range directories {
		switch n := serving[d.ID]; {
		case d.Evaluation || n >= enoughAgents:
		case n == 0:
			warnings = append(warnings, fmt.Sprintf("directory %s has no agent that serves: its people cannot sign in (80001)", d.Name))
		case n == 1:
			warnings = append(warnings, fmt.Sprintf("directory %s has one agent that serves: nobody of it signs in while that restarts; run three, on three hosts", d.Name))
		default:
			warnings = append(warnings, fmt.Sprintf("directory %s has %d agents that serve: run three, on three hosts", d.Name, n))
		}
	}
	return warnings
}

type agentName struct {
	tenantFlags
	Agent string `arg:"" help:"Agent, by name or id."`
}

type agentShow struct{ agentName }

func (c agentShow) Run(ctx context.Context, t *terminal) error {
	return call[admin.Agent](ctx, t, c.apiFlags, http.MethodGet, c.path("agents", c.Agent), nil, "")
}

type agentChange struct {
	agentName
	Name string `required:"" help:"New name."`
}

func (c agentChange) Run(ctx context.Context, t *terminal) error {
	return call[admin.Agent](ctx, t, c.apiFlags, http.MethodPatch, c.path("agents", c.Agent), admin.AgentInput{Name: c.Name}, "")
}

type agentRename struct {
	agentName
	Name string `arg:"" help:"New name."`
}

func (c agentRename) Run(ctx context.Context, t *terminal) error {
	return call[admin.Agent](ctx, t, c.apiFlags, http.MethodPatch, c.path("agents", c.Agent), admin.AgentInput{Name: c.Name}, "")
}

type agentHistory struct{ agentName }

func (c agentHistory) Run(ctx context.Context, t *terminal) error {
	return list(ctx, t, c.apiFlags, c.path("agents", c.Agent, "history"), []column[admin.AgentMoment]{
		{"at", func(x admin.AgentMoment) string { return day(x.At) }}, {"event", func(x admin.AgentMoment) string { return x.Event }},
		{"detail", func(x admin.AgentMoment) string { return x.Detail }}})
}

type agentDrain struct{ agentName }

func (c agentDrain) Run(ctx context.Context, t *terminal) error {
	return call[admin.Agent](ctx, t, c.apiFlags, http.MethodPost, c.path("agents", c.Agent, "drain"), nil, "")
}

type agentResume struct{ agentName }

func (c agentResume) Run(ctx context.Context, t *terminal) error {
	return call[admin.Agent](ctx, t, c.apiFlags, http.MethodPost, c.path("agents", c.Agent, "resume"), nil, "")
}

type agentRenew struct {
	tenantFlags
	Agent  string        `arg:"" optional:"" help:"Agent, by name or id."`
	All    bool          `help:"All agents of the tenant."`
	Spread time.Duration `default:"10m" help:"With --all: each begins at a moment of its own within this time."`
}

func (c agentRenew) Run(ctx context.Context, t *terminal) error {
	switch {
	case c.All == (c.Agent != ""):
		return &usageError{errors.New("name one agent, or give --all")}
	case c.All:
		return call[admin.RenewOrder](ctx, t, c.apiFlags, http.MethodPost, c.path("agents", "renew"), admin.RenewInput{SpreadSeconds: int(c.Spread.Seconds())}, "")
	}
	return call[admin.RenewOrder](ctx, t, c.apiFlags, http.MethodPost, c.path("agents", c.Agent, "renew"), admin.RenewInput{}, "")
}

type agentRelease struct {
	agentName
	File string `placeholder:"FILE" help:"Write the token into this file (mode 0600) instead of showing it."`
}

// Help is shown by --help.
func (agentRelease) Help() string {
	return `Until the token is used, nothing changes. On the genuine host:
  sallyport-agent register --again --token-file FILE`
}

func (c agentRelease) Run(ctx context.Context, t *terminal) error {
	return callSecret(ctx, t, c.apiFlags, c.File, http.MethodPost, c.path("agents", c.Agent, "release"), nil, func(x *admin.AgentToken) *string { return &x.Secret })
}

type agentRevoke struct {
	agentName
	Reason string `required:"" help:"Why; the agent is told."`
}

func (c agentRevoke) Run(ctx context.Context, t *terminal) error {
	return call[admin.Agent](ctx, t, c.apiFlags, http.MethodPost, c.path("agents", c.Agent, "revoke"), admin.RevokeInput{Reason: c.Reason}, "")
}

type agentRemove struct{ agentName }

func (c agentRemove) Run(ctx context.Context, t *terminal) error {
	return call[struct{}](ctx, t, c.apiFlags, http.MethodDelete, c.path("agents", c.Agent), nil, "Agent removed.")
}

type tokenCommand struct {
	Create tokenCreate `cmd:"" help:"Make a token for registering agents; its secret is shown once."`
	List   tokenList   `cmd:"" help:"List tokens."`
	Remove tokenRemove `cmd:"" help:"Remove a token."`
}

type tokenCreate struct {
	tenantFlags
	Directory string        `required:"" help:"Directory the agents will speak for, by name or id."`
	Uses      int           `default:"1" help:"How many agents may register with it."`
	Life      time.Duration `default:"24h" help:"How long it can be used."`
	Note      string        `help:"What it is for."`
	Host      string        `placeholder:"PATTERN" help:"Only for hosts whose name fits, such as dc*.corp.example. The name is the host's own word."`
	Network   []string      `placeholder:"CIDR" help:"Only from this address or network, as the service sees it. May be repeated."`
	File      string        `placeholder:"FILE" help:"Write the secret into this file (mode 0600) instead of showing it."`
}

func (c tokenCreate) Run(ctx context.Context, t *terminal) error {
	return callSecret(ctx, t, c.apiFlags, c.File, http.MethodPost, c.path("agent-tokens"), admin.AgentTokenInput{Directory: c.Directory, Uses: c.Uses,
		LifeSeconds: int(c.Life.Seconds()), Note: c.Note, Host: c.Host, Networks: c.Network}, func(x *admin.AgentToken) *string { return &x.Secret })
}

type tokenList struct{ tenantFlags }

func (c tokenList) Run(ctx context.Context, t *terminal) error {
	directories, err := c.directories(ctx)
	if err != nil {
		return err
	}
	return list(ctx, t, c.apiFlags, c.path("agent-tokens"), []column[admin.AgentToken]{
		{"id", func(x admin.AgentToken) string { return x.ID }}, {"directory", func(x admin.AgentToken) string { return directories[x.Directory] }},
		{"uses left", func(x admin.AgentToken) string { return fmt.Sprint(x.UsesLeft) }},
		{"expires", func(x admin.AgentToken) string { return day(x.Expires) }},
		{"hosts", func(x admin.AgentToken) string { return cmp.Or(x.Host, "any") }}, {"networks", func(x admin.AgentToken) string { return cmp.Or(strings.Join(x.Networks, " "), "any") }},
		{"note", func(x admin.AgentToken) string { return x.Note }}})
}

type tokenRemove struct {
	tenantFlags
	Token string `arg:"" help:"Token, by id."`
}

func (c tokenRemove) Run(ctx context.Context, t *terminal) error {
	return call[struct{}](ctx, t, c.apiFlags, http.MethodDelete, c.path("agent-tokens", c.Token), nil, "Token removed.")
}

// adminTokenCommand is about tokens for the admin API itself.
type adminTokenCommand struct {
	Create adminTokenCreate `cmd:"" help:"Make a token for the admin API; its secret is shown once."`
	List   adminTokenList   `cmd:"" help:"List tokens for the admin API."`
	Remove adminTokenRemove `cmd:"" help:"End a token for the admin API."`
	Renew  adminTokenRenew  `cmd:"" help:"On the service's host: replace the token in the data folder, also when it has expired or was lost."`
}

type adminTokenCreate struct {
	apiFlags
	secretFile
	Tenant string        `short:"t" help:"Tenant that it is good for, by name or id (default: the whole installation)."`
	Life   time.Duration `default:"8760h" help:"How long it can be used."`
	Note   string        `help:"What it is for."`
}

func (c adminTokenCreate) Run(ctx context.Context, t *terminal) error {
	return callSecret(ctx, t, c.apiFlags, c.SecretFile, http.MethodPost, admin.Path("admin-tokens"), admin.AdminTokenInput{Tenant: c.Tenant,
		LifeSeconds: int(c.Life.Seconds()), Note: c.Note}, func(x *admin.AdminToken) *string { return &x.Secret })
}

type adminTokenList struct{ apiFlags }

func (c adminTokenList) Run(ctx context.Context, t *terminal) error {
	return list(ctx, t, c.apiFlags, admin.Path("admin-tokens"), []column[admin.AdminToken]{
		{"id", func(x admin.AdminToken) string { return x.ID }}, {"tenant", func(x admin.AdminToken) string { return cmp.Or(x.Tenant, "all") }},
		{"expires", func(x admin.AdminToken) string { return day(x.Expires) }}, {"note", func(x admin.AdminToken) string { return x.Note }}})
}

type adminTokenRemove struct {
	apiFlags
	Token string `arg:"" help:"Token, by id."`
}

func (c adminTokenRemove) Run(ctx context.Context, t *terminal) error {
	return call[struct{}](ctx, t, c.apiFlags, http.MethodDelete, admin.Path("admin-tokens", c.Token), nil, "Token ended.")
}

type adminTokenRenew struct{ settingsFlags }

// Run works on the store, so it needs neither a token nor a running service.
func (c adminTokenRenew) Run(ctx context.Context, t *terminal) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	name, err := service.RenewToken(ctx, s.Config, logger(s.Config.Log, t.err))
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "New token in %s; the one before it has ended.\n", name)
	return nil
}
