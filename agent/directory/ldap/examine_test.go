package ldap_test

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/wire"
)

// examine is the same on both directories: what a server shows to somebody without an account.
func (w world) examine(t *testing.T) {
	t.Helper()
	for _, server := range []string{w.ldaps, w.startTLS} {
		e := ldap.Examine(t.Context(), server, w.roots, nil)
		if e.Err != nil || e.NamingContext != "DC=corp,DC=example,DC=com" || e.Host == "" || len(e.Chain) == 0 || e.Took <= 0 {
			t.Errorf("%s: %+v", server, e)
		}
		if e.StartTLS != (server == w.startTLS) {
			t.Errorf("%s: StartTLS %v", server, e.StartTLS)
		}
		if e.Rights != (ldap.Rights{}) {
			t.Errorf("%s lets strangers read: %+v", server, e.Rights)
		}
		if e.Lockout != nil {
			t.Errorf("%s tells strangers its lockout policy: %+v", server, e.Lockout)
		}
		if e := ldap.Examine(t.Context(), server, x509.NewCertPool(), nil); e.Err == nil || len(e.Chain) == 0 || e.Remedy == "" {
			t.Errorf("%s, whose CA is not trusted: %+v", server, e)
		} else {
			var unknown x509.UnknownAuthorityError
			if !errors.As(e.Err, &unknown) {
				t.Errorf("%s: %v", server, e.Err)
			}
		}
	}
}

func TestExamineEvaluation(t *testing.T) {
	w, s := evaluationWorld(t, newAuthority(t))
	w.examine(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if e := ldap.Examine(t.Context(), w.ldaps, w.roots, nil); e.Err == nil || e.Remedy == "" {
		t.Errorf("a server that is gone: %+v", e)
	}
	if e := ldap.Examine(t.Context(), "http://dc1", nil, nil); e.Err == nil || e.Remedy == "" {
		t.Errorf("no address: %+v", e)
	}
}

func TestExamineSamba(t *testing.T) {
	w, dc := sambaWorld(t)
	w.examine(t)
	must(t, dc.SetLockoutPolicy(t.Context(), 7, 10*time.Minute, 5*time.Minute))
	r, policy, err := ldap.ExamineAs(t.Context(), w.ldaps, w.roots, nil, "alice@"+w.suffix, wire.NewSecret([]byte(people.RightPassword)))
	if err != nil || !r.Domain || !r.People || policy == nil || *policy != (ldap.LockoutPolicy{Threshold: 7, Duration: 10 * time.Minute, Window: 5 * time.Minute}) {
		t.Errorf("as an account: %+v %+v %v", r, policy, err)
	}
	before := w.badPwdCount(t, "bob")
	if r, _, err := ldap.ExamineAs(t.Context(), w.ldaps, w.roots, nil, "bob@"+w.suffix, wire.NewSecret([]byte(people.WrongPassword))); err == nil || r.Domain ||
		strings.Contains(err.Error(), people.WrongPassword) || !strings.Contains(err.Error(), "bad_password") {
		t.Errorf("with a wrong password: %+v %v", r, err)
	}
	if n := w.badPwdCount(t, "bob"); n != before+1 {
		t.Errorf("counted %d times", n-before)
	}
	if _, _, err := ldap.ExamineAs(t.Context(), w.ldaps, w.roots, nil, "alice@"+w.suffix, wire.Secret{}); err == nil {
		t.Error("an empty password was sent")
	}
	if e := ldap.Examine(t.Context(), w.ldaps, w.roots, nil); e.ClockSkew.Abs() > time.Minute || e.Clock.IsZero() {
		t.Errorf("the clock of a directory on this machine: %s, %s ahead", e.Clock, e.ClockSkew)
	}
}
