package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/repeat"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// The kinds of events.
const (
	AgentRegistered  = "agent.registered"
	AgentApproved    = "agent.approved"
	AgentDenied      = "agent.denied"
	AgentQuarantined = "agent.quarantined"
	PolicyChanged    = "registration.policy"
)

// Event is something to tell. Texts that agents or people wrote are cut and cleaned; none is a secret.
type Event struct {
	Kind string `json:"kind"`
	// Agent and its facts, as far as they are known; empty for events of no agent.
	Agent       string `json:"agent,omitempty"`
	Name        string `json:"name,omitempty"`
	Host        string `json:"host,omitempty"`
	OS          string `json:"os,omitempty"`
	Address     string `json:"address,omitempty"`
	Directory   string `json:"directory,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	// State is the agent's after the event.
	State string `json:"state,omitempty"`
	// By is who did it, or vouched for it; Detail is for people.
	By     string `json:"by,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Message is what channels deliver: the body of a webhook.
type Message struct {
	// ID is the same in every repetition.
	ID string    `json:"id"`
	At time.Time `json:"at"`
	Event
	Tenant     string `json:"tenant"`
	TenantName string `json:"tenant_name"`
	// Page is where an administrator acts on it; empty where there is nothing to do.
	Page string `json:"page,omitempty"`
}

// Put writes an event into the outbox, in the transaction of the change that it tells of: both happen, or neither.
func Put(ctx context.Context, tx db.Querier, scope tenant.Scope, e Event, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	for _, s := range []*string{&e.Kind, &e.Agent, &e.Name, &e.Host, &e.OS, &e.Address, &e.Directory, &e.Fingerprint, &e.State, &e.By, &e.Detail} {
		*s = clean(*s)
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("notify: an event: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM notification WHERE tenant_id = $1 AND id IN
		(SELECT id FROM notification WHERE tenant_id = $1 ORDER BY id DESC LIMIT 100000 OFFSET $2)`, tenantID, maxWaiting-1); err != nil {
		return fmt.Errorf("notify: making room: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO notification (id, tenant_id, event, done, tries, next_at, created_at) VALUES ($1, $2, $3, '', 0, $4, $4)`,
		db.NewID(), tenantID, string(body), db.Millis(now)); err != nil {
		return fmt.Errorf("notify: storing an event: %w", err)
	}
	return nil
}

// clean makes one bounded line of a text.
func clean(s string) string {
	n := 0
	return strings.Map(func(c rune) rune {
		if n++; n > maxText || c == unicode.ReplacementChar {
			return -1
		}
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s)
}

// channel is a way to administrators.
type channel interface {
	name() string
	// deliver returns once the message was taken.
	deliver(ctx context.Context, scope tenant.Scope, m Message) error
}

// Config says where to deliver. DB, Tenants and PublicURL are needed.
type Config struct {
	DB      *db.DB
	Tenants *tenant.Store
	// PublicURL is where browsers reach the service.
	PublicURL string
	// Webhook and Mail are delivered to beside the log; nil: not.
	Webhook *Webhook
	Mail    *Mail
	// Logger gets every event at warn level, and failures; nil discards.
	Logger *slog.Logger
	// Metrics registers the counters; nil registers nothing.
	Metrics prometheus.Registerer
}

// Notifier empties the outbox.
type Notifier struct {
	cfg         Config
	channels    []channel
	log         *slog.Logger
	deliveries  *prometheus.CounterVec
	undelivered prometheus.Gauge
}

// New returns a Notifier; [Notifier.Run] makes it work.
func New(c Config) *Notifier {
	n := &Notifier{cfg: c, log: c.Logger}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.channels = []channel{logChannel{n.log}}
	if c.Webhook != nil {
		n.channels = append(n.channels, c.Webhook)
	}
	if c.Mail != nil {
		n.channels = append(n.channels, c.Mail)
	}
	n.deliveries = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_notifications_total",
		Help: "Deliveries of notifications by channel (log, webhook, mail) and outcome (delivered, failed, given-up)."}, []string{"channel", "outcome"})
	n.undelivered = prometheus.NewGauge(prometheus.GaugeOpts{Name: "sallyport_notifications_undelivered",
		Help: "Notifications that failed at least once and are tried again."})
	for _, ch := range n.channels { // what is not there yet cannot be seen to grow
		for _, outcome := range []string{"delivered", "failed", "given-up"} {
			n.deliveries.WithLabelValues(ch.name(), outcome)
		}
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(n.deliveries, n.undelivered)
	}
	return n
}

// Run delivers what is due until ctx ends, and then returns its error.
func (n *Notifier) Run(ctx context.Context) error {
	repeat.Every(ctx, lookEvery, n.look, func(err error) {
		n.log.WarnContext(ctx, "the outbox of notifications could not be worked on", "error", err)
	})
	return ctx.Err()
}

// row is a line of the outbox.
type row struct {
	id       string
	scope    tenant.Scope
	event    Event
	done     []string
	tries    int
	next     int64
	created  time.Time
	failures []string // channels that failed in this round
	broken   error    // why the event cannot be read
}

// look takes what is due, delivers it and writes down what is left.
func (n *Notifier) look(ctx context.Context) error {
	rows, err := n.due(ctx, time.Now())
	if err != nil {
		return err
	}
	silent := map[string]bool{}
	for _, r := range rows {
		mine, err := n.claim(ctx, r, time.Now())
		if err != nil {
			return err
		}
		if !mine {
			continue
		}
		if err := n.deliver(ctx, &r, silent); err != nil {
			return err
		}
		if err := n.settle(ctx, r, time.Now()); err != nil {
			return err
		}
	}
	var waiting int
	if err := n.cfg.DB.Reader().QueryRowContext(ctx, `SELECT count(*) FROM notification WHERE tries > 0`).Scan(&waiting); err != nil {
		return fmt.Errorf("notify: counting: %w", err)
	}
	n.undelivered.Set(float64(waiting))
	return nil
}

// due reads the outbox of all tenants: each row names its own.
func (n *Notifier) due(ctx context.Context, now time.Time) ([]row, error) {
	out, err := db.Collect(ctx, n.cfg.DB.Reader(), func(stored db.Scanner) (r row, err error) {
		var tenantID, event, done string
		var created int64
		if err := stored.Scan(&r.id, &tenantID, &event, &done, &r.tries, &r.next, &created); err != nil {
			return row{}, err
		}
		if err := json.Unmarshal([]byte(event), &r.event); err != nil {
			r.broken = fmt.Errorf("notify: event %s: %w", r.id, err) // one is no reason to keep the others
		}
		r.scope, r.done, r.created = tenant.ScopeOf(tenantID), strings.Fields(done), db.Time(created)
		return r, nil
	}, `SELECT id, tenant_id, event, done, tries, next_at, created_at FROM notification WHERE next_at <= $1 ORDER BY next_at, id LIMIT $2`, db.Millis(now), atOnce)
	if err != nil {
		return nil, fmt.Errorf("notify: reading the outbox: %w", err)
	}
	return out, nil
}

// claim makes a row this process's for a while; false: another was faster.
func (n *Notifier) claim(ctx context.Context, r row, now time.Time) (mine bool, err error) {
	err = n.cfg.DB.Write(ctx, func(tx db.Querier) error {
		result, err := tx.ExecContext(ctx, `UPDATE notification SET next_at = $1 WHERE tenant_id = $2 AND id = $3 AND next_at = $4`,
			db.Millis(now.Add(lease)), r.scope.String(), r.id, r.next)
		if err != nil {
			return fmt.Errorf("notify: claiming an event: %w", err)
		}
		count, err := result.RowsAffected()
		mine = count == 1
		return err
	})
	return mine, err
}

// deliver gives the event to every channel that has not taken it. What fails is logged, with the one number of all such failures. A channel
// whose time ran out is left alone for the rest of the look, which silent remembers, so that it holds up nobody else's news.
func (n *Notifier) deliver(ctx context.Context, r *row, silent map[string]bool) error {
	if r.broken != nil {
		r.failures = append(r.failures, "all")
		n.log.ErrorContext(ctx, "notification not delivered", "code", int(wire.Undelivered), "event", r.id, "tries", r.tries+1, "error", r.broken)
		return nil
	}
	t, err := n.cfg.Tenants.TenantByID(ctx, r.scope.String())
	if err != nil {
		return fmt.Errorf("notify: the tenant of event %s: %w", r.id, err)
	}
	m := Message{ID: r.id, At: r.created, Event: r.event, Tenant: t.ID, TenantName: t.Name}
	if d, err := n.cfg.Tenants.Directory(ctx, r.scope, r.event.Directory); err == nil {
		m.Directory = d.Name // else its id has to do
	}
	if r.event.State == "pending" {
		m.Page = n.cfg.PublicURL + "/t/" + t.Name + "/register/agent/" + r.event.Agent
	}
	for _, ch := range n.channels {
		if slices.Contains(r.done, ch.name()) {
			continue
		}
		if silent[ch.name()] {
			r.failures = append(r.failures, ch.name())
			continue
		}
		within, cancel := context.WithTimeout(ctx, deliverWithin)
		err := ch.deliver(within, r.scope, m)
		late := within.Err() != nil
		cancel()
		if err == nil {
			r.done = append(r.done, ch.name())
			n.deliveries.WithLabelValues(ch.name(), "delivered").Inc()
			continue
		}
		silent[ch.name()] = late
		r.failures = append(r.failures, ch.name())
		n.deliveries.WithLabelValues(ch.name(), "failed").Inc()
		n.log.ErrorContext(ctx, "notification not delivered", "code", int(wire.Undelivered), "channel", ch.name(), "event", r.id, "kind", r.event.Kind,
			"tenant", t.Name, "tries", r.tries+1, "error", err)
	}
	return nil
}

// next is the rule of what becomes of an event after a round: gone, given up, or tried again at a time.
func next(failed bool, tries int, created, now time.Time) (again time.Time, givenUp bool) {
	switch {
	case !failed:
		return time.Time{}, false
	case now.Sub(created) >= keep:
		return time.Time{}, true
	}
	pause := longestPause
	if tries < 16 {
		pause = min(firstPause<<tries, longestPause)
	}
	return now.Add(pause), false
}

func (n *Notifier) settle(ctx context.Context, r row, now time.Time) error {
	again, givenUp := next(len(r.failures) > 0, r.tries, r.created, now)
	if givenUp {
		for _, ch := range r.failures {
			if r.broken != nil {
				break // no channel has seen it
			}
			n.deliveries.WithLabelValues(ch, "given-up").Inc()
		}
		n.log.ErrorContext(ctx, "notification given up", "code", int(wire.Undelivered), "channels", r.failures, "event", r.id, "kind", r.event.Kind)
	}
	// Also when the process is being stopped: what was delivered should not be delivered again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deliverWithin)
	defer cancel()
	return n.cfg.DB.Write(ctx, func(tx db.Querier) error {
		var err error
		if again.IsZero() {
			_, err = tx.ExecContext(ctx, `DELETE FROM notification WHERE tenant_id = $1 AND id = $2`, r.scope.String(), r.id)
		} else {
			_, err = tx.ExecContext(ctx, `UPDATE notification SET done = $1, tries = $2, next_at = $3 WHERE tenant_id = $4 AND id = $5`,
				strings.Join(r.done, " "), r.tries+1, db.Millis(again), r.scope.String(), r.id)
		}
		if err != nil {
			return fmt.Errorf("notify: settling an event: %w", err)
		}
		return nil
	})
}

// logChannel is the service's own log.
type logChannel struct{ log *slog.Logger }

func (logChannel) name() string { return "log" }

func (l logChannel) deliver(ctx context.Context, _ tenant.Scope, m Message) error {
	l.log.WarnContext(ctx, "notification", "event", m.ID, "kind", m.Kind, "tenant", m.TenantName, "agent", m.Agent, "name", m.Name, "host", m.Host,
		"address", m.Address, "directory", m.Directory, "state", m.State, "by", m.By, "detail", m.Detail, "page", m.Page)
	return nil
}
