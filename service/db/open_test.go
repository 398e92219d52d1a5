package db_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
)

// refused opens url and wants a refusal that holds words and never the password.
func refused(t *testing.T, url, words string) {
	t.Helper()
	d, err := db.Open(t.Context(), db.Config{URL: url})
	if err == nil {
		_ = d.Close()
	}
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: got %v, want a refusal with %q", url, err, words)
	}
	if err != nil && strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%s: the refusal shows the password: %v", url, err)
	}
}

func TestURLs(t *testing.T) {
	for url, words := range map[string]string{
		"":                                     "empty",
		"sallyport.db":                         "no scheme",
		"mysql://root:hunter2@localhost/x":     `"mysql:"`,
		"postgres:hunter2-0123456789:x":        "malformed",
		"sqlite:":                              "names no file",
		"sqlite::memory:":                      "by its path",
		"sqlite:file:x.db":                     "by its path",
		"sqlite:/tmp/%zz":                      "%25",
		"sqlite:/tmp/x.db?mode=ro":             "unknown parameter",
		"sqlite:/tmp/x.db?synchronous=off":     "full",
		"sqlite:/tmp/x.db?a=%zz":               "cannot be read",
		"postgres://u:hunter2@h:port/x":        "malformed",
		"postgres://u:hunter2%zz@h/x":          "%-escape",
		"postgres://u:hunter2@h/x?sslmode=odd": "malformed",
	} {
		refused(t, url, words)
	}
}

func TestSQLitePaths(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"plain.db", "with space.db", "100%25.db", "größe.db", "a#b.db", "a&b=c.db", "-wal.db"} {
		url := "sqlite:" + filepath.Join(dir, name)
		d := open(t, url+"?synchronous=NORMAL")
		addTenant(t, d, "contoso")
		file := strings.ReplaceAll(name, "%25", "%")
		for _, suffix := range []string{"", "-wal", "-shm"} {
			info, err := os.Stat(filepath.Join(dir, file+suffix))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s%s: %v, %v; want mode 0600", file, suffix, info, err)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if n := count(t, open(t, url), "tenant"); n != 1 {
			t.Errorf("%s: %d tenants after the second start", name, n)
		}
	}
	t.Chdir(dir)
	if n := count(t, open(t, "sqlite:plain.db"), "tenant"); n != 1 {
		t.Errorf("a relative path: %d tenants", n)
	}
	if n := count(t, open(t, "sqlite://"+filepath.Join(dir, "plain.db")), "tenant"); n != 1 {
		t.Errorf("two slashes: %d tenants", n)
	}
}

func TestSQLiteSettings(t *testing.T) {
	for parameter, want := range map[string]int{"": 2, "?synchronous=full": 2, "?synchronous=normal": 1} {
		d := open(t, dbtest.SQLite(t)+parameter)
		err := d.Write(t.Context(), func(tx db.Querier) error {
			for pragma, value := range map[string]int{"synchronous": want, "foreign_keys": 1, "busy_timeout": 5000} {
				var got int
				if err := tx.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != value {
					t.Errorf("%q: %s is %d, want %d (%v)", parameter, pragma, got, value, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		var mode string
		if err := d.Reader().QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
			t.Errorf("journal mode %q, %v", mode, err)
		}
	}
}

// TestStrict: SQLite would otherwise store a text where a number belongs without a word.
func TestStrict(t *testing.T) {
	d := open(t, dbtest.SQLite(t))
	rows, err := d.Reader().QueryContext(t.Context(), `SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict = 0
		AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%'`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		t.Errorf("table %s is not STRICT: write its migration like the others", name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestSQLiteRefusals(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, content := range map[string]string{"open.db": "", "text.db": strings.Repeat("This is no database. ", 100)} {
		if err := os.WriteFile(path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path("open.db"), 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, "sqlite:"+path("open.db"), "chmod 600 "+path("open.db"))
	refused(t, "sqlite:"+path("text.db"), "not a SQLite database")
	refused(t, "sqlite:"+path("absent/x.db"), "create it")
	refused(t, "sqlite:"+path("text.db/x.db"), "not a ")
	refused(t, "sqlite:"+dir, "database")
}

func testPostgresRefusals(t *testing.T, server string) {
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	with := func(f func(*url.URL)) string { c := *u; f(&c); return c.String() }
	refused(t, with(func(c *url.URL) { c.User = url.UserPassword(u.User.Username(), "hunter2") }), "correct user and password")
	refused(t, with(func(c *url.URL) { c.Path = "/absent" }), "createdb")
	refused(t, with(func(c *url.URL) { c.RawQuery += "&default_transaction_read_only=on" }), "read-only")

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, with(func(c *url.URL) { c.Host, c.User = closed.Addr().String(), url.UserPassword("u", "hunter2") }), "check that it runs")

	// A user who may look, but not make tables.
	admin := open(t, dbtest.Schema(t, server))
	write(t, admin, `DROP ROLE IF EXISTS visitor`)
	write(t, admin, `CREATE ROLE visitor LOGIN PASSWORD 'hunter2'`)
	refused(t, with(func(c *url.URL) { c.User = url.UserPassword("visitor", "hunter2") }), "make it the owner")
	write(t, admin, `DROP ROLE visitor`)
}

// testGivesUp: a transaction that loses every time ends with an error, not never.
func testGivesUp(t *testing.T, server string) {
	d := open(t, dbtest.Schema(t, server))
	id := addTenant(t, d, "contoso")
	tries := 0
	err := d.Write(t.Context(), func(tx db.Querier) error {
		tries++
		var n int
		if err := tx.QueryRowContext(t.Context(), `SELECT changed_at FROM tenant WHERE id = $1`, id).Scan(&n); err != nil {
			return err
		}
		// Somebody else changes the row between our look and our write, each time.
		write(t, d, `UPDATE tenant SET changed_at = changed_at + 1 WHERE id = $1`, id)
		_, err := tx.ExecContext(t.Context(), `UPDATE tenant SET changed_at = $1 WHERE id = $2`, n, id)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "gave up") || tries < 10 {
		t.Errorf("after %d tries: %v", tries, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Write(ctx, func(db.Querier) error { t.Error("ran"); return nil }); err == nil {
		t.Error("a write with an ended context succeeded")
	}
}

func FuzzOpenURL(f *testing.F) {
	for _, s := range []string{"", "sqlite:", "sqlite:%", "sqlite:/dev/null/x", "sqlite:/dev/null/x?synchronous=normal", "mysql://x", "sqlite:\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if scheme, rest, _ := strings.Cut(s, ":"); strings.HasPrefix(scheme, "postgres") || scheme == "sqlite" && !strings.HasPrefix(rest, "/dev/null/") {
			t.Skip("only what opens no file and calls no server")
		}
		if d, err := db.Open(t.Context(), db.Config{URL: s}); err == nil {
			_ = d.Close()
			t.Errorf("%q was opened", s)
		}
	})
}
