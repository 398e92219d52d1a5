package password

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

const stranger = "00000000-0000-4000-8000-00000000beef"

// confirmed makes it so that the directory told who a user is that long ago.
func (w *world) confirmed(t *testing.T, u user.User, ago time.Duration) {
	t.Helper()
	tenantID, err := w.a.ID()
	if err != nil {
		t.Fatal(err)
	}
	err = w.store.Write(t.Context(), func(tx db.Querier) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE person SET attributes_at = $1 WHERE tenant_id = $2 AND id = $3`,
			db.Millis(time.Now().Add(-ago)), tenantID, u.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNobodyIsLetInAsAnother hands a name on to another person, and has the agent fail to tell whose a password is.
func TestNobodyIsLetInAsAnother(t *testing.T) {
	for _, test := range []struct {
		name string
		role user.Role
		ago  time.Duration
	}{
		{"an ordinary user, a while later", "", confirmedFor},
		{"an ordinary user, a day later", "", 25 * time.Hour},
		{"an administrator, at once", user.Administrator, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.agent(t, w.a, w.dirA, w.ad.Agent)
			victim := w.must(t, w.a, name, right).User
			if _, err := w.users.Change(t.Context(), w.a, victim.ID, user.Change{Role: &test.role}, time.Now()); err != nil {
				t.Fatal(err)
			}
			w.confirmed(t, victim, test.ago)

			told := ada()
			told.Anchor = stranger
			w.ad.Attributes[name] = told
			wantShown(t, "another objectGUID", w.must(t, w.a, name, right), wire.Conflict, wire.InvalidPassword)
			if log := w.log.String(); !strings.Contains(log, "accepted somebody else") || !strings.Contains(log, stranger) || !strings.Contains(log, victim.ID) {
				t.Errorf("the log does not say who: %s", log)
			}

			delete(w.ad.Attributes, name)
			w.ad.Verdicts[name] = wire.Verdict{Reason: wire.Accepted, Diagnostic: "identity not proven: a namesake"}
			got, err := w.check(t, w.a, name, right)
			wantFault(t, "nothing told", err, wire.IdentityUnproven)
			if err == nil || !strings.Contains(err.Error(), "identity not proven: a namesake") || got.Shown != wire.IdentityUnproven {
				t.Errorf("%v, %+v", err, got)
			}

			delete(w.ad.Verdicts, name)
			w.ad.Attributes[name] = ada()
			if got := w.must(t, w.a, name, right); !got.Right || got.User.ID != victim.ID {
				t.Errorf("the user again: %+v", got)
			}
		})
	}
}

// TestNamesFromAnAttributeProveNothing: where another attribute than the user principal name makes names, whoever can write it could have the name
// of a user who has just signed in. So the directory is asked whose it is each time.
func TestNamesFromAnAttributeProveNothing(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	attribute := "mail"
	if _, err := w.tenants.ChangeDomain(t.Context(), w.a, "corp.example", tenant.DomainChange{SignInAttribute: &attribute}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := w.must(t, w.a, name, right); !got.Right {
		t.Fatalf("%+v", got)
	}
	told := ada()
	told.Anchor = stranger
	w.ad.Attributes[name] = told
	wantShown(t, "another's entry with the name, a moment later", w.must(t, w.a, name, right), wire.Conflict, wire.InvalidPassword)
}

// TestTheStoredNamesDomainAdmits: who is made by a sign-in lies in the domain of the name the directory tells, and that domain
// may admit nobody.
func TestTheStoredNamesDomainAdmits(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	w.domain(t, w.a, tenant.Domain{Name: "vip.example", Kind: tenant.PassThrough, DirectoryID: w.dirA})
	told := ada()
	told.UPN, told.Anchor = "boss@vip.example", stranger
	for _, typed := range []string{"boss@vip.example", "boss@corp.example"} {
		w.ad.Passwords[typed], w.ad.Attributes[typed] = right, told
		wantShown(t, typed, w.must(t, w.a, typed, right), wire.UserNotFound, wire.InvalidPassword)
	}
	// The other way round, the typed name's domain is asked as well.
	told.UPN, told.Anchor = "eve@corp.example", "00000000-0000-4000-8000-00000000dead"
	w.ad.Passwords["eve@vip.example"], w.ad.Attributes["eve@vip.example"] = right, told
	wantShown(t, "eve@vip.example", w.must(t, w.a, "eve@vip.example", right), wire.UserNotFound, wire.InvalidPassword)
	// Once both admit, or the user was made by hand, the person goes on.
	yes := true
	if _, err := w.tenants.ChangeDomain(t.Context(), w.a, "vip.example", tenant.DomainChange{AdmitUsers: &yes}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, typed := range []string{"boss@corp.example", "eve@vip.example"} {
		if got := w.must(t, w.a, typed, right); !got.Right {
			t.Errorf("%s: %+v", typed, got)
		}
	}
}

// TestNameThatStands: where the directory's user principal names have a suffix that is no domain here, people are called by the other name that
// it tells, whichever they typed; and by nothing that it tells of a domain that is not its own.
func TestNameThatStands(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	for _, d := range []string{"mail.example", "old-mail.example"} {
		w.domain(t, w.a, tenant.Domain{Name: d, Kind: tenant.PassThrough, DirectoryID: w.dirA, AdmitUsers: true, SignInAttribute: "proxyAddresses"})
	}
	w.domain(t, w.a, tenant.Domain{Name: "plain.example", Kind: tenant.PassThrough, DirectoryID: w.dirA, AdmitUsers: true})
	for i, c := range []struct{ typed, told, called, found string }{
		{"ada@mail.example", "Ada.L@mail.example", "Ada.L@mail.example", "Ada.L@mail.example"},
		{"ada@old-mail.example", "Ada.L@mail.example", "Ada.L@mail.example", "Ada.L@mail.example"}, // the same, by another address
		{"ada@plain.example", "Ada.L2@mail.example", "ada@plain.example", "Ada.L@mail.example"},    // nobody asked for it
		{"ada@old-mail.example", "", "ada@old-mail.example", ""},
		{"ada@mail.example", "boss@cloud.example", "ada@mail.example", ""},
		{"ada@mail.example", "boss@elsewhere.example", "ada@mail.example", ""},
		{"ada@mail.example", "not a name", "ada@mail.example", ""},
	} {
		told := ada()
		told.UPN, told.SignInName = "ada@corp.local", c.told
		w.ad.Passwords[c.typed], w.ad.Attributes[c.typed] = right, told
		a := w.must(t, w.a, c.typed, right)
		if a.User.UPN != c.called || a.User.SignInName != c.found || a.User.Anchor != ada().Anchor {
			t.Errorf("%d %s, told %q: %+v", i, c.typed, c.told, a.User)
		}
	}
}
