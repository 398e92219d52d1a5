package service

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair is a self-signed server certificate in two files.
type pair struct{ certificate, key string }

// write makes or replaces the files. It gives them the time at, so that a replacement is newer whatever the clock's steps.
func (p pair) write(t *testing.T, serial int64, from, until, at time.Time) {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "login.example.com"}, NotBefore: from, NotAfter: until,
		DNSNames: []string{"login.example.com", "localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	private := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key))
	p.put(t, p.certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), at)
	p.put(t, p.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), at)
}

func (p pair) put(t *testing.T, name string, content []byte, at time.Time) {
	t.Helper()
	if err := errors.Join(os.WriteFile(name, content, 0o600), os.Chtimes(name, at, at)); err != nil {
		t.Fatal(err)
	}
}

func newPair(t *testing.T) pair {
	dir := t.TempDir()
	return pair{filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key")}
}

var year2030 = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func TestCertificateFilesRefuse(t *testing.T) {
	now := time.Now()
	good := func(t *testing.T) pair {
		p := newPair(t)
		p.write(t, 1, now.Add(-time.Hour), now.Add(time.Hour), now)
		return p
	}
	for _, c := range []struct {
		name    string
		spoil   func(t *testing.T, p pair)
		setting string
		remedy  string
	}{
		{"key readable by others", func(t *testing.T, p pair) { noError(t, os.Chmod(p.key, 0o640)) }, "tls.key_file", "Run: chmod 600 "},
		{"no key", func(t *testing.T, p pair) { noError(t, os.Remove(p.key)) }, "tls.key_file", "Give a file that this user"},
		{"no certificate", func(t *testing.T, p pair) { noError(t, os.Remove(p.certificate)) }, "tls.certificate_file", "Give a file that this user"},
		{"mismatch", func(t *testing.T, p pair) {
			other := good(t)
			noError(t, os.Rename(other.key, p.key))
		}, "tls.certificate_file", "the key that belongs to it"},
		{"not PEM", func(t *testing.T, p pair) { p.put(t, p.certificate, []byte("hello"), now) }, "tls.certificate_file", "both as PEM"},
		{"expired", func(t *testing.T, p pair) { p.write(t, 2, now.Add(-2*time.Hour), now.Add(-time.Hour), now) }, "tls.certificate_file", "Renew it"},
		{"not yet valid", func(t *testing.T, p pair) { p.write(t, 2, now.Add(time.Hour), now.Add(2*time.Hour), now) }, "tls.certificate_file", "Check this machine's clock"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := good(t)
			c.spoil(t, p)
			_, err := newCertificateFiles(p.certificate, p.key, (&logBuffer{}).logger())
			wantError(t, err, c.setting, c.remedy)

			cfg := trial(t)
			cfg.TLS = TLSConfig{CertificateFile: p.certificate, KeyFile: p.key}
			cfg.PublicURL, cfg.Signin.Listen = "https://login.example.com", "127.0.0.1:"+freePort(t)
			_, err = New(t.Context(), cfg, nil)
			wantError(t, err, c.setting, c.remedy)
		})
	}
}

// TestCertificateRenewal drives the rule: a renewal is taken, a broken one is complained of once and leaves the old one in use.
func TestCertificateRenewal(t *testing.T) {
	now := time.Now()
	p, log := newPair(t), &logBuffer{}
	p.write(t, 1, now.Add(-time.Hour), now.Add(time.Hour), now)
	files := must[*certificateFiles](t)(newCertificateFiles(p.certificate, p.key, log.logger()))
	serial := func() int64 {
		c, err := files.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.SerialNumber.Int64()
	}
	files.look(now.Add(time.Minute))
	if serial() != 1 || log.String() != "" {
		t.Errorf("nothing changed, but: %d %s", serial(), log)
	}
	p.write(t, 2, now.Add(-time.Hour), now.Add(2*time.Hour), now.Add(time.Second))
	files.look(now.Add(2 * time.Minute))
	if serial() != 2 || !strings.Contains(log.String(), "renewed") {
		t.Errorf("the renewal was not taken: %d %s", serial(), log)
	}
	// Half of the next one: the certificate is there, its key not yet.
	whole := newPair(t)
	whole.write(t, 3, now.Add(-time.Hour), now.Add(3*time.Hour), now.Add(2*time.Second))
	p.put(t, p.certificate, must[[]byte](t)(os.ReadFile(whole.certificate)), now.Add(2*time.Second))
	for range 3 {
		files.look(now.Add(3 * time.Minute))
	}
	if serial() != 2 || strings.Count(log.String(), "the old certificate stays") != 1 {
		t.Errorf("the broken renewal: %d %s", serial(), log)
	}
	p.put(t, p.key, must[[]byte](t)(os.ReadFile(whole.key)), now.Add(2*time.Second))
	files.look(now.Add(4 * time.Minute))
	if serial() != 3 {
		t.Errorf("the renewal was not taken once it was whole: %d", serial())
	}
	if err := os.Remove(p.key); err != nil {
		t.Fatal(err)
	}
	files.look(now.Add(5 * time.Minute))
	if serial() != 3 {
		t.Error("a certificate without its file is in use as long as it lasts")
	}
}

// TestCertificateFilesServe: a running service presents the certificate of its files and shows when it ends.
func TestCertificateFilesServe(t *testing.T) {
	p := newPair(t)
	now := time.Now()
	p.write(t, 7, now.Add(-time.Hour), year2030, now)
	cfg := trial(t)
	cfg.TLS = TLSConfig{CertificateFile: p.certificate, KeyFile: p.key}
	cfg.PublicURL, cfg.Signin.Listen = "https://other.example.com", "127.0.0.1:"+freePort(t)
	r := start(t, cfg)
	if !strings.Contains(r.log.String(), "the server certificate is not for the host of public_url") {
		t.Error("a certificate for another host is not told")
	}
	_, _, metrics := r.get(r.monitorURL("/metrics"))
	if !strings.Contains(metrics, "sallyport_server_certificate_expiry_timestamp_seconds 1.8934") {
		t.Errorf("the end of the certificate does not show")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must[[]byte](t)(os.ReadFile(p.certificate)))
	conn := must[*tls.Conn](t)(tls.Dial("tcp", r.Addresses().Admin, &tls.Config{RootCAs: roots, ServerName: "login.example.com"}))
	defer conn.Close()
	if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != 7 {
		t.Errorf("certificate %d was presented", got)
	}
}

// TestLocalCertificateRenewal: the evaluation's certificate is made anew before it ends.
func TestLocalCertificateRenewal(t *testing.T) {
	r := start(t, trial(t))
	local, err := newLocalCertificate(r.local, []string{"localhost"}, r.log.logger())
	if err != nil {
		t.Fatal(err)
	}
	before := local.current.Load().Leaf
	if err := local.renew(before.NotBefore.Add(time.Hour)); err != nil || !local.current.Load().Leaf.Equal(before) {
		t.Errorf("a good certificate was replaced, %v", err)
	}
	if err := local.renew(before.NotAfter.Add(-time.Minute)); err != nil || local.current.Load().Leaf.Equal(before) {
		t.Errorf("a certificate at its end was kept, %v", err)
	}
}
