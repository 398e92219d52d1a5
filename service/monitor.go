package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readiness gathers what must work before traffic is welcome. The zero value is not ready. Probes are added before it is served.
type readiness struct {
	probes  []probe
	serving atomic.Bool
}

// probe looks at one part. A part that is not needed is told when it fails, and traffic is welcome all the same.
type probe struct {
	name   string
	needed bool
	look   func(context.Context) error
}

func (r *readiness) add(name string, needed bool, look func(context.Context) error) {
	r.probes = append(r.probes, probe{name, needed, look})
}

func (r *readiness) start() { r.serving.Store(true) }
func (r *readiness) stop()  { r.serving.Store(false) }

// readyDescription is of the metric that says in numbers what /readyz says in words.
var readyDescription = prometheus.NewDesc("sallyport_ready", "1 if a part of the process works, 0 if not.", []string{"part"}, nil)

// Describe is called by Prometheus.
func (r *readiness) Describe(to chan<- *prometheus.Desc) { to <- readyDescription }

// Collect is called by Prometheus at each look.
func (r *readiness) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	states, _ := r.check(ctx)
	for part, state := range states {
		value := 0.0
		if state == "ok" {
			value = 1
		}
		to <- prometheus.MustNewConstMetric(readyDescription, prometheus.GaugeValue, value, part)
	}
}

// check runs all probes; ok is whether all that are needed passed, and states says "ok" or the reason by name.
func (r *readiness) check(ctx context.Context) (states map[string]string, ok bool) {
	states, ok = map[string]string{"process": "ok"}, r.serving.Load()
	if !ok {
		states["process"] = "not serving: starting or draining"
	}
	for _, p := range r.probes {
		states[p.name] = "ok"
		if err := p.look(ctx); err != nil {
			states[p.name] = err.Error()
			ok = ok && !p.needed
		}
	}
	return states, ok
}

// openMonitor makes the server of health and metrics. Liveness is the process's own; readiness asks the database and the
// gateway too, and turns false as soon as draining begins so that a load balancer looks elsewhere.
func (s *Service) openMonitor() {
	s.ready.add("database", true, s.store.db.Ping)
	s.metrics.MustRegister(&s.ready)
	if s.monitorListener == nil {
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		states, ok := s.ready.check(ctx)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(states) // the prober has gone: nothing to tell
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	monitor := s.plainServer("monitor", s.monitorListener, mux)
	s.monitor = &monitor
}
