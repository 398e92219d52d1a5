package fleet

import (
	"fmt"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// Condition is how an agent does, as people are shown it: what [State] an administrator or a quarantine has put it in, and
// otherwise how well it works.
type Condition string

// The conditions. A state that has no condition of its own is shown as it is called.
const (
	Well         Condition = "active"   // it is asked, and nothing is wrong
	Degraded     Condition = "degraded" // it is asked, and something is wrong
	Draining     Condition = "draining" // no new checks; some are in flight still
	DoneDraining Condition = "drained"
	Inactive     Condition = "inactive" // it has no stream
)

// Report is what an agent said of itself with a heartbeat, and how many checks its gateway has given it. The zero value is that of
// an agent that tells nothing.
type Report struct {
	Version  string         `json:"version,omitempty"`
	UptimeMS int64          `json:"uptime_ms,omitempty"`
	Slots    int            `json:"slots,omitempty"`
	InFlight int            `json:"in_flight,omitempty"`
	Servers  []ServerReport `json:"servers,omitempty"`
	// LastError stays after things are well again.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// Guard is nil from agents that have none.
	Guard *GuardReport `json:"guard,omitempty"`
}

// GuardReport is how an agent's lockout guard stands, and what it read of the directory's lockout policy.
type GuardReport struct {
	// State is "off", "untried", "reading", "partial" or "refused".
	State   string `json:"state"`
	Reserve int    `json:"reserve,omitempty"`
	// Known says that the domain's policy was read. Threshold is its, Strictest the lowest that was read anywhere, StrictestOf where it stands; 0
	// never locks.
	Known       bool     `json:"known,omitempty"`
	Threshold   int      `json:"threshold,omitempty"`
	WindowMS    int64    `json:"window_ms,omitempty"`
	DurationMS  int64    `json:"duration_ms,omitempty"`
	Strictest   int      `json:"strictest,omitempty"`
	StrictestOf string   `json:"strictest_of,omitempty"`
	Objects     int      `json:"objects,omitempty"`
	Missing     []string `json:"missing,omitempty"`
}

// Misordered is the rule of two lockouts: it says what is wrong when the directory locks after no more wrong passwords than the service, whose
// threshold is given, sends there; "" when nothing is, or nothing is known. Nil is allowed.
func (g *GuardReport) Misordered(service int) string {
	if g == nil || !g.Known || g.Strictest <= 0 || service < g.Strictest {
		return ""
	}
	return fmt.Sprintf("the directory locks after %d wrong passwords (%s), the service after %d: its lockout.threshold has to be below", g.Strictest, g.StrictestOf, service)
}

// ServerReport is how a domain controller stands, seen by an agent: State is "serving", "down" or "untried"; MedianUS, the
// microseconds of a bind, is 0 before the first.
type ServerReport struct {
	Address  string `json:"address"`
	State    string `json:"state"`
	MedianUS int64  `json:"median_us,omitempty"`
}

// Serves reports whether a check may reach a domain controller: not when all are down. An agent that names none is believed to.
func (r Report) Serves() bool {
	for _, s := range r.Servers {
		if s.State != serverDown {
			return true
		}
	}
	return len(r.Servers) == 0
}

// Latency is how long the domain controller that is used first takes for a bind; 0 when that is not known.
func (r Report) Latency() time.Duration {
	for _, s := range r.Servers {
		if s.State != serverDown {
			return time.Duration(s.MedianUS) * time.Microsecond
		}
	}
	return 0
}

// Probe is how the newest probes of an agent with the directory's canary went. The zero value is that of one that was not probed.
type Probe struct {
	At time.Time
	// Took is how long the newest lasted, from the ask to the verdict.
	Took time.Duration
	// Code is what was wrong with it; 0 for nothing.
	Code   wire.Code
	Detail string
	// Failures is how many have failed in a row, the newest included; a failure that leaves no doubt counts as many.
	Failures int
}

// Facts is all that [Judge] decides from.
type Facts struct {
	State State
	// Reported is when a gateway last wrote that the agent has a stream, Gone when the stream ended; zero for never.
	Reported, Gone time.Time
	// Skew is how far the service's clock is ahead of the agent's.
	Skew   time.Duration
	Report Report
	Probe  Probe
}

// Judge is the rule of an agent's condition, and says why it is not [Well]. An agent that was away for less than a moment has
// not been away.
func Judge(f Facts, now time.Time) (c Condition, reason string) {
	switch {
	case f.State != Active && f.State != Drained:
		return Condition(f.State), ""
	case f.Reported.IsZero():
		return Inactive, "it has never attached"
	case !f.Gone.IsZero() && now.Sub(f.Gone) >= goneAfter:
		return Inactive, "its stream ended at " + f.Gone.UTC().Format(time.RFC3339)
	case now.Sub(f.Reported) >= silentAfter:
		return Inactive, "nothing was heard of it since " + f.Reported.UTC().Format(time.RFC3339)
	case f.State == Drained && f.Report.InFlight > 0:
		return Draining, fmt.Sprintf("%d checks in flight", f.Report.InFlight)
	case f.State == Drained:
		return DoneDraining, ""
	}
	if faults := Faults(f.Report, f.Skew, f.Probe); len(faults) > 0 {
		return Degraded, strings.Join(faults, "; ")
	}
	return Well, ""
}

// Faults says what is wrong with an agent that is attached, the worst first; nothing when it is well.
func Faults(r Report, skew time.Duration, p Probe) (faults []string) {
	var down []string
	for _, s := range r.Servers {
		if s.State == serverDown {
			down = append(down, s.Address)
		}
	}
	switch {
	case !r.Serves():
		faults = append(faults, "no domain controller answers: "+strings.Join(down, ", "))
	case len(down) > 0:
		faults = append(faults, "domain controllers down: "+strings.Join(down, ", "))
	}
	if took := r.Latency(); took >= slowServer {
		faults = append(faults, fmt.Sprintf("its domain controller takes %v for an answer", took.Round(10*time.Millisecond)))
	}
	if p.Failures >= probesFailed {
		faults = append(faults, fmt.Sprintf("probes fail: %d %s", p.Code, p.Detail))
	}
	if skew.Abs() >= skewed {
		faults = append(faults, fmt.Sprintf("its clock is off by %v", skew.Round(time.Second)))
	}
	return faults
}

// told reports whether a change of condition is worth a line in an agent's history: what an administrator or a quarantine did has
// one of its own.
func told(before, after Condition) bool {
	bad := func(c Condition) bool { return c == Degraded || c == Inactive }
	return before != after && before != "" && (bad(after) || bad(before) && after == Well)
}
