package evaluation_test

import (
	"errors"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
)

// said is what go-ldap makes of an answer: what an agent sees.
type said struct {
	Who     string
	Code    uint16
	Text    string
	Matched string
	Found   map[string][]string
}

// overStartTLS asks about everybody, right and wrong, with the library that agents use, over StartTLS.
func overStartTLS(t *testing.T, p place, everybody []people.Person) []said {
	t.Helper()
	var out []said
	for _, person := range everybody {
		for _, password := range []string{people.WrongPassword, people.RightPassword} {
			conn, err := ldap.DialURL("ldap://" + p.plain)
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.StartTLS(p.tls()); err != nil {
				t.Fatal(err)
			}
			one := said{Who: person.SAM}
			err = conn.Bind(person.UPN, password)
			var refused *ldap.Error
			switch {
			case errors.As(err, &refused):
				one.Code, one.Matched, one.Text = refused.ResultCode, refused.MatchedDN, refused.Err.Error()
			case err != nil:
				t.Fatal(err)
			default:
				found, err := conn.Search(ldap.NewSearchRequest(baseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, 0, false,
					"(userPrincipalName="+ldap.EscapeFilter(person.UPN)+")", []string{"displayName", "givenName", "sn", "mail", "memberOf", "userPrincipalName"}, nil))
				if err != nil || len(found.Entries) != 1 || len(found.Referrals) != 3 {
					t.Fatalf("%s looks for themselves: %+v, %v", person.SAM, found, err)
				}
				one.Found = map[string][]string{"dn": {found.Entries[0].DN}}
				for _, a := range found.Entries[0].Attributes {
					one.Found[a.Name] = a.Values
				}
			}
			_ = conn.Close()
			out = append(out, one)
		}
	}
	return out
}

func TestAgreesWithSambaOverStartTLS(t *testing.T) {
	everybody := append(transcriptPeople(), people.Pairs(suffix)...)
	real := sambaPlace(t, everybody...)
	_, own := startPlace(t, evaluation.Config{People: everybody, LockoutThreshold: threshold})
	if diff := cmp.Diff(overStartTLS(t, real, everybody), overStartTLS(t, own, everybody), sortedValues()); diff != "" {
		t.Errorf("Samba (-), evaluation directory (+):\n%s", diff)
	}
}

// sortedValues ignores the order of an attribute's values, which means nothing in LDAP.
func sortedValues() cmp.Option {
	return cmp.Transformer("set", func(values []string) map[string]bool {
		set := map[string]bool{}
		for _, v := range values {
			set[v] = true
		}
		return set
	})
}

// BenchmarkBindTLS measures a client and the directory together, over TLS on loopback.
func BenchmarkBindTLS(b *testing.B) {
	alice := people.Everybody(suffix)[0]
	_, p := startPlace(b, evaluation.Config{People: []people.Person{alice}})
	conn := connect(b, p)
	for b.Loop() {
		if err := conn.Bind(alice.UPN, people.RightPassword); err != nil {
			b.Fatal(err)
		}
	}
}
