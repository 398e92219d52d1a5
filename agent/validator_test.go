package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/directory/locate/locatetest"
	"github.com/sallyport-auth/sallyport/agent/directory/windows"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestChoose(t *testing.T) {
	elsewhere := Given{NoDomain: windows.ErrElsewhere}
	member := Given{Domain: "corp.example"}
	with := func(g Given, keytab, unproven, servers bool) Given {
		g.Keytab, g.Unproven, g.Servers = keytab, unproven, servers
		return g
	}
	for _, c := range []struct {
		asked Kind
		given Given
		want  Kind
		says  string
	}{
		{Auto, elsewhere, LDAP, "no keytab"},
		{"", elsewhere, LDAP, "no keytab"},
		{Auto, with(elsewhere, true, false, true), Kerberos, "there is a keytab"},
		{LDAP, elsewhere, LDAP, "ask for it"},
		{Kerberos, with(elsewhere, true, false, true), Kerberos, "ask for it"},
		{Kerberos, with(elsewhere, false, true, true), Kerberos, "WITHOUT PROOF"},
		// A Windows host in a domain judges by itself unless the settings name domain controllers or a keytab.
		{Auto, member, Windows, "member of corp.example and no domain controllers"},
		{Auto, with(member, false, false, true), LDAP, "no keytab"},
		{Auto, with(member, true, false, false), Kerberos, "there is a keytab"},
		{Windows, member, Windows, "ask for it"},
		{Windows, with(member, false, false, true), Windows, "member of corp.example"},
		{LDAP, with(member, false, false, true), LDAP, "ask for it"},
		// Refused: nothing that would prove a KDC, settings that contradict each other, and hosts that cannot judge.
		{Kerberos, elsewhere, "", "--keytab"},
		{Kerberos, member, "", "--keytab"},
		{Kerberos, with(elsewhere, true, true, true), "", "leave out"},
		{Auto, with(elsewhere, false, true, true), "", "--validator kerberos"},
		{Auto, with(elsewhere, true, true, true), "", "--validator kerberos"},
		{LDAP, with(elsewhere, true, false, true), "", "ldap was asked for"},
		{LDAP, with(elsewhere, false, true, true), "", "--validator kerberos"},
		{Windows, with(member, true, false, false), "", "windows was asked for"},
		{Windows, with(member, false, true, false), "", "--validator kerberos"},
		{Windows, elsewhere, "", "works on Windows only"},
		{Windows, Given{NoDomain: windows.ErrNotMember}, "", "not a member"},
		{"ntlm", member, "", "ntlm"},
	} {
		got, err := Choose(c.asked, c.given)
		said := got.Why
		if err != nil {
			said = err.Error()
		}
		if got.Kind != c.want || (err != nil) != (c.want == "") || err != nil && !errors.Is(err, ErrConfig) || !strings.Contains(said, c.says) {
			t.Errorf("%q, %+v: %+v, %v", c.asked, c.given, got, err)
		}
	}
	if _, err := Choose(Kerberos, elsewhere); !errors.Is(err, kerberos.ErrUnproven) {
		t.Error(err)
	}
}

// Checked by Kerberos, an account is spared as it is by LDAP, and a protected one never asked about.
func TestGuardHoldsForKerberos(t *testing.T) {
	everybody := append(people.Everybody("corp.example.com"),
		people.Person{SAM: "jsmith", UPN: "john@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword)), DisplayName: "John"},
		people.Person{SAM: "reader", UPN: "reader@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword)), DisplayName: "Reader"})
	dc := sambatest.Start(t, samba.Options{}, everybody...)
	file := filepath.Join(t.TempDir(), "keytab")
	if _, err := dc.Keytab(t.Context(), "agent1", file); err != nil {
		t.Fatal(err)
	}
	keytab, err := kerberos.ReadKeytab(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := dc.SetLockoutPolicy(t.Context(), 3, 30*time.Minute, 30*time.Minute); err != nil {
		t.Fatal(err)
	}
	v, err := NewValidator(ldap.Config{Servers: []string{dc.LDAPS()}, RootCAs: dc.CAPool,
		Guard: ldap.Guard{Reader: "reader@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword))}},
		&kerberos.Config{KDCs: []string{dc.Addr}, Keytab: keytab}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = v.(interface{ Run(context.Context) error }).Run(ctx) // closes what is idle
	})
	fences := 0
	try := func(name, password string) (wire.Reason, wire.Code) {
		r, err := v.Validate(t.Context(), directory.Check{Name: name, Password: wire.NewSecret([]byte(password)), Fence: func(context.Context) error { fences++; return nil }})
		var trouble *directory.Error
		if errors.As(err, &trouble) {
			return "", trouble.Code
		}
		return r.Verdict.Reason, 0
	}
	for i, want := range []wire.Code{0, 0, wire.LockoutSpared, wire.LockoutSpared} {
		if reason, code := try("alice@corp.example.com", people.WrongPassword); code != want || want == 0 && reason != wire.BadPassword {
			t.Errorf("attempt %d: %s %d", i+1, reason, code)
		}
	}
	if n, err := dc.BadPwdCount(t.Context(), "alice"); err != nil || n != 2 || fences != 2 {
		t.Errorf("the directory counts %d, %v; %d fences", n, err, fences)
	}
	// Whoever was looked up is asked about as the account that was found.
	account, e := v.(directory.Finder).Find(t.Context(), "userPrincipalName", "bob@corp.example.com")
	if e != nil || account == nil || account.SAM != "bob" {
		t.Fatalf("%+v, %v", account, e)
	}
	r, err := v.Validate(t.Context(), directory.Check{Name: "whatever@was.typed", Account: account, Password: wire.NewSecret([]byte(people.RightPassword)), WantAttributes: true,
		Fence: func(context.Context) error { fences++; return nil }})
	if err != nil || !r.Verdict.Reason.Right() || r.Verdict.Attributes == nil || r.Verdict.Attributes.SignInName != "bob@corp.example.com" || fences != 3 {
		t.Errorf("%+v, %v, %d fences", r.Verdict, err, fences)
	}
	// Members of Protected Users may not bind: the ticket says who they are, and the reader looks in their place.
	r, err = v.Validate(t.Context(), directory.Check{Name: "restricted@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword)), WantAttributes: true,
		Fence: func(context.Context) error { fences++; return nil }})
	if err != nil || !r.Verdict.Reason.Right() || r.Verdict.Attributes == nil || r.Verdict.Attributes.UPN != "restricted@corp.example.com" || r.Verdict.Attributes.Anchor == "" || fences != 4 {
		t.Errorf("%+v, %v, %d fences", r.Verdict, err, fences)
	}
	// An account whose implicit name is another's explicit one, as only directories of before 2021 have: the KDC speaks of the other.
	namesake := &directory.Account{DN: "CN=john,OU=People," + dc.BaseDN, SAM: "john", Domain: "corp.example.com"}
	_, err = v.Validate(t.Context(), directory.Check{Name: "whatever@was.typed", Account: namesake, Password: wire.NewSecret([]byte(people.RightPassword)),
		Fence: func(context.Context) error { return nil }})
	var trouble *directory.Error
	if !errors.As(err, &trouble) || trouble.Code != wire.DirectoryUnusable || !trouble.Fenced {
		t.Errorf("another's yes: %v", err)
	}
	if _, code := try("Administrator@corp.example.com", people.WrongPassword); code != wire.AccountProtected || fences != 4 {
		t.Errorf("%d, %d fences", code, fences)
	}
}

// An agent with a keytab asks the KDC, reads attributes by LDAP, shows both in its status, and asks nobody about the people of another domain.
func TestAgentByKerberos(t *testing.T) {
	dc := sambatest.Start(t, samba.Options{}, people.Everybody("corp.example.com")...)
	file := filepath.Join(t.TempDir(), "keytab")
	principal, err := dc.Keytab(t.Context(), "agent1", file)
	if err != nil {
		t.Fatal(err)
	}
	keytab, err := kerberos.ReadKeytab(file)
	if err != nil {
		t.Fatal(err)
	}
	choice, err := Choose(Auto, Given{Keytab: true, NoDomain: windows.ErrElsewhere})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	a, err := New(Config{Identity: newAuthority(t).newIdentity(t, "127.0.0.1:1", time.Now().Add(time.Hour)), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		LDAP: ldap.Config{Servers: []string{dc.LDAPS()}, RootCAs: dc.CAPool}, Kerberos: &kerberos.Config{KDCs: []string{dc.Addr}, Keytab: keytab}, Choice: choice})
	if err != nil {
		t.Fatal(err)
	}
	a.announce()
	if !strings.Contains(log.String(), "validator=kerberos") || !strings.Contains(log.String(), "there is a keytab") || !strings.Contains(log.String(), principal) {
		t.Error(log.String())
	}
	fences := 0
	check := directory.Check{Name: "alice@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword)), WantAttributes: true,
		Fence: func(context.Context) error { fences++; return nil }}
	prover, ok := a.validator.(directory.Prover)
	if !ok {
		t.Fatal("it cannot say which domain it asks")
	}
	domain, err := prover.Prove(t.Context())
	if err != nil || domain.NamingContext != dc.BaseDN {
		t.Fatalf("%+v, %v", domain, err)
	}
	r, err := a.validator.Validate(t.Context(), check)
	if err != nil || !r.Verdict.Reason.Right() || r.DC != dc.Addr+":88" || r.Verdict.Attributes == nil || r.Verdict.Attributes.UPN != check.Name || fences != 1 {
		t.Errorf("%+v, %v, %d fences", r, err, fences)
	}
	// The KDCs that nobody has given are the domain controllers that DNS names.
	dns := locatetest.Start(t)
	dns.Host(dc.Host, net.ParseIP(dc.Addr))
	dns.Services("_ldap._tcp.dc._msdcs.corp.example.com", locatetest.SRV{Port: 389, Target: dc.Host + "."})
	found, err := NewValidator(ldap.Config{Domain: "corp.example.com", Resolver: dns.Resolver(), RootCAs: dc.CAPool}, &kerberos.Config{Keytab: keytab}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var early *directory.Error
	if _, err := found.Validate(t.Context(), check); !errors.As(err, &early) || early.Code != wire.DirectoryUnreachable || early.Fenced || fences != 1 {
		t.Errorf("before anybody was found: %v", err)
	}
	if err := found.(both).Locate(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err = found.Validate(t.Context(), check)
	if err != nil || !r.Verdict.Reason.Right() || r.DC != dc.Host+":88" || r.Verdict.Attributes == nil || fences != 2 {
		t.Errorf("%+v, %v, %d fences", r, err, fences)
	}
	fences = 1
	a.answerer.ledger.add(Finished{DC: dc.Addr + ":88", BindMS: 3})
	s := a.Status(time.Now())
	if l := s.Validator.KDCs[0].Latency; l == nil || l.MedianMS != 3 {
		t.Errorf("how fast the KDC answers: %+v", l)
	}
	if v := s.Validator; v == nil || v.Kind != Kerberos || v.Realm != dc.Realm || v.Service != principal+"@"+dc.Realm || len(v.KDCs) != 1 || v.KDCs[0].LastError != "" || len(s.Servers) != 1 {
		t.Errorf("%+v", s.Validator)
	}
	prover.Expect(directory.Domain{NamingContext: "DC=other,DC=example", GUID: "x"})
	var trouble *directory.Error
	if _, err := a.validator.Validate(t.Context(), check); !errors.As(err, &trouble) || trouble.Fenced || fences != 1 {
		t.Errorf("%v, %d fences", err, fences)
	}
}

// On other systems than Windows an agent that is told to have Windows judge is refused, with and without LDAP beside it; and LDAP's own settings are still looked at.
func TestWindowsElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this is Windows")
	}
	id := newAuthority(t).newIdentity(t, "127.0.0.1:1", time.Now().Add(time.Hour))
	for _, servers := range [][]string{nil, {"ldaps://dc1.corp.example"}} {
		if _, err := New(Config{Identity: id, LDAP: ldap.Config{Servers: servers}, Windows: &windows.Config{}}); !errors.Is(err, ErrConfig) || !errors.Is(err, windows.ErrElsewhere) {
			t.Errorf("%v: %v", servers, err)
		}
	}
	if _, err := New(Config{Identity: id, LDAP: ldap.Config{Servers: []string{"http://dc1"}}, Windows: &windows.Config{}}); !errors.Is(err, ErrConfig) || errors.Is(err, windows.ErrElsewhere) {
		t.Error(err)
	}
	alone := &byWindows{}
	if account, e := alone.Find(t.Context(), "employeeID", "4711"); account != nil || e == nil || e.Code != wire.NameNotLookedUp || alone.GuardStatus().State != ldap.GuardOff {
		t.Errorf("without LDAP: %+v, %v", account, e)
	}
	// A guard that nobody could ask is refused, and not left out in silence.
	for _, c := range []Config{{LDAP: ldap.Config{Guard: ldap.Guard{Reader: "reader@corp.example"}}}, {Protection: guard.Protection{Groups: []string{"CN=Chiefs,DC=corp,DC=example"}}}} {
		c.Identity, c.Windows = id, &windows.Config{}
		if _, err := New(c); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "--dc") {
			t.Error(err)
		}
	}
}

// How Windows stands is shown as a domain controller is.
func TestStandingOfWindows(t *testing.T) {
	at := time.Now()
	for _, c := range []struct {
		status windows.Status
		want   ldap.ServerStatus
	}{
		{windows.Status{Domain: "corp.example"}, ldap.ServerStatus{Address: "corp.example", State: ldap.Untried}},
		{windows.Status{Domain: "corp.example", DC: "dc1.corp.example"}, ldap.ServerStatus{Address: "dc1.corp.example", State: ldap.Untried}},
		{windows.Status{Domain: "corp.example", DC: "dc1.corp.example", Sound: true}, ldap.ServerStatus{Address: "dc1.corp.example", State: ldap.Serving}},
		{windows.Status{Domain: "corp.example", Sound: true, LastError: "gone", LastErrorAt: at}, ldap.ServerStatus{Address: "corp.example", State: ldap.Down, LastError: "gone", LastErrorAt: at,
			Remedy: "Look at it with nltest /dsgetdc:corp.example and nltest /sc_verify:corp.example on this host."}},
	} {
		if got := standing(c.status); got != c.want {
			t.Errorf("%+v: %+v", c.status, got)
		}
	}
}
