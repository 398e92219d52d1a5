package signin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// Checker answers whether a password is right. *password.Checker is the one of the product.
type Checker interface {
	Check(ctx context.Context, scope tenant.Scope, a password.Attempt) (password.Answer, error)
}

// Recorder stores what happened; it returns once that is stored. *audit.Log is the one of the product.
type Recorder interface {
	Record(ctx context.Context, scope tenant.Scope, s audit.SignIn) error
}

// Config is what a Service works with. DB, Tenants, Users, Password and Audit are needed.
type Config struct {
	DB       *db.DB
	Tenants  *tenant.Store
	Users    *user.Store
	Apps     *app.Store
	Password Checker
	Audit    Recorder
	// Logger gets one info line for each sign-in and the causes of error pages; nil discards.
	Logger *slog.Logger
	// Metrics registers the counter and the histogram of sign-ins; nil registers nothing.
	Metrics prometheus.Registerer
	// SessionEnded is called after a session has ended because somebody else signed in in the same browser, so that what was
	// issued for it can be ended, too. Nil is allowed. (After End the caller knows the id itself.)
	SessionEnded func(ctx context.Context, scope tenant.Scope, sessionID string) error
	// PostsPerSecond and PostBurst bound the journeys begun and forms posted by one address; PostsPerSecond 0 means the
	// defaults, 100 and 500; below 0 there is no limit.
	PostsPerSecond float64
	PostBurst      int
}

// Service leads journeys. It is safe for concurrent use, and several processes may serve the same journeys.
type Service struct {
	db       *db.DB
	tenants  *tenant.Store
	users    *user.Store
	password Checker
	audit    Recorder
	log      *slog.Logger
	ended    func(context.Context, tenant.Scope, string) error
	posts    *limiter
	metrics  metrics
	now      func() time.Time
}

// New returns a Service.
func New(c Config) *Service {
	s := &Service{db: c.DB, tenants: c.Tenants, users: c.Users, password: c.Password, audit: c.Audit, log: c.Logger, ended: c.SessionEnded,
		posts: newLimiter(c.PostsPerSecond, c.PostBurst), metrics: newMetrics(c.Metrics), now: time.Now}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.ended == nil {
		s.ended = func(context.Context, tenant.Scope, string) error { return nil }
	}
	return s
}

// Routes returns the handler of everything below /t/{tenant}/signin and of /t/{tenant}/signed-out. It refuses cross-site posts
// and sets the security headers itself.
func (s *Service) Routes() http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /t/{tenant}/signin/{journey}", s.journeyPage(s.showName))
	m.Handle("POST /t/{tenant}/signin/{journey}", s.limited(s.journeyPage(s.identify)))
	m.Handle("GET /t/{tenant}/signin/{journey}/password", s.journeyPage(s.showPassword))
	m.Handle("POST /t/{tenant}/signin/{journey}/password", s.limited(s.journeyPage(s.checkPassword)))
	m.Handle("GET /t/{tenant}/signin/{journey}/continue", s.journeyPage(s.showContinue))
	m.Handle("GET /t/{tenant}/signed-out", s.tenantPage(s.showSignedOut))
	m.Handle("/", s.page(func(http.ResponseWriter, *http.Request, *visit) error {
		return fault.New(wire.NotFound, "no such page or method")
	}))
	return web.Chain(m, web.Trace, web.Secure, web.SameOrigin(s.log))
}

// visit is one request on its way.
type visit struct {
	tenant  tenant.Tenant
	journey journey
	now     time.Time
}

func (v *visit) brand() web.Brand {
	return web.Brand{Name: v.tenant.DisplayName, Color: v.tenant.Color}
}

// path is the address of a page of this journey.
func (v *visit) path(p page) string { return journeyPath(v.tenant, v.journey.id, p) }

func journeyPath(t tenant.Tenant, id string, p page) string {
	return "/t/" + t.Name + "/signin/" + id + string(p)
}

// handler answers a visit, or returns the error that the error page shows.
type handler func(w http.ResponseWriter, r *http.Request, v *visit) error

// page turns errors into the error page, and logs their causes once.
func (s *Service) page(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{now: s.now()}
		err := h(w, r, v)
		if err == nil {
			return
		}
		ctx := web.ContinueTrace(r.Context(), v.journey.trace)
		level := slog.LevelInfo
		if web.Status(fault.CodeOf(err)) >= 500 {
			level = slog.LevelError
		}
		s.log.Log(ctx, level, "sign-in page refused", "trace", web.TraceID(ctx), "tenant", v.tenant.Name, "journey", v.journey.id,
			"method", r.Method, "address", web.ClientAddress(r), "code", int(fault.CodeOf(err)), "error", err)
		web.ErrorFor(w, r.WithContext(ctx), v.brand(), err)
	})
}

// tenantPage finds the tenant first.
func (s *Service) tenantPage(h handler) http.Handler {
	return s.page(func(w http.ResponseWriter, r *http.Request, v *visit) error {
		t, err := s.tenants.RecentTenant(r.Context(), r.PathValue("tenant"), time.Now())
		if fault.Has(err, wire.NotFound) || fault.Has(err, wire.BadRequest) {
			return fault.Wrap(wire.TenantUnknown, "", err)
		}
		if err != nil {
			return err
		}
		v.tenant = t
		return h(w, r, v)
	})
}

// journeyPage finds the tenant and this browser's journey first; the request continues the journey's trace.
func (s *Service) journeyPage(h handler) http.Handler {
	return s.tenantPage(func(w http.ResponseWriter, r *http.Request, v *visit) error {
		browser := web.Cookie(r, browserCookie)
		if browser == "" {
			return fault.New(wire.JourneyUnknown, "the browser sent no binding cookie")
		}
		j, err := findJourney(r.Context(), s.db.Reader(), v.tenant.Scope(), r.PathValue("journey"), hashOf(browser))
		if err != nil {
			return err
		}
		v.journey = j
		return ended(h(w, r.WithContext(web.ContinueTrace(r.Context(), j.trace)), v))
	})
}

// ended gives the rule's refusals their number.
func ended(err error) error {
	if errors.Is(err, errEnded) || errors.Is(err, errIllegal) {
		return fault.Wrap(wire.JourneyUnknown, "", err)
	}
	return err
}

// limited refuses posts above the limit of their address.
func (s *Service) limited(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.posts.allow(web.ClientAddress(r)) {
			s.page(func(http.ResponseWriter, *http.Request, *visit) error {
				return fault.New(wire.TooManyRequests, "posts of one address")
			}).ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// see sends the browser to a page of ours, with GET.
func see(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// goOn sends the browser to the page on which its journey goes on.
func (s *Service) goOn(w http.ResponseWriter, v *visit) error {
	p, err := pageOf(v.journey.position(), v.now)
	if err != nil {
		return err
	}
	see(w, v.path(p))
	return nil
}

// Run removes rows whose time is over until ctx ends, and then returns its error. Several processes may run it at once.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.sweep(ctx, s.now()); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "journeys and sessions past their time could not be removed", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// sweep removes journeys and sessions past their time, of all tenants: a row's time is its own, whoever owns it.
func (s *Service) sweep(ctx context.Context, now time.Time) error {
	return s.db.Write(ctx, func(tx db.Querier) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM journey WHERE expires_at <= $1`, db.Millis(now)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM browser_session WHERE expires_at <= $1 OR last_used_at <= $2`, db.Millis(now),
			db.Millis(now.Add(-sessionIdle)))
		return err
	})
}
