package gateway_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/gateway"
	"github.com/sallyport-auth/sallyport/wire"
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

// lockedLog is a log that a test reads while it is written.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A directory that locks before the service does is said in the log, once, whatever else the agent reports.
func TestLockoutTheWrongWayRound(t *testing.T) {
	w := newWorld(t)
	var log lockedLog
	d := w.gateway(w.queue(""), func(c *gateway.Config) {
		c.LockoutThreshold, c.Logger = 4, slog.New(slog.NewJSONHandler(&log, nil))
	})
	m := w.register(d, "agent")
	n := w.near(m)
	n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Hello{Hello: &linkpb.Hello{ProtocolVersion: 2, Slots: 1, UnixMs: time.Now().UnixMilli(), Counter: 1}}})
	if n.recv().GetWelcome() == nil {
		t.Fatal("not welcome")
	}
	for range 3 {
		n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Heartbeat{Heartbeat: &linkpb.Heartbeat{Health: &linkpb.Health{Guard: &linkpb.Guard{State: "reading", Known: true,
			Threshold: 10, StrictestThreshold: 4, Strictest: "password settings object strict"}}}}})
	}
	until(t, "the guard in the fleet", func() bool {
		g := fatal(w.fleet.Healths(t.Context(), w.scope))(t)[m.answer.AgentID].Report.Guard
		return g != nil && g.Strictest == 4 && g.Threshold == 10
	})
	if said := strings.Count(log.String(), `"code":`+wire.LockoutMisordered.String()); said != 1 || !strings.Contains(log.String(), "password settings object strict") {
		t.Errorf("said %d times: %s", said, log.String())
	}
}
