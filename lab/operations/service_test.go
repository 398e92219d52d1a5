//go:build linux

package operations_test

import (
	"crypto/rand"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"
)

// breakage is one way in which a file goes wrong.
type breakage struct {
	name string
	do   func(t *testing.T, path string)
}

func overwrite(t *testing.T, path string, text []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	noError(t, err)
	_, err = f.Write(text)
	noError(t, err)
	noError(t, f.Close())
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

var (
	halved = breakage{"cut in half", func(t *testing.T, path string) {
		info, err := os.Stat(path)
		noError(t, err)
		noError(t, os.Truncate(path, info.Size()/2))
	}}
	emptied = breakage{"emptied", func(t *testing.T, path string) { noError(t, os.Truncate(path, 0)) }}
	garbage = breakage{"random bytes", func(t *testing.T, path string) { overwrite(t, path, random(5000)) }}
	lost    = breakage{"lost", func(t *testing.T, path string) { noError(t, os.Remove(path)) }}
	open    = breakage{"open to others", func(t *testing.T, path string) { noError(t, os.Chmod(path, 0o644)) }}
)

// TestDataFolderRefused: a broken file in the data folder ends the start with what is wrong and what to do; nothing in the folder
// is changed by that; and with the file back the service is what it was.
func TestDataFolderRefused(t *testing.T) {
	for _, c := range []struct {
		file  string
		how   breakage
		words []string
	}{
		{"sallyport.db", halved, []string{"sallyport.db is damaged", "restore it from a backup"}},
		{"sallyport.db", garbage, []string{"is not a SQLite database", "restore the file from a backup"}},
		{"sallyport.db", emptied, []string{"sallyport.db", "backup"}},
		{"sallyport.db", lost, []string{"sallyport.db", "backup"}},
		{"sallyport.db", open, []string{"can be read by others", "run chmod 600"}},
		{"sallyport.db", breakage{"of a newer version", newer}, []string{"schema version 9999", "start the newer program", "backup from before the upgrade"}},
		{"at-rest.key", halved, []string{"must hold exactly 32 bytes", "restore it from a backup"}},
		{"at-rest.key", emptied, []string{"must hold exactly 32 bytes", "restore it from a backup"}},
		{"at-rest.key", garbage, []string{"must hold exactly 32 bytes", "restore it from a backup"}},
		{"at-rest.key", breakage{"of another installation", func(t *testing.T, path string) { overwrite(t, path, random(32)) }},
			[]string{"at-rest.key is not the key file that this database was made with"}},
		{"at-rest.key", breakage{"zeros", func(t *testing.T, path string) { overwrite(t, path, make([]byte, 32)) }}, []string{"nothing but zeros", "backup"}},
		{"at-rest.key", lost, []string{"at-rest.key", "is missing", "backup"}},
		{"at-rest.key", open, []string{"can be read by others", "run chmod 600"}},
		{"at-rest.key", breakage{"swapped with the database", func(t *testing.T, path string) {
			other := filepath.Join(filepath.Dir(path), "sallyport.db")
			noError(t, os.Rename(path, path+".swap"))
			noError(t, os.Rename(other, path))
			noError(t, os.Rename(path+".swap", other))
		}}, []string{"must hold exactly 32 bytes"}},
		{"local-ca/ca.pem", halved, []string{"tls.local_ca", "ca.pem", "restore it from a backup, or remove the folder"}},
		{"local-ca/ca.pem", emptied, []string{"ca.pem", "restore it from a backup, or remove the folder"}},
		{"local-ca/ca.pem", garbage, []string{"ca.pem", "restore it from a backup, or remove the folder"}},
		{"local-ca/ca.pem", lost, []string{"ca.pem is missing", "restore it from a backup, or remove the folder"}},
		{"local-ca/ca.pem", open, []string{"tls.local_ca", "chmod 600"}},
		{"local-ca/ca.pem", breakage{"swapped with the server's", func(t *testing.T, path string) {
			other := filepath.Join(filepath.Dir(path), "server.pem")
			noError(t, os.Rename(path, path+".swap"))
			noError(t, os.Rename(other, path))
			noError(t, os.Rename(path+".swap", other))
		}}, []string{"ca.pem does not hold an evaluation authority of ours"}},
		{"local-ca/server.pem", open, []string{"tls.local_ca", "server.pem", "chmod 600"}},
		{".", breakage{"open to others", func(t *testing.T, path string) { noError(t, os.Chmod(path, 0o755)) }}, []string{"has mode 0755", "chmod 700"}},
	} {
		t.Run(c.file+" "+c.how.name, func(t *testing.T) {
			t.Parallel()
			data, keys := template.data(t)
			good := filepath.Join(t.TempDir(), "good")
			clone(t, data, good)
			c.how.do(t, filepath.Join(data, c.file))
			before := contents(t, data)
			p := serve(t, data)
			p.refuses(1, c.words...)
			unchanged(t, data, before)
			// The cause is gone: what was in the folder is back.
			noError(t, os.RemoveAll(data))
			clone(t, good, data)
			if got := serve(t, data).keys(data); got != keys {
				t.Error("the signing keys are others than before")
			}
		})
	}
}

// newer makes a database say that a later program has written it.
func newer(t *testing.T, path string) {
	t.Helper()
	change(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
}

// change runs statements on a database that nobody has open.
func change(t *testing.T, path string, statements ...string) {
	t.Helper()
	rows, err := sql.Open("sqlite", path)
	noError(t, err)
	for _, s := range statements {
		if _, err := rows.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	noError(t, rows.Close())
}

// TestDataFolderHeals: what can be made again, and what an interrupted write leaves behind, does not keep the service from
// starting as what it was.
func TestDataFolderHeals(t *testing.T) {
	type file struct{ name, text string }
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, data string)
	}{
		{"server certificate cut in half", func(t *testing.T, d string) { halved.do(t, filepath.Join(d, "local-ca/server.pem")) }},
		{"server certificate lost", func(t *testing.T, d string) { lost.do(t, filepath.Join(d, "local-ca/server.pem")) }},
		{"server certificate random", func(t *testing.T, d string) { garbage.do(t, filepath.Join(d, "local-ca/server.pem")) }},
		{"CA's public certificate lost", func(t *testing.T, d string) { lost.do(t, filepath.Join(d, "local-ca/ca-certificate.pem")) }},
		{"CA's public certificate random", func(t *testing.T, d string) { garbage.do(t, filepath.Join(d, "local-ca/ca-certificate.pem")) }},
		{"half-written files beside the real ones", func(t *testing.T, d string) {
			for _, f := range []file{{".key-1234", "half"}, {".admin-token-1234", "half"}, {".sallyport-write-test-1234", ""},
				{"local-ca/.ca.pem-1234", "-----BEGIN PRIV"}, {"local-ca/.server.pem-1234", ""}} {
				noError(t, os.WriteFile(filepath.Join(d, f.name), []byte(f.text), 0o600))
			}
		}},
		{"a torn write-ahead log", func(t *testing.T, d string) {
			noError(t, os.WriteFile(filepath.Join(d, "sallyport.db-wal"), random(9000), 0o600))
			noError(t, os.WriteFile(filepath.Join(d, "sallyport.db-shm"), random(100), 0o600))
		}},
		{"an empty write-ahead log", func(t *testing.T, d string) {
			noError(t, os.WriteFile(filepath.Join(d, "sallyport.db-wal"), nil, 0o600))
		}},
		{"rows of tomorrow, as after a clock that was set back", func(t *testing.T, d string) { tomorrow(t, filepath.Join(d, "sallyport.db")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data, keys := template.data(t)
			c.spoil(t, data)
			p := serve(t, data)
			if got := p.keys(data); got != keys {
				t.Error("the signing keys are others than before")
			}
			list := succeeds(t, sallyport, append([]string{"tenant", "list", "--server", "https://" + p.addresses().admin}, settings(data)...)...)
			if !strings.Contains(list, "contoso") {
				t.Errorf("the tenants:\n%s", list)
			}
			p.stop()
			if code := p.code(); code != 0 {
				t.Errorf("exit code %d at the end:\n%s", code, p.words())
			}
		})
	}
}

// tomorrow moves every time in a database a day ahead: for the program it is as if its clock had been set back by a day.
func tomorrow(t *testing.T, path string) {
	t.Helper()
	const day = 24 * 60 * 60 * 1000
	rows, err := sql.Open("sqlite", path)
	noError(t, err)
	defer func() { noError(t, rows.Close()) }()
	found, err := rows.Query(`SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND c.type = 'INTEGER' AND (c.name = 'at' OR c.name LIKE '%\_at' ESCAPE '\' OR c.name LIKE 'last\_%' ESCAPE '\'
		OR c.name LIKE '%\_until' ESCAPE '\' OR c.name LIKE '%not\_after' ESCAPE '\' OR c.name = 'valid_from') AND c.name <> 'last_code'`)
	noError(t, err)
	var updates []string
	for found.Next() {
		var table, column string
		noError(t, found.Scan(&table, &column))
		updates = append(updates, "UPDATE "+table+" SET "+column+" = "+column+" + ? WHERE "+column+" <> 0")
	}
	noError(t, found.Err())
	noError(t, found.Close())
	if len(updates) < 40 {
		t.Fatalf("only %d columns of times were found", len(updates))
	}
	for _, u := range updates {
		if _, err := rows.Exec(u, day); err != nil {
			t.Fatalf("%s: %v", u, err)
		}
	}
}

// TestAdminToken: a broken token file keeps the service from nothing; the command line says how to get another.
func TestAdminToken(t *testing.T) {
	for _, how := range []breakage{halved, emptied, garbage, lost} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			data, keys := template.data(t)
			how.do(t, filepath.Join(data, "admin-token"))
			p := serve(t, data)
			if got := p.keys(data); got != keys {
				t.Error("the signing keys are others than before")
			}
			list := append([]string{"tenant", "list", "--server", "https://" + p.addresses().admin}, settings(data)...)
			run(t, nil, sallyport, list...).refuses(1, "token renew")
			succeeds(t, sallyport, append([]string{"token", "renew"}, settings(data)...)...)
			if tenants := succeeds(t, sallyport, list...); !strings.Contains(tenants, "contoso") {
				t.Errorf("the tenants:\n%s", tenants)
			}
		})
	}
}
