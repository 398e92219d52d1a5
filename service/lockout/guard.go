package lockout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Guard keeps the states of all accounts in the store, so that they hold for every replica of the service. It is safe for
// concurrent use.
type Guard struct {
	// Logger hears of sweeps that failed; nil discards. Set it before Run.
	Logger *slog.Logger

	db     *db.DB
	policy Policy
}

// New returns the guard over d. The zero Policy is the default one.
func New(d *db.DB, p Policy) *Guard { return &Guard{db: d, policy: p.withDefaults()} }

// Policy returns the policy with all defaults filled in.
func (g *Guard) Policy() Policy { return g.policy }

// Allow says whether a password of the account may be checked now. It writes nothing.
func (g *Guard) Allow(ctx context.Context, scope tenant.Scope, account string, now time.Time) (Decision, error) {
	s, err := g.State(ctx, scope, account)
	if err != nil {
		return Decision{}, err
	}
	_, d := Next(s, Asked, g.policy, now)
	return d, nil
}

// Budget returns how many passwords of the account may be wrong, the last of which locks it; 0 while it is locked.
func (g *Guard) Budget(ctx context.Context, scope tenant.Scope, account string, now time.Time) (int, error) {
	s, err := g.State(ctx, scope, account)
	if err != nil {
		return 0, err
	}
	return left(s, g.policy, now), nil
}

// Settle tells what became of a check: Wrong or Right. There is nothing to settle for "don't know". Once it has returned, the
// event holds for every replica. Fault: NotFound for a tenant that is gone.
func (g *Guard) Settle(ctx context.Context, scope tenant.Scope, account string, e Event, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	if e != Wrong && e != Right {
		return fmt.Errorf("lockout: %q is no result of a check", e)
	}
	account = stored(account)
	if e == Right {
		// Nearly every right password meets an account that nobody guesses at: nothing to write then.
		if s, err := load(ctx, g.db.Reader(), tenantID, account); err != nil || s == (State{}) {
			return err
		}
	}
	err = db.Translate(g.db.Write(ctx, func(tx db.Querier) error {
		before, err := load(ctx, tx, tenantID, account)
		if err != nil {
			return err
		}
		after, _ := Next(before, e, g.policy, now)
		return save(ctx, tx, tenantID, account, after)
	}))
	if errors.Is(err, db.ErrReference) {
		return fault.New(wire.NotFound, "the tenant is gone")
	}
	if err != nil {
		return fmt.Errorf("lockout: settle: %w", err)
	}
	return nil
}

// State returns what is remembered of an account; the zero State when there is nothing.
func (g *Guard) State(ctx context.Context, scope tenant.Scope, account string) (State, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return State{}, err
	}
	return load(ctx, g.db.Reader(), tenantID, stored(account))
}

// separator stands between account and network in the name of an account as one network sees it.
const separator = " from "

// At names an account as one network sees it, for accounts that strangers elsewhere must not be able to lock; without a network it is the
// account itself. [Guard.Clear] of the account clears all of them.
func At(account, network string) string {
	if network == "" {
		return account
	}
	return account + separator + network
}

// Clear forgets an account's wrong passwords and locks, as an administrator's mercy, in all networks. It succeeds also when there
// are none.
func (g *Guard) Clear(ctx context.Context, scope tenant.Scope, account string) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	err = g.db.Write(ctx, func(tx db.Querier) error {
		if err := save(ctx, tx, tenantID, stored(account), State{}); err != nil {
			return err
		}
		// A scan of one tenant's accounts: prefixes in the order of an index differ from one collation to the next.
		_, err := tx.ExecContext(ctx, `DELETE FROM lockout WHERE tenant_id = $1 AND substr(account, 1, length(CAST($2 AS text))) = CAST($2 AS text)`,
			tenantID, stored(account)+separator)
		return err
	})
	if err != nil {
		return fmt.Errorf("lockout: clear: %w", err)
	}
	return nil
}

// Run removes states that time has cleared until ctx ends, whose error it returns. A sweep that fails is logged, and made up
// for by the next.
func (g *Guard) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			if err := g.sweepAll(ctx, now); err != nil && g.Logger != nil && ctx.Err() == nil {
				g.Logger.WarnContext(ctx, "old lockout states stay for now", "error", err)
			}
		}
	}
}

// sweepAll sweeps until nothing is left: strangers make up names faster than one sweep removes them.
func (g *Guard) sweepAll(ctx context.Context, now time.Time) error {
	for {
		if n, err := g.Sweep(ctx, now); err != nil || n < sweepLimit {
			return err
		}
	}
}

// Sweep removes states that time has cleared, of all tenants, and returns how many; at most a thousand in one call.
func (g *Guard) Sweep(ctx context.Context, now time.Time) (removed int64, err error) {
	// Nothing outlasts Forget after the longest lock.
	quiet := db.Millis(now.Add(-max(g.policy.Window, g.policy.Forget+g.policy.MaxDuration)))
	// Most accounts were never locked, and are clear much sooner.
	counted := db.Millis(now.Add(-g.policy.Window))
	err = g.db.Write(ctx, func(tx db.Querier) error {
		result, err := tx.ExecContext(ctx, `DELETE FROM lockout WHERE (tenant_id, account) IN (
			SELECT tenant_id, account FROM lockout WHERE last_failure <= $1 AND (lockouts = 0 OR last_failure <= $2) LIMIT $3)`, counted, quiet, sweepLimit)
		if err != nil {
			return err
		}
		removed, err = result.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("lockout: sweep: %w", err)
	}
	return removed, nil
}

// load returns the zero State when there is no row.
func load(ctx context.Context, q db.Querier, tenantID, account string) (State, error) {
	var s State
	var last, until int64
	err := q.QueryRowContext(ctx, `SELECT failures, lockouts, last_failure, locked_until FROM lockout WHERE tenant_id = $1 AND account = $2`,
		tenantID, account).Scan(&s.Failures, &s.Lockouts, &last, &until)
	if db.NoRow(err) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("lockout: load: %w", err)
	}
	s.LastFailure, s.LockedUntil = db.Time(last), db.Time(until)
	return s, nil
}

// save stores a state; the zero State is no row.
func save(ctx context.Context, tx db.Querier, tenantID, account string, s State) error {
	if s == (State{}) {
		_, err := tx.ExecContext(ctx, `DELETE FROM lockout WHERE tenant_id = $1 AND account = $2`, tenantID, account)
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO lockout (tenant_id, account, failures, lockouts, last_failure, locked_until) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (tenant_id, account) DO UPDATE SET failures = excluded.failures, lockouts = excluded.lockouts,
		last_failure = excluded.last_failure, locked_until = excluded.locked_until`,
		tenantID, account, s.Failures, s.Lockouts, db.Millis(s.LastFailure), db.Millis(s.LockedUntil))
	return err
}

// stored returns an account's name as the store can hold it: what strangers type may be long, or no text at all.
func stored(account string) string {
	if len(account) <= maxAccount && utf8.ValidString(account) && !strings.ContainsRune(account, 0) {
		return account
	}
	sum := sha256.Sum256([]byte(account))
	return "sha256:" + hex.EncodeToString(sum[:])
}
