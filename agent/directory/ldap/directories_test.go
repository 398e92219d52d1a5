package ldap_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/directorytest"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

// world is a directory with everybody in it, and the judge of how often it was really asked.
type world struct {
	ldaps, startTLS string
	roots           *x509.CertPool
	netbios, suffix string
	everybody       []people.Person
	badPwdCount     func(t *testing.T, sam string) int
	// anchor returns a user's objectGUID as the directory's administrator reads it; nil if nobody can.
	anchor func(t *testing.T, sam string) []byte
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return l
}

func evaluationWorld(t *testing.T, a authority) (world, *evaluation.Server) {
	return evaluationOf(t, a, directory.Domain{})
}

// evaluationOf is an evaluation directory that gives itself out for a domain.
func evaluationOf(t *testing.T, a authority, domain directory.Domain) (world, *evaluation.Server) {
	t.Helper()
	everybody := people.Everybody("corp.example.com")
	s, err := evaluation.New(evaluation.Config{People: everybody, DomainGUID: domain.GUID, DomainSID: domain.SID, TLS: &tls.Config{Certificates: []tls.Certificate{a.issue(t, nil)}}})
	must(t, err)
	secure, plain := listen(t), listen(t)
	done := make(chan error, 2)
	go func() { done <- s.Serve(context.Background(), secure) }()
	go func() { done <- s.ServePlain(context.Background(), plain) }()
	t.Cleanup(func() {
		s.Close()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return world{ldaps: "ldaps://" + secure.Addr().String(), startTLS: "ldap://" + plain.Addr().String(), roots: a.pool(), netbios: s.NetBIOS(),
		suffix: s.UPNSuffix(), everybody: everybody, badPwdCount: func(_ *testing.T, sam string) int { return s.BadPwdCount(sam) }}, s
}

func sambaWorld(t *testing.T) (world, *samba.DC) {
	t.Helper()
	everybody := people.Everybody("corp.example.com")
	dc := sambatest.Start(t, samba.Options{}, everybody...)
	return world{ldaps: dc.LDAPS(), startTLS: dc.LDAP(), roots: dc.CAPool, netbios: dc.NetBIOS, suffix: dc.UPNSuffix, everybody: everybody,
		badPwdCount: func(t *testing.T, sam string) int {
			t.Helper()
			n, err := dc.BadPwdCount(t.Context(), sam)
			must(t, err)
			return n
		},
		anchor: func(t *testing.T, sam string) []byte {
			t.Helper()
			v, err := dc.Attribute(t.Context(), sam, "objectGUID")
			must(t, err)
			return []byte(v)
		}}, dc
}

// win32 are the numbers that Active Directory gives the reasons.
var win32 = map[wire.Reason]int{wire.BadPassword: 1326, wire.AccountLocked: 1909, wire.AccountRestricted: 1327, wire.AccountDisabled: 1331,
	wire.AccountExpired: 1793, wire.PasswordExpired: 1330, wire.MustChange: 1907, wire.LogonHours: 1328, wire.Workstation: 1329}

func TestEvaluationDirectory(t *testing.T) {
	w, s := evaluationWorld(t, newAuthority(t))
	w.suite(t)

	t.Run("judged, and the connection dropped", func(t *testing.T) {
		s.Unlock("bob")
		before := s.Binds("bob")
		s.DropAfterBind(true)
		defer s.DropAfterBind(false)
		other, second := evaluationWorld(t, newAuthority(t))
		roots := w.roots.Clone()
		roots.AddCert(certificateOf(t, other))
		v := configured(t, ldap.Config{Servers: []string{w.ldaps, other.ldaps}, RootCAs: roots}, false)
		_, err := v.Validate(t.Context(), ask("bob@"+w.suffix, people.WrongPassword).Check)
		if e := trouble(t, err); !e.Fenced || e.Code != wire.DirectoryTimeout {
			t.Errorf("%v", err)
		}
		if n := s.Binds("bob") - before; n != 1 || second.Binds("bob") != 0 || w.badPwdCount(t, "bob") != 1 {
			t.Errorf("judged %d times here, %d there", n, second.Binds("bob"))
		}
		s.Unlock("bob")
	})
}

// certificateOf returns the certificate that a server shows, to trust it as its own CA.
func certificateOf(t *testing.T, w world) *x509.Certificate {
	t.Helper()
	c, err := tls.Dial("tcp", strings.TrimPrefix(w.ldaps, "ldaps://"), &tls.Config{RootCAs: w.roots})
	must(t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

func TestSamba(t *testing.T) {
	w, dc := sambaWorld(t)
	w.suite(t)

	domain, err := configured(t, ldap.Config{Servers: []string{w.ldaps}, RootCAs: w.roots}, false).Prove(t.Context())
	must(t, err)
	if domain.NamingContext != "DC=corp,DC=example,DC=com" || domain.Forest != domain.NamingContext || domain.GUID == "" || domain.SID == "" || domain.DC == "" {
		t.Errorf("what a stranger is told of the domain: %+v", domain)
	}
	other, second := evaluationOf(t, newAuthority(t), domain)
	roots := w.roots.Clone()
	roots.AddCert(certificateOf(t, other))
	both := func(run bool) *ldap.Validator {
		return configured(t, ldap.Config{Servers: []string{w.ldaps, other.ldaps}, RootCAs: roots, BindTimeout: 300 * time.Millisecond}, run)
	}

	// A domain controller that freezes with connections open is found before the fence; the next one judges.
	t.Run("frozen while idle", func(t *testing.T) {
		must(t, dc.Unlock(t.Context(), "bob"))
		v := both(false)
		if r, err := v.Validate(t.Context(), ask("alice@"+w.suffix, people.RightPassword).Check); err != nil || r.DC != strings.TrimPrefix(w.ldaps, "ldaps://") {
			t.Fatalf("%+v, %v", r, err)
		}
		v.Age(time.Minute) // the kept connection is old enough to be asked whether it lives
		must(t, dc.Pause())
		check := ask("bob@"+w.suffix, people.WrongPassword)
		r, err := v.Validate(t.Context(), check.Check)
		must(t, dc.Resume())
		if err != nil || r.Verdict.Reason != wire.BadPassword || r.DC != strings.TrimPrefix(other.ldaps, "ldaps://") || check.Fences.Load() != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		if n := w.badPwdCount(t, "bob"); n != 0 || second.BadPwdCount("bob") != 1 {
			t.Errorf("counted %d at the frozen one, %d at the other", n, second.BadPwdCount("bob"))
		}
	})

	// Killed with the bind under way: an error that says so, no second bind anywhere, and the service goes on.
	t.Run("killed during the bind", func(t *testing.T) {
		second.Unlock("bob")
		v := both(true)
		eventually(t, "both serve", func() bool { s := v.Status(); return s[0].Idle > 0 && s[1].Idle > 0 })
		before := second.Binds("bob")
		check := ask("bob@"+w.suffix, people.WrongPassword)
		fence := check.Fence
		check.Fence = func(ctx context.Context) error {
			if err := dc.Pause(); err != nil { // it will not read the bind
				return err
			}
			return fence(ctx)
		}
		_, err := v.Validate(t.Context(), check.Check)
		dc.Kill()
		if e := trouble(t, err); !e.Fenced || e.Code != wire.DirectoryTimeout || check.Fences.Load() != 1 {
			t.Errorf("%v", err)
		}
		if n := second.Binds("bob") - before; n != 0 {
			t.Errorf("%d binds at the other", n)
		}
		r, err := v.Validate(t.Context(), ask("alice@"+w.suffix, people.RightPassword).Check)
		if err != nil || r.DC != strings.TrimPrefix(other.ldaps, "ldaps://") {
			t.Errorf("%+v, %v", r, err)
		}
		must(t, dc.Restart(t.Context()))
		if n := w.badPwdCount(t, "bob"); n > 1 {
			t.Errorf("counted %d times", n)
		}
		eventually(t, "it serves again", func() bool { return v.Status()[0].State == ldap.Serving })
		r, err = v.Validate(t.Context(), ask("alice@"+w.suffix, people.RightPassword).Check)
		if err != nil || r.DC != strings.TrimPrefix(w.ldaps, "ldaps://") {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// suite is what must hold at every directory.
func (w world) suite(t *testing.T) {
	t.Run("every state", func(t *testing.T) {
		for _, url := range []string{w.ldaps, w.startTLS} {
			v := configured(t, ldap.Config{Servers: []string{url}, RootCAs: w.roots}, false)
			for _, p := range w.everybody {
				for _, right := range []bool{false, true} {
					password := people.WrongPassword
					if right {
						password = string(p.Password.Reveal())
					}
					want := p.Answer(right)
					for _, name := range []string{p.UPN, strings.ToUpper(p.UPN), w.netbios + `\` + p.SAM} {
						check := ask(name, password)
						r, err := v.Validate(t.Context(), check.Check)
						if err != nil || r.Verdict.Reason != want || r.Verdict.Win32 != win32[want] || check.Fences.Load() != 1 {
							t.Errorf("%s, right password %v: %+v, %v; want %s", name, right, r.Verdict, err, want)
						}
						if diagnostic := r.Verdict.Diagnostic; !want.Right() && (!strings.Contains(diagnostic, "data ") || strings.Contains(diagnostic, password)) {
							t.Errorf("diagnostic %q", diagnostic)
						}
					}
					if want == wire.BadPassword { // keep the account from locking
						if _, err := v.Validate(t.Context(), ask(p.UPN, string(p.Password.Reveal())).Check); err != nil {
							t.Error(err)
						}
					}
				}
			}
			for _, name := range []string{"nobody@" + w.suffix, "alice@elsewhere.example", w.netbios + `\nobody`} {
				if r, err := v.Validate(t.Context(), ask(name, "x").Check); err != nil || !r.Verdict.Reason.Wrong() {
					t.Errorf("%s: %+v, %v", name, r.Verdict, err)
				}
			}
		}
	})

	t.Run("one password is one attempt", func(t *testing.T) {
		v := configured(t, ldap.Config{Servers: []string{dead(t), w.ldaps}, RootCAs: w.roots}, false)
		outage := configured(t, ldap.Config{Servers: []string{dead(t)}, RootCAs: w.roots}, false)
		name := "bob@" + w.suffix
		count := func(want int, after string) {
			t.Helper()
			if n := w.badPwdCount(t, "bob"); n != want {
				t.Errorf("badPwdCount is %d after %s, want %d", n, after, want)
			}
		}
		if _, err := v.Validate(t.Context(), ask(name, people.RightPassword).Check); err != nil {
			t.Fatal(err)
		}
		count(0, "a right password")
		for i := range 2 {
			if r, err := v.Validate(t.Context(), ask(name, people.WrongPassword).Check); err != nil || r.Verdict.Reason != wire.BadPassword {
				t.Fatalf("%+v, %v", r, err)
			}
			count(i+1, "a wrong password")
		}
		for _, c := range []*directorytest.Asked{ask(name, ""), ask(name, "\x00"), ask(name, people.RightPassword+"\x00"), ask(name+"\x00", people.WrongPassword),
			ask(name, strings.Repeat("x", 1025))} {
			_, err := v.Validate(t.Context(), c.Check)
			if e := trouble(t, err); e.Code != wire.PasswordUnusable || e.Fenced {
				t.Errorf("%v", err)
			}
		}
		count(2, "passwords that are refused")
		stopped := ask(name, people.WrongPassword)
		stopped.Fence = func(context.Context) error { return os.ErrDeadlineExceeded }
		if _, err := v.Validate(t.Context(), stopped.Check); err == nil {
			t.Error("a verdict without a fence")
		}
		count(2, "a fence that was refused")
		if _, err := outage.Validate(t.Context(), ask(name, people.WrongPassword).Check); err == nil {
			t.Error("a verdict without a directory")
		}
		count(2, "an outage")
		if _, err := v.Validate(t.Context(), ask(name, people.RightPassword).Check); err != nil {
			t.Fatal(err)
		}
		count(0, "a right password")
	})

	t.Run("attributes", func(t *testing.T) {
		v := configured(t, ldap.Config{Servers: []string{w.ldaps}, RootCAs: w.roots}, false)
		attributes := func(name string) *wire.Attributes {
			t.Helper()
			check := ask(name, people.RightPassword)
			check.WantAttributes = true
			r, err := v.Validate(t.Context(), check.Check)
			if err != nil || !r.Verdict.Reason.Right() {
				t.Fatalf("%s: %+v, %v", name, r, err)
			}
			return r.Verdict.Attributes
		}
		alice := attributes("alice@" + w.suffix)
		if alice == nil || len(alice.Anchor) != 36 {
			t.Fatalf("%+v", alice)
		}
		want := &wire.Attributes{Anchor: alice.Anchor, UPN: "alice@" + w.suffix, DisplayName: "Alice Archer", GivenName: "Alice", FamilyName: "Archer",
			Email: "alice@" + w.suffix, Groups: []string{"Engineering", "Staff"}}
		if d := cmp.Diff(want, alice); d != "" {
			t.Error(d)
		}
		for _, name := range []string{"ALICE@" + strings.ToUpper(w.suffix), " alice@" + w.suffix + " "} {
			if d := cmp.Diff(want, attributes(name)); d != "" {
				t.Errorf("%q: %s", name, d)
			}
		}
		if bob := attributes("bob@" + w.suffix); bob == nil || bob.Anchor == alice.Anchor || bob.GivenName != "Bob" {
			t.Errorf("%+v", bob)
		}
		if w.anchor != nil {
			g := w.anchor(t, "alice")
			if printed := directoryGUID(g); printed != alice.Anchor {
				t.Errorf("anchor %s, objectGUID %s", alice.Anchor, printed)
			}
			// Proven by the token, which this directory tells.
			if d := cmp.Diff(want, attributes(w.netbios+`\alice`)); d != "" {
				t.Error(d)
			}
		}
	})
}

// directoryGUID prints the bytes of an objectGUID, written apart from the code under test.
func directoryGUID(b []byte) string {
	const hex = "0123456789abcdef"
	var out []byte
	for i, at := range []int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15} {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			out = append(out, '-')
		}
		out = append(out, hex[b[at]>>4], hex[b[at]&15])
	}
	return string(out)
}
