package queue

import (
	"context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Delivery is one sealed check for one offered agent.
type Delivery struct {
	// Request, Directory, Agent and Slot are ids; Agent and Slot are those of the offer.
	Request, Directory, Agent, Slot string
	// Trace is the W3C traceparent of the sign-in, may be empty.
	Trace string
	// Envelope is readable by the agent alone, at most [MaxEnvelope] bytes.
	Envelope []byte
	// Deadline ends the whole delivery. Zero means the sum of the limits of its parts.
	Deadline time.Time
}

// Outcome is how a delivery ended: exactly one of Sealed, Refused and Lost is set.
type Outcome struct {
	// Sealed is the agent's answer; whether the agent really made it, only the envelope's sender can tell.
	Sealed []byte
	// Refused is why agent or gateway turned the check down before the fence: asking elsewhere is safe.
	Refused wire.Code
	// Lost says that no answer will come.
	Lost bool
	// Detail tells an administrator more about Refused and Lost.
	Detail string
}

func lost(detail string) Outcome { return Outcome{Lost: true, Detail: detail} }

// delivering is the state of one Deliver call.
type delivering struct {
	q       *Queue
	state   State
	onFence func(nonce []byte) []byte

	started, acked, fenced, heard time.Time
	deadline                      time.Time
}

// Deliver hands an envelope to the gateway that made the offer and waits for the end of it: an answer, a refusal, or the
// knowledge that none will come. onFence is called at most once, on the caller's goroutine, when the agent is about to contact
// the directory, with the nonce that the agent made for this fence; it returns the Go token for it, without which the agent never
// binds, or nil to forbid it.
//
// fenced says whether a token was granted: if not, nothing was bound, whatever the outcome. An error means that nothing was
// sent. The end of ctx is an outcome (Lost), since what has happened by then must not be forgotten.
func (q *Queue) Deliver(ctx context.Context, scope tenant.Scope, gateway string, d Delivery, onFence func(nonce []byte) (goToken []byte)) (o Outcome, fenced bool, err error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Outcome{}, false, err
	}
	for _, s := range [...]string{tenantID, gateway, d.Request, d.Directory, d.Agent, d.Slot} {
		if !validToken(s) {
			return Outcome{}, false, fault.Newf(wire.BadRequest, "delivery: %q is not an id", s)
		}
	}
	if len(d.Envelope) == 0 || len(d.Envelope) > MaxEnvelope || len(d.Trace) > maxText {
		return Outcome{}, false, fault.Newf(wire.BadRequest, "delivery: envelope of %d bytes, trace of %d", len(d.Envelope), len(d.Trace))
	}
	now := time.Now()
	w := delivering{q: q, state: Sealed, onFence: onFence, started: now, heard: now,
		deadline: now.Add(ackWithin + fenceWithin + answerWithin)}
	if !d.Deadline.IsZero() && d.Deadline.Before(w.deadline) {
		w.deadline = d.Deadline
	}
	if !w.deadline.After(now) || ctx.Err() != nil {
		q.Release(gateway, d.Slot)
		return lost("the deadline had passed before the delivery"), false, nil
	}
	reply, events := q.inbox.open(eventBuffer)
	defer q.inbox.close(reply)
	if err := q.publish("sallyport.gateway."+gateway+".check", reply, encodeDelivery(tenantID, d, w.deadline.Sub(now))); err != nil {
		return Outcome{}, false, err
	}
	o = w.wait(ctx, events)
	if w.state == Lost {
		q.Release(gateway, d.Slot) // the gateway cancels what it still holds
	}
	return o, !w.fenced.IsZero(), nil
}

// wait drives the state machine until a final state.
func (w *delivering) wait(ctx context.Context, events <-chan *nats.Msg) Outcome {
	until, why := w.limit()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		var m *nats.Msg
		select {
		case m = <-events:
		case <-timer.C:
			// News that is here already counts more than a clock that a busy machine made us read late.
			select {
			case m = <-events:
			default:
				if !time.Now().Before(until) {
					return w.lose(why)
				}
			}
		case <-ctx.Done():
			return w.lose("the caller gave up: " + ctx.Err().Error())
		}
		if m != nil {
			if o, done := w.take(m); done {
				return o
			}
		}
		until, why = w.limit()
		timer.Reset(time.Until(until))
	}
}

// limit is the rule of patience: until when the next word must have come, and what to say if it has not.
func (w *delivering) limit() (time.Time, string) {
	until, why := w.deadline, "the overall deadline passed"
	sooner := func(t time.Time, s string) {
		if t.Before(until) {
			until, why = t, s
		}
	}
	switch w.state {
	case Sealed:
		sooner(w.started.Add(ackWithin), "the gateway did not take the envelope in time")
	case Delivered:
		sooner(w.acked.Add(fenceWithin), "the agent asked for no fence in time")
		sooner(w.heard.Add(silence), "the gateway fell silent")
	case Fenced:
		sooner(w.fenced.Add(answerWithin), "the agent did not answer in time after the fence")
		sooner(w.heard.Add(silence), "the gateway fell silent")
	}
	return until, why
}

// lose gives up; from now on the state is final and no fence can be granted.
func (w *delivering) lose(detail string) Outcome {
	if next, err := Next(w.state, Losing); err == nil {
		w.state = next
	}
	return lost(detail)
}

// take handles one message of the gateway.
func (w *delivering) take(m *nats.Msg) (o Outcome, done bool) {
	if noResponders(m) {
		return w.lose("the gateway is gone"), true
	}
	if len(m.Data) == 0 {
		return Outcome{}, false
	}
	w.heard = time.Now()
	switch m.Data[0] {
	case frameAck:
		if next, err := Next(w.state, Delivering); err == nil {
			w.state, w.acked = next, w.heard
		}
	case frameFence:
		return w.fence(m)
	case frameOutcome:
		return w.end(m.Data[1:])
	}
	return Outcome{}, false
}

// fence grants or denies. The state moves before the token leaves, so that no failure afterwards can be mistaken for
// certainty that nothing was bound.
func (w *delivering) fence(m *nats.Msg) (o Outcome, done bool) {
	next, err := Next(w.state, Fencing)
	if err != nil || !w.heard.Before(w.deadline) {
		w.q.denyFence(m)
		return Outcome{}, false
	}
	if n := len(m.Data) - 1; n < envelope.MinNonce || n > envelope.MaxNonce {
		w.q.denyFence(m)
		return w.lose("a fence with a nonce of " + strconv.Itoa(n) + " bytes"), true
	}
	token := w.onFence(m.Data[1:])
	if len(token) == 0 {
		w.q.denyFence(m)
		return w.lose("the service forbade the fence"), true
	}
	w.state, w.fenced = next, w.heard
	reply := make([]byte, 0, 1+len(token))
	if err := w.q.publish(m.Reply, "", append(append(reply, frameGo), token...)); err != nil {
		return w.lose("the Go token could not be sent"), true
	}
	return Outcome{}, false
}

// end takes the outcome that the gateway reports.
func (w *delivering) end(b []byte) (Outcome, bool) {
	o, err := decodeOutcome(b)
	if err != nil {
		return w.lose("the gateway reported a malformed outcome"), true
	}
	event := Losing
	switch {
	case len(o.Sealed) > 0:
		event = Answering
	case o.Refused != 0:
		event = Refusing
	}
	next, err := Next(w.state, event)
	if err != nil {
		return w.lose("the gateway broke the order of messages"), true
	}
	w.state = next
	if next == Lost && event == Refusing {
		return lost("refused after the fence with " + o.Refused.String() + ": " + o.Detail), true
	}
	return o, true
}

// denyFence answers a fence with "no".
func (q *Queue) denyFence(m *nats.Msg) {
	if m.Reply == "" {
		return
	}
	if err := q.publish(m.Reply, "", []byte{frameGo}); err != nil {
		q.log.Warn("denial of a fence not sent; the gateway's wait runs out instead", "err", err)
	}
}

// Release gives a slot back: an offer that will not be used, or a delivery that the service has given up. Best effort: a slot
// that nobody releases is free again when its lease ends.
func (q *Queue) Release(gateway, slot string) {
	if !validToken(gateway) || !validToken(slot) {
		return
	}
	if err := q.publish("sallyport.gateway."+gateway+".release", "", []byte(slot)); err != nil {
		q.log.Debug("slot not released; its lease ends by itself", "gateway", gateway, "err", err)
	}
}
