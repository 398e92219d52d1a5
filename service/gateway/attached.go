package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// attached is one agent with its stream.
type attached struct {
	id      string
	ref     fleet.AgentRef
	scope   tenant.Scope
	room    *room
	slots   int
	hello   *linkpb.Hello
	address string
	expires time.Time // of its certificate
	// stream is how the fleet knows it; counts, whether the agent numbers its connections; since, when it was attached.
	stream fleet.Connection
	counts bool
	since  time.Time

	// out is written by deliveries and read by the stream's goroutine, the only sender.
	out chan *linkpb.ToAgent
	// over is closed once, by end; farewell, written before, is the last message or nil.
	over     chan struct{}
	once     sync.Once
	farewell *linkpb.Goodbye
	// cut closes the connection; called a while after end, for agents that do not take the farewell.
	cut func()

	heard atomic.Int64 // unix milliseconds of the last message
	skew  atomic.Int64 // milliseconds that our clock is ahead of the agent's
	// report is the newest one; nil before the first, and from agents that tell nothing.
	report atomic.Pointer[fleet.Report]

	probed   chan []byte  // nonces that the agent has sent back
	probing  atomic.Bool  // a probe is under way
	renewing atomic.Bool  // a renewal is being signed
	proving  atomic.Bool  // a proof is being judged
	ordered  atomic.Bool  // the agent was told to renew
	doubted  atomic.Int64 // unix milliseconds of the last suspicion that was looked into

	mu         sync.Mutex // guards deliveries
	deliveries map[string]*delivery

	// Guarded by room.mu. load.used counts reservations and checks.
	load
	away    bool
	drained bool // gets no new checks until an administrator says so
	held    bool // has still to show which domain it serves; may be waited for
	seenOff bool // told to go when its last check has ended
	picked  uint64
}

// delivery is one check at an agent.
type delivery struct {
	// events gets Fence, Answer and Refusal from the stream's reader; a correct agent sends two.
	events chan *linkpb.FromAgent
	// abandoned, when not nil, frees the slot: the service has given up, the agent has not said that it is done. Guarded by
	// attached.mu.
	abandoned *time.Timer
}

// send queues a message. An agent that lets so many pile up is not reading, and is cut off.
func (a *attached) send(m *linkpb.ToAgent) bool {
	select {
	case <-a.over:
		return false
	default:
	}
	select {
	case a.out <- m:
		return true
	default:
		a.end(goodbye(wire.TransientNetwork, "the agent reads too slowly", false))
		return false
	}
}

// end ends the stream, with a last message or without. From here on the agent is offered no more; only the first call counts.
func (a *attached) end(g *linkpb.Goodbye) {
	a.once.Do(func() {
		a.room.leave(a, true)
		a.farewell = g
		close(a.over)
		time.AfterFunc(closeAfter, a.cut)
	})
}

// begin enters a delivery; false if one with this request id is under way.
func (a *attached) begin(request string) (*delivery, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.deliveries[request] != nil {
		return nil, false
	}
	d := &delivery{events: make(chan *linkpb.FromAgent, 4)}
	a.deliveries[request] = d
	return d, true
}

// finish forgets a delivery that the agent has answered or that died with the stream, and frees its slot.
func (a *attached) finish(request string, d *delivery) {
	a.mu.Lock()
	if a.deliveries[request] != d {
		a.mu.Unlock()
		return
	}
	delete(a.deliveries, request)
	if d.abandoned != nil {
		d.abandoned.Stop()
	}
	a.mu.Unlock()
	a.release()
}

// abandon keeps the slot of a delivery that was given up until the agent says that it is done, or linger is over.
func (a *attached) abandon(request string, d *delivery) {
	a.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Cancel{Cancel: &linkpb.Cancel{RequestId: request}}})
	a.mu.Lock()
	defer a.mu.Unlock()
	d.abandoned = time.AfterFunc(linger, func() { a.finish(request, d) })
	// The end may have come while nobody looked.
	for {
		select {
		case m := <-d.events:
			if m.GetFence() == nil {
				d.abandoned.Reset(0)
			}
		default:
			return
		}
	}
}

// release gives one slot back. An agent told to go whose last slot this was goes now.
func (a *attached) release() {
	if idle := a.room.free(a); idle && a.going() {
		a.end(nil)
	}
}

// going reports whether the agent was told to go.
func (a *attached) going() bool {
	a.room.mu.Lock()
	defer a.room.mu.Unlock()
	return a.seenOff
}

// event hands an agent's word on a check to its delivery. Words about unknown checks are dropped: they were given up long ago.
func (a *attached) event(request string, m *linkpb.FromAgent) {
	a.mu.Lock()
	d := a.deliveries[request]
	if d == nil {
		a.mu.Unlock()
		return
	}
	if d.abandoned == nil {
		select {
		case d.events <- m:
		default:
		}
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	if m.GetFence() == nil {
		a.finish(request, d)
	}
}

// inFlight counts the checks at the agent.
func (a *attached) inFlight() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.deliveries)
}

func goodbye(code wire.Code, text string, permanent bool) *linkpb.Goodbye {
	return &linkpb.Goodbye{Code: uint32(code), Text: text, Permanent: permanent}
}
