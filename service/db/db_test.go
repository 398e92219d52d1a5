package db_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
)

func TestOnSQLite(t *testing.T) {
	conformance(t, dbtest.SQLite)
}

// TestOnPostgres starts a private PostgreSQL when the environment names none.
func TestOnPostgres(t *testing.T) {
	server := dbtest.Postgres(t)
	conformance(t, func(t testing.TB) string { return dbtest.Schema(t, server) })
	t.Run("refusals", func(t *testing.T) { testPostgresRefusals(t, server) })
	t.Run("a transaction that always loses", func(t *testing.T) { testGivesUp(t, server) })
}

// conformance is what every store may rely on, whichever database is below it.
func conformance(t *testing.T, fresh func(testing.TB) string) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, d *db.DB)
	}{
		{"every type goes in and comes out", testTypes},
		{"a failed write leaves nothing", testRollback},
		{"a panic in a write leaves nothing", testPanic},
		{"conflicts are told apart", testConflicts},
		{"concurrent writes lose no update", testNoLostUpdate},
		{"a reader executes nothing", testReader},
		{"a cancelled context ends a write", testCancelled},
		{"removing a tenant removes all of it", testCascade},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t, fresh(t))) })
	}
	t.Run("a second start finds the rows", func(t *testing.T) {
		url := fresh(t)
		d := open(t, url)
		addTenant(t, d, "contoso")
		again := open(t, url)
		if n := count(t, again, "tenant"); n != 1 {
			t.Errorf("the second start sees %d tenants, want 1", n)
		}
	})
	t.Run("four processes may start at once", func(t *testing.T) {
		url := fresh(t)
		var group sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			group.Go(func() {
				d, err := db.Open(t.Context(), db.Config{URL: url, Connections: 2})
				if err == nil {
					err = d.Close()
				}
				errs[i] = err
			})
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
	})
	t.Run("a newer schema is refused", func(t *testing.T) {
		url := fresh(t)
		d := open(t, url)
		write(t, d, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, $1)`, true)
		_, err := db.Open(t.Context(), db.Config{URL: url})
		if err == nil || !strings.Contains(err.Error(), "start the newer program") {
			t.Errorf("Open says %v, want a refusal with its remedy", err)
		}
	})
}

func open(t *testing.T, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), db.Config{URL: url, Connections: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func write(t *testing.T, d *db.DB, query string, args ...any) {
	t.Helper()
	err := d.Write(context.Background(), func(tx db.Querier) error {
		_, err := tx.ExecContext(context.Background(), query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, d *db.DB, table string) (n int) {
	t.Helper()
	if err := d.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

const insertTenant = `INSERT INTO tenant (id, name, display_name, color, created_at, changed_at) VALUES ($1, $2, '', '', 0, 0)`

func addTenant(t *testing.T, d *db.DB, name string) (id string) {
	t.Helper()
	id = db.NewID()
	write(t, d, insertTenant, id, name)
	return id
}

func testTypes(t *testing.T, d *db.DB) {
	tenant := addTenant(t, d, "contoso")
	const big = int64(1) << 60
	for _, flag := range []bool{true, false} {
		id, blob := db.NewID(), []byte{0, 1, 0xff}
		if flag {
			blob = nil
		}
		write(t, d, `INSERT INTO app (id, tenant_id, name, redirect_uris, post_logout_uris, public, secret_hash, algorithm, group_claims,
			disabled, created_at, changed_at) VALUES ($1, $2, $3, '[]', '', $4, $5, 'ES256', $6, $6, $7, 0)`,
			id, tenant, fmt.Sprint("größe ", flag), flag, blob, !flag, big)
		var public, claims bool
		var gotBlob []byte
		var created int64
		err := d.Reader().QueryRowContext(t.Context(), `SELECT public, group_claims, secret_hash, created_at FROM app
			WHERE tenant_id = $1 AND name = $2 AND public = $3`, tenant, fmt.Sprint("größe ", flag), flag).
			Scan(&public, &claims, &gotBlob, &created)
		if err != nil {
			t.Fatal(err)
		}
		if public != flag || claims == flag || string(gotBlob) != string(blob) || (gotBlob == nil) != (blob == nil) || created != big {
			t.Errorf("got %v %v %v %v", public, claims, gotBlob, created)
		}
	}
	var n int
	if err := d.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM app WHERE disabled AND NOT public`).Scan(&n); err != nil || n != 1 {
		t.Errorf("a boolean column as a condition: %d rows, %v; want 1", n, err)
	}
}

func testRollback(t *testing.T, d *db.DB) {
	planned := errors.New("planned")
	err := d.Write(t.Context(), func(tx db.Querier) error {
		if _, err := tx.ExecContext(t.Context(), insertTenant, db.NewID(), "contoso"); err != nil {
			return err
		}
		return planned
	})
	if !errors.Is(err, planned) {
		t.Errorf("got %v", err)
	}
	if n := count(t, d, "tenant"); n != 0 {
		t.Errorf("%d tenants after the rollback", n)
	}
}

func testPanic(t *testing.T, d *db.DB) {
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = d.Write(t.Context(), func(tx db.Querier) error {
			if _, err := tx.ExecContext(t.Context(), insertTenant, db.NewID(), "contoso"); err != nil {
				return err
			}
			panic("planned")
		})
	}()
	if n := count(t, d, "tenant"); n != 0 {
		t.Errorf("%d tenants after the panic", n)
	}
	addTenant(t, d, "fabrikam") // the writer is free again
}

func testConflicts(t *testing.T, d *db.DB) {
	id := addTenant(t, d, "contoso")
	exec := func(query string, args ...any) error {
		return db.Translate(d.Write(t.Context(), func(tx db.Querier) error {
			_, err := tx.ExecContext(t.Context(), query, args...)
			return err
		}))
	}
	const insertDirectory = `INSERT INTO directory (id, tenant_id, name, evaluation, created_at, changed_at) VALUES ($1, $2, 'corp', false, 0, 0)`
	for _, c := range []struct {
		name                string
		err                 error
		conflict, reference bool
	}{
		{"unique column", exec(insertTenant, db.NewID(), "contoso"), true, false},
		{"primary key", exec(insertTenant, id, "fabrikam"), true, false},
		{"foreign key", exec(insertDirectory, db.NewID(), "nobody"), true, true},
		{"not null", exec(insertTenant, nil, "fabrikam"), false, false},
		{"no such table", exec(`INSERT INTO nothing (id) VALUES ('1')`), false, false},
	} {
		if c.err == nil || errors.Is(c.err, db.ErrConflict) != c.conflict || errors.Is(c.err, db.ErrReference) != c.reference {
			t.Errorf("%s: conflict should be %v, reference %v: %v", c.name, c.conflict, c.reference, c.err)
		}
	}
	for _, unstorable := range []string{"a\x00b", "\xff"} {
		var id string
		err := d.Reader().QueryRowContext(t.Context(), `SELECT id FROM tenant WHERE name = $1`, unstorable).Scan(&id)
		if !db.NoRow(err) {
			t.Errorf("looking for %q: %v, want no row", unstorable, err)
		}
	}
	if db.Translate(nil) != nil {
		t.Error("nothing was translated into something")
	}
}

func testNoLostUpdate(t *testing.T, d *db.DB) {
	id := addTenant(t, d, "contoso")
	const writers, each = 8, 10
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range each {
				err := d.Write(t.Context(), func(tx db.Querier) error {
					var n int64
					if err := tx.QueryRowContext(t.Context(), `SELECT changed_at FROM tenant WHERE id = $1`, id).Scan(&n); err != nil {
						return err
					}
					_, err := tx.ExecContext(t.Context(), `UPDATE tenant SET changed_at = $1 WHERE id = $2`, n+1, id)
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	var n int
	if err := d.Reader().QueryRowContext(t.Context(), `SELECT changed_at FROM tenant WHERE id = $1`, id).Scan(&n); err != nil || n != writers*each {
		t.Errorf("counted to %d (%v), want %d", n, err, writers*each)
	}
}

func testReader(t *testing.T, d *db.DB) {
	if d.Dialect() != db.SQLite {
		t.Skip("PostgreSQL reads and writes through one pool")
	}
	if _, err := d.Reader().ExecContext(t.Context(), insertTenant, db.NewID(), "contoso"); !errors.Is(err, db.ErrReader) {
		t.Errorf("got %v", err)
	}
	// A statement that writes and returns rows does not slip through either.
	var id string
	err := d.Reader().QueryRowContext(t.Context(), insertTenant+` RETURNING id`, db.NewID(), "contoso").Scan(&id)
	if err == nil || count(t, d, "tenant") != 0 {
		t.Errorf("the reader wrote (%v)", err)
	}
}

func testCancelled(t *testing.T, d *db.DB) {
	ctx, cancel := context.WithCancel(t.Context())
	err := d.Write(ctx, func(tx db.Querier) error {
		if _, err := tx.ExecContext(ctx, insertTenant, db.NewID(), "contoso"); err != nil {
			return err
		}
		cancel()
		_, err := tx.ExecContext(ctx, insertTenant, db.NewID(), "fabrikam")
		return err
	})
	if err == nil {
		t.Error("the write succeeded after its context had ended")
	}
	if n := count(t, d, "tenant"); n != 0 {
		t.Errorf("%d tenants", n)
	}
	if err := d.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	addTenant(t, d, "adatum")
}

// testCascade fills the tables that refer to each other within a tenant, since a cascade that is stopped by a reference
// which it removes itself a moment later differs between databases.
func testCascade(t *testing.T, d *db.DB) {
	tenant, directory, person, app := addTenant(t, d, "contoso"), db.NewID(), db.NewID(), db.NewID()
	write(t, d, `INSERT INTO directory (id, tenant_id, name, evaluation, created_at, changed_at) VALUES ($1, $2, 'corp', false, 0, 0)`, directory, tenant)
	write(t, d, `INSERT INTO domain (tenant_id, name, kind, directory_id, admit_users, created_at, changed_at) VALUES ($1, 'corp.example', 'pass-through', $2, true, 0, 0)`, tenant, directory)
	write(t, d, `INSERT INTO person (id, tenant_id, upn, upn_key, source, directory_id, anchor, display_name, given_name, family_name, email, group_names,
		role, disabled, attributes_at, valid_from, created_at, changed_at) VALUES ($1, $2, '', 'a@corp.example', 'synced', $3, '1', '', '', '', '', '[]', '', false, 0, 0, 0, 0)`, person, tenant, directory)
	write(t, d, `INSERT INTO app (id, tenant_id, name, redirect_uris, post_logout_uris, public, algorithm, group_claims, disabled, created_at, changed_at)
		VALUES ($1, $2, 'app', '[]', '[]', false, 'ES256', false, false, 0, 0)`, app, tenant)
	write(t, d, `INSERT INTO agent (id, tenant_id, directory_id, name, host, os, version, state, envelope_suite, envelope_key, envelope_key_id,
		certificate_serial, certificate_not_after, address, last_seen, revoked_at, revoked_reason, created_at, changed_at)
		VALUES ($1, $2, $3, 'a', '', '', '', 'active', 1, $4, '', '', 0, '', 0, 0, '', 0, 0)`, db.NewID(), tenant, directory, []byte{1})
	write(t, d, `DELETE FROM tenant WHERE id = $1`, tenant)
	for _, table := range []string{"tenant", "directory", "domain", "person", "app", "agent"} {
		if n := count(t, d, table); n != 0 {
			t.Errorf("%d rows are left in %s", n, table)
		}
	}
}

func TestTime(t *testing.T) {
	if db.Millis(time.Time{}) != 0 || !db.Time(0).IsZero() {
		t.Error("the zero time is not 0")
	}
	at := time.Date(2026, 10, 7, 12, 30, 0, 123456789, time.FixedZone("", 3600))
	if got := db.Time(db.Millis(at)); !got.Equal(at.Truncate(time.Millisecond)) || got.Location() != time.UTC {
		t.Errorf("got %v", got)
	}
}

func TestNewIDAscends(t *testing.T) {
	last := ""
	for range 10000 {
		id := db.NewID()
		if id <= last {
			t.Fatalf("%s does not follow %s", id, last)
		}
		last = id
	}
}
