package ca

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

var otherScope = tenant.ScopeOf("0190a000-0000-7000-8000-000000000002")

// TestEachTenantHasAnIssuer: one issuer a tenant, which cannot make agents of another, nor further authorities.
func TestEachTenantHasAnIssuer(t *testing.T) {
	a, now := open(t, dbtest.New(t), newBox(t), Config{}), time.Now()
	one, again, other := must(t)(issue(t, a, scope, agent, newKey(t).Public(), now)), must(t)(issue(t, a, scope, agent, newKey(t).Public(), now)),
		must(t)(issue(t, a, otherScope, agent, newKey(t).Public(), now))
	if one.Issuer != again.Issuer || one.Issuer == other.Issuer {
		t.Fatalf("issuers %s, %s of one tenant, %s of another", one.Issuer, again.Issuer, other.Issuer)
	}
	issuer := chainOf(t, one)[1]
	if !issuer.IsCA || issuer.MaxPathLen != 0 || !issuer.MaxPathLenZero || issuer.NotAfter.Before(now.Add(maxLifetime)) {
		t.Errorf("issuer: CA %v, path length %d, until %v", issuer.IsCA, issuer.MaxPathLen, issuer.NotAfter)
	}
	// The key of one tenant's issuer, stolen, and an agent of the other tenant made with it.
	by, err := a.readIssuer(a.db.Reader().QueryRowContext(t.Context(), `SELECT id, certificate, sealed_private FROM agent_issuer WHERE id = $1`, one.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	foreign := must(t)(a.sign(by, agent, a.identityOf(otherScope.String(), agent).URI(), newKey(t).Public(), now))
	if _, err := a.Verify(chainOf(t, foreign), now); fault.CodeOf(err) != wire.CertificateForeign {
		t.Errorf("an agent of another tenant: %v", err)
	}
	// An issuer below the issuer.
	key := newKey(t)
	below, err := x509.CreateCertificate(rand.Reader, a.issuerTemplate(otherScope.String(), now), by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	deep := must(t)(a.sign(signer{"x", parse(t, below), key}, agent, a.identityOf(otherScope.String(), agent).URI(), newKey(t).Public(), now))
	if _, err := a.Verify(append(chainOf(t, deep), by.cert), now); fault.CodeOf(err) != wire.CertificateForeign {
		t.Errorf("an issuer below an issuer: %v", err)
	}
	if _, err := a.Verify(chainOf(t, one)[:1], now); fault.CodeOf(err) != wire.CertificateForeign {
		t.Errorf("without its issuer: %v", err)
	}
}

// TestIssuerIsReplacedBeforeItsEnd: no agent's certificate outlives its issuer's, and the old issuer's are good to their end.
func TestIssuerIsReplacedBeforeItsEnd(t *testing.T) {
	a, now := open(t, dbtest.New(t), newBox(t), Config{}), time.Now()
	one := must(t)(issue(t, a, scope, agent, newKey(t).Public(), now))
	late := now.Add(issuerLifetime - issuerSpare)
	same, next := must(t)(issue(t, a, scope, agent, newKey(t).Public(), late.Add(-time.Minute))), must(t)(issue(t, a, scope, agent, newKey(t).Public(), late.Add(time.Minute)))
	if same.Issuer != one.Issuer || next.Issuer == one.Issuer {
		t.Errorf("issuers %s, %s and then %s", one.Issuer, same.Issuer, next.Issuer)
	}
	for _, c := range []Certificate{same, next} {
		if _, err := a.Verify(chainOf(t, c), late); err != nil {
			t.Error(err)
		}
	}
}

// TestOldInstallationGetsARoot: a root of before issuers may sign none, so one is made beside it; what it signed stays good.
func TestOldInstallationGetsARoot(t *testing.T) {
	store, box, now := dbtest.New(t), newBox(t), time.Now().Add(-time.Hour)
	key := newKey(t)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "Sallyport agent authority"}, NotBefore: now, NotAfter: now.Add(rootLifetime),
		KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{{Scheme: "spiffe", Host: "corp.example"}}, BasicConstraintsValid: true, IsCA: true,
		MaxPathLenZero: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	id := db.NewID()
	sealed, err := sealKey(box, id, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Write(t.Context(), func(tx db.Querier) error {
		_, err := tx.ExecContext(t.Context(), `INSERT INTO agent_ca (id, certificate, sealed_private, created_at) VALUES ($1, $2, $3, $4)`, id, der, sealed, db.Millis(now))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), store, newBox(t), Config{}); err == nil {
		t.Error("a root was made under another key file")
	}
	a := open(t, store, box, Config{})
	if a.TrustDomain() != "corp.example" || len(a.roots) != 2 {
		t.Fatalf("trust domain %q, %d roots", a.TrustDomain(), len(a.roots))
	}
	old := must(t)((&Authority{trustDomain: "corp.example", lifetime: DefaultLifetime}).sign(signer{"", parse(t, der), key}, agent,
		a.identityOf(scope.String(), agent).URI(), newKey(t).Public(), now))
	if _, err := a.Verify(chainOf(t, old)[:1], time.Now()); err != nil {
		t.Errorf("a certificate of the old root: %v", err)
	}
	if _, err := a.Verify(chainOf(t, must(t)(issue(t, a, scope, agent, newKey(t).Public(), time.Now()))), time.Now()); err != nil {
		t.Error(err)
	}
	if again := open(t, store, box, Config{}); len(again.roots) != 2 {
		t.Errorf("%d roots after a restart", len(again.roots))
	}
}

// TestRevocationsAsOpenSSLReadsThem: a list is signed by its issuer, numbered, in time, and says which certificate is over.
func TestRevocationsAsOpenSSLReadsThem(t *testing.T) {
	a, now := open(t, dbtest.New(t), newBox(t), Config{RevocationURL: "https://signin.example/agent/v1/crl/"}), time.Now()
	good, bad := must(t)(issue(t, a, scope, agent, newKey(t).Public(), now)), must(t)(issue(t, a, scope, agent, newKey(t).Public(), now))
	serial, ok := new(big.Int).SetString(bad.Serial, 16)
	if !ok {
		t.Fatal(bad.Serial)
	}
	der, err := a.Revocations(t.Context(), bad.Issuer, []x509.RevocationListEntry{{SerialNumber: serial, RevocationTime: now, ReasonCode: 1}}, now)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	issuer := chainOf(t, bad)[1]
	if err := list.CheckSignatureFrom(issuer); err != nil || list.NextUpdate.Sub(now) < revocationLife-time.Minute || list.Number.Sign() <= 0 {
		t.Errorf("signature %v, next update %v, number %v", err, list.NextUpdate, list.Number)
	}
	if points := chainOf(t, bad)[0].CRLDistributionPoints; len(points) != 1 || points[0] != "https://signin.example/agent/v1/crl/"+bad.Issuer+".crl" {
		t.Errorf("distribution points %v", points)
	}
	if _, err := a.Revocations(t.Context(), "01981111-0000-7000-8000-000000000000", nil, now); fault.CodeOf(err) != wire.NotFound {
		t.Errorf("an unknown issuer: %v", err)
	}
	rootList, err := a.Revocations(t.Context(), a.RootID(), nil, now)
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	write := func(name, kind string, ders ...[]byte) string {
		var b bytes.Buffer
		for _, der := range ders {
			if err := pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := []string{"verify", "-crl_check_all", "-purpose", "sslclient", "-CAfile", write("root", "CERTIFICATE", a.root.cert.Raw),
		"-untrusted", write("issuer", "CERTIFICATE", issuer.Raw), "-CRLfile", write("crl", "X509 CRL", der, rootList)}
	if out, err := exec.CommandContext(t.Context(), program, append(args, write("good", "CERTIFICATE", good.DER))...).CombinedOutput(); err != nil {
		t.Errorf("the good certificate: %v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), program, append(args, write("bad", "CERTIFICATE", bad.DER))...).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("revoked")) {
		t.Errorf("the revoked certificate: %v\n%s", err, out)
	}
}

func must(t testing.TB) func(Certificate, error) Certificate {
	return func(c Certificate, err error) Certificate {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}
