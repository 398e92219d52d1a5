package oidc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/tenant"
)

// errNoRow is returned by lookups that find nothing under the scope.
var errNoRow = errors.New("oidc: no such row")

// storedRequest is an application's request while its journey lasts.
type storedRequest struct {
	ID      string
	AppID   string
	Request authorizeRequest // without the hints, which are spent
	Created time.Time
	Expires time.Time
}

// grant is what one authorization gave: the family of everything issued from it.
type grant struct {
	ID       string
	AppID    string
	PersonID string
	Session  string
	Scope    []string
	Nonce    string
	Claims   claimsRequest
	Offline  bool
	SignedIn time.Time
	Methods  []string
	Revoked  time.Time
	Created  time.Time
	Expires  time.Time
}

type storedCode struct {
	GrantID     string
	RedirectURI string
	Challenge   string
	Used        time.Time
	Expires     time.Time
}

type storedRefresh struct {
	GrantID string
	Used    time.Time
	Salt    []byte
	Expires time.Time
}

type storedAccess struct {
	GrantID string
	Scope   []string
	Expires time.Time
}

// insertRequest stores a request until its journey comes back.
func insertRequest(ctx context.Context, d *db.DB, s tenant.Scope, q storedRequest) error {
	id, err := s.ID()
	if err != nil {
		return err
	}
	maxAge := int64(-1)
	if q.Request.MaxAge != anyAge {
		maxAge = q.Request.MaxAge.Milliseconds()
	}
	return d.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO oidc_request (id, tenant_id, app_id, redirect_uri, scope, state, nonce,
			code_challenge, claims, subject, max_age, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
			q.ID, id, q.AppID, q.Request.RedirectURI, strings.Join(q.Request.Scope, " "), q.Request.State, q.Request.Nonce,
			q.Request.Challenge, q.Request.Claims.encode(), q.Request.Claims.Subject, maxAge, db.Millis(q.Created), db.Millis(q.Expires))
		if err != nil {
			return fmt.Errorf("oidc: store request: %w", err)
		}
		return nil
	})
}

// findRequest returns a request that waits for its journey.
func findRequest(ctx context.Context, d *db.DB, s tenant.Scope, requestID string) (storedRequest, error) {
	id, err := s.ID()
	if err != nil {
		return storedRequest{}, err
	}
	q := storedRequest{ID: requestID}
	var scope, claims, subject string
	var maxAge, created, expires int64
	err = d.Reader().QueryRowContext(ctx, `SELECT app_id, redirect_uri, scope, state, nonce, code_challenge, claims, subject,
		max_age, created_at, expires_at FROM oidc_request WHERE id = $1 AND tenant_id = $2`, requestID, id).
		Scan(&q.AppID, &q.Request.RedirectURI, &scope, &q.Request.State, &q.Request.Nonce, &q.Request.Challenge, &claims, &subject,
			&maxAge, &created, &expires)
	if err != nil {
		return storedRequest{}, rowError("request", err)
	}
	if q.Request.Claims, err = decodeStoredClaims(claims); err != nil {
		return storedRequest{}, err
	}
	q.Request.Claims.Subject = subject
	q.Request.Scope = scopes(scope)
	q.Request.MaxAge = anyAge
	if maxAge >= 0 {
		q.Request.MaxAge = time.Duration(maxAge) * time.Millisecond
	}
	q.Created, q.Expires = db.Time(created), db.Time(expires)
	return q, nil
}

// deleteRequest removes a request and reports whether it was there: of two journeys' ends, one wins.
func deleteRequest(ctx context.Context, tx db.Querier, s tenant.Scope, requestID string) (bool, error) {
	id, err := s.ID()
	if err != nil {
		return false, err
	}
	return changed(tx.ExecContext(ctx, `DELETE FROM oidc_request WHERE id = $1 AND tenant_id = $2`, requestID, id))
}

func insertGrant(ctx context.Context, tx db.Querier, s tenant.Scope, g grant) error {
	id, err := s.ID()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO oidc_grant (id, tenant_id, app_id, person_id, session_id, scope, nonce, claims, offline,
		authenticated_at, methods, revoked_at, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12, $13)`,
		g.ID, id, g.AppID, g.PersonID, g.Session, strings.Join(g.Scope, " "), g.Nonce, g.Claims.encode(), g.Offline,
		db.Millis(g.SignedIn), strings.Join(g.Methods, " "), db.Millis(g.Created), db.Millis(g.Expires))
	if err != nil {
		return fmt.Errorf("oidc: store grant: %w", err)
	}
	return nil
}

func findGrant(ctx context.Context, q db.Querier, s tenant.Scope, grantID string) (grant, error) {
	id, err := s.ID()
	if err != nil {
		return grant{}, err
	}
	g := grant{ID: grantID}
	var scope, claims, methods string
	var signedIn, revoked, created, expires int64
	err = q.QueryRowContext(ctx, `SELECT app_id, person_id, session_id, scope, nonce, claims, offline, authenticated_at, methods,
		revoked_at, created_at, expires_at FROM oidc_grant WHERE id = $1 AND tenant_id = $2`, grantID, id).
		Scan(&g.AppID, &g.PersonID, &g.Session, &scope, &g.Nonce, &claims, &g.Offline, &signedIn, &methods, &revoked, &created, &expires)
	if err != nil {
		return grant{}, rowError("grant", err)
	}
	if g.Claims, err = decodeStoredClaims(claims); err != nil {
		return grant{}, err
	}
	g.Scope, g.Methods = scopes(scope), scopes(methods)
	g.SignedIn, g.Revoked, g.Created, g.Expires = db.Time(signedIn), db.Time(revoked), db.Time(created), db.Time(expires)
	return g, nil
}

// liveGrant reports, inside the transaction that issues, whether the grant stands: a revocation that was committed in between
// is seen here. Writing the row makes issuing and revoking wait for each other on every database.
func liveGrant(ctx context.Context, tx db.Querier, s tenant.Scope, grantID string, now time.Time) (bool, error) {
	id, err := s.ID()
	if err != nil {
		return false, err
	}
	return changed(tx.ExecContext(ctx, `UPDATE oidc_grant SET revoked_at = 0
		WHERE id = $1 AND tenant_id = $2 AND revoked_at = 0 AND expires_at > $3`, grantID, id, db.Millis(now)))
}

// revokeGrant ends a family.
func revokeGrant(ctx context.Context, tx db.Querier, s tenant.Scope, grantID string, now time.Time) error {
	id, err := s.ID()
	if err != nil {
		return err
	}
	_, err = changed(tx.ExecContext(ctx, `UPDATE oidc_grant SET revoked_at = $1 WHERE id = $2 AND tenant_id = $3 AND revoked_at = 0`,
		db.Millis(now), grantID, id))
	return err
}

// revokeSession ends the families of a browser session, but those that were meant to outlive it.
func revokeSession(ctx context.Context, tx db.Querier, s tenant.Scope, session string, now time.Time) error {
	id, err := s.ID()
	if err != nil {
		return err
	}
	_, err = changed(tx.ExecContext(ctx, `UPDATE oidc_grant SET revoked_at = $1
		WHERE tenant_id = $2 AND session_id = $3 AND revoked_at = 0 AND NOT offline`, db.Millis(now), id, session))
	return err
}

func insertCode(ctx context.Context, tx db.Querier, s tenant.Scope, code string, c storedCode) error {
	id, err := s.ID()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO oidc_code (hash, tenant_id, grant_id, redirect_uri, code_challenge, used_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, 0, $6)`, hashOf(code), id, c.GrantID, c.RedirectURI, c.Challenge, db.Millis(c.Expires))
	if err != nil {
		return fmt.Errorf("oidc: store code: %w", err)
	}
	return nil
}

func findCode(ctx context.Context, q db.Querier, s tenant.Scope, code string) (storedCode, error) {
	id, err := s.ID()
	if err != nil {
		return storedCode{}, err
	}
	var c storedCode
	var used, expires int64
	err = q.QueryRowContext(ctx, `SELECT grant_id, redirect_uri, code_challenge, used_at, expires_at FROM oidc_code
		WHERE hash = $1 AND tenant_id = $2`, hashOf(code), id).Scan(&c.GrantID, &c.RedirectURI, &c.Challenge, &used, &expires)
	if err != nil {
		return storedCode{}, rowError("code", err)
	}
	c.Used, c.Expires = db.Time(used), db.Time(expires)
	return c, nil
}

// useCode marks a code used and reports whether this call did it: of two racing exchanges, one.
func useCode(ctx context.Context, tx db.Querier, s tenant.Scope, code string, now time.Time) (bool, error) {
	id, err := s.ID()
	if err != nil {
		return false, err
	}
	return changed(tx.ExecContext(ctx, `UPDATE oidc_code SET used_at = $1
		WHERE hash = $2 AND tenant_id = $3 AND used_at = 0 AND expires_at > $1`, db.Millis(now), hashOf(code), id))
}

func insertRefresh(ctx context.Context, tx db.Querier, s tenant.Scope, token, grantID string, now, expires time.Time) error {
	id, err := s.ID()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO oidc_refresh (hash, tenant_id, grant_id, used_at, successor_salt, issued_at, expires_at)
		VALUES ($1, $2, $3, 0, NULL, $4, $5)`, hashOf(token), id, grantID, db.Millis(now), db.Millis(expires))
	if err != nil {
		return fmt.Errorf("oidc: store refresh token: %w", err)
	}
	return nil
}

func findRefresh(ctx context.Context, q db.Querier, s tenant.Scope, token string) (storedRefresh, error) {
	id, err := s.ID()
	if err != nil {
		return storedRefresh{}, err
	}
	var t storedRefresh
	var used, expires int64
	err = q.QueryRowContext(ctx, `SELECT grant_id, used_at, successor_salt, expires_at FROM oidc_refresh
		WHERE hash = $1 AND tenant_id = $2`, hashOf(token), id).Scan(&t.GrantID, &used, &t.Salt, &expires)
	if err != nil {
		return storedRefresh{}, rowError("refresh token", err)
	}
	t.Used, t.Expires = db.Time(used), db.Time(expires)
	return t, nil
}

// useRefresh marks a refresh token used, keeps the salt of its successor, and reports whether this call did it.
func useRefresh(ctx context.Context, tx db.Querier, s tenant.Scope, token string, salt []byte, now time.Time) (bool, error) {
	id, err := s.ID()
	if err != nil {
		return false, err
	}
	return changed(tx.ExecContext(ctx, `UPDATE oidc_refresh SET used_at = $1, successor_salt = $2
		WHERE hash = $3 AND tenant_id = $4 AND used_at = 0 AND expires_at > $1`, db.Millis(now), salt, hashOf(token), id))
}

// forgetSalts erases the salts of a family's older tokens, whose successors have been used: see [successor].
func forgetSalts(ctx context.Context, tx db.Querier, s tenant.Scope, grantID, except string) error {
	id, err := s.ID()
	if err != nil {
		return err
	}
	_, err = changed(tx.ExecContext(ctx, `UPDATE oidc_refresh SET successor_salt = NULL
		WHERE tenant_id = $1 AND grant_id = $2 AND hash <> $3 AND successor_salt IS NOT NULL`, id, grantID, hashOf(except)))
	return err
}

func insertAccess(ctx context.Context, tx db.Querier, s tenant.Scope, token string, a storedAccess) error {
	id, err := s.ID()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO oidc_access (hash, tenant_id, grant_id, scope, expires_at) VALUES ($1, $2, $3, $4, $5)`,
		hashOf(token), id, a.GrantID, strings.Join(a.Scope, " "), db.Millis(a.Expires))
	if err != nil {
		return fmt.Errorf("oidc: store access token: %w", err)
	}
	return nil
}

func findAccess(ctx context.Context, q db.Querier, s tenant.Scope, token string) (storedAccess, error) {
	id, err := s.ID()
	if err != nil {
		return storedAccess{}, err
	}
	var a storedAccess
	var scope string
	var expires int64
	err = q.QueryRowContext(ctx, `SELECT grant_id, scope, expires_at FROM oidc_access WHERE hash = $1 AND tenant_id = $2`,
		hashOf(token), id).Scan(&a.GrantID, &scope, &expires)
	if err != nil {
		return storedAccess{}, rowError("access token", err)
	}
	a.Scope, a.Expires = scopes(scope), db.Time(expires)
	return a, nil
}

func deleteAccess(ctx context.Context, tx db.Querier, s tenant.Scope, token string) error {
	id, err := s.ID()
	if err != nil {
		return err
	}
	_, err = changed(tx.ExecContext(ctx, `DELETE FROM oidc_access WHERE hash = $1 AND tenant_id = $2`, hashOf(token), id))
	return err
}

// changed reports whether a statement changed a row.
func changed(r sql.Result, err error) (bool, error) {
	if err != nil {
		return false, fmt.Errorf("oidc: write: %w", err)
	}
	n, err := r.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("oidc: write: %w", err)
	}
	return n > 0, nil
}

// rowError tells the absence of a row from a database that fails.
func rowError(what string, err error) error {
	if db.NoRow(err) {
		return fmt.Errorf("%w: %s", errNoRow, what)
	}
	return fmt.Errorf("oidc: read %s: %w", what, err)
}
