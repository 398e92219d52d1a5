package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Agent is one member of the fleet.
type Agent struct {
	ID string
	// Name is for people, unique in the tenant.
	Name        string
	DirectoryID string
	// Host, OS and Version are what the agent said of itself last. They decide nothing.
	Host, OS, Version string
	// Instance tells agents on one host apart; empty for the only one.
	Instance string
	State    State
	// StateReason says why the agent is quarantined, or of a pending one that it was drained.
	StateReason string
	// KeyStore is where the agent keeps its private keys, as it says itself: "file", "tpm" …
	KeyStore string
	// Key is what passwords for this agent are sealed to.
	Key envelope.PublicKey
	// CertificateSerial is the serial number of the one certificate that is current, as ca.SerialOf prints it.
	CertificateSerial   string
	CertificateNotAfter time.Time
	// Renewed is when the certificate last replaced one without a token; zero if it never did.
	Renewed time.Time
	// Renewing is true from the signing of the next certificate until the agent comes with it.
	Renewing bool
	// RenewAfter is from when on the agent is told to renew; zero if nobody ordered it.
	RenewAfter time.Time
	// Counter is the highest number that the agent has connected with; 0 for agents of protocol 1.
	Counter uint64
	// Skew is how far the service's clock is ahead of the agent's, less the way of one message.
	Skew time.Duration
	// Address is where the agent's last connection came from, without port.
	Address string
	// LastSeen is zero for an agent that never connected.
	LastSeen      time.Time
	RevokedAt     time.Time // zero while active
	RevokedReason string
	Created       time.Time
	Changed       time.Time

	next        credential
	nextKey     envelope.PublicKey
	nextStore   string
	former      string
	formerUntil time.Time
	holder      string
}

func (a Agent) credentials() credentials {
	return credentials{state: a.State, current: credential{a.CertificateSerial, a.CertificateNotAfter}, next: a.next, former: a.former, formerUntil: a.formerUntil}
}

// KeyOf returns the envelope key that belongs to a certificate of the agent: the current one's, or that of a renewal under way.
func (a Agent) KeyOf(serial string) envelope.PublicKey {
	if serial == a.next.serial && serial != "" {
		return a.nextKey
	}
	return a.Key
}

// Store keeps agents and tokens. It is safe for concurrent use.
type Store struct {
	// Limit is how many agents a tenant may have, those that are revoked not counted; 0 means [DefaultLimit]. Set it before the first
	// registration. A limit that is lowered shuts nobody out.
	Limit int
	// Log records each change in its transaction. The wiring sets it; nil, in tests alone, records nothing.
	Log tenant.Recorder
	// Logger gets what [Store.Run] cannot return; nil discards.
	Logger *slog.Logger

	db *db.DB
	ca *ca.Authority
}

func (s *Store) logger() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
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
	if err := s.admit(ctx, s.db.Reader(), tenantID, a, serial, now); err != nil {
		return tenant.Scope{}, Agent{}, err
	}
	return scope, a, nil
}

// admit says why an agent may not connect with a certificate; nil if it may.
func (s *Store) admit(ctx context.Context, q db.Querier, tenantID string, a Agent, serial string, now time.Time) error {
	code := a.credentials().standing(serial, true, now)
	if code == wire.CertificateForeign {
		// An older certificate of the agent is no stranger's.
		if _, err := oneCertificate(ctx, q, tenantID, a.ID, serial); err == nil {
			code = wire.CertificateSuperseded
		} else if err != nil && !db.NoRow(err) {
			return err
		}
	}
	if code != 0 {
		return fault.Newf(code, "agent %s (%s)%s", a.ID, a.Name, because(a))
	}
	return nil
}

func because(a Agent) string {
	switch {
	case a.State == Revoked && a.RevokedReason != "":
		return ": " + a.RevokedReason
	case a.State == Quarantined && a.StateReason != "":
		return ": " + a.StateReason
	}
	return ""
}

// AgentRef names a connected agent and the certificate that it connected with.
type AgentRef struct {
	Scope         tenant.Scope
	Agent, Serial string
}

// Standing is what the gateway that holds an agent's stream has to know of it.
type Standing struct {
	// Code is 0 while the stream may go on.
	Code wire.Code
	// Drained says that the agent gets no new checks.
	Drained bool
	// Failing says that the newest probes of the agent failed: it is asked when no other can be.
	Failing bool
	// Holder is the stream that the agent connected with last, and Serial the certificate that is current: a stream that is not the
	// holder was replaced, by a renewal if the serials differ.
	Holder, Serial string
	// Suspected is when somebody last came with an older state of this agent; zero for never.
	Suspected time.Time
	// RenewAfter is from when on the agent is to be told to renew; zero if nobody ordered it.
	RenewAfter time.Time
}

// Standing asks [Store.Admit]'s question for many agents of any tenants at once: the gateway's look, every second, at the
// agents that it holds. Each ref has an entry in the result. The cost is one
// query for 128 agents. A ref with the zero scope fails the whole call with tenant.ErrNoScope.
func (s *Store) Standing(ctx context.Context, refs []AgentRef, now time.Time) (map[AgentRef]Standing, error) {
	out := make(map[AgentRef]Standing, len(refs))
	for _, r := range refs {
		if r.Scope.Zero() {
			return nil, tenant.ErrNoScope
		}
		out[r] = Standing{Code: wire.AgentUnknown}
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
				entry := row.Standing
				entry.Code = row.credentials.standing(r.Serial, false, now)
				out[r] = entry
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
		if a, err = oneAgent(ctx, tx, tenantID, id); err != nil {
			return err
		}
		return s.record(ctx, tx, tenantID, agentEvent("rename", a, name), now)
	})
	return a, err
}

// Sighting is what an agent said of itself, and where it connected from.
type Sighting struct {
	Host, OS, Version, Address string
	// Skew is how far the service's clock is ahead of the agent's.
	Skew time.Duration
	// Attached says that the agent has a stream; Report, if not nil, is what it said of how it does.
	Attached bool
	Report   *Report
}

// Seen notes a sign of life. What is too long or not printable is cut out: it is for people. Fault [wire.NotFound].
func (s *Store) Seen(ctx context.Context, scope tenant.Scope, id string, g Sighting, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx db.Querier) error {
		err := affected(tx.ExecContext(ctx, `UPDATE agent SET host = $1, os = $2, version = $3, address = $4, last_seen = $5, skew_ms = $6
			WHERE tenant_id = $7 AND id = $8`, clip(g.Host, maxHost), clip(g.OS, maxText), clip(g.Version, maxText), clip(g.Address, maxText),
			db.Millis(now), g.Skew.Milliseconds(), tenantID, id))
		if err != nil || !g.Attached {
			return err
		}
		return s.heard(ctx, tx, tenantID, id, g.Report, now)
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
