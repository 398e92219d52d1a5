package user

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Store keeps users. It is safe for concurrent use.
type Store struct {
	db      *db.DB
	tenants *tenant.Store
}

// NewStore returns the store in d.
func NewStore(d *db.DB) *Store { return &Store{db: d, tenants: tenant.NewStore(d)} }

const columns = `id, upn, source, directory_id, anchor, display_name, given_name, family_name, email, sign_in_name, sign_in_attribute, sign_in_at, group_names, role, disabled,
	attributes_at, valid_from, created_at, changed_at`

// Create adds a user; u's ID and times are ignored, except AttributesAt. Faults: BadRequest, NotFound for a directory that
// the tenant does not have, Conflict for a name or an anchor that another user has.
func (s *Store) Create(ctx context.Context, scope tenant.Scope, u User, now time.Time) (User, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return User{}, err
	}
	if u, err = u.clean(); err != nil {
		return User{}, err
	}
	if err := s.ownDirectory(ctx, scope, u.DirectoryID); err != nil {
		return User{}, err
	}
	u.ID, u.AttributesAt = db.NewID(), db.Time(db.Millis(u.AttributesAt))
	u.Created = db.Time(db.Millis(now))
	u.Changed = u.Created
	err = s.db.Write(ctx, func(tx db.Querier) error { return insert(ctx, tx, tenantID, u) })
	if err = db.Translate(err); errors.Is(err, db.ErrReference) {
		return User{}, fault.New(wire.NotFound, "the tenant or the directory is gone")
	}
	return settle(u, err, u.UPN)
}

// ownDirectory makes sure that the directory is of the same tenant: a foreign key alone would let it be another's.
func (s *Store) ownDirectory(ctx context.Context, scope tenant.Scope, id string) error {
	if id == "" {
		return nil
	}
	_, err := s.tenants.Directory(ctx, scope, id)
	return err
}

// ByID finds a user, or fails with the fault NotFound.
func (s *Store) ByID(ctx context.Context, scope tenant.Scope, id string) (User, error) {
	return s.one(ctx, scope, `id = $2`, id)
}

// ByUPN finds a user by any spelling of the name, or fails with the fault NotFound.
func (s *Store) ByUPN(ctx context.Context, scope tenant.Scope, upn string) (User, error) {
	return s.one(ctx, scope, `upn_key = $2`, Key(upn))
}

// BySignInName finds the user of a directory who is called this, in any spelling, where names are values of the attribute (see [User.CalledBy]), or fails
// with the fault NotFound: also when there are two, one of whom has it no longer.
func (s *Store) BySignInName(ctx context.Context, scope tenant.Scope, directoryID, attribute, name string, now time.Time) (User, error) {
	return s.one(ctx, scope, `directory_id = $2 AND sign_in_key = $3 AND sign_in_attribute = $4 AND sign_in_at > $5 AND NOT EXISTS (
		SELECT 1 FROM person other WHERE other.tenant_id = $1 AND other.directory_id = $2 AND other.sign_in_key = $3 AND other.sign_in_attribute = $4
		AND other.sign_in_at > $5 AND other.id <> person.id)`, directoryID, Key(name), strings.ToLower(attribute), db.Millis(now.Add(-aliasFor)))
}

// ByAnchor finds a synced user by its objectGUID, in any spelling, or fails with the fault NotFound.
func (s *Store) ByAnchor(ctx context.Context, scope tenant.Scope, directoryID, anchor string) (User, error) {
	if clean, err := cleanAnchor(anchor); err == nil { // what is none is nobody's
		anchor = clean
	}
	return s.one(ctx, scope, `directory_id = $2 AND anchor = $3`, directoryID, anchor)
}

// one finds a user by a condition, whose parameters begin at $2.
func (s *Store) one(ctx context.Context, scope tenant.Scope, condition string, args ...any) (User, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return User{}, err
	}
	u, err := find(ctx, s.db.Reader(), tenantID, condition, args...)
	return settle(u, err, "")
}

// List lists users in the order of their making, those that follow the user with the id after ("" for the beginning), at
// most limit of them (0: a page).
func (s *Store) List(ctx context.Context, scope tenant.Scope, after string, limit int) ([]User, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return nil, err
	}
	all, err := db.Collect(ctx, s.db.Reader(), scan, `SELECT `+columns+` FROM person WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3`,
		tenantID, after, db.PageSize(limit))
	if err != nil {
		return nil, fmt.Errorf("user: list: %w", err)
	}
	return all, nil
}

// AdministratorAddresses returns the mail addresses of the tenant's administrators who are not disabled and have one.
func (s *Store) AdministratorAddresses(ctx context.Context, scope tenant.Scope) ([]string, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return nil, err
	}
	out, err := db.Collect(ctx, s.db.Reader(), db.Value[string], `SELECT email FROM person WHERE tenant_id = $1 AND role = $2 AND disabled = $3 AND email <> ''
		ORDER BY id LIMIT $4`, tenantID, string(Administrator), false, db.PageSize(0))
	if err != nil {
		return nil, fmt.Errorf("user: listing administrators: %w", err)
	}
	return out, nil
}

// Change changes a user, and returns it. Faults: BadRequest, NotFound, Conflict for a name that another user has.
func (s *Store) Change(ctx context.Context, scope tenant.Scope, id string, c Change, now time.Time) (User, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return User{}, err
	}
	var u User
	err = s.db.Write(ctx, func(tx db.Querier) error {
		before, err := find(ctx, tx, tenantID, `id = $2`, id)
		if err != nil {
			return err
		}
		if u, err = c.apply(before, db.Time(db.Millis(now))).clean(); err != nil {
			return err
		}
		u.Changed = db.Time(db.Millis(now))
		return update(ctx, tx, tenantID, u)
	})
	return settle(u, err, u.UPN)
}

// Remove removes a user with everything that belongs to it: sessions, grants. Fault: NotFound.
func (s *Store) Remove(ctx context.Context, scope tenant.Scope, id string) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	return s.exec(ctx, `DELETE FROM person WHERE tenant_id = $1 AND id = $2`, tenantID, id)
}

// SetPasswordHash stores the hash of a cloud-only user's new password, and ends what was signed in with the old one. Faults: NotFound; BadRequest for a synced user, whose
// password is the directory's affair alone.
func (s *Store) SetPasswordHash(ctx context.Context, scope tenant.Scope, id, hash string, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	u, err := s.ByID(ctx, scope, id)
	if err != nil {
		return err
	}
	if u.Source != CloudOnly {
		return fault.Newf(wire.BadRequest, "%s is a synced user: the password lives in the directory alone", u.UPN)
	}
	// The source of a user never changes, so it still holds.
	return s.exec(ctx, `UPDATE person SET password_hash = $1, valid_from = $2, changed_at = $3 WHERE tenant_id = $4 AND id = $5`,
		hash, db.Millis(now), db.Millis(now), tenantID, id)
}

// SignOut ends every session and token of a user. Fault: NotFound.
func (s *Store) SignOut(ctx context.Context, scope tenant.Scope, id string, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	return s.exec(ctx, `UPDATE person SET valid_from = $1, changed_at = $2 WHERE tenant_id = $3 AND id = $4`, db.Millis(now), db.Millis(now), tenantID, id)
}

// PasswordHash returns the hash of a user's password, "" when there is none. Fault: NotFound.
func (s *Store) PasswordHash(ctx context.Context, scope tenant.Scope, id string) (string, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return "", err
	}
	var hash sql.NullString
	err = s.db.Reader().QueryRowContext(ctx, `SELECT password_hash FROM person WHERE tenant_id = $1 AND id = $2`, tenantID, id).Scan(&hash)
	return settle(hash.String, err, "")
}

// exec runs one statement that must meet a row.
func (s *Store) exec(ctx context.Context, query string, args ...any) error {
	err := s.db.Write(ctx, func(tx db.Querier) error {
		return db.Hit(ctx, tx, query, args...)
	})
	_, err = settle(struct{}{}, err, "")
	return err
}

// settle turns errors of the database into faults; upn is the name that was to be taken, if any.
func settle[T any](v T, err error, upn string) (T, error) {
	var none T
	switch err = db.Translate(err); {
	case err == nil:
		return v, nil
	case db.NoRow(err):
		return none, fault.New(wire.NotFound, "there is no such user in this tenant")
	case errors.Is(err, db.ErrConflict):
		return none, fault.Newf(wire.Conflict, "another user of this tenant has the name %q, or the same anchor in the directory, already", clip(upn))
	default:
		return none, fmt.Errorf("user: %w", err)
	}
}

func insert(ctx context.Context, tx db.Querier, tenantID string, u User) error {
	groups, err := encodeGroups(u.Groups)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO person (tenant_id, upn_key, sign_in_key, `+columns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)`,
		tenantID, Key(u.UPN), optional(Key(u.SignInName)), u.ID, u.UPN, string(u.Source), optional(u.DirectoryID), optional(u.Anchor), u.DisplayName, u.GivenName,
		u.FamilyName, u.Email, u.SignInName, u.SignInAttribute, db.Millis(u.SignInAt), groups, string(u.Role), u.Disabled, db.Millis(u.AttributesAt),
		db.Millis(u.ValidFrom), db.Millis(u.Created), db.Millis(u.Changed))
	return err
}

// update writes everything but what never changes: tenant, id, source, directory, hash and time of making.
func update(ctx context.Context, tx db.Querier, tenantID string, u User) error {
	groups, err := encodeGroups(u.Groups)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE person SET upn_key = $1, upn = $2, anchor = $3, display_name = $4, given_name = $5, family_name = $6,
		email = $7, group_names = $8, role = $9, disabled = $10, attributes_at = $11, valid_from = $12, changed_at = $13, sign_in_name = $14, sign_in_key = $15,
		sign_in_attribute = $16, sign_in_at = $17 WHERE tenant_id = $18 AND id = $19`,
		Key(u.UPN), u.UPN, optional(u.Anchor), u.DisplayName, u.GivenName, u.FamilyName, u.Email, groups, string(u.Role), u.Disabled,
		db.Millis(u.AttributesAt), db.Millis(u.ValidFrom), db.Millis(u.Changed), u.SignInName, optional(Key(u.SignInName)), u.SignInAttribute, db.Millis(u.SignInAt),
		tenantID, u.ID)
	return err
}

// find returns sql.ErrNoRows when there is none; the condition's parameters begin at $2.
func find(ctx context.Context, q db.Querier, tenantID, condition string, args ...any) (User, error) {
	return scan(q.QueryRowContext(ctx, `SELECT `+columns+` FROM person WHERE tenant_id = $1 AND `+condition,
		append([]any{tenantID}, args...)...))
}

// scan reads one row of columns.
func scan(row db.Scanner) (u User, err error) {
	var directory, anchor sql.NullString
	var groups string
	var signInAt, attributesAt, validFrom, created, changed int64
	if err := row.Scan(&u.ID, &u.UPN, &u.Source, &directory, &anchor, &u.DisplayName, &u.GivenName, &u.FamilyName, &u.Email, &u.SignInName,
		&u.SignInAttribute, &signInAt, &groups, &u.Role, &u.Disabled, &attributesAt, &validFrom, &created, &changed); err != nil {
		return User{}, err
	}
	u.DirectoryID, u.Anchor = directory.String, anchor.String
	u.SignInAt, u.AttributesAt = db.Time(signInAt), db.Time(attributesAt)
	u.ValidFrom, u.Created, u.Changed = db.Time(validFrom), db.Time(created), db.Time(changed)
	if groups != noGroups {
		if err := json.Unmarshal([]byte(groups), &u.Groups); err != nil {
			return User{}, fmt.Errorf("groups of user %s: %w", u.ID, err)
		}
	}
	return u, nil
}

// noGroups is how an empty list is stored.
const noGroups = "[]"

func encodeGroups(groups []string) (string, error) {
	if len(groups) == 0 {
		return noGroups, nil
	}
	text, err := json.Marshal(groups)
	return string(text), err
}

// optional stores "" as NULL.
func optional(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }
