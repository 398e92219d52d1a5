package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/wire"
)

// newDirectory starts an evaluation directory behind real TLS, and a validator that asks it. It answers for the people of the lab
// and for anna, whose password is the canary. Everything logs into the bench's log at debug level.
func newDirectory(t *testing.T, b *bench) *evaluation.Server {
	t.Helper()
	ca, key := newAuthority(t), newKey(t)
	cert := ca.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(3), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, &key.PublicKey)
	log := &lockedBuffer{}
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	everybody := append(people.Everybody("corp.example"), people.Person{SAM: "anna", UPN: "anna@corp.example", Password: wire.NewSecret([]byte(rightPassword))})
	server, err := evaluation.New(evaluation.Config{BaseDN: "DC=corp,DC=example", People: everybody, Logger: logger,
		TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}})
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		_ = server.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		noCanary(t, "log", []byte(log.String()))
	})
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	v, err := ldap.New(ldap.Config{Servers: []string{"ldaps://" + l.Addr().String()}, RootCAs: roots, Connections: 2, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	b.answerer = NewAnswerer(b.id, v, Limits{NamePerMinute: -1}, logger)
	return server
}

// Every person of the lab, with the right and with a wrong password: the reason is the directory's, and one check is one bind.
func TestAgainstADirectory(t *testing.T) {
	b := newBench(t, slog.LevelDebug, Limits{})
	server := newDirectory(t, b)
	n := 0
	for _, p := range people.Everybody("corp.example") {
		for _, right := range []bool{true, false} {
			password := people.RightPassword
			if !right {
				password = people.WrongPassword
			}
			n++
			before := server.Binds(p.UPN)
			s := b.seal(b.binding(fmt.Sprint("r", n)), p.UPN, password, true)
			a := b.answer(s, b.answerer.Check(t.Context(), s.Check, s.goes))
			if a.Verdict == nil || a.Verdict.Reason != p.Answer(right) {
				t.Errorf("%s, right=%v: %+v %+v, want %s", p.SAM, right, a.Verdict, a.Trouble, p.Answer(right))
				continue
			}
			if got := server.Binds(p.UPN) - before; got != 1 {
				t.Errorf("%s, right=%v: %d binds", p.SAM, right, got)
			}
			if a.Verdict.Reason.Right() && (a.Verdict.Attributes == nil || a.Verdict.Attributes.UPN != p.UPN || a.Verdict.Attributes.Anchor == "") {
				t.Errorf("%s: attributes %+v", p.SAM, a.Verdict.Attributes)
			}
			if !a.Verdict.Reason.Right() && a.Verdict.Win32 == 0 {
				t.Errorf("%s, right=%v: no number in %+v", p.SAM, right, a.Verdict)
			}
		}
	}
}

// What the agent turns down never reaches the directory: counted there, not inferred here.
func TestRefusedChecksDoNotBind(t *testing.T) {
	b := newBench(t, slog.LevelDebug, Limits{})
	server := newDirectory(t, b)
	const name = "anna@corp.example"
	guess := func(request, password string, fence func(sealed, []byte) ([]byte, error)) wire.Answer {
		s := b.seal(b.binding(request), name, password, false)
		reply := b.answerer.Check(t.Context(), s.Check, func(_ context.Context, nonce []byte) ([]byte, error) { return fence(s, nonce) })
		if reply.Refused != 0 {
			return wire.Answer{Trouble: &wire.Trouble{Code: reply.Refused}}
		}
		return b.answer(s, reply)
	}
	yes := func(s sealed, nonce []byte) ([]byte, error) { return s.sender.GoToken(nonce), nil }
	no := func(sealed, []byte) ([]byte, error) { return make([]byte, 32), nil }
	if a := guess("r1", "wrong", no); a.Trouble == nil || a.Trouble.Code != wire.AgentRefused || a.Trouble.Fenced {
		t.Errorf("a wrong go: %+v", a)
	}
	if a := guess("r2", "", yes); a.Trouble == nil || a.Trouble.Code != wire.PasswordUnusable {
		t.Errorf("an empty password: %+v", a)
	}
	if a := guess("r1", "wrong", yes); a.Trouble == nil || a.Trouble.Code != wire.EnvelopeReplayed {
		t.Errorf("a replay: %+v", a)
	}
	if server.Binds(name) != 0 || server.BadPwdCount(name) != 0 {
		t.Fatalf("%d binds, badPwdCount %d", server.Binds(name), server.BadPwdCount(name))
	}
	if a := guess("r3", "wrong", yes); a.Verdict == nil || a.Verdict.Reason != wire.BadPassword {
		t.Errorf("a wrong password: %+v", a)
	}
	if server.Binds(name) != 1 || server.BadPwdCount(name) != 1 {
		t.Fatalf("%d binds, badPwdCount %d", server.Binds(name), server.BadPwdCount(name))
	}
	if a := guess("r4", rightPassword, yes); a.Verdict == nil || !a.Verdict.Reason.Right() {
		t.Errorf("the right password after all that: %+v", a)
	}
}

// A directory that goes away tells the service whether the attempt may have counted.
func TestDirectoryGoesAway(t *testing.T) {
	b := newBench(t, slog.LevelDebug, Limits{})
	server := newDirectory(t, b)
	server.DropAfterBind(true)
	s := b.seal(b.binding("r1"), "anna@corp.example", rightPassword, false)
	a := b.answer(s, b.answerer.Check(t.Context(), s.Check, s.goes))
	if a.Trouble == nil || !a.Trouble.Fenced || a.Trouble.Code != wire.DirectoryTimeout || a.DC == "" {
		t.Errorf("dropped after the bind: %+v %+v", a, a.Trouble)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	s = b.seal(b.binding("r2"), "anna@corp.example", rightPassword, false)
	a = b.answer(s, b.answerer.Check(t.Context(), s.Check, b.noFence))
	if a.Trouble == nil || a.Trouble.Fenced || a.Trouble.Code != wire.DirectoryUnreachable {
		t.Errorf("nobody there: %+v %+v", a, a.Trouble)
	}
}
