package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	sqlitedriver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

// ErrConflict is wrapped by [Translate] for a row that exists already, or that others still refer to.
var ErrConflict = errors.New("conflict with another row")

// Write runs f in one transaction and commits it when f returns nil; any error of f rolls back and is returned as it is.
//
// f may run several times, when the database could not put its transaction in an order with others (PostgreSQL) or another
// process held the file (SQLite): it must keep no results of an earlier run and touch nothing outside tx. Errors of tx
// must be returned, wrapped with %w if at all, or the retry cannot see them.
func (d *DB) Write(ctx context.Context, f func(tx Querier) error) error {
	pause := firstPause
	for try := 1; ; try++ {
		err := d.writeOnce(ctx, f)
		if err == nil || !retryable(err) {
			return err
		}
		if try == writeTries {
			return fmt.Errorf("db: gave up a transaction after %d tries: %w", try, err)
		}
		timer := time.NewTimer(firstPause + rand.N(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, lastPause)
	}
}

// writeOnce is one try. A panic of f rolls back and goes on.
func (d *DB) writeOnce(ctx context.Context, f func(tx Querier) error) error {
	tx, err := d.write.BeginTx(ctx, &sql.TxOptions{Isolation: d.level})
	if err != nil {
		return fmt.Errorf("db: begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("db: commit: %w", err)
	}
	return nil
}

// retryable reports whether the same transaction may well succeed when it is run again.
func retryable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		// serialization_failure and deadlock_detected.
		return pg.Code == "40001" || pg.Code == "40P01"
	}
	var lite *sqlitedriver.Error
	if errors.As(err, &lite) {
		primary := lite.Code() & 0xff
		return primary == sqlitelib.SQLITE_BUSY || primary == sqlitelib.SQLITE_LOCKED
	}
	return false
}

// Translate makes the violation of a unique or foreign key, of either database, testable with errors.Is(err,
// [ErrConflict]). Other errors, and nil, come back as they are.
func Translate(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		// unique_violation, foreign_key_violation, and restrict_violation.
		if pg.Code == "23505" || pg.Code == "23503" || pg.Code == "23001" {
			return fmt.Errorf("%w: %w", ErrConflict, err)
		}
		return err
	}
	var lite *sqlitedriver.Error
	if errors.As(err, &lite) {
		switch lite.Code() {
		case sqlitelib.SQLITE_CONSTRAINT_UNIQUE, sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY, sqlitelib.SQLITE_CONSTRAINT_FOREIGNKEY:
			return fmt.Errorf("%w: %w", ErrConflict, err)
		}
	}
	return err
}
