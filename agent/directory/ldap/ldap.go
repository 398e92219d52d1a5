package ldap

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

// Config says which domain controllers to ask and how.
type Config struct {
	// Servers in the order in which they are used: "ldaps://dc1.corp.example", "ldap://dc2.corp.example" (StartTLS), with a port if it is
	// not 636 or 389; without a scheme it is ldaps. At least one.
	Servers []string
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
	// LastError is the last failure, with its time and what to do about it, if that is known. It stays after the server has recovered.
	LastError, Remedy string
	LastErrorAt       time.Time
	// NextProbe is when a server that is Down is asked again; else zero.
	NextProbe time.Time
}

// Validator checks passwords by simple binds. Make it with [New]; it works without Run, but a server that has gone down is then
// never used again. Safe for concurrent use.
type Validator struct {
	servers  []*server
	expected *expectation
	guard    *guardian
	lookups  lookups
	bindFor  time.Duration
	log      *slog.Logger
}

var _ directory.Validator = (*Validator)(nil)

// New checks the configuration and contacts nobody.
func New(c Config) (*Validator, error) {
	if len(c.Servers) == 0 {
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
	v := &Validator{expected: &expectation{}, bindFor: c.BindTimeout, log: c.Logger}
	var err error
	if v.guard, err = newGuardian(c.Guard, c.Logger); err != nil {
		return nil, err
	}
	v.guard.bases = v.firstServing
	seen := map[string]bool{}
	for _, text := range c.Servers {
		a, err := parseAddress(text)
		if err != nil {
			return nil, err
		}
		if seen[a.String()] {
			return nil, fmt.Errorf("domain controller %q is given twice", text)
		}
		seen[a.String()] = true
		v.servers = append(v.servers, newServer(a, c, v.expected))
	}
	return v, nil
}

// Run opens connections gently, checks their health, probes servers that are down, and closes what is idle when ctx ends. It
// returns ctx's error. Checks that are under way then end undisturbed.
func (v *Validator) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, s := range v.servers {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Go(func() { v.guard.run(ctx) })
	wg.Wait()
	return ctx.Err()
}

// Status returns how the servers stand, in their order.
func (v *Validator) Status() []ServerStatus {
	all := make([]ServerStatus, len(v.servers))
	for i, s := range v.servers {
		all[i] = s.status()
	}
	return all
}

// GuardStatus returns how the guard stands.
func (v *Validator) GuardStatus() GuardStatus { return v.guard.status() }

// firstServing returns the server that is used first and has told of its domain; nil while there is none.
func (v *Validator) firstServing() *server {
	for _, s := range v.servers {
		if s.admits() && s.baseDN() != "" {
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
	c, err := v.take(ctx)
	if err != nil {
		code := wire.DirectoryUnreachable
		if ctx.Err() != nil {
			code = wire.AgentTooSlow // the caller's time was over, or it gave up
		}
		return directory.Result{}, &directory.Error{Code: code, Cause: err}
	}
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
	spent, refused := v.guard.admit(ctx, s, check)
	if refused != nil {
		return notSent(refused.Code, refused.Cause)
	}
	defer spent()
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
	err = c.within(ctx, v.bindFor, func() error { return c.bind(bindName(check), check.Password) })
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
		attributes, err := c.attributes(ctx, check)
		if err != nil {
			v.log.Warn("attributes left out", "dc", dc, "error", err)
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

// take returns a live connection to the first server that can give one.
func (v *Validator) take(ctx context.Context) (*conn, error) {
	now := time.Now()
	for _, s := range v.servers {
		if s.admits() {
			if c := s.tryTake(now); c != nil {
				return c, nil
			}
			break // the order stands: an idle connection of the second server is no reason to leave the first
		}
	}
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	var all []error
	for _, s := range v.servers {
		if !s.admits() {
			all = append(all, fmt.Errorf("%s: %w: %s", s.address, errDown, s.status().LastError))
			continue
		}
		c, err := s.take(ctx)
		if err == nil {
			return c, nil
		}
		all = append(all, fmt.Errorf("%s: %w", s.address, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(all...)
}
