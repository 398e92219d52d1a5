package gateway_test

import (
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// TestHeartbeatsReachTheFleet: what an agent says of itself is in the fleet at once when it matters, and so is its end; an agent that
// says nothing of itself is well as long as it is there.
func TestHeartbeatsReachTheFleet(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	condition := func(id string, at time.Time) fleet.Condition {
		row := fatal(w.fleet.ByID(t.Context(), w.scope, id))(t)
		c, _ := fleet.Judge(fatal(w.fleet.Healths(t.Context(), w.scope))(t)[id].Of(row), at)
		return c
	}
	for name, c := range map[string]struct {
		beat *linkpb.Heartbeat
		want fleet.Condition
	}{
		"mute": {&linkpb.Heartbeat{InFlight: 1}, fleet.Well},
		"well": {&linkpb.Heartbeat{Health: &linkpb.Health{Servers: []*linkpb.DomainController{{Address: "dc1:636", State: "serving", MedianUs: 900}}}}, fleet.Well},
		"ill":  {&linkpb.Heartbeat{Health: &linkpb.Health{Servers: []*linkpb.DomainController{{Address: "dc1:636", State: "down"}}}}, fleet.Degraded},
	} {
		m := w.register(d, name)
		n := w.near(m)
		n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Hello{Hello: &linkpb.Hello{ProtocolVersion: 2, Slots: 1, UnixMs: time.Now().UnixMilli(), Counter: 1}}})
		if n.recv().GetWelcome() == nil {
			t.Fatal(name, "is not welcome")
		}
		n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Heartbeat{Heartbeat: c.beat}})
		id := m.answer.AgentID
		until(t, name+" in the fleet", func() bool { return condition(id, time.Now()) == c.want })
		_ = n.conn.Close()
		until(t, name+" to be gone", func() bool { return condition(id, time.Now().Add(time.Minute)) == fleet.Inactive })
	}
}
