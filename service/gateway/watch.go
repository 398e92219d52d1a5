package gateway

import (
	"context"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
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
	refs := make([]fleet.AgentRef, 0, len(g.agents))
	for _, a := range g.agents {
		refs = append(refs, a.ref)
	}
	g.mu.Unlock()
	if len(refs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, recheckTimeout)
	defer cancel()
	standing, err := g.fleet.Standing(ctx, refs, time.Now())
	if err != nil {
		if ctx.Err() == nil || fault.Has(err, wire.Internal) {
			g.log.Error("the fleet could not be asked about attached agents", "err", err)
		}
		return
	}
	for _, ref := range refs {
		code, known := standing[ref]
		if !known {
			code = wire.AgentUnknown
		}
		if code == 0 {
			continue
		}
		g.mu.Lock()
		a := g.agents[ref.Agent]
		g.mu.Unlock()
		if a != nil && a.ref == ref {
			g.log.Warn("agent not served any more", "tenant", a.scope.String(), "agent", a.id, "code", int(code))
			a.end(farewell(code))
			g.subscribe(a.room)
		}
	}
}

// sighting is a sign of life to be written down.
type sighting struct {
	scope                            tenant.Scope
	agent, host, os, version, remote string
}

// note writes down that an agent lives, seldom enough not to be a load.
func (g *Gateway) note(a *attached) {
	now := time.Now()
	g.mu.Lock()
	due := now.Sub(g.sighted[a.id]) >= seenEvery
	if due {
		g.sighted[a.id] = now
		if len(g.sighted) > 2*len(g.agents)+seenBuffer {
			for id := range g.sighted {
				if _, here := g.agents[id]; !here {
					delete(g.sighted, id)
				}
			}
		}
	}
	g.mu.Unlock()
	if !due {
		return
	}
	select {
	case g.seen <- sighting{a.scope, a.id, clip(a.hello.GetHost(), maxWords), clip(a.hello.GetOs(), maxWords),
		clip(a.hello.GetAgentVersion(), maxWords), a.address}:
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
			err := g.fleet.Seen(ctx, s.scope, s.agent, s.host, s.os, s.version, s.remote, time.Now())
			cancel()
			if err != nil && !fault.Has(err, wire.NotFound) && ctx.Err() == nil {
				g.log.Warn("an agent's last sign of life was not written down", "agent", s.agent, "err", err)
			}
		}
	}
}
