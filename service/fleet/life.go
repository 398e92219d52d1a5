package fleet

import (
	"math"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// State is whether an agent is served.
type State string

// The states; drawn in the package comment.
const (
	// Active agents get checks.
	Active State = "active"
	// Drained agents stay connected and get no new checks.
	Drained State = "drained"
	// Pending agents are registered and wait for an administrator's approval; they are not served.
	Pending State = "pending"
	// Quarantined agents had two holders at once, or contradicted another about a password; they are not served.
	Quarantined State = "quarantined"
	// Revoked agents were shut out by an administrator.
	Revoked State = "revoked"
)

// Event is what happens to an agent.
type Event string

// The events.
const (
	Drain      Event = "drain"
	Resume     Event = "resume"
	Revoke     Event = "revoke"
	Clone      Event = "clone"      // two live holders of one identity
	Contradict Event = "contradict" // another agent said otherwise about one password
	Lie        Event = "lie"        // it said yes to a password that nobody has
	Approve    Event = "approve"    // an administrator lets a pending one in
	Deny       Event = "deny"       // or does not
	Reregister Event = "reregister" // fresh keys, by proof of the former ones or a token for this agent
)

// Next is the rule of an agent's life. An event that does not fit is refused with a fault that says what to do instead; one that
// changes nothing returns the same state.
func Next(s State, e Event) (State, error) {
	switch {
	case e == Revoke:
		return Revoked, nil
	case (e == Clone || e == Contradict || e == Lie) && s == Revoked:
		return Revoked, nil
	case e == Clone, e == Contradict, e == Lie:
		return Quarantined, nil
	case e == Reregister && s == Drained:
		return Drained, nil
	case e == Reregister && s == Pending:
		return Pending, nil
	case e == Reregister:
		return Active, nil
	case e == Deny && s == Pending:
		return Revoked, nil
	case e == Deny:
		return s, fault.New(wire.Conflict, "the agent does not wait for an approval: revoke it, or remove it")
	case s == Quarantined:
		return s, fault.New(wire.Conflict, "the agent is quarantined: release it, and register the genuine host again")
	case s == Revoked:
		return s, fault.New(wire.Conflict, "the agent is revoked: release it, and register its host again")
	case e == Approve && s != Pending:
		return s, nil
	case e == Approve:
		return Active, nil
	case s == Pending:
		return s, fault.New(wire.Conflict, "the agent waits for an approval: approve it first, or deny it")
	case e == Drain:
		return Drained, nil
	case e == Resume:
		return Active, nil
	}
	return s, fault.Newf(wire.Conflict, "%q does not happen to agents", string(e))
}

// credential is a certificate that an agent may come with.
type credential struct {
	serial   string
	notAfter time.Time
}

// credentials are all of an agent at one moment: the current certificate; the next, of a renewal that the agent has not come with
// yet; and the former, whose streams may go on for a while.
type credentials struct {
	state       State
	current     credential
	next        credential
	former      string
	formerUntil time.Time
}

// standing is the rule of who is served; 0 means yes. connecting is true for a new stream: none begins with the former
// certificate.
func (c credentials) standing(presented string, connecting bool, now time.Time) wire.Code {
	switch {
	case c.state == Quarantined:
		return wire.AgentQuarantined
	case c.state == Pending:
		return wire.AgentPending
	case c.state != Active && c.state != Drained:
		return wire.AgentRevoked
	case presented == "":
		return wire.CertificateForeign
	case presented == c.current.serial:
		return c.current.inTime(now)
	case presented == c.next.serial:
		return c.next.inTime(now)
	case presented == c.former && !connecting && now.Before(c.formerUntil):
		return 0
	case presented == c.former:
		return wire.CertificateSuperseded
	}
	return wire.CertificateForeign
}

func (c credential) inTime(now time.Time) wire.Code {
	if now.After(c.notAfter) {
		return wire.CertificateExpired
	}
	return 0
}

// counts is the rule of the counter: an agent stores a number, higher than any before, and then connects with it. So whoever comes
// with a number that was used is an older copy; numbers that were stored and never arrived leave gaps. An agent of protocol 1 does
// not count (0), and is believed for as long as it never did.
func counts(confirmed, presented uint64) bool {
	// More than the column holds is nobody's count.
	return presented > confirmed && presented <= math.MaxInt64 || presented == 0 && confirmed == 0
}
