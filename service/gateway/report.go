package gateway

import (
	"context"
	"slices"
	"time"

	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// written is what the fleet was last told of an agent, and when.
type written struct {
	at     time.Time
	faults []string
	told   bool   // there was a report
	wrong  string // how directory and service lock in the wrong order; "" for not
}

// due is the rule of when the fleet is told how an agent does: once in a while, and sooner when something is wrong that was not, or
// the other way round. An agent's first report is news, too.
func (w written) due(faults []string, told bool, now time.Time) bool {
	since := now.Sub(w.at)
	return since >= seenEvery || told && !w.told || since >= newsEvery && !slices.Equal(faults, w.faults)
}

// reportOf takes from a heartbeat what is kept of it, within bounds; nil from agents that tell nothing.
func reportOf(h *linkpb.Heartbeat) *fleet.Report {
	told := h.GetHealth()
	if told == nil {
		return nil
	}
	r := &fleet.Report{Version: clip(told.GetAgentVersion(), maxWords), UptimeMS: max(told.GetUptimeMs(), 0), Slots: int(min(told.GetSlots(), MaxSlots)),
		InFlight: int(min(h.GetInFlight(), MaxSlots)), LastError: clip(told.GetLastError(), maxReportWords)}
	if ms := told.GetLastErrorUnixMs(); ms > 0 && r.LastError != "" {
		r.LastErrorAt = time.UnixMilli(ms).UTC()
	}
	if g := told.GetGuard(); g != nil {
		r.Guard = guardOf(g)
	}
	for i, d := range told.GetServers() {
		if i == maxServers {
			break
		}
		r.Servers = append(r.Servers, fleet.ServerReport{Address: clip(d.GetAddress(), maxWords), State: clip(d.GetState(), maxState),
			MedianUS: int64(min(d.GetMedianUs(), uint64(time.Hour.Microseconds())))})
	}
	return r
}

func guardOf(g *linkpb.Guard) *fleet.GuardReport {
	span := func(ms int64) int64 { return min(max(ms, 0), maxSpanMS) }
	out := &fleet.GuardReport{State: clip(g.GetState(), maxState), Reserve: int(min(g.GetReserve(), maxThreshold)), Known: g.GetKnown(),
		Threshold: int(min(g.GetThreshold(), maxThreshold)), WindowMS: span(g.GetWindowMs()), DurationMS: span(g.GetDurationMs()),
		Strictest: int(min(g.GetStrictestThreshold(), maxThreshold)), StrictestOf: clip(g.GetStrictest(), maxWords),
		Objects: int(min(g.GetObjects(), maxThreshold))}
	for i, what := range g.GetMissing() {
		if i == maxServers {
			break
		}
		out.Missing = append(out.Missing, clip(what, maxWords))
	}
	return out
}

// note has it written down that an agent lives and how it does, seldom enough not to be a load.
func (g *Gateway) note(a *attached) {
	now, report := time.Now(), a.report.Load()
	skew := time.Duration(a.skew.Load()) * time.Millisecond
	next := written{at: now, told: report != nil}
	if report != nil {
		next.faults = fleet.Faults(*report, skew, fleet.Probe{})
		if next.wrong = report.Guard.Misordered(g.threshold); next.wrong != "" {
			next.faults = append(next.faults, next.wrong) // no fault of the agent, and news all the same
		}
	}
	g.mu.Lock()
	before := g.sighted[a.id]
	due := g.agents[a.id] == a && before.due(next.faults, next.told, now)
	if due {
		g.sighted[a.id] = next
	}
	g.mu.Unlock()
	if due && next.wrong != "" && next.wrong != before.wrong {
		g.log.Warn("a directory locks accounts before the service does", "code", int(wire.LockoutMisordered), "agent", a.id, "tenant", a.scope.String(),
			"reason", next.wrong)
	}
	if due {
		s := sighting{scope: a.scope, agent: a.id, Sighting: sightingOf(a.hello, a.address, skew)}
		s.Attached, s.Report = true, report
		g.sight(s)
	}
}

// writeDown tells the fleet.
func (g *Gateway) writeDown(ctx context.Context, s sighting) error {
	if s.left != "" {
		return g.fleet.Left(ctx, s.scope, s.agent, s.left, time.Now())
	}
	return g.fleet.Seen(ctx, s.scope, s.agent, s.Sighting, time.Now())
}
