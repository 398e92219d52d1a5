package password

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// ErrNotAsked is wrapped by the faults of probes that never came to the agent.
var ErrNotAsked = errors.New("the agent was not asked")

// Probe is one password that is given to one agent, to see how it does.
type Probe struct {
	Directory, Agent string
	Name             string
	// Password is wiped by [Checker.Probe].
	Password wire.Secret
	// WantAttributes and Trace are as in a person's check.
	WantAttributes bool
	Trace          string
}

// Probe asks one agent about a name and a password, on the way that every check goes: ask, seal, deliver, fence, go, bind, answer. The
// agent cannot tell it from a person's. Nobody is let in by it, lockout and timing do not hear of it, there is no record and no second
// agent. The fault says why there is no verdict; it wraps [ErrNotAsked] when the agent has nothing to do with that.
func (c *Checker) Probe(ctx context.Context, scope tenant.Scope, p Probe) (v wire.Verdict, took time.Duration, err error) {
	defer p.Password.Wipe()
	tenantID, err := scope.ID()
	if err != nil {
		return wire.Verdict{}, 0, err
	}
	if unusable(p.Password) {
		return wire.Verdict{}, 0, fault.New(wire.PasswordUnusable, "")
	}
	name, form, domainName := nameOf(p.Name)
	if form != formUPN {
		return wire.Verdict{}, 0, fault.Newf(wire.BadRequest, "the name %.80q is not of the form name@domain", p.Name)
	}
	k := &check{Checker: c, scope: scope, tenantID: tenantID, attempt: Attempt{Name: p.Name, Password: p.Password, Trace: p.Trace}, name: name, want: p.WantAttributes,
		probe: true, ans: Answer{Started: time.Now()}}
	// Asked as a person of the name's domain would be, and answered at the fence, or the agent could tell a probe.
	if err := k.who(ctx, domainName); err != nil {
		return wire.Verdict{}, 0, fmt.Errorf("%w: %w", ErrNotAsked, err)
	}
	if k.domain.DirectoryID != p.Directory {
		k.domain = tenant.Domain{DirectoryID: p.Directory}
	}
	ctx, cancel := context.WithTimeout(ctx, overall)
	defer cancel()
	request := newRequest()
	offer, err := c.queue.Ask(ctx, scope, p.Directory, queue.Ask{Request: request, Trace: p.Trace, Only: p.Agent, Deadline: time.Now().Add(askWithin)})
	if err != nil {
		return wire.Verdict{}, 0, fmt.Errorf("%w: %w", ErrNotAsked, err)
	}
	asked := time.Now()
	t := k.tryOne(ctx, request, offer, k.ans.Started.Add(overall))
	took = time.Since(asked)
	if t.event == Answered {
		if _, known := Means(t.verdict.Reason); !known {
			return wire.Verdict{}, took, fault.Newf(wire.DirectoryUnusable, "unknown reason %.40q", string(t.verdict.Reason))
		}
		return *t.verdict, took, nil
	}
	switch {
	case t.event == TroubleUnfenced && t.code == wire.LockoutSpared: // the made-up passwords before it count at an account that exists
		return wire.Verdict{}, took, fmt.Errorf("%w: %w", ErrNotAsked, fault.New(t.code, t.detail))
	case t.event == Held: // by this service
		return wire.Verdict{}, took, fmt.Errorf("%w: %w", ErrNotAsked, fault.New(wire.AccountLockedOut, t.detail))
	}
	step := Next(Known{Event: t.event, Code: t.code, Tries: maxTries, Binds: bindsOf(t.event)}) // what else a guard withholds has its own number
	return wire.Verdict{}, took, fault.New(step.Code, fmt.Sprintf("%s%s", t.event, detail(t.detail)))
}

// bindsOf is how many attempts may have counted at the directory with a try that ended so.
func bindsOf(e Event) int {
	if e == LostAfterFence || e == TroubleFenced {
		return 1
	}
	return 0
}

// NameFits reports whether a name is of the form that agents are asked about, and its domain.
func NameFits(name string) (normal, domain string, ok bool) {
	normal, form, domain := nameOf(name)
	return normal, domain, form == formUPN
}

// Usable reports whether a password could reach a directory at all.
func Usable(s wire.Secret) bool { return !unusable(s) }
