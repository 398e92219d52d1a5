// Package clients judges the OpenID provider by programs of other people: each signs a person in to a running installation (the
// service, a real agent and the evaluation directory, wired as everywhere), refreshes, meets keys that turn over, and signs out.
// None of them shares a line with us, so a misreading of a specification would have to be made twice to go unnoticed.
//
//	                          ┌──────────── installation ────────────┐
//	browser (ours) ──pages──▶ │ service ══ agent ──▶ evaluation      │
//	     ▲  │                 └──▲───────────────────────────────────┘
//	     │  └─ callback ─▶ client┘ discovery, token, keys, userinfo
//	     └──── address ───┘
//
//	apache_linux_test.go  mod_auth_openidc in a real Apache: cjose, OpenSSL
//	clients_test.go       openid-client on Node.js: WebCrypto; Authlib on Python: its own JOSE
//	page_test.go          oidc-client-ts in a page in Chromium: other origins
//
// The package has tests only. A test whose program is missing is skipped with a sentence, and fails under SALLYPORT_CI.
package clients

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/service"
	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/keyring"
	"github.com/sallyport-auth/sallyport/service/tenant"
)

const (
	tenantName = "contoso"
	domain     = "corp.example.com"
	alice      = "alice@" + domain
	// patience bounds waiting for what must happen; nothing is measured with it.
	patience = time.Minute
)

// world is a running installation.
type world struct {
	t      *testing.T
	issuer string
	// caFile is the PEM file of the one CA that a client has to trust.
	caFile string
	roots  *x509.CertPool
	api    *admin.Client
	data   string
}

// missing skips a test that needs a program, or fails it where nothing may be skipped.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("SALLYPORT_CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// log is written to a file, whose end is shown when the test has failed.
func logFile(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.Close() // only read from here on
		showEnd(t, name)
	})
	return f
}

// showEnd logs the last lines of a file when the test has failed.
func showEnd(t *testing.T, name string) {
	t.Helper()
	if !t.Failed() {
		return
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Log(err)
		return
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	t.Logf("the end of %s:\n%s", filepath.Base(name), strings.Join(lines[max(0, len(lines)-25):], "\n"))
}

// openWorld starts an installation for one test.
func openWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, data: filepath.Join(dir, "data")}
	log := slog.New(slog.NewTextHandler(logFile(t, filepath.Join(dir, "log")), nil))

	cfg := service.Defaults()
	cfg.Data, cfg.PublicURL = w.data, "https://localhost:0"
	cfg.Signin.Listen, cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Monitor.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.TLS.LocalCA = true
	if _, err := service.Init(t.Context(), cfg, service.InitRequest{Tenant: tenantName, DisplayName: "Contoso", AdminName: "admin@contoso.internal"}, log); err != nil {
		t.Fatal(err)
	}
	s, err := service.New(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	runUntilEnd(t, "the service", s.Run)
	w.issuer, w.caFile = s.PublicURL()+"/t/"+tenantName, s.LocalCAFile()
	w.roots = readRoots(t, w.caFile)
	token, err := os.ReadFile(filepath.Join(cfg.Data, "admin-token"))
	if err != nil {
		t.Fatal(err)
	}
	w.api = &admin.Client{BaseURL: "https://" + s.Addresses().Admin, Token: strings.TrimSpace(string(token)),
		HTTP: &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.roots}}}}

	corp := "corp"
	w.post(admin.DirectoryInput{Name: corp, Evaluation: true}, nil, "directories")
	w.post(admin.DomainInput{Name: domain, Directory: &corp}, nil, "domains")
	w.startAgent(s.PublicURL(), log)
	return w
}

// post makes something of the tenant.
func (w *world) post(in, out any, path ...string) {
	w.t.Helper()
	if err := w.api.Do(w.t.Context(), http.MethodPost, admin.Path(append([]string{"tenants", tenantName}, path...)...), in, out); err != nil {
		w.t.Fatal(err)
	}
}

// startAgent serves the evaluation directory and runs an agent before it, and waits until the agent is connected.
func (w *world) startAgent(serviceURL string, log *slog.Logger) {
	w.t.Helper()
	certificate, caFile, err := evaluation.SelfSigned(w.t.TempDir(), "127.0.0.1")
	if err != nil {
		w.t.Fatal(err)
	}
	directory, err := evaluation.New(evaluation.Config{People: people.Everybody(domain),
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}})
	if err != nil {
		w.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	runUntilEnd(w.t, "the directory", func(ctx context.Context) error { return directory.Serve(ctx, listener) })

	var token admin.AgentToken
	w.post(admin.AgentTokenInput{Directory: "corp", Uses: 1, LifeSeconds: 600}, &token, "agent-tokens")
	id, err := identity.Register(w.t.Context(), identity.Options{Service: serviceURL, Token: token.Secret, Name: "agent",
		Dir: filepath.Join(w.t.TempDir(), "agent"), CAFile: w.caFile, Logger: log})
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := agent.New(agent.Config{Identity: id, Logger: log, Limits: agent.Limits{NamePerMinute: -1},
		LDAP: ldap.Config{Servers: []string{"ldaps://" + listener.Addr().String()}, RootCAs: readRoots(w.t, caFile), Logger: log}})
	if err != nil {
		w.t.Fatal(err)
	}
	runUntilEnd(w.t, "the agent", a.Run)
	await(w.t, "the agent to be connected", func() bool {
		agents, err := admin.All[admin.Agent](w.t.Context(), w.api, admin.Path("tenants", tenantName, "agents"))
		return err == nil && len(agents) == 1 && agents[0].Connected
	})
}

// runUntilEnd runs a loop until the test's end, and wants it to end then and in order.
func runUntilEnd(t *testing.T, what string, run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s ended with: %v", what, err)
		}
	})
}

// await polls until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func readRoots(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", file)
	}
	return roots
}

// foreignCA is the file of a CA that has issued nothing here.
func foreignCA(t *testing.T) string {
	t.Helper()
	_, file, err := evaluation.SelfSigned(t.TempDir(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// registration is an application as its developer is told of it.
type registration struct {
	id, secret, algorithm, redirect, postLogout string
}

// register makes an application.
func (w *world) register(name, algorithm, redirect, postLogout string, public bool) registration {
	w.t.Helper()
	var made admin.App
	groups, redirects, logouts := true, []string{redirect}, []string{postLogout}
	w.post(admin.AppInput{Name: &name, RedirectURIs: &redirects, PostLogoutURIs: &logouts, GroupClaims: &groups, Algorithm: &algorithm, Public: public},
		&made, "apps")
	return registration{id: made.ID, secret: made.Secret, algorithm: algorithm, redirect: redirect, postLogout: postLogout}
}

// rotate has a new key published, which signs a day later.
func (w *world) rotate(algorithm string) {
	w.t.Helper()
	w.post(nil, nil, "keys", algorithm, "rotate")
}

// replace takes a key away at once, as after a theft: no door offers that, so it is done on the installation's own database.
func (w *world) replace(algorithm string) {
	w.t.Helper()
	rows, err := db.Open(w.t.Context(), db.Config{URL: "sqlite:" + filepath.Join(w.data, "sallyport.db")})
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	box, err := atrest.OpenOrCreate(filepath.Join(w.data, "at-rest.key"))
	if err != nil {
		w.t.Fatal(err)
	}
	owner, err := tenant.NewStore(rows).TenantByName(w.t.Context(), tenantName)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := keyring.New(rows, box, nil).Replace(w.t.Context(), owner.Scope(), algorithm, time.Now()); err != nil {
		w.t.Fatal(err)
	}
}
