package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/wire"
)

// reasons are the verdicts, and troubles and refusals the numbers that a check can end with without one. They are shown as 0 from
// the start: the increase of a counter that appears with its first event is not seen.
var (
	reasons = []wire.Reason{wire.Accepted, wire.BadPassword, wire.NoSuchUser, wire.AccountLocked, wire.AccountRestricted, wire.AccountDisabled,
		wire.AccountExpired, wire.PasswordExpired, wire.MustChange, wire.LogonHours, wire.Workstation, wire.TooManyGroups}
	troubles = []wire.Code{wire.DirectoryUnreachable, wire.DirectoryTimeout, wire.DirectoryUnusable, wire.AgentTooSlow, wire.TransientNetwork,
		wire.ClockSkew, wire.AgentRefused, wire.AgentRateLimited, wire.PasswordUnusable, wire.LockoutSpared, wire.AccountProtected,
		wire.AccountLockedOut, wire.NameAmbiguous, wire.NameNotLookedUp, wire.HostCredulous, wire.Internal}
	refusals = []wire.Code{wire.EnvelopeStale, wire.EnvelopeReplayed, wire.EnvelopeForeign, wire.EnvelopeUnreadable, wire.AgentRateLimited,
		wire.PasswordUnusable, wire.AgentRefused, wire.Internal}
	outcomes = []Outcome{Right, Wrong, NotAccepted, Trouble, Refused}
)

// metrics are the agent's numbers for Prometheus. Labels hold verdicts, numbers of the catalogue and domain controllers; never names.
type metrics struct {
	checks, errors *prometheus.CounterVec
	took, bind     *prometheus.HistogramVec
}

func newMetrics() *metrics {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "sallyport", Subsystem: "agent", Name: name, Help: help}
	}
	// From a domain controller in the next rack to the longest bind that is waited for (6 s) and the longest check (12 s).
	buckets := []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10}
	histogram := func(name, help, label string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "sallyport", Subsystem: "agent", Name: name, Help: help, Buckets: buckets}, []string{label})
	}
	m := &metrics{
		checks: prometheus.NewCounterVec(opts("checks_total", "Checks that the directory judged, by its verdict."), []string{"verdict"}),
		errors: prometheus.NewCounterVec(opts("errors_total", "Checks without a verdict, by kind (trouble, refused) and number of the catalogue."), []string{"kind", "code"}),
		took:   histogram("check_duration_seconds", "From an envelope's arrival to its answer, by outcome.", "outcome"),
		bind:   histogram("directory_duration_seconds", "From the password's sending to the domain controller's answer.", "dc"),
	}
	for _, r := range reasons {
		m.checks.WithLabelValues(string(r))
	}
	for _, c := range troubles {
		m.errors.WithLabelValues(string(Trouble), c.String())
	}
	for _, c := range refusals {
		m.errors.WithLabelValues(string(Refused), c.String())
	}
	for _, o := range outcomes {
		m.took.WithLabelValues(string(o))
	}
	return m
}

func (m *metrics) add(f Finished, took, bind time.Duration) {
	switch f.Outcome {
	case Trouble, Refused:
		m.errors.WithLabelValues(string(f.Outcome), f.Code.String()).Inc()
	default:
		m.checks.WithLabelValues(f.Reason).Inc()
	}
	m.took.WithLabelValues(string(f.Outcome)).Observe(took.Seconds())
	if bind > 0 {
		m.bind.WithLabelValues(f.DC).Observe(bind.Seconds())
	}
}

// gatherer has the counters, what a status says in gauges, and the Go runtime's and the process's own numbers. These the library
// registers by itself; its package for choosing them would link database/sql into the agent.
func (a *Agent) gatherer() prometheus.Gatherer {
	m := a.answerer.metrics
	for _, s := range a.Status(time.Now()).Servers {
		if !s.Found { // one that DNS names is none before it has answered: anybody may name endless ones
			m.bind.WithLabelValues(s.Address)
		}
	}
	r := prometheus.NewRegistry()
	r.MustRegister(m.checks, m.errors, m.took, m.bind, gauges{a})
	return prometheus.Gatherers{r, prometheus.DefaultGatherer}
}

// gauges shows the agent's status as numbers.
type gauges struct{ a *Agent }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sallyport_agent_"+name, help, labels, nil)
}

var (
	attachedDesc    = describe("attached", "1 while the agent has a stream to its gateway and can be given checks.")
	reconnectsDesc  = describe("reconnects_total", "Streams to the gateway that ended, and after which the agent came back or tries to.")
	failuresDesc    = describe("connect_failures_total", "Tries to reach the gateway that failed before a stream was there.")
	inFlightDesc    = describe("in_flight", "Checks being worked on.")
	slotsDesc       = describe("slots", "How many checks the agent works on at once.")
	skewDesc        = describe("clock_skew_seconds", "How far the gateway's clock was ahead of this host's when the agent attached.")
	certificateDesc = describe("certificate_expiry_timestamp_seconds", "When the agent's certificate ends, in Unix time.")
	servingDesc     = describe("domain_controller_serving", "1 while checks go to this domain controller, 0 while it is down or untried.", "dc")
	guardDesc       = describe("lockout_guard_reading", "1 while the lockout guard reads all that it needs, 0 while part of it or nothing; absent without a reader account.")
	connectionsDesc = describe("domain_controller_connections", "Live connections to this domain controller.", "dc", "state")
)

// Describe is called by Prometheus.
func (g gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{attachedDesc, reconnectsDesc, failuresDesc, inFlightDesc, slotsDesc, skewDesc, certificateDesc, servingDesc, guardDesc, connectionsDesc} {
		to <- d
	}
}

// Collect is called by Prometheus at each look.
func (g gauges) Collect(to chan<- prometheus.Metric) {
	now := time.Now()
	s := g.a.Status(now)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, n uint64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	gauge(attachedDesc, oneIf(s.Attached(now)))
	counter(reconnectsDesc, s.Link.Reconnects)
	counter(failuresDesc, s.Link.Failures)
	gauge(inFlightDesc, float64(s.Link.InFlight))
	gauge(slotsDesc, float64(s.Link.Slots))
	gauge(skewDesc, float64(s.Link.SkewMS)/1000)
	gauge(certificateDesc, float64(s.Certificate.Unix()))
	if g := s.Guard; g != nil && g.State != ldap.GuardOff {
		gauge(guardDesc, oneIf(g.State == ldap.GuardReading))
	}
	for _, d := range s.Servers {
		gauge(servingDesc, oneIf(d.State == ldap.Serving), d.Address)
		gauge(connectionsDesc, float64(d.Idle), d.Address, "idle")
		gauge(connectionsDesc, float64(d.InUse), d.Address, "in_use")
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
