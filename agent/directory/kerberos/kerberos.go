package kerberos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

// Attributer tells who a person is whose password was just found right; package ldap does.
type Attributer interface {
	// Attributes binds as that person. Who may not bind is a *[directory.Refused].
	Attributes(ctx context.Context, check directory.Check) (*wire.Attributes, error)
	// AttributesOf looks at the account with this sAMAccountName as somebody else, who may look.
	AttributesOf(ctx context.Context, account string) (*wire.Attributes, error)
}

// Guard decides whether the attempt of this check may be spent at a domain controller, given as host and port; package ldap does, which reads how
// far the account is from being locked. When it may, done is to be called after the attempt. A refusal is a *directory.Error with nothing sent.
type Guard interface {
	Admit(ctx context.Context, dc string, check directory.Check) (done func(), refused *directory.Error)
}

// Config says which KDCs to ask and how.
type Config struct {
	// KDCs in the order in which they are used, "dc1.corp.example", with a port if it is not 88. At least one, unless there is Hosts.
	KDCs []string
	// Hosts names those to use now, after KDCs; nil for none. It is called for each check.
	Hosts func() []string
	// Resolver is asked for their addresses; nil means the system's.
	Resolver *net.Resolver
	// Realm whose people are checked; empty means the keytab's.
	Realm string
	// Keytab has the key of the agent's own service, by which KDCs prove themselves.
	Keytab *Keytab
	// Unproven allows to work without a keytab: whoever is between agent and KDC can then sign in as anybody.
	Unproven bool
	// UDP lets the first question, which counts nothing, go by UDP, and by TCP where that is of no use. The proof always goes by TCP.
	UDP bool
	// Attributes tells whose password it was; nil means that nobody does, and answers carry none.
	Attributes Attributer
	// Guard is asked before each attempt; nil means that every one may be spent.
	Guard Guard
	// Concurrency is how many checks run at once; 0 means 8.
	Concurrency int
	// DialTimeout for one connection; 0 means one second. AnswerTimeout from sending the proof to the answer; 0 means six.
	DialTimeout, AnswerTimeout time.Duration
	// Logger; nil means that nothing is logged.
	Logger *slog.Logger
}

// ErrUnproven refuses to work without a keytab.
var ErrUnproven = errors.New("without a keytab nothing proves that it is the KDC who answers: whoever is on the network between could accept a password of his own for anybody")

// Validator checks passwords by AS exchanges. Make it with [New]. Safe for concurrent use.
type Validator struct {
	config  Config
	service types.PrincipalName
	kdcs    []*kdc // those of the settings
	slots   chan struct{}
	log     *slog.Logger
	// foreign says why no password is checked: the realm is not that of the directory.
	foreign atomic.Pointer[string]

	mu    sync.Mutex
	found map[string]*kdc // those of Config.Hosts, by what it says
}

var _ directory.Validator = (*Validator)(nil)

// New checks the configuration and contacts nobody. Its error wraps [ErrUnproven] when the keytab is missing.
func New(c Config) (*Validator, error) {
	if len(c.KDCs) == 0 && c.Hosts == nil {
		return nil, errors.New("no KDCs are configured")
	}
	if c.Concurrency < 0 || c.DialTimeout < 0 || c.AnswerTimeout < 0 {
		return nil, errors.New("concurrency and timeouts must not be negative")
	}
	if c.Keytab == nil && !c.Unproven {
		return nil, ErrUnproven
	}
	if c.Realm == "" && c.Keytab != nil {
		c.Realm = c.Keytab.realm
	}
	c.Realm = strings.ToUpper(c.Realm)
	switch {
	case c.Realm == "":
		return nil, errors.New("no realm is configured")
	case c.Keytab != nil && c.Keytab.realm != c.Realm:
		return nil, fmt.Errorf("the keytab is of realm %s, not of %s", c.Keytab.realm, c.Realm)
	}
	if c.Concurrency == 0 {
		c.Concurrency = defaultConcurrency
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = defaultDialTimeout
	}
	if c.AnswerTimeout == 0 {
		c.AnswerTimeout = defaultAnswerTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	v := &Validator{config: c, slots: make(chan struct{}, c.Concurrency), log: c.Logger,
		service: types.PrincipalName{NameType: nametype.KRB_NT_SRV_INST, NameString: []string{"krbtgt", c.Realm}}}
	if c.Keytab != nil {
		v.service = c.Keytab.service
	}
	for _, text := range c.KDCs {
		k, err := parseKDC(text, c.Resolver)
		if err != nil {
			return nil, err
		}
		v.kdcs = append(v.kdcs, k)
	}
	return v, nil
}

// all are the KDCs to use now.
func (v *Validator) all() []*kdc {
	if v.config.Hosts == nil {
		return v.kdcs
	}
	all, found := slices.Clone(v.kdcs), map[string]*kdc{}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, host := range v.config.Hosts() {
		k := v.found[host]
		if k == nil {
			var err error
			if k, err = parseKDC(host, v.config.Resolver); err != nil {
				continue // no host that could be dialled
			}
		}
		found[host] = k
		all = append(all, k)
	}
	v.found = found
	return all
}

// Realm is that whose people are checked.
func (v *Validator) Realm() string { return v.config.Realm }

// Service is the principal by whose key KDCs prove themselves; empty where they need not.
func (v *Validator) Service() string {
	if v.config.Keytab == nil {
		return ""
	}
	return v.config.Keytab.Service()
}

// Status returns how the KDCs stand, in their order.
func (v *Validator) Status() []Status {
	var all []Status
	for _, k := range v.all() {
		all = append(all, k.status())
	}
	return all
}

// Look is what one KDC answers to a question that concerns nobody.
type Look struct {
	Address string
	// Err says why it cannot be used; nil if it can.
	Err error
	// Took is the time for the answer; ClockSkew how far its clock is ahead, to about a second.
	Took, ClockSkew time.Duration
	// UDPTook is the time for the answer by UDP, and UDPErr says why there is none; both zero unless [Config.UDP] wants that.
	UDPTook time.Duration
	UDPErr  error
}

// Look asks every KDC once, without a proof, about the KDC's own account. It counts nowhere. Whether the keytab's key is still the right one
// shows only with a password.
func (v *Validator) Look(ctx context.Context) []Look {
	kdcs := v.all()
	all := make([]Look, len(kdcs))
	var wg sync.WaitGroup
	for i, k := range kdcs {
		wg.Go(func() { all[i] = v.look(ctx, k) })
	}
	wg.Wait()
	return all
}

func (v *Validator) look(ctx context.Context, k *kdc) Look {
	l := Look{Address: k.address}
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	began := time.Now()
	asked := request(account{"krbtgt", v.config.Realm}, v.config.Realm, v.service, began)
	message, err := asked.Marshal()
	if err != nil {
		l.Err = err
		return l
	}
	if v.config.UDP {
		quick, cancel := context.WithTimeout(ctx, datagramFor)
		_, l.UDPErr = k.datagram(quick, message)
		cancel()
		l.UDPTook = time.Since(began)
		began = time.Now()
	}
	c, err := k.dial(ctx, lookFor)
	if err != nil {
		l.Err = err
		return l
	}
	answer, err := c.exchange(ctx, message)
	if err != nil {
		l.Err = err
		return l
	}
	r, err := parseReply(answer)
	l.Took = time.Since(began)
	switch {
	case err != nil:
		l.Err = err
	case r.number == wrongRealm || r.number == clientUnknown: // every realm has the account that was asked about
		l.Err = fmt.Errorf("it does not serve the realm %s", v.config.Realm)
	}
	if r.ticket == nil && err == nil {
		l.ClockSkew = time.Until(r.clock)
	}
	return l
}

// Expect holds the validator to one domain, as [directory.Prover] says: no password is checked from now on if the realm is another's.
func (v *Validator) Expect(d directory.Domain) {
	realm := strings.ToUpper(realmOf(d.NamingContext))
	if realm == "" || realm == v.config.Realm {
		v.foreign.Store(nil)
		return
	}
	why := fmt.Sprintf("the realm is %s, the directory's is %s: correct --realm or --keytab", v.config.Realm, realm)
	v.foreign.Store(&why)
}

// realmOf turns DC=corp,DC=example into corp.example; "" if it is anything else.
func realmOf(dn string) string {
	var labels []string
	for part := range strings.SplitSeq(dn, ",") {
		kind, label, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || !strings.EqualFold(kind, "DC") || label == "" {
			return ""
		}
		labels = append(labels, label)
	}
	return strings.Join(labels, ".")
}

// Validate checks one password with one proof; see [directory.Validator]. Its errors are *[directory.Error] with these codes:
// PasswordUnusable (also for names that Kerberos has not), DirectoryUnreachable, AgentTooSlow, ClockSkew and what
// [directory.KDCTroubleCode] makes of a refusal, what the guard refuses with, TransientNetwork (the fence was refused); and after the proof was sent DirectoryTimeout, and
// DirectoryUnusable for a KDC that says yes without proving that it may.
//
// What a KDC says before any proof is a verdict too, such as that it knows nobody of this name. The fence is asked for it as for
// any other, and nothing is sent then.
func (v *Validator) Validate(ctx context.Context, check directory.Check) (directory.Result, error) {
	if e := check.Refuse(); e != nil {
		return directory.Result{}, e
	}
	name := check.Name
	if check.Account != nil {
		name = check.Account.Name()
	}
	who, err := parseName(name)
	if err != nil {
		return directory.Result{}, &directory.Error{Code: wire.PasswordUnusable, Cause: fmt.Errorf("%w: %w", directory.ErrUnusable, err)}
	}
	if why := v.foreign.Load(); why != nil {
		return directory.Result{}, &directory.Error{Code: wire.DirectoryUnusable, Cause: errors.New(*why)}
	}
	by := check.FenceBy
	if by.IsZero() {
		by = time.Now().Add(beforeFence)
	}
	before, cancelBefore := context.WithDeadline(ctx, by)
	defer cancelBefore()
	f, e := v.first(ctx, before, who)
	if e != nil {
		return directory.Result{}, e
	}
	defer func() { <-v.slots }()
	dc := f.kdc.address
	if f.open {
		defer f.link.Close()
	}
	notSent := func(code wire.Code, cause error) (directory.Result, error) {
		return directory.Result{}, &directory.Error{Code: code, DC: dc, Cause: cause}
	}
	var message []byte
	var key types.EncryptionKey
	if f.open {
		if key, err = f.hint.key(check.Password.Reveal()); err != nil {
			return notSent(wire.DirectoryUnusable, fmt.Errorf("key: %w", err))
		}
		defer clear(key.KeyValue)
	}
	// Asked although a KDC that wants no proof has spoken already: what the guard knows of an account takes as long for one that is not there.
	if v.config.Guard != nil {
		spent, refused := v.config.Guard.Admit(before, dc, check)
		if refused != nil {
			return notSent(refused.Code, refused.Cause)
		}
		defer spent()
	}
	if err := check.Fence(ctx); err != nil {
		return notSent(wire.TransientNetwork, fmt.Errorf("fence: %w", err))
	}
	if ctx.Err() != nil {
		return notSent(wire.AgentTooSlow, context.Cause(ctx))
	}
	r := directory.Result{DC: dc, Fenced: time.Now()}
	if !f.open {
		r.Verdict, r.Judged = f.verdict, r.Fenced
		return r, nil
	}
	if message, err = prove(f.asked, key, r.Fenced); err != nil {
		return notSent(wire.DirectoryUnusable, fmt.Errorf("proof: %w", err))
	}
	limited, cancel := context.WithTimeout(ctx, v.config.AnswerTimeout)
	defer cancel()
	answer, err := f.link.exchange(limited, message)
	r.Judged = time.Now()
	if err != nil {
		f.kdc.lost(err, r.Judged)
		return directory.Result{}, &directory.Error{Code: wire.DirectoryTimeout, Fenced: true, DC: dc, Cause: err}
	}
	var whose owner
	if r.Verdict, whose, e = v.judge(answer, f, who, key, r.Judged); e != nil {
		e.DC = dc
		return directory.Result{}, e
	}
	if a := check.Account; a != nil && whose.user != "" && !strings.EqualFold(whose.user, a.SAM) {
		// The implicit name of the account that was found may be another's explicit one, which goes first.
		return directory.Result{}, &directory.Error{Code: wire.DirectoryUnusable, Fenced: true, DC: dc,
			Cause: fmt.Errorf("the KDC takes %s for another account than the one that has the typed name", a.Name())}
	}
	if check.WantAttributes && r.Verdict.Reason.Right() {
		v.attributes(ctx, check, whose, &r.Verdict)
	}
	return r, nil
}

// attributes asks whose password it was. Without an answer the yes is nobody's yet, and the service has to know. What the directory says
// there to nobody who does not know the password – Samba's KDC knows no workstation lists – is the better verdict. Members of Protected Users may
// not bind at all: the ticket tells who they are, and another account, if the agent has one, looks at the entry.
func (v *Validator) attributes(ctx context.Context, check directory.Check, whose owner, verdict *wire.Verdict) {
	err := errors.New("no attributes are told by Kerberos")
	if v.config.Attributes != nil {
		verdict.Attributes, err = v.config.Attributes.Attributes(ctx, check)
	}
	var no *directory.Refused
	if errors.As(err, &no) && no.Verdict.Reason.ProvesPassword() {
		*verdict = no.Verdict
		return
	}
	if no != nil && no.Verdict.Reason == wire.AccountRestricted && whose.user != "" {
		var other error
		if verdict.Attributes, other = v.config.Attributes.AttributesOf(ctx, whose.user); other == nil {
			err = nil
		} else {
			err = fmt.Errorf("%w; %w", err, other)
		}
		if err == nil && check.Account != nil {
			verdict.Attributes.SignInName = check.Account.SignInName
		}
	}
	if err != nil {
		v.log.Warn("attributes left out", "error", err)
		verdict.Diagnostic = directory.Shown("identity not proven: " + err.Error())
	}
}

// judge turns the answer to a proof into a verdict or an error.
func (v *Validator) judge(answer []byte, f opened, who account, key types.EncryptionKey, now time.Time) (wire.Verdict, owner, *directory.Error) {
	r, err := parseReply(answer)
	if err != nil {
		return wire.Verdict{}, owner{}, &directory.Error{Code: wire.DirectoryUnusable, Fenced: true, Cause: err}
	}
	if r.number == preauthFailed && f.hint.contradicts(r.hints) {
		// A right password would have been refused as well: somebody else told the salt, or the account was renamed a moment ago.
		f.kdc.muted(errFalseHint, now)
		return wire.Verdict{}, owner{}, &directory.Error{Code: wire.DirectoryUnusable, Fenced: true, Cause: errFalseHint}
	}
	if r.ticket == nil {
		if verdict, ok := directory.FromKDC(r.number, r.status); ok {
			return verdict, owner{}, nil
		}
		return wire.Verdict{}, owner{}, &directory.Error{Code: directory.KDCTroubleCode(r.number, r.status), Fenced: true,
			Cause: errors.New(directory.KDCWords(r.number, r.status))}
	}
	whose, err := verify(r.ticket, f.asked, who, key, v.config.Keytab, now)
	if err != nil {
		v.log.Error("a KDC's yes was not believed", "err", err)
		return wire.Verdict{}, owner{}, &directory.Error{Code: wire.DirectoryUnusable, Fenced: true, Cause: err}
	}
	return wire.Verdict{Reason: wire.Accepted}, whose, nil
}

// opened is the state right before the fence.
type opened struct {
	kdc   *kdc
	asked messages.ASReq
	// open says that the KDC wants a proof, made as hint says and sent over link. Else verdict is its last word.
	open    bool
	hint    hint
	link    link
	verdict wire.Verdict
}

// first asks without a proof, until a KDC has answered and a connection to it is open, or limited has ended, which is when it is time for the
// fence; ctx is the caller's. With its result comes a slot, which the caller gives back.
func (v *Validator) first(ctx, limited context.Context, who account) (_ opened, e *directory.Error) {
	select {
	case v.slots <- struct{}{}:
	case <-limited.Done():
		return opened{}, unreachable(ctx, errors.New("all slots are busy"))
	}
	kept := false
	defer func() {
		if !kept {
			<-v.slots
		}
	}()
	asked := request(who, v.config.Realm, v.service, time.Now())
	message, err := asked.Marshal()
	if err != nil {
		return opened{}, &directory.Error{Code: wire.PasswordUnusable, Cause: fmt.Errorf("%w: the name cannot be written: %w", directory.ErrUnusable, err)}
	}
	kdcs := v.order(time.Now())
	if len(kdcs) == 0 {
		return opened{}, unreachable(ctx, errors.New("no KDC is found yet"))
	}
	var all []error
	for _, k := range kdcs {
		f, err := v.ask(limited, k, message)
		var told *directory.Error
		switch {
		case err == nil:
			k.heard()
			f.kdc, f.asked, kept = k, asked, true
			return f, nil
		case errors.As(err, &told):
			k.heard()
			told.DC = k.address
			return opened{}, told
		}
		all = append(all, fmt.Errorf("%s: %w", k.address, err))
		if limited.Err() != nil && ctx.Err() != nil {
			break // the caller gave up, not the KDC
		}
		k.lost(err, time.Now())
		if limited.Err() != nil {
			break
		}
	}
	return opened{}, unreachable(ctx, errors.Join(all...))
}

func unreachable(ctx context.Context, err error) *directory.Error {
	if ctx.Err() != nil {
		return &directory.Error{Code: wire.AgentTooSlow, Cause: context.Cause(ctx)}
	}
	return &directory.Error{Code: wire.DirectoryUnreachable, Cause: err}
}

// order is that of the settings and of LDAP's choice, with those that rest at the end.
func (v *Validator) order(now time.Time) []*kdc {
	var ready, resting []*kdc
	for _, k := range v.all() {
		if k.resting(now) {
			resting = append(resting, k)
		} else {
			ready = append(ready, k)
		}
	}
	return append(ready, resting...)
}

// ask asks one KDC. An error that is a *directory.Error is its answer; after any other the next KDC may be asked.
func (v *Validator) ask(ctx context.Context, k *kdc, message []byte) (opened, error) {
	if v.config.UDP && len(message) <= maxDatagram && k.takesDatagrams(time.Now()) {
		return v.askByUDP(ctx, k, message)
	}
	l, err := k.dial(ctx, v.config.DialTimeout)
	if err != nil {
		return opened{}, err
	}
	return v.askByTCP(ctx, k, l, message)
}

// askByUDP asks by UDP while the connection for the proof is made. A datagram is forged more easily than a connection is taken over, so all that is taken from it is
// the demand for a proof with its hint, which the answer to the proof is held against. Whatever else it says is asked again on the connection.
func (v *Validator) askByUDP(ctx context.Context, k *kdc, message []byte) (opened, error) {
	limited, cancel := context.WithTimeout(ctx, datagramFor)
	defer cancel()
	var answer []byte
	answered := make(chan error, 1)
	go func() {
		var err error
		answer, err = k.datagram(limited, message)
		answered <- err
	}()
	l, err := k.dial(ctx, v.config.DialTimeout)
	if err != nil {
		cancel()
		<-answered
		return opened{}, err
	}
	err = <-answered
	if ctx.Err() == nil { // else it had no time
		k.muted(err, time.Now())
	}
	if err == nil {
		if h, ok := demanded(answer); ok {
			return opened{open: true, hint: h, link: l}, nil
		}
	}
	return v.askByTCP(ctx, k, l, message)
}

// demanded reads the hint in a demand for a proof, if that is what it is.
func demanded(answer []byte) (hint, bool) {
	r, err := parseReply(answer)
	if err != nil || r.number != preauthRequired || time.Until(r.clock).Abs() > clockSkew {
		return hint{}, false
	}
	h, err := hintOf(r.hints)
	return h, err == nil
}

// askByTCP asks on a connection, which it closes, and makes another for the proof.
func (v *Validator) askByTCP(ctx context.Context, k *kdc, l link, message []byte) (opened, error) {
	limited, cancel := context.WithTimeout(ctx, v.config.DialTimeout)
	defer cancel()
	answer, err := l.exchange(limited, message)
	if err != nil {
		return opened{}, err
	}
	r, err := parseReply(answer)
	if err != nil {
		return opened{}, err
	}
	if r.number == unavailable {
		return opened{}, errors.New(directory.KDCWords(r.number, r.status))
	}
	if r.number != preauthRequired && r.ticket == nil {
		verdict, ok := directory.FromKDC(r.number, r.status)
		if !ok {
			return opened{}, &directory.Error{Code: directory.KDCTroubleCode(r.number, r.status), Cause: errors.New(directory.KDCWords(r.number, r.status))}
		}
		return opened{verdict: unproven(verdict)}, nil
	}
	// A ticket without proof, for an account that needs none, has the hint too; the proof is asked for all the same.
	if skew := time.Until(r.clock); r.ticket == nil && skew.Abs() > clockSkew {
		return opened{}, &directory.Error{Code: wire.ClockSkew, Cause: fmt.Errorf("the KDC's clock is %s ahead", skew.Round(time.Second))}
	}
	h, err := hintOf(r.hints)
	if err != nil {
		return opened{}, &directory.Error{Code: wire.DirectoryUnusable, Cause: err}
	}
	if l, err = k.dial(ctx, v.config.DialTimeout); err != nil {
		return opened{}, err
	}
	return opened{open: true, hint: h, link: l}, nil
}

// unproven takes from a verdict that was given without a proof what only the password's owner may be told: a KDC that looks at the
// account first says "disabled" to everybody.
func unproven(v wire.Verdict) wire.Verdict {
	if v.Reason.ProvesPassword() {
		v.Reason = wire.AccountRestricted
	}
	v.Diagnostic += ", before any password was judged"
	return v
}
