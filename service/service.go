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
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/gateway"
	"github.com/sallyport-auth/sallyport/service/keyring"
	"github.com/sallyport-auth/sallyport/service/localca"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/oidc"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/signin"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/service/web"
)

// store is what every role shares: the database and the nouns over it.
type store struct {
	db      *db.DB
	box     *atrest.Box
	tenants *tenant.Store
	users   *user.Store
	apps    *app.Store
	fleet   *fleet.Store
	ca      *ca.Authority
	keys    *keyring.Ring
	lockout *lockout.Guard
	audit   *audit.Log
}

// Service is one running process of the service.
type Service struct {
	cfg     Config
	log     *slog.Logger
	metrics *prometheus.Registry
	store   store
	queue   *queue.Queue
	gateway *gateway.Gateway
	signin  *signin.Service
	oidc    *oidc.Provider
	local   *localca.CA

	signinListener, gatewayListener, adminListener, monitorListener net.Listener

	servers []server
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
// service that it got with Run or Close.
func New(ctx context.Context, cfg Config, log *slog.Logger) (_ *Service, err error) {
	if findings := cfg.Check(); len(findings) > 0 {
		return nil, findings[0]
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
	s.loops = append(s.loops, s.store.keys.Run, s.store.audit.Run, s.store.lockout.Run)
	certificate, err := s.serverCertificate()
	if err != nil {
		return nil, err
	}
	if cfg.Has(RoleSignin) || cfg.Has(RoleGateway) || cfg.Queue.URL != "" {
		if s.queue, err = queue.Open(queue.Config{URL: cfg.Queue.URL, Name: s.name(), Logger: log.With("part", "queue")}); err != nil {
			return nil, err
		}
	}
	if err := s.openGateway(certificate); err != nil {
		return nil, err
	}
	if err := s.openSignin(certificate); err != nil {
		return nil, err
	}
	if err := s.openAdmin(certificate); err != nil {
		return nil, err
	}
	return s, s.openMonitor()
}

// openStore makes the data folder and opens everything in it.
func openStore(ctx context.Context, cfg Config, log *slog.Logger) (st store, err error) {
	if err := openData(cfg.Data); err != nil {
		return st, err
	}
	if st.box, err = atrest.OpenOrCreate(filepath.Join(cfg.Data, "at-rest.key")); err != nil {
		return st, err
	}
	address := cfg.Database.URL
	if address == "" {
		address = "sqlite:" + filepath.Join(cfg.Data, "sallyport.db")
	}
	if st.db, err = db.Open(ctx, db.Config{URL: address}); err != nil {
		return st, err
	}
	if st.ca, err = ca.Open(ctx, st.db, st.box, ca.Config{TrustDomain: trustDomain(cfg), Lifetime: cfg.Agents.CertificateLife}); err != nil {
		_ = st.db.Close()
		return st, err
	}
	st.tenants, st.users, st.apps = tenant.NewStore(st.db), user.NewStore(st.db), app.NewStore(st.db)
	st.fleet = fleet.NewStore(st.db, st.ca)
	st.keys = keyring.New(st.db, st.box, log.With("part", "keyring"))
	st.lockout = lockout.New(st.db, lockout.Policy{})
	st.lockout.Logger = log.With("part", "lockout")
	st.audit = audit.NewLog(st.db, log.With("part", "audit"))
	return st, nil
}

// openData makes the data folder, or refuses one that others can read: the database, keys and the evaluation CA lie in it.
func openData(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if mode := info.Mode().Perm(); os.PathSeparator == '/' && mode&0o077 != 0 {
		return fmt.Errorf("data folder %s has mode %#o: others on this machine could read keys. Run: chmod 700 %s", dir, mode, dir)
	}
	return nil
}

// trustDomain is the one set, else the host of the public URL; an IPv6 literal is none, and leaves the authority its default.
func trustDomain(cfg Config) string {
	if cfg.Agents.TrustDomain != "" {
		return cfg.Agents.TrustDomain
	}
	public, err := url.Parse(cfg.PublicURL)
	if err != nil || strings.Contains(public.Hostname(), ":") {
		return ""
	}
	return strings.ToLower(public.Hostname())
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

// serverCertificate returns how every TLS listener finds its certificate: from files, which are read again when they change so
// that a renewed certificate needs no restart, or from the evaluation CA.
func (s *Service) serverCertificate() (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	if s.cfg.TLS.LocalCA {
		local, err := localca.OpenOrCreate(filepath.Join(s.cfg.Data, "local-ca"))
		if err != nil {
			return nil, err
		}
		public, err := url.Parse(s.cfg.PublicURL)
		if err != nil {
			return nil, err
		}
		hosts := append([]string{public.Hostname(), "localhost", "127.0.0.1", "::1"}, s.cfg.TLS.LocalHosts...)
		if host, _, err := net.SplitHostPort(s.cfg.Gateway.PublicAddress); err == nil {
			hosts = append(hosts, host)
		}
		renewing, err := newLocalCertificate(local, hosts, s.log)
		if err != nil {
			return nil, err
		}
		s.local = local
		s.loops = append(s.loops, renewing.Run)
		s.log.Warn("server certificates come from a local CA: for evaluation only", "ca_file", local.CertificateFile())
		return renewing.Get, nil
	}
	files, err := newCertificateFiles(s.cfg.TLS.CertificateFile, s.cfg.TLS.KeyFile, s.log)
	if err != nil {
		return nil, err
	}
	s.loops = append(s.loops, files.Run)
	return files.Get, nil
}

// tlsConfig is the TLS of a listener: 1.2 with forward secrecy at least, since agents and browsers of the last ten years have it.
func tlsConfig(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), protocols ...string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate, NextProtos: protocols}
}

func (s *Service) openGateway(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) error {
	if !s.cfg.Has(RoleGateway) {
		return nil
	}
	var err error
	if s.gatewayListener, err = listen("gateway.listen", s.cfg.Gateway.Listen); err != nil {
		return err
	}
	address, gatewayCA := s.gatewayAddress(), []byte(nil)
	if s.local != nil {
		if gatewayCA, err = os.ReadFile(s.local.CertificateFile()); err != nil {
			return err
		}
	}
	s.gateway, err = gateway.New(gateway.Config{Name: s.name(), Fleet: s.store.fleet, Tenants: s.store.tenants, CA: s.store.ca, Queue: s.queue,
		TLS: tlsConfig(certificate), GatewayCA: gatewayCA, PublicAddress: address, Logger: s.log.With("part", "gateway"), Metrics: s.metrics})
	if err != nil {
		return err
	}
	s.ready.add("gateway", func(context.Context) error { return s.gateway.Ready() })
	return nil
}

// gatewayAddress is where agents are told to connect.
func (s *Service) gatewayAddress() string {
	if s.cfg.Gateway.PublicAddress != "" {
		return s.cfg.Gateway.PublicAddress
	}
	_, port, _ := net.SplitHostPort(s.gatewayListener.Addr().String())
	public, _ := url.Parse(s.cfg.PublicURL) // checked by Config.Check
	return net.JoinHostPort(public.Hostname(), port)
}

func (s *Service) openSignin(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) error {
	if !s.cfg.Has(RoleSignin) {
		return nil
	}
	var err error
	if s.signinListener, err = listen("signin.listen", s.cfg.Signin.Listen); err != nil {
		return err
	}
	st := s.store
	checker := password.New(password.Config{Tenants: st.tenants, Users: st.users, Fleet: st.fleet, Lockout: st.lockout,
		Queue: s.queue, Logger: s.log.With("part", "password"), Metrics: s.metrics})
	s.signin = signin.New(signin.Config{DB: st.db, Tenants: st.tenants, Users: st.users, Apps: st.apps, Password: checker,
		Audit: st.audit, Logger: s.log.With("part", "signin"), Metrics: s.metrics})
	s.oidc = oidc.New(oidc.Config{DB: st.db, PublicURL: s.cfg.PublicURL, Signin: s.signin, Tenants: st.tenants, Users: st.users,
		Apps: st.apps, Keys: st.keys, Logger: s.log.With("part", "oidc"), Metrics: s.metrics})
	s.loops = append(s.loops, s.signin.Run, s.oidc.Run)
	routes, err := s.publicRoutes()
	if err != nil {
		return err
	}
	s.servers = append(s.servers, s.httpServer("signin", s.signinListener, certificate, routes))
	return nil
}

func (s *Service) openAdmin(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) error {
	if !s.cfg.Has(RoleAdmin) {
		return nil
	}
	var err error
	if s.adminListener, err = listen("admin.listen", s.cfg.Admin.Listen); err != nil {
		return err
	}
	st := s.store
	cfg := admin.Config{DB: st.db, Tenants: st.tenants, Users: st.users, Apps: st.apps, Fleet: st.fleet, Keys: st.keys,
		Lockout: st.lockout, Audit: st.audit, Queue: s.queue, PublicURL: s.cfg.PublicURL, Logger: s.log.With("part", "admin")}
	if s.gateway != nil {
		cfg.Attached = s.gateway.Attached
	}
	s.servers = append(s.servers, s.httpServer("admin", s.adminListener, certificate,
		web.Chain(admin.New(cfg).Routes(), web.Trace, web.Client(nil), web.Recover(cfg.Logger), web.Secure)))
	return nil
}

// httpServer returns an HTTPS server with limits that leave slow phones alone and starve slow attacks.
func (s *Service) httpServer(name string, on net.Listener, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), h http.Handler) server {
	return server{name: name, on: tls.NewListener(on, tlsConfig(certificate, "h2", "http/1.1")), http: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.With("part", name).Handler(), slog.LevelDebug),
	}}
}

// listen binds an address; a failure names the setting, and a taken port says so.
func listen(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		if inUse(err) {
			return nil, fmt.Errorf("%s: %s is taken by another program. Stop it, or choose another port", key, address)
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("%s: this user may not listen on %s. Ports below 1024 need CAP_NET_BIND_SERVICE", key, address)
		}
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return l, nil
}

// Run serves until ctx ends, then drains: new connections are refused, agents are told to go elsewhere, work in progress is
// finished up to the drain time, and everything is closed. It returns nil after an orderly end.
func (s *Service) Run(ctx context.Context) error {
	defer s.Close()
	group, live := errgroup.WithContext(ctx)
	// Loops and the gateway outlive the listeners, so that sign-ins in progress still find agents and are recorded.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	for _, loop := range s.loops {
		group.Go(func() error { return quiet(loop(work)) })
	}
	gatewayWork, stopGateway := context.WithCancel(work)
	if s.gateway != nil {
		group.Go(func() error { return quiet(s.gateway.Serve(gatewayWork, s.gatewayListener)) })
	}
	for _, srv := range s.servers {
		group.Go(func() error { return quiet(srv.http.Serve(srv.on)) })
	}
	s.ready.start()
	s.log.Info("serving", "roles", s.cfg.Roles, "public_url", s.cfg.PublicURL)
	<-live.Done()
	s.ready.stop()
	s.log.Info("draining", "at_most", s.cfg.Drain)
	deadline, cancel := context.WithTimeout(work, s.cfg.Drain)
	defer cancel()
	var draining errgroup.Group
	for _, srv := range s.servers {
		draining.Go(func() error {
			if err := srv.http.Shutdown(deadline); err != nil {
				return errors.Join(fmt.Errorf("%s listener: %w", srv.name, err), srv.http.Close())
			}
			return nil
		})
	}
	drained := draining.Wait()
	stopGateway()
	stopWork()
	err := group.Wait()
	s.log.Info("stopped")
	return errors.Join(err, drained)
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

// LocalCAFile is the PEM file of the evaluation CA, empty when certificates come from files.
func (s *Service) LocalCAFile() string {
	if s.local == nil {
		return ""
	}
	return s.local.CertificateFile()
}
