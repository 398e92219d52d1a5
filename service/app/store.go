package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Store keeps applications. It is safe for concurrent use.
type Store struct{ db *db.DB }

// NewStore returns the store in d.
func NewStore(d *db.DB) *Store { return &Store{db: d} }

const columns = `id, name, redirect_uris, post_logout_uris, public, algorithm, group_claims, disabled, created_at, changed_at`

// Create registers an application and returns its secret, which cannot be had again; it is empty for a public app. Faults:
// BadRequest, Conflict for a name that is taken, NotFound for a tenant that is gone.
func (s *Store) Create(ctx context.Context, scope tenant.Scope, n New, now time.Time) (App, string, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return App{}, "", err
	}
	a, err := App{Name: n.Name, RedirectURIs: n.RedirectURIs, PostLogoutURIs: n.PostLogoutURIs, Public: n.Public, Algorithm: n.Algorithm,
		GroupClaims: n.GroupClaims}.clean()
	if err != nil {
		return App{}, "", err
	}
	a.ID = db.NewID()
	a.Created = db.Time(db.Millis(now))
	a.Changed = a.Created
	var secret string
	var hash []byte
	if !a.Public {
		secret, hash = newSecret()
	}
	redirects, logouts, err := encode(a)
	if err != nil {
		return App{}, "", err
	}
	err = s.db.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO app (tenant_id, secret_hash, `+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			tenantID, hash, a.ID, a.Name, redirects, logouts, a.Public, a.Algorithm, a.GroupClaims, a.Disabled, db.Millis(a.Created), db.Millis(a.Changed))
		return err
	})
	if err = db.Translate(err); errors.Is(err, db.ErrReference) {
		return App{}, "", fault.New(wire.NotFound, "the tenant is gone")
	}
	if a, err = settle(a, err, a.Name); err != nil {
		return App{}, "", err
	}
	return a, secret, nil
}

// ByID finds an application, or fails with the fault NotFound.
func (s *Store) ByID(ctx context.Context, scope tenant.Scope, id string) (App, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return App{}, err
	}
	a, err := find(ctx, s.db.Reader(), tenantID, id)
	return settle(a, err, "")
}

// List lists applications in the order of their making, those that follow the one with the id after ("" for the beginning),
// at most limit of them (0: a page).
func (s *Store) List(ctx context.Context, scope tenant.Scope, after string, limit int) ([]App, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return nil, err
	}
	all, err := db.Collect(ctx, s.db.Reader(), scan, `SELECT `+columns+` FROM app WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3`,
		tenantID, after, db.PageSize(limit))
	if err != nil {
		return nil, fmt.Errorf("app: list: %w", err)
	}
	return all, nil
}

// Change changes an application, and returns it. Faults: BadRequest, NotFound, Conflict for a name that is taken.
func (s *Store) Change(ctx context.Context, scope tenant.Scope, id string, c Change, now time.Time) (App, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return App{}, err
	}
	var a App
	err = s.db.Write(ctx, func(tx db.Querier) error {
		before, err := find(ctx, tx, tenantID, id)
		if err != nil {
			return err
		}
		if a, err = c.apply(before).clean(); err != nil {
			return err
		}
		a.Changed = db.Time(db.Millis(now))
		redirects, logouts, err := encode(a)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE app SET name = $1, redirect_uris = $2, post_logout_uris = $3, algorithm = $4, group_claims = $5,
			disabled = $6, changed_at = $7 WHERE tenant_id = $8 AND id = $9`,
			a.Name, redirects, logouts, a.Algorithm, a.GroupClaims, a.Disabled, db.Millis(a.Changed), tenantID, id)
		return err
	})
	return settle(a, err, a.Name)
}

// RotateSecret makes a new secret and returns it; the old one is worth nothing from then on. Faults: NotFound, BadRequest for
// a public app.
func (s *Store) RotateSecret(ctx context.Context, scope tenant.Scope, id string, now time.Time) (string, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return "", err
	}
	a, err := s.ByID(ctx, scope, id)
	if err != nil {
		return "", err
	}
	if a.Public {
		return "", fault.Newf(wire.BadRequest, "the app %q is public: it has no secret", a.Name)
	}
	secret, hash := newSecret()
	if err := s.exec(ctx, `UPDATE app SET secret_hash = $1, changed_at = $2 WHERE tenant_id = $3 AND id = $4`, hash, db.Millis(now), tenantID, id); err != nil {
		return "", err
	}
	return secret, nil
}

// Remove removes an application with everything that was issued to it. Fault: NotFound.
func (s *Store) Remove(ctx context.Context, scope tenant.Scope, id string) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	return s.exec(ctx, `DELETE FROM app WHERE tenant_id = $1 AND id = $2`, tenantID, id)
}

// CheckSecret reports whether secret is the application's, in a time that does not depend on the bytes. A public app has no
// right secret. Fault: NotFound.
func (s *Store) CheckSecret(ctx context.Context, scope tenant.Scope, id, secret string) (bool, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return false, err
	}
	var hash []byte
	err = s.db.Reader().QueryRowContext(ctx, `SELECT secret_hash FROM app WHERE tenant_id = $1 AND id = $2`, tenantID, id).Scan(&hash)
	if hash, err = settle(hash, err, ""); err != nil {
		return false, err
	}
	if secret == "" || len(secret) > maxSecret {
		return false, nil
	}
	given := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(hash, given[:]) == 1, nil
}

// newSecret returns a new secret and what is stored of it.
func newSecret() (secret string, hash []byte) {
	var raw [secretBytes]byte
	_, _ = rand.Read(raw[:]) // never fails: the program ends when the system has no randomness
	secret = secretPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	sum := sha256.Sum256([]byte(secret))
	return secret, sum[:]
}

// exec runs one statement that must meet a row.
func (s *Store) exec(ctx context.Context, query string, args ...any) error {
	err := s.db.Write(ctx, func(tx db.Querier) error {
		return db.Hit(ctx, tx, query, args...)
	})
	_, err = settle(struct{}{}, err, "")
	return err
}

// settle turns errors of the database into faults; name is the name that was to be taken, if any.
func settle[T any](v T, err error, name string) (T, error) {
	var none T
	switch err = db.Translate(err); {
	case err == nil:
		return v, nil
	case db.NoRow(err):
		return none, fault.New(wire.NotFound, "there is no such app in this tenant")
	case errors.Is(err, db.ErrConflict):
		return none, fault.Newf(wire.Conflict, "there is an app named %q in this tenant already", name)
	default:
		return none, fmt.Errorf("app: %w", err)
	}
}

// find returns sql.ErrNoRows when there is none.
func find(ctx context.Context, q db.Querier, tenantID, id string) (App, error) {
	return scan(q.QueryRowContext(ctx, `SELECT `+columns+` FROM app WHERE tenant_id = $1 AND id = $2`, tenantID, id))
}

// scan reads one row of columns.
func scan(row db.Scanner) (a App, err error) {
	var redirects, logouts string
	var created, changed int64
	if err := row.Scan(&a.ID, &a.Name, &redirects, &logouts, &a.Public, &a.Algorithm, &a.GroupClaims, &a.Disabled, &created, &changed); err != nil {
		return App{}, err
	}
	a.Created, a.Changed = db.Time(created), db.Time(changed)
	if err := errors.Join(json.Unmarshal([]byte(redirects), &a.RedirectURIs), json.Unmarshal([]byte(logouts), &a.PostLogoutURIs)); err != nil {
		return App{}, fmt.Errorf("addresses of app %s: %w", a.ID, err)
	}
	return a, nil
}

// encode returns the lists as they are stored.
func encode(a App) (redirects, logouts string, err error) {
	r, redirectErr := json.Marshal(a.RedirectURIs)
	l, logoutErr := json.Marshal(a.PostLogoutURIs)
	return string(r), string(l), errors.Join(redirectErr, logoutErr)
}
