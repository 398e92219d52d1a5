package attack

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// fence is how a delivery's go token is asked for.
type fence = func(ctx context.Context, nonce []byte) (goToken []byte, err error)

// mitm is the broker in an attacker's hands: the service's messages end here, and new ones of its own making go to the gateways.
// Its hooks are set before a sign-in; nil means to pass on honestly.
type mitm struct {
	t       *testing.T
	url     string // broker S
	service *queue.Queue
	gateway *queue.Queue
	w       *world

	mu sync.Mutex
	// onAsk makes the offer.
	onAsk func(ctx context.Context, a queue.Ask) (queue.Offer, error)
	// onDelivery carries a delivery.
	onDelivery func(ctx context.Context, d queue.Delivery, f fence) queue.Outcome
	seen       []record
}

// record is what the attacker keeps of an honest delivery.
type record struct {
	delivery queue.Delivery
	token    []byte
	outcome  queue.Outcome
}

const rogueName = "rogue-gateway"

func newMITM(t *testing.T, url string, service, gateway *queue.Queue, w *world) *mitm {
	t.Helper()
	m := &mitm{t: t, url: url, service: service, gateway: gateway, w: w}
	stopAsks := fatal(service.AnswerAsks(w.a, w.dir, "mitm", func(ctx context.Context, a queue.Ask) (queue.Offer, error) {
		m.mu.Lock()
		f := m.onAsk
		m.mu.Unlock()
		if f == nil {
			f = m.offer
		}
		return f(ctx, a)
	}))(t)
	t.Cleanup(stopAsks)
	stopDeliveries := fatal(service.AnswerDeliveries(rogueName, func(ctx context.Context, _ tenant.Scope, d queue.Delivery, f fence) queue.Outcome {
		m.mu.Lock()
		g := m.onDelivery
		m.mu.Unlock()
		if g == nil {
			g = m.pass
		}
		return g(ctx, d, f)
	}))(t)
	t.Cleanup(stopDeliveries)
	return m
}

// set arms the hooks.
func (m *mitm) set(onAsk func(context.Context, queue.Ask) (queue.Offer, error), onDelivery func(context.Context, queue.Delivery, fence) queue.Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onAsk, m.onDelivery = onAsk, onDelivery
}

// offer is what a genuine gateway offers, with the deliveries to go through here.
func (m *mitm) offer(ctx context.Context, a queue.Ask) (queue.Offer, error) {
	a.Waiting = nil
	o, err := m.gateway.Ask(ctx, m.w.a, m.w.dir, a)
	o.Gateway = rogueName
	return o, err
}

// slot reserves one at an agent, by ruling all others out.
func (m *mitm) slot(ctx context.Context, to *member, others ...*member) string {
	var exclude []string
	for _, o := range others {
		exclude = append(exclude, o.row.ID)
	}
	o, err := m.gateway.Ask(ctx, to.scope, to.row.DirectoryID, queue.Ask{Request: "attack", Exclude: exclude})
	if err != nil || o.Agent != to.row.ID {
		m.t.Errorf("a slot for the attack: %+v, %v", o, err)
	}
	return o.Slot
}

// pass carries a delivery and its fence, and remembers all that an attacker could.
func (m *mitm) pass(ctx context.Context, d queue.Delivery, f fence) queue.Outcome {
	r := record{delivery: d}
	r.outcome = m.carry(ctx, m.w.a, d, func(nonce []byte) []byte {
		token, err := f(ctx, nonce)
		if err != nil {
			return nil
		}
		r.token = token
		return token
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = append(m.seen, r)
	return r.outcome
}

// last is the last delivery that was passed on.
func (m *mitm) last() record {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.seen) == 0 {
		m.t.Fatal("nothing was passed on")
	}
	return m.seen[len(m.seen)-1]
}

// carry delivers to the genuine gateway.
func (m *mitm) carry(ctx context.Context, scope tenant.Scope, d queue.Delivery, onFence func(nonce []byte) []byte) queue.Outcome {
	o, _, err := m.gateway.Deliver(ctx, scope, m.w.gateway.ID(), d, onFence)
	if err != nil {
		return queue.Outcome{Lost: true, Detail: err.Error()}
	}
	return o
}

// forge has the genuine gateway deliver something of the attacker's making to an agent, with the go token that the attacker likes.
func (m *mitm) forge(to *member, request string, sealed []byte, token func(nonce []byte) []byte, others ...*member) queue.Outcome {
	ctx, cancel := context.WithTimeout(m.t.Context(), 12*time.Second)
	defer cancel()
	return m.carry(ctx, to.scope, queue.Delivery{Request: request, Directory: to.row.DirectoryID, Agent: to.row.ID, Slot: m.slot(ctx, to, others...),
		Envelope: sealed}, token)
}

// overheard answers every fence with a token that was seen before.
func overheard(token []byte) func([]byte) []byte { return func([]byte) []byte { return token } }

// nonce is one of the attacker's choice.
var nonce = []byte("a nonce of 16 by")

// sealed is an envelope of the attacker's own making: the agent's key is public.
func (m *mitm) sealed(to *member, change func(*envelope.Binding)) (sealed []byte, s *envelope.Sender, b envelope.Binding) {
	m.t.Helper()
	return m.sealedTo(to.key.Public(), to, change)
}

func (m *mitm) sealedTo(key envelope.PublicKey, to *member, change func(*envelope.Binding)) (sealed []byte, s *envelope.Sender, b envelope.Binding) {
	m.t.Helper()
	b = envelope.Binding{Tenant: to.scope.String(), Directory: to.row.DirectoryID, Agent: to.row.ID, Request: "forged", Expires: time.Now().Add(envelope.Life)}
	if change != nil {
		change(&b)
	}
	sealed, s, err := envelope.Seal(key, b, envelope.Check{Name: name, Password: wire.NewSecret([]byte(right))})
	if err != nil {
		m.t.Fatal(err)
	}
	return sealed, s, b
}

// raw is the broker's own voice on S, for what no gateway's library would say. It takes the deliveries to a gateway's name.
type raw struct {
	t    *testing.T
	conn *nats.Conn
	got  chan *nats.Msg
}

func (m *mitm) raw(gateway string) *raw {
	m.t.Helper()
	conn := fatal(nats.Connect(m.url))(m.t)
	m.t.Cleanup(conn.Close)
	r := &raw{t: m.t, conn: conn, got: make(chan *nats.Msg, 16)}
	if _, err := conn.ChanSubscribe("sallyport.gateway."+gateway+".check", r.got); err != nil {
		m.t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		m.t.Fatal(err)
	}
	return r
}

// say publishes a frame to the service.
func (r *raw) say(subject string, frame ...byte) {
	if err := r.conn.Publish(subject, frame); err != nil {
		r.t.Error(err)
	}
}

// fence asks for the go token and returns it; empty if there is none.
func (r *raw) fence(subject string) []byte {
	m, err := r.conn.Request(subject, append([]byte{'F'}, nonce...), 3*time.Second)
	if err != nil {
		if !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, nats.ErrTimeout) {
			r.t.Error(err)
		}
		return nil
	}
	if len(m.Data) < 1 || m.Data[0] != 'G' {
		r.t.Errorf("the reply to a fence is %q", m.Data)
		return nil
	}
	return m.Data[1:]
}

// unframe reads a delivery as package queue writes it.
func unframe(t testing.TB, b []byte) queue.Delivery {
	t.Helper()
	var tenantID string
	var d queue.Delivery
	b = b[1:]
	for _, into := range []*string{&tenantID, &d.Request, &d.Directory, &d.Agent, &d.Slot, &d.Trace} {
		n, used := binary.Uvarint(b)
		if used <= 0 || int(n) > len(b)-used {
			t.Fatal("a delivery of another form")
		}
		*into, b = string(b[used:used+int(n)]), b[used+int(n):]
	}
	_, used := binary.Uvarint(b)
	d.Envelope = b[used:]
	return d
}
