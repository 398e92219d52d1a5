// Package service puts the parts of the sign-in service together and runs them. It holds wiring and no rules: what a password
// needs, who an agent is or what an application may ask for lives with its noun.
//
//	signin listener ── web ── oidc, signin pages, agent registration
//	gateway listener ─ gateway (mutual TLS)
//	admin listener ─── admin API
//	monitor listener ─ /healthz /readyz /metrics
//
// [New] opens everything and binds the listeners, so that whatever is wrong is said before the process calls itself started;
// [Service.Run] serves until its context ends and then drains. It is called by cmd/sallyport and by the lab.
package service

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/approve"
	"github.com/sallyport-auth/sallyport/service/canary"
	"github.com/sallyport-auth/sallyport/service/gateway"
	"github.com/sallyport-auth/sallyport/service/localca"
	"github.com/sallyport-auth/sallyport/service/oidc"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/signin"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/web"
)

// Service is one running process of the service.
type Service struct {
	cfg     Config
	log     *slog.Logger
	metrics *prometheus.Registry
	store   store
	queue   *queue.Queue
	// gateway is there in processes with the gateway's role, and, unserved, in those with the sign-in role alone: agents register
	// at the public address, and registering needs fleet and CA, but no stream.
	gateway *gateway.Gateway
	signin  *signin.Service
	oidc    *oidc.Provider
	approve *approve.Door
	local   *localca.CA

	signinListener, gatewayListener, adminListener, monitorListener net.Listener

	servers []server
	monitor *server
	loops   []func(context.Context) error
	ready   readiness
}

// server is an HTTP server with the listener it serves.
type server struct {
	name string
	http *http.Server
	on   net.Listener
}

// New opens the data folder, the database and the queue, and binds the listeners of the process's roles. The caller must end a
// service that it got with Run or Close. Errors name the setting and the remedy. A nil log discards.
func New(ctx context.Context, cfg Config, log *slog.Logger) (_ *Service, err error) {
	if found := cfg.Check(); len(found) > 0 {
		return nil, joined(found)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Service{cfg: cfg, log: log, metrics: prometheus.NewRegistry()}
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if s.store, err = openStore(ctx, cfg, log); err != nil {
		return nil, err
	}
	s.loops = append(s.loops, s.store.keys.Run, s.store.audit.Run, s.store.lockout.Run, s.store.log.Run, s.store.fleet.Run)
	if err := s.openReceivers(); err != nil {
		return nil, err
	}
	if err := s.bind(); err != nil {
		return nil, err
	}
	certificate, err := s.serverCertificate()
	if err != nil {
		return nil, err
	}
	for _, open := range []func(getCertificate) error{s.openQueue, s.openGateway, s.openSignin, s.openAdmin} {
		if err := open(certificate); err != nil {
			return nil, err
		}
	}
	s.openMonitor()
	return s, nil
}

// joined makes one error of findings.
func joined(found []Finding) error {
	errs := make([]error, len(found))
	for i, f := range found {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// name is how this process calls itself on the queue; the gateway adds something random.
func (s *Service) name() string {
	if s.cfg.Gateway.Name != "" {
		return s.cfg.Gateway.Name
	}
	host, err := os.Hostname()
	if err != nil {
		return "gateway"
	}
	return web.NameToken(host)
}

// getCertificate is how a TLS listener finds its certificate.
type getCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// serverCertificate returns how every TLS listener finds its certificate: from files, which are read again when they change so
// that a renewed certificate needs no restart, or from the evaluation CA.
func (s *Service) serverCertificate() (getCertificate, error) {
	host := publicHost(s.cfg)
	if s.cfg.TLS.LocalCA {
		local, err := localca.OpenOrCreate(filepath.Join(s.cfg.Data, localCAFolder))
		if err != nil {
			return nil, fmt.Errorf("tls.local_ca: %w", err)
		}
		hosts := append([]string{host, "localhost", "127.0.0.1", "::1"}, s.cfg.TLS.LocalHosts...)
		if host, _, err := net.SplitHostPort(s.cfg.Gateway.PublicAddress); err == nil {
			hosts = append(hosts, host)
		}
		renewing, err := newLocalCertificate(local, hosts, s.log)
		if errors.Is(err, localca.ErrHosts) {
			return nil, fmt.Errorf("tls.local_hosts: %w", err)
		}
		if err != nil {
			return nil, fmt.Errorf("tls.local_ca: %w", err)
		}
		s.local = local
		s.loops = append(s.loops, renewing.Run)
		s.log.Warn("server certificates come from a local CA: for evaluation only", "ca_file", local.CertificateFile())
		s.showExpiry(renewing.Get)
		return renewing.Get, nil
	}
	files, err := newCertificateFiles(s.cfg.TLS.CertificateFile, s.cfg.TLS.KeyFile, s.log)
	if err != nil {
		return nil, err
	}
	if leaf := files.current.Load().Leaf; leaf.VerifyHostname(host) != nil {
		// No refusal: a proxy in front may have the certificate that browsers see.
		s.log.Warn("the server certificate is not for the host of public_url", "host", host, "file", s.cfg.TLS.CertificateFile, "names", leaf.DNSNames)
	}
	s.loops = append(s.loops, files.Run)
	s.showExpiry(files.Get)
	return files.Get, nil
}

// showExpiry lets monitoring see a renewal that does not come.
func (s *Service) showExpiry(certificate getCertificate) {
	s.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "sallyport", Name: "server_certificate_expiry_timestamp_seconds",
		Help: "When the server certificate in use ends, in Unix time."}, func() float64 {
		c, err := certificate(nil)
		if err != nil {
			return 0
		}
		return float64(c.Leaf.NotAfter.Unix())
	}))
}

// tlsConfig is the TLS of a listener: 1.2 with forward secrecy at least, since agents and browsers of the last ten years have it.
func tlsConfig(certificate getCertificate, protocols ...string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate, NextProtos: protocols}
}

// publicHost is the host of the public URL; the URL was checked by Config.Check.
func publicHost(cfg Config) string {
	public, err := url.Parse(cfg.PublicURL)
	if err != nil {
		return ""
	}
	return public.Hostname()
}

// openQueue connects to the broker. One that is away for now is no error: processes start in any order.
func (s *Service) openQueue(getCertificate) error {
	if !s.cfg.Has(RoleSignin) && !s.cfg.Has(RoleGateway) && s.cfg.Queue.URL == "" {
		return nil
	}
	cfg := queue.Config{URL: s.cfg.Queue.URL, Name: s.name(), Logger: s.log.With("part", "queue")}
	if s.cfg.Queue.CAFile != "" {
		pem, err := os.ReadFile(s.cfg.Queue.CAFile)
		if err != nil {
			return fmt.Errorf("queue.ca_file: %w", err)
		}
		cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
		if !cfg.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("queue.ca_file: %s holds no certificate. Give the PEM file of the CA", s.cfg.Queue.CAFile)
		}
	}
	var err error
	if s.queue, err = queue.Open(cfg); err != nil {
		return fmt.Errorf("queue.url: %w", err)
	}
	if !s.cfg.Has(RoleGateway) {
		s.ready.add("queue", false, func(context.Context) error { return s.queue.Ready() })
	}
	return nil
}

// openGateway makes the gateway, or, in a process with the sign-in role alone, the part of it that registers agents.
func (s *Service) openGateway(certificate getCertificate) error {
	if !s.cfg.Has(RoleGateway) && !s.cfg.Has(RoleSignin) {
		return nil
	}
	var gatewayCA []byte
	var err error
	if s.local != nil {
		if gatewayCA, err = os.ReadFile(s.local.CertificateFile()); err != nil {
			return fmt.Errorf("tls.local_ca: %w", err)
		}
	}
	s.gateway, err = gateway.New(gateway.Config{Name: s.name(), Fleet: s.store.fleet, Tenants: s.store.tenants, CA: s.store.ca, Queue: s.queue,
		TLS: tlsConfig(certificate), GatewayCA: gatewayCA, PublicAddress: s.gatewayAddress(), PublicURL: s.cfg.PublicURL,
		Alone: s.cfg.Queue.URL == "", LockoutThreshold: s.store.lockout.Policy().Threshold, Logger: s.log.With("part", "gateway"), Metrics: s.metrics})
	if err != nil {
		return err
	}
	if s.cfg.Has(RoleGateway) {
		// Beside sign-ins a gateway without broker is told and no reason to turn browsers away: cloud-only administrators and
		// sessions need neither.
		s.ready.add("gateway", !s.cfg.Has(RoleSignin), func(context.Context) error { return s.gateway.Ready() })
	}
	return nil
}

// gatewayAddress is where agents are told to connect; Config.Check demands a public address of processes that do not listen.
func (s *Service) gatewayAddress() string {
	if s.cfg.Gateway.PublicAddress != "" {
		return s.cfg.Gateway.PublicAddress
	}
	return net.JoinHostPort(publicHost(s.cfg), port(s.gatewayListener))
}

func (s *Service) openSignin(certificate getCertificate) error {
	if !s.cfg.Has(RoleSignin) {
		return nil
	}
	st := s.store
	checker := password.New(password.Config{Tenants: st.tenants, Users: st.users, Fleet: st.fleet, Lockout: st.lockout,
		Queue: s.queue, Logger: s.log.With("part", "password"), Metrics: s.metrics})
	s.signin = signin.New(signin.Config{DB: st.db, Tenants: st.tenants, Users: st.users, Password: checker,
		Audit: st.audit, Logger: s.log.With("part", "signin"), Metrics: s.metrics,
		// What was issued for a session ends with it; the door is made after this.
		SessionEnded: func(ctx context.Context, scope tenant.Scope, session string) error {
			return s.oidc.SessionEnded(ctx, scope, session)
		}})
	s.oidc = oidc.New(oidc.Config{DB: st.db, PublicURL: s.cfg.PublicURL, Signin: s.signin, Tenants: st.tenants, Users: st.users,
		Apps: st.apps, Keys: st.keys, Logger: s.log.With("part", "oidc"), Metrics: s.metrics})
	prober, err := canary.New(canary.Config{Store: st.canaries, Fleet: st.fleet, Checker: checker, Every: s.cfg.Agents.ProbeEvery,
		Announce: func(scope tenant.Scope, agent string) error {
			return s.queue.Announce(queue.Change{Tenant: scope.String(), Agent: agent})
		}, Logger: s.log.With("part", "canary"), Metrics: s.metrics})
	if err != nil {
		return err
	}
	s.loops = append(s.loops, s.signin.Run, s.oidc.Run, prober.Run)
	door := approve.Config{Signin: s.signin, Tenants: st.tenants, Fleet: st.fleet, Logger: s.log.With("part", "approve")}
	if s.queue != nil {
		door.Announce = s.queue.Announce
	}
	s.approve = approve.New(door)
	if err := s.openNotify(); err != nil {
		return err
	}
	routes, err := s.publicRoutes()
	if err != nil {
		return fmt.Errorf("signin.trusted_proxies: %w", err)
	}
	s.servers = append(s.servers, s.httpServer("signin", s.signinListener, certificate, routes))
	return nil
}

func (s *Service) openAdmin(certificate getCertificate) error {
	if !s.cfg.Has(RoleAdmin) {
		return nil
	}
	st := s.store
	cfg := admin.Config{DB: st.db, Box: st.box, Tenants: st.tenants, Users: st.users, Apps: st.apps, Fleet: st.fleet, Keys: st.keys, Canaries: st.canaries,
		Lockout: st.lockout, Audit: st.audit, Log: st.log, Queue: s.queue, PublicURL: s.cfg.PublicURL, Logger: s.log.With("part", "admin"),
		// With a queue of its own this process has the only gateway; else others hold agents, too.
		Elsewhere: s.cfg.Queue.URL != ""}
	if s.cfg.Has(RoleGateway) {
		cfg.Attached = s.gateway.Attached
	}
	api := admin.New(cfg)
	s.loops = append(s.loops, api.Run)
	s.servers = append(s.servers, s.httpServer("admin", s.adminListener, certificate,
		web.Chain(api.Routes(), web.Trace, web.Client(nil), web.Recover(cfg.Logger), web.Secure)))
	return nil
}

// httpServer returns an HTTPS server with limits that leave slow phones alone and starve slow attacks.
func (s *Service) httpServer(name string, on net.Listener, certificate getCertificate, h http.Handler) server {
	plain := s.plainServer(name, on, h)
	plain.on = tls.NewListener(on, tlsConfig(certificate, "h2", "http/1.1"))
	return plain
}

// plainServer is the same without TLS.
func (s *Service) plainServer(name string, on net.Listener, h http.Handler) server {
	return server{name: name, on: on, http: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.With("part", name).Handler(), slog.LevelDebug),
	}}
}

// Run serves until ctx ends, then drains: new connections are refused, sign-ins in progress are finished up to the drain time,
// agents are told to go elsewhere, and everything is closed; the monitor answers to the last, saying "not ready". Run returns nil
// after an orderly end, and an error when something ended by itself or the drain time was not enough.
func (s *Service) Run(ctx context.Context) error {
	defer func() { _ = s.Close() }() // listeners and stores that have served: nothing is lost with them
	group, live := errgroup.WithContext(ctx)
	// Loops and the gateway outlive the listeners, so that sign-ins in progress still find agents and are recorded.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	for _, loop := range s.loops {
		group.Go(func() error { return quiet(loop(work)) })
	}
	gatewayWork, stopGateway := context.WithCancel(work)
	defer stopGateway()
	gatewayEnded := make(chan struct{})
	group.Go(func() error {
		defer close(gatewayEnded)
		if !s.cfg.Has(RoleGateway) {
			return nil
		}
		return quiet(s.gateway.Serve(gatewayWork, s.gatewayListener))
	})
	for _, srv := range s.servers {
		group.Go(func() error { return quiet(srv.http.Serve(srv.on)) })
	}
	if s.monitor != nil {
		group.Go(func() error { return quiet(s.monitor.http.Serve(s.monitor.on)) })
	}
	s.ready.start()
	s.log.Info("serving", "roles", s.cfg.Roles, "public_url", s.cfg.PublicURL)
	<-live.Done()
	s.ready.stop()
	s.log.Info("draining", "at_most", s.cfg.Drain)
	var draining errgroup.Group
	deadline, cancel := context.WithTimeout(work, s.cfg.Drain)
	defer cancel()
	for _, srv := range s.servers {
		draining.Go(func() error { return srv.end(deadline) })
	}
	drained := draining.Wait()
	stopGateway()
	<-gatewayEnded
	stopWork()
	if s.monitor != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), monitorClose)
		defer cancel()
		_ = s.monitor.end(last) // a probe that hangs is no failure of the end
	}
	err := group.Wait()
	s.log.Info("stopped")
	return errors.Join(err, drained)
}

// end lets requests in progress finish until ctx ends, and cuts off what is left.
func (s server) end(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("%s listener: the drain time was not enough, requests in progress were cut off: %w", s.name, err), s.http.Close())
	}
	return nil
}

// quiet turns the errors of an orderly end into none.
func quiet(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Close releases what New opened. It is safe to call more than once, and after Run.
func (s *Service) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.signinListener, s.gatewayListener, s.adminListener, s.monitorListener} {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if s.queue != nil {
		s.queue.Close()
		s.queue = nil
	}
	if s.store.db != nil {
		errs = append(errs, s.store.db.Close())
		s.store.db = nil
	}
	return errors.Join(errs...)
}

// Addresses are where a process listens; empty for roles it does not have.
type Addresses struct{ Signin, Gateway, Admin, Monitor string }

// Addresses returns the bound addresses, with the real ports where 0 was asked for.
func (s *Service) Addresses() Addresses {
	at := func(l net.Listener) string {
		if l == nil {
			return ""
		}
		return l.Addr().String()
	}
	return Addresses{at(s.signinListener), at(s.gatewayListener), at(s.adminListener), at(s.monitorListener)}
}

// PublicURL is where browsers reach the service: the setting, with the real port where 0 was asked for.
func (s *Service) PublicURL() string { return s.cfg.PublicURL }

// LocalCAFile is the PEM file of the evaluation CA, empty when certificates come from files.
func (s *Service) LocalCAFile() string {
	if s.local == nil {
		return ""
	}
	return s.local.CertificateFile()
}
