package reglog

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/tenant"
)

// crashEnvironment makes the test's program a process that records, signs and exports until it is killed.
const crashEnvironment = "SALLYPORT_TEST_REGLOG_CRASH"

// crashing says the number of each entry once it is written, and never ends by itself.
func crashing(settings string) {
	part := strings.Split(settings, " ")
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
	}
	ctx := context.Background()
	d, err := db.Open(ctx, db.Config{URL: part[0]})
	fail(err)
	box, err := atrest.OpenOrCreate(part[1])
	fail(err)
	scope, l := tenant.ScopeOf(part[2]), New(d, box, trustDomain)
	file := File{Path: part[3]}
	for n := 0; ; n++ {
		fail(d.Write(ctx, func(tx db.Querier) error {
			return l.Record(ctx, tx, scope, tenant.Event{What: "agent.register", Detail: part[4]}, time.Now())
		}))
		fmt.Println(n)
		if n%3 == 2 {
			_, _, err := l.Checkpoint(ctx, scope, time.Now())
			fail(err)
		}
		fail(l.export(ctx, file, part[4]))
	}
}

// TestKilled kills the process again and again between any two of its steps: what it said it had recorded is there, once and in order,
// in the database and, after the next export, in the file.
func TestKilled(t *testing.T) {
	for _, c := range []struct {
		name  string
		fresh func() string
	}{{"SQLite", func() string { return dbtest.SQLite(t) }}, {"PostgreSQL", func() string { return dbtest.Schema(t, dbtest.Postgres(t)) }}} {
		t.Run(c.name, func(t *testing.T) {
			url := c.fresh()
			w := newWorld(t, url)
			dir := t.TempDir()
			key, path := filepath.Join(dir, "key"), filepath.Join(dir, "log.jsonl")
			box, err := atrest.OpenOrCreate(key)
			if err != nil {
				t.Fatal(err)
			}
			w.Log = New(w.db, box, trustDomain)
			id, _ := w.one.ID()
			said := int64(0)
			for round := range 6 {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), crashEnvironment+"="+strings.Join([]string{url, key, id, path, fmt.Sprint("life-", round)}, " "))
				cmd.Stderr = os.Stderr
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewScanner(out)
				for n := 0; n < 4+3*round && lines.Scan(); n++ {
					said++
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				for lines.Scan() {
					said++
				}
				_ = cmd.Wait() // it was killed
			}
			exported, c, vkey := w.export(w.one)
			if c.Size < said || c.Size > said+6 {
				t.Errorf("%d entries, %d were acknowledged", c.Size, said)
			}
			whole(t, text(exported), Trust{})
			// A torn line, as a machine that loses power leaves it.
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(`{"log":"torn`); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			// The last holder is dead, and its time has to run out.
			w.exec(`UPDATE registration_export SET held_until = 0`)
			w.record(w.one, 1)
			if err := w.Log.export(t.Context(), File{Path: path}, "survivor"); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if f := whole(t, string(text), Trust{Keys: []string{vkey}, Checkpoints: []string{c.Note}}); f.Entries != c.Size+1 {
				t.Errorf("the file has %d entries, want %d", f.Entries, c.Size+1)
			}
			if n := strings.Count(string(text), `"entry"`); int64(n) != c.Size+1 {
				t.Errorf("%d lines for %d entries", n, c.Size+1)
			}
		})
	}
}
