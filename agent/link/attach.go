package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
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
}

// errFarewell is the end of a stream without a word of goodbye.
var errFarewell = errors.New("the gateway ended the stream")

// attach runs one connection from the first packet to the last.
func (l *Link) attach(ctx context.Context) ending {
	conn, err := l.client()
	if err != nil {
		return ending{err: err}
	}
	defer func() { _ = conn.Close() }()
	// The stream must outlive ctx for as long as checks in flight take, so it has its own.
	streamCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	deadline := time.AfterFunc(attachWithin, func() { cancel(fmt.Errorf("not attached within %s", attachWithin)) })
	stopEarly := context.AfterFunc(ctx, func() { cancel(ctx.Err()) })
	s, err := l.hello(streamCtx, conn)
	if !deadline.Stop() || !stopEarly() {
		err = errors.Join(context.Cause(streamCtx), err)
	}
	if err != nil {
		return ending{err: hint(err)}
	}
	return s.run(ctx, func() { cancel(errFarewell) })
}

// client makes a connection object; nothing is dialled yet. One is made for each attach: gRPC's own reconnecting and its
// connections that drain are then no concern of ours.
func (l *Link) client() (*grpc.ClientConn, error) {
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
	certificate := l.c.Identity.TLSCertificate()
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

	sending sync.Mutex // a gRPC stream takes one sender at a time

	mu      sync.Mutex // guards the rest
	checks  map[string]*check
	leaving bool
	tasks   sync.WaitGroup // one for each of checks, so that leaving can wait for them
}

// hello opens the stream and exchanges Hello and Welcome.
func (l *Link) hello(ctx context.Context, conn *grpc.ClientConn) (*session, error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{StreamName: "Attach", ClientStreams: true, ServerStreams: true}, wire.AttachMethod)
	if err != nil {
		return nil, err
	}
	sent := time.Now()
	err = stream.SendMsg(&linkpb.FromAgent{Message: &linkpb.FromAgent_Hello{Hello: &linkpb.Hello{
		ProtocolVersion: wire.Version, AgentVersion: l.c.Version, Host: l.c.Host, Os: l.c.OS, Slots: uint32(l.c.Slots),
		EnvelopeKeyId: l.c.EnvelopeKeyID, UnixMs: sent.UnixMilli(),
	}}})
	if err != nil && !errors.Is(err, io.EOF) { // EOF: the reason is what RecvMsg returns
		return nil, err
	}
	var m linkpb.ToAgent
	if err := stream.RecvMsg(&m); err != nil {
		return nil, err
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
	s := &session{l: l, stream: stream, started: now, beat: defaultHeartbeat, checks: map[string]*check{}}
	if ms := w.GetHeartbeatMs(); ms > 0 {
		s.beat = min(max(time.Duration(ms)*time.Millisecond, minHeartbeat), maxHeartbeat)
	}
	skew := time.UnixMilli(w.GetUnixMs()).Sub(sent.Add(now.Sub(sent) / 2)).Round(time.Millisecond)
	slots := l.c.Slots
	if n := int(w.GetSlots()); n > 0 {
		slots = min(slots, n)
	}
	l.update(func(st *Status) {
		st.State, st.Since, st.NextTry, st.LastError = Attached, now, time.Time{}, ""
		st.Gateway, st.Slots, st.ClockSkew, st.InFlight = clip(w.GetGateway()), slots, skew, 0
	})
	l.log.Info("attached to gateway", "gateway", clip(w.GetGateway()), "slots", slots, "clock_skew", skew)
	return s, nil
}

// run serves the stream until it ends, or leaves it when ctx ends. kill cuts it off.
func (s *session) run(ctx context.Context, kill func()) ending {
	ended := make(chan ending, 1)
	draining := make(chan struct{}, 1)
	go func() {
		e := s.read(draining)
		s.abandon()
		ended <- e
	}()
	heartbeat := time.NewTicker(s.beat)
	defer heartbeat.Stop()
	var drained <-chan time.Time
	for {
		select {
		case e := <-ended:
			e.lived = time.Since(s.started)
			return e
		case <-heartbeat.C:
			st := s.l.Status()
			_ = s.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Heartbeat{Heartbeat: &linkpb.Heartbeat{
				InFlight: uint32(st.InFlight), Checks: st.Checks, UnixMs: time.Now().UnixMilli()}}})
		case <-draining:
			s.l.enter(Draining)
			timer := time.NewTimer(drainWithin)
			defer timer.Stop()
			drained = timer.C
		case <-drained:
			kill()
		case <-ctx.Done():
			return s.leave(ended, kill)
		}
	}
}

// leave takes no more checks, finishes those in flight, and closes the stream.
func (s *session) leave(ended <-chan ending, kill func()) ending {
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
	case e := <-ended:
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
	case e := <-ended:
		return e
	case <-farewell.C:
		kill()
		return <-ended
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
		case *linkpb.ToAgent_Goodbye:
			return ending{err: goodbye(m.Goodbye), comeBack: comeBack}
		}
	}
}

// send is safe for concurrent use. Its error needs no log: the reader meets the same end.
func (s *session) send(m *linkpb.FromAgent) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.stream.SendMsg(m)
}

// goodbye turns a Goodbye into an error, a *Refused when it is for good.
func goodbye(g *linkpb.Goodbye) error {
	if g.GetPermanent() {
		return &Refused{Code: wire.Code(g.GetCode()), Text: clip(g.GetText())}
	}
	return fmt.Errorf("the gateway said goodbye: %d %s", g.GetCode(), clip(g.GetText()))
}

// clip makes words of the other side fit for a log line.
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
