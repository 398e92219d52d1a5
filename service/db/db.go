package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The dialects that [DB.Dialect] tells.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Config says where the store is.
type Config struct {
	// URL is "sqlite:/path/to/file.db", optionally with ?synchronous=full (the default) or ?synchronous=normal; or
	// "postgres://user:password@host:port/database" with the usual parameters of libpq.
	URL string
	// Connections bounds the connections to PostgreSQL; 0 means 16. SQLite ignores it.
	Connections int
}

// Querier is what stores need of a database: *sql.DB, *sql.Tx and *sql.Conn have it.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// DB is an open store whose schema is the one that this program knows. It is safe for concurrent use.
type DB struct {
	dialect string
	path    string // of the SQLite file
	write   *sql.DB
	read    *sql.DB // the same as write on PostgreSQL
	reader  Querier
	group   *group // the one writer of SQLite; nil on PostgreSQL
	level   sql.IsolationLevel
}

// Open opens the store and applies the migrations that it lacks. Several processes may open the same store at once; one
// migrates, the others wait for it. The errors are sentences for the administrator, with the remedy.
func Open(ctx context.Context, c Config) (*DB, error) {
	scheme, rest, ok := strings.Cut(c.URL, ":")
	switch {
	case ok && scheme == "sqlite":
		return openSQLite(ctx, rest)
	case ok && (scheme == "postgres" || scheme == "postgresql"):
		return openPostgres(ctx, c)
	case c.URL == "":
		return nil, errors.New("the database URL is empty: set it to sqlite:/path/to/file.db or postgres://user:password@host/database")
	case !ok:
		return nil, errors.New("the database URL has no scheme: write sqlite:/path/to/file.db or postgres://user:password@host/database")
	default:
		return nil, fmt.Errorf("the database URL begins with %q, which is no kind of database known here: "+
			"write sqlite:/path/to/file.db or postgres://user:password@host/database", short(scheme)+":")
	}
}

// short keeps what an administrator mistyped readable, and a URL pasted into the wrong place from being printed whole.
func short(s string) string {
	if len(s) > 20 {
		return s[:20] + "…"
	}
	return s
}

// Close closes all connections. With SQLite it also folds the write-ahead log back into the file.
func (d *DB) Close() error {
	var err error
	if d.group != nil {
		err = d.group.close()
	}
	if c, ok := d.reader.(*statements); ok {
		c.close()
	}
	if d.read != d.write {
		err = errors.Join(err, d.read.Close())
	}
	return errors.Join(err, d.write.Close())
}

// Reader returns the pool for reading. Each call on it sees what was committed when it began.
func (d *DB) Reader() Querier { return d.reader }

// Dialect returns [SQLite] or [Postgres].
func (d *DB) Dialect() string { return d.dialect }

// Ping reports whether the store answers.
func (d *DB) Ping(ctx context.Context) error {
	var one int
	if err := d.read.QueryRowContext(ctx, "SELECT 1").Scan(&one); err != nil {
		return fmt.Errorf("db: the store does not answer: %w", err)
	}
	return nil
}

// Millis returns t as unix milliseconds, and 0 for the zero time.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Time is the inverse of [Millis]: UTC, and the zero time for 0.
func Time(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// NewID returns a new identifier: a UUID of version 7 (RFC 9562 §5.7), lower case, ascending in the order of making
// within one process.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// PageSize bounds how many rows a list returns at once: the default for 0 and below, and never more than the largest page.
func PageSize(limit int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, largestPage)
}
