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

// AgentKeys is what a tenant demands of where its agents keep their private keys. What an agent has is its own word; see SECURITY.md.
type AgentKeys string

const (
	// KeysInFiles demands nothing more than files with strict permissions. A tenant begins with it; the zero value means the same.
	KeysInFiles AgentKeys = "file"
	// KeysInHardware demands a security module, which keys cannot leave.
	KeysInHardware AgentKeys = "hardware"
)

// Allows reports whether a kind of key store, as an agent names it (empty: files), meets the demand.
func (k AgentKeys) Allows(kind string) bool {
	return k != KeysInHardware || kind == wire.KeyStoreTPM
}

// AgentKeys returns the tenant's demand.
func (s *Store) AgentKeys(ctx context.Context, scope Scope) (AgentKeys, error) {
	return AgentKeysIn(ctx, s.db.Reader(), scope)
}

// AgentKeysIn is [Store.AgentKeys] within a transaction.
func AgentKeysIn(ctx context.Context, q db.Querier, scope Scope) (AgentKeys, error) {
	id, err := scope.ID()
	if err != nil {
		return "", err
	}
	var k AgentKeys
	err = q.QueryRowContext(ctx, `SELECT required FROM agent_keys WHERE tenant_id = $1`, id).Scan(&k)
	if db.NoRow(err) {
		return KeysInFiles, nil
	}
	if err != nil {
		return "", fmt.Errorf("tenant: reading the demand on agents' keys: %w", err)
	}
	return k, nil
}

// SetAgentKeys replaces the tenant's demand, for registrations and renewals from now on. Faults: BadRequest, NotFound for a tenant that is gone.
func (s *Store) SetAgentKeys(ctx context.Context, scope Scope, k AgentKeys, now time.Time) (AgentKeys, error) {
	id, err := scope.ID()
	if err != nil {
		return "", err
	}
	if k != KeysInFiles && k != KeysInHardware {
		return "", fault.Newf(wire.BadRequest, "require: want %s or %s", KeysInFiles, KeysInHardware)
	}
	err = s.db.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO agent_keys (tenant_id, required, changed_at) VALUES ($1, $2, $3)
			ON CONFLICT (tenant_id) DO UPDATE SET required = excluded.required, changed_at = excluded.changed_at`, id, string(k), db.Millis(now))
		if err != nil {
			return err
		}
		return s.record(ctx, tx, id, Event{What: "agent-keys.set", Detail: "require: " + string(k)}, now)
	})
	if err := db.Translate(err); err != nil {
		if errors.Is(err, db.ErrReference) {
			return "", noTenant(id)
		}
		return "", fmt.Errorf("tenant: storing the demand on agents' keys: %w", err)
	}
	return k, nil
}
