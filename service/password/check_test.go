package password

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/password/passwordtest"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestRightPasswordProvisionsTheUser(t *testing.T) {
	w := newWorld(t)
	agent := w.agent(t, w.a, w.dirA, w.ad.Agent)
	got := w.must(t, w.a, " Ada@Corp.Example ", right)
	// The name goes to the directory as it was typed; the stand-in compares exactly.
	wantShown(t, "a name in other letters", got, wire.InvalidPassword, wire.InvalidPassword)

	got = w.must(t, w.a, name, right)
	if !got.Right || got.User.DisplayName != "Ada Lovelace" || got.User.UPN != name || got.User.Source != user.Synced || got.User.DirectoryID != w.dirA {
		t.Fatalf("%+v", got)
	}
	if got.Reason != wire.Accepted || got.Shown != 0 || !slices.Equal(got.Methods, []string{"pwd"}) || got.NameForm != formUPN || got.Directory != w.dirA ||
		got.Agent != agent.ID || got.AgentName != agent.Name || got.Gateway != "gateway-1" || got.DC != "dc1.corp.example:636" {
		t.Errorf("%+v", got)
	}
	var names []string
	for i, s := range got.Stops {
		names = append(names, s.Name)
		if !slices.Contains(audit.StopNames, s.Name) {
			t.Errorf("nobody else knows the stop %q", s.Name)
		}
		if s.At < 0 || s.At > time.Minute || (i > 0 && s.Name == "done" && s.At < got.Stops[i-1].At) {
			t.Errorf("stop %+v", s)
		}
	}
	if want := "asked offered sealed delivered fenced answered agent-opened agent-fenced agent-judged done"; strings.Join(names, " ") != want {
		t.Errorf("stops %v", names)
	}
	stored, err := w.users.ByUPN(t.Context(), w.a, name)
	if err != nil || stored.ID != got.User.ID {
		t.Errorf("%+v, %v", stored, err)
	}
}

func TestAttributesAreAskedOnlyWhenTheyAreOld(t *testing.T) {
	w := newWorld(t)
	var wanted []bool
	w.agent(t, w.a, w.dirA, func(ctx context.Context, c *passwordtest.Conversation) queue.Outcome {
		check, err := c.Open()
		if err != nil {
			t.Error(err)
		}
		wanted = append(wanted, check.WantAttributes)
		return w.ad.Agent(ctx, c)
	})
	for range 3 {
		if a := w.must(t, w.a, name, right); !a.Right {
			t.Fatalf("%+v", a)
		}
	}
	if !slices.Equal(wanted, []bool{true, false, false}) {
		t.Errorf("%v", wanted)
	}
}

func TestEveryVerdict(t *testing.T) {
	// What the log has to say, and what the person may see.
	verdicts := []struct {
		reason      wire.Reason
		code, shown wire.Code
	}{
		{wire.Accepted, 0, 0},
		{wire.BadPassword, wire.InvalidPassword, wire.InvalidPassword},
		{wire.NoSuchUser, wire.InvalidPassword, wire.InvalidPassword},
		{wire.AccountLocked, wire.AccountLockedOut, wire.InvalidPassword},
		{wire.AccountRestricted, wire.AccountRestrictedCode, wire.InvalidPassword},
		{wire.AccountDisabled, wire.AccountIsDisabled, wire.InvalidPassword},
		{wire.AccountExpired, wire.AccountExpiredCode, wire.InvalidPassword},
		{wire.PasswordExpired, wire.DirectoryPassword, wire.DirectoryPassword},
		{wire.MustChange, wire.DirectoryPassword, wire.DirectoryPassword},
		{wire.LogonHours, wire.OutsideLogonHours, wire.OutsideLogonHours},
		{wire.Workstation, wire.WorkstationRefused, wire.WorkstationRefused},
		{wire.TooManyGroups, wire.DirectoryUnusable, wire.InvalidPassword},
	}
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	for _, verdict := range verdicts {
		reason := verdict.reason
		person := "who-" + strings.ReplaceAll(string(reason), "_", "-") + "@corp.example"
		told := ada()
		told.UPN, told.Anchor = person, "6f1de3f5-3f3b-4a47-9f5b-0b6a3a1c2d"+string("0123456789abcdef"[len(reason)%16])+"f"
		w.ad.Attributes[person] = told
		w.ad.Verdicts[person] = wire.Verdict{Reason: reason, Diagnostic: "data \x1b[1m7"}
		for i := range 2 {
			got := w.must(t, w.a, person, right)
			if got.Right != reason.Right() || got.Code != verdict.code || got.Shown != verdict.shown || got.Reason != reason {
				t.Errorf("%s: %+v", reason, got)
			}
			if strings.ContainsRune(got.Diagnostic, '\x1b') || !strings.HasPrefix(got.Diagnostic, "data") {
				t.Errorf("diagnostic %q", got.Diagnostic)
			}
			want := 0
			if reason.Wrong() {
				want = i + 1
			}
			if n := w.failures(t, w.a, person); n != want {
				t.Errorf("%s: %d failures are counted, want %d", reason, n, want)
			}
		}
	}
	if n := len(w.queue.Binds()); n != 2*len(verdicts) {
		t.Errorf("%d binds for %d passwords", n, 2*len(verdicts))
	}
}

func TestRightPasswordClearsTheCount(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	w.must(t, w.a, name, right)
	known, err := w.users.ByUPN(t.Context(), w.a, name)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.must(t, w.a, name, wrong)
	}
	if n := w.failures(t, w.a, known.ID); n != 3 {
		t.Errorf("%d failures under the user's id", n)
	}
	w.must(t, w.a, name, right)
	if n := w.failures(t, w.a, known.ID); n != 0 {
		t.Errorf("%d failures after a right password", n)
	}
}

func TestRefusedBeforeAnybodyIsAsked(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	for _, test := range []struct {
		what, name, password, form string
		code                       wire.Code
	}{
		{"empty", name, "", formUPN, wire.PasswordUnusable},
		{"NUL", name, "a\x00b", formUPN, wire.PasswordUnusable},
		{"too long", name, strings.Repeat("x", maxPassword+1), formUPN, wire.PasswordUnusable},
		{"empty, and the domain is unknown", "ada@other.example", "", formUPN, wire.PasswordUnusable},
		{"unknown domain", "ada@other.example", right, formUPN, wire.DomainUnknown},
		{"down-level", `CORP\ada`, right, formDownLevel, wire.DomainUnknown},
		{"bare", "ada", right, formBare, wire.DomainUnknown},
		{"no name", "", right, formUnusable, wire.DomainUnknown},
		{"control character", "ada\x00@corp.example", right, formUnusable, wire.DomainUnknown},
		{"endless name", strings.Repeat("a", 5000) + "@corp.example", right, formUnusable, wire.DomainUnknown},
	} {
		got := w.must(t, w.a, test.name, test.password)
		wantShown(t, test.what, got, test.code, wire.InvalidPassword)
		if got.NameForm != test.form || got.Reason != "" || got.Directory != "" {
			t.Errorf("%s: %+v", test.what, got)
		}
	}
	if n := len(w.queue.Asks()); n != 0 {
		t.Errorf("%d asks", n)
	}
}

func TestSmartLockoutKeepsTheDirectoryOut(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	threshold := w.guard.Policy().Threshold
	for range threshold {
		wantShown(t, "wrong", w.must(t, w.a, name, wrong), wire.InvalidPassword, wire.InvalidPassword)
	}
	before := len(w.queue.Binds())
	for _, password := range []string{wrong, right} {
		got := w.must(t, w.a, name, password)
		wantShown(t, "locked", got, wire.AccountLockedOut, wire.InvalidPassword)
		if got.Reason != "" || !strings.Contains(got.Diagnostic, "smart lockout until") {
			t.Errorf("%+v", got)
		}
	}
	if before != threshold || len(w.queue.Binds()) != before {
		t.Errorf("%d binds, then %d", before, len(w.queue.Binds()))
	}
	// The other tenant's account of the same name is another account.
	w.agent(t, w.b, w.dirB, (&passwordtest.Directory{Passwords: map[string]string{name: right}, Attributes: map[string]wire.Attributes{name: ada()}}).Agent)
	if got := w.must(t, w.b, name, right); !got.Right {
		t.Errorf("the other tenant's namesake: %+v", got)
	}
}

func TestDisabledHere(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	u := w.must(t, w.a, name, right).User
	yes := true
	if _, err := w.users.Change(t.Context(), w.a, u.ID, user.Change{Disabled: &yes}, time.Now()); err != nil {
		t.Fatal(err)
	}
	got := w.must(t, w.a, name, right)
	wantShown(t, "right password", got, wire.AccountIsDisabled, wire.InvalidPassword)
	if got.Reason != wire.Accepted {
		t.Errorf("reason %q", got.Reason)
	}
	wantShown(t, "wrong password", w.must(t, w.a, name, wrong), wire.InvalidPassword, wire.InvalidPassword)
	if n := len(w.queue.Binds()); n != 3 {
		t.Errorf("%d binds: a disabled user must take the same way", n)
	}
}

func TestWhoIsAdmitted(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	no := false
	if _, err := w.tenants.ChangeDomain(t.Context(), w.a, "corp.example", tenant.DomainChange{AdmitUsers: &no}, time.Now()); err != nil {
		t.Fatal(err)
	}
	got := w.must(t, w.a, name, right)
	wantShown(t, "not admitted", got, wire.UserNotFound, wire.InvalidPassword)
	if got.Reason != wire.Accepted {
		t.Errorf("reason %q", got.Reason)
	}
	if _, err := w.users.Create(t.Context(), w.a, user.User{UPN: name, Source: user.Synced, DirectoryID: w.dirA}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := w.must(t, w.a, name, right); !got.Right || got.User.Anchor != ada().Anchor {
		t.Errorf("made by hand: %+v", got)
	}

	// Accepted, and nothing told: nobody may go on, whether known by name or not.
	w.ad.Passwords["grace@corp.example"] = right
	_, err := w.check(t, w.a, "grace@corp.example", right)
	wantFault(t, "unknown, no attributes", err, wire.IdentityUnproven)
	if _, err := w.users.Create(t.Context(), w.a, user.User{UPN: "grace@corp.example", Source: user.Synced, DirectoryID: w.dirA}, time.Now()); err != nil {
		t.Fatal(err)
	}
	_, err = w.check(t, w.a, "grace@corp.example", right)
	wantFault(t, "made by hand, no attributes", err, wire.IdentityUnproven)

	// A new person under the name of an old one: the objectGUID differs.
	told := ada()
	told.Anchor = "00000000-0000-4000-8000-000000000001"
	w.ad.Attributes["lin@corp.example"] = told
	w.ad.Passwords["lin@corp.example"] = right
	wantShown(t, "another objectGUID", w.must(t, w.a, "lin@corp.example", right), wire.Conflict, wire.InvalidPassword)

	// What cannot be stored is trouble, and tells nothing of the password.
	told.Anchor = "not a GUID"
	w.ad.Attributes["lin@corp.example"] = told
	_, err = w.check(t, w.a, "lin@corp.example", right)
	wantFault(t, "malformed anchor", err, wire.DirectoryUnusable)
}

func TestDirectoryCannotNameUsersOfAnother(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	second, err := w.tenants.CreateDirectory(t.Context(), w.a, "branch", false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.domain(t, w.a, tenant.Domain{Name: "branch.example", Kind: tenant.PassThrough, DirectoryID: second.ID, AdmitUsers: true})
	w.domain(t, w.a, tenant.Domain{Name: "also-corp.example", Kind: tenant.PassThrough, DirectoryID: w.dirA, AdmitUsers: true})
	told := func(upn, anchor string) wire.Attributes { return wire.Attributes{Anchor: anchor, UPN: upn} }
	branch := &passwordtest.Directory{Passwords: map[string]string{}, Attributes: map[string]wire.Attributes{}}
	w.agent(t, w.a, second.ID, branch.Agent)
	victim := w.must(t, w.a, name, right).User

	// The branch's directory says that its user eve is called ada@corp.example.
	branch.Passwords["eve@branch.example"], branch.Attributes["eve@branch.example"] = right, told(name, "00000000-0000-4000-8000-000000000002")
	got := w.must(t, w.a, "eve@branch.example", right)
	if !got.Right || got.User.ID == victim.ID || got.User.UPN != "eve@branch.example" {
		t.Errorf("%+v", got.User)
	}
	// Names in internal suffixes, and in no domain at all, give way to the typed one as well.
	for i, upn := range []string{"x@corp.local", "x", "", "x@"} {
		typed := "user" + string(rune('a'+i)) + "@branch.example"
		branch.Passwords[typed], branch.Attributes[typed] = right, told(upn, "00000000-0000-4000-8000-00000000001"+string(rune('0'+i)))
		if got := w.must(t, w.a, typed, right); !got.Right || got.User.UPN != typed {
			t.Errorf("%q: %+v", upn, got.User)
		}
	}
	// A name in another domain of the same directory is that directory's to give.
	w.ad.Passwords["alias@corp.example"], w.ad.Attributes["alias@corp.example"] = right, told("grace@also-corp.example", "00000000-0000-4000-8000-000000000003")
	if got := w.must(t, w.a, "alias@corp.example", right); !got.Right || got.User.UPN != "grace@also-corp.example" {
		t.Errorf("%+v", got.User)
	}

	// A domain that moves to another directory does not take its users along.
	if _, err := w.tenants.ChangeDomain(t.Context(), w.a, "corp.example", tenant.DomainChange{DirectoryID: &second.ID}, time.Now()); err != nil {
		t.Fatal(err)
	}
	branch.Passwords[name], branch.Attributes[name] = right, told(name, "00000000-0000-4000-8000-000000000004")
	wantShown(t, "a namesake in another directory", w.must(t, w.a, name, right), wire.Conflict, wire.InvalidPassword)
	delete(branch.Attributes, name)
	_, err = w.check(t, w.a, name, right)
	wantFault(t, "the same, and nothing told", err, wire.IdentityUnproven)
}

func TestCloudUsers(t *testing.T) {
	w := newWorld(t)
	make := func(upn string) user.User {
		u, err := w.users.Create(t.Context(), w.a, user.User{UPN: upn, Source: user.CloudOnly, Role: user.Administrator}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		phc, err := Hash(t.Context(), secret(right))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.users.SetPasswordHash(t.Context(), w.a, u.ID, phc, time.Now()); err != nil {
			t.Fatal(err)
		}
		return u
	}
	// Break-glass: no agent is attached anywhere in this test, and the names lie in a cloud domain, a directory's, and none at all.
	for _, upn := range []string{"admin@cloud.example", "admin@corp.example", "admin@nowhere.example"} {
		u := make(upn)
		got := w.must(t, w.a, strings.ToUpper(upn), right)
		if !got.Right || got.User.ID != u.ID || got.Reason != wire.Accepted || !slices.Equal(got.Methods, []string{"pwd"}) {
			t.Errorf("%s: %+v", upn, got)
		}
		got = w.must(t, w.a, upn, wrong)
		wantShown(t, upn, got, wire.InvalidPassword, wire.InvalidPassword)
		if n := w.failures(t, w.a, lockout.At(u.ID, here)); got.Reason != wire.BadPassword || n != 1 {
			t.Errorf("%s: %+v, %d failures", upn, got, n)
		}
	}
	if n := len(w.queue.Asks()); n != 0 {
		t.Errorf("%d asks for cloud passwords", n)
	}

	got := w.must(t, w.a, "nobody@cloud.example", right)
	wantShown(t, "unknown", got, wire.UserNotFound, wire.InvalidPassword)
	if got.Reason != wire.NoSuchUser || w.failures(t, w.a, lockout.At("nobody@cloud.example", here)) != 1 {
		t.Errorf("%+v", got)
	}
	wantShown(t, "the other tenant", w.must(t, w.b, "admin@cloud.example", right), wire.UserNotFound, wire.InvalidPassword)

	without, err := w.users.Create(t.Context(), w.a, user.User{UPN: "new@cloud.example", Source: user.CloudOnly}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	wantShown(t, "no password yet", w.must(t, w.a, without.UPN, ""), wire.PasswordUnusable, wire.InvalidPassword)
	wantShown(t, "no password yet", w.must(t, w.a, without.UPN, wrong), wire.InvalidPassword, wire.InvalidPassword)

	yes := true
	admin, err := w.users.ByUPN(t.Context(), w.a, "admin@cloud.example")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.users.Change(t.Context(), w.a, admin.ID, user.Change{Disabled: &yes}, time.Now()); err != nil {
		t.Fatal(err)
	}
	wantShown(t, "disabled", w.must(t, w.a, admin.UPN, right), wire.AccountIsDisabled, wire.InvalidPassword)

	if err := w.users.SetPasswordHash(t.Context(), w.a, admin.ID, "rubbish", time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.check(t, w.a, admin.UPN, right); !errors.Is(err, errPHC) {
		t.Errorf("an unreadable hash: %v", err)
	}
}

func TestCloudLockout(t *testing.T) {
	w := newWorld(t)
	for range w.guard.Policy().Threshold - 1 {
		if err := w.guard.Settle(t.Context(), w.a, lockout.At("nobody@cloud.example", here), lockout.Wrong, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	wantShown(t, "the last before the lock", w.must(t, w.a, "nobody@cloud.example", wrong), wire.UserNotFound, wire.InvalidPassword)
	wantShown(t, "locked", w.must(t, w.a, "Nobody@cloud.example", wrong), wire.AccountLockedOut, wire.InvalidPassword)
}

func TestZeroScope(t *testing.T) {
	w := newWorld(t)
	if _, err := w.check(t, tenant.Scope{}, name, right); !errors.Is(err, tenant.ErrNoScope) {
		t.Error(err)
	}
}

func TestNoAgent(t *testing.T) {
	w := newWorld(t)
	a, err := w.check(t, w.a, name, right)
	wantFault(t, "nobody is attached", err, wire.NoAgent)
	if a.Code != wire.NoAgent || a.Shown != wire.NoAgent || a.Directory != w.dirA || a.NameForm != formUPN {
		t.Errorf("%+v", a)
	}
	// An agent of the other tenant, and one of another directory, do not help.
	w.agent(t, w.b, w.dirB, w.ad.Agent)
	_, err = w.check(t, w.a, name, right)
	wantFault(t, "another tenant's is", err, wire.NoAgent)
}

func TestTimesLookAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		judging := 40 * time.Millisecond
		w.agent(t, w.a, w.dirA, func(ctx context.Context, c *passwordtest.Conversation) queue.Outcome {
			time.Sleep(judging) // the bubble's clock
			return w.ad.Agent(ctx, c)
		})
		took := func(typed, password string) time.Duration {
			start := time.Now()
			w.must(t, w.a, typed, password)
			return time.Since(start)
		}
		if d := took("ada@other.example", wrong); d != holdStep {
			t.Errorf("before any wrong answer: %v", d)
		}
		if d := took(name, right); d != judging {
			t.Errorf("a right password was held back: %v", d)
		}
		const real = holdStep
		for range w.guard.Policy().Threshold {
			if d := took(name, wrong); d != real {
				t.Errorf("wrong: %v", d)
			}
		}
		judging = 10 * time.Millisecond // the directory is faster with what comes now
		for _, test := range []struct{ what, name, password string }{
			{"unknown domain", "ada@other.example", wrong}, {"bare name", "ada", wrong}, {"no name", "", wrong},
			{"locked, wrong password", name, wrong}, {"locked, right password", name, right}, {"unknown user", "nobody@corp.example", wrong},
		} {
			if d := took(test.name, test.password); d != real {
				t.Errorf("%s: %v, wrong ones took %v", test.what, d, real)
			}
		}
		// A cloud-only user in the directory's domain looks like the directory's users.
		if _, err := w.users.Create(t.Context(), w.a, user.User{UPN: "admin@corp.example", Source: user.CloudOnly}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if d := took("admin@corp.example", wrong); d != real {
			t.Errorf("cloud-only: %v", d)
		}
		// Who hangs up does not wait.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := w.checkWith(t, ctx, w.a, "ada@other.example", wrong)
		wantFault(t, "hung up", err, wire.TransientNetwork)
		if d := time.Since(start); d != 5*time.Millisecond {
			t.Errorf("after %v", d)
		}
	})
}

// TestHeld: what is known at different times is told at one.
func TestHeld(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct{ took, usual, want time.Duration }{
		{0, 0, holdStep}, {3 * ms, 8 * ms, 100 * ms}, {60 * ms, 8 * ms, 100 * ms}, {100 * ms, 8 * ms, 100 * ms}, {101 * ms, 8 * ms, 200 * ms},
		{1 * ms, 66 * ms, 100 * ms}, {1 * ms, 67 * ms, 200 * ms}, {90 * ms, 90 * ms, 200 * ms}, {110 * ms, 90 * ms, 200 * ms},
		{150 * ms, 155 * ms, 300 * ms}, {160 * ms, 155 * ms, 300 * ms},
		{1 * ms, 10 * time.Second, mostFloor}, {2001 * ms, 10 * time.Second, 2100 * ms},
	} {
		if got := hold(c.took, c.usual); got != c.want {
			t.Errorf("known after %v where %v is usual: told after %v, want %v", c.took, c.usual, got, c.want)
		}
	}
	var r timing
	k := timingKey{"t", tenant.PassThrough}
	if d := r.usual(k); d != (guessFrom+guessTo)/2 {
		t.Errorf("%v is usual before anything happened", d)
	}
	for i := range 11 {
		r.put(k, time.Duration(11-i)*ms)
	}
	if d := r.usual(k); d != 10*ms {
		t.Errorf("of 1 to 11 ms, %v is usual", d)
	}
}

func TestReservoirs(t *testing.T) {
	var r timing
	k := timingKey{"t", tenant.PassThrough}
	guesses := map[time.Duration]bool{}
	for range 1000 {
		d := r.draw(k)
		if d < guessFrom || d >= guessTo {
			t.Fatalf("guess %v", d)
		}
		guesses[d] = true
	}
	if len(guesses) < 100 {
		t.Errorf("%d guesses of 1000 differ", len(guesses))
	}
	ten := timingKey{"ten", tenant.PassThrough}
	for i := range 10 {
		r.put(ten, time.Duration(10-i)*time.Hour)
	}
	if d := r.usual(ten); d != 9*time.Hour {
		t.Errorf("nine of ten came within %v", d)
	}
	if d := r.draw(ten); d < time.Hour {
		t.Errorf("drew %v, which never was", d)
	}
	for i := range 3 * reservoirSize {
		r.put(k, time.Duration(i))
	}
	seen := map[time.Duration]bool{}
	for range 10000 {
		d := r.draw(k)
		if d < 2*reservoirSize {
			t.Fatalf("drew %d, which was long ago", d)
		}
		seen[d] = true
	}
	if len(seen) < reservoirSize/2 {
		t.Errorf("only %d different times were drawn", len(seen))
	}
	if d := r.draw(timingKey{"t", tenant.Cloud}); d < guessFrom {
		t.Error("kinds share a reservoir")
	}
	for i := len(r.reservoirs); i < reservoirsMax; i++ {
		r.put(timingKey{strconv.Itoa(i), tenant.Cloud}, 1)
	}
	for range 3 {
		if len(r.reservoirs) != reservoirsMax {
			t.Errorf("%d reservoirs", len(r.reservoirs))
		}
		r.put(timingKey{strconv.Itoa(rand.Int()), tenant.Cloud}, 1)
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.agent(t, w.a, w.dirA, w.ad.Agent)
	reg := prometheus.NewRegistry()
	config := Config{Tenants: w.tenants, Users: w.users, Fleet: w.fleet, Lockout: w.guard, Queue: w.queue, Metrics: reg}
	for _, c := range []*Checker{New(config), New(config)} {
		w.Checker = c
		w.must(t, w.a, name, right)
		w.must(t, w.a, name, wrong)
		w.must(t, w.a, name, "")
		if _, err := w.check(t, w.b, name, right); err == nil {
			t.Error("an agent out of nowhere")
		}
	}
	for labels, want := range map[[2]string]float64{{"right", "0"}: 2, {"wrong", "50126"}: 2, {"trouble", "80001"}: 2, {"refused", "90034"}: 2,
		{"trouble", "90022"}: 0} {
		if got := counted(t, reg, labels[0], labels[1]); got != want {
			t.Errorf("%s %s: %v, not %v", labels[0], labels[1], got, want)
		}
	}
	if n, err := testutil.GatherAndCount(reg, "sallyport_password_check_duration_seconds"); err != nil || n != 4 {
		t.Errorf("%d histograms, %v", n, err)
	}
}

// counted is a counter of sallyport_password_checks_total; one that is not shown is an error, also where it would be 0.
func counted(t *testing.T, from prometheus.Gatherer, outcome, code string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if family.GetName() == "sallyport_password_checks_total" && labels["outcome"] == outcome && labels["code"] == code {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Errorf("no checks with outcome %s and code %s are shown", outcome, code)
	return -1
}
