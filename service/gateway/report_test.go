package gateway

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

func TestWhenTheFleetIsTold(t *testing.T) {
	now := time.Now()
	bad := []string{"no domain controller"}
	for name, c := range map[string]struct {
		before written
		faults []string
		told   bool
		want   bool
	}{
		"never before":                {written{}, nil, false, true},
		"a moment ago":                {written{at: now.Add(-time.Second), told: true}, nil, true, false},
		"a minute ago":                {written{at: now.Add(-seenEvery), told: true}, nil, true, true},
		"the first report":            {written{at: now}, nil, true, true},
		"an agent that tells none":    {written{at: now}, nil, false, false},
		"news":                        {written{at: now.Add(-newsEvery), told: true}, bad, true, true},
		"good news":                   {written{at: now.Add(-newsEvery), told: true, faults: bad}, nil, true, true},
		"news upon news":              {written{at: now.Add(-newsEvery + 1), told: true}, bad, true, false},
		"as bad as before is no news": {written{at: now.Add(-newsEvery), told: true, faults: bad}, bad, true, false},
	} {
		if got := c.before.due(c.faults, c.told, now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What an agent says of itself is kept within bounds, whatever it says.
func TestReportsAreBounded(t *testing.T) {
	if reportOf(nil) != nil || reportOf(&linkpb.Heartbeat{InFlight: 3}) != nil {
		t.Error("an agent that tells nothing has told")
	}
	long := strings.Repeat("x\n", 10_000)
	h := &linkpb.Health{AgentVersion: long, UptimeMs: -1, Slots: math.MaxUint32, LastError: long, LastErrorUnixMs: 1}
	for range 1000 {
		h.Servers = append(h.Servers, &linkpb.DomainController{Address: long, State: long, MedianUs: math.MaxUint64})
	}
	h.Guard = &linkpb.Guard{State: long, Reserve: math.MaxUint32, Threshold: math.MaxUint32, StrictestThreshold: math.MaxUint32, Strictest: long, WindowMs: -1,
		DurationMs: math.MaxInt64, Objects: math.MaxUint32, Missing: slices.Repeat([]string{long}, 1000)}
	r := reportOf(&linkpb.Heartbeat{InFlight: math.MaxUint32, Health: h})
	if len(r.Version) > maxWords || len(r.LastError) > maxReportWords || len(r.Servers) != maxServers || r.Slots != MaxSlots || r.InFlight != MaxSlots || r.UptimeMS != 0 {
		t.Errorf("%+v", r)
	}
	if g := r.Guard; len(g.State) > maxState || g.Reserve != maxThreshold || g.Threshold != maxThreshold || g.Strictest != maxThreshold || len(g.StrictestOf) > maxWords ||
		g.WindowMS != 0 || g.DurationMS != maxSpanMS || g.Objects != maxThreshold || len(g.Missing) != maxServers ||
		len(g.Missing[0]) > maxWords {
		t.Errorf("%+v", g)
	}
	if d := r.Servers[0]; len(d.Address) > maxWords || len(d.State) > maxState || d.MedianUS != time.Hour.Microseconds() || strings.Contains(d.Address, "\n") {
		t.Errorf("%+v", d)
	}
}
