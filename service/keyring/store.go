package keyring

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
)

// key is a row of table signing_key without its private half.
type key struct {
	id, algorithm, public string
	times                 Times
}

// line reads the keys of one tenant and algorithm ("" for all), oldest first.
func line(ctx context.Context, q db.Querier, tenantID, algorithm string) ([]key, error) {
	out, err := db.Collect(ctx, q, scanKey, `SELECT id, algorithm, public_jwk, created_at, active_at, retire_at, remove_at
		FROM signing_key WHERE tenant_id = $1 AND (algorithm = $2 OR $2 = '') ORDER BY created_at, id`, tenantID, algorithm)
	if err != nil {
		return nil, fmt.Errorf("keyring: reading keys: %w", err)
	}
	return out, nil
}

// byID finds one key of a tenant; ok is false if there is none.
func byID(ctx context.Context, q db.Querier, tenantID, id string) (k key, ok bool, err error) {
	k, err = scanKey(q.QueryRowContext(ctx, `SELECT id, algorithm, public_jwk, created_at, active_at, retire_at, remove_at
		FROM signing_key WHERE tenant_id = $1 AND id = $2`, tenantID, id))
	if db.NoRow(err) {
		return key{}, false, nil
	}
	return k, err == nil, err
}

func scanKey(row db.Scanner) (key, error) {
	var k key
	var created, active, retire, remove int64
	if err := row.Scan(&k.id, &k.algorithm, &k.public, &created, &active, &retire, &remove); err != nil {
		return key{}, fmt.Errorf("keyring: reading a key: %w", err)
	}
	k.times = Times{Created: db.Time(created), Active: db.Time(active), Retire: db.Time(retire), Remove: db.Time(remove)}
	return k, nil
}

func sealedPrivate(ctx context.Context, q db.Querier, tenantID, id string) ([]byte, error) {
	var sealed []byte
	err := q.QueryRowContext(ctx, `SELECT sealed_private FROM signing_key WHERE tenant_id = $1 AND id = $2`, tenantID, id).Scan(&sealed)
	if err != nil {
		return nil, fmt.Errorf("keyring: reading a private key: %w", err)
	}
	return sealed, nil
}

func insert(ctx context.Context, tx db.Querier, tenantID string, m minted, sealed []byte, t Times) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO signing_key
		(id, tenant_id, algorithm, sealed_private, public_jwk, created_at, active_at, retire_at, remove_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		m.id, tenantID, m.algorithm, sealed, m.public, db.Millis(t.Created), db.Millis(t.Active), db.Millis(t.Retire), db.Millis(t.Remove))
	if err != nil {
		return fmt.Errorf("keyring: storing a key: %w", err)
	}
	return nil
}

// retire gives a key its end, if nobody else has done so.
func retire(ctx context.Context, tx db.Querier, tenantID, id string, at, remove time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE signing_key SET retire_at = $1, remove_at = $2 WHERE tenant_id = $3 AND id = $4 AND retire_at = 0`,
		db.Millis(at), db.Millis(remove), tenantID, id)
	if err != nil {
		return fmt.Errorf("keyring: retiring a key: %w", err)
	}
	return nil
}

func forget(ctx context.Context, tx db.Querier, tenantID, id string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM signing_key WHERE tenant_id = $1 AND id = $2`, tenantID, id); err != nil {
		return fmt.Errorf("keyring: forgetting a key: %w", err)
	}
	return nil
}

// lines lists every tenant and algorithm that has keys. It is the one query here that looks across tenants: the loop turns
// the keys of all of them, each under its own scope.
func lines(ctx context.Context, q db.Querier) ([][2]string, error) {
	out, err := db.Collect(ctx, q, func(row db.Scanner) (l [2]string, err error) { err = row.Scan(&l[0], &l[1]); return l, err },
		`SELECT DISTINCT tenant_id, algorithm FROM signing_key ORDER BY tenant_id, algorithm`)
	if err != nil {
		return nil, fmt.Errorf("keyring: listing keys: %w", err)
	}
	return out, nil
}
