package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/notify"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Actor is who acts for a tenant: a person at a page, or the holder of a token of the admin API. The zero Actor is nobody known, as
// for tokens that are older than this record.
type Actor struct {
	// User is a person's id, Token a token's.
	User  string `json:"user,omitempty"`
	Token string `json:"token,omitempty"`
	// Ancestors are the tokens that Token descends from, the oldest first.
	Ancestors []string `json:"ancestors,omitempty"`
	// Name is for people: a sign-in name, or a token's id.
	Name string `json:"name,omitempty"`
}

// Same reports whether two actors may be one: equal, unknown, or one a token that the other has made, directly or through others.
// Whoever can make a token could otherwise agree with himself.
func (a Actor) Same(b Actor) bool {
	switch {
	case a.User == "" && a.Token == "", b.User == "" && b.Token == "":
		return true
	case a.User != "" || b.User != "":
		return a.User == b.User
	}
	return a.Token == b.Token || slices.Contains(a.Ancestors, b.Token) || slices.Contains(b.Ancestors, a.Token)
}

func (a Actor) encode() (string, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return "", fmt.Errorf("fleet: an actor: %w", err)
	}
	return string(b), nil
}

// decodeActor reads what encode has written; "" is the zero Actor.
func decodeActor(s string) (a Actor, err error) {
	if s == "" {
		return a, nil
	}
	if err := json.Unmarshal([]byte(s), &a); err != nil {
		return a, fmt.Errorf("fleet: an actor: %w", err)
	}
	return a, nil
}

// voucher is who stands for a registration, and how: with a token, or by saying yes to a code.
type voucher struct {
	Actor
	byCode bool
}

// entry is the rule of the state in which an agent comes out of a registration.
func entry(s State, p tenant.Approval, byCode bool) State {
	if p == tenant.ApprovalSecond || p == tenant.ApprovalNeeded && !byCode {
		return Pending
	}
	return s
}

// wasDrained is the reason of a pending agent that was drained when it registered anew: the yes to its keys is not one to new checks.
const wasDrained = "drained before"

// admitted is the rule of the state in which a yes leaves a pending agent.
func admitted(reason string) State {
	if reason == wasDrained {
		return Drained
	}
	return Active
}

// mayApprove is the rule of who lets a pending agent in; nil means yes.
func mayApprove(p tenant.Approval, vouched, approver Actor) error {
	if p == tenant.ApprovalSecond && vouched.Same(approver) {
		return fault.New(wire.SecondNeeded, "the token was made, or the code approved, by the same administrator")
	}
	return nil
}

// Vouched is what was noted of an agent's last registration.
type Vouched struct {
	// By made the token, or approved the code.
	By Actor
	// Fingerprint is of the keys that it came with ([wire.KeysFingerprint]); a renewal makes others.
	Fingerprint string
	approval    tenant.Approval
}

// Voucher returns who stands for an agent. Fault [wire.NotFound].
func (s *Store) Voucher(ctx context.Context, scope tenant.Scope, id string) (Vouched, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Vouched{}, err
	}
	return voucherOf(ctx, s.db.Reader(), tenantID, id)
}

func voucherOf(ctx context.Context, q db.Querier, tenantID, id string) (v Vouched, err error) {
	var who, under string
	err = q.QueryRowContext(ctx, `SELECT vouched_by, approval, fingerprint FROM agent WHERE tenant_id = $1 AND id = $2`, tenantID, id).
		Scan(&who, &under, &v.Fingerprint)
	if db.NoRow(err) {
		return v, noAgent()
	}
	if err != nil {
		return v, fmt.Errorf("fleet: reading who vouched for an agent: %w", err)
	}
	v.approval = tenant.Approval(under)
	v.By, err = decodeActor(who)
	return v, err
}

// vouch notes who stands for an agent's registration, the policy that it is under, and its keys.
func vouch(ctx context.Context, tx db.Querier, tenantID, id string, by Actor, p tenant.Approval, fingerprint string) error {
	who, err := by.encode()
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE agent SET vouched_by = $1, approval = $2, fingerprint = $3 WHERE tenant_id = $4 AND id = $5`,
		who, string(p), fingerprint, tenantID, id); err != nil {
		return fmt.Errorf("fleet: noting who vouched for an agent: %w", err)
	}
	return nil
}

// event is what administrators are told of an agent.
func (a Agent) event(kind string, by Actor, detail string) notify.Event {
	return notify.Event{Kind: kind, Agent: a.ID, Name: a.Name, Host: a.Host, OS: a.OS, Address: a.Address, Directory: a.DirectoryID, State: string(a.State),
		By: by.Name, Detail: detail}
}

// ErrOtherKeys is wrapped by the fault of an approval of other keys than the agent has by now.
var ErrOtherKeys = errors.New("the agent registered anew, with other keys than were compared")

// Approve lets a pending agent in; one that was drained before it registered anew is drained again. An agent that is served already stays
// so. fingerprint is that of the keys which the approver has compared, so that an agent that registers anew meanwhile is not let in by a
// look at its former keys; "" lets any keys in. Faults: [wire.NotFound]; [wire.Conflict] where [Next] refuses, and, around [ErrOtherKeys], for another fingerprint; [wire.SecondNeeded] when the
// policy, of now or of the registration, wants somebody else.
func (s *Store) Approve(ctx context.Context, scope tenant.Scope, id, fingerprint string, by Actor, now time.Time) (Agent, error) {
	return s.happen(ctx, scope, id, Approve, "by "+by.Name, now, func(tx db.Querier, tenantID string, a Agent) error {
		vouched, err := voucherOf(ctx, tx, tenantID, id)
		if err != nil {
			return err
		}
		policy, err := tenant.ApprovalIn(ctx, tx, scope)
		if err != nil {
			return err
		}
		if err := mayApprove(policy.Stricter(vouched.approval), vouched.By, by); err != nil {
			return err
		}
		if fingerprint != "" && fingerprint != vouched.Fingerprint {
			return fault.Wrap(wire.Conflict, ErrOtherKeys.Error(), ErrOtherKeys)
		}
		a.State = admitted(a.StateReason)
		if a.State != Active {
			if _, err := tx.ExecContext(ctx, `UPDATE agent SET state = $1 WHERE tenant_id = $2 AND id = $3`, string(a.State), tenantID, id); err != nil {
				return fmt.Errorf("fleet: letting an agent in: %w", err)
			}
		}
		return notify.Put(ctx, tx, scope, a.event(notify.AgentApproved, by, ""), now)
	})
}

// Deny shuts a pending agent out, for good: it is revoked. Faults: [wire.NotFound]; [wire.Conflict] for one that is not pending.
func (s *Store) Deny(ctx context.Context, scope tenant.Scope, id string, by Actor, now time.Time) (Agent, error) {
	return s.happen(ctx, scope, id, Deny, "by "+by.Name, now, func(tx db.Querier, tenantID string, a Agent) error {
		if _, err := tx.ExecContext(ctx, `UPDATE agent SET revoked_at = $1, revoked_reason = $2 WHERE tenant_id = $3 AND id = $4`,
			db.Millis(now), "its registration was denied", tenantID, id); err != nil {
			return fmt.Errorf("fleet: denying an agent: %w", err)
		}
		a.State = Revoked
		if err := notify.Put(ctx, tx, scope, a.event(notify.AgentDenied, by, ""), now); err != nil {
			return err
		}
		return endCertificates(ctx, tx, tenantID, id, "", privilegeWithdrawn, now)
	})
}

// Pending returns the agents that wait for an approval.
func (s *Store) Pending(ctx context.Context, scope tenant.Scope) ([]Agent, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return nil, err
	}
	return queryAgents(ctx, s.db.Reader(), `SELECT `+agentColumns+` FROM agent WHERE tenant_id = $1 AND state = $2 ORDER BY id LIMIT $3`,
		tenantID, string(Pending), maxPage)
}
