package oidc

import (
	"errors"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/db"
)

// revoke ends a token at its client's wish (RFC 7009 §2). A refresh token takes its whole family with it, an access token only
// itself. token_type_hint is not needed: both kinds are looked up by their hash.
func (p *Provider) revoke(w http.ResponseWriter, r *http.Request, c *call) error {
	params, refused := readForm(w, r)
	if refused != nil {
		return refused
	}
	a, err := p.authenticate(r, c, params)
	if err != nil {
		return err
	}
	token := params.get("token")
	if token == "" {
		return invalidRequest("The parameter token is missing.")
	}
	if isSecret(token) {
		if err := p.revokeToken(r, c, a.ID, token); err != nil {
			return err
		}
	}
	// RFC 7009 §2.2: 200 for an unknown token too, as its purpose is reached.
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// revokeToken revokes a refresh or access token of the app; that of another app is refused (RFC 7009 §2.1).
func (p *Provider) revokeToken(r *http.Request, c *call, appID, token string) error {
	ctx, scope, now := r.Context(), c.tenant.Scope(), p.now()
	var grantID string
	refresh, err := findRefresh(ctx, p.db.Reader(), scope, token)
	isRefresh := err == nil
	switch {
	case isRefresh:
		grantID = refresh.GrantID
	case !errors.Is(err, errNoRow):
		return err
	default:
		access, err := findAccess(ctx, p.db.Reader(), scope, token)
		if errors.Is(err, errNoRow) {
			return nil
		}
		if err != nil {
			return err
		}
		grantID = access.GrantID
	}
	g, err := findGrant(ctx, p.db.Reader(), scope, grantID)
	if errors.Is(err, errNoRow) {
		return nil // swept in between: gone, as was wanted
	}
	if err != nil {
		return err
	}
	if g.AppID != appID {
		return invalidGrant("The token was issued to another client.").because(errForeign)
	}
	return p.db.Write(ctx, func(tx db.Querier) error {
		if isRefresh {
			return revokeGrant(ctx, tx, scope, g.ID, now)
		}
		return deleteAccess(ctx, tx, scope, token)
	})
}
