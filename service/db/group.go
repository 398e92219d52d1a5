package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// group is the one writer of a SQLite file. Writes that wait for it at the same time become one transaction with one fsync, each inside
// a savepoint of its own, so that one that fails takes nobody along.
//
//	Write ─┐
//	Write ─┼─▶ line ─▶ BEGIN · SAVEPOINT f RELEASE · SAVEPOINT f ROLLBACK TO · … · COMMIT ─▶ everybody returns
//	Write ─┘
//
// There is no goroutine of its own: whoever finds the writer free takes everybody who waits along.
type group struct {
	turn chan struct{} // holds one, while somebody writes

	mu   sync.Mutex // guards line
	line []*write

	// Of the holder of turn alone:
	conn *sql.Conn
	kept map[string]*sql.Stmt
}

// write is one Write in the line.
type write struct {
	ctx  context.Context
	f    func(Querier) error
	done chan outcome // room for one
}

// outcome is how a write ended: with err, or with the panic of its function.
type outcome struct {
	err      error
	panicked any
}

func newGroup(ctx context.Context, pool *sql.DB) (*group, error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("db: the writer's connection: %w", err)
	}
	return &group{turn: make(chan struct{}, 1), conn: conn, kept: map[string]*sql.Stmt{}}, nil
}

// write runs f in a transaction, maybe together with others, and returns when it is committed or rolled back. A panic of f comes out
// here, whoever ran it.
func (g *group) write(ctx context.Context, f func(Querier) error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w := &write{ctx: ctx, f: f, done: make(chan outcome, 1)}
	g.mu.Lock()
	g.line = append(g.line, w)
	g.mu.Unlock()
	select {
	case g.turn <- struct{}{}:
		o := g.lead(w)
		<-g.turn
		return o.result()
	case o := <-w.done:
		return o.result()
	}
}

// lead commits one group after the other until w is done: by the turn before this one, by the first group, or by a later one when the
// line is long.
func (g *group) lead(w *write) outcome {
	for {
		select {
		case o := <-w.done:
			return o
		default:
			g.commit(g.take())
		}
	}
}

func (o outcome) result() error {
	if o.panicked != nil {
		panic(o.panicked)
	}
	return o.err
}

// take empties the line, up to a bound.
func (g *group) take() []*write {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.line), largestGroup)
	all := g.line[:n:n]
	g.line = append([]*write(nil), g.line[n:]...)
	return all
}

// commit runs writes as one transaction and tells each how it ended.
func (g *group) commit(all []*write) {
	for len(all) > 0 {
		all = g.transaction(all)
	}
}

// transaction runs as many writes as it can as one transaction. It returns those that it had to give up through no fault of theirs,
// which are to be run again: SQLite ends a whole transaction when a disk is full, for instance.
func (g *group) transaction(all []*write) (again []*write) {
	ctx := context.Background()
	if _, err := g.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		tell(all, outcome{err: fmt.Errorf("db: begin: %w", err)})
		return nil
	}
	var kept []*write
	for i, w := range all {
		o, whole := g.one(w)
		switch {
		case !whole:
			_, _ = g.conn.ExecContext(ctx, "ROLLBACK") // it may be over already
			w.done <- o
			return append(kept, all[i+1:]...)
		case o.err != nil || o.panicked != nil:
			w.done <- o
		default:
			kept = append(kept, w)
		}
	}
	var o outcome
	if _, err := g.conn.ExecContext(ctx, "COMMIT"); err != nil {
		_, _ = g.conn.ExecContext(ctx, "ROLLBACK")
		o.err = fmt.Errorf("db: commit: %w", err)
	}
	tell(kept, o)
	return nil
}

func tell(all []*write, o outcome) {
	for _, w := range all {
		w.done <- o
	}
}

// one runs one write inside its savepoint. whole says that the transaction around it stands.
func (g *group) one(w *write) (o outcome, whole bool) {
	if err := w.ctx.Err(); err != nil {
		return outcome{err: err}, true
	}
	if err := g.exec("SAVEPOINT one"); err != nil {
		return outcome{err: fmt.Errorf("db: savepoint: %w", err)}, false
	}
	o = g.call(w.f)
	if o.err != nil || o.panicked != nil {
		// Fails when SQLite has rolled everything back by itself.
		return o, g.exec("ROLLBACK TO one") == nil && g.exec("RELEASE one") == nil
	}
	if err := g.exec("RELEASE one"); err != nil {
		return outcome{err: fmt.Errorf("db: release: %w", err)}, false
	}
	return o, true
}

// call runs f and catches its panic, which belongs to somebody else's goroutine.
func (g *group) call(f func(Querier) error) (o outcome) {
	finished := false
	defer func() {
		if !finished {
			if o.panicked = recover(); o.panicked == nil {
				o.err = errors.New("db: the function of a write ended its goroutine")
			}
		}
	}()
	o.err = f(g)
	finished = true
	return o
}

func (g *group) exec(statement string) error {
	_, err := g.ExecContext(context.Background(), statement)
	return err
}

// statement returns the prepared statement for query; nil when it cannot or need not be kept.
func (g *group) statement(query string) *sql.Stmt {
	if s := g.kept[query]; s != nil || len(g.kept) >= statementLimit {
		return s
	}
	s, err := g.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil // the query itself will tell why
	}
	g.kept[query] = s
	return s
}

// The methods of Querier are for the function that is running. A statement is not interrupted when ctx ends: SQLite would roll back
// the whole transaction, and others with it. Each is over in a moment, and the next one sees the end of ctx.

func (g *group) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Not a kept statement: it can have one set of rows open, and whoever reads these may ask the same again for each of them.
	return g.conn.QueryContext(context.Background(), query, args...)
}

func (g *group) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if ctx.Err() == nil {
		ctx = context.Background()
	}
	if s := g.statement(query); s != nil {
		return s.QueryRowContext(ctx, args...)
	}
	return g.conn.QueryRowContext(ctx, query, args...)
}

func (g *group) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s := g.statement(query); s != nil {
		return s.ExecContext(context.Background(), args...)
	}
	return g.conn.ExecContext(context.Background(), query, args...)
}

// close ends the writer after whoever writes now; writes that come later fail. Closing twice is no error.
func (g *group) close() error {
	g.turn <- struct{}{}
	defer func() { <-g.turn }()
	var err error
	for _, s := range g.kept {
		err = errors.Join(err, s.Close())
	}
	clear(g.kept)
	if e := g.conn.Close(); !errors.Is(e, sql.ErrConnDone) {
		err = errors.Join(err, e)
	}
	return err
}
