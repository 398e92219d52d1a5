package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

const (
	tenantID    = "01981111-0000-7000-8000-000000000001"
	directoryID = "01981111-0000-7000-8000-000000000002"
	agentID     = "01981111-0000-7000-8000-000000000003"
	traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)

// authority issues the certificates of a test: agents' and gateways'.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	a := authority{key: newKey(t)}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	a.cert = a.sign(t, a.cert, &a.key.PublicKey)
	return a
}

func (a authority) sign(t testing.TB, template *x509.Certificate, public *ecdsa.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newIdentity makes a complete identity that dials gateway and trusts a.
func (a authority) newIdentity(t testing.TB, gateway string, notAfter time.Time) *identity.Identity {
	t.Helper()
	key := newKey(t)
	leaf := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(7), URIs: []*url.URL{wire.AgentIdentity{TrustDomain: "sallyport.example", Tenant: tenantID, Agent: agentID}.URI()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter,
	}, &key.PublicKey)
	opener, err := envelope.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	var ca bytes.Buffer
	if err := pem.Encode(&ca, &pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}); err != nil {
		t.Fatal(err)
	}
	id, err := identity.New(identity.Facts{
		Service: "https://signin.example.com", Gateway: gateway, GatewayCA: ca.String(), TenantID: tenantID, TenantName: "contoso",
		DirectoryID: directoryID, DirectoryName: "corp", AgentID: agentID, AgentName: "host1", TrustDomain: "sallyport.example",
	}, key, []*x509.Certificate{leaf, a.cert}, opener)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// corp is a directory with behaviour: people with passwords, and a count of binds. It asks for the fence as a real one does.
type corp struct {
	mu        sync.Mutex
	passwords map[string]string
	binds     int
	// revealed are the very bytes of the passwords that were handed in.
	revealed [][]byte
	// instead, if set, is called in place of all that.
	instead func(context.Context, directory.Check) (directory.Result, error)
	// bound, if set, is called between the fence and the verdict.
	bound func()
}

func (d *corp) Validate(ctx context.Context, c directory.Check) (directory.Result, error) {
	d.mu.Lock()
	d.revealed = append(d.revealed, c.Password.Reveal())
	d.mu.Unlock()
	if d.instead != nil {
		return d.instead(ctx, c)
	}
	const dc = "dc1.corp.example:636"
	if err := c.Fence(ctx); err != nil {
		return directory.Result{}, &directory.Error{Code: wire.TransientNetwork, DC: dc, Cause: err}
	}
	fenced := time.Now()
	d.mu.Lock()
	d.binds++
	want, known := d.passwords[c.Name]
	d.mu.Unlock()
	if d.bound != nil {
		d.bound()
	}
	v := wire.Verdict{Reason: wire.Accepted}
	if !known || want != string(c.Password.Reveal()) {
		v = wire.Verdict{Reason: wire.BadPassword, Win32: 1326, Diagnostic: "80090308: LdapErr: DSID-0C09041C, data 52e"}
	} else if c.WantAttributes {
		v.Attributes = &wire.Attributes{Anchor: "a1", UPN: c.Name, Groups: []string{"Staff"}}
	}
	return directory.Result{Verdict: v, DC: dc, Fenced: fenced, Judged: time.Now()}, nil
}

func (d *corp) bindsSoFar() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.binds
}

// bench is an answerer with a directory behind it and a sealing service before it.
type bench struct {
	t        testing.TB
	id       *identity.Identity
	corp     *corp
	answerer *Answerer
	log      *bytes.Buffer
}

const rightPassword = "Corr3ct-Horse-Canary-91"

func newBench(t testing.TB, level slog.Level, limits Limits) *bench {
	t.Helper()
	b := &bench{t: t, log: &bytes.Buffer{}, corp: &corp{passwords: map[string]string{"anna@corp.example": rightPassword}}}
	b.id = newAuthority(t).newIdentity(t, "gateway.example.com:443", time.Now().Add(time.Hour))
	b.answerer = NewAnswerer(b.id, b.corp, limits, slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: level})))
	return b
}

// sealed is one envelope with what its sender keeps.
type sealed struct {
	*linkpb.Check
	sender *envelope.Sender
}

func (b *bench) binding(request string) envelope.Binding {
	return envelope.Binding{Tenant: tenantID, Directory: directoryID, Agent: agentID, Request: request, Expires: time.Now().Add(envelope.Life)}
}

func (b *bench) seal(binding envelope.Binding, name, password string, attributes bool) sealed {
	b.t.Helper()
	text, sender, err := envelope.Seal(b.id.EnvelopeKey().Public(), binding,
		envelope.Check{Name: name, Password: wire.NewSecret([]byte(password)), WantAttributes: attributes})
	if err != nil {
		b.t.Fatal(err)
	}
	return sealed{&linkpb.Check{RequestId: binding.Request, DirectoryId: directoryID, Envelope: text, Traceparent: traceparent}, sender}
}

// goes is the fence of a service that agrees.
func (s sealed) goes(_ context.Context, nonce []byte) ([]byte, error) {
	return s.sender.GoToken(nonce), nil
}

// answer opens what the answerer replied; it must be sealed.
func (b *bench) answer(s sealed, reply link.Reply) wire.Answer {
	b.t.Helper()
	if reply.Refused != 0 || len(reply.Sealed) == 0 {
		b.t.Fatalf("no sealed answer: %v %q", reply.Refused, reply.Detail)
	}
	a, err := s.sender.OpenAnswer(reply.Sealed)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// noFence is the fence of checks that must never reach one.
func (b *bench) noFence(context.Context, []byte) ([]byte, error) {
	b.t.Error("a fence was sent")
	return nil, errors.New("no")
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
