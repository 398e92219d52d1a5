package password

import (
	"errors"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/password/passwordtest"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// What an agent's guard does not spend looks like any wrong password, also in being counted here, and is not taken to an agent without a guard.
func TestGuardedAttempts(t *testing.T) {
	for _, c := range []struct {
		code   wire.Code
		behave func(wire.Trouble) passwordtest.Behaviour
	}{
		{wire.LockoutSpared, passwordtest.Withheld}, {wire.AccountProtected, passwordtest.Withheld}, {wire.NameAmbiguous, passwordtest.Withheld},
		{wire.LockoutSpared, passwordtest.Trouble}, // an older agent, which sends no fence
	} {
		code := c.code
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel() // wrong answers are held back
			w := newWorld(t)
			w.agent(t, w.a, w.dirA, c.behave(wire.Trouble{Code: code, Detail: "1 more wrong password locks"}))
			w.agent(t, w.a, w.dirA, w.ad.Agent)
			if err := w.guard.Settle(t.Context(), w.a, name, lockout.Wrong, time.Now()); err != nil {
				t.Fatal(err)
			}
			for _, typed := range []string{wrong, right, wrong} {
				a := w.must(t, w.a, name, typed)
				wantShown(t, typed, a, code, wire.InvalidPassword)
				if a.Right || a.Reason != "" || a.Diagnostic == "" || time.Since(a.Started) < holdStep {
					t.Errorf("%s: %+v", typed, a)
				}
			}
			if asks, binds := len(w.queue.Asks()), len(w.queue.Binds()); asks != 3 || binds != 0 {
				t.Errorf("%d asks and %d binds for three passwords", asks, binds)
			}
			if n := w.failures(t, w.a, name); n != 4 {
				t.Errorf("%d failures are counted, want the one of before and three", n)
			}
		})
	}
}

// Who owns one agent cannot wear out the guards of the others, so that nobody contradicts it.
func TestGuardConfirmsNothing(t *testing.T) {
	w := newWorld(t)
	w.policy(t, tenant.Verification{Percent: 100, LetInAlone: true})
	liar := w.first(t, "one", yes(everything, ada()))
	other := w.on(t, "two", passwordtest.Trouble(wire.Trouble{Code: wire.LockoutSpared}))
	_, err := w.check(t, w.a, name, wrong)
	wantFault(t, "a yes that a guard does not confirm", err, wire.YesUnconfirmed)
	if !w.served(t, liar) || !w.served(t, other) {
		t.Error("an agent was frozen, and none contradicted the other")
	}
}

// A canary whose account is near its lock says nothing about the agent. What never ends does: an agent that calls every name protected lets nobody in.
func TestGuardedProbe(t *testing.T) {
	for code, asked := range map[wire.Code]bool{wire.LockoutSpared: false, wire.AccountProtected: true, wire.NameAmbiguous: true} {
		w := newWorld(t)
		a := w.agent(t, w.a, w.dirA, passwordtest.Trouble(wire.Trouble{Code: code}))
		if _, err := w.probe(t, a.ID, name, wrong); errors.Is(err, ErrNotAsked) == asked || fault.CodeOf(err) != code {
			t.Errorf("%d: %v", code, err)
		}
	}
}
