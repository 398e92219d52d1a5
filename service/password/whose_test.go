package password

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/password/passwordtest"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestBelieves(t *testing.T) {
	somebody, whose := user.User{ID: "somebody"}, envelope.Account{15: 1}
	for _, c := range []struct {
		name      string
		attribute string
		known     user.User
		whose     envelope.Account
		want      bool
	}{
		{"nobody's name, looked up and found", "mail", user.User{}, whose, true},
		{"nobody's name, not found", "mail", user.User{}, envelope.Account{}, false},
		{"nobody asked for a look-up", "", user.User{}, whose, false},
		{"somebody's name", "mail", somebody, whose, false},
		{"somebody's name, not looked up", "", somebody, whose, false},
	} {
		if got := believes(c.attribute, c.known, c.whose); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// alias is one of ada's mail addresses.
func alias(i int) string { return fmt.Sprintf("ada.%d@mail.example", i) }

// aliases gives ada forty mail addresses, of which the service knows nothing until somebody types one.
func (w *world) aliases(t *testing.T) {
	t.Helper()
	w.domain(t, w.a, tenant.Domain{Name: "mail.example", Kind: tenant.PassThrough, DirectoryID: w.dirA, AdmitUsers: true, SignInAttribute: "proxyAddresses"})
	w.ad.Entries = map[string]string{}
	for i := range 40 {
		w.ad.Entries[alias(i)], w.ad.Passwords[alias(i)], w.ad.Attributes[alias(i)] = ada().Anchor, right, ada()
	}
}

// guess types wrong passwords at this many addresses from the first one on.
func (w *world) guess(t *testing.T, from, n int) {
	t.Helper()
	var all sync.WaitGroup
	for i := from; i < from+n; i++ {
		all.Go(func() {
			a, err := w.Check(context.WithoutCancel(t.Context()), w.a, Attempt{Name: alias(i), Password: wire.NewSecret([]byte(wrong)), Request: "journey"})
			if err != nil || a.Code != wire.InvalidPassword {
				t.Errorf("%s: %v %v", alias(i), a.Code, err)
			}
		})
	}
	all.Wait()
}

// TestAllNamesOfAnAccountAreOneCount: who guesses at a person through one mail address after another has one budget, whether the person has ever signed in
// or not, and shares it with whoever types the user name.
func TestAllNamesOfAnAccountAreOneCount(t *testing.T) {
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprintf("known here %v", known), func(t *testing.T) {
			t.Parallel() // wrong answers are held back
			w := newWorld(t)
			w.agent(t, w.a, w.dirA, w.ad.Agent)
			w.aliases(t)
			account, binds := "entry "+w.dirA+" "+ada().Anchor, 10
			if known {
				account = w.must(t, w.a, name, right).User.ID
				binds++
			}
			w.guess(t, 0, 5)
			if n, apart := w.failures(t, w.a, account), w.failures(t, w.a, alias(3)); n != 5 || apart != 1 {
				t.Errorf("five addresses: %d failures of the account, %d of one name", n, apart)
			}
			if known { // and of the user name itself
				w.must(t, w.a, name, wrong)
				w.guess(t, 5, 4)
			} else {
				w.guess(t, 5, 5)
			}
			for _, typed := range []string{wrong, right} {
				a := w.must(t, w.a, alias(20), typed)
				wantShown(t, "an address that nobody had typed", a, wire.AccountLockedOut, wire.InvalidPassword)
				if a.Diagnostic == "" || time.Since(a.Started) < holdStep {
					t.Errorf("%+v", a)
				}
			}
			if got := len(w.queue.Binds()); got != binds {
				t.Errorf("%d binds, want %d", got, binds)
			}
			// What is held back counts for the name as a wrong password does, and does not make the account's lock longer.
			if n, apart := w.failures(t, w.a, account), w.failures(t, w.a, alias(20)); n != 10 || apart != 2 {
				t.Errorf("held back twice: %d failures of the account, %d of the name", n, apart)
			}
			if known {
				asked := len(w.queue.Asks())
				wantShown(t, "the user name", w.must(t, w.a, name, right), wire.AccountLockedOut, wire.InvalidPassword)
				if len(w.queue.Asks()) != asked {
					t.Error("an agent was asked about a name that is locked")
				}
			}
			// An administrator's mercy, or time; then the owner clears the account by whichever name.
			if err := w.guard.Clear(t.Context(), w.a, account); err != nil {
				t.Fatal(err)
			}
			if err := w.guard.Settle(t.Context(), w.a, account, lockout.Wrong, time.Now()); err != nil {
				t.Fatal(err)
			}
			a := w.must(t, w.a, alias(3), right)
			if !a.Right || w.failures(t, w.a, account) != 0 || w.failures(t, w.a, a.User.ID) != 0 || w.failures(t, w.a, alias(3)) != 0 {
				t.Errorf("%+v, %d failures", a, w.failures(t, w.a, account))
			}
		})
	}
}

// TestGuessesAtOnceThroughManyNames: forty addresses that nobody has typed before, at one moment, are no more guesses than one name bears.
func TestGuessesAtOnceThroughManyNames(t *testing.T) {
	w := newWorld(t)
	w.aliases(t)
	var fencing, all sync.WaitGroup
	fencing.Add(40)
	w.agent(t, w.a, w.dirA, func(_ context.Context, c *passwordtest.Conversation) queue.Outcome {
		check, err := c.Open()
		if err != nil {
			return queue.Outcome{Refused: wire.EnvelopeUnreadable}
		}
		check.Password.Wipe()
		fencing.Done()
		if !c.FenceFor(ada().Anchor) {
			return c.Answer(wire.Answer{Trouble: &wire.Trouble{Code: wire.AccountLockedOut}})
		}
		c.Bind()
		fencing.Wait() // nothing is judged before all have asked for their fence
		return c.Answer(wire.Answer{Verdict: &wire.Verdict{Reason: wire.BadPassword}})
	})
	for i := range 40 {
		all.Go(func() {
			a, err := w.Check(context.WithoutCancel(t.Context()), w.a, Attempt{Name: alias(i), Password: wire.NewSecret([]byte(wrong)), Request: "journey"})
			if err != nil || a.Shown != wire.InvalidPassword {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	all.Wait()
	if n, binds := w.failures(t, w.a, "entry "+w.dirA+" "+ada().Anchor), len(w.queue.Binds()); n != 10 || binds != 10 {
		t.Errorf("%d failures, %d binds", n, binds)
	}
	if broken := w.queue.Broken(); len(broken) > 0 {
		t.Error(broken)
	}
}

// TestAgentPlacesNoGuessAtANameThatIsSomebodys: an agent that says of every wrong password that it was ada's locks her out by nobody's sign-in, but by those
// at names that are nobody's here; and those names count all the same.
func TestAgentPlacesNoGuessAtANameThatIsSomebodys(t *testing.T) {
	w := newWorld(t)
	w.aliases(t)
	victim := ada()
	w.ad.Entries[name] = "" // only the liar speaks
	w.agent(t, w.a, w.dirA, func(ctx context.Context, c *passwordtest.Conversation) queue.Outcome {
		check, err := c.Open()
		if err != nil {
			return queue.Outcome{Refused: wire.EnvelopeUnreadable}
		}
		defer check.Password.Wipe()
		if !c.FenceFor(victim.Anchor) {
			return queue.Outcome{Refused: wire.AgentRefused}
		}
		c.Bind()
		return c.Answer(wire.Answer{Verdict: &wire.Verdict{Reason: wire.BadPassword, Win32: 1326}})
	})
	attribute := "proxyAddresses"
	if _, err := w.tenants.ChangeDomain(t.Context(), w.a, "corp.example", tenant.DomainChange{SignInAttribute: &attribute}, time.Now()); err != nil {
		t.Fatal(err)
	}
	w.domain(t, w.a, tenant.Domain{Name: "plain.example", Kind: tenant.PassThrough, DirectoryID: w.dirA})
	asked := user.Asked{DirectoryID: w.dirA, SignInAttribute: attribute}
	alice, err := w.users.Provision(t.Context(), w.a, asked, victim, true, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	bob, err := w.users.Provision(t.Context(), w.a, asked, wire.Attributes{Anchor: stranger, UPN: "bob@corp.example", SignInName: "bob@mail.example"}, true, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, typed := range []string{"bob@corp.example", "bob@mail.example", "nobody@plain.example"} {
		w.must(t, w.a, typed, wrong)
	}
	if n := w.failures(t, w.a, alice.ID); n != 0 {
		t.Errorf("the victim has %d failures of others' sign-ins", n)
	}
	if n := w.failures(t, w.a, bob.ID); n != 2 {
		t.Errorf("bob has %d failures", n)
	}
	w.must(t, w.a, "nobody@corp.example", wrong)
	if n, apart := w.failures(t, w.a, alice.ID), w.failures(t, w.a, "nobody@corp.example"); n != 1 || apart != 1 {
		t.Errorf("a name that is nobody's: %d of the victim, %d of the name", n, apart)
	}
}

// TestNewOwnerOfANameClearsNobodyElse: whose mail address was given to somebody else keeps the count of guesses, which the new owner's right passwords
// would else clear, one guess after the other.
func TestNewOwnerOfANameClearsNobodyElse(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	w.aliases(t)
	asked := user.Asked{DirectoryID: w.dirA, SignInAttribute: "proxyAddresses"}
	told := ada()
	told.SignInName = alias(0)
	before, err := w.users.Provision(t.Context(), w.a, asked, told, true, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.guard.Settle(t.Context(), w.a, before.ID, lockout.Wrong, time.Now()); err != nil {
		t.Fatal(err)
	}
	w.ad.Entries[alias(0)] = stranger
	w.ad.Attributes[alias(0)] = wire.Attributes{Anchor: stranger, UPN: "bob@corp.example", SignInName: alias(0)}
	a := w.must(t, w.a, alias(0), right)
	if !a.Right || a.User.UPN != "bob@corp.example" || w.failures(t, w.a, before.ID) != 1 {
		t.Errorf("%+v; the owner of before has %d failures", a.User, w.failures(t, w.a, before.ID))
	}
	// From now on two are called so here, and the agent's word decides: it is bob's.
	w.must(t, w.a, alias(0), wrong)
	if n, other := w.failures(t, w.a, a.User.ID), w.failures(t, w.a, before.ID); n != 1 || other != 1 {
		t.Errorf("bob has %d failures, the owner of before %d", n, other)
	}
}

// TestHeldBackAtTheFence: a probe is held back as a person is, for else the agent could tell them apart, and counts nowhere; and a yes is not confirmed by
// an agent that found the account to be held back.
func TestHeldBackAtTheFence(t *testing.T) {
	w := newWorld(t)
	w.aliases(t)
	honest := w.on(t, "two", w.ad.Agent)
	account := "entry " + w.dirA + " " + ada().Anchor
	for range 2 * w.guard.Policy().Threshold { // nor do they stay among the checks that are under way
		if _, err := w.probe(t, honest.ID, alias(0), wrong); err != nil || w.failures(t, w.a, account)+w.failures(t, w.a, alias(0)) != 0 {
			t.Errorf("%v, or a probe counts", err)
		}
	}
	wantShown(t, "a person after them", w.must(t, w.a, alias(0), wrong), wire.InvalidPassword, wire.InvalidPassword)
	if err := w.guard.Clear(t.Context(), w.a, account); err != nil {
		t.Fatal(err)
	}
	for range w.guard.Policy().Threshold {
		if err := w.guard.Settle(t.Context(), w.a, account, lockout.Wrong, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	binds := len(w.queue.Binds())
	if _, err := w.probe(t, honest.ID, alias(0), wrong); !errors.Is(err, ErrNotAsked) || fault.CodeOf(err) != wire.AccountLockedOut {
		t.Error(err)
	}
	wantShown(t, "a person", w.must(t, w.a, alias(0), wrong), wire.AccountLockedOut, wire.InvalidPassword)
	if n := len(w.queue.Binds()); n != binds {
		t.Errorf("%d binds more", n-binds)
	}
	w.policy(t, tenant.Verification{Percent: 100, LetInAlone: true})
	w.first(t, "one", yes(everything, ada()))
	_, err := w.check(t, w.a, alias(0), wrong)
	wantFault(t, "a yes of another, which knows no account beforehand", err, wire.YesUnconfirmed)
}
