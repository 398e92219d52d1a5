package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/doctor"
)

// interceptor answers TLS as an inspecting proxy does: with a certificate of its own authority for whatever is asked for.
func interceptor(t *testing.T) (address string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	filter := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Corp Web Filter CA", Organization: []string{"Corp"}}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, filter, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1)) // the handshake, which the other side breaks off
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return l.Addr().String()
}

// A proxy that opens TLS stands before the service and the gateway: doctor finds both, names whose certificate it saw, and says what to do.
func TestDoctorNamesTheInterceptor(t *testing.T) {
	state := register(t, time.Hour)
	address := interceptor(t)
	file := filepath.Join(state, "agent.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `"gateway": "127.0.0.1:1"`, `"gateway": "`+address+`"`, 1)
	begin := strings.Index(changed, `"service": "`) + len(`"service": "`)
	end := begin + strings.IndexByte(changed[begin:], '"')
	changed = changed[:begin] + "https://" + address + changed[end:]
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	all := findings(t, 1, "--state", state)
	for _, check := range []string{"service", "gateway"} {
		if !has(all, doctor.Error, check, "Corp Web Filter CA") {
			t.Errorf("the %s's interceptor is not named: %+v", check, all)
		}
	}
	for _, f := range all {
		if f.Severity == doctor.Error && strings.Contains(f.Says, "Corp Web Filter") && !strings.Contains(f.Remedy, "Exempt") {
			t.Errorf("no remedy: %+v", f)
		}
	}
}
