package gateway

import (
	"context"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// prove judges which domain an agent's domain controllers serve. Asks wait for an agent whose first proof is still to come. One that serves
// another domain than its directory's is sent away. One whose domain controllers are silent is offered checks, and answers them with that:
// it asks nobody before a proof of it was accepted.
func (g *Gateway) prove(ctx context.Context, a *attached, p *linkpb.Proof) {
	if code := p.GetCode(); code != 0 {
		g.log.Warn("no domain controller tells an agent which domain it is", "tenant", a.scope.String(), "agent", a.id, "code", code, "reason", clip(p.GetDetail(), maxWords))
		a.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Proven{Proven: &linkpb.Proven{}}})
		g.unhold(a)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	pin, err := g.fleet.Prove(ctx, a.scope, a.id, fleet.Proof{NamingContext: p.GetNamingContext(), Forest: p.GetForest(), GUID: p.GetDomainGuid(),
		SID: p.GetDomainSid(), DC: p.GetDc()}, time.Now())
	switch {
	case fault.Has(err, wire.DirectoryForeign):
		g.metrics.refused.WithLabelValues(wire.DirectoryForeign.String()).Inc()
		g.log.Error("an agent serves another domain than its directory's", "tenant", a.scope.String(), "agent", a.id, "address", a.address, "err", err)
		a.end(farewell(wire.DirectoryForeign))
		g.subscribe(a.room)
		return
	case err != nil:
		if ctx.Err() == nil || fault.Has(err, wire.Internal) {
			g.log.Error("an agent's proof of its directory could not be judged", "tenant", a.scope.String(), "agent", a.id, "err", err)
		}
		a.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Proven{Proven: &linkpb.Proven{}}}) // it will ask again
		return
	}
	a.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Proven{Proven: &linkpb.Proven{Accepted: true, NamingContext: pin.NamingContext, Forest: pin.Forest,
		DomainGuid: pin.GUID, DomainSid: pin.SID}}})
	g.unhold(a)
}

func (g *Gateway) unhold(a *attached) {
	if a.room.unhold(a) {
		g.log.Debug("agent is offered checks", "tenant", a.scope.String(), "agent", a.id)
	}
}
