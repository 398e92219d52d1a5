package oidc

import (
	"net/http"
	"slices"

	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// logoutRequest is an application's wish to sign a person out (OpenID Connect RP-Initiated Logout §2), checked.
type logoutRequest struct {
	// Return is where the browser goes afterwards: a registered post-logout address with its state, or our own page.
	Return string
	App    app.App // zero when no application was named
	// fields are the parameters, to be repeated by the confirmation's form.
	fields map[string]string
	// Hint names the sign-in that is to end; zero when none was given, or none that is genuine.
	Hint hintToken
}

// logout signs out of the browser's session at once when the ID token of that very session comes with the request, and asks the
// person otherwise: else any site could sign people out (§2, §6).
func (p *Provider) logout(w http.ResponseWriter, r *http.Request, c *call) error {
	q, err := p.readLogout(r, c, r.URL.RawQuery)
	if err != nil {
		return err
	}
	session, ok, err := p.signin.Current(r, c.tenant)
	if err != nil {
		return err
	}
	switch {
	case !ok:
		redirect(w, q.Return) // nothing to end, and nothing to ask
		return nil
	case q.Hint.Session != "" && q.Hint.Session == session.Session:
		if err := p.endSession(w, r, c); err != nil {
			return err
		}
		redirect(w, q.Return)
		return nil
	}
	return p.confirmPage(w, c, q, session)
}

// logoutConfirmed is where the person's own click on the confirmation page arrives, with the parameters of the request.
func (p *Provider) logoutConfirmed(w http.ResponseWriter, r *http.Request, c *call) error {
	body, err := readBody(w, r, maxQueryBytes)
	if err != nil {
		return fault.Wrap(wire.BadRequest, "confirmed logout", err)
	}
	q, err := p.readLogout(r, c, body)
	if err != nil {
		return err
	}
	if err := p.endSession(w, r, c); err != nil {
		return err
	}
	if q.Return == signedOutPath(c.tenant) {
		redirect(w, q.Return)
		return nil
	}
	return p.goodbyePage(w, c, q)
}

// endSession ends the browser's session and what was issued for it.
func (p *Provider) endSession(w http.ResponseWriter, r *http.Request, c *call) error {
	session, err := p.signin.End(w, r, c.tenant)
	if err != nil {
		return err
	}
	return p.SessionEnded(r.Context(), c.tenant.Scope(), session)
}

// readLogout checks a logout request. Every refusal is a page: there is no redirect before the address has been found to be
// registered, character by character, for the application that the hint or client_id names (§2, §3).
func (p *Provider) readLogout(r *http.Request, c *call, raw string) (logoutRequest, error) {
	ctx := r.Context()
	params, err := parseParameters(raw, maxQueryBytes)
	if err != nil {
		return logoutRequest{}, fault.Wrap(wire.BadRequest, "logout request", err)
	}
	if refused := params.once(); refused != nil {
		return logoutRequest{}, fault.Wrap(wire.BadRequest, "logout request", refused)
	}
	q := logoutRequest{Return: signedOutPath(c.tenant), fields: map[string]string{}}
	for _, name := range []string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state"} {
		if value := params.get(name); value != "" {
			q.fields[name] = value
		}
	}
	client := params.get("client_id")
	if hint := params.get("id_token_hint"); hint != "" {
		q.Hint, err = p.readIDToken(ctx, c.tenant, hint)
		if err != nil && !fault.Has(err, wire.Unauthenticated) {
			return logoutRequest{}, err
		}
		// A hint that cannot be verified (its key may be gone by now) is as good as none: the person is asked.
		if client != "" && q.Hint.Audience != "" && q.Hint.Audience != client {
			return logoutRequest{}, fault.New(wire.BadRequest, "the id_token_hint was issued to another client_id") // §2
		}
		if client == "" {
			client = q.Hint.Audience
		}
	}
	if client != "" {
		if q.App, err = p.liveApp(ctx, c.tenant.Scope(), client); err != nil {
			return logoutRequest{}, err
		}
		c.app = q.App.ID
	}
	address := params.get("post_logout_redirect_uri")
	if address == "" {
		return q, nil
	}
	if q.App.ID == "" || !slices.Contains(q.App.PostLogoutURIs, address) {
		return logoutRequest{}, fault.Newf(wire.RedirectUnknown, "post_logout_redirect_uri %.200q is not registered for app %q", address, q.App.ID)
	}
	q.Return = withParameters(address, "state", params.get("state"))
	return q, nil
}

// signedOutPath is the page that says so, for logouts without an address to return to.
func signedOutPath(t tenant.Tenant) string { return tenantPath(t) + "/signed-out" }
