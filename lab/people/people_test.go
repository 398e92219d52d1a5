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
