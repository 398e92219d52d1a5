package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
)

// sweeps remove what has expired, in all tenants: a row's time is its own, whoever owns it. Removing a grant removes what
// was issued from it. Old refresh tokens stay until they expire, since the detection of re-use knows them by their rows.
var sweeps = [...]string{
	`DELETE FROM oidc_request WHERE id IN (SELECT id FROM oidc_request WHERE expires_at <= $1 LIMIT $2)`,
	`DELETE FROM oidc_access WHERE hash IN (SELECT hash FROM oidc_access WHERE expires_at <= $1 LIMIT $2)`,
	`DELETE FROM oidc_refresh WHERE hash IN (SELECT hash FROM oidc_refresh WHERE expires_at <= $1 LIMIT $2)`,
	`DELETE FROM oidc_grant WHERE id IN (SELECT id FROM oidc_grant WHERE expires_at <= $1 LIMIT $2)`,
}

// forgetOldSalts erases the salts whose grace time is over: see [successor].
const forgetOldSalts = `UPDATE oidc_refresh SET successor_salt = NULL WHERE hash IN
	(SELECT hash FROM oidc_refresh WHERE successor_salt IS NOT NULL AND used_at <= $1 LIMIT $2)`

// Run removes expired rows until ctx ends, and then returns its error. Several processes may run it at once.
func (p *Provider) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := p.sweep(ctx, p.now()); err != nil && !errors.Is(err, context.Canceled) {
			p.log.WarnContext(ctx, "expired rows could not be removed", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// sweep removes everything that has expired at now, in small transactions. Codes are kept as long as their grant, so that
// a code that comes back late still revokes what was issued for it.
func (p *Provider) sweep(ctx context.Context, now time.Time) error {
	for _, statement := range sweeps {
		if err := p.repeat(ctx, statement, now); err != nil {
			return err
		}
	}
	return p.repeat(ctx, forgetOldSalts, now.Add(-refreshGrace))
}

// repeat runs a statement in batches until it finds no more.
func (p *Provider) repeat(ctx context.Context, statement string, until time.Time) error {
	for {
		var n int64
		err := p.db.Write(ctx, func(tx db.Querier) error {
			r, err := tx.ExecContext(ctx, statement, db.Millis(until), sweepBatch)
			if err != nil {
				return err
			}
			n, err = r.RowsAffected()
			return err
		})
		if err != nil {
			return fmt.Errorf("oidc: sweep: %w", err)
		}
		if n < sweepBatch {
			return nil
		}
	}
}
