package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// ErrIdentity is wrapped by [Identity]'s refusals.
var ErrIdentity = errors.New("ca: the certificate does not say one agent's identity")

// Identity reads who a certificate says it is, strictly: exactly one URI, of the form that [Authority.Issue] writes, and no
// other kind of name. It verifies nothing: see [Authority.Verify].
func Identity(cert *x509.Certificate) (wire.AgentIdentity, error) {
	if cert == nil {
		return wire.AgentIdentity{}, fmt.Errorf("%w: no certificate", ErrIdentity)
	}
	if len(cert.URIs) != 1 || len(cert.DNSNames) != 0 || len(cert.IPAddresses) != 0 || len(cert.EmailAddresses) != 0 {
		return wire.AgentIdentity{}, fmt.Errorf("%w: %d URIs and %d other names", ErrIdentity, len(cert.URIs),
			len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses))
	}
	id, err := wire.ParseAgentIdentity(cert.URIs[0])
	if err != nil {
		return wire.AgentIdentity{}, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return id, nil
}

// Verify proves that the first of certs, as a client presented them in its TLS handshake (which proved the key), is an
// agent's certificate of this authority, and says whose. Faults: [wire.CertificateForeign] for anything that this authority
// did not issue to an agent; [wire.CertificateExpired] only for a genuine one whose time is over, so that a stranger learns nothing
// from dates; [wire.ClockSkew] for a genuine one whose time has not begun. Whether the agent is still wanted is the
// fleet's question.
func (a *Authority) Verify(certs []*x509.Certificate, now time.Time) (wire.AgentIdentity, error) {
	id, err := a.Recognise(certs, now)
	if err != nil {
		return wire.AgentIdentity{}, err
	}
	leaf := certs[0]
	switch {
	case now.After(leaf.NotAfter):
		return wire.AgentIdentity{}, fault.Newf(wire.CertificateExpired, "agent %s: since %s", id.Agent, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return wire.AgentIdentity{}, fault.Newf(wire.ClockSkew, "agent %s: the certificate is valid from %s, and this clock says %s",
			id.Agent, leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return id, nil
}

// Recognise is [Authority.Verify] for a certificate whose time may be over: it says who its holder was.
func (a *Authority) Recognise(certs []*x509.Certificate, now time.Time) (wire.AgentIdentity, error) {
	if len(certs) == 0 || len(certs) > maxChain {
		return wire.AgentIdentity{}, fault.Newf(wire.CertificateForeign, "%d certificates presented", len(certs))
	}
	leaf := certs[0]
	if leaf.IsCA {
		return wire.AgentIdentity{}, fault.New(wire.CertificateForeign, "an authority's certificate, not an agent's")
	}
	above := x509.NewCertPool()
	for _, c := range certs[1:] {
		above.AddCert(c)
	}
	// Whether it is ours, at a time at which it was valid.
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         a.pool,
		Intermediates: above,
		CurrentTime:   clamp(now, leaf.NotBefore, leaf.NotAfter),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return wire.AgentIdentity{}, fault.Wrap(wire.CertificateForeign, "", err)
	}
	id, err := Identity(leaf)
	if err != nil {
		return wire.AgentIdentity{}, fault.Wrap(wire.CertificateForeign, "", err)
	}
	if id.TrustDomain != a.trustDomain {
		return wire.AgentIdentity{}, fault.Newf(wire.CertificateForeign, "trust domain %q", id.TrustDomain)
	}
	for _, chain := range chains {
		if err := checkChain(chain, id); err != nil {
			return wire.AgentIdentity{}, fault.Wrap(wire.CertificateForeign, "", err)
		}
	}
	return id, nil
}

// clamp returns t, or the nearer end of the range that it is outside of.
func clamp(t, from, to time.Time) time.Time {
	if t.Before(from) {
		return from
	}
	if t.After(to) {
		return to
	}
	return t
}
