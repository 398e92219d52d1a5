package admin

import (
	"context"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

func appJSON(x app.App) App {
	return App{ID: x.ID, Name: x.Name, RedirectURIs: x.RedirectURIs, PostLogoutURIs: x.PostLogoutURIs, Public: x.Public,
		Algorithm: x.Algorithm, GroupClaims: x.GroupClaims, Disabled: x.Disabled, Created: x.Created.UTC(), Changed: x.Changed.UTC()}
}

func (a *API) listApps(ctx context.Context, r *request) (int, any, error) {
	after, limit, err := r.window()
	if err != nil {
		return 0, nil, err
	}
	rows, err := a.cfg.Apps.List(ctx, r.scope, after, limit)
	if err != nil {
		return 0, nil, err
	}
	return page(rows, limit, appJSON, func(x app.App) string { return x.ID })
}

func (a *API) createApp(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[AppInput](r)
	if err != nil {
		return 0, nil, err
	}
	// Before the app exists: its secret is told once, so nothing may fail after it was made. The key is published before the
	// first token is signed.
	if err := a.cfg.Keys.Prepare(ctx, r.scope, value(in.Algorithm, app.ES256), r.now); err != nil {
		return 0, nil, err
	}
	x, secret, err := a.cfg.Apps.Create(ctx, r.scope, app.New{Name: value(in.Name, ""), RedirectURIs: value(in.RedirectURIs, nil),
		PostLogoutURIs: value(in.PostLogoutURIs, nil), Public: in.Public, Algorithm: value(in.Algorithm, ""),
		GroupClaims: value(in.GroupClaims, false)}, r.now)
	return shown(http.StatusCreated, x, err, func(x app.App) App {
		out := appJSON(x)
		out.Secret = secret
		return out
	})
}

func (a *API) showApp(ctx context.Context, r *request) (int, any, error) {
	x, err := a.cfg.Apps.ByID(ctx, r.scope, r.PathValue("app"))
	return shown(http.StatusOK, x, err, appJSON)
}

func (a *API) changeApp(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[AppInput](r)
	if err != nil {
		return 0, nil, err
	}
	if in.Public {
		return 0, nil, fault.New(wire.BadRequest, "whether an application has a secret cannot change; register it anew")
	}
	if in.Algorithm != nil {
		if err := a.cfg.Keys.Prepare(ctx, r.scope, *in.Algorithm, r.now); err != nil {
			return 0, nil, err
		}
	}
	x, err := a.cfg.Apps.Change(ctx, r.scope, r.PathValue("app"), app.Change{Name: in.Name, RedirectURIs: in.RedirectURIs,
		PostLogoutURIs: in.PostLogoutURIs, Algorithm: in.Algorithm, GroupClaims: in.GroupClaims, Disabled: in.Disabled}, r.now)
	return shown(http.StatusOK, x, err, appJSON)
}

func (a *API) removeApp(ctx context.Context, r *request) (int, any, error) {
	return done(a.cfg.Apps.Remove(ctx, r.scope, r.PathValue("app")))
}

func (a *API) rotateSecret(ctx context.Context, r *request) (int, any, error) {
	secret, err := a.cfg.Apps.RotateSecret(ctx, r.scope, r.PathValue("app"), r.now)
	if err != nil {
		return 0, nil, err
	}
	x, err := a.cfg.Apps.ByID(ctx, r.scope, r.PathValue("app"))
	return shown(http.StatusOK, x, err, func(x app.App) App {
		out := appJSON(x)
		out.Secret = secret
		return out
	})
}
