package password

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// try is one agent's part in a check.
type try struct {
	event   Event
	code    wire.Code
	detail  string
	verdict *wire.Verdict // with Answered
}

// passThrough asks the directory, through one agent after another as [Next] decides.
func (k *check) passThrough(ctx context.Context) error {
	k.ans.Directory = k.domain.DirectoryID
	deadline := k.ans.Started.Add(overall)
	// From here on only the deadline ends what has been delivered; see the package comment.
	delivering, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	// A name that is not the user's own may be another person's since; so may each, from one moment to the next, where an attribute that is no user
	// principal name makes names.
	k.want = wantAttributes(k.known, k.domain.DirectoryID, time.Now()) || k.domain.SignInAttribute != "" || user.Key(k.known.UPN) != user.Key(k.name)

	var excluded []string
	var last error // why the last try failed
	known := Known{}
	for {
		request := newRequest()
		k.stop("asked")
		offer, err := k.queue.Ask(ctx, k.scope, k.domain.DirectoryID, queue.Ask{Request: request, Trace: k.attempt.Trace,
			Exclude: slices.Clone(excluded), Deadline: earlier(time.Now().Add(askWithin), deadline)})
		if err != nil {
			return k.unasked(ctx, err, last, known)
		}
		k.stop("offered")
		t := k.tryOne(delivering, request, offer, deadline)
		known.Event, known.Code = t.event, t.code
		known.Tries++
		known.Left, known.Spare = time.Until(deadline), false
		known.Binds += bindsOf(t.event)
		if known.Binds > 0 {
			known.Spare = k.spare(delivering, known.Binds)
		}
		step := Next(known)
		if step.Do == Judge {
			if done, err := k.confirm(delivering, t.verdict, excluded, deadline); done || err != nil {
				return err
			}
			return k.judge(delivering, t.verdict)
		}
		if step.Do == Withhold {
			return k.withhold(delivering, step, t, known.Binds)
		}
		failure := fault.Newf(step.Code, "agent %s (%s): %s%s", k.ans.Agent, k.ans.AgentName, t.event, detail(t.detail))
		if step.Do == GiveUp {
			return failure
		}
		last, excluded = failure, append(excluded, offer.Agent)
		k.log.LogAttrs(ctx, slog.LevelWarn, "check handed over to another agent", slog.String("tenant", k.tenantID),
			slog.String("request", k.attempt.Request), slog.String("trace", k.attempt.Trace), slog.String("agent", offer.Agent),
			slog.String("gateway", offer.Gateway), slog.String("event", t.event.String()), slog.Int("code", int(step.Code)), slog.String("detail", t.detail))
	}
}

// withhold ends a check whose attempt is not spent: an agent's guard or, under another name of the account, smart lockout does not let it. It counts here as
// a wrong password does: a name that could be guessed at for ever would show, by how long many posts at once wait for one another, that its account is
// protected, near its lock, or locked under another name. What an earlier agent lost after the fence is an outage, and counts nowhere.
func (k *check) withhold(ctx context.Context, step Step, t try, binds int) error {
	k.refuse(step.Code, t.detail)
	if err := k.likeReal(ctx); err != nil || binds > 0 {
		return err
	}
	return k.settle(ctx, wire.BadPassword, k.guessed()...)
}

// unasked makes a fault of an ask that found no agent. After a try that failed, that try's reason is the better one: "no
// other agent" explains nothing.
func (k *check) unasked(ctx context.Context, err, last error, known Known) error {
	switch {
	case last != nil && (fault.Has(err, wire.NoAgent) || fault.Has(err, wire.AgentsBusy) || known.Binds > 0):
		return fmt.Errorf("%w; then no other agent: %w", last, err)
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return fault.Wrap(wire.TransientNetwork, "the caller went away before an agent was found", err)
	case ctx.Err() != nil:
		return fault.Wrap(wire.AgentsBusy, "no agent within the time", err)
	}
	return err
}

// tryOne seals the check to the offered agent and delivers it.
func (k *check) tryOne(ctx context.Context, request string, offer queue.Offer, deadline time.Time) try {
	k.ans.Agent, k.ans.AgentName, k.ans.Gateway, k.ans.DC = offer.Agent, "", offer.Gateway, ""
	k.found = ""
	release := func(code wire.Code, why string) try {
		k.queue.Release(offer.Gateway, offer.Slot)
		return try{event: Refused, code: code, detail: why}
	}
	now := time.Now()
	agent, err := k.fleet.ByID(ctx, k.scope, offer.Agent)
	if err != nil && !fault.Has(err, wire.NotFound) {
		return release(wire.TransientNetwork, "the fleet could not be asked: "+err.Error())
	}
	if why := ineligible(agent, k.domain.DirectoryID, now); why != "" {
		// The offer is only a proposal; the fleet decides who may read a password.
		return release(wire.NoAgent, "the offered agent is not eligible: "+why)
	}
	k.ans.AgentName = agent.Name
	sealed, sender, err := envelope.Seal(agent.Key, envelope.Binding{Tenant: k.tenantID, Directory: k.domain.DirectoryID, Agent: agent.ID, Request: request,
		Expires: now.Add(envelope.Life)}, envelope.Check{Name: k.name, Password: k.attempt.Password, WantAttributes: k.want,
		NameAttribute: k.domain.SignInAttribute})
	if err != nil {
		return release(wire.AgentRefused, "sealing: "+err.Error())
	}
	k.stop("sealed")
	sent, held := time.Now(), ""
	k.stopAt("delivered", sent)
	outcome, fenced, err := k.queue.Deliver(ctx, k.scope, offer.Gateway, queue.Delivery{Request: request, Directory: k.domain.DirectoryID, Agent: agent.ID,
		Slot: offer.Slot, Trace: k.attempt.Trace, Envelope: sealed, Deadline: deadline}, func(nonce []byte) (token []byte) {
		k.stop("fenced")
		token, held = k.onFence(ctx, sender, nonce)
		return token
	})
	switch {
	case err != nil:
		return try{event: LostBeforeFence, detail: "nothing was delivered: " + err.Error()}
	case held != "":
		return try{event: Held, detail: held} // whatever the agent has made of it
	}
	return k.ended(outcome, fenced, sender, sent)
}

// ineligible says why an agent may not be given a password of this directory; "" if it may.
func ineligible(a fleet.Agent, directory string, now time.Time) string {
	switch {
	case a.ID == "":
		return "it is not in the fleet"
	case a.State != fleet.Active:
		return "it is " + string(a.State)
	case a.DirectoryID != directory:
		return "it belongs to another directory"
	case now.After(a.CertificateNotAfter):
		return "its certificate has expired"
	}
	return ""
}

// ended says how a delivery ended.
func (k *check) ended(o queue.Outcome, fenced bool, sender *envelope.Sender, sent time.Time) try {
	switch {
	case len(o.Sealed) > 0:
		answer, err := sender.OpenAnswer(o.Sealed)
		if err != nil {
			return try{event: Forged, detail: err.Error()}
		}
		k.stop("answered")
		return k.answered(answer, fenced, sent)
	case o.Refused != 0 && !fenced:
		return try{event: Refused, code: o.Refused, detail: text(o.Detail)}
	case fenced:
		return try{event: LostAfterFence, detail: text(o.Detail)}
	}
	return try{event: LostBeforeFence, detail: text(o.Detail)}
}

// answered reads an answer that the chosen agent has made; envelope has seen to it that it is either trouble or a verdict.
func (k *check) answered(a wire.Answer, fenced bool, sent time.Time) try {
	k.ans.DC = text(a.DC)
	for _, s := range []struct {
		name string
		took time.Duration
	}{{"agent-opened", a.Opened}, {"agent-fenced", a.Fenced}, {"agent-judged", a.Judged}} {
		if s.took > 0 && s.took < overall {
			k.stopAt(s.name, sent.Add(s.took))
		}
	}
	switch {
	case a.Trouble != nil && a.Trouble.Fenced:
		return try{event: TroubleFenced, code: a.Trouble.Code, detail: text(a.Trouble.Detail)}
	case a.Trouble != nil:
		return try{event: TroubleUnfenced, code: a.Trouble.Code, detail: text(a.Trouble.Detail)}
	case !fenced:
		return try{event: Forged, detail: "a verdict without a fence"}
	}
	if !k.want {
		a.Verdict.Attributes = nil // nobody asked, so nobody else would be asked whether it is true
	}
	return try{event: Answered, verdict: a.Verdict}
}

// spare asks lockout whether the account bears another attempt that may count.
func (k *check) spare(ctx context.Context, binds int) bool {
	threshold := k.lockout.Policy().Threshold
	for _, account := range k.guessed() {
		left, err := k.lockout.Budget(ctx, k.scope, account, time.Now())
		if err != nil {
			k.log.LogAttrs(ctx, slog.LevelError, "lockout budget unknown; no second attempt is made", slog.String("tenant", k.tenantID), slog.Any("error", err))
			return false
		}
		if !spare(threshold-left, binds, threshold) {
			return false
		}
	}
	return true
}

// judge settles a verdict and makes it an answer.
func (k *check) judge(ctx context.Context, v *wire.Verdict) error {
	meaning, ok := Means(v.Reason)
	if !ok {
		return fault.Newf(wire.DirectoryUnusable, "unknown reason %.40q", string(v.Reason))
	}
	k.ans.Reason, k.ans.Diagnostic = v.Reason, text(v.Diagnostic)
	accounts, err := k.accounts(ctx, v)
	if err != nil {
		return err
	}
	if err := k.settle(ctx, v.Reason, accounts...); err != nil {
		return err
	}
	if v.Reason.Wrong() {
		k.timing.put(k.face, time.Since(k.ans.Started))
	}
	if !v.Reason.Right() {
		k.ans.Code, k.ans.Shown = meaning.Code, meaning.Shown
		return nil
	}
	return k.admit(ctx, v.Attributes)
}

func newRequest() string { return uuid.Must(uuid.NewV7()).String() }

func detail(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
