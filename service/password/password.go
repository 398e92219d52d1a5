package password

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// Queue is what a Checker needs of *queue.Queue, which says what the methods promise. Package passwordtest has another one.
type Queue interface {
	Ask(ctx context.Context, scope tenant.Scope, directory string, a queue.Ask) (queue.Offer, error)
	Deliver(ctx context.Context, scope tenant.Scope, gateway string, d queue.Delivery, onFence func(nonce []byte) (goToken []byte)) (o queue.Outcome, fenced bool, err error)
	Release(gateway, slot string)
}

// Config is what a Checker works with. All but Logger (nil: discard) and Metrics (nil: none) must be given.
type Config struct {
	Tenants *tenant.Store
	Users   *user.Store
	Fleet   *fleet.Store
	Lockout *lockout.Guard
	Queue   Queue
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Checker checks passwords. It is safe for concurrent use; a process has one, so that checks of one account know of one another.
type Checker struct {
	tenants *tenant.Store
	users   *user.Store
	fleet   *fleet.Store
	lockout *lockout.Guard
	queue   Queue
	log     *slog.Logger
	metrics metrics

	timing    timing
	inflight  inflight
	budget    budget
	strangers strangers
}

// New returns a Checker.
func New(c Config) *Checker {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Checker{tenants: c.Tenants, users: c.Users, fleet: c.Fleet, lockout: c.Lockout, queue: c.Queue, log: c.Logger,
		metrics: newMetrics(c.Metrics), strangers: newStrangers()}
}

// Attempt is one typed name and password.
type Attempt struct {
	// Name as it was typed.
	Name string
	// Password as it was typed. Check wipes it, whatever happens.
	Password wire.Secret
	// Address is where the attempt came from, for the caller's log.
	Address string
	// Trace is the W3C traceparent of the sign-in, handed on to gateway and agent.
	Trace string
	// Request is the journey's id or one of the caller's own, for this package's log lines.
	Request string
}

// Answer is what is known at the end of a check. Beside an error it is filled as far as things went.
type Answer struct {
	// Right says that the password is right and the user may go on; then User is set.
	Right bool
	User  user.User
	// Code is the true number, for the log: 0 when Right.
	Code wire.Code
	// Reason is the directory's (or, for a cloud password, our own) judgement; empty when nobody judged.
	Reason     wire.Reason
	Diagnostic string
	// Shown is what the person may see: [wire.InvalidPassword] for all that must look alike; 0 when Right.
	Shown wire.Code
	// Directory, Agent and Gateway are ids, AgentName and DC for people; of the last try.
	Directory, Agent, AgentName, Gateway, DC string
	// NameForm is "upn", "down-level", "bare" or "unusable".
	NameForm string
	// NameKnown says that the name lies in a domain of the tenant, or is a user's. Any other may be a password that was typed into the wrong
	// field: it belongs into no log. It is false where nobody has looked.
	NameKnown bool
	Stops     []audit.Stop
	Started   time.Time
	// Methods are the methods of RFC 8176 that were used: "pwd" when Right.
	Methods []string
}

// Check answers whether the attempt's password is right. A wrong password, and everything else that was judged, is an Answer; the error is
// a fault when nobody could judge (no agent, an agent that was lost …), or tenant.ErrNoScope. The secret is wiped before Check
// returns.
//
// When ctx ends, waiting ends; a delivery that is under way is finished and settled first. Answers that must look like any wrong
// password are given later than they are known, see [hold]; right ones and faults at once.
func (c *Checker) Check(ctx context.Context, scope tenant.Scope, a Attempt) (Answer, error) {
	defer a.Password.Wipe()
	tenantID, err := scope.ID()
	if err != nil {
		return Answer{}, err
	}
	k := &check{Checker: c, scope: scope, tenantID: tenantID, attempt: a, ans: Answer{Started: time.Now()}}
	limited, cancel := context.WithDeadline(ctx, k.ans.Started.Add(overall))
	defer cancel()
	err = k.run(limited)
	if err != nil {
		k.ans.Right, k.ans.User = false, user.User{}
		k.ans.Code = fault.CodeOf(err)
		k.ans.Shown = k.ans.Code
	}
	k.stop("done")
	took := time.Since(k.ans.Started)
	c.metrics.count(k.ans, err, took)
	if err == nil && k.ans.Shown == wire.InvalidPassword && k.ans.Code != wire.PasswordUnusable {
		// All is settled, and nobody waits but the one who asked: a caller that goes away gets the answer at once.
		a.Password.Wipe()
		_ = until(ctx, k.ans.Started.Add(hold(took, c.timing.usual(k.face))))
	}
	return k.ans, err
}

// check is one Check under way.
type check struct {
	*Checker
	scope    tenant.Scope
	tenantID string
	attempt  Attempt
	ans      Answer

	name    string
	domain  tenant.Domain // zero when unknown
	known   user.User     // zero when unknown
	counted user.User     // known, or the user of whose name this is another spelling
	alias   bool          // counted was found by another name than the user principal name
	account string        // lockout's key of the name
	face    timingKey     // the kind of domain that this looks like from outside
	want    bool          // the directory was asked who this is
	probe   bool          // it counts nowhere

	found  string            // lockout's key of the account that the agent found the name to be of, in the try under way; empty for none
	joined map[string]func() // how to leave the accounts among whose checks this one is
}

// run refuses what needs no judge, then finds one. The order of refusals is the order of the lines.
func (k *check) run(ctx context.Context) error {
	var domainName string
	k.name, k.ans.NameForm, domainName = nameOf(k.attempt.Name)
	names := k.ans.NameForm == formUPN // the form names a domain, which may be none of the tenant's
	if k.ans.NameForm == formDownLevel {
		var err error
		if domainName, names, err = k.downLevel(ctx); err != nil {
			return err
		}
	}
	if unusable(k.attempt.Password) {
		// Whatever the name: this depends on the password alone, so its speed tells nothing.
		k.refuse(wire.PasswordUnusable, "")
		return nil
	}
	if err := k.who(ctx, domainName); err != nil {
		return err
	}
	cloud := k.known.Source == user.CloudOnly || k.domain.Kind == tenant.Cloud
	if !names {
		why := ""
		if k.ans.NameForm == formUnusable {
			why = "the name is empty, too long, or holds a space, something invisible, a second @, or a backslash or equals sign before it"
		}
		k.refuse(wire.DomainUnknown, why)
		return k.likeReal(ctx)
	}
	if cloud {
		// No directory stands behind the account that could lock it everywhere, and a stranger must not do so either: the break-glass
		// administrator has to get in.
		k.account = lockout.At(k.account, network(k.attempt.Address, lockoutPrefix))
	}
	leave, err := k.inflight.enter(ctx, k.tenantID+"\x00"+k.account, func() (int, error) {
		left, err := k.lockout.Budget(ctx, k.scope, k.account, time.Now())
		return left, err
	})
	if err != nil {
		return err
	}
	defer leave()
	defer k.part()
	decision, err := k.lockout.Allow(ctx, k.scope, k.account, time.Now())
	if err != nil {
		return fmt.Errorf("password: asking lockout: %w", err)
	}
	if decision.Locked {
		leave() // nobody has to wait for an answer that is only being delayed
		k.refuse(wire.AccountLockedOut, "held back by smart lockout until "+decision.Until.UTC().Format(time.RFC3339))
		return k.likeReal(ctx)
	}
	switch {
	case cloud:
		return k.cloud(ctx)
	case k.domain.Name == "":
		return k.nowhere(ctx)
	}
	return k.passThrough(ctx)
}

// nowhere ends a check whose name lies in no domain of the tenant. It stands in line, takes its time and counts as a name of a
// directory does, so that many posts at once tell no more than one.
func (k *check) nowhere(ctx context.Context) error {
	k.refuse(wire.DomainUnknown, "")
	if err := k.likeReal(ctx); err != nil {
		return err
	}
	return k.settle(ctx, wire.NoSuchUser, k.account)
}

// who finds user and domain. Both may be unknown.
func (k *check) who(ctx context.Context, domainName string) error {
	k.face = timingKey{k.tenantID, tenant.PassThrough}
	k.account = k.strangers.account(k.name)
	if domainName == "" {
		return nil
	}
	var err error
	if k.domain, err = k.tenants.Domain(ctx, k.scope, domainName); err != nil && !fault.Has(err, wire.NotFound) {
		return fmt.Errorf("password: looking for the domain: %w", err)
	}
	if k.domain.Name != "" {
		k.face.kind = k.domain.Kind
	}
	// The second spelling is for a user whose stored name has an internationalised domain in letters.
	if k.known, err = k.byName(ctx, k.name, strings.TrimSpace(k.attempt.Name)); err != nil {
		return err
	}
	// Attempts at a spelling that only the directory takes for a user's name count as that user's.
	if k.counted = k.known; k.counted.ID == "" {
		if k.counted, err = k.byName(ctx, fold(k.name)); err != nil {
			return err
		}
	}
	k.ans.NameKnown = k.domain.Name != "" || k.counted.ID != ""
	switch {
	case k.counted.ID != "":
		k.alias = fold(k.counted.UPN) != fold(k.name)
		k.account = k.counted.ID
	case k.ans.NameKnown:
		k.account = fold(k.name)
	}
	return nil
}

// downLevel makes ada@corp.example of CORP\ada, where the tenant allows that: it is what a directory makes of it, the implicit user principal name
// ([MS-ADTS] 5.1.1.1.1). From there on there is one name, and so one count. names says that the name is of this form, and domain is empty where no
// domain bears the NetBIOS name.
func (k *check) downLevel(ctx context.Context) (domain string, names bool, err error) {
	short, account, _ := strings.Cut(k.name, `\`)
	if account == "" || strings.ContainsAny(account, "@"+otherForms) {
		return "", false, nil
	}
	d, err := k.tenants.DomainByNetBIOS(ctx, k.scope, short)
	if fault.Has(err, wire.NotFound) {
		return "", true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("password: looking for the domain: %w", err)
	}
	k.name = account + "@" + d.Name
	return d.Name, true, nil
}

// byName finds the user of the first of these spellings that has one, as a user principal name or as the other name that the domain allows; the
// zero user if none has.
func (k *check) byName(ctx context.Context, spellings ...string) (user.User, error) {
	for i, s := range spellings {
		if i > 0 && user.Key(s) == user.Key(spellings[0]) {
			continue
		}
		u, err := k.users.ByUPN(ctx, k.scope, s)
		if fault.Has(err, wire.NotFound) && k.domain.SignInAttribute != "" {
			u, err = k.users.BySignInName(ctx, k.scope, k.domain.DirectoryID, k.domain.SignInAttribute, s, time.Now())
		}
		if err == nil {
			return u, nil
		}
		if !fault.Has(err, wire.NotFound) {
			return user.User{}, fmt.Errorf("password: looking for the user: %w", err)
		}
	}
	return user.User{}, nil
}

// refuse sets an answer that looks like any wrong password.
func (k *check) refuse(code wire.Code, diagnostic string) {
	k.ans.Code, k.ans.Shown, k.ans.Diagnostic = code, wire.InvalidPassword, diagnostic
}

// likeReal waits until the check has taken as long as a recent real wrong answer.
func (k *check) likeReal(ctx context.Context) error {
	if err := until(ctx, k.ans.Started.Add(k.timing.draw(k.face))); err != nil {
		return fault.Wrap(wire.TransientNetwork, "the caller went away", err)
	}
	return nil
}

// settle tells lockout what the verdict about these accounts was; trouble never comes here. It is done even if the caller has gone away.
func (k *check) settle(ctx context.Context, r wire.Reason, accounts ...string) error {
	var event lockout.Event
	switch {
	case r.Right():
		event = lockout.Right
	case r.Wrong():
		event = lockout.Wrong
	default:
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	defer cancel()
	for _, account := range accounts {
		if err := k.lockout.Settle(ctx, k.scope, account, event, time.Now()); err != nil {
			return fmt.Errorf("password: settling lockout: %w", err)
		}
	}
	return nil
}

// right ends a check whose password was right: u may go on, unless disabled here.
func (k *check) right(u user.User) {
	if u.Disabled {
		k.refuse(wire.AccountIsDisabled, "the user is disabled in this tenant")
		return
	}
	k.ans.Right, k.ans.User, k.ans.Methods = true, u, []string{"pwd"}
	k.ans.Code, k.ans.Shown = 0, 0
}

// cloud checks a password that is kept here as a hash. Who has none is compared with one that nothing matches.
func (k *check) cloud(ctx context.Context) error {
	phc := ""
	if k.known.Source == user.CloudOnly {
		var err error
		if phc, err = k.users.PasswordHash(ctx, k.scope, k.known.ID); err != nil {
			return fmt.Errorf("password: reading the hash: %w", err)
		}
	}
	ok, hashed, err := k.compare(ctx, phc)
	if err != nil {
		return err
	}
	k.ans.Reason = wire.BadPassword
	switch {
	case ok:
		k.ans.Reason = wire.Accepted
	case k.known.ID == "":
		k.ans.Reason = wire.NoSuchUser
	}
	if err := k.settle(ctx, k.ans.Reason, k.account); err != nil {
		return err
	}
	if ok {
		k.right(k.known)
		return nil
	}
	code := wire.InvalidPassword
	if k.known.ID == "" {
		code = wire.UserNotFound
	}
	k.refuse(code, "")
	if k.face.kind == tenant.PassThrough || !hashed {
		// A cloud-only user whose name looks like a directory's takes as long as the directory would, and a name that nobody has as
		// long as a hash.
		return k.likeReal(ctx)
	}
	k.timing.put(k.face, time.Since(k.ans.Started))
	return nil
}

// compare compares the typed password with a hash. For a name without one a hash is computed only if a place is free: strangers can
// make up any number of names, and must not use up what those who have a password wait for. All names of cloud domains share a
// budget for their network; a cloud-only name among a directory's has none, since only that name would ever run out of it, and lockout
// bounds it already.
func (k *check) compare(ctx context.Context, phc string) (ok, hashed bool, err error) {
	if k.face.kind != tenant.PassThrough && !k.budget.allow(network(k.attempt.Address, budgetPrefix), time.Now()) {
		return false, false, fault.New(wire.TooManyRequests, "too many passwords of cloud-only users from one network")
	}
	var leave func()
	if phc == "" {
		if leave, ok = hashes.try(); !ok {
			return false, false, nil
		}
	} else if leave, err = hashes.wait(ctx); err != nil {
		return false, false, err
	}
	defer leave()
	ok, err = verify(phc, k.attempt.Password)
	return ok, true, err
}

// stop notes where the check has come to.
func (k *check) stop(name string) { k.stopAt(name, time.Now()) }

func (k *check) stopAt(name string, at time.Time) {
	k.ans.Stops = append(k.ans.Stops, audit.Stop{Name: name, At: at.Sub(k.ans.Started)})
}
