package signin

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// browserCookie binds journeys to a browser, sessionCookie holds the session's secret; each tenant has its own session.
const browserCookie = "sallyport-browser"

func sessionCookie(t tenant.Tenant) string { return "sallyport-session-" + t.Name }

// session is a browser in which somebody has signed in.
type session struct {
	id            string
	secretHash    []byte
	person        string
	authenticated time.Time
	methods       []string
	used          time.Time
	expires       time.Time
}

// alive reports whether the session may still be used.
func (s session) alive(now time.Time) bool {
	return now.Before(s.expires) && now.Before(s.used.Add(sessionIdle))
}

// suffices reports whether the session answers what an application asks for, without a page.
func suffices(s session, u user.User, a Ask, now time.Time) bool {
	switch {
	case !s.alive(now) || !u.Admits(s.authenticated) || a.Fresh || a.SelectAccount:
		return false
	case a.MaxAge >= 0 && now.Sub(s.authenticated) > a.MaxAge:
		return false
	case a.LoginHint == "":
		return true
	}
	// The application expects somebody: a session of anybody else would surprise both.
	hint := user.Key(a.LoginHint)
	return hint == user.Key(u.UPN) || u.Email != "" && hint == user.Key(u.Email)
}

// openSession makes the session that follows a right password, inside the transaction that ends the journey. The browser's older
// session keeps its id if it is the same person's and is removed if not: then its id is returned as ended.
func openSession(ctx context.Context, tx db.Querier, scope tenant.Scope, old, s session) (id, ended string, err error) {
	tenantID, err := scope.ID()
	if err != nil {
		return "", "", err
	}
	methods := strings.Join(s.methods, " ")
	if old.id != "" && old.person == s.person {
		res, err := tx.ExecContext(ctx, `UPDATE browser_session SET secret_hash = $1, authenticated_at = $2, methods = $3, last_used_at = $4,
			expires_at = $5 WHERE tenant_id = $6 AND id = $7 AND secret_hash = $8`, s.secretHash, db.Millis(s.authenticated), methods, db.Millis(s.used),
			db.Millis(s.expires), tenantID, old.id, old.secretHash)
		if err != nil {
			return "", "", fmt.Errorf("signin: renew session: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil {
			return "", "", fmt.Errorf("signin: renew session: %w", err)
		} else if n == 1 {
			return old.id, "", nil
		}
	} else if old.id != "" {
		if err := removeSession(ctx, tx, scope, old.id); err != nil {
			return "", "", err
		}
		ended = old.id
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO browser_session (id, tenant_id, secret_hash, person_id, authenticated_at, methods, last_used_at,
		expires_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, s.id, tenantID, s.secretHash, s.person, db.Millis(s.authenticated),
		methods, db.Millis(s.used), db.Millis(s.expires), db.Millis(s.authenticated))
	if err != nil {
		return "", "", fmt.Errorf("signin: insert session: %w", err)
	}
	return s.id, ended, nil
}

func removeSession(ctx context.Context, tx db.Querier, scope tenant.Scope, id string) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM browser_session WHERE tenant_id = $1 AND id = $2`, tenantID, id); err != nil {
		return fmt.Errorf("signin: remove session: %w", err)
	}
	return nil
}

// findSession reads one session by the condition; the zero session when there is none.
func findSession(ctx context.Context, q db.Querier, scope tenant.Scope, condition string, arg any) (session, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return session{}, err
	}
	var s session
	var methods string
	var authenticated, used, expires int64
	err = q.QueryRowContext(ctx, `SELECT id, secret_hash, person_id, authenticated_at, methods, last_used_at, expires_at FROM browser_session
		WHERE tenant_id = $1 AND `+condition, tenantID, arg).Scan(&s.id, &s.secretHash, &s.person, &authenticated, &methods, &used, &expires)
	if errors.Is(err, sql.ErrNoRows) {
		return session{}, nil
	}
	if err != nil {
		return session{}, fmt.Errorf("signin: read session: %w", err)
	}
	s.authenticated, s.used, s.expires = db.Time(authenticated), db.Time(used), db.Time(expires)
	s.methods = strings.Fields(methods)
	return s, nil
}

// browserSession returns the session whose secret the browser's cookie holds, alive or not; the zero session when there is none.
func (s *Service) browserSession(r *http.Request, t tenant.Tenant) (session, error) {
	secret := web.Cookie(r, sessionCookie(t))
	if secret == "" {
		return session{}, nil
	}
	return findSession(r.Context(), s.db.Reader(), t.Scope(), `secret_hash = $2`, hashOf(secret))
}

// currentSession returns the browser's session with its user, false when there is none that is good.
func (s *Service) currentSession(r *http.Request, t tenant.Tenant, now time.Time) (session, user.User, bool, error) {
	found, err := s.browserSession(r, t)
	if err != nil || found.id == "" || !found.alive(now) {
		return session{}, user.User{}, false, err
	}
	u, err := s.users.ByID(r.Context(), t.Scope(), found.person)
	switch {
	case fault.Has(err, wire.NotFound), fault.Has(err, wire.UserNotFound):
		return session{}, user.User{}, false, nil
	case err != nil:
		return session{}, user.User{}, false, err
	case !u.Admits(found.authenticated):
		return session{}, user.User{}, false, nil
	}
	return found, u, true, nil
}

// touch notes that the session was used, at most once in touchEvery.
func (s *Service) touch(ctx context.Context, t tenant.Tenant, found session, now time.Time) error {
	if now.Sub(found.used) < touchEvery {
		return nil
	}
	tenantID, err := t.Scope().ID()
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `UPDATE browser_session SET last_used_at = $1 WHERE tenant_id = $2 AND id = $3 AND last_used_at < $1`,
			db.Millis(now), tenantID, found.id)
		if err != nil {
			return fmt.Errorf("signin: touch session: %w", err)
		}
		return nil
	})
}

// Current returns who is signed in in this browser; false when nobody is: no session, one that is over, or one whose user was
// disabled or removed. Calling it counts as use of the session.
func (s *Service) Current(r *http.Request, t tenant.Tenant) (Result, bool, error) {
	now := s.now()
	found, u, ok, err := s.currentSession(r, t, now)
	if err != nil || !ok {
		return Result{}, false, err
	}
	if err := s.touch(r.Context(), t, found, now); err != nil {
		return Result{}, false, err
	}
	return Result{User: u, Session: found.id, At: found.authenticated, Methods: found.methods}, true, nil
}

// End signs the browser out of the tenant: the session is removed and its cookie cleared. It returns the session's id, "" when there
// was none, so that the caller can end what was issued for it.
func (s *Service) End(w http.ResponseWriter, r *http.Request, t tenant.Tenant) (sessionID string, err error) {
	found, err := s.browserSession(r, t)
	if err != nil {
		return "", err
	}
	if web.Cookie(r, sessionCookie(t)) != "" {
		web.ClearCookie(w, sessionCookie(t))
	}
	if found.id == "" {
		return "", nil
	}
	err = s.db.Write(r.Context(), func(tx db.Querier) error { return removeSession(r.Context(), tx, t.Scope(), found.id) })
	return found.id, err
}
