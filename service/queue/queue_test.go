package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

var scope = tenant.ScopeOf("t1")

// nonce is one of the length that a fence must have.
var nonce = []byte("a nonce of 16 by")

func open(t testing.TB, url string) *Queue {
	t.Helper()
	q, err := Open(Config{URL: url, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// listening starts a broker that listens on loopback, as an installation of several processes has one.
func listening(t testing.TB) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("broker not ready")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s.ClientURL()
}

// A broker that cannot carry the largest answer would lose it, each time again.
func TestBrokerOfSmallMessages(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, MaxPayload: maxMessage - 1})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("broker not ready")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if q, err := Open(Config{URL: s.ClientURL()}); err == nil || !strings.Contains(err.Error(), "max_payload") {
		t.Errorf("%v, %v", q, err)
	}
}

func must(t testing.TB) func(stop func(), err error) func() {
	return func(stop func(), err error) func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return stop
	}
}

func delivery() Delivery {
	return Delivery{Request: "r1", Directory: "d1", Agent: "a1", Slot: "s1", Envelope: []byte("sealed")}
}

func TestOpenAndCloseLeaveNothingBehind(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	q, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Ready(); err != nil {
		t.Error(err)
	}
	stop, err := q.AnswerDeliveries("g1", func(context.Context, tenant.Scope, Delivery, func(context.Context, []byte) ([]byte, error)) Outcome {
		return Outcome{Lost: true}
	})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	q.Close()
	if err := q.Ready(); !fault.Has(err, wire.TransientNetwork) {
		t.Errorf("a closed queue says %v", err)
	}
	goleak.VerifyNone(t, ignore)
}

func TestAskAndOffer(t *testing.T) {
	q := open(t, "")
	if _, err := q.Ask(t.Context(), scope, "d1", Ask{Request: "r1"}); !fault.Has(err, wire.NoAgent) {
		t.Fatalf("without a gateway: %v", err)
	}
	stop := must(t)(q.AnswerAsks(scope, "d1", "g", func(_ context.Context, a Ask) (Offer, error) {
		if a.Request != "r1" || a.Trace != "tr" || len(a.Exclude) != 1 || a.Exclude[0] != "a0" || a.Waiting == nil {
			t.Errorf("got %+v", a)
		}
		return Offer{Gateway: "g1", Agent: "a1", Slot: "s1"}, nil
	}))
	o, err := q.Ask(t.Context(), scope, "d1", Ask{Request: "r1", Trace: "tr", Exclude: []string{"a0"}})
	if err != nil || o != (Offer{Gateway: "g1", Agent: "a1", Slot: "s1"}) {
		t.Fatalf("got %+v, %v", o, err)
	}
	if _, err := q.Ask(t.Context(), tenant.ScopeOf("t2"), "d1", Ask{}); !fault.Has(err, wire.NoAgent) {
		t.Fatalf("another tenant's ask: %v", err)
	}
	stop()
	if _, err := q.Ask(t.Context(), scope, "d1", Ask{Request: "r1"}); !fault.Has(err, wire.NoAgent) {
		t.Fatalf("after stop: %v", err)
	}
}

func TestScopeAndIDsFailClosed(t *testing.T) {
	q := open(t, "")
	nothing := func(context.Context, Ask) (Offer, error) { return Offer{}, nil }
	if _, err := q.Ask(t.Context(), tenant.Scope{}, "d1", Ask{}); !errors.Is(err, tenant.ErrNoScope) {
		t.Errorf("ask: %v", err)
	}
	if _, err := q.AnswerAsks(tenant.Scope{}, "d1", "g", nothing); !errors.Is(err, tenant.ErrNoScope) {
		t.Errorf("answer: %v", err)
	}
	if _, _, err := q.Deliver(t.Context(), tenant.Scope{}, "g1", delivery(), nil); !errors.Is(err, tenant.ErrNoScope) {
		t.Errorf("deliver: %v", err)
	}
	for _, id := range []string{"*", ">", "a.b", "", "a b"} {
		if _, err := q.Ask(t.Context(), scope, id, Ask{}); !fault.Has(err, wire.BadRequest) {
			t.Errorf("ask about directory %q: %v", id, err)
		}
		if _, err := q.AnswerAsks(tenant.ScopeOf("x"+id+"."), "d1", "g", nothing); !fault.Has(err, wire.BadRequest) {
			t.Errorf("answer for tenant of %q: %v", id, err)
		}
		if _, _, err := q.Deliver(t.Context(), scope, id, delivery(), nil); !fault.Has(err, wire.BadRequest) {
			t.Errorf("deliver to %q: %v", id, err)
		}
		if _, err := q.AnswerDeliveries(id, nil); !fault.Has(err, wire.BadRequest) {
			t.Errorf("answer deliveries as %q: %v", id, err)
		}
		if err := q.Announce(Change{Tenant: id}); !fault.Has(err, wire.BadRequest) {
			t.Errorf("announce %q: %v", id, err)
		}
	}
	large := delivery()
	large.Envelope = make([]byte, MaxEnvelope+1)
	if _, _, err := q.Deliver(t.Context(), scope, "g1", large, nil); !fault.Has(err, wire.BadRequest) {
		t.Errorf("large envelope: %v", err)
	}
}

func TestAnotherGatewayIsAskedWhenTheFirstCannot(t *testing.T) {
	url := listening(t)
	g1, g2, service := open(t, url), open(t, url), open(t, url)
	must(t)(g1.AnswerAsks(scope, "d1", "g1", func(context.Context, Ask) (Offer, error) {
		return Offer{}, fault.New(wire.NoAgent, "only the excluded one")
	}))
	must(t)(g2.AnswerAsks(scope, "d1", "g2", func(context.Context, Ask) (Offer, error) {
		return Offer{Gateway: "g2", Agent: "a2", Slot: "s2"}, nil
	}))
	for range 20 {
		if o, err := service.Ask(t.Context(), scope, "d1", Ask{Exclude: []string{"a1"}}); err != nil || o.Agent != "a2" {
			t.Fatalf("got %+v, %v", o, err)
		}
	}
}

func TestBusyEverywhereWaitsAndThenSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := Open(Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		stop, err := q.AnswerAsks(scope, "d1", "g", func(ctx context.Context, a Ask) (Offer, error) {
			a.Waiting()
			<-ctx.Done()
			return Offer{}, fault.New(wire.AgentsBusy, "")
		})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		start := time.Now()
		if _, err := q.Ask(t.Context(), scope, "d1", Ask{}); !fault.Has(err, wire.AgentsBusy) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took < AskWithin-time.Second || took > AskWithin+time.Second {
			t.Errorf("waited %s, want about %s", took, AskWithin)
		}
		start = time.Now()
		if _, err := q.Ask(t.Context(), scope, "d1", Ask{Deadline: start.Add(100 * time.Millisecond)}); !fault.Has(err, wire.AgentsBusy) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("waited %s past a deadline of 100 ms", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := q.Ask(ctx, scope, "d1", Ask{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRefusedEverywhereIsToldSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := Open(Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		stop, err := q.AnswerAsks(scope, "d1", "g", func(context.Context, Ask) (Offer, error) {
			return Offer{}, fault.New(wire.AgentsBusy, "the line is full")
		})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		start := time.Now()
		_, err = q.Ask(t.Context(), scope, "d1", Ask{})
		if !fault.Has(err, wire.AgentsBusy) || time.Since(start) > time.Second {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
	})
}

func TestLateOfferIsReleased(t *testing.T) {
	q := open(t, "")
	released := make(chan string, 10)
	must(t)(q.OnRelease("g1", func(slot string) { released <- slot }))
	answer, asked := make(chan struct{}), make(chan struct{}, 10)
	must(t)(q.AnswerAsks(scope, "d1", "g", func(context.Context, Ask) (Offer, error) {
		asked <- struct{}{}
		<-answer
		return Offer{Gateway: "g1", Agent: "a1", Slot: "s1"}, nil
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := q.Ask(ctx, scope, "d1", Ask{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	close(answer)
	if slot := <-released; slot != "s1" {
		t.Fatalf("released %q", slot)
	}
}

// gateway answers deliveries to g1 with f.
func gateway(t testing.TB, q *Queue, f Handler) { must(t)(q.AnswerDeliveries("g1", f)) }

func TestDeliverTheRightPath(t *testing.T) {
	q := open(t, "")
	gateway(t, q, func(ctx context.Context, s tenant.Scope, d Delivery, fence func(context.Context, []byte) ([]byte, error)) Outcome {
		if s != scope || d.Request != "r1" || d.Directory != "d1" || d.Agent != "a1" || d.Slot != "s1" || string(d.Envelope) != "sealed" {
			t.Errorf("got %s %+v", s, d)
		}
		token, err := fence(ctx, nonce)
		if err != nil || string(token) != "go" {
			t.Errorf("fence: %q, %v", token, err)
		}
		if _, err := fence(ctx, nonce); !errors.Is(err, ErrNoGo) {
			t.Errorf("the second fence: %v", err)
		}
		return Outcome{Sealed: []byte("yes")}
	})
	calls := 0
	o, fenced, err := q.Deliver(t.Context(), scope, "g1", delivery(), func([]byte) []byte { calls++; return []byte("go") })
	if err != nil || !fenced || string(o.Sealed) != "yes" || calls != 1 {
		t.Fatalf("got %+v, fenced %v, %v; %d calls", o, fenced, err, calls)
	}
}

func TestDeliverOutcomes(t *testing.T) {
	granted := func([]byte) []byte { return []byte("go") }
	fence := func(ctx context.Context, f func(context.Context, []byte) ([]byte, error), t *testing.T) {
		if _, err := f(ctx, nonce); err != nil {
			t.Errorf("fence: %v", err)
		}
	}
	for name, c := range map[string]struct {
		f       func(*testing.T, context.Context, func(context.Context, []byte) ([]byte, error)) Outcome
		onFence func([]byte) []byte
		check   func(o Outcome, fenced bool) bool
	}{
		"refused": {func(*testing.T, context.Context, func(context.Context, []byte) ([]byte, error)) Outcome {
			return Outcome{Refused: wire.EnvelopeStale, Detail: "old"}
		}, granted, func(o Outcome, fenced bool) bool {
			return o.Refused == wire.EnvelopeStale && o.Detail == "old" && !fenced
		}},
		"lost before the fence": {func(*testing.T, context.Context, func(context.Context, []byte) ([]byte, error)) Outcome {
			return Outcome{Lost: true, Detail: "stream ended"}
		}, granted, func(o Outcome, fenced bool) bool { return o.Lost && !fenced }},
		"answered without a fence": {func(*testing.T, context.Context, func(context.Context, []byte) ([]byte, error)) Outcome {
			return Outcome{Sealed: []byte("unreachable")}
		}, granted, func(o Outcome, fenced bool) bool { return string(o.Sealed) == "unreachable" && !fenced }},
		"lost after the fence": {func(t *testing.T, ctx context.Context, f func(context.Context, []byte) ([]byte, error)) Outcome {
			fence(ctx, f, t)
			return Outcome{Lost: true}
		}, granted, func(o Outcome, fenced bool) bool { return o.Lost && fenced }},
		"refused after the fence": {func(t *testing.T, ctx context.Context, f func(context.Context, []byte) ([]byte, error)) Outcome {
			fence(ctx, f, t)
			return Outcome{Refused: wire.AgentsBusy}
		}, granted, func(o Outcome, fenced bool) bool { return o.Lost && o.Refused == 0 && fenced }},
		"fence forbidden": {func(t *testing.T, ctx context.Context, f func(context.Context, []byte) ([]byte, error)) Outcome {
			if token, err := f(ctx, nonce); !errors.Is(err, ErrNoGo) || token != nil {
				t.Errorf("got %q, %v", token, err)
			}
			return Outcome{Lost: true}
		}, func([]byte) []byte { return nil }, func(o Outcome, fenced bool) bool { return o.Lost && !fenced }},
	} {
		t.Run(name, func(t *testing.T) {
			q := open(t, "")
			gateway(t, q, func(ctx context.Context, _ tenant.Scope, _ Delivery, f func(context.Context, []byte) ([]byte, error)) Outcome {
				return c.f(t, ctx, f)
			})
			o, fenced, err := q.Deliver(t.Context(), scope, "g1", delivery(), c.onFence)
			if err != nil || !c.check(o, fenced) {
				t.Fatalf("got %+v, fenced %v, %v", o, fenced, err)
			}
		})
	}
}

func TestGatewayGoneIsKnownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := Open(Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		start := time.Now()
		o, fenced, err := q.Deliver(t.Context(), scope, "g1", delivery(), nil)
		if err != nil || !o.Lost || fenced || time.Since(start) > 0 {
			t.Errorf("nobody there: %+v, fenced %v, %v after %s", o, fenced, err, time.Since(start))
		}
		sub, err := q.conn.Subscribe("sallyport.gateway.g1.check", func(*nats.Msg) {}) // hangs
		if err != nil {
			t.Fatal(err)
		}
		o, fenced, err = q.Deliver(t.Context(), scope, "g1", delivery(), nil)
		if err != nil || !o.Lost || fenced || time.Since(start) > ackWithin+time.Millisecond {
			t.Errorf("no acknowledgement: %+v, fenced %v, %v after %s", o, fenced, err, time.Since(start))
		}
		_ = sub.Unsubscribe()
	})
}

// rawGateway is a gateway of which the test sends every message by hand.
type rawGateway struct {
	t     testing.TB
	q     *Queue
	inbox chan *nats.Msg
}

func newRawGateway(t testing.TB, q *Queue) *rawGateway {
	g := &rawGateway{t: t, q: q, inbox: make(chan *nats.Msg, 16)}
	sub, err := q.conn.ChanSubscribe("sallyport.gateway.g1.check", g.inbox)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	q.settle()
	return g
}

func (g *rawGateway) send(reply, data string) {
	if err := g.q.publish(reply, "", []byte(data)); err != nil {
		g.t.Error(err)
	}
}

// fence returns the token, empty for "no".
// A fence without a nonce of the right length gets no Go: its token would be good for more than this fence.
func TestFenceWithoutNonce(t *testing.T) {
	q := open(t, "")
	for _, size := range []int{0, envelope.MinNonce - 1, envelope.MaxNonce + 1} {
		bad := make([]byte, size)
		stop := must(t)(q.AnswerDeliveries("g1", func(ctx context.Context, _ tenant.Scope, _ Delivery, fence func(context.Context, []byte) ([]byte, error)) Outcome {
			if _, err := fence(ctx, bad); !errors.Is(err, ErrNoGo) {
				t.Errorf("%d bytes: %v", size, err)
			}
			return Outcome{Lost: true, Detail: "no go"}
		}))
		never := func([]byte) []byte { t.Error("asked for a go"); return []byte("go") }
		if o, fenced, err := q.Deliver(t.Context(), scope, "g1", delivery(), never); !o.Lost || fenced || err != nil {
			t.Errorf("%d bytes: %+v, %v, %v", size, o, fenced, err)
		}
		stop()

		w := delivering{q: q, state: Delivered, onFence: never, heard: time.Now(), deadline: time.Now().Add(time.Minute)}
		if o, done := w.take(&nats.Msg{Data: append([]byte{frameFence}, bad...)}); !done || !o.Lost || !w.fenced.IsZero() {
			t.Errorf("past the gateway, %d bytes: %+v", size, o)
		}
	}
}

func (g *rawGateway) fence(reply string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m, err := g.q.conn.RequestWithContext(ctx, reply, append([]byte{frameFence}, nonce...))
	if err != nil || len(m.Data) == 0 || m.Data[0] != frameGo {
		g.t.Errorf("fence: %v", err)
		return "?"
	}
	return string(m.Data[1:])
}

func TestGatewayThatDiesAfterTheFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := Open(Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		g := &rawGateway{t: t, q: q, inbox: make(chan *nats.Msg, 16)}
		sub, err := q.conn.ChanSubscribe("sallyport.gateway.g1.check", g.inbox)
		if err != nil {
			t.Fatal(err)
		}
		q.settle()
		go func() {
			m := <-g.inbox
			g.send(m.Reply, "A")
			if g.fence(m.Reply) != "go" {
				t.Error("no Go")
			}
			time.Sleep(900 * time.Millisecond)
			g.send(m.Reply, "B") // the last sign of life
		}()
		start := time.Now()
		o, fenced, err := q.Deliver(t.Context(), scope, "g1", delivery(), func([]byte) []byte { return []byte("go") })
		if took := time.Since(start); err != nil || !o.Lost || !fenced || took > 900*time.Millisecond+silence+time.Millisecond {
			t.Errorf("got %+v, fenced %v, %v after %s", o, fenced, err, took)
		}
		_ = sub.Unsubscribe()
	})
}

func TestBeatsKeepASlowDeliveryAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := Open(Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		stop, err := q.AnswerDeliveries("g1", func(ctx context.Context, _ tenant.Scope, _ Delivery, fence func(context.Context, []byte) ([]byte, error)) Outcome {
			if _, err := fence(ctx, nonce); err != nil {
				t.Error(err)
			}
			time.Sleep(7 * time.Second)
			return Outcome{Sealed: []byte("late")}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		o, fenced, err := q.Deliver(t.Context(), scope, "g1", delivery(), func([]byte) []byte { return []byte("go") })
		if err != nil || string(o.Sealed) != "late" || !fenced {
			t.Errorf("got %+v, fenced %v, %v", o, fenced, err)
		}
	})
}

func TestDeadlinesOfTheParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := Open(Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		var fenceFirst atomic.Bool
		late := make(chan error, 1)
		released := make(chan string, 4)
		stopRelease, err := q.OnRelease("g1", func(slot string) { released <- slot })
		if err != nil {
			t.Fatal(err)
		}
		defer stopRelease()
		stop, err := q.AnswerDeliveries("g1", func(_ context.Context, _ tenant.Scope, _ Delivery, fence func(context.Context, []byte) ([]byte, error)) Outcome {
			if fenceFirst.Load() {
				if _, err := fence(context.Background(), nonce); err != nil {
					t.Error(err)
				}
				time.Sleep(20 * time.Second)
				return Outcome{Sealed: []byte("too late")}
			}
			time.Sleep(fenceWithin + 2*time.Second)
			_, err := fence(context.Background(), nonce)
			late <- err
			return Outcome{Lost: true}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		never := func([]byte) []byte { t.Error("a late fence was granted"); return []byte("go") }
		start := time.Now()
		o, fenced, err := q.Deliver(t.Context(), scope, "g1", delivery(), never)
		if took := time.Since(start); err != nil || !o.Lost || fenced || took < fenceWithin || took > fenceWithin+time.Second {
			t.Errorf("no fence: %+v, fenced %v, %v after %s", o, fenced, err, took)
		}
		if err := <-late; !errors.Is(err, ErrNoGo) {
			t.Errorf("the late fence got %v", err)
		}
		if slot := <-released; slot != "s1" {
			t.Errorf("released %q", slot)
		}
		fenceFirst.Store(true)
		start = time.Now()
		o, fenced, err = q.Deliver(t.Context(), scope, "g1", delivery(), func([]byte) []byte { return []byte("go") })
		if took := time.Since(start); err != nil || !o.Lost || !fenced || took < answerWithin || took > answerWithin+time.Second {
			t.Errorf("no answer: %+v, fenced %v, %v after %s", o, fenced, err, took)
		}
		start = time.Now()
		d := delivery()
		d.Deadline = start.Add(2 * time.Second)
		o, fenced, err = q.Deliver(t.Context(), scope, "g1", d, func([]byte) []byte { return []byte("go") })
		if took := time.Since(start); err != nil || !o.Lost || !fenced || took > 2*time.Second+time.Millisecond {
			t.Errorf("overall deadline: %+v, fenced %v, %v after %s", o, fenced, err, took)
		}
	})
}

// Whatever order a gateway's messages come in and whenever the caller gives up: at most one fence is granted, fenced says so,
// and once Deliver has returned every fence is denied.
func TestNoFenceIsGrantedAfterGivingUp(t *testing.T) {
	q := open(t, "")
	g := newRawGateway(t, q)
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"A", "B", "F", "Osyes", "Or\x07no", "Olgone", "give up", "junk"}), 0, 8).Draw(rt, "steps")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		type result struct {
			o      Outcome
			fenced bool
			err    error
		}
		done := make(chan result, 1)
		var calls atomic.Int32
		go func() {
			o, fenced, err := q.Deliver(ctx, scope, "g1", delivery(), func([]byte) []byte { calls.Add(1); return []byte("go") })
			done <- result{o, fenced, err}
		}()
		m := <-g.inbox
		granted := 0
		for _, s := range steps {
			switch s {
			case "F":
				if g.fence(m.Reply) == "go" {
					granted++
				}
			case "give up":
				cancel()
			default:
				g.send(m.Reply, s)
			}
		}
		cancel()
		r := <-done
		for range 2 {
			if token := g.fence(m.Reply); token != "" {
				rt.Fatalf("after the end a fence got %q", token)
			}
		}
		if r.err != nil || granted > 1 || int(calls.Load()) != granted || r.fenced != (granted == 1) {
			rt.Fatalf("%d granted, %d calls, fenced %v, %v", granted, calls.Load(), r.fenced, r.err)
		}
		if r.o.Refused != 0 && r.fenced {
			rt.Fatal("refused, as if safe, after the fence")
		}
	})
}

func TestManyDeliveriesOverTwoGatewaysAndOneBroker(t *testing.T) {
	url := listening(t)
	services := []*Queue{open(t, url), open(t, url)}
	for i, name := range []string{"g1", "g2"} {
		q := open(t, url)
		must(t)(q.AnswerAsks(scope, "d1", "g", func(context.Context, Ask) (Offer, error) {
			return Offer{Gateway: name, Agent: fmt.Sprint("a", i), Slot: "s"}, nil
		}))
		must(t)(q.AnswerDeliveries(name, func(ctx context.Context, _ tenant.Scope, d Delivery, fence func(context.Context, []byte) ([]byte, error)) Outcome {
			token, err := fence(ctx, nonce)
			if err != nil {
				t.Error(err)
			}
			return Outcome{Sealed: []byte(d.Request + " " + string(token) + " " + name)}
		}))
	}
	var wg sync.WaitGroup
	var by sync.Map
	for i := range 200 {
		wg.Go(func() {
			q := services[i%2]
			offer, err := q.Ask(t.Context(), scope, "d1", Ask{})
			if err != nil {
				t.Error(err)
				return
			}
			d := delivery()
			d.Request, d.Agent, d.Slot = fmt.Sprint("r", i), offer.Agent, offer.Slot
			o, fenced, err := q.Deliver(t.Context(), scope, offer.Gateway, d, func([]byte) []byte { return []byte(fmt.Sprint("go", i)) })
			want := fmt.Sprintf("r%d go%d %s", i, i, offer.Gateway)
			if err != nil || !fenced || string(o.Sealed) != want {
				t.Errorf("got %q %v %v, want %q", o.Sealed, fenced, err, want)
			}
			by.Store(offer.Gateway, true)
		})
	}
	wg.Wait()
	for _, name := range []string{"g1", "g2"} {
		if _, ok := by.Load(name); !ok {
			t.Errorf("%s got nothing to do", name)
		}
	}
}

func TestAnnounce(t *testing.T) {
	url := listening(t)
	a, b := open(t, url), open(t, url)
	heard := make(chan Change, 4)
	must(t)(a.OnChange(func(c Change) { heard <- c }))
	must(t)(b.OnChange(func(c Change) { heard <- c }))
	if err := b.publish(fleetSubject, "", []byte(`{"tenant":"x.y"}`)); err != nil {
		t.Fatal(err)
	}
	want := Change{Tenant: "t1", Agent: "a1"}
	if err := a.Announce(want); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := <-heard; got != want {
			t.Fatalf("heard %+v", got)
		}
	}
}

func TestBrokerAway(t *testing.T) {
	q := open(t, "nats://127.0.0.1:1")
	if err := q.Ready(); !fault.Has(err, wire.TransientNetwork) {
		t.Errorf("ready: %v", err)
	}
	if _, err := q.Ask(t.Context(), scope, "d1", Ask{}); !fault.Has(err, wire.TransientNetwork) {
		t.Errorf("ask: %v", err)
	}
	if _, fenced, err := q.Deliver(t.Context(), scope, "g1", delivery(), nil); !fault.Has(err, wire.TransientNetwork) || fenced {
		t.Errorf("deliver: fenced %v, %v", fenced, err)
	}
}
