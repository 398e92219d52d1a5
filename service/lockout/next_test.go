package lockout

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// ten is the policy of these tests, with round numbers.
var ten = Policy{Threshold: 10, Duration: time.Minute, Window: 10 * time.Minute}

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// example returns a state that is in a phase at start.
func example(phase Phase) State {
	switch phase {
	case Counting:
		return State{Failures: 3, LastFailure: start.Add(-time.Minute)}
	case Locked:
		return State{Failures: 10, Lockouts: 1, LastFailure: start.Add(-time.Second), LockedUntil: start.Add(time.Minute)}
	case Probation:
		return State{Failures: 10, Lockouts: 1, LastFailure: start.Add(-time.Hour), LockedUntil: start.Add(-time.Minute)}
	}
	return State{}
}

var (
	phases = []Phase{Clear, Counting, Locked, Probation}
	events = []Event{Asked, Wrong, Right}
)

// TestDrawing holds the package comment to be true: every row of its table is what Next does, every pair of phase and event has a
// row, and the drawing shows every phase.
func TestDrawing(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	drawing, rest, ok := strings.Cut(string(text), "//\tfrom       event  to\n")
	if !ok {
		t.Fatal("the package comment has no table")
	}
	rows := map[string][]string{}
	for line := range strings.Lines(rest) {
		fields := strings.Fields(strings.TrimPrefix(strings.ReplaceAll(line, ",", ""), "//"))
		if len(fields) == 0 {
			break
		}
		rows[fields[0]+" "+fields[1]] = fields[2:]
	}
	for _, phase := range phases {
		if !strings.Contains(drawing, "│ "+string(phase)+" │") {
			t.Errorf("the drawing does not show %q", phase)
		}
		for _, event := range events {
			expected, ok := rows[string(phase)+" "+event.String()]
			if !ok {
				t.Errorf("the table has no row for %s, %s", phase, event)
				continue
			}
			delete(rows, string(phase)+" "+event.String())
			var got []string
			for _, s := range []State{example(phase), nearThreshold(phase)} {
				if in := s.Phase(ten, start); in != phase {
					t.Fatalf("the example of %s is %s", phase, in)
				}
				after, d := Next(s, event, ten, start)
				to := after.Phase(ten, start)
				if d.Locked != (to == Locked) || d.Locked && d.Until != after.LockedUntil {
					t.Errorf("%s, %s: %s with the decision %+v", phase, event, to, d)
				}
				got = append(got, string(to))
			}
			if got = slices.Compact(got); !slices.Equal(got, expected) {
				t.Errorf("%s, %s: the code goes to %v, the table says %v", phase, event, got, expected)
			}
		}
	}
	for row := range rows {
		t.Errorf("the table has a row %q that means nothing", row)
	}
}

// nearThreshold is example, one wrong password before the threshold where there is one.
func nearThreshold(phase Phase) State {
	s := example(phase)
	if phase == Counting {
		s.Failures = ten.Threshold - 1
	}
	return s
}

func TestTimePasses(t *testing.T) {
	counting, locked := example(Counting), example(Locked)
	for _, c := range []struct {
		name string
		s    State
		at   time.Time
		want Phase
	}{
		{"window not over", counting, counting.LastFailure.Add(ten.Window - 1), Counting},
		{"window over", counting, counting.LastFailure.Add(ten.Window), Clear},
		{"lock not over", locked, locked.LockedUntil.Add(-1), Locked},
		{"lock over", locked, locked.LockedUntil, Probation},
		{"not forgotten", locked, locked.LockedUntil.Add(defaultForget - 1), Probation},
		{"forgotten", locked, locked.LockedUntil.Add(defaultForget), Clear},
	} {
		if got := c.s.Phase(ten, c.at); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// What time has cleared counts no more, and what it has not cleared does.
func TestWhatCounts(t *testing.T) {
	counting, locked := example(Counting), example(Locked)
	counting.Failures = ten.Threshold - 1
	long := Policy{Threshold: 10, Window: 48 * time.Hour, MaxDuration: time.Minute, Forget: time.Hour}
	late := State{Failures: 11, Lockouts: 1, LastFailure: locked.LockedUntil.Add(-time.Second), LockedUntil: locked.LockedUntil}
	lowered := State{Failures: 3, Lockouts: 1, LastFailure: start.Add(-time.Hour), LockedUntil: start.Add(-time.Minute)}
	for _, c := range []struct {
		name   string
		s      State
		p      Policy
		at     time.Time
		failed int
		locked bool
	}{
		{"nine, within the window", counting, ten, counting.LastFailure.Add(ten.Window - 1), 10, true},
		{"nine, after the window", counting, ten, counting.LastFailure.Add(ten.Window), 1, false},
		{"a lock, before it is forgotten", locked, ten, locked.LockedUntil.Add(defaultForget - 1), 11, true},
		{"a lock that is forgotten", locked, ten, locked.LockedUntil.Add(defaultForget), 1, false},
		{"a lock that is forgotten, within a longer window", late, long, late.LockedUntil.Add(time.Hour), 1, false},
		{"a lock after three wrong ones, before the threshold was raised", lowered, ten, start, 4, true},
	} {
		if s, d := Next(c.s, Wrong, c.p, c.at); s.Failures != c.failed || d.Locked != c.locked {
			t.Errorf("%s: %+v, %+v", c.name, s, d)
		}
	}
}

func TestPolicyDefaults(t *testing.T) {
	usual := Policy{Threshold: 4, Duration: 30 * time.Minute, MaxDuration: time.Hour, Window: 30 * time.Minute, Forget: 24 * time.Hour}
	own := Policy{Threshold: 1, Duration: 1, MaxDuration: 1, Window: 1, Forget: 1}
	for _, c := range []struct{ given, want Policy }{
		{Policy{}, usual},
		{Policy{Threshold: -1, Duration: -1, MaxDuration: -1, Window: -1, Forget: -1}, usual},
		{own, own},
		{Policy{Duration: 48 * time.Hour}, Policy{Threshold: 4, Duration: 48 * time.Hour, MaxDuration: 48 * time.Hour, Window: 30 * time.Minute, Forget: 48 * time.Hour}},
	} {
		if got := New(nil, c.given).Policy(); got != c.want {
			t.Errorf("%+v became %+v", c.given, got)
		}
	}
	if n := left(State{}, Policy{}, start); n != 4 {
		t.Errorf("%d left by default", n)
	}
}

func TestStored(t *testing.T) {
	for _, plain := range []string{"", "anna@corp.example", strings.Repeat("a", 256), "ä"} {
		if got := stored(plain); got != plain {
			t.Errorf("%q is stored as %q", plain, got)
		}
	}
	for _, strange := range []string{strings.Repeat("a", 257), "a\x00b", "\x00", "\xff"} {
		if got := stored(strange); !strings.HasPrefix(got, "sha256:") || len(got) != len("sha256:")+64 {
			t.Errorf("%q is stored as %q", strange, got)
		}
	}
}

func TestTenWrongThenLongerAndLonger(t *testing.T) {
	var s State
	var d Decision
	now := start
	for i := 1; i <= 9; i++ {
		if s, d = Next(s, Wrong, ten, now); d.Locked {
			t.Fatalf("locked after %d", i)
		}
		if n := left(s, ten, now); n != 10-i {
			t.Errorf("after %d wrong ones %d are left", i, n)
		}
		now = now.Add(time.Minute)
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		s, d = Next(s, Wrong, ten, now)
		if want *= time.Minute; !d.Locked || d.Until.Sub(now) != want {
			t.Errorf("lock %d lasts %v, want %v", i+1, d.Until.Sub(now), want)
		}
		if n := left(s, ten, now); n != 0 {
			t.Errorf("%d left while locked", n)
		}
		// A check that was under way when the lock fell does not make it longer.
		if s, d = Next(s, Wrong, ten, now.Add(time.Second)); d.Until.Sub(now) != want {
			t.Errorf("a late wrong one made the lock end at %v", d.Until)
		}
		now = d.Until
		if n := left(s, ten, now); n != 1 {
			t.Errorf("%d left on probation", n)
		}
	}
	if s, _ = Next(s, Right, ten, now); s != (State{}) {
		t.Errorf("after the right one: %+v", s)
	}
}

func TestSlowGuessingCountsFromTheLast(t *testing.T) {
	var s State
	var d Decision
	now := start
	for range 10 {
		s, d = Next(s, Wrong, ten, now)
		now = now.Add(ten.Window - time.Second)
	}
	if !d.Locked {
		t.Errorf("ten wrong ones, each within the window of the one before, do not lock: %+v", s)
	}
}

// TestDefaultsStayBelowTheDirectorys plays a stranger who guesses as early as we let him at a directory that locks after five wrong passwords
// and forgets them after 30 quiet minutes, or after 10 and 15 as Microsoft's baseline has it.
func TestDefaultsStayBelowTheDirectorys(t *testing.T) {
	for _, directory := range []struct {
		threshold int
		window    time.Duration
	}{{5, 30 * time.Minute}, {10, 15 * time.Minute}, {10, 10 * time.Minute}} {
		var s State
		count, now, last := 0, start, time.Time{}
		for range 200 {
			if _, d := Next(s, Asked, Policy{}, now); d.Locked {
				now = d.Until
				continue
			}
			if now.Sub(last) >= directory.window {
				count = 0
			}
			count, last = count+1, now
			if count >= directory.threshold {
				t.Fatalf("%+v is locked by guess %d at %v", directory, count, now.Sub(start))
			}
			s, _ = Next(s, Wrong, Policy{}, now)
		}
	}
}

func TestOwnPolicy(t *testing.T) {
	p := Policy{Threshold: 1, Duration: 2 * time.Hour}
	s, d := Next(State{}, Wrong, p, start)
	if !d.Locked || d.Until != start.Add(2*time.Hour) {
		t.Errorf("first: %+v", d)
	}
	if _, d = Next(s, Wrong, p, d.Until); d.Until.Sub(s.LockedUntil) != 2*time.Hour {
		t.Errorf("a first lock above the default cap grows to %v", d.Until.Sub(s.LockedUntil))
	}
}

// TestRules states what must hold whatever happens, in whatever order.
func TestRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Policy{Threshold: rapid.IntRange(1, 12).Draw(t, "threshold")}
		s, now, wrongs := State{}, start, 0
		for range rapid.IntRange(1, 60).Draw(t, "length") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "pause")))
			event := rapid.SampledFrom(events).Draw(t, "event")
			before := s
			var d Decision
			s, d = Next(s, event, p, now)
			switch event {
			case Asked:
				if d.Locked != (before.Phase(p, now) == Locked) {
					t.Fatalf("asking changed the lock")
				}
				if s != before && s != (State{}) {
					t.Fatalf("asking changed the state from %+v to %+v", before, s)
				}
			case Right:
				wrongs = 0
				if s != (State{}) || d.Locked {
					t.Fatalf("after a right one: %+v, %+v", s, d)
				}
			case Wrong:
				wrongs++
				if before.Phase(p, now) == Probation && !d.Locked {
					t.Fatalf("a wrong one on probation does not lock")
				}
			}
			if wrongs < p.Threshold && d.Locked {
				t.Fatalf("locked after %d wrong ones of %d", wrongs, p.Threshold)
			}
			if d.Locked && (!d.Until.After(now) || d.Until.Sub(now) > defaultMaxDuration) {
				t.Fatalf("locked from %v until %v", now, d.Until)
			}
			if n := left(s, p, now); n < 0 || (n == 0) != d.Locked {
				t.Fatalf("%d left, decision %+v", n, d)
			}
		}
	})
}
