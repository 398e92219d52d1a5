package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/gateway"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

func TestTheRightPath(t *testing.T) {
	w := newWorld(t)
	registry := prometheus.NewRegistry()
	d := w.gateway(w.queue(""), func(c *gateway.Config) { c.Metrics = registry })
	if r := w.check(t.Context(), d.queue, "r0"); !fault.Has(r.err, wire.NoAgent) {
		t.Errorf("without an agent: %s", r)
	}
	m := w.register(d, "a1")
	a := w.attach(m, 4, yes)
	r := w.check(t.Context(), d.queue, "r1")
	if r.err != nil || string(r.outcome.Sealed) != "yes sealed" || !r.fenced || r.offer.Agent != m.answer.AgentID || r.offer.Gateway != d.ID() {
		t.Fatalf("%s", r)
	}
	if got := d.Attached(w.scope); len(got) != 1 || got[0] != m.answer.AgentID {
		t.Errorf("attached: %v", got)
	}
	if got := d.Attached(tenant.ScopeOf("other")); len(got) != 0 || len(d.Attached(tenant.Scope{})) != 0 {
		t.Errorf("attached to another tenant: %v", got)
	}
	until(t, "the agent to have been seen", func() bool {
		row, err := w.fleet.ByID(t.Context(), w.scope, m.answer.AgentID)
		return err == nil && !row.LastSeen.IsZero() && row.Address == "127.0.0.1" && row.Host == "h"
	})
	if st := a.Status(); st.Gateway != d.ID() || st.Slots != 4 || st.Checks != 1 {
		t.Errorf("status %+v", st)
	}
	want := `
# HELP sallyport_gateway_attached_agents Agents with a stream to this gateway.
# TYPE sallyport_gateway_attached_agents gauge
sallyport_gateway_attached_agents 1
# HELP sallyport_gateway_deliveries_total Checks handled, by outcome: answered, refused, lost, fence_denied, given_up, no_slot, repeated.
# TYPE sallyport_gateway_deliveries_total counter
sallyport_gateway_deliveries_total{outcome="answered"} 1
sallyport_gateway_deliveries_total{outcome="fence_denied"} 0
sallyport_gateway_deliveries_total{outcome="given_up"} 0
sallyport_gateway_deliveries_total{outcome="lost"} 0
sallyport_gateway_deliveries_total{outcome="no_slot"} 0
sallyport_gateway_deliveries_total{outcome="refused"} 0
sallyport_gateway_deliveries_total{outcome="repeated"} 0
# HELP sallyport_gateway_slots_in_use Slots of agents that are reserved or have a check in flight.
# TYPE sallyport_gateway_slots_in_use gauge
sallyport_gateway_slots_in_use 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "sallyport_gateway_attached_agents",
		"sallyport_gateway_deliveries_total", "sallyport_gateway_slots_in_use"); err != nil {
		t.Error(err)
	}
	if err := a.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("link: %v", err)
	}
	until(t, "no agent", func() bool { return fault.Has(w.check(t.Context(), d.queue, "r2").err, wire.NoAgent) })
}

func TestRefusalsAndOtherEnds(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	w.attach(w.register(d, "a1"), 2, handlerFunc(func(_ context.Context, c *linkpb.Check, _ func(context.Context, []byte) ([]byte, error)) link.Reply {
		if c.GetDirectoryId() != w.directory || string(c.GetEnvelope()) != "sealed" {
			t.Errorf("check %v", c)
		}
		switch c.GetRequestId() {
		case "stale":
			return link.Reply{Refused: wire.EnvelopeStale, Detail: "old\x00"}
		case "strange":
			return link.Reply{Refused: 12345, Detail: strings.Repeat("x", 5000)}
		}
		return link.Reply{Sealed: []byte("trouble before the fence")}
	}))
	if r := w.check(t.Context(), d.queue, "stale"); r.outcome.Refused != wire.EnvelopeStale || r.outcome.Detail != "old " || r.fenced {
		t.Errorf("%s", r)
	}
	if r := w.check(t.Context(), d.queue, "strange"); r.outcome.Refused != wire.AgentRefused || len(r.outcome.Detail) > 400 || r.fenced {
		t.Errorf("%s", r)
	}
	if r := w.check(t.Context(), d.queue, "early"); string(r.outcome.Sealed) != "trouble before the fence" || r.fenced {
		t.Errorf("%s", r)
	}
}

func TestASlotServesOnlyWhomItWasOfferedTo(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	m := w.register(d, "a1")
	w.attach(m, 1, yes)
	offer, err := d.queue.Ask(t.Context(), w.scope, w.directory, queue.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	deliver := func(scope tenant.Scope, directory, agent, slot string) queue.Outcome {
		t.Helper()
		o, fenced, err := d.queue.Deliver(t.Context(), scope, offer.Gateway, queue.Delivery{Request: "r1", Directory: directory, Agent: agent,
			Slot: slot, Envelope: []byte("sealed")}, func([]byte) []byte { return []byte("go r1") })
		if err != nil || fenced && len(o.Sealed) == 0 {
			t.Errorf("fenced %v, %v", fenced, err)
		}
		return o
	}
	for name, o := range map[string]queue.Outcome{
		"another tenant":    deliver(tenant.ScopeOf("other"), w.directory, offer.Agent, offer.Slot),
		"another directory": deliver(w.scope, "other", offer.Agent, offer.Slot),
		"another agent":     deliver(w.scope, w.directory, "other", offer.Slot),
		"another slot":      deliver(w.scope, w.directory, offer.Agent, "other"),
	} {
		if o.Refused != wire.AgentsBusy {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if o := deliver(w.scope, w.directory, offer.Agent, offer.Slot); string(o.Sealed) != "yes sealed" {
		t.Errorf("the rightful one: %+v", o)
	}
	if o := deliver(w.scope, w.directory, offer.Agent, offer.Slot); o.Refused != wire.AgentsBusy {
		t.Errorf("a second time: %+v", o)
	}
}

func TestReleasedAndForgottenOffersComeBack(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	w.attach(w.register(d, "a1"), 1, yes)
	offer, err := d.queue.Ask(t.Context(), w.scope, w.directory, queue.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	d.queue.Release(offer.Gateway, offer.Slot)
	if _, err = d.queue.Ask(t.Context(), w.scope, w.directory, queue.Ask{}); err != nil {
		t.Fatalf("after the release: %v", err)
	}
	// That one is forgotten; its lease ends while the next ask waits.
	if r := w.check(t.Context(), d.queue, "r1"); string(r.outcome.Sealed) != "yes sealed" {
		t.Errorf("after the lease: %s", r)
	}
}

func TestAgentLostBeforeAndAfterTheFence(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	for _, fenced := range []bool{false, true} {
		m := w.register(d, fmt.Sprint("a", fenced))
		reached := make(chan struct{})
		release := make(chan struct{})
		w.attach(m, 1, handlerFunc(func(ctx context.Context, _ *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) link.Reply {
			if fenced {
				if _, err := fence(ctx, nonce); err != nil {
					t.Error(err)
				}
			}
			close(reached)
			<-release
			if !fenced {
				if _, err := fence(ctx, nonce); !errors.Is(err, link.ErrNoGo) {
					t.Errorf("a fence on a lost stream: %v", err)
				}
			}
			return link.Reply{Refused: wire.AgentRefused}
		}))
		go func() {
			<-reached
			if err := w.fleet.Remove(context.Background(), w.scope, m.answer.AgentID, time.Now()); err != nil {
				t.Error(err)
			}
		}()
		r := w.check(t.Context(), d.queue, "r1")
		close(release)
		if r.err != nil || !r.outcome.Lost || r.fenced != fenced {
			t.Errorf("fenced %v: %s", fenced, r)
		}
	}
}

func TestALateFenceGetsNoToken(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	inside, givenUp, fenceResult := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	cancelled := make(chan struct{})
	w.attach(w.register(d, "a1"), 1, handlerFunc(func(ctx context.Context, c *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) link.Reply {
		if c.GetRequestId() != "late" {
			return yes(ctx, c, fence)
		}
		close(inside)
		<-givenUp
		_, err := fence(context.Background(), nonce)
		fenceResult <- err
		<-ctx.Done() // the gateway has sent Cancel
		close(cancelled)
		return link.Reply{Refused: wire.AgentRefused}
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-inside; cancel() }()
	r := w.check(ctx, d.queue, "late")
	close(givenUp)
	if r.err != nil || !r.outcome.Lost || r.fenced {
		t.Errorf("%s", r)
	}
	if err := <-fenceResult; !errors.Is(err, link.ErrNoGo) {
		t.Errorf("the late fence: %v", err)
	}
	<-cancelled
	if r := w.check(t.Context(), d.queue, "next"); string(r.outcome.Sealed) != "yes sealed" {
		t.Errorf("the slot did not come back: %s", r)
	}
}

func TestRevocationEndsTheStreamOnEveryNode(t *testing.T) {
	w := newWorld(t)
	url := broker(t)
	one, two := w.gateway(w.queue(url), nil), w.gateway(w.queue(url), nil)
	for name, announce := range map[string]bool{"announced": true, "not announced": false} {
		m := w.register(one, strings.ReplaceAll(name, " ", "-"))
		m.gateway = two.address
		a := w.attach(m, 1, yes)
		if r := w.check(t.Context(), one.queue, "r1"); len(r.outcome.Sealed) == 0 {
			t.Fatalf("%s: %s", name, r)
		}
		if err := w.fleet.Revoke(t.Context(), w.scope, m.answer.AgentID, "test", time.Now()); err != nil {
			t.Fatal(err)
		}
		if announce {
			if err := one.queue.Announce(queue.Change{Tenant: w.scope.String(), Agent: m.answer.AgentID}); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "refused", func() bool { return a.Status().State == link.RefusedFor })
		var refused *link.Refused
		if err := a.stop(); !errors.As(err, &refused) || refused.Code != wire.AgentRevoked || !strings.Contains(refused.Text, "revoked") {
			t.Errorf("%s: %v", name, err)
		}
		if r := w.check(t.Context(), one.queue, "r2"); !fault.Has(r.err, wire.NoAgent) {
			t.Errorf("%s: a revoked agent is still offered: %s", name, r)
		}
	}
}

// forged makes a certificate that says it is m, signed by a CA of nobody's.
func forged(t *testing.T, m *member) tls.Certificate {
	t.Helper()
	caKey, key := fatal(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t), fatal(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Sallyport agent CA"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	genuine := fatal(x509.ParseCertificate(m.certificate.Certificate[0]))(t)
	der := fatal(x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: genuine.SerialNumber, URIs: genuine.URIs,
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, ExtKeyUsage: genuine.ExtKeyUsage}, authority, key.Public(), caKey))(t)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestWhyAnAgentIsRefusedIsToldInWords(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	for name, c := range map[string]struct {
		spoil func(m *member)
		code  wire.Code
		words string
	}{
		"foreign": {func(m *member) { m.certificate = forged(t, m) }, wire.CertificateForeign, "not issued"},
		"expired": {func(m *member) {
			key := fatal(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
			old := w.issue(w.brief(), m.answer.AgentID, key, time.Now().Add(-time.Hour-2*time.Second))
			m.certificate = tls.Certificate{Certificate: old.Chain, PrivateKey: key}
		}, wire.CertificateExpired, "expired"},
		"revoked": {func(m *member) {
			if err := w.fleet.Revoke(t.Context(), w.scope, m.answer.AgentID, "test", time.Now()); err != nil {
				t.Fatal(err)
			}
		}, wire.AgentRevoked, "revoked"},
		"removed": {func(m *member) {
			if err := w.fleet.Remove(t.Context(), w.scope, m.answer.AgentID, time.Now()); err != nil {
				t.Fatal(err)
			}
		}, wire.AgentUnknown, "no longer"},
		"superseded": {func(m *member) {
			key := fatal(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
			other := w.issue(w.ca, m.answer.AgentID, key, time.Now())
			m.certificate = tls.Certificate{Certificate: other.Chain, PrivateKey: key}
		}, wire.CertificateForeign, ""},
		"of another installation": {func(m *member) {
			other := newWorld(t)
			key := fatal(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
			c := other.issue(other.ca, m.answer.AgentID, key, time.Now())
			m.certificate = tls.Certificate{Certificate: c.Chain, PrivateKey: key}
		}, wire.CertificateForeign, "not issued"},
		"with another envelope key": {func(m *member) { _, _, m.key = request(t, "x", "x") }, wire.EnvelopeUnreadable, "register"},
	} {
		t.Run(name, func(t *testing.T) {
			m := w.register(d, strings.ReplaceAll(name, " ", "-"))
			c.spoil(m)
			a := w.dial(m, 1, yes)
			until(t, "refused", func() bool { return a.Status().State == link.RefusedFor })
			var refused *link.Refused
			if err := a.stop(); !errors.As(err, &refused) || refused.Code != c.code || !strings.Contains(refused.Text, c.words) {
				t.Errorf("got %v", err)
			}
			if got := d.Attached(w.scope); len(got) != 0 {
				t.Errorf("attached all the same: %v", got)
			}
		})
	}
}

func TestAStreamEndsWithItsCertificate(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	m := w.register(d, "a1")
	key := fatal(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	c := w.issue(w.brief(), m.answer.AgentID, key, time.Now().Add(-time.Hour+3*time.Second))
	m.certificate = tls.Certificate{Certificate: c.Chain, PrivateKey: key}
	if err := w.db.Write(t.Context(), func(tx db.Querier) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE agent SET certificate_serial = $1, certificate_not_after = $2", c.Serial, db.Millis(c.NotAfter))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	a := w.attach(m, 1, yes)
	until(t, "refused", func() bool { return a.Status().State == link.RefusedFor })
	var refused *link.Refused
	if err := a.stop(); !errors.As(err, &refused) || refused.Code != wire.CertificateExpired || time.Now().Before(c.NotAfter) {
		t.Errorf("got %v", err)
	}
}

func TestASecondStreamReplacesTheFirst(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	m := w.register(d, "a1")
	first := w.attach(m, 1, yes)
	second := w.attach(m, 1, yes)
	until(t, "the first to be told", func() bool { return strings.Contains(first.Status().LastError, wire.AgentReplaced.String()) })
	_ = first.stop()
	until(t, "one stream", func() bool { return second.Status().State == link.Attached && len(d.Attached(w.scope)) == 1 })
	if r := w.check(t.Context(), d.queue, "r1"); string(r.outcome.Sealed) != "yes sealed" {
		t.Errorf("%s", r)
	}
}

func TestTwoGatewaysTwoServicesAndHandOver(t *testing.T) {
	w := newWorld(t)
	url := broker(t)
	one, two := w.gateway(w.queue(url), nil), w.gateway(w.queue(url), nil)
	services := []*queue.Queue{w.queue(url), w.queue(url)}
	ma, mb := w.register(one, "a"), w.register(two, "b")
	w.attach(ma, 8, yes)
	w.attach(mb, 8, yes)
	var wg sync.WaitGroup
	var mu sync.Mutex
	by := map[string]int{}
	for i := range 100 {
		wg.Go(func() {
			r := w.check(t.Context(), services[i%2], fmt.Sprint("r", i))
			if r.err != nil || string(r.outcome.Sealed) != "yes sealed" || !r.fenced {
				t.Errorf("%s", r)
			}
			mu.Lock()
			by[r.offer.Agent]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if by[ma.answer.AgentID] == 0 || by[mb.answer.AgentID] == 0 {
		t.Errorf("one agent did everything: %v", by)
	}
	for range 10 { // whichever gateway the ask reaches first
		if r := w.check(t.Context(), services[0], "again", ma.answer.AgentID); r.offer.Agent != mb.answer.AgentID {
			t.Fatalf("%s", r)
		}
	}
	if r := w.check(t.Context(), services[0], "r", ma.answer.AgentID, mb.answer.AgentID); !fault.Has(r.err, wire.NoAgent) {
		t.Errorf("all ruled out: %s", r)
	}
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	for range 10 {
		if r := w.check(t.Context(), services[1], "after"); r.err != nil || r.offer.Agent != mb.answer.AgentID {
			t.Fatalf("with one gateway down: %s", r)
		}
	}
}

// TestEqualAgentsGetEqualShares: whether they are attached to one gateway or to several.
func TestEqualAgentsGetEqualShares(t *testing.T) {
	for name, on := range map[string][]int{"one gateway": {0, 0, 0}, "two and one": {0, 0, 1}, "three gateways": {0, 1, 2}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			url := broker(t)
			service := w.queue(url)
			var doors []*door
			for range slices.Max(on) + 1 {
				doors = append(doors, w.gateway(w.queue(url), nil))
			}
			for i, at := range on {
				w.attach(w.register(doors[at], fmt.Sprint("a", i)), 8, handlerFunc(func(ctx context.Context, c *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) link.Reply {
					<-time.After(50 * time.Millisecond) // a directory's time, so that that of a busy machine does not decide
					return yes(ctx, c, fence)
				}))
			}
			const n, atOnce = 600, 6
			var mu sync.Mutex
			got := map[string]int{}
			var tasks sync.WaitGroup
			for i := range atOnce {
				tasks.Go(func() {
					for j := range n / atOnce {
						r := w.check(t.Context(), service, fmt.Sprintf("r%d-%d", i, j))
						if r.err != nil || len(r.outcome.Sealed) == 0 {
							t.Errorf("%s", r)
						}
						mu.Lock()
						got[r.offer.Agent]++
						mu.Unlock()
					}
				})
			}
			tasks.Wait()
			for agent, count := range got {
				if share := float64(count) / n; share < .3 || share > .3667 {
					t.Errorf("%s got %.3f", agent, share)
				}
			}
			t.Log(got)
		})
	}
}

func TestOverload(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	release := make(chan struct{})
	w.attach(w.register(d, "a1"), 2, handlerFunc(func(ctx context.Context, c *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) link.Reply {
		r := yes(ctx, c, fence)
		<-release
		return r
	}))
	results := make(chan result, 6)
	for i := range 6 {
		go func() { results <- w.check(t.Context(), d.queue, fmt.Sprint("r", i)) }()
	}
	_, err := d.queue.Ask(t.Context(), w.scope, w.directory, queue.Ask{Deadline: time.Now().Add(300 * time.Millisecond)})
	for err == nil { // came before the slots were taken: the lease is left to run out
		_, err = d.queue.Ask(t.Context(), w.scope, w.directory, queue.Ask{Deadline: time.Now().Add(300 * time.Millisecond)})
	}
	if !fault.Has(err, wire.AgentsBusy) && !fault.Has(err, wire.Overloaded) { // at the end of its time, or when that is sure to come
		t.Errorf("with every slot taken: %v", err)
	}
	close(release)
	for range 6 {
		if r := <-results; string(r.outcome.Sealed) != "yes sealed" {
			t.Errorf("%s", r)
		}
	}
}

func TestDrainLosesNothingInFlight(t *testing.T) {
	w := newWorld(t)
	url := broker(t)
	one, two := w.gateway(w.queue(url), nil), w.gateway(w.queue(url), nil)
	service := w.queue(url)
	m := w.register(one, "a1")
	inside, release := make(chan struct{}), make(chan struct{})
	a := w.attach(m, 4, handlerFunc(func(ctx context.Context, c *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) link.Reply {
		if c.GetRequestId() == "slow" {
			close(inside)
			<-release
		}
		return yes(ctx, c, fence)
	}))
	slow := make(chan result, 1)
	go func() { slow <- w.check(t.Context(), service, "slow") }()
	<-inside
	offer, err := service.Ask(t.Context(), w.scope, w.directory, queue.Ask{}) // an offer given just before
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- one.stop() }()
	until(t, "draining", func() bool { return a.Status().State == link.Draining && fault.Has(one.Ready(), wire.GatewayDraining) })
	if r := w.check(t.Context(), service, "new"); !fault.Has(r.err, wire.NoAgent) {
		t.Errorf("a draining gateway took new work: %s", r)
	}
	if r := w.deliver(t.Context(), service, offer, "offered"); string(r.outcome.Sealed) != "yes sealed" {
		t.Errorf("the offer given before: %s", r)
	}
	close(release)
	if r := <-slow; string(r.outcome.Sealed) != "yes sealed" || !r.fenced {
		t.Errorf("in flight: %s", r)
	}
	if err := <-stopped; err != nil {
		t.Errorf("serve: %v", err)
	}
	// The agent comes back, to wherever its address leads now.
	m.gateway = two.address
	until(t, "attached elsewhere", func() bool { st := a.Status(); return st.State == link.Attached && st.Gateway == two.ID() })
	if r := w.check(t.Context(), service, "after"); string(r.outcome.Sealed) != "yes sealed" {
		t.Errorf("%s", r)
	}
}

func TestTenantsNeverMeet(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	w.attach(w.register(d, "a1"), 1, yes)
	other := fatal(w.tenants.CreateTenant(t.Context(), tenant.NewTenant{Name: "other", DisplayName: "Other", Color: "#1a2b3c"}, time.Now()))(t)
	if _, err := d.queue.Ask(t.Context(), other.Scope(), w.directory, queue.Ask{}); !fault.Has(err, wire.NoAgent) {
		t.Errorf("another tenant, the same directory id: %v", err)
	}
	if _, err := d.queue.Ask(t.Context(), tenant.Scope{}, w.directory, queue.Ask{}); !errors.Is(err, tenant.ErrNoScope) {
		t.Errorf("no tenant: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t)
	q := w.queue("")
	good := gateway.Config{Fleet: w.fleet, CA: w.ca, Queue: q, TLS: &tls.Config{}, PublicAddress: "g:1"}
	for name, f := range map[string]func(*gateway.Config){
		"no fleet":   func(c *gateway.Config) { c.Fleet = nil },
		"no CA":      func(c *gateway.Config) { c.CA = nil },
		"no queue":   func(c *gateway.Config) { c.Queue = nil },
		"no TLS":     func(c *gateway.Config) { c.TLS = nil },
		"no address": func(c *gateway.Config) { c.PublicAddress = "" },
	} {
		c := good
		f(&c)
		if _, err := gateway.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	one, two := fatal(gateway.New(good))(t), fatal(gateway.New(good))(t)
	if one.ID() == two.ID() || one.Ready() == nil {
		t.Errorf("ids %q, %q; ready %v", one.ID(), two.ID(), one.Ready())
	}
	registry := prometheus.NewRegistry()
	good.Metrics = registry
	fatal(gateway.New(good))(t)
	if _, err := gateway.New(good); err == nil {
		t.Error("the same metrics twice")
	}
}

// The store of the world must be the one that the fleet reads; a closed one ends no stream.
func TestAFleetThatCannotBeAskedEndsNoStream(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	a := w.attach(w.register(d, "a1"), 1, yes)
	closeStore(t, w.db)
	for range 3 {
		if err := d.queue.Announce(queue.Change{Tenant: w.scope.String()}); err != nil {
			t.Fatal(err)
		}
		if r := w.check(t.Context(), d.queue, "r1"); string(r.outcome.Sealed) != "yes sealed" {
			t.Errorf("%s", r)
		}
	}
	if st := a.Status(); st.State != link.Attached {
		t.Errorf("state %s: %s", st.State, st.LastError)
	}
}

func closeStore(t *testing.T, d *db.DB) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
