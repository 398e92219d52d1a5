package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/tenant"
)

const agentColumns = `id, name, directory_id, host, os, version, state, envelope_suite, envelope_key, certificate_serial,
	certificate_not_after, address, last_seen, revoked_at, revoked_reason, created_at, changed_at`

func scanAgent(row interface{ Scan(...any) error }) (Agent, error) {
	var a Agent
	var state string
	var suite, notAfter, seen, revoked, created, changed int64
	var key []byte
	err := row.Scan(&a.ID, &a.Name, &a.DirectoryID, &a.Host, &a.OS, &a.Version, &state, &suite, &key, &a.CertificateSerial,
		&notAfter, &a.Address, &seen, &revoked, &a.RevokedReason, &created, &changed)
	if err != nil {
		return Agent{}, fmt.Errorf("fleet: reading an agent: %w", err)
	}
	if a.Key, err = envelope.ParsePublicKey(envelope.Suite(suite), key); err != nil {
		return Agent{}, fmt.Errorf("fleet: the key of agent %s: %w", a.ID, err)
	}
	a.State = State(state)
	a.CertificateNotAfter, a.LastSeen, a.RevokedAt = db.Time(notAfter), db.Time(seen), db.Time(revoked)
	a.Created, a.Changed = db.Time(created), db.Time(changed)
	return a, nil
}

func oneAgent(ctx context.Context, q db.Querier, tenantID, id string) (Agent, error) {
	return found(scanAgent(q.QueryRowContext(ctx, `SELECT `+agentColumns+` FROM agent WHERE tenant_id = $1 AND id = $2`, tenantID, id)))
}

func listAgents(ctx context.Context, q db.Querier, tenantID, after string, limit int) ([]Agent, error) {
	rows, err := q.QueryContext(ctx, `SELECT `+agentColumns+` FROM agent WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3`, tenantID, after, limit)
	if err != nil {
		return nil, fmt.Errorf("fleet: listing agents: %w", err)
	}
	defer rows.Close()
	out := []Agent{}
	for rows.Next() {
		a, err := scanAgent(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("fleet: listing agents: %w", err)
	}
	return out, nil
}

func insertAgent(ctx context.Context, tx db.Querier, tenantID string, a Agent) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO agent (id, tenant_id, directory_id, name, host, os, version, state, envelope_suite, envelope_key,
		envelope_key_id, certificate_serial, certificate_not_after, address, last_seen, revoked_at, revoked_reason, created_at, changed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)`,
		a.ID, tenantID, a.DirectoryID, a.Name, a.Host, a.OS, a.Version, string(a.State), int64(a.Key.Suite()), a.Key.Bytes(),
		a.Key.ID(), a.CertificateSerial, db.Millis(a.CertificateNotAfter), a.Address, db.Millis(a.LastSeen), db.Millis(a.RevokedAt), a.RevokedReason,
		db.Millis(a.Created), db.Millis(a.Changed))
	if err != nil {
		return fmt.Errorf("fleet: storing an agent: %w", db.Translate(err))
	}
	return nil
}

// nameTaken reports whether the tenant has an agent of this name.
func nameTaken(ctx context.Context, q db.Querier, tenantID, name string) (bool, error) {
	var n int
	if err := q.QueryRowContext(ctx, `SELECT count(*) FROM agent WHERE tenant_id = $1 AND name = $2`, tenantID, name).Scan(&n); err != nil {
		return false, fmt.Errorf("fleet: looking for a free name: %w", err)
	}
	return n > 0, nil
}

// standingRow is what decides whether an agent is served.
type standingRow struct {
	tenant   tenant.Scope
	state    State
	serial   string
	notAfter time.Time
}

// standingQuery asks for standingChunk agents at once.
var standingQuery = `SELECT id, tenant_id, state, certificate_serial, certificate_not_after FROM agent WHERE id IN (` + placeholders(standingChunk) + `)`

func placeholders(n int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf("$%d", i+1)
	}
	return strings.Join(parts, ", ")
}

// standingRows reads the rows of a chunk of at most standingChunk agents, whatever their tenants: the caller compares.
func standingRows(ctx context.Context, q db.Querier, refs []AgentRef) (map[string]standingRow, error) {
	args := make([]any, standingChunk)
	for i := range args {
		args[i] = ""
		if i < len(refs) {
			args[i] = refs[i].Agent
		}
	}
	rows, err := q.QueryContext(ctx, standingQuery, args...)
	if err != nil {
		return nil, fmt.Errorf("fleet: reading the agents' standing: %w", err)
	}
	defer rows.Close()
	out := make(map[string]standingRow, len(refs))
	for rows.Next() {
		var id, tenantID, state string
		var r standingRow
		var notAfter int64
		if err := rows.Scan(&id, &tenantID, &state, &r.serial, &notAfter); err != nil {
			return nil, fmt.Errorf("fleet: reading the agents' standing: %w", err)
		}
		r.tenant, r.state, r.notAfter = tenant.ScopeOf(tenantID), State(state), db.Time(notAfter)
		out[id] = r
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("fleet: reading the agents' standing: %w", err)
	}
	return out, nil
}
