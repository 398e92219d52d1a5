package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Proof is which domain an agent's domain controllers say they serve. It is the agent's own word: it keeps one with wrong settings from
// asking another domain about passwords, not one that lies; those are found by a second agent's opinion.
type Proof struct {
	// NamingContext is the domain's name as a DN, Forest that of the forest's root domain.
	NamingContext, Forest string
	// GUID and SID are the domain's own as Windows prints them; empty where they are not told.
	GUID, SID string
	// DC is the DNS name of the domain controller.
	DC string
}

// Pin is the domain that a directory is.
type Pin struct {
	Proof
	// Agent is the id of the agent that first showed it, Since when.
	Agent string
	Since time.Time
}

// is reports whether a proof shows the pinned domain: the same GUID and SID, or the same name where neither has those.
func (p Pin) is(shown Proof) bool {
	if p.GUID == "" && shown.GUID == "" {
		return strings.EqualFold(p.NamingContext, shown.NamingContext)
	}
	return strings.EqualFold(p.GUID, shown.GUID) && p.SID == shown.SID
}

func (p Proof) String() string {
	if p.GUID == "" {
		return p.NamingContext
	}
	return fmt.Sprintf("%s (%s)", p.NamingContext, p.GUID)
}

// Prove compares what an agent shows with what its directory is, and returns that. The first proof decides it. Faults:
// [wire.DirectoryForeign] for another domain, which goes into the agent's history; [wire.NotFound] for an agent that is gone;
// [wire.BadRequest] for a proof that names no domain.
func (s *Store) Prove(ctx context.Context, scope tenant.Scope, agentID string, p Proof, now time.Time) (Pin, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Pin{}, err
	}
	p = Proof{NamingContext: clip(p.NamingContext, maxProof), Forest: clip(p.Forest, maxProof), GUID: strings.ToLower(clip(p.GUID, maxText)),
		SID: clip(p.SID, maxProof), DC: clip(p.DC, maxHost)}
	if p.NamingContext == "" {
		return Pin{}, fault.New(wire.BadRequest, "a proof without the name of a domain")
	}
	a, err := oneAgent(ctx, s.db.Reader(), tenantID, agentID)
	if err != nil {
		return Pin{}, err
	}
	pin, known, err := onePin(ctx, s.db.Reader(), tenantID, a.DirectoryID)
	if err != nil {
		return Pin{}, err
	}
	if !known {
		err := s.db.Write(ctx, func(tx db.Querier) error {
			if pin, known, err = onePin(ctx, tx, tenantID, a.DirectoryID); err != nil || known {
				return err
			}
			pin = Pin{Proof: p, Agent: a.ID, Since: db.Time(db.Millis(now))}
			if err := insertPin(ctx, tx, tenantID, a.DirectoryID, pin); err != nil {
				return err
			}
			e := agentEvent("", a, pin.String())
			e.What = "directory.pin"
			return s.record(byAgent(ctx, a), tx, tenantID, e, now)
		})
		if err != nil {
			return Pin{}, err
		}
	}
	if !pin.is(p) {
		if err := s.foreign(ctx, tenantID, a, p, now); err != nil {
			return Pin{}, err
		}
		return Pin{}, fault.Newf(wire.DirectoryForeign, "agent %s: %s serves %s, and its directory is %s", a.Name, p.DC, p, pin.Proof)
	}
	return pin, nil
}

// foreign writes into an agent's history that it showed another domain; once, since the agent comes back and shows it again.
func (s *Store) foreign(ctx context.Context, tenantID string, a Agent, p Proof, now time.Time) error {
	detail := fmt.Sprintf("%s serves %s", p.DC, p)
	return s.db.Write(ctx, func(tx db.Querier) error {
		var event, was string
		err := tx.QueryRowContext(ctx, `SELECT event, detail FROM agent_history WHERE tenant_id = $1 AND agent_id = $2 ORDER BY id DESC LIMIT 1`, tenantID, a.ID).Scan(&event, &was)
		if err != nil && !db.NoRow(err) {
			return fmt.Errorf("fleet: reading an agent's history: %w", err)
		}
		if event == foreignEvent && was == detail {
			return nil
		}
		return insertHistory(ctx, tx, tenantID, a.ID, foreignEvent, detail, now)
	})
}

// foreignEvent stands in the history of an agent that showed another domain than its directory's.
const foreignEvent = "foreign-directory"

// PinOf returns the domain that a directory is; known is false while no agent has shown one.
func (s *Store) PinOf(ctx context.Context, scope tenant.Scope, directoryID string) (pin Pin, known bool, err error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Pin{}, false, err
	}
	return onePin(ctx, s.db.Reader(), tenantID, directoryID)
}

// Unpin forgets which domain a directory is: the next agent that shows one decides it anew. For a domain that was built anew. Fault:
// [wire.NotFound] if nothing was known.
func (s *Store) Unpin(ctx context.Context, scope tenant.Scope, directoryID string, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx db.Querier) error {
		pin, known, err := onePin(ctx, tx, tenantID, directoryID)
		switch {
		case err != nil:
			return err
		case !known:
			return fault.New(wire.NotFound, "no agent has shown yet which domain this directory is")
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM directory_proof WHERE tenant_id = $1 AND directory_id = $2`, tenantID, directoryID); err != nil {
			return fmt.Errorf("fleet: forgetting a directory's domain: %w", err)
		}
		return s.record(ctx, tx, tenantID, tenant.Event{What: "directory.unpin", Directory: directoryID, Detail: pin.String()}, now)
	})
}

func onePin(ctx context.Context, q db.Querier, tenantID, directoryID string) (p Pin, known bool, err error) {
	var since int64
	err = q.QueryRowContext(ctx, `SELECT naming_context, forest, domain_guid, domain_sid, dc, agent_id, pinned_at FROM directory_proof
		WHERE tenant_id = $1 AND directory_id = $2`, tenantID, directoryID).
		Scan(&p.NamingContext, &p.Forest, &p.GUID, &p.SID, &p.DC, &p.Agent, &since)
	if db.NoRow(err) {
		return Pin{}, false, nil
	}
	if err != nil {
		return Pin{}, false, fmt.Errorf("fleet: reading a directory's domain: %w", err)
	}
	p.Since = db.Time(since)
	return p, true, nil
}

func insertPin(ctx context.Context, tx db.Querier, tenantID, directoryID string, p Pin) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO directory_proof (tenant_id, directory_id, naming_context, forest, domain_guid, domain_sid, dc, agent_id, pinned_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, tenantID, directoryID, p.NamingContext, p.Forest, p.GUID, p.SID, p.DC, p.Agent, db.Millis(p.Since))
	if err != nil {
		return fmt.Errorf("fleet: keeping a directory's domain: %w", db.Translate(err))
	}
	return nil
}
