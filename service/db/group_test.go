package db

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// openGroup opens a store with a table of numbers.
func openGroup(t testing.TB) *DB {
	t.Helper()
	d, err := Open(context.Background(), Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "group.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if err := d.Write(context.Background(), func(tx Querier) error {
		_, err := tx.ExecContext(context.Background(), `CREATE TABLE number (n bigint PRIMARY KEY)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return d
}

// together runs writes so that they are one group, in any order, and returns how each ended.
func together(t *testing.T, d *DB, all ...func() error) []error {
	t.Helper()
	d.group.turn <- struct{}{}
	ends := make([]error, len(all))
	var done sync.WaitGroup
	for i, f := range all {
		done.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					ends[i] = fmt.Errorf("panic: %v", p)
				}
			}()
			ends[i] = f()
		})
	}
	for waiting := 0; waiting < len(all); {
		<-time.After(time.Millisecond)
		d.group.mu.Lock()
		waiting = len(d.group.line)
		d.group.mu.Unlock()
	}
	<-d.group.turn
	done.Wait()
	return ends
}

func insert(d *DB, ctx context.Context, n int, then func(Querier) error) func() error {
	return func() error {
		return d.Write(ctx, func(tx Querier) error {
			if _, err := tx.ExecContext(ctx, `INSERT INTO number (n) VALUES ($1)`, n); err != nil {
				return err
			}
			if then != nil {
				return then(tx)
			}
			return nil
		})
	}
}

// numbers are those that the table holds.
func numbers(t *testing.T, d *DB) map[int]bool {
	t.Helper()
	rows, err := d.Reader().QueryContext(context.Background(), `SELECT n FROM number`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	got := map[int]bool{}
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		got[n] = true
	}
	return got
}

// TestGroup: writes that are committed together end each as if alone.
func TestGroup(t *testing.T) {
	d := openGroup(t)
	ctx := context.Background()
	gone, cancel := context.WithCancel(ctx)
	no := errors.New("no")
	ends := together(t, d,
		insert(d, ctx, 1, nil),
		insert(d, ctx, 2, func(Querier) error { return no }),
		insert(d, ctx, 3, func(Querier) error { panic("three") }),
		insert(d, ctx, 4, func(tx Querier) error { // its second row exists already
			_, err := tx.ExecContext(ctx, `INSERT INTO number (n) VALUES (4)`)
			return err
		}),
		insert(d, gone, 5, func(tx Querier) error { // whoever asked has gone away in the middle
			cancel()
			_, err := tx.ExecContext(gone, `INSERT INTO number (n) VALUES (50)`)
			return err
		}),
		insert(d, ctx, 6, nil),
	)
	if ends[0] != nil || ends[5] != nil {
		t.Errorf("those with nothing wrong ended with %v and %v", ends[0], ends[5])
	}
	if !errors.Is(ends[1], no) || ends[2] == nil || ends[2].Error() != "panic: three" || !errors.Is(Translate(ends[3]), ErrConflict) || !errors.Is(ends[4], context.Canceled) {
		t.Errorf("the others ended with %v", ends[1:5])
	}
	if got := numbers(t, d); len(got) != 2 || !got[1] || !got[6] {
		t.Errorf("the table holds %v, want 1 and 6", got)
	}
}

// TestGroupBroken: when the whole transaction falls, as with a full disk, only the write at which it happened fails; the others are
// run again.
func TestGroupBroken(t *testing.T) {
	d := openGroup(t)
	ctx := context.Background()
	full := errors.New("database or disk is full")
	ends := together(t, d,
		insert(d, ctx, 1, nil),
		insert(d, ctx, 2, func(tx Querier) error {
			if _, err := tx.ExecContext(ctx, `ROLLBACK`); err != nil {
				t.Error(err)
			}
			return full
		}),
		insert(d, ctx, 3, nil),
	)
	if ends[0] != nil || !errors.Is(ends[1], full) || ends[2] != nil {
		t.Errorf("ended with %v", ends)
	}
	if got := numbers(t, d); len(got) != 2 || !got[1] || !got[3] {
		t.Errorf("the table holds %v, want 1 and 3", got)
	}
}

// TestGroupLong: a line longer than a group is served to its end, and nobody who has left it is.
func TestGroupLong(t *testing.T) {
	d := openGroup(t)
	ctx := context.Background()
	var all []func() error
	for n := range 3*largestGroup + 1 {
		all = append(all, insert(d, ctx, n, nil))
	}
	for _, err := range together(t, d, all...) {
		if err != nil {
			t.Error(err)
		}
	}
	if got := len(numbers(t, d)); got != len(all) {
		t.Errorf("%d rows, want %d", got, len(all))
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := insert(d, gone, -1, nil)(); !errors.Is(err, context.Canceled) {
		t.Errorf("a write whose caller has gone ended with %v", err)
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Error(err)
	}
	if err := insert(d, ctx, -1, nil)(); err == nil {
		t.Error("a closed store took a write")
	}
}

// BenchmarkWrite is one small durable write, alone and with others who write at the same time.
func BenchmarkWrite(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			d := openGroup(b)
			var next sync.Mutex
			n := 0
			var all sync.WaitGroup
			for range writers {
				all.Go(func() {
					for {
						next.Lock()
						n++
						mine := n
						next.Unlock()
						if mine > b.N {
							return
						}
						if err := insert(d, context.Background(), mine, nil)(); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// TestGroupNestedQuery: the same query may be asked again while its rows are being read.
func TestGroupNestedQuery(t *testing.T) {
	d := openGroup(t)
	ctx := context.Background()
	for n := range 3 {
		if err := insert(d, ctx, n, nil)(); err != nil {
			t.Fatal(err)
		}
	}
	const query = `SELECT n FROM number WHERE n >= $1 ORDER BY n`
	read := func(tx Querier, from int, each func(int)) {
		rows, err := tx.QueryContext(ctx, query, from)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var n int
			if err := rows.Scan(&n); err != nil {
				t.Fatal(err)
			}
			each(n)
		}
		if err := rows.Err(); err != nil {
			t.Error(err)
		}
	}
	var seen []int
	if err := d.Write(ctx, func(tx Querier) error {
		seen = nil
		read(tx, 0, func(n int) {
			seen = append(seen, n)
			read(tx, n, func(m int) { seen = append(seen, 10*m) })
		})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 0, 10, 20, 1, 10, 20, 2, 20}; !slices.Equal(seen, want) {
		t.Errorf("read %v, want %v", seen, want)
	}
}
