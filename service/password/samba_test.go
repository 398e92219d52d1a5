package password

import (
	"context"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/service/password/passwordtest"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// beside behaves as an agent that asks a domain controller by bind.
func beside(upn string, bind func(name, password string) error) passwordtest.Behaviour {
	return func(_ context.Context, c *passwordtest.Conversation) queue.Outcome {
		check, err := c.Open()
		if err != nil || !c.Fence() {
			return queue.Outcome{Refused: wire.EnvelopeUnreadable}
		}
		c.Bind()
		v := wire.Verdict{Reason: wire.Accepted}
		if err := bind(check.Name, string(check.Password.Reveal())); err != nil {
			v = wire.Verdict{Reason: wire.BadPassword, Diagnostic: "data 52e"}
		} else if check.WantAttributes {
			told := ada()
			told.UPN = upn
			v.Attributes = &told
		}
		return c.Answer(wire.Answer{Verdict: &v})
	}
}

// Only a yes is asked again: a domain controller counts a wrong password once, also one that a lying agent accepts, and a right one that two
// agents confirm not at all.
func TestConfirmationAtADomainController(t *testing.T) {
	t.Parallel() // wrong answers are held back
	sue := people.Person{SAM: "sue", UPN: "sue@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword)), DisplayName: "Sue"}
	dc := sambatest.Start(t, samba.Options{}, sue)
	bind := func(name, password string) error {
		s, err := dc.Connect(t.Context())
		if err != nil {
			t.Error(err)
			return nil
		}
		defer s.Close()
		return s.Bind(name, password)
	}
	w := newWorld(t)
	w.domain(t, w.a, tenant.Domain{Name: "corp.example.com", Kind: tenant.PassThrough, DirectoryID: w.dirA, AdmitUsers: true})
	w.policy(t, tenant.Verification{Percent: 100})
	w.on(t, "one", beside(sue.UPN, bind))
	w.on(t, "two", beside(sue.UPN, bind))
	binds := 0
	step := func(what, password string, right bool, asked, counted int) {
		t.Helper()
		a := w.must(t, w.a, sue.UPN, password)
		n, err := dc.BadPwdCount(t.Context(), "sue")
		if err != nil {
			t.Fatal(err)
		}
		if a.Right != right || len(w.queue.Binds())-binds != asked || n != counted {
			t.Errorf("%s: right %v after %d binds, and the domain controller counts %d; want %v, %d, %d", what, a.Right, len(w.queue.Binds())-binds, n, right, asked, counted)
		}
		binds = len(w.queue.Binds())
	}
	step("a wrong password", people.WrongPassword, false, 1, 1)
	step("another", people.WrongPassword, false, 1, 2)
	step("the right one", people.RightPassword, true, 2, 0)
	w.first(t, "three", yes(everything, ada()))
	step("a wrong one that an agent accepts", people.WrongPassword, false, 1, 1)
}

// A domain controller passes over spaces in a name. However a name is written, its account is not asked about more often than
// the lockout policy says.
func TestSpellingsAtADomainController(t *testing.T) {
	t.Parallel() // wrong answers are held back
	sue := people.Person{SAM: "sue", UPN: "sue@corp.example.com", Password: wire.NewSecret([]byte(people.RightPassword)), DisplayName: "Sue"}
	dc := sambatest.Start(t, samba.Options{}, sue)
	count := func() int {
		t.Helper()
		n, err := dc.BadPwdCount(t.Context(), "sue")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	bind := func(name, password string) error {
		s, err := dc.Connect(t.Context())
		if err != nil {
			t.Error(err)
			return nil
		}
		defer s.Close()
		return s.Bind(name, password)
	}
	// This is what the test is about; if it stops being true here, it still is elsewhere.
	if err := bind("sue @ corp.example.com", people.WrongPassword); err == nil || count() != 1 {
		t.Logf("this domain controller does not pass over spaces: %v, count %d", err, count())
	}
	before := count()

	w := newWorld(t)
	w.domain(t, w.a, tenant.Domain{Name: "corp.example.com", Kind: tenant.PassThrough, DirectoryID: w.dirA, AdmitUsers: true})
	w.agent(t, w.a, w.dirA, beside(sue.UPN, bind))
	for i := range 12 {
		for j := range 12 {
			a := w.must(t, w.a, "sue"+strings.Repeat(" ", i)+"@"+strings.Repeat(" ", j)+"corp.example.com", people.WrongPassword)
			if a.Shown != wire.InvalidPassword {
				t.Fatalf("%d spaces and %d: shown %v", i, j, a.Shown)
			}
		}
	}
	if n := count() - before; n != 1 || len(w.queue.Binds()) != 1 {
		t.Errorf("144 spellings, of which one has no spaces: %d wrong passwords counted, %v bound", n, w.queue.Binds())
	}
	for _, n := range []string{"SUE@corp.example.com", "sué@corp.example.com", "ｓue@corp.example.com", "sue@ＣＯＲＰ.example.com", "sue@corp。example.com"} {
		for range 4 {
			w.must(t, w.a, n, people.WrongPassword)
		}
	}
	if n, threshold := len(w.queue.Binds()), w.guard.Policy().Threshold; n > threshold {
		t.Errorf("%d binds with a threshold of %d: %q", n, threshold, w.queue.Binds())
	}
	if err := w.guard.Clear(t.Context(), w.a, fold(sue.UPN)); err != nil {
		t.Fatal(err)
	}
	if err := dc.Unlock(t.Context(), "sue"); err != nil {
		t.Fatal(err)
	}
	if a := w.must(t, w.a, " Sue@CORP.example.com ", people.RightPassword); !a.Right {
		t.Errorf("the right password: %+v", a)
	}
}
