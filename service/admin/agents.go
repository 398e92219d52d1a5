package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// agentView returns how an agent of the caller's tenant is shown, knowing which are connected now what is demanded of
// their keys, and how they do.
func (a *API) agentView(ctx context.Context, r *request) (func(fleet.Agent) Agent, error) {
	healths, err := a.cfg.Fleet.Healths(ctx, r.scope)
	if err != nil {
		return nil, err
	}
	demand, err := a.cfg.Tenants.AgentKeys(ctx, r.scope)
	if err != nil {
		return nil, err
	}
	var attached []string
	if a.cfg.Attached != nil {
		attached = a.cfg.Attached(r.scope)
	}
	return func(x fleet.Agent) Agent {
		connected := slices.Contains(attached, x.ID) ||
			a.cfg.Elsewhere && (x.State == fleet.Active || x.State == fleet.Drained) && r.now.Sub(x.LastSeen) < seenAgo
		out := Agent{ID: x.ID, Name: x.Name, Directory: x.DirectoryID, Host: x.Host, OS: x.OS, Version: x.Version,
			State: string(x.State), Connected: connected, KeyID: x.Key.ID(),
			StateReason: x.StateReason, KeyStore: x.KeyStore, KeyStoreRefused: !demand.Allows(x.KeyStore), Renewed: x.Renewed, Renewing: x.Renewing, RenewAfter: x.RenewAfter,
			ClockSkewMS:       x.Skew.Milliseconds(),
			CertificateSerial: x.CertificateSerial, CertificateNotAfter: x.CertificateNotAfter.UTC(), Address: x.Address,
			LastSeen: x.LastSeen, RevokedAt: x.RevokedAt, RevokedReason: x.RevokedReason, Created: x.Created.UTC()}
		h := healths[x.ID]
		condition, reason := fleet.Judge(h.Of(x), r.now)
		out.Condition, out.ConditionReason, out.ConditionSince = string(condition), reason, h.Since
		if !h.Reported.IsZero() {
			out.Health = healthJSON(h, a.cfg.Lockout.Policy().Threshold)
		}
		if p := h.Probe; !p.At.IsZero() {
			out.Probe = &AgentProbe{At: p.At.UTC(), Micros: p.Took.Microseconds(), Code: p.Code, Detail: p.Detail}
		}
		return out
	}, nil
}

func healthJSON(h fleet.Health, threshold int) *AgentHealth {
	out := &AgentHealth{At: h.Reported.UTC(), UptimeSeconds: h.Report.UptimeMS / 1000, Slots: h.Report.Slots, InFlight: h.Report.InFlight,
		LastError: h.Report.LastError, LastErrorAt: h.Report.LastErrorAt}
	for _, d := range h.Report.Servers {
		out.Servers = append(out.Servers, DomainController{Address: d.Address, State: d.State, MedianMicrosec: d.MedianUS})
	}
	if g := h.Report.Guard; g != nil {
		out.Guard = &AgentGuard{State: g.State, Reserve: g.Reserve, Directory: policyJSON(g, threshold), Missing: g.Missing}
	}
	return out
}

// policyJSON is what an agent read of the directory's lockout policy beside the service's threshold; nil if nothing.
func policyJSON(g *fleet.GuardReport, threshold int) *DirectoryPolicy {
	if g == nil || !g.Known {
		return nil
	}
	return &DirectoryPolicy{Threshold: g.Threshold, WindowSeconds: g.WindowMS / 1000, DurationSeconds: g.DurationMS / 1000, Strictest: g.Strictest,
		StrictestOf: g.StrictestOf, Objects: g.Objects, ServiceThreshold: threshold, Warning: g.Misordered(threshold)}
}

// strictest returns the report that locks after the fewest wrong passwords; nil if none tells.
func strictest(reports []*fleet.GuardReport) (least *fleet.GuardReport) {
	for _, g := range reports {
		if g != nil && g.Known && (least == nil || g.Strictest > 0 && (least.Strictest == 0 || g.Strictest < least.Strictest)) {
			least = g
		}
	}
	return least
}

// shownAgent answers with one agent.
func (a *API) shownAgent(ctx context.Context, r *request, x fleet.Agent, err error) (int, any, error) {
	if err != nil {
		return 0, nil, err
	}
	view, err := a.agentView(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	out := view(x)
	vouched, err := a.cfg.Fleet.Voucher(ctx, r.scope, x.ID)
	out.Fingerprint, out.VouchedBy = vouched.Fingerprint, vouched.By.Name
	return http.StatusOK, out, err
}

// findAgent finds an agent by id, else by its name, which is unique within the tenant.
func (a *API) findAgent(ctx context.Context, r *request) (fleet.Agent, error) {
	wanted := r.PathValue("agent")
	x, err := a.cfg.Fleet.ByID(ctx, r.scope, wanted)
	if missing(err) {
		x, err = a.cfg.Fleet.ByName(ctx, r.scope, wanted)
	}
	if missing(err) {
		return x, fault.Newf(wire.NotFound, "no agent %q", wanted)
	}
	return x, err
}

// announce tells every gateway that an agent's standing has changed. A failure is logged only: gateways look for themselves
// every second.
func (a *API) announce(r *request, agent string) {
	if a.cfg.Queue == nil {
		return
	}
	if err := a.cfg.Queue.Announce(queue.Change{Tenant: r.tenant.ID, Agent: agent}); err != nil {
		a.cfg.Logger.Warn("fleet change not announced", "agent", agent, "error", err)
	}
}

func (a *API) listAgents(ctx context.Context, r *request) (int, any, error) {
	after, limit, err := r.window()
	if err != nil {
		return 0, nil, err
	}
	// Those that nobody has heard of for long stay in the record and out of the way.
	since := r.now.Add(-fleet.ForgetAfter)
	if s := r.URL.Query().Get("all"); s != "" {
		all, err := strconv.ParseBool(s)
		if err != nil {
			return 0, nil, fault.New(wire.BadRequest, "all must be true or false")
		}
		if all {
			since = time.Time{}
		}
	}
	rows, err := a.cfg.Fleet.ListHeard(ctx, r.scope, since, after, limit)
	if err != nil {
		return 0, nil, err
	}
	view, err := a.agentView(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	return page(rows, limit, view, func(x fleet.Agent) string { return x.ID })
}

func (a *API) showAgent(ctx context.Context, r *request) (int, any, error) {
	x, err := a.findAgent(ctx, r)
	return a.shownAgent(ctx, r, x, err)
}

func (a *API) renameAgent(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[AgentInput](r)
	if err != nil {
		return 0, nil, err
	}
	x, err := a.findAgent(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	x, err = a.cfg.Fleet.Rename(ctx, r.scope, x.ID, in.Name, r.now)
	return a.shownAgent(ctx, r, x, err)
}

func (a *API) revokeAgent(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[RevokeInput](r)
	if err != nil {
		return 0, nil, err
	}
	x, err := a.findAgent(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	if err := a.cfg.Fleet.Revoke(ctx, r.scope, x.ID, in.Reason, r.now); err != nil {
		return 0, nil, err
	}
	a.announce(r, x.ID)
	x, err = a.cfg.Fleet.ByID(ctx, r.scope, x.ID)
	return a.shownAgent(ctx, r, x, err)
}

func (a *API) drainAgent(ctx context.Context, r *request) (int, any, error) {
	return a.turnAgent(ctx, r, a.cfg.Fleet.Drain)
}

func (a *API) resumeAgent(ctx context.Context, r *request) (int, any, error) {
	return a.turnAgent(ctx, r, a.cfg.Fleet.Resume)
}

// turnAgent changes an agent's state and tells the gateways.
func (a *API) turnAgent(ctx context.Context, r *request, turn func(context.Context, tenant.Scope, string, time.Time) (fleet.Agent, error)) (int, any, error) {
	x, err := a.findAgent(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	x, err = turn(ctx, r.scope, x.ID, r.now)
	if err == nil {
		a.announce(r, x.ID)
	}
	return a.shownAgent(ctx, r, x, err)
}

func (a *API) releaseAgent(ctx context.Context, r *request) (int, any, error) {
	x, err := a.findAgent(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	t, secret, err := a.cfg.Fleet.Release(ctx, r.scope, x.ID, r.caller.actor(), r.now)
	return shown(http.StatusCreated, t, err, func(t fleet.Token) AgentToken {
		out := tokenJSON(t)
		out.Secret = secret
		return out
	})
}

func (a *API) renewAgent(ctx context.Context, r *request) (int, any, error) {
	x, err := a.findAgent(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	return a.orderRenewal(ctx, r, x.ID)
}

func (a *API) renewAgents(ctx context.Context, r *request) (int, any, error) {
	return a.orderRenewal(ctx, r, "")
}

func (a *API) orderRenewal(ctx context.Context, r *request, agent string) (int, any, error) {
	in, err := decode[RenewInput](r)
	if err != nil {
		return 0, nil, err
	}
	n, err := a.cfg.Fleet.OrderRenewal(ctx, r.scope, agent, time.Duration(in.SpreadSeconds)*time.Second, r.now)
	if err != nil {
		return 0, nil, err
	}
	a.announce(r, agent)
	return http.StatusOK, RenewOrder{Ordered: n}, nil
}

func (a *API) agentHistory(ctx context.Context, r *request) (int, any, error) {
	x, err := a.findAgent(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	rows, err := a.cfg.Fleet.History(ctx, r.scope, x.ID)
	if err != nil {
		return 0, nil, err
	}
	return whole(rows, func(m fleet.Moment) AgentMoment { return AgentMoment{At: m.At, Event: m.Event, Detail: m.Detail} })
}

func (a *API) removeAgent(ctx context.Context, r *request) (int, any, error) {
	x, err := a.findAgent(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	if err := a.cfg.Fleet.Remove(ctx, r.scope, x.ID, r.now); err != nil {
		return 0, nil, err
	}
	a.announce(r, x.ID)
	return done(nil)
}

func tokenJSON(t fleet.Token) AgentToken {
	return AgentToken{ID: t.ID, Directory: t.DirectoryID, Note: t.Note, UsesLeft: t.UsesLeft, Expires: t.Expires.UTC(), Created: t.Created.UTC(),
		Host: t.Hosts, Networks: t.Networks}
}

func (a *API) listTokens(ctx context.Context, r *request) (int, any, error) {
	rows, err := a.cfg.Fleet.Tokens(ctx, r.scope)
	if err != nil {
		return 0, nil, err
	}
	return whole(rows, tokenJSON)
}

func (a *API) createToken(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[AgentTokenInput](r)
	if err != nil {
		return 0, nil, err
	}
	life, err := seconds(in.LifeSeconds, enrolTokenLife, maxEnrolTokenLife)
	if err != nil {
		return 0, nil, err
	}
	d, err := a.findDirectory(ctx, r.scope, in.Directory)
	if err != nil {
		return 0, nil, err
	}
	t, secret, err := a.cfg.Fleet.CreateToken(ctx, r.scope, fleet.NewToken{DirectoryID: d.ID, Note: in.Note, Uses: in.Uses, Life: life,
		Hosts: in.Host, Networks: in.Networks, By: r.caller.actor()}, r.now)
	return shown(http.StatusCreated, t, err, func(t fleet.Token) AgentToken {
		out := tokenJSON(t)
		out.Secret = secret
		return out
	})
}

func (a *API) removeToken(ctx context.Context, r *request) (int, any, error) {
	return done(a.cfg.Fleet.RemoveToken(ctx, r.scope, r.PathValue("token"), r.now))
}

func signInJSON(s audit.SignIn) SignIn {
	out := SignIn{ID: s.ID, At: s.At.UTC(), Trace: s.Trace, Name: s.TypedName, NameForm: s.NameForm, User: s.Person, App: s.App,
		Address: s.Address, Outcome: s.Outcome, Code: s.Code, Reason: s.Reason, Diagnostic: s.Diagnostic,
		Directory: s.Directory, Agent: s.Agent, Gateway: s.Gateway, DC: s.DC}
	for _, stop := range s.Stops {
		out.Stops = append(out.Stops, Stop{Name: stop.Name, Micros: stop.At.Microseconds()})
	}
	return out
}

func (a *API) listSignIns(ctx context.Context, r *request) (int, any, error) {
	q := r.URL.Query()
	_, limit, err := r.window()
	if err != nil {
		return 0, nil, err
	}
	f := audit.Filter{Trace: q.Get("trace"), TypedName: q.Get("name"), Limit: limit}
	if s := q.Get("since"); s != "" {
		if f.Since, err = time.Parse(time.RFC3339, s); err != nil {
			return 0, nil, fault.New(wire.BadRequest, "since must be a time as in RFC 3339")
		}
	}
	if s := q.Get("user"); s != "" {
		u, err := a.findUser(ctx, r.scope, s)
		if err != nil {
			return 0, nil, err
		}
		f.Person = u.ID
	}
	rows, err := a.cfg.Audit.List(ctx, r.scope, f)
	if err != nil {
		return 0, nil, err
	}
	names := map[string]string{"": ""}
	for _, s := range rows {
		if _, known := names[s.Agent]; known {
			continue
		}
		x, err := a.cfg.Fleet.ByID(ctx, r.scope, s.Agent)
		if err != nil && !missing(err) {
			return 0, nil, err
		}
		names[s.Agent] = x.Name
	}
	return whole(rows, func(s audit.SignIn) SignIn {
		out := signInJSON(s)
		out.AgentName = names[s.Agent]
		return out
	})
}
