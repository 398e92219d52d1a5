package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// TestPendingAgentWaits: it registers, is told to wait, is offered no work, and comes by itself once it is approved.
func TestPendingAgentWaits(t *testing.T) {
	w := newWorld(t)
	if err := tenant.NewStore(w.db).SetApproval(t.Context(), w.scope, tenant.ApprovalNeeded, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	d := w.gateway(w.queue(""), nil)
	m := w.register(d, "waits")
	if !m.answer.Pending {
		t.Error("the agent is not told that it is pending")
	}
	a := w.dial(m, 1, yes)
	until(t, "told to wait", func() bool {
		s := a.Status()
		return s.State == link.Waiting && strings.Contains(s.LastError, wire.AgentPending.String())
	})
	if r := w.check(t.Context(), d.queue, "r1"); !fault.Has(r.err, wire.NoAgent) {
		t.Errorf("a pending agent is offered: %s", r)
	}
	if _, err := w.fleet.Approve(t.Context(), w.scope, m.answer.AgentID, "", fleet.Actor{User: "ada"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	until(t, "attached", func() bool { return a.Status().State == link.Attached })
}
