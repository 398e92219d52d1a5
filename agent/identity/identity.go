// Package identity keeps who this agent is: its two key pairs, its certificate, and what the service told it at
// registration. It makes the keys on this host, has the service certify them once, and guards them on disk.
//
// It refuses to start from a folder that others may read, from files that do not belong together, and to overwrite an
// identity without being told. It never sends a private key anywhere, and writes nothing before the service's answer has
// been checked against the keys that were made here.
//
// The state folder (0700) holds four files (0600), written in this order; agent.json is last and thereby says "complete":
//
//	tls.key          P-256 key of the certificate (PKCS#8, PEM)
//	envelope.key     the HPKE key that envelopes are sealed to (PEM)
//	certificate.pem  the agent's certificate and the chain above it
//	agent.json       service, gateway, tenant, directory and agent; which envelope key belongs to it
//
//	           Register                                    Open
//	(nothing) ──────────▶ keys in memory ─▶ answer checked ─▶ folder ─────▶ Identity
//
// # Renewal
//
// A running agent's identity is in the hands of a [Keeper]. From two thirds of the certificate's life on ([RenewAt]) it makes fresh keys
// of both kinds, and the service signs a new certificate. The new identity lies complete in the subfolder next before anybody uses it:
//
//	           Fresh, signed      Accept                  Confirmed
//	current ─────────────────▶ [next on disk] ─connect──▶ [next becomes current] ─▶ old keys open envelopes for two minutes more
//	   ▲                            │ Rejected: the service does not know it
//	   └────────────────────────────┘
//
// The service switches when the agent connects with the new certificate. Whatever moment the agent dies at, a complete identity that the
// service admits lies on the disk: with next there, it is tried first, and the current one stays until next was welcomed.
//
// # The counter
//
// Each connection has a number that is higher than any before, and is on the disk (file counter) before it is used. A copy of the
// folder, or a machine that is reset to a snapshot, comes with a number that was used, and the service notices. The folder is locked
// while an agent runs, so that two on one host are not taken for a copy.
//
// Private keys are made and kept by a [KeyStore]. One keeps files; the other has the host's TPM make and use them (package hardware), and
// in the key files lies what that TPM alone can open: a copy of the folder is of no use on another host.
//
// Package link presents the certificate to the gateway; package agent opens envelopes with the other key.
package identity

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
)

// Facts are what the service said about this agent at registration.
type Facts struct {
	// Service is the service's base URL, https, without a trailing slash.
	Service string `json:"service"`
	// Gateway is where the agent dials out to, "host:port".
	Gateway string `json:"gateway"`
	// GatewayCA holds the certificates that the gateway's own must lead to, as PEM; empty means the system's roots.
	GatewayCA     string `json:"gateway_ca,omitempty"`
	TenantID      string `json:"tenant_id"`
	TenantName    string `json:"tenant_name"`
	DirectoryID   string `json:"directory_id"`
	DirectoryName string `json:"directory_name"`
	AgentID       string `json:"agent_id"`
	AgentName     string `json:"agent_name"`
	TrustDomain   string `json:"trust_domain"`
	// Registered is when, by this host's clock.
	Registered time.Time `json:"registered"`
}

// Identity is a complete, checked identity. It does not change; all methods may be called concurrently.
type Identity struct {
	facts    Facts
	store    KeyStore
	key      crypto.Signer
	chain    []*x509.Certificate
	envelope envelope.PrivateKey
	kept     []byte // see Keys
	roots    *x509.CertPool
	pending  bool
}

// New puts an identity together and checks that its parts belong together: the first certificate of chain is for key, names
// this tenant and agent, is meant for clients and no authority; each certificate is signed by the next. It does not look
// at the time, so that an expired identity can still say so: see [Identity.CheckTime]. Its keys are kept as files.
func New(facts Facts, key crypto.Signer, chain []*x509.Certificate, envelopeKey envelope.PrivateKey) (*Identity, error) {
	return assemble(facts, fileStore{}, Keys{TLS: key, Envelope: envelopeKey}, chain)
}

func assemble(facts Facts, store KeyStore, keys Keys, chain []*x509.Certificate) (*Identity, error) {
	if err := facts.check(); err != nil {
		return nil, err
	}
	if keys.TLS == nil || len(chain) == 0 {
		return nil, errNoSigner
	}
	leaf := chain[0]
	if !samePublic(keys.TLS, leaf.PublicKey) {
		return nil, errors.New("the certificate is for another key")
	}
	want := wire.AgentIdentity{TrustDomain: facts.TrustDomain, Tenant: facts.TenantID, Agent: facts.AgentID}
	if len(leaf.URIs) != 1 {
		return nil, fmt.Errorf("the certificate has %d URI names instead of one", len(leaf.URIs))
	}
	got, err := wire.ParseAgentIdentity(leaf.URIs[0])
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if got != want {
		return nil, fmt.Errorf("the certificate is for %s, not for %s", got.URI(), want.URI())
	}
	if leaf.IsCA || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || len(leaf.UnknownExtKeyUsage) > 0 {
		return nil, errors.New("the certificate is not for client authentication alone")
	}
	for i := range chain[:len(chain)-1] {
		if err := chain[i].CheckSignatureFrom(chain[i+1]); err != nil {
			return nil, fmt.Errorf("certificate %d of the chain is not signed by the next: %w", i+1, err)
		}
	}
	id := &Identity{facts: facts, store: store, key: keys.TLS, chain: slices.Clone(chain), envelope: keys.Envelope, kept: keys.kept}
	if facts.GatewayCA != "" {
		id.roots = x509.NewCertPool()
		if !id.roots.AppendCertsFromPEM([]byte(facts.GatewayCA)) {
			return nil, errors.New("the gateway's CA holds no certificate")
		}
	}
	return id, nil
}

// Pending reports whether the service said at the registration, which this identity comes from, that an administrator has to approve the
// agent. It is not kept: an identity read from the disk never says so.
func (i *Identity) Pending() bool { return i.pending }

// Fingerprint returns what an administrator compares before approving this agent; "" for keys of no known kind.
func (i *Identity) Fingerprint() string {
	s, err := Keys{TLS: i.key, Envelope: i.envelope}.Fingerprint()
	if err != nil {
		return ""
	}
	return s
}

// check holds the facts to their forms.
func (f Facts) check() error {
	if _, err := parseService(f.Service); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(f.Gateway)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return fmt.Errorf("gateway: %q is not host:port", f.Gateway)
	}
	for _, text := range []struct{ field, value string }{
		{"tenant_name", f.TenantName}, {"directory_name", f.DirectoryName}, {"agent_name", f.AgentName}, {"gateway", f.Gateway}, {"service", f.Service},
	} {
		if len(text.value) > maxText {
			return fmt.Errorf("%s is longer than %d bytes", text.field, maxText)
		}
	}
	if !isID(f.DirectoryID) {
		return fmt.Errorf("directory_id %q is not an id", f.DirectoryID)
	}
	named := wire.AgentIdentity{TrustDomain: f.TrustDomain, Tenant: f.TenantID, Agent: f.AgentID}
	u, err := url.Parse(named.URI().String()) // as a certificate's reader would
	if err == nil {
		var back wire.AgentIdentity
		if back, err = wire.ParseAgentIdentity(u); err == nil && back != named {
			err = wire.ErrIdentity
		}
	}
	if err != nil {
		return fmt.Errorf("tenant %q and agent %q of %q are no identity", f.TenantID, f.AgentID, f.TrustDomain)
	}
	return nil
}

// isID reports whether s has the form of the service's identifiers, as wire.ParseAgentIdentity wants them.
func isID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Facts returns everything the service said at registration.
func (i *Identity) Facts() Facts { return i.facts }

// Service returns the service's base URL.
func (i *Identity) Service() string { return i.facts.Service }

// Gateway returns "host:port" of the gateway.
func (i *Identity) Gateway() string { return i.facts.Gateway }

// GatewayRoots returns the authorities that the gateway's certificate must lead to; nil means the system's. The pool must
// not be changed.
func (i *Identity) GatewayRoots() *x509.CertPool { return i.roots }

// Tenant, Directory and Agent return the ids that envelopes are bound to.
func (i *Identity) Tenant() string    { return i.facts.TenantID }
func (i *Identity) Directory() string { return i.facts.DirectoryID }
func (i *Identity) Agent() string     { return i.facts.AgentID }

// AgentName returns the name that administrators gave the agent.
func (i *Identity) AgentName() string { return i.facts.AgentName }

// TrustDomain returns the first part of the agent's SPIFFE identity.
func (i *Identity) TrustDomain() string { return i.facts.TrustDomain }

// Wire returns the identity as the certificate states it.
func (i *Identity) Wire() wire.AgentIdentity {
	return wire.AgentIdentity{TrustDomain: i.facts.TrustDomain, Tenant: i.facts.TenantID, Agent: i.facts.AgentID}
}

// KeyStore returns the kind of the store that the private keys are in, [KindFile] or [KindTPM]; KeyDevice which device of several, empty for
// the usual one.
func (i *Identity) KeyStore() string  { return i.store.Kind() }
func (i *Identity) KeyDevice() string { return i.store.Device() }

// EnvelopeKey returns the key that opens envelopes.
func (i *Identity) EnvelopeKey() envelope.PrivateKey { return i.envelope }

// TLSCertificate returns the client certificate with its key and chain, for a tls.Config.
func (i *Identity) TLSCertificate() tls.Certificate {
	c := tls.Certificate{PrivateKey: i.key, Leaf: i.chain[0]}
	if i.store.Kind() == KindTPM {
		c.SupportedSignatureAlgorithms = []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256} // such a key signs nothing else, in TLS 1.2 neither
	}
	for _, cert := range i.chain {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}

// Serial returns the certificate's serial number as lower-case hexadecimal.
func (i *Identity) Serial() string { return i.chain[0].SerialNumber.Text(16) }

// NotBefore and NotAfter return when the certificate begins and ends.
func (i *Identity) NotBefore() time.Time { return i.chain[0].NotBefore }
func (i *Identity) NotAfter() time.Time  { return i.chain[0].NotAfter }

// CheckTime reports an [ErrExpired] when the certificate's time has passed, and says how to come back; an [ErrClock] when
// it has not begun.
func (i *Identity) CheckTime(now time.Time) error { return checkTime(i.chain[0], now) }

func checkTime(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return &Error{
			Kind:   ErrExpired,
			What:   fmt.Sprintf("it ended at %s, and this host's clock says %s", stamp(leaf.NotAfter), stamp(now)),
			Remedy: "if this host's clock is wrong, set it (NTP); else make a new token (agent token create) and run: sallyport-agent register --again, which keeps the agent's name and history",
		}
	case now.Before(leaf.NotBefore):
		return &Error{
			Kind: ErrClock,
			What: fmt.Sprintf("the agent's certificate is not valid yet: it begins at %s, and the clock says %s, which is %s behind",
				stamp(leaf.NotBefore), stamp(now), leaf.NotBefore.Sub(now).Round(time.Second)),
			Remedy: "set it (NTP), and start again",
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// parseChain reads certificates in PEM, and nothing else.
func parseChain(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(bytes.TrimSpace(rest)) > 0 {
				return nil, errors.New("something that is no PEM")
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block %q instead of a certificate", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if chain = append(chain, cert); len(chain) > 8 {
			return nil, errors.New("more than eight certificates")
		}
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate")
	}
	return chain, nil
}
