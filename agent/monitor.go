package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
)

// ListenMonitor opens the one listener that an agent can have: health and numbers, plain HTTP, without names and secrets. The address
// must be loopback ("127.0.0.1:8449", "[::1]:8449", "localhost:8449") unless remote is set; a name other than localhost is refused, since
// it may lead elsewhere tomorrow. Errors wrap [ErrConfig].
func ListenMonitor(address string, remote bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: monitor: want host:port, such as 127.0.0.1:8449: %w", ErrConfig, err)
	}
	if ip, err := netip.ParseAddr(host); !remote && host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%w: monitor: %s is not this host's loopback; anybody who reaches it could read the numbers: "+
			"use 127.0.0.1, or allow it with monitor-remote behind a firewall", ErrConfig, address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: monitor: %w", ErrConfig, err)
	}
	if at, ok := l.Addr().(*net.TCPAddr); !remote && (!ok || !at.IP.IsLoopback()) { // a localhost of somebody's making
		_ = l.Close()
		return nil, fmt.Errorf("%w: monitor: %s leads to %s, which is not this host's loopback", ErrConfig, address, l.Addr())
	}
	return l, nil
}

// monitor serves /healthz (the process lives), /readyz (it can be given checks and has a domain controller to ask) and /metrics, until
// ctx ends.
func (a *Agent) monitor(ctx context.Context, l net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		states, ok := readiness(a.Status(time.Now()), time.Now())
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(states) // whoever asked has gone: nothing to tell
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.gatherer(), promhttp.HandlerOpts{}))
	s := &http.Server{Handler: mux, ReadTimeout: monitorTimeout, WriteTimeout: monitorTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelWarn)}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); ctx.Err() == nil {
		a.log.Error("the monitor has ended; the agent goes on without", "err", err)
	}
}

// readiness says of each part "ok" or what it lacks.
func readiness(s Status, now time.Time) (states map[string]string, ok bool) {
	states = map[string]string{"gateway": "ok", "directory": "ok"}
	if !s.Attached(now) {
		states["gateway"] = string(s.Link.State)
	}
	if len(s.Servers) > 0 || s.DNS != nil {
		states["directory"] = "no domain controller serves"
		for _, d := range s.Servers {
			if d.State == ldap.Serving {
				states["directory"] = "ok"
			}
		}
	}
	return states, states["gateway"] == "ok" && states["directory"] == "ok"
}
