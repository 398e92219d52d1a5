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
	// UDP lets the first question, which counts nothing, go by UDP, and by TCP where that is of no use. The proof always goes by TCP. Not with Armor.
	UDP bool
	// Armor is the account whose key the keytab has, such as "AGENT1$": with its ticket every exchange is armoured (FAST), and what comes without
	// armour is not believed. Empty means that nothing is.
	Armor string
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
	armory  *armory // nil without Config.Armor
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
	if c.Armor != "" && (c.Keytab == nil || len(c.Keytab.kinds()) == 0) {
		return nil, errors.New("armour needs a keytab with an AES key (aes256-cts-hmac-sha1-96) of " + c.Armor)
	}
	if c.Armor != "" && c.UDP {
		return nil, errors.New("messages in armour are too large for UDP: leave out one of the two")
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
		service: krbtgt(c.Realm)}
	if c.Keytab != nil {
		v.service = c.Keytab.service
	}
	if c.Armor != "" {
		v.armory = newArmory(c.Armor, c.Keytab, c.Logger)
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

// Armor is the account under whose ticket exchanges are armoured; empty where they are not.
func (v *Validator) Armor() string { return v.config.Armor }

// Status returns how the KDCs stand, in their order.
func (v *Validator) Status() []Status {
	var all []Status
	for _, k := range v.all() {
		all = append(all, k.status())
	}
	return all
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
	defer f.armor.wipe()
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
	f.asked.ReqBody.Nonce = nonce() // so that the answer to the question is none to the proof
	if message, err = f.armor.prove(f.asked, key, r.Fenced); err != nil {
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
	if f.byUDP && !r.Verdict.Reason.Right() && r.Verdict.Reason.ProvesPassword() && !v.demands(limited, f) {
		r.Verdict = unproven(r.Verdict)
	}
	if a := check.Account; a != nil && whose.user != "" && !strings.EqualFold(whose.user, a.SAM) {
		// The implicit name of the account that was found may be another's explicit one, which goes first.
		return directory.Result{}, &directory.Error{Code: wire.DirectoryUnusable, Fenced: true, DC: dc,
			Cause: fmt.Errorf("the KDC takes %s for another account than the one that has the typed name", a.Name())}
	}
	if check.WantAttributes && r.Verdict.Reason.Right() {
		limited, cancel := context.WithDeadline(ctx, r.Fenced.Add(v.config.AnswerTimeout+attributesFor))
		v.attributes(limited, check, whose, &r.Verdict)
		cancel()
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
		v.log.Warn("attributes left out", "err", err)
		verdict.Diagnostic = directory.Shown("identity not proven: " + err.Error())
	}
}

// judge turns the answer to a proof into a verdict or an error.
func (v *Validator) judge(answer []byte, f opened, who account, key types.EncryptionKey, now time.Time) (wire.Verdict, owner, *directory.Error) {
	r, err := f.armor.read(answer, f.asked.ReqBody.Nonce)
	if err != nil {
		return wire.Verdict{}, owner{}, &directory.Error{Code: wire.DirectoryUnusable, Fenced: true, Cause: err}
	}
	if r.number == preauthFailed && f.hint.contradicts(r.hints) {
		// A right password would have been refused as well: somebody else told the salt, or the account was renamed a moment ago.
		if f.byUDP {
			f.kdc.muted(errFalseHint, now)
		}
		return wire.Verdict{}, owner{}, &directory.Error{Code: wire.DirectoryUnusable, Fenced: true, Cause: errFalseHint}
	}
	if r.ticket == nil {
		if verdict, ok := directory.FromKDC(r.number, r.status); ok {
			return verdict, owner{}, nil
		}
		return wire.Verdict{}, owner{}, &directory.Error{Code: directory.KDCTroubleCode(r.number, r.status), Fenced: true,
			Cause: errors.New(directory.KDCWords(r.number, r.status))}
	}
	if r.strengthen.KeyType != 0 {
		if key, err = combine(r.strengthen, key, "strengthenkey", "replykey"); err != nil {
			return wire.Verdict{}, owner{}, &directory.Error{Code: wire.DirectoryUnusable, Fenced: true, Cause: err}
		}
		defer clear(key.KeyValue)
	}
	whose, err := verify(r.ticket, f.asked, who, key, v.config.Keytab, now)
	if err != nil {
		v.log.Error("a KDC's yes was not believed", "err", err)
		return wire.Verdict{}, owner{}, &directory.Error{Code: wire.DirectoryUnusable, Fenced: true, Cause: err}
	}
	return wire.Verdict{Reason: wire.Accepted}, whose, nil
}
