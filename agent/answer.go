package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// Answerer works on one check at a time per call, from the sealed envelope to the sealed answer. It is the link's handler,
// and the only place in the agent where a password is readable, between open and the end of the call.
//
//	open ─▶ usable? ─▶ seen before? ─▶ too often? ─▶ protected? ─▶ directory ─▶ fence ─▶ go? ─▶ bind ─▶ seal
//	  └───────┴────────────┴───────────────┘                                │
//	             Refused: asking elsewhere is safe            no, or a wrong one: nothing is bound
//
// Safe for concurrent use.
type Answerer struct {
	keeper    *identity.Keeper
	validator directory.Validator
	seen      *memory
	limits    *limiter
	// protection holds for names; zero protects those that every domain has.
	protection guard.Protection
	log        *slog.Logger
	counts     tallies
	ledger     ledger
	paces      paces
	metrics    *metrics
	started    time.Time
}

// tallies count checks by their outcome since the start.
type tallies struct{ right, wrong, trouble, refused atomic.Uint64 }

// Tally is a snapshot of how checks ended since the start: a verdict of right or wrong, no verdict, or turned down before
// the directory was asked.
type Tally struct {
	Right   uint64 `json:"right"`
	Wrong   uint64 `json:"wrong"`
	Trouble uint64 `json:"trouble"`
	Refused uint64 `json:"refused"`
}

// NewAnswerer puts an answerer together. A nil logger discards.
func NewAnswerer(id *identity.Identity, v directory.Validator, l Limits, log *slog.Logger) *Answerer {
	return newAnswerer(identity.KeepInMemory(id), v, l, log)
}

func newAnswerer(keeper *identity.Keeper, v directory.Validator, l Limits, log *slog.Logger) *Answerer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Answerer{keeper: keeper, validator: v, seen: newMemory(maxRemembered), limits: newLimiter(l, maxNames), log: log,
		metrics: newMetrics(), started: time.Now()}
}

// Tally returns how checks ended so far.
func (a *Answerer) Tally() Tally {
	return Tally{Right: a.counts.right.Load(), Wrong: a.counts.wrong.Load(), Trouble: a.counts.trouble.Load(), Refused: a.counts.refused.Load()}
}

// Check works on one check. fence tells the service that the attempt may count from here on and returns the go token it
// answered with. Whatever happens, panics included, there is a reply, the password is wiped, and one line is logged.
func (a *Answerer) Check(ctx context.Context, c *linkpb.Check, fence func(ctx context.Context, nonce []byte) ([]byte, error)) link.Reply {
	w := &work{a: a, arrived: time.Now(), ask: fence}
	reply := w.answer(ctx, c)
	w.report(ctx, c, reply)
	return reply
}

// work is one check on its way. It belongs to one goroutine, but for gate.
type work struct {
	a        *Answerer
	ask      func(context.Context, []byte) ([]byte, error)
	arrived  time.Time
	check    envelope.Check
	receiver *envelope.Receiver
	result   wire.Answer      // what was sealed
	cause    error            // what led to a trouble or refusal, for the log
	whose    envelope.Account // zero unless the name was looked up and found
	opened   time.Duration
	gate     gate
}

// refusal is a turning down before the directory is asked.
type refusal struct {
	code   wire.Code
	detail string
}

func (w *work) answer(ctx context.Context, c *linkpb.Check) (reply link.Reply) {
	defer func() { w.check.Password.Wipe() }()
	defer func() {
		if p := recover(); p != nil {
			reply = w.recovered(p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if r := w.open(c, time.Now()); r != nil {
		return link.Reply{Refused: r.code, Detail: r.detail}
	}
	if w.a.protection.Named(w.check.Name, foldName) {
		return w.conclude(ctx, directory.Result{}, &directory.Error{Code: wire.AccountProtected, Cause: errProtected})
	}
	by := w.arrived.Add(fenceWithin)
	account, e := w.find(ctx, by)
	if e != nil {
		return w.conclude(ctx, directory.Result{}, e)
	}
	result, err := w.a.validator.Validate(ctx, directory.Check{
		Name: w.check.Name, Password: w.check.Password, Account: account, WantAttributes: w.check.WantAttributes, Fence: w.fence, FenceBy: by,
	})
	return w.conclude(ctx, result, err)
}

// conclude seals what became of a check. Of whom nobody was asked about on purpose, the gateway does not learn: neither by the answer nor by the way there.
func (w *work) conclude(ctx context.Context, result directory.Result, err error) link.Reply {
	answer := w.judge(result, err)
	switch t, v := answer.Trouble, answer.Verdict; {
	case t != nil && !t.Fenced && ofAnAccount(t.Code):
		t.Detail = line(t.Detail, maxOfAnAccount)
		w.pretend(ctx)
	case v != nil && v.Reason.Wrong() && answer.Judged > answer.Fenced:
		w.a.paces.put(pace{fence: w.gate.sent, bind: answer.Judged - answer.Fenced})
	}
	return w.seal(answer)
}

// find looks up who has the name, if it may be another than those that the directory knows people by, until it is time for the fence. nil for
// nobody: then the directory says so.
func (w *work) find(ctx context.Context, by time.Time) (*directory.Account, *directory.Error) {
	if w.check.NameAttribute == "" {
		return nil, nil
	}
	finder, ok := w.a.validator.(directory.Finder)
	if !ok {
		return nil, cannotFind()
	}
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	account, e := finder.Find(ctx, w.check.NameAttribute, w.check.Name)
	if account != nil {
		if id, err := uuid.Parse(account.Anchor); err == nil {
			w.whose = envelope.Account(id)
		}
	}
	switch {
	case account == nil:
		return nil, e
	case w.a.protection.Named(account.Name(), foldName):
		return nil, &directory.Error{Code: wire.AccountProtected, Cause: errProtected}
	case foldName(account.Name()) != foldName(w.check.Name) && !w.a.limits.admitAccount(account.Name(), time.Now()):
		// Somebody with ten addresses has no ten limits.
		return nil, &directory.Error{Code: wire.AgentRateLimited, Cause: errOtherNames}
	}
	return account, nil
}

// open opens the envelope and decides whether the directory may be asked at all. The order matters: what cannot be opened
// proves nothing and must not fill the memory; an empty password is refused before it counts anywhere.
func (w *work) open(c *linkpb.Check, now time.Time) *refusal {
	id := w.a.keeper.Current()
	if c.GetDirectoryId() != id.Directory() {
		return &refusal{wire.EnvelopeForeign, "the check is for another directory than this agent's"}
	}
	b := envelope.Binding{Tenant: id.Tenant(), Directory: id.Directory(), Agent: id.Agent(), Request: c.GetRequestId()}
	key := id.EnvelopeKey()
	if named, err := envelope.KeyIDOf(c.GetEnvelope()); err == nil {
		// While a certificate is being renewed, envelopes are sealed to the key before or the key after.
		if known, ok := w.a.keeper.EnvelopeKey(named, now); ok {
			key = known
		}
	}
	check, receiver, err := envelope.Open(key, b, c.GetEnvelope(), now)
	if err != nil {
		w.cause = err
		return refusalOf(err)
	}
	w.check, w.receiver, w.opened = check, receiver, time.Since(w.arrived)
	if !usable(check.Password) {
		return &refusal{wire.PasswordUnusable, "the password is empty or holds a NUL character"}
	}
	if !askable(check.Name) {
		return &refusal{wire.AgentRefused, "not a name of the form that services send: local@domain, without spaces, invisible characters, backslash and equals sign"}
	}
	if madeBefore(w.a.started, receiver.Expires()) {
		return &refusal{wire.EnvelopeStale, "sealed before this agent started: repeated, or this host's clock is ahead of the service's"}
	}
	switch w.a.seen.see(b.Request, receiver.Expires(), now) {
	case replayed:
		return &refusal{wire.EnvelopeReplayed, "this request was worked on before"}
	case memoryFull:
		return &refusal{wire.AgentRateLimited, "the memory of requests is full"}
	}
	switch w.a.limits.admit(check.Name, now) {
	case nameLimit:
		return &refusal{wire.AgentRateLimited, "this name was asked about too often"}
	case totalLimit:
		return &refusal{wire.AgentRateLimited, "the agent's limit for all names is reached"}
	case namesLimit:
		return &refusal{wire.AgentRateLimited, "too many names are being limited"}
	}
	return nil
}

// madeBefore reports whether an envelope was sealed before started, which an agent that has just started must refuse: its memory
// of requests is younger than the envelope, and each restart would bring a repeated one as far as its fence. Services seal for
// envelope.Life, so the expiry, which is bound, tells when.
func madeBefore(started, expires time.Time) bool {
	return expires.UnixMilli() < started.Add(envelope.Life).UnixMilli()
}

// refusalOf names why an envelope did not open. One that was sealed to this key and does not open, although TLS has kept it
// from damage all the way, was bound to something else: that is why it counts as foreign.
func refusalOf(err error) *refusal {
	switch {
	case errors.Is(err, envelope.ErrExpired):
		return &refusal{wire.EnvelopeStale, "expired: delayed, or this host's clock is ahead"}
	case errors.Is(err, envelope.ErrAhead):
		return &refusal{wire.EnvelopeStale, "its expiry lies too far ahead: not of our service's making, or this host's clock is behind"}
	case errors.Is(err, envelope.ErrUnreadable):
		return &refusal{wire.EnvelopeForeign, "bound to another tenant, directory, agent or request, or changed on the way"}
	case errors.Is(err, envelope.ErrKeyID):
		return &refusal{wire.EnvelopeUnreadable, "sealed to a key that this agent does not have"}
	}
	if errors.Is(err, envelope.ErrDevice) {
		return &refusal{wire.EnvelopeUnreadable, line(err.Error(), maxDetail)}
	}
	if errors.Is(err, envelope.ErrSuite) {
		return &refusal{wire.EnvelopeUnreadable, "sealed with a suite that this agent does not know"}
	}
	return &refusal{wire.EnvelopeUnreadable, "not an envelope of a form this agent knows"}
}

// usable reports whether a password may reach a bind at all. A simple bind without a password succeeds without being
// checked (RFC 4513 §5.1.2), and a NUL ends the password for some directories: both would say yes to strangers.
func usable(p wire.Secret) bool {
	b := p.Reveal()
	for _, c := range b {
		if c == 0 {
			return false
		}
	}
	return len(b) > 0
}

var (
	errNoGo        = errors.New("the service did not say go")
	errWrongGo     = errors.New("the service's go was not made by the sealer of this envelope")
	errHeld        = errors.New("the service holds guesses at this account back, under all its names")
	errFencedTwice = errors.New("a second fence for one check")
	errFenceLate   = errors.New("a fence after the check had ended")
	errProtected   = errors.New("a name that is never asked about")
	errOtherNames  = errors.New("this account was asked about too often, under all its names")
)

// gate remembers how far a check's fence has come. It has a lock of its own, because a validator may call the fence from
// another goroutine, and even after it has returned.
type gate struct {
	mu     sync.Mutex
	asked  bool
	sent   time.Duration // when it was asked for, since arrival
	closed bool
	failed wire.Code     // why there was no go
	passed time.Duration // when there was one, since arrival
}

// fence is what the validator calls right before it binds: nil means "bind now, once". It tells the service whose password that is, where the name had to
// be looked up: the service knows only names, and counts guesses by account.
func (w *work) fence(ctx context.Context) error {
	g := &w.gate
	g.mu.Lock()
	asked, closed := g.asked, g.closed
	if !asked {
		g.asked, g.sent = true, time.Since(w.arrived)
	}
	g.mu.Unlock()
	switch {
	case closed:
		return errFenceLate
	case asked:
		return errFencedTwice
	}
	// Whoever gives the same envelope to an agent twice has the token of the first time at most.
	nonce := w.receiver.Nonce(w.whose)
	token, err := w.ask(ctx, nonce)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err != nil:
		g.failed = wire.TransientNetwork
		return fmt.Errorf("%w: %w", errNoGo, err)
	case equal(token, w.receiver.HoldToken(nonce)):
		g.failed = wire.AccountLockedOut
		return errHeld
	case !equal(token, w.receiver.GoToken(nonce)):
		g.failed = wire.AgentRefused
		return errWrongGo
	case g.closed:
		g.failed = wire.AgentRefused
		return errFenceLate
	}
	g.passed = max(time.Since(w.arrived), 1)
	return nil
}

// shut closes the gate for good and returns how it stood.
func (g *gate) shut() (passed time.Duration, failed wire.Code) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	return g.passed, g.failed
}

// judge turns what the validator said into an answer. A verdict counts only if the fence was passed, since otherwise the
// directory was asked behind the service's back.
func (w *work) judge(result directory.Result, err error) wire.Answer {
	passed, failed := w.gate.shut()
	answer := wire.Answer{DC: result.DC, Opened: w.opened, Fenced: passed}
	if err != nil {
		w.cause = err
		trouble := &wire.Trouble{Code: wire.Internal, Fenced: passed > 0, Detail: err.Error()}
		var known *directory.Error
		if errors.As(err, &known) {
			trouble.Code, trouble.Fenced = known.Code, known.Fenced
			if known.DC != "" {
				answer.DC = known.DC
			}
		}
		if failed != 0 {
			trouble.Code = failed
		}
		trouble.Detail = line(trouble.Detail, maxDetail)
		answer.Trouble = trouble
		return answer
	}
	verdict := result.Verdict
	switch {
	case passed == 0:
		answer.Trouble = &wire.Trouble{Code: wire.Internal, Fenced: true, Detail: "the directory was asked without a fence"}
		return answer
	case !verdict.Reason.Known():
		answer.Trouble = &wire.Trouble{Code: wire.DirectoryUnusable, Fenced: true, Detail: "a verdict without a known reason"}
		return answer
	case !verdict.Reason.Right() || !w.check.WantAttributes:
		verdict.Attributes = nil
	}
	verdict.Diagnostic = line(verdict.Diagnostic, maxDetail)
	answer.Verdict = &verdict
	if !result.Judged.IsZero() {
		answer.Judged = max(result.Judged.Sub(w.arrived), 0)
	}
	return answer
}

// seal seals the answer. If that fails, as with attributes beyond all bounds, a short trouble is sealed in its place.
func (w *work) seal(answer wire.Answer) link.Reply {
	sealed, err := w.receiver.SealAnswer(answer)
	if err != nil {
		w.cause = err
		fenced := answer.Fenced > 0
		answer = wire.Answer{DC: answer.DC, Opened: answer.Opened, Fenced: answer.Fenced,
			Trouble: &wire.Trouble{Code: wire.DirectoryUnusable, Fenced: fenced, Detail: "the directory's answer is too large to be sealed"}}
		if sealed, err = w.receiver.SealAnswer(answer); err != nil {
			return link.Reply{Refused: wire.Internal, Detail: "the answer could not be sealed"}
		}
	}
	w.result = answer
	return link.Reply{Sealed: sealed}
}

// recovered replies after a panic: a refusal while nothing can have reached the directory, otherwise a trouble that says
// that the attempt may have counted. What the panic carried is not repeated, since it may hold the password.
func (w *work) recovered(p any) link.Reply {
	passed, _ := w.gate.shut()
	w.cause = &panicked{what: describePanic(p), where: callers()}
	if w.receiver == nil || passed == 0 {
		return link.Reply{Refused: wire.Internal, Detail: "an unexpected failure in the agent"}
	}
	return w.seal(wire.Answer{Opened: w.opened, Fenced: passed,
		Trouble: &wire.Trouble{Code: wire.Internal, Fenced: true, Detail: "an unexpected failure in the agent"}})
}

type panicked struct {
	what  string
	where []string
}

func (p *panicked) Error() string { return "panic: " + p.what }

// describePanic names a panic without repeating a value that a caller made: the runtime's own sentences speak of indexes
// and types only.
func describePanic(p any) string {
	if e, ok := p.(runtime.Error); ok {
		return e.Error()
	}
	return fmt.Sprintf("a value of type %T", p)
}

// callers returns where a panic came from, as file and line; unlike a stack trace without arguments.
func callers() []string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs[:])])
	var where []string
	for {
		f, more := frames.Next()
		where = append(where, fmt.Sprintf("%s (%s:%d)", f.Function, f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line))
		if !more {
			return where
		}
	}
}
