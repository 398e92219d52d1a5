// Package attack holds tests that sit where an attacker would: at the broker between service and gateway, in a gateway's place
// before an agent, and in another tenant. Everything else is the product: queue, gateway, link, agent, password, fleet and
// lockout, with an evaluation directory that counts the binds.
//
//	password ── queue ── broker S ──[ mitm ]── broker G ── queue ── gateway ══ link ── agent ── evaluation directory
//	                                                     rogue gateway ══ link ── agent ──┘
//
// Each test says what the attacker does, and holds what must be true afterwards: nobody is let in, nothing is bound more often than
// was allowed, lockout counts nothing that no directory judged, and a log gives the reason that belongs to this attack.
package attack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/gateway"
	"github.com/sallyport-auth/sallyport/service/localca"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

const (
	sam   = "alice"
	name  = "alice@corp.example"
	right = "Tr0ub4dor&3-canary"
)

// world is one installation with the attacker between its brokers.
type world struct {
	t       *testing.T
	db      *db.DB
	tenants *tenant.Store
	users   *user.Store
	fleet   *fleet.Store
	guard   *lockout.Guard
	ca      *ca.Authority
	local   *localca.CA
	checker *password.Checker
	log     *journal // of the service

	a, b                  tenant.Scope // two tenants
	dir, otherDir, dirOfB string       // two directories of a, one of b

	corp  *evaluation.Server
	ldaps string
	// certificate is every domain controller's.
	certificate tls.Certificate
	roots       *x509.CertPool

	gateway *door
	mitm    *mitm

	failures int // what lockout counted before the sign-in
}

// fatal is for what must work.
func fatal[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// journal is a log of JSON lines that a test reads.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(j, nil)) }

// lines returns the lines with this message.
func (j *journal) lines(t testing.TB, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for s := bufio.NewScanner(strings.NewReader(j.String())); s.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatalf("a log line that is not JSON: %q", s.Text())
		}
		if line["msg"] == message {
			found = append(found, line)
		}
	}
	return found
}

// until polls a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

// broker starts one.
func broker(t testing.TB) string {
	t.Helper()
	s := fatal(server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true}))(t)
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("broker not ready")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s.ClientURL()
}

func connect(t testing.TB, url string, log *slog.Logger) *queue.Queue {
	t.Helper()
	q := fatal(queue.Open(queue.Config{URL: url, Logger: log}))(t)
	t.Cleanup(q.Close)
	return q
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, now := t.Context(), time.Now()
	store := dbtest.New(t)
	box := fatal(atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key")))(t)
	w := &world{t: t, db: store, ca: fatal(ca.Open(ctx, store, box, ca.Config{}))(t), local: fatal(localca.OpenOrCreate(filepath.Join(t.TempDir(), "ca")))(t),
		tenants: tenant.NewStore(store), users: user.NewStore(store), guard: lockout.New(store, lockout.Policy{}), log: &journal{}}
	w.fleet = fleet.NewStore(store, w.ca)
	for _, x := range []struct {
		name  string
		scope *tenant.Scope
		dirs  []*string
	}{{"tenant-a", &w.a, []*string{&w.dir, &w.otherDir}}, {"tenant-b", &w.b, []*string{&w.dirOfB}}} {
		*x.scope = fatal(w.tenants.CreateTenant(ctx, tenant.NewTenant{Name: x.name, DisplayName: x.name, Color: "#204060"}, now))(t).Scope()
		for i, d := range x.dirs {
			*d = fatal(w.tenants.CreateDirectory(ctx, *x.scope, []string{"corp", "other"}[i], false, now))(t).ID
		}
		fatal(w.tenants.CreateDomain(ctx, *x.scope, tenant.Domain{Name: "corp.example", Kind: tenant.PassThrough, DirectoryID: *x.dirs[0], AdmitUsers: true}, now))(t)
	}
	w.startDirectory()

	// Somebody has mistyped once: what an attack must neither add to nor wipe out.
	if err := w.guard.Settle(ctx, w.a, w.account(), lockout.Wrong, now); err != nil {
		t.Fatal(err)
	}
	w.failures = 1

	s, g := broker(t), broker(t)
	w.checker = password.New(password.Config{Tenants: w.tenants, Users: w.users, Fleet: w.fleet, Lockout: w.guard, Queue: connect(t, s, w.log.logger()),
		Logger: w.log.logger()})
	w.gateway = w.startGateway(connect(t, g, w.log.logger()), "127.0.0.1:0")
	w.mitm = newMITM(t, s, connect(t, s, nil), connect(t, g, nil), w)
	return w
}

// startDirectory starts the evaluation directory with one person.
func (w *world) startDirectory() {
	t := w.t
	certificate, caFile, err := evaluation.SelfSigned(t.TempDir(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	w.roots = x509.NewCertPool()
	w.roots.AppendCertsFromPEM(fatal(os.ReadFile(caFile))(t))
	w.certificate = certificate
	w.corp, w.ldaps = w.domain("DC=corp,DC=example")
}

// domain starts an evaluation directory with one person.
func (w *world) domain(baseDN string) (*evaluation.Server, string) {
	t := w.t
	s := fatal(evaluation.New(evaluation.Config{BaseDN: baseDN, TLS: &tls.Config{Certificates: []tls.Certificate{w.certificate}},
		People: []people.Person{{SAM: sam, UPN: name, Password: wire.NewSecret([]byte(right)), DisplayName: "Alice"}}}))(t)
	listener := fatal(net.Listen("tcp", "127.0.0.1:0"))(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), listener) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return s, "ldaps://" + listener.Addr().String()
}

// door is a running gateway.
type door struct {
	*gateway.Gateway
	queue   *queue.Queue
	address string
	stop    func()
}

func (w *world) startGateway(q *queue.Queue, address string) *door {
	t := w.t
	t.Helper()
	var listener net.Listener
	until(t, "the gateway's address to be free", func() (ok bool) {
		var err error
		listener, err = net.Listen("tcp", address)
		return err == nil
	})
	g := fatal(gateway.New(gateway.Config{LockoutThreshold: w.guard.Policy().Threshold, Name: "genuine", Fleet: w.fleet, CA: w.ca, Queue: q, Tenants: w.tenants, PublicAddress: listener.Addr().String(),
		TLS: &tls.Config{Certificates: []tls.Certificate{w.serverCertificate()}}, Logger: w.log.logger()}))(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, listener) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("gateway: %v", err)
		}
	})
	t.Cleanup(stop)
	until(t, "the gateway to be ready", func() bool { return g.Ready() == nil })
	return &door{g, q, listener.Addr().String(), stop}
}

func (w *world) serverCertificate() tls.Certificate {
	return fatal(w.local.Server([]string{"127.0.0.1"}, time.Now()))(w.t)
}

// member is an enrolled agent, which runs after start.
type member struct {
	w        *world
	row      fleet.Agent
	scope    tenant.Scope
	key      envelope.PrivateKey
	identity *identity.Identity
	log      *journal
	stop     func()

	host      string              // "": this machine
	validator directory.Validator // nil: an honest one
	servers   []string            // its domain controllers; nil: those of corp
	guard     ldap.Guard          // zero: none
	// protection says whom it never asks about, besides those that every domain has.
	protection guard.Protection
}

// enrol makes an agent that will dial gateway.
func (w *world) enrol(scope tenant.Scope, directory, gateway string) *member {
	t := w.t
	t.Helper()
	_, secret, err := w.fleet.CreateToken(t.Context(), scope, fleet.NewToken{DirectoryID: directory}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	tlsKey := fatal(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	csr := fatal(x509.ParseCertificateRequest(fatal(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, tlsKey))(t)))(t)
	key := fatal(envelope.GenerateKey())(t)
	_, row, certificate, err := w.fleet.Enrol(t.Context(), secret, fleet.Enrolment{CSR: csr, EnvelopeSuite: key.Public().Suite(),
		EnvelopeKey: key.Public().Bytes()}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var chain []*x509.Certificate
	for _, der := range certificate.Chain {
		chain = append(chain, fatal(x509.ParseCertificate(der))(t))
	}
	pem := fatal(os.ReadFile(w.local.CertificateFile()))(t)
	id := fatal(identity.New(identity.Facts{Service: "https://signin.example.com", Gateway: gateway, GatewayCA: string(pem), TenantID: scope.String(),
		TenantName: "tenant", DirectoryID: directory, DirectoryName: "corp", AgentID: row.ID, AgentName: row.Name, TrustDomain: w.ca.TrustDomain()},
		tlsKey, chain, key))(t)
	return &member{w: w, row: row, scope: scope, key: key, identity: id, log: &journal{}}
}

// start runs the agent until stop or the end of the test, and waits until it is attached.
func (m *member) start(limits agent.Limits) *member {
	t := m.w.t
	t.Helper()
	before := len(m.log.lines(t, "attached to gateway"))
	servers := m.servers
	if servers == nil {
		servers = []string{m.w.ldaps}
	}
	a := fatal(agent.New(agent.Config{Identity: m.identity, Limits: limits, Logger: m.log.logger(), Host: m.host, Validator: m.validator,
		LDAP: ldap.Config{Servers: servers, RootCAs: m.w.roots, Guard: m.guard}, Protection: m.protection}))(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	m.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(m.stop)
	until(t, "the agent to attach", func() bool { return len(m.log.lines(t, "attached to gateway")) > before })
	return m
}

// noLimits lets a test ask often.
var noLimits = agent.Limits{NamePerMinute: -1, PerSecond: -1}

// attached enrols and starts an agent at the genuine gateway.
func (w *world) attached(scope tenant.Scope, directory string) *member {
	w.t.Helper()
	return w.enrol(scope, directory, w.gateway.address).attach()
}

// attach starts the agent and waits until the genuine gateway knows it.
func (m *member) attach() *member {
	w, scope := m.w, m.scope
	w.t.Helper()
	m.start(noLimits)
	until(w.t, "the gateway to know the agent", func() bool {
		for _, id := range w.gateway.Attached(scope) {
			if id == m.row.ID {
				return true
			}
		}
		return false
	})
	return m
}

// wants has an agent's log explain a check in these words, and none of the other checks of the test.
func (m *member) wants(code wire.Code, words string) map[string]any {
	t := m.w.t
	t.Helper()
	var found map[string]any
	until(t, "the agent's line about "+words, func() bool {
		for _, l := range m.log.lines(t, "password check") {
			if d, _ := l["detail"].(string); strings.Contains(d, words) {
				found = l
				return true
			}
		}
		return false
	})
	if got, _ := found["code"].(float64); wire.Code(got) != code {
		t.Errorf("the agent says %v of %q, want %v", got, words, code)
	}
	return found
}

// outcome is the end of one typed password.
type outcome struct {
	password.Answer
	err error
}

// signin checks the right password, so that whatever an attacker brings about must show as a way in.
func (w *world) signin() outcome {
	w.t.Helper()
	w.failures = w.failuresNow()
	return w.check()
}

// check is signin for several at once.
func (w *world) check() outcome {
	answer, err := w.checker.Check(context.WithoutCancel(w.t.Context()), w.a, password.Attempt{Name: name, Password: wire.NewSecret([]byte(right)),
		Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Request: "journey"})
	return outcome{answer, err}
}

// honest is a sign-in that must succeed.
func (w *world) honest() {
	w.t.Helper()
	if o := w.signin(); o.err != nil || !o.Right {
		w.t.Fatalf("an honest sign-in: %v %v", o.Code, o.err)
	}
	w.failures = 0
}

// holds is what must be true after every attack on a sign-in: nobody in, lockout unchanged, no more than binds attempts at the
// directory, and these words in the error, which the sign-in's record has.
func (w *world) holds(o outcome, binds int, code wire.Code, words string) {
	t := w.t
	t.Helper()
	if o.Right || o.User.ID != "" {
		t.Error("somebody was let in")
	}
	if o.err == nil {
		t.Fatalf("no error; code %v", o.Code)
	}
	if o.Code != code || !strings.Contains(o.err.Error(), words) {
		t.Errorf("%v: %v; want %v and %q", o.Code, o.err, code, words)
	}
	w.counts(binds)
}

// counts holds the directory's and lockout's counts, and that the password stands in no log.
func (w *world) counts(binds int) {
	t := w.t
	t.Helper()
	if got := w.corp.Binds(name); got != binds {
		t.Errorf("%d binds, want %d", got, binds)
	}
	if got := w.failuresNow(); got != w.failures {
		t.Errorf("lockout counts %d failures, before it were %d", got, w.failures)
	}
	if strings.Contains(w.log.String(), right) {
		t.Error("the password stands in the service's log")
	}
}

func (w *world) failuresNow() int {
	w.t.Helper()
	return fatal(w.guard.State(w.t.Context(), w.a, w.account()))(w.t).Failures
}

// account is lockout's key of the person, before and after it was admitted.
func (w *world) account() string {
	if u, err := w.users.ByUPN(w.t.Context(), w.a, name); err == nil {
		return u.ID
	}
	return user.Key(name)
}
