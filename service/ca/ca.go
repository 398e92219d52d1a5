package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/wire"
)

// Config of the authority. The zero value works.
type Config struct {
	// TrustDomain names the installation in agents' identities: lower-case letters, digits, dots, hyphens and underscores. It
	// is fixed when the authority is made; a later start with another one is refused. Empty: what the authority has
	// already, or [DefaultTrustDomain].
	TrustDomain string
	// Lifetime of an agent's certificate; 0 is [DefaultLifetime].
	Lifetime time.Duration
	// RevocationURL is where others find the revocation lists: certificates name RevocationURL + issuer + ".crl". Empty: they
	// name none.
	RevocationURL string
}

// Authority signs and verifies agents' certificates. It is safe for concurrent use and never changes after [Open].
type Authority struct {
	trustDomain string
	lifetime    time.Duration
	revocation  string
	db          *db.DB
	box         *atrest.Box
	root        signer              // the newest root, which signs issuers
	roots       []*x509.Certificate // all, newest first
	rootIDs     []string            // of roots
	pool        *x509.CertPool
}

// signer is a certificate that signs others, with its key.
type signer struct {
	id   string
	cert *x509.Certificate
	key  crypto.Signer
}

// Open reads the authority from the store, or makes it at the first start. Of several processes that start at once, one makes
// it and all use that one.
func Open(ctx context.Context, store *db.DB, box *atrest.Box, c Config) (*Authority, error) {
	if c.Lifetime == 0 {
		c.Lifetime = DefaultLifetime
	}
	if c.Lifetime < minLifetime || c.Lifetime > maxLifetime {
		return nil, fmt.Errorf("ca: a certificate lifetime of %v: it must be between %v and %v", c.Lifetime, minLifetime, maxLifetime)
	}
	if c.TrustDomain != "" && !isTrustDomain(c.TrustDomain) {
		return nil, fmt.Errorf("ca: the trust domain %q: only lower-case letters, digits, dots, hyphens and underscores, 1 to 255", c.TrustDomain)
	}
	rows, err := load(ctx, store.Reader())
	if err != nil {
		return nil, err
	}
	if len(rows) > 0 {
		domain, err := trustDomainOf(rows[0].cert)
		if err != nil {
			return nil, err
		}
		if c.TrustDomain != "" && c.TrustDomain != domain {
			return nil, fmt.Errorf("ca: the agents of this installation belong to the trust domain %q, the configuration says %q: "+
				"write the former, or every agent would have to be registered again", domain, c.TrustDomain)
		}
		c.TrustDomain = domain
		// Before a new root is made beside the old one: it would be sealed under a wrong key file, too.
		if _, err := openKey(box, rows[0].id, rows[0].sealed, rows[0].cert); err != nil {
			return nil, err
		}
	}
	if c.TrustDomain == "" {
		c.TrustDomain = DefaultTrustDomain
	}
	if !signsIssuers(rows) {
		if err := create(ctx, store, box, c.TrustDomain, time.Now()); err != nil {
			return nil, err
		}
		if rows, err = load(ctx, store.Reader()); err != nil {
			return nil, err
		}
		if !signsIssuers(rows) {
			return nil, errors.New("ca: the authority was removed while it was being made")
		}
	}
	a := &Authority{trustDomain: c.TrustDomain, lifetime: c.Lifetime, revocation: c.RevocationURL, db: store, box: box, pool: x509.NewCertPool()}
	for _, r := range rows {
		a.roots, a.rootIDs = append(a.roots, r.cert), append(a.rootIDs, r.id)
		a.pool.AddCert(r.cert)
	}
	key, err := openKey(box, rows[0].id, rows[0].sealed, rows[0].cert)
	if err != nil {
		return nil, err
	}
	a.root = signer{rows[0].id, rows[0].cert, key}
	return a, nil
}

// signsIssuers reports whether the newest root may sign issuing certificates. Those of before tenants had issuers of their own
// may not: their path length is 0.
func signsIssuers(rows []row) bool {
	return len(rows) > 0 && rows[0].cert.MaxPathLen >= 1
}

// TrustDomain returns the name of the installation in agents' identities.
func (a *Authority) TrustDomain() string { return a.trustDomain }

// Roots returns a new pool of all roots that agents' certificates may come from.
func (a *Authority) Roots() *x509.CertPool { return a.pool.Clone() }

// RootPEM returns the roots' certificates in PEM, newest first, for whoever verifies agents elsewhere.
func (a *Authority) RootPEM() []byte {
	var out []byte
	for _, r := range a.roots {
		out = append(out, encodePEM(r.Raw)...)
	}
	return out
}

// row is a line of table agent_ca, which belongs to the installation and is not scoped.
type row struct {
	id     string
	cert   *x509.Certificate
	sealed []byte
}

func load(ctx context.Context, q db.Querier) (out []row, err error) {
	lines, err := q.QueryContext(ctx, `SELECT id, certificate, sealed_private FROM agent_ca ORDER BY created_at DESC, id DESC`)
	if err != nil {
		return nil, fmt.Errorf("ca: reading the authority: %w", err)
	}
	defer lines.Close()
	for lines.Next() {
		var r row
		var der []byte
		if err := lines.Scan(&r.id, &der, &r.sealed); err != nil {
			return nil, fmt.Errorf("ca: reading the authority: %w", err)
		}
		if r.cert, err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("ca: reading the authority's certificate %s: %w", r.id, err)
		}
		out = append(out, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("ca: reading the authority: %w", err)
	}
	return out, nil
}

// create makes a root. Racing processes each make one outside the transaction; the first to commit wins, and the
// others' are forgotten.
func create(ctx context.Context, store *db.DB, box *atrest.Box, trustDomain string, now time.Time) error {
	key, der, err := newRoot(trustDomain, now)
	if err != nil {
		return err
	}
	id := db.NewID()
	sealed, err := sealKey(box, id, key)
	if err != nil {
		return err
	}
	return store.Write(ctx, func(tx db.Querier) error {
		// PostgreSQL runs this serialisable and SQLite alone: two that both see no such root cannot both commit.
		rows, err := load(ctx, tx)
		if err != nil || signsIssuers(rows) {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO agent_ca (id, certificate, sealed_private, created_at) VALUES ($1, $2, $3, $4)`,
			id, der, sealed, db.Millis(now)); err != nil {
			return fmt.Errorf("ca: storing the authority: %w", err)
		}
		return nil
	})
}

// newRoot makes the authority's key and its certificate. The certificate names the trust domain as its SPIFFE identity
// (SPIFFE X509-SVID §4.2: a signing certificate's identity has no path), which is where it is read back from.
func newRoot(trustDomain string, now time.Time) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("ca: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Sallyport agent authority", Organization: []string{trustDomain}},
		NotBefore: now.Add(-backdate),
		NotAfter:  now.Add(rootLifetime),
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs:      []*url.URL{{Scheme: "spiffe", Host: trustDomain}},

		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1, // one issuer between root and agent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("ca: making the authority: %w", err)
	}
	return key, der, nil
}

// sealKey makes of a private key what its row holds.
func sealKey(box *atrest.Box, id string, key *ecdsa.PrivateKey) ([]byte, error) {
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	defer clear(private)
	sealed, err := box.Seal(purpose(id), private)
	if err != nil {
		return nil, fmt.Errorf("ca: sealing the authority's key: %w", err)
	}
	return sealed, nil
}

func openKey(box *atrest.Box, id string, sealed []byte, cert *x509.Certificate) (crypto.Signer, error) {
	private, err := box.Open(purpose(id), sealed)
	if err != nil {
		return nil, fmt.Errorf("ca: opening the authority's key (is it the key file that this database was made with?): %w", err)
	}
	defer clear(private)
	parsed, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("ca: reading the authority's key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("ca: the authority's key and certificate do not belong together")
	}
	return key, nil
}

// purpose binds a sealed key to its row, so that rows cannot be exchanged.
func purpose(id string) string { return "agent-ca/" + id }

func trustDomainOf(root *x509.Certificate) (string, error) {
	if len(root.URIs) != 1 || root.URIs[0].Scheme != "spiffe" || root.URIs[0].Path != "" || !isTrustDomain(root.URIs[0].Host) {
		return "", errors.New("ca: the authority's certificate does not name a trust domain")
	}
	return root.URIs[0].Host, nil
}

// isTrustDomain follows the SPIFFE-ID specification §2.1, without ports.
func isTrustDomain(s string) bool {
	if len(s) == 0 || len(s) > 255 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// identityOf is the identity that a certificate of this authority says.
func (a *Authority) identityOf(tenantID, agentID string) wire.AgentIdentity {
	return wire.AgentIdentity{TrustDomain: a.trustDomain, Tenant: tenantID, Agent: agentID}
}

func encodePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
