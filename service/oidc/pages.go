package oidc

import (
	_ "embed"
	"html/template"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/signin"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/web"
)

var (
	//go:embed templates/signout.html
	signOutText string
	//go:embed templates/goodbye.html
	goodbyeText string

	signOutBody = template.Must(template.New("signout").Parse(signOutText))
	goodbyeBody = template.Must(template.New("goodbye").Parse(goodbyeText))
)

// brandOf returns how a tenant's pages look; nobody's for the zero tenant.
func brandOf(t tenant.Tenant) web.Brand { return web.Brand{Name: t.DisplayName, Color: t.Color} }

// errorPage tells a person what went wrong: a sentence, our number and the trace id.
func (p *Provider) errorPage(w http.ResponseWriter, r *http.Request, c *call, err error) {
	web.ErrorFor(w, r, brandOf(c.tenant), err)
}

// confirmPage asks a person whether to sign out.
func (p *Provider) confirmPage(w http.ResponseWriter, c *call, q logoutRequest, session signin.Result) error {
	return web.Page{Title: "Sign out", Brand: brandOf(c.tenant), Body: signOutBody, Posts: true, Data: struct {
		Name, UPN, App, Action string
		Fields                 map[string]string
	}{c.tenant.DisplayName, session.User.UPN, q.App.Name, tenantPath(c.tenant) + "/oauth2/logout/confirmed", q.fields}}.Write(w, http.StatusOK)
}

// goodbyePage sends the browser on after a form of ours. A redirect to the application would be held against the form-action of
// the confirmation page and end there: see package web.
func (p *Provider) goodbyePage(w http.ResponseWriter, c *call, q logoutRequest) error {
	return web.Page{Title: "Signed out", Brand: brandOf(c.tenant), Body: goodbyeBody, Refresh: q.Return, Data: struct {
		Name, App string
		Return    template.URL // registered by an administrator: also schemes of native applications, which html/template would strike
	}{c.tenant.DisplayName, q.App.Name, template.URL(q.Return)}}.Write(w, http.StatusOK)
}

// sameOrigin keeps other sites' forms from pressing our button.
func (p *Provider) sameOrigin(next http.Handler) http.Handler { return web.SameOrigin(p.log)(next) }
