package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/repeat"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Health is what is known of how an agent does.
type Health struct {
	// Facts but for State and Skew, which stand with the [Agent].
	Facts
	// Since is when the condition last changed.
	Since time.Time

	condition Condition // when it was last looked at
}

const healthColumns = `h.reported_at, h.gone_at, h.report, h.condition, h.condition_since, h.probed_at, h.probe_us, h.probe_code, h.probe_detail, h.probe_failures`

func scanHealth(row db.Scanner, more ...any) (Health, error) {
	var h Health
	var report, condition string
	var reported, gone, since, probed, took, code int64
	if err := row.Scan(append(more, &reported, &gone, &report, &condition, &since, &probed, &took, &code, &h.Probe.Detail, &h.Probe.Failures)...); err != nil {
		return Health{}, fmt.Errorf("fleet: reading an agent's health: %w", err)
	}
	if report != "" {
		if err := json.Unmarshal([]byte(report), &h.Report); err != nil {
			return Health{}, fmt.Errorf("fleet: the report of an agent: %w", err)
		}
	}
	h.Reported, h.Gone, h.Since, h.condition = db.Time(reported), db.Time(gone), db.Time(since), Condition(condition)
	h.Probe.At, h.Probe.Took, h.Probe.Code = db.Time(probed), time.Duration(took)*time.Microsecond, wire.Code(code)
	return h, nil
}

// Of adds what stands with the agent, so that the two can be judged together.
func (h Health) Of(a Agent) Facts {
	f := h.Facts
	f.State, f.Skew = a.State, a.Skew
	return f
}

// Healths returns what is known of a tenant's agents, by their ids; one that has never attached is missing.
func (s *Store) Healths(ctx context.Context, scope tenant.Scope) (map[string]Health, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Reader().QueryContext(ctx, `SELECT h.agent_id, `+healthColumns+` FROM agent_health h WHERE h.tenant_id = $1`, tenantID)
	if err != nil {
		return nil, fmt.Errorf("fleet: reading the agents' health: %w", err)
	}
	defer rows.Close()
	out := map[string]Health{}
	for rows.Next() {
		var id string
		h, err := scanHealth(rows, &id)
		if err != nil {
			return nil, err
		}
		out[id] = h
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("fleet: reading the agents' health: %w", err)
	}
	return out, nil
}

// ListHeard is [Store.List] without the agents of which nothing was heard since a moment: those that nobody misses. Quarantined ones
// stay, since somebody has to decide about them.
func (s *Store) ListHeard(ctx context.Context, scope tenant.Scope, since time.Time, after string, limit int) ([]Agent, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = defaultPage
	}
	return queryAgents(ctx, s.db.Reader(), `SELECT `+agentColumns+` FROM agent WHERE tenant_id = $1 AND id > $2
		AND (last_seen >= $3 OR created_at >= $3 OR changed_at >= $3 OR state = $4) ORDER BY id LIMIT $5`,
		tenantID, after, db.Millis(since), string(Quarantined), min(limit, maxPage))
}

// heard writes a sign of life of an attached agent, and what it makes of the agent's condition.
func (s *Store) heard(ctx context.Context, tx db.Querier, tenantID, id string, r *Report, now time.Time) error {
	report := ""
	if r != nil {
		text, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("fleet: encoding a report: %w", err)
		}
		report = string(text)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO agent_health (agent_id, tenant_id, reported_at, report) VALUES ($1, $2, $3, $4)
		ON CONFLICT (agent_id) DO UPDATE SET reported_at = excluded.reported_at, gone_at = 0,
		report = CASE WHEN excluded.report = '' THEN agent_health.report ELSE excluded.report END`, id, tenantID, db.Millis(now), report); err != nil {
		return fmt.Errorf("fleet: writing an agent's report: %w", err)
	}
	return review(ctx, tx, tenantID, id, now)
}

// review judges one agent anew and writes the change down, if there is one.
func review(ctx context.Context, tx db.Querier, tenantID, id string, now time.Time) error {
	h, err := scanHealth(tx.QueryRowContext(ctx, `SELECT `+healthColumns+` FROM agent_health h WHERE h.tenant_id = $1 AND h.agent_id = $2`, tenantID, id))
	if db.NoRow(err) {
		return nil
	} else if err != nil {
		return err
	}
	a, err := oneAgent(ctx, tx, tenantID, id)
	if err != nil {
		return err
	}
	next, reason := Judge(h.Of(a), now)
	since := h.Since
	if next != h.condition {
		since = now
	}
	if _, err := tx.ExecContext(ctx, `UPDATE agent_health SET condition = $1, condition_reason = $2, condition_since = $3 WHERE tenant_id = $4 AND agent_id = $5`,
		string(next), clip(reason, maxReason), db.Millis(since), tenantID, id); err != nil {
		return fmt.Errorf("fleet: writing an agent's condition: %w", err)
	}
	if !told(h.condition, next) {
		return nil
	}
	return insertHistory(ctx, tx, tenantID, id, string(next), reason, now)
}

// Left notes that an agent's stream has ended, unless it has a newer one. Fault [wire.NotFound].
func (s *Store) Left(ctx context.Context, scope tenant.Scope, id, stream string, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx db.Querier) error {
		a, err := oneAgent(ctx, tx, tenantID, id)
		if err != nil || a.holder != stream {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE agent_health SET gone_at = $1 WHERE tenant_id = $2 AND agent_id = $3 AND gone_at = 0`,
			db.Millis(now), tenantID, id); err != nil {
			return fmt.Errorf("fleet: noting that an agent left: %w", err)
		}
		return nil
	})
}

// Run notices agents that fell silent, which nobody reports, until ctx ends. Several processes may do so at once.
func (s *Store) Run(ctx context.Context) error {
	repeat.Every(ctx, reviewEvery, func(ctx context.Context) error {
		_, err := s.Review(ctx, time.Now())
		return err
	}, func(err error) { s.logger().Error("agents that fell silent could not be looked for", "err", err) })
	return nil
}

// Review judges the agents anew of which nothing was heard for too long, of all tenants, and returns how many there were: each is
// judged under its own tenant.
func (s *Store) Review(ctx context.Context, now time.Time) (int, error) {
	type one struct{ tenant, agent string }
	// Those that are shut out stay silent: were they looked at for ever, enough of them would take the turns of all others.
	silent, err := db.Collect(ctx, s.db.Reader(), func(row db.Scanner) (x one, err error) { err = row.Scan(&x.tenant, &x.agent); return x, err }, `SELECT tenant_id, agent_id FROM agent_health
		WHERE condition NOT IN ($1, $2, $3, $4) AND (reported_at <= $5 OR gone_at > 0 AND gone_at <= $6) ORDER BY agent_id LIMIT $7`,
		string(Inactive), string(Pending), string(Quarantined), string(Revoked), db.Millis(now.Add(-silentAfter)), db.Millis(now.Add(-goneAfter)), reviewMost)
	if err != nil {
		return 0, fmt.Errorf("fleet: looking for silent agents: %w", err)
	}
	for _, x := range silent {
		err := s.db.Write(ctx, func(tx db.Querier) error { return review(ctx, tx, x.tenant, x.agent, now) })
		if err != nil && !fault.Has(err, wire.NotFound) {
			return 0, err
		}
	}
	return len(silent), nil
}

// Probed writes down how a probe of an agent went, and what that makes of its condition. A probe that failed for sure (it said no to a right
// password) counts as many. Fault [wire.NotFound].
func (s *Store) Probed(ctx context.Context, scope tenant.Scope, id string, p Probe, sure bool) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	kept, more := 1, 1
	switch {
	case p.Code == 0:
		kept, more = 0, 0
	case sure:
		more = probesFailed
	}
	return s.db.Write(ctx, func(tx db.Querier) error {
		if err := affected(tx.ExecContext(ctx, `UPDATE agent_health SET probed_at = $1, probe_us = $2, probe_code = $3, probe_detail = $4,
			probe_failures = probe_failures * $5 + $6 WHERE tenant_id = $7 AND agent_id = $8`,
			db.Millis(p.At), p.Took.Microseconds(), int64(p.Code), clip(p.Detail, maxReason), kept, more, tenantID, id)); err != nil {
			return err
		}
		return review(ctx, tx, tenantID, id, p.At)
	})
}

// Unprobed forgets the probes of a directory's agents, when nobody probes them any more.
func (s *Store) Unprobed(ctx context.Context, scope tenant.Scope, directory string, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	agents, err := s.List(ctx, scope, "", maxPage)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx db.Querier) error {
		for _, a := range agents {
			if a.DirectoryID != directory {
				continue
			}
			if _, err := tx.ExecContext(ctx, `UPDATE agent_health SET probed_at = 0, probe_us = 0, probe_code = 0, probe_detail = '', probe_failures = 0
				WHERE tenant_id = $1 AND agent_id = $2`, tenantID, a.ID); err != nil {
				return fmt.Errorf("fleet: forgetting an agent's probes: %w", err)
			}
			if err := review(ctx, tx, tenantID, a.ID, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// Due is an agent whose probe is due.
type Due struct {
	Scope            tenant.Scope
	Agent, Directory string

	due int64
}

// DueProbes returns agents that are served, have a stream and a directory with a canary, and whose probe is due: of all tenants, each with
// its scope, those that wait longest first.
func (s *Store) DueProbes(ctx context.Context, now time.Time, limit int) ([]Due, error) {
	out, err := db.Collect(ctx, s.db.Reader(), func(row db.Scanner) (d Due, err error) {
		var tenantID string
		err = row.Scan(&tenantID, &d.Agent, &d.Directory, &d.due)
		d.Scope = tenant.ScopeOf(tenantID)
		return d, err
	}, `SELECT h.tenant_id, h.agent_id, a.directory_id, h.probe_due FROM agent_health h
		JOIN agent a ON a.id = h.agent_id JOIN directory_canary c ON c.directory_id = a.directory_id
		WHERE a.state = $1 AND h.gone_at = 0 AND h.reported_at > $2 AND h.probe_due <= $3 ORDER BY h.probe_due LIMIT $4`,
		string(Active), db.Millis(now.Add(-silentAfter)), db.Millis(now), limit)
	if err != nil {
		return nil, fmt.Errorf("fleet: looking for due probes: %w", err)
	}
	return out, nil
}

// Claim moves a due probe on to next. It is true for one of all processes that try: that one probes.
func (s *Store) Claim(ctx context.Context, d Due, next time.Time) (mine bool, err error) {
	tenantID, err := d.Scope.ID()
	if err != nil {
		return false, err
	}
	err = s.db.Write(ctx, func(tx db.Querier) error {
		r, err := tx.ExecContext(ctx, `UPDATE agent_health SET probe_due = $1 WHERE tenant_id = $2 AND agent_id = $3 AND probe_due = $4`,
			db.Millis(next), tenantID, d.Agent, d.due)
		if err != nil {
			return fmt.Errorf("fleet: claiming a probe: %w", err)
		}
		n, err := r.RowsAffected()
		mine = n == 1
		return err
	})
	return mine && err == nil, err
}
