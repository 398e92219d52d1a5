package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// tokenPrefix lets secret scanners and people recognise an administrator's token.
const tokenPrefix = "sallyport-admin-"

// CreateToken makes a bearer token and stores its SHA-256. tenantID "" makes it good for the whole installation. The secret
// is returned once and can never be read again.
func CreateToken(ctx context.Context, database *db.DB, tenantID, note string, now time.Time) (secret string, err error) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	secret = tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
	hash := sha256.Sum256([]byte(secret))
	id, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	err = database.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO admin_token (id, tenant_id, secret_hash, note, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6)`,
			id.String(), tenantID, hash[:], note, db.Millis(now), db.Millis(now.Add(tokenLife)))
		return err
	})
	return secret, err
}

// caller is who holds a token: tenant is "" for the whole installation.
type caller struct{ token, tenant string }

// authenticate finds the caller of a request by its bearer token (RFC 6750 §2.1).
func (a *API) authenticate(r *http.Request, now time.Time) (caller, error) {
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || len(r.Header.Values("Authorization")) != 1 || len(secret) > 200 {
		return caller{}, fault.New(wire.Unauthenticated, "no bearer token")
	}
	hash := sha256.Sum256([]byte(secret))
	var c caller
	err := a.cfg.DB.Reader().QueryRowContext(r.Context(),
		`SELECT id, tenant_id FROM admin_token WHERE secret_hash = $1 AND expires_at > $2`, hash[:], db.Millis(now)).
		Scan(&c.token, &c.tenant)
	if errors.Is(err, sql.ErrNoRows) {
		return caller{}, fault.New(wire.Unauthenticated, "the token is unknown or has expired")
	}
	return c, err
}
