package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/notify"
	"github.com/sallyport-auth/sallyport/service/tenant"
)

// actor is the caller as the fleet remembers who vouched for an agent.
func (c caller) actor() fleet.Actor {
	return fleet.Actor{Token: c.token, Ancestors: c.ancestors, Name: "API token " + c.token}
}

func (a *API) showRegistration(ctx context.Context, r *request) (int, any, error) {
	p, err := a.cfg.Tenants.Approval(ctx, r.scope)
	return shown(http.StatusOK, p, err, func(p tenant.Approval) Registration { return Registration{Approval: string(p)} })
}

func (a *API) setRegistration(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[Registration](r)
	if err != nil {
		return 0, nil, err
	}
	if err := a.cfg.Tenants.SetApproval(ctx, r.scope, tenant.Approval(in.Approval), r.now, func(tx db.Querier) error {
		return notify.Put(ctx, tx, r.scope, notify.Event{Kind: notify.PolicyChanged, By: r.caller.actor().Name, Detail: "approval: " + in.Approval}, r.now)
	}); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, in, nil
}

func (a *API) approveAgent(ctx context.Context, r *request) (int, any, error) {
	var in ApproveInput // the body may be left out
	if r.ContentLength != 0 {
		var err error
		if in, err = decode[ApproveInput](r); err != nil {
			return 0, nil, err
		}
	}
	return a.turnAgent(ctx, r, func(ctx context.Context, s tenant.Scope, id string, now time.Time) (fleet.Agent, error) {
		return a.cfg.Fleet.Approve(ctx, s, id, in.Fingerprint, r.caller.actor(), now)
	})
}

func (a *API) denyAgent(ctx context.Context, r *request) (int, any, error) {
	return a.turnAgent(ctx, r, func(ctx context.Context, s tenant.Scope, id string, now time.Time) (fleet.Agent, error) {
		return a.cfg.Fleet.Deny(ctx, s, id, r.caller.actor(), now)
	})
}
