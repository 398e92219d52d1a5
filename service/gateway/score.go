package gateway

import (
	"slices"
	"time"
)

// Who is asked next is decided by what an answer of each agent costs in time. Every agent has a clock of its own, which each check
// that it is given puts forward by its cost; the one whose clock is furthest behind is next. So an agent whose domain controller takes
// ten times as long gets a tenth, and equal agents get equal shares, however few or many checks there are. What is in flight counts on
// top, since a clock knows nothing of an agent that stopped answering a moment ago.

// load is what the choice knows of one agent.
type load struct {
	// measured is how long its answers took, smoothed; told what it says of its domain controller itself. 0: unknown.
	measured, told time.Duration
	// used counts its checks and reservations; stalled is since when it has had some without ending one, zero without any.
	used    int
	stalled time.Time
	// clock is the agent's own.
	clock time.Duration
	// deaf says that no domain controller answers it, failing that probes of it fail.
	deaf, failing bool
}

// ailing reports whether a check is likely to fail: such an agent is asked when nobody else could be.
func (l load) ailing() bool { return l.deaf || l.failing }

// raw is the time that an answer of the agent takes, as far as that is known: of one that does not answer, at least the time for which
// it has not. 0 means unknown.
func (l load) raw(now time.Time) time.Duration {
	t := l.measured
	if t == 0 {
		t = l.told
	}
	if l.used > 0 && !l.stalled.IsZero() {
		t = max(t, now.Sub(l.stalled))
	}
	return t
}

// costs is the rule of what a check costs with each of the agents that could be asked. One that seems faster than half of the
// others' middle counts as that fast: a stolen agent that answers out of its head must not draw all checks to itself. One that seems slower
// than many times the middle counts as that slow, so that it is still tried, and noticed when it has recovered. Unknown ones are
// taken for ordinary.
func costs(all []load, now time.Time) []time.Duration {
	out := make([]time.Duration, len(all))
	known := make([]time.Duration, 0, len(all))
	for i, l := range all {
		if out[i] = l.raw(now); out[i] > 0 {
			known = append(known, out[i])
		}
	}
	middle := leastCost
	if len(known) > 0 {
		slices.Sort(known)
		middle = max(known[(len(known)-1)/2], leastCost)
	}
	for i := range out {
		if out[i] == 0 {
			out[i] = middle
		}
		out[i] = min(max(out[i], middle/2, leastCost), middle*slowest)
	}
	return out
}

// start is the moment on the room's clock at which a check given to the agent would begin: it cannot save up turns while it is full,
// away or new.
func start(l load, cost, room time.Duration) time.Duration { return max(l.clock, room-cost) }

// score is what the least of is asked.
func score(l load, cost, room time.Duration) time.Duration {
	return start(l, cost, room) + cost*time.Duration(l.used)
}

// smoothed is the measured time after one more answer.
func smoothed(before, took time.Duration) time.Duration {
	if before == 0 {
		return took
	}
	return before + (took-before)/smoothing
}

// hopeless is the rule of shedding: whether an ask with ahead others before it, each of which takes cost at one of slots places, is
// sure not to have its turn within left. It errs on the side of waiting.
func hopeless(ahead, slots int, cost, left time.Duration) bool {
	return slots > 0 && time.Duration(ahead/slots)*cost > left
}
