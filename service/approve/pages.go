package approve

import (
	"embed"
	"errors"
	"html/template"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

//go:embed templates
var files embed.FS

var (
	startBody  = parse("start.html")
	decideBody = parse("decide.html")
	resultBody = parse("result.html")
)

func parse(name string) *template.Template {
	return template.Must(template.New(name).ParseFS(files, "templates/"+name))
}

func (d *Door) write(w http.ResponseWriter, v *visit, title string, body *template.Template, data any) error {
	if v.problem != "" {
		title = "Error: " + v.problem
	}
	return web.Page{Title: title + " – " + v.tenant.DisplayName, Brand: web.Brand{Name: v.tenant.DisplayName, Color: v.tenant.Color}, Body: body, Data: data,
		Posts: true}.Write(w, http.StatusOK)
}

// link is an agent that waits.
type link struct{ Name, Host, Path string }

// showStart asks for a code, and lists the agents that wait for an approval.
func (d *Door) showStart(w http.ResponseWriter, r *http.Request, v *visit) error {
	agents, err := d.cfg.Fleet.Pending(r.Context(), v.tenant.Scope())
	if err != nil {
		return err
	}
	var waiting []link
	for _, a := range agents[:min(len(agents), maxPending)] {
		waiting = append(waiting, link{a.Name, a.Host, v.path("/agent/" + a.ID)})
	}
	return d.write(w, v, "Let an agent in", startBody, struct {
		Action, Who, Problem string
		Waiting              []link
	}{v.path(""), v.who.UPN, v.problem, waiting})
}

// typed leads from a typed code to its page.
func (d *Door) typed(w http.ResponseWriter, r *http.Request, v *visit) error {
	if err := readForm(w, r); err != nil {
		return err
	}
	code, ok := fleet.ParseCode(r.PostForm.Get("code"))
	if !ok {
		v.problem = "That is no code. It has eight letters, as WDJB-MJHT has."
		return d.showStart(w, r, v)
	}
	see(w, v.path("/code/"+fleet.ShowCode(code)))
	return nil
}

func readForm(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, web.MaxForm)
	if err := r.ParseForm(); err != nil {
		return fault.Wrap(wire.BadRequest, "the form", err)
	}
	return nil
}

// decision is what the template of a decision sees.
type decision struct {
	Action, Who, Problem, Code string
	fleet.CodeFacts
	// Directories are offered; DirectoryID is the one that stands.
	Directories []tenant.Directory
	DirectoryID string
	// Vouched says who stands for an agent that waits.
	Vouched string
}

func (d *Door) showCode(w http.ResponseWriter, r *http.Request, v *visit) error {
	c, err := d.find(r, v)
	if err != nil {
		return err
	}
	if !c.Waiting {
		return d.showResult(w, r, v, c.Agent)
	}
	directories, err := d.cfg.Tenants.Directories(r.Context(), v.tenant.Scope())
	if err != nil {
		return err
	}
	data := decision{Action: v.path("/code/" + c.UserCode), Who: v.who.UPN, Problem: v.problem, Code: c.UserCode, CodeFacts: c.CodeFacts, Directories: directories}
	for _, x := range directories {
		if len(directories) == 1 || x.Name == c.Directory {
			data.DirectoryID = x.ID
		}
	}
	return d.write(w, v, "Let an agent in?", decideBody, data)
}

// decideCode takes the decision about a code.
func (d *Door) decideCode(w http.ResponseWriter, r *http.Request, v *visit) error {
	c, err := d.find(r, v)
	if err != nil {
		return err
	}
	yes, err := d.decided(w, r, v)
	if err != nil {
		return err
	}
	if v.problem == "" && yes && r.PostForm.Get("directory") == "" {
		v.problem = "Choose the directory whose passwords the agent is to check."
	}
	if v.problem != "" {
		return d.showCode(w, r, v)
	}
	if yes {
		a, err := d.cfg.Fleet.ApproveCode(r.Context(), v.tenant.Scope(), c.ID, r.PostForm.Get("directory"), v.actor(), v.now)
		if err != nil {
			return err
		}
		d.announce(v, a.ID)
		d.log(r, v, "a registration was approved", "agent", a.ID, "agent_name", a.Name, "pending", a.State == fleet.Pending)
	} else {
		if err := d.cfg.Fleet.DenyCode(r.Context(), v.tenant.Scope(), c.ID, v.now); err != nil {
			return err
		}
		d.log(r, v, "a registration was denied", "host", c.Host)
	}
	see(w, v.path("/code/"+c.UserCode))
	return nil
}

// decided reads a decision; what is missing stands in v.problem.
func (d *Door) decided(w http.ResponseWriter, r *http.Request, v *visit) (yes bool, err error) {
	if err := readForm(w, r); err != nil {
		return false, err
	}
	switch r.PostForm.Get("decision") {
	case "approve":
		if r.PostForm.Get("compared") != "yes" {
			v.problem = "Compare the fingerprint with the one at the host first, and say that you did."
		}
		return true, nil
	case "deny":
		return false, nil
	}
	return false, fault.New(wire.BadRequest, "the form holds no decision")
}

func (d *Door) showAgent(w http.ResponseWriter, r *http.Request, v *visit) error {
	a, err := d.cfg.Fleet.ByID(r.Context(), v.tenant.Scope(), r.PathValue("agent"))
	if err != nil {
		return err
	}
	if a.State != fleet.Pending {
		return d.showResult(w, r, v, a.ID)
	}
	dir, err := d.cfg.Tenants.Directory(r.Context(), v.tenant.Scope(), a.DirectoryID)
	if err != nil {
		return err
	}
	vouched, err := d.cfg.Fleet.Voucher(r.Context(), v.tenant.Scope(), a.ID)
	if err != nil {
		return err
	}
	return d.write(w, v, "Let an agent in?", decideBody, decision{Action: v.path("/agent/" + a.ID), Who: v.who.UPN, Problem: v.problem,
		CodeFacts: fleet.CodeFacts{Name: a.Name, Host: a.Host, OS: a.OS, Version: a.Version, KeyStore: a.KeyStore, Address: a.Address,
			Fingerprint: vouched.Fingerprint, Directory: dir.Name},
		Directories: []tenant.Directory{dir}, DirectoryID: dir.ID, Vouched: vouched.By.Name})
}

// decideAgent takes the decision about an agent that waits.
func (d *Door) decideAgent(w http.ResponseWriter, r *http.Request, v *visit) error {
	yes, err := d.decided(w, r, v)
	if err != nil {
		return err
	}
	if v.problem != "" {
		return d.showAgent(w, r, v)
	}
	id, shown, what := r.PathValue("agent"), r.PostForm.Get("fingerprint"), "an agent was denied"
	var a fleet.Agent
	switch {
	case yes && shown == "":
		return fault.New(wire.BadRequest, "the form holds no fingerprint")
	case yes:
		what = "an agent was approved"
		a, err = d.cfg.Fleet.Approve(r.Context(), v.tenant.Scope(), id, shown, v.actor(), v.now)
	default:
		a, err = d.cfg.Fleet.Deny(r.Context(), v.tenant.Scope(), id, v.actor(), v.now)
	}
	if errors.Is(err, fleet.ErrOtherKeys) {
		v.problem = "The agent registered anew while you looked, with other keys. Compare the fingerprint again."
		return d.showAgent(w, r, v)
	}
	if err != nil {
		return err
	}
	d.announce(v, a.ID)
	d.log(r, v, what, "agent", a.ID, "agent_name", a.Name)
	see(w, v.path("/agent/"+a.ID))
	return nil
}

// showResult says what became of a registration; agent is "" for one that was denied.
func (d *Door) showResult(w http.ResponseWriter, r *http.Request, v *visit, agent string) error {
	data := struct{ Start, Name, State string }{v.path(""), "", "denied"}
	if agent != "" {
		a, err := d.cfg.Fleet.ByID(r.Context(), v.tenant.Scope(), agent)
		if err != nil {
			return err
		}
		data.Name, data.State = a.Name, string(a.State)
	}
	return d.write(w, v, "Registration "+data.State, resultBody, data)
}

func (d *Door) log(r *http.Request, v *visit, what string, facts ...any) {
	d.cfg.Logger.Info(what, append(facts, "tenant", v.tenant.Name, "user", v.who.ID, "name", v.who.UPN, "address", web.ClientAddress(r), "trace", web.TraceID(r.Context()))...)
}
