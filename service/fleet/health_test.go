package fleet

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// says is a sign of life with a report.
func (f fixture) says(t *testing.T, a Agent, r *Report, at time.Time) {
	t.Helper()
	if err := f.Seen(t.Context(), f.a, a.ID, Sighting{Host: a.Host, Attached: true, Report: r}, at); err != nil {
		t.Fatal(err)
	}
}

func (f fixture) condition(t *testing.T, a Agent, at time.Time) Condition {
	t.Helper()
	all, err := f.Healths(t.Context(), f.a)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := Judge(all[a.ID].Of(a), at)
	return c
}

// TestConditionsAreWrittenDown: what an agent reports makes its condition, each change of it is told once, and silence is noticed.
func TestConditionsAreWrittenDown(t *testing.T) {
	f := setUp(t)
	a, _ := f.enrol(t, f.a, f.dirA, "one")
	if got := f.condition(t, a, f.now); got != Inactive {
		t.Errorf("before it attached: %s", got)
	}
	now := f.now
	down := &Report{InFlight: 3, Slots: 8, Servers: []ServerReport{{Address: "dc1:636", State: "down"}}, LastError: "no route", LastErrorAt: now.UTC().Truncate(time.Second)}
	f.says(t, a, nil, now)                     // attached, and has not told yet
	f.says(t, a, &Report{Version: "1"}, now)   // well
	f.says(t, a, down, now.Add(time.Minute))   // degraded
	f.says(t, a, down, now.Add(2*time.Minute)) // still
	f.says(t, a, nil, now.Add(2*time.Minute))  // another stream, which keeps what is known
	all, err := f.Healths(t.Context(), f.a)
	if err != nil {
		t.Fatal(err)
	}
	if got := all[a.ID]; got.Report.LastError != "no route" || !got.Report.LastErrorAt.Equal(down.LastErrorAt) || got.Report.InFlight != 3 ||
		!got.Since.Equal(now.Add(time.Minute).Truncate(time.Millisecond)) {
		t.Errorf("%+v", got)
	}
	f.says(t, a, &Report{}, now.Add(3*time.Minute)) // well again
	connect := func(stream string, n uint64) {
		if _, err := f.Connect(t.Context(), f.a, a.ID, Connection{Stream: stream, Serial: a.CertificateSerial, Counter: n}, now); err != nil {
			t.Fatal(err)
		}
	}
	connect("first", 1)
	connect("second", 2)
	at := now.Add(3 * time.Minute)
	for _, left := range []string{"first", "second"} { // the first was replaced: its end means nothing
		if err := f.Left(t.Context(), f.a, a.ID, left, at); err != nil {
			t.Fatal(err)
		}
		if all, _ = f.Healths(t.Context(), f.a); (left == "second") != !all[a.ID].Gone.IsZero() {
			t.Errorf("%s left: %+v", left, all[a.ID])
		}
	}
	for _, look := range []struct {
		after time.Duration
		want  int
	}{{goneAfter - time.Second, 0}, {goneAfter, 1}, {goneAfter, 0}} {
		if n, err := f.Review(t.Context(), at.Add(look.after)); err != nil || n != look.want {
			t.Errorf("%v after it left: %d, %v", look.after, n, err)
		}
	}
	f.says(t, a, nil, at.Add(time.Hour))
	if n, err := f.Review(t.Context(), at.Add(time.Hour).Add(silentAfter)); err != nil || n != 1 { // its gateway was killed
		t.Errorf("silent: %d, %v", n, err)
	}
	var events, details []string
	moments, err := f.History(t.Context(), f.a, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range moments {
		events, details = append(events, m.Event), append(details, m.Detail)
	}
	if want := []string{"inactive", "active", "inactive", "active", "degraded", "register"}; !slices.Equal(events, want) || !strings.Contains(details[4], "dc1:636") {
		t.Errorf("history %q %q, want %q", events, details, want)
	}
}

// TestForgottenAgents: an agent of which nothing was heard for ten days leaves the list, unless somebody has to decide about it, and
// stays in the record.
func TestForgottenAgents(t *testing.T) {
	f := setUp(t)
	old, _ := f.enrol(t, f.a, f.dirA, "old")
	frozen, _ := f.enrol(t, f.a, f.dirA, "frozen")
	live, _ := f.enrol(t, f.a, f.dirA, "live")
	if _, err := f.Quarantine(t.Context(), f.a, frozen.ID, Clone, "seen twice", f.now); err != nil {
		t.Fatal(err)
	}
	now := f.now.Add(ForgetAfter + time.Hour)
	f.says(t, live, nil, now.Add(-ForgetAfter+time.Minute))
	ids := func(since time.Time) (ids []string) {
		all, err := f.ListHeard(t.Context(), f.a, since, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range all {
			ids = append(ids, a.ID)
		}
		return ids
	}
	if got := ids(now.Add(-ForgetAfter)); !slices.Equal(got, []string{frozen.ID, live.ID}) {
		t.Errorf("heard of: %q", got)
	}
	if got := ids(time.Time{}); !slices.Equal(got, []string{old.ID, frozen.ID, live.ID}) {
		t.Errorf("all: %q", got)
	}
	if _, err := f.ByID(t.Context(), f.a, old.ID); err != nil {
		t.Error(err)
	}
}

func TestHealthIsATenants(t *testing.T) {
	f := setUp(t)
	a, _ := f.enrol(t, f.a, f.dirA, "one")
	f.says(t, a, &Report{Version: "1"}, f.now)
	if all, err := f.Healths(t.Context(), f.b); err != nil || len(all) != 0 {
		t.Errorf("another tenant reads %v, %v", all, err)
	}
	want(t, "a sign of life from another tenant", f.Seen(t.Context(), f.b, a.ID, Sighting{Attached: true}, f.now), wire.NotFound)
	want(t, "an end from another tenant", f.Left(t.Context(), f.b, a.ID, "x", f.now), wire.NotFound)
	_, heard := f.ListHeard(t.Context(), tenant.Scope{}, f.now, "", 0)
	_, healths := f.Healths(t.Context(), tenant.Scope{})
	for what, err := range map[string]error{"ListHeard": heard, "Healths": healths, "Left": f.Left(t.Context(), tenant.Scope{}, a.ID, "x", f.now)} {
		if err != tenant.ErrNoScope {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestOneProcessProbes: a due probe is done by one of all processes, and only of agents that are served, there, and of a directory with a
// canary; failures are kept in a row, and told to gateways.
func TestOneProcessProbes(t *testing.T) {
	f := setUp(t)
	ctx := t.Context()
	a, _ := f.enrol(t, f.a, f.dirA, "one")
	drained, _ := f.enrol(t, f.a, f.dirA, "two")
	gone, _ := f.enrol(t, f.a, f.dirA, "three")
	for _, x := range []Agent{a, drained, gone} {
		f.says(t, x, nil, f.now)
	}
	if _, err := f.Drain(ctx, f.a, drained.ID, f.now); err != nil {
		t.Fatal(err)
	}
	if err := f.Left(ctx, f.a, gone.ID, "", f.now); err != nil {
		t.Fatal(err)
	}
	due := func(at time.Time) []Due {
		t.Helper()
		all, err := f.DueProbes(ctx, at, 10)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got := due(f.now); len(got) != 0 {
		t.Errorf("without a canary: %+v", got)
	}
	if err := f.db.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO directory_canary (directory_id, tenant_id, name, changed_at) VALUES ($1, $2, '[]', 0)`, f.dirA, f.a.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	got := due(f.now)
	if len(got) != 1 || got[0].Agent != a.ID || got[0].Scope != f.a || got[0].Directory != f.dirA {
		t.Fatalf("%+v", got)
	}
	for i, mine := range []bool{true, false} {
		if ok, err := f.Claim(ctx, got[0], f.now.Add(time.Minute)); err != nil || ok != mine {
			t.Errorf("claim %d: %v, %v", i, ok, err)
		}
	}
	if got := due(f.now.Add(59 * time.Second)); len(got) != 0 {
		t.Errorf("claimed and due: %+v", got)
	}
	if got := due(f.now.Add(time.Minute)); len(got) != 1 {
		t.Errorf("a minute later: %+v", got)
	}
	failing := func() bool {
		ref := AgentRef{f.a, a.ID, a.CertificateSerial}
		all, err := f.Standing(ctx, []AgentRef{ref}, f.now)
		if err != nil {
			t.Fatal(err)
		}
		return all[ref].Failing
	}
	for i, c := range []struct {
		code wire.Code
		sure bool
		want Condition
	}{{0, false, Well}, {wire.DirectoryTimeout, false, Well}, {wire.DirectoryTimeout, false, Degraded}, {0, false, Well}, {wire.AnswerForged, true, Degraded}} {
		if err := f.Probed(ctx, f.a, a.ID, Probe{At: f.now, Took: time.Millisecond, Code: c.code, Detail: "x"}, c.sure); err != nil {
			t.Fatal(err)
		}
		if got := f.condition(t, a, f.now); got != c.want || failing() != (c.want == Degraded) {
			t.Errorf("probe %d: %s, failing %v", i, got, failing())
		}
	}
	want(t, "a probe of another tenant's", f.Probed(ctx, f.b, a.ID, Probe{At: f.now}, false), wire.NotFound)
	if err := f.Unprobed(ctx, f.a, f.dirB, f.now); err != nil || f.condition(t, a, f.now) != Degraded {
		t.Errorf("forgotten of another directory: %s, %v", f.condition(t, a, f.now), err)
	}
	if err := f.Unprobed(ctx, f.a, f.dirA, f.now); err != nil || f.condition(t, a, f.now) != Well || failing() {
		t.Errorf("forgotten: %s, %v", f.condition(t, a, f.now), err)
	}
	_, claim := f.Claim(ctx, Due{}, f.now)
	for what, err := range map[string]error{"Claim": claim, "Probed": f.Probed(ctx, tenant.Scope{}, a.ID, Probe{}, false), "Unprobed": f.Unprobed(ctx, tenant.Scope{}, "", f.now)} {
		if err != tenant.ErrNoScope {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestShutOutAgentsAreReviewedOnce: they would take the turns of others for ever.
func TestShutOutAgentsAreReviewedOnce(t *testing.T) {
	f := setUp(t)
	a, _ := f.enrol(t, f.a, f.dirA, "dc1")
	f.says(t, a, nil, f.now)
	if err := f.Revoke(t.Context(), f.a, a.ID, "", f.now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		if n, err := f.Review(t.Context(), f.now.Add(time.Hour)); n != want || err != nil {
			t.Errorf("%d agents, not %d: %v", n, want, err)
		}
	}
}

func TestHistoryIsBounded(t *testing.T) {
	f := setUp(t)
	a, _ := f.enrol(t, f.a, f.dirA, "dc1")
	b, _ := f.enrol(t, f.a, f.dirA, "dc2")
	tenantID, err := f.a.ID()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.db.Write(t.Context(), func(tx db.Querier) error {
		for range historyKept + 5 {
			if err := insertHistory(t.Context(), tx, tenantID, a.ID, "degraded", "", f.now); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]int{a.ID: historyKept, b.ID: 1} {
		var n int
		if err := f.db.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM agent_history WHERE agent_id = $1`, id).Scan(&n); err != nil || n != want {
			t.Errorf("%d lines, not %d: %v", n, want, err)
		}
	}
}
