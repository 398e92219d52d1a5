package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
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
}

// Authority signs and verifies agents' certificates. It is safe for concurrent use and never changes after [Open].
type Authority struct {
	trustDomain string
	lifetime    time.Duration
	key         crypto.Signer
	signer      *x509.Certificate   // the newest root
	roots       []*x509.Certificate // all, newest first
	pool        *x509.CertPool
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
	rows, err := load(ctx, store)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		domain := c.TrustDomain
		if domain == "" {
			domain = DefaultTrustDomain
		}
		if err := create(ctx, store, box, domain, time.Now()); err != nil {
			return nil, err
		}
		if rows, err = load(ctx, store); err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			return nil, errors.New("ca: the authority was removed while it was being made")
		}
	}
	a := &Authority{lifetime: c.Lifetime, pool: x509.NewCertPool()}
	for _, r := range rows {
		cert, err := x509.ParseCertificate(r.certificate)
		if err != nil {
			return nil, fmt.Errorf("ca: reading the authority's certificate %s: %w", r.id, err)
		}
		a.roots = append(a.roots, cert)
		a.pool.AddCert(cert)
	}
	a.signer = a.roots[0]
	if a.trustDomain, err = trustDomainOf(a.signer); err != nil {
		return nil, err
	}
	if c.TrustDomain != "" && c.TrustDomain != a.trustDomain {
		return nil, fmt.Errorf("ca: the agents of this installation belong to the trust domain %q, the configuration says %q: "+
			"write the former, or every agent would have to be registered again", a.trustDomain, c.TrustDomain)
	}
	if a.key, err = openKey(box, rows[0], a.signer); err != nil {
		return nil, err
	}
	return a, nil
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
	id                  string
	certificate, sealed []byte
}

func load(ctx context.Context, store *db.DB) (out []row, err error) {
	lines, err := store.Reader().QueryContext(ctx, `SELECT id, certificate, sealed_private FROM agent_ca ORDER BY created_at DESC, id DESC`)
	if err != nil {
		return nil, fmt.Errorf("ca: reading the authority: %w", err)
	}
	defer lines.Close()
	for lines.Next() {
		var r row
		if err := lines.Scan(&r.id, &r.certificate, &r.sealed); err != nil {
			return nil, fmt.Errorf("ca: reading the authority: %w", err)
		}
		out = append(out, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("ca: reading the authority: %w", err)
	}
	return out, nil
}

// create makes the first authority. Racing processes each make one outside the transaction; the first to commit wins, and the
// others' are forgotten.
func create(ctx context.Context, store *db.DB, box *atrest.Box, trustDomain string, now time.Time) error {
	key, der, err := newRoot(trustDomain, now)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	defer clear(private)
	id := db.NewID()
	sealed, err := box.Seal(purpose(id), private)
	if err != nil {
		return fmt.Errorf("ca: sealing the authority's key: %w", err)
	}
	return store.Write(ctx, func(tx db.Querier) error {
		// PostgreSQL runs this serialisable and SQLite alone: two that both see an empty table cannot both commit.
		var there string
		err := tx.QueryRowContext(ctx, `SELECT id FROM agent_ca LIMIT 1`).Scan(&there)
		if err == nil {
			return nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("ca: %w", err)
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
		KeyUsage:  x509.KeyUsageCertSign,
		URIs:      []*url.URL{{Scheme: "spiffe", Host: trustDomain}},

		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("ca: making the authority: %w", err)
	}
	return key, der, nil
}

func openKey(box *atrest.Box, r row, cert *x509.Certificate) (crypto.Signer, error) {
	private, err := box.Open(purpose(r.id), r.sealed)
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

// purpose binds the sealed key to its row, so that rows cannot be exchanged.
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
