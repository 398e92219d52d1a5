package ldap_test

import (
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

// found looks a name up as an agent does, and checks the password of whoever was found.
func (g guarded) found(v *ldap.Validator, attribute, name, password string) (account *directory.Account, r directory.Result, code wire.Code) {
	g.t.Helper()
	account, e := v.Find(g.t.Context(), attribute, name)
	if e != nil {
		if e.Fenced || account != nil {
			g.t.Errorf("%s: %+v", name, e)
		}
		return nil, r, e.Code
	}
	check := ask(name, password)
	check.Account, check.WantAttributes = account, true
	r, err := v.Validate(g.t.Context(), check.Check)
	if err != nil {
		return account, r, trouble(g.t, err).Code
	}
	return account, r, 0
}

// People sign in by their mail address, or by another attribute that the directory has an index of; whoever shares one with somebody is not asked about.
func TestSignInByAnotherAttribute(t *testing.T) {
	person := func(sam, upn, mail string) people.Person {
		return people.Person{SAM: sam, UPN: upn, Mail: mail, Password: wire.NewSecret([]byte(people.RightPassword)), DisplayName: sam}
	}
	g := guarded{sambatest.Start(t, samba.Options{},
		person("reader", "reader@corp.example.com", ""),
		person("ada", "ada@corp.example.com", "Ada.Lovelace@mail.example"),
		person("one", "one@corp.example.com", "shared@mail.example"),
		person("two", "two@corp.example.com", "shared@mail.example"),
		person("bob", "bob@corp.example.com", "ada@corp.example.com"),              // another's user principal name
		person("carl", "carl@corp.example.com", "dora@corp.example.com"),           // another's implicit one
		person("dora", "d.ora@corp.example.com", ""),                               //
		person("odd", "odd@corp.example.com", `o(d)*d\@mail.example`),              // looks like a filter
		person("comma", "comma@corp.example.com", `cn=x,dc=corp@mail.example`)), t} // looks like a distinguished name
	must(t, g.SetPassword(t.Context(), "reader", []byte(readerPassword)))
	v := g.validator(nil)
	for _, c := range []struct {
		attribute, name, password string
		sam                       string
		reason                    wire.Reason
		code                      wire.Code
	}{
		{"mail", "ada.lovelace@mail.example", people.RightPassword, "ada", wire.Accepted, 0},
		{"mail", "ADA.LOVELACE@MAIL.EXAMPLE", people.RightPassword, "ada", wire.Accepted, 0},
		{"mail", "ada.lovelace@mail.example", people.WrongPassword, "ada", wire.BadPassword, 0},
		{"mail", "one@corp.example.com", people.RightPassword, "one", wire.Accepted, 0}, // the user principal name stays one
		{"mail", "d.ora@corp.example.com", people.RightPassword, "dora", wire.Accepted, 0},
		{"mail", "nobody@mail.example", people.RightPassword, "", wire.BadPassword, 0}, // the directory itself says so
		{"mail", "*@mail.example", people.RightPassword, "", wire.BadPassword, 0},
		{"mail", `o(d)*d\@mail.example`, people.RightPassword, "odd", wire.Accepted, 0},
		{"mail", `cn=x,dc=corp@mail.example`, people.RightPassword, "comma", wire.Accepted, 0},
		{"mail", "shared@mail.example", people.RightPassword, "", "", wire.NameAmbiguous},
		{"mail", "ada@corp.example.com", people.RightPassword, "ada", wire.Accepted, 0},                            // bob's mail address, and nobody's but ada's name
		{"mail", "dora@corp.example.com", people.RightPassword, "dora", wire.Accepted, 0},                          // carl's mail address
		{"comment", "ada@corp.example.com", people.RightPassword, "", "", wire.NameNotLookedUp},                    // no index
		{"objectSid", "ada@corp.example.com", people.RightPassword, "", "", wire.NameNotLookedUp},                  // no text
		{"noSuchThing", "ada@corp.example.com", people.RightPassword, "", "", wire.NameNotLookedUp},                //
		{"mail=*)(cn", "ada@corp.example.com", people.RightPassword, "", "", wire.NameNotLookedUp},                 // not a name at all
		{" mail", "ada@corp.example.com", people.RightPassword, "", "", wire.NameNotLookedUp},                      //
		{"physicalDeliveryOfficeName", "ada@corp.example.com", people.RightPassword, "", "", wire.NameNotLookedUp}, // everybody writes his own
		{"unicodePwd", "ada@corp.example.com", people.RightPassword, "", "", wire.NameNotLookedUp},                 //
		{"", "ada@corp.example.com", people.RightPassword, "", "", wire.NameNotLookedUp},                           //
	} {
		account, r, code := g.found(v, c.attribute, c.name, c.password)
		sam := ""
		if account != nil {
			sam = account.SAM
		}
		if code != c.code || sam != c.sam || r.Verdict.Reason != c.reason {
			t.Errorf("%s %s: %q, %+v, %d", c.attribute, c.name, sam, r.Verdict, code)
		}
		if a := r.Verdict.Attributes; c.reason == wire.Accepted && (a == nil || !strings.HasSuffix(a.UPN, "@corp.example.com") || a.Anchor != account.Anchor) {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
	if _, r, _ := g.found(v, "mail", "ada.lovelace@mail.example", people.RightPassword); r.Verdict.Attributes.SignInName != "Ada.Lovelace@mail.example" {
		t.Errorf("%+v", r.Verdict.Attributes)
	}
	// A wrong password by any name counts at the one account, once.
	must(t, g.Unlock(t.Context(), "ada"))
	g.found(v, "mail", "ada.lovelace@mail.example", people.WrongPassword)
	if n := g.count("ada"); n != 1 {
		t.Errorf("counted %d times", n)
	}

	// By an attribute of many values, each with its kind before it.
	s, err := g.Administrator(t.Context())
	must(t, err)
	defer s.Close()
	change := goldap.NewModifyRequest(g.DN(people.Person{SAM: "two"}), nil)
	change.Add("proxyAddresses", []string{"SMTP:two@mail.example", "smtp:zwei@mail.example", "x500:/o=x"})
	must(t, s.Modify(change))
	if account, r, code := g.found(v, "proxyAddresses", "zwei@mail.example", people.RightPassword); code != 0 || account.SAM != "two" ||
		r.Verdict.Attributes.SignInName != "two@mail.example" { // the first of them, whichever was typed
		t.Errorf("%+v, %+v, %d", account, r.Verdict, code)
	}

	// Nobody looks without a reader.
	alone := configured(t, ldap.Config{Servers: []string{g.LDAPS()}, RootCAs: g.CAPool}, false)
	if _, _, code := g.found(alone, "mail", "ada.lovelace@mail.example", people.RightPassword); code != wire.NameNotLookedUp {
		t.Errorf("without a reader: %d", code)
	}
}
