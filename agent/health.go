package agent

import (
	"time"

	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// health is what the service is told with each heartbeat.
func (a *Agent) health() *linkpb.Health { return healthOf(a.Status(time.Now())) }

// healthOf says of a status what the service needs to choose among agents and to show how they do. Names of persons are in none of it.
func healthOf(s Status) *linkpb.Health {
	h := &linkpb.Health{AgentVersion: s.Version, UptimeMs: s.Written.Sub(s.Started).Milliseconds(), Slots: uint32(s.Link.Slots)}
	var last time.Time
	newest := func(at time.Time, what string) {
		if what != "" && at.After(last) {
			last, h.LastError, h.LastErrorUnixMs = at, line(what, maxDetail), at.UnixMilli()
		}
	}
	for i, d := range s.Servers {
		newest(d.LastErrorAt, d.Address+": "+d.LastError)
		if i >= maxServersTold {
			continue
		}
		told := &linkpb.DomainController{Address: d.Address, State: string(d.State)}
		if d.Latency != nil {
			told.MedianUs = uint64(d.Latency.MedianMS * 1000)
		}
		h.Servers = append(h.Servers, told)
	}
	if d := s.DNS; d != nil && d.LastError != "" {
		newest(d.LastErrorAt, "DNS of "+d.Domain+": "+d.LastError)
	}
	if g := s.Guard; g != nil {
		newest(g.LastErrorAt, g.LastError)
		// How many attempts it did not spend is left out: whoever has a gateway and types names would see which of them are protected.
		h.Guard = &linkpb.Guard{State: string(g.State), Reserve: uint32(g.Reserve), Objects: uint32(g.Objects)}
		for _, what := range g.Missing[:min(len(g.Missing), maxMissingTold)] {
			h.Guard.Missing = append(h.Guard.Missing, line(what, maxName))
		}
		if g.Domain != nil && g.Strictest != nil {
			h.Guard.Known, h.Guard.Threshold = true, uint32(g.Domain.Threshold)
			h.Guard.WindowMs, h.Guard.DurationMs = g.Domain.WindowMS, g.Domain.DurationMS
			h.Guard.StrictestThreshold, h.Guard.Strictest = uint32(g.Strictest.Threshold), g.Strictest.Source
		}
	}
	for _, f := range s.Recent {
		// What lies with one account is no failure; and the gateway, which passes this on, is not to learn of which names it came.
		if f.Outcome == Trouble && !ofAnAccount(f.Code) {
			newest(f.At, wire.Code(f.Code).String()+" "+f.Reason)
		}
	}
	return h
}
