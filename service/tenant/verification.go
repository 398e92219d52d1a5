package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// Verification is a tenant's policy of when an agent's yes is not enough: a second agent, on another host, is then asked about the same
// password. The zero value is "never", which a tenant begins with.
type Verification struct {
	// Administrators has the yes for everybody with a role in this service confirmed, Groups that for the members of any of these
	// groups, by name as the directory tells it.
	Administrators bool
	Groups         []string
	// Percent is the share of all other right passwords that is confirmed, chosen at random: 0 to 100.
	Percent int
	// LetInAlone lets people of Administrators and Groups in when no second agent can be asked. Others are always let in then.
	LetInAlone bool
}

// Always reports whether a person's yes has to be confirmed each time. Groups are compared without regard to case, as AD does.
func (v Verification) Always(role bool, groups []string) bool {
	return role && v.Administrators || slices.ContainsFunc(groups, func(has string) bool {
		return slices.ContainsFunc(v.Groups, func(named string) bool { return strings.EqualFold(has, named) })
	})
}

// Sampled reports whether a throw of 0 to 99 chooses a right password for confirmation.
func (v Verification) Sampled(throw int) bool { return throw < v.Percent }

// check returns the policy as it is stored: groups trimmed, sorted and each once.
func (v Verification) check() (Verification, error) {
	if v.Percent < 0 || v.Percent > 100 {
		return v, fault.Newf(wire.BadRequest, "a share of %d %%: 0 to 100 are possible", v.Percent)
	}
	if len(v.Groups) > maxPolicyGroups {
		return v, fault.Newf(wire.BadRequest, "%d groups: at most %d can be named", len(v.Groups), maxPolicyGroups)
	}
	groups := make([]string, 0, len(v.Groups))
	for _, g := range v.Groups {
		clean, err := cleanText("group", g, maxGroupName)
		if err != nil {
			return v, err
		}
		groups = append(groups, clean)
	}
	slices.Sort(groups)
	v.Groups = slices.Compact(groups)
	return v, nil
}

// Verification returns the tenant's policy.
func (s *Store) Verification(ctx context.Context, scope Scope) (Verification, error) {
	id, err := scope.ID()
	if err != nil {
		return Verification{}, err
	}
	var v Verification
	var groups string
	var percent int64
	err = s.db.Reader().QueryRowContext(ctx, `SELECT administrators, group_names, percent, let_in_alone FROM verification WHERE tenant_id = $1`, id).
		Scan(&v.Administrators, &groups, &percent, &v.LetInAlone)
	if db.NoRow(err) {
		return Verification{}, nil
	}
	if err != nil {
		return Verification{}, fmt.Errorf("tenant: reading the verification policy: %w", err)
	}
	if err := json.Unmarshal([]byte(groups), &v.Groups); err != nil {
		return Verification{}, fmt.Errorf("tenant: the groups of the verification policy: %w", err)
	}
	v.Percent = int(percent)
	return v, nil
}

// SetVerification replaces the tenant's policy and returns it as it is stored. Faults: BadRequest, NotFound for a tenant that is gone.
func (s *Store) SetVerification(ctx context.Context, scope Scope, v Verification, now time.Time) (Verification, error) {
	id, err := scope.ID()
	if err != nil {
		return Verification{}, err
	}
	if v, err = v.check(); err != nil {
		return Verification{}, err
	}
	groups, err := json.Marshal(v.Groups)
	if err != nil {
		return Verification{}, fmt.Errorf("tenant: the groups of the verification policy: %w", err)
	}
	err = s.db.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO verification (tenant_id, administrators, group_names, percent, let_in_alone, changed_at)
			VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id) DO UPDATE SET administrators = excluded.administrators,
			group_names = excluded.group_names, percent = excluded.percent, let_in_alone = excluded.let_in_alone, changed_at = excluded.changed_at`,
			id, v.Administrators, string(groups), int64(v.Percent), v.LetInAlone, db.Millis(now))
		if err != nil {
			return err
		}
		return s.record(ctx, tx, id, Event{What: "verification.set", Detail: fmt.Sprintf("administrators: %t, share: %d %%, let in alone: %t, groups: %s",
			v.Administrators, v.Percent, v.LetInAlone, groups)}, now)
	})
	if err := db.Translate(err); err != nil {
		if errors.Is(err, db.ErrReference) {
			return Verification{}, noTenant(id)
		}
		return Verification{}, fmt.Errorf("tenant: storing the verification policy: %w", err)
	}
	return v, nil
}
