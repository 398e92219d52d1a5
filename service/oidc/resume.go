package oidc

import (
	"errors"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// resume takes a browser that comes back from its journey, and sends it to the application with a code. The request row is
// removed in the transaction that stores the code: a request is answered once.
func (p *Provider) resume(w http.ResponseWriter, r *http.Request, c *call) error {
	ctx, now := r.Context(), p.now()
	params, err := parseParameters(r.URL.RawQuery, maxQueryBytes)
	if err != nil || len(params.repeated) > 0 {
		return fault.Wrap(wire.BadRequest, "return from a journey", err)
	}
	stored, err := findRequest(ctx, p.db, c.tenant.Scope(), r.PathValue("request"))
	if errors.Is(err, errNoRow) {
		return fault.New(wire.JourneyUnknown, "no such authorization request, or it was answered before")
	}
	if err != nil {
		return err
	}
	c.app = stored.AppID
	if !stored.Expires.After(now) {
		return fault.New(wire.JourneyUnknown, "the authorization request has expired")
	}
	// Both may have changed while the person typed.
	if _, err := p.knownRedirect(ctx, c, parameters{values: map[string]string{"client_id": stored.AppID,
		"redirect_uri": stored.Request.RedirectURI}}); err != nil {
		return err
	}
	who, err := p.signin.Finish(r, c.tenant, params.get("journey"))
	if fault.Has(err, wire.JourneyUnknown) {
		return err // a page: this browser has no part in the request, so it must not answer it either
	}
	if err != nil {
		return p.sendError(w, r, c, stored.Request, asProtocolError(err))
	}
	// The processes' clocks may differ by a little; the journey itself was asked to be fresh.
	if !freshEnough(who.At, stored.Created.Add(-clockTolerance), stored.Request.MaxAge) {
		return p.sendError(w, r, c, stored.Request, loginRequired("The sign-in is older than max_age allows."))
	}
	if s := stored.Request.Claims.Subject; s != "" && s != who.User.ID {
		// OpenID Connect Core §3.1.2.2: never a positive answer for another user than the requested one.
		return p.sendError(w, r, c, stored.Request, loginRequired("Another user has signed in."))
	}
	var location string
	err = p.db.Write(ctx, func(tx db.Querier) error {
		was, err := deleteRequest(ctx, tx, c.tenant.Scope(), stored.ID)
		if err != nil {
			return err
		}
		if !was {
			return fault.New(wire.JourneyUnknown, "the authorization request was answered before")
		}
		location, err = p.issueCode(ctx, tx, c, stored.Request, who, now)
		return err
	})
	if fault.Has(err, wire.JourneyUnknown) {
		return err
	}
	if err != nil {
		return p.sendError(w, r, c, stored.Request, asProtocolError(err))
	}
	redirect(w, location)
	return nil
}
