package demo

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/wire"
)

// TestTypedIsWhatIsAsked: any characters that a browser can post reach a real domain controller through pages, envelope and agent as they
// were typed: the right password is right, and one that differs in a character wrong. The seed can be given again in SALLYPORT_SEED.
func TestTypedIsWhatIsAsked(t *testing.T) {
	seed := rand.Uint64()
	if given := os.Getenv("SALLYPORT_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("again with SALLYPORT_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	dc := sambatest.Start(t, samba.Options{})
	lax := ldap.NewModifyRequest(dc.BaseDN, nil)
	lax.Replace("pwdProperties", []string{"0"})
	lax.Replace("minPwdLength", []string{"0"})
	s, err := dc.Administrator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Modify(lax); err != nil {
		t.Fatal(err)
	}
	w := startWorld(t, Options{Directory: dc.LDAPS(), CAFile: dc.CAFile})
	transport, err := w.transport()
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	type strange struct {
		people.Person
		right, wrong string
	}
	all := make([]strange, 24)
	for i := range all {
		right := people.StrangePassword(r)
		all[i] = strange{people.Person{SAM: fmt.Sprintf("sam%d", i), UPN: people.StrangeName(r, i) + "@" + dc.UPNSuffix, Password: wire.NewSecret([]byte(right))},
			right, people.Near(r, right)[0]}
		if err := dc.CreateUser(t.Context(), all[i].Person); err != nil {
			t.Fatal(err)
		}
	}
	concurrently(t, len(all), func(i int) error {
		p := all[i]
		capitals := strings.Map(func(c rune) rune { // of ASCII, in which all directories agree
			if c >= 'a' && c <= 'z' {
				return c - 'a' + 'A'
			}
			return c
		}, p.UPN)
		for _, typed := range []struct {
			name, password string
			page           int
		}{{capitals, p.right, 0}, {p.UPN, p.wrong, 50126}, {p.UPN, p.right, 0}} {
			saw, err := visitor.New(w.app(), transport).SignIn(t.Context(), typed.name, typed.password)
			if err != nil {
				return fmt.Errorf("%+q: %w", typed.name, err)
			}
			if saw.Code != typed.page || (saw.SignedIn == p.UPN) != (typed.page == 0) {
				return fmt.Errorf("%+q with %+q (right: %+q): the page ends with %+v, not with %d", typed.name, typed.password, p.right, saw, typed.page)
			}
		}
		return nil
	})
}
