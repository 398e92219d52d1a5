package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/lab/world"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/localca"
	"github.com/sallyport-auth/sallyport/service/tenant"
)

const (
	// idleAgents are spread over tenants of fleetSize each, which is what a tenant has at most by default.
	idleAgents = 2000
	fleetSize  = 40
)

// idleDirectory is one that nobody asks.
type idleDirectory struct{}

func (idleDirectory) Validate(context.Context, directory.Check) (directory.Result, error) {
	return directory.Result{}, errors.New("nobody should ask")
}

// endings counts how links of agents ended, by what their logs say.
type endings struct {
	slog.Handler
	mu   sync.Mutex
	seen map[string]int
}

// Handle counts the ends of links.
func (e *endings) Handle(_ context.Context, r slog.Record) error {
	if !strings.HasPrefix(r.Message, "link ended") {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "err" {
			return true
		}
		text, kind := a.Value.String(), "lost"
		switch {
		case strings.Contains(text, "goodbye"), strings.Contains(text, "refuses"):
			kind = "refused"
		case strings.Contains(text, "not attached within"):
			kind = "timed out"
		case strings.Contains(text, "connection refused"):
			kind = "no listener"
		}
		e.mu.Lock()
		e.seen[kind]++
		e.mu.Unlock()
		return false
	})
	return nil
}

func (e *endings) WithAttrs([]slog.Attr) slog.Handler       { return e }
func (e *endings) WithGroup(string) slog.Handler            { return e }
func (e *endings) Enabled(context.Context, slog.Level) bool { return true }

// take returns what was counted since the last time.
func (e *endings) take() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := e.seen
	e.seen = map[string]int{}
	return seen
}

// settle joins many agents to a service that runs, as rows in its own database: two thousand registrations from one address would
// be held back by the service's limits.
func settle(b *testing.B, w *world.World, log *slog.Logger) []*agent.Agent {
	ctx, now := b.Context(), time.Now()
	folder := w.DataFolder(w.Signins[0])
	store := must(db.Open(ctx, db.Config{URL: w.DatabaseURL}))(b)
	b.Cleanup(func() { _ = store.Close() })
	authority := must(ca.Open(ctx, store, must(atrest.OpenOrCreate(filepath.Join(folder, "at-rest.key")))(b), ca.Config{TrustDomain: "localhost"}))(b)
	local := must(localca.OpenOrCreate(filepath.Join(filepath.Dir(folder), "ca")))(b)
	tenants, members := tenant.NewStore(store), fleet.NewStore(store, authority)
	var all []*agent.Agent
	for i := range idleAgents / fleetSize {
		scope := must(tenants.CreateTenant(ctx, tenant.NewTenant{Name: fmt.Sprintf("tenant-%d", i)}, now))(b).Scope()
		corp := must(tenants.CreateDirectory(ctx, scope, "corp", true, now))(b)
		_, secret, err := members.CreateToken(ctx, scope, fleet.NewToken{DirectoryID: corp.ID, Uses: fleetSize}, now)
		if err != nil {
			b.Fatal(err)
		}
		in := installation{validator: idleDirectory{}, log: log, members: members, scope: scope, local: local, trust: authority.TrustDomain(),
			token: secret, gateway: w.GatewayAddress(), corp: corp.ID}
		for j := range fleetSize {
			all = append(all, in.join(b, j))
		}
	}
	return all
}

// attached waits until all agents are attached and returns when each was, since began.
func attached(b *testing.B, w *world.World, all []*agent.Agent, began time.Time) []time.Duration {
	if err := w.AwaitAgents(b.Context(), len(all)); err != nil {
		b.Fatal(err)
	}
	times := make([]time.Duration, len(all))
	for i, a := range all {
		for s := a.Status(time.Now()).Link; ; s = a.Status(time.Now()).Link {
			if s.State == link.Attached {
				times[i] = s.Since.Sub(began)
				break
			}
			<-time.After(10 * time.Millisecond) // the gateway knows first
		}
	}
	slices.Sort(times)
	return times
}

// BenchmarkFleet reports what two thousand idle agents cost one service in one process, and how they come back when it was killed and
// started again: how long until half and until all are attached, and how many tries were refused by the service or timed out. One
// operation is such a restart.
func BenchmarkFleet(b *testing.B) {
	w := installed(b, false, 0)
	service := w.Signins[0]
	empty := must(service.Usage())(b)
	ends := &endings{seen: map[string]int{}}
	all := settle(b, w, slog.New(ends))
	attached(b, w, all, time.Now())
	<-time.After(30 * time.Second) // what the registrations needed is given back to the system
	before := must(service.Usage())(b)
	<-time.After(10 * time.Second)
	full := must(service.Usage())(b)
	var half, last []time.Duration
	refused, late := 0, 0
	for b.Loop() {
		ends.take()
		service.Kill()
		if err := service.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		times := attached(b, w, all, time.Now())
		half, last = append(half, times[len(times)/2]), append(last, times[len(times)-1])
		seen := ends.take()
		b.Logf("half %s, last %s, ends of links: %v", times[len(times)/2], times[len(times)-1], seen)
		refused, late = refused+seen["refused"], late+seen["timed out"]
	}
	b.ReportMetric(float64(full.Resident-empty.Resident)/1000/idleAgents, "service-KB/agent")
	b.ReportMetric(float64((full.CPU-before.CPU).Milliseconds())/10, "service-cpu-ms/s")
	b.ReportMetric(slices.Max(half).Seconds(), "half-back-s")
	b.ReportMetric(slices.Max(last).Seconds(), "all-back-s")
	b.ReportMetric(float64(refused), "refused")
	b.ReportMetric(float64(late), "timed-out")
	b.ReportMetric(0, "ns/op")
}
