package fleet

import "testing"

func TestMisordered(t *testing.T) {
	for _, test := range []struct {
		guard   *GuardReport
		service int
		wrong   bool
	}{
		{nil, 4, false},
		{&GuardReport{State: "off"}, 4, false},
		{&GuardReport{Strictest: 3}, 4, false}, // as read once, and not known now
		{&GuardReport{Known: true, Strictest: -1}, 4, false},
		{&GuardReport{Known: true}, 4, false}, // never locks
		{&GuardReport{Known: true, Threshold: 10, Strictest: 10}, 4, false},
		{&GuardReport{Known: true, Threshold: 5, Strictest: 5}, 4, false},
		{&GuardReport{Known: true, Threshold: 4, Strictest: 4}, 4, true},
		{&GuardReport{Known: true, Threshold: 10, Strictest: 3}, 4, true}, // for some people
		{&GuardReport{Known: true, Strictest: 3}, 4, true},                // the domain itself never locks
		{&GuardReport{Known: true, Strictest: 3}, 0, false},               // a service whose threshold is not known
	} {
		if got := test.guard.Misordered(test.service); (got != "") != test.wrong {
			t.Errorf("%+v and %d: %q", test.guard, test.service, got)
		}
	}
}
