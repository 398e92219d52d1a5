package admin

import (
	"context"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/tenant"
)

func verificationJSON(v tenant.Verification) Verification {
	groups := v.Groups
	if groups == nil {
		groups = []string{}
	}
	return Verification{Administrators: v.Administrators, Groups: groups, Percent: v.Percent, LetInAlone: v.LetInAlone}
}

func (a *API) showVerification(ctx context.Context, r *request) (int, any, error) {
	v, err := a.cfg.Tenants.Verification(ctx, r.scope)
	return shown(http.StatusOK, v, err, verificationJSON)
}

// setVerification replaces the whole policy: a part that was forgotten must not stay by accident.
func (a *API) setVerification(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[Verification](r)
	if err != nil {
		return 0, nil, err
	}
	v, err := a.cfg.Tenants.SetVerification(ctx, r.scope, tenant.Verification{Administrators: in.Administrators, Groups: in.Groups,
		Percent: in.Percent, LetInAlone: in.LetInAlone}, r.now)
	return shown(http.StatusOK, v, err, verificationJSON)
}
