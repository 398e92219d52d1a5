package gateway

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the gateway's numbers. Labels are from small fixed sets, never ids.
type metrics struct {
	asks, deliveries, refused, registrations *prometheus.CounterVec
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
		asks:          counter("asks_total", "Asks answered, by outcome: offered, no_agent, line_full, waited_in_vain.", "outcome"),
		deliveries:    counter("deliveries_total", "Checks handled, by outcome: answered, refused, lost, fence_denied, given_up, no_slot, repeated.", "outcome"),
		refused:       counter("refused_agents_total", "Streams refused at attach, by the number in the catalogue.", "code"),
		registrations: counter("registrations_total", "Registrations, by the number in the catalogue; 0 is success.", "code"),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.asks, m.deliveries, m.refused, m.registrations,
		gauge("attached_agents", "Agents with a stream to this gateway.", func() int {
			g.mu.Lock()
			defer g.mu.Unlock()
			return len(g.agents)
		}),
		gauge("slots_in_use", "Slots of agents that are reserved or have a check in flight.", func() int { used, _ := g.load(); return used }),
		gauge("line_length", "Asks that wait for a free slot.", func() int { _, line := g.load(); return line }),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("gateway: registering metrics: %w", err)
		}
	}
	return m, nil
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
