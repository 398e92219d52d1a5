package admin

import (
	"context"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

func (a *API) tenantJSON(t tenant.Tenant) Tenant {
	return Tenant{ID: t.ID, Name: t.Name, DisplayName: t.DisplayName, Color: t.Color,
		Issuer: a.cfg.PublicURL + "/t/" + t.Name, Created: t.Created.UTC(), Changed: t.Changed.UTC()}
}

func (a *API) listTenants(ctx context.Context, r *request) (int, any, error) {
	after, limit, err := r.window()
	if err != nil {
		return 0, nil, err
	}
	rows, err := a.cfg.Tenants.Tenants(ctx, after, limit)
	if err != nil {
		return 0, nil, err
	}
	return page(rows, limit, a.tenantJSON, func(t tenant.Tenant) string { return t.ID })
}

func (a *API) createTenant(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[TenantInput](r)
	if err != nil {
		return 0, nil, err
	}
	t, err := a.cfg.Tenants.CreateTenant(ctx, tenant.NewTenant{Name: in.Name, DisplayName: value(in.DisplayName, in.Name), Color: value(in.Color, "")}, r.now)
	return shown(http.StatusCreated, t, err, a.tenantJSON)
}

func (a *API) showTenant(_ context.Context, r *request) (int, any, error) {
	return shown(http.StatusOK, r.tenant, nil, a.tenantJSON)
}

func (a *API) changeTenant(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[TenantInput](r)
	if err != nil {
		return 0, nil, err
	}
	if in.Name != "" {
		return 0, nil, fault.New(wire.BadRequest, "a tenant's name cannot change: it is part of its issuer address")
	}
	t, err := a.cfg.Tenants.ChangeTenant(ctx, r.scope, tenant.TenantChange{DisplayName: in.DisplayName, Color: in.Color}, r.now)
	return shown(http.StatusOK, t, err, a.tenantJSON)
}

func (a *API) removeTenant(ctx context.Context, r *request) (int, any, error) {
	if r.caller.tenant != "" {
		return 0, nil, fault.New(wire.Forbidden, "removing a tenant needs a token that is good for the whole installation")
	}
	if err := a.cfg.Tenants.RemoveTenant(ctx, r.scope); err != nil {
		return 0, nil, err
	}
	a.announce(r, "") // all its agents
	return done(a.endTokensOf(ctx, r.tenant.ID))
}

func (a *API) rotateKey(ctx context.Context, r *request) (int, any, error) {
	return done(a.cfg.Keys.Rotate(ctx, r.scope, r.PathValue("algorithm"), r.now))
}

// replaceKey is for a key that is known or feared to be stolen.
func (a *API) replaceKey(ctx context.Context, r *request) (int, any, error) {
	return done(a.cfg.Keys.Replace(ctx, r.scope, r.PathValue("algorithm"), r.now))
}

func directoryJSON(d tenant.Directory) Directory {
	return Directory{ID: d.ID, Name: d.Name, Evaluation: d.Evaluation, Created: d.Created.UTC(), Changed: d.Changed.UTC()}
}

// findDirectory finds a directory by name, else by id.
func (a *API) findDirectory(ctx context.Context, s tenant.Scope, nameOrID string) (tenant.Directory, error) {
	d, err := a.cfg.Tenants.DirectoryByName(ctx, s, nameOrID)
	if missing(err) {
		d, err = a.cfg.Tenants.Directory(ctx, s, nameOrID)
	}
	if missing(err) {
		return d, fault.Newf(wire.NotFound, "no directory %q", nameOrID)
	}
	return d, err
}

func (a *API) listDirectories(ctx context.Context, r *request) (int, any, error) {
	rows, err := a.cfg.Tenants.Directories(ctx, r.scope)
	if err != nil {
		return 0, nil, err
	}
	return whole(rows, directoryJSON)
}

func (a *API) createDirectory(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[DirectoryInput](r)
	if err != nil {
		return 0, nil, err
	}
	d, err := a.cfg.Tenants.CreateDirectory(ctx, r.scope, in.Name, in.Evaluation, r.now)
	return shown(http.StatusCreated, d, err, directoryJSON)
}

func (a *API) showDirectory(ctx context.Context, r *request) (int, any, error) {
	d, err := a.findDirectory(ctx, r.scope, r.PathValue("directory"))
	if err != nil {
		return 0, nil, err
	}
	out := directoryJSON(d)
	agents, err := a.cfg.Fleet.List(ctx, r.scope, "", 0)
	if err != nil {
		return 0, nil, err
	}
	healths, err := a.cfg.Fleet.Healths(ctx, r.scope)
	if err != nil {
		return 0, nil, err
	}
	var reports []*fleet.GuardReport
	for _, x := range agents {
		// What an agent read that is shut out or long gone says nothing of the directory as it is.
		if h := healths[x.ID]; x.DirectoryID == d.ID && x.State == fleet.Active && r.now.Sub(h.Reported) < policyHolds {
			reports = append(reports, h.Report.Guard)
		}
	}
	out.Lockout = policyJSON(strictest(reports), a.cfg.Lockout.Policy().Threshold)
	return http.StatusOK, out, nil
}

func (a *API) renameDirectory(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[DirectoryInput](r)
	if err != nil {
		return 0, nil, err
	}
	d, err := a.findDirectory(ctx, r.scope, r.PathValue("directory"))
	if err != nil {
		return 0, nil, err
	}
	if in.Evaluation && !d.Evaluation {
		return 0, nil, fault.New(wire.BadRequest, "whether a directory is for evaluation is fixed when it is made")
	}
	d, err = a.cfg.Tenants.RenameDirectory(ctx, r.scope, d.ID, in.Name, r.now)
	return shown(http.StatusOK, d, err, directoryJSON)
}

func (a *API) removeDirectory(ctx context.Context, r *request) (int, any, error) {
	d, err := a.findDirectory(ctx, r.scope, r.PathValue("directory"))
	if err != nil {
		return 0, nil, err
	}
	return done(a.cfg.Tenants.RemoveDirectory(ctx, r.scope, d.ID, r.now))
}

func proofJSON(p fleet.Pin) DirectoryProof {
	return DirectoryProof{NamingContext: p.NamingContext, Forest: p.Forest, DomainGUID: p.GUID, DomainSID: p.SID, DC: p.DC, Agent: p.Agent, Since: p.Since.UTC()}
}

func (a *API) showProof(ctx context.Context, r *request) (int, any, error) {
	d, err := a.findDirectory(ctx, r.scope, r.PathValue("directory"))
	if err != nil {
		return 0, nil, err
	}
	pin, known, err := a.cfg.Fleet.PinOf(ctx, r.scope, d.ID)
	if err == nil && !known {
		err = fault.New(wire.NotFound, "no agent has shown yet which domain this directory is")
	}
	return shown(http.StatusOK, pin, err, proofJSON)
}

func (a *API) unpinDirectory(ctx context.Context, r *request) (int, any, error) {
	d, err := a.findDirectory(ctx, r.scope, r.PathValue("directory"))
	if err != nil {
		return 0, nil, err
	}
	return done(a.cfg.Fleet.Unpin(ctx, r.scope, d.ID, r.now))
}

func domainJSON(d tenant.Domain) Domain {
	return Domain{Name: d.Name, Kind: string(d.Kind), Directory: d.DirectoryID, AdmitUsers: d.AdmitUsers, SignInAttribute: d.SignInAttribute, NetBIOSName: d.NetBIOSName,
		Created: d.Created.UTC(), Changed: d.Changed.UTC()}
}

func (a *API) listDomains(ctx context.Context, r *request) (int, any, error) {
	rows, err := a.cfg.Tenants.Domains(ctx, r.scope)
	if err != nil {
		return 0, nil, err
	}
	return whole(rows, domainJSON)
}

func (a *API) createDomain(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[DomainInput](r)
	if err != nil {
		return 0, nil, err
	}
	d := tenant.Domain{Name: in.Name, Kind: tenant.Kind(value(in.Kind, string(tenant.PassThrough))),
		SignInAttribute: value(in.SignInAttribute, ""), NetBIOSName: value(in.NetBIOSName, "")}
	d.AdmitUsers = value(in.AdmitUsers, d.Kind == tenant.PassThrough)
	if in.Directory != nil && *in.Directory != "" {
		dir, err := a.findDirectory(ctx, r.scope, *in.Directory)
		if err != nil {
			return 0, nil, err
		}
		d.DirectoryID = dir.ID
	}
	d, err = a.cfg.Tenants.CreateDomain(ctx, r.scope, d, r.now)
	return shown(http.StatusCreated, d, err, domainJSON)
}

func (a *API) showDomain(ctx context.Context, r *request) (int, any, error) {
	d, err := a.cfg.Tenants.Domain(ctx, r.scope, r.PathValue("domain"))
	return shown(http.StatusOK, d, err, domainJSON)
}

func (a *API) changeDomain(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[DomainInput](r)
	if err != nil {
		return 0, nil, err
	}
	if in.Name != "" {
		return 0, nil, fault.New(wire.BadRequest, "a domain's name cannot change; remove it and create another")
	}
	change := tenant.DomainChange{AdmitUsers: in.AdmitUsers, SignInAttribute: in.SignInAttribute, NetBIOSName: in.NetBIOSName}
	if in.Kind != nil {
		kind := tenant.Kind(*in.Kind)
		change.Kind = &kind
	}
	if in.Directory != nil {
		var id string
		if *in.Directory != "" {
			dir, err := a.findDirectory(ctx, r.scope, *in.Directory)
			if err != nil {
				return 0, nil, err
			}
			id = dir.ID
		}
		change.DirectoryID = &id
	}
	d, err := a.cfg.Tenants.ChangeDomain(ctx, r.scope, r.PathValue("domain"), change, r.now)
	return shown(http.StatusOK, d, err, domainJSON)
}

func (a *API) removeDomain(ctx context.Context, r *request) (int, any, error) {
	return done(a.cfg.Tenants.RemoveDomain(ctx, r.scope, r.PathValue("domain"), r.now))
}

// value returns what p points to, or otherwise.
func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
