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

	mu      sync.Mutex // guards the rest and, of its agents, used, away, seenOff and picked
	agents  []*attached
	line    []*waiter // by the time of the ask
	picks   uint64
	closing bool

	// subscribing serialises the start and end of the subscription to asks; it is taken before mu, never while holding it.
	subscribing sync.Mutex
	stop        func()
}

// waiter is an ask in the line.
type waiter struct {
	exclude []string
	asked   time.Time
	got     chan *attached // one value: an agent with a slot reserved, or nil when none is left that could be offered
}

// choose is the rule of assignment: among the agents that are not excluded and not away, the one with a free slot and the
// fewest checks, the least recently picked of equals. Drained ones count as away; held ones can be waited for. candidates counts those that could be waited for.
func choose(agents []*attached, exclude []string) (best *attached, candidates int) {
	for _, a := range agents {
		if a.away || a.drained || slices.Contains(exclude, a.id) {
			continue
		}
		candidates++
		if a.held || a.used >= a.slots {
			continue
		}
		if best == nil || a.used < best.used || (a.used == best.used && a.picked < best.picked) {
			best = a
		}
	}
	return best, candidates
}

var (
	errNobody = fault.New(wire.NoAgent, "no agent here that could be offered")
	errLine   = fault.New(wire.AgentsBusy, "every slot is taken and the line is full")
	errWaited = fault.New(wire.AgentsBusy, "every slot stayed taken")
)

// reserve takes a slot, waiting in the line if need be until ctx ends. waiting is called once if it has to wait.
func (r *room) reserve(ctx context.Context, exclude []string, asked time.Time, waiting func()) (*attached, error) {
	r.mu.Lock()
	// A slot is free only if nobody in the line could use it: free hands each one on. So this jumps no queue.
	best, candidates := choose(r.agents, exclude)
	switch {
	case r.closing || candidates == 0:
		r.mu.Unlock()
		return nil, errNobody
	case best != nil:
		r.take(best)
		r.mu.Unlock()
		return best, nil
	case len(r.line) >= maxLine:
		r.mu.Unlock()
		return nil, errLine
	}
	w := &waiter{exclude: exclude, asked: asked, got: make(chan *attached, 1)}
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
	case a := <-w.got:
		return granted(a)
	case <-ctx.Done():
	}
	r.mu.Lock()
	if i := slices.Index(r.line, w); i >= 0 {
		r.line = slices.Delete(r.line, i, i+1)
		r.mu.Unlock()
		return nil, errWaited
	}
	r.mu.Unlock()
	// Between the end of ctx and the lock somebody has answered; what was given must not be lost.
	return granted(<-w.got)
}

func granted(a *attached) (*attached, error) {
	if a == nil {
		return nil, errNobody
	}
	return a, nil
}

// take reserves a slot of a; r.mu is held.
func (r *room) take(a *attached) {
	r.picks++
	a.used++
	a.picked = r.picks
}

// free gives a slot of a back, to the first in the line who can use it. idle says that a has no check and no reservation left.
func (r *room) free(a *attached) (idle bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.used--
	r.serve()
	return a.used == 0
}

// serve hands free slots to the line, first come first served; whoever is left with no agent to wait for is told so. r.mu is
// held.
func (r *room) serve() {
	r.line = slices.DeleteFunc(r.line, func(w *waiter) bool {
		best, candidates := choose(r.agents, w.exclude)
		switch {
		case r.closing || candidates == 0:
			w.got <- nil
			return true
		case best != nil:
			r.take(best)
			w.got <- best
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
	_, candidates := choose(r.agents, nil)
	return !r.closing && candidates > 0
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
