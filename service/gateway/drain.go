package gateway

import (
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// drain takes no more work and sees the agents off: half of every room first, so that they are attached elsewhere, and asked
// there, before the others go. Without that, a gateway that happens to hold all agents of a directory would leave its people
// with none until the first is back. within bounds the wait for checks in flight; 0 is for an end that was not ordered.
func (g *Gateway) drain(within time.Duration) {
	g.mu.Lock()
	g.draining = true
	rooms := make([]*room, 0, len(g.rooms))
	for _, r := range g.rooms {
		rooms = append(rooms, r)
	}
	agents := make([]*attached, 0, len(g.streams))
	for a := range g.streams {
		agents = append(agents, a)
	}
	if len(agents) == 0 {
		g.closeEmpty()
	}
	g.mu.Unlock()
	g.log.Info("draining", "agents", len(agents))
	spread := time.Second + time.Duration(len(agents))*time.Second/comeBackRate
	if !g.alone && within > 0 {
		first := 0
		for _, r := range rooms {
			half := r.halve()
			first += len(half)
			g.seeOff(half, spread)
		}
		if first > 0 {
			limit := time.NewTimer(comeBackMin + spread + attachTime)
			defer limit.Stop()
			<-limit.C
		}
	}
	for _, r := range rooms {
		r.close()
		g.subscribe(r)
	}
	g.seeOff(slices.DeleteFunc(slices.Clone(agents), func(a *attached) bool { return !a.room.dismiss(a) }), spread)
	limit := time.NewTimer(within)
	defer limit.Stop()
	select {
	case <-g.empty:
	case <-limit.C:
		g.log.Warn("checks cut off at the end of draining")
		for _, a := range agents {
			a.end(farewell(wire.GatewayDraining))
		}
	}
}

// seeOff tells agents, which get no new work any more, to come back elsewhere. Those who have nothing in flight go at once.
func (g *Gateway) seeOff(agents []*attached, spread time.Duration) {
	for _, a := range agents {
		pause := comeBackMin + mathrand.N(spread)
		a.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Drain{Drain: &linkpb.Drain{
			ComeBackMs: uint32(pause.Milliseconds()), Reason: "the gateway is going away"}}})
		if a.room.idle(a) {
			a.end(nil)
		}
	}
}
