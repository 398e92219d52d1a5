package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readiness gathers what must work before traffic is welcome. The zero value is not ready.
type readiness struct {
	mu      sync.Mutex
	probes  map[string]func(context.Context) error
	serving atomic.Bool
}

func (r *readiness) add(name string, probe func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.probes == nil {
		r.probes = map[string]func(context.Context) error{}
	}
	r.probes[name] = probe
}

func (r *readiness) start() { r.serving.Store(true) }
func (r *readiness) stop()  { r.serving.Store(false) }

// check runs all probes; ok is whether all passed, and states says "ok" or the reason by name.
func (r *readiness) check(ctx context.Context) (states map[string]string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	states, ok = map[string]string{"process": "ok"}, r.serving.Load()
	if !ok {
		states["process"] = "not serving: starting or draining"
	}
	for name, probe := range r.probes {
		states[name] = "ok"
		if err := probe(ctx); err != nil {
			states[name], ok = err.Error(), false
		}
	}
	return states, ok
}

// openMonitor binds the listener of health and metrics. Liveness is the process's own; readiness asks the database and the
// gateway too, and turns false as soon as draining begins so that a load balancer looks elsewhere.
func (s *Service) openMonitor() error {
	s.ready.add("database", s.store.db.Ping)
	if s.cfg.Monitor.Listen == "" {
		return nil
	}
	var err error
	if s.monitorListener, err = listen("monitor.listen", s.cfg.Monitor.Listen); err != nil {
		return err
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
	s.servers = append(s.servers, server{name: "monitor", on: s.monitorListener, http: &http.Server{Handler: mux,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout}})
	return nil
}
