package reglog

import (
	"context"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// A Receiver takes records away from the service. Send returns nil once it has them; after an error, and after a crash, the same
// records come again, so a receiver gets each at least once. It is called by one goroutine.
type Receiver interface {
	// Name is "file", "webhook" or "syslog": the position is kept under it, whatever its address.
	Name() string
	// Send gets records of one log, in their order. key is the log's verifier key.
	Send(ctx context.Context, origin, key string, records []Record) error
}

// exporting brings everything to one receiver, and asks again after longer and longer pauses while it fails.
func (l *Log) exporting(ctx context.Context, r Receiver) error {
	told := teller{log: l.logger().With("receiver", r.Name()), what: "registration log not exported", again: "registration log exported again"}
	holder, wait := db.NewID(), firstPause
	for {
		err := l.export(ctx, r, holder)
		told.tell(ctx, r.Name(), err)
		next := exportEvery
		if err != nil {
			l.metrics.failures.WithLabelValues(r.Name()).Inc()
			next, wait = wait, min(2*wait, lastPause)
		} else {
			wait = firstPause
		}
		if err := pause(ctx, next); err != nil {
			return err
		}
	}
}

// export brings what is new of every tenant to one receiver. It stops at the first failure: where one log is not taken, the next is not either.
func (l *Log) export(ctx context.Context, r Receiver, holder string) error {
	all, err := waiting(ctx, l.db.Reader(), r.Name())
	if err != nil {
		return err
	}
	for _, scope := range all {
		for more := true; more; {
			if more, err = l.exportBatch(ctx, r, holder, scope, time.Now()); err != nil {
				return err
			}
		}
	}
	return nil
}

// exportBatch sends the next records of one log; more says that there may be others. The position is noted after the receiver has
// them: a crash between repeats a batch and loses none.
func (l *Log) exportBatch(ctx context.Context, r Receiver, holder string, scope tenant.Scope, now time.Time) (more bool, err error) {
	tenantID, err := scope.ID()
	if err != nil {
		return false, err
	}
	var p progress
	var mine bool
	err = l.db.Write(ctx, func(tx db.Querier) error {
		p, mine, err = claim(ctx, tx, tenantID, r.Name(), holder, now)
		return err
	})
	if err != nil || !mine {
		return false, err
	}
	found, err := entries(ctx, l.db.Reader(), tenantID, p.position, batch)
	if err != nil {
		return false, err
	}
	origin, records := OriginOf(l.trustDomain, tenantID), []Record(nil)
	for _, s := range found {
		if s.Index != p.position {
			return false, brokenf("entry %d is missing", p.position)
		}
		records = append(records, EntryRecord(origin, s))
		p.position++
	}
	size, text, err := newestCheckpoint(ctx, l.db.Reader(), tenantID, p.position)
	if err != nil {
		return false, err
	}
	if text != "" && size > p.signed {
		records = append(records, Record{Log: origin, Checkpoint: text})
		p.signed = size
	}
	if len(records) == 0 {
		return false, nil
	}
	row, err := oneRow(ctx, l.db.Reader(), tenantID)
	if err != nil {
		return false, err
	}
	key, err := openSeal(l.box, tenantID, row.sealed)
	if err != nil {
		return false, err
	}
	sending, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if err := r.Send(sending, origin, key.Public, records); err != nil {
		if fault.Has(err, wire.LogBroken) {
			return false, err // a receiver has seen another history
		}
		return false, fault.Wrap(wire.LogExportFailed, r.Name(), err)
	}
	if err := l.db.Write(ctx, func(tx db.Querier) error { return confirm(ctx, tx, tenantID, r.Name(), holder, p) }); err != nil {
		return false, err
	}
	l.metrics.exported.WithLabelValues(r.Name()).Add(float64(len(records)))
	return len(found) == batch, nil
}
