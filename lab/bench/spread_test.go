package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/sallyport-auth/sallyport/agent/directory"
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

// timed is a directory that takes its time for every answer, and counts them.
type timed struct {
	takes   time.Duration
	answers atomic.Int64
}

func (d *timed) Validate(ctx context.Context, c directory.Check) (directory.Result, error) {
	if err := c.Fence(ctx); err != nil {
		return directory.Result{}, &directory.Error{Code: wire.TransientNetwork, Cause: err}
	}
	d.answers.Add(1)
	select {
	case <-time.After(d.takes):
	case <-ctx.Done():
		return directory.Result{}, &directory.Error{Code: wire.DirectoryTimeout, Fenced: true, Cause: ctx.Err()}
	}
	r := directory.Result{DC: "dc1.bench.example:636", Verdict: wire.Verdict{Reason: wire.Accepted}, Judged: time.Now()}
	if c.WantAttributes {
		r.Verdict.Attributes = &wire.Attributes{Anchor: "6f1de3f5-3f3b-4a47-9f5b-0b6a3a1c2d4e", UPN: c.Name}
	}
	return r, nil
}

// BenchmarkSpread shows which agent is asked how often. The rows are what the agents' domain controllers take for an answer, how many
// checks run at once, and on how many gateways the three agents are.
func BenchmarkSpread(b *testing.B) {
	const ms = time.Millisecond
	for _, gateways := range []int{1, 2, 3} {
		for _, takes := range [][]time.Duration{{10 * ms, 10 * ms, 10 * ms}, {10 * ms, 10 * ms, 50 * ms}} {
			for _, atOnce := range []int{1, 12} {
				b.Run(fmt.Sprintf("%d-%d-%dms/%d-at-once/%d-gateways", takes[0]/ms, takes[1]/ms, takes[2]/ms, atOnce, gateways), func(b *testing.B) {
					spread(b, takes, atOnce, gateways)
				})
			}
		}
	}
}

func spread(b *testing.B, takes []time.Duration, atOnce, gateways int) {
	directories, p := newSpread(b, takes, gateways)
	one := func(i int) {
		answer, err := p.checker.Check(b.Context(), p.scope, password.Attempt{Name: "ada@" + domain, Password: wire.NewSecret([]byte("pw")), Request: fmt.Sprint(i)})
		if err != nil || !answer.Right {
			b.Errorf("%+v, %v", answer, err)
		}
	}
	for i := range 20 * len(takes) { // until they know one another
		one(i)
	}
	for _, d := range directories {
		d.answers.Store(0)
	}
	b.ResetTimer()
	var next atomic.Int64
	var tasks sync.WaitGroup
	for range atOnce {
		tasks.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				one(int(i))
			}
		})
	}
	tasks.Wait()
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	total := 0.0
	for _, d := range takes {
		total += 1 / d.Seconds()
	}
	for i, d := range directories {
		b.ReportMetric(100*float64(d.answers.Load())/float64(b.N), fmt.Sprintf("agent-%d-%%", i+1))
	}
	b.ReportMetric(100/takes[len(takes)-1].Seconds()/total, "fair-3-%")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "checks/s")
}

// newSpread puts a service, gateways and an agent for each directory together; the agents are on the gateways in turn.
func newSpread(b *testing.B, takes []time.Duration, gateways int) ([]*timed, path) {
	ctx, now := b.Context(), time.Now()
	broker := must(server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true}))(b)
	broker.Start()
	b.Cleanup(func() { broker.Shutdown(); broker.WaitForShutdown() })
	if !broker.ReadyForConnections(10 * time.Second) {
		b.Fatal("the broker is not ready")
	}
	connect := func() *queue.Queue {
		q := must(queue.Open(queue.Config{URL: broker.ClientURL()}))(b)
		b.Cleanup(q.Close)
		return q
	}
	store := must(db.Open(ctx, db.Config{URL: "sqlite:" + filepath.Join(b.TempDir(), "bench.db")}))(b)
	b.Cleanup(func() { _ = store.Close() })
	authority := must(ca.Open(ctx, store, must(atrest.OpenOrCreate(filepath.Join(b.TempDir(), "key")))(b), ca.Config{}))(b)
	local := must(localca.OpenOrCreate(filepath.Join(b.TempDir(), "ca")))(b)
	tenants, members := tenant.NewStore(store), fleet.NewStore(store, authority)
	scope := must(tenants.CreateTenant(ctx, tenant.NewTenant{Name: "bench", DisplayName: "Bench"}, now))(b).Scope()
	corp := must(tenants.CreateDirectory(ctx, scope, "corp", true, now))(b)
	must(tenants.CreateDomain(ctx, scope, tenant.Domain{Name: domain, Kind: tenant.PassThrough, DirectoryID: corp.ID, AdmitUsers: true}, now))(b)
	_, secret, err := members.CreateToken(ctx, scope, fleet.NewToken{DirectoryID: corp.ID, Uses: len(takes)}, now)
	if err != nil {
		b.Fatal(err)
	}
	var doors []*gateway.Gateway
	var addresses []string
	for range gateways {
		listener := must(net.Listen("tcp", "127.0.0.1:0"))(b)
		door := must(gateway.New(gateway.Config{Name: "bench", Fleet: members, CA: authority, Queue: connect(), Tenants: tenants, Alone: true,
			PublicAddress: listener.Addr().String(), TLS: &tls.Config{Certificates: []tls.Certificate{must(local.Server([]string{"127.0.0.1"}, now))(b)}}}))(b)
		run(b, func(ctx context.Context) error { return door.Serve(ctx, listener) })
		doors, addresses = append(doors, door), append(addresses, listener.Addr().String())
	}
	var directories []*timed
	for i, d := range takes {
		directories = append(directories, &timed{takes: d})
		installation{validator: directories[i], members: members, scope: scope, local: local, trust: authority.TrustDomain(), token: secret,
			gateway: addresses[i%gateways], corp: corp.ID}.join(b, i)
	}
	for deadline := time.After(time.Minute); ; {
		attached := 0
		for _, door := range doors {
			attached += len(door.Attached(scope))
		}
		if attached == len(takes) {
			break
		}
		select {
		case <-deadline:
			b.Fatal("the agents do not attach")
		case <-time.Tick(10 * time.Millisecond):
		}
	}
	return directories, path{scope: scope, checker: password.New(password.Config{Tenants: tenants, Users: user.NewStore(store), Fleet: members,
		Lockout: lockout.New(store, lockout.Policy{}), Queue: connect()})}
}
