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
	for _, f := range s.Recent {
		if f.Outcome == Trouble {
			newest(f.At, wire.Code(f.Code).String()+" "+f.Reason)
		}
	}
	return h
}
