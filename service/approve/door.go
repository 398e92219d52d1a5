package approve

import (
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/signin"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// Config is what a Door works with. All but Announce and Logger are needed.
type Config struct {
	Signin  *signin.Service
	Tenants *tenant.Store
	Fleet   *fleet.Store
	// Announce tells gateways of a change; without, they notice within a second.
	Announce func(queue.Change) error
	// Logger gets each decision and the causes of refusals; nil discards.
	Logger *slog.Logger
}

// Door is the pages of all tenants. It is safe for concurrent use.
type Door struct {
	cfg     Config
	guesses guesses
	now     func() time.Time
}

// New returns a Door.
func New(c Config) *Door {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Door{cfg: c, guesses: guesses{of: map[string]*rate.Limiter{}}, now: time.Now}
}

// Routes returns the handler of everything at and below /t/{tenant}/register. It refuses cross-site posts and sets the security headers
// itself.
func (d *Door) Routes() http.Handler {
	m := http.NewServeMux()
	const base = "/t/{tenant}/register"
	m.Handle("GET "+base, d.page(d.showStart))
	m.Handle("POST "+base, d.page(d.typed))
	m.Handle("GET "+base+"/code/{code}", d.page(d.showCode))
	m.Handle("POST "+base+"/code/{code}", d.page(d.decideCode))
	m.Handle("GET "+base+"/agent/{agent}", d.page(d.showAgent))
	m.Handle("POST "+base+"/agent/{agent}", d.page(d.decideAgent))
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		web.Error(w, r, fault.New(wire.NotFound, "no such page or method"))
	})
	return web.Chain(m, web.Trace, web.Secure, web.SameOrigin(d.cfg.Logger))
}

// visit is one request of an administrator.
type visit struct {
	tenant tenant.Tenant
	who    user.User
	now    time.Time
	// problem is what the page says of the post before it; empty for none.
	problem string
}

func (v *visit) actor() fleet.Actor { return fleet.Actor{User: v.who.ID, Name: v.who.UPN} }

func (v *visit) path(rest string) string { return "/t/" + v.tenant.Name + "/register" + rest }

type handler func(w http.ResponseWriter, r *http.Request, v *visit) error

// page finds tenant and administrator, and turns errors into the error page.
func (d *Door) page(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{now: d.now()}
		err := d.enter(w, r, v, h)
		if err == nil {
			return
		}
		level := slog.LevelInfo
		if web.Status(fault.CodeOf(err)) >= http.StatusInternalServerError {
			level = slog.LevelError
		}
		d.cfg.Logger.Log(r.Context(), level, "approval page refused", "trace", web.TraceID(r.Context()), "tenant", v.tenant.Name, "user", v.who.ID,
			"method", r.Method, "address", web.ClientAddress(r), "code", int(fault.CodeOf(err)), "error", err)
		web.ErrorFor(w, r, web.Brand{Name: v.tenant.DisplayName, Color: v.tenant.Color}, err)
	})
}

// enter lets h answer an administrator who has typed the password not long ago, and leads everybody else to sign in.
func (d *Door) enter(w http.ResponseWriter, r *http.Request, v *visit, h handler) error {
	t, err := d.cfg.Tenants.RecentTenant(r.Context(), r.PathValue("tenant"), time.Now())
	if fault.Has(err, wire.NotFound) || fault.Has(err, wire.BadRequest) {
		return fault.Wrap(wire.TenantUnknown, "", err)
	}
	if err != nil {
		return err
	}
	v.tenant = t
	if !plain(r.PathValue("code")) || !plain(r.PathValue("agent")) {
		return fault.New(wire.NotFound, "no such page")
	}
	if journey := r.URL.Query().Get("journey"); journey != "" && r.Method == http.MethodGet {
		if _, err := d.cfg.Signin.Finish(r, t, journey); err != nil {
			return err
		}
		see(w, r.URL.Path) // without the journey, which is used up
		return nil
	}
	session, ok, err := d.cfg.Signin.Current(r, t)
	if err != nil {
		return err
	}
	allowed := signedIn
	if r.Method == http.MethodPost {
		allowed += decideIn
	}
	if !ok || !session.User.Admits(session.At) || v.now.Sub(session.At) > allowed {
		if r.Method == http.MethodPost {
			see(w, r.URL.Path) // what was posted is not kept: the person looks again
			return nil
		}
		location, err := d.cfg.Signin.Begin(w, r, t, signin.Ask{AppName: "the registration of an agent", ReturnTo: r.URL.Path, MaxAge: signedIn})
		if err != nil {
			return err
		}
		see(w, location)
		return nil
	}
	v.who = session.User
	if v.who.Role != user.Administrator {
		return fault.New(wire.Forbidden, "not an administrator of the tenant")
	}
	actor := tenant.Actor{Kind: "user", ID: v.who.ID, Name: v.who.UPN}
	return h(w, r.WithContext(tenant.WithActor(r.Context(), actor)), v)
}

// plain reports whether a part of a path holds what our own addresses hold.
func plain(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-'
	}) < 0 && len(s) <= 64
}

// see sends the browser to a page of ours, with GET.
func see(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// guesses limits how many codes that do not exist an administrator may try, in bounded memory.
type guesses struct {
	sync.Mutex
	of map[string]*rate.Limiter
}

func (g *guesses) limiter(user string) *rate.Limiter {
	g.Lock()
	defer g.Unlock()
	l := g.of[user]
	if l == nil {
		if len(g.of) >= maxGuessers {
			clear(g.of)
		}
		l = rate.NewLimiter(rate.Every(guessEvery), guessBurst)
		g.of[user] = l
	}
	return l
}

// find looks a code up for an administrator who has not guessed too often.
func (d *Door) find(r *http.Request, v *visit) (fleet.Code, error) {
	l := d.guesses.limiter(v.who.ID)
	if l.TokensAt(v.now) < 1 {
		return fleet.Code{}, fault.New(wire.TooManyRequests, "codes that do not exist")
	}
	c, err := d.cfg.Fleet.CodeByUserCode(r.Context(), v.tenant.Scope(), r.PathValue("code"), v.now)
	if fault.Has(err, wire.NotFound) {
		l.AllowN(v.now, 1)
	}
	return c, err
}

// announce tells the gateways of an agent's change; they notice it by themselves within a second.
func (d *Door) announce(v *visit, agent string) {
	if d.cfg.Announce == nil {
		return
	}
	if err := d.cfg.Announce(queue.Change{Tenant: v.tenant.ID, Agent: agent}); err != nil {
		d.cfg.Logger.Warn("fleet change not announced", "agent", agent, "error", err)
	}
}
