package gateway

import (
	"context"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// changed hears that an agent's row was changed somewhere.
func (g *Gateway) changed(c queue.Change) {
	if c.Agent != "" {
		g.mu.Lock()
		_, here := g.agents[c.Agent]
		g.mu.Unlock()
		if !here {
			return
		}
	}
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

// watch asks the fleet about every attached agent, at once after an announcement and regularly without one.
func (g *Gateway) watch(ctx context.Context) {
	ticker := time.NewTicker(recheckEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-g.kick:
		}
		g.recheck(ctx)
	}
}

// recheck ends the streams of agents that are not served any more. A fleet that cannot be asked ends none: without it no
// password is sealed to anybody either.
func (g *Gateway) recheck(ctx context.Context) {
	g.mu.Lock()
	streams := make([]*attached, 0, len(g.streams))
	refs := make([]fleet.AgentRef, 0, len(g.streams))
	for a := range g.streams {
		streams, refs = append(streams, a), append(refs, a.ref)
	}
	g.mu.Unlock()
	if len(refs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, recheckTimeout)
	defer cancel()
	now := time.Now()
	standing, err := g.fleet.Standing(ctx, refs, now)
	if err != nil {
		if ctx.Err() == nil || fault.Has(err, wire.Internal) {
			g.log.Error("the fleet could not be asked about attached agents", "err", err)
		}
		return
	}
	for _, a := range streams {
		st, known := standing[a.ref]
		if !known {
			st.Code = wire.AgentUnknown
		}
		g.obey(a, st, now)
	}
}

// obey does what the fleet says of a stream.
func (g *Gateway) obey(a *attached, st fleet.Standing, now time.Time) {
	switch {
	case st.Code != 0:
		g.log.Warn("agent not served any more", "tenant", a.scope.String(), "agent", a.id, "code", int(st.Code))
		a.end(farewell(st.Code))
		g.subscribe(a.room)
		return
	case st.Holder != a.stream.Stream:
		g.displaced(a, st.Serial)
		return
	}
	a.room.fail(a, st.Failing)
	if a.room.drain(a, st.Drained) {
		g.log.Info("agent drained or resumed", "tenant", a.scope.String(), "agent", a.id, "drained", st.Drained)
		g.subscribe(a.room)
	}
	if !st.RenewAfter.IsZero() && !now.Before(st.RenewAfter) && a.ordered.CompareAndSwap(false, true) {
		a.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Order{Order: &linkpb.Order{}}})
	}
	if at := st.Suspected; at.After(a.since) && a.doubted.Swap(at.UnixMilli()) != at.UnixMilli() {
		g.doubt(a)
	}
}

// sighting is a sign of life to be written down.
type sighting struct {
	scope tenant.Scope
	agent string
	fleet.Sighting
	left string // the stream that has ended; then the rest is empty
}

func sightingOf(hello *linkpb.Hello, address string, skew time.Duration) fleet.Sighting {
	return fleet.Sighting{Host: clip(hello.GetHost(), maxWords), OS: clip(hello.GetOs(), maxWords),
		Version: clip(hello.GetAgentVersion(), maxWords), Address: address, Skew: skew}
}

// sight hands a sighting to its writer, who may be too busy for it.
func (g *Gateway) sight(s sighting) {
	select {
	case g.seen <- s:
	default:
	}
}

// recordSightings is the one writer of sightings, so that no stream waits for the database.
func (g *Gateway) recordSightings(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-g.seen:
			ctx, cancel := context.WithTimeout(ctx, seenTimeout)
			err := g.writeDown(ctx, s)
			cancel()
			if err != nil && !fault.Has(err, wire.NotFound) && ctx.Err() == nil {
				g.log.Warn("an agent's last sign of life was not written down", "agent", s.agent, "err", err)
			}
		}
	}
}
