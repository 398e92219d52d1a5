package attack

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// rogue is a gateway in an attacker's hands, with the genuine one's certificate: it says to its agents what it likes.
type rogue struct {
	t       *testing.T
	address string
	in      chan *linkpb.FromAgent
	stream  chan grpc.ServerStream
	current grpc.ServerStream
	nonces  map[string][]byte // of the fences seen, by request
}

func (w *world) rogue() *rogue {
	t := w.t
	t.Helper()
	listener := fatal(net.Listen("tcp", "127.0.0.1:0"))(t)
	r := &rogue{t: t, address: listener.Addr().String(), nonces: map[string][]byte{}, in: make(chan *linkpb.FromAgent, 64), stream: make(chan grpc.ServerStream, 4)}
	over := make(chan struct{})
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{w.serverCertificate()},
		ClientAuth: tls.RequireAnyClientCert})))
	service, method, _ := strings.Cut(strings.TrimPrefix(wire.AttachMethod, "/"), "/")
	s.RegisterService(&grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{StreamName: method,
		ServerStreams: true, ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			if err := stream.RecvMsg(new(linkpb.FromAgent)); err != nil {
				return err
			}
			if err := stream.SendMsg(&linkpb.ToAgent{Message: &linkpb.ToAgent_Welcome{Welcome: &linkpb.Welcome{ProtocolVersion: wire.Version,
				Gateway: "rogue", Slots: 16, UnixMs: time.Now().UnixMilli(), HeartbeatMs: 60_000}}}); err != nil {
				return err
			}
			r.stream <- stream
			for {
				m := new(linkpb.FromAgent)
				if err := stream.RecvMsg(m); err != nil {
					return err
				}
				if m.GetHeartbeat() == nil && m.GetLeaving() == nil {
					select {
					case r.in <- m:
					case <-over:
						return nil
					}
				}
			}
		}}}}, struct{}{})
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(listener) }()
	t.Cleanup(func() { close(over); s.Stop(); <-done })
	return r
}

// captive enrols an agent that dials the rogue, and starts it.
func (r *rogue) captive(w *world, limits agent.Limits) *member {
	r.t.Helper()
	m := w.enrol(w.a, w.dir, r.address).start(limits)
	r.current = <-r.stream
	return m
}

func (r *rogue) send(m *linkpb.ToAgent) {
	r.t.Helper()
	if err := r.current.SendMsg(m); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rogue) check(c *linkpb.Check) {
	r.t.Helper()
	r.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Check{Check: c}})
}

func (r *rogue) grant(request string, token []byte) {
	r.t.Helper()
	r.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Go{Go: &linkpb.Go{RequestId: request, Token: token}}})
}

func (r *rogue) next() *linkpb.FromAgent {
	r.t.Helper()
	select {
	case m := <-r.in:
		return m
	case <-time.After(20 * time.Second):
		r.t.Fatal("the agent says nothing")
		return nil
	}
}

func (r *rogue) wantsFence(request string) {
	r.t.Helper()
	m := r.next()
	if f := m.GetFence(); f.GetRequestId() != request {
		r.t.Fatalf("%v, want a fence for %s", m, request)
	} else {
		r.nonces[request] = f.GetNonce()
	}
}

func (r *rogue) wantsRefusal(code wire.Code, words string) {
	r.t.Helper()
	m := r.next()
	if f := m.GetRefusal(); f == nil || wire.Code(f.GetCode()) != code || !strings.Contains(f.GetDetail(), words) {
		r.t.Errorf("%v, want %v and %q", m, code, words)
	}
}

// wantsAnswer opens an answer with the sender that only the attacker's own envelopes have.
func (r *rogue) wantsAnswer(s *envelope.Sender) wire.Answer {
	r.t.Helper()
	m := r.next()
	a, err := s.OpenAnswer(m.GetAnswer().GetSealed())
	if err != nil {
		r.t.Fatalf("%v: %v", m, err)
	}
	return a
}

// A gateway that seals guesses of its own can have them bound, which is the limit that SECURITY.md tells of. It gets no more than one
// bind for each envelope, whatever it repeats, and no more of them than the agent's own limits allow.
func TestRogueGateway(t *testing.T) {
	w := newWorld(t)
	r := w.rogue()
	a := r.captive(w, noLimits)
	seal := func(request string) (*linkpb.Check, *envelope.Sender) {
		sealed, s, _ := w.mitm.sealed(a, func(b *envelope.Binding) { b.Request = request })
		return &linkpb.Check{RequestId: request, DirectoryId: w.dir, Envelope: sealed}, s
	}

	t.Run("go sent twice", func(t *testing.T) {
		c, s := seal("twice")
		r.check(c)
		r.wantsFence("twice")
		r.grant("twice", s.GoToken(r.nonces["twice"]))
		r.grant("twice", s.GoToken(r.nonces["twice"]))
		if got := r.wantsAnswer(s); got.Verdict == nil || got.Verdict.Reason != wire.Accepted {
			t.Errorf("%+v", got)
		}
		r.grant("twice", s.GoToken(r.nonces["twice"]))
		w.counts(1)
	})
	t.Run("go before the fence", func(t *testing.T) {
		c, s := seal("early")
		r.grant("early", s.GoToken(nonce))
		r.check(c)
		r.wantsFence("early") // the early go was of no use: the agent asks, and waits
		r.grant("early", bytes.Repeat([]byte{7}, 32))
		if got := r.wantsAnswer(s); got.Trouble == nil || got.Trouble.Fenced || got.Trouble.Code != wire.AgentRefused {
			t.Errorf("%+v", got)
		}
		w.counts(1)
		a.wants(wire.AgentRefused, "was not made by the sealer")
	})
	t.Run("go under another request's name", func(t *testing.T) {
		c1, s1 := seal("one")
		c2, s2 := seal("two")
		r.check(c1)
		r.wantsFence("one")
		r.check(c2)
		r.wantsFence("two")
		r.grant("one", s2.GoToken(r.nonces["one"]))
		r.wantsAnswer(s1)
		r.grant("two", s1.GoToken(r.nonces["two"]))
		r.wantsAnswer(s2)
		w.counts(1)
	})
	t.Run("cancelled in place of a go", func(t *testing.T) {
		c, s := seal("cancelled")
		r.check(c)
		r.wantsFence("cancelled")
		r.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Cancel{Cancel: &linkpb.Cancel{RequestId: "cancelled"}}})
		r.grant("cancelled", s.GoToken(r.nonces["cancelled"]))
		if got := r.wantsAnswer(s); got.Trouble == nil || got.Trouble.Fenced {
			t.Errorf("%+v", got)
		}
		w.counts(1)
	})
	t.Run("go withheld", func(t *testing.T) {
		c, s := seal("withheld")
		r.check(c)
		r.wantsFence("withheld")
		if got := r.wantsAnswer(s); got.Trouble == nil || got.Trouble.Fenced || !strings.Contains(got.Trouble.Detail, "no Go within") {
			t.Errorf("%+v", got)
		}
		r.grant("withheld", s.GoToken(r.nonces["withheld"]))
		w.counts(1)
		a.wants(wire.TransientNetwork, "no Go within")
	})
	t.Run("one envelope twice at once", func(t *testing.T) {
		c, s := seal("at once")
		r.check(c)
		r.wantsFence("at once")
		r.check(c)
		r.wantsRefusal(wire.EnvelopeReplayed, "in flight")
		r.grant("at once", s.GoToken(r.nonces["at once"]))
		r.wantsAnswer(s)
		r.check(c)
		r.wantsRefusal(wire.EnvelopeReplayed, "worked on before")
		w.counts(2)
	})
	t.Run("another directory's id", func(t *testing.T) {
		c, _ := seal("directory")
		c.DirectoryId = w.otherDir
		r.check(c)
		r.wantsRefusal(wire.EnvelopeForeign, "for another directory than this agent's")
		a.wants(wire.EnvelopeForeign, "for another directory than this agent's")
		w.counts(2)
	})
}

// Guesses are bounded by the agent's own limits, and its log shows them.
func TestRogueGuesses(t *testing.T) {
	w := newWorld(t)
	r := w.rogue()
	a := r.captive(w, agent.Limits{NamePerMinute: 1, NameBurst: 3})
	for i := range 10 {
		request := fmt.Sprint("guess ", i)
		sealed, s, _ := w.mitm.sealed(a, func(b *envelope.Binding) { b.Request = request })
		r.check(&linkpb.Check{RequestId: request, DirectoryId: w.dir, Envelope: sealed})
		if i < 3 {
			r.wantsFence(request)
			r.grant(request, s.GoToken(r.nonces[request]))
			r.wantsAnswer(s)
		} else {
			r.wantsRefusal(wire.AgentRateLimited, "this name was asked about too often")
		}
	}
	w.counts(3)
	a.wants(wire.AgentRateLimited, "this name was asked about too often")
}
