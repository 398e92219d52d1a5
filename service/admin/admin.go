package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/canary"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/keyring"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/reglog"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// Config holds the nouns that the API speaks for. All but Logger, Queue and Attached are needed.
type Config struct {
	DB      *db.DB
	Box     *atrest.Box // seals the answers kept for idempotency keys
	Tenants *tenant.Store
	Users   *user.Store
	Apps    *app.Store
	Fleet   *fleet.Store
	Keys    *keyring.Ring
	// Canaries are what agents are probed with.
	Canaries *canary.Store
	Lockout  *lockout.Guard
	Audit    *audit.Log
	// Log is the registration log, of which the API shows entries and checkpoints.
	Log *reglog.Log
	// Queue announces fleet changes to every gateway; nil: gateways find out by themselves within a second.
	Queue *queue.Queue
	// Attached lists the agents of a tenant that are connected to this process; nil: none is known to be.
	Attached func(tenant.Scope) []string
	// Elsewhere says that other processes hold agents, too: one that was seen a moment ago then counts as connected.
	Elsewhere bool
	// PublicURL is where browsers reach the service; issuers begin with it.
	PublicURL string
	Logger    *slog.Logger
}

// API is the admin API. It is safe for concurrent use.
type API struct{ cfg Config }

// New returns the API over the nouns in cfg.
func New(cfg Config) *API {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &API{cfg: cfg}
}

// request is what every handler gets: the caller is known, the tenant (where the path names one) is found and allowed.
type request struct {
	*http.Request
	caller caller
	tenant tenant.Tenant
	scope  tenant.Scope
	now    time.Time
}

// handler answers a request with a status and a body (nil: none), or with a fault.
type handler func(ctx context.Context, r *request) (status int, body any, err error)

// Routes returns the handler of everything below /admin/v1/. A request for anything else is answered like one for a resource
// that does not exist, after the token was looked at: who has none learns nothing but the API's description.
func (a *API) Routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range a.routes() {
		if strings.HasPrefix(pattern, http.MethodPost+" ") {
			h = a.once(h)
		}
		mux.Handle(pattern, a.serve(h))
	}
	mux.HandleFunc("GET /admin/v1/openapi.json", describe)
	stray := func(r *http.Request) http.Handler {
		return a.serve(func(context.Context, *request) (int, any, error) {
			if allowed := allowedMethods(mux, r); len(allowed) > 0 {
				return 0, nil, &methodError{r.Method, allowed}
			}
			return 0, nil, fault.New(wire.NotFound, "no such resource in the admin API")
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			stray(r).ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// routes are the handlers by method and path. Below /admin/v1/tenants/{tenant} a token of that tenant is enough.
func (a *API) routes() map[string]handler {
	const tenants, one, tokens = "/admin/v1/tenants", "/admin/v1/tenants/{tenant}", "/admin/v1/admin-tokens"
	return map[string]handler{
		"GET " + tenants: a.listTenants, "POST " + tenants: a.createTenant,
		"GET " + one: a.showTenant, "PATCH " + one: a.changeTenant, "DELETE " + one: a.removeTenant,
		"GET " + one + "/verification": a.showVerification, "PUT " + one + "/verification": a.setVerification,
		"GET " + one + "/agent-keys": a.showAgentKeys, "PUT " + one + "/agent-keys": a.setAgentKeys,
		"GET " + one + "/registration": a.showRegistration, "PUT " + one + "/registration": a.setRegistration,
		"POST " + one + "/keys/{algorithm}/rotate": a.rotateKey, "POST " + one + "/keys/{algorithm}/replace": a.replaceKey,

		"GET " + tokens: a.listAdminTokens, "POST " + tokens: a.createAdminToken, "DELETE " + tokens + "/{token}": a.removeAdminToken,

		"GET " + one + "/directories": a.listDirectories, "POST " + one + "/directories": a.createDirectory,
		"GET " + one + "/directories/{directory}": a.showDirectory, "PATCH " + one + "/directories/{directory}": a.renameDirectory,
		"DELETE " + one + "/directories/{directory}":    a.removeDirectory,
		"GET " + one + "/directories/{directory}/proof": a.showProof, "DELETE " + one + "/directories/{directory}/proof": a.unpinDirectory,
		"GET " + one + "/directories/{directory}/canary": a.showCanary, "PUT " + one + "/directories/{directory}/canary": a.setCanary,
		"DELETE " + one + "/directories/{directory}/canary": a.removeCanary,

		"GET " + one + "/domains": a.listDomains, "POST " + one + "/domains": a.createDomain,
		"GET " + one + "/domains/{domain}": a.showDomain, "PATCH " + one + "/domains/{domain}": a.changeDomain,
		"DELETE " + one + "/domains/{domain}": a.removeDomain,

		"GET " + one + "/users": a.listUsers, "POST " + one + "/users": a.createUser,
		"GET " + one + "/users/{user}": a.showUser, "PATCH " + one + "/users/{user}": a.changeUser,
		"DELETE " + one + "/users/{user}": a.removeUser, "PUT " + one + "/users/{user}/password": a.setPassword,
		"POST " + one + "/users/{user}/unlock": a.unlockUser, "POST " + one + "/users/{user}/sign-out": a.signOutUser,

		"GET " + one + "/apps": a.listApps, "POST " + one + "/apps": a.createApp,
		"GET " + one + "/apps/{app}": a.showApp, "PATCH " + one + "/apps/{app}": a.changeApp,
		"DELETE " + one + "/apps/{app}": a.removeApp, "POST " + one + "/apps/{app}/secret": a.rotateSecret,

		"GET " + one + "/agents": a.listAgents, "GET " + one + "/agents/{agent}": a.showAgent,
		"PATCH " + one + "/agents/{agent}": a.renameAgent, "DELETE " + one + "/agents/{agent}": a.removeAgent,
		"POST " + one + "/agents/{agent}/revoke": a.revokeAgent, "POST " + one + "/agents/{agent}/release": a.releaseAgent,
		"POST " + one + "/agents/{agent}/drain": a.drainAgent, "POST " + one + "/agents/{agent}/resume": a.resumeAgent,
		"POST " + one + "/agents/{agent}/approve": a.approveAgent, "POST " + one + "/agents/{agent}/deny": a.denyAgent,
		"POST " + one + "/agents/{agent}/renew": a.renewAgent, "POST " + one + "/agents/renew": a.renewAgents,
		"GET " + one + "/agents/{agent}/history": a.agentHistory,
		"GET " + one + "/agent-tokens":           a.listTokens, "POST " + one + "/agent-tokens": a.createToken,
		"DELETE " + one + "/agent-tokens/{token}": a.removeToken,

		"GET " + one + "/signins": a.listSignIns,

		"GET " + one + "/registration-log": a.listEntries, "GET " + one + "/registration-log/checkpoint": a.showCheckpoint,
		"GET " + one + "/registration-log/{entry}": a.showEntry,
	}
}

// allowedMethods lists what else may be done at a request's path.
func allowedMethods(mux *http.ServeMux, r *http.Request) (allowed []string) {
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := mux.Handler(other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	return allowed
}

// methodError says that a resource exists and cannot be treated like this.
type methodError struct {
	method  string
	allowed []string
}

func (e *methodError) Error() string {
	return fmt.Sprintf("%s is not possible here, only %s", e.method, strings.Join(e.allowed, ", "))
}

// serve is the door: it authenticates, finds the tenant, calls h and translates its fault.
func (a *API) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := &request{Request: r, now: time.Now()}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		status, body, err := a.answer(r.Context(), req, h)
		if err != nil {
			level := slog.LevelInfo
			if refuse(w, r, err) >= http.StatusInternalServerError {
				level = slog.LevelError
			}
			a.cfg.Logger.Log(r.Context(), level, "admin request refused", "method", r.Method, "path", r.URL.Path,
				"trace", web.TraceID(r.Context()), "token", req.caller.token, "error", err)
			return
		}
		if again, ok := body.(replay); ok {
			a.cfg.Logger.Info("admin answer repeated", "method", r.Method, "path", r.URL.Path,
				"trace", web.TraceID(r.Context()), "token", req.caller.token)
			sendReplay(w, status, again)
			return
		}
		if r.Method != http.MethodGet {
			a.cfg.Logger.Info("admin change", "method", r.Method, "path", r.URL.Path,
				"trace", web.TraceID(r.Context()), "token", req.caller.token)
		}
		w.Header().Set("Cache-Control", "no-store")
		if body == nil {
			w.WriteHeader(status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // the caller has gone: nothing to tell
	})
}

// refuse answers with the problem document of err, and returns the status.
func refuse(w http.ResponseWriter, r *http.Request, err error) (status int) {
	var method *methodError
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &method):
		w.Header().Set("Allow", strings.Join(method.allowed, ", ")) // RFC 9110 §15.5.6
		return problem(w, r, http.StatusMethodNotAllowed, method.Error())
	case errors.As(err, &large):
		return problem(w, r, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", large.Limit))
	case fault.CodeOf(err) == wire.Unauthenticated:
		challenge := `Bearer realm="sallyport admin"`
		if r.Header.Get("Authorization") != "" {
			challenge += `, error="invalid_token"` // RFC 6750 §3.1: only for who tried
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	web.Problem(w, r, err)
	return web.Status(fault.CodeOf(err))
}

// problem is web.Problem for the few refusals whose status says more than their number.
func problem(w http.ResponseWriter, r *http.Request, status int, detail string) int {
	entry := fault.Entry(fault.New(wire.BadRequest, ""))
	w.Header().Set("Content-Type", wire.ProblemType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(wire.Problem{Title: entry.Public, Status: status, Code: entry.Code, Detail: detail, Remedy: entry.Remedy,
		Trace: web.TraceID(r.Context())}) // the caller has gone: nothing to tell
	return status
}

// answer runs h for an authenticated caller. A tenant that the caller may not see answers exactly as one that does not exist.
func (a *API) answer(ctx context.Context, r *request, h handler) (int, any, error) {
	c, err := a.authenticate(r.Request, r.now)
	if err != nil {
		return 0, nil, err
	}
	r.caller = c
	ctx = tenant.WithActor(ctx, tenant.Actor{Kind: "admin-token", ID: c.token, Name: c.note})
	if name := r.PathValue("tenant"); name != "" {
		t, err := a.findTenant(ctx, name)
		if err != nil {
			return 0, nil, err
		}
		if c.tenant != "" && c.tenant != t.ID {
			return 0, nil, noTenant(name)
		}
		r.tenant, r.scope = t, t.Scope()
	} else if c.tenant != "" {
		return 0, nil, fault.New(wire.Forbidden, "the token is good for one tenant only")
	}
	return h(ctx, r)
}

func noTenant(name string) error { return fault.Newf(wire.NotFound, "no tenant %q", name) }

// findTenant finds a tenant by name, else by id.
func (a *API) findTenant(ctx context.Context, nameOrID string) (tenant.Tenant, error) {
	t, err := a.cfg.Tenants.TenantByName(ctx, nameOrID)
	if missing(err) {
		t, err = a.cfg.Tenants.TenantByID(ctx, nameOrID)
	}
	if missing(err) {
		return tenant.Tenant{}, noTenant(nameOrID)
	}
	return t, err
}

// missing reports whether err says that something does not exist, or could not be a name of that kind at all.
func missing(err error) bool {
	return fault.Has(err, wire.NotFound) || fault.Has(err, wire.TenantUnknown) || fault.Has(err, wire.UserNotFound) ||
		fault.Has(err, wire.AppUnknown) || fault.Has(err, wire.AgentUnknown) || fault.Has(err, wire.DomainUnknown)
}

// decode reads the one JSON object of a request's body, strictly.
func decode[T any](r *request) (in T, err error) {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	var large *http.MaxBytesError
	switch err := d.Decode(&in); {
	case err == nil:
	case errors.As(err, &large):
		return in, err
	case errors.Is(err, io.EOF):
		return in, fault.New(wire.BadRequest, "the body is empty: JSON is expected")
	default:
		return in, fault.Newf(wire.BadRequest, "the body is not the JSON expected: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); errors.As(err, &large) {
		return in, err
	} else if !errors.Is(err, io.EOF) {
		return in, fault.New(wire.BadRequest, "the body holds more than one JSON value")
	}
	return in, nil
}

// window reads "after" and "limit".
func (r *request) window() (after string, limit int, err error) {
	limit = pageSize
	if s := r.URL.Query().Get("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxPageSize {
			return "", 0, fault.Newf(wire.BadRequest, "limit must be a number from 1 to %d", maxPageSize)
		}
	}
	return r.URL.Query().Get("after"), limit, nil
}

// page maps one page of rows and says how to go on.
func page[R, T any](rows []R, limit int, show func(R) T, key func(R) string) (int, any, error) {
	p := Page[T]{Items: make([]T, 0, len(rows))}
	for _, row := range rows {
		p.Items = append(p.Items, show(row))
	}
	if len(rows) == limit && limit > 0 {
		p.Next = key(rows[len(rows)-1])
	}
	return http.StatusOK, p, nil
}

// whole maps a list that is never long enough to need paging.
func whole[R, T any](rows []R, show func(R) T) (int, any, error) {
	return page(rows, 0, show, func(R) string { return "" })
}

// done answers a change that has nothing to show.
func done(err error) (int, any, error) {
	if err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, nil
}

// shown answers with one thing.
func shown[R, T any](status int, row R, err error, show func(R) T) (int, any, error) {
	if err != nil {
		return 0, nil, err
	}
	return status, show(row), nil
}
