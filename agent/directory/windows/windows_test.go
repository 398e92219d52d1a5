package windows

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"

	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

// What every number of LogonUserW comes to, and what may have counted: whatever the call says, it was made.
func TestWhatWindowsSays(t *testing.T) {
	for _, c := range []struct {
		said    error
		verdict wire.Reason
		code    wire.Code
	}{
		{refusal(1326), wire.BadPassword, 0},
		{refusal(1323), wire.BadPassword, 0},
		{refusal(1317), wire.NoSuchUser, 0},
		{refusal(1909), wire.AccountLocked, 0},
		{refusal(1327), wire.AccountRestricted, 0},
		{refusal(1384), wire.TooManyGroups, 0},
		{refusal(1330), wire.PasswordExpired, 0},
		{refusal(1907), wire.MustChange, 0},
		// Said by a KDC before it looks at the password, so that they prove nothing.
		{refusal(1328), wire.AccountRestricted, 0},
		{refusal(1329), wire.AccountRestricted, 0},
		{refusal(1331), wire.AccountRestricted, 0},
		{refusal(1793), wire.AccountRestricted, 0},
		// Nobody judged.
		{refusal(1385), "", wire.DirectoryUnusable},
		{refusal(1324), "", wire.DirectoryUnusable},
		{refusal(1935), "", wire.DirectoryUnusable},
		{refusal(1937), "", wire.DirectoryUnusable},
		{refusal(0x8009033E), "", wire.DirectoryUnusable},
		{refusal(0xC00002FA), "", wire.DirectoryUnusable},
		{refusal(87), "", wire.DirectoryUnusable},
		{refusal(0), "", wire.DirectoryUnusable},
		{refusal(4711), "", wire.DirectoryUnusable},
		{os.ErrPermission, "", wire.DirectoryUnusable},
		{refusal(1398), "", wire.ClockSkew},
		{refusal(1722), "", wire.DirectoryTimeout},
		{refusal(1726), "", wire.DirectoryTimeout},
		{refusal(1311), "", wire.DirectoryUnreachable},
		{refusal(1355), "", wire.DirectoryUnreachable},
		{refusal(1908), "", wire.DirectoryUnreachable},
		{refusal(1786), "", wire.DirectoryUnreachable},
		{refusal(1787), "", wire.DirectoryUnreachable},
		{refusal(1788), "", wire.DirectoryUnreachable},
		{refusal(1789), "", wire.DirectoryUnreachable},
		{refusal(1792), "", wire.DirectoryUnreachable},
	} {
		f := newFake()
		f.said = map[string]error{"alice@corp.example": c.said}
		v, check := f.validator(t, Config{}), ask("alice@corp.example", right)
		check.WantAttributes = true
		r, err := v.Validate(t.Context(), check.Check)
		switch {
		case c.code == 0:
			var no refusal
			errors.As(c.said, &no)
			if err != nil || r.Verdict.Reason != c.verdict || r.Verdict.Win32 != int(no) || !strings.Contains(r.Verdict.Diagnostic, fmt.Sprintf("(%d)", no)) || r.Verdict.Attributes != nil {
				t.Errorf("%v: %+v, %v", c.said, r, err)
			}
			if r.DC != "dc1.corp.example" || r.Fenced.IsZero() || r.Judged.Before(r.Fenced) {
				t.Errorf("%v: %+v", c.said, r)
			}
		default:
			if e := unjudged(t, err); e.Code != c.code || !e.Fenced || e.DC != "dc1.corp.example" {
				t.Errorf("%v: %+v", c.said, e)
			}
		}
		if check.Fences.Load() != 1 || len(f.calls()) != 1 || !f.wiped() {
			t.Errorf("%v: %d fences, %d calls, wiped: %v", c.said, check.Fences.Load(), len(f.calls()), f.wiped())
		}
		// The next look for a domain controller is by force if there was none, and by memory else.
		if _, err := v.Prove(t.Context()); err != nil {
			t.Error(err)
		}
		if gone := c.code == wire.DirectoryUnreachable || c.code == wire.DirectoryTimeout; f.anew[len(f.anew)-1] != gone || f.anew[0] {
			t.Errorf("%v: looked anew: %v", c.said, f.anew)
		}
	}
}

func TestRightAndWrong(t *testing.T) {
	f := newFake()
	v := f.validator(t, Config{})
	for _, name := range []string{"alice@corp.example", "ALICE@corp.example", " alice@corp.example ", `CORP\alice`, `corp.example\ALICE`} {
		check := ask(name, right)
		check.WantAttributes = true
		r, err := v.Validate(t.Context(), check.Check)
		a := r.Verdict.Attributes
		if err != nil || !r.Verdict.Reason.Right() || a == nil || a.Anchor != aliceGUID || a.UPN != "alice@corp.example" || a.DisplayName != "Alice Archer" {
			t.Errorf("%q: %+v, %v", name, r, err)
		}
		for _, wrong := range []string{right + " ", strings.ToLower(right), "x"} {
			if r, err := v.Validate(t.Context(), ask(name, wrong).Check); err != nil || r.Verdict.Reason != wire.BadPassword {
				t.Errorf("%q, %q: %+v, %v", name, wrong, r, err)
			}
		}
	}
	if len(f.asked) != 5 || f.asked[0] != domainSID+"-1104" || !f.wiped() {
		t.Errorf("%q asked about, wiped: %v", f.asked, f.wiped())
	}
	for _, n := range []int{0, 1} { // a userPrincipalName goes whole, with no domain beside it
		if f.calls()[n] != (account{user: "alice@corp.example"}) {
			t.Errorf("%+v", f.calls()[n])
		}
	}
	if last := f.calls()[len(f.calls())-1]; last != (account{"ALICE", "corp.example"}) {
		t.Errorf("%+v", last)
	}
	found := ask("4711", right) // looked up by another attribute
	found.Account = &directory.Account{DN: "CN=Alice Archer,DC=corp,DC=example", SAM: "alice", Domain: "corp.example"}
	if r, err := v.Validate(t.Context(), found.Check); err != nil || !r.Verdict.Reason.Right() || f.calls()[len(f.calls())-1] != (account{"alice", "corp.example"}) {
		t.Errorf("%+v, %v", r, err)
	}
	found.Account.Domain = "other.example"
	if _, err := v.Validate(t.Context(), found.Check); unjudged(t, err).Code != wire.PasswordUnusable {
		t.Error(err)
	}
	if r, err := v.Validate(t.Context(), ask("bob@corp.example", right).Check); err != nil || r.Verdict.Reason != wire.BadPassword {
		t.Errorf("%+v, %v", r, err)
	}
}

// LogonUserW says yes to accounts that are none of the domain's. None of them gets in, and it is not called for those that can be told before.
func TestOnlyTheDomainsAccounts(t *testing.T) {
	for _, sid := range []string{
		domainSID + "-501",         // the domain's Guest
		"S-1-5-21-9-9-9-501",       // this computer's Guest
		"S-1-5-21-9-9-9-1001",      // an account of this computer
		"S-1-5-21-9-9-9-1104",      // another domain's
		domainSID,                  // the domain itself
		domainSID + "-",            //
		domainSID + "-1104-7",      //
		domainSID + "1-1104",       // a domain whose number begins alike
		"S-1-5-18", "S-1-5-7", "x", // SYSTEM, anonymous, nonsense
	} {
		f := newFake()
		f.sids = map[string]string{"carol@corp.example": sid}
		v := f.validator(t, Config{})
		if err := v.SelfCheck(t.Context()); err != nil {
			t.Fatal(err)
		}
		check := ask("carol@corp.example", right)
		check.WantAttributes = true
		_, err := v.Validate(t.Context(), check.Check)
		if e := unjudged(t, err); e.Code != wire.DirectoryUnusable || !e.Fenced || len(f.asked) != 0 {
			t.Errorf("%q: %+v", sid, e)
		}
	}
	// Guest is enabled after the start.
	f := newFake()
	v := f.validator(t, Config{})
	if err := v.SelfCheck(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.guest = "S-1-5-21-9-9-9-501"
	_, err := v.Validate(t.Context(), ask("nobody@corp.example", "x").Check)
	if e := unjudged(t, err); e.Code != wire.DirectoryUnusable || !e.Fenced {
		t.Errorf("%+v", e)
	}
	if _, e := (answer{}).judge(member); e == nil || e.Code != wire.DirectoryUnusable {
		t.Errorf("a yes without an owner: %v", e)
	}
}

func TestNames(t *testing.T) {
	for typed, want := range map[string]any{
		"alice@corp.example":                account{user: "alice@corp.example"},
		"  alice@corp.example\t":            account{user: "alice@corp.example"},
		"alice@other-suffix.example":        account{user: "alice@other-suffix.example"},
		"al@ice@corp.example":               account{user: "al@ice@corp.example"},
		`corp\alice`:                        account{"alice", "corp"},
		`CORP.example\alice`:                account{"alice", "CORP.example"},
		"ålice@corp.example":                account{user: "ålice@corp.example"},
		"alice":                             errName,
		`.\alice`:                           errName,
		`\alice`:                            errName,
		`AGENT1\alice`:                      errName,
		`BUILTIN\alice`:                     errName,
		`CORP\`:                             errName,
		`CORP\alice@corp.example`:           errName,
		`CORP\CORP\alice`:                   errName,
		`x\alice@corp.example`:              errName,
		"@corp.example":                     errName,
		"alice@":                            errName,
		"administrator@agent1":              errLocal,
		"administrator@AGENT1.corp.EXAMPLE": errLocal,
		"administrator@.":                   errLocal,
		"administrator@localhost":           errLocal,
		"al\xffice@corp.example":            errUTF8,
		"CN=Alice,DC=corp,DC=example":       errName,
		"S-1-5-21-1-2-3-500":                errName,
	} {
		f := newFake()
		check := ask(typed, right)
		got, err := parseName(typed, member)
		if refused, no := want.(error); no {
			_, e := f.validator(t, Config{}).Validate(t.Context(), check.Check)
			if !errors.Is(err, refused) || !errors.Is(e, refused) || !errors.Is(e, directory.ErrUnusable) || unjudged(t, e).Code != wire.PasswordUnusable || unjudged(t, e).Fenced ||
				check.Fences.Load() != 0 || len(f.calls()) != 0 {
				t.Errorf("%q: %+v, %v, %v", typed, got, err, e)
			}
		} else if err != nil || got != want {
			t.Errorf("%q: %+v, %v", typed, got, err)
		}
	}
}

func TestNothingIsSent(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	for _, c := range []struct {
		name   string
		ctx    context.Context
		change func(*fake, *asking, *Validator)
		code   wire.Code
		fences int32
	}{
		{"empty password", t.Context(), func(_ *fake, a *asking, _ *Validator) { a.Password = wire.NewSecret(nil) }, wire.PasswordUnusable, 0},
		{"NUL in it", t.Context(), func(_ *fake, a *asking, _ *Validator) { a.Password = wire.NewSecret([]byte("a\x00")) }, wire.PasswordUnusable, 0},
		{"not UTF-8", t.Context(), func(_ *fake, a *asking, _ *Validator) { a.Password = wire.NewSecret([]byte("a\xed\xa0\x80")) }, wire.PasswordUnusable, 0},
		{"fence refused", t.Context(), func(_ *fake, a *asking, _ *Validator) {
			a.Fence = func(context.Context) error { a.Fences.Add(1); return os.ErrDeadlineExceeded }
		}, wire.TransientNetwork, 1},
		{"too late", cancelled, func(_ *fake, a *asking, _ *Validator) {
			a.Fence = func(context.Context) error { a.Fences.Add(1); cancel(); return nil }
		}, wire.AgentTooSlow, 1},
		{"no domain controller", t.Context(), func(f *fake, _ *asking, _ *Validator) { f.noDC = refusal(1355) }, wire.DirectoryUnreachable, 0},
		{"a domain controller of a domain of the same name", t.Context(), func(f *fake, _ *asking, _ *Validator) { f.guid = aliceGUID }, wire.DirectoryUnreachable, 0},
		{"another directory", t.Context(), func(_ *fake, _ *asking, v *Validator) {
			v.Expect(directory.Domain{NamingContext: member.NamingContext, GUID: aliceGUID, SID: domainSID})
		}, wire.DirectoryUnusable, 0},
		{"Windows that cannot be checked", t.Context(), func(f *fake, _ *asking, v *Validator) {
			v.sound, f.mute = false, refusal(1311)
		}, wire.DirectoryUnreachable, 0},
	} {
		f := newFake()
		v, check := f.validator(t, Config{}), ask("alice@corp.example", right)
		if err := v.SelfCheck(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.change(f, check, v)
		_, err := v.Validate(c.ctx, check.Check)
		if e := unjudged(t, err); e.Code != c.code || e.Fenced || check.Fences.Load() != c.fences || len(f.calls()) != 0 {
			t.Errorf("%s: %+v, %d fences, %d calls", c.name, e, check.Fences.Load(), len(f.calls()))
		}
		if len(v.slots) != 0 {
			t.Errorf("%s: a slot is kept", c.name)
		}
	}
}

// A host that says yes to a made-up name checks nobody, at once and for good; one that cannot judge is asked again.
func TestSelfCheck(t *testing.T) {
	f := newFake()
	f.guest = domainSID + "-501"
	v := f.validator(t, Config{})
	for range 2 {
		if err := v.SelfCheck(t.Context()); !errors.Is(err, ErrCredulous) {
			t.Fatal(err)
		}
	}
	if err := v.Run(t.Context()); !errors.Is(err, ErrCredulous) || !strings.HasPrefix(err.Error(), "90120: ") {
		t.Error(err)
	}
	check := ask("alice@corp.example", right)
	_, err := v.Validate(t.Context(), check.Check)
	if e := unjudged(t, err); e.Code != wire.HostCredulous || e.Fenced || check.Fences.Load() != 0 || len(f.calls()) != 0 || len(f.buffers) != 1 || !f.wiped() {
		t.Errorf("%+v, %d fences, %d calls", e, check.Fences.Load(), len(f.buffers))
	}

	f = newFake()
	v = f.validator(t, Config{})
	f.mute = refusal(1311)
	if err := v.SelfCheck(t.Context()); err == nil || errors.Is(err, ErrCredulous) || !errors.Is(err, refusal(1311)) || v.Status().Sound || v.Status().LastError == "" {
		t.Errorf("%v, %+v", err, v.Status())
	}
	f.mute = nil
	for range 2 {
		if err := v.SelfCheck(t.Context()); err != nil || !v.Status().Sound || len(f.buffers) != 2 {
			t.Errorf("%v, %+v, asked %d times", err, v.Status(), len(f.buffers))
		}
	}
}

func TestProve(t *testing.T) {
	f := newFake()
	v := f.validator(t, Config{})
	d, err := v.Prove(t.Context())
	if err != nil || !d.Is(member.Domain) || d.DC != "dc1.corp.example" || len(f.buffers) != 0 {
		t.Errorf("%+v, %v", d, err)
	}
	v.Expect(d)
	if _, err := v.Validate(t.Context(), ask("alice@corp.example", right).Check); err != nil {
		t.Error(err)
	}
	v.Expect(directory.Domain{NamingContext: "DC=other,DC=example", GUID: aliceGUID, SID: "S-1-5-21-1-2-3"})
	if _, err := v.Validate(t.Context(), ask("alice@corp.example", right).Check); unjudged(t, err).Code != wire.DirectoryUnusable || len(f.calls()) != 1 {
		t.Error(err)
	}
	v.Expect(d) // the service forgot the other
	if _, err := v.Validate(t.Context(), ask("alice@corp.example", right).Check); err != nil {
		t.Error(err)
	}
	f.noDC = refusal(1355)
	if d, err := v.Prove(t.Context()); err == nil || v.Status().LastError == "" || v.Status().DC != "dc1.corp.example" {
		t.Errorf("%+v, %+v", d, v.Status())
	}
}

// Names that raise doubts about a domain controller have Windows look for another one now and then only, and put nothing out of use.
func TestDoubts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.said = map[string]error{"alice@corp.example": refusal(1311)}
		v := f.validator(t, Config{})
		for range 4 {
			_, err := v.Validate(t.Context(), ask("alice@corp.example", right).Check)
			if e := unjudged(t, err); !e.Fenced || v.Status().LastError != "" {
				t.Errorf("%+v, %+v", e, v.Status())
			}
		}
		time.Sleep(forceEvery)
		_, _ = v.Validate(t.Context(), ask("alice@corp.example", right).Check)
		if want := []bool{false, true, false, false, true}; !slices.Equal(f.anew, want) {
			t.Errorf("by force: %v, want %v", f.anew, want)
		}
		f.noDC = refusal(1355)
		time.Sleep(forceEvery)
		_, err := v.Validate(t.Context(), ask("bob@corp.example", right).Check)
		if e := unjudged(t, err); e.Fenced || e.Code != wire.DirectoryUnreachable || !f.anew[5] || v.Status().LastError == "" {
			t.Errorf("%+v, %v, %+v", e, f.anew, v.Status())
		}
	})
}

// A call that Windows does not answer is an honest "may have counted"; it keeps its slot, and what comes after the last slot is turned away unsent.
func TestCallsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.hang = make(chan struct{})
		v := f.validator(t, Config{Concurrency: 2})
		began := time.Now()
		for range 2 {
			_, err := v.Validate(t.Context(), ask("alice@corp.example", right).Check)
			if e := unjudged(t, err); e.Code != wire.DirectoryTimeout || !e.Fenced || !errors.Is(e, errLate) {
				t.Errorf("%+v", e)
			}
		}
		if took := time.Since(began); took != 2*defaultAnswerTimeout {
			t.Errorf("took %s", took)
		}
		began = time.Now()
		check := ask("alice@corp.example", right)
		_, err := v.Validate(t.Context(), check.Check)
		if e := unjudged(t, err); e.Code != wire.DirectoryUnreachable || e.Fenced || check.Fences.Load() != 0 || !errors.Is(e, errSlots) || time.Since(began) != beforeFence {
			t.Errorf("%+v after %s", e, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Validate(ctx, check.Check); unjudged(t, err).Code != wire.AgentTooSlow {
			t.Error(err)
		}
		if len(f.calls()) != 2 || f.most.Load() != 2 {
			t.Errorf("%d calls, %d at once", len(f.calls()), f.most.Load())
		}
		close(f.hang)
		synctest.Wait()
		if !f.wiped() || len(v.slots) != 0 {
			t.Error("what hung has come back and left something")
		}
		if r, err := v.Validate(t.Context(), check.Check); err != nil || !r.Verdict.Reason.Right() {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// Run asks until Windows has refused a made-up name, and keeps its eye on the domain controllers.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.noDC, f.mute = refusal(1355), refusal(1311)
		v := f.validator(t, Config{})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- v.Run(ctx) }()
		synctest.Wait()
		if s := v.Status(); s.Sound || s.LastError == "" || s.Domain != "corp.example" {
			t.Errorf("%+v", s)
		}
		f.change(func() { f.mute = nil })
		time.Sleep(lookEvery)
		synctest.Wait()
		if s := v.Status(); !s.Sound || !strings.Contains(s.LastError, "no domain controller") {
			t.Errorf("%+v", s)
		}
		f.change(func() { f.noDC = nil })
		time.Sleep(lookEvery)
		synctest.Wait()
		if s := v.Status(); !s.Sound || s.LastError != "" || s.DC != "dc1.corp.example" {
			t.Errorf("%+v", s)
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// teller plays LDAP.
type teller struct {
	names []string
	err   error
}

func (l *teller) Attributes(_ context.Context, c directory.Check) (*wire.Attributes, error) {
	l.names = append(l.names, c.Name+" "+string(c.Password.Reveal()))
	if l.err != nil {
		return nil, l.err
	}
	return &wire.Attributes{Anchor: aliceGUID, UPN: c.Name, Groups: []string{"Staff"}}, nil
}

// A yes whose owner is not told is handed on as such: the service lets nobody in.
func TestWhose(t *testing.T) {
	check := ask("alice@corp.example", right)
	check.WantAttributes = true
	for _, n := range []names{{}, {unique: "{00000000-0000-0000-0000-000000000000}", upn: "a@b"}, {unique: aliceGUID, upn: "a@b"}, {unique: "{" + aliceGUID + "}"},
		{unique: "{" + aliceGUID + "}", account: "alice"}, {unique: "{" + aliceGUID + "}", account: `CORP\`}, {unique: "urn:uuid:" + aliceGUID, upn: "a@b"}, {unique: "(" + aliceGUID + ")", upn: "a@b"},
		{unique: "{" + aliceGUID + "}", upn: strings.Repeat("a", maxText+1)}, {unique: "{" + aliceGUID + "}", upn: "\xff@b"}} {
		f := newFake()
		f.called = n
		r, err := f.validator(t, Config{}).Validate(t.Context(), check.Check)
		if err != nil || !r.Verdict.Reason.Right() || r.Verdict.Attributes != nil || !strings.HasPrefix(r.Verdict.Diagnostic, "identity not proven: ") {
			t.Errorf("%+v: %+v, %v", n, r, err)
		}
	}
	f := newFake() // no explicit userPrincipalName: the implicit one
	f.called = names{unique: "{" + strings.ToUpper(aliceGUID) + "}", account: `CORP\alice`}
	r, err := f.validator(t, Config{}).Validate(t.Context(), check.Check)
	if a := r.Verdict.Attributes; err != nil || a == nil || a.Anchor != aliceGUID || a.UPN != "alice@corp.example" || a.DisplayName != "" {
		t.Errorf("%+v, %v", r, err)
	}

	f, l := newFake(), &teller{}
	v := f.validator(t, Config{Attributes: l})
	r, err = v.Validate(t.Context(), check.Check)
	if a := r.Verdict.Attributes; err != nil || a == nil || !slices.Equal(a.Groups, []string{"Staff"}) || len(f.asked) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := v.Validate(t.Context(), ask("alice@corp.example", "wrong").Check); err != nil || !slices.Equal(l.names, []string{"alice@corp.example " + right}) {
		t.Errorf("%v, %q", err, l.names)
	}
	l.err = errors.New("LDAP says no")
	if r, err = v.Validate(t.Context(), check.Check); err != nil || r.Verdict.Attributes != nil || r.Verdict.Diagnostic != "identity not proven: LDAP says no" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestWide(t *testing.T) {
	for text, want := range map[string][]uint16{
		"":        {0},
		"aö€":     {'a', 0xf6, 0x20ac, 0},
		"🐎":       {0xd83d, 0xdc0e, 0},
		"o\u0308": {'o', 0x308, 0}, // not composed: Windows would take ö for another password
		"\ufffd":  {0xfffd, 0},
	} {
		got, err := wide([]byte(text))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %x, %v", text, got, err)
		}
		if cap(got) > len(text)+1 {
			t.Errorf("%q: the buffer has grown: another copy was made", text)
		}
	}
	for _, bad := range []string{"\xff", "\xed\xa0\x80", "a\xc3"} {
		if _, err := wide([]byte(bad)); !errors.Is(err, errUTF8) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestNamingContext(t *testing.T) {
	for dns, want := range map[string]string{"corp.example": "DC=corp,DC=example", "corp.example.": "DC=corp,DC=example", "corp": "DC=corp", "": ""} {
		if got := namingContext(dns); got != want {
			t.Errorf("%q: %q", dns, got)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []Config{{Concurrency: -1}, {AnswerTimeout: -1}} {
		if _, err := newOn(newFake(), c); err == nil {
			t.Errorf("%+v", c)
		}
	}
}

// counter is a guard that counts attempts that are under way, and refuses when it is told to.
type counter struct {
	running int
	asked   []string
	refuses *directory.Error
}

func (c *counter) Admit(_ context.Context, dc string, check directory.Check) (func(), *directory.Error) {
	c.asked = append(c.asked, dc+" "+check.Name)
	if c.refuses != nil {
		return nil, c.refuses
	}
	c.running++
	return func() { c.running-- }, nil
}

// The guard is asked before the fence, and told when the attempt is over: whether it was made or not, and not before Windows has answered.
func TestGuardIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g := newFake(), &counter{}
		v := f.validator(t, Config{Guard: g})
		check := ask("alice@corp.example", right)
		if r, err := v.Validate(t.Context(), check.Check); err != nil || !r.Verdict.Reason.Right() || g.running != 0 || !slices.Equal(g.asked, []string{"dc1.corp.example alice@corp.example"}) {
			t.Errorf("%+v, %v, %+v", r, err, g)
		}
		refused := ask("alice@corp.example", right)
		refused.Fence = func(context.Context) error { return os.ErrDeadlineExceeded }
		if _, err := v.Validate(t.Context(), refused.Check); unjudged(t, err).Code != wire.TransientNetwork || g.running != 0 {
			t.Errorf("%v, %+v", err, g)
		}
		f.hang = make(chan struct{})
		if _, err := v.Validate(t.Context(), check.Check); unjudged(t, err).Code != wire.DirectoryTimeout || g.running != 1 {
			t.Errorf("%v, %+v", err, g)
		}
		close(f.hang)
		synctest.Wait()
		if g.running != 0 {
			t.Errorf("%+v", g)
		}
		calls := len(f.calls())
		g.refuses = &directory.Error{Code: wire.LockoutSpared, Cause: errors.New("spared")}
		if _, err := v.Validate(t.Context(), check.Check); unjudged(t, err).Code != wire.LockoutSpared || unjudged(t, err).Fenced || check.Fences.Load() != 2 || len(f.calls()) != calls || !f.wiped() {
			t.Errorf("%v, %d fences", err, check.Fences.Load())
		}
	})
}

// What strangers type never becomes a question about an account of this computer, nor another text than was typed; what domain controllers tell never becomes
// an owner without a GUID.
func FuzzNames(f *testing.F) {
	f.Add("alice@corp.example", "{"+aliceGUID+"}", `CORP\alice`)
	f.Add(`CORP\alice`, "", "alice")
	f.Add("administrator@AGENT1", "{00000000-0000-0000-0000-000000000000}", "")
	f.Add(" al\xffice@corp.example", "{"+aliceGUID, `\`)
	f.Fuzz(func(t *testing.T, typed, unique, told string) {
		if who, err := parseName(typed, member); err == nil {
			whole := who.user
			if who.domain != "" {
				whole = who.domain + `\` + who.user
				if !strings.EqualFold(who.domain, member.DNS) && !strings.EqualFold(who.domain, member.NetBIOS) {
					t.Errorf("%q: the domain %q", typed, who.domain)
				}
			} else if i := strings.LastIndexByte(who.user, '@'); i <= 0 || slices.ContainsFunc(member.Computer, func(c string) bool { return strings.EqualFold(c, who.user[i+1:]) }) {
				t.Errorf("%q: the name %q", typed, who.user)
			}
			if whole != strings.TrimSpace(typed) || who.user == "" {
				t.Errorf("%q became %q", typed, whole)
			}
		}
		if w, err := wide([]byte(typed)); err == nil && (string(utf16.Decode(w)) != typed+"\x00" || cap(w) > len(typed)+1) {
			t.Errorf("%q became %x", typed, w)
		}
		a, err := names{unique: unique, account: told}.attributes(member)
		if err != nil {
			return
		}
		if id, err := uuid.Parse(a.Anchor); err != nil || id == uuid.Nil || a.Anchor != id.String() || !strings.EqualFold(unique, "{"+a.Anchor+"}") || len(a.UPN) > maxText {
			t.Errorf("%q, %q: %+v", unique, told, a)
		}
	})
}
