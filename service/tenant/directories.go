package tenant

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// Directory is one AD forest or domain that a tenant has connected.
type Directory struct {
	ID, Name string
	// Evaluation marks the small directory that comes with the product: everything that shows it says so.
	Evaluation       bool
	Created, Changed time.Time
}

const directoryColumns = `id, name, evaluation, created_at, changed_at`

// CreateDirectory adds a directory. Faults: BadRequest, Conflict for a name that is taken, NotFound for a tenant that is gone.
func (s *Store) CreateDirectory(ctx context.Context, scope Scope, name string, evaluation bool, now time.Time) (Directory, error) {
	tenant, err := scope.ID()
	if err != nil {
		return Directory{}, err
	}
	if name, err = cleanDirectoryName(name); err != nil {
		return Directory{}, err
	}
	at := db.Time(db.Millis(now))
	d := Directory{ID: db.NewID(), Name: name, Evaluation: evaluation, Created: at, Changed: at}
	err = s.db.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO directory (tenant_id, `+directoryColumns+`) VALUES ($1, $2, $3, $4, $5, $6)`,
			tenant, d.ID, d.Name, d.Evaluation, db.Millis(d.Created), db.Millis(d.Changed))
		if err != nil {
			return err
		}
		return s.record(ctx, tx, tenant, Event{What: "directory.create", Directory: d.ID, Detail: d.Name}, now)
	})
	switch err = db.Translate(err); {
	case errors.Is(err, db.ErrReference):
		return Directory{}, noTenant(tenant)
	case errors.Is(err, db.ErrConflict):
		return Directory{}, directoryTaken(name)
	case err != nil:
		return Directory{}, fmt.Errorf("tenant: create directory: %w", err)
	}
	return d, nil
}

// Directories lists all directories of the tenant in the order of their making: they are few.
func (s *Store) Directories(ctx context.Context, scope Scope) ([]Directory, error) {
	tenant, err := scope.ID()
	if err != nil {
		return nil, err
	}
	all, err := db.Collect(ctx, s.db.Reader(), scanDirectory, `SELECT `+directoryColumns+` FROM directory WHERE tenant_id = $1 ORDER BY id`, tenant)
	return listed(all, err)
}

// Directory finds a directory by its id, or fails with the fault NotFound.
func (s *Store) Directory(ctx context.Context, scope Scope, id string) (Directory, error) {
	tenant, err := scope.ID()
	if err != nil {
		return Directory{}, err
	}
	return oneDirectory(ctx, s.db.Reader(), tenant, id)
}

// DirectoryByName finds a directory, or fails with the fault NotFound.
func (s *Store) DirectoryByName(ctx context.Context, scope Scope, name string) (Directory, error) {
	tenant, err := scope.ID()
	if err != nil {
		return Directory{}, err
	}
	clean, err := cleanDirectoryName(name)
	if err != nil {
		return Directory{}, noDirectory(name)
	}
	d, err := scanDirectory(s.db.Reader().QueryRowContext(ctx,
		`SELECT `+directoryColumns+` FROM directory WHERE tenant_id = $1 AND name = $2`, tenant, clean))
	return found(d, err, noDirectory(name))
}

// RenameDirectory gives a directory another name, and returns it. Faults: BadRequest, Conflict, NotFound.
func (s *Store) RenameDirectory(ctx context.Context, scope Scope, id, name string, now time.Time) (Directory, error) {
	tenant, err := scope.ID()
	if err != nil {
		return Directory{}, err
	}
	if name, err = cleanDirectoryName(name); err != nil {
		return Directory{}, err
	}
	var d Directory
	err = s.db.Write(ctx, func(tx db.Querier) error {
		var err error
		d, err = scanDirectory(tx.QueryRowContext(ctx, `UPDATE directory SET name = $1, changed_at = $2
			WHERE tenant_id = $3 AND id = $4 RETURNING `+directoryColumns, name, db.Millis(now), tenant, id))
		if err != nil {
			return err
		}
		return s.record(ctx, tx, tenant, Event{What: "directory.rename", Directory: d.ID, Detail: d.Name}, now)
	})
	if err = db.Translate(err); errors.Is(err, db.ErrConflict) {
		return Directory{}, directoryTaken(name)
	}
	return found(d, err, noDirectory(id))
}

// RemoveDirectory removes a directory that nothing refers to any more. Faults: NotFound, Conflict while it has domains,
// users or agents.
func (s *Store) RemoveDirectory(ctx context.Context, scope Scope, id string, now time.Time) error {
	tenant, err := scope.ID()
	if err != nil {
		return err
	}
	err = s.exec(ctx, noDirectory(id), func(tx db.Querier) error {
		return s.record(ctx, tx, tenant, Event{What: "directory.remove", Directory: id}, now)
	}, `DELETE FROM directory WHERE tenant_id = $1 AND id = $2`, tenant, id)
	if errors.Is(db.Translate(err), db.ErrReference) {
		return fault.New(wire.Conflict, "the directory still has domains, users or agents: remove them, or move the domains to another directory, first")
	}
	return err
}

func oneDirectory(ctx context.Context, q db.Querier, tenant, id string) (Directory, error) {
	d, err := scanDirectory(q.QueryRowContext(ctx, `SELECT `+directoryColumns+` FROM directory WHERE tenant_id = $1 AND id = $2`, tenant, id))
	return found(d, err, noDirectory(id))
}

func noDirectory(what string) error {
	return fault.Newf(wire.NotFound, "there is no directory %q in this tenant", clip(what))
}

func directoryTaken(name string) error {
	return fault.Newf(wire.Conflict, "there is a directory named %q in this tenant already", name)
}

func scanDirectory(row db.Scanner) (d Directory, err error) {
	var created, changed int64
	err = row.Scan(&d.ID, &d.Name, &d.Evaluation, &created, &changed)
	d.Created, d.Changed = db.Time(created), db.Time(changed)
	return d, err
}
