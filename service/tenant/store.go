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

// Store keeps tenants, directories and domains. It is safe for concurrent use.
type Store struct {
	// Log records each change of a policy in its transaction. The wiring sets it; nil, in tests alone, records nothing.
	Log Recorder

	db     *db.DB
	recent recent
}

// NewStore returns the store in d.
func NewStore(d *db.DB) *Store { return &Store{db: d} }

// Tenant is one customer organisation.
type Tenant struct {
	ID string
	// Name stands in URLs and never changes.
	Name string
	// DisplayName and Color are what people see on the sign-in page. Color is "#rrggbb", dark enough for white text.
	DisplayName, Color string
	Created, Changed   time.Time
}

// Scope returns what queries on behalf of t need.
func (t Tenant) Scope() Scope { return Scope{id: t.ID} }

// NewTenant is what a tenant begins with. An empty DisplayName is the Name, an empty Color is [DefaultColor].
type NewTenant struct{ Name, DisplayName, Color string }

// TenantChange is what may change of a tenant; nil fields stay as they are.
type TenantChange struct{ DisplayName, Color *string }

const tenantColumns = `id, name, display_name, color, created_at, changed_at`

// CreateTenant adds a tenant. Faults: BadRequest, Conflict for a name that is taken.
func (s *Store) CreateTenant(ctx context.Context, n NewTenant, now time.Time) (Tenant, error) {
	if err := checkName(n.Name); err != nil {
		return Tenant{}, err
	}
	if n.DisplayName == "" {
		n.DisplayName = n.Name
	}
	display, err := cleanText("display name", n.DisplayName, maxDisplayName)
	if err != nil {
		return Tenant{}, err
	}
	color, err := cleanColor(n.Color)
	if err != nil {
		return Tenant{}, err
	}
	at := db.Time(db.Millis(now))
	t := Tenant{ID: db.NewID(), Name: n.Name, DisplayName: display, Color: color, Created: at, Changed: at}
	err = s.db.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO tenant (`+tenantColumns+`) VALUES ($1, $2, $3, $4, $5, $6)`,
			t.ID, t.Name, t.DisplayName, t.Color, db.Millis(t.Created), db.Millis(t.Changed))
		return err
	})
	if err = db.Translate(err); errors.Is(err, db.ErrConflict) {
		return Tenant{}, fault.Newf(wire.Conflict, "there is a tenant named %q already", n.Name)
	}
	if err != nil {
		return Tenant{}, fmt.Errorf("tenant: create %q: %w", n.Name, err)
	}
	return t, nil
}

// Tenants lists tenants in the order of their making, those that follow the tenant with the id after ("" for the
// beginning), at most limit of them (0: a page).
func (s *Store) Tenants(ctx context.Context, after string, limit int) ([]Tenant, error) {
	all, err := db.Collect(ctx, s.db.Reader(), scanTenant, `SELECT `+tenantColumns+` FROM tenant WHERE id > $1 ORDER BY id LIMIT $2`, after, db.PageSize(limit))
	return listed(all, err)
}

// TenantByName finds a tenant, or fails with the fault NotFound.
func (s *Store) TenantByName(ctx context.Context, name string) (Tenant, error) {
	if checkName(name) != nil { // also keeps bytes that a database would choke on away from it
		return Tenant{}, noTenant(name)
	}
	t, err := scanTenant(s.db.Reader().QueryRowContext(ctx, `SELECT `+tenantColumns+` FROM tenant WHERE name = $1`, name))
	return found(t, err, noTenant(name))
}

// TenantByID finds a tenant, or fails with the fault NotFound.
func (s *Store) TenantByID(ctx context.Context, id string) (Tenant, error) {
	t, err := scanTenant(s.db.Reader().QueryRowContext(ctx, `SELECT `+tenantColumns+` FROM tenant WHERE id = $1`, id))
	return found(t, err, noTenant(id))
}

// ChangeTenant changes how a tenant looks, and returns it. Faults: BadRequest, NotFound.
func (s *Store) ChangeTenant(ctx context.Context, scope Scope, c TenantChange, now time.Time) (Tenant, error) {
	id, err := scope.ID()
	if err != nil {
		return Tenant{}, err
	}
	if c.DisplayName != nil {
		display, err := cleanText("display name", *c.DisplayName, maxDisplayName)
		if err != nil {
			return Tenant{}, err
		}
		c.DisplayName = &display
	}
	if c.Color != nil {
		color, err := cleanColor(*c.Color)
		if err != nil {
			return Tenant{}, err
		}
		c.Color = &color
	}
	var t Tenant
	err = s.db.Write(ctx, func(tx db.Querier) error {
		// A nil pointer is NULL, which leaves the column as it is.
		row := tx.QueryRowContext(ctx, `UPDATE tenant SET display_name = coalesce($1, display_name), color = coalesce($2, color), changed_at = $3
			WHERE id = $4 RETURNING `+tenantColumns, c.DisplayName, c.Color, db.Millis(now), id)
		var err error
		t, err = scanTenant(row)
		return err
	})
	s.recent.forget()
	return found(t, err, noTenant(id))
}

// RemoveTenant removes a tenant with everything that belongs to it. There is no way back. Fault: NotFound.
func (s *Store) RemoveTenant(ctx context.Context, scope Scope) error {
	id, err := scope.ID()
	if err != nil {
		return err
	}
	defer s.recent.forget()
	return s.exec(ctx, noTenant(id), nil, `DELETE FROM tenant WHERE id = $1`, id)
}

// exec runs one statement that must meet a row, or fails with absent; then, if not nil, runs in the same transaction.
func (s *Store) exec(ctx context.Context, absent error, then func(tx db.Querier) error, query string, args ...any) error {
	err := s.db.Write(ctx, func(tx db.Querier) error {
		if err := db.Hit(ctx, tx, query, args...); err != nil || then == nil {
			return err
		}
		return then(tx)
	})
	_, err = found(struct{}{}, err, absent)
	return err
}

// found turns "no rows" into absent, which says what was looked for.
func found[T any](v T, err, absent error) (T, error) {
	var none T
	if db.NoRow(err) {
		return none, absent
	}
	if err != nil {
		return none, fmt.Errorf("tenant: %w", err)
	}
	return v, nil
}

// listed says whose list could not be read.
func listed[T any](all []T, err error) ([]T, error) {
	if err != nil {
		return nil, fmt.Errorf("tenant: list: %w", err)
	}
	return all, nil
}

func noTenant(what string) error {
	return fault.Newf(wire.NotFound, "there is no tenant %q", clip(what))
}

func scanTenant(row db.Scanner) (t Tenant, err error) {
	var created, changed int64
	err = row.Scan(&t.ID, &t.Name, &t.DisplayName, &t.Color, &created, &changed)
	t.Created, t.Changed = db.Time(created), db.Time(changed)
	return t, err
}
