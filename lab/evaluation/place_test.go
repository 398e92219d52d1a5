package evaluation_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
)

// certificate makes the test server's certificate and the pool that trusts it.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	cert, file, err := evaluation.SelfSigned(t.TempDir(), "127.0.0.1", hostName)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("the CA's file holds no certificate")
	}
	return cert, pool
}

// startPlace serves an evaluation directory on two listeners until the test is over.
func startPlace(t testing.TB, c evaluation.Config) (*evaluation.Server, place) {
	t.Helper()
	cert, roots := certificate(t)
	c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server, err := evaluation.New(c)
	if err != nil {
		t.Fatal(err)
	}
	p := place{host: hostName, roots: roots, unlock: func(t *testing.T, sam string) {
		if !server.Unlock(sam) {
			t.Fatalf("%s cannot be unlocked", sam)
		}
	}}
	for _, direct := range []bool{true, false} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		if direct {
			p.ldaps = l.Addr().String()
			go func() { ended <- server.Serve(context.Background(), l) }()
		} else {
			p.plain = l.Addr().String()
			go func() { ended <- server.ServePlain(context.Background(), l) }()
		}
		t.Cleanup(func() {
			_ = server.Close()
			// A test that asks nothing may be over before serving begins.
			if err := <-ended; err != nil && !errors.Is(err, evaluation.ErrClosed) {
				t.Errorf("serving ended with: %v", err)
			}
		})
	}
	p.replace = func(s string) string { return s }
	return server, p
}

// read returns an attribute of somebody as reader sees it.
func read(t testing.TB, p place, reader people.Person, sam, attribute string) []byte {
	t.Helper()
	conn := connect(t, p)
	defer conn.Close()
	if err := conn.Bind(reader.UPN, string(reader.Password.Reveal())); err != nil {
		t.Fatal(err)
	}
	found, err := conn.Search(ldap.NewSearchRequest(baseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, "(sAMAccountName="+sam+")", []string{attribute}, nil))
	if err != nil || len(found.Entries) != 1 {
		t.Fatalf("%s of %s: %v", attribute, sam, err)
	}
	return found.Entries[0].GetRawAttributeValue(attribute)
}

// connect opens a verified LDAPS connection with the library that the agent uses.
func connect(t testing.TB, p place) *ldap.Conn {
	t.Helper()
	conn, err := ldap.DialURL("ldaps://"+p.ldaps, ldap.DialWithTLSConfig(p.tls()))
	if err != nil {
		t.Fatal(err)
	}
	conn.SetTimeout(20 * time.Second)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
