package lockout_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/tenant/tenanttest"
	"github.com/sallyport-auth/sallyport/wire"
)

var now = tenanttest.Now

// ten is the policy of these tests, with round numbers.
var ten = lockout.Policy{Threshold: 10, Duration: time.Minute, Window: 10 * time.Minute}

func TestFailsClosed(t *testing.T) {
	tenanttest.FailsClosed(t, lockout.New(dbtest.New(t), ten), 5)
}

func settle(t *testing.T, g *lockout.Guard, scope tenant.Scope, account string, e lockout.Event, times int) {
	t.Helper()
	for range times {
		if err := g.Settle(context.Background(), scope, account, e, now); err != nil {
			t.Fatal(err)
		}
	}
}

func locked(t *testing.T, g *lockout.Guard, scope tenant.Scope, account string, at time.Time) bool {
	t.Helper()
	d, err := g.Allow(t.Context(), scope, account, at)
	if err != nil {
		t.Fatal(err)
	}
	return d.Locked
}

func TestGuard(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	g, scope := lockout.New(d, ten), tenanttest.New(t, d, "contoso").Scope()
	if locked(t, g, scope, "alice", now) {
		t.Error("an account that nobody guessed at is locked")
	}
	settle(t, g, scope, "alice", lockout.Right, 1) // writes nothing, fails nothing
	settle(t, g, scope, "alice", lockout.Wrong, 9)
	if n, err := g.Budget(ctx, scope, "alice", now); err != nil || n != 1 || locked(t, g, scope, "alice", now) {
		t.Errorf("after nine: %d left, %v", n, err)
	}
	settle(t, g, scope, "alice", lockout.Wrong, 1)
	decision, err := g.Allow(ctx, scope, "alice", now)
	if err != nil || !decision.Locked || !decision.Until.Equal(now.Add(time.Minute)) {
		t.Errorf("after ten: %+v, %v", decision, err)
	}
	if n, err := g.Budget(ctx, scope, "alice", now); err != nil || n != 0 {
		t.Errorf("while locked: %d left, %v", n, err)
	}
	if locked(t, g, scope, "bob", now) || locked(t, g, scope, "alice", now.Add(time.Minute)) {
		t.Error("the lock reaches others, or lasts too long")
	}
	s, err := g.State(ctx, scope, "alice")
	if expected := (lockout.State{Failures: 10, Lockouts: 1, LastFailure: now, LockedUntil: now.Add(time.Minute)}); err != nil || s != expected {
		t.Errorf("state %+v, %v", s, err)
	}
	// Another process of the service sees the same.
	if !locked(t, lockout.New(d, ten), scope, "alice", now) {
		t.Error("the lock is not in the store")
	}
	if err := g.Clear(ctx, scope, "alice"); err != nil {
		t.Fatal(err)
	}
	if err := g.Clear(ctx, scope, "alice"); err != nil {
		t.Errorf("clear twice: %v", err)
	}
	if s, err := g.State(ctx, scope, "alice"); err != nil || s != (lockout.State{}) {
		t.Errorf("after clear: %+v, %v", s, err)
	}
	var rows int
	if err := d.Reader().QueryRowContext(ctx, `SELECT count(*) FROM lockout`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("after clear: %d rows, %v", rows, err)
	}
	settle(t, g, scope, "alice", lockout.Wrong, 9)
	settle(t, g, scope, "alice", lockout.Right, 1)
	settle(t, g, scope, "alice", lockout.Wrong, 9)
	if locked(t, g, scope, "alice", now) {
		t.Error("a right password in between does not count")
	}

	if err := g.Settle(ctx, scope, "alice", lockout.Asked, now); err == nil {
		t.Error("a question was settled as a result")
	}
	if err := g.Settle(ctx, tenant.ScopeOf("gone"), "alice", lockout.Wrong, now); !fault.Has(err, wire.NotFound) {
		t.Errorf("settle for a tenant that is gone: %v", err)
	}
}

// A store that does not answer is an error to everybody, never an account that may go on.
func TestStoreFails(t *testing.T) {
	d := dbtest.New(t)
	g, scope := lockout.New(d, ten), tenanttest.New(t, d, "contoso").Scope()
	settle(t, g, scope, "alice", lockout.Wrong, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	everything := map[string]func() error{
		"allow":         func() error { _, err := g.Allow(ctx, scope, "alice", now); return err },
		"budget":        func() error { _, err := g.Budget(ctx, scope, "alice", now); return err },
		"state":         func() error { _, err := g.State(ctx, scope, "alice"); return err },
		"settle, wrong": func() error { return g.Settle(ctx, scope, "alice", lockout.Wrong, now) },
		"settle, right": func() error { return g.Settle(ctx, scope, "alice", lockout.Right, now) },
		"clear":         func() error { return g.Clear(ctx, scope, "alice") },
		"sweep":         func() error { _, err := g.Sweep(ctx, now); return err },
	}
	refused := func(why string) {
		t.Helper()
		for name, do := range everything {
			if err := do(); err == nil {
				t.Errorf("%s, %s: no error", why, name)
			}
		}
	}
	refused("given up")
	if s, err := g.State(t.Context(), scope, "alice"); err != nil || s.Failures != 3 {
		t.Errorf("afterwards: %+v, %v", s, err)
	}

	ctx = t.Context()
	err := d.Write(ctx, func(tx db.Querier) error { _, err := tx.ExecContext(ctx, `DROP TABLE lockout`); return err })
	if err != nil {
		t.Fatal(err)
	}
	refused("without its table")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		said := make(chan string, 1)
		g.Logger = slog.New(slog.NewTextHandler(firstLine(said), nil))
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		if line := <-said; !strings.Contains(line, "lockout: sweep") {
			t.Errorf("the sweep that failed says %q", line)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// firstLine sends the first line that is written.
type firstLine chan string

func (c firstLine) Write(b []byte) (int, error) {
	select {
	case c <- string(b):
	default:
	}
	return len(b), nil
}

// The right password of an account that nobody guesses at, which nearly every sign-in is, does not wait for whoever writes.
func TestRightWritesNothing(t *testing.T) {
	d := dbtest.New(t)
	g, scope := lockout.New(d, ten), tenanttest.New(t, d, "contoso").Scope()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // for a failure alone
	defer cancel()
	err := d.Write(ctx, func(db.Querier) error { return g.Settle(ctx, scope, "alice", lockout.Right, now) })
	if err != nil {
		t.Error(err)
	}
}

func TestTenantsNeverMeet(t *testing.T) {
	d := dbtest.New(t)
	g := lockout.New(d, ten)
	one, two := tenanttest.New(t, d, "contoso").Scope(), tenanttest.New(t, d, "fabrikam").Scope()
	settle(t, g, one, "alice", lockout.Wrong, 10)
	if !locked(t, g, one, "alice", now) || locked(t, g, two, "alice", now) {
		t.Error("the lock of one tenant's account is not its own")
	}
	settle(t, g, two, "alice", lockout.Right, 1)
	if err := g.Clear(t.Context(), two, "alice"); err != nil {
		t.Fatal(err)
	}
	if !locked(t, g, one, "alice", now) {
		t.Error("another tenant's right password, or mercy, ended the lock")
	}
}

// TestAllAtOnce: wrong passwords that are settled at the same time are all counted.
func TestAllAtOnce(t *testing.T) {
	d := dbtest.New(t)
	g, scope := lockout.New(d, lockout.Policy{Threshold: 1000}), tenanttest.New(t, d, "contoso").Scope()
	const times = 25
	var group sync.WaitGroup
	for range times {
		group.Go(func() {
			if err := g.Settle(t.Context(), scope, "alice", lockout.Wrong, now); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if s, err := g.State(t.Context(), scope, "alice"); err != nil || s.Failures != times {
		t.Errorf("counted %+v, %v; want %d", s, err, times)
	}
}

// TestStrangeAccounts: whatever strangers type is counted, apart from everything else that they type.
func TestStrangeAccounts(t *testing.T) {
	d := dbtest.New(t)
	g, scope := lockout.New(d, ten), tenanttest.New(t, d, "contoso").Scope()
	strange := []string{"", "a\x00b", "a\x00c", "\xff", "\xfe", strings.Repeat("a", 257), strings.Repeat("a", 258), strings.Repeat("ä", 1<<16), "'; DROP TABLE lockout; --"}
	for i, account := range strange {
		settle(t, g, scope, account, lockout.Wrong, 10)
		for j, other := range strange {
			if got := locked(t, g, scope, other, now); got != (j <= i) {
				t.Errorf("after %.20q, %.20q is locked: %v", account, other, got)
			}
		}
	}
}

func TestSweep(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	g, scope := lockout.New(d, ten), tenanttest.New(t, d, "contoso").Scope()
	settle(t, g, scope, "counting", lockout.Wrong, 3)
	settle(t, g, scope, "locked", lockout.Wrong, 10)
	for _, c := range []struct {
		at      time.Duration
		removed int64
	}{
		{9 * time.Minute, 0},
		{10 * time.Minute, 1},           // the count is over
		{24*time.Hour + time.Minute, 0}, // the probation may last an hour longer, for a longer lock
		{25 * time.Hour, 1},
		{26 * time.Hour, 0},
	} {
		if n, err := g.Sweep(ctx, now.Add(c.at)); err != nil || n != c.removed {
			t.Errorf("after %v: removed %d, %v; want %d", c.at, n, err, c.removed)
		}
	}
}

// TestRunSweepsEverything: more states than one sweep takes are gone after one turn of the loop.
func TestRunSweepsEverything(t *testing.T) {
	d := dbtest.New(t)
	g, scope := lockout.New(d, ten), tenanttest.New(t, d, "contoso").Scope()
	tenantID, err := scope.ID()
	if err != nil {
		t.Fatal(err)
	}
	// Two and a half sweeps' worth of names, made up long before any clock that a test may have.
	err = d.Write(t.Context(), func(tx db.Querier) error {
		for i := range 2500 {
			if _, err := tx.ExecContext(t.Context(), `INSERT INTO lockout (tenant_id, account, failures, lockouts, last_failure, locked_until)
				VALUES ($1, $2, 1, 0, 1, 0)`, tenantID, strconv.Itoa(i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		time.Sleep(time.Minute + time.Second) // the bubble's clock
		synctest.Wait()
		for look := 1; ; look++ {
			var left int
			if err := d.Reader().QueryRowContext(ctx, `SELECT count(*) FROM lockout`).Scan(&left); err != nil {
				t.Fatal(err)
			}
			if left == 0 {
				break
			}
			if look == 20_000 {
				t.Fatalf("%d are left after a turn", left)
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestRunEnds(t *testing.T) {
	d := dbtest.New(t)
	g := lockout.New(d, ten)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func BenchmarkAllow(b *testing.B) {
	d := dbtest.New(b)
	g, scope := lockout.New(d, ten), tenanttest.New(b, d, "contoso").Scope()
	if err := g.Settle(b.Context(), scope, "alice", lockout.Wrong, now); err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := g.Allow(b.Context(), scope, "alice", now); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// TestNetworksAreCountedApart: one network's guesses lock it out alone, and an administrator's mercy is for all of them.
func TestNetworksAreCountedApart(t *testing.T) {
	d := dbtest.New(t)
	g, scope := lockout.New(d, ten), tenanttest.New(t, d, "contoso").Scope()
	if account := lockout.At("alice", ""); account != "alice" {
		t.Errorf("without a network alice is %q", account)
	}
	one, two, other := lockout.At("alice", "192.0.2.1/32"), lockout.At("alice", "2001:db8::/48"), lockout.At("alice2", "192.0.2.1/32")
	for _, account := range []string{one, other} {
		settle(t, g, scope, account, lockout.Wrong, g.Policy().Threshold)
	}
	if !locked(t, g, scope, one, now) || locked(t, g, scope, two, now) || locked(t, g, scope, "alice", now) {
		t.Error("a lock reaches another network")
	}
	settle(t, g, scope, two, lockout.Wrong, g.Policy().Threshold)
	if err := g.Clear(t.Context(), scope, "alice"); err != nil {
		t.Fatal(err)
	}
	if locked(t, g, scope, one, now) || locked(t, g, scope, two, now) || !locked(t, g, scope, other, now) {
		t.Error("clear does not reach all networks of the account, and no other account")
	}
}
