package admin

import (
	"context"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/canary"
)

func canaryJSON(c canary.Canary) Canary {
	return Canary{Names: c.Names, HasPassword: c.HasPassword, Changed: c.Changed.UTC()}
}

func (a *API) showCanary(ctx context.Context, r *request) (int, any, error) {
	d, err := a.findDirectory(ctx, r.scope, r.PathValue("directory"))
	if err != nil {
		return 0, nil, err
	}
	c, err := a.cfg.Canaries.Get(ctx, r.scope, d.ID)
	return shown(http.StatusOK, c, err, canaryJSON)
}

// setCanary replaces the whole: a password that belonged to other names must not stay by accident.
func (a *API) setCanary(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[struct {
		Names    []string    `json:"names"`
		Password secretInput `json:"password"`
	}](r)
	if err != nil {
		return 0, nil, err
	}
	defer in.Password.Wipe()
	d, err := a.findDirectory(ctx, r.scope, r.PathValue("directory"))
	if err != nil {
		return 0, nil, err
	}
	c, err := a.cfg.Canaries.Set(ctx, r.scope, d.ID, in.Names, in.Password.Secret, r.now)
	return shown(http.StatusOK, c, err, canaryJSON)
}

func (a *API) removeCanary(ctx context.Context, r *request) (int, any, error) {
	d, err := a.findDirectory(ctx, r.scope, r.PathValue("directory"))
	if err != nil {
		return 0, nil, err
	}
	return done(a.cfg.Canaries.Remove(ctx, r.scope, d.ID, r.now))
}
