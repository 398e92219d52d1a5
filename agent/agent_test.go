package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// gateway is the other end of a link over real mutual TLS and gRPC: talk holds the conversation of one stream after Hello.
type gateway struct {
	address string
	hello   *linkpb.Hello
	agent   *x509.Certificate
}

func newGateway(t *testing.T, a authority, talk func(g *gateway, s gatewayStream) error) *gateway {
	t.Helper()
	key := newKey(t)
	cert := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, &key.PublicKey)
	l := listen(t)
	g := &gateway{address: l.Addr().String()}
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13,
			VerifyConnection: func(s tls.ConnectionState) error { g.agent = s.PeerCertificates[0]; return nil },
		})),
		grpc.UnknownServiceHandler(func(_ any, raw grpc.ServerStream) error {
			s := gatewayStream{raw}
			if method, _ := grpc.MethodFromServerStream(raw); method != wire.AttachMethod {
				return status.Error(codes.Unimplemented, method)
			}
			m, err := s.receive()
			if err != nil {
				return err
			}
			g.hello = m.GetHello()
			return talk(g, s)
		}))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return g
}

type gatewayStream struct{ grpc.ServerStream }

func (s gatewayStream) receive() (*linkpb.FromAgent, error) {
	var m linkpb.FromAgent
	err := s.RecvMsg(&m)
	return &m, err
}

func (s gatewayStream) send(m *linkpb.ToAgent) error { return s.SendMsg(m) }

func (s gatewayStream) welcome() error {
	return s.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Welcome{Welcome: &linkpb.Welcome{
		ProtocolVersion: wire.Version, Gateway: "gw1", Slots: 4, UnixMs: time.Now().UnixMilli(), HeartbeatMs: 60_000}}})
}

func (s gatewayStream) goes(request string, token []byte) error {
	return s.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Go{Go: &linkpb.Go{RequestId: request, Token: token}}})
}

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// One whole life: attach, a right and a wrong password, told to stop while a check is in flight, which is still answered.
func TestLife(t *testing.T) {
	ca := newAuthority(t)
	var b *bench
	binding := make(chan struct{}) // the last check has begun to bind
	answers := make(chan wire.Answer, 3)
	stopped := make(chan struct{})
	g := newGateway(t, ca, func(_ *gateway, s gatewayStream) error {
		if err := s.welcome(); err != nil {
			return err
		}
		ask := func(request, password string) error {
			check := b.seal(b.binding(request), "anna@corp.example", password, false)
			if err := s.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Check{Check: check.Check}}); err != nil {
				return err
			}
			for {
				m, err := s.receive()
				switch {
				case err != nil:
					return err
				case m.GetFence() != nil:
					if err := s.goes(request, check.sender.GoToken(m.GetFence().GetNonce())); err != nil {
						return err
					}
				case m.GetAnswer() != nil:
					a, err := check.sender.OpenAnswer(m.GetAnswer().GetSealed())
					if err != nil {
						return err
					}
					answers <- a
					return nil
				case m.GetRefusal() != nil:
					return errors.New(m.GetRefusal().GetDetail())
				}
			}
		}
		for i, password := range []string{rightPassword, "wrong", rightPassword} {
			if err := ask(fmt.Sprint("r", i), password); err != nil {
				t.Errorf("check %d: %v", i, err)
				return err
			}
		}
		for { // until the agent closes its side
			if _, err := s.receive(); err != nil {
				return nil
			}
		}
	})
	log := &lockedBuffer{}
	b = &bench{t: t, id: ca.newIdentity(t, g.address, time.Now().Add(time.Hour)), corp: &corp{passwords: map[string]string{"anna@corp.example": rightPassword}}}
	binds := 0
	b.corp.bound = func() {
		if binds++; binds == 3 {
			close(binding)
			<-stopped // the bind takes until the agent has been told to stop
		}
	}
	file := filepath.Join(t.TempDir(), "status.json")
	a, err := New(Config{Identity: b.id, Validator: b.corp, Slots: 4, StatusFile: file, Version: "1.2.3", Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	<-binding
	if s := a.Status(time.Now()); s.Link.State != link.Attached || s.Link.InFlight != 1 || s.Tally != (Tally{Right: 1, Wrong: 1}) || s.Link.Gateway != "gw1" {
		t.Errorf("status while a check is in flight: %+v", s)
	}
	stop()
	close(stopped)
	if err := <-ended; err != nil {
		t.Fatalf("ended with %v", err)
	}
	for i, want := range []wire.Reason{wire.Accepted, wire.BadPassword, wire.Accepted} {
		if got := <-answers; got.Verdict == nil || got.Verdict.Reason != want {
			t.Errorf("answer %d: %+v", i, got)
		}
	}
	if g.hello.GetEnvelopeKeyId() != b.id.EnvelopeKey().Public().ID() || g.hello.GetAgentVersion() != "1.2.3" || g.hello.GetSlots() != 4 {
		t.Errorf("hello: %v", g.hello)
	}
	if !g.agent.Equal(b.id.TLSCertificate().Leaf) {
		t.Error("another certificate was shown")
	}
	s, err := ReadStatus(file)
	if err != nil {
		t.Fatal(err)
	}
	if s.Ended != "told to stop" || s.Running(time.Now()) || s.Tally != (Tally{Right: 2, Wrong: 1}) || s.Agent != agentID || s.Remembered != 3 {
		t.Errorf("last status: %+v", s)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("status file: %v %v", info.Mode(), err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	noCanary(t, "status file", text)
	noCanary(t, "log", []byte(log.String()))
	if !strings.Contains(log.String(), "attached to gateway") {
		t.Errorf("no line about the attach: %s", log)
	}
}

// A permanent goodbye ends the agent with the number and the words of the service.
func TestRefusedForGood(t *testing.T) {
	ca := newAuthority(t)
	g := newGateway(t, ca, func(_ *gateway, s gatewayStream) error {
		return s.send(&linkpb.ToAgent{Message: &linkpb.ToAgent_Goodbye{Goodbye: &linkpb.Goodbye{Code: uint32(wire.AgentRevoked), Text: "revoked by an administrator", Permanent: true}}})
	})
	file := filepath.Join(t.TempDir(), "status.json")
	a, err := New(Config{Identity: ca.newIdentity(t, g.address, time.Now().Add(time.Hour)), Validator: &corp{}, StatusFile: file})
	if err != nil {
		t.Fatal(err)
	}
	err = a.Run(t.Context())
	var refused *link.Refused
	if !errors.As(err, &refused) || refused.Code != wire.AgentRevoked {
		t.Fatalf("got %v", err)
	}
	if s, err := ReadStatus(file); err != nil || !strings.Contains(s.Ended, "revoked by an administrator") {
		t.Errorf("status %+v, %v", s, err)
	}
}

func TestExpiredCertificateDoesNotStart(t *testing.T) {
	a, err := New(Config{Identity: newAuthority(t).newIdentity(t, "127.0.0.1:1", time.Now().Add(-time.Minute)), Validator: &corp{}})
	if err != nil {
		t.Fatal(err)
	}
	err = a.Run(t.Context())
	var known *identity.Error
	if !errors.Is(err, identity.ErrExpired) || !errors.As(err, &known) || !strings.Contains(known.Remedy, "register --again") {
		t.Fatalf("got %v", err)
	}
}

// tired is a validator that gives up by itself.
type tired struct{ corp }

func (*tired) Run(context.Context) error { return errors.New("no more") }

func TestValidatorThatGivesUpEndsTheAgent(t *testing.T) {
	ca := newAuthority(t)
	g := newGateway(t, ca, func(_ *gateway, s gatewayStream) error {
		if err := s.welcome(); err != nil {
			return err
		}
		_, _ = s.receive()
		return nil
	})
	a, err := New(Config{Identity: ca.newIdentity(t, g.address, time.Now().Add(time.Hour)), Validator: &tired{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no more") {
		t.Fatalf("got %v", err)
	}
}

func TestNewRefusesSettings(t *testing.T) {
	id := newAuthority(t).newIdentity(t, "127.0.0.1:1", time.Now().Add(time.Hour))
	for name, c := range map[string]Config{
		"no identity":       {Validator: &corp{}},
		"no servers":        {Identity: id},
		"servers of a kind": {Identity: id, LDAP: ldap.Config{Servers: []string{"http://dc1"}}},
		"slots":             {Identity: id, Validator: &corp{}, Slots: -1},
	} {
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNearsEnd(t *testing.T) {
	begin := noon
	end := noon.Add(30 * 24 * time.Hour)
	for after, want := range map[time.Duration]bool{0: false, 19 * 24 * time.Hour: false, 26 * 24 * time.Hour: false, 27 * 24 * time.Hour: true, 40 * 24 * time.Hour: true} {
		if got := nearsEnd(begin, end, begin.Add(after)); got != want {
			t.Errorf("after %v: %v", after, got)
		}
	}
}

func TestStatusOverTime(t *testing.T) {
	s := Status{Written: noon, Link: Link{State: link.Attached}}
	if !s.Running(noon.Add(5*time.Second)) || !s.Attached(noon.Add(5*time.Second)) {
		t.Error("a fresh status is of a live agent")
	}
	if s.Running(noon.Add(time.Minute)) || s.Attached(noon.Add(time.Minute)) {
		t.Error("an old status is of a dead agent")
	}
	s.Ended = "told to stop"
	if s.Running(noon) {
		t.Error("an ended agent runs")
	}
}

func TestReadStatus(t *testing.T) {
	if _, err := ReadStatus(filepath.Join(t.TempDir(), "absent")); !NeverRan(err) {
		t.Errorf("absent: %v", err)
	}
	for name, text := range map[string]string{"empty": "", "not JSON": "hello", "no time": "{}", "too large": strings.Repeat(" ", maxStatus+1)} {
		file := filepath.Join(t.TempDir(), "status.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadStatus(file); !errors.Is(err, errStatus) || NeverRan(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	text, err := json.Marshal(Status{Written: noon, Link: Link{State: link.Waiting, NextTry: noon}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseStatus(b); err == nil && s.Written.IsZero() {
			t.Fatal("a status without a time")
		}
	})
}

var _ directory.Validator = (*corp)(nil)
