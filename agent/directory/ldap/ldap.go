package ldap

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/hedge"
	"github.com/sallyport-auth/sallyport/agent/directory/locate"
	"github.com/sallyport-auth/sallyport/wire"
)

// Config says which domain controllers to ask and how.
type Config struct {
	// Servers in the order in which they are used: "ldaps://dc1.corp.example", "ldap://dc2.corp.example" (StartTLS), with a port if it is
	// not 636 or 389; without a scheme it is ldaps. At least one, unless there is a Domain.
	Servers []string
	// Domain is the DNS name of the domain whose servers DNS names; they are used after Servers. Empty means that DNS is not asked.
	Domain string
	// Site is the Active Directory site whose servers are preferred; empty means the one that a domain controller says this host is in.
	Site string
	// StartTLS is how TLS begins at servers that DNS names, on the port that DNS says; otherwise it is LDAPS on port 636.
	StartTLS bool
	// Resolver is asked for domain controllers and for their addresses; nil means the system's.
	Resolver *net.Resolver
	// RootCAs that may have issued the servers' certificates; nil means those of the system.
	RootCAs *x509.CertPool
	// Connections to each server at most, which is how many checks it works on at once; 0 means 16.
	Connections int
	// DialTimeout for TCP, TLS and a first answer together; 0 means one second.
	DialTimeout time.Duration
	// BindTimeout from sending the password to the answer; 0 means six seconds.
	BindTimeout time.Duration
	// Guard looks before an attempt is spent; the zero value looks at nothing.
	Guard Guard
	// Logger; nil means that nothing is logged.
	Logger *slog.Logger
}

// ServerStatus is how one server stands, for people and monitoring.
type ServerStatus struct {
	Address string
	State   State
	// Since is when the state began; zero while Untried.
	Since time.Time
	// Idle and InUse count live connections.
	Idle, InUse int
	// BaseDN is the name of the domain's entry, once the server has told.
	BaseDN string
	// Found says that DNS has named it, not the settings. Rank is the order of preference, the lowest first; servers of equal rank are
	// chosen among by Latency, the smoothed time for a harmless question, 0 while nothing was measured.
	Found   bool
	Rank    int
	Latency time.Duration
	// Why says why this is the server that is asked; empty for all others.
	Why string
	// LastError is the last failure, with its time and what to do about it, if that is known. It stays after the server has recovered.
	LastError, Remedy string
	LastErrorAt       time.Time
	// NextProbe is when a server that is Down is asked again; else zero.
	NextProbe time.Time
}

// Validator checks passwords by simple binds. Make it with [New]; it works without Run, but a server that has gone down is then
// never used again. Safe for concurrent use.
type Validator struct {
	config   Config
	expected *expectation
	guard    *guardian
	lookups  lookups
	locator  *locator // nil when DNS is not asked
	bindFor  time.Duration
	log      *slog.Logger

	// list is replaced as a whole: those of the settings, then those that DNS has named. named is closed when it has its first ones.
	list   atomic.Pointer[[]*server]
	named  chan struct{}
	naming sync.Once

	mu      sync.Mutex
	current *server       // the choice before
	start   func(*server) // begins the background's care; nil while Run does not run
}

var _ directory.Validator = (*Validator)(nil)

// New checks the configuration and contacts nobody.
func New(c Config) (*Validator, error) {
	if len(c.Servers) == 0 && c.Domain == "" {
		return nil, errors.New("no domain controllers are configured")
	}
	if c.Connections < 0 || c.DialTimeout < 0 || c.BindTimeout < 0 {
		return nil, errors.New("connections and timeouts must not be negative")
	}
	if c.Connections == 0 {
		c.Connections = defaultConnections
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = defaultDialTimeout
	}
	if c.BindTimeout == 0 {
		c.BindTimeout = defaultBindTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	v := &Validator{config: c, expected: &expectation{}, bindFor: c.BindTimeout, log: c.Logger, named: make(chan struct{})}
	var err error
	if v.guard, err = newGuardian(c.Guard, c.Logger); err != nil {
		return nil, err
	}
	v.guard.bases = v.firstServing
	seen, fixed := map[string]bool{}, []*server(nil)
	for _, text := range c.Servers {
		a, err := parseAddress(text)
		if err != nil {
			return nil, err
		}
		if seen[a.String()] {
			return nil, fmt.Errorf("domain controller %q is given twice", text)
		}
		seen[a.String()] = true
		s := newServer(a, c, v.expected)
		s.rank = len(fixed)
		fixed = append(fixed, s)
	}
	v.list.Store(&fixed)
	v.name(fixed)
	switch {
	case c.Domain != "":
		q := locate.Query{Domain: strings.TrimSuffix(c.Domain, "."), Site: c.Site}
		if err := q.Check(); err != nil {
			return nil, err
		}
		v.locator = &locator{query: q, said: Located{Domain: q.Domain, Site: q.Site}, adopt: v.adopt, site: v.site, log: c.Logger,
			serving: func() bool { return v.firstServing() != nil },
			find: func(ctx context.Context, q locate.Query, known []string) (locate.Found, error) {
				return locate.Find(ctx, c.Resolver, q, known)
			}}
	case c.Site != "" || c.StartTLS:
		return nil, errors.New("a site, or StartTLS for servers that DNS names, needs a domain")
	}
	return v, nil
}

// servers are those that are in use now.
func (v *Validator) servers() []*server { return *v.list.Load() }

// Run opens connections gently, checks their health, probes servers that are down, and closes what is idle when ctx ends. It
// returns ctx's error. Checks that are under way then end undisturbed.
func (v *Validator) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { v.guard.run(ctx) })
	v.mu.Lock()
	v.start = func(s *server) {
		care, end := context.WithCancel(ctx)
		s.end = end
		wg.Go(func() { s.run(care) })
	}
	for _, s := range v.servers() {
		v.start(s)
	}
	v.mu.Unlock()
	if v.locator != nil {
		v.locator.run(ctx) // the only one who starts others
	}
	wg.Wait()
	v.mu.Lock()
	v.start = nil
	v.mu.Unlock()
	return ctx.Err()
}

// Locate asks DNS once, for whoever does without Run. Without a domain it does nothing.
func (v *Validator) Locate(ctx context.Context) error {
	if v.locator == nil {
		return nil
	}
	return v.locator.look(ctx)
}

// Located returns what DNS said; false when it is not asked.
func (v *Validator) Located() (Located, bool) {
	if v.locator == nil {
		return Located{}, false
	}
	return v.locator.status(), true
}

// Hosts returns the names of the servers, in the order in which they are asked now; those that are down come last.
func (v *Validator) Hosts() []string {
	order, _ := v.order()
	var all []string
	for _, s := range append(order, v.servers()...) {
		if !slices.Contains(all, s.address.host) {
			all = append(all, s.address.host)
		}
	}
	return all
}

// adopt puts to use what DNS has named. A server that was named before stays as it is; one that is no more is let go: checks that have a
// connection to it finish.
func (v *Validator) adopt(f locate.Found) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.servers()
	fixed := len(v.config.Servers)
	list, ranks := slices.Clone(before[:fixed]), f.Ranks(fixed)
	for i, t := range f.Targets {
		a, err := parseAddress(t.URL(v.config.StartTLS))
		if err != nil || slices.ContainsFunc(list[:fixed], func(s *server) bool { return strings.EqualFold(s.address.host, a.host) }) {
			continue // the settings say how it is to be asked
		}
		var s *server
		if at := slices.IndexFunc(before[fixed:], func(s *server) bool { return s.address == a }); at >= 0 {
			s = before[fixed+at]
		} else {
			s = newServer(a, v.config, v.expected)
			s.foundFor = v.locator.query.Domain
			if v.start != nil {
				v.start(s)
			}
		}
		s.setRank(ranks[i])
		list = append(list, s)
	}
	v.list.Store(&list)
	for _, s := range before {
		if !slices.Contains(list, s) {
			v.log.Info("domain controller let go: DNS names it no more", "dc", s.address.String())
			if s.end != nil {
				s.end()
			}
			s.shut()
			v.guard.leave(s)
		}
	}
	v.name(list)
}

// name lets those go on who have waited for a first server.
func (v *Validator) name(list []*server) {
	if len(list) > 0 {
		v.naming.Do(func() { close(v.named) })
	}
}

// order returns the servers in the order in which they are to be asked, without those that are down, and why the first is the first. Its
// choice is kept as long as there is no better one; see [choose].
func (v *Validator) order() (order []*server, reason string) {
	all := v.servers()
	standings := make([]standing, len(all))
	for i, s := range all {
		standings[i] = s.standing()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	chosen := choose(standings, slices.Index(all, v.current))
	if len(chosen) == 0 {
		return nil, ""
	}
	for _, i := range chosen {
		order = append(order, all[i])
	}
	reason = why(standings, chosen)
	if v.current != order[0] {
		v.current = order[0]
		v.log.Info("domain controller chosen", "dc", order[0].address.String(), "why", reason)
	}
	return order, reason
}

// Status returns how the servers stand, in their order.
func (v *Validator) Status() []ServerStatus {
	order, reason := v.order()
	var all []ServerStatus
	for _, s := range v.servers() {
		st := s.status()
		if len(order) > 0 && s == order[0] {
			st.Why = reason
		}
		all = append(all, st)
	}
	return all
}

// GuardStatus returns how the guard stands.
func (v *Validator) GuardStatus() GuardStatus { return v.guard.status() }

// firstServing returns the server that is used first and has told of its domain; nil while there is none.
func (v *Validator) firstServing() *server {
	order, _ := v.order()
	for _, s := range order {
		if s.baseDN() != "" {
			return s
		}
	}
	return nil
}

// Validate checks one password with one bind; see [directory.Validator]. Its errors are *[directory.Error] with these codes:
// PasswordUnusable, DirectoryUnreachable (nothing was sent, or the server answered that it is busy or unavailable), AgentTooSlow
// (ctx ended before anything was sent), LockoutSpared and AccountProtected (the guard spends no attempt), TransientNetwork (the fence was
// refused), and after the bind was sent DirectoryTimeout,
// DirectoryUnusable and what [directory.TroubleCode] makes of the answer.
func (v *Validator) Validate(ctx context.Context, check directory.Check) (directory.Result, error) {
	if e := check.Refuse(); e != nil {
		return directory.Result{}, e
	}
	c, spent, e := v.ready(ctx, check)
	if e != nil {
		return directory.Result{}, e
	}
	defer spent()
	s := c.server
	dc := s.address.String()
	keep := false // a panic must not keep the slot
	defer func() {
		if keep {
			s.put(c)
		} else {
			s.drop(c)
		}
	}()
	notSent := func(code wire.Code, cause error) (directory.Result, error) {
		keep = true
		return directory.Result{}, &directory.Error{Code: code, DC: dc, Cause: cause}
	}
	if err := check.Fence(ctx); err != nil {
		return notSent(wire.TransientNetwork, fmt.Errorf("fence: %w", err))
	}
	// The fence took a trip to the service. What ended meanwhile ended before anything was sent.
	if ctx.Err() != nil {
		return notSent(wire.AgentTooSlow, context.Cause(ctx))
	}
	if c.dead() {
		return notSent(wire.DirectoryUnreachable, errors.New("the connection closed while the fence was asked"))
	}

	r := directory.Result{DC: dc, Fenced: time.Now()}
	err := c.within(ctx, v.bindFor, func() error { return c.bind(bindName(check), check.Password) })
	r.Judged = time.Now()
	c.used, c.seen = r.Judged, r.Judged
	verdict, understood, e := judge(err)
	if repeats(err, check.Password) {
		verdict.Diagnostic = repeated
		if e != nil {
			e.Cause = errors.New(repeated)
		}
	}
	if understood {
		s.answered(r.Judged)
	} else {
		s.report(unanswered, e.Cause)
	}
	keep = understood
	if e != nil {
		e.DC = dc
		return directory.Result{}, e
	}
	r.Verdict = verdict
	if check.WantAttributes && verdict.Reason.Right() {
		// What a quick bind has left over is the catalog's, which takes another one.
		limited, cancel := context.WithDeadline(ctx, r.Fenced.Add(v.bindFor+attributesTimeout))
		attributes, err := v.whoIs(limited, c, check)
		cancel()
		if err != nil {
			v.log.Warn("attributes left out", "dc", dc, "err", err)
			// The service has to know that this yes is nobody's yet.
			r.Verdict.Diagnostic = directory.Shown("identity not proven: " + err.Error())
		}
		r.Verdict.Attributes = attributes
	}
	return r, nil
}

// bindName is what the directory is asked about: the name as it was typed, or who was found to have it.
func bindName(check directory.Check) string {
	if check.Account != nil {
		return check.Account.DN
	}
	return check.Name
}

// judge turns what the bind returned into a verdict or an error; the password has been sent. understood says that the server is in
// order: it gave an answer, and not that it is busy or unavailable. An answer that is no verdict is one too, since names that
// provoke one can be typed by anybody and must not put a server out of service.
func judge(err error) (v wire.Verdict, understood bool, e *directory.Error) {
	code, text := uint16(goldap.LDAPResultSuccess), ""
	var answer *goldap.Error
	switch {
	case err == nil:
	case errors.As(err, &answer) && answer.ResultCode < goldap.ErrorNetwork: // larger ones are the library's own
		code, text = answer.ResultCode, answer.Err.Error()
	case errors.As(err, &answer) && answer.ResultCode != goldap.ErrorNetwork:
		return v, false, &directory.Error{Code: wire.DirectoryUnusable, Fenced: true, Cause: err}
	default:
		return v, false, &directory.Error{Code: wire.DirectoryTimeout, Fenced: true, Cause: err}
	}
	v, ok := directory.FromDiagnostic(int(code), text)
	if ok {
		return v, true, nil
	}
	e = &directory.Error{Code: directory.TroubleCode(int(code), text), Fenced: true,
		Cause: fmt.Errorf("LDAP result %d: %s", code, directory.Shown(text))}
	return v, e.Code != wire.DirectoryUnreachable, e
}

// ready returns a live connection to a server at which the guard lets the attempt be spent; spent is to be called after the bind. Nothing is sent
// before, so that a server whose guard cannot be asked is left for another as one that gives no connection is, while there is time.
func (v *Validator) ready(ctx context.Context, check directory.Check) (c *conn, spent func(), e *directory.Error) {
	by := check.FenceBy
	if by.IsZero() {
		by = time.Now().Add(fenceWithin)
	}
	limited, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	var unguarded []*server
	for {
		c, err := v.take(limited, unguarded...)
		switch {
		case err == nil:
		case e != nil:
			return nil, nil, e // what the last one said says more
		case ctx.Err() != nil:
			return nil, nil, &directory.Error{Code: wire.AgentTooSlow, Cause: err} // the caller's time was over, or it gave up
		default:
			return nil, nil, &directory.Error{Code: wire.DirectoryUnreachable, Cause: err}
		}
		if spent, e = v.guarded(limited, c, check); e == nil {
			return c, spent, nil
		}
		if e.Code == wire.AgentTooSlow && ctx.Err() == nil {
			e.Code = wire.DirectoryUnreachable // our time was over, not the caller's
		}
		if e.Code != wire.DirectoryUnreachable || limited.Err() != nil {
			return nil, nil, e
		}
		unguarded = append(unguarded, c.server)
	}
}

// guarded asks the guard of the connection's server, and gives the connection back if the attempt may not be spent.
func (v *Validator) guarded(ctx context.Context, c *conn, check directory.Check) (spent func(), e *directory.Error) {
	decided := false // a panic must not keep the slot
	defer func() {
		switch {
		case !decided:
			c.server.drop(c)
		case e != nil:
			c.server.put(c)
			e.DC = c.server.address.String()
		}
	}()
	spent, e = v.guard.admit(ctx, c.server, check)
	decided = true
	return spent, e
}

// take returns a live connection to the server that is chosen, or to one that stands in for it: at once when the chosen one is down, when it gives none, and
// beside it when it lets us wait. A connection that comes too late is kept for others. A server that opens no more connections and still answers on
// those that it has is crowded: there one may come back while ctx lasts. When all are down, those that were not looked at just now are looked at
// once more before anybody is told so: while one dies, another may be back that the background visits seconds from now.
func (v *Validator) take(ctx context.Context, without ...*server) (*conn, error) {
	select {
	case <-v.named:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errNobody, context.Cause(ctx))
	}
	for revived := false; ; {
		order, _ := v.order()
		order = slices.DeleteFunc(order, func(s *server) bool { return slices.Contains(without, s) })
		if len(order) > 0 {
			// The choice stands: an idle connection of the second server is no reason to leave the first.
			if c := order[0].tryTake(time.Now()); c != nil {
				return c, nil
			}
		}
		c, failed := hedge.First(ctx, len(order), patience, func(ctx context.Context, i int) (*conn, error) { return order[i].take(ctx) },
			func(c *conn) { c.server.put(c) })
		if c != nil {
			return c, nil
		}
		crowded := slices.ContainsFunc(order, (*server).admits)
		if crowded {
			pause := time.NewTimer(crowdPause)
			select {
			case <-pause.C:
				continue
			case <-ctx.Done():
			}
			pause.Stop()
		} else if !revived {
			if revived = true; v.revive(ctx, without) {
				continue
			}
		}
		return nil, v.nobody(ctx, order, without, failed)
	}
}

// revive looks at all servers that are down, ahead of their time, and reports as soon as one serves.
func (v *Validator) revive(ctx context.Context, without []*server) bool {
	down := slices.DeleteFunc(slices.Clone(v.servers()), func(s *server) bool { return slices.Contains(without, s) })
	serves, _ := hedge.First(ctx, len(down), 0, func(_ context.Context, i int) (bool, error) {
		if !down[i].revive() {
			return false, errDown
		}
		return true, nil
	}, func(bool) {})
	return serves
}

// nobody says of each server why it gave no connection.
func (v *Validator) nobody(ctx context.Context, order, without []*server, failed []error) error {
	var all []error
	for i, s := range order {
		if failed[i] == nil && ctx.Err() != nil {
			failed[i] = s.late(context.Cause(ctx))
		}
		if failed[i] != nil {
			all = append(all, fmt.Errorf("%s: %w", s.address, failed[i]))
		}
	}
	for _, s := range v.servers() {
		if !slices.Contains(order, s) && !slices.Contains(without, s) {
			all = append(all, fmt.Errorf("%s: %w: %s", s.address, errDown, s.status().LastError))
		}
	}
	if len(all) == 0 {
		all = append(all, errNobody) // all were tried, and have said what was wrong
	}
	return errors.Join(all...)
}
