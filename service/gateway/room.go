package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// room holds the agents of one directory that are attached here, and the asks that wait for one of their slots. Rooms are made
// when the first agent comes and stay, empty, when the last has gone: there are as many as directories.
type room struct {
	scope     tenant.Scope
	directory string

	mu      sync.Mutex // guards the rest and, of its agents, load, away, seenOff and picked
	agents  []*attached
	line    []*waiter // by the time of the ask
	picks   uint64
	clock   time.Duration // the furthest start of a check so far
	closing bool

	// subscribing serialises the start and end of the subscription to asks; it is taken before mu, never while holding it.
	subscribing sync.Mutex
	stop        func()
}

// waiter is an ask in the line.
type waiter struct {
	exclude []string
	asked   time.Time
	got     chan grant // one value: an agent with a slot reserved, or none when none is left that could be offered
}

// choose is the rule of assignment: among the agents that are not excluded and not away, the one with a free slot and the least
// [score], the least recently picked of equals; ailing ones only when there are no others. Drained ones count as away; held ones can be waited
// for. candidates counts those that could be waited for. cost is what a check with the best one costs, and slots and usual are the places of all candidates and
// what a check with them takes.
func choose(agents []*attached, exclude []string, clock time.Duration, now time.Time) (c choice) {
	var able []*attached
	well := false
	for _, a := range agents {
		if a.away || a.drained || slices.Contains(exclude, a.id) {
			continue
		}
		able = append(able, a)
		well = well || !a.ailing() && !a.held
	}
	if well {
		able = slices.DeleteFunc(able, func(a *attached) bool { return a.ailing() })
	}
	loads := make([]load, len(able))
	for i, a := range able {
		loads[i] = a.load
	}
	var least time.Duration
	for i, cost := range costs(loads, now) {
		a, s := able[i], score(loads[i], cost, clock)
		c.candidates++
		c.slots += a.slots
		c.usual += loads[i].raw(now)
		if a.held || a.used >= a.slots {
			continue
		}
		c.weight += 1 / cost.Seconds()
		if c.best == nil || s < least || s == least && a.picked < c.best.picked {
			c.best, c.cost, least = a, cost, s
		}
	}
	if c.candidates > 0 {
		c.usual /= time.Duration(c.candidates)
	}
	return c
}

// choice is the outcome of [choose]. weight says how many checks a second those with a free slot could do with one slot each: what this
// gateway's offers weigh beside others'.
type choice struct {
	best              *attached
	cost              time.Duration
	candidates, slots int
	usual             time.Duration
	weight            float64
}

var (
	errNobody = fault.New(wire.NoAgent, "no agent here that could be offered")
	errWaited = fault.New(wire.AgentsBusy, "every slot stayed taken")
)

// reserve takes a slot, waiting in the line if need be until ctx ends. waiting is called once if it has to wait. Who could not have a turn in
// time is told so at once.
func (r *room) reserve(ctx context.Context, exclude []string, asked time.Time, waiting func()) (grant, error) {
	now := time.Now()
	r.mu.Lock()
	// A slot is free only if nobody in the line could use it: free hands each one on. So this jumps no queue.
	c := choose(r.agents, exclude, r.clock, now)
	deadline, limited := ctx.Deadline()
	switch {
	case r.closing || c.candidates == 0:
		r.mu.Unlock()
		return grant{}, errNobody
	case c.best != nil:
		g := r.take(c, now)
		r.mu.Unlock()
		return g, nil
	case len(r.line) >= maxLine:
		r.mu.Unlock()
		return grant{}, fault.New(wire.Overloaded, "every slot is taken and the line is full")
	case limited && hopeless(len(r.line), c.slots, c.usual, deadline.Sub(now)):
		r.mu.Unlock()
		return grant{}, fault.New(wire.Overloaded, "every slot is taken, and the line is too long for the time that is left")
	}
	w := &waiter{exclude: exclude, asked: asked, got: make(chan grant, 1)}
	at := len(r.line)
	for at > 0 && r.line[at-1].asked.After(asked) {
		at--
	}
	r.line = slices.Insert(r.line, at, w)
	r.mu.Unlock()
	if waiting != nil {
		waiting()
	}
	select {
	case g := <-w.got:
		return granted(g)
	case <-ctx.Done():
	}
	r.mu.Lock()
	if i := slices.Index(r.line, w); i >= 0 {
		r.line = slices.Delete(r.line, i, i+1)
		r.mu.Unlock()
		return grant{}, errWaited
	}
	r.mu.Unlock()
	// Between the end of ctx and the lock somebody has answered; what was given must not be lost.
	return granted(<-w.got)
}

func granted(g grant) (grant, error) {
	if g.agent == nil {
		return grant{}, errNobody
	}
	return g, nil
}

// grant is a reserved slot: what it cost on its agent's clock, and the weight of this room when it was given.
type grant struct {
	agent  *attached
	cost   time.Duration
	weight float64
}

// take reserves a slot of the best; r.mu is held.
func (r *room) take(c choice, now time.Time) grant {
	a := c.best
	begin := start(a.load, c.cost, r.clock)
	r.clock = max(r.clock, begin)
	a.clock = begin + c.cost
	r.picks++
	if a.used == 0 {
		a.stalled = now
	}
	a.used++
	a.picked = r.picks
	return grant{a, c.cost, c.weight}
}

// refund takes back what an offer that nobody took up has cost its agent.
func (r *room) refund(g grant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g.agent.clock -= g.cost
}

// others returns the ids of all agents but one. Who comes later may be offered in its place; the asker notices.
func (r *room) others(only string) (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.agents {
		if a.id != only {
			ids = append(ids, a.id)
		}
	}
	return ids
}

// fail notes whether an agent's probes fail.
func (r *room) fail(a *attached, failing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.failing != failing {
		a.failing = failing
		r.serve()
	}
}

// took notes how long an agent's answer took.
func (r *room) took(a *attached, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.measured = smoothed(a.measured, d)
}

// hear notes what an agent says of itself: how fast its domain controller is, and whether none answers at all.
func (r *room) hear(a *attached, told time.Duration, deaf bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.told, a.deaf = told, deaf
	r.serve()
}

// free gives a slot of a back, to the first in the line who can use it. idle says that a has no check and no reservation left.
func (r *room) free(a *attached) (idle bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.used--
	a.stalled = time.Now()
	r.serve()
	return a.used == 0
}

// serve hands free slots to the line, first come first served; whoever is left with no agent to wait for is told so. r.mu is
// held.
func (r *room) serve() {
	if len(r.line) == 0 {
		return
	}
	now := time.Now()
	r.line = slices.DeleteFunc(r.line, func(w *waiter) bool {
		c := choose(r.agents, w.exclude, r.clock, now)
		switch {
		case r.closing || c.candidates == 0:
			w.got <- grant{}
			return true
		case c.best != nil:
			w.got <- r.take(c, now)
			return true
		}
		return false
	})
}

// enter adds an agent; its slots go to the line first. One whose stream has been ended meanwhile stays outside.
func (r *room) enter(a *attached) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.away {
		return
	}
	r.agents = append(r.agents, a)
	r.serve()
}

// leave makes an agent get no new checks; with gone it is forgotten.
func (r *room) leave(a *attached, gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.away = true
	if gone {
		r.agents = slices.DeleteFunc(r.agents, func(b *attached) bool { return a == b })
	}
	r.serve()
}

// drain takes an agent out of the offers, or back in; true if that changed something.
func (r *room) drain(a *attached, drained bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.drained == drained {
		return false
	}
	a.drained = drained
	r.serve()
	return true
}

// unhold offers an agent checks whose directory has been looked at; true if that changed something.
func (r *room) unhold(a *attached) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !a.held {
		return false
	}
	a.held = false
	r.serve()
	return true
}

// halve takes half of the agents out of the offers, so that the others serve alone until those are elsewhere, and returns
// them: none when there is but one.
func (r *room) halve() []*attached {
	r.mu.Lock()
	defer r.mu.Unlock()
	var here []*attached
	for _, a := range r.agents {
		if !a.away {
			here = append(here, a)
		}
	}
	half := here[:len(here)/2]
	for _, a := range half {
		a.away, a.seenOff = true, true
	}
	r.serve()
	return half
}

// close refuses everybody from now on.
func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
	r.serve()
}

// dismiss takes an agent out of the offers for good; false if it was before.
func (r *room) dismiss(a *attached) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.seenOff {
		return false
	}
	a.away, a.seenOff = true, true
	return true
}

// open reports whether an ask could be served now or later.
func (r *room) open() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.closing && choose(r.agents, nil, r.clock, time.Now()).candidates > 0
}

// idle reports whether a has neither checks nor reservations.
func (r *room) idle(a *attached) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return a.used == 0
}

// load returns the slots in use and the length of the line.
func (r *room) load() (used, line int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.agents {
		used += a.used
	}
	return used, len(r.line)
}
