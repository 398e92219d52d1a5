package canary

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Canary is what agents of a directory are probed with.
type Canary struct {
	// Names are accounts as people type them, in a domain of the directory. The password, if there is one, is of the first.
	Names []string
	// HasPassword says that the first account's right password is kept.
	HasPassword bool
	Changed     time.Time
}

// Store keeps canaries. It is safe for concurrent use.
type Store struct {
	// Log records each change in its transaction. The wiring sets it; nil, in tests alone, records nothing.
	Log tenant.Recorder

	db      *db.DB
	box     *atrest.Box
	tenants *tenant.Store
	fleet   *fleet.Store
}

// NewStore returns the canaries of all tenants; box seals their passwords.
func NewStore(d *db.DB, box *atrest.Box, tenants *tenant.Store, members *fleet.Store) *Store {
	return &Store{db: d, box: box, tenants: tenants, fleet: members}
}

// Set names a directory's canary in place of the one before: what is not given is gone, a password too. The secret is the caller's to
// wipe; an empty one means none. Faults: [wire.BadRequest] for names that are not in a domain of the directory, for none or too many;
// [wire.PasswordUnusable]; [wire.NotFound] for the directory.
func (s *Store) Set(ctx context.Context, scope tenant.Scope, directory string, names []string, secret wire.Secret, now time.Time) (Canary, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Canary{}, err
	}
	if _, err := s.tenants.Directory(ctx, scope, directory); err != nil {
		return Canary{}, err
	}
	if len(names) == 0 || len(names) > maxNames {
		return Canary{}, fault.Newf(wire.BadRequest, "%d names: give one, and %d at most", len(names), maxNames)
	}
	names = slices.Clone(names)
	for i, name := range names {
		normal, domain, ok := password.NameFits(name)
		if !ok {
			return Canary{}, fault.Newf(wire.BadRequest, "%.80q is not a name of the form name@domain", name)
		}
		d, err := s.tenants.Domain(ctx, scope, domain)
		if err != nil && !fault.Has(err, wire.NotFound) {
			return Canary{}, err
		}
		if err != nil || d.DirectoryID != directory {
			return Canary{}, fault.Newf(wire.BadRequest, "%s is not a domain of this directory", domain)
		}
		names[i] = normal
	}
	var sealed []byte
	if secret.Len() > 0 {
		if !password.Usable(secret) {
			return Canary{}, fault.New(wire.PasswordUnusable, "")
		}
		if sealed, err = s.box.Seal(purpose+directory, secret.Reveal()); err != nil {
			return Canary{}, fmt.Errorf("canary: sealing the password: %w", err)
		}
	}
	text, err := json.Marshal(names)
	if err != nil {
		return Canary{}, fmt.Errorf("canary: encoding names: %w", err)
	}
	err = s.db.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO directory_canary (directory_id, tenant_id, name, password, changed_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (directory_id) DO UPDATE SET name = excluded.name, password = excluded.password, changed_at = excluded.changed_at`,
			directory, tenantID, string(text), sealed, db.Millis(now))
		if err != nil {
			return err
		}
		return s.record(ctx, tx, scope, tenant.Event{What: "canary.set", Directory: directory,
			Detail: fmt.Sprintf("%s, password kept: %t", strings.Join(names, ", "), sealed != nil)}, now)
	})
	if err != nil {
		return Canary{}, fmt.Errorf("canary: storing: %w", db.Translate(err))
	}
	// What was found out with other accounts says nothing any more.
	if err := s.fleet.Unprobed(ctx, scope, directory, now); err != nil {
		return Canary{}, err
	}
	return Canary{Names: names, HasPassword: sealed != nil, Changed: db.Time(db.Millis(now))}, nil
}

// Get returns a directory's canary; fault [wire.NotFound] if it has none.
func (s *Store) Get(ctx context.Context, scope tenant.Scope, directory string) (Canary, error) {
	c, _, err := s.read(ctx, scope, directory)
	return c, err
}

// open returns a canary with its password, which the caller must wipe.
func (s *Store) open(ctx context.Context, scope tenant.Scope, directory string) (Canary, wire.Secret, error) {
	c, sealed, err := s.read(ctx, scope, directory)
	if err != nil || sealed == nil {
		return c, wire.Secret{}, err
	}
	plain, err := s.box.Open(purpose+directory, sealed)
	if err != nil {
		return c, wire.Secret{}, fmt.Errorf("canary: opening the password of directory %s: %w", directory, err)
	}
	return c, wire.NewSecret(plain), nil
}

func (s *Store) read(ctx context.Context, scope tenant.Scope, directory string) (c Canary, sealed []byte, err error) {
	tenantID, err := scope.ID()
	if err != nil {
		return c, nil, err
	}
	var names string
	var changed int64
	err = s.db.Reader().QueryRowContext(ctx, `SELECT name, password, changed_at FROM directory_canary WHERE tenant_id = $1 AND directory_id = $2`,
		tenantID, directory).Scan(&names, &sealed, &changed)
	if db.NoRow(err) {
		return c, nil, fault.New(wire.NotFound, "the directory has no canary")
	}
	if err == nil {
		err = json.NewDecoder(strings.NewReader(names)).Decode(&c.Names)
	}
	if err != nil {
		return c, nil, fmt.Errorf("canary: reading: %w", err)
	}
	c.HasPassword, c.Changed = sealed != nil, db.Time(changed)
	return c, sealed, nil
}

// Remove ends the probing of a directory's agents. Fault [wire.NotFound].
func (s *Store) Remove(ctx context.Context, scope tenant.Scope, directory string, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	err = s.db.Write(ctx, func(tx db.Querier) error {
		r, err := tx.ExecContext(ctx, `DELETE FROM directory_canary WHERE tenant_id = $1 AND directory_id = $2`, tenantID, directory)
		if err != nil {
			return fmt.Errorf("canary: removing: %w", err)
		}
		if n, err := r.RowsAffected(); err != nil {
			return fmt.Errorf("canary: removing: %w", err)
		} else if n == 0 {
			return fault.New(wire.NotFound, "the directory has no canary")
		}
		return s.record(ctx, tx, scope, tenant.Event{What: "canary.remove", Directory: directory}, now)
	})
	if err != nil {
		return err
	}
	return s.fleet.Unprobed(ctx, scope, directory, now)
}

// record has a change written into the registration log.
func (s *Store) record(ctx context.Context, tx db.Querier, scope tenant.Scope, e tenant.Event, now time.Time) error {
	if s.Log == nil {
		return nil
	}
	return s.Log.Record(ctx, tx, scope, e, now)
}
