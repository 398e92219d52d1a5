package kerberos_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport-auth/sallyport/agent/directory/directorytest"
	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ask, trouble, must = directorytest.Ask, directorytest.Trouble, directorytest.Must

// world is a domain controller with everybody in it and a keytab for the agent.
type world struct {
	dc        *samba.DC
	keytab    *kerberos.Keytab
	everybody []people.Person
}

func start(t *testing.T) world {
	t.Helper()
	w := world{everybody: people.Everybody("corp.example.com")}
	w.dc = sambatest.Start(t, samba.Options{}, w.everybody...)
	w.keytab = keytabOf(t, w.dc, "agent1")
	return w
}

func keytabOf(t *testing.T, dc *samba.DC, host string) *kerberos.Keytab {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keytab")
	principal, err := dc.Keytab(t.Context(), host, file)
	must(t, err)
	k, err := kerberos.ReadKeytab(file)
	must(t, err)
	if k.Service() != principal+"@"+dc.Realm {
		t.Fatalf("the keytab is for %s", k.Service())
	}
	return k
}

func (w world) validator(t *testing.T, change func(*kerberos.Config)) *kerberos.Validator {
	t.Helper()
	c := kerberos.Config{KDCs: []string{w.dc.Addr}, Keytab: w.keytab}
	if change != nil {
		change(&c)
	}
	v, err := kerberos.New(c)
	must(t, err)
	return v
}

func (w world) ldap(t *testing.T) *ldap.Validator {
	t.Helper()
	v, err := ldap.New(ldap.Config{Servers: []string{w.dc.LDAPS()}, RootCAs: w.dc.CAPool})
	must(t, err)
	directorytest.CloseIdle(t, v)
	return v
}

// differs are the states in which the two validators answer differently, with Kerberos's answer to a right and a wrong
// password; docs/divergences.md has the same table with the reasons.
var differs = map[people.State][2]wire.Reason{
	people.Workstation: {wire.Accepted, wire.BadPassword},
	people.Restricted:  {wire.Accepted, wire.BadPassword},
}

func TestAgreesWithLDAP(t *testing.T) {
	w := start(t)
	byKDC, l := []*kerberos.Validator{w.validator(t, nil), w.byUDP(t, w.dc.Addr), w.armored(t, w.dc.Addr)}, w.ldap(t)
	for _, p := range w.everybody {
		for i, password := range []string{people.RightPassword, people.WrongPassword} {
			byLDAP, err := l.Validate(t.Context(), ask(p.UPN, password).Check)
			must(t, err)
			want := byLDAP.Verdict
			if other, ok := differs[p.State]; ok {
				if want.Reason == other[i] && i == 0 {
					t.Errorf("%s no longer differs", p.State)
				}
				want.Reason, want.Win32 = other[i], map[wire.Reason]int{wire.BadPassword: 1326}[other[i]]
			}
			for n, name := range []string{p.UPN, strings.ToUpper(p.UPN), " " + p.UPN + " ", w.dc.NetBIOS + `\` + p.SAM, p.SAM + "@" + w.dc.NetBIOS, p.UPN} {
				check := ask(name, password)
				r, err := byKDC[n%len(byKDC)].Validate(t.Context(), check.Check)
				if err != nil || r.Verdict.Reason != want.Reason || r.Verdict.Win32 != want.Win32 || check.Fences.Load() != 1 {
					t.Errorf("%q, %s: %+v, %v; want %s", name, password, r.Verdict, err, want.Reason)
				}
				if r.Judged.Before(r.Fenced) || r.Fenced.IsZero() || r.DC != net.JoinHostPort(w.dc.Addr, "88") {
					t.Errorf("%+v", r)
				}
				if p.State != people.Locked {
					must(t, w.dc.Unlock(t.Context(), p.SAM))
				}
			}
		}
	}
	// LDAP says the same of an unknown name and a wrong password; Kerberos tells them apart. Both count towards nobody's lockout but the service's.
	for n, name := range []string{"nobody@" + w.dc.UPNSuffix, w.dc.NetBIOS + `\nobody`} {
		check := ask(name, "x")
		r, err := byKDC[n].Validate(t.Context(), check.Check)
		if err != nil || r.Verdict.Reason != wire.NoSuchUser || check.Fences.Load() != 1 {
			t.Errorf("%s: %+v, %v", name, r.Verdict, err)
		}
	}
	check := ask("alice@elsewhere.example", people.RightPassword)
	r, err := byKDC[1].Validate(t.Context(), check.Check)
	t.Logf("another domain: %+v, %v", r.Verdict, err)
	if err == nil && r.Verdict.Reason.Right() {
		t.Error("accepted")
	}
}

func TestOnePasswordIsOneAttempt(t *testing.T) {
	w := start(t)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, dead.Close())
	nobody := dead.Addr().String()
	v := w.validator(t, func(c *kerberos.Config) { c.KDCs = []string{nobody, w.dc.Addr} })
	outage := w.validator(t, func(c *kerberos.Config) { c.KDCs = []string{nobody} })
	name := "bob@" + w.dc.UPNSuffix
	count := func(want int, after string) {
		t.Helper()
		n, err := w.dc.BadPwdCount(t.Context(), "bob")
		must(t, err)
		if n != want {
			t.Errorf("badPwdCount is %d after %s, want %d", n, after, want)
		}
	}
	validate := func(password string, want wire.Reason) {
		t.Helper()
		if r, err := v.Validate(t.Context(), ask(name, password).Check); err != nil || r.Verdict.Reason != want {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	validate(people.RightPassword, wire.Accepted)
	count(0, "a right password")
	for i := range 2 {
		validate(people.WrongPassword, wire.BadPassword)
		count(i+1, "a wrong password")
	}
	for _, c := range []*directorytest.Asked{ask(name, ""), ask(name, "\x00"), ask(name, "a\x00"), ask("bob", people.WrongPassword), ask("CN=Bob Baker,"+w.dc.BaseDN, "x")} {
		_, err := v.Validate(t.Context(), c.Check)
		if e := trouble(t, err); e.Code != wire.PasswordUnusable || e.Fenced || c.Fences.Load() != 0 {
			t.Errorf("%v", err)
		}
	}
	count(2, "what is refused")
	stopped := ask(name, people.WrongPassword)
	stopped.Fence = func(context.Context) error { return os.ErrDeadlineExceeded }
	_, err = v.Validate(t.Context(), stopped.Check)
	if e := trouble(t, err); e.Code != wire.TransientNetwork || e.Fenced || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped.Fence = func(context.Context) error { cancel(); return nil }
	_, err = v.Validate(ctx, stopped.Check)
	if e := trouble(t, err); e.Code != wire.AgentTooSlow || e.Fenced {
		t.Errorf("%v", err)
	}
	count(2, "a fence that was refused, or came too late")
	_, err = outage.Validate(t.Context(), ask(name, people.WrongPassword).Check)
	if e := trouble(t, err); e.Code != wire.DirectoryUnreachable || e.Fenced {
		t.Errorf("%v", err)
	}
	count(2, "an outage")

	// The KDC freezes right after the fence: an honest "may have counted".
	frozen := ask(name, people.WrongPassword)
	frozen.Fence = func(context.Context) error { return w.dc.Pause() }
	short := w.validator(t, func(c *kerberos.Config) { c.AnswerTimeout = 200e6 })
	_, err = short.Validate(t.Context(), frozen.Check)
	must(t, w.dc.Resume())
	if e := trouble(t, err); e.Code != wire.DirectoryTimeout || !e.Fenced {
		t.Errorf("%v", err)
	}
	if n, err := w.dc.BadPwdCount(t.Context(), "bob"); err != nil || n > 3 {
		t.Errorf("counted %d, %v", n, err)
	}
	validate(people.RightPassword, wire.Accepted)
	count(0, "a right password")
}

// Accounts that need no proof get a ticket without one; the password is judged all the same.
func TestNoPreauthenticationNeeded(t *testing.T) {
	w := start(t)
	s, err := w.dc.Administrator(t.Context())
	must(t, err)
	defer s.Close()
	must(t, s.Modify(replace(w.dc.DN(w.everybody[0]), "userAccountControl", fmt.Sprint(512|0x400000))))
	v := w.validator(t, nil)
	for password, want := range map[string]wire.Reason{people.RightPassword: wire.Accepted, people.WrongPassword: wire.BadPassword} {
		if r, err := v.Validate(t.Context(), ask("alice@"+w.dc.UPNSuffix, password).Check); err != nil || r.Verdict.Reason != want {
			t.Errorf("%s: %+v, %v", password, r.Verdict, err)
		}
	}
}

func TestAttributesComeByLDAP(t *testing.T) {
	w := start(t)
	l := w.ldap(t)
	v := w.validator(t, func(c *kerberos.Config) { c.Attributes = l })
	for _, p := range w.everybody {
		check := ask(p.UPN, people.RightPassword)
		check.WantAttributes = true
		r, err := v.Validate(t.Context(), check.Check)
		must(t, err)
		a := r.Verdict.Attributes
		switch {
		case p.State == people.Normal && (a == nil || a.UPN != p.UPN || a.Anchor == ""):
			t.Errorf("%s: %+v", p.UPN, r.Verdict)
		case p.State != people.Normal && a != nil:
			t.Errorf("%s: %+v", p.UPN, a)
		// LDAP refuses what Kerberos accepts, and says what only somebody with the right password can learn.
		case p.State == people.Workstation && (r.Verdict.Reason != wire.Workstation || r.Verdict.Win32 != 1329):
			t.Errorf("%+v", r.Verdict)
		// Or says what proves nothing: a yes that is nobody's, said so.
		case p.State == people.Restricted && !strings.Contains(r.Verdict.Diagnostic, "identity not proven: LDAP says account_restricted"):
			t.Errorf("%+v", r.Verdict)
		}
	}
	if n, err := w.dc.BadPwdCount(t.Context(), "alice"); err != nil || n != 0 {
		t.Errorf("counted %d, %v", n, err)
	}
}

func TestLook(t *testing.T) {
	w := start(t)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, dead.Close())
	v := w.validator(t, func(c *kerberos.Config) { c.KDCs = []string{w.dc.Addr, dead.Addr().String()} })
	if l := v.Look(t.Context()); l[0].Err != nil || l[0].Took <= 0 || l[0].ClockSkew.Abs() > time.Minute || l[1].Err == nil {
		t.Errorf("%+v", l)
	}
	// A realm and a service that the KDC does not know.
	other, err := kerberos.New(kerberos.Config{KDCs: []string{w.dc.Addr}, Realm: "ELSEWHERE.EXAMPLE", Unproven: true})
	must(t, err)
	if l := other.Look(t.Context()); l[0].Err == nil {
		t.Errorf("another realm: %+v", l)
	}
	if st := v.Status(); len(st) != 2 || st[0].LastError != "" {
		t.Errorf("%+v", st)
	}
	// What did not answer is told, and asked last from then on; an answer makes it good.
	down := w.validator(t, func(c *kerberos.Config) { c.KDCs = []string{dead.Addr().String(), w.dc.Addr} })
	r, err := down.Validate(t.Context(), ask("alice@"+w.dc.UPNSuffix, people.RightPassword).Check)
	if st := down.Status(); err != nil || r.DC != net.JoinHostPort(w.dc.Addr, "88") || st[0].LastError == "" || st[0].LastErrorAt.IsZero() || st[1].LastError != "" {
		t.Errorf("%+v, %v, %+v", r, err, st)
	}
}

// A keytab of before: the account's key was set anew. Nobody is refused for that, and nobody is let in.
func TestOldKeytab(t *testing.T) {
	w := start(t)
	must(t, w.dc.SetPassword(t.Context(), "AGENT1$", []byte("Another-Key-1")))
	_, err := w.validator(t, nil).Validate(t.Context(), ask("alice@"+w.dc.UPNSuffix, people.RightPassword).Check)
	if e := trouble(t, err); e.Code != wire.DirectoryUnusable || !e.Fenced || !strings.Contains(err.Error(), "the keytab has no key of number 2") {
		t.Errorf("%v", err)
	}
}
