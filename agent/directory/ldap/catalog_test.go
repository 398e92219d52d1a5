package ldap_test

import (
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

// Whom a domain controller lets in and its own domain does not have is found in the forest's global catalog. Samba has one domain in a forest, so the
// validator is made to take a part of it for the whole domain.
func TestPeopleOfOtherDomains(t *testing.T) {
	person := func(sam, upn string) people.Person {
		return people.Person{SAM: sam, UPN: upn, Mail: sam + "@mail.example", DisplayName: sam, Password: wire.NewSecret([]byte(people.RightPassword))}
	}
	dc := sambatest.Start(t, samba.Options{}, person("sue", "sue.shared@corp.example.com"), person("max", "max@corp.example.com"))
	for what, server := range map[string]string{"within TLS": dc.LDAPS(), "StartTLS": dc.LDAP()} {
		v := configured(t, ldap.Config{Servers: []string{server}, RootCAs: dc.CAPool}, false)
		who := func(name, password string) (wire.Verdict, error) {
			check := ask(name, password)
			check.WantAttributes = true
			r, err := v.Validate(t.Context(), check.Check)
			if err == nil && check.Fences.Load() != 1 {
				t.Errorf("%s %s: %d fences", what, name, check.Fences.Load())
			}
			return r.Verdict, err
		}
		here, err := who("sue.shared@corp.example.com", people.RightPassword)
		must(t, err)
		v.Rebase(0, func(base string) string { return "CN=Builtin," + base })
		there, err := who("sue.shared@corp.example.com", people.RightPassword)
		must(t, err)
		if here.Attributes == nil || there.Attributes == nil || there.Attributes.Anchor != here.Attributes.Anchor || there.Attributes.UPN != here.Attributes.UPN {
			t.Errorf("%s: here %+v, in the catalog %+v (%s)", what, here.Attributes, there.Attributes, there.Diagnostic)
		}
		// By the implicit name, in the domain that it names.
		if got, err := who("sue@corp.example.com", people.RightPassword); err != nil || got.Attributes == nil || got.Attributes.Anchor != here.Attributes.Anchor {
			t.Errorf("%s: the implicit name: %+v, %v", what, got, err)
		}
		if got, err := who("max@corp.example.com", people.WrongPassword); err != nil || got.Reason != wire.BadPassword {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	// A wrong password counted once for each try, and the look into the catalog not at all.
	if n, err := dc.BadPwdCount(t.Context(), "max"); err != nil || n != 2 {
		t.Errorf("max: counted %d, %v", n, err)
	}
	if n, err := dc.BadPwdCount(t.Context(), "sue"); err != nil || n != 0 {
		t.Errorf("sue: counted %d, %v", n, err)
	}
}

// A directory without a catalog at the usual port: the yes is nobody's, and says why.
func TestNoCatalog(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, nil)
	v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: a.pool()}, false)
	check := ask("sam@corp.example", "p")
	check.WantAttributes = true
	r, err := v.Validate(t.Context(), check.Check)
	if err != nil || r.Verdict.Reason != wire.Accepted || r.Verdict.Attributes != nil || !strings.Contains(r.Verdict.Diagnostic, "global catalog: its port") {
		t.Errorf("%+v, %v", r.Verdict, err)
	}
}
