package ldap_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

// A server that agrees is sent one wrong password and many right ones, in both ways.
func TestTryFastBind(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, func(s *scripted) {
		s.bind = func(_, password string) said {
			if password != "right" {
				return said{code: 49, text: ad("52e")}
			}
			return said{}
		}
	})
	secret := func(text string) wire.Secret { return wire.NewSecret([]byte(text)) }
	trial, err := ldap.TryFastBind(t.Context(), s.url(), a.pool(), "sam@corp.example", secret("right"), secret("wrong"))
	must(t, err)
	if trial.Mode.Result != 0 || trial.Right.Result != 0 || trial.Wrong.Result != 49 || !strings.Contains(trial.Wrong.Text, "data 52e") || trial.Plain <= 0 || trial.Fast <= 0 {
		t.Errorf("%+v", trial)
	}
	dials, binds := s.counts()
	wrong := len(slices.DeleteFunc(slices.Clone(binds), func(b string) bool { return !strings.HasSuffix(b, "/wrong") }))
	if dials != 2 || wrong != 1 || len(binds) != 101 {
		t.Errorf("%d dials, %d binds, %d of them wrong", dials, len(binds), wrong)
	}
}

// Samba does not know it, and no password is sent.
func TestSambaKnowsNoFastBind(t *testing.T) {
	sue := people.Person{SAM: "sue", UPN: "sue@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword)), DisplayName: "Sue"}
	dc := sambatest.Start(t, samba.Options{}, sue)
	trial, err := ldap.TryFastBind(t.Context(), dc.LDAPS(), dc.CAPool, sue.UPN, sue.Password, wire.NewSecret([]byte(people.WrongPassword)))
	if err != nil || trial.Mode.Result != 2 || trial.Wrong != (ldap.Said{}) {
		t.Errorf("%+v, %v", trial, err)
	}
	if n, err := dc.BadPwdCount(t.Context(), "sue"); err != nil || n != 0 {
		t.Errorf("counted %d, %v", n, err)
	}
}
