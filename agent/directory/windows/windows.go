package windows

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

// Attributer tells who a person is whose password was just found right; package ldap does, by a bind as that person.
type Attributer interface {
	Attributes(ctx context.Context, check directory.Check) (*wire.Attributes, error)
}

// Guard decides whether one more attempt may be spent; package ldap does, which reads how far the account is from being
// locked. When it may, done is to be called after the attempt. A refusal is a *directory.Error with nothing sent.
type Guard interface {
	Admit(ctx context.Context, dc string, check directory.Check) (done func(), refused *directory.Error)
}

// Config says how to ask Windows.
type Config struct {
	// Attributes tells whose password it was; nil means that Windows does, which knows objectGUID, userPrincipalName and display name.
	Attributes Attributer
	// Guard is asked before each attempt; nil means that every one may be spent.
	Guard Guard
	// Concurrency is how many calls run at once; 0 means 10.
	Concurrency int
	// AnswerTimeout from the call to its answer; 0 means six seconds.
	AnswerTimeout time.Duration
	// Logger; nil means that nothing is logged.
	Logger *slog.Logger
}

var (
	// ErrElsewhere is returned on other systems.
	ErrElsewhere = errors.New("the validator windows works on Windows only; use ldap or kerberos here")
	// ErrNotMember is returned on a host without a domain.
	ErrNotMember = errors.New("this computer is not a member of an Active Directory domain: join it, or use the validator ldap")
	// ErrCredulous is the end of a validator on a host that accepts a made-up name with a made-up password.
	ErrCredulous = fmt.Errorf("%d: %w", wire.HostCredulous, errCredulous)

	errCredulous = errors.New("the Windows of this host accepts a made-up name with a made-up password, and so would let in anybody")
	errSlots     = errors.New("all slots are busy: Windows has not answered earlier calls")
	errLate      = errors.New("no answer of Windows in time; the call goes on and keeps a slot")
)

// refusal is what Windows said of a logon: a Win32 number, or an NTSTATUS or HRESULT.
type refusal uint32

func (r refusal) Error() string { return directory.Win32Words(uint32(r)) }

// host is what the operating system does. All but member may block for long.
type host interface {
	// member tells what this computer knows of itself; ErrNotMember if it has no domain.
	member() (Member, error)
	// locate names a domain controller and the GUID of its domain; anew says that the one of before was of no use.
	locate(dns string, anew bool) (dc, guid string, err error)
	// logon asks whether it is this account's password, once, and returns the security identifier of its user: empty if Windows said yes and not whose.
	// The error of a no is a refusal. password ends with NUL and is the caller's to wipe.
	logon(who account, password []uint16) (sid string, err error)
	// names asks a domain controller about an account.
	names(dns, sid string) (names, error)
}

// Status is how the validator stands, for people and monitoring.
type Status struct {
	// Domain is the DNS name of the host's domain.
	Domain string
	// DC is the domain controller that Windows named last; empty before the first.
	DC string
	// Sound says that Windows has refused a made-up name.
	Sound bool
	// LastError is why nobody could be asked; empty if that is over.
	LastError   string
	LastErrorAt time.Time
}

// Validator checks passwords by LogonUserW. Make it with [New]; it works without Run, but then looks for a domain controller only when
// somebody signs in. Safe for concurrent use.
type Validator struct {
	config Config
	host   host
	member Member
	slots  chan struct{}
	log    *slog.Logger
	// foreign says why no password is checked: the host's domain is not the directory's.
	foreign atomic.Pointer[string]
	checks  chan struct{} // held while Windows is being checked itself

	mu        sync.Mutex
	sound     bool
	credulous bool
	unchecked trouble // why Windows could not be checked itself
	dc        string
	nobody    trouble   // why no domain controller is known
	doubt     bool      // the domain controller that is known may be gone
	forced    time.Time // when one was last looked for by force
}

// trouble is what went wrong last; the zero value is nothing.
type trouble struct {
	err error
	at  time.Time
}

var (
	_ directory.Validator = (*Validator)(nil)
	_ directory.Prover    = (*Validator)(nil)
)

// New asks the host for its domain and contacts nobody. Its error wraps [ErrElsewhere] or [ErrNotMember] where there is none.
func New(c Config) (*Validator, error) {
	h, err := thisHost()
	if err != nil {
		return nil, err
	}
	return newOn(h, c)
}

// MemberOf returns the DNS name of the domain that this host is a member of; the error is [ErrElsewhere], [ErrNotMember], or Windows'.
func MemberOf() (string, error) {
	h, err := thisHost()
	if err != nil {
		return "", err
	}
	m, err := h.member()
	return m.DNS, err
}

func newOn(h host, c Config) (*Validator, error) {
	if c.Concurrency < 0 || c.AnswerTimeout < 0 {
		return nil, errors.New("concurrency and timeouts must not be negative")
	}
	if c.Concurrency == 0 {
		c.Concurrency = defaultConcurrency
	}
	if c.AnswerTimeout == 0 {
		c.AnswerTimeout = defaultAnswerTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := h.member()
	if err != nil {
		return nil, err
	}
	return &Validator{config: c, host: h, member: m, slots: make(chan struct{}, c.Concurrency), checks: make(chan struct{}, 1), log: c.Logger}, nil
}

// Status tells how the validator stands.
func (v *Validator) Status() Status {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := Status{Domain: v.member.DNS, DC: v.dc, Sound: v.sound}
	for _, t := range []trouble{v.unchecked, v.nobody} {
		if t.err != nil {
			s.LastError, s.LastErrorAt = t.err.Error(), t.at
		}
	}
	return s
}

// Run has Windows checked before anybody's password is, and looks for a domain controller now and then. It returns ctx's error, or [ErrCredulous].
func (v *Validator) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	told := ""
	for {
		limited, cancel := context.WithTimeout(ctx, selfCheckFor)
		err := v.SelfCheck(limited)
		if err == nil {
			_, err = v.Prove(limited)
		}
		cancel()
		switch {
		case errors.Is(err, ErrCredulous):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && err.Error() != told:
			told = err.Error()
			v.log.Warn("Windows cannot have passwords judged", "domain", v.member.DNS, "err", err)
		case err == nil && told != "":
			told = ""
			v.log.Info("Windows has passwords judged again", "domain", v.member.DNS)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// SelfCheck has Windows judge a made-up name with a made-up password, until it has been refused once. It returns [ErrCredulous], for good, if Windows
// accepted it, and any other error if nobody judged it.
func (v *Validator) SelfCheck(ctx context.Context) error {
	select {
	case v.checks <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-v.checks }()
	v.mu.Lock()
	sound, credulous := v.sound, v.credulous
	v.mu.Unlock()
	switch {
	case credulous:
		return ErrCredulous
	case sound:
		return nil
	}
	l, err := v.lease(ctx)
	if err != nil {
		return err
	}
	defer l.drop()
	password, err := wide([]byte(rand.Text()))
	if err != nil {
		return err
	}
	// 20 characters at most, as a real account's name (MS-ADTS 3.1.1.8.1, sAMAccountName).
	nobody := account{user: "sallyport-" + rand.Text()[:10] + "@" + v.member.DNS}
	a, err := block(ctx, l, func() answer { return v.logon(nobody, password) })
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil {
		verdict, e := a.judge(v.member)
		switch {
		case a.err == nil:
			v.credulous = true
			return ErrCredulous
		case e == nil && verdict.Reason.Wrong():
			v.sound, v.unchecked = true, trouble{}
			return nil
		}
		err = a.err
	}
	err = fmt.Errorf("self-check: Windows did not refuse a made-up name as wrong: %w", err)
	v.unchecked = trouble{err, time.Now()}
	return err
}

// Expect holds the validator to one domain, as [directory.Prover] says: no password is checked from now on if the host's is another.
func (v *Validator) Expect(d directory.Domain) {
	if v.member.Domain.Is(d) {
		v.foreign.Store(nil)
		return
	}
	why := fmt.Sprintf("this computer is a member of %s; the agent's directory is %s", v.member.Domain, d)
	v.foreign.Store(&why)
}

// Prove says which domain the host is a member of, when Windows knows a domain controller of it.
func (v *Validator) Prove(ctx context.Context) (directory.Domain, error) {
	ctx, cancel := context.WithTimeout(ctx, proveFor)
	defer cancel()
	l, err := v.lease(ctx)
	if err != nil {
		return directory.Domain{}, err
	}
	defer l.drop()
	dc, err := v.locate(ctx, l)
	if err != nil {
		return directory.Domain{}, err
	}
	d := v.member.Domain
	d.DC = dc
	return d, nil
}

// located is an answer of the host.
type located struct {
	dc, guid string
	err      error
}

// locate asks Windows for a domain controller of the host's domain: what Windows remembers, or by force if that may be of no use. Names that anybody can type
// raise such doubts, so force is used now and then only.
func (v *Validator) locate(ctx context.Context, l *lease) (string, error) {
	v.mu.Lock()
	now := time.Now()
	anew := (v.doubt || v.nobody.err != nil) && now.Sub(v.forced) >= forceEvery
	if anew {
		v.doubt, v.forced = false, now
	}
	v.mu.Unlock()
	found, err := block(ctx, l, func() (f located) {
		f.dc, f.guid, f.err = v.host.locate(v.member.DNS, anew)
		return f
	})
	switch {
	case err != nil:
	case found.err != nil:
		err = fmt.Errorf("no domain controller of %s is known to Windows: %w", v.member.DNS, found.err)
	case found.guid != v.member.GUID:
		err = fmt.Errorf("the domain controller %s is of another domain of the name %s: this computer was joined to one that is gone", found.dc, v.member.DNS)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		v.nobody = trouble{err, time.Now()}
		return "", err
	}
	v.dc, v.nobody = found.dc, trouble{}
	return found.dc, nil
}

// doubts notes that the domain controller may be gone.
func (v *Validator) doubts() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.doubt = true
}

// answer is what Windows said of a logon.
type answer struct {
	sid string
	err error
	at  time.Time
}

// logon calls Windows and wipes the password.
func (v *Validator) logon(who account, password []uint16) answer {
	defer clear(password)
	sid, err := v.host.logon(who, password)
	return answer{sid, err, time.Now()}
}

// judge turns it into a verdict or an error.
func (a answer) judge(m Member) (wire.Verdict, *directory.Error) {
	var no refusal
	switch {
	case a.err == nil && belongs(a.sid, m.SID):
		return wire.Verdict{Reason: wire.Accepted}, nil
	case a.err == nil:
		return wire.Verdict{}, &directory.Error{Code: wire.DirectoryUnusable, Fenced: true,
			Cause: fmt.Errorf("the yes of Windows is for %.200q, which is no account of the domain %s, or its Guest", a.sid, m.Domain)}
	case !errors.As(a.err, &no):
		return wire.Verdict{}, &directory.Error{Code: wire.DirectoryUnusable, Fenced: true, Cause: a.err}
	}
	verdict, ok := directory.FromWin32(uint32(no))
	if !ok {
		return wire.Verdict{}, &directory.Error{Code: directory.Win32TroubleCode(uint32(no)), Fenced: true, Cause: no}
	}
	return masked(verdict), nil
}

// masked takes from a verdict what only the password's owner may be told, where Windows may have said it to somebody who is not: a KDC looks at the
// account before the password (MS-KILE 3.3.5.6.3). That a password has expired or must be changed is said after the password was judged.
func masked(v wire.Verdict) wire.Verdict {
	switch v.Reason {
	case wire.AccountDisabled, wire.AccountExpired, wire.LogonHours, wire.Workstation:
		v.Reason = wire.AccountRestricted
		v.Diagnostic += ", perhaps before the password was judged"
	}
	return v
}

// Validate checks one password with one LogonUserW; see [directory.Validator]. Its errors are *[directory.Error] with these codes: PasswordUnusable,
// DirectoryUnreachable (no domain controller, no slot, or Windows could not be checked itself), HostCredulous, what the guard refuses with, DirectoryUnusable (the host is in another domain),
// AgentTooSlow, TransientNetwork (the fence was refused); and after the call DirectoryTimeout, what [directory.Win32TroubleCode] makes of a number,
// and DirectoryUnusable for a yes to somebody who is not of the domain. Whatever Windows says after the call, the attempt may have counted: Windows may have asked
// several domain controllers before it says that there is none.
func (v *Validator) Validate(ctx context.Context, check directory.Check) (directory.Result, error) {
	notSent := func(code wire.Code, cause error) (directory.Result, error) {
		v.mu.Lock()
		defer v.mu.Unlock()
		return directory.Result{}, &directory.Error{Code: code, DC: v.dc, Cause: cause}
	}
	if e := check.Refuse(); e != nil {
		return directory.Result{}, e
	}
	name := check.Name
	if a := check.Account; a != nil {
		name = a.Domain + `\` + a.SAM // its alone, while its implicit userPrincipalName may be another's explicit one
	}
	who, err := parseName(name, v.member)
	if err != nil {
		return notSent(wire.PasswordUnusable, fmt.Errorf("%w: %w", directory.ErrUnusable, err))
	}
	if why := v.foreign.Load(); why != nil {
		return notSent(wire.DirectoryUnusable, errors.New(*why))
	}
	by := check.FenceBy
	if by.IsZero() {
		by = time.Now().Add(beforeFence)
	}
	before, cancel := context.WithDeadlineCause(ctx, by, errLate)
	defer cancel()
	l, dc, err := v.prepare(before)
	switch {
	case errors.Is(err, ErrCredulous):
		return notSent(wire.HostCredulous, errCredulous)
	case err != nil && ctx.Err() != nil:
		return notSent(wire.AgentTooSlow, context.Cause(ctx))
	case err != nil:
		return notSent(wire.DirectoryUnreachable, err)
	}
	defer l.drop()
	password, err := wide(check.Password.Reveal())
	if err != nil {
		return notSent(wire.PasswordUnusable, fmt.Errorf("%w: the password is %w", directory.ErrUnusable, err))
	}
	called := false
	spent := func() {}
	defer func() {
		if !called {
			clear(password)
			spent()
		}
	}()
	if v.config.Guard != nil {
		done, refused := v.config.Guard.Admit(before, dc, check)
		if refused != nil {
			return notSent(refused.Code, refused.Cause)
		}
		spent = done
	}
	if err := check.Fence(ctx); err != nil {
		return notSent(wire.TransientNetwork, fmt.Errorf("fence: %w", err))
	}
	if ctx.Err() != nil {
		return notSent(wire.AgentTooSlow, context.Cause(ctx))
	}
	r := directory.Result{DC: dc, Fenced: time.Now()}
	limited, cancel := context.WithTimeoutCause(ctx, v.config.AnswerTimeout, errLate)
	defer cancel()
	called = true
	a, err := block(limited, l, func() answer {
		defer spent() // a call that is not waited for any more may still count
		return v.logon(who, password)
	})
	if err != nil {
		v.doubts()
		return directory.Result{}, &directory.Error{Code: wire.DirectoryTimeout, Fenced: true, DC: dc, Cause: err}
	}
	r.Judged = a.at
	var e *directory.Error
	if r.Verdict, e = a.judge(v.member); e != nil {
		e.DC = dc
		if e.Code == wire.DirectoryUnreachable || e.Code == wire.DirectoryTimeout {
			v.doubts()
		}
		return directory.Result{}, e
	}
	if check.WantAttributes && r.Verdict.Reason.Right() {
		v.identify(ctx, l, check, a.sid, &r.Verdict)
	}
	return r, nil
}

// prepare does everything that may be done before the fence, by when ctx ends.
func (v *Validator) prepare(ctx context.Context) (*lease, string, error) {
	if err := v.SelfCheck(ctx); err != nil {
		return nil, "", err
	}
	l, err := v.lease(ctx)
	if err != nil {
		return nil, "", err
	}
	dc, err := v.locate(ctx, l)
	if err != nil {
		l.drop()
		return nil, "", err
	}
	return l, dc, nil
}

// identify asks whose password it was. Without an answer the yes is nobody's yet, and the service has to know.
func (v *Validator) identify(ctx context.Context, l *lease, check directory.Check, sid string, verdict *wire.Verdict) {
	var err error
	if v.config.Attributes != nil {
		verdict.Attributes, err = v.config.Attributes.Attributes(ctx, check)
	} else {
		verdict.Attributes, err = v.attributes(ctx, l, sid)
	}
	if err != nil {
		v.log.Warn("attributes left out", "err", err)
		verdict.Diagnostic = directory.Shown("identity not proven: " + err.Error())
	}
}

func (v *Validator) attributes(ctx context.Context, l *lease, sid string) (*wire.Attributes, error) {
	type told struct {
		names
		err error
	}
	ctx, cancel := context.WithTimeoutCause(ctx, identifyFor, errLate)
	defer cancel()
	n, err := block(ctx, l, func() (t told) {
		t.names, t.err = v.host.names(v.member.DNS, sid)
		return t
	})
	if err == nil {
		err = n.err
	}
	if err != nil {
		return nil, err
	}
	return n.attributes(v.member)
}
