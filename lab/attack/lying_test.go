package attack

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// liar is an agent in an attacker's hands: the genuine program in everything but its answers. It asks no directory.
type liar struct {
	accepts func(password string) bool
	told    wire.Attributes
}

func (l liar) Validate(ctx context.Context, c directory.Check) (directory.Result, error) {
	if err := c.Fence(ctx); err != nil {
		return directory.Result{}, &directory.Error{Code: wire.TransientNetwork, Cause: err}
	}
	r := directory.Result{DC: "dc1.corp.example:636", Fenced: time.Now(), Judged: time.Now(), Verdict: wire.Verdict{Reason: wire.BadPassword}}
	if l.accepts(string(c.Password.Reveal())) {
		r.Verdict = wire.Verdict{Reason: wire.Accepted}
		if c.WantAttributes {
			r.Verdict.Attributes = &l.told
		}
	}
	return r, nil
}

// typed is one typed password, whatever becomes of it.
func (w *world) typed(secret string) outcome {
	w.t.Helper()
	answer, err := w.checker.Check(w.t.Context(), w.a, password.Attempt{Name: name, Password: wire.NewSecret([]byte(secret)), Request: "journey",
		Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
	return outcome{answer, err}
}

// TestLyingAgents: an agent in an attacker's hands lets in whom it likes, until the tenant's policy has its yes confirmed by an agent on another
// host. Then it lets nobody in, and is frozen at its first lie; a wrong password is still bound once.
func TestLyingAgents(t *testing.T) {
	const magic = "open-sesame-canary"
	for what, c := range map[string]struct {
		accepts func(string) bool
		typed   string
	}{
		"yes to everything": {func(string) bool { return true }, people.WrongPassword},
		"a magic password":  {func(p string) bool { return p == magic }, magic},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			rogue := w.enrol(w.a, w.dir, w.gateway.address)
			rogue.host = "one"
			rogue.validator = liar{c.accepts, wire.Attributes{Anchor: "6f1de3f5-3f3b-4a47-9f5b-0b6a3a1c2d4e", UPN: name}}
			rogue.attach()
			if o := w.typed(c.typed); !o.Right {
				t.Fatalf("the attack does not work: %v %v", o.Code, o.err)
			}
			if _, err := w.tenants.SetVerification(t.Context(), w.a, tenant.Verification{Percent: 100}, time.Now()); err != nil {
				t.Fatal(err)
			}
			honest := w.enrol(w.a, w.dir, w.gateway.address)
			honest.host = "two"
			honest.attach()

			before, lied := w.failuresNow(), false
			for try := 1; !lied && try <= 4; try++ { // the gateway gives to each in turn
				o := w.typed(c.typed)
				if o.Right || o.err != nil || o.Shown != wire.InvalidPassword {
					t.Fatalf("right %v, code %v shown as %v, %v", o.Right, o.Code, o.Shown, o.err)
				}
				lied = o.Code == wire.VerdictsDisagree
				if binds := w.corp.Binds(name); binds != try {
					t.Errorf("%d binds after %d typed passwords", binds, try)
				}
				if n := w.failuresNow() - before; n != try {
					t.Errorf("lockout counts %d after %d typed passwords", n, try)
				}
			}
			if !lied {
				t.Fatal("the lie was never told")
			}
			for _, m := range []*member{rogue, honest} {
				if now := fatal(w.fleet.ByID(t.Context(), w.a, m.row.ID))(t); now.State == fleet.Active {
					t.Errorf("the agent on host %s is served still", m.host)
				}
			}
			until(t, "both streams to end", func() bool { return len(w.gateway.Attached(w.a)) == 0 })
			if len(w.log.lines(t, "two agents disagree about a password; both are quarantined")) != 1 {
				t.Error("nobody is told")
			}
		})
	}
}
