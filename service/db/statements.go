package db

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// statements is a Querier over a SQLite pool that keeps prepared statements: compiling a query takes SQLite longer than
// answering a point read. pgx does the same by itself for PostgreSQL.
type statements struct {
	pool *sql.DB

	mu   sync.RWMutex // guards kept
	kept map[string]*sql.Stmt
}

func newStatements(pool *sql.DB) *statements {
	return &statements{pool: pool, kept: make(map[string]*sql.Stmt)}
}

// of returns the prepared statement for query, or nil when it cannot or need not be kept; the pool then serves the query
// itself and tells what is wrong with it.
func (s *statements) of(ctx context.Context, query string) *sql.Stmt {
	s.mu.RLock()
	stmt, full := s.kept[query], len(s.kept) >= statementLimit
	s.mu.RUnlock()
	if stmt != nil || full {
		return stmt
	}
	made, err := s.pool.PrepareContext(ctx, query)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt := s.kept[query]; stmt != nil { // another goroutine was faster
		_ = made.Close()
		return stmt
	}
	s.kept[query] = made
	return made
}

func (s *statements) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := s.of(ctx, query); stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return s.pool.QueryContext(ctx, query, args...)
}

// QueryRowContext reads one row. A point read in a local file is over in microseconds; to be able to interrupt it would cost two
// goroutines each time, which take longer than the read. So ctx is only looked at before.
func (s *statements) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if ctx.Err() == nil {
		ctx = context.WithoutCancel(ctx)
	}
	if stmt := s.of(ctx, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return s.pool.QueryRowContext(ctx, query, args...)
}

// ErrReader is returned for a statement that is executed on a reader.
var ErrReader = errors.New("db: a reader executes no statements: use Write")

// ExecContext refuses.
func (s *statements) ExecContext(context.Context, string, ...any) (sql.Result, error) {
	return nil, ErrReader
}

// close forgets the statements.
func (s *statements) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stmt := range s.kept {
		_ = stmt.Close()
	}
	clear(s.kept)
}
