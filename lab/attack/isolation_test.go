package attack

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/wire"
)

// cover is how a route is tried with identifiers: of another tenant, and in the same way of nowhere. own is the tenant of the one
// who asks, with all its rights.
type cover func(n *installation, own, x ids) []ask

// publicCovers are the routes that browsers, applications and agents reach. A route without a line here fails the test: write down how
// another tenant's identifiers could be put into it, or that there is no place for any.
var publicCovers = map[string]cover{
	"GET /healthz": nil, "GET /readyz": nil, "GET /metrics": nil, // of the process, on a listener of their own
	"OPTIONS /t/{tenant}/.well-known/openid-configuration": nil, "OPTIONS /t/{tenant}/oauth2/keys": nil, "OPTIONS /t/{tenant}/oauth2/revoke": nil,
	"OPTIONS /t/{tenant}/oauth2/token": nil, "OPTIONS /t/{tenant}/oauth2/userinfo": nil, // constant
	"GET /t/{tenant}/.well-known/openid-configuration": nil, "GET /t/{tenant}/oauth2/keys": nil, // public, and nothing but the tenant's name goes in

	"GET " + wire.RevocationsPath + "{list}": nil, // public, and named in certificates; signed by the issuer that the path names

	// The first takes no more than a tenant's public name; what the second takes is a secret that names its tenant, as a token does.
	"POST " + wire.DevicePath: nil, "POST " + wire.DevicePollPath: nil,

	"GET /t/{tenant}/register":               registerPages("GET", func(ids) string { return "" }),
	"POST /t/{tenant}/register":              registerPages("POST", func(ids) string { return "" }),
	"GET /t/{tenant}/register/code/{code}":   registerPages("GET", func(x ids) string { return "/code/" + x.UserCode }),
	"POST /t/{tenant}/register/code/{code}":  registerPages("POST", func(x ids) string { return "/code/" + x.UserCode }),
	"GET /t/{tenant}/register/agent/{agent}": registerPages("GET", func(x ids) string { return "/agent/" + x.Agent }),
	"POST /t/{tenant}/register/agent/{agent}": registerPages("POST", func(x ids) string {
		return "/agent/" + x.Agent
	}),

	"GET /t/{tenant}/oauth2/authorize": func(_ *installation, own, x ids) []ask {
		var all []ask
		for _, q := range authorizations(own, x) {
			all = append(all, ask{method: "GET", path: at(own) + "/oauth2/authorize?" + q.Encode(), cookies: sessionOf(own, x)})
		}
		return all
	},
	"POST /t/{tenant}/oauth2/authorize": func(_ *installation, own, x ids) []ask {
		var all []ask
		for _, q := range authorizations(own, x) {
			all = append(all, ask{method: "POST", path: at(own) + "/oauth2/authorize", form: q, cookies: sessionOf(own, x)})
		}
		return all
	},
	"GET /t/{tenant}/oauth2/resume/{request}": func(_ *installation, own, x ids) []ask {
		return []ask{
			{method: "GET", path: at(own) + "/oauth2/resume/" + x.Request + "?journey=" + x.Journey, cookies: browserOf(own, x)},
			{method: "GET", path: at(own) + "/oauth2/resume/" + own.Request + "?journey=" + x.Journey, cookies: browserOf(own, x)},
			{method: "GET", path: at(own) + "/oauth2/resume/" + x.Request + "?journey=" + own.Journey, cookies: browserOf(own, own)},
		}
	},
	"POST /t/{tenant}/oauth2/token": func(_ *installation, own, x ids) []ask {
		code := url.Values{"grant_type": {"authorization_code"}, "code": {x.Code}, "redirect_uri": {x.Redirect}, "code_verifier": {x.Verifier}}
		ownCode := url.Values{"grant_type": {"authorization_code"}, "code": {x.Code}, "redirect_uri": {own.Redirect}, "code_verifier": {x.Verifier}}
		refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {x.Refresh}}
		inForm := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {x.Refresh}, "client_id": {x.App}, "client_secret": {x.AppSecret}}
		path := at(own) + "/oauth2/token"
		return []ask{
			{method: "POST", path: path, form: code, user: own.App, password: own.AppSecret},
			{method: "POST", path: path, form: ownCode, user: own.App, password: own.AppSecret},
			{method: "POST", path: path, form: refresh, user: own.App, password: own.AppSecret},
			{method: "POST", path: path, form: code, user: x.App, password: x.AppSecret},
			{method: "POST", path: path, form: refresh, user: x.App, password: x.AppSecret},
			{method: "POST", path: path, form: refresh, user: own.App, password: x.AppSecret},
			{method: "POST", path: path, form: inForm},
		}
	},
	"GET /t/{tenant}/oauth2/userinfo": func(_ *installation, own, x ids) []ask {
		return []ask{{method: "GET", path: at(own) + "/oauth2/userinfo", bearer: x.Access}}
	},
	"POST /t/{tenant}/oauth2/userinfo": func(_ *installation, own, x ids) []ask {
		return []ask{{method: "POST", path: at(own) + "/oauth2/userinfo", bearer: x.Access},
			{method: "POST", path: at(own) + "/oauth2/userinfo", form: url.Values{"access_token": {x.Access}}}}
	},
	"POST /t/{tenant}/oauth2/revoke": func(_ *installation, own, x ids) []ask {
		path := at(own) + "/oauth2/revoke"
		return []ask{
			{method: "POST", path: path, form: url.Values{"token": {x.Access}}, user: own.App, password: own.AppSecret},
			{method: "POST", path: path, form: url.Values{"token": {x.Refresh}}, user: own.App, password: own.AppSecret},
			{method: "POST", path: path, form: url.Values{"token": {x.Refresh}}, user: x.App, password: x.AppSecret},
		}
	},
	"GET /t/{tenant}/oauth2/logout": func(_ *installation, own, x ids) []ask {
		var all []ask
		for _, q := range logouts(own, x) {
			all = append(all, ask{method: "GET", path: at(own) + "/oauth2/logout?" + q.Encode(), cookies: sessionOf(own, x)},
				ask{method: "GET", path: at(own) + "/oauth2/logout?" + q.Encode(), cookies: sessionOf(own, own)})
		}
		return all
	},
	"POST /t/{tenant}/oauth2/logout": func(_ *installation, own, x ids) []ask {
		var all []ask
		for _, q := range logouts(own, x) {
			all = append(all, ask{method: "POST", path: at(own) + "/oauth2/logout", form: q, cookies: sessionOf(own, x)})
		}
		return all
	},
	"POST /t/{tenant}/oauth2/logout/confirmed": func(_ *installation, own, x ids) []ask {
		var all []ask
		for _, q := range logouts(own, x) {
			all = append(all, ask{method: "POST", path: at(own) + "/oauth2/logout/confirmed", form: q, cookies: sessionOf(own, x), origin: true})
		}
		return all
	},
	"GET /t/{tenant}/signed-out": func(_ *installation, own, x ids) []ask {
		return []ask{{method: "GET", path: at(own) + "/signed-out", cookies: sessionOf(own, x)}}
	},
	"GET /t/{tenant}/signin/{journey}":          journeys("GET", "", nil),
	"GET /t/{tenant}/signin/{journey}/password": journeys("GET", "/password", nil),
	"GET /t/{tenant}/signin/{journey}/continue": journeys("GET", "/continue", nil),
	"POST /t/{tenant}/signin/{journey}": journeys("POST", "", func(x ids) url.Values {
		return url.Values{"username": {x.UPN}}
	}),
	"POST /t/{tenant}/signin/{journey}/password": journeys("POST", "/password", func(x ids) url.Values {
		return url.Values{"username": {x.UPN}, "password": {x.Password}}
	}),
	wire.RegisterPath: func(n *installation, own, x ids) []ask {
		// A token that is still good is good wherever it is used: it names its tenant.
		return []ask{n.registration(x.UsedTokenSecret, own.AgentName), n.registration(x.AgentToken, own.AgentName), n.registration(x.AdminSecret, own.AgentName)}
	},
}

func at(own ids) string { return "/t/" + own.TenantName }

// sessionOf is own's browser with the session of x in it.
func sessionOf(own, x ids) map[string]string {
	return map[string]string{"__Host-sallyport-session-" + own.TenantName: x.Session, "__Host-sallyport-session-" + x.TenantName: x.Session}
}

func browserOf(own, x ids) map[string]string {
	c := sessionOf(own, x)
	c["__Host-sallyport-browser"] = x.Browser
	return c
}

// authorizations are requests to sign in at own with something of x in them.
func authorizations(own, x ids) []url.Values {
	with := func(client, redirect string, more url.Values) url.Values {
		q := url.Values{"client_id": {client}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid"}, "state": {"s"},
			"code_challenge": {strings.Repeat("c", 43)}, "code_challenge_method": {"S256"}}
		for k, v := range more {
			q[k] = v
		}
		return q
	}
	return []url.Values{
		with(x.App, x.Redirect, nil), with(x.App, own.Redirect, nil), with(own.App, x.Redirect, nil),
		with(own.App, own.Redirect, url.Values{"prompt": {"none"}}),
		with(own.App, own.Redirect, url.Values{"prompt": {"none"}, "id_token_hint": {x.IDToken}}),
		with(own.App, own.Redirect, url.Values{"id_token_hint": {x.IDToken}}),
		with(own.App, own.Redirect, url.Values{"login_hint": {x.UPN}}),
		with(own.App, own.Redirect, url.Values{"claims": {`{"id_token":{"sub":{"value":"` + x.User + `"}}}`}, "prompt": {"none"}}),
	}
}

func logouts(own, x ids) []url.Values {
	return []url.Values{
		{"client_id": {x.App}}, {"client_id": {x.App}, "post_logout_redirect_uri": {x.PostLogout}},
		{"client_id": {own.App}, "post_logout_redirect_uri": {x.PostLogout}}, {"id_token_hint": {x.IDToken}},
		{"id_token_hint": {x.IDToken}, "client_id": {own.App}}, {"id_token_hint": {x.IDToken}, "post_logout_redirect_uri": {x.PostLogout}},
	}
}

// journeys tries a page of a journey: of x in the browser of x, of x in an own browser, and of own in the browser of x.
func journeys(method, page string, form func(ids) url.Values) cover {
	return func(_ *installation, own, x ids) []ask {
		var all []ask
		for _, of := range []struct{ journey, browser ids }{{x, x}, {x, own}, {own, x}} {
			a := ask{method: method, path: at(own) + "/signin/" + of.journey.Journey + page, cookies: browserOf(own, of.browser), origin: method == "POST"}
			if form != nil {
				a.form = form(x)
			}
			all = append(all, a)
		}
		return all
	}
}

// registerPages tries a page on which agents are let in: of x as an administrator of own, and without a session.
func registerPages(method string, rest func(x ids) string) cover {
	return func(_ *installation, own, x ids) []ask {
		a := ask{method: method, path: at(own) + "/register" + rest(x), cookies: sessionOf(own, own), origin: method == "POST"}
		if method == "POST" {
			a.form = url.Values{"code": {x.UserCode}, "decision": {"approve"}, "compared": {"yes"}, "directory": {x.Directory}}
		}
		stranger := a
		stranger.cookies = sessionOf(own, x)
		return []ask{a, stranger}
	}
}

// adminBodies are the bodies of the admin API's changes, with something of x wherever an identifier fits. nil: without a body.
var adminBodies = map[string]func(own, x ids) []any{
	"POST /admin/v1/tenants": func(_, x ids) []any { return []any{object{"name": x.TenantName, "display_name": "x"}} },
	"PATCH /admin/v1/tenants/{tenant}": func(_, x ids) []any {
		return []any{object{"display_name": "x"}}
	},
	"PUT /admin/v1/tenants/{tenant}/verification": func(_, x ids) []any {
		return []any{object{"administrators": true, "groups": []string{"x"}, "percent": 1, "let_in_alone": false}}
	},
	"PUT /admin/v1/tenants/{tenant}/agent-keys":   func(_, x ids) []any { return []any{object{"require": "hardware"}} },
	"PUT /admin/v1/tenants/{tenant}/registration": func(_, x ids) []any { return []any{object{"approval": "needed"}} },
	"POST /admin/v1/admin-tokens":                 func(_, x ids) []any { return []any{object{"tenant": x.TenantName}, object{"tenant": x.Tenant}} },
	"POST /admin/v1/tenants/{tenant}/directories": func(_, x ids) []any {
		return []any{object{"name": x.DirectoryName}}
	},
	"PATCH /admin/v1/tenants/{tenant}/directories/{directory}": func(_, x ids) []any { return []any{object{"name": "renamed"}} },
	"PUT /admin/v1/tenants/{tenant}/directories/{directory}/canary": func(own, x ids) []any {
		return []any{object{"names": []string{"decoy@" + own.Domain}}, object{"names": []string{"decoy@" + x.Domain}, "password": "x"}}
	},
	"POST /admin/v1/tenants/{tenant}/domains": func(_, x ids) []any {
		return []any{object{"name": "new.example", "kind": "pass-through", "directory": x.Directory},
			object{"name": "new.example", "kind": "pass-through", "directory": x.AgentName}, object{"name": x.Domain, "kind": "cloud"}}
	},
	"PATCH /admin/v1/tenants/{tenant}/domains/{domain}": func(_, x ids) []any {
		return []any{object{"admit_users": true}, object{"kind": "pass-through", "directory": x.Directory}}
	},
	"POST /admin/v1/tenants/{tenant}/users": func(own, x ids) []any {
		return []any{object{"upn": "new@" + own.Domain, "source": "synced", "directory": x.Directory},
			object{"upn": "new@" + own.Domain, "source": "synced", "directory": x.AgentName}, object{"upn": x.UPN, "source": "cloud-only"}}
	},
	"PATCH /admin/v1/tenants/{tenant}/users/{user}": func(_, x ids) []any { return []any{object{"display_name": "x"}, object{"upn": x.UPN}} },
	"PUT /admin/v1/tenants/{tenant}/users/{user}/password": func(_, x ids) []any {
		return []any{object{"password": "a-new-Passw0rd-of-somebody"}}
	},
	"POST /admin/v1/tenants/{tenant}/agents/{agent}/approve": nil,
	"POST /admin/v1/tenants/{tenant}/agents/{agent}/deny":    nil,
	"POST /admin/v1/tenants/{tenant}/users/{user}/unlock":    nil,
	"POST /admin/v1/tenants/{tenant}/users/{user}/sign-out":  nil,
	"POST /admin/v1/tenants/{tenant}/apps": func(_, x ids) []any {
		return []any{object{"name": x.AppName, "redirect_uris": []string{x.Redirect}}}
	},
	"PATCH /admin/v1/tenants/{tenant}/apps/{app}":       func(_, x ids) []any { return []any{object{"name": "x"}} },
	"POST /admin/v1/tenants/{tenant}/apps/{app}/secret": nil,
	"PATCH /admin/v1/tenants/{tenant}/agents/{agent}":   func(_, x ids) []any { return []any{object{"name": "renamed"}} },
	"POST /admin/v1/tenants/{tenant}/agents/{agent}/revoke": func(_, x ids) []any {
		return []any{object{"reason": "a test"}}
	},
	"POST /admin/v1/tenants/{tenant}/agents/{agent}/drain":   nil,
	"POST /admin/v1/tenants/{tenant}/agents/{agent}/resume":  nil,
	"POST /admin/v1/tenants/{tenant}/agents/{agent}/release": nil,
	"POST /admin/v1/tenants/{tenant}/agents/{agent}/renew":   func(_, _ ids) []any { return []any{object{}} },
	"POST /admin/v1/tenants/{tenant}/agents/renew":           func(_, _ ids) []any { return []any{object{}} },
	"POST /admin/v1/tenants/{tenant}/agent-tokens": func(_, x ids) []any {
		return []any{object{"directory": x.Directory}, object{"directory": x.AgentName}}
	},
	"POST /admin/v1/tenants/{tenant}/keys/{algorithm}/rotate":  nil,
	"POST /admin/v1/tenants/{tenant}/keys/{algorithm}/replace": nil,
}

type object map[string]any

// adminCover makes the asks of a route of the admin API: every place for an identifier is filled with every spelling that x has, in
// the tenant of the one who asks and in the tenant x.
func adminCover(t *testing.T, pattern string, own, x ids) []ask {
	t.Helper()
	method, path, _ := strings.Cut(pattern, " ")
	bodies := []any{nil}
	if method != "GET" && method != "DELETE" {
		make, known := adminBodies[pattern]
		if !known {
			t.Errorf("%s is not covered: write its bodies into adminBodies", pattern)
			return nil
		}
		if make != nil {
			bodies = make(own, x)
		}
	}
	spellings := []struct {
		place string
		with  []string
	}{{"{directory}", []string{x.Directory, x.DirectoryName}}, {"{domain}", []string{x.Domain}}, {"{user}", []string{x.User, x.UPN}},
		{"{app}", []string{x.App, x.AppName}}, {"{agent}", []string{x.Agent, x.AgentName}}, {"{token}", []string{x.AgentToken, x.AdminToken}},
		{"{algorithm}", []string{"ES256"}}, {"{entry}", []string{"0", "2"}}}
	paths := []string{path}
	if strings.Contains(path, "{tenant}") {
		paths = []string{strings.Replace(path, "{tenant}", x.TenantName, 1), strings.Replace(path, "{tenant}", x.Tenant, 1)}
		// In the own tenant, but for what would change the tenant itself.
		if path != "/admin/v1/tenants/{tenant}" {
			paths = append(paths, strings.Replace(path, "{tenant}", own.TenantName, 1))
		}
	}
	for _, s := range spellings {
		var filled []string
		for _, p := range paths {
			if !strings.Contains(p, s.place) {
				filled = append(filled, p)
				continue
			}
			for _, w := range s.with {
				filled = append(filled, strings.Replace(p, s.place, url.PathEscape(w), 1))
			}
		}
		paths = filled
	}
	if i := strings.IndexByte(path, '{'); strings.Contains(paths[0], "{") {
		t.Errorf("%s is not covered: %s has a place that spellings does not know", pattern, path[i:])
		return nil
	}
	var all []ask
	for _, p := range paths {
		for _, b := range bodies {
			all = append(all, ask{method: method, path: p, admin: true, bearer: own.AdminSecret, json: b})
		}
		if strings.HasSuffix(p, "/apps") && method == "POST" {
			all = append(all, ask{method: method, path: p, admin: true, bearer: own.AdminSecret, key: x.Key,
				json: object{"name": "keyed", "redirect_uris": []string{own.Redirect}}})
		}
		if method == "GET" && strings.HasPrefix(p, "/admin/v1/tenants/"+own.TenantName+"/") {
			for _, q := range []string{"after=" + x.User, "after=" + x.Agent, "trace=" + x.Trace, "user=" + x.User, "user=" + url.QueryEscape(x.UPN), "name=" + url.QueryEscape(x.UPN)} {
				all = append(all, ask{method: method, path: p + "?" + q, admin: true, bearer: own.AdminSecret})
			}
		}
	}
	return all
}

// TestIsolation walks every route with the identifiers of another tenant, asked by somebody who has all rights in their own. Each answer
// has to be the one for identifiers that exist nowhere: status, headers and body, but for what was sent and what is new each time.
func TestIsolation(t *testing.T) {
	n := newInstallation(t)
	own, theirs := n.furnish("a"), n.furnish("b")
	nowhere := theirs.nowhere()
	var real, made []string
	theirs.each(func(s *string) { real = append(real, *s) })
	nowhere.each(func(s *string) { made = append(made, *s) })
	for i := range real {
		if real[i] == made[i] || len(real[i]) != len(made[i]) {
			t.Fatalf("%q is no invention of the form of %q", made[i], real[i])
		}
	}
	all, asked := routes(t), 0
	for _, pattern := range all {
		t.Run(pattern, func(t *testing.T) {
			n := *n
			n.t = t
			var there, none []ask
			if strings.Contains(pattern, " /admin/") {
				there, none = adminCover(t, pattern, own, theirs), adminCover(t, pattern, own, nowhere)
			} else {
				make, known := publicCovers[pattern]
				if !known {
					t.Fatal("is not covered: write into publicCovers how another tenant's identifiers could be put into it")
				}
				if make == nil {
					return
				}
				there, none = make(&n, own, theirs), make(&n, own, nowhere)
			}
			if len(there) == 0 {
				t.Fatal("nothing was asked")
			}
			for i := range there {
				asked++
				got, want := n.send(there[i]), n.send(none[i])
				what := there[i].method + " " + there[i].path
				if got.status != want.status || got.masked(theirs) != want.masked(nowhere) {
					t.Errorf("%s:\nof another tenant: %d\n%s\n\nof nowhere: %d\n%s", what, got.status, got.masked(theirs), want.status, want.masked(nowhere))
				}
				if got.size() != want.size() {
					t.Errorf("%s: %d bytes of another tenant, %d of nowhere", what, got.size(), want.size())
				}
				if got.status == 429 || got.status >= 500 {
					t.Errorf("%s: %d, which compares nothing", what, got.status)
				}
				theirs.leaks(t, there[i], got)
			}
		})
	}
	for pattern := range publicCovers {
		if !slices.Contains(all, pattern) {
			t.Errorf("publicCovers has %s, which is no route", pattern)
		}
	}
	t.Logf("%d asks on %d routes", asked, len(all))
	n.unharmed(theirs)
}

// leaks holds that an answer tells nothing of x that was not in the question.
func (x ids) leaks(t *testing.T, asked ask, got answer) {
	t.Helper()
	question := strings.Join([]string{asked.path, asked.form.Encode(), asked.bearer, asked.key, asked.user, asked.password, string(fatal(json.Marshal(asked.json))(t))}, " ")
	for _, value := range asked.cookies {
		question += " " + value
	}
	got.tells(t, x, question)
}

// tells holds that an answer has nothing of x in it but what stood in the question.
func (a answer) tells(t *testing.T, x ids, question string) {
	t.Helper()
	text := a.body
	for name, values := range a.header {
		text += "\n" + name + ": " + strings.Join(values, " ")
	}
	x.each(func(s *string) {
		if strings.Contains(text, *s) && !strings.Contains(question, *s) && !strings.Contains(question, url.QueryEscape(*s)) {
			t.Errorf("%.200s: the answer tells of %q", question, *s)
		}
	})
}

// unharmed holds that a tenant has still all it had: whatever was asked with its identifiers elsewhere has used, changed or ended nothing.
func (n *installation) unharmed(x ids) {
	t := n.t
	t.Helper()
	path := "/tenants/" + x.TenantName
	for _, at := range []string{"/directories/" + x.Directory, "/domains/" + x.Domain, "/users/" + x.User, "/apps/" + x.App, "/agents/" + x.Agent} {
		var got any
		if err := n.operator.Do(t.Context(), "GET", path+at, nil, &got); err != nil {
			t.Errorf("%s: %v", at, err)
		}
	}
	if a := do[admin.Agent](n, "GET", path+"/agents/"+x.Agent, nil); a.State != "active" || a.Name != x.AgentName {
		t.Errorf("the agent is %+v", a)
	}
	if tokens := do[admin.Page[admin.AgentToken]](n, "GET", path+"/agent-tokens", nil); !slices.ContainsFunc(tokens.Items, func(k admin.AgentToken) bool { return k.ID == x.AgentToken }) {
		t.Error("the enrolment token is gone")
	}
	for what, a := range map[string]ask{
		"the code": {method: "POST", path: at(x) + "/oauth2/token", user: x.App, password: x.AppSecret,
			form: url.Values{"grant_type": {"authorization_code"}, "code": {x.Code}, "redirect_uri": {x.Redirect}, "code_verifier": {x.Verifier}}},
		"the refresh token": {method: "POST", path: at(x) + "/oauth2/token", user: x.App, password: x.AppSecret,
			form: url.Values{"grant_type": {"refresh_token"}, "refresh_token": {x.Refresh}}},
		"the access token":     {method: "GET", path: at(x) + "/oauth2/userinfo", bearer: x.Access},
		"the journey":          {method: "GET", path: at(x) + "/signin/" + x.Journey + "/password", cookies: browserOf(x, x)},
		"the admin token":      {method: "GET", path: "/admin/v1/tenants/" + x.TenantName, admin: true, bearer: x.AdminSecret},
		"the enrolment secret": n.registration(x.AgentTokenSecret, "another-agent"),
	} {
		if got := n.send(a); got.status != 200 && got.status != 201 {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
	}
	silent := url.Values{"client_id": {x.App}, "redirect_uri": {x.Redirect}, "response_type": {"code"}, "scope": {"openid"}, "prompt": {"none"},
		"code_challenge": {strings.Repeat("c", 43)}, "code_challenge_method": {"S256"}}
	got := n.send(ask{method: "GET", path: at(x) + "/oauth2/authorize?" + silent.Encode(), cookies: sessionOf(x, x)})
	if !strings.Contains(got.header.Get("Location"), "code=") {
		t.Errorf("the session: %d %s", got.status, got.header.Get("Location"))
	}
}
