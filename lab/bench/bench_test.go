// Package bench measures the whole path of a check against the physical limit: the directory itself, asked by a tight loop of
// binds on kept connections.
//
//	direct   go-ldap ── LDAPS ──▶ directory
//	through  password.Check ── queue ── gateway ══ mutual TLS ══ agent ── LDAPS ──▶ the same directory
//
// Both are driven in one run, in turns, at the same concurrency, so that a busy machine slows both; what counts is the ratio.
// Service, gateway and agent share this process and its cores with the evaluation directory; Samba is a process of its own.
//
//	go test -run '^$' -bench Checks ./lab/bench
package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
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
	"github.com/sallyport-auth/sallyport/wire"
)

const (
	domain = "corp.example.com"
	// accounts is how many people sign in, so that no limit of one account is measured.
	accounts = 64
	// rounds is how often direct and through take turns.
	rounds = 10
)

// place is a directory and the people in it.
type place struct {
	address string
	roots   *x509.CertPool
	people  []people.Person
}

func crowd() []people.Person {
	var all []people.Person
	for i := range accounts {
		sam := fmt.Sprintf("person%02d", i)
		all = append(all, people.Person{SAM: sam, UPN: sam + "@" + domain, Password: wire.NewSecret([]byte(people.RightPassword)), State: people.Normal})
	}
	return all
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(b testing.TB) T {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
}

func evaluationPlace(b *testing.B) place {
	certificate, caFile, err := evaluation.SelfSigned(b.TempDir(), "127.0.0.1")
	if err != nil {
		b.Fatal(err)
	}
	everybody := crowd()
	server := must(evaluation.New(evaluation.Config{People: everybody, TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}}))(b)
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(b)
	done := make(chan error, 1)
	go func() { done <- server.Serve(context.Background(), listener) }()
	b.Cleanup(func() { _ = server.Close(); <-done })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(caFile))(b))
	return place{address: "ldaps://" + listener.Addr().String(), roots: roots, people: everybody}
}

func sambaPlace(b *testing.B) place {
	if err := samba.Available(); err != nil {
		b.Skip(err)
	}
	dc := must(samba.Start(b.Context(), samba.Options{Model: samba.Prefork}))(b)
	b.Cleanup(dc.Stop)
	everybody := crowd()
	if err := dc.Fill(b.Context(), everybody); err != nil {
		b.Fatal(err)
	}
	return place{address: dc.LDAPS(), roots: dc.CAPool, people: everybody}
}

// path is the product between a typed password and the directory.
type path struct {
	checker *password.Checker
	scope   tenant.Scope
}

// newPath puts service, gateway and one agent together, with SQLite in a file and the queue in process.
func newPath(b *testing.B, at place) path {
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

	listener := must(net.Listen("tcp", "127.0.0.1:0"))(b)
	door := must(gateway.New(gateway.Config{Name: "bench", Fleet: members, CA: authority, Queue: broker, Tenants: tenants,
		PublicAddress: listener.Addr().String(), TLS: &tls.Config{Certificates: []tls.Certificate{must(local.Server([]string{"127.0.0.1"}, now))(b)}}}))(b)
	run(b, func(ctx context.Context) error { return door.Serve(ctx, listener) })

	_, secret, err := members.CreateToken(ctx, scope, fleet.NewToken{DirectoryID: directory.ID}, now)
	if err != nil {
		b.Fatal(err)
	}
	tlsKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(b)
	csr := must(x509.ParseCertificateRequest(must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, tlsKey))(b)))(b)
	key := must(envelope.GenerateKey())(b)
	_, row, certificate, err := members.Enrol(ctx, secret, fleet.Enrolment{Host: "bench", CSR: csr, EnvelopeSuite: key.Public().Suite(), EnvelopeKey: key.Public().Bytes()}, now)
	if err != nil {
		b.Fatal(err)
	}
	var chain []*x509.Certificate
	for _, der := range certificate.Chain {
		chain = append(chain, must(x509.ParseCertificate(der))(b))
	}
	id := must(identity.New(identity.Facts{Service: "https://bench.example", Gateway: listener.Addr().String(),
		GatewayCA: string(must(os.ReadFile(local.CertificateFile()))(b)), TenantID: scope.String(), TenantName: "bench", DirectoryID: directory.ID,
		DirectoryName: "corp", AgentID: row.ID, AgentName: row.Name, TrustDomain: authority.TrustDomain()}, tlsKey, chain, key))(b)
	one := must(agent.New(agent.Config{Identity: id, Limits: agent.Limits{NamePerMinute: -1, PerSecond: -1}, Slots: 64,
		LDAP: ldap.Config{Servers: []string{at.address}, RootCAs: at.roots, Connections: 32}}))(b)
	run(b, one.Run)
	for deadline := time.After(20 * time.Second); len(door.Attached(scope)) == 0; {
		select {
		case <-deadline:
			b.Fatal("the agent does not attach")
		case <-time.Tick(10 * time.Millisecond):
		}
	}
	p := path{scope: scope, checker: password.New(password.Config{Tenants: tenants, Users: users, Fleet: members,
		Lockout: lockout.New(store, lockout.Policy{}), Queue: broker})}
	for _, person := range at.people { // everybody's first sign-in makes the user, which is not what is measured
		p.check(b, person)
	}
	return p
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

// binder is one kept connection for direct binds.
type binder struct{ conn *goldap.Conn }

func newBinders(b *testing.B, at place, n int) []binder {
	binders := make([]binder, n)
	for i := range binders {
		conn := must(goldap.DialURL(at.address, goldap.DialWithTLSConfig(&tls.Config{RootCAs: at.roots, MinVersion: tls.VersionTLS12})))(b)
		b.Cleanup(func() { _ = conn.Close() })
		binders[i] = binder{conn}
	}
	return binders
}

func (d binder) bind(b *testing.B, who people.Person) {
	if err := d.conn.Bind(who.UPN, string(who.Password.Reveal())); err != nil {
		b.Errorf("%s: %v", who.UPN, err)
	}
}

// phase is what one way of asking took in all rounds together.
type phase struct {
	wall  time.Duration
	cpu   time.Duration
	times []time.Duration
}

// measure runs n operations on workers and adds to the phase.
func (p *phase) measure(n, workers int, operation func(worker, i int)) {
	times := make([]time.Duration, n)
	var next atomic.Int64
	var group sync.WaitGroup
	cpu, began := cpuTime(), time.Now()
	for worker := range workers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				at := time.Now()
				operation(worker, i)
				times[i] = time.Since(at)
			}
		})
	}
	group.Wait()
	p.wall += time.Since(began)
	p.cpu += cpuTime() - cpu
	p.times = append(p.times, times...)
}

func (p *phase) rate() float64 { return float64(len(p.times)) / p.wall.Seconds() }

// at returns a percentile in milliseconds.
func (p *phase) at(percent int) float64 {
	slices.Sort(p.times)
	return float64(p.times[(len(p.times)-1)*percent/100].Microseconds()) / 1000
}

// cpuTime is the processor time that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkChecks reports, side by side, the rate of direct binds and of checks through the product, their ratio, the latency that
// the product adds, and this process's processor time for a check.
func BenchmarkChecks(b *testing.B) {
	for _, where := range []struct {
		name string
		open func(*testing.B) place
	}{{"evaluation", evaluationPlace}, {"samba", sambaPlace}} {
		b.Run(where.name, func(b *testing.B) {
			at := where.open(b)
			through := newPath(b, at)
			for _, workers := range []int{1, 8, 32} {
				b.Run(fmt.Sprint(workers), func(b *testing.B) {
					binders := newBinders(b, at, workers)
					var direct, product phase
					b.ResetTimer()
					for left := b.N; left > 0; {
						n := min(left, max(b.N/rounds, 1))
						left -= n
						direct.measure(n, workers, func(worker, i int) { binders[worker].bind(b, at.people[i%accounts]) })
						product.measure(n, workers, func(_, i int) { through.check(b, at.people[i%accounts]) })
					}
					b.StopTimer()
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(direct.rate(), "direct/s")
					b.ReportMetric(product.rate(), "through/s")
					b.ReportMetric(100*product.rate()/direct.rate(), "%of-direct")
					b.ReportMetric(product.at(50)-direct.at(50), "added-p50-ms")
					b.ReportMetric(product.at(99)-direct.at(99), "added-p99-ms")
					b.ReportMetric(float64((product.cpu-direct.cpu).Microseconds())/float64(len(product.times)), "added-cpu-us/check")
				})
			}
		})
	}
}
