package fleet

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/notify"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// happen lets an event happen to an agent. Whoever calls it announces the change, so that gateways act at once; without, they
// notice within a second. Faults: [wire.NotFound]; [wire.Conflict] where [Next] refuses.
func (s *Store) happen(ctx context.Context, scope tenant.Scope, id string, e Event, detail string, now time.Time,
	more func(tx db.Querier, tenantID string, a Agent) error) (Agent, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Agent{}, err
	}
	var a Agent
	err = s.db.Write(ctx, func(tx db.Querier) error {
		if a, err = oneAgent(ctx, tx, tenantID, id); err != nil {
			return err
		}
		next, err := Next(a.State, e)
		if err != nil || next == a.State {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE agent SET state = $1, state_reason = '', changed_at = $2 WHERE tenant_id = $3 AND id = $4`,
			string(next), db.Millis(now), tenantID, id); err != nil {
			return fmt.Errorf("fleet: changing an agent's state: %w", err)
		}
		if more != nil {
			if err := more(tx, tenantID, a); err != nil {
				return err
			}
		}
		if err := insertHistory(ctx, tx, tenantID, id, string(e), detail, now); err != nil {
			return err
		}
		if a, err = oneAgent(ctx, tx, tenantID, id); err != nil {
			return err
		}
		return s.record(ctx, tx, tenantID, agentEvent(string(e), a, cmp.Or(detail, a.StateReason)), now)
	})
	return a, err
}

// Drain lets an agent finish its checks and get no new ones, while it stays connected, until [Store.Resume].
func (s *Store) Drain(ctx context.Context, scope tenant.Scope, id string, now time.Time) (Agent, error) {
	return s.happen(ctx, scope, id, Drain, "", now, nil)
}

// Resume ends a drain.
func (s *Store) Resume(ctx context.Context, scope tenant.Scope, id string, now time.Time) (Agent, error) {
	return s.happen(ctx, scope, id, Resume, "", now, nil)
}

// Revoke ends an agent's eligibility. Revoking twice keeps the first time and reason. Fault [wire.NotFound].
func (s *Store) Revoke(ctx context.Context, scope tenant.Scope, id, reason string, now time.Time) error {
	_, err := s.happen(ctx, scope, id, Revoke, reason, now, func(tx db.Querier, tenantID string, a Agent) error {
		if _, err := tx.ExecContext(ctx, `UPDATE agent SET revoked_at = $1, revoked_reason = $2 WHERE tenant_id = $3 AND id = $4`,
			db.Millis(now), clip(reason, maxReason), tenantID, id); err != nil {
			return fmt.Errorf("fleet: revoking an agent: %w", err)
		}
		return endCertificates(ctx, tx, tenantID, id, "", privilegeWithdrawn, now)
	})
	return err
}

// Quarantine freezes an agent because of [Clone], [Contradict] or [Lie]. True says that it was not frozen before.
func (s *Store) Quarantine(ctx context.Context, scope tenant.Scope, id string, e Event, reason string, now time.Time) (fresh bool, err error) {
	_, err = s.happen(ctx, scope, id, e, reason, now, func(tx db.Querier, tenantID string, a Agent) error {
		fresh = true
		if _, err := tx.ExecContext(ctx, `UPDATE agent SET state_reason = $1 WHERE tenant_id = $2 AND id = $3`, clip(reason, maxReason), tenantID, id); err != nil {
			return fmt.Errorf("fleet: freezing an agent: %w", err)
		}
		a.State = Quarantined
		if err := notify.Put(ctx, tx, scope, a.event(notify.AgentQuarantined, Actor{}, reason), now); err != nil {
			return err
		}
		return endCertificates(ctx, tx, tenantID, id, "", keyCompromise, now)
	})
	return fresh && err == nil, err
}

// Remove forgets an agent, whatever its state; its certificate serves nothing any more. Its history stays, and is its own again
// if it comes back ([Enrolment.Former]). Fault [wire.NotFound].
func (s *Store) Remove(ctx context.Context, scope tenant.Scope, id string, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx db.Querier) error {
		a, err := oneAgent(ctx, tx, tenantID, id)
		if err != nil {
			return err
		}
		if err := affected(tx.ExecContext(ctx, `DELETE FROM agent WHERE tenant_id = $1 AND id = $2`, tenantID, id)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM enrol_token WHERE tenant_id = $1 AND agent_id = $2`, tenantID, id); err != nil {
			return fmt.Errorf("fleet: removing an agent's tokens: %w", err)
		}
		if err := endCertificates(ctx, tx, tenantID, id, "", cessationOfOperation, now); err != nil {
			return err
		}
		if err := s.record(ctx, tx, tenantID, agentEvent("remove", a, ""), now); err != nil {
			return err
		}
		return insertHistory(ctx, tx, tenantID, id, "remove", "", now)
	})
}

// Release makes a token, good for one registration within a day, with which one host takes this agent's identity up again, with
// fresh keys: the way out of a quarantine, of a revocation that was a mistake, and of a lost state folder. Until it is used nothing
// changes. An earlier one ends. Fault [wire.NotFound].
func (s *Store) Release(ctx context.Context, scope tenant.Scope, id string, by Actor, now time.Time) (Token, string, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Token{}, "", err
	}
	who, err := by.encode()
	if err != nil {
		return Token{}, "", err
	}
	secret, hash := newSecret()
	var t Token
	err = s.db.Write(ctx, func(tx db.Querier) error {
		a, err := oneAgent(ctx, tx, tenantID, id)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM enrol_token WHERE tenant_id = $1 AND agent_id = $2`, tenantID, id); err != nil {
			return fmt.Errorf("fleet: ending an earlier release: %w", err)
		}
		t = Token{ID: db.NewID(), DirectoryID: a.DirectoryID, Note: "release of " + a.Name, UsesLeft: 1,
			Expires: db.Time(db.Millis(now.Add(releaseLife))), Created: db.Time(db.Millis(now))}
		if _, err := tx.ExecContext(ctx, `INSERT INTO enrol_token (id, tenant_id, directory_id, secret_hash, note, uses_left, expires_at, created_at, agent_id,
			made_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, t.ID, tenantID, t.DirectoryID, hash, t.Note, t.UsesLeft, db.Millis(t.Expires), db.Millis(now), id, who); err != nil {
			return fmt.Errorf("fleet: storing a token: %w", err)
		}
		if err := s.record(ctx, tx, tenantID, withToken(agentEvent("release", a, ""), t.ID), now); err != nil {
			return err
		}
		return insertHistory(ctx, tx, tenantID, id, "release", "", now)
	})
	if err != nil {
		return Token{}, "", err
	}
	return t, secret, nil
}

// OrderRenewal has agents told to renew their certificates: one, or with id "" all that are served, each at a moment of its own within
// spread. It returns how many. The order stands until the agent has renewed. Faults: [wire.NotFound], [wire.BadRequest].
func (s *Store) OrderRenewal(ctx context.Context, scope tenant.Scope, id string, spread time.Duration, now time.Time) (int, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return 0, err
	}
	if spread < 0 || spread > maxRenewSpread {
		return 0, fault.Newf(wire.BadRequest, "a spread of %v: 0 to %v are allowed", spread, maxRenewSpread)
	}
	var ordered int
	err = s.db.Write(ctx, func(tx db.Querier) error {
		ordered = 0
		ids := []string{id}
		if id == "" {
			if ids, err = servedAgents(ctx, tx, tenantID); err != nil {
				return err
			}
		}
		for _, id := range ids {
			at := now
			if spread > 0 {
				at = at.Add(rand.N(spread))
			}
			if err := affected(tx.ExecContext(ctx, `UPDATE agent SET renew_after = $1 WHERE tenant_id = $2 AND id = $3`, db.Millis(at), tenantID, id)); err != nil {
				return err
			}
			ordered++
		}
		return nil
	})
	return ordered, err
}

func servedAgents(ctx context.Context, q db.Querier, tenantID string) ([]string, error) {
	ids, err := db.Collect(ctx, q, db.Value[string], `SELECT id FROM agent WHERE tenant_id = $1 AND state IN ($2, $3) ORDER BY id`, tenantID, string(Active), string(Drained))
	if err != nil {
		return nil, fmt.Errorf("fleet: listing agents: %w", err)
	}
	return ids, nil
}

// Moment is one line of an agent's history.
type Moment struct {
	At     time.Time
	Event  string
	Detail string
}

// History returns the last moments of an agent's life, the newest first; of one that is gone, too.
func (s *Store) History(ctx context.Context, scope tenant.Scope, id string) ([]Moment, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return nil, err
	}
	out, err := db.Collect(ctx, s.db.Reader(), func(row db.Scanner) (m Moment, err error) {
		var at int64
		err = row.Scan(&at, &m.Event, &m.Detail)
		m.At = db.Time(at)
		return m, err
	}, `SELECT at, event, detail FROM agent_history WHERE tenant_id = $1 AND agent_id = $2 ORDER BY id DESC LIMIT $3`, tenantID, id, historyPage)
	if err != nil {
		return nil, fmt.Errorf("fleet: reading an agent's history: %w", err)
	}
	return out, nil
}
