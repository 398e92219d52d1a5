package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// An agent opens a connection only when it has given up the one before, so two that are both alive have two holders: somebody has
// copied the identity. Whether a stream is alive is asked on the stream itself, with a nonce that was made after the other
// one came: a stream that a killed process or a lost network has left behind cannot answer, and ends quietly.
//
//	newer stream, higher number ──▶ admitted; the older one is asked ──answers──▶ both frozen
//	                                                                └─silence──▶ the older one ends
//	newer stream, used number ──▶ asked ──answers──▶ the one attached is asked ──answers──▶ both frozen
//	                              │                                            └─silence──▶ the newer is told: restored, or a copy
//	                              └─silence──▶ nothing: a late packet of a connection that was given up
//
// The meeting place of gateways is the agent's row, which names the stream that the agent came on last.

// displaced handles a stream whose agent has connected anew: on a renewal it leaves by itself, with time; else it is asked whether it is
// alive. serial is the certificate that is current.
func (g *Gateway) displaced(a *attached, serial string) {
	if !a.probing.CompareAndSwap(false, true) {
		return
	}
	a.room.leave(a, false)
	g.subscribe(a.room)
	switch {
	case !a.counts:
		a.end(farewell(wire.AgentReplaced))
	case serial != a.ref.Serial:
		time.AfterFunc(handOverWithin, func() { a.end(farewell(wire.AgentReplaced)) })
	default:
		go func() {
			if g.alive(a) {
				g.freeze(a, "its older connection, from "+a.address+", was alive when it connected again")
				return
			}
			a.end(farewell(wire.AgentReplaced))
		}()
	}
}

// doubt looks whether a stream is alive after somebody alive came with an older state of its agent.
func (g *Gateway) doubt(a *attached) {
	if !a.counts || !a.probing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		if g.alive(a) {
			g.freeze(a, "somebody came with an older copy of its identity while its connection, from "+a.address+", was alive")
			return
		}
		a.probing.Store(false)
	}()
}

// alive asks an agent whether it is at the other end of its stream.
func (g *Gateway) alive(a *attached) bool {
	nonce := []byte(rand.Text())
	if !a.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Probe{Probe: &linkpb.Probe{Nonce: nonce}}}) {
		return false
	}
	limit := time.NewTimer(probeWithin)
	defer limit.Stop()
	for {
		select {
		case got := <-a.probed:
			if bytes.Equal(got, nonce) {
				return true
			}
		case <-a.over:
			return false
		case <-limit.C:
			return false
		}
	}
}

// freeze ends the service to an identity that has two holders, and tells everybody.
func (g *Gateway) freeze(a *attached, why string) {
	ctx, cancel := context.WithTimeout(context.Background(), recheckTimeout)
	defer cancel()
	fresh, err := g.fleet.Quarantine(ctx, a.scope, a.id, fleet.Clone, why, time.Now())
	if err != nil {
		g.log.Error("an agent has two holders and could not be frozen", "tenant", a.scope.String(), "agent", a.id, "err", err)
		a.end(farewell(wire.AgentReplaced))
		return
	}
	a.end(farewell(wire.AgentQuarantined))
	if !fresh {
		return
	}
	g.metrics.alarms.WithLabelValues("clone").Inc()
	g.log.Error("an agent's identity has two holders; both are frozen", "tenant", a.scope.String(), "agent", a.id, "code", int(wire.AgentQuarantined),
		"address", a.address, "why", why)
	if err := g.queue.Announce(queue.Change{Tenant: a.scope.String(), Agent: a.id}); err != nil {
		g.log.Warn("fleet change not announced", "agent", a.id, "err", err)
	}
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

// alarmOlder tells of an agent that came with a used number or a replaced certificate. With a used number it is asked whether it is alive,
// and if so the stream that is attached is looked at too.
func (g *Gateway) alarmOlder(stream grpc.ServerStream, conn net.Conn, scope tenant.Scope, agent fleet.Agent, address string, err error) {
	code := fault.CodeOf(err)
	if code != wire.IdentityOlder && code != wire.CertificateSuperseded {
		return
	}
	kind := "superseded"
	if code == wire.IdentityOlder {
		kind = "older"
		if !answers(stream, conn) {
			return // the packet of a connection that was given up; it says nothing of anybody
		}
		if err := g.fleet.Suspect(stream.Context(), scope, agent.ID, time.Now()); err != nil && !fault.Has(err, wire.NotFound) {
			g.log.Error("a suspicion about an agent could not be written down", "agent", agent.ID, "err", err)
		}
		select {
		case g.kick <- struct{}{}:
		default:
		}
	}
	g.metrics.alarms.WithLabelValues(kind).Inc()
	g.log.Error("an agent came with an older state of its identity: reset to a snapshot, restored from a backup, or a copy",
		"tenant", scope.String(), "agent", agent.ID, "address", address, "code", int(code), "err", err)
}

// answers asks an agent that is not attached whether it is alive; who is silent is cut off.
func answers(stream grpc.ServerStream, conn net.Conn) bool {
	nonce := []byte(rand.Text())
	if stream.SendMsg(&linkpb.ToAgent{Message: &linkpb.ToAgent_Probe{Probe: &linkpb.Probe{Nonce: nonce}}}) != nil {
		return false
	}
	limit := time.AfterFunc(probeWithin, func() { _ = conn.Close() })
	defer limit.Stop()
	var m linkpb.FromAgent
	return stream.RecvMsg(&m) == nil && bytes.Equal(m.GetProbed().GetNonce(), nonce)
}

// skewOf is how far our clock is ahead of the one that an agent told, the way of the message included; 0 when it told none.
func skewOf(unixMS int64, now time.Time) time.Duration {
	if unixMS <= 0 {
		return 0
	}
	return now.Sub(time.UnixMilli(unixMS))
}

// tolerable is the rule of clocks: an agent further off could open no envelope.
func tolerable(skew time.Duration) bool { return skew.Abs() <= maxSkew }

// beat handles a heartbeat.
func (g *Gateway) beat(a *attached, h *linkpb.Heartbeat) {
	if h.GetUnixMs() > 0 {
		skew := skewOf(h.GetUnixMs(), time.Now())
		a.skew.Store(skew.Milliseconds())
		if !tolerable(skew) {
			g.log.Warn("agent's clock is off", "tenant", a.scope.String(), "agent", a.id, "clock_skew", skew.Round(time.Millisecond))
			g.sight(sighting{scope: a.scope, agent: a.id, Sighting: sightingOf(a.hello, a.address, skew)})
			a.end(farewell(wire.ClockSkew))
			return
		}
	}
	if r := reportOf(h); r != nil {
		a.report.Store(r)
		a.room.hear(a, r.Latency(), !r.Serves())
	}
	g.note(a)
}
