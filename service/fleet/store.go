package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/tenant"
)

const agentColumns = `id, name, directory_id, host, os, version, state, envelope_suite, envelope_key, certificate_serial,
	certificate_not_after, address, last_seen, revoked_at, revoked_reason, created_at, changed_at, state_reason, key_store, renewed_at,
	next_serial, next_not_after, next_suite, next_key, next_key_store, former_serial, former_until, counter, holder, renew_after, skew_ms, instance`

// parsed holds the keys of agents that were read before, of all stores: what a key's bytes mean never changes.
var parsed envelope.Memo

func scanAgent(row db.Scanner) (Agent, error) {
	var a Agent
	var state string
	var suite, notAfter, seen, revoked, created, changed, renewed, nextNotAfter, nextSuite, formerUntil, counter, renewAfter, skew int64
	var key, nextKey []byte
	err := row.Scan(&a.ID, &a.Name, &a.DirectoryID, &a.Host, &a.OS, &a.Version, &state, &suite, &key, &a.CertificateSerial,
		&notAfter, &a.Address, &seen, &revoked, &a.RevokedReason, &created, &changed, &a.StateReason, &a.KeyStore, &renewed,
		&a.next.serial, &nextNotAfter, &nextSuite, &nextKey, &a.nextStore, &a.former, &formerUntil, &counter, &a.holder, &renewAfter, &skew, &a.Instance)
	if err != nil {
		return Agent{}, fmt.Errorf("fleet: reading an agent: %w", err)
	}
	if a.Key, err = parsed.Parse(envelope.Suite(suite), key); err != nil {
		return Agent{}, fmt.Errorf("fleet: the key of agent %s: %w", a.ID, err)
	}
	if a.Renewing = a.next.serial != ""; a.Renewing {
		if a.nextKey, err = parsed.Parse(envelope.Suite(nextSuite), nextKey); err != nil {
			return Agent{}, fmt.Errorf("fleet: the next key of agent %s: %w", a.ID, err)
		}
	}
	a.State, a.Counter, a.Skew = State(state), uint64(counter), time.Duration(skew)*time.Millisecond
	a.CertificateNotAfter, a.LastSeen, a.RevokedAt = db.Time(notAfter), db.Time(seen), db.Time(revoked)
	a.next.notAfter, a.formerUntil, a.Renewed, a.RenewAfter = db.Time(nextNotAfter), db.Time(formerUntil), db.Time(renewed), db.Time(renewAfter)
	a.Created, a.Changed = db.Time(created), db.Time(changed)
	return a, nil
}

func oneAgent(ctx context.Context, q db.Querier, tenantID, id string) (Agent, error) {
	return found(scanAgent(q.QueryRowContext(ctx, `SELECT `+agentColumns+` FROM agent WHERE tenant_id = $1 AND id = $2`, tenantID, id)))
}

func listAgents(ctx context.Context, q db.Querier, tenantID, after string, limit int) ([]Agent, error) {
	return queryAgents(ctx, q, `SELECT `+agentColumns+` FROM agent WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3`, tenantID, after, limit)
}

func queryAgents(ctx context.Context, q db.Querier, query string, args ...any) ([]Agent, error) {
	out, err := db.Collect(ctx, q, scanAgent, query, args...)
	if err != nil {
		return nil, fmt.Errorf("fleet: listing agents: %w", err)
	}
	return out, nil
}

func insertAgent(ctx context.Context, tx db.Querier, tenantID string, a Agent) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO agent (id, tenant_id, directory_id, name, host, os, version, state, envelope_suite, envelope_key,
		envelope_key_id, certificate_serial, certificate_not_after, address, last_seen, revoked_at, revoked_reason, created_at, changed_at, key_store, instance)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)`,
		a.ID, tenantID, a.DirectoryID, a.Name, a.Host, a.OS, a.Version, string(a.State), int64(a.Key.Suite()), a.Key.Bytes(),
		a.Key.ID(), a.CertificateSerial, db.Millis(a.CertificateNotAfter), a.Address, db.Millis(a.LastSeen), db.Millis(a.RevokedAt), a.RevokedReason,
		db.Millis(a.Created), db.Millis(a.Changed), a.KeyStore, a.Instance)
	if err != nil {
		return fmt.Errorf("fleet: storing an agent: %w", db.Translate(err))
	}
	return nil
}

// replaceAgent gives a member fresh keys and forgets what the old ones did: renewal, counter and stream.
func replaceAgent(ctx context.Context, tx db.Querier, tenantID string, a Agent) error {
	return affected(tx.ExecContext(ctx, `UPDATE agent SET host = $1, os = $2, version = $3, state = $4, envelope_suite = $5, envelope_key = $6,
		envelope_key_id = $7, certificate_serial = $8, certificate_not_after = $9, address = $10, changed_at = $11, key_store = $12,
		state_reason = $15, revoked_at = 0, revoked_reason = '', renewed_at = 0, next_serial = '', next_not_after = 0, next_suite = 0,
		next_key = NULL, next_key_store = '', former_serial = '', former_until = 0, counter = 0, holder = '', suspect_at = 0, renew_after = 0
		WHERE tenant_id = $13 AND id = $14`, a.Host, a.OS, a.Version, string(a.State), int64(a.Key.Suite()), a.Key.Bytes(), a.Key.ID(),
		a.CertificateSerial, db.Millis(a.CertificateNotAfter), a.Address, db.Millis(a.Changed), a.KeyStore, tenantID, a.ID, a.StateReason))
}

// nameTaken reports whether the tenant has an agent of this name.
func nameTaken(ctx context.Context, q db.Querier, tenantID, name string) (bool, error) {
	var n int
	if err := q.QueryRowContext(ctx, `SELECT count(*) FROM agent WHERE tenant_id = $1 AND name = $2`, tenantID, name).Scan(&n); err != nil {
		return false, fmt.Errorf("fleet: looking for a free name: %w", err)
	}
	return n > 0, nil
}

// standingRow is what decides whether an agent is served, and how.
type standingRow struct {
	tenant tenant.Scope
	credentials
	Standing
}

// standingQuery asks for standingChunk agents at once.
var standingQuery = `SELECT id, tenant_id, state, certificate_serial, certificate_not_after, next_serial, next_not_after, former_serial, former_until,
	holder, suspect_at, renew_after, COALESCE((SELECT probe_failures FROM agent_health h WHERE h.agent_id = agent.id), 0) FROM agent WHERE id IN (` + placeholders(standingChunk) + `)`

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
		var notAfter, nextNotAfter, formerUntil, suspected, renewAfter, failures int64
		if err := rows.Scan(&id, &tenantID, &state, &r.current.serial, &notAfter, &r.next.serial, &nextNotAfter, &r.former, &formerUntil,
			&r.Holder, &suspected, &renewAfter, &failures); err != nil {
			return nil, fmt.Errorf("fleet: reading the agents' standing: %w", err)
		}
		r.tenant, r.state, r.current.notAfter = tenant.ScopeOf(tenantID), State(state), db.Time(notAfter)
		r.next.notAfter, r.formerUntil = db.Time(nextNotAfter), db.Time(formerUntil)
		r.Drained, r.Serial, r.Suspected, r.RenewAfter = r.state == Drained, r.current.serial, db.Time(suspected), db.Time(renewAfter)
		r.Failing = failures >= probesFailed
		out[id] = r
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("fleet: reading the agents' standing: %w", err)
	}
	return out, nil
}

// The reasons of revocation that agents' certificates have (RFC 5280 §5.3.1).
const (
	keyCompromise        = 1
	superseded           = 4
	cessationOfOperation = 5
	privilegeWithdrawn   = 9
)

// certificateRow is a line of table agent_certificate.
type certificateRow struct {
	notAfter, revoked time.Time
	reason            int
}

func insertCertificate(ctx context.Context, tx db.Querier, tenantID, agentID string, c ca.Certificate, now time.Time) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM agent_certificate WHERE tenant_id = $1 AND agent_id = $2 AND not_after < $3`,
		tenantID, agentID, db.Millis(now.Add(-certificatesKept))); err != nil {
		return fmt.Errorf("fleet: sweeping certificates: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO agent_certificate (serial, tenant_id, agent_id, issuer_id, issued_at, not_after, revoked_at, reason)
		VALUES ($1, $2, $3, $4, $5, $6, 0, 0)`, c.Serial, tenantID, agentID, c.Issuer, db.Millis(now), db.Millis(c.NotAfter)); err != nil {
		return fmt.Errorf("fleet: storing a certificate: %w", err)
	}
	return nil
}

func oneCertificate(ctx context.Context, q db.Querier, tenantID, agentID, serial string) (certificateRow, error) {
	var c certificateRow
	var notAfter, revoked int64
	err := q.QueryRowContext(ctx, `SELECT not_after, revoked_at, reason FROM agent_certificate WHERE tenant_id = $1 AND agent_id = $2 AND serial = $3`,
		tenantID, agentID, serial).Scan(&notAfter, &revoked, &c.reason)
	if err != nil {
		return c, fmt.Errorf("fleet: reading a certificate: %w", err)
	}
	c.notAfter, c.revoked = db.Time(notAfter), db.Time(revoked)
	return c, nil
}

// endCertificates marks an agent's certificates, but for the one excepted, as revoked; those that are, keep their reason.
func endCertificates(ctx context.Context, tx db.Querier, tenantID, agentID, except string, reason int, now time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE agent_certificate SET revoked_at = $1, reason = $2
		WHERE tenant_id = $3 AND agent_id = $4 AND serial <> $5 AND revoked_at = 0`, db.Millis(now), reason, tenantID, agentID, except)
	if err != nil {
		return fmt.Errorf("fleet: revoking certificates: %w", err)
	}
	return nil
}

func insertHistory(ctx context.Context, tx db.Querier, tenantID, agentID string, event, detail string, now time.Time) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO agent_history (id, tenant_id, agent_id, at, event, detail) VALUES ($1, $2, $3, $4, $5, $6)`,
		db.NewID(), tenantID, agentID, db.Millis(now), event, clip(detail, maxReason))
	if err != nil {
		return fmt.Errorf("fleet: writing an agent's history: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM agent_history WHERE tenant_id = $1 AND agent_id = $2 AND id <=
		(SELECT id FROM agent_history WHERE tenant_id = $1 AND agent_id = $2 ORDER BY id DESC LIMIT 1 OFFSET $3)`, tenantID, agentID, historyKept); err != nil {
		return fmt.Errorf("fleet: sweeping an agent's history: %w", err)
	}
	return nil
}
