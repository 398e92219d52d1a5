package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestTenants(t *testing.T) {
	w := newWorld(t)
	made := read[Tenant](t, w.want(201, w.root, "POST", "/tenants", `{"name":"northwind","display_name":"Northwind Traders","color":"#204060"}`))
	if made.Issuer != "https://login.example.com/t/northwind" || made.DisplayName != "Northwind Traders" || made.Color != "#204060" || made.Created.IsZero() {
		t.Errorf("%+v", made)
	}
	for _, name := range []string{"northwind", made.ID} {
		if got := read[Tenant](t, w.want(200, w.root, "GET", "/tenants/"+name, "")); got != made {
			t.Errorf("%+v", got)
		}
	}
	changed := read[Tenant](t, w.want(200, w.root, "PATCH", "/tenants/northwind", `{"display_name":"NW"}`))
	if changed.DisplayName != "NW" || changed.Color != "#204060" {
		t.Errorf("%+v", changed)
	}
	w.want(204, w.root, "POST", "/tenants/northwind/keys/ES256/rotate", "")
	if v := read[Verification](t, w.want(200, w.root, "GET", "/tenants/northwind/verification", "")); v.Administrators || len(v.Groups) > 0 || v.Percent != 0 {
		t.Errorf("a tenant begins with %+v", v)
	}
	set := read[Verification](t, w.want(200, w.root, "PUT", "/tenants/northwind/verification",
		`{"administrators":true,"groups":["Tier 0"," Domain Admins"],"percent":5,"let_in_alone":false}`))
	if !set.Administrators || !slices.Equal(set.Groups, []string{"Domain Admins", "Tier 0"}) || set.Percent != 5 {
		t.Errorf("%+v", set)
	}
	if k := read[AgentKeys](t, w.want(200, w.root, "GET", "/tenants/northwind/agent-keys", "")); k.Require != "file" {
		t.Errorf("a tenant begins with keys in %q", k.Require)
	}
	if k := read[AgentKeys](t, w.want(200, w.root, "PUT", "/tenants/northwind/agent-keys", `{"require":"hardware"}`)); k.Require != "hardware" {
		t.Errorf("set: %q", k.Require)
	}
	for _, c := range []struct {
		status       int
		method, path string
		body, detail string
	}{
		{400, "PUT", "/tenants/northwind/agent-keys", `{"require":"tpm"}`, "hardware"},
		{409, "POST", "/tenants", `{"name":"northwind"}`, "already"},
		{400, "POST", "/tenants", `{"name":"North Wind"}`, "lower-case letters"},
		{400, "POST", "/tenants", `{"name":"nw2","color":"#ffffff"}`, "color"},
		{400, "PATCH", "/tenants/northwind", `{"name":"other"}`, "cannot change"},
		{400, "PATCH", "/tenants/northwind", `{"display_name":""}`, "must not be empty"},
		{400, "POST", "/tenants/northwind/keys/none/rotate", "", "algorithm"},
		{400, "PUT", "/tenants/northwind/verification", `{"administrators":true,"groups":[],"percent":101,"let_in_alone":false}`, "0 to 100"},
		{404, "GET", "/tenants/nobody", "", `no tenant "nobody"`},
	} {
		a := w.want(c.status, w.root, c.method, c.path, c.body)
		if !strings.Contains(strings.ToLower(a.problem.Detail), c.detail) {
			t.Errorf("%s %s %s: %s", c.method, c.path, c.body, a.body)
		}
	}
	w.want(403, w.contoso, "DELETE", "/tenants/contoso", "")
	w.want(204, w.root, "DELETE", "/tenants/northwind", "")
	w.want(404, w.root, "DELETE", "/tenants/northwind", "")
}

func TestDirectoriesAndDomains(t *testing.T) {
	w := newWorld(t)
	const below = "/tenants/contoso"
	lab := read[Directory](t, w.want(201, w.contoso, "POST", below+"/directories", `{"name":"lab","evaluation":true}`))
	if !lab.Evaluation {
		t.Errorf("%+v", lab)
	}
	renamed := read[Directory](t, w.want(200, w.contoso, "PATCH", below+"/directories/lab", `{"name":"labor"}`))
	if renamed.ID != lab.ID || renamed.Name != "labor" || !renamed.Evaluation {
		t.Errorf("%+v", renamed)
	}
	w.want(200, w.contoso, "GET", below+"/directories/"+lab.ID, "")
	if all := read[Page[Directory]](t, w.want(200, w.contoso, "GET", below+"/directories", "")); len(all.Items) != 2 {
		t.Errorf("%+v", all)
	}
	d := read[Domain](t, w.want(201, w.contoso, "POST", below+"/domains", `{"name":"Lab.Example","directory":"labor"}`))
	if d.Name != "lab.example" || d.Kind != "pass-through" || !d.AdmitUsers || d.Directory != lab.ID {
		t.Errorf("%+v", d)
	}
	d = read[Domain](t, w.want(200, w.contoso, "PATCH", below+"/domains/lab.example", `{"admit_users":false}`))
	if d.AdmitUsers || d.Directory != lab.ID {
		t.Errorf("%+v", d)
	}
	d = read[Domain](t, w.want(200, w.contoso, "PATCH", below+"/domains/lab.example", `{"kind":"cloud"}`))
	if d.Kind != "cloud" || d.Directory != "" {
		t.Errorf("%+v", d)
	}
	d = read[Domain](t, w.want(200, w.contoso, "PATCH", below+"/domains/lab.example", `{"kind":"pass-through","directory":"labor","admit_users":true}`))
	if d.Directory != lab.ID || !d.AdmitUsers {
		t.Errorf("%+v", d)
	}
	d = read[Domain](t, w.want(200, w.contoso, "PATCH", below+"/domains/lab.example", `{"sign_in_attribute":"mail","netbios_name":"lab"}`))
	if d.SignInAttribute != "mail" || d.NetBIOSName != "LAB" || !d.AdmitUsers {
		t.Errorf("%+v", d)
	}
	w.want(400, w.contoso, "PATCH", below+"/domains/lab.example", `{"sign_in_attribute":"mail)(cn=*"}`)
	if got := read[Domain](t, w.want(200, w.contoso, "GET", below+"/domains/LAB.example", "")); got.Name != "lab.example" || got.SignInAttribute != "mail" {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct {
		status       int
		method, path string
		body, detail string
	}{
		{409, "POST", "/directories", `{"name":"corp"}`, "already"},
		{400, "POST", "/directories", `{"name":"a/b"}`, "slash"},
		{400, "PATCH", "/directories/corp", `{"name":"corp","evaluation":true}`, "fixed when it is made"},
		{404, "PATCH", "/directories/none", `{"name":"x"}`, "no directory"},
		{409, "DELETE", "/directories/labor", "", "still has domains"},
		{404, "POST", "/domains", `{"name":"x.example","directory":"none"}`, "no directory"},
		{400, "POST", "/domains", `{"name":"x.example"}`, "needs a directory"},
		{400, "POST", "/domains", `{"name":"x.example","kind":"federated"}`, "kind of a domain"},
		{400, "POST", "/domains", `{"name":"x.example","kind":"cloud","directory":"corp"}`, "cloud domain"},
		{400, "POST", "/domains", `{"name":"x.example","kind":"cloud","admit_users":true}`, "cloud domain"},
		{400, "POST", "/domains", `{"name":"not a domain","kind":"cloud"}`, "domain"},
		{409, "POST", "/domains", `{"name":"corp.example","directory":"corp"}`, "already"},
		{400, "PATCH", "/domains/corp.example", `{"name":"y.example"}`, "cannot change"},
		{400, "PATCH", "/domains/corp.example", `{"directory":""}`, "needs a directory"},
		{404, "GET", "/domains/none.example", "", "no domain"},
		{404, "DELETE", "/domains/none.example", "", "no domain"},
	} {
		a := w.want(c.status, w.contoso, c.method, below+c.path, c.body)
		if !strings.Contains(a.problem.Detail, c.detail) {
			t.Errorf("%s %s %s: %s", c.method, c.path, c.body, a.body)
		}
	}
	w.want(204, w.contoso, "DELETE", below+"/domains/lab.example", "")
	w.want(204, w.contoso, "DELETE", below+"/directories/labor", "")
	// A directory of another tenant is none.
	other := read[Page[Directory]](t, w.want(200, w.fabrikam, "GET", "/tenants/fabrikam/directories", "")).Items[0].ID
	w.want(404, w.contoso, "GET", below+"/directories/"+other, "")
	w.want(404, w.contoso, "POST", below+"/domains", `{"name":"x.example","directory":"`+other+`"}`)
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	const below = "/tenants/contoso/users"
	alice := read[User](t, w.want(201, w.contoso, "POST", below, `{"upn":"Alice@Corp.Example","display_name":"Alice","groups":["Sales"],"role":"administrator"}`))
	if alice.Source != "synced" || alice.Directory == "" || alice.Role != "administrator" || len(alice.Groups) != 1 {
		t.Errorf("the pass-through domain makes a synced user: %+v", alice)
	}
	carl := read[User](t, w.want(201, w.contoso, "POST", below, `{"upn":"carl@cloud.example"}`))
	if carl.Source != "cloud-only" || carl.Directory != "" {
		t.Errorf("the cloud domain makes a cloud-only user: %+v", carl)
	}
	if got := read[User](t, w.want(200, w.contoso, "GET", below+"/alice@corp.example", "")); got.ID != alice.ID {
		t.Errorf("%+v", got)
	}
	w.want(200, w.contoso, "PATCH", "/tenants/contoso/domains/corp.example", `{"netbios_name":"CORP","sign_in_attribute":"mail"}`)
	if _, err := w.cfg.Users.Provision(t.Context(), w.scope, user.Asked{DirectoryID: alice.Directory, SignInAttribute: "mail"}, wire.Attributes{Anchor: "6f1de3f5-3f3b-4a47-9f5b-0b6a3a1c2d4e", UPN: alice.UPN,
		SignInName: "a.liddell@corp.example", DisplayName: "Alice", Groups: []string{"Sales"}}, false, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"corp%5CAlice", "A.Liddell@corp.example"} {
		if got := read[User](t, w.want(200, w.contoso, "GET", below+"/"+other, "")); got.ID != alice.ID {
			t.Errorf("%s: %+v", other, got)
		}
		w.want(404, w.fabrikam, "GET", "/tenants/fabrikam/users/"+other, "")
	}
	if got := read[User](t, w.want(200, w.contoso, "PATCH", below+"/"+alice.ID, `{"email":"a@corp.example","groups":[],"role":"","disabled":true}`)); got.Email != "a@corp.example" ||
		len(got.Groups) != 0 || got.Role != "" || !got.Disabled || got.DisplayName != "Alice" {
		t.Errorf("%+v", got)
	}
	if got := read[User](t, w.want(200, w.contoso, "PATCH", below+"/carl@cloud.example", `{"upn":"charles@cloud.example"}`)); got.ID != carl.ID || got.UPN != "charles@cloud.example" {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct {
		status       int
		method, path string
		body, detail string
	}{
		{400, "POST", "", `{"upn":"x@cloud.example","source":"synced"}`, "cloud domain"},
		{400, "POST", "", `{"upn":"x@corp.example","source":"synced"}`, "a synced user needs a directory"},
		{400, "POST", "", `{"upn":"x@corp.example","source":"cloud-only"}`, "pass-through domain: its users' passwords are checked by a directory"},
		{400, "POST", "", `{"upn":"x@corp.example","source":"cloud-only","directory":"corp"}`, "pass-through domain"},
		{400, "POST", "", `{"upn":"x@cloud.example","source":"cloud-only","directory":"corp"}`, "neither a directory"},
		{400, "POST", "", `{"upn":"x@elsewhere.example"}`, "is not a domain of this tenant"},
		{400, "POST", "", `{"upn":"x@corp.example","source":"federated"}`, "source of a user"},
		{400, "POST", "", `{"upn":"nobody"}`, "name@domain"},
		{400, "POST", "", `{"upn":"@corp.example"}`, "name@domain"},
		{400, "POST", "", `{"upn":"x@corp.example","role":"king"}`, "role"},
		{404, "POST", "", `{"upn":"x@corp.example","directory":"none"}`, "no directory"},
		{409, "POST", "", `{"upn":"ALICE@corp.example"}`, "already"},
		{400, "PATCH", "/alice@corp.example", `{"source":"cloud-only"}`, "cannot change"},
		{400, "PATCH", "/alice@corp.example", `{"upn":"alice@cloud.example"}`, "cloud domain"},
		{400, "PUT", "/alice@corp.example/password", `{"password":"long enough password"}`, "password lives in the directory alone"},
		{400, "PUT", "/ada@cloud.example/password", `{"password":"short"}`, "at least"},
		{400, "PUT", "/ada@cloud.example/password", `{}`, "at least"},
		{400, "PUT", "/ada@cloud.example/password", `{"password":17}`, "password must be a string"},
		{404, "PUT", "/none@cloud.example/password", `{"password":"long enough password"}`, "no user"},
		{404, "GET", "/none@cloud.example", "", "no user"},
		{404, "DELETE", "/none@cloud.example", "", "no user"},
		{404, "POST", "/none@cloud.example/unlock", "", "no user"},
	} {
		a := w.want(c.status, w.contoso, c.method, below+c.path, c.body)
		if !strings.Contains(a.problem.Detail, c.detail) {
			t.Errorf("%s %s %s: %s", c.method, c.path, c.body, a.body)
		}
	}
	// A directory that is not the domain's.
	w.want(201, w.contoso, "POST", "/tenants/contoso/directories", `{"name":"second"}`)
	if a := w.want(400, w.contoso, "POST", below, `{"upn":"x@corp.example","directory":"second"}`); !strings.Contains(a.problem.Detail, "another directory") {
		t.Errorf("%s", a.body)
	}
	w.want(204, w.contoso, "POST", below+"/alice@corp.example/sign-out", "")
	if u := must(w.cfg.Users.ByID(t.Context(), w.scope, alice.ID))(t); u.ValidFrom.IsZero() {
		t.Error("sessions from before are still valid")
	}
	w.want(404, w.contoso, "POST", below+"/none@corp.example/sign-out", "")
	w.want(204, w.contoso, "DELETE", below+"/alice@corp.example", "")
	w.want(404, w.contoso, "GET", below+"/alice@corp.example", "")
	// The other tenant's people of equal names are untouched.
	w.want(200, w.fabrikam, "GET", "/tenants/fabrikam/users/ada@cloud.example", "")
}

// TestSetPassword: the password that was set is the one that signs in, and it is nowhere else.
func TestSetPassword(t *testing.T) {
	w := newWorld(t)
	const canary = "Canary pässword 41"
	w.want(204, w.contoso, "PUT", "/tenants/contoso/users/ada@cloud.example/password", `{"password":"`+canary+`"}`)
	checker := password.New(password.Config{Tenants: w.cfg.Tenants, Users: w.cfg.Users, Fleet: w.cfg.Fleet, Lockout: w.cfg.Lockout})
	check := func() bool {
		t.Helper()
		a, err := checker.Check(t.Context(), w.scope, password.Attempt{Name: "ada@cloud.example", Password: wire.NewSecret([]byte(canary))})
		if err != nil {
			t.Fatal(err)
		}
		return a.Right
	}
	if !check() {
		t.Error("the password that was set is not right")
	}
	ada := read[User](t, w.want(200, w.contoso, "GET", "/tenants/contoso/users/ada@cloud.example", ""))
	for range 10 {
		if err := w.cfg.Lockout.Settle(t.Context(), w.scope, ada.ID, lockout.Wrong, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if check() {
		t.Error("a locked user signs in")
	}
	w.want(204, w.contoso, "POST", "/tenants/contoso/users/ada@cloud.example/unlock", "")
	if !check() {
		t.Error("unlock did not end the lockout")
	}
	if strings.Contains(w.log.String(), canary) {
		t.Error("the password stands in the log")
	}
}

func TestApps(t *testing.T) {
	w := newWorld(t)
	const below = "/tenants/contoso/apps"
	made := read[App](t, w.want(201, w.contoso, "POST", below,
		`{"name":"Shop","redirect_uris":["https://shop.example/cb?a=1,2","http://localhost:8080/cb"],"post_logout_uris":["https://shop.example/bye"],"algorithm":"RS256","group_claims":true}`))
	if len(made.Secret) < 40 || len(made.RedirectURIs) != 2 || made.Algorithm != "RS256" || !made.GroupClaims {
		t.Errorf("%+v", made)
	}
	if ok, err := w.cfg.Apps.CheckSecret(t.Context(), w.scope, made.ID, made.Secret); err != nil || !ok {
		t.Errorf("the secret does not fit: %v", err)
	}
	jwks := string(must(w.cfg.Keys.PublicKeys(t.Context(), w.scope, time.Now()))(t))
	if !strings.Contains(jwks, "RS256") {
		t.Error("the key is not published before the first token")
	}
	if got := read[App](t, w.want(200, w.contoso, "GET", below+"/"+made.ID, "")); got.Secret != "" || got.Name != "Shop" {
		t.Errorf("%+v", got)
	}
	changed := read[App](t, w.want(200, w.contoso, "PATCH", below+"/"+made.ID, `{"disabled":true,"redirect_uris":["https://shop.example/new"],"post_logout_uris":[]}`))
	if !changed.Disabled || len(changed.RedirectURIs) != 1 || len(changed.PostLogoutURIs) != 0 || changed.Name != "Shop" {
		t.Errorf("%+v", changed)
	}
	again := read[App](t, w.want(200, w.contoso, "POST", below+"/"+made.ID+"/secret", ""))
	if ok, _ := w.cfg.Apps.CheckSecret(t.Context(), w.scope, made.ID, made.Secret); ok || again.Secret == made.Secret || again.Secret == "" {
		t.Error("the old secret still fits")
	}
	public := read[App](t, w.want(201, w.contoso, "POST", below, `{"name":"Phone","redirect_uris":["com.example.phone:/cb"],"public":true}`))
	if public.Secret != "" || !public.Public {
		t.Errorf("%+v", public)
	}
	for _, c := range []struct {
		status       int
		method, path string
		body, detail string
	}{
		{409, "POST", "", `{"name":"Shop","redirect_uris":["https://x.example/cb"]}`, "already"},
		{400, "POST", "", `{"name":"X"}`, "at least one redirect"},
		{400, "POST", "", `{"name":"X","redirect_uris":["http://x.example/cb"]}`, ""},
		{400, "POST", "", `{"name":"X","redirect_uris":["https://x.example/cb#f"]}`, ""},
		{400, "POST", "", `{"name":"X","redirect_uris":["https://x.example/cb"],"algorithm":"none"}`, "algorithm"},
		{400, "PATCH", "/" + made.ID, `{"public":true}`, "cannot change"},
		{400, "PATCH", "/" + made.ID, `{"algorithm":"HS256"}`, "algorithm"},
		{400, "PATCH", "/" + made.ID, `{"name":""}`, "must not be empty"},
		{404, "GET", "/none", "", ""},
		{404, "PATCH", "/none", `{"name":"x"}`, ""},
		{404, "POST", "/none/secret", "", ""},
		{404, "DELETE", "/none", "", ""},
	} {
		a := w.want(c.status, w.contoso, c.method, below+c.path, c.body)
		if !strings.Contains(a.problem.Detail, c.detail) {
			t.Errorf("%s %s %s: %s", c.method, c.path, c.body, a.body)
		}
	}
	if a := w.ask(w.contoso, "POST", below+"/"+public.ID+"/secret", ""); a.status < 400 || a.status >= 500 {
		t.Errorf("a secret for a public app: %d %s", a.status, a.body)
	}
	w.want(204, w.contoso, "DELETE", below+"/"+made.ID, "")
}

// TestAgentsLife: what administrators do to agents beside renaming and shutting out.
func TestAgentsLife(t *testing.T) {
	w := newWorld(t)
	const below = "/tenants/contoso/agents"
	one, two := w.enrol("agent-1"), w.enrol("agent-2")
	for _, c := range []struct{ do, state string }{{"drain", "drained"}, {"drain", "drained"}, {"resume", "active"}} {
		if got := read[Agent](t, w.want(200, w.contoso, "POST", below+"/agent-1/"+c.do, "")); got.State != c.state || got.ID != one.ID {
			t.Errorf("%s: %+v", c.do, got)
		}
	}
	if got := read[RenewOrder](t, w.want(200, w.contoso, "POST", below+"/renew", `{"spread_seconds":60}`)); got.Ordered != 2 {
		t.Errorf("all renew: %+v", got)
	}
	if got := read[RenewOrder](t, w.want(200, w.contoso, "POST", below+"/agent-2/renew", `{}`)); got.Ordered != 1 {
		t.Errorf("one renews: %+v", got)
	}
	if got := read[Agent](t, w.want(200, w.contoso, "GET", below+"/agent-2", "")); got.RenewAfter.IsZero() || got.KeyStore != "file" || got.KeyStoreRefused {
		t.Errorf("%+v", got)
	}
	keys := strings.TrimSuffix(below, "/agents") + "/agent-keys"
	for require, refused := range map[string]bool{"hardware": true, "file": false} {
		w.want(200, w.contoso, "PUT", keys, `{"require":"`+require+`"}`)
		list := read[Page[Agent]](t, w.want(200, w.contoso, "GET", below, ""))
		if got := read[Agent](t, w.want(200, w.contoso, "GET", below+"/agent-2", "")); got.KeyStoreRefused != refused || len(list.Items) == 0 || list.Items[0].KeyStoreRefused != refused {
			t.Errorf("%s demanded: %+v, in the list %+v", require, got, list.Items)
		}
	}
	w.want(200, w.contoso, "PUT", keys, `{"require":"file"}`)
	if fresh, err := w.cfg.Fleet.Quarantine(t.Context(), w.scope, two.ID, fleet.Clone, "seen twice", time.Now()); err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	if got := read[Agent](t, w.want(200, w.contoso, "GET", below+"/agent-2", "")); got.State != "quarantined" || got.StateReason != "seen twice" {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct {
		status             int
		path, body, detail string
	}{
		{409, "/agent-2/drain", "", "release it"}, {409, "/agent-2/resume", "", "release it"},
		{404, "/none/drain", "", "no agent"}, {404, "/none/resume", "", "no agent"}, {404, "/none/release", "", "no agent"}, {404, "/none/renew", "{}", "no agent"},
		{400, "/renew", `{"spread_seconds":-1}`, "spread"}, {400, "/renew", `{"spread_seconds":1000000}`, "spread"},
	} {
		if a := w.want(c.status, w.contoso, "POST", below+c.path, c.body); !strings.Contains(a.problem.Detail, c.detail) {
			t.Errorf("%s %s: %s", c.path, c.body, a.body)
		}
	}
	first := read[AgentToken](t, w.want(201, w.contoso, "POST", below+"/agent-2/release", ""))
	second := read[AgentToken](t, w.want(201, w.contoso, "POST", below+"/agent-2/release", ""))
	tokens := read[Page[AgentToken]](t, w.want(200, w.contoso, "GET", "/tenants/contoso/agent-tokens", ""))
	if first.Secret == "" || second.Secret == first.Secret || !slices.ContainsFunc(tokens.Items, func(x AgentToken) bool { return x.ID == second.ID }) ||
		slices.ContainsFunc(tokens.Items, func(x AgentToken) bool { return x.ID == first.ID }) {
		t.Errorf("releases %+v and %+v, tokens %+v", first, second, tokens.Items)
	}
	var events []string
	for _, m := range read[Page[AgentMoment]](t, w.want(200, w.contoso, "GET", below+"/agent-2/history", "")).Items {
		events = append(events, m.Event)
	}
	if !slices.Equal(events, []string{"release", "release", "clone", "register"}) {
		t.Errorf("history %q", events)
	}
}

func TestAgents(t *testing.T) {
	w := newWorld(t)
	const below = "/tenants/contoso/agents"
	one := w.enrol("agent-1")
	w.attached = []string{one.ID}
	got := read[Agent](t, w.want(200, w.contoso, "GET", below+"/agent-1", ""))
	if got.ID != one.ID || !got.Connected || got.State != "active" || got.KeyID == "" || got.CertificateSerial == "" {
		t.Errorf("%+v", got)
	}
	w.attached = nil
	if got := read[Agent](t, w.want(200, w.contoso, "GET", below+"/"+one.ID, "")); got.Connected {
		t.Errorf("%+v", got)
	}
	// Where other processes hold agents, a fresh sign of life counts.
	if err := w.cfg.Fleet.Seen(t.Context(), w.scope, one.ID, fleet.Sighting{Host: "h", OS: "o", Version: "v", Address: "192.0.2.1"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	w.api.cfg.Elsewhere = true
	if got := read[Agent](t, w.want(200, w.contoso, "GET", below+"/"+one.ID, "")); !got.Connected || got.Address != "192.0.2.1" {
		t.Errorf("%+v", got)
	}
	if err := w.cfg.Fleet.Seen(t.Context(), w.scope, one.ID, fleet.Sighting{Host: "h", OS: "o", Version: "v", Address: "192.0.2.1"}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := read[Agent](t, w.want(200, w.contoso, "GET", below+"/"+one.ID, "")); got.Connected {
		t.Errorf("%+v", got)
	}
	w.api.cfg.Elsewhere = false

	if got := read[Agent](t, w.want(200, w.contoso, "PATCH", below+"/agent-1", `{"name":"berlin-1"}`)); got.ID != one.ID || got.Name != "berlin-1" {
		t.Errorf("%+v", got)
	}
	two := w.enrol("agent-2")
	if all := read[Page[Agent]](t, w.want(200, w.contoso, "GET", below, "")); len(all.Items) != 2 {
		t.Errorf("%+v", all)
	}
	w.sick(t, two.ID)
	if got := read[Agent](t, w.want(200, w.contoso, "GET", below+"/agent-2", "")); got.Condition != "degraded" || !strings.Contains(got.ConditionReason, "dc1:636") ||
		got.Health == nil || got.Health.Servers[0].State != "down" || got.State != "active" {
		t.Errorf("%+v", got)
	}
	w.guarded(t, one.ID, two.ID)
	w.longAgo(t, two.ID)
	if all := read[Page[Agent]](t, w.want(200, w.contoso, "GET", below, "")); len(all.Items) != 1 {
		t.Errorf("one is forgotten: %+v", all)
	}
	if all := read[Page[Agent]](t, w.want(200, w.contoso, "GET", below+"?all=true", "")); len(all.Items) != 2 {
		t.Errorf("and in the record: %+v", all)
	}
	w.want(400, w.contoso, "GET", below+"?all=perhaps", "")
	for _, c := range []struct {
		status       int
		method, path string
		body, detail string
	}{
		{409, "PATCH", "/agent-2", `{"name":"berlin-1"}`, "another agent"},
		{400, "PATCH", "/agent-2", `{"name":"Über"}`, "agent name"},
		{404, "PATCH", "/none", `{"name":"x"}`, "no agent"},
		{404, "POST", "/none/revoke", `{"reason":"x"}`, "no agent"},
		{404, "DELETE", "/none", "", "no agent"},
		{404, "GET", "/none", "", "no agent"},
	} {
		a := w.want(c.status, w.contoso, c.method, below+c.path, c.body)
		if !strings.Contains(a.problem.Detail, c.detail) {
			t.Errorf("%s %s %s: %s", c.method, c.path, c.body, a.body)
		}
	}
	revoked := read[Agent](t, w.want(200, w.contoso, "POST", below+"/berlin-1/revoke", `{"reason":"stolen"}`))
	if revoked.State != "revoked" || revoked.RevokedReason != "stolen" || revoked.RevokedAt.IsZero() {
		t.Errorf("%+v", revoked)
	}
	if c := w.announced(); c.Tenant != w.scope.String() || c.Agent != one.ID {
		t.Errorf("%+v", c)
	}
	w.want(204, w.contoso, "DELETE", below+"/agent-2", "")
	if c := w.announced(); c.Agent != two.ID {
		t.Errorf("%+v", c)
	}
	w.want(404, w.contoso, "GET", below+"/agent-2", "")
	// Without a broker the change is made all the same.
	w.cfg.Queue.Close()
	w.enrol("agent-3")
	w.want(200, w.contoso, "POST", below+"/agent-3/revoke", `{"reason":"x"}`)
	if !strings.Contains(w.log.String(), "fleet change not announced") {
		t.Error("nothing is told of an announcement that did not arrive")
	}
}

func TestAgentTokens(t *testing.T) {
	w := newWorld(t)
	const below = "/tenants/contoso/agent-tokens"
	made := read[AgentToken](t, w.want(201, w.contoso, "POST", below, `{"directory":"corp","uses":3,"life_seconds":3600,"note":"Berlin"}`))
	if made.Secret == "" || made.UsesLeft != 3 || made.Note != "Berlin" || made.Expires.Sub(made.Created) != time.Hour {
		t.Errorf("%+v", made)
	}
	standard := read[AgentToken](t, w.want(201, w.contoso, "POST", below, `{"directory":"corp"}`))
	if standard.UsesLeft != 1 || standard.Expires.Sub(standard.Created) != enrolTokenLife {
		t.Errorf("%+v", standard)
	}
	all := read[Page[AgentToken]](t, w.want(200, w.contoso, "GET", below, ""))
	if len(all.Items) != 2 || all.Items[0].Secret != "" {
		t.Errorf("%+v", all)
	}
	for _, c := range []struct {
		status       int
		body, detail string
	}{
		{404, `{"directory":"none"}`, "no directory"}, {404, `{}`, "no directory"},
		{400, `{"directory":"corp","uses":-1}`, "allowed"}, {400, `{"directory":"corp","uses":1000}`, "allowed"},
		{400, `{"directory":"corp","life_seconds":-1}`, "at most"}, {400, `{"directory":"corp","life_seconds":99999999999}`, "at most"},
		{400, `{"directory":"corp","life_seconds":-4611686018427387904}`, "at most"}, {400, `{"directory":"corp","life_seconds":1}`, "one minute"},
	} {
		if a := w.want(c.status, w.contoso, "POST", below, c.body); !strings.Contains(a.problem.Detail, c.detail) {
			t.Errorf("%s: %s", c.body, a.body)
		}
	}
	w.want(204, w.contoso, "DELETE", below+"/"+made.ID, "")
	w.want(404, w.contoso, "DELETE", below+"/"+made.ID, "")
}

func TestAdminTokens(t *testing.T) {
	w := newWorld(t)
	const path = "/admin-tokens"
	made := read[AdminToken](t, w.want(201, w.root, "POST", path, `{"tenant":"contoso","note":"their own","life_seconds":3600}`))
	if made.Tenant != w.scope.String() || made.Secret == "" || made.Expires.Sub(made.Created) != time.Hour {
		t.Errorf("%+v", made)
	}
	w.want(200, made.Secret, "GET", "/tenants/contoso/users", "")
	w.want(404, made.Secret, "GET", "/tenants/fabrikam/users", "")
	w.want(403, made.Secret, "POST", path, `{}`) // no token makes a stronger one
	all := read[Page[AdminToken]](t, w.want(200, w.root, "GET", path, ""))
	if len(all.Items) != 4 {
		t.Errorf("%+v", all)
	}
	for _, x := range all.Items {
		if x.Secret != "" {
			t.Error("a secret is listed")
		}
	}
	if next := read[Page[AdminToken]](t, w.want(200, w.root, "GET", path+"?limit=3", "")); len(next.Items) != 3 || next.Next == "" {
		t.Errorf("%+v", next)
	}
	w.want(204, w.root, "DELETE", path+"/"+made.ID, "")
	w.want(401, made.Secret, "GET", "/tenants/contoso/users", "")
	w.want(404, w.root, "DELETE", path+"/"+made.ID, "")
	w.want(404, w.root, "DELETE", path+"/%00", "")
	w.want(404, w.root, "POST", path, `{"tenant":"nobody"}`)
	w.want(400, w.root, "POST", path, `{"life_seconds":999999999999}`)
	w.want(400, w.root, "POST", path, `{"life_seconds":1}`)
	w.want(400, w.root, "POST", path, `{"note":"`+strings.Repeat("x", maxNote+1)+`"}`)
	whole := read[AdminToken](t, w.want(201, w.root, "POST", path, `{}`))
	w.want(200, whole.Secret, "GET", "/tenants", "")
}

func TestSignIns(t *testing.T) {
	w := newWorld(t)
	agent := w.enrol("agent-1")
	ada := read[User](t, w.want(200, w.contoso, "GET", "/tenants/contoso/users/ada@cloud.example", ""))
	var stops []audit.Stop // each that there is: the description has to know them
	for i, name := range audit.StopNames {
		stops = append(stops, audit.Stop{Name: name, At: time.Duration(i) * 1500 * time.Microsecond})
	}
	for i, s := range []audit.SignIn{
		{Trace: strings.Repeat("a", 32), Person: ada.ID, TypedName: "Ada@cloud.example", Outcome: "success", At: time.Now().Add(-time.Hour), Agent: agent.ID,
			Stops: stops},
		{Trace: strings.Repeat("b", 32), TypedName: "mallory", Outcome: "failure", Code: wire.InvalidPassword, At: time.Now(), Agent: db.NewID()},
	} {
		if err := w.cfg.Audit.Record(t.Context(), w.scope, s); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	list := func(query string) []SignIn {
		t.Helper()
		return read[Page[SignIn]](t, w.want(200, w.contoso, "GET", "/tenants/contoso/signins"+query, "")).Items
	}
	if all := list(""); len(all) != 2 || all[0].Name != "mallory" || all[0].Code != wire.InvalidPassword || all[0].AgentName != "" {
		t.Errorf("%+v", all)
	}
	for query, want := range map[string]int{"?trace=" + strings.Repeat("a", 32): 1, "?trace=none": 0, "?user=ada@cloud.example": 1, "?name=mallory": 1,
		"?limit=1": 1, "?since=" + time.Now().Add(-time.Minute).UTC().Format(time.RFC3339): 1} {
		if got := list(query); len(got) != want {
			t.Errorf("%s: %d records, not %d", query, len(got), want)
		}
	}
	if got := list("?user=" + ada.ID)[0]; got.AgentName != "agent-1" || len(got.Stops) != len(stops) || got.Stops[1].Micros != 1500 {
		t.Errorf("%+v", got)
	}
	w.want(400, w.contoso, "GET", "/tenants/contoso/signins?since=yesterday", "")
	w.want(400, w.contoso, "GET", "/tenants/contoso/signins?limit=0", "")
	w.want(404, w.contoso, "GET", "/tenants/contoso/signins?user=nobody", "")
	if got := read[Page[SignIn]](t, w.want(200, w.fabrikam, "GET", "/tenants/fabrikam/signins", "")).Items; len(got) != 0 {
		t.Errorf("another tenant's sign-ins: %+v", got)
	}
}

// TestRemoveTenantWithEverything: nothing of a tenant is in its own way, on either database, and nothing of the other goes.
func TestRemoveTenantWithEverything(t *testing.T) {
	for _, c := range []struct {
		name string
		url  func(t *testing.T) string
	}{
		{"SQLite", func(t *testing.T) string { return dbtest.SQLite(t) }},
		{"PostgreSQL", func(t *testing.T) string { return dbtest.Schema(t, dbtest.Postgres(t)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := must(db.Open(t.Context(), db.Config{URL: c.url(t)}))(t)
			t.Cleanup(func() { _ = store.Close() })
			w := newWorldOn(t, store)
			agent := w.enrol("agent-1")
			w.want(201, w.contoso, "POST", "/tenants/contoso/agent-tokens", `{"directory":"corp"}`)
			w.want(201, w.contoso, "POST", "/tenants/contoso/users", `{"upn":"alice@corp.example"}`)
			if err := w.cfg.Audit.Record(t.Context(), w.scope, audit.SignIn{TypedName: "x", Agent: agent.ID, At: time.Now()}); err != nil {
				t.Fatal(err)
			}
			if err := w.cfg.Lockout.Settle(t.Context(), w.scope, "x", lockout.Wrong, time.Now()); err != nil {
				t.Fatal(err)
			}
			w.want(204, w.root, "DELETE", "/tenants/contoso", "")
			if change := w.announced(); change != (queue.Change{Tenant: w.scope.String()}) {
				t.Errorf("announced %+v", change)
			}
			w.want(401, w.contoso, "GET", "/tenants/contoso", "") // its tokens have gone with it
			w.want(404, w.root, "GET", "/tenants/contoso/users", "")
			for _, table := range []string{"directory", "domain", "person", "app", "agent", "enrol_token", "signing_key", "lockout", "sign_in", "admin_token"} {
				var rows int
				if err := store.Reader().QueryRowContext(t.Context(), fmt.Sprintf(`SELECT count(*) FROM %s WHERE tenant_id = $1`, table), w.scope.String()).Scan(&rows); err != nil || rows != 0 {
					t.Errorf("%d rows are left in %s, %v", rows, table, err)
				}
			}
			w.want(200, w.fabrikam, "GET", "/tenants/fabrikam/users/ada@cloud.example", "")
			w.want(201, w.root, "POST", "/tenants", `{"name":"contoso"}`)
			if again := must(w.cfg.Tenants.TenantByName(t.Context(), "contoso"))(t); again.Scope() == w.scope || again.Scope() == (tenant.Scope{}) {
				t.Error("the name brings the old tenant back")
			}
		})
	}
}

func TestClient(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.all)
	defer server.Close()
	c := &Client{BaseURL: server.URL, Token: w.root}
	var made Tenant
	if err := c.Do(t.Context(), http.MethodPost, Path("tenants"), TenantInput{Name: "northwind"}, &made); err != nil || made.Name != "northwind" {
		t.Fatalf("%+v, %v", made, err)
	}
	err := c.Do(t.Context(), http.MethodPost, Path("tenants"), TenantInput{Name: "northwind"}, nil)
	if err == nil {
		t.Fatal("a second tenant of the name was made")
	}
	for _, want := range []string{"90010", "already", "What to do: ", "Trace: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if got := Path("tenants", "a/b", "users", "x y@z"); got != "/tenants/a%2Fb/users/x%20y@z" {
		t.Errorf("%s", got)
	}
	w.want(404, w.root, "GET", "/tenants/a%2Fb", "") // no way out of a path element
	c.BaseURL = "https://127.0.0.1:1"
	if err := c.Do(t.Context(), http.MethodGet, Path("tenants"), nil, nil); err == nil || !strings.Contains(err.Error(), "cannot be reached") || strings.Contains(err.Error(), w.root) {
		t.Errorf("%v", err)
	}
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("teapot") {
			w.WriteHeader(http.StatusTeapot)
		}
		fmt.Fprint(w, "<html>")
	}))
	defer odd.Close()
	c.BaseURL = odd.URL
	if err := c.Do(t.Context(), http.MethodGet, "/x", nil, &made); err == nil || !strings.Contains(err.Error(), "is it the admin API") {
		t.Errorf("%v", err)
	}
	if err := c.Do(t.Context(), http.MethodGet, "/x?teapot=1", nil, &made); err == nil || !strings.Contains(err.Error(), "418") {
		t.Errorf("%v", err)
	}
}

// TestCanary: what agents are probed with is set, shown without its password, and removed.
func TestCanary(t *testing.T) {
	w := newWorld(t)
	w.want(201, w.contoso, "POST", "/tenants/contoso/directories", `{"name":"probed"}`)
	w.want(201, w.contoso, "POST", "/tenants/contoso/domains", `{"name":"probed.example","kind":"pass-through","directory":"probed"}`)
	const at = "/tenants/contoso/directories/probed/canary"
	w.want(404, w.contoso, "GET", at, "")
	set := w.want(200, w.contoso, "PUT", at, `{"names":["decoy@probed.example"],"password":"Tr0ub4dor-canary"}`)
	shown := w.want(200, w.contoso, "GET", at, "")
	if got := read[Canary](t, shown); !got.HasPassword || !slices.Equal(got.Names, []string{"decoy@probed.example"}) || strings.Contains(set.body+shown.body, "Tr0ub4dor") {
		t.Errorf("%s %s", set.body, shown.body)
	}
	w.want(400, w.contoso, "PUT", at, `{"names":["decoy@elsewhere.example"]}`)
	w.want(400, w.contoso, "PUT", at, `{"names":["decoy@probed.example"],"password":1}`)
	w.want(404, w.contoso, "PUT", "/tenants/contoso/directories/none/canary", `{"names":["decoy@probed.example"]}`)
	w.want(204, w.contoso, "DELETE", at, "")
	w.want(404, w.contoso, "DELETE", at, "")
}

// sick has an agent report that it reaches no domain controller.
func (w *world) sick(t *testing.T, agent string) {
	t.Helper()
	if err := w.cfg.Fleet.Seen(t.Context(), w.scope, agent, fleet.Sighting{Attached: true, Report: &fleet.Report{
		Servers: []fleet.ServerReport{{Address: "dc1:636", State: "down"}}}}, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// guarded has agents report what they read of the directory's lockout policy, and looks at what is shown of it.
func (w *world) guarded(t *testing.T, one, two string) {
	t.Helper()
	show := func() Directory {
		t.Helper()
		id := read[Agent](t, w.want(200, w.contoso, "GET", "/tenants/contoso/agents/"+one, "")).Directory
		return read[Directory](t, w.want(200, w.contoso, "GET", "/tenants/contoso/directories/"+id, ""))
	}
	told := func(agent string, g *fleet.GuardReport) {
		t.Helper()
		if err := w.cfg.Fleet.Seen(t.Context(), w.scope, agent, fleet.Sighting{Attached: true, Report: &fleet.Report{Guard: g}}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if d := show(); d.Lockout != nil {
		t.Errorf("before anybody has read it: %+v", d.Lockout)
	}
	told(one, &fleet.GuardReport{State: "reading", Reserve: 1, Known: true, Threshold: 10, Strictest: 10, WindowMS: 600_000, DurationMS: 1_800_000})
	if d := show(); d.Lockout == nil || *d.Lockout != (DirectoryPolicy{Threshold: 10, Strictest: 10, WindowSeconds: 600, DurationSeconds: 1800, ServiceThreshold: 4}) {
		t.Errorf("%+v", d.Lockout)
	}
	told(two, &fleet.GuardReport{State: "partial", Known: true, Threshold: 10, Strictest: 4, StrictestOf: "strict", Objects: 1, Missing: []string{"x"}})
	if d := show(); d.Lockout == nil || d.Lockout.Strictest != 4 || !strings.Contains(d.Lockout.Warning, "strict") {
		t.Errorf("the strictest word holds: %+v", d.Lockout)
	}
	g := read[Agent](t, w.want(200, w.contoso, "GET", "/tenants/contoso/agents/"+two, "")).Health.Guard
	if g == nil || g.State != "partial" || len(g.Missing) != 1 || g.Directory == nil || g.Directory.Warning == "" {
		t.Errorf("%+v", g)
	}
}

// longAgo makes an agent one of which nothing was heard for more than ten days.
func (w *world) longAgo(t *testing.T, agent string) {
	t.Helper()
	if err := w.cfg.DB.Write(t.Context(), func(tx db.Querier) error {
		at := db.Millis(time.Now().Add(-fleet.ForgetAfter - time.Hour))
		_, err := tx.ExecContext(t.Context(), `UPDATE agent SET created_at = $1, changed_at = $1, last_seen = $1 WHERE id = $2`, at, agent)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
