package password

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/wire"
)

// Agreement is what a second agent's try says of the first one's yes.
type Agreement uint8

// The agreements.
const (
	Alone     Agreement = iota + 1 // no second agent has judged, or could tell whose password it is
	Agreed                         // it says yes as well, of the same person
	Disagreed                      // it says otherwise
)

// String returns the agreement's word for logs and metrics.
func (a Agreement) String() string {
	switch a {
	case Alone:
		return "alone"
	case Agreed:
		return "agreed"
	case Disagreed:
		return "disagreed"
	}
	return "unknown"
}

// Compare is the rule of confirming a yes: second is the second agent's verdict, nil when nobody else judged. Whose password it is
// counts too, where the first was asked and told: an agent could name somebody else for a password that it knows.
func Compare(first, second *wire.Verdict) Agreement {
	switch {
	case second == nil:
		return Alone
	case !second.Reason.Right():
		return Disagreed
	case first.Attributes == nil:
	case second.Attributes == nil:
		return Alone // with the password right, whose it is was said by one
	case !strings.EqualFold(first.Attributes.Anchor, second.Attributes.Anchor):
		return Disagreed
	}
	return Agreed
}

// confirm has a second agent, on another host, asked about a password that the first one found right, if the tenant's policy wants it.
// Only a yes comes here, so a wrong password is never counted twice. done says that the check has ended with a refusal; the fault is
// [wire.YesUnconfirmed] when policy refuses a yes that nobody confirms.
func (k *check) confirm(ctx context.Context, first *wire.Verdict, tried []string, deadline time.Time) (done bool, err error) {
	if !first.Reason.Right() {
		return false, nil
	}
	policy, err := k.tenants.Verification(ctx, k.scope)
	if err != nil {
		return false, fmt.Errorf("password: reading the policy: %w", err)
	}
	role, groups, err := k.claims(ctx, first)
	if err != nil {
		return false, err
	}
	always := policy.Always(role, groups)
	if !always && !policy.Sampled(rand.IntN(100)) {
		return false, nil
	}
	one := k.ans // what the record says of the sign-in is the first agent's
	second, err := k.askSecond(ctx, tried, deadline)
	other := k.ans
	k.ans.Agent, k.ans.AgentName, k.ans.Gateway, k.ans.DC = one.Agent, one.AgentName, one.Gateway, one.DC
	if err != nil {
		return false, err
	}
	k.stop("confirmed")
	agreement := Compare(first, second)
	k.metrics.verified(agreement)
	switch {
	case agreement == Disagreed:
		return true, k.disagree(ctx, one, other, second)
	case agreement == Alone && always && !policy.LetInAlone:
		return false, fault.Newf(wire.YesUnconfirmed, "agent %s (%s) says yes, and no agent on another host could be asked", one.Agent, one.AgentName)
	}
	return false, nil
}

// claims are whether the person may have a role, and all groups that the person may have: of the user whose name was typed, of whoever the first agent
// says it is, and those that it tells. So an agent that leaves a group out escapes nothing, and what it leaves out does not get into a
// token either; nor does one that says of a name that nobody has that it is an administrator's.
func (k *check) claims(ctx context.Context, v *wire.Verdict) (role bool, groups []string, err error) {
	role, groups = k.known.Role != "", slices.Clone(k.known.Groups)
	if v.Attributes == nil {
		return role, groups, nil
	}
	groups = append(groups, v.Attributes.Groups...)
	anchored, anchorErr := k.users.ByAnchor(ctx, k.scope, k.domain.DirectoryID, v.Attributes.Anchor)
	named, nameErr := k.users.ByUPN(ctx, k.scope, v.Attributes.UPN)
	for _, err := range []error{anchorErr, nameErr} {
		if err != nil && !fault.Has(err, wire.NotFound) {
			return false, nil, fmt.Errorf("password: looking for the user who was told: %w", err)
		}
	}
	return role || anchored.Role != "" || named.Role != "", slices.Concat(groups, anchored.Groups, named.Groups), nil
}

// askSecond gives the password to one agent on another host than those that were tried; nil when none has judged it. An agent that is lost
// before the directory was asked is replaced by the next.
func (k *check) askSecond(ctx context.Context, tried []string, deadline time.Time) (*wire.Verdict, error) {
	excluded := slices.Clone(tried)
	for range maxTries {
		members, err := k.fleet.List(ctx, k.scope, "", 0)
		if err != nil {
			return nil, fmt.Errorf("password: reading the fleet: %w", err)
		}
		excluded = sameHosts(members, append(excluded, k.ans.Agent))
		if len(excluded) > mostExcluded {
			return nil, nil
		}
		request := newRequest()
		offer, err := k.queue.Ask(ctx, k.scope, k.domain.DirectoryID, queue.Ask{Request: request, Trace: k.attempt.Trace,
			Exclude: slices.Clone(excluded), Deadline: earlier(time.Now().Add(askWithin), deadline)})
		if err != nil {
			return nil, nil // no agent, or none in time: the policy says what that means
		}
		t := k.tryOne(ctx, request, offer, deadline)
		switch t.event {
		case Answered:
			return t.verdict, nil
		case Held: // of two agents one knew of another name
			return nil, fault.Newf(wire.YesUnconfirmed, "an agent says yes, and of the account that agent %s (%s) found: %s", k.ans.Agent, k.ans.AgentName, t.detail)
		case Refused, LostBeforeFence, TroubleUnfenced:
			if t.event == TroubleUnfenced && guarded(t.code) {
				// Who owns one agent could type wrong passwords until the guards of all others keep silent.
				return nil, fault.Newf(wire.YesUnconfirmed, "an agent says yes, and the guard of agent %s (%s) does not ask: %d%s",
					k.ans.Agent, k.ans.AgentName, t.code, detail(t.detail))
			}
			continue
		}
		k.log.LogAttrs(ctx, slog.LevelWarn, "no second verdict", slog.String("tenant", k.tenantID), slog.String("trace", k.attempt.Trace),
			slog.String("agent", offer.Agent), slog.String("event", t.event.String()), slog.String("detail", t.detail))
		return nil, nil
	}
	return nil, nil
}

// sameHosts adds to excluded every agent on a host of one of them. The host is the agent's own word, as everything that it says of itself:
// who owns two hosts, or lies about one, can confirm himself.
func sameHosts(members []fleet.Agent, excluded []string) []string {
	var hosts []string
	for _, a := range members {
		if slices.Contains(excluded, a.ID) && a.Host != "" {
			hosts = append(hosts, strings.ToLower(a.Host))
		}
	}
	for _, a := range members {
		if !slices.Contains(excluded, a.ID) && slices.Contains(hosts, strings.ToLower(a.Host)) {
			excluded = append(excluded, a.ID)
		}
	}
	return excluded
}

// disagree refuses a password about which two agents say different things, and freezes both. What the second said counts towards lockout
// like any other wrong password.
func (k *check) disagree(ctx context.Context, one, other Answer, second *wire.Verdict) error {
	now := time.Now()
	k.log.LogAttrs(ctx, slog.LevelError, "two agents disagree about a password; both are quarantined", slog.String("tenant", k.tenantID),
		slog.String("request", k.attempt.Request), slog.String("trace", k.attempt.Trace), slog.String("name", k.name),
		slog.String("said_yes", one.Agent), slog.String("said_yes_name", one.AgentName), slog.String("dc", one.DC),
		slog.String("said_otherwise", other.Agent), slog.String("said_otherwise_name", other.AgentName), slog.String("other_dc", other.DC),
		slog.String("reason", string(second.Reason)), slog.Int("code", int(wire.VerdictsDisagree)))
	reason := fmt.Sprintf("%s said yes to a password about which %s said %s (trace %s)", one.AgentName, other.AgentName, second.Reason, k.attempt.Trace)
	for _, id := range []string{one.Agent, other.Agent} {
		if _, err := k.fleet.Quarantine(ctx, k.scope, id, fleet.Contradict, reason, now); err != nil && !fault.Has(err, wire.NotFound) {
			return fmt.Errorf("password: quarantining an agent: %w", err)
		}
	}
	accounts, err := k.accounts(ctx, second)
	if err != nil {
		return err
	}
	if err := k.settle(ctx, second.Reason, accounts...); err != nil {
		return err
	}
	k.refuse(wire.VerdictsDisagree, text(reason))
	k.ans.Reason = second.Reason
	return nil
}
