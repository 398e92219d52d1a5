package localca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	caFile          = "ca.pem"
	certificateFile = "ca-certificate.pem"
	serverFile      = "server.pem"
)

// commonName marks the authority wherever a program or a person looks at it.
const commonName = "Sallyport EVALUATION authority: do not use in production"

// ErrHosts is wrapped by [CA.Server]'s refusal of a list of host names.
var ErrHosts = errors.New("localca: not usable as host names of a certificate")

// CA is an evaluation's certificate authority. It is safe for concurrent use, and several processes may share its directory.
type CA struct {
	dir  string
	key  crypto.Signer
	cert *x509.Certificate

	mu sync.Mutex // one server certificate is made at a time
}

// OpenOrCreate reads the authority in dir, or makes directory and authority when they are absent. Two processes that start at
// once end with the same authority. It refuses a key file that others may read and a directory that others may write, and
// says how to correct that.
func OpenOrCreate(dir string) (*CA, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, unwritable(filepath.Dir(dir), err)
	}
	if err := checkMode(dir, 0o022, "chmod go-w"); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, caFile)
	key, cert, err := readPair(path)
	if errors.Is(err, fs.ErrNotExist) {
		// The certificate is written after the key, so it never stands alone after a start that was cut off; another process may have written
		// both between the two looks.
		public := filepath.Join(dir, certificateFile)
		alone := exists(public)
		if alone {
			key, cert, err = readPair(path)
		}
		if alone && errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("localca: %s is missing, but browsers and agents trust the authority in %s: restore it from a backup, or remove "+
				"the folder %s to have a new one made, which all of them must be given anew", path, public, dir)
		}
		if !alone {
			if err := createAuthority(path, time.Now()); err != nil {
				return nil, err
			}
			key, cert, err = readPair(path)
		}
	}
	switch {
	case errors.Is(err, errDamaged):
		return nil, fmt.Errorf("%w: restore it from a backup, or remove the folder %s to have a new authority made, which browsers and agents "+
			"must be given anew", err, dir)
	case err != nil:
		return nil, err
	}
	if !cert.IsCA || !slices.Equal(cert.Subject.Organization, []string{organization}) {
		return nil, fmt.Errorf("localca: %s does not hold an evaluation authority of ours; move it away to have one made", path)
	}
	if now := time.Now(); now.After(cert.NotAfter) {
		return nil, fmt.Errorf("localca: the evaluation authority in %s expired on %s; remove the directory to have a new one made",
			path, cert.NotAfter.Format(time.DateOnly))
	} else if now.Before(cert.NotBefore) {
		return nil, fmt.Errorf("localca: the evaluation authority in %s is valid only from %s: set this machine's clock (NTP)",
			path, cert.NotBefore.Format(time.RFC3339))
	}
	ca := &CA{dir: dir, key: key, cert: cert}
	public := encodeCertificate(cert.Raw)
	if old, err := os.ReadFile(ca.CertificateFile()); err != nil || !bytes.Equal(old, public) {
		if err := replaceFile(ca.CertificateFile(), public, 0o644); err != nil {
			return nil, err
		}
	}
	return ca, nil
}

// CertificateFile returns the path of the authority's certificate in PEM: what browsers, agents and applications of the
// evaluation are given to trust.
func (c *CA) CertificateFile() string { return filepath.Join(c.dir, certificateFile) }

// Pool returns a new pool that holds the authority's certificate alone.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.cert)
	return pool
}

// Server returns a TLS server certificate for hosts (DNS names and IP addresses, any order, repetitions allowed): the one on
// file if it fits, else a new one, which replaces the file. It is cheap when the file fits, so that a service may call it
// now and then to renew. An empty or malformed list is refused with [ErrHosts].
func (c *CA) Server(hosts []string, now time.Time) (tls.Certificate, error) {
	names, addresses, err := splitHosts(hosts)
	if err != nil {
		return tls.Certificate{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	path := filepath.Join(c.dir, serverFile)
	key, cert, err := readPair(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, errMode):
		return tls.Certificate{}, err
	case err == nil && c.fits(cert, names, addresses, now):
		return c.bundle(key, cert), nil
	}
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "Sallyport evaluation server", Organization: []string{organization}},
		NotBefore:   now.Add(-backdate),
		NotAfter:    earlier(now.Add(serverLifetime), c.cert.NotAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    names,
		IPAddresses: netIPs(addresses),

		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, fresh.Public(), c.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("localca: signing the server certificate: %w", err)
	}
	cert, err = x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := encodePair(fresh, der)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := replaceFile(path, pair, 0o600); err != nil {
		return tls.Certificate{}, err
	}
	return c.bundle(fresh, cert), nil
}

// fits reports whether a certificate on file still serves.
func (c *CA) fits(cert *x509.Certificate, names []string, addresses []netip.Addr, now time.Time) bool {
	if cert.CheckSignatureFrom(c.cert) != nil {
		return false
	}
	var have []netip.Addr
	for _, ip := range cert.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			have = append(have, a.Unmap())
		}
	}
	slices.SortFunc(have, netip.Addr.Compare)
	return slices.Equal(cert.DNSNames, names) && slices.Equal(have, addresses) && needsNoRenewal(cert.NotBefore, cert.NotAfter, c.cert.NotAfter, now)
}

// needsNoRenewal is the rule of renewal: inside its time, and further from its end than renewBefore, unless the authority's
// own end does not allow a longer one.
func needsNoRenewal(notBefore, notAfter, authorityEnd, now time.Time) bool {
	if now.Before(notBefore) || now.After(notAfter) {
		return false
	}
	return notAfter.Sub(now) > renewBefore || !notAfter.Before(authorityEnd)
}

func (c *CA) bundle(key crypto.Signer, cert *x509.Certificate) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// organization is how a certificate is recognised as one of ours.
const organization = "Sallyport evaluation"

// createAuthority makes key and certificate and puts them in place, unless another process was first.
func createAuthority(path string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName, Organization: []string{organization}},
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(caLifetime),
		KeyUsage:    x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},

		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("localca: making the authority: %w", err)
	}
	pair, err := encodePair(key, der)
	if err != nil {
		return err
	}
	return createFile(path, pair, 0o600)
}

// splitHosts sorts hosts into names and addresses, each in ascending order and without repetitions.
func splitHosts(hosts []string) (names []string, addresses []netip.Addr, err error) {
	if len(hosts) == 0 || len(hosts) > maxHosts {
		return nil, nil, fmt.Errorf("%w: %d given, 1 to %d allowed", ErrHosts, len(hosts), maxHosts)
	}
	for _, h := range hosts {
		if a, err := netip.ParseAddr(strings.Trim(h, "[]")); err == nil {
			addresses = append(addresses, a.Unmap().WithZone(""))
			continue
		}
		name := strings.ToLower(strings.TrimSuffix(h, "."))
		if !isHostName(name) {
			return nil, nil, fmt.Errorf("%w: %q", ErrHosts, h)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	slices.SortFunc(addresses, netip.Addr.Compare)
	return slices.Compact(names), slices.Compact(addresses), nil
}

// isHostName accepts letters, digits and inner hyphens in labels of 1 to 63, 253 in all (RFC 1123 §2.1); no wildcards.
func isHostName(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
