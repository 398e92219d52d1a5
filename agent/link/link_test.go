package link

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
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// certificates makes a CA with one certificate for host and one for an agent.
func certificates(t testing.TB, host string) (roots *x509.CertPool, server, agent tls.Certificate) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	leaf := func(serial int64) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, DNSNames: []string{host},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
		if ip := net.ParseIP(host); ip != nil {
			c.DNSNames, c.IPAddresses = nil, []net.IP{ip}
		}
		der, err := x509.CreateCertificate(rand.Reader, c, ca, key.Public(), caKey)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	return roots, leaf(2), leaf(3)
}

// identity is an Identity for tests.
type identity struct {
	certificate tls.Certificate
	gateway     string
	roots       *x509.CertPool
}

func (i identity) Passport() Passport {
	return Passport{Certificate: i.certificate, EnvelopeKeyID: "k1"}
}
func (i identity) Welcomed(Passport)                {}
func (i identity) Refused(Passport, wire.Code) bool { return false }
func (i identity) Gateway() string                  { return i.gateway }
func (i identity) GatewayRoots() *x509.CertPool     { return i.roots }

// far is the gateway's end of a stream, played by the test.
type far struct {
	t      testing.TB
	stream grpc.ServerStream
}

func (f far) send(m *linkpb.ToAgent) {
	if err := f.stream.SendMsg(m); err != nil {
		f.t.Errorf("gateway: send: %v", err)
	}
}

// recv returns the next message that is not a heartbeat, nil at the stream's end.
func (f far) recv() *linkpb.FromAgent {
	for {
		m := new(linkpb.FromAgent)
		if err := f.stream.RecvMsg(m); err != nil {
			return nil
		}
		if m.GetHeartbeat() == nil {
			return m
		}
	}
}

func (f far) welcome(w *linkpb.Welcome) *linkpb.Hello {
	h := f.recv().GetHello()
	if h == nil {
		f.t.Error("the agent did not begin with Hello")
	}
	f.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Welcome{Welcome: w}})
	return h
}

func (f far) check(request string) {
	f.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Check{Check: &linkpb.Check{RequestId: request, DirectoryId: "d1", Envelope: []byte("sealed")}}})
}

func ordinary() *linkpb.Welcome {
	return &linkpb.Welcome{ProtocolVersion: 1, Gateway: "g1", Slots: 8, UnixMs: time.Now().UnixMilli(), HeartbeatMs: 1000}
}

// scripted starts a gateway that plays script for each stream, the number of the stream counting from 1.
func scripted(t testing.TB, host string, script func(n int, f far)) identity {
	t.Helper()
	roots, server, agent := certificates(t, host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	streams := 0
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert})))
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "sallyport.link.v1.AgentLink", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Attach", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error {
				mu.Lock()
				streams++
				n := streams
				mu.Unlock()
				script(n, far{t, stream})
				return nil
			}}}}, struct{}{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(listener)
	}()
	t.Cleanup(func() { s.Stop(); <-done })
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return identity{agent, net.JoinHostPort(host, port), roots}
}

// nonce is one of the length that a fence must have.
var nonce = []byte("a nonce of 16 by")

type handlerFunc func(context.Context, *linkpb.Check, func(context.Context, []byte) ([]byte, error)) Reply

func (f handlerFunc) Check(ctx context.Context, c *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) Reply {
	return f(ctx, c, fence)
}

var idle = handlerFunc(func(context.Context, *linkpb.Check, func(context.Context, []byte) ([]byte, error)) Reply {
	return Reply{}
})

// running is a link under way.
type running struct {
	*Link
	stop func()
	done <-chan error
}

func start(t testing.TB, c Config) running {
	t.Helper()
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return running{l, cancel, done}
}

// until polls a condition; the test's own deadline is the limit.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		<-time.After(5 * time.Millisecond) // until the next look
	}
	t.Fatalf("never happened: %s", what)
}

func TestCheckFenceAnswer(t *testing.T) {
	token, answered := make(chan string, 1), make(chan *linkpb.FromAgent, 4)
	id := scripted(t, "127.0.0.1", func(_ int, f far) {
		h := f.welcome(&linkpb.Welcome{ProtocolVersion: 1, Gateway: "g1", Slots: 4, UnixMs: time.Now().Add(90 * time.Second).UnixMilli()})
		if h.GetProtocolVersion() != wire.Version || h.GetSlots() != 8 || h.GetHost() != "h" || h.GetOs() != "linux" ||
			h.GetAgentVersion() != "1.2" || h.GetEnvelopeKeyId() != "k1" {
			t.Errorf("hello: %v", h)
		}
		f.check("r1")
		if r := f.recv().GetFence().GetRequestId(); r != "r1" {
			t.Errorf("fence for %q", r)
		}
		f.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Go{Go: &linkpb.Go{RequestId: "unknown", Token: []byte("x")}}})
		f.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Go{Go: &linkpb.Go{RequestId: "r1", Token: []byte("go")}}})
		answered <- f.recv()
		f.recv()
	})
	l := start(t, Config{Identity: id, Version: "1.2", Host: "h", OS: "linux", Slots: 8,
		Handler: handlerFunc(func(ctx context.Context, c *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) Reply {
			b, err := fence(ctx, nonce)
			if err != nil {
				t.Error(err)
			}
			token <- string(b)
			if _, err := fence(ctx, nonce); !errors.Is(err, ErrNoGo) {
				t.Errorf("second fence: %v", err)
			}
			return Reply{Sealed: append([]byte("yes to "), c.GetEnvelope()...)}
		})})
	if got := <-token; got != "go" {
		t.Errorf("token %q", got)
	}
	if a := (<-answered).GetAnswer(); a.GetRequestId() != "r1" || string(a.GetSealed()) != "yes to sealed" {
		t.Errorf("answer %v", a)
	}
	st := l.Status()
	if st.State != Attached || st.Gateway != "g1" || st.Slots != 4 || st.Checks != 1 || st.LastError != "" ||
		st.ClockSkew < 80*time.Second || st.ClockSkew > 100*time.Second {
		t.Errorf("status %+v", st)
	}
}

func TestFenceFailsWithoutGo(t *testing.T) {
	for name, c := range map[string]struct {
		play func(f far) // after the fence has arrived
	}{
		"empty Go": {func(f far) { f.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Go{Go: &linkpb.Go{RequestId: "r1"}}}) }},
		"cancelled": {func(f far) {
			f.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Cancel{Cancel: &linkpb.Cancel{RequestId: "r1"}}})
		}},
		"stream lost": {func(far) {}},
	} {
		t.Run(name, func(t *testing.T) {
			result := make(chan error, 1)
			over := make(chan struct{})
			id := scripted(t, "127.0.0.1", func(n int, f far) {
				f.welcome(ordinary())
				if n > 1 {
					<-over
					return
				}
				f.check("r1")
				if f.recv().GetFence() == nil {
					t.Error("no fence")
				}
				c.play(f)
				if name != "stream lost" {
					if r := f.recv().GetRefusal(); r.GetCode() != uint32(wire.AgentRefused) {
						t.Errorf("a check without Go ended with %v", r)
					}
				}
			})
			start(t, Config{Identity: id, Handler: handlerFunc(func(ctx context.Context, _ *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) Reply {
				_, err := fence(ctx, nonce)
				result <- err
				return Reply{Refused: wire.AgentRefused}
			})})
			if err := <-result; !errors.Is(err, ErrNoGo) {
				t.Errorf("got %v", err)
			}
			close(over)
		})
	}
}

func TestChecksBeyondTheSlotsAndRepetitionsAreRefused(t *testing.T) {
	release := make(chan struct{})
	codes := make(chan wire.Code, 2)
	id := scripted(t, "127.0.0.1", func(_ int, f far) {
		f.welcome(ordinary())
		f.check("r1")
		f.check("r1")
		codes <- wire.Code(f.recv().GetRefusal().GetCode())
		f.check("r2")
		f.check("r3")
		codes <- wire.Code(f.recv().GetRefusal().GetCode())
		close(release)
		for range 2 {
			if a := f.recv().GetAnswer(); a == nil {
				t.Error("a check within the slots was not answered")
			}
		}
		close(codes)
		f.recv()
	})
	start(t, Config{Identity: id, Slots: 2, Handler: handlerFunc(func(context.Context, *linkpb.Check, func(context.Context, []byte) ([]byte, error)) Reply {
		<-release
		return Reply{Sealed: []byte("yes")}
	})})
	if c := <-codes; c != wire.EnvelopeReplayed {
		t.Errorf("repetition: %d", c)
	}
	if c := <-codes; c != wire.AgentsBusy {
		t.Errorf("one too many: %d", c)
	}
	<-codes
}

func TestPermanentGoodbyeEndsTheLink(t *testing.T) {
	id := scripted(t, "127.0.0.1", func(_ int, f far) {
		f.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Goodbye{Goodbye: &linkpb.Goodbye{Code: uint32(wire.AgentRevoked), Text: "revoked\nby an administrator", Permanent: true}}})
	})
	l := start(t, Config{Identity: id, Handler: idle})
	var refused *Refused
	if err := <-l.done; !errors.As(err, &refused) || refused.Code != wire.AgentRevoked || refused.Text != "revoked by an administrator" {
		t.Fatalf("got %v", err)
	}
	if st := l.Status(); st.State != RefusedFor || !strings.Contains(st.LastError, "90042") {
		t.Errorf("status %+v", st)
	}
}

func TestComesBackAfterGoodbyeLossAndDrain(t *testing.T) {
	seen := make(chan int, 8)
	id := scripted(t, "127.0.0.1", func(n int, f far) {
		seen <- n
		switch n {
		case 1:
			f.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Goodbye{Goodbye: &linkpb.Goodbye{Code: uint32(wire.AgentReplaced), Text: "replaced"}}})
		case 2:
			f.welcome(ordinary()) // and lost
		case 3:
			f.welcome(ordinary())
			f.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Drain{Drain: &linkpb.Drain{ComeBackMs: 200, Reason: "upgrade"}}})
			f.check("r1") // already on its way
			if f.recv().GetAnswer() == nil {
				t.Error("a draining stream must still serve its checks")
			}
		default:
			f.welcome(ordinary())
			f.recv()
		}
	})
	l := start(t, Config{Identity: id, Handler: handlerFunc(func(context.Context, *linkpb.Check, func(context.Context, []byte) ([]byte, error)) Reply {
		return Reply{Sealed: []byte("yes")}
	})})
	for want := 1; want <= 4; want++ {
		if got := <-seen; got != want {
			t.Fatalf("stream %d, want %d", got, want)
		}
	}
	until(t, "attached again", func() bool { return l.Status().State == Attached })
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	answered := make(chan bool, 1)
	id := scripted(t, "127.0.0.1", func(_ int, f far) {
		f.welcome(ordinary())
		f.check("r1")
		if f.recv().GetLeaving() == nil {
			t.Error("no Leaving")
		}
		f.check("r2")
		if r := f.recv().GetRefusal(); r.GetRequestId() != "r2" || wire.Code(r.GetCode()) != wire.AgentsBusy {
			t.Errorf("a check after Leaving: %v", r)
		}
		close(release)
		answered <- f.recv().GetAnswer() != nil
		if m := f.recv(); m != nil {
			t.Errorf("after the last answer: %v", m)
		}
	})
	l := start(t, Config{Identity: id, Handler: handlerFunc(func(ctx context.Context, _ *linkpb.Check, _ func(context.Context, []byte) ([]byte, error)) Reply {
		close(inside)
		<-release
		if ctx.Err() != nil {
			t.Error("the check was cut off")
		}
		return Reply{Sealed: []byte("yes")}
	})})
	<-inside
	l.stop()
	if !<-answered {
		t.Error("not answered")
	}
	if err := <-l.done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if st := l.Status(); st.State != Stopped {
		t.Errorf("state %s", st.State)
	}
}

func TestForeignServerIsNotBelieved(t *testing.T) {
	id := scripted(t, "127.0.0.1", func(_ int, f far) { t.Error("a stream was opened to a server that nobody vouches for") })
	other, _, _ := certificates(t, "127.0.0.1")
	id.roots = other
	l := start(t, Config{Identity: id, Handler: idle})
	until(t, "an error in the status", func() bool { return strings.Contains(l.Status().LastError, "inspects TLS") })
}

func TestConfigIsChecked(t *testing.T) {
	good := identity{gateway: "g:1"}
	for name, c := range map[string]Config{
		"nothing":        {},
		"no handler":     {Identity: good},
		"no port":        {Identity: identity{gateway: "g"}, Handler: idle},
		"too many slots": {Identity: good, Handler: idle, Slots: MaxSlots + 1},
		"negative slots": {Identity: good, Handler: idle, Slots: -1},
		"socks proxy":    {Identity: good, Handler: idle, Proxy: &url.URL{Scheme: "socks5", Host: "p:1", User: url.UserPassword("u", "hidden")}},
	} {
		_, err := New(c)
		if err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVersionOfTheFuture(t *testing.T) {
	id := scripted(t, "127.0.0.1", func(_ int, f far) {
		f.welcome(&linkpb.Welcome{ProtocolVersion: wire.Version + 1})
	})
	l := start(t, Config{Identity: id, Handler: idle})
	until(t, "an error in the status", func() bool { return strings.Contains(l.Status().LastError, "protocol") })
}

func TestRefusedPrints(t *testing.T) {
	if got := fmt.Sprint(&Refused{Code: wire.AgentRevoked, Text: "why"}); got != "the gateway refuses this agent: 90042 why" {
		t.Error(got)
	}
}

// changing is an identity whose certificate the test changes.
type changing struct {
	identity
	mu      sync.Mutex
	other   tls.Certificate
	shown   uint64
	welcome chan uint64
}

func (c *changing) Passport() Passport {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown++
	p := Passport{Certificate: c.certificate, EnvelopeKeyID: "k1", Counter: c.shown}
	if c.other.PrivateKey != nil {
		p.Certificate = c.other
	}
	return p
}

func (c *changing) Welcomed(p Passport) { c.welcome <- p.Counter }

// TestRejoin: another connection is opened for another certificate alone, and while it is, the first goes on; each has a higher number.
func TestRejoin(t *testing.T) {
	hellos := make(chan *linkpb.Hello, 8)
	checked, leave := make(chan string, 8), make(chan struct{})
	id := &changing{welcome: make(chan uint64, 8)}
	id.identity = scripted(t, "127.0.0.1", func(n int, f far) {
		hellos <- f.welcome(ordinary())
		if n == 1 {
			<-leave // the second is attached
			f.check("old")
		} else {
			f.check("new")
		}
		for m := f.recv(); m != nil; m = f.recv() {
			if a := m.GetAnswer(); a != nil {
				checked <- a.GetRequestId()
			}
		}
	})
	l := start(t, Config{Identity: id, Slots: 8, Handler: handlerFunc(func(context.Context, *linkpb.Check, func(context.Context, []byte) ([]byte, error)) Reply {
		return Reply{Sealed: []byte("x")}
	})})
	if n := <-id.welcome; n != 1 {
		t.Errorf("the first connection is number %d", n)
	}
	l.Rejoin() // with the certificate that it has
	_, _, other := certificates(t, "127.0.0.1")
	until(t, "the wish was heard", func() bool { return len(l.rejoin) == 0 })
	id.mu.Lock()
	id.other = other
	id.mu.Unlock()
	l.Rejoin()
	if n := <-id.welcome; n < 2 {
		t.Errorf("the second connection is number %d", n)
	}
	first, second := <-hellos, <-hellos
	if second.GetCounter() <= first.GetCounter() {
		t.Errorf("numbers %d and %d", first.GetCounter(), second.GetCounter())
	}
	close(leave)
	if a, b := <-checked, <-checked; a == b {
		t.Errorf("checks %s and %s", a, b)
	}
	if len(hellos) > 0 {
		t.Error("a second connection with one certificate")
	}
}

// TestServicesOfOtherVersions: a service of the first protocol, which asks for no proofs and answers none, and one of today that says things of
// which this agent has never heard, get their checks answered.
func TestServicesOfOtherVersions(t *testing.T) {
	for _, version := range []uint32{1, wire.Version} {
		answered := make(chan string, 1)
		id := scripted(t, "127.0.0.1", func(_ int, f far) {
			w := ordinary()
			w.ProtocolVersion = version
			w.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType), "of tomorrow"))
			f.welcome(w)
			tomorrow := new(linkpb.ToAgent)
			tomorrow.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 901, protowire.BytesType), "another kind of message"))
			f.send(tomorrow)
			f.check("r")
			answered <- string(f.recv().GetAnswer().GetSealed())
			f.recv()
		})
		asked := &proverOf{}
		start(t, Config{Identity: id, Prover: asked, Handler: handlerFunc(func(context.Context, *linkpb.Check, func(context.Context, []byte) ([]byte, error)) Reply {
			return Reply{Sealed: []byte("yes")}
		})})
		if got := <-answered; got != "yes" {
			t.Errorf("version %d: %q", version, got)
		}
		until(t, "the prover is told that nobody asks", func() bool { return asked.told.Load() == 1 })
		if asked.proofs.Load() != 0 {
			t.Errorf("%d proofs went to a service that knows none", asked.proofs.Load())
		}
	}
}

// proverOf counts what it is asked and told.
type proverOf struct{ proofs, told atomic.Int64 }

func (p *proverOf) Prove(context.Context) *linkpb.Proof { p.proofs.Add(1); return &linkpb.Proof{} }
func (p *proverOf) Proven(a *linkpb.Proven) {
	if a == nil {
		p.told.Add(1)
	}
}

// A gateway whose process hangs keeps its connections alive and reads nothing. The agent notices by what it cannot send, comes back, and can be stopped
// meanwhile.
func TestGatewayThatReadsNothing(t *testing.T) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	var streams atomic.Int32
	id := scripted(t, "127.0.0.1", func(n int, f far) {
		streams.Store(int32(n))
		f.welcome(ordinary())
		<-over
	})
	l, err := New(Config{Identity: id, Handler: idle, Health: func() *linkpb.Health { return &linkpb.Health{LastError: strings.Repeat("x", maxMessage-1024)} }})
	if err != nil {
		t.Fatal(err)
	}
	l.sendWithin = 100 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	until(t, "the end of a stream that hangs", func() bool { return strings.Contains(l.Status().LastError, "has not read") })
	until(t, "a second stream", func() bool { return streams.Load() >= 2 && l.Status().State == Attached })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Whoever is on the way can make an error as long as a certificate has names; the status stays one that can be read.
func TestLastErrorIsShort(t *testing.T) {
	l, err := New(Config{Identity: identity{gateway: "g:1"}, Handler: idle})
	if err != nil {
		t.Fatal(err)
	}
	l.failed(Waiting, errors.New("x509: certificate is valid for "+strings.Repeat("ü.example, ", 5000)), time.Time{})
	if got := l.Status().LastError; len(got) > 2*maxDetail || !strings.HasPrefix(got, "x509") {
		t.Errorf("%d bytes", len(got))
	}
}
