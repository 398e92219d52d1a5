package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/wire"
)

const (
	domain = "corp.example.com"
	// accounts is how many people sign in, so that no limit of one account is measured.
	accounts = 64
)

// place is a directory and the people in it.
type place struct {
	address string
	roots   *x509.CertPool
	people  []people.Person
	// config, if set, says how agents ask; else they bind.
	config func(agent.Config) agent.Config
}

func crowd() []people.Person {
	var all []people.Person
	for i := range accounts {
		sam := fmt.Sprintf("person%02d", i)
		all = append(all, people.Person{SAM: sam, UPN: sam + "@" + domain, Password: wire.NewSecret([]byte(people.RightPassword)), State: people.Normal})
	}
	return all
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(b testing.TB) T {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
}

func evaluationPlace(b *testing.B) place {
	certificate, caFile, err := evaluation.SelfSigned(b.TempDir(), "127.0.0.1")
	if err != nil {
		b.Fatal(err)
	}
	everybody := crowd()
	server := must(evaluation.New(evaluation.Config{People: everybody, TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}}))(b)
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(b)
	done := make(chan error, 1)
	go func() { done <- server.Serve(context.Background(), listener) }()
	b.Cleanup(func() { _ = server.Close(); <-done })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(caFile))(b))
	return place{address: "ldaps://" + listener.Addr().String(), roots: roots, people: everybody}
}

func sambaPlace(b *testing.B) place {
	if err := samba.Available(); err != nil {
		b.Skip(err)
	}
	dc := must(samba.Start(b.Context(), samba.Options{Model: samba.Prefork}))(b)
	b.Cleanup(dc.Stop)
	everybody := crowd()
	if err := dc.Fill(b.Context(), everybody); err != nil {
		b.Fatal(err)
	}
	return place{address: dc.LDAPS(), roots: dc.CAPool, people: everybody}
}

// apartPlace is a Samba DC that has a core of its own, as a domain controller has a machine of its own; this process keeps the rest.
// So the product is held against the directory, and not against its own share of the directory's processor.
func apartPlace(b *testing.B) place {
	at := sambaPlace(b)
	apart(b)
	return at
}

// binders are kept connections for direct binds.
type binders chan *goldap.Conn

func newBinders(b *testing.B, at place, n int) binders {
	free := make(binders, n)
	for range n {
		conn := must(goldap.DialURL(at.address, goldap.DialWithTLSConfig(&tls.Config{RootCAs: at.roots, MinVersion: tls.VersionTLS12})))(b)
		b.Cleanup(func() { _ = conn.Close() })
		free <- conn
	}
	return free
}

// bind is the physical limit: one bind on a connection that is free.
func (f binders) bind(b *testing.B, who people.Person) {
	conn := <-f
	defer func() { f <- conn }()
	if err := conn.Bind(who.UPN, string(who.Password.Reveal())); err != nil {
		b.Errorf("%s: %v", who.UPN, err)
	}
}
