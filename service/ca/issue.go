package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// ErrKey is wrapped by [Authority.Issue]'s refusal of a public key.
var ErrKey = errors.New("ca: not a key for an agent's certificate: use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits")

// Certificate is an agent's new certificate.
type Certificate struct {
	// DER is the certificate itself; Chain what the agent presents, leaf first. Roots are not in it.
	DER   []byte
	Chain [][]byte
	// Issuer names the issuing certificate: see [Authority.Revocations].
	Issuer string
	// Serial is the certificate's serial number as [SerialOf] prints it.
	Serial   string
	NotAfter time.Time
}

// PEM returns the chain in PEM, leaf first.
func (c Certificate) PEM() []byte {
	var out []byte
	for _, der := range c.Chain {
		out = append(out, encodePEM(der)...)
	}
	return out
}

// Issue signs, with the issuing key of the scope's tenant, a certificate that lets the holder of pub's private half be the agent
// agentID of that tenant, from a little before now until the configured lifetime from now. The serial number is 158 random bits.
// Nothing but the key comes from outside. A tenant's issuing key is made when it is first needed, in the caller's transaction.
func (a *Authority) Issue(ctx context.Context, tx db.Querier, scope tenant.Scope, agentID string, pub crypto.PublicKey, now time.Time) (Certificate, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Certificate{}, err
	}
	if err := CheckKey(pub); err != nil {
		return Certificate{}, err
	}
	uri := a.identityOf(tenantID, agentID).URI()
	if _, err := wire.ParseAgentIdentity(uri); err != nil {
		return Certificate{}, fmt.Errorf("ca: %w", err)
	}
	by, err := a.issuer(ctx, tx, tenantID, now)
	if err != nil {
		return Certificate{}, err
	}
	return a.sign(by, agentID, uri, pub, now)
}

// sign makes an agent's certificate.
func (a *Authority) sign(by signer, agentID string, uri *url.URL, pub crypto.PublicKey, now time.Time) (Certificate, error) {
	template := &x509.Certificate{
		// A nil SerialNumber makes the standard library draw one (RFC 5280 §4.1.2.2: at most 20 octets, positive).
		Subject:   pkix.Name{CommonName: agentID},
		NotBefore: now.Add(-min(backdate, a.lifetime/backdatePart)),
		NotAfter:  now.Add(a.lifetime),
		KeyUsage:  x509.KeyUsageDigitalSignature,
		URIs:      []*url.URL{uri},

		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		CRLDistributionPoints: a.distributionPoints(by.id),
	}
	if template.NotAfter.After(by.cert.NotAfter) {
		template.NotAfter = by.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, pub, by.key)
	if err != nil {
		return Certificate{}, fmt.Errorf("ca: signing: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Certificate{}, fmt.Errorf("ca: reading back: %w", err)
	}
	return Certificate{DER: der, Chain: [][]byte{der, by.cert.Raw}, Issuer: by.id, Serial: SerialOf(cert), NotAfter: cert.NotAfter}, nil
}

// CheckKey refuses, with [ErrKey], a public key that [Authority.Issue] would not sign. It accepts what agents' key stores
// (software, TPM 2.0, PKCS #11) make, at today's strengths.
func CheckKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return nil
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits >= 2048 && bits <= 4096 {
			return nil
		}
	}
	return ErrKey
}

// SerialOf prints a certificate's serial number as the fleet keeps it: lower-case hexadecimal, no leading zeros.
func SerialOf(cert *x509.Certificate) string { return fmt.Sprintf("%x", cert.SerialNumber) }

// CheckSignature holds a signature over message, with SHA-256 where the key's kind leaves a choice, to the key of a certificate.
func CheckSignature(cert *x509.Certificate, message, signature []byte) error {
	algorithm := x509.ECDSAWithSHA256
	switch cert.PublicKey.(type) {
	case ed25519.PublicKey:
		algorithm = x509.PureEd25519
	case *rsa.PublicKey:
		algorithm = x509.SHA256WithRSA
	}
	return cert.CheckSignature(algorithm, message, signature)
}
