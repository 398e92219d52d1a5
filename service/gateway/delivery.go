package gateway

import (
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// reservation is a slot that was offered: first leased, then used by one delivery.
type reservation struct {
	grant

	mu     sync.Mutex // guards the rest
	expiry *time.Timer
	state  reservationState
	cancel context.CancelFunc // of the delivery, while used
}

type reservationState int

const (
	leased reservationState = iota
	used
	ended
)

// answerAsk offers an agent of the room, or says that there is none.
func (g *Gateway) answerAsk(ctx context.Context, r *room, ask queue.Ask) (queue.Offer, error) {
	exclude := ask.Exclude
	if ask.Only != "" {
		exclude = append(slices.Clone(exclude), r.others(ask.Only)...)
	}
	got, err := r.reserve(ctx, exclude, ask.Asked, ask.Waiting)
	if err != nil {
		g.metrics.asks.WithLabelValues(askOutcome(err)).Inc()
		return queue.Offer{}, err
	}
	g.metrics.asks.WithLabelValues("offered").Inc()
	slot := rand.Text()
	res := &reservation{grant: got}
	res.expiry = time.AfterFunc(lease, func() { g.release(slot) })
	g.slots.Store(slot, res)
	return queue.Offer{Gateway: g.id, Agent: got.agent.id, Slot: slot, Weight: got.weight}, nil
}

func askOutcome(err error) string {
	switch {
	case fault.Has(err, wire.Overloaded):
		return "line_full"
	case fault.Has(err, wire.AgentsBusy):
		return "waited_in_vain"
	}
	return "no_agent"
}

// release ends a lease, or cancels the delivery that uses the slot.
func (g *Gateway) release(slot string) {
	v, ok := g.slots.Load(slot)
	if !ok {
		return
	}
	res := v.(*reservation)
	res.mu.Lock()
	switch res.state {
	case leased:
		res.state = ended
		res.expiry.Stop()
		g.slots.Delete(slot)
		res.mu.Unlock()
		res.agent.room.refund(res.grant)
		res.agent.release()
		return
	case used:
		res.cancel()
	}
	res.mu.Unlock()
}

// claim turns a lease into a delivery's slot; nil if the slot is unknown, over, used, or somebody else's.
func (g *Gateway) claim(scope tenant.Scope, d queue.Delivery, cancel context.CancelFunc) *reservation {
	v, ok := g.slots.Load(d.Slot)
	if !ok {
		return nil
	}
	res := v.(*reservation)
	if a := res.agent; a.scope != scope || a.room.directory != d.Directory || a.id != d.Agent {
		return nil
	}
	res.mu.Lock()
	defer res.mu.Unlock()
	if res.state != leased {
		return nil
	}
	res.expiry.Stop()
	res.state, res.cancel = used, cancel
	return res
}

// deliver carries one check to its agent and its end back.
func (g *Gateway) deliver(ctx context.Context, scope tenant.Scope, d queue.Delivery, fence func(context.Context, []byte) ([]byte, error)) queue.Outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res := g.claim(scope, d, cancel)
	if res == nil {
		return g.counted("no_slot", queue.Outcome{Refused: wire.AgentsBusy, Detail: "the slot is not reserved any more"})
	}
	defer g.slots.Delete(d.Slot)
	a := res.agent
	check, ok := a.begin(d.Request)
	if !ok {
		a.release()
		return g.counted("repeated", queue.Outcome{Refused: wire.EnvelopeReplayed, Detail: "a check with this request id is at the agent"})
	}
	if !a.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Check{Check: &linkpb.Check{
		RequestId: d.Request, DirectoryId: d.Directory, Envelope: d.Envelope, Traceparent: d.Trace}}}) {
		a.finish(d.Request, check)
		return g.counted("lost", lost("the agent's stream had ended"))
	}
	sent := time.Now()
	for {
		select {
		case m := <-check.events:
			if m.GetAnswer() != nil {
				a.room.took(a, time.Since(sent))
			}
			if o, outcome, done := g.react(ctx, a, d.Request, check, m, fence); done {
				return g.counted(outcome, o)
			}
		case <-a.over:
			// What the agent said before its stream ended counts, but for a fence: the Go could not reach it.
			o, outcome := lost("the agent's stream ended"), "lost"
			for more := true; more; {
				select {
				case m := <-check.events:
					if m.GetFence() == nil {
						o, outcome = final(m)
						more = false
					}
				default:
					more = false
				}
			}
			a.finish(d.Request, check)
			return g.counted(outcome, o)
		case <-ctx.Done():
			a.abandon(d.Request, check)
			return g.counted("given_up", lost("the time was over or the service gave up"))
		}
	}
}

// react handles one word of the agent about a check.
func (g *Gateway) react(ctx context.Context, a *attached, request string, check *delivery, m *linkpb.FromAgent,
	fence func(context.Context, []byte) ([]byte, error)) (o queue.Outcome, outcome string, done bool) {
	if m.GetFence() == nil {
		a.finish(request, check)
		o, outcome = final(m)
		return o, outcome, true
	}
	token, err := fence(ctx, m.GetFence().GetNonce())
	if err != nil {
		a.abandon(request, check)
		return lost(err.Error()), "fence_denied", true
	}
	// If this cannot be sent, the stream is over, and the loop meets that next.
	a.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Go{Go: &linkpb.Go{RequestId: request, Token: token}}})
	return queue.Outcome{}, "", false
}

// final translates an Answer or a Refusal.
func final(m *linkpb.FromAgent) (o queue.Outcome, outcome string) {
	if answer := m.GetAnswer(); answer != nil {
		switch n := len(answer.GetSealed()); {
		case n == 0:
			return lost("the agent's answer is empty"), "lost"
		case n > queue.MaxEnvelope: // no agent of ours can have sealed it
			return queue.Outcome{Refused: wire.AnswerForged, Detail: "the agent's answer has " + strconv.Itoa(n) + " bytes"}, "malformed"
		}
		return queue.Outcome{Sealed: answer.GetSealed()}, "answered"
	}
	code := wire.Code(m.GetRefusal().GetCode())
	if _, known := wire.Lookup(code); !known {
		code = wire.AgentRefused
	}
	return queue.Outcome{Refused: code, Detail: clip(m.GetRefusal().GetDetail(), maxDetail)}, "refused"
}

func (g *Gateway) counted(outcome string, o queue.Outcome) queue.Outcome {
	g.metrics.deliveries.WithLabelValues(outcome).Inc()
	return o
}

func lost(detail string) queue.Outcome { return queue.Outcome{Lost: true, Detail: detail} }

// clip makes words of an agent fit for a log line and a column.
func clip(s string, limit int) string {
	out := make([]rune, 0, min(len(s), limit))
	for _, c := range s {
		if len(out) == limit {
			break
		}
		if c < 0x20 || (c >= 0x7f && c < 0xa0) {
			c = ' '
		}
		out = append(out, c)
	}
	return string(out)
}
