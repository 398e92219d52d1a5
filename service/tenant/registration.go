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

// Approval is a tenant's policy of who has to let a registered agent in before it is served.
type Approval string

// The policies, from the weakest. A tenant begins with the first.
const (
	// ApprovalNone: an enrolment token, or an administrator's yes to a code, is enough.
	ApprovalNone Approval = "none"
	// ApprovalNeeded: an administrator has to approve what came with a token. A yes to a code is such an approval.
	ApprovalNeeded Approval = "needed"
	// ApprovalSecond: somebody other than who made the token, or said yes to the code, has to approve.
	ApprovalSecond Approval = "second"
)

// Stricter returns the stricter of two policies; what is no policy counts as none.
func (a Approval) Stricter(b Approval) Approval {
	for _, p := range []Approval{ApprovalSecond, ApprovalNeeded} {
		if a == p || b == p {
			return p
		}
	}
	return ApprovalNone
}

// Approval returns the tenant's policy.
func (s *Store) Approval(ctx context.Context, scope Scope) (Approval, error) {
	return ApprovalIn(ctx, s.db.Reader(), scope)
}

// ApprovalIn reads the policy within a transaction: a registration and its policy are of one moment.
func ApprovalIn(ctx context.Context, q db.Querier, scope Scope) (Approval, error) {
	id, err := scope.ID()
	if err != nil {
		return "", err
	}
	var a string
	err = q.QueryRowContext(ctx, `SELECT approval FROM registration WHERE tenant_id = $1`, id).Scan(&a)
	if db.NoRow(err) {
		return ApprovalNone, nil
	}
	if err != nil {
		return "", fmt.Errorf("tenant: reading the registration policy: %w", err)
	}
	return Approval(a), nil
}

// SetApproval replaces the tenant's policy. Agents that wait already stay under the policy that they registered under. also, unless it is nil, happens in the same transaction. Faults: BadRequest, NotFound for a tenant that is gone.
func (s *Store) SetApproval(ctx context.Context, scope Scope, a Approval, now time.Time, also func(tx db.Querier) error) error {
	id, err := scope.ID()
	if err != nil {
		return err
	}
	if a != ApprovalNone && a != ApprovalNeeded && a != ApprovalSecond {
		return fault.Newf(wire.BadRequest, "an approval %.40q: none, needed and second are possible", string(a))
	}
	err = s.db.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO registration (tenant_id, approval, changed_at) VALUES ($1, $2, $3)
			ON CONFLICT (tenant_id) DO UPDATE SET approval = excluded.approval, changed_at = excluded.changed_at`, id, string(a), db.Millis(now))
		if err != nil {
			return err
		}
		if err := s.record(ctx, tx, id, Event{What: "registration.set", Detail: "approval: " + string(a)}, now); err != nil || also == nil {
			return err
		}
		return also(tx)
	})
	if err := db.Translate(err); errors.Is(err, db.ErrReference) {
		return noTenant(id)
	} else if err != nil {
		return fmt.Errorf("tenant: storing the registration policy: %w", err)
	}
	return nil
}
