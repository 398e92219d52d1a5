package ldap_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/guard"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
	"github.com/sallyport-auth/sallyport/wire"
)

const readerPassword = "Reader-Passw0rd"

// guarded is a real domain with a reader account and some people, and the judge of what was really bound there.
type guarded struct {
	*samba.DC
	t *testing.T
}

func newGuarded(t *testing.T) guarded {
	t.Helper()
	var everybody []people.Person
	for _, p := range []struct{ sam, password string }{{"reader", readerPassword}, {"sue", people.RightPassword}, {"max", people.RightPassword},
		{"tom", people.RightPassword}, {"eve", people.RightPassword}, {"ann", people.RightPassword}} {
		everybody = append(everybody, people.Person{SAM: p.sam, UPN: p.sam + "@corp.example.com", Password: wire.NewSecret([]byte(p.password)), DisplayName: p.sam})
	}
	return guarded{sambatest.Start(t, samba.Options{}, everybody...), t}
}

// validator makes one that looks as the reader.
func (g guarded) validator(edit func(*ldap.Guard)) *ldap.Validator {
	g.t.Helper()
	c := ldap.Config{Servers: []string{g.LDAPS()}, RootCAs: g.CAPool,
		Guard: ldap.Guard{Reader: "reader@" + g.UPNSuffix, Password: wire.NewSecret([]byte(readerPassword))}}
	if edit != nil {
		edit(&c.Guard)
	}
	return configured(g.t, c, true)
}

func (g guarded) count(sam string) int {
	g.t.Helper()
	n, err := g.BadPwdCount(g.t.Context(), sam)
	must(g.t, err)
	return n
}

// locked reports whether the directory says so.
func (g guarded) locked(sam string) bool {
	g.t.Helper()
	s, err := g.Connect(g.t.Context())
	must(g.t, err)
	defer s.Close()
	return s.Bind(sam+"@"+g.UPNSuffix, people.RightPassword) != nil
}

// try returns the reason of a verdict, or the code of trouble before which nothing was fenced.
func (g guarded) try(v *ldap.Validator, name, password string) (wire.Reason, wire.Code) {
	g.t.Helper()
	if !strings.Contains(name, "@") {
		name += "@" + g.UPNSuffix
	}
	check := ask(name, password)
	r, err := v.Validate(g.t.Context(), check.Check)
	if err == nil {
		return r.Verdict.Reason, 0
	}
	e := trouble(g.t, err)
	if e.Fenced || check.Fences.Load() != 0 || e.DC == "" {
		g.t.Errorf("%s: %d fences, %+v", name, check.Fences.Load(), e)
	}
	return "", e.Code
}

// Whatever is typed, and however much at once, the directory never locks; and when it has forgotten, the person is let in again.
func TestGuardSparesTheAttemptThatLocks(t *testing.T) {
	g := newGuarded(t)
	must(t, g.SetLockoutPolicy(t.Context(), 4, 30*time.Minute, 30*time.Minute))
	v := g.validator(nil)
	for i := range 10 {
		reason, code := g.try(v, "sue", people.WrongPassword)
		if i < 3 && reason != wire.BadPassword || i >= 3 && code != wire.LockoutSpared {
			t.Errorf("attempt %d: %s %d", i+1, reason, code)
		}
	}
	if n := g.count("sue"); n != 3 || v.GuardStatus().Spared != 7 {
		t.Errorf("the directory counts %d; %+v", n, v.GuardStatus())
	}
	// By the account's other name, which is the same account.
	if _, code := g.try(v, "SUE@corp", people.WrongPassword); code != wire.LockoutSpared || g.count("sue") != 3 {
		t.Errorf("the implicit name: %d, count %d", code, g.count("sue"))
	}
	if reason, _ := g.try(v, "nobody", people.WrongPassword); !slices.Contains([]wire.Reason{wire.BadPassword, wire.NoSuchUser}, reason) {
		t.Errorf("nobody: %s", reason)
	}

	must(t, g.ForgetWrongPasswords(t.Context(), "sue", 29*time.Minute))
	if _, code := g.try(v, "sue", people.RightPassword); code != wire.LockoutSpared {
		t.Errorf("a minute before the window ends: %d", code)
	}
	must(t, g.ForgetWrongPasswords(t.Context(), "sue", 31*time.Minute))
	if reason, code := g.try(v, "sue", people.WrongPassword); reason != wire.BadPassword || g.count("sue") != 1 {
		t.Errorf("after the window: %s %d, count %d", reason, code, g.count("sue"))
	}
	if reason, code := g.try(v, "sue", people.RightPassword); reason != wire.Accepted || g.count("sue") != 0 {
		t.Errorf("the right password: %s %d, count %d", reason, code, g.count("sue"))
	}

	// At once: each reads the same count, and none builds on what another has under way.
	var wg sync.WaitGroup
	g.held(v, "max", people.WrongPassword, 3, &wg)
	for range 16 {
		wg.Go(func() { g.try(v, "max", people.WrongPassword) })
	}
	wg.Wait()
	if n := g.count("max"); n != 3 || g.locked("max") {
		t.Errorf("many at once: the directory counts %d", n)
	}
	// People with the right password who sign in to many things at once wait for one another, and all get in.
	must(t, g.ForgetWrongPasswords(t.Context(), "tom", time.Hour))
	var mu sync.Mutex
	var refused []wire.Code
	for range 2 {
		g.try(v, "tom", people.WrongPassword)
	}
	for range 12 {
		wg.Go(func() {
			if reason, code := g.try(v, "tom", people.RightPassword); reason != wire.Accepted {
				mu.Lock()
				defer mu.Unlock()
				refused = append(refused, code)
			}
		})
	}
	wg.Wait()
	if len(refused) > 0 {
		t.Errorf("right passwords, all at once: %v", refused)
	}
}

// A domain controller at which nobody has been this account yet has no counts of it, and the reader is not to blame: it counts from nothing.
func TestGuardCountsFromNothing(t *testing.T) {
	g := newGuarded(t)
	must(t, g.SetLockoutPolicy(t.Context(), 4, 30*time.Minute, 30*time.Minute))
	must(t, g.GrantReadOfPasswordSettings(t.Context(), "reader"))
	for _, sam := range []string{"sue", "max"} {
		must(t, g.ForgetAccount(t.Context(), sam))
		if n, err := g.Attribute(t.Context(), sam, "badPwdCount"); err != nil || n != "" {
			t.Fatalf("%s still counts %q, %v", sam, n, err)
		}
	}
	v := g.validator(nil)
	if reason, _ := g.try(v, "max", people.RightPassword); reason != wire.Accepted {
		t.Errorf("a right password: %s", reason)
	}
	var wg sync.WaitGroup
	g.held(v, "sue", people.WrongPassword, 3, &wg)
	wg.Wait()
	if _, code := g.try(v, "sue", people.WrongPassword); code != wire.LockoutSpared || g.count("sue") != 3 {
		t.Errorf("after three: %d, count %d", code, g.count("sue"))
	}
	if st := v.GuardStatus(); st.State != ldap.GuardReading {
		t.Errorf("%+v", st)
	}
}

// held has some attempts wait at their fence, sees that one more does not come as far, and lets them go on.
func (g guarded) held(v *ldap.Validator, sam, password string, n int, wg *sync.WaitGroup) {
	g.t.Helper()
	release := make(chan struct{})
	fenced := make(chan struct{}, n)
	for range n {
		check := ask(sam+"@"+g.UPNSuffix, password)
		check.Fence = func(context.Context) error { fenced <- struct{}{}; <-release; return nil }
		wg.Go(func() {
			if _, err := v.Validate(g.t.Context(), check.Check); err != nil {
				g.t.Error(err)
			}
		})
	}
	for range n {
		<-fenced
	}
	impatient, cancel := context.WithTimeout(g.t.Context(), time.Second)
	defer cancel()
	check := ask(sam+"@"+g.UPNSuffix, password)
	_, err := v.Validate(impatient, check.Check)
	if e := trouble(g.t, err); e.Code != wire.AgentTooSlow || check.Fences.Load() != 0 {
		g.t.Errorf("one more while %d are under way: %v, %d fences", n, err, check.Fences.Load())
	}
	close(release)
}

// What doctor asks: one look as the reader.
func TestExamineGuard(t *testing.T) {
	g := newGuarded(t)
	look := func(c ldap.Guard) ldap.GuardStatus {
		t.Helper()
		s, err := ldap.ExamineGuard(t.Context(), g.LDAPS(), g.CAPool, nil, c)
		must(t, err)
		return s
	}
	if s := look(ldap.Guard{}); s.State != ldap.GuardOff {
		t.Errorf("no reader: %+v", s)
	}
	reader := ldap.Guard{Reader: "reader@" + g.UPNSuffix, Password: wire.NewSecret([]byte("wrong"))}
	if s := look(reader); s.State != ldap.GuardRefused || g.count("reader") != 1 {
		t.Errorf("a wrong password: %+v, count %d", s, g.count("reader"))
	}
	reader.Password = wire.NewSecret([]byte(readerPassword))
	if s := look(reader); s.State != ldap.GuardPartial || s.Domain == nil || !slices.Equal(s.Missing, []string{"password settings objects"}) {
		t.Errorf("an ordinary account: %+v", s)
	}
	must(t, g.GrantReadOfPasswordSettings(t.Context(), "reader"))
	if s := look(reader); s.State != ldap.GuardReading || s.Domain == nil || s.Objects != 0 {
		t.Errorf("with all rights: %+v", s)
	}
	if _, err := ldap.ExamineGuard(t.Context(), dead(t), g.CAPool, nil, reader); err == nil {
		t.Error("nobody was there")
	}
}

// A locked account is the directory's to refuse: it counts nothing then, and says why.
func TestGuardLeavesTheLockedAlone(t *testing.T) {
	g := newGuarded(t)
	must(t, g.SetLockoutPolicy(t.Context(), 3, 30*time.Minute, 30*time.Minute))
	s, err := g.Connect(t.Context())
	must(t, err)
	defer s.Close()
	for range 3 {
		_ = s.Bind("sue@"+g.UPNSuffix, people.WrongPassword)
	}
	if reason, code := g.try(g.validator(nil), "sue", people.RightPassword); reason != wire.AccountLocked {
		t.Errorf("%s %d", reason, code)
	}
}

// A reserve is left for the person's own computer; and a password settings object holds before the domain's policy.
func TestGuardReserveAndPasswordSettings(t *testing.T) {
	g := newGuarded(t)
	must(t, g.SetLockoutPolicy(t.Context(), 6, 30*time.Minute, 30*time.Minute))
	must(t, g.SetLockoutPolicyOf(t.Context(), "strict", "eve", 3, 30*time.Minute, 30*time.Minute))
	blind := g.validator(nil)
	if reason, code := g.try(blind, "max", people.WrongPassword); reason != wire.BadPassword {
		t.Fatalf("%s %d", reason, code)
	}
	if st := blind.GuardStatus(); st.State != ldap.GuardPartial || !slices.Contains(st.Missing, "password settings objects") || st.Domain == nil || st.Domain.Threshold != 6 {
		t.Errorf("a reader that may not read password settings: %+v", st)
	}

	must(t, g.GrantReadOfPasswordSettings(t.Context(), "reader"))
	v := g.validator(func(c *ldap.Guard) { c.Reserve = 3 })
	for range 8 {
		g.try(v, "sue", people.WrongPassword)
	}
	if n := g.count("sue"); n != 3 {
		t.Errorf("a threshold of six with three in reserve: %d were spent", n)
	}
	v = g.validator(nil)
	for range 8 {
		g.try(v, "eve", people.WrongPassword)
	}
	if n := g.count("eve"); n != 2 || g.locked("eve") {
		t.Errorf("a stricter policy for one: %d were spent", n)
	}
	st := v.GuardStatus()
	if st.State != ldap.GuardReading || st.Objects != 1 || st.Strictest == nil || *st.Strictest != (guard.Policy{Threshold: 3, Duration: 30 * time.Minute,
		Window: 30 * time.Minute, Source: "password settings object strict"}) {
		t.Errorf("%+v, strictest %+v", st, st.Strictest)
	}
}

// Without a reader, or with one that is refused, everything is as it was; and the refused one's own account is not worn out.
func TestGuardWithoutReader(t *testing.T) {
	g := newGuarded(t)
	must(t, g.SetLockoutPolicy(t.Context(), 3, 30*time.Minute, 30*time.Minute))
	none := g.validator(func(c *ldap.Guard) { *c = ldap.Guard{} })
	for range 3 {
		if reason, code := g.try(none, "sue", people.WrongPassword); reason != wire.BadPassword {
			t.Errorf("no reader: %s %d", reason, code)
		}
	}
	if st := none.GuardStatus(); st.State != ldap.GuardOff || !g.locked("sue") {
		t.Errorf("%+v", st)
	}

	var log bytes.Buffer // of a validator that nobody runs: one goroutine writes at a time
	refused := configured(t, ldap.Config{Servers: []string{g.LDAPS()}, RootCAs: g.CAPool, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Guard: ldap.Guard{Reader: "reader@" + g.UPNSuffix, Password: wire.NewSecret([]byte("not the reader's"))}}, false)
	for range 3 {
		if reason, code := g.try(refused, "max", people.WrongPassword); reason != wire.BadPassword {
			t.Errorf("a refused reader: %s %d", reason, code)
		}
	}
	if st := refused.GuardStatus(); st.State != ldap.GuardRefused || st.LastError == "" || g.count("reader") != 1 {
		t.Errorf("%+v; the reader's account counts %d", st, g.count("reader"))
	}
	if n := strings.Count(log.String(), "code="+wire.ReaderRefused.String()); n != 1 || strings.Contains(log.String(), "not the reader's") {
		t.Errorf("said %d times: %s", n, log.String())
	}
}

// primary makes a group, of which the account is a member, its primary one.
func (g guarded) primary(sam, group string) {
	g.t.Helper()
	sid, err := g.Attribute(g.t.Context(), group, "objectSid")
	must(g.t, err)
	rid, ok := guard.RID([]byte(sid))
	s, err := g.Administrator(g.t.Context())
	must(g.t, err)
	defer s.Close()
	change := goldap.NewModifyRequest("CN="+sam+",OU=People,"+g.BaseDN, nil)
	change.Replace("primaryGroupID", []string{strconv.FormatUint(uint64(rid), 10)})
	if err := s.Modify(change); err != nil || !ok {
		g.t.Fatal(err, ok)
	}
}

// Nothing is ever sent for protected accounts: by their number, whatever they are called, by name, and through groups within groups.
func TestGuardProtects(t *testing.T) {
	g := newGuarded(t)
	must(t, g.AddToGroup(t.Context(), "Inner", "max"))
	must(t, g.AddToGroup(t.Context(), "Tier Zero", "Inner"))
	must(t, g.AddToGroup(t.Context(), "Tier Zero", "tom"))
	// Whose primary group it is, is no member in the directory's eyes.
	must(t, g.AddToGroup(t.Context(), "Innermost", "sue"))
	must(t, g.AddToGroup(t.Context(), "Inner", "Innermost"))
	g.primary("sue", "Innermost")
	tier := "CN=Tier Zero,OU=Groups," + g.BaseDN
	v := g.validator(func(c *ldap.Guard) {
		c.Protection = guard.Protection{Names: []string{"Eve"}, Groups: []string{tier, "CN=Nobody,OU=Groups," + g.BaseDN}}
	})
	before := g.count("Administrator")
	for _, name := range []string{"Administrator", "krbtgt", "eve", "max", "tom", "sue"} {
		for _, password := range []string{people.WrongPassword, people.RightPassword} {
			if reason, code := g.try(v, name, password); code != wire.AccountProtected {
				t.Errorf("%s: %s %d", name, reason, code)
			}
		}
	}
	for _, sam := range []string{"eve", "max", "tom", "sue", "krbtgt"} {
		if n := g.count(sam); n != 0 {
			t.Errorf("%s: the directory counts %d", sam, n)
		}
		if last, err := g.Attribute(t.Context(), sam, "lastLogonTimestamp"); err != nil || last != "" {
			t.Errorf("%s: somebody signed in at %s, %v", sam, last, err)
		}
	}
	if n := g.count("Administrator"); n != before || v.GuardStatus().Protected != 12 {
		t.Errorf("the administrator's count is %d, was %d; %+v", n, before, v.GuardStatus())
	}
	if reason, code := g.try(v, "ann", people.RightPassword); reason != wire.Accepted {
		t.Errorf("whom nothing protects: %s %d", reason, code)
	}
	if st := v.GuardStatus(); !slices.Contains(st.Missing, "the protected group CN=Nobody,OU=Groups,"+g.BaseDN) {
		t.Errorf("a group that is not there: %+v", st)
	}
}

// Everybody may name a computer after somebody: whatever is typed for that one, the person is not kept out, and the directory takes the person.
func TestGuardIsNotTakenInByDisplayNames(t *testing.T) {
	g := newGuarded(t)
	must(t, g.SetLockoutPolicy(t.Context(), 3, 30*time.Minute, 30*time.Minute))
	s, err := g.Administrator(t.Context())
	must(t, err)
	defer s.Close()
	add := goldap.NewAddRequest("CN=PC1,CN=Computers,"+g.BaseDN, nil)
	add.Attribute("objectClass", []string{"computer"})
	add.Attribute("sAMAccountName", []string{"PC1$"})
	add.Attribute("userAccountControl", []string{"4096"})
	add.Attribute("displayName", []string{"sue@" + g.UPNSuffix})
	must(t, s.Add(add))
	must(t, g.SetPassword(t.Context(), "PC1$", []byte(people.RightPassword)))
	v := g.validator(nil)
	for range 4 {
		g.try(v, "PC1$", people.WrongPassword)
	}
	if n := g.count("PC1$"); n != 2 {
		t.Fatalf("the computer's wrong passwords: %d", n)
	}
	if reason, code := g.try(v, "sue", people.WrongPassword); reason != wire.BadPassword || g.count("sue") != 1 {
		t.Errorf("the person: %s %d, count %d", reason, code, g.count("sue"))
	}
	if reason, code := g.try(v, "sue", people.RightPassword); reason != wire.Accepted {
		t.Errorf("the person: %s %d", reason, code)
	}
}

// A domain controller that does not answer the reader is trouble, and nothing is spent: else whoever floods it would switch the guard off.
func TestGuardUnanswered(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, func(s *scripted) {
		s.bind = func(name, _ string) said { return said{hangup: name == "reader@corp.example"} }
	})
	v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: a.pool(), Guard: ldap.Guard{Reader: "reader@corp.example", Password: wire.NewSecret([]byte("p"))}}, false)
	check := ask("sam@corp.example", "p")
	_, err := v.Validate(t.Context(), check.Check)
	if e := trouble(t, err); e.Code != wire.DirectoryUnreachable || e.Fenced || check.Fences.Load() != 0 {
		t.Errorf("%v, %d fences", err, check.Fences.Load())
	}
	if slices.Contains(bindsOf(s), "sam@corp.example/p") {
		t.Error("the password was sent")
	}
}

// One that is too busy for the reader's question is no better. What it will not tell is another matter: there the guard has nothing to go by.
func TestGuardBusy(t *testing.T) {
	a := newAuthority(t)
	for _, c := range []struct {
		result, of int // of nth search below the root entry, or of all for 0
		spends     bool
	}{
		{goldap.LDAPResultBusy, 0, false}, {goldap.LDAPResultUnavailable, 0, false}, {goldap.LDAPResultTimeLimitExceeded, 0, false},
		{goldap.LDAPResultBusy, 2, false}, // password settings objects
		{goldap.LDAPResultBusy, 3, false}, // the account
		{goldap.LDAPResultBusy, 4, false}, // members of protected groups
		{goldap.LDAPResultInsufficientAccessRights, 0, true}, {goldap.LDAPResultNoSuchObject, 0, true}, {goldap.LDAPResultUnwillingToPerform, 3, true},
	} {
		var asked atomic.Int32
		s := begin(t, a, func(s *scripted) {
			s.results = func(string) int {
				if n := int(asked.Add(1)); c.of == 0 || c.of == n {
					return c.result
				}
				return 0
			}
		})
		v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: a.pool(), Guard: ldap.Guard{Reader: "reader@corp.example",
			Password: wire.NewSecret([]byte("p")), Protection: guard.Protection{Groups: []string{"CN=Tier Zero,DC=corp,DC=example"}}}}, false)
		check := ask("sam@corp.example", "p")
		_, err := v.Validate(t.Context(), check.Check)
		if spent := slices.Contains(bindsOf(s), "sam@corp.example/p"); spent != c.spends || (err == nil) != c.spends {
			t.Errorf("result %d of question %d: spent %v, %v", c.result, c.of, spent, err)
		}
		if err != nil && trouble(t, err).Code != wire.DirectoryUnreachable {
			t.Errorf("result %d of question %d: %v", c.result, c.of, err)
		}
	}
}

// What the reader may not see of an account stands in the status until it is an hour old, whatever is read of policies meanwhile, and is said once.
func TestGuardSaysWhatIsHidden(t *testing.T) {
	a := newAuthority(t)
	s := begin(t, a, func(s *scripted) { s.entries = []*goldap.Entry{person("sam", "sam@corp.example", "sam", "S")} }) // and no counts
	var log bytes.Buffer                                                                                               // of a validator that nobody runs: one goroutine writes at a time
	v := configured(t, ldap.Config{Servers: []string{s.url()}, RootCAs: a.pool(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Guard: ldap.Guard{Reader: "reader@corp.example", Password: wire.NewSecret([]byte("p"))}}, false)
	const what = "badPwdCount and badPasswordTime of accounts"
	for i := range 3 {
		if _, err := v.Validate(t.Context(), ask("sam@corp.example", "p").Check); err != nil {
			t.Fatal(err)
		}
		must(t, v.Refresh(t.Context()))
		if st := v.GuardStatus(); !slices.Contains(st.Missing, what) || st.State != ldap.GuardPartial {
			t.Errorf("look %d: %+v", i, st)
		}
	}
	if n := strings.Count(log.String(), what); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
}

// A domain controller that leaves the reader alone is told of once a while, however many checks find that out, and in however many words: an error
// of the network names the port that this host has used.
func TestGuardIsNotLoud(t *testing.T) {
	a := newAuthority(t)
	hangsUp := func(s *scripted) { s.bind = func(string, string) said { return said{hangup: true} } }
	one, two := begin(t, a, hangsUp), begin(t, a, hangsUp)
	var log bytes.Buffer // of a validator that nobody runs: one goroutine writes at a time
	v := configured(t, ldap.Config{Servers: []string{one.url(), two.url()}, RootCAs: a.pool(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Guard: ldap.Guard{Reader: "reader@corp.example", Password: wire.NewSecret([]byte("p"))}}, false)
	for range 4 {
		if _, err := v.Validate(t.Context(), ask("sam@corp.example", "p").Check); trouble(t, err).Code != wire.DirectoryUnreachable {
			t.Errorf("%v", err)
		}
	}
	if n := strings.Count(log.String(), "the reader account cannot look"); n != 2 {
		t.Errorf("two domain controllers are told of %d times: %s", n, log.String())
	}
}

func TestGuardSettings(t *testing.T) {
	for _, g := range []ldap.Guard{
		{Reader: "reader@corp.example"},
		{Reader: "reader@corp.example", Password: wire.NewSecret([]byte("a\x00b"))},
		{Reader: strings.Repeat("r", directory.MaxName+1), Password: wire.NewSecret([]byte("right"))},
		{Reserve: -1},
		{Protection: guard.Protection{Names: []string{"a@b"}}},
	} {
		if _, err := ldap.New(ldap.Config{Servers: []string{"dc1"}, Guard: g}); err == nil {
			t.Errorf("accepted: %+v", g)
		}
	}
	for _, g := range []ldap.Guard{{}, {Reader: "reader@corp.example", Password: wire.NewSecret([]byte("right"))}, {Reserve: 3, Protection: guard.Protection{Names: []string{"svc"}}}} {
		if _, err := ldap.New(ldap.Config{Servers: []string{"dc1"}, Guard: g}); err != nil {
			t.Errorf("refused: %+v: %v", g, err)
		}
	}
}
