package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/tenant"
)

// record writes a change into the registration log, in the change's own transaction.
func (s *Store) record(ctx context.Context, tx db.Querier, tenantID string, e tenant.Event, now time.Time) error {
	if s.Log == nil {
		return nil
	}
	return s.Log.Record(ctx, tx, tenant.ScopeOf(tenantID), e, now)
}

// recordEnrolment names the token that let an agent in: by its id and note, never by its secret. hash is nil where an administrator, who is
// the context's actor, said yes to a code.
func (s *Store) recordEnrolment(ctx context.Context, tx db.Querier, tenantID string, hash []byte, e tenant.Event, now time.Time) error {
	if hash == nil {
		return s.record(ctx, tx, tenantID, e, now)
	}
	by := tenant.Actor{Kind: "enrolment-token"}
	if err := tx.QueryRowContext(ctx, `SELECT id, note FROM enrol_token WHERE tenant_id = $1 AND secret_hash = $2`, tenantID, hash).
		Scan(&by.ID, &by.Name); err != nil {
		return fmt.Errorf("fleet: reading the token that was used: %w", err)
	}
	return s.record(tenant.WithActor(ctx, by), tx, tenantID, withToken(e, by.ID), now)
}

// byAgent is for what an agent does over its own stream.
func byAgent(ctx context.Context, a Agent) context.Context {
	return tenant.WithActor(ctx, tenant.Actor{Kind: "agent", ID: a.ID, Name: a.Name})
}

// agentEvent is what happened to an agent, with its current certificate and key.
func agentEvent(verb string, a Agent, detail string) tenant.Event {
	return tenant.Event{What: "agent." + verb, Agent: a.ID, AgentName: a.Name, Directory: a.DirectoryID, Serial: a.CertificateSerial,
		KeyID: a.Key.ID(), Detail: detail}
}

// issued says which certificate and key an event brought.
func issued(e tenant.Event, c ca.Certificate, key envelope.PublicKey) tenant.Event {
	sum := sha256.Sum256(c.DER)
	e.Serial, e.Certificate, e.KeyID = c.Serial, hex.EncodeToString(sum[:]), key.ID()
	return e
}

func withToken(e tenant.Event, id string) tenant.Event {
	e.Token = id
	return e
}

func (t Token) made() tenant.Event {
	return tenant.Event{What: "agent-token.create", Directory: t.DirectoryID, Token: t.ID,
		Detail: strings.TrimSuffix(fmt.Sprintf("%d uses until %s: %s", t.UsesLeft, t.Expires.Format(time.RFC3339), t.Note), ": ")}
}
