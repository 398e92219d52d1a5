package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// issuer returns the tenant's issuing certificate, making one when there is none that is good for long enough. Nothing is kept
// in memory: a transaction that is rolled back leaves nothing behind, and all processes see the same.
func (a *Authority) issuer(ctx context.Context, tx db.Querier, tenantID string, now time.Time) (signer, error) {
	by, err := a.readIssuer(tx.QueryRowContext(ctx, `SELECT id, certificate, sealed_private FROM agent_issuer
		WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1`, tenantID))
	switch {
	case err == nil && by.cert.NotAfter.Sub(now) > issuerSpare && by.cert.CheckSignatureFrom(a.root.cert) == nil:
		return by, nil
	case err != nil && !db.NoRow(err):
		return signer{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signer{}, fmt.Errorf("ca: %w", err)
	}
	id := db.NewID()
	der, err := x509.CreateCertificate(rand.Reader, a.issuerTemplate(tenantID, now), a.root.cert, key.Public(), a.root.key)
	if err != nil {
		return signer{}, fmt.Errorf("ca: making an issuer: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return signer{}, fmt.Errorf("ca: reading back: %w", err)
	}
	sealed, err := sealKey(a.box, id, key)
	if err != nil {
		return signer{}, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO agent_issuer (id, tenant_id, root_id, certificate, sealed_private, created_at)
		VALUES ($1, $2, $3, $4, $5, $6)`, id, tenantID, a.root.id, der, sealed, db.Millis(now)); err != nil {
		return signer{}, fmt.Errorf("ca: storing an issuer: %w", err)
	}
	return signer{id, cert, key}, nil
}

// issuerTemplate says whose agents an issuer may speak for in its organisational unit: the URI of a signing certificate must have
// no path (SPIFFE X509-SVID §4.2), and the name constraints of X.509 know the hosts of URIs alone. Verify holds it.
func (a *Authority) issuerTemplate(tenantID string, now time.Time) *x509.Certificate {
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Sallyport agents of one tenant", Organization: []string{a.trustDomain}, OrganizationalUnit: []string{tenantID}},
		NotBefore: now.Add(-backdate),
		NotAfter:  now.Add(issuerLifetime),
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs:      []*url.URL{{Scheme: "spiffe", Host: a.trustDomain}},

		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		CRLDistributionPoints: a.distributionPoints(a.root.id),
	}
	if t.NotAfter.After(a.root.cert.NotAfter) {
		t.NotAfter = a.root.cert.NotAfter
	}
	return t
}

// issuerTenant reads back whose agents an issuing certificate may speak for.
func issuerTenant(cert *x509.Certificate) (tenantID string, ok bool) {
	if unit := cert.Subject.OrganizationalUnit; len(unit) == 1 {
		return unit[0], true
	}
	return "", false
}

func (a *Authority) readIssuer(row db.Scanner) (signer, error) {
	var by signer
	var der, sealed []byte
	if err := row.Scan(&by.id, &der, &sealed); err != nil {
		return signer{}, fmt.Errorf("ca: reading an issuer: %w", err)
	}
	var err error
	if by.cert, err = x509.ParseCertificate(der); err != nil {
		return signer{}, fmt.Errorf("ca: reading the issuer %s: %w", by.id, err)
	}
	if by.key, err = openKey(a.box, by.id, sealed, by.cert); err != nil {
		return signer{}, err
	}
	return by, nil
}

func (a *Authority) distributionPoints(issuer string) []string {
	if a.revocation == "" {
		return nil
	}
	return []string{a.revocation + issuer + ".crl"}
}

// Revocations signs the revocation list (RFC 5280 §5) of an issuer, or of the root that signs issuers; revoked are the entries.
// It is for others: here a certificate is looked up in the fleet, at once and at each connection. Fault [wire.NotFound] for an
// issuer that is unknown, or too old to sign lists.
func (a *Authority) Revocations(ctx context.Context, issuer string, revoked []x509.RevocationListEntry, now time.Time) ([]byte, error) {
	by := a.root
	if issuer != by.id {
		var err error
		by, err = a.readIssuer(a.db.Reader().QueryRowContext(ctx, `SELECT id, certificate, sealed_private FROM agent_issuer WHERE id = $1`, issuer))
		if db.NoRow(err) {
			return nil, fault.New(wire.NotFound, "no such issuer")
		}
		if err != nil {
			return nil, err
		}
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		// Milliseconds rise from list to list, also over several processes, and need no row (RFC 5280 §5.2.3).
		Number:     big.NewInt(db.Millis(now)),
		ThisUpdate: now.Add(-backdate), NextUpdate: now.Add(revocationLife), RevokedCertificateEntries: revoked,
	}, by.cert, by.key)
	if err != nil {
		return nil, fmt.Errorf("ca: signing a revocation list: %w", err)
	}
	return der, nil
}

// checkChain holds a verified chain to its form: agent, issuer of the agent's tenant, root; or agent and root, as certificates
// were signed before tenants had issuers.
func checkChain(chain []*x509.Certificate, id wire.AgentIdentity) error {
	if len(chain) == 2 {
		return nil
	}
	if len(chain) != 3 {
		return fmt.Errorf("a chain of %d certificates", len(chain))
	}
	if owner, ok := issuerTenant(chain[1]); !ok || owner != id.Tenant {
		return errors.New("the issuer is another tenant's")
	}
	return nil
}

// RootID names the root that signs issuers, for its revocation list.
func (a *Authority) RootID() string { return a.root.id }
