package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
)

const (
	tenantID    = "01981111-0000-7000-8000-000000000001"
	directoryID = "01981111-0000-7000-8000-000000000002"
	agentID     = "01981111-0000-7000-8000-000000000003"
	trustDomain = "sallyport.example"
)

// authority is a CA that issues agents' certificates, as the service's does.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "agent CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// issue signs an agent certificate; change may spoil it.
func (a authority) issue(t testing.TB, public crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xbeef), URIs: []*url.URL{wire.AgentIdentity{TrustDomain: trustDomain, Tenant: tenantID, Agent: agentID}.URI()},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
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

func pemOf(certs ...*x509.Certificate) string {
	var s strings.Builder
	for _, c := range certs {
		_ = pem.Encode(&s, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return s.String()
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEnvelopeKey(t testing.TB) envelope.PrivateKey {
	t.Helper()
	key, err := envelope.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func goodFacts() Facts {
	return Facts{
		Service: "https://signin.example.com", Gateway: "gateway.example.com:8443", TenantID: tenantID, TenantName: "contoso",
		DirectoryID: directoryID, DirectoryName: "corp", AgentID: agentID, AgentName: "host1", TrustDomain: trustDomain,
		Registered: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC),
	}
}

// chainFor is an agent's certificate for a key, with its issuer.
func chainFor(t testing.TB, ca authority, public crypto.PublicKey) []*x509.Certificate {
	t.Helper()
	return []*x509.Certificate{ca.issue(t, public, nil), ca.cert}
}

func newIdentity(t testing.TB) *Identity {
	t.Helper()
	ca, key := newAuthority(t), newKey(t)
	id, err := New(goodFacts(), key, []*x509.Certificate{ca.issue(t, &key.PublicKey, nil), ca.cert}, newEnvelopeKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestNewRefusesWhatDoesNotBelongTogether(t *testing.T) {
	ca, other, key := newAuthority(t), newAuthority(t), newKey(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	uri := func(s string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = []*url.URL{u}
		}
	}
	good := ca.issue(t, &key.PublicKey, nil)
	for _, test := range []struct {
		name  string
		chain []*x509.Certificate
		facts func(*Facts)
		want  string // "" means good
	}{
		{name: "good", chain: []*x509.Certificate{good, ca.cert}},
		{name: "leaf alone", chain: []*x509.Certificate{good}},
		{name: "no certificate", want: "needed"},
		{name: "another key", chain: []*x509.Certificate{ca.issue(t, &newKey(t).PublicKey, nil)}, want: "another key"},
		{name: "RSA key", chain: []*x509.Certificate{ca.issue(t, &rsaKey.PublicKey, nil)}, want: "another key"},
		{name: "no URI", chain: []*x509.Certificate{ca.issue(t, &key.PublicKey, func(c *x509.Certificate) { c.URIs = nil })}, want: "0 URI"},
		{name: "two URIs", chain: []*x509.Certificate{ca.issue(t, &key.PublicKey, func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) })}, want: "2 URI"},
		{name: "another tenant", chain: []*x509.Certificate{ca.issue(t, &key.PublicKey, uri("spiffe://sallyport.example/tenant/other/agent/"+agentID))}, want: "is for spiffe://sallyport.example/tenant/other"},
		{name: "another agent", chain: []*x509.Certificate{ca.issue(t, &key.PublicKey, uri("spiffe://sallyport.example/tenant/"+tenantID+"/agent/other"))}, want: "agent/other"},
		{name: "another trust domain", chain: []*x509.Certificate{ca.issue(t, &key.PublicKey, uri("spiffe://evil.example/tenant/"+tenantID+"/agent/"+agentID))}, want: "evil.example"},
		{name: "not a SPIFFE URI", chain: []*x509.Certificate{ca.issue(t, &key.PublicKey, uri("https://sallyport.example/"))}, want: "not an agent identity"},
		{name: "for servers", chain: []*x509.Certificate{ca.issue(t, &key.PublicKey, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })}, want: "client authentication"},
		{name: "for servers too", chain: []*x509.Certificate{ca.issue(t, &key.PublicKey, func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) })}, want: "client authentication"},
		{name: "an authority", chain: []*x509.Certificate{ca.issue(t, &key.PublicKey, func(c *x509.Certificate) { c.IsCA = true })}, want: "client authentication"},
		{name: "a foreign chain", chain: []*x509.Certificate{good, other.cert}, want: "not signed by the next"},
		{name: "gateway without port", chain: []*x509.Certificate{good}, facts: func(f *Facts) { f.Gateway = "gateway" }, want: "gateway"},
		{name: "gateway with port 0", chain: []*x509.Certificate{good}, facts: func(f *Facts) { f.Gateway = "gateway:0" }, want: "host:port"},
		{name: "gateway without host", chain: []*x509.Certificate{good}, facts: func(f *Facts) { f.Gateway = ":443" }, want: "host:port"},
		{name: "http service", chain: []*x509.Certificate{good}, facts: func(f *Facts) { f.Service = "http://x" }, want: "https"},
		{name: "bad directory", chain: []*x509.Certificate{good}, facts: func(f *Facts) { f.DirectoryID = "../x" }, want: "directory_id"},
		{name: "bad tenant", chain: []*x509.Certificate{good}, facts: func(f *Facts) { f.TenantID = "a/b" }, want: "no identity"},
		{name: "trust domain with path", chain: []*x509.Certificate{good}, facts: func(f *Facts) { f.TrustDomain = "a/b" }, want: "no identity"},
		{name: "long name", chain: []*x509.Certificate{good}, facts: func(f *Facts) { f.TenantName = strings.Repeat("n", maxText+1) }, want: "longer"},
		{name: "gateway CA of nothing", chain: []*x509.Certificate{good}, facts: func(f *Facts) { f.GatewayCA = "nothing" }, want: "CA"},
	} {
		t.Run(test.name, func(t *testing.T) {
			facts := goodFacts()
			if test.facts != nil {
				test.facts(&facts)
			}
			_, err := New(facts, key, test.chain, newEnvelopeKey(t))
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Fatalf("got %v, want something about %q", err, test.want)
			}
		})
	}
}

func TestCheckTime(t *testing.T) {
	id := newIdentity(t)
	if err := id.CheckTime(time.Now()); err != nil {
		t.Fatal(err)
	}
	err := id.CheckTime(id.NotAfter().Add(time.Second))
	var e *Error
	if !errors.Is(err, ErrExpired) || !errors.As(err, &e) || !strings.Contains(e.Remedy, "register --again") {
		t.Fatalf("expired: %v", err)
	}
	err = id.CheckTime(time.Now().Add(-24 * time.Hour))
	if !errors.Is(err, ErrClock) || !strings.Contains(err.Error(), "not valid yet") || !strings.Contains(err.Error(), "behind") {
		t.Fatalf("not yet: %v", err)
	}
}

func TestAccessors(t *testing.T) {
	id := newIdentity(t)
	if id.Tenant() != tenantID || id.Directory() != directoryID || id.Agent() != agentID || id.AgentName() != "host1" ||
		id.Gateway() != "gateway.example.com:8443" || id.Service() != "https://signin.example.com" || id.Serial() != "beef" {
		t.Errorf("wrong facts: %+v", id.Facts())
	}
	if got := id.Wire().URI().String(); got != "spiffe://sallyport.example/tenant/"+tenantID+"/agent/"+agentID {
		t.Error(got)
	}
	c := id.TLSCertificate()
	if len(c.Certificate) != 2 || c.Leaf == nil || c.PrivateKey == nil {
		t.Errorf("TLS certificate of %d parts", len(c.Certificate))
	}
	if id.GatewayRoots() != nil {
		t.Error("roots out of nowhere")
	}
}
