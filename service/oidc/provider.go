package oidc

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/keyring"
	"github.com/sallyport-auth/sallyport/service/signin"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// Signin finds out who sits at the browser. *signin.Service is the one of the product; tests and benchmarks have another,
// which knows without asking.
type Signin interface {
	// Begin starts a journey and returns where the browser goes next; at its end it comes to Ask.ReturnTo?journey=…
	Begin(w http.ResponseWriter, r *http.Request, t tenant.Tenant, ask signin.Ask) (location string, err error)
	// Finish takes a journey's result, once.
	Finish(r *http.Request, t tenant.Tenant, journeyID string) (signin.Result, error)
	// Current returns the browser's session, false when it has none.
	Current(r *http.Request, t tenant.Tenant) (signin.Result, bool, error)
	// End ends the browser's session and returns its id, "" when it had none.
	End(w http.ResponseWriter, r *http.Request, t tenant.Tenant) (sessionID string, err error)
}

// Config holds what a Provider works with. All but Logger and Metrics are needed.
type Config struct {
	DB *db.DB
	// PublicURL is the origin under which browsers and applications reach the service ("https://login.example").
	PublicURL string
	Signin    Signin
	Tenants   *tenant.Store
	Users     *user.Store
	Apps      *app.Store
	Keys      *keyring.Ring
	// Logger gets one debug line for each request and the cause of each refusal at info; nil discards.
	Logger *slog.Logger
	// Metrics registers the counter of requests; nil registers nothing.
	Metrics prometheus.Registerer
}

// Provider is the OpenID Connect door of all tenants. It is safe for concurrent use and keeps no state between requests but a
// limit of failures for each address.
type Provider struct {
	db       *db.DB
	public   string
	signin   Signin
	tenants  *tenant.Store
	users    *user.Store
	apps     *app.Store
	keys     *keyring.Ring
	log      *slog.Logger
	requests *prometheus.CounterVec
	failures *failureLimit
	now      func() time.Time
}

// New returns a Provider.
func New(c Config) *Provider {
	p := &Provider{
		db: c.DB, public: strings.TrimRight(c.PublicURL, "/"), signin: c.Signin, tenants: c.Tenants, users: c.Users, apps: c.Apps,
		keys: c.Keys, log: c.Logger, failures: newFailureLimit(), now: time.Now,
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.requests = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_oidc_requests_total",
		Help: "OpenID Connect requests by endpoint and outcome (ok, or the protocol's error code)."}, []string{"endpoint", "outcome"})
	// What is not there yet cannot be seen to grow.
	for _, endpoint := range []string{"discovery", "keys", "authorize", "resume", "token", "userinfo", "revoke", "logout"} {
		p.requests.WithLabelValues(endpoint, "ok")
		p.requests.WithLabelValues(endpoint, "server_error")
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(p.requests)
	}
	return p
}

// issuer returns the identifier of a tenant's provider.
func (p *Provider) issuer(t tenant.Tenant) string { return p.public + tenantPath(t) }

// tenantPath returns the path below which everything of a tenant lies.
func tenantPath(t tenant.Tenant) string { return "/t/" + t.Name }

// Routes returns the handler of everything below /t/{tenant}/oauth2 and of /t/{tenant}/.well-known/openid-configuration.
//
// It sets traces and security headers itself, and must not be wrapped in a general protection against cross-site posts: applications post authorization and logout
// requests from their own sites, and browsers' scripts call the token endpoint from theirs. The one form of our own, which
// confirms a sign-out, is protected here.
func (p *Provider) Routes() http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /t/{tenant}/.well-known/openid-configuration", p.open("GET", p.serve("discovery", p.discovery)))
	m.Handle("GET /t/{tenant}/oauth2/keys", p.open("GET", p.serve("keys", p.publicKeys)))
	m.Handle("GET /t/{tenant}/oauth2/authorize", p.page("authorize", p.authorize))
	m.Handle("POST /t/{tenant}/oauth2/authorize", p.page("authorize", p.postToGet))
	m.Handle("GET /t/{tenant}/oauth2/resume/{request}", p.page("resume", p.resume))
	m.Handle("POST /t/{tenant}/oauth2/token", p.open("POST", p.serve("token", p.limited(p.token))))
	m.Handle("GET /t/{tenant}/oauth2/userinfo", p.open("GET, POST", p.serve("userinfo", p.userInfo)))
	m.Handle("POST /t/{tenant}/oauth2/userinfo", p.open("GET, POST", p.serve("userinfo", p.userInfo)))
	m.Handle("POST /t/{tenant}/oauth2/revoke", p.open("POST", p.serve("revoke", p.limited(p.revoke))))
	m.Handle("GET /t/{tenant}/oauth2/logout", p.page("logout", p.logout))
	m.Handle("POST /t/{tenant}/oauth2/logout", p.page("logout", p.postToGet))
	m.Handle("POST /t/{tenant}/oauth2/logout/confirmed", p.sameOrigin(p.page("logout", p.logoutConfirmed)))
	for path, methods := range map[string]string{".well-known/openid-configuration": "GET", "oauth2/keys": "GET", "oauth2/token": "POST",
		"oauth2/userinfo": "GET, POST", "oauth2/revoke": "POST"} {
		m.Handle("OPTIONS /t/{tenant}/"+path, p.open(methods, http.HandlerFunc(preflight)))
	}
	return web.Chain(m, web.Trace, web.Secure)
}

// call is one request on its way: what the log line at its end will say.
type call struct {
	tenant tenant.Tenant
	app    string
}

// endpoint answers one request for a tenant. It returns nil once it has answered, or the error that is still to be answered.
type endpoint func(w http.ResponseWriter, r *http.Request, c *call) error

// serve makes a handler of an endpoint that applications call: errors are JSON.
func (p *Provider) serve(name string, e endpoint) http.Handler {
	return p.handle(name, e, func(w http.ResponseWriter, r *http.Request, _ *call, err error) {
		writeError(w, r, asProtocolError(err))
	})
}

// page makes a handler of an endpoint that a person's browser comes to: errors are pages.
func (p *Provider) page(name string, e endpoint) http.Handler { return p.handle(name, e, p.errorPage) }

// redirected is an error that has been answered already, by sending the browser back to the application with it.
type redirected struct{ *protocolError }

// Unwrap returns the error that was sent.
func (e redirected) Unwrap() error { return e.protocolError }

// handle finds the tenant, runs the endpoint, answers its error and writes the log.
func (p *Provider) handle(name string, e endpoint, refuse func(http.ResponseWriter, *http.Request, *call, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, began := r.Context(), time.Now()
		var c call
		t, err := p.tenants.RecentTenant(ctx, r.PathValue("tenant"), began)
		switch {
		case fault.Has(err, wire.NotFound):
			err = fault.Wrap(wire.TenantUnknown, "tenant in the address", err)
		case err == nil:
			c.tenant = t
			err = e(w, r, &c)
		}
		outcome := "ok"
		if err != nil {
			if _, done := err.(redirected); !done {
				refuse(w, r, &c, err)
			}
			outcome = outcomeOf(err)
			level := slog.LevelInfo
			if outcome == "server_error" && ctx.Err() == nil { // else the client went away, which is nobody's fault
				level = slog.LevelError
			}
			p.log.Log(ctx, level, "openid connect request refused", slog.String("endpoint", name), slog.String("tenant", c.tenant.Name),
				slog.String("app", c.app), slog.String("outcome", outcome), slog.Any("error", err), slog.String("trace", web.TraceID(ctx)))
		}
		p.requests.WithLabelValues(name, outcome).Inc()
		p.log.DebugContext(ctx, "openid connect request", slog.String("endpoint", name), slog.String("tenant", c.tenant.Name),
			slog.String("app", c.app), slog.String("outcome", outcome), slog.Duration("took", time.Since(began)),
			slog.String("trace", web.TraceID(ctx)))
	})
}

// outcomeOf returns the protocol's word for an error: a label of few values.
func outcomeOf(err error) string {
	if e, ok := err.(redirected); ok {
		return e.name
	}
	return asProtocolError(err).name
}

// SessionEnded ends what was issued for a browser session, but for grants with offline_access. Logout does it by itself; it is
// for others who end sessions.
func (p *Provider) SessionEnded(ctx context.Context, s tenant.Scope, session string) error {
	if session == "" {
		return nil
	}
	return p.db.Write(ctx, func(tx db.Querier) error { return revokeSession(ctx, tx, s, session, p.now()) })
}
