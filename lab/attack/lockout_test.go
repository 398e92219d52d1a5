package attack

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/wire"
)

// TestGuessesNeverLockTheDirectory: a stranger guesses at the sign-in page of an installation whose directory locks as early as the service does.
// The domain controller never locks the account: the agents' guards spend no attempt that would. To the stranger that looks like every other
// wrong password, the service counts it as one, no second agent is asked in the first one's place, and the directory counts nothing. Time passes,
// and the person signs in.
func TestGuessesNeverLockTheDirectory(t *testing.T) {
	w := newWorld(t)
	secret := func(s string) wire.Secret { return wire.NewSecret([]byte(s)) }
	dc := sambatest.Start(t, samba.Options{}, people.Person{SAM: sam, UPN: name, Password: secret(right), DisplayName: "Alice"},
		people.Person{SAM: "reader", UPN: "reader@corp.example", Password: secret("Reader-Passw0rd"), DisplayName: "Reader"})
	if err := dc.SetLockoutPolicy(t.Context(), 4, 30*time.Minute, 30*time.Minute); err != nil {
		t.Fatal(err)
	}
	clear := func() {
		t.Helper()
		if err := w.guard.Clear(t.Context(), w.a, w.account()); err != nil {
			t.Fatal(err)
		}
	}
	clear()
	w.roots = dc.CAPool
	var agents []*member
	for _, host := range []string{"one", "two"} {
		m := w.enrol(w.a, w.dir, w.gateway.address)
		m.host, m.servers = host, []string{dc.LDAPS()}
		m.guard = ldap.Guard{Reader: "reader@corp.example", Password: secret("Reader-Passw0rd")}
		agents = append(agents, m.attach())
	}
	count := func() int { return fatal(dc.BadPwdCount(t.Context(), sam))(t) }
	guess := func(typed string) password.Answer {
		t.Helper()
		a, err := w.checker.Check(context.WithoutCancel(t.Context()), w.a, password.Attempt{Name: name, Password: secret(typed), Request: "journey",
			Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
		if err != nil {
			t.Fatalf("%v", err)
		}
		return a
	}
	for i := range 8 {
		a := guess("guess")
		want := wire.InvalidPassword
		if i >= 3 {
			want = wire.LockoutSpared
		}
		if a.Right || a.Code != want || a.Shown != wire.InvalidPassword {
			t.Errorf("guess %d: %v, shown %v (%s)", i+1, a.Code, a.Shown, a.Diagnostic)
		}
		if i == 3 {
			if a := guess("guess"); a.Code != wire.AccountLockedOut || a.Shown != wire.InvalidPassword {
				t.Errorf("the threshold of the service is reached, and a guess is %v, shown %v", a.Code, a.Shown)
			}
		}
		if i >= 3 {
			clear() // the service forgets, as one whose threshold is too high: what comes next is the guard's affair alone
		}
	}
	if a := guess(right); a.Right || a.Code != wire.LockoutSpared || a.Shown != wire.InvalidPassword {
		t.Errorf("the right password while the guard holds: %+v", a)
	}
	if n := count(); n != 3 || w.failuresNow() != 1 {
		t.Errorf("the domain controller counts %d, the service %d", n, w.failuresNow())
	}
	spared := 0
	for _, m := range agents {
		for _, l := range m.log.lines(t, "password check") {
			if code, _ := l["code"].(float64); wire.Code(code) == wire.LockoutSpared {
				spared++
			}
		}
	}
	if spared != 6 {
		t.Errorf("the agents' logs speak of %d attempts that were spared, want 6: one agent each", spared)
	}
	// The directory forgets, and so does the service.
	clear()
	if err := dc.ForgetWrongPasswords(t.Context(), sam, 31*time.Minute); err != nil {
		t.Fatal(err)
	}
	if a := guess(right); !a.Right {
		t.Errorf("after the window: %v %s", a.Code, a.Diagnostic)
	}
	until(t, "the service to warn", func() bool { return len(w.log.lines(t, "a directory locks accounts before the service does")) > 0 })
	until(t, "the service to know the directory's policy", func() bool {
		g := fatal(w.fleet.Healths(t.Context(), w.a))(t)[agents[0].row.ID].Report.Guard
		return g != nil && g.Strictest == 4 && g.Misordered(w.guard.Policy().Threshold) != ""
	})
}

// TestProtectedAccountsAreNeverAsked: to the stranger they look like anybody, and the domain controller never hears of them, with a reader that
// finds out who they are and without one, by name.
func TestProtectedAccountsAreNeverAsked(t *testing.T) {
	w := newWorld(t)
	secret := func(s string) wire.Secret { return wire.NewSecret([]byte(s)) }
	admin := people.Person{SAM: "boss", UPN: "boss@corp.example", Password: secret(right), DisplayName: "Boss", Groups: []string{"Tier Zero"}}
	dc := sambatest.Start(t, samba.Options{}, admin, people.Person{SAM: "reader", UPN: "reader@corp.example", Password: secret("Reader-Passw0rd"), DisplayName: "Reader"})
	w.roots = dc.CAPool
	m := w.enrol(w.a, w.dir, w.gateway.address)
	m.servers = []string{dc.LDAPS()}
	m.guard = ldap.Guard{Reader: "reader@corp.example", Password: secret("Reader-Passw0rd")}
	m.protection = guard.Protection{Groups: []string{"CN=Tier Zero,OU=Groups," + dc.BaseDN}}
	m.attach()
	before := fatal(dc.BadPwdCount(t.Context(), "Administrator"))(t)
	check := func(typed, secretly string) {
		t.Helper()
		a, err := w.checker.Check(context.WithoutCancel(t.Context()), w.a, password.Attempt{Name: typed, Password: secret(secretly), Request: "journey"})
		if err != nil || a.Right || a.Code != wire.AccountProtected || a.Shown != wire.InvalidPassword {
			t.Errorf("%s: %v shown %v, %v", typed, a.Code, a.Shown, err)
		}
	}
	check("administrator@corp.example", "guess")
	check("Ａdministrator@corp.example", "guess")
	check("boss@corp.example", right)
	check("boss@corp.example", "guess")
	check("Reader@corp.example", "guess") // who locks the reader switches the guard off
	m.stop()
	until(t, "the gateway to miss the agent", func() bool { return len(w.gateway.Attached(w.a)) == 0 })

	blind := w.enrol(w.a, w.dir, w.gateway.address)
	blind.host, blind.servers, blind.protection = "two", m.servers, guard.Protection{Names: []string{"Boss"}}
	blind.attach()
	check("administrator@corp.example", "guess")
	check("krbtgt@corp.example", "guess")
	check("boss@corp.example", right)
	for sam, want := range map[string]int{"Administrator": before, "boss": 0, "reader": 0} {
		if n := fatal(dc.BadPwdCount(t.Context(), sam))(t); n != want {
			t.Errorf("%s: the domain controller counts %d, before it were %d", sam, n, want)
		}
	}
	if last := fatal(dc.Attribute(t.Context(), "boss", "lastLogonTimestamp"))(t); last != "" {
		t.Errorf("boss was let in at %s", last)
	}
}
