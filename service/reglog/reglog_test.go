package reglog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/tenant/tenanttest"
	"github.com/sallyport-auth/sallyport/wire"
)

var now = tenanttest.Now

const trustDomain = "login.example.com"

// world is a log over a store, with two tenants.
type world struct {
	*Log
	t        testing.TB
	box      *atrest.Box
	db       *db.DB
	one, two tenant.Scope
}

func newWorld(t testing.TB, url string) world {
	t.Helper()
	d, err := db.Open(t.Context(), db.Config{URL: url, Connections: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	box, err := atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return world{Log: New(d, box, trustDomain), t: t, box: box, db: d, one: tenanttest.New(t, d, "contoso").Scope(), two: tenanttest.New(t, d, "fabrikam").Scope()}
}

// onBoth runs a test on SQLite and on PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T, w world)) {
	t.Run("SQLite", func(t *testing.T) { test(t, newWorld(t, dbtest.SQLite(t))) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, newWorld(t, dbtest.Schema(t, dbtest.Postgres(t)))) })
}

func (w world) record(scope tenant.Scope, n int) {
	w.t.Helper()
	for i := range n {
		if err := w.append(scope, fmt.Sprint("entry ", i)); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w world) append(scope tenant.Scope, detail string) error {
	ctx := tenant.WithActor(context.Background(), tenant.Actor{Kind: "admin-token", ID: "t1", Name: "a <note> & more\u2028"})
	return w.db.Write(ctx, func(tx db.Querier) error {
		return w.Record(ctx, tx, scope, tenant.Event{What: "agent.register", AgentName: "dc1", Detail: detail}, now)
	})
}

func (w world) exec(query string, args ...any) {
	w.t.Helper()
	err := w.db.Write(w.t.Context(), func(tx db.Querier) error {
		_, err := tx.ExecContext(w.t.Context(), query, args...)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w world) checkpoint(scope tenant.Scope) (Checkpoint, string) {
	w.t.Helper()
	c, key, err := w.Checkpoint(w.t.Context(), scope, now)
	if err != nil {
		w.t.Fatal(err)
	}
	return c, key
}

// export is what the command line writes.
func (w world) export(scope tenant.Scope) (lines []string, c Checkpoint, key string) {
	w.t.Helper()
	c, key = w.checkpoint(scope)
	all, err := w.List(w.t.Context(), scope, 0, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	lines = append(lines, string(Record{Log: c.Origin, Key: key}.Line()))
	for _, s := range all {
		lines = append(lines, string(EntryRecord(c.Origin, s).Line()))
	}
	return append(lines, string(Record{Log: c.Origin, Checkpoint: c.Note}.Line())), c, key
}

// whole verifies and wants one whole log.
func whole(t testing.TB, text string, trust Trust) Finding {
	t.Helper()
	found, err := Verify(strings.NewReader(text), trust)
	if err != nil || len(found) != 1 || !found[0].Whole() {
		t.Fatalf("%+v, %v: want one whole log", found, err)
	}
	return found[0]
}

func text(lines []string) string { return strings.Join(lines, "\n") + "\n" }

func TestFailsClosed(t *testing.T) {
	tenanttest.FailsClosed(t, newWorld(t, dbtest.URL(t)).Log, 4)
}

func TestRecordAndVerify(t *testing.T) {
	onBoth(t, func(t *testing.T, w world) {
		empty, _, _ := w.export(w.two)
		if f := whole(t, text(empty), Trust{}); f.Entries != 0 || !f.OwnKey {
			t.Errorf("of a tenant without entries: %+v", f)
		}
		w.record(w.one, 3)
		early, key := w.checkpoint(w.one)
		w.record(w.one, 9)
		w.record(w.two, 1)
		lines, late, again := w.export(w.one)
		if key != again || early.Size != 3 || late.Size != 12 {
			t.Fatalf("sizes %d and %d, keys %s and %s", early.Size, late.Size, key, again)
		}
		f := whole(t, text(lines), Trust{Keys: []string{key}, Checkpoints: []string{early.Note}})
		if f.Entries != 12 || f.Signed != 12 || f.OwnKey || f.Held != 2 || f.Root != late.Root.String() {
			t.Errorf("%+v", f)
		}
		for i := range int64(12) {
			p, err := w.Prove(t.Context(), w.one, i, now)
			if err != nil {
				t.Fatal(err)
			}
			// As somebody else would check it, from the checkpoint's text and key.
			c, err := OpenCheckpoint(p.Checkpoint.Note, key)
			if err != nil || tlog.CheckRecord(p.Hashes, c.Size, c.Root, i, tlog.RecordHash(p.Text)) != nil {
				t.Errorf("the proof of entry %d does not hold (%v)", i, err)
			}
		}
		_, err := w.Prove(t.Context(), w.one, 12, now)
		if !fault.Has(err, wire.NotFound) {
			t.Errorf("an entry that is not there: %v", err)
		}
	})
}

// TestRolledBackLeavesNoGap: an entry is there exactly if its change is.
func TestRolledBackLeavesNoGap(t *testing.T) {
	onBoth(t, func(t *testing.T, w world) {
		w.record(w.one, 2)
		planned := errors.New("planned")
		err := w.db.Write(t.Context(), func(tx db.Querier) error {
			if err := w.Record(t.Context(), tx, w.one, tenant.Event{What: "agent.revoke"}, now); err != nil {
				return err
			}
			return planned
		})
		if !errors.Is(err, planned) {
			t.Fatal(err)
		}
		w.record(w.one, 1)
		lines, c, _ := w.export(w.one)
		if c.Size != 3 {
			t.Errorf("%d entries", c.Size)
		}
		whole(t, text(lines), Trust{})
	})
}

// TestManyAtOnce: appends and checkpoints of one tenant by many at the same time come out as one order without gaps.
func TestManyAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, w world) {
		const writers, each = 6, 8
		var group sync.WaitGroup
		for i := range writers {
			group.Go(func() {
				for n := range each {
					if err := w.append(w.one, fmt.Sprint(i, " ", n)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Go(func() {
			for range each {
				if _, _, err := w.Checkpoint(t.Context(), w.one, now); err != nil {
					t.Error(err)
				}
			}
		})
		group.Wait()
		lines, c, _ := w.export(w.one)
		if c.Size != writers*each {
			t.Errorf("%d entries, want %d", c.Size, writers*each)
		}
		whole(t, text(lines), Trust{})
	})
}

// TestTamperedRows: whoever writes the database, but has not the key at rest, gets nothing rewritten signed.
func TestTamperedRows(t *testing.T) {
	for _, c := range []struct {
		name   string
		tamper func(w world, id string)
	}{
		{"altered after signing", func(w world, id string) {
			w.exec(`UPDATE registration_hash SET hash = $1 WHERE tenant_id = $2 AND position = $3`, make([]byte, 32), id, tlog.StoredHashIndex(2, 0))
		}},
		{"altered before signing", func(w world, id string) {
			w.exec(`UPDATE registration_entry SET entry = replace(entry, 'dc1', 'dc2') WHERE tenant_id = $1 AND position = 6`, id)
		}},
		{"removed before signing", func(w world, id string) {
			w.exec(`DELETE FROM registration_entry WHERE tenant_id = $1 AND position = 6`, id)
		}},
		{"cut off", func(w world, id string) {
			w.exec(`DELETE FROM registration_entry WHERE tenant_id = $1 AND position >= 2`, id)
			w.exec(`UPDATE registration_log SET size = 2 WHERE tenant_id = $1`, id)
		}},
		{"the end cut off, and other entries in its place", func(w world, id string) {
			w.exec(`DELETE FROM registration_entry WHERE tenant_id = $1 AND position >= 2`, id)
			w.exec(`DELETE FROM registration_hash WHERE tenant_id = $1 AND position >= $2`, id, tlog.StoredHashIndex(0, 2))
			var chain []byte
			if err := w.db.Reader().QueryRowContext(w.t.Context(), `SELECT chain FROM registration_entry WHERE tenant_id = $1 AND position = 1`, id).Scan(&chain); err != nil {
				w.t.Fatal(err)
			}
			w.exec(`UPDATE registration_log SET size = 2, chain = $1 WHERE tenant_id = $2`, chain, id)
			w.record(w.one, 7) // by the service itself, over the shortened log
		}},
		{"another log's seal", func(w world, id string) {
			w.exec(`UPDATE registration_log SET sealed = (SELECT sealed FROM registration_log WHERE tenant_id = $1) WHERE tenant_id = $2`, w.two.String(), id)
		}},
		{"the chain alone", func(w world, id string) {
			w.exec(`UPDATE registration_log SET chain = $1 WHERE tenant_id = $2`, make([]byte, 32), id)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, w world) {
				w.record(w.two, 4)
				w.record(w.one, 5)
				w.checkpoint(w.two)
				before, key := w.checkpoint(w.one)
				w.record(w.one, 3)
				id, _ := w.one.ID()
				c.tamper(w, id)
				_, _, err := w.Checkpoint(t.Context(), w.one, now)
				if !fault.Has(err, wire.LogBroken) && !errors.Is(err, atrest.ErrKey) {
					t.Errorf("signed, or failed otherwise: %v", err)
				}
				size, note, err := newestCheckpoint(t.Context(), w.db.Reader(), id, 1000)
				if err != nil || size != 5 || note != before.Note {
					t.Errorf("the newest checkpoint is of %d entries (%v)", size, err)
				}
				if _, err := OpenCheckpoint(note, key); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestOlderStateShowsBesideACheckpoint is what the seal cannot prevent, and what a checkpoint that left the service is for.
func TestOlderStateShowsBesideACheckpoint(t *testing.T) {
	w := newWorld(t, dbtest.URL(t))
	w.record(w.one, 2)
	w.checkpoint(w.one)
	id, _ := w.one.ID()
	old, err := oneRow(t.Context(), w.db.Reader(), id)
	if err != nil {
		t.Fatal(err)
	}
	w.record(w.one, 2)
	late, key := w.checkpoint(w.one)
	for _, table := range []string{"entry", "hash"} {
		from := int64(2)
		if table == "hash" {
			from = tlog.StoredHashIndex(0, 2)
		}
		w.exec(`DELETE FROM registration_`+table+` WHERE tenant_id = $1 AND position >= $2`, id, from)
	}
	w.exec(`DELETE FROM registration_checkpoint WHERE tenant_id = $1 AND size > 2`, id)
	w.exec(`UPDATE registration_log SET size = $1, signed = $2, chain = $3, sealed = $4 WHERE tenant_id = $5`, old.size, old.signed, old.chain, old.sealed, id)
	lines, _, _ := w.export(w.one)
	whole(t, text(lines), Trust{Keys: []string{key}})
	found, err := Verify(strings.NewReader(text(lines)), Trust{Keys: []string{key}, Checkpoints: []string{late.Note}})
	if err != nil || found[0].Whole() || found[0].Entry != 2 {
		t.Errorf("%+v, %v: the loss of entry 2 must show", found, err)
	}
	for i := range 5 { // longer than before, and another history
		if err := w.append(w.one, fmt.Sprint("rewritten ", i)); err != nil {
			t.Fatal(err)
		}
	}
	lines, _, _ = w.export(w.one)
	found, err = Verify(strings.NewReader(text(lines)), Trust{Keys: []string{key}, Checkpoints: []string{late.Note}})
	if err != nil || found[0].Whole() {
		t.Errorf("%+v, %v: the fork must show", found, err)
	}
}

func TestSealIsNotReadable(t *testing.T) {
	w := newWorld(t, dbtest.URL(t))
	w.record(w.one, 1)
	_, key := w.checkpoint(w.one)
	id, _ := w.one.ID()
	r, err := oneRow(t.Context(), w.db.Reader(), id)
	if err != nil || strings.Contains(string(r.sealed), "PRIVATE") || strings.Contains(string(r.sealed), key) {
		t.Errorf("the key lies open (%v)", err)
	}
	other, err := atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := New(w.db, other, trustDomain).Checkpoint(t.Context(), w.one, now); !errors.Is(err, atrest.ErrKey) {
		t.Errorf("signed with another key at rest: %v", err)
	}
}

func TestTextsAreClipped(t *testing.T) {
	long := strings.Repeat("\x00", 2*maxText) + "\xff"
	e := newEntry(0, tenant.Event{What: "x", Detail: long, AgentName: long, Directory: long}, tenant.Actor{ID: long, Name: long}, time.Now())
	r := Record{Log: strings.Repeat("x", 300), Chain: strings.Repeat("0", 64), Entry: e.Encode()}
	if n := len(r.Line()); n > maxLine {
		t.Errorf("a line of %d bytes", n)
	}
	if _, got, err := DecodeRecord(r.Line()); err != nil || got != e {
		t.Errorf("%+v, %v", got, err)
	}
	if cut := clip(strings.Repeat("ä", maxText)); len(cut) != maxText || !strings.HasPrefix(strings.Repeat("ä", maxText), cut) {
		t.Errorf("%d bytes", len(cut))
	}
	if cut := clip("a" + strings.Repeat("ä", maxText)); len(cut) != maxText-1 || !utf8.ValidString(cut) {
		t.Errorf("%d bytes, the last of which begin a letter", len(cut))
	}
	if whole := strings.Repeat("a", maxText); clip(whole) != whole {
		t.Error("a text as long as may be was cut")
	}
	if valid := clip("a\xffb"); valid != "a\uFFFDb" {
		t.Errorf("%q", valid)
	}
}

// A line holds one thing of one log.
func TestRecordForm(t *testing.T) {
	e := newEntry(0, tenant.Event{What: "x"}, tenant.Actor{Kind: "service"}, time.Now()).Encode()
	chain := strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		r  Record
		ok bool
	}{
		"a key":                      {Record{Log: "l", Key: "k"}, true},
		"an entry":                   {Record{Log: "l", Chain: chain, Entry: e}, true},
		"a checkpoint":               {Record{Log: "l", Checkpoint: strings.Repeat("x", maxCheckpoint)}, true},
		"a checkpoint too long":      {Record{Log: "l", Checkpoint: strings.Repeat("x", maxCheckpoint+1)}, false},
		"of no log":                  {Record{Key: "k"}, false},
		"nothing":                    {Record{Log: "l"}, false},
		"a key and a checkpoint":     {Record{Log: "l", Key: "k", Checkpoint: "c"}, false},
		"an entry and a key":         {Record{Log: "l", Key: "k", Chain: chain, Entry: e}, false},
		"an entry without its chain": {Record{Log: "l", Entry: e}, false},
		"a chain without its entry":  {Record{Log: "l", Key: "k", Chain: chain}, false},
		"an entry of another form":   {Record{Log: "l", Chain: chain, Entry: []byte("{}")}, false},
		"a line as long as may be":   {Record{Log: "l", Key: strings.Repeat("k", maxLine-len(`{"log":"l","key":""}`))}, true},
		"a line too long":            {Record{Log: "l", Key: strings.Repeat("k", 1+maxLine-len(`{"log":"l","key":""}`))}, false},
	} {
		if got, _, err := DecodeRecord(c.r.Line()); (err == nil) != c.ok || c.ok && string(got.Line()) != string(c.r.Line()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r, _, err := DecodeRecord([]byte(`{"log":"l","key":"k","more":1}`)); err == nil {
		t.Errorf("an unknown member: %+v", r)
	}
}

// An entry is read from the one way in which it is written, and from no other that JSON would allow.
func TestEntryForm(t *testing.T) {
	e := newEntry(3, tenant.Event{What: "agent.register", Agent: "a"}, tenant.Actor{Kind: "admin", ID: "x"}, time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC))
	good := string(e.Encode())
	if got, err := DecodeEntry([]byte(good)); err != nil || got != e {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, text := range map[string]string{
		"nothing": "", "cut": good[:len(good)-1], "trailing": good + "{}", "a space": good + " ", "spaces": strings.Replace(good, ":", ": ", 1),
		"an unknown member": strings.Replace(good, "{", `{"more":1,`, 1), "a member twice": strings.Replace(good, "{", `{"index":3,`, 1),
		"an escape":                        strings.Replace(good, "agent.register", `agent\u002eregister`, 1),
		"no event":                         strings.Replace(good, "agent.register", "", 1),
		"below the first":                  strings.Replace(good, `"index":3`, `"index":-1`, 1),
		"another time zone":                strings.Replace(good, "Z\"", `+00:00"`, 1),
		"another sign before the fraction": strings.Replace(good, "00.", "00,", 1),
		"no time":                          strings.Replace(good, "2026", "20x6", 1),
	} {
		if got, err := DecodeEntry([]byte(text)); err == nil || text == good {
			t.Errorf("%s: %s is read as %+v", name, text, got)
		}
	}
}

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnvironment); path != "" {
		crashing(path)
	}
	os.Exit(m.Run())
}
