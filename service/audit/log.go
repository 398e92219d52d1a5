package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Log is the sign-in log. It is safe for concurrent use.
type Log struct {
	// Keep is how long [Log.Run] lets records lie; NewLog sets [DefaultKeep], 0 keeps them for ever. Set it before Run.
	Keep time.Duration

	db     *db.DB
	logger *slog.Logger
	insert func(ctx context.Context, rows []row) error // one transaction
	room   chan struct{}                               // holds one token for each record in the line

	mu      sync.Mutex // guards what follows
	line    []*entry
	writing bool // somebody in the line writes or has been told to
}

// entry is a record in the line.
type entry struct {
	row  row
	done chan error    // what became of it; buffered
	lead chan struct{} // it is your turn to write; buffered
}

// NewLog returns the log in d. A nil logger discards.
func NewLog(d *db.DB, logger *slog.Logger) *Log {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{Keep: DefaultKeep, db: d, logger: logger, room: make(chan struct{}, maxLine)}
	many, one := insertStatement(rowsPerStatement), insertStatement(1)
	l.insert = func(ctx context.Context, rows []row) error {
		return d.Write(ctx, func(tx db.Querier) error {
			for chunk := range slices.Chunk(rows, rowsPerStatement) {
				if len(chunk) == rowsPerStatement {
					args := make([]any, 0, rowsPerStatement*columnCount)
					for i := range chunk {
						args = append(args, chunk[i][:]...)
					}
					if _, err := tx.ExecContext(ctx, many, args...); err != nil {
						return err
					}
					continue
				}
				for i := range chunk {
					if _, err := tx.ExecContext(ctx, one, chunk[i][:]...); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return l
}

// insertStatement is the INSERT of so many rows.
func insertStatement(rows int) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO sign_in (` + columns + `) VALUES `)
	for i := range rows * columnCount {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%columnCount == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i+1))
	}
	b.WriteString(")")
	return b.String()
}

// Record stores one sign-in and returns once it is stored; s.ID is ignored. When ctx ends before the record's transaction has
// begun, the record is withdrawn and ctx's error returned: a caller that wants the record whatever its own caller does
// passes context.WithoutCancel. Fault: NotFound for a tenant that is gone.
func (l *Log) Record(ctx context.Context, scope tenant.Scope, s SignIn) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	r, err := newRow(tenantID, s)
	if err != nil {
		return err
	}
	select {
	case l.room <- struct{}{}:
		defer func() { <-l.room }()
	case <-ctx.Done():
		return fmt.Errorf("audit: the line of records is full: %w", ctx.Err())
	}
	e := &entry{row: r, done: make(chan error, 1), lead: make(chan struct{}, 1)}
	l.mu.Lock()
	l.line = append(l.line, e)
	if !l.writing {
		l.writing = true
		e.lead <- struct{}{}
	}
	l.mu.Unlock()

	select {
	case err := <-e.done:
		return err
	case <-e.lead:
		l.write(ctx)
		return <-e.done
	case <-ctx.Done():
		if l.withdraw(e) {
			return fmt.Errorf("audit: not recorded: %w", ctx.Err())
		}
		return <-e.done
	}
}

// write stores the head of the line, where the caller's own record is, and passes the turn on.
func (l *Log) write(ctx context.Context) {
	l.mu.Lock()
	batch := slices.Clone(l.line[:min(len(l.line), maxBatch)])
	l.line = slices.Delete(l.line, 0, len(batch))
	l.mu.Unlock()
	// The others' records do not depend on this caller's patience.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.passOn()
	}()
	rows := make([]row, len(batch))
	for i, e := range batch {
		rows[i] = e.row
	}
	err := db.Translate(l.insert(ctx, rows))
	if errors.Is(err, db.ErrConflict) && len(batch) > 1 {
		// One of them has lost its tenant: find out which, each in a transaction of its own.
		for i, e := range batch {
			e.done <- settle(l.insert(ctx, rows[i:i+1]))
		}
		return
	}
	for _, e := range batch {
		e.done <- settle(err)
	}
}

// passOn tells the new head of the line to write; l.mu is held.
func (l *Log) passOn() {
	l.writing = len(l.line) > 0
	if l.writing {
		l.line[0].lead <- struct{}{}
	}
}

// withdraw takes a record out of the line, and reports whether it was still there.
func (l *Log) withdraw(e *entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.line, e)
	if i < 0 {
		return false
	}
	l.line = slices.Delete(l.line, i, i+1)
	select {
	case <-e.lead: // it had been told to write
		l.passOn()
	default:
	}
	return true
}

// settle turns an error of the database into what Record returns.
func settle(err error) error {
	switch err = db.Translate(err); {
	case err == nil:
		return nil
	case errors.Is(err, db.ErrReference):
		return fault.New(wire.NotFound, "the tenant is gone")
	default:
		return fmt.Errorf("audit: record: %w", err)
	}
}

// Filter says which records to list; zero fields do not filter.
type Filter struct {
	Trace, Person string
	// TypedName is compared without regard to the case of ASCII letters.
	TypedName string
	// Since leaves out what is older.
	Since time.Time
	// Limit is the most records that are wanted; 0 for a page.
	Limit int
}

// List returns records, the newest first.
func (l *Log) List(ctx context.Context, scope tenant.Scope, f Filter) ([]SignIn, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return nil, err
	}
	query, args := `SELECT `+columns+` FROM sign_in WHERE tenant_id = $1`, []any{tenantID}
	where := func(condition string, arg any) {
		args = append(args, arg)
		query += ` AND ` + strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args)))
	}
	if f.Trace != "" {
		where(`trace = ?`, text(f.Trace))
	}
	if f.Person != "" {
		where(`person_id = ?`, text(f.Person))
	}
	if f.TypedName != "" {
		where(`lower(typed_name) = lower(?)`, text(f.TypedName))
	}
	if !f.Since.IsZero() {
		where(`at >= ?`, db.Millis(f.Since))
	}
	args = append(args, db.PageSize(f.Limit))
	query += ` ORDER BY at DESC, id DESC LIMIT $` + strconv.Itoa(len(args))
	all, err := db.Collect(ctx, l.db.Reader(), scan, query, args...)
	if err != nil {
		return nil, fmt.Errorf("audit: list: %w", err)
	}
	return all, nil
}

// Run removes records that have grown older than Keep until ctx ends, whose error it returns. A removal that fails is logged and
// made up for by the next.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			for l.Keep > 0 {
				removed, err := l.Sweep(ctx, now.Add(-l.Keep))
				if err != nil && ctx.Err() == nil {
					l.logger.WarnContext(ctx, "old sign-in records stay for now", "error", err)
				}
				if err != nil || removed < sweepLimit {
					break
				}
			}
		}
	}
}

// Sweep removes records that were stored before a time, of all tenants, and returns how many; at most a thousand in one call,
// the oldest.
func (l *Log) Sweep(ctx context.Context, before time.Time) (removed int64, err error) {
	// Identifiers begin with the time of their making (RFC 9562 §5.7), so the primary key is the index that this needs.
	ms := max(db.Millis(before), 0)
	first := fmt.Sprintf("%08x-%04x", ms>>16, ms&0xffff)
	err = l.db.Write(ctx, func(tx db.Querier) error {
		result, err := tx.ExecContext(ctx, `DELETE FROM sign_in WHERE id IN (SELECT id FROM sign_in WHERE id < $1 ORDER BY id LIMIT $2)`, first, sweepLimit)
		if err != nil {
			return err
		}
		removed, err = result.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("audit: sweep: %w", err)
	}
	return removed, nil
}
