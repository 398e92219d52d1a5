package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// tokenPrefix lets secret scanners and people recognise an administrator's token.
const tokenPrefix = "sallyport-admin-"

// NewToken asks for an administrator's token.
type NewToken struct {
	// Tenant is the one that the token is good for; the zero scope makes it good for the whole installation.
	Tenant tenant.Scope
	Note   string
	// Life is how long it is good; 0 means a year.
	Life time.Duration
	// Log records a token of one tenant in the transaction that stores it; nil records nothing.
	Log tenant.Recorder
	// Ancestors are the ids of the tokens that it descends from, the oldest first: see fleet.Actor.
	Ancestors []string
}

// Token is an administrator's token.
type Token struct {
	ID string
	// TenantID is empty for a token that is good for the whole installation.
	TenantID, Note   string
	Created, Expires time.Time
	// Secret is set only by [CreateToken]; it can never be read again.
	Secret string
}

// CreateToken makes a bearer token and stores its SHA-256. Tokens that have expired are removed by the way. Fault BadRequest for
// a life out of range.
func CreateToken(ctx context.Context, database *db.DB, n NewToken, now time.Time) (Token, error) {
	if n.Life == 0 {
		n.Life = tokenLife
	}
	if n.Life < minTokenLife || n.Life > maxTokenLife {
		return Token{}, fault.Newf(wire.BadRequest, "an administrator's token lives between %d minutes and %d days",
			int(minTokenLife.Minutes()), int(maxTokenLife.Hours()/24))
	}
	if len(n.Note) > maxNote {
		return Token{}, fault.Newf(wire.BadRequest, "the note is longer than %d bytes", maxNote)
	}
	tenantID := ""
	if !n.Tenant.Zero() {
		tenantID = n.Tenant.String()
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	t := Token{ID: db.NewID(), TenantID: tenantID, Note: n.Note, Created: db.Time(db.Millis(now)), Expires: db.Time(db.Millis(now.Add(n.Life))),
		Secret: tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)}
	hash := sha256.Sum256([]byte(t.Secret))
	err := database.Write(ctx, func(tx db.Querier) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM admin_token WHERE expires_at <= $1`, db.Millis(now)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO admin_token (id, tenant_id, secret_hash, note, created_at, expires_at, ancestors)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`, t.ID, t.TenantID, hash[:], t.Note, db.Millis(t.Created), db.Millis(t.Expires), strings.Join(n.Ancestors, " "))
		if err != nil || n.Log == nil || n.Tenant.Zero() {
			return err
		}
		return n.Log.Record(ctx, tx, n.Tenant, tenant.Event{What: "admin-token.create", Token: t.ID, Detail: t.Note}, now)
	})
	if err != nil {
		return Token{}, fmt.Errorf("admin: storing a token: %w", err)
	}
	return t, nil
}

// EndToken makes a token useless at once, by its secret. One that is no token any more is no error.
func EndToken(ctx context.Context, database *db.DB, secret string) error {
	hash := sha256.Sum256([]byte(secret))
	return database.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM admin_token WHERE secret_hash = $1`, hash[:])
		return err
	})
}

// caller is who holds a token: tenant is "" for the whole installation.
type caller struct {
	token, tenant, note string
	ancestors           []string
}

// authenticate finds the caller of a request by its bearer token (RFC 6750 §2.1; the scheme's name is compared without regard to
// case, RFC 9110 §11.1).
func (a *API) authenticate(r *http.Request, now time.Time) (caller, error) {
	scheme, secret, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || len(r.Header.Values("Authorization")) != 1 || len(secret) > maxTokenLength {
		return caller{}, fault.New(wire.Unauthenticated, "no bearer token")
	}
	hash := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	var c caller
	var ancestors string
	err := a.cfg.DB.Reader().QueryRowContext(r.Context(),
		`SELECT id, tenant_id, note, ancestors FROM admin_token WHERE secret_hash = $1 AND expires_at > $2`, hash[:], db.Millis(now)).
		Scan(&c.token, &c.tenant, &c.note, &ancestors)
	if errors.Is(err, sql.ErrNoRows) {
		return caller{}, fault.New(wire.Unauthenticated, "the token is unknown or has expired")
	}
	c.ancestors = strings.Fields(ancestors)
	return c, err
}

// LineOf returns the ancestors of a token that its holder makes: those of his own, and his own. One that is no token has none.
func LineOf(ctx context.Context, database *db.DB, secret string) ([]string, error) {
	hash := sha256.Sum256([]byte(secret))
	var id, ancestors string
	err := database.Reader().QueryRowContext(ctx, `SELECT id, ancestors FROM admin_token WHERE secret_hash = $1`, hash[:]).Scan(&id, &ancestors)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("admin: reading a token: %w", err)
	}
	return append(strings.Fields(ancestors), id), nil
}

func adminTokenJSON(t Token) AdminToken {
	return AdminToken{ID: t.ID, Tenant: t.TenantID, Note: t.Note, Expires: t.Expires, Created: t.Created, Secret: t.Secret}
}

func (a *API) listAdminTokens(ctx context.Context, r *request) (int, any, error) {
	after, limit, err := r.window()
	if err != nil {
		return 0, nil, err
	}
	all, err := db.Collect(ctx, a.cfg.DB.Reader(), func(row db.Scanner) (t Token, err error) {
		var created, expires int64
		err = row.Scan(&t.ID, &t.TenantID, &t.Note, &created, &expires)
		t.Created, t.Expires = db.Time(created), db.Time(expires)
		return t, err
	}, `SELECT id, tenant_id, note, created_at, expires_at FROM admin_token WHERE id > $1 AND expires_at > $2 ORDER BY id LIMIT $3`,
		after, db.Millis(r.now), limit)
	if err != nil {
		return 0, nil, fmt.Errorf("admin: listing tokens: %w", err)
	}
	return page(all, limit, adminTokenJSON, func(t Token) string { return t.ID })
}

func (a *API) createAdminToken(ctx context.Context, r *request) (int, any, error) {
	in, err := decode[AdminTokenInput](r)
	if err != nil {
		return 0, nil, err
	}
	life, err := seconds(in.LifeSeconds, tokenLife, maxTokenLife)
	if err != nil {
		return 0, nil, err
	}
	n := NewToken{Note: in.Note, Life: life, Log: a.cfg.Log, Ancestors: append(slices.Clone(r.caller.ancestors), r.caller.token)}
	if in.Tenant != "" {
		t, err := a.findTenant(ctx, in.Tenant)
		if err != nil {
			return 0, nil, err
		}
		n.Tenant = t.Scope()
	}
	t, err := CreateToken(ctx, a.cfg.DB, n, r.now)
	return shown(http.StatusCreated, t, err, adminTokenJSON)
}

func (a *API) removeAdminToken(ctx context.Context, r *request) (int, any, error) {
	id := r.PathValue("token")
	return done(a.cfg.DB.Write(ctx, func(tx db.Querier) error {
		var of, note string
		err := tx.QueryRowContext(ctx, `DELETE FROM admin_token WHERE id = $1 RETURNING tenant_id, note`, id).Scan(&of, &note)
		if db.NoRow(err) {
			return fault.Newf(wire.NotFound, "no administrator's token %q", id)
		}
		if err != nil {
			return fmt.Errorf("admin: removing a token: %w", err)
		}
		if of == "" {
			return nil
		}
		return a.cfg.Log.Record(ctx, tx, tenant.ScopeOf(of), tenant.Event{What: "admin-token.remove", Token: id, Detail: note}, r.now)
	}))
}

// endTokensOf removes the tokens of a tenant that is gone.
func (a *API) endTokensOf(ctx context.Context, tenantID string) error {
	return a.cfg.DB.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM admin_token WHERE tenant_id = $1`, tenantID)
		return err
	})
}

// seconds reads a life in seconds; 0 means otherwise.
func seconds(n int, otherwise, most time.Duration) (time.Duration, error) {
	if n == 0 {
		return otherwise, nil
	}
	if n < 0 || n > int(most.Seconds()) {
		return 0, fault.Newf(wire.BadRequest, "the life of a token is at most %d days, in seconds", int(most.Hours()/24))
	}
	return time.Duration(n) * time.Second, nil
}
