package gateway

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// handshaker remembers the connection of each peer: gRPC cannot close one, and ending a stream leaves it open.
type handshaker struct {
	credentials.TransportCredentials
}

// peerAuth is what the handshake learned.
type peerAuth struct {
	credentials.TLSInfo
	conn net.Conn
}

func (h handshaker) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	secure, ok := info.(credentials.TLSInfo)
	if !ok {
		_ = conn.Close()
		return nil, nil, errors.New("gateway: a handshake that is not TLS")
	}
	return conn, peerAuth{secure, conn}, nil
}

func (h handshaker) Clone() credentials.TransportCredentials {
	return handshaker{h.TransportCredentials.Clone()}
}

// server makes the gRPC server with its one method.
func (g *Gateway) server() *grpc.Server {
	s := grpc.NewServer(
		grpc.Creds(handshaker{credentials.NewTLS(g.tls)}),
		grpc.ConnectionTimeout(handshakeWithin),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.ReadBufferSize(bufferSize), grpc.WriteBufferSize(bufferSize),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleAfter, Time: pingEvery, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing}),
	)
	service, method := splitMethod(wire.AttachMethod)
	s.RegisterService(&grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
		StreamName: method, ServerStreams: true, ClientStreams: true,
		Handler: func(_ any, stream grpc.ServerStream) error { return g.attach(stream) },
	}}}, struct{}{})
	return s
}

// attach is the life of one stream.
func (g *Gateway) attach(stream grpc.ServerStream) error {
	p, ok := peer.FromContext(stream.Context())
	if !ok {
		return status.Error(codes.Internal, "no peer")
	}
	auth, ok := p.AuthInfo.(peerAuth)
	if !ok {
		return status.Error(codes.Unauthenticated, "mutual TLS is needed")
	}
	address := hostOf(p.Addr.String())
	refuse := func(err error) error { return g.refuse(stream, auth.conn, address, err) }

	scope, agent, certificate, err := g.admit(stream.Context(), auth.State.PeerCertificates, time.Now())
	if err != nil {
		return refuse(err)
	}
	hello, err := receiveHello(stream, auth.conn)
	if err != nil {
		return refuse(err)
	}
	if hello.GetProtocolVersion() < wire.OldestVersion {
		return refuse(fault.Newf(wire.VersionUnsupported, "the agent speaks version %d, this service %d to %d",
			hello.GetProtocolVersion(), wire.OldestVersion, wire.Version))
	}
	serial := ca.SerialOf(certificate)
	if id := hello.GetEnvelopeKeyId(); id != "" && id != agent.KeyOf(serial).ID() {
		return refuse(fault.New(wire.EnvelopeUnreadable, "the agent holds another envelope key than the one it registered"))
	}
	skew := skewOf(hello.GetUnixMs(), time.Now())
	if !tolerable(skew) {
		g.sight(sighting{scope: scope, agent: agent.ID, Sighting: sightingOf(hello, address, skew)})
		return refuse(fault.Newf(wire.ClockSkew, "agent %s (%s): its clock is %v behind the service's", agent.ID, agent.Name, skew.Round(time.Millisecond)))
	}
	conn := fleet.Connection{Stream: rand.Text(), Serial: serial, Counter: hello.GetCounter()}
	if agent, err = g.fleet.Connect(stream.Context(), scope, agent.ID, conn, time.Now()); err != nil {
		g.alarmOlder(stream, auth.conn, scope, agent, address, err)
		return refuse(err)
	}
	a := &attached{
		id: agent.ID, ref: fleet.AgentRef{Scope: scope, Agent: agent.ID, Serial: serial}, scope: scope,
		slots: min(max(int(hello.GetSlots()), 1), MaxSlots), hello: hello, address: address, expires: certificate.NotAfter,
		stream: conn, counts: hello.GetCounter() > 0, since: time.Now(), probed: make(chan []byte, 1), drained: agent.State == fleet.Drained,
		held: hello.GetProves(),
		over: make(chan struct{}), cut: func() { _ = auth.conn.Close() }, deliveries: map[string]*delivery{},
	}
	// Room for a Check, a Go and a Cancel of every slot, and a few words more: a reading agent can never overflow it.
	a.out = make(chan *linkpb.ToAgent, 3*a.slots+8)
	a.heard.Store(time.Now().UnixMilli())
	a.skew.Store(skew.Milliseconds())
	a.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Welcome{Welcome: &linkpb.Welcome{
		ProtocolVersion: min(hello.GetProtocolVersion(), wire.Version), Gateway: g.id, Slots: uint32(a.slots),
		UnixMs: time.Now().UnixMilli(), HeartbeatMs: uint32(heartbeatEvery.Milliseconds()), Proves: true}}})
	if err := g.enter(a, agent.DirectoryID); err != nil {
		return refuse(err)
	}
	g.log.Info("agent attached", "tenant", scope.String(), "agent", a.id, "name", agent.Name, "directory", agent.DirectoryID,
		"address", address, "version", clip(hello.GetAgentVersion(), maxWords), "slots", a.slots, "clock_skew", skew.Round(time.Millisecond), "drained", a.drained)
	go g.read(stream, a)
	err = g.write(stream, a, certificate.NotAfter)
	a.end(nil)
	g.gone(a)
	g.log.Info("agent detached", "tenant", scope.String(), "agent", a.id, "in_flight", a.inFlight(),
		"code", a.farewell.GetCode(), "reason", a.farewell.GetText(), "err", err)
	return err
}

// admit says who is there and whether it is wanted, before a word is read.
func (g *Gateway) admit(ctx context.Context, chain []*x509.Certificate, now time.Time) (tenant.Scope, fleet.Agent, *x509.Certificate, error) {
	if len(chain) == 0 {
		return tenant.Scope{}, fleet.Agent{}, nil, fault.New(wire.CertificateForeign, "no certificate")
	}
	id, err := g.ca.Verify(chain, now)
	if err != nil {
		return tenant.Scope{}, fleet.Agent{}, nil, err
	}
	scope, agent, err := g.fleet.Admit(ctx, id, ca.SerialOf(chain[0]), now)
	if err != nil {
		return tenant.Scope{}, fleet.Agent{}, nil, err
	}
	return scope, agent, chain[0], nil
}

// receiveHello reads the first message. Who is silent is cut off.
func receiveHello(stream grpc.ServerStream, conn net.Conn) (*linkpb.Hello, error) {
	limit := time.AfterFunc(helloWithin, func() { _ = conn.Close() })
	defer limit.Stop()
	var m linkpb.FromAgent
	if err := stream.RecvMsg(&m); err != nil {
		return nil, fault.Wrap(wire.TransientNetwork, "no Hello", err)
	}
	if m.GetHello() == nil {
		return nil, fault.New(wire.BadRequest, "the first message is not a Hello")
	}
	return m.GetHello(), nil
}

// permanent reports whether coming back with the same identity is pointless.
func permanent(code wire.Code) bool {
	switch code {
	case wire.CertificateForeign, wire.CertificateExpired, wire.AgentRevoked, wire.AgentUnknown, wire.VersionUnsupported,
		wire.EnvelopeUnreadable, wire.AgentQuarantined, wire.IdentityOlder, wire.CertificateSuperseded:
		return true
	}
	return false
}

// farewell puts a code into words for the agent's administrator. The cause of a failure of ours stays here.
func farewell(code wire.Code) *linkpb.Goodbye {
	entry := fault.Entry(fault.New(code, ""))
	return goodbye(code, entry.Meaning+" "+entry.Remedy, permanent(code))
}

// refuse ends a stream that was never attached. The connection is closed once the words have had time to arrive.
func (g *Gateway) refuse(stream grpc.ServerStream, conn net.Conn, address string, err error) error {
	code := fault.CodeOf(err)
	g.metrics.refused.WithLabelValues(code.String()).Inc()
	g.log.Warn("agent refused", "address", address, "code", int(code), "err", err)
	time.AfterFunc(closeAfter, func() { _ = conn.Close() })
	if code == wire.GatewayDraining {
		return stream.SendMsg(&linkpb.ToAgent{Message: &linkpb.ToAgent_Drain{Drain: &linkpb.Drain{
			ComeBackMs: uint32(comeBackMin.Milliseconds()), Reason: "the gateway is going away"}}})
	}
	return stream.SendMsg(&linkpb.ToAgent{Message: &linkpb.ToAgent_Goodbye{Goodbye: farewell(code)}})
}

// write sends what deliveries queue until the stream is over, and ends it when the certificate expires or the agent falls
// silent.
func (g *Gateway) write(stream grpc.ServerStream, a *attached, notAfter time.Time) error {
	expiry := time.NewTimer(time.Until(notAfter))
	defer expiry.Stop()
	silent := time.NewTicker(heartbeatEvery)
	defer silent.Stop()
	for {
		select {
		case m := <-a.out:
			if err := stream.SendMsg(m); err != nil {
				return err
			}
		case <-a.over:
			return sayFarewell(stream, a)
		case <-expiry.C:
			a.end(farewell(wire.CertificateExpired))
		case now := <-silent.C:
			if now.UnixMilli()-a.heard.Load() > (missedBeats * heartbeatEvery).Milliseconds() {
				a.end(goodbye(wire.TransientNetwork, "no heartbeat from the agent", false))
			}
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// sayFarewell sends the last word. Without one the agent leaves in peace, and gets what is still queued (a Drain).
func sayFarewell(stream grpc.ServerStream, a *attached) error {
	if a.farewell != nil {
		return stream.SendMsg(&linkpb.ToAgent{Message: &linkpb.ToAgent_Goodbye{Goodbye: a.farewell}})
	}
	for {
		select {
		case m := <-a.out:
			if err := stream.SendMsg(m); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// read handles what the agent sends until its side of the stream ends.
func (g *Gateway) read(stream grpc.ServerStream, a *attached) {
	defer a.end(nil)
	for {
		m := new(linkpb.FromAgent)
		if err := stream.RecvMsg(m); err != nil {
			return
		}
		a.heard.Store(time.Now().UnixMilli())
		switch w := m.GetMessage().(type) {
		case *linkpb.FromAgent_Fence:
			a.event(w.Fence.GetRequestId(), m)
		case *linkpb.FromAgent_Answer:
			a.event(w.Answer.GetRequestId(), m)
		case *linkpb.FromAgent_Refusal:
			a.event(w.Refusal.GetRequestId(), m)
		case *linkpb.FromAgent_Heartbeat:
			g.beat(a, w.Heartbeat)
		case *linkpb.FromAgent_Probed:
			select {
			case a.probed <- w.Probed.GetNonce():
			default:
			}
		case *linkpb.FromAgent_Renew:
			// One at a time: a second would only throw the first's certificate away.
			if a.renewing.CompareAndSwap(false, true) {
				go func() {
					defer a.renewing.Store(false)
					g.renew(stream.Context(), a, w.Renew)
				}()
			}
		case *linkpb.FromAgent_Proof:
			if a.proving.CompareAndSwap(false, true) {
				go func() {
					defer a.proving.Store(false)
					g.prove(stream.Context(), a, w.Proof)
				}()
			}
		case *linkpb.FromAgent_Leaving:
			g.log.Info("agent leaving", "tenant", a.scope.String(), "agent", a.id, "reason", clip(w.Leaving.GetReason(), maxWords))
			a.room.leave(a, false)
			g.subscribe(a.room)
		}
	}
}

func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// splitMethod cuts "/service/method".
func splitMethod(full string) (service, method string) {
	service, method, _ = strings.Cut(strings.TrimPrefix(full, "/"), "/")
	return service, method
}
