package admin

import (
	"context"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/tenant"
)

func agentKeysJSON(k tenant.AgentKeys) AgentKeys { return AgentKeys{Require: string(k)} }

func (a *API) showAgentKeys(ctx context.Context, r *request) (int, any, error) {
	k, err := a.cfg.Tenants.AgentKeys(ctx, r.scope)
	return shown(http.StatusOK, k, err, agentKeysJSON)
}

func (a *API) setAgentKeys(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[AgentKeys](r)
	if err != nil {
		return 0, nil, err
	}
	k, err := a.cfg.Tenants.SetAgentKeys(ctx, r.scope, tenant.AgentKeys(in.Require), r.now)
	return shown(http.StatusOK, k, err, agentKeysJSON)
}
