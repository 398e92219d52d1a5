package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// ErrNoGo says that the service did not grant a fence, or not in time: nothing may be bound.
var ErrNoGo = errors.New("queue: the fence was not granted")

// Handler works on one delivery at a gateway. fence asks the service for the Go token of the
// agent's nonce, once; its error wraps [ErrNoGo]. ctx
// ends at the delivery's deadline and when answering stops; the slot's release is told through [Queue.OnRelease].
type Handler = func(ctx context.Context, scope tenant.Scope, d Delivery, fence func(ctx context.Context, nonce []byte) (goToken []byte, err error)) Outcome

// answering is one gateway's work on deliveries.
type answering struct {
	q     *Queue
	f     Handler
	base  context.Context
	tasks sync.WaitGroup

	mu      sync.Mutex          // guards the rest
	held    map[string]struct{} // reply subjects of the deliveries under way, for the beats
	stopped bool
}

// AnswerDeliveries calls f, each time on a goroutine of its own, for every delivery to this gateway, acknowledges each before
// that, and beats for those under way. stop ends the contexts of running handlers, waits for them, and sends their outcomes.
func (q *Queue) AnswerDeliveries(gateway string, f Handler) (stop func(), err error) {
	if !validToken(gateway) {
		return nil, fault.Newf(wire.BadRequest, "gateway %q is not an id", gateway)
	}
	base, cancel := context.WithCancel(context.Background())
	a := &answering{q: q, f: f, base: base, held: map[string]struct{}{}}
	sub, err := q.conn.Subscribe("sallyport.gateway."+gateway+".check", a.receive)
	if err != nil {
		cancel()
		return nil, fault.Wrap(wire.TransientNetwork, "subscribing to deliveries", err)
	}
	q.settle()
	beats := make(chan struct{})
	go func() {
		defer close(beats)
		a.beat()
	}()
	return sync.OnceFunc(func() {
		q.unsubscribe(sub)
		a.mu.Lock()
		a.stopped = true
		a.mu.Unlock()
		cancel()
		a.tasks.Wait()
		<-beats
		q.settle() // the last outcomes have left this process
	}), nil
}

// OnRelease calls f for every slot that is given back to this gateway, one after the other, until stop.
func (q *Queue) OnRelease(gateway string, f func(slot string)) (stop func(), err error) {
	if !validToken(gateway) {
		return nil, fault.Newf(wire.BadRequest, "gateway %q is not an id", gateway)
	}
	sub, err := q.conn.Subscribe("sallyport.gateway."+gateway+".release", func(m *nats.Msg) {
		if slot := string(m.Data); validToken(slot) {
			f(slot)
		}
	})
	if err != nil {
		return nil, fault.Wrap(wire.TransientNetwork, "subscribing to releases", err)
	}
	q.settle()
	return sync.OnceFunc(func() { q.unsubscribe(sub) }), nil
}

func (a *answering) receive(m *nats.Msg) {
	if m.Reply == "" {
		return
	}
	tenantID, d, err := decodeDelivery(m.Data, time.Now())
	if err != nil {
		a.q.log.Warn("malformed delivery on the broker", "bytes", len(m.Data), "err", err)
		a.send(m.Reply, []byte{frameAck})
		a.send(m.Reply, encodeOutcome(Outcome{Refused: wire.BadRequest, Detail: "the gateway cannot read the delivery"}))
		return
	}
	a.mu.Lock()
	if a.stopped {
		a.mu.Unlock()
		return // unacknowledged: lost before the fence
	}
	a.held[m.Reply] = struct{}{}
	a.tasks.Add(1)
	a.mu.Unlock()
	a.send(m.Reply, []byte{frameAck})
	go a.work(m.Reply, tenant.ScopeOf(tenantID), d)
}

func (a *answering) work(reply string, scope tenant.Scope, d Delivery) {
	defer a.tasks.Done()
	ctx, cancel := context.WithDeadline(a.base, d.Deadline)
	defer cancel()
	var once sync.Mutex
	asked := false
	fence := func(ctx context.Context, nonce []byte) ([]byte, error) {
		once.Lock()
		again := asked
		asked = true
		once.Unlock()
		if again {
			return nil, fmt.Errorf("%w: asked twice", ErrNoGo)
		}
		return a.fence(ctx, reply, nonce)
	}
	o := a.f(ctx, scope, d, fence)
	a.mu.Lock()
	delete(a.held, reply)
	a.mu.Unlock()
	a.send(reply, encodeOutcome(o))
}

// fence asks the service and waits for its word.
func (a *answering) fence(ctx context.Context, delivery string, nonce []byte) ([]byte, error) {
	if n := len(nonce); n < envelope.MinNonce || n > envelope.MaxNonce {
		return nil, fmt.Errorf("%w: a nonce of %d bytes", ErrNoGo, n)
	}
	ctx, cancel := context.WithTimeout(ctx, fenceReplyWithin)
	defer cancel()
	reply, events := a.q.inbox.open(1)
	defer a.q.inbox.close(reply)
	if err := a.q.publish(delivery, reply, append([]byte{frameFence}, nonce...)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoGo, err)
	}
	select {
	case m := <-events:
		if len(m.Data) < 2 || m.Data[0] != frameGo {
			return nil, fmt.Errorf("%w: the service has given up on this check", ErrNoGo)
		}
		return m.Data[1:], nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrNoGo, ctx.Err())
	}
}

// beat tells the services each second that their deliveries are still in good hands.
func (a *answering) beat() {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-a.base.Done():
			return
		case <-ticker.C:
		}
		a.mu.Lock()
		held := make([]string, 0, len(a.held))
		for reply := range a.held {
			held = append(held, reply)
		}
		a.mu.Unlock()
		for _, reply := range held {
			a.send(reply, []byte{frameBeat})
		}
	}
}

func (a *answering) send(reply string, data []byte) {
	if err := a.q.publish(reply, "", data); err != nil {
		a.q.log.Warn("message to the service not sent", "err", err)
	}
}
