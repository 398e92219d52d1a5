package signin

import (
	"errors"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func TestNext(t *testing.T) {
	later := noon.Add(time.Second)
	for _, c := range []struct {
		name string
		at   position
		e    event
		want state
		err  error
	}{
		{"a name", position{atName, 0, later}, named, atPassword, nil},
		{"no name", position{atName, 0, later}, misnamed, atName, nil},
		{"a password before a name", position{atName, 0, later}, posted, atName, errIllegal},
		{"a verdict before a name", position{atName, 0, later}, right, atName, errIllegal},
		{"another name", position{atPassword, 3, later}, named, atPassword, nil},
		{"another name, impossible", position{atPassword, 3, later}, misnamed, atName, nil},
		{"a password", position{atPassword, 0, later}, posted, atPassword, nil},
		{"right", position{atPassword, 1, later}, right, done, nil},
		{"right at the last attempt", position{atPassword, maxAttempts, later}, right, done, nil},
		{"wrong", position{atPassword, 1, later}, wrong, atPassword, nil},
		{"wrong, one before the last", position{atPassword, maxAttempts - 1, later}, wrong, atPassword, nil},
		{"wrong at the last attempt", position{atPassword, maxAttempts, later}, wrong, failed, nil},
		{"an outage ends nothing", position{atPassword, maxAttempts + 5, later}, unjudged, atPassword, nil},
		{"taken too early", position{atPassword, 1, later}, taken, atPassword, errIllegal},
		{"taken", position{done, 1, later}, taken, finished, nil},
		{"a name after the result", position{done, 1, later}, named, done, errIllegal},
		{"a second verdict", position{done, 1, later}, right, done, errIllegal},
		{"taken twice", position{finished, 1, later}, taken, finished, errEnded},
		{"after failure", position{failed, 1, later}, named, failed, errEnded},
		{"unknown state", position{"strange", 1, later}, named, "strange", errEnded},
		{"over", position{atPassword, 1, noon}, right, atPassword, errEnded},
		{"over, result waiting", position{done, 1, noon.Add(-time.Hour)}, taken, done, errEnded},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := next(c.at, c.e, noon)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("next(%v, %s) = %s, %v; want %s, %v", c.at, c.e, got, err, c.want, c.err)
			}
		})
	}
}

// Every state has a page or an end, and no event leads out of an end.
func TestEveryStateHasAPageOrAnEnd(t *testing.T) {
	later := noon.Add(time.Second)
	for s, want := range map[state]page{atName: namePage, atPassword: passwordPage, done: continuePage} {
		if p, err := pageOf(position{s, 0, later}, noon); err != nil || p != want {
			t.Errorf("page of %s is %q, %v; want %q", s, p, err, want)
		}
		if _, err := pageOf(position{s, 0, noon}, noon); !errors.Is(err, errEnded) {
			t.Errorf("an expired journey at %s still has a page: %v", s, err)
		}
	}
	for _, s := range []state{finished, failed, "strange"} {
		if _, err := pageOf(position{s, 0, later}, noon); !errors.Is(err, errEnded) {
			t.Errorf("%s has a page: %v", s, err)
		}
		for _, e := range []event{named, misnamed, posted, right, wrong, unjudged, taken} {
			if got, err := next(position{s, 0, later}, e, noon); got != s || !errors.Is(err, errEnded) {
				t.Errorf("%s leads from %s to %s, %v", e, s, got, err)
			}
		}
	}
}

func TestJudgePost(t *testing.T) {
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	for _, c := range []struct {
		name           string
		form, attempts int
		settled        time.Time
		want           verdict
	}{
		{"first", 0, 0, time.Time{}, fresh},
		{"next after a wrong one", 1, 1, ago(time.Millisecond), fresh},
		{"a program without numbers", -1, 4, ago(time.Millisecond), fresh},
		{"second click, first under way", 0, 1, time.Time{}, waiting},
		{"second click, first just settled", 0, 1, ago(time.Second), repeated},
		{"old page from the history", 0, 1, ago(repeatWithin), fresh},
		{"older page from the history", 0, 5, ago(time.Minute), fresh},
		{"the page after a process died", 1, 1, time.Time{}, fresh},
		{"from the future", 2, 1, ago(time.Minute), forged},
	} {
		if got := judgePost(c.form, c.attempts, c.settled, noon); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
