package attack

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// TestOtherNamesAreOnePerson: whoever may sign in by mail address and by NetBIOS name is one user with one count, whatever is typed; what a tenant
// does not allow, what two accounts share and what an agent cannot look up is asked about nowhere.
func TestOtherNamesAreOnePerson(t *testing.T) {
	w := newWorld(t)
	secret := func(s string) wire.Secret { return wire.NewSecret([]byte(s)) }
	dc := sambatest.Start(t, samba.Options{},
		people.Person{SAM: sam, UPN: name, Mail: "Alice.Liddell@mail.example", Password: secret(right), DisplayName: "Alice"},
		people.Person{SAM: "one", UPN: "one@corp.example", Mail: "shared@mail.example", Password: secret(right), DisplayName: "One"},
		people.Person{SAM: "two", UPN: "two@corp.example", Mail: "shared@mail.example", Password: secret(right), DisplayName: "Two"},
		people.Person{SAM: "reader", UPN: "reader@corp.example", Password: secret("Reader-Passw0rd"), DisplayName: "Reader"})
	if err := w.guard.Clear(t.Context(), w.a, w.account()); err != nil {
		t.Fatal(err)
	}
	w.roots = dc.CAPool
	m := w.enrol(w.a, w.dir, w.gateway.address)
	m.servers = []string{dc.LDAPS()}
	m.guard = ldap.Guard{Reader: "reader@corp.example", Password: secret("Reader-Passw0rd")}
	m.attach()
	check := func(typed, secretly string) password.Answer {
		t.Helper()
		a, err := w.checker.Check(context.WithoutCancel(t.Context()), w.a, password.Attempt{Name: typed, Password: secret(secretly), Request: "journey"})
		if err != nil {
			t.Fatalf("%s: %v", typed, err)
		}
		return a
	}
	refused := func(typed, secretly string, code wire.Code) {
		t.Helper()
		if a := check(typed, secretly); a.Right || a.Code != code || a.Shown != wire.InvalidPassword {
			t.Errorf("%s: %v shown %v (%s)", typed, a.Code, a.Shown, a.Diagnostic)
		}
	}
	counted := func(what string, want int) {
		t.Helper()
		if n, here := fatal(dc.BadPwdCount(t.Context(), sam))(t), w.failuresNow(); n != want || here != want {
			t.Errorf("%s: the domain controller counts %d, the service %d, want %d", what, n, here, want)
		}
	}
	// Nothing is allowed yet.
	refused("alice.liddell@mail.example", right, wire.DomainUnknown)
	refused(`CORP\alice`, right, wire.DomainUnknown)

	attribute, netbios := "mail", "Corp"
	fatal(w.tenants.CreateDomain(t.Context(), w.a, tenant.Domain{Name: "mail.example", Kind: tenant.PassThrough, DirectoryID: w.dir, AdmitUsers: true, SignInAttribute: attribute}, time.Now()))(t)
	fatal(w.tenants.ChangeDomain(t.Context(), w.a, "corp.example", tenant.DomainChange{NetBIOSName: &netbios}, time.Now()))(t)
	first := check("ALICE.liddell@mail.example", right)
	if !first.Right || first.User.UPN != name || first.User.SignInName != "Alice.Liddell@mail.example" {
		t.Fatalf("by mail address: %+v", first)
	}
	for _, typed := range []string{name, `corp\Alice`, ` CORP\alice `, "alice.liddell@mail.example"} {
		if a := check(typed, right); !a.Right || a.User.ID != first.User.ID {
			t.Errorf("%s: %v %s, user %s", typed, a.Code, a.Diagnostic, a.User.ID)
		}
	}
	// Every name spends the same count, here and there.
	refused("alice.liddell@mail.example", "guess", wire.InvalidPassword)
	counted("by mail address", 1)
	refused(`CORP\alice`, "guess", wire.InvalidPassword)
	counted("by NetBIOS name", 2)
	// Forms that this domain controller takes for the account as well are asked about nowhere.
	byID := fmt.Sprintf("<GUID=%x>", fatal(dc.Attribute(t.Context(), sam, "objectGUID"))(t))
	for _, typed := range []string{`al\ice@corp.example`, `CORP\al\ice`, byID + ";cn=x@corp.example", `CORP\` + byID + ";cn=x"} {
		refused(typed, "guess", wire.DomainUnknown)
	}
	counted("in other forms", 2)
	refused("ÁLICE.liddell@mail.example", "guess", wire.InvalidPassword)
	if here := w.failuresNow(); here != 3 {
		t.Errorf("another spelling: the service counts %d", here)
	}
	if err := w.guard.Clear(t.Context(), w.a, w.account()); err != nil {
		t.Fatal(err)
	}
	// What two share is asked about nowhere.
	refused("shared@mail.example", right, wire.NameAmbiguous)
	for _, sam := range []string{"one", "two"} {
		if last := fatal(dc.Attribute(t.Context(), sam, "lastLogonTimestamp"))(t); last != "" {
			t.Errorf("%s was let in", sam)
		}
	}
	// The other tenant allows nothing, and other NetBIOS names are nobody's.
	refused(`OTHER\alice`, right, wire.DomainUnknown)
	refused(`CORP\alice@corp.example`, right, wire.DomainUnknown)
	refused(`CORP\`, right, wire.DomainUnknown)
	refused(`CORP\CORP\alice`, right, wire.DomainUnknown)

	// An agent without a reader says so, and nothing is counted.
	m.stop()
	until(t, "the gateway to miss the agent", func() bool { return len(w.gateway.Attached(w.a)) == 0 })
	blind := w.enrol(w.a, w.dir, w.gateway.address)
	blind.host, blind.servers = "two", m.servers
	blind.attach()
	if _, err := w.checker.Check(t.Context(), w.a, password.Attempt{Name: "alice.liddell@mail.example", Password: secret(right), Request: "journey"}); fault.CodeOf(err) != wire.NameNotLookedUp {
		t.Errorf("without a reader: %v", err)
	}
	if here := w.failuresNow(); here != 0 {
		t.Errorf("the service counts %d", here)
	}
}

// TestManyAddressesAreOneCount: who guesses at a person through one mail address after another has one budget at the service, at a real domain
// controller, also through addresses that nobody has typed before and before the person has ever signed in.
func TestManyAddressesAreOneCount(t *testing.T) {
	w := newWorld(t)
	secret := func(s string) wire.Secret { return wire.NewSecret([]byte(s)) }
	dc := sambatest.Start(t, samba.Options{},
		people.Person{SAM: "dora", UPN: "dora@corp.example", Password: secret(right), DisplayName: "Dora"},
		people.Person{SAM: "reader", UPN: "reader@corp.example", Password: secret("Reader-Passw0rd"), DisplayName: "Reader"})
	var addresses []string
	for i := range 12 {
		addresses = append(addresses, fmt.Sprintf("smtp:dora.%d@mail.example", i))
	}
	s := fatal(dc.Administrator(t.Context()))(t)
	defer s.Close()
	change := goldap.NewModifyRequest(dc.DN(people.Person{SAM: "dora"}), nil)
	change.Add("proxyAddresses", addresses)
	if err := s.Modify(change); err != nil {
		t.Fatal(err)
	}
	w.roots = dc.CAPool
	m := w.enrol(w.a, w.dir, w.gateway.address)
	m.servers = []string{dc.LDAPS()}
	m.guard = ldap.Guard{Reader: "reader@corp.example", Password: secret("Reader-Passw0rd")}
	m.attach()
	fatal(w.tenants.CreateDomain(t.Context(), w.a, tenant.Domain{Name: "mail.example", Kind: tenant.PassThrough, DirectoryID: w.dir, AdmitUsers: true, SignInAttribute: "proxyAddresses"}, time.Now()))(t)
	next := 0
	// guess types a password at the next address, and returns the true number.
	guess := func(secretly string) wire.Code {
		t.Helper()
		a, err := w.checker.Check(context.WithoutCancel(t.Context()), w.a, password.Attempt{Name: addresses[next][len("smtp:"):], Password: secret(secretly), Request: "journey"})
		if err != nil || !a.Right && a.Shown != wire.InvalidPassword {
			t.Fatalf("%s: %+v, %v", addresses[next], a, err)
		}
		next++
		return a.Code
	}
	threshold := w.guard.Policy().Threshold
	budget := func(what string) {
		t.Helper()
		for i := range threshold + 1 {
			want := wire.InvalidPassword
			if i == threshold {
				want = wire.AccountLockedOut
			}
			if code := guess("guess"); code != want {
				t.Errorf("%s: guess %d: %v", what, i+1, code)
			}
		}
		if n := fatal(dc.BadPwdCount(t.Context(), "dora"))(t); n != threshold {
			t.Errorf("%s: the domain controller counts %d", what, n)
		}
	}
	budget("before the first sign-in")
	if code := guess(right); code != wire.AccountLockedOut {
		t.Errorf("the right password while the account is held back: %v", code)
	}
	guid := []byte(fatal(dc.Attribute(t.Context(), "dora", "objectGUID"))(t))
	for _, part := range [][]byte{guid[:4], guid[4:6], guid[6:8]} { // MS-DTYP 2.3.4
		slices.Reverse(part)
	}
	if err := w.guard.Clear(t.Context(), w.a, "entry "+w.dir+" "+uuid.UUID(guid).String()); err != nil {
		t.Fatal(err)
	}
	if code := guess(right); code != 0 {
		t.Errorf("the right password: %v", code)
	}
	budget("after it")
}
