package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/lab/process"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/service"
	"github.com/sallyport-auth/sallyport/service/admin"
)

const (
	tenantName    = "contoso"
	tenantDisplay = "Contoso"
	agentCount    = 3
	// startTimeout bounds the wait for agents and the application: they take a second, on a busy machine several.
	startTimeout = time.Minute
	// stopGrace is how long a child may take to end before it is killed.
	stopGrace = 10 * time.Second
	// drainTime is short: nobody but the person at this machine signs in here.
	drainTime = 5 * time.Second
	// breakGlass is the break-glass administrator's name.
	breakGlass = "admin@" + tenantName + ".internal"
)

// Options say what to run. The zero value runs with the evaluation directory in a temporary folder.
type Options struct {
	// Directory is "evaluation" (or empty), "samba", or the address of an AD of the user's: ldaps://… or ldap://… (StartTLS).
	Directory string
	// CAFile and Domain belong to an AD of the user's: the CA of its certificates and the UPN suffix of its users.
	CAFile, Domain string
	// Data is the folder to keep; empty: a temporary one, removed at the end.
	Data string
	// Program is how people call sallyport, in the commands that they are shown; empty: go run ./cmd/sallyport.
	Program string
	// Out is where people read.
	Out io.Writer
}

// kept is what a later start with the same folder must find again, since addresses are part of issuers and registrations.
type kept struct {
	Directory, Signin, Gateway, Admin, Monitor, Sample string
	ClientID, ClientSecret                             string
	BreakGlassPassword                                 string
}

// World is the running system.
type World struct {
	options Options
	data    string
	kept    kept
	fresh   bool

	directory *directory
	service   *service.Service
	served    chan error
	stopServe context.CancelFunc
	api       *admin.Client
	agents    []*process.Process
	sample    *process.Process
	closers   []func()

	agentProgram, sampleProgram string
}

// Issuer is the tenant's issuer.
func (w *World) Issuer() string { return "https://" + localName(w.kept.Signin) + "/t/" + tenantName }

// app is how visitors know the sample application.
func (w *World) app() visitor.App {
	return visitor.App{Issuer: w.Issuer(), ClientID: w.kept.ClientID, ClientSecret: w.kept.ClientSecret, Redirect: w.SampleURL() + "/callback"}
}

// SampleURL is where the sample application is.
func (w *World) SampleURL() string { return "http://" + w.kept.Sample }

// CAFile is the PEM file of the CA that browsers would have to trust.
func (w *World) CAFile() string { return w.service.LocalCAFile() }

// localName is the address with the name localhost, which browsers and the certificate know.
func localName(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return net.JoinHostPort("localhost", port)
}

// say prints a line of progress.
func (w *World) say(format string, args ...any) {
	fmt.Fprintf(w.options.Out, "  … "+format+"\n", args...)
}

// Start brings everything up, or nothing: after an error all that was started has ended.
func Start(ctx context.Context, o Options) (_ *World, err error) {
	if o.Out == nil {
		o.Out = io.Discard
	}
	w := &World{options: o}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if err := w.openData(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(w.data, "bin"), 0o700); err != nil {
		return nil, err
	}
	programs, err := process.Find(ctx, filepath.Join(w.data, "bin"), w.say, "sallyport-agent", "sallyport-sample-app")
	if err != nil {
		return nil, err
	}
	w.agentProgram, w.sampleProgram = programs[0], programs[1]
	if w.directory, err = openDirectory(ctx, o, w.data, w.say); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.directory.stop)
	for _, step := range []func(context.Context) error{w.startService, w.fillTenant, w.startAgents, w.startSample} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return w, w.keep()
}

// openData makes or opens the folder and settles the ports.
func (w *World) openData() error {
	w.data = w.options.Data
	if w.data == "" {
		dir, err := os.MkdirTemp("", "sallyport-demo-")
		if err != nil {
			return err
		}
		w.data = dir
		w.closers = append(w.closers, func() { _ = os.RemoveAll(dir) })
	} else if err := os.MkdirAll(w.data, 0o700); err != nil {
		return err
	}
	var err error
	if w.data, err = filepath.Abs(w.data); err != nil {
		return err
	}
	raw, err := os.ReadFile(w.keptFile())
	switch {
	case errors.Is(err, os.ErrNotExist):
		w.fresh = true
		p := process.Ports{Progress: w.say}
		for _, want := range []struct {
			what string
			port int
			to   *string
		}{{"the sign-in page", 8443, &w.kept.Signin}, {"the agents' gateway", 8444, &w.kept.Gateway}, {"the admin API", 8445, &w.kept.Admin},
			{"health and metrics", 8446, &w.kept.Monitor}, {"the sample application", 8080, &w.kept.Sample}} {
			if *want.to, err = p.Take(want.what, want.port); err != nil {
				return err
			}
		}
		w.kept.Directory = w.options.Directory
		return nil
	case err != nil:
		return err
	}
	if err := json.Unmarshal(raw, &w.kept); err != nil {
		return fmt.Errorf("%s is damaged (%w): remove the folder %s to begin anew", w.keptFile(), err, w.data)
	}
	if w.kept.Directory != w.options.Directory {
		return fmt.Errorf("the folder %s belongs to a demonstration with another directory (%q). Use another folder", w.data, w.kept.Directory)
	}
	for _, address := range []string{w.kept.Signin, w.kept.Gateway, w.kept.Admin, w.kept.Monitor, w.kept.Sample} {
		_, port, _ := net.SplitHostPort(address)
		if n, err := strconv.Atoi(port); err != nil || !process.Free(n) {
			return fmt.Errorf("port %s, which the demonstration in %s uses, is taken. Is it running already? Stop that, or use another folder", port, w.data)
		}
	}
	return nil
}

func (w *World) keptFile() string { return filepath.Join(w.data, "demo.json") }

// keep writes what a later start needs.
func (w *World) keep() error {
	raw, err := json.MarshalIndent(w.kept, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(w.keptFile(), raw, 0o600)
}

// startService makes the tenant at the first start and serves.
func (w *World) startService(ctx context.Context) error {
	w.say("starting the service")
	cfg := service.Defaults()
	cfg.Data = filepath.Join(w.data, "service")
	cfg.PublicURL = "https://" + localName(w.kept.Signin)
	cfg.Signin.Listen, cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Monitor.Listen = w.kept.Signin, w.kept.Gateway, w.kept.Admin, w.kept.Monitor
	cfg.TLS.LocalCA = true
	cfg.Drain = drainTime
	logFile, err := os.OpenFile(filepath.Join(w.data, "service.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	w.closers = append(w.closers, func() { _ = logFile.Close() })
	log := slog.New(slog.NewTextHandler(logFile, nil))
	if w.fresh {
		made, err := service.Init(ctx, cfg, service.InitRequest{Tenant: tenantName, DisplayName: tenantDisplay, AdminName: breakGlass}, log)
		if err != nil {
			return fmt.Errorf("making the tenant: %w", err)
		}
		w.kept.BreakGlassPassword = made.AdminPassword
	}
	if w.service, err = service.New(ctx, cfg, log); err != nil {
		return fmt.Errorf("starting the service: %w", err)
	}
	serve, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stopServe, w.served = stop, make(chan error, 1)
	go func() { w.served <- w.service.Run(serve) }()
	token, err := os.ReadFile(filepath.Join(cfg.Data, "admin-token"))
	if err != nil {
		return err
	}
	transport, err := w.transport()
	if err != nil {
		return err
	}
	w.api = &admin.Client{BaseURL: "https://" + w.kept.Admin, Token: strings.TrimSpace(string(token)), HTTP: &http.Client{Transport: transport, Timeout: startTimeout}}
	return nil
}

// transport trusts the evaluation CA and nothing else.
func (w *World) transport() (*http.Transport, error) {
	pem, err := os.ReadFile(w.service.LocalCAFile())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", w.service.LocalCAFile())
	}
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}, nil
}

// fillTenant makes directory, domain and application at the first start.
func (w *World) fillTenant(ctx context.Context) error {
	if !w.fresh {
		return nil
	}
	w.say("making the tenant %s with its directory, domain %s and an application", tenantName, w.directory.domain)
	if err := w.api.Do(ctx, http.MethodPost, admin.Path("tenants", tenantName, "directories"),
		admin.DirectoryInput{Name: "corp", Evaluation: w.directory.evaluation}, nil); err != nil {
		return err
	}
	corp := "corp"
	if err := w.api.Do(ctx, http.MethodPost, admin.Path("tenants", tenantName, "domains"),
		admin.DomainInput{Name: w.directory.domain, Directory: &corp}, nil); err != nil {
		return err
	}
	name, groups := "Sample application", true
	redirects, logouts := []string{w.SampleURL() + "/callback"}, []string{w.SampleURL() + "/signed-out"}
	var made admin.App
	if err := w.api.Do(ctx, http.MethodPost, admin.Path("tenants", tenantName, "apps"), admin.AppInput{Name: &name,
		RedirectURIs: &redirects, PostLogoutURIs: &logouts, GroupClaims: &groups}, &made); err != nil {
		return err
	}
	w.kept.ClientID, w.kept.ClientSecret = made.ID, made.Secret
	return os.WriteFile(w.secretFile(), []byte(made.Secret+"\n"), 0o600)
}

func (w *World) secretFile() string { return filepath.Join(w.data, "sample-app.secret") }

func (w *World) agentState(i int) string { return filepath.Join(w.data, fmt.Sprintf("agent-%d", i+1)) }

// startAgents registers the agents that have no identity yet, each with a token of its own, and runs all of them.
func (w *World) startAgents(ctx context.Context) error {
	w.say("starting %d agents, each a process of its own", agentCount)
	w.agents = make([]*process.Process, agentCount)
	for i := range agentCount {
		if err := w.registerAgent(ctx, i); err != nil {
			return fmt.Errorf("agent %d: %w", i+1, err)
		}
		if err := w.startAgent(i); err != nil {
			return err
		}
	}
	return w.awaitAgents(ctx, agentCount)
}

func (w *World) registerAgent(ctx context.Context, i int) error {
	if _, err := os.Stat(filepath.Join(w.agentState(i), "agent.json")); err == nil {
		return nil
	}
	var token admin.AgentToken
	if err := w.api.Do(ctx, http.MethodPost, admin.Path("tenants", tenantName, "agent-tokens"),
		admin.AgentTokenInput{Directory: "corp", Note: "demonstration", Uses: 1, LifeSeconds: 600}, &token); err != nil {
		return err
	}
	file := w.agentState(i) + ".token"
	if err := os.WriteFile(file, []byte(token.Secret+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(file)
	return process.RunToEnd(ctx, w.agentProgram, "register", "--service", "https://"+localName(w.kept.Signin), "--token-file", file,
		"--ca-file", w.CAFile(), "--state", w.agentState(i), "--name", fmt.Sprintf("agent-%d", i+1), "--instance", fmt.Sprintf("agent-%d", i+1))
}

// startAgent runs one registered agent.
func (w *World) startAgent(i int) error {
	args := []string{"run", "--state", w.agentState(i)}
	for _, address := range w.directory.addresses {
		args = append(args, "--dc", address)
	}
	if w.directory.caFile != "" {
		args = append(args, "--dc-ca-file", w.directory.caFile)
	}
	args = append(args, w.directory.flags...)
	var err error
	w.agents[i], err = process.Start(fmt.Sprintf("agent-%d", i+1), w.agentState(i)+".log", nil, w.agentProgram, args...)
	return err
}

// awaitAgents waits until exactly n agents are connected.
func (w *World) awaitAgents(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		agents, err := admin.All[admin.Agent](ctx, w.api, admin.Path("tenants", tenantName, "agents"))
		if err != nil {
			return err
		}
		connected := 0
		for _, a := range agents {
			if a.Connected {
				connected++
			}
		}
		if connected == n {
			return nil
		}
		for _, p := range w.agents {
			if p != nil && !p.Alive() && n == agentCount {
				return p.Failure()
			}
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%d agents are connected, not %d: %w", connected, n, err)
		}
	}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// startSample runs the sample application and waits for its word.
func (w *World) startSample(ctx context.Context) error {
	w.say("starting the sample application")
	ready := make(chan struct{})
	var once sync.Once
	var err error
	w.sample, err = process.Start("the sample application", filepath.Join(w.data, "sample-app.log"), func(line string) {
		if strings.HasPrefix(line, "sample app ready on ") {
			once.Do(func() { close(ready) })
		}
	}, w.sampleProgram, "--issuer", w.Issuer(), "--client-id", w.kept.ClientID, "--client-secret-file", w.secretFile(),
		"--listen", w.kept.Sample, "--ca-file", w.CAFile())
	if err != nil {
		return err
	}
	select {
	case <-ready:
		return nil
	case <-w.sample.Done():
		return w.sample.Failure()
	case <-time.After(startTimeout):
		return fmt.Errorf("the sample application does not start:\n%s", process.Tail(w.sample.LogFile(), 12))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// KillAgent ends an agent (counted from 0) as a crash would.
func (w *World) KillAgent(i int) { w.agents[i].Kill() }

// StartAgent runs an agent that was killed or stopped, with the identity it has.
func (w *World) StartAgent(i int) error { return w.startAgent(i) }

// StopAgents ends all agents in an orderly way.
func (w *World) StopAgents() {
	var all sync.WaitGroup
	for _, p := range w.agents {
		all.Go(func() { p.Stop(stopGrace) })
	}
	all.Wait()
}

// AwaitAgents waits until exactly n agents are connected.
func (w *World) AwaitAgents(ctx context.Context, n int) error { return w.awaitAgents(ctx, n) }

// Wait returns when ctx ends, or with an error when the service ends by itself.
func (w *World) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-w.served:
		w.served <- err // for Close
		return fmt.Errorf("the service ended by itself (%v):\n%s", err, process.Tail(filepath.Join(w.data, "service.log"), 12))
	}
}

// Close ends everything that runs, in the order in which nothing complains, and removes a temporary folder.
func (w *World) Close() {
	w.sample.Stop(stopGrace)
	w.StopAgents()
	if w.stopServe != nil {
		w.stopServe()
		<-w.served
	}
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
	w.closers, w.stopServe = nil, nil
}

// signIns asks the sign-in log for the record of a trace id.
func (w *World) signIns(ctx context.Context, trace string) ([]admin.SignIn, error) {
	var page admin.Page[admin.SignIn]
	err := w.api.Do(ctx, http.MethodGet, admin.Path("tenants", tenantName, "signins")+"?trace="+trace, nil, &page)
	return page.Items, err
}

// newest asks the sign-in log for the newest record of a typed name.
func (w *World) newest(ctx context.Context, name string) (admin.SignIn, error) {
	var page admin.Page[admin.SignIn]
	err := w.api.Do(ctx, http.MethodGet, admin.Path("tenants", tenantName, "signins")+"?limit=1&name="+name, nil, &page)
	if err == nil && len(page.Items) == 0 {
		err = fmt.Errorf("the sign-in log has nothing about %s", name)
	}
	if err != nil {
		return admin.SignIn{}, err
	}
	return page.Items[0], nil
}
