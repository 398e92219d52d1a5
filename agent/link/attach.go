package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// ending is how one connection ended.
type ending struct {
	err      error
	lived    time.Duration // since Welcome; zero if it never came
	comeBack time.Duration // what a draining gateway asked for
	another  bool          // refused for good, and there is another passport to try
}

// errFarewell is the end of a stream without a word of goodbye.
var errFarewell = errors.New("the gateway ended the stream")

// errHangs is the end of a stream that the other side does not read.
var errHangs = errors.New("the gateway has not read what it was sent")

// attach runs connections from the first packet to the last: one, and those that take over from it without a gap.
func (l *Link) attach(ctx context.Context) ending {
	s, err := l.join(ctx, l.c.Identity.Passport())
	if err != nil {
		return ending{err: err, another: l.refused(err)}
	}
	for {
		l.serve(s)
		e, successor := s.run(ctx)
		if successor == nil {
			l.serve(nil)
			s.close()
			e.another = l.refused(e.err)
			return e
		}
		old := s
		l.tasks.Go(func() {
			defer old.close()
			old.retire(ctx)
		})
		s = successor
	}
}

// serve makes s, or no session, the one that gets checks.
func (l *Link) serve(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serving = s
	if s != nil {
		l.status.State, l.status.Since, l.status.NextTry, l.status.LastError = Attached, s.started, time.Time{}, ""
		l.status.Gateway, l.status.Slots, l.status.ClockSkew, l.status.InFlight = s.gateway, s.slots, s.skew, 0
	}
}

// refusal is a Refused of one passport.
type refusal struct {
	error
	passport Passport
}

func (r refusal) Unwrap() error { return r.error }

// refused asks whether there is another passport to try after an error.
func (l *Link) refused(err error) bool {
	var r refusal
	var refused *Refused
	return errors.As(err, &r) && errors.As(r.error, &refused) && l.c.Identity.Refused(r.passport, refused.Code)
}

// join opens one connection, up to the Welcome.
func (l *Link) join(ctx context.Context, passport Passport) (*session, error) {
	conn, err := l.client(passport)
	if err != nil {
		return nil, err
	}
	// The stream must outlive ctx for as long as checks in flight take, so it has its own.
	streamCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	deadline := time.AfterFunc(attachWithin, func() { cancel(fmt.Errorf("not attached within %s", attachWithin)) })
	stopEarly := context.AfterFunc(ctx, func() { cancel(ctx.Err()) })
	s, err := l.hello(streamCtx, conn, passport)
	if !deadline.Stop() || !stopEarly() {
		err = errors.Join(context.Cause(streamCtx), err)
	}
	if err != nil {
		cancel(nil)
		_ = conn.Close()
		return nil, refusal{hint(err), passport}
	}
	s.passport = passport
	s.kill = cancel
	s.close = func() { cancel(nil); _ = conn.Close() }
	l.c.Identity.Welcomed(passport)
	return s, nil
}

// client makes a connection object; nothing is dialled yet. One is made for each attach: gRPC's own reconnecting and its
// connections that drain are then no concern of ours.
func (l *Link) client(passport Passport) (*grpc.ClientConn, error) {
	address := l.c.Identity.Gateway()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("gateway address: %w", err)
	}
	proxy, err := proxyFor(l.c.Proxy, address)
	if err == nil {
		err = checkProxy(proxy)
	}
	if err != nil {
		return nil, err
	}
	certificate := passport.Certificate
	secure := credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: host,
		RootCAs:    l.c.Identity.GatewayRoots(),
		// Always ours, whatever authorities the server lists: it decides, and says in words why not.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil },
	})
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(secure),
		grpc.WithAuthority(host),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return dial(ctx, proxy, address) }),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: attachWithin}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithReadBufferSize(bufferSize), grpc.WithWriteBufferSize(bufferSize),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithNoProxy(),
		grpc.WithUserAgent("sallyport-agent/"+l.c.Version),
	)
}

// session is one attached stream.
type session struct {
	l       *Link
	stream  grpc.ClientStream
	beat    time.Duration
	started time.Time
	// passport was shown for it; kill ends the stream at once, close releases its connection.
	passport Passport
	kill     context.CancelCauseFunc
	close    func()
	protocol int
	gateway  string
	slots    int
	skew     time.Duration
	// ended gets the end of the stream from its reader; retired says that a successor serves.
	ended   chan ending
	retired atomic.Bool
	// renewed gets the answer to a Renew, proven that to a Proof; proves says that the service answers those.
	renewed chan *linkpb.Renewed
	proven  chan *linkpb.Proven
	proves  bool

	sending sync.Mutex // a gRPC stream takes one sender at a time

	mu      sync.Mutex // guards the rest
	checks  map[string]*check
	leaving bool
	tasks   sync.WaitGroup // one for each of checks, so that leaving can wait for them
}

// hello opens the stream and exchanges Hello and Welcome.
func (l *Link) hello(ctx context.Context, conn *grpc.ClientConn, passport Passport) (*session, error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{StreamName: "Attach", ClientStreams: true, ServerStreams: true}, wire.AttachMethod)
	if err != nil {
		return nil, err
	}
	sent := time.Now()
	err = stream.SendMsg(&linkpb.FromAgent{Message: &linkpb.FromAgent_Hello{Hello: &linkpb.Hello{
		ProtocolVersion: wire.Version, AgentVersion: l.c.Version, Host: l.c.Host, Os: l.c.OS, Slots: uint32(l.c.Slots),
		EnvelopeKeyId: passport.EnvelopeKeyID, UnixMs: sent.UnixMilli(), Counter: passport.Counter, Proves: l.c.Prover != nil,
	}}})
	if err != nil && !errors.Is(err, io.EOF) { // EOF: the reason is what RecvMsg returns
		return nil, err
	}
	var m linkpb.ToAgent
	if err := stream.RecvMsg(&m); err != nil {
		return nil, err
	}
	if p := m.GetProbe(); p != nil {
		// Somebody else has this identity, or an older state of it came: whoever asks wants to know that we are here.
		if err := stream.SendMsg(&linkpb.FromAgent{Message: &linkpb.FromAgent_Probed{Probed: &linkpb.Probed{Nonce: p.GetNonce()}}}); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		m.Reset()
		if err := stream.RecvMsg(&m); err != nil {
			return nil, err
		}
	}
	if g := m.GetGoodbye(); g != nil {
		return nil, goodbye(g)
	}
	if d := m.GetDrain(); d != nil {
		return nil, fmt.Errorf("the gateway is going away: %s", clip(d.GetReason()))
	}
	w := m.GetWelcome()
	if w == nil || w.GetProtocolVersion() < 1 || w.GetProtocolVersion() > wire.Version {
		return nil, errors.New("the gateway's first message is not a Welcome of a protocol that this agent speaks")
	}
	now := time.Now()
	s := &session{l: l, stream: stream, started: now, beat: defaultHeartbeat, protocol: int(w.GetProtocolVersion()), gateway: clip(w.GetGateway()),
		renewed: make(chan *linkpb.Renewed, 1), proven: make(chan *linkpb.Proven, 1), proves: w.GetProves(), checks: map[string]*check{}}
	if ms := w.GetHeartbeatMs(); ms > 0 {
		s.beat = min(max(time.Duration(ms)*time.Millisecond, minHeartbeat), maxHeartbeat)
	}
	s.skew = time.UnixMilli(w.GetUnixMs()).Sub(sent.Add(now.Sub(sent) / 2)).Round(time.Millisecond)
	s.slots = l.c.Slots
	if n := int(w.GetSlots()); n > 0 {
		s.slots = min(s.slots, n)
	}
	l.log.Info("attached to gateway", "gateway", s.gateway, "slots", s.slots, "clock_skew", s.skew)
	if s.skew.Abs() >= skewWorth {
		l.log.Warn("this host's clock differs from the service's; set it (NTP), or checks will be refused as stale", "service_ahead", s.skew.String())
	}
	return s, nil
}

// run serves the stream until it ends, a successor takes over, or ctx ends.
func (s *session) run(ctx context.Context) (ending, *session) {
	s.ended = make(chan ending, 1)
	draining := make(chan struct{}, 1)
	go func() {
		e := s.read(draining)
		s.abandon()
		s.ended <- e
	}()
	proofs, stopProofs := context.WithCancel(ctx)
	defer stopProofs()
	s.l.tasks.Go(func() { s.prove(proofs) })
	s.sayHow() // whoever chooses among agents should not have to wait for the first beat
	heartbeat := time.NewTicker(s.beat)
	defer heartbeat.Stop()
	var drained <-chan time.Time
	var joined chan attempt // of a connection that is to take over
	for {
		select {
		case e := <-s.ended:
			e.lived = time.Since(s.started)
			if joined != nil {
				// One goroutine opens connections, so that this agent never has two that do not know of each other.
				if a := <-joined; a.s != nil {
					s.ended <- e
					return ending{}, a.s
				}
			}
			return e, nil
		case <-heartbeat.C:
			s.sayHow()
		case <-draining:
			s.l.enter(Draining)
			timer := time.NewTimer(drainWithin)
			defer timer.Stop()
			drained = timer.C
		case <-drained:
			s.kill(errFarewell)
		case <-s.rejoins(joined != nil):
			passport := s.l.c.Identity.Passport()
			if bytes.Equal(passport.Certificate.Certificate[0], s.passport.Certificate.Certificate[0]) {
				continue // the wish came true by a connection that was lost; a second one with this certificate would look like a copy
			}
			joined = make(chan attempt, 1)
			go func() {
				next, err := s.l.join(ctx, passport)
				joined <- attempt{next, err}
			}()
		case a := <-joined:
			joined = nil
			if a.s != nil {
				return ending{}, a.s
			}
			s.l.log.Warn("another connection did not come about; the present one goes on", "err", clip(a.err.Error()))
			if s.l.refused(a.err) {
				s.l.log.Warn("the service does not know the renewed certificate; the one before is still good")
			}
		case <-ctx.Done():
			if joined != nil {
				if a := <-joined; a.s != nil {
					a.s.close()
				}
			}
			return s.leave(), nil
		}
	}
}

// sayHow sends a heartbeat.
func (s *session) sayHow() {
	st := s.l.Status()
	h := &linkpb.Heartbeat{InFlight: uint32(st.InFlight), Checks: st.Checks, UnixMs: time.Now().UnixMilli()}
	if s.l.c.Health != nil {
		h.Health = s.l.c.Health()
	}
	_ = s.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Heartbeat{Heartbeat: h}})
}

// attempt is the end of joining.
type attempt struct {
	s   *session
	err error
}

// rejoins is the wish for another connection, not heard while one is being opened.
func (s *session) rejoins(busy bool) <-chan struct{} {
	if busy {
		return nil
	}
	return s.l.rejoin
}

// retire ends a session whose successor serves. Offers that were made before the gateways knew of the successor still come here for a
// moment, and are taken.
func (s *session) retire(ctx context.Context) {
	s.retired.Store(true)
	overlap := time.NewTimer(overlapFor)
	defer overlap.Stop()
	select {
	case <-overlap.C:
	case <-ctx.Done():
	case <-s.ended:
		return
	}
	s.leave()
}

// renew sends a Renew and waits for its answer.
func (s *session) renew(ctx context.Context, r *linkpb.Renew) (*linkpb.Renewed, error) {
	if err := s.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Renew{Renew: r}}); err != nil {
		return nil, err
	}
	limit := time.NewTimer(renewWithin)
	defer limit.Stop()
	for {
		select {
		case got := <-s.renewed:
			if got.GetId() == r.GetId() {
				return got, nil
			}
		case <-limit.C:
			return nil, fmt.Errorf("no answer to a renewal within %s", renewWithin)
		case <-s.stream.Context().Done():
			return nil, fmt.Errorf("the stream ended before a renewal was answered: %w", context.Cause(s.stream.Context()))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// leave takes no more checks, finishes those in flight, and closes the stream.
func (s *session) leave() ending {
	s.mu.Lock()
	s.leaving = true
	s.mu.Unlock()
	_ = s.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Leaving{Leaving: &linkpb.Leaving{Reason: "shutdown"}}})
	finished := make(chan struct{})
	go func() {
		s.tasks.Wait()
		close(finished)
	}()
	limit := time.NewTimer(leaveWithin)
	defer limit.Stop()
	select {
	case <-finished:
	case e := <-s.ended:
		return e
	case <-limit.C:
		s.l.log.Warn("checks cut off at shutdown", "in_flight", s.l.Status().InFlight)
	}
	s.sending.Lock()
	_ = s.stream.CloseSend()
	s.sending.Unlock()
	farewell := time.NewTimer(farewellWithin)
	defer farewell.Stop()
	select {
	case e := <-s.ended:
		return e
	case <-farewell.C:
		s.kill(errFarewell)
		return <-s.ended
	}
}

// read handles what the gateway sends until the stream ends.
func (s *session) read(draining chan<- struct{}) ending {
	var comeBack time.Duration
	for {
		var m linkpb.ToAgent
		if err := s.stream.RecvMsg(&m); err != nil {
			if errors.Is(err, io.EOF) {
				err = errFarewell
			}
			if cause := context.Cause(s.stream.Context()); errors.Is(cause, errHangs) {
				err = cause
			}
			return ending{err: hint(err), comeBack: comeBack}
		}
		switch m := m.GetMessage().(type) {
		case *linkpb.ToAgent_Check:
			s.accept(m.Check)
		case *linkpb.ToAgent_Go:
			s.granted(m.Go)
		case *linkpb.ToAgent_Cancel:
			s.cancel(m.Cancel.GetRequestId())
		case *linkpb.ToAgent_Drain:
			comeBack = min(max(time.Duration(m.Drain.GetComeBackMs())*time.Millisecond, backoffMin), maxComeBack)
			select {
			case draining <- struct{}{}:
			default:
			}
		case *linkpb.ToAgent_Probe:
			_ = s.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Probed{Probed: &linkpb.Probed{Nonce: m.Probe.GetNonce()}}})
		case *linkpb.ToAgent_Order:
			wake(s.l.ordered)
		case *linkpb.ToAgent_Renewed:
			select {
			case s.renewed <- m.Renewed:
			default:
			}
		case *linkpb.ToAgent_Proven:
			select {
			case s.proven <- m.Proven:
			default:
			}
		case *linkpb.ToAgent_Goodbye:
			return ending{err: refusal{goodbye(m.Goodbye), s.passport}, comeBack: comeBack}
		}
	}
}

// send is safe for concurrent use. Its error needs no log: the reader meets the same end. A gateway that takes nothing loses the stream.
func (s *session) send(m *linkpb.FromAgent) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	hangs := time.AfterFunc(s.l.sendWithin, func() { s.kill(errHangs) })
	defer hangs.Stop()
	return s.stream.SendMsg(m)
}

// goodbye turns a Goodbye into an error, a *Refused when it is for good.
func goodbye(g *linkpb.Goodbye) error {
	if g.GetPermanent() {
		return &Refused{Code: wire.Code(g.GetCode()), Text: clip(g.GetText())}
	}
	return fmt.Errorf("the gateway said goodbye: %d %s", g.GetCode(), clip(g.GetText()))
}

// clip makes words of the other side, and errors about its certificate, fit for a log line.
func clip(s string) string {
	out := make([]rune, 0, min(len(s), maxDetail))
	for _, c := range s {
		if len(out) == maxDetail {
			break
		}
		if c < 0x20 || (c >= 0x7f && c < 0xa0) {
			c = ' '
		}
		out = append(out, c)
	}
	return string(out)
}
