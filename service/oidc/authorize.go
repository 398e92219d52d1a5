package oidc

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/signin"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// authorize takes an application's request (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2.1) and sends the browser to sign in, or
// at once back with a code or an error.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request, c *call) error {
	params, err := parseParameters(r.URL.RawQuery, maxQueryBytes)
	if err != nil {
		return fault.Wrap(wire.BadRequest, "authorization request", err)
	}
	a, err := p.knownRedirect(r.Context(), c, params)
	if err != nil {
		return err // shown as a page: there is nowhere to redirect to
	}
	q, refused := parseAuthorize(params, a)
	if refused != nil {
		return p.sendError(w, r, c, q, refused)
	}
	if err := p.begin(w, r, c, a, q); err != nil {
		return p.sendError(w, r, c, q, asProtocolError(err))
	}
	return nil
}

// knownRedirect finds the app and checks that the redirect address is one of those registered, character by character
// (RFC 6749 §3.1.2.3, §4.1.2.1; RFC 9700 §2.1; OpenID Connect Core §3.1.2.1 by RFC 3986 §6.2.1). Until it has succeeded,
// nothing may redirect.
func (p *Provider) knownRedirect(ctx context.Context, c *call, params parameters) (app.App, error) {
	if params.isRepeated("client_id") || params.isRepeated("redirect_uri") {
		return app.App{}, fault.New(wire.BadRequest, "client_id or redirect_uri is repeated")
	}
	a, err := p.liveApp(ctx, c.tenant.Scope(), params.get("client_id"))
	if err != nil {
		return app.App{}, err
	}
	c.app = a.ID
	if !slices.Contains(a.RedirectURIs, params.get("redirect_uri")) {
		return app.App{}, fault.Newf(wire.RedirectUnknown, "redirect_uri %.200q is not registered for app %s", params.get("redirect_uri"), a.ID)
	}
	return a, nil
}

// liveApp returns an app that exists and is not disabled, else the fault AppUnknown.
func (p *Provider) liveApp(ctx context.Context, s tenant.Scope, id string) (app.App, error) {
	if id == "" {
		return app.App{}, fault.New(wire.AppUnknown, "client_id is missing")
	}
	a, err := p.apps.ByID(ctx, s, id)
	if fault.Has(err, wire.NotFound) {
		return app.App{}, fault.Newf(wire.AppUnknown, "no app %.80q in this tenant", id)
	}
	if err != nil {
		return app.App{}, err
	}
	if a.Disabled {
		return app.App{}, fault.Newf(wire.AppUnknown, "app %s is disabled", a.ID)
	}
	return a, nil
}

// begin answers a good request.
func (p *Provider) begin(w http.ResponseWriter, r *http.Request, c *call, a app.App, q authorizeRequest) error {
	ctx, now := r.Context(), p.now()
	ask := signin.Ask{AppID: a.ID, AppName: a.Name, LoginHint: q.LoginHint, SelectAccount: q.SelectAccount,
		Fresh: q.MaxAge == 0, MaxAge: q.MaxAge}
	if q.IDTokenHint != "" {
		hint, err := p.readIDToken(ctx, c.tenant, q.IDTokenHint)
		if fault.Has(err, wire.Unauthenticated) {
			return invalidRequest("The id_token_hint is not an ID token of this issuer.").because(err)
		}
		if err != nil {
			return err
		}
		if q.Claims.Subject != "" && q.Claims.Subject != hint.Subject {
			return invalidRequest("The id_token_hint and the claims parameter name different users.")
		}
		q.Claims.Subject = hint.Subject
		if ask.LoginHint == "" {
			ask.LoginHint = hint.UPN
		}
	}
	if q.Silent || q.Claims.Subject != "" {
		session, ok, err := p.signin.Current(r, c.tenant)
		if err != nil {
			return err
		}
		if q.Silent {
			return p.silent(w, r, c, q, session, ok, now)
		}
		if ok && session.User.ID != q.Claims.Subject {
			ask.Fresh = true // somebody else sits there: the session must not answer
		}
	}
	stored := storedRequest{ID: db.NewID(), AppID: a.ID, Request: q, Created: now, Expires: now.Add(requestLife)}
	ask.ReturnTo = tenantPath(c.tenant) + "/oauth2/resume/" + stored.ID
	location, err := p.signin.Begin(w, r, c.tenant, ask)
	if err != nil {
		return err
	}
	// After Begin, whose limits then protect this table too. The browser does not know yet where to come back to.
	if err := insertRequest(ctx, p.db, c.tenant.Scope(), stored); err != nil {
		return err
	}
	redirect(w, location)
	return nil
}

// silent answers prompt=none: a code for the session that the browser has, or login_required (OpenID Connect Core §3.1.2.6), and
// never a page.
func (p *Provider) silent(w http.ResponseWriter, r *http.Request, c *call, q authorizeRequest, session signin.Result, ok bool, now time.Time) error {
	switch {
	case !ok:
		return loginRequired("The browser has no session.")
	case q.Claims.Subject != "" && session.User.ID != q.Claims.Subject:
		return loginRequired("Another user is signed in.")
	case !freshEnough(session.At, now, q.MaxAge):
		return loginRequired("The sign-in is older than max_age allows.")
	case !session.User.Admits(session.At):
		return loginRequired("The user is disabled or was signed out everywhere.")
	}
	var location string
	err := p.db.Write(r.Context(), func(tx db.Querier) error {
		var err error
		location, err = p.issueCode(r.Context(), tx, c, q, session, now)
		return err
	})
	if err != nil {
		return err
	}
	redirect(w, location)
	return nil
}

// issueCode stores a grant with its code and returns the address with the answer (RFC 6749 §4.1.2; RFC 9207 §2 for iss).
func (p *Provider) issueCode(ctx context.Context, tx db.Querier, c *call, q authorizeRequest, who signin.Result, now time.Time) (string, error) {
	g := grant{ID: db.NewID(), AppID: c.app, PersonID: who.User.ID, Session: who.Session, Scope: q.Scope, Nonce: q.Nonce, Claims: q.Claims,
		Offline: slices.Contains(q.Scope, scopeOffline), SignedIn: who.At, Methods: who.Methods, Created: now,
		Expires: now.Add(codeLife + accessLife)}
	if g.Offline {
		g.Expires = now.Add(offlineLife)
	}
	if err := insertGrant(ctx, tx, c.tenant.Scope(), g); err != nil {
		return "", err
	}
	code := newSecret()
	err := insertCode(ctx, tx, c.tenant.Scope(), code,
		storedCode{GrantID: g.ID, RedirectURI: q.RedirectURI, Challenge: q.Challenge, Expires: now.Add(codeLife)})
	if err != nil {
		return "", err
	}
	return withParameters(q.RedirectURI, "code", code, "state", q.State, "iss", p.issuer(c.tenant)), nil
}

// sendError takes an error to the application (RFC 6749 §4.1.2.1; RFC 9207 §2: iss in errors too). The redirect address has been
// checked by [Provider.knownRedirect].
func (p *Provider) sendError(w http.ResponseWriter, r *http.Request, c *call, q authorizeRequest, e *protocolError) error {
	redirect(w, withParameters(q.RedirectURI, "error", e.name, "error_description", e.description(traceOf(r)), "state", q.State,
		"iss", p.issuer(c.tenant)))
	return redirected{e}
}

// postToGet answers a request posted by another site (OpenID Connect Core §3.1.2.1, RP-Initiated Logout §2: both methods) by
// sending the browser to the same endpoint with GET. Our cookies are SameSite=Lax: they do not come with a post from
// another site, but do come with the GET that follows.
func (p *Provider) postToGet(w http.ResponseWriter, r *http.Request, _ *call) error {
	if r.URL.RawQuery != "" {
		return fault.New(wire.BadRequest, "a posted request has parameters in its address")
	}
	body, err := readBody(w, r, maxQueryBytes)
	if err != nil {
		return fault.Wrap(wire.BadRequest, "posted request", err)
	}
	if _, err := parseParameters(body, maxQueryBytes); err != nil {
		return fault.Wrap(wire.BadRequest, "posted request", err)
	}
	redirect(w, r.URL.Path+"?"+headerSafe(body))
	return nil
}

// headerSafe encodes what a form may hold but an address may not: spaces, controls and non-ASCII bytes.
func headerSafe(form string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(form) {
		if c <= 0x20 || c >= 0x7f || c == '#' || c == '"' || c == '<' || c == '>' {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// hintToken is what we read from an ID token of ours that comes back as a hint.
type hintToken struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Session  string `json:"sid"`
	UPN      string `json:"upn"`
}

// readIDToken checks an ID token that comes back as id_token_hint: signature by a key of this tenant, and issuer. Its expiry does
// not matter (OpenID Connect Core §3.1.2.1, RP-Initiated Logout §2): it says whom the application means, and admits nobody.
// What is no ID token of this issuer is the fault Unauthenticated.
func (p *Provider) readIDToken(ctx context.Context, t tenant.Tenant, compact string) (hintToken, error) {
	if len(compact) > maxTokenBytes {
		return hintToken{}, fault.New(wire.Unauthenticated, "the hint is too large")
	}
	payload, err := p.keys.Verify(ctx, t.Scope(), compact, typeJWT, p.now())
	if err != nil {
		return hintToken{}, err
	}
	var h hintToken
	if err := json.Unmarshal(payload, &h); err != nil {
		return hintToken{}, fault.Wrap(wire.Unauthenticated, "the hint is no ID token", err)
	}
	if h.Issuer != p.issuer(t) || h.Subject == "" || h.Audience == "" {
		return hintToken{}, fault.New(wire.Unauthenticated, "the hint is of another issuer")
	}
	return h, nil
}
