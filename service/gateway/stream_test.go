package gateway_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// near is an agent of which the test sends every message by hand.
type near struct {
	t      testing.TB
	conn   *grpc.ClientConn
	stream grpc.ClientStream
}

func (w *world) connection(m *member, certificates ...tls.Certificate) *grpc.ClientConn {
	w.t.Helper()
	c := fatal(grpc.NewClient(m.gateway, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: w.local.Pool(), Certificates: certificates}))))(w.t)
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

var attachDesc = &grpc.StreamDesc{StreamName: "Attach", ClientStreams: true, ServerStreams: true}

func (w *world) near(m *member) near {
	w.t.Helper()
	conn := w.connection(m, m.certificate)
	return near{w.t, conn, fatal(conn.NewStream(w.t.Context(), attachDesc, wire.AttachMethod))(w.t)}
}

func (n near) send(m *linkpb.FromAgent) {
	n.t.Helper()
	if err := n.stream.SendMsg(m); err != nil {
		n.t.Error(err)
	}
}

func (n near) recv() *linkpb.ToAgent {
	m := new(linkpb.ToAgent)
	if err := n.stream.RecvMsg(m); err != nil {
		return nil
	}
	return m
}

func (n near) hello(version uint32, slots uint32) *linkpb.ToAgent {
	n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Hello{Hello: &linkpb.Hello{ProtocolVersion: version, Slots: slots}}})
	return n.recv()
}

func TestHello(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	m := w.register(d, "a1")
	if g := w.near(m).hello(0, 1).GetGoodbye(); g.GetCode() != uint32(wire.VersionUnsupported) || !g.GetPermanent() {
		t.Errorf("version 0: %v", g)
	}
	n := w.near(m)
	n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Heartbeat{Heartbeat: &linkpb.Heartbeat{}}})
	if g := n.recv().GetGoodbye(); g.GetCode() != uint32(wire.BadRequest) || g.GetPermanent() {
		t.Errorf("no Hello first: %v", g)
	}
	if n.recv() != nil {
		t.Error("the stream goes on after Goodbye")
	}
	if got := w.near(m).hello(wire.Version+7, 1<<30).GetWelcome(); got.GetProtocolVersion() != wire.Version || got.GetSlots() == 0 || got.GetSlots() > 1024 {
		t.Errorf("from the future, with a billion slots: %v", got)
	}
	if got := w.near(m).hello(1, 0).GetWelcome(); got.GetSlots() != 1 || got.GetHeartbeatMs() == 0 || time.Since(time.UnixMilli(got.GetUnixMs())) > time.Minute {
		t.Errorf("no slots: %v", got)
	}
}

func TestNothingElseIsReachable(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	m := w.register(d, "a1")
	c := w.connection(m, m.certificate)
	for _, method := range []string{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/sallyport.link.v1.AgentLink/Other", "/grpc.health.v1.Health/Check"} {
		stream := fatal(c.NewStream(t.Context(), attachDesc, method))(t)
		if err := stream.RecvMsg(new(linkpb.ToAgent)); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", method, err)
		}
	}
	bare, err := w.connection(m).NewStream(t.Context(), attachDesc, wire.AttachMethod)
	if err == nil {
		err = bare.RecvMsg(new(linkpb.ToAgent))
	}
	if status.Code(err) != codes.Unavailable { // the handshake fails; which end notices first differs
		t.Errorf("without a certificate: %v", err)
	}
}

// An agent that says things in the wrong order, about unknown checks, or twice, harms nobody, least of all itself.
func TestAgentOutOfOrder(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	n := w.near(w.register(d, "a1"))
	if n.hello(1, 4).GetWelcome() == nil {
		t.Fatal("not welcome")
	}
	fence := func(id string) *linkpb.FromAgent {
		return &linkpb.FromAgent{Message: &linkpb.FromAgent_Fence{Fence: &linkpb.Fence{RequestId: id, Nonce: nonce}}}
	}
	answer := func(id, sealed string) *linkpb.FromAgent {
		return &linkpb.FromAgent{Message: &linkpb.FromAgent_Answer{Answer: &linkpb.Answer{RequestId: id, Sealed: []byte(sealed)}}}
	}
	n.send(fence("unknown"))
	n.send(answer("unknown", "x"))
	n.send(&linkpb.FromAgent{})
	done := make(chan result, 1)
	go func() { done <- w.check(t.Context(), d.queue, "r1") }()
	if c := n.recv().GetCheck(); c.GetRequestId() != "r1" {
		t.Fatalf("got %v", c)
	}
	n.send(fence("r1"))
	if g := n.recv().GetGo(); string(g.GetToken()) != "go r1" {
		t.Fatalf("got %v", g)
	}
	n.send(answer("r1", "yes"))
	n.send(answer("r1", "no"))
	if r := <-done; string(r.outcome.Sealed) != "yes" {
		t.Errorf("%s", r)
	}
	go func() { done <- w.check(t.Context(), d.queue, "r2") }()
	n.recv()
	n.send(fence("r2"))
	n.recv()
	n.send(fence("r2")) // a second one gets no second Go, and costs the check
	if n.recv().GetCancel().GetRequestId() != "r2" {
		t.Error("no Cancel after a second fence")
	}
	if r := <-done; !r.outcome.Lost || !r.fenced {
		t.Errorf("%s", r)
	}
	n.send(answer("r2", "")) // frees the slot
	go func() { done <- w.check(t.Context(), d.queue, "r3") }()
	n.recv()
	n.send(answer("r3", ""))
	if r := <-done; !r.outcome.Lost || r.fenced {
		t.Errorf("an empty answer: %s", r)
	}
	go func() { done <- w.check(t.Context(), d.queue, "r4") }()
	n.recv()
	n.send(fence("r4"))
	n.recv()
	n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Refusal{Refusal: &linkpb.Refusal{RequestId: "r4", Code: uint32(wire.AgentsBusy)}}})
	if r := <-done; !r.outcome.Lost || !r.fenced || r.outcome.Refused != 0 {
		t.Errorf("a refusal after the fence: %s", r)
	}
}

func TestAgentKilledBeforeAndAfterTheFence(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	for _, fenced := range []bool{false, true} {
		n := w.near(w.register(d, fmt.Sprint("a", fenced)))
		n.hello(1, 1)
		done := make(chan result, 1)
		go func() { done <- w.check(t.Context(), d.queue, "r1") }()
		n.recv()
		if fenced {
			n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Fence{Fence: &linkpb.Fence{RequestId: "r1", Nonce: nonce}}})
			if n.recv().GetGo() == nil {
				t.Error("no Go")
			}
		}
		_ = n.conn.Close()
		if r := <-done; r.err != nil || !r.outcome.Lost || r.fenced != fenced {
			t.Errorf("fenced %v: %s", fenced, r)
		}
	}
}

func TestTwoChecksOfOneRequest(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	n := w.near(w.register(d, "a1"))
	n.hello(1, 4)
	first := make(chan result, 1)
	go func() { first <- w.check(t.Context(), d.queue, "r1") }()
	n.recv()
	if r := w.check(t.Context(), d.queue, "r1"); r.outcome.Refused != wire.EnvelopeReplayed || r.fenced {
		t.Errorf("%s", r)
	}
	n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Answer{Answer: &linkpb.Answer{RequestId: "r1", Sealed: []byte("yes")}}})
	if r := <-first; string(r.outcome.Sealed) != "yes" {
		t.Errorf("%s", r)
	}
}

func TestLeavingAgentGetsNothingNew(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	n := w.near(w.register(d, "a1"))
	n.hello(1, 4)
	done := make(chan result, 1)
	go func() { done <- w.check(t.Context(), d.queue, "r1") }()
	n.recv()
	n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Leaving{Leaving: &linkpb.Leaving{Reason: "update"}}})
	until(t, "no agent", func() bool {
		offer, err := d.queue.Ask(t.Context(), w.scope, w.directory, queue.Ask{})
		if err == nil {
			d.queue.Release(offer.Gateway, offer.Slot)
		}
		return err != nil
	})
	n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Answer{Answer: &linkpb.Answer{RequestId: "r1", Sealed: []byte("yes")}}})
	if r := <-done; string(r.outcome.Sealed) != "yes" {
		t.Errorf("in flight: %s", r)
	}
}

func TestAnIdleAgentHearsTheDrain(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	m := w.register(d, "a1")
	n := w.near(m)
	n.hello(1, 4)
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	if got := n.recv().GetDrain(); got.GetComeBackMs() < 250 || got.GetReason() == "" {
		t.Errorf("got %v", got)
	}
	if err := n.stream.RecvMsg(new(linkpb.ToAgent)); err != io.EOF {
		t.Errorf("after Drain: %v", err)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Run("life", func(t *testing.T) {
		w := newWorld(t)
		d := w.gateway(w.queue(""), nil)
		a := w.attach(w.register(d, "a1"), 4, yes)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if r := w.check(t.Context(), d.queue, fmt.Sprint("r", i)); r.err != nil {
					t.Errorf("%s", r)
				}
			})
		}
		wg.Wait()
		_ = a.stop()
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	})
	goleak.VerifyNone(t, ignore)
}

// One check through ask, offer, delivery, fence, Go and answer; every process is this one, on loopback TLS.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b)
	d := w.gateway(w.queue(""), nil)
	sealed := make([]byte, 256)
	h := handlerFunc(func(ctx context.Context, _ *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) link.Reply {
		if _, err := fence(ctx, nonce); err != nil {
			return link.Reply{Refused: wire.AgentRefused}
		}
		return link.Reply{Sealed: sealed}
	})
	for i := range 3 {
		w.attach(w.register(d, fmt.Sprint("a", i)), 64, h)
	}
	token, envelope := make([]byte, 32), make([]byte, 2200)
	var count, lost atomic.Int64
	check := func() {
		id := fmt.Sprint("r", count.Add(1))
		offer, err := d.queue.Ask(context.Background(), w.scope, w.directory, queue.Ask{Request: id})
		if err != nil {
			b.Error(err)
			return
		}
		o, fenced, err := d.queue.Deliver(context.Background(), w.scope, offer.Gateway, queue.Delivery{Request: id, Directory: w.directory,
			Agent: offer.Agent, Slot: offer.Slot, Envelope: envelope}, func([]byte) []byte { return token })
		switch {
		case err == nil && o.Lost: // a machine so busy that a second passes unnoticed; the number is reported
			lost.Add(1)
		case err != nil || !fenced || len(o.Sealed) != len(sealed):
			b.Errorf("%+v, fenced %v, %v", o, fenced, err)
		}
	}
	b.Run("one at a time", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			check()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				check()
			}
		})
		b.ReportMetric(float64(lost.Load()), "lost")
	})
}
