package people

import (
	"testing"

	"github.com/sallyport-auth/sallyport/wire"
)

func TestEverybodyCoversEveryState(t *testing.T) {
	seen := map[State]bool{}
	names := map[string]bool{}
	for _, p := range Everybody("corp.example.com") {
		if !p.State.Known() {
			t.Errorf("%s: state %q is not known", p.SAM, p.State)
		}
		if p.UPN != p.SAM+"@corp.example.com" || p.CN() == p.SAM || len(p.SAM) > 20 {
			t.Errorf("%s: upn %q, cn %q", p.SAM, p.UPN, p.CN())
		}
		if names[p.SAM] {
			t.Errorf("%s stands twice", p.SAM)
		}
		names[p.SAM], seen[p.State] = true, true
	}
	for _, s := range States() {
		if !seen[s] {
			t.Errorf("nobody is in state %s", s)
		}
	}
}

func TestAnswers(t *testing.T) {
	for _, s := range States() {
		right, wrong := s.Answer(true), s.Answer(false)
		if !right.Known() || !wrong.Known() {
			t.Errorf("%s: answers %q and %q", s, right, wrong)
		}
		if right.Right() != (s == Normal) {
			t.Errorf("%s: the right password is answered with %s", s, right)
		}
		if wrong.ProvesPassword() {
			t.Errorf("%s: a wrong password is answered with %s, which tells of the account", s, wrong)
		}
	}
	if got := (Person{}).Answer(true); got != wire.Accepted {
		t.Errorf("the zero state answers %s", got)
	}
	if State("odd").Known() {
		t.Error("an odd state is known")
	}
}

func TestPasswordsAreIndependent(t *testing.T) {
	one, two := Everybody("a.example"), Everybody("a.example")
	one[0].Password.Wipe()
	if string(two[0].Password.Reveal()) != RightPassword || string(one[1].Password.Reveal()) != RightPassword {
		t.Error("wiping one password wiped another")
	}
}

func TestPairs(t *testing.T) {
	pairs := Pairs("corp.example.com")
	// Of the eight states other than normal any two go together, but one: 8·7/2 - 1.
	if len(pairs) != 27 {
		t.Errorf("%d pairs", len(pairs))
	}
	seen := map[[2]State]bool{}
	for _, p := range pairs {
		one, two := [2]State{p.State, p.Also}, [2]State{p.Also, p.State}
		if !p.Possible() || seen[one] || seen[two] || !p.In(p.State) || !p.In(p.Also) || p.In(Normal) || p.UPN != p.SAM+"@corp.example.com" {
			t.Errorf("%+v", p)
		}
		seen[one] = true
		for _, right := range []bool{true, false} {
			if a := p.Answer(right); a != p.State.Answer(right) && a != p.Also.Answer(right) || a.Right() || a != Answer(right, p.Also, p.State) {
				t.Errorf("%s: answered with %s", p.DisplayName, a)
			}
		}
	}
	for _, p := range []Person{{State: MustChange, Also: PasswordExpired}, {State: Normal, Also: Locked}, {Also: Locked}, {State: Locked, Also: Locked}, {State: "odd"}, {State: Locked, Also: "odd"}} {
		if p.Possible() {
			t.Errorf("%v can be at once", p.States())
		}
	}
}
