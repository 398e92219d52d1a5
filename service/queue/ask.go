package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Ask is the question who can check a password for a directory. It holds nothing secret.
type Ask struct {
	// Request is the id of the check, Trace the W3C traceparent of the sign-in.
	Request, Trace string
	// Exclude are agents that must not be offered: those already tried.
	Exclude []string
	// Only, if not empty, is the one agent that may be offered: none else is good enough.
	Only string
	// Deadline ends the wait for a free slot; zero and anything later than AskWithin mean AskWithin.
	Deadline time.Time

	// Asked is when the question was first put; it orders the line. Set by the queue for the answerer.
	Asked time.Time
	// Waiting, when not nil, is to be called by the answerer once the ask stands in its line. Set by the queue.
	Waiting func()
}

// Offer is an agent with a reserved slot at a gateway. It must be used by [Queue.Deliver] or given back by [Queue.Release].
type Offer struct {
	Gateway, Agent, Slot string
	// Weight is how many checks a second the gateway's agents that have a free slot could do with one slot each; 0 from gateways that do
	// not tell. It is for the queue alone, which sends more asks where there is more.
	Weight float64
}

// askGroup is the queue group of all gateways: each ask on the first subject reaches one of them.
const askGroup = "gateways"

func askSubjects(scope tenant.Scope, directory string) (one, all string, err error) {
	id, err := scope.ID()
	if err != nil {
		return "", "", err
	}
	if !validToken(id) || !validToken(directory) {
		return "", "", fault.Newf(wire.BadRequest, "tenant %q or directory %q is not an id", id, directory)
	}
	return "sallyport.ask." + id + "." + directory, "sallyport.askall." + id + "." + directory, nil
}

// Ask looks for an agent of the directory with a free slot. Without any gateway that holds one it fails at once with
// [wire.NoAgent]; when all stay busy until the deadline, with [wire.AgentsBusy]; when the broker is away, with
// [wire.TransientNetwork]; when ctx ends, with its error.
func (q *Queue) Ask(ctx context.Context, scope tenant.Scope, directory string, a Ask) (Offer, error) {
	one, all, err := askSubjects(scope, directory)
	if err != nil {
		return Offer{}, err
	}
	if a.Only != "" && !validToken(a.Only) || len(a.Exclude) > maxExclude || len(a.Request) > maxText || len(a.Trace) > maxText {
		return Offer{}, fault.New(wire.BadRequest, "ask out of bounds")
	}
	started := time.Now()
	deadline := started.Add(AskWithin)
	if !a.Deadline.IsZero() && a.Deadline.Before(deadline) {
		deadline = a.Deadline
	}
	reply, events := q.inbox.open(gatherBuffer)
	defer q.inbox.close(reply)

	g := gathering{exclude: a.Exclude, only: a.Only}
	if a.Only != "" { // whichever gateway has it
		left := time.Until(deadline)
		if err := q.sendAsk(all, reply, a, left, 0); err != nil {
			return Offer{}, err
		}
		return g.best(ctx, events, left)
	}
	patience := min(askPatience, time.Until(deadline))
	place := one
	if len(a.Exclude) == 0 { // weights are those of all agents
		if gateway := q.weights.next(place, started); gateway != "" {
			one = atGateway(place, gateway)
		}
	}
	if err := q.sendAsk(one, reply, a, patience, 0); err != nil {
		return Offer{}, err
	}
	offer, done, err := g.first(ctx, events, patience+askGrace)
	if one != place && fault.Has(err, wire.NoAgent) {
		q.weights.learn(place, one[strings.LastIndexByte(one, '.')+1:], 0, false, started) // it is gone; there may be others
		if err := q.sendAsk(place, reply, a, patience, time.Since(started)); err != nil {
			return Offer{}, err
		}
		offer, done, err = g.first(ctx, events, patience+askGrace)
	}
	if err == nil && done && len(a.Exclude) == 0 {
		q.weights.learn(place, offer.Gateway, offer.Weight, one == place, time.Now())
	}
	if done || err != nil {
		return offer, err
	}
	left := time.Until(deadline)
	if left <= 0 {
		return Offer{}, g.refusal()
	}
	if err := q.sendAsk(all, reply, a, left, time.Since(started)); err != nil {
		return Offer{}, err
	}
	return g.best(ctx, events, left)
}

func (q *Queue) sendAsk(subject, reply string, a Ask, wait, age time.Duration) error {
	b, err := json.Marshal(askMessage{Request: a.Request, Trace: a.Trace, Exclude: a.Exclude, Only: a.Only,
		WaitMS: max(wait.Milliseconds(), 0), AgeMS: age.Milliseconds()})
	if err != nil {
		return fmt.Errorf("queue: encoding an ask: %w", err)
	}
	return q.publish(subject, reply, b)
}

// gathering is what has been heard about one ask.
type gathering struct {
	exclude []string
	only    string
	waiting bool
	worst   *fault.Error
}

// hear takes one message. done is true with an offer, and when nobody is there at all.
func (g *gathering) hear(m *nats.Msg) (offer Offer, done bool, err error) {
	if noResponders(m) {
		return Offer{}, true, fault.New(wire.NoAgent, "no gateway holds an agent of this directory")
	}
	if len(m.Data) == 0 || m.Data[0] != frameAskReply {
		return Offer{}, false, nil
	}
	r, err := decodeAskReply(m.Data[1:])
	if err != nil {
		return Offer{}, false, nil // a gateway that cannot speak is as good as silent
	}
	switch {
	case r.Waiting:
		g.waiting = true
	case r.Code != 0:
		// Busy is the more hopeful word: it means that somebody is there. That it is hopeless now says more still.
		if g.worst == nil || r.Code == wire.AgentsBusy && g.worst.Code == wire.NoAgent || r.Code == wire.Overloaded {
			g.worst = fault.New(r.Code, r.Detail)
		}
	case slices.Contains(g.exclude, r.Agent), g.only != "" && r.Agent != g.only:
		// A gateway that offers what was ruled out breaks the rules; its lease runs out by itself.
	default:
		return Offer{Gateway: r.Gateway, Agent: r.Agent, Slot: r.Slot, Weight: r.Weight}, true, nil
	}
	return Offer{}, false, nil
}

// refusal is the answer when no offer came.
func (g *gathering) refusal() error {
	if g.worst != nil {
		return g.worst
	}
	return fault.New(wire.AgentsBusy, "no gateway answered the ask in time")
}

// first waits for the one gateway that the group chose. done is false when another gateway may do better.
func (g *gathering) first(ctx context.Context, events <-chan *nats.Msg, limit time.Duration) (Offer, bool, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case m := <-events:
			offer, done, err := g.hear(m)
			if done || err != nil {
				return offer, done, err
			}
			if g.worst != nil {
				return Offer{}, false, nil
			}
		case <-timer.C:
			return Offer{}, false, nil
		case <-ctx.Done():
			return Offer{}, false, g.ended(ctx)
		}
	}
}

// best waits for the first offer of any gateway: until limit while some gateway has the ask in its line, and only as long as a
// reply takes when all have refused.
func (g *gathering) best(ctx context.Context, events <-chan *nats.Msg, limit time.Duration) (Offer, error) {
	g.waiting = false
	end, gather := time.NewTimer(limit), time.NewTimer(min(askGather, limit))
	defer end.Stop()
	defer gather.Stop()
	gathered := false
	for !gathered || g.waiting {
		select {
		case m := <-events:
			if offer, done, err := g.hear(m); done || err != nil {
				return offer, err
			}
		case <-gather.C:
			gathered = true
		case <-end.C:
			if g.waiting {
				return Offer{}, fault.New(wire.AgentsBusy, "every agent stayed busy until the deadline")
			}
			return Offer{}, g.refusal()
		case <-ctx.Done():
			return Offer{}, g.ended(ctx)
		}
	}
	return Offer{}, g.refusal()
}

func (g *gathering) ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.Wrap(wire.AgentsBusy, "no agent became free in time", ctx.Err())
	}
	return fmt.Errorf("queue: ask: %w", ctx.Err())
}

// atGateway is the subject of asks that go to one gateway.
func atGateway(one, gateway string) string {
	return "sallyport.askat." + strings.TrimPrefix(one, "sallyport.ask.") + "." + gateway
}

// AnswerAsks calls f, each time on a goroutine of its own, for the asks about a directory that reach this gateway. f returns an
// offer, or a fault ([wire.AgentsBusy], [wire.NoAgent]); it may wait until its context ends. After stop no new ask arrives and
// the contexts of those under way have ended. A process answers asks for exactly as long as it can serve some.
func (q *Queue) AnswerAsks(scope tenant.Scope, directory, gateway string, f func(context.Context, Ask) (Offer, error)) (stop func(), err error) {
	one, all, err := askSubjects(scope, directory)
	if err != nil {
		return nil, err
	}
	if !validToken(gateway) {
		return nil, fault.Newf(wire.BadRequest, "gateway %q is not an id", gateway)
	}
	base, cancel := context.WithCancel(context.Background())
	answer := func(m *nats.Msg) {
		a, err := decodeAsk(m.Data)
		if err != nil || m.Reply == "" {
			q.log.Warn("malformed ask on the broker", "bytes", len(m.Data), "err", err)
			return
		}
		go q.answerAsk(base, m.Reply, a, f)
	}
	var subscriptions []*nats.Subscription
	stop = sync.OnceFunc(func() {
		for _, s := range subscriptions {
			q.unsubscribe(s)
		}
		cancel()
	})
	for _, subscribe := range []func() (*nats.Subscription, error){
		func() (*nats.Subscription, error) { return q.conn.QueueSubscribe(one, askGroup, answer) },
		func() (*nats.Subscription, error) { return q.conn.Subscribe(all, answer) },
		func() (*nats.Subscription, error) { return q.conn.Subscribe(atGateway(one, gateway), answer) },
	} {
		s, err := subscribe()
		if err != nil {
			stop()
			return nil, fault.Wrap(wire.TransientNetwork, "subscribing to asks", err)
		}
		subscriptions = append(subscriptions, s)
	}
	q.settle()
	return stop, nil
}

func (q *Queue) answerAsk(base context.Context, reply string, m askMessage, f func(context.Context, Ask) (Offer, error)) {
	now := time.Now()
	deadline := now.Add(time.Duration(m.WaitMS) * time.Millisecond)
	ctx, cancel := context.WithDeadline(base, deadline)
	defer cancel()
	offer, err := f(ctx, Ask{Request: m.Request, Trace: m.Trace, Exclude: m.Exclude, Only: m.Only, Deadline: deadline,
		Asked:   now.Add(-time.Duration(m.AgeMS) * time.Millisecond),
		Waiting: func() { q.replyAsk(reply, askReply{Waiting: true}) }})
	if err != nil {
		r := askReply{Code: wire.AgentsBusy, Detail: "the ask ended in the gateway's line"}
		var flt *fault.Error
		if errors.As(err, &flt) {
			r.Code, r.Detail = flt.Code, flt.Detail
		}
		q.replyAsk(reply, r)
		return
	}
	if !q.replyAsk(reply, askReply{Gateway: offer.Gateway, Agent: offer.Agent, Slot: offer.Slot, Weight: offer.Weight}) {
		q.Release(offer.Gateway, offer.Slot)
	}
}

// replyAsk reports whether the reply has left this process.
func (q *Queue) replyAsk(reply string, r askReply) bool {
	b, err := json.Marshal(r)
	if err != nil {
		q.log.Error("encoding the reply to an ask", "err", err)
		return false
	}
	if err := q.publish(reply, "", append([]byte{frameAskReply}, b...)); err != nil {
		q.log.Warn("reply to an ask not sent", "err", err)
		return false
	}
	return true
}
