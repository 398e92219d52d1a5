package reglog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Log is the registration log of all tenants. It is safe for concurrent use.
type Log struct {
	// Logger gets what [Log.Run] cannot do; nil discards.
	Logger *slog.Logger
	// Receivers get the log; see [File], [Webhook] and [Syslog]. Set it before Run.
	Receivers []Receiver

	db          *db.DB
	box         *atrest.Box
	trustDomain string
	metrics     metrics
}

// New returns the log over a store. The trust domain is the first part of each log's origin; box seals the checkpoint keys.
func New(d *db.DB, box *atrest.Box, trustDomain string) *Log {
	return &Log{db: d, box: box, trustDomain: trustDomain, metrics: newMetrics()}
}

// metrics are the numbers of a process.
type metrics struct{ checkpoints, exported, failures *prometheus.CounterVec }

func newMetrics() metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "sallyport", Subsystem: "registration_log", Name: name, Help: help}, []string{label})
	}
	m := metrics{checkpoints: counter("checkpoints_total", "Checkpoints signed, or refused because the log is broken.", "result"),
		exported: counter("exported_total", "Entries and checkpoints that a receiver has taken.", "receiver"),
		failures: counter("export_failures_total", "Tries to export that failed.", "receiver")}
	for _, result := range []string{"signed", "broken", "failed"} {
		m.checkpoints.WithLabelValues(result)
	}
	return m
}

// Register shows the numbers.
func (l *Log) Register(r prometheus.Registerer) error {
	for _, receiver := range l.Receivers {
		l.metrics.exported.WithLabelValues(receiver.Name())
		l.metrics.failures.WithLabelValues(receiver.Name())
	}
	for _, c := range []prometheus.Collector{l.metrics.checkpoints, l.metrics.exported, l.metrics.failures} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("reglog: metrics: %w", err)
		}
	}
	return nil
}

func brokenf(format string, args ...any) error {
	return fault.Newf(wire.LogBroken, format, args...)
}

// Record appends an entry in the transaction of the change that it is about. Appends of one tenant are in one order: the transaction
// holds the log's row until it ends.
func (l *Log) Record(ctx context.Context, tx db.Querier, scope tenant.Scope, e tenant.Event, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	index, chain, err := advance(ctx, tx, tenantID)
	if errors.Is(err, sql.ErrNoRows) {
		if err := l.begin(ctx, tx, tenantID, now); err != nil {
			return err
		}
		index, chain, err = advance(ctx, tx, tenantID)
	}
	if err != nil {
		return err
	}
	text := newEntry(index, e, tenant.ActorOf(ctx), now).Encode()
	hashes, err := tlog.StoredHashes(index, text, hashReader(ctx, tx, tenantID))
	if err != nil {
		return err
	}
	return insertEntry(ctx, tx, tenantID, Stored{Index: index, Text: text, Chain: nextChain(chain, text)}, hashes)
}

// Checkpoint signs what has grown and returns the newest checkpoint with the verifier key; a tenant without a log gets an empty one.
// Fault [wire.LogBroken] when the rows do not continue what was signed before: nothing is signed then.
func (l *Log) Checkpoint(ctx context.Context, scope tenant.Scope, now time.Time) (c Checkpoint, key string, err error) {
	tenantID, err := scope.ID()
	if err != nil {
		return c, "", err
	}
	origin := OriginOf(l.trustDomain, tenantID)
	err = l.db.Write(ctx, func(tx db.Querier) error {
		r, err := oneRow(ctx, tx, tenantID)
		if errors.Is(err, sql.ErrNoRows) {
			if err := l.begin(ctx, tx, tenantID, now); err != nil {
				return err
			}
			r, err = oneRow(ctx, tx, tenantID)
		}
		if err != nil {
			return err
		}
		last, err := openSeal(l.box, tenantID, r.sealed)
		if err != nil {
			return err
		}
		next, err := extend(last, hashReader(ctx, tx, tenantID), func(from int64, limit int) ([]Stored, error) {
			return entries(ctx, tx, tenantID, from, limit)
		}, r.size, r.chain)
		if err != nil {
			return err
		}
		key = next.Public
		// Ed25519 has one signature for one text: what was signed before comes out the same.
		if c, err = sign(next.Private, origin, next.Size, next.Root); err != nil {
			return err
		}
		sealed, err := next.close(l.box, tenantID)
		if err != nil {
			return err
		}
		return storeCheckpoint(ctx, tx, tenantID, c, sealed, now)
	})
	return c, key, err
}

// List returns up to limit entries (see db.PageSize) from an index on.
func (l *Log) List(ctx context.Context, scope tenant.Scope, from int64, limit int) ([]Stored, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return nil, err
	}
	return entries(ctx, l.db.Reader(), tenantID, from, db.PageSize(limit))
}

// Proof shows that an entry is in a tree, to who has the tree's checkpoint and nothing else of the log (RFC 6962 §2.1.1).
type Proof struct {
	Stored
	Checkpoint Checkpoint
	Hashes     tlog.RecordProof
}

// Prove returns an entry with its proof for the newest checkpoint, which is signed for it if need be. Fault [wire.NotFound].
func (l *Log) Prove(ctx context.Context, scope tenant.Scope, index int64, now time.Time) (p Proof, err error) {
	tenantID, err := scope.ID()
	if err != nil {
		return p, err
	}
	found, err := entries(ctx, l.db.Reader(), tenantID, index, 1)
	if err != nil {
		return p, err
	}
	if len(found) == 0 || found[0].Index != index {
		return p, fault.Newf(wire.NotFound, "no entry %d", index)
	}
	p.Stored = found[0]
	if p.Checkpoint, _, err = l.Checkpoint(ctx, scope, now); err != nil {
		return p, err
	}
	if index >= p.Checkpoint.Size {
		return p, brokenf("entry %d stands beyond the end of the log", index)
	}
	if p.Hashes, err = tlog.ProveRecord(p.Checkpoint.Size, index, hashReader(ctx, l.db.Reader(), tenantID)); err != nil {
		return p, err
	}
	if tlog.CheckRecord(p.Hashes, p.Checkpoint.Size, p.Checkpoint.Root, index, tlog.RecordHash(p.Text)) != nil {
		return p, brokenf("entry %d is not the one that was signed", index)
	}
	return p, nil
}

// Run signs and exports until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { return l.signing(ctx) })
	for _, r := range l.Receivers {
		group.Go(func() error { return l.exporting(ctx, r) })
	}
	return group.Wait()
}

func (l *Log) logger() *slog.Logger {
	if l.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l.Logger
}

// signing signs what has grown, every few seconds.
func (l *Log) signing(ctx context.Context) error {
	told := teller{log: l.logger(), what: "registration log not signed", again: "registration log signed again"}
	for {
		l.signAll(ctx, &told, time.Now())
		if err := pause(ctx, checkpointEvery); err != nil {
			return err
		}
	}
}

func (l *Log) signAll(ctx context.Context, told *teller, now time.Time) {
	all, err := grown(ctx, l.db.Reader())
	told.tell(ctx, "", err)
	for _, scope := range all {
		_, _, err := l.Checkpoint(ctx, scope, now)
		result := "signed"
		if fault.Has(err, wire.LogBroken) {
			result = "broken"
		} else if err != nil {
			result = "failed"
		}
		l.metrics.checkpoints.WithLabelValues(result).Inc()
		told.tell(ctx, scope.String(), err)
	}
}

// teller says a failure once, until it is over.
type teller struct {
	log         *slog.Logger
	what, again string
	failing     map[string]bool
}

// tell notes how something went; name is what it was about. An end by ctx is no failure.
func (t *teller) tell(ctx context.Context, name string, err error) {
	if ctx.Err() != nil {
		return
	}
	if t.failing == nil {
		t.failing = map[string]bool{}
	}
	switch was := t.failing[name]; {
	case err != nil && !was:
		entry := fault.Entry(err)
		t.log.Error(t.what, "about", name, "code", entry.Code, "error", err, "remedy", entry.Remedy)
	case err == nil && was:
		t.log.Info(t.again, "about", name)
	}
	t.failing[name] = err != nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// scopes returns the tenants whose ids a query reads.
func scopes(ctx context.Context, q db.Querier, query string, args ...any) ([]tenant.Scope, error) {
	out, err := db.Collect(ctx, q, func(row db.Scanner) (tenant.Scope, error) {
		id, err := db.Value[string](row)
		return tenant.ScopeOf(id), err
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("reglog: looking for logs that have grown: %w", err)
	}
	return out, nil
}
