// Package passwordtest stands in for the queue in tests of package password: a broker, gateways, agents and a directory in one
// value, without processes between them. It behaves: agents really open envelopes with their own keys, a bind is possible
// only with the Go token, and every bind is counted, so that a test can say how often a password reached the directory.
//
// It refuses to be used outside tests.
package passwordtest

import (
	"context"
	"crypto/subtle"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Behaviour is how an agent treats a delivery. It runs on the goroutine of Deliver's caller, as the queue's fences do.
type Behaviour func(ctx context.Context, c *Conversation) queue.Outcome

// Queue has the methods of *queue.Queue that package password uses. It is safe for concurrent use.
type Queue struct {
	mu       sync.Mutex
	agents   []*attached
	binds    []string // the names of all binds so far
	released []string // slots
	asks     []queue.Ask
	broken   []string // what broke the protocol
}

type attached struct {
	scope         tenant.Scope
	directory, id string
	key           envelope.PrivateKey
	behave        Behaviour
}

// Attach connects an agent. Agents are offered in the order of attaching.
func (q *Queue) Attach(scope tenant.Scope, directory, id string, key envelope.PrivateKey, behave Behaviour) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.agents = append(q.agents, &attached{scope, directory, id, key, behave})
}

// AttachFirst connects an agent that is offered before all others.
func (q *Queue) AttachFirst(scope tenant.Scope, directory, id string, key envelope.PrivateKey, behave Behaviour) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.agents = slices.Insert(q.agents, 0, &attached{scope, directory, id, key, behave})
}

// Ask offers the first agent of the directory that is not excluded.
func (q *Queue) Ask(ctx context.Context, scope tenant.Scope, directory string, a queue.Ask) (queue.Offer, error) {
	if _, err := scope.ID(); err != nil {
		return queue.Offer{}, err
	}
	if err := ctx.Err(); err != nil {
		return queue.Offer{}, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asks = append(q.asks, a)
	for _, w := range q.agents {
		if w.scope == scope && w.directory == directory && !slices.Contains(a.Exclude, w.id) && (a.Only == "" || a.Only == w.id) {
			return queue.Offer{Gateway: "gateway-1", Agent: w.id, Slot: "slot-" + w.id}, nil
		}
	}
	return queue.Offer{}, fault.New(wire.NoAgent, "no agent is attached")
}

// Deliver lets the agent behave.
func (q *Queue) Deliver(ctx context.Context, scope tenant.Scope, _ string, d queue.Delivery, onFence func(nonce []byte) []byte) (queue.Outcome, bool, error) {
	q.mu.Lock()
	i := slices.IndexFunc(q.agents, func(w *attached) bool { return w.scope == scope && w.directory == d.Directory && w.id == d.Agent })
	q.mu.Unlock()
	if i < 0 {
		return queue.Outcome{Lost: true, Detail: "the agent is gone"}, false, nil
	}
	c := &Conversation{Delivery: d, Scope: scope, q: q, agent: q.agents[i], onFence: onFence}
	o := c.agent.behave(ctx, c)
	c.over = true
	return o, c.granted, nil
}

// Release notes the slot.
func (q *Queue) Release(_, slot string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.released = append(q.released, slot)
}

// Binds returns the names that were bound at the directory, in order.
func (q *Queue) Binds() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.binds)
}

// Released returns the slots that were given back.
func (q *Queue) Released() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.released)
}

// Asks returns all asks so far.
func (q *Queue) Asks() []queue.Ask {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.asks)
}

// Broken returns what broke the protocol: a bind without a Go token, a second fence.
func (q *Queue) Broken() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.broken)
}

func (q *Queue) complain(format string, args ...any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.broken = append(q.broken, fmt.Sprintf(format, args...))
}

// Conversation is one delivery as its agent sees it.
type Conversation struct {
	Delivery queue.Delivery
	Scope    tenant.Scope

	q             *Queue
	agent         *attached
	onFence       func(nonce []byte) []byte
	check         envelope.Check
	receiver      *envelope.Receiver
	granted, over bool
	held          bool
}

// Open opens the envelope with the agent's key.
func (c *Conversation) Open() (envelope.Check, error) {
	check, receiver, err := envelope.Open(c.agent.key, envelope.Binding{Tenant: c.Scope.String(), Directory: c.agent.directory, Agent: c.agent.id,
		Request: c.Delivery.Request}, c.Delivery.Envelope, time.Now())
	c.check, c.receiver = check, receiver
	return check, err
}

// Reopen opens the envelope once more, for a look at it.
func (c *Conversation) Reopen() (envelope.Check, *envelope.Receiver, error) {
	return envelope.Open(c.agent.key, envelope.Binding{Tenant: c.Scope.String(), Directory: c.agent.directory, Agent: c.agent.id,
		Request: c.Delivery.Request}, c.Delivery.Envelope, time.Now())
}

// Fence asks for the Go token and reports whether it came and is the right one.
func (c *Conversation) Fence() bool { return c.FenceFor("") }

// FenceFor is Fence for an agent that has found which account has the name, by its objectGUID; empty for one that has not.
func (c *Conversation) FenceFor(anchor string) bool {
	if c.over || c.granted {
		c.q.complain("a second or late fence for %s", c.Delivery.Request)
		return false
	}
	whose, _ := uuid.Parse(anchor)
	nonce := c.receiver.Nonce(envelope.Account(whose))
	token := c.onFence(nonce)
	c.granted, c.held = len(token) > 0, subtle.ConstantTimeCompare(token, c.receiver.HoldToken(nonce)) == 1
	return c.granted && subtle.ConstantTimeCompare(token, c.receiver.GoToken(nonce)) == 1
}

// Bind counts an attempt at the directory.
func (c *Conversation) Bind() {
	if !c.granted || c.held {
		c.q.complain("a bind without a Go token for %s", c.Delivery.Request)
	}
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	c.q.binds = append(c.q.binds, c.check.Name)
}

// Answer seals an answer.
func (c *Conversation) Answer(a wire.Answer) queue.Outcome {
	sealed, err := c.receiver.SealAnswer(a)
	if err != nil {
		c.q.complain("sealing an answer: %v", err)
		return queue.Outcome{Lost: true}
	}
	return queue.Outcome{Sealed: sealed}
}

// Directory is a directory of names and passwords, for [Directory.Agent].
type Directory struct {
	// Passwords by name as typed. Attributes are told when they are wanted and there are some.
	Passwords  map[string]string
	Attributes map[string]wire.Attributes
	// Verdicts, when set for a name, replaces the comparison.
	Verdicts map[string]wire.Verdict
	// Entries are objectGUIDs by name as typed, for names that are to be looked up.
	Entries map[string]string
}

// Agent behaves as a healthy agent beside the directory.
func (d *Directory) Agent(_ context.Context, c *Conversation) queue.Outcome {
	check, err := c.Open()
	if err != nil {
		return queue.Outcome{Refused: wire.EnvelopeUnreadable, Detail: err.Error()}
	}
	defer check.Password.Wipe()
	entry := ""
	if check.NameAttribute != "" {
		entry = d.Entries[check.Name]
	}
	switch going := c.FenceFor(entry); {
	case c.held:
		return c.Answer(wire.Answer{Trouble: &wire.Trouble{Code: wire.AccountLockedOut, Detail: "held back by the service"}})
	case !going:
		return queue.Outcome{Refused: wire.AgentRefused, Detail: "no Go"}
	}
	c.Bind()
	verdict := wire.Verdict{Reason: wire.BadPassword, Win32: 1326, Diagnostic: "data 52e"}
	if v, ok := d.Verdicts[check.Name]; ok {
		verdict = v
	} else if password, ok := d.Passwords[check.Name]; ok && password == string(check.Password.Reveal()) {
		verdict = wire.Verdict{Reason: wire.Accepted}
	}
	if a, ok := d.Attributes[check.Name]; ok && verdict.Reason == wire.Accepted && check.WantAttributes {
		verdict.Attributes = &a
	}
	return c.Answer(wire.Answer{Verdict: &verdict, DC: "dc1.corp.example:636", Opened: time.Microsecond, Fenced: 2 * time.Microsecond, Judged: 3 * time.Microsecond})
}

// Refuse behaves as an agent that turns every delivery down.
func Refuse(code wire.Code) Behaviour {
	return func(context.Context, *Conversation) queue.Outcome {
		return queue.Outcome{Refused: code, Detail: "refused in a test"}
	}
}

// LostBeforeFence behaves as an agent whose stream ends at once.
func LostBeforeFence(context.Context, *Conversation) queue.Outcome {
	return queue.Outcome{Lost: true, Detail: "the agent's stream ended"}
}

// LostAfterFence behaves as an agent that binds and dies before it can answer.
func LostAfterFence(_ context.Context, c *Conversation) queue.Outcome {
	if _, err := c.Open(); err != nil || !c.Fence() {
		return queue.Outcome{Refused: wire.EnvelopeUnreadable}
	}
	c.Bind()
	return queue.Outcome{Lost: true, Detail: "the agent's stream ended"}
}

// Trouble behaves as an agent that tells of a trouble; with t.Fenced after a bind.
func Trouble(t wire.Trouble) Behaviour {
	return func(_ context.Context, c *Conversation) queue.Outcome {
		if _, err := c.Open(); err != nil {
			return queue.Outcome{Refused: wire.EnvelopeUnreadable}
		}
		if t.Fenced {
			if !c.Fence() {
				return queue.Outcome{Refused: wire.AgentRefused}
			}
			c.Bind()
		}
		return c.Answer(wire.Answer{Trouble: &t})
	}
}

// Withheld behaves as an agent that does not ask about somebody on purpose: it fences all the same, and tells t, which is not Fenced.
func Withheld(t wire.Trouble) Behaviour {
	return func(_ context.Context, c *Conversation) queue.Outcome {
		if _, err := c.Open(); err != nil || !c.Fence() {
			return queue.Outcome{Refused: wire.EnvelopeUnreadable}
		}
		return c.Answer(wire.Answer{Trouble: &t})
	}
}
