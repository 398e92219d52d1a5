package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

func newBox(t testing.TB) *atrest.Box {
	t.Helper()
	box, err := atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func open(t *testing.T, store *db.DB, box *atrest.Box, c Config) *Authority {
	t.Helper()
	a, err := Open(t.Context(), store, box, c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// issue makes a certificate as fleet does, after seeing to it that the tenant exists.
func issue(t testing.TB, a *Authority, scope tenant.Scope, agentID string, pub crypto.PublicKey, now time.Time) (c Certificate, err error) {
	t.Helper()
	err = a.db.Write(t.Context(), func(tx db.Querier) error {
		if id, err := scope.ID(); err == nil {
			if _, err := tx.ExecContext(t.Context(), `INSERT INTO tenant (id, name, display_name, color, created_at, changed_at)
				VALUES ($1, $1, '', '', 0, 0) ON CONFLICT (id) DO NOTHING`, id); err != nil {
				return err
			}
		}
		c, err = a.Issue(t.Context(), tx, scope, agentID, pub, now)
		return err
	})
	return c, err
}

// chainOf is what an agent presents.
func chainOf(t testing.TB, c Certificate) (chain []*x509.Certificate) {
	t.Helper()
	for _, der := range c.Chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, cert)
	}
	return chain
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	scope = tenant.ScopeOf("0190a000-0000-7000-8000-000000000001")
	agent = "0190a000-0000-7000-8000-00000000000a"
)

func TestIssuedCertificateIsAnAgentsAndNothingElse(t *testing.T) {
	a, now := open(t, dbtest.New(t), newBox(t), Config{TrustDomain: "corp.example"}), time.Now()
	got, err := issue(t, a, scope, agent, newKey(t).Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	cert := parse(t, got.DER)
	if len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || cert.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("usages %v %v", cert.ExtKeyUsage, cert.KeyUsage)
	}
	if cert.IsCA || !cert.BasicConstraintsValid {
		t.Error("the certificate is an authority's, or does not say that it is none")
	}
	id, err := Identity(cert)
	if err != nil {
		t.Fatal(err)
	}
	want := wire.AgentIdentity{TrustDomain: "corp.example", Tenant: scope.String(), Agent: agent}
	if id != want {
		t.Errorf("identity %v, want %v", id, want)
	}
	if life := cert.NotAfter.Sub(now); life > DefaultLifetime || life < DefaultLifetime-2*time.Second || !got.NotAfter.Equal(cert.NotAfter) {
		t.Errorf("lives %v, told %v", life, got.NotAfter)
	}
	if back := now.Sub(cert.NotBefore); back < backdate || back > backdate+2*time.Second {
		t.Errorf("backdated by %v", back)
	}
	if got.Serial != SerialOf(cert) || cert.SerialNumber.BitLen() < 120 || cert.SerialNumber.BitLen() > 159 || cert.SerialNumber.Sign() <= 0 {
		t.Errorf("serial %s of %d bits", got.Serial, cert.SerialNumber.BitLen())
	}
	if block, rest := pem.Decode(got.PEM()); block == nil || string(block.Bytes) != string(got.DER) || len(got.Chain) != 2 ||
		string(rest) != string(encodePEM(got.Chain[1])) {
		t.Error("PEM does not hold the leaf and its issuer")
	}
	if id, err := a.Verify(chainOf(t, got), now); err != nil || id != want {
		t.Errorf("Verify: %v, %v", id, err)
	}
	// As a server's certificate it must be useless.
	if _, err := cert.Verify(x509.VerifyOptions{Roots: a.Roots(), Intermediates: pool(chainOf(t, got)[1:]),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("an agent's certificate passes for a server's")
	}
}

func TestKeys(t *testing.T) {
	a := open(t, dbtest.New(t), newBox(t), Config{})
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaOf := func(bits uint) *rsa.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}
	}
	for _, test := range []struct {
		name string
		key  any
		ok   bool
	}{
		{"P-256", newKey(t).Public(), true}, {"P-384", p384.Public(), true}, {"Ed25519", ed, true}, {"RSA 2048", rsaOf(2048), true},
		{"P-224", p224.Public(), false}, {"RSA 1024", rsaOf(1024), false}, {"RSA 8192", rsaOf(8192), false}, {"nil", nil, false}, {"a string", "key", false},
	} {
		if _, err := issue(t, a, scope, agent, test.key, time.Now()); (err == nil) != test.ok || (err != nil && !errors.Is(err, ErrKey)) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestIssueRefuses(t *testing.T) {
	a := open(t, dbtest.New(t), newBox(t), Config{})
	if _, err := issue(t, a, tenant.Scope{}, agent, newKey(t).Public(), time.Now()); !errors.Is(err, tenant.ErrNoScope) {
		t.Errorf("zero scope: %v", err)
	}
	for _, id := range []string{"", "a/../b", "A", strings.Repeat("a", 65), "a?b", "a b"} {
		if _, err := issue(t, a, scope, id, newKey(t).Public(), time.Now()); !errors.Is(err, wire.ErrIdentity) {
			t.Errorf("agent %q: %v", id, err)
		}
	}
}

// selfMade signs a certificate with a made-up authority, or with the real one's key when the test has stolen it.
func selfMade(t *testing.T, parent *x509.Certificate, signer any, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	uri := wire.AgentIdentity{TrustDomain: "sallyport", Tenant: "t", Agent: "a"}.URI()
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{uri}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	change(tmpl)
	if parent == nil {
		parent = tmpl
	}
	key := newKey(t)
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, der)
}

func TestVerifySaysWhy(t *testing.T) {
	a := open(t, dbtest.New(t), newBox(t), Config{})
	other := open(t, dbtest.New(t), newBox(t), Config{})
	// The authorities were made now; agents are looked at much later, so that some of their certificates are over.
	now := time.Now().Add(2 * DefaultLifetime)
	issue := func(from *Authority, at time.Time) []*x509.Certificate {
		c, err := issue(t, from, scope, agent, newKey(t).Public(), at)
		if err != nil {
			t.Fatal(err)
		}
		return chainOf(t, c)
	}
	byUs := func(change func(*x509.Certificate)) []*x509.Certificate {
		return []*x509.Certificate{selfMade(t, a.root.cert, a.root.key, change)}
	}
	over := issue(a, now.Add(-DefaultLifetime-time.Hour)) // first, so that its issuer is older than all
	expired := func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-48*time.Hour), now.Add(-time.Hour) }
	for _, test := range []struct {
		name  string
		certs []*x509.Certificate
		want  wire.Code
	}{
		{"genuine", issue(a, now), 0},
		{"genuine and expired", over, wire.CertificateExpired},
		{"genuine and not begun", issue(a, now.Add(time.Hour)), wire.ClockSkew},
		{"none", nil, wire.CertificateForeign},
		{"too many", append(issue(a, now), make([]*x509.Certificate, maxChain)...), wire.CertificateForeign},
		{"of another installation", issue(other, now), wire.CertificateForeign},
		{"of another installation, expired", issue(other, now.Add(-DefaultLifetime-time.Hour)), wire.CertificateForeign},
		{"self-signed", []*x509.Certificate{selfMade(t, nil, nil, func(*x509.Certificate) {})}, wire.CertificateForeign},
		{"self-signed, expired", []*x509.Certificate{selfMade(t, nil, nil, expired)}, wire.CertificateForeign},
		{"the root itself", []*x509.Certificate{a.root.cert}, wire.CertificateForeign},
		{"a server's, signed by us", byUs(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), wire.CertificateForeign},
		{"of another trust domain, signed by us", byUs(func(c *x509.Certificate) { c.URIs[0].Host = "elsewhere" }), wire.CertificateForeign},
		{"two identities", byUs(func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }), wire.CertificateForeign},
		{"no identity", byUs(func(c *x509.Certificate) { c.URIs = nil }), wire.CertificateForeign},
		{"a DNS name beside", byUs(func(c *x509.Certificate) { c.DNSNames = []string{"a.example"} }), wire.CertificateForeign},
		{"an address beside", byUs(func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }), wire.CertificateForeign},
	} {
		t.Run(test.name, func(t *testing.T) {
			id, err := a.Verify(test.certs, now)
			if got := fault.CodeOf(err); got != test.want {
				t.Fatalf("got %v (%v), want %v", got, err, test.want)
			}
			if err != nil && id != (wire.AgentIdentity{}) {
				t.Errorf("identity %v told with a refusal", id)
			}
		})
	}
}

func TestIdentityRefusesNil(t *testing.T) {
	if _, err := Identity(nil); !errors.Is(err, ErrIdentity) {
		t.Error(err)
	}
}

func TestSurvivesARestart(t *testing.T) {
	store, box := dbtest.New(t), newBox(t)
	a := open(t, store, box, Config{TrustDomain: "corp.example"})
	c, err := issue(t, a, scope, agent, newKey(t).Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, store, box, Config{})
	if b.TrustDomain() != "corp.example" || string(b.RootPEM()) != string(a.RootPEM()) {
		t.Error("another authority after a restart")
	}
	if _, err := b.Verify(chainOf(t, c), time.Now()); err != nil {
		t.Error(err)
	}
	if _, err := Open(t.Context(), store, box, Config{TrustDomain: "other.example"}); err == nil || !strings.Contains(err.Error(), "corp.example") {
		t.Errorf("a changed trust domain: %v", err)
	}
	if _, err := Open(t.Context(), store, newBox(t), Config{}); err == nil || !strings.Contains(err.Error(), "key file") {
		t.Errorf("another key file: %v", err)
	}
}

func TestKeyIsSealedAtRest(t *testing.T) {
	store := dbtest.New(t)
	a := open(t, store, newBox(t), Config{})
	var sealed []byte
	if err := store.Reader().QueryRowContext(t.Context(), `SELECT sealed_private FROM agent_ca`).Scan(&sealed); err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(a.root.key)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := a.root.key.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), string(scalar)) || strings.Contains(string(sealed), string(private)) {
		t.Error("the key lies in the database in clear")
	}
}

func TestManyAtOnceMakeOne(t *testing.T) {
	store, box := dbtest.New(t), newBox(t)
	roots := make([]string, 8)
	var wg sync.WaitGroup
	for i := range roots {
		wg.Go(func() {
			a, err := Open(t.Context(), store, box, Config{})
			if err != nil {
				t.Error(err)
				return
			}
			roots[i] = string(a.RootPEM())
		})
	}
	wg.Wait()
	for _, r := range roots[1:] {
		if r != roots[0] {
			t.Fatal("two authorities were made")
		}
	}
	if n := strings.Count(roots[0], "BEGIN CERTIFICATE"); n != 1 {
		t.Errorf("%d roots", n)
	}
}

// TestOldRootIsStillTrusted: a second row takes over the signing, and certificates of the first stay valid.
func TestOldRootIsStillTrusted(t *testing.T) {
	store, box := dbtest.New(t), newBox(t)
	first := open(t, store, box, Config{})
	old, err := issue(t, first, scope, agent, newKey(t).Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, der, err := newRoot("sallyport", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	id := db.NewID()
	sealed, err := box.Seal(purpose(id), private)
	if err != nil {
		t.Fatal(err)
	}
	err = store.Write(t.Context(), func(tx db.Querier) error {
		_, err := tx.ExecContext(t.Context(), `INSERT INTO agent_ca (id, certificate, sealed_private, created_at) VALUES ($1, $2, $3, $4)`,
			id, der, sealed, db.Millis(time.Now().Add(time.Minute)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	second := open(t, store, box, Config{})
	if string(second.root.cert.Raw) != string(der) {
		t.Error("the newest root does not sign")
	}
	if _, err := second.Verify(chainOf(t, old), time.Now()); err != nil {
		t.Error(err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	store, box := dbtest.New(t), newBox(t)
	for _, c := range []Config{{Lifetime: time.Second}, {Lifetime: 1e6 * time.Hour}, {Lifetime: -1}, {TrustDomain: "Corp"}, {TrustDomain: "a/b"}, {TrustDomain: "a:1"}} {
		if _, err := Open(t.Context(), store, box, c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

// TestMutualTLS: the certificate serves in a real handshake, and Verify judges what the handshake let through.
func TestMutualTLS(t *testing.T) {
	a := open(t, dbtest.New(t), newBox(t), Config{})
	key := newKey(t)
	c, err := issue(t, a, scope, agent, key.Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server := tlsServer(t)
	leaf, err := x509.ParseCertificate(server.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	client := &tls.Config{RootCAs: roots, ServerName: "gateway",
		Certificates: []tls.Certificate{{Certificate: c.Chain, PrivateKey: key}}}
	left, right := net.Pipe()
	defer left.Close()
	defer right.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Client(left, client).HandshakeContext(t.Context()) }()
	conn := tls.Server(right, server)
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if id, err := a.Verify(conn.ConnectionState().PeerCertificates, time.Now()); err != nil || id.Agent != agent {
		t.Errorf("%v, %v", id, err)
	}
}

func tlsServer(t *testing.T) *tls.Config {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"gateway"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientAuth: tls.RequireAnyClientCert}
}

func FuzzIdentity(f *testing.F) {
	root, der, err := newRoot("sallyport", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		f.Fatal(err)
	}
	a := &Authority{trustDomain: "sallyport", lifetime: DefaultLifetime}
	c, err := a.sign(signer{"1", ca, root}, agent, a.identityOf(scope.String(), agent).URI(), root.Public(), time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.DER)
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if id, err := Identity(cert); err == nil {
			if again, err := wire.ParseAgentIdentity(id.URI()); err != nil || again != id {
				t.Errorf("%v does not survive printing", id)
			}
		}
	})
}
