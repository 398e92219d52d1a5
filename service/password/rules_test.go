package password

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestWhatReasonsMean(t *testing.T) {
	for _, test := range []struct {
		reason      wire.Reason
		code, shown wire.Code
	}{
		{wire.Accepted, 0, 0},
		{wire.BadPassword, 50126, 50126},
		{wire.NoSuchUser, 50126, 50126},
		{wire.AccountLocked, 50053, 50126},
		{wire.AccountRestricted, 90050, 50126},
		{wire.AccountDisabled, 50057, 50126},
		{wire.AccountExpired, 90051, 50126},
		{wire.PasswordExpired, 50144, 50144},
		{wire.MustChange, 50144, 50144},
		{wire.LogonHours, 80012, 80012},
		{wire.Workstation, 90052, 90052},
		{wire.TooManyGroups, 80003, 50126},
	} {
		m, ok := Means(test.reason)
		if !ok || m.Code != test.code || m.Shown != test.shown {
			t.Errorf("%s: %+v, %v", test.reason, m, ok)
		}
		if m.Shown != 0 && m.Shown != wire.InvalidPassword && !test.reason.ProvesPassword() {
			t.Errorf("%s is shown to people who need not know the password", test.reason)
		}
		for _, c := range []wire.Code{m.Code, m.Shown} {
			if _, known := wire.Lookup(c); c != 0 && !known {
				t.Errorf("%s: %v is not in the catalogue", test.reason, c)
			}
		}
	}
	if _, ok := Means("brand_new"); ok {
		t.Error("an unknown reason has a meaning")
	}
}

func TestNext(t *testing.T) {
	const plenty = overall
	for _, test := range []struct {
		name  string
		known Known
		want  Step
	}{
		{"answered", Known{Event: Answered, Tries: 1, Left: plenty}, Step{Judge, 0}},
		{"answered at the last moment", Known{Event: Answered, Tries: 3}, Step{Judge, 0}},
		{"answered by the second after a loss", Known{Event: Answered, Tries: 2, Binds: 1, Left: plenty}, Step{Judge, 0}},

		{"refused", Known{Event: Refused, Code: wire.EnvelopeStale, Tries: 1, Left: plenty}, Step{Again, wire.EnvelopeStale}},
		{"refused by the third", Known{Event: Refused, Code: wire.EnvelopeStale, Tries: 3, Left: plenty}, Step{GiveUp, wire.EnvelopeStale}},
		{"refused without time", Known{Event: Refused, Code: wire.AgentRateLimited, Tries: 1, Left: leastTry - 1}, Step{GiveUp, wire.AgentRateLimited}},
		{"the guard spends nothing", Known{Event: TroubleUnfenced, Code: wire.LockoutSpared, Tries: 1, Left: plenty, Spare: true}, Step{Withhold, wire.LockoutSpared}},
		{"several accounts of the name", Known{Event: TroubleUnfenced, Code: wire.NameAmbiguous, Tries: 1, Left: plenty}, Step{Withhold, wire.NameAmbiguous}},
		{"held back", Known{Event: Held, Tries: 1, Left: plenty, Spare: true}, Step{Withhold, wire.AccountLockedOut}},
		{"held back at a second, after a loss", Known{Event: Held, Tries: 2, Binds: 1, Left: plenty, Spare: true}, Step{Withhold, wire.AccountLockedOut}},
		{"an agent says held back, and the service does not", Known{Event: TroubleUnfenced, Code: wire.AccountLockedOut, Tries: 1, Left: plenty}, Step{Again, wire.DirectoryUnreachable}},
		{"a protected account", Known{Event: TroubleUnfenced, Code: wire.AccountProtected, Tries: 1, Left: plenty}, Step{Withhold, wire.AccountProtected}},
		{"the guard of a second, after a loss", Known{Event: TroubleUnfenced, Code: wire.LockoutSpared, Tries: 2, Binds: 1, Left: plenty, Spare: true}, Step{Withhold, wire.LockoutSpared}},
		{"the guard's number from somebody who is no agent", Known{Event: Refused, Code: wire.LockoutSpared, Tries: 1, Left: plenty}, Step{Again, wire.AgentRefused}},
		{"the guard's number after the fence", Known{Event: TroubleFenced, Code: wire.LockoutSpared, Tries: 1, Binds: 1, Left: plenty}, Step{GiveUp, wire.DirectoryTimeout}},
		{"the guard may not look", Known{Event: TroubleUnfenced, Code: wire.ReaderRefused, Tries: 1, Left: plenty}, Step{Again, wire.DirectoryUnreachable}},
		{"refused without a number", Known{Event: Refused, Tries: 3}, Step{GiveUp, wire.AgentRefused}},
		{"refused with a number that speaks of the password", Known{Event: Refused, Code: wire.InvalidPassword, Tries: 3}, Step{GiveUp, wire.AgentRefused}},
		{"refused with a number that nobody knows", Known{Event: Refused, Code: 12345, Tries: 3}, Step{GiveUp, wire.AgentRefused}},
		{"refused with a number within ours that nobody knows", Known{Event: Refused, Code: 80009, Tries: 3}, Step{GiveUp, wire.AgentRefused}},
		{"refused with a number that is ours to give", Known{Event: Refused, Code: wire.VerdictsDisagree, Tries: 3}, Step{GiveUp, wire.AgentRefused}},
		{"refused: draining", Known{Event: Refused, Code: wire.GatewayDraining, Tries: 3}, Step{GiveUp, wire.GatewayDraining}},
		{"refused as unusable", Known{Event: Refused, Code: wire.PasswordUnusable, Tries: 3}, Step{GiveUp, wire.AgentRefused}},

		{"lost before the fence", Known{Event: LostBeforeFence, Tries: 1, Left: plenty}, Step{Again, wire.TransientNetwork}},
		{"lost before the fence, with just enough time", Known{Event: LostBeforeFence, Tries: 2, Left: leastTry}, Step{Again, wire.TransientNetwork}},
		{"lost before the fence three times", Known{Event: LostBeforeFence, Tries: 3, Left: plenty}, Step{GiveUp, wire.TransientNetwork}},

		{"trouble before the fence", Known{Event: TroubleUnfenced, Code: wire.DirectoryUnreachable, Tries: 1, Left: plenty}, Step{Again, wire.DirectoryUnreachable}},
		{"trouble before the fence, no time", Known{Event: TroubleUnfenced, Code: wire.ClockSkew, Tries: 1}, Step{GiveUp, wire.ClockSkew}},
		{"trouble before the fence that looks like a verdict", Known{Event: TroubleUnfenced, Code: wire.OutsideLogonHours, Tries: 3}, Step{GiveUp, wire.DirectoryUnreachable}},

		{"trouble after the fence", Known{Event: TroubleFenced, Code: wire.DirectoryTimeout, Tries: 1, Binds: 1, Left: plenty, Spare: true}, Step{GiveUp, wire.DirectoryTimeout}},
		{"trouble after the fence that looks like a verdict", Known{Event: TroubleFenced, Code: wire.AccountLockedOut, Tries: 1, Binds: 1, Left: plenty, Spare: true}, Step{GiveUp, wire.DirectoryTimeout}},

		{"lost after the fence, with budget", Known{Event: LostAfterFence, Tries: 1, Binds: 1, Left: plenty, Spare: true}, Step{Again, wire.LostAfterFence}},
		{"lost after the fence, without", Known{Event: LostAfterFence, Tries: 1, Binds: 1, Left: plenty}, Step{GiveUp, wire.LostAfterFence}},
		{"lost after the fence, without time", Known{Event: LostAfterFence, Tries: 1, Binds: 1, Left: time.Second, Spare: true}, Step{GiveUp, wire.LostAfterFence}},
		{"lost after the fence twice", Known{Event: LostAfterFence, Tries: 2, Binds: 2, Left: plenty, Spare: true}, Step{GiveUp, wire.LostAfterFence}},
		{"refused after one was lost behind the fence", Known{Event: Refused, Code: wire.EnvelopeStale, Tries: 2, Binds: 1, Left: plenty, Spare: true}, Step{Again, wire.LostAfterFence}},
		{"the same, and the budget is gone", Known{Event: Refused, Code: wire.EnvelopeStale, Tries: 2, Binds: 1, Left: plenty}, Step{GiveUp, wire.LostAfterFence}},

		{"forged", Known{Event: Forged, Tries: 1, Left: plenty, Spare: true}, Step{GiveUp, wire.AnswerForged}},
		{"nothing that is known", Known{Tries: 3}, Step{GiveUp, wire.TransientNetwork}},
	} {
		if got := Next(test.known); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

// TestTroubleSpeaksToPeople: what an agent may say of itself is told to a person, who must not take it for a verdict, and is no agent.
func TestTroubleSpeaksToPeople(t *testing.T) {
	verdict, _ := wire.Lookup(wire.InvalidPassword)
	agent, _ := wire.Lookup(wire.AgentRevoked)
	for _, e := range wire.Catalogue() {
		if troubleCode(e.Code, 0) == e.Code && (e.Public == verdict.Public || e.Public == agent.Public) {
			t.Errorf("%d is told as %q", e.Code, e.Public)
		}
	}
}

// TestNoSequenceBindsTwiceUnallowed plays any sequence of events against the rule, counting what a directory may have counted.
func TestNoSequenceBindsTwiceUnallowed(t *testing.T) {
	events := []Event{Refused, LostBeforeFence, LostAfterFence, TroubleUnfenced, TroubleFenced, Forged, Answered}
	rapid.Check(t, func(t *rapid.T) {
		known, left := Known{}, overall
		allowed := 1 // binds that may count so far
		counted := 0
		for tries := 1; ; tries++ {
			if tries > maxTries {
				t.Fatalf("a try number %d", tries)
			}
			known.Event = rapid.SampledFrom(events).Draw(t, "event")
			known.Code = wire.Code(rapid.SampledFrom([]int{0, 50126, 50053, 80001, 80002, 80007, 80012, 90030, 90034, 90052, 7}).Draw(t, "code"))
			known.Tries = tries
			left -= time.Duration(rapid.Int64Range(0, int64(8*time.Second)).Draw(t, "took"))
			known.Left = left
			switch known.Event {
			case LostAfterFence, TroubleFenced:
				known.Binds++
				counted++
			case Answered, Forged:
				counted++
			}
			if counted > allowed {
				t.Fatalf("%d attempts may have counted, %d were allowed", counted, allowed)
			}
			if counted > maxBinds {
				t.Fatalf("%d attempts may have counted", counted)
			}
			known.Spare = rapid.Bool().Draw(t, "spare")
			step := Next(known)
			switch step.Do {
			case Judge:
				if known.Event != Answered || step.Code != 0 {
					t.Fatalf("%+v judged %+v", known, step)
				}
				return
			case GiveUp, Again:
				if !slices.Contains([]wire.Code{80001, 80002, 80005, 80007, 90020, 90022, 90023, 90030}, step.Code) {
					t.Fatalf("%+v ends with %v, which is no trouble on the way", known, step.Code)
				}
				if step.Do == GiveUp {
					return
				}
			default:
				t.Fatalf("no action: %+v", step)
			}
			if known.Left < leastTry {
				t.Fatalf("another try with %v left", known.Left)
			}
			if known.Binds > 0 {
				if !known.Spare {
					t.Fatal("a second attempt without budget")
				}
				allowed = known.Binds + 1
			}
		}
	})
}

func TestSpare(t *testing.T) {
	for _, test := range []struct {
		failures, binds, threshold int
		want                       bool
	}{
		{0, 1, 10, true}, {3, 1, 10, true}, {4, 1, 10, false}, {9, 1, 10, false}, {0, 1, 3, false}, {0, 1, 4, true}, {0, 1, 2, false}, {0, 1, 0, false}, {0, 2, 10, true},
	} {
		if got := spare(test.failures, test.binds, test.threshold); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// Numbers that speak of trouble on the way are kept, whatever else an agent says is not.
func TestTroubleCode(t *testing.T) {
	for c, kept := range map[wire.Code]bool{
		wire.NoAgent: true, wire.AgentTooSlow: true, wire.LostAfterFence: true, wire.AgentRateLimited: true, wire.GatewayDraining: true, wire.NameNotLookedUp: true,
		wire.OutsideLogonHours: false, wire.InvalidPassword: false, wire.AccountLockedOut: false, wire.NoAgent - 1: false, wire.AgentTooSlow + 1: false,
		wire.LostAfterFence - 1: false, 80009: false, 0: false, -1: false,
	} {
		want := wire.DirectoryTimeout
		if kept {
			want = c
		}
		if got := troubleCode(c, wire.DirectoryTimeout); got != want {
			t.Errorf("%d became %d", c, got)
		}
	}
}

func TestText(t *testing.T) {
	for said, want := range map[string]string{
		"":                                       "",
		" a\x00b\n\xffc\u202ed ":                 "a b  c d",
		"\ufffd":                                 "",
		"é✓":                                     "é✓",
		strings.Repeat("a", maxText):             strings.Repeat("a", maxText),
		strings.Repeat("a", maxText+1):           strings.Repeat("a", maxText),
		"a" + strings.Repeat("é", maxText):       "a" + strings.Repeat("é", maxText/2-1),
		strings.Repeat("\x00", maxText-1) + "ab": "a",
	} {
		if got := text(said); got != want {
			t.Errorf("%.40q became %.40q, want %.40q", said, got, want)
		}
	}
}

func TestWantAttributes(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	ada := user.User{ID: "1", Source: user.Synced, DirectoryID: "corp", Anchor: "a", AttributesAt: now.Add(1 - confirmedFor)}
	change := func(f func(*user.User)) user.User {
		u := ada
		f(&u)
		return u
	}
	for _, test := range []struct {
		name  string
		known user.User
		want  bool
	}{
		{"unknown", user.User{}, true},
		{"made by hand", change(func(u *user.User) { u.Anchor = "" }), true},
		{"of another directory", change(func(u *user.User) { u.DirectoryID = "branch" }), true},
		{"confirmed a moment ago", ada, false},
		{"an administrator, confirmed a moment ago", change(func(u *user.User) { u.Role = user.Administrator }), true},
		{"confirmed just now", change(func(u *user.User) { u.AttributesAt = now }), false},
		{"confirmed a while ago", change(func(u *user.User) { u.AttributesAt = now.Add(-confirmedFor) }), true},
		{"never confirmed", change(func(u *user.User) { u.AttributesAt = time.Time{} }), true},
		{"confirmed in the future", change(func(u *user.User) { u.AttributesAt = now.Add(1) }), true},
	} {
		if got := wantAttributes(test.known, "corp", now); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct{ typed, name, form, domain string }{
		{"ada@corp.example", "ada@corp.example", formUPN, "corp.example"},
		{"  Ada@Corp.Example \t", "Ada@corp.example", formUPN, "corp.example"},
		{"a@b@corp.example", "", formUnusable, ""},
		{`CORP\ada`, `CORP\ada`, formDownLevel, ""},
		{"ada", "ada", formBare, ""},
		{"@corp.example", "@corp.example", formBare, ""},
		{"ada@", "ada@", formBare, ""},
		{"", "", formUnusable, ""},
		{"   ", "", formUnusable, ""},
		{"a\x00@corp.example", "", formUnusable, ""},
		{"a\n@corp.example", "", formUnusable, ""},
		{"\xff@corp.example", "", formUnusable, ""},
		{strings.Repeat("a", maxName) + "@corp.example", "", formUnusable, ""},
		{strings.Repeat("a", maxName+1), "", formUnusable, ""},
		{strings.Repeat("a", maxName), strings.Repeat("a", maxName), formBare, ""},
	} {
		if name, form, domain := nameOf(test.typed); name != test.name || form != test.form || domain != test.domain {
			t.Errorf("%q: %q %q %q", test.typed, name, form, domain)
		}
	}
}

func TestUnusablePasswords(t *testing.T) {
	for _, test := range []struct {
		password string
		want     bool
	}{
		{"", true}, {"a\x00b", true}, {"\x00", true}, {strings.Repeat("a", maxPassword+1), true},
		{" ", false}, {"a", false}, {strings.Repeat("ä", maxPassword/2), false}, {"\xff", false},
	} {
		if got := unusable(wire.NewSecret([]byte(test.password))); got != test.want {
			t.Errorf("%.10q of %d: %v", test.password, len(test.password), got)
		}
	}
}

func TestEventsHaveWords(t *testing.T) {
	seen := map[string]bool{}
	for e := Refused; e <= Answered; e++ {
		if w := e.String(); w == "unknown" || seen[w] {
			t.Errorf("%d: %q", e, w)
		} else {
			seen[w] = true
		}
	}
	if Event(0).String() != "unknown" {
		t.Error("the zero event has a word")
	}
}

func FuzzTexts(f *testing.F) {
	f.Add("ada@corp.example")
	f.Add("data 52e\x1b[31m")
	f.Add(strings.Repeat("é", 300))
	f.Fuzz(func(t *testing.T, s string) {
		if line := text(s); len(line) > maxText || strings.ContainsAny(line, "\x00\n\r\x1b") || text(line) != line {
			t.Errorf("%q", line)
		}
		if name, form, domain := nameOf(s); len(name) > maxName || (form == formUPN) != (domain != "") || !strings.HasSuffix(name, domain) {
			t.Errorf("%q: %q %q %q", s, name, form, domain)
		}
	})
}
