package signin

import (
	"embed"
	"html/template"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

//go:embed templates
var files embed.FS

var (
	nameBody      = parse("name.html")
	passwordBody  = parse("password.html")
	continueBody  = parse("continue.html")
	signedOutBody = parse("signedout.html")
)

// parse reads a page with the parts that pages share.
func parse(name string) *template.Template {
	return template.Must(template.New(name).ParseFS(files, "templates/parts.html", "templates/"+name))
}

// formView is what the templates of the two forms see.
type formView struct {
	Tenant, App string
	// Action is where the form posts to, NamePage where the name can be changed.
	Action, NamePage string
	Name             string
	Attempt          int
	// Evaluation says that a directory of the tenant is the embedded one, whose passwords are known to everybody.
	Evaluation bool
	// Code is 0 when nothing went wrong; Public its words.
	Code   wire.Code
	Public string
	Trace  string
	// Wrong marks the field: what was typed is at fault, and not we.
	Wrong bool
}

// writeForm answers with the name page or the password page.
func (s *Service) writeForm(w http.ResponseWriter, r *http.Request, v *visit, body *template.Template, code wire.Code) error {
	evaluation, err := s.evaluation(r, v.tenant)
	if err != nil {
		return err
	}
	view := formView{Tenant: v.tenant.DisplayName, App: v.journey.appName, Action: v.path(namePage), NamePage: v.path(namePage),
		Name: v.journey.typedName, Attempt: v.journey.attempts, Evaluation: evaluation, Code: code, Trace: v.journey.trace}
	title := "Sign in to " + view.Tenant
	if body == passwordBody {
		view.Action = v.path(passwordPage)
		title = "Your password – " + title
	}
	if code != 0 {
		entry, ok := wire.Lookup(code)
		if !ok {
			entry, _ = wire.Lookup(wire.Internal)
		}
		view.Code, view.Public = entry.Code, entry.Public
		view.Wrong = code == wire.InvalidPassword
		title = "Error: " + view.Public + " – Sign in to " + view.Tenant
	}
	return web.Page{Title: title, Brand: v.brand(), Body: body, Data: view, Posts: true, Popup: true}.Write(w, http.StatusOK)
}

// evaluation reports whether the tenant has an embedded directory, which is always labelled as such.
func (s *Service) evaluation(r *http.Request, t tenant.Tenant) (bool, error) {
	directories, err := s.tenants.Directories(r.Context(), t.Scope())
	if err != nil {
		return false, err
	}
	for _, d := range directories {
		if d.Evaluation {
			return true, nil
		}
	}
	return false, nil
}

// writeContinue answers with the page that sends the browser on to a path of ours.
func (s *Service) writeContinue(w http.ResponseWriter, v *visit, to string) error {
	return web.Page{Title: "Signed in to " + v.tenant.DisplayName, Brand: v.brand(), Body: continueBody, Popup: true, Refresh: to, Data: struct {
		Tenant, App, To string
	}{v.tenant.DisplayName, v.journey.appName, to}}.Write(w, http.StatusOK)
}

// showSignedOut says that nobody is signed in any more.
func (s *Service) showSignedOut(w http.ResponseWriter, _ *http.Request, v *visit) error {
	return web.Page{Title: "Signed out of " + v.tenant.DisplayName, Brand: v.brand(), Body: signedOutBody, Popup: true,
		Data: struct{ Tenant string }{v.tenant.DisplayName}}.Write(w, http.StatusOK)
}
