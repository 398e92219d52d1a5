package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/tenant/tenanttest"
	"github.com/sallyport-auth/sallyport/wire"
)

var now = tenanttest.Now

func TestFailsClosed(t *testing.T) {
	tenanttest.FailsClosed(t, NewLog(dbtest.New(t), nil), 2)
}

func TestRecordAndList(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	l, scope := NewLog(d, nil), tenanttest.New(t, d, "contoso").Scope()
	full := SignIn{ID: "ignored", Trace: "0af7651916cd43dd8448eb211c80319c", Journey: "j", Person: "p", TypedName: "Alice@corp.example", NameForm: "upn", App: "a",
		Address: "192.0.2.1", Outcome: "wrong", Code: wire.InvalidPassword, Reason: "bad_password", Diagnostic: "data 52e", Directory: "d", Agent: "g", Gateway: "w",
		DC: "dc1:636", Stops: []Stop{{"asked", 0}, {"done", 12345678 * time.Nanosecond}}, At: now}
	for i, s := range []SignIn{full, {At: now.Add(time.Hour), TypedName: "bob"}, {At: now.Add(time.Minute), TypedName: "carol", Trace: "t"}} {
		if err := l.Record(ctx, scope, s); err != nil {
			t.Fatal(i, err)
		}
	}
	names := func(f Filter) string {
		t.Helper()
		all, err := l.List(ctx, scope, f)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range all {
			names = append(names, s.TypedName)
		}
		return strings.Join(names, " ")
	}
	for _, c := range []struct {
		filter Filter
		want   string
	}{
		{Filter{}, "bob carol Alice@corp.example"},
		{Filter{Limit: 2}, "bob carol"},
		{Filter{Since: now.Add(time.Minute)}, "bob carol"},
		{Filter{Trace: "t"}, "carol"},
		{Filter{Person: "p"}, "Alice@corp.example"},
		{Filter{TypedName: "alice@CORP.example"}, "Alice@corp.example"},
		{Filter{Trace: "t", TypedName: "bob"}, ""},
		{Filter{Trace: full.Trace, Person: "p", TypedName: full.TypedName, Since: now, Limit: 1}, "Alice@corp.example"},
		{Filter{TypedName: "' OR 1=1 --"}, ""},
		{Filter{TypedName: "\x00"}, ""},
	} {
		if got := names(c.filter); got != c.want {
			t.Errorf("%+v: %q, want %q", c.filter, got, c.want)
		}
	}
	all, err := l.List(ctx, scope, Filter{Person: "p"})
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	expected := full
	expected.ID, expected.Stops = all[0].ID, []Stop{{"asked", 0}, {"done", 12345 * time.Microsecond}}
	if diff := cmp.Diff(expected, all[0]); diff != "" || all[0].ID == "ignored" {
		t.Error(diff)
	}
	if err := l.Record(ctx, scope, SignIn{}); err == nil {
		t.Error("a record without a time was stored")
	}
	if err := l.Record(ctx, tenant.ScopeOf("gone"), full); !fault.Has(err, wire.NotFound) {
		t.Errorf("a record of a tenant that is gone: %v", err)
	}
}

func TestTenantsNeverMeet(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	l := NewLog(d, nil)
	one, two := tenanttest.New(t, d, "contoso").Scope(), tenanttest.New(t, d, "fabrikam").Scope()
	for _, scope := range []tenant.Scope{one, two} {
		if err := l.Record(ctx, scope, SignIn{TypedName: "alice", Trace: "same", Person: "same", Outcome: scope.String(), At: now}); err != nil {
			t.Fatal(err)
		}
	}
	for _, scope := range []tenant.Scope{one, two} {
		for _, f := range []Filter{{}, {Trace: "same"}, {Person: "same"}, {TypedName: "alice"}} {
			if all, err := l.List(ctx, scope, f); err != nil || len(all) != 1 || all[0].Outcome != scope.String() {
				t.Errorf("%+v: %+v, %v", f, all, err)
			}
		}
	}
}

func TestStrangeTexts(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	l, scope := NewLog(d, nil), tenanttest.New(t, d, "contoso").Scope()
	for in, out := range map[string]string{
		"zero\x00byte":            "zero\ufffdbyte",
		"broken\xff":              "broken\ufffd",
		"esc\x1b[31mape":          "esc\ufffd[31mape",
		"line\nfeed":              "line\ufffdfeed",
		"turn\u202eed":            "turn\ufffded",
		"größe":                   "größe",
		strings.Repeat("a", 5000): strings.Repeat("a", 256),
		strings.Repeat("ä", 5000): strings.Repeat("ä", 256),
	} {
		if err := l.Record(ctx, scope, SignIn{TypedName: in, Diagnostic: in, Stops: []Stop{{Name: in}}, At: now}); err != nil {
			t.Fatalf("%.20q: %v", in, err)
		}
		all, err := l.List(ctx, scope, Filter{TypedName: in})
		if err != nil || len(all) != 1 || all[0].TypedName != out || all[0].Diagnostic != out || all[0].Stops[0].Name != out {
			t.Errorf("%.20q: %+v, %v", in, all, err)
		}
	}
	if err := l.Record(ctx, scope, SignIn{TypedName: "stops", Stops: make([]Stop, 1000), At: now}); err != nil {
		t.Fatal(err)
	}
	if all, err := l.List(ctx, scope, Filter{TypedName: "stops"}); err != nil || len(all[0].Stops) != maxStops {
		t.Errorf("%d stops, %v", len(all[0].Stops), err)
	}
}

// counted makes l count its transactions.
func counted(l *Log) *atomic.Int64 {
	n, insert := new(atomic.Int64), l.insert
	l.insert = func(ctx context.Context, rows []row) error {
		n.Add(1)
		return insert(ctx, rows)
	}
	return n
}

func TestManyRecordsInFewTransactions(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	l, scope := NewLog(d, nil), tenanttest.New(t, d, "contoso").Scope()
	const records = 1000
	// The first transaction is held until all others stand in line.
	entered, release := make(chan struct{}), make(chan struct{})
	insert := l.insert
	var once sync.Once
	l.insert = func(ctx context.Context, rows []row) error {
		once.Do(func() { close(entered); <-release })
		return insert(ctx, rows)
	}
	transactions := counted(l)
	var group sync.WaitGroup
	record := func(i int) {
		if err := l.Record(ctx, scope, SignIn{TypedName: fmt.Sprint("user ", i), At: now}); err != nil {
			t.Error(err)
		}
	}
	group.Go(func() { record(0) })
	<-entered
	for i := 1; i < records; i++ {
		group.Go(func() { record(i) })
	}
	waitFor(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.line) == records-1 })
	close(release)
	group.Wait()
	// The first alone, the others in the fewest that the limit allows.
	if n, most := transactions.Load(), int64(1+(records-1+maxBatch-1)/maxBatch); n != most {
		t.Errorf("%d transactions, want %d", n, most)
	}
	seen := map[string]bool{}
	all, err := l.List(ctx, scope, Filter{Limit: records})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		seen[s.TypedName] = true
	}
	if len(seen) != records {
		t.Errorf("%d records are stored, want %d", len(seen), records)
	}
	if l.writing || len(l.line) != 0 || len(l.room) != 0 {
		t.Error("the line is not empty")
	}
}

// waitFor polls a condition.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatal("the condition never came true")
		case <-tick.C:
		}
	}
}

// TestOneBadRecordFailsAlone puts a record of a tenant that is gone among good ones in one batch.
func TestOneBadRecordFailsAlone(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	l, scope := NewLog(d, nil), tenanttest.New(t, d, "contoso").Scope()
	entered, release := make(chan struct{}), make(chan struct{})
	insert := l.insert
	var once sync.Once
	l.insert = func(ctx context.Context, rows []row) error {
		once.Do(func() { close(entered); <-release })
		return insert(ctx, rows)
	}
	var group sync.WaitGroup
	errs := make([]error, 20)
	record := func(i int, scope tenant.Scope) {
		group.Go(func() { errs[i] = l.Record(ctx, scope, SignIn{TypedName: fmt.Sprint(i), At: now}) })
	}
	record(0, scope)
	<-entered
	for i := 1; i < len(errs); i++ {
		if i == 7 {
			record(i, tenant.ScopeOf("gone"))
		} else {
			record(i, scope)
		}
	}
	waitFor(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.line) == len(errs)-1 })
	close(release)
	group.Wait()
	for i, err := range errs {
		if (i == 7) != fault.Has(err, wire.NotFound) || i != 7 && err != nil {
			t.Errorf("record %d: %v", i, err)
		}
	}
	if all, err := l.List(ctx, scope, Filter{}); err != nil || len(all) != len(errs)-1 {
		t.Errorf("%d records, %v", len(all), err)
	}
}

// TestWithdrawal: a caller who gives up while waiting leaves no record, and nobody behind is forgotten, even when the one
// who gives up had just been told to write.
func TestWithdrawal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLog(nil, nil)
		var stored []string
		release := make(chan error)
		l.insert = func(_ context.Context, rows []row) error {
			err := <-release
			for _, r := range rows {
				stored = append(stored, r[6].(string))
			}
			return err
		}
		scope := tenant.ScopeOf("t")
		record := func(ctx context.Context, name string) chan error {
			result := make(chan error, 1)
			go func() { result <- l.Record(ctx, scope, SignIn{TypedName: name, At: now}) }()
			synctest.Wait()
			return result
		}
		ctx, cancel := context.WithCancel(t.Context())
		first := record(ctx, "first")
		second := record(ctx, "second")
		third := record(t.Context(), "third")
		cancel()
		if err := <-second; !errors.Is(err, context.Canceled) {
			t.Errorf("the second: %v", err)
		}
		release <- nil // the first is being written: it is stored although its caller gave up
		if err := <-first; err != nil {
			t.Errorf("the first: %v", err)
		}
		release <- nil
		if err := <-third; err != nil {
			t.Errorf("the third: %v", err)
		}
		if got := strings.Join(stored, " "); got != "first third" {
			t.Errorf("stored %q", got)
		}
		// A store that fails tells everybody, and the next record finds it mended.
		broken := errors.New("broken")
		fourth := record(t.Context(), "fourth")
		release <- broken
		if err := <-fourth; !errors.Is(err, broken) {
			t.Errorf("the fourth: %v", err)
		}
		fifth := record(t.Context(), "fifth")
		release <- nil
		if err := <-fifth; err != nil || l.writing {
			t.Errorf("the fifth: %v", err)
		}
	})
}

// TestPassedOnThenWithdrawn reaches the moment between being told to write and doing it.
func TestPassedOnThenWithdrawn(t *testing.T) {
	l := NewLog(nil, nil)
	entries := []*entry{{lead: make(chan struct{}, 1)}, {lead: make(chan struct{}, 1)}}
	l.line = append(l.line, entries...)
	l.passOn()
	if !l.withdraw(entries[0]) || len(entries[1].lead) != 1 || !l.writing {
		t.Error("the turn was not passed on")
	}
	if !l.withdraw(entries[1]) || l.writing || l.withdraw(entries[1]) {
		t.Error("the line is not empty")
	}
}

func TestFullLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLog(nil, nil)
		for range maxLine {
			l.room <- struct{}{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Record(ctx, tenant.ScopeOf("t"), SignIn{At: now}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSweep(t *testing.T) {
	ctx, d := t.Context(), dbtest.New(t)
	l, scope := NewLog(d, nil), tenanttest.New(t, d, "contoso").Scope()
	if err := l.Record(ctx, scope, SignIn{At: now}); err != nil {
		t.Fatal(err)
	}
	stored := time.Now()
	if n, err := l.Sweep(ctx, stored.Add(-time.Hour)); err != nil || n != 0 {
		t.Errorf("removed %d, %v; want nothing", n, err)
	}
	if n, err := l.Sweep(ctx, stored.Add(time.Hour)); err != nil || n != 1 {
		t.Errorf("removed %d, %v; want 1", n, err)
	}
	if n, err := l.Sweep(ctx, time.Time{}); err != nil || n != 0 {
		t.Errorf("removed %d, %v; want nothing", n, err)
	}
}

func TestRunEnds(t *testing.T) {
	l := NewLog(dbtest.New(t), nil)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// childURL names the store of the child of TestKilled; childScope its tenant.
const childURL, childScope = "SALLYPORT_AUDIT_TEST_URL", "SALLYPORT_AUDIT_TEST_SCOPE"

// TestKilled records in another process, kills it without warning in the middle of its work, and looks for every record
// that had been acknowledged.
func TestKilled(t *testing.T) {
	url := dbtest.URL(t)
	d, err := db.Open(t.Context(), db.Config{URL: url, Connections: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	scope := tenanttest.New(t, d, "contoso").Scope()
	child := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	child.Env = append(os.Environ(), childURL+"="+url, childScope+"="+scope.String())
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]bool{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "stored "); ok {
			acknowledged[name] = true
		}
		if len(acknowledged) == 100 {
			if err := child.Process.Kill(); err != nil { // SIGKILL
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil {
		t.Error("the child was not killed but ended by itself")
	}
	if len(acknowledged) < 100 {
		t.Fatalf("the child acknowledged only %d records", len(acknowledged))
	}
	all, err := NewLog(d, nil).List(t.Context(), scope, Filter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		delete(acknowledged, s.TypedName)
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged records are lost: %v", len(acknowledged), acknowledged)
	}
}

// TestChild is the other process of TestKilled, and nothing otherwise.
func TestChild(t *testing.T) {
	url := os.Getenv(childURL)
	if url == "" {
		return
	}
	d, err := db.Open(t.Context(), db.Config{URL: url, Connections: 4})
	if err != nil {
		t.Fatal(err)
	}
	l, scope := NewLog(d, nil), tenant.ScopeOf(os.Getenv(childScope))
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 200 {
				name := fmt.Sprintf("%d-%d", worker, i)
				if err := l.Record(t.Context(), scope, SignIn{TypedName: name, At: now}); err != nil {
					t.Error(err)
					return
				}
				// One write of one line, at once.
				if _, err := os.Stdout.WriteString("stored " + name + "\n"); err != nil {
					return
				}
			}
		})
	}
	group.Wait()
	select {} // to be killed
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"plain", "\x00", "\xff\xfe", "\u202e", strings.Repeat("ä", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := text(s)
		if text(got) != got {
			t.Fatalf("%q became %q, which becomes %q", s, got, text(got))
		}
		if strings.ContainsAny(got, "\x00\n\x1b\u202e") || len([]rune(got)) > maxText || strings.ToValidUTF8(got, "") != got {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

// BenchmarkRecord measures acknowledged records, with the durability of production.
func BenchmarkRecord(b *testing.B) {
	for _, synchronous := range []string{"full", "normal"} {
		b.Run(synchronous, func(b *testing.B) {
			url := dbtest.URL(b)
			if path, _, ok := strings.Cut(url, "?synchronous="); ok {
				url = path + "?synchronous=" + synchronous
			}
			d, err := db.Open(b.Context(), db.Config{URL: url})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = d.Close() })
			l, scope := NewLog(d, nil), tenanttest.New(b, d, "contoso").Scope()
			transactions := counted(l)
			stops := []Stop{{"asked", 1}, {"offered", 2}, {"sealed", 3}, {"delivered", 4}, {"fenced", 5}, {"answered", 6}, {"done", 7}}
			b.SetParallelism(100)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Record(b.Context(), scope, SignIn{TypedName: "alice@corp.example", Outcome: "right", Stops: stops, At: now}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/float64(transactions.Load()), "records/transaction")
		})
	}
}
