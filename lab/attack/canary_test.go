package attack

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/canary"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// probed has a canary on the directory, and returns what probes an agent once, and what probes all whose turn it is.
func (w *world) probed(name, secret string) (once func(m *member), run func(context.Context) error) {
	t := w.t
	t.Helper()
	store := canary.NewStore(w.db, fatal(atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key")))(t), w.tenants, w.fleet)
	fatal(store.Set(t.Context(), w.a, w.dir, []string{name}, wire.NewSecret([]byte(secret)), time.Now()))(t)
	p := fatal(canary.New(canary.Config{Store: store, Fleet: w.fleet, Checker: w.checker, Logger: w.log.logger(),
		Announce: func(scope tenant.Scope, agent string) error {
			return w.gateway.queue.Announce(queue.Change{Tenant: scope.String(), Agent: agent})
		}}))(t)
	once = func(m *member) {
		t.Helper()
		until(t, "the agent in the fleet", func() bool {
			all, err := w.fleet.Healths(t.Context(), w.a)
			return err == nil && !all[m.row.ID].Reported.IsZero()
		})
		if err := p.Probe(t.Context(), w.a, w.dir, m.row.ID); err != nil {
			t.Fatal(err)
		}
	}
	return once, p.Run
}

// condition is how an agent is shown.
func (m *member) condition() (fleet.Condition, fleet.Probe) {
	t := m.w.t
	t.Helper()
	row := fatal(m.w.fleet.ByID(t.Context(), m.scope, m.row.ID))(t)
	h := fatal(m.w.fleet.Healths(t.Context(), m.scope))(t)[m.row.ID]
	c, _ := fleet.Judge(h.Of(row), time.Now())
	return c, h.Probe
}

// TestCanaryCatchesALiar: an agent in an attacker's hands that says yes to everything is shut out by its first probe, before anybody
// signs in through it and without a second agent's word; an honest one stays, and people and lockout notice nothing.
func TestCanaryCatchesALiar(t *testing.T) {
	w := newWorld(t)
	rogue := w.enrol(w.a, w.dir, w.gateway.address)
	rogue.validator = liar{func(string) bool { return true }, wire.Attributes{Anchor: "6f1de3f5-3f3b-4a47-9f5b-0b6a3a1c2d4e", UPN: name}}
	rogue.attach()
	honest := w.attached(w.a, w.dir)
	probe, run := w.probed(name, "") // a name that people use, too: the directory counts its binds
	before := w.failuresNow()
	for range 3 {
		probe(honest)
	}
	if c, p := honest.condition(); c != fleet.Well || p.At.IsZero() || p.Took == 0 || p.Code != 0 {
		t.Errorf("the honest one is %s: %+v", c, p)
	}
	if n := w.corp.Binds(name); n != 3 {
		t.Errorf("%d binds, of 3 probes of the honest agent", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	until(t, "the liar to be shut out", func() bool {
		c, _ := rogue.condition()
		return c == "quarantined"
	})
	until(t, "the liar's stream to end", func() bool { return len(w.gateway.Attached(w.a)) == 1 })
	until(t, "somebody to be told", func() bool { // who is told last
		return len(w.log.lines(t, "an agent said yes to a password that nobody has; it is quarantined")) == 1
	})
	if moments := fatal(w.fleet.History(t.Context(), w.a, rogue.row.ID))(t); moments[0].Event != string(fleet.Lie) {
		t.Errorf("history %+v", moments)
	}
	if n := w.failuresNow(); n != before {
		t.Errorf("lockout counts %d, before it were %d", n, before)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c, _ := honest.condition(); c != fleet.Well {
		t.Errorf("the honest one is %s", c)
	}
	w.honest()
}

// refusing says no to everything.
type refusing struct{ directory.Validator }

func (refusing) Validate(ctx context.Context, c directory.Check) (directory.Result, error) {
	return liar{accepts: func(string) bool { return false }}.Validate(ctx, c)
}

// TestCanaryNoticesARefusal: an agent that turns people with right passwords away is degraded by a probe with the canary's own one, which
// an honest agent says yes to.
func TestCanaryNoticesARefusal(t *testing.T) {
	w := newWorld(t)
	probe, _ := w.probed(name, right) // the one account that the lab's directory has
	broken := w.enrol(w.a, w.dir, w.gateway.address)
	broken.validator = refusing{}
	broken.attach()
	honest := w.attached(w.a, w.dir)
	for tries := 0; ; tries++ {
		probe(broken)
		c, p := broken.condition()
		if c == fleet.Degraded && p.Code == wire.CanaryRefused {
			break
		}
		if c != fleet.Well || tries == 60 { // half of the probes have made-up passwords, which it is right about
			t.Fatalf("%s, %+v after %d probes", c, p, tries)
		}
	}
	for range 10 {
		probe(honest)
		if c, p := honest.condition(); c != fleet.Well {
			t.Fatalf("the honest one is %s: %+v", c, p)
		}
	}
	until(t, "the one that fails to be asked last", func() bool {
		o := fatal(w.gateway.queue.Ask(t.Context(), w.a, w.dir, queue.Ask{Request: "r"}))(t)
		w.gateway.queue.Release(o.Gateway, o.Slot)
		return o.Agent == honest.row.ID
	})
	for range 6 {
		w.honest()
	}
}
