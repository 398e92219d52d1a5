package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/gateway"
	"github.com/sallyport-auth/sallyport/service/localca"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
)

// path is the product between a typed password and the directory.
type path struct {
	checker *password.Checker
	scope   tenant.Scope
	// link counts what gateway and agents send each other.
	link *counted
}

// installation is what agents join. Without validator they ask the place.
type installation struct {
	place
	validator directory.Validator
	log       *slog.Logger
	members   *fleet.Store
	scope     tenant.Scope
	local     *localca.CA
	trust     string
	token     string
	gateway   string
	corp      string
}

// newPath puts service, gateway and agents together, with SQLite in a file and the queue in process.
func newPath(b *testing.B, at place, agents int) path {
	ctx, now := b.Context(), time.Now()
	store := must(db.Open(ctx, db.Config{URL: "sqlite:" + filepath.Join(b.TempDir(), "bench.db")}))(b)
	b.Cleanup(func() { _ = store.Close() })
	box := must(atrest.OpenOrCreate(filepath.Join(b.TempDir(), "key")))(b)
	authority := must(ca.Open(ctx, store, box, ca.Config{}))(b)
	local := must(localca.OpenOrCreate(filepath.Join(b.TempDir(), "ca")))(b)
	tenants, users, members := tenant.NewStore(store), user.NewStore(store), fleet.NewStore(store, authority)
	scope := must(tenants.CreateTenant(ctx, tenant.NewTenant{Name: "bench", DisplayName: "Bench"}, now))(b).Scope()
	directory := must(tenants.CreateDirectory(ctx, scope, "corp", true, now))(b)
	must(tenants.CreateDomain(ctx, scope, tenant.Domain{Name: domain, Kind: tenant.PassThrough, DirectoryID: directory.ID, AdmitUsers: true}, now))(b)
	broker := must(queue.Open(queue.Config{}))(b)
	b.Cleanup(broker.Close)

	listener := &counted{Listener: must(net.Listen("tcp", "127.0.0.1:0"))(b)}
	door := must(gateway.New(gateway.Config{Name: "bench", Fleet: members, CA: authority, Queue: broker, Tenants: tenants,
		PublicAddress: listener.Addr().String(), TLS: &tls.Config{Certificates: []tls.Certificate{must(local.Server([]string{"127.0.0.1"}, now))(b)}}}))(b)
	run(b, func(ctx context.Context) error { return door.Serve(ctx, listener) })

	_, secret, err := members.CreateToken(ctx, scope, fleet.NewToken{DirectoryID: directory.ID, Uses: agents}, now)
	if err != nil {
		b.Fatal(err)
	}
	in := installation{place: at, members: members, scope: scope, local: local, trust: authority.TrustDomain(), token: secret,
		gateway: listener.Addr().String(), corp: directory.ID}
	for i := range agents {
		in.join(b, i)
	}
	for deadline := time.After(time.Minute); len(door.Attached(scope)) < agents; {
		select {
		case <-deadline:
			b.Fatal("the agents do not attach")
		case <-time.Tick(10 * time.Millisecond):
		}
	}
	p := path{scope: scope, link: listener, checker: password.New(password.Config{Tenants: tenants, Users: users, Fleet: members,
		Lockout: lockout.New(store, lockout.Policy{}), Queue: broker})}
	for _, person := range at.people { // everybody's first sign-in makes the user, which is not what is measured
		p.check(b, person)
	}
	return p
}

// join registers an agent and runs it.
func (in installation) join(b *testing.B, i int) *agent.Agent {
	tlsKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(b)
	csr := must(x509.ParseCertificateRequest(must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, tlsKey))(b)))(b)
	key := must(envelope.GenerateKey())(b)
	_, row, certificate, err := in.members.Enrol(b.Context(), in.token, fleet.Enrolment{Host: fmt.Sprintf("bench-%d", i), CSR: csr,
		EnvelopeSuite: key.Public().Suite(), EnvelopeKey: key.Public().Bytes()}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	var chain []*x509.Certificate
	for _, der := range certificate.Chain {
		chain = append(chain, must(x509.ParseCertificate(der))(b))
	}
	id := must(identity.New(identity.Facts{Service: "https://bench.example", Gateway: in.gateway,
		GatewayCA: string(must(os.ReadFile(in.local.CertificateFile()))(b)), TenantID: in.scope.String(), TenantName: "bench", DirectoryID: in.corp,
		DirectoryName: "corp", AgentID: row.ID, AgentName: row.Name, TrustDomain: in.trust}, tlsKey, chain, key))(b)
	config := agent.Config{Identity: id, Limits: agent.Limits{NamePerMinute: -1, PerSecond: -1}, Slots: 64, Validator: in.validator, Logger: in.log}
	switch {
	case in.config != nil:
		config.Slots = most
		config = in.config(config)
	case in.validator == nil:
		config.LDAP = ldap.Config{Servers: []string{in.address}, RootCAs: in.roots, Connections: 32}
	}
	one := must(agent.New(config))(b)
	run(b, one.Run)
	return one
}

// run runs a loop until the benchmark ends.
func run(b *testing.B, loop func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- loop(ctx) }()
	b.Cleanup(func() { cancel(); <-done })
}

// check checks one right password through the product.
func (p path) check(b *testing.B, who people.Person) {
	answer, err := p.checker.Check(b.Context(), p.scope, password.Attempt{Name: who.UPN, Password: who.Password.Clone(), Address: "127.0.0.1", Request: who.SAM})
	if err != nil || !answer.Right {
		b.Errorf("%s: %+v, %v", who.UPN, answer, err)
	}
}

// counted is a listener that counts the bytes of its connections, TLS and all.
type counted struct {
	net.Listener
	up, down atomic.Int64 // from the agents, to the agents
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countedConn{c, l}, nil
}

type countedConn struct {
	net.Conn
	of *counted
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.of.up.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.of.down.Add(int64(n))
	return n, err
}
