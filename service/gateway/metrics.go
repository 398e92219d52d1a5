package gateway

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-auth/sallyport/wire"
)

// metrics are the gateway's numbers. Labels are from small fixed sets, never ids.
type metrics struct {
	asks, deliveries, refused, registrations, renewals, alarms *prometheus.CounterVec
}

// newMetrics registers the numbers; with a nil registerer they are counted and not shown.
func newMetrics(r prometheus.Registerer, g *Gateway) (*metrics, error) {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "sallyport", Subsystem: "gateway", Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string, f func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "sallyport", Subsystem: "gateway", Name: name, Help: help},
			func() float64 { return float64(f()) })
	}
	m := &metrics{
		asks:          counter("asks_total", "Asks answered, by outcome: offered, no_agent, line_full (turned away at once), waited_in_vain.", "outcome"),
		deliveries:    counter("deliveries_total", "Checks handled, by outcome: answered, refused, lost, fence_denied, given_up, no_slot, repeated.", "outcome"),
		refused:       counter("refused_agents_total", "Streams refused at attach, by the number in the catalogue.", "code"),
		registrations: counter("registrations_total", "Registrations, by the number in the catalogue; 0 is success.", "code"),
		renewals:      counter("renewals_total", "Renewals of agents' certificates, by the number in the catalogue; 0 is success.", "code"),
		alarms:        counter("identity_alarms_total", "Identities that look copied, by kind: clone (two live holders, frozen), older (a used number), superseded (a replaced certificate).", "kind"),
	}
	m.begin()
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.asks, m.deliveries, m.refused, m.registrations, m.renewals, m.alarms,
		gauge("attached_agents", "Agents with a stream to this gateway.", func() int {
			g.mu.Lock()
			defer g.mu.Unlock()
			return len(g.agents)
		}),
		gauge("slots_in_use", "Slots of agents that are reserved or have a check in flight.", func() int { used, _ := g.load(); return used }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "sallyport", Subsystem: "gateway", Name: "agent_certificate_expiry_timestamp_seconds",
			Help: "When the first certificate of an attached agent ends, in Unix time; 0 when no agent is attached."}, g.firstExpiry),
		gauge("line_length", "Asks that wait for a free slot.", func() int { _, line := g.load(); return line }),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("gateway: registering metrics: %w", err)
		}
	}
	return m, nil
}

// begin shows what an alert may wait for as 0 from the start: the increase of a counter that appears with its first event is
// not seen.
func (m *metrics) begin() {
	for _, outcome := range []string{"offered", "no_agent", "line_full", "waited_in_vain"} {
		m.asks.WithLabelValues(outcome)
	}
	for _, outcome := range []string{"answered", "refused", "lost", "fence_denied", "given_up", "no_slot", "repeated"} {
		m.deliveries.WithLabelValues(outcome)
	}
	for _, e := range wire.Catalogue() {
		if permanent(e.Code) {
			m.refused.WithLabelValues(e.Code.String())
		}
	}
	for _, code := range []wire.Code{0, wire.EnrolTokenInvalid, wire.EnrolRequestInvalid, wire.TooManyRequests} {
		m.registrations.WithLabelValues(code.String())
	}
	for _, code := range []wire.Code{0, wire.EnrolRequestInvalid, wire.Conflict, wire.Internal} {
		m.renewals.WithLabelValues(code.String())
	}
	for _, kind := range []string{"clone", "older", "superseded"} {
		m.alarms.WithLabelValues(kind)
	}
}

// firstExpiry is the Unix time at which the first certificate of an attached agent ends, 0 without agents.
func (g *Gateway) firstExpiry() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	var first time.Time
	for _, a := range g.agents {
		if first.IsZero() || a.expires.Before(first) {
			first = a.expires
		}
	}
	if first.IsZero() {
		return 0
	}
	return float64(first.Unix())
}

// load sums the rooms.
func (g *Gateway) load() (used, line int) {
	g.mu.Lock()
	rooms := make([]*room, 0, len(g.rooms))
	for _, r := range g.rooms {
		rooms = append(rooms, r)
	}
	g.mu.Unlock()
	for _, r := range rooms {
		u, l := r.load()
		used, line = used+u, line+l
	}
	return used, line
}
