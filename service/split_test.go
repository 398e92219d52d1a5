package service

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/localca"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/wire"
)

// broker is a NATS server on a port of loopback, with TLS as an operator would have it.
func broker(t *testing.T, certificate tls.Certificate, at int) *natsserver.Server {
	t.Helper()
	s := must[*natsserver.Server](t)(natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: at, NoSigs: true, NoLog: true,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}}))
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("the broker does not start")
	}
	return s
}

// files writes a certificate of the CA for this machine as an operator's two files, and the CA's file.
func files(t *testing.T, authority *localca.CA) (TLSConfig, tls.Certificate) {
	t.Helper()
	c := must[tls.Certificate](t)(authority.Server([]string{"localhost", "127.0.0.1"}, time.Now()))
	dir := t.TempDir()
	conf := TLSConfig{CertificateFile: filepath.Join(dir, "tls.pem"), KeyFile: filepath.Join(dir, "tls.key")}
	key := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(c.PrivateKey))
	noError(t, os.WriteFile(conf.CertificateFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o644))
	noError(t, os.WriteFile(conf.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	return conf, c
}

// TestSplitProcesses: a sign-in process and a gateway process share PostgreSQL and a NATS server. An agent registers at the
// first, connects to the second, and a password typed at the first is checked.
func TestSplitProcesses(t *testing.T) {
	authority := must[*localca.CA](t)(localca.OpenOrCreate(filepath.Join(t.TempDir(), "ca")))
	certificates, pair := files(t, authority)
	nats := broker(t, pair, -1)
	defer func() { nats.Shutdown(); nats.WaitForShutdown() }()
	natsPort := nats.Addr().(*net.TCPAddr).Port
	shared := func(role string) Config {
		cfg := trial(t)
		cfg.Roles, cfg.TLS = []string{role, RoleAdmin}, certificates
		cfg.Queue = QueueConfig{URL: "tls://" + nats.Addr().String(), CAFile: authority.CertificateFile()}
		cfg.PublicURL = "https://localhost:" + freePort(t)
		cfg.Signin.Listen = "127.0.0.1:" + strings.TrimPrefix(cfg.PublicURL, "https://localhost:")
		return cfg
	}
	front, back := shared(RoleSignin), shared(RoleGateway)
	back.PublicURL, back.Roles, back.Gateway.Listen = front.PublicURL, []string{RoleGateway}, "127.0.0.1:"+freePort(t)
	front.Gateway.PublicAddress = back.Gateway.Listen

	// What the settings refuse: SQLite for several processes, and agents that could not be told where to go.
	without := front
	without.Gateway.PublicAddress = ""
	_, err := New(t.Context(), without, nil)
	wantError(t, err, "database.url: SQLite serves one process", "gateway.public_address: is empty")

	front.Database.URL = dbtest.Schema(t, dbtest.Postgres(t))
	back.Database.URL = front.Database.URL
	must[InitResult](t)(Init(t.Context(), front, InitRequest{Tenant: "contoso"}, nil))
	a := start(t, front)
	a.http.Transport.(*http.Transport).TLSClientConfig.RootCAs = authority.Pool()

	_, err = New(t.Context(), back, nil)
	wantError(t, err, "at-rest.key is missing, and the database was made with one", "Copy that file here")
	key := must[[]byte](t)(os.ReadFile(filepath.Join(front.Data, "at-rest.key")))
	noError(t, os.WriteFile(filepath.Join(back.Data, "at-rest.key"), key, 0o600))
	b := start(t, back)
	if at := b.Addresses(); at.Signin != "" || at.Admin != "" || at.Gateway == "" {
		t.Errorf("the gateway's process listens at %+v", at)
	}

	// The tenant's directory, and an agent for it, registered at the process that has no gateway.
	api := a.api()
	noError(t, api.Do(t.Context(), http.MethodPost, admin.Path("tenants", "contoso", "directories"), admin.DirectoryInput{Name: "corp", Evaluation: true}, nil))
	corp := "corp"
	noError(t, api.Do(t.Context(), http.MethodPost, admin.Path("tenants", "contoso", "domains"), admin.DomainInput{Name: "corp.example", Directory: &corp}, nil))
	var token admin.AgentToken
	noError(t, api.Do(t.Context(), http.MethodPost, admin.Path("tenants", "contoso", "agent-tokens"), admin.AgentTokenInput{Directory: "corp"}, &token))
	who := must[*identity.Identity](t)(identity.Register(t.Context(), identity.Options{Service: front.PublicURL, Token: token.Secret,
		Dir: filepath.Join(t.TempDir(), "agent"), Name: "agent-1", CAFile: authority.CertificateFile()}))
	if who.Gateway() != back.Gateway.Listen {
		t.Errorf("the agent was told to go to %s, not %s", who.Gateway(), back.Gateway.Listen)
	}
	runAgent(t, who)
	agents := func() []admin.Agent {
		t.Helper()
		return must[[]admin.Agent](t)(admin.All[admin.Agent](t.Context(), api, admin.Path("tenants", "contoso", "agents")))
	}
	a.await("the agent to show as connected at the process that does not hold it", func() bool {
		all := agents()
		return len(all) == 1 && all[0].Connected
	})

	check := func(typed string) (password.Answer, error) {
		t.Helper()
		st := a.store
		checker := password.New(password.Config{Tenants: st.tenants, Users: st.users, Fleet: st.fleet, Lockout: st.lockout, Queue: a.queue})
		contoso, err := st.tenants.TenantByName(t.Context(), "contoso")
		if err != nil {
			t.Fatal(err)
		}
		return checker.Check(t.Context(), contoso.Scope(), password.Attempt{Name: "alice@corp.example", Password: wire.NewSecret([]byte(typed))})
	}
	a.await("the first right password", func() bool {
		answer, err := check(people.RightPassword)
		return err == nil && answer.Right && answer.AgentName == "agent-1"
	})
	if answer, err := check("wrong " + people.RightPassword); err != nil || answer.Right || answer.Shown != wire.InvalidPassword {
		t.Errorf("a wrong password: %+v, %v", answer, err)
	}

	// Revoked at one process, it is shut out of the other, at once.
	noError(t, api.Do(t.Context(), http.MethodPost, admin.Path("tenants", "contoso", "agents", "agent-1", "revoke"), admin.RevokeInput{Reason: "test"}, nil))
	a.await("the revoked agent to be gone", func() bool {
		_, err := check(people.RightPassword)
		return err != nil && !agents()[0].Connected
	})

	// The broker goes away: the gateway's process is of no use, the other still signs in who needs no agent.
	nats.Shutdown()
	nats.WaitForShutdown()
	b.await("the gateway's process to say that it cannot work", func() bool {
		status, states := b.ready()
		return status == http.StatusServiceUnavailable && states["gateway"] != "ok"
	})
	a.await("the sign-in process to tell", func() bool {
		status, states := a.ready()
		return status == http.StatusOK && states["queue"] != "ok"
	})
	nats = broker(t, pair, natsPort)
	b.await("the gateway to be back", func() bool { status, _ := b.ready(); return status == http.StatusOK })
	a.end()
	b.end()
}

// runAgent runs an agent beside an evaluation directory until the test ends.
func runAgent(t *testing.T, who *identity.Identity) {
	t.Helper()
	certificate, caFile, err := evaluation.SelfSigned(t.TempDir(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must[[]byte](t)(os.ReadFile(caFile)))
	dc := must[*evaluation.Server](t)(evaluation.New(evaluation.Config{People: people.Everybody("corp.example"),
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}}))
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	one := must[*agent.Agent](t)(agent.New(agent.Config{Identity: who, LDAP: ldap.Config{Servers: []string{"ldaps://" + l.Addr().String()}, RootCAs: roots}}))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = one.Run(ctx) }() // it is revoked in the end
	served := make(chan struct{})
	go func() { defer close(served); _ = dc.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		<-ended
		_ = dc.Close()
		<-served
	})
}
