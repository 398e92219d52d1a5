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

var (
	// ErrConflict is wrapped by [Translate] for a row that exists already, or whose references do not fit.
	ErrConflict = errors.New("conflict with another row")
	// ErrReference is wrapped besides ErrConflict when a row refers to one that does not exist, or when a row that
	// others refer to was to be removed.
	ErrReference = errors.New("the rows that refer to each other do not fit")
)

// Write runs f in one transaction and commits it when f returns nil; any error of f rolls back and is returned as it is, but
// that a failure of the file itself (a full disk, say) gets its remedy in words.
//
// f may run several times, when the database could not put its transaction in an order with others (PostgreSQL), when another process
// held the file, or when another write of its group has brought the transaction down (SQLite): it must keep no results of an earlier
// run and touch nothing outside tx. Errors of tx must be returned, wrapped with %w if at all, or the retry cannot see them. f may run
// on another goroutine than the caller's, and must not call Write itself.
func (d *DB) Write(ctx context.Context, f func(tx Querier) error) error {
	pause := firstPause
	for try := 1; ; try++ {
		err := d.writeOnce(ctx, f)
		if err == nil {
			return nil
		}
		if !retryable(err) {
			return d.explained(err)
		}
		if try == writeTries {
			return d.explained(fmt.Errorf("db: gave up a transaction after %d tries: %w", try, err))
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

// explained adds the remedy to failures of a SQLite file.
func (d *DB) explained(err error) error {
	if d.dialect != SQLite {
		return err
	}
	return explainSQLite(d.path, err)
}

// writeOnce is one try. A panic of f rolls back and goes on.
func (d *DB) writeOnce(ctx context.Context, f func(tx Querier) error) error {
	if d.group != nil {
		return d.group.write(ctx, f)
	}
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

// Translate makes the violation of a unique or foreign key, of either database, testable with errors.Is and
// [ErrConflict] (either) or [ErrReference] (foreign key). Other errors, and nil, come back as they are.
func Translate(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "23505": // unique_violation
			return fmt.Errorf("%w: %w", ErrConflict, err)
		case "23503", "23001": // foreign_key_violation, restrict_violation
			return fmt.Errorf("%w: %w: %w", ErrConflict, ErrReference, err)
		}
		return err
	}
	var lite *sqlitedriver.Error
	if errors.As(err, &lite) {
		switch lite.Code() {
		case sqlitelib.SQLITE_CONSTRAINT_UNIQUE, sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY:
			return fmt.Errorf("%w: %w", ErrConflict, err)
		case sqlitelib.SQLITE_CONSTRAINT_FOREIGNKEY:
			return fmt.Errorf("%w: %w: %w", ErrConflict, ErrReference, err)
		}
	}
	return err
}

// NoRow reports whether a look-up found nothing: no row, or a parameter that no row can hold (PostgreSQL refuses text with
// a zero byte or broken UTF-8, which anybody can put into the path of a URL; SQLite just finds nothing).
func NoRow(err error) bool {
	var pg *pgconn.PgError
	return errors.Is(err, sql.ErrNoRows) || errors.As(err, &pg) && pg.Code == "22021" // character_not_in_repertoire
}
