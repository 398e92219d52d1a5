package evaluation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// caFileName is where [SelfSigned] leaves what others shall trust.
const caFileName = "evaluation-directory-ca.pem"

// SelfSigned makes a certificate for an evaluation directory, valid for the hosts (names or addresses), which is its own CA, and
// writes it, without its key, to a file in dir for those who shall trust it. Every call makes a new one and replaces the
// file; the key is never written.
func SelfSigned(dir string, hosts ...string) (certificate tls.Certificate, caFile string, err error) {
	if len(hosts) == 0 {
		return tls.Certificate{}, "", errors.New("evaluation: a certificate needs a host")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("evaluation: %w", err)
	}
	number := make([]byte, 15) // positive, 120 bits
	_, _ = rand.Read(number)   // never fails, by its contract
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(number), Subject: pkix.Name{CommonName: VendorName},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(certificateLife),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:        true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("evaluation: signing the certificate: %w", err)
	}
	caFile = filepath.Join(dir, caFileName)
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return tls.Certificate{}, "", fmt.Errorf("evaluation: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, caFile, nil
}
