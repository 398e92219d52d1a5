package fleet

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Connection is one stream of an agent.
type Connection struct {
	// Stream names it; random, and never the same twice.
	Stream string
	// Serial is the certificate's that it was opened with.
	Serial string
	// Counter is the agent's number for it; 0 from agents of protocol 1.
	Counter uint64
}

// Connect makes a stream the holder of its agent's identity: the last thing before the agent is served. In one transaction the
// agent is admitted again, its number confirmed and, if it came with the certificate of a renewal, that made the current one and the
// former ended. Faults: those of [Store.Admit], and [wire.IdentityOlder] for a number that was used before.
func (s *Store) Connect(ctx context.Context, scope tenant.Scope, id string, c Connection, now time.Time) (Agent, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Agent{}, err
	}
	var a Agent
	err = s.db.Write(ctx, func(tx db.Querier) error {
		if a, err = oneAgent(ctx, tx, tenantID, id); fault.Has(err, wire.NotFound) {
			return fault.Newf(wire.AgentUnknown, "agent %s", id)
		} else if err != nil {
			return err
		}
		if err := s.admit(ctx, tx, tenantID, a, c.Serial, now); err != nil {
			return err
		}
		if !counts(a.Counter, c.Counter) {
			return fault.Newf(wire.IdentityOlder, "agent %s (%s) came with number %d, and %d was used before", a.ID, a.Name, c.Counter, a.Counter)
		}
		if c.Serial == a.next.serial {
			if err := confirm(ctx, tx, tenantID, a, now); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `UPDATE agent SET counter = $1, holder = $2 WHERE tenant_id = $3 AND id = $4`,
			int64(c.Counter), c.Stream, tenantID, id); err != nil {
			return fmt.Errorf("fleet: connecting an agent: %w", err)
		}
		was := a.next.serial
		if a, err = oneAgent(ctx, tx, tenantID, id); err != nil || was != c.Serial || was == "" {
			return err
		}
		return s.record(byAgent(ctx, a), tx, tenantID, agentEvent("take-up", a, ""), now)
	})
	return a, err
}

// confirm makes the next certificate and key the current ones.
func confirm(ctx context.Context, tx db.Querier, tenantID string, a Agent, now time.Time) error {
	if _, err := tx.ExecContext(ctx, `UPDATE agent SET certificate_serial = next_serial, certificate_not_after = next_not_after,
		envelope_suite = next_suite, envelope_key = next_key, envelope_key_id = $1, key_store = next_key_store,
		former_serial = certificate_serial, former_until = $2, renewed_at = $3, changed_at = $3, renew_after = 0,
		next_serial = '', next_not_after = 0, next_suite = 0, next_key = NULL, next_key_store = ''
		WHERE tenant_id = $4 AND id = $5`, a.nextKey.ID(), db.Millis(now.Add(formerGrace)), db.Millis(now), tenantID, a.ID); err != nil {
		return fmt.Errorf("fleet: confirming a renewal: %w", err)
	}
	if err := endCertificates(ctx, tx, tenantID, a.ID, a.next.serial, superseded, now); err != nil {
		return err
	}
	return insertHistory(ctx, tx, tenantID, a.ID, "renew", "", now)
}

// Suspect notes that somebody came with an older state of an agent, and is alive: the gateway that holds the agent's stream then
// looks whether its own holder is alive, too. Fault [wire.NotFound].
func (s *Store) Suspect(ctx context.Context, scope tenant.Scope, id string, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx db.Querier) error {
		return affected(tx.ExecContext(ctx, `UPDATE agent SET suspect_at = $1 WHERE tenant_id = $2 AND id = $3`, db.Millis(now), tenantID, id))
	})
}

// Renewal asks for the next certificate of an agent, with fresh keys.
type Renewal struct {
	// Connection is the stream that it is asked on.
	Connection
	CSR           *x509.CertificateRequest
	EnvelopeSuite envelope.Suite
	EnvelopeKey   []byte
	KeyStore      string
}

// Renew signs an agent's next certificate. Nothing changes for checks until the agent connects with it: until then both certificates
// are admitted and passwords are sealed to the current key, and a further Renew replaces the one before. Faults:
// [wire.EnrolRequestInvalid]; [wire.KeyStoreRefused]; those of [Store.Admit]; [wire.Conflict] on a stream that is not the agent's last.
func (s *Store) Renew(ctx context.Context, scope tenant.Scope, id string, r Renewal, now time.Time) (ca.Certificate, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return ca.Certificate{}, err
	}
	key, err := Enrolment{CSR: r.CSR, EnvelopeSuite: r.EnvelopeSuite, EnvelopeKey: r.EnvelopeKey}.check()
	if err != nil {
		return ca.Certificate{}, err
	}
	var cert ca.Certificate
	err = s.db.Write(ctx, func(tx db.Querier) error {
		a, err := oneAgent(ctx, tx, tenantID, id)
		if err != nil {
			return err
		}
		if err := s.admit(ctx, tx, tenantID, a, r.Serial, now); err != nil {
			return err
		}
		if a.holder != r.Stream || r.Serial != a.CertificateSerial {
			return fault.New(wire.Conflict, "another connection of this agent is newer")
		}
		if key.ID() == a.Key.ID() {
			return fault.New(wire.EnrolRequestInvalid, "a renewal with the old envelope key")
		}
		if err := demandKeys(ctx, tx, scope, r.KeyStore); err != nil {
			return err
		}
		if cert, err = s.ca.Issue(ctx, tx, scope, id, r.CSR.PublicKey, now); err != nil {
			return err
		}
		if err := endCertificates(ctx, tx, tenantID, id, a.CertificateSerial, superseded, now); err != nil {
			return err
		}
		if err := insertCertificate(ctx, tx, tenantID, id, cert, now); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE agent SET next_serial = $1, next_not_after = $2, next_suite = $3, next_key = $4, next_key_store = $5
			WHERE tenant_id = $6 AND id = $7`, cert.Serial, db.Millis(cert.NotAfter), int64(key.Suite()), key.Bytes(), keyStore(r.KeyStore), tenantID, id); err != nil {
			return fmt.Errorf("fleet: storing a renewal: %w", err)
		}
		return s.record(byAgent(ctx, a), tx, tenantID, issued(agentEvent("renew", a, ""), cert, key), now)
	})
	return cert, err
}

// Revocations returns the signed revocation list of an issuer, for others than this service. Fault [wire.NotFound].
func (s *Store) Revocations(ctx context.Context, issuer string, now time.Time) ([]byte, error) {
	var entries []x509.RevocationListEntry
	if issuer != s.ca.RootID() {
		rows, err := s.db.Reader().QueryContext(ctx, `SELECT serial, revoked_at, reason FROM agent_certificate
			WHERE issuer_id = $1 AND revoked_at > 0 AND not_after > $2 ORDER BY revoked_at DESC, serial LIMIT $3`, issuer, db.Millis(now), maxRevocations)
		if db.NoRow(err) {
			return nil, fault.New(wire.NotFound, "no such issuer")
		}
		if err != nil {
			return nil, fmt.Errorf("fleet: reading revocations: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			var serial string
			var at int64
			var e x509.RevocationListEntry
			if err := rows.Scan(&serial, &at, &e.ReasonCode); err != nil {
				return nil, fmt.Errorf("fleet: reading revocations: %w", err)
			}
			var ok bool
			if e.SerialNumber, ok = new(big.Int).SetString(serial, 16); !ok {
				return nil, fmt.Errorf("fleet: the serial number %q", serial)
			}
			e.RevocationTime = db.Time(at)
			entries = append(entries, e)
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("fleet: reading revocations: %w", err)
		}
	}
	return s.ca.Revocations(ctx, issuer, entries, now)
}

// keyStore is the kind of an agent's key store as it is kept.
func keyStore(kind string) string {
	if kind = clip(kind, maxText); kind == "" {
		return wire.KeyStoreFile
	}
	return kind
}
