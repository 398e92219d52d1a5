// Package dbtest gives tests a store of their own, on the real thing: a SQLite file in the test's folder, or, when the
// environment variable SALLYPORT_TEST_POSTGRES holds the URL of a PostgreSQL database, a fresh schema in it. So one suite
// of a store runs on both databases:
//
//	go test ./service/tenant/
//	go run ./service/db/dbtest/with-postgres go test ./service/tenant/
//
// It also starts a throw-away PostgreSQL server ([StartPostgres]), for the program with-postgres and for tests that need one
// whatever the environment says ([Postgres]). It holds no stand-ins: nothing here pretends to be a database.
package dbtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/service/db"
)

// Environment is the variable that holds the URL of the PostgreSQL database to test on; empty means SQLite.
const Environment = "SALLYPORT_TEST_POSTGRES"

// New returns an empty, migrated store that is closed and removed when the test ends.
func New(t testing.TB) *db.DB {
	t.Helper()
	d, err := db.Open(context.Background(), db.Config{URL: URL(t), Connections: 8})
	if err != nil {
		t.Fatalf("open the test's store: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close the test's store: %v", err)
		}
	})
	return d
}

// URL returns the URL of a store that does not exist yet: for tests that open it themselves, or several times.
func URL(t testing.TB) string {
	t.Helper()
	if server := os.Getenv(Environment); server != "" {
		return Schema(t, server)
	}
	// A power cut in the middle of a test is no subject of any test.
	return SQLite(t) + "?synchronous=normal"
}

// SQLite returns the URL of a file in the test's own folder that does not exist yet.
func SQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "sallyport.db")
}

// Schema makes an empty schema in the database that the URL server names, and returns the URL that leads to it. The
// schema is dropped when the test ends.
func Schema(t testing.TB, server string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		t.Fatalf("%s must be a URL like postgres://user:password@host/database", Environment)
	}
	name := "test_" + strings.ToLower(rand.Text())
	execute(t, server, `CREATE SCHEMA `+name)
	t.Cleanup(func() { execute(t, server, `DROP SCHEMA `+name+` CASCADE`) })
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}

// execute runs one statement on a connection of its own, through the driver that package db has brought along.
func execute(t testing.TB, server, statement string) {
	t.Helper()
	pool, err := sql.Open("pgx", server)
	if err == nil {
		_, err = pool.ExecContext(context.Background(), statement)
		err = errors.Join(err, pool.Close())
	}
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// Postgres returns the URL of a PostgreSQL database to test on: the one that the environment names, or a private server's
// that is stopped when the test ends. Without PostgreSQL's programs the test is skipped; with SALLYPORT_CI=1 it fails.
func Postgres(t testing.TB) string {
	t.Helper()
	if server := os.Getenv(Environment); server != "" {
		return server
	}
	p, err := StartPostgres()
	if errors.Is(err, ErrNoPostgres) {
		if os.Getenv("SALLYPORT_CI") == "1" {
			t.Fatalf("SALLYPORT_CI=1 wants this test to run: %v", err)
		}
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return p.URL
}
