package db

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrate brings the schema up to date, and refuses one that is newer than this program.
func migrate(ctx context.Context, dialect string, pool *sql.DB) error {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return fmt.Errorf("db: embedded migrations: %w", err)
	}
	options := []goose.ProviderOption{
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()),
		// Migrations are written side by side: one with a lower number that arrives later is applied all the same.
		goose.WithAllowOutofOrder(true),
	}
	kind := goose.DialectPostgres
	if dialect == SQLite {
		kind = goose.DialectSQLite3
		files = sqliteFS{files}
	} else {
		options = append(options, goose.WithSessionLocker(sessionLock{}))
	}
	provider, err := goose.NewProvider(kind, pool, files, options...)
	if err != nil {
		return fmt.Errorf("db: migrations: %w", err)
	}
	have, known, err := up(ctx, provider)
	if err != nil {
		return fmt.Errorf("the database schema could not be brought up to date: %w", err)
	}
	if have > known {
		return fmt.Errorf("the database has schema version %d, but this program knows only %d: start the newer program that "+
			"wrote it, or restore a backup from before the upgrade", have, known)
	}
	return nil
}

// up applies what is pending and returns the schema's version and the newest one that this program knows. A schema newer
// than that has nothing pending and is left alone.
//
// SQLite has no lock that would span several migrations, so of two processes that start at once on one file, both may try
// the same one. Each migration is a transaction: the slower process fails on it with nothing changed, sees that the
// version has grown meanwhile, and goes on from there.
func up(ctx context.Context, provider *goose.Provider) (have, known int64, err error) {
	for before := int64(-1); ; before = have {
		_, failed := provider.Up(ctx)
		have, known, err = provider.GetVersions(ctx)
		switch {
		case failed == nil:
			return have, known, err
		case err != nil || have <= before:
			return have, known, failed // err, where it is set, is another view of the same cause
		}
	}
}

// sessionLock lets one process at a time migrate one PostgreSQL schema; the others wait. The lock falls with the
// connection, so a process that dies while it migrates blocks nobody.
type sessionLock struct{}

// The first key is ours, so that we do not meet the advisory locks of other programs in the same database; the second is
// the schema's name, so that two installations in one database do not wait for each other.
const (
	lockQuery   = "SELECT pg_advisory_lock(1396788300, hashtext(current_schema()))"
	unlockQuery = "SELECT pg_advisory_unlock(1396788300, hashtext(current_schema()))"
)

// SessionLock waits for the lock.
func (sessionLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	if _, err := conn.ExecContext(ctx, lockQuery); err != nil {
		return fmt.Errorf("wait for another process that migrates the same database: %w", err)
	}
	return nil
}

// SessionUnlock gives the lock back.
func (sessionLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, unlockQuery)
	return err
}

// sqliteFS shows migrations written for PostgreSQL as SQLite wants them.
type sqliteFS struct{ fs.FS }

// Open rewrites .sql files; folders pass as they are.
func (s sqliteFS) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err != nil || path.Ext(name) != ".sql" {
		return f, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	text = forSQLite(text)
	return &memoryFile{Reader: bytes.NewReader(text), info: sized{info, int64(len(text))}}, nil
}

var (
	bigints  = regexp.MustCompile(`\b(?:bigint|boolean)\b`)
	byteas   = regexp.MustCompile(`\bbytea\b`)
	tables   = regexp.MustCompile(`(?ms)^(CREATE TABLE .*?^\));`)
	comments = regexp.MustCompile(`(?m)-- [^+\n][^\n]*$`)
)

// forSQLite rewrites the types of PostgreSQL and makes every table STRICT. A table must be written as the existing ones
// are: CREATE TABLE at the start of a line, its closing parenthesis at the start of another.
func forSQLite(text []byte) []byte {
	text = comments.ReplaceAll(text, nil) // so that a word in a comment is not taken for a type
	text = bigints.ReplaceAll(text, []byte("INTEGER"))
	text = byteas.ReplaceAll(text, []byte("BLOB"))
	return tables.ReplaceAll(text, []byte("$1 STRICT;"))
}

// memoryFile is one rewritten migration.
type memoryFile struct {
	*bytes.Reader
	info fs.FileInfo
}

func (f *memoryFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *memoryFile) Close() error               { return nil }

// sized is a FileInfo with the size after rewriting.
type sized struct {
	fs.FileInfo
	size int64
}

func (s sized) Size() int64 { return s.size }
