package password

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/password/passwordtest"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestCompare(t *testing.T) {
	as := func(reason wire.Reason, anchor string) *wire.Verdict {
		v := &wire.Verdict{Reason: reason}
		if anchor != "" {
			v.Attributes = &wire.Attributes{Anchor: anchor}
		}
		return v
	}
	for what, c := range map[string]struct {
		first, second *wire.Verdict
		want          Agreement
	}{
		"nobody else":                   {as(wire.Accepted, "a"), nil, Alone},
		"yes":                           {as(wire.Accepted, ""), as(wire.Accepted, ""), Agreed},
		"yes, of the same person":       {as(wire.Accepted, "A-1"), as(wire.Accepted, "a-1"), Agreed},
		"yes, of somebody else":         {as(wire.Accepted, "a"), as(wire.Accepted, "b"), Disagreed},
		"yes, and only one was told":    {as(wire.Accepted, "a"), as(wire.Accepted, ""), Alone},
		"yes, and nothing at first":     {as(wire.Accepted, ""), as(wire.Accepted, "a"), Agreed},
		"no":                            {as(wire.Accepted, "a"), as(wire.BadPassword, ""), Disagreed},
		"right, but the account is off": {as(wire.Accepted, "a"), as(wire.AccountDisabled, ""), Disagreed},
	} {
		if got := Compare(c.first, c.second); got != c.want {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}

// yes behaves as an agent in an attacker's hands that lets in whoever is accepted by says, without asking the directory.
func yes(says func(password string) bool, who wire.Attributes) passwordtest.Behaviour {
	return func(_ context.Context, c *passwordtest.Conversation) queue.Outcome {
		check, err := c.Open()
		if err != nil || !c.Fence() {
			return queue.Outcome{Refused: wire.EnvelopeUnreadable}
		}
		v := wire.Verdict{Reason: wire.BadPassword}
		if says(string(check.Password.Reveal())) {
			v = wire.Verdict{Reason: wire.Accepted}
			if check.WantAttributes {
				v.Attributes = &who
			}
		}
		return c.Answer(wire.Answer{Verdict: &v, DC: "dc1.corp.example:636"})
	}
}

func everything(string) bool { return true }

// on attaches an agent on a host.
func (w *world) on(t *testing.T, host string, behave passwordtest.Behaviour) fleet.Agent {
	t.Helper()
	a, key := w.enrolOn(t, w.a, w.dirA, host)
	w.queue.Attach(w.a, w.dirA, a.ID, key, behave)
	return a
}

// first attaches an agent on a host that is offered before the others.
func (w *world) first(t *testing.T, host string, behave passwordtest.Behaviour) fleet.Agent {
	t.Helper()
	a, key := w.enrolOn(t, w.a, w.dirA, host)
	w.queue.AttachFirst(w.a, w.dirA, a.ID, key, behave)
	return a
}

func (w *world) policy(t *testing.T, v tenant.Verification) {
	t.Helper()
	if _, err := w.tenants.SetVerification(t.Context(), w.a, v, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// analysts are always confirmed: ada is one.
var analysts = tenant.Verification{Groups: []string{"ANALYSTS"}}

// served reports whether an agent may be given passwords.
func (w *world) served(t *testing.T, a fleet.Agent) bool {
	t.Helper()
	now, err := w.fleet.ByID(t.Context(), w.a, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	return now.State == fleet.Active
}

// TestConfirmed: a yes is asked twice, a no once.
func TestConfirmed(t *testing.T) {
	w := newWorld(t)
	w.policy(t, analysts)
	first, second := w.on(t, "one", w.ad.Agent), w.on(t, "two", w.ad.Agent)
	a := w.must(t, w.a, name, right)
	if !a.Right || a.Agent != first.ID || len(w.queue.Binds()) != 2 {
		t.Errorf("right %v by agent %s after %d binds", a.Right, a.Agent, len(w.queue.Binds()))
	}
	a = w.must(t, w.a, name, wrong)
	wantShown(t, "a wrong password", a, wire.InvalidPassword, wire.InvalidPassword)
	if n := len(w.queue.Binds()) - 2; n != 1 || w.failures(t, w.a, w.must(t, w.a, name, right).User.ID) != 0 {
		t.Errorf("a wrong password was bound %d times", n)
	}
	if !w.served(t, first) || !w.served(t, second) {
		t.Error("agents that agree were frozen")
	}
}

// TestRogueAgents: whatever an agent in an attacker's hands says, nobody gets in by it who does not know the password, and it is frozen
// together with the one that contradicts it.
func TestRogueAgents(t *testing.T) {
	admin := wire.Attributes{Anchor: "00000000-0000-4000-8000-000000000001", UPN: "root@corp.example", DisplayName: "Root", Groups: []string{"Analysts"}}
	for what, c := range map[string]struct {
		rogue    passwordtest.Behaviour
		password string
		counted  int // wrong passwords, by the honest agent
	}{
		"yes to everything":                    {yes(everything, ada()), wrong, 1},
		"yes to everything, without the group": {yes(everything, wire.Attributes{Anchor: ada().Anchor, UPN: name}), wrong, 1},
		"a magic password":                     {yes(func(p string) bool { return p == "open-sesame-canary" }, ada()), "open-sesame-canary", 1},
		"somebody else's identity":             {yes(everything, admin), right, 0},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			honest := w.on(t, "two", w.ad.Agent)
			if !w.must(t, w.a, name, right).Right { // the user and the groups are known from here on
				t.Fatal("ada does not get in")
			}
			known, err := w.users.ByUPN(t.Context(), w.a, name)
			if err != nil {
				t.Fatal(err)
			}
			if what == "somebody else's identity" { // it is asked for once more
				role := user.Administrator
				if _, err := w.users.Change(t.Context(), w.a, known.ID, user.Change{Role: &role}, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			w.policy(t, analysts)
			rogue := w.first(t, "one", c.rogue)
			a := w.must(t, w.a, name, c.password)
			wantShown(t, what, a, wire.VerdictsDisagree, wire.InvalidPassword)
			if w.served(t, rogue) || w.served(t, honest) {
				t.Error("they are served still")
			}
			if n := w.failures(t, w.a, known.ID); n != c.counted {
				t.Errorf("%d wrong passwords are counted, want %d", n, c.counted)
			}
			if !strings.Contains(w.log.String(), "two agents disagree") {
				t.Error("nobody is told")
			}
		})
	}
}

// TestRogueAgentsUnderOtherNames: an agent may say of any name, also of one that nobody here has, that it is an administrator's. That yes is
// confirmed like one to the administrator's own name.
func TestRogueAgentsUnderOtherNames(t *testing.T) {
	for what, prepared := range map[string]bool{"by objectGUID": false, "who has not signed in yet": true} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			honest := w.on(t, "two", w.ad.Agent)
			role, told := user.Administrator, ada()
			if prepared {
				told = wire.Attributes{Anchor: stranger, UPN: "root@corp.example"}
				if _, err := w.users.Create(t.Context(), w.a, user.User{UPN: told.UPN, Source: user.Synced, DirectoryID: w.dirA, Role: role}, time.Now()); err != nil {
					t.Fatal(err)
				}
			} else if _, err := w.users.Change(t.Context(), w.a, w.must(t, w.a, name, right).User.ID, user.Change{Role: &role}, time.Now()); err != nil {
				t.Fatal(err)
			}
			told.Groups, told.Anchor = nil, strings.ToUpper(told.Anchor)
			w.policy(t, tenant.Verification{Administrators: true})
			rogue := w.first(t, "one", yes(everything, told))
			a := w.must(t, w.a, "whoever@corp.example", wrong)
			wantShown(t, what, a, wire.VerdictsDisagree, wire.InvalidPassword)
			if w.served(t, rogue) || w.served(t, honest) {
				t.Error("they are served still")
			}
		})
	}
}

// TestNothingUnasked: an agent tells, unasked, that an ordinary user who was confirmed a moment ago is an administrator. Another agent, which nobody asked
// either, would not contradict it.
func TestNothingUnasked(t *testing.T) {
	w := newWorld(t)
	w.on(t, "two", w.ad.Agent)
	if _, err := w.users.Create(t.Context(), w.a, user.User{UPN: "root@corp.example", Source: user.Synced, DirectoryID: w.dirA, Role: user.Administrator}, time.Now()); err != nil {
		t.Fatal(err)
	}
	own := w.must(t, w.a, name, right).User
	w.first(t, "one", func(_ context.Context, c *passwordtest.Conversation) queue.Outcome {
		if check, err := c.Open(); err != nil || check.WantAttributes || !c.Fence() {
			t.Errorf("%+v, %v", check, err)
		}
		return c.Answer(wire.Answer{Verdict: &wire.Verdict{Reason: wire.Accepted, Attributes: &wire.Attributes{Anchor: stranger, UPN: "root@corp.example"}}})
	})
	if a := w.must(t, w.a, name, right); !a.Right || a.User.ID != own.ID {
		t.Errorf("%+v", a)
	}
}

// TestUnconfirmed: what happens when nobody else can be asked is the policy's word.
func TestUnconfirmed(t *testing.T) {
	alone := analysts
	alone.LetInAlone = true
	for what, c := range map[string]struct {
		policy tenant.Verification
		second func(*testing.T, *world)
		code   wire.Code
		binds  int
	}{
		"no policy":             {tenant.Verification{}, func(t *testing.T, w *world) { w.on(t, "two", w.ad.Agent) }, 0, 1},
		"other groups":          {tenant.Verification{Groups: []string{"Payroll"}}, func(t *testing.T, w *world) { w.on(t, "two", w.ad.Agent) }, 0, 1},
		"nobody else":           {analysts, func(*testing.T, *world) {}, wire.YesUnconfirmed, 1},
		"only on the same host": {analysts, func(t *testing.T, w *world) { w.on(t, "ONE", w.ad.Agent) }, wire.YesUnconfirmed, 1},
		"nobody else, let in":   {alone, func(*testing.T, *world) {}, 0, 1},
		"a sample, nobody else": {tenant.Verification{Percent: 100}, func(*testing.T, *world) {}, 0, 1},
		"a sample":              {tenant.Verification{Percent: 100}, func(t *testing.T, w *world) { w.on(t, "two", w.ad.Agent) }, 0, 2},
		"the second has no DC": {analysts, func(t *testing.T, w *world) {
			w.on(t, "two", passwordtest.Trouble(wire.Trouble{Code: wire.DirectoryUnreachable}))
		}, wire.YesUnconfirmed, 1},
		"the second dies at work": {analysts, func(t *testing.T, w *world) { w.on(t, "two", passwordtest.LostAfterFence) }, wire.YesUnconfirmed, 2},
		"the second is lost, the third says yes": {analysts, func(t *testing.T, w *world) {
			w.on(t, "two", passwordtest.LostBeforeFence)
			w.on(t, "three", w.ad.Agent)
		}, 0, 2},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.policy(t, c.policy)
			first := w.on(t, "one", w.ad.Agent)
			c.second(t, w)
			a, err := w.check(t, w.a, name, right)
			wantFault(t, what, err, c.code)
			if a.Right != (c.code == 0) || a.Agent != first.ID {
				t.Errorf("%+v", a)
			}
			if n := len(w.queue.Binds()); n != c.binds {
				t.Errorf("%d binds, want %d", n, c.binds)
			}
			if !w.served(t, first) {
				t.Error("an agent is frozen that nobody contradicts")
			}
		})
	}
}
