package oidc

import (
	"errors"
	"net/http"
	"slices"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// userInfo tells about the user of an access token (OpenID Connect Core §5.3), as known now.
func (p *Provider) userInfo(w http.ResponseWriter, r *http.Request, c *call) error {
	token, refused := bearer(w, r)
	if refused != nil {
		return refused
	}
	if token == "" {
		// RFC 6750 §3.1: a request without any credentials is told the scheme and nothing else.
		w.Header().Set("WWW-Authenticate", `Bearer realm="OpenID Connect"`)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	return p.limited(func(w http.ResponseWriter, r *http.Request, c *call) error {
		claims, err := p.claimsOf(r, c, token)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, claims)
		return nil
	})(w, r, c)
}

// claimsOf returns what an access token opens.
func (p *Provider) claimsOf(r *http.Request, c *call, token string) (map[string]any, error) {
	ctx, scope, now := r.Context(), c.tenant.Scope(), p.now()
	if !isSecret(token) {
		return nil, invalidToken(errNoSecretForm)
	}
	access, err := findAccess(ctx, p.db.Reader(), scope, token)
	if errors.Is(err, errNoRow) {
		return nil, invalidToken(err)
	}
	if err != nil {
		return nil, err
	}
	g, err := findGrant(ctx, p.db.Reader(), scope, access.GrantID)
	if err != nil {
		return nil, tokenGoneOr(err)
	}
	c.app = g.AppID
	switch {
	case !access.Expires.After(now), !g.Expires.After(now):
		return nil, invalidToken(errExpired)
	case !g.Revoked.IsZero():
		return nil, invalidToken(errRevoked)
	case !slices.Contains(access.Scope, scopeOpenID):
		e := newError("insufficient_scope", wire.Forbidden, "The access token lacks the scope openid.") // RFC 6750 §3.1
		e.status, e.challenge = http.StatusForbidden, "Bearer"
		return nil, e
	}
	a, err := p.liveApp(ctx, scope, g.AppID)
	if err != nil {
		return nil, tokenGoneOr(err)
	}
	u, err := p.liveUser(ctx, scope, g)
	if err != nil {
		return nil, tokenGoneOr(err)
	}
	set := map[string]any{}
	addClaims(set, wantedClaims(access.Scope, g.Claims.UserInfo, a), u, g)
	set["sub"] = u.ID // OpenID Connect Core §5.3.2: always, and the same as in the ID token
	return set, nil
}

// tokenGoneOr turns the end of a grant, or of its app, into the answer for access tokens, and leaves failures of ours alone.
func tokenGoneOr(err error) error {
	if grantOver(err) || fault.Has(err, wire.AppUnknown) {
		return invalidToken(err)
	}
	return err
}
