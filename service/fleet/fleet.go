package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// State is whether an agent is served.
type State string

// The states; drawn in the package comment.
const (
	Active  State = "active"
	Revoked State = "revoked"
)

// Agent is one member of the fleet.
type Agent struct {
	ID string
	// Name is for people, unique in the tenant.
	Name        string
	DirectoryID string
	// Host, OS and Version are what the agent said of itself last. They decide nothing.
	Host, OS, Version string
	State             State
	// Key is what passwords for this agent are sealed to.
	Key envelope.PublicKey
	// CertificateSerial is the serial number of the one certificate that is current, as ca.SerialOf prints it.
	CertificateSerial   string
	CertificateNotAfter time.Time
	// Address is where the agent's last connection came from, without port.
	Address string
	// LastSeen is zero for an agent that never connected.
	LastSeen      time.Time
	RevokedAt     time.Time // zero while active
	RevokedReason string
	Created       time.Time
	Changed       time.Time
}

// Store keeps agents and tokens. It is safe for concurrent use.
type Store struct {
	db *db.DB
	ca *ca.Authority
}

// NewStore returns the fleet of all tenants over a store; authority signs the certificates of those who join.
func NewStore(d *db.DB, authority *ca.Authority) *Store { return &Store{db: d, ca: authority} }

// Admit is the gateway's question when an agent connects and once for every certificate that ca.Verify has proven: is this agent,
// with this certificate, to be served? Faults: [wire.CertificateForeign] (another trust domain, or a certificate that was
// superseded), [wire.AgentUnknown] (no such agent in the identity's tenant), [wire.AgentRevoked],
// [wire.CertificateExpired].
func (s *Store) Admit(ctx context.Context, id wire.AgentIdentity, serial string, now time.Time) (tenant.Scope, Agent, error) {
	if id.TrustDomain != s.ca.TrustDomain() {
		return tenant.Scope{}, Agent{}, fault.Newf(wire.CertificateForeign, "trust domain %q", id.TrustDomain)
	}
	scope := tenant.ScopeOf(id.Tenant)
	tenantID, err := scope.ID()
	if err != nil {
		return tenant.Scope{}, Agent{}, err
	}
	a, err := oneAgent(ctx, s.db.Reader(), tenantID, id.Agent)
	if fault.Has(err, wire.NotFound) {
		return tenant.Scope{}, Agent{}, fault.Newf(wire.AgentUnknown, "agent %s", id.Agent)
	}
	if err != nil {
		return tenant.Scope{}, Agent{}, err
	}
	if code := standing(a.State, a.CertificateSerial, serial, a.CertificateNotAfter, now); code != 0 {
		return tenant.Scope{}, Agent{}, fault.Newf(code, "agent %s (%s)%s", a.ID, a.Name, because(a))
	}
	return scope, a, nil
}

func because(a Agent) string {
	if a.State == Revoked && a.RevokedReason != "" {
		return ": " + a.RevokedReason
	}
	return ""
}

// standing is the rule of who is served; 0 means yes.
func standing(state State, current, presented string, notAfter, now time.Time) wire.Code {
	switch {
	case state != Active:
		return wire.AgentRevoked
	case presented == "" || presented != current:
		return wire.CertificateForeign
	case now.After(notAfter):
		return wire.CertificateExpired
	}
	return 0
}

// AgentRef names a connected agent and the certificate that it connected with.
type AgentRef struct {
	Scope         tenant.Scope
	Agent, Serial string
}

// Standing asks [Store.Admit]'s question for many agents of any tenants at once: the gateway's look, every second, at the
// agents that it holds. Each ref has an entry in the result: 0 for "still served", else the number that Admit would give. The cost is one
// query for 128 agents. A ref with the zero scope fails the whole call with tenant.ErrNoScope.
func (s *Store) Standing(ctx context.Context, refs []AgentRef, now time.Time) (map[AgentRef]wire.Code, error) {
	out := make(map[AgentRef]wire.Code, len(refs))
	for _, r := range refs {
		if r.Scope.Zero() {
			return nil, tenant.ErrNoScope
		}
		out[r] = wire.AgentUnknown
	}
	for start := 0; start < len(refs); start += standingChunk {
		chunk := refs[start:min(start+standingChunk, len(refs))]
		rows, err := standingRows(ctx, s.db.Reader(), chunk)
		if err != nil {
			return nil, err
		}
		for _, r := range chunk {
			// The tenant is compared here: one query serves agents of many tenants, each under its own scope.
			if row, ok := rows[r.Agent]; ok && row.tenant == r.Scope {
				out[r] = standing(row.state, row.serial, r.Serial, row.notAfter, now)
			}
		}
	}
	return out, nil
}

// ByID returns one agent; fault [wire.NotFound] if the tenant has none of this id.
func (s *Store) ByID(ctx context.Context, scope tenant.Scope, id string) (Agent, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Agent{}, err
	}
	return oneAgent(ctx, s.db.Reader(), tenantID, id)
}

// ByName returns one agent; fault [wire.NotFound] if the tenant has none of this name.
func (s *Store) ByName(ctx context.Context, scope tenant.Scope, name string) (Agent, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Agent{}, err
	}
	return found(scanAgent(s.db.Reader().QueryRowContext(ctx, `SELECT `+agentColumns+` FROM agent WHERE tenant_id = $1 AND name = $2`, tenantID, name)))
}

// List returns up to limit agents (0: 100; at most 1000) in the order in which they joined, those after the id after.
func (s *Store) List(ctx context.Context, scope tenant.Scope, after string, limit int) ([]Agent, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = defaultPage
	}
	return listAgents(ctx, s.db.Reader(), tenantID, after, min(limit, maxPage))
}

// Rename gives an agent another name. Faults: [wire.NotFound], [wire.Conflict] for a name that is taken, [wire.BadRequest].
func (s *Store) Rename(ctx context.Context, scope tenant.Scope, id, name string, now time.Time) (Agent, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Agent{}, err
	}
	if cleanName(name) != name || name == "" {
		return Agent{}, fault.Newf(wire.BadRequest, "the agent name %.80q: 1 to %d lower-case letters, digits, dots, hyphens and underscores, "+
			"beginning with a letter or digit", name, maxName)
	}
	var a Agent
	err = s.db.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `UPDATE agent SET name = $1, changed_at = $2 WHERE tenant_id = $3 AND id = $4`, name, db.Millis(now), tenantID, id)
		if err := db.Translate(err); errors.Is(err, db.ErrConflict) {
			return fault.Wrap(wire.Conflict, fmt.Sprintf("another agent is called %q", name), err)
		} else if err != nil {
			return fmt.Errorf("fleet: renaming an agent: %w", err)
		}
		a, err = oneAgent(ctx, tx, tenantID, id)
		return err
	})
	return a, err
}

// Revoke ends an agent's eligibility for good. Revoking twice keeps the first time and reason. Whoever calls it announces the change,
// so that gateways end the agent's stream at once; without, they notice within a second. Fault [wire.NotFound].
func (s *Store) Revoke(ctx context.Context, scope tenant.Scope, id, reason string, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx db.Querier) error {
		if _, err := oneAgent(ctx, tx, tenantID, id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE agent SET state = $1, revoked_at = $2, revoked_reason = $3, changed_at = $2
			WHERE tenant_id = $4 AND id = $5 AND state = $6`,
			string(Revoked), db.Millis(now), clip(reason, maxReason), tenantID, id, string(Active))
		if err != nil {
			return fmt.Errorf("fleet: revoking an agent: %w", err)
		}
		return nil
	})
}

// Remove forgets an agent, whatever its state; its certificate serves nothing any more. Fault [wire.NotFound].
func (s *Store) Remove(ctx context.Context, scope tenant.Scope, id string) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx db.Querier) error {
		return affected(tx.ExecContext(ctx, `DELETE FROM agent WHERE tenant_id = $1 AND id = $2`, tenantID, id))
	})
}

// Seen notes what an agent said of itself and where it connected from. What is too long or not printable is cut out: it is
// for people. Fault [wire.NotFound].
func (s *Store) Seen(ctx context.Context, scope tenant.Scope, id, host, os, version, address string, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx db.Querier) error {
		return affected(tx.ExecContext(ctx, `UPDATE agent SET host = $1, os = $2, version = $3, address = $4, last_seen = $5 WHERE tenant_id = $6 AND id = $7`,
			clip(host, maxHost), clip(os, maxText), clip(version, maxText), clip(address, maxText), db.Millis(now), tenantID, id))
	})
}

func affected(r sql.Result, err error) error {
	if db.NoRow(err) {
		return noAgent()
	}
	if err != nil {
		return fmt.Errorf("fleet: storing a change: %w", err)
	}
	if n, err := r.RowsAffected(); err != nil {
		return fmt.Errorf("fleet: %w", err)
	} else if n == 0 {
		return noAgent()
	}
	return nil
}

func noAgent() error { return fault.New(wire.NotFound, "no such agent") }

func found(a Agent, err error) (Agent, error) {
	if db.NoRow(err) {
		return Agent{}, noAgent()
	}
	return a, err
}
