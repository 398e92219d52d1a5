package keyring

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestStateOfAKey(t *testing.T) {
	k := Times{Created: epoch, Active: epoch.Add(publishAhead), Retire: epoch.Add(period), Remove: epoch.Add(period + stayPublished)}
	open := Times{Created: epoch, Active: epoch}
	for _, test := range []struct {
		name      string
		key       Times
		at        time.Duration
		want      State
		published bool
	}{
		{"made", k, 0, Waiting, true},
		{"a moment before its use", k, publishAhead - 1, Waiting, true},
		{"in use", k, publishAhead, Active, true},
		{"last moment", k, period - 1, Active, true},
		{"succeeded", k, period, Retired, true},
		{"last moment of publication", k, period + stayPublished - 1, Retired, true},
		{"gone", k, period + stayPublished, Removed, false},
		{"without a successor it signs for ever", open, 50 * period, Active, true},
	} {
		if got := test.key.State(epoch.Add(test.at)); got != test.want || test.key.Published(epoch.Add(test.at)) != test.published {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if got := State(9).String(); got != "unknown" {
		t.Error(got)
	}
	for s, want := range map[State]string{Waiting: "waiting", Active: "active", Retired: "retired", Removed: "removed"} {
		if s.String() != want {
			t.Errorf("%v", s)
		}
	}
}

func TestPlan(t *testing.T) {
	at := func(d time.Duration) time.Time { return epoch.Add(d) }
	young := Times{Created: epoch, Active: epoch}
	waiting := Times{Created: at(10 * time.Hour), Active: at(10*time.Hour + publishAhead)}
	retiring := Times{Created: epoch, Active: epoch, Retire: waiting.Active, Remove: waiting.Active.Add(stayPublished)}
	due := period - publishAhead
	for _, test := range []struct {
		name  string
		line  []Times
		early bool
		now   time.Duration
		want  Step
	}{
		{"the first key signs at once", nil, false, 0, Step{Make: true, New: first(epoch), Retire: -1}},
		{"a young key stays", []Times{young}, false, time.Hour, Step{Retire: -1}},
		{"a moment before it is due", []Times{young}, false, due - 1, Step{Retire: -1}},
		{"due", []Times{young}, false, due,
			Step{Make: true, New: Times{Created: at(due), Active: at(period)}, Retire: 0, RetireAt: at(period), RemoveAt: at(period + stayPublished)}},
		{"late by a year: the successor still waits its time", []Times{young}, false, due + 365*24*time.Hour,
			Step{Make: true, New: Times{Created: at(due + 365*24*time.Hour), Active: at(period + 365*24*time.Hour)}, Retire: 0,
				RetireAt: at(period + 365*24*time.Hour), RemoveAt: at(period + 365*24*time.Hour + stayPublished)}},
		{"early by hand", []Times{young}, true, time.Hour,
			Step{Make: true, New: Times{Created: at(time.Hour), Active: at(time.Hour + publishAhead)}, Retire: 0,
				RetireAt: at(time.Hour + publishAhead), RemoveAt: at(time.Hour + publishAhead + stayPublished)}},
		{"a successor waits already", []Times{retiring, waiting}, false, 11 * time.Hour, Step{Retire: -1}},
		{"by hand, and a successor waits already", []Times{retiring, waiting}, true, 11 * time.Hour, Step{Retire: -1}},
		{"the retired one stays while its tokens may live", []Times{retiring, waiting}, false, 10*time.Hour + publishAhead + stayPublished - 1, Step{Retire: -1}},
		{"and is forgotten afterwards", []Times{retiring, waiting}, false, 10*time.Hour + publishAhead + stayPublished, Step{Retire: -1, Forget: []int{0}}},
		{"all forgotten: begin anew", []Times{retiring}, false, period + stayPublished,
			Step{Make: true, New: first(at(period + stayPublished)), Retire: -1, Forget: []int{0}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Plan(test.line, test.early, at(test.now))
			if got.Make != test.want.Make || got.New != test.want.New || got.Retire != test.want.Retire ||
				got.RetireAt != test.want.RetireAt || got.RemoveAt != test.want.RemoveAt || !slices.Equal(got.Forget, test.want.Forget) {
				t.Errorf("\n got %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestSignerIsTheLatestActive(t *testing.T) {
	line := []Times{
		{Created: epoch, Active: epoch, Retire: epoch.Add(3 * time.Hour), Remove: epoch.Add(9 * time.Hour)},
		{Created: epoch, Active: epoch.Add(2 * time.Hour)},
		{Created: epoch, Active: epoch.Add(5 * time.Hour)},
	}
	for d, want := range map[time.Duration]int{-time.Hour: -1, time.Hour: 0, 2 * time.Hour: 1, 4 * time.Hour: 1, 5 * time.Hour: 2} {
		if got := Signer(line, epoch.Add(d)); got != want {
			t.Errorf("after %v key %d signs, want %d", d, got, want)
		}
	}
}

// TestNoClientEverMeetsAnUnknownKey plays clients that keep a JWKS for the whole cache life against a line that is turned over
// at odd moments, with pauses of the loop and rotations by hand, for years: whatever token a client is shown while the token
// lives, it can verify it with what it holds.
func TestNoClientEverMeetsAnUnknownKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type token struct {
			key     int
			expires time.Time
		}
		type client struct {
			fetched time.Time
			known   map[int]bool
		}
		var line []Times // never shortened: an index names a key for ever
		var removed []bool
		var live []token
		var clients [3]client
		now, used := epoch, map[int]bool{}
		apply := func(early bool) {
			var present []int
			var times []Times
			for i, k := range line {
				if !removed[i] {
					present, times = append(present, i), append(times, k)
				}
			}
			step := Plan(times, early, now)
			for _, i := range step.Forget {
				removed[present[i]] = true
			}
			if step.Make {
				if step.Retire >= 0 {
					k := &line[present[step.Retire]]
					k.Retire, k.Remove = step.RetireAt, step.RemoveAt
				}
				line, removed = append(line, step.New), append(removed, false)
			}
		}
		apply(false)
		steps := rapid.IntRange(50, 400).Draw(t, "steps")
		for range steps {
			now = now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "hours")) * time.Hour)
			if rapid.IntRange(0, 9).Draw(t, "loop") > 2 { // the loop is down now and then
				apply(rapid.IntRange(0, 19).Draw(t, "by hand") == 0)
			}
			signer := Signer(line, now)
			if signer < 0 {
				t.Fatalf("after %v nothing signs", now.Sub(epoch))
			}
			used[signer] = true
			live = append(slices.DeleteFunc(live, func(k token) bool { return now.After(k.expires) }), token{signer, now.Add(LongestToken)})
			for c := range clients {
				if now.Sub(clients[c].fetched) >= CacheLife {
					clients[c] = client{fetched: now, known: map[int]bool{}}
					for i, k := range line {
						if !removed[i] && k.Published(now) {
							clients[c].known[i] = true
						}
					}
				}
				for _, k := range live {
					if !clients[c].known[k.key] {
						t.Fatalf("after %v a client that fetched at %v does not know key %d: %+v", now.Sub(epoch), clients[c].fetched.Sub(epoch), k.key, line)
					}
				}
			}
		}
		if now.Sub(epoch) > 4*period && len(used) < 2 {
			t.Fatalf("in %v the key never turned over", now.Sub(epoch))
		}
	})
}
