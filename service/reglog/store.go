package reglog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/tenant"
)

// Stored is an entry as it is stored: Text is what is hashed.
type Stored struct {
	Index int64
	Text  []byte
	Chain []byte
}

// row is a tenant's line of registration_log.
type row struct {
	size, signed  int64
	chain, sealed []byte
}

// seal is what is kept from those who can write the database: the key, and what it signed last.
type seal struct {
	Private, Public string
	Size            int64
	Root            tlog.Hash
	Chain           []byte
}

func purpose(tenantID string) string { return "registration-log/" + tenantID }

func (s seal) close(box *atrest.Box, tenantID string) ([]byte, error) {
	plain, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("reglog: %w", err)
	}
	sealed, err := box.Seal(purpose(tenantID), plain)
	if err != nil {
		return nil, fmt.Errorf("reglog: sealing the checkpoint key: %w", err)
	}
	return sealed, nil
}

func openSeal(box *atrest.Box, tenantID string, sealed []byte) (s seal, err error) {
	plain, err := box.Open(purpose(tenantID), sealed)
	if err != nil {
		return s, fmt.Errorf("reglog: opening the checkpoint key: %w", err)
	}
	if err := json.Unmarshal(plain, &s); err != nil {
		return s, fmt.Errorf("reglog: reading the checkpoint key: %w", err)
	}
	return s, nil
}

func oneRow(ctx context.Context, q db.Querier, tenantID string) (r row, err error) {
	err = q.QueryRowContext(ctx, `SELECT size, signed, chain, sealed FROM registration_log WHERE tenant_id = $1`, tenantID).
		Scan(&r.size, &r.signed, &r.chain, &r.sealed)
	if err != nil {
		return r, fmt.Errorf("reglog: reading a log: %w", err)
	}
	return r, nil
}

// begin makes a tenant's log, if it has none. Of two transactions that do it at once PostgreSQL runs one again.
func (l *Log) begin(ctx context.Context, tx db.Querier, tenantID string, now time.Time) error {
	origin := OriginOf(l.trustDomain, tenantID)
	private, public, err := newKey(origin)
	if err != nil {
		return err
	}
	root, err := tlog.TreeHash(0, nil)
	if err != nil {
		return fmt.Errorf("reglog: %w", err)
	}
	chain := beginChain(origin)
	sealed, err := seal{Private: private, Public: public, Root: root, Chain: chain}.close(l.box, tenantID)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO registration_log (tenant_id, size, signed, chain, sealed, created_at)
		VALUES ($1, 0, 0, $2, $3, $4) ON CONFLICT (tenant_id) DO NOTHING`, tenantID, chain, sealed, db.Millis(now))
	if err != nil {
		return fmt.Errorf("reglog: beginning a log: %w", err)
	}
	return nil
}

// advance takes the next index. The row stays locked until the transaction ends, and a transaction that is rolled back gives its index
// back with it: appends of one tenant have an order, and indexes no gap.
func advance(ctx context.Context, tx db.Querier, tenantID string) (index int64, chain []byte, err error) {
	err = tx.QueryRowContext(ctx, `UPDATE registration_log SET size = size + 1 WHERE tenant_id = $1 RETURNING size - 1, chain`, tenantID).
		Scan(&index, &chain)
	if err != nil {
		return 0, nil, fmt.Errorf("reglog: taking an index: %w", err)
	}
	return index, chain, nil
}

func insertEntry(ctx context.Context, tx db.Querier, tenantID string, s Stored, hashes []tlog.Hash) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO registration_entry (tenant_id, position, entry, chain) VALUES ($1, $2, $3, $4)`,
		tenantID, s.Index, string(s.Text), s.Chain); taken(err) {
		return brokenf("there is an entry %d already, beyond the end of the log", s.Index)
	} else if err != nil {
		return fmt.Errorf("reglog: storing an entry: %w", err)
	}
	for i, h := range hashes {
		if _, err := tx.ExecContext(ctx, `INSERT INTO registration_hash (tenant_id, position, hash) VALUES ($1, $2, $3)`,
			tenantID, tlog.StoredHashIndex(0, s.Index)+int64(i), h[:]); err != nil {
			return fmt.Errorf("reglog: storing a hash: %w", err)
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE registration_log SET chain = $1 WHERE tenant_id = $2`, s.Chain, tenantID); err != nil {
		return fmt.Errorf("reglog: storing the chain: %w", err)
	}
	return nil
}

// taken reports whether a row exists that cannot: nobody but us writes these tables.
func taken(err error) bool {
	err = db.Translate(err)
	return errors.Is(err, db.ErrConflict) && !errors.Is(err, db.ErrReference)
}

// hashReader reads a tenant's hashes.
func hashReader(ctx context.Context, q db.Querier, tenantID string) tlog.HashReaderFunc {
	return func(indexes []int64) ([]tlog.Hash, error) {
		if len(indexes) == 0 {
			return nil, nil
		}
		// As many as the tree is high: there are few texts of this query.
		args, places := []any{tenantID}, make([]string, len(indexes))
		for i, x := range indexes {
			args, places[i] = append(args, x), fmt.Sprintf("$%d", i+2)
		}
		rows, err := q.QueryContext(ctx, `SELECT position, hash FROM registration_hash WHERE tenant_id = $1 AND position IN (`+strings.Join(places, ", ")+`)`, args...)
		if err != nil {
			return nil, fmt.Errorf("reglog: reading hashes: %w", err)
		}
		defer rows.Close()
		found := map[int64]tlog.Hash{}
		for rows.Next() {
			var at int64
			var hash []byte
			if err := rows.Scan(&at, &hash); err != nil {
				return nil, fmt.Errorf("reglog: reading hashes: %w", err)
			}
			if len(hash) == tlog.HashSize {
				found[at] = tlog.Hash(hash)
			}
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("reglog: reading hashes: %w", err)
		}
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			h, ok := found[x]
			if !ok {
				return nil, brokenf("the tree's hash %d is missing", x)
			}
			out[i] = h
		}
		return out, nil
	}
}

// entries returns up to limit entries from an index on, in order.
func entries(ctx context.Context, q db.Querier, tenantID string, from int64, limit int) ([]Stored, error) {
	out, err := db.Collect(ctx, q, func(row db.Scanner) (s Stored, err error) {
		var text string
		err = row.Scan(&s.Index, &text, &s.Chain)
		s.Text = []byte(text)
		return s, err
	}, `SELECT position, entry, chain FROM registration_entry WHERE tenant_id = $1 AND position >= $2 ORDER BY position LIMIT $3`, tenantID, from, limit)
	if err != nil {
		return nil, fmt.Errorf("reglog: reading entries: %w", err)
	}
	return out, nil
}

// extend is the rule of what may be signed: the rows must begin with the tree that was signed last, and each further entry follow from
// the one before. It returns what is to be signed next. Of the rows it believes the entries, since somebody has to say what happened, and
// no hash that does not follow from them and from the seal.
func extend(last seal, read tlog.HashReader, next func(from int64, limit int) ([]Stored, error), size int64, chain []byte) (seal, error) {
	if size < last.Size {
		return last, brokenf("%d entries were signed, and the log has %d", last.Size, size)
	}
	// The frontier of the signed tree is what TreeHash asks for.
	known := map[int64]tlog.Hash{}
	root, err := tlog.TreeHash(last.Size, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes, err := read.ReadHashes(indexes)
		for i, h := range hashes {
			known[indexes[i]] = h
		}
		return hashes, err
	}))
	if err != nil {
		return last, err
	}
	if root != last.Root {
		return last, brokenf("the tree's hashes are not those that were signed at %d entries", last.Size)
	}
	proven := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			h, ok := known[x]
			if !ok {
				return nil, errors.New("reglog: a hash that nothing proves")
			}
			out[i] = h
		}
		return out, nil
	})
	for last.Size < size {
		more, err := next(last.Size, int(min(size-last.Size, batch)))
		if err != nil {
			return last, err
		}
		if len(more) == 0 {
			return last, brokenf("entry %d is missing", last.Size)
		}
		for _, s := range more {
			e, err := DecodeEntry(s.Text)
			last.Chain = nextChain(last.Chain, s.Text)
			if err != nil || s.Index != last.Size || e.Index != last.Size || !bytes.Equal(s.Chain, last.Chain) {
				return last, brokenf("entry %d does not follow the one before", last.Size)
			}
			hashes, err := tlog.StoredHashes(s.Index, s.Text, proven)
			if err != nil {
				return last, err
			}
			for i, h := range hashes {
				known[tlog.StoredHashIndex(0, s.Index)+int64(i)] = h
			}
			last.Size++
		}
	}
	if last.Root, err = tlog.TreeHash(size, proven); err != nil {
		return last, err
	}
	if stored, err := tlog.TreeHash(size, read); err != nil || stored != last.Root || !bytes.Equal(chain, last.Chain) {
		return last, errors.Join(err, brokenf("the tree's hashes are not those of the entries"))
	}
	return last, nil
}

func storeCheckpoint(ctx context.Context, tx db.Querier, tenantID string, c Checkpoint, sealed []byte, now time.Time) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO registration_checkpoint (tenant_id, size, note, signed_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id, size) DO NOTHING`, tenantID, c.Size, c.Note, db.Millis(now)); err != nil {
		return fmt.Errorf("reglog: storing a checkpoint: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE registration_log SET signed = $1, sealed = $2 WHERE tenant_id = $3`, c.Size, sealed, tenantID); err != nil {
		return fmt.Errorf("reglog: storing a checkpoint: %w", err)
	}
	return nil
}

// progress is how far a receiver has come with a tenant's log.
type progress struct{ position, signed int64 }

// waiting returns the tenants with something new for a receiver: a look over all tenants, whose logs are then read each under its own scope.
func waiting(ctx context.Context, q db.Querier, receiver string) ([]tenant.Scope, error) {
	return scopes(ctx, q, `SELECT l.tenant_id FROM registration_log l LEFT JOIN registration_export e
		ON e.tenant_id = l.tenant_id AND e.receiver = $1
		WHERE l.size > coalesce(e.position, 0) OR l.signed > coalesce(e.signed, -1) AND l.size > 0 ORDER BY l.tenant_id`, receiver)
}

// grown returns the tenants whose logs have entries that are not signed.
func grown(ctx context.Context, q db.Querier) ([]tenant.Scope, error) {
	return scopes(ctx, q, `SELECT tenant_id FROM registration_log WHERE size <> signed ORDER BY tenant_id`)
}

// claim gives a receiver of a tenant's log to one process for a while; ok is false when another has it.
func claim(ctx context.Context, tx db.Querier, tenantID, receiver, holder string, now time.Time) (p progress, ok bool, err error) {
	if _, err := tx.ExecContext(ctx, `INSERT INTO registration_export (tenant_id, receiver, position, signed, holder, held_until)
		VALUES ($1, $2, 0, -1, '', 0) ON CONFLICT (tenant_id, receiver) DO NOTHING`, tenantID, receiver); err != nil {
		return p, false, fmt.Errorf("reglog: claiming an export: %w", err)
	}
	err = tx.QueryRowContext(ctx, `UPDATE registration_export SET holder = $1, held_until = $2
		WHERE tenant_id = $3 AND receiver = $4 AND (holder = $1 OR held_until <= $5) RETURNING position, signed`,
		holder, db.Millis(now.Add(heldFor)), tenantID, receiver, db.Millis(now)).Scan(&p.position, &p.signed)
	if db.NoRow(err) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("reglog: claiming an export: %w", err)
	}
	return p, true, nil
}

// confirm notes what a receiver has taken. Another process that has the receiver by now keeps what it noted itself.
func confirm(ctx context.Context, tx db.Querier, tenantID, receiver, holder string, p progress) error {
	if _, err := tx.ExecContext(ctx, `UPDATE registration_export SET position = $1, signed = $2 WHERE tenant_id = $3 AND receiver = $4 AND holder = $5`,
		p.position, p.signed, tenantID, receiver, holder); err != nil {
		return fmt.Errorf("reglog: noting an export: %w", err)
	}
	return nil
}

// newestCheckpoint returns the note of the largest checkpoint up to a size; "" for none.
func newestCheckpoint(ctx context.Context, q db.Querier, tenantID string, most int64) (size int64, text string, err error) {
	err = q.QueryRowContext(ctx, `SELECT size, note FROM registration_checkpoint WHERE tenant_id = $1 AND size <= $2 ORDER BY size DESC LIMIT 1`,
		tenantID, most).Scan(&size, &text)
	if db.NoRow(err) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", fmt.Errorf("reglog: reading a checkpoint: %w", err)
	}
	return size, text, nil
}
